/* SPDX-License-Identifier: Apache-2.0 */
/* Keys: PEM files, and keys that stay in a token behind a pkcs11: URI (RFC 7512, through libp11). */
#include <libp11.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "enroll/client/device_int.h"

static char no_passphrase[] = ""; /* an encrypted file is refused, nobody is asked */

struct token {
    PKCS11_CTX *ctx;
    PKCS11_SLOT *slots;
    unsigned slots_n;
};

enum device_result key_generate(struct device *d, EVP_PKEY **out)
{
    const char *type = d->o.key ? d->o.key : "p256";

    *out = NULL;
    if (strcmp(type, "p256") == 0)
        *out = EVP_EC_gen("P-256");
    else if (strcmp(type, "p384") == 0)
        *out = EVP_EC_gen("P-384");
    else if (strcmp(type, "ed25519") == 0)
        *out = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    else if (strcmp(type, "rsa2048") == 0)
        *out = EVP_RSA_gen(2048);
    else if (strcmp(type, "rsa3072") == 0)
        *out = EVP_RSA_gen(3072);
    else
        return device_fail(d, DEVICE_BROKEN, "key type %s is not one of p256, p384, ed25519, rsa2048, rsa3072, pkcs11:...", type);
    return *out ? DEVICE_OK : device_fail(d, DEVICE_BROKEN, "a %s key could not be generated", type);
}

enum device_result key_to_pem(struct device *d, EVP_PKEY *key, char **pem, size_t *len)
{
    BIO *bio = BIO_new(BIO_s_mem());
    BUF_MEM *mem;
    enum device_result r = DEVICE_BROKEN;

    *pem = NULL;
    if (bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1) {
        BIO_get_mem_ptr(bio, &mem);
        *pem = malloc(mem->length + 1);
        if (*pem) {
            memcpy(*pem, mem->data, mem->length);
            (*pem)[mem->length] = 0;
            *len = mem->length;
            r = DEVICE_OK;
        }
    }
    BIO_free(bio);
    return r == DEVICE_OK ? r : device_fail(d, r, "a private key could not be written");
}

/* --- tokens --- */

static void token_free(struct token *t)
{
    if (!t)
        return;
    if (t->slots)
        PKCS11_release_all_slots(t->ctx, t->slots, t->slots_n);
    if (t->ctx) {
        PKCS11_CTX_unload(t->ctx);
        PKCS11_CTX_free(t->ctx);
    }
    free(t);
}

struct uri {
    char module[1024], token[128], object[128], pin_source[1024];
    unsigned char id[64];
    size_t id_len;
    bool has_id;
};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Percent-decodes value[0..n) into out (NUL added); the length, or -1. */
static int uri_decode(const char *value, size_t n, char *out, size_t size)
{
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        char c = value[i];

        if (c == '%') {
            int hi, lo;

            if (n - i < 3)
                return -1;
            hi = hex_value(value[i + 1]);
            lo = hex_value(value[i + 2]);
            if (hi < 0 || lo < 0)
                return -1;
            c = (char)(hi << 4 | lo);
            i += 2;
        }
        if (len + 1 >= size)
            return -1;
        out[len++] = c;
    }
    out[len] = 0;
    return (int)len;
}

static bool uri_parse(const char *text, struct uri *u)
{
    const char *p = text + strlen("pkcs11:");

    *u = (struct uri){0};
    while (*p) {
        size_t n = strcspn(p, ";?&"), name_len = strcspn(p, "=");
        const char *value = p + name_len + 1;
        size_t value_len;
        int len = 0;

        if (name_len >= n)
            return false;
        value_len = n - name_len - 1;
#define IS(s) (name_len == strlen(s) && memcmp(p, s, name_len) == 0)
        if (IS("module-path"))
            len = uri_decode(value, value_len, u->module, sizeof u->module);
        else if (IS("token"))
            len = uri_decode(value, value_len, u->token, sizeof u->token);
        else if (IS("object"))
            len = uri_decode(value, value_len, u->object, sizeof u->object);
        else if (IS("pin-source"))
            len = uri_decode(value, value_len, u->pin_source, sizeof u->pin_source);
        else if (IS("id")) {
            len = uri_decode(value, value_len, (char *)u->id, sizeof u->id);
            u->id_len = len > 0 ? (size_t)len : 0;
            u->has_id = true;
        } else if (!IS("type"))
            return false; /* pin-value too: a PIN does not belong on a command line */
#undef IS
        if (len < 0)
            return false;
        p += n;
        p += *p != 0;
    }
    /* A PIN goes to the token it is meant for, never to all there are. */
    return u->module[0] && (u->object[0] || u->has_id) && (u->token[0] || !u->pin_source[0]);
}

static enum device_result token_login(struct device *d, PKCS11_SLOT *slot, const struct uri *u)
{
    char *pin;
    size_t len;
    int rc;

    if (!u->pin_source[0])
        return DEVICE_OK;
    if (slot->token->userPinLocked || slot->token->userPinFinalTry)
        return device_fail(d, DEVICE_BROKEN, "token \"%s\": %s", u->token,
                           slot->token->userPinLocked ? "the PIN is locked" : "only one PIN try is left; not used up");
    if (file_load(d, strncmp(u->pin_source, "file:", 5) == 0 ? u->pin_source + 5 : u->pin_source, 256, &pin, &len) != DEVICE_OK)
        return DEVICE_BROKEN;
    pin[strcspn(pin, "\r\n")] = 0;
    rc = PKCS11_login(slot, 0, pin);
    OPENSSL_cleanse(pin, len);
    free(pin);
    return rc == 0 ? DEVICE_OK : device_fail(d, DEVICE_BROKEN, "token \"%s\": the PIN was refused", u->token);
}

static EVP_PKEY *token_find(PKCS11_SLOT *slot, const struct uri *u)
{
    PKCS11_KEY *keys = NULL;
    unsigned n = 0;

    if (PKCS11_enumerate_keys(slot->token, &keys, &n) != 0)
        return NULL;
    for (unsigned i = 0; i < n; i++) {
        if (u->object[0] && (!keys[i].label || strcmp(keys[i].label, u->object) != 0))
            continue;
        if (u->has_id && (keys[i].id_len != u->id_len || memcmp(keys[i].id, u->id, u->id_len) != 0))
            continue;
        return PKCS11_get_private_key(&keys[i]);
    }
    return NULL;
}

static enum device_result token_open(struct device *d, const char *text, struct device_key *out)
{
    struct uri u;
    struct token *t;

    if (!uri_parse(text, &u))
        return device_fail(d, DEVICE_BROKEN,
                           "%s: a key URI needs module-path and object or id; pin-source=file:... gives the PIN of token=... (RFC 7512)", text);
    t = calloc(1, sizeof *t);
    if (!t || !(t->ctx = PKCS11_CTX_new()))
        goto broken;
    if (PKCS11_CTX_load(t->ctx, u.module) != 0) {
        PKCS11_CTX_free(t->ctx);
        t->ctx = NULL;
        device_fail(d, DEVICE_BROKEN, "%s: not a PKCS#11 module that starts", u.module);
        token_free(t);
        return DEVICE_BROKEN;
    }
    if (PKCS11_enumerate_slots(t->ctx, &t->slots, &t->slots_n) != 0)
        goto broken;
    for (unsigned i = 0; i < t->slots_n; i++) {
        PKCS11_SLOT *slot = &t->slots[i];

        if (!slot->token || (u.token[0] && strcmp(slot->token->label, u.token) != 0))
            continue;
        if (token_login(d, slot, &u) != DEVICE_OK) {
            token_free(t);
            return DEVICE_BROKEN;
        }
        out->pkey = token_find(slot, &u);
        if (out->pkey) {
            out->token = t;
            out->in_token = true;
            return DEVICE_OK;
        }
    }
    token_free(t);
    ERR_clear_error();
    return device_fail(d, DEVICE_BROKEN, "no key matches %s", text);
broken:
    token_free(t);
    ERR_clear_error();
    return device_fail(d, DEVICE_BROKEN, "the token of %s cannot be used", text);
}

enum device_result key_open(struct device *d, const char *where, struct device_key *out)
{
    char *pem;
    size_t len;
    BIO *bio;

    *out = (struct device_key){0};
    if (strncmp(where, "pkcs11:", 7) == 0)
        return token_open(d, where, out);
    if (file_load(d, where, 65536, &pem, &len) != DEVICE_OK)
        return DEVICE_BROKEN;
    bio = BIO_new_mem_buf(pem, (int)len);
    out->pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, no_passphrase) : NULL;
    BIO_free(bio);
    OPENSSL_cleanse(pem, len);
    free(pem);
    ERR_clear_error();
    return out->pkey ? DEVICE_OK : device_fail(d, DEVICE_BROKEN, "%s holds no private key in PEM", where);
}

void key_close(struct device_key *k)
{
    EVP_PKEY_free(k->pkey);
    token_free(k->token);
    *k = (struct device_key){0};
}
