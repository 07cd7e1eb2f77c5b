/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/privkey.h"
#include "base/proc.h"
#include "hsm/engine_int.h"

#define BAD_STREAK_MAX 8
#define QUICK_US       1000 /* signatures that take less are answered several together while more are waiting */
#define REOPEN_MAX     3 /* times for one signature: a bad line loses a session now and then, hardly four in a row */

static void close_session(struct worker *w)
{
    if (w->session != CK_INVALID_HANDLE)
        (void)w->g->m->f->C_CloseSession(w->session);
    w->session = CK_INVALID_HANDLE;
}

/* One try: the session, the handle of this generation, the signature. The generation cannot change meanwhile. */
static enum err_code try_sign(struct worker *w, struct job *j, struct bytes input, uint64_t *generation, CK_RV *rv,
                              const char **call)
{
    struct engine *g = w->g;
    enum err_code rc = E_OK;

    *rv = CKR_OK;
    pthread_rwlock_rdlock(&g->generations);
    *generation = g->generation;
    if (j->key->generation != g->generation) {
        j->e = j->key->refusal;
        rc = j->e.code == E_OK ? err_set(&j->e, E_TOKEN, "key \"%s\" is not resolved", j->key->name) : j->e.code;
    } else {
        if (w->session == CK_INVALID_HANDLE) {
            *call = "C_OpenSession";
            *rv = p11_open_session(&g->token, false, &w->session);
        }
        if (*rv == CKR_OK)
            *rv = p11_sign(g->m, w->session, j->key->handle, j->key->type, input, j->sig, &j->sig_len, call);
    }
    pthread_rwlock_unlock(&g->generations);
    return rc;
}

static const char *job_key(const struct job *j)
{
    return j->key ? j->key->name : "a new one";
}

static void fail(struct worker *w, struct job *j, CK_RV rv, const char *call)
{
    err_rv(&j->e, rv, call);
    err_wrap(&j->e, "token \"%s\": key \"%s\"", w->g->conf->name, job_key(j));
}

/* One pair, in this worker's session. */
static enum err_code try_generate(struct worker *w, struct job *j, uint64_t *generation, CK_RV *rv, const char **call)
{
    struct engine *g = w->g;
    enum err_code rc = E_OK;

    *rv = CKR_OK;
    pthread_rwlock_rdlock(&g->generations);
    *generation = g->generation;
    if (w->session == CK_INVALID_HANDLE) {
        *call = "C_OpenSession";
        *rv = p11_open_session(&g->token, false, &w->session);
    }
    buf_reset(&j->spki);
    j->pkcs8.len = 0;
    if (*rv == CKR_OK)
        rc = p11_session_pair(g->m, w->session, j->key_alg, &j->pkcs8, &j->spki, rv, call, &j->e);
    pthread_rwlock_unlock(&g->generations);
    return rc;
}

static void note_session(struct worker *w, const struct job *j, CK_RV rv, const char *call)
{
    struct log_line l;

    log_begin(&l, LOG_WARN, "signer-session-reopened");
    log_str(&l, "token", w->g->conf->name);
    log_str(&l, "key", job_key(j));
    log_str(&l, "call", call);
    log_str(&l, "result", rv_name(rv));
    log_u64(&l, "worker", w->index);
    log_end(&l);
}

enum next_step { STEP_DONE, STEP_AGAIN, STEP_REQUEUE };

/* What a failed call leads to: the table of docs/hsm.md, one row per class. A dropped session usually shows as session
 * trouble first and as login trouble after it was reopened. */
static enum next_step after_failure(struct worker *w, struct job *j, CK_RV rv, const char *call, uint64_t generation,
                                    unsigned *reopened, bool *login_tried)
{
    enum rv_class class = rv_class(rv);
    bool in_operation = strcmp(call, "C_Sign") == 0;

    fail(w, j, rv, call);
    if (class != RV_JOB || in_operation) /* an operation left open would spoil the session for the next job */
        close_session(w);
    switch (class) {
    case RV_FINE:
    case RV_JOB:
        return STEP_DONE;
    case RV_SESSION:
        if (*reopened == REOPEN_MAX || clock_mono_ms() > j->deadline_ms)
            break;
        ++*reopened;
        note_session(w, j, rv, call);
        return STEP_AGAIN;
    case RV_STALE:
    case RV_PIN: /* no signature asks for a PIN; a module that says so has lost the login */
        if (*login_tried || !engine_renew(w->g, generation, j->deadline_ms))
            break;
        *login_tried = true;
        return STEP_AGAIN;
    case RV_CAPACITY: {
        bool spare;

        pthread_mutex_lock(&w->g->lock);
        spare = w->g->workers_active > 1;
        if (spare)
            w->g->workers_active--;
        pthread_mutex_unlock(&w->g->lock);
        if (spare)
            return STEP_REQUEUE;
        j->e.code = E_BUSY;
        return STEP_DONE;
    }
    case RV_DEVICE:
        proc_die("signer-down", PROC_EXIT_RESTART, &j->e);
    }
    if (atomic_fetch_add(&w->g->bad_streak, 1) + 1 >= BAD_STREAK_MAX)
        proc_die("signer-down", PROC_EXIT_RESTART, &j->e);
    return STEP_DONE;
}

static void check_signature(struct worker *w, struct job *j, struct bytes input)
{
    struct verifier *v = held_key_verifier(j->key, w->index, &j->e);

    if (!v)
        return;
    switch (verifier_judge(v, input, BYTES(j->sig, j->sig_len), &j->e)) {
    case E_OK:
        break;
    case E_NOMEM:
        return;
    default:
        engine_quarantine(w->g, j->key);
        err_set(&j->e, E_TOKEN, "key \"%s\" is in quarantine: a signature of it did not verify", j->key->name);
        return;
    }
    j->alg = j->key->type->sig;
    j->e = (struct err){0};
    atomic_store(&w->g->bad_streak, 0);
}

/* The same for a new key pair; nothing of it is kept when it failed. */
static bool run_generate(struct worker *w, struct job *j)
{
    bool login_tried = false;
    unsigned reopened = 0;

    if (clock_mono_ms() > j->deadline_ms) {
        err_set(&j->e, E_BUSY, "token \"%s\": waited longer than its deadline", w->g->conf->name);
        return true;
    }
    if (!j->pkcs8.p && !secret_buf_init(&j->pkcs8, PRIVKEY_MAX_LEN)) { /* only now: locked memory is not for what waits */
        err_set(&j->e, E_NOMEM, "token \"%s\": no memory for a new key", w->g->conf->name);
        return true;
    }
    for (;;) {
        const char *call = "";
        uint64_t generation;
        CK_RV rv;
        enum err_code rc = try_generate(w, j, &generation, &rv, &call);

        if (rv == CKR_OK) {
            if (rc == E_OK)
                j->e = (struct err){0};
            return true;
        }
        switch (after_failure(w, j, rv, call, generation, &reopened, &login_tried)) {
        case STEP_AGAIN:
            continue;
        case STEP_REQUEUE:
            return false;
        case STEP_DONE:
            return true;
        }
    }
}

/* false: the job is to be done by another worker, this one has no session left to do it with. */
static bool run(struct worker *w, struct job *j)
{
    struct bytes tbs = j->mapped.p ? j->mapped : buf_bytes(&j->copy), input;
    bool login_tried = false;
    unsigned reopened = 0;
    int64_t start = clock_mono_ms();
    uint8_t room[64];

    if (start > j->deadline_ms) {
        err_set(&j->e, E_BUSY, "token \"%s\": waited longer than its deadline", w->g->conf->name);
        return true;
    }
    if (tbs_check(&j->key->rule, j->kind, tbs, &j->e) != E_OK) {
        err_wrap(&j->e, "key \"%s\"", j->key->name);
        return true;
    }
    if (sign_input(j->key->type, tbs, room, &input, &j->e) != E_OK)
        return true;
    for (;;) {
        const char *call = "";
        uint64_t generation;
        CK_RV rv;

        if (try_sign(w, j, input, &generation, &rv, &call) != E_OK)
            return true;
        if (rv == CKR_OK)
            break;
        switch (after_failure(w, j, rv, call, generation, &reopened, &login_tried)) {
        case STEP_AGAIN:
            continue;
        case STEP_REQUEUE:
            return false;
        case STEP_DONE:
            return true;
        }
    }
    check_signature(w, j, input);
    return true;
}

static uint64_t mono_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void give_back(struct worker *w, struct job *j)
{
    struct log_line l;

    log_begin(&l, LOG_WARN, "signer-workers-shrunk");
    log_str(&l, "token", w->g->conf->name);
    log_err(&l, &j->e);
    log_end(&l);
    j->e = (struct err){0};
    pthread_mutex_lock(&w->g->lock);
    job_list_push(&w->g->queue, j);
    pthread_cond_signal(&w->g->work);
    pthread_mutex_unlock(&w->g->lock);
}

static bool more_are_waiting(struct engine *g)
{
    bool more;

    pthread_mutex_lock(&g->lock);
    more = g->queue.n > 0;
    pthread_mutex_unlock(&g->lock);
    return more;
}

void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct engine *g = w->g;

    for (;;) {
        struct job *j;
        uint64_t start, us;
        bool done;

        pthread_mutex_lock(&g->lock);
        while (!(j = job_list_take(&g->queue)) && !g->stop_workers)
            pthread_cond_wait(&g->work, &g->lock);
        pthread_mutex_unlock(&g->lock);
        if (!j)
            break;
        start = mono_us();
        atomic_store(&w->overdue_ms, j->deadline_ms + OVERDUE_MS);
        done = j->type == JOB_GENERATE ? run_generate(w, j) : run(w, j);
        atomic_store(&w->overdue_ms, 0);
        if (!done) {
            give_back(w, j);
            break;
        }
        us = mono_us() - start;
        if (j->e.code == E_OK && j->type == JOB_GENERATE) {
            atomic_store(&g->bad_streak, 0);
        } else if (j->e.code == E_OK) {
            atomic_fetch_add(&g->signed_count, 1);
            engine_latency(g, (uint32_t)us);
        } else {
            atomic_fetch_add(&g->failed_count, 1);
            j->sig_len = 0;
            j->alg = SIG_NONE;
        }
        if (us < QUICK_US && more_are_waiting(g))
            engine_post_more(g, j);
        else
            engine_post(g, j);
    }
    close_session(w);
    return NULL;
}
