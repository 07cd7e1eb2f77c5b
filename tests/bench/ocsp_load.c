/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks an OCSP responder over HTTP as fast as it answers, and prints one JSON object: answers, rate, latencies.
 *
 *   ocsp_load --port N --requests FILE [--method post|get] [--path /ocsp] [--connections N] [--seconds S] [--count N]
 *             [--close] [--nonce] [--sample FILE --every K]
 *
 * FILE holds the requests: u16 length (big-endian), DER, again and again; they are asked in turn. --close opens a
 * connection for each request and reads to its end; without it connections are kept. --nonce: the last 16 octets of a
 * request are a nonce, which is another one each time (POST only). --sample keeps every K-th exchange: u16 length, request,
 * u16 length, response; somebody else verifies those. An answer counts when it is HTTP 200 with a successful
 * OCSPResponse (RFC 6960 4.2.1) of the announced length; everything else is `bad` and ends its connection.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

#define ANSWER_MAX      16384
#define NONCE_LEN       16
#define CONNECTIONS_MAX 4096
#define CLIENT_ADDRS    8 /* loopback addresses to come from: responders limit the connections of one */

struct request {
    uint8_t *http; /* head and body */
    size_t http_len, der_at, der_len;
    uint8_t *der;
};

struct client {
    int fd;
    unsigned index;
    bool connecting;
    const struct request *request;
    uint8_t nonce[NONCE_LEN];
    uint64_t asked_ns;
    size_t got;
    char answer[ANSWER_MAX];
};

static struct options {
    int port;
    const char *file, *path, *sample;
    bool get, close, nonce;
    unsigned connections;
    double seconds;
    uint64_t count, every;
} opt = {.path = "/ocsp", .connections = 32, .seconds = 1e9, .count = UINT64_MAX, .every = 1000};

static struct request *requests;
static size_t requests_n, request_next;
static uint32_t *latency_us;
static size_t latency_n, latency_max;
static uint64_t asked, ok, bad;
static FILE *sample;
static int loop;

static void die(const char *what)
{
    fprintf(stderr, "ocsp_load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void *must(void *p)
{
    if (!p)
        die("memory");
    return p;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Base64 with '+', '/' and '=' escaped, as RFC 6960 A.1 wants it in a path. */
static size_t path_text(const uint8_t *der, size_t len, char *out)
{
    char text[ANSWER_MAX];
    int n = EVP_EncodeBlock((unsigned char *)text, der, (int)len);
    size_t at = 0;

    for (int i = 0; i < n; i++)
        if (strchr("+/=", text[i]))
            at += (size_t)sprintf(out + at, "%%%02X", (unsigned)text[i]);
        else
            out[at++] = text[i];
    out[at] = '\0';
    return at;
}

static void request_make(struct request *r)
{
    char text[ANSWER_MAX * 2], line[ANSWER_MAX * 3];
    const char *connection = opt.close ? "Connection: close\r\n" : "";

    if (opt.get) {
        path_text(r->der, r->der_len, text);
        r->http_len = (size_t)snprintf(line, sizeof line, "GET %s/%s HTTP/1.1\r\nHost: localhost:%d\r\nAccept: */*\r\n%s\r\n",
                                       opt.path, text, opt.port, connection);
        r->der_at = 0;
        r->http = must(malloc(r->http_len));
        memcpy(r->http, line, r->http_len);
        return;
    }
    r->der_at = (size_t)snprintf(line, sizeof line,
                                 "POST %s HTTP/1.1\r\nHost: localhost:%d\r\nContent-Type: application/ocsp-request\r\n"
                                 "Content-Length: %zu\r\n%s\r\n",
                                 opt.path, opt.port, r->der_len, connection);
    r->http_len = r->der_at + r->der_len;
    r->http = must(malloc(r->http_len));
    memcpy(r->http, line, r->der_at);
    memcpy(r->http + r->der_at, r->der, r->der_len);
}

static void requests_load(void)
{
    FILE *f = fopen(opt.file, "r");
    uint8_t len[2];

    if (!f)
        die(opt.file);
    while (fread(len, 1, 2, f) == 2) {
        struct request r = {.der_len = (size_t)(len[0] << 8 | len[1])};

        if (r.der_len < NONCE_LEN || r.der_len > 4096) {
            fprintf(stderr, "ocsp_load: %s: a request of %zu octets\n", opt.file, r.der_len);
            exit(2);
        }
        r.der = must(malloc(r.der_len));
        if (fread(r.der, 1, r.der_len, f) != r.der_len)
            die(opt.file);
        request_make(&r);
        requests = must(realloc(requests, (requests_n + 1) * sizeof *requests));
        requests[requests_n++] = r;
    }
    fclose(f);
    if (requests_n == 0)
        die("no request");
}

static void open_connection(struct client *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)}, from = {.sin_family = AF_INET};
    struct epoll_event ev = {.events = EPOLLOUT, .data.ptr = c};
    int on = 1;

    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + c->index % CLIENT_ADDRS);
    if (c->fd < 0)
        die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from) != 0)
        die("bind");
    c->connecting = true;
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)
        die("connect");
    if (epoll_ctl(loop, EPOLL_CTL_ADD, c->fd, &ev) != 0)
        die("epoll_ctl");
}

static void send_request(struct client *c)
{
    const struct request *r = c->request;
    uint8_t *body = r->http + r->http_len - NONCE_LEN;

    if (opt.nonce) {
        if (RAND_bytes(c->nonce, NONCE_LEN) != 1)
            die("RAND_bytes");
        memcpy(body, c->nonce, NONCE_LEN);
    }
    c->got = 0;
    if (send(c->fd, r->http, r->http_len, MSG_NOSIGNAL) != (ssize_t)r->http_len)
        die("send");
}

/* The next request, if there is to be one. The latency of a request with a connection of its own begins with that. */
static bool ask(struct client *c)
{
    if (asked >= opt.count) {
        if (c->fd >= 0)
            close(c->fd);
        c->fd = -1;
        return false;
    }
    asked++;
    c->request = &requests[request_next++ % requests_n];
    c->asked_ns = now_ns();
    if (c->fd < 0)
        open_connection(c);
    else
        send_request(c);
    return true;
}

static void write_record(const uint8_t *p, size_t len, const uint8_t *tail)
{
    uint8_t n[2] = {(uint8_t)(len >> 8), (uint8_t)len};
    size_t tail_len = tail ? NONCE_LEN : 0;

    if (fwrite(n, 1, 2, sample) != 2 || fwrite(p, 1, len - tail_len, sample) != len - tail_len ||
        fwrite(tail ? tail : p, 1, tail_len, sample) != tail_len)
        die(opt.sample);
}

static void count_answer(struct client *c, const uint8_t *body, size_t len)
{
    static const uint8_t successful[] = {0x0a, 0x01, 0x00};

    if (len < 16 || body[0] != 0x30 || body[1] != 0x82 || memcmp(body + 4, successful, 3) != 0) {
        bad++;
        return;
    }
    if (latency_n == latency_max) {
        latency_max = latency_max ? latency_max * 2 : 65536;
        latency_us = must(realloc(latency_us, latency_max * sizeof *latency_us));
    }
    latency_us[latency_n++] = (uint32_t)((now_ns() - c->asked_ns) / 1000);
    if (sample && ok % opt.every == 0) {
        write_record(c->request->der, c->request->der_len, opt.nonce ? c->nonce : NULL);
        write_record(body, len, NULL);
    }
    ok++;
}

/* 0: more to come; 1: an answer is complete; -1: not an answer. */
static int answer_end(struct client *c, const uint8_t **body, size_t *len)
{
    char *end = memmem(c->answer, c->got, "\r\n\r\n", 4), *field;
    size_t head;

    if (!end)
        return c->got == ANSWER_MAX ? -1 : 0;
    head = (size_t)(end - c->answer) + 4;
    end[2] = '\0';
    if (strncmp(c->answer, "HTTP/1.", 7) != 0 || strncmp(c->answer + 8, " 200", 4) != 0)
        return -1;
    field = strcasestr(c->answer, "\r\nContent-Length:");
    end[2] = '\r';
    if (!field)
        return -1;
    *len = strtoul(field + 17, NULL, 10);
    *body = (const uint8_t *)c->answer + head;
    if (*len > ANSWER_MAX - head || c->got > head + *len)
        return -1;
    return c->got == head + *len;
}

static void connected(struct client *c)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};

    c->connecting = false;
    epoll_ctl(loop, EPOLL_CTL_MOD, c->fd, &ev);
    send_request(c);
}

static void drop(struct client *c)
{
    close(c->fd);
    c->fd = -1;
}

/* false: this client is done. */
static bool readable(struct client *c)
{
    const uint8_t *body = NULL;
    size_t len = 0;
    ssize_t n = recv(c->fd, c->answer + c->got, ANSWER_MAX - c->got, 0);
    int end;

    if (n < 0 && errno == EAGAIN)
        return true;
    c->got += n > 0 ? (size_t)n : 0;
    end = answer_end(c, &body, &len);
    if (end == 0 && n > 0)
        return true;
    if (end == 1 && opt.close && n > 0) { /* its end belongs to it */
        char more;

        if (recv(c->fd, &more, 1, 0) < 0 && errno == EAGAIN)
            return true;
    }
    if (end == 1)
        count_answer(c, body, len);
    else
        bad++;
    if (opt.close || end != 1 || n <= 0)
        drop(c);
    return ask(c);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static double percentile(double p)
{
    return latency_n ? latency_us[(size_t)((double)(latency_n - 1) * p)] : 0;
}

static void run(struct client *clients)
{
    struct epoll_event events[64];
    uint64_t end_ns = now_ns() + (uint64_t)(opt.seconds * 1e9);
    size_t working = 0;

    for (unsigned i = 0; i < opt.connections; i++) {
        clients[i].fd = -1;
        clients[i].index = i;
        working += ask(&clients[i]);
    }
    while (working > 0 && now_ns() < end_ns) {
        int n = epoll_wait(loop, events, 64, 1000);

        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;

            if (c->connecting)
                connected(c);
            else
                working -= !readable(c);
        }
    }
}

static void options_read(int argc, char **argv)
{
    static const struct option known[] = {
        {"port", 1, NULL, 'p'},    {"requests", 1, NULL, 'r'}, {"method", 1, NULL, 'm'}, {"path", 1, NULL, 'P'},
        {"connections", 1, NULL, 'c'}, {"seconds", 1, NULL, 's'}, {"count", 1, NULL, 'n'},  {"close", 0, NULL, 'C'},
        {"nonce", 0, NULL, 'N'},   {"sample", 1, NULL, 'S'},   {"every", 1, NULL, 'e'},  {0},
    };
    int o;

    while ((o = getopt_long(argc, argv, "", known, NULL)) != -1)
        switch (o) {
        case 'p': opt.port = atoi(optarg); break;
        case 'r': opt.file = optarg; break;
        case 'm': opt.get = strcmp(optarg, "get") == 0; break;
        case 'P': opt.path = optarg; break;
        case 'c': opt.connections = (unsigned)atoi(optarg); break;
        case 's': opt.seconds = atof(optarg); break;
        case 'n': opt.count = strtoull(optarg, NULL, 10); break;
        case 'C': opt.close = true; break;
        case 'N': opt.nonce = true; break;
        case 'S': opt.sample = optarg; break;
        case 'e': opt.every = strtoull(optarg, NULL, 10); break;
        default: exit(2);
        }
    if (!opt.port || !opt.file || opt.connections == 0 || opt.connections > CONNECTIONS_MAX || opt.every == 0 ||
        (opt.nonce && opt.get)) {
        fputs("usage: see the head of tests/bench/ocsp_load.c\n", stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct client *clients;
    uint64_t start_ns;
    double seconds;

    options_read(argc, argv);
    requests_load();
    if (opt.sample && !(sample = fopen(opt.sample, "w")))
        die(opt.sample);
    clients = must(calloc(opt.connections, sizeof *clients));
    loop = epoll_create1(0);
    start_ns = now_ns();
    run(clients);
    seconds = (double)(now_ns() - start_ns) / 1e9;
    qsort(latency_us, latency_n, sizeof *latency_us, by_value);
    if (sample && fclose(sample) != 0)
        die(opt.sample);
    printf("{\"ok\": %llu, \"bad\": %llu, \"seconds\": %.3f, \"rate\": %.1f, \"p50_us\": %.0f, \"p99_us\": %.0f, \"p999_us\": %.0f}\n",
           (unsigned long long)ok, (unsigned long long)bad, seconds, (double)ok / seconds, percentile(0.5), percentile(0.99),
           percentile(0.999));
    return ok > 0 && bad == 0 ? 0 : 1;
}
