/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The revocation feed as it stands on the wire and in a gate's files: a snapshot of every certificate's state, and numbered
 * changes to it. The service writes it (ca/feed.c), inkan-gate reads it (enroll/gate/). docs/access.md says it for others.
 *
 *   snapshot   JWS LF, then one line per certificate, sorted by issuer number, then serial as a number
 *   changes    JWS
 *
 * A JWS is compact (RFC 7515 7.1) with exactly this header, members sorted, no blanks: {"alg":A,"typ":T,"x5c":[C,...]}; C is
 * base64 of a DER certificate, the signer's first. Who signs must be certified for just that (OID_EKU_DOCUMENT_SIGNING): a device's own
 * certificate hangs from the same root.
 *
 * One certificate is one line of eleven fields separated by TAB, without its LF:
 *
 *     n serial status reason state scope not_after domain device_id firmware product
 *
 * An empty text is "-". In texts, octets outside 0x21..0x7e and % " \ are written %XX (upper-case hex), and a text that is
 * just "-" is %2D; so a line holds nothing that JSON would escape but the TAB.
 *
 * Pure functions; any thread.
 */
#ifndef INKAN_BASE_FEED_H
#define INKAN_BASE_FEED_H

#include "base/jws.h"
#include "base/limits.h"

#define FEED_SNAPSHOT_TYP "inkan-snapshot+jws"
#define FEED_CHANGES_TYP  "inkan-changes+jws"
#define FEED_CHAIN_MAX    4      /* certificates in x5c */
#define FEED_LINE_MAX     2048   /* octets of one line */
#define FEED_TEXT_MAX     256    /* octets of domain, device_id, firmware or product, before escapes */
#define FEED_ISSUERS_MAX  1024
#define FEED_ROWS_MAX     1000   /* of one answer with changes */
#define FEED_JWS_MAX      (8 * 1024 * 1024) /* octets of one JWS: its issuers, or its rows */

enum feed_status { FEED_GOOD, FEED_ON_HOLD, FEED_REVOKED, FEED_STATUSES };
const char *feed_status_name(enum feed_status s); /* "good", "on_hold", "revoked" */

struct feed_cert {
    uint32_t issuer;                /* its n in the snapshot */
    uint8_t serial[SERIAL_MAX_LEN]; /* without leading zero octets */
    size_t serial_len;              /* at least 1 */
    enum feed_status status;
    struct bytes reason;            /* of RFC 5280 5.3.1 ("keyCompromise"); empty while good */
    struct bytes state, scope;      /* words of base/life.h; empty: the certificate is no device's */
    int64_t not_after;              /* UTC seconds */
    struct bytes domain, device_id, firmware, product;
};

/* Adds one line, without LF. Texts are given as they are; too long ones are cut at FEED_TEXT_MAX. */
void feed_cert_write(struct buf *out, const struct feed_cert *c);
/* Reads one line strictly. The texts point into `line` and are still escaped: feed_text. E_INVALID names the field. */
MUST_CHECK enum err_code feed_cert_read(struct bytes line, struct feed_cert *out, struct err *e);
/* Its issuer and serial alone, of a line that was read before; nothing else of `out` is set. */
bool feed_cert_read_key(struct bytes line, struct feed_cert *out);
/* The escapes undone into `out`, NUL-terminated; false: a broken escape, an octet NUL or no room. */
bool feed_text(struct bytes escaped, char *out, size_t size);
/* By issuer number, then serial as a number: <0, 0, >0. */
int feed_cert_order(const struct feed_cert *a, const struct feed_cert *b);

struct feed_issuer {
    uint32_t n;
    const char *name;
    struct bytes ski, cert; /* DER of the newest certificate of that CA */
};

/* The payload of a snapshot: {"ledger","seq","time","valid_s","issuers":[{"n","name","ski","cert"}],"count","sha256"}. */
struct feed_snapshot {
    const char *ledger;
    uint64_t seq;
    int64_t time;      /* UTC seconds at which the state was exactly this */
    uint32_t valid_s;
    const struct feed_issuer *issuers;
    size_t issuers_n;
    uint64_t count;    /* lines */
    uint8_t sha256[32]; /* of all octets after the first LF */
};
void feed_snapshot_write(struct buf *out, const struct feed_snapshot *s);

/*
 * The payload of changes, in pieces: {"ledger","after","seq","time","rows":[[SEQ,"LINE"],...]}. `seq` is what the receiver then
 * has; rows rise in seq and none is above it. No rows: a heartbeat.
 */
void feed_changes_begin(struct buf *out, const char *ledger, uint64_t after, uint64_t seq, int64_t time);
void feed_changes_row(struct buf *out, bool first, uint64_t seq, const struct feed_cert *c);
void feed_changes_end(struct buf *out);

/*
 * What a gateway says of its servers when it asks for changes, as one value of the query: "nginx/4711/1732280000,haproxy/4712/0", the
 * row of the log up to which each acts, and when it was told last (UTC seconds by the gateway's clock, 0 = never).
 */
#define FEED_SERVERS_MAX 16
#define FEED_SERVERS_TEXT_MAX (FEED_SERVERS_MAX * (ID_MAX_LEN + 44))
struct feed_server {
    char name[ID_MAX_LEN + 1];
    uint64_t seq;
    int64_t at;
};
void feed_servers_write(struct buf *out, const struct feed_server *v, size_t n);
/* Strictly: names by id_is_valid, decimal numbers up to INT64_MAX, at most FEED_SERVERS_MAX, no name twice. An empty text is none. */
bool feed_servers_read(struct bytes text, struct feed_server out[FEED_SERVERS_MAX], size_t *n);

/* BASE64URL(header) "." BASE64URL(payload): what is signed. chain[0] is the signer's certificate in DER. */
void feed_signing_input(struct buf *out, enum sig_alg alg, const char *typ, const struct bytes *chain, size_t chain_n, struct bytes payload);
/* Adds "." and the raw signature (jws_raw_signature) to that. */
void feed_signature_write(struct buf *out, struct bytes raw_signature);

/* A JWS of the feed as read; jws.protected_text and jws.payload_text point into the text. */
struct feed_jws {
    struct jws jws;                 /* for jws_verify and jws_payload; header: alg and typ alone */
    struct buf chain[FEED_CHAIN_MAX]; /* DER */
    size_t chain_n;
};
/* Reads the first two parts alone, as they are signed. Otherwise as feed_jws_read. */
MUST_CHECK enum err_code feed_input_read(struct bytes text, const char *typ, struct feed_jws *out, struct err *e);
/* Reads the compact form strictly; `typ` must be its type. `out` is to be cleared in any case. */
MUST_CHECK enum err_code feed_jws_read(struct bytes text, const char *typ, struct feed_jws *out, struct err *e);
void feed_jws_clear(struct feed_jws *j);

#endif
