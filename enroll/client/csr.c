/* SPDX-License-Identifier: Apache-2.0 */
/* The request: PKCS#10 (RFC 2986) with the names of the certificate it renews, and the channel binding when asked for. */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "enroll/client/device_int.h"

static bool add_text(X509_NAME *name, const char *field, const char *value)
{
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, (const unsigned char *)value, -1, -1, 0) == 1;
}

static bool set_names(X509_REQ *req, const struct csr_request *r)
{
    X509_NAME *name;
    STACK_OF(X509_EXTENSION) *extensions = NULL;
    bool ok;
    int at;

    if (r->like && (r->same_names || !r->device_id)) {
        if (X509_REQ_set_subject_name(req, X509_get_subject_name(r->like)) != 1)
            return false;
    } else {
        name = X509_REQ_get_subject_name(req);
        if (!add_text(name, "CN", r->device_id) || !add_text(name, "serialNumber", r->device_id))
            return false;
    }
    at = r->like && r->same_names ? X509_get_ext_by_NID(r->like, NID_subject_alt_name, -1) : -1;
    if (at < 0)
        return true;
    /* RFC 7030 4.2.2: subjectAltName identical to that of the certificate being renewed. */
    extensions = sk_X509_EXTENSION_new_null();
    ok = extensions && sk_X509_EXTENSION_push(extensions, X509_get_ext(r->like, at)) > 0 &&
         X509_REQ_add_extensions(req, extensions) == 1;
    sk_X509_EXTENSION_free(extensions);
    return ok;
}

static char *base64_of(const unsigned char *der, int len)
{
    char *out = malloc((size_t)len / 3 * 4 + 8);

    if (out)
        EVP_EncodeBlock((unsigned char *)out, der, len);
    return out;
}

enum device_result csr_make(struct device *d, const struct csr_request *r, const char *binding, char **base64)
{
    X509_REQ *req = X509_REQ_new();
    const EVP_MD *md = NULL;
    unsigned char *der = NULL;
    int len = -1;
    bool ok;

    *base64 = NULL;
    if (EVP_PKEY_get_base_id(r->key->pkey) != EVP_PKEY_ED25519)
        md = EVP_PKEY_get_bits(r->key->pkey) == 384 ? EVP_sha384() : EVP_sha256();
    ok = req && X509_REQ_set_version(req, X509_REQ_VERSION_1) == 1 && X509_REQ_set_pubkey(req, r->key->pkey) == 1 &&
         set_names(req, r);
    if (ok && binding)
        ok = X509_REQ_add1_attr_by_NID(req, NID_pkcs9_challengePassword, V_ASN1_PRINTABLESTRING,
                                       (const unsigned char *)binding, (int)strlen(binding)) == 1;
    if (ok && X509_REQ_sign(req, r->key->pkey, md) > 0)
        len = i2d_X509_REQ(req, &der);
    if (len > 0)
        *base64 = base64_of(der, len);
    OPENSSL_free(der);
    X509_REQ_free(req);
    ERR_clear_error();
    return *base64 ? DEVICE_OK : device_fail(d, DEVICE_BROKEN, "the request could not be made or signed");
}
