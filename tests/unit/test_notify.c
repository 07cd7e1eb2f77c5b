/* SPDX-License-Identifier: Apache-2.0 */
/* inkan-notify: the signature of a delivery, how far somebody was told, lines of syslog; and the text of numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fsio.h"
#include "base/openmetrics.h"
#include "enroll/notify/notify.h"

static void the_signature_is_over_timestamp_dot_body(void **state)
{
    char out[65];
    struct err e = {0};

    (void)state;
    assert_int_equal(notify_sign(bytes_str("0123456789abcdef"), 1790000000, bytes_str("{\"a\":1}"), out, &e), E_OK);
    assert_string_equal(out, "d569e4518fe6f4620fd6639233427e7df5e5394d8f14c85c1063b8d90a724dcb"); /* Python's hmac */
    assert_int_equal(notify_sign(bytes_str("0123456789abcdef"), 1790000001, bytes_str("{\"a\":1}"), out, &e), E_OK);
    assert_string_not_equal(out, "d569e4518fe6f4620fd6639233427e7df5e5394d8f14c85c1063b8d90a724dcb");
}

static void how_far_somebody_was_told_reads_back_and_a_damaged_file_is_refused(void **state)
{
    static const char *const damaged[] = {"", "inkan-notify 1\nledger l\nalarms 1\naudit 2\nheads 3\n", "inkan-notify 2\nledger l\nalarms 1\naudit 2\nheads 3\nend\n",
                                          "inkan-notify 1\nledger l\nalarms 1\naudit 2\nheads 3\nend\nmore"};
    struct told t = {.ledger = "3f-1", .up_to = {7, 1ull << 40, 9}}, back;
    char path[64] = "/tmp/inkan-told.XXXXXX";
    struct err e = {0};
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(told_write(path, &t, &e), E_OK);
    assert_int_equal(told_read(path, &back, &e), E_OK);
    assert_memory_equal(&t.up_to, &back.up_to, sizeof(t.up_to));
    assert_string_equal(back.ledger, "3f-1");
    for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
        assert_int_equal(file_write_atomic(path, bytes_str(damaged[i]), 0600, &e), E_OK);
        assert_int_equal(told_read(path, &back, &e), E_INVALID);
        assert_string_equal(back.ledger, "");
    }
    unlink(path);
    assert_int_equal(told_read(path, &back, &e), E_OK); /* none: nothing was told yet */
    assert_string_equal(back.ledger, "");
}

#define NEVER {UINT64_MAX, UINT64_MAX, UINT64_MAX}

static void who_is_new_or_ahead_is_told_on_from_the_newest(void **state)
{
    static const struct ledger_news as_made = {"a", {5, 50, 40}, NEVER}, another = {"b", {8, 80, 70}, NEVER};
    struct told t = {{0}, {0}};

    (void)state;
    assert_true(told_fit(&t, &as_made, false));
    assert_memory_equal(t.up_to, as_made.newest, sizeof(t.up_to));
    t = (struct told){{0}, {0}};
    assert_true(told_fit(&t, &as_made, true));
    assert_int_equal(t.up_to[NOTIFY_AUDIT], 0);
    t.up_to[NOTIFY_AUDIT] = 20;
    assert_false(told_fit(&t, &as_made, true)); /* as it was */
    assert_int_equal(t.up_to[NOTIFY_AUDIT], 20);
    t.up_to[NOTIFY_AUDIT] = 60; /* set back, and not accepted yet */
    assert_true(told_fit(&t, &as_made, true));
    assert_int_equal(t.up_to[NOTIFY_AUDIT], 50);
    assert_true(told_fit(&t, &another, false));
    assert_memory_equal(t.up_to, another.newest, sizeof(t.up_to));
    assert_true(told_fit(&t, &as_made, true));
    assert_int_equal(t.up_to[NOTIFY_AUDIT], 0);
}

static void after_a_restore_nothing_that_is_new_is_left_out(void **state)
{
    static const struct ledger_news restored = {"a-1", {5, 80, 70}, {3, 50, 50}};
    struct told t = {"a", {4, 60, 55}}, behind = {"a", {1, 20, 15}};

    (void)state;
    assert_true(told_fit(&t, &restored, false)); /* 51 to 60 are others than those it was told */
    assert_int_equal(t.up_to[NOTIFY_ALARMS], 3);
    assert_int_equal(t.up_to[NOTIFY_AUDIT], 50);
    assert_int_equal(t.up_to[NOTIFY_HEADS], 50);
    assert_string_equal(t.ledger, "a-1");
    t.up_to[NOTIFY_AUDIT] = 70;
    assert_false(told_fit(&t, &restored, false)); /* told after it */
    assert_int_equal(t.up_to[NOTIFY_AUDIT], 70);
    assert_true(told_fit(&behind, &restored, false));
    assert_int_equal(behind.up_to[NOTIFY_AUDIT], 20);
}

static void only_what_is_refused_for_long_is_given_up(void **state)
{
    (void)state;
    assert_false(notify_gives_up(E_OK, 1000, 1000000));
    assert_false(notify_gives_up(E_IO, 1000, 1000000));
    assert_false(notify_gives_up(E_INVALID, 3, 1000000));
    assert_false(notify_gives_up(E_INVALID, 4, 599));
    assert_true(notify_gives_up(E_INVALID, 4, 600));
    assert_false(notify_gives_up(E_DENIED, 1000, 86399));
    assert_true(notify_gives_up(E_DENIED, 1000, 86400));
}

static void lines_of_syslog(void **state)
{
    AUTO_BUF out = BUF_INIT(1024);

    (void)state;
    syslog_line(&out, false, NOTIFY_ALARMS, 1790000000, "pki-1", bytes_str("{}"));
    buf_add_u8(&out, 0);
    assert_string_equal((char *)out.p, "<108>1 2026-09-21T14:13:20Z pki-1 inkan - alarms - {}");
    buf_reset(&out);
    syslog_line(&out, true, NOTIFY_AUDIT, 1790000000, "pki-1", bytes_str("{}"));
    buf_add_u8(&out, 0);
    assert_string_equal((char *)out.p, "<109>inkan-audit: {}");
}

static void numbers_as_text(void **state)
{
    AUTO_BUF out = BUF_INIT(4096);
    struct histogram h = {{0}, 0};

    (void)state;
    om_family(&out, "a_seconds", "histogram", "seconds", "Line\nwith \\ and \".");
    om_sample(&out, "b_total", 3, "k", "v\"\\\n", "l", "w", NULL);
    om_sample(&out, "c", 1795349739, NULL);
    buf_add_u8(&out, 0);
    assert_string_equal((char *)out.p, "# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n# HELP a_seconds Line\\nwith \\\\ and \\\".\n"
                                       "b_total{k=\"v\\\"\\\\\\n\",l=\"w\"} 3\nc 1795349739\n");
    histogram_add(&h, -5);
    histogram_add(&h, 100);     /* a bound belongs to its bucket */
    histogram_add(&h, 101);
    histogram_add(&h, 9000000); /* above all bounds */
    buf_reset(&out);
    om_histogram(&out, "a_seconds", &h, "t", "x");
    buf_add_u8(&out, 0);
    assert_non_null(strstr((char *)out.p, "a_seconds_bucket{t=\"x\",le=\"0.0001\"} 2\n"));
    assert_non_null(strstr((char *)out.p, "a_seconds_bucket{t=\"x\",le=\"0.0002\"} 3\n"));
    assert_non_null(strstr((char *)out.p, "a_seconds_bucket{t=\"x\",le=\"5\"} 3\n"));
    assert_non_null(strstr((char *)out.p, "a_seconds_bucket{t=\"x\",le=\"+Inf\"} 4\n"));
    assert_non_null(strstr((char *)out.p, "a_seconds_count{t=\"x\"} 4\na_seconds_sum{t=\"x\"} 9.000201\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_signature_is_over_timestamp_dot_body),
        cmocka_unit_test(how_far_somebody_was_told_reads_back_and_a_damaged_file_is_refused),
        cmocka_unit_test(who_is_new_or_ahead_is_told_on_from_the_newest),
        cmocka_unit_test(after_a_restore_nothing_that_is_new_is_left_out),
        cmocka_unit_test(only_what_is_refused_for_long_is_given_up),
        cmocka_unit_test(lines_of_syslog),
        cmocka_unit_test(numbers_as_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
