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

#include <event2/bufferevent_ssl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

#include "base/auto.h"
#include "base/clock.h"
#include "enroll/front_int.h"

#define LINGER_S         2
#define LINGER_OCTETS    (1024 * 1024)
#define WRITE_RATE       (32 * 1024) /* octets a second that a reader of a large answer must take */
#define ANSWER_HEAD_MAX  2048
#define ERROR_TEXT_MAX   512
#define PROBES_MAX       32 /* health: they answer at the limit of the others, within the spare descriptors */

static void conn_read(struct conn *c);

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

static void deadline_in_ms(struct conn *c, int64_t ms)
{
    struct timeval tv;

    if (ms < 0)
        ms = 0;
    tv.tv_sec = ms / 1000;
    tv.tv_usec = ms % 1000 * 1000;
    event_add(c->timer, &tv);
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
    if (c->bev)
        bufferevent_free(c->bev); /* and the TLS state and the socket with it */
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
    bufferevent_disable(c->bev, EV_READ | EV_WRITE);
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

/* ---- answers ---------------------------------------------------------------------------------------------------- */

static void answer_queue(struct conn *c, const struct http_answer *a, evbuffer_ref_cleanup_cb release, void *arg)
{
    struct evbuffer *out = bufferevent_get_output(c->bev);
    AUTO_BUF head = BUF_INIT(ANSWER_HEAD_MAX);
    bool keep_alive = !c->close && !a->close && !c->front->stopping && c->reader.req.keep_alive;
    bool with_body = c->reader.req.method != HTTP_HEAD && a->status != 304 && a->status != 204 && a->body.len > 0;
    bool ok;

    c->close = !keep_alive;
    http_answer_head(&head, a, keep_alive, clock_now());
    ok = buf_ok(&head) && evbuffer_add(out, head.p, head.len) == 0;
    if (ok && with_body && release) {
        ok = evbuffer_add_reference(out, a->body.p, a->body.len, release, arg) == 0;
        if (ok)
            release = NULL;
    } else if (ok && with_body) {
        ok = evbuffer_add(out, a->body.p, a->body.len) == 0;
    }
    if (release)
        release(a->body.p, a->body.len, arg);
    request_end(c, a->status);
    bufferevent_disable(c->bev, EV_READ);
    if (!ok) { /* half an answer must not be followed by anything */
        set_state(c, CONN_DOOMED);
        deadline_in_ms(c, 0);
        return;
    }
    set_state(c, CONN_WRITING);
    deadline_s(c, REQUEST_DEADLINE_S + (int64_t)(with_body ? a->body.len / WRITE_RATE : 0));
}

void conn_answer(struct conn *c, const struct http_answer *a)
{
    answer_queue(c, a, NULL, NULL);
}

void conn_answer_shared(struct conn *c, const struct http_answer *a, evbuffer_ref_cleanup_cb release, void *arg)
{
    answer_queue(c, a, release, arg);
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
    if (q->expect_continue && evbuffer_get_length(bufferevent_get_input(c->bev)) == 0)
        bufferevent_write(c->bev, go_on, sizeof go_on - 1);
}

static void request_done(struct conn *c)
{
    set_state(c, CONN_BUSY);
    bufferevent_disable(c->bev, EV_READ); /* one request in flight; the kernel holds the rest */
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
    struct evbuffer *in = bufferevent_get_input(c->bev);
    struct evbuffer_iovec v = {0};
    enum http_event ev;
    size_t used;

    if (evbuffer_peek(in, -1, NULL, &v, 1) < 1)
        v.iov_len = 0;
    ev = http_feed(&c->reader, v.iov_base, v.iov_len, &used);
    if (used && c->ssl)
        OPENSSL_cleanse(v.iov_base, used); /* a password may be in it */
    evbuffer_drain(in, used);
    return ev;
}

/* Takes requests from the input until one is in flight or nothing is left. Never frees the connection. */
static void conn_read(struct conn *c)
{
    bool again = true;

    while (is_reading(c) && (again || evbuffer_get_length(bufferevent_get_input(c->bev)) > 0)) {
        if (c->state == CONN_IDLE) {
            if (evbuffer_get_length(bufferevent_get_input(c->bev)) == 0)
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
            front_count(c->front, COUNT_BAD_HTTP);
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
    bufferevent_enable(c->bev, EV_READ);
}

static void on_read(struct bufferevent *bev, void *arg)
{
    (void)bev;
    conn_read(arg);
}

static void on_write(struct bufferevent *bev, void *arg)
{
    struct conn *c = arg;

    if (c->state != CONN_WRITING || evbuffer_get_length(bufferevent_get_output(bev)) > 0)
        return;
    if (c->close || c->front->stopping) {
        linger(c, true);
        return;
    }
    wait_for_request(c);
    conn_read(c);
}

static void handshake_failed(struct conn *c)
{
    char reason[256] = "closed";
    unsigned long code, last = 0;

    while ((code = bufferevent_get_openssl_error(c->bev)) != 0)
        last = code;
    if (last)
        ERR_error_string_n(last, reason, sizeof reason);
    front_count(c->front, COUNT_HANDSHAKE);
    if (SSL_get_verify_result(c->ssl) != X509_V_OK)
        snprintf(reason, sizeof reason, "%s", X509_verify_cert_error_string(SSL_get_verify_result(c->ssl)));
    log_note(LOG_DEBUG, "tls-handshake-failed", "reason", reason);
    linger(c, false);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct conn *c = arg;

    (void)bev;
    if (what & BEV_EVENT_CONNECTED) {
        if (!tls_peer_read(c->ssl, &c->peer)) {
            linger(c, true);
            return;
        }
        wait_for_request(c);
        return;
    }
    if (c->state == CONN_HANDSHAKE) {
        handshake_failed(c);
        return;
    }
    if (c->ssl)
        while (bufferevent_get_openssl_error(c->bev) != 0)
            ;
    conn_free(c);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;

    (void)fd;
    (void)what;
    switch (c->state) {
    case CONN_HEAD:
    case CONN_BODY:
        front_count(c->front, COUNT_DEADLINE);
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
        front_count(c->front, COUNT_DEADLINE);
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

/* Room for one more: the limit counts, and a connection that only waits gives way to a new one. */
static bool make_room(struct front *f)
{
    struct conn *c;

    if (f->conn_n < f->connections_max)
        return true;
    c = least_wanted(f);
    front_count(f, COUNT_CONNECTION_LIMIT);
    if (!c)
        return false;
    if (c->state == CONN_IDLE)
        close_idle(c);
    else
        conn_free(c);
    return true;
}

static bool conn_start(struct conn *c)
{
    struct front *f = c->front;

    c->timer = evtimer_new(f->base, on_deadline, c);
    if (!c->timer)
        return false;
    if (c->service->tls) {
        SSL *ssl = tls_accept_ssl(f->tls);

        if (!ssl)
            return false;
        c->bev = bufferevent_openssl_socket_new(f->base, c->fd, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
        if (!c->bev) {
            SSL_free(ssl);
            return false;
        }
        c->ssl = ssl;
        bufferevent_openssl_set_allow_dirty_shutdown(c->bev, 1);
    } else {
        c->bev = bufferevent_socket_new(f->base, c->fd, BEV_OPT_CLOSE_ON_FREE);
        if (!c->bev)
            return false;
    }
    bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
    return true;
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
            front_count(f, COUNT_ADDRESS_LIMIT);
            close(fd);
            return;
        }
        if (!make_room(f)) {
            source_give(&f->sources, source);
            close(fd);
            return;
        }
    } else if (f->probe_n >= PROBES_MAX) {
        front_count(f, COUNT_CONNECTION_LIMIT);
        close(fd);
        return;
    }
    c = calloc(1, sizeof *c);
    if (!c) {
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
        if (!c->bev)
            close(fd);
        conn_free(c);
        return;
    }
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
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
