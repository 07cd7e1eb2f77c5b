/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The access table: every certificate and every device of the status log in memory, for decisions (ca/decide.h) and for the
 * feed (ca/feed.h). It is filled from the replica at start and then by each row as it is applied, before the row is
 * acknowledged.
 *
 * Compact: 80 octets a certificate, 40 and its name a device, texts that repeat are kept once, and three indexes by open
 * addressing in small segments, so that growing never costs more than a fraction of a millisecond at once. About 160 octets for
 * a certificate with its device. access_sweep takes out what ended long ago; its memory serves those that come.
 *
 * Certificates and devices have numbers. That of a certificate that was taken out is given to another later. One thread.
 */
#ifndef INKAN_CA_ACCESS_H
#define INKAN_CA_ACCESS_H

#include "base/conf.h"
#include "base/life.h"
#include "ca/follow.h"

#define ACCESS_NONE UINT32_MAX /* no such certificate or device */

struct access;

struct access_cert {
    uint32_t issuer; /* issuer row of the ledger */
    struct bytes serial; /* a magnitude */
    enum cert_status status;
    enum crl_reason reason;
    int64_t time;      /* of the newest row */
    int64_t not_after;
    bool has_hash;
    const uint8_t *der_hash; /* SHA-256, 32 octets; with has_hash */
    enum profile_kind kind;  /* with has_hash */
    uint32_t device;         /* number, or ACCESS_NONE */
};

/* One issuer as the core describes it. */
struct access_issuer {
    uint32_t id;
    char name[ID_MAX_LEN + 1];
    uint8_t ski[20];       /* SHA-1 of its key's bits, as certificates name it */
    uint8_t cert_hash[32]; /* SHA-256 of its certificate */
    struct buf cert;       /* DER */
};

struct access *access_new(struct err *e);
void access_free(struct access *a);
void access_reset(struct access *a); /* issuers too */

/* What a row changed, for those who follow. */
struct access_change {
    uint32_t cert;   /* number, or ACCESS_NONE: the row names none */
    uint32_t device; /* number, where all certificates of the device are concerned, else ACCESS_NONE */
};
/*
 * Takes one row of the log. A revoked certificate never returns: such a row changes nothing of it. What it says of a device is not
 * read: that came before by access_put_device. E_NOMEM: the table lacks a part of the row: start anew.
 */
MUST_CHECK enum err_code access_put_row(struct access *a, const struct status_row *row, struct access_change *out, struct err *e);
/*
 * Takes a device as it stands now. When that is a change of one that was there, the next row that names it says so. The birth
 * certificates of one that has a new owner are the new owner's from then on.
 */
MUST_CHECK enum err_code access_put_device(struct access *a, const struct access_device *d, struct err *e);

uint32_t access_find_hash(const struct access *a, const uint8_t der_hash[32]);
uint32_t access_find_serial(const struct access *a, uint32_t issuer, struct bytes serial);
uint32_t access_find_device(const struct access *a, uint64_t id);
void access_get_cert(const struct access *a, uint32_t n, struct access_cert *out);
/* The texts live until the next change of the table. */
void access_get_device(const struct access *a, uint32_t n, struct access_device *out);
/* The certificates of a device, newest first: ACCESS_NONE after the last. */
uint32_t access_first_cert(const struct access *a, uint32_t device);
uint32_t access_next_cert(const struct access *a, uint32_t cert);
size_t access_certs(const struct access *a);
size_t access_cert_numbers(const struct access *a); /* all are below it. One that nothing has now reads as a certificate that ended in 1970 */
size_t access_devices(const struct access *a);
size_t access_octets(const struct access *a); /* of memory */

/*
 * Looks at the next `n` numbers, round and round, and takes out certificates of devices that ended before `before`: they are unknown then,
 * and denied all the same. Others stay: there are few, and what is above a certificate counts for as long as that does.
 */
void access_sweep(struct access *a, size_t n, int64_t before);
/* While held nothing is taken out and no number is given again: for who walks them in several turns. */
void access_hold(struct access *a, bool held);

/* The issuers, replaced as a whole: begin, add each, end. They are in the order they were added. */
void access_issuers_begin(struct access *a);
MUST_CHECK enum err_code access_issuers_add(struct access *a, const struct follow_issuer *in, struct err *e);
void access_issuers_end(struct access *a);
size_t access_issuers(const struct access *a);
const struct access_issuer *access_get0_issuer(const struct access *a, size_t i);
const struct access_issuer *access_issuer_by_id(const struct access *a, uint32_t id);  /* NULL: none */
const struct access_issuer *access_issuer_by_ski(const struct access *a, const uint8_t ski[20]);
/*
 * How does the certificate of this issuer stand, and those above it? The worst of them; CERT_GOOD with *certificate ACCESS_NONE when
 * all are good. *certificate is the number of the one that is not.
 */
enum cert_status access_issuer_status(const struct access *a, const struct access_issuer *issuer, uint32_t *certificate);

/* What the holder of a certificate may do: that of its device, at most enrolling with a birth identity; none without a device, and none
 * while the certificate is not good. */
enum access_scope access_scope_of(const struct access *a, const struct access_cert *c);

#endif
