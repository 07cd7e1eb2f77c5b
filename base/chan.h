/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message channel on the event loop: a non-blocking SOCK_SEQPACKET descriptor with an out-queue.
 *
 * One thread (the loop's) uses a channel. chan_send never blocks: it queues. When the queue passes its bound, in octets
 * or in descriptors, the peer counts as gone (a peer of ours that does not read is broken). chan_free may be called
 * inside on_message/on_gone.
 */
#ifndef INKAN_BASE_CHAN_H
#define INKAN_BASE_CHAN_H

#include <event2/event.h>

#include "base/msg.h"

struct chan;

struct chan_ops {
    /* `fd` is -1 or a descriptor the callee now owns. `r` is positioned at the first field. */
    void (*on_message)(struct chan *c, struct msg_reader *r, int fd, void *arg);
    /* Closed by the peer, broken, or queue overflow. The callee frees the channel. */
    void (*on_gone)(struct chan *c, const struct err *why, void *arg);
};

/* Takes over `fd` (made non-blocking, close-on-exec). `queue_max` is in octets, not messages. */
struct chan *chan_new(struct event_base *base, int fd, const struct chan_ops *ops, void *arg, size_t queue_max,
                      struct err *e);
void chan_free(struct chan *c); /* closes; messages that the peer has not made room for are dropped */
/* Consumes the message content (msg_clear is done). A passed descriptor is duplicated; the caller keeps its own. */
MUST_CHECK enum err_code chan_send(struct chan *c, struct msg *m, int pass_fd, struct err *e);
/*
 * From now on messages leave together, when the loop has done what it has at hand: one system call and one wake-up of the
 * peer for many. chan_free still sends what is queued, as far as the socket takes it.
 */
void chan_batch(struct chan *c);
/*
 * From now on no further message is taken in a turn of the loop once `us` microseconds of it are over: the others wait for one message of
 * a peer that sends long ones, not for a burst of them. 0: bursts.
 */
void chan_turn(struct chan *c, int64_t us);
/*
 * Inside the callback of another channel: at most `most` messages that came are delivered now, and what waits is sent, also what is kept for
 * a batch. A paused channel only sends. false: nothing came and nothing waits, or it is broken, or this is a callback of its own. on_message
 * may free the channel as ever; on_gone is told from the loop.
 */
bool chan_serve(struct chan *c, int most);
size_t chan_queued(const struct chan *c); /* octets */
void chan_pause(struct chan *c);  /* stop reading (back-pressure) */
void chan_resume(struct chan *c);
/* Reports a protocol error found by the callee: on_gone is called from the loop, nothing more is delivered. */
void chan_fail(struct chan *c, const struct err *why);
int chan_fd(const struct chan *c);

#endif
