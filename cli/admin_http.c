/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <jansson.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/buffer.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/log.h"
#include "ca/admin.h"
#include "ca/signed_request.h"
#include "cli/admin_door.h"
#include "enroll/http.h"

AUTO_TYPE(json_t, json_decref)

#define CONNS_MAX      64
#define FILE_MAX       ((size_t)8 << 20)
#define BODY_MAX       (FILE_MAX / 3 * 4 + SIGNED_REQUEST_MAX + 1024)
#define QUEUE_HIGH     (256 * 1024) /* octets unread by the client: the core waits */
#define QUEUE_LOW      (64 * 1024)
#define CORE_QUEUE     (1 << 20)
#define FILE_PIECE     (24 * 1024)
#define LINE_ROOM      (128 * 1024)
#define HANDSHAKE_S    10
#define REQUEST_S      60
#define IDLE_S         60
#define WRITE_S        30 /* without an octet taken */

enum door_state { DOOR_HANDSHAKE, DOOR_REQUEST, DOOR_CALL, DOOR_ANSWER };

struct door_conn {
    TAILQ_ENTRY(door_conn) link;
    struct door *door;
    SSL *ssl;
    evutil_socket_t fd;
    struct event *readable, *writable, *timer;
    enum door_state state;
    struct http_reader reader;
    bool close;      /* after the answer */
    struct chan *core; /* the conversation of the request under way */
    struct evbuffer *out;
    bool streaming;  /* the head is out, chunks follow */
    bool broken;     /* something could not be added: its end must not look like one */
    bool paused;
    int file;        /* what the core answered beside its words; -1: nothing */
    off_t file_at;
    json_t *last;    /* the line after it */
};

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void handshake(struct door_conn *c);
static void write_out(struct door_conn *c);

static void conn_free(struct door_conn *c)
{
    struct door *d = c->door;

    TAILQ_REMOVE(&d->conns, c, link);
    d->conn_n--;
    chan_free(c->core);
    if (c->ssl) {
        if (c->state != DOOR_HANDSHAKE)
            SSL_shutdown(c->ssl);
        ERR_clear_error();
        SSL_free(c->ssl);
    }
    if (c->readable)
        event_free(c->readable);
    if (c->writable)
        event_free(c->writable);
    if (c->timer)
        event_free(c->timer);
    if (c->out)
        evbuffer_free(c->out);
    if (c->file >= 0)
        close(c->file);
    json_decref(c->last);
    http_reader_clear(&c->reader);
    close(c->fd);
    free(c);
    if (d->stopping && d->conn_n == 0)
        door_empty(d);
}

static void within_s(struct door_conn *c, long s)
{
    struct timeval tv = {.tv_sec = s};

    if (s)
        evtimer_add(c->timer, &tv);
    else
        evtimer_del(c->timer);
}

/* ---- answers ---- */

static int http_status(enum err_code code)
{
    switch (code) {
    case E_OK:
        return 200;
    case E_INVALID:
        return 400;
    case E_UNAUTHENTICATED:
        return 401;
    case E_DENIED:
        return 403;
    case E_NOT_FOUND:
        return 404;
    case E_CONFLICT:
        return 409;
    case E_PENDING:
        return 202;
    case E_BUSY:
        return 429;
    case E_TOKEN:
    case E_STORE:
    case E_IO:
    case E_NOMEM:
        return 503;
    default:
        return 500;
    }
}

/* One whole answer of one line. Takes over `line`. */
static void answer_line(struct door_conn *c, int status, json_t *line)
{
    AUTO(json_t) *owned = line;
    AUTO(char) *text = owned ? json_dumps(owned, JSON_COMPACT) : NULL;
    AUTO_BUF all = BUF_INIT(2 * LINE_ROOM);
    AUTO_BUF body = BUF_INIT(LINE_ROOM);
    struct http_answer a = {.status = status, .content_type = "application/x-ndjson", .no_store = true, .close = c->close};

    buf_add_str(&body, text ? text : "{}");
    buf_add_str(&body, "\n");
    a.body = buf_bytes(&body);
    http_answer_head(&all, &a, !c->close, clock_now());
    buf_add_bytes(&all, a.body);
    if (!text || !buf_ok(&all) || evbuffer_add(c->out, all.p, all.len) != 0)
        c->close = true; /* the end of the connection says that something is missing */
    c->state = DOOR_ANSWER;
    write_out(c);
}

static json_t *error_json(enum err_code code, const char *text)
{
    return json_pack("{s:{s:s, s:s}}", "error", "code", err_code_name(code), "text", text);
}

static void refuse(struct door_conn *c, int status, enum err_code code, const char *text)
{
    c->close = true;
    answer_line(c, status, error_json(code, text));
}

/* One line of an answer of many. Takes over `line`. */
static void stream_line(struct door_conn *c, json_t *line)
{
    AUTO(json_t) *owned = line;
    AUTO(char) *text = owned ? json_dumps(owned, JSON_COMPACT) : NULL;
    size_t len = text ? strlen(text) : 0;

    if (!c->streaming) {
        c->streaming = true;
        evbuffer_add_printf(c->out, "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n"
                                    "Cache-Control: no-store\r\n%s\r\n", c->close ? "Connection: close\r\n" : "");
    }
    if (!text || evbuffer_add_printf(c->out, "%zx\r\n", len + 1) < 0 || evbuffer_add(c->out, text, len) != 0 ||
        evbuffer_add(c->out, "\n\r\n", 3) != 0)
        c->broken = true;
}

static void stream_end(struct door_conn *c)
{
    if (c->broken || evbuffer_add(c->out, "0\r\n\r\n", 5) != 0)
        c->close = true; /* without its last chunk the answer is not whole */
    c->state = DOOR_ANSWER;
}

/* Pieces of the file while the client takes them, then the last line. */
static void stream_file(struct door_conn *c)
{
    uint8_t piece[FILE_PIECE];

    while (c->file >= 0 && evbuffer_get_length(c->out) < QUEUE_HIGH) {
        AUTO_BUF text = BUF_INIT(2 * FILE_PIECE);
        ssize_t n = pread(c->file, piece, sizeof(piece), c->file_at);

        if (n <= 0) {
            close(take_fd(&c->file));
            break;
        }
        c->file_at += n;
        base64_encode(&text, BYTES(piece, (size_t)n), 0);
        stream_line(c, json_pack("{s:s#}", "file", (const char *)text.p, (int)text.len));
    }
    if (c->file >= 0)
        return;
    stream_line(c, TAKE(c->last));
    stream_end(c);
}

static void request_done(struct door_conn *c)
{
    if (c->close || c->door->stopping) {
        conn_free(c);
        return;
    }
    c->streaming = false;
    c->state = DOOR_REQUEST;
    http_reader_reset(&c->reader);
    event_add(c->readable, NULL);
    within_s(c, IDLE_S);
    on_readable(c->fd, 0, c); /* TLS may hold the next one already */
}

static void let_core_go_on(struct door_conn *c)
{
    if (c->paused && c->core && evbuffer_get_length(c->out) < QUEUE_LOW) {
        c->paused = false;
        chan_resume(c->core);
    }
}

static void write_out(struct door_conn *c)
{
    for (;;) {
        size_t len = evbuffer_get_length(c->out);
        int n;

        if (len == 0 && c->file >= 0) {
            stream_file(c);
            continue;
        }
        if (len == 0)
            break;
        len = len < 16384 ? len : 16384;
        n = SSL_write(c->ssl, evbuffer_pullup(c->out, (ev_ssize_t)len), (int)len);
        if (n > 0) {
            evbuffer_drain(c->out, (size_t)n);
            within_s(c, WRITE_S);
            continue;
        }
        n = SSL_get_error(c->ssl, n);
        ERR_clear_error();
        if (n == SSL_ERROR_WANT_WRITE || n == SSL_ERROR_WANT_READ) {
            event_add(c->writable, NULL);
            if (!evtimer_pending(c->timer, NULL)) /* nothing of this was taken yet: a client that never reads must not stay */
                within_s(c, WRITE_S);
            return;
        }
        conn_free(c);
        return;
    }
    let_core_go_on(c);
    if (c->state == DOOR_ANSWER)
        request_done(c);
    else
        within_s(c, 0); /* the core is at work */
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct door_conn *c = arg;

    (void)fd;
    (void)what;
    if (c->state == DOOR_HANDSHAKE)
        handshake(c);
    else
        write_out(c);
}

/* ---- what the core says ---- */

static bool take_rows(struct door_conn *c, struct bytes text)
{
    AUTO(json_t) *rows = json_loadb((const char *)text.p, text.len, 0, NULL);

    if (!json_is_array(rows))
        return false;
    for (size_t i = 0; i < json_array_size(rows); i++)
        stream_line(c, json_pack("{s:O}", "row", json_array_get(rows, i)));
    return true;
}

static void take_done(struct door_conn *c, enum err_code code, const struct err *why, struct bytes text, int fd)
{
    json_t *result = text.len ? json_loadb((const char *)text.p, text.len, 0, NULL) : json_object();
    json_t *line;

    chan_free(TAKE(c->core));
    if (code == E_OK)
        line = json_pack("{s:o}", "done", result);
    else
        line = json_pack("{s:{s:s, s:s, s:o}}", "error", "code", err_code_name(code), "text", why->msg, "result", result);
    c->file = fd;
    c->file_at = 0;
    if (fd >= 0) {
        c->last = line;
        write_out(c);
    } else if (c->streaming) {
        stream_line(c, line);
        stream_end(c);
        write_out(c);
    } else {
        answer_line(c, http_status(code), line);
    }
}

static void on_core_message(struct chan *chan, struct msg_reader *r, int fd, void *arg)
{
    AUTO_FD int given = fd;
    struct door_conn *c = arg;
    struct err e = {0}, why = {0};
    enum err_code code = E_OK;
    uint64_t done = 0, total = 0;
    char what[128] = "";
    struct bytes text = {NULL, 0};
    uint16_t type = r->type;

    if (type == ADMIN_PROGRESS) {
        done = msg_get_u64(r);
        total = msg_get_u64(r);
        msg_get_str(r, what, sizeof(what));
    } else if (type == ADMIN_NODE) {
        text = msg_get_bytes(r, SIGNED_NODE_MAX);
    } else {
        if (type == ADMIN_DONE)
            code = msg_get_err(r, &why);
        text = msg_get_bytes(r, MSG_MAX_LEN);
    }
    if (msg_read_end(r, &e) != E_OK || (type != ADMIN_PROGRESS && type != ADMIN_NODE && type != ADMIN_DONE && type != ADMIN_ROWS) ||
        (type == ADMIN_ROWS && !take_rows(c, text))) {
        err_set(&e, E_INVALID, "message type 0x%04x of the core is not understood", type);
        chan_fail(chan, &e);
        return;
    }
    if (type == ADMIN_NODE) {
        json_t *line = json_pack("{s:{s:s#}}", "done", "node", (const char *)text.p, (int)text.len);

        chan_free(TAKE(c->core));
        answer_line(c, 200, line);
        return;
    }
    if (type == ADMIN_DONE) {
        take_done(c, code, &why, text, take_fd(&given));
        return;
    }
    if (type == ADMIN_PROGRESS)
        stream_line(c, json_pack("{s:{s:I, s:I, s:s}}", "progress", "done", (json_int_t)done, "total", (json_int_t)total, "what", what));
    if (evbuffer_get_length(c->out) > QUEUE_HIGH && !c->paused) {
        c->paused = true;
        chan_pause(chan);
    }
    write_out(c);
}

static void on_core_gone(struct chan *chan, const struct err *why, void *arg)
{
    struct door_conn *c = arg;

    (void)chan;
    (void)why;
    chan_free(TAKE(c->core));
    if (c->streaming) {
        conn_free(c); /* a list without its last line */
        return;
    }
    refuse(c, 503, E_IO, "the service ended the request without an answer; whether it was done is in its trail");
}

/* ---- the request ---- */

/* Takes over `file`. */
static void ask_core(struct door_conn *c, uint16_t type, struct bytes jws, int file)
{
    static const struct chan_ops ops = {on_core_message, on_core_gone};
    AUTO_FD int owned = file;
    struct err e = {0};
    struct msg m;
    int fd = door_open_core(c->door, &e);

    if (fd >= 0)
        c->core = chan_new(c->door->base, fd, &ops, c, CORE_QUEUE, &e);
    if (!c->core) {
        log_failure("admin-call-failed", &e);
        refuse(c, 503, E_IO, "the service cannot be reached now");
        return;
    }
    c->state = DOOR_CALL;
    within_s(c, 0);
    msg_begin(&m, type, 1);
    if (type == ADMIN_SIGNED)
        msg_put_bytes(&m, jws);
    if (chan_send(c->core, &m, owned, &e) != E_OK) {
        chan_free(TAKE(c->core));
        refuse(c, 503, E_IO, "the service cannot be reached now");
    }
}

/* Neither a JWS nor base64 holds a bracket or a comma. What has more of them would cost twenty times its size to build. */
static bool is_flat(struct bytes body)
{
    size_t brackets = 0, commas = 0;

    for (size_t i = 0; i < body.len; i++) {
        brackets += body.p[i] == '[' || body.p[i] == '{';
        commas += body.p[i] == ',';
    }
    return brackets == 1 && commas == 1;
}

/* {"request": JWS, "file": base64} */
static void ask_with_file(struct door_conn *c, struct bytes body)
{
    AUTO(json_t) *j = is_flat(body) ? json_loadb((const char *)body.p, body.len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    AUTO_BUF content = BUF_INIT(FILE_MAX);
    const char *request, *file;
    struct err e = {0};
    int fd;

    if (!j || json_unpack_ex(j, NULL, JSON_STRICT, "{s:s, s:s}", "request", &request, "file", &file) != 0 ||
        strlen(request) > SIGNED_REQUEST_MAX || base64_decode(bytes_str(file), &content, &e) != E_OK) {
        refuse(c, 400, E_INVALID, "the body must be {\"request\": a JWS, \"file\": base64}");
        return;
    }
    fd = memfd_of("inkan-request", buf_bytes(&content), &e);
    if (fd < 0)
        refuse(c, 503, E_NOMEM, "no memory for the file");
    else
        ask_core(c, ADMIN_SIGNED, bytes_str(request), fd);
}

static bool path_is(const struct http_request *q, const char *path)
{
    return bytes_equal(q->path, bytes_str(path)) && q->query.p == NULL;
}

/* The head is there: may its body come? */
static bool may_go_on(struct door_conn *c)
{
    const struct http_request *q = &c->reader.req;
    bool jose = http_media_type_is(q->content_type, "application/jose");

    c->close = !q->keep_alive;
    if (q->minor == 0)
        refuse(c, 400, E_INVALID, "HTTP/1.1 is needed");
    else if (path_is(q, "/v1/node") ? q->method != HTTP_GET : path_is(q, "/v1/admin") && q->method != HTTP_POST)
        refuse(c, 405, E_INVALID, "another method is needed here");
    else if (!path_is(q, "/v1/node") && !path_is(q, "/v1/admin"))
        refuse(c, 404, E_NOT_FOUND, "there are /v1/node and /v1/admin");
    else if (q->method == HTTP_POST && !jose && !http_media_type_is(q->content_type, "application/json"))
        refuse(c, 415, E_INVALID, "application/jose or, with a file, application/json");
    else if (q->content_encoding.p)
        refuse(c, 415, E_INVALID, "no content coding is understood");
    else if (q->content_length > (jose ? SIGNED_REQUEST_MAX : BODY_MAX))
        refuse(c, 413, E_INVALID, "the request is too large");
    else
        return true;
    return false;
}

static void on_request(struct door_conn *c)
{
    const struct http_request *q = &c->reader.req;

    event_del(c->readable);
    if (path_is(q, "/v1/node"))
        ask_core(c, ADMIN_NODE, BYTES(NULL, 0), -1);
    else if (http_media_type_is(q->content_type, "application/jose"))
        ask_core(c, ADMIN_SIGNED, q->body, -1);
    else
        ask_with_file(c, q->body);
}

/* false: nothing more is read now, and `c` may be gone. */
static bool feed(struct door_conn *c, const uint8_t *p, size_t len)
{
    while (c->state == DOOR_REQUEST) {
        size_t used = 0;

        if (len && http_reader_is_idle(&c->reader))
            within_s(c, REQUEST_S);
        switch (http_feed(&c->reader, p, len, &used)) {
        case HTTP_EVENT_MORE:
            return true;
        case HTTP_EVENT_HEAD:
            if (!may_go_on(c))
                return false;
            http_body_keep(&c->reader);
            if (c->reader.req.expect_continue && SSL_write(c->ssl, "HTTP/1.1 100 Continue\r\n\r\n", 25) != 25)
                ERR_clear_error();
            break;
        case HTTP_EVENT_REQUEST:
            on_request(c);
            return false; /* what stands behind it would be a second request under way: none is taken */
        case HTTP_EVENT_BAD:
            refuse(c, c->reader.status, E_INVALID, c->reader.reason);
            return false;
        }
        p += used;
        len -= used;
    }
    return false;
}

static void handshake(struct door_conn *c)
{
    int n = SSL_accept(c->ssl), why;

    if (n == 1) {
        c->state = DOOR_REQUEST;
        within_s(c, IDLE_S);
        on_readable(c->fd, 0, c);
        return;
    }
    why = SSL_get_error(c->ssl, n);
    ERR_clear_error();
    if (why == SSL_ERROR_WANT_READ)
        return;
    if (why == SSL_ERROR_WANT_WRITE)
        event_add(c->writable, NULL);
    else
        conn_free(c);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct door_conn *c = arg;
    uint8_t room[16384];
    int n;

    (void)fd;
    (void)what;
    if (c->state == DOOR_HANDSHAKE) {
        handshake(c);
        return;
    }
    while (c->state == DOOR_REQUEST) {
        n = SSL_read(c->ssl, room, sizeof(room));
        if (n <= 0) {
            n = SSL_get_error(c->ssl, n);
            ERR_clear_error();
            if (n != SSL_ERROR_WANT_READ)
                conn_free(c);
            return;
        }
        if (!feed(c, room, (size_t)n))
            return;
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    conn_free(arg);
}

/* ---- connections ---- */

/* The oldest that waits for its client makes room. */
static void give_way(struct door *d)
{
    struct door_conn *c;

    TAILQ_FOREACH(c, &d->conns, link)
    {
        if (c->state == DOOR_HANDSHAKE || (c->state == DOOR_REQUEST && http_reader_is_idle(&c->reader))) {
            conn_free(c);
            return;
        }
    }
}

void door_accept(struct door *d, evutil_socket_t fd)
{
    struct door_conn *c;

    if (d->conn_n >= CONNS_MAX)
        give_way(d);
    c = d->conn_n < CONNS_MAX && !d->stopping ? calloc(1, sizeof(*c)) : NULL;
    if (!c) {
        close(fd);
        return;
    }
    c->door = d;
    c->fd = fd;
    c->file = -1;
    http_reader_init(&c->reader);
    c->reader.body.max = BODY_MAX;
    TAILQ_INSERT_TAIL(&d->conns, c, link);
    d->conn_n++;
    c->ssl = tls_accept_ssl(d->tls);
    c->readable = event_new(d->base, fd, EV_READ | EV_PERSIST, on_readable, c);
    c->writable = event_new(d->base, fd, EV_WRITE, on_writable, c);
    c->timer = evtimer_new(d->base, on_timer, c);
    c->out = evbuffer_new();
    if (!c->ssl || !c->readable || !c->writable || !c->timer || !c->out || SSL_set_fd(c->ssl, fd) != 1 ||
        SSL_set_min_proto_version(c->ssl, TLS1_3_VERSION) != 1 || event_add(c->readable, NULL) != 0) {
        ERR_clear_error();
        conn_free(c);
        return;
    }
    SSL_set_verify(c->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    within_s(c, HANDSHAKE_S);
}

void door_conns_stop(struct door *d)
{
    struct door_conn *c, *next;

    for (c = TAILQ_FIRST(&d->conns); c; c = next) {
        next = TAILQ_NEXT(c, link);
        if (c->state == DOOR_HANDSHAKE || c->state == DOOR_REQUEST)
            conn_free(c);
    }
}

void door_conns_free(struct door *d)
{
    struct door_conn *c;

    while ((c = TAILQ_FIRST(&d->conns)))
        conn_free(c);
}
