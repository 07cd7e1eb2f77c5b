/* SPDX-License-Identifier: Apache-2.0 */
/* What an audience asks of a device (docs/access.md), and for how long its answer counts. Pure. */
#include <string.h>

#include "base/auto.h"
#include "base/conf.h"
#include "ca/service.h"

#define CACHE_SOON_S 5 /* of a deny that may be lifted at any moment */
#define DAY_S        86400

static bool is_listed(const struct conf_strings *s, const char *text)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->v[i], text) == 0)
            return true;
    return s->n == 0;
}

static bool firmware_is_blocked(const struct conf_strings *s, const char *firmware)
{
    for (size_t i = 0; i < s->n; i++) {
        size_t n = strlen(s->v[i]);

        if (n && s->v[i][n - 1] == '*' ? strncmp(firmware, s->v[i], n - 1) == 0 : strcmp(firmware, s->v[i]) == 0)
            return true;
    }
    return false;
}

enum decision_reason audience_judge(const struct conf_audience *audience, const char *domain, const char *product, const char *firmware,
                                    enum access_scope scope)
{
    if (!audience)
        return DECISION_POLICY;
    if (scope == SCOPE_NONE)
        return DECISION_DEVICE_DISABLED;
    if (!is_listed(&audience->domains, domain) || !is_listed(&audience->products, product))
        return DECISION_POLICY;
    if (firmware_is_blocked(&audience->firmware_blocked, firmware))
        return DECISION_FIRMWARE_BLOCKED;
    return audience->scopes >> scope & 1 ? DECISION_OK : DECISION_SCOPE;
}

/* What can be lifted is asked again soon; what stays denied may be remembered. */
void decision_set_cache(struct sts_decision *d, const struct conf_audience *audience)
{
    const int64_t deny_s = audience ? audience->cache_deny_s : CACHE_SOON_S;
    bool stays = d->reason == DECISION_REVOKED || d->reason == DECISION_EXPIRED ||
                 (d->reason == DECISION_DEVICE_DISABLED && d->has_device && device_is_final(d->state));

    d->cache_s = (uint32_t)(d->allow ? audience->cache_allow_s : stays || deny_s < CACHE_SOON_S ? deny_s : CACHE_SOON_S);
    d->close = stays || d->reason == DECISION_ON_HOLD || d->reason == DECISION_DEVICE_DISABLED;
}

void audience_default(struct conf_audience *out)
{
    *out = (struct conf_audience){.scopes = 1u << SCOPE_FULL, .stale_soft_s = DAY_S, .stale_hard_s = 7 * DAY_S, .cache_allow_s = 10,
                                  .cache_deny_s = 300};
}

static void put_strings(struct buf *b, const struct conf_strings *s)
{
    for (size_t i = 0; i < s->n; i++)
        buf_printf(b, "%s\n", s->v[i]);
    buf_add_u8(b, 0);
}

uint32_t audiences_version(const struct conf_audience *list, size_t n)
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
