/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A strict HTTP/1.x request reader and the writing of answer heads (RFC 9110, 9112).
 *
 * The reader is pure: octets go in, events come out. It knows no socket, no TLS, no clock and no route, takes any split
 * of the input and gives the same result for each. It accepts one spelling of each construct; everything by which two
 * readers could come to different ideas of where a request ends is an error after which the connection is closed:
 *
 *   - lines end with CRLF; a bare LF or CR, NUL and other control octets are 400
 *   - "METHOD SP origin-form SP HTTP/1.0|HTTP/1.1", single spaces; absolute-form, "*" and other versions are 400
 *   - no folding, no blank before the colon, no empty names; at most one of each field that we read
 *   - any Transfer-Encoding is 411; Content-Length is digits, once; a POST without it is 411; GET and HEAD have no body
 *   - exactly one Host in 1.1, at most one in 1.0
 *   - the limits of base/limits.h: 414, 431; the length of a body is judged by the caller before a body octet is kept
 *
 * One thread at a time per reader. Field values are borrowed from the reader and live until http_reader_reset.
 */
#ifndef INKAN_ENROLL_HTTP_H
#define INKAN_ENROLL_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/bytes.h"
#include "base/limits.h"

enum http_method { HTTP_OTHER, HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_METHODS };
#define HTTP_METHOD_BIT(m) (1u << (m))

/* One request. Absent fields are {NULL, 0}; a present empty one has p != NULL. */
struct http_request {
    enum http_method method;
    struct bytes path;  /* raw, starts with '/', without the query */
    struct bytes query; /* after '?' */
    unsigned minor;     /* HTTP/1.minor: 0 or 1 */
    bool keep_alive;    /* what the client asked for */
    bool expect_continue;
    uint64_t content_length; /* 0 when absent; UINT64_MAX when it does not fit */
    struct bytes host, content_type, content_encoding, authorization, if_none_match, if_modified_since;
    struct bytes unit;  /* Inkan-Unit */
    struct bytes body;  /* complete after HTTP_EVENT_REQUEST */
};

enum http_event {
    HTTP_EVENT_MORE,    /* everything was taken, more is needed */
    HTTP_EVENT_HEAD,    /* the head is complete: call http_body_keep or http_body_skip, then feed on */
    HTTP_EVENT_REQUEST, /* the request is complete: answer, then http_reader_reset */
    HTTP_EVENT_BAD,     /* answer `status` with `reason`, close; nothing after it may be read as a request */
};

struct http_line { /* offsets into head */
    uint32_t name, name_len, value, value_len;
};

struct http_reader {
    int state;
    uint8_t *head; /* request line and header lines as they came */
    size_t head_len, head_cap;
    size_t line;    /* where the line being read starts */
    size_t fields;  /* where the header lines start */
    struct http_line field[HTTP_HEADER_COUNT_MAX];
    size_t field_n;
    struct buf body;
    uint64_t body_left;
    bool keep_body;
    struct http_request req;
    int status;         /* after HTTP_EVENT_BAD */
    const char *reason; /* static text, fit for the client */
};

void http_reader_init(struct http_reader *r);
/* Ready for the next request of the connection. Wipes the head, which may have held a password, and gives back all but a little memory. */
void http_reader_reset(struct http_reader *r);
void http_reader_clear(struct http_reader *r);
/* true before the first octet of a request. */
bool http_reader_is_idle(const struct http_reader *r);

/* Takes octets up to the next event; *used tells how many. May be called with len 0 after HTTP_EVENT_HEAD. */
enum http_event http_feed(struct http_reader *r, const uint8_t *p, size_t len, size_t *used);
/* After HTTP_EVENT_HEAD. The caller has checked content_length against its limit. */
void http_body_keep(struct http_reader *r);
void http_body_skip(struct http_reader *r);

/*
 * Percent-decodes a path once into `out` (NUL-terminated). false: a broken escape, an escaped slash, a control octet or
 * NUL, a "." or ".." segment, or too long for `size`. Matching on the result is exact and case-sensitive.
 */
bool http_path_decode(struct bytes raw, char *out, size_t size);
/* The value of any field; {NULL, 0} when absent. false: it stands twice, and nobody knows which one counts. */
bool http_field(const struct http_reader *r, const char *name, struct bytes *value);
/* type/subtype compared without case, parameters ignored. */
bool http_media_type_is(struct bytes value, const char *type);
/* Does an If-None-Match value name `etag` (with its quotes), or is it "*"? Weak comparison (RFC 9110 13.1.2). */
bool http_etag_matches(struct bytes if_none_match, const char *etag);

#define HTTP_DATE_LEN 30 /* with the NUL */
void http_date_format(time_t t, char out[HTTP_DATE_LEN]); /* "Sun, 06 Nov 1994 08:49:37 GMT" */
bool http_date_parse(struct bytes s, time_t *out);        /* the same form only */

struct http_answer {
    int status;
    const char *content_type; /* NULL: no body */
    struct bytes body;        /* borrowed */
    const char *headers;      /* more header lines, each with its CRLF; NULL: none */
    uint32_t retry_after_s;   /* 0: no Retry-After */
    bool no_store;
    bool close;               /* close after this answer */
};

/* Status line and header fields up to and with the empty line (RFC 9112 4). Content-Length is left out of 204 and 304. */
void http_answer_head(struct buf *out, const struct http_answer *a, bool keep_alive, time_t now);
const char *http_status_text(int status); /* "Not Found" */

#endif
