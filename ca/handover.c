/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/handover.h"

#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/auto.h"

AUTO_TYPE(X509, X509_free)
AUTO_TYPE(BIGNUM, BN_free)
AUTO_TYPE(json_t, json_decref)

/* ---- tree ---- */

static void hash_node(const uint8_t left[32], const uint8_t right[32], uint8_t out[32])
{
    uint8_t both[65] = {1};

    memcpy(both + 1, left, 32);
    memcpy(both + 33, right, 32);
    sha256(BYTES_OF(both), out);
}

/* node[k] is the hash of 2^k leaves where bit k of n is set: adding counts in binary. */
void merkle_add(struct merkle *t, struct bytes leaf)
{
    static const uint8_t zero = 0;
    uint8_t hash[32];
    unsigned k = 0;

    sha256_2(BYTES(&zero, 1), leaf, hash);
    for (; t->n >> k & 1; k++)
        hash_node(t->node[k], hash, hash);
    memcpy(t->node[k], hash, 32);
    t->n++;
}

void merkle_root(const struct merkle *t, uint8_t root[32])
{
    bool any = false;

    for (unsigned k = 0; k < ARRAY_LEN(t->node); k++) {
        if (!(t->n >> k & 1))
            continue;
        if (any)
            hash_node(t->node[k], root, root);
        else
            memcpy(root, t->node[k], 32);
        any = true;
    }
    if (!any)
        sha256((struct bytes){NULL, 0}, root);
}

/* ---- judging a list ---- */

enum err_code list_check_begin(struct list_check *k, struct record_judge *judge, struct bytes index, struct err *e)
{
    const json_t *count;

    memset(k, 0, sizeof(*k));
    k->judge = judge;
    if (record_open(judge, index, UNIT_INDEX_TYP, &k->index, e) != E_OK)
        return err_wrap(e, "index");
    count = json_object_get(k->index, "count");
    k->order = json_string_value(json_object_get(k->index, "order"));
    k->export_id = json_string_value(json_object_get(k->index, "export"));
    if (!json_is_integer(count) || json_integer_value(count) < 0 || !k->order || !k->export_id ||
        !json_is_string(json_object_get(k->index, "root")))
        return err_set(e, E_INVALID, "index: count, order, export or root is missing");
    k->count = (uint64_t)json_integer_value(count);
    return E_OK;
}

static enum err_code line_error(const struct list_check *k, enum err_code code, const char *text, struct err *e)
{
    return err_set(e, code, "line %llu: %s", (unsigned long long)k->lines + 1, text);
}

enum err_code list_check_line(struct list_check *k, struct bytes line, struct err *e)
{
    AUTO(json_t) *unit = NULL;
    const char *order, *export_id;
    const json_t *place;

    if (record_open(k->judge, line, UNIT_LINE_TYP, &unit, e) != E_OK)
        return err_wrap(e, "line %llu", (unsigned long long)k->lines + 1);
    order = json_string_value(json_object_get(unit, "order"));
    export_id = json_string_value(json_object_get(unit, "export"));
    place = json_object_get(unit, "index");
    if (!order || strcmp(order, k->order) != 0)
        return line_error(k, E_CONFLICT, "it is of another order", e);
    if (!export_id || strcmp(export_id, k->export_id) != 0)
        return line_error(k, E_CONFLICT, "it is of another export of this order", e);
    if (!json_is_integer(place) || (uint64_t)json_integer_value(place) < k->lines)
        return line_error(k, E_CONFLICT, "it is an extra one: its unit stands above already", e);
    if ((uint64_t)json_integer_value(place) > k->lines)
        return err_set(e, E_CONFLICT, "line %llu is missing: in its place stands what belongs to line %lld",
                       (unsigned long long)k->lines + 1, (long long)json_integer_value(place) + 1);
    if (k->lines >= k->count)
        return line_error(k, E_CONFLICT, "it is an extra one: the index counts fewer", e);
    merkle_add(&k->tree, line);
    k->lines++;
    return E_OK;
}

enum err_code list_check_end(struct list_check *k, struct err *e)
{
    uint8_t root[32];
    char hex[65];

    if (k->lines < k->count)
        return err_set(e, E_CONFLICT, "line %llu is missing: the index counts %llu lines", (unsigned long long)k->lines + 1,
                       (unsigned long long)k->count);
    merkle_root(&k->tree, root);
    hex_encode(root, sizeof(root), hex);
    if (strcmp(hex, json_string_value(json_object_get(k->index, "root"))) != 0)
        return err_set(e, E_CONFLICT, "the lines are not those of the index: the root of their tree is %s", hex);
    return E_OK;
}

void list_check_clear(struct list_check *k)
{
    json_decref(k->index);
    memset(k, 0, sizeof(*k));
}

/* ---- keys ---- */

static json_t *json_base64url(struct bytes b)
{
    AUTO_BUF text = BUF_INIT(4096);

    base64url_encode(&text, b);
    return buf_ok(&text) ? json_stringn((const char *)text.p, text.len) : NULL;
}

/* A number of the key, `len` octets long; 0: as short as it is. */
static json_t *number_of(EVP_PKEY *key, const char *param, size_t len)
{
    AUTO(BIGNUM) *n = NULL;
    uint8_t raw[1024];
    int size;

    if (EVP_PKEY_get_bn_param(key, param, &n) != 1)
        return NULL;
    size = len ? (int)len : BN_num_bytes(n);
    if (size > (int)sizeof(raw) || BN_bn2binpad(n, raw, size) < 0)
        return NULL;
    return json_base64url(BYTES(raw, size));
}

static json_t *jwk_ec(EVP_PKEY *key)
{
    bool p256 = jws_alg_of_key(key) == SIG_ECDSA_SHA256;
    size_t len = p256 ? 32 : 48;

    return json_pack("{s:s, s:s, s:o, s:o}", "kty", "EC", "crv", p256 ? "P-256" : "P-384", "x",
                     number_of(key, OSSL_PKEY_PARAM_EC_PUB_X, len), "y", number_of(key, OSSL_PKEY_PARAM_EC_PUB_Y, len));
}

json_t *jwk_of_certificate(struct bytes der)
{
    const unsigned char *p = der.p;
    AUTO(X509) *cert = d2i_X509(NULL, &p, (long)der.len);
    EVP_PKEY *key = cert ? X509_get0_pubkey(cert) : NULL;
    uint8_t raw[32];
    size_t len = sizeof(raw);

    if (!key)
        return NULL;
    if (EVP_PKEY_is_a(key, "RSA"))
        return json_pack("{s:s, s:o, s:o}", "kty", "RSA", "n", number_of(key, OSSL_PKEY_PARAM_RSA_N, 0), "e",
                         number_of(key, OSSL_PKEY_PARAM_RSA_E, 0));
    switch (jws_alg_of_key(key)) {
    case SIG_ECDSA_SHA256:
    case SIG_ECDSA_SHA384:
        return jwk_ec(key);
    case SIG_ED25519:
        if (EVP_PKEY_get_raw_public_key(key, raw, &len) != 1)
            return NULL;
        return json_pack("{s:s, s:s, s:o}", "kty", "OKP", "crv", "Ed25519", "x", json_base64url(BYTES_OF(raw)));
    default:
        return NULL;
    }
}
