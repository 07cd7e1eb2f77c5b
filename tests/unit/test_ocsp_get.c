/* SPDX-License-Identifier: Apache-2.0 */
/* OCSP requests in GET paths: RFC 6960 A.1, RFC 9919 section 6. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/auto.h"
#include "enroll/ocsp_get.h"

/* 30 03 fb ff fe in base64 is "MAP7//4=": it holds '/', and with 0xfb 0xef 0xbe also '+'. */
static void paths_decode(void **state)
{
    static const struct {
        const char *name, *rest, *hex; /* NULL: refused */
    } cases[] = {
        {"raw", "/MAP7//4=", "3003fbfffe"},
        {"escaped", "/MAP7%2F%2F4%3D", "3003fbfffe"},
        {"escaped in small letters", "/MAP7%2f%2f4%3d", "3003fbfffe"},
        {"half escaped", "/MAP7/%2F4=", "3003fbfffe"},
        {"more slashes first", "///MAP7//4=", "3003fbfffe"},
        {"plus raw", "/++++", "fbefbe"},
        {"plus escaped", "/%2B%2b++", "fbefbe"},
        {"no slash before", "MAP7//4=", "3003fbfffe"},
        {"merged slash", "/MAP7/4=", NULL},
        {"padding missing", "/MAP7//4", NULL},
        {"padding too long", "/MAP7//4==", NULL},
        {"spare bits", "/MAP7//5=", NULL},
        {"escaped twice", "/MAP7%252F%252F4%253D", NULL},
        {"blank", "/MAP7%20//4=", NULL},
        {"newline", "/MAP7%0a//4=", NULL},
        {"NUL", "/MAP7%00//4=", NULL},
        {"broken escape", "/MAP7%2", NULL},
        {"broken escape with letters", "/MAP7%2xAAA", NULL},
        {"URL alphabet", "/MAP7__4=", NULL},
        {"empty", "", NULL},
        {"slash only", "/", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_BUF der = BUF_INIT(4096);
        char hex[64] = "";
        bool ok = ocsp_get_decode(bytes_str(cases[i].rest), &der);

        if (ok != (cases[i].hex != NULL))
            fail_msg("%s: %s", cases[i].name, ok ? "accepted" : "refused");
        if (!ok)
            continue;
        hex_encode(der.p, der.len, hex);
        assert_string_equal(hex, cases[i].hex);
    }
}

static void result_is_bounded(void **state)
{
    AUTO_BUF der = BUF_INIT(6);

    (void)state;
    assert_true(ocsp_get_decode(bytes_str("/AAAAAAAA"), &der));
    buf_reset(&der);
    assert_false(ocsp_get_decode(bytes_str("/AAAAAAAAAAAA"), &der));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_decode),
        cmocka_unit_test(result_is_bounded),
    };

    return cmocka_run_group_tests_name("ocsp_get", tests, NULL, NULL);
}
