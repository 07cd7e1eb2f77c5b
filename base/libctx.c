/* SPDX-License-Identifier: Apache-2.0 */
#include "base/libctx.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/x509.h>

#include "base/auto.h"

#define ALGORITHMS_MAX 64

/* Keys of certificates, of key exchanges, and what libssl makes into keys (its MACs and key derivations). */
static const char *const key_types[] = {"EC", "X25519", "RSA", "RSA-PSS", "ED25519", "ED448", "HMAC", "HKDF", "TLS1-PRF"};
/* Keys of certificates. */
static const char *const read_types[] = {"EC", "RSA", "RSA-PSS", "ED25519", "ED448"};

/* The default provider, in a context of its own. Written once by libctx_lean. */
static OSSL_PROVIDER *inner;
static struct shortened {
    int operation;
    OSSL_ALGORITHM list[ALGORITHMS_MAX];
} shortened[] = {{.operation = OSSL_OP_KEYMGMT}, {.operation = OSSL_OP_DECODER}, {.operation = OSSL_OP_ENCODER}};

/* An algorithm's names are "EC:id-ecPublicKey:1.2.840.10045.2.1"; the first counts. */
static bool is_one_of(const OSSL_ALGORITHM *a, const char *const *names, size_t n)
{
    size_t len = strcspn(a->algorithm_names, ":");

    for (size_t i = 0; i < n; i++)
        if (strlen(names[i]) == len && strncasecmp(a->algorithm_names, names[i], len) == 0)
            return true;
    return false;
}

static bool is_wanted(int operation, const OSSL_ALGORITHM *a)
{
    const char *properties = a->property_definition ? a->property_definition : "";

    switch (operation) {
    case OSSL_OP_KEYMGMT:
        return is_one_of(a, key_types, ARRAY_LEN(key_types));
    case OSSL_OP_DECODER:
        return is_one_of(a, read_types, ARRAY_LEN(read_types)) && strstr(properties, "input=der") &&
               strstr(properties, "structure=SubjectPublicKeyInfo");
    default: /* OSSL_OP_ENCODER */
        return is_one_of(a, read_types, ARRAY_LEN(read_types)) && strstr(properties, "output=der") &&
               strstr(properties, "structure=SubjectPublicKeyInfo");
    }
}

/* What is wanted of one operation. Stays empty, and then all of it is handed out, should it ever outgrow our room. */
static void shorten(struct shortened *s)
{
    int no_cache = 0;
    const OSSL_ALGORITHM *all = OSSL_PROVIDER_query_operation(inner, s->operation, &no_cache);
    size_t n = 0;

    for (const OSSL_ALGORITHM *a = all; a && a->algorithm_names; a++)
        if (is_wanted(s->operation, a)) {
            if (n + 1 == ALGORITHMS_MAX) {
                memset(s->list, 0, sizeof(s->list));
                return;
            }
            s->list[n++] = *a;
        }
}

static const OSSL_ALGORITHM *query(void *ctx, int operation, int *no_cache)
{
    const OSSL_ALGORITHM *all = OSSL_PROVIDER_query_operation(inner, operation, no_cache);

    (void)ctx;
    for (size_t i = 0; i < ARRAY_LEN(shortened); i++)
        if (shortened[i].operation == operation && shortened[i].list[0].algorithm_names)
            return shortened[i].list;
    return all;
}

static int capabilities(void *ctx, const char *capability, OSSL_CALLBACK *cb, void *arg)
{
    (void)ctx;
    return OSSL_PROVIDER_get_capabilities(inner, capability, cb, arg);
}

static const OSSL_PARAM *gettable_params(void *ctx)
{
    static const OSSL_PARAM params[] = {OSSL_PARAM_DEFN(OSSL_PROV_PARAM_STATUS, OSSL_PARAM_INTEGER, NULL, 0), OSSL_PARAM_END};

    (void)ctx;
    return params;
}

static int get_params(void *ctx, OSSL_PARAM params[])
{
    OSSL_PARAM *status = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_STATUS);

    (void)ctx;
    return !status || OSSL_PARAM_set_int(status, 1);
}

static int provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out, void **ctx)
{
    static const OSSL_DISPATCH functions[] = {
        {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query},
        {OSSL_FUNC_PROVIDER_GET_CAPABILITIES, (void (*)(void))capabilities},
        {OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, (void (*)(void))gettable_params},
        {OSSL_FUNC_PROVIDER_GET_PARAMS, (void (*)(void))get_params},
        {0, NULL},
    };

    (void)handle;
    (void)in;
    *out = functions;
    *ctx = OSSL_PROVIDER_get0_provider_ctx(inner); /* what the functions handed out work on */
    return *ctx != NULL;
}

static OSSL_LIB_CTX *lean_new(void)
{
    OSSL_LIB_CTX *home = OSSL_LIB_CTX_new(), *lean = OSSL_LIB_CTX_new();

    inner = home ? OSSL_PROVIDER_load(home, "default") : NULL;
    for (size_t i = 0; inner && i < ARRAY_LEN(shortened); i++)
        shorten(&shortened[i]);
    if (inner && lean && OSSL_PROVIDER_add_builtin(lean, "inkan-lean", provider_init) == 1 &&
        OSSL_PROVIDER_load(lean, "inkan-lean"))
        return lean;
    OSSL_LIB_CTX_free(lean);
    if (inner)
        OSSL_PROVIDER_unload(inner);
    inner = NULL;
    OSSL_LIB_CTX_free(home);
    ERR_clear_error();
    return NULL;
}

OSSL_LIB_CTX *libctx_lean(void)
{
    static OSSL_LIB_CTX *lean;
    static bool tried;

    if (!tried && OpenSSL_version_num() < 0x30100000L)
        lean = lean_new();
    tried = true;
    return lean;
}

X509 *libctx_x509(struct bytes der)
{
    const unsigned char *p = der.p;
    X509 *cert = der.len <= INT_MAX ? X509_new_ex(libctx_lean(), NULL) : NULL;

    if (!cert || !d2i_X509(&cert, &p, (long)der.len)) /* which frees it on failure */
        return NULL;
    if (p != der.p + der.len) {
        X509_free(cert);
        return NULL;
    }
    return cert;
}
