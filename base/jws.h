/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON Web Signatures (RFC 7515) in the one form we write and read: flattened JSON (7.2.2) with a protected header of short
 * text members and no other, ES256, ES384 (RFC 7518 3.4) or EdDSA with Ed25519 (RFC 8037 3.1).
 *
 * What is read is read strictly: known members only, each once, no escapes in them, base64url without padding and without
 * stray bits; "crit", an unprotected header or "none" are unknown members and unknown algorithms like all others.
 */
#ifndef INKAN_BASE_JWS_H
#define INKAN_BASE_JWS_H

#include <openssl/types.h>

#include "base/bytes.h"
#include "base/derw.h"

#define JWS_TYP_MAX    48
#define JWS_KID_MAX    64
#define JWS_X5T_LEN    43  /* base64url of a SHA-256 */
#define JWS_HEADER_MAX 512 /* octets of the header as JSON */
#define JWS_SIG_MAX    132 /* octets of a raw signature */
#define JWS_OVERHEAD   2048 /* octets a flattened JWS is longer than base64url of its payload, at most */

struct jws_header {
    enum sig_alg alg;               /* SIG_ECDSA_SHA256, SIG_ECDSA_SHA384 or SIG_ED25519 */
    char typ[JWS_TYP_MAX + 1];
    char kid[JWS_KID_MAX + 1];
    char x5t[JWS_X5T_LEN + 1];      /* "x5t#S256"; "" = absent */
};

/* A flattened JWS as read; the texts are base64url and point into what was read. */
struct jws {
    struct jws_header header;
    struct bytes protected_text, payload_text;
    uint8_t signature[JWS_SIG_MAX]; /* raw: r || s, or Ed25519 */
    size_t signature_len;
};

/* RFC 4648 section 5 without padding. */
void base64url_encode(struct buf *out, struct bytes in);
bool base64url_is_valid(struct bytes text); /* alphabet, length, spare bits zero; empty is valid */
MUST_CHECK enum err_code base64url_decode(struct bytes text, struct buf *out, struct err *e);

/* "ES256", "ES384", "EdDSA"; NULL for algorithms we do not put into a JWS. */
const char *jws_alg_name(enum sig_alg alg);

/* The header as canonical JSON (members sorted, no blanks). The texts need no escapes: caller's own. */
void jws_header_write(struct buf *out, const struct jws_header *h);
/* Reads the JSON of a header. E_INVALID names the member. */
MUST_CHECK enum err_code jws_header_read(struct bytes json, struct jws_header *out, struct err *e);

/* BASE64URL(header) "." BASE64URL(payload): what is signed (RFC 7515 5.1). */
void jws_signing_input(struct buf *out, const struct jws_header *h, struct bytes payload);
/* The flattened JWS, members sorted, no newline, from the signing input and the raw signature. */
void jws_write(struct buf *out, struct bytes signing_input, struct bytes raw_signature);

/* Reads one flattened JWS of at most `max_len` octets; white space around and between members is allowed. */
MUST_CHECK enum err_code jws_read(struct bytes text, size_t max_len, struct jws *out, struct err *e);
MUST_CHECK enum err_code jws_payload(const struct jws *j, struct buf *out, struct err *e);
/* E_DENIED: the signature is not this key's; E_INVALID: the header's algorithm does not fit the key. */
MUST_CHECK enum err_code jws_verify(const struct jws *j, EVP_PKEY *key, struct err *e);

/* The compact form (7.1): header, payload and signature in base64url with dots between them. */
void jws_write_compact(struct buf *out, struct bytes signing_input, struct bytes raw_signature);
MUST_CHECK enum err_code jws_read_compact(struct bytes text, size_t max_len, struct jws *out, struct err *e);
/* As jws_sign; the key may be in a token. */
MUST_CHECK enum err_code jws_sign_compact(EVP_PKEY *key, struct jws_header *h, struct bytes payload, struct buf *out, struct err *e);

/* Signs with a key in memory (an order's signer, never the service). `h->alg` and `h->kid` are filled in from the key. */
MUST_CHECK enum err_code jws_sign(EVP_PKEY *key, struct jws_header *h, struct bytes payload, struct buf *out, struct err *e);

/* The algorithm a key signs a JWS with; SIG_NONE for keys of other kinds. */
enum sig_alg jws_alg_of_key(EVP_PKEY *key);
/* How an order names its signer: hex of the first 16 octets of SHA-256 over the SubjectPublicKeyInfo in DER. */
#define JWS_KID_LEN 32
MUST_CHECK enum err_code jws_kid(EVP_PKEY *key, char out[JWS_KID_LEN + 1], struct err *e);
/* The public key in PEM text: the first CERTIFICATE or PUBLIC KEY block. NULL with `e`. */
EVP_PKEY *jws_public_key(struct bytes pem, struct err *e);

/* r || s of `field_len` octets each (RFC 7518 3.4) from a DER Ecdsa-Sig-Value, and back. false: not one. */
bool ecdsa_raw_from_der(struct bytes der, size_t field_len, uint8_t *raw);
bool ecdsa_der_from_raw(struct bytes raw, struct buf *der);
/* A signature as the signer gives it (DER for ECDSA) in the form a JWS wants; 0: not one. `raw` holds JWS_SIG_MAX. */
size_t jws_raw_signature(enum sig_alg alg, struct bytes sig, uint8_t *raw);

#endif
