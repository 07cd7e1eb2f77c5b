/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/store/capture.h"

#include "ca/store/store_int.h"

const char *capture_state_name(enum capture_state state)
{
    return state == CAPTURE_WAITS ? "waiting" : state == CAPTURE_SET_ASIDE ? "set-aside" : "unknown";
}

static void capture_get(struct query *q, struct capture_row *r)
{
    *r = (struct capture_row){0};
    r->unit = col_u64(q);
    r->order = col_u64(q);
    r->station = col_u64(q);
    r->state = col_u8(q);
    r->badge = col_text(q);
    r->tool = col_text(q);
    col_fixed(q, r->spki_hash, sizeof(r->spki_hash));
    r->csr = col_bytes(q);
    r->captured_at = col_i64(q);
    r->try_at = col_i64(q);
    r->tries = col_u64(q);
    r->reason = col_text(q);
    r->order_no = col_text(q);
    r->device_id = col_text(q);
    r->station_name = col_text(q);
}

enum err_code store_capture_put(struct store *s, const struct capture_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_CAPTURE_PUT);

    q_u64(&q, row->unit);
    q_u64(&q, row->order);
    q_u64(&q, row->station);
    q_text(&q, row->badge);
    q_text(&q, row->tool);
    q_fixed(&q, row->spki_hash);
    q_bytes(&q, row->csr);
    q_i64(&q, row->captured_at);
    q_i64(&q, row->try_at);
    return q_exec(&q, e);
}

enum err_code store_capture_find(struct store *s, uint64_t unit, struct capture_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_CAPTURE_FIND);

    q_u64(&q, unit);
    if (q_one(&q, e) != E_OK)
        return e->code;
    capture_get(&q, out);
    return q_end(&q, e);
}

enum err_code store_capture_set(struct store *s, uint64_t unit, enum capture_state state, int64_t try_at, uint64_t tries,
                                const char *reason, struct err *e)
{
    struct query q = q_begin(s, Q_CAPTURE_SET);

    q_u64(&q, unit);
    q_i64(&q, (int64_t)state);
    q_i64(&q, try_at);
    q_u64(&q, tries);
    q_text(&q, reason);
    return q_exec_one(&q, e);
}

enum err_code store_capture_delete(struct store *s, uint64_t unit, struct err *e)
{
    struct query q = q_begin(s, Q_CAPTURE_DELETE);

    q_u64(&q, unit);
    return q_exec(&q, e);
}

static enum err_code each(struct query *q, capture_row_fn fn, void *arg, struct err *e)
{
    struct capture_row row;

    while (q_next(q, e)) {
        capture_get(q, &row);
        if (q->what[0] || !fn(arg, &row))
            break;
    }
    return q_end(q, e);
}

static int64_t limit_or_all(uint64_t limit)
{
    return limit == 0 || limit > INT64_MAX ? -1 : (int64_t)limit;
}

enum err_code store_capture_due(struct store *s, uint64_t order, int64_t now, uint64_t limit, capture_row_fn fn, void *arg,
                                struct err *e)
{
    struct query q = q_begin(s, Q_CAPTURE_DUE);

    q_u64(&q, order);
    q_i64(&q, now);
    q_i64(&q, limit_or_all(limit));
    return each(&q, fn, arg, e);
}

enum err_code store_capture_each(struct store *s, uint64_t order, uint64_t after, uint64_t limit, capture_row_fn fn, void *arg,
                                 struct err *e)
{
    struct query q = q_begin(s, Q_CAPTURE_EACH);

    q_u64(&q, order);
    q_u64(&q, after);
    q_i64(&q, limit_or_all(limit));
    return each(&q, fn, arg, e);
}

enum err_code store_capture_counts(struct store *s, struct capture_counts *out, struct err *e)
{
    struct query q = q_begin(s, Q_CAPTURE_COUNTS);

    if (q_one(&q, e) != E_OK)
        return e->code;
    out->waiting = col_u64(&q);
    out->set_aside = col_u64(&q);
    out->oldest = col_i64(&q);
    return q_end(&q, e);
}
