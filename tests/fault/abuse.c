/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients as a service must survive them: many connections from many addresses that stall, drip or flood.
 *
 *   abuse --mode MODE --port N [--connections N] [--sources N] [--first-source A] [--rate PER_S] [--seconds S] [--drip-ms N]
 *
 *   idle            TLS handshake, then nothing
 *   silent          TCP connection, then nothing
 *   slow-handshake  an octet of a ClientHello each --drip-ms
 *   slow-headers    TLS handshake, then an octet of a request's head each --drip-ms
 *   slow-body       TLS handshake, a whole head, then an octet of the body each --drip-ms
 *   slow-read       TLS handshake, requests without end, no answer is read
 *   hostile         TLS handshake, bodies of nonsense without pause, of every second connection above the limit of the service;
 *                   answers are read, a closed connection is opened again
 *   flood           TCP connections as fast as --rate, each left open until the service or 2 s end it, then opened again
 *
 * Connection i comes from address first-source + i mod sources (127.1.0.1 on; all of 127/8 is local). A mode opens its
 * connections at --rate (0: at once), writes a line "ready" when each is in its stall, goes on until --seconds have passed or
 * standard input ends, and writes one JSON object: opened, up (got into their stall), refused (never got there), closed (by the
 * service afterwards), open (at the end), life_max_s (longest from that stall to the service's close), answers by status.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

#define CONNECTING_MAX 256 /* handshakes of ours at a time: the machine is shared with the service */
#define FLOOD_LIFE_MS  2000
#define BODY           32000
#define BODY_ABOVE     40000

enum mode { IDLE, SILENT, SLOW_HANDSHAKE, SLOW_HEADERS, SLOW_BODY, SLOW_READ, HOSTILE, FLOOD, MODES };

static const char *const mode_name[MODES] = {"idle",      "silent",    "slow-handshake", "slow-headers",
                                             "slow-body", "slow-read", "hostile",        "flood"};

enum step { CLOSED, CONNECTING, HANDSHAKE, UP, DONE };

struct client {
    int fd;
    SSL *ssl;
    enum step step;
    int64_t began_ms, next_ms;
    size_t sent; /* of what this mode sends */
    bool large;
};

static struct {
    enum mode mode;
    uint16_t port;
    size_t n, sources;
    uint32_t first_source;
    long rate, seconds, drip_ms;
} opt = {.n = 1, .sources = 1, .first_source = 0x7f010001, .seconds = 3600, .drip_ms = 1000};

static struct {
    size_t opened, up, refused, closed;
    int64_t life_max_ms;
    size_t status[600];
} seen;

static struct client *client;
static SSL_CTX *ctx;
static int ep;
static size_t connecting;
static char hello[2048];
static size_t hello_len;
static char head[512];
static char *nonsense[2]; /* whole requests: within and above the limit on bodies */
static size_t nonsense_len[2];

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void die(const char *what)
{
    fprintf(stderr, "abuse: %s: %s\n", what, strerror(errno));
    exit(1);
}

static bool needs_tls(void)
{
    return opt.mode != SILENT && opt.mode != SLOW_HANDSHAKE && opt.mode != FLOOD;
}

static bool reopens(void)
{
    return opt.mode == HOSTILE || opt.mode == FLOOD;
}

/* The octets of a real ClientHello, to be sent one by one. */
static void make_hello(void)
{
    SSL *ssl = SSL_new(ctx);
    BIO *out = BIO_new(BIO_s_mem());

    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
    SSL_set_connect_state(ssl);
    SSL_do_handshake(ssl);
    hello_len = (size_t)BIO_read(out, hello, sizeof hello);
    SSL_free(ssl);
    ERR_clear_error();
}

static void end(struct client *c, bool by_service)
{
    int64_t life = now_ms() - c->began_ms;
    struct linger reset = {.l_onoff = 1};

    if (c->step == CONNECTING || c->step == HANDSHAKE) {
        connecting--;
        seen.refused++;
    } else if (by_service) {
        seen.closed++;
        if (life > seen.life_max_ms)
            seen.life_max_ms = life;
    }
    SSL_free(c->ssl);
    ERR_clear_error();
    if (!by_service) /* a flood that leaves ports behind would end by itself */
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(c->fd);
    *c = (struct client){.fd = -1, .step = reopens() ? CLOSED : DONE};
}

static void watch(struct client *c, uint32_t events, int op)
{
    struct epoll_event ev = {.events = events | EPOLLRDHUP, .data.ptr = c};

    if (epoll_ctl(ep, op, c->fd, &ev) != 0)
        die("epoll_ctl");
}

static void up(struct client *c)
{
    connecting--;
    seen.up++;
    c->step = UP;
    c->began_ms = c->next_ms = now_ms();
    watch(c, opt.mode == SLOW_READ ? 0 : EPOLLIN, EPOLL_CTL_MOD);
}

static void begin(struct client *c, size_t i)
{
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(opt.first_source + (uint32_t)(i % opt.sources))};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(opt.port)};
    int on = 1, small = 4096;

    *c = (struct client){.step = CONNECTING, .began_ms = now_ms(), .large = i % 2};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket");
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (opt.mode == SLOW_READ)
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from) != 0)
        die("bind");
    seen.opened++;
    connecting++;
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
        end(c, true);
        return;
    }
    watch(c, EPOLLOUT, EPOLL_CTL_ADD);
}

static void handshake(struct client *c)
{
    int rc = SSL_do_handshake(c->ssl), why;

    if (rc == 1) {
        up(c);
        return;
    }
    why = SSL_get_error(c->ssl, rc);
    ERR_clear_error();
    if (why == SSL_ERROR_WANT_READ)
        watch(c, EPOLLIN, EPOLL_CTL_MOD);
    else if (why == SSL_ERROR_WANT_WRITE)
        watch(c, EPOLLOUT, EPOLL_CTL_MOD);
    else
        end(c, true);
}

static void connected(struct client *c)
{
    int error = 0;
    socklen_t len = sizeof error;

    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error) {
        end(c, true);
        return;
    }
    if (!needs_tls()) {
        up(c);
        return;
    }
    c->ssl = SSL_new(ctx);
    if (!c->ssl || !SSL_set_fd(c->ssl, c->fd))
        die("SSL_new");
    SSL_set_connect_state(c->ssl);
    c->step = HANDSHAKE;
    handshake(c);
}

/* false: nothing more can be sent now. */
static bool put(struct client *c, const char *p, size_t len)
{
    ssize_t n;

    if (c->ssl) {
        n = SSL_write(c->ssl, p, (int)len);
        ERR_clear_error();
    } else {
        n = send(c->fd, p, len, MSG_NOSIGNAL);
    }
    if (n > 0)
        c->sent += (size_t)n;
    return n > 0;
}

static void drip(struct client *c)
{
    size_t head_len = strlen(head);

    switch (opt.mode) {
    case SLOW_HANDSHAKE:
        if (c->sent < hello_len - 1)
            put(c, hello + c->sent, 1);
        break;
    case SLOW_HEADERS:
        put(c, c->sent < head_len - 4 ? head + c->sent : "a", 1);
        break;
    case SLOW_BODY:
        put(c, c->sent < head_len ? head + c->sent : "A", c->sent < head_len ? head_len - c->sent : 1);
        break;
    case SLOW_READ:
        for (int i = 0; i < 200 && put(c, head, head_len); i++)
            ;
        break;
    case HOSTILE:
        while (put(c, nonsense[c->large] + c->sent % nonsense_len[c->large],
                   nonsense_len[c->large] - c->sent % nonsense_len[c->large]))
            ;
        break;
    case IDLE:
    case SILENT:
    case FLOOD:
    case MODES:
        break;
    }
}

static void count_status(const char *p, size_t len)
{
    if (len >= 12 && memcmp(p, "HTTP/1.1 ", 9) == 0) {
        int status = atoi(p + 9);

        if (status > 0 && status < 600)
            seen.status[status]++;
    }
}

/* What the service says is thrown away; when it closes, that is counted. */
static void take(struct client *c)
{
    char in[4096];

    for (;;) {
        ssize_t n;

        if (c->ssl) {
            n = SSL_read(c->ssl, in, sizeof in - 1);
            if (n <= 0 && SSL_get_error(c->ssl, (int)n) == SSL_ERROR_WANT_READ)
                return;
            ERR_clear_error();
        } else {
            n = recv(c->fd, in, sizeof in - 1, 0);
            if (n < 0 && errno == EAGAIN)
                return;
        }
        if (n <= 0) {
            end(c, true);
            return;
        }
        in[n] = '\0';
        count_status(in, (size_t)n);
    }
}

static void on_event(struct client *c, uint32_t what)
{
    if (c->step == CONNECTING) {
        connected(c);
    } else if (c->step == HANDSHAKE) {
        handshake(c);
    } else if (c->step == UP) {
        if (opt.mode == SLOW_READ) /* only an error or the end wakes it */
            end(c, true);
        else if (what & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP))
            take(c);
    }
}

static void report(void)
{
    size_t open = 0;
    const char *comma = "";

    for (size_t i = 0; i < opt.n; i++)
        open += client[i].step == UP;
    printf("{\"opened\": %zu, \"up\": %zu, \"refused\": %zu, \"closed\": %zu, \"open\": %zu, \"life_max_s\": %.2f, \"answers\": {",
           seen.opened, seen.up, seen.refused, seen.closed, open, (double)seen.life_max_ms / 1000);
    for (int i = 0; i < 600; i++)
        if (seen.status[i]) {
            printf("%s\"%d\": %zu", comma, i, seen.status[i]);
            comma = ", ";
        }
    printf("}}\n");
    fflush(stdout);
}

/* Opens what may be opened now, drips what is due. Returns whether all have got to their stall or to their end. */
static bool turn(int64_t start_ms)
{
    int64_t now = now_ms();
    bool all = true;

    for (size_t i = 0; i < opt.n; i++) {
        struct client *c = &client[i];
        size_t allowed = opt.rate ? (size_t)((now - start_ms) * opt.rate / 1000) : SIZE_MAX;

        if (c->step == CLOSED) {
            all = false;
            if (seen.opened < allowed && (opt.mode == FLOOD || connecting < CONNECTING_MAX))
                begin(c, opt.mode == FLOOD ? seen.opened : i);
        } else if (c->step == UP && opt.mode == FLOOD && now - c->began_ms > FLOOD_LIFE_MS) {
            end(c, false);
        } else if (c->step == UP && now >= c->next_ms) {
            c->next_ms = now + (opt.mode == HOSTILE ? 1 : opt.drip_ms);
            drip(c);
        } else if (c->step == CONNECTING || c->step == HANDSHAKE) {
            all = false;
        }
    }
    return all;
}

static void run(void)
{
    int64_t start = now_ms();
    bool ready = false;

    for (;;) {
        struct epoll_event ev[512];
        int n;

        if ((turn(start) || reopens()) && !ready) {
            ready = true;
            puts("ready");
            fflush(stdout);
        }
        n = epoll_wait(ep, ev, 512, reopens() ? 2 : 20);
        for (int i = 0; i < n; i++) {
            if (!ev[i].data.ptr) /* whoever started us is done */
                return;
            on_event(ev[i].data.ptr, ev[i].events);
        }
        if (now_ms() - start > opt.seconds * 1000)
            return;
    }
}

static void make_request(char *out, size_t size, int body_len)
{
    if (opt.mode == SLOW_READ)
        snprintf(out, size, "GET /.well-known/est/cacerts HTTP/1.1\r\nHost: h\r\n\r\n");
    else
        snprintf(out, size,
                 "POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: h\r\nContent-Type: application/pkcs10\r\n"
                 "Authorization: Basic bm9ib2R5Om5vdGhpbmc=\r\nContent-Length: %d\r\n\r\n",
                 body_len);
}

static void make_nonsense(int which)
{
    int body_len = which ? BODY_ABOVE : BODY;
    char *p = malloc(sizeof head + (size_t)body_len);
    size_t at;

    if (!p)
        die("malloc");
    make_request(p, sizeof head, body_len);
    at = strlen(p);
    for (int i = 0; i < body_len; i++) /* base64 of SEQUENCEs in SEQUENCEs */
        p[at + (size_t)i] = "MIIwgDCC"[i % 8];
    nonsense[which] = p;
    nonsense_len[which] = at + (size_t)body_len;
}

static void setup(void)
{
    struct rlimit r;
    struct epoll_event input = {.events = EPOLLIN | EPOLLRDHUP};

    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
    client = calloc(opt.n, sizeof *client);
    ep = epoll_create1(EPOLL_CLOEXEC);
    ctx = SSL_CTX_new(TLS_client_method());
    if (!client || ep < 0 || !ctx)
        die("start");
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    epoll_ctl(ep, EPOLL_CTL_ADD, 0, &input); /* a file or /dev/null is refused: then only the time ends it */
    make_hello();
    make_request(head, sizeof head, BODY);
    for (int i = 0; i < 2; i++)
        make_nonsense(i);
}

static bool parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"mode", required_argument, NULL, 'm'},         {"port", required_argument, NULL, 'p'},
        {"connections", required_argument, NULL, 'n'},  {"sources", required_argument, NULL, 's'},
        {"first-source", required_argument, NULL, 'f'}, {"rate", required_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 't'},      {"drip-ms", required_argument, NULL, 'd'},
        {0},
    };
    struct in_addr a;
    int o;

    opt.mode = MODES;
    while ((o = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (o) {
        case 'm':
            for (enum mode m = IDLE; m < MODES; m++)
                if (strcmp(optarg, mode_name[m]) == 0)
                    opt.mode = m;
            break;
        case 'p':
            opt.port = (uint16_t)atoi(optarg);
            break;
        case 'n':
            opt.n = strtoul(optarg, NULL, 10);
            break;
        case 's':
            opt.sources = strtoul(optarg, NULL, 10);
            break;
        case 'f':
            if (inet_pton(AF_INET, optarg, &a) != 1)
                return false;
            opt.first_source = ntohl(a.s_addr);
            break;
        case 'r':
            opt.rate = atol(optarg);
            break;
        case 't':
            opt.seconds = atol(optarg);
            break;
        case 'd':
            opt.drip_ms = atol(optarg);
            break;
        default:
            return false;
        }
    return opt.mode != MODES && opt.port && opt.n && opt.sources;
}

int main(int argc, char **argv)
{
    if (!parse(argc, argv)) {
        fputs("usage: abuse --mode MODE --port N [--connections N] [--sources N] [--first-source A] [--rate N] [--seconds S]"
              " [--drip-ms N]\n",
              stderr);
        return 2;
    }
    setup();
    run();
    report();
    return 0;
}
