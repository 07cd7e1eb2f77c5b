/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manufacturers' trust anchors, and judging the chain of a birth certificate under one of them (RFC 5280 section 6).
 *
 * OpenSSL judges whole chains. The certificates above the device's are the same for all devices of a manufacturer, so a CA whose
 * chain was found good is remembered with its anchor and with all that was sent above the device's certificate, octet for octet, for
 * as long as every certificate of that chain is valid and these anchors are loaded. When the same is sent again, only the device's
 * certificate is judged, here: its signature each time, its dates, and that it has nothing but extensions whose meaning is plain.
 * For everything else OpenSSL is asked as before, so what is remembered changes how long an answer takes and not the answer.
 *
 * For one thread.
 */
#ifndef INKAN_CA_ANCHOR_H
#define INKAN_CA_ANCHOR_H

#include "ca/cert.h"

struct anchors;

/* Reads the files of all anchors of the configuration. NULL: `e` says which cannot be used. */
struct anchors *anchors_read(const struct conf *conf, struct err *e);
void anchors_free(struct anchors *a);
/* Appends the certificates of all files in PEM. */
void anchors_add_pem(const struct anchors *a, struct buf *out);
/* No CA is remembered any more. */
void anchors_forget(struct anchors *a);

/*
 * Does this chain, leaf first, verify under the anchor of that name at `now`?
 *
 *   leaf  chain[0] as cert_read gives it
 *   key   its public key as pubkey_read gives it, or with alg KEY_NONE
 *
 * E_DENIED: it does not, or the anchor is unknown or has no file (one of our own CAs). E_NOMEM: nobody knows.
 */
MUST_CHECK enum err_code anchor_judge(struct anchors *all, const char *name, const struct bytes *chain, size_t chain_n,
                                      const struct cert *leaf, const struct pubkey *key, int64_t now, struct err *e);

#endif
