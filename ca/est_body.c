/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/est_body.h"

#include <stdlib.h>

#include "base/auto.h"
#include "base/der.h"
#include "base/derw.h"
#include "base/limits.h"
#include "base/oid.h"

#define CERTS_ONLY_MAX 64

static int by_der(const void *a, const void *b)
{
    return bytes_cmp(*(const struct bytes *)a, *(const struct bytes *)b);
}

enum err_code certs_only_write(const struct bytes *certs, size_t n, struct buf *out, struct err *e)
{
    struct bytes sorted[CERTS_ONLY_MAX];
    struct derw w;

    if (n == 0 || n > CERTS_ONLY_MAX)
        return err_set(e, E_INTERNAL, "certs-only: %zu certificates, not 1 to %d", n, CERTS_ONLY_MAX);
    for (size_t i = 0; i < n; i++)
        sorted[i] = certs[i];
    qsort(sorted, n, sizeof sorted[0], by_der); /* SET OF in DER (X.690 11.6) */
    derw_init(&w, out);
    derw_begin(&w, DER_SEQUENCE);
    derw_oid(&w, OID_PKCS7_SIGNED_DATA);
    derw_begin(&w, DER_CONTEXT_CONSTRUCTED(0));
    derw_begin(&w, DER_SEQUENCE);
    derw_u64(&w, 1);
    derw_element(&w, DER_SET, BYTES(NULL, 0)); /* digestAlgorithms */
    derw_begin(&w, DER_SEQUENCE);              /* encapContentInfo without content */
    derw_oid(&w, OID_PKCS7_DATA);
    derw_end(&w);
    derw_begin(&w, DER_CONTEXT_CONSTRUCTED(0)); /* certificates */
    for (size_t i = 0; i < n; i++)
        derw_raw(&w, sorted[i]);
    derw_end(&w);
    derw_element(&w, DER_SET, BYTES(NULL, 0)); /* signerInfos */
    derw_end(&w);
    derw_end(&w);
    derw_end(&w);
    return derw_finish(&w) ? E_OK : err_set(e, E_NOMEM, "certs-only: no room");
}

/* What a client must know to make a key that we certify (RFC 8951 section 4). */
static const struct wish {
    enum key_alg alg;
    const struct bytes *type, *curve; /* type NULL: the scheme says it all */
    unsigned rsa_bits;
    const struct bytes *scheme;
} wishes[] = {
    {KEY_P256, &OID_EC_PUBLIC_KEY, &OID_P256, 0, &OID_ECDSA_SHA256},
    {KEY_P384, &OID_EC_PUBLIC_KEY, &OID_P384, 0, &OID_ECDSA_SHA384},
    {KEY_RSA2048, &OID_RSA, NULL, 2048, &OID_RSA_SHA256},
    {KEY_RSA3072, &OID_RSA, NULL, 3072, &OID_RSA_SHA256},
    {KEY_RSA4096, &OID_RSA, NULL, 4096, &OID_RSA_SHA256},
    {KEY_ED25519, NULL, NULL, 0, &OID_ED25519},
};

static void wish_write(struct derw *w, const struct wish *wish)
{
    if (wish->type) {
        derw_begin(w, DER_SEQUENCE);
        derw_oid(w, *wish->type);
        derw_begin(w, DER_SET);
        if (wish->curve)
            derw_oid(w, *wish->curve);
        else
            derw_u64(w, wish->rsa_bits);
        derw_end(w);
        derw_end(w);
    }
    derw_oid(w, *wish->scheme);
}

enum err_code csrattrs_write(const struct conf_profile *profile, struct buf *out, struct err *e)
{
    const struct wish *only = NULL;
    unsigned allowed = 0;
    struct derw w;

    for (size_t i = 0; i < ARRAY_LEN(wishes); i++) {
        if (!(profile->key_algs & KEY_BIT(wishes[i].alg)))
            continue;
        only = &wishes[i];
        allowed++;
    }
    /* RFC 9908 3.2: one key attribute at most, so a choice of key types cannot be said. */
    if (allowed != 1)
        only = NULL;
    if (!only && !profile->pop_required)
        return E_OK;
    derw_init(&w, out);
    derw_begin(&w, DER_SEQUENCE);
    if (profile->pop_required)
        derw_oid(&w, OID_CHALLENGE_PASSWORD);
    if (only)
        wish_write(&w, only);
    derw_end(&w);
    return derw_finish(&w) ? E_OK : err_set(e, E_NOMEM, "csrattrs: no room");
}
