/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ledger_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ca/store/factory.h"

#define BEGIN(l)  OK(l, store_begin((l)->s, &(l)->e))
#define COMMIT(l) OK(l, store_commit((l)->s, &(l)->e))

static void spec_fill(struct order_spec *o, const char *order_no)
{
    order_spec_init(o);
    snprintf(o->order_no, sizeof(o->order_no), "%s", order_no);
    snprintf(o->domain, sizeof(o->domain), "acme");
    snprintf(o->product, sizeof(o->product), "meter");
    snprintf(o->profile, sizeof(o->profile), "idevid");
    snprintf(o->prefix, sizeof(o->prefix), "M2-");
    snprintf(o->signer, sizeof(o->signer), "owner");
    snprintf(o->kid, sizeof(o->kid), "%032x", 7);
    o->quantity = 20000;
    o->first = 1;
    o->digits = 8;
    o->rekeys = 3;
    o->rework = 2;
    o->orphan_after_s = 3600;
    o->not_before = T0;
    o->not_after = T0 + 86400;
    text_list_add(&o->stations, "issue-1");
    text_list_add(&o->stations, "line:L3");
    memset(o->file_hash, 0xab, 32);
}

static uint64_t open_order(struct ledger *l, const char *order_no)
{
    struct order_spec spec;
    struct order_row row;

    spec_fill(&spec, order_no);
    order_row_from_spec(&row, &spec);
    row.opened_at = T0;
    OK(l, store_order_insert(l->s, &row, &l->e));
    OK(l, store_order_file_add(l->s, row.id, 1, bytes_str("\"file\"}"), &l->e));
    OK(l, store_order_file_add(l->s, row.id, 0, bytes_str("{\"the\":"), &l->e));
    OK(l, store_order_file_add(l->s, row.id, 0, bytes_str("again"), &l->e));
    order_spec_clear(&spec);
    return row.id;
}

static uint64_t add_device(struct ledger *l, const char *device_id)
{
    struct device_row row = {.domain = "acme", .device_id = device_id, .declared_at = T0};

    OK(l, store_device_insert(l->s, &row, &l->e));
    return row.id;
}

static struct unit_row add_unit(struct ledger *l, uint64_t order, unsigned n)
{
    struct unit_row row = {.order = order, .ordinal = n, .reserved_at = T0};
    const struct order_tally one = {.reserved = 1, .next = 1};
    char id[24];

    snprintf(id, sizeof(id), "M2-%08u", n);
    row.device = add_device(l, id);
    OK(l, store_unit_insert(l->s, &row, &l->e));
    OK(l, store_tally_add(l->s, order, &one, &l->e));
    return row;
}

static void an_order_reads_back_as_it_was_given(void **state)
{
    struct ledger *l = *state;
    struct order_row row;
    AUTO_BUF file = BUF_INIT(1024);
    uint64_t id;

    BEGIN(l);
    id = open_order(l, "WO-17");
    COMMIT(l);
    ledger_reopen(l);
    OK(l, store_order_by_no(l->s, "WO-17", &row, &l->e));
    assert_int_equal(row.id, id);
    assert_string_equal(row.domain, "acme");
    assert_string_equal(row.product, "meter");
    assert_string_equal(row.profile, "idevid");
    assert_string_equal(row.stations, "issue-1\nline:L3\n");
    assert_string_equal(row.firmware, "");
    assert_string_equal(row.prefix, "M2-");
    assert_int_equal(row.quantity, 20000);
    assert_int_equal(row.first, 1);
    assert_int_equal(row.digits, 8);
    assert_int_equal(row.rekeys_allowed, 3);
    assert_int_equal(row.rework_allowed, 2);
    assert_int_equal(row.orphan_after_s, 3600);
    assert_int_equal(row.not_after, T0 + 86400);
    assert_int_equal(row.state, ORDER_OPEN);
    assert_int_equal(row.file_hash[31], 0xab);
    OK(l, store_order_file(l->s, id, &file, &l->e));
    assert_true(bytes_equal(buf_bytes(&file), bytes_str("{\"the\":\"file\"}")));
    REFUSED(l, E_NOT_FOUND, store_order_by_no(l->s, "WO-18", &row, &l->e));
}

static void an_order_number_is_given_once(void **state)
{
    struct ledger *l = *state;
    struct order_spec spec;
    struct order_row row;

    BEGIN(l);
    open_order(l, "WO-1");
    COMMIT(l);
    BEGIN(l);
    spec_fill(&spec, "WO-1");
    order_row_from_spec(&row, &spec);
    OK(l, store_savepoint(l->s, &l->e));
    REFUSED(l, E_CONFLICT, store_order_insert(l->s, &row, &l->e));
    store_savepoint_undo(l->s);
    order_spec_clear(&spec);
    COMMIT(l);
}

static bool count_order(void *arg, const struct order_row *row)
{
    (void)row;
    (*(int *)arg)++;
    return true;
}

static void a_closed_order_stays_closed_and_is_not_live(void **state)
{
    struct ledger *l = *state;
    uint64_t id;
    int live = 0, all = 0;

    BEGIN(l);
    id = open_order(l, "WO-1");
    open_order(l, "WO-2");
    OK(l, store_order_set_state(l->s, id, ORDER_CLOSING, 0, &l->e));
    OK(l, store_order_set_state(l->s, id, ORDER_CLOSED, T0 + 5, &l->e));
    COMMIT(l);
    BEGIN(l);
    OK(l, store_savepoint(l->s, &l->e));
    REFUSED(l, E_CONFLICT, store_order_set_state(l->s, id, ORDER_OPEN, 0, &l->e));
    store_savepoint_undo(l->s);
    COMMIT(l);
    OK(l, store_order_each(l->s, true, 0, 0, count_order, &live, &l->e));
    OK(l, store_order_each(l->s, false, 0, 0, count_order, &all, &l->e));
    assert_int_equal(live, 1);
    assert_int_equal(all, 2);
}

static void ids_of_a_list_are_known_and_others_are_not(void **state)
{
    struct ledger *l = *state;
    uint64_t a, b, n;
    bool has;

    BEGIN(l);
    a = open_order(l, "A");
    b = open_order(l, "B");
    OK(l, store_order_id_add(l->s, a, "dev-1", &l->e));
    OK(l, store_order_id_add(l->s, a, "dev-1", &l->e));
    OK(l, store_order_id_add(l->s, b, "dev-2", &l->e));
    COMMIT(l);
    OK(l, store_order_id_has(l->s, a, "dev-1", &has, &l->e));
    assert_true(has);
    OK(l, store_order_id_has(l->s, a, "dev-2", &has, &l->e));
    assert_false(has);
    OK(l, store_order_id_count(l->s, a, &n, &l->e));
    assert_int_equal(n, 1);
}

static void a_device_is_once_in_an_order(void **state)
{
    struct ledger *l = *state;
    uint64_t order;
    struct unit_row u, again;

    BEGIN(l);
    order = open_order(l, "WO-1");
    u = add_unit(l, order, 1);
    again = u;
    OK(l, store_savepoint(l->s, &l->e));
    REFUSED(l, E_CONFLICT, store_unit_insert(l->s, &again, &l->e));
    store_savepoint_undo(l->s);
    COMMIT(l);
}

static void a_unit_keeps_its_changes_and_never_returns_from_the_end(void **state)
{
    struct ledger *l = *state;
    uint64_t order;
    struct unit_row u, got;

    BEGIN(l);
    order = open_order(l, "WO-1");
    u = add_unit(l, order, 1);
    u.state = UNIT_ISSUED;
    u.cert = ledger_issue(l, 1);
    u.issued_at = T0 + 1;
    u.due_at = T0 + 3601;
    u.rekeys = 2;
    OK(l, store_unit_update(l->s, &u, &l->e));
    COMMIT(l);
    OK(l, store_unit_find(l->s, order, u.device, &got, &l->e));
    assert_int_equal(got.id, u.id);
    assert_int_equal(got.state, UNIT_ISSUED);
    assert_int_equal(got.cert, u.cert);
    assert_int_equal(got.due_at, T0 + 3601);
    assert_int_equal(got.rekeys, 2);
    assert_int_equal(got.ordinal, 1);
    assert_string_equal(got.device_id, "M2-00000001");
    BEGIN(l);
    u.state = UNIT_VOID;
    OK(l, store_unit_update(l->s, &u, &l->e));
    u.state = UNIT_ISSUED;
    OK(l, store_savepoint(l->s, &l->e));
    REFUSED(l, E_CONFLICT, store_unit_update(l->s, &u, &l->e));
    store_savepoint_undo(l->s);
    COMMIT(l);
}

struct seen {
    uint64_t id[16];
    size_t n;
};

static bool note_unit(void *arg, const struct unit_row *row)
{
    struct seen *s = arg;

    s->id[s->n++] = row->id;
    return true;
}

static void due_units_come_longest_overdue_first_and_only_issued_ones(void **state)
{
    struct ledger *l = *state;
    uint64_t order;
    struct unit_row u[4];
    struct seen s = {0};

    BEGIN(l);
    order = open_order(l, "WO-1");
    for (unsigned i = 0; i < 4; i++) {
        u[i] = add_unit(l, order, i + 1);
        u[i].state = i == 2 ? UNIT_CONFIRMED : UNIT_ISSUED;
        u[i].due_at = T0 + 100 - (int64_t)i;
        OK(l, store_unit_update(l->s, &u[i], &l->e));
    }
    COMMIT(l);
    OK(l, store_unit_due(l->s, T0 + 99, 10, note_unit, &s, &l->e));
    assert_int_equal(s.n, 2);
    assert_int_equal(s.id[0], u[3].id);
    assert_int_equal(s.id[1], u[1].id);
}

static void units_of_an_order_are_walked_by_state_and_page(void **state)
{
    struct ledger *l = *state;
    uint64_t a, b;
    struct unit_row u;
    struct seen s = {0};

    BEGIN(l);
    a = open_order(l, "A");
    for (unsigned i = 1; i <= 3; i++)
        u = add_unit(l, a, i);
    b = open_order(l, "B");
    add_unit(l, b, 4);
    u.state = UNIT_PACKED;
    OK(l, store_unit_update(l->s, &u, &l->e));
    COMMIT(l);
    OK(l, store_unit_each(l->s, a, -1, 0, 2, note_unit, &s, &l->e));
    assert_int_equal(s.n, 2);
    OK(l, store_unit_each(l->s, a, -1, s.id[1], 2, note_unit, &s, &l->e));
    assert_int_equal(s.n, 3);
    s.n = 0;
    OK(l, store_unit_each(l->s, a, UNIT_PACKED, 0, 0, note_unit, &s, &l->e));
    assert_int_equal(s.n, 1);
    assert_int_equal(s.id[0], u.id);
    OK(l, store_unit_newest(l->s, u.device, &u, &l->e));
    assert_int_equal(u.order, a);
}

static void counts_from_rows_equal_counts_kept_and_a_difference_is_found(void **state)
{
    struct ledger *l = *state;
    uint64_t order, last;
    struct unit_row u;
    struct order_tally kept, rows;
    struct order_tally change = {.issued = 1, .confirmed = 1, .packed = 1, .rekeyed = 2};

    BEGIN(l);
    order = open_order(l, "WO-1");
    add_unit(l, order, 1);
    u = add_unit(l, order, 2);
    u.state = UNIT_PACKED;
    u.issued_at = u.confirmed_at = u.packed_at = T0;
    u.rekeys = 2;
    OK(l, store_unit_update(l->s, &u, &l->e));
    OK(l, store_tally_add(l->s, order, &change, &l->e));
    COMMIT(l);
    OK(l, store_unit_last(l->s, &last, &l->e));
    OK(l, store_tally(l->s, order, &kept, &l->e));
    OK(l, store_tally_of_units(l->s, order, 0, last, &rows, &l->e));
    assert_int_equal(kept.next, 2);
    assert_int_equal(rows.stock, 1);
    kept.next = 0;
    rows.stock = 0;
    assert_memory_equal(&kept, &rows, sizeof(kept));
    OK(l, store_check(l->s, &l->e));
    BEGIN(l);
    change = (struct order_tally){.shipped = 1};
    OK(l, store_tally_add(l->s, order, &change, &l->e));
    COMMIT(l);
    REFUSED(l, E_CONFLICT, store_check(l->s, &l->e));
    SAYS(l, "WO-1");
}

static bool add_up(void *arg, const char *reason, uint64_t n)
{
    snprintf((char *)arg + strlen(arg), 64, "%s=%u ", reason, (unsigned)n);
    return true;
}

static void refusals_are_counted_by_reason(void **state)
{
    struct ledger *l = *state;
    char text[256] = "";
    uint64_t order;

    BEGIN(l);
    order = open_order(l, "WO-1");
    OK(l, store_order_refused(l->s, order, "order-full", &l->e));
    OK(l, store_order_refused(l->s, order, "wrong-role", &l->e));
    OK(l, store_order_refused(l->s, order, "order-full", &l->e));
    COMMIT(l);
    OK(l, store_order_refusals(l->s, order, add_up, text, &l->e));
    assert_string_equal(text, "order-full=2 wrong-role=1 ");
}

static void stations_have_names_once_and_are_revoked_once(void **state)
{
    struct ledger *l = *state;
    struct station_row row = {.name = "issue-1", .domain = "acme", .line = "L3", .roles = STATION_ISSUE | STATION_VERIFY,
                              .profile = "station", .created_at = T0, .not_after = T0 + 60};
    struct station_row got, again = row;

    BEGIN(l);
    OK(l, store_station_insert(l->s, &row, &l->e));
    OK(l, store_savepoint(l->s, &l->e));
    REFUSED(l, E_CONFLICT, store_station_insert(l->s, &again, &l->e));
    store_savepoint_undo(l->s);
    OK(l, store_station_revoke(l->s, row.id, T0 + 9, &l->e));
    OK(l, store_station_revoke(l->s, row.id, T0 + 10, &l->e));
    COMMIT(l);
    OK(l, store_station_by_name(l->s, "issue-1", &got, &l->e));
    assert_int_equal(got.roles, STATION_ISSUE | STATION_VERIFY);
    assert_int_equal(got.revoked_at, T0 + 9);
    assert_string_equal(got.line, "L3");
    assert_string_equal(station_role_name(5), "qa");
}

static bool note_event(void *arg, const struct unit_event_row *row)
{
    snprintf((char *)arg + strlen(arg), 128, "%s:%s:%s:%s:%s ", row->event, row->station_name, row->badge, row->tool, row->detail);
    return true;
}

static void events_are_only_added_and_come_in_their_order(void **state)
{
    struct ledger *l = *state;
    struct station_row st = {.name = "issue-1", .domain = "acme", .line = "L3", .roles = STATION_ISSUE, .profile = "station"};
    struct unit_event_row ev = {.time = T0, .event = "reserved", .badge = "B-7", .tool = "st/1"};
    char text[512] = "";
    struct unit_row u;
    uint64_t unit, order;

    BEGIN(l);
    order = open_order(l, "WO-1");
    OK(l, store_station_insert(l->s, &st, &l->e));
    u = add_unit(l, order, 1);
    ev.unit = u.id;
    ev.station = st.id;
    OK(l, store_unit_event_add(l->s, &ev, &l->e));
    ev = (struct unit_event_row){.unit = u.id, .time = T0, .event = "held", .detail = "{\"n\":1}"};
    OK(l, store_unit_event_add(l->s, &ev, &l->e));
    REFUSED(l, E_NOT_FOUND, store_request_find(l->s, order, st.id, "r1", &unit, &l->e));
    OK(l, store_request_put(l->s, order, st.id, "r1", u.id, &l->e));
    OK(l, store_request_find(l->s, order, st.id, "r1", &unit, &l->e));
    assert_int_equal(unit, u.id);
    COMMIT(l);
    OK(l, store_unit_event_each(l->s, u.id, 0, note_event, text, &l->e));
    assert_string_equal(text, "held::::{\"n\":1} reserved:issue-1:B-7:st/1:{} ");
    text[0] = '\0';
    OK(l, store_unit_event_each(l->s, u.id, 1, note_event, text, &l->e));
    assert_string_equal(text, "held::::{\"n\":1} ");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, ledger_setup, ledger_teardown)
    const struct CMUnitTest tests[] = {
        T(an_order_reads_back_as_it_was_given),
        T(an_order_number_is_given_once),
        T(a_closed_order_stays_closed_and_is_not_live),
        T(ids_of_a_list_are_known_and_others_are_not),
        T(a_device_is_once_in_an_order),
        T(a_unit_keeps_its_changes_and_never_returns_from_the_end),
        T(due_units_come_longest_overdue_first_and_only_issued_ones),
        T(units_of_an_order_are_walked_by_state_and_page),
        T(counts_from_rows_equal_counts_kept_and_a_difference_is_found),
        T(refusals_are_counted_by_reason),
        T(stations_have_names_once_and_are_revoked_once),
        T(events_are_only_added_and_come_in_their_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
