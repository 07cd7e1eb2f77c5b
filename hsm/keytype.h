/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kinds of key a token may hold for us, as one table, and what follows from a SubjectPublicKeyInfo. Knows nothing of
 * PKCS#11 sessions; the client of the signer uses it too.
 */
#ifndef INKAN_HSM_KEYTYPE_H
#define INKAN_HSM_KEYTYPE_H

#include "base/conf.h"
#include "hsm/signer.h"

#define CKA_ID_LEN     16
#define KEY_LABEL_MAX  96 /* "purpose/NAME/GEN" with the NUL */
#define SIGNATURE_ROOM 1024

struct key_type {
    enum key_alg alg;
    enum sig_alg sig;
    unsigned bits;          /* RSA modulus; 0 otherwise */
    struct bytes curve_der; /* CKA_EC_PARAMS: the OID with tag and length; empty for RSA */
    size_t field_len;       /* octets of r and of s; 0 unless ECDSA */
    size_t digest_len;      /* 0: the message itself is signed (Ed25519) */
};

const struct key_type *key_type_of(enum key_alg alg); /* NULL for KEY_NONE */

/* What of an SPKI the signer needs. `bits`: content of subjectPublicKey without the unused-bits octet (its SHA-1 is the
 * OCSP KeyHash). Points into the input. */
struct spki_view {
    enum key_alg alg;
    struct bytes bits;
};
/* E_INVALID unless it is a complete SPKI of one of our key types. */
MUST_CHECK enum err_code spki_view(struct bytes spki, struct spki_view *out, struct err *e);

/* "ca/NAME/GEN". false when it does not fit or the name is not an identifier. */
bool key_label_format(enum key_purpose purpose, const char *name, uint32_t generation, char out[KEY_LABEL_MAX]);
/* Is `label` one of this purpose, spelled as key_label_format does? */
bool key_label_has_purpose(struct bytes label, enum key_purpose purpose);

#endif
