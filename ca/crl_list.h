/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of one CRL that read the ledger, for a reader's thread: nothing here sees the core. list_write makes the octets to
 * be signed from one snapshot of the ledger; list_publish puts the signature to them, holds the result against the list before
 * (the gate) and puts it in place. The order around them (number reserved, signature, row) is publish.c's.
 */
#ifndef INKAN_CA_CRL_LIST_H
#define INKAN_CA_CRL_LIST_H

#include <limits.h>

#include "base/memfile.h"
#include "ca/cert.h"
#include "ca/crl.h"
#include "ca/store/store.h"

#define CRL_MAX_LEN      ((size_t)512 << 20)
#define CRL_KEPT_MAX_LEN ((size_t)256 << 10) /* the ledger keeps smaller ones too: a lost file comes back from it */

/* What the list is about. Everything is copied: the configuration and the CA may change meanwhile. */
struct list_order {
    char ca[ID_MAX_LEN + 1];
    unsigned shard;
    uint32_t issuer;             /* issuer row */
    struct buf subject, spki;
    uint8_t ski[20];
    int64_t not_before;
    enum sig_alg alg;
    char idp_url[CERT_URL_MAX];  /* "" = the full list */
    char path[PATH_MAX];         /* of the published file */
    bool exists;                 /* a list was published before, as the ledger has it */
    int64_t last_this_update, last_next_update;
    int64_t this_floor, next_floor; /* of a published file the ledger has no row of, else 0 */
    uint64_t number;             /* reserved */
    int64_t now, validity_s;
};

/* From the snapshot. */
struct list_made {
    struct memfile tbs; /* sealed */
    uint64_t seq, entries;
    int64_t now, this_update, next_update;
    int64_t keep_from; /* certificates that expired before may leave (RFC 5280 3.3) */
    bool regular;
};

/* A file as it is in place. */
struct list_file {
    int fd; /* read only */
    uint64_t size;
    uint8_t sha256[32];
    struct buf der; /* its content up to CRL_KEPT_MAX_LEN, else empty */
};

void list_order_clear(struct list_order *o);
void list_made_clear(struct list_made *m);
void list_file_clear(struct list_file *f);

/* E_PENDING: thisUpdate cannot rise yet, again in a second. Other refusals: nothing was made. */
MUST_CHECK enum err_code list_write(struct store *ledger, const struct list_order *o, struct list_made *out, struct err *e);
/* E_CONFLICT: the gate refuses it. The file is durable when this returns E_OK. */
MUST_CHECK enum err_code list_publish(struct store *ledger, const struct list_order *o, const struct list_made *m,
                                      enum sig_alg alg, struct bytes sig, struct list_file *out, struct err *e);
/* The lists at `list[0..n)` as one PEM file at `path`, in pieces: a bundle is not held in memory. */
MUST_CHECK enum err_code list_bundle(const char (*list)[PATH_MAX], size_t n, const char *path, struct list_file *out,
                                     struct err *e);
/* Opens what is in place and takes its digest. E_NOT_FOUND: no such file. */
MUST_CHECK enum err_code list_file_open(const char *path, struct list_file *out, struct err *e);

#endif
