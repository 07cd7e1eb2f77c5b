/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock rules (docs/design.md, "Ledger"): the newest time the ledger has seen is a floor. Pure: no clock is read here.
 */
#ifndef INKAN_CA_CLOCK_RULE_H
#define INKAN_CA_CLOCK_RULE_H

#include <stdbool.h>
#include <stdint.h>

enum clock_verdict {
    CLOCK_GOOD,
    CLOCK_BACK,    /* more than CLOCK_BACK_MAX_S below the floor: nothing is issued or signed while it stays there */
    CLOCK_FORWARD, /* too far ahead of what is plausible: sealed until `inkan clock accept` */
};

/* What is known of the time; one per core. */
struct clock_rule {
    int64_t floor;    /* newest time accepted, UTC seconds; 0 = a new ledger */
    int64_t floor_ms; /* monotonic milliseconds when `floor` was seen; unused at start */
    bool running;     /* a time was accepted since the process started */
};

/*
 * Judges `now`. While running: at most CLOCK_FORWARD_MAX_S ahead of floor + monotonic time passed. At start, where no
 * monotonic time connects us with the floor: at most CLOCK_START_MAX_S ahead of it. A new ledger accepts any time.
 */
enum clock_verdict clock_rule_judge(const struct clock_rule *r, int64_t now, int64_t mono_ms);

/* Takes a time judged good: the floor only rises. */
void clock_rule_accept(struct clock_rule *r, int64_t now, int64_t mono_ms);

/* An operator vouches for `now`: the floor becomes it, also when that is lower. */
void clock_rule_force(struct clock_rule *r, int64_t now, int64_t mono_ms);

/* Times written into the ledger never run backwards: the later of now and the floor. */
int64_t clock_rule_stamp(const struct clock_rule *r, int64_t now);

#endif
