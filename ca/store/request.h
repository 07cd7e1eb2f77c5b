/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that wait for an operator (RFC 7030 4.2.3), as rows. The rules of ca/store/store.h hold. */
#ifndef INKAN_CA_STORE_REQUEST_H
#define INKAN_CA_STORE_REQUEST_H

#include "ca/store/store.h"

enum request_state { REQUEST_WAITING, REQUEST_APPROVED, REQUEST_ISSUED, REQUEST_REFUSED, REQUEST_EXPIRED, REQUEST_STATES };
const char *request_state_name(enum request_state s);

struct request_row {
    uint64_t id;
    uint8_t state;               /* enum request_state */
    uint64_t device;
    const char *domain, *device_id; /* of the device; ignored on insert */
    uint8_t credential_hash[32]; /* as in struct cert_row */
    uint8_t operation;           /* enum cert_operation */
    const char *label, *profile;
    bool bound;                  /* the CSR is bound to its TLS connection, so it differs each time: the key is what stays */
    uint8_t content_hash[32];    /* SHA-256 of the certificationRequestInfo */
    uint8_t spki_hash[32];
    struct bytes csr;
    const char *why;             /* it waits: "first enrollment", "renewal", "in service" */
    int64_t created_at, expires_at;
    int64_t decided_at;          /* 0 = not */
    const char *decided_by, *reason;
    int64_t ended_at;            /* issued, refused or expired; 0 = open */
    uint64_t cert;               /* what was issued, 0 = nothing */
};
MUST_CHECK enum err_code store_request_insert(struct store *s, struct request_row *row, struct err *e); /* sets id */
MUST_CHECK enum err_code store_request_by_id(struct store *s, uint64_t id, struct request_row *out, struct err *e);
/*
 * The newest row that `asked` repeats: device, credential, operation, label and profile are the same, and the
 * content; of two that are bound, the key. E_NOT_FOUND.
 */
MUST_CHECK enum err_code store_request_match(struct store *s, const struct request_row *asked, struct request_row *out,
                                             struct err *e);
/* Waiting and approved ones: of this device, and in all. */
MUST_CHECK enum err_code store_request_open(struct store *s, uint64_t device, uint64_t *of_device, uint64_t *in_all, struct err *e);
/* Does one that waits or is approved come from this device with this credential? */
MUST_CHECK enum err_code store_request_is_open(struct store *s, uint64_t device, const uint8_t credential_hash[32], bool *open,
                                               struct err *e);
struct request_counts {
    uint64_t waiting, approved;
    int64_t oldest; /* created_at of the oldest that waits, 0 = none */
};
MUST_CHECK enum err_code store_request_counts(struct store *s, struct request_counts *out, struct err *e);
/* Approves, refuses or expires; `expires_at` 0 leaves it. E_CONFLICT when it ended before. */
MUST_CHECK enum err_code store_request_decide(struct store *s, uint64_t id, enum request_state to, const char *by,
                                              const char *reason, int64_t expires_at, int64_t at, struct err *e);
/* E_NOT_FOUND unless it is approved. */
MUST_CHECK enum err_code store_request_issued(struct store *s, uint64_t id, uint64_t cert, int64_t at, struct err *e);
/* The one that has been due longest; E_NOT_FOUND: none expires at `now` or before. */
MUST_CHECK enum err_code store_request_due(struct store *s, int64_t now, struct request_row *out, struct err *e);
/* Deletes rows that expired before the one time, or were issued or refused before the other. */
MUST_CHECK enum err_code store_request_forget(struct store *s, int64_t expired_before, int64_t decided_before, struct err *e);
/* In the order of id, after `after_id`; `state` -1 = any; `limit` 0 = none. */
typedef bool (*request_row_fn)(void *arg, const struct request_row *row);
MUST_CHECK enum err_code store_request_each(struct store *s, int state, uint64_t after_id, uint64_t limit, request_row_fn fn,
                                            void *arg, struct err *e);

#endif
