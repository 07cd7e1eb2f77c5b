/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the status process: a small PKI made with OpenSSL (CAs, each with a delegated OCSP responder), OCSP
 * requests as clients send them, and answers judged by OpenSSL.
 */
#ifndef INKAN_TESTS_OCSP_WORLD_H
#define INKAN_TESTS_OCSP_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/auto.h"
#include "base/bytes.h"

AUTO_TYPE(OCSP_REQUEST, OCSP_REQUEST_free)
AUTO_TYPE(OCSP_RESPONSE, OCSP_RESPONSE_free)
AUTO_TYPE(OCSP_BASICRESP, OCSP_BASICRESP_free)

struct world_ca {
    EVP_PKEY *key, *ocsp_key;
    X509 *cert, *ocsp_cert;
    uint8_t subject[256], spki[512], ocsp_spki[512], ocsp_der[2048];
    size_t subject_len, spki_len, ocsp_spki_len, ocsp_der_len;
};

static inline void world_must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "test world: %s\n", what);
    ERR_print_errors_fp(stderr);
    abort();
}

static inline X509 *world_cert(const char *cn, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, time_t from,
                               time_t to, bool ocsp)
{
    X509 *x = X509_new();
    X509_NAME *name = X509_NAME_new();
    X509V3_CTX ctx;
    static long serial = 1000;
    const char *const ext[2][4][2] = {
        {{"basicConstraints", "critical,CA:TRUE"},
         {"keyUsage", "critical,keyCertSign,cRLSign"},
         {"subjectKeyIdentifier", "hash"},
         {NULL, NULL}},
        {{"keyUsage", "critical,digitalSignature"},
         {"extendedKeyUsage", "OCSPSigning"},
         {"subjectKeyIdentifier", "hash"},
         {"noCheck", "ignored"}},
    };

    world_must(x && name, "certificate");
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    X509_set_subject_name(x, name);
    X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : name);
    X509_time_adj_ex(X509_getm_notBefore(x), 0, 0, &from);
    X509_time_adj_ex(X509_getm_notAfter(x), 0, 0, &to);
    X509_set_pubkey(x, key);
    X509V3_set_ctx(&ctx, issuer ? issuer : x, x, NULL, NULL, 0);
    for (int i = 0; i < 4 && ext[ocsp][i][0]; i++) {
        X509_EXTENSION *e = X509V3_EXT_conf(NULL, &ctx, ext[ocsp][i][0], ext[ocsp][i][1]);

        world_must(e && X509_add_ext(x, e, -1), ext[ocsp][i][0]);
        X509_EXTENSION_free(e);
    }
    world_must(X509_sign(x, issuer_key, EVP_PKEY_get_id(issuer_key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256()) > 0,
               "sign");
    X509_NAME_free(name);
    return x;
}

/* A self-signed CA and its responder certificate; `ocsp_key` NULL: a P-256 key is made. */
static inline void world_ca_make(struct world_ca *ca, const char *cn, time_t now, EVP_PKEY *ocsp_key)
{
    uint8_t *p;

    ca->key = EVP_EC_gen("P-256");
    ca->ocsp_key = ocsp_key ? ocsp_key : EVP_EC_gen("P-256");
    world_must(ca->key && ca->ocsp_key, "keys");
    ca->cert = world_cert(cn, ca->key, NULL, ca->key, now - 86400, now + 3650L * 86400, false);
    ca->ocsp_cert = world_cert("OCSP", ca->ocsp_key, ca->cert, ca->key, now - 3600, now + 30L * 86400, true);
    p = ca->subject, ca->subject_len = (size_t)i2d_X509_NAME(X509_get_subject_name(ca->cert), &p);
    p = ca->spki, ca->spki_len = (size_t)i2d_PUBKEY(ca->key, &p);
    p = ca->ocsp_spki, ca->ocsp_spki_len = (size_t)i2d_PUBKEY(ca->ocsp_key, &p);
    p = ca->ocsp_der, ca->ocsp_der_len = (size_t)i2d_X509(ca->ocsp_cert, &p);
}

static inline void world_ca_clear(struct world_ca *ca)
{
    X509_free(ca->cert);
    X509_free(ca->ocsp_cert);
    EVP_PKEY_free(ca->key);
    EVP_PKEY_free(ca->ocsp_key);
}

/* CertID of a serial given as magnitude octets. */
static inline OCSP_CERTID *world_cert_id(const struct world_ca *ca, const EVP_MD *md, const void *serial, size_t len)
{
    BIGNUM *bn = BN_bin2bn(serial, (int)len, NULL);
    ASN1_INTEGER *n = BN_to_ASN1_INTEGER(bn, NULL);
    OCSP_CERTID *id = OCSP_cert_id_new(md, X509_get_subject_name(ca->cert), X509_get0_pubkey_bitstr(ca->cert), n);

    world_must(id != NULL, "CertID");
    BN_free(bn);
    ASN1_INTEGER_free(n);
    return id;
}

/* DER of a request for one certificate; nonce_len 0: without a nonce. */
static inline size_t world_request(const struct world_ca *ca, const EVP_MD *md, const void *serial, size_t len,
                                   const void *nonce, size_t nonce_len, uint8_t *out, size_t max)
{
    AUTO(OCSP_REQUEST) *req = OCSP_REQUEST_new();
    int n;

    world_must(req && OCSP_request_add0_id(req, world_cert_id(ca, md, serial, len)), "request");
    if (nonce_len)
        world_must(OCSP_request_add1_nonce(req, (unsigned char *)(uintptr_t)nonce, (int)nonce_len) == 1, "nonce");
    n = i2d_OCSP_REQUEST(req, NULL);
    world_must(n > 0 && (size_t)n <= max, "request size");
    return (size_t)i2d_OCSP_REQUEST(req, &out);
}

/* What an answer says of one certificate. status: V_OCSP_CERTSTATUS_*; -1 when it is not in the answer. */
struct world_answer {
    int response_status;
    bool verifies; /* OCSP_basic_verify against the CA alone */
    int status, reason;
    time_t revoked_at, this_update, next_update, produced_at;
    int nonce; /* OCSP_check_nonce: 1 equal, 2 both absent, 3 only in the answer, -1 only in the request, 0 different */
    int singles;
};

static inline time_t world_time(const ASN1_GENERALIZEDTIME *t)
{
    struct tm tm;

    if (!t || !ASN1_TIME_to_tm(t, &tm))
        return 0;
    return timegm(&tm);
}

static inline struct world_answer world_read(const struct world_ca *ca, struct bytes response, struct bytes request,
                                             const EVP_MD *md, const void *serial, size_t len, time_t now)
{
    struct world_answer a = {.status = -1, .reason = -1};
    const uint8_t *p = response.p;
    AUTO(OCSP_RESPONSE) *r = d2i_OCSP_RESPONSE(NULL, &p, (long)response.len);
    AUTO(OCSP_BASICRESP) *basic = NULL;
    AUTO(OCSP_REQUEST) *req = NULL;
    ASN1_GENERALIZEDTIME *rev = NULL, *this_update = NULL, *next = NULL;
    X509_STORE *store;
    OCSP_CERTID *id;

    world_must(r && p == response.p + response.len, "OCSPResponse");
    a.response_status = OCSP_response_status(r);
    basic = OCSP_response_get1_basic(r);
    if (!basic) {
        ERR_clear_error();
        return a;
    }
    store = X509_STORE_new();
    X509_STORE_add_cert(store, ca->cert);
    X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(store), now);
    a.verifies = OCSP_basic_verify(basic, NULL, store, 0) == 1;
    ERR_clear_error();
    X509_STORE_free(store);
    p = request.p;
    req = d2i_OCSP_REQUEST(NULL, &p, (long)request.len);
    if (req)
        a.nonce = OCSP_check_nonce(req, basic);
    ERR_clear_error();
    a.singles = OCSP_resp_count(basic);
    a.produced_at = world_time(OCSP_resp_get0_produced_at(basic));
    id = world_cert_id(ca, md, serial, len);
    if (OCSP_resp_find_status(basic, id, &a.status, &a.reason, &rev, &this_update, &next) != 1)
        a.status = -1;
    OCSP_CERTID_free(id);
    a.revoked_at = world_time(rev);
    a.this_update = world_time(this_update);
    a.next_update = world_time(next);
    return a;
}

#endif
