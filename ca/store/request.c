/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/store/request.h"

#include "ca/store/store_int.h"

const char *request_state_name(enum request_state state)
{
    static const char *const names[REQUEST_STATES] = {
        [REQUEST_WAITING] = "waiting",
        [REQUEST_APPROVED] = "approved",
        [REQUEST_ISSUED] = "issued",
        [REQUEST_REFUSED] = "refused",
        [REQUEST_EXPIRED] = "expired",
    };

    return (unsigned)state < REQUEST_STATES ? names[state] : "unknown";
}

static void request_get(struct query *q, struct request_row *r)
{
    *r = (struct request_row){0};
    r->id = col_u64(q);
    r->state = col_u8(q);
    r->device = col_u64(q);
    r->domain = col_text(q);
    r->device_id = col_text(q);
    col_fixed(q, r->credential_hash, sizeof(r->credential_hash));
    r->operation = col_u8(q);
    r->label = col_text(q);
    r->profile = col_text(q);
    r->bound = col_i64(q) != 0;
    col_fixed(q, r->content_hash, sizeof(r->content_hash));
    col_fixed(q, r->spki_hash, sizeof(r->spki_hash));
    r->csr = col_bytes(q);
    r->why = col_text(q);
    r->created_at = col_i64(q);
    r->expires_at = col_i64(q);
    r->decided_at = col_i64(q);
    r->decided_by = col_text(q);
    r->reason = col_text(q);
    r->ended_at = col_i64(q);
    r->cert = col_u64(q);
}

static enum err_code request_one(struct query *q, struct request_row *out, struct err *e)
{
    if (q_one(q, e) != E_OK)
        return e->code;
    request_get(q, out);
    return q_end(q, e);
}

enum err_code store_request_insert(struct store *s, struct request_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_REQUEST_INSERT);

    q_i64(&q, row->state);
    q_u64(&q, row->device);
    q_fixed(&q, row->credential_hash);
    q_i64(&q, row->operation);
    q_text(&q, row->label);
    q_text(&q, row->profile);
    q_i64(&q, row->bound);
    q_fixed(&q, row->content_hash);
    q_fixed(&q, row->spki_hash);
    q_bytes(&q, row->csr);
    q_text(&q, row->why);
    q_i64(&q, row->created_at);
    q_i64(&q, row->expires_at);
    if (q_exec(&q, e) != E_OK)
        return err_wrap(e, "request");
    row->id = (uint64_t)sqlite3_last_insert_rowid(s->db);
    return E_OK;
}

enum err_code store_request_by_id(struct store *s, uint64_t id, struct request_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_REQUEST_BY_ID);

    q_u64(&q, id);
    return request_one(&q, out, e);
}

enum err_code store_request_match(struct store *s, const struct request_row *asked, struct request_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_REQUEST_MATCH);

    q_u64(&q, asked->device);
    q_fixed(&q, asked->credential_hash);
    q_i64(&q, asked->operation);
    q_text(&q, asked->label);
    q_text(&q, asked->profile);
    q_i64(&q, asked->bound);
    q_fixed(&q, asked->content_hash);
    q_fixed(&q, asked->spki_hash);
    return request_one(&q, out, e);
}

enum err_code store_request_open(struct store *s, uint64_t device, uint64_t *of_device, uint64_t *in_all, struct err *e)
{
    struct query q = q_begin(s, Q_REQUEST_OPEN);

    q_u64(&q, device);
    if (q_one(&q, e) != E_OK)
        return e->code;
    *of_device = col_u64(&q);
    *in_all = col_u64(&q);
    return q_end(&q, e);
}

enum err_code store_request_is_open(struct store *s, uint64_t device, const uint8_t credential_hash[32], bool *open,
                                    struct err *e)
{
    struct query q = q_begin(s, Q_REQUEST_IS_OPEN);

    q_u64(&q, device);
    q_bytes(&q, BYTES(credential_hash, 32));
    if (q_one(&q, e) != E_OK)
        return e->code;
    *open = col_i64(&q) != 0;
    return q_end(&q, e);
}

enum err_code store_request_counts(struct store *s, struct request_counts *out, struct err *e)
{
    struct query q = q_begin(s, Q_REQUEST_COUNTS);

    if (q_one(&q, e) != E_OK)
        return e->code;
    out->waiting = col_u64(&q);
    out->approved = col_u64(&q);
    out->oldest = col_i64(&q);
    return q_end(&q, e);
}

enum err_code store_request_decide(struct store *s, uint64_t id, enum request_state to, const char *by, const char *reason,
                                   int64_t expires_at, int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_REQUEST_DECIDE);

    q_u64(&q, id);
    q_i64(&q, (int64_t)to);
    q_i64(&q, at);
    q_text(&q, by);
    q_text(&q, reason);
    q_i64(&q, expires_at);
    return q_exec_one(&q, e);
}

enum err_code store_request_issued(struct store *s, uint64_t id, uint64_t cert, int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_REQUEST_ISSUED);

    q_u64(&q, id);
    q_u64(&q, cert);
    q_i64(&q, at);
    return q_exec_one(&q, e);
}

enum err_code store_request_due(struct store *s, int64_t now, struct request_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_REQUEST_DUE);

    q_i64(&q, now);
    return request_one(&q, out, e);
}

enum err_code store_request_forget(struct store *s, int64_t expired_before, int64_t decided_before, struct err *e)
{
    struct query q = q_begin(s, Q_REQUEST_FORGET);

    q_i64(&q, expired_before);
    q_i64(&q, decided_before);
    return q_exec(&q, e);
}

enum err_code store_request_each(struct store *s, int state, uint64_t after_id, uint64_t limit, request_row_fn fn, void *arg,
                                 struct err *e)
{
    struct query q = q_begin(s, Q_REQUEST_EACH);
    struct request_row row;

    q_u64(&q, after_id);
    q_i64(&q, state);
    q_i64(&q, limit == 0 || limit > INT64_MAX ? -1 : (int64_t)limit);
    while (q_next(&q, e)) {
        request_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}
