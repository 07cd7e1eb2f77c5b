/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a device: its states, what each lets it do, and the one table of the changes that exist (docs/lifecycle.md). Pure.
 *
 * Two axes, never mixed: the state of a device, here, and the status of its certificates (ca/follow.h).
 */
#ifndef INKAN_BASE_LIFE_H
#define INKAN_BASE_LIFE_H

#include <stdbool.h>
#include <stdint.h>

/* Numbers are those of the ledger. */
enum device_state {
    DEVICE_DECLARED,       /* its number is known */
    DEVICE_KEYED,          /* the line has its public key; the signature waits */
    DEVICE_PROVISIONED,    /* certified on the line, not proven */
    DEVICE_CONFIRMED,      /* proven on the line, or in stock */
    DEVICE_SHIPPED,        /* left the factory */
    DEVICE_IN_SERVICE,     /* has its owner's certificate */
    DEVICE_SUSPENDED,      /* stopped for a while */
    DEVICE_QUARANTINED,    /* may be updated and renew, nothing else */
    DEVICE_COMPROMISED,    /* its key is believed exposed */
    DEVICE_LOST,           /* missing or stolen */
    DEVICE_TRANSFERRING,   /* between two owners */
    DEVICE_IN_REPAIR,
    DEVICE_DECOMMISSIONED, /* retired by its owner */
    DEVICE_DISPOSED,       /* destroyed, with evidence: final */
    DEVICE_SCRAPPED,       /* a reject of the factory: final */
    DEVICE_STATES
};

enum access_scope { SCOPE_NONE, SCOPE_LINE, SCOPE_ENROLL, SCOPE_UPDATE, SCOPE_REPAIR, SCOPE_FULL, ACCESS_SCOPES };

const char *device_state_name(enum device_state s); /* "in_service"; "unknown" for a value that does not exist */
bool device_state_from_name(const char *name, enum device_state *out);
const char *access_scope_name(enum access_scope s); /* "none", "line", "enroll-only", "update-only", "repair", "full" */
bool access_scope_from_name(const char *name, enum access_scope *out);

/* What a device of this state may do; a certificate that is not good takes that away too. */
enum access_scope device_scope(enum device_state s);
bool device_is_live(enum device_state s);  /* SHIPPED, IN_SERVICE, SUSPENDED, QUARANTINED, TRANSFERRING, IN_REPAIR */
bool device_is_final(enum device_state s); /* DISPOSED, SCRAPPED */
/* Nothing is issued to it: refused at every enrollment. `prev` is the state before: one that was LOST may enrol again. */
bool device_is_stopped(enum device_state s, enum device_state prev);

struct life_rule {
    bool allowed;        /* also of the same state again: success without a change */
    const char *trigger; /* of a change that is allowed: "ship", "suspend", ...; "" of the same state */
    char why[192];       /* of one that is not: names both states and the way there is */
};
/* May a device go from one state to the other? The answer is `allowed` too. */
bool life_rule(enum device_state from, enum device_state to, struct life_rule *rule);
/* The states from which one may go to `to`, without itself: 1 << state each. */
unsigned life_from(enum device_state to);

#endif
