/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operator signs: one request of the administration as a compact JWS (RFC 7515 7.1), type "inkan-request+jws". The header
 * names the operator's certificate by x5t#S256; the payload is one JSON object:
 *
 *   node         the ledger it is for, as the service says it of itself
 *   op, args     what is to run, whole
 *   nonce        16 random octets in hex, never twice
 *   iat, exp     UTC seconds; exp is at most 10 minutes after iat
 *   file_sha256  of the file that goes with the request, hex; present exactly when there is one
 *
 * Pure: reads and writes. Who signed, and whether it is fresh, is the core's question (ca/people.h).
 */
#ifndef INKAN_CA_SIGNED_REQUEST_H
#define INKAN_CA_SIGNED_REQUEST_H

#include <jansson.h>

#include "base/jws.h"
#include "base/limits.h"

#define SIGNED_TYP         "inkan-request+jws"
#define SIGNED_REQUEST_MAX (60 * 1024) /* octets of the JWS: it fits one message */
#define SIGNED_LIFE_MAX_S  600
#define SIGNED_NODE_MAX    64
#define SIGNED_OP_MAX      63
#define SIGNED_NONCE_LEN   16

struct signed_request {
    struct jws jws;              /* points into the text that was read */
    uint8_t cert_hash[32];       /* SHA-256 of the certificate's DER */
    char node[SIGNED_NODE_MAX + 1];
    char op[SIGNED_OP_MAX + 1];
    json_t *args;                /* owned */
    uint8_t nonce[SIGNED_NONCE_LEN];
    int64_t iat, exp;
    bool has_file;
    uint8_t file_sha256[32];
};

/* E_INVALID names the member. On success signed_request_clear is the caller's. */
MUST_CHECK enum err_code signed_request_read(struct bytes text, struct signed_request *out, struct err *e);
void signed_request_clear(struct signed_request *r);

/* Signs what `r` says (jws is ignored). */
MUST_CHECK enum err_code signed_request_write(const struct signed_request *r, EVP_PKEY *key, struct buf *out, struct err *e);

/* SHA-256 of "OP\n" and the arguments in canonical JSON: the digest of a request in the trail. */
MUST_CHECK enum err_code request_digest(const char *op, const json_t *args, uint8_t out[32], struct err *e);
/* What a second person signs: which pending request, whose, and what it does. */
MUST_CHECK enum err_code pending_digest(uint64_t id, const char *requester, const char *op, const json_t *args, uint8_t out[32],
                                        struct err *e);

#endif
