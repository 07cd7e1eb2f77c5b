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
               json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:o}", "stream", "unit", "seq", (json_int_t)row->id, "order",
                         row->order_no, "domain", row->domain, "device_id", row->device_id, "event", row->event, "time", (json_int_t)row->time, "station",
                         row->station, "badge", row->badge, "tool", row->tool, "state", unit_state_name((enum unit_state)row->state), "detail",
                         detail ? detail : json_object()));
}

/* A certificate that only the centre holds is good as far as this box goes. */
static enum cert_status own_status(struct core *c, const struct status_row *row)
{
    struct cert_row cert;
    struct err e = {0};

    if (row->status != CERT_ON_HOLD ||
        store_cert_by_serial(c->store, row->issuer, BYTES(row->serial, row->serial_len), &cert, &e) != E_OK)
        return row->status;
    return cert.hold_by == HOLD_CENTRE ? CERT_GOOD : row->status;
}

/* What came from the centre does not go back to it. */
static bool put_status(void *arg, const struct status_row *row)
{
    struct page *p = arg;
    bool skip = strcmp(row->origin, "centre") == 0 || !is_of_box(p->c, row->issuer);

    return add(p, row->seq,
               skip ? json_pack("{s:s, s:I, s:b}", "stream", "status", "seq", (json_int_t)row->seq, "skip", 1)
                    : json_pack("{s:s, s:I, s:o, s:s, s:i}", "stream", "status", "seq", (json_int_t)row->seq, "serial",
                                json_hex(BYTES(row->serial, row->serial_len)), "status", cert_status_name(own_status(p->c, row)),
                                "reason", (int)row->reason));
}

static bool put_report(void *arg, const struct report_row *row)
{
    struct page *p = arg;
    struct bytes signer = row->signer.len ? row->signer : buf_bytes(&p->c->record.cert);

    return add(p, row->seq,
               json_pack("{s:s, s:I, s:s, s:s%, s:o}", "stream", "report", "seq", (json_int_t)row->seq, "order", row->order_no, "report",
                         (const char *)row->report.p, row->report.len, "signer", json_base64(signer)));
}

/* Certificates, then units, changes of status, reports: a later stream begins when those before it are told. */
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
    p->at = from[BOX_STATUS];
    if (store_status_each(p->c->store, from[BOX_STATUS], PAGE_ROWS, put_status, p, e) != E_OK)
        return e->code;
    if (p->full || p->at < last[BOX_STATUS])
        return E_OK;
    return store_outbox_reports(p->c->store, from[BOX_REPORTS], PAGE_ROWS, put_report, p, e);
}

static bool count_units(void *arg, const char *order_no, unsigned state, uint64_t n)
{
    return box_count_units(arg, order_no, unit_state_name((enum unit_state)state), n);
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
    return json_pack("{s:I, s:I, s:I, s:I}", "cert", (json_int_t)n[BOX_CERTS], "unit", (json_int_t)n[BOX_UNITS], "status",
                     (json_int_t)n[BOX_STATUS], "report", (json_int_t)n[BOX_REPORTS]);
}

/* ---- which ledger this is ---- */

/* The ledger, how often it was restored, and a random word since its last fork: rows are numbered anew under another epoch. */
static enum err_code epoch_of(struct core *c, char out[BOX_EPOCH_MAX + 1], struct err *e)
{
    AUTO_BUF fork = BUF_INIT(64);
    enum err_code code = store_meta_get(c->store, "box_fork", &fork, e);

    if (code != E_OK && code != E_NOT_FOUND)
        return code;
    *e = (struct err){0};
    snprintf(out, BOX_EPOCH_MAX + 1, "%.*s%s%.*s", (int)c->follow_id.len, (const char *)c->follow_id.p, fork.len ? "-" : "", (int)fork.len,
             fork.p ? (const char *)fork.p : "");
    return E_OK;
}

/* Its newest audit entry: the centre keeps it and says it again, so that a ledger that was set back, or copied, finds out. */
static json_t *audit_json(struct core *c, struct err *e)
{
    uint8_t hash[32];
    uint64_t seq = 0;

    if (store_audit_last(c->store, &seq, hash, e) != E_OK)
        return NULL;
    return json_pack("{s:I, s:o}", "seq", (json_int_t)seq, "hash", json_hex(BYTES_OF(hash)));
}

/* The entry that the centre saw is not in this ledger: it was set back without a restore, or another one goes by its name. */
static enum err_code is_fork(struct core *c, const json_t *seen, bool *out, struct err *e)
{
    json_int_t seq = json_integer_value(json_object_get(seen, "seq"));
    const char *hex = json_string_value(json_object_get(seen, "hash"));
    uint8_t hash[32], ours[32];
    size_t len = 0;
    enum err_code code;

    *out = false;
    if (seq <= 0 || !hex)
        return E_OK;
    if (!hex_decode(hex, strlen(hex), hash, sizeof(hash), &len) || len != sizeof(hash))
        return err_set(e, E_INVALID, "seen: not an audit entry");
    code = store_audit_hash(c->store, (uint64_t)seq, ours, e);
    if (code != E_OK && code != E_NOT_FOUND)
        return code;
    *out = code == E_NOT_FOUND || memcmp(ours, hash, sizeof(hash)) != 0;
    *e = (struct err){0};
    return E_OK;
}

/* A new epoch: everything is told again, so that rows under numbers the centre has already reach it too. */
static enum err_code part_from_fork(struct core *c, const json_t *seen, const struct actor *by, int64_t now, struct err *e)
{
    uint8_t word[6];
    char hex[2 * sizeof(word) + 1];

    if (random_bytes(word, sizeof(word), e) != E_OK)
        return e->code;
    hex_encode(word, sizeof(word), hex);
    log_note(LOG_ERROR, "box-forked", "epoch", hex);
    if (store_meta_set(c->store, "box_fork", bytes_str(hex), e) != E_OK)
        return e->code;
    return core_audit(c, by, "box-forked", "", "ledger",
                      json_pack("{s:I, s:s}", "seen", json_integer_value(json_object_get(seen, "seq")), "epoch", hex), now, e);
}

/* Which ledger of the centre was heard last, and up to where. */
static enum err_code centre_known(struct core *c, struct buf *id, int64_t *heard, struct err *e)
{
    enum err_code code = store_meta_get(c->store, "centre_id", id, e);

    if (code != E_OK && code != E_NOT_FOUND)
        return code;
    *e = (struct err){0};
    return store_meta_get_i64(c->store, "centre_heard", heard, e);
}

void op_box_outbox(struct core *c, struct admin_call *call)
{
    /* A centre that does not say how many reports it has takes none. */
    const uint64_t from[BOX_STREAMS] = {(uint64_t)admin_int(call, "cert", 0), (uint64_t)admin_int(call, "unit", 0),
                                        (uint64_t)admin_int(call, "status", 0), (uint64_t)admin_int(call, "report", INT64_MAX)};
    struct page p = {.c = c, .records = json_array()};
    AUTO_BUF centre = BUF_INIT(BOX_EPOCH_MAX);
    uint64_t last[BOX_STREAMS] = {0};
    char epoch[BOX_EPOCH_MAX + 1] = "";
    int64_t heard = 0;
    json_t *result, *audit = NULL;
    struct err e = {0};

    if (!c->conf->box_name[0])
        err_set(&e, E_CONFLICT, "this service is no line box (box.name)");
    else if (epoch_of(c, epoch, &e) == E_OK && (audit = audit_json(c, &e)) && centre_known(c, &centre, &heard, &e) == E_OK &&
             store_outbox_last(c->store, last, &e) == E_OK && fill(&p, from, last, &e) != E_OK)
        err_wrap(&e, "outbox");
    result = json_pack("{s:s, s:s, s:o, s:o, s:o?, s:s#, s:I}", "box", c->conf->box_name, "epoch", epoch, "last", streams_json(last), "records",
                       p.records, "audit", audit, "centre", centre.p ? (const char *)centre.p : "", (int)centre.len, "heard", (json_int_t)heard);
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

static enum err_code change_one(struct core *c, struct admin_call *call, const json_t *j, int64_t now, int64_t *n, struct err *e)
{
    const char *hex = json_string_value(json_object_get(j, "serial")), *status = json_string_value(json_object_get(j, "status"));
    struct revocation change = {.origin = "centre", .hold = HOLD_CENTRE, .reason = (enum crl_reason)json_integer_value(json_object_get(j, "reason"))};
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
    if (cert.status == CERT_REVOKED)
        return E_OK;
    if (revoke_apply(c, &cert, &change, &call->by, now, &changed, &seq, e) != E_OK)
        return e->code;
    *n += changed;
    return E_OK;
}

/* A centre that was restored counts its rows anew: the number may be lower than the last. */
static enum err_code keep_heard(struct core *c, struct bytes centre, int64_t heard, struct err *e)
{
    AUTO_BUF known = BUF_INIT(BOX_EPOCH_MAX);
    int64_t before = 0;

    if (centre_known(c, &known, &before, e) != E_OK || (heard == before && bytes_equal(centre, buf_bytes(&known))))
        return e->code;
    if (store_meta_set(c->store, "centre_id", centre, e) != E_OK)
        return e->code;
    return store_meta_set_i64(c->store, "centre_heard", heard, e);
}

void op_box_heard(struct core *c, struct admin_call *call)
{
    const json_t *changes = json_object_get(call->args, "changes"), *seen = json_object_get(call->args, "seen");
    int64_t now = core_stamp(c), n = 0;
    bool forked = false;
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
            code = keep_heard(c, bytes_str(admin_text(call, "centre")), admin_int(call, "heard", 0), &e);
        if (code == E_OK && (code = is_fork(c, seen, &forked, &e)) == E_OK && forked)
            code = part_from_fork(c, seen, &call->by, now, &e);
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
        admin_done(call, json_pack("{s:I, s:b}", "changed", (json_int_t)n, "forked", forked), -1);
}
