/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of the life of devices: what falls due, transfers, certificates that retire, rows of the log about a device alone. */
#include "tests/unit/ledger_fixture.h"

#include <string.h>

#include "ca/store/life.h"

static uint64_t device(struct ledger *l, const char *id)
{
    struct device_row row = {.domain = "acme", .device_id = id, .declared_at = T0};

    OK(l, store_device_insert(l->s, &row, &l->e));
    return row.id;
}

static void what_falls_due_comes_by_its_time(void **state)
{
    struct ledger *l = *state;
    struct device_due_row due;
    uint64_t a, b;

    OK(l, store_begin(l->s, &l->e));
    a = device(l, "dev-1");
    b = device(l, "dev-2");
    OK(l, store_device_due_put(l->s, a, DUE_SUSPEND_REVIEW, T0 + 20, "anna", &l->e));
    OK(l, store_device_due_put(l->s, b, DUE_COMPROMISE_CONFIRM, T0 + 10, "bert", &l->e));
    REFUSED(l, E_NOT_FOUND, store_device_due_first(l->s, T0 + 9, &due, &l->e));
    OK(l, store_device_due_first(l->s, T0 + 10, &due, &l->e));
    assert_int_equal(due.device, b);
    assert_int_equal(due.kind, DUE_COMPROMISE_CONFIRM);
    assert_string_equal(due.by, "bert");
    assert_string_equal(due.device_id, "dev-2");
    OK(l, store_device_due_put(l->s, b, DUE_COMPROMISE_CONFIRM, T0 + 30, "carl", &l->e)); /* one row of a kind */
    OK(l, store_device_due_first(l->s, T0 + 40, &due, &l->e));
    assert_int_equal(due.device, a);
    OK(l, store_device_due_drop(l->s, a, DUE_SUSPEND_REVIEW, &l->e));
    OK(l, store_device_due_drop(l->s, a, DUE_SUSPEND_REVIEW, &l->e));
    OK(l, store_device_due_get(l->s, b, DUE_COMPROMISE_CONFIRM, &due, &l->e));
    assert_string_equal(due.by, "carl");
    REFUSED(l, E_NOT_FOUND, store_device_due_get(l->s, a, DUE_COMPROMISE_CONFIRM, &due, &l->e));
    OK(l, store_commit(l->s, &l->e));
}

static void a_wanted_release_is_one_and_goes(void **state)
{
    struct ledger *l = *state;
    char wanted[ID_MAX_LEN + 1];
    uint64_t a;

    OK(l, store_begin(l->s, &l->e));
    a = device(l, "dev-1");
    OK(l, store_device_wanted(l->s, a, wanted, &l->e));
    assert_string_equal(wanted, "");
    OK(l, store_device_wanted_put(l->s, a, "2.0", &l->e));
    OK(l, store_device_wanted_put(l->s, a, "2.1", &l->e));
    OK(l, store_device_wanted(l->s, a, wanted, &l->e));
    assert_string_equal(wanted, "2.1");
    OK(l, store_device_wanted_put(l->s, a, "", &l->e));
    OK(l, store_device_wanted(l->s, a, wanted, &l->e));
    assert_string_equal(wanted, "");
    OK(l, store_commit(l->s, &l->e));
}

static void a_certificate_retires_at_the_earlier_of_its_times(void **state)
{
    struct ledger *l = *state;
    struct cert_row old, next;
    uint8_t der[64];
    uint64_t a, cert;

    OK(l, store_begin(l->s, &l->e));
    a = device(l, "dev-1");
    ledger_fill_cert(l, 1, der, sizeof(der), &old);
    old.device = a;
    OK(l, store_cert_issue(l->s, &old, &l->e));
    ledger_fill_cert(l, 2, der, sizeof(der), &next);
    next.device = a;
    OK(l, store_cert_issue(l->s, &next, &l->e));
    OK(l, store_cert_set_replaced(l->s, old.id, next.id, &l->e));
    OK(l, store_retire_put(l->s, old.id, INT64_MAX, &l->e));
    REFUSED(l, E_NOT_FOUND, store_retire_first(l->s, T0, &cert, &l->e));
    OK(l, store_retire_replaced(l->s, a, old.id, T0, &l->e)); /* replaced nothing */
    REFUSED(l, E_NOT_FOUND, store_retire_first(l->s, T0, &cert, &l->e));
    OK(l, store_retire_replaced(l->s, a, next.id, T0, &l->e));
    OK(l, store_retire_put(l->s, old.id, T0 + 100, &l->e));
    OK(l, store_retire_first(l->s, T0, &cert, &l->e));
    assert_int_equal(cert, old.id);
    OK(l, store_retire_drop(l->s, cert, &l->e));
    REFUSED(l, E_NOT_FOUND, store_retire_first(l->s, INT64_MAX, &cert, &l->e));
    OK(l, store_commit(l->s, &l->e));
}

static bool count(void *arg, uint64_t device)
{
    (void)device;
    ++*(unsigned *)arg;
    return true;
}

static void a_transfer_keeps_what_was_signed_and_ends_once(void **state)
{
    struct ledger *l = *state;
    struct transfer_row row = {.name = "T-1", .from_domain = "acme", .to_domain = "beta", .expires_at = T0 + 9, .opened_at = T0}, got;
    unsigned n = 0;
    uint64_t a;

    memset(row.digest, 7, sizeof(row.digest));
    row.file = bytes_str("{}");
    OK(l, store_begin(l->s, &l->e));
    a = device(l, "dev-1");
    OK(l, store_transfer_insert(l->s, &row, &l->e));
    OK(l, store_transfer_add(l->s, row.id, a, &l->e));
    OK(l, store_transfer_of(l->s, a, &got, &l->e));
    assert_string_equal(got.to_domain, "beta");
    OK(l, store_transfer_by_digest(l->s, row.digest, &got, &l->e));
    assert_int_equal(got.expires_at, T0 + 9);
    OK(l, store_transfer_each(l->s, row.id, count, &n, &l->e));
    assert_int_equal(n, 1);
    OK(l, store_transfer_end(l->s, row.id, TRANSFER_CANCELLED, bytes_str(""), T0 + 1, &l->e));
    OK(l, store_transfer_by_name(l->s, "T-1", &got, &l->e));
    assert_int_equal(got.state, TRANSFER_CANCELLED);
    REFUSED(l, E_NOT_FOUND, store_transfer_of(l->s, a, &got, &l->e));
    REFUSED(l, E_CONFLICT, store_transfer_end(l->s, row.id, TRANSFER_ACCEPTED, bytes_str(""), T0 + 2, &l->e));
    OK(l, store_commit(l->s, &l->e));
    OK(l, store_begin(l->s, &l->e));
    REFUSED(l, E_CONFLICT, store_transfer_insert(l->s, &row, &l->e));
    store_rollback(l->s);
}

static void a_device_alone_has_rows_in_the_one_log(void **state)
{
    struct ledger *l = *state;
    struct status_row row;
    struct audit_verdict v;
    uint64_t a, seq, before;

    OK(l, store_begin(l->s, &l->e));
    a = device(l, "dev-1");
    before = ledger_issue(l, 1);
    OK(l, store_device_log(l->s, a, DEVICE_LOST, T0 + 5, 3, "", &seq, &l->e));
    assert_int_equal(seq, before + 1);
    assert_int_equal(ledger_issue(l, 2), seq + 1);
    OK(l, store_commit(l->s, &l->e));
    OK(l, store_status_by_seq(l->s, seq, &row, &l->e));
    assert_int_equal(row.issuer, 0);
    assert_int_equal(row.serial_len, 0);
    assert_int_equal(row.device, a);
    assert_int_equal(row.device_state, DEVICE_LOST);
    assert_false(row.has_hash);
    OK(l, store_status_by_seq(l->s, seq + 1, &row, &l->e));
    assert_int_equal(row.issuer, l->issuer);
    assert_int_equal(row.device_state, DEVICE_STATES); /* no device: it says nothing of one */
    assert_true(row.has_hash);
    assert_int_equal(row.kind, PROFILE_LDEVID);
    OK(l, store_check(l->s, &l->e));
    OK(l, audit_verify(l->path, NULL, (struct bytes){NULL, 0}, &v, &l->e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_falls_due_comes_by_its_time, ledger_setup, ledger_teardown),
        cmocka_unit_test_setup_teardown(a_wanted_release_is_one_and_goes, ledger_setup, ledger_teardown),
        cmocka_unit_test_setup_teardown(a_certificate_retires_at_the_earlier_of_its_times, ledger_setup, ledger_teardown),
        cmocka_unit_test_setup_teardown(a_transfer_keeps_what_was_signed_and_ends_once, ledger_setup, ledger_teardown),
        cmocka_unit_test_setup_teardown(a_device_alone_has_rows_in_the_one_log, ledger_setup, ledger_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
