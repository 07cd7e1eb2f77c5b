/* SPDX-License-Identifier: Apache-2.0 */
/* As much of MQTT 3.1.1 as it takes to put a client out: a broker ends a connection when another one comes with its client id. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/auto.h"
#include "enroll/gate/gate.h"

#define TIMEOUT_S 5

enum err_code unix_connect(const char *path, int timeout_s, int *fd, struct err *e)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct timeval tv = {.tv_sec = timeout_s};

    *fd = -1;
    if (strlen(path) >= sizeof(to.sun_path))
        return err_set(e, E_INVALID, "%s: path is too long for a socket", path);
    memcpy(to.sun_path, path, strlen(path) + 1);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return err_errno(e, E_IO, "socket");
    setsockopt(*fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    setsockopt(*fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
    if (connect(*fd, (const struct sockaddr *)&to, sizeof(to)) == 0)
        return E_OK;
    err_errno(e, E_IO, "%s: connect", path);
    close(take_fd(fd));
    return e->code;
}

/* MQTT 3.1.1 section 3.1: protocol name and level, clean session, keep alive, client id. */
static size_t connect_packet(const char *client_id, uint8_t *out)
{
    static const uint8_t head[] = {0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0, 10};
    size_t id = strlen(client_id), body = sizeof(head) + 2 + id, at = 0;

    out[at++] = 0x10;
    for (size_t left = body;;) {
        uint8_t digit = left & 127;

        left >>= 7;
        out[at++] = left ? digit | 0x80 : digit;
        if (!left)
            break;
    }
    memcpy(out + at, head, sizeof(head));
    at += sizeof(head);
    put_be16(out + at, (uint16_t)id);
    memcpy(out + at + 2, client_id, id);
    return at + 2 + id;
}

enum err_code mqtt_kick(const char *socket_path, const char *client_id, struct err *e)
{
    static const uint8_t disconnect[] = {0xe0, 0};
    uint8_t packet[FEED_TEXT_MAX + 32], answer[4];
    AUTO_FD int fd = -1;
    ssize_t n;
    size_t len;

    if (strlen(client_id) > FEED_TEXT_MAX)
        return err_set(e, E_INVALID, "client id of %zu octets", strlen(client_id));
    len = connect_packet(client_id, packet);
    if (unix_connect(socket_path, TIMEOUT_S, &fd, e) != E_OK)
        return e->code;
    if (send(fd, packet, len, MSG_NOSIGNAL) != (ssize_t)len)
        return err_errno(e, E_IO, "%s: send", socket_path);
    n = recv(fd, answer, sizeof(answer), MSG_WAITALL);
    if (n < 0)
        return err_errno(e, E_IO, "%s: no CONNACK", socket_path);
    if (n != sizeof(answer))
        return err_set(e, E_DENIED, "%s: the broker takes no client of that id", socket_path);
    if (answer[0] != 0x20 || answer[3] != 0)
        return err_set(e, E_DENIED, "%s: the broker refuses the gate (return code %u)", socket_path, answer[3]);
    /* Its CONNACK put the other one out; whether the broker still hears our goodbye changes nothing. */
    (void)!send(fd, disconnect, sizeof(disconnect), MSG_NOSIGNAL);
    return E_OK;
}
