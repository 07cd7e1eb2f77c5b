/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/auto.h"
#include "ca/handover.h"

AUTO_TYPE(json_t, json_decref)

/* Leaves and roots that certificate transparency's own programs are tested with. */
static void the_tree_is_the_one_of_rfc_6962(void **state)
{
    static const struct {
        const char *leaf, *root; /* in hex; the root after that leaf */
    } cases[] = {
        {NULL, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"},
        {"00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"},
        {"10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"},
        {"2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"},
        {"3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"},
        {"40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"},
        {"5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"},
        {"606162636465666768696a6b6c6d6e6f", "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"},
    };
    struct merkle t = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t leaf[32], root[32];
        size_t n = 0;
        char hex[65];

        if (cases[i].leaf) {
            assert_true(hex_decode(cases[i].leaf, strlen(cases[i].leaf), leaf, sizeof(leaf), &n));
            merkle_add(&t, BYTES(leaf, n));
        }
        merkle_root(&t, root);
        hex_encode(root, sizeof(root), hex);
        assert_string_equal(hex, cases[i].root);
    }
}

static const char good[] =
    "{\"counts\":{\"reserved\":10,\"unused\":1,\"issued\":9,\"confirmed\":6,\"void\":2,\"orphan\":1,\"shipped\":3,\"stock\":2,"
    "\"scrapped\":1},\"equations\":[{\"equation\":\"reserved = issued + unused\",\"left\":10,\"right\":10},"
    "{\"equation\":\"issued = confirmed + void + orphan\",\"left\":9,\"right\":9},"
    "{\"equation\":\"confirmed = shipped + stock + scrapped\",\"left\":6,\"right\":6}],\"royalty\":6}";

static void a_report_balances_or_is_refused(void **state)
{
    static const struct {
        const char *name, *from, *to, *says; /* says NULL: it balances */
    } cases[] = {
        {"as it is", "", "", NULL},
        {"one reserved more", "\"reserved\":10", "\"reserved\":11", "reserved = issued + unused does not hold: 11 and 10"},
        {"one void less", "\"void\":2", "\"void\":1", "issued = confirmed + void + orphan does not hold: 9 and 8"},
        {"one shipped more", "\"shipped\":3", "\"shipped\":4", "confirmed = shipped + stock + scrapped does not hold: 6 and 7"},
        {"a count that is missing", "\"stock\":2,", "", "\"stock\" is missing"},
        {"a negative count", "\"unused\":1", "\"unused\":-1", "\"unused\" is missing or no number"},
        {"a count that is a text", "\"orphan\":1", "\"orphan\":\"1\"", "\"orphan\" is missing or no number"},
        {"an equation with other numbers", "\"left\":9", "\"left\":8", "equation 2 is not"},
        {"another equation", "reserved = issued +", "reserved > issued +", "equation 1 is not"},
        {"another royalty", "\"royalty\":6", "\"royalty\":5", "royalty is not the 6 units"},
        {"no royalty", ",\"royalty\":6", "", "royalty is not the 6 units"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_BUF text = BUF_INIT(4096);
        AUTO(json_t) *report = NULL;
        const char *at = strstr(good, cases[i].from);
        struct err e = {0};

        print_message("  %s\n", cases[i].name);
        buf_add(&text, good, (size_t)(at - good));
        buf_add_str(&text, cases[i].to);
        buf_add_str(&text, at + strlen(cases[i].from));
        report = json_loadb((const char *)text.p, text.len, 0, NULL);
        assert_non_null(report);
        assert_int_equal(close_report_check(report, &e) == E_OK, cases[i].says == NULL);
        if (cases[i].says && !strstr(e.msg, cases[i].says))
            fail_msg("\"%s\" does not say \"%s\"", e.msg, cases[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tree_is_the_one_of_rfc_6962),
        cmocka_unit_test(a_report_balances_or_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
