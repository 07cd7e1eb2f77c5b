/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of the factory line: work orders, stations, units, what happened to them. The rules of ca/store/store.h hold here too:
 * transactions, borrowed strings, error codes. What a change means is decided in ca/factory.c; here rows are kept.
 */
#ifndef INKAN_CA_STORE_FACTORY_H
#define INKAN_CA_STORE_FACTORY_H

#include "ca/order_spec.h"
#include "ca/store/store.h"
#include "ca/unit_rule.h"

enum order_state { ORDER_OPEN, ORDER_CLOSING, ORDER_CLOSED, ORDER_OPENING, ORDER_STATES };
const char *order_state_name(enum order_state s);

/* Lists are one text a line, as in struct text_list. */
struct order_row {
    uint64_t id;
    char order_no[ORDER_NO_MAX + 1];
    char domain[ID_MAX_LEN + 1], product[ID_MAX_LEN + 1], model[ID_MAX_LEN + 1], lot[ID_MAX_LEN + 1];
    char line[ID_MAX_LEN + 1], profile[ID_MAX_LEN + 1];
    uint8_t key_mode;           /* enum order_key_mode */
    uint64_t quantity;
    bool by_list;
    char prefix[ID_MAX_LEN + 1];
    uint64_t first;
    unsigned digits;
    const char *stations, *firmware, *targets;
    int64_t not_before, not_after;
    uint64_t rekeys_allowed, rework_allowed, defer_allowed;
    int64_t orphan_after_s;
    bool evidence_required;
    struct bytes customer_key;
    const char *note;
    uint8_t file_hash[32];
    char signer[ID_MAX_LEN + 1];
    char kid[33];
    uint8_t state;              /* enum order_state */
    int64_t opened_at, closed_at;
    uint64_t units_after;       /* its units have ids above this one; set by the insert */
};
/* What the row takes of a file that was verified; borrows from it. */
void order_row_from_spec(struct order_row *row, const struct order_spec *spec);
/* Sets id and units_after; its tally begins with zeros. E_CONFLICT: the number is taken. */
MUST_CHECK enum err_code store_order_insert(struct store *s, struct order_row *row, struct err *e);
MUST_CHECK enum err_code store_order_by_no(struct store *s, const char *order_no, struct order_row *out, struct err *e);
/* closed_at is kept when `at` is 0. */
MUST_CHECK enum err_code store_order_set_state(struct store *s, uint64_t id, enum order_state state, int64_t at, struct err *e);
typedef bool (*order_row_fn)(void *arg, const struct order_row *row);
/* In the order of id; `live_only`: without the closed ones. */
MUST_CHECK enum err_code store_order_each(struct store *s, bool live_only, uint64_t after_id, uint64_t limit, order_row_fn fn,
                                          void *arg, struct err *e);
/* The file as it was given, part after part. Adding one again: no change. */
MUST_CHECK enum err_code store_order_file_add(struct store *s, uint64_t id, uint64_t part, struct bytes octets, struct err *e);
MUST_CHECK enum err_code store_order_file(struct store *s, uint64_t id, struct buf *file, struct err *e);
/* Empty until the order is closed. */
MUST_CHECK enum err_code store_order_report(struct store *s, uint64_t id, struct buf *report, struct err *e);
MUST_CHECK enum err_code store_order_set_report(struct store *s, uint64_t id, struct bytes report, struct err *e);
/* Again: no change. */
MUST_CHECK enum err_code store_order_id_add(struct store *s, uint64_t id, const char *device_id, struct err *e);
MUST_CHECK enum err_code store_order_id_has(struct store *s, uint64_t id, const char *device_id, bool *has, struct err *e);
MUST_CHECK enum err_code store_order_id_count(struct store *s, uint64_t id, uint64_t *n, struct err *e);

/* Counts of an order, or changes of them. `packed` is how many are packed now; the rest, how many it ever happened to. */
struct order_tally {
    int64_t next; /* ids of the range allotted in their order */
    int64_t reserved, captured, issued, confirmed, packed, shipped;
    int64_t unused, voided, orphaned, scrapped;
    int64_t rekeyed, reworked;
    int64_t stock; /* confirmed or packed now; only from the rows */
};
MUST_CHECK enum err_code store_tally(struct store *s, uint64_t order, struct order_tally *out, struct err *e);
MUST_CHECK enum err_code store_tally_add(struct store *s, uint64_t order, const struct order_tally *change, struct err *e);
/* The same from the rows of the units with ids in (after, to]; `next` and `captured` stay 0. Reads them all. */
MUST_CHECK enum err_code store_tally_of_units(struct store *s, uint64_t order, uint64_t after, uint64_t to,
                                              struct order_tally *out, struct err *e);
/* How many units QA opened again that were not confirmed since. */
MUST_CHECK enum err_code store_units_reworked(struct store *s, uint64_t order, uint64_t *n, struct err *e);
/* When the first of those units was reserved, and the last time one of them changed; 0 and 0: there is none. */
MUST_CHECK enum err_code store_span_of_units(struct store *s, uint64_t order, uint64_t after, uint64_t to, int64_t *first,
                                             int64_t *last, struct err *e);
/* How many units are in each state. Reads them all. */
MUST_CHECK enum err_code store_order_states(struct store *s, uint64_t order, uint64_t counts[UNIT_STATES], struct err *e);

MUST_CHECK enum err_code store_order_refused(struct store *s, uint64_t order, const char *reason, struct err *e);
typedef bool (*order_refusal_fn)(void *arg, const char *reason, uint64_t n);
MUST_CHECK enum err_code store_order_refusals(struct store *s, uint64_t order, order_refusal_fn fn, void *arg, struct err *e);

/* Stations. */
enum station_role {
    STATION_LOAD = 1 << 0,
    STATION_ISSUE = 1 << 1,
    STATION_VERIFY = 1 << 2,
    STATION_REWORK = 1 << 3,
    STATION_PACK = 1 << 4,
    STATION_QA = 1 << 5,
};
#define STATION_ROLES 6
const char *station_role_name(unsigned bit); /* 0 .. STATION_ROLES - 1: "load" */
struct station_row {
    uint64_t id;
    char name[ID_MAX_LEN + 1], domain[ID_MAX_LEN + 1], line[ID_MAX_LEN + 1], profile[ID_MAX_LEN + 1];
    unsigned roles;             /* enum station_role bits */
    int64_t created_at, not_after, revoked_at; /* revoked_at 0 = not */
};
MUST_CHECK enum err_code store_station_insert(struct store *s, struct station_row *row, struct err *e); /* sets id; E_CONFLICT: name taken */
MUST_CHECK enum err_code store_station_by_name(struct store *s, const char *name, struct station_row *out, struct err *e);
MUST_CHECK enum err_code store_station_by_id(struct store *s, uint64_t id, struct station_row *out, struct err *e);
MUST_CHECK enum err_code store_station_revoke(struct store *s, uint64_t id, int64_t at, struct err *e); /* again: no change */
typedef bool (*station_row_fn)(void *arg, const struct station_row *row);
MUST_CHECK enum err_code store_station_each(struct store *s, station_row_fn fn, void *arg, struct err *e);

/* Units: one device in one order. */
struct unit_row {
    uint64_t id, order, device;
    uint64_t ordinal;           /* 1 .. of its order, as they were reserved */
    uint8_t state;              /* enum unit_state */
    uint64_t cert;              /* newest certificate, 0 = none */
    int64_t reserved_at, issued_at, confirmed_at, packed_at, shipped_at, ended_at; /* the first time; 0 = not */
    int64_t due_at;             /* when an unconfirmed certificate goes on hold */
    uint64_t rekeys, reworks;
    const char *device_id;      /* set when read */
};
/* Sets id. E_CONFLICT: the order has this device. */
MUST_CHECK enum err_code store_unit_insert(struct store *s, struct unit_row *row, struct err *e);
/* Everything but id, order, device, ordinal and reserved_at. E_CONFLICT: a unit that ended. */
MUST_CHECK enum err_code store_unit_update(struct store *s, const struct unit_row *row, struct err *e);
MUST_CHECK enum err_code store_unit_find(struct store *s, uint64_t order, uint64_t device, struct unit_row *out, struct err *e);
MUST_CHECK enum err_code store_unit_by_id(struct store *s, uint64_t id, struct unit_row *out, struct err *e);
/* The device's unit in the order that was opened last. */
MUST_CHECK enum err_code store_unit_newest(struct store *s, uint64_t device, struct unit_row *out, struct err *e);
typedef bool (*unit_row_fn)(void *arg, const struct unit_row *row);
/* Units of an order in the order of id, from the one after `after_id`; `state` -1 = any, `limit` 0 = none. */
MUST_CHECK enum err_code store_unit_each(struct store *s, uint64_t order, int state, uint64_t after_id, uint64_t limit,
                                         unit_row_fn fn, void *arg, struct err *e);
/* Issued units whose due_at is not after `now`, the longest overdue first. */
MUST_CHECK enum err_code store_unit_due(struct store *s, int64_t now, uint64_t limit, unit_row_fn fn, void *arg, struct err *e);
MUST_CHECK enum err_code store_unit_last(struct store *s, uint64_t *id, struct err *e); /* highest id; 0 = none */

/* E_NOT_FOUND: the station has not used this token in the order. */
MUST_CHECK enum err_code store_request_find(struct store *s, uint64_t order, uint64_t station, const char *token,
                                            uint64_t *unit, struct err *e);
MUST_CHECK enum err_code store_request_put(struct store *s, uint64_t order, uint64_t station, const char *token, uint64_t unit,
                                           struct err *e);

struct unit_event_row {
    uint64_t id, unit;
    int64_t time;
    const char *event;          /* "reserved", "issued", "confirmed", "written", ... */
    uint64_t station;           /* 0 = the service or an operator */
    const char *badge, *tool;   /* as the station said */
    const char *detail;         /* JSON object; NULL = {} */
    const char *station_name;   /* set when read */
};
MUST_CHECK enum err_code store_unit_event_add(struct store *s, struct unit_event_row *row, struct err *e); /* sets id */
typedef bool (*unit_event_row_fn)(void *arg, const struct unit_event_row *row);
/* How many a unit has; counts no further than `most`. */
MUST_CHECK enum err_code store_unit_event_count(struct store *s, uint64_t unit, uint64_t most, uint64_t *n, struct err *e);
/* The detail of the newest of that name. E_NOT_FOUND: there is none. */
MUST_CHECK enum err_code store_unit_event_newest(struct store *s, uint64_t unit, const char *event, struct buf *detail, struct err *e);
/* The last `limit` of them, the newest first. */
MUST_CHECK enum err_code store_unit_event_each(struct store *s, uint64_t unit, uint64_t limit, unit_event_row_fn fn, void *arg,
                                               struct err *e);

#endif
