/* SPDX-License-Identifier: Apache-2.0 */
#include "base/openmetrics.h"

#include <stdio.h>
#include <string.h>

#include "base/auto.h"

static const uint64_t bound_us[HISTOGRAM_BOUNDS] = {100,   200,    500,    1000,   2000,    5000,    10000,
                                                    20000, 50000, 100000, 250000, 500000, 1000000, 5000000};

void histogram_add(struct histogram *h, int64_t us)
{
    uint64_t at = us > 0 ? (uint64_t)us : 0;
    size_t i = 0;

    while (i < HISTOGRAM_BOUNDS && at > bound_us[i])
        i++;
    h->bucket[i]++;
    h->sum_us += at;
}

/* OpenMetrics "Text format": \\, \" and \n are escaped. What is no printable ASCII cannot come from our names. */
static void escaped_add(struct buf *out, const char *s)
{
    for (; *s; s++) {
        if (*s == '\n')
            buf_add_str(out, "\\n");
        else {
            if (*s == '\\' || *s == '"')
                buf_add_u8(out, '\\');
            buf_add_u8(out, (unsigned char)*s < ' ' || (unsigned char)*s > '~' ? '?' : (uint8_t)*s);
        }
    }
}

void om_family(struct buf *out, const char *name, const char *type, const char *unit, const char *help)
{
    buf_printf(out, "# TYPE %s %s\n", name, type);
    if (unit[0])
        buf_printf(out, "# UNIT %s %s\n", name, unit);
    buf_printf(out, "# HELP %s ", name);
    escaped_add(out, help);
    buf_add_u8(out, '\n');
}

static void value_add(struct buf *out, double value)
{
    buf_printf(out, " %.15g\n", value);
}

void om_sample_labels(struct buf *out, const char *name, double value, const char *const *labels)
{
    char before = '{';

    buf_add_str(out, name);
    for (; labels[0]; labels += 2) {
        buf_add_u8(out, (uint8_t)before);
        buf_printf(out, "%s=\"", labels[0]);
        escaped_add(out, labels[1]);
        buf_add_u8(out, '"');
        before = ',';
    }
    if (before == ',')
        buf_add_u8(out, '}');
    value_add(out, value);
}

void om_histogram(struct buf *out, const char *name, const struct histogram *h, const char *label, const char *value)
{
    char full[96], le[32];
    uint64_t count = 0;

    snprintf(full, sizeof(full), "%s_bucket", name);
    for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++) {
        count += h->bucket[i];
        if (i < HISTOGRAM_BOUNDS)
            snprintf(le, sizeof(le), "%g", (double)bound_us[i] / 1e6);
        om_sample(out, full, (double)count, label, value, "le", i < HISTOGRAM_BOUNDS ? le : "+Inf", NULL);
    }
    snprintf(full, sizeof(full), "%s_count", name);
    om_sample(out, full, (double)count, label, value, NULL);
    snprintf(full, sizeof(full), "%s_sum", name);
    om_sample(out, full, (double)h->sum_us / 1e6, label, value, NULL);
}
