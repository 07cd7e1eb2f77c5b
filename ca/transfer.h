/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two files of a change of owner: flattened JWS (base/jws.h) with these payloads, JSON objects.
 *
 *   the order, by the old owner       {"transfer": NAME, "from": DOMAIN, "to": DOMAIN, "expires": UTC seconds, "device_id": ID}, or
 *                                     "devices": [ID, ...] instead of device_id
 *   the acceptance, by the new owner  {"transfer": NAME, "to": DOMAIN, "order_sha256": hex of SHA-256 over the order's file}
 */
#ifndef INKAN_CA_TRANSFER_H
#define INKAN_CA_TRANSFER_H

struct core;

#define TRANSFER_ORDER_TYP   "inkan-transfer+jws"
#define TRANSFER_ACCEPT_TYP  "inkan-transfer-accept+jws"
#define TRANSFER_FILE_MAX    (96 * 1024)
#define TRANSFER_DEVICES_MAX 250 /* of a new order: one transaction, in which nobody else is served */

/* Every second: an order that ran out is cancelled, and its devices are what they were before. Own transactions. */
void transfer_tick(struct core *c);

#endif
