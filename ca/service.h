/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything the network front asks of the authority: plain structs, byte strings, and the messages that carry them.
 * The same structs work in one process (tests) and across the socket. enroll/ includes this of ca/ and nothing else.
 *
 * front -> core          core -> front
 *   SVC_HELLO              SVC_CONFIG_BEGIN, then SVC_LABEL*, SVC_FILE*, SVC_ANCHORS, then SVC_CONFIG_END
 *                          (sent again as a whole when anything but files changed; SVC_FILE alone when a file changed)
 *   SVC_ENROLL             SVC_ENROLL_RESULT
 *   SVC_FACTORY            SVC_FACTORY_RESULT
 *   SVC_TLS_CERT           SVC_TLS_CERT_RESULT
 *   SVC_HEALTH             SVC_HEALTH_RESULT
 *   SVC_METRICS            SVC_METRICS_RESULT
 *   SVC_COUNTS, every few seconds
 *   SVC_PURGED             SVC_PURGE
 *
 * front -> status        status -> front
 *   STS_OCSP               STS_OCSP_RESULT
 *   STS_HEALTH             STS_HEALTH_RESULT
 *   STS_METRICS            STS_METRICS_RESULT
 *   STS_DECIDE             STS_DECIDED, one or several
 *   STS_SNAPSHOT           STS_SNAPSHOT_RESULT
 *   STS_CHANGES            STS_CHANGES_RESULT
 *
 * inkan-notify -> core   core -> inkan-notify
 *                          NOTIFY_NEWS, at first and whenever something is new
 *   NOTIFY_READ            NOTIFY_ROWS
 *   NOTIFY_STATE, whenever it changed
 *   NOTIFY_SET_ASIDE, once for each
 */
#ifndef INKAN_CA_SERVICE_H
#define INKAN_CA_SERVICE_H

#include "base/bytes.h"
#include "base/conf.h"
#include "base/err.h"
#include "base/life.h"
#include "base/limits.h"
#include "base/msg.h"

enum service_type {
    SVC_HELLO = MSG_RANGE_SERVICE, /* - */
    SVC_CONFIG_BEGIN,              /* u64 generation */
    SVC_LABEL,                     /* struct svc_label; fd: cacerts body, DER certs-only CMS (RFC 7030 4.1.3) */
    SVC_FILE,                      /* struct svc_file; fd: the content */
    SVC_ANCHORS,                   /* bytes empty; fd: PEM of every CA the TLS layer may chain a client certificate to */
    SVC_CONFIG_END,                /* u64 generation */
    SVC_ENROLL,
    SVC_ENROLL_RESULT,
    SVC_TLS_CERT,        /* bytes csr: asks for this front's own server certificate (its key stays in the front) */
    SVC_TLS_CERT_RESULT, /* u8 err code, str message, u32 n, n x bytes certificate (leaf first), i64 renew_at */
    SVC_HEALTH,          /* - */
    SVC_HEALTH_RESULT,   /* bool ready, str json */
    SVC_PURGE,           /* struct svc_purge */
    SVC_PURGED,          /* u64 seq */
    SVC_FACTORY,         /* struct svc_factory */
    SVC_FACTORY_RESULT,
    SVC_METRICS,        /* - */
    SVC_METRICS_RESULT, /* -; fd: OpenMetrics text without its end (docs/metrics.md), none when it could not be made */
    SVC_COUNTS,         /* struct svc_counts */
};

enum status_type {
    STS_OCSP = MSG_RANGE_STATUS, /* bytes request (raw DER, at most OCSP_REQUEST_MAX) */
    STS_OCSP_RESULT,             /* struct sts_ocsp_result */
    STS_HEALTH,
    STS_HEALTH_RESULT, /* bool ready, str json */
    STS_DECIDE,        /* struct sts_decide */
    STS_DECIDED,       /* struct sts_decided */
    STS_SNAPSHOT,      /* struct sts_caller */
    STS_SNAPSHOT_RESULT, /* u8 err code, str ETag; fd: the text, with E_OK. E_DENIED: not for this caller */
    STS_CHANGES,       /* struct sts_caller, u64 after, u32 wait_s, bytes servers (feed_servers_write) */
    STS_METRICS,
    STS_METRICS_RESULT, /* as SVC_METRICS_RESULT */
    STS_CHANGES_RESULT, /* u8 err code, bytes JWS. E_NOT_FOUND: `after` is older than what is kept, or of another log */
};

enum notify_type { /* streams: enum notify_stream; each has numbers without gaps that only rise */
    NOTIFY_NEWS = MSG_RANGE_NOTIFY, /* str ledger, for each stream { u64 newest number, 0 = none; u64 newest the last restore left, UINT64_MAX = never restored } */
    NOTIFY_READ,                    /* u8 stream, u64 after, u32 limit (1 .. NOTIFY_PAGE) */
    NOTIFY_ROWS,                    /* u8 stream, u64 last, u32 n; fd: n JSON objects, a line each. n 0: nothing is there, or it failed */
    NOTIFY_STATE,                   /* u32 n, n x { str name, u8 stream, u64 told, u64 failures, u64 set aside }: who was told up to where */
    NOTIFY_SET_ASIDE,               /* str name, u8 stream, u64 first, u64 last: a webhook refused these for too long */
};
#define NOTIFY_PAGE     64
#define NOTIFY_PAGE_MAX (16u << 20) /* octets of one */
#define NOTIFY_TOLD_MAX 64          /* of one NOTIFY_STATE */

enum svc_operation { SVC_SIMPLEENROLL, SVC_SIMPLEREENROLL, SVC_SERVERKEYGEN, SVC_OPERATIONS };

/* How the TLS layer judged the client's certificate. The core checks again what it can. */
enum svc_client_verdict {
    SVC_CLIENT_NONE,    /* no certificate presented */
    SVC_CLIENT_VALID,   /* chained to an anchor, in date */
    SVC_CLIENT_EXPIRED, /* chained, and exactly "expired" */
    SVC_CLIENT_VERDICTS
};

enum svc_binding { SVC_BINDING_NONE, SVC_BINDING_TLS_UNIQUE, SVC_BINDING_TLS_EXPORTER, SVC_BINDINGS };

/* One enrollment request as it came in. All byte strings are borrowed. */
struct svc_enroll {
    enum svc_operation operation;
    char label[EST_LABEL_MAX + 1]; /* "" = no label */
    struct bytes csr;              /* raw DER, at most CSR_MAX_LEN */
    struct bytes chain[CLIENT_CHAIN_COUNT]; /* client certificate DER, leaf first */
    size_t chain_n;
    enum svc_client_verdict verdict;
    bool has_password;             /* HTTP Basic credentials were presented */
    char user[ID_MAX_LEN * 2 + 1];
    struct bytes password;         /* wiped by both sides after use */
    enum svc_binding binding_kind; /* what this connection offers, for comparison with the CSR's */
    struct bytes binding;          /* raw octets: tls-unique 12, tls-exporter 32 */
    uint16_t tls_bits;             /* strength of the connection's cipher: what serverkeygen may send over it */
    char peer[64];                 /* "192.0.2.7:40112", for the log */
    char unit[UNIT_HEADER_MAX + 1]; /* what a station says of the unit (header Inkan-Unit): printable ASCII as it came, "" = nothing */
};

struct svc_enroll_result {
    enum err_code code;     /* E_OK: certificate is there; the HTTP status follows from the code alone */
    struct bytes cert;      /* DER of the issued certificate */
    struct bytes key;       /* serverkeygen: PrivateKeyInfo, or EnvelopedData when key_enveloped; wiped by both sides after use */
    bool key_enveloped;
    uint32_t retry_after_s; /* E_PENDING, E_BUSY, E_TOKEN, E_STORE */
    char text[256];         /* plain text for the client; holds no internals */
    bool client_limit;      /* E_BUSY: a limit of this client, not of the service */
    bool binding_judged;    /* RFC 9266 4.1: the front closes the connection after the answer on TLS 1.3 */
};

/* What a station asks of a work order; the core alone reads the JSON and knows roles and orders. */
enum svc_factory_action {
    SVC_FACTORY_ORDER,     /* GET: counts, state, times */
    SVC_FACTORY_RESERVE,
    SVC_FACTORY_UNIT,      /* GET: the unit with its events */
    SVC_FACTORY_CHALLENGE, /* GET: one line of text for the device to sign */
    SVC_FACTORY_CONFIRM,
    SVC_FACTORY_EVENT,
    SVC_FACTORY_SECRET,    /* its answer is wiped by both sides after use */
    SVC_FACTORY_PACK,
    SVC_FACTORY_SHIP,
    SVC_FACTORY_SCRAP,
    SVC_FACTORY_REWORK,
    SVC_FACTORY_BOX,       /* records of a line box, whose name stands in the place of the order */
    SVC_FACTORY_ACTIONS
};

/* All byte strings are borrowed. */
struct svc_factory {
    enum svc_factory_action action;
    char order[ORDER_NO_MAX + 1];    /* never empty */
    char device_id[ID_MAX_LEN + 1];  /* "" for ORDER and RESERVE alone */
    struct bytes body;               /* as it came, at most svc_factory_body_max; empty for what is read with GET */
    struct bytes chain[CLIENT_CHAIN_COUNT]; /* as in svc_enroll; there is at least the leaf */
    size_t chain_n;
    enum svc_client_verdict verdict; /* never NONE */
    char peer[64];
};

/* The HTTP status follows from the code alone; the body goes out as it is. */
struct svc_factory_result {
    enum err_code code;
    bool is_text;           /* text/plain instead of application/json */
    struct bytes body;      /* at most FACTORY_ANSWER_MAX; an error without one gets the front's own words */
    uint32_t retry_after_s; /* as in svc_enroll_result */
};

/* Does the action read only (GET), and does it name one unit? */
bool svc_factory_is_read(enum svc_factory_action a);
bool svc_factory_has_unit(enum svc_factory_action a);
size_t svc_factory_body_max(enum svc_factory_action a);

/* One EST label as the front needs it. */
struct svc_label {
    char name[EST_LABEL_MAX + 1];
    bool auth_cert, auth_password, auth_key, wrap64, pop_required, keygen;
    struct bytes csrattrs; /* DER, empty = 204 */
};

/* A file served at an exact path on the plain HTTP listeners: CRLs, bundles, CA certificates. */
struct svc_file {
    char path[128];         /* "/crl/fleet-ca.crl" */
    char content_type[64];
    int64_t last_modified;  /* UTC seconds */
    int64_t expires;        /* UTC seconds, 0 = no Expires header */
    uint8_t sha256[32];     /* ETag */
    uint64_t size;
};

#define SVC_PURGE_MAX 1000
struct svc_purge {
    uint64_t seq;           /* cache nothing whose seq is below it */
    bool all;               /* drop everything */
    struct {
        uint32_t issuer;
        uint8_t serial[SERIAL_MAX_LEN];
        uint8_t serial_len;
    } item[SVC_PURGE_MAX];
    size_t n;
};

struct sts_ocsp_result {
    struct bytes response;  /* complete DER OCSPResponse, also for errors (malformedRequest, tryLater, ...) */
    bool is_error;          /* an unsigned error answer: no-store */
    bool cacheable;         /* successful, no nonce, no `unknown` */
    uint64_t seq;           /* status log seq it reflects */
    int64_t produced_at, this_update, next_update; /* UTC seconds */
    uint32_t max_age_s;     /* counted from the moment this message is sent */
    struct {
        uint32_t issuer;
        uint8_t serial[SERIAL_MAX_LEN];
        uint8_t serial_len;
    } cert[OCSP_CERTS_MAX]; /* what it speaks of, for purging */
    size_t cert_n;
};

/* What a front counts since it started; it has no place of its own to tell it. */
enum svc_listener { SVC_LISTENER_EST, SVC_LISTENER_PUBLIC, SVC_LISTENER_HEALTH, SVC_LISTENER_DECISION, SVC_LISTENERS };
#define SVC_STATUS_CLASSES 5 /* 1xx .. 5xx */
enum svc_refusal { /* refusals that are counted, not logged one by one */
    SVC_REFUSED_ADDRESS_LIMIT,
    SVC_REFUSED_CONNECTION_LIMIT,
    SVC_REFUSED_HANDSHAKE,
    SVC_REFUSED_DEADLINE,
    SVC_REFUSED_BAD_HTTP,
    SVC_REFUSED_NO_ROUTE,
    SVC_REFUSED_LATE_ANSWER,
    SVC_REFUSED_MEMORY,
    SVC_REFUSALS
};
const char *svc_listener_name(enum svc_listener l); /* "est" */
const char *svc_status_class_name(int k);           /* 0 is "1xx" */
const char *svc_refusal_name(enum svc_refusal r);   /* "bad-http" */
struct svc_counts {
    uint64_t answers[SVC_LISTENERS][SVC_STATUS_CLASSES];
    uint64_t refused[SVC_REFUSALS];
    uint64_t ocsp_kept; /* OCSP answers from those it keeps */
    uint64_t connections; /* now */
};

/*
 * Who asks for a decision or the feed: a program of this machine by the socket, or the holder of the certificate with this SHA-256, who
 * must be a gateway.
 */
struct sts_caller {
    bool local;
    uint8_t cert_hash[32];
};

#define DECISIONS_MAX 256 /* in one request */

/* How a request names the unit. */
enum identity_kind {
    IDENTITY_NONE,
    IDENTITY_CERT,        /* the certificate was there: der_hash is over it, ski and not_before are from it */
    IDENTITY_FINGERPRINT, /* der_hash as it was told */
    IDENTITY_SERIAL,      /* ski and serial as they were told */
    IDENTITY_KINDS
};
struct sts_identity {
    enum identity_kind kind;
    uint8_t der_hash[32];
    uint8_t ski[20];     /* of the issuer; zeros where the certificate names none */
    uint8_t serial[SERIAL_MAX_LEN];
    uint8_t serial_len;
    int64_t not_before;
};
struct sts_decide {
    struct sts_caller caller;
    char audience[ID_MAX_LEN + 1]; /* "" = default */
    struct sts_identity who[DECISIONS_MAX];
    size_t n;
};

/* The words never change their meaning: docs/access.md. */
enum decision_reason {
    DECISION_OK,
    DECISION_REVOKED,
    DECISION_ON_HOLD,
    DECISION_EXPIRED,
    DECISION_NOT_YET_VALID,
    DECISION_UNKNOWN_SERIAL,
    DECISION_UNKNOWN_ISSUER,
    DECISION_DEVICE_DISABLED,
    DECISION_SCOPE,
    DECISION_FIRMWARE_BLOCKED,
    DECISION_POLICY,
    DECISION_STALE_DATA,
    DECISION_NO_IDENTITY,
    DECISION_REASONS
};
const char *decision_reason_name(enum decision_reason r); /* "ok", "on_hold", ... */
const char *decision_status_name(uint8_t cert_status);    /* "good", "on_hold", "revoked" */
const char *decision_revocation_name(uint8_t crl_reason); /* "keyCompromise", ... */

#define DECISION_TEXT_MAX 128 /* octets of product and firmware; longer ones are cut */
struct sts_decision {
    bool allow, close, identity_unverified;
    enum decision_reason reason;
    uint32_t cache_s;
    int64_t status_age_s;
    bool known;                /* the certificate was found: the next four hold */
    uint8_t status;            /* enum cert_status */
    uint8_t revocation_reason; /* enum crl_reason */
    int64_t revoked_at;        /* also of a hold; 0 = neither */
    enum access_scope scope;
    bool has_device;           /* the rest holds */
    enum device_state state;
    char domain[ID_MAX_LEN + 1], device_id[ID_MAX_LEN + 1], product[DECISION_TEXT_MAX + 1], firmware[DECISION_TEXT_MAX + 1];
};
/* The rule of an audience (audience.c), one for the status process and for gateways. NULL: there is none of that name. */
struct conf_audience;
/* Of a device whose certificate serves: DECISION_OK, or why not. */
enum decision_reason audience_judge(const struct conf_audience *audience, const char *domain, const char *product, const char *firmware,
                                    enum access_scope scope);
/* `cache_s` and `close` of a decision that is made. */
void decision_set_cache(struct sts_decision *d, const struct conf_audience *audience);
void audience_default(struct conf_audience *out); /* the rule of "default" where none is configured; no name */
/* Changes whenever one of the rules does. */
uint32_t audiences_version(const struct conf_audience *list, size_t n);

#define DECIDED_MAX 64 /* decisions in one message */
struct sts_decided {
    enum err_code code; /* E_OK; E_DENIED: the caller is no gateway; E_BUSY: nothing can be decided now. Then without decisions */
    uint64_t seq;
    uint32_t policy_version;
    uint32_t first, total; /* these are decisions first ... of total; the last message ends at total */
    size_t n;
    struct sts_decision decision[DECIDED_MAX];
};

/* Encode appends the fields to a begun message; decode reads them all (msg_read_end included) and borrows from `r`. */
void svc_enroll_encode(struct msg *m, const struct svc_enroll *in);
MUST_CHECK enum err_code svc_enroll_decode(struct msg_reader *r, struct svc_enroll *out, struct err *e);
void svc_enroll_result_encode(struct msg *m, const struct svc_enroll_result *in);
MUST_CHECK enum err_code svc_enroll_result_decode(struct msg_reader *r, struct svc_enroll_result *out, struct err *e);
void svc_factory_encode(struct msg *m, const struct svc_factory *in);
MUST_CHECK enum err_code svc_factory_decode(struct msg_reader *r, struct svc_factory *out, struct err *e);
void svc_factory_result_encode(struct msg *m, const struct svc_factory_result *in);
MUST_CHECK enum err_code svc_factory_result_decode(struct msg_reader *r, struct svc_factory_result *out, struct err *e);
void svc_label_encode(struct msg *m, const struct svc_label *in);
MUST_CHECK enum err_code svc_label_decode(struct msg_reader *r, struct svc_label *out, struct err *e);
void svc_file_encode(struct msg *m, const struct svc_file *in);
MUST_CHECK enum err_code svc_file_decode(struct msg_reader *r, struct svc_file *out, struct err *e);
void svc_counts_encode(struct msg *m, const struct svc_counts *in);
MUST_CHECK enum err_code svc_counts_decode(struct msg_reader *r, struct svc_counts *out, struct err *e);
void svc_purge_encode(struct msg *m, const struct svc_purge *in);
MUST_CHECK enum err_code svc_purge_decode(struct msg_reader *r, struct svc_purge *out, struct err *e);
void sts_ocsp_result_encode(struct msg *m, const struct sts_ocsp_result *in);
MUST_CHECK enum err_code sts_ocsp_result_decode(struct msg_reader *r, struct sts_ocsp_result *out, struct err *e);
void sts_caller_put(struct msg *m, const struct sts_caller *in);
void sts_caller_get(struct msg_reader *r, struct sts_caller *out); /* failure sticks in the reader */
void sts_decide_encode(struct msg *m, const struct sts_decide *in);
MUST_CHECK enum err_code sts_decide_decode(struct msg_reader *r, struct sts_decide *out, struct err *e);
void sts_decided_encode(struct msg *m, const struct sts_decided *in);
MUST_CHECK enum err_code sts_decided_decode(struct msg_reader *r, struct sts_decided *out, struct err *e);

#endif
