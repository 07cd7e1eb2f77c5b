/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that an operator decides (RFC 7030 4.2.3, docs/front.md "Approval"): the client gets 202 and repeats its request;
 * all state is a row of the ledger. Everything here that writes runs inside a transaction.
 */
#ifndef INKAN_CA_REQUEST_H
#define INKAN_CA_REQUEST_H

#include <jansson.h>

#include "ca/core.h"
#include "ca/csr.h"
#include "ca/enroll_policy.h"
#include "ca/store/request.h"

enum request_event { REQUEST_APPROVE, REQUEST_REFUSE, REQUEST_EXPIRE, REQUEST_EVENTS };
/* Where an event leads; REQUEST_STATES: not allowed. The same state: no change. Issuing is no event: only an approved one is issued. */
enum request_state request_next(enum request_state state, enum request_event event);

/*
 * What becomes of an authorised request that needs an operator (`g->approval` says why), inside its savepoint:
 *   E_OK       approved: issue; g->request is set, and request_issued is called with the certificate's row
 *   E_PENDING  it waits; the first time a row is written. g->retry_after_s is set
 *   E_DENIED   refused, with the operator's reason, or expired
 *   E_BUSY     too many wait, of this device or in all. g->retry_after_s is set
 */
MUST_CHECK enum err_code request_judge(struct core *c, const struct svc_enroll *in, const struct csr *csr, int64_t now,
                                       struct grant *g, struct err *e);
/* E_DENIED: the operator withdrew the approval while the signature was made. */
MUST_CHECK enum err_code request_issued(struct core *c, const struct grant *g, const struct cert_row *cert, int64_t now,
                                        struct err *e);

const char *request_operation(const struct request_row *r); /* as EST calls it */

/* An operator's decision, with its audit entry. E_NOT_FOUND, E_CONFLICT: it ended before. *to is the state after it. */
MUST_CHECK enum err_code request_decide(struct core *c, uint64_t id, enum request_event event, const char *reason,
                                        const struct actor *by, int64_t now, enum request_state *to, struct err *e);

/* Every second: rows whose time has come expire; those that ended long ago are forgotten. Opens its own transaction. */
void request_tick(struct core *c);

#endif
