/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger's rows about line boxes. Errors, lifetimes and threads as in ca/store/store.h.
 */
#ifndef INKAN_CA_STORE_LINEBOX_H
#define INKAN_CA_STORE_LINEBOX_H

#include "ca/store/store.h"

/* A certificate of the chain of a CA that is certified elsewhere, and what the list of the CA above says of it. */
struct foreign_row {
    uint32_t issuer;
    unsigned depth;              /* 0: the CA's own certificate; the root is the highest */
    struct bytes cert;
    uint8_t status, reason;      /* enum cert_status, enum crl_reason */
    int64_t status_at;
    struct bytes list_number;    /* CRLNumber, big-endian; empty: no list was imported */
    int64_t list_this_update, list_next_update;
};
MUST_CHECK enum err_code store_foreign_put(struct store *s, const struct foreign_row *row, struct err *e); /* again: replaces */
MUST_CHECK enum err_code store_foreign_cut(struct store *s, uint32_t issuer, unsigned depth, struct err *e); /* from depth on */
typedef bool (*foreign_row_fn)(void *arg, const struct foreign_row *row);
MUST_CHECK enum err_code store_foreign_each(struct store *s, uint32_t issuer, foreign_row_fn fn, void *arg, struct err *e);
/* A newer certificate of the same key and name takes the place of the row's: cert, ski, not_before, not_after. */
MUST_CHECK enum err_code store_issuer_recertify(struct store *s, const struct issuer_row *row, struct err *e);

/* Issuance budgets: granted to boxes (at a centre), or installed (at a box). */
struct budget_row {
    char box[ID_MAX_LEN + 1];
    uint64_t number;             /* rises for each box */
    char scope[ID_MAX_LEN + 1];  /* an order, or "*" */
    uint64_t units, spent;
    int64_t until, issued_at, at; /* at: granted or installed */
    struct bytes file;           /* the signed record; empty: it is being signed */
};
MUST_CHECK enum err_code store_budget_insert(struct store *s, const struct budget_row *row, struct err *e); /* E_CONFLICT: number taken */
MUST_CHECK enum err_code store_budget_set_file(struct store *s, const char *box, uint64_t number, struct bytes file, struct err *e);
MUST_CHECK enum err_code store_budget_get(struct store *s, const char *box, uint64_t number, struct budget_row *out, struct err *e);
/* The highest number of the scope; E_NOT_FOUND. */
MUST_CHECK enum err_code store_budget_newest(struct store *s, const char *box, const char *scope, struct budget_row *out, struct err *e);
MUST_CHECK enum err_code store_budget_last(struct store *s, const char *box, uint64_t *number, struct err *e); /* none: 0 */
/* `n` more; E_CONFLICT: there are not so many left. */
MUST_CHECK enum err_code store_budget_spend(struct store *s, const char *box, uint64_t number, uint64_t n, struct err *e);
typedef bool (*budget_row_fn)(void *arg, const struct budget_row *row);
/* By box and number; `box` NULL: of all. */
MUST_CHECK enum err_code store_budget_each(struct store *s, const char *box, budget_row_fn fn, void *arg, struct err *e);

#endif
