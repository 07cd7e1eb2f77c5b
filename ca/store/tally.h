/* SPDX-License-Identifier: Apache-2.0 */
/* Counts for those who watch the service (docs/metrics.md). The parts of store.h's rules hold here too. */
#ifndef INKAN_CA_STORE_TALLY_H
#define INKAN_CA_STORE_TALLY_H

#include "ca/store/store.h"

/* One group: its name ("clone-suspected") or number (enum batch_state), and how many. false stops. */
typedef bool (*tally_fn)(void *arg, const char *name, unsigned number, uint64_t count);
MUST_CHECK enum err_code store_alarm_tally(struct store *s, tally_fn fn, void *arg, struct err *e);  /* open ones by kind */
MUST_CHECK enum err_code store_batch_tally(struct store *s, tally_fn fn, void *arg, struct err *e);  /* not ended, by state */
MUST_CHECK enum err_code store_pending_tally(struct store *s, uint64_t *waiting, struct err *e);     /* acts that wait for a second person */

/*
 * One step over the devices: the `limit` rows after *after, which then is the last of them; *after stays when there is none. Adds to
 * n[state].
 */
MUST_CHECK enum err_code store_device_tally(struct store *s, uint64_t *after, uint64_t limit, uint64_t n[DEVICE_STATES], struct err *e);

/* Operational certificates of devices that are good and that no newer one has replaced. */
struct renewal_tally {
    uint64_t good;    /* in date */
    uint64_t due;     /* of these: two thirds of their life have passed */
    uint64_t expired; /* ended at most 30 days ago */
    int64_t lag_s;    /* the longest time since one of the due ones was due */
};
/* One step over the certificates, as store_device_tally. */
MUST_CHECK enum err_code store_renewal_tally(struct store *s, uint64_t *after, uint64_t limit, int64_t now, struct renewal_tally *t,
                                             struct err *e);

#endif
