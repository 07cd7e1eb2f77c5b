/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/proc.h"
#include "hsm/engine_int.h"
#include "hsm/pin.h"

#define START_LIMIT_MS 20000 /* for initialise and login, before OVERDUE_MS is added */
#define RETRY_S        1   /* a token that comes back is in use within three seconds */
#define SAY_AGAIN_MS   60000 /* while it is away: the same cause is logged once a minute */

static void post_note(struct engine *g, enum job_type type, const struct err *e)
{
    struct job *j = job_new(type, 0, 0);

    if (!j)
        proc_die("signer-down", PROC_EXIT_RESTART, e);
    if (e)
        j->e = *e;
    engine_post(g, j);
}

static void in_module(struct engine *g, int64_t limit_ms)
{
    atomic_store(&g->overdue_ms, clock_mono_ms() + limit_ms + OVERDUE_MS);
}

static void out_of_module(struct engine *g)
{
    atomic_store(&g->overdue_ms, 0);
}

/* ---- keys ---- */

static bool is_corrupt(const struct engine *g, const struct held_key *k)
{
    for (size_t i = 0; i < g->corrupt_n; i++)
        if (memcmp(g->corrupt[i], k->cka_id, CKA_ID_LEN) == 0)
            return true;
    return false;
}

static void note_refused(const struct engine *g, const struct held_key *k, const struct err *e)
{
    struct log_line l;

    log_begin(&l, LOG_ERROR, "signer-key-refused");
    log_str(&l, "token", g->conf->name);
    log_str(&l, "key", k->name);
    log_hex(&l, "cka_id", BYTES_OF(k->cka_id));
    log_err(&l, e);
    log_end(&l);
}

/*
 * Finds one key on the token and proves it. *rv is the token's own trouble, if that is what stopped it; otherwise the
 * key is usable or refused for cause. The caller stores the result under the generation lock.
 */
static enum err_code look_up(struct engine *g, struct held_key *k, CK_OBJECT_HANDLE *handle, CK_RV *rv, struct err *e)
{
    struct p11_key_want want = {BYTES_OF(k->cka_id), buf_bytes(&k->spki), k->rule.purpose};
    struct verifier *v = held_key_verifier(k, 0, e);
    enum err_code rc;

    *rv = CKR_OK;
    if (!v)
        return err_wrap(e, "key \"%s\"", k->name);
    if (is_corrupt(g, k))
        return err_set(e, E_TOKEN, "key \"%s\" is in quarantine: a signature of it did not verify", k->name);
    rc = p11_find_key(g->m, g->session, &want, v, handle, rv, e);
    if (rc != E_OK)
        return err_wrap(e, "key \"%s\"", k->name);
    k->tested_ms = clock_mono_ms();
    k->was_usable = true;
    return E_OK;
}

static void store(struct engine *g, struct held_key *k, CK_OBJECT_HANDLE handle, enum err_code rc, const struct err *e)
{
    k->handle = rc == E_OK ? handle : CK_INVALID_HANDLE;
    k->generation = rc == E_OK ? g->generation : 0;
    k->refusal = rc == E_OK ? (struct err){0} : *e;
}

static void update_degraded(struct engine *g)
{
    bool bad = false;

    pthread_rwlock_rdlock(&g->generations);
    for (struct held_key *k = g->keys; k; k = k->next)
        bad |= k->generation != g->generation;
    pthread_rwlock_unlock(&g->generations);
    atomic_store(&g->degraded, bad);
}

/* ---- login generations ---- */

static enum err_code login(struct engine *g, struct err *e)
{
    enum err_code rc = pin_login(&g->token, g->session, g->conf, g->dir_state, e);

    if (rc == E_DENIED) {
        struct log_line l;

        log_begin(&l, LOG_ERROR, "signer-pin-refused");
        log_str(&l, "token", g->conf->name);
        log_err(&l, e);
        log_end(&l);
    }
    return rc;
}

static bool logged_in(const CK_SESSION_INFO *i)
{
    return i->state == CKS_RO_USER_FUNCTIONS || i->state == CKS_RW_USER_FUNCTIONS;
}

/* A fresh control session in place of one that is gone or may have an operation open. The old one is closed last: while a
 * session is open the login lives. */
static CK_RV replace_session(struct engine *g)
{
    CK_SESSION_HANDLE old = g->session, fresh;
    CK_RV rv = p11_open_session(&g->token, false, &fresh);

    if (rv != CKR_OK)
        return rv;
    g->session = fresh;
    (void)g->m->f->C_CloseSession(old);
    return CKR_OK;
}

/* The control session valid and logged in again. */
static enum err_code restore_session(struct engine *g, struct err *e)
{
    CK_SESSION_INFO info = {0};
    CK_RV rv;

    if (p11_token_refresh(&g->token, e) != E_OK)
        return E_TOKEN;
    rv = replace_session(g);
    if (rv != CKR_OK)
        return err_rv(e, rv, "C_OpenSession");
    rv = g->m->f->C_GetSessionInfo(g->session, &info);
    if (rv != CKR_OK)
        return err_rv(e, rv, "C_GetSessionInfo");
    if (logged_in(&info) || !(g->token.flags & CKF_LOGIN_REQUIRED))
        return E_OK;
    return login(g, e);
}

static void blocked(struct engine *g, const struct err *e)
{
    atomic_store(&g->blocked, true);
    pthread_mutex_lock(&g->lock);
    g->dead = true;
    pthread_cond_broadcast(&g->renewed);
    pthread_mutex_unlock(&g->lock);
    post_note(g, JOB_BLOCKED, e);
}

/* Every handle of the generation before is void from here on: each key is found again by ID and public key. */
static void resolve_all(struct engine *g)
{
    pthread_mutex_lock(&g->lock);
    g->generation++;
    pthread_mutex_unlock(&g->lock);
    for (struct held_key *k = g->keys; k; k = k->next) {
        CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
        struct err e = {0};
        CK_RV rv;
        bool was_usable = k->was_usable;
        enum err_code rc = look_up(g, k, &handle, &rv, &e);

        if ((rv_class(rv) == RV_SESSION || rv_class(rv) == RV_STALE) && replace_session(g) == CKR_OK)
            rc = look_up(g, k, &handle, &rv, &e);
        /* A key that was there and is gone, or a token that fails again right after the login: in doubt, start again.
         * A token whose storage went away shows like this and heals only with a new C_Initialize. */
        if (rv != CKR_OK || (rc == E_NOT_FOUND && was_usable))
            proc_die("signer-down", PROC_EXIT_RESTART, &e);
        store(g, k, handle, rc, &e);
        if (rc != E_OK)
            note_refused(g, k, &e);
    }
}

static void renew(struct engine *g)
{
    struct log_line l;
    struct err e = {0};
    enum err_code rc;

    in_module(g, START_LIMIT_MS);
    pthread_rwlock_wrlock(&g->generations);
    rc = restore_session(g, &e);
    if (rc == E_OK)
        resolve_all(g);
    pthread_rwlock_unlock(&g->generations);
    out_of_module(g);
    pthread_mutex_lock(&g->lock);
    g->renew_wanted = false;
    if (rc != E_OK)
        g->renew_failures++;
    pthread_cond_broadcast(&g->renewed);
    pthread_mutex_unlock(&g->lock);
    if (rc == E_DENIED) {
        blocked(g, &e);
        return;
    }
    if (rc != E_OK)
        proc_die("signer-down", PROC_EXIT_RESTART, &e);
    log_begin(&l, LOG_WARN, "signer-generation");
    log_str(&l, "token", g->conf->name);
    log_u64(&l, "generation", g->generation);
    log_end(&l);
    update_degraded(g);
}

/* ---- start ---- */

static enum err_code bring_up(struct engine *g, struct err *e)
{
    enum err_code rc;
    CK_RV rv;

    rc = p11_initialise(g->m, g->conf->init_args, e);
    if (rc == E_OK)
        rc = p11_find_token(g->m, g->conf->label, g->conf->serial, &g->token, e);
    if (rc == E_OK && (rv = p11_open_session(&g->token, false, &g->session)) != CKR_OK)
        rc = err_rv(e, rv, "C_OpenSession");
    if (rc == E_OK)
        rc = login(g, e);
    if (rc != E_OK)
        p11_finalise(g->m);
    return rc;
}

/* Sleeps unless told to stop. */
static bool pause_s(struct engine *g, unsigned s)
{
    struct timespec until;
    bool stop;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += s;
    pthread_mutex_lock(&g->lock);
    while (!g->stop_control && pthread_cond_timedwait(&g->control, &g->lock, &until) == 0)
        ;
    stop = g->stop_control;
    pthread_mutex_unlock(&g->lock);
    return !stop;
}

/* Tells the supervisor always, the log when there is something new. */
static void note_down(struct engine *g, const struct err *e, struct err *said, int64_t *said_ms)
{
    struct log_line l;
    struct err text = {0};

    err_set(&text, e->code, "DOWN: %.480s", e->msg);
    post_note(g, JOB_STATE, &text);
    if (said->code == e->code && strcmp(said->msg, e->msg) == 0 && clock_mono_ms() - *said_ms < SAY_AGAIN_MS)
        return;
    *said = *e;
    *said_ms = clock_mono_ms();
    log_begin(&l, LOG_ERROR, "signer-down");
    log_str(&l, "token", g->conf->name);
    log_err(&l, e);
    log_end(&l);
}

static bool start_up(struct engine *g)
{
    struct err said = {0};
    int64_t said_ms = 0;

    for (;;) {
        struct err e = {0};
        enum err_code rc;

        in_module(g, START_LIMIT_MS);
        rc = bring_up(g, &e);
        out_of_module(g);
        if (rc == E_OK)
            return true;
        if (rc == E_DENIED) {
            blocked(g, &e);
            return false;
        }
        note_down(g, &e, &said, &said_ms);
        if (!pause_s(g, RETRY_S))
            return false;
    }
}

static void note_ready(const struct engine *g)
{
    struct log_line l;

    log_begin(&l, LOG_INFO, "signer-ready");
    log_str(&l, "token", g->conf->name);
    log_str(&l, "label", g->token.label);
    log_str(&l, "serial", g->token.serial);
    log_str(&l, "library", g->m->library);
    log_u64(&l, "workers", g->workers_n);
    log_u64(&l, "generation", g->generation);
    log_end(&l);
}

/* ---- control jobs ---- */

static void run_keys(struct engine *g, struct job *j)
{
    for (size_t i = 0; i < j->keys_n; i++) {
        struct held_key *k = j->keys[i];
        CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
        enum err_code rc;
        CK_RV rv;

        if (!k)
            continue;
        rc = look_up(g, k, &handle, &rv, &j->results[i]);
        if (rv_class(rv) == RV_SESSION || rv_class(rv) == RV_STALE) { /* lost while nobody signed */
            renew(g);
            in_module(g, START_LIMIT_MS);
            rc = look_up(g, k, &handle, &rv, &j->results[i]);
        }
        if (rv_class(rv) == RV_DEVICE)
            proc_die("signer-down", PROC_EXIT_RESTART, &j->results[i]);
        pthread_rwlock_wrlock(&g->generations);
        k->next = g->keys;
        g->keys = held_key_ref(k);
        store(g, k, handle, rc, &j->results[i]);
        pthread_rwlock_unlock(&g->generations);
        if (rc == E_OK)
            j->results[i] = (struct err){0};
        else
            note_refused(g, k, &j->results[i]);
    }
    update_degraded(g);
}

static void run_drop(struct engine *g, struct job *j)
{
    pthread_rwlock_wrlock(&g->generations);
    for (size_t i = 0; i < j->keys_n; i++) {
        for (struct held_key **at = &g->keys; *at; at = &(*at)->next) {
            if (*at == j->keys[i]) {
                *at = j->keys[i]->next;
                held_key_unref(j->keys[i]); /* the list's reference; the job has another */
                break;
            }
        }
    }
    pthread_rwlock_unlock(&g->generations);
    update_degraded(g);
}

/* One key signs and its signature is checked: C_GetSessionInfo answers well on a token that cannot sign any more. */
static void test_key(struct engine *g, struct held_key *k, struct signer_health *h)
{
    struct verifier *v = held_key_verifier(k, 0, NULL);
    struct err e = {0};
    enum err_code rc = E_OK;
    CK_RV rv = CKR_OK;

    if (k->generation == g->generation && v && clock_mono_ms() - k->tested_ms >= TEST_EVERY_MS) {
        rc = p11_test_key(g->m, g->session, k->handle, k->type, v, &rv, &e);
        if (rv_class(rv) == RV_SESSION || rv_class(rv) == RV_STALE) {
            renew(g);
            rv = CKR_OK;
        } else if (rc == E_CRYPTO) {
            engine_quarantine(g, k);
        } else if (rv != CKR_OK) {
            proc_die("signer-down", PROC_EXIT_RESTART, &e);
        }
        k->tested_ms = clock_mono_ms();
    }
    if (k->generation != g->generation && h->code == E_OK) {
        h->code = E_TOKEN;
        snprintf(h->message, sizeof(h->message), "%.255s", k->refusal.msg);
    }
}

static int cmp_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void run_health(struct engine *g, struct job *j)
{
    struct signer_health *h = &j->health;
    uint32_t sorted[LATENCIES];
    size_t n;

    for (struct held_key *k = g->keys; k; k = k->next)
        test_key(g, k, h);
    update_degraded(g);
    pthread_mutex_lock(&g->lock);
    n = g->latency_n < LATENCIES ? g->latency_n : LATENCIES;
    memcpy(sorted, g->latency_us, n * sizeof(sorted[0]));
    h->queued = (uint32_t)g->queue.n;
    h->generation = g->generation;
    pthread_mutex_unlock(&g->lock);
    qsort(sorted, n, sizeof(sorted[0]), cmp_u32);
    h->p50_us = n ? sorted[n / 2] : 0;
    h->p99_us = n ? sorted[n * 99 / 100] : 0;
    h->signed_count = atomic_load(&g->signed_count);
    h->failed_count = atomic_load(&g->failed_count);
    snprintf(h->state, sizeof(h->state), "%s", engine_state(g));
}

static void run_control(struct engine *g, struct job *j)
{
    in_module(g, START_LIMIT_MS);
    if (j->type == JOB_KEYS)
        run_keys(g, j);
    else if (j->type == JOB_DROP)
        run_drop(g, j);
    else
        run_health(g, j);
    out_of_module(g);
    engine_post(g, j);
}

void *control_main(void *arg)
{
    struct engine *g = arg;
    struct err e = {0};

    if (!start_up(g))
        return NULL;
    pthread_mutex_lock(&g->lock);
    g->generation = 1;
    pthread_mutex_unlock(&g->lock);
    if (!engine_spawn_workers(g, &e))
        proc_die("signer-down", PROC_EXIT_RESTART, &e);
    atomic_store(&g->started, true);
    note_ready(g);
    post_note(g, JOB_STARTED, NULL);

    pthread_mutex_lock(&g->lock);
    while (!g->stop_control) {
        struct job *j = NULL;
        bool wanted = g->renew_wanted;

        if (!wanted && !(j = job_list_take(&g->control_queue))) {
            pthread_cond_wait(&g->control, &g->lock);
            continue;
        }
        pthread_mutex_unlock(&g->lock);
        if (wanted)
            renew(g);
        else
            run_control(g, j);
        pthread_mutex_lock(&g->lock);
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}
