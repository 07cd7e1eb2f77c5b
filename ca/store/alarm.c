/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/store/alarm.h"

#include "ca/store/store_int.h"

static void alarm_get(struct query *q, struct alarm_row *row)
{
    row->id = col_u64(q);
    row->time = col_i64(q);
    row->kind = col_text(q);
    row->domain = col_text(q);
    row->object = col_text(q);
    row->text = col_text(q);
    row->cleared_at = col_i64(q);
    row->acked_at = col_i64(q);
    row->acked_by = col_text(q);
    row->note = col_text(q);
}

enum err_code store_alarm_insert(struct store *s, struct alarm_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_ALARM_INSERT);

    q_i64(&q, row->time);
    q_text(&q, row->kind);
    q_text(&q, row->domain);
    q_text(&q, row->object);
    q_text(&q, row->text);
    q_i64(&q, row->cleared_at);
    if (q_exec(&q, e) != E_OK)
        return err_wrap(e, "alarm %s", row->kind);
    row->id = (uint64_t)sqlite3_last_insert_rowid(s->db);
    return E_OK;
}

enum err_code store_alarm_clear(struct store *s, const char *kind, const char *domain, const char *object, int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_ALARM_CLEAR);

    q_text(&q, kind);
    q_text(&q, domain);
    q_text(&q, object);
    q_i64(&q, at);
    return q_exec_one(&q, e);
}

static enum err_code each(struct query q, alarm_row_fn fn, void *arg, struct err *e)
{
    struct alarm_row row;

    while (q_next(&q, e)) {
        alarm_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

enum err_code store_alarm_each(struct store *s, bool open_only, alarm_row_fn fn, void *arg, struct err *e)
{
    return each(q_begin(s, open_only ? Q_ALARM_OPEN : Q_ALARM_EACH), fn, arg, e);
}

enum err_code store_alarm_page(struct store *s, bool open_only, uint64_t after_id, uint64_t limit, alarm_row_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_ALARM_PAGE);

    q_u64(&q, after_id);
    q_i64(&q, open_only);
    q_u64(&q, limit);
    return each(q, fn, arg, e);
}

enum err_code store_alarm_by_id(struct store *s, uint64_t id, struct alarm_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_ALARM_BY_ID);

    q_u64(&q, id);
    if (q_one(&q, e) != E_OK)
        return e->code;
    alarm_get(&q, out);
    return q_end(&q, e);
}

enum err_code store_alarm_is_open(struct store *s, const char *kind, const char *domain, const char *object, bool *open, struct err *e)
{
    struct query q = q_begin(s, Q_ALARM_IS_OPEN);

    *open = false;
    q_text(&q, kind);
    q_text(&q, domain);
    q_text(&q, object);
    if (q_one(&q, e) != E_OK)
        return e->code;
    *open = col_i64(&q) != 0;
    return q_end(&q, e);
}

enum err_code store_alarm_ack(struct store *s, uint64_t id, const char *by, const char *note, int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_ALARM_ACK);

    q_u64(&q, id);
    q_text(&q, by);
    q_text(&q, note);
    q_i64(&q, at);
    return q_exec_one(&q, e);
}

enum err_code store_alarm_event_each(struct store *s, uint64_t after_seq, uint64_t limit, alarm_event_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_ALARM_EVENT_EACH);
    struct alarm_event_row row;

    q_u64(&q, after_seq);
    q_u64(&q, limit);
    while (q_next(&q, e)) {
        row.seq = col_u64(&q);
        row.what = col_u8(&q);
        row.time = col_i64(&q);
        alarm_get(&q, &row.alarm);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

enum err_code store_alarm_event_last(struct store *s, uint64_t *seq, struct err *e)
{
    struct query q = q_begin(s, Q_ALARM_EVENT_LAST);

    *seq = 0;
    if (q_one(&q, e) != E_OK)
        return e->code;
    *seq = col_u64(&q);
    return q_end(&q, e);
}
