/* SPDX-License-Identifier: Apache-2.0 */
/* What a step of the line does to the device, against a real ledger; stations and orders are in scenario-factory. */
#include "tests/unit/ledger_fixture.h"

#include <stdlib.h>

#include "ca/factory_int.h"

#define NOW (T0 + 1000)

struct bench {
    struct ledger *ledger;
    struct core core;
    struct conf conf;
    struct work_order *order;
    unsigned next;
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct order_spec spec;
    struct order_row row;
    void *ledger = NULL;

    if (!b || ledger_setup(&ledger) != 0)
        return -1;
    b->ledger = ledger;
    b->core.store = b->ledger->s;
    b->core.conf = &b->conf;
    OK(b->ledger, store_begin(b->core.store, &b->ledger->e));
    order_spec_init(&spec);
    snprintf(spec.order_no, sizeof(spec.order_no), "REPAIR");
    snprintf(spec.domain, sizeof(spec.domain), "acme");
    snprintf(spec.profile, sizeof(spec.profile), "idevid");
    spec.quantity = 1;
    spec.not_after = NOW + 86400;
    order_row_from_spec(&row, &spec);
    row.opened_at = T0;
    OK(b->ledger, store_order_insert(b->core.store, &row, &b->ledger->e));
    order_spec_clear(&spec);
    OK(b->ledger, factory_load(&b->core, &b->ledger->e));
    b->order = factory_live(&b->core, "REPAIR");
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    void *ledger = b->ledger;

    store_rollback(b->core.store);
    factory_free(&b->core);
    free(b);
    return ledger_teardown(&ledger);
}

static uint64_t certify(struct bench *b, uint64_t device, enum profile_kind kind, int64_t not_after)
{
    uint8_t der[300];
    struct cert_row row;

    ledger_fill_cert(b->ledger, ++b->next, der, sizeof(der), &row);
    row.device = device;
    row.kind = (uint8_t)kind;
    row.not_after = not_after;
    OK(b->ledger, store_cert_issue(b->core.store, &row, &b->ledger->e));
    return row.id;
}

/* Its birth certificate comes after more expired certificates than one look takes. */
static void a_repair_with_a_new_key_ends_every_birth_certificate_before_it(void **state)
{
    struct bench *b = *state;
    struct device_row device = {.domain = "acme", .device_id = "dev-1", .declared_at = T0};
    struct unit_row u = {.order = b->order->id, .ordinal = 1, .state = UNIT_ISSUED, .reserved_at = T0};
    struct unit_cause why = {.by = &ACTOR_CORE};
    struct cert_row row;
    uint64_t old;
    bool changed;

    OK(b->ledger, store_device_insert(b->core.store, &device, &b->ledger->e));
    for (int i = 0; i < 40; i++)
        (void)certify(b, device.id, PROFILE_LDEVID, NOW - 1);
    old = certify(b, device.id, PROFILE_IDEVID, NOW + 86400);
    OK(b->ledger, store_device_set_state(b->core.store, device.id, DEVICE_IN_REPAIR, T0, &b->ledger->e));
    u.device = device.id;
    u.cert = certify(b, device.id, PROFILE_IDEVID, NOW + 86400);
    OK(b->ledger, store_unit_insert(b->core.store, &u, &b->ledger->e));
    u.device_id = "dev-1";
    OK(b->ledger, factory_change(&b->core, b->order, &u, UNIT_DO_CONFIRM, &why, NOW, &changed, &b->ledger->e));
    assert_true(changed);
    OK(b->ledger, store_cert_by_id(b->core.store, old, &row, &b->ledger->e));
    assert_int_equal(row.status, CERT_REVOKED);
    assert_int_equal(row.reason, REASON_SUPERSEDED);
    OK(b->ledger, store_cert_by_id(b->core.store, u.cert, &row, &b->ledger->e));
    assert_int_equal(row.status, CERT_GOOD);
    OK(b->ledger, store_device_by_id(b->core.store, device.id, &device, &b->ledger->e));
    assert_int_equal(device.state, DEVICE_CONFIRMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_repair_with_a_new_key_ends_every_birth_certificate_before_it, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
