/* SPDX-License-Identifier: Apache-2.0 */
/* The life of one unit of a work order (docs/factory.md): a table of all states and events. Pure. */
#ifndef INKAN_CA_UNIT_RULE_H
#define INKAN_CA_UNIT_RULE_H

#include <stdbool.h>
#include <stdint.h>

/* Numbers are those of the ledger. */
enum unit_state {
    UNIT_RESERVED,
    UNIT_CAPTURED,  /* its request is kept, signing waits for the token */
    UNIT_ISSUED,    /* certified, not confirmed (or, after a rework, not confirmed again) */
    UNIT_HELD,      /* not confirmed in time: the certificate is on hold */
    UNIT_CONFIRMED, /* the device proved that it has the key */
    UNIT_PACKED,
    UNIT_SHIPPED,
    UNIT_REWORK,    /* opened again by QA; the certificate stays good until the next one */
    /* the end; nothing follows */
    UNIT_UNUSED,    /* reserved, never certified */
    UNIT_VOID,      /* given up before it was ever confirmed */
    UNIT_ORPHAN,    /* never confirmed when its order closed */
    UNIT_SCRAPPED,  /* given up after it was confirmed */
    UNIT_STATES
};

enum unit_event {
    UNIT_DO_CAPTURE,
    UNIT_DO_ISSUE,
    UNIT_DO_REKEY,   /* another key before the confirm */
    UNIT_DO_CONFIRM,
    UNIT_DO_HOLD,
    UNIT_DO_PACK,
    UNIT_DO_SHIP,
    UNIT_DO_SCRAP,
    UNIT_DO_REWORK,
    UNIT_DO_CLOSE,   /* its order closes */
    UNIT_DO_FORCE,   /* its order closes, and gives up what is under rework */
    UNIT_EVENTS
};

enum unit_verdict {
    UNIT_GOES,    /* *next says where */
    UNIT_STAYS,   /* it happened before: no change, no counting */
    UNIT_REFUSED,
};

/* `once_confirmed`: the unit was confirmed at some time of its life. */
enum unit_verdict unit_rule(enum unit_state state, enum unit_event event, bool once_confirmed, enum unit_state *next);

bool unit_has_ended(enum unit_state s);
/* Its certificate, if there is one, counts as proven: CONFIRMED, PACKED, SHIPPED, REWORK. */
bool unit_is_confirmed(enum unit_state s);
const char *unit_state_name(enum unit_state s); /* "issued" */
bool unit_state_from_name(const char *name, enum unit_state *out);

#endif
