/* SPDX-License-Identifier: Apache-2.0 */
#include "base/spare.h"

#include <stdint.h>
#include <stdlib.h>

#include <event2/event.h>
#include <openssl/crypto.h>

/* One connection takes less than 100 KiB for its handshake and its request. The blocks lie in the heap, among what is freed. */
#define BLOCKS    64
#define BLOCK_LEN ((size_t)16 * 1024)

static struct {
    void *block[BLOCKS];
    size_t n;
    bool started;
    void (*used)(void *arg);
    void *arg;
} spare;

static bool give_up_one(void)
{
    if (spare.n == 0)
        return false;
    free(spare.block[--spare.n]);
    return true;
}

/* Tells once for any number of blocks. */
static void *told(void *p, size_t before)
{
    if (spare.n < before)
        spare.used(spare.arg);
    return p;
}

void *spare_malloc(size_t n)
{
    size_t before = spare.n;
    void *p = malloc(n);

    while (!p && n && give_up_one())
        p = malloc(n);
    return told(p, before);
}

void *spare_calloc(size_t n, size_t size)
{
    size_t before = spare.n;
    void *p = calloc(n, size);

    while (!p && n && size && n <= SIZE_MAX / size && give_up_one())
        p = calloc(n, size);
    return told(p, before);
}

void *spare_realloc(void *p, size_t n)
{
    size_t before = spare.n;
    void *grown;

    do
        grown = realloc(p, n);
    while (!grown && n && give_up_one());
    return told(grown, before);
}

static void *openssl_malloc(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return n ? spare_malloc(n) : NULL;
}

static void *openssl_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    if (n)
        return spare_realloc(p, n);
    free(p);
    return NULL;
}

static void openssl_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    free(p);
}

bool spare_serve_libraries(void)
{
    event_set_mem_functions(spare_malloc, spare_realloc, free);
    return CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) == 1;
}

void spare_start(void (*used)(void *arg), void *arg)
{
    spare.used = used;
    spare.arg = arg;
    spare.started = true;
    (void)spare_fill();
}

void spare_stop(void)
{
    while (give_up_one())
        ;
    spare.started = false;
}

bool spare_fill(void)
{
    while (spare.started && spare.n < BLOCKS && (spare.block[spare.n] = malloc(BLOCK_LEN)) != NULL)
        spare.n++;
    return spare.n == BLOCKS;
}
