/* SPDX-License-Identifier: Apache-2.0 */
#include "enroll/http.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>

#include "base/spare.h"

enum state {
    ST_START,      /* before the first octet */
    ST_START_CR,   /* CR of one tolerated empty line before the request line (RFC 9112 2.2) */
    ST_BEGIN,      /* after that empty line */
    ST_LINE,       /* inside the request line */
    ST_LINE_LF,    /* CR seen */
    ST_FIELD_START,
    ST_FIELD,
    ST_FIELD_LF,
    ST_END_LF,     /* CR of the empty line that ends the head */
    ST_HEAD_DONE,  /* waits for http_body_keep or http_body_skip */
    ST_BODY,
    ST_DONE,
    ST_BAD,
};

#define HEAD_FIRST 512 /* octets of memory for a head; more only for those who need it */

static enum http_event bad(struct http_reader *r, int status, const char *reason)
{
    r->state = ST_BAD;
    r->status = status;
    r->reason = reason;
    return HTTP_EVENT_BAD;
}

void http_reader_init(struct http_reader *r)
{
    memset(r, 0, sizeof *r);
    r->state = ST_START;
    buf_init(&r->body, EST_BODY_MAX);
}

void http_reader_clear(struct http_reader *r)
{
    if (r->head)
        OPENSSL_cleanse(r->head, r->head_len);
    free(r->head);
    buf_clear(&r->body);
    r->head = NULL;
    r->head_len = r->head_cap = 0;
}

void http_reader_reset(struct http_reader *r)
{
    uint8_t *head = NULL;

    if (r->head_cap == HEAD_FIRST) {
        OPENSSL_cleanse(r->head, r->head_len);
        head = r->head;
        r->head = NULL;
    }
    http_reader_clear(r);
    http_reader_init(r);
    r->head = head;
    r->head_cap = head ? HEAD_FIRST : 0;
}

bool http_reader_is_idle(const struct http_reader *r)
{
    return r->state == ST_START;
}

/* The head grows by copy and wipe: realloc would leave a password behind in freed memory. Its length is bounded. */
static bool head_add(struct http_reader *r, const uint8_t *text, size_t n)
{
    if (n > r->head_cap - r->head_len) {
        size_t cap = r->head_cap ? r->head_cap : HEAD_FIRST;
        uint8_t *p;

        while (cap < r->head_len + n)
            cap *= 2;
        p = spare_malloc(cap);
        if (!p)
            return false;
        if (r->head) {
            memcpy(p, r->head, r->head_len);
            OPENSSL_cleanse(r->head, r->head_len);
            free(r->head);
        }
        r->head = p;
        r->head_cap = cap;
    }
    memcpy(r->head + r->head_len, text, n);
    r->head_len += n;
    return true;
}

/* RFC 9110 5.6.2 */
static bool is_tchar(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static struct bytes trim(struct bytes s)
{
    while (s.len && is_blank(s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len && is_blank(s.p[s.len - 1]))
        s.len--;
    return s;
}

static bool equals_nocase(struct bytes s, const char *text)
{
    return s.len == strlen(text) && strncasecmp((const char *)s.p, text, s.len) == 0;
}

static bool equals(struct bytes s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.p, text, s.len) == 0;
}

static enum http_method method_of(struct bytes s)
{
    static const struct {
        const char *text;
        enum http_method method;
    } known[] = {{"GET", HTTP_GET}, {"HEAD", HTTP_HEAD}, {"POST", HTTP_POST}};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (equals(s, known[i].text))
            return known[i].method;
    return HTTP_OTHER;
}

/* Only offsets may be kept here: the head can still move. */
static const char *request_line_check(const struct http_reader *r)
{
    struct bytes line = BYTES(r->head, r->head_len);
    size_t m = 0, t;

    while (m < line.len && is_tchar(line.p[m]))
        m++;
    if (m == 0 || m == line.len || line.p[m] != ' ')
        return "the request line does not start with a method and one space";
    for (t = m + 1; t < line.len && line.p[t] != ' '; t++)
        if (line.p[t] < 0x21 || line.p[t] > 0x7e || line.p[t] == '#')
            return "octet not allowed in the request target";
    if (t == m + 1 || line.p[m + 1] != '/')
        return "only origin-form request targets are served";
    if (line.len - t != 9 || (memcmp(line.p + t, " HTTP/1.1", 9) != 0 && memcmp(line.p + t, " HTTP/1.0", 9) != 0))
        return "the request line does not end with HTTP/1.1 or HTTP/1.0";
    return NULL;
}

static const char *field_line_check(struct http_reader *r)
{
    const uint8_t *p = r->head + r->line;
    size_t len = r->head_len - r->line, n = 0;
    struct bytes value;

    while (n < len && is_tchar(p[n]))
        n++;
    if (n == 0 || n == len || p[n] != ':')
        return "a header line is not name, colon, value";
    value = trim(BYTES(p + n + 1, len - n - 1));
    r->field[r->field_n++] = (struct http_line){
        .name = (uint32_t)r->line,
        .name_len = (uint32_t)n,
        .value = (uint32_t)(value.p - r->head),
        .value_len = (uint32_t)value.len,
    };
    return NULL;
}

struct framing { /* what the header fields say, before it is judged as a whole */
    struct bytes transfer_encoding, content_length, expect;
    bool close, keep_alive;
};

static void connection_options(struct bytes v, struct framing *f)
{
    while (v.len) {
        size_t n = 0;
        struct bytes one;

        while (n < v.len && v.p[n] != ',')
            n++;
        one = trim(BYTES(v.p, n));
        if (equals_nocase(one, "close"))
            f->close = true;
        else if (equals_nocase(one, "keep-alive"))
            f->keep_alive = true;
        n += n < v.len;
        v = BYTES(v.p + n, v.len - n);
    }
}

/* Each field we read may stand once: the second of two is where readers disagree. */
static const char *fields_collect(struct http_reader *r, struct framing *f)
{
    const struct {
        const char *name;
        struct bytes *value;
    } single[] = {
        {"host", &r->req.host},
        {"content-length", &f->content_length},
        {"content-type", &r->req.content_type},
        {"content-encoding", &r->req.content_encoding},
        {"authorization", &r->req.authorization},
        {"if-none-match", &r->req.if_none_match},
        {"if-modified-since", &r->req.if_modified_since},
        {"expect", &f->expect},
        {"inkan-unit", &r->req.unit},
    };

    for (size_t i = 0; i < r->field_n; i++) {
        struct bytes name = BYTES(r->head + r->field[i].name, r->field[i].name_len);
        struct bytes value = BYTES(r->head + r->field[i].value, r->field[i].value_len);

        if (equals_nocase(name, "connection"))
            connection_options(value, f);
        else if (equals_nocase(name, "transfer-encoding"))
            f->transfer_encoding = value;
        else
            for (size_t k = 0; k < sizeof single / sizeof single[0]; k++)
                if ((name.p[0] | 0x20) == single[k].name[0] && equals_nocase(name, single[k].name)) {
                    if (single[k].value->p)
                        return "a header field stands twice";
                    *single[k].value = value;
                }
    }
    return NULL;
}

static bool host_is_valid(struct bytes host)
{
    for (size_t i = 0; i < host.len; i++)
        if (!is_tchar(host.p[i]) && !strchr(":[]", host.p[i]))
            return false;
    return host.len > 0;
}

/* RFC 9110 8.6: 1*DIGIT. A number too large for us is still a number; the caller's limit refuses it. */
static bool length_parse(struct bytes s, uint64_t *out)
{
    *out = 0;
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        if (__builtin_mul_overflow(*out, (uint64_t)10, out) ||
            __builtin_add_overflow(*out, (uint64_t)(s.p[i] - '0'), out)) {
            for (; i < s.len; i++)
                if (s.p[i] < '0' || s.p[i] > '9')
                    return false;
            *out = UINT64_MAX;
            return true;
        }
    }
    return true;
}

static void request_line_take(struct http_reader *r)
{
    size_t line_len = r->fields - 2, m = 0, t;
    struct bytes target;

    while (r->head[m] != ' ')
        m++;
    for (t = m + 1; r->head[t] != ' '; t++)
        ;
    r->req.method = method_of(BYTES(r->head, m));
    r->req.minor = (unsigned)(r->head[line_len - 1] - '0');
    target = BYTES(r->head + m + 1, t - m - 1);
    for (size_t i = 0; i < target.len; i++)
        if (target.p[i] == '?') {
            r->req.query = BYTES(target.p + i + 1, target.len - i - 1);
            target.len = i;
        }
    r->req.path = target;
}

static enum http_event head_complete(struct http_reader *r)
{
    struct http_request *q = &r->req;
    struct framing f = {0};
    const char *why;

    request_line_take(r);
    why = fields_collect(r, &f);
    if (f.transfer_encoding.p) /* first: also beside a Content-Length */
        return bad(r, 411, "Transfer-Encoding is not accepted, send Content-Length");
    if (why)
        return bad(r, 400, why);
    if (q->minor == 1 && !q->host.p)
        return bad(r, 400, "HTTP/1.1 without Host");
    if (q->host.p && !host_is_valid(q->host))
        return bad(r, 400, "Host is not a host name");
    if (f.content_length.p && !length_parse(f.content_length, &q->content_length))
        return bad(r, 400, "Content-Length is not a number");
    if (q->method == HTTP_POST && !f.content_length.p)
        return bad(r, 411, "POST without Content-Length");
    if ((q->method == HTTP_GET || q->method == HTTP_HEAD) && q->content_length > 0)
        return bad(r, 400, "GET and HEAD take no body");
    if (f.expect.p && q->minor == 1) { /* RFC 9110 10.1.1: ignored in 1.0 */
        if (!equals_nocase(f.expect, "100-continue"))
            return bad(r, 417, "only Expect: 100-continue is understood");
        q->expect_continue = q->content_length > 0;
    }
    q->keep_alive = !f.close && (q->minor == 1 || f.keep_alive);
    r->state = ST_HEAD_DONE;
    return HTTP_EVENT_HEAD;
}

void http_body_keep(struct http_reader *r)
{
    r->body_left = r->req.content_length;
    r->body.max = r->body_left > EST_BODY_MAX ? r->body_left : EST_BODY_MAX; /* the caller has judged it */
    r->keep_body = true;
    r->state = ST_BODY;
}

void http_body_skip(struct http_reader *r)
{
    http_body_keep(r);
    r->keep_body = false;
}

static enum http_event body_feed(struct http_reader *r, const uint8_t *p, size_t len, size_t *used)
{
    size_t n = len < r->body_left ? len : (size_t)r->body_left;

    if (r->keep_body)
        buf_add(&r->body, p, n);
    r->body_left -= n;
    *used = n;
    if (r->body_left)
        return HTTP_EVENT_MORE;
    if (r->body.no_memory)
        return bad(r, 503, "out of memory");
    if (!buf_ok(&r->body))
        return bad(r, 413, "the body is too large");
    r->req.body = buf_bytes(&r->body);
    r->state = ST_DONE;
    return HTTP_EVENT_REQUEST;
}

static bool field_octet_is_valid(uint8_t c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

/* One octet of the head. */
static enum http_event head_feed(struct http_reader *r, uint8_t c)
{
    static const uint8_t crlf[] = {'\r', '\n'};
    const char *why;

    switch ((enum state)r->state) {
    case ST_START:
        if (c == '\r') {
            r->state = ST_START_CR;
            return HTTP_EVENT_MORE;
        }
        r->state = ST_BEGIN;
        return head_feed(r, c);
    case ST_START_CR:
        if (c != '\n')
            return bad(r, 400, "a line does not end with CRLF");
        r->state = ST_BEGIN;
        return HTTP_EVENT_MORE;
    case ST_BEGIN:
        if (c == '\r' || c == '\n')
            return bad(r, 400, "empty request line");
        r->state = ST_LINE;
        return head_feed(r, c);
    case ST_LINE:
        if (c == '\r') {
            r->state = ST_LINE_LF;
            break;
        }
        if (c < 0x20 || c > 0x7e)
            return bad(r, 400, "octet not allowed in the request line");
        if (r->head_len >= HTTP_REQUEST_LINE_MAX)
            return bad(r, 414, "the request line is too long");
        break;
    case ST_LINE_LF:
        if (c != '\n')
            return bad(r, 400, "a line does not end with CRLF");
        r->head_len--; /* judge the line without its CR */
        why = request_line_check(r);
        if (why)
            return bad(r, 400, why);
        if (!head_add(r, crlf, 2))
            return bad(r, 503, "out of memory");
        r->line = r->fields = r->head_len;
        r->state = ST_FIELD_START;
        return HTTP_EVENT_MORE;
    case ST_FIELD_START:
        if (c == '\r') {
            r->state = ST_END_LF;
            return HTTP_EVENT_MORE;
        }
        if (is_blank(c))
            return bad(r, 400, "a header line starts with a blank");
        if (r->field_n == HTTP_HEADER_COUNT_MAX)
            return bad(r, 431, "too many header fields");
        r->state = ST_FIELD;
        return head_feed(r, c);
    case ST_FIELD:
        if (c == '\r')
            r->state = ST_FIELD_LF;
        else if (!field_octet_is_valid(c))
            return bad(r, 400, "octet not allowed in a header line");
        if (r->head_len - r->fields + (c == '\r' ? 2 : 1) > HTTP_HEADERS_MAX)
            return bad(r, 431, "the header fields are too long");
        break;
    case ST_FIELD_LF:
        if (c != '\n')
            return bad(r, 400, "a line does not end with CRLF");
        r->head_len--;
        why = field_line_check(r);
        if (why)
            return bad(r, 400, why);
        if (!head_add(r, crlf, 2))
            return bad(r, 503, "out of memory");
        r->line = r->head_len;
        r->state = ST_FIELD_START;
        return HTTP_EVENT_MORE;
    case ST_END_LF:
        if (c != '\n')
            return bad(r, 400, "a line does not end with CRLF");
        return head_complete(r);
    case ST_HEAD_DONE:
    case ST_BODY:
    case ST_DONE:
    case ST_BAD:
        return bad(r, 400, "octets after the end of the request");
    }
    if (!head_add(r, &c, 1))
        return bad(r, 503, "out of memory");
    return HTTP_EVENT_MORE;
}

/*
 * How many of these octets stand inside the line being read and within its limit, so that head_feed would do no more than
 * keep each of them.
 */
static size_t inside_line(const struct http_reader *r, const uint8_t *p, size_t len)
{
    size_t n = 0, room;

    if (r->state == ST_LINE) {
        room = r->head_len < HTTP_REQUEST_LINE_MAX ? HTTP_REQUEST_LINE_MAX - r->head_len : 0;
        while (n < len && n < room && p[n] >= 0x20 && p[n] <= 0x7e)
            n++;
    } else if (r->state == ST_FIELD) {
        room = HTTP_HEADERS_MAX - (r->head_len - r->fields);
        while (n < len && n < room && field_octet_is_valid(p[n]))
            n++;
    }
    return n;
}

enum http_event http_feed(struct http_reader *r, const uint8_t *p, size_t len, size_t *used)
{
    *used = 0;
    if (r->state == ST_BAD)
        return HTTP_EVENT_BAD;
    if (r->state == ST_BODY)
        return body_feed(r, p, len, used);
    while (*used < len) {
        size_t n = inside_line(r, p + *used, len - *used);
        enum http_event ev;

        if (n > 0 && !head_add(r, p + *used, n))
            return bad(r, 503, "out of memory");
        *used += n;
        if (*used == len)
            break;
        ev = head_feed(r, p[(*used)++]);
        if (ev != HTTP_EVENT_MORE)
            return ev;
    }
    return HTTP_EVENT_MORE;
}

static bool has_dot_segment(const char *path)
{
    for (const char *s = path; (s = strchr(s, '/')) != NULL;) {
        size_t n = strcspn(++s, "/");

        if ((n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
            return true;
    }
    return false;
}

bool http_field(const struct http_reader *r, const char *name, struct bytes *value)
{
    *value = (struct bytes){NULL, 0};
    for (size_t i = 0; i < r->field_n; i++) {
        if (!equals_nocase(BYTES(r->head + r->field[i].name, r->field[i].name_len), name))
            continue;
        if (value->p)
            return false;
        *value = BYTES(r->head + r->field[i].value, r->field[i].value_len);
    }
    return true;
}

bool http_path_decode(struct bytes raw, char *out, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < raw.len; i++) {
        int c = raw.p[i];

        if (c == '%') {
            int hi = i + 2 < raw.len ? hex_digit((char)raw.p[i + 1]) : -1;
            int lo = i + 2 < raw.len ? hex_digit((char)raw.p[i + 2]) : -1;

            if (hi < 0 || lo < 0)
                return false;
            c = hi * 16 + lo;
            if (c == '/')
                return false;
            i += 2;
        }
        if (c < 0x20 || c == 0x7f || n + 1 >= size)
            return false;
        out[n++] = (char)c;
    }
    if (size == 0)
        return false;
    out[n] = '\0';
    return !has_dot_segment(out);
}

bool http_media_type_is(struct bytes value, const char *type)
{
    size_t n = 0;

    while (n < value.len && value.p[n] != ';')
        n++;
    return equals_nocase(trim(BYTES(value.p, n)), type);
}

bool http_etag_matches(struct bytes v, const char *etag)
{
    if (equals(v, "*"))
        return true;
    while (v.len) {
        size_t n = 0;
        struct bytes one;

        while (n < v.len && v.p[n] != ',')
            n++;
        one = trim(BYTES(v.p, n));
        if (one.len > 2 && memcmp(one.p, "W/", 2) == 0)
            one = BYTES(one.p + 2, one.len - 2);
        if (equals(one, etag))
            return true;
        n += n < v.len;
        v = BYTES(v.p + n, v.len - n);
    }
    return false;
}

static const char day_names[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char month_names[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

static void two_digits(char *out, int v)
{
    out[0] = (char)('0' + v / 10 % 10);
    out[1] = (char)('0' + v % 10);
}

/* Not strftime: its names follow the locale. */
void http_date_format(time_t t, char out[HTTP_DATE_LEN])
{
    struct tm tm;

    out[0] = '\0';
    if (!gmtime_r(&t, &tm) || tm.tm_year + 1900 < 0 || tm.tm_year + 1900 > 9999)
        return;
    memcpy(out, "Sun, 06 Nov 1994 08:49:37 GMT", HTTP_DATE_LEN);
    memcpy(out, day_names[tm.tm_wday], 3);
    two_digits(out + 5, tm.tm_mday);
    memcpy(out + 8, month_names[tm.tm_mon], 3);
    two_digits(out + 12, (tm.tm_year + 1900) / 100);
    two_digits(out + 14, (tm.tm_year + 1900) % 100);
    two_digits(out + 17, tm.tm_hour);
    two_digits(out + 20, tm.tm_min);
    two_digits(out + 23, tm.tm_sec);
}

static bool digits(const uint8_t *p, size_t n, int *out)
{
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        *out = *out * 10 + (p[i] - '0');
    }
    return true;
}

bool http_date_parse(struct bytes s, time_t *out)
{
    struct tm tm = {0};
    char again[HTTP_DATE_LEN];
    int month = 0;

    if (s.len != HTTP_DATE_LEN - 1)
        return false;
    while (month < 12 && memcmp(s.p + 8, month_names[month], 3) != 0)
        month++;
    if (month == 12 || !digits(s.p + 5, 2, &tm.tm_mday) || !digits(s.p + 12, 4, &tm.tm_year) ||
        !digits(s.p + 17, 2, &tm.tm_hour) || !digits(s.p + 20, 2, &tm.tm_min) || !digits(s.p + 23, 2, &tm.tm_sec))
        return false;
    tm.tm_mon = month;
    tm.tm_year -= 1900;
    *out = timegm(&tm);
    http_date_format(*out, again); /* only what prints the same was a date */
    return memcmp(s.p, again, s.len) == 0;
}

const char *http_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } known[] = {
        {200, "OK"},
        {202, "Accepted"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {411, "Length Required"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].status == status)
            return known[i].text;
    return "Status";
}

void http_answer_head(struct buf *out, const struct http_answer *a, bool keep_alive, time_t now)
{
    char date[HTTP_DATE_LEN];

    http_date_format(now, date);
    buf_add_str(out, "HTTP/1.1 ");
    buf_add_dec(out, (uint64_t)a->status);
    buf_add_str(out, " ");
    buf_add_str(out, http_status_text(a->status));
    buf_add_str(out, "\r\nDate: ");
    buf_add_str(out, date);
    if (a->content_type) {
        buf_add_str(out, "\r\nContent-Type: ");
        buf_add_str(out, a->content_type);
    }
    if (a->status != 204 && a->status != 304) {
        buf_add_str(out, "\r\nContent-Length: ");
        buf_add_dec(out, a->body.len);
    }
    if (a->retry_after_s) {
        buf_add_str(out, "\r\nRetry-After: ");
        buf_add_dec(out, a->retry_after_s);
    }
    buf_add_str(out, "\r\n");
    if (a->no_store)
        buf_add_str(out, "Cache-Control: no-store\r\n");
    if (a->headers)
        buf_add_str(out, a->headers);
    buf_add_str(out, keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n");
}
