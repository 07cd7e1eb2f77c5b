/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/store/batch.h"

#include <string.h>

#include "ca/store/store_int.h"

static const char *const action_names[BATCH_ACTIONS] = {
    [BATCH_SUSPEND] = "suspend",       [BATCH_RELEASE] = "release",           [BATCH_QUARANTINE] = "quarantine",
    [BATCH_UNQUARANTINE] = "unquarantine", [BATCH_REVOKE] = "revoke",         [BATCH_COMPROMISE] = "compromise",
    [BATCH_LOSE] = "lose",             [BATCH_DECOMMISSION] = "decommission", [BATCH_SHIP] = "ship",
};

const char *batch_action_name(enum batch_action a)
{
    return (unsigned)a < BATCH_ACTIONS ? action_names[a] : "unknown";
}

bool batch_action_from_name(const char *s, enum batch_action *out)
{
    for (int i = 0; i < BATCH_ACTIONS; i++)
        if (strcmp(action_names[i], s) == 0) {
            *out = (enum batch_action)i;
            return true;
        }
    return false;
}

const char *batch_state_name(enum batch_state state)
{
    static const char *const names[BATCH_STATES] = {
        [BATCH_FREEZING] = "freezing",   [BATCH_WAITING] = "waiting", [BATCH_RUNNING] = "running",
        [BATCH_CANARY] = "canary",       [BATCH_PAUSED] = "paused",   [BATCH_FINISHING] = "finishing",
        [BATCH_DONE] = "done",           [BATCH_CANCELLED] = "cancelled", [BATCH_FAILED] = "failed",
    };

    return (unsigned)state < BATCH_STATES ? names[state] : "unknown";
}

static void batch_get(struct query *q, struct batch_row *r)
{
    struct bytes digest;

    *r = (struct batch_row){0};
    r->id = col_u64(q);
    r->action = col_u8(q);
    r->state = col_u8(q);
    r->selector = col_text(q);
    r->reason = col_u8(q);
    r->why = col_text(q);
    r->until = col_i64(q);
    r->wanted = col_text(q);
    r->created_by = col_text(q);
    r->created_at = col_i64(q);
    r->pending = col_u64(q);
    r->approved_by = col_text(q);
    r->approved_at = col_i64(q);
    r->undo_of = col_u64(q);
    r->count = col_u64(q);
    digest = col_bytes(q);
    r->frozen = digest.len == sizeof(r->digest);
    if (r->frozen)
        memcpy(r->digest, digest.p, sizeof(r->digest));
    r->canary = col_u8(q);
    r->next = col_u64(q);
    r->changed = col_u64(q);
    r->same = col_u64(q);
    r->refused = col_u64(q);
    r->seq = col_u64(q);
    r->started_at = col_i64(q);
    r->ended_at = col_i64(q);
    r->error = col_text(q);
}

enum err_code store_batch_insert(struct store *s, struct batch_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_BATCH_INSERT);

    q_i64(&q, row->action);
    q_i64(&q, row->state);
    q_text(&q, row->selector);
    q_i64(&q, row->reason);
    q_text(&q, row->why);
    q_i64(&q, row->until);
    q_text(&q, row->wanted);
    q_text(&q, row->created_by);
    q_i64(&q, row->created_at);
    q_ref(&q, row->undo_of);
    q_i64(&q, row->canary);
    if (q_exec(&q, e) != E_OK)
        return err_wrap(e, "batch");
    row->id = (uint64_t)sqlite3_last_insert_rowid(s->db);
    return E_OK;
}

enum err_code store_batch_by_id(struct store *s, uint64_t id, struct batch_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_BATCH_BY_ID);

    q_u64(&q, id);
    if (q_one(&q, e) != E_OK)
        return e->code;
    batch_get(&q, out);
    return q_end(&q, e);
}

enum err_code store_batch_each(struct store *s, bool open_only, uint64_t before_id, uint64_t limit, batch_row_fn fn, void *arg,
                               struct err *e)
{
    struct query q = q_begin(s, open_only ? Q_BATCH_EACH_OPEN : Q_BATCH_EACH);
    struct batch_row row;

    q_i64(&q, before_id ? (int64_t)before_id : INT64_MAX);
    q_i64(&q, limit == 0 || limit > INT64_MAX ? -1 : (int64_t)limit);
    while (q_next(&q, e)) {
        batch_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

static enum err_code one_number(struct query *q, uint64_t *out, struct err *e)
{
    if (q_one(q, e) != E_OK)
        return e->code;
    *out = col_u64(q);
    return q_end(q, e);
}

enum err_code store_batch_alone(struct store *s, const char *by, int64_t since, uint64_t *units, struct err *e)
{
    struct query q = q_begin(s, Q_BATCH_ALONE);

    q_text(&q, by);
    q_i64(&q, since);
    return one_number(&q, units, e);
}

enum err_code store_batch_unapproved(struct store *s, uint64_t pending, uint64_t *id, struct err *e)
{
    struct query q = q_begin(s, Q_BATCH_UNAPPROVED);

    q_u64(&q, pending);
    return one_number(&q, id, e);
}

enum err_code store_batch_half(struct store *s, uint64_t *id, struct err *e)
{
    struct query q = q_begin(s, Q_BATCH_HALF);

    return one_number(&q, id, e);
}

/* ---- the list ---- */

enum err_code store_batch_items_put(struct store *s, uint64_t batch, uint64_t first, const uint64_t *device, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        struct query q = q_begin(s, Q_BATCH_ITEM_PUT);

        q_u64(&q, batch);
        q_u64(&q, first + i);
        q_u64(&q, device[i]);
        if (q_exec(&q, e) != E_OK)
            return err_wrap(e, "list of batch %llu", (unsigned long long)batch);
    }
    return E_OK;
}

enum err_code store_batch_freeze(struct store *s, uint64_t batch, uint64_t count, const uint8_t digest[32], struct err *e)
{
    struct query q = q_begin(s, Q_BATCH_FREEZE);

    q_u64(&q, batch);
    q_u64(&q, count);
    q_bytes(&q, BYTES(digest, 32));
    return q_exec_one(&q, e);
}

enum err_code store_batch_item(struct store *s, uint64_t batch, uint64_t n, uint64_t *device, struct err *e)
{
    struct query q = q_begin(s, Q_BATCH_ITEM);

    q_u64(&q, batch);
    q_u64(&q, n);
    return one_number(&q, device, e);
}

/* ---- its course ---- */

enum err_code store_batch_set_state(struct store *s, uint64_t id, enum batch_state state, const char *error, int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_BATCH_SET_STATE);

    q_u64(&q, id);
    q_i64(&q, (int64_t)state);
    q_text(&q, error);
    q_i64(&q, state == BATCH_RUNNING ? at : 0);
    q_i64(&q, state == BATCH_DONE || state == BATCH_CANCELLED || state == BATCH_FAILED ? at : 0);
    return q_exec_one(&q, e);
}

enum err_code store_batch_set_pending(struct store *s, uint64_t id, uint64_t pending, struct err *e)
{
    struct query q = q_begin(s, Q_BATCH_PENDING);

    q_u64(&q, id);
    q_u64(&q, pending);
    return q_exec_one(&q, e);
}

enum err_code store_batch_approved(struct store *s, uint64_t id, const char *by, int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_BATCH_APPROVED);

    q_u64(&q, id);
    q_text(&q, by);
    q_i64(&q, at);
    return q_exec_one(&q, e);
}

enum err_code store_batch_advance(struct store *s, const struct batch_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_BATCH_ADVANCE);

    q_u64(&q, row->id);
    q_u64(&q, row->next);
    q_u64(&q, row->changed);
    q_u64(&q, row->same);
    q_u64(&q, row->refused);
    q_u64(&q, row->seq);
    return q_exec_one(&q, e);
}

enum err_code store_batch_refused_add(struct store *s, uint64_t batch, uint64_t n, const char *reason, struct err *e)
{
    struct query q = q_begin(s, Q_BATCH_REFUSED_PUT);

    q_u64(&q, batch);
    q_u64(&q, n);
    q_text(&q, reason);
    return q_exec(&q, e);
}

enum err_code store_batch_refused_each(struct store *s, uint64_t batch, uint64_t after_n, uint64_t limit, batch_refused_fn fn,
                                       void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_BATCH_REFUSED_EACH);
    struct batch_refused row;

    q_u64(&q, batch);
    q_u64(&q, after_n);
    q_i64(&q, limit == 0 || limit > INT64_MAX ? -1 : (int64_t)limit);
    while (q_next(&q, e)) {
        row.n = col_u64(&q);
        row.domain = col_text(&q);
        row.device_id = col_text(&q);
        row.state = device_state_name((enum device_state)col_u8(&q));
        row.reason = col_text(&q);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

enum err_code store_batch_of_device(struct store *s, uint64_t device, uint64_t *batch, struct err *e)
{
    struct query q = q_begin(s, Q_BATCH_OF_DEVICE);

    q_u64(&q, device);
    return one_number(&q, batch, e);
}

enum err_code store_batch_still(struct store *s, uint64_t batch, enum device_state state, uint64_t after_n, uint64_t limit,
                                batch_device_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_BATCH_STILL);
    struct device_row row;
    uint64_t n;

    q_u64(&q, batch);
    q_u64(&q, after_n);
    q_i64(&q, (int64_t)state);
    q_i64(&q, limit == 0 || limit > INT64_MAX ? -1 : (int64_t)limit);
    while (q_next(&q, e)) {
        n = col_u64(&q);
        device_get(&q, &row);
        if (q.what[0] || !fn(arg, n, &row))
            break;
    }
    return q_end(&q, e);
}
