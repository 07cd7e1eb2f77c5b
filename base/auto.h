/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owning locals that free themselves at the end of their scope (GCC and Clang `cleanup`).
 *
 *     AUTO(EVP_PKEY) *key = NULL;      declared at the top, set to NULL, before the first return
 *     *out = TAKE(key);                gives it away: yields the pointer and leaves NULL behind
 */
#ifndef INKAN_BASE_AUTO_H
#define INKAN_BASE_AUTO_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Once per type, in the header that declares it or in the file that uses it. */
#define AUTO_TYPE(type, free_fn)                                                                                       \
    static inline __attribute__((unused)) void auto_free_##type(type **p)                                              \
    {                                                                                                                  \
        if (*p)                                                                                                        \
            free_fn(*p);                                                                                               \
    }

#define AUTO(type) __attribute__((cleanup(auto_free_##type))) type

#define TAKE(p)                                                                                                        \
    __extension__({                                                                                                    \
        __typeof__(p) take_tmp_ = (p);                                                                                 \
        (p) = NULL;                                                                                                    \
        take_tmp_;                                                                                                     \
    })

static inline __attribute__((unused)) void auto_free_char(char **p)
{
    free(*p);
}

static inline __attribute__((unused)) void auto_free_FILE(FILE **p)
{
    if (*p)
        fclose(*p);
}

static inline __attribute__((unused)) void auto_close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* AUTO_FD int fd = -1; */
#define AUTO_FD __attribute__((cleanup(auto_close_fd)))

static inline __attribute__((unused)) int take_fd(int *fd)
{
    int out = *fd;
    *fd = -1;
    return out;
}

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
