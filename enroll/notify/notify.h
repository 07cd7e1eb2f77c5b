/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inkan-notify: tells others of alarms, entries of the audit trail and its signed heads (docs/notify.md).
 *
 * The loop's thread has the link with the core; each of `notify` has a thread of its own that asks for a page, delivers it, tries again
 * until that is done, and writes down how far it is before it asks for the next. So everything is delivered at least once, in order, over
 * restarts of any process, and who does not answer holds up nobody else. What a webhook refuses for too long is set aside, and the core told.
 */
#ifndef INKAN_ENROLL_NOTIFY_NOTIFY_H
#define INKAN_ENROLL_NOTIFY_NOTIFY_H

#include <pthread.h>

#include "base/bytes.h"
#include "base/chan.h"
#include "base/conf.h"
#include "base/proc.h"
#include "enroll/client/https.h"

#define LEDGER_ID_LEN 96

/* How far one was told, as on disk: DIR_STATE/notify/NAME. */
struct told {
    char ledger[LEDGER_ID_LEN + 1]; /* "" = nothing was told yet */
    uint64_t up_to[NOTIFY_STREAMS];
};
/* No file: `out` is empty. E_INVALID: it is damaged. */
MUST_CHECK enum err_code told_read(const char *path, struct told *out, struct err *e);
MUST_CHECK enum err_code told_write(const char *path, const struct told *t, struct err *e); /* durable when it returns */

/* What the core says of its ledger (NOTIFY_NEWS). */
struct ledger_news {
    char id[LEDGER_ID_LEN + 1]; /* after restores with their number, behind a dash */
    uint64_t newest[NOTIFY_STREAMS];
    uint64_t kept[NOTIFY_STREAMS]; /* the newest that the last restore left; what comes after was not told before. UINT64_MAX: never restored */
};
/*
 * Fits what was told to the ledger as it is. A restored one is told on from what the restore left. A first or another ledger is told from
 * its newest, with `history` from the beginning. true: it changed.
 */
bool told_fit(struct told *t, const struct ledger_news *l, bool history);

/* Lines to deliver: JSON objects, LF after each. */
struct batch {
    enum notify_stream stream;
    uint64_t first, last;
    struct bytes lines;
};
const char *notify_stream_name(enum notify_stream s); /* "alarms" */

struct target;

/* One of `notify` with what delivering to it needs. The conf must outlive it. NULL: out of memory. */
struct target *target_new(const struct conf_notify *conf, const char *ledger, bool (*stop)(void *arg), void *arg);
void target_free(struct target *t);
uint32_t target_limit(const struct target *t, enum notify_stream s); /* rows of one batch */
/*
 * One try. Its own thread; waits at most half a minute.
 *
 * E_INVALID  a webhook refused these rows (status 400, 409, 413, 415, 422)
 * E_DENIED   a webhook refused with another 4xx: these rows, or us
 * Any other  passing
 */
MUST_CHECK enum err_code target_deliver(struct target *t, const struct batch *b, int64_t now, struct err *e);

/* Is it time to go on without rows that were refused so (E_INVALID, E_DENIED) `tries` times in `since_s` seconds? */
bool notify_gives_up(enum err_code why, uint64_t tries, int64_t since_s);

/* hex(HMAC-SHA256(secret, TIMESTAMP "." BODY)); `out` holds 65 octets. */
MUST_CHECK enum err_code notify_sign(struct bytes secret, int64_t timestamp, struct bytes body, char out[65], struct err *e);

/* One line as syslog has it (RFC 5424; `local`: as /dev/log takes it). */
void syslog_line(struct buf *out, bool local, enum notify_stream s, int64_t now, const char *host, struct bytes json);
/* "unix:PATH", "udp:HOST:PORT" or "tcp:HOST:PORT": a socket with time limits, or -1. */
int syslog_connect(const char *to, struct err *e);
MUST_CHECK enum err_code syslog_send(int fd, bool stream, struct bytes line, struct err *e);

int notify_run(int argc, char **argv);

#endif
