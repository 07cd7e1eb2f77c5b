/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/store/linebox.h"

#include "ca/store/store_int.h"

enum err_code store_foreign_put(struct store *s, const struct foreign_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_FOREIGN_PUT);

    q_i64(&q, row->issuer);
    q_i64(&q, row->depth);
    q_bytes(&q, row->cert);
    q_i64(&q, row->status);
    q_i64(&q, row->reason);
    q_i64(&q, row->status_at);
    q_bytes(&q, row->list_number);
    q_i64(&q, row->list_this_update);
    q_i64(&q, row->list_next_update);
    return q_exec(&q, e);
}

enum err_code store_foreign_cut(struct store *s, uint32_t issuer, unsigned depth, struct err *e)
{
    struct query q = q_begin(s, Q_FOREIGN_CUT);

    q_i64(&q, issuer);
    q_i64(&q, depth);
    return q_exec(&q, e);
}

enum err_code store_foreign_each(struct store *s, uint32_t issuer, foreign_row_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_FOREIGN_EACH);
    struct foreign_row row;

    q_i64(&q, issuer);
    while (q_next(&q, e)) {
        row = (struct foreign_row){.issuer = issuer};
        row.depth = (unsigned)col_u64(&q);
        row.cert = col_bytes(&q);
        row.status = col_u8(&q);
        row.reason = col_u8(&q);
        row.status_at = col_i64(&q);
        row.list_number = col_bytes(&q);
        row.list_this_update = col_i64(&q);
        row.list_next_update = col_i64(&q);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

enum err_code store_issuer_recertify(struct store *s, const struct issuer_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_ISSUER_RECERTIFY);

    q_i64(&q, row->id);
    q_bytes(&q, row->subject);
    q_bytes(&q, row->spki);
    q_bytes(&q, row->cert);
    q_fixed(&q, row->ski);
    q_i64(&q, row->not_before);
    q_i64(&q, row->not_after);
    return q_exec_one(&q, e);
}

/* --- budgets ------------------------------------------------------------------------------------------------- */

enum err_code store_budget_insert(struct store *s, const struct budget_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_BUDGET_INSERT);

    q_text(&q, row->box);
    q_u64(&q, row->number);
    q_text(&q, row->scope);
    q_u64(&q, row->units);
    q_i64(&q, row->until);
    q_i64(&q, row->issued_at);
    q_i64(&q, row->at);
    q_u64(&q, row->spent);
    q_bytes(&q, row->file);
    return q_exec(&q, e) == E_OK ? E_OK : err_wrap(e, "budget %llu of %s", (unsigned long long)row->number, row->box);
}

enum err_code store_budget_set_file(struct store *s, const char *box, uint64_t number, struct bytes file, struct err *e)
{
    struct query q = q_begin(s, Q_BUDGET_SET_FILE);

    q_text(&q, box);
    q_u64(&q, number);
    q_bytes(&q, file);
    return q_exec_one(&q, e);
}

static void budget_get(struct query *q, struct budget_row *r)
{
    *r = (struct budget_row){0};
    col_str(q, r->box, sizeof(r->box));
    r->number = col_u64(q);
    col_str(q, r->scope, sizeof(r->scope));
    r->units = col_u64(q);
    r->until = col_i64(q);
    r->issued_at = col_i64(q);
    r->at = col_i64(q);
    r->spent = col_u64(q);
    r->file = col_bytes(q);
}

enum err_code store_budget_get(struct store *s, const char *box, uint64_t number, struct budget_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_BUDGET_GET);

    q_text(&q, box);
    q_u64(&q, number);
    if (q_one(&q, e) != E_OK)
        return e->code;
    budget_get(&q, out);
    return q_end(&q, e);
}

enum err_code store_budget_newest(struct store *s, const char *box, const char *scope, struct budget_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_BUDGET_NEWEST);

    q_text(&q, box);
    q_text(&q, scope);
    if (q_one(&q, e) != E_OK)
        return e->code;
    budget_get(&q, out);
    return q_end(&q, e);
}

enum err_code store_budget_last(struct store *s, const char *box, uint64_t *number, struct err *e)
{
    struct query q = q_begin(s, Q_BUDGET_LAST);

    q_text(&q, box);
    if (q_one(&q, e) != E_OK)
        return e->code;
    *number = col_u64(&q);
    return q_end(&q, e);
}

enum err_code store_budget_spend(struct store *s, const char *box, uint64_t number, uint64_t n, struct err *e)
{
    struct query q = q_begin(s, Q_BUDGET_SPEND);

    q_text(&q, box);
    q_u64(&q, number);
    q_u64(&q, n);
    return q_exec_one(&q, e);
}

enum err_code store_budget_each(struct store *s, const char *box, budget_row_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_BUDGET_EACH);
    struct budget_row row;

    q_text_or_null(&q, box);
    while (q_next(&q, e)) {
        budget_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

/* --- what a centre has from its boxes -------------------------------------------------------------------------- */

static void box_state_read(struct query *q, struct box_state_row *r)
{
    *r = (struct box_state_row){0};
    col_str(q, r->box, sizeof(r->box));
    col_str(q, r->epoch, sizeof(r->epoch));
    for (size_t i = 0; i < BOX_STREAMS; i++)
        r->had[i] = col_u64(q);
    r->said = col_text(q);
    r->difference = col_text(q);
    r->heard_at = col_i64(q);
}

enum err_code store_box_state_get(struct store *s, const char *box, const char *epoch, struct box_state_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_BOX_STATE_GET);

    q_text(&q, box);
    q_text(&q, epoch);
    if (q_one(&q, e) != E_OK)
        return e->code;
    box_state_read(&q, out);
    return q_end(&q, e);
}

enum err_code store_box_state_put(struct store *s, const struct box_state_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_BOX_STATE_PUT);

    q_text(&q, row->box);
    q_text(&q, row->epoch);
    for (size_t i = 0; i < BOX_STREAMS; i++)
        q_u64(&q, row->had[i]);
    q_text(&q, row->said);
    q_text(&q, row->difference);
    q_i64(&q, row->heard_at);
    return q_exec(&q, e);
}

enum err_code store_box_state_each(struct store *s, const char *box, box_state_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_BOX_STATE_EACH);
    struct box_state_row row;

    q_text_or_null(&q, box);
    while (q_next(&q, e)) {
        box_state_read(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

enum err_code store_box_record_put(struct store *s, const struct box_record_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_BOX_RECORD_PUT);

    q_text(&q, row->box);
    q_text(&q, row->epoch);
    q_i64(&q, row->stream);
    q_u64(&q, row->seq);
    q_i64(&q, row->at);
    q_i64(&q, row->outcome);
    q_text(&q, row->reason);
    q_text(&q, row->body);
    return q_exec(&q, e);
}

enum err_code store_box_record_each(struct store *s, const char *box, bool aside, uint64_t after_id, uint64_t limit,
                                    box_record_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, aside ? Q_BOX_RECORD_ASIDE : Q_BOX_RECORD_EACH);
    struct box_record_row row;

    q_text_or_null(&q, box);
    q_u64(&q, after_id);
    q_i64(&q, limit ? (int64_t)limit : -1);
    while (q_next(&q, e)) {
        row = (struct box_record_row){.id = col_u64(&q)};
        col_str(&q, row.box, sizeof(row.box));
        col_str(&q, row.epoch, sizeof(row.epoch));
        row.stream = col_u8(&q);
        row.seq = col_u64(&q);
        row.at = col_i64(&q);
        row.outcome = col_u8(&q);
        row.reason = col_text(&q);
        row.body = col_text(&q);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

enum err_code store_box_aside_count(struct store *s, const char *box, uint64_t *n, struct err *e)
{
    struct query q = q_begin(s, Q_BOX_ASIDE_COUNT);

    q_text(&q, box);
    if (q_one(&q, e) != E_OK)
        return e->code;
    *n = col_u64(&q);
    return q_end(&q, e);
}

enum err_code store_box_unit_put(struct store *s, const char *box, const char *order_no, const char *device_id, const char *state,
                                 struct err *e)
{
    struct query q = q_begin(s, Q_BOX_UNIT_PUT);

    q_text(&q, device_id);
    q_text(&q, order_no);
    q_text(&q, box);
    q_text(&q, state);
    return q_exec(&q, e);
}

enum err_code store_box_unit_elsewhere(struct store *s, const char *box, const char *device_id, char out[ID_MAX_LEN + 1], struct err *e)
{
    struct query q = q_begin(s, Q_BOX_UNIT_ELSEWHERE);
    bool found = false;

    out[0] = '\0';
    q_text(&q, device_id);
    q_text(&q, box);
    if (q_one_or_none(&q, &found, e) != E_OK || !found)
        return found ? e->code : E_OK;
    col_str(&q, out, ID_MAX_LEN + 1);
    return q_end(&q, e);
}

enum err_code store_box_unit_count(struct store *s, const char *box, box_count_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_BOX_UNIT_COUNT);

    q_text(&q, box);
    while (q_next(&q, e)) {
        const char *order_no = col_text(&q), *state = col_text(&q);
        uint64_t n = col_u64(&q);

        if (q.what[0] || !fn(arg, order_no, state, n))
            break;
    }
    return q_end(&q, e);
}

enum err_code store_box_devices(struct store *s, uint32_t issuer, uint64_t *n, struct err *e)
{
    struct query q = q_begin(s, Q_BOX_DEVICES);

    q_i64(&q, issuer);
    if (q_one(&q, e) != E_OK)
        return e->code;
    *n = col_u64(&q);
    return q_end(&q, e);
}

static void report_read(struct query *q, struct report_row *r)
{
    r->order_no = col_text(q);
    r->at = col_i64(q);
    r->report = col_bytes(q);
    r->signer = col_bytes(q);
}

enum err_code store_box_report_put(struct store *s, const char *box, const struct report_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_BOX_REPORT_PUT);

    q_text(&q, box);
    q_text(&q, row->order_no);
    q_i64(&q, row->at);
    q_bytes(&q, row->report);
    q_bytes(&q, row->signer);
    return q_exec(&q, e);
}

enum err_code store_box_report_get(struct store *s, const char *box, const char *order_no, struct report_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_BOX_REPORT_GET);

    *out = (struct report_row){0};
    q_text(&q, box);
    q_text(&q, order_no);
    if (q_one(&q, e) != E_OK)
        return e->code;
    report_read(&q, out);
    return q_end(&q, e);
}

enum err_code store_box_report_each(struct store *s, const char *box, report_row_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_BOX_REPORT_EACH);
    struct report_row row = {0};

    q_text(&q, box);
    while (q_next(&q, e)) {
        report_read(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

/* --- what a box has to tell ------------------------------------------------------------------------------------ */

enum err_code store_outbox_events(struct store *s, uint64_t after_id, uint64_t limit, outbox_event_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_OUTBOX_EVENTS);
    struct outbox_event_row row;

    q_u64(&q, after_id);
    q_u64(&q, limit);
    while (q_next(&q, e)) {
        row = (struct outbox_event_row){.id = col_u64(&q)};
        row.time = col_i64(&q);
        row.order_no = col_text(&q);
        row.domain = col_text(&q);
        row.device_id = col_text(&q);
        row.event = col_text(&q);
        row.station = col_text(&q);
        row.badge = col_text(&q);
        row.tool = col_text(&q);
        row.detail = col_text(&q);
        row.state = col_u8(&q);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

enum err_code store_outbox_last(struct store *s, uint64_t last[BOX_STREAMS], struct err *e)
{
    struct query q = q_begin(s, Q_OUTBOX_LAST);

    if (q_one(&q, e) != E_OK)
        return e->code;
    for (size_t i = 0; i < BOX_STREAMS; i++)
        last[i] = col_u64(&q);
    return q_end(&q, e);
}

enum err_code store_outbox_count(struct store *s, outbox_count_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_OUTBOX_COUNT);

    while (q_next(&q, e)) {
        const char *order_no = col_text(&q);
        unsigned state = col_u8(&q);
        uint64_t n = col_u64(&q);

        if (q.what[0] || !fn(arg, order_no, state, n))
            break;
    }
    return q_end(&q, e);
}

enum err_code store_report_signed(struct store *s, uint64_t order, struct bytes signer, struct err *e)
{
    struct query q = q_begin(s, Q_REPORT_SIGNED);

    q_u64(&q, order);
    q_bytes(&q, signer);
    return q_exec_one(&q, e);
}

enum err_code store_outbox_reports(struct store *s, uint64_t after, uint64_t limit, report_row_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_OUTBOX_REPORTS);
    struct report_row row;

    q_u64(&q, after);
    q_u64(&q, limit);
    while (q_next(&q, e)) {
        row = (struct report_row){.seq = col_u64(&q)};
        row.order_no = col_text(&q);
        row.report = col_bytes(&q);
        row.signer = col_bytes(&q);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}
