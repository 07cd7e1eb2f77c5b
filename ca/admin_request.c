/* SPDX-License-Identifier: Apache-2.0 */
/* Administration of requests that wait for an operator. */
#include <stdlib.h>
#include <string.h>

#include "ca/admin_int.h"
#include "ca/csr.h"
#include "ca/request.h"

#define PAGE_ROWS 200

static json_t *request_json(const struct request_row *r)
{
    return json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:s}", "id", (json_int_t)r->id, "state",
                     request_state_name((enum request_state)r->state), "domain", r->domain, "device_id", r->device_id,
                     "operation", request_operation(r), "label", r->label, "profile", r->profile, "why", r->why,
                     "created_at", (json_int_t)r->created_at, "expires_at", (json_int_t)r->expires_at, "reason", r->reason);
}

/* ---- list ---- */

struct page {
    struct admin_call *call;
    size_t n;
};

static bool put_request(void *arg, const struct request_row *row)
{
    struct page *p = arg;

    admin_row(p->call, request_json(row));
    p->call->after = row->id;
    p->n++;
    return true;
}

static bool state_from(const char *s, int *out)
{
    *out = -1;
    for (int i = 0; s && i < REQUEST_STATES; i++)
        if (strcmp(request_state_name((enum request_state)i), s) == 0)
            *out = i;
    return !s || *out >= 0;
}

static enum err_code request_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    struct page p = {call, 0};
    int state;

    (void)state_from(admin_text(call, "state"), &state);
    if (store_request_each(ledger, state, call->after, PAGE_ROWS, put_request, &p, e) != E_OK)
        return e->code;
    *more = p.n == PAGE_ROWS;
    return E_OK;
}

void op_request_list(struct core *c, struct admin_call *call)
{
    struct err e = {0};
    int state;

    if (state_from(admin_text(call, "state"), &state)) {
        admin_list(c, call, request_page);
        return;
    }
    err_set(&e, E_INVALID, "state: waiting, approved, issued, refused or expired");
    admin_fail(call, &e);
}

/* ---- one ---- */

static enum err_code request_id(const struct admin_call *call, uint64_t *id, struct err *e)
{
    const char *text = admin_text(call, "id");

    if (strlen(text) > 18 || strspn(text, "0123456789") != strlen(text))
        return err_set(e, E_INVALID, "id: the number that request list shows");
    *id = strtoull(text, NULL, 10);
    return E_OK;
}

/* What the client wrote; the certificate's names come from the profile. */
static json_t *asked_subject(struct bytes csr)
{
    struct csr read;
    struct err ignored = {0};

    return csr_read(csr, &read, &ignored) == E_OK ? json_name(read.subject) : json_string("");
}

static json_t *shown(const struct request_row *r)
{
    json_t *j = request_json(r);

    json_object_set_new(j, "subject", asked_subject(r->csr));
    json_object_set_new(j, "csr", json_base64(r->csr));
    json_object_set_new(j, "spki_sha256", json_hex(BYTES_OF(r->spki_hash)));
    json_object_set_new(j, "credential_sha256", json_hex(BYTES_OF(r->credential_hash)));
    json_object_set_new(j, "bound", json_boolean(r->bound));
    json_object_set_new(j, "decided_at", json_integer((json_int_t)r->decided_at));
    json_object_set_new(j, "decided_by", json_string(r->decided_by));
    json_object_set_new(j, "ended_at", json_integer((json_int_t)r->ended_at));
    return j;
}

void op_request_show(struct core *c, struct admin_call *call)
{
    struct request_row row;
    struct cert_row cert;
    struct err e = {0};
    uint64_t id;
    json_t *j;
    enum err_code code = request_id(call, &id, &e);

    if (code == E_OK)
        code = store_request_by_id(c->store, id, &row, &e);
    if (code == E_NOT_FOUND)
        err_set(&e, E_NOT_FOUND, "there is no request %llu", (unsigned long long)id);
    if (code != E_OK) {
        core_doubt(c, &e);
        admin_fail(call, &e);
        return;
    }
    j = shown(&row);
    if (row.cert && store_cert_by_id(c->store, row.cert, &cert, &e) == E_OK)
        json_object_set_new(j, "serial", json_hex(BYTES(cert.serial, cert.serial_len)));
    admin_done(call, j, -1);
}

/* ---- decisions ---- */

static void decide(struct core *c, struct admin_call *call, enum request_event event, const char *reason)
{
    enum request_state to = REQUEST_STATES;
    struct err e = {0};
    struct log_line l;
    uint64_t id;

    if (request_id(call, &id, &e) != E_OK || core_begin(c, &e) != E_OK) {
        admin_fail(call, &e);
        return;
    }
    if (request_decide(c, id, event, reason, &call->by, core_stamp(c), &to, &e) != E_OK) {
        core_doubt(c, &e);
        core_rollback(c);
        admin_fail(call, &e);
        return;
    }
    core_commit(c);
    log_begin(&l, LOG_INFO, event == REQUEST_APPROVE ? "request-approved" : "request-refused");
    log_u64(&l, "request", id);
    log_str(&l, "by", call->by.name);
    log_end(&l);
    admin_done(call, json_pack("{s:I, s:s}", "id", (json_int_t)id, "state", request_state_name(to)), -1);
}

void op_request_approve(struct core *c, struct admin_call *call)
{
    decide(c, call, REQUEST_APPROVE, "");
}

void op_request_refuse(struct core *c, struct admin_call *call)
{
    decide(c, call, REQUEST_REFUSE, admin_text(call, "reason"));
}
