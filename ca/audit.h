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
    const char *detail; /* JSON object text, canonical (json_dumps JSON_SORT_KEYS | JSON_COMPACT); NULL = {} */
    struct bytes request_digest;
    struct bytes signature, approvals; /* empty at first */
};
/*
 * Appends inside the caller's transaction: reads the last hash, chains, inserts. E_INTERNAL: detail is not canonical, or
 * the event is one of those that audit_cert_issued and audit_status_changed write.
 */
MUST_CHECK enum err_code audit_append(struct store *s, const struct audit_entry *in, int64_t now, struct err *e);

/* Who did it. */
struct audit_actor {
    const char *actor, *actor_kind, *domain;
    struct bytes request_digest, signature, approvals;
};
/*
 * The entries that audit_verify checks against the rows; in the transaction of those rows, one entry for each:
 *   audit_cert_issued     "cert-issued": after store_cert_issue; `seq` is that of its status row. Detail: der_sha256, issuer,
 *                         profile, requester, seq, serial.
 *   audit_status_changed  "cert-revoked", "cert-held", "cert-released": after every other store_status_append. Detail:
 *                         issuer, reason, seq, serial.
 * `issuer_name` is the name of the issuer row.
 */
MUST_CHECK enum err_code audit_cert_issued(struct store *s, const struct audit_actor *who, const char *issuer_name,
                                           const struct cert_row *cert, uint64_t seq, int64_t now, struct err *e);
MUST_CHECK enum err_code audit_status_changed(struct store *s, const struct audit_actor *who, const char *issuer_name,
                                              const struct status_row *row, int64_t now, struct err *e);

/*
 * One transaction of a mass action, after its rows: "batch-step". Detail: action, batch, first and last (places in the order in which
 * its list runs), changed, same, refused, rows_from and rows_to (the status rows of the transaction, rows_to below rows_from when
 * there are none), digest (over those rows, docs/audit.md). It stands for an entry of each of those rows.
 */
struct audit_step {
    uint64_t batch, first, last, changed, same, refused;
    uint64_t seq_before; /* the newest status row before the transaction */
    const char *action;
};
MUST_CHECK enum err_code audit_batch_step(struct store *s, const struct audit_actor *who, const struct audit_step *step, int64_t now,
                                          struct err *e);

/*
 * To-be-signed head for the newest entry; E_NOT_FOUND when nothing is new since the last head. Fills seq, time, hash and
 * tbs of `out` (borrowed from `tbs`); the caller adds key, sig_alg and signature, and gives the row to
 * store_audit_head_insert and, after the commit, to audit_head_publish.
 */
MUST_CHECK enum err_code audit_head_tbs(struct store *s, struct bytes ledger_id, int64_t now, struct audit_head_row *out,
                                        struct buf *tbs, struct err *e);
/* "seq time hash key base64(tbs) base64(signature)", without a newline. */
void audit_head_line(const struct audit_head_row *head, struct buf *out);
/* One line per head in DIR/audit-heads (append, fsync): "seq time hash key base64(tbs) base64(signature)". */
MUST_CHECK enum err_code audit_head_publish(const char *dir_marks, const struct audit_head_row *head, struct err *e);

struct audit_verdict {
    uint64_t entries, heads; /* entries of the ledger; heads whose signature is good, in the ledger and outside */
    uint64_t signed_entries; /* with the good signature of the operator they name, and where it took two, of the other one */
    uint64_t bad_seq;        /* first bad entry, 0 = none, or what is bad is not an entry (then `what` names the row) */
    char what[256];          /* "entry 17: hash differs", ...; when nothing is bad, how far the proof reaches */
    uint64_t proven_seq;     /* covered by a head with a good signature */
    int64_t proven_at;       /* when that head was signed */
    bool heads_from_outside; /* --heads was given and held at least one good head by the given key */
    bool key_from_ledger;    /* no audit key was given: the signatures were checked with the ledger's own key rows */
    uint64_t damaged_lines;  /* of the heads file, skipped (a torn append) */
};
/*
 * Offline verification of a ledger (or backup) file: chain, gaps, order; heads' signatures with the audit key's SPKI;
 * heads kept elsewhere (`heads_path`, NULL = none) against the chain; every certificate and status row has its entry
 * with its DER hash, and the reverse; store_check. E_OK: nothing bad. E_CONFLICT: something bad, see verdict; other codes:
 * could not look. `audit_spki` empty: the key rows of the ledger are used (and said so). With it, heads by an older key
 * of the ledger are checked too but prove nothing.
 *
 * E_OK without heads_from_outside proves no more than `what` says: entries removed from the end leave no trace inside.
 * Reads the whole file; writes nothing to it. A ledger in a directory that cannot be written is read from a copy in
 * TMPDIR.
 */
MUST_CHECK enum err_code audit_verify(const char *ledger_path, const char *heads_path, struct bytes audit_spki,
                                      struct audit_verdict *out, struct err *e);

/*
 * High-water marks in dir_marks/marks: "audit N HASH", "status N", "crl ISSUER SHARD NUMBER", "time T"; atomic. They are
 * written after the commits they tell of, so they are never ahead of a ledger that lost nothing.
 */
#define MARKS_CRL_MAX 256
struct marks {
    uint64_t audit_seq, status_seq;
    uint8_t audit_hash[32];
    int64_t time;
    struct { char issuer[ID_MAX_LEN + 1]; unsigned shard; uint64_t number; } crl[MARKS_CRL_MAX];
    size_t crl_n;
};
MUST_CHECK enum err_code marks_read(const char *dir_marks, struct marks *out, struct err *e); /* E_NOT_FOUND: none yet */
MUST_CHECK enum err_code marks_write(const char *dir_marks, const struct marks *in, struct err *e);
/* The marks of a ledger as it is. E_BUSY: more than MARKS_CRL_MAX scopes. */
MUST_CHECK enum err_code marks_collect(struct store *s, int64_t now, struct marks *out, struct err *e);
/*
 * Which marks is the ledger behind? One line each in `which` ("audit: the ledger ends at 50, the mark says 57"); empty:
 * none. `time` is not compared: it is the clock's floor.
 */
MUST_CHECK enum err_code marks_behind(struct store *s, const struct marks *marks, struct buf *which, struct err *e);

#endif
