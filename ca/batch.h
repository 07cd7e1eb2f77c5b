/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mass actions of the core: one action over a frozen list of units, in transactions of at most BATCH_STEP_MAX units between other
 * work of the loop (docs/fleet.md).
 *
 * Everything a batch is stands in the ledger, and a step's units, their rows, its entry in the trail and the batch's place in its
 * list are one transaction: after any end of the process it goes on where the last durable step stopped, each unit once.
 */
#ifndef INKAN_CA_BATCH_H
#define INKAN_CA_BATCH_H

#include "ca/batch_list.h"
#include "ca/core.h"

#define BATCH_STEP_MAX  500
#define BATCH_UNITS_MAX 10000000

struct batch_order {
    enum batch_action action;
    const char *selector;     /* as given; "" for a list of ids or an undo */
    enum crl_reason reason;   /* REASON_UNSPECIFIED: that of the change of state */
    const char *why;          /* NULL = none */
    int64_t until;            /* of a suspension: when it wants a review; 0 = never */
    const char *wanted;       /* of a quarantine: the release that ends it; NULL = none */
    unsigned canary;          /* percent, 0 = all at once */
    uint64_t undo_of;
    bool expected;            /* the list must have this count and digest: what the person who asks has seen */
    uint64_t count;
    uint8_t digest[32];
};

/*
 * Writes the batch and freezes its list in steps, then calls `done` from the loop, exactly once unless the core ends: E_OK, the
 * list of batch `id` is frozen, in state waiting: batch_start makes it run. Otherwise it has failed and says why, and nothing was changed:
 * E_NOT_FOUND no unit matches, E_CONFLICT the list is not the one expected.
 * Takes over `list` in every case. On an error `done` is not called. What `by` lends lives until then.
 */
typedef void (*batch_frozen_fn)(struct core *c, void *arg, uint64_t id, uint64_t count, enum err_code code, const struct err *e);
MUST_CHECK enum err_code batch_freeze(struct core *c, const struct batch_order *o, struct batch_list *list, const struct actor *by,
                                      batch_frozen_fn done, void *arg, struct err *e);

/*
 * Changes of its course, each a transaction of its own with an entry. E_NOT_FOUND: no such batch; E_CONFLICT: not from the state
 * it is in, which the message names. Again: success without change.
 */
MUST_CHECK enum err_code batch_fail(struct core *c, uint64_t id, const struct actor *by, const char *why, struct err *e); /* from waiting */
/* From waiting. `approved_by`: another person whose word it has; "" = nobody. */
MUST_CHECK enum err_code batch_start(struct core *c, uint64_t id, const struct actor *by, const char *approved_by, struct err *e);
MUST_CHECK enum err_code batch_pause(struct core *c, uint64_t id, const struct actor *by, struct err *e);  /* from running */
MUST_CHECK enum err_code batch_resume(struct core *c, uint64_t id, const struct actor *by, struct err *e); /* from paused, canary */
MUST_CHECK enum err_code batch_cancel(struct core *c, uint64_t id, const struct actor *by, struct err *e); /* from any that is not ended */
/* The request that was to let a batch run has ended, and the batch with it. Inside the open transaction; E_OK where no batch waits for it. */
MUST_CHECK enum err_code batch_unapproved(struct core *c, uint64_t pending, const struct actor *by, const char *why, struct err *e);

/* The state an action brings units to; DEVICE_STATES: it leaves the state alone. */
enum device_state batch_target(enum batch_action a);
/* The action that takes it back; BATCH_ACTIONS: none does. */
enum batch_action batch_inverse(enum batch_action a);
/*
 * From the beginning of a step to that of the next, in microseconds, after one that took so long with its commit. `budget_us`: what a step may work,
 * or what commits last lately where that is more. `busy`: somebody enrolls.
 */
int64_t batch_period_us(int64_t took_us, int64_t budget_us, bool busy);

/* What it would do to a unit of this state: "change", "same", or "refuse" with the reason in `why`. */
const char *batch_would(enum batch_action a, enum device_state from, char *why, size_t size);

MUST_CHECK enum err_code batches_open(struct core *c, struct err *e); /* at start: what is open goes on */
void batches_free(struct core *c);
void batches_tick(struct core *c); /* every 250 ms */

#endif
