/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The people who administer: who signed a request, and what waits for a second of them (docs/people.md).
 *
 * A request over the network, and on the local socket one that needs a signature, is believed by its signature alone: the operator's
 * certificate is good now, the operator has not ended, the nonce is new, the node is this ledger, the time is now. Whoever carried
 * it is no evidence of anything.
 *
 * For operations whose weight is known late (a mass action): where people_needs_second is true, people_ask stores what is to run;
 * once another operator approves it, it runs as the stored operation with call->approved set, in the name of who asked.
 */
#ifndef INKAN_CA_PEOPLE_H
#define INKAN_CA_PEOPLE_H

#include "ca/admin_int.h"
#include "ca/permission.h"
#include "ca/signed_request.h"
#include "ca/store/people.h"

#define PENDING_DAYS 7

/* The live operator of a local user. E_DENIED with the remedy: there is none. */
MUST_CHECK enum err_code people_of_user(struct core *c, const char *user, struct person *out, struct err *e);
/*
 * Whose request this is; its nonce is spent, durably, when this is E_OK. E_INVALID: it cannot be read; E_DENIED: it is not accepted,
 * and why. On success signed_request_clear is the caller's. Own transaction.
 */
MUST_CHECK enum err_code people_verify(struct core *c, struct bytes jws, int64_t now, struct signed_request *out, struct person *who,
                                       struct err *e);
/* The same of a stored one: whatever its age, and its nonce is not looked at. */
MUST_CHECK enum err_code people_stands(struct core *c, struct bytes jws, int64_t now, struct signed_request *out, struct person *who,
                                       struct err *e);

/* Does an operation on so many units wait for a second person? Not for root, and not once it is approved. */
bool people_needs_second(const struct core *c, const struct admin_call *call, uint64_t units);
/*
 * Stores an operation that waits for a second person, asked for by the signed request of this call. Inside the open transaction;
 * `args` as the operation will be run with. Writes its entry. E_BUSY: this operator has too many waiting.
 */
MUST_CHECK enum err_code people_ask(struct core *c, const struct admin_call *call, const char *op, const json_t *args, int64_t now,
                                    uint64_t *pending, struct err *e);
/* people_ask for the call as it came, in a transaction of its own, and its answer: {pending} with E_PENDING. Ends the call. */
void people_ask_and_answer(struct core *c, struct admin_call *call);
/* The outcome of an approved call, from admin_done and admin_fail. */
void people_ended(struct core *c, const struct admin_call *call, const struct err *outcome);

/* What of `node` in a signed request is this ledger: its id and how often it was restored. */
struct bytes people_node(const struct core *c);

#endif
