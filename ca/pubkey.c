/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public keys and signatures of requests. The SPKI is walked in place and the key is made from its numbers: OpenSSL 3.0
 * spends several times longer in its decoder than in the check itself.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/param_build.h>

#include "base/auto.h"
#include "base/der.h"
#include "base/derw.h"
#include "base/limits.h"
#include "base/oid.h"
#include "ca/csr.h"
#include "ca/pki_int.h"

AUTO_TYPE(EVP_PKEY, EVP_PKEY_free)
AUTO_TYPE(EVP_PKEY_CTX, EVP_PKEY_CTX_free)
AUTO_TYPE(EVP_MD_CTX, EVP_MD_CTX_free)
AUTO_TYPE(EC_POINT, EC_POINT_free)
AUTO_TYPE(BN_CTX, BN_CTX_free)
AUTO_TYPE(BIGNUM, BN_free)
AUTO_TYPE(OSSL_PARAM_BLD, OSSL_PARAM_BLD_free)
AUTO_TYPE(OSSL_PARAM, OSSL_PARAM_free)

#define SMALL_FACTOR_MAX 752 /* as the CA/Browser Forum has it */
#define RSA_E_MIN_LEN  3  /* 65537 */
#define RSA_E_MAX_LEN  32 /* below 2^256 */
#define ED25519_LEN    32

static const struct curve {
    enum key_alg alg;
    const struct bytes *oid;
    const char *group;
    int nid;
    size_t field_len;
} curves[] = {
    {KEY_P256, &OID_P256, "P-256", NID_X9_62_prime256v1, 32},
    {KEY_P384, &OID_P384, "P-384", NID_secp384r1, 48},
};

enum sig_family { FAMILY_RSA, FAMILY_EC, FAMILY_ED25519 };

/* parameters: RSA NULL or absent (RFC 4055 section 5), ECDSA and EdDSA absent (RFC 5758 3.2, RFC 8410 section 3). */
static const struct sig_form {
    const struct bytes *oid;
    enum sig_family family;
    int md; /* index into shared.md, -1 = none */
} sig_forms[] = {
    {&OID_RSA_SHA256, FAMILY_RSA, 0},  {&OID_RSA_SHA384, FAMILY_RSA, 1},  {&OID_RSA_SHA512, FAMILY_RSA, 2},
    {&OID_ECDSA_SHA256, FAMILY_EC, 0}, {&OID_ECDSA_SHA384, FAMILY_EC, 1}, {&OID_ECDSA_SHA512, FAMILY_EC, 2},
    {&OID_ED25519, FAMILY_ED25519, -1},
};

/* Made once; read-only afterwards, so that every thread may use them. */
static struct {
    EC_GROUP *group[ARRAY_LEN(curves)];
    EVP_MD *md[3];
    pthread_key_t verifiers;
    bool has_verifiers;
    atomic_bool ready;
} shared;
static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;

static void verifiers_free(void *arg);

/* false: no memory now. The next call makes what is missing. */
static bool shared_ready(void)
{
    static const char *const md_names[ARRAY_LEN(shared.md)] = {"SHA256", "SHA384", "SHA512"};
    bool ready = true;

    if (atomic_load_explicit(&shared.ready, memory_order_acquire))
        return true;
    pthread_mutex_lock(&shared_lock);
    for (size_t i = 0; i < ARRAY_LEN(curves); i++)
        ready &= shared.group[i] || (shared.group[i] = EC_GROUP_new_by_curve_name(curves[i].nid)) != NULL;
    for (size_t i = 0; i < ARRAY_LEN(md_names); i++)
        ready &= shared.md[i] || (shared.md[i] = EVP_MD_fetch(NULL, md_names[i], NULL)) != NULL;
    if (!shared.has_verifiers)
        shared.has_verifiers = pthread_key_create(&shared.verifiers, verifiers_free) == 0;
    ready &= shared.has_verifiers;
    atomic_store_explicit(&shared.ready, ready, memory_order_release);
    pthread_mutex_unlock(&shared_lock);
    if (!ready)
        ERR_clear_error();
    return ready;
}

static enum err_code point_check(struct bytes point, size_t curve, struct err *e)
{
    AUTO(EC_POINT) *p = NULL;
    AUTO(BN_CTX) *ctx = NULL;
    size_t field = curves[curve].field_len;
    const char *name = curves[curve].group;

    /* 06 and 07 (hybrid) MUST NOT be used (RFC 5480 2.2); 00 is the point at infinity. */
    if (point.len == 0 || (point.p[0] != 0x04 && point.p[0] != 0x02 && point.p[0] != 0x03))
        return err_set(e, E_INVALID, "%s key: point form %02x (RFC 5480 2.2: 04, 02 or 03)", name,
                       point.len ? point.p[0] : 0u);
    if (point.len != (point.p[0] == 0x04 ? 1 + 2 * field : 1 + field))
        return err_set(e, E_INVALID, "%s key: point of %zu octets", name, point.len);
    if (!shared_ready())
        return err_set(e, E_NOMEM, "%s key: out of memory", name);
    p = EC_POINT_new(shared.group[curve]);
    ctx = BN_CTX_new();
    if (!p || !ctx)
        return err_openssl(e, E_NOMEM, "EC_POINT_new");
    if (EC_POINT_oct2point(shared.group[curve], p, point.p, point.len, ctx) != 1 ||
        EC_POINT_is_on_curve(shared.group[curve], p, ctx) != 1) {
        if (err_openssl(NULL, E_INVALID, "") == E_NOMEM)
            return err_set(e, E_NOMEM, "%s key: out of memory", name);
        return err_set(e, E_INVALID, "%s key: the point is not on the curve", name);
    }
    return E_OK;
}

static enum err_code ec_read(struct der *params, struct bytes bits, struct pubkey *out, struct err *e)
{
    struct bytes oid;

    if (der_at_end(params))
        return err_set(e, E_INVALID, "EC key: no curve named (RFC 5480 2.1.1)");
    if (der_peek(params, DER_NULL) || der_peek(params, DER_SEQUENCE))
        return err_set(e, E_INVALID, "EC key: implicit or explicit curve parameters (RFC 5480 2.1.1)");
    if (!der_take_oid(params, &oid) || !der_at_end(params))
        return err_set(e, E_INVALID, "EC key: parameters are not one namedCurve (RFC 5480 2.1.1)");
    for (size_t i = 0; i < ARRAY_LEN(curves); i++) {
        if (!bytes_equal(oid, *curves[i].oid))
            continue;
        out->alg = curves[i].alg;
        return point_check(bits, i, e);
    }
    char text[96];
    oid_format(oid, text, sizeof text);
    return err_set(e, E_INVALID, "EC key: curve %s is not P-256 or P-384", text);
}

static size_t magnitude_bits(struct bytes v)
{
    size_t bits = v.len * 8;

    for (uint8_t top = v.len ? v.p[0] : 0; bits && !(top & 0x80); top = (uint8_t)(top << 1))
        bits--;
    return bits;
}

static bool rsa_parts(struct bytes bits, struct bytes *n, struct bytes *exp)
{
    struct der in, seq;

    der_init(&in, bits.p, bits.len);
    return der_take(&in, DER_SEQUENCE, &seq) && der_at_end(&in) && der_take_unsigned(&seq, n) &&
           der_take_unsigned(&seq, exp) && der_at_end(&seq);
}

/* m < 2^32 */
static uint64_t modulo(struct bytes n, uint64_t m)
{
    uint64_t rest = 0;
    size_t i = 0;

    for (; i < n.len % 4; i++)
        rest = (rest << 8 | n.p[i]) % m;
    for (; i < n.len; i += 4)
        rest = (rest << 32 | get_be32(n.p + i)) % m;
    return rest;
}

/* Several odd numbers in one division of the long one. */
static bool has_small_factor(struct bytes n)
{
    for (uint64_t from = 3, to = 3; from < SMALL_FACTOR_MAX; from = to) {
        uint64_t product = 1, rest;

        for (; to < SMALL_FACTOR_MAX && product * to <= UINT32_MAX; to += 2)
            product *= to;
        rest = modulo(n, product);
        for (; from < to; from += 2)
            if (rest % from == 0)
                return true;
    }
    return false;
}

/*
 * Keys that need no factoring: a modulus with a small factor, and those of the library in CVE-2017-15361 ("ROCA"). Its primes
 * are powers of 65537 modulo each small prime, and so is their product; a random modulus is so for all of these primes once in 2^27.
 */
static const char *rsa_weakness(struct bytes n)
{
    static const uint8_t roca[] = {11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157};
    bool fits = true;

    if (has_small_factor(n))
        return "a factor below 752";
    for (size_t i = 0; fits && i < ARRAY_LEN(roca); i++) {
        uint64_t want = modulo(n, roca[i]), power = 65537 % roca[i];

        fits = want == 1;
        for (uint64_t at = power; !fits && at != 1; at = at * power % roca[i])
            fits = at == want;
    }
    return fits ? "the form of CVE-2017-15361 (ROCA)" : NULL;
}

static enum err_code rsa_read(struct der *params, struct bytes bits, struct pubkey *out, struct err *e)
{
    struct bytes n, exp;
    const char *weakness;
    size_t n_bits;

    if (!der_take_null(params) || !der_at_end(params))
        return err_set(e, E_INVALID, "RSA key: parameters are not NULL (RFC 3279 2.3.1)");
    if (!rsa_parts(bits, &n, &exp))
        return err_set(e, E_INVALID, "RSA key: not SEQUENCE { modulus, publicExponent } (RFC 8017 A.1.1)");
    n_bits = magnitude_bits(n);
    if (n_bits < RSA_MIN_BITS || n_bits > RSA_MAX_BITS)
        return err_set(e, E_INVALID, "RSA key: modulus of %zu bits, not %d to %d", n_bits, RSA_MIN_BITS, RSA_MAX_BITS);
    if (!(n.p[n.len - 1] & 1))
        return err_set(e, E_INVALID, "RSA key: even modulus");
    if ((weakness = rsa_weakness(n)) != NULL)
        return err_set(e, E_INVALID, "RSA key: the modulus has %s", weakness);
    /* With e = 1 anyone can write a "signature" that OpenSSL 3.0 takes for good. */
    if (!(exp.p[exp.len - 1] & 1) || exp.len < RSA_E_MIN_LEN || (exp.len == RSA_E_MIN_LEN && exp.p[0] < 1) ||
        exp.len > RSA_E_MAX_LEN)
        return err_set(e, E_INVALID, "RSA key: public exponent is not odd and from 65537 to 2^256 - 1");
    out->alg = n_bits >= 4096 ? KEY_RSA4096 : n_bits >= 3072 ? KEY_RSA3072 : KEY_RSA2048;
    return E_OK;
}

/*
 * Points of order 1, 2, 4 and 8, the sign bit left out: under them everybody can write a "signature" that verifies, as with
 * e = 1 under RSA. RFC 8032 5.1.7 leaves the check to the application.
 */
static bool ed25519_has_small_order(const uint8_t p[ED25519_LEN])
{
    static const uint8_t small[][ED25519_LEN] = {
        {0x00},
        {0x01},
        {0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
         0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
        {0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
         0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
    };
    uint8_t y[ED25519_LEN];
    bool high = true; /* p - 1, and p and p + 1 for 0 and 1: ec, ed, ee, then ff, then 7f */

    memcpy(y, p, sizeof y);
    y[ED25519_LEN - 1] &= 0x7f;
    for (size_t i = 0; i < ARRAY_LEN(small); i++)
        if (memcmp(y, small[i], sizeof y) == 0)
            return true;
    for (size_t i = 1; i < ED25519_LEN - 1; i++)
        high &= y[i] == 0xff;
    return high && y[ED25519_LEN - 1] == 0x7f && y[0] >= 0xec && y[0] <= 0xee;
}

static enum err_code ed25519_read(struct der *params, struct bytes bits, struct pubkey *out, struct err *e)
{
    if (!der_at_end(params))
        return err_set(e, E_INVALID, "Ed25519 key: parameters present (RFC 8410 section 3)");
    if (bits.len != ED25519_LEN)
        return err_set(e, E_INVALID, "Ed25519 key: %zu octets, not %d", bits.len, ED25519_LEN);
    if (ed25519_has_small_order(bits.p))
        return err_set(e, E_INVALID, "Ed25519 key: a point of small order, under which anybody can sign");
    out->alg = KEY_ED25519;
    return E_OK;
}

static const struct key_form {
    const struct bytes *oid;
    enum err_code (*read)(struct der *params, struct bytes bits, struct pubkey *out, struct err *e);
} key_forms[] = {
    {&OID_EC_PUBLIC_KEY, ec_read},
    {&OID_RSA, rsa_read},
    {&OID_ED25519, ed25519_read},
};

static size_t curve_of(enum key_alg alg)
{
    size_t i = 0;

    while (curves[i].alg != alg)
        i++;
    return i;
}

/* SPKI of the same key with its point uncompressed: one key has one hash, whichever way it was sent. */
static bool spki_expand(const struct pubkey *key, struct buf *out)
{
    AUTO(EC_POINT) *p = NULL;
    uint8_t point[1 + 2 * 48];
    size_t i = curve_of(key->alg), n;
    struct derw w;

    p = EC_POINT_new(shared.group[i]);
    if (!p || EC_POINT_oct2point(shared.group[i], p, key->key_bits.p, key->key_bits.len, NULL) != 1)
        return false;
    n = EC_POINT_point2oct(shared.group[i], p, POINT_CONVERSION_UNCOMPRESSED, point, sizeof point, NULL);
    if (n == 0)
        return false;
    derw_init(&w, out);
    derw_begin(&w, DER_SEQUENCE);
    derw_begin(&w, DER_SEQUENCE);
    derw_oid(&w, OID_EC_PUBLIC_KEY);
    derw_oid(&w, *curves[i].oid);
    derw_end(&w);
    derw_bits(&w, BYTES(point, n), 0);
    derw_end(&w);
    return derw_finish(&w);
}

static enum err_code hash_set(struct pubkey *key, struct err *e)
{
    AUTO_BUF expanded = BUF_INIT(256);
    bool is_ec = key->alg == KEY_P256 || key->alg == KEY_P384;

    if (!is_ec || key->key_bits.p[0] == 0x04) {
        sha256(key->spki, key->spki_hash);
        return E_OK;
    }
    if (!spki_expand(key, &expanded))
        return err_openssl(e, E_CRYPTO, "EC_POINT_point2oct");
    sha256(buf_bytes(&expanded), key->spki_hash);
    return E_OK;
}

enum err_code pubkey_read(struct bytes spki, struct pubkey *out, struct err *e)
{
    struct der in, seq, alg;
    struct bytes oid, bits;
    unsigned unused;

    *out = (struct pubkey){0};
    if (spki.len > SPKI_MAX_LEN)
        return err_set(e, E_INVALID, "public key is %zu octets, at most %d", spki.len, SPKI_MAX_LEN);
    der_init(&in, spki.p, spki.len);
    if (!der_take(&in, DER_SEQUENCE, &seq) || !der_at_end(&in) || !der_take(&seq, DER_SEQUENCE, &alg) ||
        !der_take_oid(&alg, &oid) || !der_take_bits(&seq, &bits, &unused) || !der_at_end(&seq))
        return err_set(e, E_INVALID, "public key: not a SubjectPublicKeyInfo (RFC 5280 4.1.2.7)");
    if (unused != 0)
        return err_set(e, E_INVALID, "public key: %u unused bits", unused);
    for (size_t i = 0; i < ARRAY_LEN(key_forms); i++) {
        if (!bytes_equal(oid, *key_forms[i].oid))
            continue;
        enum err_code code = key_forms[i].read(&alg, bits, out, e);
        out->spki = spki;
        out->key_bits = bits;
        if (code == E_OK)
            code = hash_set(out, e);
        if (code != E_OK)
            *out = (struct pubkey){0};
        return code;
    }
    char text[96];
    oid_format(oid, text, sizeof text);
    return err_set(e, E_INVALID, "public key: algorithm %s is not RSA, ECDSA or Ed25519", text);
}

enum err_code pubkey_identify(struct bytes spki, struct pubkey *out, struct err *e)
{
    enum err_code code = pubkey_read(spki, out, e);

    if (code != E_INVALID)
        return code;
    out->spki = spki;
    sha256(spki, out->spki_hash);
    return E_OK;
}

static enum sig_family family_of(enum key_alg alg)
{
    if (alg == KEY_ED25519)
        return FAMILY_ED25519;
    return alg == KEY_P256 || alg == KEY_P384 ? FAMILY_EC : FAMILY_RSA;
}

static const struct sig_form *sig_form_find(struct bytes sig_alg_der)
{
    struct der in, seq;
    struct bytes oid;

    der_init(&in, sig_alg_der.p, sig_alg_der.len);
    if (!der_take(&in, DER_SEQUENCE, &seq) || !der_at_end(&in) || !der_take_oid(&seq, &oid))
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(sig_forms); i++) {
        if (!bytes_equal(oid, *sig_forms[i].oid))
            continue;
        if (sig_forms[i].family == FAMILY_RSA && der_peek(&seq, DER_NULL) && !der_take_null(&seq))
            return NULL;
        return der_at_end(&seq) ? &sig_forms[i] : NULL;
    }
    return NULL;
}

bool pubkey_takes_sig_alg(const struct pubkey *key, struct bytes sig_alg_der)
{
    const struct sig_form *form = sig_form_find(sig_alg_der);

    return form && key->alg != KEY_NONE && form->family == family_of(key->alg);
}

void sig_alg_text(struct bytes sig_alg_der, char *out, size_t size)
{
    struct der in, seq;
    struct bytes oid;

    der_init(&in, sig_alg_der.p, sig_alg_der.len);
    if (!der_take(&in, DER_SEQUENCE, &seq) || !der_take_oid(&seq, &oid)) {
        snprintf(out, size, "unreadable");
        return;
    }
    if (oid_name(oid))
        snprintf(out, size, "%s", oid_name(oid));
    else
        oid_format(oid, out, size);
}

static EVP_PKEY *pkey_from_params(const char *type, OSSL_PARAM *params)
{
    AUTO(EVP_PKEY_CTX) *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *pkey = NULL;

    if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        return NULL;
    return pkey;
}

static EVP_PKEY *pkey_from_rsa(struct bytes bits)
{
    AUTO(BIGNUM) *n = NULL;
    AUTO(BIGNUM) *exp = NULL;
    AUTO(OSSL_PARAM_BLD) *bld = NULL;
    AUTO(OSSL_PARAM) *params = NULL;
    struct bytes n_octets, e_octets;

    if (!rsa_parts(bits, &n_octets, &e_octets))
        return NULL;
    n = BN_bin2bn(n_octets.p, (int)n_octets.len, NULL);
    exp = BN_bin2bn(e_octets.p, (int)e_octets.len, NULL);
    bld = OSSL_PARAM_BLD_new();
    if (!n || !exp || !bld || !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) ||
        !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, exp))
        return NULL;
    params = OSSL_PARAM_BLD_to_param(bld);
    return params ? pkey_from_params("RSA", params) : NULL;
}

static EVP_PKEY *pkey_of(const struct pubkey *key)
{
    void *octets = (void *)(uintptr_t)key->key_bits.p; /* OSSL_PARAM has no const form; it is only read */

    for (size_t i = 0; i < ARRAY_LEN(curves); i++) {
        if (curves[i].alg != key->alg)
            continue;
        OSSL_PARAM params[] = {
            OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)(uintptr_t)curves[i].group, 0),
            OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, octets, key->key_bits.len),
            OSSL_PARAM_construct_end(),
        };
        return pkey_from_params("EC", params);
    }
    if (key->alg == KEY_ED25519)
        return EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, key->key_bits.p, key->key_bits.len);
    return pkey_from_rsa(key->key_bits);
}

/*
 * ECDSA keys of requests pass through one key object per curve and thread, whose point is replaced: making an object and its
 * context anew costs a fifth of the verification. Setting the point checks that it is on the curve.
 */
struct ec_verifier {
    EVP_PKEY *pkey;
    EVP_PKEY_CTX *ctx;
};
static void verifiers_free(void *arg)
{
    struct ec_verifier *v = arg;

    for (size_t i = 0; i < ARRAY_LEN(curves); i++) {
        EVP_PKEY_CTX_free(v[i].ctx);
        EVP_PKEY_free(v[i].pkey);
    }
    free(v);
}

/* This thread's, for the curve. NULL: no memory. */
static struct ec_verifier *verifier_of(size_t curve)
{
    struct ec_verifier *v = pthread_getspecific(shared.verifiers);

    if (!v) {
        v = calloc(ARRAY_LEN(curves), sizeof(*v));
        if (!v || pthread_setspecific(shared.verifiers, v) != 0) {
            free(v);
            return NULL;
        }
    }
    return &v[curve];
}

static bool verifier_take_key(struct ec_verifier *v, const struct pubkey *key)
{
    if (v->ctx)
        return EVP_PKEY_set1_encoded_public_key(v->pkey, key->key_bits.p, key->key_bits.len) == 1;
    EVP_PKEY_free(v->pkey);
    v->pkey = pkey_of(key);
    v->ctx = v->pkey ? EVP_PKEY_CTX_new(v->pkey, NULL) : NULL;
    if (v->ctx && EVP_PKEY_verify_init(v->ctx) != 1) {
        EVP_PKEY_CTX_free(v->ctx);
        v->ctx = NULL;
    }
    return v->ctx != NULL;
}

enum outcome { WRONG, GOOD, NO_MEMORY };

/* ECDSA-Sig-Value (RFC 3279 2.2.3) */
static bool ecdsa_sig_is_readable(struct bytes sig)
{
    struct der in, seq;
    struct bytes r, s;

    der_init(&in, sig.p, sig.len);
    return der_take(&in, DER_SEQUENCE, &seq) && der_at_end(&in) && der_take_integer(&seq, &r) && der_take_integer(&seq, &s) &&
           der_at_end(&seq);
}

static enum outcome verify_ec(const struct pubkey *key, const EVP_MD *md, struct bytes tbs, struct bytes sig)
{
    struct ec_verifier *v = verifier_of(curve_of(key->alg));
    uint8_t hash[EVP_MAX_MD_SIZE];
    unsigned len;

    /* The key was read before: for none of this there is another reason to fail. */
    if (!v || !verifier_take_key(v, key) || EVP_Digest(tbs.p, tbs.len, hash, &len, md, NULL) != 1)
        return NO_MEMORY;
    switch (EVP_PKEY_verify(v->ctx, sig.p, sig.len, hash, len)) {
    case 1:
        return GOOD;
    case 0:
        return WRONG;
    default:
        return ecdsa_sig_is_readable(sig) ? NO_MEMORY : WRONG;
    }
}

static enum outcome verify(const struct pubkey *key, const struct sig_form *form, struct bytes tbs, struct bytes sig)
{
    AUTO(EVP_PKEY) *pkey = NULL;
    AUTO(EVP_MD_CTX) *ctx = NULL;
    const EVP_MD *md;

    if (!shared_ready())
        return NO_MEMORY;
    md = form->md >= 0 ? shared.md[form->md] : NULL;
    if (form->family == FAMILY_EC)
        return verify_ec(key, md, tbs, sig);
    pkey = pkey_of(key);
    ctx = EVP_MD_CTX_new();
    /* Here OpenSSL says the same of a wrong signature and of want of memory: what is wrong is wrong again. */
    for (int i = 0; i < 2; i++) {
        if (!pkey || !ctx || EVP_DigestVerifyInit(ctx, NULL, md, NULL, pkey) != 1)
            return NO_MEMORY;
        if (EVP_DigestVerify(ctx, sig.p, sig.len, tbs.p, tbs.len) == 1)
            return GOOD;
        EVP_MD_CTX_reset(ctx);
    }
    return WRONG;
}

bool pubkey_verifies(const struct pubkey *key, struct bytes sig_alg_der, struct bytes tbs, struct bytes sig)
{
    const struct sig_form *form = sig_form_find(sig_alg_der);
    enum outcome outcome;

    errno = 0;
    if (!form || key->alg == KEY_NONE || form->family != family_of(key->alg) || sig.len == 0 ||
        sig.len > SIGNATURE_MAX_LEN)
        return false;
    outcome = verify(key, form, tbs, sig);
    if (err_openssl(NULL, E_INVALID, "") == E_NOMEM && outcome != GOOD)
        outcome = NO_MEMORY;
    errno = outcome == NO_MEMORY ? ENOMEM : 0;
    return outcome == GOOD;
}
