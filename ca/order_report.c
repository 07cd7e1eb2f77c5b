/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/order_report.h"

#include <string.h>

#include "base/clock.h"
#include "ca/admin_int.h"
#include "ca/factory_int.h"
#include "ca/order_file.h"
#include "ca/record.h"
#include "ca/record_check.h"
#include "ca/store/linebox.h"

#define SIGNED_BEGIN "{\"payload\":" /* of a flattened JWS as base/jws.h writes it; what is not signed yet begins otherwise */

/* ---- writing ---- */

static json_t *json_time(int64_t t)
{
    char text[32];

    if (t == 0)
        return json_null();
    clock_format((time_t)t, text);
    return json_string(text);
}

static json_t *equation(const char *text, int64_t left, int64_t right)
{
    return json_pack("{s:s, s:I, s:I}", "equation", text, "left", (json_int_t)left, "right", (json_int_t)right);
}

static json_t *equations_of(const struct order_tally *t)
{
    return json_pack("[o, o, o]", equation("reserved = issued + unused", t->reserved, t->issued + t->unused),
                     equation("issued = confirmed + void + orphan", t->issued, t->confirmed + t->voided + t->orphaned),
                     equation("confirmed = shipped + stock + scrapped", t->confirmed, t->shipped + t->stock + t->scrapped));
}

static json_t *counts_of(const struct order_tally *t)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "reserved", (json_int_t)t->reserved, "unused",
                     (json_int_t)t->unused, "issued", (json_int_t)t->issued, "confirmed", (json_int_t)t->confirmed, "void",
                     (json_int_t)t->voided, "orphan", (json_int_t)t->orphaned, "shipped", (json_int_t)t->shipped, "stock",
                     (json_int_t)t->stock, "scrapped", (json_int_t)t->scrapped, "rekeyed", (json_int_t)t->rekeyed, "reworked",
                     (json_int_t)t->reworked);
}

static bool put_refusal(void *arg, const char *reason, uint64_t n)
{
    return json_object_set_new(arg, reason, json_integer((json_int_t)n)) == 0;
}

static json_t *order_part(const struct order_row *row)
{
    return json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:o, s:s, s:s}", "format", 1, "order", row->order_no,
                     "domain", row->domain, "product", row->product, "model", row->model, "lot", row->lot, "line", row->line,
                     "profile", row->profile, "key_mode", order_key_mode_name((enum order_key_mode)row->key_mode), "quantity",
                     (json_int_t)row->quantity, "order_file_sha256", json_hex(BYTES_OF(row->file_hash)), "order_signer",
                     row->signer, "order_kid", row->kid);
}

enum err_code order_report_write(struct core *c, const struct work_order *o, const struct order_tally *t, int64_t first,
                                 int64_t last, int64_t now, struct err *e)
{
    AUTO_JSON *report = NULL;
    AUTO_JSON *refused = json_object();
    AUTO(char) *text = NULL;
    struct order_row row;
    uint64_t seq = 0;
    uint8_t hash[32];

    if (store_order_by_no(c->store, o->order_no, &row, e) != E_OK)
        return e->code;
    report = order_part(&row);
    if (store_order_refusals(c->store, o->id, put_refusal, refused, e) != E_OK ||
        store_audit_last(c->store, &seq, hash, e) != E_OK)
        return e->code;
    if (json_object_set_new(report, "opened_at", json_time(o->opened_at)) != 0 ||
        json_object_set_new(report, "closed_at", json_time(now)) != 0 ||
        json_object_set_new(report, "first_at", json_time(first)) != 0 ||
        json_object_set_new(report, "last_at", json_time(last)) != 0 ||
        json_object_set_new(report, "counts", counts_of(t)) != 0 ||
        json_object_set_new(report, "equations", equations_of(t)) != 0 ||
        json_object_set_new(report, "royalty", json_integer((json_int_t)t->confirmed)) != 0 ||
        json_object_set(report, "refused", refused) != 0 ||
        json_object_set_new(report, "ledger", json_hex(buf_bytes(&c->ledger_id))) != 0 ||
        json_object_set_new(report, "audit", json_pack("{s:I, s:o}", "seq", (json_int_t)seq, "hash", json_hex(BYTES_OF(hash)))) != 0)
        return err_set(e, E_NOMEM, "close-out report");
    text = json_dumps(report, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        return err_set(e, E_NOMEM, "close-out report");
    /* What a reader would check. */
    if (close_report_check(report, e) != E_OK)
        return e->code;
    return store_order_set_report(c->store, o->id, bytes_str(text), e);
}

/* ---- signing ---- */

struct report_job {
    uint64_t order;
    char order_no[ORDER_NO_MAX + 1];
    struct admin_call *call; /* NULL: nobody waits */
};

static bool is_signed(struct bytes report)
{
    return report.len > strlen(SIGNED_BEGIN) && memcmp(report.p, SIGNED_BEGIN, strlen(SIGNED_BEGIN)) == 0;
}

static void report_answer(struct report_job *j, struct bytes report, const struct err *e)
{
    if (j->call && e->code == E_OK)
        admin_done(j->call, json_pack("{s:s, s:o}", "order", j->order_no, "report",
                                      json_stringn((const char *)report.p, report.len)), -1);
    else if (j->call)
        admin_fail(j->call, e);
    else if (e->code != E_OK)
        log_failure("report-not-signed", e);
    free(j);
}

/* Two may have been asked for: the first stays. */
static enum err_code keep_signed(struct core *c, const struct report_job *j, struct bytes jws, struct buf *kept, struct err *e)
{
    uint8_t hash[32];
    char object[UNIT_OBJECT_MAX];
    enum err_code code;

    if (core_begin(c, e) != E_OK)
        return e->code;
    code = store_order_report(c->store, j->order, kept, e);
    if (code == E_OK && !is_signed(buf_bytes(kept))) {
        sha256(jws, hash);
        snprintf(object, sizeof(object), "order:%s", j->order_no);
        buf_reset(kept);
        buf_add_bytes(kept, jws);
        code = store_order_set_report(c->store, j->order, jws, e);
        if (code == E_OK)
            code = store_report_signed(c->store, j->order, buf_bytes(&c->record.cert), e);
        if (code == E_OK)
            code = core_audit(c, &ACTOR_CORE, "order-report-signed", "", object,
                              json_pack("{s:o}", "sha256", json_hex(BYTES_OF(hash))), core_stamp(c), e);
    }
    if (code != E_OK) {
        core_doubt(c, e);
        core_rollback(c);
        return code;
    }
    core_commit(c);
    return E_OK;
}

static void on_report_signed(struct core *c, void *arg, const struct err *why, struct bytes jws)
{
    struct report_job *j = arg;
    AUTO_BUF kept = BUF_INIT(RECORD_FILE_MAX);
    struct err e = *why;

    if (c->stopping) {
        free(j);
        return;
    }
    if (e.code == E_OK)
        (void)keep_signed(c, j, jws, &kept, &e);
    report_answer(j, buf_bytes(&kept), &e);
}

/* Signs the report of a closed order unless it is signed; answers `call`, which may be NULL. */
static void report_get(struct core *c, uint64_t order, const char *order_no, struct admin_call *call)
{
    struct report_job *j = calloc(1, sizeof(*j));
    AUTO_BUF report = BUF_INIT(RECORD_FILE_MAX);
    struct err e = {0};

    if (!j) {
        err_set(&e, E_NOMEM, "close-out report");
        if (call)
            admin_fail(call, &e);
        return;
    }
    j->order = order;
    j->call = call;
    text_copy(j->order_no, sizeof(j->order_no), order_no);
    if (store_order_report(c->store, order, &report, &e) != E_OK) {
        core_doubt(c, &e);
        report_answer(j, buf_bytes(&report), &e);
    } else if (is_signed(buf_bytes(&report))) {
        report_answer(j, buf_bytes(&report), &e);
    } else if (report.len == 0) {
        err_set(&e, E_CONFLICT, "order %s has no close-out report: it is not closed", order_no);
        report_answer(j, buf_bytes(&report), &e);
    } else if (record_sign(c, CLOSE_REPORT_TYP, buf_bytes(&report), on_report_signed, j, &e) != E_OK) {
        report_answer(j, buf_bytes(&report), &e);
    }
}

void order_report_sign(struct core *c, const struct work_order *o)
{
    report_get(c, o->id, o->order_no, NULL);
}

void op_order_report(struct core *c, struct admin_call *call)
{
    struct work_order *o = NULL;
    struct err e = {0};

    if (factory_find(c, admin_text(call, "order"), NULL, &o, &e) != E_OK) {
        core_doubt(c, &e);
        admin_fail(call, &e);
        return;
    }
    report_get(c, o->id, o->order_no, call);
}
