/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, checking and closing a ledger; its lock, its settings, its migrations. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "ca/store/store_int.h"

#define READER_RETRIES      50
#define READER_RETRY_NS     20000000L
#define PROGRESS_OPS        1000 /* of the virtual machine: some 50 us */
#define VALUE_MAX_LEN       (256 * 1024 * 1024) /* one value; a CRL of millions of entries fits */
#define LEDGER_FILE_MODE    0600
#define BACKUP_PAGES        4096 /* copied between two looks whether to go on */

const char *store_path(const struct store *s)
{
    return s->path;
}

bool store_is_doubtful(const struct store *s)
{
    return s->doubtful;
}

const char *store_engine(void)
{
    static const char name[] = "SQLite " SQLITE_VERSION;

    return strcmp(sqlite3_libversion(), SQLITE_VERSION) == 0 ? name : sqlite3_libversion();
}

static bool path_with(char *out, size_t size, const char *path, const char *suffix)
{
    return (size_t)snprintf(out, size, "%s%s", path, suffix) < size;
}

enum err_code store_sync_path(const char *path, struct err *e)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) != 0)
        return err_errno(e, E_IO, "fsync of %s", path);
    return E_OK;
}

enum err_code store_sync_dir_of(const char *path, struct err *e)
{
    AUTO(char) *copy = strdup(path);

    if (!copy)
        return err_set(e, E_NOMEM, "out of memory");
    return store_sync_path(dirname(copy), e);
}

enum err_code store_lock(const char *path, int *fd, struct err *e)
{
    char lock[4096];
    AUTO_FD int f = -1;

    *fd = -1;
    if (!path_with(lock, sizeof(lock), path, ".lock"))
        return err_set(e, E_INVALID, "ledger path is longer than %zu octets", sizeof(lock));
    f = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, LEDGER_FILE_MODE);
    if (f < 0)
        return err_errno(e, E_IO, "lock file %s", lock);
    if (flock(f, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return err_set(e, E_BUSY, "ledger %s: another process holds %s; only one may write", path, lock);
        return err_errno(e, E_IO, "lock file %s", lock);
    }
    *fd = take_fd(&f);
    return E_OK;
}

/* --- settings ------------------------------------------------------------------------------------------------ */

#ifdef INKAN_TEST_HOOKS
/* A durability test that passes with this set to OFF tests nothing. */
static const char *synchronous_wanted(void)
{
    const char *v = getenv("INKAN_TEST_SYNCHRONOUS");

    return v && strcmp(v, "OFF") == 0 ? "0" : "2";
}
#else
static const char *synchronous_wanted(void)
{
    return "2";
}
#endif

/* Sets a PRAGMA, reads it back, refuses when it did not take. `value` is as SQLite reports it. */
static enum err_code pragma_hold(struct store *s, const char *name, const char *value, struct err *e)
{
    char sql[128];
    sqlite3_stmt *st = NULL;
    const char *got;
    enum err_code code = E_OK;
    int rc;

    snprintf(sql, sizeof(sql), "PRAGMA %s = %s", name, value);
    rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
    if (rc == SQLITE_OK) {
        snprintf(sql, sizeof(sql), "PRAGMA %s", name);
        rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);
    }
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    if (rc != SQLITE_ROW) {
        code = store_fail(s, rc, sql, e);
    } else {
        got = (const char *)sqlite3_column_text(st, 0);
        if (!got || strcmp(got, value) != 0)
            code = err_set(e, E_STORE, "ledger %s: PRAGMA %s is %s, wanted %s", s->path, name, got ? got : "absent", value);
    }
    sqlite3_finalize(st);
    return code;
}

static enum err_code pragma_i64(struct store *s, const char *sql, int64_t *out, struct err *e)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        *out = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return rc == SQLITE_ROW ? E_OK : store_fail(s, rc, sql, e);
}

struct setting {
    const char *name, *value;
};

static enum err_code settings_hold(struct store *s, const struct setting *list, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++)
        if (pragma_hold(s, list[i].name, list[i].value, e) != E_OK)
            return e->code;
    return E_OK;
}

/* Only this connection may checkpoint: with a second one SQLite below 3.51.3 can lose acknowledged commits. */
static enum err_code settings_writer(struct store *s, struct err *e)
{
    static const struct setting fixed[] = {
        {"journal_mode", "wal"},          {"foreign_keys", "1"},     {"wal_autocheckpoint", "0"},
        {"cache_size", "-16384"}, /* every few commits SQLite walks through all of it: docs/ledger.md */
        {"cell_size_check", "1"},         {"trusted_schema", "0"},
        {"temp_store", "2"}, /* savepoints keep old pages: in memory, never in a file outside our directories */
    };
    enum err_code code = settings_hold(s, fixed, ARRAY_LEN(fixed), e);

    return code == E_OK ? pragma_hold(s, "synchronous", synchronous_wanted(), e) : code;
}

/* Readers count and list for long, beside a writer and fronts that are in a hurry. */
static int on_progress(void *arg)
{
    struct store *s = arg;

    clock_give_way(&s->gave_way_us);
    return 0; /* go on */
}

static enum err_code settings_reader(struct store *s, struct err *e)
{
    static const struct setting fixed[] = {
        {"query_only", "1"}, {"wal_autocheckpoint", "0"}, {"cell_size_check", "1"}, {"trusted_schema", "0"},
        {"temp_store", "2"},
    };

    sqlite3_progress_handler(s->db, PROGRESS_OPS, on_progress, s);
    return settings_hold(s, fixed, ARRAY_LEN(fixed), e);
}

static enum err_code settings_common(struct store *s, struct err *e)
{
    int on = 1, rc;

    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, STORE_BUSY_MS);
    sqlite3_limit(s->db, SQLITE_LIMIT_LENGTH, VALUE_MAX_LEN);
    sqlite3_limit(s->db, SQLITE_LIMIT_ATTACHED, 0);
    rc = sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_file_control(s->db, "main", SQLITE_FCNTL_PERSIST_WAL, &on);
    return rc == SQLITE_OK ? select_register(s, e) : store_fail(s, rc, "connection settings", e);
}

/* --- schema -------------------------------------------------------------------------------------------------- */

static int schema_known(void)
{
    return migrations[migrations_n - 1].number;
}

/* `version` 0: empty, to be made. */
static enum err_code schema_check(struct store *s, int64_t *version, struct err *e)
{
    int64_t application = 0, objects = 0;

    if (pragma_i64(s, "PRAGMA application_id", &application, e) != E_OK ||
        pragma_i64(s, "PRAGMA user_version", version, e) != E_OK ||
        pragma_i64(s, "SELECT count(*) FROM sqlite_schema", &objects, e) != E_OK)
        return e->code;
    if (application != STORE_APPLICATION_ID && (objects > 0 || *version != 0))
        return err_set(e, E_CONFLICT, "%s is a database, but not an Inkan ledger", s->path);
    if (*version > schema_known())
        return err_set(e, E_CONFLICT, "ledger %s has schema %lld, this program knows up to %d", s->path,
                       (long long)*version, schema_known());
    return E_OK;
}

static enum err_code migrate_one(struct store *s, const struct migration *m, struct err *e)
{
    char mark[96];
    enum err_code code;

    snprintf(mark, sizeof(mark), "PRAGMA user_version = %d; PRAGMA application_id = %d; COMMIT", m->number,
             STORE_APPLICATION_ID);
    code = store_exec(s, "BEGIN IMMEDIATE", e);
    if (code == E_OK)
        code = store_exec(s, m->sql, e);
    if (code == E_OK)
        code = store_exec(s, mark, e);
    if (code != E_OK) {
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
        return err_wrap(e, "migration %s", m->name);
    }
    return E_OK;
}

static enum err_code migrate(struct store *s, int64_t version, struct err *e)
{
    for (size_t i = 0; i < migrations_n; i++)
        if (migrations[i].number > version && migrate_one(s, &migrations[i], e) != E_OK)
            return e->code;
    return E_OK;
}

static enum err_code make_ledger_id(struct store *s, struct err *e)
{
    AUTO_BUF id = BUF_INIT(64);
    uint8_t raw[16];
    char hex[sizeof(raw) * 2 + 1];
    enum err_code code = store_meta_get(s, "ledger_id", &id, e);

    if (code != E_NOT_FOUND)
        return code;
    if (random_bytes(raw, sizeof(raw), e) != E_OK)
        return e->code;
    hex_encode(raw, sizeof(raw), hex);
    return store_meta_set(s, "ledger_id", bytes_str(hex), e);
}

/*
 * What an earlier process left in doubt is decided here: the whole -wal was read; copying all of it into the database and
 * emptying it makes the outcome independent of pages that a failed fsync may have lost; the commit after it proves that
 * the disk takes writes.
 */
static enum err_code settle(struct store *s, struct err *e)
{
    int64_t opened = 0;
    int rc = sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);

    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY)
        return store_fail(s, rc, "checkpoint", e);
    if (store_begin(s, e) != E_OK)
        return e->code;
    if (make_ledger_id(s, e) != E_OK || store_meta_get_i64(s, "opened", &opened, e) != E_OK ||
        store_meta_set_i64(s, "opened", opened + 1, e) != E_OK) {
        store_rollback(s);
        return e->code;
    }
    return store_commit(s, e);
}

/* --- open and close ------------------------------------------------------------------------------------------ */

static enum err_code refuse_leftovers(const char *path, struct err *e)
{
    char mark[4096], wal[4096];
    struct stat st;

    if (!path_with(mark, sizeof(mark), path, RESTORE_MARK) || !path_with(wal, sizeof(wal), path, "-wal"))
        return err_set(e, E_INVALID, "ledger path is longer than %zu octets", sizeof(mark));
    if (access(mark, F_OK) == 0)
        return err_set(e, E_CONFLICT, "ledger %s: a restore was interrupted (%s is there); run it again", path, mark);
    if (access(path, F_OK) != 0 && stat(wal, &st) == 0 && st.st_size > 0)
        return err_set(e, E_CONFLICT, "ledger %s is missing but its log %s is not; bring it back or move the log away",
                       path, wal);
    return E_OK;
}

/* Made by us, so that its mode does not depend on the umask; -wal and -shm take it over. */
static enum err_code make_file(const char *path, struct err *e)
{
    AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, LEDGER_FILE_MODE);

    if (fd < 0)
        return errno == EEXIST ? E_OK : err_errno(e, E_IO, "ledger %s", path);
    return store_sync_dir_of(path, e);
}

/* SQLite's statistics take a lock for every allocation, and nobody reads them. */
static void without_statistics(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); /* refused once SQLite is in use: then they stay */
}

static enum err_code open_writer(struct store *s, struct err *e)
{
    int64_t version = 0;
    int rc;

    if (store_lock(s->path, &s->lock_fd, e) != E_OK || refuse_leftovers(s->path, e) != E_OK ||
        make_file(s->path, e) != E_OK)
        return e->code;
    rc = sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, NULL);
    if (rc == SQLITE_OK)
        rc = checkpoint_believe_nothing(s);
    if (rc != SQLITE_OK)
        return store_fail(s, rc, "open", e);
    if (settings_common(s, e) != E_OK || schema_check(s, &version, e) != E_OK || settings_writer(s, e) != E_OK ||
        migrate(s, version, e) != E_OK || settle(s, e) != E_OK || checkpoint_open(s, e) != E_OK)
        return e->code;
    return E_OK;
}

/* While the writer recovers, a read-only connection sees 261 or 264 for a moment. */
static int open_reader_db(struct store *s)
{
    const struct timespec pause = {0, READER_RETRY_NS};
    int rc = SQLITE_OK;

    for (int i = 0; i < READER_RETRIES; i++) {
        rc = sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
        if (rc == SQLITE_OK) {
            sqlite3_extended_result_codes(s->db, 1);
            rc = sqlite3_exec(s->db, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
        }
        if (rc != SQLITE_BUSY && rc != SQLITE_BUSY_RECOVERY && rc != SQLITE_READONLY_RECOVERY)
            return rc;
        sqlite3_close(s->db);
        s->db = NULL;
        nanosleep(&pause, NULL);
    }
    return rc;
}

static enum err_code open_reader(struct store *s, struct err *e)
{
    int64_t version = 0;
    int rc = open_reader_db(s);

    if (rc != SQLITE_OK)
        return store_fail(s, rc, "open", e);
    if (settings_common(s, e) != E_OK || settings_reader(s, e) != E_OK || schema_check(s, &version, e) != E_OK)
        return e->code;
    if (version != schema_known())
        return err_set(e, E_CONFLICT, "ledger %s has schema %lld, this program reads %d; start its service once to migrate it",
                       s->path, (long long)version, schema_known());
    return E_OK;
}

enum err_code store_open(const char *path, enum store_mode mode, struct store **out, struct err *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct store *s = calloc(1, sizeof(*s));
    enum err_code code;

    *out = NULL;
    if (!s)
        return err_set(e, E_NOMEM, "out of memory");
    pthread_once(&once, without_statistics);
    s->changes = 1;
    s->lock_fd = -1;
    s->mode = mode;
    s->path = strdup(path);
    if (!s->path)
        code = err_set(e, E_NOMEM, "out of memory");
    else
        code = mode == STORE_WRITE ? open_writer(s, e) : open_reader(s, e);
    if (code == E_OK) {
        *out = s;
        return E_OK;
    }
    s->doubtful = true; /* nothing is written on this close */
    store_close(s);
    return code;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    if (s->cursor_open)
        store_revoked_end(s);
    if (s->in_tx)
        store_rollback(s);
    for (size_t i = 0; i < STMTS_COUNT; i++) {
        sqlite3_finalize(s->stmts[i]);
        buf_clear(&s->hold[i]);
    }
    checkpoint_stop(s);
    /* A cleanly closed ledger is whole in its one file. */
    if (s->db && s->mode == STORE_WRITE && !s->doubtful) {
        sqlite3_busy_timeout(s->db, 0);
        sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    }
    sqlite3_close(s->db);
    checkpoint_free(s);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    free(s->path);
    free(s);
}

void store_interrupt(struct store *s)
{
    if (s->mode != STORE_READ)
        return;
    atomic_store(&s->interrupted, true);
    sqlite3_interrupt(s->db);
}

/* --- transactions -------------------------------------------------------------------------------------------- */

static void forget_counters(struct store *s)
{
    s->seq_known = s->audit_known = false;
    s->changes++; /* what was seen inside is not true any more */
}

enum err_code store_begin(struct store *s, struct err *e)
{
    int rc;

    if (s->doubtful)
        return err_set(e, E_STORE, "ledger %s: begin: refused, an earlier transaction is in doubt", s->path);
    if (s->in_tx)
        return err_set(e, E_INTERNAL, "ledger %s: begin inside a transaction", s->path);
    rc = q_control(s, s->mode == STORE_WRITE ? Q_BEGIN_WRITE : Q_BEGIN_READ);
    if (rc != SQLITE_OK)
        return store_fail(s, rc, "begin", e);
    s->in_tx = true;
    s->in_savepoint = false;
    return E_OK;
}

enum err_code store_commit(struct store *s, struct err *e)
{
    int rc;

    if (!s->in_tx || s->in_savepoint)
        return err_set(e, E_INTERNAL, "ledger %s: commit %s", s->path,
                       s->in_tx ? "inside a savepoint" : "outside a transaction");
    if (s->doubtful)
        return err_set(e, E_STORE, "ledger %s: commit: refused, the transaction is in doubt", s->path);
    rc = q_control(s, Q_COMMIT);
    if (rc != SQLITE_OK) {
        /* An error of COMMIT is not "not committed": the row may be there after the next open. */
        s->doubtful = s->mode == STORE_WRITE;
        forget_counters(s);
        store_fail(s, rc, "commit", e);
        return e->code = E_STORE;
    }
    s->in_tx = false;
    return E_OK;
}

void store_rollback(struct store *s)
{
    forget_counters(s);
    if (s->in_tx && !s->doubtful && q_control(s, Q_ROLLBACK) != SQLITE_OK && s->mode == STORE_WRITE)
        s->doubtful = true;
    s->in_tx = s->in_savepoint = false;
}

bool store_in_transaction(const struct store *s)
{
    return s->in_tx;
}

enum err_code store_savepoint(struct store *s, struct err *e)
{
    int rc;

    if (!s->in_tx || s->in_savepoint || s->mode != STORE_WRITE)
        return err_set(e, E_INTERNAL, "ledger %s: savepoint %s", s->path,
                       s->in_savepoint ? "inside a savepoint" : "outside a write transaction");
    if (s->doubtful)
        return err_set(e, E_STORE, "ledger %s: savepoint: refused, the transaction is in doubt", s->path);
    rc = q_control(s, Q_SAVEPOINT);
    if (rc != SQLITE_OK)
        return store_fail(s, rc, "savepoint", e);
    s->in_savepoint = true;
    return E_OK;
}

enum err_code store_savepoint_keep(struct store *s, struct err *e)
{
    int rc;

    if (!s->in_savepoint)
        return err_set(e, E_INTERNAL, "ledger %s: no savepoint to keep", s->path);
    if (s->doubtful)
        return err_set(e, E_STORE, "ledger %s: savepoint: refused, the transaction is in doubt", s->path);
    rc = q_control(s, Q_SAVEPOINT_KEEP);
    if (rc != SQLITE_OK)
        return store_fail(s, rc, "release of a savepoint", e);
    s->in_savepoint = false;
    return E_OK;
}

void store_savepoint_undo(struct store *s)
{
    forget_counters(s);
    if (s->in_savepoint && !s->doubtful &&
        (q_control(s, Q_SAVEPOINT_UNDO) != SQLITE_OK || q_control(s, Q_SAVEPOINT_KEEP) != SQLITE_OK))
        s->doubtful = true;
    s->in_savepoint = false;
}

uint64_t store_wal_size(const struct store *s)
{
    char wal[4096];
    struct stat st;

    return path_with(wal, sizeof(wal), s->path, "-wal") && stat(wal, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* --- check and backup ---------------------------------------------------------------------------------------- */

/* A row whose first column is not NULL and not "ok" names what is wrong. */
static enum err_code check_one(struct store *s, enum stmt_id id, const char *what, struct err *e)
{
    struct query q = q_begin(s, id);
    char found[256] = "";

    while (!found[0] && q_next(&q, e)) {
        const char *text = (const char *)sqlite3_column_text(q.st, 0);

        if (text && strcmp(text, "ok") != 0)
            snprintf(found, sizeof(found), "%s", text);
    }
    if (q_end(&q, e) != E_OK)
        return e->code;
    return found[0] ? err_set(e, E_CONFLICT, "ledger %s: %s: %s", s->path, what, found) : E_OK;
}

enum err_code store_check(struct store *s, struct err *e)
{
    static const struct {
        enum stmt_id id;
        const char *what;
    } checks[] = {
        {Q_CHECK_INTEGRITY, "integrity"},
        {Q_CHECK_REFERENCES, "a row refers to one that is not there, in table"},
        {Q_CHECK_SEQ, "gap"},
        {Q_CHECK_AUDIT_SEQ, "gap"},
        {Q_CHECK_STATUS, "status"},
        {Q_CHECK_REVOKED, "status"},
        {Q_CHECK_NEWEST, "status"},
        {Q_CHECK_REVOKED_LOG, "status"},
        {Q_CHECK_TALLY, "factory"},
    };

    for (size_t i = 0; i < ARRAY_LEN(checks); i++)
        if (check_one(s, checks[i].id, checks[i].what, e) != E_OK)
            return e->code;
    return E_OK;
}

/* Copies, and leaves one file: with a rollback journal in its header it opens anywhere, also without write access. */
static enum err_code backup_into(struct store *s, sqlite3 *to, const char *path, struct err *e)
{
    sqlite3_backup *copy = sqlite3_backup_init(to, "main", s->db, "main");
    int rc = SQLITE_ERROR;

    if (copy) {
        do
            rc = atomic_load(&s->interrupted) ? SQLITE_INTERRUPT : sqlite3_backup_step(copy, BACKUP_PAGES);
        while (rc == SQLITE_OK);
        sqlite3_backup_finish(copy);
    }
    if (rc == SQLITE_DONE)
        rc = sqlite3_exec(to, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return err_set(e, E_IO, "backup of ledger %s into %s: %s", s->path, path, sqlite3_errmsg(to));
    return E_OK;
}

/* A reader's copy is made in steps: without a snapshot each commit of the writer would start it again. */
static enum err_code backup_snapshot(struct store *s, sqlite3 *to, const char *path, struct err *e)
{
    bool own = s->mode == STORE_READ && !s->in_tx;
    uint64_t seq;
    enum err_code code;

    if (own && store_begin(s, e) != E_OK)
        return e->code;
    code = store_status_seq(s, &seq, e); /* the first read takes the snapshot */
    if (code == E_OK)
        code = backup_into(s, to, path, e);
    if (own)
        store_rollback(s);
    return code;
}

enum err_code store_backup(struct store *s, const char *path, struct err *e)
{
    AUTO_FD int fd = -1;
    sqlite3 *to = NULL;
    enum err_code code;

    if (s->in_tx && s->mode == STORE_WRITE)
        return err_set(e, E_INTERNAL, "ledger %s: backup inside a transaction", s->path);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, LEDGER_FILE_MODE);
    if (fd < 0)
        return err_errno(e, errno == EEXIST ? E_CONFLICT : E_IO, "backup file %s", path);
    if (sqlite3_open_v2(path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        code = err_set(e, E_IO, "backup file %s: %s", path, to ? sqlite3_errmsg(to) : "out of memory");
    else
        code = backup_snapshot(s, to, path, e);
    sqlite3_close(to);
    if (code == E_OK && fsync(fd) != 0)
        code = err_errno(e, E_IO, "fsync of %s", path);
    if (code == E_OK)
        code = store_sync_dir_of(path, e);
    if (code != E_OK)
        unlink(path);
    return code;
}
