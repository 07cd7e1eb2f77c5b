/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key pairs the service makes for others (RFC 7030 4.4), drawn by OpenSSL's DRBG. RSA takes from a tenth of a second to several:
 * a thread of its own makes such keys ahead and keeps a few of each size in locked memory (base/privkey.h); a key that is given
 * out leaves the pool, the rest is wiped with it.
 */
#ifndef INKAN_CA_KEYGEN_H
#define INKAN_CA_KEYGEN_H

#include <event2/event.h>

#include "base/bytes.h"
#include "base/conf.h"
#include "base/err.h"
#include "base/privkey.h"

struct new_key {
    enum key_alg alg;  /* KEY_NONE: there is none */
    struct buf pkcs8;  /* PrivateKeyInfo, in secret memory */
    struct buf spki;
};
/* Draws one now, in the calling thread, and wipes what that left on its stack. E_NOMEM, E_CRYPTO. */
MUST_CHECK enum err_code new_key_make(enum key_alg alg, struct new_key *out, struct err *e);
/* Takes a pair that a token made: PrivateKeyInfo and SPKI, copied. E_CRYPTO: they do not belong together or are not `alg`. */
MUST_CHECK enum err_code new_key_take(enum key_alg alg, struct bytes pkcs8, struct bytes spki, struct new_key *out, struct err *e);
void new_key_free(struct new_key *k); /* wipes; also of {0} */

struct keygen_pool;
typedef void (*keygen_fn)(void *arg); /* on the loop: a key was added */
MUST_CHECK enum err_code keygen_pool_new(struct event_base *base, keygen_fn added, void *arg, struct keygen_pool **out,
                                         struct err *e);
void keygen_pool_free(struct keygen_pool *p); /* stops what is being drawn; wipes */
/* How many of each RSA size a configuration wants kept ready; those of no profile are wiped. The thread starts when there is work. */
MUST_CHECK enum err_code keygen_pool_want(struct keygen_pool *p, const struct conf *conf, struct err *e);
/* Takes one out, RSA only. false: none is ready. */
bool keygen_pool_take(struct keygen_pool *p, enum key_alg alg, struct new_key *out);
size_t keygen_pool_ready(struct keygen_pool *p, enum key_alg alg);

#endif
