/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A load generator for enrollment: one process, one thread, epoll; meant to be pinned to a core of its own.
 *
 *   enroll_load --port N [options] --phase LOAD:SECONDS [--phase ...]
 *
 *   --kind est|get|sign   POST a CSR to EST (default), GET a path, or POST a CSR as JSON to `cfssl serve`
 *   --new                 a new connection for every request, with the next device's birth certificate; else kept alive
 *   --plain               no TLS
 *   --connections N       at the same time (16)
 *   --busy N              a closed loop uses only so many of them at a time (all)
 *   --devices FILE        lines of make_devices; each is used until it has its certificate
 *   --first N --count N   which of them
 *   --user U --secret S   HTTP Basic credentials; kept-alive connections then present no certificate
 *   --path P              default: /.well-known/est/simpleenroll
 *   --sources N           connect from N addresses 127.0.0.2 ... (1: 127.0.0.1)
 *   --samples             print the latency of each certificate too
 *   --wait                print "ready" once everything is loaded and kept-alive connections stand; begin on a line of input
 *
 * LOAD is 0 for a closed loop (each connection asks again once it is answered), R for an open loop of R requests a second
 * whatever becomes of the answers, or Fx for F times the best rate of certificates of the phases before. In an open loop the
 * time of an answer counts from the moment its request was due, also while it waited for a connection.
 *
 * Every answer is checked: framing, status, type, and that a 200 holds a body of the announced size that begins as it must;
 * one in 16 is decoded, parsed with OpenSSL and its key compared with the one asked for. The server's certificate is not
 * judged: that would measure the client. Prints one JSON object with a list of phases; latencies in microseconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pkcs7.h>
#include <openssl/ssl.h>

#define POINT_LEN    65
#define IN_MAX       16384
#define PHASES_MAX   16
#define STATUSES     600
#define CHECK_ONE_IN 16
#define EVENTS       256
#define SERIES_S     0.5 /* goodput is also printed for each such stretch */
#define SERIES_MAX   2400

enum kind { KIND_EST, KIND_GET, KIND_SIGN };

struct device {
    X509 *cert;
    EVP_PKEY *key;
    char *request;
    size_t request_len;
    uint8_t point[POINT_LEN]; /* of the key in the CSR */
};

enum conn_state { CONN_OFF, CONN_CONNECTING, CONN_IDLE, CONN_WRITING, CONN_READING };

struct conn {
    enum conn_state state;
    int fd;
    SSL *ssl;
    const struct device *device;
    size_t written;
    double since; /* when its request was due */
    char in[IN_MAX + 1];
    size_t in_len;
    struct conn *next_idle;
};

struct phase {
    double factor, rate, seconds;
    bool times_best;
    double began, took, cpu;
    long sent, answered, good, errors, bad_answers, without_retry_after, late;
    long status[STATUSES];
    uint32_t *us; /* of 200s */
    size_t us_n, us_cap;
    long series[SERIES_MAX];
};

static struct {
    int port;
    enum kind kind;
    bool new, plain, samples, wait;
    size_t connections, busy, first, count, sources;
    const char *devices, *user, *secret, *path;
} opt = {.connections = 16, .count = 1000, .sources = 1, .path = "/.well-known/est/simpleenroll"};

static struct phase phases[PHASES_MAX], *now_in;
static size_t phase_n;
static struct device *devices;
static const struct device **unused; /* a stack; the next is at its end */
static size_t unused_n;
static struct conn *conns, *idle;
static SSL_CTX *tls;
static int ep;
static size_t next_source, busy; /* busy: connections with a request */
static bool stopping;
static const char *ran_out;

static void die(const char *what)
{
    fprintf(stderr, "enroll_load: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    ERR_print_errors_fp(stderr);
    exit(1);
}

static double seconds(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- devices ---------------------------------------------------------------------------------------------------- */

static void unhex(const char *s, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (sscanf(s + 2 * i, "%2hhx", &out[i]) != 1)
            die("devices: bad hex");
}

/* From its numbers: OpenSSL 3.0's decoders take ten times as long. */
static EVP_PKEY *birth_key(const char *private_hex, const char *point_hex)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    uint8_t private[32], point[POINT_LEN];
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params;
    BIGNUM *bn;

    unhex(private_hex, private, sizeof private);
    unhex(point_hex, point, sizeof point);
    bn = BN_bin2bn(private, sizeof private, NULL);
    OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0);
    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, bn);
    OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point);
    params = OSSL_PARAM_BLD_to_param(bld);
    if (EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) != 1)
        die("devices: birth key");
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    BN_free(bn);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static X509 *birth_cert(const char *base64)
{
    static uint8_t der[8192];
    const uint8_t *p = der;
    int n = strlen(base64) < sizeof der ? EVP_DecodeBlock(der, (const uint8_t *)base64, (int)strlen(base64)) : -1;
    X509 *cert = n > 0 ? d2i_X509(NULL, &p, n) : NULL;

    if (!cert)
        die("devices: birth certificate");
    return cert;
}

/* `cfssl serve` takes the CSR as PEM inside JSON. */
static char *sign_body(const char *csr)
{
    size_t n = strlen(csr), at = 0, size = n + n / 64 * 2 + 256;
    char *out = malloc(size);

    at += (size_t)sprintf(out, "{\"certificate_request\":\"-----BEGIN CERTIFICATE REQUEST-----\\n");
    for (size_t i = 0; i < n; i += 64)
        at += (size_t)sprintf(out + at, "%.64s\\n", csr + i);
    sprintf(out + at, "-----END CERTIFICATE REQUEST-----\\n\"}");
    return out;
}

static char *authorization(void)
{
    char plain[256], *out = calloc(1, 512);
    int n = opt.user ? snprintf(plain, sizeof plain, "%s:%s", opt.user, opt.secret) : 0;

    if (n > 0 && (size_t)n < sizeof plain) {
        n = sprintf(out, "Authorization: Basic ");
        n += EVP_EncodeBlock((uint8_t *)out + n, (const uint8_t *)plain, (int)strlen(plain));
        strcpy(out + n, "\r\n");
    }
    return out;
}

static void request_build(struct device *d, const char *csr, const char *auth)
{
    char *body = opt.kind == KIND_SIGN ? sign_body(csr) : NULL;
    int n;

    if (opt.kind == KIND_GET)
        n = asprintf(&d->request, "GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\n\r\n", opt.path);
    else
        n = asprintf(&d->request,
                     "POST %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nContent-Type: %s\r\n%sContent-Length: %zu\r\n\r\n%s",
                     opt.path, body ? "application/json" : "application/pkcs10", auth, strlen(body ? body : csr), body ? body : csr);
    if (n < 0)
        die("out of memory");
    d->request_len = (size_t)n;
    free(body);
}

static void devices_load(void)
{
    FILE *f = fopen(opt.devices, "r");
    char *auth = authorization(), *line = NULL;
    size_t size = 0, at = 0, n = 0;

    devices = calloc(opt.count, sizeof *devices);
    unused = calloc(opt.count, sizeof *unused);
    if (!f || !devices || !unused)
        die(opt.devices);
    while (n < opt.count && getline(&line, &size, f) > 0) {
        char *save = NULL, *field[6];

        if (at++ < opt.first)
            continue;
        for (size_t i = 0; i < 6; i++)
            if (!(field[i] = strtok_r(i ? NULL : line, " \n", &save)))
                die("devices: six fields a line");
        if (opt.new && !opt.plain) {
            devices[n].key = birth_key(field[1], field[2]);
            devices[n].cert = birth_cert(field[3]);
        }
        request_build(&devices[n], field[4], auth);
        unhex(field[5], devices[n].point, POINT_LEN);
        n++;
    }
    if (n < opt.count)
        die("devices: fewer lines than asked for");
    for (size_t i = 0; i < n; i++)
        unused[unused_n++] = &devices[n - 1 - i];
    free(line);
    free(auth);
    fclose(f);
}

static const struct device *device_take(void)
{
    if (opt.kind == KIND_GET) { /* any will do, again and again */
        static size_t i;

        return &devices[i++ % opt.count];
    }
    if (unused_n == 0) {
        ran_out = "devices";
        stopping = true;
        return NULL;
    }
    return unused[--unused_n];
}

static void device_give_back(const struct device *d)
{
    if (opt.kind != KIND_GET)
        unused[unused_n++] = d;
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

/* Does the certs-only CMS in `text` hold a certificate for this key? */
static bool holds_certificate(const char *text, size_t len, const uint8_t point[POINT_LEN])
{
    static uint8_t der[IN_MAX];
    const uint8_t *p = der;
    STACK_OF(X509) *certs;
    int n, key_len = 0;
    PKCS7 *p7;
    bool ok = false;

    while (len && text[len - 1] == '\n')
        len--;
    n = EVP_DecodeBlock(der, (const uint8_t *)text, (int)len);
    p7 = n > 0 ? d2i_PKCS7(NULL, &p, n) : NULL;
    certs = p7 && PKCS7_type_is_signed(p7) ? p7->d.sign->cert : NULL;
    if (certs && sk_X509_num(certs) == 1) {
        const uint8_t *key = NULL;

        X509_PUBKEY_get0_param(NULL, &key, &key_len, NULL, X509_get_X509_PUBKEY(sk_X509_value(certs, 0)));
        ok = key_len == POINT_LEN && memcmp(key, point, POINT_LEN) == 0;
    }
    PKCS7_free(p7);
    ERR_clear_error();
    return ok;
}

static bool answer_is_right(const struct conn *c, int status, const char *head, const char *body, size_t len)
{
    static unsigned turn;

    if (opt.kind == KIND_GET || status != 200)
        return true;
    if (opt.kind == KIND_SIGN)
        return len > 500 && strncmp(body, "{\"success\":true", 15) == 0 && memmem(body, len, "BEGIN CERTIFICATE", 17);
    if (!strcasestr(head, "\r\nContent-Type: application/pkcs7-mime") || len < 500 || strncmp(body, "MII", 3) != 0)
        return false;
    return ++turn % CHECK_ONE_IN != 0 || holds_certificate(body, len, c->device->point);
}

struct answer {
    int status;
    size_t len; /* of all of it */
    bool close;
};

/* 1: complete, 0: more is needed, -1: not HTTP as it should be. */
static int answer_read(struct conn *c, struct answer *a)
{
    char *end, *field, *head = c->in;
    size_t body;
    bool right;

    c->in[c->in_len] = '\0';
    end = strstr(head, "\r\n\r\n");
    if (!end)
        return c->in_len == IN_MAX ? -1 : 0;
    if (sscanf(head, "HTTP/1.1 %3d ", &a->status) != 1 || a->status < 100 || a->status >= STATUSES)
        return -1;
    end[2] = '\0'; /* the search stays inside the head */
    field = strcasestr(head, "\r\nContent-Length:");
    body = field ? strtoul(field + 17, NULL, 10) : 0;
    a->close = strcasestr(head, "\r\nConnection: close") != NULL;
    a->len = (size_t)(end + 4 - head) + body;
    if (a->len > IN_MAX || (!field && a->status != 204)) {
        end[2] = '\r';
        return -1;
    }
    if (c->in_len < a->len) {
        end[2] = '\r';
        return 0;
    }
    right = answer_is_right(c, a->status, head, end + 4, body);
    if (now_in && (a->status == 503 || a->status == 429) && !strcasestr(head, "\r\nRetry-After:"))
        now_in->without_retry_after++;
    if (now_in && !right)
        now_in->bad_answers++;
    return c->in_len == a->len ? 1 : -1;
}

static void time_note(struct phase *p, double us)
{
    if (p->us_n == p->us_cap) {
        p->us_cap = p->us_cap ? 2 * p->us_cap : 65536;
        p->us = realloc(p->us, p->us_cap * sizeof *p->us);
        if (!p->us)
            die("out of memory");
    }
    p->us[p->us_n++] = (uint32_t)(us < 4e9 ? us : 4e9);
}

static void answered(struct conn *c, int status)
{
    struct phase *p = now_in;
    double t = seconds(CLOCK_MONOTONIC);
    size_t stretch;
    bool good = status == 200 || (opt.kind == KIND_GET && status == 204);

    if (!good)
        device_give_back(c->device);
    c->device = NULL;
    busy--;
    if (!p)
        return;
    p->answered++;
    p->status[status]++;
    if (!good)
        return;
    p->good++;
    stretch = (size_t)((t - p->began) / SERIES_S);
    if (stretch < SERIES_MAX)
        p->series[stretch]++;
    time_note(p, (t - c->since) * 1e6);
}

/* ---- connections ------------------------------------------------------------------------------------------------ */

static void conn_idle(struct conn *c)
{
    c->state = CONN_IDLE;
    c->next_idle = idle;
    idle = c;
}

static void conn_close(struct conn *c)
{
    if (c->ssl) {
        SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
    }
    close(c->fd);
    ERR_clear_error();
    c->ssl = NULL;
    c->state = CONN_OFF;
}

static void conn_failed(struct conn *c)
{
    if (c->device) {
        device_give_back(c->device);
        busy--;
    }
    c->device = NULL;
    if (now_in)
        now_in->errors++;
    conn_close(c);
}

static int verify_nothing(X509_STORE_CTX *x, void *arg)
{
    (void)x;
    (void)arg;
    return 1;
}

static void tls_setup(void)
{
    tls = SSL_CTX_new(TLS_client_method());
    if (!tls || !SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION) || !SSL_CTX_set1_groups_list(tls, "X25519"))
        die("SSL_CTX_new");
    SSL_CTX_set_cert_verify_callback(tls, verify_nothing, NULL);
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(tls, SSL_MODE_NO_AUTO_CHAIN);
}

static void source_bind(int fd)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    int on = 1;

    if (opt.sources < 2)
        return;
    from.sin_addr.s_addr = htonl(0x7F000002u + (uint32_t)(next_source++ % opt.sources));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) != 0)
        die("bind");
}

static void conn_advance(struct conn *c);

static void conn_open(struct conn *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    int on = 1;

    c->in_len = c->written = 0;
    c->state = CONN_CONNECTING;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        die("socket");
    source_bind(c->fd);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)
        die("connect");
    if (!opt.plain) {
        c->ssl = SSL_new(tls);
        if (!c->ssl || !SSL_set_fd(c->ssl, c->fd) || !SSL_set_tlsext_host_name(c->ssl, "localhost"))
            die("SSL_new");
        if (c->device && c->device->cert &&
            (!SSL_use_certificate(c->ssl, c->device->cert) || !SSL_use_PrivateKey(c->ssl, c->device->key)))
            die("SSL_use_certificate");
        SSL_set_connect_state(c->ssl);
    }
    if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev) != 0)
        die("epoll_ctl");
}

/* > 0: octets; 0: later; -1: over. */
static ssize_t conn_write(struct conn *c, const char *p, size_t n)
{
    ssize_t r;

    if (c->ssl) {
        r = SSL_write(c->ssl, p, (int)n);
        if (r > 0)
            return r;
        r = SSL_get_error(c->ssl, (int)r);
        return r == SSL_ERROR_WANT_READ || r == SSL_ERROR_WANT_WRITE ? 0 : -1;
    }
    r = send(c->fd, p, n, MSG_NOSIGNAL);
    return r >= 0 ? r : errno == EAGAIN || errno == ENOTCONN ? 0 : -1;
}

static ssize_t conn_read(struct conn *c)
{
    char *p = c->in + c->in_len;
    size_t n = IN_MAX - c->in_len;
    ssize_t r;

    if (c->ssl) {
        r = SSL_read(c->ssl, p, (int)n);
        if (r > 0)
            return r;
        r = SSL_get_error(c->ssl, (int)r);
        return r == SSL_ERROR_WANT_READ || r == SSL_ERROR_WANT_WRITE ? 0 : -1;
    }
    r = recv(c->fd, p, n, 0);
    return r > 0 ? r : r < 0 && errno == EAGAIN ? 0 : -1;
}

/* Gives the connection its request. */
static void conn_ask(struct conn *c, const struct device *d, double due)
{
    c->device = d;
    c->since = due;
    busy++;
    if (now_in)
        now_in->sent++;
    if (opt.new) {
        conn_open(c);
        return;
    }
    c->state = CONN_WRITING;
    c->written = c->in_len = 0;
    conn_advance(c);
}

static void answer_arrived(struct conn *c, const struct answer *a)
{
    answered(c, a->status);
    c->in_len = 0;
    if (opt.new)
        conn_close(c);
    else if (a->close) {
        conn_close(c);
        conn_open(c);
    } else {
        conn_idle(c);
    }
}

/* A kept-alive connection that was closed between two requests is opened again. */
static void conn_lost(struct conn *c)
{
    bool in_request = c->device != NULL;

    if (in_request)
        conn_failed(c);
    else
        conn_close(c);
    if (!opt.new && !stopping)
        conn_open(c);
}

static void conn_advance(struct conn *c)
{
    struct answer a;
    ssize_t n;
    int r;

    if (c->state == CONN_CONNECTING) {
        if (c->ssl && (r = SSL_do_handshake(c->ssl)) != 1) {
            r = SSL_get_error(c->ssl, r);
            if (r != SSL_ERROR_WANT_READ && r != SSL_ERROR_WANT_WRITE)
                conn_lost(c);
            return;
        }
        if (!c->device) {
            conn_idle(c);
            return;
        }
        c->state = CONN_WRITING;
    }
    while (c->state == CONN_WRITING) {
        n = conn_write(c, c->device->request + c->written, c->device->request_len - c->written);
        if (n == 0)
            return;
        if (n < 0) {
            conn_lost(c);
            return;
        }
        c->written += (size_t)n;
        if (c->written == c->device->request_len)
            c->state = CONN_READING;
    }
    while (c->state == CONN_READING || c->state == CONN_IDLE) {
        n = conn_read(c);
        if (n == 0)
            return;
        if (n < 0 || c->state == CONN_IDLE) {
            if (c->state == CONN_IDLE) /* leave the list of idle ones */
                for (struct conn **p = &idle; *p; p = &(*p)->next_idle)
                    if (*p == c) {
                        *p = c->next_idle;
                        break;
                    }
            conn_lost(c);
            return;
        }
        c->in_len += (size_t)n;
        r = answer_read(c, &a);
        if (r < 0) {
            if (now_in)
                now_in->bad_answers++;
            conn_lost(c);
            return;
        }
        if (r > 0)
            answer_arrived(c, &a);
    }
}

static void events_take(int wait_ms)
{
    struct epoll_event ev[EVENTS];
    int n = epoll_wait(ep, ev, EVENTS, wait_ms);

    if (n < 0 && errno != EINTR)
        die("epoll_wait");
    for (int i = 0; i < n; i++)
        if (((struct conn *)ev[i].data.ptr)->state != CONN_OFF)
            conn_advance(ev[i].data.ptr);
}

/* ---- phases ----------------------------------------------------------------------------------------------------- */

static struct conn *conn_free_one(size_t *scan)
{
    struct conn *c = idle;

    if (opt.new) {
        for (size_t i = 0; i < opt.connections; i++) {
            c = &conns[(*scan + i) % opt.connections];
            if (c->state == CONN_OFF) {
                *scan = (*scan + i + 1) % opt.connections;
                return c;
            }
        }
        return NULL;
    }
    if (c)
        idle = c->next_idle;
    return c;
}

static bool ask_next(size_t *scan, double due)
{
    struct conn *c = conn_free_one(scan);
    const struct device *d = c ? device_take() : NULL;

    if (!c)
        return false;
    if (!d) {
        if (!opt.new)
            conn_idle(c);
        return false;
    }
    conn_ask(c, d, due);
    return true;
}

static void phase_run(struct phase *p, double rate)
{
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), end, t;
    size_t scan = 0;
    long due = 0, all = (long)(p->seconds * rate);

    p->rate = rate;
    now_in = p;
    p->began = t = seconds(CLOCK_MONOTONIC);
    end = p->began + p->seconds;
    for (; t < end && !stopping; t = seconds(CLOCK_MONOTONIC)) {
        if (rate == 0) {
            while (busy < opt.busy && ask_next(&scan, seconds(CLOCK_MONOTONIC)) && !stopping)
                ;
        } else {
            long want = (long)((t - p->began) * rate) + 1; /* the first is due at once */

            want = want < all ? want : all;
            while (due < want && ask_next(&scan, p->began + (double)due / rate))
                due++;
        }
        events_take(rate == 0 ? 100 : 1);
    }
    if (rate != 0)
        p->late = all - due; /* no connection was free for them */
    p->took = seconds(CLOCK_MONOTONIC) - p->began;
    p->cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
}

/* What is still under way when the last phase is over counts for it, but not for its duration. */
static void drain(void)
{
    double end = seconds(CLOCK_MONOTONIC) + 20;

    stopping = true;
    while (busy > 0 && seconds(CLOCK_MONOTONIC) < end)
        events_take(100);
    if (busy > 0)
        now_in->errors += (long)busy;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static uint32_t percentile(const struct phase *p, double q)
{
    size_t at = (size_t)(q * (double)p->us_n);

    return p->us_n ? p->us[at < p->us_n ? at : p->us_n - 1] : 0;
}

static void phase_print(struct phase *p, bool last)
{
    const char *comma = "";
    size_t stretches = (size_t)(p->took / SERIES_S);

    qsort(p->us, p->us_n, sizeof *p->us, by_value);
    printf("  {\"load\": %.1f, \"seconds\": %.3f, \"sent\": %ld, \"answered\": %ld, \"good\": %ld, \"rate\": %.1f,\n", p->rate,
           p->took, p->sent, p->answered, p->good, (double)p->good / p->took);
    printf("   \"errors\": %ld, \"bad_answers\": %ld, \"without_retry_after\": %ld, \"late\": %ld, \"client_cpu_s\": %.3f,\n",
           p->errors, p->bad_answers, p->without_retry_after, p->late, p->cpu);
    printf("   \"p50_us\": %u, \"p99_us\": %u, \"p999_us\": %u, \"max_us\": %u,\n   \"status\": {", percentile(p, 0.5),
           percentile(p, 0.99), percentile(p, 0.999), p->us_n ? p->us[p->us_n - 1] : 0);
    for (int i = 0; i < STATUSES; i++)
        if (p->status[i]) {
            printf("%s\"%d\": %ld", comma, i, p->status[i]);
            comma = ", ";
        }
    printf("},\n   \"series_s\": %.1f, \"series\": [", SERIES_S);
    for (size_t i = 0; i < stretches && i < SERIES_MAX; i++)
        printf("%s%ld", i ? ", " : "", p->series[i]);
    printf("], \"us\": [");
    for (size_t i = 0; opt.samples && i < p->us_n; i++)
        printf("%s%u", i ? ", " : "", p->us[i]);
    printf("]}%s\n", last ? "" : ",");
}

static void print_all(void)
{
    printf("{\"ran_out\": %s%s%s, \"phases\": [\n", ran_out ? "\"" : "", ran_out ? ran_out : "null", ran_out ? "\"" : "");
    for (size_t i = 0; i < phase_n; i++)
        if (phases[i].took > 0)
            phase_print(&phases[i], i + 1 == phase_n || phases[i + 1].took == 0);
    printf("]}\n");
    fflush(stdout);
}

/* ---- start ------------------------------------------------------------------------------------------------------ */

static void phase_add(const char *text)
{
    struct phase *p = &phases[phase_n];
    char *end;

    if (phase_n == PHASES_MAX)
        die("too many phases");
    p->factor = strtod(text, &end);
    p->times_best = *end == 'x';
    end += p->times_best;
    if (*end != ':' || (p->seconds = strtod(end + 1, &end)) <= 0 || *end != '\0' || p->factor < 0)
        die("--phase LOAD:SECONDS");
    phase_n++;
}

static void options_read(int argc, char **argv)
{
    static const struct option names[] = {
        {"port", 1, 0, 'p'},    {"kind", 1, 0, 'k'},   {"new", 0, 0, 'n'},     {"plain", 0, 0, 'l'},  {"connections", 1, 0, 'c'},
        {"devices", 1, 0, 'd'}, {"first", 1, 0, 'f'},  {"count", 1, 0, 'm'},   {"user", 1, 0, 'u'},   {"secret", 1, 0, 's'},
        {"path", 1, 0, 'a'},    {"sources", 1, 0, 'o'}, {"wait", 0, 0, 'w'},   {"phase", 1, 0, 'h'},  {"busy", 1, 0, 'b'},
        {"samples", 0, 0, 'e'}, {0, 0, 0, 0}};
    static const char *const kinds[] = {"est", "get", "sign"};
    int o;

    while ((o = getopt_long(argc, argv, "", names, NULL)) != -1)
        switch (o) {
        case 'p': opt.port = atoi(optarg); break;
        case 'k':
            for (opt.kind = KIND_EST; opt.kind <= KIND_SIGN && strcmp(kinds[opt.kind], optarg) != 0; opt.kind++)
                ;
            if (opt.kind > KIND_SIGN)
                die("--kind est|get|sign");
            break;
        case 'n': opt.new = true; break;
        case 'l': opt.plain = true; break;
        case 'c': opt.connections = strtoul(optarg, NULL, 10); break;
        case 'b': opt.busy = strtoul(optarg, NULL, 10); break;
        case 'd': opt.devices = optarg; break;
        case 'f': opt.first = strtoul(optarg, NULL, 10); break;
        case 'm': opt.count = strtoul(optarg, NULL, 10); break;
        case 'u': opt.user = optarg; break;
        case 's': opt.secret = optarg; break;
        case 'a': opt.path = optarg; break;
        case 'o': opt.sources = strtoul(optarg, NULL, 10); break;
        case 'w': opt.wait = true; break;
        case 'e': opt.samples = true; break;
        case 'h': phase_add(optarg); break;
        default: exit(2);
        }
    if (opt.busy == 0 || opt.busy > opt.connections)
        opt.busy = opt.connections;
    if (!opt.port || !opt.devices || !phase_n || !opt.connections || !opt.count || (opt.user && !opt.secret)) {
        fputs("usage: enroll_load --port N --devices FILE --phase LOAD:SECONDS [options]; see the head of its source\n", stderr);
        exit(2);
    }
}

static void descriptors_raise(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

static void keepalive_open(void)
{
    size_t standing = 0;

    for (size_t i = 0; i < opt.connections; i++) {
        conn_open(&conns[i]);
        while (conns[i].state == CONN_CONNECTING)
            events_take(1000);
        standing += conns[i].state == CONN_IDLE;
    }
    if (standing < opt.connections)
        die("not all connections could be opened");
}

int main(int argc, char **argv)
{
    double best = 0;
    char line[16];

    options_read(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    descriptors_raise();
    devices_load();
    conns = calloc(opt.connections, sizeof *conns);
    ep = epoll_create1(0);
    if (!conns || ep < 0)
        die("start");
    if (!opt.plain)
        tls_setup();
    if (!opt.new)
        keepalive_open();
    errno = 0;
    if (opt.wait) {
        puts("ready");
        fflush(stdout);
        if (!fgets(line, sizeof line, stdin))
            return 1;
    }
    for (size_t i = 0; i < phase_n && !stopping; i++) {
        phase_run(&phases[i], phases[i].times_best ? phases[i].factor * best : phases[i].factor);
        if ((double)phases[i].good / phases[i].took > best)
            best = (double)phases[i].good / phases[i].took;
    }
    drain();
    print_all();
    return 0;
}
