/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the factory line share among themselves. Included inside ca/ only. */
#ifndef INKAN_CA_FACTORY_INT_H
#define INKAN_CA_FACTORY_INT_H

#include "ca/factory.h"

#define UNIT_OBJECT_MAX (ORDER_NO_MAX + ID_MAX_LEN + 16)

/* A station's certificate that was found good: that costs as much as half of a request, and a line has a handful of them. */
#define STATIONS_KNOWN 32
struct known_station {
    struct factory_station st; /* id 0: empty */
    int64_t not_after;         /* of the certificate */
    uint64_t at;               /* store_changes then: as long as it stays, no certificate changed */
};

/* Refusals of one station that get an entry of the trail each: so many at once, then one each TOLD_EVERY_MS. Others are counted. */
#define TOLD_AT_ONCE  500
#define TOLD_EVERY_MS 500

/*
 * What a station may add without end is bounded: what it tells of a unit beside the unit's changes, each of which an allowance of the
 * order bounds, and certificates of its own, so many at once, then one each RENEW_EVERY_MS.
 */
#define UNIT_EVENTS_MAX 256
#define RENEW_AT_ONCE   20
#define RENEW_EVERY_MS  (10 * 60 * 1000)

/* What one station had of either; when more of them are at it at once, the one that had the least is forgotten. */
#define ALLOWANCE_ROWS 64
struct allowance {
    uint64_t station;
    int64_t until_ms; /* monotonic time at which it has all of it again */
};

struct factory {
    struct allowance told[ALLOWANCE_ROWS], renewed[ALLOWANCE_ROWS];
    struct known_station station[STATIONS_KNOWN]; /* by the first octet of the certificate's hash */
    LIST_HEAD(, work_order) orders;
    LIST_HEAD(, order_opening) openings;
};

/* An order's row is committed: it is known from now on, and fronts learn its label. */
MUST_CHECK enum err_code factory_opened(struct core *c, const char *order_no, struct err *e);
void factory_open_stop(struct core *c);

/* Makes a unit for a device_id that has none in the order. `from_range`: the id was allotted in its turn. */
MUST_CHECK enum err_code factory_reserve(struct core *c, struct work_order *o, const char *device_id, bool exists,
                                         bool from_range, int64_t now, struct grant *g, struct unit_row *u, struct err *e);
/* May a station add to the record of this unit, and change nothing else? E_DENIED: it has UNIT_EVENTS_MAX events. */
MUST_CHECK enum err_code factory_may_note(struct core *c, uint64_t unit, struct grant *g, struct err *e);
/* An event that changes nothing but the record; why->event is its name. */
MUST_CHECK enum err_code factory_note(struct core *c, const struct work_order *o, uint64_t unit, const char *device_id,
                                      const struct unit_cause *why, int64_t now, struct err *e);
/* "badge=B-77;tool=st/1.2;firmware=1.4.2" of the header Inkan-Unit, into g->unit. */
MUST_CHECK enum err_code factory_read_said(const char *text, struct grant *g, struct err *e);
/* Is its device stopped for the line too? */
bool factory_is_over(const struct device_facts *d);
/* `firmware` must be one of the order's releases; "" only when it is not `needed`. */
MUST_CHECK enum err_code factory_firmware(const struct work_order *o, const char *firmware, bool needed, struct grant *g,
                                          struct err *e);

/* The unit with its newest events, at most `events_max` and of `room` octets; NULL: no memory or a ledger error (in `e`). */
json_t *factory_unit_json(struct store *s, const char *order_no, const struct unit_row *u, size_t events_max, size_t room,
                          struct err *e);
json_t *factory_counts_json(const struct order_tally *t);
/* May this station (its row) have one more certificate now? Counts it. */
bool factory_may_renew(struct core *c, uint64_t station);
/* Ends the steps of an order that closes; the next start goes on. */
void factory_close_stop(struct work_order *o);

#endif
