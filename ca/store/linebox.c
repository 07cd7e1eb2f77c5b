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

/* --- budgets ------------------------------------------------------------------------------------------------- */

enum err_code store_budget_insert(struct store *s, const struct budget_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_BUDGET_INSERT);

    q_text(&q, row->box);
    q_u64(&q, row->number);
    q_text(&q, row->scope);
    q_u64(&q, row->units);
    q_i64(&q, row->until);
    q_i64(&q, row->issued_at);
    q_i64(&q, row->at);
    q_u64(&q, row->spent);
    q_bytes(&q, row->file);
    return q_exec(&q, e) == E_OK ? E_OK : err_wrap(e, "budget %llu of %s", (unsigned long long)row->number, row->box);
}

enum err_code store_budget_set_file(struct store *s, const char *box, uint64_t number, struct bytes file, struct err *e)
{
    struct query q = q_begin(s, Q_BUDGET_SET_FILE);

    q_text(&q, box);
    q_u64(&q, number);
    q_bytes(&q, file);
    return q_exec_one(&q, e);
}

static void budget_get(struct query *q, struct budget_row *r)
{
    *r = (struct budget_row){0};
    col_str(q, r->box, sizeof(r->box));
    r->number = col_u64(q);
    col_str(q, r->scope, sizeof(r->scope));
    r->units = col_u64(q);
    r->until = col_i64(q);
    r->issued_at = col_i64(q);
    r->at = col_i64(q);
    r->spent = col_u64(q);
    r->file = col_bytes(q);
}

enum err_code store_budget_get(struct store *s, const char *box, uint64_t number, struct budget_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_BUDGET_GET);

    q_text(&q, box);
    q_u64(&q, number);
    if (q_one(&q, e) != E_OK)
        return e->code;
    budget_get(&q, out);
    return q_end(&q, e);
}

enum err_code store_budget_newest(struct store *s, const char *box, const char *scope, struct budget_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_BUDGET_NEWEST);

    q_text(&q, box);
    q_text(&q, scope);
    if (q_one(&q, e) != E_OK)
        return e->code;
    budget_get(&q, out);
    return q_end(&q, e);
}

enum err_code store_budget_last(struct store *s, const char *box, uint64_t *number, struct err *e)
{
    struct query q = q_begin(s, Q_BUDGET_LAST);

    q_text(&q, box);
    if (q_one(&q, e) != E_OK)
        return e->code;
    *number = col_u64(&q);
    return q_end(&q, e);
}

enum err_code store_budget_spend(struct store *s, const char *box, uint64_t number, uint64_t n, struct err *e)
{
    struct query q = q_begin(s, Q_BUDGET_SPEND);

    q_text(&q, box);
    q_u64(&q, number);
    q_u64(&q, n);
    return q_exec_one(&q, e);
}

enum err_code store_budget_each(struct store *s, const char *box, budget_row_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_BUDGET_EACH);
    struct budget_row row;

    q_text_or_null(&q, box);
    while (q_next(&q, e)) {
        budget_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}
