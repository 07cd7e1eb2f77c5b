/* SPDX-License-Identifier: Apache-2.0 */
#include "enroll/question.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"

/* ---- what is asked ---- */

/*
 * Below the path stands what the client of the gateway asked for (Envoy): path, query, content type and body are the client's then, and
 * could name another audience or another unit. Only header fields are read.
 */
static bool is_forwarded(const struct http_request *q)
{
    const size_t n = strlen(DECISION_PATH);

    return q->path.len > n && memcmp(q->path.p, DECISION_PATH "/", n + 1) == 0;
}

bool question_is_json(const struct http_request *q)
{
    return q->method == HTTP_POST && !is_forwarded(q) && http_media_type_is(q->content_type, "application/json");
}

bool query_value(struct bytes query, const char *name, char *out, size_t size)
{
    const size_t n = strlen(name);

    out[0] = '\0';
    while (query.len) {
        const uint8_t *amp = memchr(query.p, '&', query.len);
        struct bytes one = amp ? BYTES(query.p, (size_t)(amp - query.p)) : query;

        if (one.len > n && memcmp(one.p, name, n) == 0 && one.p[n] == '=') {
            if (out[0] || one.len - n - 1 >= size)
                return false;
            memcpy(out, one.p + n + 1, one.len - n - 1);
            out[one.len - n - 1] = '\0';
        }
        query = amp ? BYTES(amp + 1, query.len - one.len - 1) : (struct bytes){NULL, 0};
    }
    return true;
}

static bool field_text(const struct http_reader *r, const char *name, char *out, size_t size)
{
    struct bytes v;

    if (!http_field(r, name, &v) || v.len >= size)
        return false;
    if (v.len)
        memcpy(out, v.p, v.len);
    out[v.len] = '\0';
    return true;
}

/* For the log: cut where it is too long. */
static void field_note(const struct http_reader *r, const char *name, char *out, size_t size)
{
    struct bytes v;

    if (!http_field(r, name, &v))
        v.len = 0;
    snprintf(out, size, "%.*s", (int)v.len, v.len ? (const char *)v.p : "");
}

static bool audience_of(const struct http_reader *r, char out[ID_MAX_LEN + 1])
{
    const struct bytes query = is_forwarded(&r->req) ? (struct bytes){NULL, 0} : r->req.query;

    return query_value(query, "audience", out, ID_MAX_LEN + 1) &&
           (out[0] || field_text(r, "Inkan-Audience", out, ID_MAX_LEN + 1));
}

/* A certificate that does not read names nobody; one field twice, or two ways at once, is nobody's either. */
static void identity_from_fields(const struct http_reader *r, struct sts_identity *who, struct buf *der)
{
    struct bytes cert, xfcc, fingerprint, issuer, serial;
    struct err e = {0};

    *who = (struct sts_identity){0};
    if (!http_field(r, "X-Client-Cert", &cert) || !http_field(r, "X-Forwarded-Client-Cert", &xfcc) ||
        !http_field(r, "X-Client-Fingerprint", &fingerprint) || !http_field(r, "X-Client-Issuer", &issuer) ||
        !http_field(r, "X-Client-Serial", &serial) || (cert.len > 0) + (xfcc.len > 0) + (fingerprint.len > 0) + (serial.len > 0) != 1)
        return;
    if (cert.len)
        (void)!identity_from_text(cert, who, der, &e);
    else if (xfcc.len)
        (void)!identity_from_xfcc(xfcc, who, der, &e);
    else if (fingerprint.len)
        (void)!identity_from_fingerprint(fingerprint, who, &e);
    else
        (void)!identity_from_serial(issuer, serial, who, &e);
}

static enum err_code audience_read(const struct http_reader *r, struct question *q, struct err *e)
{
    if (q->audience[0] || audience_of(r, q->audience))
        return E_OK;
    return err_set(e, E_INVALID, "the audience stands twice or is too long");
}

enum err_code question_read(const struct http_reader *r, struct question *q, struct sts_identity *who, struct buf *der, struct err *e)
{
    *q = (struct question){0};
    if (question_is_json(&r->req)) {
        if (question_from_json(r->req.body, q, who, der, e) != E_OK)
            return e->code;
    } else {
        identity_from_fields(r, who, der);
        field_note(r, "X-Original-URI", q->resource, sizeof(q->resource));
        field_note(r, "X-Original-Method", q->action, sizeof(q->action));
        field_note(r, "X-Real-IP", q->client, sizeof(q->client));
    }
    return audience_read(r, q, e);
}

enum err_code questions_read(const struct http_reader *r, struct question *q, struct sts_identity who[DECISIONS_MAX], struct buf *der,
                             size_t *n, struct err *e)
{
    *q = (struct question){0};
    return units_from_json(r->req.body, who, der, n, e) == E_OK ? audience_read(r, q, e) : e->code;
}

/* ---- what is answered ---- */

static void put_text(struct buf *b, const char *key, const char *s)
{
    buf_printf(b, ",\"%s\":\"", key);
    for (; *s; s++)
        if (*s == '"' || *s == '\\')
            buf_printf(b, "\\%c", *s);
        else if ((unsigned char)*s < 0x20)
            buf_printf(b, "\\u%04x", (unsigned)(unsigned char)*s);
        else
            buf_add_u8(b, (uint8_t)*s);
    buf_add_u8(b, '"');
}

void decision_write_json(struct buf *b, const char *trace_id, const struct sts_decided *all, const struct sts_decision *d)
{
    buf_printf(b, "{\"decision\":\"%s\"", d->allow ? "allow" : "deny");
    put_text(b, "reason", decision_reason_name(d->reason));
    if (d->has_device) {
        put_text(b, "device_id", d->device_id);
        put_text(b, "domain", d->domain);
        put_text(b, "state", device_state_name(d->state));
        put_text(b, "product", d->product);
        put_text(b, "firmware", d->firmware);
    }
    if (d->known) {
        put_text(b, "scope", access_scope_name(d->scope));
        put_text(b, "cert_status", decision_status_name(d->status));
    }
    if (d->revoked_at) {
        buf_printf(b, ",\"revoked_at\":%" PRId64, d->revoked_at);
        put_text(b, "revocation_reason", decision_revocation_name(d->revocation_reason));
    }
    buf_printf(b, ",\"policy_version\":\"%08" PRIx32 "\",\"status_seq\":%" PRIu64 ",\"status_age_s\":%" PRId64 ",\"cache_s\":%" PRIu32 ",\"close\":%s",
               all->policy_version, all->seq, d->status_age_s, d->cache_s, d->close ? "true" : "false");
    if (d->identity_unverified)
        buf_add_str(b, ",\"identity_unverified\":true");
    put_text(b, "trace_id", trace_id);
    buf_add_str(b, "}");
}

/* A value that is one header line whatever it holds. */
static void put_field(struct buf *b, const char *name, const char *s)
{
    if (!*s)
        return;
    buf_printf(b, "%s: ", name);
    for (; *s; s++)
        buf_add_u8(b, *s >= ' ' && *s <= '~' ? (uint8_t)*s : '?');
    buf_add_str(b, "\r\n");
}

void decision_write_fields(struct buf *b, const struct sts_decided *all, const struct sts_decision *d)
{
    put_field(b, "Inkan-Decision", d->allow ? "allow" : "deny");
    put_field(b, "Inkan-Reason", decision_reason_name(d->reason));
    if (d->has_device) {
        put_field(b, "Inkan-Device", d->device_id);
        put_field(b, "Inkan-Domain", d->domain);
        put_field(b, "Inkan-State", device_state_name(d->state));
        put_field(b, "Inkan-Product", d->product);
        put_field(b, "Inkan-Firmware", d->firmware);
    }
    if (d->known)
        put_field(b, "Inkan-Scope", access_scope_name(d->scope));
    buf_printf(b, "Inkan-Status-Seq: %" PRIu64 "\r\nInkan-Cache: %" PRIu32 "\r\n", all->seq, d->cache_s);
    if (d->close)
        buf_add_str(b, "Inkan-Close: 1\r\n");
    buf_add_u8(b, 0);
}

int decision_http_status(const struct sts_decision *d)
{
    return d->allow ? 200 : d->reason == DECISION_NO_IDENTITY ? 401 : 403;
}
