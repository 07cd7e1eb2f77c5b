/* SPDX-License-Identifier: Apache-2.0 */
/* The canonical description of a profile: what the ledger keeps in full, and whose hash every certificate names. */
#ifndef INKAN_CA_PROFILE_H
#define INKAN_CA_PROFILE_H

#include "base/bytes.h"
#include "base/conf.h"
#include "base/err.h"

/*
 * Appends one JSON object: every key of the profile that shapes a certificate or a decision, sorted, without white space,
 * sets as sorted arrays. `hash` is the SHA-256 of exactly these octets. The same configuration gives the same octets in
 * every release that does not change the meaning of a key.
 */
MUST_CHECK enum err_code profile_describe(const struct conf_profile *profile, struct buf *out, uint8_t hash[32],
                                          struct err *e);

#endif
