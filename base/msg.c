/* SPDX-License-Identifier: Apache-2.0 */
#include "base/msg.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/msg_int.h"

/* ---- writing ---- */

void msg_begin(struct msg *m, uint16_t type, uint64_t request_id)
{
    uint8_t header[MSG_HEADER_LEN] = {0};

    buf_init(&m->b, MSG_MAX_LEN);
    header[4] = MSG_VERSION;
    put_be16(header + 6, type);
    put_be64(header + 8, request_id);
    buf_add(&m->b, header, sizeof(header));
}

void msg_clear(struct msg *m)
{
    buf_clear(&m->b);
}

void msg_wipe(struct msg *m)
{
    buf_wipe(&m->b);
}

void msg_put_u8(struct msg *m, uint8_t v)
{
    buf_add_u8(&m->b, v);
}

void msg_put_bool(struct msg *m, bool v)
{
    buf_add_u8(&m->b, v ? 1 : 0);
}

void msg_put_u16(struct msg *m, uint16_t v)
{
    uint8_t p[2];

    put_be16(p, v);
    buf_add(&m->b, p, sizeof(p));
}

void msg_put_u32(struct msg *m, uint32_t v)
{
    uint8_t p[4];

    put_be32(p, v);
    buf_add(&m->b, p, sizeof(p));
}

void msg_put_u64(struct msg *m, uint64_t v)
{
    uint8_t p[8];

    put_be64(p, v);
    buf_add(&m->b, p, sizeof(p));
}

void msg_put_i64(struct msg *m, int64_t v)
{
    msg_put_u64(m, (uint64_t)v);
}

void msg_put_bytes(struct msg *m, struct bytes v)
{
    if (v.len > MSG_MAX_LEN) {
        m->b.failed = true;
        return;
    }
    msg_put_u32(m, (uint32_t)v.len);
    buf_add_bytes(&m->b, v);
}

void msg_put_str(struct msg *m, const char *s)
{
    msg_put_bytes(m, bytes_str(s));
}

void msg_put_err(struct msg *m, const struct err *e, enum err_code code)
{
    msg_put_u8(m, (uint8_t)code);
    msg_put_u64(m, code != E_OK && e ? e->native : 0);
    msg_put_str(m, code != E_OK && e ? e->msg : "");
}

bool msg_finish(struct msg *m)
{
    if (!buf_ok(&m->b) || m->b.len < MSG_HEADER_LEN)
        return false;
    put_be32(m->b.p, (uint32_t)m->b.len);
    return true;
}

/* ---- reading ---- */

enum err_code msg_read_begin(struct bytes packet, struct msg_reader *r, struct err *e)
{
    *r = (struct msg_reader){0};
    if (packet.len < MSG_HEADER_LEN || packet.len > MSG_MAX_LEN)
        return err_set(e, E_INVALID, "message of %zu octets", packet.len);
    if (get_be32(packet.p) != packet.len)
        return err_set(e, E_INVALID, "message of %zu octets says it has %u", packet.len, (unsigned)get_be32(packet.p));
    if (packet.p[4] != MSG_VERSION || packet.p[5] != 0)
        return err_set(e, E_INVALID, "message version %u.%u is not %d.0", packet.p[4], packet.p[5], MSG_VERSION);
    r->type = get_be16(packet.p + 6);
    r->request_id = get_be64(packet.p + 8);
    r->p = packet.p + MSG_HEADER_LEN;
    r->len = packet.len - MSG_HEADER_LEN;
    return E_OK;
}

/* The next n octets, or NULL with the reader failed. */
static const uint8_t *take(struct msg_reader *r, size_t n)
{
    const uint8_t *p = r->p;

    if (r->failed || n > r->len) {
        r->failed = true;
        return NULL;
    }
    r->p += n;
    r->len -= n;
    return p;
}

uint8_t msg_get_u8(struct msg_reader *r)
{
    const uint8_t *p = take(r, 1);

    return p ? p[0] : 0;
}

uint8_t msg_get_enum(struct msg_reader *r, uint8_t count)
{
    uint8_t v = msg_get_u8(r);

    if (v >= count) {
        r->failed = true;
        return 0;
    }
    return v;
}

bool msg_get_bool(struct msg_reader *r)
{
    return msg_get_enum(r, 2) == 1;
}

uint16_t msg_get_u16(struct msg_reader *r)
{
    const uint8_t *p = take(r, 2);

    return p ? get_be16(p) : 0;
}

uint32_t msg_get_u32(struct msg_reader *r)
{
    const uint8_t *p = take(r, 4);

    return p ? get_be32(p) : 0;
}

uint64_t msg_get_u64(struct msg_reader *r)
{
    const uint8_t *p = take(r, 8);

    return p ? get_be64(p) : 0;
}

int64_t msg_get_i64(struct msg_reader *r)
{
    return (int64_t)msg_get_u64(r);
}

struct bytes msg_get_bytes(struct msg_reader *r, size_t max)
{
    uint32_t n = msg_get_u32(r);
    const uint8_t *p;

    if (n > max)
        r->failed = true;
    p = take(r, n);
    return p ? BYTES(p, n) : (struct bytes){NULL, 0};
}

void msg_get_str(struct msg_reader *r, char *out, size_t size)
{
    struct bytes v = msg_get_bytes(r, size - 1);

    out[0] = '\0';
    if (v.len && memchr(v.p, '\0', v.len)) {
        r->failed = true;
        return;
    }
    if (v.len)
        memcpy(out, v.p, v.len);
    out[v.len] = '\0';
}

enum err_code msg_get_err(struct msg_reader *r, struct err *e)
{
    struct err got = {0};

    got.code = (enum err_code)msg_get_enum(r, ERR_CODES_COUNT);
    got.native = (unsigned long)msg_get_u64(r);
    msg_get_str(r, got.msg, sizeof(got.msg));
    if (e && got.code != E_OK)
        *e = got;
    return got.code;
}

enum err_code msg_read_end(struct msg_reader *r, struct err *e)
{
    if (r->failed)
        return err_set(e, E_INVALID, "message type 0x%04x: a field is short or has a bad value", r->type);
    if (r->len != 0)
        return err_set(e, E_INVALID, "message type 0x%04x: %zu octets left over", r->type, r->len);
    return E_OK;
}

/* ---- packets ---- */

ssize_t packet_send(int fd, struct bytes packet, int pass_fd)
{
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)packet.p, .iov_len = packet.len};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (pass_fd >= 0) {
        struct cmsghdr *c;

        memset(&control, 0, sizeof(control));
        h.msg_control = control.room;
        h.msg_controllen = sizeof(control.room);
        c = CMSG_FIRSTHDR(&h);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
    }
    do
        n = sendmsg(fd, &h, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n;
}

int packets_send(int fd, const struct bytes *packet, unsigned n)
{
    struct mmsghdr h[PACKETS_MAX];
    struct iovec iov[PACKETS_MAX];
    int sent;

    n = n < PACKETS_MAX ? n : PACKETS_MAX;
    for (unsigned i = 0; i < n; i++) {
        iov[i] = (struct iovec){.iov_base = (void *)(uintptr_t)packet[i].p, .iov_len = packet[i].len};
        h[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &iov[i], .msg_iovlen = 1}};
    }
    do
        sent = n == 1 ? (int)sendmsg(fd, &h[0].msg_hdr, MSG_NOSIGNAL) : sendmmsg(fd, h, n, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -1 : n == 1 ? 1 : sent;
}

/* Keeps the first descriptor of all control blocks, closes every other one; false when there was more than one. */
static bool collect_fd(struct msghdr *h, int *fd_out)
{
    bool alone = true;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        size_t count;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (*fd_out < 0) {
                *fd_out = fd;
            } else {
                close(fd);
                alone = false;
            }
        }
    }
    return alone;
}

enum packet_result packet_recv(int fd, uint8_t *room, size_t size, size_t *len, int *fd_out, struct err *e)
{
    union {
        char room[CMSG_SPACE(4 * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = room, .iov_len = size};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control.room)};
    bool alone, reset = false;
    ssize_t n;

    *fd_out = -1;
    /* A peer that went with messages unread shows as one reset, ahead of what it had sent itself. */
    do
        n = recvmsg(fd, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (n < 0 && (errno == EINTR || (errno == ECONNRESET && !reset && (reset = true))));
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return PACKET_NONE;
    if (n < 0) {
        err_errno(e, E_IO, "receive");
        return PACKET_BROKEN;
    }
    alone = collect_fd(&h, fd_out);
    if (n == 0) {
        err_set(e, E_IO, "closed by the peer");
    } else if (h.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        err_set(e, E_INVALID, "message above %zu octets or with too many descriptors", size);
    } else if (!alone) {
        err_set(e, E_INVALID, "message with more than one descriptor");
    } else {
        *len = (size_t)n;
        return PACKET_OK;
    }
    if (*fd_out >= 0)
        close(take_fd(fd_out));
    return PACKET_BROKEN;
}

/* Waits for `events`; `deadline_ms` on the monotonic clock, -1 none. */
static enum err_code wait_for(int fd, short events, int64_t deadline_ms, struct err *e)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = events};
        int wait_ms = -1, n;

        if (deadline_ms >= 0) {
            int64_t left = deadline_ms - clock_mono_ms();

            wait_ms = left > 0 ? (int)left : 0;
        }
        n = poll(&p, 1, wait_ms);
        if (n > 0)
            return E_OK;
        if (n == 0)
            return err_set(e, E_BUSY, "no answer in time");
        if (errno != EINTR)
            return err_errno(e, E_IO, "poll");
    }
}

enum err_code msg_send(int fd, struct msg *m, int pass_fd, struct err *e)
{
    if (!msg_finish(m))
        return err_set(e, E_INTERNAL, "message does not fit %d octets", MSG_MAX_LEN);
    while (packet_send(fd, buf_bytes(&m->b), pass_fd) < 0) {
        enum err_code rc;

        if (errno != EAGAIN && errno != EWOULDBLOCK)
            return err_errno(e, E_IO, "send");
        rc = wait_for(fd, POLLOUT, -1, e);
        if (rc != E_OK)
            return rc;
    }
    return E_OK;
}

enum err_code msg_recv(int fd, struct buf *packet, int *fd_out, int timeout_ms, struct err *e)
{
    int64_t deadline = timeout_ms < 0 ? -1 : clock_mono_ms() + timeout_ms;
    AUTO_FD int passed = -1;
    size_t len = 0;

    if (fd_out)
        *fd_out = -1;
    buf_clear(packet);
    packet->max = MSG_MAX_LEN;
    if (!buf_reserve(packet, MSG_MAX_LEN))
        return err_set(e, E_NOMEM, "out of memory for a message");
    for (;;) {
        enum err_code rc = wait_for(fd, POLLIN, deadline, e);

        if (rc != E_OK)
            return rc;
        switch (packet_recv(fd, packet->p, MSG_MAX_LEN, &len, &passed, e)) {
        case PACKET_OK:
            packet->len = len;
            if (fd_out)
                *fd_out = take_fd(&passed);
            return E_OK;
        case PACKET_BROKEN:
            return e ? e->code : E_IO;
        case PACKET_NONE:
            break;
        }
    }
}

/* ---- larger objects ---- */

int memfd_of(const char *name, struct bytes content, struct err *e)
{
    AUTO_FD int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0) {
        err_errno(e, E_IO, "memfd_create");
        return -1;
    }
    while (content.len > 0) {
        ssize_t n = write(fd, content.p, content.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            err_errno(e, E_IO, "write to a memory file");
            return -1;
        }
        content = BYTES(content.p + n, content.len - (size_t)n);
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0) {
        err_errno(e, E_IO, "seal a memory file");
        return -1;
    }
    return take_fd(&fd);
}

enum err_code fd_map(int fd, size_t max, struct bytes *out, struct err *e)
{
    const int wanted = F_SEAL_SHRINK | F_SEAL_WRITE;
    struct stat st;
    int seals;
    void *p;

    *out = (struct bytes){NULL, 0};
    if (fstat(fd, &st) != 0)
        return err_errno(e, E_IO, "fstat of a passed descriptor");
    if (!S_ISREG(st.st_mode))
        return err_set(e, E_INVALID, "passed descriptor is not a file");
    /*
     * Without a name it is a memory file, whose sender could shrink it under the reader: it must be sealed. Or it is a list
     * that was replaced while its descriptor was under way: such a file has no seals (-1), on tmpfs F_SEAL_SEAL alone.
     */
    seals = st.st_nlink == 0 ? fcntl(fd, F_GET_SEALS) : -1;
    if (seals >= 0 && seals != F_SEAL_SEAL && (seals & wanted) != wanted)
        return err_set(e, E_INVALID, "passed memory file is not sealed");
    if (st.st_size < 0 || (uint64_t)st.st_size > max)
        return err_set(e, E_INVALID, "passed file has %lld octets, at most %zu", (long long)st.st_size, max);
    if (st.st_size == 0)
        return E_OK;
    p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return err_errno(e, E_IO, "mmap of a passed descriptor");
    *out = BYTES(p, (size_t)st.st_size);
    return E_OK;
}

void fd_unmap(struct bytes mapped)
{
    if (mapped.p)
        munmap((void *)(uintptr_t)mapped.p, mapped.len);
}
