/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The factory line in the core (docs/factory.md): work orders that are open, stations, and what may be done to a unit. What
 * writes runs inside the caller's transaction, in the request's savepoint.
 *
 * A refusal is an error whose text begins with its reason ("order-full: the order has its 20000 units"); the reason is kept in
 * the grant, counted for the order and written into the audit trail by issue.c.
 */
#ifndef INKAN_CA_FACTORY_H
#define INKAN_CA_FACTORY_H

#include "ca/enroll_policy.h"
#include "ca/store/factory.h"

struct order_closing;

/* A work order as long as the core needs it. Live ones (not closed) are in memory always, a closed one once it was asked for. */
struct work_order {
    LIST_ENTRY(work_order) link;
    uint64_t id;
    char order_no[ORDER_NO_MAX + 1], domain[ID_MAX_LEN + 1], product[ID_MAX_LEN + 1], model[ID_MAX_LEN + 1];
    char lot[ID_MAX_LEN + 1], line[ID_MAX_LEN + 1], profile[ID_MAX_LEN + 1], prefix[ID_MAX_LEN + 1];
    enum order_key_mode key_mode;
    uint64_t passed_over; /* ordinals of the range below this are known to be taken */
    uint64_t quantity, first, rekeys_allowed, rework_allowed, defer_allowed, units_after;
    unsigned digits;
    bool by_list, evidence_required;
    struct text_list stations, firmware;
    int64_t not_before, not_after, orphan_after_s, opened_at, closed_at;
    enum order_state state;
    uint8_t credential[32]; /* what repeats compare: SHA-256("inkan-order-1:" order_no) */
    struct conf_label label; /* the order as an EST label; its texts are those above */
    struct order_closing *closing; /* while its units are ended; NULL: that is not under way */
    struct err close_error;  /* why it stays closing, E_CONFLICT: a person must look; E_OK: nothing stands in the way */
    uint64_t close_at;       /* ticks of the core: not before this one is a failed close tried again */
};

/* A station as its registration says; its certificate is the one presented. */
struct factory_station {
    uint64_t id, cert; /* rows */
    char name[ID_MAX_LEN + 1], domain[ID_MAX_LEN + 1], line[ID_MAX_LEN + 1], profile[ID_MAX_LEN + 1];
    unsigned roles;    /* enum station_role bits */
    int64_t not_after; /* of the registration */
    uint8_t cert_hash[32];
};

/* ---- work orders ---- */
MUST_CHECK enum err_code factory_load(struct core *c, struct err *e); /* at the start: all live orders */
void factory_free(struct core *c);
/* A live order; NULL: none. The pointer holds until the next turn of the loop. */
struct work_order *factory_live(struct core *c, const char *order_no);
struct work_order *factory_live_by_id(struct core *c, uint64_t id);
/* Also a closed one. E_NOT_FOUND with the reason unknown-order. */
MUST_CHECK enum err_code factory_find(struct core *c, const char *order_no, struct grant *g, struct work_order **out,
                                      struct err *e);
/*
 * Makes an order from a file that was verified (spec->signer says by whose key) and takes over what `spec` and `file` own. E_OK: `done` is
 * called once, now or later. The same file again: no change. E_CONFLICT: the number is another file's, or the order is closed.
 */
typedef void (*order_fn)(struct core *c, void *arg, enum err_code code, const struct err *e);
MUST_CHECK enum err_code factory_open(struct core *c, struct order_spec *spec, struct buf *file, const struct actor *by,
                                      order_fn done, void *arg, struct err *e);
/* Calls `fn` with every live order. */
void factory_each_live(struct core *c, void (*fn)(struct core *c, const struct work_order *o));
/* Calls `fn` with the label of every open order. */
typedef void (*label_fn)(void *arg, const struct conf_label *l);
void factory_each_label(struct core *c, label_fn fn, void *arg);

/*
 * Ends the order step by step in the loop: what is not finished becomes unused, an orphan or (`force`) scrap; then the counts are
 * proven and it is closed. E_OK: `done` is called once, later. E_CONFLICT: closed already, or units are under rework and no
 * `force`; E_BUSY: another call closes it.
 */
MUST_CHECK enum err_code factory_close(struct core *c, struct work_order *o, const struct actor *by, bool force, order_fn done,
                                       void *arg, struct err *e);
/* Once a second: unconfirmed certificates go on hold; orders that are closing go on. */
void factory_tick(struct core *c);

/* ---- refusals ---- */

/* Sets the grant's reason (unless `g` is NULL) and the text "REASON: ..."; gives `code` back. */
enum err_code factory_refuse(struct grant *g, struct err *e, enum err_code code, const char *reason, const char *fmt, ...)
    PRINTF_LIKE(5, 6);

/* ---- stations ---- */

/*
 * Whose certificate is presented? Fills `st`, and who asks in the grant. E_DENIED with a reason (station-revoked), or without one
 * when it is no station's.
 */
MUST_CHECK enum err_code factory_station(struct core *c, struct bytes leaf, int64_t now, struct factory_station *st,
                                         struct grant *g, struct err *e);
/* Its certificate is signed: is the station still registered? E_DENIED: it was revoked meanwhile. */
MUST_CHECK enum err_code factory_station_stays(struct core *c, const char *name, struct err *e);
/* A registration changed: what is known of stations is asked anew. */
void factory_stations_changed(struct core *c);
enum order_need {
    ORDER_READ,  /* in any state */
    ORDER_WORK,  /* it is open: units it has go on */
    ORDER_BEGIN, /* it is open and in date: new certificates and units */
};
/* May this station act in the order? `roles`: one of them is needed, 0 = any. Sets the grant's order. */
MUST_CHECK enum err_code factory_admit(const struct work_order *o, const struct factory_station *st, unsigned roles,
                                       enum order_need need, int64_t now, struct grant *g, struct err *e);

/* ---- units ---- */

/* Why a unit changes, for its event and the audit trail. */
struct unit_cause {
    const struct actor *by;
    uint64_t station;      /* 0 = the service or an operator */
    const char *badge, *tool;
    const char *event;     /* NULL: the name of the change ("confirmed") */
    const char *detail;    /* JSON object, canonical; NULL = {} */
    const char *trail_detail; /* the same for the trail; NULL = `detail` */
    uint64_t cert;         /* UNIT_DO_ISSUE and UNIT_DO_REKEY: row of the new certificate */
};
/*
 * The one way a unit changes: rule, row, counts, event, audit entry, and what follows for its certificates (hold, release,
 * superseded, cessationOfOperation). *changed false: it happened before. E_CONFLICT: the rule does not allow it.
 */
MUST_CHECK enum err_code factory_change(struct core *c, const struct work_order *o, struct unit_row *u, enum unit_event event,
                                        const struct unit_cause *why, int64_t now, bool *changed, struct err *e);

/* The unit of a device_id in an order, with its device in g->device; `reserve`: made when it is not there. */
MUST_CHECK enum err_code factory_unit(struct core *c, struct work_order *o, const char *device_id, bool reserve, int64_t now,
                                      struct grant *g, struct unit_row *u, struct err *e);

/*
 * May a certificate be issued for this unit now? Everything that stands between an admitted station and a new certificate is
 * asked here, before the signature and again when it is back.
 */
MUST_CHECK enum err_code factory_may_issue(struct core *c, const struct work_order *o, const struct unit_row *u,
                                           enum unit_event event, struct grant *g, struct err *e);

/* ---- EST under an order's label (factory_enroll.c), called by enroll_policy.c ---- */
MUST_CHECK enum err_code factory_authorise(struct core *c, struct work_order *o, const struct svc_enroll *in,
                                           const struct csr *csr, int64_t now, struct grant *g, struct err *e);
/* A station renews its own certificate; under an order's label or one whose profile is of kind station. */
MUST_CHECK enum err_code factory_renew_station(struct core *c, const struct svc_enroll *in, const struct csr *csr, int64_t now,
                                               struct grant *g, struct err *e);
/* The signature is back and the certificate has its row: the unit is issued. E_DENIED when it may no longer have it. */
MUST_CHECK enum err_code factory_issued(struct core *c, struct grant *g, uint64_t cert, int64_t now, struct err *e);
/* A device of a live order gets nothing elsewhere before it is confirmed. */
MUST_CHECK enum err_code factory_refuse_unconfirmed(struct core *c, const struct device_facts *d, struct err *e);
/* Counts a refusal for the order of the grant, and writes its audit entry. */
MUST_CHECK enum err_code factory_refused(struct core *c, const struct grant *g, const struct actor *by,
                                         const struct err *why, int64_t now, struct err *e);

/* ---- requests of stations other than EST (factory_act.c), called by issue.c ---- */

/* A request that only reads: answered at once. Refused: run it as factory_act, which leaves a trace. */
MUST_CHECK enum err_code factory_read(struct core *c, const struct svc_factory *in, int64_t now, struct buf *body, struct err *e);
/* `body` gets the answer. */
MUST_CHECK enum err_code factory_act(struct core *c, const struct svc_factory *in, int64_t now, struct grant *g, struct buf *body,
                                     struct err *e);
/* The answer that tells of an error: {"error","text"}. */
void factory_error_body(const struct grant *g, const struct err *e, struct buf *body);

/* ---- for people and programs ---- */
/* Order with tally, refusals by reason and states of its units; NULL: no memory or a ledger error (in `e`). */
json_t *factory_order_json(struct store *s, const struct order_row *row, struct err *e);

#endif
