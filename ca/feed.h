/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The revocation feed (base/feed.h, docs/access.md): a signed snapshot of every certificate's state, and numbered, signed changes to it,
 * for gateways that answer without us. It is written from the access table.
 *
 * A snapshot is made in steps of a few milliseconds, by buckets of serials in order; a row applied meanwhile may show in it already,
 * which its reader does not mind: it then takes the changes after the snapshot's seq, and each change is the certificate as it stands.
 * One snapshot serves all who ask within a minute. Changes are kept for the last `feed.keep` rows.
 *
 * Event loop thread only.
 */
#ifndef INKAN_CA_FEED_H
#define INKAN_CA_FEED_H

#include <event2/event.h>

#include "ca/access.h"
#include "ca/service.h"
#include "hsm/signer.h"

struct feed;

struct feed_hooks {
    void *arg;
    time_t (*now)(void *arg);
    int64_t (*mono_ms)(void *arg);
    /* As signer_sign with SIGN_FEED: on E_OK `done` is called exactly once, later. */
    enum err_code (*sign)(void *arg, const char *token, const char *key, struct bytes input, signer_done_fn done, void *done_arg, struct err *e);
    /* The answers. `jws` and `fd` live until the call returns; they are there with E_OK. */
    void (*changes)(void *arg, void *owner, uint64_t id, enum err_code code, struct bytes jws);
    void (*snapshot)(void *arg, void *owner, uint64_t id, enum err_code code, const char *etag, int fd);
};

struct feed *feed_new(struct event_base *base, struct access *access, const struct feed_hooks *hooks, const struct conf *conf, struct err *e);
/* Free the signers first: no signature may be under way. */
void feed_free(struct feed *f);
void feed_set_conf(struct feed *f, const struct conf *conf);

/* Takes over nothing; key "" : there is none, and every request gets E_BUSY. */
MUST_CHECK enum err_code feed_set_key(struct feed *f, const struct follow_feed_key *in, struct err *e);
/* The key as the signer of this token wants to hear of it; false: it is not in that token. Borrowed until the next feed_set_key. */
bool feed_key(const struct feed *f, const char *token, struct signer_key *out);

/* The table is complete up to row `seq` of this ledger: changes are kept from here on. */
void feed_start(struct feed *f, struct bytes ledger_id, uint64_t seq);
void feed_stop(struct feed *f); /* the table is not complete: E_BUSY */
/* Row `seq`, the next one, has changed this. */
void feed_note(struct feed *f, uint64_t seq, const struct access_change *change);
void feed_wake(struct feed *f); /* those who wait hear of what was noted */
void feed_current(struct feed *f, int64_t time); /* what the table holds was the newest at this time */

/*
 * Each is answered exactly once by its hook, perhaps inside the call. E_NOT_FOUND: `after` is older than what is kept, or not of this
 * log. E_BUSY: too many wait, of this caller or of all.
 */
void feed_get_changes(struct feed *f, void *owner, uint64_t id, const struct sts_caller *caller, uint64_t after, uint32_t wait_s);
void feed_get_snapshot(struct feed *f, void *owner, uint64_t id, const struct sts_caller *caller);
void feed_forget_owner(struct feed *f, void *owner);
void feed_tick(struct feed *f); /* ten times a second */

#endif
