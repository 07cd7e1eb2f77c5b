/* SPDX-License-Identifier: Apache-2.0 */
/* Budgets as text: the payload of the record, and the marks in the second place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "ca/budget_spec.h"

#define GOOD "{\"box\":\"line-a\",\"issued_at\":1000,\"number\":7,\"order\":\"WO-17\",\"units\":500,\"until\":2000}"

static void what_is_written_is_read(void **state)
{
    struct budget in = {.box = "line-a", .scope = "WO-17", .number = 7, .units = 500, .issued_at = 1000, .until = 2000}, out;
    AUTO_BUF text = BUF_INIT(512);
    struct err e = {0};

    (void)state;
    budget_write(&in, &text);
    assert_true(bytes_equal(buf_bytes(&text), bytes_str(GOOD)));
    assert_int_equal(budget_read(buf_bytes(&text), &out, &e), E_OK);
    assert_string_equal(out.box, in.box);
    assert_string_equal(out.scope, in.scope);
    assert_true(out.number == in.number && out.units == in.units && out.issued_at == in.issued_at && out.until == in.until);
}

static void what_is_not_a_budget_is_refused(void **state)
{
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"\"box\":\"line-a\",", ""},
        {"\"line-a\"", "\"line a\""},
        {"\"line-a\"", "\"\""},
        {"\"number\":7", "\"number\":0"},
        {"\"number\":7", "\"number\":-7"},
        {"\"number\":7", "\"number\":\"7\""},
        {"\"number\":7", "\"number\":7.0"},
        {"\"number\":7", "\"number\":7,\"number\":8"},
        {"\"number\":7", "\"number\":7,\"note\":\"x\""},
        {"\"units\":500", "\"units\":0"},
        {"\"units\":500", "\"units\":1000000001"},
        {"\"units\":500", "\"units\":-1"},
        {"\"until\":2000", "\"until\":1000"},
        {"\"issued_at\":1000", "\"issued_at\":0"},
        {"\"WO-17\"", "\"**\""},
        {"\"WO-17\"", "\"WO 17\""},
        {"\"WO-17\"", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\""},
        {"}", "}}"},
        {"{\"box\"", "[\"box\""},
    };
    struct budget out;
    struct err e = {0};
    char text[512];

    (void)state;
    assert_int_equal(budget_read(bytes_str(GOOD), &out, &e), E_OK);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *at = strstr(GOOD, cases[i].from);

        assert_non_null(at);
        snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - GOOD), GOOD, cases[i].to, at + strlen(cases[i].from));
        if (budget_read(bytes_str(text), &out, &e) != E_INVALID)
            fail_msg("taken: %s", text);
    }
}

static char *fresh_dir(char *dir)
{
    snprintf(dir, 64, "/tmp/budget-test.XXXXXX");
    assert_non_null(mkdtemp(dir));
    return dir;
}

static void drop_dir(const char *dir)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/budget", dir);
    unlink(path);
    rmdir(dir);
}

static void marks_come_back_as_they_were_written(void **state)
{
    struct budget_marks m, back;
    struct err e = {0};
    char dir[64], scope[32];

    (void)state;
    fresh_dir(dir);
    assert_int_equal(budget_marks_read(dir, &m, &e), E_OK);
    assert_false(m.exists);
    for (unsigned i = 0; i < 300; i++) {
        snprintf(scope, sizeof(scope), "WO-%u", i);
        assert_int_equal(budget_mark_set(&m, scope, i + 1, 2u * i, &e), E_OK);
    }
    assert_int_equal(budget_mark_set(&m, BUDGET_EVERY, 5, 32, &e), E_OK);
    assert_int_equal(budget_mark_set(&m, "WO-7", 900, 901, &e), E_OK); /* replaces */
    m.time = 1234567890;
    assert_int_equal(budget_marks_write(dir, &m, &e), E_OK);
    assert_int_equal(budget_marks_read(dir, &back, &e), E_OK);
    assert_true(back.exists);
    assert_int_equal(back.n, 301);
    assert_int_equal(back.time, 1234567890);
    assert_int_equal(budget_mark_find(&back, "WO-7")->number, 900);
    assert_int_equal(budget_mark_find(&back, "WO-7")->drawn, 901);
    assert_int_equal(budget_mark_find(&back, "WO-299")->drawn, 598);
    assert_int_equal(budget_mark_find(&back, BUDGET_EVERY)->number, 5);
    assert_null(budget_mark_find(&back, "WO-300"));
    budget_marks_clear(&m);
    budget_marks_clear(&back);
    drop_dir(dir);
}

/* A damaged file is never taken for "nothing was drawn". */
static void damaged_marks_are_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "inkan-budget-marks 1\n",
        "inkan-budget-marks 1\ntime 5\n",
        "inkan-budget-marks 1\nend\n",
        "inkan-budget-marks 2\ntime 5\nend\n",
        "inkan-budget-marks 1\ntime 5\nend\nbudget * 1 1\n",
        "inkan-budget-marks 1\ntime 5\ntime 5\nend\n",
        "inkan-budget-marks 1\ntime -5\nend\n",
        "inkan-budget-marks 1\ntime 5\nbudget * 1\nend\n",
        "inkan-budget-marks 1\ntime 5\nbudget * 1 x\nend\n",
        "inkan-budget-marks 1\ntime 5\nbudget * 1 1 1\nend\n",
        "inkan-budget-marks 1\ntime 5\nbudget * 1 1\nbudget * 1 2\nend\n",
        "inkan-budget-marks 1\ntime 5\nbudget * 1 99999999999999999999\nend\n",
        "inkan-budget-marks 1\ntime 5\nbudget WO/1 1 1\nend\n",
    };
    struct budget_marks m;
    struct err e = {0};
    char dir[64], path[128];

    (void)state;
    fresh_dir(dir);
    snprintf(path, sizeof(path), "%s/budget", dir);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        assert_int_equal(file_write_atomic(path, bytes_str(texts[i]), 0644, &e), E_OK);
        if (budget_marks_read(dir, &m, &e) != E_INVALID)
            fail_msg("taken: %s", texts[i]);
        assert_int_equal(m.n, 0);
    }
    drop_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(what_is_not_a_budget_is_refused),
        cmocka_unit_test(marks_come_back_as_they_were_written),
        cmocka_unit_test(damaged_marks_are_refused),
    };
    return cmocka_run_group_tests_name("budgets as text", tests, NULL, NULL);
}
