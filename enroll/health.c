/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /health, /ready and /metrics on the loopback listener. All ask the core and the status process and answer within a second.
 * /health is 200 when both answered; /ready is 200 when both also call themselves ready and EST can be served here; /metrics holds
 * what was answered.
 */
#include <inttypes.h>
#include <string.h>

#include "base/auto.h"
#include "base/openmetrics.h"
#include "enroll/front_int.h"

#define PROBE_MS  1000
#define JSON_MAX  (32 * 1024)

static bool refuse(struct refusal *no, int status, const char *text, const char *headers)
{
    *no = (struct refusal){.status = status, .text = text, .headers = headers};
    return false;
}

static bool health_on_head(struct conn *c, size_t *body_max, struct refusal *no)
{
    const struct http_request *q = &c->reader.req;
    struct health_request *h = &c->u.health;

    h->metrics_asked = bytes_equal(q->path, bytes_str("/metrics"));
    buf_init(&h->core_json, h->metrics_asked ? OPENMETRICS_MAX : JSON_MAX);
    buf_init(&h->status_json, h->metrics_asked ? OPENMETRICS_MAX : JSON_MAX);
    h->ready_asked = bytes_equal(q->path, bytes_str("/ready"));
    if (!h->ready_asked && !h->metrics_asked && !bytes_equal(q->path, bytes_str("/health")))
        return refuse(no, 404, "no such resource", NULL);
    if (q->method != HTTP_GET && q->method != HTTP_HEAD)
        return refuse(no, 405, "this resource does not take that method", "Allow: GET, HEAD\r\n");
    *body_max = 0;
    return true;
}

static const char *json_bool(bool b)
{
    return b ? "true" : "false";
}

static void part_write(struct buf *out, const char *name, bool answered, const struct buf *json)
{
    buf_printf(out, ",\"%s\":", name);
    if (!answered)
        buf_add_str(out, "null");
    else if (json->len == 0)
        buf_add_str(out, "{}");
    else
        buf_add_bytes(out, buf_bytes(json));
}

static void metrics_answer(struct conn *c)
{
    const struct health_request *h = &c->u.health;
    AUTO_BUF body = BUF_INIT(3 * OPENMETRICS_MAX);

    om_family(&body, "inkan_answers", "gauge", "", "1 when the process told its numbers within a second.");
    om_sample(&body, "inkan_answers", h->core_answered, "process", "core", NULL);
    om_sample(&body, "inkan_answers", h->status_answered, "process", "status", NULL);
    buf_add_bytes(&body, buf_bytes(&h->core_json));
    buf_add_bytes(&body, buf_bytes(&h->status_json));
    buf_add_str(&body, "# EOF\n");
    if (!buf_ok(&body) || !buf_ok(&h->core_json) || !buf_ok(&h->status_json)) {
        conn_refuse(c, 503, "out of memory", NULL, 5);
        return;
    }
    conn_answer(c, &(struct http_answer){.status = 200, .content_type = OPENMETRICS_TYPE, .body = buf_bytes(&body), .no_store = true});
}

static void health_answer(struct conn *c)
{
    const struct front *f = c->front;
    const struct health_request *h = &c->u.health;
    AUTO_BUF body = BUF_INIT(3 * JSON_MAX);
    bool alive = h->core_answered && h->status_answered;
    bool serving = f->config.complete && tls_is_ready(f->tls) && !f->stopping;
    bool ready = alive && h->core_ready && h->status_ready && serving;

    conn_wait_done(c, WAIT_CORE);
    conn_wait_done(c, WAIT_STATUS);
    if (h->metrics_asked) {
        metrics_answer(c);
        return;
    }
    buf_printf(&body,
               "{\"alive\":%s,\"ready\":%s,\"front\":{\"configured\":%s,\"tls\":%s,\"connections\":%zu,\"cached\":%zu}",
               json_bool(alive), json_bool(ready), json_bool(f->config.complete), json_bool(tls_is_ready(f->tls)),
               f->conn_n, ocsp_cache_count(f->cache));
    part_write(&body, "core", h->core_answered, &h->core_json);
    part_write(&body, "status", h->status_answered, &h->status_json);
    buf_add_str(&body, "}\n");
    if (!buf_ok(&body)) {
        conn_refuse(c, 503, "out of memory", NULL, 5);
        return;
    }
    conn_answer(c, &(struct http_answer){
                       .status = (h->ready_asked ? ready : alive) ? 200 : 503,
                       .content_type = "application/json",
                       .body = buf_bytes(&body),
                       .no_store = true,
                   });
}

static bool ask(struct conn *c, struct chan *link, uint16_t type)
{
    struct err e = {0};
    struct msg m;

    if (!link)
        return false;
    msg_begin(&m, type, c->rid);
    if (chan_send(link, &m, -1, &e) == E_OK)
        return true;
    log_failure("health-probe", &e);
    return false;
}

static void health_on_request(struct conn *c)
{
    unsigned links = 0;

    if (ask(c, c->front->core, c->u.health.metrics_asked ? SVC_METRICS : SVC_HEALTH))
        links |= WAIT_CORE;
    if (ask(c, c->front->status, c->u.health.metrics_asked ? STS_METRICS : STS_HEALTH))
        links |= WAIT_STATUS;
    if (!links) {
        health_answer(c);
        return;
    }
    conn_wait(c, links);
    conn_deadline_ms(c, PROBE_MS);
}

static void one_answered(struct conn *c, enum wait link)
{
    conn_wait_done(c, link);
    if (!c->waits)
        health_answer(c);
}

void health_on_core(struct conn *c, bool ready, struct bytes json)
{
    c->u.health.core_answered = true;
    c->u.health.core_ready = ready;
    buf_add_bytes(&c->u.health.core_json, json);
    one_answered(c, WAIT_CORE);
}

void health_on_status(struct conn *c, bool ready, struct bytes json)
{
    c->u.health.status_answered = true;
    c->u.health.status_ready = ready;
    buf_add_bytes(&c->u.health.status_json, json);
    one_answered(c, WAIT_STATUS);
}

void health_on_metrics(struct conn *c, enum wait link, int fd)
{
    struct health_request *h = &c->u.health;
    struct bytes text;
    struct err e = {0};

    if (fd >= 0 && fd_map(fd, OPENMETRICS_MAX, &text, &e) == E_OK) {
        buf_add_bytes(link == WAIT_CORE ? &h->core_json : &h->status_json, text);
        fd_unmap(text);
        *(link == WAIT_CORE ? &h->core_answered : &h->status_answered) = true;
    } else if (fd >= 0) {
        log_failure("metrics-failed", &e);
    }
    one_answered(c, link);
}

static void health_on_done(struct conn *c, int status)
{
    (void)status;
    buf_clear(&c->u.health.core_json);
    buf_clear(&c->u.health.status_json);
}

const struct service health_service = {
    .name = "health",
    .counted = SVC_LISTENER_HEALTH,
    .on_head = health_on_head,
    .on_request = health_on_request,
    .on_deadline = health_answer,
    .on_link_lost = one_answered,
    .on_done = health_on_done,
};
