/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The linter: rules over raw to-be-signed DER, run before the token is asked. It shares no code with the writers
 * (base/derw, ca/cert.c, ca/crl.c, ca/ocsp.c); it reads with base/der and knows the RFCs by itself.
 *
 * Each rule has a stable id ("cert.serial.positive"), a clause ("RFC 5280 4.1.2.2") and a text. Any finding refuses the
 * object: there are no warnings.
 */
#ifndef INKAN_CA_LINT_H
#define INKAN_CA_LINT_H

#include <time.h>

#include "base/bytes.h"
#include "base/conf.h"
#include "base/derw.h"
#include "base/err.h"

struct lint_rule {
    const char *id;
    const char *clause;
    const char *text;
};

#define LINT_FINDINGS_MAX 16
struct lint_report {
    const struct lint_rule *finding[LINT_FINDINGS_MAX];
    size_t n; /* rules broken, each once; may exceed the array: counts all */
};

/* What the object must be, from sources the writer did not compute. */
struct lint_cert_expect {
    const struct conf_profile *profile;
    struct bytes issuer_subject;   /* from the issuer's certificate */
    struct bytes issuer_ski;       /* 20 octets */
    time_t issuer_not_before, issuer_not_after;
    enum sig_alg sig_alg;          /* of the issuer's key */
    bool self_signed;
    struct bytes spki;             /* the key that was asked for */
    struct bytes serial;           /* drawn */
    const char *device_id;         /* NULL when none belongs in the subject */
    const char *crl_url;           /* exact address expected, NULL = none */
    const char *ocsp_url;
    time_t now;
    time_t not_after_max;          /* the caller's further limit on notAfter, 0 = issuer's end only */
};
void lint_cert(struct bytes tbs, const struct lint_cert_expect *x, struct lint_report *out);

struct lint_crl_expect {
    struct bytes issuer_subject, issuer_ski;
    enum sig_alg sig_alg;
    uint64_t crl_number;
    time_t now;
    time_t previous_this_update;   /* 0 = none */
    const char *idp_url;           /* NULL = full CRL, no IDP */
    uint64_t entries;              /* how many the ledger says */
};
/* Streams over the entries: memory does not grow with the list. */
void lint_crl(struct bytes tbs, const struct lint_crl_expect *x, struct lint_report *out);

struct lint_ocsp_expect {
    uint8_t responder_key_hash[20]; /* responderID byKey */
    struct bytes request;           /* the OCSPRequest answered: CertIDs are echoed byte for byte, the nonce too */
    time_t now;
    time_t responder_not_after;
};
void lint_ocsp(struct bytes response_data, const struct lint_ocsp_expect *x, struct lint_report *out);

/* E_OK without findings; else E_INTERNAL naming the first findings ("lint: cert.serial.positive (RFC 5280 4.1.2.2) ..."). */
MUST_CHECK enum err_code lint_result(const struct lint_report *r, const char *object, struct err *e);

/* All rules of a kind, for documents and tests. */
const struct lint_rule *lint_rules_cert(size_t *n);
const struct lint_rule *lint_rules_crl(size_t *n);
const struct lint_rule *lint_rules_ocsp(size_t *n);

#endif
