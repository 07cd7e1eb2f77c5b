/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The status process's own copy of the status log: one SQLite file, the newest row of each certificate. It holds
 * nothing that the core cannot send again, so a bad or foreign file is deleted and begun anew; it never repairs and
 * never guesses.
 *
 * One thread uses it. Serials are magnitudes: big-endian without leading zero octets.
 */
#ifndef INKAN_CA_REPLICA_H
#define INKAN_CA_REPLICA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "ca/follow.h"

#define LEDGER_ID_MAX_LEN 128

struct replica;

/* The newest status of one certificate. */
struct replica_row {
    enum cert_status status;
    enum crl_reason reason;
    int64_t time;    /* of that row: issuance, revocation, hold or release */
    int64_t changed; /* time of the newest change after issuance; 0 = good since it was issued */
    int64_t not_after;
    uint64_t seq; /* of that row */
};

/*
 * Opens DIR/replica.db, or makes it. A file that is not a replica of this version or is damaged is deleted and made
 * anew; `why` then says what was wrong (else its code is E_OK). `wide`: devices and what decisions need of certificates is kept too; a
 * file of the other width is made anew. E_STORE, E_IO: it cannot be
 * used now (locked, unreadable, disk full); nothing was deleted.
 */
MUST_CHECK enum err_code replica_open(const char *dir, bool wide, struct replica **out, struct err *why, struct err *e);
void replica_free(struct replica *r);

struct bytes replica_ledger_id(const struct replica *r); /* empty: none yet */
uint64_t replica_seq(const struct replica *r);           /* all rows up to it are applied */
int64_t replica_time(const struct replica *r);           /* newest time of a row or of replica_keep_time; 0 = none */

/* Forgets every row and begins a replica of `ledger_id` at seq 0. The file is deleted and made anew. */
MUST_CHECK enum err_code replica_reset(struct replica *r, struct bytes ledger_id, struct err *e);

/*
 * Applies rows in one transaction: all or none. They must continue replica_seq without a gap (E_INVALID). A revoked
 * certificate never returns to good or hold: such a row moves the seq and is counted in *refused, nothing else.
 */
MUST_CHECK enum err_code replica_apply(struct replica *r, const struct status_row *rows, size_t n, size_t *refused,
                                       struct err *e);

/*
 * For a log of which nearly everything is to come: from here on replica_apply puts the rows aside in an order of their own
 * (ca/replica_stage.h), which moves replica_seq too. When it has what it wants, the caller calls replica_build_step until
 * replica_is_building is false: each call puts a part of them into the table, a tenth of a second of work for ten
 * million certificates. Rows may come meanwhile. replica_get knows nothing of what is aside. A
 * replica whose process ends while it is being built begins anew.
 */
MUST_CHECK enum err_code replica_build(struct replica *r, struct err *e);
MUST_CHECK enum err_code replica_build_step(struct replica *r, size_t *refused, struct err *e);
bool replica_is_building(const struct replica *r);

/* Devices that rows name, as they stand now; wide ones only. `d` as for access_put_device. */
struct access_device;
MUST_CHECK enum err_code replica_put_devices(struct replica *r, const struct access_device *d, size_t n, struct err *e);
/*
 * Reads the whole of a wide replica that is not being built, in steps: `max` devices and then certificates for each call, in an order
 * of its own, until *done. Rows may be applied between the steps: what they change behind the place reached does not come again.
 * `fn` false: it has failed, and has set `e`.
 */
struct replica_reading {
    bool certs; /* devices are through */
    uint64_t device;
    uint32_t issuer;
    uint8_t serial[SERIAL_MAX_LEN];
    uint8_t serial_len;
};
struct replica_visit {
    void *arg;
    bool (*device)(void *arg, const struct access_device *d, struct err *e);
    bool (*cert)(void *arg, const struct status_row *row, struct err *e); /* as the newest row, with device, kind and der_hash */
};
MUST_CHECK enum err_code replica_read(struct replica *r, struct replica_reading *at, size_t max, const struct replica_visit *fn, bool *done,
                                      struct err *e);

/* E_NOT_FOUND: no such certificate in rows up to replica_seq. */
MUST_CHECK enum err_code replica_get(struct replica *r, uint32_t issuer, struct bytes serial, struct replica_row *out,
                                     struct err *e);

/*
 * What the write-ahead log has gathered goes to its place, in a thread: when it is much, or (replica_rest) when no rows are coming now. Until
 * that is done (replica_is_merging) what writes waits for the disk, and its caller should wait instead; reading does not.
 */
void replica_rest(struct replica *r);
bool replica_is_merging(const struct replica *r);

/* Keeps the time floor, so that a restart does not go back behind it; not while it is merging. It may fall: an operator may vouch for less. */
MUST_CHECK enum err_code replica_keep_time(struct replica *r, int64_t time, struct err *e);

/* Did a call find the file damaged (and not merely a full disk or a failed write)? */
bool replica_is_damaged(const struct replica *r);
/* Closes and deletes the files: the next start begins anew. Nothing but replica_free may follow. */
void replica_discard(struct replica *r);

/* A serial without its leading zero octets; {p, 0} for zero. */
struct bytes serial_magnitude(struct bytes serial);

#endif
