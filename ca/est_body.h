/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of EST answers that the authority makes: certs-only CMS and csrattrs. */
#ifndef INKAN_CA_EST_BODY_H
#define INKAN_CA_EST_BODY_H

#include "base/bytes.h"
#include "base/conf.h"
#include "base/err.h"

/*
 * Degenerate SignedData, version 1, no CRLs (RFC 5272 4.1, RFC 5652 5.1). `certs` are complete certificates, 1 to 64;
 * they come out sorted as DER wants of a SET OF (X.690 11.6).
 */
MUST_CHECK enum err_code certs_only_write(const struct bytes *certs, size_t n, struct buf *out, struct err *e);
/*
 * CsrAttrs for a profile (RFC 7030 4.5.2, 8951 4, 9908): key type when the profile allows exactly one, the signature
 * scheme as a bare OID, challengePassword when the channel binding is required. Empty output: nothing to say (204).
 */
MUST_CHECK enum err_code csrattrs_write(const struct conf_profile *profile, struct buf *out, struct err *e);

#endif
