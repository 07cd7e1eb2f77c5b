/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/identity.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fsio.h"
#include "base/msg.h"
#include "ca/signed_request.h"
#include "enroll/client/device_int.h"

AUTO_TYPE(BIO, BIO_free_all)

#define LIFE_S      300
#define FILE_MAX    ((size_t)64 << 20)
#define TEXT_MAX    (256 * 1024)

struct identity {
    struct device device; /* says what is wrong with a key */
    struct device_key key;
    X509 *cert;
    STACK_OF(X509) *chain;
    uint8_t cert_hash[32];
};

void identity_free(struct identity *i)
{
    if (!i)
        return;
    key_close(&i->key);
    X509_free(i->cert);
    sk_X509_pop_free(i->chain, X509_free);
    free(i);
}

X509 *identity_get0_cert(const struct identity *i)
{
    return i->cert;
}

EVP_PKEY *identity_get0_key(const struct identity *i)
{
    return i->key.pkey;
}

const STACK_OF(X509) *identity_get0_chain(const struct identity *i)
{
    return i->chain;
}

static enum err_code read_certs(struct identity *i, const char *path, struct err *e)
{
    AUTO_BUF text = BUF_INIT(TEXT_MAX);
    AUTO(BIO) *bio = NULL;
    unsigned char *der = NULL;
    X509 *above;
    int len;

    if (file_read(path, &text, e) != E_OK)
        return e->code;
    bio = BIO_new_mem_buf(text.p, (int)text.len);
    i->cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    if (!i->cert || !i->chain)
        return err_set(e, E_INVALID, "%s holds no certificate in PEM", path);
    while ((above = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        if (!sk_X509_push(i->chain, above)) {
            X509_free(above);
            return err_set(e, E_NOMEM, "out of memory");
        }
    ERR_clear_error();
    len = i2d_X509(i->cert, &der);
    if (len <= 0)
        return err_openssl(e, E_CRYPTO, "i2d_X509");
    sha256(BYTES(der, len), i->cert_hash);
    OPENSSL_free(der);
    return E_OK;
}

enum err_code identity_load(const char *cert_file, const char *key, struct identity **out, struct err *e)
{
    struct identity *i = calloc(1, sizeof(*i));

    *out = NULL;
    if (!i)
        return err_set(e, E_NOMEM, "out of memory");
    i->chain = sk_X509_new_null();
    if (read_certs(i, cert_file, e) != E_OK)
        ;
    else if (key_open(&i->device, key ? key : cert_file, &i->key) != DEVICE_OK)
        err_set(e, E_INVALID, "%s", device_error(&i->device));
    else if (X509_check_private_key(i->cert, i->key.pkey) != 1)
        err_set(e, E_INVALID, "%s: the key is not that of the certificate", key ? key : cert_file);
    else if (jws_alg_of_key(i->key.pkey) == SIG_NONE)
        err_set(e, E_INVALID, "%s: the key is none of P-256, P-384 and Ed25519", key ? key : cert_file);
    ERR_clear_error();
    if (e->code != E_OK) {
        identity_free(i);
        return e->code;
    }
    *out = i;
    return E_OK;
}

static enum err_code hash_file(int fd, uint8_t out[32], struct err *e)
{
    struct bytes content;

    if (fd_map(fd, FILE_MAX, &content, e) != E_OK)
        return e->code;
    sha256(content, out);
    fd_unmap(content);
    return E_OK;
}

enum err_code identity_sign(const struct identity *i, const char *node, const char *op, const json_t *args, int file, struct buf *out, struct err *e)
{
    struct signed_request r = {.has_file = file >= 0, .iat = clock_now()};
    json_t *none = args ? NULL : json_object();
    enum err_code code;

    r.exp = r.iat + LIFE_S;
    r.args = args ? (json_t *)args : none;
    snprintf(r.node, sizeof(r.node), "%s", node);
    snprintf(r.op, sizeof(r.op), "%s", op);
    memcpy(r.cert_hash, i->cert_hash, sizeof(r.cert_hash));
    code = random_bytes(r.nonce, sizeof(r.nonce), e);
    if (code == E_OK && file >= 0)
        code = hash_file(file, r.file_sha256, e);
    if (code == E_OK)
        code = signed_request_write(&r, i->key.pkey, out, e);
    json_decref(none);
    return code;
}
