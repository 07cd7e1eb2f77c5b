/* SPDX-License-Identifier: Apache-2.0 */
/* One EST request: our trust anchors, our client key, the channel binding in the request. */
#include <openssl/err.h>
#include <openssl/pkcs7.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "enroll/client/device_int.h"
#include "enroll/client/https.h"

/*
 * The channel binding exists only after the handshake, but Content-Length is sent before the body is made: the body is
 * declared at this size and filled up with line feeds, which base64 readers skip (RFC 8951 3.1).
 */
#define BODY_SIZE 8192

struct transfer {
    struct device *d;
    const struct est_call *call;
    STACK_OF(X509) *anchors;
    enum device_result body_result;
    struct https_answer answer;
};

/* tls-unique on TLS 1.2 (RFC 5929 3.1), tls-exporter on 1.3 (RFC 9266 2); base64 text. */
static bool channel_binding(SSL *ssl, char out[64])
{
    unsigned char raw[64];
    size_t len;

    if (SSL_version(ssl) >= TLS1_3_VERSION) {
        len = 32;
        if (SSL_export_keying_material(ssl, raw, len, "EXPORTER-Channel-Binding", 24, (const unsigned char *)"", 0, 1) != 1)
            return false;
    } else {
        len = SSL_session_reused(ssl) ? SSL_get_peer_finished(ssl, raw, sizeof raw) : SSL_get_finished(ssl, raw, sizeof raw);
        if (len == 0 || len > sizeof raw / 2)
            return false;
    }
    EVP_EncodeBlock((unsigned char *)out, raw, (int)len);
    return true;
}

static bool make_body(void *arg, SSL *ssl, char *body, size_t size)
{
    struct transfer *t = arg;
    char binding[64], *base64;
    const struct csr_request *r = t->call->request;
    size_t len;

    if (r->bind && !channel_binding(ssl, binding)) {
        t->body_result = device_fail(t->d, DEVICE_BROKEN, "this TLS connection offers no channel binding");
        return false;
    }
    t->body_result = csr_make(t->d, r, r->bind ? binding : NULL, &base64);
    if (t->body_result != DEVICE_OK)
        return false;
    len = strlen(base64);
    if (len > size) {
        free(base64);
        t->body_result = device_fail(t->d, DEVICE_BROKEN, "the request is %zu octets, at most %zu", len, size);
        return false;
    }
    memset(body, '\n', size);
    memcpy(body, base64, len);
    free(base64);
    return true;
}

static bool credentials(void *arg, struct https_credentials *out)
{
    struct transfer *t = arg;
    const struct credential *c = t->call->client;

    out->anchors = t->anchors;
    out->ignore_time = device_now(t->d) < clock_floor(t->d); /* the system clock is behind what we know */
    if (c) {
        X509_up_ref(c->cert);
        out->leaf = c->cert;
        out->key = c->key.pkey;
        out->chain = c->chain;
    }
    return true;
}

static bool read_password(struct device *d, char *out, size_t size)
{
    char *text;
    size_t len;

    if (file_load(d, d->o.password_file, size - 1, &text, &len) != DEVICE_OK)
        return false;
    text[strcspn(text, "\r\n")] = 0;
    snprintf(out, size, "%s", text);
    OPENSSL_cleanse(text, len);
    free(text);
    return true;
}

/* First line of a plain-text refusal, printable octets only. */
static void answer_text(const struct https_answer *a, char *out, size_t size)
{
    size_t n = 0;

    while (n < a->body_len && n + 1 < size && a->body[n] >= 0x20 && a->body[n] < 0x7f) {
        out[n] = a->body[n];
        n++;
    }
    out[n] = 0;
}

static enum device_result judge(struct transfer *t)
{
    long status = t->answer.status;
    char text[256];

    answer_text(&t->answer, text, sizeof text);
    switch (status) {
    case 200:
    case 204:
        return DEVICE_OK;
    case 202:
        return device_fail(t->d, DEVICE_PENDING, "%s: accepted, ask again in %u s", t->call->operation, t->d->retry_after);
    case 408:
    case 429:
        return device_fail(t->d, DEVICE_AGAIN, "%s: HTTP %ld: %s", t->call->operation, status, text);
    default:
        return device_fail(t->d, status >= 500 ? DEVICE_AGAIN : DEVICE_REFUSED, "%s: HTTP %ld: %s", t->call->operation, status,
                           text);
    }
}

static enum device_result call(struct transfer *t, struct https *h, const char *url, const char *password)
{
    static const char *const headers[] = {"Content-Transfer-Encoding: base64", NULL};
    const struct est_call *c = t->call;
    struct https_request r = {.url = url};

    if (c->request)
        r = (struct https_request){url, "application/pkcs10", .body_make = make_body, .body_arg = t, .body_len = BODY_SIZE, .headers = headers};
    if (c->with_password) {
        r.user = t->d->o.user;
        r.password = password;
    }
    if (!https_call(h, &r, &t->answer) && t->body_result == DEVICE_OK)
        return device_fail(t->d, DEVICE_AGAIN, "%s: %s", c->operation, t->answer.error);
    t->d->retry_after = t->answer.retry_after_s;
    return t->body_result == DEVICE_OK ? judge(t) : t->body_result;
}

enum device_result est_call(struct device *d, const struct est_call *c, unsigned char **der, size_t *len)
{
    struct transfer t = {.d = d, .call = c};
    struct https_options o = {.credentials = credentials, .credentials_arg = &t, .connect_s = 15, .timeout_s = d->o.timeout_s, .body_max = DEVICE_ANSWER_MAX};
    struct https *h = https_new(&o);
    char url[2048], password[512] = "";
    enum device_result r;

    *der = NULL;
    *len = 0;
    d->retry_after = 0;
    r = anchors_load(d, &t.anchors);
    if (r == DEVICE_OK && (!h || (size_t)snprintf(url, sizeof url, "%s/%s", d->o.url, c->operation) >= sizeof url))
        r = device_fail(d, DEVICE_BROKEN, "libcurl could not be set up for %s", d->o.url);
    if (r == DEVICE_OK && c->with_password && !read_password(d, password, sizeof password))
        r = DEVICE_BROKEN;
    if (r == DEVICE_OK)
        r = call(&t, h, url, password);
    if (r == DEVICE_OK && t.answer.status == 200 && !est_base64_decode(t.answer.body, t.answer.body_len, der, len))
        r = device_fail(d, DEVICE_AGAIN, "%s: the answer is not base64", c->operation);
    OPENSSL_cleanse(password, sizeof password);
    https_answer_clear(&t.answer);
    https_free(h);
    sk_X509_pop_free(t.anchors, X509_free);
    ERR_clear_error();
    return r;
}

bool est_base64_decode(const char *text, size_t text_len, unsigned char **out, size_t *len)
{
    size_t n = 0, pad = 0;
    char *flat = malloc(text_len + 1);
    int octets = -1;

    *out = NULL;
    if (!flat)
        return false;
    for (size_t i = 0; i < text_len; i++)
        if (!text[i] || !strchr(" \t\r\n", text[i]))
            flat[n++] = text[i];
    flat[n] = '\0';
    while (pad < 2 && pad < n && flat[n - 1 - pad] == '=')
        pad++;
    if (n > 0 && n % 4 == 0 && (*out = malloc(n / 4 * 3 + 1)) != NULL)
        octets = EVP_DecodeBlock(*out, (const unsigned char *)flat, (int)n);
    OPENSSL_cleanse(flat, n);
    free(flat);
    ERR_clear_error();
    if (octets < (int)pad || octets < 0) {
        free(*out);
        *out = NULL;
        return false;
    }
    *len = (size_t)octets - pad;
    (*out)[*len] = 0;
    return true;
}

enum device_result certs_only_read(struct device *d, const unsigned char *der, size_t len, STACK_OF(X509) **out)
{
    const unsigned char *p = der;
    PKCS7 *p7 = d2i_PKCS7(NULL, &p, (long)len);
    STACK_OF(X509) *certs = NULL;

    *out = NULL;
    if (p7 && p == der + len && PKCS7_type_is_signed(p7) && p7->d.sign && p7->d.sign->cert)
        certs = X509_chain_up_ref(p7->d.sign->cert);
    PKCS7_free(p7);
    ERR_clear_error();
    if (!certs || sk_X509_num(certs) == 0) {
        sk_X509_pop_free(certs, X509_free);
        return device_fail(d, DEVICE_AGAIN, "the answer holds no certificate (RFC 7030 4.2.3)");
    }
    *out = certs;
    return DEVICE_OK;
}
