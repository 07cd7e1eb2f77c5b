/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints in small portions, by the writer between its transactions.
 *
 * One call of SQLite copies everything it may from the log into the database and then syncs the database: with ten million
 * certificates, where nearly every row of an index has a page of its own, the writer would stand still for a fifth of a second.
 * But SQLite copies no further than the oldest snapshot that a reader holds, and syncs the database only when the copy
 * is complete: until then everything is in the log still. So a reading connection of ours holds a snapshot, the mark, where a
 * portion is to end, for as long as it takes to commit once more and to copy. From time to time a thread asks the disk to make durable
 * what was copied; it touches no connection, and nothing depends on it. When little is left, a call without a mark
 * copies and syncs the rest: only that lets SQLite begin the log anew.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "ca/store/store_int.h"

/* In pages of the log; of a page that is there several times only the newest is copied. */
#define PORTION_MIN 1000
#define PORTION_MAX 10000
#define COPIED_BEST 1500  /* pages of the database, in 5 to 8 ms: a portion is as large as copies that many */
#define SYNC_EVERY  6000
#define ROUND       10000 /* 41 MB: then the log is to begin anew */
#define REST        400   /* so few are copied and synced at once */
#define SYNCS_MAX   8     /* in a round: a disk that does not keep up makes the writer wait */

#define FRAME_HEADER_LEN 24 /* https://www.sqlite.org/fileformat2.html#walformat */
#define PAGE_LEN         4096
#define INDEX_REGION_LEN (32 * 1024) /* the same document, #the_wal_index_file_format */
#define INDEX_COPIED_AT  96          /* nBackfill, in the machine's own order of octets */

/*
 * The log's file with a memory. Every checkpoint syncs it before it copies, and after a commit nothing in it is left to
 * sync. Every page is written as a header and then itself: the header waits for its page, and one call writes both.
 * `methods` comes first: SQLite's file points to it.
 */
struct log_file {
    sqlite3_io_methods methods;
    const sqlite3_io_methods *real;
    uint8_t frame[FRAME_HEADER_LEN + PAGE_LEN];
    sqlite3_int64 at; /* of the header that waits; -1: none */
    bool clean;     /* nothing was written since a sync that succeeded */
    unsigned reads; /* a checkpoint reads each page it copies */
};

struct checkpoint {
    struct log_file log;
    sqlite3 *mark;
    sqlite3_file *file; /* the database, as the mark has it open; only the thread uses it */

    /* All in pages of the log as it is now. */
    int end;    /* after the last commit */
    int begun;  /* the end when everything was in the database */
    int copied, synced;
    int marked; /* where the snapshot stands; 0: none is held */
    int since;  /* commits since it was taken */
    int portion;
    int next;   /* here the next portion is due */
    bool held_up; /* by another reader's snapshot */
    unsigned syncs;
    int smaller; /* test builds: all sizes are divided by it */

    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards asked, stop */
    pthread_cond_t more;
    bool asked, stop;
    _Atomic bool busy;
    _Atomic int rc; /* of the first sync that failed: the disk says so once, and of the next one that all is well */
};

/* --- the log's file ------------------------------------------------------------------------------------------- */

static struct log_file *log_of(sqlite3_file *f)
{
    return (struct log_file *)(uintptr_t)f->pMethods;
}

/* The header that waits goes alone: something else than its page came. */
static int log_flush(sqlite3_file *f)
{
    struct log_file *log = log_of(f);
    sqlite3_int64 at = log->at;

    log->at = -1;
    return at < 0 ? SQLITE_OK : log->real->xWrite(f, log->frame, FRAME_HEADER_LEN, at);
}

static int log_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    int rc = log_flush(f);

    log_of(f)->reads++;
    return rc == SQLITE_OK ? log_of(f)->real->xRead(f, p, n, at) : rc;
}

static int log_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    struct log_file *log = log_of(f);
    int rc;

    log->clean = false;
    if (log->at >= 0 && n == PAGE_LEN && at == log->at + FRAME_HEADER_LEN) {
        memcpy(log->frame + FRAME_HEADER_LEN, p, PAGE_LEN);
        at = log->at;
        log->at = -1;
        return log->real->xWrite(f, log->frame, sizeof(log->frame), at);
    }
    rc = log_flush(f);
    if (rc != SQLITE_OK || n != FRAME_HEADER_LEN)
        return rc == SQLITE_OK ? log->real->xWrite(f, p, n, at) : rc;
    memcpy(log->frame, p, FRAME_HEADER_LEN);
    log->at = at;
    return SQLITE_OK;
}

static int log_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    int rc = log_flush(f);

    log_of(f)->clean = false;
    return rc == SQLITE_OK ? log_of(f)->real->xTruncate(f, size) : rc;
}

static int log_sync(sqlite3_file *f, int flags)
{
    struct log_file *log = log_of(f);
    int rc = log_flush(f);

    if (rc != SQLITE_OK || log->clean)
        return rc;
    rc = log->real->xSync(f, flags);
    log->clean = rc == SQLITE_OK;
    return rc;
}

static int log_size(sqlite3_file *f, sqlite3_int64 *size)
{
    int rc = log_flush(f);

    return rc == SQLITE_OK ? log_of(f)->real->xFileSize(f, size) : rc;
}

static int log_watch(struct log_file *log, sqlite3 *db)
{
    sqlite3_file *f = NULL;
    int rc = sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &f);

    if (rc != SQLITE_OK || !f || !f->pMethods)
        return rc == SQLITE_OK ? SQLITE_INTERNAL : rc;
    log->real = f->pMethods;
    log->methods = *f->pMethods;
    log->methods.xRead = log_read;
    log->methods.xWrite = log_write;
    log->methods.xTruncate = log_truncate;
    log->methods.xSync = log_sync;
    log->methods.xFileSize = log_size;
    log->at = -1;
    f->pMethods = &log->methods;
    return SQLITE_OK;
}

/* --- the thread ----------------------------------------------------------------------------------------------- */

static void *sync_main(void *arg)
{
    struct checkpoint *ck = arg;
    int rc;

    pthread_mutex_lock(&ck->lock);
    while (!ck->stop) {
        if (!ck->asked) {
            pthread_cond_wait(&ck->more, &ck->lock);
            continue;
        }
        ck->asked = false;
        pthread_mutex_unlock(&ck->lock);
        rc = ck->file->pMethods->xSync(ck->file, SQLITE_SYNC_NORMAL);
        if (rc != SQLITE_OK)
            atomic_store(&ck->rc, rc);
        atomic_store(&ck->busy, false);
        pthread_mutex_lock(&ck->lock);
    }
    pthread_mutex_unlock(&ck->lock);
    return NULL;
}

/* Started late, so that the process's confinement is the thread's too. Signals are not for it. */
static bool thread_start(struct checkpoint *ck)
{
    sigset_t all, before;

    if (ck->started)
        return true;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    ck->started = pthread_create(&ck->thread, NULL, sync_main, ck) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (ck->started)
        pthread_setname_np(ck->thread, "ledger-sync");
    return ck->started;
}

static void ask_sync(struct checkpoint *ck)
{
    ck->syncs++;
    if (!thread_start(ck)) /* the complete copy syncs everything all the same */
        return;
    ck->synced = ck->copied;
    atomic_store(&ck->busy, true);
    pthread_mutex_lock(&ck->lock);
    ck->asked = true;
    pthread_cond_signal(&ck->more);
    pthread_mutex_unlock(&ck->lock);
}

/* --- open and close ------------------------------------------------------------------------------------------- */

/*
 * The index of the log says how many of its frames are in the database. A process that left in doubt counted some whose sync
 * failed, and as long as any reader has the index open it is not made anew. No other process checkpoints, and whoever else writes this
 * number writes 0, so no lock is needed; a reader takes it for a lower bound.
 */
int checkpoint_believe_nothing(struct store *s)
{
    sqlite3_file *f = NULL;
    void volatile *index = NULL;
    int rc = sqlite3_file_control(s->db, "main", SQLITE_FCNTL_FILE_POINTER, &f);

    if (rc != SQLITE_OK || store_wal_size(s) == 0)
        return rc;
    rc = f->pMethods->xShmMap(f, 0, INDEX_REGION_LEN, 0, &index);
    if (rc == SQLITE_OK && index) /* else nobody has it open: it will be made from the log */
        atomic_store((_Atomic uint32_t *)((uintptr_t)index + INDEX_COPIED_AT), 0);
    f->pMethods->xShmUnmap(f, 0);
    return rc == SQLITE_BUSY ? SQLITE_OK : rc; /* somebody opens it for the first time, and empties it */
}

static int on_commit(void *arg, sqlite3 *db, const char *name, int pages)
{
    struct checkpoint *ck = arg;

    (void)db;
    (void)name;
    if (pages < ck->end) { /* the log began anew */
        ck->begun = ck->copied = ck->synced = 0;
        ck->next = ck->portion;
    }
    ck->end = pages;
    ck->since++;
    return SQLITE_OK;
}

#ifdef INKAN_TEST_HOOKS
/* The tests of crashes and power cuts are to meet checkpoints without writing so much. */
static int smaller(void)
{
    const char *v = getenv("INKAN_TEST_CHECKPOINT");

    return v && atoi(v) > 0 ? atoi(v) : 1;
}
#else
static int smaller(void)
{
    return 1;
}
#endif

enum err_code checkpoint_open(struct store *s, struct err *e)
{
    struct checkpoint *ck = calloc(1, sizeof(*ck));
    int rc;

    if (!ck)
        return err_set(e, E_NOMEM, "out of memory");
    s->checkpoint = ck;
    ck->smaller = smaller();
    ck->next = ck->portion = PORTION_MIN / ck->smaller;
    pthread_mutex_init(&ck->lock, NULL);
    pthread_cond_init(&ck->more, NULL);
    rc = sqlite3_open_v2(s->path, &ck->mark, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(ck->mark, "PRAGMA query_only = 1; PRAGMA wal_autocheckpoint = 0; PRAGMA trusted_schema = 0", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(ck->mark, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_file_control(ck->mark, "main", SQLITE_FCNTL_FILE_POINTER, &ck->file);
    if (rc == SQLITE_OK)
        rc = log_watch(&ck->log, s->db);
    if (rc != SQLITE_OK)
        return store_fail(s, rc, "checkpoints", e);
    sqlite3_wal_hook(s->db, on_commit, ck);
    return E_OK;
}

static void unmark(struct checkpoint *ck)
{
    if (ck->marked)
        sqlite3_exec(ck->mark, "ROLLBACK", NULL, NULL, NULL);
    ck->marked = 0;
}

void checkpoint_stop(struct store *s)
{
    struct checkpoint *ck = s->checkpoint;

    if (!ck)
        return;
    if (ck->started) {
        pthread_mutex_lock(&ck->lock);
        ck->stop = true;
        pthread_cond_signal(&ck->more);
        pthread_mutex_unlock(&ck->lock);
        pthread_join(ck->thread, NULL);
        ck->started = false;
        s->doubtful |= atomic_load(&ck->rc) != SQLITE_OK; /* the log stays for the next open */
    }
    unmark(ck);
    sqlite3_close(ck->mark);
    ck->mark = NULL;
}

void checkpoint_free(struct store *s)
{
    checkpoint_stop(s);
    if (!s->checkpoint)
        return;
    pthread_cond_destroy(&s->checkpoint->more);
    pthread_mutex_destroy(&s->checkpoint->lock);
    free(s->checkpoint);
    s->checkpoint = NULL;
}

/* --- portions ------------------------------------------------------------------------------------------------- */

static void mark(struct checkpoint *ck)
{
    ck->next = ck->end + ck->portion;
    ck->since = 0;
    if (sqlite3_exec(ck->mark, "BEGIN; PRAGMA user_version", NULL, NULL, NULL) == SQLITE_OK)
        ck->marked = ck->end;
    else if (!sqlite3_get_autocommit(ck->mark))
        sqlite3_exec(ck->mark, "ROLLBACK", NULL, NULL, NULL);
}

/* From what a portion took to copy. */
static int portion_after(const struct checkpoint *ck, unsigned pages)
{
    int64_t best = (int64_t)ck->portion * (COPIED_BEST / ck->smaller) / (pages ? pages : 1);

    if (best < PORTION_MIN / ck->smaller)
        return PORTION_MIN / ck->smaller;
    return best > PORTION_MAX / ck->smaller ? PORTION_MAX / ck->smaller : (int)best;
}

static enum err_code copy(struct store *s, struct err *e)
{
    struct checkpoint *ck = s->checkpoint;
    unsigned before = ck->log.reads;
    int from = ck->copied, until = ck->marked ? ck->marked : ck->end, copied = 0;
    int rc = sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, &copied);

    unmark(ck);
    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY)
        return store_fail(s, rc, "checkpoint", e);
    ck->held_up = copied < until;
    ck->copied = copied > 0 ? copied : 0;
    if (!ck->held_up && until - from >= ck->portion)
        ck->portion = portion_after(ck, ck->log.reads - before);
    ck->next = ck->end + ck->portion;
    if (ck->copied == ck->end) {
        ck->begun = ck->synced = ck->end;
        ck->syncs = 0;
    }
    return E_OK;
}

/* A rest of two commits becomes no smaller by another portion: one is made before that is copied, one before the rest is. */
static bool rest_is_small(const struct checkpoint *ck)
{
    int rest = ck->end - ck->copied;

    return rest <= REST / ck->smaller || (ck->since <= 2 && rest <= PORTION_MIN / ck->smaller);
}

/* Not after a failed sync: what was copied may be lost, and the log alone has it. */
static enum err_code may_checkpoint(struct store *s, bool *idle, struct err *e)
{
    int rc;

    *idle = false;
    if (s->mode != STORE_WRITE || s->in_tx)
        return err_set(e, E_INTERNAL, "ledger %s: checkpoint %s", s->path, s->in_tx ? "inside a transaction" : "from a reader");
    *idle = !atomic_load(&s->checkpoint->busy); /* before its result is looked at */
    rc = atomic_load(&s->checkpoint->rc);
    return rc == SQLITE_OK ? E_OK : store_fail(s, rc, "sync", e);
}

enum err_code store_checkpoint_step(struct store *s, struct err *e)
{
    struct checkpoint *ck = s->checkpoint;
    bool due, idle;

    if (may_checkpoint(s, &idle, e) != E_OK)
        return e->code;
    due = ck->end - ck->begun >= ROUND / ck->smaller;
    if (ck->marked) {
        if (ck->end == ck->marked)
            return E_OK;
        if (copy(s, e) != E_OK)
            return e->code;
        if (idle && ck->copied > ck->synced && (due || ck->copied - ck->synced >= SYNC_EVERY / ck->smaller))
            ask_sync(ck);
        return E_OK;
    }
    if (due && idle && !ck->held_up && (rest_is_small(ck) || ck->syncs >= SYNCS_MAX))
        return copy(s, e);
    if (ck->end >= ck->next || (due && idle && !ck->held_up))
        mark(ck);
    return E_OK;
}

enum err_code store_checkpoint(struct store *s, uint64_t wal_max, struct err *e)
{
    bool idle;
    int rc;

    if (may_checkpoint(s, &idle, e) != E_OK)
        return e->code;
    if (store_wal_size(s) <= wal_max)
        return E_OK;
    unmark(s->checkpoint);
    sqlite3_busy_timeout(s->db, 0); /* the event loop does not wait for a reader */
    rc = sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    sqlite3_busy_timeout(s->db, STORE_BUSY_MS);
    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY)
        return store_fail(s, rc, "checkpoint", e);
    return E_OK;
}
