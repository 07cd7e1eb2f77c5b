/* SPDX-License-Identifier: Apache-2.0 */
/* The CRL linter: for every rule one TBSCertList that it alone rejects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>
#include <time.h>

#include <cmocka.h>

#include "tests/lib/lint_cases.h"

#define TITLE       "CRLs"
#define THIS_UPDATE 1795305600 /* 2026-11-22T00:00:00Z */
#define ARRAY(a)    (a), sizeof(a) / sizeof(a)[0]

/* ---- a good full CRL of three entries ---- */

static const char *const base[] = {
    "object=$tbs $after",
    "after=",
    "tbs=30{ $version $sig $issuer $this $next $revoked $exts $tail }",
    "version=02{01}",
    "sig=30{06{2a8648ce3d040302}}",
    "issuer=$issuer_name",
    "issuer_name=30{31{30{06{550403} 0c{'Fleet CA 1'}}}}",
    "this=17{'261122000000Z'}",
    "next=17{'261129000000Z'}",
    "tail=",

    "revoked=30{$e1 $e2 $e3}",
    "e1=30{02{$s1} $d1 $x1}",
    "s1=11*19{33}",
    "d1=17{'261001000000Z'}",
    "x1=",
    "e2=30{02{$s2} 17{'261122000000Z'} 30{$reason $entry_more}}",
    "s2=22*19{33}",
    "reason=30{06{551d15} $reason_c 04{$reason_v}}",
    "reason_c=",
    "reason_v=0a{01}",
    "entry_more=",
    "e3=30{02{$s3} 17{'261101000000Z'} 30{30{06{551d15} 04{0a{06}}} $invalidity}}",
    "s3=33*19{33}",
    "invalidity=30{06{551d18} 04{$invalidity_v}}",
    "invalidity_v=18{'20261030000000Z'}",

    "exts=a0{30{$aki $number $idp $more}}",
    "aki=30{06{551d23} $aki_c 04{$aki_v}}",
    "aki_c=",
    "aki_v=30{80{$issuer_ski}}",
    "issuer_ski=*20{a1}",
    "number=30{06{551d14} $number_c 04{$number_v}}",
    "number_c=",
    "number_v=02{6b01}",
    "idp=",
    "idp_there=30{06{551d1c} $idp_c 04{30{$idp_point $flags}}}",
    "idp_c=0101ff",
    "idp_point=a0{a0{86{$idp_url}}}",
    "idp_url='http://pki.example/crl/fleet-3.crl'",
    "flags=81{ff}",
    "more=",
};

static struct lint_crl_expect x;

static void world_reset(struct derb_vars *vars)
{
    for (size_t i = 0; i < sizeof base / sizeof base[0]; i++)
        derb_set(vars, base[i]);
    x = (struct lint_crl_expect){
        .sig_alg = SIG_ECDSA_SHA256,
        .crl_number = 0x6b01,
        .now = THIS_UPDATE + 300,
        .previous_this_update = THIS_UPDATE - 3600,
        .entries = 3,
    };
}

static size_t world_build(const struct derb_vars *vars, uint8_t *out, size_t max)
{
    static uint8_t issuer[256], ski[32];

    x.issuer_subject = BYTES(issuer, derb(issuer, sizeof issuer, vars, "$issuer_name"));
    x.issuer_ski = BYTES(ski, derb(ski, sizeof ski, vars, "$issuer_ski"));
    return derb(out, max, vars, "$object");
}

static void world_lint(const struct derb_vars *vars, struct lint_report *out)
{
    static uint8_t object[8192];

    lint_crl(BYTES(object, world_build(vars, object, sizeof object)), &x, out);
}

/* ---- other expectations ---- */

static void rsa_issuer(void)
{
    x.sig_alg = SIG_RSA_SHA256;
}

static void now_is_this_update(void)
{
    x.now = THIS_UPDATE;
}

static void now_is_a_second_earlier(void)
{
    x.now = THIS_UPDATE - 1;
}

static void now_is_ten_minutes_later(void)
{
    x.now = THIS_UPDATE + 600;
}

static void now_is_a_second_more(void)
{
    x.now = THIS_UPDATE + 601;
}

static void previous_a_second_before(void)
{
    x.previous_this_update = THIS_UPDATE - 1;
}

static void previous_in_the_same_second(void)
{
    x.previous_this_update = THIS_UPDATE;
}

static void in_2055(void)
{
    x.now = 2682374400; /* 2055-01-01 */
}

static void nothing_revoked(void)
{
    x.entries = 0;
}

static void four_entries(void)
{
    x.entries = 4;
}

static void a_shard(void)
{
    x.idp_url = "http://pki.example/crl/fleet-3.crl";
}
#define A_SHARD "idp=$idp_there"

static void number_of_20_octets(void)
{
    x.crl_number = UINT64_MAX;
}

static void number_above_half(void)
{
    x.crl_number = 0x8001;
}

/* ---- the cases ---- */

static const struct lint_case cases[] = {
    {"crl.tbs.one", "is followed by an element", .bad = {"after=0500"}},
    {"crl.tbs.one", "is a SET", .bad = {"object=31{0500}"}},
    {"crl.tbs.fields", "has no issuer", .bad = {"issuer="}},
    {"crl.tbs.fields", "has an OCTET STRING for thisUpdate", .bad = {"this=04{'261122000000Z'}"}},
    {"crl.tbs.trailing", "has an element behind the extensions", .bad = {"tail=0500"}},
    {"crl.version.v2", "has no version", .bad = {"version="}},
    {"crl.version.v2", "is v1", .bad = {"version=02{00}"}},
    {"crl.signature.form", "has an INTEGER for the algorithm", .bad = {"sig=30{02{01}}"}},
    {"crl.signature.algorithm", "has another hash", .bad = {"sig=30{06{2a8648ce3d040303}}"}},
    {"crl.signature.parameters", "has NULL for ECDSA", .bad = {"sig=30{06{2a8648ce3d040302} 0500}"}},
    {"crl.signature.parameters", "has nothing for RSA", .setup = rsa_issuer, .bad = {"sig=30{06{2a864886f70d01010b}}"},
     .good = {"sig=30{06{2a864886f70d01010b} 0500}"}},
    {"crl.issuer.empty", "has no name as issuer", .bad = {"issuer=30{}"}},
    {"crl.issuer.identical", "has the issuer in another string type",
     .bad = {"issuer=30{31{30{06{550403} 13{'Fleet CA 1'}}}}"}},

    {"crl.this_update.form", "has no seconds", .bad = {"this=17{'2611220000Z'}"}},
    {"crl.this_update.form", "has a fraction", .bad = {"this=18{'20261122000000.5Z'}"}},
    {"crl.this_update.type", "has GeneralizedTime before 2050", .bad = {"this=18{'20261122000000Z'}"}},
    {"crl.this_update.future", "is from the next second", .setup = now_is_this_update,
     .setup_bad = now_is_a_second_earlier},
    {"crl.this_update.stale", "is 10 minutes and a second old", .setup = now_is_ten_minutes_later,
     .setup_bad = now_is_a_second_more},
    {"crl.this_update.rises", "is from the second of the previous list", .setup = previous_a_second_before,
     .setup_bad = previous_in_the_same_second},
    {"crl.next_update.present", "has no nextUpdate", .bad = {"next="}},
    {"crl.next_update.form", "has an offset", .bad = {"next=17{'261129000000+0900'}"}},
    {"crl.next_update.type", "has GeneralizedTime before 2050", .bad = {"next=18{'20261129000000Z'}"}},
    {"crl.next_update.past", "ended already", .bad = {"next=17{'261122000500Z'}"},
     .good = {"next=17{'261122000501Z'}"}},
    {"crl.next_update.far", "lasts 401 days", .bad = {"next=17{'271228000000Z'}"},
     .good = {"next=17{'271227000000Z'}"}},

    {"crl.next_update.far", "lasts 401 days from 2055 on", .setup = in_2055, .common = {"this=18{'20550101000000Z'}"},
     .bad = {"next=18{'20560206000000Z'}"}, .good = {"next=18{'20560205000000Z'}"}},

    {"crl.entries.empty", "has an empty list of entries", .setup = nothing_revoked, .bad = {"revoked=30{}"},
     .good = {"revoked="}},
    {"crl.entries.count", "has an entry less than the ledger", .setup_bad = four_entries},
    {"crl.entries.count", "has entries where nothing is revoked", .setup_bad = nothing_revoked},
    {"crl.entry.form", "has an entry without date", .bad = {"d1="}},
    {"crl.entry.form", "has an entry with four fields", .bad = {"x1=30{$reason} 0500"}, .good = {"x1=30{$reason}"}},
    {"crl.entry.form", "has a SET among the entries", .bad = {"e1=31{02{$s1} $d1}"}},
    {"crl.entry.serial", "has serial zero", .bad = {"s1=00"}, .good = {"s1=01"}},
    {"crl.entry.serial", "has a negative serial", .bad = {"s1=ff*19{33}"}},
    {"crl.entry.serial", "has a padded serial", .bad = {"s1=00 11"}},
    {"crl.entry.serial", "has a serial of 21 octets", .bad = {"s3=33*20{33}"}},
    {"crl.entry.serial", "has an empty serial", .bad = {"s1="}},
    {"crl.entry.duplicate", "has a serial twice", .bad = {"s2=$s1"}},
    {"crl.entry.order", "has a greater serial first", .bad = {"s1=22*19{34}"}, .good = {"s1=22*19{32}"}},
    {"crl.entry.order", "has a longer serial first", .bad = {"s1=00ca*18{33}", "s2=22", "s3=33*19{33}"},
     .good = {"s1=22", "s2=00ca*18{33}", "s3=33*19{33}"}},
    {"crl.entry.date_form", "has a date without seconds", .bad = {"d1=17{'2610010000Z'}"}},
    {"crl.entry.date_type", "has GeneralizedTime before 2050", .bad = {"d1=18{'20261001000000Z'}"}},
    {"crl.entry.date_late", "has a date after thisUpdate", .bad = {"d1=17{'261122000001Z'}"},
     .good = {"d1=17{'261122000000Z'}"}},
    {"crl.entry.extensions_empty", "has an empty list of entry extensions", .bad = {"x1=30{}"}},
    {"crl.entry.extension_form", "has an entry extension without OID", .bad = {"entry_more=30{04{0500}}"}},
    {"crl.entry.extension_form", "has an entry extension without value", .bad = {"reason=30{06{551d15} 0400}"}},
    {"crl.entry.extension_critical", "has a critical reason", .bad = {"reason_c=0101ff"}},
    {"crl.entry.extension_critical", "has critical FALSE written", .bad = {"reason_c=010100"}},
    {"crl.entry.extension_duplicate", "has two reasons", .bad = {"entry_more=$reason"}},
    {"crl.entry.extension_known", "has a certificateIssuer",
     .bad = {"entry_more=30{06{551d1d} 04{30{a4{$issuer_name}}}}"}},
    {"crl.entry.extension_known", "has a holdInstructionCode",
     .bad = {"entry_more=30{06{551d17} 04{06{2a8648ce380201}}}"}},
    {"crl.reason.form", "has an INTEGER as reason", .bad = {"reason_v=02{01}"}},
    {"crl.reason.form", "has reason 7", .bad = {"reason_v=0a{07}"}},
    {"crl.reason.form", "has reason 11", .bad = {"reason_v=0a{0b}"}, .good = {"reason_v=0a{0a}"}},
    {"crl.reason.unspecified", "has reason unspecified", .bad = {"reason_v=0a{00}"}},
    {"crl.reason.remove", "has removeFromCRL", .bad = {"reason_v=0a{08}"}, .good = {"reason_v=0a{09}"}},
    {"crl.invalidity.form", "has UTCTime as invalidityDate", .bad = {"invalidity_v=17{'261030000000Z'}"}},
    {"crl.invalidity.late", "has an invalidityDate to come", .bad = {"invalidity_v=18{'20261122000001Z'}"},
     .good = {"invalidity_v=18{'20261122000000Z'}"}},

    {"crl.extensions.present", "has no extensions", .bad = {"exts="}},
    {"crl.extensions.form", "has an empty list of extensions", .bad = {"exts=a0{30{}}"}},
    {"crl.extension.form", "has an extension without OID", .bad = {"more=30{04{0500}}"}},
    {"crl.extension.critical_true", "has critical TRUE as 0x01", .bad = {"aki_c=010101"}},
    {"crl.extension.critical_default", "has critical FALSE written", .bad = {"number_c=010100"}},
    {"crl.extension.empty", "has an empty cRLNumber", .bad = {"number_v="}},
    {"crl.extension.duplicate", "has cRLNumber twice", .bad = {"more=$number"}},
    {"crl.extension.known", "has an issuerAltName", .bad = {"more=30{06{551d12} 04{30{82{'a.example'}}}}"}},
    {"crl.aki.present", "has no authorityKeyIdentifier", .bad = {"aki="}},
    {"crl.aki.critical", "has a critical authorityKeyIdentifier", .bad = {"aki_c=0101ff"}},
    {"crl.aki.form", "has an empty authorityKeyIdentifier", .bad = {"aki_v=30{}"}},
    {"crl.aki.issuer_serial", "names its issuer by name and serial",
     .bad = {"aki_v=30{80{$issuer_ski} a1{a4{$issuer_name}} 82{01}}"}},
    {"crl.aki.key_id", "names another key", .bad = {"aki_v=30{80{*20{a2}}}"}},
    {"crl.number.present", "has no cRLNumber", .bad = {"number="}},
    {"crl.number.critical", "has a critical cRLNumber", .bad = {"number_c=0101ff"}},
    {"crl.number.form", "has a negative cRLNumber", .setup = number_above_half, .bad = {"number_v=02{8001}"},
     .good = {"number_v=02{008001}"}},
    {"crl.number.form", "has a cRLNumber of 21 octets", .setup = number_of_20_octets, .bad = {"number_v=02{11*20{11}}"},
     .good = {"number_v=02{00*8{ff}}"}},
    {"crl.number.reserved", "has another number than reserved", .bad = {"number_v=02{6b02}"}},
    {"crl.number.reserved", "has a number of 20 octets that ends alike", .bad = {"number_v=02{01*17{00}6b01}"}},
    {"crl.idp.expected", "is a shard without issuingDistributionPoint", .setup = a_shard, .good = {A_SHARD}},
    {"crl.idp.expected", "is a full list with issuingDistributionPoint", .bad = {A_SHARD}},
    {"crl.idp.critical", "has an issuingDistributionPoint that is not critical", .setup = a_shard, .common = {A_SHARD},
     .bad = {"idp_c="}},
    {"crl.idp.form", "has an empty issuingDistributionPoint", .setup = a_shard, .common = {A_SHARD},
     .bad = {"idp_point=", "flags="}, .good = {"flags="}},
    {"crl.idp.form", "has a FALSE flag written", .setup = a_shard, .common = {A_SHARD}, .bad = {"flags=81{ff} 84{00}"}},
    {"crl.idp.form", "has two addresses", .setup = a_shard, .common = {A_SHARD},
     .bad = {"idp_point=a0{a0{86{$idp_url} 86{$idp_url}}}"}},
    {"crl.idp.uri", "has the address of another shard", .setup = a_shard, .common = {A_SHARD},
     .bad = {"idp_url='http://pki.example/crl/fleet-4.crl'"}},
    {"crl.idp.flags", "has only users and only CAs", .setup = a_shard, .common = {A_SHARD},
     .bad = {"flags=81{ff} 82{ff}"}, .good = {"flags=82{ff}"}},
    {"crl.idp.attribute", "has only attribute certificates", .setup = a_shard, .common = {A_SHARD},
     .bad = {"flags=85{ff}"}},
    {"crl.idp.reasons", "has some reasons", .setup = a_shard, .common = {A_SHARD}, .bad = {"flags=81{ff} 83{0640}"}},
    {"crl.idp.indirect", "is indirect", .setup = a_shard, .common = {A_SHARD}, .bad = {"flags=81{ff} 84{ff}"}},
    {"crl.delta.absent", "is a delta", .bad = {"more=30{06{551d1b} 0101ff 04{02{01}}}"}},
    {"crl.freshest.absent", "has freshestCRL", .bad = {"more=30{06{551d2e} 04{30{30{a0{a0{86{$idp_url}}}}}}}"}},
};

/* ---- tests ---- */

static void each_rule_alone_rejects_its_object(void **state)
{
    (void)state;
    lint_cases_run(ARRAY(cases));
}

static void every_rule_has_a_case(void **state)
{
    size_t n;
    const struct lint_rule *rules = lint_rules_crl(&n);

    (void)state;
    assert_true(n >= 25);
    lint_cases_cover(rules, n, ARRAY(cases));
}

static void the_page_lists_the_rules(void **state)
{
    size_t n;
    const struct lint_rule *rules = lint_rules_crl(&n);

    (void)state;
    lint_cases_page(rules, n, TITLE);
}

static void lint_object(struct bytes tbs, struct lint_report *r)
{
    lint_crl(tbs, &x, r);
}

static void broken_objects_are_survived(void **state)
{
    static uint8_t tbs[2048];
    struct derb_vars vars = {.n = 0};
    size_t len, noticed;

    (void)state;
    world_reset(&vars);
    len = world_build(&vars, tbs, sizeof tbs);
    noticed = lint_cases_mutate(tbs, len, lint_object);
    /* What may change unnoticed: serials that stay in order, digits of past dates, existing reasons. */
    print_message("%zu of %zu flipped bits noticed\n", noticed, 8 * len);
    assert_true(noticed > 8 * len / 2);
}

/* `n` entries with serials rising by two from 1; entry `odd` (if below n) takes the serial of the one before it. */
static size_t write_entries(uint8_t *out, uint32_t n, uint32_t odd)
{
    uint8_t *p = out;

    for (uint32_t i = 0; i < n; i++, p += 2 + 22 + 15 + 14) {
        static const uint8_t reason[] = {0x30, 0x0c, 0x30, 0x0a, 0x06, 0x03, 0x55,
                                         0x1d, 0x15, 0x04, 0x03, 0x0a, 0x01, 0x04};
        uint8_t *serial = p + 4;

        p[0] = 0x30;
        p[1] = 22 + 15 + 14;
        p[2] = 0x02;
        p[3] = 20;
        memset(serial, 0x11, 20);
        put_be32(serial + 16, 2 * (i == odd ? i - 1 : i) + 1);
        memcpy(p + 24,
               "\x17\x0d"
               "261001000000Z",
               15);
        memcpy(p + 39, reason, sizeof reason);
    }
    return (size_t)(p - out);
}

static size_t write_long_list(uint8_t *out, size_t max, uint32_t n, uint32_t odd)
{
    struct derb_vars vars = {.n = 0};
    uint8_t head[8192];
    struct derb_out o = {out, 0, max};
    size_t start, list, len;

    world_reset(&vars);
    (void)world_build(&vars, head, sizeof head);
    x.entries = n;
    out[o.len++] = 0x30;
    start = o.len;
    len = derb(head, sizeof head, &vars, "$version $sig $issuer $this $next");
    derb_put(&o, head, len);
    out[o.len++] = 0x30;
    list = o.len;
    o.len += write_entries(out + o.len, n, odd);
    derb_close(&o, list);
    len = derb(head, sizeof head, &vars, "$exts");
    derb_put(&o, head, len);
    derb_close(&o, start);
    return o.len;
}

static void a_long_list_needs_no_more_memory(void **state)
{
    const uint32_t n = 200000;
    const size_t max = (size_t)n * 53 + 8192;
    uint8_t *object = malloc(max);
    struct rusage before, after;
    struct timespec from, to;
    struct lint_report r;
    size_t len;

    (void)state;
    assert_non_null(object);
    len = write_long_list(object, max, n, UINT32_MAX);
    getrusage(RUSAGE_SELF, &before);
    clock_gettime(CLOCK_MONOTONIC, &from);
    lint_crl(BYTES(object, len), &x, &r);
    clock_gettime(CLOCK_MONOTONIC, &to);
    getrusage(RUSAGE_SELF, &after);
    assert_int_equal(r.n, 0);
    assert_true(after.ru_maxrss - before.ru_maxrss < 256); /* KiB */
    print_message("%.1f ns per entry\n",
                  ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / n);
    len = write_long_list(object, max, n, n - 1);
    lint_crl(BYTES(object, len), &x, &r);
    assert_int_equal(r.n, 1);
    assert_string_equal(r.finding[0]->id, "crl.entry.duplicate");
    free(object);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_alone_rejects_its_object), cmocka_unit_test(every_rule_has_a_case),
        cmocka_unit_test(the_page_lists_the_rules),           cmocka_unit_test(broken_objects_are_survived),
        cmocka_unit_test(a_long_list_needs_no_more_memory),
    };
    size_t n;
    const struct lint_rule *rules = lint_rules_crl(&n);

    if (lint_cases_list(argc, argv, rules, n, TITLE))
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
