/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose word the gate takes: the signer of the feed must chain to the CA certificates of the configuration, be good now, and be
 * certified for nothing but signing the feed. Thread-safe once made.
 */
#ifndef INKAN_ENROLL_GATE_TRUST_H
#define INKAN_ENROLL_GATE_TRUST_H

#include <openssl/x509.h>

#include "base/feed.h"

struct trust;

MUST_CHECK enum err_code trust_load(const char *ca_file, struct trust **out, struct err *e);
void trust_free(struct trust *t);

/*
 * Verifies one JWS of the feed and gives its payload. `signed_at_ok`: the signer's certificate may have expired by now, as what
 * is read back from a disk was judged when it came. E_DENIED: not signed by whom it must be; E_INVALID: not a JWS of the feed.
 */
MUST_CHECK enum err_code trust_payload(const struct trust *t, struct bytes text, const char *typ, bool signed_at_ok, struct buf *payload,
                                       struct err *e);

#endif
