/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gate knows of every certificate: one snapshot of the service, held as it came, and the changes since, in the order in
 * which they came. A table begins with a verified snapshot, so there is none that knows nothing.
 *
 * The snapshot never changes; changes are only added. Not locked: the caller keeps writers apart from readers, but the lines of
 * the snapshot may be walked (table_base_line) without a lock by whoever holds a reference.
 */
#ifndef INKAN_ENROLL_GATE_TABLE_H
#define INKAN_ENROLL_GATE_TABLE_H

#include <openssl/x509.h>

#include "base/feed.h"

#define TABLE_FILE_MAX ((size_t)2000 * 1024 * 1024) /* octets of a snapshot */

struct table_issuer {
    uint32_t n;
    char name[ID_MAX_LEN + 1];
    uint8_t ski[64];
    size_t ski_len;
    X509 *cert;
    const struct table_issuer *above; /* NULL: a root, or certified by another service */
};

struct table;

/*
 * Takes over `text`, the whole snapshot with its first line, whose verified payload is `payload`. E_INVALID: it is not what the
 * payload says (digest, count, order, issuers) or not a snapshot.
 */
MUST_CHECK enum err_code table_new(struct buf *text, struct bytes payload, struct table **out, struct err *e);
struct table *table_ref(struct table *t);
void table_unref(struct table *t);

const char *table_ledger(const struct table *t);
uint64_t table_seq(const struct table *t);      /* with the changes */
int64_t table_time(const struct table *t);      /* when the service said that this is complete */
/*
 * How far that is from `now`, either way: a clock that was set back makes what is known no fresher, and by how much it is wrong
 * nobody can say.
 */
int64_t table_age_s(const struct table *t, int64_t now);
uint32_t table_valid_s(const struct table *t);  /* how long a gate may go on with it, says the service (feed.valid) */

/*
 * Adds what the verified payload of one answer with changes says; a heartbeat moves the time alone. All of it or nothing.
 * E_CONFLICT: of another ledger, or it does not begin where this table ends; a fresh snapshot is needed. E_INVALID: not changes.
 */
MUST_CHECK enum err_code table_apply(struct table *t, struct bytes payload, struct err *e);

/* false: never issued, or expired when the snapshot was made. The texts of `out` live as long as the table. */
bool table_find(const struct table *t, uint32_t issuer, struct bytes serial, struct feed_cert *out);
size_t table_issuers(const struct table *t, const struct table_issuer **out);
/* The worst of this CA and those above it. A root has no line of its own: it is good for as long as the snapshot names it. */
enum feed_status table_issuer_status(const struct table *t, uint32_t issuer);
/* Does a change name a CA that the snapshot does not have? It came later, and only a new snapshot says what it is. */
bool table_names_stranger(const struct table *t);

/* Walking: the lines of the snapshot, then the changes in their order (a later one of a certificate counts). */
size_t table_base_count(const struct table *t);
bool table_base_line(const struct table *t, size_t i, struct feed_cert *out);
size_t table_change_count(const struct table *t);
bool table_change_line(const struct table *t, size_t i, struct feed_cert *out);

#endif
