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
#define N   "GET /next HTTP/1.1\r\n" H END /* a second request that must not be seen after a refusal */

static const struct {
    const char *name;
    const char *in;
    size_t len; /* 0: strlen */
    const char *want;
} rows[] = {
    /* accepted, each with refused neighbours below */
    {"plain GET", G H END, 0, "GET /;"},
    {"query is cut off", "GET /a?b=c HTTP/1.1\r\n" H END, 0, "GET /a;"},
    {"HEAD", "HEAD /a HTTP/1.1\r\n" H END, 0, "HEAD /a;"},
    {"POST with body", P "Content-Length: 3\r\n\r\nabc", 0, "POST /p [abc];"},
    {"POST with empty body", P "Content-Length: 0\r\n\r\n", 0, "POST /p;"},
    {"leading zeros of a length are digits", P "Content-Length: 0003\r\n\r\nabc", 0, "POST /p [abc];"},
    {"two requests in a row", G H END N, 0, "GET /;GET /next;"},
    {"body, then the next request", P "Content-Length: 3\r\n\r\nabc" N, 0, "POST /p [abc];GET /next;"},
    {"one empty line before a request", "\r\n" G H END, 0, "GET /;"},
    {"empty line after a body", P "Content-Length: 3\r\n\r\nabc\r\n" N, 0, "POST /p [abc];GET /next;"},
    {"HTTP/1.0 without Host closes", "GET / HTTP/1.0\r\n\r\n", 0, "GET / close;"},
    {"HTTP/1.0 with keep-alive stays", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" N, 0, "GET /;GET /next;"},
    {"HTTP/1.0 keep-alive in capitals", "GET / HTTP/1.0\r\nCONNECTION: Keep-Alive\r\n\r\n", 0, "GET /;"},
    {"Connection: close", G H "Connection: close\r\n\r\n" N, 0, "GET / close;"},
    {"close in a list", G H "Connection: foo, close\r\n\r\n", 0, "GET / close;"},
    {"close wins over keep-alive", G H "Connection: keep-alive, close\r\n\r\n", 0, "GET / close;"},
    {"Expect: 100-continue", P "Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx", 0, "POST /p [x] expect;"},
    {"Expect without a body waits for nothing", P "Expect: 100-Continue\r\nContent-Length: 0\r\n\r\n", 0, "POST /p;"},
    {"HTTP/1.0 ignores Expect", "POST /p HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", 0, "POST /p [x] close;"},
    {"blanks around a value", G "Host:  \t h \t \r\n\r\n", 0, "GET /;"},
    {"no blank after the colon", G "Host:h\r\n\r\n", 0, "GET /;"},
    {"empty value of a field we do not read", G H "X-Empty:\r\n\r\n", 0, "GET /;"},
    {"tab inside a value", G H "X: a\tb\r\n\r\n", 0, "GET /;"},
    {"octets above 127 in a value", G H "X: \xc3\xa9\r\n\r\n", 0, "GET /;"},
    {"Host with port", G "Host: h.example:8443\r\n\r\n", 0, "GET /;"},
    {"Host with IPv6 address", G "Host: [::1]:8443\r\n\r\n", 0, "GET /;"},
    {"unknown method is for the routes to refuse", "PATCH /a HTTP/1.1\r\n" H END, 0, "OTHER /a;"},
    {"method is case-sensitive", "get / HTTP/1.1\r\n" H END, 0, "OTHER /;"},
    {"unfinished head", G H, 0, "..."},
    {"unfinished body", P "Content-Length: 4\r\n\r\nabc", 0, "..."},
    {"GET with a length of zero", G H "Content-Length: 0\r\n\r\n", 0, "GET /;"},

    /* line ends */
    {"bare LF after the request line", "GET / HTTP/1.1\n" H END N, 0, "!400"},
    {"bare LF after a field", G "Host: h\n\r\n" N, 0, "!400"},
    {"bare LF as the last line", G H "\n" N, 0, "!400"},
    {"CR without LF in the request line", "GET /\rx HTTP/1.1\r\n" H END, 0, "!400"},
    {"CR without LF in a value", G "Host: h\rX: y\r\n\r\n" N, 0, "!400"},
    {"CR CR LF", G "Host: h\r\r\n\r\n", 0, "!400"},
    {"LF first", "\n" G H END, 0, "!400"},
    {"two empty lines first", "\r\n\r\n" G H END, 0, "!400"},

    /* request line */
    {"HTTP/0.9", "GET /\r\n", 0, "!400"},
    {"HTTP/2.0", "GET / HTTP/2.0\r\n" H END, 0, "!400"},
    {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, "!400"},
    {"HTTP/1.2", "GET / HTTP/1.2\r\n" H END, 0, "!400"},
    {"HTTP/1.10", "GET / HTTP/1.10\r\n" H END, 0, "!400"},
    {"HTTP/01.1", "GET / HTTP/01.1\r\n" H END, 0, "!400"},
    {"lower-case protocol", "GET / http/1.1\r\n" H END, 0, "!400"},
    {"two blanks before the target", "GET  / HTTP/1.1\r\n" H END, 0, "!400"},
    {"two blanks after the target", "GET /  HTTP/1.1\r\n" H END, 0, "!400"},
    {"blank at the end", "GET / HTTP/1.1 \r\n" H END, 0, "!400"},
    {"blank first", " GET / HTTP/1.1\r\n" H END, 0, "!400"},
    {"tab as separator", "GET\t/ HTTP/1.1\r\n" H END, 0, "!400"},
    {"no target", "GET HTTP/1.1\r\n" H END, 0, "!400"},
    {"absolute form", "GET http://h/ HTTP/1.1\r\n" H END N, 0, "!400"},
    {"asterisk form", "OPTIONS * HTTP/1.1\r\n" H END, 0, "!400"},
    {"authority form", "CONNECT h:443 HTTP/1.1\r\n" H END, 0, "!400"},
    {"fragment", "GET /a#b HTTP/1.1\r\n" H END, 0, "!400"},
    {"NUL in the target", "GET /\0 HTTP/1.1\r\n" H END, sizeof("GET /\0 HTTP/1.1\r\n" H END) - 1, "!400"},
    {"octet above 127 in the target", "GET /\xc3\xa9 HTTP/1.1\r\n" H END, 0, "!400"},
    {"colon in the method", "GE:T / HTTP/1.1\r\n" H END, 0, "!400"},
    {"TLS ClientHello", "\x16\x03\x01\x02\x00\x01\x00", 7, "!400"},

    /* fields */
    {"blank before the colon", P "Content-Length : 3\r\n\r\nabc" N, 0, "!400"},
    {"empty name", G H ": x\r\n\r\n", 0, "!400"},
    {"no colon", G H "Hello\r\n\r\n", 0, "!400"},
    {"folded line", G H "X: a\r\n b\r\n\r\n" N, 0, "!400"},
    {"folded with tab", G H "X: a\r\n\tb\r\n\r\n", 0, "!400"},
    {"first field starts with a blank", G " Host: h\r\n\r\n", 0, "!400"},
    {"NUL in a value", G "Host: h\0x\r\n\r\n", sizeof(G "Host: h\0x\r\n\r\n") - 1, "!400"},
    {"NUL in a name", G "Ho\0st: h\r\n\r\n", sizeof(G "Ho\0st: h\r\n\r\n") - 1, "!400"},
    {"DEL in a value", G "Host: h\x7f\r\n\r\n", 0, "!400"},
    {"control octet in a value", G H "X: \x01\r\n\r\n", 0, "!400"},
    {"octet above 127 in a name", G H "X\xc3: y\r\n\r\n", 0, "!400"},

    /* Host */
    {"no Host in 1.1", G "X: y\r\n\r\n", 0, "!400"},
    {"two Hosts", G H H END, 0, "!400"},
    {"two Hosts in 1.0", "GET / HTTP/1.0\r\n" H "host: other\r\n\r\n", 0, "!400"},
    {"empty Host", G "Host:\r\n\r\n", 0, "!400"},
    {"Host with a path", G "Host: h/x\r\n\r\n", 0, "!400"},
    {"Host with user", G "Host: u@h\r\n\r\n", 0, "!400"},
    {"two names in one Host", G "Host: a, b\r\n\r\n", 0, "!400"},

    /* body length, smuggling pairs: the second request must not come out */
    {"POST without a length", P END N, 0, "!411"},
    {"Transfer-Encoding: chunked", P "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" N, 0, "!411"},
    {"chunked beside a length", P "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" N, 0, "!411"},
    {"length beside chunked", P "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" N, 0, "!411"},
    {"Transfer-Encoding: identity", P "Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n" N, 0, "!411"},
    {"Transfer-Encoding: xchunked", P "Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n" N, 0, "!411"},
    {"Transfer-Encoding: empty", P "Transfer-Encoding:\r\nContent-Length: 0\r\n\r\n" N, 0, "!411"},
    {"Transfer-Encoding with tab", P "Transfer-Encoding:\tchunked\r\nContent-Length: 0\r\n\r\n" N, 0, "!411"},
    {"Transfer-Encoding in capitals on a GET", G H "TRANSFER-ENCODING: chunked\r\n\r\n" N, 0, "!411"},
    {"Transfer-Encoding in 1.0", "POST /p HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" N, 0, "!411"},
    {"two lengths that differ", P "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd" N, 0, "!400"},
    {"two lengths that agree", P "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc" N, 0, "!400"},
    {"list of lengths", P "Content-Length: 3, 3\r\n\r\nabc" N, 0, "!400"},
    {"signed length", P "Content-Length: +3\r\n\r\nabc" N, 0, "!400"},
    {"negative length", P "Content-Length: -3\r\n\r\nabc" N, 0, "!400"},
    {"hexadecimal length", P "Content-Length: 0x3\r\n\r\nabc" N, 0, "!400"},
    {"length with a blank inside", P "Content-Length: 3 3\r\n\r\nabc" N, 0, "!400"},
    {"length with a point", P "Content-Length: 3.0\r\n\r\nabc" N, 0, "!400"},
    {"empty length", P "Content-Length:\r\n\r\nabc" N, 0, "!400"},
    {"length beyond 64 bits", P "Content-Length: 18446744073709551619\r\n\r\nabc" N, 0, "!413"},
    {"long garbage after an overflowing length", P "Content-Length: 99999999999999999999x\r\n\r\nabc" N, 0, "!400"},
    {"length above the limit", P "Content-Length: 32769\r\n\r\n" N, 0, "!413"},
    {"GET with a body", G H "Content-Length: 3\r\n\r\nabc" N, 0, "!400"},
    {"HEAD with a body", "HEAD / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc" N, 0, "!400"},
    {"unknown expectation", P "Expect: 200-ok\r\nContent-Length: 0\r\n\r\n" N, 0, "!417"},
    {"two expectations", P "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", 0, "!400"},
    {"two Content-Types", P "Content-Type: a/b\r\nContent-Type: a/b\r\nContent-Length: 0\r\n\r\n", 0, "!400"},
    {"two Authorizations", P "Authorization: a\r\nAuthorization: a\r\nContent-Length: 0\r\n\r\n", 0, "!400"},
    {"garbage after a good request", G H END "\x01", 0, "GET /;!400"},
};

static void framing_battery(void **state)
{
    (void)state;
    assert_true(ARRAY_LEN(rows) >= 100);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check(rows[i].name, BYTES(rows[i].in, rows[i].len ? rows[i].len : strlen(rows[i].in)), rows[i].want);
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
