/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger: typed functions over one SQLite database (WAL, synchronous=FULL, read back at open). All SQL is in
 * ca/store/. One connection on one thread does every write and every checkpoint; others open read-only.
 *
 * Writing happens inside a transaction that the caller opens; each request of a batch is a savepoint. An error E_STORE
 * from any write, or from store_commit, means "in doubt": the caller must answer nobody of the batch and leave the
 * process (store_is_doubtful says so). Constraint violations are E_CONFLICT and leave the transaction usable after
 * store_savepoint_undo.
 *
 * Rows are plain structs. Strings and byte strings in rows given to the store are borrowed (a NULL string is ""); those
 * in rows read from it live until the next call on the same store, or until the callback returns. A callback may call
 * other functions of the same store, not the one it is called from, and must not undo or roll back.
 *
 * Every function may return, besides what its comment names: E_STORE (above; a reader may try again later), E_INTERNAL
 * (called outside a transaction, on a reader, or in the wrong order: a bug). An update of a row that is not there is
 * E_NOT_FOUND. Tables and rules: docs/ledger.md. One thread per store.
 */
#ifndef INKAN_CA_STORE_STORE_H
#define INKAN_CA_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/conf.h"
#include "base/err.h"
#include "base/life.h"
#include "base/limits.h"
#include "ca/follow.h"

struct store;

enum store_mode { STORE_WRITE, STORE_READ };

/*
 * Opens. STORE_WRITE: creates (with a random "ledger_id" of 32 hex digits in meta), migrates, and holds the lock file
 * "<path>.lock" until close; E_BUSY when another process holds it. STORE_READ: query_only, never checkpoints, needs the
 * writer to have been there first. A newer schema, another application's database, and a directory with an interrupted
 * restore are refused by name (E_CONFLICT). In-doubt commits of an earlier process are settled by the open of a writer.
 */
MUST_CHECK enum err_code store_open(const char *path, enum store_mode mode, struct store **out, struct err *e);
void store_close(struct store *s);
/* A reader only, from any thread while the store is open: what it does now and everything after fails (E_STORE). */
void store_interrupt(struct store *s);
bool store_is_doubtful(const struct store *s);
/* An error of this store: the disk is full or fails, which may pass; the ledger itself may be whole. */
bool store_is_disk_error(const struct err *e);
const char *store_path(const struct store *s);
const char *store_engine(void); /* "SQLite 3.40.1", for the log */
/*
 * PRAGMA integrity_check, foreign keys, and that the newest status is the same in cert, revoked and status_log: for
 * `doctor` and restore. E_CONFLICT names the first thing wrong. Reads the whole ledger: minutes when it is large, so
 * call it on a reader in a thread of its own.
 */
MUST_CHECK enum err_code store_check(struct store *s, struct err *e);

/* Transactions (BEGIN IMMEDIATE). On a reader: one snapshot for several reads; end it with store_rollback, soon. */
MUST_CHECK enum err_code store_begin(struct store *s, struct err *e);
MUST_CHECK enum err_code store_commit(struct store *s, struct err *e);
void store_rollback(struct store *s);
bool store_in_transaction(const struct store *s);
/* Savepoints do not nest. */
MUST_CHECK enum err_code store_savepoint(struct store *s, struct err *e);
MUST_CHECK enum err_code store_savepoint_keep(struct store *s, struct err *e);
/* Undoes the rows, and the audit head, status seq and counters with them. */
void store_savepoint_undo(struct store *s);
/* Called by the writer after every commit, best when the answers are on their way: copies a portion of the log into the database when
 * one is due, and ends the log's growth. Without it the log only grows. */
MUST_CHECK enum err_code store_checkpoint_step(struct store *s, struct err *e);
/* Called when idle, by the writer: checkpoint TRUNCATE when the -wal file passed `wal_max` octets. A reader in the way is
 * not an error: the next call tries again. */
MUST_CHECK enum err_code store_checkpoint(struct store *s, uint64_t wal_max, struct err *e);
/* Octets of the -wal file. It grows while a reader holds a snapshot. */
uint64_t store_wal_size(const struct store *s);

/* meta: small named values ("ledger_id", "sealed", "time_floor", ...). E_NOT_FOUND when absent. "sealed" is absent, "",
 * or the reason ("restored"). */
MUST_CHECK enum err_code store_meta_set(struct store *s, const char *name, struct bytes value, struct err *e);
MUST_CHECK enum err_code store_meta_get(struct store *s, const char *name, struct buf *value, struct err *e);
MUST_CHECK enum err_code store_meta_set_i64(struct store *s, const char *name, int64_t value, struct err *e);
MUST_CHECK enum err_code store_meta_get_i64(struct store *s, const char *name, int64_t *value, struct err *e); /* absent: 0 */
/* The newest time the ledger knows: the later of meta "time_floor" and the last audit entry. */
MUST_CHECK enum err_code store_time_newest(struct store *s, int64_t *t, struct err *e);

/* Keys in tokens. `name` is "ca/fleet-ca/1". */
struct key_row {
    uint64_t id;
    char name[ID_MAX_LEN * 2 + 1];
    char token[ID_MAX_LEN + 1];
    uint8_t purpose;          /* enum key_purpose */
    uint8_t alg;              /* enum key_alg */
    uint8_t cka_id[16];
    struct bytes spki;
    int64_t created_at, destroyed_at; /* 0 = not */
};
MUST_CHECK enum err_code store_key_insert(struct store *s, struct key_row *row, struct err *e); /* sets id */
MUST_CHECK enum err_code store_key_set_destroyed(struct store *s, uint64_t id, int64_t at, struct err *e);
MUST_CHECK enum err_code store_key_by_name(struct store *s, const char *name, struct key_row *out, struct err *e);
typedef bool (*key_row_fn)(void *arg, const struct key_row *row); /* false stops */
MUST_CHECK enum err_code store_key_each(struct store *s, key_row_fn fn, void *arg, struct err *e);

/* Issuers (CAs). One row per CA certificate; the newest row of a name is in use. */
struct issuer_row {
    uint32_t id;
    char name[ID_MAX_LEN + 1];   /* configuration name */
    uint32_t parent;             /* issuer id that signed it; own id for a self-signed root; 0 = foreign */
#define ISSUER_SELF UINT32_MAX   /* parent on insert: its own id, which the insert puts there */
    uint64_t key;                /* key row, 0 = foreign */
    struct bytes subject, spki, cert;
    uint8_t ski[20];
    int64_t not_before, not_after, created_at;
};
MUST_CHECK enum err_code store_issuer_insert(struct store *s, struct issuer_row *row, struct err *e); /* sets id */
MUST_CHECK enum err_code store_issuer_by_id(struct store *s, uint32_t id, struct issuer_row *out, struct err *e);
MUST_CHECK enum err_code store_issuer_by_name(struct store *s, const char *name, struct issuer_row *out, struct err *e);
typedef bool (*issuer_row_fn)(void *arg, const struct issuer_row *row);
MUST_CHECK enum err_code store_issuer_each(struct store *s, issuer_row_fn fn, void *arg, struct err *e);

/* Profiles in full under their hash. */
MUST_CHECK enum err_code store_profile_put(struct store *s, const uint8_t hash[32], const char *name, const char *body,
                                           int64_t at, struct err *e); /* again: no change */

/* Devices: (domain, device_id); rows of one physical unit share unit. */
struct device_row {
    uint64_t id;
    uint64_t unit;
    const char *domain, *device_id;
    const char *anchor;          /* manufacturer anchor it was declared under, "" = none */
    const char *product, *model, *lot, *order_no, *station, *line, *firmware; /* "" = not known */
    uint8_t state;               /* enum device_state */
    uint8_t prev_state;          /* the one before it */
    int64_t state_at, declared_at, enrolled_at; /* enrolled_at: the first time; 0 = not */
    uint64_t group_secret;       /* declared just in time by this secret, 0 = no */
    uint64_t moved_to;           /* device row it became when its owner changed, 0 = none */
};
MUST_CHECK enum err_code store_device_insert(struct store *s, struct device_row *row, struct err *e); /* unit 0: a new one; sets id, unit */
MUST_CHECK enum err_code store_device_find(struct store *s, const char *domain, const char *device_id,
                                           struct device_row *out, struct err *e);
MUST_CHECK enum err_code store_device_by_id(struct store *s, uint64_t id, struct device_row *out, struct err *e);
MUST_CHECK enum err_code store_device_set_state(struct store *s, uint64_t id, enum device_state state, int64_t at, struct err *e);
/* As store_device_set_state, but only from one of the states of `from` (1 << state each); *changed says whether. The table of
 * the changes that exist is base/life.h's; its effects are ca/life.h's. */
MUST_CHECK enum err_code store_device_advance(struct store *s, uint64_t id, unsigned from, enum device_state to, int64_t at,
                                              bool *changed, struct err *e);
MUST_CHECK enum err_code store_device_set_moved(struct store *s, uint64_t id, uint64_t to, struct err *e);
/* One row of the status log that is about a device alone; sets *seq. `batch` 0 and `origin` "" = none. */
MUST_CHECK enum err_code store_device_log(struct store *s, uint64_t id, enum device_state state, int64_t at, uint64_t batch,
                                          const char *origin, uint64_t *seq, struct err *e);
MUST_CHECK enum err_code store_device_set_unit(struct store *s, uint64_t id, uint64_t unit, struct err *e);
/* What a work order says of a device that an earlier order gave up: anchor, product, model, lot, order_no, station, line. */
MUST_CHECK enum err_code store_device_set_order(struct store *s, const struct device_row *row, struct err *e);
MUST_CHECK enum err_code store_device_set_firmware(struct store *s, uint64_t id, const char *firmware, struct err *e);
/* How the rows of a unit stand: stopped by the state of any that was not moved to another owner, and what that state is. */
struct unit_stand {
    bool stopped;
    enum device_state by;          /* of the row that stops it; DEVICE_IN_REPAIR when no other state does */
    enum device_state state, prev; /* of the row asked about; DEVICE_STATES when it is not of this unit */
    bool moved;                    /* another owner has the row asked about */
    uint64_t unshipped;            /* another row of the unit that has not left its factory; 0 = none */
};
MUST_CHECK enum err_code store_unit_stands(struct store *s, uint64_t unit, uint64_t device, struct unit_stand *out, struct err *e);
struct device_filter {
    const char *domain, *device_id, *product, *lot; /* NULL = any; device_id may hold * at its end */
    int state;                                      /* -1 = any */
    uint64_t after_id;                              /* paging: rows come in the order of id */
    uint64_t limit;                                 /* 0 = none */
    uint64_t unit;                                  /* 0 = any */
};
typedef bool (*device_row_fn)(void *arg, const struct device_row *row);
MUST_CHECK enum err_code store_device_each(struct store *s, const struct device_filter *f, device_row_fn fn, void *arg, struct err *e);
MUST_CHECK enum err_code store_device_count(struct store *s, const struct device_filter *f, uint64_t *n, struct err *e);

/* SPKI -> unit: unique per physical unit across all domains. E_NOT_FOUND when the key is new. */
MUST_CHECK enum err_code store_spki_unit(struct store *s, const uint8_t spki_hash[32], uint64_t *unit, struct err *e);
MUST_CHECK enum err_code store_spki_claim(struct store *s, const uint8_t spki_hash[32], uint64_t unit, int64_t at, struct err *e); /* E_CONFLICT: other unit */

/* Intents. */
enum intent_state { INTENT_OPEN, INTENT_DONE, INTENT_VOID };
struct intent_row {
    uint32_t issuer;
    uint8_t serial[SERIAL_MAX_LEN];
    uint8_t serial_len;
    uint8_t tbs_hash[32], profile_hash[32];
    const char *requester;       /* "device:acme/dev-1", "operator:root", "service:front-0" */
    const char *domain;          /* "" = none */
    uint64_t device;             /* 0 = none */
    int64_t created_at;
};
/* E_CONFLICT: drawn before, whatever came of it, or a certificate has it. */
MUST_CHECK enum err_code store_intent_insert(struct store *s, const struct intent_row *row, struct err *e);
/* Only an open intent can be finished, and as done only one whose certificate has its row (E_CONFLICT). */
MUST_CHECK enum err_code store_intent_finish(struct store *s, uint32_t issuer, struct bytes serial, enum intent_state state,
                                             int64_t at, struct err *e);
/* At start-up: every open intent becomes void; *count says how many. */
MUST_CHECK enum err_code store_intent_void_open(struct store *s, int64_t at, uint64_t *count, struct err *e);
/* By enum intent_state. Reads the whole table for INTENT_DONE. */
MUST_CHECK enum err_code store_intent_counts(struct store *s, uint64_t counts[3], struct err *e);
/* INTENT_DONE: a certificate has the serial. */
MUST_CHECK enum err_code store_intent_state(struct store *s, uint32_t issuer, struct bytes serial, enum intent_state *state, struct err *e);

/* Certificates. */
struct cert_row {
    uint64_t id;
    uint32_t issuer;
    uint8_t serial[SERIAL_MAX_LEN];
    uint8_t serial_len;
    struct bytes der;
    uint8_t der_hash[32], spki_hash[32], profile_hash[32];
    const char *profile;
    uint8_t kind;                /* enum profile_kind: the role of the certificate comes from here */
    uint8_t operation;           /* enum cert_operation */
    uint64_t device;             /* 0 = none */
    const char *domain;
    const char *requester;
    uint8_t credential_hash[32]; /* of what was presented: repeats; zero = none */
    const char *order_no, *station, *line, *model, *lot, *firmware; /* "" = not known */
    unsigned shard;
    int64_t issued_at, not_before, not_after;
    /* the newest status, kept with the row */
    uint8_t status;              /* enum cert_status */
    uint8_t hold_by;             /* enum hold_by bits; not 0 exactly while it is on hold */
    uint8_t reason;              /* enum crl_reason */
    int64_t status_at;
    uint64_t replaced_by;        /* cert row that renewed it, 0 = none */
    int64_t first_used_at;       /* presented in a handshake for the first time, 0 = never */
    uint64_t status_seq;         /* status log row of the newest status, 0 = none yet */
    uint8_t device_state;        /* given to store_cert_issue: the device's state with this certificate; not read back */
};
/* Who holds a certificate. It is on hold while any of them does. */
enum hold_by {
    HOLD_OPERATOR = 1, /* cert hold */
    HOLD_LIFE = 2,     /* the state of its device */
    HOLD_LINE = 4,     /* not confirmed in time */
    HOLD_CENTRE = 8,   /* at a line box */
    HOLD_BOX = 16,     /* at a centre */
};
enum cert_operation { CERT_OP_ENROLL, CERT_OP_REENROLL, CERT_OP_ADMIN, CERT_OP_SERVICE, CERT_OP_CA, CERT_OP_KEYGEN };
/* Sets id. The profile must have been put before; status fields are ignored (store_status_append writes them). */
MUST_CHECK enum err_code store_cert_insert(struct store *s, struct cert_row *row, struct err *e);
/* store_cert_insert and the certificate's first status row, good since issued_at, in one: what issuance writes. That row also
 * tells of the device: its state is `device_state`. Sets id, status_at and status_seq. */
MUST_CHECK enum err_code store_cert_issue(struct store *s, struct cert_row *row, struct err *e);
MUST_CHECK enum err_code store_cert_by_serial(struct store *s, uint32_t issuer, struct bytes serial, struct cert_row *out, struct err *e);
/* The row of exactly this certificate: `der_hash` is over the whole of it and decides; the issuer (its DER Name; for _by_ca a CA's
 * name in the configuration) and the serial only say where to look, since an index of hashes would cost every issuance a page. */
MUST_CHECK enum err_code store_cert_by_der(struct store *s, struct bytes issuer, struct bytes serial, const uint8_t der_hash[32],
                                           struct cert_row *out, struct err *e);
MUST_CHECK enum err_code store_cert_by_ca(struct store *s, const char *ca, struct bytes serial, const uint8_t der_hash[32],
                                          struct cert_row *out, struct err *e);
MUST_CHECK enum err_code store_cert_by_id(struct store *s, uint64_t id, struct cert_row *out, struct err *e);
/* The device's newest certificate of that kind; E_NOT_FOUND. */
MUST_CHECK enum err_code store_cert_newest(struct store *s, uint64_t device, enum profile_kind kind, struct cert_row *out, struct err *e);
/* Newest certificate of a service profile for a requester ("service:front-0", "ocsp:fleet-ca"); E_NOT_FOUND. */
MUST_CHECK enum err_code store_cert_newest_by_requester(struct store *s, const char *requester, enum profile_kind kind, struct cert_row *out, struct err *e);
MUST_CHECK enum err_code store_cert_set_used(struct store *s, uint64_t id, int64_t at, struct err *e); /* again: no change */
MUST_CHECK enum err_code store_cert_set_replaced(struct store *s, uint64_t id, uint64_t by, struct err *e);
struct cert_filter {
    uint32_t issuer;             /* 0 = any */
    uint64_t device;             /* 0 = any */
    const char *domain, *profile;/* NULL = any */
    int status;                  /* -1 = any */
    int64_t expires_before;      /* 0 = any */
    uint64_t after_id, limit;
};
typedef bool (*cert_row_fn)(void *arg, const struct cert_row *row);
MUST_CHECK enum err_code store_cert_each(struct store *s, const struct cert_filter *f, cert_row_fn fn, void *arg, struct err *e);
/* All of a requester that belong to no device, from the one after `after_id`. */
MUST_CHECK enum err_code store_cert_each_of(struct store *s, const char *requester, enum profile_kind kind, uint64_t after_id,
                                            cert_row_fn fn, void *arg, struct err *e);
MUST_CHECK enum err_code store_cert_count(struct store *s, const struct cert_filter *f, uint64_t *n, struct err *e);

/*
 * Status log. store_status_append draws the next seq (last + 1, no gaps), inserts, and updates the certificate row's
 * status. Sets seq, and not_after from the certificate row. The first row of a certificate may have any status; then
 *   good -> hold, good -> revoked, hold -> good (release), hold -> revoked,
 *   hold -> hold by others than before (hold_by), revoked -> revoked for keyCompromise when it was another reason;
 * everything else is E_CONFLICT: revoked never returns, and the same status again is no change and no row. hold_by 0 of a hold
 * counts as HOLD_OPERATOR. `device` is that of the certificate row unless it is set.
 * A serial without a certificate row is E_NOT_FOUND when `origin` is "", and accepted with an origin (an entry of an
 * imported CRL): it is listed in CRLs; not_after 0 then counts as never.
 */
MUST_CHECK enum err_code store_status_append(struct store *s, struct status_row *row, struct err *e);
MUST_CHECK enum err_code store_status_seq(struct store *s, uint64_t *seq, struct err *e);
/*
 * A number of this connection, at least 1, that rises with every store_status_append and every undo: as long as it stays, a
 * certificate that was read as good is good. (Issuance by store_cert_issue changes no other certificate.)
 */
uint64_t store_changes(const struct store *s);
MUST_CHECK enum err_code store_status_by_seq(struct store *s, uint64_t seq, struct status_row *out, struct err *e);
typedef bool (*status_row_fn)(void *arg, const struct status_row *row);
MUST_CHECK enum err_code store_status_each(struct store *s, uint64_t after_seq, uint64_t limit, status_row_fn fn, void *arg, struct err *e);
/*
 * Cursor over what a CRL must list at this moment: certificates of the issuer that are revoked or on hold and whose
 * notAfter is not before `keep_from` (0 = all), of one shard or all (shard 0), sorted by serial (memcmp order). Sets serial,
 * status, reason, time and invalidity. One at a time per store; end it soon, an open cursor stops checkpoints.
 */
MUST_CHECK enum err_code store_revoked_begin(struct store *s, uint32_t issuer, unsigned shard, int64_t keep_from, struct err *e);
bool store_revoked_next(struct store *s, struct status_row *out, struct err *e); /* false: end or error in e->code */
void store_revoked_end(struct store *s);
/* How many rows such a cursor yields. */
MUST_CHECK enum err_code store_revoked_count(struct store *s, uint32_t issuer, unsigned shard, int64_t keep_from, uint64_t *n, struct err *e);
/* Time of the newest revocation, hold or release; 0 = none. */
MUST_CHECK enum err_code store_revoked_newest(struct store *s, uint32_t issuer, unsigned shard, int64_t *newest_change, struct err *e);

/* CRLs: numbers are reserved durably before signing and never reused. */
struct crl_row {
    uint32_t issuer;
    unsigned shard;              /* 0 = full */
    uint64_t number;
    int64_t this_update, next_update, published_at;
    uint64_t seq;                /* status log seq it reflects */
    uint64_t entries;
    bool regular;                /* by the timer: entries of expired certificates may leave after it */
    uint8_t sha256[32];
    struct bytes der;            /* empty above the size kept in the ledger: then only the published file has it */
};
/* max(previous + 1, now); inside the caller's transaction. */
MUST_CHECK enum err_code store_crl_reserve(struct store *s, uint32_t issuer, unsigned shard, int64_t now, uint64_t *number, struct err *e);
/*
 * The number must have been reserved and be above the last published one; this_update and seq must not be before the
 * last published ones (E_CONFLICT). The ledger keeps the DER of the newest CRL of a scope only.
 */
MUST_CHECK enum err_code store_crl_published(struct store *s, const struct crl_row *row, struct err *e);
MUST_CHECK enum err_code store_crl_newest(struct store *s, uint32_t issuer, unsigned shard, struct crl_row *out, struct err *e);
/* this_update 0: there was none. */
MUST_CHECK enum err_code store_crl_last_regular(struct store *s, uint32_t issuer, unsigned shard, int64_t *this_update, struct err *e);
/* The highest number reserved for this CA name (over all its certificates) and shard; 0 = none. */
MUST_CHECK enum err_code store_crl_number(struct store *s, const char *issuer_name, unsigned shard, uint64_t *number, struct err *e);
typedef bool (*crl_number_fn)(void *arg, const char *issuer_name, unsigned shard, uint64_t number);
MUST_CHECK enum err_code store_crl_number_each(struct store *s, crl_number_fn fn, void *arg, struct err *e);

/* Enrollment secrets: only a keyed hash is stored. */
enum secret_kind { SECRET_DEVICE, SECRET_GROUP };
struct secret_row {
    uint64_t id;
    uint8_t kind;
    char user[ID_MAX_LEN + 1];
    uint8_t mac[32];
    const char *domain, *profile;
    uint64_t device;             /* SECRET_DEVICE */
    const char *pattern;         /* SECRET_GROUP: device_id prefix followed by *, or exact */
    uint64_t quota, used;        /* SECRET_GROUP: quota above 0; SECRET_DEVICE: 0 = not limited */
    int64_t not_before, not_after, created_at, revoked_at; /* 0 = none */
    uint8_t bound_spki[32];      /* SECRET_DEVICE, after first use; zero = not used */
    int64_t first_used_at;
};
MUST_CHECK enum err_code store_secret_insert(struct store *s, struct secret_row *row, struct err *e);
MUST_CHECK enum err_code store_secret_by_user(struct store *s, const char *user, struct secret_row *out, struct err *e);
/* The same key again: no change. E_CONFLICT: bound to another key. */
MUST_CHECK enum err_code store_secret_bind(struct store *s, uint64_t id, const uint8_t spki_hash[32], int64_t at, struct err *e);
MUST_CHECK enum err_code store_secret_count_use(struct store *s, uint64_t id, struct err *e); /* E_CONFLICT at the quota or revoked */
MUST_CHECK enum err_code store_secret_revoke(struct store *s, uint64_t id, int64_t at, struct err *e);
typedef bool (*secret_row_fn)(void *arg, const struct secret_row *row);
/* In the order of id, from the one after `after_id`; `limit` 0 = none. */
MUST_CHECK enum err_code store_secret_each(struct store *s, uint64_t after_id, uint64_t limit, secret_row_fn fn, void *arg, struct err *e);

/* Audit rows: ca/audit.c computes the chain; the store keeps it. */
struct audit_row {
    uint64_t seq;
    int64_t time;
    const char *event;           /* "cert-issued", "cert-revoked", "enroll-refused", ... */
    const char *actor, *actor_kind; /* "dev-1" "device"; "root" "operator"; "core" "service" */
    const char *domain, *object; /* "cert:<issuer>/<serial>", "device:acme/dev-1" */
    const char *detail;          /* JSON object, canonical (sorted keys, no blanks) */
    struct bytes request_digest, signature, approvals; /* empty at first */
    uint8_t prev_hash[32], hash[32];
};
/* E_CONFLICT unless seq is last + 1 and prev_hash the last hash (zero at first). */
MUST_CHECK enum err_code store_audit_insert(struct store *s, const struct audit_row *row, struct err *e);
MUST_CHECK enum err_code store_audit_last(struct store *s, uint64_t *seq, uint8_t hash[32], struct err *e); /* none: 0 */
MUST_CHECK enum err_code store_audit_hash(struct store *s, uint64_t seq, uint8_t hash[32], struct err *e);
/* to_seq 0: to the end. */
typedef bool (*audit_row_fn)(void *arg, const struct audit_row *row);
MUST_CHECK enum err_code store_audit_each(struct store *s, uint64_t from_seq, uint64_t to_seq, audit_row_fn fn, void *arg, struct err *e);
struct audit_head_row {
    uint64_t seq;
    int64_t time;
    uint8_t hash[32];
    struct bytes tbs, signature;
    char key[ID_MAX_LEN * 2 + 1]; /* key row name */
    uint8_t sig_alg;             /* enum sig_alg */
};
/* E_CONFLICT: not above the last head, or not the hash of that entry. */
MUST_CHECK enum err_code store_audit_head_insert(struct store *s, const struct audit_head_row *row, struct err *e);
MUST_CHECK enum err_code store_audit_head_last(struct store *s, struct audit_head_row *out, struct err *e);
typedef bool (*audit_head_row_fn)(void *arg, const struct audit_head_row *row);
/* In the order of seq, from the one after `after_seq`; `limit` 0 = none. */
MUST_CHECK enum err_code store_audit_head_each(struct store *s, uint64_t after_seq, uint64_t limit, audit_head_row_fn fn, void *arg, struct err *e);

/* Alarms: what a person must look at, until cleared. One is open per (kind, domain, object). */
struct alarm_row {
    uint64_t id;
    int64_t time;
    const char *kind;            /* "key-of-other-unit", "clone-suspected", "crl-late", ... */
    const char *domain, *object; /* "" = none; "device:acme/dev-1", "crl:fleet-ca/0" */
    const char *text;
    int64_t cleared_at;          /* 0 = open */
    int64_t acked_at;            /* 0 = nobody has looked; ignored on insert, like the rest */
    const char *acked_by, *note;
};
MUST_CHECK enum err_code store_alarm_insert(struct store *s, struct alarm_row *row, struct err *e); /* sets id; E_CONFLICT: already open */
MUST_CHECK enum err_code store_alarm_clear(struct store *s, const char *kind, const char *domain, const char *object,
                                           int64_t at, struct err *e); /* E_NOT_FOUND: none open */
typedef bool (*alarm_row_fn)(void *arg, const struct alarm_row *row);
MUST_CHECK enum err_code store_alarm_each(struct store *s, bool open_only, alarm_row_fn fn, void *arg, struct err *e);

/*
 * Online, consistent copy (SQLite backup API) into `path` (must not exist); fsynced, mode 0600, one file without a WAL.
 * On a reader: of the snapshot it holds, or of one taken for the copy; a large ledger is copied from a thread of its own. On
 * the writer: outside a transaction.
 */
MUST_CHECK enum err_code store_backup(struct store *s, const char *path, struct err *e);

#endif
