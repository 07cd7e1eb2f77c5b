/* SPDX-License-Identifier: Apache-2.0 */
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/proc_int.h"

#define CONTROL_QUEUE_MAX (1024 * 1024)
#define ORPHAN_DRAIN_S    10
#define RELINK_S          10

/* Configurations of the past stay valid until the end: callers hold pointers into them. */
struct old_conf {
    struct old_conf *next;
    struct conf *conf;
};

struct peer {
    struct peer *next;
    char name[PROC_NAME_MAX + 1];
    bool gone;
    int64_t broken_ms; /* 0: its link is fine, or it is gone */
};

struct proc {
    enum proc_kind kind;
    char name[PROC_NAME_MAX + 1];
    uint32_t index;
    const struct proc_ops *ops;
    void *arg;
    struct conf *conf;
    struct old_conf *old;
    struct event_base *base;
    struct event *term, *orphan, *relink;
    struct peer *peers;
    struct chan *control;
    bool leaving;
    int exit_code;
};

const char *proc_kind_name(enum proc_kind k)
{
    static const char *const names[PROC_KINDS] = {
        [PROC_SUPERVISOR] = "supervisor", [PROC_FRONT] = "front",   [PROC_CORE] = "core",
        [PROC_STATUS] = "status",         [PROC_SIGNER] = "signer", [PROC_TOKEN] = "token",
        [PROC_ADMIN] = "admin",           [PROC_NOTIFY] = "notify",
    };

    return (unsigned)k < PROC_KINDS ? names[k] : "unknown";
}

void proc_die(const char *event, int code, const struct err *e)
{
    log_failure(event, e);
    _exit(code);
}

/* ---- peers ---- */

static struct peer *peer_find(struct proc *p, const char *name)
{
    struct peer *peer = p->peers;

    while (peer && strcmp(peer->name, name) != 0)
        peer = peer->next;
    return peer;
}

static void peer_is(struct proc *p, const char *name, bool gone)
{
    struct peer *peer = peer_find(p, name);
    struct err e = {0};

    if (!peer) {
        peer = calloc(1, sizeof(*peer));
        if (!peer) {
            err_set(&e, E_NOMEM, "out of memory for a peer");
            proc_die("link-failed", PROC_EXIT_RESTART, &e);
        }
        snprintf(peer->name, sizeof(peer->name), "%s", name);
        peer->next = p->peers;
        p->peers = peer;
    }
    peer->gone = gone;
    peer->broken_ms = 0;
}

void proc_link_broken(struct proc *p, const char *name)
{
    static const struct timeval limit = {.tv_sec = RELINK_S};
    struct peer *peer = peer_find(p, name);

    if (!peer || peer->gone || p->leaving)
        return;
    peer->broken_ms = clock_mono_ms();
    if (!evtimer_pending(p->relink, NULL))
        evtimer_add(p->relink, &limit);
}

/* The peer closed the link but lives: it took us for broken, or had no memory, and nobody would link us again. */
static void on_relink_deadline(evutil_socket_t fd, short what, void *arg)
{
    static const struct timeval again = {.tv_sec = 1};
    struct proc *p = arg;
    struct err e = {0};
    bool waiting = false;

    (void)fd;
    (void)what;
    for (const struct peer *peer = p->peers; peer; peer = peer->next) {
        if (peer->broken_ms && clock_mono_ms() - peer->broken_ms >= RELINK_S * 1000) {
            err_set(&e, E_IO, "the link to %s broke and that process was not restarted", peer->name);
            proc_die("link-orphaned", PROC_EXIT_RESTART, &e);
        }
        waiting |= peer->broken_ms != 0;
    }
    if (waiting)
        evtimer_add(p->relink, &again);
}

/* ---- control messages ---- */

static void on_link(struct proc *p, struct msg_reader *r, int fd)
{
    enum proc_kind peer = (enum proc_kind)msg_get_enum(r, PROC_KINDS);
    uint32_t index = msg_get_u32(r);
    char name[PROC_NAME_MAX + 1];
    AUTO_FD int owned = fd;

    msg_get_str(r, name, sizeof(name));
    if (msg_read_end(r, NULL) != E_OK || owned < 0) {
        r->failed = true;
        return;
    }
    peer_is(p, name, false);
    if (p->ops->on_link)
        p->ops->on_link(p, peer, index, name, take_fd(&owned), p->arg);
}

static void on_listen(struct proc *p, struct msg_reader *r, int fd)
{
    char name[PROC_NAME_MAX + 1];
    AUTO_FD int owned = fd;

    msg_get_str(r, name, sizeof(name));
    if (msg_read_end(r, NULL) != E_OK || owned < 0)
        r->failed = true;
    else if (p->ops->on_listen)
        p->ops->on_listen(p, name, take_fd(&owned), p->arg);
}

static void on_gone(struct proc *p, struct msg_reader *r)
{
    enum proc_kind peer = (enum proc_kind)msg_get_enum(r, PROC_KINDS);
    uint32_t index = msg_get_u32(r);
    char name[PROC_NAME_MAX + 1];

    msg_get_str(r, name, sizeof(name));
    if (msg_read_end(r, NULL) != E_OK) {
        r->failed = true;
        return;
    }
    peer_is(p, name, true);
    if (p->ops->on_gone)
        p->ops->on_gone(p, peer, index, name, p->arg);
}

static void on_run_result(struct proc *p, struct msg_reader *r)
{
    struct err e = {0};

    e.code = (enum err_code)msg_get_enum(r, ERR_CODES_COUNT);
    msg_get_str(r, e.msg, sizeof(e.msg));
    if (msg_read_end(r, NULL) != E_OK)
        r->failed = true;
    else if (p->ops->on_run_result)
        p->ops->on_run_result(p, r->request_id, e.code, &e, p->arg);
}

static void on_processes(struct proc *p, struct msg_reader *r)
{
    uint32_t n = msg_get_u32(r);
    struct proc_info *list;

    if (n > PROC_LIST_MAX) {
        r->failed = true;
        return;
    }
    list = calloc(n ? n : 1, sizeof(*list));
    if (!list)
        return; /* the next change brings it again */
    for (uint32_t i = 0; i < n && !r->failed; i++) {
        msg_get_str(r, list[i].name, sizeof(list[i].name));
        list[i].pid = msg_get_u32(r);
        msg_get_str(r, list[i].state, sizeof(list[i].state));
        list[i].restarts = msg_get_u64(r);
    }
    if (msg_read_end(r, NULL) != E_OK)
        r->failed = true;
    else if (p->ops->on_processes)
        p->ops->on_processes(p, list, n, p->arg);
    free(list);
}

static void on_reload(struct proc *p, struct msg_reader *r, int fd)
{
    AUTO_FD int owned = fd;

    if (msg_read_end(r, NULL) != E_OK) {
        r->failed = true;
        return;
    }
    if (owned >= 0)
        dup2(owned, STDERR_FILENO);
    if (p->ops->on_reload)
        p->ops->on_reload(p, p->arg);
}

static void on_plain(struct proc *p, struct msg_reader *r, void (*op)(struct proc *, void *))
{
    if (msg_read_end(r, NULL) != E_OK)
        r->failed = true;
    else if (op)
        op(p, p->arg);
}

static bool takes_fd(uint16_t type)
{
    return type == CTL_LINK || type == CTL_LISTEN || type == CTL_RELOAD;
}

static void on_control(struct chan *c, struct msg_reader *r, int fd, void *arg)
{
    struct proc *p = arg;
    struct err e = {0};

    if (fd >= 0 && !takes_fd(r->type))
        close(fd);
    switch (r->type) {
    case CTL_LINK:
        on_link(p, r, fd);
        break;
    case CTL_LISTEN:
        on_listen(p, r, fd);
        break;
    case CTL_GONE:
        on_gone(p, r);
        break;
    case CTL_GO:
        on_plain(p, r, p->ops->on_go);
        break;
    case CTL_RELOAD:
        on_reload(p, r, fd);
        break;
    case CTL_STOP:
        on_plain(p, r, p->ops->on_stop);
        break;
    case CTL_RUN_RESULT:
        on_run_result(p, r);
        break;
    case CTL_PROCESSES:
        on_processes(p, r);
        break;
    default:
        r->failed = true;
        break;
    }
    if (r->failed) {
        err_set(&e, E_INVALID, "control message 0x%04x is not understood", r->type);
        chan_fail(c, &e);
    }
}

static void on_orphan_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct err e = {0};

    (void)fd;
    (void)what;
    (void)arg;
    err_set(&e, E_IO, "not drained within %d seconds of losing the supervisor", ORPHAN_DRAIN_S);
    proc_die("process-orphaned", PROC_EXIT_RESTART, &e);
}

static void stop(struct proc *p)
{
    if (p->ops->on_stop)
        p->ops->on_stop(p, p->arg);
    else
        proc_exit_loop(p, PROC_EXIT_OK);
}

static void on_control_gone(struct chan *c, const struct err *why, void *arg)
{
    const struct timeval limit = {.tv_sec = ORPHAN_DRAIN_S};
    struct proc *p = arg;

    log_failure("supervisor-gone", why);
    chan_free(c);
    p->control = NULL;
    evtimer_add(p->orphan, &limit);
    stop(p);
}

static void on_term(evutil_socket_t sig, short what, void *arg)
{
    (void)sig;
    (void)what;
    stop(arg);
}

/* ---- start ---- */

static const struct chan_ops control_ops = {.on_message = on_control, .on_gone = on_control_gone};

/* "front-3" is 3. */
static uint32_t index_of(enum proc_kind kind, const char *name)
{
    const char *dash = strrchr(name, '-');

    return kind == PROC_FRONT && dash ? (uint32_t)strtoul(dash + 1, NULL, 10) : 0;
}

static void usage(const char *program, int code) __attribute__((noreturn));
static void usage(const char *program, int code)
{
    fprintf(code ? stderr : stdout,
            "Usage: %s -c CONFIG -n NAME\nStarted by inkand, which hands its sockets over on descriptor %d; not for use by hand.\n",
            program, PROC_CONTROL_FD);
    exit(code);
}

static const char *read_arguments(struct proc *p, int argc, char **argv)
{
    const char *config = NULL;
    int opt;

    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("inkan-%s %s\n", proc_kind_name(p->kind), INKAN_VERSION);
        exit(0);
    }
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        usage(argv[0], 0);
    while ((opt = getopt(argc, argv, "c:n:")) != -1) {
        if (opt == 'c')
            config = optarg;
        else if (opt == 'n' && strlen(optarg) < sizeof(p->name))
            snprintf(p->name, sizeof(p->name), "%s", optarg);
        else
            usage(argv[0], 2);
    }
    if (!config || p->name[0] == '\0' || optind != argc)
        usage(argv[0], 2);
    return config;
}

static void forbid_what_nobody_needs(void)
{
    const struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
#ifndef INKAN_SANITIZED /* the leak check traces its own process */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    signal(SIGPIPE, SIG_IGN);
    /* A terminal's interrupt and hang-up reach the whole group; the supervisor alone acts on them. */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
}

static enum err_code open_control(struct proc *p, struct err *e)
{
    int type = 0;
    socklen_t len = sizeof(type);

    if (getsockopt(PROC_CONTROL_FD, SOL_SOCKET, SO_TYPE, &type, &len) != 0 || type != SOCK_SEQPACKET)
        return err_set(e, E_INVALID, "descriptor %d is not a control link: start inkand instead", PROC_CONTROL_FD);
    p->base = event_base_new();
    if (!p->base)
        return err_set(e, E_NOMEM, "event_base_new");
    p->control = chan_new(p->base, PROC_CONTROL_FD, &control_ops, p, CONTROL_QUEUE_MAX, e);
    if (!p->control)
        return e->code;
    p->term = evsignal_new(p->base, SIGTERM, on_term, p);
    p->orphan = evtimer_new(p->base, on_orphan_deadline, p);
    p->relink = evtimer_new(p->base, on_relink_deadline, p);
    if (!p->term || !p->orphan || !p->relink || evsignal_add(p->term, NULL) != 0)
        return err_set(e, E_NOMEM, "event loop");
    return E_OK;
}

struct proc *proc_start(int argc, char **argv, enum proc_kind kind, const struct proc_ops *ops, void *arg)
{
    struct proc *p = calloc(1, sizeof(*p));
    struct err e = {0};
    const char *config;

    if (!p)
        exit(PROC_EXIT_RESTART);
    p->kind = kind;
    p->ops = ops;
    p->arg = arg;
    config = read_arguments(p, argc, argv);
    p->index = index_of(kind, p->name);
    log_setup(p->name, LOG_INFO);
    digest_prepare();
    forbid_what_nobody_needs();
    if (conf_load(config, &p->conf, NULL, &e) != E_OK)
        proc_die("configuration-refused", e.code == E_NOMEM ? PROC_EXIT_RESTART : PROC_EXIT_CONFIG, &e);
    log_set_level((enum log_level)p->conf->log_level);
    if (open_control(p, &e) != E_OK)
        proc_die("start-failed", e.code == E_NOMEM ? PROC_EXIT_RESTART : PROC_EXIT_CONFIG, &e);
    return p;
}

struct event_base *proc_base(struct proc *p)
{
    return p->base;
}

const struct conf *proc_conf(const struct proc *p)
{
    return p->conf;
}

const struct conf_token *proc_token(const struct proc *p, struct err *e)
{
    const char *kind = proc_kind_name(p->kind);
    size_t n = strlen(kind);
    const struct conf_token *t = NULL;

    if (strncmp(p->name, kind, n) == 0 && p->name[n] == '-')
        t = conf_find_token(p->conf, p->name + n + 1);
    if (!t)
        err_set(e, E_INVALID, "\"%s\" names no token of the configuration", p->name);
    return t;
}

const char *proc_name(const struct proc *p)
{
    return p->name;
}

uint32_t proc_index(const struct proc *p)
{
    return p->index;
}

enum err_code proc_reload_conf(struct proc *p, struct err *e)
{
    struct old_conf *old = calloc(1, sizeof(*old));
    struct conf *fresh = NULL;
    enum err_code rc;

    if (!old)
        return err_set(e, E_NOMEM, "out of memory for a configuration");
    rc = conf_load(p->conf->path, &fresh, NULL, e);
    if (rc != E_OK) {
        free(old);
        return rc;
    }
    *old = (struct old_conf){p->old, p->conf};
    p->old = old;
    p->conf = fresh;
    log_set_level((enum log_level)fresh->log_level);
    return E_OK;
}

enum err_code proc_confine(struct proc *p, struct err *e)
{
    return proc_confine_kind(p->kind, e);
}

/* ---- to the supervisor ---- */

static enum err_code send_control(struct proc *p, struct msg *m, struct err *e)
{
    if (!p->control) {
        msg_clear(m);
        return err_set(e, E_IO, "the supervisor is gone");
    }
    return chan_send(p->control, m, -1, e);
}

void proc_ready(struct proc *p)
{
    struct msg m;
    struct err e = {0};

    msg_begin(&m, CTL_READY, 0);
    if (send_control(p, &m, &e) != E_OK)
        log_failure("control-failed", &e);
}

void proc_state(struct proc *p, const char *text)
{
    char cut[PROC_STATE_MAX];
    struct msg m;
    struct err e = {0};

    snprintf(cut, sizeof(cut), "%s", text);
    msg_begin(&m, CTL_STATE, 0);
    msg_put_str(&m, cut);
    if (send_control(p, &m, &e) != E_OK)
        log_failure("control-failed", &e);
}

enum err_code proc_run(struct proc *p, enum proc_run what, const char *token, uint64_t request_id, struct err *e)
{
    struct msg m;

    msg_begin(&m, CTL_RUN, request_id);
    msg_put_u8(&m, (uint8_t)what);
    msg_put_str(&m, token);
    return send_control(p, &m, e);
}

/* ---- life and end ---- */

int proc_loop(struct proc *p)
{
    if (!p->leaving)
        event_base_dispatch(p->base);
    return p->leaving ? p->exit_code : PROC_EXIT_RESTART;
}

void proc_exit_loop(struct proc *p, int code)
{
    if (p->leaving)
        return;
    p->leaving = true;
    p->exit_code = code;
    event_base_loopbreak(p->base);
}

void proc_free(struct proc *p)
{
    struct old_conf *old;
    struct peer *peer;

    if (!p)
        return;
    chan_free(p->control);
    if (p->term)
        event_free(p->term);
    if (p->orphan)
        event_free(p->orphan);
    if (p->relink)
        event_free(p->relink);
    if (p->base)
        event_base_free(p->base);
    while ((peer = p->peers) != NULL) {
        p->peers = peer->next;
        free(peer);
    }
    while ((old = p->old) != NULL) {
        p->old = old->next;
        conf_free(old->conf);
        free(old);
    }
    conf_free(p->conf);
    free(p);
}
