/* SPDX-License-Identifier: Apache-2.0 */
/* Mass actions and their frozen lists, as rows. The rules of ca/store/store.h hold; docs/fleet.md says what they mean. */
#ifndef INKAN_CA_STORE_BATCH_H
#define INKAN_CA_STORE_BATCH_H

#include "ca/store/store.h"

/* Numbers are those of the ledger. */
enum batch_action {
    BATCH_SUSPEND, BATCH_RELEASE, BATCH_QUARANTINE, BATCH_UNQUARANTINE, BATCH_REVOKE, BATCH_COMPROMISE, BATCH_LOSE,
    BATCH_DECOMMISSION, BATCH_SHIP, BATCH_ACTIONS
};
const char *batch_action_name(enum batch_action a); /* "suspend" */
bool batch_action_from_name(const char *s, enum batch_action *out);

enum batch_state {
    BATCH_FREEZING,  /* its list is being written */
    BATCH_WAITING,   /* for another person's approval */
    BATCH_RUNNING,
    BATCH_CANARY,    /* the first part is done; a person says whether it goes on */
    BATCH_PAUSED,
    BATCH_FINISHING, /* every unit is durable; status, fronts and lists follow */
    BATCH_DONE, BATCH_CANCELLED, BATCH_FAILED,
    BATCH_STATES
};
const char *batch_state_name(enum batch_state s); /* "freezing" */

struct batch_row {
    uint64_t id;
    uint8_t action, state;      /* enum batch_action, enum batch_state */
    const char *selector;       /* "" = a list of ids was given */
    uint8_t reason;             /* enum crl_reason of its revocations; REASON_UNSPECIFIED = as the change of state has it */
    const char *why;            /* text for people */
    int64_t until;              /* of a suspension: when it wants a review; 0 = never */
    const char *wanted;         /* of a quarantine: the release that ends it; "" = none */
    const char *created_by, *approved_by;
    int64_t created_at, approved_at, started_at, ended_at; /* 0 = not */
    uint64_t pending;           /* request that waits for a second person, 0 = none */
    uint64_t undo_of;           /* 0 = none */
    uint64_t count;
    bool frozen;
    uint8_t digest[32];         /* of the list, when frozen: docs/fleet.md */
    uint8_t canary;             /* percent that run first, 0 = all at once */
    uint64_t next, changed, same, refused;
    uint64_t seq;               /* what links_confirm waits for, of its newest transaction */
    const char *error;          /* why it failed, waits or was cancelled; "" = nothing */
};

/* Sets id; it is not frozen yet. */
MUST_CHECK enum err_code store_batch_insert(struct store *s, struct batch_row *row, struct err *e);
MUST_CHECK enum err_code store_batch_by_id(struct store *s, uint64_t id, struct batch_row *out, struct err *e);
typedef bool (*batch_row_fn)(void *arg, const struct batch_row *row); /* false stops */
/* The newest first, before `before_id` (0 = from the newest); `limit` 0 = none. `open_only`: not ended. */
MUST_CHECK enum err_code store_batch_each(struct store *s, bool open_only, uint64_t before_id, uint64_t limit, batch_row_fn fn,
                                          void *arg, struct err *e);

/* Units of batches that `by` let run without another person: all of those still open, and what was done of those that ended since `since`. */
MUST_CHECK enum err_code store_batch_alone(struct store *s, const char *by, int64_t since, uint64_t *units, struct err *e);
/* The batch that waits for this request; E_NOT_FOUND: none does. */
MUST_CHECK enum err_code store_batch_unapproved(struct store *s, uint64_t pending, uint64_t *id, struct err *e);
/* One that neither ran nor waits for a person: its list was never complete, or its request has ended. E_NOT_FOUND: none. */
MUST_CHECK enum err_code store_batch_half(struct store *s, uint64_t *id, struct err *e);

/* The list: `device[0]` becomes number `first` (from 1). */
MUST_CHECK enum err_code store_batch_items_put(struct store *s, uint64_t batch, uint64_t first, const uint64_t *device, size_t n,
                                               struct err *e);
/* The list is complete: nothing of it changes any more. */
MUST_CHECK enum err_code store_batch_freeze(struct store *s, uint64_t batch, uint64_t count, const uint8_t digest[32], struct err *e);
MUST_CHECK enum err_code store_batch_item(struct store *s, uint64_t batch, uint64_t n, uint64_t *device, struct err *e);

/* The times are those of the state: started_at with the first BATCH_RUNNING, ended_at with the last three. */
MUST_CHECK enum err_code store_batch_set_state(struct store *s, uint64_t id, enum batch_state state, const char *error, int64_t at,
                                               struct err *e);
MUST_CHECK enum err_code store_batch_set_pending(struct store *s, uint64_t id, uint64_t pending, struct err *e);
MUST_CHECK enum err_code store_batch_approved(struct store *s, uint64_t id, const char *by, int64_t at, struct err *e);
/* One transaction's part: the counters as they are after it. */
MUST_CHECK enum err_code store_batch_advance(struct store *s, const struct batch_row *row, struct err *e);

MUST_CHECK enum err_code store_batch_refused_add(struct store *s, uint64_t batch, uint64_t n, const char *reason, struct err *e);
struct batch_refused {
    uint64_t n;
    const char *domain, *device_id, *state, *reason;
};
typedef bool (*batch_refused_fn)(void *arg, const struct batch_refused *row);
MUST_CHECK enum err_code store_batch_refused_each(struct store *s, uint64_t batch, uint64_t after_n, uint64_t limit,
                                                  batch_refused_fn fn, void *arg, struct err *e);
/* The batch that changed the device last; 0: no batch did, or it never changed. */
MUST_CHECK enum err_code store_batch_of_device(struct store *s, uint64_t device, uint64_t *batch, struct err *e);
/* Devices of the list from the one after number `after_n`, that stand as `state` since this batch brought them there. */
typedef bool (*batch_device_fn)(void *arg, uint64_t n, const struct device_row *row);
MUST_CHECK enum err_code store_batch_still(struct store *s, uint64_t batch, enum device_state state, uint64_t after_n, uint64_t limit,
                                           batch_device_fn fn, void *arg, struct err *e);

#endif
