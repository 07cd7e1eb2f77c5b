/* SPDX-License-Identifier: Apache-2.0 */
/* A ledger in a temporary directory with one issuer, one profile, and functions that add rows as the core does. */
#ifndef INKAN_TESTS_LEDGER_FIXTURE_H
#define INKAN_TESTS_LEDGER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "ca/audit.h"
#include "ca/store/store.h"

#define T0 1700000000 /* the fixture's time */

struct ledger {
    char dir[64], path[96];
    struct store *s;
    struct err e;
    uint32_t issuer;
    uint8_t profile[32];
    EVP_PKEY *audit_key;
    char audit_key_name[16];
    const char *audit_digest;
    uint8_t audit_alg;
    uint8_t *audit_spki;
    int audit_spki_len;
};

#define OK(l, call)                                                                                                    \
    do {                                                                                                               \
        enum err_code ok_ = (call);                                                                                    \
        if (ok_ != E_OK)                                                                                               \
            fail_msg("%s: %s: %s", #call, err_code_name(ok_), (l)->e.msg);                                             \
    } while (0)
#define REFUSED(l, code_, call)                                                                                        \
    do {                                                                                                               \
        enum err_code got_ = (call);                                                                                   \
        if (got_ != (code_))                                                                                           \
            fail_msg("%s: %s, wanted %s: %s", #call, err_code_name(got_), err_code_name(code_), (l)->e.msg);           \
    } while (0)
#define SAYS(l, part)                                                                                                  \
    do {                                                                                                               \
        if (!strstr((l)->e.msg, (part)))                                                                               \
            fail_msg("message without \"%s\": %s", (part), (l)->e.msg);                                                \
    } while (0)

/* cmocka set-up and tear-down; *state is a struct ledger. */
int ledger_setup(void **state);
int ledger_teardown(void **state);

void ledger_reopen(struct ledger *l);
void ledger_close(struct ledger *l);
/* Runs SQL on the file with a connection of its own; the ledger must be closed. */
void ledger_sql(const char *path, const char *sql);

/* A certificate row numbered `n`, with fake DER; certificate, status and audit row, in the open transaction. */
void ledger_fill_cert(const struct ledger *l, unsigned n, uint8_t *der, size_t der_len, struct cert_row *out);
uint64_t ledger_issue(struct ledger *l, unsigned n);
enum err_code ledger_try_issue(struct ledger *l, unsigned n, struct err *e);
void ledger_change(struct ledger *l, unsigned n, enum cert_status status, enum crl_reason reason);
void ledger_note(struct ledger *l, const char *event);
/* From now on heads are signed with `key` (taken over). */
void ledger_audit_key(struct ledger *l, const char *name, EVP_PKEY *key, uint8_t alg, const char *digest);
/* Signs a head over what is there, stores and publishes it in l->dir. */
void ledger_head(struct ledger *l, int64_t now);
struct status_row ledger_status(const struct ledger *l, unsigned n, enum cert_status status, enum crl_reason reason);

#endif
