/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access decisions over HTTP (docs/access.md): /v1/decision in the shapes of nginx auth_request, Envoy ext_authz and JSON, and
 * /v1/decisions for many at once. On the TLS listener for gateways by their certificate, on a socket for programs of this machine. The
 * status process decides; nothing is kept here.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "enroll/front_int.h"
#include "enroll/question.h"

#define DECISIONS_PATH "/v1/decisions"
#define SNAPSHOT_PATH  "/v1/feed/snapshot"
#define CHANGES_PATH   "/v1/feed/changes"
#define WATCH_PATH     "/v1/feed/watch"
#define RETRY_OWN_S    1
#define JSON_ONE_MAX   2048
#define JSON_ALL_MAX   (DECISIONS_MAX * JSON_ONE_MAX)

static bool refuse(struct refusal *no, int status, const char *text, const char *headers)
{
    *no = (struct refusal){.status = status, .text = text, .headers = headers};
    return false;
}

/* ---- routes ---- */

static bool starts_with(const char *path, const char *prefix)
{
    return strncmp(path, prefix, strlen(prefix)) == 0;
}

/* Envoy puts the path that was asked for behind the one it is configured with. */
static enum access_route route_of(const char *path)
{
    if (strcmp(path, DECISIONS_PATH) == 0)
        return ACCESS_DECISIONS;
    if (starts_with(path, DECISION_PATH) && (path[strlen(DECISION_PATH)] == '\0' || path[strlen(DECISION_PATH)] == '/'))
        return ACCESS_DECISION;
    if (strcmp(path, SNAPSHOT_PATH) == 0)
        return ACCESS_SNAPSHOT;
    if (strcmp(path, CHANGES_PATH) == 0 || strcmp(path, WATCH_PATH) == 0)
        return ACCESS_CHANGES;
    return ACCESS_NOT;
}

bool access_is_path(const char *path)
{
    return starts_with(path, DECISION_PATH) || starts_with(path, "/v1/feed/");
}

static bool method_fits(const struct http_request *q, enum access_route route)
{
    switch (route) {
    case ACCESS_DECISION: /* Envoy asks with the method of the request it asks about */
        return true;
    case ACCESS_DECISIONS:
        return q->method == HTTP_POST;
    default:
        return q->method == HTTP_GET;
    }
}

bool access_on_head(struct conn *c, const char *path, size_t *body_max, struct refusal *no)
{
    const struct http_request *q = &c->reader.req;
    struct access_request *a = &c->u.est.access;
    enum access_route route = proc_conf(c->front->proc)->decisions ? route_of(path) : ACCESS_NOT;

    if (route == ACCESS_NOT) {
        front_count(c->front, SVC_REFUSED_NO_ROUTE);
        return refuse(no, 404, "no such resource", NULL);
    }
    if (!method_fits(q, route))
        return refuse(no, 405, "this resource does not take that method", route == ACCESS_DECISIONS ? "Allow: POST\r\n" : "Allow: GET\r\n");
    if (c->service->tls && c->peer.chain_n == 0)
        return refuse(no, 401, "a gateway's client certificate is required", NULL);
    if (c->service->tls && c->peer.verdict != SVC_CLIENT_VALID)
        return refuse(no, 403, "the client certificate is not in date", NULL);
    if (route == ACCESS_DECISIONS && !question_is_json(q))
        return refuse(no, 415, "the request body must be application/json", NULL);
    a->route = route;
    buf_init(&a->answer, JSON_ALL_MAX);
    *body_max = route == ACCESS_DECISIONS ? DECISIONS_BODY_MAX : route == ACCESS_DECISION && question_is_json(q) ? DECISION_BODY_MAX : 0;
    return true;
}

void access_caller(const struct conn *c, struct sts_caller *out)
{
    *out = (struct sts_caller){.local = !c->service->tls};
    if (c->service->tls)
        sha256(c->peer.chain[0], out->cert_hash);
}

/* ---- what is asked ---- */

static enum err_code read_question(struct conn *c, struct sts_decide *out, struct err *e)
{
    struct access_request *a = &c->u.est.access;
    struct question q = {0};

    out->n = 1;
    if ((a->route == ACCESS_DECISIONS ? questions_read(&c->reader, &q, out->who, NULL, &out->n, e)
                                      : question_read(&c->reader, &q, &out->who[0], NULL, e)) != E_OK)
        return e->code;
    memcpy(out->audience, q.audience, sizeof(out->audience));
    memcpy(a->resource, q.resource, sizeof(a->resource));
    memcpy(a->client, q.client, sizeof(a->client));
    return E_OK;
}

/* ---- answers ---- */

static void answer_one(struct conn *c, const struct sts_decided *all)
{
    const struct sts_decision *d = &all->decision[0];
    struct buf *json = &c->u.est.access.answer;
    AUTO_BUF fields = BUF_INIT(2048);
    char rid[17];

    rid_format(c->rid, rid);
    decision_write_json(json, rid, all, d);
    buf_add_u8(json, '\n');
    decision_write_fields(&fields, all, d);
    c->u.est.access.reason = decision_reason_name(d->reason);
    if (!buf_ok(json) || !buf_ok(&fields)) {
        conn_refuse(c, 503, "out of memory", NULL, RETRY_OWN_S);
        return;
    }
    conn_answer(c, &(struct http_answer){
                       .status = decision_http_status(d),
                       .content_type = "application/json",
                       .body = buf_bytes(json),
                       .headers = (const char *)fields.p,
                       .no_store = true,
                   });
}

static void answer_all(struct conn *c, const struct sts_decided *all)
{
    struct buf *json = &c->u.est.access.answer;
    char rid[17];

    rid_format(c->rid, rid);
    for (size_t i = 0; i < all->n; i++) {
        buf_add_str(json, json->len == 0 ? "[" : ",\n");
        decision_write_json(json, rid, all, &all->decision[i]);
    }
    if (all->first + all->n < all->total) {
        conn_wait(c, WAIT_STATUS);
        return;
    }
    buf_add_str(json, "]\n");
    if (!buf_ok(json))
        conn_refuse(c, 503, "out of memory", NULL, RETRY_OWN_S);
    else
        conn_answer(c, &(struct http_answer){.status = 200, .content_type = "application/json", .body = buf_bytes(json), .no_store = true});
}

void access_refuse_code(struct conn *c, enum err_code code)
{
    if (code == E_DENIED)
        conn_refuse(c, 403, "this client certificate is no gateway's", NULL, 0);
    else if (code == E_NOT_FOUND)
        conn_refuse(c, 410, "take a snapshot: these changes are not kept", NULL, 0);
    else
        conn_refuse(c, 503, "the service cannot answer now, try again", NULL, RETRY_OWN_S);
}

void access_on_decided(struct conn *c, const struct sts_decided *all)
{
    conn_wait_done(c, WAIT_STATUS);
    if (all->code != E_OK)
        access_refuse_code(c, all->code);
    else if (c->u.est.access.route == ACCESS_DECISIONS)
        answer_all(c, all);
    else
        answer_one(c, all);
}

/* ---- asking ---- */

void access_refuse_for_now(struct conn *c)
{
    conn_refuse(c, 503, "the service cannot answer now, try again", NULL, RETRY_OWN_S);
}

void access_ask(struct conn *c, struct msg *m)
{
    struct err e = {0};

    if (!buf_ok(&m->b))
        front_memory_short(c->front);
    if (chan_send(c->front->status, m, -1, &e) != E_OK) {
        log_failure("status-link", &e);
        access_refuse_for_now(c);
        return;
    }
    conn_wait(c, WAIT_STATUS);
}

void access_on_request(struct conn *c)
{
    static struct sts_decide q; /* 30 KiB; one thread */
    struct access_request *a = &c->u.est.access;
    AUTO_MSG m = {BUF_INIT(0)};
    struct err e = {0};

    if (!front_status_has_room(c->front)) {
        access_refuse_for_now(c);
        return;
    }
    if (a->route == ACCESS_SNAPSHOT || a->route == ACCESS_CHANGES) {
        feed_on_request(c);
        return;
    }
    if (read_question(c, &q, &e) != E_OK) {
        conn_refuse(c, 400, e.msg, NULL, 0);
        return;
    }
    access_caller(c, &q.caller);
    msg_begin(&m, STS_DECIDE, c->rid);
    sts_decide_encode(&m, &q);
    access_ask(c, &m);
}

void access_on_done(struct conn *c, int status)
{
    const struct access_request *a = &c->u.est.access;
    struct log_line l;
    char rid[17];

    if (log_wants(LOG_DEBUG)) {
        rid_format(c->rid, rid);
        log_begin(&l, LOG_DEBUG, "access-request");
        log_str(&l, "rid", rid);
        log_str(&l, "op", a->route == ACCESS_SNAPSHOT ? "snapshot" : a->route == ACCESS_CHANGES ? "changes" : "decision");
        if (a->reason)
            log_str(&l, "reason", a->reason);
        if (a->resource[0])
            log_str(&l, "resource", a->resource);
        if (a->client[0])
            log_str(&l, "client", a->client);
        log_i64(&l, "status", status);
        log_i64(&l, "ms", clock_mono_ms() - c->started_ms);
        log_str(&l, "peer", c->peer_text);
        log_end(&l);
    }
    buf_clear(&c->u.est.access.answer);
}

/* ---- the socket for programs of this machine ---- */

static bool decision_on_head(struct conn *c, size_t *body_max, struct refusal *no)
{
    char path[512];

    if (!http_path_decode(c->reader.req.path, path, sizeof path)) {
        if (bytes_equal(BYTES(c->reader.req.path.p, c->reader.req.path.len < sizeof(DECISION_PATH) ? c->reader.req.path.len : sizeof(DECISION_PATH)),
                        bytes_str(DECISION_PATH "/")))
            snprintf(path, sizeof path, "%s/", DECISION_PATH); /* what follows is the asker's matter */
        else
            return refuse(no, 400, "the path is malformed", NULL);
    }
    return access_on_head(c, path, body_max, no);
}

static void decision_on_deadline(struct conn *c)
{
    conn_wait_done(c, WAIT_STATUS);
    access_refuse_for_now(c);
}

static void decision_on_link_lost(struct conn *c, enum wait link)
{
    conn_wait_done(c, link);
    access_refuse_for_now(c);
}

static void decision_on_done(struct conn *c, int status)
{
    if (c->u.est.access.route)
        access_on_done(c, status);
}

const struct service decision_service = {
    .name = "decision",
    .counted = SVC_LISTENER_DECISION,
    .limited = false,
    .on_head = decision_on_head,
    .on_request = access_on_request,
    .on_deadline = decision_on_deadline,
    .on_link_lost = decision_on_link_lost,
    .on_done = decision_on_done,
};
