/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ca/unit_rule.h"

/* One line per state, one word per event; "a/b": before and after the first confirm; "-" refused, "=" happened before. */
static const struct {
    enum unit_state state;
    const char *to[UNIT_EVENTS];
} expected[] = {
    /*                capture     issue     rekey     confirm      hold    pack      ship       scrap            rework    close       force */
    {UNIT_RESERVED,  {"captured", "issued", "-",      "-",         "-",    "-",      "-",       "unused",        "-",      "unused",   "unused"}},
    {UNIT_CAPTURED,  {"=",        "issued", "-",      "-",         "-",    "-",      "-",       "unused",        "-",      "unused",   "unused"}},
    {UNIT_ISSUED,    {"-",        "-",      "issued", "confirmed", "held", "-",      "-",       "void/scrapped", "-",      "orphan/-", "orphan/scrapped"}},
    {UNIT_HELD,      {"-",        "-",      "issued", "confirmed", "=",    "-",      "-",       "void/scrapped", "-",      "orphan/-", "orphan/scrapped"}},
    {UNIT_CONFIRMED, {"-",        "-",      "-",      "=",         "-",    "packed", "-",       "scrapped",      "rework", "=",        "="}},
    {UNIT_PACKED,    {"-",        "-",      "-",      "=",         "-",    "=",      "shipped", "scrapped",      "rework", "=",        "="}},
    {UNIT_SHIPPED,   {"-",        "-",      "-",      "=",         "-",    "=",      "=",       "-",             "-",      "=",        "="}},
    {UNIT_REWORK,    {"-",        "issued", "-",      "confirmed", "-",    "-",      "-",       "scrapped",      "=",      "-",        "scrapped"}},
    {UNIT_UNUSED,    {"-",        "-",      "-",      "-",         "-",    "-",      "-",       "=",             "-",      "=",        "="}},
    {UNIT_VOID,      {"-",        "-",      "-",      "-",         "-",    "-",      "-",       "=",             "-",      "=",        "="}},
    {UNIT_ORPHAN,    {"-",        "-",      "-",      "-",         "-",    "-",      "-",       "=",             "-",      "=",        "="}},
    {UNIT_SCRAPPED,  {"-",        "-",      "-",      "-",         "-",    "-",      "-",       "=",             "-",      "=",        "="}},
};

static void word_of(const char *cell, bool once_confirmed, char *out, size_t size)
{
    const char *slash = strchr(cell, '/');

    if (!slash)
        snprintf(out, size, "%s", cell);
    else if (once_confirmed)
        snprintf(out, size, "%s", slash + 1);
    else
        snprintf(out, size, "%.*s", (int)(slash - cell), cell);
}

static void every_state_and_event_goes_where_the_table_says(void **unused)
{
    enum unit_verdict v;
    enum unit_state next;
    char want[16];

    (void)unused;
    assert_int_equal(sizeof(expected) / sizeof(expected[0]), UNIT_STATES);
    for (int s = 0; s < UNIT_STATES; s++)
        for (int ev = 0; ev < UNIT_EVENTS; ev++)
            for (int once = 0; once < 2; once++) {
                assert_int_equal(expected[s].state, s);
                word_of(expected[s].to[ev], once, want, sizeof(want));
                v = unit_rule((enum unit_state)s, (enum unit_event)ev, once, &next);
                if (strcmp(want, "-") == 0 ? v != UNIT_REFUSED || next != (enum unit_state)s
                    : strcmp(want, "=") == 0
                        ? v != UNIT_STAYS || next != (enum unit_state)s
                        : v != UNIT_GOES || strcmp(unit_state_name(next), want) != 0)
                    fail_msg("%s, event %d, %s a confirm: verdict %d, next %s; wanted %s", unit_state_name((enum unit_state)s), ev,
                             once ? "after" : "before", (int)v, unit_state_name(next), want);
            }
}

static void a_unit_that_ended_stays_ended(void **unused)
{
    enum unit_state next;

    (void)unused;
    for (int s = 0; s < UNIT_STATES; s++)
        for (int ev = 0; ev < UNIT_EVENTS; ev++)
            if (unit_has_ended((enum unit_state)s))
                assert_int_not_equal(unit_rule((enum unit_state)s, (enum unit_event)ev, true, &next), UNIT_GOES);
    assert_true(unit_has_ended(UNIT_VOID));
    assert_false(unit_has_ended(UNIT_SHIPPED));
}

static void names_read_back_and_numbers_beyond_are_refused(void **unused)
{
    enum unit_state s;

    (void)unused;
    for (int i = 0; i < UNIT_STATES; i++) {
        assert_true(unit_state_from_name(unit_state_name((enum unit_state)i), &s));
        assert_int_equal(s, i);
    }
    assert_false(unit_state_from_name("lost", &s));
    assert_int_equal(unit_rule(UNIT_STATES, UNIT_DO_ISSUE, false, &s), UNIT_REFUSED);
    assert_int_equal(unit_rule(UNIT_ISSUED, UNIT_EVENTS, false, &s), UNIT_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_and_event_goes_where_the_table_says),
        cmocka_unit_test(a_unit_that_ended_stays_ended),
        cmocka_unit_test(names_read_back_and_numbers_beyond_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
