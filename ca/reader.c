/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/reader.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define IDLE_S 5 /* then the connection is closed */

STAILQ_HEAD(job_list, reader_job);

struct reader {
    struct event *wake; /* on wake_fd, an eventfd */
    int wake_fd;
    char name[16], *path;
    pthread_t thread;
    bool started;

    /* The lock guards what follows down to `running`. `ledger` belongs to the thread; others may only interrupt it, under
     * the lock. */
    pthread_mutex_t lock;
    pthread_cond_t more; /* on the monotonic clock */
    struct job_list queued, finished;
    size_t n; /* queued, running and finished */
    struct store *ledger;
    struct reader_job *running;
    char why[160]; /* of the interruption of `running` */

    _Atomic bool stop;       /* the reader is being freed */
    _Atomic bool end_job;    /* the running job is to end */
};

bool reader_job_must_end(const struct reader_job *job)
{
    return atomic_load(&job->reader->end_job);
}

/* ---- in the thread ---- */

static void ledger_close(struct reader *r)
{
    struct store *s;

    pthread_mutex_lock(&r->lock);
    s = r->ledger;
    r->ledger = NULL;
    pthread_mutex_unlock(&r->lock);
    store_close(s);
}

static enum err_code ledger_open(struct reader *r, struct err *e)
{
    struct store *s = NULL;
    enum err_code code;

    if (r->ledger)
        return E_OK;
    code = store_open(r->path, STORE_READ, &s, e);
    pthread_mutex_lock(&r->lock);
    r->ledger = s;
    pthread_mutex_unlock(&r->lock);
    return code;
}

static void run_job(struct reader *r, struct reader_job *job)
{
    job->code = ledger_open(r, &job->e);
    if (job->code == E_OK && !reader_job_must_end(job))
        job->code = job->run(job, r->ledger, &job->e);
    else if (job->code == E_OK)
        job->code = E_BUSY;
    if (r->ledger && store_in_transaction(r->ledger))
        store_rollback(r->ledger);
    if (atomic_load(&r->end_job) && job->code != E_OK) {
        pthread_mutex_lock(&r->lock);
        job->code = err_set(&job->e, E_BUSY, "%s", r->why);
        pthread_mutex_unlock(&r->lock);
    }
    pthread_mutex_lock(&r->lock);
    r->running = NULL; /* nobody interrupts from here on */
    pthread_mutex_unlock(&r->lock);
    if (job->code != E_OK || atomic_load(&r->end_job)) /* failed or interrupted: not trusted again */
        ledger_close(r);
}

/* Waits for work; with an open connection at most IDLE_S. false: there was none. */
static bool wait_for_work(struct reader *r)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_S;
    while (STAILQ_EMPTY(&r->queued) && !atomic_load(&r->stop)) {
        if (!r->ledger)
            pthread_cond_wait(&r->more, &r->lock);
        else if (pthread_cond_timedwait(&r->more, &r->lock, &until) == ETIMEDOUT)
            return !STAILQ_EMPTY(&r->queued);
    }
    return true;
}

static void finish_job(struct reader *r, struct reader_job *job)
{
    const uint64_t one = 1;

    pthread_mutex_lock(&r->lock);
    STAILQ_INSERT_TAIL(&r->finished, job, link);
    pthread_mutex_unlock(&r->lock);
    while (write(r->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

static void *reader_main(void *arg)
{
    struct reader *r = arg;
    struct reader_job *job;

    while (!atomic_load(&r->stop)) {
        bool work;

        pthread_mutex_lock(&r->lock);
        work = wait_for_work(r);
        job = STAILQ_FIRST(&r->queued);
        if (atomic_load(&r->stop))
            job = NULL;
        if (job) {
            STAILQ_REMOVE_HEAD(&r->queued, link);
            r->running = job;
            atomic_store(&r->end_job, false);
        }
        pthread_mutex_unlock(&r->lock);
        if (job) {
            run_job(r, job);
            finish_job(r, job);
        } else if (!work) {
            ledger_close(r);
        }
    }
    ledger_close(r);
    return NULL;
}

/* ---- in the loop ---- */

static void answer(struct reader *r, struct reader_job *job)
{
    r->n--;
    job->done(job, job->code, &job->e);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct reader *r = arg;
    struct job_list finished = STAILQ_HEAD_INITIALIZER(finished);
    struct reader_job *job;
    uint64_t count;

    (void)what;
    while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&r->lock);
    STAILQ_CONCAT(&finished, &r->finished);
    pthread_mutex_unlock(&r->lock);
    while ((job = STAILQ_FIRST(&finished))) {
        STAILQ_REMOVE_HEAD(&finished, link);
        answer(r, job);
    }
}

/* Signals are the loop's. */
static int start_thread(struct reader *r)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&r->thread, NULL, reader_main, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        pthread_setname_np(r->thread, r->name);
    return rc;
}

struct reader *reader_new(struct event_base *base, const char *name, const char *ledger, struct err *e)
{
    struct reader *r = calloc(1, sizeof(*r));
    pthread_condattr_t clock;

    if (!r) {
        err_set(e, E_NOMEM, "reader");
        return NULL;
    }
    STAILQ_INIT(&r->queued);
    STAILQ_INIT(&r->finished);
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&r->more, &clock);
    pthread_condattr_destroy(&clock);
    snprintf(r->name, sizeof(r->name), "%s", name);
    r->path = strdup(ledger);
    r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->wake_fd >= 0)
        r->wake = event_new(base, r->wake_fd, EV_READ | EV_PERSIST, on_wake, r);
    if (r->path && r->wake && event_add(r->wake, NULL) == 0 && start_thread(r) == 0) {
        r->started = true;
        return r;
    }
    err_set(e, E_NOMEM, "reader \"%s\": no thread", name);
    reader_free(r);
    return NULL;
}

enum err_code reader_submit(struct reader *r, struct reader_job *job, struct err *e)
{
    if (r->n >= READER_QUEUE_MAX)
        return err_set(e, E_BUSY, "reader \"%s\": %d jobs wait already", r->name, READER_QUEUE_MAX);
    r->n++;
    job->reader = r;
    job->code = E_OK;
    job->e = (struct err){.code = E_OK};
    pthread_mutex_lock(&r->lock);
    STAILQ_INSERT_TAIL(&r->queued, job, link);
    pthread_cond_signal(&r->more);
    pthread_mutex_unlock(&r->lock);
    return E_OK;
}

void reader_interrupt(struct reader *r, const char *why)
{
    pthread_mutex_lock(&r->lock);
    if (r->running) {
        snprintf(r->why, sizeof(r->why), "%s", why);
        atomic_store(&r->end_job, true);
        if (r->ledger)
            store_interrupt(r->ledger);
    }
    pthread_mutex_unlock(&r->lock);
}

/* What had no chance, or came too late to be of use. */
static void refuse_all(struct reader *r, struct job_list *list)
{
    struct reader_job *job;

    while ((job = STAILQ_FIRST(list))) {
        STAILQ_REMOVE_HEAD(list, link);
        job->code = err_set(&job->e, E_BUSY, "the process stops");
        answer(r, job);
    }
}

void reader_free(struct reader *r)
{
    if (!r)
        return;
    if (r->started) {
        reader_interrupt(r, "the process stops");
        pthread_mutex_lock(&r->lock);
        atomic_store(&r->stop, true);
        pthread_cond_signal(&r->more);
        pthread_mutex_unlock(&r->lock);
        pthread_join(r->thread, NULL);
        refuse_all(r, &r->finished);
        refuse_all(r, &r->queued);
    }
    if (r->wake)
        event_free(r->wake);
    if (r->wake_fd >= 0)
        close(r->wake_fd);
    pthread_cond_destroy(&r->more);
    pthread_mutex_destroy(&r->lock);
    free(r->path);
    free(r);
}
