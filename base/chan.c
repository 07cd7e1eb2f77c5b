/* SPDX-License-Identifier: Apache-2.0 */
#include "base/chan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/msg_int.h"
#include "base/spare.h"

/* Packets taken per wake-up, so that one busy peer does not starve the others. */
#define READ_BURST 32

/* Octets that a batching channel lets gather before it sends anyway. */
#define BATCH_MAX (256 * 1024)

/* Descriptors waiting for one peer: at most this, and at most a quarter of what the process may open. */
#define QUEUED_FDS_MAX 16384
#define QUEUED_FDS_MIN 64

struct queued {
    STAILQ_ENTRY(queued) link;
    struct buf packet;
    int fd; /* -1: none */
};

struct chan {
    int fd;
    const struct chan_ops *ops;
    void *arg;
    struct event *readable, *writable, *failing;
    struct event *flushing; /* NULL: every message leaves at once */
    STAILQ_HEAD(, queued) out;
    size_t out_len, out_max, out_fds, fds_max;
    uint8_t *room; /* MSG_MAX_LEN octets for the packet being delivered */
    struct err why;
    int64_t turn_us; /* 0: a turn is READ_BURST packets */
    bool paused, broken;
    bool delivering; /* inside a callback: chan_free only marks */
    bool freed;
};

static void queued_free(struct queued *q)
{
    if (q->fd >= 0)
        close(q->fd);
    buf_wipe(&q->packet);
    free(q);
}

static void drop_queue(struct chan *c)
{
    struct queued *q;

    while ((q = STAILQ_FIRST(&c->out)) != NULL) {
        STAILQ_REMOVE_HEAD(&c->out, link);
        queued_free(q);
    }
    c->out_len = c->out_fds = 0;
}

/* Everything that touches the descriptor or the loop ends here; the memory may live a little longer. */
static void detach(struct chan *c)
{
    if (c->readable)
        event_free(c->readable);
    if (c->writable)
        event_free(c->writable);
    if (c->failing)
        event_free(c->failing);
    if (c->flushing)
        event_free(c->flushing);
    c->readable = c->writable = c->failing = c->flushing = NULL;
    drop_queue(c);
    if (c->fd >= 0)
        close(take_fd(&c->fd));
}

static void release(struct chan *c)
{
    free(c->room);
    free(c);
}

static bool flush_queue(struct chan *c, struct err *e);

void chan_free(struct chan *c)
{
    struct err ignored;

    if (!c)
        return;
    if (c->flushing && !c->broken)
        (void)flush_queue(c, &ignored);
    detach(c);
    if (c->delivering)
        c->freed = true;
    else
        release(c);
}

/* on_gone is told later, from the loop, so that no caller of chan_send meets it under its feet. */
static void break_later(struct chan *c, const struct err *why)
{
    if (c->broken)
        return;
    c->broken = true;
    c->why = *why;
    drop_queue(c);
    event_del(c->readable);
    event_del(c->writable);
    event_active(c->failing, EV_TIMEOUT, 0);
}

static void on_failing(evutil_socket_t fd, short what, void *arg)
{
    struct chan *c = arg;

    (void)fd;
    (void)what;
    c->delivering = true;
    c->ops->on_gone(c, &c->why, c->arg);
    c->delivering = false;
    if (c->freed)
        release(c);
}

static void deliver(struct chan *c, size_t len, int fd)
{
    struct msg_reader r;
    struct err e = {0};

    if (msg_read_begin(BYTES(c->room, len), &r, &e) != E_OK) {
        if (fd >= 0)
            close(fd);
        break_later(c, &e);
        return;
    }
    c->ops->on_message(c, &r, fd, c->arg);
}

/* What came, `most` messages of it: how many, or -1 when the callee freed the channel. */
static int take_turn(struct chan *c, int most)
{
    int64_t until = c->turn_us ? clock_mono_us() + c->turn_us : 0;
    size_t longest = 0;
    int n = 0;

    c->delivering = true;
    while (n < most && !c->freed && !c->paused && !c->broken) {
        struct err e = {0};
        size_t len = 0;
        int fd = -1;
        enum packet_result got = packet_recv(c->fd, c->room, MSG_MAX_LEN, &len, &fd, &e);

        if (got == PACKET_NONE)
            break;
        if (got == PACKET_BROKEN) {
            break_later(c, &e);
            break;
        }
        if (len > longest)
            longest = len;
        deliver(c, len, fd);
        n++;
        if (c->turn_us && clock_mono_us() >= until)
            break;
    }
    OPENSSL_cleanse(c->room, longest); /* the last message may hold a password, and the next may be hours away */
    c->delivering = false;
    if (!c->freed)
        return n;
    release(c);
    return -1;
}

static void on_readable(evutil_socket_t sock, short what, void *arg)
{
    (void)sock;
    (void)what;
    (void)take_turn(arg, READ_BURST);
}

/* Sends packets from the head of the queue, several together when none of them carries a descriptor: how many, or -1. */
static int send_some(struct chan *c)
{
    struct queued *q = STAILQ_FIRST(&c->out);
    struct bytes packet[PACKETS_MAX];
    unsigned n = 0;

    if (q->fd >= 0)
        return packet_send(c->fd, buf_bytes(&q->packet), q->fd) < 0 ? -1 : 1;
    for (; q && q->fd < 0 && n < PACKETS_MAX; q = STAILQ_NEXT(q, link))
        packet[n++] = buf_bytes(&q->packet);
    return packets_send(c->fd, packet, n);
}

static void forget_sent(struct chan *c, int n)
{
    while (n-- > 0) {
        struct queued *q = STAILQ_FIRST(&c->out);

        STAILQ_REMOVE_HEAD(&c->out, link);
        c->out_len -= q->packet.len;
        c->out_fds -= q->fd >= 0;
        queued_free(q);
    }
}

/* false: the link is broken for writing. What the peer said before it went is still to be read. */
static bool flush_queue(struct chan *c, struct err *e)
{
    while (!STAILQ_EMPTY(&c->out)) {
        int n = send_some(c);

        if (n < 0) {
            if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ETOOMANYREFS)
                break;
            err_errno(e, E_IO, "send");
            return false;
        }
        forget_sent(c, n);
    }
    if (STAILQ_EMPTY(&c->out))
        event_del(c->writable);
    else
        event_add(c->writable, NULL);
    return true;
}

/* A peer that closed may have left messages: reading them ends in end-of-file and on_gone by itself. */
static void write_failed(struct chan *c, const struct err *e)
{
    if (c->paused || (e->native != EPIPE && e->native != ECONNRESET)) {
        break_later(c, e);
        return;
    }
    drop_queue(c);
    event_del(c->writable);
}

static void on_writable(evutil_socket_t sock, short what, void *arg)
{
    struct chan *c = arg;
    struct err e = {0};

    (void)sock;
    (void)what;
    if (!flush_queue(c, &e))
        write_failed(c, &e);
}

static void on_flushing(evutil_socket_t sock, short what, void *arg)
{
    struct chan *c = arg;
    struct err e = {0};

    (void)sock;
    (void)what;
    if (!c->broken && !flush_queue(c, &e))
        write_failed(c, &e);
}

/* Asked once, early: the limit of a confined process does not change. */
static size_t fds_max(void)
{
    static size_t max;
    struct rlimit r;

    if (max)
        return max;
    max = QUEUED_FDS_MIN;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur / 4 > max)
        max = r.rlim_cur / 4 < QUEUED_FDS_MAX ? (size_t)(r.rlim_cur / 4) : QUEUED_FDS_MAX;
    return max;
}

struct chan *chan_new(struct event_base *base, int fd, const struct chan_ops *ops, void *arg, size_t queue_max,
                      struct err *e)
{
    struct chan *c = calloc(1, sizeof(*c));

    if (!c) {
        close(fd);
        err_set(e, E_NOMEM, "out of memory for a channel");
        return NULL;
    }
    c->fd = fd;
    c->ops = ops;
    c->arg = arg;
    c->out_max = queue_max;
    c->fds_max = fds_max();
    STAILQ_INIT(&c->out);
    c->room = malloc(MSG_MAX_LEN);
    c->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, c);
    c->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, c);
    c->failing = event_new(base, -1, 0, on_failing, c);
    if (!c->room || !c->readable || !c->writable || !c->failing || evutil_make_socket_nonblocking(fd) != 0 ||
        evutil_make_socket_closeonexec(fd) != 0 || event_add(c->readable, NULL) != 0) {
        err_set(e, E_NOMEM, "a channel could not be set up");
        chan_free(c);
        return NULL;
    }
    return c;
}

enum err_code chan_send(struct chan *c, struct msg *m, int pass_fd, struct err *e)
{
    bool was_empty = STAILQ_EMPTY(&c->out);
    struct err why = {0};
    struct queued *q;

    if (!msg_finish(m)) {
        bool no_memory = m->b.no_memory;

        msg_wipe(m);
        return no_memory ? err_set(e, E_NOMEM, "out of memory for a message")
                         : err_set(e, E_INTERNAL, "message does not fit %d octets", MSG_MAX_LEN);
    }
    if (c->broken || c->fd < 0) {
        msg_wipe(m);
        return err_set(e, E_IO, "the link is broken");
    }
    q = spare_calloc(1, sizeof(*q));
    if (!q) {
        msg_wipe(m);
        return err_set(e, E_NOMEM, "out of memory for a message");
    }
    q->fd = -1;
    q->packet = m->b;
    buf_init(&m->b, 0);
    if (pass_fd >= 0 && (q->fd = fcntl(pass_fd, F_DUPFD_CLOEXEC, 0)) < 0) {
        enum err_code rc = err_errno(e, E_IO, "duplicate a descriptor");

        queued_free(q);
        return rc;
    }
    c->out_len += q->packet.len;
    c->out_fds += q->fd >= 0;
    STAILQ_INSERT_TAIL(&c->out, q, link);
    if (c->flushing && c->out_len < BATCH_MAX) {
        if (was_empty)
            event_active(c->flushing, EV_WRITE, 0);
        return E_OK;
    }
    if ((was_empty || c->flushing) && !flush_queue(c, &why)) {
        write_failed(c, &why);
        if (e)
            *e = why;
        return E_IO;
    }
    if (c->out_len > c->out_max || c->out_fds > c->fds_max) {
        err_set(&why, E_IO, "the peer does not read: %zu octets and %zu descriptors are waiting", c->out_len, c->out_fds);
        break_later(c, &why);
        if (e)
            *e = why;
        return E_IO;
    }
    return E_OK;
}

void chan_batch(struct chan *c)
{
    if (!c->flushing && c->readable)
        c->flushing = event_new(event_get_base(c->readable), -1, 0, on_flushing, c);
}

bool chan_serve(struct chan *c, int most)
{
    struct err e = {0};
    int taken;

    if (c->delivering || c->broken)
        return false;
    taken = take_turn(c, most);
    if (taken < 0 || c->broken || STAILQ_EMPTY(&c->out))
        return taken != 0;
    if (!flush_queue(c, &e))
        write_failed(c, &e);
    return true;
}

void chan_turn(struct chan *c, int64_t us)
{
    c->turn_us = us;
}

size_t chan_queued(const struct chan *c)
{
    return c->out_len;
}

void chan_pause(struct chan *c)
{
    if (c->paused || c->broken)
        return;
    c->paused = true;
    event_del(c->readable);
}

void chan_resume(struct chan *c)
{
    if (!c->paused || c->broken)
        return;
    c->paused = false;
    event_add(c->readable, NULL);
}

void chan_fail(struct chan *c, const struct err *why)
{
    if (c->fd >= 0)
        break_later(c, why);
}

int chan_fd(const struct chan *c)
{
    return c->fd;
}
