/* SPDX-License-Identifier: Apache-2.0 */
#include "enroll/gate/probe.h"

#include <errno.h>
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
#define AWAY        "no connection"
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
    unsigned away;           /* trials that met no server: they say nothing of the unit */
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

static SSL *refused(SSL *ssl, char how[HOW_MAX], const char *what)
{
    unsigned long code = ERR_peek_last_error();
    const char *why = code ? ERR_reason_error_string(code) : NULL;

    snprintf(how, HOW_MAX, "%s%s%s", what, why ? ": " : "", why ? why : "");
    ssl_close(ssl);
    ERR_clear_error();
    return NULL;
}

/* NULL with `how`: the server did not take us, or is not the one it should be. */
static SSL *tls_connect(struct path *p, SSL_SESSION *session, char how[HOW_MAX])
{
    int fd = tcp_connect(p->o);
    SSL *ssl = fd >= 0 ? SSL_new(p->ctx) : NULL;

    if (!ssl) {
        if (fd >= 0)
            close(fd);
        snprintf(how, HOW_MAX, AWAY);
        return NULL;
    }
    SSL_set_fd(ssl, fd);
    SSL_set1_host(ssl, p->o->name);
    SSL_set_tlsext_host_name(ssl, p->o->name);
    if (session)
        SSL_set_session(ssl, session);
    return SSL_connect(ssl) == 1 ? ssl : refused(ssl, how, "handshake");
}

/* ---- what is said over it ---- */

static bool say(SSL *ssl, const void *p, size_t n)
{
    return SSL_write(ssl, p, (int)n) == (int)n;
}

/* The whole answer up to its end; 0: none came. */
static long http_get(SSL *ssl, const struct options *o)
{
    char text[ANSWER_MAX];
    char request[1024];
    size_t len = 0, want = 0;
    long status = 0;
    const char *end = NULL;
    int n = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", o->path, o->name);

    if (!say(ssl, request, (size_t)n))
        return 0;
    while (!end || len < want) {
        const char *field;

        n = len + 1 < sizeof(text) ? SSL_read(ssl, text + len, (int)(sizeof(text) - len - 1)) : 0;
        if (n <= 0)
            return end ? status : 0; /* a body without a length ends with the connection */
        len += (size_t)n;
        text[len] = '\0';
        if (end)
            continue;
        end = strstr(text, "\r\n\r\n");
        if (!end)
            continue;
        if (sscanf(text, "HTTP/1.%*d %ld", &status) != 1)
            return 0;
        field = strcasestr(text, "\r\nContent-Length:");
        want = (size_t)(end + 4 - text) + (field && field < end ? strtoul(field + 17, NULL, 10) : 0);
    }
    return status;
}

static bool mqtt_connect(SSL *ssl, const char *client_id)
{
    static const uint8_t head[] = {0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0, 60};
    uint8_t packet[192], answer[4];
    size_t id = strlen(client_id);

    if (id > 112)
        return false;
    packet[0] = 0x10;
    packet[1] = (uint8_t)(sizeof(head) + 2 + id);
    memcpy(packet + 2, head, sizeof(head));
    packet[2 + sizeof(head)] = 0;
    packet[3 + sizeof(head)] = (uint8_t)id;
    memcpy(packet + 4 + sizeof(head), client_id, id);
    return say(ssl, packet, 4 + sizeof(head) + id) && SSL_read(ssl, answer, sizeof(answer)) == sizeof(answer) && answer[0] == 0x20 &&
           answer[3] == 0;
}

static bool mqtt_ping(SSL *ssl)
{
    uint8_t answer[2];

    return say(ssl, "\xc0\0", 2) && SSL_read(ssl, answer, sizeof(answer)) == sizeof(answer) && answer[0] == 0xd0;
}

static bool is_mqtt(const struct options *o)
{
    return strcmp(o->target, "mqtt") == 0;
}

/* One exchange; `first`: nothing was said over this connection before. */
static bool exchange(struct path *p, SSL *ssl, bool first, char how[HOW_MAX])
{
    const struct options *o = p->o;
    long status;

    if (is_mqtt(o)) {
        if (first ? mqtt_connect(ssl, p->control ? o->control_client_id : o->client_id) : mqtt_ping(ssl))
            return true;
        refused(NULL, how, first ? "CONNECT" : "connection ended");
        return false;
    }
    status = http_get(ssl, o);
    if (status >= 200 && status < 400)
        return true;
    if (status)
        snprintf(how, HOW_MAX, "HTTP %ld", status);
    else
        refused(NULL, how, "connection ended");
    return false;
}

/* ---- paths ---- */

/* The newest ticket comes after the handshake in TLS 1.3: it is read with the first answer. */
static SSL_SESSION *session_of(struct path *p)
{
    char how[HOW_MAX];
    SSL *ssl = tls_connect(p, NULL, how);
    SSL_SESSION *s = NULL;

    if (ssl && exchange(p, ssl, true, how) && SSL_SESSION_is_resumable(SSL_get0_session(ssl)))
        s = SSL_get1_session(ssl);
    ssl_close(ssl);
    return s;
}

/* Was it said why, by an alert or a status? A connection that just ends may have met a server that starts again. */
static bool is_verdict(const char *how)
{
    return strchr(how, ':') || strncmp(how, "HTTP", 4) == 0;
}

static bool try_new(struct path *p, char how[HOW_MAX], bool *resumed)
{
    SSL_SESSION *copy = p->session ? SSL_SESSION_dup(p->session) : NULL; /* a failed handshake spoils what it used */
    SSL *ssl = tls_connect(p, copy, how);
    bool admitted = ssl && exchange(p, ssl, true, how);

    *resumed = ssl && SSL_session_reused(ssl);
    ssl_close(ssl);
    SSL_SESSION_free(copy);
    return admitted;
}

/* A control unit may connect anew when its connection was ended; the other's is cut then. */
static bool try_open(struct path *p, char how[HOW_MAX], bool *again)
{
    bool admitted;

    *again = false;
    if (p->ssl && exchange(p, p->ssl, false, how))
        return true;
    ssl_close(TAKE(p->ssl));
    if (!p->control)
        return false;
    *again = true;
    p->ssl = tls_connect(p, NULL, how);
    admitted = p->ssl && exchange(p, p->ssl, true, how);
    if (!admitted)
        ssl_close(TAKE(p->ssl));
    return admitted;
}

static void note(struct path *p, int64_t began, bool admitted, bool resumed, bool again, const char *how)
{
    pthread_mutex_lock(&lock);
    if (!admitted && strcmp(how, AWAY) == 0 && p->tries) {
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
    if (!admitted)
        snprintf(p->how, sizeof(p->how), "%s", how);
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

static void try_once(struct path *p)
{
    char how[HOW_MAX] = "";
    bool resumed = false, again = false, admitted;
    int64_t began = clock_mono_ms();

    admitted = p->way == WAY_OPEN ? try_open(p, how, &again) : try_new(p, how, &resumed);
    if (!admitted && !is_verdict(how) && (p->way != WAY_OPEN || p->control)) {
        usleep(AGAIN_US);
        began = clock_mono_ms();
        admitted = p->way == WAY_OPEN ? try_open(p, how, &again) : try_new(p, how, &resumed);
    }
    /* What was refused was refused when the answer was there, what was admitted when it was asked for. */
    note(p, admitted ? began : clock_mono_ms(), admitted, resumed, again, how);
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

        try_once(p);
        if (p->way == WAY_OPEN && !p->ssl && !p->control)
            break; /* it has ended, and stays so */
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
    char how[HOW_MAX] = "";

    p->ctx = context(p->o, p->control ? p->o->control_cert : p->o->cert, p->control ? p->o->control_key : p->o->key, p->version);
    if (!p->ctx)
        return false;
    if (p->way == WAY_RESUMED && !p->o->until_admitted)
        p->session = session_of(p); /* NULL: the server offers none; every trial is a whole handshake then */
    if (p->way == WAY_OPEN) {
        p->ssl = tls_connect(p, NULL, how);
        if (!p->ssl || !exchange(p, p->ssl, true, how))
            snprintf(p->how, sizeof(p->how), "%s", how);
    }
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
        all &= p[i].admitted == (admitted || p[i].control);
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
        printf("%-18s %-9s %-9s %9s %6u %8u  %s%s\n", p[i].what, p[i].before ? "admitted" : "refused", p[i].admitted ? "admitted" : "refused",
               text, p[i].tries, p[i].resumed, p[i].how, p[i].control && p[i].again ? " (connected anew)" : "");
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
    signal(SIGPIPE, SIG_IGN);
    return measure(&o);
}
