/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/anchor_pem.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "base/libctx.h"
#include "ca/cert.h"

AUTO_TYPE(X509, X509_free)
AUTO_TYPE(X509_STORE, X509_STORE_free)
AUTO_TYPE(X509_STORE_CTX, X509_STORE_CTX_free)

/* Its key is made, and has a strength; its extensions are read. */
static bool is_whole(X509 *x)
{
    EVP_PKEY *key = X509_get0_pubkey(x);

    return key && EVP_PKEY_get_security_bits(key) > 0 && X509_check_purpose(x, -1, 0) == 1;
}

X509 *x509_whole(struct bytes der)
{
    X509 *x = libctx_x509(der);

    if (!x || is_whole(x))
        return x;
    X509_free(x);
    return libctx_x509(der);
}

/* ---- what OpenSSL would hold against every chain ---- */

/* Of the certificate right above the leaf. */
struct objection {
    X509 *ca;
    int code; /* X509_V_ERR_...; X509_V_OK = none */
};

static int note_objection(int ok, X509_STORE_CTX *ctx)
{
    struct objection *o = X509_STORE_CTX_get_app_data(ctx);

    if (!ok && o->code == X509_V_OK && X509_STORE_CTX_get_error_depth(ctx) == 1)
        o->code = X509_STORE_CTX_get_error(ctx);
    return 1;
}

static int is_issued(X509_STORE_CTX *ctx, X509 *x, X509 *issuer)
{
    const struct objection *o = X509_STORE_CTX_get_app_data(ctx);

    return x == X509_STORE_CTX_get0_cert(ctx) ? X509_cmp(issuer, o->ca) == 0 : X509_check_issued(issuer, x) == X509_V_OK;
}

static int any_signature(X509_STORE_CTX *ctx)
{
    (void)ctx;
    return 1;
}

/* As if issued by `ca`: what it says of itself is not asked, nor is its signature. */
static X509 *leaf_below(X509 *ca)
{
    AUTO(X509) *leaf = X509_dup(ca);

    if (!leaf || X509_set_issuer_name(leaf, X509_get_subject_name(ca)) != 1 ||
        X509_NAME_add_entry_by_txt(X509_get_subject_name(leaf), "CN", MBSTRING_ASC, (const unsigned char *)"leaf", -1, -1, 0) != 1)
        return NULL;
    while (X509_get_ext_count(leaf) > 0)
        X509_EXTENSION_free(X509_delete_ext(leaf, 0));
    return i2d_re_X509_tbs(leaf, NULL) > 0 ? TAKE(leaf) : NULL; /* no octets of `ca` are kept */
}

/* A chain of a leaf, this CA, and what is above it. E_NOMEM: nobody knows. */
static enum err_code object_once(X509_STORE *store, struct objection *o, struct err *e)
{
    AUTO(X509) *leaf = leaf_below(o->ca);
    AUTO(X509_STORE_CTX) *ctx = X509_STORE_CTX_new();
    X509_VERIFY_PARAM *param;
    bool judged;

    o->code = X509_V_OK;
    if (!leaf || !ctx || X509_STORE_CTX_init(ctx, store, leaf, NULL) != 1 || X509_STORE_CTX_set_app_data(ctx, o) != 1)
        return err_openssl(e, E_NOMEM, "X509_STORE_CTX_init");
    param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_auth_level(param, ANCHOR_AUTH_LEVEL);
    X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_ANY);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT | X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_NO_CHECK_TIME);
    X509_STORE_CTX_set_verify_cb(ctx, note_objection);
    X509_STORE_CTX_set_verify(ctx, any_signature);
    (void)X509_verify_cert(ctx);
    judged = sk_X509_num(X509_STORE_CTX_get0_chain(ctx)) > 1 && X509_STORE_CTX_get_error(ctx) != X509_V_ERR_OUT_OF_MEM;
    ERR_clear_error();
    return judged ? E_OK : err_set(e, E_NOMEM, "X509_verify_cert");
}

static enum err_code object(X509_STORE *store, X509 *ca, struct err *e)
{
    struct objection o = {.ca = ca};

    /* What looks wrong for want of memory is right the second time. */
    if (object_once(store, &o, e) != E_OK || (o.code != X509_V_OK && object_once(store, &o, e) != E_OK))
        return e->code;
    return o.code == X509_V_OK ? E_OK : err_set(e, E_INVALID, "no device below it would be let in (RFC 5280): %s", X509_verify_cert_error_string(o.code));
}

/* ---- reading ---- */

static enum err_code take_cert(STACK_OF(X509) *all, X509_STORE *store, struct bytes der, struct err *e)
{
    AUTO(X509) *x = NULL;
    struct cert read;

    if (cert_read(der, &read, e) != E_OK)
        return e->code;
    if (!read.is_ca)
        return err_set(e, E_INVALID, "it is not a CA");
    x = x509_whole(der);
    if (!x || !is_whole(x) || X509_STORE_add_cert(store, x) != 1)
        return err_openssl(e, E_INVALID, "X509_STORE_add_cert");
    if (sk_X509_push(all, x) <= 0)
        return err_set(e, E_NOMEM, "out of memory");
    (void)TAKE(x);
    return E_OK;
}

/* E_NOT_FOUND: there is no further one. */
static enum err_code take_next(STACK_OF(X509) *all, X509_STORE *store, struct bytes text, struct buf *pem, struct err *e)
{
    AUTO_BUF der = BUF_INIT(CERT_MAX_LEN);
    enum err_code code = pem_read(text, "CERTIFICATE", (size_t)sk_X509_num(all), &der, e);

    if (code == E_OK && (code = take_cert(all, store, buf_bytes(&der), e)) == E_OK && pem)
        pem_write(pem, "CERTIFICATE", buf_bytes(&der));
    return code;
}

enum err_code anchor_pem_read(struct bytes text, X509_STORE **out, struct buf *pem, struct err *e)
{
    AUTO(X509_STORE) *store = X509_STORE_new();
    STACK_OF(X509) *all = sk_X509_new_null();
    enum err_code code = store && all ? E_OK : err_set(e, E_NOMEM, "out of memory");
    int n = 0;

    *out = NULL;
    while (code == E_OK && (code = take_next(all, store, text, pem, e)) == E_OK)
        n++;
    if (code == E_NOT_FOUND)
        code = n ? E_OK : err_set(e, E_INVALID, "it is not there");
    if (code == E_OK) { /* when all are there: a chain goes up through the others */
        X509_STORE_set_check_issued(store, is_issued);
        for (n = 0; n < sk_X509_num(all) && code == E_OK; n++)
            code = object(store, sk_X509_value(all, n), e);
        n -= code != E_OK;
        X509_STORE_set_check_issued(store, NULL); /* OpenSSL's own */
    }
    sk_X509_pop_free(all, X509_free);
    if (code != E_OK)
        return err_wrap(e, "certificate %d", n + 1);
    *out = TAKE(store);
    return E_OK;
}
