/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ledger_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/derw.h"
#include "ca/store/tally.h"
#include "ca/store/restore.h"
#include "ca/store/store_int.h"

#define BEGIN(l)  OK(l, store_begin((l)->s, &(l)->e))
#define COMMIT(l) OK(l, store_commit((l)->s, &(l)->e))

static int64_t pragma(struct store *s, const char *sql)
{
    sqlite3_stmt *st = NULL;
    int64_t v;

    assert_int_equal(sqlite3_prepare_v2(s->db, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    v = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return v;
}

static void path_of(const struct ledger *l, const char *name, char out[160])
{
    snprintf(out, 160, "%s/%s", l->dir, name);
}

/* --- opening ------------------------------------------------------------------------------------------------- */

static void writer_syncs_every_commit_and_is_in_wal_mode(void **state)
{
    struct ledger *l = *state;
    struct stat st;

    assert_int_equal(pragma(l->s, "PRAGMA synchronous"), 2);
    assert_int_equal(pragma(l->s, "PRAGMA foreign_keys"), 1);
    assert_int_equal(pragma(l->s, "PRAGMA wal_autocheckpoint"), 0);
    assert_int_equal(pragma(l->s, "SELECT count(*) FROM pragma_journal_mode WHERE journal_mode = 'wal'"), 1);
    assert_int_equal(stat(l->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_hook_weakens_synchronous_only_in_test_builds(void **state)
{
    struct ledger *l = *state;
#ifdef INKAN_TEST_HOOKS
    const int64_t wanted = 0;
#else
    const int64_t wanted = 2;
#endif

    setenv("INKAN_TEST_SYNCHRONOUS", "OFF", 1);
    ledger_reopen(l);
    unsetenv("INKAN_TEST_SYNCHRONOUS");
    assert_int_equal(pragma(l->s, "PRAGMA synchronous"), wanted);
    ledger_reopen(l);
    assert_int_equal(pragma(l->s, "PRAGMA synchronous"), 2);
}

static void reader_cannot_write_or_checkpoint(void **state)
{
    struct ledger *l = *state;
    struct store *r = NULL;

    OK(l, store_open(l->path, STORE_READ, &r, &l->e));
    assert_int_equal(pragma(r, "PRAGMA query_only"), 1);
    assert_int_equal(pragma(r, "PRAGMA wal_autocheckpoint"), 0);
    OK(l, store_begin(r, &l->e));
    REFUSED(l, E_INTERNAL, store_meta_set_i64(r, "x", 1, &l->e));
    store_rollback(r);
    REFUSED(l, E_INTERNAL, store_checkpoint(r, 0, &l->e));
    REFUSED(l, E_INTERNAL, store_savepoint(r, &l->e));
    store_close(r);
}

static void second_writer_is_refused_until_the_first_closes(void **state)
{
    struct ledger *l = *state;
    struct store *second = NULL;

    REFUSED(l, E_BUSY, store_open(l->path, STORE_WRITE, &second, &l->e));
    SAYS(l, "another process holds");
    assert_null(second);
    ledger_close(l);
    OK(l, store_open(l->path, STORE_WRITE, &second, &l->e));
    store_close(second);
}

static void newer_schema_is_refused_by_name(void **state)
{
    struct ledger *l = *state;
    struct store *s = NULL;
    char says[80], back[40];

    ledger_close(l);
    ledger_sql(l->path, "PRAGMA user_version = 700");
    REFUSED(l, E_CONFLICT, store_open(l->path, STORE_WRITE, &s, &l->e));
    SAYS(l, l->path);
    snprintf(says, sizeof(says), "has schema 700, this program knows up to %d", migrations[migrations_n - 1].number);
    SAYS(l, says);
    REFUSED(l, E_CONFLICT, store_open(l->path, STORE_READ, &s, &l->e));
    snprintf(back, sizeof(back), "PRAGMA user_version = %d", migrations[migrations_n - 1].number);
    ledger_sql(l->path, back);
    ledger_reopen(l);
}

static void foreign_database_is_refused(void **state)
{
    struct ledger *l = *state;
    struct store *s = NULL;
    char path[160];
    FILE *f;

    path_of(l, "other", path);
    f = fopen(path, "w");
    fclose(f);
    ledger_sql(path, "CREATE TABLE t (a)");
    REFUSED(l, E_CONFLICT, store_open(path, STORE_WRITE, &s, &l->e));
    SAYS(l, "not an Inkan ledger");
    path_of(l, "text", path);
    f = fopen(path, "w");
    for (int i = 0; i < 100; i++)
        fputs("this is not a database, not at all\n", f);
    fclose(f);
    REFUSED(l, E_STORE, store_open(path, STORE_WRITE, &s, &l->e));
}

static void database_missing_beside_its_log_is_not_made_anew(void **state)
{
    struct ledger *l = *state;
    struct store *s = NULL;
    char path[160], wal[170];
    FILE *f;

    path_of(l, "gone", path);
    snprintf(wal, sizeof(wal), "%s-wal", path);
    f = fopen(wal, "w");
    fputs("frames", f);
    fclose(f);
    REFUSED(l, E_CONFLICT, store_open(path, STORE_WRITE, &s, &l->e));
    assert_int_not_equal(access(path, F_OK), 0);
    unlink(wal);
    OK(l, store_open(path, STORE_WRITE, &s, &l->e));
    store_close(s);
}

static void reader_of_a_missing_ledger_makes_none(void **state)
{
    struct ledger *l = *state;
    struct store *s = NULL;
    char path[160];

    path_of(l, "none", path);
    REFUSED(l, E_STORE, store_open(path, STORE_READ, &s, &l->e));
    assert_int_not_equal(access(path, F_OK), 0);
}

static void ledger_id_is_drawn_once(void **state)
{
    struct ledger *l = *state;
    AUTO_BUF first = BUF_INIT(64);
    AUTO_BUF again = BUF_INIT(64);

    OK(l, store_meta_get(l->s, "ledger_id", &first, &l->e));
    ledger_reopen(l);
    OK(l, store_meta_get(l->s, "ledger_id", &again, &l->e));
    assert_int_equal(first.len, 32);
    assert_true(bytes_equal(buf_bytes(&first), buf_bytes(&again)));
}

static void clean_close_leaves_an_empty_log(void **state)
{
    struct ledger *l = *state;
    char wal[160];
    struct stat st;

    BEGIN(l);
    ledger_issue(l, 1);
    COMMIT(l);
    path_of(l, "ledger-wal", wal);
    assert_int_equal(stat(wal, &st), 0);
    assert_true(st.st_size > 0);
    ledger_close(l);
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_size, 0);
    ledger_reopen(l);
}

static void checkpoint_waits_for_the_size_and_never_for_a_reader(void **state)
{
    struct ledger *l = *state;
    struct store *r = NULL;
    uint64_t seq;
    char wal[160];
    struct stat st;

    path_of(l, "ledger-wal", wal);
    BEGIN(l);
    ledger_issue(l, 1);
    COMMIT(l);
    OK(l, store_checkpoint(l->s, 64 * 1024 * 1024, &l->e));
    assert_int_equal(stat(wal, &st), 0);
    assert_true(st.st_size > 0);
    OK(l, store_open(l->path, STORE_READ, &r, &l->e));
    OK(l, store_begin(r, &l->e));
    OK(l, store_status_seq(r, &seq, &l->e));
    BEGIN(l);
    ledger_issue(l, 2);
    COMMIT(l);
    OK(l, store_checkpoint(l->s, 0, &l->e)); /* the reader holds it up: no error */
    OK(l, store_status_seq(r, &seq, &l->e));
    assert_int_equal(seq, 1); /* its snapshot */
    store_rollback(r);
    OK(l, store_checkpoint(l->s, 0, &l->e));
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_size, 0);
    store_close(r);
}

/* --- transactions -------------------------------------------------------------------------------------------- */

static void write_outside_a_transaction_is_refused(void **state)
{
    struct ledger *l = *state;

    REFUSED(l, E_INTERNAL, store_meta_set_i64(l->s, "x", 1, &l->e));
    REFUSED(l, E_INTERNAL, store_commit(l->s, &l->e));
    REFUSED(l, E_INTERNAL, store_savepoint(l->s, &l->e));
    REFUSED(l, E_INTERNAL, store_savepoint_keep(l->s, &l->e));
    BEGIN(l);
    assert_true(store_in_transaction(l->s));
    REFUSED(l, E_INTERNAL, store_begin(l->s, &l->e));
    OK(l, store_savepoint(l->s, &l->e));
    REFUSED(l, E_INTERNAL, store_savepoint(l->s, &l->e));
    REFUSED(l, E_INTERNAL, store_commit(l->s, &l->e));
    OK(l, store_savepoint_keep(l->s, &l->e));
    COMMIT(l);
    assert_false(store_in_transaction(l->s));
    assert_false(store_is_doubtful(l->s));
}

static void conflict_in_a_savepoint_leaves_the_batch_usable(void **state)
{
    struct ledger *l = *state;
    struct err e;
    uint64_t seq, audit;
    uint8_t hash[32];

    BEGIN(l);
    OK(l, store_savepoint(l->s, &l->e));
    ledger_issue(l, 1);
    OK(l, store_savepoint_keep(l->s, &l->e));
    OK(l, store_savepoint(l->s, &l->e));
    assert_int_equal(ledger_try_issue(l, 1, &e), E_CONFLICT); /* the same serial */
    store_savepoint_undo(l->s);
    OK(l, store_savepoint(l->s, &l->e));
    ledger_issue(l, 2);
    OK(l, store_savepoint_keep(l->s, &l->e));
    COMMIT(l);
    assert_false(store_is_doubtful(l->s));
    OK(l, store_status_seq(l->s, &seq, &l->e));
    OK(l, store_audit_last(l->s, &audit, hash, &l->e));
    assert_int_equal(seq, 2);
    assert_int_equal(audit, 2);
    OK(l, store_check(l->s, &l->e));
}

static void undo_takes_the_counters_back(void **state)
{
    struct ledger *l = *state;
    uint64_t seq, audit;
    uint8_t before[32], after[32];
    struct cert_row cert;

    BEGIN(l);
    ledger_issue(l, 1);
    OK(l, store_audit_last(l->s, &audit, before, &l->e));
    OK(l, store_savepoint(l->s, &l->e));
    ledger_issue(l, 2);
    ledger_change(l, 2, CERT_REVOKED, REASON_SUPERSEDED);
    ledger_note(l, "enroll-refused");
    OK(l, store_status_seq(l->s, &seq, &l->e));
    assert_int_equal(seq, 3);
    store_savepoint_undo(l->s);
    OK(l, store_status_seq(l->s, &seq, &l->e));
    OK(l, store_audit_last(l->s, &audit, after, &l->e));
    assert_int_equal(seq, 1);
    assert_int_equal(audit, 1);
    assert_memory_equal(before, after, sizeof(before));
    COMMIT(l);
    BEGIN(l);
    ledger_issue(l, 3);
    store_rollback(l->s);
    OK(l, store_status_seq(l->s, &seq, &l->e));
    assert_int_equal(seq, 1);
    BEGIN(l);
    assert_int_equal(ledger_issue(l, 4), 2);
    COMMIT(l);
    REFUSED(l, E_NOT_FOUND, store_cert_by_id(l->s, 3, &cert, &l->e));
    OK(l, store_check(l->s, &l->e));
}

static void commit_on_a_full_disk_is_in_doubt(void **state)
{
    struct ledger *l = *state;
    struct rlimit old, small;
    struct stat st;
    enum err_code code = E_OK;
    unsigned n = 1;

    BEGIN(l);
    ledger_issue(l, n++);
    COMMIT(l);
    assert_int_equal(stat(l->path, &st), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 256 * 1024;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    while (code == E_OK && n < 1000) {
        code = store_begin(l->s, &l->e);
        for (int i = 0; code == E_OK && i < 10; i++)
            code = ledger_try_issue(l, n++, &l->e);
        if (code == E_OK)
            code = store_commit(l->s, &l->e);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(code, E_STORE);
    assert_true(store_is_doubtful(l->s));
    /* nothing goes on from here */
    REFUSED(l, E_STORE, store_meta_set_i64(l->s, "x", 1, &l->e));
    store_rollback(l->s);
    REFUSED(l, E_STORE, store_begin(l->s, &l->e));
    ledger_reopen(l);
    OK(l, store_check(l->s, &l->e));
    BEGIN(l);
    ledger_issue(l, 5000);
    COMMIT(l);
}

/* --- faults, counted: the N-th write or sync fails, for every N ------------------------------------------------ */

static struct {
    sqlite3_vfs vfs, *real;
    struct {
        sqlite3_io_methods ours;
        const sqlite3_io_methods *real;
    } kinds[4]; /* databases and logs have methods of their own */
    int countdown; /* 0: no fault */
    int result;
    bool hit;
} fault;

static bool fault_now(void)
{
    if (fault.countdown == 0 || --fault.countdown > 0)
        return false;
    fault.countdown = 1; /* the disk stays broken */
    fault.hit = true;
    return true;
}

static const sqlite3_io_methods *real_methods(const sqlite3_file *f)
{
    /* By a method that is still ours when the store has put its own before it. */
    for (size_t i = 0; i < 4; i++)
        if (fault.kinds[i].real && f->pMethods->xClose == fault.kinds[i].ours.xClose)
            return fault.kinds[i].real;
    abort();
}

static int fault_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    return fault_now() ? fault.result : real_methods(f)->xWrite(f, p, n, at);
}

static int fault_sync(sqlite3_file *f, int flags)
{
    return fault_now() ? SQLITE_IOERR_FSYNC : real_methods(f)->xSync(f, flags);
}

static int fault_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    int rc = fault.real->xOpen(fault.real, name, f, flags, out);
    size_t i = 0;

    (void)vfs;
    if (rc != SQLITE_OK || !f->pMethods)
        return rc;
    while (fault.kinds[i].real && fault.kinds[i].real != f->pMethods)
        if (++i == 4)
            abort();
    fault.kinds[i].real = f->pMethods;
    fault.kinds[i].ours = *f->pMethods;
    fault.kinds[i].ours.xWrite = fault_write;
    fault.kinds[i].ours.xSync = fault_sync;
    f->pMethods = &fault.kinds[i].ours;
    return rc;
}

static void fault_install(void)
{
    fault.real = sqlite3_vfs_find(NULL);
    fault.vfs = *fault.real;
    fault.vfs.zName = "fault";
    fault.vfs.xOpen = fault_open;
    sqlite3_vfs_register(&fault.vfs, 1);
}

static void fault_remove(void)
{
    fault.countdown = 0;
    sqlite3_vfs_register(fault.real, 1);
    sqlite3_vfs_unregister(&fault.vfs);
}

static enum err_code batch(struct ledger *l, unsigned first, struct err *e)
{
    enum err_code code = store_begin(l->s, e);

    for (unsigned i = 0; code == E_OK && i < 5; i++) {
        code = store_savepoint(l->s, e);
        if (code == E_OK)
            code = ledger_try_issue(l, first + i, e);
        if (code == E_OK)
            code = store_savepoint_keep(l->s, e);
    }
    return code == E_OK ? store_commit(l->s, e) : code;
}

static void every_failing_write_or_sync_puts_the_batch_in_doubt(void **state)
{
    struct ledger *l = *state;
    static const int results[] = {SQLITE_IOERR_WRITE, SQLITE_FULL};
    const struct cert_filter every = {.status = -1};
    struct err e;
    unsigned next = 1, faults = 0;
    uint64_t before, after;

    for (size_t r = 0; r < 2; r++) {
        for (int n = 1;; n++) {
            enum err_code code;

            ledger_close(l);
            fault_install();
            ledger_reopen(l);
            OK(l, store_cert_count(l->s, &every, &before, &l->e));
            fault.result = results[r];
            fault.hit = false;
            fault.countdown = n;
            code = batch(l, next, &e);
            fault.countdown = 0;
            if (fault.hit && code != E_STORE)
                fail_msg("fault %d: %s", n, err_code_name(code));
            if (fault.hit)
                assert_true(store_is_doubtful(l->s));
            ledger_close(l);
            fault_remove();
            ledger_reopen(l);
            OK(l, store_check(l->s, &l->e));
            OK(l, store_cert_count(l->s, &every, &after, &l->e));
            if (after != before && after != before + 5)
                fail_msg("fault %d: %d of 5 rows", n, (int)(after - before));
            if (!fault.hit) {
                assert_int_equal(code, E_OK);
                assert_int_equal(after, before + 5);
                next += 5;
                break;
            }
            faults++;
            next += 5;
        }
    }
    assert_true(faults > 10);
}

/* --- faults, counted: the N-th allocation fails ------------------------------------------------------------- */

static sqlite3_mem_methods memory_real;
static int memory_countdown;
static bool memory_hit;

static bool memory_fails(void)
{
    if (memory_countdown == 0 || --memory_countdown > 0)
        return false;
    memory_hit = true;
    return true;
}

static void *memory_malloc(int n)
{
    return memory_fails() ? NULL : memory_real.xMalloc(n);
}

static void *memory_realloc(void *p, int n)
{
    return memory_fails() ? NULL : memory_real.xRealloc(p, n);
}

static void every_failing_allocation_leaves_a_whole_batch_or_none(void **state)
{
    struct ledger *l = *state;
    sqlite3_mem_methods failing;
    const struct cert_filter every = {.status = -1};
    struct err e;
    unsigned next = 1, faults = 0;

    ledger_close(l);
    sqlite3_shutdown();
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory_real), SQLITE_OK);
    failing = memory_real;
    failing.xMalloc = memory_malloc;
    failing.xRealloc = memory_realloc;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &failing), SQLITE_OK);
    for (int n = 1;; n += 1 + n / 40) {
        uint64_t before, after;
        enum err_code code;

        ledger_reopen(l);
        OK(l, store_cert_count(l->s, &every, &before, &l->e));
        memory_hit = false;
        memory_countdown = n;
        code = batch(l, next, &e);
        memory_countdown = 0;
        if (memory_hit && code != E_OK) {
            if (code != E_STORE)
                fail_msg("allocation %d: %s: %s", n, err_code_name(code), e.msg);
            assert_true(store_is_doubtful(l->s));
        }
        ledger_reopen(l);
        OK(l, store_check(l->s, &l->e));
        OK(l, store_cert_count(l->s, &every, &after, &l->e));
        if (code == E_OK ? after != before + 5 : after != before)
            fail_msg("allocation %d: %s, %d rows", n, err_code_name(code), (int)(after - before));
        next += 5;
        if (!memory_hit)
            break;
        faults++;
    }
    assert_true(faults > 20);
    ledger_close(l);
    sqlite3_shutdown();
    sqlite3_config(SQLITE_CONFIG_MALLOC, &memory_real);
}

/* --- kill ---------------------------------------------------------------------------------------------------- */

static void commit_until_killed(struct ledger *l, unsigned first, int out)
{
    struct err e;

    if (store_open(l->path, STORE_WRITE, &l->s, &e) != E_OK)
        _exit(1);
    for (unsigned n = first;; n += 5) {
        if (batch(l, n, &e) != E_OK || write(out, &n, sizeof(n)) != sizeof(n))
            _exit(1);
    }
}

static void acknowledged_commits_survive_kill(void **state)
{
    struct ledger *l = *state;
    unsigned first = 1, acked = 0, last = 0;
    struct status_row probe;
    struct cert_row cert;

    ledger_close(l);
    for (int round = 0; round < 5; round++) {
        int fds[2];
        pid_t child;
        unsigned n;

        assert_int_equal(pipe(fds), 0);
        child = fork();
        if (child == 0) {
            close(fds[0]);
            commit_until_killed(l, first, fds[1]);
        }
        close(fds[1]);
        for (int i = 0; i < 4 + round; i++) {
            assert_int_equal(read(fds[0], &n, sizeof(n)), sizeof(n));
            acked += 5;
            last = n;
        }
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        while (read(fds[0], &n, sizeof(n)) == sizeof(n)) {
            acked += 5;
            last = n;
        }
        close(fds[0]);
        ledger_reopen(l);
        OK(l, store_check(l->s, &l->e));
        for (unsigned i = first; i < last + 5; i++) {
            probe = ledger_status(l, i, CERT_GOOD, REASON_UNSPECIFIED);
            OK(l, store_cert_by_serial(l->s, l->issuer, BYTES(probe.serial, probe.serial_len), &cert, &l->e));
        }
        ledger_close(l);
        first = last + 100;
    }
    assert_true(acked >= 100);
    ledger_reopen(l);
}

/* --- meta, keys, issuers ------------------------------------------------------------------------------------- */

static void meta_keeps_octets_and_numbers(void **state)
{
    struct ledger *l = *state;
    AUTO_BUF v = BUF_INIT(64);
    int64_t n = 1;

    REFUSED(l, E_NOT_FOUND, store_meta_get(l->s, "sealed", &v, &l->e));
    OK(l, store_meta_get_i64(l->s, "time_floor", &n, &l->e));
    assert_int_equal(n, 0);
    BEGIN(l);
    OK(l, store_meta_set(l->s, "sealed", bytes_str("restored"), &l->e));
    OK(l, store_meta_set(l->s, "sealed", bytes_str("clock"), &l->e));
    OK(l, store_meta_set_i64(l->s, "time_floor", -5, &l->e));
    OK(l, store_meta_set(l->s, "empty", (struct bytes){NULL, 0}, &l->e));
    COMMIT(l);
    OK(l, store_meta_get(l->s, "sealed", &v, &l->e));
    assert_true(bytes_equal(buf_bytes(&v), bytes_str("clock")));
    OK(l, store_meta_get(l->s, "empty", &v, &l->e));
    assert_int_equal(v.len, 0);
    OK(l, store_meta_get_i64(l->s, "time_floor", &n, &l->e));
    assert_int_equal(n, -5);
    REFUSED(l, E_INTERNAL, store_meta_get_i64(l->s, "sealed", &n, &l->e));
}

static void newest_time_is_the_later_of_floor_and_audit(void **state)
{
    struct ledger *l = *state;
    int64_t t;

    OK(l, store_time_newest(l->s, &t, &l->e));
    assert_int_equal(t, 0);
    BEGIN(l);
    OK(l, store_meta_set_i64(l->s, "time_floor", T0 - 10, &l->e));
    COMMIT(l);
    OK(l, store_time_newest(l->s, &t, &l->e));
    assert_int_equal(t, T0 - 10);
    BEGIN(l);
    ledger_note(l, "started");
    COMMIT(l);
    OK(l, store_time_newest(l->s, &t, &l->e));
    assert_int_equal(t, T0);
}

static bool count_keys(void *arg, const struct key_row *row)
{
    assert_true(row->id > 0);
    return ++*(int *)arg < 2;
}

static void keys_are_unique_by_name(void **state)
{
    struct ledger *l = *state;
    struct key_row key = {.name = "ca/fleet-ca/1", .token = "issuing-1", .purpose = 0, .alg = KEY_P256, .created_at = T0};
    struct key_row got;
    int n = 0;

    memset(key.cka_id, 7, sizeof(key.cka_id));
    key.spki = bytes_str("public");
    BEGIN(l);
    OK(l, store_key_insert(l->s, &key, &l->e));
    REFUSED(l, E_CONFLICT, store_key_insert(l->s, &key, &l->e));
    SAYS(l, "ca/fleet-ca/1");
    OK(l, store_key_set_destroyed(l->s, key.id, T0 + 1, &l->e));
    REFUSED(l, E_NOT_FOUND, store_key_set_destroyed(l->s, 99, T0 + 1, &l->e));
    COMMIT(l);
    OK(l, store_key_by_name(l->s, "ca/fleet-ca/1", &got, &l->e));
    assert_int_equal(got.id, key.id);
    assert_int_equal(got.alg, KEY_P256);
    assert_int_equal(got.destroyed_at, T0 + 1);
    assert_memory_equal(got.cka_id, key.cka_id, sizeof(key.cka_id));
    assert_true(bytes_equal(got.spki, bytes_str("public")));
    REFUSED(l, E_NOT_FOUND, store_key_by_name(l->s, "ca/fleet-ca/2", &got, &l->e));
    OK(l, store_key_each(l->s, count_keys, &n, &l->e));
    assert_int_equal(n, 2);
}

static bool count_issuers(void *arg, const struct issuer_row *row)
{
    (void)row;
    ++*(int *)arg;
    return true;
}

static void newest_issuer_row_of_a_name_is_in_use(void **state)
{
    struct ledger *l = *state;
    struct issuer_row again = {.name = "fleet-ca", .parent = ISSUER_SELF, .created_at = T0 + 1};
    struct issuer_row sub = {.name = "sub-ca", .created_at = T0 + 1};
    struct issuer_row got;
    int n = 0;

    memset(again.ski, 9, sizeof(again.ski));
    again.subject = again.spki = again.cert = bytes_str("second");
    sub.parent = l->issuer;
    BEGIN(l);
    OK(l, store_issuer_insert(l->s, &again, &l->e));
    OK(l, store_issuer_insert(l->s, &sub, &l->e));
    sub.parent = 77;
    REFUSED(l, E_CONFLICT, store_issuer_insert(l->s, &sub, &l->e));
    sub.parent = 0;
    sub.key = 77;
    REFUSED(l, E_CONFLICT, store_issuer_insert(l->s, &sub, &l->e));
    COMMIT(l);
    assert_int_equal(again.parent, again.id);
    OK(l, store_issuer_by_name(l->s, "fleet-ca", &got, &l->e));
    assert_int_equal(got.id, again.id);
    assert_int_equal(got.parent, again.id);
    assert_true(bytes_equal(got.cert, bytes_str("second")));
    OK(l, store_issuer_by_id(l->s, l->issuer, &got, &l->e));
    assert_true(bytes_equal(got.cert, bytes_str("cert")));
    OK(l, store_issuer_by_name(l->s, "sub-ca", &got, &l->e));
    assert_int_equal(got.parent, l->issuer);
    REFUSED(l, E_NOT_FOUND, store_issuer_by_name(l->s, "none", &got, &l->e));
    REFUSED(l, E_NOT_FOUND, store_issuer_by_id(l->s, 99, &got, &l->e));
    OK(l, store_issuer_each(l->s, count_issuers, &n, &l->e));
    assert_int_equal(n, 3);
}

/* --- devices, keys of units ---------------------------------------------------------------------------------- */

static struct device_row device(const char *domain, const char *id)
{
    return (struct device_row){.domain = domain, .device_id = id, .product = "meter", .lot = "L1", .declared_at = T0};
}

static void device_is_unique_in_its_domain(void **state)
{
    struct ledger *l = *state;
    struct device_row a = device("acme", "dev-1"), b = device("beta", "dev-1"), wrong, got;

    a.firmware = "1.2";
    BEGIN(l);
    OK(l, store_device_insert(l->s, &a, &l->e));
    OK(l, store_device_insert(l->s, &b, &l->e));
    REFUSED(l, E_CONFLICT, store_device_insert(l->s, &a, &l->e));
    SAYS(l, "acme/dev-1");
    wrong = device("acme", "dev-7");
    wrong.unit = 999;
    REFUSED(l, E_CONFLICT, store_device_insert(l->s, &wrong, &l->e));
    assert_int_equal(wrong.id, 0);
    wrong.unit = 0;
    wrong.group_secret = 999;
    REFUSED(l, E_CONFLICT, store_device_insert(l->s, &wrong, &l->e));
    REFUSED(l, E_NOT_FOUND, store_device_find(l->s, "acme", "dev-7", &got, &l->e));
    COMMIT(l);
    assert_int_not_equal(a.unit, b.unit);
    OK(l, store_device_find(l->s, "acme", "dev-1", &got, &l->e));
    assert_int_equal(got.id, a.id);
    assert_string_equal(got.firmware, "1.2");
    assert_string_equal(got.station, "");
    assert_string_equal(got.domain, "acme");
    assert_int_equal(got.group_secret, 0);
    OK(l, store_device_by_id(l->s, b.id, &got, &l->e));
    assert_string_equal(got.domain, "beta");
    REFUSED(l, E_NOT_FOUND, store_device_find(l->s, "gamma", "dev-1", &got, &l->e));
    REFUSED(l, E_NOT_FOUND, store_device_find(l->s, "acme", "dev-10", &got, &l->e));
}

static void stop_follows_the_unit(void **state)
{
    struct ledger *l = *state;
    struct device_row a = device("acme", "dev-1"), b = device("beta", "dev-9"), other = device("acme", "dev-2");
    struct device_row got;
    struct unit_stand stand;
    bool changed;

    BEGIN(l);
    OK(l, store_device_insert(l->s, &a, &l->e));
    b.unit = a.unit;
    OK(l, store_device_insert(l->s, &b, &l->e));
    OK(l, store_device_insert(l->s, &other, &l->e));
    REFUSED(l, E_CONFLICT, store_device_set_unit(l->s, other.id, 999, &l->e));
    OK(l, store_device_set_state(l->s, a.id, DEVICE_IN_SERVICE, T0 + 1, &l->e));
    OK(l, store_unit_stands(l->s, a.unit, a.id, &stand, &l->e));
    assert_false(stand.stopped);
    assert_int_equal(stand.state, DEVICE_IN_SERVICE);
    assert_int_equal(stand.prev, DEVICE_DECLARED);
    OK(l, store_device_set_state(l->s, b.id, DEVICE_LOST, T0 + 2, &l->e));
    REFUSED(l, E_NOT_FOUND, store_device_set_state(l->s, 999, DEVICE_LOST, T0, &l->e));
    COMMIT(l);
    OK(l, store_unit_stands(l->s, a.unit, a.id, &stand, &l->e));
    assert_true(stand.stopped);
    assert_int_equal(stand.by, DEVICE_LOST);
    OK(l, store_unit_stands(l->s, other.unit, a.id, &stand, &l->e));
    assert_false(stand.stopped);
    assert_int_equal(stand.state, DEVICE_STATES);
    REFUSED(l, E_NOT_FOUND, store_unit_stands(l->s, 999, 0, &stand, &l->e));
    OK(l, store_device_by_id(l->s, a.id, &got, &l->e));
    assert_int_equal(got.state, DEVICE_IN_SERVICE);
    assert_int_equal(got.enrolled_at, T0 + 1);
    OK(l, store_device_by_id(l->s, b.id, &got, &l->e));
    assert_int_equal(got.state_at, T0 + 2);
    assert_int_equal(got.prev_state, DEVICE_DECLARED);
    BEGIN(l);
    OK(l, store_device_set_state(l->s, b.id, DEVICE_SUSPENDED, T0 + 3, &l->e)); /* found again: it may enrol */
    OK(l, store_unit_stands(l->s, a.unit, a.id, &stand, &l->e));
    assert_false(stand.stopped);
    OK(l, store_device_set_state(l->s, b.id, DEVICE_IN_SERVICE, T0 + 4, &l->e));
    OK(l, store_device_set_state(l->s, b.id, DEVICE_DECOMMISSIONED, T0 + 5, &l->e));
    OK(l, store_unit_stands(l->s, a.unit, a.id, &stand, &l->e));
    assert_true(stand.stopped);
    OK(l, store_device_set_state(l->s, a.id, DEVICE_IN_REPAIR, T0 + 5, &l->e)); /* what else stops it says more */
    OK(l, store_unit_stands(l->s, a.unit, a.id, &stand, &l->e));
    assert_int_equal(stand.by, DEVICE_DECOMMISSIONED);
    OK(l, store_device_set_state(l->s, a.id, DEVICE_LOST, T0 + 5, &l->e));
    OK(l, store_device_set_state(l->s, b.id, DEVICE_IN_REPAIR, T0 + 5, &l->e));
    OK(l, store_unit_stands(l->s, a.unit, a.id, &stand, &l->e));
    assert_int_equal(stand.by, DEVICE_LOST);
    OK(l, store_device_set_state(l->s, a.id, DEVICE_IN_SERVICE, T0 + 5, &l->e));
    OK(l, store_device_set_moved(l->s, b.id, a.id, &l->e)); /* its new owner's row is what counts */
    OK(l, store_unit_stands(l->s, a.unit, a.id, &stand, &l->e));
    assert_false(stand.stopped);
    assert_false(stand.moved);
    OK(l, store_unit_stands(l->s, a.unit, b.id, &stand, &l->e));
    assert_true(stand.moved);
    OK(l, store_device_advance(l->s, a.id, 1u << DEVICE_SHIPPED, DEVICE_LOST, T0 + 6, &changed, &l->e));
    assert_false(changed);
    OK(l, store_device_advance(l->s, a.id, 1u << DEVICE_IN_SERVICE, DEVICE_LOST, T0 + 6, &changed, &l->e));
    assert_true(changed);
    /* Another row that is still on its line, and its own. */
    OK(l, store_device_set_state(l->s, b.id, DEVICE_CONFIRMED, T0 + 7, &l->e));
    OK(l, store_unit_stands(l->s, a.unit, a.id, &stand, &l->e));
    assert_int_equal(stand.unshipped, 0); /* it has another owner */
    OK(l, store_device_set_moved(l->s, b.id, 0, &l->e));
    OK(l, store_unit_stands(l->s, a.unit, a.id, &stand, &l->e));
    assert_int_equal(stand.unshipped, b.id);
    OK(l, store_unit_stands(l->s, a.unit, b.id, &stand, &l->e));
    assert_int_equal(stand.unshipped, 0);
    OK(l, store_device_set_state(l->s, b.id, DEVICE_SHIPPED, T0 + 8, &l->e));
    OK(l, store_unit_stands(l->s, a.unit, a.id, &stand, &l->e));
    assert_int_equal(stand.unshipped, 0);
    COMMIT(l);
}

static bool last_device(void *arg, const struct device_row *row)
{
    uint64_t *seen = arg;

    seen[0]++;
    seen[1] = row->id;
    return true;
}

static void device_list_filters_and_pages(void **state)
{
    struct ledger *l = *state;
    static const struct {
        const char *name;
        struct device_filter f;
        uint64_t rows;
    } cases[] = {
        {"everything", {.state = -1}, 30},
        {"a domain", {.state = -1, .domain = "acme"}, 20},
        {"a device", {.state = -1, .domain = "acme", .device_id = "dev-003"}, 1},
        {"a device of any domain", {.state = -1, .device_id = "dev-003"}, 2},
        {"a prefix", {.state = -1, .domain = "acme", .device_id = "dev-00*"}, 10},
        {"a prefix with a percent sign is not a pattern", {.state = -1, .device_id = "dev%*"}, 0},
        {"another case is another device", {.state = -1, .device_id = "DEV-003"}, 0},
        {"a star alone is every device", {.state = -1, .device_id = "*"}, 30},
        {"a lot", {.state = -1, .lot = "L2"}, 0},
        {"a product", {.state = -1, .product = "meter"}, 30},
        {"a state", {.state = DEVICE_LOST}, 1},
        {"a unit", {.state = -1, .unit = 7}, 1},
        {"a page", {.state = -1, .after_id = 25, .limit = 3}, 3},
        {"the last page", {.state = -1, .after_id = 28, .limit = 3}, 2},
    };

    BEGIN(l);
    for (int i = 0; i < 30; i++) {
        char id[16];
        struct device_row row;

        snprintf(id, sizeof(id), "dev-%03d", i % 20);
        row = device(i < 20 ? "acme" : "beta", id);
        OK(l, store_device_insert(l->s, &row, &l->e));
    }
    OK(l, store_device_set_state(l->s, 5, DEVICE_LOST, T0, &l->e));
    COMMIT(l);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t seen[2] = {0, 0}, n = 0;

        OK(l, store_device_each(l->s, &cases[i].f, last_device, seen, &l->e));
        if (seen[0] != cases[i].rows)
            fail_msg("%s: %d rows", cases[i].name, (int)seen[0]);
        if (cases[i].f.limit == 0) {
            OK(l, store_device_count(l->s, &cases[i].f, &n, &l->e));
            assert_int_equal(n, cases[i].rows);
        }
    }
}

static void key_belongs_to_one_unit_across_domains(void **state)
{
    struct ledger *l = *state;
    struct device_row a = device("acme", "dev-1"), b = device("beta", "dev-1");
    uint8_t key[32] = {1}, other[32] = {2};
    uint64_t unit;

    BEGIN(l);
    OK(l, store_device_insert(l->s, &a, &l->e));
    OK(l, store_device_insert(l->s, &b, &l->e));
    REFUSED(l, E_NOT_FOUND, store_spki_unit(l->s, key, &unit, &l->e));
    OK(l, store_spki_claim(l->s, key, a.unit, T0, &l->e));
    OK(l, store_spki_claim(l->s, key, a.unit, T0 + 1, &l->e));
    REFUSED(l, E_CONFLICT, store_spki_claim(l->s, key, b.unit, T0 + 1, &l->e));
    OK(l, store_spki_claim(l->s, other, b.unit, T0 + 1, &l->e));
    COMMIT(l);
    OK(l, store_spki_unit(l->s, key, &unit, &l->e));
    assert_int_equal(unit, a.unit);
}

/* --- intents and certificates -------------------------------------------------------------------------------- */

static struct intent_row intent(const struct ledger *l, unsigned n)
{
    struct status_row s = ledger_status(l, n, CERT_GOOD, REASON_UNSPECIFIED);
    struct intent_row row = {.issuer = l->issuer, .requester = "operator:root", .created_at = T0, .serial_len = s.serial_len};

    memcpy(row.serial, s.serial, sizeof(row.serial));
    return row;
}

static void serial_of_an_intent_is_never_drawn_again(void **state)
{
    struct ledger *l = *state;
    struct intent_row rows[4];
    uint64_t counts[3], voided;
    enum intent_state st;
    uint8_t der[700];
    struct cert_row cert;

    BEGIN(l);
    for (unsigned i = 0; i < 4; i++) {
        rows[i] = intent(l, i);
        OK(l, store_intent_insert(l->s, &rows[i], &l->e));
    }
    REFUSED(l, E_CONFLICT, store_intent_insert(l->s, &rows[0], &l->e));
    REFUSED(l, E_CONFLICT, store_intent_finish(l->s, l->issuer, BYTES(rows[0].serial, 16), INTENT_DONE, T0, &l->e));
    SAYS(l, "has no certificate");
    ledger_fill_cert(l, 0, der, sizeof(der), &cert);
    OK(l, store_cert_insert(l->s, &cert, &l->e));
    OK(l, store_intent_finish(l->s, l->issuer, BYTES(rows[0].serial, 16), INTENT_DONE, T0, &l->e));
    REFUSED(l, E_CONFLICT, store_intent_finish(l->s, l->issuer, BYTES(rows[0].serial, 16), INTENT_VOID, T0, &l->e));
    SAYS(l, "already done");
    REFUSED(l, E_NOT_FOUND, store_intent_finish(l->s, l->issuer, bytes_str("none"), INTENT_DONE, T0, &l->e));
    REFUSED(l, E_INTERNAL, store_intent_finish(l->s, l->issuer, BYTES(rows[1].serial, 16), INTENT_OPEN, T0, &l->e));
    OK(l, store_intent_finish(l->s, l->issuer, BYTES(rows[1].serial, 16), INTENT_VOID, T0, &l->e));
    COMMIT(l);
    OK(l, store_intent_counts(l->s, counts, &l->e));
    assert_int_equal(counts[INTENT_OPEN], 2);
    assert_int_equal(counts[INTENT_DONE], 1);
    assert_int_equal(counts[INTENT_VOID], 1);
    BEGIN(l);
    OK(l, store_intent_void_open(l->s, T0 + 5, &voided, &l->e));
    assert_int_equal(voided, 2);
    OK(l, store_intent_void_open(l->s, T0 + 5, &voided, &l->e));
    assert_int_equal(voided, 0);
    COMMIT(l);
    ledger_reopen(l);
    BEGIN(l);
    REFUSED(l, E_CONFLICT, store_intent_insert(l->s, &rows[0], &l->e));
    SAYS(l, "a certificate has this serial");
    REFUSED(l, E_CONFLICT, store_intent_insert(l->s, &rows[1], &l->e));
    REFUSED(l, E_CONFLICT, store_intent_insert(l->s, &rows[2], &l->e));
    COMMIT(l);
    OK(l, store_intent_state(l->s, l->issuer, BYTES(rows[0].serial, 16), &st, &l->e));
    assert_int_equal(st, INTENT_DONE);
    OK(l, store_intent_state(l->s, l->issuer, BYTES(rows[2].serial, 16), &st, &l->e));
    assert_int_equal(st, INTENT_VOID);
    REFUSED(l, E_NOT_FOUND, store_intent_state(l->s, l->issuer, bytes_str("none"), &st, &l->e));
}

/* One certificate that is not_before .. not_after of a device; status as it is left. */
static uint64_t tallied(struct ledger *l, unsigned n, uint64_t device, int64_t not_before, int64_t not_after)
{
    uint8_t der[300];
    struct cert_row row;

    ledger_fill_cert(l, n, der, sizeof(der), &row);
    row.device = device;
    row.not_before = not_before;
    row.not_after = not_after;
    OK(l, store_cert_issue(l->s, &row, &l->e));
    return row.id;
}

static void renewals_are_counted_in_steps(void **state)
{
    struct ledger *l = *state;
    struct device_row dev = device("acme", "dev-1"), other = device("acme", "dev-2");
    struct status_row revoke = ledger_status(l, 5, CERT_REVOKED, REASON_SUPERSEDED);
    struct renewal_tally t = {0};
    uint64_t n[DEVICE_STATES] = {0}, after = 0, replaced, fresh;
    const int64_t now = T0 + 900;

    BEGIN(l);
    OK(l, store_device_insert(l->s, &dev, &l->e));
    OK(l, store_device_insert(l->s, &other, &l->e));
    OK(l, store_device_set_state(l->s, other.id, DEVICE_LOST, T0, &l->e));
    fresh = tallied(l, 0, dev.id, T0 + 600, T0 + 1500); /* due at T0 + 1200 */
    tallied(l, 1, dev.id, T0, T0 + 1200);               /* due since T0 + 800 */
    tallied(l, 2, dev.id, T0, T0 + 1350);               /* due now */
    replaced = tallied(l, 3, dev.id, T0, T0 + 1000);
    OK(l, store_cert_set_replaced(l->s, replaced, fresh, &l->e));
    tallied(l, 4, dev.id, T0, T0 + 900);                /* ended now */
    tallied(l, 5, dev.id, T0, T0 + 1000);
    OK(l, store_status_append(l->s, &revoke, &l->e));
    tallied(l, 6, 0, T0, T0 + 1000);                    /* the service's own */
    tallied(l, 7, dev.id, T0 - 40 * 86400, T0 - 31 * 86400);
    COMMIT(l);
    for (uint64_t before = 1; before != after;) { /* three rows a step */
        before = after;
        OK(l, store_renewal_tally(l->s, &after, 3, now, &t, &l->e));
    }
    assert_int_equal(t.good, 3);
    assert_int_equal(t.due, 2);
    assert_int_equal(t.expired, 1);
    assert_int_equal(t.lag_s, 100);
    after = 0;
    for (uint64_t before = 1; before != after;) {
        before = after;
        OK(l, store_device_tally(l->s, &after, 1, n, &l->e));
    }
    assert_int_equal(n[DEVICE_DECLARED], 1);
    assert_int_equal(n[DEVICE_LOST], 1);
}

static void certificate_comes_back_as_stored(void **state)
{
    struct ledger *l = *state;
    struct device_row dev = device("acme", "dev-1");
    uint8_t der[700], credential[32] = {5};
    struct cert_row cert, got;

    BEGIN(l);
    OK(l, store_device_insert(l->s, &dev, &l->e));
    ledger_fill_cert(l, 1, der, sizeof(der), &cert);
    cert.device = dev.id;
    cert.order_no = "WO-7";
    cert.station = "S1";
    cert.line = "L3";
    cert.model = "M";
    cert.lot = "42";
    cert.firmware = "1.0";
    cert.shard = 3;
    memcpy(cert.credential_hash, credential, sizeof(credential));
    OK(l, store_cert_insert(l->s, &cert, &l->e));
    COMMIT(l);
    OK(l, store_cert_by_der(l->s, bytes_str("subject"), BYTES(cert.serial, cert.serial_len), cert.der_hash, &got, &l->e));
    assert_int_equal(got.id, cert.id);
    assert_true(bytes_equal(got.der, BYTES_OF(der)));
    assert_memory_equal(got.spki_hash, cert.spki_hash, 32);
    assert_memory_equal(got.credential_hash, credential, 32);
    assert_int_equal(got.serial_len, cert.serial_len);
    assert_memory_equal(got.serial, cert.serial, sizeof(got.serial));
    assert_string_equal(got.order_no, "WO-7");
    assert_string_equal(got.station, "S1");
    assert_string_equal(got.line, "L3");
    assert_string_equal(got.model, "M");
    assert_string_equal(got.lot, "42");
    assert_string_equal(got.firmware, "1.0");
    assert_string_equal(got.domain, "acme");
    assert_string_equal(got.profile, "ldevid");
    assert_string_equal(got.requester, "device:acme/dev");
    assert_int_equal(got.kind, PROFILE_LDEVID);
    assert_int_equal(got.operation, CERT_OP_ENROLL);
    assert_int_equal(got.shard, 3);
    assert_int_equal(got.device, dev.id);
    assert_int_equal(got.issued_at, T0 + 1);
    assert_int_equal(got.not_after, T0 + 86400);
    assert_int_equal(got.status, CERT_GOOD);
    assert_int_equal(got.status_seq, 0);
    OK(l, store_cert_by_serial(l->s, l->issuer, BYTES(cert.serial, cert.serial_len), &got, &l->e));
    REFUSED(l, E_NOT_FOUND, store_cert_by_serial(l->s, l->issuer, BYTES(cert.serial, 15), &got, &l->e));
    REFUSED(l, E_NOT_FOUND, store_cert_by_serial(l->s, l->issuer + 1, BYTES(cert.serial, cert.serial_len), &got, &l->e));
}

static void certificate_is_found_by_all_of_its_der(void **state)
{
    struct ledger *l = *state;
    uint8_t der[700];
    struct cert_row cert, got;
    struct issuer_row again = {.name = "again", .parent = ISSUER_SELF, .subject = bytes_str("subject"), .spki = bytes_str("k"),
                               .cert = bytes_str("c")};
    struct bytes serial;

    BEGIN(l);
    OK(l, store_issuer_insert(l->s, &again, &l->e)); /* a subject of two rows, as after a CA was renewed */
    ledger_fill_cert(l, 1, der, sizeof(der), &cert);
    OK(l, store_cert_insert(l->s, &cert, &l->e));
    cert.issuer = again.id;
    cert.der_hash[31] ^= 1;
    OK(l, store_cert_insert(l->s, &cert, &l->e));
    COMMIT(l);
    serial = BYTES(cert.serial, cert.serial_len);
    OK(l, store_cert_by_der(l->s, bytes_str("subject"), serial, cert.der_hash, &got, &l->e));
    assert_int_equal(got.id, 2);
    OK(l, store_cert_by_ca(l->s, "again", serial, cert.der_hash, &got, &l->e));
    assert_int_equal(got.id, 2);
    REFUSED(l, E_NOT_FOUND, store_cert_by_ca(l->s, "other", serial, cert.der_hash, &got, &l->e));
    REFUSED(l, E_NOT_FOUND, store_cert_by_der(l->s, bytes_str("Subject"), serial, cert.der_hash, &got, &l->e));
    REFUSED(l, E_NOT_FOUND, store_cert_by_der(l->s, bytes_str("subject"), BYTES(serial.p, serial.len - 1), cert.der_hash, &got, &l->e));
    cert.der_hash[31] ^= 1;
    REFUSED(l, E_NOT_FOUND, store_cert_by_ca(l->s, "again", serial, cert.der_hash, &got, &l->e));
    OK(l, store_cert_by_der(l->s, bytes_str("subject"), serial, cert.der_hash, &got, &l->e));
    assert_int_equal(got.id, 1);
    cert.der_hash[0] ^= 1;
    REFUSED(l, E_NOT_FOUND, store_cert_by_der(l->s, bytes_str("subject"), serial, cert.der_hash, &got, &l->e));
}

static void certificate_needs_its_profile_issuer_and_a_new_serial(void **state)
{
    struct ledger *l = *state;
    uint8_t der[700];
    struct cert_row cert, wrong;

    BEGIN(l);
    ledger_fill_cert(l, 1, der, sizeof(der), &cert);
    OK(l, store_cert_insert(l->s, &cert, &l->e));
    ledger_fill_cert(l, 2, der, sizeof(der), &wrong);
    memcpy(wrong.serial, cert.serial, sizeof(cert.serial));
    REFUSED(l, E_CONFLICT, store_cert_insert(l->s, &wrong, &l->e));
    ledger_fill_cert(l, 2, der, sizeof(der), &wrong);
    wrong.profile_hash[0] ^= 1;
    REFUSED(l, E_CONFLICT, store_cert_insert(l->s, &wrong, &l->e));
    ledger_fill_cert(l, 2, der, sizeof(der), &wrong);
    wrong.issuer = 99;
    REFUSED(l, E_CONFLICT, store_cert_insert(l->s, &wrong, &l->e));
    ledger_fill_cert(l, 2, der, sizeof(der), &wrong);
    wrong.device = 99;
    REFUSED(l, E_CONFLICT, store_cert_insert(l->s, &wrong, &l->e));
    ledger_fill_cert(l, 2, der, sizeof(der), &wrong);
    wrong.serial_len = 0;
    REFUSED(l, E_CONFLICT, store_cert_insert(l->s, &wrong, &l->e));
    ledger_fill_cert(l, 2, der, sizeof(der), &wrong);
    OK(l, store_cert_insert(l->s, &wrong, &l->e));
    COMMIT(l);
    assert_int_equal(wrong.id, 2);
}

static void newest_certificate_of_device_and_of_service(void **state)
{
    struct ledger *l = *state;
    struct device_row dev = device("acme", "dev-1");
    uint8_t der[700];
    struct cert_row cert, got;
    uint64_t first = 0;

    BEGIN(l);
    OK(l, store_device_insert(l->s, &dev, &l->e));
    REFUSED(l, E_NOT_FOUND, store_cert_newest(l->s, dev.id, PROFILE_LDEVID, &got, &l->e));
    for (unsigned n = 1; n <= 6; n++) {
        ledger_fill_cert(l, n, der, sizeof(der), &cert);
        cert.device = n <= 3 ? dev.id : 0;
        cert.kind = n == 3 ? PROFILE_IDEVID : n <= 3 ? PROFILE_LDEVID : PROFILE_TLS_SERVER;
        cert.requester = n == 6 ? "service:front-1" : "service:front-0";
        OK(l, store_cert_insert(l->s, &cert, &l->e));
        first = n == 1 ? cert.id : first;
    }
    OK(l, store_cert_newest(l->s, dev.id, PROFILE_LDEVID, &got, &l->e));
    assert_int_equal(got.id, 2);
    OK(l, store_cert_newest_by_requester(l->s, "service:front-0", PROFILE_TLS_SERVER, &got, &l->e));
    assert_int_equal(got.id, 5);
    /* a certificate of a device never passes for one of a service */
    REFUSED(l, E_NOT_FOUND, store_cert_newest_by_requester(l->s, "service:front-0", PROFILE_LDEVID, &got, &l->e));
    OK(l, store_cert_set_used(l->s, first, T0 + 5, &l->e));
    OK(l, store_cert_set_used(l->s, first, T0 + 9, &l->e));
    OK(l, store_cert_set_replaced(l->s, first, 2, &l->e));
    REFUSED(l, E_CONFLICT, store_cert_set_replaced(l->s, first, 99, &l->e));
    REFUSED(l, E_NOT_FOUND, store_cert_set_replaced(l->s, 99, 2, &l->e));
    REFUSED(l, E_NOT_FOUND, store_cert_set_used(l->s, 99, T0, &l->e));
    COMMIT(l);
    OK(l, store_cert_by_id(l->s, first, &got, &l->e));
    assert_int_equal(got.first_used_at, T0 + 5);
    assert_int_equal(got.replaced_by, 2);
}

static bool count_certs(void *arg, const struct cert_row *row)
{
    assert_true(row->der.len == 700);
    ++*(uint64_t *)arg;
    return true;
}

static void certificate_list_filters_and_pages(void **state)
{
    struct ledger *l = *state;
    struct device_row dev = device("acme", "dev-1");
    uint8_t der[700];
    static struct {
        const char *name;
        struct cert_filter f;
        uint64_t rows;
    } cases[] = {
        {"everything", {.status = -1}, 10},
        {"good", {.status = CERT_GOOD}, 7},
        {"revoked", {.status = CERT_REVOKED}, 2},
        {"on hold", {.status = CERT_ON_HOLD}, 1},
        {"of a device", {.status = -1, .device = 1}, 4},
        {"revoked of a device", {.status = CERT_REVOKED, .device = 1}, 1},
        {"of a domain", {.status = -1, .domain = "acme"}, 10},
        {"of another domain", {.status = -1, .domain = "beta"}, 0},
        {"of a profile", {.status = -1, .profile = "ldevid"}, 10},
        {"of another issuer", {.status = -1, .issuer = 99}, 0},
        {"expiring", {.status = -1, .expires_before = T0 + 3}, 2},
        {"a page", {.status = -1, .after_id = 4, .limit = 5}, 5},
    };

    BEGIN(l);
    OK(l, store_device_insert(l->s, &dev, &l->e));
    for (unsigned n = 1; n <= 10; n++) {
        struct cert_row cert;
        struct status_row status = ledger_status(l, n, CERT_GOOD, REASON_UNSPECIFIED);

        ledger_fill_cert(l, n, der, sizeof(der), &cert);
        cert.device = n <= 4 ? dev.id : 0;
        cert.not_after = T0 + n;
        OK(l, store_cert_insert(l->s, &cert, &l->e));
        OK(l, store_status_append(l->s, &status, &l->e));
    }
    ledger_change(l, 1, CERT_REVOKED, REASON_KEY_COMPROMISE);
    ledger_change(l, 7, CERT_REVOKED, REASON_SUPERSEDED);
    ledger_change(l, 8, CERT_ON_HOLD, REASON_CERTIFICATE_HOLD);
    COMMIT(l);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t seen = 0, n = 0;

        OK(l, store_cert_each(l->s, &cases[i].f, count_certs, &seen, &l->e));
        if (seen != cases[i].rows)
            fail_msg("%s: %d rows", cases[i].name, (int)seen);
        OK(l, store_cert_count(l->s, &cases[i].f, &n, &l->e));
        if (cases[i].f.limit == 0)
            assert_int_equal(n, cases[i].rows);
    }
}

static void rows_of_one_function_survive_calls_of_others(void **state)
{
    struct ledger *l = *state;
    struct device_row dev = device("acme", "dev-1"), got;
    struct cert_row cert;

    BEGIN(l);
    OK(l, store_device_insert(l->s, &dev, &l->e));
    ledger_issue(l, 1);
    COMMIT(l);
    OK(l, store_device_find(l->s, "acme", "dev-1", &got, &l->e));
    OK(l, store_cert_by_id(l->s, 1, &cert, &l->e));
    assert_string_equal(got.device_id, "dev-1");
    assert_string_equal(cert.profile, "ldevid");
}

static bool recurse(void *arg, const struct cert_row *row)
{
    struct ledger *l = arg;
    const struct cert_filter every = {.status = -1};
    struct cert_row same;
    uint64_t n = 0;

    OK(l, store_cert_by_id(l->s, row->id, &same, &l->e)); /* another function: fine */
    assert_int_equal(same.id, row->id);
    REFUSED(l, E_INTERNAL, store_cert_each(l->s, &every, count_certs, &n, &l->e));
    SAYS(l, "its own callback");
    return true;
}

static void callback_may_call_other_functions_but_not_its_own(void **state)
{
    struct ledger *l = *state;
    const struct cert_filter every = {.status = -1};

    BEGIN(l);
    ledger_issue(l, 1);
    ledger_issue(l, 2);
    COMMIT(l);
    OK(l, store_cert_each(l->s, &every, recurse, l, &l->e));
    assert_false(store_is_doubtful(l->s));
}

/* --- status -------------------------------------------------------------------------------------------------- */

static void status_follows_the_table(void **state)
{
    struct ledger *l = *state;
    static const struct {
        const char *name;
        enum cert_status from, to;
        enum err_code code;
        enum crl_reason reason;
        uint8_t hold_by;
    } cases[] = {
        {"good again", CERT_GOOD, CERT_GOOD, E_CONFLICT},
        {"hold", CERT_GOOD, CERT_ON_HOLD, E_OK},
        {"revoke", CERT_GOOD, CERT_REVOKED, E_OK},
        {"release", CERT_ON_HOLD, CERT_GOOD, E_OK},
        {"hold again", CERT_ON_HOLD, CERT_ON_HOLD, E_CONFLICT},
        {"revoke what is on hold", CERT_ON_HOLD, CERT_REVOKED, E_OK},
        {"revoked never returns to good", CERT_REVOKED, CERT_GOOD, E_CONFLICT},
        {"revoked never becomes a hold", CERT_REVOKED, CERT_ON_HOLD, E_CONFLICT},
        {"revoke again", CERT_REVOKED, CERT_REVOKED, E_CONFLICT},
        {"revoked, and its key turns out to be compromised", CERT_REVOKED, CERT_REVOKED, E_OK, REASON_KEY_COMPROMISE},
        {"on hold by the same again", CERT_ON_HOLD, CERT_ON_HOLD, E_CONFLICT, REASON_CERTIFICATE_HOLD, HOLD_OPERATOR},
        {"on hold by another too", CERT_ON_HOLD, CERT_ON_HOLD, E_OK, REASON_CERTIFICATE_HOLD, HOLD_OPERATOR | HOLD_LIFE},
    };

    BEGIN(l);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct status_row row;
        struct cert_row cert;
        uint64_t seq, after;

        seq = ledger_issue(l, 100 + i);
        if (cases[i].from != CERT_GOOD) {
            ledger_change(l, 100 + i, cases[i].from, REASON_CERTIFICATE_HOLD);
            seq++;
        }
        row = ledger_status(l, 100 + i, cases[i].to, cases[i].reason ? cases[i].reason : REASON_SUPERSEDED);
        row.hold_by = cases[i].hold_by;
        if (store_status_append(l->s, &row, &l->e) != cases[i].code)
            fail_msg("%s: %s", cases[i].name, l->e.msg);
        OK(l, store_status_seq(l->s, &after, &l->e));
        assert_int_equal(after, cases[i].code == E_OK ? seq + 1 : seq);
        OK(l, store_cert_by_serial(l->s, l->issuer, BYTES(row.serial, row.serial_len), &cert, &l->e));
        assert_int_equal(cert.status, cases[i].code == E_OK ? cases[i].to : cases[i].from);
        assert_int_equal(cert.status_seq, after);
        assert_int_equal(cert.hold_by != 0, cert.status == CERT_ON_HOLD);
        if (cases[i].code == E_OK) {
            assert_int_equal(cert.reason, row.reason);
            assert_int_equal(cert.status_at, row.time);
            assert_int_equal(row.not_after, cert.not_after);
        }
    }
    COMMIT(l);
    OK(l, store_check(l->s, &l->e));
}

static void database_itself_refuses_what_the_rules_forbid(void **state)
{
    struct ledger *l = *state;
    static const char *const forbidden[] = {
        "UPDATE cert SET status = 0 WHERE status = 2",
        "UPDATE cert SET der = x'00'",
        "DELETE FROM cert",
        "DELETE FROM intent",
        "UPDATE intent SET serial = x'01'",
        "UPDATE intent SET tbs_hash = zeroblob(32)",
        "DELETE FROM revoked",
        "DELETE FROM status_log",
        "UPDATE status_log SET status = 0",
        "DELETE FROM audit",
        "UPDATE audit SET actor = 'nobody'",
        "UPDATE crl_number SET number = number - 1",
        "INSERT INTO meta (name, value) VALUES ('x', NULL)",
        "INSERT INTO profile (hash, name, body, at) VALUES ('text', 'a', 'b', 0)",
    };
    struct intent_row drawn = intent(l, 2);
    uint64_t number;

    BEGIN(l);
    OK(l, store_intent_insert(l->s, &drawn, &l->e));
    ledger_issue(l, 1);
    ledger_change(l, 1, CERT_REVOKED, REASON_KEY_COMPROMISE);
    OK(l, store_crl_reserve(l->s, l->issuer, 0, T0, &number, &l->e));
    COMMIT(l);
    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
        if ((sqlite3_exec(l->s->db, forbidden[i], NULL, NULL, NULL) & 0xff) != SQLITE_CONSTRAINT)
            fail_msg("allowed: %s", forbidden[i]);
    OK(l, store_check(l->s, &l->e));
}

static void status_of_an_unknown_serial_needs_an_origin(void **state)
{
    struct ledger *l = *state;
    struct status_row row = ledger_status(l, 50, CERT_REVOKED, REASON_KEY_COMPROMISE), got;
    struct cert_row cert;

    BEGIN(l);
    REFUSED(l, E_NOT_FOUND, store_status_append(l->s, &row, &l->e));
    snprintf(row.origin, sizeof(row.origin), "crl:fleet-ca");
    row.invalidity = T0 - 3;
    row.batch = 12;
    OK(l, store_status_append(l->s, &row, &l->e));
    assert_int_equal(row.seq, 1);
    assert_true(row.not_after == TIME_NO_EXPIRY);
    REFUSED(l, E_CONFLICT, store_status_append(l->s, &row, &l->e));
    row = ledger_status(l, 51, CERT_GOOD, REASON_UNSPECIFIED);
    snprintf(row.origin, sizeof(row.origin), "crl:fleet-ca");
    REFUSED(l, E_CONFLICT, store_status_append(l->s, &row, &l->e)); /* never issued is never good */
    COMMIT(l);
    OK(l, store_status_by_seq(l->s, 1, &got, &l->e));
    assert_string_equal(got.origin, "crl:fleet-ca");
    assert_int_equal(got.invalidity, T0 - 3);
    assert_int_equal(got.batch, 12);
    REFUSED(l, E_NOT_FOUND, store_status_by_seq(l->s, 2, &got, &l->e));
    REFUSED(l, E_NOT_FOUND, store_cert_by_serial(l->s, l->issuer, BYTES(got.serial, got.serial_len), &cert, &l->e));
    OK(l, store_revoked_begin(l->s, l->issuer, 0, T0, &l->e));
    assert_true(store_revoked_next(l->s, &got, &l->e));
    assert_int_equal(got.reason, REASON_KEY_COMPROMISE);
    assert_false(store_revoked_next(l->s, &got, &l->e));
    store_revoked_end(l->s);
    OK(l, store_check(l->s, &l->e));
}

static bool status_in_order(void *arg, const struct status_row *row)
{
    uint64_t *seen = arg;

    assert_int_equal(row->seq, seen[1] + 1);
    seen[1] = row->seq;
    seen[0]++;
    return true;
}

static void status_log_has_no_gaps(void **state)
{
    struct ledger *l = *state;
    uint64_t seen[2] = {0, 0};

    BEGIN(l);
    for (unsigned n = 1; n <= 20; n++) {
        OK(l, store_savepoint(l->s, &l->e));
        ledger_issue(l, n);
        if (n % 3 == 0)
            store_savepoint_undo(l->s);
        else
            OK(l, store_savepoint_keep(l->s, &l->e));
    }
    COMMIT(l);
    OK(l, store_status_each(l->s, 0, 0, status_in_order, seen, &l->e));
    assert_int_equal(seen[0], 14);
    seen[0] = 0;
    seen[1] = 10;
    OK(l, store_status_each(l->s, 10, 3, status_in_order, seen, &l->e));
    assert_int_equal(seen[0], 3);
}

static void revoked_cursor_is_sorted_filtered_and_follows_release(void **state)
{
    struct ledger *l = *state;
    static const unsigned order[] = {9, 2, 7, 4, 1};
    uint8_t der[700], last[SERIAL_MAX_LEN] = {0};
    struct status_row row;
    uint64_t count;
    int64_t newest;
    unsigned n = 0;

    BEGIN(l);
    for (unsigned i = 1; i <= 10; i++) {
        struct cert_row cert;

        row = ledger_status(l, i, CERT_GOOD, REASON_UNSPECIFIED);
        ledger_fill_cert(l, i, der, sizeof(der), &cert);
        cert.shard = 1 + i % 2;
        cert.not_after = T0 + 100 * i;
        OK(l, store_cert_insert(l->s, &cert, &l->e));
        OK(l, store_status_append(l->s, &row, &l->e));
    }
    OK(l, store_revoked_newest(l->s, l->issuer, 0, &newest, &l->e));
    assert_int_equal(newest, 0);
    for (size_t i = 0; i < 5; i++)
        ledger_change(l, order[i], i == 0 ? CERT_ON_HOLD : CERT_REVOKED, i == 0 ? REASON_CERTIFICATE_HOLD : REASON_SUPERSEDED);
    COMMIT(l);
    OK(l, store_revoked_begin(l->s, l->issuer, 0, 0, &l->e));
    REFUSED(l, E_INTERNAL, store_revoked_begin(l->s, l->issuer, 0, 0, &l->e));
    while (store_revoked_next(l->s, &row, &l->e)) {
        assert_true(memcmp(last, row.serial, sizeof(last)) < 0);
        memcpy(last, row.serial, sizeof(last));
        n++;
    }
    assert_int_equal(l->e.code, E_OK);
    store_revoked_end(l->s);
    assert_int_equal(n, 5);
    OK(l, store_revoked_count(l->s, l->issuer, 0, T0 + 400, &count, &l->e));
    assert_int_equal(count, 3);
    OK(l, store_revoked_count(l->s, l->issuer, 1, 0, &count, &l->e));
    assert_int_equal(count, 2);

    OK(l, store_revoked_begin(l->s, l->issuer, 0, T0 + 400, &l->e)); /* 4, 7, 9: expiry is not before */
    for (n = 0; store_revoked_next(l->s, &row, &l->e); n++)
        assert_true(row.serial[15] >= 4);
    store_revoked_end(l->s);
    assert_int_equal(n, 3);

    OK(l, store_revoked_begin(l->s, l->issuer, 2, 0, &l->e)); /* odd ones */
    for (n = 0; store_revoked_next(l->s, &row, &l->e); n++)
        assert_int_equal(row.serial[15] % 2, 1);
    store_revoked_end(l->s);
    assert_int_equal(n, 3);

    OK(l, store_revoked_newest(l->s, l->issuer, 0, &newest, &l->e));
    assert_int_equal(newest, T0 + 9);
    OK(l, store_revoked_newest(l->s, l->issuer, 1, &newest, &l->e));
    assert_int_equal(newest, T0 + 4);
    BEGIN(l);
    row = ledger_status(l, 9, CERT_GOOD, REASON_REMOVE_FROM_CRL);
    row.time = T0 + 5000;
    OK(l, store_status_append(l->s, &row, &l->e));
    COMMIT(l);
    OK(l, store_revoked_newest(l->s, l->issuer, 2, &newest, &l->e));
    assert_int_equal(newest, T0 + 5000); /* a release is a change too */
    OK(l, store_revoked_begin(l->s, l->issuer, 0, 0, &l->e));
    for (n = 0; store_revoked_next(l->s, &row, &l->e); n++)
        assert_int_equal(row.status, CERT_REVOKED);
    store_revoked_end(l->s);
    assert_int_equal(n, 4);
    assert_false(store_revoked_next(l->s, &row, &l->e));
    assert_int_equal(l->e.code, E_INTERNAL);
    OK(l, store_check(l->s, &l->e));
}

static long rss_kib(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

static void hundred_thousand_entries_stream_without_growing(void **state)
{
    struct ledger *l = *state;
    struct store *r = NULL;
    struct status_row row;
    long before;
    unsigned n = 0;

    for (unsigned i = 0; i < 100000; i++) {
        if (i % 1000 == 0)
            BEGIN(l);
        row = ledger_status(l, (i * 7919u) % 100003u, CERT_REVOKED, REASON_SUPERSEDED);
        snprintf(row.origin, sizeof(row.origin), "import");
        OK(l, store_status_append(l->s, &row, &l->e));
        if (i % 1000 == 999)
            COMMIT(l);
    }
    OK(l, store_open(l->path, STORE_READ, &r, &l->e));
    before = rss_kib();
    OK(l, store_revoked_begin(r, l->issuer, 0, 0, &l->e));
    while (store_revoked_next(r, &row, &l->e))
        n++;
    assert_int_equal(l->e.code, E_OK);
    store_revoked_end(r);
    store_close(r);
    assert_int_equal(n, 100000);
    assert_true(rss_kib() - before < 16 * 1024);
}

/* What runs for every request must find its rows by an index, also when there are ten million. */
static void statements_of_a_request_never_scan(void **state)
{
    struct ledger *l = *state;
    static const char *const statements[] = {
#define X(name, sql) [Q_##name] = sql,
#include "ca/store/statements.h"
#undef X
    };
    static const enum stmt_id hot[] = {
        Q_META_GET,      Q_KEY_BY_NAME,     Q_ISSUER_BY_ID,    Q_ISSUER_BY_NAME,           Q_DEVICE_FIND,
        Q_DEVICE_BY_ID,  Q_UNIT_STANDS,    Q_SPKI_UNIT,       Q_DEVICE_EACH_NAMED,        Q_DEVICE_EACH_UNIT,
        Q_INTENT_INSERT, Q_INTENT_FINISH, Q_INTENT_STATE,    Q_CERT_BY_SERIAL,  Q_CERT_BY_DER,              Q_CERT_BY_ID,
        Q_CERT_NEWEST,   Q_CERT_EACH,       Q_CERT_EACH_DEVICE, Q_CERT_NEWEST_BY_REQUESTER, Q_CERT_EACH_STATUS,
        Q_STATUS_NOW,    Q_STATUS_CERT,     Q_STATUS_BY_SEQ,   Q_STATUS_EACH,              Q_REVOKED_NOW,
        Q_REVOKED_ALL,   Q_REVOKED_SHARD,   Q_REVOKED_DROP,    Q_NEWEST_GET,               Q_CRL_RESERVED,
        Q_CRL_NEWEST,    Q_CRL_LAST_REGULAR, Q_SECRET_BY_USER, Q_SECRET_COUNT_USE,         Q_SECRET_BIND,
        Q_AUDIT_EACH,    Q_AUDIT_HASH,      Q_ALARM_CLEAR,     Q_DEVICE_EACH,              Q_CERT_BY_CA,
    };

    for (size_t i = 0; i < sizeof(hot) / sizeof(hot[0]); i++) {
        char sql[4096];
        sqlite3_stmt *st = NULL;

        snprintf(sql, sizeof(sql), "EXPLAIN QUERY PLAN %s", statements[hot[i]]);
        assert_int_equal(sqlite3_prepare_v2(l->s->db, sql, -1, &st, NULL), SQLITE_OK);
        while (sqlite3_step(st) == SQLITE_ROW) {
            const char *step = (const char *)sqlite3_column_text(st, 3);

            if ((strstr(step, "SCAN") && !strstr(step, "SCAN CONSTANT ROW")) || (strstr(step, "TEMP B-TREE") && hot[i] != Q_CERT_EACH_DEVICE &&
                                         hot[i] != Q_DEVICE_EACH_UNIT))
                fail_msg("%s\n  %s", statements[hot[i]], step);
        }
        sqlite3_finalize(st);
    }
}

/* --- CRLs ---------------------------------------------------------------------------------------------------- */

static void crl_number_rises_and_survives_a_restart(void **state)
{
    struct ledger *l = *state;
    static const struct {
        const char *name;
        int64_t now;
        uint64_t wanted;
    } cases[] = {
        {"first is the time", T0, T0},
        {"same second", T0, T0 + 1},
        {"later", T0 + 60, T0 + 60},
        {"clock moved back", T0 - 500, T0 + 61},
    };
    uint64_t number;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        BEGIN(l);
        OK(l, store_crl_reserve(l->s, l->issuer, 0, cases[i].now, &number, &l->e));
        COMMIT(l);
        if (number != cases[i].wanted)
            fail_msg("%s: %lld", cases[i].name, (long long)number);
        ledger_reopen(l);
    }
    BEGIN(l);
    OK(l, store_crl_reserve(l->s, l->issuer, 3, T0, &number, &l->e));
    assert_int_equal(number, T0); /* each scope counts for itself */
    REFUSED(l, E_INTERNAL, store_crl_reserve(l->s, l->issuer, 0, 0, &number, &l->e));
    REFUSED(l, E_CONFLICT, store_crl_reserve(l->s, 99, 0, T0, &number, &l->e));
    assert_int_equal(number, 0);
    COMMIT(l);
    OK(l, store_crl_number(l->s, "fleet-ca", 0, &number, &l->e));
    assert_int_equal(number, T0 + 61);
    OK(l, store_crl_number(l->s, "none", 0, &number, &l->e));
    assert_int_equal(number, 0);
}

static bool count_numbers(void *arg, const char *issuer, unsigned shard, uint64_t number)
{
    assert_string_equal(issuer, "fleet-ca");
    ((uint64_t *)arg)[shard] = number;
    return true;
}

static void published_crl_never_goes_back(void **state)
{
    struct ledger *l = *state;
    struct crl_row crl = {.issuer = 1, .this_update = T0, .next_update = T0 + 100, .seq = 5, .regular = true};
    struct crl_row got;
    uint64_t a, b, numbers[4] = {0};
    int64_t regular;

    crl.issuer = l->issuer;
    crl.der = bytes_str("first");
    REFUSED(l, E_NOT_FOUND, store_crl_newest(l->s, l->issuer, 0, &got, &l->e));
    l->e = (struct err){0};
    OK(l, store_crl_last_regular(l->s, l->issuer, 0, &regular, &l->e));
    assert_int_equal(regular, 0);
    assert_int_equal(l->e.code, E_OK); /* no row is an answer, not an error left behind */
    BEGIN(l);
    crl.number = T0;
    REFUSED(l, E_CONFLICT, store_crl_published(l->s, &crl, &l->e)); /* not reserved */
    OK(l, store_crl_reserve(l->s, l->issuer, 0, T0, &a, &l->e));
    OK(l, store_crl_reserve(l->s, l->issuer, 0, T0 + 5, &b, &l->e));
    crl.number = b + 1;
    REFUSED(l, E_CONFLICT, store_crl_published(l->s, &crl, &l->e));
    crl.number = a;
    OK(l, store_crl_published(l->s, &crl, &l->e));
    REFUSED(l, E_CONFLICT, store_crl_published(l->s, &crl, &l->e)); /* the same number */
    crl.number = b;
    crl.seq = 4;
    REFUSED(l, E_CONFLICT, store_crl_published(l->s, &crl, &l->e));
    crl.seq = 6;
    crl.this_update = T0 - 1;
    REFUSED(l, E_CONFLICT, store_crl_published(l->s, &crl, &l->e));
    crl.this_update = T0 + 5;
    crl.regular = false;
    crl.entries = 17;
    crl.der = bytes_str("second");
    OK(l, store_crl_published(l->s, &crl, &l->e));
    COMMIT(l);
    OK(l, store_crl_newest(l->s, l->issuer, 0, &got, &l->e));
    assert_int_equal(got.number, b);
    assert_int_equal(got.entries, 17);
    assert_int_equal(got.seq, 6);
    assert_false(got.regular);
    assert_true(bytes_equal(got.der, bytes_str("second")));
    OK(l, store_crl_last_regular(l->s, l->issuer, 0, &regular, &l->e));
    assert_int_equal(regular, T0);
    OK(l, store_crl_number_each(l->s, count_numbers, numbers, &l->e));
    assert_int_equal(numbers[0], b);
}

/* --- secrets and alarms -------------------------------------------------------------------------------------- */

static bool count_secrets(void *arg, const struct secret_row *row)
{
    assert_true(row->id > 0);
    ++*(int *)arg;
    return true;
}

static void group_secret_ends_at_its_quota(void **state)
{
    struct ledger *l = *state;
    struct secret_row group = {.kind = SECRET_GROUP, .user = "lab", .quota = 2, .not_after = T0 + 100};
    struct secret_row got;
    int n = 0;

    group.domain = "acme";
    group.profile = "ldevid";
    group.pattern = "lab-*";
    BEGIN(l);
    OK(l, store_secret_insert(l->s, &group, &l->e));
    REFUSED(l, E_CONFLICT, store_secret_insert(l->s, &group, &l->e));
    OK(l, store_secret_count_use(l->s, group.id, &l->e));
    OK(l, store_savepoint(l->s, &l->e));
    OK(l, store_secret_count_use(l->s, group.id, &l->e));
    REFUSED(l, E_CONFLICT, store_secret_count_use(l->s, group.id, &l->e));
    store_savepoint_undo(l->s);
    OK(l, store_secret_count_use(l->s, group.id, &l->e));
    REFUSED(l, E_CONFLICT, store_secret_count_use(l->s, group.id, &l->e));
    SAYS(l, "used 2 of 2");
    REFUSED(l, E_NOT_FOUND, store_secret_count_use(l->s, 99, &l->e));
    COMMIT(l);
    OK(l, store_secret_by_user(l->s, "lab", &got, &l->e));
    assert_int_equal(got.used, 2);
    assert_string_equal(got.pattern, "lab-*");
    REFUSED(l, E_NOT_FOUND, store_secret_by_user(l->s, "LAB", &got, &l->e));
    OK(l, store_secret_each(l->s, 0, 0, count_secrets, &n, &l->e));
    assert_int_equal(n, 1);
}

static void device_secret_binds_to_one_key(void **state)
{
    struct ledger *l = *state;
    struct device_row dev = device("acme", "dev-1");
    struct secret_row secret = {.kind = SECRET_DEVICE, .user = "u1"}, wrong = {.kind = SECRET_DEVICE, .user = "u2"}, got;
    uint8_t key[32] = {1}, other[32] = {2};

    BEGIN(l);
    OK(l, store_device_insert(l->s, &dev, &l->e));
    REFUSED(l, E_CONFLICT, store_secret_insert(l->s, &wrong, &l->e)); /* a device secret without a device */
    wrong.kind = SECRET_GROUP;
    REFUSED(l, E_CONFLICT, store_secret_insert(l->s, &wrong, &l->e)); /* a group secret without a quota */
    secret.device = dev.id;
    OK(l, store_secret_insert(l->s, &secret, &l->e));
    OK(l, store_secret_bind(l->s, secret.id, key, T0, &l->e));
    OK(l, store_secret_bind(l->s, secret.id, key, T0 + 5, &l->e));
    REFUSED(l, E_CONFLICT, store_secret_bind(l->s, secret.id, other, T0 + 5, &l->e));
    SAYS(l, "bound to another key");
    REFUSED(l, E_NOT_FOUND, store_secret_bind(l->s, 99, key, T0, &l->e));
    OK(l, store_secret_count_use(l->s, secret.id, &l->e)); /* no quota */
    OK(l, store_secret_revoke(l->s, secret.id, T0 + 9, &l->e));
    REFUSED(l, E_CONFLICT, store_secret_count_use(l->s, secret.id, &l->e));
    REFUSED(l, E_NOT_FOUND, store_secret_revoke(l->s, 99, T0 + 9, &l->e));
    COMMIT(l);
    OK(l, store_secret_by_user(l->s, "u1", &got, &l->e));
    assert_memory_equal(got.bound_spki, key, 32);
    assert_int_equal(got.first_used_at, T0);
    assert_int_equal(got.revoked_at, T0 + 9);
    assert_int_equal(got.device, dev.id);
}

static bool count_alarms(void *arg, const struct alarm_row *row)
{
    assert_string_equal(row->kind, "crl-late");
    assert_string_equal(row->text, "look");
    ++*(int *)arg;
    return true;
}

static void alarm_is_open_once_until_cleared(void **state)
{
    struct ledger *l = *state;
    struct alarm_row a = {.time = T0, .kind = "crl-late", .object = "crl:fleet-ca/0", .text = "look"}, b = a;
    int all = 0, open = 0;

    b.object = "crl:fleet-ca/1";
    BEGIN(l);
    OK(l, store_alarm_insert(l->s, &a, &l->e));
    OK(l, store_alarm_insert(l->s, &b, &l->e));
    REFUSED(l, E_CONFLICT, store_alarm_insert(l->s, &a, &l->e));
    OK(l, store_alarm_clear(l->s, "crl-late", "", "crl:fleet-ca/0", T0 + 1, &l->e));
    REFUSED(l, E_NOT_FOUND, store_alarm_clear(l->s, "crl-late", "", "crl:fleet-ca/0", T0 + 1, &l->e));
    OK(l, store_alarm_insert(l->s, &a, &l->e));
    COMMIT(l);
    OK(l, store_alarm_each(l->s, false, count_alarms, &all, &l->e));
    OK(l, store_alarm_each(l->s, true, count_alarms, &open, &l->e));
    assert_int_equal(all, 3);
    assert_int_equal(open, 2);
}

/* --- check, backup, restore ---------------------------------------------------------------------------------- */

static void check_finds_what_was_changed_behind_our_back(void **state)
{
    struct ledger *l = *state;
    static const struct {
        const char *name, *sql;
    } cases[] = {
        {"revoked made good again",
         "DROP TRIGGER cert_revoked_is_final; DROP TRIGGER revoked_is_final; UPDATE cert SET status = 0, reason = 0, "
         "status_seq = 1 WHERE id = 1; DELETE FROM revoked"},
        {"revoked row dropped", "DROP TRIGGER revoked_is_final; DELETE FROM revoked"},
        {"status row dropped", "PRAGMA foreign_keys = OFF; DROP TRIGGER status_log_stays; DELETE FROM status_log WHERE seq = 1"},
        {"audit row dropped", "DROP TRIGGER audit_stays; DELETE FROM audit WHERE seq = 1"},
        {"certificate of a profile that is gone", "PRAGMA foreign_keys = OFF; DELETE FROM profile"},
        {"status changed in the certificate row only", "UPDATE cert SET reason = 5 WHERE id = 1"},
    };

    BEGIN(l);
    ledger_issue(l, 1);
    ledger_issue(l, 2);
    ledger_change(l, 1, CERT_REVOKED, REASON_KEY_COMPROMISE);
    COMMIT(l);
    OK(l, store_check(l->s, &l->e));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char copy[160];
        struct store *s = NULL;

        path_of(l, "copy", copy);
        OK(l, store_backup(l->s, copy, &l->e));
        ledger_sql(copy, cases[i].sql);
        OK(l, store_open(copy, STORE_READ, &s, &l->e));
        if (store_check(s, &l->e) != E_CONFLICT)
            fail_msg("%s: not found", cases[i].name);
        store_close(s);
        unlink(copy);
    }
}

static void backup_is_one_whole_file_and_never_overwrites(void **state)
{
    struct ledger *l = *state;
    struct store *r = NULL, *copy = NULL;
    char path[160], wal[176];
    uint64_t seq;
    struct stat st;

    path_of(l, "backup", path);
    snprintf(wal, sizeof(wal), "%s-wal", path);
    BEGIN(l);
    ledger_issue(l, 1);
    REFUSED(l, E_INTERNAL, store_backup(l->s, path, &l->e));
    COMMIT(l);
    OK(l, store_open(l->path, STORE_READ, &r, &l->e));
    OK(l, store_backup(r, path, &l->e)); /* from a reader, with a live writer */
    REFUSED(l, E_CONFLICT, store_backup(r, path, &l->e));
    store_close(r);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    OK(l, store_open(path, STORE_READ, &copy, &l->e));
    OK(l, store_status_seq(copy, &seq, &l->e));
    assert_int_equal(seq, 1);
    OK(l, store_check(copy, &l->e));
    store_close(copy);
    assert_int_not_equal(access(wal, F_OK), 0);
}

static void restore_refuses_a_running_service_and_another_ledger(void **state)
{
    struct ledger *l = *state;
    char backup[160], other[160], aside[200];
    struct store *s = NULL;

    path_of(l, "backup", backup);
    OK(l, store_backup(l->s, backup, &l->e));
    REFUSED(l, E_BUSY, restore_install(backup, l->path, T0, aside, sizeof(aside), &l->e));
    SAYS(l, "another process holds");
    path_of(l, "other", other);
    OK(l, store_open(other, STORE_WRITE, &s, &l->e));
    store_close(s);
    REFUSED(l, E_CONFLICT, restore_install(backup, other, T0, aside, sizeof(aside), &l->e));
    SAYS(l, "move that away first");
    OK(l, store_open(other, STORE_WRITE, &s, &l->e)); /* untouched */
    store_close(s);
}

static void restored_ledger_starts_sealed_and_the_old_one_is_kept(void **state)
{
    struct ledger *l = *state;
    char backup[160], aside[200];
    AUTO_BUF sealed = BUF_INIT(64);
    struct restore_info info;
    struct store *old = NULL;
    uint64_t seq;

    path_of(l, "backup", backup);
    BEGIN(l);
    ledger_issue(l, 1);
    COMMIT(l);
    OK(l, store_backup(l->s, backup, &l->e));
    BEGIN(l);
    ledger_issue(l, 2);
    COMMIT(l);
    /* a ledger that crashed: its last commit is in the log only */
    l->s->doubtful = true;
    ledger_close(l);
    OK(l, restore_check(backup, &info, &l->e));
    assert_int_equal(info.audit_seq, 1);
    assert_int_equal(info.status_seq, 1);
    assert_int_equal(info.certs, 1);
    assert_int_equal(info.time, T0 + 1);
    OK(l, restore_install(backup, l->path, T0, aside, sizeof(aside), &l->e));
    assert_non_null(strstr(aside, ".replaced-20231114T221320Z"));
    ledger_reopen(l);
    OK(l, store_meta_get(l->s, "sealed", &sealed, &l->e));
    assert_true(bytes_equal(buf_bytes(&sealed), bytes_str("restored")));
    OK(l, store_status_seq(l->s, &seq, &l->e));
    assert_int_equal(seq, 1);
    OK(l, store_check(l->s, &l->e));
    OK(l, store_open(aside, STORE_WRITE, &old, &l->e));
    OK(l, store_status_seq(old, &seq, &l->e));
    assert_int_equal(seq, 2);
    store_close(old);
}

static void restore_into_an_empty_place_works(void **state)
{
    struct ledger *l = *state;
    char backup[160], dest[160], aside[200];
    struct store *s = NULL;

    path_of(l, "backup", backup);
    path_of(l, "new", dest);
    OK(l, store_backup(l->s, backup, &l->e));
    OK(l, restore_install(backup, dest, T0, aside, sizeof(aside), &l->e));
    assert_string_equal(aside, "");
    OK(l, store_open(dest, STORE_WRITE, &s, &l->e));
    store_close(s);
}

static void damaged_backup_is_refused(void **state)
{
    struct ledger *l = *state;
    char backup[160], aside[200];
    struct restore_info info;
    struct stat st;
    int fd;

    path_of(l, "backup", backup);
    REFUSED(l, E_NOT_FOUND, restore_check(backup, &info, &l->e));
    BEGIN(l);
    for (unsigned n = 1; n < 200; n++)
        ledger_issue(l, n);
    COMMIT(l);
    OK(l, store_backup(l->s, backup, &l->e));
    OK(l, restore_check(backup, &info, &l->e));
    assert_int_equal(stat(backup, &st), 0);
    assert_int_equal(truncate(backup, st.st_size - 4096), 0);
    REFUSED(l, E_CONFLICT, restore_check(backup, &info, &l->e));
    unlink(backup);
    OK(l, store_backup(l->s, backup, &l->e));
    fd = open(backup, O_WRONLY);
    assert_int_equal(pwrite(fd, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, st.st_size / 4096 / 2 * 4096), 8);
    close(fd);
    REFUSED(l, E_CONFLICT, restore_check(backup, &info, &l->e));
    ledger_close(l);
    REFUSED(l, E_CONFLICT, restore_install(backup, l->path, T0, aside, sizeof(aside), &l->e));
    ledger_reopen(l); /* untouched */
    OK(l, store_check(l->s, &l->e));
}

static void interrupted_restore_is_not_opened_and_can_be_completed(void **state)
{
    struct ledger *l = *state;
    char backup[160], mark[160], aside[200];
    struct store *s = NULL;

    path_of(l, "backup", backup);
    path_of(l, "ledger.restoring", mark);
    OK(l, store_backup(l->s, backup, &l->e));
    ledger_close(l);
    close(open(mark, O_CREAT | O_WRONLY, 0600));
    unlink(l->path); /* the worst moment */
    REFUSED(l, E_CONFLICT, store_open(l->path, STORE_WRITE, &s, &l->e));
    SAYS(l, "a restore was interrupted");
    OK(l, restore_install(backup, l->path, T0, aside, sizeof(aside), &l->e));
    ledger_reopen(l);
}

#define T(f) cmocka_unit_test_setup_teardown(f, ledger_setup, ledger_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(writer_syncs_every_commit_and_is_in_wal_mode),
        T(test_hook_weakens_synchronous_only_in_test_builds),
        T(reader_cannot_write_or_checkpoint),
        T(second_writer_is_refused_until_the_first_closes),
        T(newer_schema_is_refused_by_name),
        T(foreign_database_is_refused),
        T(database_missing_beside_its_log_is_not_made_anew),
        T(reader_of_a_missing_ledger_makes_none),
        T(ledger_id_is_drawn_once),
        T(clean_close_leaves_an_empty_log),
        T(checkpoint_waits_for_the_size_and_never_for_a_reader),
        T(write_outside_a_transaction_is_refused),
        T(conflict_in_a_savepoint_leaves_the_batch_usable),
        T(undo_takes_the_counters_back),
        T(commit_on_a_full_disk_is_in_doubt),
        T(every_failing_write_or_sync_puts_the_batch_in_doubt),
        T(every_failing_allocation_leaves_a_whole_batch_or_none),
        T(acknowledged_commits_survive_kill),
        T(meta_keeps_octets_and_numbers),
        T(newest_time_is_the_later_of_floor_and_audit),
        T(keys_are_unique_by_name),
        T(newest_issuer_row_of_a_name_is_in_use),
        T(device_is_unique_in_its_domain),
        T(stop_follows_the_unit),
        T(device_list_filters_and_pages),
        T(key_belongs_to_one_unit_across_domains),
        T(serial_of_an_intent_is_never_drawn_again),
        T(renewals_are_counted_in_steps),
        T(certificate_comes_back_as_stored),
        T(certificate_is_found_by_all_of_its_der),
        T(certificate_needs_its_profile_issuer_and_a_new_serial),
        T(newest_certificate_of_device_and_of_service),
        T(certificate_list_filters_and_pages),
        T(rows_of_one_function_survive_calls_of_others),
        T(callback_may_call_other_functions_but_not_its_own),
        T(status_follows_the_table),
        T(database_itself_refuses_what_the_rules_forbid),
        T(status_of_an_unknown_serial_needs_an_origin),
        T(status_log_has_no_gaps),
        T(revoked_cursor_is_sorted_filtered_and_follows_release),
        T(hundred_thousand_entries_stream_without_growing),
        T(statements_of_a_request_never_scan),
        T(crl_number_rises_and_survives_a_restart),
        T(published_crl_never_goes_back),
        T(group_secret_ends_at_its_quota),
        T(device_secret_binds_to_one_key),
        T(alarm_is_open_once_until_cleared),
        T(check_finds_what_was_changed_behind_our_back),
        T(backup_is_one_whole_file_and_never_overwrites),
        T(restore_refuses_a_running_service_and_another_ledger),
        T(restored_ledger_starts_sealed_and_the_old_one_is_kept),
        T(restore_into_an_empty_place_works),
        T(damaged_backup_is_refused),
        T(interrupted_restore_is_not_opened_and_can_be_completed),
    };

    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
