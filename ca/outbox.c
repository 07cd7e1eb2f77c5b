/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a line box has to tell its centre: rows of its own append-only tables, by their numbers, in pages (docs/linebox.md). There is
 * no copy of them and nothing to lose: the centre says up to where it has them. inkan-sync carries the pages.
 */
#include <string.h>

#include "ca/admin_int.h"
#include "ca/store/linebox.h"
#include "ca/unit_rule.h"

#define PAGE_OCTETS (24 * 1024) /* of records; the request around them stays below BOX_BODY_MAX */
#define PAGE_ROWS   200

struct page {
    struct core *c;
    json_t *records;
    size_t octets;
    uint64_t at; /* the last row looked at */
    bool full;
};

/* false: the page is full, and the record is left for the next one. Takes it over. */
static bool add(struct page *p, uint64_t seq, json_t *record)
{
    AUTO_JSON *owned = record;
    AUTO(char) *text = record ? json_dumps(record, JSON_COMPACT) : NULL;

    if (!text || p->octets + strlen(text) > PAGE_OCTETS) {
        p->full = true;
        return false;
    }
    p->octets += strlen(text) + 1;
    json_array_append(p->records, owned);
    p->at = seq;
    return true;
}

static bool is_of_box(struct core *c, uint32_t issuer)
{
    const struct authority *a = authority_by_id(c, issuer);

    return a && authority_is_external(a);
}

static bool put_cert(void *arg, const struct cert_row *row)
{
    struct page *p = arg;
    struct device_row device;
    struct err e = {0};

    if (!row->device || (row->kind != PROFILE_IDEVID && row->kind != PROFILE_LDEVID) || !is_of_box(p->c, row->issuer) ||
        store_device_by_id(p->c->store, row->device, &device, &e) != E_OK)
        return add(p, row->id, json_pack("{s:s, s:I, s:b}", "stream", "cert", "seq", (json_int_t)row->id, "skip", 1));
    return add(p, row->id,
               json_pack("{s:s, s:I, s:o, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "stream", "cert", "seq", (json_int_t)row->id,
                         "der", json_base64(row->der), "kind", profile_kind_name((enum profile_kind)row->kind), "profile", row->profile,
                         "domain", device.domain, "device_id", device.device_id, "product", device.product, "model", row->model, "lot",
                         row->lot, "order", row->order_no, "station", row->station, "line", row->line));
}

static bool put_event(void *arg, const struct outbox_event_row *row)
{
    struct page *p = arg;
    json_t *detail = json_loads(row->detail[0] ? row->detail : "{}", 0, NULL);

    return add(p, row->id,
               json_pack("{s:s, s:I, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:o}", "stream", "unit", "seq", (json_int_t)row->id, "order",
                         row->order_no, "device_id", row->device_id, "event", row->event, "time", (json_int_t)row->time, "station",
                         row->station, "badge", row->badge, "tool", row->tool, "state", unit_state_name((enum unit_state)row->state), "detail",
                         detail ? detail : json_object()));
}

/* What came from the centre does not go back to it. */
static bool put_status(void *arg, const struct status_row *row)
{
    struct page *p = arg;
    bool skip = strcmp(row->origin, "centre") == 0 || !is_of_box(p->c, row->issuer);

    return add(p, row->seq,
               skip ? json_pack("{s:s, s:I, s:b}", "stream", "status", "seq", (json_int_t)row->seq, "skip", 1)
                    : json_pack("{s:s, s:I, s:o, s:s, s:i}", "stream", "status", "seq", (json_int_t)row->seq, "serial",
                                json_hex(BYTES(row->serial, row->serial_len)), "status", cert_status_name((enum cert_status)row->status),
                                "reason", (int)row->reason));
}

/* Certificates, then units, then changes of status: a later stream begins when those before it are told. */
static enum err_code fill(struct page *p, const uint64_t from[BOX_STREAMS], const uint64_t last[BOX_STREAMS], struct err *e)
{
    struct cert_filter f = {.status = -1, .after_id = from[BOX_CERTS], .limit = PAGE_ROWS};

    p->at = from[BOX_CERTS];
    if (store_cert_each(p->c->store, &f, put_cert, p, e) != E_OK)
        return e->code;
    if (p->full || p->at < last[BOX_CERTS])
        return E_OK;
    p->at = from[BOX_UNITS];
    if (store_outbox_events(p->c->store, from[BOX_UNITS], PAGE_ROWS, put_event, p, e) != E_OK)
        return e->code;
    if (p->full || p->at < last[BOX_UNITS])
        return E_OK;
    return store_status_each(p->c->store, from[BOX_STATUS], PAGE_ROWS, put_status, p, e);
}

static bool count_units(void *arg, const char *order_no, unsigned state, uint64_t n)
{
    json_t *units = arg, *order = json_object_get(units, order_no);

    if (!order) {
        order = json_object();
        json_object_set_new(units, order_no, order);
    }
    json_object_set_new(order, unit_state_name((enum unit_state)state), json_integer((json_int_t)n));
    return true;
}

/* Reads all units: asked for when everything was told. */
static enum err_code counts(struct core *c, json_t *out, struct err *e)
{
    json_t *units = json_object();
    uint64_t devices = 0, one = 0;

    json_object_set_new(out, "units", units);
    if (store_outbox_count(c->store, count_units, units, e) != E_OK)
        return e->code;
    for (size_t i = 0; i < c->ca_n; i++)
        if (c->ca[i].exists && authority_is_external(&c->ca[i])) {
            if (store_box_devices(c->store, c->ca[i].id, &one, e) != E_OK)
                return e->code;
            devices += one;
        }
    json_object_set_new(out, "devices", json_integer((json_int_t)devices));
    return E_OK;
}

static json_t *streams_json(const uint64_t n[BOX_STREAMS])
{
    return json_pack("{s:I, s:I, s:I}", "cert", (json_int_t)n[BOX_CERTS], "unit", (json_int_t)n[BOX_UNITS], "status",
                     (json_int_t)n[BOX_STATUS]);
}

void op_box_outbox(struct core *c, struct admin_call *call)
{
    const uint64_t from[BOX_STREAMS] = {(uint64_t)admin_int(call, "cert", 0), (uint64_t)admin_int(call, "unit", 0),
                                        (uint64_t)admin_int(call, "status", 0)};
    struct page p = {.c = c, .records = json_array()};
    uint64_t last[BOX_STREAMS] = {0};
    int64_t heard = 0;
    json_t *result;
    struct err e = {0};

    if (!c->conf->box_name[0])
        err_set(&e, E_CONFLICT, "this service is no line box (box.name)");
    else if (store_meta_get_i64(c->store, "centre_heard", &heard, &e) == E_OK && store_outbox_last(c->store, last, &e) == E_OK &&
             fill(&p, from, last, &e) != E_OK)
        err_wrap(&e, "outbox");
    result = json_pack("{s:s, s:s#, s:o, s:o, s:I}", "box", c->conf->box_name, "epoch", (const char *)c->follow_id.p, (int)c->follow_id.len,
                       "last", streams_json(last), "records", p.records, "heard", (json_int_t)heard);
    if (e.code == E_OK && json_array_size(p.records) == 0) {
        json_t *said = json_object();

        json_object_set_new(result, "counts", said);
        if (counts(c, said, &e) != E_OK)
            err_wrap(&e, "counts");
    }
    if (e.code != E_OK) {
        json_decref(result);
        admin_fail(call, &e);
        return;
    }
    admin_done(call, result, -1);
}

/* ---- what the centre answered ---- */

/* The centre's own hold alone is released by it. */
static bool held_by_centre(struct core *c, const struct cert_row *cert)
{
    struct status_row newest;
    struct err e = {0};

    return cert->status == CERT_ON_HOLD && store_status_by_seq(c->store, cert->status_seq, &newest, &e) == E_OK &&
           strcmp(newest.origin, "centre") == 0;
}

static enum err_code change_one(struct core *c, struct admin_call *call, const json_t *j, int64_t now, int64_t *n, struct err *e)
{
    const char *hex = json_string_value(json_object_get(j, "serial")), *status = json_string_value(json_object_get(j, "status"));
    struct revocation change = {.origin = "centre", .reason = (enum crl_reason)json_integer_value(json_object_get(j, "reason"))};
    uint8_t serial[SERIAL_MAX_LEN];
    size_t len = 0;
    struct cert_row cert;
    bool changed = false, found = false;
    uint64_t seq;

    if (!hex || !status || !hex_decode(hex, strlen(hex), serial, sizeof(serial), &len) || !crl_reason_name(change.reason))
        return err_set(e, E_INVALID, "changes: not {serial, status, reason}");
    change.to = strcmp(status, "good") == 0 ? CERT_GOOD : strcmp(status, "on_hold") == 0 ? CERT_ON_HOLD : CERT_REVOKED;
    for (size_t i = 0; i < c->ca_n && !found; i++)
        found = c->ca[i].exists && authority_is_external(&c->ca[i]) &&
                store_cert_by_serial(c->store, c->ca[i].id, BYTES(serial, len), &cert, e) == E_OK;
    if (!found) {
        *e = (struct err){0};
        return E_OK; /* issued before this ledger was set back */
    }
    if (cert.status == CERT_REVOKED || (change.to == CERT_GOOD && !held_by_centre(c, &cert)))
        return E_OK;
    /* What was read of the row may be gone after the last call. */
    if (store_cert_by_id(c->store, cert.id, &cert, e) != E_OK ||
        revoke_apply(c, &cert, &change, &call->by, now, &changed, &seq, e) != E_OK)
        return e->code;
    *n += changed;
    return E_OK;
}

void op_box_heard(struct core *c, struct admin_call *call)
{
    const json_t *changes = json_object_get(call->args, "changes");
    int64_t now = core_stamp(c), n = 0, before = 0, heard = admin_int(call, "heard", 0);
    struct err e = {0};
    enum err_code code = E_OK;
    json_t *j;
    size_t i;

    if (!c->conf->box_name[0])
        code = err_set(&e, E_CONFLICT, "this service is no line box (box.name)");
    else if ((code = core_begin(c, &e)) == E_OK) {
        json_array_foreach(changes, i, j)
        {
            if (code == E_OK)
                code = change_one(c, call, j, now, &n, &e);
        }
        if (code == E_OK)
            code = store_meta_get_i64(c->store, "centre_heard", &before, &e);
        if (code == E_OK && heard > before)
            code = store_meta_set_i64(c->store, "centre_heard", heard, &e);
        if (code != E_OK) {
            core_doubt(c, &e);
            core_rollback(c);
        } else {
            core_commit(c);
            revoke_changed(c);
        }
    }
    if (code != E_OK)
        admin_fail(call, &e);
    else
        admin_done(call, json_pack("{s:I}", "changed", (json_int_t)n), -1);
}
