/* SPDX-License-Identifier: Apache-2.0 */
/* inkan-gate's memory and disk: snapshots, changes, whose word counts, and what it decides from them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "enroll/gate/gate.h"
#include "tests/lib/feed_world.h"

struct fixture {
    struct feed_world w;
    char dir[64], ca[96];
    struct trust *trust;
};

static void fixture_make(struct fixture *f, const char *eku)
{
    struct err e = {0};

    memset(f, 0, sizeof *f);
    strcpy(f->dir, "/tmp/test_gate.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->ca, sizeof f->ca, "%s/ca.pem", f->dir);
    world_make(&f->w, eku);
    world_ca_file(&f->w, f->ca);
    assert_int_equal(trust_load(f->ca, &f->trust, &e), E_OK);
}

static void fixture_clear(struct fixture *f)
{
    static const char *const names[] = {"ca.pem", "snapshot", "changes", "mark"};
    char path[128];

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", f->dir, names[i]);
        unlink(path);
    }
    rmdir(f->dir);
    trust_free(f->trust);
    world_clear(&f->w);
}

static const struct feed_cert *three(struct feed_cert room[3])
{
    room[0] = world_line(1, FEED_GOOD, "in_service", "full");
    room[1] = world_line(2, FEED_GOOD, "quarantined", "update-only");
    room[2] = world_line(3, FEED_REVOKED, "compromised", "none");
    return room;
}

static struct table *table_of(struct fixture *f, const struct feed_cert *lines, size_t n, uint64_t seq)
{
    struct buf text = BUF_INIT(1 << 20), payload = BUF_INIT(1 << 20);
    struct table *t = NULL;
    struct err e = {0};
    const uint8_t *lf;

    world_snapshot(&f->w, lines, n, "ledger-a", seq, &text);
    lf = memchr(text.p, '\n', text.len);
    assert_int_equal(trust_payload(f->trust, BYTES(text.p, (size_t)(lf - text.p)), FEED_SNAPSHOT_TYP, false, &payload, &e), E_OK);
    assert_int_equal(table_new(&text, buf_bytes(&payload), &t, &e), E_OK);
    buf_clear(&payload);
    buf_clear(&text);
    return t;
}

static enum feed_status status_of(const struct table *t, unsigned n)
{
    const uint8_t serial[] = {0, 0x10, (uint8_t)n}; /* a leading zero as certificates have it */
    struct feed_cert c;

    return table_find(t, 1, BYTES_OF(serial), &c) ? c.status : FEED_STATUSES;
}

static void a_snapshot_answers_for_each_certificate(void **state)
{
    struct feed_cert room[3];
    struct fixture f;
    struct table *t;

    (void)state;
    fixture_make(&f, FEED_OID);
    t = table_of(&f, three(room), 3, 7);
    assert_int_equal(table_base_count(t), 3);
    assert_true(table_seq(t) == 7);
    assert_int_equal(status_of(t, 1), FEED_GOOD);
    assert_int_equal(status_of(t, 3), FEED_REVOKED);
    assert_int_equal(status_of(t, 0), FEED_STATUSES);
    assert_int_equal(status_of(t, 4), FEED_STATUSES);
    assert_false(table_find(t, 2, BYTES("\x10\x01", 2), &room[0]));
    table_unref(t);
    fixture_clear(&f);
}

static void a_snapshot_that_is_not_what_was_signed_is_refused(void **state)
{
    static const struct {
        const char *name;
        int kind;
    } cases[] = {{"a status turned to good", 0}, {"a line fewer", 1}, {"a line more", 2}, {"two lines out of order", 3}, {"a wrong count", 4},
                 {"no LF at the end", 5}};
    struct feed_cert room[3];
    struct fixture f;

    (void)state;
    fixture_make(&f, FEED_OID);
    three(room);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf text = BUF_INIT(1 << 20), lines = BUF_INIT(1 << 20), payload = BUF_INIT(1 << 20);
        struct table *t = NULL;
        struct err e = {0};
        struct feed_cert swapped[3] = {room[1], room[0], room[2]};

        print_message("%s\n", cases[i].name);
        world_lines(&lines, cases[i].kind == 3 ? swapped : room, 3);
        if (cases[i].kind == 5)
            lines.len--;
        world_payload(&f.w, buf_bytes(&lines), cases[i].kind == 4 ? 4 : 3, "ledger-a", 7, &payload);
        if (cases[i].kind == 0)
            memcpy(memmem(lines.p, lines.len, "revoked", 7), "on_hold", 7);
        if (cases[i].kind == 1)
            lines.len = (size_t)((uint8_t *)memrchr(lines.p, '\n', lines.len - 1) - lines.p) + 1;
        if (cases[i].kind == 2)
            world_lines(&lines, &(struct feed_cert){.issuer = 1, .serial = {0x20, 1}, .serial_len = 2, .not_after = 1}, 1);
        buf_add_str(&text, "signature\n");
        buf_add_bytes(&text, buf_bytes(&lines));
        assert_int_equal(table_new(&text, buf_bytes(&payload), &t, &e), E_INVALID);
        assert_null(t);
        buf_clear(&text);
        buf_clear(&lines);
        buf_clear(&payload);
    }
    fixture_clear(&f);
}

static enum err_code apply(struct table *t, const char *ledger, uint64_t after, uint64_t seq, const struct feed_cert *lines, size_t n)
{
    struct buf payload = BUF_INIT(1 << 20);
    struct err e = {0};
    enum err_code code;

    world_changes(ledger, after, seq, lines, n, &payload);
    code = table_apply(t, buf_bytes(&payload), &e);
    buf_clear(&payload);
    return code;
}

static void changes_follow_without_a_gap(void **state)
{
    struct feed_cert room[3], one[2];
    struct fixture f;
    struct table *t;

    (void)state;
    fixture_make(&f, FEED_OID);
    t = table_of(&f, three(room), 3, 7);
    one[0] = world_line(1, FEED_ON_HOLD, "suspended", "none");
    one[1] = world_line(9, FEED_GOOD, "in_service", "full");
    assert_int_equal(apply(t, "ledger-b", 7, 9, one, 2), E_CONFLICT);
    assert_int_equal(apply(t, "ledger-a", 6, 9, one, 2), E_CONFLICT);
    assert_int_equal(apply(t, "ledger-a", 8, 9, one, 2), E_CONFLICT);
    assert_int_equal(status_of(t, 1), FEED_GOOD);
    assert_int_equal(apply(t, "ledger-a", 7, 9, one, 2), E_OK);
    assert_int_equal(status_of(t, 1), FEED_ON_HOLD);
    assert_int_equal(status_of(t, 9), FEED_GOOD); /* issued since */
    assert_int_equal(status_of(t, 3), FEED_REVOKED);
    assert_int_equal(apply(t, "ledger-a", 9, 9, NULL, 0), E_OK); /* a heartbeat */
    one[0] = world_line(1, FEED_GOOD, "in_service", "full");
    assert_int_equal(apply(t, "ledger-a", 9, 10, one, 1), E_OK);
    assert_int_equal(status_of(t, 1), FEED_GOOD);
    assert_int_equal(table_change_count(t), 3);
    assert_true(table_seq(t) == 10);
    table_unref(t);
    fixture_clear(&f);
}

static void a_clock_that_was_set_back_makes_nothing_fresher(void **state)
{
    struct feed_cert room[3];
    struct fixture f;
    struct table *t;

    (void)state;
    fixture_make(&f, FEED_OID);
    t = table_of(&f, three(room), 3, 7);
    assert_true(table_age_s(t, table_time(t)) == 0);
    assert_true(table_age_s(t, table_time(t) + 100) == 100);
    assert_true(table_age_s(t, table_time(t) - 365 * 86400) == 365 * 86400);
    table_unref(t);
    fixture_clear(&f);
}

static void ten_thousand_changes_are_found(void **state)
{
    struct feed_cert room[3];
    struct fixture f;
    struct table *t;

    (void)state;
    fixture_make(&f, FEED_OID);
    t = table_of(&f, three(room), 3, 0);
    for (unsigned i = 0; i < 10000; i++) {
        struct feed_cert c = world_line(0, i % 2 ? FEED_REVOKED : FEED_GOOD, "in_service", "full");

        put_be32(c.serial, 0x20000000u + i);
        c.serial_len = 4;
        assert_int_equal(apply(t, "ledger-a", i, i + 1, &c, 1), E_OK);
    }
    for (unsigned i = 0; i < 10000; i++) {
        uint8_t serial[4];
        struct feed_cert c;

        put_be32(serial, 0x20000000u + i);
        assert_true(table_find(t, 1, BYTES_OF(serial), &c));
        assert_int_equal(c.status, i % 2 ? FEED_REVOKED : FEED_GOOD);
    }
    table_unref(t);
    fixture_clear(&f);
}

static void only_the_signer_of_the_feed_is_believed(void **state)
{
    static const struct {
        const char *name, *eku;
        enum err_code code;
    } cases[] = {
        {"certified for the feed", FEED_OID, E_OK},
        {"a device's certificate", "clientAuth", E_DENIED},
        {"for the feed and something else", "clientAuth," FEED_OID, E_DENIED},
        {"for nothing in particular", NULL, E_DENIED},
    };
    struct fixture ours, f;
    struct err e = {0};

    (void)state;
    fixture_make(&ours, FEED_OID);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf jws = BUF_INIT(1 << 16), payload = BUF_INIT(1 << 16);

        print_message("%s\n", cases[i].name);
        fixture_make(&f, cases[i].eku);
        world_sign(&f.w, FEED_CHANGES_TYP, bytes_str("{}"), &jws);
        assert_int_equal(trust_payload(f.trust, buf_bytes(&jws), FEED_CHANGES_TYP, false, &payload, &e), cases[i].code);
        assert_int_equal(trust_payload(ours.trust, buf_bytes(&jws), FEED_CHANGES_TYP, false, &payload, &e), E_DENIED); /* another root */
        buf_clear(&jws);
        buf_clear(&payload);
        fixture_clear(&f);
    }
    fixture_clear(&ours);
}

static void an_expired_signer_is_believed_of_what_is_on_disk_only(void **state)
{
    struct buf jws = BUF_INIT(1 << 16), payload = BUF_INIT(1 << 16);
    struct fixture f;
    struct err e = {0};

    (void)state;
    fixture_make(&f, FEED_OID);
    X509_free(f.w.cert);
    f.w.cert = world_cert(f.w.key, "Feed Signer", f.w.ca, f.w.ca_key, FEED_OID, -1000, -1);
    world_sign(&f.w, FEED_CHANGES_TYP, bytes_str("{}"), &jws);
    assert_int_equal(trust_payload(f.trust, buf_bytes(&jws), FEED_CHANGES_TYP, false, &payload, &e), E_DENIED);
    assert_int_equal(trust_payload(f.trust, buf_bytes(&jws), FEED_CHANGES_TYP, true, &payload, &e), E_OK);
    buf_clear(&jws);
    buf_clear(&payload);
    fixture_clear(&f);
}

static void a_signer_that_was_revoked_is_not_believed(void **state)
{
    static const enum feed_status cases[] = {FEED_GOOD, FEED_ON_HOLD, FEED_REVOKED};
    struct buf jws = BUF_INIT(1 << 16);
    struct fixture f;
    struct err e = {0};

    (void)state;
    fixture_make(&f, FEED_OID);
    world_sign(&f.w, FEED_CHANGES_TYP, bytes_str("{}"), &jws);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const ASN1_INTEGER *serial = X509_get0_serialNumber(f.w.cert);
        struct feed_cert line = world_line(1, cases[i], "", "");
        struct table *t;

        memcpy(line.serial, ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial));
        line.serial_len = (size_t)ASN1_STRING_length(serial);
        t = table_of(&f, &line, 1, 7);
        assert_int_equal(trust_signer_stands(t, buf_bytes(&jws), FEED_CHANGES_TYP, &e), cases[i] == FEED_GOOD ? E_OK : E_DENIED);
        table_unref(t);
    }
    buf_clear(&jws);
    fixture_clear(&f);
}

/* ---- on disk ---- */

static void store_changes(struct fixture *f, uint64_t after, uint64_t seq, const struct feed_cert *line)
{
    struct buf payload = BUF_INIT(1 << 20), jws = BUF_INIT(1 << 20);
    struct err e = {0};

    world_changes("ledger-a", after, seq, line, 1, &payload);
    world_sign(&f->w, FEED_CHANGES_TYP, buf_bytes(&payload), &jws);
    assert_int_equal(store_add_changes(f->dir, buf_bytes(&jws), "ledger-a", seq, &e), E_OK);
    buf_clear(&payload);
    buf_clear(&jws);
}

static void store_snapshot(struct fixture *f, const char *ledger, uint64_t seq)
{
    struct feed_cert room[3];
    struct buf text = BUF_INIT(1 << 20);
    struct err e = {0};

    world_snapshot(&f->w, three(room), 3, ledger, seq, &text);
    assert_int_equal(store_put_snapshot(f->dir, buf_bytes(&text), ledger, seq, &e), E_OK);
    buf_clear(&text);
}

static struct buf slurp(const struct fixture *f, const char *name)
{
    struct buf b = BUF_INIT(1 << 20);
    struct err e = {0};
    char path[128];

    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    assert_int_equal(file_read(path, &b, &e), E_OK);
    return b;
}

static void put_back(const struct fixture *f, const char *name, const struct buf *b)
{
    struct err e = {0};
    char path[128];

    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    assert_int_equal(file_write_atomic(path, buf_bytes(b), 0600, &e), E_OK);
}

static enum err_code load(struct fixture *f, enum feed_status *of_one)
{
    struct table *t = NULL;
    struct err e = {0};
    enum err_code code = store_load(f->dir, f->trust, &t, &e);

    if (of_one)
        *of_one = t ? status_of(t, 1) : FEED_STATUSES;
    table_unref(t);
    return code;
}

static void what_was_kept_is_there_after_a_restart(void **state)
{
    struct feed_cert held = world_line(1, FEED_ON_HOLD, "suspended", "none");
    enum feed_status status;
    struct fixture f;

    (void)state;
    fixture_make(&f, FEED_OID);
    assert_int_equal(load(&f, NULL), E_NOT_FOUND);
    store_snapshot(&f, "ledger-a", 7);
    assert_int_equal(load(&f, &status), E_OK);
    assert_int_equal(status, FEED_GOOD);
    store_changes(&f, 7, 8, &held);
    assert_int_equal(load(&f, &status), E_OK);
    assert_int_equal(status, FEED_ON_HOLD);
    fixture_clear(&f);
}

static void altered_files_are_refused(void **state)
{
    struct feed_cert held = world_line(1, FEED_ON_HOLD, "suspended", "none");
    struct fixture f;
    struct buf snapshot, changes;

    (void)state;
    fixture_make(&f, FEED_OID);
    store_snapshot(&f, "ledger-a", 7);
    store_changes(&f, 7, 8, &held);
    snapshot = slurp(&f, "snapshot");
    changes = slurp(&f, "changes");
    for (size_t i = 3; i < snapshot.len; i += 61) { /* a bit anywhere */
        snapshot.p[i] ^= 1;
        put_back(&f, "snapshot", &snapshot);
        assert_int_not_equal(load(&f, NULL), E_OK);
        snapshot.p[i] ^= 1;
        put_back(&f, "changes", &changes); /* a refused change is cut off */
    }
    put_back(&f, "snapshot", &snapshot);
    changes.p[changes.len / 2] ^= 1;
    put_back(&f, "changes", &changes);
    assert_int_equal(load(&f, NULL), E_CONFLICT); /* the hold is missing now: the mark knows */
    buf_clear(&snapshot);
    buf_clear(&changes);
    fixture_clear(&f);
}

static void older_files_in_their_place_are_refused(void **state)
{
    struct feed_cert held = world_line(1, FEED_ON_HOLD, "suspended", "none");
    struct fixture f;
    struct buf snapshot, changes;

    (void)state;
    fixture_make(&f, FEED_OID);
    store_snapshot(&f, "ledger-a", 7);
    snapshot = slurp(&f, "snapshot");
    store_changes(&f, 7, 8, &held);
    changes = slurp(&f, "changes");
    store_snapshot(&f, "ledger-a", 12);
    assert_int_equal(load(&f, NULL), E_OK);
    put_back(&f, "snapshot", &snapshot); /* signed all the same */
    assert_int_equal(load(&f, NULL), E_CONFLICT);
    put_back(&f, "changes", &changes);
    assert_int_equal(load(&f, NULL), E_CONFLICT);
    buf_clear(&snapshot);
    buf_clear(&changes);
    fixture_clear(&f);
}

static void what_the_service_sends_is_not_older_than_what_was_here(void **state)
{
    struct fixture f;
    struct err e = {0};

    (void)state;
    fixture_make(&f, FEED_OID);
    assert_int_equal(store_check_mark(f.dir, "ledger-a", 1, &e), E_OK); /* a first start */
    store_snapshot(&f, "ledger-a", 7);
    assert_int_equal(store_check_mark(f.dir, "ledger-a", 7, &e), E_OK);
    assert_int_equal(store_check_mark(f.dir, "ledger-a", 6, &e), E_CONFLICT);
    assert_int_equal(store_check_mark(f.dir, "ledger-b", 8, &e), E_CONFLICT);
    fixture_clear(&f);
}

static void files_of_another_service_are_refused(void **state)
{
    struct fixture f, other;
    struct buf snapshot;

    (void)state;
    fixture_make(&f, FEED_OID);
    fixture_make(&other, FEED_OID);
    store_snapshot(&other, "ledger-a", 7);
    snapshot = slurp(&other, "snapshot");
    put_back(&f, "snapshot", &snapshot);
    assert_int_equal(load(&f, NULL), E_DENIED);
    buf_clear(&snapshot);
    store_snapshot(&f, "ledger-a", 7);
    snapshot = slurp(&f, "snapshot");
    store_snapshot(&f, "ledger-b", 7); /* the same root, another ledger */
    put_back(&f, "snapshot", &snapshot);
    assert_int_equal(load(&f, NULL), E_CONFLICT);
    buf_clear(&snapshot);
    fixture_clear(&f);
    fixture_clear(&other);
}

static void a_torn_end_of_the_changes_is_fetched_again(void **state)
{
    struct feed_cert held = world_line(1, FEED_ON_HOLD, "suspended", "none");
    enum feed_status status;
    struct fixture f;
    struct buf mark, changes;
    size_t whole;

    (void)state;
    fixture_make(&f, FEED_OID);
    store_snapshot(&f, "ledger-a", 7);
    store_changes(&f, 7, 8, &held);
    mark = slurp(&f, "mark");
    changes = slurp(&f, "changes");
    whole = changes.len;
    buf_clear(&changes);
    held = world_line(1, FEED_GOOD, "in_service", "full");
    store_changes(&f, 8, 9, &held);
    changes = slurp(&f, "changes");
    changes.len -= 20; /* the power went before the mark was written */
    put_back(&f, "changes", &changes);
    put_back(&f, "mark", &mark);
    assert_int_equal(load(&f, &status), E_OK);
    assert_int_equal(status, FEED_ON_HOLD);
    buf_clear(&changes);
    changes = slurp(&f, "changes");
    assert_int_equal(changes.len, whole);
    buf_clear(&changes);
    buf_clear(&mark);
    fixture_clear(&f);
}

/* ---- the rule ---- */

static void the_rule(void **state)
{
    static char *domains[] = {(char *)"example"}, *blocked[] = {(char *)"1.2*", (char *)"2.0"};
    static const struct {
        const char *name;
        enum feed_status status, above;
        const char *state, *scope, *domain, *firmware;
        unsigned scopes;
        int64_t left_s, not_before_s, age_s;
        bool allow;
        enum decision_reason reason;
        uint32_t cache_s;
        bool close;
    } cases[] = {
        {"in service", 0, 0, "in_service", "full", "example", "", 1 << SCOPE_FULL, 60, 0, 0, true, DECISION_OK, 10, false},
        {"revoked", FEED_REVOKED, 0, "in_service", "full", "example", "", 1 << SCOPE_FULL, 60, 0, 0, false, DECISION_REVOKED, 300, true},
        {"on hold", FEED_ON_HOLD, 0, "suspended", "none", "example", "", 1 << SCOPE_FULL, 60, 0, 0, false, DECISION_ON_HOLD, 5, true},
        {"the CA above is revoked", 0, FEED_REVOKED, "in_service", "full", "example", "", 1 << SCOPE_FULL, 60, 0, 0, false, DECISION_REVOKED, 300, true},
        {"expired by a second", 0, 0, "in_service", "full", "example", "", 1 << SCOPE_FULL, -1, 0, 0, false, DECISION_EXPIRED, 300, true},
        {"valid to this second", 0, 0, "in_service", "full", "example", "", 1 << SCOPE_FULL, 0, 0, 0, true, DECISION_OK, 10, false},
        {"valid from a second ahead", 0, 0, "in_service", "full", "example", "", 1 << SCOPE_FULL, 60, 1, 0, false, DECISION_NOT_YET_VALID, 5, false},
        {"no device's certificate", 0, 0, "", "", "", "", 1 << SCOPE_FULL, 60, 0, 0, false, DECISION_POLICY, 5, false},
        {"a state that admits nothing", 0, 0, "lost", "none", "example", "", 1 << SCOPE_FULL, 60, 0, 0, false, DECISION_DEVICE_DISABLED, 5, true},
        {"destroyed", 0, 0, "disposed", "none", "example", "", 1 << SCOPE_FULL, 60, 0, 0, false, DECISION_DEVICE_DISABLED, 300, true},
        {"another domain", 0, 0, "in_service", "full", "other", "", 1 << SCOPE_FULL, 60, 0, 0, false, DECISION_POLICY, 5, false},
        {"quarantined, at a door", 0, 0, "quarantined", "update-only", "example", "", 1 << SCOPE_FULL, 60, 0, 0, false, DECISION_SCOPE, 5, false},
        {"quarantined, at the update server", 0, 0, "quarantined", "update-only", "example", "", 1 << SCOPE_UPDATE, 60, 0, 0, true, DECISION_OK, 10, false},
        {"a blocked release", 0, 0, "in_service", "full", "example", "2.0", 1 << SCOPE_FULL, 60, 0, 0, false, DECISION_FIRMWARE_BLOCKED, 5, false},
        {"a release of a blocked line", 0, 0, "in_service", "full", "example", "1.2.7", 1 << SCOPE_FULL, 60, 0, 0, false, DECISION_FIRMWARE_BLOCKED, 5, false},
        {"the release after it", 0, 0, "in_service", "full", "example", "2.0.1", 1 << SCOPE_FULL, 60, 0, 0, true, DECISION_OK, 10, false},
        {"a state of a later version", 0, 0, "adopted", "full", "example", "", 1 << SCOPE_FULL, 60, 0, 0, false, DECISION_POLICY, 5, false},
        {"old data, to the second", 0, 0, "in_service", "full", "example", "", 1 << SCOPE_FULL, 60, 0, 100, true, DECISION_OK, 10, false},
        {"stale data", 0, 0, "in_service", "full", "example", "", 1 << SCOPE_FULL, 60, 0, 101, true, DECISION_STALE_DATA, 10, false},
        {"too old", 0, 0, "in_service", "full", "example", "", 1 << SCOPE_FULL, 60, 0, 1001, false, DECISION_STALE_DATA, 5, false},
        {"revoked, and old data", FEED_REVOKED, 0, "in_service", "full", "example", "", 1 << SCOPE_FULL, 60, 0, 5000, false, DECISION_REVOKED, 300, true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct conf_audience a = {.scopes = cases[i].scopes, .domains = {domains, 1}, .firmware_blocked = {blocked, 2}, .stale_soft_s = 100,
                                        .stale_hard_s = 1000, .cache_allow_s = 10, .cache_deny_s = 300};
        const struct rule_when when = {.now = 1000000, .age_s = cases[i].age_s, .not_before = 1000000 + cases[i].not_before_s, .above = cases[i].above};
        struct feed_cert c = {.status = cases[i].status, .not_after = 1000000 + cases[i].left_s, .state = bytes_str(cases[i].state),
                              .scope = bytes_str(cases[i].scope), .domain = bytes_str(cases[i].domain), .firmware = bytes_str(cases[i].firmware)};
        struct sts_decision d;

        print_message("%s\n", cases[i].name);
        rule_decide(&a, &c, &when, &d);
        assert_int_equal(d.reason, cases[i].reason);
        assert_int_equal(d.allow, cases[i].allow);
        assert_int_equal(d.cache_s, cases[i].cache_s);
        assert_int_equal(d.close, cases[i].close);
        rule_decide(NULL, &c, &when, &d); /* an audience that is not there admits nobody */
        assert_false(d.allow);
    }
}

/* feed.valid of the service's configuration; the gateway's own limits may only be shorter. */
static void the_service_says_how_long_its_word_counts(void **state)
{
    static const struct {
        const char *name;
        int64_t age_s;
        bool allow;
        enum decision_reason reason;
    } cases[] = {{"to the second", 50, true, DECISION_OK}, {"past it", 51, false, DECISION_STALE_DATA}, {"past the gateway's own, too", 500, false, DECISION_STALE_DATA}};
    const struct conf_audience a = {.scopes = 1 << SCOPE_FULL, .stale_soft_s = 100, .stale_hard_s = 1000, .cache_allow_s = 10, .cache_deny_s = 300};
    const struct feed_cert c = world_line(1, FEED_GOOD, "in_service", "full");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sts_decision d;

        print_message("%s\n", cases[i].name);
        rule_decide(&a, &c, &(struct rule_when){.now = c.not_after, .age_s = cases[i].age_s, .valid_s = 50}, &d);
        assert_int_equal(d.allow, cases[i].allow);
        assert_int_equal(d.reason, cases[i].reason);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_answers_for_each_certificate),
        cmocka_unit_test(a_snapshot_that_is_not_what_was_signed_is_refused),
        cmocka_unit_test(changes_follow_without_a_gap),
        cmocka_unit_test(a_clock_that_was_set_back_makes_nothing_fresher),
        cmocka_unit_test(ten_thousand_changes_are_found),
        cmocka_unit_test(only_the_signer_of_the_feed_is_believed),
        cmocka_unit_test(an_expired_signer_is_believed_of_what_is_on_disk_only),
        cmocka_unit_test(a_signer_that_was_revoked_is_not_believed),
        cmocka_unit_test(what_was_kept_is_there_after_a_restart),
        cmocka_unit_test(altered_files_are_refused),
        cmocka_unit_test(older_files_in_their_place_are_refused),
        cmocka_unit_test(what_the_service_sends_is_not_older_than_what_was_here),
        cmocka_unit_test(files_of_another_service_are_refused),
        cmocka_unit_test(a_torn_end_of_the_changes_is_fetched_again),
        cmocka_unit_test(the_rule),
        cmocka_unit_test(the_service_says_how_long_its_word_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
