/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/privkey.h"
#include "base/msg.h"
#include "base/proc.h"
#include "hsm/engine_int.h"

#define CONTROL_QUEUE_MAX 64
#define JOIN_S            15

/* ---- keys ---- */

enum err_code held_key_new(const struct signer_key *want, struct held_key **out, struct err *e)
{
    struct spki_view view;
    struct held_key *k;

    *out = NULL;
    if ((unsigned)want->purpose >= KEY_PURPOSES || want->cka_id.len != CKA_ID_LEN)
        return err_set(e, E_INVALID, "key \"%s\": CKA_ID of %zu octets, must be %d", want->name, want->cka_id.len,
                       CKA_ID_LEN);
    if (spki_view(want->spki, &view, e) != E_OK)
        return err_wrap(e, "key \"%s\"", want->name);
    if ((want->issuer_name.len == 0 && want->purpose == PURPOSE_CA) || want->issuer_name.len > NAME_MAX_LEN)
        return err_set(e, E_INVALID, "key \"%s\": issuer name of %zu octets for purpose \"%s\"", want->name,
                       want->issuer_name.len, key_purpose_name(want->purpose));
    k = calloc(1, sizeof(*k));
    if (!k)
        return err_set(e, E_NOMEM, "key \"%s\"", want->name);
    atomic_init(&k->refs, 1);
    snprintf(k->name, sizeof(k->name), "%s", want->name);
    k->type = key_type_of(view.alg);
    memcpy(k->cka_id, want->cka_id.p, CKA_ID_LEN);
    k->spki = BUF_INIT(SPKI_MAX_LEN);
    k->issuer_name = BUF_INIT(NAME_MAX_LEN);
    buf_add_bytes(&k->spki, want->spki);
    buf_add_bytes(&k->issuer_name, want->issuer_name);
    k->rule = (struct tbs_rule){.purpose = want->purpose, .issuer_name = buf_bytes(&k->issuer_name), .spki = buf_bytes(&k->spki),
                                .alg = k->type->sig};
    sha1(view.bits, k->rule.key_hash);
    err_set(&k->refusal, E_TOKEN, "key \"%s\" is not resolved yet", k->name);
    if (!buf_ok(&k->spki) || !buf_ok(&k->issuer_name)) {
        held_key_unref(k);
        return err_set(e, E_NOMEM, "key \"%s\"", want->name);
    }
    *out = k;
    return E_OK;
}

struct held_key *held_key_ref(struct held_key *k)
{
    if (k)
        atomic_fetch_add(&k->refs, 1);
    return k;
}

void held_key_unref(struct held_key *k)
{
    if (!k || atomic_fetch_sub(&k->refs, 1) != 1)
        return;
    for (size_t i = 0; i < ARRAY_LEN(k->verifiers); i++)
        verifier_free(k->verifiers[i]);
    buf_clear(&k->spki);
    buf_clear(&k->issuer_name);
    free(k);
}

const char *held_key_name(const struct held_key *k)
{
    return k->name;
}

struct verifier *held_key_verifier(struct held_key *k, unsigned thread, struct err *e)
{
    if (!k->verifiers[thread] && verifier_new(buf_bytes(&k->spki), &k->verifiers[thread], e) != E_OK)
        return NULL;
    return k->verifiers[thread];
}

/* Every name this key goes by is quarantined: two links may know it under two names. */
void engine_quarantine(struct engine *g, struct held_key *k)
{
    struct log_line l;
    struct err why = {0};

    err_set(&why, E_TOKEN, "key \"%s\" is in quarantine: a signature of it did not verify", k->name);
    pthread_rwlock_wrlock(&g->generations);
    if (g->corrupt_n < KEYS_MAX)
        memcpy(g->corrupt[g->corrupt_n++], k->cka_id, CKA_ID_LEN);
    for (struct held_key *at = g->keys; at; at = at->next) {
        if (memcmp(at->cka_id, k->cka_id, CKA_ID_LEN) == 0) {
            at->generation = 0;
            at->refusal = why;
        }
    }
    pthread_rwlock_unlock(&g->generations);
    atomic_store(&g->degraded, true);
    log_begin(&l, LOG_ERROR, "signer-signature-bad");
    log_str(&l, "token", g->conf->name);
    log_str(&l, "key", k->name);
    log_hex(&l, "cka_id", BYTES_OF(k->cka_id));
    log_str(&l, "action", "quarantined");
    log_end(&l);
}

/* ---- jobs ---- */

struct job *job_new(enum job_type type, uint64_t link, uint64_t request_id)
{
    struct job *j = calloc(1, sizeof(*j));

    if (!j)
        return NULL;
    j->type = type;
    j->link = link;
    j->request_id = request_id;
    j->copy = BUF_INIT(MSG_MAX_LEN);
    return j;
}

void job_free(struct job *j)
{
    if (!j)
        return;
    held_key_unref(j->key);
    buf_clear(&j->copy);
    secret_buf_free(&j->pkcs8);
    buf_clear(&j->spki);
    if (j->mapped.p)
        fd_unmap(j->mapped);
    for (size_t i = 0; j->keys && i < j->keys_n; i++)
        held_key_unref(j->keys[i]);
    free(j->keys);
    free(j->results);
    free(j);
}

void job_list_init(struct job_list *l)
{
    *l = (struct job_list){NULL, &l->first, 0};
}

void job_list_add(struct job_list *l, struct job *j)
{
    j->next = NULL;
    *l->end = j;
    l->end = &j->next;
    l->n++;
}

void job_list_push(struct job_list *l, struct job *j)
{
    j->next = l->first;
    if (!l->first)
        l->end = &j->next;
    l->first = j;
    l->n++;
}

struct job *job_list_take(struct job_list *l)
{
    struct job *j = l->first;

    if (!j)
        return NULL;
    l->first = j->next;
    if (!l->first)
        l->end = &l->first;
    l->n--;
    j->next = NULL;
    return j;
}

/* ---- results to the loop ---- */

#define DONE_BATCH 8

static void post(struct engine *g, struct job *j, size_t enough)
{
    const uint64_t one = 1;
    bool tell;

    pthread_mutex_lock(&g->done_lock);
    job_list_add(&g->done, j);
    tell = !g->done_told && g->done.n >= enough;
    g->done_told |= tell;
    pthread_mutex_unlock(&g->done_lock);
    if (tell && write(g->done_fd, &one, sizeof(one)) != sizeof(one) && errno != EAGAIN) {
        struct err e = {0};

        err_errno(&e, E_IO, "eventfd");
        proc_die("signer-down", PROC_EXIT_RESTART, &e);
    }
}

void engine_post(struct engine *g, struct job *j)
{
    post(g, j, 1);
}

void engine_post_more(struct engine *g, struct job *j)
{
    post(g, j, DONE_BATCH);
}

static void deliver(struct engine *g, struct job *j)
{
    switch (j->type) {
    case JOB_STATE:
        g->ops->state(j->e.msg, g->arg);
        break;
    case JOB_STARTED:
        g->ops->started(g->arg);
        break;
    case JOB_BLOCKED:
        g->ops->blocked(&j->e, g->arg);
        break;
    default:
        atomic_fetch_sub(&g->jobs, 1);
        g->ops->done(j, g->arg);
        return;
    }
    job_free(j);
}

static void deliver_all(struct engine *g)
{
    struct job_list all;
    struct job *j;

    job_list_init(&all);
    pthread_mutex_lock(&g->done_lock);
    g->done_told = false;
    while ((j = job_list_take(&g->done)) != NULL)
        job_list_add(&all, j);
    pthread_mutex_unlock(&g->done_lock);
    while ((j = job_list_take(&all)) != NULL)
        deliver(g, j);
}

static void on_done(evutil_socket_t fd, short what, void *arg)
{
    uint64_t n;

    (void)what;
    if (read(fd, &n, sizeof(n)) == sizeof(n))
        deliver_all(arg);
}

/* A hung call cannot be cancelled, only left: the supervisor starts the process again. */
static void on_watch(evutil_socket_t fd, short what, void *arg)
{
    struct engine *g = arg;
    int64_t now = clock_mono_ms();
    struct err e = {0};

    (void)fd, (void)what;
    deliver_all(g); /* what a call that hangs now was to follow */
    for (unsigned i = 0; i < WORKERS_MAX; i++) {
        int64_t at = atomic_load(&g->workers[i].overdue_ms);
        if (at && now > at)
            err_set(&e, E_TOKEN, "token \"%s\": a signature hangs in the module", g->conf->name);
    }
    if (atomic_load(&g->overdue_ms) && now > atomic_load(&g->overdue_ms))
        err_set(&e, E_TOKEN, "token \"%s\": login or key search hangs in the module", g->conf->name);
    if (e.code != E_OK)
        proc_die("signer-down", PROC_EXIT_RESTART, &e);
}

/* ---- life ---- */

static void init_locks(struct engine *g)
{
    pthread_rwlockattr_t rw;
    pthread_condattr_t mono;

    /* A renewal must not wait behind a stream of signatures. */
    pthread_rwlockattr_init(&rw);
    pthread_rwlockattr_setkind_np(&rw, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&g->generations, &rw);
    pthread_rwlockattr_destroy(&rw);
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&g->work, &mono);
    pthread_cond_init(&g->control, &mono);
    pthread_cond_init(&g->renewed, &mono);
    pthread_condattr_destroy(&mono);
    pthread_mutex_init(&g->lock, NULL);
    pthread_mutex_init(&g->done_lock, NULL);
    job_list_init(&g->queue);
    job_list_init(&g->control_queue);
    job_list_init(&g->done);
}

enum err_code engine_new(struct event_base *base, struct p11 *m, const struct conf_token *conf, const char *dir_state,
                         const struct engine_ops *ops, void *arg, struct engine **out, struct err *e)
{
    const struct timeval second = {1, 0};
    struct engine *g = calloc(1, sizeof(*g));

    *out = NULL;
    if (!g)
        return err_set(e, E_NOMEM, "signing engine");
    g->base = base;
    g->m = m;
    g->conf = conf;
    g->dir_state = dir_state;
    g->ops = ops;
    g->arg = arg;
    init_locks(g);
    g->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (g->done_fd < 0) {
        free(g);
        return err_errno(e, E_IO, "eventfd");
    }
    g->done_event = event_new(base, g->done_fd, EV_READ | EV_PERSIST, on_done, g);
    g->watch_event = event_new(base, -1, EV_PERSIST, on_watch, g);
    if (!g->done_event || !g->watch_event || event_add(g->done_event, NULL) != 0 ||
        event_add(g->watch_event, &second) != 0 || pthread_create(&g->control_thread, NULL, control_main, g) != 0) {
        if (g->done_event)
            event_free(g->done_event);
        if (g->watch_event)
            event_free(g->watch_event);
        close(g->done_fd);
        free(g);
        return err_set(e, E_NOMEM, "signing engine");
    }
    *out = g;
    return E_OK;
}

bool engine_spawn_workers(struct engine *g, struct err *e)
{
    unsigned n = g->conf->workers < WORKERS_MAX ? g->conf->workers : WORKERS_MAX;
    bool ok = true;

    if (g->token.sessions_max > 1 && n > g->token.sessions_max - 1) /* one is the control session's */
        n = (unsigned)(g->token.sessions_max - 1);
    if (n == 0)
        n = 1;
    /* A stop in between joins just the threads that are there. */
    pthread_mutex_lock(&g->lock);
    for (unsigned i = 0; i < n && ok && !g->stop_workers; i++) {
        g->workers[i].g = g;
        g->workers[i].index = i + 1;
        g->workers[i].session = CK_INVALID_HANDLE;
        ok = pthread_create(&g->workers[i].thread, NULL, worker_main, &g->workers[i]) == 0;
        if (ok)
            g->workers_n = g->workers_active = i + 1;
        else
            err_set(e, E_NOMEM, "thread %u of %u", i + 1, n);
    }
    pthread_mutex_unlock(&g->lock);
    return ok;
}

enum err_code engine_submit(struct engine *g, struct job *j, struct err *e)
{
    bool sign = j->type == JOB_SIGN || j->type == JOB_GENERATE; /* for a worker */
    struct job_list *l = sign ? &g->queue : &g->control_queue;
    size_t max = sign ? g->conf->queue : CONTROL_QUEUE_MAX;
    enum err_code rc = E_OK;

    pthread_mutex_lock(&g->lock);
    if (l->n >= max && j->type != JOB_DROP) {
        rc = err_set(e, E_BUSY, "token \"%s\": %zu requests are waiting", g->conf->name, l->n);
    } else {
        atomic_fetch_add(&g->jobs, 1);
        job_list_add(l, j);
        if (sign)
            pthread_cond_signal(&g->work);
        else
            pthread_cond_signal(&g->control);
    }
    pthread_mutex_unlock(&g->lock);
    return rc;
}

bool engine_is_started(struct engine *g)
{
    return atomic_load(&g->started);
}

const char *engine_state(struct engine *g)
{
    if (atomic_load(&g->blocked))
        return "PIN_BLOCKED";
    if (!atomic_load(&g->started))
        return "DOWN";
    return atomic_load(&g->degraded) ? "DEGRADED" : "READY";
}

size_t engine_jobs(struct engine *g)
{
    return atomic_load(&g->jobs);
}

void engine_latency(struct engine *g, uint32_t us)
{
    pthread_mutex_lock(&g->lock);
    g->latency_us[g->latency_n++ % LATENCIES] = us;
    pthread_mutex_unlock(&g->lock);
}

bool engine_renew(struct engine *g, uint64_t seen, int64_t until_ms)
{
    struct timespec until = {until_ms / 1000, (until_ms % 1000) * 1000000};
    uint64_t failures;
    bool done;

    pthread_mutex_lock(&g->lock);
    failures = g->renew_failures;
    while (g->generation == seen && g->renew_failures == failures && !g->dead) {
        g->renew_wanted = true;
        pthread_cond_signal(&g->control);
        if (pthread_cond_timedwait(&g->renewed, &g->lock, &until) == ETIMEDOUT)
            break;
    }
    done = g->generation != seen;
    pthread_mutex_unlock(&g->lock);
    return done;
}

static bool join_in_time(pthread_t t)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += JOIN_S;
    return pthread_timedjoin_np(t, NULL, &until) == 0;
}

/* Workers first: a renewal one of them waits for needs the control thread. Finalising under a thread that is inside the
 * module crashes modules, so a thread that does not come back means no finalise. */
bool engine_stop(struct engine *g)
{
    unsigned n;

    event_del(g->watch_event);
    pthread_mutex_lock(&g->lock);
    g->stop_workers = true;
    n = g->workers_n;
    pthread_cond_broadcast(&g->work);
    pthread_mutex_unlock(&g->lock);
    for (unsigned i = 0; i < n; i++)
        if (!join_in_time(g->workers[i].thread))
            return false;
    pthread_mutex_lock(&g->lock);
    g->stop_control = true;
    pthread_cond_broadcast(&g->control);
    pthread_mutex_unlock(&g->lock);
    if (!join_in_time(g->control_thread))
        return false;
    p11_finalise(g->m);
    return true;
}
