/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OCSP responder (RFC 6960, 9654, 9919): raw request in, complete OCSPResponse out. It answers from the replica of
 * the status log, has each answer linted and signed by the token's signer, keeps what may be kept, and refuses with
 * tryLater whenever it cannot prove that its data is the core's.
 *
 *   - `good` only for a certificate with a row; `unknown` only after the core said its seq and the replica has reached
 * it.
 *   - An answer leaves only if the rows it was made from are still the newest when the signature comes back.
 *   - Requests with a nonce or several certificates are signed live in a bounded lane; unknown serials have one of their
 *     own; the others are answered from the cache, or join an identical one under way.
 *
 * Event loop thread only. Nothing here blocks: signatures and the core's seq come back by calls into this object. All
 * time comes from the hooks.
 */
#ifndef INKAN_CA_RESPONDER_H
#define INKAN_CA_RESPONDER_H

#include <time.h>

#include "base/bytes.h"
#include "base/err.h"
#include "ca/follow.h"
#include "ca/replica.h"
#include "ca/service.h"
#include "hsm/signer.h"

#define RESPONDER_THIS_UPDATE_BACK_S 300  /* thisUpdate lies this far back, for clocks that are slow */
#define RESPONDER_UNKNOWN_VALIDITY_S 300  /* nextUpdate of an answer that names a never-issued serial */
#define RESPONDER_DEADLINE_MS        2000 /* for the core's seq and the signature together; then tryLater */

struct responder;

/* What the responder needs of its process. `arg` goes to every call. */
struct responder_hooks {
    void *arg;
    time_t (*now)(void *arg);
    int64_t (*mono_ms)(void *arg);
    /* Asks the core for its seq; responder_core_seq with this id answers. false: there is no core. */
    bool (*ask)(void *arg, uint64_t ask_id);
    /* Is this key checked and usable in its signer? */
    bool (*key_ready)(void *arg, const char *token, const char *key);
    /* As signer_sign: on E_OK `done` is called exactly once, later. */
    enum err_code (*sign)(void *arg, const char *token, const char *key, struct bytes tbs, uint32_t deadline_ms,
                          signer_done_fn done, void *done_arg, struct err *e);
    /* The answer to responder_request(owner, id); may be called inside it. `result` lives until the call returns. It
     * must not call back into the responder. */
    void (*answer)(void *arg, void *owner, uint64_t id, const struct sts_ocsp_result *result);
    /* The replica does not read: the process cannot be trusted to answer and must end. */
    void (*replica_bad)(void *arg, const struct err *e);
};

struct responder_limits {
    bool unissued_revoked;    /* never-issued serials: `revoked` in the form of RFC 6960 2.2 instead of `unknown` */
    unsigned live_rate;       /* answers a second, in each of the lanes nonce and unknown */
    size_t nonce_in_flight;   /* requests with a nonce or several certificates under way */
    size_t unknown_in_flight; /* unknown serials under way */
    size_t jobs_max;          /* all requests under way that are not joined to another */
    size_t waiters_max;       /* requests that wait for one of them */
    size_t signing_max;       /* signatures asked of one token at once; more wait here */
    size_t cache_max;         /* answers kept */
};

struct responder *responder_new(struct replica *replica, const struct responder_hooks *hooks,
                                const struct responder_limits *limits, struct err *e);
/* Free the signers first: no signature may be under way. Requests still waiting are dropped without an answer. */
void responder_free(struct responder *r);
void responder_set_limits(struct responder *r, const struct responder_limits *limits);

/*
 * The issuer table, replaced as a whole: begin, add each, end. Until the first end every well-formed request gets
 * tryLater. `offers`: the configuration gives this CA a responder; without one its certificates are `unauthorized`.
 * An issuer whose responder key and certificate do not fit together is kept and answers tryLater.
 */
void responder_issuers_begin(struct responder *r);
MUST_CHECK enum err_code responder_issuers_add(struct responder *r, const struct follow_issuer *in, bool offers,
                                               struct err *e);
void responder_issuers_end(struct responder *r);
/* The responder keys of one token, for signer_keys; borrowed until the table changes. */
size_t responder_keys(const struct responder *r, const char *token, struct signer_key *out, size_t max);

/* false: tryLater to everything that needs the replica (not yet current, sealed, being rebuilt). */
void responder_set_serving(struct responder *r, bool serving);
/* The link to the core came or went. Without one, requests that wait for its seq get tryLater. */
void responder_core_lost(struct responder *r);
/* The core's answer to hooks.ask; its rows up to `seq` follow or are applied. */
void responder_core_seq(struct responder *r, uint64_t ask_id, uint64_t seq);
/* The core's time floor: signing stops while the clock is too far behind or ahead of it (ca/clock_rule.h). `first` on a
 * new link; later on one it falls only because an operator vouched for an earlier time, and ours falls with it. */
void responder_core_time(struct responder *r, int64_t floor, bool first);
/* Rows the replica has just applied: kept answers about them are dropped before this returns. */
void responder_rows_applied(struct responder *r, const struct status_row *rows, size_t n);
/* Drops every kept answer. */
void responder_forget_answers(struct responder *r);

/* `request` is copied. hooks.answer is called exactly once, unless the owner is forgotten before. */
void responder_request(struct responder *r, void *owner, uint64_t id, struct bytes request);
/* The asker is gone: its requests are not answered. */
void responder_forget_owner(struct responder *r, void *owner);
/* Deadlines and the summary log; call it about ten times a second. */
void responder_tick(struct responder *r);

/* Can an answer of at least one issuer be signed now? true also when no issuer has a responder, for nobody will ask. */
bool responder_is_able(const struct responder *r);

int64_t responder_time(
    const struct responder *r); /* newest time signed with or heard of; nothing is signed before it */
size_t responder_pending(const struct responder *r); /* requests under way */
/* Members of a JSON object, without the braces: issuers and counters. */
void responder_health(struct responder *r, struct buf *out);
void responder_metrics(struct responder *r, struct buf *out); /* families of OpenMetrics (docs/metrics.md) */

#endif
