/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request looks like, octet by octet, and everything by which two readers could disagree about its end. The reader alone
 * (test_http) and the real front (test_front) answer the same table.
 *
 * want: "GET /a;POST /b [body];" for requests in order, " close" where the connection ends, "!400" for the refusal that ends
 * it, "..." for unfinished.
 */
#ifndef INKAN_TESTS_FRAMING_CASES_H
#define INKAN_TESTS_FRAMING_CASES_H

#include <stddef.h>

#define H   "Host: h\r\n"
#define END "\r\n"
#define G   "GET / HTTP/1.1\r\n"
#define P   "POST /p HTTP/1.1\r\n" H
#define N   "GET /next HTTP/1.1\r\n" H END /* a second request that must not be seen after a refusal */

static const struct framing_case {
    const char *name;
    const char *in;
    size_t len; /* 0: strlen */
    const char *want;
} framing_cases[] = {
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
    {"GET with a body", G H "Content-Length: 3\r\n\r\nabc" N, 0, "!400"},
    {"HEAD with a body", "HEAD / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc" N, 0, "!400"},
    {"unknown expectation", P "Expect: 200-ok\r\nContent-Length: 0\r\n\r\n" N, 0, "!417"},
    {"two expectations", P "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", 0, "!400"},
    {"two Content-Types", P "Content-Type: a/b\r\nContent-Type: a/b\r\nContent-Length: 0\r\n\r\n", 0, "!400"},
    {"two Authorizations", P "Authorization: a\r\nAuthorization: a\r\nContent-Length: 0\r\n\r\n", 0, "!400"},
    {"garbage after a good request", G H END "\x01", 0, "GET /;!400"},

    /* what one server reads as the end of a body and another does not */
    {"chunk size in hexadecimal with prefix", P "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n" N, 0, "!411"},
    {"chunk size with sign", P "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n" N, 0, "!411"},
    {"chunk size behind a blank", P "Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n" N, 0, "!411"},
    {"chunk size ended by LF", P "Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n" N, 0, "!411"},
    {"chunk extension without end", P "Transfer-Encoding: chunked\r\n\r\n3;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0, "!411"},
    {"trailer behind the last chunk", P "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 9\r\n\r\n" N, 0, "!411"},
    {"two codings in a list", P "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" N, 0, "!411"},
    {"chunked is not last", P "Transfer-Encoding: chunked, identity\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" N, 0, "!411"},
    {"two Transfer-Encodings", P "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" N, 0, "!411"},
    {"chunked in quotes", P "Transfer-Encoding: \"chunked\"\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" N, 0, "!411"},
    {"blank before the colon of Transfer-Encoding", P "Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" N, 0, "!400"},
    {"tab before the colon of Content-Length", P "Content-Length\t: 3\r\n\r\nabc" N, 0, "!400"},
    {"Transfer-Encoding folded", P "Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" N, 0, "!400"},
    {"Transfer-Encoding hidden behind a fold", P "X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" N, 0, "!400"},
    {"Transfer-Encoding hidden behind a bare LF", P "X: a\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" N, 0, "!400"},
    {"Transfer-Encoding hidden behind a bare CR", P "X: a\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" N, 0, "!400"},
    {"vertical tab before Transfer-Encoding", P "\x0bTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" N, 0, "!400"},
    {"vertical tab before the value", P "Content-Length:\x0b" "3\r\n\r\nabc" N, 0, "!400"},
    {"NUL behind the length", P "Content-Length: 3\0\r\n\r\nabc" N, sizeof(P "Content-Length: 3\0\r\n\r\nabc" N) - 1, "!400"},
    {"length in other digits", P "Content-Length: \xd9\xa3\r\n\r\nabc" N, 0, "!400"},
    {"length with an exponent", P "Content-Length: 3e0\r\n\r\nabc" N, 0, "!400"},
    {"length with a comma behind", P "Content-Length: 3,\r\n\r\nabc" N, 0, "!400"},
    {"octal looks like decimal and is", P "Content-Length: 010\r\n\r\nabcdefghij" N, 0, "POST /p [abcdefghij];GET /next;"},
    {"a switch to HTTP/2 is not taken", G H "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n\r\n" N, 0, "GET /;GET /next;"},
};

#undef H
#undef END
#undef G
#undef P
#undef N

#endif
