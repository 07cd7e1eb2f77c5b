/* SPDX-License-Identifier: Apache-2.0 */
/* Every object identifier we use, as DER content octets. */
#ifndef INKAN_BASE_OID_H
#define INKAN_BASE_OID_H

#include "base/bytes.h"

/* X(name, text, octets...) */
#define OID_LIST(X)                                                                                                    \
    X(OID_CN, "commonName", 0x55, 0x04, 0x03)                                                                          \
    X(OID_SERIAL_NUMBER, "serialNumber", 0x55, 0x04, 0x05)                                                             \
    X(OID_C, "countryName", 0x55, 0x04, 0x06)                                                                          \
    X(OID_L, "localityName", 0x55, 0x04, 0x07)                                                                         \
    X(OID_ST, "stateOrProvinceName", 0x55, 0x04, 0x08)                                                                 \
    X(OID_O, "organizationName", 0x55, 0x04, 0x0a)                                                                     \
    X(OID_OU, "organizationalUnitName", 0x55, 0x04, 0x0b)                                                              \
    X(OID_SKI, "subjectKeyIdentifier", 0x55, 0x1d, 0x0e)                                                               \
    X(OID_KEY_USAGE, "keyUsage", 0x55, 0x1d, 0x0f)                                                                     \
    X(OID_SAN, "subjectAltName", 0x55, 0x1d, 0x11)                                                                     \
    X(OID_BASIC_CONSTRAINTS, "basicConstraints", 0x55, 0x1d, 0x13)                                                     \
    X(OID_CRL_NUMBER, "cRLNumber", 0x55, 0x1d, 0x14)                                                                   \
    X(OID_REASON_CODE, "reasonCode", 0x55, 0x1d, 0x15)                                                                 \
    X(OID_INVALIDITY_DATE, "invalidityDate", 0x55, 0x1d, 0x18)                                                         \
    X(OID_DELTA_CRL, "deltaCRLIndicator", 0x55, 0x1d, 0x1b)                                                            \
    X(OID_IDP, "issuingDistributionPoint", 0x55, 0x1d, 0x1c)                                                           \
    X(OID_CRLDP, "cRLDistributionPoints", 0x55, 0x1d, 0x1f)                                                            \
    X(OID_POLICIES, "certificatePolicies", 0x55, 0x1d, 0x20)                                                           \
    X(OID_AKI, "authorityKeyIdentifier", 0x55, 0x1d, 0x23)                                                             \
    X(OID_EKU, "extKeyUsage", 0x55, 0x1d, 0x25)                                                                        \
    X(OID_ANY_EKU, "anyExtendedKeyUsage", 0x55, 0x1d, 0x25, 0x00)                                                      \
    X(OID_FRESHEST_CRL, "freshestCRL", 0x55, 0x1d, 0x2e)                                                               \
    X(OID_AIA, "authorityInfoAccess", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01)                                  \
    X(OID_EKU_SERVER_AUTH, "serverAuth", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01)                               \
    X(OID_EKU_CLIENT_AUTH, "clientAuth", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02)                               \
    X(OID_EKU_OCSP_SIGNING, "OCSPSigning", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09)                             \
    X(OID_EKU_CMC_RA, "cmcRA", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x1c)                                         \
    X(OID_AD_OCSP, "id-ad-ocsp", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01)                                       \
    X(OID_AD_CA_ISSUERS, "id-ad-caIssuers", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02)                            \
    X(OID_OCSP_BASIC, "id-pkix-ocsp-basic", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01)                      \
    X(OID_OCSP_NONCE, "id-pkix-ocsp-nonce", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02)                      \
    X(OID_OCSP_NOCHECK, "id-pkix-ocsp-nocheck", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x05)                  \
    X(OID_OCSP_PREF_SIG_ALGS, "id-pkix-ocsp-pref-sig-algs", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x08)      \
    X(OID_OCSP_EXTENDED_REVOKE, "id-pkix-ocsp-extended-revoke", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x09)  \
    X(OID_OCSP_RESPONSE_TYPES, "id-pkix-ocsp-response", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x04)          \
    X(OID_OCSP_ARCHIVE_CUTOFF, "id-pkix-ocsp-archive-cutoff", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x06)    \
    X(OID_TLS_FEATURE, "id-pe-tlsfeature", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x18)                             \
    X(OID_ISSUER_ALT_NAME, "issuerAltName", 0x55, 0x1d, 0x12)                                                          \
    X(OID_NAME_CONSTRAINTS, "nameConstraints", 0x55, 0x1d, 0x1e)                                                       \
    X(OID_POLICY_MAPPINGS, "policyMappings", 0x55, 0x1d, 0x21)                                                         \
    X(OID_POLICY_CONSTRAINTS, "policyConstraints", 0x55, 0x1d, 0x24)                                                   \
    X(OID_INHIBIT_ANY_POLICY, "inhibitAnyPolicy", 0x55, 0x1d, 0x36)                                                    \
    X(OID_SIA, "subjectInfoAccess", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x0b)                                    \
    X(OID_NS_CERT_TYPE, "netscapeCertType", 0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x42, 0x01, 0x01)                      \
    X(OID_OCSP_SERVICE_LOCATOR, "id-pkix-ocsp-service-locator", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x07)  \
    X(OID_CERTIFICATE_ISSUER, "certificateIssuer", 0x55, 0x1d, 0x1d)                                                   \
    X(OID_NO_REV_AVAIL, "noRevAvail", 0x55, 0x1d, 0x38)                                                                \
    X(OID_HARDWARE_MODULE_NAME, "id-on-hardwareModuleName", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x04)            \
    X(OID_CMC_CHANGE_SUBJECT, "id-cmc-changeSubjectName", 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x07, 0x24)              \
    X(OID_RSA, "rsaEncryption", 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01)                                  \
    X(OID_RSA_SHA1, "sha1WithRSAEncryption", 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05)                     \
    X(OID_RSA_SHA256, "sha256WithRSAEncryption", 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b)                 \
    X(OID_RSA_SHA384, "sha384WithRSAEncryption", 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c)                 \
    X(OID_RSA_SHA512, "sha512WithRSAEncryption", 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d)                 \
    X(OID_RSA_PSS, "rsassaPss", 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a)                                  \
    X(OID_EC_PUBLIC_KEY, "id-ecPublicKey", 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01)                                   \
    X(OID_P256, "prime256v1", 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07)                                          \
    X(OID_P384, "secp384r1", 0x2b, 0x81, 0x04, 0x00, 0x22)                                                             \
    X(OID_ECDSA_SHA256, "ecdsa-with-SHA256", 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02)                           \
    X(OID_ECDSA_SHA384, "ecdsa-with-SHA384", 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03)                           \
    X(OID_ECDSA_SHA512, "ecdsa-with-SHA512", 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04)                           \
    X(OID_ED25519, "Ed25519", 0x2b, 0x65, 0x70)                                                                        \
    X(OID_SHA1, "sha1", 0x2b, 0x0e, 0x03, 0x02, 0x1a)                                                                  \
    X(OID_SHA256, "sha256", 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01)                                      \
    X(OID_SHA384, "sha384", 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02)                                      \
    X(OID_SHA512, "sha512", 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03)                                      \
    X(OID_CHALLENGE_PASSWORD, "challengePassword", 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x07)               \
    X(OID_EXTENSION_REQUEST, "extensionRequest", 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e)                 \
    X(OID_MS_EXTENSION_REQUEST, "msExtensionRequest", 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x0e)      \
    X(OID_OTP_CHALLENGE, "otpChallenge", 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x38)             \
    X(OID_REVOCATION_CHALLENGE, "revocationChallenge", 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02,     \
      0x39)                                                                                                            \
    X(OID_EST_IDENTITY_LINKING, "estIdentityLinking", 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02,      \
      0x3a)                                                                                                            \
    X(OID_CSR_TEMPLATE, "certificationRequestInfoTemplate", 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10,      \
      0x02, 0x3d)                                                                                                      \
    X(OID_PKCS7_DATA, "id-data", 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01)                                 \
    X(OID_PKCS7_SIGNED_DATA, "id-signedData", 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02)

#define OID_DECLARE(name, text, ...) extern const struct bytes name;
OID_LIST(OID_DECLARE)
#undef OID_DECLARE

const char *oid_name(struct bytes oid);  /* "commonName"; NULL when not in the list */
void oid_format(struct bytes oid, char *out, size_t size); /* dotted decimal, always terminated */

#endif
