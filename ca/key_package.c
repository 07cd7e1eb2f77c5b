/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/key_package.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/auto.h"
#include "base/der.h"
#include "base/oid.h"
#include "base/privkey.h"
#include "ca/csr.h"

#define DIGEST_MAX     64
#define AES_BLOCK      16
#define WRAPPED_MAX    (KEK_MAX_LEN + 8)
#define UKM_LEN        64
#define POINT_MAX      (1 + 2 * 48)
#define SHARED_MAX     48
#define ENCRYPTED_MAX  (RSA_MAX_BITS / 8)
#define SIGNED_EXTRA   512 /* octets of SignedData beside package, certificate, attributes and signature */

AUTO_TYPE(EVP_CIPHER_CTX, EVP_CIPHER_CTX_free)
AUTO_TYPE(EVP_KDF, EVP_KDF_free)
AUTO_TYPE(EVP_KDF_CTX, EVP_KDF_CTX_free)
AUTO_TYPE(EVP_PKEY, EVP_PKEY_free)
AUTO_TYPE(EVP_PKEY_CTX, EVP_PKEY_CTX_free)

static const struct {
    const char *name;
    const struct bytes *oid;
} hashes[] = {[HASH_SHA1] = {"SHA1", &OID_SHA1},
              [HASH_SHA256] = {"SHA256", &OID_SHA256},
              [HASH_SHA384] = {"SHA384", &OID_SHA384},
              [HASH_SHA512] = {"SHA512", &OID_SHA512}};

void recipient_init(struct recipient *r)
{
    *r = (struct recipient){
        .id = BUF_INIT(DECRYPT_KEY_ID_MAX),
        .issuer = BUF_INIT(NAME_MAX_LEN),
        .serial = BUF_INIT(SERIAL_MAX_LEN),
        .spki = BUF_INIT(SPKI_MAX_LEN),
    };
}

void recipient_clear(struct recipient *r)
{
    buf_clear(&r->id);
    buf_clear(&r->issuer);
    buf_clear(&r->serial);
    buf_clear(&r->spki);
    OPENSSL_cleanse(r->kek, sizeof(r->kek));
    recipient_init(r);
}

enum err_code recipient_take(struct recipient *r, const struct cert *x, enum key_alg alg, bool by_ski, struct err *e)
{
    bool rsa = key_rsa_bits(alg) != 0;

    if (!rsa && alg != KEY_P256 && alg != KEY_P384)
        return err_set(e, E_DENIED, "the certificate's key cannot receive others");
    if (x->key_usage && !(x->key_usage & (rsa ? USAGE_KEY_ENCIPHERMENT : USAGE_KEY_AGREEMENT)))
        return err_set(e, E_DENIED, "the certificate does not allow %s (RFC 7030 4.4.1.2)", rsa ? "keyEncipherment" : "keyAgreement");
    r->kind = rsa ? RECIPIENT_RSA : RECIPIENT_EC;
    r->alg = alg;
    buf_add_bytes(&r->spki, x->spki);
    if (by_ski) {
        buf_add_bytes(&r->id, x->ski);
    } else {
        buf_add_bytes(&r->issuer, x->issuer);
        buf_add_bytes(&r->serial, x->serial);
    }
    if (!buf_ok(&r->spki) || !buf_ok(&r->id) || !buf_ok(&r->issuer) || !buf_ok(&r->serial))
        return err_set(e, E_NOMEM, "recipient");
    return E_OK;
}

enum err_code recipient_of(struct recipient *r, struct bytes cert, struct err *e)
{
    struct pubkey key;
    struct cert x;

    if (cert_read(cert, &x, e) != E_OK || pubkey_read(x.spki, &key, e) != E_OK || recipient_take(r, &x, key.alg, x.ski.len > 0, e) != E_OK)
        return e->code;
    r->oaep = r->wrap_256 = r->content_256 = true;
    r->hash = key.alg == KEY_P384 ? HASH_SHA384 : HASH_SHA256;
    return E_OK;
}

/* ---- choosing ---- */

static bool wrap_of(struct bytes oid, bool *is_256)
{
    *is_256 = bytes_equal(oid, OID_AES256_WRAP);
    return *is_256 || bytes_equal(oid, OID_AES128_WRAP);
}

static bool hash_take(struct der *in, enum recipient_hash *out)
{
    struct der alg;
    struct bytes oid;

    if (!der_take(in, DER_SEQUENCE, &alg) || !der_take_oid(&alg, &oid) || !(der_at_end(&alg) || (der_take_null(&alg) && der_at_end(&alg))))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(hashes); i++)
        if (bytes_equal(oid, *hashes[i].oid)) {
            *out = (enum recipient_hash)i;
            return true;
        }
    return false;
}

/*
 * RSAES-OAEP-params (RFC 4055 4.1): hash and MGF1 with the same hash, no label. Absent parameters leave the choice to us; an empty
 * SEQUENCE is all defaults, SHA-1.
 */
static bool oaep_of(struct bytes parameters, enum recipient_hash *out)
{
    enum recipient_hash mgf_hash = HASH_SHA1;
    struct der in, seq, tagged, mgf;
    struct bytes oid;
    bool present;

    *out = HASH_SHA256;
    if (parameters.len == 0)
        return true;
    *out = HASH_SHA1;
    der_init(&in, parameters.p, parameters.len);
    if (!der_take(&in, DER_SEQUENCE, &seq) || !der_take_optional(&seq, DER_CONTEXT_CONSTRUCTED(0), &tagged, &present) ||
        (present && (!hash_take(&tagged, out) || !der_at_end(&tagged))) ||
        !der_take_optional(&seq, DER_CONTEXT_CONSTRUCTED(1), &tagged, &present))
        return false;
    if (present && (!der_take(&tagged, DER_SEQUENCE, &mgf) || !der_at_end(&tagged) || !der_take_oid(&mgf, &oid) ||
                    !bytes_equal(oid, OID_MGF1) || !hash_take(&mgf, &mgf_hash) || !der_at_end(&mgf)))
        return false;
    return der_at_end(&seq) && mgf_hash == *out;
}

/* A key agreement scheme with the wrap it is used with, or a wrap alone: then with the scheme that is always there (RFC 5753 8). */
static bool agreement_of(struct bytes oid, struct bytes parameters, enum recipient_hash *hash, bool *is_256)
{
    struct der in, wrap;
    struct bytes wrap_oid;

    *hash = HASH_SHA256;
    if (wrap_of(oid, is_256))
        return parameters.len == 0;
    if (bytes_equal(oid, OID_ECDH_SHA384))
        *hash = HASH_SHA384;
    else if (!bytes_equal(oid, OID_ECDH_SHA256))
        return false;
    der_init(&in, parameters.p, parameters.len);
    return der_take(&in, DER_SEQUENCE, &wrap) && der_take_oid(&wrap, &wrap_oid) && der_at_end(&wrap) && wrap_of(wrap_oid, is_256);
}

/* Does this capability serve? Fills what follows from it. */
static bool capability_serves(struct recipient *r, struct bytes oid, struct bytes parameters)
{
    bool is_256;

    switch (r->kind) {
    case RECIPIENT_KEK:
        return wrap_of(oid, &is_256) && parameters.len == 0 && is_256 == (r->kek_len == 32) && (r->wrap_256 = is_256, true);
    case RECIPIENT_RSA:
        r->oaep = bytes_equal(oid, OID_RSAES_OAEP);
        return r->oaep ? oaep_of(parameters, &r->hash) : bytes_equal(oid, OID_RSA);
    case RECIPIENT_EC:
        return agreement_of(oid, parameters, &r->hash, &r->wrap_256);
    case RECIPIENT_NONE:
        break;
    }
    return false;
}

static bool is_beyond_128(enum key_alg alg)
{
    return alg == KEY_P384 || alg == KEY_RSA4096;
}

static bool choose_key_encryption(struct recipient *r, struct bytes capabilities)
{
    struct recipient best = {0};
    struct bytes oid, parameters;
    struct der list;
    bool found = false;

    der_init(&list, capabilities.p, capabilities.len);
    while (csr_capability_take(&list, &oid, &parameters)) {
        if (!capability_serves(r, oid, parameters) || (found && !(r->oaep && !best.oaep)))
            continue;
        found = true;
        best.oaep = r->oaep;
        best.hash = r->hash;
        best.wrap_256 = r->wrap_256;
    }
    r->oaep = best.oaep;
    r->hash = best.hash;
    r->wrap_256 = best.wrap_256;
    return found;
}

static bool choose_content(struct bytes capabilities, bool wanted_256)
{
    struct bytes oid, parameters;
    struct der list;
    bool has_128 = false;

    der_init(&list, capabilities.p, capabilities.len);
    while (csr_capability_take(&list, &oid, &parameters)) {
        if (bytes_equal(oid, OID_AES256_CBC))
            return true;
        if (bytes_equal(oid, OID_AES128_CBC)) {
            if (!wanted_256)
                return false;
            has_128 = true;
        }
    }
    return has_128 ? false : wanted_256;
}

enum err_code recipient_choose(struct recipient *r, struct bytes capabilities, enum key_alg delivered, struct err *e)
{
    if (!choose_key_encryption(r, capabilities))
        return err_set(e, E_INVALID, "SMIMECapabilities holds no key encryption that serves the key named (RFC 7030 4.4.1)");
    r->content_256 = choose_content(capabilities, is_beyond_128(delivered) || r->kek_len == 32 || is_beyond_128(r->alg));
    return E_OK;
}

/* ---- SignedData ---- */

enum err_code key_package_write(struct bytes pkcs8, struct buf *out, struct err *e)
{
    struct derw w;

    derw_init(&w, out);
    derw_element(&w, DER_SEQUENCE, pkcs8);
    return derw_finish(&w) ? E_OK : err_set(e, E_NOMEM, "key package");
}

/* RFC 5753 2.1.1 wants the hash of the signature's algorithm, RFC 8419 section 3.1 SHA-512 for Ed25519. */
static enum recipient_hash signed_hash(enum sig_alg alg)
{
    return alg == SIG_ECDSA_SHA384 ? HASH_SHA384 : alg == SIG_ED25519 ? HASH_SHA512 : HASH_SHA256;
}

static void attribute_write(struct derw *w, struct bytes type, uint8_t tag, struct bytes value)
{
    derw_begin(w, DER_SEQUENCE);
    derw_oid(w, type);
    derw_begin(w, DER_SET);
    derw_element(w, tag, value);
    derw_end(w);
    derw_end(w);
}

enum err_code key_package_attributes(struct bytes package, enum sig_alg alg, struct buf *out, struct err *e)
{
    uint8_t digest[DIGEST_MAX];
    size_t n = 0;
    struct derw w;

    if (EVP_Q_digest(NULL, hashes[signed_hash(alg)].name, NULL, package.p, package.len, digest, &n) != 1)
        return err_openssl(e, E_CRYPTO, "EVP_Q_digest");
    derw_init(&w, out);
    derw_begin(&w, DER_SET); /* in DER's order: the shorter element is the smaller */
    attribute_write(&w, OID_CONTENT_TYPE, DER_OID, OID_KEY_PACKAGE);
    attribute_write(&w, OID_MESSAGE_DIGEST, DER_OCTET_STRING, BYTES(digest, n));
    derw_end(&w);
    return derw_finish(&w) ? E_OK : err_set(e, E_NOMEM, "signed attributes");
}

static void algorithm_write(struct derw *w, struct bytes oid, const struct bytes *parameters)
{
    derw_begin(w, DER_SEQUENCE);
    derw_oid(w, oid);
    if (parameters)
        derw_raw(w, *parameters);
    derw_end(w);
}

/* Version 3, both: the content is not id-data, and the signer is named by its key (RFC 5652 5.1, 5.3). */
static bool signed_data_write(struct bytes package, const struct package_signature *s, struct buf *out)
{
    struct bytes digest_oid = *hashes[signed_hash(s->alg)].oid;
    struct der in, set;
    struct derw w;

    der_init(&in, s->attributes.p, s->attributes.len);
    if (!der_take(&in, DER_SET, &set))
        return false;
    derw_init(&w, out);
    derw_begin(&w, DER_SEQUENCE);
    derw_u64(&w, 3);
    derw_begin(&w, DER_SET);
    algorithm_write(&w, digest_oid, NULL); /* parameters absent (RFC 5754 section 2) */
    derw_end(&w);
    derw_begin(&w, DER_SEQUENCE);
    derw_oid(&w, OID_KEY_PACKAGE);
    derw_begin(&w, DER_CONTEXT_CONSTRUCTED(0));
    derw_octets(&w, package);
    derw_end(&w);
    derw_end(&w);
    derw_element(&w, DER_CONTEXT_CONSTRUCTED(0), s->cert);
    derw_begin(&w, DER_SET);
    derw_begin(&w, DER_SEQUENCE);
    derw_u64(&w, 3);
    derw_element(&w, DER_CONTEXT(0), s->ski);
    algorithm_write(&w, digest_oid, NULL);
    derw_element(&w, DER_CONTEXT_CONSTRUCTED(0), der_rest(&set));
    derw_raw(&w, sig_alg_der(s->alg));
    derw_octets(&w, s->signature);
    derw_end(&w);
    derw_end(&w);
    derw_end(&w);
    return derw_finish(&w);
}

/* ---- ciphers ---- */

static bool wrap_key(bool is_256, const uint8_t *kek, struct bytes key, uint8_t out[WRAPPED_MAX], size_t *out_len)
{
    AUTO(EVP_CIPHER_CTX) *ctx = EVP_CIPHER_CTX_new();
    int n = 0, last = 0;

    if (!ctx)
        return false;
    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    if (EVP_EncryptInit_ex(ctx, is_256 ? EVP_aes_256_wrap() : EVP_aes_128_wrap(), NULL, kek, NULL) != 1 ||
        EVP_EncryptUpdate(ctx, out, &n, key.p, (int)key.len) != 1 || EVP_EncryptFinal_ex(ctx, out + n, &last) != 1)
        return false;
    *out_len = (size_t)(n + last);
    return true;
}

static bool content_encrypt(bool is_256, const uint8_t *key, const uint8_t iv[AES_BLOCK], struct bytes content, struct buf *out)
{
    AUTO(EVP_CIPHER_CTX) *ctx = EVP_CIPHER_CTX_new();
    int n = 0, last = 0;

    if (!ctx || !buf_reserve(out, content.len + AES_BLOCK) ||
        EVP_EncryptInit_ex(ctx, is_256 ? EVP_aes_256_cbc() : EVP_aes_128_cbc(), NULL, key, iv) != 1 ||
        EVP_EncryptUpdate(ctx, out->p, &n, content.p, (int)content.len) != 1 || EVP_EncryptFinal_ex(ctx, out->p + n, &last) != 1)
        return false;
    out->len = (size_t)(n + last);
    return true;
}

static EVP_PKEY *public_key(const struct recipient *r)
{
    const unsigned char *p = r->spki.p;

    return d2i_PUBKEY(NULL, &p, (long)r->spki.len);
}

static bool rsa_encrypt(const struct recipient *r, struct bytes key, uint8_t out[ENCRYPTED_MAX], size_t *out_len)
{
    AUTO(EVP_PKEY) *pub = public_key(r);
    AUTO(EVP_PKEY_CTX) *ctx = pub ? EVP_PKEY_CTX_new(pub, NULL) : NULL;
    const char *hash = hashes[r->hash].name;

    *out_len = ENCRYPTED_MAX;
    return ctx && EVP_PKEY_encrypt_init(ctx) == 1 &&
           EVP_PKEY_CTX_set_rsa_padding(ctx, r->oaep ? RSA_PKCS1_OAEP_PADDING : RSA_PKCS1_PADDING) == 1 &&
           (!r->oaep || (EVP_PKEY_CTX_set_rsa_oaep_md_name(ctx, hash, NULL) == 1 &&
                         EVP_PKEY_CTX_set_rsa_mgf1_md_name(ctx, hash, NULL) == 1)) &&
           EVP_PKEY_encrypt(ctx, out, out_len, key.p, key.len) == 1;
}

/* ECC-CMS-SharedInfo (RFC 5753 7.2). */
static bool shared_info_write(const struct recipient *r, struct bytes ukm, struct buf *out)
{
    const uint8_t bits[4] = {0, 0, r->wrap_256 ? 1 : 0, r->wrap_256 ? 0 : 128};
    struct derw w;

    derw_init(&w, out);
    derw_begin(&w, DER_SEQUENCE);
    algorithm_write(&w, r->wrap_256 ? OID_AES256_WRAP : OID_AES128_WRAP, NULL);
    derw_begin(&w, DER_CONTEXT_CONSTRUCTED(0));
    derw_octets(&w, ukm);
    derw_end(&w);
    derw_begin(&w, DER_CONTEXT_CONSTRUCTED(2));
    derw_octets(&w, BYTES_OF(bits));
    derw_end(&w);
    derw_end(&w);
    return derw_finish(&w);
}

static bool derive(const struct recipient *r, struct bytes shared, struct bytes ukm, uint8_t kek[KEK_MAX_LEN])
{
    AUTO_BUF info = BUF_INIT(256);
    AUTO(EVP_KDF) *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_X963KDF, NULL);
    AUTO(EVP_KDF_CTX) *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;

    if (!ctx || !shared_info_write(r, ukm, &info))
        return false;
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t)hashes[r->hash].name, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)shared.p, shared.len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.p, info.len),
        OSSL_PARAM_construct_end(),
    };
    return EVP_KDF_derive(ctx, kek, r->wrap_256 ? 32 : 16, params) == 1;
}

/* An ephemeral key of the recipient's curve; what comes of it is the key-encryption key. */
static bool agree(const struct recipient *r, struct bytes ukm, uint8_t kek[KEK_MAX_LEN], uint8_t point[POINT_MAX], size_t *point_len)
{
    AUTO(EVP_PKEY) *pub = public_key(r);
    AUTO(EVP_PKEY) *own = EVP_EC_gen(r->alg == KEY_P256 ? "P-256" : "P-384");
    AUTO(EVP_PKEY_CTX) *ctx = own ? EVP_PKEY_CTX_new(own, NULL) : NULL;
    uint8_t shared[SHARED_MAX];
    size_t n = sizeof(shared);
    bool good = pub && ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, pub) == 1 &&
                EVP_PKEY_derive(ctx, shared, &n) == 1 && derive(r, BYTES(shared, n), ukm, kek) &&
                EVP_PKEY_get_octet_string_param(own, OSSL_PKEY_PARAM_PUB_KEY, point, POINT_MAX, point_len) == 1;

    OPENSSL_cleanse(shared, sizeof(shared));
    return good;
}

/* ---- RecipientInfo (RFC 5652 6.2) ---- */

static void issuer_and_serial_write(struct derw *w, const struct recipient *r)
{
    derw_begin(w, DER_SEQUENCE);
    derw_raw(w, buf_bytes(&r->issuer));
    derw_unsigned(w, buf_bytes(&r->serial));
    derw_end(w);
}

static bool kekri_write(struct derw *w, const struct recipient *r, struct bytes key)
{
    uint8_t wrapped[WRAPPED_MAX];
    size_t n;

    if (!wrap_key(r->wrap_256, r->kek, key, wrapped, &n))
        return false;
    derw_begin(w, DER_CONTEXT_CONSTRUCTED(2));
    derw_u64(w, 4);
    derw_begin(w, DER_SEQUENCE);
    derw_octets(w, buf_bytes(&r->id));
    derw_end(w);
    algorithm_write(w, r->wrap_256 ? OID_AES256_WRAP : OID_AES128_WRAP, NULL);
    derw_octets(w, BYTES(wrapped, n));
    derw_end(w);
    return true;
}

static void oaep_write(struct derw *w, enum recipient_hash hash)
{
    static const uint8_t null_der[] = {DER_NULL, 0};
    const struct bytes null_parameters = BYTES_OF(null_der);

    derw_begin(w, DER_SEQUENCE);
    derw_oid(w, OID_RSAES_OAEP);
    derw_begin(w, DER_SEQUENCE);
    if (hash != HASH_SHA1) { /* the default is left out in DER */
        derw_begin(w, DER_CONTEXT_CONSTRUCTED(0));
        algorithm_write(w, *hashes[hash].oid, &null_parameters);
        derw_end(w);
        derw_begin(w, DER_CONTEXT_CONSTRUCTED(1));
        derw_begin(w, DER_SEQUENCE);
        derw_oid(w, OID_MGF1);
        algorithm_write(w, *hashes[hash].oid, &null_parameters);
        derw_end(w);
        derw_end(w);
    }
    derw_end(w);
    derw_end(w);
}

static bool ktri_write(struct derw *w, const struct recipient *r, struct bytes key)
{
    static const uint8_t null_der[] = {DER_NULL, 0};
    const struct bytes null_parameters = BYTES_OF(null_der);
    uint8_t encrypted[ENCRYPTED_MAX];
    size_t n;

    if (!rsa_encrypt(r, key, encrypted, &n))
        return false;
    derw_begin(w, DER_SEQUENCE);
    derw_u64(w, r->id.len ? 2 : 0);
    if (r->id.len)
        derw_element(w, DER_CONTEXT(0), buf_bytes(&r->id));
    else
        issuer_and_serial_write(w, r);
    if (r->oaep)
        oaep_write(w, r->hash);
    else
        algorithm_write(w, OID_RSA, &null_parameters);
    derw_octets(w, BYTES(encrypted, n));
    derw_end(w);
    return true;
}

static void originator_write(struct derw *w, const struct recipient *r, struct bytes point)
{
    derw_begin(w, DER_CONTEXT_CONSTRUCTED(0));
    derw_begin(w, DER_CONTEXT_CONSTRUCTED(1));
    derw_begin(w, DER_SEQUENCE);
    derw_oid(w, OID_EC_PUBLIC_KEY);
    derw_oid(w, r->alg == KEY_P256 ? OID_P256 : OID_P384);
    derw_end(w);
    derw_bits(w, point, 0);
    derw_end(w);
    derw_end(w);
}

static bool kari_write(struct derw *w, const struct recipient *r, struct bytes key)
{
    uint8_t ukm[UKM_LEN], kek[KEK_MAX_LEN], point[POINT_MAX], wrapped[WRAPPED_MAX];
    size_t point_len, n = 0;
    bool good = random_bytes(ukm, sizeof(ukm), NULL) == E_OK && agree(r, BYTES_OF(ukm), kek, point, &point_len) &&
                wrap_key(r->wrap_256, kek, key, wrapped, &n);

    OPENSSL_cleanse(kek, sizeof(kek));
    if (!good)
        return false;
    derw_begin(w, DER_CONTEXT_CONSTRUCTED(1));
    derw_u64(w, 3);
    originator_write(w, r, BYTES(point, point_len));
    derw_begin(w, DER_CONTEXT_CONSTRUCTED(1));
    derw_octets(w, BYTES_OF(ukm));
    derw_end(w);
    derw_begin(w, DER_SEQUENCE);
    derw_oid(w, r->hash == HASH_SHA384 ? OID_ECDH_SHA384 : OID_ECDH_SHA256);
    algorithm_write(w, r->wrap_256 ? OID_AES256_WRAP : OID_AES128_WRAP, NULL);
    derw_end(w);
    derw_begin(w, DER_SEQUENCE);
    derw_begin(w, DER_SEQUENCE);
    if (r->id.len) {
        derw_begin(w, DER_CONTEXT_CONSTRUCTED(0));
        derw_octets(w, buf_bytes(&r->id));
        derw_end(w);
    } else {
        issuer_and_serial_write(w, r);
    }
    derw_octets(w, BYTES(wrapped, n));
    derw_end(w);
    derw_end(w);
    derw_end(w);
    return true;
}

static bool recipient_write(struct derw *w, const struct recipient *r, struct bytes key)
{
    switch (r->kind) {
    case RECIPIENT_KEK:
        return kekri_write(w, r, key);
    case RECIPIENT_RSA:
        return ktri_write(w, r, key);
    case RECIPIENT_EC:
        return kari_write(w, r, key);
    case RECIPIENT_NONE:
        break;
    }
    return false;
}

/* ---- EnvelopedData ---- */

/* Version 0 only where the one recipient's is (RFC 5652 6.1). */
static bool enveloped_write(struct bytes type, const struct recipient *r, struct bytes key, const uint8_t iv[AES_BLOCK],
                            struct bytes encrypted, struct buf *out)
{
    bool version_0 = r->kind == RECIPIENT_RSA && r->id.len == 0;
    struct derw w;

    derw_init(&w, out);
    derw_begin(&w, DER_SEQUENCE);
    derw_oid(&w, OID_PKCS7_ENVELOPED_DATA);
    derw_begin(&w, DER_CONTEXT_CONSTRUCTED(0));
    derw_begin(&w, DER_SEQUENCE);
    derw_u64(&w, version_0 ? 0 : 2);
    derw_begin(&w, DER_SET);
    if (!recipient_write(&w, r, key))
        return false;
    derw_end(&w);
    derw_begin(&w, DER_SEQUENCE);
    derw_oid(&w, type);
    derw_begin(&w, DER_SEQUENCE);
    derw_oid(&w, r->content_256 ? OID_AES256_CBC : OID_AES128_CBC);
    derw_octets(&w, BYTES(iv, AES_BLOCK));
    derw_end(&w);
    derw_element(&w, DER_CONTEXT(0), encrypted);
    derw_end(&w);
    derw_end(&w);
    derw_end(&w);
    derw_end(&w);
    return derw_finish(&w);
}

enum err_code envelope_write(struct bytes type, struct bytes content, const struct recipient *r, struct buf *out, struct err *e)
{
    AUTO_BUF encrypted = BUF_INIT(KEY_PACKAGE_MAX_LEN);
    uint8_t key[32], iv[AES_BLOCK];
    size_t key_len = r->content_256 ? 32 : 16;
    enum err_code code;

    code = random_bytes(key, key_len, e);
    if (code == E_OK)
        code = random_bytes(iv, sizeof(iv), e);
    if (code == E_OK && (!content_encrypt(r->content_256, key, iv, content, &encrypted) ||
                         !enveloped_write(type, r, BYTES(key, key_len), iv, buf_bytes(&encrypted), out)))
        code = err_openssl(e, E_CRYPTO, "EnvelopedData");
    out->failed |= code != E_OK;
    OPENSSL_cleanse(key, sizeof(key));
    stack_wipe();
    return code;
}

enum err_code key_package_envelope(struct bytes package, const struct package_signature *s, const struct recipient *r,
                                   struct buf *out, struct err *e)
{
    AUTO_SECRET_BUF plain = {0};

    if (!secret_buf_init(&plain, package.len + s->cert.len + s->attributes.len + s->signature.len + SIGNED_EXTRA) ||
        !signed_data_write(package, s, &plain))
        return err_set(e, E_NOMEM, "SignedData of a key package");
    return envelope_write(OID_PKCS7_SIGNED_DATA, buf_bytes(&plain), r, out, e);
}
