/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/budget.h"

#include <string.h>

#include <openssl/evp.h>

#include "base/clock.h"
#include "base/fsio.h"
#include "base/jws.h"
#include "ca/admin_int.h"
#include "ca/factory.h"
#include "ca/store/linebox.h"

#define STEP 32 /* units written down in the second place at a time: so many a crash may cost */

struct budget_keeper {
    struct budget_marks marks;
    bool broken; /* the marks could not be read or belong to another ledger: nothing is issued */
    char why[256];
};

/* ---- start and end ---- */

struct newest_list {
    struct budget_row *row;
    size_t n;
    bool nomem;
};

static bool take_budget(void *arg, const struct budget_row *row)
{
    struct newest_list *l = arg;
    struct budget_row *grown;

    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->row[i].scope, row->scope) == 0) {
            l->row[i] = *row; /* they come by number */
            return true;
        }
    grown = realloc(l->row, (l->n + 1) * sizeof(*grown));
    l->nomem |= !grown;
    if (!grown)
        return false;
    l->row = grown;
    l->row[l->n++] = *row;
    return true;
}

/* The newest budget of each scope; their files are not kept. */
static enum err_code newest_budgets(struct core *c, struct newest_list *out, struct err *e)
{
    *out = (struct newest_list){0};
    if (store_budget_each(c->store, c->conf->box_name, take_budget, out, e) != E_OK)
        return e->code;
    return out->nomem ? err_set(e, E_NOMEM, "budgets") : E_OK;
}

static enum err_code audit_budget(struct core *c, const struct actor *by, const char *event, const struct budget_row *row,
                                  const char *what, uint64_t n, int64_t now, struct err *e)
{
    char object[2 * ID_MAX_LEN + 16];

    snprintf(object, sizeof(object), "budget:%s/%llu", row->box, (unsigned long long)row->number);
    return core_audit(c, by, event, "", object, json_pack("{s:s, s:I}", "order", row->scope, what, (json_int_t)n), now, e);
}

/* The rest of a step that a crash cut off, and what an older ledger does not know of, is gone. */
static enum err_code forfeit(struct core *c, const struct budget_row *row, struct err *e)
{
    const struct budget_mark *m = budget_mark_find(&c->budgets->marks, row->scope);
    uint64_t drawn = !m || m->number != row->number ? 0 : m->drawn < row->units ? m->drawn : row->units;
    struct log_line l;

    if (drawn <= row->spent)
        return E_OK;
    log_begin(&l, LOG_WARN, "budget-forfeited");
    log_str(&l, "order", row->scope);
    log_u64(&l, "number", row->number);
    log_u64(&l, "units", drawn - row->spent);
    log_end(&l);
    if (store_budget_spend(c->store, row->box, row->number, drawn - row->spent, e) != E_OK)
        return err_wrap(e, "budget");
    return audit_budget(c, &ACTOR_CORE, "budget-forfeited", row, "units", drawn - row->spent, core_stamp(c), e);
}

enum err_code budget_open(struct core *c, struct err *e)
{
    struct newest_list newest;
    enum err_code code;
    struct err why = {0};

    if (!c->conf->box_name[0])
        return E_OK;
    c->budgets = calloc(1, sizeof(*c->budgets));
    if (!c->budgets)
        return err_set(e, E_NOMEM, "budgets");
    if (budget_marks_read(c->conf->dir_marks, &c->budgets->marks, &why) != E_OK) {
        if (why.code == E_NOMEM)
            return err_set(e, E_NOMEM, "budgets");
        log_failure("budget-marks-refused", &why);
        c->budgets->broken = true;
        text_copy(c->budgets->why, sizeof(c->budgets->why), why.msg);
        return E_OK;
    }
    if ((code = newest_budgets(c, &newest, e)) == E_OK && (code = core_begin(c, e)) == E_OK) {
        for (size_t i = 0; i < newest.n && code == E_OK; i++)
            code = forfeit(c, &newest.row[i], e);
        core_end(c, code, e);
    }
    free(newest.row);
    return code;
}

void budget_close(struct core *c)
{
    struct newest_list newest = {0};
    struct err e = {0};
    struct budget_mark *m;

    if (!c->budgets)
        return;
    if (!c->budgets->broken && c->store && newest_budgets(c, &newest, &e) == E_OK) {
        for (size_t i = 0; i < newest.n; i++)
            if ((m = budget_mark_find(&c->budgets->marks, newest.row[i].scope)) && m->number == newest.row[i].number)
                m->drawn = newest.row[i].spent;
        if (c->budgets->marks.exists && budget_marks_write(c->conf->dir_marks, &c->budgets->marks, &e) != E_OK)
            log_failure("budget-marks-failed", &e);
    }
    free(newest.row);
    budget_marks_clear(&c->budgets->marks);
    free(c->budgets);
    c->budgets = NULL;
}

/* ---- spending ---- */

#define REFUSE(e, reason, ...) factory_refuse(g, (e), E_DENIED, (reason), __VA_ARGS__)

/* The budget that pays for a device of this order: the order's own, else the one for all. */
static enum err_code paying(struct core *c, const char *order_no, struct grant *g, struct budget_row *out, struct err *e)
{
    enum err_code code = E_NOT_FOUND;

    if (order_no[0])
        code = store_budget_newest(c->store, c->conf->box_name, order_no, out, e);
    /* An order that once had a budget of its own is never paid from the other. */
    if (code == E_NOT_FOUND && budget_mark_find(&c->budgets->marks, order_no))
        return REFUSE(e, "budget-missing", "the ledger is older than the budget of \"%s\": install that again", order_no);
    if (code == E_NOT_FOUND)
        code = store_budget_newest(c->store, c->conf->box_name, BUDGET_EVERY, out, e);
    if (code != E_NOT_FOUND)
        return code;
    return order_no[0] ? REFUSE(e, "budget-missing", "this line box has no issuance budget for order \"%s\"", order_no)
                       : REFUSE(e, "budget-missing", "this line box has no issuance budget for devices without an order");
}

/* What was over stays over, also when the operator vouches for an earlier time (`inkan clock accept`). */
static void remember_end(struct core *c, const struct budget_row *row, int64_t now)
{
    struct budget_marks *marks = &c->budgets->marks;
    int64_t before = marks->time;
    struct err e = {0};

    if (before > row->until)
        return;
    marks->time = now;
    if (budget_marks_write(c->conf->dir_marks, marks, &e) == E_OK)
        return;
    marks->time = before;
    log_failure("budget-marks-failed", &e);
}

static enum err_code judge(struct core *c, const char *order_no, int64_t now, struct grant *g, struct budget_row *row,
                           struct budget_mark **mark, struct err *e)
{
    struct budget_keeper *k = c->budgets;
    char until[32];

    if (k->broken)
        return REFUSE(e, "budget-missing", "what was drawn cannot be read: %s", k->why);
    if (paying(c, order_no, g, row, e) != E_OK)
        return e->code;
    *mark = budget_mark_find(&k->marks, row->scope);
    if (!*mark)
        return REFUSE(e, "budget-missing", "the marks of budget \"%s\" are lost: a newer budget is needed", row->scope);
    if ((*mark)->number > row->number)
        return REFUSE(e, "budget-missing", "the ledger is older than the newest budget of \"%s\": install that again", row->scope);
    if (now < k->marks.time)
        now = k->marks.time;
    clock_format(row->until, until);
    if (now > row->until) {
        remember_end(c, row, now);
        return REFUSE(e, "budget-expired", "the issuance budget ended at %s", until);
    }
    if (row->spent >= row->units)
        return REFUSE(e, "budget-spent", "all units of the issuance budget \"%s\" are spent", row->scope);
    return E_OK;
}

enum err_code budget_allows(struct core *c, const char *order_no, int64_t now, struct grant *g, struct err *e)
{
    struct budget_row row = {0};
    struct budget_mark *mark = NULL;

    return c->budgets ? judge(c, order_no, now, g, &row, &mark, e) : E_OK;
}

/* Before the commit that spends: the second place is never behind. */
static enum err_code draw(struct core *c, struct budget_mark *m, const struct budget_row *row, int64_t now, struct err *e)
{
    struct budget_marks *marks = &c->budgets->marks;
    struct budget_mark before = *m;
    int64_t time = marks->time;

    m->number = row->number;
    m->drawn = row->spent + STEP < row->units ? row->spent + STEP : row->units;
    if (now > marks->time)
        marks->time = now;
    if (budget_marks_write(c->conf->dir_marks, marks, e) == E_OK)
        return E_OK;
    *m = before;
    marks->time = time;
    log_failure("budget-marks-failed", e);
    e->code = E_IO;
    return err_wrap(e, "budget");
}

enum err_code budget_spend(struct core *c, const char *order_no, int64_t now, struct grant *g, struct err *e)
{
    struct budget_row row = {0};
    struct budget_mark *mark = NULL;

    if (!c->budgets)
        return E_OK;
    if (judge(c, order_no, now, g, &row, &mark, e) != E_OK || !mark)
        return e->code;
    if ((mark->number < row.number || row.spent + 1 > mark->drawn) && draw(c, mark, &row, now, e) != E_OK)
        return e->code;
    return store_budget_spend(c->store, row.box, row.number, 1, e);
}

/* ---- installing ---- */

static enum err_code verify(struct core *c, struct bytes file, struct budget *out, struct err *e)
{
    AUTO_BUF pem = BUF_INIT(2 * CERT_MAX_LEN);
    AUTO_BUF payload = BUF_INIT(BUDGET_FILE_MAX);
    EVP_PKEY *key;
    struct jws j;
    enum err_code code;

    if (jws_read(file, BUDGET_FILE_MAX, &j, e) != E_OK || file_read(c->conf->box_centre_key, &pem, e) != E_OK)
        return e->code;
    if (strcmp(j.header.typ, BUDGET_TYP) != 0)
        return err_set(e, E_INVALID, "a record of type \"%s\", not \"%s\"", j.header.typ, BUDGET_TYP);
    key = jws_public_key(buf_bytes(&pem), e);
    if (!key)
        return err_wrap(e, "%s", c->conf->box_centre_key);
    code = jws_verify(&j, key, e);
    EVP_PKEY_free(key);
    if (code != E_OK || jws_payload(&j, &payload, e) != E_OK || budget_read(buf_bytes(&payload), out, e) != E_OK)
        return e->code;
    if (strcmp(out->box, c->conf->box_name) != 0)
        return err_set(e, E_DENIED, "the budget is for box \"%s\", this is \"%s\"", out->box, c->conf->box_name);
    return E_OK;
}

/* Its mark first: a ledger set back to before this moment does not get the whole budget once more. */
static enum err_code put_mark(struct core *c, const struct budget *b, uint64_t *drawn, struct err *e)
{
    struct budget_marks *marks = &c->budgets->marks;
    struct budget_mark *m = budget_mark_find(marks, b->scope);

    *drawn = m && m->number == b->number ? m->drawn : 0;
    if (m && m->number > b->number)
        return err_set(e, E_CONFLICT, "budget %llu of \"%s\" was installed already: an older one does nothing", (unsigned long long)m->number,
                       b->scope);
    if (m && m->number == b->number)
        return E_OK;
    if (marks->time < b->issued_at) /* the centre's clock: it is at least that late */
        marks->time = b->issued_at;
    if (budget_mark_set(marks, b->scope, b->number, 0, e) != E_OK || budget_marks_write(c->conf->dir_marks, marks, e) != E_OK)
        return e->code;
    marks->exists = true;
    return E_OK;
}

static enum err_code install(struct core *c, const struct actor *by, const struct budget *b, struct bytes file, bool *changed, struct err *e)
{
    struct budget_row row = {.number = b->number, .units = b->units, .until = b->until, .issued_at = b->issued_at, .at = core_stamp(c), .file = file};
    struct budget_row known;
    uint64_t drawn = 0;
    enum err_code code = store_budget_get(c->store, b->box, b->number, &known, e);

    *changed = code == E_NOT_FOUND;
    if (code == E_OK && (strcmp(known.scope, b->scope) != 0 || known.units != b->units || known.until != b->until))
        return err_set(e, E_CONFLICT, "another budget with the number %llu is installed", (unsigned long long)b->number);
    if (code != E_NOT_FOUND)
        return code;
    text_copy(row.box, sizeof(row.box), b->box);
    text_copy(row.scope, sizeof(row.scope), b->scope);
    code = store_budget_newest(c->store, b->box, b->scope, &known, e);
    if (code == E_OK && known.number > b->number)
        return err_set(e, E_CONFLICT, "budget %llu of \"%s\" is installed already: an older one does nothing", (unsigned long long)known.number,
                       b->scope);
    if (code != E_OK && code != E_NOT_FOUND)
        return code;
    if (put_mark(c, b, &drawn, e) != E_OK)
        return e->code;
    row.spent = drawn < b->units ? drawn : b->units;
    if (store_budget_insert(c->store, &row, e) != E_OK)
        return e->code;
    return audit_budget(c, by, "budget-installed", &row, "units", row.units, row.at, e);
}

static json_t *budget_json(const struct budget_row *row)
{
    return json_pack("{s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:I}", "box", row->box, "number", (json_int_t)row->number, "order", row->scope,
                     "units", (json_int_t)row->units, "spent", (json_int_t)row->spent, "left", (json_int_t)(row->units - row->spent),
                     "until", (json_int_t)row->until, "issued_at", (json_int_t)row->issued_at);
}

void op_budget_install(struct core *c, struct admin_call *call)
{
    AUTO_BUF file = BUF_INIT(BUDGET_FILE_MAX);
    struct budget b = {0};
    struct budget_row row;
    struct err e = {0};
    bool changed = false;
    json_t *result;
    enum err_code code;

    if (!c->budgets)
        code = err_set(&e, E_CONFLICT, "this service is no line box (box.name)");
    else if (c->budgets->broken)
        code = err_set(&e, E_CONFLICT, "%s: restore the file, or remove it and install a newer budget after a restart", c->budgets->why);
    else if ((code = admin_file(call, BUDGET_FILE_MAX, &file, &e)) == E_OK && (code = verify(c, buf_bytes(&file), &b, &e)) == E_OK &&
             (code = core_begin(c, &e)) == E_OK) {
        code = install(c, &call->by, &b, buf_bytes(&file), &changed, &e);
        core_end(c, code, &e);
    }
    if (code == E_OK)
        code = store_budget_get(c->store, b.box, b.number, &row, &e);
    if (code != E_OK) {
        admin_fail(call, &e);
        return;
    }
    result = budget_json(&row);
    json_object_set_new(result, "changed", json_boolean(changed));
    admin_done(call, result, -1);
}

static bool list_budget(void *arg, const struct budget_row *row)
{
    admin_row(arg, budget_json(row));
    return true;
}

void op_budget_list(struct core *c, struct admin_call *call)
{
    struct err e = {0};

    if (store_budget_each(c->store, admin_text(call, "box"), list_budget, call, &e) == E_OK)
        admin_done(call, NULL, -1);
    else
        admin_fail(call, &e);
}
