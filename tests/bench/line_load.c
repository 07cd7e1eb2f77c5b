/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stations of a factory line as a load: complete units (reserve, issue, confirm) over kept-alive connections, in a closed loop.
 *
 *   line_load --port N --cert FILE --key FILE --order ORDER --prefix P --first N --count N [--connections N] [--no-reserve]
 *
 * Units are P with eight digits. Keys and requests of all units are made first; then "ready" is printed, and a line of input begins.
 * Each connection is a thread that takes one unit after the other: reserve, EST simpleenroll, challenge, confirm. Every answer is
 * checked for its status, the certificate of one unit in 16 for its key. The server's certificate is not judged: that would measure the
 * client. Prints one JSON object as enroll_load does; latencies are of whole units, and of each request.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pkcs7.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "figures.h"

#define CONNECTIONS_MAX 64
#define TEXT_MAX        16384
#define CHECK_ONE_IN    16

enum request { RESERVE, ISSUE, CHALLENGE, CONFIRM, REQUESTS };
static const char *const request_name[REQUESTS] = {"reserve", "issue", "challenge", "confirm"};

struct unit {
    EVP_PKEY *key;
    char *csr; /* base64 */
};

struct conn {
    pthread_t thread;
    SSL *ssl;
    char out[TEXT_MAX], in[TEXT_MAX + 1];
    char *body; /* in `in` */
    size_t body_len;
    struct latencies units, requests[REQUESTS];
    long bad;
};

static struct {
    int port;
    const char *cert, *key, *order, *prefix;
    size_t first, count, connections;
    bool no_reserve;
} opt = {.connections = 16};

static struct unit *units;
static size_t next_unit;
static struct conn conns[CONNECTIONS_MAX];

/* ---- units ------------------------------------------------------------------------------------------------------------------- */

static void unit_name(size_t i, char out[65])
{
    snprintf(out, 65, "%.48s%08zu", opt.prefix, opt.first + i);
}

static char *base64(const unsigned char *p, int len)
{
    char *out = malloc((size_t)len / 3 * 4 + 8);

    must(out != NULL, "malloc");
    EVP_EncodeBlock((unsigned char *)out, p, len);
    return out;
}

static void unit_make(size_t i)
{
    X509_REQ *req = X509_REQ_new();
    unsigned char *der = NULL;
    char name[65];
    int len;

    unit_name(i, name);
    units[i].key = EVP_EC_gen("P-256");
    must(req && units[i].key &&
             X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_ASC, (unsigned char *)name, -1, -1, 0) == 1 &&
             X509_REQ_set_pubkey(req, units[i].key) == 1 && X509_REQ_sign(req, units[i].key, EVP_sha256()) > 0,
         "request");
    len = i2d_X509_REQ(req, &der);
    must(len > 0, "i2d_X509_REQ");
    units[i].csr = base64(der, len);
    OPENSSL_free(der);
    X509_REQ_free(req);
}

static char *sign(const struct unit *u, const char *text, size_t len)
{
    unsigned char sig[128];
    size_t sig_len = sizeof sig;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    must(ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, u->key) == 1 &&
             EVP_DigestSign(ctx, sig, &sig_len, (const unsigned char *)text, len) == 1,
         "sign");
    EVP_MD_CTX_free(ctx);
    return base64(sig, (int)sig_len);
}

static bool certificate_is_of(const struct unit *u, const char *text, size_t len)
{
    unsigned char der[TEXT_MAX];
    const unsigned char *p = der;
    PKCS7 *p7 = NULL;
    bool ok;
    int n;

    while (len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    n = len <= TEXT_MAX ? EVP_DecodeBlock(der, (const unsigned char *)text, (int)len) : -1;
    p7 = n > 0 ? d2i_PKCS7(NULL, &p, n) : NULL;
    ok = p7 && PKCS7_type_is_signed(p7) && sk_X509_num(p7->d.sign->cert) == 1 &&
         EVP_PKEY_eq(X509_get0_pubkey(sk_X509_value(p7->d.sign->cert, 0)), u->key) == 1;
    PKCS7_free(p7);
    ERR_clear_error();
    return ok;
}

/* ---- one connection ------------------------------------------------------------------------------------------------------------ */

static SSL *tls_open(SSL_CTX *ctx)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    SSL *ssl = SSL_new(ctx);

    must(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0, "connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    must(ssl && SSL_set_fd(ssl, fd) == 1 && SSL_connect(ssl) == 1, "TLS");
    return ssl;
}

/* The status; the body is in c->body. Ends the program when the connection does. */
static int answer_read(struct conn *c)
{
    size_t n = 0, want = 0;
    const char *length;

    c->body = NULL;
    while (!c->body || n < (size_t)(c->body - c->in) + want) {
        int got = SSL_read(c->ssl, c->in + n, (int)(TEXT_MAX - n));

        must(got > 0, "reading an answer");
        n += (size_t)got;
        c->in[n] = '\0';
        if (!c->body && (c->body = strstr(c->in, "\r\n\r\n")) != NULL) {
            c->body += 4;
            length = strcasestr(c->in, "\r\nContent-Length:");
            must(length && length < c->body, "Content-Length");
            want = strtoul(length + 17, NULL, 10);
        }
    }
    c->body_len = want;
    return atoi(c->in + 9);
}

static bool ask(struct conn *c, enum request what, const char *path, const char *type, const char *body)
{
    double began = figures_wall_us();
    int n, status;

    if (type)
        n = snprintf(c->out, sizeof c->out, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n%s", path,
                     type, strlen(body), body);
    else
        n = snprintf(c->out, sizeof c->out, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
    must(SSL_write(c->ssl, c->out, n) == n, "sending");
    status = answer_read(c);
    latencies_add(&c->requests[what], figures_wall_us() - began);
    if (status == 200)
        return true;
    if (c->bad++ == 0)
        fprintf(stderr, "line_load: %s: %.*s %.*s\n", request_name[what], (int)strcspn(c->in, "\r"), c->in, (int)c->body_len, c->body);
    return false;
}

static void unit_run(struct conn *c, size_t i)
{
    const struct unit *u = &units[i];
    double began = figures_wall_us();
    char name[65], path[256], body[2048], *signature;
    bool ok = true;

    unit_name(i, name);
    if (!opt.no_reserve) {
        snprintf(path, sizeof path, "/v1/factory/%s/reserve", opt.order);
        snprintf(body, sizeof body, "{\"device_id\":\"%s\"}", name);
        ok = ask(c, RESERVE, path, "application/json", body);
    }
    snprintf(path, sizeof path, "/.well-known/est/%s/simpleenroll", opt.order);
    ok = ok && ask(c, ISSUE, path, "application/pkcs10", u->csr);
    if (ok && i % CHECK_ONE_IN == 0 && !certificate_is_of(u, c->body, c->body_len))
        c->bad++;
    snprintf(path, sizeof path, "/v1/factory/%s/units/%s/challenge", opt.order, name);
    ok = ok && ask(c, CHALLENGE, path, NULL, NULL);
    if (!ok)
        return;
    signature = sign(u, c->body, c->body_len);
    snprintf(body, sizeof body, "{\"challenge\":\"%.*s\",\"signature\":\"%s\"}", (int)c->body_len, c->body, signature);
    free(signature);
    snprintf(path, sizeof path, "/v1/factory/%s/units/%s/confirm", opt.order, name);
    if (ask(c, CONFIRM, path, "application/json", body))
        latencies_add(&c->units, figures_wall_us() - began);
}

static void *conn_main(void *arg)
{
    size_t i;

    while ((i = __atomic_fetch_add(&next_unit, 1, __ATOMIC_RELAXED)) < opt.count)
        unit_run(arg, i);
    return NULL;
}

/* ---- figures ---------------------------------------------------------------------------------------------------------------------- */

static void gather(struct latencies *into, const struct latencies *from)
{
    for (size_t i = 0; i < from->n; i++)
        latencies_add(into, (double)from->us[i]);
}

static void print(double wall_us)
{
    struct latencies all = {0}, requests[REQUESTS] = {{0}};
    long bad = 0;

    for (size_t k = 0; k < opt.connections; k++) {
        gather(&all, &conns[k].units);
        for (int r = 0; r < REQUESTS; r++)
            gather(&requests[r], &conns[k].requests[r]);
        bad += conns[k].bad;
    }
    printf("{\"phases\": [{\"good\": %zu, \"errors\": 0, \"bad_answers\": %ld, \"rate\": %.1f, \"p50_us\": %.0f, \"p99_us\": %.0f, "
           "\"p999_us\": %.0f", all.n, bad, (double)all.n / wall_us * 1e6, latencies_at(&all, 0.5), latencies_at(&all, 0.99),
           latencies_at(&all, 0.999));
    for (int r = 0; r < REQUESTS; r++)
        printf(", \"%s\": {\"p50\": %.0f, \"p99\": %.0f}", request_name[r], latencies_at(&requests[r], 0.5), latencies_at(&requests[r], 0.99));
    puts("}], \"ran_out\": null}");
}

static void parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},   {"cert", required_argument, NULL, 'c'},   {"key", required_argument, NULL, 'k'},
        {"order", required_argument, NULL, 'o'},  {"prefix", required_argument, NULL, 'x'}, {"first", required_argument, NULL, 'f'},
        {"count", required_argument, NULL, 'n'},  {"connections", required_argument, NULL, 'C'},
        {"no-reserve", no_argument, NULL, 'R'},   {"wait", no_argument, NULL, 'w'},         {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'p': opt.port = atoi(optarg); break;
        case 'c': opt.cert = optarg; break;
        case 'k': opt.key = optarg; break;
        case 'o': opt.order = optarg; break;
        case 'x': opt.prefix = optarg; break;
        case 'f': opt.first = strtoul(optarg, NULL, 10); break;
        case 'n': opt.count = strtoul(optarg, NULL, 10); break;
        case 'C': opt.connections = strtoul(optarg, NULL, 10); break;
        case 'R': opt.no_reserve = true; break;
        case 'w': break; /* it always waits */
        default: exit(2);
        }
    }
    must(opt.port && opt.cert && opt.key && opt.order && opt.prefix && opt.count && opt.connections && opt.connections <= CONNECTIONS_MAX,
         "options: see the head of the source; they");
}

int main(int argc, char **argv)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    double began;

    parse(argc, argv);
    units = calloc(opt.count, sizeof *units);
    must(ctx && units && SSL_CTX_use_certificate_chain_file(ctx, opt.cert) == 1 &&
             SSL_CTX_use_PrivateKey_file(ctx, opt.key, SSL_FILETYPE_PEM) == 1,
         "certificate and key of the station");
    for (size_t i = 0; i < opt.count; i++)
        unit_make(i);
    for (size_t k = 0; k < opt.connections; k++)
        conns[k].ssl = tls_open(ctx);
    puts("ready");
    fflush(stdout);
    (void)getchar();
    began = figures_wall_us();
    for (size_t k = 0; k < opt.connections; k++)
        must(pthread_create(&conns[k].thread, NULL, conn_main, &conns[k]) == 0, "thread");
    for (size_t k = 0; k < opt.connections; k++)
        pthread_join(conns[k].thread, NULL);
    print(figures_wall_us() - began);
    return 0;
}
