/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The replica of the status log with rows whose answers are known (ca/replica.h), for tests/fault/power_replica.
 *
 *   replica_probe write DIR LEDGER LAST [build] [rest] [leave]
 *
 * goes on in DIR to row LAST as the status process would: a replica of another ledger is begun anew, `build` builds it from nothing, with
 * `rest` the log is merged early, `leave` ends without closing anything.
 *
 *   replica_probe look
 *
 * opens for each line "DIR" on standard input what a power cut has left there, compares it with the rows up to its seq, lets the next rows
 * come and compares again. Prints "LEDGER TAB SEQ TAB WHY TAB WRONG": ledger 0: none yet; WHY it was begun anew, WRONG what is not as it
 * must be, both "" as a rule.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "ca/replica.h"

#define ISSUER 7
#define AGAIN  300 /* rows that come after a power cut */

typedef struct replica replica;
AUTO_TYPE(replica, replica_free)

static uint64_t mixed(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

/* Two rows of three issue certificate `seq`; the third is about an older one: one is put on hold, then revoked or released. */
static uint64_t cert_of(uint64_t seq)
{
    return seq % 3 ? seq : seq / 6 * 3 + 1;
}

static struct status_row row(unsigned ledger, uint64_t seq)
{
    uint64_t cert = cert_of(seq), serial[2] = {mixed(cert * 4 + ledger), cert};
    struct status_row out = {.seq = seq, .issuer = ISSUER, .serial_len = sizeof(serial), .time = 1000000 + (int64_t)seq,
                             .not_after = 2000000000, .device = cert, .device_state = DEVICE_STATES};

    memcpy(out.serial, serial, sizeof(serial));
    out.serial[0] |= 1; /* no leading zero */
    if (cert == seq) {
        out.has_hash = true;
        memcpy(out.der_hash, serial, sizeof(serial));
    } else if (seq / 3 % 2 == 0) {
        out.status = CERT_ON_HOLD;
        out.reason = REASON_CERTIFICATE_HOLD;
    } else if (seq / 3 % 4 == 1) {
        out.status = CERT_REVOKED;
        out.reason = REASON_KEY_COMPROMISE;
    }
    return out;
}

/* In transactions of 1 to 40 rows. */
static enum err_code apply(struct replica *r, unsigned ledger, uint64_t last, bool rest, struct err *e)
{
    while (replica_seq(r) < last) {
        struct status_row rows[40];
        uint64_t seq = replica_seq(r), n = 1 + mixed(seq) % ARRAY_LEN(rows);
        size_t refused;

        if (n > last - seq)
            n = last - seq;
        for (uint64_t i = 0; i < n; i++)
            rows[i] = row(ledger, seq + 1 + i);
        if (replica_apply(r, rows, n, &refused, e) != E_OK)
            return e->code;
        if (refused)
            return err_set(e, E_INTERNAL, "%zu rows after %llu were refused", refused, (unsigned long long)seq);
        if (rest)
            replica_rest(r);
    }
    return E_OK;
}

static unsigned ledger_of(const struct replica *r)
{
    struct bytes id = replica_ledger_id(r);

    return id.len ? id.p[0] : 0;
}

static enum err_code write_rows(const char *dir, unsigned ledger, uint64_t last, bool build, bool rest, bool leave, struct err *e)
{
    AUTO(replica) *r = NULL;
    uint8_t id = (uint8_t)ledger;
    struct err why;
    size_t refused;

    if (replica_open(dir, true, &r, &why, e) != E_OK)
        return e->code;
    if (why.code != E_OK)
        return err_set(e, E_INTERNAL, "begun anew: %s", why.msg);
    if (ledger_of(r) != ledger && replica_reset(r, BYTES(&id, 1), e) != E_OK)
        return e->code;
    if (build && replica_build(r, e) != E_OK)
        return e->code;
    if (apply(r, ledger, last, rest, e) != E_OK)
        return e->code;
    while (replica_is_building(r)) {
        if (replica_build_step(r, &refused, e) != E_OK)
            return e->code;
        if (rest)
            replica_rest(r);
    }
    while (replica_is_merging(r))
        usleep(1000);
    if (leave)
        _exit(0);
    return E_OK;
}

/* ---- after the power cut ---- */

static bool any_device(void *arg, const struct access_device *d, struct err *e)
{
    (void)arg;
    (void)d;
    (void)e;
    return true;
}

static bool count_cert(void *arg, const struct status_row *at, struct err *e)
{
    (void)at;
    (void)e;
    ++*(uint64_t *)arg;
    return true;
}

static enum err_code count(struct replica *r, uint64_t *out, struct err *e)
{
    struct replica_visit visit = {.arg = out, .device = any_device, .cert = count_cert};
    struct replica_reading at = {0};
    bool done = false;

    *out = 0;
    while (!done)
        if (replica_read(r, &at, 1000, &visit, &done, e) != E_OK)
            return e->code;
    return E_OK;
}

/* `must`: the newest row of its certificate. */
static enum err_code compare_one(struct replica *r, const struct status_row *must, struct err *e)
{
    struct replica_row is;

    if (replica_get(r, ISSUER, BYTES(must->serial, must->serial_len), &is, e) != E_OK)
        return err_wrap(e, "certificate of row %llu of %llu", (unsigned long long)must->seq, (unsigned long long)replica_seq(r));
    if (is.status == must->status && is.reason == must->reason && is.time == must->time && is.seq == must->seq &&
        is.changed == (must->has_hash ? 0 : must->time) && is.not_after == must->not_after)
        return E_OK;
    return err_set(e, E_CONFLICT, "seq %llu, and a certificate has status %d of row %llu, not %d of row %llu", (unsigned long long)replica_seq(r),
                   is.status, (unsigned long long)is.seq, must->status, (unsigned long long)must->seq);
}

/* Each certificate of the rows up to replica_seq is as its newest row says, and there is no other. */
static enum err_code compare(struct replica *r, unsigned ledger, struct err *e)
{
    uint64_t last = replica_seq(r), certs = 0, there, *newest = calloc(last + 1, sizeof(*newest));
    enum err_code code = E_OK;

    if (!newest)
        return err_set(e, E_NOMEM, "rows");
    for (uint64_t seq = 1; seq <= last; seq++)
        newest[cert_of(seq)] = seq;
    for (uint64_t cert = 1; cert <= last && code == E_OK; cert++)
        if (newest[cert]) {
            struct status_row must = row(ledger, newest[cert]);

            certs++;
            code = compare_one(r, &must, e);
        }
    free(newest);
    if (code != E_OK || (code = count(r, &there, e)) != E_OK)
        return code;
    return there == certs ? E_OK : err_set(e, E_CONFLICT, "seq %llu, and %llu certificates, not %llu", (unsigned long long)last,
                                           (unsigned long long)there, (unsigned long long)certs);
}

static enum err_code check_file(const char *dir, struct err *e)
{
    char path[4096 + 16];
    sqlite3_stmt *st = NULL;
    sqlite3 *db = NULL;
    const char *says = NULL;

    *e = (struct err){0};
    snprintf(path, sizeof(path), "%s/replica.db", dir);
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
        says = (const char *)sqlite3_column_text(st, 0);
    if (!says || strcmp(says, "ok") != 0)
        err_set(e, E_CONFLICT, "integrity: %s", says ? says : sqlite3_errmsg(db));
    sqlite3_finalize(st);
    sqlite3_close(db);
    return e->code;
}

static enum err_code look(const char *dir, unsigned *ledger, uint64_t *seq, struct err *why, struct err *e)
{
    struct replica *r = NULL;
    enum err_code code;

    if (replica_open(dir, true, &r, why, e) != E_OK)
        return e->code;
    *ledger = ledger_of(r);
    *seq = replica_seq(r);
    code = compare(r, *ledger, e);
    if (code == E_OK && *ledger && (code = apply(r, *ledger, *seq + AGAIN, false, e)) == E_OK)
        code = compare(r, *ledger, e);
    replica_free(r);
    return code == E_OK ? check_file(dir, e) : code;
}

static int look_at_all(void)
{
    char line[4096];

    while (fgets(line, sizeof(line), stdin)) {
        struct err why = {0}, e = {0};
        unsigned ledger = 0;
        uint64_t seq = 0;

        line[strcspn(line, "\n")] = '\0';
        if (look(line, &ledger, &seq, &why, &e) == E_OK)
            e = (struct err){0};
        if (printf("%u\t%llu\t%s\t%s\n", ledger, (unsigned long long)seq, why.code ? why.msg : "", e.code ? e.msg : "") < 0 || fflush(stdout) != 0)
            return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    bool build = false, rest = false, leave = false;
    struct err e = {0};

    if (argc == 2 && strcmp(argv[1], "look") == 0)
        return look_at_all();
    if (argc < 5 || strcmp(argv[1], "write") != 0)
        return 2;
    for (int i = 5; i < argc; i++) {
        build = build || strcmp(argv[i], "build") == 0;
        rest = rest || strcmp(argv[i], "rest") == 0;
        leave = leave || strcmp(argv[i], "leave") == 0;
    }
    if (write_rows(argv[2], (unsigned)atoi(argv[3]), strtoull(argv[4], NULL, 10), build, rest, leave, &e) == E_OK)
        return 0;
    fprintf(stderr, "replica_probe: %s\n", e.msg);
    return 1;
}
