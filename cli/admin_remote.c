/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin_remote.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/bytes.h"
#include "base/msg.h"

AUTO_TYPE(json_t, json_decref)

#define CONNECT_S   10
#define LINE_MAX_   ((size_t)1 << 20) /* octets of one line of an answer */
#define FILE_MAX    ((size_t)8 << 20) /* octets of a file that goes with a request */
#define URL_MAX     1024

struct admin_remote {
    CURL *curl;
    const char *url, *ca;
    const struct identity *as;
    char reason[CURL_ERROR_SIZE];
    /* during a call */
    admin_rows_fn rows;
    admin_progress_fn progress;
    void *arg;
    struct buf line;
    json_t *done;       /* of the last line */
    struct err failed;  /* what it says instead, or what is wrong with the answer */
    bool ended;
    int file;           /* what came of a file; -1: nothing */
};

static CURLcode set_up_tls(CURL *curl, void *ctx, void *arg)
{
    const struct admin_remote *r = arg;
    SSL_CTX *ssl = ctx;
    const STACK_OF(X509) *chain = identity_get0_chain(r->as);
    bool ok = SSL_CTX_use_certificate(ssl, identity_get0_cert(r->as)) == 1 && SSL_CTX_use_PrivateKey(ssl, identity_get0_key(r->as)) == 1;

    (void)curl;
    SSL_CTX_set_mode(ssl, SSL_MODE_NO_AUTO_CHAIN);
    for (int i = 0; ok && i < sk_X509_num(chain); i++)
        ok = SSL_CTX_add1_chain_cert(ssl, sk_X509_value(chain, i)) == 1;
    return ok ? CURLE_OK : CURLE_SSL_CERTPROBLEM;
}

enum err_code admin_remote_open(const char *url, const char *ca, const struct identity *as, struct admin_remote **out, struct err *e)
{
    struct admin_remote *r;

    *out = NULL;
    if (strncmp(url, "https://", 8) != 0 || strlen(url) > URL_MAX - 32)
        return err_set(e, E_INVALID, "%s: administration over the network is at https://HOST:PORT", url);
    r = calloc(1, sizeof(*r));
    if (!r || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(r->curl = curl_easy_init())) {
        free(r);
        return err_set(e, E_NOMEM, "out of memory");
    }
    r->url = url;
    r->ca = ca;
    r->as = as;
    r->file = -1;
    buf_init(&r->line, LINE_MAX_);
    *out = r;
    return E_OK;
}

void admin_remote_free(struct admin_remote *r)
{
    if (!r)
        return;
    curl_easy_cleanup(r->curl);
    buf_clear(&r->line);
    json_decref(r->done);
    if (r->file >= 0)
        close(r->file);
    free(r);
}

/* ---- the answer, line by line ---- */

static bool broken(struct admin_remote *r, const char *what)
{
    err_set(&r->failed, E_INTERNAL, "the service's answer is not understood: %s", what);
    return false;
}

static enum err_code code_of(const char *name)
{
    for (int i = 1; name && i < ERR_CODES_COUNT; i++)
        if (strcmp(err_code_name((enum err_code)i), name) == 0)
            return (enum err_code)i;
    return E_INTERNAL;
}

static bool take_file(struct admin_remote *r, const char *text)
{
    AUTO_BUF piece = BUF_INIT(LINE_MAX_);
    struct err e = {0};

    if (r->file < 0)
        r->file = memfd_create("inkan-answer", MFD_CLOEXEC);
    if (r->file < 0 || base64_decode(bytes_str(text), &piece, &e) != E_OK)
        return broken(r, "a piece of a file");
    for (size_t at = 0; at < piece.len;) {
        ssize_t n = write(r->file, piece.p + at, piece.len - at);

        if (n <= 0)
            return broken(r, "a file that is too large");
        at += (size_t)n;
    }
    return true;
}

static bool take_row(struct admin_remote *r, json_t *row)
{
    AUTO(json_t) *page = json_pack("[O]", row);

    if (page && (!r->rows || r->rows(r->arg, page)))
        return true;
    err_set(&r->failed, E_IO, "the output could not be written");
    return false;
}

static bool take_line(struct admin_remote *r)
{
    AUTO(json_t) *j = json_loadb((const char *)r->line.p, r->line.len, JSON_REJECT_DUPLICATES, NULL);
    json_t *v;

    if (!json_is_object(j) || r->ended)
        return broken(r, "a line that is no object, or one after the last");
    if ((v = json_object_get(j, "row")))
        return take_row(r, v);
    if ((v = json_object_get(j, "file")))
        return json_is_string(v) ? take_file(r, json_string_value(v)) : broken(r, "file");
    if ((v = json_object_get(j, "progress"))) {
        if (r->progress)
            r->progress(r->arg, (uint64_t)json_integer_value(json_object_get(v, "done")), (uint64_t)json_integer_value(json_object_get(v, "total")),
                        json_is_string(json_object_get(v, "what")) ? json_string_value(json_object_get(v, "what")) : "");
        return true;
    }
    r->ended = true;
    if ((v = json_object_get(j, "error"))) {
        const char *text = json_string_value(json_object_get(v, "text"));

        err_set(&r->failed, code_of(json_string_value(json_object_get(v, "code"))), "%s", text ? text : "");
        return true;
    }
    r->done = json_incref(json_object_get(j, "done"));
    return json_is_object(r->done) ? true : broken(r, "done");
}

static size_t take_body(char *p, size_t size, size_t n, void *arg)
{
    struct admin_remote *r = arg;
    size_t all = size * n;

    for (size_t at = 0; at < all;) {
        const char *end = memchr(p + at, '\n', all - at);
        size_t len = end ? (size_t)(end - p) - at : all - at;

        buf_add(&r->line, p + at, len);
        at += len + (end ? 1 : 0);
        if (!buf_ok(&r->line))
            return broken(r, "a line that is too long"), 0;
        if (!end)
            break;
        if (!take_line(r))
            return 0;
        buf_reset(&r->line);
    }
    return all;
}

/* ---- requests ---- */

#define SET(option, value) ok = ok && curl_easy_setopt(r->curl, option, value) == CURLE_OK

static enum err_code perform(struct admin_remote *r, const char *path, const char *type, struct bytes body, long patience_s, struct err *e)
{
    char url[URL_MAX], header[64];
    struct curl_slist *headers = NULL;
    bool ok = true;
    long status = 0;
    CURLcode rc;

    snprintf(url, sizeof(url), "%s%s", r->url, path);
    curl_easy_reset(r->curl);
    r->reason[0] = '\0';
    SET(CURLOPT_URL, url);
    SET(CURLOPT_PROTOCOLS_STR, "https");
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
    SET(CURLOPT_LOW_SPEED_TIME, patience_s);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_CAPATH, NULL);
    SET(CURLOPT_CAINFO, r->ca);
    SET(CURLOPT_SSL_CTX_FUNCTION, set_up_tls);
    SET(CURLOPT_SSL_CTX_DATA, r);
    SET(CURLOPT_WRITEFUNCTION, take_body);
    SET(CURLOPT_WRITEDATA, r);
    SET(CURLOPT_ERRORBUFFER, r->reason);
    if (type) {
        snprintf(header, sizeof(header), "Content-Type: %s", type);
        headers = curl_slist_append(NULL, header);
        headers = headers ? curl_slist_append(headers, "Expect:") : NULL;
        ok = ok && headers;
        SET(CURLOPT_HTTPHEADER, headers);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
        SET(CURLOPT_POSTFIELDS, body.p);
    }
    rc = ok ? curl_easy_perform(r->curl) : CURLE_OUT_OF_MEMORY;
    curl_slist_free_all(headers);
    curl_easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status == 404 && !r->ended)
        return err_set(e, E_NOT_FOUND, "%s: nobody administers there: the address is that of listen.admin", r->url);
    if (r->failed.code != E_OK)
        return err_set(e, r->failed.code, "%s", r->failed.msg);
    if (rc != CURLE_OK)
        return err_set(e, E_IO, "%s: %s", r->url, r->reason[0] ? r->reason : curl_easy_strerror(rc));
    if (!r->ended)
        return err_set(e, E_IO, "%s: the answer ended too early", r->url);
    return E_OK;
}

static void begin(struct admin_remote *r)
{
    json_decref(r->done);
    r->done = NULL;
    r->ended = false;
    r->failed = (struct err){0};
    r->rows = NULL;
    r->progress = NULL;
    buf_reset(&r->line);
    if (r->file >= 0)
        close(take_fd(&r->file));
}

enum err_code admin_remote_node(struct admin_remote *r, char *out, size_t size, struct err *e)
{
    const char *node;

    begin(r);
    if (perform(r, "/v1/node", NULL, BYTES(NULL, 0), CONNECT_S, e) != E_OK)
        return e->code;
    node = json_string_value(json_object_get(r->done, "node"));
    if (!node || strlen(node) >= size)
        return err_set(e, E_INTERNAL, "%s does not say which service it is", r->url);
    snprintf(out, size, "%s", node);
    return E_OK;
}

static enum err_code body_with_file(struct bytes jws, int file, struct buf *out, struct err *e)
{
    struct bytes content;

    if (fd_map(file, FILE_MAX, &content, e) != E_OK)
        return e->code;
    buf_add_str(out, "{\"request\":\"");
    buf_add_bytes(out, jws);
    buf_add_str(out, "\",\"file\":\"");
    base64_encode(out, content, 0);
    buf_add_str(out, "\"}");
    fd_unmap(content);
    return buf_ok(out) ? E_OK : err_set(e, E_NOMEM, "out of memory");
}

enum err_code admin_remote_call(struct admin_remote *r, struct bytes jws, int file, long patience_s, admin_rows_fn rows, admin_progress_fn progress,
                                void *arg, json_t **result, int *fd, struct err *e)
{
    AUTO_BUF both = BUF_INIT(2 * FILE_MAX);

    begin(r);
    r->rows = rows;
    r->progress = progress;
    r->arg = arg;
    if (file >= 0 && body_with_file(jws, file, &both, e) != E_OK)
        return e->code;
    if (perform(r, "/v1/admin", file >= 0 ? "application/json" : "application/jose", file >= 0 ? buf_bytes(&both) : jws, patience_s, e) != E_OK)
        return e->code;
    *result = r->done;
    r->done = NULL;
    if (fd && r->file >= 0 && lseek(r->file, 0, SEEK_SET) == 0)
        *fd = take_fd(&r->file);
    return E_OK;
}
