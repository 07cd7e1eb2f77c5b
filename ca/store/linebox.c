/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/store/linebox.h"

#include "ca/store/store_int.h"

enum err_code store_foreign_put(struct store *s, const struct foreign_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_FOREIGN_PUT);

    q_i64(&q, row->issuer);
    q_i64(&q, row->depth);
    q_bytes(&q, row->cert);
    q_i64(&q, row->status);
    q_i64(&q, row->reason);
    q_i64(&q, row->status_at);
    q_bytes(&q, row->list_number);
    q_i64(&q, row->list_this_update);
    q_i64(&q, row->list_next_update);
    return q_exec(&q, e);
}

enum err_code store_foreign_cut(struct store *s, uint32_t issuer, unsigned depth, struct err *e)
{
    struct query q = q_begin(s, Q_FOREIGN_CUT);

    q_i64(&q, issuer);
    q_i64(&q, depth);
    return q_exec(&q, e);
}

enum err_code store_foreign_each(struct store *s, uint32_t issuer, foreign_row_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_FOREIGN_EACH);
    struct foreign_row row;

    q_i64(&q, issuer);
    while (q_next(&q, e)) {
        row = (struct foreign_row){.issuer = issuer};
        row.depth = (unsigned)col_u64(&q);
        row.cert = col_bytes(&q);
        row.status = col_u8(&q);
        row.reason = col_u8(&q);
        row.status_at = col_i64(&q);
        row.list_number = col_bytes(&q);
        row.list_this_update = col_i64(&q);
        row.list_next_update = col_i64(&q);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

enum err_code store_issuer_recertify(struct store *s, const struct issuer_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_ISSUER_RECERTIFY);

    q_i64(&q, row->id);
    q_bytes(&q, row->subject);
    q_bytes(&q, row->spki);
    q_bytes(&q, row->cert);
    q_fixed(&q, row->ski);
    q_i64(&q, row->not_before);
    q_i64(&q, row->not_after);
    return q_exec_one(&q, e);
}
