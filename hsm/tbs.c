/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/tbs.h"

#include <string.h>

#include "base/auto.h"
#include "base/der.h"
#include "base/feed.h"
#include "base/jws.h"
#include "base/oid.h"

static enum err_code check_algorithm(struct der *in, const struct tbs_rule *rule, const char *what, struct err *e)
{
    struct der content;
    struct bytes raw;

    if (!der_take_raw(in, DER_SEQUENCE, &content, &raw))
        return err_set(e, E_INVALID, "%s: signature AlgorithmIdentifier (RFC 5280 4.1.2.3, 5.1.2.2)", what);
    if (!bytes_equal(raw, sig_alg_der(rule->alg)))
        return err_set(e, E_INVALID, "%s: RFC 5280 4.1.2.3, 5.1.2.2: signature algorithm is not the key's", what);
    return E_OK;
}

static enum err_code check_issuer(struct der *in, const struct tbs_rule *rule, const char *what, struct err *e)
{
    struct der content;
    struct bytes raw;

    if (!der_take_raw(in, DER_SEQUENCE, &content, &raw))
        return err_set(e, E_INVALID, "%s: issuer (RFC 5280 4.1.2.4, 5.1.2.3)", what);
    if (rule->issuer_name.len == 0 || !bytes_equal(raw, rule->issuer_name))
        return err_set(e, E_INVALID, "%s: RFC 5280 4.1.2.4, 5.1.2.3: issuer is not the name this key signs for", what);
    return E_OK;
}

/* TBSCertificate (RFC 5280 4.1): version v3, serialNumber, signature, issuer, ... */
static enum err_code check_cert(const struct tbs_rule *rule, struct der *in, struct err *e)
{
    struct der version;
    struct bytes serial;
    uint64_t v;

    if (!der_take(in, DER_CONTEXT_CONSTRUCTED(0), &version) || !der_take_u64(&version, &v) || !der_at_end(&version) ||
        v != 2)
        return err_set(e, E_INVALID, "TBSCertificate: RFC 5280 4.1.2.1: version is not v3");
    if (!der_take_unsigned(in, &serial) || serial.len > SERIAL_MAX_LEN)
        return err_set(e, E_INVALID, "TBSCertificate: serialNumber (RFC 5280 4.1.2.2)");
    if (check_algorithm(in, rule, "TBSCertificate", e) != E_OK || check_issuer(in, rule, "TBSCertificate", e) != E_OK)
        return E_INVALID;
    return E_OK;
}

/* TBSCertList (RFC 5280 5.1): version v2, signature, issuer, thisUpdate, ... */
static enum err_code check_crl(const struct tbs_rule *rule, struct der *in, struct err *e)
{
    uint64_t v;
    uint8_t tag;
    time_t t;

    if (!der_take_u64(in, &v) || v != 1)
        return err_set(e, E_INVALID, "TBSCertList: RFC 5280 5.1.2.1: version is not v2");
    if (check_algorithm(in, rule, "TBSCertList", e) != E_OK || check_issuer(in, rule, "TBSCertList", e) != E_OK)
        return E_INVALID;
    if (!der_take_time(in, &t, &tag))
        return err_set(e, E_INVALID, "TBSCertList: thisUpdate (RFC 5280 5.1.2.4)");
    return E_OK;
}

/* ResponseData (RFC 6960 4.2.1): responderID byKey, producedAt, responses. Version v1 is the default, so it is absent. */
static enum err_code check_ocsp(const struct tbs_rule *rule, struct der *in, struct err *e)
{
    struct der by_key, responses;
    struct bytes hash;
    uint8_t tag;
    time_t t;

    if (!der_take(in, DER_CONTEXT_CONSTRUCTED(2), &by_key) || !der_take_octets(&by_key, &hash) || !der_at_end(&by_key))
        return err_set(e, E_INVALID, "ResponseData: RFC 6960 4.2.1: responderID is not byKey");
    if (!bytes_equal(hash, BYTES_OF(rule->key_hash)))
        return err_set(e, E_INVALID, "ResponseData: RFC 6960 4.2.1: responderID is not this key");
    if (!der_take_time(in, &t, &tag) || tag != DER_GENERALIZED_TIME || !der_take(in, DER_SEQUENCE, &responses))
        return err_set(e, E_INVALID, "ResponseData: producedAt and responses (RFC 6960 4.2.1)");
    return E_OK;
}

static enum err_code check_audit(const struct tbs_rule *rule, struct der *in, struct err *e)
{
    struct der prefix;

    (void)rule;
    if (!der_take(in, DER_UTF8_STRING, &prefix) || !bytes_equal(der_rest(&prefix), bytes_str(AUDIT_HEAD_PREFIX)))
        return err_set(e, E_INVALID, "audit head: does not start with \"" AUDIT_HEAD_PREFIX "\"");
    return E_OK;
}

/* CertificationRequestInfo (RFC 2986 4.1): version v1, subject, subjectPKInfo, attributes [0]. */
static enum err_code check_csr(const struct tbs_rule *rule, struct der *in, struct err *e)
{
    struct der content;
    struct bytes raw;
    uint64_t v;

    if (!der_take_u64(in, &v) || v != 0)
        return err_set(e, E_INVALID, "CertificationRequestInfo: RFC 2986 4.1: version is not v1");
    if (!der_take_raw(in, DER_SEQUENCE, &content, &raw) || rule->issuer_name.len == 0 || !bytes_equal(raw, rule->issuer_name))
        return err_set(e, E_INVALID, "CertificationRequestInfo: RFC 2986 4.1: subject is not the name this key signs for");
    if (!der_take_raw(in, DER_SEQUENCE, &content, &raw) || !bytes_equal(raw, rule->spki))
        return err_set(e, E_INVALID, "CertificationRequestInfo: RFC 2986 4.1: the public key is not this key's own");
    if (!der_take(in, DER_CONTEXT_CONSTRUCTED(0), &content) || !der_at_end(&content) || !der_at_end(in))
        return err_set(e, E_INVALID, "CertificationRequestInfo: RFC 2986 4.1: attributes are not an empty set");
    return E_OK;
}

/* The signed attributes of a key package (RFC 5652 section 11, RFC 6211): what each may hold is fixed. */
struct key_package {
    const struct tbs_rule *rule;
    bool content_type, digest, time, algorithms;
};

static bool take_attribute(struct key_package *k, struct bytes oid, struct der *value)
{
    const size_t digest_len = k->rule->alg == SIG_ECDSA_SHA384 ? 48 : k->rule->alg == SIG_ED25519 ? 64 : 32;
    struct bytes v;
    uint8_t tag;
    time_t t;
    bool *seen, good;

    if (bytes_equal(oid, OID_CONTENT_TYPE)) {
        seen = &k->content_type;
        good = der_take_oid(value, &v) && bytes_equal(v, OID_KEY_PACKAGE);
    } else if (bytes_equal(oid, OID_MESSAGE_DIGEST)) {
        seen = &k->digest;
        good = der_take_octets(value, &v) && v.len == digest_len;
    } else if (bytes_equal(oid, OID_SIGNING_TIME)) {
        seen = &k->time;
        good = der_take_time(value, &t, &tag);
    } else if (bytes_equal(oid, OID_CMS_ALGORITHM_PROTECT)) {
        struct der content;

        seen = &k->algorithms;
        good = der_take(value, DER_SEQUENCE, &content);
    } else {
        return false;
    }
    if (*seen || !good || !der_at_end(value))
        return false;
    *seen = true;
    return true;
}

static enum err_code check_key_package(const struct tbs_rule *rule, struct der *in, struct err *e)
{
    struct key_package k = {.rule = rule};
    struct bytes previous = {NULL, 0};

    while (!der_at_end(in)) {
        struct der attribute, values;
        struct bytes raw, oid;

        if (!der_take_raw(in, DER_SEQUENCE, &attribute, &raw) || !der_take_oid(&attribute, &oid) ||
            !der_take(&attribute, DER_SET, &values) || !der_at_end(&attribute))
            return err_set(e, E_INVALID, "signed attributes: Attribute (RFC 5652 5.3)");
        if (previous.p && bytes_cmp(previous, raw) >= 0)
            return err_set(e, E_INVALID, "signed attributes: not a DER SET OF (RFC 5652 5.4)");
        if (!take_attribute(&k, oid, &values))
            return err_set(e, E_INVALID, "signed attributes: %s is not what a key package has (RFC 5652 11, RFC 5958 2)",
                           oid_name(oid) ? oid_name(oid) : "an attribute");
        previous = raw;
    }
    if (!k.content_type || !k.digest)
        return err_set(e, E_INVALID, "signed attributes: contentType and messageDigest must be there (RFC 5652 5.3)");
    return E_OK;
}

/* A record of the service: BASE64URL(header) "." BASE64URL(payload). */
static enum err_code check_jws(const struct tbs_rule *rule, struct bytes input, struct err *e)
{
    const uint8_t *dot = input.len ? memchr(input.p, '.', input.len) : NULL;
    AUTO_BUF json = BUF_INIT(JWS_HEADER_MAX);
    struct bytes header, payload;
    AUTO_BUF kid64 = BUF_INIT(JWS_KID_MAX);
    struct jws_header h;
    char kid[2 * sizeof(rule->key_hash) + 1];
    bool is_manifest;

    if (!dot)
        return err_set(e, E_INVALID, "JWS: no '.' between header and payload (RFC 7515 5.1)");
    header = BYTES(input.p, dot - input.p);
    payload = BYTES(dot + 1, input.len - header.len - 1);
    if (payload.len == 0 || !base64url_is_valid(payload))
        return err_set(e, E_INVALID, "JWS: payload is not base64url (RFC 7515 section 2)");
    if (base64url_decode(header, &json, e) != E_OK || jws_header_read(buf_bytes(&json), &h, e) != E_OK)
        return e->code;
    if (h.alg != rule->alg)
        return err_set(e, E_INVALID, "JWS: alg %s is not the key's", jws_alg_name(h.alg));
    hex_encode(rule->key_hash, sizeof(rule->key_hash), kid);
    base64url_encode(&kid64, BYTES_OF(rule->key_hash));
    is_manifest = strcmp(h.typ, MANIFEST_TYP) == 0 && payload.len > strlen(MANIFEST_PREFIX) &&
                  memcmp(payload.p, MANIFEST_PREFIX, strlen(MANIFEST_PREFIX)) == 0;
    if (!bytes_equal(bytes_str(h.kid), is_manifest ? buf_bytes(&kid64) : bytes_str(kid)))
        return err_set(e, E_INVALID, "JWS: kid \"%.40s\" is not this key", h.kid);
    if (!is_manifest && strncmp(h.typ, RECORD_TYP_PREFIX, strlen(RECORD_TYP_PREFIX)) != 0)
        return err_set(e, E_INVALID, "JWS: typ \"%.40s\" does not begin with \"" RECORD_TYP_PREFIX "\"", h.typ);
    return E_OK;
}

/* Is the certificate for this public key? (RFC 5280 4.1) */
static bool certifies(struct bytes cert, struct bytes spki)
{
    struct der in, whole, tbs, content;
    struct bytes raw = {NULL, 0}, serial;

    der_init(&in, cert.p, cert.len);
    return der_take(&in, DER_SEQUENCE, &whole) && der_take(&whole, DER_SEQUENCE, &tbs) &&
           der_take(&tbs, DER_CONTEXT_CONSTRUCTED(0), &content) && der_take_integer(&tbs, &serial) &&
           der_take(&tbs, DER_SEQUENCE, &content) && der_take(&tbs, DER_SEQUENCE, &content) &&
           der_take(&tbs, DER_SEQUENCE, &content) && der_take(&tbs, DER_SEQUENCE, &content) &&
           der_take_raw(&tbs, DER_SEQUENCE, &content, &raw) && bytes_equal(raw, spki);
}

static enum err_code check_feed(const struct tbs_rule *rule, struct bytes input, struct err *e)
{
    struct feed_jws j;
    enum err_code code = feed_input_read(input, FEED_CHANGES_TYP, &j, e);

    if (code != E_OK) {
        feed_jws_clear(&j);
        code = feed_input_read(input, FEED_SNAPSHOT_TYP, &j, e);
    }
    if (code == E_OK && j.jws.header.alg != rule->alg)
        code = err_set(e, E_INVALID, "feed JWS: alg %s is not the key's", jws_alg_name(j.jws.header.alg));
    if (code == E_OK && !certifies(buf_bytes(&j.chain[0]), rule->spki))
        code = err_set(e, E_INVALID, "feed JWS: the first certificate of x5c is not for this key");
    feed_jws_clear(&j);
    return code;
}

static const struct {
    const char *name;
    enum key_purpose purpose;
    uint8_t tag; /* of the one DER element it is; 0: text, for check_text */
    enum err_code (*check)(const struct tbs_rule *rule, struct der *in, struct err *e);
    enum err_code (*check_text)(const struct tbs_rule *rule, struct bytes text, struct err *e);
} kinds[SIGN_KINDS] = {
    [SIGN_CERT] = {"TBSCertificate", PURPOSE_CA, DER_SEQUENCE, check_cert, NULL},
    [SIGN_CRL] = {"TBSCertList", PURPOSE_CA, DER_SEQUENCE, check_crl, NULL},
    [SIGN_OCSP] = {"ResponseData", PURPOSE_OCSP, DER_SEQUENCE, check_ocsp, NULL},
    [SIGN_AUDIT] = {"audit head", PURPOSE_AUDIT, DER_SEQUENCE, check_audit, NULL},
    [SIGN_CSR] = {"CertificationRequestInfo", PURPOSE_CA, DER_SEQUENCE, check_csr, NULL},
    [SIGN_JWS] = {"JWS", PURPOSE_RECORD, 0, NULL, check_jws},
    [SIGN_KEY_PACKAGE] = {"signed attributes", PURPOSE_RECORD, DER_SET, check_key_package, NULL},
    [SIGN_FEED] = {"feed JWS", PURPOSE_FEED, 0, NULL, check_feed},
};

enum err_code tbs_check(const struct tbs_rule *rule, enum sign_kind kind, struct bytes tbs, struct err *e)
{
    struct der in, content;

    if ((unsigned)kind >= SIGN_KINDS)
        return err_set(e, E_INVALID, "unknown kind of object %d", (int)kind);
    if (rule->purpose != kinds[kind].purpose)
        return err_set(e, E_INVALID, "%s: a key of purpose \"%s\" does not sign it", kinds[kind].name,
                       key_purpose_name(rule->purpose));
    if (kinds[kind].check_text)
        return kinds[kind].check_text(rule, tbs, e);
    der_init(&in, tbs.p, tbs.len);
    if (!der_take(&in, kinds[kind].tag, &content) || !der_at_end(&in))
        return err_set(e, E_INVALID, "%s: not one DER %s", kinds[kind].name,
                       kinds[kind].tag == DER_SET ? "SET" : "SEQUENCE");
    return kinds[kind].check(rule, &content, e);
}
