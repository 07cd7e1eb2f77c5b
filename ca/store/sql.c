/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/store/store_int.h"

#include <errno.h>
#include <string.h>

static const char *const sql_texts[STMTS_COUNT] = {
#define X(name, sql) [Q_##name] = sql,
#include "ca/store/statements.h"
#undef X
};

static const char *const sql_names[STMTS_COUNT] = {
#define X(name, sql) [Q_##name] = #name,
#include "ca/store/statements.h"
#undef X
};

/* After these SQLite may have rolled back the whole transaction, or a commit may be half on the disk. */
static bool is_disk_or_memory(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_NOMEM:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PROTOCOL:
        return true;
    default:
        return false;
    }
}

bool store_is_disk_error(const struct err *e)
{
    if (e->code == E_IO)
        return e->native == ENOSPC || e->native == EDQUOT || e->native == EIO || e->native == EROFS;
    switch (e->native & 0xff) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN: /* also where no file can be made for want of room */
        return e->code == E_STORE;
    default:
        return false;
    }
}

enum err_code store_fail(struct store *s, int rc, const char *what, struct err *e)
{
    enum err_code code = E_STORE;

    if ((rc & 0xff) == SQLITE_CONSTRAINT)
        code = E_CONFLICT;
    else if ((rc & 0xff) == SQLITE_MISUSE || (rc & 0xff) == SQLITE_RANGE)
        code = E_INTERNAL;
    if (s->mode == STORE_WRITE) {
        bool vanished = s->in_tx && sqlite3_get_autocommit(s->db);

        if (vanished)
            code = E_STORE;
        if (vanished || is_disk_or_memory(rc) || (s->in_tx && code == E_STORE))
            s->doubtful = true;
    }
    err_set(e, code, "ledger %s: %s: %s (%d)%s", s->path, what, sqlite3_errmsg(s->db), rc,
            s->doubtful ? "; the transaction is in doubt" : "");
    if (e)
        e->native = (unsigned long)rc;
    return code;
}

enum err_code store_exec(struct store *s, const char *sql, struct err *e)
{
    int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? E_OK : store_fail(s, rc, sql, e);
}

struct query q_begin(struct store *s, enum stmt_id id)
{
    struct query q = {.s = s, .id = id, .at = 1, .what = ""};

    if (!s->stmts[id]) {
        q.rc = sqlite3_prepare_v3(s->db, sql_texts[id], -1, SQLITE_PREPARE_PERSISTENT, &s->stmts[id], NULL);
        if (q.rc != SQLITE_OK)
            return q;
        buf_init(&s->hold[id], SIZE_MAX);
    }
    if (sqlite3_stmt_busy(s->stmts[id])) {
        q.rc = SQLITE_MISUSE;
        q.what = " called from its own callback";
        return q;
    }
    q.st = s->stmts[id];
    return q;
}

struct query q_begin_with(struct store *s, enum stmt_id id, const char *condition)
{
    struct query q = {.s = s, .id = id, .at = 1, .what = ""};
    AUTO_BUF sql = BUF_INIT(SIZE_MAX);
    const char *at = strstr(sql_texts[id], "%s");

    if (!s->stmts[id])
        buf_init(&s->hold[id], SIZE_MAX);
    sqlite3_finalize(s->stmts[id]);
    s->stmts[id] = NULL;
    buf_add(&sql, sql_texts[id], (size_t)(at - sql_texts[id]));
    buf_add_str(&sql, condition);
    buf_add(&sql, at + 2, strlen(at + 2) + 1);
    q.rc = buf_ok(&sql) ? sqlite3_prepare_v3(s->db, (const char *)sql.p, -1, 0, &s->stmts[id], NULL) : SQLITE_NOMEM;
    if (q.rc == SQLITE_OK)
        q.st = s->stmts[id];
    return q;
}

static void keep_first(struct query *q, int rc)
{
    if (q->rc == SQLITE_OK)
        q->rc = rc;
}

void q_i64(struct query *q, int64_t v)
{
    if (q->st)
        keep_first(q, sqlite3_bind_int64(q->st, q->at++, v));
}

void q_u64(struct query *q, uint64_t v)
{
    if (v > INT64_MAX) {
        keep_first(q, SQLITE_RANGE);
        q->what = " number above 2^63 - 1";
        return;
    }
    q_i64(q, (int64_t)v);
}

void q_ref(struct query *q, uint64_t id)
{
    if (id != 0)
        q_u64(q, id);
    else
        q_text_or_null(q, NULL);
}

void q_text_or_null(struct query *q, const char *s)
{
    if (!q->st)
        return;
    if (s)
        keep_first(q, sqlite3_bind_text(q->st, q->at++, s, -1, SQLITE_STATIC));
    else
        keep_first(q, sqlite3_bind_null(q->st, q->at++));
}

void q_text_n(struct query *q, const char *s, size_t len)
{
    if (q->st)
        keep_first(q, sqlite3_bind_text64(q->st, q->at++, s, len, SQLITE_STATIC, SQLITE_UTF8));
}

void q_text(struct query *q, const char *s)
{
    q_text_or_null(q, s ? s : "");
}

void q_bytes(struct query *q, struct bytes v)
{
    if (!q->st)
        return;
    if (v.len == 0)
        keep_first(q, sqlite3_bind_zeroblob(q->st, q->at++, 0));
    else
        keep_first(q, sqlite3_bind_blob64(q->st, q->at++, v.p, v.len, SQLITE_STATIC));
}

/* The bound values are borrowed: none may stay behind in the cached statement. */
static void release(struct query *q)
{
    if (!q->st)
        return;
    sqlite3_reset(q->st);
    sqlite3_clear_bindings(q->st);
    q->st = NULL;
}

static enum err_code fail(struct query *q, struct err *e)
{
    if (q->what[0])
        q->code = err_set(e, E_INTERNAL, "ledger %s: %s:%s", q->s->path, sql_names[q->id], q->what);
    else
        q->code = store_fail(q->s, q->rc, sql_names[q->id], e); /* before the reset: it drops the message */
    release(q);
    return q->code;
}

/* Every write is part of a transaction that the caller opened, and nothing follows a doubt. */
static enum err_code may_step(struct query *q, struct err *e)
{
    struct store *s = q->s;

    if (q->rc != SQLITE_OK)
        return fail(q, e);
    if (s->doubtful) {
        release(q);
        return q->code = err_set(e, E_STORE, "ledger %s: %s: refused, an earlier transaction is in doubt", s->path, sql_names[q->id]);
    }
    if (atomic_load(&s->interrupted)) {
        release(q);
        return q->code = err_set(e, E_STORE, "ledger %s: %s: interrupted", s->path, sql_names[q->id]);
    }
    if (!sqlite3_stmt_readonly(q->st) && (!s->in_tx || s->mode != STORE_WRITE)) {
        release(q);
        return q->code = err_set(e, E_INTERNAL, "ledger %s: %s: outside a write transaction", s->path, sql_names[q->id]);
    }
    return E_OK;
}

enum err_code q_exec(struct query *q, struct err *e)
{
    enum err_code code = may_step(q, e);

    if (code != E_OK)
        return code;
    q->rc = sqlite3_step(q->st);
    if (q->rc != SQLITE_DONE)
        return fail(q, e);
    release(q);
    return E_OK;
}

enum err_code q_exec_one(struct query *q, struct err *e)
{
    struct store *s = q->s;
    enum err_code code = q_exec(q, e);

    if (code == E_OK && sqlite3_changes(s->db) == 0)
        return err_set(e, E_NOT_FOUND, "ledger: %s: no such row", sql_names[q->id]);
    return code;
}

#define NUMBER_TEXT_MAX 24 /* a 64-bit number read as text */

/* Room for every column of the row first, so that no copy moves another. */
static bool reserve_hold(struct query *q)
{
    size_t need = 0;

    for (int i = 0; i < sqlite3_column_count(q->st); i++) {
        int type = sqlite3_column_type(q->st, i);

        need += type == SQLITE_TEXT || type == SQLITE_BLOB ? (size_t)sqlite3_column_bytes(q->st, i) + 1 : NUMBER_TEXT_MAX;
    }
    buf_reset(&q->s->hold[q->id]);
    return buf_reserve(&q->s->hold[q->id], need);
}

enum err_code q_one(struct query *q, struct err *e)
{
    enum err_code code = may_step(q, e);

    if (code != E_OK)
        return code;
    q->rc = sqlite3_step(q->st);
    if (q->rc == SQLITE_DONE) {
        release(q);
        return err_set(e, E_NOT_FOUND, "ledger: %s: no such row", sql_names[q->id]);
    }
    if (q->rc != SQLITE_ROW)
        return fail(q, e);
    q->at = 0;
    q->hold = true;
    q->rc = reserve_hold(q) ? SQLITE_ROW : SQLITE_NOMEM;
    return q->rc == SQLITE_ROW ? E_OK : fail(q, e);
}

enum err_code q_one_or_none(struct query *q, bool *found, struct err *e)
{
    struct err why = {0};
    enum err_code code = q_one(q, &why);

    *found = code == E_OK;
    if (code == E_OK || code == E_NOT_FOUND)
        return E_OK;
    if (e)
        *e = why;
    return code;
}

bool q_next(struct query *q, struct err *e)
{
    if (q->code != E_OK || q->rc == SQLITE_DONE)
        return false;
    if (q->rc != SQLITE_ROW && may_step(q, e) != E_OK)
        return false;
    q->rc = sqlite3_step(q->st);
    q->at = 0;
    if (q->rc != SQLITE_ROW && q->rc != SQLITE_DONE)
        fail(q, e);
    return q->rc == SQLITE_ROW;
}

enum err_code q_end(struct query *q, struct err *e)
{
    if (q->code == E_OK && q->what[0])
        q->code = err_set(e, E_STORE, "ledger %s: %s: a row is damaged:%s", q->s->path, sql_names[q->id], q->what);
    release(q);
    return q->code;
}

int64_t col_i64(struct query *q)
{
    return sqlite3_column_int64(q->st, q->at++);
}

uint64_t col_u64(struct query *q)
{
    int64_t v = col_i64(q);

    if (v < 0)
        q->what = " negative number";
    return v < 0 ? 0 : (uint64_t)v;
}

uint8_t col_u8(struct query *q)
{
    int64_t v = col_i64(q);

    if (v < 0 || v > 255)
        q->what = " number above 255";
    return (uint8_t)v;
}

static const void *held(struct query *q, const void *p, size_t len)
{
    struct buf *hold = &q->s->hold[q->id];
    const uint8_t *at;

    if (!q->hold)
        return p;
    at = hold->p + hold->len;
    buf_add(hold, p, len);
    buf_add_u8(hold, 0);
    return at;
}

const char *col_text(struct query *q)
{
    const char *text = (const char *)sqlite3_column_text(q->st, q->at);
    size_t len = (size_t)sqlite3_column_bytes(q->st, q->at++);

    return text ? held(q, text, len) : "";
}

struct bytes col_bytes(struct query *q)
{
    const void *p = sqlite3_column_blob(q->st, q->at);
    size_t len = (size_t)sqlite3_column_bytes(q->st, q->at++);

    return len ? BYTES(held(q, p, len), len) : (struct bytes){NULL, 0};
}

void col_str(struct query *q, char *out, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(q->st, q->at);
    size_t len = (size_t)sqlite3_column_bytes(q->st, q->at++);

    out[0] = '\0';
    if (len >= size)
        q->what = " text too long";
    else if (text)
        memcpy(out, text, len + 1);
}

void col_fixed(struct query *q, uint8_t *out, size_t len)
{
    const void *p = sqlite3_column_blob(q->st, q->at);

    memset(out, 0, len);
    if ((size_t)sqlite3_column_bytes(q->st, q->at++) != len)
        q->what = " octet string of another length";
    else
        memcpy(out, p, len);
}

void col_serial(struct query *q, uint8_t out[SERIAL_MAX_LEN], uint8_t *len)
{
    const void *p = sqlite3_column_blob(q->st, q->at);
    size_t n = (size_t)sqlite3_column_bytes(q->st, q->at++);

    memset(out, 0, SERIAL_MAX_LEN);
    *len = 0;
    if (n == 0 || n > SERIAL_MAX_LEN) {
        q->what = " serial longer than 20 octets";
        return;
    }
    memcpy(out, p, n);
    *len = (uint8_t)n;
}

int q_control(struct store *s, enum stmt_id id)
{
    struct query q = q_begin(s, id);
    int rc = q.rc;

    if (rc == SQLITE_OK)
        rc = sqlite3_step(q.st);
    release(&q);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}
