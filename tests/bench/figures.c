/* SPDX-License-Identifier: Apache-2.0 */
#include "figures.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double clock_us(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

double figures_cpu_us(void)
{
    return clock_us(CLOCK_PROCESS_CPUTIME_ID);
}

double figures_wall_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

void must(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "bench: %s failed\n", what);
        exit(1);
    }
}

void must_ok(enum err_code code, const struct err *e)
{
    if (code != E_OK) {
        fprintf(stderr, "bench: %s\n", e->msg);
        exit(1);
    }
}

void latencies_add(struct latencies *l, double us)
{
    if (l->n == l->room) {
        l->room = l->room ? 2 * l->room : 65536;
        l->us = realloc(l->us, l->room * sizeof(*l->us));
        must(l->us != NULL, "realloc");
    }
    l->us[l->n++] = (float)us;
}

void latencies_clear(struct latencies *l)
{
    free(l->us);
    *l = (struct latencies){0};
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

double latencies_at(struct latencies *l, double fraction)
{
    size_t at = (size_t)((double)l->n * fraction);

    if (l->n == 0)
        return 0;
    qsort(l->us, l->n, sizeof(*l->us), by_value);
    return (double)l->us[at < l->n ? at : l->n - 1];
}

void figures_print(size_t ops, double cpu_us, double wall_us, struct latencies *l)
{
    printf("{\"ops\": %zu, \"us\": %.3f, \"rate\": %.1f, \"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f}\n", ops,
           cpu_us / (double)ops, (double)ops / wall_us * 1e6, latencies_at(l, 0.5), latencies_at(l, 0.99),
           latencies_at(l, 0.999));
}
