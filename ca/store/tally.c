/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/store/tally.h"

#include "ca/store/store_int.h"

static enum err_code each_group(struct store *s, enum stmt_id id, bool named, tally_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, id);

    while (q_next(&q, e)) {
        const char *name = named ? col_text(&q) : "";
        unsigned number = named ? 0 : col_u8(&q);

        if (!fn(arg, name, number, col_u64(&q)))
            break;
    }
    return q_end(&q, e);
}

enum err_code store_alarm_tally(struct store *s, tally_fn fn, void *arg, struct err *e)
{
    return each_group(s, Q_ALARM_TALLY, true, fn, arg, e);
}

enum err_code store_batch_tally(struct store *s, tally_fn fn, void *arg, struct err *e)
{
    return each_group(s, Q_BATCH_TALLY, false, fn, arg, e);
}

enum err_code store_pending_tally(struct store *s, uint64_t *waiting, struct err *e)
{
    struct query q = q_begin(s, Q_PENDING_TALLY);

    *waiting = 0;
    if (q_one(&q, e) != E_OK)
        return e->code;
    *waiting = col_u64(&q);
    return q_end(&q, e);
}

enum err_code store_device_tally(struct store *s, uint64_t *after, uint64_t limit, uint64_t n[DEVICE_STATES], struct err *e)
{
    struct query q = q_begin(s, Q_DEVICE_TALLY);
    uint64_t last = *after;

    q_u64(&q, *after);
    q_u64(&q, limit);
    while (q_next(&q, e)) {
        uint8_t state = col_u8(&q);
        uint64_t count = col_u64(&q), id = col_u64(&q);

        if (state < DEVICE_STATES)
            n[state] += count;
        last = id > last ? id : last;
    }
    *after = last;
    return q_end(&q, e);
}

enum err_code store_renewal_tally(struct store *s, uint64_t *after, uint64_t limit, int64_t now, struct renewal_tally *t, struct err *e)
{
    struct query q = q_begin(s, Q_RENEWAL_TALLY);
    uint64_t last;
    int64_t due_since;

    q_u64(&q, *after);
    q_u64(&q, limit);
    q_i64(&q, now);
    q_i64(&q, PROFILE_LDEVID);
    if (q_one(&q, e) != E_OK)
        return e->code;
    last = col_u64(&q);
    t->good += col_u64(&q);
    t->due += col_u64(&q);
    t->expired += col_u64(&q);
    due_since = col_i64(&q);
    if (due_since && now - due_since > t->lag_s)
        t->lag_s = now - due_since;
    if (last)
        *after = last;
    return q_end(&q, e);
}
