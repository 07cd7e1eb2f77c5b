/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/record_check.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "base/auto.h"
#include "ca/order_file.h"

AUTO_TYPE(BIO, BIO_free_all)
AUTO_TYPE(X509_STORE_CTX, X509_STORE_CTX_free)
AUTO_TYPE(json_t, json_decref)

#define CERTS_MAX 32

struct record_judge {
    STACK_OF(X509) *certs; /* of the signer's file */
    X509_STORE *roots;
    EVP_PKEY *key;         /* lent by the first certificate */
    char kid[41];
};

/* ---- who signs ---- */

static enum err_code read_certs(struct bytes pem, const char *what, STACK_OF(X509) *out, struct err *e)
{
    AUTO(BIO) *bio = pem.len <= INT32_MAX ? BIO_new_mem_buf(pem.p, (int)pem.len) : NULL;
    struct err ignored = {0};
    X509 *cert;

    while (bio && sk_X509_num(out) < CERTS_MAX && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        if (sk_X509_push(out, cert) == 0)
            X509_free(cert);
    if (err_openssl(&ignored, E_INVALID, "PEM_read_bio_X509") == E_NOMEM)
        return err_set(e, E_NOMEM, "%s", what);
    if (sk_X509_num(out) == 0)
        return err_set(e, E_INVALID, "%s: no CERTIFICATE in PEM", what);
    return E_OK;
}

static enum err_code take_roots(struct record_judge *j, struct bytes pem, struct err *e)
{
    STACK_OF(X509) *roots = sk_X509_new_null();
    enum err_code code = roots ? read_certs(pem, "root", roots, e) : err_set(e, E_NOMEM, "root");

    for (int i = 0; code == E_OK && i < sk_X509_num(roots); i++)
        if (X509_STORE_add_cert(j->roots, sk_X509_value(roots, i)) != 1)
            code = err_openssl(e, E_INVALID, "X509_STORE_add_cert");
    sk_X509_pop_free(roots, X509_free);
    return code;
}

/* The key identifier that records name: SHA-1 of the key's bits (RFC 5280 4.2.1.2 (1)). */
static enum err_code take_key(struct record_judge *j, struct err *e)
{
    X509 *leaf = sk_X509_value(j->certs, 0);
    const ASN1_BIT_STRING *bits = X509_get0_pubkey_bitstr(leaf);
    uint8_t ski[20];

    j->key = X509_get0_pubkey(leaf);
    if (!j->key || !bits || jws_alg_of_key(j->key) == SIG_NONE)
        return err_set(e, E_INVALID, "signer: the key of the first certificate is none of P-256, P-384 and Ed25519");
    sha1(BYTES(bits->data, bits->length), ski);
    hex_encode(ski, sizeof(ski), j->kid);
    return E_OK;
}

enum err_code record_judge_new(struct bytes signer, struct bytes ca, struct record_judge **out, struct err *e)
{
    struct record_judge *j = calloc(1, sizeof(*j));
    enum err_code code = E_OK;

    *out = NULL;
    if (!j || !(j->certs = sk_X509_new_null()) || !(j->roots = X509_STORE_new()))
        code = err_set(e, E_NOMEM, "signer");
    if (code == E_OK)
        code = read_certs(signer, "signer", j->certs, e);
    if (code == E_OK)
        code = take_key(j, e);
    if (code == E_OK)
        code = take_roots(j, ca, e);
    if (code != E_OK) {
        record_judge_free(j);
        return code;
    }
    *out = j;
    return E_OK;
}

void record_judge_free(struct record_judge *j)
{
    if (!j)
        return;
    sk_X509_pop_free(j->certs, X509_free);
    X509_STORE_free(j->roots);
    free(j);
}

enum err_code record_judge_at(struct record_judge *j, int64_t when, struct err *e)
{
    AUTO(X509_STORE_CTX) *ctx = X509_STORE_CTX_new();
    X509 *leaf = sk_X509_value(j->certs, 0);
    X509_VERIFY_PARAM *param;

    if (!ctx || X509_STORE_CTX_init(ctx, j->roots, leaf, j->certs) != 1)
        return err_set(e, E_NOMEM, "signer");
    param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_time(param, (time_t)when);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
    if (X509_verify_cert(ctx) != 1)
        return err_set(e, E_DENIED, "signer: %s", X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    /* A device's certificate of the same CA has an extKeyUsage; one for records has none. */
    if (X509_check_ca(leaf) || (X509_get_extension_flags(leaf) & EXFLAG_XKUSAGE) ||
        !(X509_get_key_usage(leaf) & KU_DIGITAL_SIGNATURE))
        return err_set(e, E_DENIED, "signer: its certificate is not one for records (digitalSignature, no extKeyUsage, no CA)");
    return E_OK;
}

/* Is the certificate with that digest one of the signer's file, and of its key? */
static bool knows_certificate(const struct record_judge *j, const char *x5t)
{
    for (int i = 0; i < sk_X509_num(j->certs); i++) {
        X509 *cert = sk_X509_value(j->certs, i);
        AUTO_BUF text = BUF_INIT(JWS_X5T_LEN);
        uint8_t hash[32];
        unsigned n = 0;

        if (X509_digest(cert, EVP_sha256(), hash, &n) != 1 || EVP_PKEY_eq(X509_get0_pubkey(cert), j->key) != 1)
            continue;
        base64url_encode(&text, BYTES_OF(hash));
        if (bytes_equal(buf_bytes(&text), bytes_str(x5t)))
            return true;
    }
    return false;
}

enum err_code record_open(const struct record_judge *j, struct bytes text, const char *typ, json_t **payload, struct err *e)
{
    AUTO_BUF json = BUF_INIT(RECORD_FILE_MAX);
    json_error_t why;
    struct jws jws;

    *payload = NULL;
    if (jws_read(text, RECORD_FILE_MAX, &jws, e) != E_OK)
        return e->code;
    if (strcmp(jws.header.typ, typ) != 0)
        return err_set(e, E_INVALID, "typ is \"%s\", not \"%s\"", jws.header.typ, typ);
    if (strcmp(jws.header.kid, j->kid) != 0)
        return err_set(e, E_DENIED, "signed by key %s, the signer's is %s", jws.header.kid, j->kid);
    if (!knows_certificate(j, jws.header.x5t))
        return err_set(e, E_DENIED, "signed under another certificate of the signer (x5t#S256 %s)", jws.header.x5t);
    if (jws_verify(&jws, j->key, e) != E_OK || jws_payload(&jws, &json, e) != E_OK)
        return e->code;
    *payload = json_loadb((const char *)json.p, json.len, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(*payload)) {
        json_decref(*payload);
        *payload = NULL;
        return err_set(e, E_INVALID, "the payload is not a JSON object: %s", why.text);
    }
    return E_OK;
}

enum err_code record_time(const json_t *payload, const char *member, int64_t *out, struct err *e)
{
    const char *text = json_string_value(json_object_get(payload, member));

    if (!text || !time_from_text(text, out))
        return err_set(e, E_INVALID, "\"%s\" is not a time", member);
    return E_OK;
}

/* ---- close-out report ---- */

static enum err_code count(const json_t *counts, const char *name, int64_t *out, struct err *e)
{
    const json_t *v = json_object_get(counts, name);

    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return err_set(e, E_INVALID, "close-out report: count \"%s\" is missing or no number", name);
    *out = json_integer_value(v);
    return E_OK;
}

enum err_code close_report_check(const json_t *report, struct err *e)
{
    static const struct {
        const char *text, *left, *right[3];
    } equations[] = {
        {"reserved = issued + unused", "reserved", {"issued", "unused", NULL}},
        {"issued = confirmed + void + orphan", "issued", {"confirmed", "void", "orphan"}},
        {"confirmed = shipped + stock + scrapped", "confirmed", {"shipped", "stock", "scrapped"}},
    };
    const json_t *counts = json_object_get(report, "counts"), *list = json_object_get(report, "equations");
    const json_t *royalty = json_object_get(report, "royalty");
    int64_t confirmed;

    for (size_t i = 0; i < ARRAY_LEN(equations); i++) {
        const json_t *said = json_array_get(list, i);
        const char *text = json_string_value(json_object_get(said, "equation"));
        int64_t left, right = 0, n;

        if (count(counts, equations[i].left, &left, e) != E_OK)
            return e->code;
        for (size_t k = 0; k < ARRAY_LEN(equations[i].right) && equations[i].right[k]; k++) {
            if (count(counts, equations[i].right[k], &n, e) != E_OK)
                return e->code;
            right += n;
        }
        if (left != right)
            return err_set(e, E_CONFLICT, "close-out report: %s does not hold: %lld and %lld", equations[i].text, (long long)left,
                           (long long)right);
        if (!text || strcmp(text, equations[i].text) != 0 || json_integer_value(json_object_get(said, "left")) != left ||
            json_integer_value(json_object_get(said, "right")) != right)
            return err_set(e, E_CONFLICT, "close-out report: equation %zu is not \"%s\" with the numbers of its counts", i + 1,
                           equations[i].text);
    }
    if (count(counts, "confirmed", &confirmed, e) != E_OK)
        return e->code;
    if (!json_is_integer(royalty) || json_integer_value(royalty) != confirmed)
        return err_set(e, E_CONFLICT, "close-out report: royalty is not the %lld units that were confirmed", (long long)confirmed);
    return E_OK;
}
