/* SPDX-License-Identifier: Apache-2.0 */
#include "enroll/gate/trust.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fsio.h"
#include "base/oid.h"

#define CA_FILE_MAX (1024 * 1024)

AUTO_TYPE(X509, X509_free)
AUTO_TYPE(BIO, BIO_free_all)
AUTO_TYPE(X509_STORE_CTX, X509_STORE_CTX_free)

struct trust {
    X509_STORE *anchors;
};

static void stack_free(STACK_OF(X509) **s)
{
    sk_X509_pop_free(*s, X509_free);
}

static enum err_code add_all(X509_STORE *store, struct bytes pem, const char *path, struct err *e)
{
    AUTO(BIO) *bio = BIO_new_mem_buf(pem.p, (int)pem.len);
    X509 *cert;
    size_t n = 0;

    while (bio && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        X509_STORE_add_cert(store, cert);
        X509_free(cert);
        n++;
    }
    ERR_clear_error(); /* the end of the file is an error to it */
    return n ? E_OK : err_set(e, E_INVALID, "%s: no certificate in PEM", path);
}

enum err_code trust_load(const char *ca_file, struct trust **out, struct err *e)
{
    AUTO_BUF pem = BUF_INIT(CA_FILE_MAX);
    struct trust *t;

    *out = NULL;
    if (file_read(ca_file, &pem, e) != E_OK)
        return e->code;
    t = calloc(1, sizeof(*t));
    if (!t || !(t->anchors = X509_STORE_new())) {
        trust_free(t);
        return err_set(e, E_NOMEM, "%s", ca_file);
    }
    if (add_all(t->anchors, buf_bytes(&pem), ca_file, e) != E_OK) {
        trust_free(t);
        return e->code;
    }
    *out = t;
    return E_OK;
}

void trust_free(struct trust *t)
{
    if (!t)
        return;
    X509_STORE_free(t->anchors);
    free(t);
}

static X509 *cert_of(const struct buf *der)
{
    const unsigned char *p = der->p;
    X509 *cert = d2i_X509(NULL, &p, (long)der->len);

    if (cert && p != der->p + der->len) {
        X509_free(cert);
        return NULL;
    }
    return cert;
}

/* extKeyUsage must be there and name the signing of feeds and nothing else. */
static bool may_sign_feed(X509 *cert)
{
    EXTENDED_KEY_USAGE *eku = X509_get_ext_d2i(cert, NID_ext_key_usage, NULL, NULL);
    bool may = false;

    if (eku && sk_ASN1_OBJECT_num(eku) == 1) {
        const ASN1_OBJECT *o = sk_ASN1_OBJECT_value(eku, 0);

        may = bytes_equal(BYTES(OBJ_get0_data(o), OBJ_length(o)), OID_EKU_DOCUMENT_SIGNING);
    }
    EXTENDED_KEY_USAGE_free(eku);
    return may && !(X509_get_extension_flags(cert) & EXFLAG_CA);
}

static enum err_code check_chain(const struct trust *t, X509 *signer, STACK_OF(X509) *more, bool signed_at_ok, struct err *e)
{
    AUTO(X509_STORE_CTX) *ctx = X509_STORE_CTX_new();

    if (!ctx || X509_STORE_CTX_init(ctx, t->anchors, signer, more) != 1)
        return err_openssl(e, E_NOMEM, "X509_STORE_CTX_init");
    X509_STORE_CTX_set_flags(ctx, signed_at_ok ? X509_V_FLAG_NO_CHECK_TIME : 0);
    if (!signed_at_ok)
        X509_STORE_CTX_set_time(ctx, 0, clock_now());
    if (X509_verify_cert(ctx) == 1)
        return E_OK;
    err_set(e, E_DENIED, "feed signer: %s", X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    ERR_clear_error();
    return e->code;
}

enum err_code trust_payload(const struct trust *t, struct bytes text, const char *typ, bool signed_at_ok, struct buf *payload,
                            struct err *e)
{
    __attribute__((cleanup(stack_free))) STACK_OF(X509) *more = sk_X509_new_null();
    __attribute__((cleanup(feed_jws_clear))) struct feed_jws j = {0};
    AUTO(X509) *signer = NULL;

    if (feed_jws_read(text, typ, &j, e) != E_OK)
        return e->code;
    signer = cert_of(&j.chain[0]);
    if (!signer || !more) {
        ERR_clear_error();
        return err_set(e, E_INVALID, "feed JWS: x5c does not begin with a certificate");
    }
    for (size_t i = 1; i < j.chain_n; i++) {
        X509 *cert = cert_of(&j.chain[i]);

        if (!cert || !sk_X509_push(more, cert)) {
            X509_free(cert);
            ERR_clear_error();
            return err_set(e, E_INVALID, "feed JWS: x5c holds no certificate at %zu", i);
        }
    }
    if (check_chain(t, signer, more, signed_at_ok, e) != E_OK)
        return e->code;
    if (!may_sign_feed(signer))
        return err_set(e, E_DENIED, "feed signer: its certificate is not one for signing the feed (extKeyUsage)");
    if (jws_verify(&j.jws, X509_get0_pubkey(signer), e) != E_OK)
        return err_wrap(e, "feed");
    return jws_payload(&j.jws, payload, e);
}

enum err_code trust_signer_stands(const struct table *t, struct bytes text, const char *typ, struct err *e)
{
    __attribute__((cleanup(feed_jws_clear))) struct feed_jws j = {0};
    AUTO(X509) *signer = NULL;
    const struct table_issuer *issuers;
    size_t n = table_issuers(t, &issuers);

    if (feed_jws_read(text, typ, &j, e) != E_OK)
        return e->code;
    signer = cert_of(&j.chain[0]);
    for (size_t i = 0; signer && i < n; i++) {
        const ASN1_INTEGER *serial = X509_get0_serialNumber(signer);
        struct feed_cert line = {.status = FEED_GOOD};

        if (X509_check_issued(issuers[i].cert, signer) != X509_V_OK)
            continue;
        (void)table_find(t, issuers[i].n, BYTES(ASN1_STRING_get0_data(serial), ASN1_STRING_length(serial)), &line);
        if (line.status != FEED_GOOD || table_issuer_status(t, issuers[i].n) != FEED_GOOD)
            return err_set(e, E_DENIED, "feed signer: its certificate, or a CA above it, is revoked or on hold");
    }
    return signer ? E_OK : err_set(e, E_INVALID, "feed JWS: x5c does not begin with a certificate");
}
