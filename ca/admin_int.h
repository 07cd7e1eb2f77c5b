/* SPDX-License-Identifier: Apache-2.0 */
/* Administration inside the core: one call, its arguments, its answer. */
#ifndef INKAN_CA_ADMIN_INT_H
#define INKAN_CA_ADMIN_INT_H

#include "ca/admin.h"
#include "ca/admin_args.h"
#include "ca/core.h"

struct admin_conn;
struct admin_call;

typedef void (*admin_handler)(struct core *c, struct admin_call *call);
/* In the loop, again and again: false when it has called admin_done or admin_fail. */
typedef bool (*admin_page)(struct core *c, struct admin_call *call);
/*
 * In a reader's thread: reads the ledger, adds rows (admin_row), keeps its place in the call. It sees the call and nothing else of
 * the core; nobody in the loop touches the call meanwhile, but for `conn`. *more: there are rows left.
 */
typedef enum err_code (*admin_read)(struct store *ledger, struct admin_call *call, bool *more, struct err *e);
/* In the loop, after the one read; ends the call. `code` E_BUSY: it was interrupted. */
typedef void (*admin_then)(struct core *c, struct admin_call *call, enum err_code code, const struct err *e);

struct admin_op {
    const char *name;
    admin_handler run;
    const struct admin_arg *args; /* ends with a NULL name */
    bool changes; /* a refusal is an audit entry */
    bool takes_file; /* a descriptor comes with the request */
};

struct admin_rows {
    TAILQ_ENTRY(admin_rows) link;
    struct buf text; /* JSON array without its end */
};

/* Who an operator is, as of one request. */
struct person {
    uint64_t id; /* 0: none */
    char name[ID_MAX_LEN + 1];
    unsigned roles;
};

struct admin_call {
    struct reader_job job; /* first */
    struct core *core;
    struct admin_conn *conn; /* NULL: the operator went away; the work goes on, the answer is dropped */
    uint64_t request_id;
    const struct admin_op *op;
    json_t *args;
    struct actor by;         /* with the digest of the canonical request */
    uint8_t digest[32];
    bool is_root;            /* root or the service's own user, on the local socket: outside permissions and approvals */
    struct person person;    /* else */
    struct buf signature, approvals; /* what `by` lends */
    bool told;
    bool approved;           /* a second person has */
    uint64_t pending;        /* ... this stored request, else 0 */
    int file;                /* that came with the request; -1: none */
    TAILQ_HEAD(admin_rows_list, admin_rows) rows; /* not yet sent: one message each */
    admin_page page;
    admin_read read;         /* by `reader` */
    admin_then then;         /* NULL: the rows are the answer */
    enum reader_kind reader;
    bool more;
    struct event *pump;
    void *state;             /* the handler's own, freed by state_free, or with free() when that is NULL */
    void (*state_free)(void *state);
    uint64_t after, until, left;
    uint32_t issuer;
};

extern const struct admin_op admin_ops[];
extern const size_t admin_ops_n;

/* Arguments, checked by the schema already. NULL or `absent` when not given. */
const char *admin_text(const struct admin_call *call, const char *name);
int64_t admin_int(const struct admin_call *call, const char *name, int64_t absent);
bool admin_has(const struct admin_call *call, const char *name);
/* base64 argument, decoded. */
MUST_CHECK enum err_code admin_der(const struct admin_call *call, const char *name, struct buf *out, struct err *e);

/* The content of the file that came with the request, copied: nobody can change it any more. E_INVALID above `max` octets. */
MUST_CHECK enum err_code admin_file(const struct admin_call *call, size_t max, struct buf *out, struct err *e);

/* One row of a list; takes it over. */
void admin_row(struct admin_call *call, json_t *row);
/* `page` is called again and again as the peer reads. */
void admin_stream(struct core *c, struct admin_call *call, admin_page page);
/* A list: `read` runs in the reader's thread again and again as the peer reads, then the call is done. */
void admin_list(struct core *c, struct admin_call *call, admin_read read);
/*
 * A list by the selector of the arguments, which is read into the call's state; other members than `limit` are refused. By the reader
 * of searches over the fleet, where a page may take long.
 */
void admin_select(struct core *c, struct admin_call *call, admin_read read);
/* One read that may take long, then `then`. */
void admin_read_then(struct core *c, struct admin_call *call, enum reader_kind reader, admin_read read, admin_then then);
/* Ends the call: exactly once. Takes over `result` (NULL = {}). `fd` is lent, -1 = none. */
void admin_done(struct admin_call *call, json_t *result, int fd);
void admin_fail(struct admin_call *call, const struct err *e);
/* Done, with a reservation: the result is there, and `e` says what is missing (E_PENDING). */
void admin_done_but(struct admin_call *call, json_t *result, const struct err *e);
/*
 * Certificates or devices have changed, which is durable: done when OCSP and every front go by it, with a reservation (E_PENDING) when one
 * of them does not say so in ten seconds. Takes over `result`.
 */
void admin_done_in_force(struct core *c, struct admin_call *call, json_t *result);

/*
 * A second person approved a stored request: the call goes on as that of `who`, who asked, with the stored operation. Takes over `args`
 * and the octets of `jws`.
 */
void admin_run_approved(struct core *c, struct admin_call *call, uint64_t pending, const char *op, json_t *args, const struct person *who,
                        struct buf *jws);
/* A connection of the network, by inkan-admin. Takes over `fd`. */
void admin_open_remote(struct core *c, int fd);

/* JSON of octets. */
json_t *json_hex(struct bytes b);
json_t *json_base64(struct bytes b);
json_t *json_entry(const struct audit_row *row); /* of the trail, as audit.export answers */
json_t *json_alarm(const struct alarm_row *row); /* as alarm.show answers */
json_t *json_name(struct bytes der); /* a Name for people */

/* Of "domain" and "device_id"; E_NOT_FOUND. */
MUST_CHECK enum err_code admin_find_device(struct core *c, struct admin_call *call, struct device_row *row, struct err *e);
/* After the commit of a change of a device: answers {state, seq, changed} when status and fronts have confirmed `seq`. */
void life_acknowledge(struct core *c, struct admin_call *call, enum device_state state, bool changed, uint64_t seq);

/* May `who` do with single units what the batch of these arguments (of batch.run) does with many? */
MUST_CHECK enum err_code fleet_may_act(struct core *c, const json_t *args, const struct person *who, struct err *e);

/* Handlers, by file. */
void op_device_change(struct core *c, struct admin_call *call);
void op_device_compromise_confirm(struct core *c, struct admin_call *call);
void op_device_set_firmware(struct core *c, struct admin_call *call);
void op_device_transfer(struct core *c, struct admin_call *call);
void op_device_accept(struct core *c, struct admin_call *call);
void op_device_transfer_cancel(struct core *c, struct admin_call *call);
/* `asked` when it serves this domain, else the only anchor that does; "" when that is not clear. */
const char *admin_anchor(struct core *c, const char *domain, const char *product, const char *asked);
void op_device_history(struct core *c, struct admin_call *call);
void op_status(struct core *c, struct admin_call *call);
void op_doctor(struct core *c, struct admin_call *call);
void op_clock_accept(struct core *c, struct admin_call *call);
void op_restore_accept(struct core *c, struct admin_call *call);
void op_backup(struct core *c, struct admin_call *call);
void op_alarm_list(struct core *c, struct admin_call *call);
void op_alarm_show(struct core *c, struct admin_call *call);
void op_alarm_ack(struct core *c, struct admin_call *call);
void op_audit_export(struct core *c, struct admin_call *call);
void op_audit_heads(struct core *c, struct admin_call *call);
void op_token_list(struct core *c, struct admin_call *call);
void op_key_list(struct core *c, struct admin_call *call);
void op_ca_list(struct core *c, struct admin_call *call);
void op_ca_show(struct core *c, struct admin_call *call);
void op_profile_list(struct core *c, struct admin_call *call);
void op_profile_show(struct core *c, struct admin_call *call);
void op_domain_list(struct core *c, struct admin_call *call);
void op_domain_show(struct core *c, struct admin_call *call);
void op_crl_list(struct core *c, struct admin_call *call);
void op_crl_publish(struct core *c, struct admin_call *call);
void op_budget_install(struct core *c, struct admin_call *call);
void op_budget_list(struct core *c, struct admin_call *call);
void op_budget_grant(struct core *c, struct admin_call *call);
void op_box_outbox(struct core *c, struct admin_call *call);
void op_box_heard(struct core *c, struct admin_call *call);
void op_box_link(struct core *c, struct admin_call *call);
void op_gateway_list(struct core *c, struct admin_call *call);
void op_box_list(struct core *c, struct admin_call *call);
void op_box_show(struct core *c, struct admin_call *call);
void op_box_records(struct core *c, struct admin_call *call);
void op_box_report(struct core *c, struct admin_call *call);
/* Puts n into `units`, a JSON object {order: {state: n}}. */
bool box_count_units(void *units, const char *order_no, const char *state, uint64_t n);
void op_crl_import(struct core *c, struct admin_call *call);
void op_crl_get(struct core *c, struct admin_call *call);
void op_ocsp_list(struct core *c, struct admin_call *call);
void op_device_add(struct core *c, struct admin_call *call);
void op_device_import(struct core *c, struct admin_call *call);
void op_device_list(struct core *c, struct admin_call *call);
void op_device_show(struct core *c, struct admin_call *call);
void op_device_stop(struct core *c, struct admin_call *call);
void op_device_count(struct core *c, struct admin_call *call);
void op_batch_preview(struct core *c, struct admin_call *call);
void op_batch_preview_list(struct core *c, struct admin_call *call);
void op_batch_create(struct core *c, struct admin_call *call);
void op_batch_create_list(struct core *c, struct admin_call *call);
void op_batch_list(struct core *c, struct admin_call *call);
void op_batch_show(struct core *c, struct admin_call *call);
void op_batch_refused(struct core *c, struct admin_call *call);
void op_batch_run(struct core *c, struct admin_call *call);
void op_batch_pause(struct core *c, struct admin_call *call);
void op_batch_resume(struct core *c, struct admin_call *call);
void op_batch_cancel(struct core *c, struct admin_call *call);
void op_batch_undo(struct core *c, struct admin_call *call);
void op_secret_add(struct core *c, struct admin_call *call);
void op_secret_list(struct core *c, struct admin_call *call);
void op_secret_revoke(struct core *c, struct admin_call *call);
void op_request_list(struct core *c, struct admin_call *call);
void op_request_show(struct core *c, struct admin_call *call);
void op_request_approve(struct core *c, struct admin_call *call);
void op_request_refuse(struct core *c, struct admin_call *call);
void op_order_open(struct core *c, struct admin_call *call);
void op_order_list(struct core *c, struct admin_call *call);
void op_order_status(struct core *c, struct admin_call *call);
void op_order_units(struct core *c, struct admin_call *call);
void op_order_export(struct core *c, struct admin_call *call);
void op_order_report(struct core *c, struct admin_call *call);
void op_record_signer(struct core *c, struct admin_call *call);
void op_order_close(struct core *c, struct admin_call *call);
void op_unit_show(struct core *c, struct admin_call *call);
void op_station_add(struct core *c, struct admin_call *call);
void op_station_list(struct core *c, struct admin_call *call);
void op_station_revoke(struct core *c, struct admin_call *call);
void op_kek_add(struct core *c, struct admin_call *call);
void op_kek_list(struct core *c, struct admin_call *call);
void op_kek_revoke(struct core *c, struct admin_call *call);
void op_capture_list(struct core *c, struct admin_call *call);
void op_capture_retry(struct core *c, struct admin_call *call);
void op_capture_drop(struct core *c, struct admin_call *call);
void op_cert_issue(struct core *c, struct admin_call *call);
void op_cert_list(struct core *c, struct admin_call *call);
void op_cert_show(struct core *c, struct admin_call *call);
void op_cert_revoke(struct core *c, struct admin_call *call);
void op_cert_hold(struct core *c, struct admin_call *call);
void op_cert_release(struct core *c, struct admin_call *call);
void op_operator_add(struct core *c, struct admin_call *call);
void op_operator_change(struct core *c, struct admin_call *call);
void op_operator_end(struct core *c, struct admin_call *call);
void op_operator_list(struct core *c, struct admin_call *call);
void op_operator_show(struct core *c, struct admin_call *call);
void op_approval_list(struct core *c, struct admin_call *call);
void op_approval_show(struct core *c, struct admin_call *call);
void op_approval_approve(struct core *c, struct admin_call *call);
void op_approval_refuse(struct core *c, struct admin_call *call);
void op_token_info(struct core *c, struct admin_call *call);
void op_token_init(struct core *c, struct admin_call *call);
void op_token_unblock(struct core *c, struct admin_call *call);
void op_key_generate(struct core *c, struct admin_call *call);
void op_key_destroy(struct core *c, struct admin_call *call);
void op_ca_create(struct core *c, struct admin_call *call);
void op_ca_request(struct core *c, struct admin_call *call);
void op_ca_install(struct core *c, struct admin_call *call);
void op_ca_sign(struct core *c, struct admin_call *call);
void op_ca_root_sign(struct core *c, struct admin_call *call);

/* What came of an order: {cert, chain, serial, issuer, not_after, repeat}. */
struct issue_result;
json_t *admin_issued_json(struct core *c, const struct issue_result *r);
/* The domain asked for, or the only one there is; NULL with `e`. */
const char *admin_domain(struct core *c, const struct admin_call *call, struct err *e);
const char *cert_status_name(enum cert_status s); /* "good", "on_hold", "revoked" */

#endif
