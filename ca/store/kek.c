/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/store/kek.h"

#include <string.h>

#include "ca/store/store_int.h"

static void kek_get(struct query *q, struct kek_row *r)
{
    struct bytes id;

    *r = (struct kek_row){0};
    r->id = col_u64(q);
    col_str(q, r->domain, sizeof(r->domain));
    id = col_bytes(q);
    if (id.len && id.len <= sizeof(r->key_id)) {
        memcpy(r->key_id, id.p, id.len);
        r->key_id_len = id.len;
    }
    r->device = col_u64(q);
    r->bits = (unsigned)col_u64(q);
    r->sealed = col_bytes(q);
    r->created_at = col_i64(q);
    r->revoked_at = col_i64(q);
}

enum err_code store_kek_insert(struct store *s, struct kek_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_KEK_INSERT);

    q_text(&q, row->domain);
    q_bytes(&q, BYTES(row->key_id, row->key_id_len));
    q_ref(&q, row->device);
    q_u64(&q, row->bits);
    q_bytes(&q, row->sealed);
    q_i64(&q, row->created_at);
    if (q_exec(&q, e) != E_OK)
        return err_wrap(e, "key-encryption key");
    row->id = (uint64_t)sqlite3_last_insert_rowid(s->db);
    return E_OK;
}

enum err_code store_kek_find(struct store *s, const char *domain, struct bytes key_id, struct kek_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_KEK_FIND);

    q_text(&q, domain);
    q_bytes(&q, key_id);
    if (q_one(&q, e) != E_OK)
        return e->code;
    kek_get(&q, out);
    return q_end(&q, e);
}

enum err_code store_kek_revoke(struct store *s, uint64_t id, int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_KEK_REVOKE);

    q_u64(&q, id);
    q_i64(&q, at);
    return q_exec_one(&q, e);
}

enum err_code store_kek_each(struct store *s, uint64_t after_id, uint64_t limit, kek_row_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_KEK_EACH);
    struct kek_row row;

    q_u64(&q, after_id);
    q_u64(&q, limit);
    while (q_next(&q, e)) {
        kek_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}
