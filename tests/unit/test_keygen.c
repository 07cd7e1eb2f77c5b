/* SPDX-License-Identifier: Apache-2.0 */
/* Keys made for others: OpenSSL reads what we write, each key is new, the pool fills, gives out and shrinks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/auto.h"
#include "base/clock.h"
#include "ca/keygen.h"

AUTO_TYPE(EVP_PKEY, EVP_PKEY_free)
AUTO_TYPE(EVP_PKEY_CTX, EVP_PKEY_CTX_free)

static const struct {
    const char *name;
    enum key_alg alg;
    int bits;
} kinds[] = {
    {"P-256", KEY_P256, 256}, {"P-384", KEY_P384, 384}, {"Ed25519", KEY_ED25519, 256}, {"RSA 2048", KEY_RSA2048, 2048}, {"RSA 3072", KEY_RSA3072, 3072},
};

static EVP_PKEY *read_by_openssl(struct bytes pkcs8)
{
    const unsigned char *p = pkcs8.p;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long)pkcs8.len);
    EVP_PKEY *key;
    unsigned char *again = NULL;
    int n;

    assert_non_null(info);
    assert_ptr_equal(p, pkcs8.p + pkcs8.len);
    key = EVP_PKCS82PKEY(info);
    assert_non_null(key);
    PKCS8_PRIV_KEY_INFO_free(info);
    /* RFC 5958: version 0 and no public key of its own: what OpenSSL writes for the same key. */
    info = EVP_PKEY2PKCS8(key);
    n = i2d_PKCS8_PRIV_KEY_INFO(info, &again);
    assert_int_equal(n, pkcs8.len);
    assert_memory_equal(again, pkcs8.p, pkcs8.len);
    OPENSSL_free(again);
    PKCS8_PRIV_KEY_INFO_free(info);
    return key;
}

static void check_key(const struct new_key *k, int bits)
{
    AUTO(EVP_PKEY) *private = read_by_openssl(buf_bytes(&k->pkcs8));
    AUTO(EVP_PKEY_CTX) *ctx = EVP_PKEY_CTX_new(private, NULL);
    const unsigned char *p = k->spki.p;
    AUTO(EVP_PKEY) *public = d2i_PUBKEY(NULL, &p, (long)k->spki.len);

    assert_non_null(public);
    assert_ptr_equal(p, k->spki.p + k->spki.len);
    assert_int_equal(EVP_PKEY_eq(private, public), 1);
    assert_int_equal(EVP_PKEY_pairwise_check(ctx), 1);
    assert_int_equal(EVP_PKEY_get_bits(private), bits);
}

static void each_kind_of_key_is_whole_and_new(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct new_key a, b;
        struct err e = {0};

        print_message("%s\n", kinds[i].name);
        assert_int_equal(new_key_make(kinds[i].alg, &a, &e), E_OK);
        assert_int_equal(new_key_make(kinds[i].alg, &b, &e), E_OK);
        check_key(&a, kinds[i].bits);
        assert_false(bytes_equal(buf_bytes(&a.spki), buf_bytes(&b.spki)));
        assert_int_equal(CRYPTO_secure_allocated(a.pkcs8.p), 1);
        new_key_free(&a);
        new_key_free(&b);
        assert_null(a.pkcs8.p);
    }
}

static void a_pair_from_elsewhere_must_belong_together(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct new_key a, b, taken;
        struct err e = {0};

        assert_int_equal(new_key_make(kinds[i].alg, &a, &e), E_OK);
        assert_int_equal(new_key_make(kinds[i].alg, &b, &e), E_OK);
        assert_int_equal(new_key_take(kinds[i].alg, buf_bytes(&a.pkcs8), buf_bytes(&a.spki), &taken, &e), E_OK);
        check_key(&taken, kinds[i].bits);
        new_key_free(&taken);
        assert_int_equal(new_key_take(kinds[i].alg, buf_bytes(&a.pkcs8), buf_bytes(&b.spki), &taken, &e), E_CRYPTO);
        assert_int_equal(new_key_take(kinds[(i + 1) % 4].alg, buf_bytes(&a.pkcs8), buf_bytes(&a.spki), &taken, &e), E_CRYPTO);
        assert_int_equal(new_key_take(kinds[i].alg, BYTES(a.pkcs8.p, a.pkcs8.len - 1), buf_bytes(&a.spki), &taken, &e), E_CRYPTO);
        new_key_free(&a);
        new_key_free(&b);
    }
}

static size_t told;

static void count(void *arg)
{
    (void)arg;
    told++;
}

static void wait_for(struct event_base *base, struct keygen_pool *p, enum key_alg alg, size_t n)
{
    int64_t until = clock_mono_ms() + 60000;

    while (keygen_pool_ready(p, alg) != n && clock_mono_ms() < until) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        usleep(2000);
    }
    assert_int_equal(keygen_pool_ready(p, alg), n);
    event_base_loop(base, EVLOOP_NONBLOCK);
}

static void the_pool_keeps_as_many_as_wanted(void **state)
{
    struct conf_profile profile[2] = {{.keygen = KEYGEN_SERVICE, .keygen_key = KEY_RSA2048}, {.keygen = KEYGEN_OFF}};
    struct conf conf = {.profiles = profile, .profiles_n = 2, .keygen_pool = 2};
    struct event_base *base = event_base_new();
    struct keygen_pool *p;
    struct new_key a, b, none;
    struct err e = {0};

    (void)state;
    assert_int_equal(keygen_pool_new(base, count, NULL, &p, &e), E_OK);
    assert_false(keygen_pool_take(p, KEY_RSA2048, &none));
    assert_int_equal(keygen_pool_want(p, &conf, &e), E_OK);
    wait_for(base, p, KEY_RSA2048, 2);
    assert_true(told > 0);
    assert_true(keygen_pool_take(p, KEY_RSA2048, &a));
    assert_true(keygen_pool_take(p, KEY_RSA2048, &b));
    check_key(&a, 2048);
    assert_false(bytes_equal(buf_bytes(&a.spki), buf_bytes(&b.spki)));
    assert_false(keygen_pool_take(p, KEY_RSA3072, &none));
    wait_for(base, p, KEY_RSA2048, 2); /* what was given out is made again */
    profile[0].keygen = KEYGEN_TOKEN;
    assert_int_equal(keygen_pool_want(p, &conf, &e), E_OK);
    assert_int_equal(keygen_pool_ready(p, KEY_RSA2048), 0);
    new_key_free(&a);
    new_key_free(&b);
    profile[0] = (struct conf_profile){.keygen = KEYGEN_SERVICE, .keygen_key = KEY_RSA4096};
    assert_int_equal(keygen_pool_want(p, &conf, &e), E_OK);
    usleep(20000);
    keygen_pool_free(p); /* stops a key that takes seconds */
    event_base_free(base);
}

/* The memory a key lay in is handed out again all zero: wiped when the key went. */
static void a_key_leaves_no_octets_behind(void **state)
{
    struct new_key k;
    struct err e = {0};
    const uint8_t zero[PRIVKEY_MAX_LEN] = {0};
    uint8_t *at;

    (void)state;
    assert_int_equal(new_key_make(KEY_P256, &k, &e), E_OK);
    at = k.pkcs8.p;
    new_key_free(&k);
    assert_memory_equal(at + 16, zero, PRIVKEY_EC_MAX - 16); /* the heap itself keeps its lists in the first octets */
}

#define NEEDLE 24
#define MASK   0x5a
/* The octets of `masked`, which hides them so that it is no find itself, in this order or the other, in [begin, end). */
static bool lies_in(const uint8_t *begin, const uint8_t *end, const uint8_t masked[NEEDLE])
{
    for (const uint8_t *p = begin; p + NEEDLE <= end; p++) {
        size_t n = 0, r = 0;

        while (n < NEEDLE && p[n] == (masked[n] ^ MASK))
            n++;
        while (r < NEEDLE && p[r] == (masked[NEEDLE - 1 - r] ^ MASK))
            r++;
        if (n == NEEDLE || r == NEEDLE)
            return true;
    }
    return false;
}

/* Of malloc, unless a checker has put another in its place. */
static void heap_bounds(const uint8_t **begin, const uint8_t **end)
{
    FILE *f = fopen("/proc/self/maps", "re");
    unsigned long from = 0, to = 0;
    char line[512];

    assert_non_null(f);
    while (fgets(line, sizeof(line), f))
        if (strstr(line, "[heap]"))
            assert_int_equal(sscanf(line, "%lx-%lx", &from, &to), 2);
    fclose(f);
    *begin = (const uint8_t *)from;
    *end = (const uint8_t *)to;
}

/* Nor does what OpenSSL needs to make it, and to look at one that a token made. */
static void the_heap_holds_no_key_that_was_given_out(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct new_key made, taken;
        struct key_parts parts;
        uint8_t masked[NEEDLE], *canary;
        const uint8_t *begin, *end;
        struct err e = {0};

        print_message("%s\n", kinds[i].name);
        assert_int_equal(new_key_make(kinds[i].alg, &made, &e), E_OK);
        assert_int_equal(new_key_take(kinds[i].alg, buf_bytes(&made.pkcs8), buf_bytes(&made.spki), &taken, &e), E_OK);
        assert_true(privkey_read(buf_bytes(&made.pkcs8), kinds[i].alg, &parts));
        for (size_t k = 0; k < NEEDLE; k++)
            masked[k] = (parts.p.len ? parts.p : parts.secret).p[k] ^ MASK;
        new_key_free(&made);
        new_key_free(&taken);
        heap_bounds(&begin, &end);
        assert_false(lies_in(begin, end, masked));

        canary = malloc(NEEDLE);
        assert_non_null(canary);
        for (size_t k = 0; k < NEEDLE; k++)
            canary[k] = masked[k] ^ MASK;
        if (canary >= begin && canary < end)
            assert_true(lies_in(begin, end, masked));
        OPENSSL_cleanse(canary, NEEDLE);
        free(canary);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_of_key_is_whole_and_new),
        cmocka_unit_test(a_pair_from_elsewhere_must_belong_together),
        cmocka_unit_test(the_pool_keeps_as_many_as_wanted),
        cmocka_unit_test(a_key_leaves_no_octets_behind),
        cmocka_unit_test(the_heap_holds_no_key_that_was_given_out),
    };

    (void)secret_heap_open();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
