/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key-encryption keys that devices hold beforehand and name in DecryptKeyIdentifier (RFC 7030 4.4.1.1). The ledger has them sealed
 * with AES-256-GCM under a key derived from that of secret_key_file, which lies outside it; domain and identifier are authenticated
 * with them, so that no row can be put in another's place.
 */
#ifndef INKAN_CA_KEK_H
#define INKAN_CA_KEK_H

#include "ca/core.h"
#include "ca/key_package.h"

/* Of 16 or 32 octets. */
MUST_CHECK enum err_code kek_seal(const struct core *c, const char *domain, struct bytes key_id, struct bytes kek, struct buf *out, struct err *e);
/* E_CRYPTO: it was sealed under another key, or for another row. */
MUST_CHECK enum err_code kek_open(const struct core *c, const char *domain, struct bytes key_id, struct bytes sealed, uint8_t kek[KEK_MAX_LEN],
                                  size_t *len, struct err *e);

#endif
