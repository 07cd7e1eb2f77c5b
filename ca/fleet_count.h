/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many devices are in which state, and how many certificates are due for renewal: counted over and over in short steps by a
 * reader's thread, a twentieth of its time at most, so that ten million of them cost issuance nothing.
 */
#ifndef INKAN_CA_FLEET_COUNT_H
#define INKAN_CA_FLEET_COUNT_H

#include "ca/core.h"

struct fleet_count;

struct fleet_count *fleet_count_new(struct core *c);
void fleet_count_free(struct fleet_count *f); /* after the readers */
void fleet_count_tick(struct fleet_count *f); /* four times a second */
void fleet_count_write(const struct fleet_count *f, struct buf *out);

#endif
