/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a key made here reaches its owner (RFC 7030 4.4): may it at all, over this connection, encrypted for whom; and what becomes of
 * a key that was sent before. Runs inside the issuing transaction, in the request's savepoint.
 */
#ifndef INKAN_CA_DELIVERY_H
#define INKAN_CA_DELIVERY_H

#include "ca/enroll_policy.h"

/*
 * For a serverkeygen request that is authenticated, with label, profile and device in the grant. Sets g->recipient; of kind
 * RECIPIENT_NONE: the key goes in clear, which only a profile allows and never a request that names a key to encrypt with. E_DENIED
 * (403): not offered, the cipher is too weak, nothing is known under the identifier, or it must not be used for that. E_INVALID (400):
 * both identifiers, no or no usable capabilities. `encrypted_only`: whatever the profile says.
 */
MUST_CHECK enum err_code delivery_choose(struct core *c, const struct svc_enroll *in, const struct csr *csr, bool encrypted_only,
                                         int64_t now, struct grant *g, struct err *e);
/*
 * The device was sent a key before: one whose certificate was never seen in use was not delivered, and is superseded with the result
 * (g->replaces). One in use stays, and the request is refused unless it renews. *settled false: the rules for any enrollment or renewal
 * go on.
 */
MUST_CHECK enum err_code delivery_again(struct core *c, int64_t now, struct grant *g, bool *settled, struct err *e);
/* Before it leaves: is the key shared beforehand that it is encrypted for still one (E_DENIED)? */
MUST_CHECK enum err_code delivery_still_allowed(struct core *c, const struct grant *g, struct err *e);

#endif
