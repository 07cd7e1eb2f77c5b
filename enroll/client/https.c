/* SPDX-License-Identifier: Apache-2.0 */
/* libcurl behind https.h: every option of a transfer stands here. */
#include "enroll/client/https.h"

#include <ctype.h>
#include <curl/curl.h>
#include <malloc.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CONNECT_S      10
#define TIMEOUT_S      30
#define BODY_MAX       (64 * 1024)
#define HEADER_MAX     512 /* octets of a header of ours */
#define RETRY_AFTER_MAX_S (366u * 86400)

struct https {
    struct https_options o;
    CURL *curl;
    const struct https_request *request; /* during a call */
    struct https_answer *answer;
    size_t headers_len, body_room; /* octets of the answer's body that there is memory for */
    char *made; /* the body that body_make filled */
    size_t sent;
    bool too_large;
    char reason[CURL_ERROR_SIZE];
};

/* ---- libcurl's memory: wiped before it is given back ---------------------------------------------------------------- */

static void wiped_free(void *p)
{
    if (p)
        OPENSSL_cleanse(p, malloc_usable_size(p));
    free(p);
}

static void *wiped_realloc(void *p, size_t size)
{
    size_t had = p ? malloc_usable_size(p) : 0;
    void *more = malloc(size);

    if (!more)
        return NULL;
    if (p)
        memcpy(more, p, had < size ? had : size);
    wiped_free(p);
    return more;
}

static void library_init(void)
{
    curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wiped_free, wiped_realloc, strdup, calloc);
}

/* ---- what libcurl asks ------------------------------------------------------------------------------------------------ */

static CURLcode set_up_tls(CURL *curl, void *ctx, void *arg)
{
    struct https *h = arg;
    SSL_CTX *ssl = ctx;
    struct https_credentials c = {0};
    X509_STORE *store;
    bool ok;

    (void)curl;
    SSL_CTX_set_mode(ssl, SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_options(ssl, SSL_OP_CLEANSE_PLAINTEXT);
    if (!h->o.credentials)
        return CURLE_OK;
    if (!h->o.credentials(h->o.credentials_arg, &c) || !(store = X509_STORE_new())) {
        X509_free(c.leaf);
        return CURLE_SSL_CERTPROBLEM;
    }
    for (int i = 0; i < sk_X509_num(c.anchors); i++)
        X509_STORE_add_cert(store, sk_X509_value(c.anchors, i));
    if (c.ignore_time)
        X509_STORE_set_flags(store, X509_V_FLAG_NO_CHECK_TIME);
    SSL_CTX_set_cert_store(ssl, store);
    ok = !c.leaf || (SSL_CTX_use_certificate(ssl, c.leaf) == 1 && SSL_CTX_use_PrivateKey(ssl, c.key) == 1);
    for (int i = 0; ok && c.leaf && c.chain && i < sk_X509_num(c.chain); i++)
        ok = SSL_CTX_add1_chain_cert(ssl, sk_X509_value(c.chain, i)) == 1;
    X509_free(c.leaf);
    return ok ? CURLE_OK : CURLE_SSL_CERTPROBLEM;
}

static size_t take_body(char *p, size_t size, size_t n, void *arg)
{
    struct https *h = arg;
    struct https_answer *a = h->answer;
    size_t room;
    char *more;

    n *= size;
    if (n > h->o.body_max - a->body_len) {
        h->too_large = true;
        return 0;
    }
    if (a->body_len + n + 1 > h->body_room) { /* twice as much each time: an answer may be of a hundred megabytes */
        room = 2 * h->body_room;
        if (room < a->body_len + n + 1)
            room = a->body_len + n + 1;
        more = OPENSSL_clear_realloc(a->body, a->body_len + 1, room);
        if (!more)
            return 0;
        a->body = more;
        h->body_room = room;
    }
    memcpy(a->body + a->body_len, p, n);
    a->body_len += n;
    a->body[a->body_len] = '\0';
    return n;
}

static size_t take_header(char *p, size_t size, size_t n, void *arg)
{
    struct https *h = arg;

    n *= size;
    if (n >= 5 && strncasecmp(p, "HTTP/", 5) == 0) { /* another answer begins: what came before was an interim one */
        h->headers_len = 0;
        h->answer->headers[0] = '\0';
        return n;
    }
    if (n > HTTPS_HEADERS_MAX - 1 - h->headers_len) {
        h->too_large = true;
        return 0;
    }
    memcpy(h->answer->headers + h->headers_len, p, n);
    h->headers_len += n;
    h->answer->headers[h->headers_len] = '\0';
    return n;
}

static bool make_body(struct https *h)
{
    const struct https_request *r = h->request;
    const struct curl_tlssessioninfo *info = NULL;

    if (curl_easy_getinfo(h->curl, CURLINFO_TLS_SSL_PTR, &info) != CURLE_OK || !info || info->backend != CURLSSLBACKEND_OPENSSL ||
        !info->internals || !(h->made = malloc(r->body_len ? r->body_len : 1)))
        return false;
    if (r->body_make(r->body_arg, info->internals, h->made, r->body_len))
        return true;
    wiped_free(h->made);
    h->made = NULL;
    return false;
}

static size_t give_body(char *p, size_t size, size_t n, void *arg)
{
    struct https *h = arg;
    size_t left = h->request->body_len - h->sent;

    if (!h->made && !make_body(h))
        return CURL_READFUNC_ABORT;
    n = size * n < left ? size * n : left;
    memcpy(p, h->made + h->sent, n);
    h->sent += n;
    return n;
}

/* libcurl rewinds when it must send the body again (a kept connection that was closed): it is made anew, for the new one. */
static int rewind_body(void *arg, curl_off_t offset, int origin)
{
    struct https *h = arg;

    if (origin != SEEK_SET || offset != 0)
        return CURL_SEEKFUNC_FAIL;
    h->sent = 0;
    wiped_free(h->made);
    h->made = NULL;
    return CURL_SEEKFUNC_OK;
}

static int may_go_on(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct https *h = arg;

    (void)a, (void)b, (void)c, (void)d;
    return h->o.stop && h->o.stop(h->o.stop_arg) ? 1 : 0;
}

/* ---- options ------------------------------------------------------------------------------------------------------------ */

#define SET(option, value) ok = ok && curl_easy_setopt(h->curl, option, value) == CURLE_OK

/* Also forgets what the last request had set; the connection stays. */
static bool set_handle(struct https *h)
{
    const struct https_options *o = &h->o;
    bool ok = true;

    curl_easy_reset(h->curl);
    SET(CURLOPT_PROTOCOLS_STR, "https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_CONNECTTIMEOUT, o->connect_s);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
    SET(CURLOPT_CA_CACHE_TIMEOUT, 0L);
    SET(CURLOPT_CAPATH, NULL);
    SET(CURLOPT_CAINFO, o->ca);
    SET(CURLOPT_SSLCERT, o->cert);
    SET(CURLOPT_SSLKEY, o->key);
    SET(CURLOPT_SSL_CTX_FUNCTION, set_up_tls);
    SET(CURLOPT_SSL_CTX_DATA, h);
    SET(CURLOPT_WRITEFUNCTION, take_body);
    SET(CURLOPT_WRITEDATA, h);
    SET(CURLOPT_HEADERFUNCTION, take_header);
    SET(CURLOPT_HEADERDATA, h);
    SET(CURLOPT_NOPROGRESS, 0L);
    SET(CURLOPT_XFERINFOFUNCTION, may_go_on);
    SET(CURLOPT_XFERINFODATA, h);
    SET(CURLOPT_ERRORBUFFER, h->reason);
    return ok;
}

static bool add_header(struct curl_slist **list, const char *name, const char *value)
{
    char text[HEADER_MAX];
    int n = snprintf(text, sizeof text, "%s%s%s", name, *name ? ": " : "", value);
    struct curl_slist *more = n > 0 && n < HEADER_MAX ? curl_slist_append(*list, text) : NULL;

    if (more)
        *list = more;
    return more != NULL;
}

static bool set_headers(const struct https_request *r, struct curl_slist **list)
{
    bool ok = !r->content_type || (add_header(list, "Content-Type", r->content_type) && add_header(list, "", "Expect:"));

    if (r->if_none_match)
        ok = ok && add_header(list, "If-None-Match", r->if_none_match);
    for (size_t i = 0; ok && r->headers && r->headers[i]; i++)
        ok = add_header(list, "", r->headers[i]);
    return ok;
}

static bool set_request(struct https *h, struct curl_slist **list)
{
    const struct https_request *r = h->request;
    bool ok = set_handle(h) && set_headers(r, list);

    SET(CURLOPT_URL, r->url);
    SET(CURLOPT_TIMEOUT, r->timeout_s ? r->timeout_s : h->o.timeout_s);
    SET(CURLOPT_FRESH_CONNECT, r->fresh ? 1L : 0L);
    SET(CURLOPT_HTTPHEADER, *list);
    if (r->content_type) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
    }
    if (r->content_type && r->body_make) {
        SET(CURLOPT_READFUNCTION, give_body);
        SET(CURLOPT_READDATA, h);
        SET(CURLOPT_SEEKFUNCTION, rewind_body);
        SET(CURLOPT_SEEKDATA, h);
    } else if (r->content_type) {
        SET(CURLOPT_POSTFIELDS, r->body ? r->body : "");
    }
    if (r->user) {
        SET(CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        SET(CURLOPT_USERNAME, r->user);
        SET(CURLOPT_PASSWORD, r->password ? r->password : "");
    }
    return ok;
}
#undef SET

struct https *https_new(const struct https_options *o)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct https *h = calloc(1, sizeof *h);

    pthread_once(&once, library_init);
    if (!h)
        return NULL;
    h->o = *o;
    h->o.connect_s = o->connect_s ? o->connect_s : CONNECT_S;
    h->o.timeout_s = o->timeout_s ? o->timeout_s : TIMEOUT_S;
    h->o.body_max = o->body_max ? o->body_max : BODY_MAX;
    /* Nobody is trusted by default, and the two ways are not mixed. */
    if (!o->ca == !o->credentials || !o->cert != !o->key || (o->cert && o->credentials) || !(h->curl = curl_easy_init()) || !set_handle(h)) {
        https_free(h);
        return NULL;
    }
    return h;
}

void https_free(struct https *h)
{
    if (!h)
        return;
    if (h->curl)
        curl_easy_cleanup(h->curl);
    free(h);
}

/* ---- one request ---------------------------------------------------------------------------------------------------------- */

void https_answer_clear(struct https_answer *a)
{
    if (a->body)
        OPENSSL_clear_free(a->body, a->body_len + 1);
    free(a->headers);
    *a = (struct https_answer){0};
}

bool https_header(const struct https_answer *a, const char *name, char *out, size_t size)
{
    size_t len = strlen(name);

    for (const char *p = a->headers; p && *p; p += strcspn(p, "\n"), p += *p == '\n') {
        const char *end = p + strcspn(p, "\r\n");

        if (strncasecmp(p, name, len) != 0 || p[len] != ':')
            continue;
        p += len + 1;
        p += strspn(p, " \t");
        while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
            end--;
        if ((size_t)(end - p) >= size)
            return false;
        memcpy(out, p, (size_t)(end - p));
        out[end - p] = '\0';
        return true;
    }
    return false;
}

static unsigned retry_after(const struct https_answer *a)
{
    char text[16], *end = text;
    unsigned long s;

    if (!https_header(a, "Retry-After", text, sizeof text) || !isdigit((unsigned char)text[0]))
        return 0;
    s = strtoul(text, &end, 10);
    return *end ? 0 : s > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : (unsigned)s;
}

static bool failed(struct https *h, const char *why)
{
    snprintf(h->answer->error, sizeof h->answer->error, "%s", why);
    for (char *p = h->answer->error; *p; p++)
        *p = isprint((unsigned char)*p) ? *p : ' ';
    return false;
}

static bool perform(struct https *h)
{
    char text[80];
    CURLcode code = curl_easy_perform(h->curl);

    if (h->too_large) {
        snprintf(text, sizeof text, "the answer is larger than %zu octets, or its headers than %d", h->o.body_max, HTTPS_HEADERS_MAX);
        return failed(h, text);
    }
    if (code != CURLE_OK)
        return failed(h, h->reason[0] ? h->reason : curl_easy_strerror(code));
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &h->answer->status);
    h->answer->retry_after_s = retry_after(h->answer);
    return true;
}

bool https_call(struct https *h, const struct https_request *r, struct https_answer *a)
{
    struct curl_slist *list = NULL;
    bool ok;

    https_answer_clear(a);
    a->headers = calloc(1, HTTPS_HEADERS_MAX);
    a->body = OPENSSL_zalloc(1);
    h->request = r;
    h->answer = a;
    h->headers_len = h->sent = 0;
    h->body_room = 1;
    h->too_large = false;
    h->reason[0] = '\0';
    ok = a->headers && a->body ? set_request(h, &list) || failed(h, "the request cannot be made") : failed(h, "out of memory");
    ok = ok && perform(h);
    if (!ok && a->body) {
        OPENSSL_cleanse(a->body, a->body_len);
        a->body_len = 0;
    }
    curl_slist_free_all(list);
    wiped_free(h->made);
    h->made = NULL;
    h->request = NULL;
    h->answer = NULL;
    ERR_clear_error();
    return ok;
}
