/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints in portions: the log is copied and begins anew without the writer's waiting, and nothing is lost by it. */
#include "tests/unit/ledger_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ca/store/store_int.h"

#define VALUE_LEN (400 * 1024) /* a hundred pages of the log */
#define COMMITS   340          /* 34,000 pages: three rounds */

/* SQLite asks through the dynamic linker, which finds this first. No power is cut here: how long a disk takes would only be in the way. */
static pthread_t writer;
static _Atomic unsigned syncs_of_writer, syncs_of_thread;
static _Atomic bool thread_fails;

int fdatasync(int fd)
{
    (void)fd;
    if (pthread_equal(pthread_self(), writer)) {
        syncs_of_writer++;
        return 0;
    }
    syncs_of_thread++;
    if (thread_fails) {
        errno = EIO;
        return -1;
    }
    return 0;
}

/* The linker sends the store's calls here. Its one thread waits to be asked for a sync; it is at work until it waits again. */
static bool no_threads;
static unsigned threads;
static _Atomic bool at_work;
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg);
int __real_pthread_cond_signal(pthread_cond_t *cond);
int __wrap_pthread_cond_signal(pthread_cond_t *cond);
int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
    threads++;
    return no_threads ? EAGAIN : __real_pthread_create(thread, attr, start, arg);
}

int __wrap_pthread_cond_signal(pthread_cond_t *cond)
{
    at_work = true;
    return __real_pthread_cond_signal(cond);
}

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock)
{
    at_work = false;
    return __real_pthread_cond_wait(cond, lock);
}

static void begin_counting(void)
{
    writer = pthread_self();
    syncs_of_writer = syncs_of_thread = threads = 0;
    thread_fails = at_work = false;
}

static void wait_for_thread(void)
{
    const struct timespec pause = {0, 1000000};

    for (unsigned ms = 0; at_work; ms++) {
        assert_true(ms < 60000);
        nanosleep(&pause, NULL);
    }
}

static void commit_value(struct ledger *l, unsigned n)
{
    static uint8_t value[VALUE_LEN];

    memset(value, (int)(n & 0xff), sizeof(value));
    OK(l, store_begin(l->s, &l->e));
    OK(l, store_meta_set(l->s, "value", BYTES_OF(value), &l->e));
    OK(l, store_meta_set_i64(l->s, "n", n, &l->e));
    OK(l, store_commit(l->s, &l->e));
}

static void commit_values(struct ledger *l, unsigned n, unsigned count)
{
    static uint8_t value[VALUE_LEN];
    char name[16];

    memset(value, (int)(n & 0xff), sizeof(value));
    OK(l, store_begin(l->s, &l->e));
    for (unsigned k = 0; k < count; k++) {
        snprintf(name, sizeof(name), "value-%u", k);
        OK(l, store_meta_set(l->s, name, BYTES_OF(value), &l->e));
    }
    OK(l, store_commit(l->s, &l->e));
}

static void assert_is(struct ledger *l, struct store *s, unsigned n)
{
    struct buf value = BUF_INIT(VALUE_LEN);
    int64_t stored = 0;

    OK(l, store_meta_get_i64(s, "n", &stored, &l->e));
    OK(l, store_meta_get(s, "value", &value, &l->e));
    assert_int_equal(stored, n);
    assert_int_equal(value.len, VALUE_LEN);
    assert_int_equal(value.p[0], n & 0xff);
    assert_memory_equal(value.p, value.p + 1, VALUE_LEN - 1);
    buf_clear(&value);
}

/* What a new process would find if this one ended now: the files as they are, opened elsewhere. */
static void assert_survives(struct ledger *l, unsigned n)
{
    char command[400], path[128];
    struct store *s = NULL;
    unsigned counted = syncs_of_writer;

    snprintf(command, sizeof(command), "mkdir %s/copy && cp %s %s-wal %s/copy/", l->dir, l->path, l->path, l->dir);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof(path), "%s/copy/%s", l->dir, strrchr(l->path, '/') + 1);
    OK(l, store_open(path, STORE_WRITE, &s, &l->e));
    assert_is(l, s, n);
    OK(l, store_check(s, &l->e));
    store_close(s);
    snprintf(command, sizeof(command), "rm -r %s/copy", l->dir);
    assert_int_equal(system(command), 0);
    syncs_of_writer = counted;
}

static void log_begins_anew_and_every_commit_costs_one_sync(void **state)
{
    struct ledger *l = *state;
    uint64_t longest = 0;

    begin_counting();
    for (unsigned n = 1; n <= COMMITS; n++) {
        commit_value(l, n);
        OK(l, store_checkpoint_step(l->s, &l->e));
        if (store_wal_size(l->s) > longest)
            longest = store_wal_size(l->s);
        if (longest > 60u << 20) /* with all the machine busy it is not ready for long */
            wait_for_thread();
        if (n % 100 == 30)
            assert_survives(l, n);
    }
    /* A round is 41 MB; it goes on until the thread is ready. */
    assert_in_range(longest, 38u << 20, 100u << 20);
    assert_in_range(syncs_of_thread, 3, 30);
    /* One for each commit, and two for each round: its end, and the head of the log that begins anew. */
    assert_in_range(syncs_of_writer, COMMITS, COMMITS + 10);
    assert_is(l, l->s, COMMITS);
    ledger_reopen(l);
    assert_is(l, l->s, COMMITS);
}

static void readers_snapshot_is_never_copied_over(void **state)
{
    struct ledger *l = *state;
    struct store *r = NULL;
    uint64_t held;

    begin_counting();
    commit_value(l, 1);
    OK(l, store_open(l->path, STORE_READ, &r, &l->e));
    OK(l, store_begin(r, &l->e));
    assert_is(l, r, 1);
    for (unsigned n = 2; n <= COMMITS / 2; n++) {
        commit_value(l, n);
        OK(l, store_checkpoint_step(l->s, &l->e));
    }
    assert_is(l, r, 1);
    held = store_wal_size(l->s);
    assert_true(held > COMMITS / 2 * (uint64_t)VALUE_LEN); /* the log had to grow */
    store_close(r);
    for (unsigned n = COMMITS / 2; n <= COMMITS; n++) {
        commit_value(l, n);
        OK(l, store_checkpoint_step(l->s, &l->e));
        wait_for_thread();
    }
    assert_in_range(store_wal_size(l->s), held, held + (40u << 20)); /* it began anew */
    assert_is(l, l->s, COMMITS);
    assert_survives(l, COMMITS);
}

/* Portion after portion would leave a rest of two commits each time. */
static void round_of_large_commits_ends_soon(void **state)
{
    struct ledger *l = *state;

    begin_counting();
    for (unsigned n = 1; n <= COMMITS / 3; n++) {
        commit_values(l, n, 3);
        OK(l, store_checkpoint_step(l->s, &l->e));
        wait_for_thread(); /* it is ready when the writer looks */
    }
    assert_in_range(store_wal_size(l->s), 38u << 20, 60u << 20);
    assert_in_range(syncs_of_thread, 3, 12);
}

/* Commits larger than what is left to the end of a round: then only the count of syncs asked for ends it. */
static void log_begins_anew_without_a_thread(void **state)
{
    struct ledger *l = *state;

    begin_counting();
    no_threads = true;
    for (unsigned n = 1; n <= COMMITS / 5; n++) {
        commit_values(l, n, 5);
        OK(l, store_checkpoint_step(l->s, &l->e));
    }
    no_threads = false;
    assert_int_equal(syncs_of_thread, 0);
    assert_in_range(store_wal_size(l->s), 55u << 20, 120u << 20);
}

static void failed_sync_in_the_thread_is_in_doubt(void **state)
{
    struct ledger *l = *state;
    enum err_code code = E_OK;

    begin_counting();
    thread_fails = true;
    for (unsigned n = 1; n <= COMMITS && code == E_OK; n++) {
        commit_value(l, n);
        code = store_checkpoint_step(l->s, &l->e);
        wait_for_thread();
    }
    assert_int_equal(code, E_STORE);
    assert_true(store_is_doubtful(l->s));
    assert_true(store_is_disk_error(&l->e));
    REFUSED(l, E_STORE, store_begin(l->s, &l->e));
    thread_fails = false;
}

/* Until the thread was asked once and has failed; nobody has looked at its result then. */
static void commit_until_thread_failed(struct ledger *l)
{
    begin_counting();
    thread_fails = true;
    for (unsigned n = 1; threads == 0; n++) {
        commit_value(l, n);
        OK(l, store_checkpoint_step(l->s, &l->e));
    }
    wait_for_thread();
    assert_true(syncs_of_thread > 0);
    thread_fails = false;
}

/* Here the next sync of the same file succeeds: the log is all there is of what the first may have lost. */
static void failed_sync_ends_no_log(void **state)
{
    struct ledger *l = *state;
    uint64_t length;

    commit_until_thread_failed(l);
    length = store_wal_size(l->s);
    REFUSED(l, E_STORE, store_checkpoint(l->s, 0, &l->e));
    assert_int_equal(store_wal_size(l->s), length);
}

static void failed_sync_before_the_close_leaves_the_log(void **state)
{
    struct ledger *l = *state;
    char log[128];
    struct stat st;

    commit_until_thread_failed(l);
    snprintf(log, sizeof(log), "%s-wal", l->path);
    ledger_close(l);
    assert_int_equal(stat(log, &st), 0);
    assert_true(st.st_size > VALUE_LEN);
    ledger_reopen(l);
    assert_int_equal(stat(log, &st), 0);
    assert_true(st.st_size < VALUE_LEN);
}

/*
 * The pages that were copied are lost, as a failed sync may lose them, and a reader keeps the index of the log, which counts them as
 * copied, from one process to the next.
 */
static void what_a_failed_sync_lost_is_copied_again_beside_a_reader(void **state)
{
    struct ledger *l = *state;
    struct store *r = NULL;
    struct buf value = BUF_INIT(VALUE_LEN);
    char command[400];
    int64_t n = 0;

    begin_counting();
    snprintf(command, sizeof(command), "cp %s %s/before", l->path, l->dir);
    assert_int_equal(system(command), 0);
    OK(l, store_open(l->path, STORE_READ, &r, &l->e));
    commit_values(l, 7, 1); /* changed no more: a portion copies it */
    commit_until_thread_failed(l);
    OK(l, store_meta_get_i64(r, "n", &n, &l->e));
    ledger_close(l);
    snprintf(command, sizeof(command), "cp %s/before %s && rm %s/before", l->dir, l->path, l->dir);
    assert_int_equal(system(command), 0);
    ledger_reopen(l);
    OK(l, store_check(l->s, &l->e));
    assert_is(l, l->s, (unsigned)n);
    OK(l, store_meta_get(l->s, "value-0", &value, &l->e));
    assert_int_equal(value.len, VALUE_LEN);
    assert_int_equal(value.p[0], 7);
    assert_memory_equal(value.p, value.p + 1, VALUE_LEN - 1);
    buf_clear(&value);
    store_close(r);
}

/* As SQLite does when it is the first to open the index: the lock of its octet 128, for as long as it makes it empty. */
static pid_t another_opens_the_index(const char *index)
{
    const struct timespec while_it_does = {0, 300000000};
    int ready[2];
    char c;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 128, .l_len = 1};
        int fd = open(index, O_RDWR | O_CREAT, 0600);

        if (fd < 0 || fcntl(fd, F_SETLK, &whole) != 0 || write(ready[1], "", 1) != 1)
            _exit(1);
        nanosleep(&while_it_does, NULL);
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    return pid;
}

static void an_open_waits_for_another_that_makes_the_index(void **state)
{
    struct ledger *l = *state;
    char index[128];
    int status;
    pid_t pid;

    commit_value(l, 7);
    snprintf(index, sizeof(index), "%s-shm", l->path);
    l->s->doubtful = true; /* the log stays */
    ledger_close(l);
    pid = another_opens_the_index(index);
    ledger_reopen(l);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_is(l, l->s, 7);
}

static void idle_checkpoint_takes_the_mark_away(void **state)
{
    struct ledger *l = *state;

    begin_counting();
    for (unsigned n = 1; n <= 11; n++) { /* the mark is set after the tenth or so and waits for one more commit */
        commit_value(l, n);
        OK(l, store_checkpoint_step(l->s, &l->e));
        OK(l, store_checkpoint_step(l->s, &l->e));
    }
    OK(l, store_checkpoint(l->s, 0, &l->e));
    assert_int_equal(store_wal_size(l->s), 0);
    for (unsigned n = 12; n <= 40; n++) {
        commit_value(l, n);
        OK(l, store_checkpoint_step(l->s, &l->e));
    }
    assert_is(l, l->s, 40);
    assert_survives(l, 40);
}

static void step_inside_a_transaction_is_refused(void **state)
{
    struct ledger *l = *state;

    OK(l, store_begin(l->s, &l->e));
    REFUSED(l, E_INTERNAL, store_checkpoint_step(l->s, &l->e));
    store_rollback(l->s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, ledger_setup, ledger_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(log_begins_anew_and_every_commit_costs_one_sync),
        T(readers_snapshot_is_never_copied_over),
        T(log_begins_anew_without_a_thread),
        T(round_of_large_commits_ends_soon),
        T(failed_sync_in_the_thread_is_in_doubt),
        T(failed_sync_ends_no_log),
        T(failed_sync_before_the_close_leaves_the_log),
        T(what_a_failed_sync_lost_is_copied_again_beside_a_reader),
        T(an_open_waits_for_another_that_makes_the_index),
        T(idle_checkpoint_takes_the_mark_away),
        T(step_inside_a_transaction_is_refused),
    };

    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
