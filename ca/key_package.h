/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A private key packed for its owner (RFC 7030 4.4.2): EnvelopedData (RFC 5652 section 6, RFC 5753) around SignedData (RFC 5652
 * section 5) around AsymmetricKeyPackage (RFC 5958 section 2). What is encrypted is the whole SignedData element. Random numbers
 * and encryption by OpenSSL, structures by our own writer. No state; any thread.
 */
#ifndef INKAN_CA_KEY_PACKAGE_H
#define INKAN_CA_KEY_PACKAGE_H

#include "base/bytes.h"
#include "base/conf.h"
#include "base/derw.h"
#include "base/err.h"
#include "base/limits.h"
#include "ca/cert.h"

#define KEK_MAX_LEN 32

enum recipient_kind { RECIPIENT_NONE, RECIPIENT_KEK, RECIPIENT_RSA, RECIPIENT_EC };
enum recipient_hash { HASH_SHA1, HASH_SHA256, HASH_SHA384, HASH_SHA512 };

/* Whom a key is encrypted for, and how. Owned; recipient_clear wipes. */
struct recipient {
    enum recipient_kind kind;
    struct buf id;             /* KEK: kekid; else the subjectKeyIdentifier, or ... */
    struct buf issuer, serial; /* ... empty, and the certificate's issuer (Name) and serial number (magnitude) */
    struct buf spki;           /* RSA, EC */
    enum key_alg alg;          /* of spki */
    uint8_t kek[KEK_MAX_LEN];  /* KEK: of 16 or 32 octets */
    size_t kek_len;
    /* chosen from the capabilities */
    bool wrap_256, content_256; /* AES-256, else AES-128 */
    bool oaep;                  /* RSA: else PKCS#1 v1.5 */
    enum recipient_hash hash;   /* of OAEP and its MGF1; EC: of the key derivation */
};
void recipient_init(struct recipient *r);
void recipient_clear(struct recipient *r);

/*
 * The holder of this certificate, named by its subjectKeyIdentifier or by issuer and serial number. E_DENIED: its key or its keyUsage
 * receives no others (RFC 7030 4.4.1.2).
 */
MUST_CHECK enum err_code recipient_take(struct recipient *r, const struct cert *x, enum key_alg alg, bool by_ski, struct err *e);
/* The same of a certificate in DER, with algorithms of our choice: OAEP, ECDH and AES-256. E_INVALID: it is no certificate. */
MUST_CHECK enum err_code recipient_of(struct recipient *r, struct bytes cert, struct err *e);

/*
 * Chooses the first key-encryption algorithm of SMIMECapabilities (the content of its SEQUENCE) that serves this recipient, for RSA
 * any OAEP before PKCS#1 v1.5 (RFC 7030 4.4.2), and a content cipher: the first AES-CBC of the list as strong as the recipient's key
 * and `delivered`, else the strongest of it, else one as strong. E_INVALID: none can be used.
 */
MUST_CHECK enum err_code recipient_choose(struct recipient *r, struct bytes capabilities, enum key_alg delivered, struct err *e);

/* AsymmetricKeyPackage with this one PrivateKeyInfo; `out` is a secret_buf. */
MUST_CHECK enum err_code key_package_write(struct bytes pkcs8, struct buf *out, struct err *e);
/* The signed attributes over a package, as the SET that is signed: contentType and messageDigest by the hash of `alg`. */
MUST_CHECK enum err_code key_package_attributes(struct bytes package, enum sig_alg alg, struct buf *out, struct err *e);

struct package_signature {
    struct bytes attributes; /* as above */
    struct bytes cert, ski;  /* of the signer, in DER, and its subjectKeyIdentifier */
    enum sig_alg alg;
    struct bytes signature;
};
/* The whole: ContentInfo of EnvelopedData. */
MUST_CHECK enum err_code key_package_envelope(struct bytes package, const struct package_signature *s, const struct recipient *r,
                                              struct buf *out, struct err *e);
/* ContentInfo of EnvelopedData around any content, whose type is `type`. */
MUST_CHECK enum err_code envelope_write(struct bytes type, struct bytes content, const struct recipient *r, struct buf *out, struct err *e);

#endif
