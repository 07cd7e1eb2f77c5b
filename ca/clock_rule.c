/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/clock_rule.h"

#include "base/limits.h"

enum clock_verdict clock_rule_judge(const struct clock_rule *r, int64_t now, int64_t mono_ms)
{
    int64_t latest;

    if (r->floor == 0)
        return CLOCK_GOOD;
    if (now < r->floor - CLOCK_BACK_MAX_S)
        return CLOCK_BACK;
    if (r->running)
        latest = r->floor + (mono_ms - r->floor_ms) / 1000 + CLOCK_FORWARD_MAX_S;
    else
        latest = r->floor + CLOCK_START_MAX_S;
    return now > latest ? CLOCK_FORWARD : CLOCK_GOOD;
}

void clock_rule_accept(struct clock_rule *r, int64_t now, int64_t mono_ms)
{
    /* A clock a little behind the floor keeps the floor; its monotonic anchor must stay with it. */
    if (!r->running || now >= r->floor) {
        if (now > r->floor)
            r->floor = now;
        r->floor_ms = mono_ms;
    }
    r->running = true;
}

void clock_rule_force(struct clock_rule *r, int64_t now, int64_t mono_ms)
{
    r->floor = now;
    r->floor_ms = mono_ms;
    r->running = true;
}

int64_t clock_rule_stamp(const struct clock_rule *r, int64_t now)
{
    return now > r->floor ? now : r->floor;
}
