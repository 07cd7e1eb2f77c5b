/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The factory line's own requests, beside EST on the same listener: what a station asks of a work order besides the
 * certificate (docs/factory.md). Here is the routing alone; bodies, roles and orders are the core's.
 *
 * What the core says is JSON with an "error" of one word; what the front says by itself is text, as everywhere.
 */
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "enroll/front_int.h"

#define FACTORY_PREFIX "/v1/factory/"
#define BOX_PREFIX     "/v1/box/"
#define RETRY_OWN_S    5

struct factory_route {
    const char *name; /* the last segment; "": the order or the unit itself */
    enum svc_factory_action action;
};

static const struct factory_route routes[] = {
    {"", SVC_FACTORY_ORDER},
    {"reserve", SVC_FACTORY_RESERVE},
    {"", SVC_FACTORY_UNIT},
    {"challenge", SVC_FACTORY_CHALLENGE},
    {"confirm", SVC_FACTORY_CONFIRM},
    {"event", SVC_FACTORY_EVENT},
    {"secret", SVC_FACTORY_SECRET},
    {"pack", SVC_FACTORY_PACK},
    {"ship", SVC_FACTORY_SHIP},
    {"scrap", SVC_FACTORY_SCRAP},
    {"rework", SVC_FACTORY_REWORK},
};

static const struct factory_route box_route = {"records", SVC_FACTORY_BOX};

static bool is_below(const char *path, const char *prefix)
{
    return strncmp(path, prefix, strlen(prefix)) == 0;
}

bool factory_is_path(const char *path)
{
    return is_below(path, FACTORY_PREFIX) || is_below(path, BOX_PREFIX);
}

/* Cuts the next segment off; NULL when there is none. */
static char *segment_take(char **rest)
{
    char *s = *rest, *slash;

    if (!s)
        return NULL;
    slash = strchr(s, '/');
    *rest = slash ? slash + 1 : NULL;
    if (slash)
        *slash = '\0';
    return s;
}

static bool name_take(char *out, size_t size, const char *s)
{
    if (!s || !id_is_valid(s) || strlen(s) >= size)
        return false;
    strcpy(out, s);
    return true;
}

/* ORDER, ORDER/ACTION, ORDER/units/ID, ORDER/units/ID/ACTION. */
static bool path_read(struct factory_request *q, char *rest)
{
    char *action;
    bool unit = false;

    if (!name_take(q->order, sizeof q->order, segment_take(&rest)))
        return false;
    action = segment_take(&rest);
    if (action && strcmp(action, "units") == 0) {
        unit = true;
        if (!name_take(q->device_id, sizeof q->device_id, segment_take(&rest)))
            return false;
        action = segment_take(&rest);
    }
    if (rest || (action && !*action))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (svc_factory_has_unit(routes[i].action) == unit && strcmp(action ? action : "", routes[i].name) == 0)
            q->route = &routes[i];
    return q->route != NULL;
}

/* NAME/records, of a line box */
static bool box_path_read(struct factory_request *q, char *rest)
{
    const char *last;

    if (!name_take(q->order, sizeof q->order, segment_take(&rest)))
        return false;
    last = segment_take(&rest);
    if (!rest && last && strcmp(last, box_route.name) == 0)
        q->route = &box_route;
    return q->route != NULL;
}

static bool refuse(struct refusal *no, int status, const char *text, const char *headers)
{
    *no = (struct refusal){.status = status, .text = text, .headers = headers};
    return false;
}

bool factory_on_head(struct conn *c, char *path, size_t *body_max, struct refusal *no)
{
    const struct http_request *q = &c->reader.req;
    struct factory_request *f = &c->u.est.factory;
    bool read;

    if (is_below(path, BOX_PREFIX) ? !box_path_read(f, path + strlen(BOX_PREFIX)) : !path_read(f, path + strlen(FACTORY_PREFIX))) {
        front_count(c->front, SVC_REFUSED_NO_ROUTE);
        return refuse(no, 404, "no such resource", NULL);
    }
    read = svc_factory_is_read(f->route->action);
    if (q->method != (read ? HTTP_GET : HTTP_POST))
        return refuse(no, 405, "this resource does not take that method", read ? "Allow: GET\r\n" : "Allow: POST\r\n");
    if (c->peer.chain_n == 0)
        return refuse(no, 403, "a client certificate is required", NULL);
    if (q->content_length > 0 && !http_media_type_is(q->content_type, "application/json"))
        return refuse(no, 415, "the request body must be application/json", NULL);
    if (q->content_encoding.p && !http_media_type_is(q->content_encoding, "identity"))
        return refuse(no, 415, "Content-Encoding is not accepted", NULL);
    *body_max = read ? 0 : svc_factory_body_max(f->route->action);
    return true;
}

void factory_refuse_for_now(struct conn *c, const char *why)
{
    struct log_line l;
    char rid[17];

    rid_format(c->rid, rid);
    log_begin(&l, LOG_WARN, "factory-not-answered");
    log_str(&l, "rid", rid);
    log_str(&l, "reason", why);
    log_end(&l);
    c->u.est.factory.code = E_IO;
    conn_refuse(c, 503, "the service cannot answer now, try again", NULL, RETRY_OWN_S);
}

void factory_on_request(struct conn *c)
{
    struct factory_request *f = &c->u.est.factory;
    struct svc_factory q = {.action = f->route->action, .body = c->reader.req.body, .verdict = c->peer.verdict};
    struct err e = {0};
    AUTO_MSG m = {BUF_INIT(0)};

    if (!c->front->core) {
        factory_refuse_for_now(c, "no link to the core");
        return;
    }
    if (!front_core_has_room(c->front)) {
        f->code = E_BUSY;
        conn_refuse(c, 503, "too many requests, try again later", NULL, RETRY_OWN_S);
        return;
    }
    strcpy(q.order, f->order);
    strcpy(q.device_id, f->device_id);
    memcpy(q.chain, c->peer.chain, sizeof q.chain);
    q.chain_n = c->peer.chain_n;
    snprintf(q.peer, sizeof q.peer, "%s", c->peer_text);
    msg_begin(&m, SVC_FACTORY, c->rid);
    svc_factory_encode(&m, &q);
    if (!buf_ok(&m.b)) /* a request within its limits fits: there was no memory to write it */
        front_memory_short(c->front);
    if (chan_send(c->front->core, &m, -1, &e) != E_OK)
        factory_refuse_for_now(c, e.msg);
    else
        conn_wait(c, WAIT_CORE);
}

/* Unlike in EST the caller is a machine of ours: it is told what is missing (404) and what stands in the way (409). */
static struct code_status status_of(enum err_code code)
{
    switch (code) {
    case E_OK: return (struct code_status){200, ""};
    case E_UNAUTHENTICATED: return (struct code_status){403, "not allowed"};
    case E_NOT_FOUND: return (struct code_status){404, "no such resource"};
    case E_CONFLICT: return (struct code_status){409, "not in this state"};
    default: return *code_status(code);
    }
}

void factory_on_result(struct conn *c, const struct svc_factory_result *r)
{
    const struct code_status cs = status_of(r->code);
    void (*answer)(struct conn *, const struct http_answer *) =
        c->u.est.factory.route->action == SVC_FACTORY_SECRET ? conn_answer_secret : conn_answer;
    bool later = cs.status == 202 || cs.status == 503;
    uint32_t retry = later && r->retry_after_s == 0 ? RETRY_OWN_S : later ? r->retry_after_s : 0;

    conn_wait_done(c, WAIT_CORE);
    c->u.est.factory.code = r->code;
    if (r->body.len == 0) {
        conn_refuse(c, cs.status, cs.text, NULL, retry);
        return;
    }
    answer(c, &(struct http_answer){
                  .status = cs.status,
                  .content_type = r->is_text ? "text/plain; charset=utf-8" : "application/json",
                  .body = r->body,
                  .retry_after_s = retry,
                  .no_store = true,
              });
}

void factory_on_done(struct conn *c, int status)
{
    const struct factory_request *f = &c->u.est.factory;
    struct log_line l;
    char rid[17];

    rid_format(c->rid, rid);
    log_begin(&l, LOG_INFO, "factory-request");
    log_str(&l, "rid", rid);
    log_str(&l, "op", f->route->name[0] ? f->route->name : f->device_id[0] ? "unit" : "order");
    log_str(&l, "order", f->order);
    if (f->device_id[0])
        log_str(&l, "device_id", f->device_id);
    log_i64(&l, "status", status);
    log_i64(&l, "ms", clock_mono_ms() - c->started_ms);
    log_str(&l, "peer", c->peer_text);
    log_str(&l, "tls", c->peer.version);
    if (f->code != E_OK)
        log_str(&l, "code", err_code_name(f->code));
    log_end(&l);
}
