/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose word the gate takes: the signer of the feed must chain to the CA certificates of the configuration, be good now, and be
 * certified for nothing but signing the feed. Thread-safe once made.
 */
#ifndef INKAN_ENROLL_GATE_TRUST_H
#define INKAN_ENROLL_GATE_TRUST_H

#include "enroll/gate/table.h"

struct trust;

MUST_CHECK enum err_code trust_load(const char *ca_file, struct trust **out, struct err *e);
void trust_free(struct trust *t);

/*
 * Verifies one JWS of the feed and gives its payload. `signed_at_ok`: the signer's certificate may have expired by now, as what
 * is read back from a disk was judged when it came. E_DENIED: not signed by whom it must be; E_INVALID: not a JWS of the feed.
 */
MUST_CHECK enum err_code trust_payload(const struct trust *t, struct bytes text, const char *typ, bool signed_at_ok, struct buf *payload,
                                       struct err *e);

/*
 * Does the signer of this JWS, which trust_payload took, still stand by what the table says: neither it nor a CA above it revoked or on hold?
 * E_DENIED: it does not. One the table does not name does: it may be younger.
 */
MUST_CHECK enum err_code trust_signer_stands(const struct table *t, struct bytes text, const char *typ, struct err *e);

#endif
