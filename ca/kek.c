/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/kek.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "base/auto.h"

#define NONCE_LEN 12
#define TAG_LEN   16

AUTO_TYPE(EVP_CIPHER_CTX, EVP_CIPHER_CTX_free)

static bool sealing_key(const struct core *c, uint8_t key[32])
{
    static const char what[] = "inkan-kek-seal-1";
    unsigned n = 0;

    return HMAC(EVP_sha256(), c->secret_key.p, (int)c->secret_key.len, (const uint8_t *)what, sizeof(what) - 1, key, &n) && n == 32;
}

/* What must be the same when it is opened: the length of the domain's name keeps it apart from the identifier. */
static bool bound_to(const char *domain, struct bytes key_id, struct buf *out)
{
    buf_add_u8(out, (uint8_t)strlen(domain));
    buf_add_str(out, domain);
    buf_add_bytes(out, key_id);
    return buf_ok(out);
}

/* nonce || ciphertext || tag */
enum err_code kek_seal(const struct core *c, const char *domain, struct bytes key_id, struct bytes kek, struct buf *out, struct err *e)
{
    AUTO(EVP_CIPHER_CTX) *ctx = EVP_CIPHER_CTX_new();
    AUTO_BUF aad = BUF_INIT(512);
    uint8_t key[32], nonce[NONCE_LEN], text[KEK_MAX_LEN], tag[TAG_LEN];
    int n = 0;
    bool good;

    if ((kek.len != 16 && kek.len != 32) || random_bytes(nonce, sizeof(nonce), e) != E_OK)
        return err_set(e, E_INVALID, "a key-encryption key has 16 or 32 octets");
    good = ctx && sealing_key(c, key) && bound_to(domain, key_id, &aad) &&
           EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce) == 1 &&
           EVP_EncryptUpdate(ctx, NULL, &n, aad.p, (int)aad.len) == 1 &&
           EVP_EncryptUpdate(ctx, text, &n, kek.p, (int)kek.len) == 1 && n == (int)kek.len &&
           EVP_EncryptFinal_ex(ctx, tag, &n) == 1 && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, tag) == 1;
    OPENSSL_cleanse(key, sizeof(key));
    if (!good)
        return err_openssl(e, E_CRYPTO, "AES-GCM");
    buf_add(out, nonce, sizeof(nonce));
    buf_add(out, text, kek.len);
    buf_add(out, tag, sizeof(tag));
    return buf_ok(out) ? E_OK : err_set(e, E_NOMEM, "sealed key");
}

enum err_code kek_open(const struct core *c, const char *domain, struct bytes key_id, struct bytes sealed, uint8_t kek[KEK_MAX_LEN],
                       size_t *len, struct err *e)
{
    AUTO(EVP_CIPHER_CTX) *ctx = EVP_CIPHER_CTX_new();
    AUTO_BUF aad = BUF_INIT(512);
    uint8_t key[32], last[16], tag[TAG_LEN];
    int n = 0, end = 0;
    bool good;

    *len = sealed.len > NONCE_LEN + TAG_LEN ? sealed.len - NONCE_LEN - TAG_LEN : 0;
    if (*len != 16 && *len != 32)
        return err_set(e, E_CRYPTO, "a sealed key of %zu octets", sealed.len);
    memcpy(tag, sealed.p + NONCE_LEN + *len, TAG_LEN);
    good = ctx && sealing_key(c, key) && bound_to(domain, key_id, &aad) &&
           EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, sealed.p) == 1 &&
           EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, tag) == 1 &&
           EVP_DecryptUpdate(ctx, NULL, &n, aad.p, (int)aad.len) == 1 &&
           EVP_DecryptUpdate(ctx, kek, &n, sealed.p + NONCE_LEN, (int)*len) == 1 && EVP_DecryptFinal_ex(ctx, last, &end) == 1;
    OPENSSL_cleanse(key, sizeof(key));
    if (good)
        return E_OK;
    OPENSSL_cleanse(kek, KEK_MAX_LEN);
    err_openssl(e, E_CRYPTO, "AES-GCM");
    return err_set(e, E_CRYPTO, "a key-encryption key cannot be opened: it was sealed under another secret_key_file");
}
