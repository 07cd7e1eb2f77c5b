/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the life of a device (base/life.h) does to its certificates: a change of state, its effects, its rows in the status log,
 * its event and its entry in the trail are one transaction. docs/lifecycle.md is the table for people.
 */
#ifndef INKAN_CA_LIFE_H
#define INKAN_CA_LIFE_H

#include "ca/core.h"

struct life_change {
    enum device_state to;
    enum crl_reason reason;      /* of the revocations it makes; REASON_UNSPECIFIED: that of the table */
    const char *why, *evidence;  /* texts for people, NULL = none */
    uint64_t batch;              /* 0 = none; the entry in the trail is then the batch's */
    const char *origin;          /* of the status rows; NULL = this node */
    enum device_state only_from; /* DEVICE_STATES = any the table allows */
    unsigned from;               /* only from these, 1 << state each; 0 = any the table allows */
    int64_t until;               /* of SUSPENDED: when it wants a person's review; 0 = never */
    const char *wanted;          /* of QUARANTINED: the release that ends it by itself; NULL = none */
    bool confirmed;              /* of COMPROMISED: another person said so already (a batch that was approved) */
    bool accepted;               /* the end of a transfer: TRANSFERRING -> DECOMMISSIONED of the old owner's row alone */
};

/*
 * Inside the open transaction: the rule, the effects on the certificates of every row of the unit, log rows, device_event,
 * audit entry. *seq is what links_confirm waits for after the commit and revoke_changed. What stops a unit is done to all its rows,
 * in every domain. Again: *changed false, unless it brings another end (until, wanted) or stops a unit that was found.
 *
 * E_CONFLICT: the table says no, and the message says which way there is. E_NOT_FOUND: no such device row.
 *
 * A suspension with an end, and a compromise, get a row in device_due; life_tick makes an alarm of those whose time came.
 */
MUST_CHECK enum err_code life_apply(struct core *c, uint64_t device, const struct life_change *ch, const struct actor *by,
                                    int64_t now, bool *changed, uint64_t *seq, struct err *e);

/* Suspended since it was lost and found, a unit may enrol: suspending it is a change, which stops it. */
bool life_was_found(unsigned state, unsigned before);

/* Nobody can renew with it any more: it has expired, and so has the grace its profile gives. What is revoked with a unit is not only what is valid. */
bool life_cert_is_over(const struct core *c, const struct cert_row *row, int64_t now);

/*
 * A certificate that is new to the ledger becomes what the state of its unit makes of certificates: one that a line box issued, which
 * cannot know that the unit is stopped here, and one of a device in quarantine. Inside the open transaction.
 */
MUST_CHECK enum err_code life_admit(struct core *c, uint64_t device, uint64_t cert, enum profile_kind kind, const struct actor *by, int64_t now,
                                    struct err *e);

/* Another person says that a compromise is one. E_DENIED: the same person; E_CONFLICT: none waits for it. Inside a transaction. */
MUST_CHECK enum err_code life_confirm_compromise(struct core *c, uint64_t device, const struct actor *by, int64_t now, struct err *e);

/* The device reports a release: kept, logged, and the end of a quarantine that wanted it. Inside the open transaction. */
MUST_CHECK enum err_code life_firmware(struct core *c, uint64_t device, const char *firmware, const struct actor *by, int64_t now,
                                       struct err *e);

/* Every second: what fell due becomes an alarm, what retires is revoked. Own transactions. */
void life_tick(struct core *c);

/*
 * A step of the line (DECLARED .. SHIPPED, SCRAPPED): the state and its row in the log, when the device stands where the table
 * allows the step; elsewhere no change. The unit's own events tell of it. `logged` false: a certificate's row will.
 */
MUST_CHECK enum err_code life_step(struct core *c, uint64_t device, enum device_state to, bool logged, int64_t now, bool *changed,
                                   struct err *e);

#endif
