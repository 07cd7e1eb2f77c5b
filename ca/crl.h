/* SPDX-License-Identifier: Apache-2.0 */
/* Writing and reading CRLs (RFC 5280 section 5): full, and sharded by the certificate's CRL address. */
#ifndef INKAN_CA_CRL_H
#define INKAN_CA_CRL_H

#include <time.h>

#include "base/bytes.h"
#include "base/der.h"
#include "base/derw.h"
#include "base/err.h"
#include "ca/cert.h"
#include "ca/follow.h"

/* Yields the entries sorted by serial (as unsigned integers), one per call; false at the end or with `e` set. */
typedef bool (*crl_next_fn)(void *arg, struct status_row *out, struct err *e);

#define CRL_ENTRY_LEN 53 /* with 20 octets of serial, a UTCTime and a reason: nearly all are so */

struct crl_inputs {
    const struct cert_issuer *issuer;
    uint64_t crl_number;
    time_t this_update, next_update;
    const char *idp_url; /* NULL = full CRL; else critical IDP with this URI, onlyContainsUserCerts as given */
    bool only_user_certs;
    uint64_t expected; /* entries, if known: a large list is then written without moving it */
};

/* Appends the TBSCertList to `out` (its max bounds the list). Memory beyond `out` does not grow with the list. */
MUST_CHECK enum err_code crl_tbs_write(const struct crl_inputs *in, crl_next_fn next, void *arg, uint64_t *entries,
                                       struct buf *out, struct err *e);
/* What stands around a TBSCertList of `tbs_len` octets: the first *head octets of `out` before it, the others after it. */
MUST_CHECK enum err_code crl_frame(size_t tbs_len, enum sig_alg alg, struct bytes sig, struct buf *out, size_t *head,
                                   struct err *e);

/* A CRL read in place. */
struct crl {
    struct bytes der, tbs, issuer, sig_alg, sig, aki, crl_number;
    time_t this_update, next_update;
    bool has_idp;
    struct bytes idp;     /* extension value */
    struct der entries;   /* content of revokedCertificates, for crl_entry_next */
};
MUST_CHECK enum err_code crl_read(struct bytes der, struct crl *out, struct err *e);
struct crl_entry {
    struct bytes serial;
    time_t revoked_at;
    enum crl_reason reason;
};
/* false at the end; a broken entry sets *broken. */
bool crl_entry_next(struct der *entries, struct crl_entry *out, bool *broken);

/*
 * The publication gate: E_CONFLICT unless the new list has the same issuer and scope, a CRLNumber and thisUpdate above the
 * old one's, nextUpdate not before the old one's, and every entry of the old list that `may_leave` does not excuse (a
 * release after the old list, or an expiry before the old list's thisUpdate: RFC 5280 3.3). Streams over both.
 */
typedef bool (*crl_may_leave_fn)(void *arg, struct bytes serial);
MUST_CHECK enum err_code crl_gate(const struct crl *old, const struct crl *new, crl_may_leave_fn may_leave, void *arg,
                                  struct err *e);

#endif
