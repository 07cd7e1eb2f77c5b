/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of the life of devices. */
#include "ca/store/life.h"

#include "ca/store/store_int.h"

enum err_code store_device_event_add(struct store *s, const struct device_event_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_DEVICE_EVENT_ADD);

    q_u64(&q, row->device);
    q_i64(&q, row->time);
    q_i64(&q, (int64_t)row->from);
    q_i64(&q, (int64_t)row->to);
    q_text(&q, row->actor);
    q_text(&q, row->reason);
    q_text(&q, row->evidence);
    q_u64(&q, row->batch);
    q_u64(&q, row->audit_seq);
    return q_exec(&q, e);
}

enum err_code store_device_event_each(struct store *s, uint64_t device, uint64_t after_id, device_event_fn fn, void *arg,
                                      struct err *e)
{
    struct query q = q_begin(s, Q_DEVICE_EVENT_EACH);
    struct device_event_row row;

    q_u64(&q, device);
    q_u64(&q, after_id);
    while (q_next(&q, e)) {
        row.id = col_u64(&q);
        row.device = col_u64(&q);
        row.time = col_i64(&q);
        row.from = (enum device_state)col_u8(&q);
        row.to = (enum device_state)col_u8(&q);
        row.actor = col_text(&q);
        row.reason = col_text(&q);
        row.evidence = col_text(&q);
        row.batch = col_u64(&q);
        row.audit_seq = col_u64(&q);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}
