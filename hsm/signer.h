/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of a signer's socket. The signer (inkan-signer) is the only process of the service that maps a PKCS#11
 * module; there is one per online token. It signs typed objects only: it parses the header of the to-be-signed object,
 * checks that issuer and purpose fit the key, hashes the object itself, signs, verifies the signature with the expected
 * public key, and answers. Nobody sends it a digest.
 *
 * Keys are named by the core. After linking, the core (or status) tells the signer which keys it expects; the signer
 * finds each by CKA_ID, compares the public key by value and the purpose in CKA_LABEL ("ca/NAME/GEN", "ocsp/...",
 * "audit/...", "record/...", "feed/..."), and refuses to use one that differs.
 *
 * Messages (fields in order; answers carry the request id):
 *   SIGNER_KEYS    u32 n, n x { str name, u8 purpose, bytes cka_id, bytes spki, bytes issuer_name }
 *   SIGNER_KEYS_RESULT   u32 n, n x { u8 err code, str message }
 *   SIGNER_SIGN    str key, u8 kind, u32 deadline_ms, u64 rid, bytes tbs (empty: a sealed memory file comes beside; CRL only)
 *   SIGNER_SIGNED  u8 err code, str message, u8 sig_alg, bytes signature (DER ECDSA-Sig-Value, RSA, Ed25519 octets)
 *   SIGNER_HEALTH  -
 *   SIGNER_HEALTH_RESULT u8 err code, str message, str state, u64 generation, u64 signed, u64 failed, u32 queued,
 *                        u32 p50_us, u32 p99_us
 *   SIGNER_GENERATE  u8 key_alg, u32 deadline_ms, u64 rid: a key pair for somebody else; of the core alone
 *   SIGNER_GENERATED u8 err code, str message, bytes pkcs8 (PrivateKeyInfo), bytes spki; both sides wipe it
 */
#ifndef INKAN_HSM_SIGNER_H
#define INKAN_HSM_SIGNER_H

#include <event2/event.h>

#include "base/bytes.h"
#include "base/conf.h"
#include "base/derw.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/msg.h"
#include "base/openmetrics.h"

enum signer_type {
    SIGNER_KEYS = MSG_RANGE_SIGNER,
    SIGNER_KEYS_RESULT,
    SIGNER_SIGN,
    SIGNER_SIGNED,
    SIGNER_HEALTH,
    SIGNER_HEALTH_RESULT,
    SIGNER_GENERATE,
    SIGNER_GENERATED,
};

/* One purpose per key; certificates and CRLs of a CA are one purpose. */
enum key_purpose { PURPOSE_CA, PURPOSE_OCSP, PURPOSE_AUDIT, PURPOSE_RECORD, PURPOSE_FEED, KEY_PURPOSES };
const char *key_purpose_name(enum key_purpose p); /* "ca", "ocsp", "audit", "record", "feed": first part of CKA_LABEL */

/*
 * What is signed, and what the signer checks before:
 *   SIGN_CERT   TBSCertificate: issuer equals the key's issuer_name; inner AlgorithmIdentifier fits the key
 *   SIGN_CRL    TBSCertList: the same
 *   SIGN_OCSP   ResponseData (RFC 6960): responderID is byKey of this key
 *   SIGN_AUDIT  SEQUENCE { UTF8String "inkan-audit-head", ... }
 *   SIGN_CSR    CertificationRequestInfo (RFC 2986 4.1) of this key itself: subject equals the key's issuer_name, the public
 *               key is the key's own, nothing is asked for
 *   SIGN_JWS    BASE64URL(header) "." BASE64URL(payload) (RFC 7515 5.1): alg fits the key, kid is its SHA-1 (the SKI) in
 *               hex, typ begins with "inkan-", no member beside them but x5t#S256; or a manifest in Microchip's form (hsm/tbs.h)
 *   SIGN_KEY_PACKAGE  signed attributes of a CMS SignedData as a DER SET (RFC 5652 5.4): contentType
 *               id-ct-KP-aKeyPackage (RFC 5958 section 2), messageDigest of the key's digest length, signingTime or none,
 *               CMSAlgorithmProtection or none, nothing else
 *   SIGN_FEED   BASE64URL(header) "." BASE64URL(payload) of the revocation feed (base/feed.h): alg fits the key, typ is one of its two,
 *               the first certificate of x5c is for this key
 */
enum sign_kind { SIGN_CERT, SIGN_CRL, SIGN_OCSP, SIGN_AUDIT, SIGN_CSR, SIGN_JWS, SIGN_KEY_PACKAGE, SIGN_FEED, SIGN_KINDS };

struct signer_key {
    const char *name;
    enum key_purpose purpose;
    struct bytes cka_id;      /* 16 octets */
    struct bytes spki;        /* complete SubjectPublicKeyInfo */
    struct bytes issuer_name; /* CA keys: DER Name the key may sign for; not used for the others */
};

struct signer_health {
    enum err_code code;
    char message[256];
    char state[32]; /* "READY", "DOWN", "PIN_BLOCKED", ... (docs/operations.md) */
    uint64_t generation, signed_count, failed_count;
    uint32_t queued, p50_us, p99_us;
};

struct signer; /* one link; used from the event loop's thread only */

/* `sig` lives until the callback returns. On error sig_alg is SIG_NONE and `e` says why: E_BUSY, E_TOKEN, E_INVALID ... */
typedef void (*signer_done_fn)(void *arg, enum err_code code, const struct err *e, enum sig_alg alg, struct bytes sig);
typedef void (*signer_keys_fn)(void *arg, const struct err *results, size_t n); /* results[i].code E_OK = usable */
typedef void (*signer_health_fn)(void *arg, const struct signer_health *h);
typedef void (*signer_gone_fn)(struct signer *s, void *arg); /* link lost; all pending calls were answered E_TOKEN */

/* Takes over fd. */
struct signer *signer_new(struct event_base *base, int fd, const char *token, signer_gone_fn gone, void *arg,
                          struct err *e);
void signer_free(struct signer *s); /* pending calls are answered E_TOKEN */
void signer_batch(struct signer *s); /* as chan_batch: for a loop that never blocks */
const char *signer_token(const struct signer *s);
/* No deadline: while the token is down at the signer's start the answer waits for it; a lost link answers E_TOKEN. The
 * new table takes the place of the one told before. */
MUST_CHECK enum err_code signer_keys(struct signer *s, const struct signer_key *keys, size_t n, signer_keys_fn done,
                                     void *arg, struct err *e);
/* Queues one signature; `done` is called exactly once, never from inside this call. `rid` names the request it belongs to
 * in the signer's log (0: none). Above 60,000 octets the object goes as a sealed memory file (CRL only). */
MUST_CHECK enum err_code signer_sign(struct signer *s, const char *key, enum sign_kind kind, struct bytes tbs,
                                     uint32_t deadline_ms, uint64_t rid, signer_done_fn done, void *arg, struct err *e);
/* The same for an object in a sealed memory file (CRL only); `fd` is lent. */
MUST_CHECK enum err_code signer_sign_file(struct signer *s, const char *key, enum sign_kind kind, int fd,
                                          uint32_t deadline_ms, uint64_t rid, signer_done_fn done, void *arg,
                                          struct err *e);
MUST_CHECK enum err_code signer_health(struct signer *s, signer_health_fn done, void *arg, struct err *e);
/* A key pair that the token makes and forgets (docs/keygen.md). What the callback gets is wiped when it is back. */
typedef void (*signer_generated_fn)(void *arg, enum err_code code, const struct err *e, struct bytes pkcs8, struct bytes spki);
MUST_CHECK enum err_code signer_generate(struct signer *s, enum key_alg alg, uint32_t deadline_ms, uint64_t rid,
                                         signer_generated_fn done, void *arg, struct err *e);
size_t signer_pending(const struct signer *s);
/* What came of the signatures asked of one token, over all links to it. */
struct signer_stats {
    struct histogram latency; /* of those that were made: from the call to its answer */
    uint64_t failed[ERR_CODES_COUNT];
};
/* From now on they are counted there; lent, NULL = nowhere. */
void signer_measure(struct signer *s, struct signer_stats *into);

/* The algorithm a key signs with (RSA: SIG_RSA_SHA256, P-384: SIG_ECDSA_SHA384, ...); SIG_NONE: not one of ours. */
enum sig_alg sig_alg_for_spki(struct bytes spki);

#endif
