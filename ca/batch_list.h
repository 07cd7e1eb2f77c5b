/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The units of a mass action while they are looked up: by a selector, from a list of ids, or what another batch changed. Always
 * in the order in which the devices were declared. For a reader's thread; sees nothing of the core.
 */
#ifndef INKAN_CA_BATCH_LIST_H
#define INKAN_CA_BATCH_LIST_H

#include "ca/store/batch.h"

#define BATCH_IDS_MAX_LEN (32 << 20) /* octets of a file of ids */

struct batch_list;

/* E_INVALID: the selector. `now`: what its relative times count from. */
MUST_CHECK enum err_code batch_list_select(const char *selector, int64_t now, struct batch_list **out, struct err *e);
/*
 * One id a line, "device_id" or "domain/device_id"; blank lines count for nothing, an id twice counts once. `domain` is that of
 * lines without one; NULL: every line needs its own. The text is copied. E_INVALID names the line.
 */
MUST_CHECK enum err_code batch_list_ids(struct bytes text, const char *domain, struct batch_list **out, struct err *e);
/* Those that stand as `state` because of this batch. */
MUST_CHECK enum err_code batch_list_changed(uint64_t batch, enum device_state state, struct batch_list **out, struct err *e);
void batch_list_free(struct batch_list *l);

/*
 * The next `max` units (0 = all that are left) go to `fn`; *more false when there are none after them. E_NOT_FOUND: an id of the
 * list is not declared (the first few are named).
 */
MUST_CHECK enum err_code batch_list_next(struct batch_list *l, struct store *ledger, size_t max, device_row_fn fn, void *arg, bool *more,
                                         struct err *e);

/*
 * The digest of a list: SHA-256 over "domain/device_id" LF of each unit in its order, so that
 *     inkan device export --select S --format ids | sha256sum
 * gives the same.
 */
struct batch_digest {
    void *ctx;
};
MUST_CHECK enum err_code batch_digest_begin(struct batch_digest *d, struct err *e);
void batch_digest_add(struct batch_digest *d, const struct device_row *row);
void batch_digest_end(struct batch_digest *d, uint8_t out[32]);
void batch_digest_clear(struct batch_digest *d);

/*
 * The unit that runs at place `at` (from 0) of a list of `count`: its number, from 1. The first `canary` places are spread evenly
 * over the list, the others follow in its order; each number comes once.
 */
uint64_t batch_item_at(uint64_t count, uint64_t canary, uint64_t at);

#endif
