/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers about the service as OpenMetrics text (format 1.0.0), and a histogram of durations. Every process that has numbers writes
 * its families whole; the front puts the texts one behind the other and ends them with "# EOF". Names: docs/metrics.md.
 */
#ifndef INKAN_BASE_OPENMETRICS_H
#define INKAN_BASE_OPENMETRICS_H

#include "base/bytes.h"

#define OPENMETRICS_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define OPENMETRICS_MAX  (4u << 20) /* octets of one process's text */

/* Upper bounds of the buckets, in microseconds; the last bucket has none. */
#define HISTOGRAM_BOUNDS 14
struct histogram {
    uint64_t bucket[HISTOGRAM_BOUNDS + 1]; /* each counted once, not in those above it */
    uint64_t sum_us;
};
void histogram_add(struct histogram *h, int64_t us); /* below 0 counts as 0 */

/* Begins a family; its samples follow. `type` "gauge", "counter" or "histogram"; `unit` "" or the suffix of the name. */
void om_family(struct buf *out, const char *name, const char *type, const char *unit, const char *help);
/* One sample. Pairs of label and value follow, then NULL. Of a counter the name ends in "_total". */
#define om_sample(out, name, value, ...) om_sample_labels(out, name, value, (const char *const[]){__VA_ARGS__})
void om_sample_labels(struct buf *out, const char *name, double value, const char *const *labels);
/* All samples of one histogram, in seconds, with one label. */
void om_histogram(struct buf *out, const char *name, const struct histogram *h, const char *label, const char *value);

#endif
