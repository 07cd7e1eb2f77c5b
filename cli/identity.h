/* SPDX-License-Identifier: Apache-2.0 */
/* Whom `inkan` speaks for: an operator's certificate and key, and what they sign (ca/signed_request.h). */
#ifndef INKAN_CLI_IDENTITY_H
#define INKAN_CLI_IDENTITY_H

#include <jansson.h>
#include <openssl/x509.h>

#include "base/bytes.h"

struct identity;

/*
 * `cert_file`: PEM, the operator's certificate first, CAs above it after it. `key`: a PEM file or a pkcs11: URI (RFC 7512);
 * NULL: in `cert_file` too. E_INVALID: they do not belong together, or the key signs no JWS.
 */
MUST_CHECK enum err_code identity_load(const char *cert_file, const char *key, struct identity **out, struct err *e);
void identity_free(struct identity *i);
X509 *identity_get0_cert(const struct identity *i);
EVP_PKEY *identity_get0_key(const struct identity *i);
const STACK_OF(X509) *identity_get0_chain(const struct identity *i);

/* One request for `node`, fresh for a few minutes. `file` -1: none goes with it. */
MUST_CHECK enum err_code identity_sign(const struct identity *i, const char *node, const char *op, const json_t *args, int file, struct buf *out,
                                       struct err *e);

#endif
