/* SPDX-License-Identifier: Apache-2.0 */
#include "enroll/gate/probe.h"

#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/auto.h"
#include "base/bytes.h"
#include "base/clock.h"

#define PATHS_MAX   8
#define HOW_MAX     96
#define ANSWER_MAX  65536
#define REQUEST_MAX 1024
#define CLIENT_ID_MAX 112 /* its packet has a length of one octet */
#define AGAIN_US    20000

struct options {
    const char *target, *host, *port, *ca, *name;
    const char *cert, *key, *client_id;                         /* the unit that is revoked */
    const char *control_cert, *control_key, *control_client_id; /* NULL: none */
    const char *path, *run;
    int interval_ms, timeout_ms, settle_ms, within_ms, io_ms;
    bool json, until_admitted;
};

enum way { WAY_NEW, WAY_RESUMED, WAY_OPEN };

/* What a trial says of the unit. */
enum answer {
    ADMITTED,
    REFUSED, /* and said why, by an alert or a status */
    ENDED,   /* without a word: one that starts again does that, too */
    NOTHING, /* no server, a silent one, another than it should be, or one with a trouble of its own */
};

/* One path into the server, tried again and again by a thread of its own. */
struct path {
    const char *what;
    enum way way;
    int version;             /* of TLS */
    bool control;
    const struct options *o;
    struct path *after;      /* mqtt: the unit's open connection, which has to end first; NULL: none */
    SSL_CTX *ctx;
    SSL_SESSION *session;    /* WAY_RESUMED: from before */
    SSL *ssl;                /* WAY_OPEN */
    pthread_t thread;
    bool started;
    /* under lock */
    bool held;               /* WAY_OPEN: the connection is there, or will be */
    bool before;             /* admitted before the revocation */
    bool admitted;           /* now */
    bool turned;             /* there was an answer of the other kind after the start */
    int64_t turned_ms;       /* when that began, by the monotonic clock */
    int64_t tried_ms;        /* start of the newest trial that is over */
    unsigned tries, resumed, again; /* again: WAY_OPEN of the control unit had to connect anew */
    unsigned away;           /* trials that say nothing of the unit */
    char how[HOW_MAX];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool ending;

/* ---- one connection ---- */

static int tcp_connect(const struct options *o)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    struct timeval tv = {.tv_sec = o->io_ms / 1000, .tv_usec = o->io_ms % 1000 * 1000};
    int fd = -1, on = 1;

    if (getaddrinfo(o->host, o->port, &hints, &list) != 0)
        return -1;
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

static void ssl_close(SSL *ssl)
{
    int fd = ssl ? SSL_get_fd(ssl) : -1;

    if (!ssl)
        return;
    SSL_shutdown(ssl);
    SSL_free(ssl);
    if (fd >= 0)
        close(fd);
    ERR_clear_error();
}

/* Of a call of OpenSSL that returned `rc`. */
static enum answer failed(SSL *ssl, int rc, char how[HOW_MAX], const char *what)
{
    int kind = SSL_get_error(ssl, rc);
    unsigned long code = ERR_peek_last_error();
    const char *why = code ? ERR_reason_error_string(code) : NULL;

    if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE)
        why = "no answer";
    snprintf(how, HOW_MAX, "%s%s%s", what, why ? ": " : "", why ? why : "");
    ERR_clear_error();
    if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE || SSL_get_verify_result(ssl) != X509_V_OK)
        return NOTHING;
    return ERR_GET_REASON(code) >= SSL_AD_REASON_OFFSET ? REFUSED : ENDED;
}

/* Fills in *out when it is ADMITTED as far as the handshake goes. */
static enum answer tls_connect(struct path *p, SSL_SESSION *session, SSL **out, char how[HOW_MAX])
{
    int fd = tcp_connect(p->o), rc;
    SSL *ssl = fd >= 0 ? SSL_new(p->ctx) : NULL;
    enum answer a;

    *out = NULL;
    if (!ssl) {
        if (fd >= 0)
            close(fd);
        snprintf(how, HOW_MAX, "no connection");
        return NOTHING;
    }
    SSL_set_fd(ssl, fd);
    SSL_set1_host(ssl, p->o->name);
    SSL_set_tlsext_host_name(ssl, p->o->name);
    if (session)
        SSL_set_session(ssl, session);
    rc = SSL_connect(ssl);
    if (rc == 1) {
        *out = ssl;
        return ADMITTED;
    }
    a = failed(ssl, rc, how, "handshake");
    ssl_close(ssl);
    return a;
}

/* ---- what is said over it ---- */

/* Writes and reads of the whole are ADMITTED. */
static enum answer say(SSL *ssl, const void *p, size_t n, char how[HOW_MAX])
{
    int rc = SSL_write(ssl, p, (int)n);

    return rc == (int)n ? ADMITTED : failed(ssl, rc, how, "connection ended");
}

static enum answer hear(SSL *ssl, void *p, size_t max, size_t *n, char how[HOW_MAX])
{
    int rc = SSL_read(ssl, p, (int)max);

    *n = rc > 0 ? (size_t)rc : 0;
    return rc > 0 ? ADMITTED : failed(ssl, rc, how, "connection ended");
}

struct http {
    char text[ANSWER_MAX]; /* the head, what came of the body, NUL */
    size_t len, head_len;
    long status;
    bool last; /* the server ends the connection behind it */
};

static const char *field_of(const struct http *h, const char *name)
{
    const char *at = strcasestr(h->text, name);

    return at ? at + strlen(name) + strspn(at + strlen(name), " ") : NULL;
}

static enum answer http_head(SSL *ssl, struct http *h, char how[HOW_MAX])
{
    char *end = NULL;
    enum answer a;
    size_t n;
    int minor = 0;

    snprintf(how, HOW_MAX, "not HTTP");
    for (h->len = 0; !end; h->len += n) {
        if (h->len + 1 == sizeof(h->text))
            return NOTHING;
        a = hear(ssl, h->text + h->len, sizeof(h->text) - 1 - h->len, &n, how);
        if (a != ADMITTED)
            return a;
        h->text[h->len + n] = '\0';
        end = strstr(h->text, "\r\n\r\n");
    }
    h->head_len = (size_t)(end + 4 - h->text);
    end[2] = '\0';
    if (sscanf(h->text, "HTTP/1.%d %ld", &minor, &h->status) != 2)
        return NOTHING;
    h->last = minor == 0 || (field_of(h, "\r\nConnection:") && strncasecmp(field_of(h, "\r\nConnection:"), "close", 5) == 0);
    return ADMITTED;
}

/* To its end, so that the next answer begins there; of what it says only the last octets are kept. */
static enum answer http_body(SSL *ssl, struct http *h, char how[HOW_MAX])
{
    static const char chunks_end[] = "\r\n0\r\n\r\n";
    const char *length = field_of(h, "\r\nContent-Length:");
    size_t tail = strlen(chunks_end), left = length ? strtoul(length, NULL, 10) : 0, had = h->len - h->head_len, n;
    bool chunked = field_of(h, "\r\nTransfer-Encoding:") != NULL;
    enum answer a = ADMITTED;

    if (!chunked && !length && h->status != 204 && h->status != 304) {
        h->last = true;
        return ADMITTED;
    }
    h->text[h->head_len - 2] = '\r'; /* before the first chunk as before any */
    while (a == ADMITTED && (chunked ? memcmp(h->text + h->len - tail, chunks_end, tail) != 0 : had < left)) {
        if (h->len + 1 == sizeof(h->text)) {
            memcpy(h->text, h->text + h->len - tail, tail);
            h->len = tail;
        }
        a = hear(ssl, h->text + h->len, sizeof(h->text) - 1 - h->len, &n, how);
        h->len += n;
        had += n;
    }
    return a;
}

/* Troubles of a server and what is behind it are no word about the unit. */
static enum answer http_exchange(SSL *ssl, const struct options *o, bool *last, char how[HOW_MAX])
{
    struct http h = {.status = 0};
    char request[REQUEST_MAX];
    int n = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", o->path, o->name);
    enum answer a = say(ssl, request, (size_t)n, how);

    if (a == ADMITTED)
        a = http_head(ssl, &h, how);
    if (a == ADMITTED)
        a = http_body(ssl, &h, how);
    if (a != ADMITTED && h.status) { /* behind the head, which says enough */
        h.last = true;
        a = ADMITTED;
    }
    if (a != ADMITTED)
        return a;
    *last = h.last;
    snprintf(how, HOW_MAX, "HTTP %ld", h.status);
    return h.status >= 200 && h.status < 400 ? ADMITTED : h.status >= 500 ? NOTHING : REFUSED;
}

/* MQTT 3.1.1 section 3.1 and 3.2: return code 3 is a server's trouble. */
static enum answer mqtt_connect(SSL *ssl, const char *client_id, char how[HOW_MAX])
{
    static const uint8_t head[] = {0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0, 60};
    uint8_t packet[192], answer[4];
    size_t id = strlen(client_id), n;
    enum answer a;

    packet[0] = 0x10;
    packet[1] = (uint8_t)(sizeof(head) + 2 + id);
    memcpy(packet + 2, head, sizeof(head));
    packet[2 + sizeof(head)] = 0;
    packet[3 + sizeof(head)] = (uint8_t)id;
    memcpy(packet + 4 + sizeof(head), client_id, id);
    a = say(ssl, packet, 4 + sizeof(head) + id, how);
    if (a == ADMITTED)
        a = hear(ssl, answer, sizeof(answer), &n, how);
    if (a != ADMITTED)
        return a;
    snprintf(how, HOW_MAX, "CONNECT: %d", n == sizeof(answer) ? answer[3] : -1);
    return n != sizeof(answer) || answer[0] != 0x20 || answer[3] == 3 ? NOTHING : answer[3] ? REFUSED : ADMITTED;
}

static enum answer mqtt_ping(SSL *ssl, char how[HOW_MAX])
{
    uint8_t answer[2];
    enum answer a = say(ssl, "\xc0\0", 2, how);
    size_t n;

    if (a == ADMITTED)
        a = hear(ssl, answer, sizeof(answer), &n, how);
    if (a != ADMITTED)
        return a;
    snprintf(how, HOW_MAX, "not MQTT");
    return answer[0] == 0xd0 ? ADMITTED : NOTHING;
}

static bool is_mqtt(const struct options *o)
{
    return strcmp(o->target, "mqtt") == 0;
}

/* `first`: nothing was said over this connection before. *last: nothing more will be heard over it, for a reason of the server's own. */
static enum answer exchange(const struct path *p, SSL *ssl, bool first, bool *last, char how[HOW_MAX])
{
    const struct options *o = p->o;

    *last = false;
    if (!is_mqtt(o))
        return http_exchange(ssl, o, last, how);
    return first ? mqtt_connect(ssl, p->control ? o->control_client_id : o->client_id, how) : mqtt_ping(ssl, how);
}

/* ---- paths ---- */

/* The newest ticket comes after the handshake in TLS 1.3: it is read with the first answer. */
static SSL_SESSION *session_of(struct path *p)
{
    char how[HOW_MAX];
    SSL *ssl;
    SSL_SESSION *s = NULL;
    bool last;

    if (tls_connect(p, NULL, &ssl, how) == ADMITTED && exchange(p, ssl, true, &last, how) == ADMITTED &&
        SSL_SESSION_is_resumable(SSL_get0_session(ssl)))
        s = SSL_get1_session(ssl);
    ssl_close(ssl);
    return s;
}

static enum answer try_new(struct path *p, char how[HOW_MAX], bool *resumed)
{
    SSL_SESSION *copy = p->session ? SSL_SESSION_dup(p->session) : NULL; /* a failed handshake spoils what it used */
    SSL *ssl;
    enum answer a = tls_connect(p, copy, &ssl, how);
    bool last;

    if (a == ADMITTED)
        a = exchange(p, ssl, true, &last, how);
    *resumed = ssl && SSL_session_reused(ssl);
    ssl_close(ssl);
    SSL_SESSION_free(copy);
    return a;
}

/* Connects anew where there is none: at first, when the server said that it ends this one (many do after so many), and the control unit. */
static enum answer try_open(struct path *p, char how[HOW_MAX], bool *again)
{
    bool first = !p->ssl, last = false;
    enum answer a = ADMITTED;

    if (first) {
        *again = p->tries > 0;
        a = tls_connect(p, NULL, &p->ssl, how);
    }
    if (a == ADMITTED)
        a = exchange(p, p->ssl, first, &last, how);
    if (last || a == REFUSED || a == ENDED || (first && a == NOTHING))
        ssl_close(TAKE(p->ssl));
    return a;
}

static void note(struct path *p, int64_t began, enum answer a, bool resumed, bool again, const char *how)
{
    bool admitted = a == ADMITTED;

    pthread_mutex_lock(&lock);
    if (!admitted && (a != NOTHING || !p->tries))
        snprintf(p->how, sizeof(p->how), "%s", how);
    if (a == NOTHING) {
        p->away++;
        pthread_mutex_unlock(&lock);
        return;
    }
    if (p->tries++ == 0)
        p->before = p->admitted = admitted;
    if (admitted != p->admitted) {
        p->turned = true;
        p->turned_ms = began;
    }
    p->admitted = admitted;
    p->tried_ms = began;
    p->resumed += resumed;
    p->again += again;
    pthread_mutex_unlock(&lock);
}

static bool is_ending(void)
{
    bool is;

    pthread_mutex_lock(&lock);
    is = ending;
    pthread_mutex_unlock(&lock);
    return is;
}

/* false: the unit's open connection is no more, and none takes its place. */
static bool try_once(struct path *p)
{
    bool open = p->way == WAY_OPEN, unit_open = open && !p->control, resumed = false, again = false;
    char how[HOW_MAX] = "";
    int64_t began = clock_mono_ms();
    enum answer a = open ? try_open(p, how, &again) : try_new(p, how, &resumed);

    if (a == ENDED && !unit_open) {
        usleep(AGAIN_US);
        began = clock_mono_ms();
        a = open ? try_open(p, how, &again) : try_new(p, how, &resumed);
    }
    /* What was refused was refused when the answer was there, what was admitted when it was asked for. */
    note(p, a == ADMITTED ? began : clock_mono_ms(), a, resumed, again, how);
    return !unit_open || a == ADMITTED || a == NOTHING;
}

static bool is_held(const struct path *p)
{
    bool is;

    pthread_mutex_lock(&lock);
    is = p->held;
    pthread_mutex_unlock(&lock);
    return is;
}

static void *path_run(void *arg)
{
    struct path *p = arg;

    while (p->after && is_held(p->after)) /* a broker ends a client's connection when its next one comes */
        usleep(AGAIN_US);
    do {
        int64_t began = clock_mono_ms(), rest;

        if (!try_once(p))
            break;
        rest = p->o->interval_ms - (clock_mono_ms() - began);
        if (rest > 0)
            usleep((useconds_t)rest * 1000);
    } while (!is_ending());
    ssl_close(TAKE(p->ssl));
    pthread_mutex_lock(&lock);
    p->held = false;
    pthread_mutex_unlock(&lock);
    return NULL;
}

static SSL_CTX *context(const struct options *o, const char *cert, const char *key, int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    if (ctx && SSL_CTX_load_verify_file(ctx, o->ca) == 1 && SSL_CTX_use_certificate_chain_file(ctx, cert) == 1 &&
        SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1 && SSL_CTX_set_min_proto_version(ctx, version) == 1 &&
        SSL_CTX_set_max_proto_version(ctx, version) == 1) {
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
        return ctx;
    }
    fprintf(stderr, "inkan-gate probe: %s, %s or %s cannot be used: %s\n", o->ca, cert, key, ERR_reason_error_string(ERR_peek_last_error()));
    SSL_CTX_free(ctx);
    return NULL;
}

static bool path_start(struct path *p)
{
    p->ctx = context(p->o, p->control ? p->o->control_cert : p->o->cert, p->control ? p->o->control_key : p->o->key, p->version);
    if (!p->ctx)
        return false;
    if (p->way == WAY_RESUMED && !p->o->until_admitted)
        p->session = session_of(p); /* NULL: the server offers none; every trial is a whole handshake then */
    try_once(p);
    p->started = pthread_create(&p->thread, NULL, path_run, p) == 0;
    return p->started;
}

static size_t paths_fill(const struct options *o, struct path *p)
{
    static const struct path all[] = {
        {.what = "new, TLS 1.2", .way = WAY_NEW, .version = TLS1_2_VERSION},
        {.what = "new, TLS 1.3", .way = WAY_NEW, .version = TLS1_3_VERSION},
        {.what = "resumed, TLS 1.2", .way = WAY_RESUMED, .version = TLS1_2_VERSION},
        {.what = "resumed, TLS 1.3", .way = WAY_RESUMED, .version = TLS1_3_VERSION},
        {.what = "open", .way = WAY_OPEN, .version = TLS1_3_VERSION},
        {.what = "untouched, new", .way = WAY_NEW, .version = TLS1_3_VERSION, .control = true},
        {.what = "untouched, open", .way = WAY_OPEN, .version = TLS1_3_VERSION, .control = true},
    };
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (all[i].control ? !o->control_cert : o->until_admitted && all[i].way != WAY_NEW)
            continue;
        p[n] = all[i];
        p[n].held = all[i].way == WAY_OPEN;
        p[n++].o = o;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; is_mqtt(o) && k < n; k++)
            if (p[k].way == WAY_OPEN && p[k].control == p[i].control && k != i)
                p[i].after = &p[k];
    return n;
}

/* ---- the measurement ---- */

static bool all_turned(const struct path *p, size_t n, int64_t since, int64_t settle_ms, bool until_admitted)
{
    bool all = true;

    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n; i++) {
        bool done = p[i].admitted == until_admitted && p[i].turned && clock_mono_ms() - p[i].turned_ms >= settle_ms && p[i].tried_ms >= since;

        if (!p[i].control)
            all &= done;
    }
    pthread_mutex_unlock(&lock);
    return all;
}

static bool all_are(const struct path *p, size_t n, bool admitted)
{
    bool all = true;

    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n; i++)
        all &= p[i].tries && p[i].admitted == (admitted || p[i].control);
    pthread_mutex_unlock(&lock);
    return all;
}

static bool trigger(const struct options *o, int64_t *at)
{
    char line[16];
    int status;

    if (!o->run) {
        fputs("ready: revoke now, and press Enter at that moment\n", stderr);
        if (!fgets(line, sizeof(line), stdin))
            return false;
        *at = clock_mono_ms();
        return true;
    }
    *at = clock_mono_ms();
    status = system(o->run);
    if (status == 0)
        return true;
    fprintf(stderr, "inkan-gate probe: the command ended with %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    return false;
}

/* The cut of one path in milliseconds; -1: not cut. */
static int64_t cut_ms(const struct path *p, int64_t at, bool until_admitted)
{
    if (!p->turned || p->admitted != until_admitted)
        return -1;
    return p->turned_ms > at ? p->turned_ms - at : 0;
}

static bool path_is_right(const struct path *p, int64_t at, const struct options *o)
{
    int64_t cut = cut_ms(p, at, o->until_admitted);

    return p->control ? p->before && p->admitted && !p->turned : cut >= 0 && cut <= o->within_ms;
}

static void print_json(const struct path *p, size_t n, int64_t at, const struct options *o, bool passed)
{
    printf("{\"passed\":%s,\"rows\":[", passed ? "true" : "false");
    for (size_t i = 0; i < n; i++)
        printf("%s{\"path\":\"%s\",\"before\":\"%s\",\"after\":\"%s\",\"cut_ms\":%" PRId64 ",\"tries\":%u,\"resumed\":%u,\"reconnects\":%u,\"away\":%u,\"how\":\"%s\",\"right\":%s}",
               i ? "," : "", p[i].what, p[i].before ? "admitted" : "refused", p[i].admitted ? "admitted" : "refused",
               p[i].control ? -1 : cut_ms(&p[i], at, o->until_admitted), p[i].tries, p[i].resumed, p[i].again, p[i].away, p[i].how,
               path_is_right(&p[i], at, o) ? "true" : "false");
    puts("]}");
}

static void print_table(const struct path *p, size_t n, int64_t at, const struct options *o)
{
    printf("%-18s %-9s %-9s %9s %6s %8s  %s\n", "path", "before", "after", "cut (ms)", "tries", "resumed", "how");
    for (size_t i = 0; i < n; i++) {
        int64_t cut = p[i].control ? -1 : cut_ms(&p[i], at, o->until_admitted);
        char text[24] = "-";

        if (cut >= 0)
            snprintf(text, sizeof(text), "%" PRId64, cut);
        printf("%-18s %-9s %-9s %9s %6u %8u  %s%s", p[i].what, p[i].before ? "admitted" : "refused", p[i].admitted ? "admitted" : "refused",
               text, p[i].tries, p[i].resumed, p[i].how, p[i].again ? " (connected anew)" : "");
        if (p[i].away)
            printf(" (trials that say nothing: %u)", p[i].away);
        puts("");
    }
}

static void paths_end(struct path *p, size_t n)
{
    pthread_mutex_lock(&lock);
    ending = true;
    for (size_t i = 0; i < n; i++)
        p[i].held &= p[i].started;
    pthread_mutex_unlock(&lock);
    for (size_t i = 0; i < n; i++) {
        if (p[i].started)
            pthread_join(p[i].thread, NULL);
        ssl_close(p[i].ssl);
        SSL_SESSION_free(p[i].session);
        SSL_CTX_free(p[i].ctx);
    }
}

static int measure(const struct options *o)
{
    struct path p[PATHS_MAX];
    size_t n = paths_fill(o, p), started = 0;
    int64_t at = 0, until;
    bool passed = true;

    while (started < n && path_start(&p[started]))
        started++;
    if (started < n || !all_are(p, n, !o->until_admitted)) {
        paths_end(p, n);
        if (started == n)
            print_table(p, n, clock_mono_ms(), o);
        fprintf(stderr, "inkan-gate probe: not everybody is %s to begin with\n", o->until_admitted ? "refused" : "admitted");
        return 1;
    }
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n; i++)
        p[i].turned = false;
    pthread_mutex_unlock(&lock);
    if (!trigger(o, &at)) {
        paths_end(p, n);
        return 1;
    }
    until = at + o->timeout_ms;
    while (clock_mono_ms() < until && !all_turned(p, n, at, o->settle_ms, o->until_admitted))
        usleep(10000);
    paths_end(p, n);
    for (size_t i = 0; i < n; i++)
        passed &= path_is_right(&p[i], at, o);
    if (o->json)
        print_json(p, n, at, o, passed);
    else
        print_table(p, n, at, o);
    return passed ? 0 : 1;
}

/* ---- options ---- */

static int usage(FILE *to)
{
    fputs("Usage: inkan-gate probe --host NAME --port N --ca FILE --cert FILE --key FILE [--run COMMAND] [options]\n"
          "\n"
          "Tries every path of one unit into a live server until it is refused, and says how long after the revocation that was.\n"
          "\n"
          "  --target http|mqtt      what the server speaks behind TLS; default http\n"
          "  --host, --port, --ca    the server, and what its certificate chains to\n"
          "  --name NAME             in the server's certificate; default: that of --host\n"
          "  --cert, --key           of the unit that will be revoked\n"
          "  --control-cert, --control-key   of another unit, which must stay admitted\n"
          "  --client-id, --control-client-id   of MQTT; new and resumed sessions are tried once the open connection has ended: a\n"
          "                          broker ends a client's connection when its next one comes\n"
          "  --path PATH             for http, default /\n"
          "  --run COMMAND           revokes; time is counted from its start. Without: from when Enter is pressed\n"
          "  --until-admitted        the other way round: how long until a released unit is admitted\n"
          "  --interval MS           between two trials of a path, default 50\n"
          "  --within MS             that is good; default 5000\n"
          "  --timeout MS            so long at most; default 30000\n"
          "  --settle MS             so long must it stay refused; default 1000\n"
          "  --json                  the table as JSON\n",
          to);
    return to == stdout ? 0 : 2;
}

int probe_main(int argc, char **argv)
{
    static const struct option options[] = {
        {"target", required_argument, NULL, 't'},       {"host", required_argument, NULL, 'h'},
        {"port", required_argument, NULL, 'p'},         {"ca", required_argument, NULL, 'a'},
        {"name", required_argument, NULL, 'n'},         {"cert", required_argument, NULL, 'c'},
        {"key", required_argument, NULL, 'k'},          {"control-cert", required_argument, NULL, 'C'},
        {"control-key", required_argument, NULL, 'K'},  {"client-id", required_argument, NULL, 'i'},
        {"control-client-id", required_argument, NULL, 'I'}, {"path", required_argument, NULL, 'g'},
        {"run", required_argument, NULL, 'r'},          {"until-admitted", no_argument, NULL, 'u'},
        {"interval", required_argument, NULL, 'v'},     {"within", required_argument, NULL, 'w'},
        {"timeout", required_argument, NULL, 'o'},      {"settle", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},               {"help", no_argument, NULL, '?' + 128},
        {NULL, 0, NULL, 0}};
    struct options o = {.target = "http", .path = "/", .client_id = "probe", .control_client_id = "probe-control", .interval_ms = 50,
                        .within_ms = 5000, .timeout_ms = 30000, .settle_ms = 1000, .io_ms = 5000};
    int c;

    optind = 1;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (c) {
        case 't': o.target = optarg; break;
        case 'h': o.host = optarg; break;
        case 'p': o.port = optarg; break;
        case 'a': o.ca = optarg; break;
        case 'n': o.name = optarg; break;
        case 'c': o.cert = optarg; break;
        case 'k': o.key = optarg; break;
        case 'C': o.control_cert = optarg; break;
        case 'K': o.control_key = optarg; break;
        case 'i': o.client_id = optarg; break;
        case 'I': o.control_client_id = optarg; break;
        case 'g': o.path = optarg; break;
        case 'r': o.run = optarg; break;
        case 'u': o.until_admitted = true; break;
        case 'v': o.interval_ms = atoi(optarg); break;
        case 'w': o.within_ms = atoi(optarg); break;
        case 'o': o.timeout_ms = atoi(optarg); break;
        case 's': o.settle_ms = atoi(optarg); break;
        case 'j': o.json = true; break;
        case '?' + 128: return usage(stdout);
        default: return usage(stderr);
        }
    if (optind != argc || !o.host || !o.port || !o.ca || !o.cert || !o.key || !o.control_cert != !o.control_key ||
        (strcmp(o.target, "http") != 0 && strcmp(o.target, "mqtt") != 0) || o.interval_ms < 1 || o.timeout_ms < 1)
        return usage(stderr);
    o.name = o.name ? o.name : o.host;
    if (strlen(o.client_id) > CLIENT_ID_MAX || strlen(o.control_client_id) > CLIENT_ID_MAX || strlen(o.path) + strlen(o.name) > REQUEST_MAX - 64)
        return usage(stderr);
    o.io_ms = o.timeout_ms < o.io_ms ? o.timeout_ms : o.io_ms;
    signal(SIGPIPE, SIG_IGN);
    return measure(&o);
}
