/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reserve of memory, for a process that serves strangers: they may use up what it is allowed, and the request of somebody else
 * that is under way then must not fail.
 *
 * The functions here are malloc, calloc and realloc. When there is no memory they give up blocks of the reserve, one by one, until
 * there is; the process is told, and makes room and fills the reserve before it goes on with anything else. Without a reserve
 * (nobody called spare_start) they are malloc, calloc and realloc.
 *
 * For the one thread that calls spare_start, and processes that never do.
 */
#ifndef INKAN_BASE_SPARE_H
#define INKAN_BASE_SPARE_H

#include <stdbool.h>
#include <stddef.h>

void *spare_malloc(size_t n);
void *spare_calloc(size_t n, size_t size);
void *spare_realloc(void *p, size_t n);

/* Makes OpenSSL and libevent allocate here. The first thing a program does: false when either has allocated before. */
bool spare_serve_libraries(void);

/*
 * Fills the reserve for the first time. `used` is called each time some of it was given up, from within the allocation: it may
 * neither allocate nor free.
 */
void spare_start(void (*used)(void *arg), void *arg);
/* Frees the reserve; `used` is not called any more. */
void spare_stop(void);
/* Fills it again. false: there is not memory enough for all of it. */
bool spare_fill(void);

#endif
