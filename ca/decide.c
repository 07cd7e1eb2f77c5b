/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/decide.h"

#include <stdio.h>
#include <string.h>

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
    enum decision_reason may = d ? audience_judge(audience, d->domain, d->product, d->firmware, out->scope) : DECISION_POLICY;

    if (may != DECISION_OK)
        answer(out, false, may);
    else if (age_s > audience->stale_hard_s)
        answer(out, false, DECISION_STALE_DATA);
    else
        answer(out, true, age_s > audience->stale_soft_s ? DECISION_STALE_DATA : DECISION_OK);
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
    }
    decision_set_cache(out, audience);
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
    audience_default(built_in);
    return built_in;
}
