/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/auto.h"
#include "base/chan.h"

static void pair(int ends[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
}

static void build(struct msg *m)
{
    struct err e = {0};

    err_set(&e, E_TOKEN, "gone");
    e.native = 48;
    msg_begin(m, 0x0123, 0x1122334455667788ULL);
    msg_put_u8(m, 7);
    msg_put_bool(m, true);
    msg_put_u16(m, 0xabcd);
    msg_put_u32(m, 0xdeadbeef);
    msg_put_u64(m, UINT64_MAX);
    msg_put_i64(m, -5);
    msg_put_bytes(m, BYTES("a\0b", 3));
    msg_put_str(m, "text");
    msg_put_str(m, NULL);
    msg_put_err(m, &e, E_TOKEN);
    assert_true(msg_finish(m));
}

static bool read_back(struct bytes packet)
{
    struct msg_reader r;
    struct err e = {0};
    char text[8], empty[8];
    struct bytes b;
    bool same;

    if (msg_read_begin(packet, &r, &e) != E_OK)
        return false;
    same = r.type == 0x0123 && r.request_id == 0x1122334455667788ULL;
    same &= msg_get_u8(&r) == 7;
    same &= msg_get_bool(&r);
    same &= msg_get_u16(&r) == 0xabcd;
    same &= msg_get_u32(&r) == 0xdeadbeef;
    same &= msg_get_u64(&r) == UINT64_MAX;
    same &= msg_get_i64(&r) == -5;
    b = msg_get_bytes(&r, 3);
    same &= bytes_equal(b, BYTES("a\0b", 3));
    msg_get_str(&r, text, sizeof(text));
    same &= strcmp(text, "text") == 0;
    msg_get_str(&r, empty, sizeof(empty));
    same &= empty[0] == '\0';
    same &= msg_get_err(&r, &e) == E_TOKEN && e.native == 48 && strcmp(e.msg, "gone") == 0;
    return msg_read_end(&r, &e) == E_OK && same;
}

static void every_field_goes_round(void **state)
{
    AUTO_MSG m;

    (void)state;
    build(&m);
    assert_true(read_back(buf_bytes(&m.b)));
}

/* A message cut anywhere, with a length that agrees, is never taken for a whole one. */
static void a_message_cut_at_any_octet_is_refused(void **state)
{
    AUTO_MSG m;

    (void)state;
    build(&m);
    for (size_t n = 0; n < m.b.len; n++) {
        uint8_t *cut = malloc(n ? n : 1); /* of the exact size: the sanitizer sees a read beyond it */

        assert_non_null(cut);
        memcpy(cut, m.b.p, n);
        if (n >= 4)
            put_be32(cut, (uint32_t)n);
        assert_false(read_back(BYTES(cut, n)));
        free(cut);
    }
}

static void the_header_is_checked(void **state)
{
    static const struct {
        const char *name;
        size_t at;
        uint8_t value;
    } cases[] = {{"length one too many", 3, 18}, {"length one too few", 3, 16}, {"version 2", 4, 2}, {"reserved octet", 5, 1}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_MSG m;
        struct msg_reader r;
        struct err e = {0};

        print_message("  %s\n", cases[i].name);
        msg_begin(&m, 1, 1);
        msg_put_u8(&m, 1);
        assert_true(msg_finish(&m));
        assert_int_equal(m.b.len, 17);
        assert_int_equal(msg_read_begin(buf_bytes(&m.b), &r, &e), E_OK);
        m.b.p[cases[i].at] = cases[i].value;
        assert_int_equal(msg_read_begin(buf_bytes(&m.b), &r, &e), E_INVALID);
    }
}

/* One u8 field of value `v`, read by enumeration and as a truth value. */
static void read_small(uint8_t v, bool *as_bool, bool *as_enum)
{
    AUTO_MSG m;
    struct msg_reader r;
    struct err e = {0};

    msg_begin(&m, 1, 1);
    msg_put_u8(&m, v);
    assert_true(msg_finish(&m));
    assert_int_equal(msg_read_begin(buf_bytes(&m.b), &r, &e), E_OK);
    msg_get_bool(&r);
    *as_bool = msg_read_end(&r, &e) == E_OK;
    assert_int_equal(msg_read_begin(buf_bytes(&m.b), &r, &e), E_OK);
    msg_get_enum(&r, 3);
    *as_enum = msg_read_end(&r, &e) == E_OK;
}

static void unknown_values_fail_closed(void **state)
{
    bool as_bool, as_enum;

    (void)state;
    read_small(1, &as_bool, &as_enum);
    assert_true(as_bool && as_enum);
    read_small(2, &as_bool, &as_enum);
    assert_true(!as_bool && as_enum);
    read_small(3, &as_bool, &as_enum);
    assert_true(!as_bool && !as_enum);
}

static void texts_are_bounded_and_hold_no_nul(void **state)
{
    static const struct {
        const char *name;
        struct bytes value;
        bool good;
    } cases[] = {{"three octets in four", {(const uint8_t *)"abc", 3}, true},
                 {"four octets in four", {(const uint8_t *)"abcd", 4}, false},
                 {"NUL inside", {(const uint8_t *)"a\0c", 3}, false}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_MSG m;
        struct msg_reader r;
        struct err e = {0};
        char text[4];

        print_message("  %s\n", cases[i].name);
        msg_begin(&m, 1, 1);
        msg_put_bytes(&m, cases[i].value);
        assert_true(msg_finish(&m));
        assert_int_equal(msg_read_begin(buf_bytes(&m.b), &r, &e), E_OK);
        msg_get_str(&r, text, sizeof(text));
        assert_int_equal(msg_read_end(&r, &e) == E_OK, cases[i].good);
    }
}

static void octets_left_over_are_refused(void **state)
{
    AUTO_MSG m;
    struct msg_reader r;
    struct err e = {0};

    (void)state;
    msg_begin(&m, 1, 1);
    msg_put_u16(&m, 1);
    assert_true(msg_finish(&m));
    assert_int_equal(msg_read_begin(buf_bytes(&m.b), &r, &e), E_OK);
    msg_get_u8(&r);
    assert_int_equal(msg_read_end(&r, &e), E_INVALID);
}

static void a_message_above_the_limit_does_not_finish(void **state)
{
    static uint8_t much[MSG_MAX_LEN];
    AUTO_MSG fits;
    AUTO_MSG over;

    (void)state;
    msg_begin(&fits, 1, 1);
    msg_put_bytes(&fits, BYTES(much, MSG_MAX_LEN - MSG_HEADER_LEN - 4));
    assert_true(msg_finish(&fits));
    msg_begin(&over, 1, 1);
    msg_put_bytes(&over, BYTES(much, MSG_MAX_LEN - MSG_HEADER_LEN - 3));
    assert_false(msg_finish(&over));
}

static void a_descriptor_arrives_with_its_message(void **state)
{
    AUTO_MSG m;
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct err e = {0};
    struct bytes mapped;
    int ends[2], fd = memfd_of("test", bytes_str("content"), &e), got = -1;

    (void)state;
    pair(ends);
    assert_true(fd >= 0);
    msg_begin(&m, 5, 6);
    assert_int_equal(msg_send(ends[0], &m, fd, &e), E_OK);
    assert_int_equal(msg_recv(ends[1], &packet, &got, 1000, &e), E_OK);
    assert_true(got >= 0);
    assert_true(fcntl(got, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(fd_map(got, 6, &mapped, &e), E_INVALID);
    assert_int_equal(fd_map(got, 7, &mapped, &e), E_OK);
    assert_true(bytes_equal(mapped, bytes_str("content")));
    fd_unmap(mapped);
    /* Sealed: nobody changes it any more. */
    assert_int_equal(write(fd, "x", 1), -1);
    assert_int_equal(ftruncate(fd, 0), -1);
    close(fd);
    close(got);
    close(ends[0]);
    close(ends[1]);
}

static void an_unsealed_memory_file_is_not_mapped(void **state)
{
    int fd = memfd_create("loose", MFD_ALLOW_SEALING);
    struct bytes mapped;
    struct err e = {0};

    (void)state;
    assert_true(fd >= 0 && ftruncate(fd, 10) == 0);
    assert_int_equal(fd_map(fd, 100, &mapped, &e), E_INVALID);
    close(fd);
}

/* The core passes the newest list as a file; the next one may take its name before the front has mapped it. */
static void a_file_replaced_under_way_is_mapped(void **state)
{
    char disk[] = "/var/tmp/test_msg.XXXXXX", memory[] = "/dev/shm/test_msg.XXXXXX";
    char *const paths[] = {disk, memory};

    (void)state;
    for (int i = 0; i < 2; i++) {
        int fd = mkstemp(paths[i]);
        struct bytes mapped;
        struct err e = {0};

        assert_true(fd >= 0 && ftruncate(fd, 10) == 0);
        unlink(paths[i]);
        assert_int_equal(fd_map(fd, 100, &mapped, &e), E_OK);
        fd_unmap(mapped);
        close(fd);
    }
}

static void a_packet_above_the_limit_and_a_second_descriptor_break_the_link(void **state)
{
    static uint8_t much[MSG_MAX_LEN + 1];
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct err e = {0};
    union {
        char room[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec iov = {much, 20};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control.room)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&h);
    int ends[2], two[2] = {0, 1}, got = -1;

    (void)state;
    pair(ends);
    assert_int_equal(send(ends[0], much, sizeof(much), 0), sizeof(much));
    assert_int_equal(msg_recv(ends[1], &packet, NULL, 1000, &e), E_INVALID);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(two));
    memcpy(CMSG_DATA(c), two, sizeof(two));
    assert_int_equal(sendmsg(ends[0], &h, 0), 20);
    assert_int_equal(msg_recv(ends[1], &packet, &got, 1000, &e), E_INVALID);
    assert_int_equal(got, -1);
    close(ends[0]);
    close(ends[1]);
}

static void waiting_ends_in_time_and_at_the_end_of_the_peer(void **state)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct err e = {0};
    int ends[2];

    (void)state;
    pair(ends);
    assert_int_equal(msg_recv(ends[1], &packet, NULL, 20, &e), E_BUSY);
    close(ends[0]);
    assert_int_equal(msg_recv(ends[1], &packet, NULL, 1000, &e), E_IO);
    close(ends[1]);
}

/* ---- channels ---- */

#define SERVED 4 /* messages */

struct seen {
    struct event_base *base;
    size_t messages, goal, gone, descriptors;
    unsigned each_us; /* of work in a message */
    uint64_t next_id;
    bool free_inside, fail_inside;
    struct chan *other; /* is served inside a message */
    bool served;
    struct err why;
};

static void on_message(struct chan *c, struct msg_reader *r, int fd, void *arg)
{
    struct seen *s = arg;

    assert_true(r->request_id == s->next_id++);
    s->messages++;
    if (s->each_us)
        usleep(s->each_us);
    if (fd >= 0) {
        s->descriptors++;
        close(fd);
    }
    if (s->other)
        s->served = chan_serve(s->other, SERVED);
    if (s->fail_inside) {
        struct err e = {0};

        err_set(&e, E_INVALID, "found by the callee");
        chan_fail(c, &e);
    }
    if (s->free_inside)
        chan_free(c);
    if (s->messages == s->goal)
        event_base_loopbreak(s->base);
}

static void on_gone(struct chan *c, const struct err *why, void *arg)
{
    struct seen *s = arg;

    s->gone++;
    s->why = *why;
    chan_free(c);
    event_base_loopbreak(s->base);
}

static const struct chan_ops ops = {.on_message = on_message, .on_gone = on_gone};

static void loop(struct seen *s)
{
    const struct timeval limit = {.tv_sec = 10};

    event_base_loopexit(s->base, &limit);
    event_base_dispatch(s->base);
}

static enum err_code send_numbered(struct chan *c, uint64_t id, size_t len, int fd)
{
    static uint8_t much[MSG_MAX_LEN];
    struct msg m;
    struct err e = {0};

    msg_begin(&m, 1, id);
    msg_put_bytes(&m, BYTES(much, len));
    return chan_send(c, &m, fd, &e);
}

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1 && p.revents & POLLIN;
}

static void a_batching_channel_sends_when_the_loop_has_done_its_turn(void **state)
{
    struct seen here = {0}, there = {.goal = 100};
    struct err e = {0};
    struct chan *a, *b;
    int ends[2];

    (void)state;
    pair(ends);
    here.base = there.base = event_base_new();
    a = chan_new(here.base, ends[0], &ops, &here, 10 * 1024 * 1024, &e);
    b = chan_new(there.base, ends[1], &ops, &there, 1024, &e);
    assert_non_null(a);
    assert_non_null(b);
    chan_batch(a);
    for (uint64_t i = 0; i < 100; i++) /* more than one call takes, descriptors among them, order kept */
        assert_int_equal(send_numbered(a, i, 100, i % 7 == 3 ? 0 : -1), E_OK);
    assert_false(is_readable(ends[1]));
    loop(&there);
    assert_int_equal(there.messages, 100);
    assert_int_equal(there.descriptors, 14);
    assert_int_equal(chan_queued(a), 0);
    there.goal = 105;
    for (uint64_t i = 100; i < 105; i++) /* what a loop under load lets gather has an end */
        assert_int_equal(send_numbered(a, i, 60000, -1), E_OK);
    assert_true(is_readable(ends[1]));
    loop(&there);
    assert_int_equal(there.messages, 105);
    assert_int_equal(send_numbered(a, 105, 10, -1), E_OK);
    chan_free(a); /* what was sent before leaves before */
    loop(&there);
    assert_int_equal(there.messages, 106);
    assert_int_equal(there.gone, 1);
    event_base_free(here.base);
}

/* A mass action comes as long messages, and whoever asks meanwhile is answered between two of them. */
static void a_channel_with_a_turn_takes_no_burst_of_long_messages(void **state)
{
    struct seen here = {0}, there = {.each_us = 2000};
    struct err e = {0};
    struct chan *a, *b;
    int ends[2];

    (void)state;
    pair(ends);
    here.base = there.base = event_base_new();
    a = chan_new(here.base, ends[0], &ops, &here, 1024 * 1024, &e);
    b = chan_new(there.base, ends[1], &ops, &there, 1024, &e);
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(send_numbered(a, i, 100, -1), E_OK);
    chan_turn(b, 300);
    for (size_t turn = 1; turn <= 3; turn++) {
        event_base_loop(here.base, EVLOOP_ONCE);
        assert_int_equal(there.messages, turn);
    }
    there.each_us = 0;
    chan_turn(b, 1000000); /* short ones go together */
    event_base_loop(here.base, EVLOOP_ONCE);
    assert_int_equal(there.messages, 20);
    chan_free(a);
    chan_free(b);
    event_base_free(here.base);
}

/* The loop of who asks and who answers never turns: what happens, happens inside the message of the other channel. */
static void a_channel_is_served_inside_a_message_of_another(void **state)
{
    struct seen far = {0}, asked = {0}, rows = {.goal = 1};
    struct chan *asker, *answerer, *sender, *taker;
    struct event_base *never = event_base_new();
    int ask[2], row[2];
    struct err e = {0};

    (void)state;
    pair(ask);
    pair(row);
    far.base = rows.base = event_base_new();
    asker = chan_new(never, ask[0], &ops, &far, 4096, &e);
    answerer = chan_new(never, ask[1], &ops, &asked, 4096, &e);
    sender = chan_new(far.base, row[0], &ops, &far, 4096, &e);
    taker = chan_new(far.base, row[1], &ops, &rows, 4096, &e);
    assert_true(asker && answerer && sender && taker);
    chan_batch(answerer);
    assert_false(chan_serve(answerer, SERVED)); /* nothing came, nothing waits */

    rows.other = answerer;
    for (uint64_t i = 0; i < SERVED + 2; i++)
        assert_int_equal(send_numbered(asker, i, 10, -1), E_OK);
    assert_int_equal(send_numbered(answerer, 0, 10, -1), E_OK);
    assert_int_equal(send_numbered(sender, 0, 10, -1), E_OK);
    assert_false(is_readable(ask[0]));
    loop(&rows);
    assert_true(rows.served);
    assert_int_equal(asked.messages, SERVED); /* one that floods keeps nobody for longer */
    assert_true(is_readable(ask[0]));

    /* Not inside a message of its own; a paused one takes nothing, and sends. */
    rows.other = taker;
    rows.goal = 2;
    assert_int_equal(send_numbered(sender, 1, 10, -1), E_OK);
    assert_int_equal(send_numbered(sender, 2, 10, -1), E_OK);
    loop(&rows);
    assert_false(rows.served);
    chan_pause(answerer);
    assert_false(chan_serve(answerer, SERVED));
    assert_int_equal(send_numbered(answerer, 1, 10, -1), E_OK);
    assert_true(chan_serve(answerer, SERVED));
    assert_int_equal(asked.messages, SERVED);
    assert_int_equal(chan_queued(answerer), 0);
    chan_resume(answerer);

    asked.free_inside = true;
    assert_true(chan_serve(answerer, SERVED));
    assert_int_equal(asked.messages, SERVED + 1);
    chan_free(asker);
    chan_free(sender);
    chan_free(taker);
    event_base_free(far.base);
    event_base_free(never);
}

/* As the loop tells of it: nobody meets the end of a peer inside the work of another. */
static void a_peer_that_went_is_told_of_by_the_loop_not_by_serving(void **state)
{
    struct seen here = {0};
    struct chan *a;
    struct err e = {0};
    int ends[2];

    (void)state;
    pair(ends);
    here.base = event_base_new();
    a = chan_new(here.base, ends[0], &ops, &here, 1024, &e);
    assert_non_null(a);
    close(ends[1]);
    assert_false(chan_serve(a, SERVED));
    assert_false(chan_serve(a, SERVED));
    assert_int_equal(here.gone, 0);
    loop(&here);
    assert_int_equal(here.gone, 1);
    event_base_free(here.base);
}

static void a_batching_channel_tells_of_a_peer_that_went(void **state)
{
    struct seen here = {0};
    struct err e = {0};
    struct chan *a;
    int ends[2];

    (void)state;
    pair(ends);
    here.base = event_base_new();
    a = chan_new(here.base, ends[0], &ops, &here, 200000, &e);
    assert_non_null(a);
    chan_batch(a);
    close(ends[1]);
    assert_int_equal(send_numbered(a, 0, 10, -1), E_OK);
    loop(&here);
    assert_int_equal(here.gone, 1);
    event_base_free(here.base);
}

static void a_channel_queues_and_keeps_the_order(void **state)
{
    struct seen here = {0}, there = {.goal = 100};
    struct err e = {0};
    struct chan *a, *b;
    int ends[2];

    (void)state;
    pair(ends);
    here.base = there.base = event_base_new();
    a = chan_new(here.base, ends[0], &ops, &here, 10 * 1024 * 1024, &e);
    b = chan_new(there.base, ends[1], &ops, &there, 1024, &e);
    assert_non_null(a);
    assert_non_null(b);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(send_numbered(a, i, 60000, i % 10 == 0 ? 0 : -1), E_OK);
    assert_true(chan_queued(a) > 0);
    loop(&there);
    assert_int_equal(there.messages, 100);
    assert_int_equal(there.descriptors, 10);
    assert_int_equal(chan_queued(a), 0);
    chan_free(a);
    loop(&there);
    assert_int_equal(there.gone, 1);
    event_base_free(here.base);
}

static void a_peer_that_does_not_read_counts_as_gone(void **state)
{
    struct seen here = {0};
    struct err e = {0};
    struct chan *a;
    enum err_code rc = E_OK;
    int ends[2];

    (void)state;
    pair(ends);
    here.base = event_base_new();
    a = chan_new(here.base, ends[0], &ops, &here, 200000, &e);
    for (uint64_t i = 0; i < 100 && rc == E_OK; i++)
        rc = send_numbered(a, i, 60000, -1);
    assert_int_equal(rc, E_IO);
    assert_int_equal(here.gone, 0); /* never from inside chan_send */
    loop(&here);
    assert_int_equal(here.gone, 1);
    close(ends[1]);
    event_base_free(here.base);
}

static void what_a_peer_said_before_it_went_is_still_read(void **state)
{
    struct seen here = {0}, there = {0};
    struct err e = {0};
    struct chan *a, *b;
    int ends[2];

    (void)state;
    pair(ends);
    here.base = there.base = event_base_new();
    b = chan_new(there.base, ends[1], &ops, &there, 100000, &e);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(send_numbered(b, i, 10, -1), E_OK);
    chan_free(b);
    a = chan_new(here.base, ends[0], &ops, &here, 100000, &e);
    assert_int_equal(send_numbered(a, 0, 10, -1), E_IO);
    loop(&here);
    assert_int_equal(here.messages, 3);
    assert_int_equal(here.gone, 1);
    event_base_free(here.base);
}

/* The kernel reports the unread message as a reset, ahead of what the peer had sent: that was taken for the end. */
static void a_peer_that_left_messages_unread_is_still_read(void **state)
{
    struct seen here = {0};
    struct err e = {0};
    struct chan *a, *b;
    int ends[2];

    (void)state;
    pair(ends);
    here.base = event_base_new();
    a = chan_new(here.base, ends[0], &ops, &here, 100000, &e);
    b = chan_new(here.base, ends[1], &ops, &here, 100000, &e);
    assert_int_equal(send_numbered(a, 0, 10, -1), E_OK);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(send_numbered(b, i, 10, -1), E_OK);
    chan_free(b);
    loop(&here);
    assert_int_equal(here.messages, 3);
    assert_int_equal(here.gone, 1);
    event_base_free(here.base);
}

static void a_channel_may_be_freed_or_failed_by_its_reader(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct seen here = {.goal = i == 0 ? 1 : 0, .free_inside = i == 0, .fail_inside = i == 1};
        struct err e = {0};
        struct chan *a;
        AUTO_MSG m;
        int ends[2];

        pair(ends);
        here.base = event_base_new();
        a = chan_new(here.base, ends[0], &ops, &here, 100000, &e);
        assert_non_null(a);
        for (uint64_t k = 0; k < 2; k++) {
            msg_begin(&m, 1, k);
            assert_int_equal(msg_send(ends[1], &m, -1, &e), E_OK);
            msg_clear(&m);
        }
        loop(&here);
        assert_int_equal(here.messages, 1);
        assert_int_equal(here.gone, i);
        if (i == 1)
            assert_string_equal(here.why.msg, "found by the callee");
        close(ends[1]);
        event_base_free(here.base);
    }
}

static void a_paused_channel_waits(void **state)
{
    struct seen here = {.goal = 1};
    const struct timeval soon = {.tv_usec = 20000};
    struct err e = {0};
    struct chan *a;
    AUTO_MSG m;
    int ends[2];

    (void)state;
    pair(ends);
    here.base = event_base_new();
    a = chan_new(here.base, ends[0], &ops, &here, 100000, &e);
    msg_begin(&m, 1, 0);
    assert_int_equal(msg_send(ends[1], &m, -1, &e), E_OK);
    chan_pause(a);
    event_base_loopexit(here.base, &soon);
    event_base_dispatch(here.base);
    assert_int_equal(here.messages, 0);
    chan_resume(a);
    loop(&here);
    assert_int_equal(here.messages, 1);
    chan_free(a);
    close(ends[1]);
    event_base_free(here.base);
}

static void a_broken_packet_ends_the_channel(void **state)
{
    struct seen here = {0};
    struct err e = {0};
    int ends[2];

    (void)state;
    pair(ends);
    here.base = event_base_new();
    assert_non_null(chan_new(here.base, ends[0], &ops, &here, 100000, &e));
    assert_int_equal(send(ends[1], "not a message at all", 20, 0), 20);
    loop(&here);
    assert_int_equal(here.gone, 1);
    assert_int_equal(here.messages, 0);
    close(ends[1]);
    event_base_free(here.base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_goes_round),
        cmocka_unit_test(a_message_cut_at_any_octet_is_refused),
        cmocka_unit_test(the_header_is_checked),
        cmocka_unit_test(unknown_values_fail_closed),
        cmocka_unit_test(texts_are_bounded_and_hold_no_nul),
        cmocka_unit_test(octets_left_over_are_refused),
        cmocka_unit_test(a_message_above_the_limit_does_not_finish),
        cmocka_unit_test(a_descriptor_arrives_with_its_message),
        cmocka_unit_test(an_unsealed_memory_file_is_not_mapped),
        cmocka_unit_test(a_file_replaced_under_way_is_mapped),
        cmocka_unit_test(a_packet_above_the_limit_and_a_second_descriptor_break_the_link),
        cmocka_unit_test(waiting_ends_in_time_and_at_the_end_of_the_peer),
        cmocka_unit_test(a_channel_queues_and_keeps_the_order),
        cmocka_unit_test(a_batching_channel_sends_when_the_loop_has_done_its_turn),
        cmocka_unit_test(a_channel_with_a_turn_takes_no_burst_of_long_messages),
        cmocka_unit_test(a_channel_is_served_inside_a_message_of_another),
        cmocka_unit_test(a_peer_that_went_is_told_of_by_the_loop_not_by_serving),
        cmocka_unit_test(a_batching_channel_tells_of_a_peer_that_went),
        cmocka_unit_test(a_peer_that_does_not_read_counts_as_gone),
        cmocka_unit_test(what_a_peer_said_before_it_went_is_still_read),
        cmocka_unit_test(a_peer_that_left_messages_unread_is_still_read),
        cmocka_unit_test(a_channel_may_be_freed_or_failed_by_its_reader),
        cmocka_unit_test(a_paused_channel_waits),
        cmocka_unit_test(a_broken_packet_ends_the_channel),
    };

    return cmocka_run_group_tests_name("msg", tests, NULL, NULL);
}
