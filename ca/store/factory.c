/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of the factory line: work orders and their counts, stations, units and their events. */
#include "ca/store/factory.h"

#include "base/auto.h"
#include "ca/store/store_int.h"

static uint64_t last_id(struct store *s)
{
    return (uint64_t)sqlite3_last_insert_rowid(s->db);
}

static int64_t limit_or_all(uint64_t limit)
{
    return limit == 0 || limit > INT64_MAX ? -1 : (int64_t)limit;
}

/* --- work orders --------------------------------------------------------------------------------------------- */

const char *order_state_name(enum order_state state)
{
    static const char *const names[ORDER_STATES] = {
        [ORDER_OPEN] = "open", [ORDER_CLOSING] = "closing", [ORDER_CLOSED] = "closed", [ORDER_OPENING] = "opening",
    };

    return (unsigned)state < ORDER_STATES ? names[state] : "unknown";
}

static void str_copy(char *out, size_t size, const char *s)
{
    size_t n = strnlen(s, size - 1);

    memcpy(out, s, n);
    out[n] = '\0';
}

/* The text of a list, with a NUL behind it that is no part of it. */
static const char *list_text(const struct text_list *l)
{
    struct buf *b = (struct buf *)&l->text;

    if (!buf_reserve(b, 1))
        return "";
    b->p[b->len] = '\0';
    return (const char *)b->p;
}

void order_row_from_spec(struct order_row *row, const struct order_spec *spec)
{
    *row = (struct order_row){
        .key_mode = (uint8_t)spec->key_mode,
        .quantity = spec->quantity,
        .by_list = spec->by_list,
        .first = spec->first,
        .digits = spec->digits,
        .stations = list_text(&spec->stations),
        .firmware = list_text(&spec->firmware),
        .targets = list_text(&spec->targets),
        .not_before = spec->not_before,
        .not_after = spec->not_after,
        .rekeys_allowed = spec->rekeys,
        .rework_allowed = spec->rework,
        .defer_allowed = spec->defer,
        .orphan_after_s = spec->orphan_after_s,
        .evidence_required = spec->evidence_required,
        .customer_key = buf_bytes(&spec->customer_key),
        .note = spec->note,
    };
    str_copy(row->order_no, sizeof(row->order_no), spec->order_no);
    str_copy(row->domain, sizeof(row->domain), spec->domain);
    str_copy(row->product, sizeof(row->product), spec->product);
    str_copy(row->model, sizeof(row->model), spec->model);
    str_copy(row->lot, sizeof(row->lot), spec->lot);
    str_copy(row->line, sizeof(row->line), spec->line);
    str_copy(row->profile, sizeof(row->profile), spec->profile);
    str_copy(row->prefix, sizeof(row->prefix), spec->prefix);
    str_copy(row->signer, sizeof(row->signer), spec->signer);
    str_copy(row->kid, sizeof(row->kid), spec->kid);
    memcpy(row->file_hash, spec->file_hash, sizeof(row->file_hash));
}

static void order_get(struct query *q, struct order_row *r)
{
    *r = (struct order_row){0};
    r->id = col_u64(q);
    col_str(q, r->order_no, sizeof(r->order_no));
    col_str(q, r->domain, sizeof(r->domain));
    col_str(q, r->product, sizeof(r->product));
    col_str(q, r->model, sizeof(r->model));
    col_str(q, r->lot, sizeof(r->lot));
    col_str(q, r->line, sizeof(r->line));
    col_str(q, r->profile, sizeof(r->profile));
    r->key_mode = col_u8(q);
    r->quantity = col_u64(q);
    r->by_list = col_u8(q) != 0;
    col_str(q, r->prefix, sizeof(r->prefix));
    r->first = col_u64(q);
    r->digits = (unsigned)col_u64(q);
    r->stations = col_text(q);
    r->firmware = col_text(q);
    r->targets = col_text(q);
    r->not_before = col_i64(q);
    r->not_after = col_i64(q);
    r->rekeys_allowed = col_u64(q);
    r->rework_allowed = col_u64(q);
    r->defer_allowed = col_u64(q);
    r->orphan_after_s = col_i64(q);
    r->evidence_required = col_u8(q) != 0;
    r->customer_key = col_bytes(q);
    r->note = col_text(q);
    col_fixed(q, r->file_hash, sizeof(r->file_hash));
    col_str(q, r->signer, sizeof(r->signer));
    col_str(q, r->kid, sizeof(r->kid));
    r->state = col_u8(q);
    r->opened_at = col_i64(q);
    r->closed_at = col_i64(q);
    r->units_after = col_u64(q);
}

static enum err_code order_parts(struct store *s, uint64_t id, struct err *e)
{
    struct query q = q_begin(s, Q_ORDER_REPORT_INSERT);

    q_u64(&q, id);
    if (q_exec(&q, e) != E_OK)
        return e->code;
    q = q_begin(s, Q_TALLY_INSERT);
    q_u64(&q, id);
    return q_exec(&q, e);
}

enum err_code store_order_insert(struct store *s, struct order_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_ORDER_INSERT);
    uint64_t id = 0, after = 0;

    q_text(&q, row->order_no);
    q_text(&q, row->domain);
    q_text(&q, row->product);
    q_text(&q, row->model);
    q_text(&q, row->lot);
    q_text(&q, row->line);
    q_text(&q, row->profile);
    q_i64(&q, row->key_mode);
    q_u64(&q, row->quantity);
    q_i64(&q, row->by_list);
    q_text(&q, row->prefix);
    q_u64(&q, row->first);
    q_i64(&q, row->digits);
    q_text(&q, row->stations);
    q_text(&q, row->firmware);
    q_text(&q, row->targets);
    q_i64(&q, row->not_before);
    q_i64(&q, row->not_after);
    q_u64(&q, row->rekeys_allowed);
    q_u64(&q, row->rework_allowed);
    q_u64(&q, row->defer_allowed);
    q_i64(&q, row->orphan_after_s);
    q_i64(&q, row->evidence_required);
    q_bytes(&q, row->customer_key);
    q_text(&q, row->note);
    q_fixed(&q, row->file_hash);
    q_text(&q, row->signer);
    q_text(&q, row->kid);
    q_i64(&q, row->state);
    q_i64(&q, row->opened_at);
    q_i64(&q, row->closed_at);
    if (q_one(&q, e) == E_OK) {
        id = col_u64(&q);
        after = col_u64(&q);
    }
    if (q_end(&q, e) != E_OK)
        return err_wrap(e, "work order %s", row->order_no);
    row->id = id;
    row->units_after = after;
    return order_parts(s, id, e);
}

enum err_code store_order_by_no(struct store *s, const char *order_no, struct order_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_ORDER_BY_NO);

    q_text(&q, order_no);
    if (q_one(&q, e) != E_OK)
        return e->code;
    order_get(&q, out);
    return q_end(&q, e);
}

enum err_code store_order_set_state(struct store *s, uint64_t id, enum order_state state, int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_ORDER_SET_STATE);

    q_u64(&q, id);
    q_i64(&q, (int64_t)state);
    q_i64(&q, at);
    return q_exec_one(&q, e);
}

enum err_code store_order_each(struct store *s, bool live_only, uint64_t after_id, uint64_t limit, order_row_fn fn, void *arg,
                               struct err *e)
{
    struct query q = q_begin(s, live_only ? Q_ORDER_EACH_LIVE : Q_ORDER_EACH);
    struct order_row row;

    q_u64(&q, after_id);
    q_i64(&q, limit_or_all(limit));
    while (q_next(&q, e)) {
        order_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

static enum err_code order_fits(const struct buf *out, struct err *e)
{
    return buf_ok(out) ? E_OK : err_set(e, E_NOMEM, "work order does not fit %zu octets", out->max);
}

enum err_code store_order_file_add(struct store *s, uint64_t id, uint64_t part, struct bytes octets, struct err *e)
{
    struct query q = q_begin(s, Q_ORDER_FILE_ADD);

    q_u64(&q, id);
    q_u64(&q, part);
    q_bytes(&q, octets);
    return q_exec(&q, e);
}

enum err_code store_order_file(struct store *s, uint64_t id, struct buf *file, struct err *e)
{
    struct query q = q_begin(s, Q_ORDER_FILE);

    q_u64(&q, id);
    buf_reset(file);
    while (q_next(&q, e))
        buf_add_bytes(file, col_bytes(&q));
    return q_end(&q, e) == E_OK ? order_fits(file, e) : e->code;
}

enum err_code store_order_report(struct store *s, uint64_t id, struct buf *report, struct err *e)
{
    struct query q = q_begin(s, Q_ORDER_REPORT);

    q_u64(&q, id);
    if (q_one(&q, e) != E_OK)
        return e->code;
    buf_reset(report);
    buf_add_bytes(report, col_bytes(&q));
    return q_end(&q, e) == E_OK ? order_fits(report, e) : e->code;
}

enum err_code store_order_set_report(struct store *s, uint64_t id, struct bytes report, struct err *e)
{
    struct query q = q_begin(s, Q_ORDER_SET_REPORT);

    q_u64(&q, id);
    q_bytes(&q, report);
    return q_exec_one(&q, e);
}

enum err_code store_order_id_add(struct store *s, uint64_t id, const char *device_id, struct err *e)
{
    struct query q = q_begin(s, Q_ORDER_ID_ADD);

    q_u64(&q, id);
    q_text(&q, device_id);
    return q_exec(&q, e);
}

enum err_code store_order_id_has(struct store *s, uint64_t id, const char *device_id, bool *has, struct err *e)
{
    struct query q = q_begin(s, Q_ORDER_ID_HAS);

    q_u64(&q, id);
    q_text(&q, device_id);
    if (q_one_or_none(&q, has, e) != E_OK)
        return e->code;
    return *has ? q_end(&q, e) : E_OK;
}

static enum err_code one_number(struct query *q, uint64_t *n, struct err *e)
{
    if (q_one(q, e) != E_OK)
        return e->code;
    *n = col_u64(q);
    return q_end(q, e);
}

enum err_code store_order_id_count(struct store *s, uint64_t id, uint64_t *n, struct err *e)
{
    struct query q = q_begin(s, Q_ORDER_ID_COUNT);

    q_u64(&q, id);
    return one_number(&q, n, e);
}

/* --- counts -------------------------------------------------------------------------------------------------- */

/* What an order's own counts and those taken from its units have in common. */
static void tally_columns(struct query *q, struct order_tally *out)
{
    out->reserved = col_i64(q);
    out->issued = col_i64(q);
    out->confirmed = col_i64(q);
    out->packed = col_i64(q);
    out->shipped = col_i64(q);
    out->unused = col_i64(q);
    out->voided = col_i64(q);
    out->orphaned = col_i64(q);
    out->scrapped = col_i64(q);
    out->rekeyed = col_i64(q);
    out->reworked = col_i64(q);
}

enum err_code store_tally(struct store *s, uint64_t order, struct order_tally *out, struct err *e)
{
    struct query q = q_begin(s, Q_TALLY);

    *out = (struct order_tally){0};
    q_u64(&q, order);
    if (q_one(&q, e) != E_OK)
        return e->code;
    tally_columns(&q, out);
    out->next = col_i64(&q);
    out->captured = col_i64(&q);
    return q_end(&q, e);
}

enum err_code store_tally_add(struct store *s, uint64_t order, const struct order_tally *c, struct err *e)
{
    struct query q = q_begin(s, Q_TALLY_ADD);

    q_u64(&q, order);
    q_i64(&q, c->next);
    q_i64(&q, c->reserved);
    q_i64(&q, c->captured);
    q_i64(&q, c->issued);
    q_i64(&q, c->confirmed);
    q_i64(&q, c->packed);
    q_i64(&q, c->shipped);
    q_i64(&q, c->unused);
    q_i64(&q, c->voided);
    q_i64(&q, c->orphaned);
    q_i64(&q, c->scrapped);
    q_i64(&q, c->rekeyed);
    q_i64(&q, c->reworked);
    return q_exec_one(&q, e);
}

enum err_code store_tally_of_units(struct store *s, uint64_t order, uint64_t after, uint64_t to, struct order_tally *out,
                                   struct err *e)
{
    struct query q = q_begin(s, Q_TALLY_OF_UNITS);

    *out = (struct order_tally){0};
    q_u64(&q, order);
    q_u64(&q, after);
    q_u64(&q, to);
    if (q_one(&q, e) != E_OK)
        return e->code;
    tally_columns(&q, out);
    out->stock = col_i64(&q);
    return q_end(&q, e);
}

enum err_code store_span_of_units(struct store *s, uint64_t order, uint64_t after, uint64_t to, int64_t *first, int64_t *last,
                                  struct err *e)
{
    struct query q = q_begin(s, Q_SPAN_OF_UNITS);

    q_u64(&q, order);
    q_u64(&q, after);
    q_u64(&q, to);
    if (q_one(&q, e) != E_OK)
        return e->code;
    *first = col_i64(&q);
    *last = col_i64(&q);
    return q_end(&q, e);
}

enum err_code store_units_reworked(struct store *s, uint64_t order, uint64_t *n, struct err *e)
{
    struct query q = q_begin(s, Q_UNITS_REWORKED);

    q_u64(&q, order);
    return one_number(&q, n, e);
}

enum err_code store_order_states(struct store *s, uint64_t order, uint64_t counts[UNIT_STATES], struct err *e)
{
    struct query q = q_begin(s, Q_ORDER_STATE_COUNTS);
    uint8_t state;

    memset(counts, 0, UNIT_STATES * sizeof(counts[0]));
    q_u64(&q, order);
    while (q_next(&q, e)) {
        state = col_u8(&q);
        if (state < UNIT_STATES)
            counts[state] = col_u64(&q);
    }
    return q_end(&q, e);
}

enum err_code store_order_refused(struct store *s, uint64_t order, const char *reason, struct err *e)
{
    struct query q = q_begin(s, Q_ORDER_REFUSED);

    q_u64(&q, order);
    q_text(&q, reason);
    return q_exec(&q, e);
}

enum err_code store_order_refusals(struct store *s, uint64_t order, order_refusal_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_ORDER_REFUSALS);
    const char *reason;

    q_u64(&q, order);
    while (q_next(&q, e)) {
        reason = col_text(&q);
        if (!fn(arg, reason, col_u64(&q)))
            break;
    }
    return q_end(&q, e);
}

/* --- stations ------------------------------------------------------------------------------------------------ */

const char *station_role_name(unsigned bit)
{
    static const char *const names[STATION_ROLES] = {"load", "issue", "verify", "rework", "pack", "qa"};

    return bit < STATION_ROLES ? names[bit] : "unknown";
}

static void station_get(struct query *q, struct station_row *r)
{
    *r = (struct station_row){0};
    r->id = col_u64(q);
    col_str(q, r->name, sizeof(r->name));
    col_str(q, r->domain, sizeof(r->domain));
    col_str(q, r->line, sizeof(r->line));
    r->roles = (unsigned)col_u64(q);
    col_str(q, r->profile, sizeof(r->profile));
    r->created_at = col_i64(q);
    r->not_after = col_i64(q);
    r->revoked_at = col_i64(q);
}

enum err_code store_station_insert(struct store *s, struct station_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_STATION_INSERT);

    q_text(&q, row->name);
    q_text(&q, row->domain);
    q_text(&q, row->line);
    q_i64(&q, row->roles);
    q_text(&q, row->profile);
    q_i64(&q, row->created_at);
    q_i64(&q, row->not_after);
    q_i64(&q, row->revoked_at);
    if (q_exec(&q, e) != E_OK)
        return err_wrap(e, "station %s", row->name);
    row->id = last_id(s);
    return E_OK;
}

static enum err_code station_one(struct query *q, struct station_row *out, struct err *e)
{
    if (q_one(q, e) != E_OK)
        return e->code;
    station_get(q, out);
    return q_end(q, e);
}

enum err_code store_station_by_name(struct store *s, const char *name, struct station_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_STATION_BY_NAME);

    q_text(&q, name);
    return station_one(&q, out, e);
}

enum err_code store_station_by_id(struct store *s, uint64_t id, struct station_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_STATION_BY_ID);

    q_u64(&q, id);
    return station_one(&q, out, e);
}

enum err_code store_station_revoke(struct store *s, uint64_t id, int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_STATION_REVOKE);

    q_u64(&q, id);
    q_i64(&q, at);
    return q_exec_one(&q, e);
}

enum err_code store_station_each(struct store *s, station_row_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_STATION_EACH);
    struct station_row row;

    while (q_next(&q, e)) {
        station_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

/* --- units --------------------------------------------------------------------------------------------------- */

static void unit_get(struct query *q, struct unit_row *r)
{
    *r = (struct unit_row){0};
    r->id = col_u64(q);
    r->order = col_u64(q);
    r->device = col_u64(q);
    r->ordinal = col_u64(q);
    r->state = col_u8(q);
    r->cert = col_u64(q);
    r->reserved_at = col_i64(q);
    r->issued_at = col_i64(q);
    r->confirmed_at = col_i64(q);
    r->packed_at = col_i64(q);
    r->shipped_at = col_i64(q);
    r->ended_at = col_i64(q);
    r->due_at = col_i64(q);
    r->rekeys = col_u64(q);
    r->reworks = col_u64(q);
    r->device_id = col_text(q);
}

enum err_code store_unit_insert(struct store *s, struct unit_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_UNIT_INSERT);

    q_u64(&q, row->order);
    q_u64(&q, row->device);
    q_u64(&q, row->ordinal);
    q_i64(&q, row->state);
    q_ref(&q, row->cert);
    q_i64(&q, row->reserved_at);
    q_i64(&q, row->issued_at);
    q_i64(&q, row->confirmed_at);
    q_i64(&q, row->packed_at);
    q_i64(&q, row->shipped_at);
    q_i64(&q, row->ended_at);
    q_i64(&q, row->due_at);
    q_u64(&q, row->rekeys);
    q_u64(&q, row->reworks);
    if (q_exec(&q, e) != E_OK)
        return err_wrap(e, "unit of device %llu", (unsigned long long)row->device);
    row->id = last_id(s);
    return E_OK;
}

enum err_code store_unit_update(struct store *s, const struct unit_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_UNIT_UPDATE);

    q_u64(&q, row->id);
    q_i64(&q, row->state);
    q_ref(&q, row->cert);
    q_i64(&q, row->issued_at);
    q_i64(&q, row->confirmed_at);
    q_i64(&q, row->packed_at);
    q_i64(&q, row->shipped_at);
    q_i64(&q, row->ended_at);
    q_i64(&q, row->due_at);
    q_u64(&q, row->rekeys);
    q_u64(&q, row->reworks);
    return q_exec_one(&q, e);
}

static enum err_code unit_one(struct query *q, struct unit_row *out, struct err *e)
{
    if (q_one(q, e) != E_OK)
        return e->code;
    unit_get(q, out);
    return q_end(q, e);
}

enum err_code store_unit_find(struct store *s, uint64_t order, uint64_t device, struct unit_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_UNIT_FIND);

    q_u64(&q, device);
    q_u64(&q, order);
    return unit_one(&q, out, e);
}

enum err_code store_unit_by_id(struct store *s, uint64_t id, struct unit_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_UNIT_BY_ID);

    q_u64(&q, id);
    return unit_one(&q, out, e);
}

enum err_code store_unit_newest(struct store *s, uint64_t device, struct unit_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_UNIT_NEWEST);

    q_u64(&q, device);
    return unit_one(&q, out, e);
}

static enum err_code unit_rows(struct query *q, unit_row_fn fn, void *arg, struct err *e)
{
    struct unit_row row;

    while (q_next(q, e)) {
        unit_get(q, &row);
        if (q->what[0] || !fn(arg, &row))
            break;
    }
    return q_end(q, e);
}

enum err_code store_unit_each(struct store *s, uint64_t order, int state, uint64_t after_id, uint64_t limit, unit_row_fn fn,
                              void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_UNIT_EACH);

    q_u64(&q, order);
    q_i64(&q, state);
    q_u64(&q, after_id);
    q_i64(&q, limit_or_all(limit));
    return unit_rows(&q, fn, arg, e);
}

enum err_code store_unit_due(struct store *s, int64_t now, uint64_t limit, unit_row_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_UNIT_DUE);

    q_i64(&q, now);
    q_i64(&q, limit_or_all(limit));
    return unit_rows(&q, fn, arg, e);
}

enum err_code store_unit_last(struct store *s, uint64_t *id, struct err *e)
{
    struct query q = q_begin(s, Q_UNIT_LAST);

    return one_number(&q, id, e);
}

enum err_code store_request_find(struct store *s, uint64_t order, uint64_t station, const char *token, uint64_t *unit,
                                 struct err *e)
{
    struct query q = q_begin(s, Q_REQUEST_FIND);

    q_u64(&q, order);
    q_u64(&q, station);
    q_text(&q, token);
    return one_number(&q, unit, e);
}

enum err_code store_request_put(struct store *s, uint64_t order, uint64_t station, const char *token, uint64_t unit,
                                struct err *e)
{
    struct query q = q_begin(s, Q_REQUEST_PUT);

    q_u64(&q, order);
    q_u64(&q, station);
    q_text(&q, token);
    q_u64(&q, unit);
    return q_exec(&q, e);
}

/* --- events -------------------------------------------------------------------------------------------------- */

enum err_code store_unit_event_add(struct store *s, struct unit_event_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_EVENT_INSERT);

    q_u64(&q, row->unit);
    q_i64(&q, row->time);
    q_text(&q, row->event);
    q_ref(&q, row->station);
    q_text(&q, row->badge);
    q_text(&q, row->tool);
    q_text(&q, row->detail ? row->detail : "{}");
    if (q_exec(&q, e) != E_OK)
        return err_wrap(e, "event of unit %llu", (unsigned long long)row->unit);
    row->id = last_id(s);
    return E_OK;
}

enum err_code store_unit_event_count(struct store *s, uint64_t unit, uint64_t most, uint64_t *n, struct err *e)
{
    struct query q = q_begin(s, Q_EVENT_COUNT);

    q_u64(&q, unit);
    q_u64(&q, most);
    return one_number(&q, n, e);
}

enum err_code store_unit_event_newest(struct store *s, uint64_t unit, const char *event, struct buf *detail, struct err *e)
{
    struct query q = q_begin(s, Q_EVENT_NEWEST);
    bool found;

    q_u64(&q, unit);
    q_text(&q, event);
    found = q_next(&q, e);
    if (found)
        buf_add_str(detail, col_text(&q));
    if (q_end(&q, e) != E_OK)
        return e->code;
    if (!found)
        return err_set(e, E_NOT_FOUND, "unit %llu has no event %s", (unsigned long long)unit, event);
    return buf_ok(detail) ? E_OK : err_set(e, E_NOMEM, "event of a unit");
}

enum err_code store_unit_event_each(struct store *s, uint64_t unit, uint64_t limit, unit_event_row_fn fn, void *arg,
                                    struct err *e)
{
    struct query q = q_begin(s, Q_EVENT_EACH);
    struct unit_event_row row;

    q_u64(&q, unit);
    q_i64(&q, limit_or_all(limit));
    while (q_next(&q, e)) {
        row = (struct unit_event_row){0};
        row.id = col_u64(&q);
        row.unit = col_u64(&q);
        row.time = col_i64(&q);
        row.event = col_text(&q);
        row.station = col_u64(&q);
        row.badge = col_text(&q);
        row.tool = col_text(&q);
        row.detail = col_text(&q);
        row.station_name = col_text(&q);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}
