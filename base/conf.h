/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration: one YAML file, read completely, every mistake reported with its line, before anything starts.
 * Unknown keys, duplicate keys, aliases, a second document and values of the wrong type or range are mistakes. The table
 * of keys in conf.c (name, type, range, default, help) is also the manual page (`inkand --help-config`) and the printer
 * (`inkand -t --print`).
 *
 * All strings are owned by struct conf and never NULL where a default exists; optional ones say so.
 */
#ifndef INKAN_BASE_CONF_H
#define INKAN_BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

enum key_alg { KEY_NONE, KEY_P256, KEY_P384, KEY_RSA2048, KEY_RSA3072, KEY_RSA4096, KEY_ED25519, KEY_ALGS };
#define KEY_BIT(alg) (1u << (alg))

enum profile_kind {
    PROFILE_ROOT_CA,
    PROFILE_ISSUING_CA,
    PROFILE_IDEVID,
    PROFILE_LDEVID,
    PROFILE_TLS_SERVER,
    PROFILE_OCSP_SIGNER,
    PROFILE_STATION,
    PROFILE_RECORD_SIGNER,
    PROFILE_OPERATOR,    /* of a person who administers */
    PROFILE_GATEWAY,     /* of a relying service: may ask for decisions */
    PROFILE_FEED_SIGNER, /* of the key that signs the revocation feed */
    PROFILE_KINDS
};

/* keyUsage bits, RFC 5280 4.2.1.3 order (bit 0 = digitalSignature). Not KU_*: OpenSSL has macros of those names. */
enum key_usage {
    USAGE_DIGITAL_SIGNATURE = 1 << 0,
    USAGE_NON_REPUDIATION = 1 << 1,
    USAGE_KEY_ENCIPHERMENT = 1 << 2,
    USAGE_DATA_ENCIPHERMENT = 1 << 3,
    USAGE_KEY_AGREEMENT = 1 << 4,
    USAGE_KEY_CERT_SIGN = 1 << 5,
    USAGE_CRL_SIGN = 1 << 6,
};
enum ext_key_usage { EKU_SERVER_AUTH = 1 << 0, EKU_CLIENT_AUTH = 1 << 1, EKU_OCSP_SIGNING = 1 << 2, EKU_DOCUMENT_SIGNING = 1 << 3 };

/* Who makes the key of a certificate asked for by EST serverkeygen (RFC 7030 4.4). */
enum keygen_by { KEYGEN_OFF, KEYGEN_SERVICE, KEYGEN_TOKEN };

enum approval_rule { APPROVAL_NONE, APPROVAL_FIRST, APPROVAL_OPERATOR };
enum reenroll_rule { REENROLL_SUPERSEDE, REENROLL_APPROVE, REENROLL_REFUSE };

struct conf_strings {
    char **v;
    size_t n;
};

struct conf_token {          /* tokens: */
    char *name;              /* our name for it */
    char *module;            /* path of the PKCS#11 module */
    char *label;             /* token label */
    char *serial;            /* token serial, "" = not checked; filled from `uri` too */
    char *uri;               /* RFC 7512, alternative to label and serial (which it fills); pin-value is refused */
    char *pin;               /* "file:PATH", "credential:NAME", "fd:N", "prompt" */
    char *so_pin;            /* the same forms; used by `inkan token init` only */
    char *init_args;         /* pReserved string for C_Initialize (NSS), "" = none */
    struct conf_strings env; /* "NAME=value" for the processes that map the module */
    unsigned workers;        /* signing threads, default 2 */
    unsigned queue;          /* bounded queue, default 256 */
    unsigned deadline_ms;    /* a signature must be done within, default 5000 */
    bool offline;            /* no signer runs for it except for one command */
};

#define ISSUER_EXTERNAL "external" /* of a CA that another service certifies; no CA has this name */

struct conf_ca {             /* cas: */
    char *name;              /* also in URLs: /crl/NAME.crl */
    char *issuer;            /* name of the CA that signs it; "" = self-signed root; ISSUER_EXTERNAL = none of ours */
    char *token;             /* where its key lives */
    enum key_alg key;
    char *profile;           /* kind root-ca or issuing-ca */
    char *subject;           /* "CN=Fleet CA 1,O=Example" */
    char *ocsp_token;        /* where its OCSP responder key lives; "" = no OCSP for this CA */
    enum key_alg ocsp_key;
    char *ocsp_profile;      /* kind ocsp-signer */
    int64_t crl_validity_s;  /* thisUpdate .. nextUpdate; re-signed at half of it. Default 7 d, offline 180 d */
    unsigned crl_shards;     /* 0 = only the full CRL */
    int64_t ocsp_validity_s; /* default 1 h */
};

struct conf_profile {        /* profiles: */
    char *name;
    enum profile_kind kind;
    char *ca;                /* issuing CA; "" for CA profiles */
    char *subject;           /* template: "CN={device_id},serialNumber={device_id},O=Acme". Variables: device_id, domain,
                                product, model, lot, name */
    struct conf_strings san; /* "dns:{device_id}.example", "uri:urn:dev:{device_id}", "ip:192.0.2.1", "hwmodule:1.2.3:{device_id}" */
    unsigned key_algs;       /* KEY_BIT set */
    unsigned key_usage;      /* KU_* */
    unsigned eku;            /* EKU_* */
    int64_t validity_s;      /* 0 with no_expiry */
    bool no_expiry;          /* notAfter 99991231235959Z */
    int path_len;            /* issuing-ca; -1 = none */
    bool crl_url, ocsp_url, ca_issuers_url;
    bool pop_required;       /* channel binding demanded */
    bool allow_idevid_key;   /* may an LDevID certify the IDevID's key */
    bool rekey_required;     /* renewal must bring a new key */
    bool basic_reenroll;     /* simplereenroll with a password alone */
    unsigned renew_percent;  /* "due for renewal" from this share of the life, default 66 */
    int64_t expired_grace_s; /* simplereenroll with an expired certificate, default 0 = never */
    int64_t retire_after_s;  /* a renewal ends the certificate it replaces: so long after; 0 = when the new one is first used */
    bool retire_never;
    enum reenroll_rule idevid_reenroll;
    int64_t clone_window_s;
    enum keygen_by keygen;   /* serverkeygen: off, or who makes the key */
    enum key_alg keygen_key; /* of which kind */
    bool keygen_clear;       /* the key may leave without CMS encryption of its own, inside TLS alone */
    char *keygen_token;      /* keygen: token; "" otherwise */
    enum approval_rule approval; /* what of EST waits for an operator */
    int64_t approval_within_s;   /* so long a request waits, and an approved one for the client to fetch it; default 7 d */
    int64_t approval_retry_s;    /* Retry-After of one that waits, default 60 */
};

struct conf_domain {         /* domains: one owner's world */
    char *name;
    char *owner_key;         /* PEM, public key of who owns the devices: transfers are signed with it; "" = none */
    bool quarantine_hold;    /* quarantine puts the operational certificates on hold */
    bool enroll_before_shipped; /* a unit that is confirmed or merely certified by its line may enrol */
};

struct conf_anchor {         /* anchors: manufacturer trust anchors */
    char *name;
    char *file;              /* PEM, one or more CA certificates */
    char *ca;                /* or: one of our own CAs (its root is the anchor) */
    struct conf_strings domains;
    struct conf_strings products; /* empty = every product of these domains */
};

struct conf_label {          /* labels: EST; name "" is /.well-known/est/<op> without a label */
    char *name;
    char *domain;
    char *profile;           /* kind ldevid, station or idevid */
    bool auth_cert, auth_password;
    bool auth_key;           /* a unit fetches the certificate made for its key with nothing but that key */
    bool wrap64;             /* base64 answers in 64 columns */
    struct conf_strings anchors; /* manufacturer anchors accepted here; empty = those of the domain */
};

struct conf_order_signer {   /* order_signers: who may sign work orders */
    char *name;
    char *file;              /* PEM: a certificate or a public key, P-256, P-384 or Ed25519 */
    struct conf_strings domains;
};

struct conf_audience {       /* audiences: who asks for decisions, and what for */
    char *name;
    unsigned scopes;         /* bit set of enum access_scope */
    struct conf_strings domains, products; /* empty = every one */
    struct conf_strings firmware_blocked;  /* releases that are denied; "1.2*" = all that begin so */
    int64_t stale_soft_s, stale_hard_s, cache_allow_s, cache_deny_s;
};

enum notify_stream { NOTIFY_ALARMS, NOTIFY_AUDIT, NOTIFY_HEADS, NOTIFY_STREAMS };
struct conf_notify {         /* notify: who is told of alarms, entries of the trail and its signed heads */
    char *name;
    char *to;                /* "https://...", "unix:PATH", "udp:HOST:PORT", "tcp:HOST:PORT", "file:PATH" */
    unsigned send;           /* bit set of enum notify_stream */
    char *secret, *ca;       /* files, "" = none; with https:// */
    bool history;            /* a new one is told everything from the beginning */
};

struct conf {
    char *path;              /* of the file itself */
    char *public_url;        /* "http://pki.example.net"; CRL, OCSP and caIssuers addresses are made from it */
    bool quickstart;         /* allows localhost and addresses in public_url and names */
    char *dir_state;         /* ledger/, status/, crl/, tls/ below it */
    char *dir_marks;         /* high-water marks and audit heads: a second place */
    char *dir_run;           /* sockets and pid files */
    char *program_dir;       /* where inkan-core, inkan-front, ... are; "" = beside inkand */
    char *user_supervisor, *user_front, *user_core, *user_status, *user_signer; /* "" = the starting user */
    struct conf_strings admin_users;  /* who may use the admin socket besides root and user_supervisor */
    char *user_admin;        /* of inkan-admin; "" = the starting user */
    char *user_notify;       /* of inkan-notify; "" = the starting user */
    struct conf_strings listen_est, listen_http, listen_health; /* "ADDRESS:PORT", "[V6]:PORT" */
    struct conf_strings listen_admin; /* empty = no administration over the network */
    unsigned fronts;         /* default 1 */
    unsigned connections;    /* per front, default 10000 */
    unsigned connections_per_address; /* default 64 */
    struct conf_strings server_names; /* SAN of the EST server certificate: "dns:NAME", "ip:ADDRESS" */
    char *server_profile;    /* kind tls-server */
    unsigned keygen_pool;    /* RSA keys of each size kept ready for serverkeygen, default 8 */
    unsigned batch_max;      /* group commit, default 64 */
    unsigned enroll_queue;   /* enrollments waiting in the core before 503, default 1024 */
    unsigned requests_max;        /* requests that may wait for an operator, default 10000 */
    unsigned requests_per_device; /* of one device, default 4 */
    char *audit_token;       /* token of the audit key */
    int64_t audit_head_s;    /* default 60 */
    unsigned audit_head_entries; /* default 1000 */
    char *records_token;     /* token of the key that signs records and key packages; "" = none are signed */
    enum key_alg records_key;
    char *records_profile;   /* kind record-signer */
    char *people_profile;    /* kind operator; "" = operators get no certificates */
    unsigned two_person_above; /* units one person may change at once, */
    int64_t two_person_window_s; /* or by several mass actions within */
    bool decisions;          /* access decisions and the feed */
    char *decisions_group;   /* may use decision.sock; "" = the supervisor's own */
    char *listen_decision;   /* path of that socket */
    char *feed_token;        /* token of the key that signs the feed; "" = no feed */
    enum key_alg feed_key;
    char *feed_profile;      /* kind feed-signer */
    unsigned feed_keep;      /* changes kept for those who follow it */
    int64_t feed_valid_s;    /* how long a snapshot may be used without news */
    char *secret_key_file;   /* HMAC key for enrollment secrets, made on first use, outside the database; default
                                DIR_STATE/enroll-secret.key */
    char *box_name;          /* "" = not a line box */
    char *box_centre_key;    /* PEM: certificate or public key that signs the centre's records */
    char *log_file;          /* "" = standard error, which only -f has */
    bool ocsp_unissued_revoked; /* O2 switch, default false */
    unsigned ocsp_nonce_rate;   /* live-signed answers a second, default 2000 */
    enum log_level_conf { CONF_LOG_DEBUG, CONF_LOG_INFO, CONF_LOG_WARN, CONF_LOG_ERROR } log_level;

    struct conf_token *tokens;
    size_t tokens_n;
    struct conf_ca *cas;
    size_t cas_n;
    struct conf_profile *profiles;
    size_t profiles_n;
    struct conf_domain *domains;
    size_t domains_n;
    struct conf_anchor *anchors;
    size_t anchors_n;
    struct conf_label *labels;
    size_t labels_n;
    struct conf_order_signer *order_signers;
    size_t order_signers_n;
    struct conf_audience *audiences; /* "default" is there where decisions are */
    size_t audiences_n;
    struct conf_notify *notify; /* empty: inkan-notify does not run, and nothing goes out by itself */
    size_t notify_n;
};

/*
 * Reads and checks the file. On mistakes returns E_INVALID with the first one in `e` and all of them, one line each
 * ("inkan.yaml:17:3: profiles[2].validity: ..."), in `report` (may be NULL).
 */
MUST_CHECK enum err_code conf_load(const char *path, struct conf **out, struct buf *report, struct err *e);
void conf_free(struct conf *c);
void conf_print(const struct conf *c, struct buf *out);  /* effective values, as YAML that conf_load reads back */
void conf_help(struct buf *out);                         /* every key with type, range, default, meaning (roff-free text) */

const struct conf_token *conf_find_token(const struct conf *c, const char *name);
const struct conf_ca *conf_find_ca(const struct conf *c, const char *name);
const struct conf_profile *conf_find_profile(const struct conf *c, const char *name);
const struct conf_domain *conf_find_domain(const struct conf *c, const char *name);
const struct conf_anchor *conf_find_anchor(const struct conf *c, const char *name);
const struct conf_audience *conf_find_audience(const struct conf *c, const char *name);
const struct conf_label *conf_find_label(const struct conf *c, const char *name);
/* Top of its chain as far as it is configured: a root, or a CA that is certified elsewhere. */
const struct conf_ca *conf_ca_root(const struct conf *c, const struct conf_ca *ca);
bool conf_ca_is_external(const struct conf_ca *ca); /* certified elsewhere */

const char *key_alg_name(enum key_alg alg);         /* "p256", "rsa3072", "ed25519" */
bool key_alg_from_name(const char *s, enum key_alg *out);
const char *profile_kind_name(enum profile_kind k); /* "ldevid" */

#endif
