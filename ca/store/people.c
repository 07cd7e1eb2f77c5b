/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/store/people.h"

#include "ca/store/store_int.h"

/* ---- operators ---- */

static void operator_get(struct query *q, struct operator_row *r)
{
    *r = (struct operator_row){0};
    r->id = col_u64(q);
    col_str(q, r->name, sizeof(r->name));
    r->roles = (unsigned)col_u64(q);
    col_str(q, r->user, sizeof(r->user));
    r->added_at = col_i64(q);
    r->ended_at = col_i64(q);
}

static enum err_code operator_one(struct query *q, struct operator_row *out, struct err *e)
{
    if (q_one(q, e) != E_OK)
        return e->code;
    operator_get(q, out);
    return q_end(q, e);
}

enum err_code store_operator_insert(struct store *s, struct operator_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_OPERATOR_INSERT);

    q_text(&q, row->name);
    q_u64(&q, row->roles);
    q_text(&q, row->user);
    q_i64(&q, row->added_at);
    if (q_exec(&q, e) != E_OK)
        return err_wrap(e, "operator %s", row->name);
    row->id = (uint64_t)sqlite3_last_insert_rowid(s->db);
    return E_OK;
}

enum err_code store_operator_by_name(struct store *s, const char *name, struct operator_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_OPERATOR_BY_NAME);

    q_text(&q, name);
    return operator_one(&q, out, e);
}

enum err_code store_operator_by_id(struct store *s, uint64_t id, struct operator_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_OPERATOR_BY_ID);

    q_u64(&q, id);
    return operator_one(&q, out, e);
}

enum err_code store_operator_by_user(struct store *s, const char *user, struct operator_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_OPERATOR_BY_USER);

    q_text(&q, user);
    return operator_one(&q, out, e);
}

enum err_code store_operator_change(struct store *s, uint64_t id, unsigned roles, const char *user, struct err *e)
{
    struct query q = q_begin(s, Q_OPERATOR_CHANGE);

    q_u64(&q, id);
    q_u64(&q, roles);
    q_text(&q, user);
    return q_exec_one(&q, e);
}

enum err_code store_operator_end(struct store *s, uint64_t id, int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_OPERATOR_END);

    q_u64(&q, id);
    q_i64(&q, at);
    return q_exec_one(&q, e);
}

enum err_code store_operator_each(struct store *s, uint64_t after_id, uint64_t limit, operator_row_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_OPERATOR_EACH);
    struct operator_row row;

    q_u64(&q, after_id);
    q_u64(&q, limit);
    while (q_next(&q, e)) {
        operator_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

/* ---- their certificates ---- */

enum err_code store_operator_cert_insert(struct store *s, uint64_t operator_id, uint64_t cert, const uint8_t der_hash[32], struct err *e)
{
    struct query taken = q_begin(s, Q_OPERATOR_KEY_TAKEN), q;
    bool found = false;

    q_u64(&taken, operator_id);
    q_u64(&taken, cert);
    if (q_one_or_none(&taken, &found, e) != E_OK)
        return e->code;
    if (found) {
        if (q_end(&taken, e) != E_OK)
            return e->code;
        return err_set(e, E_CONFLICT, "the key is another operator's or a device's: each person has one of their own");
    }
    q = q_begin(s, Q_OPERATOR_CERT_INSERT);
    q_bytes(&q, BYTES(der_hash, 32));
    q_u64(&q, operator_id);
    q_u64(&q, cert);
    return q_exec(&q, e);
}

enum err_code store_operator_cert_find(struct store *s, const uint8_t der_hash[32], uint64_t *operator_id, uint64_t *cert, struct err *e)
{
    struct query q = q_begin(s, Q_OPERATOR_CERT_FIND);

    q_bytes(&q, BYTES(der_hash, 32));
    if (q_one(&q, e) != E_OK)
        return e->code;
    *operator_id = col_u64(&q);
    *cert = col_u64(&q);
    return q_end(&q, e);
}

enum err_code store_operator_cert_next(struct store *s, uint64_t operator_id, uint64_t after, uint64_t *cert, struct err *e)
{
    struct query q = q_begin(s, Q_OPERATOR_CERT_NEXT);

    q_u64(&q, operator_id);
    q_u64(&q, after);
    if (q_one(&q, e) != E_OK)
        return e->code;
    *cert = col_u64(&q);
    return q_end(&q, e);
}

/* ---- nonces ---- */

enum err_code store_nonce_use(struct store *s, const uint8_t nonce[16], int64_t until, struct err *e)
{
    struct query q = q_begin(s, Q_NONCE_INSERT);

    q_bytes(&q, BYTES(nonce, 16));
    q_i64(&q, until);
    return q_exec(&q, e);
}

enum err_code store_nonce_forget(struct store *s, int64_t before, struct err *e)
{
    struct query q = q_begin(s, Q_NONCE_FORGET);

    q_i64(&q, before);
    return q_exec(&q, e);
}

/* ---- what waits for a second person ---- */

const char *pending_state_name(enum pending_state state)
{
    static const char *const names[PENDING_STATES] = {
        [PENDING_WAITING] = "waiting", [PENDING_RUNNING] = "running", [PENDING_DONE] = "done",
        [PENDING_FAILED] = "failed",   [PENDING_REFUSED] = "refused", [PENDING_EXPIRED] = "expired",
    };

    return (unsigned)state < PENDING_STATES ? names[state] : "unknown";
}

static void pending_get(struct query *q, struct pending_row *r)
{
    *r = (struct pending_row){0};
    r->id = col_u64(q);
    r->state = col_u8(q);
    r->operator_id = col_u64(q);
    r->requester = col_text(q);
    r->op = col_text(q);
    r->args = col_text(q);
    r->jws = col_bytes(q);
    r->created_at = col_i64(q);
    r->expires_at = col_i64(q);
    r->second = col_u64(q);
    r->second_name = col_text(q);
    r->decided_at = col_i64(q);
    r->ended_at = col_i64(q);
    r->outcome = col_text(q);
}

enum err_code store_pending_insert(struct store *s, struct pending_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_PENDING_INSERT);

    q_u64(&q, row->operator_id);
    q_text(&q, row->op);
    q_text(&q, row->args);
    q_bytes(&q, row->jws);
    q_i64(&q, row->created_at);
    q_i64(&q, row->expires_at);
    if (q_exec(&q, e) != E_OK)
        return err_wrap(e, "pending request");
    row->id = (uint64_t)sqlite3_last_insert_rowid(s->db);
    return E_OK;
}

enum err_code store_pending_by_id(struct store *s, uint64_t id, struct pending_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_PENDING_BY_ID);

    q_u64(&q, id);
    if (q_one(&q, e) != E_OK)
        return e->code;
    pending_get(&q, out);
    return q_end(&q, e);
}

enum err_code store_pending_decide(struct store *s, uint64_t id, enum pending_state to, uint64_t second, const char *outcome, int64_t at,
                                   struct err *e)
{
    struct query q = q_begin(s, Q_PENDING_DECIDE);

    q_u64(&q, id);
    q_i64(&q, (int64_t)to);
    q_u64(&q, second);
    q_text(&q, outcome);
    q_i64(&q, at);
    q_i64(&q, to == PENDING_RUNNING ? 0 : at);
    return q_exec_one(&q, e);
}

enum err_code store_pending_end(struct store *s, uint64_t id, enum pending_state to, const char *outcome, int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_PENDING_END);

    q_u64(&q, id);
    q_i64(&q, (int64_t)to);
    q_text(&q, outcome);
    q_i64(&q, at);
    return q_exec_one(&q, e);
}

enum err_code store_pending_interrupt(struct store *s, int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_PENDING_INTERRUPT);

    q_i64(&q, at);
    return q_exec(&q, e);
}

enum err_code store_pending_due(struct store *s, int64_t now, uint64_t *id, struct err *e)
{
    struct query q = q_begin(s, Q_PENDING_DUE);

    q_i64(&q, now);
    if (q_one(&q, e) != E_OK)
        return e->code;
    *id = col_u64(&q);
    return q_end(&q, e);
}

enum err_code store_pending_close(struct store *s, uint64_t id, enum pending_state to, const char *outcome, int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_PENDING_CLOSE);

    q_u64(&q, id);
    q_i64(&q, (int64_t)to);
    q_text(&q, outcome);
    q_i64(&q, at);
    return q_exec_one(&q, e);
}

enum err_code store_pending_waiting(struct store *s, uint64_t operator_id, uint64_t *n, struct err *e)
{
    struct query q = q_begin(s, Q_PENDING_OF);

    q_u64(&q, operator_id);
    if (q_one(&q, e) != E_OK)
        return e->code;
    *n = col_u64(&q);
    return q_end(&q, e);
}

enum err_code store_pending_each(struct store *s, bool open_only, uint64_t after_id, uint64_t limit, pending_row_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_PENDING_EACH);
    struct pending_row row;

    q_i64(&q, open_only ? PENDING_DONE : PENDING_STATES);
    q_u64(&q, after_id);
    q_u64(&q, limit);
    while (q_next(&q, e)) {
        pending_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}
