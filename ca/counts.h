/* SPDX-License-Identifier: Apache-2.0 */
/* What the core counts since it started, as a part of struct core (ca/metrics.h). */
#ifndef INKAN_CA_COUNTS_H
#define INKAN_CA_COUNTS_H

#include <stdbool.h>
#include <stdint.h>

/* What became of a request for a certificate or of a station. */
enum issue_call { CALL_SIMPLEENROLL, CALL_SIMPLEREENROLL, CALL_SERVERKEYGEN, CALL_STATION, CALL_CAPTURED, CALL_OPERATOR, CALL_SERVICE, ISSUE_CALLS };
enum issue_end { END_DONE, END_REPEATED, END_PENDING, END_REFUSED, END_BUSY, END_FAILED, ISSUE_ENDS };

#define COUNTED_REASONS 11 /* enum crl_reason */
struct status_counts {
    uint64_t revoked[COUNTED_REASONS], held, released;
};

struct core_counts {
    uint64_t issue[ISSUE_CALLS][ISSUE_ENDS];
    struct status_counts status;
    struct status_counts open; /* of the transaction under way */
    bool any_open;
};

#endif
