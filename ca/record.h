/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records: statements of the service that others keep and check without it (close-out reports, hand-over lists, issuance
 * budgets), as flattened JWS (base/jws.h) signed by the record key in its token.
 *
 * The key and its certificate are made with the CA of `records.profile` (inkan ca create) and renewed by services_renew.
 * The key of the revocation feed (ca/feed.h) is made, certified and renewed the same way; the status process signs with it.
 *
 * All functions are for the loop's thread.
 */
#ifndef INKAN_CA_RECORD_H
#define INKAN_CA_RECORD_H

#include "ca/core.h"

#define RECORD_PAYLOAD_MAX 40000 /* octets of one record before base64: it goes to the signer inline */

/* Where the key of records (PURPOSE_RECORD) or of the feed (PURPOSE_FEED) belongs by configuration; token "": nowhere. */
struct signer_place {
    enum key_purpose purpose;
    enum profile_kind kind;
    const char *token, *profile, *name;
    enum key_alg alg;
    struct record_signer *signer;
};
struct signer_place signer_place(struct core *c, enum key_purpose purpose);

/* Reads the keys of records and of the feed with their newest certificates from the ledger into c->record and c->feed; keys are
 * loaded before. */
MUST_CHECK enum err_code record_load(struct core *c, struct err *e);
void record_clear(struct core *c);

/* May records be signed now? On false `why` says what is missing. */
bool record_is_ready(struct core *c, const char **why);

/* `jws` lives until the callback returns; on an error it is empty. */
typedef void (*record_fn)(struct core *c, void *arg, const struct err *e, struct bytes jws);
/*
 * Signs `payload` (JSON, copied) under `typ` ("inkan-close-out"). Many may be under way at once; `done` is called exactly once
 * for each, never from inside this call. E_CONFLICT: `records` is not configured or has no certificate yet; E_TOKEN: its signer
 * is away; E_BUSY: its queue is full.
 */
MUST_CHECK enum err_code record_sign(struct core *c, const char *typ, struct bytes payload, record_fn done, void *arg,
                                     struct err *e);
/*
 * Signs the attributes of a CMS key package (SIGN_KEY_PACKAGE, hsm/signer.h) with the same key. The signature is in the form CMS
 * wants (DER for ECDSA); the signer's certificate is c->record.cert.
 */
MUST_CHECK enum err_code record_sign_key_package(struct core *c, struct bytes attributes, uint64_t rid, signer_done_fn done,
                                                 void *arg, struct err *e);

#endif
