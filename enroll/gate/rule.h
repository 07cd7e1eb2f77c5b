/* SPDX-License-Identifier: Apache-2.0 */
/*
 * May this unit connect now? What the gate decides from the feed, as ca/decide.h does in the service: what is known of a certificate
 * and its device, what an audience asks for (audience_judge: one rule for both), and how old the knowledge is. Pure; any thread.
 */
#ifndef INKAN_ENROLL_GATE_RULE_H
#define INKAN_ENROLL_GATE_RULE_H

#include "base/conf.h"
#include "base/feed.h"
#include "ca/service.h"

/* What is not in the feed. */
struct rule_when {
    int64_t now, age_s;        /* age_s: since what is known was last said to be complete */
    int64_t not_before;        /* of the certificate that was shown; 0: none was */
    enum feed_status above;    /* the worst of the CAs above */
    int64_t valid_s;           /* older than that nothing counts, says the service; 0: it does not say */
};

/* `audience` NULL: there is none of that name. `c`: the certificate's line. */
void rule_decide(const struct conf_audience *audience, const struct feed_cert *c, const struct rule_when *when, struct sts_decision *out);
/* A denial that no line is needed for. */
void rule_deny(const struct conf_audience *audience, enum decision_reason why, int64_t age_s, struct sts_decision *out);
/* Would it be refused whatever the age of the data? */
bool rule_refuses(const struct conf_audience *audience, const struct feed_cert *c, int64_t now);

#endif
