/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The framing battery: what the reader accepts, and that everything by which two readers could disagree about the end of
 * a request is refused with its exact status. Each row is fed whole, octet by octet, and split at every boundary.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/auto.h"
#include "enroll/http.h"
#include "tests/lib/framing_cases.h"

#define TEXT_MAX 20000

/* What came out: "GET /a;GET /b;" for requests in order, "!400" for the refusal that ends it, "..." for unfinished. */
struct seen {
    char text[TEXT_MAX];
    size_t len;
};

static void see(struct seen *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void see(struct seen *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    s->len += (size_t)vsnprintf(s->text + s->len, sizeof s->text - s->len, fmt, ap);
    va_end(ap);
    assert_true(s->len < sizeof s->text);
}

static void see_request(struct seen *s, const struct http_request *q)
{
    static const char *const names[HTTP_METHODS] = {"OTHER", "GET", "HEAD", "POST"};

    see(s, "%s %.*s", names[q->method], (int)q->path.len, (const char *)q->path.p);
    if (q->body.len)
        see(s, " [%.*s]", (int)q->body.len, (const char *)q->body.p);
    if (!q->keep_alive)
        see(s, " close");
    if (q->expect_continue)
        see(s, " expect");
    see(s, ";");
}

/* false: the connection would be closed now. */
static bool feed_piece(struct http_reader *r, const uint8_t *p, size_t len, struct seen *s)
{
    bool again = true;

    while (len || again) {
        size_t used;
        enum http_event ev = http_feed(r, p, len, &used);

        p += used;
        len -= used;
        again = false;
        switch (ev) {
        case HTTP_EVENT_MORE:
            break;
        case HTTP_EVENT_HEAD:
            if (r->req.content_length > EST_BODY_MAX) {
                see(s, "!413");
                return false;
            }
            http_body_keep(r);
            again = true;
            break;
        case HTTP_EVENT_REQUEST: {
            bool keep = r->req.keep_alive;

            see_request(s, &r->req);
            http_reader_reset(r);
            if (!keep)
                return false;
            break;
        }
        case HTTP_EVENT_BAD:
            see(s, "!%d", r->status);
            return false;
        }
    }
    return true;
}

/* Feeds `in` in pieces cut at `cuts`. */
static void run(struct bytes in, const size_t *cuts, size_t cut_n, struct seen *s)
{
    struct http_reader r;
    size_t at = 0;
    bool open = true;

    s->len = 0;
    s->text[0] = '\0';
    http_reader_init(&r);
    for (size_t i = 0; open && i <= cut_n; i++) {
        size_t end = i < cut_n ? cuts[i] : in.len;

        if (end > at)
            open = feed_piece(&r, in.p + at, end - at, s);
        at = end > at ? end : at;
    }
    if (open && !http_reader_is_idle(&r))
        see(s, "...");
    http_reader_clear(&r);
}

static void check(const char *name, struct bytes in, const char *want)
{
    static struct seen whole, other;
    size_t *every = calloc(in.len + 1, sizeof *every);

    run(in, NULL, 0, &whole);
    if (strcmp(whole.text, want) != 0)
        fail_msg("%s: got \"%s\", want \"%s\"", name, whole.text, want);
    for (size_t i = 0; i < in.len; i++)
        every[i] = i + 1;
    run(in, every, in.len, &other);
    if (strcmp(other.text, want) != 0)
        fail_msg("%s, octet by octet: got \"%s\", want \"%s\"", name, other.text, want);
    for (size_t i = 1; i < in.len; i++) {
        run(in, &i, 1, &other);
        if (strcmp(other.text, want) != 0)
            fail_msg("%s, cut at %zu: got \"%s\", want \"%s\"", name, i, other.text, want);
    }
    free(every);
}

#define H   "Host: h\r\n"
#define END "\r\n"
#define G   "GET / HTTP/1.1\r\n"
#define P   "POST /p HTTP/1.1\r\n" H

static void framing_battery(void **state)
{
    (void)state;
    assert_true(ARRAY_LEN(framing_cases) >= 120);
    for (size_t i = 0; i < ARRAY_LEN(framing_cases); i++)
        check(framing_cases[i].name, BYTES(framing_cases[i].in, framing_cases[i].len ? framing_cases[i].len : strlen(framing_cases[i].in)), framing_cases[i].want);
    check("length above the limit", bytes_str("POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 32769\r\n\r\nGET "), "!413");
}

/* One octet below and above each limit. */
static void limits_are_exact(void **state)
{
    AUTO_BUF in = BUF_INIT(TEXT_MAX * 4);
    static struct seen s;
    const size_t fixed = strlen("GET  HTTP/1.1");

    (void)state;
    for (size_t over = 0; over < 2; over++) {
        buf_reset(&in);
        buf_add_str(&in, "GET /");
        for (size_t i = 1; i < HTTP_REQUEST_LINE_MAX - fixed + over; i++)
            buf_add_u8(&in, 'a');
        buf_add_str(&in, " HTTP/1.1\r\nHost: h\r\n\r\n");
        run(buf_bytes(&in), NULL, 0, &s);
        assert_int_equal(strcmp(s.text, "!414") == 0, over);

        buf_reset(&in);
        buf_add_str(&in, G H "X: ");
        while (in.len < strlen(G) + HTTP_HEADERS_MAX - 2 + over)
            buf_add_u8(&in, 'a');
        buf_add_str(&in, "\r\n\r\n");
        run(buf_bytes(&in), NULL, 0, &s);
        assert_string_equal(s.text, over ? "!431" : "GET /;");

        buf_reset(&in);
        buf_add_str(&in, G H);
        for (size_t i = 1; i < HTTP_HEADER_COUNT_MAX + over; i++)
            buf_add_str(&in, "X: y\r\n");
        buf_add_str(&in, END);
        run(buf_bytes(&in), NULL, 0, &s);
        assert_string_equal(s.text, over ? "!431" : "GET /;");
    }
    assert_true(buf_ok(&in));
}

/* A line without end is refused while it comes, not when it ends. */
static void endless_lines_stop_at_the_limit(void **state)
{
    struct http_reader r;
    size_t used, fed = 0;

    (void)state;
    http_reader_init(&r);
    while (http_feed(&r, (const uint8_t *)"G", 1, &used) == HTTP_EVENT_MORE)
        assert_true(++fed <= HTTP_REQUEST_LINE_MAX);
    assert_int_equal(r.status, 414);
    assert_true(r.head_cap <= 2 * HTTP_REQUEST_LINE_MAX);
    assert_int_equal(http_feed(&r, (const uint8_t *)G H END, strlen(G H END), &used), HTTP_EVENT_BAD);
    http_reader_clear(&r);
}

static void skipped_body_is_not_kept(void **state)
{
    static const char in[] = P "Content-Length: 3\r\n\r\nabcGET";
    struct http_reader r;
    size_t used, at;

    (void)state;
    http_reader_init(&r);
    assert_int_equal(http_feed(&r, (const uint8_t *)in, sizeof in - 1, &used), HTTP_EVENT_HEAD);
    http_body_skip(&r);
    at = used;
    assert_int_equal(http_feed(&r, (const uint8_t *)in + at, sizeof in - 1 - at, &used), HTTP_EVENT_REQUEST);
    assert_int_equal(used, 3);
    assert_int_equal(r.req.body.len, 0);
    http_reader_clear(&r);
}

static void paths_are_decoded_once_and_exactly(void **state)
{
    static const struct {
        const char *name, *raw, *want; /* NULL: refused */
    } cases[] = {
        {"plain", "/a/b", "/a/b"},
        {"escaped letter", "/cacert%73", "/cacerts"},
        {"escaped twice stays escaped", "/%2541", "/%41"},
        {"tilde", "/%7euser", "/~user"},
        {"escaped slash", "/a%2fb", NULL},
        {"escaped slash, capital", "/a%2Fb", NULL},
        {"escaped NUL", "/a%00", NULL},
        {"escaped LF", "/a%0a", NULL},
        {"escaped DEL", "/a%7f", NULL},
        {"cut escape", "/a%4", NULL},
        {"lone percent", "/a%", NULL},
        {"broken escape", "/a%zz", NULL},
        {"dot-dot", "/a/../b", NULL},
        {"dot-dot at the end", "/a/..", NULL},
        {"escaped dot-dot", "/a/%2e%2e/b", NULL},
        {"dot", "/a/./b", NULL},
        {"three dots are a name", "/a/.../b", "/a/.../b"},
        {"hidden name", "/.well-known/est", "/.well-known/est"},
    };
    char out[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool ok = http_path_decode(bytes_str(cases[i].raw), out, sizeof out);

        if (ok != (cases[i].want != NULL) || (ok && strcmp(out, cases[i].want) != 0))
            fail_msg("%s: %s", cases[i].name, ok ? out : "refused");
    }
    assert_true(http_path_decode(bytes_str("/123456"), out, 8));
    assert_false(http_path_decode(bytes_str("/1234567"), out, 8));
}

static void media_types_compare_as_tokens(void **state)
{
    (void)state;
    assert_true(http_media_type_is(bytes_str("application/pkcs10"), "application/pkcs10"));
    assert_true(http_media_type_is(bytes_str("Application/PKCS10"), "application/pkcs10"));
    assert_true(http_media_type_is(bytes_str("application/pkcs10 ; charset=x"), "application/pkcs10"));
    assert_false(http_media_type_is(bytes_str("application/pkcs10x"), "application/pkcs10"));
    assert_false(http_media_type_is(bytes_str("application/pkcs1"), "application/pkcs10"));
    assert_false(http_media_type_is(bytes_str("application/pkcs10, text/plain"), "application/pkcs10"));
    assert_false(http_media_type_is((struct bytes){NULL, 0}, "application/pkcs10"));
}

static void etags_compare_weakly_and_whole(void **state)
{
    (void)state;
    assert_true(http_etag_matches(bytes_str("\"ab\""), "\"ab\""));
    assert_true(http_etag_matches(bytes_str("W/\"ab\""), "\"ab\""));
    assert_true(http_etag_matches(bytes_str("\"x\", \"ab\""), "\"ab\""));
    assert_true(http_etag_matches(bytes_str("*"), "\"ab\""));
    assert_false(http_etag_matches(bytes_str("\"a\""), "\"ab\""));
    assert_false(http_etag_matches(bytes_str("\"abc\""), "\"ab\""));
    assert_false(http_etag_matches(bytes_str("ab"), "\"ab\""));
    assert_false(http_etag_matches(bytes_str(""), "\"ab\""));
}

static void dates_round_trip(void **state)
{
    char out[HTTP_DATE_LEN];
    time_t t;

    (void)state;
    http_date_format(784111777, out);
    assert_string_equal(out, "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_true(http_date_parse(bytes_str(out), &t));
    assert_int_equal(t, 784111777);
    http_date_format(253402300799, out);
    assert_string_equal(out, "Fri, 31 Dec 9999 23:59:59 GMT");
    assert_false(http_date_parse(bytes_str("Mon, 06 Nov 1994 08:49:37 GMT"), &t)); /* was a Sunday */
    assert_false(http_date_parse(bytes_str("Sun, 31 Feb 1994 08:49:37 GMT"), &t));
    assert_false(http_date_parse(bytes_str("Sunday, 06-Nov-94 08:49:37 GMT"), &t));
    assert_false(http_date_parse(bytes_str("Sun Nov  6 08:49:37 1994"), &t));
    assert_false(http_date_parse(bytes_str(""), &t));
}

static void answer_heads_carry_what_clients_need(void **state)
{
    AUTO_BUF out = BUF_INIT(4096);

    (void)state;
    http_answer_head(&out, &(struct http_answer){.status = 200, .content_type = "a/b", .body = bytes_str("xyz")}, true,
                     784111777);
    buf_add_u8(&out, 0);
    assert_string_equal((char *)out.p, "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: a/b\r\n"
                                       "Content-Length: 3\r\nConnection: keep-alive\r\n\r\n");
    buf_reset(&out);
    http_answer_head(&out, &(struct http_answer){.status = 202, .retry_after_s = 7}, false, 784111777);
    buf_add_u8(&out, 0);
    assert_non_null(strstr((char *)out.p, "Content-Length: 0\r\nRetry-After: 7\r\nConnection: close\r\n\r\n"));
    buf_reset(&out);
    http_answer_head(&out, &(struct http_answer){.status = 204}, true, 784111777);
    buf_add_u8(&out, 0);
    assert_null(strstr((char *)out.p, "Content-Length"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(framing_battery),
        cmocka_unit_test(limits_are_exact),
        cmocka_unit_test(endless_lines_stop_at_the_limit),
        cmocka_unit_test(skipped_body_is_not_kept),
        cmocka_unit_test(paths_are_decoded_once_and_exactly),
        cmocka_unit_test(media_types_compare_as_tokens),
        cmocka_unit_test(etags_compare_weakly_and_whole),
        cmocka_unit_test(dates_round_trip),
        cmocka_unit_test(answer_heads_carry_what_clients_need),
    };

    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
