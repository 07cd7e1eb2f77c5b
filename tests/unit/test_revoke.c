/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of status against a real ledger: every cell of the table. */
#include "tests/unit/ledger_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "ca/core.h"

struct bench {
    struct ledger *ledger;
    struct core core;
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    void *ledger = NULL;

    if (!b || ledger_setup(&ledger) != 0)
        return -1;
    b->ledger = ledger;
    b->core.store = b->ledger->s;
    OK(b->ledger, store_begin(b->core.store, &b->ledger->e));
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    void *ledger = b->ledger;

    store_rollback(b->core.store);
    free(b);
    return ledger_teardown(&ledger);
}

static struct cert_row row_of(struct bench *b, unsigned n)
{
    struct status_row id = ledger_status(b->ledger, n, CERT_GOOD, REASON_UNSPECIFIED);
    struct cert_row row;

    OK(b->ledger, store_cert_by_serial(b->core.store, b->ledger->issuer, BYTES(id.serial, id.serial_len), &row,
                                       &b->ledger->e));
    return row;
}

static enum err_code change(struct bench *b, unsigned n, enum cert_status to, bool *changed)
{
    struct cert_row row = row_of(b, n);
    struct revocation r = {.to = to, .reason = to == CERT_ON_HOLD   ? REASON_CERTIFICATE_HOLD
                                               : to == CERT_REVOKED ? REASON_SUPERSEDED
                                                                    : REASON_UNSPECIFIED};
    uint64_t seq = 0;

    return revoke_apply(&b->core, &row, &r, &ACTOR_CORE, T0 + 50, changed, &seq, &b->ledger->e);
}

static const struct {
    const char *name;
    enum cert_status from, to;
    enum err_code code;
    bool changed;
} cases[] = {
    {"good, released: no change", CERT_GOOD, CERT_GOOD, E_OK, false},
    {"good, held", CERT_GOOD, CERT_ON_HOLD, E_OK, true},
    {"good, revoked", CERT_GOOD, CERT_REVOKED, E_OK, true},
    {"on hold, released", CERT_ON_HOLD, CERT_GOOD, E_OK, true},
    {"on hold, held: no change", CERT_ON_HOLD, CERT_ON_HOLD, E_OK, false},
    {"on hold, revoked", CERT_ON_HOLD, CERT_REVOKED, E_OK, true},
    {"revoked, released: never", CERT_REVOKED, CERT_GOOD, E_CONFLICT, false},
    {"revoked, held: never", CERT_REVOKED, CERT_ON_HOLD, E_CONFLICT, false},
    {"revoked, revoked: no change", CERT_REVOKED, CERT_REVOKED, E_OK, false},
};

static void every_change_follows_the_table(void **state)
{
    struct bench *b = *state;

    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        bool changed = false;
        uint64_t before, after;

        print_message("    %s\n", cases[i].name);
        ledger_issue(b->ledger, i + 1);
        if (cases[i].from != CERT_GOOD)
            ledger_change(b->ledger, i + 1, cases[i].from, REASON_CERTIFICATE_HOLD);
        before = core_seq(&b->core);
        b->core.purge.n = 0;
        assert_int_equal(change(b, i + 1, cases[i].to, &changed), cases[i].code);
        after = core_seq(&b->core);
        assert_int_equal(changed, cases[i].changed);
        assert_int_equal(after - before, cases[i].changed ? 1 : 0);
        assert_int_equal(b->core.purge.n, cases[i].changed ? 1 : 0);
        assert_int_equal(row_of(b, i + 1).status, cases[i].code == E_OK ? cases[i].to : cases[i].from);
    }
}

static void a_change_leaves_its_entry_in_the_trail(void **state)
{
    struct bench *b = *state;
    uint64_t before, after;
    uint8_t hash[32];
    bool changed;

    ledger_issue(b->ledger, 1);
    OK(b->ledger, store_audit_last(b->core.store, &before, hash, &b->ledger->e));
    assert_int_equal(change(b, 1, CERT_REVOKED, &changed), E_OK);
    OK(b->ledger, store_audit_last(b->core.store, &after, hash, &b->ledger->e));
    assert_int_equal(after, before + 1);
    assert_int_equal(change(b, 1, CERT_REVOKED, &changed), E_OK);
    OK(b->ledger, store_audit_last(b->core.store, &after, hash, &b->ledger->e));
    assert_int_equal(after, before + 1);
}

static void a_flood_of_changes_becomes_one_purge_of_all(void **state)
{
    struct bench *b = *state;
    bool changed;

    ledger_issue(b->ledger, 1);
    b->core.purge.n = SVC_PURGE_MAX;
    assert_int_equal(change(b, 1, CERT_REVOKED, &changed), E_OK);
    assert_true(b->core.purge.all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_change_follows_the_table, setup, teardown),
        cmocka_unit_test_setup_teardown(a_change_leaves_its_entry_in_the_trail, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flood_of_changes_becomes_one_purge_of_all, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
