/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ledger_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/auto.h"
#include "base/der.h"
#include "base/derw.h"
#include "base/fsio.h"

#include <jansson.h>

#define BEGIN(l)  OK(l, store_begin((l)->s, &(l)->e))
#define COMMIT(l) OK(l, store_commit((l)->s, &(l)->e))
#define NO_KEY    ((struct bytes){NULL, 0})

/*
 * Entries 1-10: certificates 1-5 issued, 1 revoked, 2 held and released, two notes. Head at 10.
 * Entries 11-13: certificate 6, a note, certificate 3 revoked. Head at 13.
 */
static void fill(struct ledger *l)
{
    BEGIN(l);
    for (unsigned n = 1; n <= 5; n++)
        ledger_issue(l, n);
    ledger_change(l, 1, CERT_REVOKED, REASON_KEY_COMPROMISE);
    ledger_note(l, "service-started");
    ledger_change(l, 2, CERT_ON_HOLD, REASON_CERTIFICATE_HOLD);
    ledger_change(l, 2, CERT_GOOD, REASON_REMOVE_FROM_CRL);
    ledger_note(l, "enroll-refused");
    COMMIT(l);
    ledger_head(l, T0 + 60);
    BEGIN(l);
    ledger_issue(l, 6);
    ledger_note(l, "enroll-refused");
    ledger_change(l, 3, CERT_REVOKED, REASON_SUPERSEDED);
    COMMIT(l);
    ledger_head(l, T0 + 120);
}

static int filled_setup(void **state)
{
    if (ledger_setup(state) != 0)
        return -1;
    fill(*state);
    ledger_close(*state);
    return 0;
}

static void name(const struct ledger *l, const char *file, char out[160])
{
    snprintf(out, 160, "%s/%s", l->dir, file);
}

static struct bytes spki(const struct ledger *l)
{
    return BYTES(l->audit_spki, (size_t)l->audit_spki_len);
}

/* --- good ---------------------------------------------------------------------------------------------------- */

static void untouched_ledger_is_verified_with_heads_from_outside(void **state)
{
    struct ledger *l = *state;
    struct audit_verdict v;
    char heads[160];

    name(l, "audit-heads", heads);
    OK(l, audit_verify(l->path, heads, spki(l), &v, &l->e));
    assert_int_equal(v.entries, 13);
    assert_int_equal(v.heads, 4); /* two in the ledger, two outside */
    assert_int_equal(v.bad_seq, 0);
    assert_int_equal(v.proven_seq, 13);
    assert_int_equal(v.proven_at, T0 + 120);
    assert_true(v.heads_from_outside);
    assert_false(v.key_from_ledger);
    assert_int_equal(v.damaged_lines, 0);
    assert_null(strstr(v.what, "cannot be excluded"));
}

static void without_outside_heads_later_removal_is_not_excluded(void **state)
{
    struct ledger *l = *state;
    struct audit_verdict v;

    OK(l, audit_verify(l->path, NULL, NO_KEY, &v, &l->e));
    assert_int_equal(v.proven_seq, 13);
    assert_false(v.heads_from_outside);
    assert_true(v.key_from_ledger);
    assert_string_equal(v.what, "verified to entry 13, signed at 2023-11-14T22:15:20Z; later removal cannot be excluded");
}

static void live_ledger_and_backup_are_verified_too(void **state)
{
    struct ledger *l = *state;
    struct audit_verdict v;
    char backup[160], heads[160];

    name(l, "backup", backup);
    name(l, "audit-heads", heads);
    ledger_reopen(l);
    BEGIN(l);
    ledger_note(l, "more"); /* in the log only, after the last head */
    COMMIT(l);
    OK(l, audit_verify(l->path, heads, spki(l), &v, &l->e));
    assert_int_equal(v.entries, 14);
    assert_int_equal(v.proven_seq, 13);
    OK(l, store_backup(l->s, backup, &l->e));
    OK(l, audit_verify(backup, heads, spki(l), &v, &l->e));
    assert_int_equal(v.entries, 14);
    REFUSED(l, E_NOT_FOUND, audit_verify("/nonexistent/ledger", heads, spki(l), &v, &l->e));
    name(l, "none", heads);
    REFUSED(l, E_NOT_FOUND, audit_verify(backup, heads, spki(l), &v, &l->e));
}

/* A ledger file on a medium where nothing can be written beside it, read by a user who owns nothing there. */
static void ledger_in_a_directory_without_write_access_is_verified(void **state)
{
    struct ledger *l = *state;
    AUTO_BUF whole = BUF_INIT(16 * 1024 * 1024);
    char dir[160], copy[176], heads[160];
    struct audit_verdict v;
    pid_t child;
    int status;

    name(l, "medium", dir);
    name(l, "audit-heads", heads);
    snprintf(copy, sizeof(copy), "%s/ledger", dir);
    OK(l, file_read(l->path, &whole, &l->e));
    OK(l, dir_make(dir, 0755, &l->e));
    OK(l, file_write_atomic(copy, buf_bytes(&whole), 0444, &l->e));
    assert_int_equal(chmod(l->dir, 0755), 0);
    assert_int_equal(chmod(dir, 0555), 0);
    child = fork();
    if (child == 0) {
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(2);
        _exit(audit_verify(copy, heads, spki(l), &v, &l->e) == E_OK && v.proven_seq == 13 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(chmod(dir, 0755), 0);
    snprintf(copy, sizeof(copy), "%s/ledger-shm", dir);
    assert_int_not_equal(access(copy, F_OK), 0); /* nothing was left there */
}

static void empty_ledger_proves_nothing_but_is_not_bad(void **state)
{
    struct ledger *l = *state;
    struct audit_verdict v;

    OK(l, audit_verify(l->path, NULL, NO_KEY, &v, &l->e));
    assert_int_equal(v.entries, 0);
    assert_int_equal(v.proven_seq, 0);
    assert_non_null(strstr(v.what, "none is covered"));
}

/* --- bad ----------------------------------------------------------------------------------------------------- */

#define OPEN_TRAIL "DROP TRIGGER audit_stays; DROP TRIGGER audit_is_final;"
#define OPEN_CERT  "DROP TRIGGER cert_stays; DROP TRIGGER cert_is_as_signed; DROP TRIGGER cert_revoked_is_final;"
#define OPEN_LOG   "DROP TRIGGER status_log_stays; DROP TRIGGER status_log_is_final; DROP TRIGGER revoked_is_final;"

static const struct {
    const char *name, *sql;
    uint64_t bad_seq; /* 0: not an entry */
    const char *says;
    bool needs_heads; /* without heads kept elsewhere nothing shows */
} changes[] = {
    {"an actor changed", OPEN_TRAIL "UPDATE audit SET actor = 'mallory' WHERE seq = 7", 7, "entry 7: hash differs", false},
    {"a time changed", OPEN_TRAIL "UPDATE audit SET time = time + 1 WHERE seq = 1", 1, "entry 1: hash differs", false},
    {"octets moved from one member to the next",
     OPEN_TRAIL "UPDATE audit SET actor = 'ro', actor_kind = 'otoperator' WHERE seq = 7", 7, "entry 7: hash differs", false},
    {"an entry deleted", OPEN_TRAIL "DELETE FROM audit WHERE seq = 7", 7, "entry 7 is missing", false},
    {"the first entry deleted", OPEN_TRAIL "DELETE FROM audit WHERE seq = 1", 1, "entry 1 is missing", false},
    {"an entry deleted and the rest moved up",
     OPEN_TRAIL "DELETE FROM audit WHERE seq = 7; UPDATE audit SET seq = -(seq - 1) WHERE seq > 7; "
                "UPDATE audit SET seq = -seq WHERE seq < 0",
     7, "entry 7: hash differs", false},
    {"two entries in the other order",
     OPEN_TRAIL "UPDATE audit SET seq = -1 WHERE seq = 7; UPDATE audit SET seq = 7 WHERE seq = 10; "
                "UPDATE audit SET seq = 10 WHERE seq = -1",
     7, "entry 7: hash differs", false},
    {"an entry put in at the end",
     "INSERT INTO audit SELECT 14, time, event, actor, actor_kind, domain, object, detail, request_digest, signature, "
     "approvals, hash, hash FROM audit WHERE seq = 13",
     14, "entry 14: hash differs", false},
    {"the end cut off, a note and a revocation, heads of the ledger left",
     "PRAGMA foreign_keys = OFF;" OPEN_TRAIL OPEN_LOG OPEN_CERT
     "DELETE FROM audit WHERE seq > 11; DELETE FROM revoked WHERE seq = 10; DELETE FROM status_log WHERE seq = 10; "
     "UPDATE cert SET status = 0, reason = 0, status_seq = 3 WHERE id = 3",
     12, "entry 12 is missing", false},
    {"the end cut off with its heads",
     "PRAGMA foreign_keys = OFF;" OPEN_TRAIL OPEN_LOG OPEN_CERT
     "DELETE FROM audit WHERE seq > 11; DELETE FROM revoked WHERE seq = 10; DELETE FROM status_log WHERE seq = 10; "
     "UPDATE cert SET status = 0, reason = 0, status_seq = 3 WHERE id = 3; DELETE FROM audit_head WHERE seq > 11",
     12, "entry 12 is missing", true},
    {"the DER of a certificate exchanged", OPEN_CERT "UPDATE cert SET der = x'3000' WHERE id = 4", 4,
     "entry 4: certificate fleet-ca/400000000000000000000000000000", false},
    {"DER and hash of a certificate exchanged", OPEN_CERT "UPDATE cert SET der = x'3000', der_hash = zeroblob(32) WHERE id = 4",
     4, "is not in the ledger", false},
    {"the DER of two certificates exchanged, hashes too",
     OPEN_CERT "UPDATE cert SET der_hash = zeroblob(32) WHERE id = 4; "
               "CREATE TEMP TABLE t AS SELECT id, der, der_hash FROM cert; "
               "UPDATE cert SET der = (SELECT der FROM t WHERE id = 5), der_hash = x'"
               "0101010101010101010101010101010101010101010101010101010101010101' WHERE id = 4; "
               "UPDATE cert SET der = (SELECT der FROM t WHERE id = 4) WHERE id = 5",
     4, "is not in the ledger", false},
    {"a certificate deleted",
     "PRAGMA foreign_keys = OFF;" OPEN_CERT "DELETE FROM cert WHERE id = 4", 4, "is not in the ledger", false},
    {"a certificate issued without an entry",
     "INSERT INTO cert SELECT 7, issuer, x'4001', x'30', zeroblob(32), spki_hash, profile_hash, profile, kind, operation, "
     "device, domain, requester, credential_hash, order_no, station, line, model, lot, firmware, shard, issued_at, "
     "not_before, not_after, 0, 0, 0, 0, 0, NULL, 0 FROM cert WHERE id = 1",
     0, "certificate 4001 has no entry", false},
    {"a revocation without an entry",
     "INSERT INTO status_log SELECT 11, issuer, serial, 2, 1, time, 0, not_after, 0, '', device, NULL, 0, x'' FROM status_log WHERE seq = 4; "
     "INSERT INTO revoked SELECT issuer, serial, 0, 2, 1, time, 0, not_after, 11, 0, '' FROM status_log WHERE seq = 11; "
     "UPDATE cert SET status = 2, reason = 1, status_seq = 11 WHERE id = 4",
     0, "status row 11 has no entry", false},
    {"a revocation turned into a hold", OPEN_LOG OPEN_CERT
     "UPDATE status_log SET status = 1 WHERE seq = 6; UPDATE cert SET status = 1, hold_by = 1 WHERE id = 1; "
     "UPDATE revoked SET status = 1 WHERE seq = 6",
     6, "says something else", false},
    {"a reason changed", OPEN_LOG OPEN_CERT
     "UPDATE status_log SET reason = 4 WHERE seq = 6; UPDATE cert SET reason = 4 WHERE id = 1; "
     "UPDATE revoked SET reason = 4 WHERE seq = 6",
     6, "says something else", false},
    {"a revoked certificate shown as good", OPEN_LOG OPEN_CERT
     "UPDATE cert SET status = 0, reason = 0, status_seq = 1 WHERE id = 1; DELETE FROM revoked WHERE seq = 6",
     0, "does not show status_log 6", false},
    {"a head signed by nobody", "UPDATE audit_head SET signature = x'3000' WHERE seq = 10", 10, "signature by audit/1", false},
    {"a head that says another entry", "UPDATE audit_head SET seq = 9 WHERE seq = 10", 9, "differs from what is written", false},
    {"a head of an unknown algorithm", "UPDATE audit_head SET sig_alg = 99 WHERE seq = 10", 10, "signature by audit/1", false},
    {"another ledger's id", "UPDATE meta SET value = CAST('00' AS BLOB) WHERE name = 'ledger_id'", 10, "another ledger", false},
};

static void every_change_is_found_and_the_first_bad_entry_named(void **state)
{
    struct ledger *l = *state;
    char heads[160], copy[160];
    AUTO_BUF whole = BUF_INIT(16 * 1024 * 1024);

    name(l, "audit-heads", heads);
    name(l, "copy", copy);
    OK(l, file_read(l->path, &whole, &l->e)); /* closed: all of it is in the one file */
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        struct audit_verdict v;
        enum err_code code;

        OK(l, file_write_atomic(copy, buf_bytes(&whole), 0600, &l->e));
        OK(l, audit_verify(copy, heads, spki(l), &v, &l->e)); /* the neighbour: nothing changed */
        ledger_sql(copy, changes[i].sql);
        code = audit_verify(copy, heads, spki(l), &v, &l->e);
        if (code != E_CONFLICT || v.bad_seq != changes[i].bad_seq || !strstr(v.what, changes[i].says))
            fail_msg("%s: %s, entry %d: %s", changes[i].name, err_code_name(code), (int)v.bad_seq, v.what);
        code = audit_verify(copy, NULL, NO_KEY, &v, &l->e);
        if (changes[i].needs_heads ? code != E_OK || !strstr(v.what, "cannot be excluded") : code != E_CONFLICT)
            fail_msg("%s, without heads: %s: %s", changes[i].name, err_code_name(code), v.what);
        for (size_t n = 0; n < 3; n++) {
            static const char *const ends[] = {"", "-wal", "-shm"};
            char path[176];

            snprintf(path, sizeof(path), "%s%s", copy, ends[n]);
            unlink(path);
        }
    }
}

/* Somebody with the whole program but not the audit key writes the trail anew from entry 12 on. */
static void chain_written_anew_is_found_by_heads_kept_elsewhere(void **state)
{
    struct ledger *l = *state;
    struct audit_verdict v;
    char heads[160];

    name(l, "audit-heads", heads);
    ledger_sql(l->path, "PRAGMA foreign_keys = OFF; " OPEN_TRAIL OPEN_LOG OPEN_CERT
                        "DELETE FROM audit WHERE seq > 11; DELETE FROM audit_head WHERE seq > 11; "
                        "DELETE FROM revoked WHERE seq = 10; DELETE FROM status_log WHERE seq = 10; "
                        "UPDATE cert SET status = 0, reason = 0, status_seq = 3 WHERE id = 3");
    ledger_reopen(l);
    BEGIN(l);
    for (int i = 0; i < 5; i++)
        ledger_note(l, "nothing-happened");
    COMMIT(l);
    ledger_close(l);
    OK(l, audit_verify(l->path, NULL, spki(l), &v, &l->e));
    assert_int_equal(v.proven_seq, 10);
    REFUSED(l, E_CONFLICT, audit_verify(l->path, heads, spki(l), &v, &l->e));
    assert_int_equal(v.bad_seq, 11); /* 11 is the first that no good head covers */
    assert_non_null(strstr(v.what, "entry 11 to 13"));
}

static void another_audit_key_proves_nothing(void **state)
{
    struct ledger *l = *state;
    struct audit_verdict v;
    EVP_PKEY *other = EVP_EC_gen("P-256");
    uint8_t *der = NULL;
    int len = i2d_PUBKEY(other, &der);
    char heads[160];

    name(l, "audit-heads", heads);
    OK(l, audit_verify(l->path, heads, BYTES(der, (size_t)len), &v, &l->e)); /* the ledger's own key fits ... */
    assert_int_equal(v.proven_seq, 0); /* ... but that proves nothing to the holder of this one */
    assert_false(v.heads_from_outside);
    REFUSED(l, E_INVALID, audit_verify(l->path, heads, BYTES(der, (size_t)len - 1), &v, &l->e));
    /* a key row exchanged for the attacker's does not help him either */
    REFUSED(l, E_INVALID, audit_verify(l->path, heads, bytes_str("key"), &v, &l->e));
    OPENSSL_free(der);
    EVP_PKEY_free(other);
}

static void every_kind_of_audit_key_is_verified(void **state)
{
    struct ledger *l = *state;
    const struct {
        const char *name;
        EVP_PKEY *key;
        enum sig_alg alg;
        const char *digest;
    } keys[] = {
        {"audit/rsa", EVP_RSA_gen(2048), SIG_RSA_SHA256, "SHA256"},
        {"audit/p384", EVP_EC_gen("P-384"), SIG_ECDSA_SHA384, "SHA384"},
        {"audit/ed25519", EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), SIG_ED25519, NULL},
    };
    struct audit_verdict v;
    char heads[160];

    name(l, "audit-heads", heads);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        BEGIN(l);
        ledger_audit_key(l, keys[i].name, keys[i].key, (uint8_t)keys[i].alg, keys[i].digest);
        ledger_note(l, "key-changed");
        COMMIT(l);
        ledger_head(l, T0 + 60);
        OK(l, audit_verify(l->path, heads, spki(l), &v, &l->e)); /* heads by the older keys are good, but no proof */
        assert_int_equal(v.proven_seq, i + 1);
        assert_int_equal(v.heads, 2 * (i + 1));
    }
    BEGIN(l);
    ledger_note(l, "note");
    COMMIT(l);
    l->audit_alg = SIG_ECDSA_SHA256; /* says another algorithm than the key has */
    ledger_head(l, T0 + 60);
    REFUSED(l, E_CONFLICT, audit_verify(l->path, heads, spki(l), &v, &l->e));
}

/* --- heads file ---------------------------------------------------------------------------------------------- */

static void put(const char *path, const char *mode, const char *text)
{
    FILE *f = fopen(path, mode);

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void torn_head_line_is_skipped_and_the_next_stands_alone(void **state)
{
    struct ledger *l = *state;
    struct audit_verdict v;
    char heads[160];

    name(l, "audit-heads", heads);
    put(heads, "a", "14 17000");
    ledger_reopen(l);
    BEGIN(l);
    ledger_note(l, "more");
    COMMIT(l);
    ledger_head(l, T0 + 180);
    ledger_close(l);
    OK(l, audit_verify(l->path, heads, spki(l), &v, &l->e));
    assert_int_equal(v.damaged_lines, 1);
    assert_int_equal(v.proven_seq, 14);
    assert_int_equal(v.heads, 6);
}

static void damaged_lines_alone_prove_nothing(void **state)
{
    struct ledger *l = *state;
    struct audit_verdict v;
    char heads[160];

    name(l, "heads", heads);
    put(heads, "w", "\nhello\n1 2 3 4 5 6\n1 2 3 4 5 6 7\n");
    OK(l, audit_verify(l->path, heads, spki(l), &v, &l->e));
    assert_int_equal(v.damaged_lines, 4);
    assert_false(v.heads_from_outside);
    assert_non_null(strstr(v.what, "cannot be excluded"));
}

static void outside_head_with_a_changed_number_is_bad(void **state)
{
    struct ledger *l = *state;
    struct audit_verdict v;
    AUTO_BUF b = BUF_INIT(65536);
    char heads[160];

    name(l, "audit-heads", heads);
    OK(l, file_read(heads, &b, &l->e));
    assert_memory_equal(b.p, "10 ", 3);
    b.p[1] = '1';
    OK(l, file_write_atomic(heads, buf_bytes(&b), 0600, &l->e));
    REFUSED(l, E_CONFLICT, audit_verify(l->path, heads, spki(l), &v, &l->e));
    assert_non_null(strstr(v.what, "head in line 1 outside"));
}

/* --- writing ------------------------------------------------------------------------------------------------- */

static void detail_must_be_canonical(void **state)
{
    struct ledger *l = *state;
    static const struct {
        const char *name, *detail;
        enum err_code code;
    } cases[] = {
        {"nothing", NULL, E_OK},
        {"sorted", "{\"a\":1,\"b\":[true,null]}", E_OK},
        {"not sorted", "{\"b\":1,\"a\":1}", E_INTERNAL},
        {"a blank", "{\"a\": 1}", E_INTERNAL},
        {"twice the same", "{\"a\":1,\"a\":1}", E_INTERNAL},
        {"an array", "[1]", E_INTERNAL},
        {"not JSON", "{a}", E_INTERNAL},
        {"something behind", "{}x", E_INTERNAL},
        {"empty", "", E_INTERNAL},
    };

    BEGIN(l);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct audit_entry in = {.event = "note", .actor = "root", .actor_kind = "operator", .detail = cases[i].detail};

        if (audit_append(l->s, &in, T0, &l->e) != cases[i].code)
            fail_msg("%s: %s", cases[i].name, l->e.msg);
    }
    COMMIT(l);
}

struct seen_detail {
    const char *requester;
    unsigned n;
};

static bool detail_is_as_jansson_writes_it(void *arg, const struct audit_row *row)
{
    struct seen_detail *seen = arg;
    json_t *json = json_loads(row->detail, JSON_REJECT_DUPLICATES, NULL);
    char *again;

    assert_non_null(json);
    again = json_dumps(json, JSON_SORT_KEYS | JSON_COMPACT);
    assert_string_equal(again, row->detail);
    assert_string_equal(json_string_value(json_object_get(json, "requester")), seen->requester);
    free(again);
    json_decref(json);
    seen->n++;
    return true;
}

static void detail_of_an_issue_is_canonical_whatever_the_requester(void **state)
{
    static const char *const requesters[] = {"device:acme/dev-1", "operator:a\"b\\c", "operator:\x01\t\x7f",
                                             "operator:\xc3\xa9\xe2\x82\xac", ""};
    struct ledger *l = *state;
    struct audit_actor who = {.actor = "root", .actor_kind = "operator", .domain = ""};
    uint8_t der[100];
    struct cert_row cert;

    for (unsigned n = 0; n < ARRAY_LEN(requesters); n++) {
        struct seen_detail seen = {.requester = requesters[n]};

        ledger_fill_cert(l, n + 1, der, sizeof(der), &cert);
        cert.requester = requesters[n];
        BEGIN(l);
        OK(l, store_cert_issue(l->s, &cert, &l->e));
        OK(l, audit_cert_issued(l->s, &who, "fleet-ca", &cert, cert.status_seq, T0, &l->e));
        COMMIT(l);
        OK(l, store_audit_each(l->s, n + 1, n + 1, detail_is_as_jansson_writes_it, &seen, &l->e));
        assert_int_equal(seen.n, 1);
    }
    ledger_fill_cert(l, 100, der, sizeof(der), &cert);
    cert.requester = "operator:\xff";
    BEGIN(l);
    REFUSED(l, E_NOMEM, audit_cert_issued(l->s, &who, "fleet-ca", &cert, 1, T0, &l->e));
    store_rollback(l->s);
}

static void events_with_a_function_of_their_own_are_refused(void **state)
{
    struct ledger *l = *state;
    static const char *const events[] = {"cert-issued", "cert-revoked", "cert-held", "cert-released", "", NULL};

    BEGIN(l);
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        struct audit_entry in = {.event = events[i]};

        REFUSED(l, E_INTERNAL, audit_append(l->s, &in, T0, &l->e));
    }
    ledger_note(l, "cert-listed");
    COMMIT(l);
}

static bool keep_hash(void *arg, const struct audit_row *row)
{
    memcpy(arg, row->hash, 32);
    return true;
}

/* The encoding of docs/audit.md, written out: a change of it breaks every verifier in the field. */
static void first_entry_hashes_as_documented(void **state)
{
    struct ledger *l = *state;
    AUTO_BUF b = BUF_INIT(1024);
    const char *const texts[] = {"note", "root", "operator", "acme", "device:acme/dev-1", "{\"a\":1}"};
    const struct bytes digest = bytes_str("digest");
    struct audit_entry in = {.event = texts[0], .actor = texts[1], .actor_kind = texts[2], .domain = texts[3],
                             .object = texts[4], .detail = texts[5], .request_digest = digest};
    uint8_t be[8], wanted[32], got[32], zero[32] = {0};

    BEGIN(l);
    OK(l, audit_append(l->s, &in, T0, &l->e));
    COMMIT(l);
    buf_add_str(&b, "inkan-audit-1");
    buf_add(&b, zero, 32);
    put_be64(be, 1);
    buf_add(&b, be, 8);
    put_be64(be, T0);
    buf_add(&b, be, 8);
    for (size_t i = 0; i < 6; i++) {
        put_be32(be, (uint32_t)strlen(texts[i]));
        buf_add(&b, be, 4);
        buf_add_str(&b, texts[i]);
    }
    buf_add(&b, "\0\0\0\6digest\0\0\0\0\0\0\0\0", 4 + 6 + 8);
    sha256(buf_bytes(&b), wanted);
    OK(l, store_audit_each(l->s, 1, 1, keep_hash, got, &l->e));
    assert_memory_equal(got, wanted, 32);
}

static void entry_that_does_not_follow_is_refused_by_the_store(void **state)
{
    struct ledger *l = *state;
    struct audit_row row = {.seq = 2, .event = "e", .detail = "{}"};

    BEGIN(l);
    REFUSED(l, E_CONFLICT, store_audit_insert(l->s, &row, &l->e));
    row.seq = 1;
    row.prev_hash[0] = 1;
    REFUSED(l, E_CONFLICT, store_audit_insert(l->s, &row, &l->e));
    row.prev_hash[0] = 0;
    OK(l, store_audit_insert(l->s, &row, &l->e));
    COMMIT(l);
}

static void head_is_due_only_after_new_entries(void **state)
{
    struct ledger *l = *state;
    AUTO_BUF tbs = BUF_INIT(1024);
    struct audit_head_row head, last;
    struct der in, seq, tag;

    REFUSED(l, E_NOT_FOUND, audit_head_tbs(l->s, bytes_str("id"), T0, &head, &tbs, &l->e));
    BEGIN(l);
    ledger_note(l, "note");
    COMMIT(l);
    OK(l, audit_head_tbs(l->s, bytes_str("id"), T0, &head, &tbs, &l->e));
    assert_int_equal(head.seq, 1);
    der_init(&in, tbs.p, tbs.len);
    assert_true(der_take(&in, DER_SEQUENCE, &seq) && der_at_end(&in) && der_take(&seq, DER_UTF8_STRING, &tag));
    assert_true(bytes_equal(der_rest(&tag), bytes_str("inkan-audit-head")));
    ledger_head(l, T0 + 1);
    REFUSED(l, E_NOT_FOUND, audit_head_tbs(l->s, bytes_str("id"), T0, &head, &tbs, &l->e));
    OK(l, store_audit_head_last(l->s, &last, &l->e));
    assert_int_equal(last.seq, 1);
    assert_string_equal(last.key, "audit/1");
    /* never twice, never for an entry with another hash */
    BEGIN(l);
    REFUSED(l, E_CONFLICT, store_audit_head_insert(l->s, &last, &l->e));
    ledger_note(l, "note");
    last.seq = 2;
    REFUSED(l, E_CONFLICT, store_audit_head_insert(l->s, &last, &l->e));
    last.seq = 3;
    REFUSED(l, E_NOT_FOUND, store_audit_head_insert(l->s, &last, &l->e));
    COMMIT(l);
}

static void unsigned_head_is_not_published(void **state)
{
    struct ledger *l = *state;
    struct audit_head_row head = {.seq = 1, .time = T0};
    char heads[160];

    head.tbs = bytes_str("tbs");
    name(l, "audit-heads", heads);
    REFUSED(l, E_INTERNAL, audit_head_publish(l->dir, &head, &l->e));
    head.sig_alg = SIG_ED25519;
    REFUSED(l, E_INTERNAL, audit_head_publish(l->dir, &head, &l->e));
    head.signature = bytes_str("sig");
    OK(l, audit_head_publish(l->dir, &head, &l->e));
    assert_int_equal(access(heads, F_OK), 0);
    REFUSED(l, E_IO, audit_head_publish("/nonexistent", &head, &l->e));
}

#define T(f) cmocka_unit_test_setup_teardown(f, ledger_setup, ledger_teardown)
#define F(f) cmocka_unit_test_setup_teardown(f, filled_setup, ledger_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        F(untouched_ledger_is_verified_with_heads_from_outside),
        F(without_outside_heads_later_removal_is_not_excluded),
        F(live_ledger_and_backup_are_verified_too),
        F(ledger_in_a_directory_without_write_access_is_verified),
        T(empty_ledger_proves_nothing_but_is_not_bad),
        F(every_change_is_found_and_the_first_bad_entry_named),
        F(chain_written_anew_is_found_by_heads_kept_elsewhere),
        F(another_audit_key_proves_nothing),
        T(every_kind_of_audit_key_is_verified),
        F(torn_head_line_is_skipped_and_the_next_stands_alone),
        F(damaged_lines_alone_prove_nothing),
        F(outside_head_with_a_changed_number_is_bad),
        T(detail_must_be_canonical),
        T(detail_of_an_issue_is_canonical_whatever_the_requester),
        T(events_with_a_function_of_their_own_are_refused),
        T(first_entry_hashes_as_documented),
        T(entry_that_does_not_follow_is_refused_by_the_store),
        T(head_is_due_only_after_new_entries),
        T(unsigned_head_is_not_published),
    };

    return cmocka_run_group_tests_name("audit", tests, NULL, NULL);
}
