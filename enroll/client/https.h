/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests over HTTPS, one at a time, for programs that are clients: TLS 1.2 or newer, the server judged by trust anchors of
 * our own, a client certificate, bounded answers, no redirects, no proxy. Needs OpenSSL 3 and libcurl and nothing else of this
 * project, so that it can be built into firmware.
 *
 * A handle keeps its connection between requests. Its memory is wiped when it is given back, libcurl's too: bodies may be
 * keys and passwords. One thread uses a handle at a time; different handles are independent.
 */
#ifndef INKAN_ENROLL_CLIENT_HTTPS_H
#define INKAN_ENROLL_CLIENT_HTTPS_H

#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

#define HTTPS_HEADERS_MAX (16 * 1024) /* octets of the headers of one answer */
#define HTTPS_ERROR_MAX   384

/* What one connection is made with, when that does not stand in files. */
struct https_credentials {
    const STACK_OF(X509) *anchors; /* roots */
    X509 *leaf;                    /* a reference of its own; NULL: no client certificate */
    EVP_PKEY *key;                 /* of leaf; may be in a token */
    const STACK_OF(X509) *chain;   /* sent after leaf; NULL: none */
    bool ignore_time;              /* our clock is known to be wrong: dates of the server's chain do not count */
};

struct https_options {
    /* Trust and client certificate as PEM files, read anew for each connection: what was replaced counts from the next. */
    const char *ca;         /* what the server must chain to; intermediate certificates may stand there */
    const char *cert, *key; /* leaf first; NULL without */
    /* Or, with `ca` NULL, asked for each connection. What it lends lives until the request ends. false: the request fails. */
    bool (*credentials)(void *arg, struct https_credentials *out);
    void *credentials_arg;
    long connect_s, timeout_s; /* for the connection, for a whole request; 0 = 10, 30 */
    size_t body_max;           /* octets of an answer's body, more is a failure; 0 = 64 KiB */
    bool (*stop)(void *arg);   /* asked about once a second during a request: true ends it. NULL without */
    void *stop_arg;
};

struct https_request {
    const char *url;            /* https:// only */
    const char *content_type;   /* of the body; NULL: a GET, else a POST */
    const char *body;
    size_t body_len;
    /*
     * Instead of `body`: called when the handshake is done, for a body that needs the connection (its channel binding). Fills
     * all `size` = body_len octets. May be called again for another connection. false: the request fails.
     */
    bool (*body_make)(void *arg, SSL *ssl, char *body, size_t size);
    void *body_arg;
    const char *const *headers; /* "Name: value", NULL at the end; NULL without */
    const char *if_none_match;  /* an ETag as it came, with its quotes: status 304 when it still holds. NULL without */
    const char *user, *password; /* HTTP Basic; NULL without */
    long timeout_s;             /* instead of that of the handle, for a long poll; 0: that of the handle */
    bool fresh;                 /* not over the connection that is there */
};

struct https_answer {
    long status;            /* 0: none came */
    char *body;             /* NUL-terminated beyond body_len; not NULL when the call was true, empty when it failed */
    size_t body_len;
    unsigned retry_after_s; /* of Retry-After in seconds (RFC 9110 10.2.3); 0: none, or a date */
    char *headers;          /* "Name: value\r\n" ... of the last answer */
    char error[HTTPS_ERROR_MAX]; /* one line for people when the call failed */
};

struct https;

/* The texts of `o` must outlive the handle. NULL: options that do not fit together, or no memory. */
struct https *https_new(const struct https_options *o);
void https_free(struct https *h);

/*
 * Does one request. true: an answer came whole, whatever its status. false: none did, a->status is 0 and a->error says why;
 * the service may have acted all the same. `a` is cleared first (so it begins as {0}) and is the caller's to clear.
 */
bool https_call(struct https *h, const struct https_request *r, struct https_answer *a);
void https_answer_clear(struct https_answer *a);

/* The value of the first header of this name, any case, without white space around it. false: there is none, or no room. */
bool https_header(const struct https_answer *a, const char *name, char *out, size_t size);

#endif
