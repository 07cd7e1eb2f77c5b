/* SPDX-License-Identifier: Apache-2.0 */
#include "enroll/gate/rule.h"

#include <stdio.h>
#include <string.h>

#include "base/auto.h"

#define CACHE_SOON_S 5 /* of a deny that may be lifted at any moment */

static bool is_listed(const struct conf_strings *s, const char *text)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->v[i], text) == 0)
            return true;
    return s->n == 0;
}

static bool is_blocked(const struct conf_strings *s, const char *firmware)
{
    for (size_t i = 0; i < s->n; i++) {
        size_t n = strlen(s->v[i]);

        if (n && s->v[i][n - 1] == '*' ? strncmp(firmware, s->v[i], n - 1) == 0 : strcmp(firmware, s->v[i]) == 0)
            return true;
    }
    return false;
}

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

    if (worst != FEED_GOOD)
        return worst == FEED_REVOKED ? DECISION_REVOKED : DECISION_ON_HOLD;
    if (w->now > c->not_after)
        return DECISION_EXPIRED;
    if (w->now < w->not_before)
        return DECISION_NOT_YET_VALID;
    if (!audience || !d->has_device)
        return DECISION_POLICY;
    if (d->scope == SCOPE_NONE)
        return DECISION_DEVICE_DISABLED;
    if (!is_listed(&audience->domains, d->domain) || !is_listed(&audience->products, d->product))
        return DECISION_POLICY;
    if (is_blocked(&audience->firmware_blocked, d->firmware))
        return DECISION_FIRMWARE_BLOCKED;
    if (!(audience->scopes >> d->scope & 1))
        return DECISION_SCOPE;
    return w->age_s > audience->stale_soft_s || is_past(w) ? DECISION_STALE_DATA : DECISION_OK;
}

/* What can be lifted is asked again soon; what stays denied may be remembered. */
static void set_cache(const struct conf_audience *audience, struct sts_decision *out)
{
    const int64_t deny_s = audience ? audience->cache_deny_s : CACHE_SOON_S;
    bool stays = out->reason == DECISION_REVOKED || out->reason == DECISION_EXPIRED ||
                 (out->reason == DECISION_DEVICE_DISABLED && out->has_device && device_is_final(out->state));

    out->cache_s = (uint32_t)(out->allow ? audience->cache_allow_s : stays || deny_s < CACHE_SOON_S ? deny_s : CACHE_SOON_S);
    out->close = stays || out->reason == DECISION_ON_HOLD || out->reason == DECISION_DEVICE_DISABLED;
}

void rule_deny(const struct conf_audience *audience, enum decision_reason why, int64_t age_s, struct sts_decision *out)
{
    *out = (struct sts_decision){.reason = why, .status_age_s = age_s};
    set_cache(audience, out);
}

void rule_decide(const struct conf_audience *audience, const struct feed_cert *c, const struct rule_when *when, struct sts_decision *out)
{
    *out = (struct sts_decision){.status_age_s = when->age_s};
    out->reason = describe(c, out) ? judge(audience, c, when, out) : DECISION_POLICY;
    out->allow = out->reason == DECISION_OK || (out->reason == DECISION_STALE_DATA && when->age_s <= audience->stale_hard_s && !is_past(when));
    set_cache(audience, out);
}

bool rule_refuses(const struct conf_audience *audience, const struct feed_cert *c, int64_t now)
{
    struct sts_decision d;

    rule_decide(audience, c, &(struct rule_when){.now = now}, &d);
    return !d.allow;
}

static void put_strings(struct buf *b, const struct conf_strings *s)
{
    for (size_t i = 0; i < s->n; i++)
        buf_printf(b, "%s\n", s->v[i]);
    buf_add_u8(b, 0);
}

uint32_t rules_version(const struct conf_audience *list, size_t n)
{
    AUTO_BUF text = BUF_INIT(1 << 20);
    uint8_t hash[32];

    for (size_t i = 0; i < n; i++) {
        const struct conf_audience *x = &list[i];

        buf_printf(&text, "%s\n%x %lld %lld %lld %lld\n", x->name, x->scopes, (long long)x->stale_soft_s, (long long)x->stale_hard_s,
                   (long long)x->cache_allow_s, (long long)x->cache_deny_s);
        put_strings(&text, &x->domains);
        put_strings(&text, &x->products);
        put_strings(&text, &x->firmware_blocked);
    }
    sha256(buf_bytes(&text), hash);
    return get_be32(hash);
}
