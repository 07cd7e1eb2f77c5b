/* SPDX-License-Identifier: Apache-2.0 */
/* OCSP over HTTP (RFC 6960 appendix A, RFC 9919 sections 6 and 7), and the plain listener that carries it and the files. */
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "enroll/front_int.h"
#include "enroll/ocsp_get.h"

#define OCSP_PATH       "/ocsp"
#define OCSP_TYPE       "application/ocsp-response"
#define MAX_AGE_OUTAGE  30 /* seconds a still valid answer is passed on while no fresh one can be had */

#define GET_OR_HEAD (HTTP_METHOD_BIT(HTTP_GET) | HTTP_METHOD_BIT(HTTP_HEAD))
#define ANY_OF_3    (GET_OR_HEAD | HTTP_METHOD_BIT(HTTP_POST))

/* OCSPResponse { responseStatus }: SEQUENCE { ENUMERATED n } (RFC 6960 4.2.1) */
static const uint8_t malformed_request[] = {0x30, 0x03, 0x0a, 0x01, 0x01};
static const uint8_t internal_error[] = {0x30, 0x03, 0x0a, 0x01, 0x02};
static const uint8_t try_later[] = {0x30, 0x03, 0x0a, 0x01, 0x03};

static bool refuse(struct refusal *no, int status, const char *text, const char *headers)
{
    *no = (struct refusal){.status = status, .text = text, .headers = headers};
    return false;
}

/* The raw path after the fixed prefix: "/ocsp", "/ocsp/..." */
static bool is_ocsp_path(struct bytes path, struct bytes *rest)
{
    const size_t n = strlen(OCSP_PATH);

    if (path.len < n || memcmp(path.p, OCSP_PATH, n) != 0 || (path.len > n && path.p[n] != '/'))
        return false;
    *rest = BYTES(path.p + n, path.len - n);
    return true;
}

bool ocsp_on_head(struct conn *c, size_t *body_max, struct refusal *no)
{
    const struct http_request *q = &c->reader.req;

    c->u.ocsp.is_ocsp = true;
    if (!(ANY_OF_3 & HTTP_METHOD_BIT(q->method)))
        return refuse(no, 405, "this resource does not take that method", "Allow: GET, HEAD, POST\r\n");
    if (q->method == HTTP_POST && !http_media_type_is(q->content_type, "application/ocsp-request"))
        return refuse(no, 415, "the request body must be application/ocsp-request", NULL);
    *body_max = q->method == HTTP_POST ? OCSP_REQUEST_MAX : 0;
    return true;
}

/* Unsigned: nothing that a cache may keep. Travels in HTTP 200. */
static void answer_error(struct conn *c, struct bytes der)
{
    conn_answer(c, &(struct http_answer){.status = 200, .content_type = OCSP_TYPE, .body = der, .no_store = true});
}

/* Signed, but about this moment or this nonce only. */
static void answer_private(struct conn *c, struct bytes der)
{
    conn_answer(c, &(struct http_answer){
                       .status = 200,
                       .content_type = OCSP_TYPE,
                       .body = der,
                       .headers = "Cache-Control: max-age=0, private, must-revalidate\r\n",
                   });
}

static bool is_unchanged(const struct http_request *q, const char *etag, int64_t last_modified)
{
    time_t since;

    if (q->method == HTTP_POST)
        return false;
    if (q->if_none_match.p)
        return http_etag_matches(q->if_none_match, etag);
    return q->if_modified_since.p && http_date_parse(q->if_modified_since, &since) && last_modified <= since;
}

static void answer_cacheable(struct conn *c, const struct ocsp_cached *a, int64_t max_age)
{
    uint8_t room[512];
    struct buf headers = {.p = room, .cap = sizeof room, .max = sizeof room};
    struct http_answer out = {.status = 200, .content_type = OCSP_TYPE, .body = a->response};

    buf_add_str(&headers, a->head->lines);
    buf_add_str(&headers, "Cache-Control: max-age=");
    buf_add_dec(&headers, (uint64_t)max_age);
    buf_add_str(&headers, ", public, no-transform, must-revalidate\r\n");
    buf_add_u8(&headers, '\0');
    if (!buf_ok(&headers)) {
        answer_error(c, BYTES_OF(try_later));
        return;
    }
    out.headers = (const char *)headers.p;
    if (is_unchanged(&c->reader.req, a->head->etag, a->produced_at)) {
        out.status = 304;
        out.content_type = NULL;
        out.body = (struct bytes){NULL, 0};
    }
    conn_answer(c, &out);
}

/* Seconds a cache may keep the answer from now; ends before nextUpdate. At most 0: a fresh one is due. */
static int64_t max_age_left(const struct ocsp_cached *a, time_t now)
{
    int64_t by_age = a->fresh_until - (int64_t)now;
    int64_t by_end = a->next_update - (int64_t)now - 1;

    return by_age < by_end ? by_age : by_end;
}

/* While no fresh answer can be had, one that is still valid goes out with a short life. */
static bool answer_from_cache_in_outage(struct conn *c)
{
    struct ocsp_cached a;
    int64_t left;

    if (!ocsp_cache_get(c->front->cache, c->u.ocsp.key, &a))
        return false;
    left = a.next_update - (int64_t)clock_now() - 1;
    if (left < 0)
        return false;
    c->front->counts.ocsp_kept++;
    answer_cacheable(c, &a, left < MAX_AGE_OUTAGE ? left : MAX_AGE_OUTAGE);
    return true;
}

void ocsp_answer_without_status(struct conn *c)
{
    if (!answer_from_cache_in_outage(c))
        answer_error(c, BYTES_OF(try_later));
}

void ocsp_on_result(struct conn *c, const struct sts_ocsp_result *r)
{
    time_t now = clock_now();
    struct ocsp_head head;
    struct ocsp_cached a = {
        .response = r->response,
        .head = &head,
        .produced_at = r->produced_at,
        .next_update = r->next_update,
        .fresh_until = (int64_t)now + (int64_t)r->max_age_s,
    };
    int64_t left = max_age_left(&a, now);

    conn_wait_done(c, WAIT_STATUS);
    if (r->is_error) {
        if ((bytes_equal(r->response, BYTES_OF(try_later)) || bytes_equal(r->response, BYTES_OF(internal_error))) &&
            answer_from_cache_in_outage(c))
            return;
        answer_error(c, r->response);
    } else if (r->cacheable && left > 0) {
        if (!c->front->in_step)
            answer_private(c, r->response); /* nobody would purge it: a change may be in force before the core knows of us */
        else if (!ocsp_cache_put(c->front->cache, c->u.ocsp.key, r, now) && r->seq < ocsp_cache_mark(c->front->cache))
            answer_private(c, r->response); /* a newer status is known to exist */
        else {
            ocsp_head_write(&head, r->response, r->produced_at, r->next_update);
            answer_cacheable(c, &a, left);
        }
    } else {
        answer_private(c, r->response);
    }
}

static void ask_status(struct conn *c, struct bytes request)
{
    struct err e = {0};
    struct msg m;

    if (!front_status_has_room(c->front)) {
        ocsp_answer_without_status(c);
        return;
    }
    msg_begin(&m, STS_OCSP, c->rid);
    msg_put_bytes(&m, request);
    if (chan_send(c->front->status, &m, -1, &e) != E_OK) {
        log_failure("status-link", &e);
        ocsp_answer_without_status(c);
        return;
    }
    conn_wait(c, WAIT_STATUS);
}

void ocsp_on_request(struct conn *c)
{
    const struct http_request *q = &c->reader.req;
    AUTO_BUF decoded = BUF_INIT(OCSP_REQUEST_MAX);
    struct bytes request = q->body, rest = {NULL, 0};
    struct ocsp_cached a;
    int64_t left;

    if (q->method != HTTP_POST) {
        if (!is_ocsp_path(q->path, &rest) || !ocsp_get_decode(rest, &decoded)) {
            answer_error(c, BYTES_OF(malformed_request));
            return;
        }
        request = buf_bytes(&decoded);
    }
    if (request.len == 0) {
        answer_error(c, BYTES_OF(malformed_request));
        return;
    }
    sha256(request, c->u.ocsp.key);
    if (ocsp_cache_get(c->front->cache, c->u.ocsp.key, &a)) {
        left = max_age_left(&a, clock_now());
        if (left > 0) {
            c->front->counts.ocsp_kept++;
            answer_cacheable(c, &a, left);
            return;
        }
    }
    ask_status(c, request);
}

/* ---- the plain listener ------------------------------------------------------------------------------------------ */

static bool public_on_head(struct conn *c, size_t *body_max, struct refusal *no)
{
    const struct http_request *q = &c->reader.req;
    struct bytes rest;
    char path[512];

    if (is_ocsp_path(q->path, &rest))
        return ocsp_on_head(c, body_max, no);
    if (!http_path_decode(q->path, path, sizeof path)) {
        front_count(c->front, SVC_REFUSED_NO_ROUTE);
        return refuse(no, 400, "the path is malformed", NULL);
    }
    if (!file_exists(c->front->config.files, path)) {
        if (!c->front->config.complete)
            return refuse(no, 503, "starting", NULL);
        front_count(c->front, SVC_REFUSED_NO_ROUTE);
        return refuse(no, 404, "no such resource", NULL);
    }
    if (!(GET_OR_HEAD & HTTP_METHOD_BIT(q->method)))
        return refuse(no, 405, "this resource does not take that method", "Allow: GET, HEAD\r\n");
    *body_max = 0;
    return true;
}

static void public_on_request(struct conn *c)
{
    char path[512];

    if (c->u.ocsp.is_ocsp)
        ocsp_on_request(c);
    else if (http_path_decode(c->reader.req.path, path, sizeof path))
        file_answer(c, c->front->config.files, path);
    else
        conn_refuse(c, 400, "the path is malformed", NULL, 0);
}

static void public_on_deadline(struct conn *c)
{
    conn_wait_done(c, WAIT_STATUS);
    ocsp_answer_without_status(c);
}

static void public_on_link_lost(struct conn *c, enum wait link)
{
    conn_wait_done(c, link);
    ocsp_answer_without_status(c);
}

static void public_on_done(struct conn *c, int status)
{
    struct log_line l;
    char rid[17];

    if (!log_wants(LOG_DEBUG))
        return;
    rid_format(c->rid, rid);
    log_begin(&l, LOG_DEBUG, c->u.ocsp.is_ocsp ? "ocsp-request" : "file-request");
    log_str(&l, "rid", rid);
    log_bytes(&l, "path", c->u.ocsp.is_ocsp ? bytes_str(OCSP_PATH) : c->reader.req.path);
    log_i64(&l, "status", status);
    log_i64(&l, "ms", clock_mono_ms() - c->started_ms);
    log_str(&l, "peer", c->peer_text);
    log_end(&l);
}

const struct service public_service = {
    .name = "ocsp",
    .counted = SVC_LISTENER_PUBLIC,
    .limited = true,
    .on_head = public_on_head,
    .on_request = public_on_request,
    .on_deadline = public_on_deadline,
    .on_link_lost = public_on_link_lost,
    .on_done = public_on_done,
};
