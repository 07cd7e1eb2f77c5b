/* SPDX-License-Identifier: Apache-2.0 */
/* Administration of the people who administer: operators, and what waits for a second of them. */
#include <stdlib.h>
#include <string.h>

#include "ca/batch.h"
#include "ca/issue.h"
#include "ca/people.h"

#define PAGE_ROWS 100

/* ---- operators ---- */

static json_t *operator_json(const struct operator_row *row)
{
    char roles[ROLES_TEXT_MAX];

    roles_write(row->roles, roles);
    return json_pack("{s:s, s:s, s:s, s:I, s:I}", "name", row->name, "roles", roles, "user", row->user, "added_at", (json_int_t)row->added_at,
                     "ended_at", (json_int_t)row->ended_at);
}

/* The local user an operator is: one that may use the socket, not root and not the service's own. "-": nobody. */
static enum err_code user_read(struct core *c, const char *user, char out[ID_MAX_LEN + 1], struct err *e)
{
    out[0] = '\0';
    if (!user || strcmp(user, "-") == 0)
        return E_OK;
    for (size_t i = 0; i < c->conf->admin_users.n; i++)
        if (strcmp(c->conf->admin_users.v[i], user) == 0) {
            text_copy(out, ID_MAX_LEN + 1, user);
            return E_OK;
        }
    return err_set(e, E_INVALID, "user: %s is not named in users.admin of the configuration", user);
}

static void operator_done(struct admin_call *call, json_t *certificate)
{
    struct operator_row row;
    struct err e = {0};
    json_t *result = NULL;

    if (store_operator_by_name(call->core->store, admin_text(call, "name"), &row, &e) == E_OK)
        result = operator_json(&row);
    if (result && certificate)
        json_object_update(result, certificate);
    json_decref(certificate);
    if (result)
        admin_done(call, result, -1);
    else
        admin_fail(call, &e);
}

static void on_operator_cert(struct core *c, void *arg, const struct issue_result *r)
{
    if (r->code != E_OK)
        admin_fail(arg, &r->err);
    else
        operator_done(arg, admin_issued_json(c, r));
}

/* The certificate asked for with the call, or its end without one. */
static void operator_certify(struct core *c, struct admin_call *call, const struct operator_row *row)
{
    AUTO_BUF csr = BUF_INIT(CSR_MAX_LEN);
    char requester[ID_MAX_LEN + 16];
    struct issue_order order = {.profile = c->conf->people_profile, .requester = requester, .by = &call->by, .name = row->name,
                                .repeats = true, .operator_id = row->id};
    struct err e = {0};
    enum err_code code = E_OK;

    if (!admin_has(call, "csr")) {
        operator_done(call, NULL);
        return;
    }
    snprintf(requester, sizeof(requester), "person:%s", row->name);
    if (c->conf->people_profile[0] == '\0')
        code = err_set(&e, E_NOT_FOUND, "operators get certificates by people.profile of the configuration, which is not set");
    if (code == E_OK)
        code = admin_der(call, "csr", &csr, &e);
    order.csr = buf_bytes(&csr);
    if (code == E_OK)
        code = issue_order(c, &order, on_operator_cert, call, &e);
    if (code != E_OK)
        admin_fail(call, &e);
}

static enum err_code operator_insert(struct core *c, struct admin_call *call, struct operator_row *want, struct err *e)
{
    char object[ID_MAX_LEN + 16];
    json_t *detail = operator_json(want);
    enum err_code code = core_begin(c, e);

    snprintf(object, sizeof(object), "operator:%s", want->name);
    if (code != E_OK) {
        json_decref(detail);
        return code;
    }
    code = store_operator_insert(c->store, want, e);
    if (code == E_CONFLICT)
        err_set(e, E_CONFLICT, "user %s is another operator's already", want->user);
    if (code == E_OK)
        code = core_audit(c, &call->by, "operator-added", "", object, detail, want->added_at, e);
    else
        json_decref(detail);
    core_end(c, code, e);
    return code;
}

/* Asked for again in the same words: the operator who is there. */
static enum err_code operator_register(struct core *c, struct admin_call *call, struct operator_row *want, struct err *e)
{
    struct operator_row is;
    enum err_code code = store_operator_by_name(c->store, want->name, &is, e);

    if (code == E_NOT_FOUND) {
        *e = (struct err){0};
        return operator_insert(c, call, want, e);
    }
    if (code != E_OK)
        return code;
    if (is.ended_at)
        return err_set(e, E_CONFLICT, "operator %s has ended: a name is never given again", is.name);
    if (is.roles != want->roles || strcmp(is.user, want->user) != 0)
        return err_set(e, E_CONFLICT, "operator %s is there already, with other roles or another user: inkan operator change", is.name);
    want->id = is.id;
    return E_OK;
}

void op_operator_add(struct core *c, struct admin_call *call)
{
    struct operator_row row = {.added_at = core_stamp(c)};
    struct err e = {0};
    enum err_code code = roles_read(admin_text(call, "roles"), &row.roles, &e);

    /* The trail and a certificate's requester tell root and the service by these names. */
    if (code == E_OK && (strcmp(admin_text(call, "name"), "root") == 0 || strcmp(admin_text(call, "name"), "core") == 0 ||
                         strcmp(admin_text(call, "name"), c->conf->user_supervisor) == 0))
        code = err_set(&e, E_INVALID, "name: %s is not a person's", admin_text(call, "name"));
    if (code == E_OK && !admin_has(call, "csr") && !admin_has(call, "user"))
        code = err_set(&e, E_INVALID, "csr or user is missing: an operator has a certificate, a local user, or both");
    if (code == E_OK)
        code = user_read(c, admin_text(call, "user"), row.user, &e);
    text_copy(row.name, sizeof(row.name), admin_text(call, "name"));
    if (code == E_OK)
        code = operator_register(c, call, &row, &e);
    if (code != E_OK)
        admin_fail(call, &e);
    else
        operator_certify(c, call, &row);
}

static enum err_code operator_live(struct core *c, const char *name, struct operator_row *row, struct err *e)
{
    enum err_code code = store_operator_by_name(c->store, name, row, e);

    if (code == E_NOT_FOUND)
        return err_set(e, E_NOT_FOUND, "there is no operator %s", name);
    if (code == E_OK && row->ended_at)
        return err_set(e, E_CONFLICT, "operator %s has ended", name);
    return code;
}

static enum err_code operator_update(struct core *c, struct admin_call *call, const struct operator_row *row, struct err *e)
{
    char object[ID_MAX_LEN + 16];
    int64_t now = core_stamp(c);
    enum err_code code = core_begin(c, e);

    if (code != E_OK)
        return code;
    snprintf(object, sizeof(object), "operator:%s", row->name);
    code = store_operator_change(c->store, row->id, row->roles, row->user, e);
    if (code == E_CONFLICT)
        err_set(e, E_CONFLICT, "user %s is another operator's already", row->user);
    if (code == E_OK)
        code = core_audit(c, &call->by, "operator-changed", "", object, operator_json(row), now, e);
    core_end(c, code, e);
    return code;
}

void op_operator_change(struct core *c, struct admin_call *call)
{
    struct operator_row row;
    struct err e = {0};
    enum err_code code = operator_live(c, admin_text(call, "name"), &row, &e);

    if (code == E_OK && admin_has(call, "roles"))
        code = roles_read(admin_text(call, "roles"), &row.roles, &e);
    if (code == E_OK && admin_has(call, "user"))
        code = user_read(c, admin_text(call, "user"), row.user, &e);
    if (code == E_OK && (admin_has(call, "roles") || admin_has(call, "user")))
        code = operator_update(c, call, &row, &e);
    if (code != E_OK)
        admin_fail(call, &e);
    else
        operator_certify(c, call, &row);
}

static enum err_code revoke_certs(struct core *c, struct admin_call *call, const struct operator_row *row, int64_t now, struct err *e)
{
    struct revocation r = {.to = CERT_REVOKED, .reason = REASON_CESSATION_OF_OPERATION};
    uint64_t id = 0, seq;
    struct cert_row cert;
    bool changed;
    enum err_code code;

    while ((code = store_operator_cert_next(c->store, row->id, id, &id, e)) == E_OK) {
        if (store_cert_by_id(c->store, id, &cert, e) != E_OK)
            return e->code;
        if (cert.status == CERT_REVOKED)
            continue;
        if (revoke_apply(c, &cert, &r, &call->by, now, &changed, &seq, e) != E_OK)
            return e->code;
        call->left += changed;
    }
    if (code != E_NOT_FOUND)
        return code;
    *e = (struct err){0};
    return E_OK;
}

void op_operator_end(struct core *c, struct admin_call *call)
{
    char object[ID_MAX_LEN + 16];
    struct operator_row row;
    int64_t now = core_stamp(c);
    struct err e = {0};
    enum err_code code = operator_live(c, admin_text(call, "name"), &row, &e);

    if (code == E_OK && c->seal == SEAL_RESTORE)
        code = err_set(&e, E_STORE, "sealed: %s", c->seal_why);
    if (code == E_OK && (code = core_begin(c, &e)) == E_OK) {
        snprintf(object, sizeof(object), "operator:%s", row.name);
        code = store_operator_end(c->store, row.id, now, &e);
        if (code == E_OK)
            code = revoke_certs(c, call, &row, now, &e);
        if (code == E_OK)
            code = core_audit(c, &call->by, "operator-ended", "", object, json_pack("{s:I}", "revoked", (json_int_t)call->left), now, &e);
        core_end(c, code, &e);
    }
    if (code != E_OK) {
        admin_fail(call, &e);
        return;
    }
    admin_done_in_force(c, call, json_pack("{s:s, s:I}", "name", row.name, "revoked", (json_int_t)call->left));
}

static enum err_code certs_json(struct store *ledger, uint64_t operator_id, json_t *out, struct err *e)
{
    uint64_t id = 0;
    struct cert_row cert;
    struct issuer_row issuer;
    enum err_code code;

    while ((code = store_operator_cert_next(ledger, operator_id, id, &id, e)) == E_OK) {
        if (store_cert_by_id(ledger, id, &cert, e) != E_OK || store_issuer_by_id(ledger, cert.issuer, &issuer, e) != E_OK)
            return e->code;
        json_array_append_new(out, json_pack("{s:s, s:o, s:s, s:I}", "issuer", issuer.name, "serial",
                                             json_hex(BYTES(cert.serial, cert.serial_len)), "status",
                                             cert_status_name((enum cert_status)cert.status), "not_after", (json_int_t)cert.not_after));
    }
    if (code != E_NOT_FOUND)
        return code;
    *e = (struct err){0};
    return E_OK;
}

struct page {
    struct admin_call *call;
    size_t n;
};

static bool put_operator(void *arg, const struct operator_row *row)
{
    struct page *p = arg;

    p->call->after = row->id;
    p->n++;
    admin_row(p->call, operator_json(row));
    return true;
}

static enum err_code operator_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    struct page p = {call, 0};

    if (store_operator_each(ledger, call->after, PAGE_ROWS, put_operator, &p, e) != E_OK)
        return e->code;
    *more = p.n == PAGE_ROWS;
    return E_OK;
}

void op_operator_list(struct core *c, struct admin_call *call)
{
    admin_list(c, call, operator_page);
}

void op_operator_show(struct core *c, struct admin_call *call)
{
    struct operator_row row;
    struct err e = {0};
    json_t *j = NULL, *certs = json_array();
    enum err_code code = store_operator_by_name(c->store, admin_text(call, "name"), &row, &e);

    if (code == E_NOT_FOUND)
        err_set(&e, E_NOT_FOUND, "there is no operator %s", admin_text(call, "name"));
    if (code == E_OK && certs_json(c->store, row.id, certs, &e) == E_OK)
        j = operator_json(&row);
    if (j && json_object_set_new(j, "certs", json_incref(certs)) == 0)
        admin_done(call, j, -1);
    else
        admin_fail(call, &e);
    json_decref(certs);
}

/* ---- approvals ---- */

static json_t *pending_json(const struct pending_row *row)
{
    return json_pack("{s:I, s:s, s:s, s:s, s:I, s:I, s:s, s:I, s:s}", "id", (json_int_t)row->id, "state",
                     pending_state_name((enum pending_state)row->state), "op", row->op, "by", row->requester, "created_at",
                     (json_int_t)row->created_at, "expires_at", (json_int_t)row->expires_at, "second", row->second_name, "decided_at",
                     (json_int_t)row->decided_at, "outcome", row->outcome);
}

static bool put_pending(void *arg, const struct pending_row *row)
{
    struct page *p = arg;

    p->call->after = row->id;
    p->n++;
    admin_row(p->call, pending_json(row));
    return true;
}

static enum err_code pending_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    struct page p = {call, 0};

    if (store_pending_each(ledger, !json_is_true(json_object_get(call->args, "all")), call->after, PAGE_ROWS, put_pending, &p, e) != E_OK)
        return e->code;
    *more = p.n == PAGE_ROWS;
    return E_OK;
}

void op_approval_list(struct core *c, struct admin_call *call)
{
    admin_list(c, call, pending_page);
}

/* A pending request as it was stored; `args` is new. */
struct stored {
    uint64_t id, operator_id;
    enum pending_state state;
    char op[SIGNED_OP_MAX + 1], requester[ID_MAX_LEN + 1];
    json_t *args;
    struct buf jws;
    int64_t expires_at;
    uint8_t digest[32];
};

static void stored_clear(struct stored *s)
{
    json_decref(s->args);
    buf_clear(&s->jws);
}

static enum err_code stored_load(struct core *c, const struct admin_call *call, struct stored *out, struct err *e)
{
    struct pending_row row;
    enum err_code code = store_pending_by_id(c->store, strtoull(admin_text(call, "id"), NULL, 10), &row, e);

    *out = (struct stored){.jws = BUF_INIT(SIGNED_REQUEST_MAX)};
    if (code == E_NOT_FOUND)
        return err_set(e, E_NOT_FOUND, "no request %s waits for a second person", admin_text(call, "id"));
    if (code != E_OK)
        return code;
    out->id = row.id;
    out->operator_id = row.operator_id;
    out->state = (enum pending_state)row.state;
    out->expires_at = row.expires_at;
    text_copy(out->op, sizeof(out->op), row.op);
    text_copy(out->requester, sizeof(out->requester), row.requester);
    out->args = json_loads(row.args, JSON_REJECT_DUPLICATES, NULL);
    buf_add_bytes(&out->jws, row.jws);
    if (!out->args || !buf_ok(&out->jws))
        return err_set(e, E_NOMEM, "pending request");
    return pending_digest(out->id, out->requester, out->op, out->args, out->digest, e);
}

void op_approval_show(struct core *c, struct admin_call *call)
{
    struct pending_row row;
    struct stored s;
    struct err e = {0};
    json_t *j = NULL;

    if (stored_load(c, call, &s, &e) == E_OK && store_pending_by_id(c->store, s.id, &row, &e) == E_OK)
        j = pending_json(&row);
    if (j) {
        json_object_set(j, "args", s.args);
        json_object_set_new(j, "digest", json_hex(BYTES_OF(s.digest)));
        admin_done(call, j, -1);
    } else {
        core_doubt(c, &e);
        admin_fail(call, &e);
    }
    stored_clear(&s);
}

/* It waits, and this person may do what it does. */
static enum err_code may_decide(struct core *c, const struct admin_call *call, const struct stored *s, struct err *e)
{
    if (s->state != PENDING_WAITING || s->expires_at <= core_stamp(c))
        return err_set(e, E_CONFLICT, "request %llu is %s", (unsigned long long)s->id,
                       pending_state_name(s->state == PENDING_WAITING ? PENDING_EXPIRED : s->state));
    if (call->is_root)
        return err_set(e, E_DENIED, "root is no second person: an operator approves, or root does it alone, which the trail says");
    if (permission_check_second(permission_of(s->op), s->op, call->person.roles, e) != E_OK)
        return e->code;
    return strcmp(s->op, "batch.run") == 0 ? fleet_may_act(c, s->args, &call->person, e) : E_OK;
}

/* Who asked could ask for it now: the stored signature is checked again, but for its age and nonce. */
static enum err_code still_asked(struct core *c, const struct stored *s, struct person *who, struct err *e)
{
    struct signed_request r;
    enum err_code code = people_stands(c, buf_bytes(&s->jws), core_stamp(c), &r, who, e);

    if (code != E_OK)
        return err_wrap(e, "%s, who asked for it", s->requester);
    signed_request_clear(&r);
    if (who->id != s->operator_id)
        return err_set(e, E_INTERNAL, "pending request %llu: signed by another operator", (unsigned long long)s->id);
    if (permission_check(permission_of(s->op), s->op, who->roles, e) != E_OK)
        return err_wrap(e, "%s, who asked for it", s->requester);
    return E_OK;
}

static enum err_code digest_is(const struct admin_call *call, const struct stored *s, struct err *e)
{
    char hex[65];

    hex_encode(s->digest, sizeof(s->digest), hex);
    if (strcmp(hex, admin_text(call, "digest")) != 0)
        return err_set(e, E_DENIED, "request %llu is not what was approved: its digest is %s", (unsigned long long)s->id, hex);
    return E_OK;
}

static enum err_code decide(struct core *c, struct admin_call *call, const struct stored *s, enum pending_state to, const char *why,
                            struct err *e)
{
    char object[40];
    int64_t now = core_stamp(c);
    enum err_code code = core_begin(c, e);

    if (code != E_OK)
        return code;
    snprintf(object, sizeof(object), "pending:%llu", (unsigned long long)s->id);
    code = store_pending_decide(c->store, s->id, to, call->person.id, why, now, e);
    if (code == E_OK)
        code = core_audit(c, &call->by, to == PENDING_RUNNING ? "approval-given" : "approval-refused", "", object,
                          json_pack("{s:s, s:s, s:o}", "op", s->op, "by", s->requester, "digest", json_hex(BYTES_OF(s->digest))), now, e);
    if (code == E_OK && to == PENDING_REFUSED)
        code = batch_unapproved(c, s->id, &call->by, why[0] ? why : "it was not approved", e);
    core_end(c, code, e);
    return code;
}

void op_approval_approve(struct core *c, struct admin_call *call)
{
    struct stored s;
    struct person who;
    struct err e = {0};
    enum err_code code = stored_load(c, call, &s, &e);

    if (code == E_OK)
        code = may_decide(c, call, &s, &e);
    if (code == E_OK && call->person.id == s.operator_id)
        code = err_set(&e, E_DENIED, "the second person is another one than who asked");
    if (code == E_OK)
        code = digest_is(call, &s, &e);
    if (code == E_OK)
        code = still_asked(c, &s, &who, &e);
    if (code == E_OK)
        code = decide(c, call, &s, PENDING_RUNNING, "", &e);
    if (code == E_OK) /* the call becomes that of who asked */
        admin_run_approved(c, call, s.id, s.op, json_incref(s.args), &who, &s.jws);
    else {
        core_doubt(c, &e);
        admin_fail(call, &e);
    }
    stored_clear(&s);
}

void op_approval_refuse(struct core *c, struct admin_call *call)
{
    struct stored s;
    struct err e = {0};
    const char *reason = admin_text(call, "reason");
    enum err_code code = stored_load(c, call, &s, &e);

    if (code == E_OK && call->person.id != s.operator_id)
        code = may_decide(c, call, &s, &e);
    if (code == E_OK)
        code = decide(c, call, &s, PENDING_REFUSED, reason ? reason : "", &e);
    if (code == E_NOT_FOUND && s.id)
        err_set(&e, E_CONFLICT, "request %llu is %s", (unsigned long long)s.id, pending_state_name(s.state));
    if (code == E_OK)
        admin_done(call, json_pack("{s:I, s:s}", "id", (json_int_t)s.id, "state", pending_state_name(PENDING_REFUSED)), -1);
    else {
        core_doubt(c, &e);
        admin_fail(call, &e);
    }
    stored_clear(&s);
}
