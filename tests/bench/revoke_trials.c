/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Revokes certificates one after the other while several connections never stop asking about them, and finds the time from
 * the command to the first answer that says `revoked`, by GET, by POST and with a nonce.
 *
 *   revoke_trials --port N --admin SOCKET --issuer NAME --certs FILE --crl PATH [--pollers N]
 *
 * FILE: lines "SERIAL-HEX PLAIN-REQUEST-HEX NONCE-REQUEST-HEX" (the last 16 octets of the latter are the nonce). The pollers
 * ask about the certificate that is being revoked and those that are next, by all three ways in turn, so that every cache
 * holds them and is being filled with them again at every moment. Each certificate must be `good` before. The time begins
 * when the command is sent, so it contains the commit. An answer of another status to a question asked after the
 * acknowledgement is stale. One more connection fetches the CRL at PATH four times a second; its time is how long the
 * certificate was revoked and not listed. Prints one JSON object; exit status 1 when an answer was stale.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/bytes.h"
#include "cli/admin_client.h"
#include "tests/bench/figures.h"

#define REQUEST_MAX  512
#define ANSWER_MAX   8192
#define NONCE_LEN    16
#define POLLERS_MAX  64
#define ASKERS       6 /* connections of the trials themselves: over all fronts, by chance of their address */
#define GIVE_UP_NS   10000000000u
#define LISTED_NS    120000000000u
#define CRL_PAUSE_US 250000
#define CRL_MAX      (64u * 1024 * 1024)
#define AHEAD        3 /* the pollers ask about this many certificates */

enum way { BY_GET, BY_POST, WITH_NONCE, WAYS };
enum said { SAID_GOOD, SAID_REVOKED, SAID_OTHER };

static const char *const way_name[WAYS] = {"get", "post", "nonce"};

struct subject {
    char serial_hex[64];
    uint8_t serial[32]; /* as an INTEGER */
    size_t serial_len;
    uint8_t plain[REQUEST_MAX], live[REQUEST_MAX];
    size_t plain_len, live_len;
    atomic_uint_fast64_t sent_ns, acked_ns; /* 0: not yet */
    atomic_uint_fast64_t first_ns[WAYS];    /* the first answer that said revoked */
    uint64_t listed_ns;                     /* the first CRL that names it; of the thread that fetches it */
};

static struct subject *subjects;
static size_t subjects_n;
static atomic_size_t current;
static atomic_bool stopping;
static atomic_uint_fast64_t polled, stale, refused;
static const char *crl_path;
static int port;

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int connect_from(unsigned index)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)}, from = {.sin_family = AF_INET};
    struct timeval patience = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + index % 16);
    must(fd >= 0 && bind(fd, (struct sockaddr *)&from, sizeof from) == 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0,
         "connect to the front");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

static size_t request_write(const struct subject *s, enum way way, char *out, size_t size)
{
    const uint8_t *der = way == WITH_NONCE ? s->live : s->plain;
    size_t len = way == WITH_NONCE ? s->live_len : s->plain_len;
    char text[REQUEST_MAX * 2];
    size_t n;

    if (way == BY_GET) {
        EVP_EncodeBlock((unsigned char *)text, der, (int)len);
        return (size_t)snprintf(out, size, "GET /ocsp/%s HTTP/1.1\r\nHost: localhost\r\n\r\n", text);
    }
    n = (size_t)snprintf(out, size, "POST /ocsp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/ocsp-request\r\n"
                                    "Content-Length: %zu\r\n\r\n", len);
    memcpy(out + n, der, len);
    if (way == WITH_NONCE)
        must(RAND_bytes((uint8_t *)out + n + len - NONCE_LEN, NONCE_LEN) == 1, "RAND_bytes");
    return n + len;
}

/* What stands behind the CertID that ends with this serial (RFC 6960 4.2.1). */
static enum said answer_says(const struct subject *s, const char *answer, size_t len)
{
    const uint8_t *at = memmem(answer, len, s->serial, s->serial_len);

    if (!at || at + s->serial_len >= (const uint8_t *)answer + len)
        return SAID_OTHER;
    at += s->serial_len;
    return *at == 0x80 ? SAID_GOOD : *at == 0xa1 ? SAID_REVOKED : SAID_OTHER;
}

static size_t answer_read(int fd, char *answer)
{
    size_t got = 0, want = ANSWER_MAX;

    while (got < want) {
        ssize_t n = recv(fd, answer + got, ANSWER_MAX - got, 0);
        char *end, *length;

        must(n > 0, "answer of the front");
        got += (size_t)n;
        if (want < ANSWER_MAX || !(end = memmem(answer, got, "\r\n\r\n", 4)))
            continue;
        length = memmem(answer, (size_t)(end - answer), "Content-Length: ", 16);
        must(length && memcmp(answer, "HTTP/1.1 200", 12) == 0, "HTTP 200 with a length");
        want = (size_t)(end + 4 - answer) + strtoul(length + 16, NULL, 10);
        must(want < ANSWER_MAX, "short answer");
    }
    return got;
}

static void first_keep(atomic_uint_fast64_t *first, uint64_t t)
{
    uint64_t seen = atomic_load(first);

    while ((seen == 0 || t < seen) && !atomic_compare_exchange_weak(first, &seen, t))
        ;
}

static enum said ask(int fd, struct subject *s, enum way way)
{
    char request[REQUEST_MAX * 3], answer[ANSWER_MAX];
    size_t len = request_write(s, way, request, sizeof request);
    uint64_t acked_ns = atomic_load(&s->acked_ns); /* before the question leaves */
    enum said said;

    must(send(fd, request, len, MSG_NOSIGNAL) == (ssize_t)len, "send");
    said = answer_says(s, answer, answer_read(fd, answer));
    if (said == SAID_REVOKED)
        first_keep(&s->first_ns[way], now_ns());
    if (said == SAID_GOOD && acked_ns)
        atomic_fetch_add(&stale, 1);
    if (said == SAID_OTHER)
        atomic_fetch_add(&refused, 1);
    return said;
}

static void *poll_always(void *arg)
{
    unsigned index = (unsigned)(uintptr_t)arg;
    int fd = connect_from(index);

    for (unsigned i = index; !atomic_load(&stopping); i++) {
        size_t at = atomic_load(&current) + i / WAYS % AHEAD;

        if (at < subjects_n)
            ask(fd, &subjects[at], i % WAYS);
        atomic_fetch_add(&polled, 1);
    }
    close(fd);
    return NULL;
}

/* The whole answer to one request of a connection of its own. */
static size_t crl_fetch(char *room)
{
    char request[256];
    int fd = connect_from(POLLERS_MAX), n;
    size_t got = 0;
    ssize_t more;

    n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", crl_path);
    must(send(fd, request, (size_t)n, MSG_NOSIGNAL) == n, "send");
    while (got < CRL_MAX && (more = recv(fd, room + got, CRL_MAX - got, 0)) > 0)
        got += (size_t)more;
    close(fd);
    must(got > 12 && memcmp(room, "HTTP/1.1 200", 12) == 0, "CRL");
    return got;
}

/* Until every certificate is listed, in the order of their revocation: a list never forgets one. */
static void *follow_crl(void *arg)
{
    char *room = malloc(CRL_MAX);
    size_t next = 0;

    (void)arg;
    must(room != NULL, "memory");
    while (next < subjects_n) {
        size_t len = crl_fetch(room);
        uint64_t t = now_ns();

        while (next < subjects_n && atomic_load(&subjects[next].sent_ns) &&
               memmem(room, len, subjects[next].serial, subjects[next].serial_len))
            subjects[next++].listed_ns = t;
        must(next == subjects_n || atomic_load(&subjects[next].acked_ns) == 0 ||
                 t - atomic_load(&subjects[next].acked_ns) < LISTED_NS || t < atomic_load(&subjects[next].acked_ns),
             "listed two minutes after the acknowledgement");
        usleep(CRL_PAUSE_US);
    }
    free(room);
    return NULL;
}

static void revoke_one(struct admin_client *admin, const char *issuer, struct subject *s)
{
    json_t *args = json_pack("{s:s, s:s, s:s}", "issuer", issuer, "serial", s->serial_hex, "reason", "keyCompromise");
    json_t *result = NULL;
    struct err e = {0};

    atomic_store(&s->sent_ns, now_ns());
    must_ok(admin_call(admin, "cert.revoke", args, NULL, NULL, NULL, &result, NULL, &e), &e);
    atomic_store(&s->acked_ns, now_ns());
    json_decref(args);
    json_decref(result);
}

static void trial(struct admin_client *admin, const char *issuer, struct subject *s, const int fd[ASKERS], size_t index)
{
    for (int way = 0; way < WAYS; way++)
        for (int i = 0; i < ASKERS; i++)
            must(ask(fd[i], s, way) == SAID_GOOD || way == WITH_NONCE, "good before the revocation");
    revoke_one(admin, issuer, s);
    for (int way = 0; way < WAYS; way++)
        while (atomic_load(&s->first_ns[way]) == 0) {
            ask(fd[(index + (size_t)way) % ASKERS], s, way);
            if (now_ns() - atomic_load(&s->acked_ns) > GIVE_UP_NS) {
                fprintf(stderr, "%s: not revoked by %s 10 s after the acknowledgement\n", s->serial_hex, way_name[way]);
                exit(1);
            }
        }
    for (int way = 0; way < WAYS; way++) /* and through every connection */
        ask(fd[(index + (size_t)way + 1) % ASKERS], s, way);
}

static size_t hex_take(const char *hex, uint8_t *out, size_t size)
{
    size_t n = 0;

    must(hex && hex_decode(hex, strlen(hex), out, size, &n), "line of the certificates");
    return n;
}

static void subjects_load(const char *path)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t room = 0, max = 0;

    must(f != NULL, path);
    while (getline(&line, &room, f) > 0) {
        struct subject *s;
        char *rest = NULL, *serial = strtok_r(line, " \n", &rest);
        uint8_t magnitude[32];
        size_t n = hex_take(serial, magnitude, sizeof magnitude - 4), pad = magnitude[0] >> 7;

        if (subjects_n == max) {
            max = max ? 2 * max : 1024;
            subjects = realloc(subjects, max * sizeof *subjects);
            must(subjects != NULL, "memory");
        }
        s = &subjects[subjects_n++];
        memset(s, 0, sizeof *s);
        snprintf(s->serial_hex, sizeof s->serial_hex, "%s", serial);
        s->serial[0] = 0x02;
        s->serial[1] = (uint8_t)(n + pad);
        memcpy(s->serial + 2 + pad, magnitude, n);
        s->serial_len = 2 + pad + n;
        s->plain_len = hex_take(strtok_r(NULL, " \n", &rest), s->plain, sizeof s->plain);
        s->live_len = hex_take(strtok_r(NULL, " \n", &rest), s->live, sizeof s->live);
    }
    free(line);
    fclose(f);
}

/* Milliseconds from the command, and from the acknowledgement as far as an answer came later than that. */
static void print_times(void)
{
    printf("\"trials\": %zu, \"ack_ms\": {", subjects_n);
    for (int way = -1; way <= WAYS; way++) {
        struct latencies l = {0};

        for (size_t i = 0; i < subjects_n; i++) {
            struct subject *s = &subjects[i];
            uint64_t end = way < 0 ? atomic_load(&s->acked_ns) : way == WAYS ? s->listed_ns : atomic_load(&s->first_ns[way]);

            latencies_add(&l, (double)(end - atomic_load(&s->sent_ns)) / 1e3);
        }
        if (way >= 0)
            printf(", \"%s_ms\": {", way == WAYS ? "crl" : way_name[way]);
        printf("\"p50\": %.3f, \"p99\": %.3f, \"p999\": %.3f, \"max\": %.3f}", latencies_at(&l, 0.5) / 1e3, latencies_at(&l, 0.99) / 1e3,
               latencies_at(&l, 0.999) / 1e3, latencies_at(&l, 1) / 1e3);
        latencies_clear(&l);
    }
}

int main(int argc, char **argv)
{
    static const struct option known[] = {{"port", 1, NULL, 'p'},  {"admin", 1, NULL, 'a'},   {"issuer", 1, NULL, 'i'},
                                          {"certs", 1, NULL, 'c'}, {"crl", 1, NULL, 'l'},     {"pollers", 1, NULL, 'n'}, {0}};
    const char *socket_path = NULL, *issuer = NULL, *certs = NULL;
    unsigned pollers = 4;
    pthread_t thread[POLLERS_MAX], crl_thread;
    struct admin_client *admin;
    int fd[ASKERS], o;
    struct err e = {0};

    while ((o = getopt_long(argc, argv, "", known, NULL)) != -1)
        switch (o) {
        case 'p': port = atoi(optarg); break;
        case 'a': socket_path = optarg; break;
        case 'i': issuer = optarg; break;
        case 'c': certs = optarg; break;
        case 'l': crl_path = optarg; break;
        case 'n': pollers = (unsigned)atoi(optarg); break;
        default: return 2;
        }
    if (!port || !socket_path || !issuer || !certs || !crl_path || pollers > POLLERS_MAX) {
        fputs("usage: see the head of tests/bench/revoke_trials.c\n", stderr);
        return 2;
    }
    subjects_load(certs);
    must_ok(admin_connect(socket_path, &admin, &e), &e);
    for (unsigned i = 0; i < ASKERS; i++)
        fd[i] = connect_from(POLLERS_MAX + i);
    for (unsigned i = 0; i < pollers; i++)
        must(pthread_create(&thread[i], NULL, poll_always, (void *)(uintptr_t)i) == 0, "thread");
    must(pthread_create(&crl_thread, NULL, follow_crl, NULL) == 0, "thread");
    for (size_t i = 0; i < subjects_n; i++) {
        atomic_store(&current, i);
        trial(admin, issuer, &subjects[i], fd, i);
    }
    atomic_store(&stopping, true);
    for (unsigned i = 0; i < pollers; i++)
        pthread_join(thread[i], NULL);
    pthread_join(crl_thread, NULL);
    printf("{");
    print_times();
    printf(", \"polled\": %llu, \"stale\": %llu, \"refused\": %llu}\n", (unsigned long long)atomic_load(&polled),
           (unsigned long long)atomic_load(&stale), (unsigned long long)atomic_load(&refused));
    admin_close(admin);
    return atomic_load(&stale) ? 1 : 0;
}
