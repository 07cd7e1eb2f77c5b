/* SPDX-License-Identifier: Apache-2.0 */
#include "base/systemd.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/auto.h"
#include "base/log.h"

int systemd_connect(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *name = getenv("NOTIFY_SOCKET");
    size_t n = name ? strlen(name) : 0;
    AUTO_FD int fd = -1;

    if (n == 0 || n >= sizeof(address.sun_path))
        return -1;
    memcpy(address.sun_path, name, n);
    if (name[0] == '@') /* in no directory */
        address.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) == 0)
        return take_fd(&fd);
    log_note(LOG_WARN, "systemd-not-told", "socket", name);
    return -1;
}

void systemd_tell(int fd, const char *state)
{
    if (fd >= 0 && send(fd, state, strlen(state), MSG_NOSIGNAL) < 0)
        log_note(LOG_WARN, "systemd-not-told", "state", state);
}
