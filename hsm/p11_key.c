/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/der.h"
#include "base/derw.h"
#include "base/log.h"
#include "base/oid.h"
#include "hsm/p11.h"

#define OBJECTS_MAX    16384 /* on one token */
#define CANDIDATES_MAX 8     /* with one CKA_ID */
#define ATTR_MAX       2048  /* octets of one attribute we read */

/* ---- attributes ---- */

/* Objects are read one attribute at a time. An attribute that is absent says something about the object; a lost session or
 * a failed device says nothing about it, and what was concluded without the attribute is void. */
struct reader {
    const struct p11 *m;
    CK_SESSION_HANDLE s;
    CK_RV trouble; /* the first of the second kind, else CKR_OK */
};

static bool attr_get(struct reader *r, CK_OBJECT_HANDLE o, CK_ATTRIBUTE *a)
{
    CK_RV rv = r->m->f->C_GetAttributeValue(r->s, o, a, 1);

    if (rv != CKR_OK && rv != CKR_BUFFER_TOO_SMALL && rv_class(rv) != RV_JOB && r->trouble == CKR_OK)
        r->trouble = rv;
    return rv == CKR_OK;
}

enum tri { NO = 0, YES = 1, UNKNOWN = 2 };

static enum tri attr_bool(struct reader *r, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_TYPE type)
{
    CK_BBOOL v = 0xff;
    CK_ATTRIBUTE a = {type, &v, sizeof(v)};

    if (!attr_get(r, o, &a) || a.ulValueLen != sizeof(v) || v > 1)
        return UNKNOWN;
    return v ? YES : NO;
}

/* The value into `room`. false: absent, unreadable or too long. */
static bool attr_bytes(struct reader *r, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_TYPE type, uint8_t *room, size_t size,
                       struct bytes *out)
{
    CK_ATTRIBUTE a = {type, room, size};

    *out = (struct bytes){NULL, 0};
    if (!attr_get(r, o, &a) || a.ulValueLen > size)
        return false;
    *out = BYTES(room, a.ulValueLen);
    return true;
}

static bool attr_ulong(struct reader *r, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_TYPE type, CK_ULONG *out)
{
    CK_ATTRIBUTE a = {type, out, sizeof(*out)};

    return attr_get(r, o, &a) && a.ulValueLen == sizeof(*out);
}

/* The key policy, as one table: what a private key must say of itself. */
static const struct rule {
    CK_ATTRIBUTE_TYPE type;
    const char *name;
    enum tri want;
    bool in_template;    /* asked for at generation */
    bool unknown_passes; /* modules that do not know the attribute are accepted */
} policy[] = {
    /*                      name                 want  template  unknown */
    {CKA_TOKEN,             "TOKEN",             YES,  true,     false},
    {CKA_PRIVATE,           "PRIVATE",           YES,  true,     false},
    {CKA_SENSITIVE,         "SENSITIVE",         YES,  true,     false},
    {CKA_EXTRACTABLE,       "EXTRACTABLE",       NO,   true,     false},
    {CKA_ALWAYS_SENSITIVE,  "ALWAYS_SENSITIVE",  YES,  false,    false},
    {CKA_NEVER_EXTRACTABLE, "NEVER_EXTRACTABLE", YES,  false,    false},
    {CKA_MODIFIABLE,        "MODIFIABLE",        NO,   true,     false},
    {CKA_SIGN,              "SIGN",              YES,  true,     false},
    {CKA_SIGN_RECOVER,      "SIGN_RECOVER",      NO,   true,     true },
    {CKA_DECRYPT,           "DECRYPT",           NO,   true,     false},
    {CKA_UNWRAP,            "UNWRAP",            NO,   true,     false},
    {CKA_DERIVE,            "DERIVE",            NO,   true,     false},
};

/* Compares a private key with the policy and writes what it says to `text`. */
static enum err_code policy_check(struct reader *r, CK_OBJECT_HANDLE o, char *text, size_t size, struct err *e)
{
    const struct rule *broken = NULL;
    enum tri found = UNKNOWN;
    size_t at = 0;

    if (size)
        text[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(policy); i++) {
        enum tri v = attr_bool(r, o, policy[i].type);

        if (at < size)
            at += (size_t)snprintf(text + at, size - at, "%s%s=%c", at ? " " : "", policy[i].name, "01?"[v]);
        if (v == policy[i].want || (v == UNKNOWN && policy[i].unknown_passes) || broken)
            continue;
        broken = &policy[i];
        found = v;
    }
    if (broken)
        return err_set(e, E_CONFLICT, "key policy: CKA_%s is %s, must be %s", broken->name,
                       found == UNKNOWN ? "unreadable" : found == YES ? "true" : "false",
                       broken->want == YES ? "true" : "false");
    return E_OK;
}

/* ---- objects ---- */

static CK_RV find_objects(const struct p11 *m, CK_SESSION_HANDLE s, CK_OBJECT_CLASS class, const struct bytes *id,
                          const char *label, CK_OBJECT_HANDLE *out, size_t max, size_t *n)
{
    CK_ATTRIBUTE t[3] = {{CKA_CLASS, &class, sizeof(class)}};
    CK_ULONG tn = 1, got;
    CK_RV rv, end;

    *n = 0;
    if (id)
        t[tn++] = (CK_ATTRIBUTE){CKA_ID, (void *)(uintptr_t)id->p, id->len};
    if (label)
        t[tn++] = (CK_ATTRIBUTE){CKA_LABEL, (void *)(uintptr_t)label, strlen(label)};
    rv = m->f->C_FindObjectsInit(s, t, tn);
    if (rv != CKR_OK)
        return rv;
    while (*n < max) {
        got = 0;
        rv = m->f->C_FindObjects(s, out + *n, max - *n, &got);
        if (rv != CKR_OK || got == 0)
            break;
        *n += got;
    }
    end = m->f->C_FindObjectsFinal(s);
    return rv != CKR_OK ? rv : end;
}

/* CKA_EC_POINT is a DER OCTET STRING by the standard; some modules give the bare point. */
static struct bytes bare_point(struct bytes v, const struct key_type *type)
{
    size_t want = type->field_len ? 1 + 2 * type->field_len : 32;
    struct der in;
    struct bytes inner;

    if (v.len == want)
        return v;
    der_init(&in, v.p, v.len);
    if (der_take_octets(&in, &inner) && der_at_end(&in) && inner.len == want)
        return inner;
    return (struct bytes){NULL, 0};
}

static const char ed25519_name[] = "edwards25519";

static enum key_alg ec_alg_of(struct bytes params)
{
    struct der in, text;

    for (enum key_alg a = KEY_NONE + 1; a < KEY_ALGS; a++)
        if (key_type_of(a)->curve_der.len && bytes_equal(params, key_type_of(a)->curve_der))
            return a;
    der_init(&in, params.p, params.len); /* PKCS#11 3.0 also allows the curve's name */
    if (der_take(&in, DER_PRINTABLE_STRING, &text) && bytes_equal(der_rest(&text), bytes_str(ed25519_name)))
        return KEY_ED25519;
    return KEY_NONE;
}

static void write_spki(struct buf *out, const struct key_type *type, struct bytes key)
{
    struct derw w;

    derw_init(&w, out);
    derw_begin(&w, DER_SEQUENCE);
    derw_begin(&w, DER_SEQUENCE);
    if (type->bits) {
        derw_oid(&w, OID_RSA);
        derw_null(&w);
    } else if (type->field_len) {
        derw_oid(&w, OID_EC_PUBLIC_KEY);
        derw_raw(&w, type->curve_der);
    } else {
        derw_oid(&w, OID_ED25519);
    }
    derw_end(&w);
    derw_bits(&w, key, 0);
    derw_end(&w);
    if (!derw_finish(&w))
        out->failed = true;
}

static enum err_code rsa_spki(struct reader *r, CK_OBJECT_HANDLE pub, struct buf *out, struct err *e)
{
    uint8_t n_room[ATTR_MAX], e_room[64];
    struct bytes modulus, exponent;
    AUTO_BUF key = BUF_INIT(SPKI_MAX_LEN);
    struct derw w;

    if (!attr_bytes(r, pub, CKA_MODULUS, n_room, sizeof(n_room), &modulus) ||
        !attr_bytes(r, pub, CKA_PUBLIC_EXPONENT, e_room, sizeof(e_room), &exponent))
        return err_set(e, E_CONFLICT, "public key: CKA_MODULUS or CKA_PUBLIC_EXPONENT cannot be read");
    derw_init(&w, &key);
    derw_begin(&w, DER_SEQUENCE);
    derw_unsigned(&w, modulus);
    derw_unsigned(&w, exponent);
    derw_end(&w);
    if (!derw_finish(&w))
        return err_set(e, E_NOMEM, "public key");
    write_spki(out, key_type_of(KEY_RSA2048), buf_bytes(&key));
    return E_OK;
}

static enum err_code ec_spki(struct reader *r, CK_OBJECT_HANDLE pub, struct buf *out, struct err *e)
{
    uint8_t p_room[256], q_room[512];
    struct bytes params, value, point;
    const struct key_type *type;

    if (!attr_bytes(r, pub, CKA_EC_PARAMS, p_room, sizeof(p_room), &params) ||
        !attr_bytes(r, pub, CKA_EC_POINT, q_room, sizeof(q_room), &value))
        return err_set(e, E_CONFLICT, "public key: CKA_EC_PARAMS or CKA_EC_POINT cannot be read");
    type = key_type_of(ec_alg_of(params));
    if (!type)
        return err_set(e, E_CONFLICT, "public key: not P-256, P-384 or Ed25519");
    point = bare_point(value, type);
    if (point.len == 0)
        return err_set(e, E_CONFLICT, "public key: CKA_EC_POINT of %zu octets is not a point of its curve", value.len);
    write_spki(out, type, point);
    return E_OK;
}

/* The SPKI of a public key object (or of a private one that carries the same attributes). */
static enum err_code object_spki(struct reader *r, CK_OBJECT_HANDLE o, struct buf *out, struct err *e)
{
    CK_ULONG type = 0;
    struct spki_view view;
    enum err_code rc;

    buf_reset(out);
    if (!attr_ulong(r, o, CKA_KEY_TYPE, &type))
        return err_set(e, E_CONFLICT, "public key: CKA_KEY_TYPE cannot be read");
    if (type == CKK_RSA)
        rc = rsa_spki(r, o, out, e);
    else if (type == CKK_EC || type == CKK_EC_EDWARDS)
        rc = ec_spki(r, o, out, e);
    else
        rc = err_set(e, E_CONFLICT, "public key: CKA_KEY_TYPE 0x%lx is not one of ours", type);
    if (rc == E_OK && !buf_ok(out))
        rc = err_set(e, E_NOMEM, "public key");
    if (rc == E_OK)
        rc = spki_view(buf_bytes(out), &view, e);
    return rc;
}

/* ---- resolve ---- */

/* Starts with text, so that it is no DER object anybody could mistake it for. */
static const char nonce_prefix[] = "inkan-key-test ";

enum err_code p11_public_spki(const struct p11 *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE pub, struct buf *out, CK_RV *rv,
                              struct err *e)
{
    struct reader r = {m, session, CKR_OK};
    enum err_code code = object_spki(&r, pub, out, e);

    *rv = r.trouble;
    return *rv == CKR_OK ? code : err_rv(e, *rv, "C_GetAttributeValue");
}

enum err_code p11_test_key(const struct p11 *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key,
                           const struct key_type *type, struct verifier *v, CK_RV *rv, struct err *e)
{
    uint8_t message[sizeof(nonce_prefix) - 1 + 32], room[64], sig[SIGNATURE_ROOM];
    const char *call = "";
    struct bytes input;
    size_t len;

    *rv = CKR_OK;
    memcpy(message, nonce_prefix, sizeof(nonce_prefix) - 1);
    if (random_bytes(message + sizeof(nonce_prefix) - 1, 32, e) != E_OK ||
        sign_input(type, BYTES_OF(message), room, &input, e) != E_OK)
        return e->code == E_NOMEM ? E_NOMEM : E_CRYPTO;
    *rv = p11_sign(m, session, key, type, input, sig, &len, &call);
    if (*rv != CKR_OK)
        return err_rv(e, *rv, call);
    if (verifier_judge(v, input, BYTES(sig, len), e) != E_OK)
        return e->code == E_NOMEM ? E_NOMEM : err_set(e, E_CRYPTO, "test signature does not verify with the expected public key");
    return E_OK;
}

static enum err_code check_label(struct reader *r, CK_OBJECT_HANDLE o, enum key_purpose purpose, struct err *e)
{
    uint8_t room[KEY_LABEL_MAX];
    struct bytes label;

    if (!attr_bytes(r, o, CKA_LABEL, room, sizeof(room), &label))
        return err_set(e, E_CONFLICT, "CKA_LABEL cannot be read");
    if (!key_label_has_purpose(label, purpose))
        return err_set(e, E_CONFLICT, "CKA_LABEL \"%.*s\" does not name the purpose \"%s\"", (int)label.len,
                       (const char *)label.p, key_purpose_name(purpose));
    return E_OK;
}

/* A public object is decoration, yet one that contradicts the expected key means that somebody was at the token. */
static enum err_code check_public(const struct p11 *m, CK_SESSION_HANDLE s, const struct p11_key_want *want, CK_RV *rv,
                                  struct err *e)
{
    struct reader r = {.m = m, .s = s};
    CK_OBJECT_HANDLE pub[CANDIDATES_MAX];
    AUTO_BUF spki = BUF_INIT(SPKI_MAX_LEN);
    size_t n;

    *rv = find_objects(m, s, CKO_PUBLIC_KEY, &want->cka_id, NULL, pub, CANDIDATES_MAX, &n);
    if (*rv != CKR_OK)
        return err_rv(e, *rv, "C_FindObjects");
    for (size_t i = 0; i < n; i++) {
        if (object_spki(&r, pub[i], &spki, e) != E_OK) {
            *rv = r.trouble;
            return *rv != CKR_OK ? err_rv(e, *rv, "C_GetAttributeValue") : err_wrap(e, "public object");
        }
        if (!bytes_equal(buf_bytes(&spki), want->spki))
            return err_set(e, E_CONFLICT, "the token's public key with this CKA_ID is another one");
    }
    return E_OK;
}

enum err_code p11_find_key(const struct p11 *m, CK_SESSION_HANDLE session, const struct p11_key_want *want,
                           struct verifier *v, CK_OBJECT_HANDLE *out, CK_RV *rv, struct err *e)
{
    CK_OBJECT_HANDLE prv[CANDIDATES_MAX];
    struct spki_view view;
    enum err_code rc = E_NOT_FOUND;
    char hex[2 * 64 + 1];
    size_t n;

    *out = CK_INVALID_HANDLE;
    *rv = CKR_OK;
    if (want->cka_id.len == 0 || want->cka_id.len > 64)
        return err_set(e, E_INVALID, "CKA_ID of %zu octets", want->cka_id.len);
    if (spki_view(want->spki, &view, e) != E_OK)
        return E_INVALID;
    *rv = find_objects(m, session, CKO_PRIVATE_KEY, &want->cka_id, NULL, prv, CANDIDATES_MAX, &n);
    if (*rv != CKR_OK)
        return err_rv(e, *rv, "C_FindObjects");
    hex_encode(want->cka_id.p, want->cka_id.len, hex);
    if (n == 0)
        return err_set(e, E_NOT_FOUND, "no private key with CKA_ID %s", hex);
    if (check_public(m, session, want, rv, e) != E_OK)
        return err_wrap(e, "key with CKA_ID %s", hex);
    for (size_t i = 0; i < n; i++) {
        struct reader r = {.m = m, .s = session};

        rc = check_label(&r, prv[i], want->purpose, e);
        if (rc == E_OK)
            rc = policy_check(&r, prv[i], NULL, 0, e);
        *rv = r.trouble;
        if (*rv != CKR_OK)
            rc = err_rv(e, *rv, "C_GetAttributeValue");
        else if (rc == E_OK)
            rc = p11_test_key(m, session, prv[i], key_type_of(view.alg), v, rv, e);
        if (rc == E_CRYPTO) /* signs, but not for this public key: not the key we were told about */
            rc = err_set(e, E_CONFLICT, "the private key does not belong to the expected public key");
        if (rc == E_OK) {
            *out = prv[i];
            return E_OK;
        }
        if (*rv != CKR_OK)
            break;
    }
    return err_wrap(e, "key with CKA_ID %s", hex);
}

static enum err_code destroy_all(const struct p11 *m, CK_SESSION_HANDLE s, CK_OBJECT_CLASS class, struct bytes id,
                                 struct err *e)
{
    CK_OBJECT_HANDLE o[CANDIDATES_MAX];
    size_t n;
    CK_RV rv = find_objects(m, s, class, &id, NULL, o, CANDIDATES_MAX, &n);

    for (size_t i = 0; rv == CKR_OK && i < n; i++) {
        rv = m->f->C_DestroyObject(s, o[i]);
        if (rv != CKR_OK)
            return err_rv(e, rv, "C_DestroyObject");
    }
    if (rv == CKR_OK && n)
        rv = find_objects(m, s, class, &id, NULL, o, 1, &n);
    if (rv != CKR_OK)
        return err_rv(e, rv, "C_FindObjects");
    return n ? err_set(e, E_TOKEN, "read back: an object with this CKA_ID is still there") : E_OK;
}

/* ---- generate ---- */

static const CK_BBOOL ck_true = CK_TRUE, ck_false = CK_FALSE;
#define BOOL_ATTR(t, v) ((CK_ATTRIBUTE){(t), (void *)(uintptr_t)((v) ? &ck_true : &ck_false), sizeof(CK_BBOOL)})
#define VALUE_ATTR(t, p, n) ((CK_ATTRIBUTE){(t), (void *)(uintptr_t)(p), (n)})

struct pair {
    CK_OBJECT_HANDLE pub, prv;
};

/* `allowed` and `copyable`: the two attributes not every module takes. */
static CK_RV generate_pair(const struct p11 *m, CK_SESSION_HANDLE s, const struct key_type *type, const char *label,
                           const uint8_t id[CKA_ID_LEN], bool allowed, bool copyable, struct pair *out)
{
    static const CK_BYTE exponent[] = {0x01, 0x00, 0x01};
    CK_MECHANISM mech = {type->bits         ? CKM_RSA_PKCS_KEY_PAIR_GEN
                         : type->digest_len ? CKM_EC_KEY_PAIR_GEN
                                            : CKM_EC_EDWARDS_KEY_PAIR_GEN,
                         NULL, 0};
    CK_MECHANISM_TYPE only = type->bits ? CKM_RSA_PKCS : type->digest_len ? CKM_ECDSA : CKM_EDDSA;
    CK_ULONG bits = type->bits, pn = 0, sn = 0;
    CK_ATTRIBUTE pub[8], prv[ARRAY_LEN(policy) + 4];

    pub[pn++] = BOOL_ATTR(CKA_TOKEN, true);
    pub[pn++] = BOOL_ATTR(CKA_VERIFY, true);
    pub[pn++] = VALUE_ATTR(CKA_ID, id, CKA_ID_LEN);
    pub[pn++] = VALUE_ATTR(CKA_LABEL, label, strlen(label));
    if (type->bits) {
        pub[pn++] = VALUE_ATTR(CKA_MODULUS_BITS, &bits, sizeof(bits));
        pub[pn++] = VALUE_ATTR(CKA_PUBLIC_EXPONENT, exponent, sizeof(exponent));
    } else {
        pub[pn++] = VALUE_ATTR(CKA_EC_PARAMS, type->curve_der.p, type->curve_der.len);
    }
    for (size_t i = 0; i < ARRAY_LEN(policy); i++)
        if (policy[i].in_template)
            prv[sn++] = BOOL_ATTR(policy[i].type, policy[i].want == YES);
    prv[sn++] = VALUE_ATTR(CKA_ID, id, CKA_ID_LEN);
    prv[sn++] = VALUE_ATTR(CKA_LABEL, label, strlen(label));
    if (allowed)
        prv[sn++] = VALUE_ATTR(CKA_ALLOWED_MECHANISMS, &only, sizeof(only));
    if (copyable)
        prv[sn++] = BOOL_ATTR(CKA_COPYABLE, false);
    return m->f->C_GenerateKeyPair(s, &mech, pub, pn, prv, sn, &out->pub, &out->prv);
}

/* Softokn says CKR_GENERAL_ERROR to an optional attribute it does not store; a device that is really broken says the same
 * to every further try. */
static bool template_refused(CK_RV rv)
{
    return rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_VALUE_INVALID || rv == CKR_TEMPLATE_INCONSISTENT ||
           rv == CKR_ATTRIBUTE_READ_ONLY || rv == CKR_ARGUMENTS_BAD || rv == CKR_GENERAL_ERROR;
}

static enum err_code label_is_free(const struct p11 *m, CK_SESSION_HANDLE s, const char *label, struct err *e)
{
    CK_OBJECT_HANDLE o;
    size_t n;
    CK_RV rv = find_objects(m, s, CKO_PRIVATE_KEY, NULL, label, &o, 1, &n);

    if (rv != CKR_OK)
        return err_rv(e, rv, "C_FindObjects");
    return n ? err_set(e, E_CONFLICT, "a key \"%s\" is on the token already", label) : E_OK;
}

static enum err_code check_new(const struct p11 *m, CK_SESSION_HANDLE s, const struct key_type *type,
                               const struct pair *pair, struct p11_new_key *out, struct err *e)
{
    struct reader r = {.m = m, .s = s};
    uint8_t room[64];
    struct verifier *v = NULL;
    struct spki_view view;
    struct bytes id;
    enum err_code rc;
    CK_RV rv;

    if (policy_check(&r, pair->prv, out->attributes, sizeof(out->attributes), e) != E_OK)
        return e->code;
    if (!attr_bytes(&r, pair->prv, CKA_ID, room, sizeof(room), &id) || !bytes_equal(id, BYTES_OF(out->cka_id)))
        return err_set(e, E_CONFLICT, "key policy: CKA_ID is not the one asked for");
    if (object_spki(&r, pair->pub, &out->spki, e) != E_OK)
        return e->code;
    if (spki_view(buf_bytes(&out->spki), &view, e) != E_OK)
        return e->code;
    if (view.alg != type->alg)
        return err_set(e, E_CONFLICT, "the token made a key of another kind than asked for");
    rc = verifier_new(buf_bytes(&out->spki), &v, e);
    if (rc == E_OK)
        rc = p11_test_key(m, s, pair->prv, type, v, &rv, e);
    verifier_free(v);
    return rc;
}

/* What the optional attributes became; modules drop some silently. */
static void note_optional(const struct p11 *m, CK_SESSION_HANDLE s, const struct pair *pair, struct p11_new_key *out)
{
    static const char *const text[] = {"0", "1", "?"};
    struct reader r = {.m = m, .s = s};
    uint8_t room[8 * sizeof(CK_MECHANISM_TYPE)];
    struct bytes allowed;
    size_t at = strlen(out->attributes);
    bool one = attr_bytes(&r, pair->prv, CKA_ALLOWED_MECHANISMS, room, sizeof(room), &allowed) &&
               allowed.len == sizeof(CK_MECHANISM_TYPE);

    snprintf(out->attributes + at, sizeof(out->attributes) - at, " LOCAL=%s COPYABLE=%s ALLOWED_MECHANISMS=%s",
             text[attr_bool(&r, pair->prv, CKA_LOCAL)], text[attr_bool(&r, pair->prv, CKA_COPYABLE)],
             one ? "1" : "any");
}

enum err_code p11_generate(const struct p11 *m, CK_SESSION_HANDLE session, enum key_alg alg, const char *label,
                           struct p11_new_key *out, struct err *e)
{
    static const struct {
        bool allowed, copyable;
    } tries[] = {{true, true}, {false, true}, {true, false}, {false, false}};
    const struct key_type *type = key_type_of(alg);
    struct pair pair = {CK_INVALID_HANDLE, CK_INVALID_HANDLE};
    CK_RV rv = CKR_GENERAL_ERROR;
    struct err why = {0};

    *out = (struct p11_new_key){.spki = BUF_INIT(SPKI_MAX_LEN)};
    if (!type)
        return err_set(e, E_INVALID, "key \"%s\": no such kind of key", label);
    if (label_is_free(m, session, label, e) != E_OK)
        return e ? e->code : E_CONFLICT;
    if (random_bytes(out->cka_id, CKA_ID_LEN, e) != E_OK)
        return E_CRYPTO;
    for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
        rv = generate_pair(m, session, type, label, out->cka_id, tries[i].allowed, tries[i].copyable, &pair);
        if (!template_refused(rv))
            break;
        (void)destroy_all(m, session, CKO_PRIVATE_KEY, BYTES_OF(out->cka_id), &why); /* a half a failed try left */
        (void)destroy_all(m, session, CKO_PUBLIC_KEY, BYTES_OF(out->cka_id), &why);
    }
    if (rv != CKR_OK) {
        err_rv(e, rv, "C_GenerateKeyPair");
        return err_wrap(e, "key \"%s\" (%s)", label, key_alg_name(alg));
    }
    if (check_new(m, session, type, &pair, out, &why) != E_OK) {
        CK_RV gone = m->f->C_DestroyObject(session, pair.prv);

        (void)m->f->C_DestroyObject(session, pair.pub);
        buf_clear(&out->spki);
        err_set(e, E_TOKEN, "key \"%s\" (%s) refused%s: %.300s", label, key_alg_name(alg),
                gone == CKR_OK ? " and destroyed" : ", AND THE TOKEN DID NOT DESTROY IT", why.msg);
        if (e)
            e->native = why.native;
        return E_TOKEN;
    }
    note_optional(m, session, &pair, out);
    return E_OK;
}

/* ---- destroy ---- */

enum err_code p11_destroy(const struct p11 *m, CK_SESSION_HANDLE session, struct bytes cka_id, struct bytes spki,
                          struct err *e)
{
    struct p11_key_want want = {cka_id, spki, PURPOSE_CA};
    CK_OBJECT_HANDLE prv[CANDIDATES_MAX], pub;
    struct verifier *v = NULL;
    struct spki_view view;
    enum err_code rc;
    size_t n, pubs;
    CK_RV rv;

    if (cka_id.len == 0 || cka_id.len > 64)
        return err_set(e, E_INVALID, "CKA_ID of %zu octets", cka_id.len);
    rc = verifier_new(spki, &v, e);
    if (rc == E_OK)
        rc = spki_view(spki, &view, e);
    if (rc == E_OK && (rv = find_objects(m, session, CKO_PRIVATE_KEY, &cka_id, NULL, prv, CANDIDATES_MAX, &n)) != CKR_OK)
        rc = err_rv(e, rv, "C_FindObjects");
    if (rc == E_OK && (rv = find_objects(m, session, CKO_PUBLIC_KEY, &cka_id, NULL, &pub, 1, &pubs)) != CKR_OK)
        rc = err_rv(e, rv, "C_FindObjects");
    if (rc == E_OK && n == 0 && pubs == 0)
        rc = err_set(e, E_NOT_FOUND, "no key with that CKA_ID");
    if (rc == E_OK)
        rc = check_public(m, session, &want, &rv, e);
    for (size_t i = 0; rc == E_OK && i < n; i++) { /* every private object proves that it is the key we were told */
        rc = p11_test_key(m, session, prv[i], key_type_of(view.alg), v, &rv, e);
        if (rc == E_CRYPTO)
            rc = err_set(e, E_CONFLICT, "a private key with this CKA_ID does not belong to the given public key");
    }
    verifier_free(v);
    if (rc == E_OK)
        rc = destroy_all(m, session, CKO_PRIVATE_KEY, cka_id, e);
    if (rc == E_OK)
        rc = destroy_all(m, session, CKO_PUBLIC_KEY, cka_id, e);
    if (rc == E_OK)
        rc = destroy_all(m, session, CKO_CERTIFICATE, cka_id, e);
    return rc;
}

/* ---- list ---- */

static void list_common(struct reader *r, CK_OBJECT_HANDLE o, struct p11_listed *l)
{
    uint8_t room[512];
    struct bytes v;

    l->spki = BUF_INIT(SPKI_MAX_LEN);
    if (attr_bytes(r, o, CKA_LABEL, room, sizeof(room), &v)) {
        size_t n = v.len < sizeof(l->label) - 1 ? v.len : sizeof(l->label) - 1;

        for (size_t i = 0; i < n; i++)
            l->label[i] = v.p[i] < 0x20 || v.p[i] >= 0x7f ? '?' : (char)v.p[i];
    }
    if (attr_bytes(r, o, CKA_ID, l->cka_id, sizeof(l->cka_id), &v))
        l->cka_id_len = v.len;
}

static void list_spki(struct reader *r, CK_OBJECT_HANDLE pub, struct p11_listed *l)
{
    struct spki_view view;

    snprintf(l->alg, sizeof(l->alg), "unknown");
    if (object_spki(r, pub, &l->spki, NULL) == E_OK && spki_view(buf_bytes(&l->spki), &view, NULL) == E_OK)
        snprintf(l->alg, sizeof(l->alg), "%s", key_alg_name(view.alg));
    else
        buf_reset(&l->spki);
}

static CK_RV list_private(struct reader *r, CK_OBJECT_HANDLE o, struct p11_listed *l)
{
    CK_OBJECT_HANDLE pub[2];
    struct err why = {0};
    struct bytes id;
    size_t n = 0;
    CK_RV rv = CKR_OK;

    list_common(r, o, l);
    id = BYTES(l->cka_id, l->cka_id_len);
    if (id.len)
        rv = find_objects(r->m, r->s, CKO_PUBLIC_KEY, &id, NULL, pub, 2, &n);
    if (rv != CKR_OK)
        return rv;
    if (n)
        list_spki(r, pub[0], l);
    else
        snprintf(l->alg, sizeof(l->alg), "unknown");
    l->never_extractable = attr_bool(r, o, CKA_NEVER_EXTRACTABLE) == YES;
    if (policy_check(r, o, l->flags, sizeof(l->flags), &why) != E_OK) {
        size_t at = strlen(l->flags);
        snprintf(l->flags + at, sizeof(l->flags) - at, " POLICY-DIFFERS");
    }
    return r->trouble;
}

static bool has_private(const struct p11_listed *l, size_t n, const struct p11_listed *pub)
{
    for (size_t i = 0; i < n; i++)
        if (bytes_equal(BYTES(l[i].cka_id, l[i].cka_id_len), BYTES(pub->cka_id, pub->cka_id_len)))
            return true;
    return false;
}

void p11_listed_free(struct p11_listed *l, size_t n)
{
    for (size_t i = 0; l && i < n; i++)
        buf_clear(&l[i].spki);
    free(l);
}

enum err_code p11_list(const struct p11 *m, CK_SESSION_HANDLE session, struct p11_listed **out, size_t *n,
                       struct err *e)
{
    CK_OBJECT_HANDLE *objects = calloc(OBJECTS_MAX, sizeof(*objects));
    struct reader r = {.m = m, .s = session};
    struct p11_listed *l = NULL;
    size_t prv_n = 0, pub_n = 0, at = 0, prv_listed;
    CK_RV rv;

    *out = NULL;
    *n = 0;
    if (!objects)
        return err_set(e, E_NOMEM, "list of keys");
    rv = find_objects(m, session, CKO_PRIVATE_KEY, NULL, NULL, objects, OBJECTS_MAX / 2, &prv_n);
    if (rv == CKR_OK)
        rv = find_objects(m, session, CKO_PUBLIC_KEY, NULL, NULL, objects + prv_n, OBJECTS_MAX / 2, &pub_n);
    if (rv == CKR_OK)
        l = calloc(prv_n + pub_n + 1, sizeof(*l));
    for (size_t i = 0; l && rv == CKR_OK && i < prv_n; i++)
        rv = list_private(&r, objects[i], &l[at++]);
    prv_listed = at;
    for (size_t i = prv_n; l && rv == CKR_OK && i < prv_n + pub_n; i++) {
        list_common(&r, objects[i], &l[at]);
        if (has_private(l, prv_listed, &l[at])) {
            buf_clear(&l[at].spki);
            memset(&l[at], 0, sizeof(l[at]));
            continue;
        }
        list_spki(&r, objects[i], &l[at]);
        snprintf(l[at].flags, sizeof(l[at].flags), "PUBLIC-ONLY");
        at++;
        rv = r.trouble;
    }
    free(objects);
    if (rv != CKR_OK || !l) {
        p11_listed_free(l, at);
        return rv != CKR_OK ? err_rv(e, rv, "list of keys") : err_set(e, E_NOMEM, "list of keys");
    }
    *out = l;
    *n = at;
    return E_OK;
}
