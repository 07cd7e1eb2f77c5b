/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capture and defer (docs/factory.md, "The token is down"): a station's request for a unit of an order with `defer` is kept
 * when its CA's token does not sign, the unit moves on, and the request is signed when the token is back. A unit is certified
 * once, whoever comes first: the queue of captured requests, or the station that repeats its request.
 */
#ifndef INKAN_CA_CAPTURE_H
#define INKAN_CA_CAPTURE_H

#include "ca/csr.h"
#include "ca/enroll_policy.h"
#include "ca/factory.h"
#include "ca/store/capture.h"

struct captures *captures_new(void);
void captures_free(struct captures *s);

/* Could this granted request be kept? A unit's first certificate under an order that allows it; reads the unit. */
bool capture_is_possible(struct core *c, const struct svc_enroll *in, const struct grant *g);
/*
 * Keeps the request, inside its savepoint: E_PENDING with a text for the station, also when it was kept before; another key
 * takes the place of the one before. E_BUSY with the reason defer-used.
 */
MUST_CHECK enum err_code capture_take(struct core *c, const struct svc_enroll *in, const struct csr *csr, int64_t now,
                                      struct grant *g, struct err *e);

/*
 * The captured request of a unit as a grant and the CSR it is for, inside the savepoint of its issuance. E_NOT_FOUND: it has been
 * dealt with. Other errors as enroll_authorise.
 */
MUST_CHECK enum err_code capture_grant(struct core *c, uint64_t unit, int64_t now, struct grant *g, struct buf *csr, struct err *e);

/*
 * A unit that left the line without its certificate fetches it (docs/factory.md, "Fetched at first boot"): the request names the
 * device, is signed with the key that was registered for it, and is bound to its connection. Nothing is issued here: g->repeat with
 * the stored bytes, E_PENDING while the signature waits, E_DENIED for everything else, in one text. It is a confirm.
 */
MUST_CHECK enum err_code capture_fetch(struct core *c, const struct svc_enroll *in, const struct csr *csr, int64_t now,
                                       struct grant *g, struct err *e);

/* Every second: sends a small portion of what waits to be signed where the token is back; more as those are done. */
void capture_tick(struct core *c);

/* The unit is captured no more: its request goes, and the alarm that told of it. Part of factory_change. */
MUST_CHECK enum err_code capture_end(struct core *c, const struct work_order *o, uint64_t unit, const char *device_id, int64_t now,
                                     struct err *e);

/* An operator's: tries a set-aside one again; gives the unit up as unused. E_NOT_FOUND: the unit has no captured request. */
MUST_CHECK enum err_code capture_retry(struct core *c, uint64_t unit, const struct actor *by, int64_t now, struct err *e);
MUST_CHECK enum err_code capture_drop(struct core *c, uint64_t unit, const struct actor *by, int64_t now, struct err *e);

#endif
