/* SPDX-License-Identifier: Apache-2.0 */
/* The process: its link with the core on the loop, a thread for each of `notify`. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/log.h"
#include "ca/service.h"
#include "enroll/notify/notify.h"

#define LINK_QUEUE    (1 << 20)
#define RETRY_FIRST_S 1
#define RETRY_MAX_S   300
#define SAY_EVERY     20 /* failures in a row between two lines of the log */

enum mail { MAIL_NONE, MAIL_WANTED, MAIL_ASKED, MAIL_THERE };

struct worker {
    struct notify *n;
    const struct conf_notify *conf;
    pthread_t thread;
    bool running;
    char path[PATH_MAX];
    /* guarded by n->lock */
    struct told told;
    bool begun;             /* told is of the ledger at hand */
    uint64_t failures[NOTIFY_STREAMS], set_aside[NOTIFY_STREAMS];
    uint64_t apart[NOTIFY_STREAMS]; /* up to here one row at a time: a page with it was refused */
    struct batch aside;             /* last != 0: the core is to be told that these were set aside */
    enum mail mail;
    enum notify_stream stream;
    uint64_t after, last;
    uint32_t limit;
    struct buf page;
};

struct notify {
    struct proc *proc;
    struct event_base *base;
    struct chan *core; /* the loop's alone */
    uint64_t next_id;
    int wake;          /* eventfd: a thread wants something of the loop */
    struct event *woken;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* guarded by lock */
    bool stop, known;
    struct ledger_news news;
    struct worker *worker;
    size_t worker_n;
};

static void wake_loop(struct notify *n)
{
    const uint64_t one = 1;

    if (write(n->wake, &one, sizeof one) < 0 && errno != EAGAIN)
        log_note(LOG_ERROR, "notify-link-failed", "reason", "eventfd");
}

/* ---- a thread ---- */

static bool must_stop(void *arg)
{
    struct worker *w = arg;
    bool stop;

    pthread_mutex_lock(&w->n->lock);
    stop = w->n->stop;
    pthread_mutex_unlock(&w->n->lock);
    return stop;
}

/* With the lock held: until something changes, `seconds` at most (0: no limit). */
static void wait_s(struct notify *n, int64_t seconds)
{
    struct timespec until;

    if (seconds == 0) {
        pthread_cond_wait(&n->changed, &n->lock);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += seconds;
    while (!n->stop && pthread_cond_timedwait(&n->changed, &n->lock, &until) != ETIMEDOUT)
        ;
}

/* With the lock held. The first stream that has something new; alarms come first. */
static bool something_new(const struct worker *w, enum notify_stream *out)
{
    for (int i = 0; w->begun && i < NOTIFY_STREAMS; i++)
        if (w->conf->send & (1u << i) && w->told.up_to[i] < w->n->news.newest[i]) {
            *out = (enum notify_stream)i;
            return true;
        }
    return false;
}

static void log_delivery(const struct worker *w, const struct batch *b, int level, const char *event, const struct err *why, uint64_t tries)
{
    struct log_line l;

    log_begin(&l, level, event);
    log_str(&l, "name", w->conf->name);
    log_str(&l, "stream", notify_stream_name(b->stream));
    log_u64(&l, "first", b->first);
    log_u64(&l, "last", b->last);
    log_u64(&l, "tries", tries);
    if (why)
        log_err(&l, why);
    log_end(&l);
}

/* How long it has been refused, and in what way. */
struct refused {
    enum err_code why;
    uint64_t tries;
    int64_t since;
};

static void refused_again(struct refused *r, enum err_code why)
{
    if (why != E_INVALID && why != E_DENIED)
        return;
    if (r->why != why)
        *r = (struct refused){.why = why, .since = clock_now()};
    r->tries++;
}

enum outcome { TOLD, SET_ASIDE, TO_BE_TAKEN_APART, STOPPED };

/* Until one of these is so; each failure waits longer for the next try. */
static enum outcome deliver(struct worker *w, struct target *t, const struct batch *b)
{
    int64_t pause = RETRY_FIRST_S;
    struct refused refused = {E_OK, 0, 0};

    for (uint64_t tries = 1;; tries++) {
        struct err e = {0};

        if (target_deliver(t, b, clock_now(), &e) == E_OK) {
            log_delivery(w, b, tries > 1 ? LOG_INFO : LOG_DEBUG, "notify-delivered", NULL, tries);
            return TOLD;
        }
        if (must_stop(w))
            return STOPPED;
        refused_again(&refused, e.code);
        if (notify_gives_up(refused.why, refused.tries, clock_now() - refused.since)) {
            log_delivery(w, b, LOG_ERROR, "notify-set-aside", &e, tries);
            return SET_ASIDE;
        }
        if (tries % SAY_EVERY == 1)
            log_delivery(w, b, LOG_WARN, "notify-failed", &e, tries);
        pthread_mutex_lock(&w->n->lock);
        w->failures[b->stream]++;
        pthread_mutex_unlock(&w->n->lock);
        wake_loop(w->n);
        if (refused.why != E_OK && w->limit > 1)
            return TO_BE_TAKEN_APART; /* it may be one row of many */
        pthread_mutex_lock(&w->n->lock);
        wait_s(w->n, pause);
        pthread_mutex_unlock(&w->n->lock);
        pause = pause * 2 > RETRY_MAX_S ? RETRY_MAX_S : pause * 2;
    }
}

/* How far it is, on disk before anything else goes out. Tried until it is. */
static bool note(struct worker *w, const struct told *told)
{
    struct err e = {0};

    for (uint64_t tries = 1; told_write(w->path, told, &e) != E_OK; tries++) {
        if (tries % SAY_EVERY == 1)
            log_failure("notify-not-noted", &e);
        if (must_stop(w))
            return false;
        pthread_mutex_lock(&w->n->lock);
        wait_s(w->n, RETRY_FIRST_S);
        pthread_mutex_unlock(&w->n->lock);
    }
    return true;
}

/* With the lock held; gives it back in between. */
static void work(struct worker *w, struct target *t, enum notify_stream stream)
{
    struct notify *n = w->n;
    AUTO_BUF page = BUF_INIT(NOTIFY_PAGE_MAX);
    struct batch b;
    struct told told;
    enum outcome outcome;
    bool past;

    w->mail = MAIL_WANTED;
    w->stream = stream;
    w->after = w->told.up_to[stream];
    w->limit = w->after < w->apart[stream] ? 1 : target_limit(t, stream);
    wake_loop(n);
    while (!n->stop && w->mail != MAIL_THERE)
        pthread_cond_wait(&n->changed, &n->lock);
    if (n->stop)
        return;
    w->mail = MAIL_NONE;
    page = w->page;
    buf_init(&w->page, NOTIFY_PAGE_MAX);
    b = (struct batch){stream, w->after + 1, w->last, buf_bytes(&page)};
    told = w->told;
    if (page.len == 0 || w->last <= w->after) { /* the core could not read it, or has nothing up to there */
        wait_s(n, RETRY_FIRST_S);
        return;
    }
    pthread_mutex_unlock(&n->lock);
    told.up_to[stream] = b.last;
    outcome = deliver(w, t, &b);
    past = (outcome == TOLD || outcome == SET_ASIDE) && note(w, &told);
    pthread_mutex_lock(&n->lock);
    if (past)
        w->told = told;
    if (past && outcome == SET_ASIDE) {
        w->set_aside[stream]++;
        w->aside = (struct batch){stream, b.first, b.last, {NULL, 0}};
    }
    if (outcome == TO_BE_TAKEN_APART)
        w->apart[stream] = b.last;
    wake_loop(n);
}

static void begin(struct worker *w)
{
    struct told told = w->told;
    bool changed = told_fit(&told, &w->n->news, w->conf->history);

    if (changed) {
        pthread_mutex_unlock(&w->n->lock);
        (void)note(w, &told);
        pthread_mutex_lock(&w->n->lock);
    }
    w->told = told;
    w->begun = true;
    wake_loop(w->n);
}

static void *run(void *arg)
{
    struct worker *w = arg;
    struct notify *n = w->n;
    struct target *t = NULL;
    enum notify_stream stream;

    pthread_mutex_lock(&n->lock);
    while (!n->stop) {
        if (n->known && !w->begun)
            begin(w);
        if (w->begun && !t && !(t = target_new(w->conf, n->news.id, must_stop, w)))
            wait_s(n, RETRY_FIRST_S);
        else if (t && something_new(w, &stream))
            work(w, t, stream);
        else
            wait_s(n, 0);
    }
    pthread_mutex_unlock(&n->lock);
    target_free(t);
    return NULL;
}

static enum err_code workers_start(struct notify *n, struct err *e)
{
    const struct conf *c = proc_conf(n->proc);

    n->worker = calloc(c->notify_n + 1, sizeof(*n->worker));
    if (!n->worker)
        return err_set(e, E_NOMEM, "start");
    for (size_t i = 0; i < c->notify_n; i++) {
        struct worker *w = &n->worker[i];

        *w = (struct worker){.n = n, .conf = &c->notify[i]};
        buf_init(&w->page, NOTIFY_PAGE_MAX);
        if ((size_t)snprintf(w->path, sizeof(w->path), "%s/notify/%s", c->dir_state, w->conf->name) >= sizeof(w->path))
            return err_set(e, E_INVALID, "directories.state is too long");
        if (told_read(w->path, &w->told, e) != E_OK) {
            if (e->code != E_INVALID)
                return e->code;
            log_failure("notify-told-anew", e); /* from its newest: the trail has all of it */
        }
        if (pthread_create(&w->thread, NULL, run, w) != 0)
            return err_set(e, E_NOMEM, "a thread");
        w->running = true;
        n->worker_n = i + 1;
    }
    return E_OK;
}

static void workers_stop(struct notify *n)
{
    pthread_mutex_lock(&n->lock);
    n->stop = true;
    pthread_cond_broadcast(&n->changed);
    pthread_mutex_unlock(&n->lock);
    for (size_t i = 0; i < n->worker_n; i++) {
        if (n->worker[i].running)
            pthread_join(n->worker[i].thread, NULL);
        buf_clear(&n->worker[i].page);
    }
    free(n->worker);
    n->worker = NULL;
    n->worker_n = 0;
    n->stop = false;
}

/* ---- the link ---- */

/* How far everybody is goes to the core, for those who watch. */
static void tell_state(struct notify *n)
{
    struct err e = {0};
    uint32_t count = 0;
    struct msg m;

    msg_begin(&m, NOTIFY_STATE, 0);
    pthread_mutex_lock(&n->lock);
    for (int pass = 0; pass < 2; pass++) {
        if (pass)
            msg_put_u32(&m, count);
        for (size_t i = 0, told = 0; i < n->worker_n; i++)
            for (int s = 0; s < NOTIFY_STREAMS && told < NOTIFY_TOLD_MAX; s++) {
                const struct worker *w = &n->worker[i];

                if (!w->begun || !(w->conf->send & (1u << s)))
                    continue;
                told++;
                count += !pass;
                if (!pass)
                    continue;
                msg_put_str(&m, w->conf->name);
                msg_put_u8(&m, (uint8_t)s);
                msg_put_u64(&m, w->told.up_to[s]);
                msg_put_u64(&m, w->failures[s]);
                msg_put_u64(&m, w->set_aside[s]);
            }
    }
    pthread_mutex_unlock(&n->lock);
    if (chan_send(n->core, &m, -1, &e) != E_OK)
        log_failure("notify-link-failed", &e);
}

/* With the lock held. */
static void ask_core(struct notify *n, struct worker *w, uint64_t id)
{
    struct err e = {0};
    struct msg m;

    if (w->mail == MAIL_WANTED) {
        w->mail = MAIL_ASKED;
        msg_begin(&m, NOTIFY_READ, id);
        msg_put_u8(&m, (uint8_t)w->stream);
        msg_put_u64(&m, w->after);
        msg_put_u32(&m, w->limit);
        if (chan_send(n->core, &m, -1, &e) != E_OK)
            log_failure("notify-link-failed", &e);
    }
    if (w->aside.last != 0) {
        msg_begin(&m, NOTIFY_SET_ASIDE, 0);
        msg_put_str(&m, w->conf->name);
        msg_put_u8(&m, (uint8_t)w->aside.stream);
        msg_put_u64(&m, w->aside.first);
        msg_put_u64(&m, w->aside.last);
        w->aside.last = 0;
        if (chan_send(n->core, &m, -1, &e) != E_OK)
            log_failure("notify-link-failed", &e);
    }
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct notify *n = arg;
    uint64_t count;

    (void)what;
    if (read(fd, &count, sizeof count) < 0 || !n->core)
        return;
    for (size_t i = 0; i < n->worker_n; i++) {
        pthread_mutex_lock(&n->lock);
        ask_core(n, &n->worker[i], i + 1);
        pthread_mutex_unlock(&n->lock);
    }
    tell_state(n);
}

static enum err_code take_news(struct notify *n, struct msg_reader *r, struct err *e)
{
    struct ledger_news news = {0};

    msg_get_str(r, news.id, sizeof(news.id));
    for (int i = 0; i < NOTIFY_STREAMS; i++) {
        news.newest[i] = msg_get_u64(r);
        news.kept[i] = msg_get_u64(r);
    }
    if (msg_read_end(r, e) != E_OK)
        return err_wrap(e, "NOTIFY_NEWS");
    pthread_mutex_lock(&n->lock);
    if (n->known && strcmp(n->news.id, news.id) != 0)
        err_set(e, E_INVALID, "the core has another ledger");
    n->news = news;
    n->known = true;
    pthread_cond_broadcast(&n->changed);
    pthread_mutex_unlock(&n->lock);
    return e->code;
}

static enum err_code take_rows(struct notify *n, struct msg_reader *r, int fd, struct err *e)
{
    uint64_t id = r->request_id, last;
    struct bytes text = {NULL, 0};
    struct worker *w;
    uint8_t stream = msg_get_enum(r, NOTIFY_STREAMS);

    last = msg_get_u64(r);
    (void)msg_get_u32(r);
    if (msg_read_end(r, e) != E_OK || id == 0 || id > n->worker_n)
        return err_set(e, E_INVALID, "NOTIFY_ROWS");
    if (fd >= 0 && fd_map(fd, NOTIFY_PAGE_MAX, &text, e) != E_OK)
        return e->code;
    w = &n->worker[id - 1];
    pthread_mutex_lock(&n->lock);
    if (w->mail == MAIL_ASKED && w->stream == stream) {
        buf_reset(&w->page);
        buf_add_bytes(&w->page, text);
        w->last = buf_ok(&w->page) ? last : w->after;
        w->mail = MAIL_THERE;
        pthread_cond_broadcast(&n->changed);
    }
    pthread_mutex_unlock(&n->lock);
    if (fd >= 0)
        fd_unmap(text);
    return E_OK;
}

static void on_message(struct chan *chan, struct msg_reader *r, int fd, void *arg)
{
    AUTO_FD int given = fd;
    struct notify *n = arg;
    struct err e = {0};

    (void)chan;
    if (r->type == NOTIFY_NEWS)
        take_news(n, r, &e);
    else if (r->type == NOTIFY_ROWS)
        take_rows(n, r, given, &e);
    else
        err_set(&e, E_INVALID, "unknown message type 0x%04x", r->type);
    if (e.code != E_OK)
        proc_die("core-link-broken", PROC_EXIT_RESTART, &e);
}

static void core_drop(struct notify *n)
{
    chan_free(TAKE(n->core));
    pthread_mutex_lock(&n->lock);
    for (size_t i = 0; i < n->worker_n; i++)
        if (n->worker[i].mail == MAIL_ASKED)
            n->worker[i].mail = MAIL_WANTED; /* the next core is asked */
    pthread_mutex_unlock(&n->lock);
}

static void on_core_gone(struct chan *chan, const struct err *why, void *arg)
{
    struct notify *n = arg;

    (void)chan;
    log_failure("core-link-lost", why);
    core_drop(n);
    proc_link_broken(n->proc, "core");
}

static void on_link(struct proc *p, enum proc_kind peer, uint32_t index, const char *name, int fd, void *arg)
{
    static const struct chan_ops ops = {on_message, on_core_gone};
    struct notify *n = arg;
    struct err e = {0};

    (void)p;
    (void)index;
    if (peer != PROC_CORE) {
        log_note(LOG_ERROR, "unknown-link", "peer", name);
        close(fd);
        return;
    }
    core_drop(n);
    n->core = chan_new(n->base, fd, &ops, n, LINK_QUEUE, &e);
    if (!n->core)
        proc_die("link-failed", PROC_EXIT_RESTART, &e);
    wake_loop(n);
}

static void on_gone(struct proc *p, enum proc_kind peer, uint32_t index, const char *name, void *arg)
{
    (void)p;
    (void)index;
    (void)name;
    if (peer == PROC_CORE)
        core_drop(arg);
}

/* ---- life and end ---- */

static void on_go(struct proc *p, void *arg)
{
    (void)arg;
    proc_ready(p);
}

static void on_reload(struct proc *p, void *arg)
{
    struct notify *n = arg;
    struct err e = {0};

    if (proc_reload_conf(p, &e) != E_OK) {
        log_failure("reload-failed", &e);
        return;
    }
    workers_stop(n);
    if (workers_start(n, &e) != E_OK)
        proc_die("reload-failed", PROC_EXIT_RESTART, &e);
}

static void on_stop(struct proc *p, void *arg)
{
    (void)arg;
    proc_exit_loop(p, PROC_EXIT_OK);
}

static enum err_code set_up(struct notify *n, struct err *e)
{
    pthread_condattr_t attr;

    n->base = proc_base(n->proc);
    pthread_mutex_init(&n->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&n->changed, &attr);
    pthread_condattr_destroy(&attr);
    n->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (n->wake < 0)
        return err_errno(e, E_IO, "eventfd");
    n->woken = event_new(n->base, n->wake, EV_READ | EV_PERSIST, on_wake, n);
    if (!n->woken || event_add(n->woken, NULL) != 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(e, E_NOMEM, "start");
    if (proc_confine(n->proc, e) != E_OK)
        return e->code;
    return workers_start(n, e);
}

int notify_run(int argc, char **argv)
{
    static const struct proc_ops ops = {.on_link = on_link, .on_gone = on_gone, .on_go = on_go, .on_reload = on_reload, .on_stop = on_stop};
    static struct notify n;
    struct err e = {0};
    int code;

    n.proc = proc_start(argc, argv, PROC_NOTIFY, &ops, &n);
    if (set_up(&n, &e) != E_OK)
        proc_die("start-failed", PROC_EXIT_RESTART, &e);
    code = proc_loop(n.proc);
    workers_stop(&n);
    chan_free(n.core);
    event_free(n.woken);
    close(n.wake);
    curl_global_cleanup();
    proc_free(n.proc);
    return code;
}
