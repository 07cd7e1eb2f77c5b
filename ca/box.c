/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Line boxes as their centre sees them: the CA of each is an issuer row without a key of ours, certified by one of our CAs and
 * revoked like any certificate of that one.
 */
#include <string.h>

#include "base/fsio.h"
#include "base/oid.h"
#include "ca/admin_int.h"
#include "ca/budget_spec.h"
#include "ca/issue.h"
#include "ca/record.h"
#include "ca/store/linebox.h"

#define BOXES_LISTED 1024

/* ---- its CA ---- */

bool box_is_good(struct core *c, uint32_t issuer, struct buf *cert)
{
    struct issuer_row row;
    struct cert_row own;
    struct cert read;
    uint8_t hash[32];
    struct err e = {0};

    if (store_issuer_by_id(c->store, issuer, &row, &e) != E_OK || row.key != 0)
        return false;
    buf_reset(cert);
    buf_add_bytes(cert, row.cert);
    if (!buf_ok(cert) || cert_read(buf_bytes(cert), &read, &e) != E_OK)
        return false;
    sha256(buf_bytes(cert), hash);
    return store_cert_by_der(c->store, read.issuer, read.serial, hash, &own, &e) == E_OK && own.status == CERT_GOOD;
}

struct box_search {
    const char *name;
    struct bytes subject, spki;
    bool name_taken, subject_taken, key_taken;
    uint32_t known; /* the row of this name with this key and subject */
};

static bool look_at_issuer(void *arg, const struct issuer_row *row)
{
    struct box_search *s = arg;
    bool same_name = strcmp(row->name, s->name) == 0, same_key = bytes_equal(row->spki, s->spki);
    bool same_subject = name_matches(row->subject, s->subject);

    if (same_name && same_key && row->key == 0 && bytes_equal(row->subject, s->subject))
        s->known = row->id;
    else {
        s->name_taken |= same_name;
        s->subject_taken |= same_subject;
        s->key_taken |= same_key;
    }
    return true;
}

enum err_code box_may_be_certified(struct core *c, const char *name, struct bytes subject, struct bytes spki, struct err *e)
{
    struct box_search s = {.name = name, .subject = subject, .spki = spki};
    AUTO_BUF cert = BUF_INIT(CERT_MAX_LEN);
    char text[256];

    if (subject.len == 0 || !name_get(subject, OID_CN, text, sizeof(text)))
        return err_set(e, E_INVALID, "the request's subject has no CN");
    if (strlen(name) > ORDER_NO_MAX) /* its place in the path of /v1/box */
        return err_set(e, E_INVALID, "the name of a line box has at most %d characters", ORDER_NO_MAX);
    if (store_issuer_each(c->store, look_at_issuer, &s, e) != E_OK)
        return e->code;
    if (conf_find_ca(c->conf, name) || s.name_taken)
        return err_set(e, E_CONFLICT, "\"%s\" is the name of another CA, or of one with another key: take a new name", name);
    if (s.subject_taken || s.key_taken)
        return err_set(e, E_CONFLICT, "another CA has this %s already (RFC 5280 4.2.1.1, 5.2.1)", s.subject_taken ? "subject" : "key");
    if (!s.known)
        return E_OK;
    return box_is_good(c, s.known, &cert) ? E_OK
                                          : err_set(e, E_CONFLICT, "the certificate of \"%s\" is revoked or on hold: it gets no other under this key", name);
}

enum err_code box_certified(struct core *c, const char *name, uint32_t issuer, const struct cert *cert, const struct actor *by,
                            int64_t now, struct err *e)
{
    struct issuer_row row;
    struct box_search s = {.name = name, .subject = cert->subject, .spki = cert->spki};
    char object[ID_MAX_LEN + 8], subject[256];

    if (store_issuer_each(c->store, look_at_issuer, &s, e) != E_OK)
        return e->code;
    row = (struct issuer_row){.id = s.known, .parent = issuer, .subject = cert->subject, .spki = cert->spki, .cert = cert->der,
                              .not_before = cert->not_before, .not_after = cert->not_after, .created_at = now};
    text_copy(row.name, sizeof(row.name), name);
    if (cert->ski.len != sizeof(row.ski))
        return err_set(e, E_INTERNAL, "CA certificate without a 20 octet SKI");
    memcpy(row.ski, cert->ski.p, sizeof(row.ski));
    if ((s.known ? store_issuer_recertify(c->store, &row, e) : store_issuer_insert(c->store, &row, e)) != E_OK)
        return e->code;
    snprintf(object, sizeof(object), "ca:%s", name);
    name_to_text(cert->subject, subject, sizeof(subject));
    return core_audit(c, by, "box-certified", "", object,
                      json_pack("{s:s, s:o, s:I}", "subject", subject, "serial", json_hex(cert->serial), "not_after",
                                (json_int_t)cert->not_after),
                      now, e);
}

/* ---- ca.sign ---- */

static void on_box_certified(struct core *c, void *arg, const struct issue_result *r)
{
    struct admin_call *call = arg;

    if (r->code != E_OK) {
        admin_fail(call, &r->err);
        return;
    }
    links_send_config(c); /* certificates below it are believed from now on */
    admin_done(call, admin_issued_json(c, r), -1);
}

void op_ca_sign(struct core *c, struct admin_call *call)
{
    AUTO_BUF csr = BUF_INIT(CSR_MAX_LEN);
    char requester[ID_MAX_LEN + 8];
    int64_t valid_s = admin_int(call, "valid_s", 0);
    struct issue_order order = {
        .profile = admin_text(call, "profile"),
        .requester = requester,
        .by = &call->by,
        .issuer = admin_text(call, "issuer"),
        .subordinate = admin_text(call, "name"),
        .not_after_max = valid_s ? core_stamp(c) + valid_s : 0,
        .repeats = true,
    };
    struct err e = {0};

    snprintf(requester, sizeof(requester), "box:%s", order.subordinate);
    if (admin_der(call, "csr", &csr, &e) == E_OK) {
        order.csr = buf_bytes(&csr);
        if (issue_order(c, &order, on_box_certified, call, &e) == E_OK)
            return;
    }
    admin_fail(call, &e);
}

/* ---- budget.grant ---- */

struct granting {
    struct admin_call *call;
    struct budget_row row;
};

static enum err_code write_grant(struct core *c, struct granting *g, struct err *e)
{
    char object[2 * ID_MAX_LEN + 16];

    if (store_budget_last(c->store, g->row.box, &g->row.number, e) != E_OK)
        return e->code;
    g->row.number++;
    snprintf(object, sizeof(object), "budget:%s/%llu", g->row.box, (unsigned long long)g->row.number);
    if (store_budget_insert(c->store, &g->row, e) != E_OK)
        return e->code;
    return core_audit(c, &g->call->by, "budget-granted", "", object,
                      json_pack("{s:s, s:I, s:I}", "order", g->row.scope, "units", (json_int_t)g->row.units, "until",
                                (json_int_t)g->row.until),
                      g->row.at, e);
}

static enum err_code in_transaction(struct core *c, struct granting *g, enum err_code (*change)(struct core *, struct granting *, struct err *),
                                    struct err *e)
{
    if (core_begin(c, e) != E_OK)
        return e->code;
    if (change(c, g, e) != E_OK) {
        core_doubt(c, e);
        core_rollback(c);
        return e->code;
    }
    core_commit(c);
    return E_OK;
}

static enum err_code keep_file(struct core *c, struct granting *g, struct err *e)
{
    return store_budget_set_file(c->store, g->row.box, g->row.number, g->row.file, e);
}

static void on_budget_signed(struct core *c, void *arg, const struct err *why, struct bytes jws)
{
    struct granting *g = arg;
    struct err e = *why;

    g->row.file = jws;
    if (e.code == E_OK && in_transaction(c, g, keep_file, &e) == E_OK)
        admin_done(g->call, json_pack("{s:s, s:I, s:s, s:I, s:I, s:o}", "box", g->row.box, "number", (json_int_t)g->row.number, "order",
                                      g->row.scope, "units", (json_int_t)g->row.units, "until", (json_int_t)g->row.until, "file",
                                      json_stringn((const char *)jws.p, jws.len)),
                   -1);
    else
        admin_fail(g->call, &e);
    free(g);
}

static enum err_code grant(struct core *c, struct granting *g, struct err *e)
{
    AUTO_BUF payload = BUF_INIT(BUDGET_FILE_MAX);
    AUTO_BUF cert = BUF_INIT(CERT_MAX_LEN);
    struct issuer_row issuer;
    struct budget b = {.units = g->row.units, .until = g->row.until, .issued_at = g->row.issued_at};
    const char *why = NULL;
    enum err_code code = store_issuer_by_name(c->store, g->row.box, &issuer, e);

    if (code == E_NOT_FOUND || (code == E_OK && issuer.key != 0))
        return err_set(e, E_NOT_FOUND, "no line box \"%s\": inkan ca sign", g->row.box);
    if (code != E_OK)
        return code;
    if (!box_is_good(c, issuer.id, &cert))
        return err_set(e, E_CONFLICT, "the certificate of line box \"%s\" is revoked or on hold", g->row.box);
    if (!budget_scope_is_valid(g->row.scope))
        return err_set(e, E_INVALID, "order: a name, or *");
    if (g->row.units == 0 || g->row.until <= g->row.issued_at)
        return err_set(e, E_INVALID, "a budget has at least one unit and ends later");
    if (!record_is_ready(c, &why))
        return err_set(e, E_CONFLICT, "records cannot be signed: %s", why);
    if (in_transaction(c, g, write_grant, e) != E_OK)
        return e->code;
    b.number = g->row.number;
    text_copy(b.box, sizeof(b.box), g->row.box);
    text_copy(b.scope, sizeof(b.scope), g->row.scope);
    budget_write(&b, &payload);
    return record_sign(c, BUDGET_TYP, buf_bytes(&payload), on_budget_signed, g, e);
}

void op_budget_grant(struct core *c, struct admin_call *call)
{
    struct granting *g = calloc(1, sizeof(*g));
    const char *scope = admin_text(call, "order");
    struct err e = {0};

    if (!g) {
        err_set(&e, E_NOMEM, "budget");
        admin_fail(call, &e);
        return;
    }
    g->call = call;
    text_copy(g->row.box, sizeof(g->row.box), admin_text(call, "box"));
    text_copy(g->row.scope, sizeof(g->row.scope), scope ? scope : BUDGET_EVERY);
    g->row.units = (uint64_t)admin_int(call, "units", 0);
    g->row.until = admin_int(call, "until", 0);
    g->row.issued_at = g->row.at = core_stamp(c);
    if (grant(c, g, &e) != E_OK) {
        admin_fail(call, &e);
        free(g);
    }
}

/* ---- its link, and what is known of it ---- */

static void on_link_issued(struct core *c, void *arg, const struct issue_result *r)
{
    struct admin_call *call = arg;

    if (r->code != E_OK)
        admin_fail(call, &r->err);
    else
        admin_done(call, admin_issued_json(c, r), -1);
}

void op_box_link(struct core *c, struct admin_call *call)
{
    AUTO_BUF csr = BUF_INIT(CSR_MAX_LEN);
    const char *name = admin_text(call, "name");
    const struct conf_profile *p = conf_find_profile(c->conf, admin_text(call, "profile"));
    char requester[ID_MAX_LEN + 16];
    struct issuer_row issuer;
    struct issue_order order = {.profile = admin_text(call, "profile"), .requester = requester, .by = &call->by, .name = name, .repeats = true};
    struct err e = {0};
    enum err_code code = store_issuer_by_name(c->store, name, &issuer, &e);

    if (code == E_NOT_FOUND || (code == E_OK && issuer.key != 0))
        err_set(&e, E_NOT_FOUND, "no line box \"%s\": inkan ca sign", name);
    else if (code == E_OK && (!p || p->kind != PROFILE_STATION))
        err_set(&e, E_INVALID, "profile \"%s\" is not of kind station", order.profile);
    snprintf(requester, sizeof(requester), "boxlink:%s", name);
    if (e.code == E_OK && admin_der(call, "csr", &csr, &e) == E_OK) {
        order.csr = buf_bytes(&csr);
        if (issue_order(c, &order, on_link_issued, call, &e) == E_OK)
            return;
    }
    admin_fail(call, &e);
}

struct box_rows {
    struct core *c;
    struct admin_call *call;
    const char *only;
    char name[BOXES_LISTED][ID_MAX_LEN + 1];
    uint32_t id[BOXES_LISTED];
    int64_t not_after[BOXES_LISTED];
    size_t n;
};

static bool take_box(void *arg, const struct issuer_row *row)
{
    struct box_rows *b = arg;

    if (row->key || (b->only && strcmp(b->only, row->name) != 0) || b->n == BOXES_LISTED)
        return true;
    text_copy(b->name[b->n], sizeof(b->name[0]), row->name);
    b->not_after[b->n] = row->not_after;
    b->id[b->n++] = row->id;
    return true;
}

static bool take_box_state(void *arg, const struct box_state_row *row)
{
    json_t *j = arg; /* the last one heard of stays */

    json_object_set_new(j, "heard_at", json_integer((json_int_t)row->heard_at));
    json_object_set_new(j, "epoch", json_string(row->epoch));
    json_object_set_new(j, "difference", json_string(row->difference));
    json_object_set_new(j, "had", json_pack("{s:I, s:I, s:I, s:I}", "cert", (json_int_t)row->had[BOX_CERTS], "unit", (json_int_t)row->had[BOX_UNITS],
                                            "status", (json_int_t)row->had[BOX_STATUS], "report", (json_int_t)row->had[BOX_REPORTS]));
    json_object_set_new(j, "said", json_loads(row->said, 0, NULL));
    return true;
}

struct grant_sum {
    uint64_t units;
};

static bool sum_grants(void *arg, const struct budget_row *row)
{
    ((struct grant_sum *)arg)->units += row->units;
    return true;
}

bool box_count_units(void *units, const char *order_no, const char *state, uint64_t n)
{
    json_t *order = json_object_get(units, order_no);

    if (!order) {
        order = json_object();
        json_object_set_new(units, order_no, order);
    }
    json_object_set_new(order, state, json_integer((json_int_t)n));
    return true;
}

static bool put_report(void *arg, const struct report_row *row)
{
    return json_array_append_new(arg, json_pack("{s:s, s:I}", "order", row->order_no, "at", (json_int_t)row->at)) == 0;
}

static json_t *box_json(struct core *c, const struct box_rows *b, size_t i, struct err *e)
{
    AUTO_BUF cert = BUF_INIT(CERT_MAX_LEN);
    struct grant_sum granted = {0};
    uint64_t devices = 0, aside = 0;
    json_t *units = json_object(), *reports = json_array();
    json_t *j = json_pack("{s:s, s:b, s:I, s:I, s:s, s:o, s:o}", "name", b->name[i], "good", box_is_good(c, b->id[i], &cert), "not_after",
                          (json_int_t)b->not_after[i], "heard_at", (json_int_t)0, "difference", "", "units", units, "reports", reports);

    if (store_box_state_each(c->store, b->name[i], take_box_state, j, e) == E_OK &&
        store_box_aside_count(c->store, b->name[i], &aside, e) == E_OK &&
        store_budget_each(c->store, b->name[i], sum_grants, &granted, e) == E_OK &&
        store_box_unit_count(c->store, b->name[i], box_count_units, units, e) == E_OK &&
        store_box_devices(c->store, b->id[i], &devices, e) == E_OK &&
        store_box_report_each(c->store, b->name[i], put_report, reports, e) == E_OK) {
        json_object_set_new(j, "devices", json_integer((json_int_t)devices));
        json_object_set_new(j, "granted", json_integer((json_int_t)granted.units));
        json_object_set_new(j, "set_aside", json_integer((json_int_t)aside));
        return j;
    }
    json_decref(j);
    return NULL;
}

static void boxes(struct core *c, struct admin_call *call, const char *only)
{
    struct box_rows *b = calloc(1, sizeof(*b));
    struct err e = {0};
    json_t *j = NULL;

    if (!b) {
        err_set(&e, E_NOMEM, "boxes");
        admin_fail(call, &e);
        return;
    }
    b->only = only;
    if (store_issuer_each(c->store, take_box, b, &e) == E_OK && only && b->n == 0)
        err_set(&e, E_NOT_FOUND, "no line box \"%s\"", only);
    for (size_t i = 0; i < b->n && e.code == E_OK; i++) {
        j = box_json(c, b, i, &e);
        if (j && !only)
            admin_row(call, j);
    }
    free(b);
    if (e.code != E_OK)
        admin_fail(call, &e);
    else
        admin_done(call, only ? j : NULL, -1);
}

void op_box_list(struct core *c, struct admin_call *call)
{
    boxes(c, call, NULL);
}

void op_box_show(struct core *c, struct admin_call *call)
{
    boxes(c, call, admin_text(call, "name"));
}

static bool put_record(void *arg, const struct box_record_row *row)
{
    static const char *const streams[BOX_STREAMS] = {"cert", "unit", "status", "report"}, *const outcomes[] = {"taken", "known", "set aside"};

    admin_row(arg, json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:s}", "box", row->box, "stream", streams[row->stream], "seq",
                             (json_int_t)row->seq, "at", (json_int_t)row->at, "outcome", outcomes[row->outcome], "reason", row->reason, "body",
                             row->body));
    return true;
}

void op_box_records(struct core *c, struct admin_call *call)
{
    struct err e = {0};

    if (store_box_record_each(c->store, admin_text(call, "name"), !admin_has(call, "all"), 0, (uint64_t)admin_int(call, "limit", 1000),
                              put_record, call, &e) == E_OK)
        admin_done(call, NULL, -1);
    else
        admin_fail(call, &e);
}

/* The report and what it is verified with: the certificate that signed it, the box's CA and those above it but the root. */
void op_box_report(struct core *c, struct admin_call *call)
{
    AUTO_BUF chain = BUF_INIT(8 * CERT_MAX_LEN);
    const char *name = admin_text(call, "name"), *order_no = admin_text(call, "order");
    struct bytes above[CHAIN_MAX];
    struct issuer_row issuer;
    struct report_row row;
    json_t *j = NULL;
    struct err e = {0};
    size_t n;

    if (store_box_report_get(c->store, name, order_no, &row, &e) == E_NOT_FOUND)
        err_set(&e, E_NOT_FOUND, "line box \"%s\" has sent no close-out report of order %s", name, order_no);
    if (e.code == E_OK) {
        pem_write(&chain, "CERTIFICATE", row.signer);
        j = json_pack("{s:s, s:s, s:I, s:s%}", "box", name, "order", order_no, "at", (json_int_t)row.at, "report", (const char *)row.report.p,
                      row.report.len);
    }
    if (e.code == E_OK && store_issuer_by_name(c->store, name, &issuer, &e) == E_OK) {
        pem_write(&chain, "CERTIFICATE", issuer.cert);
        n = authority_chain(c, authority_above(c, issuer.id), above);
        for (size_t i = 0; i + 1 < n; i++)
            pem_write(&chain, "CERTIFICATE", above[i]);
        if (!buf_ok(&chain) || json_object_set_new(j, "chain", json_stringn((const char *)chain.p, chain.len)) != 0)
            err_set(&e, E_NOMEM, "close-out report");
    }
    if (e.code == E_OK) {
        admin_done(call, j, -1);
        return;
    }
    json_decref(j);
    admin_fail(call, &e);
}
