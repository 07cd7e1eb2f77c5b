/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hand-over lists (docs/factory.md): the native signed list, one record per unit and an index that proves completeness, and the
 * pieces of the other formats that need more than text. Pure; used by the service that writes and by those who check.
 *
 * The native list is a text file with one flattened JWS of typ "inkan-unit" a line and beside it the index, a JWS of typ
 * "inkan-unit-index" with their count and the root of the tree of RFC 6962 section 2.1 over the lines without their LF. Every
 * line names its place (`index`, from 0) and its export, so that a line that is missing, added, changed or of another export is
 * named by its number.
 */
#ifndef INKAN_CA_HANDOVER_H
#define INKAN_CA_HANDOVER_H

#include <jansson.h>

#include "base/bytes.h"
#include "ca/record_check.h"

#define UNIT_LINE_TYP  "inkan-unit"
#define UNIT_INDEX_TYP "inkan-unit-index"
#define MANIFEST_TYP   "JWT" /* Microchip's */

/* The tree hash of RFC 6962 2.1 (SHA-256), leaf by leaf: one hash a level is kept. */
struct merkle {
    uint64_t n;
    uint8_t node[64][32];
};
void merkle_add(struct merkle *t, struct bytes leaf);
void merkle_root(const struct merkle *t, uint8_t root[32]); /* of no leaf: the hash of nothing */

/* ---- judging a native list ---- */
struct list_check {
    const struct record_judge *judge;
    json_t *index;          /* payload */
    const char *order, *export_id;
    uint64_t count;         /* as the index says */
    uint64_t lines;         /* seen */
    struct merkle tree;
};
/* Reads the index; judge and its time are the caller's. */
MUST_CHECK enum err_code list_check_begin(struct list_check *k, struct record_judge *judge, struct bytes index, struct err *e);
/* The next line, without its LF. The first that is wrong is named ("line 17: ..."). */
MUST_CHECK enum err_code list_check_line(struct list_check *k, struct bytes line, struct err *e);
MUST_CHECK enum err_code list_check_end(struct list_check *k, struct err *e);
void list_check_clear(struct list_check *k);

/* ---- keys ---- */
/* The public key of a certificate in DER as a JWK (RFC 7517, 7518 6.2 and 6.3, RFC 8037), without kid; NULL: another kind of key. */
json_t *jwk_of_certificate(struct bytes der);

#endif
