/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What gateways say of themselves when they ask for the feed (base/feed.h, feed_servers_write): which row of the status log they have, and
 * which row each of their servers acts on. Kept in memory since the core's start, by the gateway's name, for `inkan gateway list` and the
 * metrics. It is a gateway's own word, taken from the holder of its certificate; nothing is decided by it.
 *
 * Event loop thread only.
 */
#ifndef INKAN_CA_GATEWAY_H
#define INKAN_CA_GATEWAY_H

#include "ca/core.h"

struct gateways;

struct gateways *gateways_new(void); /* NULL: out of memory */
void gateways_free(struct gateways *all);

/* A gateway asked for changes. One whose certificate the ledger does not have is left out. */
void gateway_heard(struct core *c, const struct follow_gateway *in);
/* Families of OpenMetrics (docs/metrics.md). */
void gateways_metrics(const struct gateways *all, struct buf *out);

#endif
