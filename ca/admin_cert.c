/* SPDX-License-Identifier: Apache-2.0 */
/* Administration of certificates. */
#include <string.h>

#include "base/fsio.h"
#include "ca/admin_int.h"
#include "ca/issue.h"
#include "ca/people.h"
#include "ca/store/select.h"

#define PAGE_ROWS 200

const char *cert_status_name(enum cert_status s)
{
    static const char *const names[] = {"good", "on_hold", "revoked"};

    return (unsigned)s < CERT_STATUSES ? names[s] : "unknown";
}

static bool status_from_name(const char *s, int *out)
{
    *out = -1;
    if (!s)
        return true;
    for (int i = 0; i < CERT_STATUSES; i++)
        if (strcmp(cert_status_name((enum cert_status)i), s) == 0)
            *out = i;
    return *out >= 0;
}

/* ---- issue ---- */

json_t *admin_issued_json(struct core *c, const struct issue_result *r)
{
    struct authority *a = authority_by_id(c, r->issuer);
    struct bytes above[CHAIN_MAX];
    size_t n = a ? authority_chain(c, a, above) : 0;
    json_t *chain = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(chain, json_base64(above[i]));
    return json_pack("{s:o, s:o, s:o, s:s, s:I, s:b}", "cert", json_base64(r->cert), "chain", chain, "serial", json_hex(r->serial),
                     "issuer", a ? a->conf->name : "", "not_after", (json_int_t)r->not_after, "repeat", r->repeat);
}

/* The certificate that records are verified with, and the CAs above it. */
void op_record_signer(struct core *c, struct admin_call *call)
{
    const struct conf_profile *p = conf_find_profile(c->conf, c->conf->records_profile);
    struct authority *a = p ? authority_find(c, p->ca) : NULL;
    struct issue_result own = {.cert = buf_bytes(&c->record.cert), .not_after = c->record.not_after};
    struct cert read;
    struct err e = {0};

    if (!a || own.cert.len == 0)
        err_set(&e, E_NOT_FOUND, "there is no record key with a certificate: `records` in the configuration, then inkan ca create");
    else if (cert_read(own.cert, &read, &e) == E_OK) {
        own.issuer = a->id;
        own.serial = read.serial;
        admin_done(call, admin_issued_json(c, &own), -1);
        return;
    }
    admin_fail(call, &e);
}

static void on_issued(struct core *c, void *arg, const struct issue_result *r)
{
    struct admin_call *call = arg;

    if (r->code != E_OK)
        admin_fail(call, &r->err);
    else
        admin_done(call, admin_issued_json(c, r), -1);
}

void op_cert_issue(struct core *c, struct admin_call *call)
{
    AUTO_BUF csr = BUF_INIT(CSR_MAX_LEN);
    struct err e = {0};
    const char *domain = "";
    char requester[ID_MAX_LEN + 16];
    struct issue_order order = {
        .profile = admin_text(call, "profile"),
        .requester = requester,
        .by = &call->by,
        .device_id = admin_text(call, "device_id"),
        .name = admin_text(call, "name"),
        .product = admin_text(call, "product"),
        .model = admin_text(call, "model"),
        .lot = admin_text(call, "lot"),
        .repeats = true,
    };

    if (order.device_id || admin_has(call, "domain"))
        domain = admin_domain(c, call, &e);
    if (domain && admin_der(call, "csr", &csr, &e) == E_OK) {
        snprintf(requester, sizeof(requester), "operator:%s", call->by.name);
        order.domain = domain;
        order.csr = buf_bytes(&csr);
        if (issue_order(c, &order, on_issued, call, &e) == E_OK)
            return;
    }
    admin_fail(call, &e);
}

/* ---- finding one ---- */

struct issuer_ids {
    const char *name;
    uint32_t id[16];
    size_t n;
};

static bool take_issuer(void *arg, const struct issuer_row *row)
{
    struct issuer_ids *ids = arg;

    if (strcmp(row->name, ids->name) == 0 && ids->n < sizeof(ids->id) / sizeof(ids->id[0]))
        ids->id[ids->n++] = row->id;
    return true;
}

static enum err_code by_serial(struct core *c, const char *issuer, const char *serial_hex, struct cert_row *row,
                               struct err *e)
{
    struct issuer_ids ids = {.name = issuer};
    uint8_t serial[SERIAL_MAX_LEN];
    size_t len = 0;
    enum err_code code = E_NOT_FOUND;

    if (!hex_decode(serial_hex, strlen(serial_hex), serial, sizeof(serial), &len))
        return err_set(e, E_INVALID, "serial: not hex of 1 to %d octets", SERIAL_MAX_LEN);
    if (store_issuer_each(c->store, take_issuer, &ids, e) != E_OK)
        return e->code;
    if (ids.n == 0)
        return err_set(e, E_NOT_FOUND, "no CA \"%s\"", issuer);
    for (size_t i = ids.n; i > 0 && code == E_NOT_FOUND; i--)
        code = store_cert_by_serial(c->store, ids.id[i - 1], BYTES(serial, len), row, e);
    if (code == E_NOT_FOUND)
        return err_set(e, E_NOT_FOUND, "CA \"%s\" issued no certificate with serial %s", issuer, serial_hex);
    return code;
}

static enum err_code find_cert(struct core *c, struct admin_call *call, struct cert_row *row, struct err *e)
{
    AUTO_BUF der = BUF_INIT(CERT_MAX_LEN);
    uint8_t hash[32];
    struct cert read;
    struct err ignored;
    enum err_code code;

    if (admin_has(call, "cert")) {
        if (admin_has(call, "issuer") || admin_has(call, "serial"))
            return err_set(e, E_INVALID, "either cert, or issuer and serial");
        if (admin_der(call, "cert", &der, e) != E_OK)
            return e->code;
        sha256(buf_bytes(&der), hash);
        code = cert_read(buf_bytes(&der), &read, &ignored) == E_OK
                   ? store_cert_by_der(c->store, read.issuer, read.serial, hash, row, e) : E_NOT_FOUND;
        return code == E_NOT_FOUND ? err_set(e, E_NOT_FOUND, "this certificate was not issued here") : code;
    }
    if (!admin_has(call, "issuer") || !admin_has(call, "serial"))
        return err_set(e, E_INVALID, "either cert, or issuer and serial");
    return by_serial(c, admin_text(call, "issuer"), admin_text(call, "serial"), row, e);
}

/* ---- list and show ---- */

struct cert_list {
    struct store *ledger;
    struct admin_call *call;
    size_t n;
};

static json_t *cert_json(struct store *ledger, const struct cert_row *row)
{
    struct device_row device;
    struct issuer_row issuer;
    struct err e = {0};
    json_t *j = json_pack("{s:s, s:o, s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "issuer",
                          store_issuer_by_id(ledger, row->issuer, &issuer, &e) == E_OK ? issuer.name : "",
                          "serial", json_hex(BYTES(row->serial, row->serial_len)), "profile", row->profile, "device_id",
                          "", "domain", row->domain, "status", cert_status_name((enum cert_status)row->status),
                          "reason",
                          row->status == CERT_GOOD ? "" : crl_reason_name((enum crl_reason)row->reason), "not_before",
                          (json_int_t)row->not_before, "not_after", (json_int_t)row->not_after);

    if (row->device && store_device_by_id(ledger, row->device, &device, &e) == E_OK)
        json_object_set_new(j, "device_id", json_string(device.device_id));
    return j;
}

static bool put_cert(void *arg, const struct cert_row *row)
{
    struct cert_list *l = arg;

    l->call->after = row->id;
    l->n++;
    admin_row(l->call, cert_json(l->ledger, row));
    return true;
}

static enum err_code cert_select_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    uint64_t limit = (uint64_t)admin_int(call, "limit", 0), page = PAGE_ROWS;
    struct cert_list l = {ledger, call, 0};

    if (limit && limit - call->left < page)
        page = limit - call->left;
    if (page && store_select_certs(ledger, call->state, call->after, page, put_cert, &l, e) != E_OK)
        return e->code;
    call->left += l.n;
    *more = l.n && l.n == page;
    return E_OK;
}

static enum err_code cert_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    uint64_t limit = (uint64_t)admin_int(call, "limit", 0);
    struct cert_filter f = {.issuer = call->issuer, .device = call->until, .domain = admin_text(call, "domain"),
                            .profile = admin_text(call, "profile"), .expires_before = admin_int(call, "expires_before", 0),
                            .after_id = call->after, .limit = PAGE_ROWS};
    struct cert_list l = {ledger, call, 0};

    (void)status_from_name(admin_text(call, "status"), &f.status);
    if (limit && limit - call->left < f.limit)
        f.limit = limit - call->left;
    if (f.limit && store_cert_each(ledger, &f, put_cert, &l, e) != E_OK)
        return e->code;
    call->left += l.n;
    *more = l.n && l.n == f.limit;
    return E_OK;
}

void op_cert_list(struct core *c, struct admin_call *call)
{
    const struct authority *a = admin_has(call, "issuer") ? authority_find(c, admin_text(call, "issuer")) : NULL;
    const char *domain;
    struct device_row device;
    struct err e = {0};
    int status;

    if (admin_has(call, "select")) {
        admin_select(c, call, cert_select_page);
        return;
    }
    if (!status_from_name(admin_text(call, "status"), &status))
        err_set(&e, E_INVALID, "status: good, on_hold or revoked");
    else if (admin_has(call, "issuer") && (!a || !a->exists))
        err_set(&e, E_NOT_FOUND, "no CA \"%s\"", admin_text(call, "issuer"));
    else if (admin_has(call, "device_id") && (domain = admin_domain(c, call, &e)) &&
             store_device_find(c->store, domain, admin_text(call, "device_id"), &device, &e) == E_OK)
        call->until = device.id;
    if (e.code == E_NOT_FOUND && e.msg[0] == '\0')
        err_set(&e, E_NOT_FOUND, "no such device");
    if (e.code != E_OK) {
        admin_fail(call, &e);
        return;
    }
    call->issuer = a ? a->id : 0;
    admin_list(c, call, cert_page);
}

void op_cert_show(struct core *c, struct admin_call *call)
{
    AUTO_BUF der = BUF_INIT(CERT_MAX_LEN);
    AUTO_BUF pem = BUF_INIT(2 * CERT_MAX_LEN);
    struct cert_row row;
    struct cert read;
    json_t *j, *more;
    struct err e = {0};

    if (find_cert(c, call, &row, &e) != E_OK) {
        core_doubt(c, &e);
        admin_fail(call, &e);
        return;
    }
    buf_add_bytes(&der, row.der);
    pem_write(&pem, "CERTIFICATE", buf_bytes(&der));
    more = json_pack("{s:I, s:I, s:I, s:s, s:o, s:i, s:I}", "status_at", (json_int_t)row.status_at, "seq",
                     (json_int_t)row.status_seq, "issued_at", (json_int_t)row.issued_at, "requester", row.requester,
                     "profile_hash", json_hex(BYTES_OF(row.profile_hash)), "shard", (int)row.shard, "first_used_at",
                     (json_int_t)row.first_used_at);
    j = cert_json(c->store, &row); /* the row is gone after this */
    json_object_update_new(j, more);
    if (cert_read(buf_bytes(&der), &read, &e) == E_OK)
        json_object_set_new(j, "subject", json_name(read.subject));
    json_object_set_new(j, "der", json_base64(buf_bytes(&der)));
    json_object_set_new(j, "pem", json_stringn((const char *)pem.p, pem.len));
    admin_done(call, j, -1);
}

/* ---- status changes ---- */

static void on_confirmed(struct core *c, void *arg, bool confirmed, const char *missing)
{
    struct admin_call *call = arg;
    json_t *result = call->state ? json_loads(call->state, 0, NULL) : NULL;
    struct err e = {0};

    (void)c;
    if (confirmed) {
        admin_done(call, result, -1);
        return;
    }
    err_set(&e, E_PENDING, "done and durable; not confirmed by %s", missing);
    admin_done_but(call, result, &e);
}

void admin_done_in_force(struct core *c, struct admin_call *call, json_t *result)
{
    revoke_changed(c);
    call->state = json_dumps(result, JSON_COMPACT);
    json_decref(result);
    links_confirm(c, c->purge_seq, on_confirmed, call); /* of this change, or of a newer one */
}

#define SAME_KEY_MAX 64

struct same_key {
    uint64_t except, id[SAME_KEY_MAX];
    size_t n;
    enum cert_status to;
};

static bool take_same_key(void *arg, const struct cert_row *row)
{
    struct same_key *s = arg;
    bool changes = s->to == CERT_REVOKED ? row->status != CERT_REVOKED : s->to == CERT_ON_HOLD ? row->status == CERT_GOOD : row->status == CERT_ON_HOLD;

    if (row->id != s->except && changes && s->n < SAME_KEY_MAX)
        s->id[s->n++] = row->id;
    return true;
}

/*
 * The CA of a line box may have several certificates, all of one key and name (box_may_be_certified): whoever has the key could go
 * on with any of them, so they share their fate. `seq` rises to the last change.
 */
static enum err_code change_box_ca(struct core *c, struct admin_call *call, const struct revocation *r, const char *requester,
                                   uint64_t except, uint64_t *seq, struct err *e)
{
    struct same_key s = {.except = except, .to = r->to};
    struct cert_row row;
    bool changed;

    if (store_cert_each_of(c->store, requester, PROFILE_ISSUING_CA, 0, take_same_key, &s, e) != E_OK)
        return e->code;
    for (size_t i = 0; i < s.n; i++)
        if (store_cert_by_id(c->store, s.id[i], &row, e) != E_OK ||
            revoke_apply(c, &row, r, &call->by, core_stamp(c), &changed, seq, e) != E_OK)
            return e->code;
    return E_OK;
}

/* An operator's release ends an operator's hold, and no other. */
static enum err_code refuse_release(const struct cert_row *cert, struct err *e)
{
    uint8_t others = cert->status == CERT_ON_HOLD ? cert->hold_by & (uint8_t)~HOLD_OPERATOR : 0;
    char text[256];

    return others && !(cert->hold_by & HOLD_OPERATOR) ? err_set(e, E_CONFLICT, "the certificate is held by %s", hold_text(others, text, sizeof(text))) : E_OK;
}

/*
 * The certificates of devices are the daily work of the roles in the table. Any other is of somebody who is trusted for more: who
 * administers, a CA, a gateway, the service itself. E_PENDING: it takes two.
 */
static enum err_code may_change_status(struct core *c, struct admin_call *call, const struct cert_row *row, enum cert_status to, struct err *e)
{
    bool of_device = row->kind == PROFILE_IDEVID || row->kind == PROFILE_LDEVID;
    bool two = (row->kind == PROFILE_ROOT_CA || row->kind == PROFILE_ISSUING_CA) && to != CERT_ON_HOLD; /* a hold cannot wait, and can be undone */
    uint64_t owner, cert;
    enum err_code code;

    if (of_device)
        return E_OK;
    if (call->is_root) {
        call->by.alone = two;
        return E_OK;
    }
    if (!(call->person.roles & ROLE_BIT(ROLE_SECURITY)))
        return err_set(e, E_DENIED, "%s of a certificate that is no device's is for the role security", call->op->name);
    if (call->by.signature.len == 0)
        return err_set(e, E_DENIED, "%s of a certificate that is no device's needs your signature: inkan --as CERTIFICATE.pem ...", call->op->name);
    if (row->kind == PROFILE_OPERATOR && to == CERT_GOOD) {
        code = store_operator_cert_find(c->store, row->der_hash, &owner, &cert, e);
        if (code != E_OK)
            return code;
        if (owner == call->person.id)
            return err_set(e, E_DENIED, "the certificate is your own: somebody else releases it");
    }
    return two && !call->approved ? E_PENDING : E_OK;
}

/* Whether it goes on; otherwise the call has ended or waits. */
static bool is_allowed(struct core *c, struct admin_call *call, enum cert_status to)
{
    struct cert_row row;
    struct err e = {0};
    enum err_code code = find_cert(c, call, &row, &e);

    if (code == E_OK)
        code = may_change_status(c, call, &row, to, &e);
    if (code == E_PENDING)
        people_ask_and_answer(c, call);
    else if (code != E_OK) {
        core_doubt(c, &e);
        admin_fail(call, &e);
    }
    return code == E_OK;
}

static void change_status(struct core *c, struct admin_call *call, struct revocation *r)
{
    char requester[ID_MAX_LEN + 8] = "", text[256];
    struct cert_row row = {0};
    bool changed = false;
    uint64_t seq = 0;
    json_t *result;
    struct err e = {0};
    enum err_code code;

    if (!is_allowed(c, call, r->to))
        return;
    if (c->seal == SEAL_RESTORE)
        code = err_set(&e, E_STORE, "sealed: %s", c->seal_why);
    else if ((code = core_begin(c, &e)) == E_OK) {
        code = find_cert(c, call, &row, &e);
        if (code == E_OK && r->to == CERT_GOOD)
            code = refuse_release(&row, &e);
        if (code == E_OK) {
            if (row.kind == PROFILE_ISSUING_CA && strncmp(row.requester, "box:", 4) == 0)
                text_copy(requester, sizeof(requester), row.requester);
            code = revoke_apply(c, &row, r, &call->by, core_stamp(c), &changed, &seq, &e);
        }
        if (code == E_OK && requester[0])
            code = change_box_ca(c, call, r, requester, row.id, &seq, &e);
        if (code == E_OK)
            code = store_cert_by_id(c->store, row.id, &row, &e);
        core_end(c, code, &e);
    }
    if (code != E_OK) {
        admin_fail(call, &e);
        return;
    }
    result = json_pack("{s:s, s:I, s:b}", "status", cert_status_name((enum cert_status)row.status), "seq", (json_int_t)seq, "changed", changed);
    if (row.status == CERT_ON_HOLD && r->to == CERT_GOOD)
        json_object_set_new(result, "held_by", json_string(hold_text(row.hold_by, text, sizeof(text))));
    admin_done_in_force(c, call, result);
}

void op_cert_revoke(struct core *c, struct admin_call *call)
{
    const char *reason = admin_text(call, "reason");
    struct revocation r = {.to = CERT_REVOKED, .reason = REASON_UNSPECIFIED,
                           .invalidity = admin_int(call, "invalidity", 0)};
    struct err e = {0};

    if (reason && !crl_reason_from_name(reason, &r.reason))
        err_set(&e, E_INVALID, "reason: \"%s\" is not one of RFC 5280 5.3.1", reason);
    else if (r.reason == REASON_CERTIFICATE_HOLD || r.reason == REASON_REMOVE_FROM_CRL)
        err_set(&e, E_INVALID, "reason: %s is not for a revocation; use hold or release", reason);
    if (e.code != E_OK) {
        admin_fail(call, &e);
        return;
    }
    change_status(c, call, &r);
}

void op_cert_hold(struct core *c, struct admin_call *call)
{
    struct revocation r = {.to = CERT_ON_HOLD, .reason = REASON_CERTIFICATE_HOLD};

    change_status(c, call, &r);
}

void op_cert_release(struct core *c, struct admin_call *call)
{
    struct revocation r = {.to = CERT_GOOD, .reason = REASON_UNSPECIFIED};

    change_status(c, call, &r);
}
