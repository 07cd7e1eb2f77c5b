/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/decide.h"

#include <stdio.h>
#include <string.h>

#include "base/auto.h"

#define CACHE_SOON_S 5 /* of a deny that may be lifted at any moment */
#define DAY_S        86400

static void answer(struct sts_decision *out, bool allow, enum decision_reason reason)
{
    out->allow = allow;
    out->reason = reason;
}

/* The table's certificate of that identity, or ACCESS_NONE with the reason in `out`. */
static uint32_t identify(const struct access *a, const struct sts_identity *who, struct sts_decision *out)
{
    const struct access_issuer *issuer;
    uint32_t n;

    switch (who->kind) {
    case IDENTITY_CERT:
    case IDENTITY_FINGERPRINT:
        out->identity_unverified = who->kind == IDENTITY_FINGERPRINT;
        n = access_find_hash(a, who->der_hash);
        if (n == ACCESS_NONE)
            answer(out, false, who->kind == IDENTITY_CERT && !access_issuer_by_ski(a, who->ski) ? DECISION_UNKNOWN_ISSUER
                                                                                                 : DECISION_UNKNOWN_SERIAL);
        return n;
    case IDENTITY_SERIAL:
        out->identity_unverified = true;
        issuer = access_issuer_by_ski(a, who->ski);
        n = issuer ? access_find_serial(a, issuer->id, BYTES(who->serial, who->serial_len)) : ACCESS_NONE;
        if (n == ACCESS_NONE)
            answer(out, false, issuer ? DECISION_UNKNOWN_SERIAL : DECISION_UNKNOWN_ISSUER);
        return n;
    default:
        answer(out, false, DECISION_NO_IDENTITY);
        return ACCESS_NONE;
    }
}

bool decision_is_unknown(const struct sts_decision *d)
{
    return d->reason == DECISION_UNKNOWN_SERIAL || d->reason == DECISION_UNKNOWN_ISSUER;
}

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

static void describe(const struct access *a, const struct access_cert *c, const struct access_device *d, struct sts_decision *out)
{
    out->known = true;
    out->status = c->status;
    out->revocation_reason = c->reason;
    out->revoked_at = c->status == CERT_GOOD ? 0 : c->time;
    out->scope = access_scope_of(a, c);
    if (!d)
        return;
    out->has_device = true;
    out->state = d->state;
    snprintf(out->domain, sizeof(out->domain), "%s", d->domain);
    snprintf(out->device_id, sizeof(out->device_id), "%s", d->device_id);
    snprintf(out->product, sizeof(out->product), "%s", d->product);
    snprintf(out->firmware, sizeof(out->firmware), "%s", d->firmware);
}

/* The certificate itself and those above it; false: the answer is given. */
static bool certificate_serves(const struct access *a, const struct access_cert *c, const struct sts_identity *who, int64_t now,
                               struct sts_decision *out)
{
    const struct access_issuer *issuer = access_issuer_by_id(a, c->issuer);
    enum cert_status above;
    uint32_t which;

    if (!issuer) {
        answer(out, false, DECISION_UNKNOWN_ISSUER);
        return false;
    }
    above = access_issuer_status(a, issuer, &which);
    if (above > c->status) {
        struct access_cert ca;

        access_get_cert(a, which, &ca);
        out->revocation_reason = ca.reason;
        out->revoked_at = ca.time;
        answer(out, false, above == CERT_REVOKED ? DECISION_REVOKED : DECISION_ON_HOLD);
    } else if (c->status == CERT_REVOKED) {
        answer(out, false, DECISION_REVOKED);
    } else if (c->status == CERT_ON_HOLD) {
        answer(out, false, DECISION_ON_HOLD);
    } else if (now > c->not_after) {
        answer(out, false, DECISION_EXPIRED);
    } else if (who->kind == IDENTITY_CERT && now < who->not_before) {
        answer(out, false, DECISION_NOT_YET_VALID);
    } else {
        return true;
    }
    return false;
}

static void judge(const struct conf_audience *audience, const struct access_device *d, int64_t age_s, struct sts_decision *out)
{
    if (!audience || !d)
        answer(out, false, DECISION_POLICY);
    else if (out->scope == SCOPE_NONE)
        answer(out, false, DECISION_DEVICE_DISABLED);
    else if (!is_listed(&audience->domains, d->domain) || !is_listed(&audience->products, d->product))
        answer(out, false, DECISION_POLICY);
    else if (firmware_is_blocked(&audience->firmware_blocked, d->firmware))
        answer(out, false, DECISION_FIRMWARE_BLOCKED);
    else if (!(audience->scopes >> out->scope & 1))
        answer(out, false, DECISION_SCOPE);
    else
        answer(out, true, age_s > audience->stale_soft_s ? DECISION_STALE_DATA : DECISION_OK);
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

void decide(const struct access *a, const struct conf_audience *audience, const struct sts_identity *who, int64_t now, int64_t age_s,
            struct sts_decision *out, uint32_t *device)
{
    struct access_device d;
    struct access_cert c;
    uint32_t n;

    *out = (struct sts_decision){.status_age_s = age_s};
    *device = ACCESS_NONE;
    n = identify(a, who, out);
    if (n != ACCESS_NONE) {
        access_get_cert(a, n, &c);
        *device = c.device;
        if (c.device != ACCESS_NONE)
            access_get_device(a, c.device, &d);
        describe(a, &c, c.device == ACCESS_NONE ? NULL : &d, out);
        if (certificate_serves(a, &c, who, now, out))
            judge(audience, c.device == ACCESS_NONE ? NULL : &d, age_s, out);
        if (out->allow && age_s > audience->stale_hard_s)
            answer(out, false, DECISION_STALE_DATA);
    }
    set_cache(audience, out);
}

bool caller_is_gateway(const struct access *a, const uint8_t der_hash[32], int64_t now)
{
    uint32_t n = access_find_hash(a, der_hash), which;
    const struct access_issuer *issuer;
    struct access_cert c;

    if (n == ACCESS_NONE)
        return false;
    access_get_cert(a, n, &c);
    issuer = access_issuer_by_id(a, c.issuer);
    return c.kind == PROFILE_GATEWAY && c.status == CERT_GOOD && now <= c.not_after && issuer &&
           access_issuer_status(a, issuer, &which) == CERT_GOOD;
}

const struct conf_audience *audience_find(const struct conf *conf, const char *name, struct conf_audience *built_in)
{
    const struct conf_audience *found = conf_find_audience(conf, *name ? name : "default");

    if (found || (*name && strcmp(name, "default") != 0))
        return found;
    *built_in = (struct conf_audience){.scopes = 1u << SCOPE_FULL, .stale_soft_s = DAY_S, .stale_hard_s = 7 * DAY_S,
                                       .cache_allow_s = 10, .cache_deny_s = 300};
    return built_in;
}

static void put_strings(struct buf *b, const struct conf_strings *s)
{
    for (size_t i = 0; i < s->n; i++)
        buf_printf(b, "%s\n", s->v[i]);
    buf_add_u8(b, 0);
}

uint32_t audiences_version(const struct conf *conf)
{
    AUTO_BUF text = BUF_INIT(1 << 20);
    uint8_t hash[32];

    for (size_t i = 0; i < conf->audiences_n; i++) {
        const struct conf_audience *x = &conf->audiences[i];

        buf_printf(&text, "%s\n%x %lld %lld %lld %lld\n", x->name, x->scopes, (long long)x->stale_soft_s, (long long)x->stale_hard_s,
                   (long long)x->cache_allow_s, (long long)x->cache_deny_s);
        put_strings(&text, &x->domains);
        put_strings(&text, &x->products);
        put_strings(&text, &x->firmware_blocked);
    }
    sha256(buf_bytes(&text), hash);
    return get_be32(hash);
}
