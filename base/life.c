/* SPDX-License-Identifier: Apache-2.0 */
#include "base/life.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define ROW(state) [DEVICE_##state]
#define TO(state)  [DEVICE_##state]

/* Every change that exists, by what brings it about; a cell that is not named is refused. docs/lifecycle.md has the reasons. */
static const char *const changes[DEVICE_STATES][DEVICE_STATES] = {
    ROW(DECLARED) = {TO(KEYED) = "capture", TO(PROVISIONED) = "issue", TO(IN_SERVICE) = "first-enrollment",
                     TO(IN_REPAIR) = "repair", TO(SCRAPPED) = "scrap"},
    ROW(KEYED) = {TO(DECLARED) = "give-up", TO(PROVISIONED) = "issue", TO(IN_REPAIR) = "repair", TO(SCRAPPED) = "scrap"},
    ROW(PROVISIONED) = {TO(DECLARED) = "give-up", TO(CONFIRMED) = "confirm", TO(IN_REPAIR) = "repair",
                        TO(SCRAPPED) = "scrap"},
    ROW(CONFIRMED) = {TO(PROVISIONED) = "rework", TO(SHIPPED) = "ship", TO(IN_REPAIR) = "repair", TO(SCRAPPED) = "scrap"},
    ROW(SHIPPED) = {TO(CONFIRMED) = "unship", TO(IN_SERVICE) = "first-enrollment", TO(COMPROMISED) = "compromise",
                    TO(LOST) = "lose", TO(IN_REPAIR) = "repair", TO(DECOMMISSIONED) = "decommission"},
    ROW(IN_SERVICE) = {TO(SUSPENDED) = "suspend", TO(QUARANTINED) = "quarantine", TO(COMPROMISED) = "compromise",
                       TO(LOST) = "lose", TO(TRANSFERRING) = "transfer", TO(IN_REPAIR) = "repair",
                       TO(DECOMMISSIONED) = "decommission"},
    ROW(SUSPENDED) = {TO(IN_SERVICE) = "release", TO(COMPROMISED) = "compromise", TO(LOST) = "lose",
                      TO(IN_REPAIR) = "repair", TO(DECOMMISSIONED) = "decommission"},
    ROW(QUARANTINED) = {TO(IN_SERVICE) = "release", TO(COMPROMISED) = "compromise", TO(LOST) = "lose",
                        TO(IN_REPAIR) = "repair", TO(DECOMMISSIONED) = "decommission"},
    ROW(COMPROMISED) = {TO(IN_REPAIR) = "repair"},
    ROW(LOST) = {TO(SUSPENDED) = "find", TO(IN_REPAIR) = "repair"},
    ROW(TRANSFERRING) = {TO(SHIPPED) = "accept", TO(IN_SERVICE) = "transfer-cancel", TO(COMPROMISED) = "compromise",
                         TO(LOST) = "lose", TO(IN_REPAIR) = "repair", TO(DECOMMISSIONED) = "transfer-cancel"},
    ROW(IN_REPAIR) = {TO(CONFIRMED) = "repaired", TO(COMPROMISED) = "compromise", TO(LOST) = "lose"},
    ROW(DECOMMISSIONED) = {TO(IN_SERVICE) = "recommission", TO(TRANSFERRING) = "transfer", TO(IN_REPAIR) = "repair",
                           TO(DISPOSED) = "dispose"},
    ROW(DISPOSED) = {0},
    ROW(SCRAPPED) = {0},
};

static const struct {
    const char *name;
    enum access_scope scope;
    bool live, final, stopped;
} states[DEVICE_STATES] = {
    /*                     name              scope          live   final  stopped */
    ROW(DECLARED)       = {"declared",       SCOPE_NONE,    false, false, false},
    ROW(KEYED)          = {"keyed",          SCOPE_ENROLL,  false, false, false},
    ROW(PROVISIONED)    = {"provisioned",    SCOPE_LINE,    false, false, false},
    ROW(CONFIRMED)      = {"confirmed",      SCOPE_LINE,    false, false, false},
    ROW(SHIPPED)        = {"shipped",        SCOPE_ENROLL,  true,  false, false},
    ROW(IN_SERVICE)     = {"in_service",     SCOPE_FULL,    true,  false, false},
    ROW(SUSPENDED)      = {"suspended",      SCOPE_NONE,    true,  false, true},
    ROW(QUARANTINED)    = {"quarantined",    SCOPE_UPDATE,  true,  false, false},
    ROW(COMPROMISED)    = {"compromised",    SCOPE_NONE,    false, false, true},
    ROW(LOST)           = {"lost",           SCOPE_NONE,    false, false, true},
    ROW(TRANSFERRING)   = {"transferring",   SCOPE_ENROLL,  true,  false, false},
    ROW(IN_REPAIR)      = {"in_repair",      SCOPE_REPAIR,  true,  false, true},
    ROW(DECOMMISSIONED) = {"decommissioned", SCOPE_NONE,    false, false, true},
    ROW(DISPOSED)       = {"disposed",       SCOPE_NONE,    false, true,  true},
    ROW(SCRAPPED)       = {"scrapped",       SCOPE_NONE,    false, true,  true},
};

static const char *const scopes[ACCESS_SCOPES] = {
    [SCOPE_NONE] = "none", [SCOPE_LINE] = "line", [SCOPE_ENROLL] = "enroll-only", [SCOPE_UPDATE] = "update-only",
    [SCOPE_REPAIR] = "repair", [SCOPE_FULL] = "full",
};

const char *device_state_name(enum device_state s)
{
    return (unsigned)s < DEVICE_STATES ? states[s].name : "unknown";
}

bool device_state_from_name(const char *name, enum device_state *out)
{
    for (int i = 0; i < DEVICE_STATES; i++)
        if (strcmp(states[i].name, name) == 0) {
            *out = (enum device_state)i;
            return true;
        }
    return false;
}

const char *access_scope_name(enum access_scope s)
{
    return (unsigned)s < ACCESS_SCOPES ? scopes[s] : "unknown";
}

bool access_scope_from_name(const char *name, enum access_scope *out)
{
    for (int i = 0; i < ACCESS_SCOPES; i++)
        if (strcmp(scopes[i], name) == 0) {
            *out = (enum access_scope)i;
            return true;
        }
    return false;
}

enum access_scope device_scope(enum device_state s)
{
    return (unsigned)s < DEVICE_STATES ? states[s].scope : SCOPE_NONE;
}

bool device_is_live(enum device_state s)
{
    return (unsigned)s < DEVICE_STATES && states[s].live;
}

bool device_is_final(enum device_state s)
{
    return (unsigned)s >= DEVICE_STATES || states[s].final;
}

bool device_is_stopped(enum device_state s, enum device_state prev)
{
    if ((unsigned)s >= DEVICE_STATES)
        return true;
    return states[s].stopped && !(s == DEVICE_SUSPENDED && prev == DEVICE_LOST);
}

unsigned life_from(enum device_state to)
{
    unsigned mask = 0;

    for (unsigned from = 0; (unsigned)to < DEVICE_STATES && from < DEVICE_STATES; from++)
        mask |= changes[from][to] ? 1u << from : 0;
    return mask;
}

/* The shortest way from one state to another, without the first, into `way`; how many steps, 0: there is none. */
static size_t find_way(enum device_state from, enum device_state to, enum device_state way[DEVICE_STATES])
{
    int before[DEVICE_STATES];
    enum device_state queue[DEVICE_STATES];
    size_t head = 0, tail = 0, n = 0;

    for (int i = 0; i < DEVICE_STATES; i++)
        before[i] = -1;
    before[from] = (int)from;
    queue[tail++] = from;
    while (head < tail && before[to] < 0) {
        enum device_state at = queue[head++];

        for (int next = 0; next < DEVICE_STATES; next++)
            if (changes[at][next] && before[next] < 0) {
                before[next] = (int)at;
                queue[tail++] = (enum device_state)next;
            }
    }
    if (before[to] < 0)
        return 0;
    for (enum device_state at = to; at != from; at = (enum device_state)before[at])
        n++;
    for (size_t i = n; i > 0; i--, to = (enum device_state)before[to])
        way[i - 1] = to;
    return n;
}

static void refuse(enum device_state from, enum device_state to, struct life_rule *rule)
{
    enum device_state way[DEVICE_STATES];
    size_t n = find_way(from, to, way), at;

    at = (size_t)snprintf(rule->why, sizeof(rule->why), "a device that is %s cannot become %s: ", states[from].name,
                          states[to].name);
    if (n == 0)
        snprintf(rule->why + at, sizeof(rule->why) - at, "%s",
                 states[from].final ? "that state is final" : "there is no way to it");
    for (size_t i = 0; i < n && at < sizeof(rule->why); i++)
        at += (size_t)snprintf(rule->why + at, sizeof(rule->why) - at, "%s%s", i == 0 ? "first " : ", then ",
                               states[way[i]].name);
}

bool life_rule(enum device_state from, enum device_state to, struct life_rule *rule)
{
    *rule = (struct life_rule){.trigger = ""};
    if ((unsigned)from >= DEVICE_STATES || (unsigned)to >= DEVICE_STATES) {
        snprintf(rule->why, sizeof(rule->why), "there is no such state");
        return false;
    }
    rule->allowed = from == to || changes[from][to];
    if (changes[from][to])
        rule->trigger = changes[from][to];
    if (!rule->allowed)
        refuse(from, to, rule);
    return rule->allowed;
}
