/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Issuance by the product's own functions in the product's order, without ledger and without the network: what
 * prepare_est() and record() of ca/issue.c do between their reads and writes of the store.
 */
#ifndef TESTS_BENCH_ISSUING_H
#define TESTS_BENCH_ISSUING_H

#include <openssl/evp.h>

#include "base/conf.h"
#include "ca/cert.h"
#include "ca/draft.h"

#define ISSUING_DEVICES 64

struct issuing {
    struct conf *conf;
    const struct conf_profile *profile;
    struct cert_issuer issuer;
    struct buf subject, spki; /* of the CA */
    struct {
        char id[32];
        struct buf csr;
    } device[ISSUING_DEVICES];
};

/* `config`: an instance's configuration; its profile "ldevid" is issued by its CA with the key `ca_spki`. */
void issuing_load(struct issuing *x, const char *config, struct bytes ca_spki);
void issuing_clear(struct issuing *x);
/* SPKI of a key, appended. */
void issuing_spki(EVP_PKEY *key, struct buf *out);
/* From the octets of a CSR to bytes that may be signed. */
void issuing_draft(struct issuing *x, size_t device, struct cert_draft *d);
/* From the signature to the certificate. */
void issuing_complete(const struct issuing *x, const struct cert_draft *d, struct bytes sig, struct buf *der);

#endif
