/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/replica_merge.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/fsio.h"

struct merge {
    sqlite3 *db; /* the thread's; it flushes nothing either */
    int file, log; /* the same files */
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards asked; stop is set under it */
    pthread_cond_t more, idle;
    bool asked;
    _Atomic bool stop, busy;
    _Atomic int failed; /* SQLite's code */
};

#define BUSY_MS      100 /* somebody reads */
#define PIECE        (256 << 10)
#define LOW_PRIORITY 19  /* whoever answers goes before it, also where they share a core */

/*
 * A kernel that does not preempt itself keeps the core for the whole of a call, whoever waits: milliseconds for a file of some megabytes.
 * So these do in many short ones what the one call after them would do in a long one. They decide nothing and cannot fail.
 */
static void write_early(int fd)
{
    struct stat st;

    if (fstat(fd, &st) == 0)
        for (off_t at = 0; at < st.st_size; at += PIECE)
            (void)sync_file_range(fd, at, PIECE, SYNC_FILE_RANGE_WRITE);
}

static void forget_early(int fd)
{
    struct stat st;

    if (fstat(fd, &st) == 0)
        for (off_t at = 0; at < st.st_size; at += PIECE)
            (void)posix_fadvise(fd, at, PIECE, POSIX_FADV_DONTNEED);
}

static int flush(int fd)
{
    write_early(fd);
    return fdatasync(fd) == 0 ? SQLITE_OK : SQLITE_IOERR_FSYNC;
}

/* BUSY: somebody reads what is older than the end of the log. */
static int copy_log(sqlite3 *db)
{
    int pages, copied, rc = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages, &copied);

    if (rc != SQLITE_OK || copied == pages)
        return rc;
    sqlite3_sleep(BUSY_MS);
    return SQLITE_BUSY;
}

/*
 * The log is flushed, copied, the file is flushed, the log is cut to nothing. SQLite begins a copied log anew with the next row, whether the
 * file was flushed or not: nothing is written meanwhile (merge_wait). The cut is to be on the disk as well: else a power cut may leave the old
 * header above frames of both, and some old pages would come back. So a log that was copied is never left uncut: whoever reads it is waited
 * for, and an error ends all writing. With a full disk or no memory nothing counts as copied.
 */
static int merge_once(struct merge *m)
{
    int rc = flush(m->log);

    if (rc != SQLITE_OK)
        return rc;
    do
        rc = copy_log(m->db);
    while (rc == SQLITE_BUSY && !atomic_load(&m->stop));
    if (rc == SQLITE_OK)
        rc = flush(m->file);
    if (rc != SQLITE_OK)
        return rc;
    forget_early(m->log);
    do
        rc = sqlite3_wal_checkpoint_v2(m->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    while (rc == SQLITE_BUSY && !atomic_load(&m->stop));
    return rc == SQLITE_OK ? flush(m->log) : rc;
}

static void merge_log(struct merge *m)
{
    int rc = merge_once(m);

    if (rc != SQLITE_OK && rc != SQLITE_FULL && rc != SQLITE_NOMEM)
        atomic_store(&m->failed, rc);
}

static void *merge_main(void *arg)
{
    struct merge *m = arg;

    setpriority(PRIO_PROCESS, 0, LOW_PRIORITY); /* of this thread */
    pthread_mutex_lock(&m->lock);
    while (!atomic_load(&m->stop)) {
        if (!m->asked) {
            pthread_cond_wait(&m->more, &m->lock);
            continue;
        }
        m->asked = false;
        pthread_mutex_unlock(&m->lock);
        merge_log(m);
        pthread_mutex_lock(&m->lock);
        atomic_store(&m->busy, false);
        pthread_cond_signal(&m->idle);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

/* Started late, so that the process's confinement is the thread's too. Signals are not for it. */
static bool thread_start(struct merge *m)
{
    sigset_t all, before;

    if (m->started)
        return true;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    m->started = pthread_create(&m->thread, NULL, merge_main, m) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (m->started)
        pthread_setname_np(m->thread, "replica-merge");
    return m->started;
}

/*
 * What was done before is on the disk before the first row, which SQLite would see to if it flushed the log: the log that it deletes when it
 * closes a file is to be gone, and the one that a killed process cut is to be cut, or a power cut brings old pages back over a newer file.
 */
static enum err_code settle(struct merge *m, const char *path, struct err *e)
{
    if (flush(m->log) != SQLITE_OK)
        return err_set(e, E_STORE, "replica \"%s\": flush of its log: %s", path, strerror(errno));
    return file_sync_name(path, e);
}

enum err_code merge_new(const char *path, struct merge **out, struct err *e)
{
    struct merge *m = calloc(1, sizeof(*m));

    *out = m;
    if (!m)
        return err_set(e, E_NOMEM, "replica");
    m->file = m->log = -1;
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->more, NULL);
    pthread_cond_init(&m->idle, NULL);
    /* What reads once has the log open: without it there would be nothing to merge. */
    if (sqlite3_open_v2(path, &m->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, REPLICA_VFS) != SQLITE_OK ||
        sqlite3_exec(m->db, "PRAGMA synchronous=OFF; PRAGMA user_version", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_db_config(m->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL) != SQLITE_OK || sqlite3_busy_timeout(m->db, BUSY_MS) != SQLITE_OK) {
        err_set(e, E_STORE, "replica \"%s\": open for merging: %s", path, m->db ? sqlite3_errmsg(m->db) : "no memory");
    } else {
        m->file = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        m->log = open(sqlite3_filename_wal(sqlite3_db_filename(m->db, "main")), O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        if (m->file < 0 || m->log < 0)
            err_set(e, E_STORE, "replica \"%s\": open for flushing: %s", path, strerror(errno));
        else if (settle(m, path, e) == E_OK)
            return E_OK;
    }
    merge_end(m);
    merge_free(m);
    *out = NULL;
    return e->code;
}

void merge_end(struct merge *m)
{
    if (!m)
        return;
    if (m->started) {
        pthread_mutex_lock(&m->lock);
        atomic_store(&m->stop, true);
        pthread_cond_signal(&m->more);
        pthread_mutex_unlock(&m->lock);
        pthread_join(m->thread, NULL);
    }
    sqlite3_close(m->db);
    m->db = NULL;
}

void merge_free(struct merge *m)
{
    if (!m)
        return;
    if (m->file >= 0)
        close(m->file);
    if (m->log >= 0)
        close(m->log);
    pthread_cond_destroy(&m->more);
    pthread_cond_destroy(&m->idle);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

void merge_begin(struct merge *m)
{
    if (merge_is_busy(m))
        return;
    if (!thread_start(m)) {
        merge_log(m);
        return;
    }
    atomic_store(&m->busy, true);
    pthread_mutex_lock(&m->lock);
    m->asked = true;
    pthread_cond_signal(&m->more);
    pthread_mutex_unlock(&m->lock);
}

bool merge_is_busy(const struct merge *m)
{
    return atomic_load(&m->busy);
}

void merge_wait(struct merge *m)
{
    if (!merge_is_busy(m))
        return;
    pthread_mutex_lock(&m->lock);
    while (merge_is_busy(m))
        pthread_cond_wait(&m->idle, &m->lock);
    pthread_mutex_unlock(&m->lock);
}

const char *merge_failure(const struct merge *m)
{
    int rc = atomic_load(&m->failed);

    return rc == SQLITE_OK ? NULL : sqlite3_errstr(rc);
}
