/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the status process follows the core's status log. Status opens no ledger file: it keeps a replica of its own.
 *
 * status -> core
 *   FOLLOW_HELLO    bytes ledger_id (empty: none yet), u64 seq, bool devices   resume after this row; tell of devices too
 *   FOLLOW_ACK      u64 seq                                        rows up to seq are applied (answers reflect them)
 *   FOLLOW_ASK      -                                              what is your seq? (before answering `unknown`)
 *   FOLLOW_SEEN     u64 device                                     a decision was asked about a device that is lost or compromised
 *   FOLLOW_GATEWAY  struct follow_gateway                          a gateway asked for changes: at most once a second for each
 * core -> status
 *   FOLLOW_BEGIN    bytes ledger_id, bool rebuild, bool sealed, i64 time_floor   rebuild: forget everything, rows start at 1
 *   FOLLOW_ISSUER   struct follow_issuer                           all issuers, sent after BEGIN and when one changes
 *   FOLLOW_ISSUERS_END -
 *   FOLLOW_FEED_KEY struct follow_feed_key                         after ISSUERS_END, and when it changes
 *   FOLLOW_DEVICES  u32 n, n x struct access_device                as they stand now: those that the next rows name
 *   FOLLOW_ROWS     u32 n, n x row                                 in seq order, no gaps
 *   FOLLOW_CURRENT  u64 seq, bool sealed, i64 time_floor           answer to ASK (same request id); also every 5 s
 */
#ifndef INKAN_CA_FOLLOW_H
#define INKAN_CA_FOLLOW_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/feed.h"
#include "base/life.h"
#include "base/limits.h"
#include "base/msg.h"

enum follow_type {
    FOLLOW_HELLO = MSG_RANGE_FOLLOW,
    FOLLOW_ACK,
    FOLLOW_ASK,
    FOLLOW_BEGIN,
    FOLLOW_ISSUER,
    FOLLOW_ISSUERS_END,
    FOLLOW_ROWS,
    FOLLOW_CURRENT,
    FOLLOW_DEVICES,
    FOLLOW_FEED_KEY,
    FOLLOW_SEEN,
    FOLLOW_GATEWAY,
};

/* What the status log says of a certificate. */
enum cert_status { CERT_GOOD, CERT_ON_HOLD, CERT_REVOKED, CERT_STATUSES };

/* RFC 5280 5.3.1; 7 does not exist. */
enum crl_reason {
    REASON_UNSPECIFIED = 0,
    REASON_KEY_COMPROMISE = 1,
    REASON_CA_COMPROMISE = 2,
    REASON_AFFILIATION_CHANGED = 3,
    REASON_SUPERSEDED = 4,
    REASON_CESSATION_OF_OPERATION = 5,
    REASON_CERTIFICATE_HOLD = 6,
    REASON_REMOVE_FROM_CRL = 8,
    REASON_PRIVILEGE_WITHDRAWN = 9,
    REASON_AA_COMPROMISE = 10,
};
const char *crl_reason_name(enum crl_reason r); /* "keyCompromise"; NULL for a value that does not exist */
bool crl_reason_from_name(const char *s, enum crl_reason *out);

/* One row of the status log: issuance too (status CERT_GOOD). */
struct status_row {
    uint64_t seq;
    uint32_t issuer;        /* issuer row id; 0 = about a device alone, then serial_len is 0 too */
    uint8_t serial[SERIAL_MAX_LEN];
    uint8_t serial_len;
    enum cert_status status;
    enum crl_reason reason;
    int64_t time;           /* of the change, UTC seconds; revocationTime */
    int64_t invalidity;     /* 0 = none */
    int64_t not_after;      /* of the certificate */
    uint64_t batch;         /* 0 = none */
    char origin[ID_MAX_LEN + 1]; /* "" = this node */
    uint64_t device;        /* device row id, 0 = none */
    uint8_t device_state;   /* enum device_state after this row; DEVICE_STATES: the row says nothing of it */
    uint8_t kind;           /* enum profile_kind, when has_hash */
    bool has_hash;          /* the certificate's first row: kind and der_hash are there */
    uint8_t der_hash[32];   /* SHA-256 of the whole certificate */
    uint8_t hold_by;        /* given to store_status_append: who holds it now (enum hold_by); not read back */
    unsigned shard;         /* of a serial that only an imported list knows; not sent, and not read back */
};

/* What decisions need of a device. The texts are borrowed; "" = not known. */
struct access_device {
    uint64_t id; /* device row of the ledger */
    uint64_t moved_to; /* row of the unit with its new owner, whose its birth certificates are now; 0 = none */
    const char *domain, *device_id, *product, *firmware;
    enum device_state state;
};
#define DEVICE_TEXT_MAX 256 /* octets of product and firmware here; longer ones are cut */
#define DEVICES_MAX     128 /* in one message */

/* The key that signs the feed; key "": none. */
struct follow_feed_key {
    char token[ID_MAX_LEN + 1];
    char key[ID_MAX_LEN * 2 + 1]; /* signer key name: "feed/NAME/GEN" */
    struct bytes cka_id, spki;
    struct bytes cert;   /* DER */
    struct bytes issuer; /* DER of the CA that certified it; empty when that is a root */
};

/* What a gateway has of the feed, and what its servers act on. */
struct follow_gateway {
    uint32_t issuer; /* of its certificate */
    uint8_t serial[SERIAL_MAX_LEN];
    uint8_t serial_len;
    uint64_t seq;    /* rows of the log up to here it has */
    struct feed_server server[FEED_SERVERS_MAX];
    size_t servers_n;
};

/* One issuer as the OCSP responder needs it. */
struct follow_issuer {
    uint32_t id;
    char name[ID_MAX_LEN + 1];
    struct bytes subject;      /* DER Name */
    struct bytes cert;         /* of the CA itself, DER */
    struct bytes spki;         /* of the CA key: CertID issuerKeyHash is over its BIT STRING value */
    bool responds;             /* a responder key and certificate exist */
    char token[ID_MAX_LEN + 1];/* token of the responder key */
    char key[ID_MAX_LEN * 2 + 1]; /* signer key name: "ocsp/NAME/GEN" */
    struct bytes key_cka_id;
    struct bytes key_spki;
    struct bytes responder_cert; /* DER, goes into `certs` */
    int64_t responder_not_before, responder_not_after;
    int64_t validity_s;        /* nextUpdate - now */
};

void status_row_encode(struct msg *m, const struct status_row *in);
void status_row_get(struct msg_reader *r, struct status_row *out); /* failure sticks in the reader */
void follow_device_put(struct msg *m, const struct access_device *in);
/* `room` holds the texts: DEVICE_ROOM octets. */
#define DEVICE_ROOM (2 * (ID_MAX_LEN + 1) + 2 * (DEVICE_TEXT_MAX + 1))
void follow_device_get(struct msg_reader *r, struct access_device *out, char room[DEVICE_ROOM]);
void follow_gateway_encode(struct msg *m, const struct follow_gateway *in);
MUST_CHECK enum err_code follow_gateway_decode(struct msg_reader *r, struct follow_gateway *out, struct err *e);
void follow_feed_key_encode(struct msg *m, const struct follow_feed_key *in);
MUST_CHECK enum err_code follow_feed_key_decode(struct msg_reader *r, struct follow_feed_key *out, struct err *e);
void follow_issuer_encode(struct msg *m, const struct follow_issuer *in);
MUST_CHECK enum err_code follow_issuer_decode(struct msg_reader *r, struct follow_issuer *out, struct err *e);

#endif
