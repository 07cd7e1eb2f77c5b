/* SPDX-License-Identifier: Apache-2.0 */
/* The revocation feed over HTTP (docs/access.md): the status process writes and signs it; here it is passed on. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/feed.h"
#include "enroll/front_int.h"
#include "enroll/question.h"

#define SNAPSHOT_MAX   ((size_t)8 << 30)
#define ANSWER_GRACE_S 5

static bool number_of(const struct conn *c, const char *name, uint64_t max, uint64_t absent, uint64_t *out)
{
    char text[24];
    uint64_t v = 0;

    if (!query_value(c->reader.req.query, name, text, sizeof text))
        return false;
    if (!text[0]) {
        *out = absent;
        return true;
    }
    for (const char *s = text; *s; s++) {
        if (*s < '0' || *s > '9' || v > (max - (uint64_t)(*s - '0')) / 10)
            return false;
        v = v * 10 + (uint64_t)(*s - '0');
    }
    *out = v;
    return true;
}

/* What the gateway says of its servers, if it does: checked here, read where it is kept. */
static bool servers_of(const struct conn *c, char out[FEED_SERVERS_TEXT_MAX + 1])
{
    struct feed_server read[FEED_SERVERS_MAX];
    size_t n;

    return query_value(c->reader.req.query, "applied", out, FEED_SERVERS_TEXT_MAX + 1) && feed_servers_read(bytes_str(out), read, &n);
}

void feed_on_request(struct conn *c)
{
    bool changes = c->u.est.access.route == ACCESS_CHANGES;
    AUTO_MSG m = {BUF_INIT(0)};
    struct sts_caller caller;
    uint64_t after = 0, wait_s = 0;
    char servers[FEED_SERVERS_TEXT_MAX + 1] = "";

    if (changes && (!number_of(c, "after", INT64_MAX, 0, &after) || !number_of(c, "wait", FEED_WAIT_MAX_S, 0, &wait_s))) {
        conn_refuse(c, 400, "after is a number, wait one of at most 30", NULL, 0);
        return;
    }
    if (changes && !servers_of(c, servers)) {
        conn_refuse(c, 400, "applied is NAME/ROW/TIME for each of at most 16 servers", NULL, 0);
        return;
    }
    access_caller(c, &caller);
    msg_begin(&m, changes ? STS_CHANGES : STS_SNAPSHOT, c->rid);
    sts_caller_put(&m, &caller);
    if (changes) {
        msg_put_u64(&m, after);
        msg_put_u32(&m, (uint32_t)wait_s);
        msg_put_bytes(&m, bytes_str(servers));
    }
    access_ask(c, &m);
    conn_deadline_ms(c, changes ? (int64_t)(wait_s + ANSWER_GRACE_S) * 1000 : (int64_t)REQUEST_DEADLINE_S * 4 * 1000);
}

void feed_on_changes(struct conn *c, enum err_code code, struct bytes jws)
{
    conn_wait_done(c, WAIT_STATUS);
    if (code != E_OK)
        access_refuse_code(c, code);
    else
        conn_answer(c, &(struct http_answer){.status = 200, .content_type = "application/jose", .body = jws, .no_store = true});
}

static void release(const void *p, size_t len, void *arg)
{
    struct bytes *mapped = arg;

    (void)p;
    (void)len;
    fd_unmap(*mapped);
    free(mapped);
}

void feed_on_snapshot(struct conn *c, enum err_code code, const char *etag, int fd)
{
    char headers[256];
    struct bytes *text;
    struct err e = {0};

    conn_wait_done(c, WAIT_STATUS);
    if (code != E_OK) {
        access_refuse_code(c, code);
        return;
    }
    snprintf(headers, sizeof headers, "ETag: %s\r\n", etag);
    if (c->reader.req.if_none_match.p && http_etag_matches(c->reader.req.if_none_match, etag)) {
        conn_answer(c, &(struct http_answer){.status = 304, .headers = headers});
        return;
    }
    text = calloc(1, sizeof *text);
    if (!text || fd_map(fd, SNAPSHOT_MAX, text, &e) != E_OK) {
        if (e.code != E_OK)
            log_failure("feed-snapshot", &e);
        free(text);
        access_refuse_for_now(c);
        return;
    }
    conn_answer_shared(c, &(struct http_answer){.status = 200, .content_type = "text/plain; charset=utf-8", .body = *text, .headers = headers},
                       release, text);
}
