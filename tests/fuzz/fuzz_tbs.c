/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the signer is asked to sign. Three octets choose kind, purpose and algorithm, the rest is the object. What is allowed is one
 * element that names this key (the issuer's name or the key's hash stands in it), a record that names it, or a key package.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/der.h"
#include "base/oid.h"
#include "hsm/tbs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t issuer[] = {0x30, 0x0d, 0x31, 0x0b, 0x30, 0x09, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x02, 'c', 'a'};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum sign_kind kind;
    struct tbs_rule rule = {.issuer_name = {issuer, sizeof issuer}};
    struct bytes tbs;
    struct err e = {0};

    if (size < 3)
        return 0;
    kind = (enum sign_kind)(data[0] % SIGN_KINDS);
    rule.purpose = (enum key_purpose)(data[1] % KEY_PURPOSES);
    rule.alg = (enum sig_alg)(data[2] % SIG_ALGS_COUNT);
    memset(rule.key_hash, 'k', sizeof rule.key_hash);
    tbs = BYTES(data + 3, size - 3);
    if (tbs_check(&rule, kind, tbs, &e) != E_OK) {
        if (e.code == E_OK || e.msg[0] == '\0')
            abort();
        return 0;
    }
    if (kind != SIGN_JWS && kind != SIGN_FEED && !der_is_one_element(tbs, kind == SIGN_KEY_PACKAGE ? DER_SET : DER_SEQUENCE))
        abort();
    if ((kind == SIGN_JWS || kind == SIGN_FEED) && (!memchr(tbs.p, '.', tbs.len) || memchr(tbs.p, '=', tbs.len)))
        abort();
    /* Each purpose signs its own kinds and no other. */
    if ((rule.purpose == PURPOSE_CA) != (kind == SIGN_CERT || kind == SIGN_CRL || kind == SIGN_CSR) ||
        (rule.purpose == PURPOSE_OCSP) != (kind == SIGN_OCSP) ||
        (rule.purpose == PURPOSE_FEED) != (kind == SIGN_FEED) ||
        (rule.purpose == PURPOSE_RECORD) != (kind == SIGN_JWS || kind == SIGN_KEY_PACKAGE))
        abort();
    if (kind == SIGN_KEY_PACKAGE && !memmem(tbs.p, tbs.len, OID_KEY_PACKAGE.p, OID_KEY_PACKAGE.len))
        abort();
    if (rule.purpose == PURPOSE_CA && !memmem(tbs.p, tbs.len, issuer, sizeof issuer))
        abort();
    if (rule.purpose == PURPOSE_OCSP && !memmem(tbs.p, tbs.len, rule.key_hash, sizeof rule.key_hash))
        abort();
    return 0;
}
