/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gate answers, in the shapes of the service (docs/access.md). A certificate that is shown is verified against the
 * issuers of the snapshot, once: after that its SHA-256 is enough, for as long as the snapshot lasts.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/libctx.h"
#include "enroll/gate/gate.h"
#include "enroll/question.h"

#define DECISIONS_PATH "/v1/decisions"
#define STATUS_PATH    "/v1/gate/status"
#define VERIFIED_MAX   65536 /* certificates whose signature is known to be good; a power of two */
#define RETRY_S        "1"

AUTO_TYPE(X509, X509_free)
AUTO_TYPE(X509_STORE_CTX, X509_STORE_CTX_free)

struct verified {
    uint8_t hash[32];
    uint32_t issuer;
    uint8_t serial[SERIAL_MAX_LEN], serial_len; /* 0: nothing is here */
};

/* Of the main thread. */
static struct {
    uint64_t table_no;   /* of the snapshot all this is from */
    X509_STORE *store;
    struct verified *verified;
    uint64_t trace;
} known;

void answer_forget(void)
{
    X509_STORE_free(known.store);
    free(known.verified);
    known.store = NULL;
    known.verified = NULL;
}

/* ---- certificates ---- */

static X509_STORE *store_of(const struct table *t)
{
    const struct table_issuer *issuers;
    size_t n = table_issuers(t, &issuers);
    X509_STORE *s = X509_STORE_new();

    for (size_t i = 0; s && i < n; i++)
        if (X509_STORE_add_cert(s, issuers[i].cert) != 1)
            ERR_clear_error(); /* twice the same */
    /* The issuer itself is the anchor: that it is one of ours the service has signed. Dates are the rule's. */
    if (s)
        X509_STORE_set_flags(s, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_NO_CHECK_TIME);
    return s;
}

static bool keep_up(const struct gate *g)
{
    if (known.store && known.verified && known.table_no == g->table_no)
        return true;
    answer_forget();
    known.table_no = g->table_no;
    known.store = store_of(g->table);
    known.verified = calloc(VERIFIED_MAX, sizeof(*known.verified));
    return known.store && known.verified;
}

static const struct table_issuer *issuer_of_cert(const struct table *t, const X509 *cert)
{
    const struct table_issuer *issuers;
    size_t n = table_issuers(t, &issuers);

    for (size_t i = 0; i < n; i++)
        if (X509_cmp(issuers[i].cert, cert) == 0)
            return &issuers[i];
    return NULL;
}

static const struct table_issuer *issuer_by_ski(const struct table *t, const uint8_t ski[20])
{
    const struct table_issuer *issuers;
    size_t n = table_issuers(t, &issuers);

    for (size_t i = 0; i < n; i++)
        if (issuers[i].ski_len == 20 && memcmp(issuers[i].ski, ski, 20) == 0)
            return &issuers[i];
    return NULL;
}

static struct bytes serial_of(const X509 *cert)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);

    return BYTES(ASN1_STRING_get0_data(serial), ASN1_STRING_length(serial));
}

/* false: not by an issuer of ours. */
static bool verify(const struct table *t, struct bytes der, struct verified *out)
{
    AUTO(X509) *cert = libctx_x509(der);
    AUTO(X509_STORE_CTX) *ctx = X509_STORE_CTX_new();
    const struct table_issuer *issuer = NULL;
    STACK_OF(X509) *chain;
    struct bytes serial;

    if (cert && ctx && X509_STORE_CTX_init(ctx, known.store, cert, NULL) == 1 && X509_verify_cert(ctx) == 1) {
        chain = X509_STORE_CTX_get0_chain(ctx);
        if (sk_X509_num(chain) > 1)
            issuer = issuer_of_cert(t, sk_X509_value(chain, 1));
    }
    ERR_clear_error();
    if (!issuer)
        return false;
    serial = serial_of(cert);
    if (serial.len == 0 || serial.len > sizeof(out->serial))
        return false;
    out->issuer = issuer->n;
    out->serial_len = (uint8_t)serial.len;
    memcpy(out->serial, serial.p, serial.len);
    return true;
}

static bool verify_once(const struct table *t, const struct sts_identity *who, struct bytes der, struct verified *out)
{
    struct verified *slot = &known.verified[get_be32(who->der_hash) & (VERIFIED_MAX - 1)];

    if (slot->serial_len == 0 || memcmp(slot->hash, who->der_hash, sizeof(slot->hash)) != 0) {
        if (!verify(t, der, out))
            return false;
        memcpy(out->hash, who->der_hash, sizeof(out->hash));
        *slot = *out;
    }
    *out = *slot;
    return true;
}

/* ---- one decision ---- */

/* With the lock held and a table there. */
static void decide(const struct gate *g, const char *audience_name, const struct sts_identity *who, struct bytes der, struct sts_decision *out)
{
    const struct conf_audience *audience = gate_conf_audience(g->conf, *audience_name ? audience_name : "default");
    const struct table *t = g->table;
    struct rule_when when = {.now = clock_now()};
    struct verified v = {0};
    const struct table_issuer *issuer = issuer_by_ski(t, who->ski);
    struct feed_cert line;

    when.age_s = table_age_s(t, when.now);
    when.valid_s = table_valid_s(t);
    if (who->kind == IDENTITY_CERT && verify_once(t, who, der, &v)) {
        when.not_before = who->not_before;
    } else if (who->kind == IDENTITY_SERIAL && issuer) {
        v.issuer = issuer->n;
        v.serial_len = who->serial_len;
        memcpy(v.serial, who->serial, who->serial_len);
    } else {
        /* The feed says nothing of fingerprints. */
        bool named = who->kind == IDENTITY_CERT || who->kind == IDENTITY_SERIAL;

        rule_deny(audience, !named ? DECISION_NO_IDENTITY : issuer ? DECISION_UNKNOWN_SERIAL : DECISION_UNKNOWN_ISSUER, when.age_s, out);
        return;
    }
    when.above = table_issuer_status(t, v.issuer);
    if (table_find(t, v.issuer, BYTES(v.serial, v.serial_len), &line))
        rule_decide(audience, &line, &when, out);
    else
        rule_deny(audience, DECISION_UNKNOWN_SERIAL, when.age_s, out);
    out->identity_unverified = who->kind == IDENTITY_SERIAL;
}

/* ---- requests ---- */

enum route { ROUTE_NONE, ROUTE_DECISION, ROUTE_DECISIONS, ROUTE_STATUS };

static bool path_is(struct bytes path, const char *name)
{
    return bytes_equal(path, bytes_str(name));
}

/* Envoy puts the path that was asked for behind the one it is configured with. */
static enum route route_of(const struct http_reader *r)
{
    struct bytes p = r->req.path;

    if (path_is(p, DECISIONS_PATH))
        return r->req.method == HTTP_POST ? ROUTE_DECISIONS : ROUTE_NONE;
    if (path_is(p, STATUS_PATH))
        return r->req.method == HTTP_GET ? ROUTE_STATUS : ROUTE_NONE;
    if (p.len > strlen(DECISION_PATH) && p.p[strlen(DECISION_PATH)] == '/')
        p.len = strlen(DECISION_PATH);
    return path_is(p, DECISION_PATH) ? ROUTE_DECISION : ROUTE_NONE;
}

size_t answer_body_max(const struct http_reader *r, int *status)
{
    switch (route_of(r)) {
    case ROUTE_NONE:
        *status = 404;
        return 0;
    case ROUTE_DECISIONS:
        *status = question_is_json(&r->req) ? 0 : 415;
        return *status ? 0 : DECISIONS_BODY_MAX;
    case ROUTE_DECISION:
        return question_is_json(&r->req) ? DECISION_BODY_MAX : 0;
    case ROUTE_STATUS:
        return 0;
    }
    return 0;
}

static void refuse(struct gate_answer *out, int status, const char *text)
{
    out->status = status;
    out->content_type = "text/plain; charset=utf-8";
    buf_reset(&out->body);
    buf_printf(&out->body, "%s\n", text);
    if (status == 503) {
        buf_add_str(&out->headers, "Retry-After: " RETRY_S "\r\n");
        buf_add_u8(&out->headers, 0);
    }
}

static void decided_head(const struct gate *g, struct sts_decided *all)
{
    all->seq = table_seq(g->table);
    all->policy_version = g->conf->policy_version;
}

static void answer_one(const struct gate *g, const struct question *q, const struct sts_identity *who, struct bytes der, const char *trace,
                       struct gate_answer *out)
{
    static struct sts_decided all; /* large; main thread */
    struct sts_decision d;

    decided_head(g, &all);
    decide(g, q->audience, who, der, &d);
    out->status = decision_http_status(&d);
    out->content_type = "application/json";
    decision_write_json(&out->body, trace, &all, &d);
    buf_add_u8(&out->body, '\n');
    decision_write_fields(&out->headers, &all, &d);
}

static void answer_all(const struct gate *g, const struct question *q, const struct sts_identity *who, const struct buf *der, size_t n,
                       const char *trace, struct gate_answer *out)
{
    static struct sts_decided all;
    struct sts_decision d;

    decided_head(g, &all);
    for (size_t i = 0; i < n; i++) {
        decide(g, q->audience, &who[i], buf_bytes(&der[i]), &d);
        buf_add_str(&out->body, i ? ",\n" : "[");
        decision_write_json(&out->body, trace, &all, &d);
    }
    buf_add_str(&out->body, "]\n");
    out->status = 200;
    out->content_type = "application/json";
}

/* Without a table that was verified nothing can be decided, and nobody is admitted. */
static void decide_request(struct gate *g, const struct http_reader *r, bool many, struct gate_answer *out)
{
    static struct sts_identity who[DECISIONS_MAX];
    static struct buf der[DECISIONS_MAX];
    struct question q;
    struct err e = {0};
    char trace[17];
    size_t n = 1;

    snprintf(trace, sizeof(trace), "%016" PRIx64, ++known.trace);
    for (size_t i = 0; i < (many ? DECISIONS_MAX : 1); i++)
        buf_init(&der[i], IDENTITY_TEXT_MAX);
    if ((many ? questions_read(r, &q, who, der, &n, &e) : question_read(r, &q, who, der, &e)) != E_OK) {
        refuse(out, 400, e.msg);
    } else {
        gate_lock(g);
        if (!g->table || !keep_up(g))
            refuse(out, 503, "nothing can be decided: there is no verified snapshot");
        else if (many)
            answer_all(g, &q, who, der, n, trace, out);
        else
            answer_one(g, &q, who, buf_bytes(&der[0]), trace, out);
        gate_unlock(g);
    }
    for (size_t i = 0; i < (many ? DECISIONS_MAX : 1); i++)
        buf_clear(&der[i]);
}

void answer_make(struct gate *g, const struct http_reader *r, struct gate_answer *out)
{
    switch (route_of(r)) {
    case ROUTE_STATUS:
        out->status = 200;
        out->content_type = "application/json";
        gate_status_write(g, &out->body);
        return;
    case ROUTE_DECISION:
    case ROUTE_DECISIONS:
        decide_request(g, r, route_of(r) == ROUTE_DECISIONS, out);
        return;
    case ROUTE_NONE:
        refuse(out, 404, "no such resource");
        return;
    }
}
