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

/* ---- what falls due ---- */

enum err_code store_device_due_put(struct store *s, uint64_t device, enum device_due kind, int64_t due_at, const char *by,
                                   struct err *e)
{
    struct query q = q_begin(s, Q_DUE_PUT);

    q_u64(&q, device);
    q_i64(&q, (int64_t)kind);
    q_i64(&q, due_at);
    q_text(&q, by);
    return q_exec(&q, e);
}

static enum err_code due_one(struct query *q, struct device_due_row *out, struct err *e)
{
    if (q_one(q, e) != E_OK)
        return e->code;
    out->device = col_u64(q);
    out->kind = (enum device_due)col_u8(q);
    out->due_at = col_i64(q);
    col_str(q, out->by, sizeof(out->by));
    col_str(q, out->domain, sizeof(out->domain));
    col_str(q, out->device_id, sizeof(out->device_id));
    return q_end(q, e);
}

enum err_code store_device_due_get(struct store *s, uint64_t device, enum device_due kind, struct device_due_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_DUE_GET);

    q_u64(&q, device);
    q_i64(&q, (int64_t)kind);
    return due_one(&q, out, e);
}

enum err_code store_device_due_first(struct store *s, int64_t now, struct device_due_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_DUE_FIRST);

    q_i64(&q, now);
    return due_one(&q, out, e);
}

enum err_code store_device_due_drop(struct store *s, uint64_t device, enum device_due kind, struct err *e)
{
    struct query q = q_begin(s, Q_DUE_DROP);

    q_u64(&q, device);
    q_i64(&q, (int64_t)kind);
    return q_exec(&q, e);
}

/* ---- quarantine ---- */

enum err_code store_device_wanted_put(struct store *s, uint64_t device, const char *firmware, struct err *e)
{
    struct query q = q_begin(s, firmware[0] ? Q_WANTED_PUT : Q_WANTED_DROP);

    q_u64(&q, device);
    if (firmware[0])
        q_text(&q, firmware);
    return q_exec(&q, e);
}

enum err_code store_device_wanted(struct store *s, uint64_t device, char firmware[ID_MAX_LEN + 1], struct err *e)
{
    struct query q = q_begin(s, Q_WANTED_GET);
    enum err_code code;
    bool found;

    firmware[0] = '\0';
    q_u64(&q, device);
    code = q_one_or_none(&q, &found, e);
    if (code != E_OK || !found)
        return code;
    col_str(&q, firmware, ID_MAX_LEN + 1);
    return q_end(&q, e);
}

/* ---- certificates that retire ---- */

enum err_code store_retire_put(struct store *s, uint64_t cert, int64_t due_at, struct err *e)
{
    struct query q = q_begin(s, Q_RETIRE_PUT);

    q_u64(&q, cert);
    q_i64(&q, due_at);
    return q_exec(&q, e);
}

enum err_code store_retire_first(struct store *s, int64_t now, uint64_t *cert, struct err *e)
{
    struct query q = q_begin(s, Q_RETIRE_FIRST);

    q_i64(&q, now);
    if (q_one(&q, e) != E_OK)
        return e->code;
    *cert = col_u64(&q);
    return q_end(&q, e);
}

enum err_code store_retire_drop(struct store *s, uint64_t cert, struct err *e)
{
    struct query q = q_begin(s, Q_RETIRE_DROP);

    q_u64(&q, cert);
    return q_exec(&q, e);
}

enum err_code store_retire_replaced(struct store *s, uint64_t device, uint64_t cert, int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_RETIRE_REPLACED);

    q_u64(&q, device);
    q_u64(&q, cert);
    q_i64(&q, at);
    return q_exec(&q, e);
}

/* ---- transfers ---- */

enum err_code store_transfer_insert(struct store *s, struct transfer_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_TRANSFER_INSERT);

    q_text(&q, row->name);
    q_fixed(&q, row->digest);
    q_text(&q, row->from_domain);
    q_text(&q, row->to_domain);
    q_i64(&q, row->expires_at);
    q_i64(&q, row->opened_at);
    q_bytes(&q, row->file);
    if (q_exec(&q, e) != E_OK)
        return err_wrap(e, "transfer %s", row->name);
    row->id = (uint64_t)sqlite3_last_insert_rowid(s->db);
    return E_OK;
}

static enum err_code transfer_one(struct query *q, struct transfer_row *out, struct err *e)
{
    *out = (struct transfer_row){0};
    if (q_one(q, e) != E_OK)
        return e->code;
    out->id = col_u64(q);
    col_str(q, out->name, sizeof(out->name));
    col_fixed(q, out->digest, sizeof(out->digest));
    col_str(q, out->from_domain, sizeof(out->from_domain));
    col_str(q, out->to_domain, sizeof(out->to_domain));
    out->state = (enum transfer_state)col_u8(q);
    out->expires_at = col_i64(q);
    out->opened_at = col_i64(q);
    out->ended_at = col_i64(q);
    return q_end(q, e);
}

enum err_code store_transfer_by_name(struct store *s, const char *name, struct transfer_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_TRANSFER_BY_NAME);

    q_text(&q, name);
    return transfer_one(&q, out, e);
}

enum err_code store_transfer_by_digest(struct store *s, const uint8_t digest[32], struct transfer_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_TRANSFER_BY_DIGEST);

    q_bytes(&q, BYTES(digest, 32));
    return transfer_one(&q, out, e);
}

enum err_code store_transfer_of(struct store *s, uint64_t device, struct transfer_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_TRANSFER_OF);

    q_u64(&q, device);
    return transfer_one(&q, out, e);
}

enum err_code store_transfer_first(struct store *s, struct transfer_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_TRANSFER_FIRST);

    return transfer_one(&q, out, e);
}

enum err_code store_transfer_end(struct store *s, uint64_t id, enum transfer_state state, struct bytes acceptance, int64_t at,
                                 struct err *e)
{
    struct query q = q_begin(s, Q_TRANSFER_END);

    q_u64(&q, id);
    q_i64(&q, (int64_t)state);
    q_bytes(&q, acceptance);
    q_i64(&q, at);
    return q_exec_one(&q, e);
}

enum err_code store_transfer_add(struct store *s, uint64_t transfer, uint64_t device, struct err *e)
{
    struct query q = q_begin(s, Q_TRANSFER_ADD);

    q_u64(&q, transfer);
    q_u64(&q, device);
    return q_exec(&q, e);
}

enum err_code store_transfer_each(struct store *s, uint64_t transfer, transfer_device_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_TRANSFER_EACH);

    q_u64(&q, transfer);
    while (q_next(&q, e))
        if (!fn(arg, col_u64(&q)))
            break;
    return q_end(&q, e);
}
