/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a CSR (PKCS#10, RFC 2986) in place, and the rules on it that hold for every protocol. */
#ifndef INKAN_CA_CSR_H
#define INKAN_CA_CSR_H

#include "base/bytes.h"
#include "base/conf.h"
#include "base/der.h"
#include "base/derw.h"
#include "base/err.h"
#include "base/limits.h"

/* A public key as found in a CSR or certificate, checked: point on the curve, of large order, RSA size, odd modulus, e. */
struct pubkey {
    enum key_alg alg;
    struct bytes spki;     /* complete SubjectPublicKeyInfo, borrowed */
    struct bytes key_bits; /* value of its BIT STRING without the unused-bits octet, borrowed */
    uint8_t spki_hash[32]; /* SHA-256 of spki; of a compressed point: with the point uncompressed, so one key has one hash */
};
/* RSA 2048-4096 with odd 65537 <= e < 2^256, P-256, P-384 (named curve, uncompressed or compressed), Ed25519. */
MUST_CHECK enum err_code pubkey_read(struct bytes spki, struct pubkey *out, struct err *e);
/*
 * The same of any SPKI: a kind that pubkey_read refuses is E_OK with alg KEY_NONE and SHA-256 of its octets as spki_hash. What else
 * goes wrong (E_NOMEM) says nothing about the key.
 */
MUST_CHECK enum err_code pubkey_identify(struct bytes spki, struct pubkey *out, struct err *e);
/* false: the signature is wrong (or anything else failed: there is one answer), unless errno is ENOMEM: nobody knows. */
bool pubkey_verifies(const struct pubkey *key, struct bytes sig_alg_der, struct bytes tbs, struct bytes sig);

/* How a private key made here is to be encrypted for its owner, as the request says (RFC 7030 4.4.1). */
struct csr_delivery {
    bool has_symmetric, has_asymmetric, has_capabilities;
    struct bytes symmetric_id;  /* DecryptKeyIdentifier (RFC 4108 2.2.5) */
    struct bytes asymmetric_id; /* AsymmetricDecryptKeyIdentifier */
    struct bytes capabilities;  /* SMIMECapabilities: content of its SEQUENCE, checked; see csr_capability_take */
};

#define CSR_TEXT_MAX 256 /* octets of 64 characters (RFC 5280 A.1: ub-common-name, ub-serial-number) */

enum csr_binding { CSR_BINDING_NONE, CSR_BINDING_CHALLENGE, CSR_BINDING_LINKING, CSR_BINDING_BOTH };

struct csr {
    struct bytes tbs;           /* raw certificationRequestInfo */
    struct bytes subject;       /* raw Name */
    struct bytes sig_alg, sig;  /* AlgorithmIdentifier, signature octets */
    struct pubkey key;
    struct bytes san;           /* requested subjectAltName extension value (content of the OCTET STRING), or empty */
    bool has_san;
    enum csr_binding binding;   /* challengePassword and/or estIdentityLinking are there */
    struct bytes challenge;     /* text octets of each: base64 of the binding */
    struct bytes linking;
    bool change_subject;        /* ChangeSubjectName attribute present */
    char common_name[CSR_TEXT_MAX + 1]; /* UTF-8; "" when absent */
    char serial_number[CSR_TEXT_MAX + 1]; /* subject serialNumber, "" when absent */
    bool asks_key_usage, asks_eku; /* the extension was requested */
    unsigned key_usage;         /* KU_* asked for */
    unsigned eku;               /* EKU_* asked for; purposes we do not know are left out */
    struct csr_delivery delivery; /* csr_read_for_keygen only */
};

/*
 * Reads and checks one CSR: DER, version, subject rules, key rules, signature algorithm, proof of possession, attribute
 * and extension rules. `out` points into `der`, which must outlive it. E_INVALID names the clause; E_DENIED for what is
 * well formed but never granted. Allocates nothing that must be freed. Any thread.
 */
MUST_CHECK enum err_code csr_read(struct bytes der, struct csr *out, struct err *e);

/*
 * The same for serverkeygen, where the public key and the signature are there for the form's sake and MUST be ignored (RFC 7030
 * 4.4.1): they only have to be DER. key.alg is KEY_NONE then. Reads the attributes that say how to encrypt the new key.
 */
MUST_CHECK enum err_code csr_read_for_keygen(struct bytes der, struct csr *out, struct err *e);
/* The next of the capabilities: algorithm, and its parameters as DER (empty: absent). */
bool csr_capability_take(struct der *list, struct bytes *oid, struct bytes *parameters);

/*
 * E_INVALID when keyUsage or extKeyUsage was asked for and the profile grants none of it: the certificate could not serve
 * what the device wants (RFC 5272 3.1). A partial overlap is fine: the profile decides.
 */
MUST_CHECK enum err_code csr_check_usage(const struct csr *csr, const struct conf_profile *profile, struct err *e);

/*
 * Compares the CSR's binding attributes with the connection's value (raw octets; the attribute holds their base64).
 * Each attribute present must match; constant time. E_INVALID on mismatch or wrong form; *judged says whether any was
 * present. `expected` empty while one is present: E_INVALID.
 */
MUST_CHECK enum err_code csr_check_binding(const struct csr *csr, struct bytes expected, bool *judged, struct err *e);

#endif
