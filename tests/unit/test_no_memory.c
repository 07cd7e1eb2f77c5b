/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Without memory nobody knows: what judges requests says E_NOMEM then, and never that the request is bad. Every allocation on the
 * way fails once, ours (the linker sends them here, --wrap) and OpenSSL's. Whatever is kept for later calls is made anew by a thread
 * of its own for each try, or by the first tries.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/auto.h"
#include "ca/core.h"
#include "ca/csr.h"
#include "enroll/basic.h"
#include "tests/unit/failing_alloc.h"

AUTO_TYPE(EVP_PKEY, EVP_PKEY_free)
AUTO_TYPE(X509_REQ, X509_REQ_free)

#define TRIES_MAX 5000

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

struct try {
    enum err_code (*what)(void *arg, struct err *e);
    void *arg;
    struct err e;
    enum err_code code;
    unsigned long n;
    bool hit;
};

static void *try_once(void *arg)
{
    struct try *t = arg;

    count = 0;
    fails_at = t->n;
    t->code = t->what(t->arg, &t->e);
    t->hit = count >= t->n;
    fails_at = 0;
    return NULL;
}

/* E_OK or E_NOMEM, whichever allocation fails; E_OK when none does. */
static void every_allocation_fails_once(const char *name, enum err_code (*what)(void *arg, struct err *e), void *arg)
{
    for (unsigned long n = 1; n < TRIES_MAX; n++) {
        struct try t = {.what = what, .arg = arg, .n = n};
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, try_once, &t), 0);
        pthread_join(thread, NULL);
        if (t.code != E_OK && (!t.hit || t.code != E_NOMEM))
            fail_msg("%s, allocation %lu: code %d: %s", name, n, t.code, t.e.msg);
        if (!t.hit) {
            print_message("%s: %lu allocations\n", name, n - 1);
            return;
        }
    }
    fail_msg("%s does not end", name);
}

/* ---- requests ---- */

struct request {
    uint8_t der[4096];
    size_t len;
};

static struct request request_of(const char *type)
{
    AUTO(EVP_PKEY) *key = strcmp(type, "RSA") == 0 ? EVP_RSA_gen(2048) : type[0] == 'P' ? EVP_EC_gen(type) : EVP_PKEY_Q_keygen(NULL, NULL, type);
    AUTO(X509_REQ) *req = X509_REQ_new();
    struct request r;
    uint8_t *p = r.der;
    int len;

    assert_true(key && req && X509_REQ_set_pubkey(req, key) == 1);
    X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_ASC, (const unsigned char *)"dev-1", -1, -1, 0);
    assert_true(X509_REQ_sign(req, key, strcmp(type, "ED25519") == 0 ? NULL : EVP_sha256()) > 0);
    len = i2d_X509_REQ(req, &p);
    assert_in_range(len, 1, sizeof(r.der));
    r.len = (size_t)len;
    return r;
}

static enum err_code read_request(void *arg, struct err *e)
{
    const struct request *r = arg;
    struct csr csr;

    return csr_read(BYTES(r->der, r->len), &csr, e);
}

static void a_request_is_not_called_bad_for_want_of_memory(void **state)
{
    static const char *const types[] = {"P-256", "P-384", "ED25519", "RSA"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct request r = request_of(types[i]);

        every_allocation_fails_once(types[i], read_request, &r);
    }
}

/* ---- credentials ---- */

static enum err_code make_mac(void *arg, struct err *e)
{
    uint8_t mac[32];

    return secret_mac(arg, "dev-1", bytes_str("8e532af580df3de356fc4e3240443091"), mac, e);
}

static void a_secret_is_not_called_wrong_for_want_of_memory(void **state)
{
    static struct core c;

    (void)state;
    assert_true(secret_set(&c.secret_key, "0123456789abcdef0123456789abcdef", 32));
    every_allocation_fails_once("HMAC", make_mac, &c);
    secret_clear(&c.secret_key);
}

static enum err_code read_basic(void *arg, struct err *e)
{
    struct secret password = {0};
    char user[64];
    enum basic_result got = basic_read(bytes_str(arg), user, sizeof(user), &password);

    secret_clear(&password);
    return got == BASIC_OK ? E_OK : err_set(e, got == BASIC_NO_MEMORY ? E_NOMEM : E_INVALID, "%d", got);
}

static void credentials_are_not_called_malformed_for_want_of_memory(void **state)
{
    (void)state;
    every_allocation_fails_once("Basic", read_basic, (char[]){"Basic ZGV2LTE6c2VjcmV0"});
}

/* ---- octets ---- */

static enum err_code decode(void *arg, struct err *e)
{
    AUTO_BUF out = BUF_INIT(4096);

    return base64_decode(bytes_str(arg), &out, e);
}

static void base64_is_not_called_bad_for_want_of_memory(void **state)
{
    (void)state;
    every_allocation_fails_once("base64", decode, (char[]){"MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEy"});
}

static void a_buffer_without_memory_is_not_too_large(void **state)
{
    struct buf b = BUF_INIT(4096);
    struct err e;

    (void)state;
    count = 0;
    fails_at = 1;
    buf_printf(&b, "%300d", 1);
    fails_at = 0;
    assert_int_equal(buf_err(&b, &e, "too large"), E_NOMEM);
    buf_reset(&b);
    buf_printf(&b, "%5000d", 1);
    assert_false(buf_ok(&b));
    assert_int_equal(buf_err(&b, &e, "too large"), E_INVALID);
    buf_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_not_called_bad_for_want_of_memory),
        cmocka_unit_test(a_secret_is_not_called_wrong_for_want_of_memory),
        cmocka_unit_test(credentials_are_not_called_malformed_for_want_of_memory),
        cmocka_unit_test(base64_is_not_called_bad_for_want_of_memory),
        cmocka_unit_test(a_buffer_without_memory_is_not_too_large),
    };

    if (!openssl_may_fail())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
