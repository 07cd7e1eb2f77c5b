/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which programs run, how they are linked, and when they start again.
 *
 * settle() compares what should run with what does and makes one step towards it; every event ends in it. A process
 * counts as dead when it was reaped and its control link came to its end, so that its last words are heard first.
 */
#include "cli/inkand_int.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/systemd.h"

#define SERVED_MS         1000
#define BACKOFF_MAX_S     30
#define START_TRIES       3 /* of the core, after 0, 1 and 3 seconds, before who ordered the start hears that it failed */
#define DISK_BACKOFF_MAX_S 2 /* issuance is back within five seconds of there being room again */
#define STOP_PATIENCE_S   10
#define STOP_RANKS        4
#define POLL_S            5
#define CONTROL_QUEUE_MAX (4 * 1024 * 1024)
#define PENDING_MAX       32
#define BY_HAND           "until a reload or a command"

enum child_hold { HOLD_NONE, HOLD_CONFIG, HOLD_BLOCKED };

struct supervisor;

struct child {
    struct supervisor *s;
    enum proc_kind kind;
    uint32_t index;
    char name[PROC_NAME_MAX + 1];
    size_t token;  /* index in the configuration; signers and token programs */
    bool once;     /* wanted for one command of the core: an offline token's signer, a token program */
    bool running;  /* started and not yet known to be dead */
    bool reaped;   /* exit status is in `status` */
    int status;
    pid_t pid;
    struct chan *control;
    bool stopping, serving;
    int64_t serving_since_ms;
    unsigned failures; /* at start, in a row */
    uint64_t restarts;
    bool started_before;
    enum child_hold hold;
    bool pin_seen;
    struct pin_look pin;
    bool waiting;
    struct event *retry, *kill_timer;
    char said[PROC_STATE_MAX]; /* by CTL_STATE */
};

/* A request of the core that is answered when the processes are where it wants them. */
struct pending {
    uint64_t request_id;
    enum proc_run what;
    size_t token;
};

struct supervisor {
    struct host *host;
    struct conf *conf;
    struct event_base *base;
    struct event *sigchld, *sigterm, *sigint, *sighup, *poll, *tell_timer;
    struct child *children;
    size_t children_n;
    struct pending pending[PENDING_MAX];
    size_t pending_n;
    started_fn started; /* NULL once it was called */
    void *started_arg;
    bool log_in_file;
    bool leaving;
    bool settling;
};

static void settle(struct supervisor *s);

/* ---- lines ---- */

static void log_child(enum log_level level, const char *event, const struct child *c, const char *key, const char *value)
{
    struct log_line l;

    log_begin(&l, level, event);
    log_str(&l, "process", c->name);
    if (c->pid > 0)
        log_i64(&l, "pid", c->pid);
    if (key)
        log_str(&l, key, value);
    log_end(&l);
}

/* ---- finding ---- */

static struct child *core_of(struct supervisor *s)
{
    for (size_t i = 0; i < s->children_n; i++)
        if (s->children[i].kind == PROC_CORE)
            return &s->children[i];
    return NULL;
}

static struct child *child_of_token(struct supervisor *s, enum proc_kind kind, size_t token)
{
    for (size_t i = 0; i < s->children_n; i++)
        if (s->children[i].kind == kind && s->children[i].token == token)
            return &s->children[i];
    return NULL;
}

static bool maps_module(const struct child *c)
{
    return c->kind == PROC_SIGNER || c->kind == PROC_TOKEN;
}

static const struct conf_token *token_of(const struct child *c)
{
    return maps_module(c) ? &c->s->conf->tokens[c->token] : NULL;
}

/* ---- control messages ---- */

static void send_to(struct child *c, struct msg *m, int pass_fd)
{
    struct err e = {0};

    if (!c->control) {
        msg_clear(m);
        return;
    }
    /* A failure shows as the end of the link, which ends the process too. One that is leaving is told nothing. */
    if (chan_send(c->control, m, pass_fd, &e) != E_OK && e.native != EPIPE)
        log_failure("control-failed", &e);
}

static void send_plain(struct child *c, enum control_type type)
{
    struct msg m;

    msg_begin(&m, (uint16_t)type, 0);
    send_to(c, &m, -1);
}

static void send_peer(struct child *to, enum control_type type, const struct child *peer, int fd)
{
    struct msg m;

    msg_begin(&m, (uint16_t)type, 0);
    msg_put_u8(&m, (uint8_t)peer->kind);
    msg_put_u32(&m, peer->index);
    msg_put_str(&m, peer->name);
    send_to(to, &m, fd);
}

static void state_text(const struct child *c, char *out, size_t size)
{
    if (c->hold == HOLD_CONFIG && !c->running)
        snprintf(out, size, "held back: it refused the configuration; not started again " BY_HAND);
    else if (c->hold == HOLD_BLOCKED && !c->running)
        snprintf(out, size, "%.120s%sheld back: the PIN was refused; not tried again before a new PIN or `inkan token unblock`",
                 c->said, c->said[0] ? "; " : "");
    else if (!c->running && c->waiting)
        snprintf(out, size, "waiting: failed %u times at start%s%.200s", c->failures, c->said[0] ? "; it last said: " : "", c->said);
    else if (!c->running)
        snprintf(out, size, "stopped");
    else if (c->stopping)
        snprintf(out, size, "stopping");
    else if (c->said[0])
        snprintf(out, size, "%s", c->said);
    else
        snprintf(out, size, "%s", c->serving ? "serving" : "starting");
}

/* Programs that run for a command only are listed while they run. */
static bool is_listed(const struct child *c)
{
    if (c->running || c->once)
        return true;
    return c->kind != PROC_TOKEN && !(c->kind == PROC_SIGNER && token_of(c)->offline);
}

static void on_tell(evutil_socket_t fd, short what, void *arg)
{
    struct supervisor *s = arg;
    struct child *core = core_of(s);
    struct msg m;
    uint32_t n = 0;

    (void)fd;
    (void)what;
    if (!core->control)
        return;
    for (size_t i = 0; i < s->children_n && n < PROC_LIST_MAX; i++)
        n += is_listed(&s->children[i]);
    msg_begin(&m, CTL_PROCESSES, 0);
    msg_put_u32(&m, n);
    for (size_t i = 0; i < s->children_n && n > 0; i++) {
        const struct child *c = &s->children[i];
        char text[PROC_STATE_MAX];

        if (!is_listed(c))
            continue;
        state_text(c, text, sizeof(text));
        msg_put_str(&m, c->name);
        msg_put_u32(&m, c->running ? (uint32_t)c->pid : 0);
        msg_put_str(&m, text);
        msg_put_u64(&m, c->restarts);
        n--;
    }
    send_to(core, &m, -1);
}

/* Several changes in one turn of the loop make one message. */
static void tell_core(struct supervisor *s)
{
    const struct timeval soon = {0, 0};

    evtimer_add(s->tell_timer, &soon);
}

/* ---- links ---- */

static bool answers_ocsp(const struct conf *c, const char *token)
{
    for (size_t i = 0; i < c->cas_n; i++)
        if (strcmp(c->cas[i].ocsp_token, token) == 0)
            return true;
    return false;
}

/* Who talks to whom. Both orders. */
static bool are_linked(const struct child *a, const struct child *b)
{
    if (a->kind > b->kind)
        return are_linked(b, a);
    switch (a->kind) { /* front < core < status < signer < token < admin < notify */
    case PROC_FRONT:
        return b->kind == PROC_CORE || b->kind == PROC_STATUS;
    case PROC_CORE:
        return b->kind > PROC_CORE;
    case PROC_STATUS:
        return b->kind == PROC_SIGNER && answers_ocsp(b->s->conf, token_of(b)->name);
    default:
        return false;
    }
}

static void link_pair(struct child *a, struct child *b)
{
    struct err e = {0};
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
        err_errno(&e, E_IO, "link of %s and %s", a->name, b->name);
        log_failure("link-failed", &e);
        return;
    }
    send_peer(a, CTL_LINK, b, ends[0]);
    send_peer(b, CTL_LINK, a, ends[1]);
    close(ends[0]);
    close(ends[1]);
}

static void link_child(struct child *c)
{
    struct supervisor *s = c->s;

    for (size_t i = 0; i < s->children_n; i++) {
        struct child *peer = &s->children[i];

        if (peer != c && peer->running && !peer->reaped && peer->control && are_linked(c, peer))
            link_pair(c, peer);
    }
}

static void tell_peers_gone(struct child *c)
{
    struct supervisor *s = c->s;

    for (size_t i = 0; i < s->children_n; i++) {
        struct child *peer = &s->children[i];

        if (peer != c && peer->running && are_linked(c, peer))
            send_peer(peer, CTL_GONE, c, -1);
    }
}

/* Whose a listening socket is. */
static enum proc_kind listens_to(const char *name)
{
    if (strcmp(name, "admin") == 0)
        return PROC_CORE;
    return strcmp(name, "admin-https") == 0 ? PROC_ADMIN : PROC_FRONT;
}

static void send_listeners(struct child *c)
{
    const struct host *h = c->s->host;

    for (size_t i = 0; i < h->listeners_n; i++) {
        struct msg m;

        if (c->kind != listens_to(h->listeners[i].name))
            continue;
        msg_begin(&m, CTL_LISTEN, 0);
        msg_put_str(&m, h->listeners[i].name);
        send_to(c, &m, h->listeners[i].fd);
    }
}

/* ---- requests of the core ---- */

static void answer_core(struct supervisor *s, uint64_t request_id, const struct err *e)
{
    struct child *core = core_of(s);
    struct msg m;

    msg_begin(&m, CTL_RUN_RESULT, request_id);
    msg_put_u8(&m, (uint8_t)e->code);
    msg_put_str(&m, e->msg);
    send_to(core, &m, -1);
}

static bool is_up(const struct child *c)
{
    return c->running && !c->stopping && !c->reaped;
}

static bool is_reached(struct supervisor *s, const struct pending *p)
{
    const struct child *signer = child_of_token(s, PROC_SIGNER, p->token);
    const struct child *token = child_of_token(s, PROC_TOKEN, p->token);

    switch (p->what) {
    case RUN_SIGNER:
        return is_up(signer);
    case RUN_SIGNER_END:
        return !signer->running || !s->conf->tokens[p->token].offline;
    case RUN_TOKEN:
        return is_up(token);
    case RUN_TOKEN_END:
        return !token->running;
    case RUN_SIGNER_RESTART:
    case RUN_KINDS:
        break;
    }
    return true;
}

static void answer_reached(struct supervisor *s)
{
    size_t kept = 0;

    for (size_t i = 0; i < s->pending_n; i++) {
        struct pending p = s->pending[i];
        struct err e = {0};

        if (is_reached(s, &p))
            answer_core(s, p.request_id, &e);
        else
            s->pending[kept++] = p;
    }
    s->pending_n = kept;
}

/* A program that was asked for did not start. */
static void fail_pending(struct supervisor *s, enum proc_run what, size_t token, const struct err *e)
{
    size_t kept = 0;

    for (size_t i = 0; i < s->pending_n; i++) {
        if (s->pending[i].what == what && s->pending[i].token == token)
            answer_core(s, s->pending[i].request_id, e);
        else
            s->pending[kept++] = s->pending[i];
    }
    s->pending_n = kept;
}

static void release_hold(struct child *c)
{
    c->hold = HOLD_NONE;
    c->failures = 0;
    c->waiting = false;
    evtimer_del(c->retry);
}

static enum err_code begin_run(struct supervisor *s, enum proc_run what, size_t index, struct err *e)
{
    const struct conf_token *t = &s->conf->tokens[index];
    struct child *signer = child_of_token(s, PROC_SIGNER, index), *token = child_of_token(s, PROC_TOKEN, index);

    switch (what) {
    case RUN_SIGNER:
        if (token->once || token->running)
            return err_set(e, E_BUSY, "token \"%s\" is being administered", t->name);
        if (!t->offline && !is_up(signer))
            return err_set(e, E_TOKEN, "the signer of token \"%s\" is not running", t->name);
        signer->once = true;
        release_hold(signer);
        return E_OK;
    case RUN_SIGNER_END:
        signer->once = false;
        return E_OK;
    case RUN_TOKEN:
        if (token->once || token->running)
            return err_set(e, E_BUSY, "token \"%s\" is being administered already", t->name);
        token->once = true;
        release_hold(token);
        return E_OK;
    case RUN_TOKEN_END:
        token->once = false;
        release_hold(signer); /* the PIN may be another one now */
        return E_OK;
    case RUN_SIGNER_RESTART:
        release_hold(signer);
        return E_OK;
    case RUN_KINDS:
        break;
    }
    return err_set(e, E_INVALID, "unknown request");
}

static void on_run(struct child *c, struct msg_reader *r)
{
    struct supervisor *s = c->s;
    enum proc_run what = (enum proc_run)msg_get_enum(r, RUN_KINDS);
    char name[ID_MAX_LEN + 1];
    struct err e = {0};
    size_t i;

    msg_get_str(r, name, sizeof(name));
    if (c->kind != PROC_CORE || msg_read_end(r, NULL) != E_OK) {
        r->failed = true;
        return;
    }
    for (i = 0; i < s->conf->tokens_n && strcmp(s->conf->tokens[i].name, name) != 0; i++)
        ;
    if (s->leaving)
        err_set(&e, E_BUSY, "the service is stopping");
    else if (i == s->conf->tokens_n)
        err_set(&e, E_NOT_FOUND, "there is no token \"%s\"", name);
    else if (s->pending_n == PENDING_MAX)
        err_set(&e, E_BUSY, "too many requests to the supervisor");
    else
        begin_run(s, what, i, &e);
    if (e.code != E_OK) {
        answer_core(s, r->request_id, &e);
        return;
    }
    s->pending[s->pending_n++] = (struct pending){r->request_id, what, i};
    settle(s);
}

/* What ran for a command of a core that died ends. */
static void forget_core_requests(struct supervisor *s)
{
    s->pending_n = 0;
    for (size_t i = 0; i < s->children_n; i++)
        s->children[i].once = false;
}

/* ---- how the start went ---- */

static void tell_start(struct supervisor *s, const char *why_not)
{
    started_fn started = s->started;

    s->started = NULL;
    if (started)
        started(why_not, s->started_arg);
}

/* Only the core is waited for. `why` is empty where it said nothing before its end. */
static void start_failed(struct child *c, const char *why)
{
    if (c->kind == PROC_CORE && (c->hold != HOLD_NONE || c->failures >= START_TRIES)) {
        tell_start(c->s, why[0] ? why : "the log says why");
        systemd_tell(c->s->host->systemd, "STATUS=the core does not start, see the log");
    }
}

/* ---- messages of the children ---- */

static void on_ready(struct child *c)
{
    if (!c->serving) {
        c->serving = true;
        c->serving_since_ms = clock_mono_ms();
        log_child(LOG_INFO, "process-serving", c, NULL, NULL);
        if (c->kind == PROC_CORE) {
            tell_start(c->s, NULL);
            systemd_tell(c->s->host->systemd, "READY=1\nSTATUS=");
        }
    }
    tell_core(c->s);
}

static void on_state(struct child *c, struct msg_reader *r)
{
    char text[PROC_STATE_MAX];

    msg_get_str(r, text, sizeof(text));
    if (msg_read_end(r, NULL) != E_OK) {
        r->failed = true;
        return;
    }
    if (strcmp(c->said, text) == 0) /* a signer without its token says so at every try */
        return;
    memcpy(c->said, text, sizeof(text));
    tell_core(c->s);
}

static void on_message(struct chan *chan, struct msg_reader *r, int fd, void *arg)
{
    struct child *c = arg;
    struct err e = {0};

    if (fd >= 0)
        close(fd); /* no child has one to give */
    switch (r->type) {
    case CTL_READY:
        if (msg_read_end(r, NULL) == E_OK)
            on_ready(c);
        else
            r->failed = true;
        break;
    case CTL_STATE:
        on_state(c, r);
        break;
    case CTL_RUN:
        on_run(c, r);
        break;
    default:
        r->failed = true;
        break;
    }
    if (r->failed) {
        err_set(&e, E_INVALID, "control message 0x%04x of %s is not understood", r->type, c->name);
        log_failure("control-failed", &e);
        chan_fail(chan, &e);
    }
}

static void child_died(struct child *c);

static void on_link_gone(struct chan *chan, const struct err *why, void *arg)
{
    const struct timeval patience = {.tv_sec = STOP_PATIENCE_S};
    struct child *c = arg;

    (void)why;
    chan_free(chan);
    c->control = NULL;
    if (c->reaped)
        child_died(c);
    else if (!c->stopping)
        evtimer_add(c->kill_timer, &patience); /* without its link it must leave by itself */
}

static const struct chan_ops control_ops = {.on_message = on_message, .on_gone = on_link_gone};

/* ---- start and stop ---- */

static void on_kill(evutil_socket_t fd, short what, void *arg)
{
    struct child *c = arg;

    (void)fd;
    (void)what;
    if (!c->running || c->reaped)
        return;
    log_child(LOG_WARN, "process-killed", c, "why", "it did not end in time");
    kill(c->pid, SIGKILL);
}

/* Fronts first, so that nobody is refused by half a service; signers last, for what the core still has to sign. */
static unsigned stop_rank(const struct child *c)
{
    switch (c->kind) {
    case PROC_FRONT:
    case PROC_TOKEN:
    case PROC_ADMIN:
    case PROC_NOTIFY:
        return 0;
    case PROC_STATUS:
        return 1;
    case PROC_CORE:
        return 2;
    default:
        return 3;
    }
}

static void stop_child(struct child *c)
{
    /* At the end of the service the ranks share the time of one. */
    static const time_t share_s[STOP_RANKS] = {3, 2, 4, 1};
    const struct timeval patience = {.tv_sec = c->s->leaving ? share_s[stop_rank(c)] : STOP_PATIENCE_S};

    if (!c->running || c->stopping)
        return;
    c->stopping = true;
    send_plain(c, CTL_STOP);
    evtimer_add(c->kill_timer, &patience);
    tell_core(c->s);
}

static void retry_later(struct child *c, time_t max_s)
{
    unsigned doublings = c->failures > 6 ? 6 : c->failures;
    struct timeval pause = {.tv_sec = 1 << (doublings ? doublings - 1 : 0)};

    if (pause.tv_sec > max_s)
        pause.tv_sec = max_s;
    c->waiting = true;
    evtimer_add(c->retry, &pause);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    struct child *c = arg;

    (void)fd;
    (void)what;
    c->waiting = false;
    settle(c->s);
}

static void failed_at_start(struct child *c, const char *why, time_t max_s)
{
    c->failures++;
    retry_later(c, max_s);
    start_failed(c, why);
}

static enum err_code start_child(struct child *c, struct err *e)
{
    struct supervisor *s = c->s;
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
        return err_errno(e, E_IO, "socketpair");
    c->control = chan_new(s->base, ends[0], &control_ops, c, CONTROL_QUEUE_MAX, e);
    if (!c->control) {
        close(ends[1]);
        return e->code;
    }
    c->pid = host_spawn(s->host, s->conf, c->kind, c->name, token_of(c), ends[1], e);
    close(ends[1]);
    if (c->pid < 0) {
        chan_free(c->control);
        c->control = NULL;
        return e->code;
    }
    c->running = true;
    c->reaped = c->stopping = c->serving = false;
    c->said[0] = '\0';
    c->restarts += c->started_before;
    c->started_before = true;
    host_pid_file(s->conf, c->name, c->pid);
    log_child(LOG_INFO, "process-started", c, NULL, NULL);
    return E_OK;
}

static void start_and_link(struct child *c)
{
    enum proc_run asked = c->kind == PROC_TOKEN ? RUN_TOKEN : RUN_SIGNER;
    struct err e = {0};

    if (start_child(c, &e) == E_OK) {
        link_child(c);
        send_listeners(c);
        send_plain(c, CTL_GO);
        tell_core(c->s);
        return;
    }
    err_wrap(&e, "start %s", c->name);
    log_failure("process-not-started", &e);
    if (c->once) {
        c->once = false;
        fail_pending(c->s, asked, c->token, &e);
        return;
    }
    failed_at_start(c, e.msg, BACKOFF_MAX_S);
}

/* ---- the end of a process ---- */

static void hold_back(struct child *c, enum child_hold hold)
{
    c->hold = hold;
    c->pin_seen = hold == HOLD_BLOCKED && host_look_at_pin(c->s->host, token_of(c), &c->pin);
    log_child(LOG_ERROR, "process-held-back", c, "why",
              hold == HOLD_BLOCKED ? "PIN refused: give a new PIN or run inkan token unblock"
                                   : "it refused the configuration: correct it and reload");
}

static void log_end_of(const struct child *c, bool served)
{
    bool expected = c->stopping && WIFEXITED(c->status) && WEXITSTATUS(c->status) == PROC_EXIT_OK;
    struct log_line l;

    log_begin(&l, expected ? LOG_INFO : LOG_ERROR, "process-ended");
    log_str(&l, "process", c->name);
    log_i64(&l, "pid", c->pid);
    if (WIFSIGNALED(c->status)) {
        log_i64(&l, "signal", WTERMSIG(c->status));
        log_str(&l, "why", WTERMSIG(c->status) == SIGSYS ? "a system call outside its list" : strsignal(WTERMSIG(c->status)));
    } else {
        log_i64(&l, "exit", WEXITSTATUS(c->status));
    }
    log_str(&l, "served", served ? "yes" : "no");
    log_end(&l);
}

/* What follows from how it ended, where it should still run. */
static void judge_end(struct child *c, bool served)
{
    int code = WIFEXITED(c->status) ? WEXITSTATUS(c->status) : -1;

    if (code == PROC_EXIT_BLOCKED && maps_module(c)) {
        hold_back(c, HOLD_BLOCKED);
    } else if (code == PROC_EXIT_CONFIG) {
        hold_back(c, HOLD_CONFIG);
        start_failed(c, "it refused the configuration");
    } else if (served) {
        c->failures = 0;
    } else {
        failed_at_start(c, c->said, code == PROC_EXIT_DISK ? DISK_BACKOFF_MAX_S : BACKOFF_MAX_S);
    }
}

static void child_died(struct child *c)
{
    struct supervisor *s = c->s;
    bool served = c->serving && clock_mono_ms() - c->serving_since_ms >= SERVED_MS;
    bool expected = c->stopping;

    evtimer_del(c->kill_timer);
    log_end_of(c, served);
    c->running = false;
    host_pid_file(s->conf, c->name, 0);
    tell_peers_gone(c);
    if (c->kind == PROC_CORE)
        forget_core_requests(s);
    if (c->once && !expected) {
        /* It ran for one command, which has heard of its end: not again for the same one. */
        struct err e = {0};

        c->once = false;
        err_set(&e, E_TOKEN, "%s ended while it was needed", c->name);
        fail_pending(s, c->kind == PROC_TOKEN ? RUN_TOKEN : RUN_SIGNER, c->token, &e);
    } else if (!expected && !s->leaving) {
        judge_end(c, served);
    }
    c->stopping = c->reaped = false;
    c->pid = 0;
    tell_core(s);
    settle(s);
}

static struct child *child_of_pid(struct supervisor *s, pid_t pid)
{
    for (size_t i = 0; i < s->children_n; i++)
        if (s->children[i].running && s->children[i].pid == pid)
            return &s->children[i];
    return NULL;
}

static void on_sigchld(evutil_socket_t sig, short what, void *arg)
{
    struct supervisor *s = arg;
    int status;
    pid_t pid;

    (void)sig;
    (void)what;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct child *c = child_of_pid(s, pid);

        if (!c)
            continue;
        c->reaped = true;
        c->status = status;
        if (!c->control)
            child_died(c);
    }
}

/* ---- what should run ---- */

static bool should_run(struct supervisor *s, const struct child *c)
{
    const struct child *other;

    if (s->leaving)
        return false;
    switch (c->kind) {
    case PROC_SIGNER: /* a token is open in one process at a time */
        other = child_of_token(s, PROC_TOKEN, c->token);
        return (!token_of(c)->offline || c->once) && !other->once && !other->running;
    case PROC_TOKEN:
        return c->once;
    default:
        return true;
    }
}

static bool may_start(struct supervisor *s, const struct child *c)
{
    if (c->running || c->hold != HOLD_NONE || c->waiting)
        return false;
    return c->kind != PROC_TOKEN || !child_of_token(s, PROC_SIGNER, c->token)->running;
}

static void settle_leaving(struct supervisor *s)
{
    for (unsigned rank = 0; rank < STOP_RANKS; rank++) {
        bool running = false;

        for (size_t i = 0; i < s->children_n; i++) {
            if (stop_rank(&s->children[i]) != rank)
                continue;
            stop_child(&s->children[i]);
            running = running || s->children[i].running;
        }
        if (running)
            return;
    }
    event_base_loopbreak(s->base);
}

static void settle(struct supervisor *s)
{
    if (s->settling)
        return;
    s->settling = true;
    if (s->leaving) {
        settle_leaving(s);
    } else {
        for (size_t i = 0; i < s->children_n; i++) {
            struct child *c = &s->children[i];

            if (!should_run(s, c))
                stop_child(c);
            else if (may_start(s, c))
                start_and_link(c);
        }
        answer_reached(s);
    }
    s->settling = false;
}

/* ---- signals and timers of the supervisor ---- */

static void kill_all(struct supervisor *s)
{
    for (size_t i = 0; i < s->children_n; i++)
        if (s->children[i].running && !s->children[i].reaped)
            on_kill(-1, 0, &s->children[i]);
}

static void on_sigterm(evutil_socket_t sig, short what, void *arg)
{
    struct supervisor *s = arg;

    (void)sig;
    (void)what;
    if (s->leaving) {
        kill_all(s); /* asked twice */
        return;
    }
    log_note(LOG_INFO, "service-stopping", NULL, NULL);
    systemd_tell(s->host->systemd, "STOPPING=1");
    s->leaving = true;
    settle(s);
}

static bool same_strings(const struct conf_strings *a, const struct conf_strings *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->v[i], b->v[i]) != 0)
            return false;
    return true;
}

/* The first thing a reload cannot change, because sockets, users or processes hang on it; NULL: nothing. */
static const char *fixed_difference(const struct conf *a, const struct conf *b)
{
    const struct {
        const char *key, *old, *fresh;
    } texts[] = {{"directories.state", a->dir_state, b->dir_state}, {"directories.marks", a->dir_marks, b->dir_marks},
                 {"directories.run", a->dir_run, b->dir_run},       {"directories.programs", a->program_dir, b->program_dir},
                 {"users.supervisor", a->user_supervisor, b->user_supervisor},
                 {"users.front", a->user_front, b->user_front},     {"users.core", a->user_core, b->user_core},
                 {"users.status", a->user_status, b->user_status},  {"users.signer", a->user_signer, b->user_signer},
                 {"users.admin_server", a->user_admin, b->user_admin},
                 {"users.notify", a->user_notify, b->user_notify}};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (strcmp(texts[i].old, texts[i].fresh) != 0)
            return texts[i].key;
    if (!same_strings(&a->listen_est, &b->listen_est) || !same_strings(&a->listen_http, &b->listen_http) ||
        !same_strings(&a->listen_health, &b->listen_health) || !same_strings(&a->listen_admin, &b->listen_admin))
        return "listen";
    if (a->decisions != b->decisions)
        return "decisions.enabled";
    if (strcmp(a->listen_decision, b->listen_decision) != 0 || strcmp(a->decisions_group, b->decisions_group) != 0)
        return "listen.decision";
    if ((a->notify_n > 0) != (b->notify_n > 0))
        return "notify";
    if (a->fronts != b->fronts)
        return "fronts";
    if (a->tokens_n != b->tokens_n)
        return "tokens";
    for (size_t i = 0; i < a->tokens_n; i++)
        if (strcmp(a->tokens[i].name, b->tokens[i].name) != 0 || a->tokens[i].offline != b->tokens[i].offline)
            return "tokens";
    for (size_t i = 0; i < a->tokens_n; i++)
        if (answers_ocsp(a, a->tokens[i].name) != answers_ocsp(b, b->tokens[i].name))
            return "cas.ocsp_token";
    return NULL;
}

static int reopen_log(struct supervisor *s)
{
    struct err e = {0};
    int fd;

    if (!s->log_in_file || s->conf->log_file[0] == '\0')
        return -1;
    fd = host_open_log(s->host, s->conf, &e);
    if (fd < 0) {
        log_failure("log-not-reopened", &e);
        return -1;
    }
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    return fd;
}

static void on_sighup(evutil_socket_t sig, short what, void *arg)
{
    struct supervisor *s = arg;
    struct conf *fresh = NULL;
    AUTO_FD int log = -1;
    const char *fixed;
    struct err e = {0};

    (void)sig;
    (void)what;
    if (s->leaving)
        return;
    if (conf_load(s->conf->path, &fresh, NULL, &e) != E_OK) {
        log_failure("reload-refused", &e);
        return;
    }
    fixed = fixed_difference(s->conf, fresh);
    if (fixed) {
        log_note(LOG_ERROR, "reload-refused", "needs_restart", fixed);
        conf_free(fresh);
        return;
    }
    if (s->host->program_dir == s->conf->program_dir)
        s->host->program_dir = fresh->program_dir;
    conf_free(s->conf);
    s->conf = fresh;
    log_set_level((enum log_level)fresh->log_level);
    log = reopen_log(s);
    log_note(LOG_INFO, "configuration-reloaded", "path", fresh->path);
    for (size_t i = 0; i < s->children_n; i++) {
        struct msg m;

        release_hold(&s->children[i]);
        if (!s->children[i].running)
            continue;
        msg_begin(&m, CTL_RELOAD, 0);
        send_to(&s->children[i], &m, log);
    }
    settle(s);
}

static void look_for_new_pins(struct supervisor *s)
{
    for (size_t i = 0; i < s->children_n; i++) {
        struct child *c = &s->children[i];
        struct pin_look now;

        if (c->hold != HOLD_BLOCKED || c->running || !host_look_at_pin(s->host, token_of(c), &now))
            continue;
        if (c->pin_seen && memcmp(&now, &c->pin, sizeof(now)) == 0)
            continue;
        log_child(LOG_INFO, "pin-changed", c, NULL, NULL);
        release_hold(c);
    }
    settle(s);
}

static void on_poll(evutil_socket_t fd, short what, void *arg)
{
    struct supervisor *s = arg;

    (void)fd;
    (void)what;
    systemd_tell(s->host->systemd, "WATCHDOG=1");
    look_for_new_pins(s);
}

/* ---- set up and run ---- */

static bool add_child(struct supervisor *s, enum proc_kind kind, uint32_t index, size_t token, const char *name)
{
    struct child *c = &s->children[s->children_n++];

    c->s = s;
    c->kind = kind;
    c->index = index;
    c->token = token;
    snprintf(c->name, sizeof(c->name), "%s", name);
    c->retry = evtimer_new(s->base, on_retry, c);
    c->kill_timer = evtimer_new(s->base, on_kill, c);
    return c->retry && c->kill_timer;
}

static bool add_children(struct supervisor *s)
{
    const struct conf *c = s->conf;
    char name[PROC_NAME_MAX + 1];
    bool good;

    s->children = calloc(4 + c->fronts + 2 * c->tokens_n, sizeof(*s->children));
    if (!s->children)
        return false;
    good = add_child(s, PROC_CORE, 0, SIZE_MAX, "core") && add_child(s, PROC_STATUS, 0, SIZE_MAX, "status");
    for (size_t i = 0; i < c->tokens_n && good; i++) {
        snprintf(name, sizeof(name), "signer-%s", c->tokens[i].name);
        good = add_child(s, PROC_SIGNER, (uint32_t)i, i, name);
        snprintf(name, sizeof(name), "token-%s", c->tokens[i].name);
        good = good && add_child(s, PROC_TOKEN, (uint32_t)i, i, name);
    }
    for (unsigned i = 0; i < c->fronts && good; i++) {
        snprintf(name, sizeof(name), "front-%u", i);
        good = add_child(s, PROC_FRONT, i, SIZE_MAX, name);
    }
    if (good && c->listen_admin.n > 0)
        good = add_child(s, PROC_ADMIN, 0, SIZE_MAX, "admin");
    if (good && c->notify_n > 0)
        good = add_child(s, PROC_NOTIFY, 0, SIZE_MAX, "notify");
    return good;
}

static bool add_events(struct supervisor *s)
{
    const struct timeval poll_every = {.tv_sec = POLL_S};

    s->sigchld = evsignal_new(s->base, SIGCHLD, on_sigchld, s);
    s->sigterm = evsignal_new(s->base, SIGTERM, on_sigterm, s);
    s->sigint = evsignal_new(s->base, SIGINT, on_sigterm, s);
    s->sighup = evsignal_new(s->base, SIGHUP, on_sighup, s);
    s->poll = event_new(s->base, -1, EV_PERSIST, on_poll, s);
    s->tell_timer = evtimer_new(s->base, on_tell, s);
    return s->sigchld && s->sigterm && s->sigint && s->sighup && s->poll && s->tell_timer &&
           evsignal_add(s->sigchld, NULL) == 0 && evsignal_add(s->sigterm, NULL) == 0 &&
           evsignal_add(s->sigint, NULL) == 0 && evsignal_add(s->sighup, NULL) == 0 &&
           event_add(s->poll, &poll_every) == 0;
}

/* All of the first processes are there before any of them is told to go. */
static void start_all(struct supervisor *s)
{
    for (size_t i = 0; i < s->children_n; i++) {
        struct child *c = &s->children[i];
        struct err e = {0};

        if (!should_run(s, c))
            continue;
        if (start_child(c, &e) != E_OK) {
            log_failure("process-not-started", &e);
            failed_at_start(c, e.msg, BACKOFF_MAX_S);
            continue;
        }
        link_child(c);
        send_listeners(c);
    }
    for (size_t i = 0; i < s->children_n; i++)
        if (s->children[i].running)
            send_plain(&s->children[i], CTL_GO);
    tell_core(s);
}

static void free_event(struct event *ev)
{
    if (ev)
        event_free(ev);
}

static void clear(struct supervisor *s)
{
    struct event *events[] = {s->sigchld, s->sigterm, s->sigint, s->sighup, s->poll, s->tell_timer};

    for (size_t i = 0; i < s->children_n; i++) {
        chan_free(s->children[i].control);
        free_event(s->children[i].retry);
        free_event(s->children[i].kill_timer);
    }
    free(s->children);
    for (size_t i = 0; i < ARRAY_LEN(events); i++)
        free_event(events[i]);
    if (s->base)
        event_base_free(s->base);
}

int supervise(struct host *h, struct conf **conf, bool log_in_file, started_fn started, void *arg)
{
    struct supervisor s = {.host = h, .conf = *conf, .log_in_file = log_in_file, .started = started, .started_arg = arg};
    struct err e = {0};
    int code = 1;

    s.base = event_base_new();
    if (s.base && add_children(&s) && add_events(&s)) {
        log_note(LOG_INFO, "service-starting", "version", INKAN_VERSION);
        start_all(&s);
        event_base_dispatch(s.base);
        log_note(LOG_INFO, "service-stopped", NULL, NULL);
        code = 0;
    } else {
        err_set(&e, E_NOMEM, "the event loop could not be set up");
        log_failure("start-failed", &e);
    }
    *conf = s.conf;
    clear(&s);
    return code;
}
