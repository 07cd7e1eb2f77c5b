/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/keytype.h"

#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/der.h"
#include "base/oid.h"

static const uint8_t p256_der[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
static const uint8_t p384_der[] = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22};
static const uint8_t ed25519_der[] = {0x06, 0x03, 0x2b, 0x65, 0x70};

#define DER(arr) {arr, sizeof(arr)}
static const struct key_type key_types[] = {
    /* alg          signature          RSA bits  curve             field  digest */
    {KEY_P256,    SIG_ECDSA_SHA256, 0,    DER(p256_der),    32, 32},
    {KEY_P384,    SIG_ECDSA_SHA384, 0,    DER(p384_der),    48, 48},
    {KEY_RSA2048, SIG_RSA_SHA256,   2048, {NULL, 0},        0,  32},
    {KEY_RSA3072, SIG_RSA_SHA256,   3072, {NULL, 0},        0,  32},
    {KEY_RSA4096, SIG_RSA_SHA256,   4096, {NULL, 0},        0,  32},
    {KEY_ED25519, SIG_ED25519,      0,    DER(ed25519_der), 0,  0 },
};
#undef DER

const struct key_type *key_type_of(enum key_alg alg)
{
    for (size_t i = 0; i < ARRAY_LEN(key_types); i++)
        if (key_types[i].alg == alg)
            return &key_types[i];
    return NULL;
}

const char *key_purpose_name(enum key_purpose p)
{
    static const char *const names[KEY_PURPOSES] = {
        [PURPOSE_CA] = "ca",
        [PURPOSE_OCSP] = "ocsp",
        [PURPOSE_AUDIT] = "audit",
        [PURPOSE_RECORD] = "record",
        [PURPOSE_FEED] = "feed",
    };

    return (unsigned)p < KEY_PURPOSES ? names[p] : "unknown";
}

/* RSAPublicKey (RFC 8017 A.1.1): modulus of 2048, 3072 or 4096 bits, an odd exponent of at most 64 bits. */
static enum key_alg rsa_alg(struct bytes key)
{
    struct der in, seq;
    struct bytes modulus;
    uint64_t exponent;

    der_init(&in, key.p, key.len);
    if (!der_take(&in, DER_SEQUENCE, &seq) || !der_at_end(&in) || !der_take_unsigned(&seq, &modulus) ||
        !der_take_u64(&seq, &exponent) || !der_at_end(&seq))
        return KEY_NONE;
    if (modulus.len == 0 || !(modulus.p[0] & 0x80) || exponent < 3 || exponent % 2 == 0)
        return KEY_NONE;
    for (size_t i = 0; i < ARRAY_LEN(key_types); i++)
        if (key_types[i].bits && key_types[i].bits == modulus.len * 8)
            return key_types[i].alg;
    return KEY_NONE;
}

static enum key_alg ec_alg(struct der *params, struct bytes point)
{
    struct bytes curve;
    enum key_alg alg;

    if (!der_take_oid(params, &curve) || !der_at_end(params))
        return KEY_NONE;
    alg = bytes_equal(curve, OID_P256) ? KEY_P256 : bytes_equal(curve, OID_P384) ? KEY_P384 : KEY_NONE;
    if (alg == KEY_NONE || point.len != 1 + 2 * key_type_of(alg)->field_len || point.p[0] != 0x04)
        return KEY_NONE;
    return alg;
}

enum err_code spki_view(struct bytes spki, struct spki_view *out, struct err *e)
{
    struct der in, seq, alg;
    struct bytes oid, bits;
    unsigned unused;
    enum key_alg found = KEY_NONE;

    *out = (struct spki_view){KEY_NONE, {NULL, 0}};
    if (spki.len > SPKI_MAX_LEN)
        return err_set(e, E_INVALID, "SPKI is %zu octets, at most %d", spki.len, SPKI_MAX_LEN);
    der_init(&in, spki.p, spki.len);
    if (!der_take(&in, DER_SEQUENCE, &seq) || !der_at_end(&in) || !der_take(&seq, DER_SEQUENCE, &alg) ||
        !der_take_oid(&alg, &oid) || !der_take_bits(&seq, &bits, &unused) || !der_at_end(&seq) || unused != 0)
        return err_set(e, E_INVALID, "SPKI: not a SubjectPublicKeyInfo (RFC 5280 4.1)");
    if (bytes_equal(oid, OID_EC_PUBLIC_KEY))
        found = ec_alg(&alg, bits);
    else if (bytes_equal(oid, OID_RSA) && der_take_null(&alg) && der_at_end(&alg))
        found = rsa_alg(bits);
    else if (bytes_equal(oid, OID_ED25519) && der_at_end(&alg) && bits.len == 32)
        found = KEY_ED25519;
    if (found == KEY_NONE)
        return err_set(e, E_INVALID, "SPKI: not P-256, P-384, RSA 2048/3072/4096 or Ed25519");
    *out = (struct spki_view){found, bits};
    return E_OK;
}

enum sig_alg sig_alg_for_spki(struct bytes spki)
{
    struct spki_view v;

    return spki_view(spki, &v, NULL) == E_OK ? key_type_of(v.alg)->sig : SIG_NONE;
}

bool key_label_format(enum key_purpose purpose, const char *name, uint32_t generation, char out[KEY_LABEL_MAX])
{
    int n;

    if ((unsigned)purpose >= KEY_PURPOSES || !id_is_valid(name) || generation == 0)
        return false;
    n = snprintf(out, KEY_LABEL_MAX, "%s/%s/%u", key_purpose_name(purpose), name, generation);
    return n > 0 && n < KEY_LABEL_MAX;
}

bool key_label_has_purpose(struct bytes label, enum key_purpose purpose)
{
    char text[KEY_LABEL_MAX], again[KEY_LABEL_MAX], *name, *gen, *end;
    unsigned long n;

    if (label.len == 0 || label.len >= sizeof(text) || memchr(label.p, '\0', label.len))
        return false;
    memcpy(text, label.p, label.len);
    text[label.len] = '\0';
    name = strchr(text, '/');
    gen = strrchr(text, '/');
    if (!name || gen == name)
        return false;
    *name++ = '\0';
    *gen++ = '\0';
    n = strtoul(gen, &end, 10);
    if (*end || n == 0 || n > UINT32_MAX || !key_label_format(purpose, name, (uint32_t)n, again))
        return false;
    return bytes_equal(label, bytes_str(again));
}
