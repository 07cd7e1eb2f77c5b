/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/anchor.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "base/oid.h"
#include "ca/anchor_pem.h"
#include "ca/pki_int.h"

#define VERIFY_DEPTH CLIENT_CHAIN_COUNT
#define ISSUERS_MAX  64 /* remembered at once; the oldest gives way */

AUTO_TYPE(X509, X509_free)
AUTO_TYPE(X509_STORE_CTX, X509_STORE_CTX_free)

struct anchor {
    char name[ID_MAX_LEN + 1];
    X509_STORE *store; /* NULL: an anchor that is one of our own CAs, whose leaves are rows of the ledger */
    struct buf pem;
};

/* A CA whose chain to the anchor was found good, with what was sent above the leaf then. */
struct issuer {
    const struct anchor *anchor;
    struct buf sent_der;
    struct bytes sent[CLIENT_CHAIN_COUNT]; /* into sent_der */
    size_t sent_n;
    struct buf der;
    struct cert cert;    /* into der */
    struct pubkey key;   /* into der */
    int64_t from, until; /* its whole chain is valid: from <= now < until */
};

struct anchors {
    struct anchor *anchor;
    size_t n;
    struct issuer issuer[ISSUERS_MAX];
    size_t issuer_n, oldest;
};

/* ---- the anchors ---- */

static void issuer_clear(struct issuer *i)
{
    buf_clear(&i->der);
    buf_clear(&i->sent_der);
}

void anchors_forget(struct anchors *a)
{
    for (size_t i = 0; i < a->issuer_n; i++)
        issuer_clear(&a->issuer[i]);
    a->issuer_n = a->oldest = 0;
}

void anchors_free(struct anchors *a)
{
    if (!a)
        return;
    anchors_forget(a);
    for (size_t i = 0; i < a->n; i++) {
        X509_STORE_free(a->anchor[i].store);
        buf_clear(&a->anchor[i].pem);
    }
    free(a->anchor);
    free(a);
}

static enum err_code anchor_read(const struct conf_anchor *conf, struct anchor *out, struct err *e)
{
    AUTO_BUF text = BUF_INIT(ANCHOR_FILE_MAX);

    if (file_read(conf->file, &text, e) != E_OK || anchor_pem_read(buf_bytes(&text), &out->store, &out->pem, e) != E_OK)
        return err_wrap(e, "anchor \"%s\"", conf->name);
    return E_OK;
}

struct anchors *anchors_read(const struct conf *conf, struct err *e)
{
    struct anchors *all = calloc(1, sizeof(*all));
    enum err_code code = all ? E_OK : err_set(e, E_NOMEM, "anchors");

    if (all && !(all->anchor = calloc(conf->anchors_n + 1, sizeof(*all->anchor))))
        code = err_set(e, E_NOMEM, "anchors");
    for (size_t i = 0; i < conf->anchors_n && code == E_OK; i++) {
        struct anchor *a = &all->anchor[all->n++];

        snprintf(a->name, sizeof(a->name), "%s", conf->anchors[i].name);
        buf_init(&a->pem, 2 * ANCHOR_FILE_MAX);
        if (conf->anchors[i].file && conf->anchors[i].file[0])
            code = anchor_read(&conf->anchors[i], a, e);
    }
    if (code == E_OK)
        return all;
    anchors_free(all);
    return NULL;
}

void anchors_add_pem(const struct anchors *a, struct buf *out)
{
    for (size_t i = 0; i < a->n; i++)
        buf_add_bytes(out, buf_bytes(&a->anchor[i].pem));
}

/* ---- a whole chain, by OpenSSL ---- */

/* The DER of one certificate of a chain that was judged. */
static bool der_of(X509 *x, struct buf *out)
{
    unsigned char *der = NULL;
    int len = i2d_X509(x, &der);

    buf_init(out, CERT_MAX_LEN);
    if (len > 0)
        buf_add(out, der, (size_t)len);
    OPENSSL_free(der);
    return len > 0 && buf_ok(out);
}

/* When all certificates above the leaf are valid. false: not readable, or one says more about leaves than that it signs them. */
static bool issuers_window(STACK_OF(X509) *chain, struct issuer *out)
{
    out->from = INT64_MIN;
    out->until = INT64_MAX;
    for (int i = 1; i < sk_X509_num(chain); i++) {
        X509 *x = sk_X509_value(chain, i);
        AUTO_BUF der = BUF_INIT(0);
        struct err ignored;
        struct cert ca;

        if (X509_get_ext_by_NID(x, NID_name_constraints, -1) >= 0 || !der_of(x, &der) ||
            cert_read(buf_bytes(&der), &ca, &ignored) != E_OK)
            return false;
        if (ca.not_before > out->from)
            out->from = ca.not_before;
        if (ca.not_after < out->until)
            out->until = ca.not_after;
    }
    return true;
}

/* The same certificates in the same order. */
static bool was_sent(const struct issuer *i, const struct bytes *above, size_t n)
{
    if (n != i->sent_n)
        return false;
    for (size_t k = 0; k < n; k++)
        if (!bytes_equal(above[k], i->sent[k]))
            return false;
    return true;
}

static bool sent_take(struct issuer *i, const struct bytes *above, size_t n)
{
    size_t at = 0;

    if (n > ARRAY_LEN(i->sent))
        return false;
    for (size_t k = 0; k < n; k++)
        buf_add_bytes(&i->sent_der, above[k]);
    if (!buf_ok(&i->sent_der))
        return false;
    for (size_t k = 0; k < n; at += above[k++].len)
        i->sent[k] = BYTES(i->sent_der.p + at, above[k].len);
    i->sent_n = n;
    return true;
}

/* Where this CA is remembered already, else the next place. */
static struct issuer *issuer_place(struct anchors *all, const struct issuer *found)
{
    struct issuer *place;

    for (size_t i = 0; i < all->issuer_n; i++)
        if (all->issuer[i].anchor == found->anchor && was_sent(&all->issuer[i], found->sent, found->sent_n) &&
            bytes_equal(buf_bytes(&all->issuer[i].der), buf_bytes(&found->der)))
            return &all->issuer[i];
    if (all->issuer_n < ISSUERS_MAX)
        return &all->issuer[all->issuer_n++];
    place = &all->issuer[all->oldest];
    all->oldest = (all->oldest + 1) % ISSUERS_MAX;
    return place;
}

/* The chain was found good: its leaf's issuer is remembered. What cannot be remembered is judged anew the next time. */
static void issuer_remember(struct anchors *all, const struct anchor *a, STACK_OF(X509) *chain, const struct bytes *above,
                            size_t above_n)
{
    struct issuer found = {.anchor = a, .sent_der = BUF_INIT(CLIENT_CHAIN_MAX_LEN), .der = BUF_INIT(0)};
    struct issuer *place;
    struct err ignored;

    if (sk_X509_num(chain) < 2 || !der_of(sk_X509_value(chain, 1), &found.der) || !issuers_window(chain, &found) ||
        cert_read(buf_bytes(&found.der), &found.cert, &ignored) != E_OK || !found.cert.is_ca || found.cert.ski.len == 0 ||
        !(found.cert.key_usage & USAGE_KEY_CERT_SIGN) || name_check(found.cert.subject, "subject", &ignored) != E_OK ||
        pubkey_read(found.cert.spki, &found.key, &ignored) != E_OK || !sent_take(&found, above, above_n)) {
        issuer_clear(&found);
        return;
    }
    place = issuer_place(all, &found);
    issuer_clear(place);
    *place = found;
}

static bool chain_verifies(X509_STORE_CTX *ctx, const struct anchor *a, X509 *leaf, STACK_OF(X509) *others, int64_t now)
{
    X509_VERIFY_PARAM *param;

    X509_STORE_CTX_cleanup(ctx);
    if (X509_STORE_CTX_init(ctx, a->store, leaf, others) != 1)
        return false;
    param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_time(param, now);
    X509_VERIFY_PARAM_set_depth(param, VERIFY_DEPTH);
    X509_VERIFY_PARAM_set_auth_level(param, ANCHOR_AUTH_LEVEL);
    X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_ANY);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT | X509_V_FLAG_PARTIAL_CHAIN);
    return X509_verify_cert(ctx) == 1;
}

/* E_DENIED, E_NOMEM: `e` says why. */
static enum err_code chain_judge(struct anchors *all, const struct anchor *a, const struct bytes *chain, size_t chain_n,
                                 int64_t now, struct err *e)
{
    AUTO(X509) *leaf = x509_whole(chain[0]);
    AUTO(X509_STORE_CTX) *ctx = X509_STORE_CTX_new();
    STACK_OF(X509) *others = sk_X509_new_null();
    bool complete = leaf && ctx && others, good = false;

    for (size_t i = 1; complete && i < chain_n; i++) {
        X509 *x = x509_whole(chain[i]);
        complete = x && sk_X509_push(others, x) > 0;
        if (!complete)
            X509_free(x);
    }
    /* For want of memory OpenSSL also says that a signature is wrong or an issuer unknown: what is wrong is wrong again. */
    for (int i = 0; complete && !good && i < 2; i++)
        good = chain_verifies(ctx, a, leaf, others, now);
    if (good)
        issuer_remember(all, a, X509_STORE_CTX_get0_chain(ctx), chain + 1, chain_n - 1);
    sk_X509_pop_free(others, X509_free);
    if (good)
        return E_OK;
    if (!complete || X509_STORE_CTX_get_error(ctx) == X509_V_ERR_OUT_OF_MEM)
        return err_openssl(e, complete ? E_NOMEM : E_DENIED, "X509_verify_cert");
    ERR_clear_error();
    return err_set(e, E_DENIED, "%s", X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
}

/* ---- a leaf below a CA that is remembered ---- */

/* keyIdentifier and nothing else. */
static bool aki_is_plain(struct bytes value)
{
    struct der in, seq, id;

    der_init(&in, value.p, value.len);
    return der_take(&in, DER_SEQUENCE, &seq) && der_take(&seq, DER_CONTEXT(0), &id) && der_at_end(&seq);
}

/* otherName with a SEQUENCE or an UTF8String in it (hardwareModuleName, permanentIdentifier). */
static bool other_name_is_plain(struct der name)
{
    struct der value, content;
    struct bytes type;
    uint8_t tag;

    return der_take_oid(&name, &type) && der_take(&name, DER_CONTEXT_CONSTRUCTED(0), &value) && der_at_end(&name) &&
           der_take_any(&value, &tag, &content, NULL) && der_at_end(&value) &&
           (tag == DER_SEQUENCE || tag == DER_UTF8_STRING);
}

static bool san_is_plain(struct bytes value)
{
    struct der in, names, name;
    uint8_t tag;

    der_init(&in, value.p, value.len);
    if (!der_take(&in, DER_SEQUENCE, &names) || der_at_end(&names))
        return false;
    while (!der_at_end(&names)) {
        if (!der_take_any(&names, &tag, &name, NULL))
            return false;
        if (tag == DER_CONTEXT_CONSTRUCTED(0)) {
            if (!other_name_is_plain(name))
                return false;
        } else if (tag != DER_CONTEXT(1) && tag != DER_CONTEXT(2) && tag != DER_CONTEXT(6) && tag != DER_CONTEXT(7)) {
            return false;
        }
    }
    return true;
}

/* Extensions whose form cert_read has seen, or which say nothing about validity and are not critical. */
static bool extension_is_plain(const struct cert *leaf, const struct extension *x)
{
    if (bytes_equal(x->oid, OID_AKI))
        return !x->critical && aki_is_plain(x->value);
    if (bytes_equal(x->oid, OID_SAN))
        return san_is_plain(x->value);
    if (bytes_equal(x->oid, OID_KEY_USAGE))
        return leaf->key_usage != 0 && !(leaf->key_usage & (USAGE_KEY_CERT_SIGN | USAGE_CRL_SIGN));
    if (bytes_equal(x->oid, OID_BASIC_CONSTRAINTS))
        return !leaf->is_ca && leaf->path_len == -1;
    if (bytes_equal(x->oid, OID_EKU))
        return true;
    return !x->critical &&
           (bytes_equal(x->oid, OID_SKI) || bytes_equal(x->oid, OID_AIA) || bytes_equal(x->oid, OID_POLICIES));
}

static bool leaf_is_plain(const struct cert *leaf, const struct pubkey *key)
{
    struct der list;
    struct extension x;
    struct err ignored;

    if (key->alg == KEY_NONE || leaf->is_ca || leaf->has_unique_ids || leaf->aki.len == 0 || name_is_empty(leaf->subject) ||
        name_check(leaf->subject, "subject", &ignored) != E_OK || name_matches(leaf->subject, leaf->issuer))
        return false;
    der_init(&list, leaf->extensions.p, leaf->extensions.len);
    while (!der_at_end(&list))
        if (!extension_take(&list, &x) || !extension_is_plain(leaf, &x))
            return false;
    return true;
}

static bool issuer_serves(const struct issuer *i, const struct anchor *a, const struct bytes *chain, size_t chain_n,
                          const struct cert *leaf, int64_t now)
{
    return i->anchor == a && bytes_equal(i->cert.subject, leaf->issuer) && bytes_equal(i->cert.ski, leaf->aki) &&
           now >= i->from && now < i->until && was_sent(i, chain + 1, chain_n - 1);
}

/* true: it verifies. false says nothing. */
static bool verifies_below_known(const struct anchors *all, const struct anchor *a, const struct bytes *chain, size_t chain_n,
                                 const struct cert *leaf, const struct pubkey *key, int64_t now)
{
    if (now < leaf->not_before || now >= leaf->not_after || !leaf_is_plain(leaf, key))
        return false;
    for (size_t k = 0; k < all->issuer_n; k++) {
        const struct issuer *i = &all->issuer[k];

        if (issuer_serves(i, a, chain, chain_n, leaf, now) && pubkey_verifies(&i->key, leaf->sig_alg, leaf->tbs, leaf->sig))
            return true;
    }
    return false;
}

enum err_code anchor_judge(struct anchors *all, const char *name, const struct bytes *chain, size_t chain_n,
                           const struct cert *leaf, const struct pubkey *key, int64_t now, struct err *e)
{
    for (size_t i = 0; i < all->n; i++) {
        const struct anchor *a = &all->anchor[i];

        if (strcmp(a->name, name) != 0 || !a->store)
            continue;
        if (verifies_below_known(all, a, chain, chain_n, leaf, key, now))
            return E_OK;
        return chain_judge(all, a, chain, chain_n, now, e);
    }
    return err_set(e, E_DENIED, "no anchor of this name has certificates");
}
