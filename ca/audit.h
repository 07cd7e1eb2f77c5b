/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit trail: a hash chain in the ledger, heads signed by a token key and written to a second place.
 *
 * hash(n) = SHA-256( "inkan-audit-1" || prev_hash || canonical encoding of the row ). The canonical encoding and the head
 * (DER SEQUENCE { UTF8String "inkan-audit-head", INTEGER seq, GeneralizedTime, OCTET STRING hash, UTF8String ledger id })
 * are described in docs/audit.md, so that anyone can write a verifier.
 */
#ifndef INKAN_CA_AUDIT_H
#define INKAN_CA_AUDIT_H

#include "base/bytes.h"
#include "base/err.h"
#include "ca/store/store.h"

struct audit_entry {
    const char *event, *actor, *actor_kind, *domain, *object;
    const char *detail; /* JSON object text, canonical; NULL = {} */
    struct bytes request_digest;
};
/* Appends inside the caller's transaction: reads the last hash, chains, inserts. */
MUST_CHECK enum err_code audit_append(struct store *s, const struct audit_entry *in, int64_t now, struct err *e);

/* To-be-signed head for the newest entry; E_NOT_FOUND when nothing is new since the last head. */
MUST_CHECK enum err_code audit_head_tbs(struct store *s, struct bytes ledger_id, int64_t now, struct audit_head_row *out,
                                        struct buf *tbs, struct err *e);
/* One line per head in DIR/audit-heads (append, fsync): "seq time hash key base64(tbs) base64(signature)". */
MUST_CHECK enum err_code audit_head_publish(const char *dir_marks, const struct audit_head_row *head, struct err *e);

struct audit_verdict {
    uint64_t entries, heads;
    uint64_t bad_seq;       /* first bad entry, 0 = none */
    char what[256];         /* "entry 17: hash differs", "entry 20 is missing", ... */
    uint64_t proven_seq;    /* covered by a head with a good signature */
    int64_t proven_at;
    bool heads_from_outside;/* --heads was given */
};
/*
 * Offline verification of a ledger (or backup) file: chain, gaps, order; heads' signatures with the audit key's SPKI;
 * heads kept elsewhere (`heads_path`, NULL = none) against the chain; every certificate and status row has its entry
 * with its DER hash, and the reverse. E_OK: nothing bad. E_CONFLICT: something bad, see verdict. `audit_spki` empty: the
 * key row of the ledger is used (and said so).
 */
MUST_CHECK enum err_code audit_verify(const char *ledger_path, const char *heads_path, struct bytes audit_spki,
                                      struct audit_verdict *out, struct err *e);

/* High-water marks in dir_marks/marks: "audit N HASH", "status N", "crl ISSUER SHARD NUMBER", "time T"; atomic. */
struct marks {
    uint64_t audit_seq, status_seq;
    uint8_t audit_hash[32];
    int64_t time;
    struct { char issuer[ID_MAX_LEN + 1]; unsigned shard; uint64_t number; } crl[256];
    size_t crl_n;
};
MUST_CHECK enum err_code marks_read(const char *dir_marks, struct marks *out, struct err *e); /* E_NOT_FOUND: none yet */
MUST_CHECK enum err_code marks_write(const char *dir_marks, const struct marks *in, struct err *e);

#endif
