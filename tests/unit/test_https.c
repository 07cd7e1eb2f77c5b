/* SPDX-License-Identifier: Apache-2.0 */
/* enroll/client/https.h against a server that answers by path, some of it badly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "enroll/client/https.h"

#define BODY_CAP 2000

static struct {
    char dir[64], ca[96], other[96], cert[96], key[96];
    EVP_PKEY *ca_key;
    X509 *ca_cert;
    SSL_CTX *ctx;
    int listener, port;
    pthread_t thread;
    unsigned connections;
    char request[16 * 1024]; /* the last one, whole */
    char large[300000];
} w;

/* ---- the server ---- */

static void send_text(SSL *ssl, const char *head, const char *body, size_t len)
{
    char text[512];
    int n = snprintf(text, sizeof text, "%sContent-Length: %zu\r\n\r\n", head, len);

    SSL_write(ssl, text, n);
    if (len)
        SSL_write(ssl, body, (int)len);
}

/* false: the connection ends. */
static bool answer(SSL *ssl, const char *path, const char *body)
{
    static char zeros[24 * 1024];
    char text[256] = "nobody";
    X509 *peer;

    memset(zeros, 'z', sizeof zeros);
    if (strcmp(path, "/hello") == 0 && strstr(w.request, "If-None-Match: \"7\"\r\n"))
        SSL_write(ssl, "HTTP/1.1 304 Not Modified\r\nETag: \"7\"\r\n\r\n", 41);
    else if (strcmp(path, "/hello") == 0)
        send_text(ssl, "HTTP/1.1 100 Continue\r\nX-Interim: 1\r\n\r\nHTTP/1.1 200 OK\r\netag:  \"7\" \r\nX-Two: a\r\nX-Two: b\r\n", "hi", 2);
    else if (strcmp(path, "/busy") == 0)
        send_text(ssl, "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n", "later", 5);
    else if (strcmp(path, "/date") == 0)
        send_text(ssl, "HTTP/1.1 503 Busy\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n", "", 0);
    else if (strcmp(path, "/full") == 0)
        send_text(ssl, "HTTP/1.1 200 OK\r\n", zeros, BODY_CAP);
    else if (strcmp(path, "/over") == 0)
        send_text(ssl, "HTTP/1.1 200 OK\r\n", zeros, BODY_CAP + 1);
    else if (strcmp(path, "/headers") == 0) {
        SSL_write(ssl, "HTTP/1.1 200 OK\r\n", 17);
        for (int i = 0; i < 24; i++) {
            SSL_write(ssl, "X-Many: ", 8);
            SSL_write(ssl, zeros, 1000);
            SSL_write(ssl, "\r\n", 2);
        }
        SSL_write(ssl, "Content-Length: 0\r\n\r\n", 21);
    } else if (strcmp(path, "/redirect") == 0) {
        snprintf(text, sizeof text, "HTTP/1.1 302 Found\r\nLocation: https://localhost:%d/hello\r\n", w.port);
        send_text(ssl, text, "", 0);
    } else if (strcmp(path, "/cut") == 0) {
        SSL_write(ssl, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", 43);
        return false;
    } else if (strcmp(path, "/slow") == 0) {
        struct pollfd p = {SSL_get_fd(ssl), POLLIN, 0};

        poll(&p, 1, 20000); /* until the client gives up */
        return false;
    } else if (strcmp(path, "/large") == 0) {
        send_text(ssl, "HTTP/1.1 200 OK\r\n", w.large, sizeof w.large);
    } else if (strcmp(path, "/who") == 0) {
        peer = SSL_get1_peer_certificate(ssl);
        if (peer)
            X509_NAME_get_text_by_NID(X509_get_subject_name(peer), NID_commonName, text, sizeof text);
        X509_free(peer);
        send_text(ssl, "HTTP/1.1 200 OK\r\n", text, strlen(text));
    } else {
        send_text(ssl, "HTTP/1.1 200 OK\r\n", body, strlen(body));
    }
    return true;
}

/* One request into w.request. NULL: no more come. */
static const char *read_request(SSL *ssl)
{
    size_t have = 0;

    for (;;) {
        const char *end, *length;
        int n = SSL_read(ssl, w.request + have, (int)(sizeof w.request - 1 - have));

        if (n <= 0)
            return NULL;
        have += (size_t)n;
        w.request[have] = '\0';
        end = strstr(w.request, "\r\n\r\n");
        length = strcasestr(w.request, "Content-Length: ");
        if (end && have >= (size_t)(end + 4 - w.request) + (length && length < end ? strtoul(length + 16, NULL, 10) : 0))
            return end + 4;
    }
}

static void *serve_one(void *arg)
{
    SSL *ssl = arg;
    const char *body;
    char path[128];

    if (SSL_accept(ssl) == 1) {
        w.connections++;
        while ((body = read_request(ssl)) && sscanf(w.request, "%*s %127s", path) == 1 && answer(ssl, path, body))
            ;
        SSL_shutdown(ssl);
    }
    close(SSL_get_fd(ssl));
    SSL_free(ssl);
    return NULL;
}

/* A thread each: a client may keep one while it opens the next. Only one is spoken over at a time. */
static void *serve(void *arg)
{
    pthread_t thread;
    int fd;

    (void)arg;
    while ((fd = accept(w.listener, NULL, NULL)) >= 0) {
        SSL *ssl = SSL_new(w.ctx);

        SSL_set_fd(ssl, fd);
        if (pthread_create(&thread, NULL, serve_one, ssl) == 0)
            pthread_detach(thread);
    }
    return NULL;
}

/* ---- certificates ---- */

static X509 *certificate(EVP_PKEY *key, const char *name, bool is_ca)
{
    X509 *x = X509_new();
    X509V3_CTX ctx;
    X509_EXTENSION *e;
    const char *extensions[][2] = {{"basicConstraints", is_ca ? "critical,CA:TRUE" : "CA:FALSE"}, {"subjectAltName", "DNS:localhost"}};

    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1 + (long)strlen(name));
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(w.ca_cert ? w.ca_cert : x));
    X509_set_pubkey(x, key);
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    for (size_t i = 0; i < 2; i++) {
        e = X509V3_EXT_conf(NULL, &ctx, extensions[i][0], extensions[i][1]);
        X509_add_ext(x, e, -1);
        X509_EXTENSION_free(e);
    }
    assert_true(X509_sign(x, w.ca_key, EVP_sha256()) > 0);
    return x;
}

static void write_pem(char path[96], const char *name, X509 *cert, EVP_PKEY *key)
{
    FILE *f;

    snprintf(path, 96, "%s/%s", w.dir, name);
    f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(cert ? PEM_write_X509(f, cert) : PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(f);
}

static int set_up(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    EVP_PKEY *key = EVP_EC_gen("P-256"), *client_key = EVP_EC_gen("P-256");
    X509 *server, *client;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    strcpy(w.dir, "/tmp/inkan-https-XXXXXX");
    assert_non_null(mkdtemp(w.dir));
    w.ca_key = EVP_EC_gen("P-256");
    client = certificate(w.ca_key, "another root", true);
    write_pem(w.other, "other.pem", client, NULL);
    X509_free(client);
    w.ca_cert = certificate(w.ca_key, "root", true);
    server = certificate(key, "server", false);
    client = certificate(client_key, "client", false);
    write_pem(w.ca, "ca.pem", w.ca_cert, NULL);
    write_pem(w.cert, "cert.pem", client, NULL);
    write_pem(w.key, "key.pem", NULL, client_key);
    w.ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(w.ctx, server);
    SSL_CTX_use_PrivateKey(w.ctx, key);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(w.ctx), w.ca_cert);
    SSL_CTX_set_verify(w.ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_id_context(w.ctx, (const unsigned char *)"t", 1);
    w.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(w.listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(w.listener, 8), 0);
    getsockname(w.listener, (struct sockaddr *)&at, &len);
    w.port = ntohs(at.sin_port);
    X509_free(server);
    X509_free(client);
    EVP_PKEY_free(key);
    EVP_PKEY_free(client_key);
    return pthread_create(&w.thread, NULL, serve, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    shutdown(w.listener, SHUT_RDWR);
    pthread_join(w.thread, NULL);
    close(w.listener);
    SSL_CTX_free(w.ctx);
    X509_free(w.ca_cert);
    EVP_PKEY_free(w.ca_key);
    unlink(w.ca);
    unlink(w.other);
    unlink(w.cert);
    unlink(w.key);
    return rmdir(w.dir);
}

/* ---- the client ---- */

static struct https_options plain(void)
{
    return (struct https_options){.ca = w.ca, .body_max = BODY_CAP, .timeout_s = 10};
}

/* One request of a handle of its own. */
static bool one(const struct https_options *o, struct https_request r, const char *path, struct https_answer *a)
{
    struct https *h = https_new(o);
    char url[128];
    bool ok;

    assert_non_null(h);
    snprintf(url, sizeof url, "https://localhost:%d%s", w.port, path);
    r.url = url;
    ok = https_call(h, &r, a);
    https_free(h);
    return ok;
}

static void an_answer_has_its_status_body_and_headers(void **state)
{
    struct https_options o = plain();
    struct https_answer a = {0};
    char value[16];

    (void)state;
    assert_true(one(&o, (struct https_request){0}, "/hello", &a));
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "hi");
    assert_true(https_header(&a, "ETag", value, sizeof value));
    assert_string_equal(value, "\"7\"");
    assert_true(https_header(&a, "x-two", value, sizeof value));
    assert_string_equal(value, "a");
    assert_false(https_header(&a, "X-Tw", value, sizeof value));
    assert_false(https_header(&a, "X-Interim", value, sizeof value)); /* of an interim answer */
    assert_false(https_header(&a, "ETag", value, 3));                 /* no room */
    assert_true(one(&o, (struct https_request){.if_none_match = "\"7\""}, "/hello", &a));
    assert_int_equal(a.status, 304);
    assert_int_equal(a.body_len, 0);
    https_answer_clear(&a);
}

static void retry_after_is_seconds_or_nothing(void **state)
{
    struct https_options o = plain();
    struct https_answer a = {0};

    (void)state;
    assert_true(one(&o, (struct https_request){0}, "/busy", &a));
    assert_int_equal(a.status, 503);
    assert_int_equal(a.retry_after_s, 7);
    assert_true(one(&o, (struct https_request){0}, "/date", &a));
    assert_int_equal(a.retry_after_s, 0);
    https_answer_clear(&a);
}

static void what_is_no_whole_answer_is_a_failure(void **state)
{
    static const struct {
        const char *path, *why; /* why NULL: it is one */
    } cases[] = {{"/full", NULL}, {"/over", "larger than 2000 octets"}, {"/headers", "larger than"}, {"/cut", ""}};
    struct https_options o = plain();
    struct https_answer a = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool ok = one(&o, (struct https_request){0}, cases[i].path, &a);

        if (ok != !cases[i].why || (!ok && (a.status != 0 || a.body_len != 0)))
            fail_msg("%s: %s (%ld)", cases[i].path, a.error, a.status);
        if (cases[i].why && !strstr(a.error, cases[i].why))
            fail_msg("%s: %s", cases[i].path, a.error);
    }
    assert_true(one(&o, (struct https_request){0}, "/redirect", &a));
    assert_int_equal(a.status, 302); /* told, not followed */
    https_answer_clear(&a);
}

static void only_what_chains_to_the_anchor_is_believed(void **state)
{
    struct https_options o = plain(), both = plain();
    struct https_request r = {.url = "http://localhost/"};
    struct https_answer a = {0};
    struct https *h;

    (void)state;
    o.ca = w.other;
    assert_false(one(&o, (struct https_request){0}, "/hello", &a));
    assert_true(a.error[0]);
    h = https_new(&both);
    assert_false(https_call(h, &r, &a)); /* not HTTPS */
    https_free(h);
    o.ca = NULL;
    assert_null(https_new(&o)); /* nobody is believed by default */
    both.key = w.key;
    assert_null(https_new(&both)); /* a key without its certificate */
    https_answer_clear(&a);
}

static void a_connection_is_kept_and_a_certificate_shown(void **state)
{
    struct https_options o = plain();
    struct https_answer a = {0};
    unsigned before = w.connections;
    char url[128];
    struct https_request r = {.url = url};
    struct https *h;

    (void)state;
    assert_true(one(&o, (struct https_request){0}, "/who", &a));
    assert_string_equal(a.body, "nobody");
    o.cert = w.cert;
    o.key = w.key;
    h = https_new(&o);
    snprintf(url, sizeof url, "https://localhost:%d/who", w.port);
    for (int i = 0; i < 3; i++) {
        assert_true(https_call(h, &r, &a));
        assert_string_equal(a.body, "client");
    }
    assert_int_equal(w.connections, before + 2);
    r.fresh = true;
    assert_true(https_call(h, &r, &a));
    assert_int_equal(w.connections, before + 3);
    https_free(h);
    https_answer_clear(&a);
}

static void a_large_answer_is_whole_each_time(void **state)
{
    struct https_options o = plain();
    struct https_answer a = {0};
    char url[128];
    struct https_request r = {.url = url};
    struct https *h;

    (void)state;
    for (size_t i = 0; i < sizeof w.large; i++)
        w.large[i] = (char)('a' + i % 23);
    o.body_max = sizeof w.large;
    h = https_new(&o);
    snprintf(url, sizeof url, "https://localhost:%d/large", w.port);
    for (int i = 0; i < 3; i++) { /* over one handle: none begins with the memory of the one before */
        assert_true(https_call(h, &r, &a));
        assert_int_equal(a.body_len, sizeof w.large);
        assert_memory_equal(a.body, w.large, sizeof w.large);
    }
    https_free(h);
    https_answer_clear(&a);
}

static bool make_body(void *arg, SSL *ssl, char *body, size_t size)
{
    memset(body, '-', size);
    snprintf(body, size, "%s", SSL_get_version(ssl));
    return *(const bool *)arg;
}

static void a_post_carries_its_body_headers_and_password(void **state)
{
    static const char *const headers[] = {"X-Mine: 1", NULL};
    struct https_options o = plain();
    bool works = true;
    struct https_request r = {.content_type = "application/json", .body = "{\"a\":1}", .body_len = 7, .headers = headers, .user = "u", .password = "p"},
                         late = {.content_type = "text/plain", .body_make = make_body, .body_arg = &works, .body_len = 40};
    struct https_answer a = {0};

    (void)state;
    assert_true(one(&o, r, "/echo", &a));
    assert_string_equal(a.body, "{\"a\":1}");
    assert_non_null(strstr(w.request, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(w.request, "X-Mine: 1\r\n"));
    assert_non_null(strstr(w.request, "Authorization: Basic dTpw\r\n"));
    assert_null(strstr(w.request, "Expect:"));
    assert_true(one(&o, late, "/echo", &a));
    assert_string_equal(a.body, "TLSv1.3");
    works = false;
    assert_false(one(&o, late, "/echo", &a));
    https_answer_clear(&a);
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool stop_at(void *arg)
{
    return seconds() > *(double *)arg;
}

static void a_long_poll_has_its_own_time_and_is_told_to_stop(void **state)
{
    struct https_options o = plain();
    struct https_answer a = {0};
    double began = seconds(), when;

    (void)state;
    assert_false(one(&o, (struct https_request){.timeout_s = 1}, "/slow", &a));
    assert_true(seconds() - began < 15);
    began = seconds();
    when = began + 0.2;
    o.stop = stop_at;
    o.stop_arg = &when;
    assert_false(one(&o, (struct https_request){.timeout_s = 20}, "/slow", &a));
    assert_true(seconds() - began < 15);
    https_answer_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_has_its_status_body_and_headers),
        cmocka_unit_test(retry_after_is_seconds_or_nothing),
        cmocka_unit_test(what_is_no_whole_answer_is_a_failure),
        cmocka_unit_test(only_what_chains_to_the_anchor_is_believed),
        cmocka_unit_test(a_connection_is_kept_and_a_certificate_shown),
        cmocka_unit_test(a_large_answer_is_whole_each_time),
        cmocka_unit_test(a_post_carries_its_body_headers_and_password),
        cmocka_unit_test(a_long_poll_has_its_own_time_and_is_told_to_stop),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
