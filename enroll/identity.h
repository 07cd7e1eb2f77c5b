/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a gateway tells which certificate its client has shown: headers as nginx, HAProxy, Apache, Traefik and Envoy write them, and JSON.
 * Everything here reads text that came over the network; what it yields names a certificate and proves nothing.
 *
 *   certificate   PEM; PEM or base64 with %XX for octets (nginx: $ssl_client_escaped_cert); base64 of the DER (HAProxy: ssl_c_der,base64)
 *   Envoy         x-forwarded-client-cert with one element: Cert="..." (escaped PEM) or Hash=... (SHA-256 in hex)
 *   fingerprint   SHA-256 of the DER in hex
 *   serial        subject key identifier of the issuer and serial number, both in hex
 *
 * Pure functions; any thread. Nothing is kept of what was read but the identity.
 */
#ifndef INKAN_ENROLL_IDENTITY_H
#define INKAN_ENROLL_IDENTITY_H

#include "ca/service.h"

#define IDENTITY_TEXT_MAX (16 * 1024) /* octets of one certificate as text */

/* What a gateway asks. The texts are for the log; the decision takes the audience alone. */
#define QUESTION_TEXT_MAX 256
struct question {
    char audience[ID_MAX_LEN + 1];
    char resource[QUESTION_TEXT_MAX + 1], action[33], client[65], connection[65];
};

/*
 * E_UNAUTHENTICATED: the text names no certificate, and says why. An empty text: IDENTITY_NONE and E_OK. `der`, here and below: gets the
 * certificate itself where it was there (IDENTITY_CERT), for who has no hashes to compare; NULL: not wanted.
 */
MUST_CHECK enum err_code identity_from_text(struct bytes text, struct sts_identity *out, struct buf *der, struct err *e);
MUST_CHECK enum err_code identity_from_xfcc(struct bytes field, struct sts_identity *out, struct buf *der, struct err *e);
MUST_CHECK enum err_code identity_from_fingerprint(struct bytes hex, struct sts_identity *out, struct err *e);
MUST_CHECK enum err_code identity_from_serial(struct bytes issuer_hex, struct bytes serial_hex, struct sts_identity *out, struct err *e);

/*
 * {"cert" | "issuer" and "serial" | "fingerprint", "audience", "resource", "action", "client", "connection"}: texts, all but one way to
 * name the unit optional; without one it is IDENTITY_NONE. Unknown members are E_INVALID. A certificate that does not read is
 * IDENTITY_NONE too: the answer to it is 401.
 */
MUST_CHECK enum err_code question_from_json(struct bytes json, struct question *q, struct sts_identity *who, struct buf *der, struct err *e);
/* [{one way to name the unit}, ...]: 1 to DECISIONS_MAX. `der`: NULL, or one each. */
MUST_CHECK enum err_code units_from_json(struct bytes json, struct sts_identity who[DECISIONS_MAX], struct buf *der, size_t *n, struct err *e);

#endif
