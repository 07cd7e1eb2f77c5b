/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key pairs that a token makes for somebody else (RFC 7030 4.4): session objects, taken out and destroyed. The private key leaves
 * the module wrapped (AES key wrap with padding, RFC 5649) under a key drawn for this one and put into the token as a session object
 * too; it is opened here. Where the module wraps no Ed25519 key, such a key is made readable and read.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/auto.h"
#include "base/der.h"
#include "base/privkey.h"
#include "hsm/p11.h"

#ifndef CKM_AES_KEY_WRAP_PAD
#define CKM_AES_KEY_WRAP_PAD 0x210aUL
#endif

#define WRAP_KEY_LEN 32
#define WRAPPED_MAX  (PRIVKEY_MAX_LEN + 256)

AUTO_TYPE(EVP_CIPHER_CTX, EVP_CIPHER_CTX_free)

#define BOOL_ATTR(type, v) ((CK_ATTRIBUTE){(type), (v) ? (void *)&yes : (void *)&no, sizeof(CK_BBOOL)})

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

struct pair {
    CK_OBJECT_HANDLE pub, prv, wrap;
};

static CK_RV generate(const struct p11 *m, CK_SESSION_HANDLE s, const struct key_type *type, bool readable, struct pair *out)
{
    static CK_BYTE exponent[] = {0x01, 0x00, 0x01};
    CK_MECHANISM mech = {type->bits ? CKM_RSA_PKCS_KEY_PAIR_GEN : type->digest_len ? CKM_EC_KEY_PAIR_GEN : CKM_EC_EDWARDS_KEY_PAIR_GEN, NULL, 0};
    CK_ULONG bits = type->bits, pn = 0;
    CK_ATTRIBUTE pub[4], prv[] = {
        BOOL_ATTR(CKA_TOKEN, false), BOOL_ATTR(CKA_PRIVATE, true), BOOL_ATTR(CKA_SENSITIVE, !readable),
        BOOL_ATTR(CKA_EXTRACTABLE, true), BOOL_ATTR(CKA_SIGN, true),
    };

    pub[pn++] = BOOL_ATTR(CKA_TOKEN, false);
    pub[pn++] = BOOL_ATTR(CKA_VERIFY, true);
    if (type->bits) {
        pub[pn++] = (CK_ATTRIBUTE){CKA_MODULUS_BITS, &bits, sizeof(bits)};
        pub[pn++] = (CK_ATTRIBUTE){CKA_PUBLIC_EXPONENT, exponent, sizeof(exponent)};
    } else {
        pub[pn++] = (CK_ATTRIBUTE){CKA_EC_PARAMS, (void *)(uintptr_t)type->curve_der.p, type->curve_der.len};
    }
    return m->f->C_GenerateKeyPair(s, &mech, pub, pn, prv, ARRAY_LEN(prv), &out->pub, &out->prv);
}

static CK_RV wrapping_key(const struct p11 *m, CK_SESSION_HANDLE s, uint8_t key[WRAP_KEY_LEN], CK_OBJECT_HANDLE *out)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_ATTRIBUTE t[] = {
        {CKA_CLASS, &class, sizeof(class)}, {CKA_KEY_TYPE, &type, sizeof(type)}, {CKA_VALUE, key, WRAP_KEY_LEN},
        BOOL_ATTR(CKA_TOKEN, false), BOOL_ATTR(CKA_PRIVATE, true), BOOL_ATTR(CKA_SENSITIVE, true),
        BOOL_ATTR(CKA_EXTRACTABLE, false), BOOL_ATTR(CKA_WRAP, true),
    };

    return m->f->C_CreateObject(s, t, ARRAY_LEN(t), out);
}

static bool unwrap(const uint8_t key[WRAP_KEY_LEN], struct bytes wrapped, struct buf *out)
{
    AUTO(EVP_CIPHER_CTX) *ctx = EVP_CIPHER_CTX_new();
    struct der in, info;
    struct bytes whole;
    int n = 0;

    if (!ctx || out->max < wrapped.len)
        return false;
    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    if (EVP_DecryptInit_ex(ctx, EVP_aes_256_wrap_pad(), NULL, key, NULL) != 1 ||
        EVP_DecryptUpdate(ctx, out->p, &n, wrapped.p, (int)wrapped.len) != 1 || n <= 0)
        return false;
    /* OpenSSL 3.0 may count the padding in, which is zeros: the element says where it ends. */
    der_init(&in, out->p, (size_t)n);
    if (!der_take_raw(&in, DER_SEQUENCE, &info, &whole) || der_rest(&in).len >= 8)
        return false;
    out->len = whole.len;
    return true;
}

/* PrivateKeyInfo as the module writes it, into `out`. */
static CK_RV take_wrapped(const struct p11 *m, CK_SESSION_HANDLE s, struct pair *pair, struct buf *out, const char **call)
{
    CK_MECHANISM mech = {CKM_AES_KEY_WRAP_PAD, NULL, 0};
    uint8_t key[WRAP_KEY_LEN], wrapped[WRAPPED_MAX];
    CK_ULONG n = sizeof(wrapped);
    CK_RV rv = CKR_FUNCTION_FAILED;

    *call = "random_bytes";
    if (random_bytes(key, sizeof(key), NULL) != E_OK)
        return rv;
    *call = "C_CreateObject";
    rv = wrapping_key(m, s, key, &pair->wrap);
    if (rv == CKR_OK) {
        *call = "C_WrapKey";
        rv = m->f->C_WrapKey(s, &mech, pair->wrap, pair->prv, wrapped, &n);
    }
    if (rv == CKR_OK && !unwrap(key, BYTES(wrapped, n), out)) {
        *call = "C_WrapKey (not RFC 5649)";
        rv = CKR_WRAPPED_KEY_INVALID;
    }
    OPENSSL_cleanse(key, sizeof(key));
    return rv;
}

/* The seed of an Ed25519 key: bare, or as a DER OCTET STRING. */
static CK_RV take_seed(const struct p11 *m, CK_SESSION_HANDLE s, CK_OBJECT_HANDLE prv, struct buf *out, struct bytes *seed)
{
    CK_ATTRIBUTE a = {CKA_VALUE, out->p, out->max};
    CK_RV rv = m->f->C_GetAttributeValue(s, prv, &a, 1);
    struct der in;

    if (rv != CKR_OK)
        return rv;
    out->len = a.ulValueLen;
    *seed = buf_bytes(out);
    der_init(&in, seed->p, seed->len);
    if (seed->len != 32 && (!der_take_octets(&in, seed) || !der_at_end(&in)))
        return CKR_ATTRIBUTE_VALUE_INVALID;
    return seed->len == 32 ? CKR_OK : CKR_ATTRIBUTE_VALUE_INVALID;
}

/* Our PrivateKeyInfo from what the module gave: an EC scalar in full length, and the public key of the public object. */
static enum err_code write_pair(enum key_alg alg, struct bytes given, struct bytes seed, struct bytes spki, struct buf *pkcs8, struct err *e)
{
    uint8_t scalar[48] = {0};
    size_t field = key_field_len(alg);
    struct key_parts k = {.alg = alg, .secret = seed};
    struct spki_view view;
    bool good = seed.len || privkey_read(given, alg, &k);

    if (good && field && k.secret.len <= field) { /* leading zeros may be missing */
        memcpy(scalar + field - k.secret.len, k.secret.p, k.secret.len);
        k.secret = BYTES(scalar, field);
    }
    good = good && spki_view(spki, &view, e) == E_OK;
    if (good && field)
        k.point = view.bits;
    good = good && privkey_write(pkcs8, &k);
    OPENSSL_cleanse(scalar, sizeof(scalar));
    return good ? E_OK : err_set(e, E_TOKEN, "the module's PrivateKeyInfo is not one of a %s key", key_alg_name(alg));
}

/* All of it is tried; the first failure. */
static CK_RV destroy(const struct p11 *m, CK_SESSION_HANDLE s, const struct pair *p)
{
    const CK_OBJECT_HANDLE all[] = {p->prv, p->pub, p->wrap};
    CK_RV first = CKR_OK, rv;

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        rv = all[i] != CK_INVALID_HANDLE ? m->f->C_DestroyObject(s, all[i]) : CKR_OK;
        first = first == CKR_OK ? rv : first;
    }
    return first;
}

enum err_code p11_session_pair(const struct p11 *m, CK_SESSION_HANDLE session, enum key_alg alg, struct buf *pkcs8, struct buf *spki,
                               CK_RV *rv, const char **call, struct err *e)
{
    const struct key_type *type = key_type_of(alg);
    struct pair pair = {CK_INVALID_HANDLE, CK_INVALID_HANDLE, CK_INVALID_HANDLE};
    AUTO_SECRET_BUF given = {0};
    struct bytes seed = {NULL, 0};
    enum err_code code = E_OK;
    CK_RV destroyed;

    *rv = CKR_OK;
    if (!type || !secret_buf_init(&given, WRAPPED_MAX))
        return err_set(e, type ? E_NOMEM : E_INVALID, "a new key");
    *call = "C_GenerateKeyPair";
    *rv = generate(m, session, type, alg == KEY_ED25519, &pair);
    if (*rv == CKR_OK)
        code = p11_public_spki(m, session, pair.pub, spki, rv, e);
    if (*rv == CKR_OK && code == E_OK && alg == KEY_ED25519) {
        *call = "C_GetAttributeValue";
        *rv = take_seed(m, session, pair.prv, &given, &seed);
    } else if (*rv == CKR_OK && code == E_OK) {
        *rv = take_wrapped(m, session, &pair, &given, call);
    }
    destroyed = destroy(m, session, &pair);
    if (*rv == CKR_OK && destroyed != CKR_OK) { /* it would lie there with the private key in it: nobody gets this one */
        *call = "C_DestroyObject";
        *rv = destroyed;
    }
    if (*rv != CKR_OK)
        code = err_rv(e, *rv, *call);
    if (code == E_OK)
        code = write_pair(alg, buf_bytes(&given), seed, buf_bytes(spki), pkcs8, e);
    stack_wipe();
    return code;
}
