/* SPDX-License-Identifier: Apache-2.0 */
/* Single packets over SOCK_SEQPACKET, shared by the blocking calls (msg.c) and the event loop (chan.c). */
#ifndef INKAN_BASE_MSG_INT_H
#define INKAN_BASE_MSG_INT_H

#include <sys/types.h>

#include "base/bytes.h"

enum packet_result {
    PACKET_OK,
    PACKET_NONE,   /* nothing there now */
    PACKET_BROKEN, /* end of file, socket error, truncated packet, more than one descriptor: `e` says which */
};

/* One sendmsg; -1 with errno. pass_fd -1: none. */
ssize_t packet_send(int fd, struct bytes packet, int pass_fd);
#define PACKETS_MAX 32

/* The first packets of `n`, at most PACKETS_MAX, in one system call and in order: how many were sent, or -1 with errno. */
int packets_send(int fd, const struct bytes *packet, unsigned n);
/* Never blocks. *fd_out is -1 or a close-on-exec descriptor the caller owns. */
enum packet_result packet_recv(int fd, uint8_t *room, size_t size, size_t *len, int *fd_out, struct err *e);

#endif
