/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/auto.h"
#include "base/derw.h"
#include "ca/repeat_rule.h"
#include "ca/store/store.h"

#define BORN 1800000000
#define LIFE 900000
#define DUE  (BORN + LIFE * 66 / 100)

static const uint8_t key_a[32] = {1}, key_b[32] = {2}, cred_a[32] = {3}, cred_b[32] = {4};

/* What the newest certificate was made by. */
static const struct repeat_key made = {CERT_OP_ENROLL, "ldevid", 7, "WO-1", key_a, cred_a};

static const struct {
    const char *name;
    struct repeat_key asked;
    enum cert_status status;
    int64_t now;
    bool repeat;
} cases[] = {
    {"the same again is a repeat", {CERT_OP_ENROLL, "ldevid", 7, "WO-1", key_a, cred_a}, CERT_GOOD, BORN, true},
    {"the same until it is due", {CERT_OP_ENROLL, "ldevid", 7, "WO-1", key_a, cred_a}, CERT_GOOD, DUE - 1, true},
    {"due for renewal: a new one", {CERT_OP_ENROLL, "ldevid", 7, "WO-1", key_a, cred_a}, CERT_GOOD, DUE, false},
    {"another operation", {CERT_OP_REENROLL, "ldevid", 7, "WO-1", key_a, cred_a}, CERT_GOOD, BORN, false},
    {"another profile", {CERT_OP_ENROLL, "station", 7, "WO-1", key_a, cred_a}, CERT_GOOD, BORN, false},
    {"another device", {CERT_OP_ENROLL, "ldevid", 8, "WO-1", key_a, cred_a}, CERT_GOOD, BORN, false},
    {"another order", {CERT_OP_ENROLL, "ldevid", 7, "WO-2", key_a, cred_a}, CERT_GOOD, BORN, false},
    {"another key", {CERT_OP_ENROLL, "ldevid", 7, "WO-1", key_b, cred_a}, CERT_GOOD, BORN, false},
    {"another credential: a renewal made with the newer certificate is a new issue",
     {CERT_OP_ENROLL, "ldevid", 7, "WO-1", key_a, cred_b}, CERT_GOOD, BORN, false},
    {"revoked: nothing to repeat", {CERT_OP_ENROLL, "ldevid", 7, "WO-1", key_a, cred_a}, CERT_REVOKED, BORN, false},
    {"on hold: nothing to repeat", {CERT_OP_ENROLL, "ldevid", 7, "WO-1", key_a, cred_a}, CERT_ON_HOLD, BORN, false},
    {"expired: nothing to repeat", {CERT_OP_ENROLL, "ldevid", 7, "WO-1", key_a, cred_a}, CERT_GOOD, BORN + LIFE + 1, false},
};

static void repeats_follow_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("    %s\n", cases[i].name);
        assert_int_equal(repeat_rule(&cases[i].asked, &made, cases[i].status, BORN, BORN + LIFE, 66, cases[i].now),
                         cases[i].repeat);
    }
}

static void a_certificate_without_end_is_never_due(void **state)
{
    (void)state;
    assert_false(renewal_is_due(BORN, TIME_NO_EXPIRY, 1, TIME_NO_EXPIRY - 1));
    assert_true(repeat_rule(&made, &made, CERT_GOOD, BORN, TIME_NO_EXPIRY, 1, TIME_NO_EXPIRY - 1));
}

static void a_short_life_is_counted_in_seconds(void **state)
{
    (void)state;
    assert_false(renewal_is_due(BORN, BORN + 90, 66, BORN + 58));
    assert_true(renewal_is_due(BORN, BORN + 90, 66, BORN + 59));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repeats_follow_the_table),
        cmocka_unit_test(a_certificate_without_end_is_never_due),
        cmocka_unit_test(a_short_life_is_counted_in_seconds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
