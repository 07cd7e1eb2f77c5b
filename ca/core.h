/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core process, private to its own files. One event loop on one thread, which has the ledger's only writing connection;
 * what reads much of the ledger does so in a reader's thread (ca/reader.h) that sees nothing of struct core.
 *
 * Transactions are opened, written and committed inside one callback, so no two of them ever interleave. A ledger in doubt
 * ends the process at once (core_doubt): nobody of the batch is answered, and the next start reads back what is true.
 */
#ifndef INKAN_CA_CORE_H
#define INKAN_CA_CORE_H

#include <event2/event.h>
#include <jansson.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "base/auto.h"
#include "base/chan.h"
#include "base/conf.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/proc.h"
#include "ca/audit.h"
#include "ca/cert.h"
#include "ca/clock_rule.h"
#include "ca/counts.h"
#include "ca/follow.h"
#include "ca/guess_limit.h"
#include "ca/reader.h"
#include "ca/service.h"
#include "ca/store/store.h"
#include "hsm/signer.h"

struct core;
struct issuance;
struct captures;
struct factory;
struct batches;
struct metrics;
struct gateways;
struct notify_link;

/* Copies a text that is known to fit or may be cut; NULL counts as empty. Always terminated. */
static inline __attribute__((unused)) void text_copy(char *out, size_t size, const char *s)
{
    size_t n = s ? strlen(s) : 0;

    if (n >= size)
        n = size - 1;
    if (n)
        memcpy(out, s, n);
    out[n] = '\0';
}

#define KEY_NAME_MAX (ID_MAX_LEN * 2 + 1)
#define PATH_LEN     1024

#define TOKENS_WATCHED 64

#define SIGN_DEADLINE_MS     5000
#define CRL_SIGN_DEADLINE_MS 30000

static inline __attribute__((unused)) void auto_decref_json(json_t **j)
{
    json_decref(*j);
}
#define AUTO_JSON __attribute__((cleanup(auto_decref_json))) json_t

/* ---- keys of ours in tokens, as the ledger has them ---- */
struct known_key {
    uint64_t id;
    char name[KEY_NAME_MAX]; /* "ca/fleet-ca/1" */
    char token[ID_MAX_LEN + 1];
    uint8_t purpose, alg;
    uint8_t cka_id[16];
    struct buf spki;
    int64_t created_at;
};
/* Reads the keys that are not destroyed. */
MUST_CHECK enum err_code keys_load(struct core *c, struct err *e);
void keys_clear(struct core *c);
const struct known_key *key_find(const struct core *c, const char *name);
const struct known_key *key_by_id(const struct core *c, uint64_t id);
/* "ca", "fleet-ca" gives "ca/fleet-ca/1", the first generation. */
void key_name(char *out, size_t size, enum key_purpose purpose, const char *owner);
/* The middle part of a key's name. */
bool key_owner(const char *name, char *out, size_t size);

/* ---- authorities: what the ledger says of each CA of the configuration (authority.c) ---- */

/* One CRL scope: the full list (shard 0) or a shard. */
struct crl_scope {
    struct authority *ca;
    unsigned shard;
    bool exists;            /* a list was published */
    uint64_t number, seq, entries;
    int64_t this_update, next_update;
    int64_t this_floor, next_floor; /* of a published file the ledger has no row of (a crash, a restore) */
    size_t size;
    uint8_t sha256[32];
    int64_t published_at;
    int64_t dirty_since_ms; /* monotonic; 0 = the published list is true */
    int64_t retry_at_ms;    /* after a failure */
    bool busy;              /* a signature is under way */
    bool asked;             /* by an operator: publish even if nothing changed */
    bool alarmed;           /* half life passed and said so */
    int64_t late_since_ms;  /* monotonic, when that was seen first; 0 = it has not passed */
    uint64_t refusals;      /* lists that were not published since the start, and the last reason */
    struct err refused;
};

#define CHAIN_MAX 8 /* certificates from a CA up to its root */

/*
 * The chain of a CA that is certified elsewhere: [0] its own certificate, then upwards, the root last. What the newest
 * imported list of the CA above says of each stands beside it.
 */
struct foreign_chain {
    size_t n;
    struct foreign_link {
        struct buf cert;
        enum cert_status status;
        uint8_t reason;
    } link[CHAIN_MAX];
};

struct authority {
    const struct conf_ca *conf;
    bool exists;
    struct foreign_chain *foreign; /* of an external one that exists, else NULL */
    uint32_t id, parent;
    char key[KEY_NAME_MAX];
    uint8_t cka_id[16];
    struct buf subject, spki, cert;
    uint8_t ski[20];
    int64_t not_before, not_after;
    enum sig_alg alg;
    uint64_t good_at; /* store_changes() when the CA and all above it were seen good; 0: not yet */
    /* its OCSP responder */
    char ocsp_key[KEY_NAME_MAX];
    uint8_t ocsp_cka_id[16];
    struct buf ocsp_spki, ocsp_cert;
    int64_t ocsp_not_before, ocsp_not_after;
    struct crl_scope *scope;
    size_t scope_n;
};

/* Reads all CAs, responder certificates and CRL states from the ledger; replaces what was known. */
MUST_CHECK enum err_code authorities_load(struct core *c, struct err *e);
void authorities_clear(struct core *c);
struct authority *authority_find(struct core *c, const char *name);
struct authority *authority_by_id(struct core *c, uint32_t id);
struct authority *authority_parent(struct core *c, const struct authority *a); /* itself for a root, NULL unknown */
bool authority_is_root(const struct authority *a);
bool authority_is_external(const struct authority *a);
/* Its certificate and those above it, the root last; 0 while one of them does not exist. Lent until the authorities are loaded. */
size_t authority_chain(struct core *c, const struct authority *a, struct bytes out[CHAIN_MAX]);
/* The nearest CA of ours at or above this issuer row: of a line box's CA the one that certified it. NULL: none. */
struct authority *authority_above(struct core *c, uint32_t issuer);
/* E_TOKEN unless the certificates of the CA and of all above it are good. */
MUST_CHECK enum err_code authority_is_good(struct core *c, struct authority *a, struct err *e);
bool authority_is_offline(const struct core *c, const struct authority *a);
/* May it sign now? On false `why` says what is missing. */
bool authority_is_ready(struct core *c, const struct authority *a, const char **why);
bool authority_signs_now(struct core *c, const struct authority *a); /* ready, and its token did not fail a moment ago */
void authority_issuer(const struct authority *a, struct cert_issuer *out);
bool authority_owns_spki(struct core *c, struct bytes spki); /* any key of ours */

/* ---- the keys that sign records and the feed (record.c) ---- */
struct record_signer {
    char key[KEY_NAME_MAX];  /* "" = not made yet, or not configured */
    uint8_t cka_id[16];
    char kid[41], x5t[44];   /* SKI in hex; base64url of the certificate's SHA-256 */
    enum sig_alg alg;
    struct buf spki, cert;   /* cert empty = none yet */
    int64_t not_before, not_after;
};

/* ---- links (core_links.c) ---- */

struct front_link {
    LIST_ENTRY(front_link) link;
    struct core *core;
    struct chan *chan; /* NULL: broken; counts as silent until the supervisor says it is gone */
    uint32_t index;
    char name[ID_MAX_LEN + 1];
    bool hello;
    bool owed;         /* a part of the configuration or a file did not go out: links_tick sends all of it again */
    uint64_t id;       /* answers to a link that was replaced meanwhile go nowhere */
    uint64_t purged_seq;
    struct svc_counts counts; /* as it told last */
};

struct status_link {
    struct core *core;
    struct chan *chan;
    bool present, hello, devices; /* devices: it wants to hear of them */
    uint64_t sent_seq, acked_seq;
    struct event *pump;
};

struct signer_key_state {
    char name[KEY_NAME_MAX];
    bool usable;
    char why[160];
};

struct signer_link {
    LIST_ENTRY(signer_link) link;
    struct core *core;
    char token[ID_MAX_LEN + 1];
    struct signer *signer;
    struct signer_key_state *key;
    size_t key_n;
    bool keys_known;
    struct signer_key_state *asked; /* names of the question under way */
    size_t asked_n;
    bool ask_again;
    uint8_t told[32]; /* digest of the keys last asked about: the same question is not asked twice */
    int64_t asked_ms; /* monotonic, of the last question */
    int64_t failed_ms; /* monotonic, of the last signature that failed for the token's sake; 0: none since the last that was made */
};

void links_on_link(struct proc *p, enum proc_kind peer, uint32_t index, const char *name, int fd, void *arg);
void links_on_gone(struct proc *p, enum proc_kind peer, uint32_t index, const char *name, void *arg);
void links_free(struct core *c);
struct signer_link *signer_link_find(struct core *c, const char *token);
/* Tells the signers again which keys they may use; after a key or CA was added. */
void signer_links_tell_keys(struct core *c);
/* A signature failed for the token's sake: what its signer says of its keys is asked anew. It works: one was made. */
void signer_link_doubt(struct core *c, const char *token);
void signer_link_works(struct core *c, const char *token);
/* Milliseconds since it failed; -1: it did not since something was signed. */
int64_t signer_link_failed_ms(struct core *c, const char *token);
/* The signer that may use `key` now; NULL with `why`. */
struct signer *signer_for_key(struct core *c, const char *token, const char *key, const char **why);
/* After a commit: new rows go to status. */
void links_push_status(struct core *c);
void links_send_issuers(struct core *c);          /* one changed: all again */
void links_send_config(struct core *c);           /* labels, files, anchors to every front */
void links_send_file(struct core *c, const struct svc_file *file, int fd);
void links_send_purge(struct core *c, const struct svc_purge *purge);
void links_tick(struct core *c);                  /* every 5 s: FOLLOW_CURRENT */

/* Waits until status and every live front have confirmed `seq`, at most 10 s. */
typedef void (*confirm_fn)(struct core *c, void *arg, bool confirmed, const char *missing);
void links_confirm(struct core *c, uint64_t seq, confirm_fn done, void *arg);

/* ---- issuance (issue.c) ---- */
struct issuance *issuance_new(struct core *c);
void issuance_free(struct issuance *q);
/* After the configuration was read: the keys it wants kept ready. */
MUST_CHECK enum err_code issuance_configured(struct core *c, struct err *e);

/* ---- enrollment secrets (secret.c) ---- */
MUST_CHECK enum err_code secret_key_load(struct core *c, struct err *e);
MUST_CHECK enum err_code secret_mac(const struct core *c, const char *user, struct bytes secret, uint8_t mac[32], struct err *e);

/* ---- audit (core_audit.c) ---- */
struct actor {
    char name[ID_MAX_LEN * 4];
    const char *kind;           /* "operator", "root", "device", "service", "core" */
    struct bytes request_digest;
    struct bytes signature;     /* an operator's request as signed (JWS), lent */
    struct bytes approvals;     /* the second person's, lent */
    bool *told;                 /* with a signature: an entry has it already. A large one is in the first entry of its request alone */
    bool alone;                 /* root did by himself what takes two operators */
};
#define SIGNATURE_SMALL 4096 /* octets that every entry may carry */
static inline __attribute__((unused)) struct bytes actor_signature(const struct actor *by)
{
    bool left_out = by->told && *by->told && by->signature.len > SIGNATURE_SMALL;

    if (by->told)
        *by->told = true;
    return left_out ? (struct bytes){NULL, 0} : by->signature;
}
/* What the trail says of who did it. */
static inline __attribute__((unused)) struct audit_actor audit_actor_of(const struct actor *by, const char *domain)
{
    return (struct audit_actor){.actor = by->name, .actor_kind = by->kind, .domain = domain, .request_digest = by->request_digest,
                                .signature = actor_signature(by), .approvals = by->approvals};
}
extern const struct actor ACTOR_CORE;
/* Appends inside the open transaction; takes over `detail` (NULL = {}). */
MUST_CHECK enum err_code core_audit(struct core *c, const struct actor *by, const char *event, const char *domain,
                                    const char *object, json_t *detail, int64_t now, struct err *e);
void object_of_cert(char *out, size_t size, uint32_t issuer, struct bytes serial);
void audit_tick(struct core *c);        /* heads and the summary of unauthenticated refusals */
void audit_head_start(struct core *c);  /* signs one now if anything is new */
void audit_open(struct core *c);        /* the newest head of the ledger */
void audit_free(struct core *c);
/* Writes the marks file from the ledger's newest state. */
void marks_update(struct core *c);
MUST_CHECK enum err_code marks_compare(struct core *c, bool *behind, char *what, size_t what_size, struct err *e);

/* ---- revocation (revoke.c) ---- */
struct revocation {
    enum cert_status to;
    enum crl_reason reason;
    int64_t invalidity;
    uint64_t batch;
    const char *origin; /* NULL = this node */
    const char *event;  /* name in the log; NULL: by the change */
    uint8_t hold;       /* enum hold_by: whose hold this is, or whose release; 0 = HOLD_OPERATOR */
    bool tells_state;   /* the row says that its device is `device_state` now */
    enum device_state device_state;
};
/* "an operator (inkan cert release); the line ..." of enum hold_by bits. */
const char *hold_text(uint8_t hold_by, char *out, size_t size);
/*
 * One change of status inside the open transaction: state table, status-log row, audit entry (not with a batch: its own entry
 * tells of it). Again: no change, but for the reason of a revocation, which may become keyCompromise. A release takes away its
 * own hold only; while another stands, the certificate stays on hold.
 * E_CONFLICT: the table does not allow it. Notes the purge item; revoke_changed sends it.
 */
MUST_CHECK enum err_code revoke_apply(struct core *c, const struct cert_row *row, const struct revocation *r,
                                      const struct actor *by, int64_t now, bool *changed, uint64_t *seq, struct err *e);
/* After the commit: rows go to status, purges to the fronts. */
void revoke_changed(struct core *c);

/* ---- files for the fronts (served.c) ---- */

struct list_file;

/* Calls `send` for every file the fronts serve now; fd -1: it could not be made, but is to come. */
typedef void (*file_fn)(void *arg, const struct svc_file *file, int fd);
void served_each(struct core *c, file_fn send, void *arg);
/* A list is in place: keeps its descriptor (takes file->fd), tells the fronts, and has the bundles it is in made anew. */
void served_list(struct core *c, const struct crl_scope *s, struct list_file *file);
void served_open(struct core *c); /* at start: all bundles */
void served_free(struct core *c);

/* ---- publication (publish.c) ---- */
void publish_open(struct core *c);                      /* at start: files as the ledger says */
void publish_free(struct core *c);
void publish_tick(struct core *c);                      /* every 250 ms */
void publish_mark(struct core *c, uint32_t issuer, unsigned shard); /* a status changed */
/* Publishes one scope now. `done` may be NULL. */
typedef void (*publish_fn)(struct core *c, void *arg, struct crl_scope *scope, enum err_code code, const struct err *e);
void publish_start(struct core *c, struct crl_scope *scope, publish_fn done, void *arg);
void publish_name(const struct crl_scope *s, char *out, size_t size); /* "fleet-ca" or "fleet-ca-3" */
void publish_path(const struct core *c, const struct crl_scope *s, char *out, size_t size);

/* ---- key and CA jobs (job.c) ---- */
struct job;
void jobs_free(struct core *c);
void jobs_on_run_result(struct proc *p, uint64_t request_id, enum err_code code, const struct err *e, void *arg);
void jobs_on_token_link(struct core *c, const char *name, int fd);
void jobs_on_token_gone(struct core *c);
bool jobs_use_token(struct core *c, const char *token); /* its signer leaves and comes on purpose */
void jobs_poke(struct core *c); /* something a job may wait for has changed */

/* ---- CAs whose issuer is another service (external.c) ---- */
/* The chain of an external CA that exists, into a->foreign. */
MUST_CHECK enum err_code external_load(struct core *c, struct authority *a, struct err *e);
void external_clear(struct authority *a);
/* CertificationRequestInfo (RFC 2986 4.1) of the CA's key: its configured subject, no attributes. */
MUST_CHECK enum err_code external_request(const struct authority *a, const struct known_key *key, struct buf *out, struct err *e);
/*
 * Puts the certificate another service made for the key of `a` into place, or a newer one of the same key. `cert` and `above`
 * (nearest first, the root last) are checked completely before anything is written. Own transaction.
 */
MUST_CHECK enum err_code external_install(struct core *c, const struct authority *a, const struct actor *by, struct bytes cert,
                                          const struct bytes *above, size_t above_n, struct err *e);

/* ---- line boxes, at the centre (box.c) ---- */
/*
 * May a CA of another service with this subject and key be certified under `name`? E_CONFLICT: the name, the subject or the key is
 * another's, or its certificate is revoked or on hold.
 */
MUST_CHECK enum err_code box_may_be_certified(struct core *c, const char *name, struct bytes subject, struct bytes spki, struct err *e);
/* Its certificate is in the ledger: the CA's row and its entry, inside the open transaction. */
MUST_CHECK enum err_code box_certified(struct core *c, const char *name, uint32_t issuer, const struct cert *cert, const struct actor *by,
                                       int64_t now, struct err *e);
/*
 * Records a line box sends (SVC_FACTORY_BOX, docs/linebox.md): each is checked again and taken, or set aside with its reason; the
 * answer says up to where the centre has them, and what was revoked here. `body` holds the answer, also of a refusal. One
 * transaction of its own.
 */
MUST_CHECK enum err_code box_records(struct core *c, const struct svc_factory *in, int64_t now, struct buf *body, struct err *e);
/* An issuer row without a key of ours whose certificate is good now; that is copied into `cert`, emptied before. */
bool box_is_good(struct core *c, uint32_t issuer, struct buf *cert);

/* ---- the people who administer (people.c) ---- */
/* At start and after a reload: what was running has failed, and a changed policy is an entry. Own transaction. */
MUST_CHECK enum err_code people_open(struct core *c, struct err *e);
void people_tick(struct core *c); /* every second: what waited too long expires */

/* ---- administration (admin_server.c) ---- */
void admin_listen(struct core *c, int fd);
MUST_CHECK enum err_code admin_users_load(struct core *c, struct err *e);
void admin_free(struct core *c);
/* The link with inkan-admin (admin_link.c). begin takes over `fd`. */
void admin_link_begin(struct core *c, int fd);
void admin_link_end(struct core *c);
void admin_link_tell(struct core *c); /* whose certificates it lets in; after CAs or the configuration changed */

/* ---- inkan-notify (notify_link.c) ---- */
void notify_link_begin(struct core *c, int fd); /* takes over fd */
void notify_link_end(struct core *c);
void notify_link_tick(struct core *c); /* four times a second: what is new is told */
/* How far each of those who are told things is behind. */
struct notify_told {
    const char *name; /* borrowed */
    enum notify_stream stream;
    uint64_t behind, failures, set_aside;
};
typedef void (*notify_told_fn)(void *arg, const struct notify_told *t);
void notify_link_each(struct core *c, notify_told_fn fn, void *arg);
/* In meta: the newest entry, and the newest event of an alarm, when the ledger was last found restored. */
#define META_RESTORED_AUDIT  "restored_audit"
#define META_RESTORED_ALARMS "restored_alarms"

/* ---- the core itself (core.c) ---- */

/* A list waits for no backup, an operator's list for no check of the ledger, and nothing for a search over the whole fleet. */
enum reader_kind { READER_LISTS, READER_LONG, READER_PAGES, READER_FLEET, READERS };

enum seal { SEAL_NONE, SEAL_RESTORE, SEAL_CLOCK };

struct profile_hash {
    uint8_t hash[32];
};

struct core {
    struct proc *proc;
    const struct conf *conf;
    struct event_base *base;
    struct store *store;
    struct buf ledger_id;
    struct buf follow_id; /* ledger id and restore count: what a replica compares */

    enum seal seal;
    char seal_why[256];
    struct clock_rule clock;
    bool clock_is_back;
    int64_t floor_written;

    struct authority *ca;
    size_t ca_n;
    struct profile_hash *profile_hash; /* as conf->profiles */
    struct known_key *key;
    size_t key_n;
    char audit_key[KEY_NAME_MAX]; /* "" = none yet */
    struct record_signer record, feed;

    LIST_HEAD(, front_link) fronts;
    struct status_link status;
    LIST_HEAD(, signer_link) signers;
    uint64_t next_id;
    uint64_t config_generation;
    struct svc_purge purge; /* collected inside the open transaction */
    bool devices_changed;   /* states of devices changed inside the open transaction: the next purge goes out even when empty */
    uint64_t purge_seq;     /* of the newest purge: what a front must have confirmed to be in step */
    LIST_HEAD(, confirmation) confirmations;

    struct issuance *issuance;
    struct captures *captures;
    struct factory *factory;
    int64_t transfer_due; /* when the next open transfer runs out, or earlier; 0: not known yet */
    struct batches *batches;
    struct metrics *metrics;
    struct gateways *gateways; /* what they say of themselves */
    struct core_counts counts;
    struct budget_keeper *budgets; /* of a line box, else NULL */
    struct guess_limit *guesses;
    struct anchors *anchors; /* manufacturer anchors, parsed */
    struct secret secret_key;
    struct refused_sum {
        uint64_t count; /* since the last summary entry */
        int64_t since;
    } refused_unknown, refused_stations; /* peers nobody knows; stations that were refused too often for an entry each */

    struct audit_pending *audit_pending;
    int64_t audit_head_at_ms;
    uint64_t audit_head_seq;
    int64_t audit_head_time;

    LIST_HEAD(, publication) publications;
    LIST_HEAD(, served_file) served;
    LIST_HEAD(, outdated) outdated; /* replaced ones */
    struct reader *reader[READERS];
    struct job_runner *jobs;
    struct admin_server *admin;
    struct admin_link *admin_link; /* NULL: none */
    struct notify_link *notify;    /* NULL: none */
    struct token_watch {
        int64_t down_since; /* as core_stamp; 0: it serves */
    } token_watch[TOKENS_WATCHED]; /* as conf->tokens */
    struct proc_info *processes; /* every process of the service, as the supervisor told last */
    size_t processes_n;

    struct event *tick;
    struct event *checkpoint; /* after a commit: store_checkpoint_step */
    uint64_t ticks;
    bool going, stopping;
};

/* Fails with E_STORE unless issuing and signing are allowed at `now`: not sealed, clock within the rules. */
MUST_CHECK enum err_code core_may_sign(struct core *c, int64_t now, struct err *e);
/* The time to write into rows: never before the floor. */
int64_t core_stamp(struct core *c);
MUST_CHECK enum err_code core_begin(struct core *c, struct err *e);
void core_commit(struct core *c);   /* returns only when durable */
void core_rollback(struct core *c); /* also forgets collected purge items */
void core_end(struct core *c, enum err_code code, const struct err *e); /* E_OK: commits; else rolls back, or leaves in doubt */
void core_doubt(struct core *c, const struct err *e); /* leaves the process when the ledger is in doubt */
/* One savepoint around a change: undo on failure. */
MUST_CHECK enum err_code core_savepoint_end(struct core *c, enum err_code code, struct err *e);
MUST_CHECK enum err_code core_seal(struct core *c, enum seal seal, const char *why, struct err *e);
/* After a restore was accepted: the core starts again, with a new identity for the replicas. */
void core_restored(struct core *c);
/* What the supervisor says of one process; NULL: nothing. */
const struct proc_info *core_process(const struct core *c, const char *name);
bool core_is_ready(struct core *c, const char **why);
json_t *core_health(struct core *c);
uint64_t core_seq(struct core *c);
/* Certificates of the service's own that have passed two thirds of their life: OCSP responders of online CAs, the record
 * key's. */
void services_renew(struct core *c);
MUST_CHECK enum err_code core_reload(struct core *c, struct err *e);
/* A key, CA or responder certificate was added: reads them again, tells signers, status and fronts. */
void core_authorities_changed(struct core *c);
const uint8_t *core_profile_hash(struct core *c, const struct conf_profile *p);

#endif
