/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing to-be-signed certificates (RFC 5280 section 4, IEEE 802.1AR) from a profile, and reading certificates.
 *
 * The writer emits: version 3, serial, signature AlgorithmIdentifier of the issuer's key, issuer Name byte for byte as
 * in the issuer's certificate, validity, subject from the template, SPKI bytes as given, then extensions in this order:
 * AKI, SKI, keyUsage (critical), basicConstraints (critical for CAs; absent for end entities), EKU, SAN (critical when the
 * subject is empty), CRLDP, AIA, ocsp-nocheck.
 */
#ifndef INKAN_CA_CERT_H
#define INKAN_CA_CERT_H

#include <time.h>

#include "base/bytes.h"
#include "base/conf.h"
#include "base/derw.h"
#include "base/err.h"
#include "base/limits.h"
#include "ca/csr.h"

/* The signing CA as the writer needs it. */
struct cert_issuer {
    const char *name;      /* configuration name: part of the CRL, OCSP and caIssuers addresses */
    struct bytes subject;  /* DER Name */
    struct bytes spki;
    uint8_t ski[20];       /* of the issuer's certificate */
    time_t not_before, not_after;
    enum sig_alg sig_alg;
    bool is_self;          /* self-signed root: AKI = own SKI */
};

/* What differs from certificate to certificate. Strings fill the template variables; NULL counts as empty. */
struct cert_inputs {
    uint8_t serial[SERIAL_MAX_LEN];
    size_t serial_len;
    time_t now;
    const char *device_id, *domain, *product, *model, *lot, *name;
    const struct conf_strings *san; /* overrides the profile's (server_names), else NULL */
    struct bytes subject;  /* not empty: these DER Name bytes instead of the template (renewal keeps the old bytes) */
    struct bytes san_der;  /* not empty: this GeneralNames value instead of the template (renewal) */
    const struct pubkey *key;
    unsigned shard;        /* 1..n: CRL URL of that shard; 0: full CRL */
    time_t not_after_max;  /* 0 = issuer's end only */
};

struct cert_built {
    struct buf tbs;        /* max CERT_MAX_LEN */
    time_t not_before, not_after;
};

/*
 * Writes the TBSCertificate. Subject attributes whose template comes out empty are left out; a SAN template with an empty
 * variable, an idevid or ldevid without device_id, an idevid without subject serialNumber and a keyUsage that the key
 * cannot serve (RFC 3279 2.3.1, RFC 8813 section 3, RFC 9295 section 3) are refused (E_INVALID). An issuer whose end has
 * come is E_DENIED. notBefore = now - 5 min but never before the issuer's; notAfter = notBefore + validity (or
 * 99991231235959Z) and never beyond the issuer's: clamped for end entities, refused (E_INVALID) for profiles without
 * expiry under an issuer with one. Key type not allowed by the profile: E_INVALID. The caller inits out->tbs.
 */
MUST_CHECK enum err_code cert_tbs_write(const struct conf *conf, const struct conf_profile *profile,
                                        const struct cert_issuer *issuer, const struct cert_inputs *in,
                                        struct cert_built *out, struct err *e);

/*
 * The addresses that go into certificates, CRLs and lint, made in one place: PUBLIC_URL/crl/CA.crl (shard 0) or
 * PUBLIC_URL/crl/CA-SHARD.crl, PUBLIC_URL/ocsp, PUBLIC_URL/ca/CA.cer. E_INVALID when it does not fit.
 */
#define CERT_URL_MAX 512
MUST_CHECK enum err_code cert_crl_url(const struct conf *conf, const char *ca_name, unsigned shard,
                                      char out[CERT_URL_MAX], struct err *e);
MUST_CHECK enum err_code cert_ocsp_url(const struct conf *conf, char out[CERT_URL_MAX], struct err *e);
MUST_CHECK enum err_code cert_ca_issuers_url(const struct conf *conf, const char *ca_name, char out[CERT_URL_MAX],
                                             struct err *e);

/* SEQUENCE { tbs, alg, signature } */
MUST_CHECK enum err_code cert_assemble(struct bytes tbs, enum sig_alg alg, struct bytes sig, struct buf *der, struct err *e);

/*
 * "CN=Fleet CA 1,O=Example,serialNumber=x,C=JP" (RDNs in the order written, backslash escapes, one attribute an RDN) to a
 * DER Name, appended to `der`. Types: CN, serialNumber, O, OU, C, ST, L. Values become PrintableString where they fit, else
 * UTF8String; C and serialNumber must fit.
 */
MUST_CHECK enum err_code name_from_text(const char *text, struct buf *der, struct err *e);
/* For people: the same form back; anything unprintable as \xx. Always terminated. */
void name_to_text(struct bytes name, char *out, size_t size);
/* RFC 5280 7.1 in the subset we issue: case-insensitive, white space folded, string types compared by content. */
bool name_matches(struct bytes a, struct bytes b);
/* Value of the first attribute of that type as UTF-8; false when absent, too long or holding a NUL. */
bool name_get(struct bytes name, struct bytes oid, char *out, size_t size);

/* 1..n from the serial, n = 0 gives 0. Fixed at issuance. */
unsigned cert_shard(struct bytes serial, unsigned shards);

/* 20 octets, 159 random bits, first octet 0x01..0x7f (RFC 5280 4.1.2.2). */
MUST_CHECK enum err_code serial_draw(uint8_t serial[SERIAL_MAX_LEN], struct err *e);

void ski_of(struct bytes key_bits, uint8_t ski[20]); /* SHA-1 of the BIT STRING value (RFC 5280 4.2.1.2 (1)) */

/*
 * A certificate read in place; everything points into `der`. Version 3 only; serial is the magnitude without a sign octet;
 * duplicate extensions and differing inner and outer algorithms are refused. No signature is checked.
 */
struct cert {
    struct bytes der, tbs, serial, issuer, subject, spki, sig_alg, sig;
    time_t not_before, not_after;
    struct bytes ski, aki;      /* key identifiers, empty when absent */
    struct bytes san;           /* GeneralNames DER, empty when absent */
    bool is_ca;
    int path_len;               /* -1 = none */
    unsigned key_usage;         /* 0 = absent */
    bool has_eku, eku_client_auth, eku_server_auth, eku_any, eku_ocsp;
    bool has_no_check;
    bool has_unique_ids;        /* issuerUniqueID or subjectUniqueID */
    struct bytes extensions;    /* content of the list: what extension_take reads; empty when absent */
};
MUST_CHECK enum err_code cert_read(struct bytes der, struct cert *out, struct err *e);

#endif
