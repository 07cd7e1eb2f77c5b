/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of pre-shared key-encryption keys. The rules of ca/store/store.h hold here too. */
#ifndef INKAN_CA_STORE_KEK_H
#define INKAN_CA_STORE_KEK_H

#include "ca/store/store.h"

#define KEK_ID_MAX 64

struct kek_row {
    uint64_t id;
    char domain[ID_MAX_LEN + 1];
    uint8_t key_id[KEK_ID_MAX];
    size_t key_id_len;
    uint64_t device;     /* 0: every device of the domain */
    unsigned bits;       /* 128 or 256 */
    struct bytes sealed; /* empty: revoked */
    int64_t created_at, revoked_at;
};
MUST_CHECK enum err_code store_kek_insert(struct store *s, struct kek_row *row, struct err *e); /* sets id; E_CONFLICT: the id is taken */
MUST_CHECK enum err_code store_kek_find(struct store *s, const char *domain, struct bytes key_id, struct kek_row *out, struct err *e);
/* Also destroys the sealed key. Again: no change. */
MUST_CHECK enum err_code store_kek_revoke(struct store *s, uint64_t id, int64_t at, struct err *e);
typedef bool (*kek_row_fn)(void *arg, const struct kek_row *row);
MUST_CHECK enum err_code store_kek_each(struct store *s, uint64_t after_id, uint64_t limit, kek_row_fn fn, void *arg, struct err *e);

#endif
