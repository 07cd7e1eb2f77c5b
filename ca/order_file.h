/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of a work order (docs/factory.md): a flattened JWS (base/jws.h) of typ "inkan-work-order" whose payload is a JSON
 * object with exactly the members of struct order_spec. What is not known refuses, and the message names the member and the
 * rule. Pure but for order_file_accept, which reads the signer's public key.
 *
 * A spec that a function fills was made by order_spec_init; after an error its content means nothing and it is cleared as usual.
 */
#ifndef INKAN_CA_ORDER_FILE_H
#define INKAN_CA_ORDER_FILE_H

#include <jansson.h>

#include "base/conf.h"
#include "base/jws.h"
#include "ca/order_spec.h"

#define ORDER_FILE_TYP    "inkan-work-order"
#define ORDER_PAYLOAD_MAX (ORDER_FILE_MAX / 4 * 3)

/* The payload: as JSON text, or parsed already. */
MUST_CHECK enum err_code order_payload_read(struct bytes json, struct order_spec *out, struct err *e);
MUST_CHECK enum err_code order_payload_check(const json_t *payload, struct order_spec *out, struct err *e);

/* Reads a file: form, typ, payload, kid, hash. The signature is not looked at; `signer` stays empty. */
MUST_CHECK enum err_code order_file_read(struct bytes file, struct order_spec *out, struct err *e);
/* E_DENIED: not signed by this key. */
MUST_CHECK enum err_code order_file_verify(struct bytes file, EVP_PKEY *key, struct err *e);

/*
 * Everything a service asks before it opens an order: its kid is that of a key in `order_signers`; the signature, and only then
 * what order_file_read does; the key may sign for the domain; the number is no label of the configuration; domain and profile are
 * configured and fit. Whether the order is in date and its number free is the ledger's business. E_DENIED: nobody we know signed it.
 * A list of a million ids takes a second: call it from a reader's thread, never from the event loop.
 */
MUST_CHECK enum err_code order_file_accept(const struct conf *conf, struct bytes file, struct order_spec *out, struct err *e);

const char *order_key_mode_name(enum order_key_mode m); /* "server-encrypted" */
bool order_target_is_known(struct bytes name);          /* of "targets": "native", "aws-bulk", ... */

/* "2026-11-22T06:00:00Z"; false for everything else. */
bool time_from_text(const char *s, int64_t *out);

#endif
