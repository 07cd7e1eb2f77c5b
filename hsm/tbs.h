/* SPDX-License-Identifier: Apache-2.0 */
/* What the signer checks of an object before it signs it: the header, so that a key signs only what it is for. */
#ifndef INKAN_HSM_TBS_H
#define INKAN_HSM_TBS_H

#include "hsm/signer.h"

#define AUDIT_HEAD_PREFIX "inkan-audit-head"
#define RECORD_TYP_PREFIX "inkan-"
/* A manifest in Microchip's form: typ "JWT", its kid in base64url, its payload an object that begins with "distributor". */
#define MANIFEST_TYP      "JWT"
#define MANIFEST_PREFIX   "eyJkaXN0cmlidXRvciI6" /* base64url of {"distributor": */

struct tbs_rule {
    enum key_purpose purpose;
    struct bytes issuer_name; /* DER Name */
    struct bytes spki;
    enum sig_alg alg;
    uint8_t key_hash[20];     /* SHA-1 of the subjectPublicKey bits (RFC 6960 4.2.1 KeyHash) */
};

/* E_INVALID with object and clause unless `tbs` is one complete object of this kind that this key may sign. */
MUST_CHECK enum err_code tbs_check(const struct tbs_rule *rule, enum sign_kind kind, struct bytes tbs, struct err *e);

#endif
