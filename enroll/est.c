/* SPDX-License-Identifier: Apache-2.0 */
/* EST (RFC 7030, RFC 8951): routes, credentials, bodies, and the answers the core decides. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/der.h"
#include "base/derw.h"
#include "base/oid.h"
#include "enroll/basic.h"
#include "enroll/front_int.h"

#define EST_PREFIX      "/.well-known/est/"
#define LABELS_MAX      1024
#define CACERTS_MAX     (1024 * 1024)
#define ANSWER_BODY_MAX (256 * 1024)
#define WRAP_COLUMNS    64

#define CERTS_ONLY     "application/pkcs7-mime; smime-type=certs-only"
#define ENVELOPED_KEY  "application/pkcs7-mime; smime-type=server-generated-key"
#define CLEAR_KEY      "application/pkcs8"
#define BOUNDARY       "inkan-server-generated-key" /* no base64 text holds a '-' */
#define CTE_HEADER     "Content-Transfer-Encoding: base64\r\n" /* dropped by RFC 8951, needed by clients in the field */
#define CHALLENGE      "WWW-Authenticate: Basic realm=\"est\"\r\n"
#define RETRY_OWN_S    5

#define GET_OR_HEAD (HTTP_METHOD_BIT(HTTP_GET) | HTTP_METHOD_BIT(HTTP_HEAD))
#define POST_ONLY   HTTP_METHOD_BIT(HTTP_POST)

/* ---- labels ----------------------------------------------------------------------------------------------------- */

struct est_label {
    char name[EST_LABEL_MAX + 1];
    bool auth_cert, auth_password, auth_key, wrap64, keygen;
    struct buf cacerts, csrattrs; /* as sent: base64 text; csrattrs empty: 204 */
};

struct est_labels {
    struct est_label *v;
    size_t n;
};

struct est_labels *est_labels_new(void)
{
    return calloc(1, sizeof(struct est_labels));
}

void est_labels_free(struct est_labels *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->n; i++) {
        buf_clear(&l->v[i].cacerts);
        buf_clear(&l->v[i].csrattrs);
    }
    free(l->v);
    free(l);
}

/* One unbroken line and one LF reads everywhere but in libest's client above 1 kB; the label decides (RFC 8951 3.1). */
static void body_encode(struct buf *out, struct bytes der, bool wrap64)
{
    base64_encode(out, der, wrap64 ? WRAP_COLUMNS : 0);
    if (!wrap64)
        buf_add_u8(out, '\n');
}

static const struct est_label *label_find(const struct est_labels *l, const char *name)
{
    for (size_t i = 0; l && i < l->n; i++)
        if (strcmp(l->v[i].name, name) == 0)
            return &l->v[i];
    return NULL;
}

enum err_code est_labels_add(struct est_labels *l, const struct svc_label *label, struct bytes cacerts, struct err *e)
{
    struct est_label *v, *one;

    if (label_find(l, label->name))
        return err_set(e, E_INVALID, "label \"%s\" twice", label->name);
    if (l->n == LABELS_MAX || cacerts.len == 0 || cacerts.len > CACERTS_MAX)
        return err_set(e, E_INVALID, "label \"%s\": too many labels, or cacerts of %zu octets", label->name,
                       cacerts.len);
    v = realloc(l->v, (l->n + 1) * sizeof *v);
    if (!v)
        return err_set(e, E_NOMEM, "label \"%s\"", label->name);
    l->v = v;
    one = &v[l->n];
    *one = (struct est_label){
        .auth_cert = label->auth_cert,
        .auth_password = label->auth_password,
        .auth_key = label->auth_key,
        .wrap64 = label->wrap64,
        .keygen = label->keygen,
        .cacerts = BUF_INIT(2 * CACERTS_MAX),
        .csrattrs = BUF_INIT(2 * EST_BODY_MAX),
    };
    strcpy(one->name, label->name);
    l->n++;
    body_encode(&one->cacerts, cacerts, label->wrap64);
    if (label->csrattrs.len)
        body_encode(&one->csrattrs, label->csrattrs, label->wrap64);
    if (!buf_ok(&one->cacerts) || !buf_ok(&one->csrattrs))
        return err_set(e, E_NOMEM, "label \"%s\"", label->name);
    return E_OK;
}

/* ---- routes ----------------------------------------------------------------------------------------------------- */

struct est_route {
    const char *name;
    unsigned methods;
    const char *allow;
    const char *content_type; /* of the request; NULL: no body */
    bool needs_auth;
    int refuse;               /* 501: known, not offered */
    enum svc_operation operation;
    void (*handle)(struct conn *c);
};

static void serve_cacerts(struct conn *c);
static void serve_csrattrs(struct conn *c);
static void serve_enroll(struct conn *c);

static const struct est_route routes[] = {
    /* name            methods      Allow            request type           auth   refuse  operation           handler */
    {"cacerts",        GET_OR_HEAD, "GET, HEAD",     NULL,                  false, 0,      0,                  serve_cacerts},
    {"csrattrs",       GET_OR_HEAD, "GET, HEAD",     NULL,                  false, 0,      0,                  serve_csrattrs},
    {"simpleenroll",   POST_ONLY,   "POST",          "application/pkcs10",  true,  0,      SVC_SIMPLEENROLL,   serve_enroll},
    {"simplereenroll", POST_ONLY,   "POST",          "application/pkcs10",  true,  0,      SVC_SIMPLEREENROLL, serve_enroll},
    {"serverkeygen",   POST_ONLY,   "POST",          "application/pkcs10",  true,  0,      SVC_SERVERKEYGEN,   serve_enroll},
    {"fullcmc",        POST_ONLY,   "POST",          NULL,                  false, 501,    0,                  NULL},
};

static bool label_text_is_valid(const char *s)
{
    return *s && strlen(s) <= EST_LABEL_MAX &&
           strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") == strlen(s);
}

/* /.well-known/est/OP or /.well-known/est/LABEL/OP (RFC 7030 3.2.2). NULL: no such route. */
static const struct est_route *route_find(char *path, char label[EST_LABEL_MAX + 1])
{
    char *op, *slash;

    label[0] = '\0';
    if (strncmp(path, EST_PREFIX, strlen(EST_PREFIX)) != 0)
        return NULL;
    op = path + strlen(EST_PREFIX);
    slash = strchr(op, '/');
    if (slash) {
        *slash = '\0';
        if (!label_text_is_valid(op))
            return NULL;
        strcpy(label, op);
        op = slash + 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (strcmp(op, routes[i].name) == 0)
            return &routes[i];
    return NULL;
}

static bool refuse(struct refusal *no, int status, const char *text, const char *headers)
{
    *no = (struct refusal){.status = status, .text = text, .headers = headers};
    return false;
}

static bool refuse_method(struct refusal *no, const struct est_route *r)
{
    return refuse(no, 405, "this resource does not take that method",
                  strcmp(r->allow, "POST") == 0 ? "Allow: POST\r\n" : "Allow: GET, HEAD\r\n");
}

static bool refuse_unauthenticated(struct refusal *no, bool auth_password)
{
    if (auth_password) /* only where a password can help (RFC 7030 3.2.3) */
        return refuse(no, 401, "authentication required", CHALLENGE);
    return refuse(no, 403, "a client certificate is required", NULL);
}

/* May this caller try at all? Whether the credential is right is the core's to say. */
static bool authentication_offered(struct conn *c, const struct est_route *route, const struct est_label *label,
                                   struct refusal *no)
{
    char user[sizeof((struct svc_enroll *)0)->user];
    struct secret password = {0};
    enum basic_result got = BASIC_NONE;

    if (label->auth_password) {
        got = basic_read(c->reader.req.authorization, user, sizeof user, &password);
        secret_clear(&password);
    }
    if (got == BASIC_NO_MEMORY) {
        front_memory_short(c->front);
        return refuse(no, 503, "the service cannot answer now, try again", NULL);
    }
    if (got == BASIC_MALFORMED)
        return refuse(no, 400, "the Basic credentials cannot be decoded", NULL);
    if (got == BASIC_TOO_LONG)
        return refuse_unauthenticated(no, label->auth_password);
    if (got == BASIC_OK || (label->auth_cert && c->peer.chain_n > 0))
        return true;
    if (label->auth_key && route->operation == SVC_SIMPLEENROLL) /* the request itself is the proof */
        return true;
    return refuse_unauthenticated(no, label->auth_password);
}

static bool content_is_acceptable(const struct http_request *q, const struct est_route *r, struct refusal *no)
{
    if (!http_media_type_is(q->content_type, r->content_type))
        return refuse(no, 415, "the request body must be application/pkcs10", NULL);
    if (q->content_encoding.p && !http_media_type_is(q->content_encoding, "identity"))
        return refuse(no, 415, "Content-Encoding is not accepted", NULL);
    return true;
}

/* What a station says of the unit goes into its record: short, and one line of text. */
static bool unit_is_acceptable(const struct http_request *q, struct refusal *no)
{
    if (q->unit.len > UNIT_HEADER_MAX)
        return refuse(no, 400, "Inkan-Unit is longer than 512 octets", NULL);
    for (size_t i = 0; i < q->unit.len; i++)
        if (q->unit.p[i] < ' ' || q->unit.p[i] > '~')
            return refuse(no, 400, "Inkan-Unit is not printable ASCII", NULL);
    return true;
}

static bool est_on_head(struct conn *c, size_t *body_max, struct refusal *no)
{
    const struct http_request *q = &c->reader.req;
    struct est_request *est = &c->u.est;
    const struct est_label *label;
    const struct est_route *route;
    char path[512];

    if (!http_path_decode(q->path, path, sizeof path)) {
        front_count(c->front, SVC_REFUSED_NO_ROUTE);
        return refuse(no, 400, "the path is malformed", NULL);
    }
    if (!c->front->config.complete)
        return refuse(no, 503, "starting", NULL);
    if (access_is_path(path))
        return access_on_head(c, path, body_max, no);
    if (factory_is_path(path))
        return factory_on_head(c, path, body_max, no);
    route = route_find(path, est->label);
    label = route ? label_find(c->front->config.labels, est->label) : NULL;
    if (!label || (route->operation == SVC_SERVERKEYGEN && !label->keygen)) {
        front_count(c->front, SVC_REFUSED_NO_ROUTE);
        return refuse(no, 404, "no such resource", NULL);
    }
    est->route = route;
    est->auth_password = label->auth_password;
    est->wrap64 = label->wrap64;
    if (!(route->methods & HTTP_METHOD_BIT(q->method)))
        return refuse_method(no, route);
    if (route->refuse)
        return refuse(no, route->refuse, "this operation is not offered", NULL);
    if (route->content_type && !content_is_acceptable(q, route, no))
        return false;
    if (route->needs_auth && !authentication_offered(c, route, label, no))
        return false;
    if (!unit_is_acceptable(q, no))
        return false;
    *body_max = route->content_type ? EST_BODY_MAX : 0;
    return true;
}

static void est_on_request(struct conn *c)
{
    if (c->u.est.access.route)
        access_on_request(c);
    else if (c->u.est.factory.route)
        factory_on_request(c);
    else
        c->u.est.route->handle(c);
}

/* ---- cacerts and csrattrs (RFC 7030 4.1, 4.5) -------------------------------------------------------------------- */

static void serve_cacerts(struct conn *c)
{
    const struct est_label *label = label_find(c->front->config.labels, c->u.est.label);

    if (!label) {
        conn_refuse(c, 404, "no such resource", NULL, 0);
        return;
    }
    conn_answer(c, &(struct http_answer){
                       .status = 200,
                       .content_type = CERTS_ONLY,
                       .headers = CTE_HEADER,
                       .body = buf_bytes(&label->cacerts),
                   });
}

/* Nothing to ask for is 204: a 404 with text breaks clients that RFC 8951 section 4 would allow it for. */
static void serve_csrattrs(struct conn *c)
{
    const struct est_label *label = label_find(c->front->config.labels, c->u.est.label);

    if (!label) {
        conn_refuse(c, 404, "no such resource", NULL, 0);
        return;
    }
    if (label->csrattrs.len == 0) {
        conn_answer(c, &(struct http_answer){.status = 204});
        return;
    }
    conn_answer(c, &(struct http_answer){
                       .status = 200,
                       .content_type = "application/csrattrs",
                       .headers = CTE_HEADER,
                       .body = buf_bytes(&label->csrattrs),
                   });
}

/* ---- enrollment (RFC 7030 4.2) ----------------------------------------------------------------------------------- */

static bool starts_with_pem(struct bytes body)
{
    static const char begin[] = "-----BEGIN";

    while (body.len && body.p[0] <= ' ')
        body = BYTES(body.p + 1, body.len - 1);
    return body.len >= sizeof begin - 1 && memcmp(body.p, begin, sizeof begin - 1) == 0;
}

/* NULL, or what is wrong with the body unless `csr` ran out of memory. What is inside the SEQUENCE is the core's to judge. */
static const char *csr_decode(struct bytes body, struct buf *csr)
{
    struct err ignored = {0};

    if (starts_with_pem(body))
        return "the body is PEM; send base64 without PEM lines";
    if (base64_decode(body, csr, &ignored) != E_OK)
        return "the body is not base64 of at most 16384 octets (RFC 8951 section 3)";
    if (!der_is_one_element(buf_bytes(csr), DER_SEQUENCE))
        return "the body is not the base64 of one DER certification request";
    return NULL;
}

static void log_late(struct conn *c, const char *why)
{
    struct log_line l;
    char rid[17];

    rid_format(c->rid, rid);
    log_begin(&l, LOG_WARN, "est-not-answered");
    log_str(&l, "rid", rid);
    log_str(&l, "reason", why);
    log_end(&l);
}

static void refuse_for_now(struct conn *c, const char *why)
{
    c->u.est.code = E_IO;
    log_late(c, why);
    conn_refuse(c, 503, "the service cannot answer now, try again", NULL, RETRY_OWN_S);
}

static void refuse_without_memory(struct conn *c, const char *why)
{
    front_memory_short(c->front);
    refuse_for_now(c, why);
}

static void enroll_send(struct conn *c, struct bytes csr)
{
    struct svc_enroll q = {.operation = c->u.est.route->operation, .csr = csr};
    enum basic_result basic = BASIC_NONE;
    struct secret password = {0};
    uint8_t binding[32];
    struct err e = {0};
    struct msg m;

    strcpy(q.label, c->u.est.label);
    memcpy(q.chain, c->peer.chain, sizeof q.chain);
    q.chain_n = c->peer.chain_n;
    q.verdict = c->peer.verdict;
    if (c->u.est.auth_password)
        basic = basic_read(c->reader.req.authorization, q.user, sizeof q.user, &password);
    if (basic == BASIC_NO_MEMORY) {
        refuse_without_memory(c, "out of memory for the credentials");
        return;
    }
    q.has_password = basic == BASIC_OK;
    if (q.has_password)
        q.password = BYTES(password.p, password.len);
    q.binding.len = tls_binding(c->ssl, &q.binding_kind, binding);
    q.binding.p = binding;
    q.tls_bits = tls_bits(c->ssl);
    snprintf(q.peer, sizeof q.peer, "%s", c->peer_text);
    snprintf(q.unit, sizeof q.unit, "%.*s", (int)c->reader.req.unit.len, (const char *)c->reader.req.unit.p);

    msg_begin(&m, SVC_ENROLL, c->rid);
    /* Reserved whole: growing would leave a copy of the password in freed memory. */
    buf_reserve(&m.b, CSR_MAX_LEN + CLIENT_CHAIN_MAX_LEN + 4096);
    svc_enroll_encode(&m, &q);
    secret_clear(&password);
    if (!buf_ok(&m.b)) /* a request within its limits fits: there was no memory to write it */
        front_memory_short(c->front);
    if (chan_send(c->front->core, &m, -1, &e) != E_OK) {
        msg_wipe(&m);
        refuse_for_now(c, e.msg);
        return;
    }
    conn_wait(c, WAIT_CORE);
}

static void serve_enroll(struct conn *c)
{
    AUTO_BUF csr = BUF_INIT(CSR_MAX_LEN);
    const char *wrong;

    if (c->front->core && !front_core_has_room(c->front)) { /* first, and told by est-request alone: refusing must be cheap */
        c->u.est.code = E_BUSY;
        conn_refuse(c, 503, "too many requests, try again later", NULL, RETRY_OWN_S);
        return;
    }
    wrong = csr_decode(c->reader.req.body, &csr);
    if (csr.no_memory) {
        refuse_without_memory(c, "out of memory for the request");
    } else if (wrong) {
        c->u.est.code = E_INVALID;
        conn_refuse(c, 400, wrong, NULL, 0);
    } else if (!c->front->core) {
        refuse_for_now(c, "no link to the core");
    } else {
        enroll_send(c, buf_bytes(&csr));
    }
}

/* SignedData version 1 without signers, holding one certificate (RFC 7030 4.2.3, RFC 5272 4.1, RFC 5652 5.1). */
static bool certs_only_write(struct bytes cert, struct buf *out)
{
    struct derw w;

    derw_init(&w, out);
    derw_begin(&w, DER_SEQUENCE);
    derw_oid(&w, OID_PKCS7_SIGNED_DATA);
    derw_begin(&w, DER_CONTEXT_CONSTRUCTED(0));
    derw_begin(&w, DER_SEQUENCE);
    derw_u64(&w, 1);
    derw_element(&w, DER_SET, (struct bytes){NULL, 0});
    derw_begin(&w, DER_SEQUENCE);
    derw_oid(&w, OID_PKCS7_DATA);
    derw_end(&w);
    derw_element(&w, DER_CONTEXT_CONSTRUCTED(0), cert);
    derw_element(&w, DER_SET, (struct bytes){NULL, 0});
    derw_end(&w);
    derw_end(&w);
    derw_end(&w);
    return derw_finish(&w);
}

static void answer_certificate(struct conn *c, struct bytes cert, bool close)
{
    AUTO_BUF cms = BUF_INIT(ANSWER_BODY_MAX);
    AUTO_BUF text = BUF_INIT(ANSWER_BODY_MAX);

    if (certs_only_write(cert, &cms))
        body_encode(&text, buf_bytes(&cms), c->u.est.wrap64);
    if (cms.len == 0 || !buf_ok(&cms) || !buf_ok(&text)) {
        refuse_without_memory(c, "out of memory for the certificate");
        return;
    }
    conn_answer(c, &(struct http_answer){
                       .status = 200,
                       .content_type = CERTS_ONLY,
                       .headers = CTE_HEADER,
                       .body = buf_bytes(&text),
                       .close = close,
                   });
}

/* ---- keys made here (RFC 7030 4.4.2) ----------------------------------------------------------------------------- */

static void part_write(struct buf *out, const char *type, struct bytes content, bool wrap64)
{
    buf_printf(out, "--" BOUNDARY "\r\nContent-Type: %s\r\n" CTE_HEADER "\r\n", type);
    body_encode(out, content, wrap64);
    buf_add_str(out, "\r\n");
}

/* The key first, then exactly what simpleenroll answers. Nothing of it stays behind here. */
static void answer_key(struct conn *c, const struct svc_enroll_result *r, bool close)
{
    AUTO_BUF cms = BUF_INIT(ANSWER_BODY_MAX);
    struct buf text = BUF_INIT(ANSWER_BODY_MAX);
    bool ok = certs_only_write(r->cert, &cms) && buf_reserve(&text, 4 * (cms.len + r->key.len));

    if (ok) {
        part_write(&text, r->key_enveloped ? ENVELOPED_KEY : CLEAR_KEY, r->key, c->u.est.wrap64);
        part_write(&text, CERTS_ONLY, buf_bytes(&cms), c->u.est.wrap64);
        buf_add_str(&text, "--" BOUNDARY "--\r\n");
    }
    if (!ok || !buf_ok(&cms) || !buf_ok(&text)) {
        buf_wipe(&text);
        front_memory_short(c->front);
        refuse_for_now(c, "out of memory for the key");
        return;
    }
    conn_answer_secret(c, &(struct http_answer){
                              .status = 200,
                              .content_type = "multipart/mixed; boundary=" BOUNDARY,
                              .body = buf_bytes(&text),
                              .no_store = true,
                              .close = close,
                          });
    buf_wipe(&text);
}

/* RFC 7030 4.2.3: Retry-After must be there, a text may. */
static void answer_pending(struct conn *c, const char *text, uint32_t retry_after_s, bool close)
{
    conn_answer(c, &(struct http_answer){
                       .status = 202,
                       .content_type = *text ? "text/plain; charset=utf-8" : NULL,
                       .body = bytes_str(text),
                       .retry_after_s = retry_after_s,
                       .close = close,
                   });
}

void est_on_result(struct conn *c, const struct svc_enroll_result *r)
{
    /* RFC 9266 4.1: an exporter value serves one authentication; the connection ends with it. */
    bool close = r->binding_judged && c->peer.version && strcmp(c->peer.version, "1.3") == 0;
    const struct code_status *cs = code_status(r->code);
    const char *headers = NULL, *text = r->text[0] ? r->text : cs->text;
    uint32_t retry = r->retry_after_s;
    int status = cs->status;

    conn_wait_done(c, WAIT_CORE);
    c->u.est.code = r->code;
    c->close = c->close || close;
    if (r->code == E_OK && c->u.est.route->operation == SVC_SERVERKEYGEN && r->key.len == 0) {
        refuse_for_now(c, "the core sent no key");
        return;
    }
    if (r->code == E_OK) {
        if (c->u.est.route->operation == SVC_SERVERKEYGEN)
            answer_key(c, r, close);
        else
            answer_certificate(c, r->cert, close);
        return;
    }
    if (status == 401 && c->u.est.auth_password)
        headers = CHALLENGE;
    else if (status == 401)
        status = 403;
    if (r->code == E_BUSY && r->client_limit)
        status = 429; /* guesses, or requests that wait for an operator */
    if ((status == 202 || status == 429 || status == 503) && retry == 0)
        retry = RETRY_OWN_S;
    if (status != 202 && status != 429 && status != 503)
        retry = 0;
    if (status == 202)
        answer_pending(c, r->text, retry, close);
    else
        conn_refuse(c, status, text, headers, retry);
}

/* An answer of ours in the words of what was asked. */
static void not_answered(struct conn *c, const char *why)
{
    if (c->u.est.access.route)
        access_refuse_for_now(c);
    else if (c->u.est.factory.route)
        factory_refuse_for_now(c, why);
    else
        refuse_for_now(c, why);
}

static void est_on_deadline(struct conn *c)
{
    conn_wait_done(c, WAIT_CORE);
    conn_wait_done(c, WAIT_STATUS);
    not_answered(c, "the core did not answer within the deadline of the request");
}

static void est_on_link_lost(struct conn *c, enum wait link)
{
    conn_wait_done(c, link);
    not_answered(c, "the link to the core broke");
}

static void est_on_done(struct conn *c, int status)
{
    const struct est_request *est = &c->u.est;
    struct log_line l;
    char rid[17];

    if (est->access.route)
        access_on_done(c, status);
    if (est->factory.route)
        factory_on_done(c, status);
    if (!est->route)
        return; /* counted where it was refused */
    rid_format(c->rid, rid);
    log_begin(&l, LOG_INFO, "est-request");
    log_str(&l, "rid", rid);
    log_str(&l, "op", est->route->name);
    log_str(&l, "label", est->label);
    log_i64(&l, "status", status);
    log_i64(&l, "ms", clock_mono_ms() - c->started_ms);
    log_str(&l, "peer", c->peer_text);
    log_str(&l, "tls", c->peer.version);
    if (est->code != E_OK)
        log_str(&l, "code", err_code_name(est->code));
    log_end(&l);
}

const struct service est_service = {
    .name = "est",
    .counted = SVC_LISTENER_EST,
    .tls = true,
    .limited = true,
    .on_head = est_on_head,
    .on_request = est_on_request,
    .on_deadline = est_on_deadline,
    .on_link_lost = est_on_link_lost,
    .on_done = est_on_done,
};
