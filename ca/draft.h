/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A certificate between the drawing of its serial and its signature: the part of issuance that needs neither ledger nor
 * signer. The to-be-signed bytes are written from the profile, linted by a reader that shares no code with the writer, and
 * hashed; what comes back signed is read again and compared.
 */
#ifndef INKAN_CA_DRAFT_H
#define INKAN_CA_DRAFT_H

#include "base/bytes.h"
#include "base/conf.h"
#include "base/err.h"
#include "base/limits.h"
#include "ca/cert.h"
#include "ca/csr.h"

struct cert_draft {
    uint8_t serial[SERIAL_MAX_LEN];
    unsigned shard;           /* 0: the full CRL */
    enum sig_alg alg;         /* of the issuer's key */
    struct buf tbs;
    uint8_t linted[32];       /* SHA-256 of the bytes that were linted */
    uint8_t spki_hash[32];    /* as in struct pubkey */
    int64_t not_before, not_after;
};

void draft_init(struct cert_draft *d);
void draft_clear(struct cert_draft *d);

/*
 * Draws the serial, writes the to-be-signed bytes, lints them. `in` holds what differs from certificate to certificate; its
 * serial, shard and time are set here. `csr` (NULL: none) may have asked for names: one that the profile does not give is
 * E_DENIED (RFC 5280 4.2.1.6: nothing is silently left out). `device_id` must be in the subject; NULL: none belongs there.
 * shards: CRL shards of the issuer. A draft may be made again.
 */
MUST_CHECK enum err_code draft_make(const struct conf *conf, const struct conf_profile *profile,
                                    const struct cert_issuer *issuer, unsigned shards, struct cert_inputs *in,
                                    const struct csr *csr, const char *device_id, int64_t now, struct cert_draft *d,
                                    struct err *e);
/* Are the bytes still those that were linted? Asked right before they go to the signer. */
bool draft_is_as_linted(const struct cert_draft *d);
/*
 * The certificate from the draft and its signature, into `der` (emptied before), and read back into `read`, which points into
 * it. E_CRYPTO: another algorithm than the draft names, or what is read back is not what was drafted. The signature itself
 * was verified by the signer.
 */
MUST_CHECK enum err_code draft_complete(const struct cert_draft *d, enum sig_alg alg, struct bytes sig, struct buf *der,
                                        struct cert *read, struct err *e);

#endif
