/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of the status log on their way into a replica that begins with nothing, put into order by the first bits of their
 * serials. Applied as they come, nearly each would read and write a page of its own; part by part, most share one.
 *
 * Rows lie in a file without a name in the given directory, 56 octets each, 104 of wide ones; in memory there is one block of each
 * part (4 MiB in all). One thread uses it.
 */
#ifndef INKAN_CA_REPLICA_STAGE_H
#define INKAN_CA_REPLICA_STAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "ca/follow.h"

#define STAGE_PARTS 512 /* by the first 16 bits of a serial of 20 octets that is positive: 254 of them for random ones */

struct stage;

struct staged_row {
    uint64_t seq;
    int64_t time, not_after;
    uint32_t issuer;
    uint8_t status, reason, serial_len, serial[SERIAL_MAX_LEN]; /* a magnitude */
    uint8_t kind;                                               /* from here on of wide rows alone */
    uint64_t device;
    uint8_t has_hash, der_hash[32];
};

MUST_CHECK enum err_code stage_new(const char *dir, bool wide, struct stage **out, struct err *e);
void stage_free(struct stage *s);
unsigned stage_part(const struct staged_row *row);
MUST_CHECK enum err_code stage_add(struct stage *s, const struct staged_row *row, struct err *e);
/* The rows of one part by issuer, serial, seq; the caller frees them. The part is empty afterwards. */
MUST_CHECK enum err_code stage_take(struct stage *s, unsigned part, struct staged_row **rows, size_t *n, struct err *e);

#endif
