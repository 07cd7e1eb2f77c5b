/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One allocation that fails, by its number: OpenSSL's once openssl_may_fail was called, before anything else of OpenSSL; others where
 * the test sends them here (-Wl,--wrap=malloc and the like). A test that includes this is linked with -Wl,--wrap=sha256. For one
 * thread at a time.
 */
#ifndef INKAN_TESTS_FAILING_ALLOC_H
#define INKAN_TESTS_FAILING_ALLOC_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include <openssl/crypto.h>

#include "base/bytes.h"

static unsigned long fails_at, count; /* fails_at 0: none fails */

static bool fails(void)
{
    return fails_at && ++count == fails_at;
}

static void *openssl_malloc(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return n && !fails() ? realloc(NULL, n) : NULL; /* malloc may be the test's own, and would count again */
}

static void *openssl_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return fails() ? NULL : realloc(p, n);
}

static void openssl_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    free(p);
}

static bool openssl_may_fail(void)
{
    return CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) == 1;
}

/* Without memory for a hash the process ends (base/bytes.h). */
void __real_sha256(struct bytes in, uint8_t out[32]);
void __wrap_sha256(struct bytes in, uint8_t out[32]);

void __wrap_sha256(struct bytes in, uint8_t out[32])
{
    unsigned long kept = fails_at;

    fails_at = 0;
    __real_sha256(in, out);
    fails_at = kept;
}

#endif
