/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages between our own processes, over SOCK_SEQPACKET: one message per packet, at most MSG_MAX_LEN octets, with at
 * most one descriptor beside it. Header (16 octets, big-endian): u32 length of the whole message, u8 version (1),
 * u8 zero, u16 type, u64 request id. Then binary fields in a fixed order per type, no names, no padding:
 *   u8, u16, u32, u64, i64: big-endian      bytes: u32 length, octets      str: as bytes, no NUL inside
 *
 * A reader that finds a short field, a bad length, an unknown type or enum value, or octets left over treats the peer
 * as broken: the process closes the link (fail closed).
 */
#ifndef INKAN_BASE_MSG_H
#define INKAN_BASE_MSG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/limits.h"

#define MSG_VERSION    1
#define MSG_HEADER_LEN 16

/* Types: one range per link, so that a message on the wrong link is unknown there. */
enum msg_range {
    MSG_RANGE_CONTROL = 0x0100, /* supervisor <-> child          (base/proc.h)      */
    MSG_RANGE_SIGNER = 0x0200,  /* core, status -> signer        (hsm/signer.h)     */
    MSG_RANGE_TOKEN = 0x0300,   /* core -> inkan-token           (hsm/token_admin.h)*/
    MSG_RANGE_SERVICE = 0x0400, /* front <-> core                (ca/service.h)     */
    MSG_RANGE_STATUS = 0x0500,  /* front <-> status              (ca/service.h)     */
    MSG_RANGE_FOLLOW = 0x0600,  /* core <-> status               (ca/follow.h)      */
    MSG_RANGE_NOTIFY = 0x0800,  /* core <-> inkan-notify         (ca/service.h)     */
    MSG_RANGE_ADMIN = 0x0700,   /* CLI <-> core                  (ca/admin.h)       */
};

struct msg {
    struct buf b; /* header and fields; max MSG_MAX_LEN, failure sticks */
};

void msg_begin(struct msg *m, uint16_t type, uint64_t request_id); /* initialises */
void msg_clear(struct msg *m);
void msg_wipe(struct msg *m); /* for messages that carry a secret */
void msg_put_u8(struct msg *m, uint8_t v);
void msg_put_bool(struct msg *m, bool v);
void msg_put_u16(struct msg *m, uint16_t v);
void msg_put_u32(struct msg *m, uint32_t v);
void msg_put_u64(struct msg *m, uint64_t v);
void msg_put_i64(struct msg *m, int64_t v);
void msg_put_bytes(struct msg *m, struct bytes v);
void msg_put_str(struct msg *m, const char *s); /* NULL goes as empty */
void msg_put_err(struct msg *m, const struct err *e, enum err_code code);
bool msg_finish(struct msg *m);                 /* writes the length; false when it did not fit */
static inline __attribute__((unused)) void msg_auto_clear(struct msg *m)
{
    msg_clear(m);
}
#define AUTO_MSG __attribute__((cleanup(msg_auto_clear))) struct msg

struct msg_reader {
    uint16_t type;
    uint64_t request_id;
    const uint8_t *p;
    size_t len;
    bool failed; /* sticks: read all fields, then ask msg_read_end once */
};

/* E_INVALID unless the packet is one complete message of version 1. The fields point into `packet`. */
MUST_CHECK enum err_code msg_read_begin(struct bytes packet, struct msg_reader *r, struct err *e);
uint8_t msg_get_u8(struct msg_reader *r);
bool msg_get_bool(struct msg_reader *r);                     /* 0 or 1, else failed */
uint16_t msg_get_u16(struct msg_reader *r);
uint32_t msg_get_u32(struct msg_reader *r);
uint64_t msg_get_u64(struct msg_reader *r);
int64_t msg_get_i64(struct msg_reader *r);
uint8_t msg_get_enum(struct msg_reader *r, uint8_t count);   /* value < count, else failed */
struct bytes msg_get_bytes(struct msg_reader *r, size_t max);
/* Copies into `out` (size octets, NUL added); failed when too long or holding a NUL. */
void msg_get_str(struct msg_reader *r, char *out, size_t size);
enum err_code msg_get_err(struct msg_reader *r, struct err *e);
/* E_INVALID when any field failed or octets are left. */
MUST_CHECK enum err_code msg_read_end(struct msg_reader *r, struct err *e);

/* Blocking forms for short-lived programs. `timeout_ms` -1: no limit. `fd_out` may be NULL (a descriptor is closed). */
MUST_CHECK enum err_code msg_send(int fd, struct msg *m, int pass_fd, struct err *e);
MUST_CHECK enum err_code msg_recv(int fd, struct buf *packet, int *fd_out, int timeout_ms, struct err *e);

/* A sealed, read-only memory file holding `content`; for objects above MSG_MAX_LEN. -1 on error. */
int memfd_of(const char *name, struct bytes content, struct err *e);
/* Maps a sealed memory file or regular file read-only; checks that its size is at most `max`. */
MUST_CHECK enum err_code fd_map(int fd, size_t max, struct bytes *out, struct err *e);
void fd_unmap(struct bytes mapped);

#endif
