/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Alarms: what a person must look at, in the ledger until it is cleared. Kinds and what to do about each: docs/operations.md.
 */
#ifndef INKAN_CA_ALARM_H
#define INKAN_CA_ALARM_H

#include "ca/core.h"

/*
 * Inside the open transaction: the alarm's row, an entry in the trail and a line in the log. One is open per (kind, domain,
 * object): again is success without a change. `object` is "device:acme/dev-1", "cert:3/0a1b", "" = none.
 */
MUST_CHECK enum err_code alarm_raise(struct core *c, const char *kind, const char *domain, const char *object, const char *text,
                                     struct err *e);
/* Inside the open transaction. None open is success without a change. */
MUST_CHECK enum err_code alarm_clear(struct core *c, const char *kind, const char *domain, const char *object, struct err *e);

/* Does the service itself clear alarms of this kind, once what they are about has ended? Others end when a person acknowledges them. */
bool alarm_ends_by_itself(const char *kind);

/*
 * Every two seconds: raises and clears what has no other place to be noticed: certificates near their end, disks, audit heads, the clock,
 * tokens. Own transactions.
 */
void alarm_watch(struct core *c);

#endif
