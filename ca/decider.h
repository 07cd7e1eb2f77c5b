/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access decisions in the status process: keeps the access table in step with the replica, answers questions from it (ca/decide.h), and
 * feeds those who follow (ca/feed.h).
 *
 *   - Nothing is decided before the table has been filled and the core has once said that it is current.
 *   - A row is in the table before the follower acknowledges it: a decision is right from the acknowledgement of a change on.
 *   - A certificate that is not in the table may be newer than the table: the core is asked for its seq, and the answer waits until
 *     the table has reached it, as for OCSP's `unknown`.
 *   - Without the core answers go on; how old the data is decides then, for each audience.
 *
 * Event loop thread only.
 */
#ifndef INKAN_CA_DECIDER_H
#define INKAN_CA_DECIDER_H

#include <event2/event.h>

#include "ca/access.h"
#include "ca/feed.h"
#include "ca/replica.h"
#include "ca/service.h"

#define DECIDER_ASK_BIT     ((uint64_t)1 << 63) /* in ask ids that are ours, not the responder's */
#define DECIDER_DEADLINE_MS 2000                /* for the core's seq; then what is known decides */

struct decider;

struct decider_hooks {
    void *arg;
    time_t (*now)(void *arg);
    int64_t (*mono_ms)(void *arg);
    bool (*ask)(void *arg, uint64_t ask_id); /* as the responder's */
    /* The answer, in one or several calls; may be called inside decider_question. */
    void (*answer)(void *arg, void *owner, uint64_t id, const struct sts_decided *all);
    /* A device that is lost or compromised was seen. */
    void (*seen)(void *arg, uint64_t device);
    /* A gateway was heard: at most once a second for each. */
    void (*gateway)(void *arg, const struct follow_gateway *gateway);
    /* The replica or memory failed: the process must start again. */
    void (*bad)(void *arg, const struct err *e);
};

struct decider *decider_new(struct event_base *base, struct replica *replica, const struct decider_hooks *hooks,
                            const struct feed_hooks *feed_hooks, const struct conf *conf, struct err *e);
void decider_free(struct decider *d);
void decider_set_conf(struct decider *d, const struct conf *conf); /* kept until the next call */
struct feed *decider_feed(struct decider *d);
struct access *decider_access(struct decider *d);

/* What the follower hears. The replica has the rows and devices already. */
MUST_CHECK enum err_code decider_devices(struct decider *d, const struct access_device *v, size_t n, struct err *e);
MUST_CHECK enum err_code decider_rows(struct decider *d, const struct status_row *rows, size_t n, struct err *e);
void decider_reset(struct decider *d);                /* the replica forgot everything */
void decider_built(struct decider *d);                /* the replica, built from parts, is complete */
void decider_current(struct decider *d, uint64_t seq); /* the core said so, and is not sealed */
void decider_core_seq(struct decider *d, uint64_t ask_id, uint64_t seq);
void decider_core_lost(struct decider *d);

void decider_question(struct decider *d, void *owner, uint64_t id, const struct sts_decide *q);
/* May this caller use the feed? E_OK, E_DENIED, or E_BUSY: it cannot be said now. */
enum err_code decider_caller(const struct decider *d, const struct sts_caller *caller);
/* A caller that may use the feed asks for the changes after row `after`, and says this of its servers. */
void decider_heard(struct decider *d, const struct sts_caller *caller, uint64_t after, const struct feed_server *server, size_t n);
void decider_forget_owner(struct decider *d, void *owner);
void decider_tick(struct decider *d); /* ten times a second */

bool decider_is_ready(const struct decider *d);
void decider_health(const struct decider *d, struct buf *out); /* members of a JSON object, without the braces */
void decider_metrics(const struct decider *d, struct buf *out); /* families of OpenMetrics (docs/metrics.md) */

#endif
