/* SPDX-License-Identifier: Apache-2.0 */
/* The access table and the decision from it: each reason has a case and an admitted neighbour. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/auto.h"
#include "ca/decide.h"

#define NOW   1800000000
#define LATER (NOW + 86400)
#define DAY   86400

#define ROOT  1
#define FLEET 2

static struct access *a;
static uint64_t next_seq;

/* ---- a small world: a root and a CA, device 7 with a birth and an owner's certificate ---- */

static void hash_of(uint32_t issuer, uint64_t number, uint8_t out[32])
{
    char text[64];

    snprintf(text, sizeof text, "certificate %u %llu", issuer, (unsigned long long)number);
    sha256(bytes_str(text), out);
}

static struct status_row row(uint32_t issuer, uint64_t number, enum cert_status status, enum crl_reason reason)
{
    struct status_row r = {.seq = ++next_seq, .issuer = issuer, .status = status, .reason = reason, .time = NOW - 100,
                           .not_after = LATER, .device_state = DEVICE_STATES, .serial_len = 20};

    r.serial[0] = 0x11;
    put_be64(r.serial + 12, number);
    return r;
}

static struct access_change put(struct status_row r)
{
    struct access_change change;
    struct err e;

    if (access_put_row(a, &r, &change, &e) != E_OK)
        fail_msg("%s", e.msg);
    return change;
}

static struct access_change issue(uint32_t issuer, uint64_t number, enum profile_kind kind, uint64_t device)
{
    struct status_row r = row(issuer, number, CERT_GOOD, REASON_UNSPECIFIED);

    r.kind = (uint8_t)kind;
    r.has_hash = true;
    hash_of(issuer, number, r.der_hash);
    r.device = device;
    return put(r);
}

static struct access_change about_device(uint64_t device)
{
    struct status_row r = {.seq = ++next_seq, .device = device, .time = NOW - 50};

    return put(r);
}

static void moved_device(uint64_t id, enum device_state state, const char *domain, const char *product, const char *firmware, uint64_t moved_to)
{
    char name[32];
    struct access_device d = {.id = id, .moved_to = moved_to, .domain = domain, .device_id = name, .product = product, .firmware = firmware,
                              .state = state};
    struct err e;

    snprintf(name, sizeof name, "dev-%llu", (unsigned long long)id);
    if (access_put_device(a, &d, &e) != E_OK)
        fail_msg("%s", e.msg);
}

static void device(uint64_t id, enum device_state state, const char *domain, const char *product, const char *firmware)
{
    moved_device(id, state, domain, product, firmware, 0);
}

static void add_issuer(uint32_t id, const char *name, uint64_t number, uint32_t by)
{
    static uint8_t spki[512];
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    unsigned char *p = spki;
    struct follow_issuer in = {.id = id};
    char der[64];
    struct err e;

    snprintf(in.name, sizeof in.name, "%s", name);
    in.spki = BYTES(spki, (size_t)i2d_PUBKEY(key, &p));
    snprintf(der, sizeof der, "certificate %u %llu", by, (unsigned long long)number);
    in.cert = bytes_str(der);
    if (access_issuers_add(a, &in, &e) != E_OK)
        fail_msg("%s", e.msg);
    EVP_PKEY_free(key);
}

static int world(void **state)
{
    struct err e;

    (void)state;
    next_seq = 0;
    a = access_new(&e);
    assert_non_null(a);
    access_issuers_begin(a);
    add_issuer(ROOT, "root", 1, ROOT);
    add_issuer(FLEET, "fleet", 2, ROOT);
    access_issuers_end(a);
    issue(ROOT, 1, PROFILE_ROOT_CA, 0);
    issue(ROOT, 2, PROFILE_ISSUING_CA, 0);
    device(7, DEVICE_IN_SERVICE, "acme", "lock", "1.2.3");
    issue(FLEET, 10, PROFILE_IDEVID, 7);
    issue(FLEET, 11, PROFILE_LDEVID, 7);
    return 0;
}

static int world_end(void **state)
{
    (void)state;
    access_free(a);
    return 0;
}

static struct sts_identity by_cert(uint32_t issuer, uint64_t number)
{
    struct sts_identity who = {.kind = IDENTITY_CERT, .not_before = NOW - DAY};
    const struct access_issuer *i = access_issuer_by_id(a, issuer);

    hash_of(issuer, number, who.der_hash);
    if (i)
        memcpy(who.ski, i->ski, sizeof who.ski);
    return who;
}

static struct conf_audience everybody(void)
{
    return (struct conf_audience){.scopes = 1 << SCOPE_FULL, .stale_soft_s = DAY, .stale_hard_s = 7 * DAY, .cache_allow_s = 10,
                                  .cache_deny_s = 300};
}

static struct sts_decision asked(const struct conf_audience *audience, struct sts_identity who, int64_t now, int64_t age)
{
    struct sts_decision d;
    uint32_t dev;

    decide(a, audience, &who, now, age, &d, &dev);
    return d;
}

static void is(struct sts_decision d, enum decision_reason reason)
{
    if (d.reason != reason)
        fail_msg("%s, not %s", decision_reason_name(d.reason), decision_reason_name(reason));
    assert_int_equal(d.allow, reason == DECISION_OK || reason == DECISION_STALE_DATA);
}

/* ---- decisions ---- */

static void a_good_unit_is_admitted_and_described(void **state)
{
    struct conf_audience all = everybody();
    struct sts_decision d = asked(&all, by_cert(FLEET, 11), NOW, 3);

    (void)state;
    is(d, DECISION_OK);
    assert_string_equal(d.device_id, "dev-7");
    assert_string_equal(d.domain, "acme");
    assert_string_equal(d.product, "lock");
    assert_string_equal(d.firmware, "1.2.3");
    assert_int_equal(d.state, DEVICE_IN_SERVICE);
    assert_int_equal(d.scope, SCOPE_FULL);
    assert_int_equal(d.cache_s, 10);
    assert_int_equal(d.status_age_s, 3);
    assert_false(d.close);
    assert_false(d.identity_unverified);
    assert_int_equal(d.revoked_at, 0);
}

static void a_unit_is_known_by_fingerprint_and_by_serial_unverified(void **state)
{
    struct conf_audience all = everybody();
    struct sts_identity who = by_cert(FLEET, 11);
    struct sts_decision d;

    (void)state;
    who.kind = IDENTITY_FINGERPRINT;
    d = asked(&all, who, NOW, 0);
    is(d, DECISION_OK);
    assert_true(d.identity_unverified);
    who = (struct sts_identity){.kind = IDENTITY_SERIAL, .serial_len = 21};
    memcpy(who.ski, access_issuer_by_id(a, FLEET)->ski, sizeof who.ski);
    memset(who.serial, 0, sizeof who.serial);
    who.serial_len = 20;
    who.serial[0] = 0x11;
    who.serial[19] = 11;
    d = asked(&all, who, NOW, 0);
    is(d, DECISION_OK);
    assert_true(d.identity_unverified);
    who.serial[19] = 12;
    is(asked(&all, who, NOW, 0), DECISION_UNKNOWN_SERIAL);
    who.ski[0] ^= 1;
    is(asked(&all, who, NOW, 0), DECISION_UNKNOWN_ISSUER);
}

static void what_is_not_known_is_denied(void **state)
{
    struct conf_audience all = everybody();
    struct sts_identity who = by_cert(FLEET, 11);

    (void)state;
    is(asked(&all, (struct sts_identity){0}, NOW, 0), DECISION_NO_IDENTITY);
    is(asked(&all, by_cert(FLEET, 99), NOW, 0), DECISION_UNKNOWN_SERIAL);
    who.der_hash[31] ^= 1; /* the same serial, another certificate */
    is(asked(&all, who, NOW, 0), DECISION_UNKNOWN_SERIAL);
    memset(who.ski, 0, sizeof who.ski);
    is(asked(&all, who, NOW, 0), DECISION_UNKNOWN_ISSUER);
}

static void the_status_of_the_certificate_decides(void **state)
{
    struct conf_audience all = everybody();
    struct sts_decision d;

    (void)state;
    put(row(FLEET, 11, CERT_ON_HOLD, REASON_CERTIFICATE_HOLD));
    d = asked(&all, by_cert(FLEET, 11), NOW, 0);
    is(d, DECISION_ON_HOLD);
    assert_true(d.close);
    assert_int_equal(d.cache_s, 5);
    assert_int_equal(d.revoked_at, NOW - 100);
    assert_int_equal(d.scope, SCOPE_NONE);
    put(row(FLEET, 11, CERT_GOOD, REASON_UNSPECIFIED));
    is(asked(&all, by_cert(FLEET, 11), NOW, 0), DECISION_OK);
    put(row(FLEET, 11, CERT_REVOKED, REASON_KEY_COMPROMISE));
    d = asked(&all, by_cert(FLEET, 11), NOW, 0);
    is(d, DECISION_REVOKED);
    assert_true(d.close);
    assert_int_equal(d.cache_s, 300);
    assert_int_equal(d.revocation_reason, REASON_KEY_COMPROMISE);
    put(row(FLEET, 11, CERT_GOOD, REASON_UNSPECIFIED)); /* never */
    is(asked(&all, by_cert(FLEET, 11), NOW, 0), DECISION_REVOKED);
}

static void the_status_of_the_cas_above_decides(void **state)
{
    struct conf_audience all = everybody();

    (void)state;
    put(row(ROOT, 2, CERT_ON_HOLD, REASON_CERTIFICATE_HOLD));
    is(asked(&all, by_cert(FLEET, 11), NOW, 0), DECISION_ON_HOLD);
    put(row(ROOT, 2, CERT_REVOKED, REASON_CA_COMPROMISE));
    is(asked(&all, by_cert(FLEET, 11), NOW, 0), DECISION_REVOKED);
    assert_int_equal(asked(&all, by_cert(FLEET, 11), NOW, 0).revocation_reason, REASON_CA_COMPROMISE);
    access_issuers_begin(a);
    add_issuer(ROOT, "root", 1, ROOT);
    access_issuers_end(a);
    is(asked(&all, by_cert(FLEET, 11), NOW, 0), DECISION_UNKNOWN_ISSUER);
}

static void the_dates_decide(void **state)
{
    struct conf_audience all = everybody();
    struct sts_identity who = by_cert(FLEET, 11);

    (void)state;
    is(asked(&all, who, LATER, 0), DECISION_OK);
    is(asked(&all, who, LATER + 1, 0), DECISION_EXPIRED);
    is(asked(&all, who, NOW - DAY, 0), DECISION_OK);
    is(asked(&all, who, NOW - DAY - 1, 0), DECISION_NOT_YET_VALID);
}

static void the_state_of_the_device_decides(void **state)
{
    /* what the owner's certificate and the birth certificate may do */
    static const struct {
        enum device_state state;
        enum access_scope owner, birth;
    } cases[DEVICE_STATES] = {
        {DEVICE_DECLARED, SCOPE_NONE, SCOPE_NONE},        {DEVICE_KEYED, SCOPE_ENROLL, SCOPE_ENROLL},
        {DEVICE_PROVISIONED, SCOPE_LINE, SCOPE_LINE},     {DEVICE_CONFIRMED, SCOPE_LINE, SCOPE_LINE},
        {DEVICE_SHIPPED, SCOPE_ENROLL, SCOPE_ENROLL},     {DEVICE_IN_SERVICE, SCOPE_FULL, SCOPE_ENROLL},
        {DEVICE_SUSPENDED, SCOPE_NONE, SCOPE_NONE},       {DEVICE_QUARANTINED, SCOPE_UPDATE, SCOPE_ENROLL},
        {DEVICE_COMPROMISED, SCOPE_NONE, SCOPE_NONE},     {DEVICE_LOST, SCOPE_NONE, SCOPE_NONE},
        {DEVICE_TRANSFERRING, SCOPE_ENROLL, SCOPE_ENROLL}, {DEVICE_IN_REPAIR, SCOPE_REPAIR, SCOPE_REPAIR},
        {DEVICE_DECOMMISSIONED, SCOPE_NONE, SCOPE_NONE},  {DEVICE_DISPOSED, SCOPE_NONE, SCOPE_NONE},
        {DEVICE_SCRAPPED, SCOPE_NONE, SCOPE_NONE},
    };
    struct conf_audience all = everybody(), one = everybody();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const enum access_scope scopes[] = {cases[i].owner, cases[i].birth};

        print_message("%s\n", device_state_name(cases[i].state));
        device(7, cases[i].state, "acme", "lock", "1.2.3");
        for (int birth = 0; birth < 2; birth++) {
            struct sts_decision d = asked(&all, by_cert(FLEET, birth ? 10 : 11), NOW, 0);
            enum access_scope scope = scopes[birth];

            assert_int_equal(d.scope, scope);
            is(d, scope == SCOPE_NONE ? DECISION_DEVICE_DISABLED : scope == SCOPE_FULL ? DECISION_OK : DECISION_SCOPE);
            assert_int_equal(d.close, scope == SCOPE_NONE);
            one.scopes = 1u << scope;
            if (scope != SCOPE_NONE)
                is(asked(&one, by_cert(FLEET, birth ? 10 : 11), NOW, 0), DECISION_OK);
        }
    }
    device(7, DEVICE_DISPOSED, "acme", "lock", "1.2.3");
    assert_int_equal(asked(&all, by_cert(FLEET, 11), NOW, 0).cache_s, 300);
    device(7, DEVICE_SUSPENDED, "acme", "lock", "1.2.3");
    assert_int_equal(asked(&all, by_cert(FLEET, 11), NOW, 0).cache_s, 5);
}

static void the_audience_decides(void **state)
{
    char *acme[] = {(char *)(uintptr_t) "acme"}, *other[] = {(char *)(uintptr_t) "other"};
    char *blocked[] = {(char *)(uintptr_t) "1.1*", (char *)(uintptr_t) "1.2.3"}, *begins[] = {(char *)(uintptr_t) "1.2*"};
    struct conf_audience rules = everybody();
    struct conf_audience built_in;
    struct conf conf = {.audiences = &rules, .audiences_n = 1};

    (void)state;
    is(asked(NULL, by_cert(FLEET, 11), NOW, 0), DECISION_POLICY);
    rules.domains = (struct conf_strings){acme, 1};
    is(asked(&rules, by_cert(FLEET, 11), NOW, 0), DECISION_OK);
    rules.domains = (struct conf_strings){other, 1};
    is(asked(&rules, by_cert(FLEET, 11), NOW, 0), DECISION_POLICY);
    rules = everybody();
    rules.products = (struct conf_strings){other, 1};
    is(asked(&rules, by_cert(FLEET, 11), NOW, 0), DECISION_POLICY);
    rules = everybody();
    rules.firmware_blocked = (struct conf_strings){blocked, 1};
    is(asked(&rules, by_cert(FLEET, 11), NOW, 0), DECISION_OK);
    rules.firmware_blocked.n = 2;
    is(asked(&rules, by_cert(FLEET, 11), NOW, 0), DECISION_FIRMWARE_BLOCKED);
    rules.firmware_blocked = (struct conf_strings){begins, 1};
    is(asked(&rules, by_cert(FLEET, 11), NOW, 0), DECISION_FIRMWARE_BLOCKED);
    rules.name = (char *)(uintptr_t) "door";
    assert_ptr_equal(audience_find(&conf, "door", &built_in), &rules);
    assert_ptr_equal(audience_find(&conf, "", &built_in), &built_in);
    assert_int_equal(built_in.scopes, 1 << SCOPE_FULL);
    assert_null(audience_find(&conf, "window", &built_in));
}

static void the_rules_have_a_version(void **state)
{
    struct conf_audience rules = everybody();
    struct conf conf = {.audiences = &rules, .audiences_n = 1};
    uint32_t before;

    (void)state;
    rules.name = (char *)(uintptr_t) "door";
    before = audiences_version(conf.audiences, conf.audiences_n);
    assert_int_equal(audiences_version(conf.audiences, conf.audiences_n), before);
    rules.scopes |= 1 << SCOPE_UPDATE;
    assert_int_not_equal(audiences_version(conf.audiences, conf.audiences_n), before);
}

static void old_data_admits_the_known_good_for_a_while(void **state)
{
    struct conf_audience all = everybody();

    (void)state;
    is(asked(&all, by_cert(FLEET, 11), NOW, DAY), DECISION_OK);
    is(asked(&all, by_cert(FLEET, 11), NOW, DAY + 1), DECISION_STALE_DATA);
    is(asked(&all, by_cert(FLEET, 99), NOW, DAY + 1), DECISION_UNKNOWN_SERIAL);
    assert_true(asked(&all, by_cert(FLEET, 11), NOW, 7 * DAY).allow);
    assert_false(asked(&all, by_cert(FLEET, 11), NOW, 7 * DAY + 1).allow);
    assert_int_equal(asked(&all, by_cert(FLEET, 11), NOW, 7 * DAY + 1).reason, DECISION_STALE_DATA);
    put(row(FLEET, 11, CERT_REVOKED, REASON_SUPERSEDED));
    is(asked(&all, by_cert(FLEET, 11), NOW, 8 * DAY), DECISION_REVOKED);
}

static void only_devices_are_admitted_and_only_gateways_ask(void **state)
{
    struct conf_audience all = everybody();
    uint8_t hash[32];

    (void)state;
    issue(FLEET, 20, PROFILE_GATEWAY, 0);
    is(asked(&all, by_cert(FLEET, 20), NOW, 0), DECISION_POLICY);
    hash_of(FLEET, 20, hash);
    assert_true(caller_is_gateway(a, hash, NOW));
    assert_false(caller_is_gateway(a, hash, LATER + 1));
    hash_of(FLEET, 11, hash);
    assert_false(caller_is_gateway(a, hash, NOW)); /* a device's */
    hash_of(FLEET, 21, hash);
    assert_false(caller_is_gateway(a, hash, NOW)); /* nobody's */
    hash_of(FLEET, 20, hash);
    put(row(FLEET, 20, CERT_ON_HOLD, REASON_CERTIFICATE_HOLD));
    assert_false(caller_is_gateway(a, hash, NOW));
    put(row(FLEET, 20, CERT_GOOD, REASON_UNSPECIFIED));
    assert_true(caller_is_gateway(a, hash, NOW));
    put(row(ROOT, 2, CERT_REVOKED, REASON_CA_COMPROMISE));
    assert_false(caller_is_gateway(a, hash, NOW));
}

/* ---- the table ---- */

static void a_row_says_whom_it_concerns(void **state)
{
    struct access_change c;
    uint32_t n;

    (void)state;
    c = put(row(FLEET, 11, CERT_ON_HOLD, REASON_CERTIFICATE_HOLD));
    assert_int_not_equal(c.cert, ACCESS_NONE);
    assert_int_equal(c.device, ACCESS_NONE);
    device(7, DEVICE_SUSPENDED, "acme", "lock", "1.2.3");
    c = about_device(7);
    assert_int_equal(c.cert, ACCESS_NONE);
    assert_int_not_equal(c.device, ACCESS_NONE);
    n = access_first_cert(a, c.device);
    assert_int_equal(n, access_find_serial(a, FLEET, BYTES("\x11\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0b", 20)));
    n = access_next_cert(a, n);
    assert_int_not_equal(n, ACCESS_NONE);
    assert_int_equal(access_next_cert(a, n), ACCESS_NONE);
    device(7, DEVICE_LOST, "acme", "lock", "1.2.3"); /* told before a row about one of its certificates */
    {
        struct status_row r = row(FLEET, 11, CERT_REVOKED, REASON_PRIVILEGE_WITHDRAWN);

        r.device = 7;
        assert_int_not_equal(put(r).device, ACCESS_NONE);
        r = row(FLEET, 10, CERT_ON_HOLD, REASON_CERTIFICATE_HOLD);
        r.device = 7;
        assert_int_equal(put(r).device, ACCESS_NONE); /* once is enough */
    }
}

static void serials_are_numbers(void **state)
{
    struct status_row r = {.seq = ++next_seq, .issuer = FLEET, .status = CERT_REVOKED, .time = NOW, .serial = {0, 0, 5}, .serial_len = 3};
    uint32_t n;

    (void)state;
    n = put(r).cert;
    assert_int_equal(access_find_serial(a, FLEET, BYTES("\x05", 1)), n);
    assert_int_equal(access_find_serial(a, FLEET, BYTES("\0\x05", 2)), n);
    assert_int_equal(access_find_serial(a, ROOT, BYTES("\x05", 1)), ACCESS_NONE);
    assert_int_equal(access_find_serial(a, FLEET, BYTES("\0", 1)), ACCESS_NONE);
}

static void many_are_found_again_and_take_little_memory(void **state)
{
    const uint64_t many = 200000;
    size_t before;
    uint8_t hash[32];

    (void)state;
    before = access_octets(a);
    for (uint64_t i = 0; i < many; i++) {
        device(1000 + i, i % 3 ? DEVICE_IN_SERVICE : DEVICE_LOST, "acme", i % 2 ? "lock" : "door", "2.0");
        issue(FLEET, 1000 + i, PROFILE_LDEVID, 1000 + i);
    }
    assert_int_equal(access_certs(a), many + 4);
    assert_int_equal(access_devices(a), many + 1);
    print_message("%zu octets for each certificate with its device\n", (access_octets(a) - before) / many);
    assert_true((access_octets(a) - before) / many < 180);
    for (uint64_t i = 0; i < many; i += 7) {
        struct access_cert c;
        struct access_device d;
        uint32_t n;

        hash_of(FLEET, 1000 + i, hash);
        n = access_find_hash(a, hash);
        assert_int_not_equal(n, ACCESS_NONE);
        access_get_cert(a, n, &c);
        assert_int_equal(get_be64(c.serial.p + 12), 1000 + i);
        assert_int_equal(access_find_serial(a, FLEET, c.serial), n);
        access_get_device(a, c.device, &d);
        assert_int_equal(d.id, 1000 + i);
        assert_int_equal(d.state, i % 3 ? DEVICE_IN_SERVICE : DEVICE_LOST);
        assert_string_equal(d.product, i % 2 ? "lock" : "door");
        assert_int_equal(access_find_device(a, d.id), c.device);
    }
    hash_of(FLEET, 1000 + many, hash);
    assert_int_equal(access_find_hash(a, hash), ACCESS_NONE);
    access_reset(a);
    assert_int_equal(access_certs(a), 0);
}

/* ---- a unit with a new owner ---- */

static uint64_t owner_of(uint64_t number)
{
    struct access_device d;
    struct access_cert c;
    uint8_t hash[32];

    hash_of(FLEET, number, hash);
    access_get_cert(a, access_find_hash(a, hash), &c);
    access_get_device(a, c.device, &d);
    return d.id;
}

static size_t certs_of(uint64_t device)
{
    size_t n = 0;

    for (uint32_t c = access_first_cert(a, access_find_device(a, device)); c != ACCESS_NONE; c = access_next_cert(a, c))
        n++;
    return n;
}

static void a_birth_certificate_goes_with_the_unit(void **state)
{
    struct conf_audience all = everybody();
    struct status_row hold = row(FLEET, 10, CERT_ON_HOLD, REASON_CERTIFICATE_HOLD);
    struct sts_decision d;

    (void)state;
    moved_device(7, DEVICE_DECOMMISSIONED, "acme", "lock", "1.2.3", 8);
    device(8, DEVICE_SHIPPED, "beta", "lock", "1.2.3");
    assert_int_equal(about_device(7).device, access_find_device(a, 7));
    assert_int_equal(about_device(8).device, access_find_device(a, 8));
    d = asked(&all, by_cert(FLEET, 10), NOW, 0);
    is(d, DECISION_SCOPE);
    assert_string_equal(d.domain, "beta");
    assert_int_equal(d.state, DEVICE_SHIPPED);
    assert_int_equal(d.scope, SCOPE_ENROLL);
    assert_int_equal(owner_of(11), 7); /* what acme had it for stays acme's */
    assert_int_equal(certs_of(7), 1);
    assert_int_equal(certs_of(8), 1);
    /* Rows go on to name the device it was issued for. */
    device(8, DEVICE_LOST, "beta", "lock", "1.2.3");
    hold.device = 7;
    put(hold);
    assert_int_equal(owner_of(10), 8);
    is(asked(&all, by_cert(FLEET, 10), NOW, 0), DECISION_ON_HOLD);
    /* And back again. */
    moved_device(8, DEVICE_DECOMMISSIONED, "beta", "lock", "1.2.3", 7);
    device(7, DEVICE_SHIPPED, "acme", "lock", "1.2.3");
    assert_int_equal(owner_of(10), 7);
    assert_int_equal(certs_of(7), 2);
    assert_int_equal(certs_of(8), 0);
}

/* From a replica: the devices first, in the order of their rows. */
static void a_birth_certificate_finds_its_unit_over_several_owners(void **state)
{
    (void)state;
    moved_device(20, DEVICE_DECOMMISSIONED, "acme", "lock", "1", 22);
    device(21, DEVICE_SHIPPED, "gamma", "lock", "1");
    moved_device(22, DEVICE_DECOMMISSIONED, "beta", "lock", "1", 21);
    issue(FLEET, 30, PROFILE_IDEVID, 20);
    issue(FLEET, 31, PROFILE_LDEVID, 20);
    assert_int_equal(owner_of(30), 21);
    assert_int_equal(owner_of(31), 20);
}

/* Five hundred devices, each with a certificate a year; all of the table is swept after each year. */
static void what_ended_long_ago_gives_its_memory_to_what_comes(void **state)
{
    const int64_t year = 365 * DAY;
    uint8_t hash[32];
    size_t octets = 0;
    uint32_t numbers = 0;

    (void)state;
    for (uint64_t y = 0; y < 12; y++) {
        for (uint64_t d = 0; d < 500; d++) {
            struct status_row r = row(FLEET, 1000 + 500 * y + d, CERT_GOOD, REASON_UNSPECIFIED);

            r.kind = PROFILE_LDEVID;
            r.has_hash = true;
            hash_of(FLEET, 1000 + 500 * y + d, r.der_hash);
            r.device = 100 + d;
            r.not_after = NOW + ((int64_t)y + 1) * year;
            put(r);
        }
        access_sweep(a, access_cert_numbers(a), NOW + (int64_t)y * year);
        for (uint64_t k = 0; k < 500 * (y + 1); k++) { /* the newest two of each are there, and nothing else */
            bool there = k / 500 + 1 >= y;
            uint32_t n;

            hash_of(FLEET, 1000 + k, hash);
            n = access_find_hash(a, hash);
            if ((n != ACCESS_NONE) != there)
                fail_msg("in year %d, that of year %d is %sthere", (int)y, (int)(k / 500), there ? "not " : "");
            if (there) {
                struct access_cert c;

                access_get_cert(a, n, &c);
                assert_memory_equal(c.der_hash, hash, sizeof hash);
                assert_int_equal(access_find_serial(a, FLEET, c.serial), n);
            }
        }
        assert_int_equal(certs_of(100), y ? 2 : 1);
        if (y == 2) {
            octets = access_octets(a);
            numbers = (uint32_t)access_cert_numbers(a);
        }
    }
    /* Slots of indexes: a quarter of the pieces had none after the first years, and the key, which is random, says which. */
    assert_true(access_octets(a) <= octets + 32 * 1024);
    assert_int_equal(access_cert_numbers(a), numbers);
    assert_int_equal(access_certs(a), 1002); /* with the two of CAs; those of device 7 ended long ago */
    access_sweep(a, access_cert_numbers(a), INT64_MAX);
    assert_int_equal(access_certs(a), 2);
    assert_int_equal(certs_of(100), 0);
}

static void what_is_held_stays_where_it_is(void **state)
{
    uint32_t n;

    (void)state;
    access_hold(a, true);
    access_sweep(a, 100, LATER + 1);
    assert_int_equal(access_certs(a), 4);
    access_hold(a, false);
    access_sweep(a, 100, LATER); /* not before it */
    assert_int_equal(access_certs(a), 4);
    access_sweep(a, 100, LATER + 1);
    assert_int_equal(access_certs(a), 2);
    access_hold(a, true);
    n = issue(FLEET, 30, PROFILE_LDEVID, 7).cert;
    assert_int_equal(n, 4);
    access_hold(a, false);
    n = issue(FLEET, 31, PROFILE_LDEVID, 7).cert;
    assert_true(n == 2 || n == 3);
    assert_int_equal(certs_of(7), 2);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, world, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(a_good_unit_is_admitted_and_described),
        IN_WORLD(a_unit_is_known_by_fingerprint_and_by_serial_unverified),
        IN_WORLD(what_is_not_known_is_denied),
        IN_WORLD(the_status_of_the_certificate_decides),
        IN_WORLD(the_status_of_the_cas_above_decides),
        IN_WORLD(the_dates_decide),
        IN_WORLD(the_state_of_the_device_decides),
        IN_WORLD(the_audience_decides),
        IN_WORLD(the_rules_have_a_version),
        IN_WORLD(old_data_admits_the_known_good_for_a_while),
        IN_WORLD(only_devices_are_admitted_and_only_gateways_ask),
        IN_WORLD(a_row_says_whom_it_concerns),
        IN_WORLD(serials_are_numbers),
        IN_WORLD(a_birth_certificate_goes_with_the_unit),
        IN_WORLD(a_birth_certificate_finds_its_unit_over_several_owners),
        IN_WORLD(many_are_found_again_and_take_little_memory),
        IN_WORLD(what_ended_long_ago_gives_its_memory_to_what_comes),
        IN_WORLD(what_is_held_stays_where_it_is),
    };

    return cmocka_run_group_tests_name("access", tests, NULL, NULL);
}
