/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/auto.h"
#include "enroll/ocsp_cache.h"

static void make_key(unsigned n, uint8_t key[32])
{
    memset(key, 0, 32);
    put_be32(key, n);
}

static struct sts_ocsp_result answer_of(uint64_t seq, uint32_t issuer, uint8_t serial)
{
    struct sts_ocsp_result r = {
        .response = bytes_str("signed answer"), .cacheable = true, .seq = seq, .max_age_s = 60, .next_update = 3600};

    r.cert[0].issuer = issuer;
    r.cert[0].serial[0] = serial;
    r.cert[0].serial_len = 1;
    r.cert_n = 1;
    return r;
}

static struct svc_purge *purge_of(uint64_t seq, uint32_t issuer, uint8_t serial)
{
    static struct svc_purge p;

    memset(&p, 0, sizeof p);
    p.seq = seq;
    p.n = 1;
    p.item[0].issuer = issuer;
    p.item[0].serial[0] = serial;
    p.item[0].serial_len = 1;
    return &p;
}

static void answers_are_kept_and_found(void **state)
{
    struct ocsp_cache *c = ocsp_cache_new(10, 100000);
    struct sts_ocsp_result r = answer_of(1, 1, 5);
    struct ocsp_cached got;
    uint8_t key[32];

    (void)state;
    make_key(1, key);
    assert_false(ocsp_cache_get(c, key, &got));
    assert_true(ocsp_cache_put(c, key, &r, 1000));
    assert_true(ocsp_cache_get(c, key, &got));
    assert_true(bytes_equal(got.response, r.response));
    assert_int_equal(got.fresh_until, 1060); /* max_age_s counts from its arrival, not from producedAt */
    assert_ptr_not_equal(got.response.p, r.response.p);
    assert_true(ocsp_cache_put(c, key, &r, 1000)); /* replaces */
    assert_int_equal(ocsp_cache_count(c), 1);
    make_key(2, key);
    assert_false(ocsp_cache_get(c, key, &got));
    r.cacheable = false;
    assert_false(ocsp_cache_put(c, key, &r, 1000));
    r.cacheable = true;
    r.is_error = true;
    assert_false(ocsp_cache_put(c, key, &r, 1000));
    ocsp_cache_free(c);
}

/* The race the mark is for: the answer was made before the change, the purge came in between. */
static void answer_older_than_a_purge_is_not_kept(void **state)
{
    struct ocsp_cache *c = ocsp_cache_new(10, 100000);
    struct sts_ocsp_result old = answer_of(6, 1, 5), fresh = answer_of(7, 1, 5);
    uint8_t key[32];

    (void)state;
    make_key(1, key);
    ocsp_cache_purge(c, purge_of(7, 1, 5));
    assert_false(ocsp_cache_put(c, key, &old, 1000));
    assert_true(ocsp_cache_put(c, key, &fresh, 1000));
    ocsp_cache_purge(c, purge_of(3, 9, 9)); /* a late purge does not lower the mark */
    assert_int_equal(ocsp_cache_mark(c), 7);
    ocsp_cache_drop(c);
    assert_false(ocsp_cache_put(c, key, &old, 1000));
    ocsp_cache_free(c);
}

static void purge_takes_every_answer_about_the_certificate_and_no_other(void **state)
{
    struct ocsp_cache *c = ocsp_cache_new(100, 100000);
    struct ocsp_cached got;
    uint8_t key[32];

    (void)state;
    for (unsigned i = 0; i < 4; i++) { /* four requests about certificate 5: SHA-1, SHA-256, ... */
        struct sts_ocsp_result r = answer_of(1, 1, 5);

        make_key(i, key);
        assert_true(ocsp_cache_put(c, key, &r, 1000));
    }
    for (unsigned i = 4; i < 6; i++) { /* same serial of another issuer; another serial */
        struct sts_ocsp_result r = i == 4 ? answer_of(1, 2, 5) : answer_of(1, 1, 6);

        make_key(i, key);
        assert_true(ocsp_cache_put(c, key, &r, 1000));
    }
    {
        struct sts_ocsp_result both = answer_of(1, 1, 7); /* one answer about 7 and, twice, 5 */

        both.cert[1] = both.cert[2] = both.cert[0];
        both.cert[1].serial[0] = both.cert[2].serial[0] = 5;
        both.cert_n = 3;
        make_key(6, key);
        assert_true(ocsp_cache_put(c, key, &both, 1000));
    }
    ocsp_cache_purge(c, purge_of(2, 1, 5));
    assert_int_equal(ocsp_cache_count(c), 2);
    for (unsigned i = 0; i < 7; i++) {
        make_key(i, key);
        assert_int_equal(ocsp_cache_get(c, key, &got), i == 4 || i == 5);
    }
    ocsp_cache_free(c);
}

static void purge_all_empties_and_may_lower_the_mark(void **state)
{
    struct ocsp_cache *c = ocsp_cache_new(10, 100000);
    struct sts_ocsp_result r = answer_of(9, 1, 5);
    struct svc_purge *p = purge_of(4, 0, 0);
    uint8_t key[32];

    (void)state;
    make_key(1, key);
    ocsp_cache_purge(c, purge_of(9, 9, 9));
    assert_true(ocsp_cache_put(c, key, &r, 1000));
    p = purge_of(4, 0, 0); /* a restored ledger numbers from further back */
    p->all = true;
    p->n = 0;
    ocsp_cache_purge(c, p);
    assert_int_equal(ocsp_cache_count(c), 0);
    assert_int_equal(ocsp_cache_mark(c), 4);
    ocsp_cache_free(c);
}

static void least_recently_used_go_first(void **state)
{
    struct ocsp_cache *c = ocsp_cache_new(3, 100000);
    struct ocsp_cached got;
    uint8_t key[32];

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct sts_ocsp_result r = answer_of(1, 1, (uint8_t)i);

        if (i == 3) { /* 0 is used again, so 1 is the oldest */
            make_key(0, key);
            assert_true(ocsp_cache_get(c, key, &got));
        }
        make_key(i, key);
        assert_true(ocsp_cache_put(c, key, &r, 1000));
    }
    for (unsigned i = 0; i < 4; i++) {
        make_key(i, key);
        assert_int_equal(ocsp_cache_get(c, key, &got), i != 1);
    }
    ocsp_cache_free(c);
}

static void octets_are_bounded(void **state)
{
    static const uint8_t large[4000];
    struct ocsp_cache *c = ocsp_cache_new(1000, 20000);
    uint8_t key[32];

    (void)state;
    for (unsigned i = 0; i < 50; i++) {
        struct sts_ocsp_result r = answer_of(1, 1, (uint8_t)i);

        r.response = BYTES_OF(large);
        make_key(i, key);
        assert_true(ocsp_cache_put(c, key, &r, 1000));
        assert_true(ocsp_cache_count(c) <= 4);
    }
    {
        struct sts_ocsp_result r = answer_of(1, 1, 1);
        uint8_t *huge = calloc(1, 20001);

        r.response = BYTES(huge, 20001);
        assert_false(ocsp_cache_put(c, key, &r, 1000));
        free(huge);
    }
    ocsp_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_kept_and_found),
        cmocka_unit_test(answer_older_than_a_purge_is_not_kept),
        cmocka_unit_test(purge_takes_every_answer_about_the_certificate_and_no_other),
        cmocka_unit_test(purge_all_empties_and_may_lower_the_mark),
        cmocka_unit_test(least_recently_used_go_first),
        cmocka_unit_test(octets_are_bounded),
    };

    return cmocka_run_group_tests_name("ocsp_cache", tests, NULL, NULL);
}
