/* SPDX-License-Identifier: Apache-2.0 */
#include "enroll/gate/rule.h"

#include <string.h>

#define CACHE_PASSING_S 5 /* of a denial that may be lifted at any moment */

static const char *const names[ACCESS_REASONS] = {
    [ACCESS_OK] = "ok",
    [ACCESS_REVOKED] = "revoked",
    [ACCESS_ON_HOLD] = "on_hold",
    [ACCESS_EXPIRED] = "expired",
    [ACCESS_NOT_YET_VALID] = "not_yet_valid",
    [ACCESS_UNKNOWN_SERIAL] = "unknown_serial",
    [ACCESS_UNKNOWN_ISSUER] = "unknown_issuer",
    [ACCESS_DEVICE_DISABLED] = "device_disabled",
    [ACCESS_SCOPE] = "scope",
    [ACCESS_FIRMWARE_BLOCKED] = "firmware_blocked",
    [ACCESS_POLICY] = "policy",
    [ACCESS_STALE_DATA] = "stale_data",
    [ACCESS_NO_IDENTITY] = "no_identity",
};

const char *access_reason_name(enum access_reason r)
{
    return r < ACCESS_REASONS ? names[r] : "policy";
}

static bool is_listed(const struct conf_strings *list, const char *text)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->v[i], text) == 0)
            return true;
    return false;
}

static bool is_blocked(const struct conf_strings *list, const char *firmware)
{
    for (size_t i = 0; i < list->n; i++) {
        size_t n = strlen(list->v[i]);

        if (n > 0 && list->v[i][n - 1] == '*' ? strncmp(list->v[i], firmware, n - 1) == 0 : strcmp(list->v[i], firmware) == 0)
            return true;
    }
    return false;
}

static bool is_lasting(enum access_reason why)
{
    return why == ACCESS_REVOKED || why == ACCESS_EXPIRED;
}

void access_deny(const struct access_rule *rule, enum access_reason why, struct access_decision *out)
{
    int64_t cache = rule->cache_deny_s;

    if (!is_lasting(why) && cache > CACHE_PASSING_S)
        cache = CACHE_PASSING_S;
    *out = (struct access_decision){.reason = why, .cache_s = (uint32_t)cache, .close = why != ACCESS_STALE_DATA};
}

/* Why somebody with fresh data would be denied; ACCESS_OK: not at all. */
static enum access_reason reason_against(const struct access_rule *rule, const struct access_facts *f, int64_t now)
{
    if (f->status == FEED_REVOKED)
        return ACCESS_REVOKED;
    if (f->status == FEED_ON_HOLD)
        return ACCESS_ON_HOLD;
    if (now > f->not_after)
        return ACCESS_EXPIRED;
    if (f->not_before > now)
        return ACCESS_NOT_YET_VALID;
    if (!f->has_device)
        return ACCESS_POLICY;
    if (f->scope == SCOPE_NONE)
        return ACCESS_DEVICE_DISABLED;
    if ((rule->domains.n && !is_listed(&rule->domains, f->domain)) || (rule->products.n && !is_listed(&rule->products, f->product)))
        return ACCESS_POLICY;
    if (!(rule->scopes & 1u << f->scope))
        return ACCESS_SCOPE;
    return is_blocked(&rule->firmware_blocked, f->firmware) ? ACCESS_FIRMWARE_BLOCKED : ACCESS_OK;
}

void access_decide(const struct access_rule *rule, const struct access_facts *f, int64_t age_s, int64_t now, struct access_decision *out)
{
    enum access_reason why = reason_against(rule, f, now);

    if (why == ACCESS_OK && age_s > rule->stale_hard_s)
        why = ACCESS_STALE_DATA;
    if (why != ACCESS_OK)
        access_deny(rule, why, out);
    else
        *out = (struct access_decision){.allow = true,
                                        .reason = age_s > rule->stale_soft_s ? ACCESS_STALE_DATA : ACCESS_OK,
                                        .cache_s = (uint32_t)rule->cache_allow_s};
    out->scope = f->status == FEED_GOOD && f->has_device ? f->scope : SCOPE_NONE;
}
