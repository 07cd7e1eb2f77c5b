/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of mass actions: the order in which they run, ids from a file, digests, and their rows in the ledger. */
#include "tests/unit/ledger_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "ca/batch.h"
#include "ca/store/life.h"

/* ---- order ---- */

static void every_number_comes_once_and_the_canary_is_spread(void **state)
{
    (void)state;
    for (uint64_t count = 1; count <= 120; count++)
        for (uint64_t canary = 0; canary <= count; canary++) {
            bool seen[121] = {false};

            for (uint64_t at = 0; at < count; at++) {
                uint64_t n = batch_item_at(count, canary, at);

                if (n < 1 || n > count || seen[n])
                    fail_msg("count %d, canary %d: place %d is number %d", (int)count, (int)canary, (int)at, (int)n);
                seen[n] = true;
                /* Never further apart than the division has it, so that no stretch of the list is left out. */
                if (canary && at > 0 && at < canary && count / canary >= 2)
                    assert_int_equal(n - batch_item_at(count, canary, at - 1), count / canary);
            }
        }
    assert_int_equal(batch_item_at(100000, 5000, 4999), 99981);
    assert_int_equal(batch_item_at(100000, 5000, 5000), 2);
    assert_int_equal(batch_item_at(10, 0, 9), 10);
}

/* ---- what it would do ---- */

static void would_is_what_the_table_says(void **state)
{
    static const struct {
        enum batch_action action;
        enum device_state from;
        const char *would;
    } cases[] = {
        {BATCH_SUSPEND, DEVICE_IN_SERVICE, "change"},    {BATCH_SUSPEND, DEVICE_SUSPENDED, "same"},
        {BATCH_SUSPEND, DEVICE_DECLARED, "refuse"},      {BATCH_RELEASE, DEVICE_SUSPENDED, "change"},
        {BATCH_RELEASE, DEVICE_QUARANTINED, "refuse"},   {BATCH_RELEASE, DEVICE_IN_SERVICE, "same"},
        {BATCH_UNQUARANTINE, DEVICE_QUARANTINED, "change"}, {BATCH_UNQUARANTINE, DEVICE_SUSPENDED, "refuse"},
        {BATCH_SHIP, DEVICE_CONFIRMED, "change"},        {BATCH_SHIP, DEVICE_DISPOSED, "refuse"},
        {BATCH_COMPROMISE, DEVICE_LOST, "refuse"},       {BATCH_REVOKE, DEVICE_DISPOSED, "change"},
        /* the table allows these two, under other names: found, accepted by a new owner */
        {BATCH_SUSPEND, DEVICE_LOST, "refuse"},          {BATCH_SHIP, DEVICE_TRANSFERRING, "refuse"},
    };
    char why[192];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *got = batch_would(cases[i].action, cases[i].from, why, sizeof(why));

        if (strcmp(got, cases[i].would) != 0 || (why[0] != '\0') != (strcmp(got, "refuse") == 0))
            fail_msg("%s of %s: %s (%s)", batch_action_name(cases[i].action), device_state_name(cases[i].from), got, why);
    }
    for (int a = 0; a < BATCH_ACTIONS; a++) {
        enum batch_action read, back = batch_inverse((enum batch_action)a);

        assert_true(batch_action_from_name(batch_action_name((enum batch_action)a), &read) && read == (enum batch_action)a);
        /* What undoes starts where the action ends. */
        if (back != BATCH_ACTIONS)
            assert_string_equal(batch_would(back, batch_target((enum batch_action)a), why, sizeof(why)), "change");
    }
}

static void steps_leave_time_to_others_and_more_to_enrollments(void **state)
{
    static const struct {
        int64_t took_us, budget_us, quiet_us, busy_us;
    } cases[] = {
        {0, 1500, 6000, 0},
        {2200, 1500, 6000, 17600},
        {3700, 1500, 6000, 29600},
        {12500, 8000, 32000, 100000},
        {20000, 12000, 48000, 100000}, /* commits are slow */
        {208000, 200000, 800000, 624000},
        {1000000, 20000, 80000, 3000000}, /* the disk stands still for once */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(batch_period_us(cases[i].took_us, cases[i].budget_us, false), cases[i].quiet_us);
        assert_int_equal(batch_period_us(cases[i].took_us, cases[i].budget_us, true), cases[i].busy_us);
    }
}

/* ---- lists ---- */

static void declare(struct ledger *l, const char *domain, const char *id)
{
    struct device_row d = {.domain = domain, .device_id = id, .state = DEVICE_IN_SERVICE, .declared_at = T0};

    OK(l, store_device_insert(l->s, &d, &l->e));
}

static void fill(struct ledger *l)
{
    OK(l, store_begin(l->s, &l->e));
    declare(l, "acme", "b");
    declare(l, "acme", "a");
    declare(l, "beta", "a");
    declare(l, "acme", "c");
    OK(l, store_commit(l->s, &l->e));
}

struct taken {
    char text[200];
    struct batch_digest digest;
};

static bool take(void *arg, const struct device_row *row)
{
    struct taken *t = arg;

    sprintf(t->text + strlen(t->text), "%s/%s ", row->domain, row->device_id);
    batch_digest_add(&t->digest, row);
    return true;
}

/* All of a list, `page` at a time. */
static void take_all(struct ledger *l, struct batch_list *list, size_t page, struct taken *t, uint8_t digest[32])
{
    bool more = true;

    *t = (struct taken){.text = ""};
    OK(l, batch_digest_begin(&t->digest, &l->e));
    while (more)
        OK(l, batch_list_next(list, l->s, page, take, t, &more, &l->e));
    batch_digest_end(&t->digest, digest);
    batch_list_free(list);
}

static void ids_are_taken_in_the_order_of_declaration_each_once(void **state)
{
    struct ledger *l = *state;
    struct batch_list *list;
    struct taken t;
    uint8_t digest[32], wanted[32];

    fill(l);
    for (size_t page = 0; page <= 3; page++) {
        OK(l, batch_list_ids(bytes_str("c\n\nbeta/a \r\nacme/b\nc\nb"), "acme", &list, &l->e));
        take_all(l, list, page, &t, digest);
        assert_string_equal(t.text, "acme/b beta/a acme/c ");
        sha256(bytes_str("acme/b\nbeta/a\nacme/c\n"), wanted);
        assert_memory_equal(digest, wanted, 32);
        OK(l, batch_list_select("device = *", T0, &list, &l->e));
        take_all(l, list, page, &t, digest);
        assert_string_equal(t.text, "acme/b acme/a beta/a acme/c ");
    }
}

static void wrong_ids_are_refused_by_their_line(void **state)
{
    static const struct {
        const char *text, *domain, *says;
    } cases[] = {
        {"a\nb c\n", "acme", "line 2: not a device id"},
        {"a\n\n/a\n", "acme", "line 3: not a device id"},
        {"a\nacme/\n", "acme", "line 2: not a device id"},
        {"a\n", NULL, "line 1: which domain"},
        {"\n \n", "acme", "empty"},
        {"", "acme", "empty"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", "acme", "line 1: longer"},
    };
    struct ledger *l = *state;
    struct batch_list *list;
    struct taken t = {.text = ""};
    bool more;

    fill(l);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        REFUSED(l, E_INVALID, batch_list_ids(bytes_str(cases[i].text), cases[i].domain, &list, &l->e));
        SAYS(l, cases[i].says);
        assert_null(list);
    }
    OK(l, batch_list_ids(bytes_str("a\nx1\nx2\nx3\nx4\nx5\nx6\n"), "acme", &list, &l->e));
    REFUSED(l, E_NOT_FOUND, batch_list_next(list, l->s, 0, take, &t, &more, &l->e));
    SAYS(l, "6 of 7 ids are not declared: acme/x1, acme/x2, acme/x3, acme/x4, acme/x5, ...");
    batch_list_free(list);
}

/* ---- rows ---- */

static uint64_t new_batch(struct ledger *l)
{
    static const uint64_t devices[] = {1, 2, 4};
    static const uint8_t digest[32] = {1};
    struct batch_row b = {.action = BATCH_SUSPEND, .state = BATCH_FREEZING, .selector = "domain = acme", .created_by = "alice",
                          .created_at = T0, .canary = 10};

    OK(l, store_batch_insert(l->s, &b, &l->e));
    OK(l, store_batch_items_put(l->s, b.id, 1, devices, 3, &l->e));
    OK(l, store_batch_freeze(l->s, b.id, 3, digest, &l->e));
    return b.id;
}

static void a_list_is_frozen_once_and_a_batch_only_goes_on(void **state)
{
    static const uint8_t digest[32] = {2};
    struct ledger *l = *state;
    struct batch_row b;
    uint64_t id, device;

    fill(l);
    OK(l, store_begin(l->s, &l->e));
    id = new_batch(l);
    OK(l, store_batch_item(l->s, id, 3, &device, &l->e));
    assert_int_equal(device, 4);
    REFUSED(l, E_NOT_FOUND, store_batch_item(l->s, id, 4, &device, &l->e));
    REFUSED(l, E_NOT_FOUND, store_batch_freeze(l->s, id, 2, digest, &l->e));
    OK(l, store_savepoint(l->s, &l->e));
    REFUSED(l, E_CONFLICT, store_batch_items_put(l->s, id, 4, &device, 1, &l->e));
    SAYS(l, "is frozen");
    store_savepoint_undo(l->s);
    OK(l, store_batch_by_id(l->s, id, &b, &l->e));
    assert_true(b.frozen && b.count == 3 && b.digest[0] == 1 && b.canary == 10);
    assert_string_equal(b.selector, "domain = acme");
    b.next = 2;
    b.changed = 1;
    b.refused = 1;
    OK(l, store_batch_advance(l->s, &b, &l->e));
    b.next = 1;
    b.refused = 0;
    OK(l, store_savepoint(l->s, &l->e));
    REFUSED(l, E_CONFLICT, store_batch_advance(l->s, &b, &l->e)); /* back */
    SAYS(l, "never goes back");
    b.next = 3;
    REFUSED(l, E_CONFLICT, store_batch_advance(l->s, &b, &l->e)); /* a unit that nobody counted */
    store_savepoint_undo(l->s);
    OK(l, store_batch_set_state(l->s, id, BATCH_RUNNING, "", T0 + 5, &l->e));
    OK(l, store_batch_set_state(l->s, id, BATCH_PAUSED, "", T0 + 6, &l->e));
    OK(l, store_batch_set_state(l->s, id, BATCH_RUNNING, "", T0 + 7, &l->e));
    OK(l, store_batch_set_state(l->s, id, BATCH_DONE, "", T0 + 8, &l->e));
    OK(l, store_batch_by_id(l->s, id, &b, &l->e));
    assert_int_equal(b.started_at, T0 + 5);
    assert_int_equal(b.ended_at, T0 + 8);
    REFUSED(l, E_NOT_FOUND, store_batch_set_state(l->s, id, BATCH_RUNNING, "", T0 + 9, &l->e));
    REFUSED(l, E_NOT_FOUND, store_batch_advance(l->s, &b, &l->e));
    OK(l, store_commit(l->s, &l->e));
}

static bool note_number(void *arg, uint64_t n, const struct device_row *row)
{
    sprintf((char *)arg + strlen(arg), "%d:%s ", (int)n, row->device_id);
    return true;
}

/* Of three devices the batch suspended, one was changed by hand since, and one stands elsewhere. */
static void undo_takes_what_the_batch_still_holds(void **state)
{
    struct ledger *l = *state;
    struct device_event_row ev = {.time = T0, .from = DEVICE_IN_SERVICE, .to = DEVICE_SUSPENDED, .actor = "alice", .reason = "", .evidence = ""};
    char got[100] = "";
    uint64_t id, batch;

    fill(l);
    OK(l, store_begin(l->s, &l->e));
    id = new_batch(l);
    for (uint64_t d = 1; d <= 4; d++) {
        ev.device = d;
        ev.batch = id;
        OK(l, store_device_set_state(l->s, d, DEVICE_SUSPENDED, T0, &l->e));
        OK(l, store_device_event_add(l->s, &ev, &l->e));
    }
    ev.device = 2;
    ev.batch = 0;
    OK(l, store_device_event_add(l->s, &ev, &l->e));
    OK(l, store_batch_still(l->s, id, DEVICE_SUSPENDED, 0, 0, note_number, got, &l->e));
    assert_string_equal(got, "1:b 3:c ");
    OK(l, store_batch_of_device(l->s, 2, &batch, &l->e));
    assert_int_equal(batch, 0);
    OK(l, store_device_set_state(l->s, 1, DEVICE_IN_SERVICE, T0, &l->e));
    got[0] = '\0';
    OK(l, store_batch_still(l->s, id, DEVICE_SUSPENDED, 0, 0, note_number, got, &l->e));
    assert_string_equal(got, "3:c ");
    OK(l, store_commit(l->s, &l->e));
}

static uint64_t alone(struct ledger *l, const char *by, int64_t since)
{
    uint64_t units = 0;

    OK(l, store_batch_alone(l->s, by, since, &units, &l->e));
    return units;
}

static void what_one_person_let_run_alone_adds_up_while_it_is_open_and_for_some_time(void **state)
{
    struct ledger *l = *state;
    struct batch_row b = {.next = 2, .changed = 1, .same = 1};
    uint64_t first, second, third;

    fill(l);
    OK(l, store_begin(l->s, &l->e));
    first = new_batch(l);
    second = new_batch(l);
    third = new_batch(l);
    assert_int_equal(alone(l, "alice", T0), 0); /* they wait */
    OK(l, store_batch_set_state(l->s, first, BATCH_RUNNING, "", T0 + 10, &l->e));
    OK(l, store_batch_set_state(l->s, first, BATCH_PAUSED, "", T0 + 11, &l->e));
    assert_int_equal(alone(l, "alice", T0 + 1000), 3); /* however long it rests */
    assert_int_equal(alone(l, "bob", T0), 0);
    b.id = first;
    OK(l, store_batch_advance(l->s, &b, &l->e));
    OK(l, store_batch_set_state(l->s, first, BATCH_CANCELLED, "", T0 + 20, &l->e));
    assert_int_equal(alone(l, "alice", T0 + 20), 2); /* what was done of it */
    assert_int_equal(alone(l, "alice", T0 + 21), 0);
    OK(l, store_batch_set_state(l->s, second, BATCH_RUNNING, "", T0 + 20, &l->e));
    assert_int_equal(alone(l, "alice", T0 + 20), 5);
    OK(l, store_batch_approved(l->s, third, "bob", T0 + 20, &l->e));
    OK(l, store_batch_set_state(l->s, third, BATCH_RUNNING, "", T0 + 20, &l->e));
    assert_int_equal(alone(l, "alice", T0 + 20), 5);
    OK(l, store_commit(l->s, &l->e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_one_person_let_run_alone_adds_up_while_it_is_open_and_for_some_time, ledger_setup, ledger_teardown),
        cmocka_unit_test(every_number_comes_once_and_the_canary_is_spread),
        cmocka_unit_test(would_is_what_the_table_says),
        cmocka_unit_test(steps_leave_time_to_others_and_more_to_enrollments),
        cmocka_unit_test_setup_teardown(ids_are_taken_in_the_order_of_declaration_each_once, ledger_setup, ledger_teardown),
        cmocka_unit_test_setup_teardown(wrong_ids_are_refused_by_their_line, ledger_setup, ledger_teardown),
        cmocka_unit_test_setup_teardown(a_list_is_frozen_once_and_a_batch_only_goes_on, ledger_setup, ledger_teardown),
        cmocka_unit_test_setup_teardown(undo_takes_what_the_batch_still_holds, ledger_setup, ledger_teardown),
    };

    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
