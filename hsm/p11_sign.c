/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "hsm/p11.h"

AUTO_TYPE(EVP_PKEY, EVP_PKEY_free)
AUTO_TYPE(EVP_PKEY_CTX, EVP_PKEY_CTX_free)
AUTO_TYPE(EVP_MD_CTX, EVP_MD_CTX_free)

static EVP_MD *md_sha256, *md_sha384; /* fetched once, for the life of the process */
static pthread_once_t md_once = PTHREAD_ONCE_INIT;

static void fetch_digests(void)
{
    md_sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    md_sha384 = EVP_MD_fetch(NULL, "SHA2-384", NULL);
}

static const EVP_MD *digest_of(const struct key_type *type)
{
    pthread_once(&md_once, fetch_digests);
    return type->digest_len == 48 ? md_sha384 : md_sha256;
}

enum err_code sign_input(const struct key_type *type, struct bytes message, uint8_t room[64], struct bytes *input,
                         struct err *e)
{
    unsigned len = 0;

    if (type->digest_len == 0) {
        *input = message;
        return E_OK;
    }
    if (!digest_of(type) || EVP_Digest(message.p, message.len, room, &len, digest_of(type), NULL) != 1 ||
        len != type->digest_len)
        return err_openssl(e, E_CRYPTO, "EVP_Digest");
    *input = BYTES(room, len);
    return E_OK;
}

/* ---- verify ---- */

struct verifier {
    EVP_PKEY *pub;
    EVP_PKEY_CTX *digest_ctx;  /* RSA, ECDSA: initialised once, used for every signature */
    EVP_MD_CTX *message_ctx;   /* Ed25519 */
};

enum err_code verifier_new(struct bytes spki, struct verifier **out, struct err *e)
{
    AUTO(EVP_PKEY) *pub = NULL;
    AUTO(EVP_PKEY_CTX) *ctx = NULL;
    AUTO(EVP_MD_CTX) *md = NULL;
    const unsigned char *p = spki.p;
    struct spki_view view;
    const struct key_type *type;

    *out = NULL;
    if (spki_view(spki, &view, e) != E_OK)
        return E_INVALID;
    type = key_type_of(view.alg);
    pub = d2i_PUBKEY(NULL, &p, (long)spki.len);
    if (!pub || p != spki.p + spki.len)
        return err_openssl(e, E_INVALID, "public key");
    if (type->digest_len == 0) {
        md = EVP_MD_CTX_new();
        if (!md)
            return err_set(e, E_NOMEM, "verification context");
    } else {
        ctx = EVP_PKEY_CTX_new(pub, NULL);
        if (!ctx || EVP_PKEY_public_check(ctx) != 1 || EVP_PKEY_verify_init(ctx) != 1 ||
            EVP_PKEY_CTX_set_signature_md(ctx, digest_of(type)) != 1 ||
            (type->bits && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) != 1))
            return err_openssl(e, E_INVALID, "public key");
    }
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return err_set(e, E_NOMEM, "verification context");
    (*out)->pub = TAKE(pub);
    (*out)->digest_ctx = TAKE(ctx);
    (*out)->message_ctx = TAKE(md);
    return E_OK;
}

void verifier_free(struct verifier *v)
{
    if (!v)
        return;
    EVP_MD_CTX_free(v->message_ctx);
    EVP_PKEY_CTX_free(v->digest_ctx);
    EVP_PKEY_free(v->pub);
    free(v);
}

enum err_code verifier_judge(struct verifier *v, struct bytes input, struct bytes signature, struct err *e)
{
    bool good;

    if (v->digest_ctx)
        good = EVP_PKEY_verify(v->digest_ctx, signature.p, signature.len, input.p, input.len) == 1;
    else
        good = EVP_MD_CTX_reset(v->message_ctx) == 1 &&
               EVP_DigestVerifyInit(v->message_ctx, NULL, NULL, NULL, v->pub) == 1 &&
               EVP_DigestVerify(v->message_ctx, signature.p, signature.len, input.p, input.len) == 1;
    return good ? E_OK : err_openssl(e, E_CRYPTO, "verify");
}

/* ---- sign ---- */

static size_t put_integer(struct bytes v, uint8_t *out)
{
    size_t n = 0, sign;

    while (v.len > 1 && v.p[0] == 0)
        v = BYTES(v.p + 1, v.len - 1);
    sign = v.p[0] & 0x80 ? 1 : 0;
    out[n++] = 0x02;
    out[n++] = (uint8_t)(v.len + sign);
    if (sign)
        out[n++] = 0;
    memcpy(out + n, v.p, v.len);
    return n + v.len;
}

size_t ecdsa_to_der(struct bytes rs, uint8_t *out, size_t room)
{
    uint8_t body[2 * (3 + 66)];
    size_t half = rs.len / 2, n, at = 0;

    if (rs.len == 0 || rs.len % 2 || half > 66)
        return 0;
    n = put_integer(BYTES(rs.p, half), body);
    n += put_integer(BYTES(rs.p + half, half), body + n);
    if (n + 3 > room)
        return 0;
    out[at++] = 0x30;
    if (n > 127)
        out[at++] = 0x81;
    out[at++] = (uint8_t)n;
    memcpy(out + at, body, n);
    return at + n;
}

/* DigestInfo of SHA-256 (RFC 8017 9.2 note 1). */
static const uint8_t digest_info_sha256[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                             0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};

CK_RV p11_sign(const struct p11 *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key, const struct key_type *type,
               struct bytes input, uint8_t out[SIGNATURE_ROOM], size_t *out_len, const char **call)
{
    CK_MECHANISM mech = {type->bits ? CKM_RSA_PKCS : type->digest_len ? CKM_ECDSA : CKM_EDDSA, NULL, 0};
    uint8_t info[sizeof(digest_info_sha256) + 32], raw[SIGNATURE_ROOM];
    CK_ULONG len = sizeof(raw);
    CK_RV rv;

    *out_len = 0;
    if (type->bits) {
        memcpy(info, digest_info_sha256, sizeof(digest_info_sha256));
        memcpy(info + sizeof(digest_info_sha256), input.p, 32);
        input = BYTES_OF(info);
    }
    *call = "C_SignInit";
    rv = m->f->C_SignInit(session, &mech, key);
    if (rv != CKR_OK)
        return rv;
    *call = "C_Sign";
    rv = m->f->C_Sign(session, (CK_BYTE *)(uintptr_t)input.p, input.len, raw, &len);
    if (rv != CKR_OK)
        return rv;
    /* A module that answers with another length than the standard's is broken: nothing it said is kept. */
    if (type->field_len) {
        if (len == 2 * type->field_len)
            *out_len = ecdsa_to_der(BYTES(raw, len), out, SIGNATURE_ROOM);
    } else if (len == (type->bits ? type->bits / 8 : 64)) {
        memcpy(out, raw, len);
        *out_len = len;
    }
    return *out_len ? CKR_OK : CKR_FUNCTION_FAILED;
}
