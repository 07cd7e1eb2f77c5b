/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Follows the core's status log (ca/follow.h) over one link: says hello with what the replica has, takes issuers and
 * rows, applies them, tells the responder, acknowledges. It decides whether the responder may serve:
 *
 *   - not before the replica has reached the seq the core named after this link began;
 *   - not while the ledger is sealed;
 *   - not when the core's ledger has lost rows that were confirmed to it (same id, lower seq): starting over from it
 * could turn revoked into good. A proper restore gives the ledger another id, and the replica is rebuilt;
 *   - yes, still, when the link is lost after that: what the replica holds was confirmed to the core.
 *
 * A message that breaks the protocol, and a replica that cannot be written, are reported as doubt: the process ends and
 * starts again from its own seq. Event loop thread only.
 */
#ifndef INKAN_CA_FOLLOWER_H
#define INKAN_CA_FOLLOWER_H

#include <event2/event.h>

#include "base/bytes.h"
#include "base/err.h"
#include "ca/decider.h"
#include "ca/replica.h"
#include "ca/responder.h"

struct follower;

struct follower_ops {
    void *arg;
    /* Has this CA an OCSP responder by configuration? */
    bool (*offers)(void *arg, const char *issuer);
    void (*issuers_changed)(void *arg);
    /* One line for `inkan status`, when it changes. */
    void (*state)(void *arg, const char *text);
    /*
     * Before each message of rows or devices: answers some of those who asked meanwhile, as far as no signature is needed. false: nobody
     * asked. Called inside a message of the link: it may ask the core and tell it, and neither links nor frees the follower.
     */
    bool (*serve)(void *arg);
    /* The process must end and start again. */
    void (*doubt)(void *arg, const char *event, const struct err *e);
};

struct follower *follower_new(struct event_base *base, struct replica *replica, const struct follower_ops *ops,
                              struct err *e);
void follower_free(struct follower *f);
/* The responder asks through the follower, so it is made after it. Before any link. */
void follower_set_responder(struct follower *f, struct responder *responder);
/* Access decisions are made: the core tells of devices too. Before any link. */
void follower_set_decider(struct follower *f, struct decider *decider);
/* A decision was asked about a device that is lost or compromised. */
void follower_tell_seen(struct follower *f, uint64_t device);

/* A gateway asked for changes. */
void follower_tell_gateway(struct follower *f, const struct follow_gateway *gateway);

void follower_link(struct follower *f, int fd);         /* takes over fd; an older link is dropped */
bool follower_ask(struct follower *f, uint64_t ask_id); /* hooks.ask of the responder */

/* No rows are coming now: as replica_rest. */
void follower_rest(struct follower *f);

bool follower_is_linked(const struct follower *f);
bool follower_is_current(const struct follower *f); /* serving, were it not sealed */
bool follower_is_sealed(const struct follower *f);

#endif
