/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the writer and the verifier of the audit trail. */
#ifndef INKAN_CA_AUDIT_INT_H
#define INKAN_CA_AUDIT_INT_H

#include <openssl/evp.h>

#include "base/derw.h"
#include "ca/audit.h"

#define AUDIT_CHAIN_TAG     "inkan-audit-1"
#define AUDIT_HEAD_TAG      "inkan-audit-head"
#define AUDIT_HEADS_FILE    "audit-heads"
#define AUDIT_CERT_ISSUED   "cert-issued"
#define AUDIT_BATCH_STEP    "batch-step"
#define AUDIT_ENTRY_MAX     (1024 * 1024)
#define AUDIT_HEAD_LINE_MAX (2 * SIGNATURE_MAX_LEN)

/* What a head may be signed with. */
struct audit_algorithm {
    enum sig_alg alg;
    int key_type;       /* EVP_PKEY_RSA, ... */
    int key_bits;       /* 0: any */
    const char *digest; /* NULL: inside the algorithm */
};
const struct audit_algorithm *audit_algorithm(uint8_t alg); /* NULL: not one of ours */
const struct audit_algorithm *audit_algorithm_of(const EVP_PKEY *key); /* each key has one */

/* hash of a row from its other members. */
MUST_CHECK enum err_code audit_hash(const struct audit_row *row, uint8_t hash[32], struct err *e);
/*
 * SHA-256 over the status rows `from` .. `to`, a line each (docs/audit.md). *foreign: the first that is not of this batch, 0 = none.
 * E_NOT_FOUND: one is missing.
 */
MUST_CHECK enum err_code audit_rows_digest(struct store *s, uint64_t batch, uint64_t from, uint64_t to, uint8_t digest[32],
                                           uint64_t *foreign, struct err *e);
/* "cert-revoked" and its kin; false for every other event. */
bool audit_event_status(const char *event, enum cert_status *status);

#endif
