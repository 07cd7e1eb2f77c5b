/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/unit_rule.h"

#include <string.h>

#define NO     0x80 /* refused */
#define STAY   0x81 /* happened before */
#define OUT    0x82 /* void (at the close: an orphan) before the first confirm, scrapped after it */
#define ORPHAN 0x83 /* an orphan before the first confirm; refused after it */

#define CPT  UNIT_CAPTURED
#define ISS  UNIT_ISSUED
#define HLD  UNIT_HELD
#define CNF  UNIT_CONFIRMED
#define PCK  UNIT_PACKED
#define SHP  UNIT_SHIPPED
#define RWK  UNIT_REWORK
#define UNU  UNIT_UNUSED
#define SCR  UNIT_SCRAPPED

static const uint8_t table[UNIT_STATES][UNIT_EVENTS] = {
    /*                  CAPTURE ISSUE REKEY CONFIRM HOLD  PACK  SHIP  SCRAP REWORK CLOSE   FORCE */
    [UNIT_RESERVED]  = {CPT,    ISS,  NO,   NO,     NO,   NO,   NO,   UNU,  NO,    UNU,    UNU},
    [UNIT_CAPTURED]  = {STAY,   ISS,  NO,   NO,     NO,   NO,   NO,   UNU,  NO,    UNU,    UNU},
    [UNIT_ISSUED]    = {NO,     NO,   ISS,  CNF,    HLD,  NO,   NO,   OUT,  NO,    ORPHAN, OUT},
    [UNIT_HELD]      = {NO,     NO,   ISS,  CNF,    STAY, NO,   NO,   OUT,  NO,    ORPHAN, OUT},
    [UNIT_CONFIRMED] = {NO,     NO,   NO,   STAY,   NO,   PCK,  NO,   SCR,  RWK,   STAY,   STAY},
    [UNIT_PACKED]    = {NO,     NO,   NO,   STAY,   NO,   STAY, SHP,  SCR,  RWK,   STAY,   STAY},
    [UNIT_SHIPPED]   = {NO,     NO,   NO,   STAY,   NO,   STAY, STAY, NO,   NO,    STAY,   STAY},
    [UNIT_REWORK]    = {NO,     ISS,  NO,   CNF,    NO,   NO,   NO,   SCR,  STAY,  NO,     SCR},
    [UNIT_UNUSED]    = {NO,     NO,   NO,   NO,     NO,   NO,   NO,   STAY, NO,    STAY,   STAY},
    [UNIT_VOID]      = {NO,     NO,   NO,   NO,     NO,   NO,   NO,   STAY, NO,    STAY,   STAY},
    [UNIT_ORPHAN]    = {NO,     NO,   NO,   NO,     NO,   NO,   NO,   STAY, NO,    STAY,   STAY},
    [UNIT_SCRAPPED]  = {NO,     NO,   NO,   NO,     NO,   NO,   NO,   STAY, NO,    STAY,   STAY},
};

enum unit_verdict unit_rule(enum unit_state state, enum unit_event event, bool once_confirmed, enum unit_state *next)
{
    uint8_t cell = (unsigned)state < UNIT_STATES && (unsigned)event < UNIT_EVENTS ? table[state][event] : NO;

    *next = state;
    switch (cell) {
    case NO:
        return UNIT_REFUSED;
    case STAY:
        return UNIT_STAYS;
    case OUT:
        *next = once_confirmed ? UNIT_SCRAPPED : event == UNIT_DO_FORCE ? UNIT_ORPHAN : UNIT_VOID;
        return UNIT_GOES;
    case ORPHAN:
        if (once_confirmed)
            return UNIT_REFUSED;
        *next = UNIT_ORPHAN;
        return UNIT_GOES;
    default:
        *next = (enum unit_state)cell;
        return UNIT_GOES;
    }
}

bool unit_has_ended(enum unit_state s)
{
    return s >= UNIT_UNUSED;
}

bool unit_is_confirmed(enum unit_state s)
{
    return s == UNIT_CONFIRMED || s == UNIT_PACKED || s == UNIT_SHIPPED || s == UNIT_REWORK;
}

static const char *const names[UNIT_STATES] = {
    [UNIT_RESERVED] = "reserved", [UNIT_CAPTURED] = "captured", [UNIT_ISSUED] = "issued", [UNIT_HELD] = "held",
    [UNIT_CONFIRMED] = "confirmed", [UNIT_PACKED] = "packed", [UNIT_SHIPPED] = "shipped", [UNIT_REWORK] = "rework",
    [UNIT_UNUSED] = "unused", [UNIT_VOID] = "void", [UNIT_ORPHAN] = "orphan", [UNIT_SCRAPPED] = "scrapped",
};

const char *unit_state_name(enum unit_state s)
{
    return (unsigned)s < UNIT_STATES ? names[s] : "unknown";
}

bool unit_state_from_name(const char *name, enum unit_state *out)
{
    for (int i = 0; i < UNIT_STATES; i++)
        if (strcmp(names[i], name) == 0) {
            *out = (enum unit_state)i;
            return true;
        }
    return false;
}
