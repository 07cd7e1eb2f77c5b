/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP reader. The input is read whole and once more in pieces whose sizes its first octet decides; both must agree on
 * every request and on the refusal. The helpers that read parts of a request follow on what came out.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "enroll/basic.h"
#include "enroll/http.h"
#include "enroll/ocsp_get.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    unsigned requests, status;
    uint64_t digest;
};

static void mix(struct outcome *o, struct bytes s)
{
    for (size_t i = 0; i < s.len; i++)
        o->digest = (o->digest ^ s.p[i]) * 1099511628211u;
    o->digest = (o->digest ^ s.len) * 1099511628211u;
}

static void use_parts(const struct http_request *q, struct outcome *o)
{
    struct buf der = BUF_INIT(OCSP_REQUEST_MAX);
    struct secret password = {0};
    char path[256], user[129];
    time_t t;

    if (http_path_decode(q->path, path, sizeof path) && (path[0] != '/' || strstr(path, "/../")))
        abort();
    if (basic_read(q->authorization, user, sizeof user, &password) != BASIC_OK && password.p)
        abort();
    secret_clear(&password);
    (void)ocsp_get_decode(q->path, &der);
    buf_clear(&der);
    (void)http_media_type_is(q->content_type, "application/pkcs10");
    (void)http_etag_matches(q->if_none_match, "\"e\"");
    (void)http_date_parse(q->if_modified_since, &t);
    mix(o, q->path);
    mix(o, q->query);
    mix(o, q->authorization);
    mix(o, q->body);
    o->requests++;
}

/* false: the connection would be closed. */
static bool feed(struct http_reader *r, const uint8_t *p, size_t len, struct outcome *o)
{
    bool again = true;

    while (len || again) {
        size_t used;
        enum http_event ev = http_feed(r, p, len, &used);

        if (used > len)
            abort();
        p += used;
        len -= used;
        again = false;
        if (ev == HTTP_EVENT_BAD) {
            if (r->status < 400 || r->status > 599 || !r->reason)
                abort();
            o->status = (unsigned)r->status;
            return false;
        }
        if (ev == HTTP_EVENT_HEAD) {
            if (r->req.content_length > EST_BODY_MAX)
                return false;
            if (r->req.content_length % 2)
                http_body_skip(r);
            else
                http_body_keep(r);
            again = true;
        } else if (ev == HTTP_EVENT_REQUEST) {
            bool keep = r->req.keep_alive;

            if (r->req.path.len == 0 || r->req.path.p[0] != '/')
                abort();
            use_parts(&r->req, o);
            http_reader_reset(r);
            if (!keep)
                return false;
        }
    }
    return true;
}

static struct outcome run(const uint8_t *data, size_t size, size_t piece)
{
    struct outcome o = {0};
    struct http_reader r;

    http_reader_init(&r);
    for (size_t at = 0; at < size; at += piece)
        if (!feed(&r, data + at, size - at < piece ? size - at : piece, &o))
            break;
    http_reader_clear(&r);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole, pieces;

    if (size == 0)
        return 0;
    whole = run(data, size, size);
    pieces = run(data, size, 1 + data[size - 1] % 7);
    if (whole.requests != pieces.requests || whole.status != pieces.status || whole.digest != pieces.digest)
        abort();
    return 0;
}
