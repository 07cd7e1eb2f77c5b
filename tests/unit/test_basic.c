/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/auto.h"
#include "enroll/basic.h"

static enum basic_result read_pair(const char *pair, size_t len, char *user, size_t size, struct secret *password)
{
    AUTO_BUF value = BUF_INIT(8192);

    buf_add_str(&value, "Basic ");
    base64_encode(&value, BYTES(pair, len), 0);
    return basic_read(buf_bytes(&value), user, size, password);
}

static void pairs_split_at_the_first_colon(void **state)
{
    static const struct {
        const char *name, *pair;
        size_t len;
        enum basic_result want;
        const char *user, *password;
    } cases[] = {
        {"user and password", "dev:secret", 10, BASIC_OK, "dev", "secret"},
        {"colons in the password", "dev:a:b:c", 9, BASIC_OK, "dev", "a:b:c"},
        {"empty user", ":secret", 7, BASIC_OK, "", "secret"},
        {"empty password", "dev:", 4, BASIC_OK, "dev", ""},
        {"both empty", ":", 1, BASIC_OK, "", ""},
        {"UTF-8", "d\xc3\xa9v:p", 6, BASIC_OK, "d\xc3\xa9v", "p"},
        {"no colon", "dev", 3, BASIC_MALFORMED, "", ""},
        {"nothing", "", 0, BASIC_MALFORMED, "", ""},
        {"NUL in the user", "d\0v:p", 5, BASIC_MALFORMED, "", ""},
        {"NUL in the password", "dev:p\0q", 7, BASIC_MALFORMED, "", ""},
        {"newline", "dev:p\n", 6, BASIC_MALFORMED, "", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct secret password = {0};
        char user[129];
        enum basic_result got = read_pair(cases[i].pair, cases[i].len, user, sizeof user, &password);

        if (got != cases[i].want)
            fail_msg("%s: result %d", cases[i].name, got);
        if (got == BASIC_OK) {
            assert_string_equal(user, cases[i].user);
            assert_int_equal(password.len, strlen(cases[i].password));
            assert_int_equal(memcmp(password.p ? (const char *)password.p : "", cases[i].password, password.len), 0);
        } else {
            assert_null(password.p);
        }
        secret_clear(&password);
    }
}

static void values_are_judged_by_form(void **state)
{
    static const struct {
        const char *name, *value;
        enum basic_result want;
    } cases[] = {
        {"scheme in capitals", "BASIC ZDpw", BASIC_OK},
        {"more blanks", "Basic   ZDpw", BASIC_OK},
        {"absent", "", BASIC_NONE},
        {"another scheme", "Bearer ZDpw", BASIC_NONE},
        {"scheme that starts alike", "Basics ZDpw", BASIC_NONE},
        {"scheme alone", "Basic", BASIC_MALFORMED},
        {"octet outside the alphabet", "Basic ZD*w", BASIC_MALFORMED},
        {"missing padding", "Basic ZDpwcQ", BASIC_MALFORMED},
        {"spare bits set", "Basic ZDpwcR==", BASIC_MALFORMED},
        {"blank inside", "Basic ZD pw", BASIC_MALFORMED},
        {"second token", "Basic ZDpw ZDpw", BASIC_MALFORMED},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct secret password = {0};
        char user[16];
        enum basic_result got = basic_read(bytes_str(cases[i].value), user, sizeof user, &password);

        secret_clear(&password);
        if (got != cases[i].want)
            fail_msg("%s: result %d", cases[i].name, got);
    }
}

static void too_long_is_told_apart(void **state)
{
    struct secret password = {0};
    char pair[2048], user[9];

    (void)state;
    memset(pair, 'a', sizeof pair);
    pair[8] = ':';
    assert_int_equal(read_pair(pair, 9 + BASIC_PASSWORD_MAX, user, sizeof user, &password), BASIC_OK);
    secret_clear(&password);
    assert_int_equal(read_pair(pair, 10 + BASIC_PASSWORD_MAX, user, sizeof user, &password), BASIC_TOO_LONG);
    assert_int_equal(read_pair(pair, 20, user, sizeof user - 1, &password), BASIC_TOO_LONG);
    assert_int_equal(read_pair(pair, sizeof pair, user, sizeof user, &password), BASIC_TOO_LONG);
    assert_null(password.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_split_at_the_first_colon),
        cmocka_unit_test(values_are_judged_by_form),
        cmocka_unit_test(too_long_is_told_apart),
    };

    return cmocka_run_group_tests_name("basic", tests, NULL, NULL);
}
