/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "enroll/notify/notify.h"

#define FACILITY_AUDIT 13 /* RFC 5424 6.2.1: log audit */
#define WARNING        4
#define NOTICE         5
#define TIME_LIMIT_S   10

void syslog_line(struct buf *out, bool local, enum notify_stream s, int64_t now, const char *host, struct bytes json)
{
    unsigned priority = FACILITY_AUDIT * 8 + (s == NOTIFY_ALARMS ? WARNING : NOTICE);
    char at[32];

    clock_format((time_t)now, at);
    if (local) /* the host is the reader's own, the time is when it came */
        buf_printf(out, "<%u>inkan-%s: ", priority, notify_stream_name(s));
    else
        buf_printf(out, "<%u>1 %s %s inkan - %s - ", priority, at, host, notify_stream_name(s));
    buf_add_bytes(out, json);
}

static int limited(int fd)
{
    const struct timeval limit = {.tv_sec = TIME_LIMIT_S};

    if (fd >= 0)
        (void)(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    return fd;
}

static int connect_unix(const char *path, struct err *e)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof(at.sun_path)) {
        err_set(e, E_IO, "%s: too long for a socket", path);
        return -1;
    }
    snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    fd = limited(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    err_errno(e, E_IO, "%s", path);
    if (fd >= 0)
        close(fd);
    return -1;
}

static int connect_host(const char *place, int type, struct err *e)
{
    struct addrinfo hints = {.ai_socktype = type}, *all = NULL;
    char host[256];
    const char *colon = strrchr(place, ':');
    size_t n = colon ? (size_t)(colon - place) : 0;
    int fd = -1, rc;

    if (n > 1 && place[0] == '[') {
        place++;
        n -= 2;
    }
    if (n == 0 || n >= sizeof(host)) {
        err_set(e, E_IO, "%s: no host", place);
        return -1;
    }
    memcpy(host, place, n);
    host[n] = '\0';
    rc = getaddrinfo(host, colon + 1, &hints, &all);
    if (rc != 0) {
        err_set(e, E_IO, "%s: %s", host, gai_strerror(rc));
        return -1;
    }
    for (struct addrinfo *a = all; a && fd < 0; a = a->ai_next) {
        fd = limited(socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol));
        if (fd < 0 || connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            err_errno(e, E_IO, "%s", host);
            if (fd >= 0)
                close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(all);
    return fd;
}

int syslog_connect(const char *to, struct err *e)
{
    if (strncmp(to, "unix:", 5) == 0)
        return connect_unix(to + 5, e);
    return connect_host(to + 4, strncmp(to, "tcp:", 4) == 0 ? SOCK_STREAM : SOCK_DGRAM, e);
}

/* Over TCP the length stands before each (RFC 6587 3.4.1). */
enum err_code syslog_send(int fd, bool stream, struct bytes line, struct err *e)
{
    AUTO_BUF framed = BUF_INIT(line.len + 32);
    ssize_t n;

    if (stream)
        buf_printf(&framed, "%zu ", line.len);
    buf_add_bytes(&framed, line);
    if (!buf_ok(&framed))
        return err_set(e, E_NOMEM, "syslog");
    for (size_t at = 0; at < framed.len; at += (size_t)n) {
        n = send(fd, framed.p + at, framed.len - at, MSG_NOSIGNAL);
        if (n < 0)
            return err_errno(e, E_IO, "send");
    }
    return E_OK;
}
