/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside ca/store/: the statement table, one query at a time from it, and the error rule.
 *
 * A query is: q_begin, the parameters in order (q_*), one of q_exec / q_exec_one / q_one / q_next, the columns in order
 * (col_*), q_end. Mistakes stick in the query and come out of the step or of q_end.
 */
#ifndef INKAN_CA_STORE_STORE_INT_H
#define INKAN_CA_STORE_STORE_INT_H

#include <sqlite3.h>
#include <stdatomic.h>

#include "ca/store/store.h"

enum stmt_id {
#define X(name, sql) Q_##name,
#include "ca/store/statements.h"
#undef X
    STMTS_COUNT
};

struct query {
    struct store *s;
    sqlite3_stmt *st;
    enum stmt_id id;
    int at;           /* next parameter, then next column */
    int rc;           /* SQLite result of preparing, binding and stepping */
    bool hold;        /* columns are copied into the statement's own buffer and outlive the step */
    const char *what; /* "" or what is wrong with a value, for the message */
    enum err_code code; /* the first failure; q_end gives it again */
};

struct checkpoint;

struct store {
    sqlite3 *db;
    char *path;
    enum store_mode mode;
    int lock_fd; /* -1 on a reader */
    bool in_tx, in_savepoint, doubtful;
    _Atomic bool interrupted; /* set by any thread: nothing more is read */
    sqlite3_stmt *stmts[STMTS_COUNT];
    struct buf hold[STMTS_COUNT];
    /* Counters kept in memory by the writer while `known`; every undo forgets them and the next use reads them back. */
    bool seq_known, audit_known;
    uint64_t status_seq, audit_seq;
    uint8_t audit_hash[32];
    uint64_t changes; /* store_changes */
    struct query cursor; /* store_revoked_begin */
    bool cursor_open;
    int64_t gave_way_us; /* of a reader */
    struct checkpoint *checkpoint; /* NULL on a reader */
};

/* The schema, embedded from ca/store/schema/sqlite/ in the order of their numbers. */
struct migration {
    int number;
    const char *name;
    const char *sql;
};
extern const struct migration migrations[];
extern const size_t migrations_n;
#define STORE_APPLICATION_ID 0x496e6b6e /* "Inkn" in the file header */

/* Maps a SQLite result to E_CONFLICT, E_STORE or E_INTERNAL and marks the store doubtful where the rule says so. */
enum err_code store_fail(struct store *s, int rc, const char *what, struct err *e);
enum err_code store_exec(struct store *s, const char *sql, struct err *e);

struct query q_begin(struct store *s, enum stmt_id id);
/* A statement whose text holds one %s, prepared anew with `condition` there: made of our own words, values are bound. */
struct query q_begin_with(struct store *s, enum stmt_id id, const char *condition);
void q_i64(struct query *q, int64_t v);
void q_u64(struct query *q, uint64_t v);  /* above INT64_MAX is refused */
void q_ref(struct query *q, uint64_t id); /* 0 is NULL */
void q_text(struct query *q, const char *s); /* NULL is "" */
void q_text_or_null(struct query *q, const char *s);
void q_text_n(struct query *q, const char *s, size_t len);
void q_bytes(struct query *q, struct bytes v);
#define q_fixed(q, arr) q_bytes((q), BYTES_OF(arr))
/* BEGIN, COMMIT, SAVEPOINT and their kin: SQLite's own result. */
int q_control(struct store *s, enum stmt_id id);
MUST_CHECK enum err_code q_exec(struct query *q, struct err *e);
/* As q_exec; E_NOT_FOUND when no row changed. */
MUST_CHECK enum err_code q_exec_one(struct query *q, struct err *e);
/* One row, held; E_NOT_FOUND when there is none. */
MUST_CHECK enum err_code q_one(struct query *q, struct err *e);
/* As q_one where no row is an answer too: E_OK with *found false, the query ended, `e` as it was. */
MUST_CHECK enum err_code q_one_or_none(struct query *q, bool *found, struct err *e);
/* The next row, not held; false at the end or on an error (in `e`), whose code q_end gives again. */
bool q_next(struct query *q, struct err *e);
MUST_CHECK enum err_code q_end(struct query *q, struct err *e);

int64_t col_i64(struct query *q);
uint64_t col_u64(struct query *q);
uint8_t col_u8(struct query *q);
const char *col_text(struct query *q);
struct bytes col_bytes(struct query *q);
void col_str(struct query *q, char *out, size_t size);
void col_fixed(struct query *q, uint8_t *out, size_t len);
void col_serial(struct query *q, uint8_t out[SERIAL_MAX_LEN], uint8_t *len);

/* The rows of DEVICE_COLS and CERT_COLS. */
void device_get(struct query *q, struct device_row *r);
void cert_get(struct query *q, struct cert_row *r);
/* What the statements of selectors call (select.c), of a new connection. */
MUST_CHECK enum err_code select_register(struct store *s, struct err *e);

/* All that is in the log counts as not yet copied into the database; SQLite's result. Before anything is read: pages are kept. */
int checkpoint_believe_nothing(struct store *s);
/* Checkpoints (checkpoint.c), after the ledger is settled. stop: before the connection closes; free: after, its log's file is theirs. */
MUST_CHECK enum err_code checkpoint_open(struct store *s, struct err *e);
void checkpoint_stop(struct store *s);
void checkpoint_free(struct store *s);
#define STORE_BUSY_MS 5000

/* The lock file of a ledger; E_BUSY when another process holds it. */
MUST_CHECK enum err_code store_lock(const char *path, int *fd, struct err *e);
/* fsync of a file or directory by name. */
MUST_CHECK enum err_code store_sync_path(const char *path, struct err *e);
/* fsync of the directory that holds `path`. */
MUST_CHECK enum err_code store_sync_dir_of(const char *path, struct err *e);
#define RESTORE_MARK ".restoring" /* beside a ledger while it is being replaced */

#endif
