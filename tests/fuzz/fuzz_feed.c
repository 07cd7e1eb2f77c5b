/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The revocation feed as a gate reads it. What a signature would keep away reaches the readers here: lines, the JWS form, and
 * changes applied to a table made from the input's own lines.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/feed.h"
#include "enroll/gate/gate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A line that reads is written again as it was. */
static void lines(struct bytes in)
{
    while (in.len) {
        const uint8_t *lf = memchr(in.p, '\n', in.len);
        struct bytes line = lf ? BYTES(in.p, (size_t)(lf - in.p)) : in;
        struct buf again = BUF_INIT(16 * FEED_LINE_MAX);
        static const struct conf_audience audience = {.scopes = ~0u, .stale_hard_s = 1};
        struct feed_cert c;
        struct err e = {0};

        if (feed_cert_read(line, &c, &e) == E_OK) {
            (void)rule_refuses(&audience, &c, 0);
            c.domain = c.device_id = c.firmware = c.product = c.reason = c.state = c.scope = (struct bytes){NULL, 0};
            feed_cert_write(&again, &c);
            if (feed_cert_read(buf_bytes(&again), &c, &e) != E_OK)
                abort();
        }
        buf_clear(&again);
        in = lf ? BYTES(lf + 1, in.len - line.len - 1) : (struct bytes){NULL, 0};
    }
}

static void jws(struct bytes in)
{
    struct feed_jws j;
    struct err e = {0};
    struct buf payload = BUF_INIT(FEED_JWS_MAX);

    if (feed_jws_read(in, FEED_CHANGES_TYP, &j, &e) == E_OK && jws_payload(&j.jws, &payload, &e) == E_OK && payload.len > in.len)
        abort();
    feed_jws_clear(&j);
    buf_clear(&payload);
}

/* What a gateway says of its servers is written again as it was. */
static void servers(struct bytes in)
{
    struct feed_server v[FEED_SERVERS_MAX];
    struct buf again = BUF_INIT(FEED_SERVERS_TEXT_MAX);
    size_t n;

    if (feed_servers_read(in, v, &n)) {
        feed_servers_write(&again, v, n);
        if (!bytes_equal(buf_bytes(&again), in))
            abort();
    }
    buf_clear(&again);
}

/* HEAD LF LINES: the head's digest and count are made right, so that the lines are reached. LF LF, then changes. */
static void table(struct bytes in)
{
    const uint8_t *lf = in.len ? memchr(in.p, '\n', in.len) : NULL;
    const uint8_t *two = in.len ? memmem(in.p, in.len, "\n\n", 2) : NULL;
    struct buf text = BUF_INIT(1 << 20), head = BUF_INIT(1 << 20);
    struct bytes rest;
    uint8_t hash[32];
    char hex[65];
    struct table *t = NULL;
    struct err e = {0};
    size_t count = 0;

    if (!lf || !two || two < lf)
        return;
    rest = BYTES(lf + 1, (size_t)(two - lf));
    sha256(rest, hash);
    hex_encode(hash, 32, hex);
    for (size_t i = 0; i < rest.len; i++)
        count += rest.p[i] == '\n';
    buf_add(&head, in.p, (size_t)(lf - in.p)); /* up to ..."count": */
    buf_printf(&head, "%zu,\"sha256\":\"%s\"}", count, hex);
    buf_add_str(&text, "x\n");
    buf_add_bytes(&text, rest);
    if (table_new(&text, buf_bytes(&head), &t, &e) == E_OK) {
        struct feed_cert c;

        (void)!table_apply(t, BYTES(two + 2, in.len - (size_t)(two + 2 - in.p)), &e);
        for (size_t i = 0; i < table_change_count(t); i++)
            if (!table_change_line(t, i, &c) || !table_find(t, c.issuer, BYTES(c.serial, c.serial_len), &c))
                abort();
        for (size_t i = 0; i < table_base_count(t); i++)
            if (!table_base_line(t, i, &c) || !table_find(t, c.issuer, BYTES(c.serial, c.serial_len), &c))
                abort();
    }
    table_unref(t);
    buf_clear(&text);
    buf_clear(&head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = BYTES(data, size);

    lines(in);
    jws(in);
    servers(in);
    table(in);
    return 0;
}
