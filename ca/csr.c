/* SPDX-License-Identifier: Apache-2.0 */
/* CSRs (RFC 2986), read in place. docs/csr.md has the table of what is refused, ignored and used. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/der.h"
#include "base/oid.h"
#include "ca/cert.h"
#include "ca/csr.h"
#include "ca/pki_int.h"

#define CSR_ATTRIBUTES_MAX 32
#define CSR_EXTENSIONS_MAX 32
#define CSR_SAN_MAX        100
#define CSR_CAPABILITIES_MAX 64
#define CSR_BINDING_MAX    255 /* RFC 2985 pkcs-9-ub-challengePassword, RFC 7894 section 3 */

/* State of one reading beside what the caller gets. */
struct reading {
    struct csr *csr;
    unsigned extension_requests;
    bool has_linking, has_challenge;
    bool for_keygen;
    const char *denied; /* well formed, never granted: told only after the proof of possession */
};

/* ---- extensions asked for ---- */

typedef enum err_code (*extension_fn)(struct reading *r, struct bytes value, struct err *e);

static enum err_code general_name_check(struct reading *r, uint8_t tag, struct der *content, struct bytes raw,
                                        struct err *e)
{
    struct bytes v = der_rest(content);
    struct der inner;
    struct bytes oid, whole;
    uint8_t inner_tag;

    switch (tag) {
    case DER_CONTEXT(1): /* rfc822Name */
    case DER_CONTEXT(2): /* dNSName */
    case DER_CONTEXT(6): /* uniformResourceIdentifier */
        if (v.len == 0)
            return err_set(e, E_INVALID, "CSR subjectAltName: an empty name (RFC 5280 4.2.1.6)");
        for (size_t i = 0; i < v.len; i++)
            if (v.p[i] <= 0x20 || v.p[i] > 0x7e)
                return err_set(e, E_INVALID, "CSR subjectAltName: octet %02x in a name (RFC 5280 4.2.1.6)", v.p[i]);
        if (tag == DER_CONTEXT(2) && memchr(v.p, '*', v.len))
            r->denied = "a wildcard in subjectAltName";
        else if (tag == DER_CONTEXT(2) && !dns_name_is_valid(v))
            return err_set(e, E_INVALID, "CSR subjectAltName: a dNSName that is no host name (RFC 5280 4.2.1.6)");
        return E_OK;
    case DER_CONTEXT(7): /* iPAddress */
        if (v.len != 4 && v.len != 16)
            return err_set(e, E_INVALID, "CSR subjectAltName: iPAddress of %zu octets (RFC 5280 4.2.1.6)", v.len);
        return E_OK;
    case DER_CONTEXT(8): /* registeredID: check the content as an OID would be */
        if (v.len == 0 || v.len > 127 || (v.p[v.len - 1] & 0x80))
            return err_set(e, E_INVALID, "CSR subjectAltName: broken registeredID (RFC 5280 4.2.1.6)");
        return E_OK;
    case DER_CONTEXT_CONSTRUCTED(4): /* directoryName, explicit: Name is a CHOICE */
        if (!der_take_raw(content, DER_SEQUENCE, &inner, &whole) || !der_at_end(content) || der_at_end(&inner))
            return err_set(e, E_INVALID, "CSR subjectAltName: broken or empty directoryName (RFC 5280 4.2.1.6)");
        return name_check(whole, "CSR subjectAltName directoryName", e);
    case DER_CONTEXT_CONSTRUCTED(0): /* otherName */
        if (!der_take_oid(content, &oid) || !der_take(content, DER_CONTEXT_CONSTRUCTED(0), &inner) ||
            !der_at_end(content) || !der_take_any(&inner, &inner_tag, &(struct der){0}, NULL) || !der_at_end(&inner))
            return err_set(e, E_INVALID, "CSR subjectAltName: broken otherName (RFC 5280 4.2.1.6)");
        return E_OK;
    default:
        return err_set(e, E_INVALID, "CSR subjectAltName: name form %02x (%zu octets) is not taken", tag, raw.len);
    }
}

static enum err_code read_san(struct reading *r, struct bytes value, struct err *e)
{
    struct der in, names, content;
    struct bytes raw;
    uint8_t tag;
    unsigned n = 0;

    der_init(&in, value.p, value.len);
    if (!der_take(&in, DER_SEQUENCE, &names) || !der_at_end(&in) || der_at_end(&names))
        return err_set(e, E_INVALID, "CSR subjectAltName: not a sequence of at least one name (RFC 5280 4.2.1.6)");
    while (!der_at_end(&names)) {
        if (++n > CSR_SAN_MAX)
            return err_set(e, E_INVALID, "CSR subjectAltName: more than %d names", CSR_SAN_MAX);
        if (!der_take_any(&names, &tag, &content, &raw))
            return err_set(e, E_INVALID, "CSR subjectAltName: name %u is broken (RFC 5280 4.2.1.6)", n);
        if (general_name_check(r, tag, &content, raw, e) != E_OK)
            return E_INVALID;
    }
    r->csr->san = value;
    r->csr->has_san = true;
    return E_OK;
}

static enum err_code read_basic_constraints(struct reading *r, struct bytes value, struct err *e)
{
    struct der in, seq;
    bool ca = false;
    uint64_t path_len;

    der_init(&in, value.p, value.len);
    if (!der_take(&in, DER_SEQUENCE, &seq) || !der_at_end(&in) ||
        (der_peek(&seq, DER_BOOLEAN) && !der_take_bool(&seq, &ca)) ||
        (der_peek(&seq, DER_INTEGER) && !der_take_u64(&seq, &path_len)) || !der_at_end(&seq))
        return err_set(e, E_INVALID, "CSR basicConstraints: malformed (RFC 5280 4.2.1.9)");
    if (ca)
        r->denied = "basicConstraints CA:TRUE";
    return E_OK;
}

static enum err_code read_key_usage(struct reading *r, struct bytes value, struct err *e)
{
    struct der in;
    struct bytes bits;
    unsigned unused, usage = 0;

    der_init(&in, value.p, value.len);
    if (!der_take_bits(&in, &bits, &unused) || !der_at_end(&in) || bits.len > 2)
        return err_set(e, E_INVALID, "CSR keyUsage: malformed (RFC 5280 4.2.1.3)");
    for (size_t bit = 0; bit < bits.len * 8; bit++)
        if (bits.p[bit / 8] & (0x80u >> (bit % 8)))
            usage |= 1u << bit;
    if (usage & (USAGE_KEY_CERT_SIGN | USAGE_CRL_SIGN))
        r->denied = "keyUsage keyCertSign or cRLSign";
    r->csr->asks_key_usage = true;
    r->csr->key_usage = usage;
    return E_OK;
}

static enum err_code read_eku(struct reading *r, struct bytes value, struct err *e)
{
    struct der in, list;
    struct bytes oid;

    der_init(&in, value.p, value.len);
    if (!der_take(&in, DER_SEQUENCE, &list) || !der_at_end(&in) || der_at_end(&list))
        return err_set(e, E_INVALID, "CSR extKeyUsage: malformed (RFC 5280 4.2.1.12)");
    while (!der_at_end(&list)) {
        if (!der_take_oid(&list, &oid))
            return err_set(e, E_INVALID, "CSR extKeyUsage: malformed (RFC 5280 4.2.1.12)");
        if (bytes_equal(oid, OID_EKU_OCSP_SIGNING) || bytes_equal(oid, OID_EKU_CMC_RA))
            r->denied = "extKeyUsage OCSPSigning or cmcRA";
        r->csr->eku |= bytes_equal(oid, OID_EKU_SERVER_AUTH) ? EKU_SERVER_AUTH : 0u;
        r->csr->eku |= bytes_equal(oid, OID_EKU_CLIENT_AUTH) ? EKU_CLIENT_AUTH : 0u;
        if (bytes_equal(oid, OID_ANY_EKU))
            r->csr->eku |= EKU_SERVER_AUTH | EKU_CLIENT_AUTH;
    }
    r->csr->asks_eku = true;
    return E_OK;
}

/* What we know of; the profile decides all of it. Others are ignored unless they are marked critical. */
static const struct {
    const struct bytes *oid;
    extension_fn read; /* NULL: ignored */
} extensions[] = {
    {&OID_SAN, read_san},
    {&OID_BASIC_CONSTRAINTS, read_basic_constraints},
    {&OID_KEY_USAGE, read_key_usage},
    {&OID_EKU, read_eku},
    {&OID_SKI, NULL},
    {&OID_AKI, NULL},
    {&OID_ISSUER_ALT_NAME, NULL},
    {&OID_NAME_CONSTRAINTS, NULL},
    {&OID_CRLDP, NULL},
    {&OID_FRESHEST_CRL, NULL},
    {&OID_POLICIES, NULL},
    {&OID_POLICY_MAPPINGS, NULL},
    {&OID_POLICY_CONSTRAINTS, NULL},
    {&OID_INHIBIT_ANY_POLICY, NULL},
    {&OID_AIA, NULL},
    {&OID_SIA, NULL},
    {&OID_TLS_FEATURE, NULL},
    {&OID_OCSP_NOCHECK, NULL},
    {&OID_NO_REV_AVAIL, NULL},
    {&OID_NS_CERT_TYPE, NULL},
};

static enum err_code extension_read(struct reading *r, const struct extension *x, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(extensions); i++)
        if (bytes_equal(x->oid, *extensions[i].oid))
            return extensions[i].read ? extensions[i].read(r, x->value, e) : E_OK;
    if (x->critical)
        r->denied = "a critical extension we do not know";
    return E_OK;
}

bool extension_take(struct der *list, struct extension *out)
{
    struct der seq;

    *out = (struct extension){0};
    return der_take(list, DER_SEQUENCE, &seq) && der_take_oid(&seq, &out->oid) &&
           (!der_peek(&seq, DER_BOOLEAN) || der_take_bool(&seq, &out->critical)) &&
           der_take_octets(&seq, &out->value) && der_at_end(&seq);
}

bool oid_seen_add(struct oid_seen *seen, struct bytes oid)
{
    for (size_t i = 0; i < seen->n; i++)
        if (bytes_equal(seen->oid[i], oid))
            return false;
    if (seen->n == OID_SEEN_MAX)
        return false;
    seen->oid[seen->n++] = oid;
    return true;
}

/* ---- attributes ---- */

static enum err_code read_extension_request(struct reading *r, struct der *values, struct err *e)
{
    struct der list;
    struct extension x;
    struct oid_seen seen = {.n = 0};
    char text[96];

    if (++r->extension_requests > 1)
        return err_set(e, E_INVALID, "CSR: two extensionRequest attributes (RFC 2985 5.4.2)");
    if (!der_take(values, DER_SEQUENCE, &list) || !der_at_end(values) || der_at_end(&list))
        return err_set(e, E_INVALID, "CSR extensionRequest: not one list of extensions (RFC 2985 5.4.2)");
    while (!der_at_end(&list)) {
        if (!extension_take(&list, &x))
            return err_set(e, E_INVALID, "CSR extensionRequest: broken extension at octet %zu (RFC 5280 4.1)",
                           list.offset);
        if (!oid_seen_add(&seen, x.oid)) {
            oid_format(x.oid, text, sizeof text);
            return err_set(e, E_INVALID, "CSR extensionRequest: %s twice (RFC 5280 4.2)", text);
        }
        if (seen.n > CSR_EXTENSIONS_MAX)
            return err_set(e, E_INVALID, "CSR extensionRequest: more than %d extensions", CSR_EXTENSIONS_MAX);
        if (extension_read(r, &x, e) != E_OK)
            return E_INVALID;
    }
    return E_OK;
}

/* One DirectoryString; only the two types that must be read (RFC 7894 section 3). */
static enum err_code read_binding(struct der *values, const char *what, struct bytes *out, bool *had, struct err *e)
{
    struct der content;
    uint8_t tag;
    size_t chars;

    if (*had)
        return err_set(e, E_INVALID, "CSR: two %s attributes", what);
    *had = true;
    if (der_at_end(values))
        return err_set(e, E_INVALID, "CSR %s: no value", what);
    if (!der_take_any(values, &tag, &content, NULL) || !der_at_end(values))
        return err_set(e, E_INVALID, "CSR %s: not one value (RFC 2985 5.4.1, RFC 7894 section 3)", what);
    *out = der_rest(&content);
    if (tag != DER_PRINTABLE_STRING && tag != DER_UTF8_STRING)
        return err_set(e, E_INVALID, "CSR %s: string type %02x; PrintableString and UTF8String are taken", what, tag);
    if (out->len == 0 || out->len > CSR_BINDING_MAX)
        return err_set(e, E_INVALID, "CSR %s: %zu octets, not 1 to %d", what, out->len, CSR_BINDING_MAX);
    if (tag == DER_PRINTABLE_STRING ? !text_is_printable(*out) : !text_is_clean_utf8(*out, &chars))
        return err_set(e, E_INVALID, "CSR %s: octets outside its string type", what);
    return E_OK;
}

/* One OCTET STRING. */
static enum err_code read_key_id(struct der *values, const char *what, struct bytes *out, bool *had, struct err *e)
{
    if (*had)
        return err_set(e, E_INVALID, "CSR: two %s attributes", what);
    *had = true;
    if (!der_take_octets(values, out) || !der_at_end(values))
        return err_set(e, E_INVALID, "CSR %s: not one OCTET STRING (RFC 7030 4.4.1)", what);
    if (out->len == 0 || out->len > DECRYPT_KEY_ID_MAX)
        return err_set(e, E_INVALID, "CSR %s: %zu octets, not 1 to %d", what, out->len, DECRYPT_KEY_ID_MAX);
    return E_OK;
}

bool csr_capability_take(struct der *list, struct bytes *oid, struct bytes *parameters)
{
    struct der one, content;
    uint8_t tag;

    *parameters = (struct bytes){NULL, 0};
    return der_take(list, DER_SEQUENCE, &one) && der_take_oid(&one, oid) &&
           (der_at_end(&one) || (der_take_any(&one, &tag, &content, parameters) && der_at_end(&one)));
}

static enum err_code read_capabilities(struct csr_delivery *d, struct der *values, struct err *e)
{
    struct bytes oid, parameters;
    struct der list;
    unsigned n = 0;

    if (d->has_capabilities)
        return err_set(e, E_INVALID, "CSR: two SMIMECapabilities attributes");
    d->has_capabilities = true;
    if (!der_take(values, DER_SEQUENCE, &list) || !der_at_end(values))
        return err_set(e, E_INVALID, "CSR SMIMECapabilities: not one list (RFC 2633 2.5.2)");
    d->capabilities = der_rest(&list);
    while (!der_at_end(&list))
        if (++n > CSR_CAPABILITIES_MAX || !csr_capability_take(&list, &oid, &parameters))
            return err_set(e, E_INVALID, "CSR SMIMECapabilities: entry %u is broken or one too many (RFC 2633 2.5.2)", n);
    return E_OK;
}

static enum err_code delivery_read(struct csr_delivery *d, struct bytes oid, struct der *values, struct err *e)
{
    if (bytes_equal(oid, OID_DECRYPT_KEY_ID))
        return read_key_id(values, "DecryptKeyIdentifier", &d->symmetric_id, &d->has_symmetric, e);
    if (bytes_equal(oid, OID_ASYMM_DECRYPT_KEY_ID))
        return read_key_id(values, "AsymmetricDecryptKeyIdentifier", &d->asymmetric_id, &d->has_asymmetric, e);
    if (bytes_equal(oid, OID_SMIME_CAPABILITIES))
        return read_capabilities(d, values, e);
    return E_OK;
}

static enum err_code attribute_read(struct reading *r, struct bytes oid, struct der *values, struct err *e)
{
    struct csr *csr = r->csr;

    if (bytes_equal(oid, OID_EXTENSION_REQUEST) || bytes_equal(oid, OID_MS_EXTENSION_REQUEST))
        return read_extension_request(r, values, e);
    if (bytes_equal(oid, OID_CHALLENGE_PASSWORD))
        return read_binding(values, "challengePassword", &csr->challenge, &r->has_challenge, e);
    if (bytes_equal(oid, OID_EST_IDENTITY_LINKING))
        return read_binding(values, "estIdentityLinking", &csr->linking, &r->has_linking, e);
    if (bytes_equal(oid, OID_OTP_CHALLENGE) || bytes_equal(oid, OID_REVOCATION_CHALLENGE))
        return err_set(e, E_INVALID, "CSR: attribute %s is not supported (RFC 7894 section 3)", oid_name(oid));
    if (bytes_equal(oid, OID_CMC_CHANGE_SUBJECT))
        csr->change_subject = true;
    return r->for_keygen ? delivery_read(&csr->delivery, oid, values, e) : E_OK;
}

static enum err_code attributes_read(struct reading *r, struct der *attrs, struct err *e)
{
    struct der attr, values;
    struct bytes oid;
    unsigned n = 0;

    while (!der_at_end(attrs)) {
        if (++n > CSR_ATTRIBUTES_MAX)
            return err_set(e, E_INVALID, "CSR: more than %d attributes", CSR_ATTRIBUTES_MAX);
        if (!der_take(attrs, DER_SEQUENCE, &attr) || !der_take_oid(&attr, &oid) ||
            !der_take(&attr, DER_SET, &values) || !der_at_end(&attr))
            return err_set(e, E_INVALID, "CSR: attribute %u is broken (RFC 2986 4.1)", n);
        if (attribute_read(r, oid, &values, e) != E_OK)
            return E_INVALID;
    }
    r->csr->binding = r->has_challenge && r->has_linking ? CSR_BINDING_BOTH
                      : r->has_challenge                 ? CSR_BINDING_CHALLENGE
                      : r->has_linking                   ? CSR_BINDING_LINKING
                                                         : CSR_BINDING_NONE;
    return E_OK;
}

/* ---- the request ---- */

static enum err_code subject_read(struct csr *csr, struct err *e)
{
    if (name_check(csr->subject, "CSR subject", e) != E_OK)
        return E_INVALID;
    /* The checks above leave nothing that name_get could trip over but absence. */
    if (!name_get(csr->subject, OID_CN, csr->common_name, sizeof csr->common_name))
        csr->common_name[0] = '\0';
    if (!name_get(csr->subject, OID_SERIAL_NUMBER, csr->serial_number, sizeof csr->serial_number))
        csr->serial_number[0] = '\0';
    return E_OK;
}

/* Any SubjectPublicKeyInfo, of whatever kind. */
static enum err_code unread_key(struct bytes spki, struct pubkey *out, struct err *e)
{
    struct der in, info, algorithm;
    struct bytes bits;
    unsigned unused;

    *out = (struct pubkey){.alg = KEY_NONE, .spki = spki};
    der_init(&in, spki.p, spki.len);
    if (!der_take(&in, DER_SEQUENCE, &info) || !der_take(&info, DER_SEQUENCE, &algorithm) ||
        !der_take_bits(&info, &bits, &unused) || !der_at_end(&info))
        return err_set(e, E_INVALID, "CSR: broken subjectPKInfo (RFC 5280 4.1)");
    sha256(spki, out->spki_hash);
    return E_OK;
}

static enum err_code info_read(struct reading *r, struct der *info, struct err *e)
{
    struct csr *csr = r->csr;
    struct der content, attrs;
    struct bytes version, spki;
    enum err_code code;
    bool has_attrs;

    if (!der_take_integer(info, &version))
        return err_set(e, E_INVALID, "CSR: no version (RFC 2986 4.1)");
    if (version.len != 1 || version.p[0] != 0)
        return err_set(e, E_INVALID, "CSR: version is not v1(0) (RFC 2986 4.1)");
    if (!der_take_raw(info, DER_SEQUENCE, &content, &csr->subject))
        return err_set(e, E_INVALID, "CSR: no subject (RFC 2986 4.1)");
    if (!der_take_raw(info, DER_SEQUENCE, &content, &spki))
        return err_set(e, E_INVALID, "CSR: no subjectPKInfo (RFC 2986 4.1)");
    /* RFC 2986 4.1 wants the field even when empty; clients that leave it out exist. */
    if (!der_take_optional(info, DER_CONTEXT_CONSTRUCTED(0), &attrs, &has_attrs) || !der_at_end(info))
        return err_set(e, E_INVALID, "CSR: broken attributes field (RFC 2986 4.1)");
    if (subject_read(csr, e) != E_OK)
        return E_INVALID;
    if (has_attrs && attributes_read(r, &attrs, e) != E_OK)
        return E_INVALID;
    if (name_is_empty(csr->subject) && !csr->has_san)
        return err_set(e, E_INVALID, "CSR: empty subject without subjectAltName (RFC 5280 4.1.2.6)");
    if (r->for_keygen)
        return unread_key(spki, &csr->key, e);
    code = pubkey_read(spki, &csr->key, e);
    if (code != E_OK)
        (void)err_wrap(e, "CSR");
    return code;
}

static enum err_code possession_check(const struct csr *csr, struct err *e)
{
    char text[96];

    if (!pubkey_takes_sig_alg(&csr->key, csr->sig_alg)) {
        sig_alg_text(csr->sig_alg, text, sizeof text);
        return err_set(e, E_INVALID, "CSR: signature algorithm %s is not taken for a %s key", text,
                       key_alg_name(csr->key.alg));
    }
    if (!pubkey_verifies(&csr->key, csr->sig_alg, csr->tbs, csr->sig))
        return errno == ENOMEM ? err_set(e, E_NOMEM, "CSR: proof of possession: out of memory")
                               : err_set(e, E_INVALID, "CSR: proof of possession failed (RFC 2986 4.2)");
    return E_OK;
}

static enum err_code request_read(struct bytes der, bool for_keygen, struct csr *out, struct err *e)
{
    struct reading r = {.csr = out, .for_keygen = for_keygen};
    struct der in, req, info, content;
    unsigned unused;
    enum err_code code;

    *out = (struct csr){0};
    if (der.len > CSR_MAX_LEN)
        return err_set(e, E_INVALID, "CSR: %zu octets, at most %d", der.len, CSR_MAX_LEN);
    der_init(&in, der.p, der.len);
    if (!der_take(&in, DER_SEQUENCE, &req) || !der_at_end(&in))
        return err_set(e, E_INVALID, "CSR: not one DER SEQUENCE (RFC 2986 4.2)");
    if (!der_take_raw(&req, DER_SEQUENCE, &info, &out->tbs))
        return err_set(e, E_INVALID, "CSR: no certificationRequestInfo (RFC 2986 4.2)");
    if (!der_take_raw(&req, DER_SEQUENCE, &content, &out->sig_alg) || !der_take_bits(&req, &out->sig, &unused) ||
        !der_at_end(&req) || (!for_keygen && (unused != 0 || out->sig.len == 0)))
        return err_set(e, E_INVALID, "CSR: no signatureAlgorithm and signature (RFC 2986 4.2)");
    code = info_read(&r, &info, e);
    if (code == E_OK && !for_keygen)
        code = possession_check(out, e);
    if (code == E_OK && r.denied)
        code = err_set(e, E_DENIED, "CSR: asks for %s, which is never granted", r.denied);
    return code;
}

enum err_code csr_read(struct bytes der, struct csr *out, struct err *e)
{
    return request_read(der, false, out, e);
}

enum err_code csr_read_for_keygen(struct bytes der, struct csr *out, struct err *e)
{
    return request_read(der, true, out, e);
}

/* ---- later checks ---- */

enum err_code csr_check_usage(const struct csr *csr, const struct conf_profile *profile, struct err *e)
{
    if (csr->asks_key_usage && csr->key_usage && profile->key_usage && !(csr->key_usage & profile->key_usage))
        return err_set(e, E_INVALID, "CSR keyUsage: profile \"%s\" grants none of what is asked (RFC 5272 3.1)",
                       profile->name);
    if (csr->asks_eku && profile->eku && !(csr->eku & profile->eku))
        return err_set(e, E_INVALID, "CSR extKeyUsage: profile \"%s\" grants none of what is asked (RFC 5272 3.1)",
                       profile->name);
    return E_OK;
}

static enum err_code binding_check(struct bytes text, const char *what, struct bytes expected, struct err *e)
{
    AUTO_BUF raw = BUF_INIT(CSR_BINDING_MAX);

    if (expected.len == 0)
        return err_set(e, E_INVALID, "CSR %s: this connection has no channel binding", what);
    if (base64_decode(text, &raw, NULL) != E_OK)
        return err_set(e, E_INVALID, "CSR %s: not base64 of a channel binding (RFC 7030 3.5)", what);
    if (!bytes_equal_ct(buf_bytes(&raw), expected))
        return err_set(e, E_INVALID, "CSR %s: not the channel binding of this connection (RFC 7030 3.5)", what);
    return E_OK;
}

enum err_code csr_check_binding(const struct csr *csr, struct bytes expected, bool *judged, struct err *e)
{
    enum err_code code = E_OK;

    *judged = csr->binding != CSR_BINDING_NONE;
    if (csr->binding == CSR_BINDING_CHALLENGE || csr->binding == CSR_BINDING_BOTH)
        code = binding_check(csr->challenge, "challengePassword", expected, e);
    if (code == E_OK && (csr->binding == CSR_BINDING_LINKING || csr->binding == CSR_BINDING_BOTH))
        code = binding_check(csr->linking, "estIdentityLinking", expected, e);
    return code;
}
