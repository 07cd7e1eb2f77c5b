/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of units whose signature waits for the token, as rows. The rules of ca/store/store.h hold. */
#ifndef INKAN_CA_STORE_CAPTURE_H
#define INKAN_CA_STORE_CAPTURE_H

#include "ca/store/store.h"

enum capture_state { CAPTURE_WAITS, CAPTURE_SET_ASIDE, CAPTURE_STATES };
const char *capture_state_name(enum capture_state s); /* "waiting", "set-aside" */

struct capture_row {
    uint64_t unit, order, station;
    uint8_t state;                  /* enum capture_state */
    const char *badge, *tool;       /* as the station said */
    uint8_t spki_hash[32];
    struct bytes csr;
    int64_t captured_at;
    int64_t try_at;                 /* not before then */
    uint64_t tries;                 /* signatures that were begun */
    const char *reason;             /* it was set aside; else the last trouble */
    const char *order_no, *device_id, *station_name; /* set when read */
};
/* A unit has one: again with another request takes the place of the one before. */
MUST_CHECK enum err_code store_capture_put(struct store *s, const struct capture_row *row, struct err *e);
MUST_CHECK enum err_code store_capture_find(struct store *s, uint64_t unit, struct capture_row *out, struct err *e);
MUST_CHECK enum err_code store_capture_set(struct store *s, uint64_t unit, enum capture_state state, int64_t try_at,
                                           uint64_t tries, const char *reason, struct err *e);
MUST_CHECK enum err_code store_capture_delete(struct store *s, uint64_t unit, struct err *e); /* none: no change */
typedef bool (*capture_row_fn)(void *arg, const struct capture_row *row);
/* Those of an order that may be tried at `now`, the longest due first. */
MUST_CHECK enum err_code store_capture_due(struct store *s, uint64_t order, int64_t now, uint64_t limit, capture_row_fn fn,
                                           void *arg, struct err *e);
/* In the order of unit, after `after`; `order` 0 = any; `limit` 0 = none. */
MUST_CHECK enum err_code store_capture_each(struct store *s, uint64_t order, uint64_t after, uint64_t limit, capture_row_fn fn,
                                            void *arg, struct err *e);
struct capture_counts {
    uint64_t waiting, set_aside;
    int64_t oldest; /* captured_at of the oldest that waits, 0 = none */
};
MUST_CHECK enum err_code store_capture_counts(struct store *s, struct capture_counts *out, struct err *e);

#endif
