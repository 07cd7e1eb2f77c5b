/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inkan-gate: the agent on the host of a gateway, broker or proxy (docs/gate.md).
 *
 * Order of the start: configuration, the hands (they stay what we were started as), the listening sockets, then another user, no
 * core dumps, no new privileges, what an earlier run left on disk, the list of system calls, threads.
 */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "base/proc.h"
#include "base/systemd.h"
#include "base/text.h"
#include "enroll/gate/gate.h"
#include "enroll/gate/probe.h"

#define LISTENERS_MAX 16
#define DEFAULT_CONF  "/etc/inkan/gate.yaml"

static int usage(FILE *to)
{
    fputs("Usage: inkan-gate [-c FILE] [-t] [-v]\n"
          "       inkan-gate status [-c FILE | --socket PATH]\n"
          "       inkan-gate probe OPTIONS        (inkan-gate probe --help)\n"
          "\n"
          "Keeps the revocation feed of a service on a gateway's host, answers /v1/decision on loopback, and makes nginx, HAProxy,\n"
          "mosquitto, Apache and stunnel refuse whom it names.\n"
          "\n"
          "  -c, --config FILE   configuration, default " DEFAULT_CONF "\n"
          "  -t, --test          check the configuration and exit\n"
          "  -v, --verbose       debug messages\n"
          "      --help, --version\n",
          to);
    return to == stdout ? 0 : 2;
}

static int failed(const struct err *e)
{
    fprintf(stderr, "inkan-gate: %s\n", SHOWN(e->msg));
    return 1;
}

/* ---- start ---- */

static enum err_code gate_new(const struct gate_conf *conf, struct gate **out, struct err *e)
{
    struct gate *g = calloc(1, sizeof(*g));
    pthread_condattr_t attr;

    *out = g;
    if (!g)
        return err_set(e, E_NOMEM, "start");
    g->conf = conf;
    g->crls = calloc(conf->crls_n + 1, sizeof(*g->crls));
    g->drivers = calloc(conf->drivers_n + 1, sizeof(*g->drivers));
    if (!g->crls || !g->drivers)
        return err_set(e, E_NOMEM, "start");
    pthread_mutex_init(&g->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&g->changed, &attr);
    pthread_condattr_destroy(&attr);
    return E_OK;
}

static enum err_code drivers_prepare(struct gate *g, struct err *e)
{
    for (size_t i = 0; i < g->conf->crls_n; i++)
        g->crls[i] = (struct crl_source){.conf = &g->conf->crls[i], .gate = g};
    for (size_t i = 0; i < g->conf->drivers_n; i++) {
        struct driver *d = &g->drivers[i];

        *d = (struct driver){.conf = &g->conf->drivers[i], .gate = g};
        for (size_t k = 0; k < g->conf->crls_n; k++)
            if (strcmp(g->conf->crls[k].name, d->conf->crl) == 0)
                d->crl = &g->crls[k];
        if (d->conf->kind != DRIVER_HAPROXY && hand_start(d->conf, &d->hand, e) != E_OK)
            return e->code;
    }
    return E_OK;
}

static enum err_code listen_all(const struct gate_conf *c, int *fds, size_t *n, struct err *e)
{
    if (c->listen.n > LISTENERS_MAX)
        return err_set(e, E_INVALID, "listen: at most %d places", LISTENERS_MAX);
    for (*n = 0; *n < c->listen.n; ++*n)
        if (serve_listen(c->listen.v[*n], c->socket_group, &fds[*n], e) != E_OK)
            return e->code;
    return E_OK;
}

/* Sockets in directories and files of ours belong to the user we become. */
static enum err_code become(const struct gate_conf *c, struct err *e)
{
    struct passwd *pw;

    if (geteuid() != 0 || !c->user[0])
        return geteuid() == 0 ? err_set(e, E_INVALID, "user: started as root, it must say whom to become") : E_OK;
    pw = getpwnam(c->user);
    if (!pw || pw->pw_uid == 0)
        return err_set(e, E_INVALID, "user: \"%s\" does not exist, or is root", c->user);
    for (size_t i = 0; i < c->listen.n; i++)
        if (strncmp(c->listen.v[i], "unix:", 5) == 0 && chown(c->listen.v[i] + 5, pw->pw_uid, (gid_t)-1) != 0)
            return err_errno(e, E_IO, "%s", c->listen.v[i]);
    if (mkdir(c->state, 0700) == 0 && chown(c->state, pw->pw_uid, pw->pw_gid) != 0)
        return err_errno(e, E_IO, "%s", c->state);
    if (initgroups(pw->pw_name, pw->pw_gid) != 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) != 0 ||
        setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) != 0)
        return err_errno(e, E_IO, "user %s", c->user);
    return E_OK;
}

static enum err_code harden(struct err *e)
{
    const struct rlimit none = {0, 0};

    if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return err_errno(e, E_INTERNAL, "no core dumps, no new privileges");
    prctl(PR_SET_DUMPABLE, 0);
    return E_OK;
}

/* Without a snapshot that proves good the gate answers that it cannot decide; it never begins by admitting everybody. */
static void load_table(struct gate *g)
{
    struct log_line l;
    struct err e = {0};
    enum err_code code = store_load(g->conf->state, g->trust, &g->table, &e);

    g->table_no = g->table ? 1 : 0;
    if (code == E_OK) {
        log_begin(&l, LOG_INFO, "gate-snapshot-loaded");
        log_u64(&l, "seq", table_seq(g->table));
        log_u64(&l, "certificates", table_base_count(g->table));
        log_end(&l);
    } else if (code == E_NOT_FOUND) {
        log_note(LOG_WARN, "gate-snapshot-none", NULL, NULL);
    } else {
        log_failure("gate-snapshot-refused", &e);
    }
}

static enum err_code open_all(struct gate *g, struct err *e)
{
    if (dir_make(g->conf->state, 0700, e) != E_OK)
        return e->code;
    if (g->conf->urls.n) {
        if (trust_load(g->conf->ca, &g->trust, e) != E_OK)
            return e->code;
        load_table(g);
    }
    for (size_t i = 0; i < g->conf->crls_n; i++)
        if (crl_open(&g->crls[i], e) != E_OK)
            return e->code;
    return E_OK;
}

static enum err_code thread_start(pthread_t *out, void *(*run)(void *), void *arg, struct err *e)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    rc = pthread_create(out, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 ? E_OK : err_set(e, E_NOMEM, "thread");
}

static enum err_code threads_start(struct gate *g, struct err *e)
{
    enum err_code code = E_OK;

    if (g->trust)
        code = thread_start(&g->follower, follow_run, g, e);
    for (size_t i = 0; code == E_OK && i < g->conf->crls_n; i++)
        code = thread_start(&g->crls[i].thread, crl_run, &g->crls[i], e);
    for (size_t i = 0; code == E_OK && i < g->conf->drivers_n; i++)
        code = thread_start(&g->drivers[i].thread, driver_run, &g->drivers[i], e);
    return code;
}

static void threads_stop(struct gate *g)
{
    gate_lock(g);
    g->stopping = true;
    pthread_cond_broadcast(&g->changed);
    gate_unlock(g);
    if (g->trust)
        pthread_join(g->follower, NULL);
    for (size_t i = 0; i < g->conf->crls_n; i++)
        pthread_join(g->crls[i].thread, NULL);
    for (size_t i = 0; i < g->conf->drivers_n; i++)
        pthread_join(g->drivers[i].thread, NULL);
}

static void gate_free(struct gate *g)
{
    for (size_t i = 0; i < g->conf->drivers_n; i++)
        hand_free(g->drivers[i].hand);
    for (size_t i = 0; i < g->conf->crls_n; i++)
        crl_close(&g->crls[i]);
    table_unref(g->table);
    trust_free(g->trust);
    free(g->drivers);
    free(g->crls);
    free(g);
}

static enum err_code run(const struct gate_conf *conf, struct err *e)
{
    AUTO_FD int systemd = systemd_connect();
    int fds[LISTENERS_MAX];
    size_t n = 0;
    struct gate *g;

    if (gate_new(conf, &g, e) != E_OK || drivers_prepare(g, e) != E_OK || listen_all(conf, fds, &n, e) != E_OK || become(conf, e) != E_OK ||
        harden(e) != E_OK || open_all(g, e) != E_OK || proc_confine_client(e) != E_OK || threads_start(g, e) != E_OK)
        return e->code; /* the process ends, and what it holds with it */
    log_note(LOG_INFO, "gate-serving", NULL, NULL);
    systemd_tell(systemd, "READY=1");
    if (serve_run(g, fds, n, e) != E_OK)
        return e->code;
    threads_stop(g);
    answer_forget();
    gate_free(g);
    log_note(LOG_INFO, "gate-stopped", NULL, NULL);
    return E_OK;
}

/* ---- status ---- */

static int show_status(const char *socket_path, struct err *e)
{
    static const char request[] = "GET /v1/gate/status HTTP/1.0\r\n\r\n";
    AUTO_BUF answer = BUF_INIT(1024 * 1024);
    AUTO_FD int fd = -1;
    uint8_t chunk[4096];
    const char *body;
    ssize_t n;

    if (unix_connect(socket_path, 5, &fd, e) != E_OK)
        return failed(e);
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request)) {
        err_errno(e, E_IO, "%s", socket_path);
        return failed(e);
    }
    while ((n = recv(fd, chunk, sizeof(chunk), 0)) > 0)
        buf_add(&answer, chunk, (size_t)n);
    buf_add_u8(&answer, 0);
    body = buf_ok(&answer) ? strstr((const char *)answer.p, "\r\n\r\n") : NULL;
    if (!body) {
        err_set(e, E_IO, "%s: no answer", socket_path);
        return failed(e);
    }
    fputs(body + 4, stdout);
    return 0;
}

static const char *socket_of(const struct gate_conf *c)
{
    for (size_t i = 0; i < c->listen.n; i++)
        if (strncmp(c->listen.v[i], "unix:", 5) == 0)
            return c->listen.v[i] + 5;
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'}, {"test", no_argument, NULL, 't'},
                                            {"verbose", no_argument, NULL, 'v'},      {"socket", required_argument, NULL, 's'},
                                            {"help", no_argument, NULL, 'h'},         {"version", no_argument, NULL, 'V'},
                                            {NULL, 0, NULL, 0}};
    const char *path = DEFAULT_CONF, *socket_path = NULL;
    bool status = argc > 1 && strcmp(argv[1], "status") == 0, test = false, verbose = false;
    struct gate_conf *conf = NULL;
    struct err e = {0};
    int o, code;

    if (argc > 1 && strcmp(argv[1], "probe") == 0)
        return probe_main(argc - 1, argv + 1);
    optind = status ? 2 : 1;
    while ((o = getopt_long(argc, argv, "c:tv", options, NULL)) != -1)
        switch (o) {
        case 'c': path = optarg; break;
        case 't': test = true; break;
        case 'v': verbose = true; break;
        case 's': socket_path = optarg; break;
        case 'h': return usage(stdout);
        case 'V': puts("inkan-gate " INKAN_VERSION); return 0;
        default: return usage(stderr);
        }
    if (optind != argc)
        return usage(stderr);
    if (status && socket_path)
        return show_status(socket_path, &e);
    if (gate_conf_load(path, &conf, &e) != E_OK)
        return failed(&e);
    if (status) {
        socket_path = socket_of(conf);
        code = socket_path ? show_status(socket_path, &e) : (fprintf(stderr, "inkan-gate: %s has no unix: socket to ask\n", path), 1);
    } else if (test) {
        puts("configuration is good");
        code = 0;
    } else {
        log_setup("gate", verbose ? LOG_DEBUG : LOG_INFO);
        signal(SIGPIPE, SIG_IGN);
        curl_global_init(CURL_GLOBAL_DEFAULT);
        code = run(conf, &e) == E_OK ? 0 : failed(&e);
    }
    gate_conf_free(conf);
    return code;
}
