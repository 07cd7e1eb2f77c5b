/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of the audit trail. What they mean and how they are chained: ca/audit.c. */
#include <string.h>

#include "ca/store/store_int.h"

static void audit_get(struct query *q, struct audit_row *r)
{
    r->seq = col_u64(q);
    r->time = col_i64(q);
    r->event = col_text(q);
    r->actor = col_text(q);
    r->actor_kind = col_text(q);
    r->domain = col_text(q);
    r->object = col_text(q);
    r->detail = col_text(q);
    r->request_digest = col_bytes(q);
    r->signature = col_bytes(q);
    r->approvals = col_bytes(q);
    col_fixed(q, r->prev_hash, sizeof(r->prev_hash));
    col_fixed(q, r->hash, sizeof(r->hash));
}

static void head_get(struct query *q, struct audit_head_row *r)
{
    *r = (struct audit_head_row){0};
    r->seq = col_u64(q);
    r->time = col_i64(q);
    col_fixed(q, r->hash, sizeof(r->hash));
    r->tbs = col_bytes(q);
    r->signature = col_bytes(q);
    col_str(q, r->key, sizeof(r->key));
    r->sig_alg = col_u8(q);
}

static enum err_code audit_last_load(struct store *s, uint64_t *seq, uint8_t hash[32], struct err *e)
{
    struct query q = q_begin(s, Q_AUDIT_LAST);
    bool found;
    enum err_code code = q_one_or_none(&q, &found, e);

    *seq = 0;
    memset(hash, 0, 32);
    if (code != E_OK || !found)
        return code;
    *seq = col_u64(&q);
    col_fixed(&q, hash, 32);
    return q_end(&q, e);
}

enum err_code store_audit_last(struct store *s, uint64_t *seq, uint8_t hash[32], struct err *e)
{
    if (s->mode != STORE_WRITE)
        return audit_last_load(s, seq, hash, e);
    if (!s->audit_known) {
        if (audit_last_load(s, &s->audit_seq, s->audit_hash, e) != E_OK)
            return e->code;
        s->audit_known = true;
    }
    *seq = s->audit_seq;
    memcpy(hash, s->audit_hash, 32);
    return E_OK;
}

enum err_code store_audit_insert(struct store *s, const struct audit_row *row, struct err *e)
{
    struct query q;
    uint64_t last;
    uint8_t hash[32];

    if (store_audit_last(s, &last, hash, e) != E_OK)
        return e->code;
    if (row->seq != last + 1 || memcmp(row->prev_hash, hash, sizeof(hash)) != 0)
        return err_set(e, E_CONFLICT, "audit entry %llu does not follow entry %llu", (unsigned long long)row->seq,
                       (unsigned long long)last);
    q = q_begin(s, Q_AUDIT_INSERT);
    q_u64(&q, row->seq);
    q_i64(&q, row->time);
    q_text(&q, row->event);
    q_text(&q, row->actor);
    q_text(&q, row->actor_kind);
    q_text(&q, row->domain);
    q_text(&q, row->object);
    q_text(&q, row->detail);
    q_bytes(&q, row->request_digest);
    q_bytes(&q, row->signature);
    q_bytes(&q, row->approvals);
    q_fixed(&q, row->prev_hash);
    q_fixed(&q, row->hash);
    if (q_exec(&q, e) != E_OK) {
        s->audit_known = false;
        return e->code;
    }
    s->audit_seq = row->seq;
    memcpy(s->audit_hash, row->hash, sizeof(s->audit_hash));
    return E_OK;
}

enum err_code store_audit_hash(struct store *s, uint64_t seq, uint8_t hash[32], struct err *e)
{
    struct query q = q_begin(s, Q_AUDIT_HASH);

    q_u64(&q, seq);
    if (q_one(&q, e) != E_OK)
        return e->code;
    col_fixed(&q, hash, 32);
    return q_end(&q, e);
}

enum err_code store_audit_each(struct store *s, uint64_t from_seq, uint64_t to_seq, audit_row_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_AUDIT_EACH);
    struct audit_row row;

    q_u64(&q, from_seq);
    q_u64(&q, to_seq == 0 || to_seq > INT64_MAX ? INT64_MAX : to_seq);
    while (q_next(&q, e)) {
        audit_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

enum err_code store_audit_head_insert(struct store *s, const struct audit_head_row *row, struct err *e)
{
    struct query q;
    struct audit_head_row last;
    uint8_t hash[32];
    enum err_code code = store_audit_head_last(s, &last, e);

    if (code != E_OK && code != E_NOT_FOUND)
        return code;
    if (code == E_OK && row->seq <= last.seq)
        return err_set(e, E_CONFLICT, "audit head %llu is not above %llu", (unsigned long long)row->seq,
                       (unsigned long long)last.seq);
    if (store_audit_hash(s, row->seq, hash, e) != E_OK)
        return err_wrap(e, "audit head %llu", (unsigned long long)row->seq);
    if (memcmp(hash, row->hash, sizeof(hash)) != 0)
        return err_set(e, E_CONFLICT, "audit head %llu has another hash than the entry", (unsigned long long)row->seq);
    q = q_begin(s, Q_HEAD_INSERT);
    q_u64(&q, row->seq);
    q_i64(&q, row->time);
    q_fixed(&q, row->hash);
    q_bytes(&q, row->tbs);
    q_bytes(&q, row->signature);
    q_text(&q, row->key);
    q_i64(&q, row->sig_alg);
    return q_exec(&q, e);
}

enum err_code store_audit_head_last(struct store *s, struct audit_head_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_HEAD_LAST);

    if (q_one(&q, e) != E_OK)
        return e->code;
    head_get(&q, out);
    return q_end(&q, e);
}

enum err_code store_audit_head_each(struct store *s, uint64_t after_seq, uint64_t limit, audit_head_row_fn fn,
                                    void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_HEAD_EACH);
    struct audit_head_row row;

    q_u64(&q, after_seq);
    q_i64(&q, limit == 0 || limit > INT64_MAX ? -1 : (int64_t)limit);
    while (q_next(&q, e)) {
        head_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}
