/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of first enrollments, written durably in batches.
 *
 *   store_rows product FILE BATCH CERTIFICATES   through the ledger's own functions, as a cycle of ca/issue.c calls them
 *   store_rows bare FILE BATCH CERTIFICATES      the same rows, tables, indexes and PRAGMAs with prepared statements and nothing
 *                                                else: no savepoints, no foreign keys, no audit chain, no reading back
 *
 * One transaction carries the results of batch k and the intents of batch k + 1. Both end with a checkpoint of what is left, so that
 * the same pages were copied into the database, whenever in the run each of them did so. FILE must not exist. Prints CPU for each
 * certificate and how often the disk was asked to make something durable.
 */
#include <dlfcn.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/bytes.h"
#include "ca/audit.h"
#include "ca/store/store_int.h"
#include "figures.h"

#define DER_LEN 690
#define T0      1700000000
#define YEAR_S  31536000

/* SQLite asks through the dynamic linker, which finds these first. */
static size_t syncs;

int fdatasync(int fd)
{
    static int (*real)(int);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
    syncs++;
    return real(fd);
}

int fsync(int fd)
{
    static int (*real)(int);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "fsync");
    syncs++;
    return real(fd);
}

/* Everything that differs from one certificate to the next, from its number alone. */
struct unit {
    uint8_t serial[SERIAL_MAX_LEN], spki[32], tbs[32], credential[32], digest[32], der_hash[32], der[DER_LEN];
    char    device_id[32], requester[64];
};

static void unit_make(struct unit *u, size_t n)
{
    static const uint8_t filling[DER_LEN] = {0x30, 0x82};
    uint8_t              seed[33] = {0};

    memcpy(seed + 1, &n, sizeof(n));
    sha256(BYTES(seed, 9), u->spki);
    sha256(BYTES_OF(u->spki), u->tbs);
    sha256(BYTES_OF(u->tbs), u->credential);
    sha256(BYTES_OF(u->credential), u->digest);
    memcpy(u->serial, u->digest, sizeof(u->serial));
    u->serial[0] = 0x40 | (u->serial[0] & 0x3f);
    memcpy(u->der, filling, sizeof(filling));
    memcpy(u->der + 20, u->serial, sizeof(u->serial));
    sha256(BYTES_OF(u->der), u->der_hash);
    snprintf(u->device_id, sizeof(u->device_id), "unit-%08zu", n);
    snprintf(u->requester, sizeof(u->requester), "device:example/%s", u->device_id);
}

struct writer {
    struct store *s;
    uint32_t      issuer;
    uint8_t       profile[32];
    sqlite3      *db; /* bare */
    sqlite3_stmt *begin, *commit, *spki, *intent, *cert, *status, *finish, *device, *audit;
    uint64_t      seq;
};

/* ---- through the ledger ---- */

static void prepare(struct writer *w, size_t n)
{
    struct err        e = {0};
    struct unit       u;
    struct intent_row row = {.issuer = w->issuer, .serial_len = SERIAL_MAX_LEN, .domain = "example", .device = n + 1, .created_at = T0};

    unit_make(&u, n);
    memcpy(row.serial, u.serial, sizeof(row.serial));
    memcpy(row.tbs_hash, u.tbs, 32);
    memcpy(row.profile_hash, w->profile, 32);
    row.requester = u.requester;
    must_ok(store_savepoint(w->s, &e), &e);
    must_ok(store_spki_claim(w->s, u.spki, n + 1, T0, &e), &e);
    must_ok(store_intent_insert(w->s, &row, &e), &e);
    must_ok(store_savepoint_keep(w->s, &e), &e);
}

static void record(struct writer *w, size_t n)
{
    struct err         e = {0};
    struct unit        u;
    struct cert_row    row = {.issuer = w->issuer, .serial_len = SERIAL_MAX_LEN, .profile = "ldevid", .kind = PROFILE_LDEVID,
                              .operation = CERT_OP_ENROLL, .device = n + 1, .domain = "example", .order_no = "", .station = "",
                              .line = "", .model = "", .lot = "", .firmware = "", .issued_at = T0, .not_before = T0 - 300,
                              .not_after = T0 + YEAR_S, .device_state = DEVICE_IN_SERVICE};
    struct audit_actor who = {.actor_kind = "device", .domain = "example"};

    unit_make(&u, n);
    memcpy(row.serial, u.serial, sizeof(row.serial));
    row.der = BYTES_OF(u.der);
    memcpy(row.der_hash, u.der_hash, 32);
    memcpy(row.spki_hash, u.spki, 32);
    memcpy(row.profile_hash, w->profile, 32);
    memcpy(row.credential_hash, u.credential, 32);
    row.requester = u.requester;
    who.actor = u.requester;
    who.request_digest = BYTES_OF(u.digest);
    must_ok(store_cert_issue(w->s, &row, &e), &e);
    must_ok(store_intent_finish(w->s, w->issuer, BYTES_OF(u.serial), INTENT_DONE, T0, &e), &e);
    must_ok(store_device_set_state(w->s, n + 1, DEVICE_IN_SERVICE, T0, &e), &e);
    must_ok(audit_cert_issued(w->s, &who, "fleet-ca", &row, row.status_seq, T0, &e), &e);
}

/* As record_together() of ca/issue.c, and finish() for one alone. */
static void record_batch(struct writer *w, size_t from, size_t to)
{
    struct err e = {0};

    if (to - from == 1)
        must_ok(store_savepoint(w->s, &e), &e);
    for (size_t i = from; i < to; i++)
        record(w, i);
    if (to - from == 1)
        must_ok(store_savepoint_keep(w->s, &e), &e);
}

/* What stands there before the first enrollment: an issuer, a profile, the devices. */
static void ledger_make(struct writer *w, const char *path, size_t devices)
{
    struct issuer_row issuer = {.name = "fleet-ca", .parent = ISSUER_SELF, .created_at = T0};
    struct err        e = {0};

    must_ok(store_open(path, STORE_WRITE, &w->s, &e), &e);
    memset(w->profile, 0x11, sizeof(w->profile));
    issuer.subject = issuer.spki = issuer.cert = bytes_str("fleet-ca");
    must_ok(store_begin(w->s, &e), &e);
    must_ok(store_issuer_insert(w->s, &issuer, &e), &e);
    w->issuer = issuer.id;
    must_ok(store_profile_put(w->s, w->profile, "ldevid", "kind: ldevid\n", T0, &e), &e);
    for (size_t i = 0; i < devices; i++) {
        char              id[32];
        struct device_row device = {.domain = "example", .device_id = id, .anchor = "example-maker", .product = "demo", .declared_at = T0};

        snprintf(id, sizeof(id), "unit-%08zu", i);
        must_ok(store_device_insert(w->s, &device, &e), &e);
    }
    must_ok(store_commit(w->s, &e), &e);
    must_ok(store_checkpoint(w->s, 0, &e), &e);
}

/* ---- bare ---- */

static void step(struct writer *w, sqlite3_stmt *st)
{
    if (sqlite3_step(st) != SQLITE_DONE) {
        fprintf(stderr, "bench: %s\n", sqlite3_errmsg(w->db));
        exit(1);
    }
    sqlite3_reset(st);
}

static sqlite3_stmt *statement(struct writer *w, const char *sql)
{
    sqlite3_stmt *st;

    if (sqlite3_prepare_v2(w->db, sql, -1, &st, NULL) != SQLITE_OK) {
        fprintf(stderr, "bench: %s: %s\n", sql, sqlite3_errmsg(w->db));
        exit(1);
    }
    return st;
}

static void bare_open(struct writer *w, const char *path)
{
    must(sqlite3_open(path, &w->db) == SQLITE_OK, "sqlite3_open");
    must(sqlite3_exec(w->db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=10000; PRAGMA cache_size=-16384", NULL,
                      NULL, NULL) == SQLITE_OK,
         "PRAGMA");
    w->begin = statement(w, "BEGIN IMMEDIATE");
    w->commit = statement(w, "COMMIT");
    w->spki = statement(w, "INSERT INTO spki VALUES (?, ?, ?)");
    w->intent = statement(w, "INSERT INTO intent VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0)");
    w->cert = statement(w, "INSERT INTO cert VALUES (NULL,?,?,?,?,?,?,'ldevid',?,?,?,'example',?,?,'','','','','','',0,?,?,?,0,0,0,?,?,NULL,0)");
    w->status = statement(w, "INSERT INTO status_log VALUES (?, ?, ?, 0, 0, ?, 0, ?, 0, '', ?, 5, 3, ?)");
    w->finish = statement(w, "UPDATE intent SET state = 1, finished_at = ? WHERE issuer = ? AND serial = ? AND state <> 1");
    w->device = statement(w, "UPDATE device SET prev_state = state, state = 5, state_at = ?1, enrolled_at = ?1 WHERE id = ?2");
    w->audit = statement(w, "INSERT INTO audit VALUES (?, ?, 'cert-issued', ?, 'device', 'example', ?, ?, ?, x'', x'', ?, ?)");
}

static void blob(sqlite3_stmt *st, int at, const uint8_t *p, size_t n)
{
    sqlite3_bind_blob(st, at, p, (int)n, SQLITE_STATIC);
}

static void bare_prepare(struct writer *w, size_t n)
{
    struct unit u;

    unit_make(&u, n);
    blob(w->spki, 1, u.spki, 32);
    sqlite3_bind_int64(w->spki, 2, (sqlite3_int64)n + 1);
    sqlite3_bind_int64(w->spki, 3, T0);
    step(w, w->spki);
    sqlite3_bind_int64(w->intent, 1, w->issuer);
    blob(w->intent, 2, u.serial, sizeof(u.serial));
    blob(w->intent, 3, u.tbs, 32);
    blob(w->intent, 4, w->profile, 32);
    sqlite3_bind_text(w->intent, 5, u.requester, -1, SQLITE_STATIC);
    sqlite3_bind_text(w->intent, 6, "example", -1, SQLITE_STATIC);
    sqlite3_bind_int64(w->intent, 7, (sqlite3_int64)n + 1);
    sqlite3_bind_int64(w->intent, 8, T0);
    step(w, w->intent);
}

static void bare_cert(struct writer *w, const struct unit *u, size_t n)
{
    const int64_t numbers[] = {PROFILE_LDEVID, CERT_OP_ENROLL, (int64_t)n + 1};
    const int64_t times[] = {T0, T0 - 300, T0 + YEAR_S, T0};

    sqlite3_bind_int64(w->cert, 1, w->issuer);
    blob(w->cert, 2, u->serial, sizeof(u->serial));
    blob(w->cert, 3, u->der, sizeof(u->der));
    blob(w->cert, 4, u->der_hash, 32);
    blob(w->cert, 5, u->spki, 32);
    blob(w->cert, 6, w->profile, 32);
    for (int i = 0; i < 3; i++)
        sqlite3_bind_int64(w->cert, 7 + i, numbers[i]);
    sqlite3_bind_text(w->cert, 10, u->requester, -1, SQLITE_STATIC);
    blob(w->cert, 11, u->credential, 32);
    for (int i = 0; i < 4; i++)
        sqlite3_bind_int64(w->cert, 12 + i, times[i]);
    sqlite3_bind_int64(w->cert, 16, (sqlite3_int64)w->seq);
    step(w, w->cert);
    sqlite3_bind_int64(w->status, 1, (sqlite3_int64)w->seq);
    sqlite3_bind_int64(w->status, 2, w->issuer);
    blob(w->status, 3, u->serial, sizeof(u->serial));
    sqlite3_bind_int64(w->status, 4, T0);
    sqlite3_bind_int64(w->status, 5, T0 + YEAR_S);
    sqlite3_bind_int64(w->status, 6, (sqlite3_int64)n + 1);
    blob(w->status, 7, u->der_hash, 32);
    step(w, w->status);
}

static void bare_record(struct writer *w, size_t n)
{
    /* The texts of an audit row, made beforehand: their length is what counts here. */
    static const char object[] = "cert:fleet-ca/40112233445566778899aabbccddeeff00112233";
    static const char detail[] =
        "{\"der_sha256\":\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\",\"issuer\":\"fleet-ca\","
        "\"profile\":\"ldevid\",\"requester\":\"device:example/unit-00000000\",\"seq\":1000,"
        "\"serial\":\"40112233445566778899aabbccddeeff00112233\"}";
    struct unit u;

    unit_make(&u, n);
    w->seq++;
    bare_cert(w, &u, n);
    sqlite3_bind_int64(w->finish, 1, T0);
    sqlite3_bind_int64(w->finish, 2, w->issuer);
    blob(w->finish, 3, u.serial, sizeof(u.serial));
    step(w, w->finish);
    sqlite3_bind_int64(w->device, 1, T0);
    sqlite3_bind_int64(w->device, 2, (sqlite3_int64)n + 1);
    step(w, w->device);
    sqlite3_bind_int64(w->audit, 1, (sqlite3_int64)w->seq);
    sqlite3_bind_int64(w->audit, 2, T0);
    sqlite3_bind_text(w->audit, 3, u.requester, -1, SQLITE_STATIC);
    sqlite3_bind_text(w->audit, 4, object, sizeof(object) - 1, SQLITE_STATIC);
    sqlite3_bind_text(w->audit, 5, detail, sizeof(detail) - 1, SQLITE_STATIC);
    blob(w->audit, 6, u.digest, 32);
    blob(w->audit, 7, u.tbs, 32);
    blob(w->audit, 8, u.spki, 32);
    step(w, w->audit);
}

/* ---- the run ---- */

static void begin(struct writer *w)
{
    struct err e = {0};

    if (w->db)
        step(w, w->begin);
    else
        must_ok(store_begin(w->s, &e), &e);
}

static void commit(struct writer *w)
{
    struct err e = {0};

    if (w->db)
        step(w, w->commit);
    else {
        must_ok(store_commit(w->s, &e), &e);
        must_ok(store_checkpoint_step(w->s, &e), &e);
    }
}

static void copy_rest(struct writer *w)
{
    must(sqlite3_wal_checkpoint_v2(w->db ? w->db : w->s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) == SQLITE_OK, "checkpoint");
}

int main(int argc, char **argv)
{
    struct writer    w = {0};
    struct latencies l = {0};
    struct unit      u;
    bool             bare;
    size_t           batch, count, commits = 0;
    double           cpu, wall, made, at;

    must(argc == 5, "usage: store_rows product|bare FILE BATCH CERTIFICATES");
    bare = strcmp(argv[1], "bare") == 0;
    batch = strtoul(argv[3], NULL, 10);
    count = strtoul(argv[4], NULL, 10) / batch * batch;
    ledger_make(&w, argv[2], count);
    if (bare) {
        store_close(w.s);
        bare_open(&w, argv[2]);
    }
    made = figures_cpu_us(); /* making up the values is the bench's cost, not the store's: as often as below */
    for (size_t i = 0; i < 2 * count; i++)
        unit_make(&u, i);
    made = figures_cpu_us() - made;
    syncs = 0;
    cpu = figures_cpu_us();
    wall = figures_wall_us();
    for (size_t n = 0; n < count + batch; n += batch) {
        at = figures_wall_us();
        begin(&w);
        for (size_t i = n >= batch ? n - batch : 0; bare && i < n; i++)
            bare_record(&w, i);
        if (!bare)
            record_batch(&w, n >= batch ? n - batch : 0, n);
        for (size_t i = n; i < n + batch && i < count; i++)
            (bare ? bare_prepare : prepare)(&w, i);
        commit(&w);
        commits++;
        latencies_add(&l, figures_wall_us() - at);
    }
    copy_rest(&w);
    cpu = figures_cpu_us() - cpu - made;
    wall = figures_wall_us() - wall;
    printf("{\"us\": %.3f, \"syncs\": %.5f, \"rate\": %.1f, \"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f}\n", cpu / (double)count,
           (double)syncs / (double)count, (double)count / wall * 1e6, latencies_at(&l, 0.5), latencies_at(&l, 0.99), latencies_at(&l, 0.999));
    latencies_clear(&l);
    if (!bare)
        store_close(w.s);
    return 0;
}
