/* SPDX-License-Identifier: Apache-2.0 */
/* The OCSP linter: for every rule one ResponseData that it alone rejects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/lib/lint_cases.h"

#define TITLE    "OCSP answers"
#define PRODUCED 1795305600 /* 2026-11-22T00:00:00Z */
#define ARRAY(a) (a), sizeof(a) / sizeof(a)[0]

/* ---- a good answer to three questions: good, revoked, unknown ---- */

static const char *const base[] = {
    "object=$data $after",
    "after=",
    "data=30{ $version $responder $produced 30{$singles} $exts $tail }",
    "version=",
    "responder=a2{04{$responder_key}}",
    "responder_key=*20{c1}",
    "produced=18{'20261122000000Z'}",
    "tail=",
    "singles=$s1 $s2 $s3",

    "s1=30{$id1 $status1 $this1 $next1 $sx1}",
    "id1=30{30{06{2b0e03021a} 0500} 04{$name_hash} 04{*20{b2}} 02{11*19{33}}}",
    "name_hash=*20{b1}",
    "status1=8000",
    "this1=18{'20261121235500Z'}",
    "next1=a0{18{'20261122010000Z'}}",
    "sx1=",
    "s2=30{$id2 $status2 $this2 a0{18{'20261122010000Z'}} $sx2}",
    "id2=30{30{06{2b0e03021a} 0500} 04{*20{b1}} 04{*20{b2}} 02{22*19{33}}}",
    "status2=a1{$revoked_at $reason}",
    "this2=18{'20261121235500Z'}",
    "revoked_at=18{'20261001000000Z'}",
    "reason=a0{0a{01}}",
    "sx2=",
    "s3=30{$id3 $status3 18{'20261121235500Z'} $next3}",
    "id3=30{30{06{608648016503040201}} 04{*32{d1}} 04{*32{d2}} 02{33*19{33}}}",
    "status3=8200",
    "next3=a0{18{'20261122000500Z'}}",

    "exts=a1{30{$nonce $extended $more}}",
    "nonce=30{06{2b0601050507300102} $nonce_c 04{$nonce_v}}",
    "nonce_c=",
    "nonce_v=04{*32{4e}}",
    "extended=",
    "extended_revoke=30{06{2b0601050507300109} 04{$extended_v}}",
    "extended_v=0500",
    "more=",

    "request=30{30{30{$asked} $request_exts}}",
    "asked=30{$id1} 30{$id2} 30{$id3}",
    "request_exts=a2{30{30{06{2b0601050507300104} 04{30{06{2b0601050507300101}}}} $nonce_asked}}",
    "nonce_asked=30{06{2b0601050507300102} 04{04{*32{4e}}}}",
};

static struct lint_ocsp_expect x;

static void world_reset(struct derb_vars *vars)
{
    for (size_t i = 0; i < sizeof base / sizeof base[0]; i++)
        derb_set(vars, base[i]);
    x = (struct lint_ocsp_expect){.now = PRODUCED, .responder_not_after = PRODUCED + 30 * 86400};
    memset(x.responder_key_hash, 0xc1, sizeof x.responder_key_hash);
}

static size_t world_build(const struct derb_vars *vars, uint8_t *out, size_t max)
{
    static uint8_t request[4096];

    x.request = BYTES(request, derb(request, sizeof request, vars, "$request"));
    return derb(out, max, vars, "$object");
}

static void world_lint(const struct derb_vars *vars, struct lint_report *out)
{
    static uint8_t object[128 * 1024];

    lint_ocsp(BYTES(object, world_build(vars, object, sizeof object)), &x, out);
}

/* ---- other expectations ---- */

static void now_is_a_second_earlier(void)
{
    x.now = PRODUCED - 1;
}

static void now_is_ten_minutes_later(void)
{
    x.now = PRODUCED + 600;
}

static void now_is_a_second_more(void)
{
    x.now = PRODUCED + 601;
}

static void responder_ends_with_the_hour(void)
{
    x.responder_not_after = PRODUCED + 3600;
}

static void responder_ends_a_second_before(void)
{
    x.responder_not_after = PRODUCED + 3599;
}

static void responder_ended(void)
{
    x.responder_not_after = PRODUCED - 1;
}

/* ---- the cases ---- */

#define NEVER "revoked_at=18{'19700101000000Z'}"
#define ONE   "singles=$s1", "asked=30{$id1}"

static const struct lint_case cases[] = {
    {"ocsp.data.size", "is longer than a message", .bad = {"tail=04{*65536{00}}"}},
    {"ocsp.data.one", "is followed by an element", .bad = {"after=0500"}},
    {"ocsp.data.one", "has a length in more octets than needed", .bad = {"object=3081020500"}},
    {"ocsp.data.fields", "has no responses", .bad = {"data=30{$responder $produced}"}},
    {"ocsp.data.fields", "has a SET of responses", .bad = {"data=30{$responder $produced 31{$singles} $exts}"}},
    {"ocsp.data.trailing", "has an element behind the extensions", .bad = {"tail=0500"}},
    {"ocsp.request.readable", "answers what is no request", .bad = {"request=30{0500}"}},
    {"ocsp.request.readable", "answers a request with a broken list", .common = {ONE}, .bad = {"asked=30{0500}"}},
    {"ocsp.version.default", "has the version v1 written", .bad = {"version=a0{02{00}}"}},
    {"ocsp.responder_id.by_key", "names the responder by name",
     .bad = {"responder=a1{30{31{30{06{550403} 0c{'x'}}}}}"}},
    {"ocsp.responder_id.form", "has a key hash of 19 octets", .bad = {"responder_key=*19{c1}"}},
    {"ocsp.responder_id.form", "has an INTEGER as key hash", .bad = {"responder=a2{02{$responder_key}}"}},
    {"ocsp.responder_id.key", "names another key", .bad = {"responder_key=*20{c2}"}},
    {"ocsp.produced_at.form", "has UTCTime", .bad = {"produced=17{'261122000000Z'}"}},
    {"ocsp.produced_at.form", "has a fraction", .bad = {"produced=18{'20261122000000.1Z'}"}},
    {"ocsp.produced_at.future", "is from the next second", .setup_bad = now_is_a_second_earlier},
    {"ocsp.produced_at.stale", "is 10 minutes and a second old", .setup = now_is_ten_minutes_later,
     .setup_bad = now_is_a_second_more, .common = {ONE}},
    {"ocsp.responder.expired", "is signed after the responder's end", .setup_bad = responder_ended},

    {"ocsp.responses.empty", "has no SingleResponse", .bad = {"singles="}},
    {"ocsp.responses.count", "answers one question less", .bad = {"singles=$s1 $s2"}},
    {"ocsp.responses.count", "answers one question more", .bad = {"singles=$s1 $s2 $s3 $s3"}},
    {"ocsp.single.form", "has an unknown field", .bad = {"sx1=a2{0500}"}},
    {"ocsp.single.form", "has a SET", .bad = {"s1=31{$id1 $status1 $this1 $next1}"}},
    {"ocsp.cert_id.echo", "leaves out the NULL of the question",
     .bad = {"s1=30{30{30{06{2b0e03021a}} 04{$name_hash} 04{*20{b2}} 02{11*19{33}}} $status1 $this1 $next1}"}},
    {"ocsp.cert_id.echo", "answers in another order", .bad = {"singles=$s2 $s1 $s3"}},
    {"ocsp.cert_id.issuer", "answers for two issuers", .bad = {"name_hash=*20{b3}"}},
    {"ocsp.status.form", "has a fourth status", .bad = {"status1=8300"}},
    {"ocsp.good.empty", "has good with a value", .bad = {"status1=80{00}"}},
    {"ocsp.unknown.empty", "has unknown with a value", .bad = {"status3=82{00}"}},
    {"ocsp.revoked.form", "has revoked without time", .bad = {"status2=a100"}},
    {"ocsp.revoked.form", "has revoked with a third field", .bad = {"status2=a1{$revoked_at $reason 0500}"}},
    {"ocsp.revoked.time_form", "has UTCTime as revocationTime", .bad = {"revoked_at=17{'261001000000Z'}"}},
    {"ocsp.revoked.time_late", "is revoked after thisUpdate", .bad = {"revoked_at=18{'20261121235501Z'}"},
     .good = {"revoked_at=18{'20261121235500Z'}"}},
    {"ocsp.reason.form", "has an INTEGER as reason", .bad = {"reason=a0{02{01}}"}},
    {"ocsp.reason.value", "has reason 7", .bad = {"reason=a0{0a{07}}"}, .good = {"reason=a0{0a{06}}"}},
    {"ocsp.reason.value", "has removeFromCRL", .bad = {"reason=a0{0a{08}}"}, .good = {"reason=a0{0a{09}}"}},
    {"ocsp.reason.value", "has reason 11", .bad = {"reason=a0{0a{0b}}"}, .good = {"reason=a0{0a{0a}}"}},
    {"ocsp.reason.unspecified", "has reason unspecified", .bad = {"reason=a0{0a{00}}"}, .good = {"reason="}},
    {"ocsp.this_update.form", "has no seconds", .bad = {"this1=18{'202611212355Z'}"}},
    {"ocsp.this_update.future", "is true from the next second on", .bad = {"this1=18{'20261122000001Z'}"},
     .good = {"this1=18{'20261122000000Z'}"}},
    {"ocsp.this_update.stale", "was true 10 minutes and a second ago", .bad = {"this1=18{'20261121234959Z'}"},
     .good = {"this1=18{'20261121235000Z'}"}},
    {"ocsp.this_update.order", "is true only after it was signed", .setup = now_is_ten_minutes_later,
     .common = {ONE, "produced=18{'20261122000500Z'}"}, .bad = {"this1=18{'20261122000501Z'}"},
     .good = {"this1=18{'20261122000500Z'}"}},
    {"ocsp.next_update.present", "has no nextUpdate", .bad = {"next1="}},
    {"ocsp.next_update.form", "has UTCTime", .bad = {"next1=a0{17{'261122010000Z'}}"}},
    {"ocsp.next_update.form", "has two times", .bad = {"next1=a0{18{'20261122010000Z'} 18{'20261122010000Z'}}"}},
    {"ocsp.next_update.past", "ended already", .bad = {"next1=a0{18{'20261122000000Z'}}"},
     .good = {"next1=a0{18{'20261122000001Z'}}"}},
    {"ocsp.next_update.responder", "lasts longer than the responder", .setup = responder_ends_with_the_hour,
     .setup_bad = responder_ends_a_second_before},
    {"ocsp.next_update.unknown", "has unknown for more than 15 minutes", .bad = {"next3=a0{18{'20261122001501Z'}}"},
     .good = {"next3=a0{18{'20261122001500Z'}}"}},

    {"ocsp.extensions.form", "has an empty list of singleExtensions", .bad = {"sx1=a1{30{}}"}},
    {"ocsp.extensions.form", "has an empty list of responseExtensions", .common = {"nonce_asked="},
     .bad = {"exts=a1{30{}}"}, .good = {"exts="}},
    {"ocsp.extension.form", "has an extension without OID", .bad = {"sx1=a1{30{30{04{0500}}}}"}},
    {"ocsp.extension.critical", "has a critical nonce", .bad = {"nonce_c=0101ff"}},
    {"ocsp.extension.critical", "has critical FALSE written", .bad = {"nonce_c=010100"}},
    {"ocsp.extension.duplicate", "has two nonces", .bad = {"more=$nonce"}},
    {"ocsp.extension.duplicate", "has two invalidityDates",
     .bad = {"sx2=a1{30{*2{30{06{551d18} 04{18{'20260930000000Z'}}}}}}"},
     .good = {"sx2=a1{30{30{06{551d18} 04{18{'20260930000000Z'}}}}}"}},
    {"ocsp.extension.empty", "has an empty archiveCutoff", .bad = {"sx1=a1{30{30{06{2b0601050507300106} 0400}}}"}},
    {"ocsp.single_extension.known", "has a nonce for one certificate", .bad = {"sx1=a1{30{$nonce}}"}},
    {"ocsp.single_extension.known", "has a CRL reference",
     .bad = {"sx2=a1{30{30{06{2b0601050507300103} 04{30{a1{02{01}}}}}}}"}},
    {"ocsp.archive_cutoff.form", "has UTCTime as archiveCutoff",
     .bad = {"sx1=a1{30{30{06{2b0601050507300106} 04{17{'250101000000Z'}}}}}"},
     .good = {"sx1=a1{30{30{06{2b0601050507300106} 04{18{'20250101000000Z'}}}}}"}},
    {"ocsp.archive_cutoff.late", "has an archiveCutoff to come",
     .bad = {"sx1=a1{30{30{06{2b0601050507300106} 04{18{'20261122000001Z'}}}}}"},
     .good = {"sx1=a1{30{30{06{2b0601050507300106} 04{18{'20261122000000Z'}}}}}"}},
    {"ocsp.invalidity.form", "has an INTEGER as invalidityDate", .bad = {"sx2=a1{30{30{06{551d18} 04{02{01}}}}}"},
     .good = {"sx2=a1{30{30{06{551d18} 04{18{'20260930000000Z'}}}}}"}},
    {"ocsp.invalidity.revoked", "has an invalidityDate beside good",
     .bad = {"sx1=a1{30{30{06{551d18} 04{18{'20260930000000Z'}}}}}"}},
    {"ocsp.response_extension.known", "has response types",
     .bad = {"more=30{06{2b0601050507300104} 04{30{06{2b0601050507300101}}}}"}},
    {"ocsp.nonce.missing", "has no nonce though asked", .bad = {"exts="}},
    {"ocsp.nonce.unasked", "has a nonce though not asked", .bad = {"nonce_asked="}},
    {"ocsp.nonce.unasked", "has a nonce though no extension was sent", .common = {"request_exts="}, .good = {"exts="}},
    {"ocsp.nonce.echo", "has another nonce", .bad = {"nonce_v=04{*32{4f}}"}},
    {"ocsp.nonce.echo", "wraps a nonce that was sent raw",
     .common = {"nonce_asked=30{06{2b0601050507300102} 04{*32{4e}}}"}, .good = {"nonce_v=*32{4e}"}},
    {"ocsp.extended_revoke.value", "has extended-revoke with a value", .common = {"extended=$extended_revoke"},
     .bad = {"extended_v=30{}"}},
    {"ocsp.extended_revoke.needed", "has a never issued certificate revoked without saying so",
     .common = {NEVER, "reason=a0{0a{06}}"}, .good = {"extended=$extended_revoke"}},
    {"ocsp.unissued.reason", "has a never issued certificate compromised",
     .common = {NEVER, "extended=$extended_revoke"}, .good = {"reason=a0{0a{06}}"}},
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
    const struct lint_rule *rules = lint_rules_ocsp(&n);

    (void)state;
    assert_true(n >= 25);
    lint_cases_cover(rules, n, ARRAY(cases));
}

static void the_page_lists_the_rules(void **state)
{
    size_t n;
    const struct lint_rule *rules = lint_rules_ocsp(&n);

    (void)state;
    lint_cases_page(rules, n, TITLE);
}

static void lint_object(struct bytes data, struct lint_report *r)
{
    lint_ocsp(data, &x, r);
}

static void broken_answers_are_survived(void **state)
{
    static uint8_t data[2048];
    struct derb_vars vars = {.n = 0};
    size_t len, noticed;

    (void)state;
    world_reset(&vars);
    len = world_build(&vars, data, sizeof data);
    noticed = lint_cases_mutate(data, len, lint_object);
    /* What may change unnoticed: digits of times that stay in their window, existing reasons. */
    print_message("%zu of %zu flipped bits noticed\n", noticed, 8 * len);
    assert_true(noticed > 8 * len * 9 / 10);
}

static void broken_requests_are_survived(void **state)
{
    static uint8_t data[2048];
    struct derb_vars vars = {.n = 0};
    struct lint_report r;
    struct bytes request;
    size_t len;

    (void)state;
    world_reset(&vars);
    len = world_build(&vars, data, sizeof data);
    request = x.request;
    for (size_t n = 0; n < request.len; n++) {
        uint8_t *cut = malloc(n ? n : 1);

        assert_non_null(cut);
        memcpy(cut, request.p, n);
        x.request = BYTES(cut, n);
        lint_ocsp(BYTES(data, len), &x, &r);
        free(cut);
        assert_int_not_equal(r.n, 0);
    }
    x.request = request;
    lint_ocsp(BYTES(data, len), &x, &r);
    assert_int_equal(r.n, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_alone_rejects_its_object), cmocka_unit_test(every_rule_has_a_case),
        cmocka_unit_test(the_page_lists_the_rules),           cmocka_unit_test(broken_answers_are_survived),
        cmocka_unit_test(broken_requests_are_survived),
    };
    size_t n;
    const struct lint_rule *rules = lint_rules_ocsp(&n);

    if (lint_cases_list(argc, argv, rules, n, TITLE))
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
