/* SPDX-License-Identifier: Apache-2.0 */
/* What the C tools of the bench measure with: clocks, percentiles, one line of JSON at the end. Errors end the program. */
#ifndef TESTS_BENCH_FIGURES_H
#define TESTS_BENCH_FIGURES_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

double figures_cpu_us(void);  /* of this process, all threads */
double figures_wall_us(void);

/* Times of single operations, microseconds. */
struct latencies {
    float *us;
    size_t n, room;
};
void latencies_add(struct latencies *l, double us);
void latencies_clear(struct latencies *l);
double latencies_at(struct latencies *l, double fraction); /* 0.5: the median; sorts */
/* {"NAME": value, ...}: {"ops":, "us": CPU per operation, "rate": operations a second, "p50":, "p99":, "p999":} */
void figures_print(size_t ops, double cpu_us, double wall_us, struct latencies *l);

/* Says what failed and ends the program with 1. */
void must(int ok, const char *what);
void must_ok(enum err_code code, const struct err *e);

#endif
