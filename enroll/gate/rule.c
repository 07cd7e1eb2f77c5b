/* SPDX-License-Identifier: Apache-2.0 */
#include "enroll/gate/rule.h"

#include <stdio.h>
#include <string.h>

#include "base/auto.h"

/* The number of a reason's name; the words of the feed and of the answer are the same. */
static uint8_t reason_number(struct bytes name)
{
    for (uint8_t i = 0; i <= 10; i++)
        if (decision_revocation_name(i) && bytes_equal(name, bytes_str(decision_revocation_name(i))))
            return i;
    return 0;
}

/* false: a word that we do not know. */
static bool describe(const struct feed_cert *c, struct sts_decision *out)
{
    char word[FEED_TEXT_MAX + 1], text[FEED_TEXT_MAX + 1];

    out->known = true;
    out->status = (uint8_t)c->status;
    out->revocation_reason = reason_number(c->reason);
    out->has_device = c->state.len > 0;
    if (!out->has_device)
        return true;
    if (!feed_text(c->state, word, sizeof(word)) || !device_state_from_name(word, &out->state) || !feed_text(c->scope, word, sizeof(word)) ||
        !access_scope_from_name(word, &out->scope) || !feed_text(c->domain, out->domain, sizeof(out->domain)) ||
        !feed_text(c->device_id, out->device_id, sizeof(out->device_id)) || !feed_text(c->product, text, sizeof(text)))
        return false;
    snprintf(out->product, sizeof(out->product), "%.*s", DECISION_TEXT_MAX, text);
    if (!feed_text(c->firmware, text, sizeof(text)))
        return false;
    snprintf(out->firmware, sizeof(out->firmware), "%.*s", DECISION_TEXT_MAX, text);
    return true;
}

static bool is_past(const struct rule_when *w)
{
    return w->valid_s && w->age_s > w->valid_s;
}

static enum decision_reason judge(const struct conf_audience *audience, const struct feed_cert *c, const struct rule_when *w,
                                  const struct sts_decision *d)
{
    enum feed_status worst = w->above > c->status ? w->above : c->status;
    enum decision_reason may;

    if (worst != FEED_GOOD)
        return worst == FEED_REVOKED ? DECISION_REVOKED : DECISION_ON_HOLD;
    if (w->now > c->not_after)
        return DECISION_EXPIRED;
    if (w->now < w->not_before)
        return DECISION_NOT_YET_VALID;
    if (!d->has_device)
        return DECISION_POLICY;
    may = audience_judge(audience, d->domain, d->product, d->firmware, d->scope);
    return may == DECISION_OK && (w->age_s > audience->stale_soft_s || is_past(w)) ? DECISION_STALE_DATA : may;
}

void rule_deny(const struct conf_audience *audience, enum decision_reason why, int64_t age_s, struct sts_decision *out)
{
    *out = (struct sts_decision){.reason = why, .status_age_s = age_s};
    decision_set_cache(out, audience);
}

void rule_decide(const struct conf_audience *audience, const struct feed_cert *c, const struct rule_when *when, struct sts_decision *out)
{
    *out = (struct sts_decision){.status_age_s = when->age_s};
    out->reason = describe(c, out) ? judge(audience, c, when, out) : DECISION_POLICY;
    out->allow = out->reason == DECISION_OK || (out->reason == DECISION_STALE_DATA && when->age_s <= audience->stale_hard_s && !is_past(when));
    decision_set_cache(out, audience);
}

bool rule_refuses(const struct conf_audience *audience, const struct feed_cert *c, int64_t now)
{
    struct sts_decision d;

    rule_decide(audience, c, &(struct rule_when){.now = now}, &d);
    return !d.allow;
}
