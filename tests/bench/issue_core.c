/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Issuance inside the core with a software key and no disk.
 *
 *   issue_core product CONFIG SECONDS    CSR octets in, linted certificate out
 *   issue_core reference CONFIG SECONDS  one P-256 verify and one sign, contexts made once
 *   issue_core count CONFIG N            N certificates and nothing else: for callgrind
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/auto.h"
#include "figures.h"
#include "issuing.h"

#define SLICE 16 /* operations between two looks at the clock */

struct run {
    struct issuing    issuing;
    EVP_PKEY         *ca;
    EVP_PKEY_CTX     *sign, *verify;
    EVP_MD           *sha256;
    struct cert_draft draft;
    struct buf        der;
    uint8_t           sig[SIGNATURE_MAX_LEN];
    size_t            sig_len;
};

/* As the signer does: it hashes the object itself. */
static void sign_tbs(struct run *r, struct bytes tbs)
{
    uint8_t hash[32];

    sha256(tbs, hash);
    r->sig_len = sizeof(r->sig);
    must(EVP_PKEY_sign(r->sign, r->sig, &r->sig_len, hash, sizeof(hash)) == 1, "EVP_PKEY_sign");
}

static void product(struct run *r, size_t i)
{
    issuing_draft(&r->issuing, i % ISSUING_DEVICES, &r->draft);
    sign_tbs(r, buf_bytes(&r->draft.tbs));
    issuing_complete(&r->issuing, &r->draft, BYTES(r->sig, r->sig_len), &r->der);
}

static void reference(struct run *r, size_t i)
{
    uint8_t hash[32] = {1};
    size_t  len = sizeof(r->sig);

    memcpy(hash, &i, sizeof(i));
    must(EVP_PKEY_sign(r->sign, r->sig, &len, hash, sizeof(hash)) == 1, "EVP_PKEY_sign");
    must(EVP_PKEY_verify(r->verify, r->sig, len, hash, sizeof(hash)) == 1, "EVP_PKEY_verify");
}

/* OpenSSL is the oracle: what is measured must be a certificate. */
static void check(struct run *r)
{
    const unsigned char *p = r->der.p;
    X509                *cert = d2i_X509(NULL, &p, (long)r->der.len);

    must(cert && p == r->der.p + r->der.len && X509_verify(cert, r->ca) == 1 && X509_get_ext_count(cert) == 7,
         "the certificate, read by OpenSSL,");
    X509_free(cert);
}

static void run_open(struct run *r, const char *config)
{
    AUTO_BUF spki = BUF_INIT(SPKI_MAX_LEN);

    memset(r, 0, sizeof(*r));
    r->ca = EVP_EC_gen("P-256");
    r->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    must(r->ca && r->sha256, "CA key");
    r->sign = EVP_PKEY_CTX_new(r->ca, NULL);
    r->verify = EVP_PKEY_CTX_new(r->ca, NULL);
    must(r->sign && EVP_PKEY_sign_init(r->sign) == 1 && EVP_PKEY_CTX_set_signature_md(r->sign, r->sha256) == 1 &&
             r->verify && EVP_PKEY_verify_init(r->verify) == 1 &&
             EVP_PKEY_CTX_set_signature_md(r->verify, r->sha256) == 1,
         "EVP_PKEY_CTX");
    issuing_spki(r->ca, &spki);
    issuing_load(&r->issuing, config, buf_bytes(&spki));
    draft_init(&r->draft);
    buf_init(&r->der, CERT_MAX_LEN);
}

static void run_close(struct run *r)
{
    draft_clear(&r->draft);
    buf_clear(&r->der);
    issuing_clear(&r->issuing);
    EVP_PKEY_CTX_free(r->sign);
    EVP_PKEY_CTX_free(r->verify);
    EVP_MD_free(r->sha256);
    EVP_PKEY_free(r->ca);
}

int main(int argc, char **argv)
{
    void           (*operation)(struct run *, size_t);
    struct latencies l = {0};
    struct run       r;
    double           wall, cpu, seconds, at;
    size_t           n = 0;

    must(argc == 4, "usage: issue_core product|reference|count CONFIG SECONDS|N");
    operation = strcmp(argv[1], "reference") == 0 ? reference : product;
    seconds = atof(argv[3]);
    run_open(&r, argv[2]);
    if (strcmp(argv[1], "count") == 0) {
        for (size_t i = 0; i < (size_t)seconds; i++)
            product(&r, i);
        check(&r);
        run_close(&r);
        return 0;
    }
    for (size_t i = 0; i < 2 * ISSUING_DEVICES; i++)
        operation(&r, i);
    wall = figures_wall_us();
    cpu = figures_cpu_us();
    do {
        for (size_t i = 0; i < SLICE; i++, n++) {
            at = figures_wall_us();
            operation(&r, n);
            latencies_add(&l, figures_wall_us() - at);
        }
    } while (figures_wall_us() - wall < seconds * 1e6);
    cpu = figures_cpu_us() - cpu;
    wall = figures_wall_us() - wall;
    if (operation == product)
        check(&r);
    figures_print(n, cpu, wall, &l);
    latencies_clear(&l);
    run_close(&r);
    return 0;
}
