/* SPDX-License-Identifier: Apache-2.0 */
/* One EST request over libcurl: our trust anchors, our client key, bounded answers, no redirects. */
#include <curl/curl.h>
#include <openssl/err.h>
#include <openssl/pkcs7.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "enroll/client/device_int.h"

/*
 * The channel binding exists only after the handshake, but Content-Length is sent before the body is made: the body is
 * declared at this size and filled up with line feeds, which base64 readers skip (RFC 8951 3.1).
 */
#define BODY_SIZE 8192

struct transfer {
    struct device *d;
    const struct est_call *call;
    CURL *curl;
    STACK_OF(X509) *anchors;
    bool ignore_time; /* the system clock is behind what we know */
    char answer[DEVICE_ANSWER_MAX];
    size_t answer_len;
    char body[BODY_SIZE];
    size_t body_sent;
    bool body_made;
    enum device_result body_result;
};

static size_t take_answer(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;

    if (size * n > sizeof t->answer - 1 - t->answer_len)
        return 0;
    memcpy(t->answer + t->answer_len, p, size * n);
    t->answer_len += size * n;
    return size * n;
}

/* tls-unique on TLS 1.2 (RFC 5929 3.1), tls-exporter on 1.3 (RFC 9266 2); base64 text. */
static bool channel_binding(CURL *curl, char out[64])
{
    const struct curl_tlssessioninfo *info = NULL;
    unsigned char raw[64];
    size_t len;
    SSL *ssl;

    if (curl_easy_getinfo(curl, CURLINFO_TLS_SSL_PTR, &info) != CURLE_OK || !info || info->backend != CURLSSLBACKEND_OPENSSL)
        return false;
    ssl = info->internals;
    if (!ssl)
        return false;
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

static bool make_body(struct transfer *t)
{
    char binding[64], *base64;
    const struct csr_request *r = t->call->request;
    size_t len;

    if (r->bind && !channel_binding(t->curl, binding)) {
        t->body_result = device_fail(t->d, DEVICE_BROKEN, "this TLS connection offers no channel binding");
        return false;
    }
    t->body_result = csr_make(t->d, r, r->bind ? binding : NULL, &base64);
    if (t->body_result != DEVICE_OK)
        return false;
    len = strlen(base64);
    if (len > sizeof t->body) {
        free(base64);
        t->body_result = device_fail(t->d, DEVICE_BROKEN, "the request is %zu octets, at most %zu", len, sizeof t->body);
        return false;
    }
    memset(t->body, '\n', sizeof t->body);
    memcpy(t->body, base64, len);
    free(base64);
    t->body_made = true;
    return true;
}

static size_t give_body(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    size_t room = size * n, left;

    if (!t->body_made && !make_body(t))
        return CURL_READFUNC_ABORT;
    left = sizeof t->body - t->body_sent;
    if (room > left)
        room = left;
    memcpy(p, t->body + t->body_sent, room);
    t->body_sent += room;
    return room;
}

/* libcurl rewinds when it must send the body again (a reused connection that was closed): the binding is another then. */
static int rewind_body(void *arg, curl_off_t offset, int origin)
{
    struct transfer *t = arg;

    if (origin != SEEK_SET || offset != 0)
        return CURL_SEEKFUNC_FAIL;
    t->body_sent = 0;
    t->body_made = false;
    return CURL_SEEKFUNC_OK;
}

static CURLcode set_up_tls(CURL *curl, void *ctx, void *arg)
{
    struct transfer *t = arg;
    SSL_CTX *ssl = ctx;
    X509_STORE *store = X509_STORE_new();
    const struct credential *c = t->call->client;

    (void)curl;
    if (!store)
        return CURLE_OUT_OF_MEMORY;
    for (int i = 0; i < sk_X509_num(t->anchors); i++)
        X509_STORE_add_cert(store, sk_X509_value(t->anchors, i));
    if (t->ignore_time)
        X509_STORE_set_flags(store, X509_V_FLAG_NO_CHECK_TIME);
    SSL_CTX_set_cert_store(ssl, store);
    SSL_CTX_set_mode(ssl, SSL_MODE_NO_AUTO_CHAIN);
    if (c) {
        if (SSL_CTX_use_certificate(ssl, c->cert) != 1 || SSL_CTX_use_PrivateKey(ssl, c->key.pkey) != 1)
            return CURLE_SSL_CERTPROBLEM;
        for (int i = 0; c->chain && i < sk_X509_num(c->chain); i++)
            SSL_CTX_add1_chain_cert(ssl, sk_X509_value(c->chain, i));
    }
    return CURLE_OK;
}

static size_t take_header(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    size_t len = size * n;

    if (len > 12 && strncasecmp(p, "Retry-After:", 12) == 0) {
        char text[16] = "";
        size_t at = 12, out = 0;

        while (at < len && p[at] == ' ')
            at++;
        while (at < len && out + 1 < sizeof text && p[at] >= '0' && p[at] <= '9')
            text[out++] = p[at++];
        t->d->retry_after = (unsigned)strtoul(text, NULL, 10);
    }
    return len;
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

static bool set_options(struct transfer *t, char *url, size_t url_size, struct curl_slist **headers)
{
    CURL *c = t->curl;
    const struct device *d = t->d;
    char password[512];
    bool ok = true;

    if ((size_t)snprintf(url, url_size, "%s/%s", d->o.url, t->call->operation) >= url_size)
        return false;
#define SET(option, value) ok = ok && curl_easy_setopt(c, option, value) == CURLE_OK
    SET(CURLOPT_URL, url);
    SET(CURLOPT_PROTOCOLS_STR, "https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_CONNECTTIMEOUT, 15L);
    SET(CURLOPT_TIMEOUT, d->o.timeout_s ? d->o.timeout_s : 30L);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_CAINFO, NULL);
    SET(CURLOPT_CAPATH, NULL);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
    SET(CURLOPT_SSL_CTX_FUNCTION, set_up_tls);
    SET(CURLOPT_SSL_CTX_DATA, t);
    SET(CURLOPT_WRITEFUNCTION, take_answer);
    SET(CURLOPT_WRITEDATA, t);
    SET(CURLOPT_HEADERFUNCTION, take_header);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_MAXFILESIZE, (long)DEVICE_ANSWER_MAX);
    if (t->call->request) {
        *headers = curl_slist_append(*headers, "Content-Type: application/pkcs10");
        *headers = curl_slist_append(*headers, "Content-Transfer-Encoding: base64");
        *headers = curl_slist_append(*headers, "Expect:");
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE, (long)BODY_SIZE);
        SET(CURLOPT_READFUNCTION, give_body);
        SET(CURLOPT_READDATA, t);
        SET(CURLOPT_SEEKFUNCTION, rewind_body);
        SET(CURLOPT_SEEKDATA, t);
        SET(CURLOPT_HTTPHEADER, *headers);
    }
    if (ok && t->call->with_password) {
        ok = read_password(t->d, password, sizeof password);
        SET(CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        SET(CURLOPT_USERNAME, d->o.user);
        SET(CURLOPT_PASSWORD, password);
        OPENSSL_cleanse(password, sizeof password);
    }
#undef SET
    return ok;
}

/* First line of a plain-text refusal, printable octets only. */
static void answer_text(const struct transfer *t, char *out, size_t size)
{
    size_t n = 0;

    while (n < t->answer_len && n + 1 < size && t->answer[n] >= 0x20 && t->answer[n] < 0x7f) {
        out[n] = t->answer[n];
        n++;
    }
    out[n] = 0;
}

static enum device_result judge(struct transfer *t, long status)
{
    char text[256];

    answer_text(t, text, sizeof text);
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

/* Skips white space, then strict. */
static enum device_result decode_answer(struct transfer *t, unsigned char **der, size_t *len)
{
    char *in = malloc(t->answer_len + 1);
    size_t n = 0, pad = 0;
    int out;

    *der = malloc(t->answer_len / 4 * 3 + 4);
    if (!in || !*der) {
        free(in);
        return device_fail(t->d, DEVICE_BROKEN, "out of memory");
    }
    for (size_t i = 0; i < t->answer_len; i++) {
        if (!strchr(" \t\r\n", t->answer[i]) || t->answer[i] == 0)
            in[n++] = t->answer[i];
    }
    in[n] = 0;
    while (pad < 2 && n > pad && in[n - 1 - pad] == '=')
        pad++;
    out = n % 4 == 0 && n > 0 ? EVP_DecodeBlock(*der, (unsigned char *)in, (int)n) : -1;
    free(in);
    if (out < (int)pad || out < 0) {
        free(*der);
        *der = NULL;
        return device_fail(t->d, DEVICE_AGAIN, "%s: the answer is not base64", t->call->operation);
    }
    *len = (size_t)out - pad;
    return DEVICE_OK;
}

enum device_result est_call(struct device *d, const struct est_call *call, unsigned char **der, size_t *len)
{
    struct transfer *t = calloc(1, sizeof *t);
    struct curl_slist *headers = NULL;
    char url[2048], reason[CURL_ERROR_SIZE] = "";
    enum device_result r;
    CURLcode code;
    long status = 0;

    *der = NULL;
    *len = 0;
    d->retry_after = 0;
    if (!t)
        return device_fail(d, DEVICE_BROKEN, "out of memory");
    t->d = d;
    t->call = call;
    t->ignore_time = device_now(d) < clock_floor(d);
    r = anchors_load(d, &t->anchors);
    if (r != DEVICE_OK)
        goto out;
    t->curl = curl_easy_init();
    if (!t->curl || !set_options(t, url, sizeof url, &headers)) {
        r = d->error[0] ? DEVICE_BROKEN : device_fail(d, DEVICE_BROKEN, "libcurl could not be set up for %s", d->o.url);
        goto out;
    }
    curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, reason);
    code = curl_easy_perform(t->curl);
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (t->body_result != DEVICE_OK)
        r = t->body_result;
    else if (code != CURLE_OK)
        r = device_fail(d, DEVICE_AGAIN, "%s: %s", call->operation, reason[0] ? reason : curl_easy_strerror(code));
    else
        r = judge(t, status);
    if (r == DEVICE_OK && status == 200)
        r = decode_answer(t, der, len);
out:
    curl_slist_free_all(headers);
    if (t->curl)
        curl_easy_cleanup(t->curl);
    sk_X509_pop_free(t->anchors, X509_free);
    OPENSSL_cleanse(t, sizeof *t);
    free(t);
    ERR_clear_error();
    return r;
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
