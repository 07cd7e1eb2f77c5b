/* SPDX-License-Identifier: Apache-2.0 */
#include "issuing.h"

#include <stdio.h>
#include <string.h>

#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "figures.h"
#include "hsm/signer.h"

/* A device's request as devices send it: CN and serialNumber, and the one name its profile gives it (338 octets). */
static void make_csr(const char *id, struct buf *out)
{
    EVP_PKEY       *key = EVP_EC_gen("P-256");
    X509_REQ       *req = X509_REQ_new();
    X509_NAME      *name = X509_NAME_new();
    STACK_OF(X509_EXTENSION) *extensions = NULL;
    char            san[96];
    unsigned char  *der = NULL;
    X509_EXTENSION *x;
    int             n;

    must(key && req && name, "a key");
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)id, -1, -1, 0);
    X509_NAME_add_entry_by_txt(name, "serialNumber", MBSTRING_ASC, (const unsigned char *)id, -1, -1, 0);
    X509_REQ_set_subject_name(req, name);
    snprintf(san, sizeof(san), "URI:urn:dev:example:%s", id);
    x = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
    must(x && X509v3_add_ext(&extensions, x, -1) && X509_REQ_add_extensions(req, extensions), "subjectAltName");
    X509_REQ_set_pubkey(req, key);
    must(X509_REQ_sign(req, key, EVP_sha256()) > 0, "X509_REQ_sign");
    n = i2d_X509_REQ(req, &der);
    buf_init(out, CSR_MAX_LEN);
    buf_add(out, der, (size_t)n);
    must(n > 0 && buf_ok(out), "i2d_X509_REQ");
    OPENSSL_free(der);
    X509_EXTENSION_free(x);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_NAME_free(name);
    X509_REQ_free(req);
    EVP_PKEY_free(key);
}

void issuing_spki(EVP_PKEY *key, struct buf *out)
{
    unsigned char *der = NULL;
    int            n = i2d_PUBKEY(key, &der);

    must(n > 0, "i2d_PUBKEY");
    buf_add(out, der, (size_t)n);
    OPENSSL_free(der);
}

void issuing_load(struct issuing *x, const char *config, struct bytes ca_spki)
{
    const struct conf_ca *ca;
    struct pubkey         key;
    struct err            e = {0};

    memset(x, 0, sizeof(*x));
    must_ok(conf_load(config, &x->conf, NULL, &e), &e);
    x->profile = conf_find_profile(x->conf, "ldevid");
    must(x->profile != NULL, "profile ldevid");
    ca = conf_find_ca(x->conf, x->profile->ca);
    must(ca != NULL, "its CA");
    x->subject = BUF_INIT(NAME_MAX_LEN);
    x->spki = BUF_INIT(SPKI_MAX_LEN);
    buf_add_bytes(&x->spki, ca_spki);
    must_ok(name_from_text(ca->subject, &x->subject, &e), &e);
    must_ok(pubkey_read(buf_bytes(&x->spki), &key, &e), &e);
    x->issuer = (struct cert_issuer){
        .name = ca->name,
        .subject = buf_bytes(&x->subject),
        .spki = buf_bytes(&x->spki),
        .not_before = clock_now() - 86400,
        .not_after = clock_now() + 3650L * 86400,
        .sig_alg = sig_alg_for_spki(ca_spki),
    };
    ski_of(key.key_bits, x->issuer.ski);
    for (size_t i = 0; i < ISSUING_DEVICES; i++) {
        snprintf(x->device[i].id, sizeof(x->device[i].id), "unit-%06zu", i);
        make_csr(x->device[i].id, &x->device[i].csr);
    }
}

void issuing_clear(struct issuing *x)
{
    for (size_t i = 0; i < ISSUING_DEVICES; i++)
        buf_clear(&x->device[i].csr);
    buf_clear(&x->subject);
    buf_clear(&x->spki);
    conf_free(x->conf);
}

void issuing_draft(struct issuing *x, size_t device, struct cert_draft *d)
{
    struct csr         csr;
    struct cert_inputs in;
    struct err         e = {0};
    bool               judged;

    must_ok(csr_read(buf_bytes(&x->device[device].csr), &csr, &e), &e);
    must_ok(csr_check_binding(&csr, (struct bytes){NULL, 0}, &judged, &e), &e);
    must_ok(csr_check_usage(&csr, x->profile, &e), &e);
    in = (struct cert_inputs){.device_id = x->device[device].id, .domain = "example", .key = &csr.key};
    must_ok(draft_make(x->conf, x->profile, &x->issuer, 0, &in, &csr, x->device[device].id, clock_now(), d, &e), &e);
    must(draft_is_as_linted(d), "draft_is_as_linted");
}

void issuing_complete(const struct issuing *x, const struct cert_draft *d, struct bytes sig, struct buf *der)
{
    struct cert read;
    struct err  e = {0};

    must_ok(draft_complete(d, x->issuer.sig_alg, sig, der, &read, &e), &e);
}
