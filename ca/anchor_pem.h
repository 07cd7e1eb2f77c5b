/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificates of a manufacturer's trust anchor. One below which no device could ever be let in is refused here, where somebody reads it,
 * and not at each enrollment: what is no CA, or breaks a rule that OpenSSL's strict verification (RFC 5280) holds against every chain through
 * it. When it is valid is not asked.
 */
#ifndef INKAN_CA_ANCHOR_PEM_H
#define INKAN_CA_ANCHOR_PEM_H

#include <openssl/types.h>

#include "base/bytes.h"
#include "base/err.h"

#define ANCHOR_FILE_MAX    ((size_t)1 << 20)
#define ANCHOR_AUTH_LEVEL  2 /* OpenSSL's security level: 112 bits, so no SHA-1 and no RSA below 2048 */

/*
 * Reads PEM, one certificate or more, into a new store, which the caller frees. `pem` (NULL: not wanted) gets the certificates alone.
 *
 * E_INVALID  there is none, or one cannot serve: `e` names it by its number and says why
 */
MUST_CHECK enum err_code anchor_pem_read(struct bytes text, X509_STORE **out, struct buf *pem, struct err *e);

/*
 * For want of memory OpenSSL reads a certificate by half, does not say so and never reads the rest: under an anchor read so no
 * device would be let in any more. One read here was read again when it was not whole: what is wrong is wrong again.
 */
X509 *x509_whole(struct bytes der);

#endif
