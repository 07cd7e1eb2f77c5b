/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of units that are kept while the token is down, against a real ledger; their signatures are in scenario-deferred. */
#include "tests/unit/ledger_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "ca/capture.h"
#include "ca/factory_int.h"

#define NOW (T0 + 1000)

struct bench {
    struct ledger *ledger;
    struct core core;
    struct conf conf;
    struct conf_profile profile;
    struct work_order *order;
    struct svc_enroll in;
    struct csr csr;
    struct grant grant;
    struct err e;
    uint64_t station;
};

static void add_order(struct bench *b)
{
    struct order_spec spec;
    struct order_row row;

    order_spec_init(&spec);
    snprintf(spec.order_no, sizeof(spec.order_no), "WO-1");
    snprintf(spec.domain, sizeof(spec.domain), "acme");
    snprintf(spec.profile, sizeof(spec.profile), "idevid");
    snprintf(spec.prefix, sizeof(spec.prefix), "M-");
    spec.quantity = 9;
    spec.first = 1;
    spec.digits = 1;
    spec.defer = 2;
    spec.orphan_after_s = 3600;
    spec.not_after = NOW + 86400;
    text_list_add(&spec.stations, "issue-1");
    order_row_from_spec(&row, &spec);
    row.opened_at = T0;
    OK(b->ledger, store_order_insert(b->core.store, &row, &b->ledger->e));
    order_spec_clear(&spec);
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct station_row st = {.name = "issue-1", .domain = "acme", .line = "L1", .roles = STATION_ISSUE, .profile = "station",
                             .created_at = T0, .not_after = NOW + 86400};
    void *ledger = NULL;

    if (!b || ledger_setup(&ledger) != 0)
        return -1;
    b->ledger = ledger;
    b->core.store = b->ledger->s;
    b->core.conf = &b->conf;
    b->core.guesses = guess_limit_new();
    b->core.captures = captures_new();
    b->profile = (struct conf_profile){.name = (char *)"idevid", .kind = PROFILE_IDEVID, .ca = (char *)"maker-ca",
                                       .key_algs = KEY_BIT(KEY_P256), .pop_required = true};
    b->conf.profiles = &b->profile;
    b->conf.profiles_n = 1;
    OK(b->ledger, store_begin(b->core.store, &b->ledger->e));
    OK(b->ledger, store_station_insert(b->core.store, &st, &b->ledger->e));
    b->station = st.id;
    add_order(b);
    OK(b->ledger, factory_load(&b->core, &b->ledger->e));
    b->order = factory_live(&b->core, "WO-1");
    b->in = (struct svc_enroll){.operation = SVC_SIMPLEENROLL, .csr = bytes_str("csr"), .peer = "192.0.2.1:4000"};
    b->csr.key.alg = KEY_P256;
    grant_init(&b->grant);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    void *ledger = b->ledger;

    store_rollback(b->core.store);
    grant_clear(&b->grant);
    factory_free(&b->core);
    captures_free(b->core.captures);
    guess_limit_free(b->core.guesses);
    free(b);
    return ledger_teardown(&ledger);
}

/* The station asks for unit M-n with a key: what the order's rules have let through. */
static void granted(struct bench *b, unsigned n, uint8_t key)
{
    char id[8];
    struct unit_row u;

    grant_clear(&b->grant);
    grant_init(&b->grant);
    b->e = (struct err){0};
    snprintf(id, sizeof(id), "M-%u", n);
    snprintf(b->grant.by.name, sizeof(b->grant.by.name), "acme/issue-1");
    b->grant.unit.station = b->station;
    b->grant.unit.order = b->order->id;
    OK(b->ledger, factory_unit(&b->core, b->order, id, true, NOW, &b->grant, &u, &b->ledger->e));
    b->grant.unit.id = u.id;
    b->grant.unit.event = UNIT_DO_ISSUE;
    memset(b->csr.key.spki_hash, key, 32);
}

static enum err_code take(struct bench *b, unsigned n, uint8_t key)
{
    granted(b, n, key);
    return capture_take(&b->core, &b->in, &b->csr, NOW, &b->grant, &b->e);
}

static enum unit_state state_of(struct bench *b, uint64_t unit)
{
    struct unit_row u;

    OK(b->ledger, store_unit_by_id(b->core.store, unit, &u, &b->ledger->e));
    return (enum unit_state)u.state;
}

static void the_allowance_is_exact_and_repeats_are_free(void **state)
{
    struct bench *b = *state;
    struct capture_counts n;
    struct order_tally t;

    assert_int_equal(take(b, 1, 0xa1), E_PENDING);
    assert_memory_equal(b->e.msg, "captured: ", 10);
    assert_int_equal(state_of(b, b->grant.unit.id), UNIT_CAPTURED);
    assert_int_equal(take(b, 1, 0xa1), E_PENDING);
    assert_int_equal(take(b, 2, 0xa2), E_PENDING);
    assert_int_equal(take(b, 3, 0xa3), E_BUSY);
    assert_string_equal(b->grant.unit.reason, "defer-used");
    assert_int_equal(take(b, 1, 0xa1), E_PENDING);
    OK(b->ledger, store_capture_counts(b->core.store, &n, &b->ledger->e));
    assert_int_equal(n.waiting, 2);
    OK(b->ledger, store_tally(b->core.store, b->order->id, &t, &b->ledger->e));
    assert_int_equal(t.captured, 2);
}

static void only_a_first_certificate_may_be_kept(void **state)
{
    struct bench *b = *state;
    struct unit_row u;

    granted(b, 1, 0xa1);
    assert_true(capture_is_possible(&b->core, &b->in, &b->grant));
    OK(b->ledger, store_unit_by_id(b->core.store, b->grant.unit.id, &u, &b->ledger->e));
    u.state = UNIT_REWORK;
    OK(b->ledger, store_unit_update(b->core.store, &u, &b->ledger->e));
    assert_false(capture_is_possible(&b->core, &b->in, &b->grant));
    granted(b, 2, 0xa2);
    b->in.operation = SVC_SERVERKEYGEN; /* there is no key to keep */
    assert_false(capture_is_possible(&b->core, &b->in, &b->grant));
    b->in.operation = SVC_SIMPLEENROLL;
    b->order->defer_allowed = 0;
    assert_false(capture_is_possible(&b->core, &b->in, &b->grant));
}

static void another_key_takes_the_place_of_the_first(void **state)
{
    struct bench *b = *state;
    struct capture_row row;

    assert_int_equal(take(b, 1, 0xa1), E_PENDING);
    assert_int_equal(take(b, 1, 0xb1), E_PENDING);
    OK(b->ledger, store_capture_find(b->core.store, b->grant.unit.id, &row, &b->ledger->e));
    assert_int_equal(row.spki_hash[0], 0xb1);
    assert_int_equal(take(b, 2, 0xa2), E_PENDING); /* it was not counted twice */
}

static void what_is_set_aside_waits_for_the_operator(void **state)
{
    static const struct actor operator = {.name = "operator:root", .kind = "operator"};
    AUTO_BUF csr = BUF_INIT(CSR_MAX_LEN);
    struct bench *b = *state;
    struct grant g;
    uint64_t unit;

    assert_int_equal(take(b, 1, 0xa1), E_PENDING);
    unit = b->grant.unit.id;
    OK(b->ledger, store_capture_set(b->core.store, unit, CAPTURE_SET_ASIDE, NOW, 1, "why", &b->ledger->e));
    grant_init(&g);
    assert_int_equal(capture_grant(&b->core, unit, NOW, &g, &csr, &b->e), E_NOT_FOUND);
    grant_clear(&g);
    OK(b->ledger, capture_retry(&b->core, unit, &operator, NOW, &b->ledger->e));
    grant_init(&g);
    assert_int_equal(capture_grant(&b->core, unit, NOW, &g, &csr, &b->e), E_INVALID); /* "csr" is none */
    assert_string_equal(g.by.name, "acme/issue-1");
    grant_clear(&g);
    OK(b->ledger, capture_drop(&b->core, unit, &operator, NOW, &b->ledger->e));
    assert_int_equal(state_of(b, unit), UNIT_UNUSED);
    REFUSED(b->ledger, E_NOT_FOUND, capture_retry(&b->core, unit, &operator, NOW, &b->ledger->e));
}

static void a_request_goes_with_the_units_state(void **state)
{
    struct bench *b = *state;
    struct unit_cause why = {.by = &ACTOR_CORE};
    struct capture_row row;
    struct unit_row u;
    bool changed;

    assert_int_equal(take(b, 1, 0xa1), E_PENDING);
    OK(b->ledger, store_unit_by_id(b->core.store, b->grant.unit.id, &u, &b->ledger->e));
    OK(b->ledger, factory_change(&b->core, b->order, &u, UNIT_DO_CLOSE, &why, NOW, &changed, &b->ledger->e));
    assert_int_equal(u.state, UNIT_UNUSED);
    REFUSED(b->ledger, E_NOT_FOUND, store_capture_find(b->core.store, u.id, &row, &b->ledger->e));
}

/* ---- fetched by the unit ---- */

static enum err_code fetch(struct bench *b, const char *id, uint8_t key, bool bound)
{
    static const uint8_t exporter[32] = {1};
    static struct conf_label label = {.name = (char *)"boot", .domain = (char *)"acme", .profile = (char *)"idevid", .auth_key = true};
    AUTO_BUF text = BUF_INIT(64);

    base64_encode(&text, BYTES_OF(exporter), 0);
    grant_clear(&b->grant);
    grant_init(&b->grant);
    b->e = (struct err){0};
    b->grant.label = &label;
    b->grant.profile = &b->profile;
    b->in.binding_kind = SVC_BINDING_TLS_EXPORTER;
    b->in.binding = BYTES_OF(exporter);
    b->csr.binding = bound ? CSR_BINDING_CHALLENGE : CSR_BINDING_NONE;
    b->csr.challenge = buf_bytes(&text);
    snprintf(b->csr.serial_number, sizeof(b->csr.serial_number), "%s", id);
    memset(b->csr.key.spki_hash, key, 32);
    return capture_fetch(&b->core, &b->in, &b->csr, NOW, &b->grant, &b->e);
}

static void a_unit_fetches_with_its_key_and_its_binding_only(void **state)
{
    struct bench *b = *state;

    assert_int_equal(take(b, 1, 0xa1), E_PENDING);
    OK(b->ledger, store_spki_claim(b->core.store, b->csr.key.spki_hash, b->grant.device.unit, NOW, &b->ledger->e));
    assert_int_equal(take(b, 2, 0xa2), E_PENDING);
    OK(b->ledger, store_spki_claim(b->core.store, b->csr.key.spki_hash, b->grant.device.unit, NOW, &b->ledger->e));
    assert_int_equal(fetch(b, "M-1", 0xa1, true), E_PENDING);
    assert_int_not_equal(b->grant.retry_after_s, 0);
    assert_int_equal(fetch(b, "M-1", 0xa1, false), E_INVALID);
    assert_int_equal(fetch(b, "M-1", 0xa2, true), E_DENIED); /* another unit's key */
    assert_string_equal(b->e.msg, "no certificate is kept for this key");
    assert_int_equal(fetch(b, "M-1", 0xff, true), E_DENIED); /* nobody's */
    assert_string_equal(b->e.msg, "no certificate is kept for this key");
    assert_int_equal(fetch(b, "M-7", 0xa1, true), E_DENIED); /* no such unit */
    assert_string_equal(b->e.msg, "no certificate is kept for this key");
    assert_false(b->grant.authenticated);
    for (int i = 0; i < GUESS_BURST; i++)
        (void)fetch(b, "M-7", 0xa1, true);
    assert_int_equal(fetch(b, "M-7", 0xa1, true), E_BUSY);
    assert_int_equal(fetch(b, "M-1", 0xa1, true), E_PENDING); /* the right one always */
}

static void one_stations_renewals_are_not_anothers(void **state)
{
    struct bench *b = *state;

    for (unsigned i = 0; i < RENEW_AT_ONCE; i++)
        assert_true(factory_may_renew(&b->core, 7));
    assert_false(factory_may_renew(&b->core, 7));
    for (uint64_t other = 8; other < 8 + 4 * ALLOWANCE_ROWS; other++)
        assert_true(factory_may_renew(&b->core, other));
    assert_false(factory_may_renew(&b->core, 7)); /* nor do others give it more */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_allowance_is_exact_and_repeats_are_free),
        TEST(only_a_first_certificate_may_be_kept),
        TEST(another_key_takes_the_place_of_the_first),
        TEST(what_is_set_aside_waits_for_the_operator),
        TEST(a_request_goes_with_the_units_state),
        TEST(a_unit_fetches_with_its_key_and_its_binding_only),
        TEST(one_stations_renewals_are_not_anothers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
