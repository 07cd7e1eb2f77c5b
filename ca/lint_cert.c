/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules on a TBSCertificate. Each check stops at the first broken layer of its part, so that one defect makes one
 * finding; the parts are checked independently of each other.
 */
#include <string.h>

#include "base/limits.h"
#include "base/oid.h"
#include "ca/lint_int.h"

#define SAN_NAMES_MAX    100
#define RSA_EXPONENT_MAX 32 /* octets: e < 2^256 (FIPS 186-5 A.1.1) */

#define CERT_RULES(X)                                                                                                  \
    X(TBS_SIZE, "cert.tbs.size", "RFC 5280 4.1", "the TBSCertificate is within the size limit of certificates")        \
    X(TBS_ONE, "cert.tbs.one", "RFC 5280 4.1", "the object is one DER SEQUENCE and nothing behind it")                 \
    X(TBS_FIELDS, "cert.tbs.fields", "RFC 5280 4.1", "the fields of TBSCertificate have their types and their order")  \
    X(TBS_TRAILING, "cert.tbs.trailing", "RFC 5280 4.1", "nothing follows the extensions")                             \
    X(VERSION_EXPLICIT, "cert.version.explicit", "RFC 5280 4.1.2.1", "version is there, one INTEGER in [0]")           \
    X(VERSION_V3, "cert.version.v3", "RFC 5280 4.1.2.1", "version is v3 (2)")                                          \
    X(SERIAL_MINIMAL, "cert.serial.minimal", "RFC 5280 4.1.2.2, X.690 8.3.2",                                          \
      "serialNumber is not empty and has no needless leading octet")                                                   \
    X(SERIAL_POSITIVE, "cert.serial.positive", "RFC 5280 4.1.2.2", "serialNumber is positive")                         \
    X(SERIAL_LENGTH, "cert.serial.length", "RFC 5280 4.1.2.2", "serialNumber has at most 20 octets")                   \
    X(SERIAL_ENTROPY, "cert.serial.entropy", "profile", "serialNumber has at least 64 bits")                           \
    X(SERIAL_DRAWN, "cert.serial.drawn", "profile", "serialNumber is the number that was drawn")                       \
    X(SIGNATURE_FORM, "cert.signature.form", "RFC 5280 4.1.2.3", "signature is an AlgorithmIdentifier")                \
    X(SIGNATURE_ALGORITHM, "cert.signature.algorithm", "RFC 5280 4.1.2.3",                                             \
      "signature names the algorithm of the issuer's key")                                                             \
    X(SIGNATURE_PARAMETERS, "cert.signature.parameters", "RFC 4055 5, RFC 5758 3.2, RFC 8410 3",                       \
      "signature parameters are NULL for RSA and absent otherwise")                                                    \
    X(ISSUER_EMPTY, "cert.issuer.empty", "RFC 5280 4.1.2.4", "issuer is not an empty name")                            \
    X(ISSUER_IDENTICAL, "cert.issuer.identical", "RFC 5280 4.1.2.4, 7.1",                                              \
      "issuer is octet for octet the subject of the issuer's certificate")                                             \
    X(VALIDITY_FORM, "cert.validity.form", "RFC 5280 4.1.2.5",                                                         \
      "validity is two times with seconds, in Zulu time, without fractions")                                           \
    X(VALIDITY_NOT_BEFORE_TYPE, "cert.validity.not_before_type", "RFC 5280 4.1.2.5",                                   \
      "notBefore is UTCTime through 2049 and GeneralizedTime from 2050")                                               \
    X(VALIDITY_NOT_AFTER_TYPE, "cert.validity.not_after_type", "RFC 5280 4.1.2.5",                                     \
      "notAfter is UTCTime through 2049 and GeneralizedTime from 2050")                                                \
    X(VALIDITY_ORDER, "cert.validity.order", "RFC 5280 4.1.2.5", "notBefore is not after notAfter")                    \
    X(VALIDITY_BEFORE_ISSUER, "cert.validity.before_issuer", "profile", "notBefore is not before the issuer's")        \
    X(VALIDITY_BEYOND_ISSUER, "cert.validity.beyond_issuer", "profile", "notAfter is not after the issuer's")          \
    X(VALIDITY_FUTURE, "cert.validity.future", "profile", "notBefore is not in the future")                            \
    X(VALIDITY_STALE, "cert.validity.stale", "profile", "notBefore is at most 10 minutes before now")                  \
    X(VALIDITY_PROFILE, "cert.validity.profile", "profile",                                                            \
      "the validity is the profile's within a second, or ends with the issuer's or the limit given")                   \
    X(VALIDITY_NO_EXPIRY, "cert.validity.no_expiry", "RFC 5280 4.1.2.5",                                               \
      "notAfter is 99991231235959Z exactly when the profile has no expiry")                                            \
    X(IDEVID_NO_EXPIRY, "cert.idevid.no_expiry", "IEEE 802.1AR (validity)", "an IDevID has notAfter 99991231235959Z")  \
    X(IDEVID_SERIAL_NUMBER, "cert.idevid.serial_number", "IEEE 802.1AR (subject)",                                     \
      "an IDevID's subject has a serialNumber attribute")                                                              \
    X(SUBJECT_SIZE, "cert.subject.size", "profile", "the subject is within the size limit of names")                   \
    X(SUBJECT_FORM, "cert.subject.form", "RFC 5280 4.1.2.4",                                                           \
      "the subject is a SEQUENCE of non-empty SETs of attribute type and value")                                       \
    X(SUBJECT_SINGLE, "cert.subject.single", "profile", "each RDN of the subject holds one attribute")                 \
    X(SUBJECT_ATTRIBUTE, "cert.subject.attribute", "profile",                                                          \
      "subject attributes are CN, serialNumber, C, L, ST, O or OU")                                                    \
    X(SUBJECT_STRING_TYPE, "cert.subject.string_type", "RFC 5280 4.1.2.4",                                             \
      "subject values are PrintableString or UTF8String")                                                              \
    X(SUBJECT_PRINTABLE, "cert.subject.printable", "X.680 41.4", "a PrintableString keeps to its alphabet")            \
    X(SUBJECT_UTF8, "cert.subject.utf8", "RFC 3629", "a UTF8String is valid UTF-8")                                    \
    X(SUBJECT_CONTROL, "cert.subject.control", "profile", "subject values have no control characters")                 \
    X(SUBJECT_LENGTH, "cert.subject.length", "RFC 5280 A.1",                                                           \
      "subject values are not empty and not longer than the attribute's upper bound")                                  \
    X(SUBJECT_COUNTRY, "cert.subject.country", "RFC 5280 A.1", "countryName is a PrintableString of two letters")      \
    X(SUBJECT_SERIAL_NUMBER_TYPE, "cert.subject.serial_number_type", "RFC 5280 A.1",                                   \
      "the serialNumber attribute is a PrintableString")                                                               \
    X(SUBJECT_ONE_CN, "cert.subject.one_cn", "profile", "the subject has at most one commonName")                      \
    X(SUBJECT_ONE_SERIAL_NUMBER, "cert.subject.one_serial_number", "profile",                                          \
      "the subject has at most one serialNumber attribute")                                                            \
    X(SUBJECT_DEVICE_ID, "cert.subject.device_id", "profile", "the device's id is the commonName or serialNumber")     \
    X(SUBJECT_EMPTY, "cert.subject.empty", "RFC 5280 4.1.2.6", "an empty subject comes with subjectAltName")           \
    X(SUBJECT_CA_NAMED, "cert.subject.ca_named", "RFC 5280 4.1.2.6", "a CA has a subject")                             \
    X(SUBJECT_NOT_ISSUER, "cert.subject.not_issuer", "RFC 5280 4.1.2.6",                                               \
      "subject and issuer are the same only in a self-signed certificate")                                             \
    X(SUBJECT_SELF, "cert.subject.self", "RFC 5280 3.2",                                                               \
      "subject and issuer of a self-signed certificate are the same")                                                  \
    X(SPKI_AS_ASKED, "cert.spki.as_asked", "profile",                                                                  \
      "subjectPublicKeyInfo is octet for octet the key that was asked for")                                            \
    X(SPKI_FORM, "cert.spki.form", "RFC 5280 4.1.2.7",                                                                 \
      "subjectPublicKeyInfo is an AlgorithmIdentifier and a BIT STRING of whole octets")                               \
    X(SPKI_ALGORITHM, "cert.spki.algorithm", "RFC 3279 2.3, RFC 5480 2.1, RFC 8410 3",                                 \
      "the key's algorithm is RSA, EC or Ed25519")                                                                     \
    X(SPKI_PROFILE, "cert.spki.profile", "profile", "the key's type and size are in the profile's set")                \
    X(SPKI_EC_CURVE, "cert.spki.ec_curve", "RFC 5480 2.1.1", "an EC key names the curve P-256 or P-384")               \
    X(SPKI_EC_POINT, "cert.spki.ec_point", "RFC 5480 2.2", "an EC point has the length and form of its curve")         \
    X(SPKI_RSA_PARAMETERS, "cert.spki.rsa_parameters", "RFC 3279 2.3.1", "an RSA key has NULL parameters")             \
    X(SPKI_RSA_FORM, "cert.spki.rsa_form", "RFC 3279 2.3.1", "an RSA key is two positive INTEGERs")                    \
    X(SPKI_RSA_SIZE, "cert.spki.rsa_size", "profile", "an RSA modulus has 2048 to 4096 bits")                          \
    X(SPKI_RSA_MODULUS, "cert.spki.rsa_modulus", "RFC 8017 3.1", "an RSA modulus is odd")                              \
    X(SPKI_RSA_EXPONENT, "cert.spki.rsa_exponent", "FIPS 186-5 A.1.1",                                                 \
      "an RSA exponent is odd, at least 65537 and below 2^256")                                                        \
    X(SPKI_ED25519, "cert.spki.ed25519", "RFC 8410 3, 4", "an Ed25519 key has no parameters and 32 octets")            \
    X(ISSUER_UNIQUE_ID, "cert.issuer_unique_id", "RFC 5280 4.1.2.8", "issuerUniqueID is absent")                       \
    X(SUBJECT_UNIQUE_ID, "cert.subject_unique_id", "RFC 5280 4.1.2.8", "subjectUniqueID is absent")                    \
    X(EXTENSIONS_PRESENT, "cert.extensions.present", "RFC 5280 4.1.2.9", "extensions are there")                       \
    X(EXTENSIONS_FORM, "cert.extensions.form", "RFC 5280 4.1.2.9", "extensions are one non-empty SEQUENCE in [3]")     \
    X(EXTENSION_FORM, "cert.extension.form", "RFC 5280 4.1", "an extension is OID, critical and OCTET STRING")         \
    X(EXTENSION_CRITICAL_TRUE, "cert.extension.critical_true", "X.690 11.1", "a BOOLEAN is one octet 0x00 or 0xff")    \
    X(EXTENSION_CRITICAL_DEFAULT, "cert.extension.critical_default", "X.690 11.5",                                     \
      "critical is left out where it is FALSE")                                                                        \
    X(EXTENSION_EMPTY, "cert.extension.empty", "RFC 5280 4.1", "an extension's value is not empty")                    \
    X(EXTENSION_DUPLICATE, "cert.extension.duplicate", "RFC 5280 4.2", "no extension is there twice")                  \
    X(EXTENSION_KNOWN, "cert.extension.known", "profile", "all extensions are ones we issue")                          \
    X(POLICIES_ABSENT, "cert.policies.absent", "profile", "certificatePolicies is absent")                             \
    X(NAME_CONSTRAINTS_ABSENT, "cert.name_constraints.absent", "profile", "nameConstraints is absent")                 \
    X(FRESHEST_CRL_ABSENT, "cert.freshest_crl.absent", "profile", "freshestCRL is absent, as there are no delta CRLs") \
    X(AKI_PRESENT, "cert.aki.present", "RFC 5280 4.2.1.1", "authorityKeyIdentifier is there")                          \
    X(AKI_CRITICAL, "cert.aki.critical", "RFC 5280 4.2.1.1", "authorityKeyIdentifier is not critical")                 \
    X(AKI_FORM, "cert.aki.form", "RFC 5280 4.2.1.1", "authorityKeyIdentifier has a keyIdentifier")                     \
    X(AKI_ISSUER_SERIAL, "cert.aki.issuer_serial", "profile",                                                          \
      "authorityKeyIdentifier does not name the issuer by name and serial")                                            \
    X(AKI_KEY_ID, "cert.aki.key_id", "RFC 5280 4.2.1.1", "keyIdentifier is the issuer's subjectKeyIdentifier")         \
    X(SKI_PRESENT, "cert.ski.present", "RFC 5280 4.2.1.2", "subjectKeyIdentifier is there")                            \
    X(SKI_CRITICAL, "cert.ski.critical", "RFC 5280 4.2.1.2", "subjectKeyIdentifier is not critical")                   \
    X(SKI_FORM, "cert.ski.form", "RFC 5280 4.2.1.2", "subjectKeyIdentifier is an OCTET STRING of 20 octets")           \
    X(SKI_KEY, "cert.ski.key", "RFC 5280 4.2.1.2 (1)", "subjectKeyIdentifier is the SHA-1 of the key's BIT STRING")    \
    X(KEY_USAGE_PRESENT, "cert.key_usage.present", "RFC 5280 4.2.1.3", "keyUsage is there")                            \
    X(KEY_USAGE_CRITICAL, "cert.key_usage.critical", "RFC 5280 4.2.1.3", "keyUsage is critical")                       \
    X(KEY_USAGE_FORM, "cert.key_usage.form", "RFC 5280 4.2.1.3", "keyUsage is a BIT STRING with known bits")           \
    X(KEY_USAGE_MINIMAL, "cert.key_usage.minimal", "X.690 11.2.2", "keyUsage ends with a bit that is set")             \
    X(KEY_USAGE_PROFILE, "cert.key_usage.profile", "profile",                                                          \
      "keyUsage is the profile's as far as the key serves it; CAs and OCSP signers have one set")                      \
    X(KEY_USAGE_CERT_SIGN, "cert.key_usage.cert_sign", "RFC 5280 4.2.1.3",                                             \
      "keyCertSign and cRLSign are set in CA certificates and nowhere else")                                           \
    X(KEY_USAGE_KEY_TYPE, "cert.key_usage.key_type", "RFC 8813 3, RFC 9295 3, RFC 3279 2.3.1",                         \
      "keyUsage asks of the key only what its type can do")                                                            \
    X(BASIC_CONSTRAINTS_PRESENT, "cert.basic_constraints.present", "RFC 5280 4.2.1.9", "a CA has basicConstraints")    \
    X(BASIC_CONSTRAINTS_CRITICAL, "cert.basic_constraints.critical", "RFC 5280 4.2.1.9",                               \
      "basicConstraints of a CA is critical")                                                                          \
    X(BASIC_CONSTRAINTS_FORM, "cert.basic_constraints.form", "RFC 5280 4.2.1.9, X.690 11.5",                           \
      "basicConstraints is a SEQUENCE of cA where TRUE and of pathLenConstraint")                                      \
    X(BASIC_CONSTRAINTS_CA, "cert.basic_constraints.ca", "RFC 5280 4.2.1.9", "cA is TRUE in a CA")                     \
    X(BASIC_CONSTRAINTS_END_ENTITY, "cert.basic_constraints.end_entity", "RFC 5280 4.2.1.9",                           \
      "basicConstraints of an end entity is absent or empty")                                                          \
    X(BASIC_CONSTRAINTS_PATH_LEN, "cert.basic_constraints.path_len", "profile",                                        \
      "pathLenConstraint is the profile's; a root has none")                                                           \
    X(EKU_PRESENT, "cert.eku.present", "profile",                                                                      \
      "extKeyUsage is there exactly when the profile has one, and never in a CA")                                      \
    X(EKU_CRITICAL, "cert.eku.critical", "profile", "extKeyUsage is not critical")                                     \
    X(EKU_FORM, "cert.eku.form", "RFC 5280 4.2.1.12", "extKeyUsage is a non-empty SEQUENCE of OIDs")                   \
    X(EKU_DUPLICATE, "cert.eku.duplicate", "profile", "no purpose is there twice")                                     \
    X(EKU_ANY, "cert.eku.any", "profile", "anyExtendedKeyUsage is never there")                                        \
    X(EKU_CMC_RA, "cert.eku.cmc_ra", "RFC 7030 3.6.1", "cmcRA is never there")                                         \
    X(EKU_PROFILE, "cert.eku.profile", "profile", "the purposes are the profile's")                                    \
    X(EKU_OCSP_SIGNING, "cert.eku.ocsp_signing", "RFC 6960 4.2.2.2",                                                   \
      "OCSPSigning is in OCSP signer certificates, alone, and nowhere else")                                           \
    X(EKU_DOCUMENT_SIGNING, "cert.eku.document_signing", "profile",                                                            \
      "documentSigning is in the feed's signer certificates, alone, and nowhere else")                                     \
    X(SAN_CRITICAL, "cert.san.critical", "RFC 5280 4.2.1.6",                                                           \
      "subjectAltName is critical exactly when the subject is empty")                                                  \
    X(SAN_FORM, "cert.san.form", "RFC 5280 4.2.1.6", "subjectAltName is a non-empty SEQUENCE of names")                \
    X(SAN_COUNT, "cert.san.count", "profile", "subjectAltName has at most 100 names")                                  \
    X(SAN_TYPE, "cert.san.type", "profile", "names are rfc822Name, dNSName, URI, iPAddress or otherName")              \
    X(SAN_DUPLICATE, "cert.san.duplicate", "profile", "no name is there twice")                                        \
    X(SAN_DNS, "cert.san.dns", "RFC 5280 4.2.1.6, RFC 1034 3.5", "a dNSName is in the preferred name syntax")          \
    X(SAN_DNS_WILDCARD, "cert.san.dns_wildcard", "profile", "a dNSName is no wildcard")                                \
    X(SAN_EMAIL, "cert.san.email", "RFC 5280 4.2.1.6", "an rfc822Name is a local part and a host name")                \
    X(SAN_URI, "cert.san.uri", "RFC 5280 4.2.1.6", "a URI is absolute and has characters of RFC 3986 only")            \
    X(SAN_IP, "cert.san.ip", "RFC 5280 4.2.1.6", "an iPAddress has 4 or 16 octets")                                    \
    X(SAN_OTHER_NAME, "cert.san.other_name", "profile", "an otherName is a hardwareModuleName")                        \
    X(SAN_HARDWARE_MODULE, "cert.san.hardware_module", "RFC 4108 5",                                                   \
      "hardwareModuleName is a hardware type OID and a non-empty serial number")                                       \
    X(CRLDP_EXPECTED, "cert.crldp.expected", "profile", "cRLDistributionPoints is there exactly when expected")        \
    X(CRLDP_CRITICAL, "cert.crldp.critical", "RFC 5280 4.2.1.13", "cRLDistributionPoints is not critical")             \
    X(CRLDP_FORM, "cert.crldp.form", "RFC 5280 4.2.1.13", "there is one distribution point with one URI")              \
    X(CRLDP_REASONS, "cert.crldp.reasons", "RFC 5280 4.2.1.13", "the distribution point has no reasons")               \
    X(CRLDP_CRL_ISSUER, "cert.crldp.crl_issuer", "profile", "the distribution point has no cRLIssuer")                 \
    X(CRLDP_HTTP, "cert.crldp.http", "RFC 5280 8", "the CRL address is an http URI")                                   \
    X(CRLDP_URI, "cert.crldp.uri", "profile", "the CRL address is the one expected")                                   \
    X(AIA_EXPECTED, "cert.aia.expected", "profile", "authorityInfoAccess is there exactly when expected")              \
    X(AIA_CRITICAL, "cert.aia.critical", "RFC 5280 4.2.2.1", "authorityInfoAccess is not critical")                    \
    X(AIA_FORM, "cert.aia.form", "RFC 5280 4.2.2.1",                                                                   \
      "authorityInfoAccess is a non-empty SEQUENCE of methods and URIs")                                               \
    X(AIA_METHOD, "cert.aia.method", "profile", "access methods are OCSP and caIssuers, each once")                    \
    X(AIA_HTTP, "cert.aia.http", "RFC 5280 8", "access addresses are http URIs")                                       \
    X(AIA_OCSP, "cert.aia.ocsp", "RFC 6960 3.1", "the OCSP address is the one expected")                               \
    X(AIA_CA_ISSUERS, "cert.aia.ca_issuers", "profile",                                                                \
      "caIssuers is there exactly when the profile says so, and never in a root")                                      \
    X(NOCHECK_PRESENT, "cert.nocheck.present", "RFC 6960 4.2.2.2.1",                                                   \
      "ocsp-nocheck is in OCSP signer certificates and nowhere else")                                                  \
    X(NOCHECK_CRITICAL, "cert.nocheck.critical", "RFC 6960 4.2.2.2.1", "ocsp-nocheck is not critical")                 \
    X(NOCHECK_VALUE, "cert.nocheck.value", "RFC 6960 4.2.2.2.1", "ocsp-nocheck is NULL")                               \
    X(OCSP_SIGNER_CRL, "cert.ocsp_signer.crl", "RFC 9919 3.2.2", "an OCSP signer has no CRL address")                  \
    X(OCSP_SIGNER_AIA, "cert.ocsp_signer.aia", "RFC 9919 3.2.2", "an OCSP signer has no OCSP or caIssuers address")    \
    X(NO_REV_AVAIL_VALUE, "cert.no_rev_avail.value", "RFC 9608 2", "noRevAvail is NULL and not critical")              \
    X(NO_REV_AVAIL_CA, "cert.no_rev_avail.ca", "RFC 9608 2", "noRevAvail is not in a CA certificate")                  \
    X(NO_REV_AVAIL_ALONE, "cert.no_rev_avail.alone", "RFC 9608 3",                                                     \
      "noRevAvail does not come with a CRL or an OCSP address")

enum cert_rule { CERT_RULES(LINT_RULE_ENUM) R_COUNT };
static const struct lint_rule cert_rules[] = {CERT_RULES(LINT_RULE_TABLE)};

const struct lint_rule *lint_rules_cert(size_t *n)
{
    *n = R_COUNT;
    return cert_rules;
}

/* The extensions we issue or refuse by name. */
enum ext_kind {
    EXT_AKI,
    EXT_SKI,
    EXT_KEY_USAGE,
    EXT_BASIC_CONSTRAINTS,
    EXT_EKU,
    EXT_SAN,
    EXT_CRLDP,
    EXT_AIA,
    EXT_NOCHECK,
    EXT_NO_REV_AVAIL,
    EXT_POLICIES,
    EXT_NAME_CONSTRAINTS,
    EXT_FRESHEST_CRL,
    EXT_KINDS
};

static const struct bytes *const ext_oids[EXT_KINDS] = {
    [EXT_AKI] = &OID_AKI,
    [EXT_SKI] = &OID_SKI,
    [EXT_KEY_USAGE] = &OID_KEY_USAGE,
    [EXT_BASIC_CONSTRAINTS] = &OID_BASIC_CONSTRAINTS,
    [EXT_EKU] = &OID_EKU,
    [EXT_SAN] = &OID_SAN,
    [EXT_CRLDP] = &OID_CRLDP,
    [EXT_AIA] = &OID_AIA,
    [EXT_NOCHECK] = &OID_OCSP_NOCHECK,
    [EXT_NO_REV_AVAIL] = &OID_NO_REV_AVAIL,
    [EXT_POLICIES] = &OID_POLICIES,
    [EXT_NAME_CONSTRAINTS] = &OID_NAME_CONSTRAINTS,
    [EXT_FRESHEST_CRL] = &OID_FRESHEST_CRL,
};

struct cert_walk {
    struct lint_walk lint;
    const struct lint_cert_expect *x;
    bool is_ca, is_root, is_ocsp_signer, is_feed_signer, is_idevid;

    struct der version, serial, signature, issuer, validity, subject, spki, extensions;
    struct bytes issuer_raw, subject_raw, spki_raw;
    bool has_version, has_extensions;

    enum key_alg key;      /* KEY_NONE: the key was not understood */
    struct bytes key_bits; /* {NULL, 0}: as above */
    struct lint_ext ext[EXT_KINDS];
    bool ext_seen[EXT_KINDS]; /* there, perhaps broken (then ext[].present is false) */
};

static void hit(const struct cert_walk *w, enum cert_rule rule)
{
    lint_hit(&w->lint, rule);
}

/* ---- the frame ---- */

static bool split(struct cert_walk *w, struct bytes tbs)
{
    struct der in = lint_reader(tbs), f, id;

    if (tbs.len > CERT_MAX_LEN) {
        hit(w, R_TBS_SIZE);
        return false;
    }
    if (!der_take(&in, DER_SEQUENCE, &f) || !der_at_end(&in)) {
        hit(w, R_TBS_ONE);
        return false;
    }
    if (!der_take_optional(&f, DER_CONTEXT_CONSTRUCTED(0), &w->version, &w->has_version) ||
        !der_take(&f, DER_INTEGER, &w->serial) || !der_take(&f, DER_SEQUENCE, &w->signature) ||
        !der_take_raw(&f, DER_SEQUENCE, &w->issuer, &w->issuer_raw) || !der_take(&f, DER_SEQUENCE, &w->validity) ||
        !der_take_raw(&f, DER_SEQUENCE, &w->subject, &w->subject_raw) ||
        !der_take_raw(&f, DER_SEQUENCE, &w->spki, &w->spki_raw)) {
        hit(w, R_TBS_FIELDS);
        return false;
    }
    if (der_take(&f, DER_CONTEXT(1), &id))
        hit(w, R_ISSUER_UNIQUE_ID);
    if (der_take(&f, DER_CONTEXT(2), &id))
        hit(w, R_SUBJECT_UNIQUE_ID);
    if (!der_take_optional(&f, DER_CONTEXT_CONSTRUCTED(3), &w->extensions, &w->has_extensions)) {
        hit(w, R_TBS_FIELDS);
        return false;
    }
    if (!der_at_end(&f))
        hit(w, R_TBS_TRAILING);
    return true;
}

static void check_version(const struct cert_walk *w)
{
    struct der version = w->version;
    uint64_t v;

    if (!w->has_version || !der_take_u64(&version, &v) || !der_at_end(&version))
        hit(w, R_VERSION_EXPLICIT);
    else if (v != 2)
        hit(w, R_VERSION_V3);
}

static unsigned bits_of(struct bytes magnitude)
{
    unsigned bits;

    if (magnitude.len == 0)
        return 0;
    bits = (unsigned)(magnitude.len - 1) * 8;
    for (uint8_t top = magnitude.p[0]; top; top >>= 1)
        bits++;
    return bits;
}

static struct bytes without_leading_zeros(struct bytes v)
{
    while (v.len > 1 && v.p[0] == 0)
        v = BYTES(v.p + 1, v.len - 1);
    return v;
}

static void check_serial(const struct cert_walk *w)
{
    struct bytes s = der_rest(&w->serial);

    if (s.len == 0 || (s.len > 1 && ((s.p[0] == 0x00 && s.p[1] < 0x80) || (s.p[0] == 0xff && s.p[1] >= 0x80)))) {
        hit(w, R_SERIAL_MINIMAL);
        return;
    }
    if (s.p[0] >= 0x80 || (s.len == 1 && s.p[0] == 0)) {
        hit(w, R_SERIAL_POSITIVE);
        return;
    }
    if (s.len > SERIAL_MAX_LEN) {
        hit(w, R_SERIAL_LENGTH);
        return;
    }
    s = without_leading_zeros(s);
    if (bits_of(s) < 64)
        hit(w, R_SERIAL_ENTROPY);
    else if (!bytes_equal(s, without_leading_zeros(w->x->serial)))
        hit(w, R_SERIAL_DRAWN);
}

static void check_issuer(const struct cert_walk *w)
{
    if (w->issuer.len == 0)
        hit(w, R_ISSUER_EMPTY);
    else if (!bytes_equal(w->issuer_raw, w->x->issuer_subject))
        hit(w, R_ISSUER_IDENTICAL);
}

/* ---- validity ---- */

static void check_not_after(const struct cert_walk *w, time_t not_before, time_t not_after)
{
    const struct conf_profile *p = w->x->profile;
    time_t full, limit = TIME_NO_EXPIRY;

    if (!w->x->self_signed && w->x->issuer_not_after < limit) {
        limit = w->x->issuer_not_after;
        if (not_after > limit) {
            hit(w, R_VALIDITY_BEYOND_ISSUER);
            return;
        }
    }
    if (w->x->not_after_max && w->x->not_after_max < limit)
        limit = w->x->not_after_max;
    full = p->no_expiry ? TIME_NO_EXPIRY : not_before + (time_t)p->validity_s;
    if (not_after == TIME_NO_EXPIRY ? !p->no_expiry : p->no_expiry && w->x->not_after_max == 0) {
        hit(w, R_VALIDITY_NO_EXPIRY);
        return;
    }
    if (w->is_idevid && not_after != TIME_NO_EXPIRY)
        hit(w, R_IDEVID_NO_EXPIRY);
    if (not_after > limit || (full > limit ? not_after != limit : not_after < full - 1 || not_after > full + 1))
        hit(w, R_VALIDITY_PROFILE);
}

static void check_validity(const struct cert_walk *w)
{
    struct der v = w->validity;
    time_t not_before, not_after;
    uint8_t before_tag, after_tag;

    if (!der_take_time(&v, &not_before, &before_tag) || !der_take_time(&v, &not_after, &after_tag) || !der_at_end(&v)) {
        hit(w, R_VALIDITY_FORM);
        return;
    }
    if (!lint_time_is_in_its_form(before_tag, not_before))
        hit(w, R_VALIDITY_NOT_BEFORE_TYPE);
    if (!lint_time_is_in_its_form(after_tag, not_after))
        hit(w, R_VALIDITY_NOT_AFTER_TYPE);
    if (!w->x->self_signed && not_before < w->x->issuer_not_before)
        hit(w, R_VALIDITY_BEFORE_ISSUER);
    if (not_before > w->x->now)
        hit(w, R_VALIDITY_FUTURE);
    if (not_before < w->x->now - LINT_BACKDATE_MAX_S)
        hit(w, R_VALIDITY_STALE);
    if (not_before > not_after)
        hit(w, R_VALIDITY_ORDER);
    else
        check_not_after(w, not_before, not_after);
}

/* ---- subject ---- */

/* Upper bounds in characters, RFC 5280 appendix A.1. */
static const struct {
    const struct bytes *oid;
    size_t max;
} attributes[] = {
    {&OID_CN, 64}, {&OID_SERIAL_NUMBER, 64}, {&OID_C, 2}, {&OID_L, 128}, {&OID_ST, 128}, {&OID_O, 64}, {&OID_OU, 64},
};

static bool is_printable_string(struct bytes s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            (c == 0 || !strchr(" '()+,-./:=?", c)))
            return false;
    }
    return true;
}

/* One character of valid UTF-8 (RFC 3629 4): 1..4 octets consumed, 0 when invalid. */
static size_t utf8_take(struct bytes s, uint32_t *out)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t first = s.p[0];
    size_t n = first < 0x80             ? 1
               : (first & 0xe0) == 0xc0 ? 2
               : (first & 0xf0) == 0xe0 ? 3
               : (first & 0xf8) == 0xf0 ? 4
                                        : 0;
    uint32_t c;

    if (n == 0 || n > s.len)
        return 0;
    c = n == 1 ? first : first & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s.p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s.p[i] & 0x3f);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *out = c;
    return n;
}

static bool utf8_scan(struct bytes s, size_t *chars, bool *control)
{
    *chars = 0;
    *control = false;
    while (s.len) {
        uint32_t c;
        size_t n = utf8_take(s, &c);

        if (n == 0)
            return false;
        if (c < 0x20 || (c >= 0x7f && c < 0xa0))
            *control = true;
        (*chars)++;
        s = BYTES(s.p + n, s.len - n);
    }
    return true;
}

static bool is_two_letters(struct bytes s)
{
    return s.len == 2 && (s.p[0] | 0x20) >= 'a' && (s.p[0] | 0x20) <= 'z' && (s.p[1] | 0x20) >= 'a' &&
           (s.p[1] | 0x20) <= 'z';
}

static void check_value(const struct cert_walk *w, struct bytes type, size_t max, uint8_t tag, struct bytes value)
{
    size_t chars = value.len;
    bool control = false;

    if (tag != DER_PRINTABLE_STRING && tag != DER_UTF8_STRING) {
        hit(w, R_SUBJECT_STRING_TYPE);
    } else if (tag == DER_PRINTABLE_STRING && !is_printable_string(value)) {
        hit(w, R_SUBJECT_PRINTABLE);
    } else if (tag == DER_UTF8_STRING && !utf8_scan(value, &chars, &control)) {
        hit(w, R_SUBJECT_UTF8);
    } else if (control) {
        hit(w, R_SUBJECT_CONTROL);
    } else if (bytes_equal(type, OID_C)) {
        if (tag != DER_PRINTABLE_STRING || !is_two_letters(value))
            hit(w, R_SUBJECT_COUNTRY);
    } else if (chars == 0 || chars > max) {
        hit(w, R_SUBJECT_LENGTH);
    } else if (bytes_equal(type, OID_SERIAL_NUMBER) && tag != DER_PRINTABLE_STRING) {
        hit(w, R_SUBJECT_SERIAL_NUMBER_TYPE);
    }
}

struct subject_seen {
    unsigned cn, serial_number;
    bool device_id;
};

static void check_attribute(const struct cert_walk *w, struct der attribute, struct subject_seen *seen)
{
    struct bytes type, value;
    struct der content;
    uint8_t tag;
    size_t i;

    if (!der_take_oid(&attribute, &type) || !der_take_any(&attribute, &tag, &content, NULL) ||
        !der_at_end(&attribute)) {
        hit(w, R_SUBJECT_FORM);
        return;
    }
    value = der_rest(&content);
    for (i = 0; i < sizeof attributes / sizeof attributes[0] && !bytes_equal(type, *attributes[i].oid); i++)
        ;
    if (i == sizeof attributes / sizeof attributes[0]) {
        hit(w, R_SUBJECT_ATTRIBUTE);
        return;
    }
    check_value(w, type, attributes[i].max, tag, value);
    if (bytes_equal(type, OID_CN) && seen->cn++)
        hit(w, R_SUBJECT_ONE_CN);
    if (bytes_equal(type, OID_SERIAL_NUMBER) && seen->serial_number++)
        hit(w, R_SUBJECT_ONE_SERIAL_NUMBER);
    if ((bytes_equal(type, OID_CN) || bytes_equal(type, OID_SERIAL_NUMBER)) && w->x->device_id &&
        bytes_equal(value, bytes_str(w->x->device_id)))
        seen->device_id = true;
}

/* false: the RDNs could not all be read, so nothing can be said of what is missing. */
static bool walk_subject(const struct cert_walk *w, struct subject_seen *seen)
{
    struct der name = w->subject, rdn, attribute;

    while (!der_at_end(&name)) {
        if (!der_take(&name, DER_SET, &rdn) || !der_take(&rdn, DER_SEQUENCE, &attribute)) {
            hit(w, R_SUBJECT_FORM);
            return false;
        }
        if (!der_at_end(&rdn))
            hit(w, R_SUBJECT_SINGLE);
        check_attribute(w, attribute, seen);
    }
    return true;
}

static void check_subject(const struct cert_walk *w)
{
    bool is_issuer = bytes_equal(w->subject_raw, w->x->issuer_subject);
    struct subject_seen seen = {0};

    if (w->subject_raw.len > NAME_MAX_LEN) {
        hit(w, R_SUBJECT_SIZE);
        return;
    }
    if (w->subject.len == 0 && w->is_ca) {
        hit(w, R_SUBJECT_CA_NAMED);
        return;
    }
    if (w->subject.len == 0 && !w->ext_seen[EXT_SAN])
        hit(w, R_SUBJECT_EMPTY);
    if (is_issuer && !w->x->self_signed)
        hit(w, R_SUBJECT_NOT_ISSUER);
    if (!is_issuer && w->x->self_signed)
        hit(w, R_SUBJECT_SELF);
    if (!walk_subject(w, &seen))
        return;
    if (w->x->device_id && !seen.device_id)
        hit(w, R_SUBJECT_DEVICE_ID);
    if (w->is_idevid && seen.serial_number == 0)
        hit(w, R_IDEVID_SERIAL_NUMBER);
}

/* ---- key ---- */

static enum key_alg read_ec(const struct cert_walk *w, struct der alg, struct bytes point)
{
    struct bytes curve;
    enum key_alg key = KEY_NONE;
    size_t field = 0;

    if (der_take_oid(&alg, &curve) && der_at_end(&alg)) {
        if (bytes_equal(curve, OID_P256)) {
            key = KEY_P256;
            field = 32;
        } else if (bytes_equal(curve, OID_P384)) {
            key = KEY_P384;
            field = 48;
        }
    }
    if (key == KEY_NONE)
        hit(w, R_SPKI_EC_CURVE);
    else if (!(point.len == 1 + 2 * field && point.p[0] == 4) &&
             !(point.len == 1 + field && (point.p[0] == 2 || point.p[0] == 3)))
        hit(w, R_SPKI_EC_POINT);
    return key;
}

static enum key_alg read_rsa(const struct cert_walk *w, struct der alg, struct bytes bits)
{
    struct bytes n, e;
    struct der key;
    unsigned size;

    if (!der_take_null(&alg) || !der_at_end(&alg))
        hit(w, R_SPKI_RSA_PARAMETERS);
    if (!lint_only(bits, DER_SEQUENCE, &key) || !der_take_unsigned(&key, &n) || !der_take_unsigned(&key, &e) ||
        !der_at_end(&key)) {
        hit(w, R_SPKI_RSA_FORM);
        return KEY_NONE;
    }
    if (!(n.p[n.len - 1] & 1))
        hit(w, R_SPKI_RSA_MODULUS);
    if (!(e.p[e.len - 1] & 1) || e.len > RSA_EXPONENT_MAX || bits_of(e) < 17)
        hit(w, R_SPKI_RSA_EXPONENT);
    size = bits_of(n);
    if (size < RSA_MIN_BITS || size > RSA_MAX_BITS) {
        hit(w, R_SPKI_RSA_SIZE);
        return KEY_NONE;
    }
    return size < 3072 ? KEY_RSA2048 : size < 4096 ? KEY_RSA3072 : KEY_RSA4096;
}

static enum key_alg read_ed25519(const struct cert_walk *w, struct der alg, struct bytes bits)
{
    if (!der_at_end(&alg) || bits.len != 32)
        hit(w, R_SPKI_ED25519);
    return KEY_ED25519;
}

static void check_spki(struct cert_walk *w)
{
    struct der spki = w->spki, alg;
    struct bytes oid, bits;
    unsigned unused;

    if (!bytes_equal(w->spki_raw, w->x->spki))
        hit(w, R_SPKI_AS_ASKED);
    if (!der_take(&spki, DER_SEQUENCE, &alg) || !der_take_oid(&alg, &oid) || !der_take_bits(&spki, &bits, &unused) ||
        unused != 0 || bits.len == 0 || !der_at_end(&spki)) {
        hit(w, R_SPKI_FORM);
        return;
    }
    w->key_bits = bits;
    if (bytes_equal(oid, OID_EC_PUBLIC_KEY)) {
        w->key = read_ec(w, alg, bits);
    } else if (bytes_equal(oid, OID_RSA)) {
        w->key = read_rsa(w, alg, bits);
    } else if (bytes_equal(oid, OID_ED25519)) {
        w->key = read_ed25519(w, alg, bits);
    } else {
        hit(w, R_SPKI_ALGORITHM);
        return;
    }
    if (w->key != KEY_NONE && !(w->x->profile->key_algs & KEY_BIT(w->key)))
        hit(w, R_SPKI_PROFILE);
}

/* ---- extensions ---- */

static enum ext_kind ext_kind_of(struct bytes oid)
{
    unsigned kind = 0;

    while (kind < EXT_KINDS && !bytes_equal(oid, *ext_oids[kind]))
        kind++;
    return (enum ext_kind)kind;
}

/* Finds what is there; values are looked at afterwards. false: nothing can be said of what is missing. */
static bool collect_extensions(struct cert_walk *w)
{
    static const struct lint_ext_rules rules = {R_EXTENSION_FORM, R_EXTENSION_CRITICAL_TRUE,
                                                R_EXTENSION_CRITICAL_DEFAULT, R_EXTENSION_EMPTY};
    struct der exts = w->extensions, list;
    bool complete = true;

    if (!w->has_extensions) {
        hit(w, R_EXTENSIONS_PRESENT);
        return false;
    }
    if (!der_take(&exts, DER_SEQUENCE, &list) || !der_at_end(&exts) || der_at_end(&list)) {
        hit(w, R_EXTENSIONS_FORM);
        return false;
    }
    while (!der_at_end(&list)) {
        struct lint_ext ext;
        enum ext_kind kind;

        if (!lint_ext_take(&w->lint, &rules, &list, &ext))
            return false;
        if (!ext.present && ext.oid.len == 0) {
            complete = false;
            continue;
        }
        kind = ext_kind_of(ext.oid);
        if (kind == EXT_KINDS) {
            hit(w, R_EXTENSION_KNOWN);
        } else if (w->ext_seen[kind]) {
            hit(w, R_EXTENSION_DUPLICATE);
        } else {
            w->ext_seen[kind] = true;
            w->ext[kind] = ext;
        }
    }
    return complete;
}

static void check_absent(const struct cert_walk *w)
{
    if (w->ext_seen[EXT_POLICIES])
        hit(w, R_POLICIES_ABSENT);
    if (w->ext_seen[EXT_NAME_CONSTRAINTS])
        hit(w, R_NAME_CONSTRAINTS_ABSENT);
    if (w->ext_seen[EXT_FRESHEST_CRL])
        hit(w, R_FRESHEST_CRL_ABSENT);
}

static void check_aki(const struct cert_walk *w)
{
    static const struct lint_aki_rules rules = {R_AKI_CRITICAL, R_AKI_FORM, R_AKI_ISSUER_SERIAL, R_AKI_KEY_ID};

    if (!w->ext_seen[EXT_AKI])
        hit(w, R_AKI_PRESENT);
    else if (w->ext[EXT_AKI].present)
        lint_aki(&w->lint, &rules, &w->ext[EXT_AKI], w->x->issuer_ski);
}

static void check_ski(const struct cert_walk *w)
{
    const struct lint_ext *ext = &w->ext[EXT_SKI];
    uint8_t hash[20];
    struct der ski;

    if (!w->ext_seen[EXT_SKI]) {
        hit(w, R_SKI_PRESENT);
        return;
    }
    if (!ext->present)
        return;
    if (ext->critical)
        hit(w, R_SKI_CRITICAL);
    if (!lint_only(ext->value, DER_OCTET_STRING, &ski) || ski.len != sizeof hash) {
        hit(w, R_SKI_FORM);
        return;
    }
    if (w->key_bits.len == 0)
        return;
    sha1(w->key_bits, hash);
    if (!bytes_equal(der_rest(&ski), BYTES_OF(hash)))
        hit(w, R_SKI_KEY);
}

/* What keyUsage may ask of a key type. */
static unsigned usages_of(enum key_alg key)
{
    const unsigned signing = USAGE_DIGITAL_SIGNATURE | USAGE_NON_REPUDIATION | USAGE_KEY_CERT_SIGN | USAGE_CRL_SIGN;

    switch (key) {
    case KEY_RSA2048:
    case KEY_RSA3072:
    case KEY_RSA4096:
        return signing | USAGE_KEY_ENCIPHERMENT | USAGE_DATA_ENCIPHERMENT;
    case KEY_P256:
    case KEY_P384:
        return signing | USAGE_KEY_AGREEMENT;
    default:
        return signing;
    }
}

static void judge_key_usage(const struct cert_walk *w, unsigned usage)
{
    const unsigned ca = USAGE_KEY_CERT_SIGN | USAGE_CRL_SIGN;
    unsigned expected = w->is_ca ? ca : w->is_ocsp_signer || w->is_feed_signer ? USAGE_DIGITAL_SIGNATURE : w->x->profile->key_usage;

    if ((usage & ca) != (w->is_ca ? ca : 0))
        hit(w, R_KEY_USAGE_CERT_SIGN);
    else if (w->key != KEY_NONE && (usage & ~usages_of(w->key)))
        hit(w, R_KEY_USAGE_KEY_TYPE);
    else if (w->key != KEY_NONE && usage != (expected & usages_of(w->key)))
        hit(w, R_KEY_USAGE_PROFILE);
}

static void check_key_usage(const struct cert_walk *w)
{
    const struct lint_ext *ext = &w->ext[EXT_KEY_USAGE];
    struct der in = lint_reader(ext->value);
    struct bytes bits;
    unsigned unused, usage = 0;

    if (!w->ext_seen[EXT_KEY_USAGE]) {
        hit(w, R_KEY_USAGE_PRESENT);
        return;
    }
    if (!ext->present)
        return;
    if (!ext->critical)
        hit(w, R_KEY_USAGE_CRITICAL);
    if (!der_take_bits(&in, &bits, &unused) || !der_at_end(&in) || bits.len > 1 || (bits.len == 1 && (bits.p[0] & 1))) {
        /* encipherOnly and decipherOnly, the bits behind cRLSign, are not ours to give. */
        hit(w, R_KEY_USAGE_FORM);
        return;
    }
    if (bits.len == 0 || !(bits.p[0] & (1u << unused))) {
        hit(w, R_KEY_USAGE_MINIMAL);
        return;
    }
    for (unsigned i = 0; i < 7; i++)
        if (bits.p[0] & (0x80u >> i))
            usage |= 1u << i;
    judge_key_usage(w, usage);
}

static void check_ca_constraints(const struct cert_walk *w, bool ca, bool has_path_len, uint64_t path_len)
{
    int expected = w->is_root ? -1 : w->x->profile->path_len;

    if (!w->ext[EXT_BASIC_CONSTRAINTS].critical)
        hit(w, R_BASIC_CONSTRAINTS_CRITICAL);
    if (!ca)
        hit(w, R_BASIC_CONSTRAINTS_CA);
    else if (has_path_len != (expected >= 0) || (has_path_len && path_len != (uint64_t)expected))
        hit(w, R_BASIC_CONSTRAINTS_PATH_LEN);
}

static void check_basic_constraints(const struct cert_walk *w)
{
    const struct lint_ext *ext = &w->ext[EXT_BASIC_CONSTRAINTS];
    bool ca = false, has_path_len = false;
    uint64_t path_len = 0;
    struct der bc;

    if (!w->ext_seen[EXT_BASIC_CONSTRAINTS]) {
        if (w->is_ca)
            hit(w, R_BASIC_CONSTRAINTS_PRESENT);
        return;
    }
    if (!ext->present)
        return;
    if (!lint_only(ext->value, DER_SEQUENCE, &bc)) {
        hit(w, R_BASIC_CONSTRAINTS_FORM);
        return;
    }
    if (!der_at_end(&bc) && der_peek(&bc, DER_BOOLEAN) && (!der_take_bool(&bc, &ca) || !ca)) {
        hit(w, R_BASIC_CONSTRAINTS_FORM); /* a FALSE that is written is no DER */
        return;
    }
    if (der_peek(&bc, DER_INTEGER))
        has_path_len = der_take_u64(&bc, &path_len);
    if (!der_at_end(&bc))
        hit(w, R_BASIC_CONSTRAINTS_FORM);
    else if (w->is_ca)
        check_ca_constraints(w, ca, has_path_len, path_len);
    else if (ca || has_path_len)
        hit(w, R_BASIC_CONSTRAINTS_END_ENTITY);
}

/* EKU_* of one purpose; 0 with `other` set for one we do not issue. */
static unsigned purpose_of(const struct cert_walk *w, struct bytes oid, bool *other)
{
    if (bytes_equal(oid, OID_EKU_SERVER_AUTH))
        return EKU_SERVER_AUTH;
    if (bytes_equal(oid, OID_EKU_CLIENT_AUTH))
        return EKU_CLIENT_AUTH;
    if (bytes_equal(oid, OID_EKU_OCSP_SIGNING))
        return EKU_OCSP_SIGNING;
    if (bytes_equal(oid, OID_EKU_DOCUMENT_SIGNING))
        return EKU_DOCUMENT_SIGNING;
    if (bytes_equal(oid, OID_ANY_EKU))
        hit(w, R_EKU_ANY);
    else if (bytes_equal(oid, OID_EKU_CMC_RA))
        hit(w, R_EKU_CMC_RA);
    else
        *other = true;
    return 0;
}

static void judge_purposes(const struct cert_walk *w, unsigned purposes, bool other)
{
    unsigned expected = w->is_ocsp_signer ? EKU_OCSP_SIGNING : w->is_feed_signer ? EKU_DOCUMENT_SIGNING : w->x->profile->eku;

    if (w->is_ocsp_signer ? purposes != EKU_OCSP_SIGNING || other : (purposes & EKU_OCSP_SIGNING) != 0)
        hit(w, R_EKU_OCSP_SIGNING);
    else if (w->is_feed_signer ? purposes != EKU_DOCUMENT_SIGNING || other : (purposes & EKU_DOCUMENT_SIGNING) != 0)
        hit(w, R_EKU_DOCUMENT_SIGNING);
    else if (other || purposes != expected)
        hit(w, R_EKU_PROFILE);
}

static void check_eku(const struct cert_walk *w)
{
    const struct lint_ext *ext = &w->ext[EXT_EKU];
    bool expected = w->is_ocsp_signer || w->is_feed_signer || (!w->is_ca && w->x->profile->eku != 0);
    unsigned purposes = 0;
    bool other = false;
    struct bytes oid;
    struct der list;

    if (w->ext_seen[EXT_EKU] != expected) {
        hit(w, R_EKU_PRESENT);
        return;
    }
    if (!ext->present)
        return;
    if (ext->critical)
        hit(w, R_EKU_CRITICAL);
    if (!lint_only(ext->value, DER_SEQUENCE, &list) || der_at_end(&list)) {
        hit(w, R_EKU_FORM);
        return;
    }
    while (!der_at_end(&list)) {
        unsigned one;

        if (!der_take_oid(&list, &oid)) {
            hit(w, R_EKU_FORM);
            return;
        }
        one = purpose_of(w, oid, &other);
        if (one & purposes)
            hit(w, R_EKU_DUPLICATE);
        purposes |= one;
    }
    judge_purposes(w, purposes, other);
}

/* ---- subjectAltName ---- */

/* RFC 1034 3.5 as relaxed by RFC 1123 2.1: labels of letters, digits and inner hyphens. */
static bool is_dns_name(struct bytes s)
{
    size_t label = 0;

    if (s.len == 0 || s.len > 253)
        return false;
    for (size_t i = 0; i <= s.len; i++) {
        uint8_t c = i < s.len ? s.p[i] : '.';

        if (c == '.') {
            if (label == 0 || label > 63 || s.p[i - 1] == '-')
                return false;
            label = 0;
            continue;
        }
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && !(c == '-' && label > 0))
            return false;
        label++;
    }
    return true;
}

/* RFC 5321 4.1.2 without quoting: dot-string "@" host name. */
static bool is_mailbox(struct bytes s)
{
    size_t at = 0;

    while (at < s.len && s.p[at] > 0x20 && s.p[at] < 0x7f && !strchr("@()<>[]:;,\\\"", s.p[at]))
        at++;
    return at > 0 && at <= 64 && at < s.len && s.p[at] == '@' && is_dns_name(BYTES(s.p + at + 1, s.len - at - 1));
}

static void check_other_name(const struct cert_walk *w, struct der other)
{
    struct der value, module;
    struct bytes type, hw_type, hw_serial;

    if (!der_take_oid(&other, &type) || !bytes_equal(type, OID_HARDWARE_MODULE_NAME)) {
        hit(w, R_SAN_OTHER_NAME);
        return;
    }
    if (!der_take(&other, DER_CONTEXT_CONSTRUCTED(0), &value) || !der_at_end(&other) ||
        !der_take(&value, DER_SEQUENCE, &module) || !der_at_end(&value) || !der_take_oid(&module, &hw_type) ||
        !der_take_octets(&module, &hw_serial) || hw_serial.len == 0 || !der_at_end(&module))
        hit(w, R_SAN_HARDWARE_MODULE);
}

static void check_general_name(const struct cert_walk *w, uint8_t tag, struct der name)
{
    struct bytes s = der_rest(&name);

    switch (tag) {
    case DER_CONTEXT_CONSTRUCTED(0):
        check_other_name(w, name);
        break;
    case DER_CONTEXT(1):
        if (!is_mailbox(s))
            hit(w, R_SAN_EMAIL);
        break;
    case DER_CONTEXT(2):
        if (s.len && memchr(s.p, '*', s.len))
            hit(w, R_SAN_DNS_WILDCARD);
        else if (!is_dns_name(s))
            hit(w, R_SAN_DNS);
        break;
    case DER_CONTEXT(6):
        if (!lint_is_uri(s))
            hit(w, R_SAN_URI);
        break;
    case DER_CONTEXT(7):
        if (s.len != 4 && s.len != 16)
            hit(w, R_SAN_IP);
        break;
    default:
        hit(w, R_SAN_TYPE);
    }
}

static void check_san(const struct cert_walk *w)
{
    const struct lint_ext *ext = &w->ext[EXT_SAN];
    struct bytes seen[SAN_NAMES_MAX];
    struct der list, name;
    size_t n = 0;
    uint8_t tag;

    if (!ext->present)
        return;
    if (ext->critical != (w->subject.len == 0))
        hit(w, R_SAN_CRITICAL);
    if (!lint_only(ext->value, DER_SEQUENCE, &list) || der_at_end(&list)) {
        hit(w, R_SAN_FORM);
        return;
    }
    for (; !der_at_end(&list); n++) {
        if (n == SAN_NAMES_MAX) {
            hit(w, R_SAN_COUNT);
            return;
        }
        if (!der_take_any(&list, &tag, &name, &seen[n])) {
            hit(w, R_SAN_FORM);
            return;
        }
        check_general_name(w, tag, name);
        for (size_t i = 0; i < n; i++)
            if (bytes_equal(seen[i], seen[n]))
                hit(w, R_SAN_DUPLICATE);
    }
}

/* ---- where revocation is published ---- */

/* distributionPoint [0] { fullName [0] { uniformResourceIdentifier [6] } } and nothing else in it. */
static bool take_full_name(struct der *point, struct bytes *uri)
{
    struct der name, full, s;

    if (!der_take(point, DER_CONTEXT_CONSTRUCTED(0), &name) || !der_take(&name, DER_CONTEXT_CONSTRUCTED(0), &full) ||
        !der_at_end(&name) || !der_take(&full, DER_CONTEXT(6), &s) || !der_at_end(&full))
        return false;
    *uri = der_rest(&s);
    return true;
}

static void check_crldp(const struct cert_walk *w)
{
    const struct lint_ext *ext = &w->ext[EXT_CRLDP];
    struct der list, point, unwanted;
    struct bytes uri;

    if (w->is_ocsp_signer) {
        if (w->ext_seen[EXT_CRLDP])
            hit(w, R_OCSP_SIGNER_CRL);
        return;
    }
    if (w->ext_seen[EXT_CRLDP] != (w->x->crl_url && !w->is_root)) {
        hit(w, R_CRLDP_EXPECTED);
        return;
    }
    if (!ext->present)
        return;
    if (ext->critical)
        hit(w, R_CRLDP_CRITICAL);
    if (!lint_only(ext->value, DER_SEQUENCE, &list) || !der_take(&list, DER_SEQUENCE, &point) || !der_at_end(&list) ||
        !take_full_name(&point, &uri)) {
        hit(w, R_CRLDP_FORM);
        return;
    }
    if (der_take(&point, DER_CONTEXT(1), &unwanted))
        hit(w, R_CRLDP_REASONS);
    if (der_take(&point, DER_CONTEXT_CONSTRUCTED(2), &unwanted))
        hit(w, R_CRLDP_CRL_ISSUER);
    if (!der_at_end(&point))
        hit(w, R_CRLDP_FORM);
    if (!lint_is_http_uri(uri))
        hit(w, R_CRLDP_HTTP);
    else if (!bytes_equal(uri, bytes_str(w->x->crl_url)))
        hit(w, R_CRLDP_URI);
}

struct aia_seen {
    unsigned ocsp, ca_issuers;
};

static void check_access(const struct cert_walk *w, struct bytes method, struct bytes uri, struct aia_seen *seen)
{
    bool is_ocsp = bytes_equal(method, OID_AD_OCSP), is_issuers = bytes_equal(method, OID_AD_CA_ISSUERS);

    if ((!is_ocsp && !is_issuers) || (is_ocsp && seen->ocsp++) || (is_issuers && seen->ca_issuers++)) {
        hit(w, R_AIA_METHOD);
        return;
    }
    if (!lint_is_http_uri(uri))
        hit(w, R_AIA_HTTP);
    else if (is_ocsp && w->x->ocsp_url && !bytes_equal(uri, bytes_str(w->x->ocsp_url)))
        hit(w, R_AIA_OCSP);
}

static void check_aia(const struct cert_walk *w)
{
    const struct lint_ext *ext = &w->ext[EXT_AIA];
    bool ocsp_expected = w->x->ocsp_url && !w->is_root;
    bool issuers_expected = w->x->profile->ca_issuers_url && !w->is_root;
    struct aia_seen seen = {0};
    struct der list, access, uri;
    struct bytes method;

    if (w->is_ocsp_signer) {
        if (w->ext_seen[EXT_AIA])
            hit(w, R_OCSP_SIGNER_AIA);
        return;
    }
    if (w->ext_seen[EXT_AIA] != (ocsp_expected || issuers_expected)) {
        hit(w, R_AIA_EXPECTED);
        return;
    }
    if (!ext->present)
        return;
    if (ext->critical)
        hit(w, R_AIA_CRITICAL);
    if (!lint_only(ext->value, DER_SEQUENCE, &list) || der_at_end(&list)) {
        hit(w, R_AIA_FORM);
        return;
    }
    while (!der_at_end(&list)) {
        if (!der_take(&list, DER_SEQUENCE, &access) || !der_take_oid(&access, &method) ||
            !der_take(&access, DER_CONTEXT(6), &uri) || !der_at_end(&access)) {
            hit(w, R_AIA_FORM);
            return;
        }
        check_access(w, method, der_rest(&uri), &seen);
    }
    if ((seen.ocsp > 0) != ocsp_expected)
        hit(w, R_AIA_OCSP);
    if ((seen.ca_issuers > 0) != issuers_expected)
        hit(w, R_AIA_CA_ISSUERS);
}

static bool is_null(struct bytes value)
{
    struct der in = lint_reader(value);

    return der_take_null(&in) && der_at_end(&in);
}

static void check_nocheck(const struct cert_walk *w)
{
    const struct lint_ext *ext = &w->ext[EXT_NOCHECK];

    if (w->ext_seen[EXT_NOCHECK] != w->is_ocsp_signer) {
        hit(w, R_NOCHECK_PRESENT);
        return;
    }
    if (!ext->present)
        return;
    if (ext->critical)
        hit(w, R_NOCHECK_CRITICAL);
    if (!is_null(ext->value))
        hit(w, R_NOCHECK_VALUE);
}

static void check_no_rev_avail(const struct cert_walk *w)
{
    const struct lint_ext *ext = &w->ext[EXT_NO_REV_AVAIL];

    if (!w->ext_seen[EXT_NO_REV_AVAIL])
        return;
    if (w->is_ca)
        hit(w, R_NO_REV_AVAIL_CA);
    if (w->ext_seen[EXT_CRLDP] || (w->ext_seen[EXT_AIA] && w->x->ocsp_url))
        hit(w, R_NO_REV_AVAIL_ALONE);
    if (ext->present && (ext->critical || !is_null(ext->value)))
        hit(w, R_NO_REV_AVAIL_VALUE);
}

static void check_extensions(const struct cert_walk *w)
{
    check_absent(w);
    check_aki(w);
    check_ski(w);
    check_key_usage(w);
    check_basic_constraints(w);
    check_eku(w);
    check_san(w);
    check_crldp(w);
    check_aia(w);
    check_nocheck(w);
    check_no_rev_avail(w);
}

void lint_cert(struct bytes tbs, const struct lint_cert_expect *x, struct lint_report *out)
{
    static const struct lint_sig_rules signature = {R_SIGNATURE_FORM, R_SIGNATURE_ALGORITHM, R_SIGNATURE_PARAMETERS};
    struct cert_walk w = {.lint = {cert_rules, out}, .x = x};
    bool extensions_readable;

    out->n = 0;
    w.is_root = x->profile->kind == PROFILE_ROOT_CA;
    w.is_ca = w.is_root || x->profile->kind == PROFILE_ISSUING_CA;
    w.is_ocsp_signer = x->profile->kind == PROFILE_OCSP_SIGNER;
    w.is_feed_signer = x->profile->kind == PROFILE_FEED_SIGNER;
    w.is_idevid = x->profile->kind == PROFILE_IDEVID;
    if (!split(&w, tbs))
        return;
    extensions_readable = collect_extensions(&w);
    check_version(&w);
    check_serial(&w);
    lint_signature(&w.lint, &signature, w.signature, x->sig_alg);
    check_issuer(&w);
    check_validity(&w);
    check_subject(&w);
    check_spki(&w);
    if (extensions_readable)
        check_extensions(&w);
}
