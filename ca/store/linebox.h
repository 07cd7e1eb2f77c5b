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

/* What a centre has from a box. */
enum box_stream { BOX_CERTS, BOX_UNITS, BOX_STATUS, BOX_REPORTS, BOX_STREAMS };
#define BOX_EPOCH_MAX 64
struct box_state_row {
    char box[ID_MAX_LEN + 1], epoch[BOX_EPOCH_MAX + 1];
    uint64_t had[BOX_STREAMS];   /* rows of the box up to this one are here */
    const char *said;            /* JSON: what the box told of itself last */
    const char *difference;      /* "" = none was found */
    int64_t heard_at;
};
MUST_CHECK enum err_code store_box_state_get(struct store *s, const char *box, const char *epoch, struct box_state_row *out, struct err *e);
MUST_CHECK enum err_code store_box_state_put(struct store *s, const struct box_state_row *row, struct err *e); /* again: replaces */
typedef bool (*box_state_fn)(void *arg, const struct box_state_row *row);
MUST_CHECK enum err_code store_box_state_each(struct store *s, const char *box, box_state_fn fn, void *arg, struct err *e); /* NULL: of all */

enum box_outcome { BOX_TAKEN, BOX_KNOWN, BOX_ASIDE };
struct box_record_row {
    uint64_t id;
    char box[ID_MAX_LEN + 1], epoch[BOX_EPOCH_MAX + 1];
    uint8_t stream, outcome;
    uint64_t seq;
    int64_t at;
    const char *reason, *body;
};
MUST_CHECK enum err_code store_box_record_put(struct store *s, const struct box_record_row *row, struct err *e); /* E_CONFLICT: it is here */
typedef bool (*box_record_fn)(void *arg, const struct box_record_row *row);
/* By id; `aside`: only what was set aside. `box` NULL: of all. */
MUST_CHECK enum err_code store_box_record_each(struct store *s, const char *box, bool aside, uint64_t after_id, uint64_t limit,
                                               box_record_fn fn, void *arg, struct err *e);
MUST_CHECK enum err_code store_box_aside_count(struct store *s, const char *box, uint64_t *n, struct err *e);

MUST_CHECK enum err_code store_box_unit_put(struct store *s, const char *box, const char *order_no, const char *device_id,
                                            const char *state, struct err *e);
/* Another box that has a unit of this device; "" = none. */
MUST_CHECK enum err_code store_box_unit_elsewhere(struct store *s, const char *box, const char *device_id, char out[ID_MAX_LEN + 1],
                                                  struct err *e);
typedef bool (*box_count_fn)(void *arg, const char *order_no, const char *state, uint64_t n);
MUST_CHECK enum err_code store_box_unit_count(struct store *s, const char *box, box_count_fn fn, void *arg, struct err *e);
/* Devices with a certificate of this issuer. */
MUST_CHECK enum err_code store_box_devices(struct store *s, uint32_t issuer, uint64_t *n, struct err *e);

/* The close-out report of an order, as a box signed it. */
struct report_row {
    uint64_t seq;                /* at a box: rises with each report that is signed */
    int64_t at;                  /* at a centre: when it came */
    const char *order_no;
    struct bytes report, signer; /* JWS; certificate in DER, empty = that of today */
};
typedef bool (*report_row_fn)(void *arg, const struct report_row *row);
MUST_CHECK enum err_code store_box_report_put(struct store *s, const char *box, const struct report_row *row, struct err *e); /* E_CONFLICT: there is one */
MUST_CHECK enum err_code store_box_report_get(struct store *s, const char *box, const char *order_no, struct report_row *out, struct err *e);
/* By order, without report and signer. */
MUST_CHECK enum err_code store_box_report_each(struct store *s, const char *box, report_row_fn fn, void *arg, struct err *e);
/* At a box: the report of this order was signed under that certificate. */
MUST_CHECK enum err_code store_report_signed(struct store *s, uint64_t order, struct bytes signer, struct err *e);
MUST_CHECK enum err_code store_outbox_reports(struct store *s, uint64_t after, uint64_t limit, report_row_fn fn, void *arg, struct err *e);

/* At a box: what happened to its units, from the event after `after_id` on. */
struct outbox_event_row {
    uint64_t id;
    int64_t time;
    const char *order_no, *domain, *device_id, *event, *station, *badge, *tool, *detail;
    uint8_t state;               /* enum unit_state, of the unit now */
};
typedef bool (*outbox_event_fn)(void *arg, const struct outbox_event_row *row);
MUST_CHECK enum err_code store_outbox_events(struct store *s, uint64_t after_id, uint64_t limit, outbox_event_fn fn, void *arg, struct err *e);
/* The highest row of each stream, and units by order and state. */
MUST_CHECK enum err_code store_outbox_last(struct store *s, uint64_t last[BOX_STREAMS], struct err *e);
typedef bool (*outbox_count_fn)(void *arg, const char *order_no, unsigned state, uint64_t n);
MUST_CHECK enum err_code store_outbox_count(struct store *s, outbox_count_fn fn, void *arg, struct err *e);

#endif
