/* SPDX-License-Identifier: Apache-2.0 */
/* Text of unknown origin: what a terminal would obey is shown and not sent, also where the locale is not of UTF-8. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct {
    const char *name, *in, *utf8, *ascii; /* as shown in a locale of UTF-8, and in C */
} cases[] = {
    {"plain", "unit 7, ok\\x", "unit 7, ok\\x", "unit 7, ok\\x"},
    {"nothing", "", "", ""},
    {"none", NULL, "", ""},
    {"escape sequence", "\033[2J\033]0;x\a", "\\x1b[2J\\x1b]0;x\\x07", "\\x1b[2J\\x1b]0;x\\x07"},
    {"another line over this one", "ok\rfailed\n\t", "ok\\x0dfailed\\x0a\\x09", "ok\\x0dfailed\\x0a\\x09"},
    {"delete", "a\x7f", "a\\x7f", "a\\x7f"},
    {"letters", "M\xc3\xbcller \xe2\x82\xac \xf0\x9f\x94\x91", "M\xc3\xbcller \xe2\x82\xac \xf0\x9f\x94\x91",
     "M\\xc3\\xbcller \\xe2\\x82\\xac \\xf0\\x9f\\x94\\x91"},
    {"control of C1 (CSI)", "\xc2\x9b" "31m", "\\xc2\\x9b31m", "\\xc2\\x9b31m"},
    {"the octet of CSI", "\x9b" "31m", "\\x9b31m", "\\x9b31m"},
    {"first letter after C1", "\xc2\xa0", "\xc2\xa0", "\\xc2\\xa0"},
    {"right-to-left override", "a\xe2\x80\xae" "b", "a\\xe2\\x80\\xaeb", "a\\xe2\\x80\\xaeb"},
    {"isolate", "\xe2\x81\xa6 \xe2\x81\xa9", "\\xe2\\x81\\xa6 \\xe2\\x81\\xa9", "\\xe2\\x81\\xa6 \\xe2\\x81\\xa9"},
    {"marks of direction", "\xe2\x80\x8e\xe2\x80\x8f\xd8\x9c", "\\xe2\\x80\\x8e\\xe2\\x80\\x8f\\xd8\\x9c", "\\xe2\\x80\\x8e\\xe2\\x80\\x8f\\xd8\\x9c"},
    {"line separator", "\xe2\x80\xa8", "\\xe2\\x80\\xa8", "\\xe2\\x80\\xa8"},
    {"the neighbours of those", "\xe2\x80\x90\xe2\x80\xaf\xe2\x81\xaa", "\xe2\x80\x90\xe2\x80\xaf\xe2\x81\xaa",
     "\\xe2\\x80\\x90\\xe2\\x80\\xaf\\xe2\\x81\\xaa"},
    {"a longer form than needed", "\xc1\x9b\xe0\x80\x9b", "\\xc1\\x9b\\xe0\\x80\\x9b", "\\xc1\\x9b\\xe0\\x80\\x9b"},
    {"half of a pair", "\xed\xa0\x80", "\\xed\\xa0\\x80", "\\xed\\xa0\\x80"},
    {"above all characters", "\xf4\x90\x80\x80\xff", "\\xf4\\x90\\x80\\x80\\xff", "\\xf4\\x90\\x80\\x80\\xff"},
    {"cut in the middle", "\xe2\x82", "\\xe2\\x82", "\\xe2\\x82"},
};

static void what_a_terminal_would_obey_is_shown(void **state)
{
    char out[256];

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        print_message("%s\n", cases[i].name);
        assert_non_null(setlocale(LC_ALL, "C.UTF-8"));
        assert_string_equal(text_shown(cases[i].in, out, sizeof(out)), cases[i].utf8);
        assert_non_null(setlocale(LC_ALL, "C"));
        assert_string_equal(text_shown(cases[i].in, out, sizeof(out)), cases[i].ascii);
    }
}

static void what_does_not_fit_is_cut_at_a_whole_character(void **state)
{
    char out[8];

    (void)state;
    assert_non_null(setlocale(LC_ALL, "C.UTF-8"));
    assert_string_equal(text_shown("abcdefg", out, sizeof(out)), "abcdefg");
    assert_string_equal(text_shown("abcdefgh", out, sizeof(out)), "abcdefg");
    assert_string_equal(text_shown("abcdef\xc3\xbc", out, sizeof(out)), "abcdef");
    assert_string_equal(text_shown("abcd\033", out, sizeof(out)), "abcd");
    assert_string_equal(text_shown("abc\033x", out, sizeof(out)), "abc\\x1b");
    assert_string_equal(SHOWN("\033"), "\\x1b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_terminal_would_obey_is_shown),
        cmocka_unit_test(what_does_not_fit_is_cut_at_a_whole_character),
    };

    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
