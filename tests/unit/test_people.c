/* SPDX-License-Identifier: Apache-2.0 */
/* Operators, signed requests and approvals as rows and octets: what is read, what is kept, what the trail proves of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/x509.h>

#include "ca/signed_request.h"
#include "ca/store/people.h"
#include "tests/unit/ledger_fixture.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct operator {
    EVP_PKEY *key;
    uint8_t der[1024], hash[32];
    size_t der_len;
    struct operator_row row;
    uint64_t cert;
};

/* ---- making them ---- */

static void make_cert(struct operator *o, const char *name, EVP_PKEY *key)
{
    X509 *cert = X509_new();
    unsigned char *to = o->der;
    int len;

    o->key = key;
    assert_true(X509_set_version(cert, 2) && ASN1_INTEGER_set(X509_get_serialNumber(cert), 5) &&
                X509_gmtime_adj(X509_getm_notBefore(cert), 0) && X509_gmtime_adj(X509_getm_notAfter(cert), 3600) &&
                X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0) &&
                X509_set_pubkey(cert, key) && X509_sign(cert, key, EVP_sha256()));
    len = i2d_X509(cert, NULL);
    assert_in_range(len, 1, sizeof(o->der));
    o->der_len = (size_t)i2d_X509(cert, &to);
    X509_free(cert);
    sha256(BYTES(o->der, o->der_len), o->hash);
}

static uint64_t insert_cert(struct ledger *l, const struct operator *o, unsigned n)
{
    uint8_t fake[8];
    struct cert_row row;

    ledger_fill_cert(l, n, fake, sizeof(fake), &row);
    row.der = BYTES(o->der, o->der_len);
    memcpy(row.der_hash, o->hash, 32);
    row.kind = PROFILE_OPERATOR;
    row.device = 0;
    memset(row.spki_hash, (int)(0x40 + n), sizeof(row.spki_hash));
    OK(l, store_cert_issue(l->s, &row, &l->e));
    OK(l, audit_cert_issued(l->s, &(struct audit_actor){.actor = "root", .actor_kind = "root"}, "fleet-ca", &row, row.status_seq, T0, &l->e));
    return row.id;
}

static void add_operator(struct ledger *l, struct operator *o, const char *name, unsigned n)
{
    *o = (struct operator){0};
    make_cert(o, name, EVP_EC_gen("P-256"));
    snprintf(o->row.name, sizeof(o->row.name), "%s", name);
    o->row.roles = 1;
    o->row.added_at = T0;
    OK(l, store_operator_insert(l->s, &o->row, &l->e));
    o->cert = insert_cert(l, o, n);
    OK(l, store_operator_cert_insert(l->s, o->row.id, o->cert, o->hash, &l->e));
}

/* What the operator signs; `out` is the text. */
static void sign(const struct operator *o, const char *node, const char *op, json_t *args, struct buf *out)
{
    struct signed_request r = {.args = args, .iat = T0, .exp = T0 + 300};
    struct err e = {0};

    memcpy(r.cert_hash, o->hash, 32);
    snprintf(r.node, sizeof(r.node), "%s", node);
    snprintf(r.op, sizeof(r.op), "%s", op);
    assert_int_equal(random_bytes(r.nonce, sizeof(r.nonce), &e), E_OK);
    buf_reset(out);
    assert_int_equal(signed_request_write(&r, o->key, out, &e), E_OK);
    json_decref(args);
}

/* ---- reading a signed request ---- */

static void a_signed_request_is_read_as_it_was_written(void **state)
{
    AUTO_BUF text = BUF_INIT(SIGNED_REQUEST_MAX);
    struct operator o = {0};
    struct signed_request r;
    struct err e = {0};

    (void)state;
    make_cert(&o, "alice", EVP_EC_gen("P-256"));
    sign(&o, "node-1", "cert.hold", json_pack("{s:s}", "serial", "01ab"), &text);
    assert_int_equal(signed_request_read(buf_bytes(&text), &r, &e), E_OK);
    assert_string_equal(r.node, "node-1");
    assert_string_equal(r.op, "cert.hold");
    assert_string_equal(json_string_value(json_object_get(r.args, "serial")), "01ab");
    assert_memory_equal(r.cert_hash, o.hash, 32);
    assert_int_equal(r.exp - r.iat, 300);
    assert_false(r.has_file);
    assert_int_equal(jws_verify(&r.jws, o.key, &e), E_OK);
    signed_request_clear(&r);
    EVP_PKEY_free(o.key);
}

static void a_broken_request_is_refused_with_its_member(void **state)
{
#define NONCE "\"nonce\":\"00112233445566778899aabbccddeeff\""
#define TIMES "\"iat\":100,\"exp\":200"
    static const struct {
        const char *name, *payload, *says; /* NULL: read */
    } cases[] = {
        {"whole", "{\"node\":\"n\",\"op\":\"o\",\"args\":{}," NONCE "," TIMES "}", NULL},
        {"no node", "{\"op\":\"o\",\"args\":{}," NONCE "," TIMES "}", "node"},
        {"empty node", "{\"node\":\"\",\"op\":\"o\",\"args\":{}," NONCE "," TIMES "}", "node"},
        {"a blank in op", "{\"node\":\"n\",\"op\":\"o p\",\"args\":{}," NONCE "," TIMES "}", "op"},
        {"a NUL in op", "{\"node\":\"n\",\"op\":\"o\\u0000\",\"args\":{}," NONCE "," TIMES "}", "payload"},
        {"args is a list", "{\"node\":\"n\",\"op\":\"o\",\"args\":[]," NONCE "," TIMES "}", "args"},
        {"no args", "{\"node\":\"n\",\"op\":\"o\"," NONCE "," TIMES "}", "args"},
        {"a short nonce", "{\"node\":\"n\",\"op\":\"o\",\"args\":{},\"nonce\":\"00\"," TIMES "}", "nonce"},
        {"a nonce in capitals", "{\"node\":\"n\",\"op\":\"o\",\"args\":{},\"nonce\":\"00112233445566778899AABBCCDDEEFF\"," TIMES "}", "nonce"},
        {"no end", "{\"node\":\"n\",\"op\":\"o\",\"args\":{}," NONCE ",\"iat\":100}", "exp"},
        {"an end as text", "{\"node\":\"n\",\"op\":\"o\",\"args\":{}," NONCE ",\"iat\":100,\"exp\":\"200\"}", "exp"},
        {"ended before it began", "{\"node\":\"n\",\"op\":\"o\",\"args\":{}," NONCE ",\"iat\":200,\"exp\":200}", "1 to 600"},
        {"600 s", "{\"node\":\"n\",\"op\":\"o\",\"args\":{}," NONCE ",\"iat\":100,\"exp\":700}", NULL},
        {"601 s", "{\"node\":\"n\",\"op\":\"o\",\"args\":{}," NONCE ",\"iat\":100,\"exp\":701}", "1 to 600"},
        {"a member too many", "{\"node\":\"n\",\"op\":\"o\",\"args\":{}," NONCE "," TIMES ",\"role\":\"x\"}", "role"},
        {"a member twice", "{\"node\":\"n\",\"node\":\"n\",\"op\":\"o\",\"args\":{}," NONCE "," TIMES "}", "payload"},
        {"half a file", "{\"node\":\"n\",\"op\":\"o\",\"args\":{}," NONCE "," TIMES ",\"file_sha256\":\"00\"}", "file_sha256"},
        {"no object", "[]", "object"},
        {"two objects", "{}{}", "payload"},
    };
    EVP_PKEY *key = EVP_EC_gen("P-256");

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        AUTO_BUF text = BUF_INIT(SIGNED_REQUEST_MAX);
        struct jws_header h = {.typ = SIGNED_TYP, .x5t = "LQXHmbSBfR7nUxrd9vdDyxOO9Z7JKka1oJNgEgVNd2E"};
        struct signed_request r;
        struct err e = {0};

        print_message("%s\n", cases[i].name);
        assert_int_equal(jws_sign_compact(key, &h, bytes_str(cases[i].payload), &text, &e), E_OK);
        assert_int_equal(signed_request_read(buf_bytes(&text), &r, &e), cases[i].says ? E_INVALID : E_OK);
        if (cases[i].says)
            assert_non_null(strstr(e.msg, cases[i].says));
        signed_request_clear(&r);
    }
    EVP_PKEY_free(key);
}

static void compact_form_is_three_parts(void **state)
{
    static const char *const bad[] = {"", ".", "..", "...", "a.b", "a..b", ".a.b", "eyJ9.e30.", "e30.e30.e30.e30", "{\"payload\":\"e30\"}"};
    struct jws jws;
    struct err e;

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        print_message("\"%s\"\n", bad[i]);
        e = (struct err){0};
        assert_int_equal(jws_read_compact(bytes_str(bad[i]), 1000, &jws, &e), E_INVALID);
    }
}

/* ---- rows ---- */

static void an_operator_ends_once_and_a_name_is_never_given_again(void **state)
{
    struct ledger *l = *state;
    struct operator o;
    struct operator_row again = {.roles = 1, .added_at = T0}, found;

    OK(l, store_begin(l->s, &l->e));
    add_operator(l, &o, "alice", 1);
    snprintf(again.name, sizeof(again.name), "alice");
    REFUSED(l, E_CONFLICT, store_operator_insert(l->s, &again, &l->e));
    OK(l, store_operator_change(l->s, o.row.id, 3, "ann", &l->e));
    OK(l, store_operator_by_user(l->s, "ann", &found, &l->e));
    assert_int_equal(found.roles, 3);
    REFUSED(l, E_NOT_FOUND, store_operator_by_user(l->s, "", &found, &l->e));
    snprintf(again.name, sizeof(again.name), "anna");
    snprintf(again.user, sizeof(again.user), "ann");
    REFUSED(l, E_CONFLICT, store_operator_insert(l->s, &again, &l->e));
    OK(l, store_operator_end(l->s, o.row.id, T0 + 1, &l->e));
    REFUSED(l, E_NOT_FOUND, store_operator_by_user(l->s, "ann", &found, &l->e));
    REFUSED(l, E_NOT_FOUND, store_operator_end(l->s, o.row.id, T0 + 2, &l->e));
    REFUSED(l, E_CONFLICT, store_operator_change(l->s, o.row.id, 1, "", &l->e));
    OK(l, store_operator_insert(l->s, &again, &l->e)); /* the user is free again */
    OK(l, store_commit(l->s, &l->e));
    EVP_PKEY_free(o.key);
}

static void a_key_is_one_persons_and_no_devices(void **state)
{
    struct ledger *l = *state;
    struct operator alice, bob, third = {0}, device = {0};
    struct device_row unit = {.domain = "acme", .device_id = "dev-1", .declared_at = T0};
    uint64_t who, cert;
    uint8_t spki[32];

    OK(l, store_begin(l->s, &l->e));
    add_operator(l, &alice, "alice", 1);
    add_operator(l, &bob, "bob", 2);
    /* Another certificate of alice's key, for bob. */
    make_cert(&third, "bob", alice.key);
    third.cert = insert_cert(l, &third, 1 + 0x100); /* the fixture's key hash is that of number 1 */
    REFUSED(l, E_CONFLICT, store_operator_cert_insert(l->s, bob.row.id, third.cert, third.hash, &l->e));
    SAYS(l, "each person has one of their own");
    OK(l, store_operator_cert_insert(l->s, alice.row.id, third.cert, third.hash, &l->e));
    OK(l, store_operator_cert_find(l->s, third.hash, &who, &cert, &l->e));
    assert_int_equal(who, alice.row.id);
    REFUSED(l, E_CONFLICT, store_operator_cert_insert(l->s, bob.row.id, third.cert, third.hash, &l->e));
    /* A device's key. */
    OK(l, store_device_insert(l->s, &unit, &l->e));
    memset(spki, 0x40 + 5, sizeof(spki));
    OK(l, store_spki_claim(l->s, spki, unit.unit, T0, &l->e));
    make_cert(&device, "bob", EVP_EC_gen("P-256"));
    device.cert = insert_cert(l, &device, 5);
    REFUSED(l, E_CONFLICT, store_operator_cert_insert(l->s, bob.row.id, device.cert, device.hash, &l->e));
    OK(l, store_commit(l->s, &l->e));
    EVP_PKEY_free(alice.key);
    EVP_PKEY_free(bob.key);
    EVP_PKEY_free(device.key);
}

static void a_nonce_counts_once_until_it_is_forgotten(void **state)
{
    static const uint8_t nonce[16] = {1};
    struct ledger *l = *state;

    OK(l, store_begin(l->s, &l->e));
    OK(l, store_nonce_use(l->s, nonce, T0 + 300, &l->e));
    REFUSED(l, E_CONFLICT, store_nonce_use(l->s, nonce, T0 + 300, &l->e));
    OK(l, store_nonce_forget(l->s, T0 + 300, &l->e));
    REFUSED(l, E_CONFLICT, store_nonce_use(l->s, nonce, T0 + 300, &l->e));
    OK(l, store_nonce_forget(l->s, T0 + 301, &l->e));
    OK(l, store_nonce_use(l->s, nonce, T0 + 300, &l->e));
    OK(l, store_commit(l->s, &l->e));
}

static uint64_t ask(struct ledger *l, const struct operator *o, struct bytes jws)
{
    struct pending_row row = {.operator_id = o->row.id, .op = "key.generate", .args = "{\"name\":\"x\"}", .jws = jws, .created_at = T0,
                              .expires_at = T0 + 100};

    OK(l, store_pending_insert(l->s, &row, &l->e));
    return row.id;
}

static void what_waits_ends_once_and_never_by_its_author(void **state)
{
    struct ledger *l = *state;
    struct operator alice, bob;
    uint64_t id, due, n;
    struct pending_row row;

    OK(l, store_begin(l->s, &l->e));
    add_operator(l, &alice, "alice", 1);
    add_operator(l, &bob, "bob", 2);
    id = ask(l, &alice, bytes_str("a.b.c"));
    OK(l, store_pending_waiting(l->s, alice.row.id, &n, &l->e));
    assert_int_equal(n, 1);
    REFUSED(l, E_CONFLICT, store_pending_decide(l->s, id, PENDING_RUNNING, alice.row.id, "", T0, &l->e));
    OK(l, store_pending_decide(l->s, id, PENDING_RUNNING, bob.row.id, "", T0, &l->e));
    REFUSED(l, E_NOT_FOUND, store_pending_decide(l->s, id, PENDING_RUNNING, bob.row.id, "", T0, &l->e));
    OK(l, store_pending_end(l->s, id, PENDING_DONE, "", T0 + 1, &l->e));
    REFUSED(l, E_NOT_FOUND, store_pending_end(l->s, id, PENDING_FAILED, "x", T0 + 1, &l->e));
    OK(l, store_pending_by_id(l->s, id, &row, &l->e));
    assert_string_equal(row.second_name, "bob");
    assert_int_equal(row.state, PENDING_DONE);
    /* One that was running when the core ended, one that nobody decided. */
    id = ask(l, &alice, bytes_str("a.b.c"));
    OK(l, store_pending_decide(l->s, id, PENDING_RUNNING, bob.row.id, "", T0, &l->e));
    OK(l, store_pending_interrupt(l->s, T0 + 5, &l->e));
    OK(l, store_pending_by_id(l->s, id, &row, &l->e));
    assert_int_equal(row.state, PENDING_FAILED);
    id = ask(l, &alice, bytes_str("a.b.c"));
    REFUSED(l, E_NOT_FOUND, store_pending_due(l->s, T0 + 99, &due, &l->e));
    OK(l, store_pending_due(l->s, T0 + 100, &due, &l->e));
    assert_int_equal(due, id);
    OK(l, store_pending_close(l->s, id, PENDING_EXPIRED, "", T0 + 100, &l->e));
    REFUSED(l, E_NOT_FOUND, store_pending_decide(l->s, id, PENDING_RUNNING, bob.row.id, "", T0, &l->e));
    OK(l, store_commit(l->s, &l->e));
    EVP_PKEY_free(alice.key);
    EVP_PKEY_free(bob.key);
}

/* ---- what the trail proves ---- */

enum forgery { WHOLE, OTHER_NAME, OTHER_KIND, OTHER_REQUEST, OTHER_KEY, OTHER_LEDGER, NO_OPERATOR, NO_JWS, SAME_PERSON, OTHER_PENDING, OTHER_DIGEST,
               NO_APPROVAL_OP };

/* An entry as the core writes it for key.generate by alice, approved by bob; with one thing other than it should be. */
static void write_entry(struct ledger *l, enum forgery what, bool approved)
{
    AUTO_BUF jws = BUF_INIT(SIGNED_REQUEST_MAX);
    AUTO_BUF approval = BUF_INIT(SIGNED_REQUEST_MAX);
    AUTO_BUF node = BUF_INIT(128);
    struct operator alice, bob, mallory = {0};
    const struct operator *second;
    struct audit_entry entry = {.event = "key-created", .actor = "alice", .actor_kind = "operator", .object = "key:x"};
    uint8_t digest[32], approves[32];
    char hex[65], id_text[24];
    uint64_t id;
    json_t *args = json_pack("{s:s}", "name", "x");

    OK(l, store_begin(l->s, &l->e));
    OK(l, store_meta_get(l->s, "ledger_id", &node, &l->e));
    buf_add_str(&node, what == OTHER_LEDGER ? "" : "-2"); /* restored twice */
    if (what == OTHER_LEDGER)
        node.p[0] = node.p[0] == '0' ? '1' : '0';
    buf_add_u8(&node, '\0');
    add_operator(l, &alice, "alice", 1);
    add_operator(l, &bob, "bob", 2);
    make_cert(&mallory, "mallory", EVP_EC_gen("P-256"));
    if (what == OTHER_KEY)
        memcpy(mallory.hash, alice.hash, 32);
    sign(what == NO_OPERATOR || what == OTHER_KEY ? &mallory : &alice, (const char *)node.p, "key.generate", json_incref(args), &jws);
    if (what == NO_JWS)
        jws.len -= 40;
    OK(l, request_digest(what == OTHER_REQUEST ? "key.destroy" : "key.generate", args, digest, &l->e));
    id = ask(l, &alice, buf_bytes(&jws));
    if (approved) {
        OK(l, pending_digest(what == OTHER_PENDING ? id + 1 : id, "alice", "key.generate", args, approves, &l->e));
        hex_encode(approves, 32, hex);
        if (what == OTHER_DIGEST)
            hex[0] = hex[0] == '0' ? '1' : '0';
        snprintf(id_text, sizeof(id_text), "%llu", (unsigned long long)(what == OTHER_PENDING ? id + 1 : id));
        second = what == SAME_PERSON ? &alice : &bob;
        sign(second, (const char *)node.p, what == NO_APPROVAL_OP ? "approval.refuse" : "approval.approve",
             json_pack("{s:s, s:s}", "id", id_text, "digest", hex), &approval);
        entry.approvals = buf_bytes(&approval);
    }
    entry.actor = what == OTHER_NAME ? "bob" : "alice";
    entry.actor_kind = what == OTHER_KIND ? "root" : "operator";
    entry.request_digest = BYTES_OF(digest);
    entry.signature = buf_bytes(&jws);
    OK(l, audit_append(l->s, &entry, T0, &l->e));
    OK(l, store_commit(l->s, &l->e));
    json_decref(args);
    EVP_PKEY_free(alice.key);
    EVP_PKEY_free(bob.key);
    EVP_PKEY_free(mallory.key);
}

static void verify_finds(enum forgery what, bool approved, const char *says)
{
    struct audit_verdict v;
    struct ledger *l;
    void *state = NULL;
    enum err_code code;

    assert_int_equal(ledger_setup(&state), 0);
    l = state;
    write_entry(l, what, approved);
    code = audit_verify(l->path, NULL, BYTES(NULL, 0), &v, &l->e);
    if (says) {
        assert_int_equal(code, E_CONFLICT);
        if (!strstr(v.what, says))
            fail_msg("\"%s\" without \"%s\"", v.what, says);
        assert_int_equal(v.signed_entries, 0);
    } else {
        if (code != E_OK)
            fail_msg("%s", v.what);
        assert_int_equal(v.signed_entries, 1);
    }
    ledger_teardown(&state);
}

static void the_trail_proves_who_signed_and_who_approved(void **state)
{
    static const struct {
        const char *name;
        enum forgery what;
        bool approved;
        const char *says; /* NULL: good */
    } cases[] = {
        {"signed", WHOLE, false, NULL},
        {"signed and approved", WHOLE, true, NULL},
        {"the entry names another operator", OTHER_NAME, false, "its signature is by another operator than the entry names"},
        {"the entry names root", OTHER_KIND, false, "its signature is by another operator"},
        {"a signature of another request", OTHER_REQUEST, false, "its signature is for another request"},
        {"by a key that is not the certificate's", OTHER_KEY, false, "its signature is not by the key"},
        {"for another ledger", OTHER_LEDGER, false, "its signature is for another ledger"},
        {"by somebody's certificate", NO_OPERATOR, false, "its signature is by a certificate of no operator"},
        {"cut off", NO_JWS, false, "its signature is not"},
        {"approved by who asked", SAME_PERSON, true, "its approval is by the same person"},
        {"an approval of something else", OTHER_PENDING, true, "its approval is of a request that is not there"},
        {"an approval of other words", OTHER_DIGEST, true, "its approval is of other words"},
        {"a refusal taken for an approval", NO_APPROVAL_OP, true, "its approval approves nothing"},
        {"approved, but done otherwise", OTHER_REQUEST, true, "its approval is of another request"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        print_message("%s\n", cases[i].name);
        verify_finds(cases[i].what, cases[i].approved, cases[i].says);
    }
}

int main(void)
{
#define LEDGER(test) cmocka_unit_test_setup_teardown(test, ledger_setup, ledger_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signed_request_is_read_as_it_was_written),
        cmocka_unit_test(a_broken_request_is_refused_with_its_member),
        cmocka_unit_test(compact_form_is_three_parts),
        LEDGER(an_operator_ends_once_and_a_name_is_never_given_again),
        LEDGER(a_key_is_one_persons_and_no_devices),
        LEDGER(a_nonce_counts_once_until_it_is_forgotten),
        LEDGER(what_waits_ends_once_and_never_by_its_author),
        cmocka_unit_test(the_trail_proves_who_signed_and_who_approved),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
