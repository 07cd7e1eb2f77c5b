/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "ca/guess_limit.h"

static int setup(void **state)
{
    *state = guess_limit_new();
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    guess_limit_free(*state);
    return 0;
}

static unsigned burst(struct guess_limit *g, const char *user, const char *peer, int64_t now_ms, unsigned tries)
{
    unsigned allowed = 0;

    for (unsigned i = 0; i < tries; i++)
        allowed += guess_limit_wrong(g, user, peer, now_ms);
    return allowed;
}

static void thirty_at_once_and_not_one_more(void **state)
{
    assert_int_equal(burst(*state, "dev-1", "192.0.2.1:4000", 1000000, 100), GUESS_BURST);
}

static void then_one_a_second(void **state)
{
    burst(*state, "dev-1", "192.0.2.1:4000", 1000000, 100);
    assert_int_equal(burst(*state, "dev-1", "192.0.2.1:4000", 1000999, 5), 0);
    assert_int_equal(burst(*state, "dev-1", "192.0.2.1:4000", 1001000, 5), 1);
    assert_int_equal(burst(*state, "dev-1", "192.0.2.1:4000", 1004000, 5), 3);
}

static void a_long_wait_fills_the_bucket_and_no_more(void **state)
{
    burst(*state, "dev-1", "192.0.2.1:4000", 1000000, 100);
    assert_int_equal(burst(*state, "dev-1", "192.0.2.1:4000", 1000000 + 86400000, 100), GUESS_BURST);
}

static void another_port_is_the_same_address(void **state)
{
    burst(*state, "dev-1", "192.0.2.1:4000", 1000000, 100);
    assert_int_equal(burst(*state, "dev-2", "192.0.2.1:4001", 1000000, 5), 0);
}

static void another_address_does_not_help_one_user_name(void **state)
{
    burst(*state, "dev-1", "192.0.2.1:4000", 1000000, 100);
    assert_int_equal(burst(*state, "dev-1", "192.0.2.2:4000", 1000000, 5), 0);
}

static void others_are_not_disturbed(void **state)
{
    burst(*state, "dev-1", "192.0.2.1:4000", 1000000, 100);
    assert_int_equal(burst(*state, "dev-2", "[2001:db8::1]:4000", 1000000, 5), 5);
}

/* A subscriber has 2^64 addresses of one /64: they are one source. */
static void one_ipv6_subscriber_is_one_source(void **state)
{
    char user[32], peer[64];
    unsigned allowed = 0;

    for (unsigned i = 0; i < 100; i++) {
        snprintf(user, sizeof(user), "u%u", i);
        snprintf(peer, sizeof(peer), "[2001:db8:0:7::%x]:4000", i + 1);
        allowed += guess_limit_wrong(*state, user, peer, 1000000);
    }
    assert_int_equal(allowed, GUESS_BURST);
    assert_int_equal(burst(*state, "other", "[2001:db8:0:8::1]:4000", 1000000, 5), 5); /* the neighbour */
}

static void a_mapped_address_is_the_ipv4_address(void **state)
{
    burst(*state, "dev-1", "192.0.2.1:4000", 1000000, 100);
    assert_int_equal(burst(*state, "dev-2", "[::ffff:192.0.2.1]:4000", 1000000, 5), 0);
    assert_int_equal(burst(*state, "dev-2", "[::ffff:192.0.2.2]:4000", 1000000, 5), 5);
}

static void what_is_no_address_stands_for_itself(void **state)
{
    burst(*state, "dev-1", "local", 1000000, 100);
    assert_int_equal(burst(*state, "dev-2", "local", 1000000, 5), 0);
    assert_int_equal(burst(*state, "dev-2", "[not an address]:1", 1000000, 5), 5);
    assert_int_equal(burst(*state, "dev-3", "[:1", 1000000, 5), 5);
    assert_int_equal(burst(*state, "dev-4", "", 1000000, 5), 5);
}

static void refused_guesses_are_not_counted_further(void **state)
{
    burst(*state, "dev-1", "192.0.2.1:4000", 1000000, 100000);
    assert_int_equal(burst(*state, "dev-1", "192.0.2.1:4000", 1001000, 5), 1);
}

static void a_flood_of_names_does_not_grow_the_table(void **state)
{
    char user[32], peer[48];

    for (int i = 0; i < 50000; i++) {
        snprintf(user, sizeof(user), "u%d", i);
        snprintf(peer, sizeof(peer), "10.%d.%d.%d:1", i >> 16, i >> 8 & 255, i & 255);
        assert_true(guess_limit_wrong(*state, user, peer, 1000000 + i));
    }
}

static uint32_t digest_word(char kind, const char *name)
{
    uint8_t hash[32];

    sha256_2(BYTES(&kind, 1), bytes_str(name), hash);
    return get_be32(hash + 16);
}

/* Names picked by a digest anybody can compute do not push the guesser's own address out of the table. */
static void chosen_names_do_not_push_an_address_out(void **state)
{
    uint32_t target = digest_word('a', "192.0.2.1");
    char user[32];

    burst(*state, "dev-1", "192.0.2.1:4000", 1000000, 100);
    for (unsigned i = 0, found = 0; found < 16; i++) {
        snprintf(user, sizeof(user), "u%u", i);
        if (digest_word('u', user) % 512 != target % 512)
            continue;
        found++;
        guess_limit_wrong(*state, user, "192.0.2.2:4000", 1000001);
    }
    assert_int_equal(burst(*state, "dev-2", "192.0.2.1:4000", 1000002, 5), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(thirty_at_once_and_not_one_more, setup, teardown),
        cmocka_unit_test_setup_teardown(then_one_a_second, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_wait_fills_the_bucket_and_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(another_port_is_the_same_address, setup, teardown),
        cmocka_unit_test_setup_teardown(another_address_does_not_help_one_user_name, setup, teardown),
        cmocka_unit_test_setup_teardown(others_are_not_disturbed, setup, teardown),
        cmocka_unit_test_setup_teardown(one_ipv6_subscriber_is_one_source, setup, teardown),
        cmocka_unit_test_setup_teardown(a_mapped_address_is_the_ipv4_address, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_address_stands_for_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(refused_guesses_are_not_counted_further, setup, teardown),
        cmocka_unit_test_setup_teardown(chosen_names_do_not_push_an_address_out, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flood_of_names_does_not_grow_the_table, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
