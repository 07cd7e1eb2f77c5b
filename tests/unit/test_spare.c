/* SPDX-License-Identifier: Apache-2.0 */
/* The reserve of memory: given up only when there is no other, told, and filled again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <openssl/crypto.h>

#include "base/bytes.h"
#include "base/spare.h"

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

/* What the process may still have, counted in allocations: frees give back. */
static long left = INT32_MAX;
static unsigned told;

static bool none_left(void)
{
    if (left <= 0)
        return true;
    left--;
    return false;
}

void *__wrap_malloc(size_t n)
{
    return none_left() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return none_left() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return none_left() ? NULL : __real_realloc(p, n);
}

void __wrap_free(void *p)
{
    left += p != NULL;
    __real_free(p);
}

static void on_used(void *arg)
{
    assert_ptr_equal(arg, &told);
    told++;
}

static void without_a_reserve_no_memory_is_none(void **state)
{
    (void)state;
    left = 0;
    assert_null(spare_malloc(8));
    assert_null(spare_calloc(1, 8));
    assert_true(spare_fill() == false);
    left = INT32_MAX;
}

static void the_reserve_serves_when_nothing_else_is_left(void **state)
{
    void *p[4];

    (void)state;
    spare_start(on_used, &told);
    assert_true(spare_fill());
    p[0] = spare_malloc(8);
    assert_int_equal(told, 0);
    left = 0;
    p[1] = spare_malloc(8);
    p[2] = spare_calloc(2, 8);
    p[3] = OPENSSL_malloc(8);
    assert_true(p[0] && p[1] && p[2] && p[3]);
    assert_int_equal(told, 3);
    assert_null(spare_calloc(SIZE_MAX, 2)); /* no reserve is large enough: it is not given up for that */
    assert_int_equal(told, 3);
    assert_false(spare_fill());
    left = 3;
    assert_true(spare_fill());
    assert_int_equal(told, 3);
    left = INT32_MAX;
    OPENSSL_free(p[3]);
    for (size_t i = 0; i < 3; i++)
        free(p[i]);
}

static void a_buffer_grows_by_the_reserve(void **state)
{
    struct buf b = BUF_INIT(1000);

    (void)state;
    left = 0;
    buf_add_str(&b, "what is under way");
    assert_true(buf_ok(&b));
    assert_int_equal(told, 4);
    left = INT32_MAX;
    buf_clear(&b);
}

static void an_empty_reserve_is_no_memory(void **state)
{
    struct buf b = BUF_INIT(1000);
    void *p[4096];
    size_t n = 0;

    (void)state;
    assert_true(spare_fill());
    left = 0;
    while (n < 4096 && (p[n] = spare_malloc(8)) != NULL)
        n++;
    assert_in_range(n, 16, 4095);
    buf_add_str(&b, "too late");
    assert_false(buf_ok(&b));
    assert_true(b.no_memory);
    left = INT32_MAX;
    while (n > 0)
        free(p[--n]);
}

static void nobody_is_told_of_a_reserve_that_is_gone(void **state)
{
    unsigned before;

    (void)state;
    assert_true(spare_fill());
    before = told;
    left = 0;
    spare_stop(); /* what it frees is memory again, 64 blocks */
    assert_int_equal(left, 64);
    left = 0;
    assert_null(spare_malloc(8));
    assert_int_equal(told, before);
    left = INT32_MAX;
    assert_false(spare_fill());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_reserve_no_memory_is_none),
        cmocka_unit_test(the_reserve_serves_when_nothing_else_is_left),
        cmocka_unit_test(a_buffer_grows_by_the_reserve),
        cmocka_unit_test(an_empty_reserve_is_no_memory),
        cmocka_unit_test(nobody_is_told_of_a_reserve_that_is_gone),
    };

    if (!spare_serve_libraries())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
