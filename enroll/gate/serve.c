/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate's own HTTP server on loopback: strict reader (enroll/http.h), one request at a time per connection, every answer made
 * from memory at once. Who may ask is who may reach the socket; the network cannot.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "base/auto.h"
#include "base/clock.h"
#include "enroll/gate/gate.h"
#include "enroll/http.h"

#define CONNECTIONS_MAX 4096
#define LISTENERS_MAX   16
#define READ_MAX        16384
#define HEADERS_TEXT    4096

struct server {
    struct gate *gate;
    struct event_base *base;
    struct evconnlistener *listener[LISTENERS_MAX];
    size_t listener_n, conn_n;
    LIST_HEAD(, conn) conns;
};

struct conn {
    struct server *server;
    evutil_socket_t fd;
    struct event *readable, *writable;
    struct evbuffer *out;
    struct http_reader reader;
    struct buf held; /* what came behind the request in flight */
    int refused;     /* HTTP status of a request whose body is skipped */
    bool close;      /* after what is in out */
    LIST_ENTRY(conn) link;
};

static void conn_free(struct conn *c)
{
    c->server->conn_n--;
    LIST_REMOVE(c, link);
    if (c->readable)
        event_free(c->readable);
    if (c->writable)
        event_free(c->writable);
    if (c->out)
        evbuffer_free(c->out);
    http_reader_clear(&c->reader);
    buf_clear(&c->held);
    close(c->fd);
    free(c);
}

static void read_for(struct conn *c, int seconds)
{
    struct timeval tv = {.tv_sec = seconds};

    event_add(c->readable, &tv);
}

/* ---- answers ---- */

static void put_answer(struct conn *c, const struct gate_answer *a)
{
    AUTO_BUF head = BUF_INIT(HEADERS_TEXT + 1024);
    bool keep_alive = !c->close && c->reader.req.keep_alive;
    struct http_answer h = {
        .status = a->status,
        .content_type = a->content_type,
        .body = buf_bytes(&a->body),
        .headers = a->headers.len ? (const char *)a->headers.p : NULL,
        .no_store = true,
    };

    http_answer_head(&head, &h, keep_alive, clock_now());
    c->close = !keep_alive;
    if (!buf_ok(&head) || !buf_ok(&a->body) || !buf_ok(&a->headers) || evbuffer_add(c->out, head.p, head.len) != 0 ||
        (c->reader.req.method != HTTP_HEAD && a->body.len && evbuffer_add(c->out, a->body.p, a->body.len) != 0)) {
        evbuffer_drain(c->out, evbuffer_get_length(c->out)); /* half an answer must not be followed by anything */
        c->close = true;
    }
}

static void put_refusal(struct conn *c, int status, const char *text, bool close)
{
    struct gate_answer a = {.status = status, .content_type = "text/plain; charset=utf-8", .body = BUF_INIT(512), .headers = BUF_INIT(0)};

    c->close |= close;
    buf_printf(&a.body, "%s\n", text);
    put_answer(c, &a);
    buf_clear(&a.body);
}

static void put_request(struct conn *c)
{
    struct gate_answer a = {.body = BUF_INIT(2 * 1024 * 1024), .headers = BUF_INIT(HEADERS_TEXT)};

    if (c->refused) {
        put_refusal(c, c->refused, http_status_text(c->refused), false);
    } else {
        answer_make(c->server->gate, &c->reader, &a);
        put_answer(c, &a);
    }
    buf_clear(&a.body);
    buf_clear(&a.headers);
    http_reader_reset(&c->reader);
}

static void on_head(struct conn *c)
{
    size_t max;

    c->refused = 0;
    max = answer_body_max(&c->reader, &c->refused);
    if (c->reader.req.content_length > (c->refused ? READ_MAX : max)) {
        put_refusal(c, c->refused ? c->refused : 413, "the body is too large", true);
        return;
    }
    if (c->refused)
        http_body_skip(&c->reader);
    else
        http_body_keep(&c->reader);
    if (c->reader.req.expect_continue && !c->refused)
        evbuffer_add(c->out, "HTTP/1.1 100 Continue\r\n\r\n", 25);
}

/* ---- octets ---- */

/* Takes requests until an answer is queued that ends the connection, or nothing is left. */
static void take(struct conn *c, struct bytes in)
{
    bool again = true;

    while (!c->close && (in.len || again)) {
        size_t used;
        enum http_event ev = http_feed(&c->reader, in.p, in.len, &used);

        in = BYTES(in.p + used, in.len - used);
        again = ev == HTTP_EVENT_HEAD;
        if (ev == HTTP_EVENT_HEAD)
            on_head(c);
        else if (ev == HTTP_EVENT_REQUEST)
            put_request(c);
        else if (ev == HTTP_EVENT_BAD)
            put_refusal(c, c->reader.status, c->reader.reason, true);
        if (ev == HTTP_EVENT_REQUEST && evbuffer_get_length(c->out) > READ_MAX)
            break; /* the client takes what it asked for first */
    }
    if (in.len && !c->close) {
        buf_add_bytes(&c->held, in);
        c->close |= !buf_ok(&c->held);
    }
}

/* false: the connection is gone, or its client has to read first. */
static bool send_out(struct conn *c)
{
    struct timeval tv = {.tv_sec = REQUEST_DEADLINE_S};

    while (evbuffer_get_length(c->out) > 0)
        if (evbuffer_write(c->out, c->fd) <= 0) {
            if (errno == EINTR)
                continue;
            if (errno != EAGAIN) {
                conn_free(c);
                return false;
            }
            event_del(c->readable);
            event_add(c->writable, &tv);
            return false;
        }
    if (c->close) {
        shutdown(c->fd, SHUT_WR);
        conn_free(c);
        return false;
    }
    read_for(c, http_reader_is_idle(&c->reader) ? IDLE_DEADLINE_S : REQUEST_DEADLINE_S);
    return true;
}

/* What is held comes before anything that is read. */
static void go_on(struct conn *c)
{
    while (send_out(c) && c->held.len) {
        struct buf held = c->held;

        buf_init(&c->held, held.max);
        take(c, buf_bytes(&held));
        buf_clear(&held);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    uint8_t room[READ_MAX];
    ssize_t n;

    if (what & EV_TIMEOUT) {
        conn_free(c);
        return;
    }
    n = recv(fd, room, sizeof(room), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        read_for(c, REQUEST_DEADLINE_S);
        return;
    }
    if (n <= 0) {
        conn_free(c);
        return;
    }
    take(c, BYTES(room, (size_t)n));
    go_on(c);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;

    (void)fd;
    if (what & EV_TIMEOUT)
        conn_free(c);
    else
        go_on(c);
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len, void *arg)
{
    struct server *s = arg;
    struct conn *c = s->conn_n < CONNECTIONS_MAX ? calloc(1, sizeof(*c)) : NULL;

    (void)l;
    (void)sa;
    (void)len;
    if (!c) {
        close(fd);
        return;
    }
    c->server = s;
    c->fd = fd;
    s->conn_n++;
    LIST_INSERT_HEAD(&s->conns, c, link);
    http_reader_init(&c->reader);
    buf_init(&c->held, READ_MAX);
    c->readable = event_new(s->base, fd, EV_READ, on_readable, c);
    c->writable = event_new(s->base, fd, EV_WRITE, on_writable, c);
    c->out = evbuffer_new();
    if (!c->readable || !c->writable || !c->out)
        conn_free(c);
    else
        read_for(c, IDLE_DEADLINE_S);
}

/* ---- listening ---- */

static enum err_code listen_unix(const char *path, const char *group, int *fd, struct err *e)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct group *g = *group ? getgrnam(group) : NULL;

    if (*group && !g)
        return err_set(e, E_INVALID, "socket_group: no group is called \"%s\"", group);
    if (strlen(path) >= sizeof(at.sun_path))
        return err_set(e, E_INVALID, "%s: path is too long for a socket", path);
    memcpy(at.sun_path, path, strlen(path) + 1);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(path);
    if (*fd < 0 || bind(*fd, (const struct sockaddr *)&at, sizeof(at)) != 0 || chmod(path, 0660) != 0 ||
        (g && chown(path, (uid_t)-1, g->gr_gid) != 0) || listen(*fd, 128) != 0)
        return err_errno(e, E_IO, "%s", path);
    return E_OK;
}

static enum err_code listen_tcp(const char *where, int *fd, struct err *e)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    const char *colon = strrchr(where, ':');
    char host[INET_ADDRSTRLEN];
    long port = colon ? strtol(colon + 1, NULL, 10) : 0;
    int on = 1;

    if (!colon || (size_t)(colon - where) >= sizeof(host) || port < 1 || port > 65535)
        return err_set(e, E_INVALID, "listen: \"%s\" is neither unix:PATH nor ADDRESS:PORT", where);
    memcpy(host, where, (size_t)(colon - where));
    host[colon - where] = '\0';
    if (inet_pton(AF_INET, host, &at.sin_addr) != 1 || ntohl(at.sin_addr.s_addr) >> 24 != 127)
        return err_set(e, E_INVALID, "listen: %s is not on the loopback: whoever reaches it may ask about every unit", where);
    at.sin_port = htons((uint16_t)port);
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0 || setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(*fd, (const struct sockaddr *)&at, sizeof(at)) != 0 || listen(*fd, 128) != 0)
        return err_errno(e, E_IO, "%s", where);
    return E_OK;
}

enum err_code serve_listen(const char *where, const char *group, int *fd, struct err *e)
{
    *fd = -1;
    return strncmp(where, "unix:", 5) == 0 ? listen_unix(where + 5, group, fd, e) : listen_tcp(where, fd, e);
}

static void on_stop(evutil_socket_t sig, short what, void *arg)
{
    struct server *s = arg;

    (void)sig;
    (void)what;
    event_base_loopbreak(s->base);
}

enum err_code serve_run(struct gate *g, const int *listeners, size_t n, struct err *e)
{
    struct server s = {.gate = g, .base = event_base_new()};
    struct event *term = s.base ? evsignal_new(s.base, SIGTERM, on_stop, &s) : NULL;
    struct event *intr = s.base ? evsignal_new(s.base, SIGINT, on_stop, &s) : NULL;
    bool ok = term && intr && event_add(term, NULL) == 0 && event_add(intr, NULL) == 0;

    for (size_t i = 0; ok && i < n && i < LISTENERS_MAX; i++) {
        s.listener[i] = evconnlistener_new(s.base, on_accept, &s, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, listeners[i]);
        ok = s.listener[i] != NULL;
        s.listener_n += ok;
    }
    if (ok)
        event_base_dispatch(s.base);
    while (!LIST_EMPTY(&s.conns))
        conn_free(LIST_FIRST(&s.conns));
    for (size_t i = 0; i < s.listener_n; i++)
        evconnlistener_free(s.listener[i]);
    if (term)
        event_free(term);
    if (intr)
        event_free(intr);
    if (s.base)
        event_base_free(s.base);
    return ok ? E_OK : err_set(e, E_NOMEM, "libevent");
}
