/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/auto.h"
#include "base/limits.h"
#include "ca/clock_rule.h"

#define T 1800000000

static const struct {
    const char *name;
    int64_t floor;
    bool running;
    int64_t now, passed_ms;
    enum clock_verdict verdict;
} cases[] = {
    {"a new ledger takes any time", 0, false, 0, 0, CLOCK_GOOD},
    {"a new ledger takes a far time", 0, false, T * 2LL, 0, CLOCK_GOOD},
    {"the same second is good", T, true, T, 0, CLOCK_GOOD},
    {"five minutes back is good", T, true, T - CLOCK_BACK_MAX_S, 0, CLOCK_GOOD},
    {"one second more is back", T, true, T - CLOCK_BACK_MAX_S - 1, 0, CLOCK_BACK},
    {"five minutes back at start is good", T, false, T - CLOCK_BACK_MAX_S, 0, CLOCK_GOOD},
    {"one second more at start is back", T, false, T - CLOCK_BACK_MAX_S - 1, 0, CLOCK_BACK},
    {"1970 is back", T, true, 0, 0, CLOCK_BACK},
    {"an hour ahead while running is good", T, true, T + CLOCK_FORWARD_MAX_S, 0, CLOCK_GOOD},
    {"one second more while running is forward", T, true, T + CLOCK_FORWARD_MAX_S + 1, 0, CLOCK_FORWARD},
    {"time that passed is allowed for", T, true, T + CLOCK_FORWARD_MAX_S + 7200, 7200 * 1000, CLOCK_GOOD},
    {"and not a second more", T, true, T + CLOCK_FORWARD_MAX_S + 7201, 7200 * 1000, CLOCK_FORWARD},
    {"thirty days ahead at start is good", T, false, T + CLOCK_START_MAX_S, 0, CLOCK_GOOD},
    {"one second more at start is forward", T, false, T + CLOCK_START_MAX_S + 1, 0, CLOCK_FORWARD},
    {"monotonic time before the start counts for nothing", T, false, T + CLOCK_START_MAX_S + 1, 999999999, CLOCK_FORWARD},
};

static void verdicts_follow_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct clock_rule r = {.floor = cases[i].floor, .floor_ms = 5000, .running = cases[i].running};

        print_message("    %s\n", cases[i].name);
        assert_int_equal(clock_rule_judge(&r, cases[i].now, 5000 + cases[i].passed_ms), cases[i].verdict);
    }
}

static void the_floor_only_rises(void **state)
{
    struct clock_rule r = {.floor = T};

    (void)state;
    clock_rule_accept(&r, T - 100, 1000);
    assert_int_equal(r.floor, T);
    assert_true(r.running);
    clock_rule_accept(&r, T + 10, 111000);
    assert_int_equal(r.floor, T + 10);
    clock_rule_accept(&r, T + 5, 112000);
    assert_int_equal(r.floor, T + 10);
    /* the anchor stayed with the floor: small steps back must not let the clock creep ahead */
    assert_int_equal(r.floor_ms, 111000);
}

static void small_steps_cannot_walk_past_the_hour(void **state)
{
    struct clock_rule r = {.floor = T, .floor_ms = 0, .running = true};

    (void)state;
    assert_int_equal(clock_rule_judge(&r, T + 3600, 0), CLOCK_GOOD);
    clock_rule_accept(&r, T + 3600, 0);
    assert_int_equal(clock_rule_judge(&r, T + 3600 + 3601, 0), CLOCK_FORWARD);
}

static void an_operator_may_lower_the_floor(void **state)
{
    struct clock_rule r = {.floor = T, .running = true};

    (void)state;
    clock_rule_force(&r, T - 86400, 7);
    assert_int_equal(r.floor, T - 86400);
    assert_int_equal(clock_rule_judge(&r, T - 86400, 7), CLOCK_GOOD);
    assert_int_equal(clock_rule_judge(&r, T, 7), CLOCK_FORWARD);
}

static void stamps_never_run_backwards(void **state)
{
    struct clock_rule r = {.floor = T};

    (void)state;
    assert_int_equal(clock_rule_stamp(&r, T - 200), T);
    assert_int_equal(clock_rule_stamp(&r, T + 1), T + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts_follow_the_table),       cmocka_unit_test(the_floor_only_rises),
        cmocka_unit_test(small_steps_cannot_walk_past_the_hour), cmocka_unit_test(an_operator_may_lower_the_floor),
        cmocka_unit_test(stamps_never_run_backwards),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
