/* SPDX-License-Identifier: Apache-2.0 */
/* The replica of the status log, on real SQLite files: what it keeps, what it refuses, when it begins anew. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <sqlite3.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "ca/replica.h"

static char dir[256], file[300];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "%s/inkan-replica-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(dir))
        return -1;
    snprintf(file, sizeof(file), "%s/replica.db", dir);
    return 0;
}

static int remove_dir(void **state)
{
    static const char *const suffix[] = {"", "-wal", "-shm", "-journal"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(suffix); i++) {
        char path[320];

        snprintf(path, sizeof(path), "%s%s", file, suffix[i]);
        unlink(path);
    }
    return rmdir(dir);
}

static struct replica *open_as(bool rebuilt)
{
    struct replica *r = NULL;
    struct err why, e = {0};

    if (replica_open(dir, false, &r, &why, &e) != E_OK)
        fail_msg("%s", e.msg);
    if ((why.code != E_OK) != rebuilt)
        fail_msg("rebuilt: %s", why.code ? why.msg : "no");
    return r;
}

static struct status_row row(uint64_t seq, uint8_t serial, enum cert_status status, enum crl_reason reason,
                             int64_t time)
{
    return (struct status_row){.seq = seq,
                               .issuer = 7,
                               .serial = {serial, 1},
                               .serial_len = 2,
                               .status = status,
                               .reason = reason,
                               .time = time,
                               .not_after = 5000};
}

static void apply(struct replica *r, struct status_row v)
{
    size_t refused;
    struct err e = {0};

    if (replica_apply(r, &v, 1, &refused, &e) != E_OK)
        fail_msg("%s", e.msg);
    assert_int_equal(refused, 0);
}

static struct replica_row get(struct replica *r, uint8_t serial)
{
    const uint8_t octets[] = {serial, 1};
    struct replica_row out;
    struct err e = {0};

    if (replica_get(r, 7, BYTES_OF(octets), &out, &e) != E_OK)
        fail_msg("%s", e.msg);
    return out;
}

static enum err_code get_code(struct replica *r, uint32_t issuer, const void *serial, size_t len)
{
    struct replica_row out;
    struct err e;

    return replica_get(r, issuer, BYTES(serial, len), &out, &e);
}

static void rows_survive_closing(void **state)
{
    struct replica *r = open_as(false);
    struct replica_row v;
    struct err e;

    (void)state;
    assert_int_equal(replica_seq(r), 0);
    assert_int_equal(replica_ledger_id(r).len, 0);
    assert_int_equal(replica_reset(r, bytes_str("ledger-a"), &e), E_OK);
    apply(r, row(1, 0x11, CERT_GOOD, REASON_UNSPECIFIED, 1000));
    apply(r, row(2, 0x11, CERT_REVOKED, REASON_KEY_COMPROMISE, 2000));
    replica_free(r);

    r = open_as(false);
    assert_int_equal(replica_seq(r), 2);
    assert_int_equal(replica_time(r), 2000);
    assert_true(bytes_equal(replica_ledger_id(r), bytes_str("ledger-a")));
    v = get(r, 0x11);
    assert_true(v.status == CERT_REVOKED && v.reason == REASON_KEY_COMPROMISE && v.time == 2000 && v.changed == 2000);
    assert_true(v.not_after == 5000 && v.seq == 2);
    replica_free(r);
}

static void issuance_is_no_change_and_release_is_one(void **state)
{
    struct replica *r = open_as(false);
    struct replica_row v;

    (void)state;
    apply(r, row(1, 0x11, CERT_GOOD, REASON_UNSPECIFIED, 1000));
    v = get(r, 0x11);
    assert_true(v.status == CERT_GOOD && v.time == 1000 && v.changed == 0);
    apply(r, row(2, 0x11, CERT_ON_HOLD, REASON_CERTIFICATE_HOLD, 2000));
    v = get(r, 0x11);
    assert_true(v.status == CERT_ON_HOLD && v.changed == 2000);
    apply(r, row(3, 0x11, CERT_GOOD, REASON_REMOVE_FROM_CRL, 3000));
    v = get(r, 0x11);
    assert_true(v.status == CERT_GOOD && v.changed == 3000 && v.seq == 3);
    /* a certificate that comes in revoked (an imported issuer) has changed when it was revoked */
    apply(r, row(4, 0x22, CERT_REVOKED, REASON_SUPERSEDED, 1500));
    assert_int_equal(get(r, 0x22).changed, 1500);
    replica_free(r);
}

static void a_revoked_certificate_never_returns(void **state)
{
    struct replica *r = open_as(false);
    struct status_row back[2];
    size_t refused;
    struct err e;

    (void)state;
    apply(r, row(1, 0x11, CERT_REVOKED, REASON_KEY_COMPROMISE, 1000));
    back[0] = row(2, 0x11, CERT_GOOD, REASON_REMOVE_FROM_CRL, 2000);
    back[1] = row(3, 0x11, CERT_ON_HOLD, REASON_CERTIFICATE_HOLD, 2000);
    assert_int_equal(replica_apply(r, back, 2, &refused, &e), E_OK);
    assert_int_equal(refused, 2);
    assert_int_equal(replica_seq(r), 3);
    assert_int_equal(get(r, 0x11).status, CERT_REVOKED);
    /* while a new reason is taken */
    apply(r, row(4, 0x11, CERT_REVOKED, REASON_CA_COMPROMISE, 3000));
    assert_int_equal(get(r, 0x11).reason, REASON_CA_COMPROMISE);
    replica_free(r);
}

static void rows_must_follow_without_gap(void **state)
{
    static const struct {
        const char *name;
        uint64_t first, second;
        enum err_code code;
    } cases[] = {
        {"a gap before the first", 3, 4, E_INVALID}, {"the same row again", 1, 2, E_INVALID},
        {"a gap between the two", 2, 4, E_INVALID},  {"two rows of the same number", 2, 2, E_INVALID},
        {"the two that follow", 2, 3, E_OK},
    };
    struct replica *r = open_as(false);

    (void)state;
    apply(r, row(1, 0x11, CERT_GOOD, REASON_UNSPECIFIED, 1000));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct status_row rows[2];
        size_t refused;
        struct err e;

        print_message("# %s\n", cases[i].name);
        rows[0] = row(cases[i].first, 0x22, CERT_GOOD, REASON_UNSPECIFIED, 1000);
        rows[1] = row(cases[i].second, 0x33, CERT_GOOD, REASON_UNSPECIFIED, 1000);
        assert_int_equal(replica_apply(r, rows, 2, &refused, &e), cases[i].code);
        assert_int_equal(replica_seq(r), cases[i].code == E_OK ? 3 : 1);
        assert_int_equal(get_code(r, 7, "\x22\x01", 2), cases[i].code == E_OK ? E_OK : E_NOT_FOUND);
    }
    replica_free(r);
}

static void serials_are_compared_as_integers_per_issuer(void **state)
{
    struct replica *r = open_as(false);

    (void)state;
    apply(r, row(1, 0x81, CERT_GOOD, REASON_UNSPECIFIED, 1000));
    assert_int_equal(get_code(r, 7, "\x81\x01", 2), E_OK);
    assert_int_equal(get_code(r, 7, "\x00\x81\x01", 3), E_OK);
    assert_int_equal(get_code(r, 7, "\x81", 1), E_NOT_FOUND);
    assert_int_equal(get_code(r, 7, "\x81\x01\x00", 3), E_NOT_FOUND);
    assert_int_equal(get_code(r, 7, "", 0), E_NOT_FOUND);
    assert_int_equal(get_code(r, 8, "\x81\x01", 2), E_NOT_FOUND);
    replica_free(r);
}

static void reset_forgets_every_row_but_not_the_time(void **state)
{
    struct replica *r = open_as(false);
    struct err e;

    (void)state;
    assert_int_equal(replica_reset(r, bytes_str("ledger-a"), &e), E_OK);
    apply(r, row(1, 0x11, CERT_REVOKED, REASON_KEY_COMPROMISE, 9000));
    assert_int_equal(replica_reset(r, bytes_str("ledger-b"), &e), E_OK);
    assert_int_equal(replica_seq(r), 0);
    assert_int_equal(get_code(r, 7, "\x11\x01", 2), E_NOT_FOUND);
    assert_int_equal(replica_time(r), 9000);
    replica_free(r);
    r = open_as(false);
    assert_true(bytes_equal(replica_ledger_id(r), bytes_str("ledger-b")));
    assert_int_equal(replica_seq(r), 0);
    assert_int_equal(replica_time(r), 9000);
    replica_free(r);
}

static void the_kept_time_survives_and_rows_raise_it(void **state)
{
    struct replica *r = open_as(false);
    struct err e;

    (void)state;
    assert_int_equal(replica_keep_time(r, 500, &e), E_OK);
    assert_int_equal(replica_keep_time(r, 400, &e), E_OK); /* an operator vouched for less */
    apply(r, row(1, 0x11, CERT_GOOD, REASON_UNSPECIFIED, 300));
    replica_free(r);
    r = open_as(false);
    assert_int_equal(replica_time(r), 400);
    apply(r, row(2, 0x22, CERT_GOOD, REASON_UNSPECIFIED, 600));
    replica_free(r);
    r = open_as(false);
    assert_int_equal(replica_time(r), 600);
    replica_free(r);
}

static void a_file_that_is_no_database_is_begun_anew(void **state)
{
    struct replica *r;
    struct err e;

    (void)state;
    assert_int_equal(file_write_atomic(file, bytes_str("this is not a database, only a longer line of text"), 0600, &e),
                     E_OK);
    r = open_as(true);
    assert_int_equal(replica_seq(r), 0);
    apply(r, row(1, 0x11, CERT_GOOD, REASON_UNSPECIFIED, 1000));
    replica_free(r);
    r = open_as(false);
    assert_int_equal(replica_seq(r), 1);
    replica_free(r);
}

static void exec_in_file(const char *sql)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void a_database_of_another_kind_is_begun_anew(void **state)
{
    static const struct {
        const char *name, *sql;
    } cases[] = {
        {"another application", "CREATE TABLE t(x); INSERT INTO t VALUES(1)"},
        {"another version", "PRAGMA user_version=2"},
        {"a table missing", "DROP TABLE status"},
        {"a state row missing", "DELETE FROM state"},
        {"a seq below zero", "UPDATE state SET seq = -1"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct replica *r;

        print_message("# %s\n", cases[i].name);
        if (i == 0)
            exec_in_file(cases[i].sql);
        else {
            apply(r = open_as(false), row(1, 0x11, CERT_GOOD, REASON_UNSPECIFIED, 1000));
            replica_free(r);
            exec_in_file(cases[i].sql);
        }
        r = open_as(true);
        assert_int_equal(replica_seq(r), 0);
        assert_int_equal(get_code(r, 7, "\x11\x01", 2), E_NOT_FOUND);
        replica_discard(r);
        replica_free(r);
    }
}

static void a_row_with_impossible_values_is_found_damaged(void **state)
{
    struct replica *r = open_as(false);

    (void)state;
    apply(r, row(1, 0x11, CERT_GOOD, REASON_UNSPECIFIED, 1000));
    replica_free(r);
    exec_in_file("UPDATE status SET status = 3");
    r = open_as(false);
    assert_false(replica_is_damaged(r));
    assert_int_equal(get_code(r, 7, "\x11\x01", 2), E_STORE);
    assert_true(replica_is_damaged(r));
    replica_free(r);
}

static bool any_device(void *arg, const struct access_device *d, struct err *e)
{
    (void)d;
    (void)e;
    ++*(size_t *)arg;
    return true;
}

static void a_device_that_moved_to_itself_is_found_damaged(void **state)
{
    struct access_device d = {.id = 5, .moved_to = 6, .domain = "a", .device_id = "u-1", .product = "lock", .firmware = "1", .state = DEVICE_SHIPPED};
    size_t seen = 0;
    struct replica_visit visit = {.arg = &seen, .device = any_device};

    (void)state;
    for (int moved_to_itself = 0; moved_to_itself < 2; moved_to_itself++) {
        struct replica_reading at = {0};
        struct replica *r = NULL;
        struct err why, e = {0};
        bool done;

        assert_int_equal(replica_open(dir, true, &r, &why, &e), E_OK);
        if (!moved_to_itself)
            assert_int_equal(replica_put_devices(r, &d, 1, &e), E_OK);
        assert_int_equal(replica_read(r, &at, 10, &visit, &done, &e), moved_to_itself ? E_STORE : E_OK);
        assert_int_equal(replica_is_damaged(r), moved_to_itself);
        replica_free(r);
        exec_in_file("UPDATE device SET moved_to = id");
    }
    assert_int_equal(seen, 1);
}

static void a_damaged_page_is_found_and_the_next_start_begins_anew(void **state)
{
    struct replica *r = open_as(false);
    FILE *f;

    (void)state;
    for (unsigned i = 1; i < 200; i++)
        apply(r, row(i, (uint8_t)i, CERT_GOOD, REASON_UNSPECIFIED, 1000));
    replica_free(r);
    f = fopen(file, "r+b");
    assert_non_null(f);
    fseek(f, 4096, SEEK_SET);
    for (int i = 0; i < 4096 * 4; i++)
        fputc(0xa5, f);
    fclose(f);
    {
        struct err why, e = {0};
        enum err_code code = replica_open(dir, false, &r, &why, &e);

        assert_int_equal(code, E_OK);
        if (why.code == E_OK) { /* opened: the first look finds it */
            assert_int_equal(get_code(r, 7, "\x11\x01", 2), E_STORE);
            assert_true(replica_is_damaged(r));
            replica_discard(r);
            replica_free(r);
            r = open_as(false);
        }
    }
    assert_int_equal(replica_seq(r), 0);
    replica_free(r);
}

/* A process that says what replica_open says to it, when it is asked: it knows nothing of what is opened here meanwhile. */
struct other {
    pid_t pid;
    int ask;
};

static struct other other_process(void)
{
    struct other o;
    int ends[2];
    char go;

    assert_int_equal(pipe(ends), 0);
    o = (struct other){.pid = fork(), .ask = ends[1]};
    if (o.pid == 0) {
        struct replica *r = NULL;
        struct err why, e = {.code = E_INTERNAL};

        prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody asks when the test failed */
        _exit(read(ends[0], &go, 1) == 1 ? (int)replica_open(dir, false, &r, &why, &e) : E_INTERNAL);
    }
    close(ends[0]);
    return o;
}

static enum err_code opened_by(struct other o)
{
    int status = 0;

    assert_int_equal(write(o.ask, "!", 1), 1);
    close(o.ask);
    assert_int_equal(waitpid(o.pid, &status, 0), o.pid);
    assert_true(WIFEXITED(status));
    return (enum err_code)WEXITSTATUS(status);
}

static void a_locked_file_is_not_deleted(void **state)
{
    struct other second = other_process(), third = other_process();
    struct replica *first = open_as(false);

    (void)state;
    apply(first, row(1, 0x11, CERT_GOOD, REASON_UNSPECIFIED, 1000));
    assert_int_equal(opened_by(second), E_STORE);
    apply(first, row(2, 0x22, CERT_GOOD, REASON_UNSPECIFIED, 1000));
    replica_free(first);
    assert_int_equal(opened_by(third), E_OK);
    first = open_as(false);
    assert_int_equal(replica_seq(first), 2);
    replica_free(first);
}

static off_t size_of(const char *suffix)
{
    char path[320];
    struct stat st;

    snprintf(path, sizeof(path), "%s%s", file, suffix);
    return stat(path, &st) == 0 ? st.st_size : -1;
}

static void wait_until_merged(struct replica *r)
{
    for (int i = 0; replica_is_merging(r); i++) {
        assert_true(i < 60000);
        usleep(1000);
    }
}

/* The caller waits whenever the replica says so, and the log stays as long as it should; rows are read meanwhile. */
static void the_log_is_merged_beside(void **state)
{
    struct replica *r = open_as(false);
    struct status_row v = row(1, 0, CERT_GOOD, REASON_UNSPECIFIED, 1000);
    unsigned waits = 0;

    (void)state;
    v.serial_len = 4;
    v.serial[0] = 1;
    for (uint32_t n = 1; n <= 9000; n++) { /* at least two pages each */
        v.seq = n;
        v.serial[1] = (uint8_t)(n * 37);
        v.serial[2] = (uint8_t)(n >> 8);
        v.serial[3] = (uint8_t)n;
        apply(r, v);
        if (replica_is_merging(r)) {
            waits++;
            assert_int_equal(get_code(r, 7, v.serial, 4), E_OK);
            wait_until_merged(r);
        }
    }
    assert_in_range(waits, 2, 9);
    assert_in_range(size_of("-wal"), 1, 20 << 20);
    assert_true(size_of("") > 100000);
    replica_free(r);
    r = open_as(false);
    assert_int_equal(replica_seq(r), 9000);
    assert_int_equal(get_code(r, 7, v.serial, 4), E_OK);
    replica_free(r);
}

static void fill_the_log(struct replica *r)
{
    struct status_row v = row(1, 0, CERT_GOOD, REASON_UNSPECIFIED, 1000);

    v.serial_len = 4;
    v.serial[0] = 1;
    for (uint32_t n = 1; !replica_is_merging(r) && n < 9000; n++) {
        v.seq = replica_seq(r) + 1;
        v.serial[1] = (uint8_t)(n * 37);
        v.serial[2] = (uint8_t)(n >> 8);
        v.serial[3] = (uint8_t)n;
        apply(r, v);
    }
}

/* A log that is copied and not cut would begin anew with the next row, unflushed. */
static void a_merge_waits_for_who_reads(void **state)
{
    struct replica *r = open_as(false);
    struct status_row v = row(1, 0, CERT_GOOD, REASON_UNSPECIFIED, 1000);
    sqlite3 *reader;
    sqlite3_stmt *st;

    (void)state;
    assert_int_equal(sqlite3_open_v2(file, &reader, SQLITE_OPEN_READONLY, "unix-excl"), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(reader, "SELECT 1 FROM state", -1, &st, NULL), SQLITE_OK);
    v.serial_len = 4;
    for (uint32_t n = 1; n <= 1000; n++) {
        v.seq = n;
        v.serial[0] = (uint8_t)(1 + n % 100);
        v.serial[1] = (uint8_t)(n >> 8);
        v.serial[2] = (uint8_t)n;
        apply(r, v);
    }
    assert_int_equal(sqlite3_step(st), SQLITE_ROW); /* from the end of the log */
    replica_rest(r);
    usleep(1200000);
    assert_true(replica_is_merging(r));
    sqlite3_finalize(st);
    wait_until_merged(r);
    assert_int_equal(size_of("-wal"), 0);
    sqlite3_close(reader);
    replica_free(r);
}

static int cut_fails(int fd, off_t size)
{
    if (size == 0) {
        errno = EIO;
        return -1;
    }
    return ftruncate(fd, size);
}

/* After a merge that failed nothing is written, the log is left as it is, and the next process begins where this one ended. */
static void assert_all_writing_ended(struct replica *r)
{
    off_t log = size_of("-wal");
    struct status_row v;
    struct err e = {0};
    size_t refused;
    uint64_t seq = replica_seq(r);

    v = row(seq + 1, 0x77, CERT_GOOD, REASON_UNSPECIFIED, 2000);
    assert_int_equal(replica_apply(r, &v, 1, &refused, &e), E_STORE);
    assert_non_null(strstr(e.msg, "could not be merged"));
    assert_int_equal(replica_keep_time(r, 3000, &e), E_STORE);
    assert_false(replica_is_damaged(r));
    replica_free(r);
    assert_int_equal(size_of("-wal"), log);
    r = open_as(false);
    assert_int_equal(replica_seq(r), seq);
    apply(r, v);
    replica_free(r);
}

static void a_log_that_was_not_cut_ends_all_writing(void **state)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find("unix-excl");
    struct replica *r = open_as(false);

    (void)state;
    assert_int_equal(vfs->xSetSystemCall(vfs, "ftruncate", (sqlite3_syscall_ptr)cut_fails), SQLITE_OK);
    fill_the_log(r);
    wait_until_merged(r);
    assert_int_equal(vfs->xSetSystemCall(vfs, "ftruncate", NULL), SQLITE_OK);
    assert_all_writing_ended(r);
}

static _Atomic int flushes, failing_flush; /* those of the thread that merges; from 1 */
static _Atomic useconds_t flush_takes;
static char settled[128]; /* what this thread flushed: the ends of the names */

static void note_flush(int fd)
{
    char link[64], path[320] = "";
    struct stat st;
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    if (n > 0 && fstat(fd, &st) == 0 && strlen(settled) + 32 < sizeof(settled))
        strcat(strcat(settled, " "), S_ISDIR(st.st_mode) ? "directory" : strrchr(path, '/') + 1);
}

/* In place of the C library's. */
int fsync(int fd)
{
    note_flush(fd);
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    if (gettid() == getpid())
        note_flush(fd);
    if (gettid() != getpid() && ++flushes == failing_flush) {
        errno = EIO;
        return -1;
    }
    usleep(flush_takes);
    return (int)syscall(SYS_fdatasync, fd);
}

/* It would begin the log anew, which is copied, above a file that is not flushed. */
static void what_is_written_waits_for_the_merge(void **state)
{
    struct replica *r = open_as(false);

    (void)state;
    flushes = 0;
    flush_takes = 200000;
    fill_the_log(r);
    apply(r, row(replica_seq(r) + 1, 0x77, CERT_GOOD, REASON_UNSPECIFIED, 2000));
    flush_takes = 0;
    assert_int_equal(flushes, 3);
    replica_free(r);
}

/* The log before it is copied, the file before the log is cut, the log that was cut. */
static void a_flush_that_fails_ends_all_writing(void **state)
{
    (void)state;
    for (int n = 1; n <= 3; n++) {
        struct replica *r = open_as(false);

        flushes = 0;
        failing_flush = n;
        fill_the_log(r);
        wait_until_merged(r);
        assert_int_equal(flushes, n);
        failing_flush = 0;
        assert_all_writing_ended(r);
    }
}

/* Else what was cut or deleted before may come back with a power cut, below a newer file. */
static void what_was_done_before_is_flushed_before_the_first_row(void **state)
{
    struct replica *r = open_as(false);

    (void)state;
    apply(r, row(1, 0x11, CERT_GOOD, REASON_UNSPECIFIED, 1000));
    replica_free(r);
    settled[0] = '\0';
    r = open_as(false);
    assert_string_equal(settled, " replica.db-wal directory");
    apply(r, row(2, 0x12, CERT_GOOD, REASON_UNSPECIFIED, 1000));
    assert_string_equal(settled, " replica.db-wal directory");
    replica_free(r);
}

/* ---- building ---- */

#define MANY 1500

/* Serials of 20 octets in no order; each tenth is revoked later, each twentieth held and released before. */
static struct status_row numbered(uint64_t seq, uint32_t n, enum cert_status status, int64_t time)
{
    struct status_row v = row(seq, 0, status, status == CERT_REVOKED ? REASON_KEY_COMPROMISE : REASON_UNSPECIFIED, time);
    uint32_t mixed = n * 2654435761u;

    v.issuer = 7 + n % 2;
    v.serial_len = SERIAL_MAX_LEN;
    memset(v.serial, 0x5a, SERIAL_MAX_LEN);
    v.serial[0] = (uint8_t)(1 + (mixed >> 24) % 0x7f);
    v.serial[1] = (uint8_t)(mixed >> 16);
    memcpy(v.serial + 10, &n, sizeof(n));
    return v;
}

static uint64_t apply_many(struct replica *r, uint32_t from, uint32_t to)
{
    for (uint32_t n = from; n < to; n++) {
        apply(r, numbered(replica_seq(r) + 1, n, CERT_GOOD, 1000 + n));
        if (n >= 10 && n % 20 == 0) {
            apply(r, numbered(replica_seq(r) + 1, n - 10, CERT_ON_HOLD, 6000 + n));
            apply(r, numbered(replica_seq(r) + 1, n - 10, CERT_GOOD, 7000 + n));
        }
        if (n >= 10 && n % 10 == 0)
            apply(r, numbered(replica_seq(r) + 1, n - 10, CERT_REVOKED, 8000 + n));
    }
    return replica_seq(r);
}

static struct replica_row get_numbered(struct replica *r, uint32_t n)
{
    struct status_row v = numbered(1, n, CERT_GOOD, 0);
    struct replica_row out;
    struct err e = {0};

    if (replica_get(r, v.issuer, BYTES(v.serial, v.serial_len), &out, &e) != E_OK)
        fail_msg("%u: %s", n, e.msg);
    return out;
}

static void a_replica_built_in_parts_is_the_same(void **state)
{
    static struct replica_row wanted[MANY + 100];
    struct replica *r = open_as(false);
    struct err e = {0};
    uint64_t seq = apply_many(r, 0, MANY + 100);
    size_t refused;
    uint32_t added = MANY;

    (void)state;
    for (uint32_t n = 0; n < MANY + 100; n++)
        wanted[n] = get_numbered(r, n);
    assert_int_equal(replica_reset(r, bytes_str("ledger-b"), &e), E_OK);
    apply_many(r, 0, 50); /* some come before anybody knows how many there are */
    assert_int_equal(replica_build(r, &e), E_OK);
    apply_many(r, 50, MANY);
    assert_true(replica_is_building(r));
    while (replica_is_building(r)) {
        assert_int_equal(replica_build_step(r, &refused, &e), E_OK);
        assert_int_equal(refused, 0);
        if (added < MANY + 100) { /* some meanwhile */
            apply_many(r, added, added + 1);
            added++;
        }
    }
    assert_int_equal(replica_seq(r), seq);
    for (int again = 0; again < 2; again++) {
        for (uint32_t n = 0; n < MANY + 100; n++) {
            struct replica_row v = get_numbered(r, n);

            assert_memory_equal(&v, &wanted[n], sizeof(v));
        }
        replica_free(r);
        r = open_as(false);
        assert_int_equal(replica_seq(r), seq);
    }
    apply_many(r, MANY + 100, MANY + 101);
    replica_free(r);
}

static void a_revoked_certificate_never_returns_while_building(void **state)
{
    struct replica *r = open_as(false);
    size_t refused, all = 0;
    struct err e = {0};

    (void)state;
    assert_int_equal(replica_build(r, &e), E_OK);
    apply(r, row(1, 0x11, CERT_GOOD, REASON_UNSPECIFIED, 1000));
    apply(r, row(2, 0x11, CERT_REVOKED, REASON_KEY_COMPROMISE, 2000));
    apply(r, row(3, 0x11, CERT_GOOD, REASON_UNSPECIFIED, 3000));
    while (replica_is_building(r)) {
        assert_int_equal(replica_build_step(r, &refused, &e), E_OK);
        all += refused;
    }
    assert_int_equal(all, 1);
    assert_int_equal(get(r, 0x11).status, CERT_REVOKED);
    assert_int_equal(replica_seq(r), 3);
    replica_free(r);
}

/* A mass action makes thousands of pages: they are merged when it is over. */
static void rows_that_come_quickly_do_not_wait_for_the_disk(void **state)
{
    struct replica *r = open_as(false);
    struct status_row rows[64];
    off_t before;
    size_t refused;
    struct err e = {0};

    (void)state;
    assert_int_equal(replica_reset(r, bytes_str("ledger-a"), &e), E_OK);
    replica_rest(r);
    before = size_of("");
    for (uint64_t seq = 1; seq <= 64 * 64;) {
        for (size_t i = 0; i < 64; i++, seq++) {
            uint8_t text[8], hash[32];

            put_be64(text, seq);
            sha256(BYTES_OF(text), hash);
            rows[i] = row(seq, 1, CERT_GOOD, REASON_UNSPECIFIED, 1000);
            memcpy(rows[i].serial, hash, 20);
            rows[i].serial[0] &= 0x7f;
            rows[i].serial_len = 20;
        }
        assert_int_equal(replica_apply(r, rows, 64, &refused, &e), E_OK);
    }
    assert_int_equal(size_of(""), before);
    replica_rest(r);
    wait_until_merged(r);
    assert_true(size_of("") > before + 100000);
    assert_int_equal(size_of("-wal"), 0);
    replica_free(r);
}

static void a_replica_left_half_built_is_begun_anew(void **state)
{
    (void)state;
    for (int steps = 0; steps < 600; steps += 200) {
        struct replica *r = open_as(false);
        struct err e = {0};
        size_t refused;

        apply_many(r, 0, 5);
        assert_int_equal(replica_build(r, &e), E_OK);
        apply_many(r, 5, 500);
        for (int i = 0; i < steps; i++)
            assert_int_equal(replica_build_step(r, &refused, &e), E_OK);
        assert_true(replica_is_building(r));
        replica_free(r);
        r = open_as(true);
        assert_int_equal(replica_seq(r), 0);
        assert_int_equal(replica_ledger_id(r).len, 0);
        assert_false(replica_is_building(r));
        replica_discard(r);
        replica_free(r);
    }
}

int main(void)
{
#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {
        IN_DIR(rows_survive_closing),
        IN_DIR(issuance_is_no_change_and_release_is_one),
        IN_DIR(a_revoked_certificate_never_returns),
        IN_DIR(rows_must_follow_without_gap),
        IN_DIR(serials_are_compared_as_integers_per_issuer),
        IN_DIR(reset_forgets_every_row_but_not_the_time),
        IN_DIR(the_kept_time_survives_and_rows_raise_it),
        IN_DIR(a_file_that_is_no_database_is_begun_anew),
        IN_DIR(a_database_of_another_kind_is_begun_anew),
        IN_DIR(a_row_with_impossible_values_is_found_damaged),
        IN_DIR(a_device_that_moved_to_itself_is_found_damaged),
        IN_DIR(a_damaged_page_is_found_and_the_next_start_begins_anew),
        IN_DIR(a_locked_file_is_not_deleted),
        IN_DIR(the_log_is_merged_beside),
        IN_DIR(a_merge_waits_for_who_reads),
        IN_DIR(a_log_that_was_not_cut_ends_all_writing),
        IN_DIR(what_is_written_waits_for_the_merge),
        IN_DIR(a_flush_that_fails_ends_all_writing),
        IN_DIR(what_was_done_before_is_flushed_before_the_first_row),
        IN_DIR(a_replica_built_in_parts_is_the_same),
        IN_DIR(a_revoked_certificate_never_returns_while_building),
        IN_DIR(rows_that_come_quickly_do_not_wait_for_the_disk),
        IN_DIR(a_replica_left_half_built_is_begun_anew),
    };
    return cmocka_run_group_tests_name("replica", tests, NULL, NULL);
}
