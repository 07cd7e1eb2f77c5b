/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/err.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/spare.h"
#include "enroll/front_int.h"

#define LINGER_S         2
#define LINGER_OCTETS    (1024 * 1024)
#define WRITE_RATE       (32 * 1024) /* octets a second that a reader of a large answer must take */
#define WRITE_TURN       sizeof(((struct front *)0)->record) /* octets for one connection before others have their turn */
#define READ_TURN        4 /* TLS records */
#define REQUESTS_TURN    8 /* answered at once to one connection before others have their turn */
#define ANSWER_HEAD_MAX  2048
#define ERROR_TEXT_MAX   512
#define PROBES_MAX       32 /* health: they answer at the limit of the others, within the spare descriptors */

static void answer_left(struct conn *c);
static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);

/* ---- deadlines ------------------------------------------------------------------------------------------------- */

static int64_t second_ms = 1000;

#ifdef INKAN_TEST_HOOKS
/* INKAN_TEST_DEADLINE_MS: how many milliseconds one second of a deadline lasts. */
void conn_setup(void)
{
    const char *s = getenv("INKAN_TEST_DEADLINE_MS");

    if (s && atoi(s) > 0)
        second_ms = atoi(s);
}
#else
void conn_setup(void)
{
}
#endif

static void timer_in_ms(struct conn *c, int64_t now_ms, int64_t ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

    c->timer_ms = now_ms + ms;
    event_add(c->timer, &tv);
}

/* A timer that fires too early is set again then: a connection that is kept busy hardly ever touches it. */
static void deadline_in_ms(struct conn *c, int64_t ms)
{
    int64_t now_ms = clock_mono_ms();

    if (ms < 0)
        ms = 0;
    c->deadline_ms = now_ms + ms;
    if (c->timer_ms == 0 || c->timer_ms > c->deadline_ms)
        timer_in_ms(c, now_ms, ms);
}

static void deadline_s(struct conn *c, int64_t s)
{
    deadline_in_ms(c, s * second_ms);
}

/* Counted from the first octet of the request, however often it is set. */
static void request_deadline_s(struct conn *c, int64_t s)
{
    deadline_in_ms(c, c->started_ms + s * second_ms - clock_mono_ms());
}

void conn_deadline_ms(struct conn *c, int64_t ms)
{
    deadline_in_ms(c, ms);
}

static void peer_format(const struct sockaddr *sa, char out[64])
{
    char host[INET6_ADDRSTRLEN] = "";

    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)sa;

        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(out, 64, "%s:%u", host, ntohs(in->sin_port));
    } else if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)sa;

        inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof host);
        snprintf(out, 64, "[%s]:%u", host, ntohs(in->sin6_port));
    } else {
        snprintf(out, 64, "local");
    }
}

/* ---- waiting for another process -------------------------------------------------------------------------------- */

static size_t *waiting_count(struct front *f, enum wait link)
{
    return link == WAIT_CORE ? &f->core_waiting : &f->status_waiting;
}

void conn_wait(struct conn *c, unsigned links)
{
    struct front *f = c->front;
    struct conn **b = &f->waiting[c->rid % WAITING_BUCKETS];

    c->waits = links;
    c->next_waiting = *b;
    *b = c;
    if (links & WAIT_CORE)
        f->core_waiting++;
    if (links & WAIT_STATUS)
        f->status_waiting++;
}

void conn_wait_done(struct conn *c, enum wait link)
{
    struct front *f = c->front;
    struct conn **p;

    if (!(c->waits & link))
        return;
    --*waiting_count(f, link);
    c->waits &= ~(unsigned)link;
    if (c->waits)
        return;
    for (p = &f->waiting[c->rid % WAITING_BUCKETS]; *p != c; p = &(*p)->next_waiting)
        ;
    *p = c->next_waiting;
}

static void wait_forget(struct conn *c)
{
    conn_wait_done(c, WAIT_CORE);
    conn_wait_done(c, WAIT_STATUS);
}

struct conn *conn_waiting(struct front *f, uint64_t rid, enum wait link)
{
    for (struct conn *c = f->waiting[rid % WAITING_BUCKETS]; c; c = c->next_waiting)
        if (c->rid == rid)
            return c->waits & link ? c : NULL;
    return NULL;
}

void conn_link_lost(struct front *f, enum wait link)
{
    struct conn *c, *next;

    for (c = TAILQ_FIRST(&f->all); c; c = next) {
        next = TAILQ_NEXT(c, all);
        if (c->waits & link)
            c->service->on_link_lost(c, link);
    }
}

/* ---- octets ------------------------------------------------------------------------------------------------------ */

/*
 * A request that came in one piece and its answer cost one system call each, with TLS or without. Reading is stopped late:
 * only when octets come while nobody wants them.
 */
static void io_free(struct conn *c)
{
    if (c->readable)
        event_free(c->readable);
    if (c->writable)
        event_free(c->writable);
    if (c->again)
        event_free(c->again);
    if (c->out)
        evbuffer_free(c->out);
    SSL_free(c->ssl);
    ERR_clear_error(); /* what broke this connection is not for the next one to find */
    buf_wipe(&c->held);
    close(c->fd);
}

/*
 * The loop calls on_readable again although nothing new lies in the socket. By the clock: an event made active would run
 * before the loop looks at any other socket, and a client that always has more to say would be the only one served.
 */
static void come_back(struct conn *c)
{
    static const struct timeval next_turn = {0};

    if (!c->again)
        c->again = evtimer_new(c->front->base, on_readable, c);
    if (!c->again || event_add(c->again, &next_turn) != 0)
        event_active(c->readable, EV_READ, 0);
}

static void start_reading(struct conn *c)
{
    if (c->deaf)
        event_add(c->readable, NULL);
    c->deaf = false;
    if (c->held.len || (c->ssl && SSL_has_pending(c->ssl))) /* it came with the last request */
        come_back(c);
}

static bool when_writable(struct conn *c)
{
    if (!c->writable)
        c->writable = event_new(c->front->base, c->fd, EV_WRITE, on_writable, c);
    return c->writable && event_add(c->writable, NULL) == 0;
}

/* Did the call of libssl that gave `r` only meet a socket that is not ready? Arranges for the next try. */
static bool tls_again(struct conn *c, int r)
{
    int why = SSL_get_error(c->ssl, r);

    return why == SSL_ERROR_WANT_READ || (why == SSL_ERROR_WANT_WRITE && when_writable(c));
}

/* Octets, 0: none now, -1: the connection is over. */
static ssize_t octets_read(struct conn *c, uint8_t *p, size_t size)
{
    ssize_t n;

    if (c->ssl) {
        ERR_clear_error(); /* SSL_get_error would take an older one for its own */
        n = SSL_read(c->ssl, p, (int)size);
        if (n > 0)
            return n;
        return tls_again(c, (int)n) && !SSL_get_shutdown(c->ssl) ? 0 : -1;
    }
    n = recv(c->fd, p, size, MSG_DONTWAIT);
    return n > 0 ? n : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

/*
 * At most one turn. What was refused must be offered again from the same octet on, and as much of it: every caller offers
 * all that is left, up to a turn.
 */
static ssize_t tls_send(struct conn *c, const uint8_t *p, size_t n)
{
    int sent;

    ERR_clear_error();
    sent = SSL_write(c->ssl, p, (int)(n < WRITE_TURN ? n : WRITE_TURN));
    if (sent > 0)
        return sent;
    return SSL_get_error(c->ssl, sent) == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* Hands over as much as the socket takes, up to one turn; -1: the connection is broken. */
static ssize_t octets_send(struct conn *c, struct bytes head, struct bytes body)
{
    struct iovec v[2] = {{(void *)(uintptr_t)head.p, head.len}, {(void *)(uintptr_t)body.p, 0}};
    struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
    ssize_t n;

    v[1].iov_len = body.len < WRITE_TURN - head.len ? body.len : WRITE_TURN - head.len;
    if (c->ssl) { /* one record */
        memcpy(c->front->record, head.p, head.len);
        if (v[1].iov_len)
            memcpy(c->front->record + head.len, body.p, v[1].iov_len);
        return tls_send(c, c->front->record, head.len + v[1].iov_len);
    }
    m.msg_iovlen = v[1].iov_len ? 2 : 1;
    n = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? 0 : -1;
}

/* As much of c->out as the socket takes, up to one turn; -1: the connection is broken. */
static ssize_t out_send(struct conn *c)
{
    size_t len = evbuffer_get_length(c->out);
    uint8_t *p;
    ssize_t n;

    if (!c->ssl) {
        n = evbuffer_write_atmost(c->out, c->fd, (ev_ssize_t)WRITE_TURN);
        return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? 0 : -1;
    }
    len = len < WRITE_TURN ? len : WRITE_TURN;
    p = evbuffer_pullup(c->out, (ev_ssize_t)len);
    n = p ? tls_send(c, p, len) : -1;
    if (n > 0)
        evbuffer_drain(c->out, (size_t)n);
    return n;
}

/* The rest of head and body, for when the socket takes more. `release` as for conn_answer_shared; it is always called. */
static bool out_queue(struct conn *c, struct bytes head, struct bytes body, size_t sent, evbuffer_ref_cleanup_cb release, void *arg)
{
    size_t of_head = sent < head.len ? sent : head.len, of_body = sent - of_head;
    struct bytes rest = BYTES(body.p + of_body, body.len - of_body);
    bool ok;

    if (!c->out)
        c->out = evbuffer_new();
    ok = c->out && (of_head == head.len || evbuffer_add(c->out, head.p + of_head, head.len - of_head) == 0);
    if (ok && rest.len && release) {
        ok = evbuffer_add_reference(c->out, rest.p, rest.len, release, arg) == 0;
        if (ok)
            release = NULL;
    } else if (ok) {
        ok = evbuffer_add(c->out, rest.p, rest.len) == 0;
    }
    if (release)
        release(body.p, body.len, arg);
    return ok && when_writable(c);
}

/* ---- end of a connection ---------------------------------------------------------------------------------------- */

/* Does it wait for a client that has not shown who it is? Then it gives way to a new one (enroll/source.c). */
static bool is_yielding(const struct conn *c)
{
    return c->source && c->peer.chain_n == 0 && c->state != CONN_BUSY && c->state != CONN_DOOMED;
}

static void set_state(struct conn *c, enum conn_state s)
{
    struct front *f = c->front;

    if (c->in_idle)
        TAILQ_REMOVE(&f->idle, c, idle);
    c->state = s;
    if (c->source)
        source_yield(&f->sources, c, is_yielding(c));
    c->in_idle = s == CONN_IDLE && c->source && !c->yields;
    if (c->in_idle)
        TAILQ_INSERT_TAIL(&f->idle, c, idle);
    if (c->yields || c->in_idle)
        front_room_again(f);
}

static void request_end(struct conn *c, int status)
{
    wait_forget(c);
    if (!c->in_request)
        return;
    c->in_request = false;
    c->service->on_done(c, status);
}

static void conn_free(struct conn *c)
{
    struct front *f = c->front;

    request_end(c, 0);
    set_state(c, CONN_DOOMED);
    TAILQ_REMOVE(&f->all, c, all);
    source_give(&f->sources, c->source);
    --*(c->service->limited ? &f->conn_n : &f->probe_n);
    if (c->drain)
        event_free(c->drain);
    if (c->timer)
        event_free(c->timer);
    io_free(c);
    tls_peer_clear(&c->peer);
    http_reader_clear(&c->reader);
    free(c);
    if (f->conn_n < f->connections_max)
        front_room_again(f);
    front_conn_gone(f);
}

static void on_drain(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    char sink[4096];
    ssize_t n = recv(fd, sink, sizeof sink, MSG_DONTWAIT);

    (void)what;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    c->reader.body_left += n > 0 ? (uint64_t)n : 0; /* the reader is done with: its counter counts what is thrown away */
    if (n <= 0 || c->reader.body_left > LINGER_OCTETS)
        conn_free(c);
}

/*
 * Closes our side and throws away what still comes until the peer closes: closing a socket with unread octets sends a
 * reset, which can overtake the answer or the TLS alert.
 */
static void linger(struct conn *c, bool notify)
{
    if (c->ssl && notify) {
        SSL_shutdown(c->ssl);
        ERR_clear_error();
    }
    event_del(c->readable);
    if (c->writable)
        event_del(c->writable);
    shutdown(c->fd, SHUT_WR);
    set_state(c, CONN_LINGER);
    c->reader.body_left = 0;
    c->drain = event_new(c->front->base, c->fd, EV_READ | EV_PERSIST, on_drain, c);
    if (c->drain)
        event_add(c->drain, NULL);
    deadline_s(c, LINGER_S);
}

static void close_idle(struct conn *c)
{
    if (c->ssl) {
        SSL_shutdown(c->ssl);
        ERR_clear_error();
    }
    conn_free(c);
}

/* The client has closed or the connection is broken. A close_notify is answered with one (RFC 8446 6.1). */
static void conn_over(struct conn *c)
{
    if (c->ssl && SSL_get_shutdown(c->ssl) == SSL_RECEIVED_SHUTDOWN && ERR_peek_error() == 0)
        close_idle(c);
    else
        conn_free(c);
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

/* true: the answer is on its way; *left: all of it has left already. */
static bool answer_send(struct conn *c, struct bytes head, struct bytes body, evbuffer_ref_cleanup_cb release, void *arg, bool *left)
{
    ssize_t sent = octets_send(c, head, body);

    *left = sent == (ssize_t)(head.len + body.len);
    if (sent >= 0 && !*left)
        return out_queue(c, head, body, (size_t)sent, release, arg);
    if (release)
        release(body.p, body.len, arg);
    return sent >= 0;
}

static void release_secret(const void *p, size_t len, void *arg)
{
    struct buf *whole = arg;

    (void)p;
    (void)len;
    buf_wipe(whole);
    free(whole);
}

/*
 * Head and body in one piece of memory of their own, sent from there and wiped when they have left: neither the record that
 * answers share nor an evbuffer, which frees what it held as it is, ever holds a copy.
 */
static bool secret_send(struct conn *c, struct bytes head, struct bytes body, bool *left)
{
    struct buf *whole = calloc(1, sizeof *whole);
    ssize_t sent;

    *left = false;
    if (!whole)
        return false;
    buf_init(whole, head.len + body.len);
    buf_reserve(whole, head.len + body.len);
    buf_add_bytes(whole, head);
    buf_add_bytes(whole, body);
    sent = buf_ok(whole) ? tls_send(c, whole->p, whole->len) : -1;
    *left = sent == (ssize_t)whole->len;
    if (sent >= 0 && !*left)
        return out_queue(c, (struct bytes){NULL, 0}, buf_bytes(whole), (size_t)sent, release_secret, whole);
    release_secret(NULL, 0, whole);
    return sent >= 0;
}

static void answer_queue(struct conn *c, const struct http_answer *a, evbuffer_ref_cleanup_cb release, void *arg, bool secret)
{
    uint8_t room[ANSWER_HEAD_MAX];
    struct buf head = {.p = room, .cap = sizeof room, .max = sizeof room};
    bool keep_alive = !c->close && !a->close && !c->front->stopping && c->reader.req.keep_alive;
    bool with_body = c->reader.req.method != HTTP_HEAD && a->status != 304 && a->status != 204 && a->body.len > 0;
    struct bytes body = with_body ? a->body : (struct bytes){NULL, 0};
    bool ok, left = false;

    c->close = !keep_alive;
    if (a->status >= 100 && a->status < 600)
        c->front->counts.answers[c->service->counted][a->status / 100 - 1]++;
    http_answer_head(&head, a, keep_alive, clock_now());
    ok = buf_ok(&head);
    if (ok && secret && c->ssl)
        ok = secret_send(c, buf_bytes(&head), body, &left);
    else if (ok)
        ok = answer_send(c, buf_bytes(&head), body, release, arg, &left);
    else if (release)
        release(body.p, body.len, arg);
    request_end(c, a->status);
    if (!ok) { /* half an answer must not be followed by anything */
        set_state(c, CONN_DOOMED);
        deadline_in_ms(c, 0);
        return;
    }
    set_state(c, CONN_WRITING);
    if (left)
        answer_left(c);
    else
        deadline_s(c, REQUEST_DEADLINE_S + (int64_t)(body.len / WRITE_RATE));
}

void conn_answer_secret(struct conn *c, const struct http_answer *a)
{
    answer_queue(c, a, NULL, NULL, true);
}

void conn_answer(struct conn *c, const struct http_answer *a)
{
    answer_queue(c, a, NULL, NULL, false);
}

void conn_answer_shared(struct conn *c, const struct http_answer *a, evbuffer_ref_cleanup_cb release, void *arg)
{
    answer_queue(c, a, release, arg, false);
}

/* The choice follows from the code alone. */
const struct code_status *code_status(enum err_code code)
{
    static const struct code_status all[ERR_CODES_COUNT] = {
        [E_INVALID] = {400, "the request is not acceptable"},
        [E_UNAUTHENTICATED] = {401, "authentication failed"},
        [E_DENIED] = {403, "not allowed"},
        [E_NOT_FOUND] = {403, "not allowed"},
        [E_CONFLICT] = {403, "not allowed"},
        [E_PENDING] = {202, ""},
        [E_BUSY] = {503, "too many requests, try again later"},
        [E_TOKEN] = {503, "the service cannot answer now, try again"},
        [E_STORE] = {503, "the service cannot answer now, try again"},
        [E_IO] = {503, "the service cannot answer now, try again"},
        [E_NOMEM] = {503, "the service cannot answer now, try again"},
        [E_CRYPTO] = {500, "internal error"},
        [E_INTERNAL] = {500, "internal error"},
    };

    return &all[code];
}

void conn_refuse(struct conn *c, int status, const char *text, const char *headers, uint32_t retry_after_s)
{
    char rid[17], body[ERROR_TEXT_MAX];
    int n;

    rid_format(c->rid, rid);
    n = snprintf(body, sizeof body, "request %s: %s\n", rid, text);
    if (n < 0 || (size_t)n >= sizeof body)
        n = (int)strlen(body);
    conn_answer(c, &(struct http_answer){
                       .status = status,
                       .content_type = "text/plain; charset=utf-8",
                       .body = BYTES(body, (size_t)n),
                       .headers = headers,
                       .retry_after_s = retry_after_s,
                       .no_store = true,
                   });
}

static void refuse_and_close(struct conn *c, int status, const char *text)
{
    c->close = true;
    conn_refuse(c, status, text, NULL, 0);
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

static void request_begin(struct conn *c)
{
    c->rid = front_rid(c->front);
    c->started_ms = clock_mono_ms();
    c->in_request = true;
    c->refused = false;
    memset(&c->u, 0, sizeof c->u);
    set_state(c, CONN_HEAD);
    deadline_s(c, HEADERS_DEADLINE_S);
}

/*
 * A short body that is already on its way is taken and thrown away, so that the connection stays usable (a client that
 * tries without credentials first). A long one, or one that waits for 100 Continue, is not waited for.
 */
static void refuse_at_head(struct conn *c, const struct refusal *no)
{
    const struct http_request *q = &c->reader.req;

    if (q->content_length > EST_BODY_MAX || q->expect_continue) {
        c->close = true;
        conn_refuse(c, no->status, no->text, no->headers, no->status == 503 ? 5 : 0);
        return;
    }
    c->refused = true;
    c->no = *no;
    http_body_skip(&c->reader);
    set_state(c, CONN_BODY);
}

/* An interim answer that a new connection's socket does not take is a broken connection. */
static void interim_send(struct conn *c, struct bytes text)
{
    if (octets_send(c, text, (struct bytes){NULL, 0}) != (ssize_t)text.len) {
        set_state(c, CONN_DOOMED);
        deadline_in_ms(c, 0);
    }
}

static void head_done(struct conn *c)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const struct http_request *q = &c->reader.req;
    struct refusal no = {0};
    size_t body_max = 0;

    request_deadline_s(c, REQUEST_DEADLINE_S);
    if (!c->service->on_head(c, &body_max, &no)) {
        refuse_at_head(c, &no);
        return;
    }
    if (q->content_length > body_max) {
        refuse_and_close(c, 413, "the body is too large");
        return;
    }
    http_body_keep(&c->reader);
    set_state(c, CONN_BODY);
    if (q->expect_continue && c->unread.len == 0)
        interim_send(c, bytes_str(go_on));
}

static void request_done(struct conn *c)
{
    set_state(c, CONN_BUSY); /* one request in flight; the kernel holds the rest */
    if (c->refused)
        conn_refuse(c, c->no.status, c->no.text, c->no.headers, c->no.status == 503 ? 5 : 0);
    else
        c->service->on_request(c);
}

static bool is_reading(const struct conn *c)
{
    return c->state == CONN_IDLE || c->state == CONN_HEAD || c->state == CONN_BODY;
}

static enum http_event feed_some(struct conn *c)
{
    enum http_event ev;
    size_t used;

    ev = http_feed(&c->reader, c->unread.p, c->unread.len, &used);
    c->unread = BYTES(c->unread.p + used, c->unread.len - used);
    return ev;
}

/* Takes requests from c->unread until one is in flight, the turn is over or nothing is left. Never frees the connection. */
static void conn_read(struct conn *c)
{
    bool again = true;
    int taken = 0;

    while (is_reading(c) && (again || c->unread.len > 0)) {
        if (c->state == CONN_IDLE) {
            if (c->unread.len == 0 || taken++ == REQUESTS_TURN)
                return;
            request_begin(c);
        }
        again = false;
        switch (feed_some(c)) {
        case HTTP_EVENT_MORE:
            break;
        case HTTP_EVENT_HEAD:
            head_done(c);
            again = true; /* an empty body is complete without another octet */
            break;
        case HTTP_EVENT_REQUEST:
            request_done(c);
            break;
        case HTTP_EVENT_BAD:
            if (c->reader.status == 503)
                front_memory_short(c->front);
            front_count(c->front, SVC_REFUSED_BAD_HTTP);
            refuse_and_close(c, c->reader.status, c->reader.reason);
            break;
        }
    }
}

/* ---- events ----------------------------------------------------------------------------------------------------- */

static void wait_for_request(struct conn *c)
{
    http_reader_reset(&c->reader);
    set_state(c, CONN_IDLE);
    deadline_s(c, IDLE_DEADLINE_S);
    start_reading(c);
}

static void answer_left(struct conn *c)
{
    if (c->close || c->front->stopping)
        linger(c, true);
    else
        wait_for_request(c);
}

/* What was read and not taken waits here: for the answer of the request before it, or for the connection's next turn. */
static void hold_unread(struct conn *c)
{
    struct bytes rest = c->unread;

    c->unread = (struct bytes){NULL, 0};
    if (rest.len == 0 || c->state == CONN_LINGER || c->state == CONN_DOOMED)
        return;
    buf_add_bytes(&c->held, rest);
    if (!buf_ok(&c->held)) {
        set_state(c, CONN_DOOMED);
        deadline_in_ms(c, 0);
    } else if (is_reading(c)) {
        come_back(c);
    }
}

static void handshake_failed(struct conn *c)
{
    char reason[256] = "closed";
    unsigned long code, last = 0;

    while ((code = ERR_get_error()) != 0)
        last = code;
    if (last)
        ERR_error_string_n(last, reason, sizeof reason);
    front_count(c->front, SVC_REFUSED_HANDSHAKE);
    if (SSL_get_verify_result(c->ssl) != X509_V_OK)
        snprintf(reason, sizeof reason, "%s", X509_verify_cert_error_string(SSL_get_verify_result(c->ssl)));
    log_note(LOG_DEBUG, "tls-handshake-failed", "reason", reason);
    linger(c, false);
}

static void handshake_go_on(struct conn *c)
{
    int r = SSL_do_handshake(c->ssl);

    if (r == 1) {
        if (tls_peer_read(c->ssl, &c->peer))
            wait_for_request(c);
        else
            linger(c, true);
        return;
    }
    if (!tls_again(c, r))
        handshake_failed(c);
}

/* What was held back, or one read. false: nothing more now, or the connection is gone. */
static bool read_once(struct conn *c)
{
    struct buf held = c->held;
    ssize_t n;

    if (held.len) {
        buf_init(&c->held, held.max);
        c->unread = buf_bytes(&held);
        conn_read(c);
        hold_unread(c);
        buf_wipe(&held);
        return true;
    }
    n = octets_read(c, c->front->room, sizeof c->front->room);
    if (n < 0)
        conn_over(c);
    if (n <= 0)
        return false;
    c->unread = BYTES(c->front->room, (size_t)n);
    conn_read(c);
    hold_unread(c);
    if (c->ssl)
        OPENSSL_cleanse(c->front->room, (size_t)n); /* a password may be in it */
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    int turn = 0;

    (void)fd;
    (void)what;
    if (c->state == CONN_HANDSHAKE) {
        handshake_go_on(c);
        return;
    }
    if (!is_reading(c)) {
        event_del(c->readable);
        c->deaf = true;
        return;
    }
    /* libssl reads ahead: the loop does not know of records that have left the socket. */
    while (read_once(c))
        if (!is_reading(c) || c->held.len || !c->ssl || !SSL_has_pending(c->ssl))
            return;
        else if (++turn == READ_TURN) {
            come_back(c);
            return;
        }
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;

    if (!c->out || evbuffer_get_length(c->out) == 0) /* it is libssl that had something to say before it could read */
        on_readable(fd, what, arg);
    else if (out_send(c) < 0)
        conn_free(c);
    else if (evbuffer_get_length(c->out) > 0)
        event_add(c->writable, NULL);
    else if (c->state == CONN_WRITING)
        answer_left(c);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;

    int64_t now_ms = clock_mono_ms();

    (void)fd;
    (void)what;
    if (now_ms < c->deadline_ms) { /* it was put off meanwhile */
        timer_in_ms(c, now_ms, c->deadline_ms - now_ms);
        return;
    }
    c->timer_ms = 0;
    switch (c->state) {
    case CONN_HEAD:
    case CONN_BODY:
        front_count(c->front, SVC_REFUSED_DEADLINE);
        refuse_and_close(c, 408, "the request did not arrive in time");
        return;
    case CONN_BUSY:
        c->service->on_deadline(c);
        return;
    case CONN_IDLE:
        close_idle(c);
        return;
    case CONN_HANDSHAKE:
    case CONN_WRITING:
        front_count(c->front, SVC_REFUSED_DEADLINE);
        conn_free(c);
        return;
    case CONN_LINGER:
    case CONN_DOOMED:
        conn_free(c);
        return;
    }
}

/* ---- start ------------------------------------------------------------------------------------------------------ */

/* Who gives way: first whoever has shown no certificate, then the one with a certificate that is idle for longest. */
static struct conn *least_wanted(struct front *f)
{
    struct conn *c = sources_first_yielding(&f->sources);

    return c ? c : TAILQ_FIRST(&f->idle);
}

static bool give_way(struct front *f)
{
    struct conn *c = least_wanted(f);

    if (!c)
        return false;
    if (c->state == CONN_IDLE)
        close_idle(c);
    else
        conn_free(c);
    return true;
}

/* Room for one more: the limit counts, and a connection that only waits gives way to a new one. */
static bool make_room(struct front *f)
{
    if (f->conn_n < f->connections_max)
        return true;
    front_count(f, SVC_REFUSED_CONNECTION_LIMIT);
    return give_way(f);
}

size_t conn_give_way(struct front *f, size_t n)
{
    struct conn *c;
    size_t gone = 0;

    for (; gone < n && (c = least_wanted(f)) != NULL; gone++)
        conn_free(c); /* without a farewell, which would take memory */
    return gone;
}

static bool conn_start(struct conn *c)
{
    struct front *f = c->front;

    c->timer = evtimer_new(f->base, on_deadline, c);
    if (!c->timer)
        return false;
    if (c->service->tls) {
        c->ssl = tls_accept_ssl(f->tls);
        if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1)
            return false;
    }
    buf_init(&c->held, sizeof f->room);
    c->readable = event_new(f->base, c->fd, EV_READ | EV_PERSIST, on_readable, c);
    return c->readable && event_add(c->readable, NULL) == 0;
}

void conn_accept(struct front *f, const struct service *s, evutil_socket_t fd, const struct sockaddr *sa, int sa_len)
{
    struct source *source = NULL;
    struct conn *c;
    int on = 1;

    (void)sa_len;
    if (s->limited) {
        source = source_take(&f->sources, sa, f->per_address_max);
        if (!source) {
            front_count(f, SVC_REFUSED_ADDRESS_LIMIT);
            close(fd);
            return;
        }
        if (!make_room(f)) {
            source_give(&f->sources, source);
            close(fd);
            return;
        }
    } else if (f->probe_n >= PROBES_MAX) {
        front_count(f, SVC_REFUSED_CONNECTION_LIMIT);
        close(fd);
        return;
    }
    c = spare_calloc(1, sizeof *c);
    if (!c) {
        front_memory_short(f);
        source_give(&f->sources, source);
        close(fd);
        return;
    }
    c->front = f;
    c->service = s;
    c->fd = fd;
    c->source = source;
    http_reader_init(&c->reader);
    peer_format(sa, c->peer_text);
    set_state(c, CONN_HANDSHAKE);
    TAILQ_INSERT_TAIL(&f->all, c, all);
    ++*(s->limited ? &f->conn_n : &f->probe_n);
    if (sa->sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (!conn_start(c)) {
        front_memory_short(f);
        conn_free(c);
        return;
    }
    if (s->tls)
        deadline_s(c, HANDSHAKE_DEADLINE_S);
    else
        wait_for_request(c);
    if (f->conn_n >= f->connections_max && !least_wanted(f))
        front_hold_listeners(f);
}

void conn_stop_all(struct front *f)
{
    struct conn *c, *next;

    for (c = TAILQ_FIRST(&f->all); c; c = next) {
        next = TAILQ_NEXT(c, all);
        if (c->state == CONN_IDLE)
            close_idle(c);
        else if (c->state == CONN_HANDSHAKE)
            conn_free(c);
    }
}

void conn_free_all(struct front *f)
{
    struct conn *c;

    while ((c = TAILQ_FIRST(&f->all)) != NULL)
        conn_free(c);
}
