/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/tbs.h"

#include "base/auto.h"
#include "base/der.h"

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

static const struct {
    const char *name;
    enum key_purpose purpose;
    enum err_code (*check)(const struct tbs_rule *rule, struct der *in, struct err *e);
} kinds[SIGN_KINDS] = {
    [SIGN_CERT] = {"TBSCertificate", PURPOSE_CA, check_cert},
    [SIGN_CRL] = {"TBSCertList", PURPOSE_CA, check_crl},
    [SIGN_OCSP] = {"ResponseData", PURPOSE_OCSP, check_ocsp},
    [SIGN_AUDIT] = {"audit head", PURPOSE_AUDIT, check_audit},
    [SIGN_CSR] = {"CertificationRequestInfo", PURPOSE_CA, check_csr},
};

enum err_code tbs_check(const struct tbs_rule *rule, enum sign_kind kind, struct bytes tbs, struct err *e)
{
    struct der in, seq;

    if ((unsigned)kind >= SIGN_KINDS)
        return err_set(e, E_INVALID, "unknown kind of object %d", (int)kind);
    if (rule->purpose != kinds[kind].purpose)
        return err_set(e, E_INVALID, "%s: a key of purpose \"%s\" does not sign it", kinds[kind].name,
                       key_purpose_name(rule->purpose));
    der_init(&in, tbs.p, tbs.len);
    if (!der_take(&in, DER_SEQUENCE, &seq) || !der_at_end(&in))
        return err_set(e, E_INVALID, "%s: not one DER SEQUENCE", kinds[kind].name);
    return kinds[kind].check(rule, &seq, e);
}
