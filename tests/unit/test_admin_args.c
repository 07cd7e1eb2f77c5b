/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/auto.h"
#include "ca/admin_int.h"

static const struct admin_arg schema[] = {
    {"id", ARG_ID, true, 0},        {"text", ARG_TEXT, false, 8}, {"number", ARG_INT, false, 10},
    {"serial", ARG_HEX, false, 3},  {"der", ARG_BASE64, false, 8}, {"list", ARG_LIST, false, 2},
    {NULL, ARG_ID, false, 0},
};

static const struct {
    const char *name, *json;
    bool good;
} cases[] = {
    {"required alone", "{\"id\":\"dev-1\"}", true},
    {"required missing", "{}", false},
    {"not an object", "[]", false},
    {"unknown member", "{\"id\":\"a\",\"idd\":\"a\"}", false},
    {"id of another type", "{\"id\":7}", false},
    {"id empty", "{\"id\":\"\"}", false},
    {"id with a blank", "{\"id\":\"a b\"}", false},
    {"id with a slash", "{\"id\":\"a/b\"}", false},
    {"id starting with a dot", "{\"id\":\".a\"}", false},
    {"id with a NUL inside", "{\"id\":\"a\\u0000b\"}", false},
    {"text of eight octets", "{\"id\":\"a\",\"text\":\"12345678\"}", true},
    {"text of nine", "{\"id\":\"a\",\"text\":\"123456789\"}", false},
    {"text with a line feed", "{\"id\":\"a\",\"text\":\"a\\nb\"}", false},
    {"number at the end of its range", "{\"id\":\"a\",\"number\":10}", true},
    {"number beyond", "{\"id\":\"a\",\"number\":11}", false},
    {"number below zero", "{\"id\":\"a\",\"number\":-1}", false},
    {"number with a fraction", "{\"id\":\"a\",\"number\":1.0}", false},
    {"number as a text", "{\"id\":\"a\",\"number\":\"1\"}", false},
    {"number null", "{\"id\":\"a\",\"number\":null}", false},
    {"serial of three octets", "{\"id\":\"a\",\"serial\":\"0a0b0c\"}", true},
    {"serial of four", "{\"id\":\"a\",\"serial\":\"0a0b0c0d\"}", false},
    {"serial of half an octet", "{\"id\":\"a\",\"serial\":\"0a0\"}", false},
    {"serial in capitals", "{\"id\":\"a\",\"serial\":\"0A\"}", false},
    {"base64 of eight characters", "{\"id\":\"a\",\"der\":\"AAAAAAAA\"}", true},
    {"base64 of nine", "{\"id\":\"a\",\"der\":\"AAAAAAAAA\"}", false},
    {"list of two objects", "{\"id\":\"a\",\"list\":[{},{}]}", true},
    {"list of three", "{\"id\":\"a\",\"list\":[{},{},{}]}", false},
    {"list of a number", "{\"id\":\"a\",\"list\":[1]}", false},
};

static void arguments_follow_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_JSON *j = json_loads(cases[i].json, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
        struct err e = {0};

        print_message("    %s\n", cases[i].name);
        assert_non_null(j);
        assert_int_equal(admin_args_check(schema, j, &e), cases[i].good ? E_OK : E_INVALID);
        if (!cases[i].good)
            assert_true(e.msg[0] != '\0');
    }
}

static void every_operation_is_named_once_and_has_a_handler(void **state)
{
    (void)state;
    for (size_t i = 0; i < admin_ops_n; i++) {
        assert_non_null(admin_ops[i].run);
        assert_non_null(admin_ops[i].args);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(admin_ops[i].name, admin_ops[k].name);
    }
}

static void every_operation_refuses_an_argument_it_does_not_know(void **state)
{
    AUTO_JSON *j = json_pack("{s:s}", "no_such_argument", "x");

    (void)state;
    for (size_t i = 0; i < admin_ops_n; i++) {
        struct err e = {0};
        assert_int_equal(admin_args_check(admin_ops[i].args, j, &e), E_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments_follow_the_table),
        cmocka_unit_test(every_operation_is_named_once_and_has_a_handler),
        cmocka_unit_test(every_operation_refuses_an_argument_it_does_not_know),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
