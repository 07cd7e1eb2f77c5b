/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <sched.h>
#include <stdio.h>

#define GIVE_WAY_US 500

#ifdef INKAN_TEST_HOOKS
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static long long test_shift(void)
{
    const char *path = getenv("INKAN_TEST_CLOCK");
    char text[32];
    ssize_t n;
    int fd;

    if (!path || (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return 0;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    return strtoll(text, NULL, 10);
}
#else
static long long test_shift(void)
{
    return 0;
}
#endif

time_t clock_now(void)
{
    struct timespec ts = {0};

    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec + (time_t)test_shift();
}

int64_t clock_mono_ms(void)
{
    struct timespec ts = {0};

    /* Counts on while the machine is suspended: the clock rule compares it with the wall clock. */
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t clock_mono_us(void)
{
    struct timespec ts = {0};

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void clock_give_way(int64_t *last_us)
{
    if (clock_mono_us() - *last_us < GIVE_WAY_US)
        return;
    sched_yield();
    *last_us = clock_mono_us();
}

void clock_format(time_t t, char out[32])
{
    struct tm tm;

    if (!gmtime_r(&t, &tm) || tm.tm_year > 9999 - 1900 || tm.tm_year < -1900) {
        snprintf(out, 32, "(out of range)");
        return;
    }
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}
