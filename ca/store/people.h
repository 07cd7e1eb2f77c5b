/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of the people who administer, and of what waits for a second of them. The rules of ca/store/store.h hold here too. */
#ifndef INKAN_CA_STORE_PEOPLE_H
#define INKAN_CA_STORE_PEOPLE_H

#include "ca/store/store.h"

struct operator_row {
    uint64_t id;
    char name[ID_MAX_LEN + 1];
    unsigned roles;            /* bit set of enum role */
    char user[ID_MAX_LEN + 1]; /* of the local machine, "" = none */
    int64_t added_at, ended_at; /* 0 = live */
};
/* Sets id. E_CONFLICT: the name was given before, or a live operator has the user. */
MUST_CHECK enum err_code store_operator_insert(struct store *s, struct operator_row *row, struct err *e);
MUST_CHECK enum err_code store_operator_by_name(struct store *s, const char *name, struct operator_row *out, struct err *e);
MUST_CHECK enum err_code store_operator_by_id(struct store *s, uint64_t id, struct operator_row *out, struct err *e);
/* The live one of this user. */
MUST_CHECK enum err_code store_operator_by_user(struct store *s, const char *user, struct operator_row *out, struct err *e);
MUST_CHECK enum err_code store_operator_change(struct store *s, uint64_t id, unsigned roles, const char *user, struct err *e);
MUST_CHECK enum err_code store_operator_end(struct store *s, uint64_t id, int64_t at, struct err *e);
typedef bool (*operator_row_fn)(void *arg, const struct operator_row *row);
MUST_CHECK enum err_code store_operator_each(struct store *s, uint64_t after_id, uint64_t limit, operator_row_fn fn, void *arg, struct err *e);

/* A certificate that an operator signs with. E_CONFLICT: its key is that of another operator or of a device. */
MUST_CHECK enum err_code store_operator_cert_insert(struct store *s, uint64_t operator_id, uint64_t cert, const uint8_t der_hash[32], struct err *e);
/* Whose it is, and its row. E_NOT_FOUND: nobody's. */
MUST_CHECK enum err_code store_operator_cert_find(struct store *s, const uint8_t der_hash[32], uint64_t *operator_id, uint64_t *cert, struct err *e);
/* The operator's certificate after this row id; E_NOT_FOUND: no more. */
MUST_CHECK enum err_code store_operator_cert_next(struct store *s, uint64_t operator_id, uint64_t after, uint64_t *cert, struct err *e);

/* E_CONFLICT: it was used before. */
MUST_CHECK enum err_code store_nonce_use(struct store *s, const uint8_t nonce[16], int64_t until, struct err *e);
MUST_CHECK enum err_code store_nonce_forget(struct store *s, int64_t before, struct err *e);

enum pending_state { PENDING_WAITING, PENDING_RUNNING, PENDING_DONE, PENDING_FAILED, PENDING_REFUSED, PENDING_EXPIRED, PENDING_STATES };
const char *pending_state_name(enum pending_state s);

struct pending_row {
    uint64_t id;
    uint8_t state;            /* enum pending_state */
    uint64_t operator_id;
    const char *requester;    /* name of the operator; ignored on insert */
    const char *op, *args;    /* args: canonical JSON */
    struct bytes jws;
    int64_t created_at, expires_at;
    uint64_t second;          /* operator who decided, 0 = nobody yet */
    const char *second_name;  /* "" = nobody; ignored on insert */
    int64_t decided_at, ended_at;
    const char *outcome;      /* code and text of a failure, or the reason of a refusal */
};
MUST_CHECK enum err_code store_pending_insert(struct store *s, struct pending_row *row, struct err *e); /* sets id */
MUST_CHECK enum err_code store_pending_by_id(struct store *s, uint64_t id, struct pending_row *out, struct err *e);
/* From waiting to running or refused by `second`. E_NOT_FOUND: it does not wait. E_CONFLICT: by its own author, to running. */
MUST_CHECK enum err_code store_pending_decide(struct store *s, uint64_t id, enum pending_state to, uint64_t second, const char *outcome,
                                              int64_t at, struct err *e);
/* From running to done or failed. E_NOT_FOUND: it does not run. */
MUST_CHECK enum err_code store_pending_end(struct store *s, uint64_t id, enum pending_state to, const char *outcome, int64_t at, struct err *e);
/* Those that ran when the core ended have failed. */
MUST_CHECK enum err_code store_pending_interrupt(struct store *s, int64_t at, struct err *e);
/* The one that has been due longest; E_NOT_FOUND: none expires at `now` or before. */
MUST_CHECK enum err_code store_pending_due(struct store *s, int64_t now, uint64_t *id, struct err *e);
/* From waiting to an end that no second person gave it. E_NOT_FOUND: it does not wait. */
MUST_CHECK enum err_code store_pending_close(struct store *s, uint64_t id, enum pending_state to, const char *outcome, int64_t at,
                                             struct err *e);
MUST_CHECK enum err_code store_pending_waiting(struct store *s, uint64_t operator_id, uint64_t *n, struct err *e);
/* In the order of id, after `after_id`; `open_only`: waiting and running ones. */
typedef bool (*pending_row_fn)(void *arg, const struct pending_row *row);
MUST_CHECK enum err_code store_pending_each(struct store *s, bool open_only, uint64_t after_id, uint64_t limit, pending_row_fn fn, void *arg,
                                            struct err *e);

#endif
