/* SPDX-License-Identifier: Apache-2.0 */
/* Enrollment secrets: the ledger holds HMACs only; their key lives in a file outside it. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <unistd.h>

#include "base/fsio.h"
#include "ca/core.h"

#define SECRET_KEY_LEN 32

static enum err_code key_make(const char *path, struct err *e)
{
    uint8_t key[SECRET_KEY_LEN];
    char hex[2 * SECRET_KEY_LEN + 1];
    enum err_code code;

    if (random_bytes(key, sizeof(key), e) != E_OK)
        return e->code;
    hex_encode(key, sizeof(key), hex);
    code = file_write_atomic(path, bytes_str(hex), 0600, e);
    OPENSSL_cleanse(key, sizeof(key));
    OPENSSL_cleanse(hex, sizeof(hex));
    return code;
}

enum err_code secret_key_load(struct core *c, struct err *e)
{
    const char *path = c->conf->secret_key_file;
    struct secret text = {NULL, 0};
    uint8_t key[SECRET_KEY_LEN];
    size_t len = 0;
    bool good;

    if (access(path, F_OK) != 0 && key_make(path, e) != E_OK)
        return err_wrap(e, "secret_key_file");
    if (file_read_secret(path, 2 * SECRET_KEY_LEN + 2, &text, e) != E_OK)
        return err_wrap(e, "secret_key_file");
    while (text.len && (text.p[text.len - 1] == '\n' || text.p[text.len - 1] == '\r'))
        text.len--;
    good = hex_decode((const char *)text.p, text.len, key, sizeof(key), &len) && len == sizeof(key) &&
           secret_set(&c->secret_key, key, sizeof(key));
    secret_clear(&text);
    OPENSSL_cleanse(key, sizeof(key));
    return good ? E_OK : err_set(e, E_INVALID, "secret_key_file %s: not %d octets in hex", path, SECRET_KEY_LEN);
}

enum err_code secret_mac(const struct core *c, const char *user, struct bytes secret, uint8_t mac[32], struct err *e)
{
    /* The length of the name comes first, so that no two pairs of name and secret give the same text. */
    AUTO_BUF text = BUF_INIT(64 * 1024);
    uint8_t len[4];
    unsigned n = 0;
    bool good;

    put_be32(len, (uint32_t)strlen(user));
    buf_add(&text, len, sizeof(len));
    buf_add_str(&text, user);
    buf_add_bytes(&text, secret);
    good = buf_ok(&text) && HMAC(EVP_sha256(), c->secret_key.p, (int)c->secret_key.len, text.p, text.len, mac, &n) && n == 32;
    buf_wipe(&text);
    return good ? E_OK : err_openssl(e, E_NOMEM, "HMAC");
}
