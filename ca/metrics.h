/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the core counts and tells those who watch it (docs/metrics.md). Counters begin at 0 with the process; everything is touched from
 * the loop only, but for the steps of the count of the fleet, which a reader's thread makes.
 */
#ifndef INKAN_CA_METRICS_H
#define INKAN_CA_METRICS_H

#include "base/openmetrics.h"
#include "ca/core.h"

struct metrics;

struct metrics *metrics_new(struct core *c);
void metrics_free(struct metrics *m);

void metrics_issued(struct core *c, enum issue_call call, enum err_code code, bool repeated);
/* A certificate changed inside the open transaction; it counts when that is committed, by metrics_committed. */
void metrics_status_changed(struct core *c, enum cert_status to, enum crl_reason reason);
void metrics_committed(struct core *c);
void metrics_rolled_back(struct core *c);
/* Where the signatures of one token are counted, as long as the core lives; NULL: out of memory. */
struct signer_stats *metrics_of_token(struct core *c, const char *token);
/* Four times a second: the count of the fleet goes on. */
void metrics_tick(struct core *c);
/* All families of the core, without "# EOF". */
void metrics_write(struct core *c, struct buf *out);

#endif
