/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private keys as octets: the memory they lie in, and PrivateKeyInfo (RFC 5958) and SubjectPublicKeyInfo written from the parts of
 * a key pair. Nothing here draws a key.
 */
#ifndef INKAN_BASE_PRIVKEY_H
#define INKAN_BASE_PRIVKEY_H

#include "base/bytes.h"
#include "base/conf.h"

#define PRIVKEY_MAX_LEN 2560 /* PrivateKeyInfo of RSA 4096: 2376 octets */
#define PRIVKEY_EC_MAX  256  /* of P-384: 185 octets */

/*
 * Room for secrets: locked, left out of core files and given back wiped, once secret_heap_open has run in this process. It is for
 * what a process holds at once, not for what passes through. Before the process is confined; false: the memory is there but could
 * not be locked.
 */
bool secret_heap_open(void);
/* A buf over such memory that never grows and never moves; false (and `failed` set): there is none left. */
bool secret_buf_init(struct buf *b, size_t room);
void secret_buf_free(struct buf *b);
static inline void secret_buf_auto_free(struct buf *b)
{
    secret_buf_free(b);
}
/* AUTO_SECRET_BUF b = BUF_INIT(0); then secret_buf_init */
#define AUTO_SECRET_BUF __attribute__((cleanup(secret_buf_auto_free))) struct buf

/* Overwrites the stack below the caller, where libraries leave what they computed with. */
void stack_wipe(void);

/* The parts of a key pair, big-endian; what does not belong to the algorithm is empty. */
struct key_parts {
    enum key_alg alg;
    struct bytes secret; /* EC: the scalar, in as many octets as the field; Ed25519: the seed */
    struct bytes point;  /* EC: uncompressed; Ed25519: the public key */
    struct bytes n, e, d, p, q, dp, dq, qi; /* RSA */
};
/* PrivateKeyInfo: version 0, no attributes, no [1] publicKey; the public key of EC stands inside ECPrivateKey (RFC 5915). */
bool privkey_write(struct buf *out, const struct key_parts *k);
bool pubkey_write(struct buf *out, const struct key_parts *k);
/*
 * Reads a PrivateKeyInfo of one of our kinds that somebody else wrote: `alg` and the secret part(s), which point into it. For EC
 * and Ed25519 the public part is not taken from it. false: it is none, or of another kind than `alg`.
 */
bool privkey_read(struct bytes der, enum key_alg alg, struct key_parts *out);

/* Octets of the field of a curve; 32 for Ed25519; 0 for RSA. */
size_t key_field_len(enum key_alg alg);
unsigned key_rsa_bits(enum key_alg alg); /* 0 unless RSA */

#endif
