/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/replica.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "ca/access.h"
#include "ca/replica_merge.h"
#include "ca/replica_stage.h"

#define REPLICA_APPLICATION_ID 0x494e4b52 /* "INKR" */
#define REPLICA_VERSION        4

enum statement { ST_BEGIN, ST_COMMIT, ST_ROLLBACK, ST_PUT, ST_GET, ST_SEQ, ST_TIME, ST_BUILDING, ST_DEVICE, ST_DEVICES, ST_CERTS, STATEMENTS };

/* The whole SQL of the replica. */
#define LOG_PAGES     256  /* of 4 KiB: so many are merged at rest */
#define LOG_PAGES_MAX 4096 /* so many are merged before there are more */

static const char sql_setup[] = "PRAGMA journal_mode=WAL;"
                                "PRAGMA synchronous=NORMAL;"
                                "PRAGMA cache_size=-16384;"
                                "PRAGMA trusted_schema=OFF;"
                                "PRAGMA cell_size_check=ON;";

#define STRING2(x) #x
#define STRING(x)  STRING2(x)
static const char sql_create[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE state(one INTEGER PRIMARY KEY CHECK(one = 1), ledger_id BLOB NOT NULL, seq INTEGER NOT NULL,"
    " time INTEGER NOT NULL, building INTEGER NOT NULL, wide INTEGER NOT NULL) STRICT;"
    "INSERT INTO state VALUES(1, x'', 0, 0, 0, 0);"
    "CREATE TABLE status(issuer INTEGER NOT NULL, serial BLOB NOT NULL, status INTEGER NOT NULL, reason INTEGER NOT "
    "NULL,"
    " time INTEGER NOT NULL, changed INTEGER NOT NULL, not_after INTEGER NOT NULL, seq INTEGER NOT NULL,"
    " device INTEGER NOT NULL, kind INTEGER NOT NULL, der_hash BLOB NOT NULL, PRIMARY KEY(issuer, serial)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE device(id INTEGER PRIMARY KEY, domain TEXT NOT NULL, device_id TEXT NOT NULL, product TEXT NOT NULL,"
    " firmware TEXT NOT NULL, state INTEGER NOT NULL, moved_to INTEGER NOT NULL) STRICT;"
    "PRAGMA application_id=" STRING(REPLICA_APPLICATION_ID) ";"
                                                            "PRAGMA user_version=" STRING(REPLICA_VERSION) ";"
                                                                                                           "COMMIT;";

/* From here on whoever merges flushes, not whoever writes. A power cut may lose the newest rows: they come again. */
static const char sql_start[] = "PRAGMA synchronous=OFF;";
/* SQLite merges what is left. */
static const char sql_end[] = "PRAGMA synchronous=NORMAL;";

static const char *const sql_statement[STATEMENTS] = {
    [ST_BEGIN] = "BEGIN IMMEDIATE",
    [ST_COMMIT] = "COMMIT",
    [ST_ROLLBACK] = "ROLLBACK",
    /* The first row of a certificate that is good is its issuance; every later row is a change. 2 is CERT_REVOKED. */
    [ST_PUT] = "INSERT INTO status VALUES(?1, ?2, ?3, ?4, ?5, CASE ?3 WHEN 0 THEN 0 ELSE ?5 END, ?6, ?7, ?8, ?9, ?10)"
               " ON CONFLICT(issuer, serial) DO UPDATE SET status = excluded.status, reason = excluded.reason,"
               " time = excluded.time, changed = excluded.time, not_after = excluded.not_after, seq = excluded.seq,"
               " device = iif(excluded.device = 0, device, excluded.device), kind = iif(der_hash = x'', excluded.kind, kind),"
               " der_hash = iif(der_hash = x'', excluded.der_hash, der_hash)"
               " WHERE status.status <> 2 OR excluded.status = 2",
    [ST_GET] = "SELECT status, reason, time, changed, not_after, seq FROM status WHERE issuer = ?1 AND serial = ?2",
    [ST_SEQ] = "UPDATE state SET seq = ?1, time = max(time, ?2)",
    [ST_TIME] = "UPDATE state SET time = ?1",
    [ST_BUILDING] = "UPDATE state SET building = ?1",
    [ST_DEVICE] = "INSERT OR REPLACE INTO device VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [ST_DEVICES] = "SELECT id, domain, device_id, product, firmware, state, moved_to FROM device WHERE id > ?1 ORDER BY id LIMIT ?2",
    [ST_CERTS] = "SELECT issuer, serial, status, reason, time, not_after, seq, device, kind, der_hash FROM status"
                 " WHERE (issuer, serial) > (?1, ?2) ORDER BY issuer, serial LIMIT ?3",
};
_Static_assert(CERT_GOOD == 0 && CERT_REVOKED == 2, "the numbers in sql_statement");

struct replica {
    char path[512];
    sqlite3 *db;
    sqlite3_stmt *st[STATEMENTS];
    uint8_t ledger_id[LEDGER_ID_MAX_LEN];
    size_t ledger_id_len;
    uint64_t seq;
    int64_t time;
    bool damaged, wide;
    struct merge *merge;
    int log_pages; /* that the write-ahead log holds */

    struct stage *stage; /* while it is being built */
    unsigned next;       /* the part of it that is put next; those before are in the table */
};

static enum err_code store_err(struct replica *r, const char *what, struct err *e)
{
    int rc = r->db ? sqlite3_errcode(r->db) & 0xff : SQLITE_OK;

    /* SQLITE_ERROR: the tables are not those of this version. SQLITE_DONE: a row that is always there is not. */
    if (rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB || rc == SQLITE_ERROR || rc == SQLITE_DONE)
        r->damaged = true;
    return err_set(e, E_STORE, "replica \"%s\": %s: %s", r->path, what, r->db ? sqlite3_errmsg(r->db) : "not open");
}

/* In place of SQLite's, which copies and flushes at every thousand pages: each time everybody waits, who asks for a decision too. */
static int on_commit(void *arg, sqlite3 *db, const char *name, int pages)
{
    struct replica *r = arg;

    (void)db;
    (void)name;
    r->log_pages = pages;
    if (pages >= LOG_PAGES_MAX && r->merge)
        merge_begin(r->merge);
    return SQLITE_OK;
}

void replica_rest(struct replica *r)
{
    if (r->merge && r->log_pages >= LOG_PAGES)
        merge_begin(r->merge);
}

bool replica_is_merging(const struct replica *r)
{
    return r->merge && merge_is_busy(r->merge);
}

static void close_db(struct replica *r)
{
    merge_end(r->merge);
    /* SQLite would delete a log that was copied, though the file was not flushed. */
    if (r->merge && merge_failure(r->merge))
        sqlite3_db_config(r->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    r->log_pages = 0;
    for (int i = 0; i < STATEMENTS; i++) {
        sqlite3_finalize(r->st[i]);
        r->st[i] = NULL;
    }
    if (r->db)
        sqlite3_exec(r->db, sql_end, NULL, NULL, NULL);
    sqlite3_close(r->db);
    r->db = NULL;
    merge_free(r->merge);
    r->merge = NULL;
}

static void delete_files(const struct replica *r)
{
    static const char *const suffix[] = {"", "-wal", "-shm", "-journal"};

    for (size_t i = 0; i < ARRAY_LEN(suffix); i++) {
        char path[sizeof(r->path) + 16];

        snprintf(path, sizeof(path), "%s%s", r->path, suffix[i]);
        unlink(path);
    }
}

/* The first column of the first row of a query without parameters. */
static bool query_i64(sqlite3 *db, const char *sql, int64_t *out)
{
    sqlite3_stmt *st = NULL;
    bool ok = sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW;

    if (ok)
        *out = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return ok;
}

static enum err_code load_state(struct replica *r, struct err *e)
{
    sqlite3_stmt *st = NULL;
    enum err_code code = E_OK;

    if (sqlite3_prepare_v2(r->db, "SELECT ledger_id, seq, time, building, wide FROM state WHERE one = 1", -1, &st, NULL) != SQLITE_OK ||
        sqlite3_step(st) != SQLITE_ROW) {
        code = store_err(r, "state", e);
    } else {
        int len = sqlite3_column_bytes(st, 0);
        int64_t seq = sqlite3_column_int64(st, 1);

        if (len > LEDGER_ID_MAX_LEN || seq < 0) {
            r->damaged = true;
            code = err_set(e, E_STORE, "replica \"%s\": state holds a ledger id of %d octets, seq %lld", r->path, len,
                           (long long)seq);
        } else if (sqlite3_column_int64(st, 3) != 0) {
            r->damaged = true;
            code = err_set(e, E_STORE, "replica \"%s\": the process ended while it was being built", r->path);
        } else if (len && (sqlite3_column_int64(st, 4) != 0) != r->wide) {
            r->damaged = true;
            code = err_set(e, E_STORE, "replica \"%s\": decisions were switched %s", r->path, r->wide ? "on" : "off");
        } else {
            if (len)
                memcpy(r->ledger_id, sqlite3_column_blob(st, 0), (size_t)len);
            r->ledger_id_len = (size_t)len;
            r->seq = (uint64_t)seq;
            r->time = sqlite3_column_int64(st, 2);
        }
    }
    sqlite3_finalize(st);
    return code;
}

static enum err_code check_kind(struct replica *r, struct err *e)
{
    int64_t id, version, tables;

    if (!query_i64(r->db, "PRAGMA application_id", &id) || !query_i64(r->db, "PRAGMA user_version", &version) ||
        !query_i64(r->db, "SELECT count(*) FROM sqlite_schema", &tables))
        return store_err(r, "read", e);
    if (tables == 0 && id == 0 && version == 0) {
        if (sqlite3_exec(r->db, sql_create, NULL, NULL, NULL) != SQLITE_OK)
            return store_err(r, "create", e);
        return E_OK;
    }
    if (id == REPLICA_APPLICATION_ID && version == REPLICA_VERSION)
        return E_OK;
    r->damaged = true;
    return err_set(e, E_STORE, "replica \"%s\": application id %llx version %lld, not %x version %d", r->path,
                   (unsigned long long)id, (long long)version, REPLICA_APPLICATION_ID, REPLICA_VERSION);
}

/* Opens the file as it is; E_STORE when it is no replica or does not read. */
static enum err_code open_db(struct replica *r, struct err *e)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;

    if (sqlite3_open_v2(r->path, &r->db, flags, REPLICA_VFS) != SQLITE_OK)
        return store_err(r, "open", e);
    sqlite3_extended_result_codes(r->db, 1);
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_wal_hook(r->db, on_commit, r);
    sqlite3_busy_timeout(r->db, 2000); /* the process before this one may still be closing */
    if (sqlite3_exec(r->db, sql_setup, NULL, NULL, NULL) != SQLITE_OK)
        return store_err(r, "set up", e);
    if (check_kind(r, e) != E_OK || load_state(r, e) != E_OK)
        return e->code;
    for (int i = 0; i < STATEMENTS; i++)
        if (sqlite3_prepare_v3(r->db, sql_statement[i], -1, SQLITE_PREPARE_PERSISTENT, &r->st[i], NULL) != SQLITE_OK)
            return store_err(r, sql_statement[i], e);
    if (merge_new(r->path, &r->merge, e) != E_OK)
        return e->code;
    return sqlite3_exec(r->db, sql_start, NULL, NULL, NULL) == SQLITE_OK ? E_OK : store_err(r, sql_start, e);
}

static enum err_code begin_anew(struct replica *r, struct err *e)
{
    stage_free(r->stage);
    r->stage = NULL;
    close_db(r);
    delete_files(r);
    r->ledger_id_len = 0;
    r->seq = 0;
    r->damaged = false;
    return open_db(r, e);
}

enum err_code replica_open(const char *dir, bool wide, struct replica **out, struct err *why, struct err *e)
{
    struct replica *r;

    *out = NULL;
    *why = (struct err){0};
    if (dir_make(dir, 0700, e) != E_OK)
        return e->code;
    r = calloc(1, sizeof(*r));
    if (!r)
        return err_set(e, E_NOMEM, "replica");
    r->wide = wide;
    if (snprintf(r->path, sizeof(r->path), "%s/replica.db", dir) >= (int)sizeof(r->path)) {
        free(r);
        return err_set(e, E_INVALID, "replica: the directory name is too long");
    }
    if (open_db(r, why) != E_OK && !r->damaged)
        *e = *why; /* locked, unreadable, disk full: what is there may be good */
    else if (why->code == E_OK || begin_anew(r, e) == E_OK)
        *out = TAKE(r);
    replica_free(r);
    return *out ? E_OK : e->code;
}

void replica_free(struct replica *r)
{
    if (!r)
        return;
    stage_free(r->stage);
    close_db(r);
    free(r);
}

struct bytes replica_ledger_id(const struct replica *r)
{
    return BYTES(r->ledger_id, r->ledger_id_len);
}

uint64_t replica_seq(const struct replica *r)
{
    return r->seq;
}

int64_t replica_time(const struct replica *r)
{
    return r->time;
}

/* Runs a statement that yields no row. */
static bool run(struct replica *r, enum statement which)
{
    int rc = sqlite3_step(r->st[which]);

    sqlite3_reset(r->st[which]);
    return rc == SQLITE_DONE;
}

enum err_code replica_reset(struct replica *r, struct bytes ledger_id, struct err *e)
{
    sqlite3_stmt *st = NULL;
    int64_t time = r->time;
    bool ok;

    if (ledger_id.len > LEDGER_ID_MAX_LEN)
        return err_set(e, E_INVALID, "ledger id of %zu octets, at most %d", ledger_id.len, LEDGER_ID_MAX_LEN);
    if (begin_anew(r, e) != E_OK)
        return e->code;
    ok = sqlite3_prepare_v2(r->db, "UPDATE state SET ledger_id = ?1, time = ?2, wide = ?3", -1, &st, NULL) == SQLITE_OK &&
         sqlite3_bind_blob(st, 1, ledger_id.len ? (const void *)ledger_id.p : "", (int)ledger_id.len, SQLITE_STATIC) ==
             SQLITE_OK &&
         sqlite3_bind_int64(st, 2, time) == SQLITE_OK && sqlite3_bind_int(st, 3, r->wide) == SQLITE_OK && sqlite3_step(st) == SQLITE_DONE;
    sqlite3_finalize(st);
    if (!ok)
        return store_err(r, "reset", e);
    return load_state(r, e);
}

static struct staged_row staged(const struct status_row *row)
{
    struct bytes serial = serial_magnitude(BYTES(row->serial, row->serial_len));
    struct staged_row out = {.seq = row->seq, .time = row->time, .not_after = row->not_after, .issuer = row->issuer,
                             .status = (uint8_t)row->status, .reason = (uint8_t)row->reason, .serial_len = (uint8_t)serial.len};

    if (serial.len)
        memcpy(out.serial, serial.p, serial.len);
    out.device = row->device;
    out.has_hash = row->has_hash;
    if (row->has_hash) {
        out.kind = row->kind;
        memcpy(out.der_hash, row->der_hash, sizeof(out.der_hash));
    }
    return out;
}

static bool put(struct replica *r, const struct staged_row *row, size_t *refused)
{
    sqlite3_stmt *st = r->st[ST_PUT];
    bool ok;

    sqlite3_bind_int64(st, 1, row->issuer);
    sqlite3_bind_blob(st, 2, row->serial, row->serial_len, SQLITE_STATIC);
    sqlite3_bind_int64(st, 3, row->status);
    sqlite3_bind_int64(st, 4, row->reason);
    sqlite3_bind_int64(st, 5, row->time);
    sqlite3_bind_int64(st, 6, row->not_after);
    sqlite3_bind_int64(st, 7, (int64_t)row->seq);
    sqlite3_bind_int64(st, 8, r->wide ? (int64_t)row->device : 0);
    sqlite3_bind_int64(st, 9, r->wide ? row->kind : 0);
    sqlite3_bind_blob(st, 10, row->der_hash, r->wide && row->has_hash ? (int)sizeof(row->der_hash) : 0, SQLITE_STATIC);
    ok = run(r, ST_PUT);
    sqlite3_clear_bindings(st);
    if (ok && sqlite3_changes(r->db) == 0)
        (*refused)++;
    return ok;
}

static bool note_seq(struct replica *r, uint64_t seq, int64_t time)
{
    sqlite3_bind_int64(r->st[ST_SEQ], 1, (int64_t)seq);
    sqlite3_bind_int64(r->st[ST_SEQ], 2, time);
    return run(r, ST_SEQ);
}

static enum err_code may_write(struct replica *r, struct err *e)
{
    const char *failure;

    merge_wait(r->merge);
    failure = merge_failure(r->merge);
    return failure ? err_set(e, E_STORE, "replica \"%s\": its log could not be merged: %s", r->path, failure) : E_OK;
}

static enum err_code begin(struct replica *r, struct err *e)
{
    if (may_write(r, e) != E_OK)
        return e->code;
    return run(r, ST_BEGIN) ? E_OK : store_err(r, "begin", e);
}

static enum err_code undo(struct replica *r, const char *what, struct err *e)
{
    if (e->code == E_OK)
        store_err(r, what, e);
    if (!sqlite3_get_autocommit(r->db))
        run(r, ST_ROLLBACK);
    return e->code;
}

enum err_code replica_apply(struct replica *r, const struct status_row *rows, size_t n, size_t *refused, struct err *e)
{
    int64_t time = r->time;

    *refused = 0;
    *e = (struct err){0};
    if (n == 0)
        return E_OK;
    for (size_t i = 0; i < n; i++)
        if (rows[i].seq != r->seq + 1 + i)
            return err_set(e, E_INVALID, "status log: row %llu does not follow %llu", (unsigned long long)rows[i].seq,
                           (unsigned long long)(r->seq + i));
    if (begin(r, e) != E_OK)
        return e->code;
    for (size_t i = 0; i < n; i++) {
        struct staged_row row = staged(&rows[i]);
        bool later = r->stage && stage_part(&row) >= r->next;

        if (rows[i].issuer == 0) { /* about a device alone */
            if (row.time > time)
                time = row.time;
            continue;
        }
        if (later ? stage_add(r->stage, &row, e) != E_OK : !put(r, &row, refused))
            return undo(r, "apply", e);
        if (row.time > time)
            time = row.time;
    }
    if ((!r->stage && !note_seq(r, rows[n - 1].seq, time)) || !run(r, ST_COMMIT))
        return undo(r, "apply", e);
    r->seq = rows[n - 1].seq;
    r->time = time;
    return E_OK;
}

/* ---- building ---- */

enum err_code replica_build(struct replica *r, struct err *e)
{
    char dir[sizeof(r->path)];

    if (r->stage)
        return E_OK;
    if (may_write(r, e) != E_OK)
        return e->code;
    snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(r->path, '/') - r->path), r->path);
    sqlite3_bind_int64(r->st[ST_BUILDING], 1, 1);
    if (!run(r, ST_BUILDING))
        return store_err(r, "build", e);
    r->next = 0;
    return stage_new(dir, r->wide, &r->stage, e);
}

bool replica_is_building(const struct replica *r)
{
    return r->stage != NULL;
}

static bool same_certificate(const struct staged_row *a, const struct staged_row *b)
{
    return a->issuer == b->issuer && a->serial_len == b->serial_len && memcmp(a->serial, b->serial, a->serial_len) == 0;
}

/*
 * Two certificates of three, then the third: put in order, pages of the table become full, and each row that comes later would
 * have to split one. So the third ones do, and leave room.
 */
static bool put_part(struct replica *r, const struct staged_row *rows, size_t n, size_t *refused)
{
    for (int later = 0; later < 2; later++)
        for (size_t i = 0, certificate = 0; i < n; i++) {
            certificate += i > 0 && !same_certificate(&rows[i - 1], &rows[i]);
            if ((certificate % 3 == 2) == later && !put(r, &rows[i], refused))
                return false;
        }
    return true;
}

enum err_code replica_build_step(struct replica *r, size_t *refused, struct err *e)
{
    struct staged_row *rows = NULL;
    size_t n = 0;
    bool ok;

    *refused = 0;
    *e = (struct err){0};
    if (stage_take(r->stage, r->next, &rows, &n, e) != E_OK)
        return e->code;
    ok = begin(r, e) == E_OK && put_part(r, rows, n, refused);
    free(rows);
    if (ok && r->next == STAGE_PARTS - 1) {
        sqlite3_bind_int64(r->st[ST_BUILDING], 1, 0);
        ok = note_seq(r, r->seq, r->time) && run(r, ST_BUILDING);
    }
    if (!ok || !run(r, ST_COMMIT))
        return undo(r, "build", e);
    if (++r->next == STAGE_PARTS) {
        stage_free(r->stage);
        r->stage = NULL;
    }
    return E_OK;
}

enum err_code replica_get(struct replica *r, uint32_t issuer, struct bytes serial, struct replica_row *out,
                          struct err *e)
{
    sqlite3_stmt *st = r->st[ST_GET];
    enum err_code code = E_OK;
    int rc;

    *out = (struct replica_row){0};
    serial = serial_magnitude(serial);
    sqlite3_bind_int64(st, 1, issuer);
    sqlite3_bind_blob(st, 2, serial.len ? (const void *)serial.p : "", (int)serial.len, SQLITE_STATIC);
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        int64_t status = sqlite3_column_int64(st, 0), reason = sqlite3_column_int64(st, 1);

        out->time = sqlite3_column_int64(st, 2);
        out->changed = sqlite3_column_int64(st, 3);
        out->not_after = sqlite3_column_int64(st, 4);
        out->seq = (uint64_t)sqlite3_column_int64(st, 5);
        if (status < 0 || status >= CERT_STATUSES || reason < 0 || reason > 255 ||
            !crl_reason_name((enum crl_reason)reason) || out->seq > r->seq) {
            r->damaged = true;
            code = err_set(e, E_STORE, "replica \"%s\": a row holds status %lld, reason %lld, seq %llu", r->path,
                           (long long)status, (long long)reason, (unsigned long long)out->seq);
        } else {
            out->status = (enum cert_status)status;
            out->reason = (enum crl_reason)reason;
        }
    } else if (rc == SQLITE_DONE) {
        code = err_set(e, E_NOT_FOUND, "no such certificate");
    } else {
        code = store_err(r, "read", e);
    }
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return code;
}

/* ---- devices, and reading it all ---- */

enum err_code replica_put_devices(struct replica *r, const struct access_device *d, size_t n, struct err *e)
{
    sqlite3_stmt *st = r->st[ST_DEVICE];

    *e = (struct err){0};
    if (begin(r, e) != E_OK)
        return e->code;
    for (size_t i = 0; i < n; i++) {
        bool ok;

        sqlite3_bind_int64(st, 1, (int64_t)d[i].id);
        sqlite3_bind_text(st, 2, d[i].domain, -1, SQLITE_STATIC);
        sqlite3_bind_text(st, 3, d[i].device_id, -1, SQLITE_STATIC);
        sqlite3_bind_text(st, 4, d[i].product, -1, SQLITE_STATIC);
        sqlite3_bind_text(st, 5, d[i].firmware, -1, SQLITE_STATIC);
        sqlite3_bind_int64(st, 6, d[i].state);
        sqlite3_bind_int64(st, 7, (int64_t)d[i].moved_to);
        ok = run(r, ST_DEVICE);
        sqlite3_clear_bindings(st);
        if (!ok)
            return undo(r, "devices", e);
    }
    return run(r, ST_COMMIT) ? E_OK : undo(r, "devices", e);
}

static enum err_code strange(struct replica *r, const char *what, struct err *e)
{
    r->damaged = true;
    return err_set(e, E_STORE, "replica \"%s\": a %s that cannot be", r->path, what);
}

static enum err_code visit_device(struct replica *r, struct replica_reading *at, const struct replica_visit *fn, struct err *e)
{
    sqlite3_stmt *st = r->st[ST_DEVICES];
    struct access_device d = {
        .id = (uint64_t)sqlite3_column_int64(st, 0),
        .domain = (const char *)sqlite3_column_text(st, 1),
        .device_id = (const char *)sqlite3_column_text(st, 2),
        .product = (const char *)sqlite3_column_text(st, 3),
        .firmware = (const char *)sqlite3_column_text(st, 4),
        .state = (enum device_state)sqlite3_column_int(st, 5),
        .moved_to = (uint64_t)sqlite3_column_int64(st, 6),
    };

    if (!d.domain || !d.device_id || !d.product || !d.firmware || (unsigned)d.state >= DEVICE_STATES || d.moved_to == d.id)
        return strange(r, "device", e);
    at->device = d.id;
    return fn->device(fn->arg, &d, e) ? E_OK : e->code;
}

static enum err_code visit_cert(struct replica *r, struct replica_reading *at, const struct replica_visit *fn, struct err *e)
{
    sqlite3_stmt *st = r->st[ST_CERTS];
    struct status_row row = {
        .issuer = (uint32_t)sqlite3_column_int64(st, 0),
        .serial_len = (uint8_t)sqlite3_column_bytes(st, 1),
        .status = (enum cert_status)sqlite3_column_int(st, 2),
        .reason = (enum crl_reason)sqlite3_column_int(st, 3),
        .time = sqlite3_column_int64(st, 4),
        .not_after = sqlite3_column_int64(st, 5),
        .seq = (uint64_t)sqlite3_column_int64(st, 6),
        .device = (uint64_t)sqlite3_column_int64(st, 7),
        .kind = (uint8_t)sqlite3_column_int(st, 8),
        .has_hash = sqlite3_column_bytes(st, 9) == sizeof(row.der_hash),
        .device_state = DEVICE_STATES,
    };

    if (sqlite3_column_bytes(st, 1) > SERIAL_MAX_LEN || (unsigned)row.status >= CERT_STATUSES || !crl_reason_name(row.reason))
        return strange(r, "certificate", e);
    if (row.serial_len)
        memcpy(row.serial, sqlite3_column_blob(st, 1), row.serial_len);
    if (row.has_hash)
        memcpy(row.der_hash, sqlite3_column_blob(st, 9), sizeof(row.der_hash));
    at->issuer = row.issuer;
    at->serial_len = row.serial_len;
    memcpy(at->serial, row.serial, sizeof(at->serial));
    return fn->cert(fn->arg, &row, e) ? E_OK : e->code;
}

enum err_code replica_read(struct replica *r, struct replica_reading *at, size_t max, const struct replica_visit *fn, bool *done, struct err *e)
{
    sqlite3_stmt *st = r->st[at->certs ? ST_CERTS : ST_DEVICES];
    enum err_code code = E_OK;
    size_t n = 0;
    int rc;

    *done = false;
    if (at->certs) {
        sqlite3_bind_int64(st, 1, at->issuer);
        sqlite3_bind_blob(st, 2, at->serial, at->serial_len, SQLITE_STATIC);
        sqlite3_bind_int64(st, 3, (int64_t)max);
    } else {
        sqlite3_bind_int64(st, 1, (int64_t)at->device);
        sqlite3_bind_int64(st, 2, (int64_t)max);
    }
    while (code == E_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        n++;
        code = at->certs ? visit_cert(r, at, fn, e) : visit_device(r, at, fn, e);
    }
    if (code == E_OK && rc != SQLITE_DONE)
        code = store_err(r, "read", e);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    if (code == E_OK && n < max) {
        *done = at->certs;
        at->certs = true;
    }
    return code;
}

enum err_code replica_keep_time(struct replica *r, int64_t time, struct err *e)
{
    if (time == r->time || replica_is_merging(r))
        return E_OK;
    if (may_write(r, e) != E_OK)
        return e->code;
    sqlite3_bind_int64(r->st[ST_TIME], 1, time);
    if (!run(r, ST_TIME))
        return store_err(r, "keep time", e);
    r->time = time;
    return E_OK;
}

bool replica_is_damaged(const struct replica *r)
{
    return r->damaged;
}

void replica_discard(struct replica *r)
{
    close_db(r);
    delete_files(r);
}

struct bytes serial_magnitude(struct bytes serial)
{
    while (serial.len && serial.p[0] == 0) {
        serial.p++;
        serial.len--;
    }
    return serial;
}
