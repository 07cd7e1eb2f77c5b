/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The condition of a statement from a selector: column names and operators come from the tables below, every value is bound.
 * A unary + keeps SQLite from an index whose order is not that of the ids: a page would have to sort all that is left.
 */
#include "ca/store/select.h"

#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "ca/cert.h"
#include "ca/csr.h"
#include "ca/store/store_int.h"

#define CONDITION_MAX (64 * 1024)
#define SUBJECT_TEXT  1024
#define FIRST_VALUE   3 /* ?1 is the id to go on after, ?2 the limit */
#define NEVER         "253402300799"

/* Every domain by one look into an index each, for an id whose domain nobody named. */
#define DOMAINS                                                                                                        \
    "(WITH RECURSIVE t (x) AS (SELECT min(domain) FROM device UNION ALL "                                              \
    "SELECT (SELECT min(domain) FROM device WHERE domain > t.x) FROM t WHERE t.x IS NOT NULL) SELECT x FROM t)"

struct bound {
    const struct selector_term *term;
    enum { BOUND_TEXT, BOUND_NUMBER, BOUND_END, BOUND_SERIAL } what;
};

struct build {
    const struct selector *sel;
    struct buf sql;
    struct bound bound[SELECTOR_TERMS_MAX * 2];
    size_t bound_n;
    bool over_certs;
};

/* ---- functions for SQL ---- */

static struct bytes blob_of(sqlite3_value *v)
{
    const void *p = sqlite3_value_blob(v);

    return BYTES(p, p ? (size_t)sqlite3_value_bytes(v) : 0);
}

static void sql_subject(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    char text[SUBJECT_TEXT] = "";
    struct cert cert;
    struct err ignored = {0};

    (void)n;
    if (cert_read(blob_of(v[0]), &cert, &ignored) == E_OK)
        name_to_text(cert.subject, text, sizeof(text));
    sqlite3_result_text(ctx, text, -1, SQLITE_TRANSIENT);
}

static void sql_key_alg(sqlite3_context *ctx, int n, sqlite3_value **v)
{
    struct cert cert;
    struct pubkey key = {.alg = KEY_NONE};
    struct err ignored = {0};

    (void)n;
    if (cert_read(blob_of(v[0]), &cert, &ignored) != E_OK || pubkey_identify(cert.spki, &key, &ignored) != E_OK)
        key.alg = KEY_NONE;
    sqlite3_result_int(ctx, (int)key.alg);
}

static int sql_version(void *none, int a_len, const void *a, int b_len, const void *b)
{
    (void)none;
    return version_compare(a, (size_t)a_len, b, (size_t)b_len);
}

enum err_code select_register(struct store *s, struct err *e)
{
    const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY;
    int rc = sqlite3_create_function_v2(s->db, "cert_subject", 1, flags, NULL, sql_subject, NULL, NULL, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_create_function_v2(s->db, "cert_key_alg", 1, flags, NULL, sql_key_alg, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_collation_v2(s->db, "version", SQLITE_UTF8, NULL, sql_version, NULL);
    return rc == SQLITE_OK ? E_OK : store_fail(s, rc, "functions of selectors", e);
}

/* ---- terms ---- */

static const char *const signs[SEL_OPS] = {
    [SEL_EQ] = "=", [SEL_NE] = "<>", [SEL_LT] = "<", [SEL_LE] = "<=", [SEL_GT] = ">", [SEL_GE] = ">=", [SEL_HAS] = "",
};

static const char *const columns[SEL_FIELDS] = {
    [SEL_DEVICE] = "d.device_id", [SEL_DOMAIN] = "d.domain",     [SEL_ORDER] = "d.order_no",
    [SEL_PRODUCT] = "d.product",  [SEL_MODEL] = "d.model",       [SEL_LOT] = "d.lot",
    [SEL_LINE] = "d.line",        [SEL_STATION] = "d.station",   [SEL_FIRMWARE] = "d.firmware",
    [SEL_STATE] = "d.state",      [SEL_DECLARED] = "d.declared_at", [SEL_ENROLLED] = "d.enrolled_at",
    [SEL_ISSUER] = "i.name",      [SEL_PROFILE] = "c.profile",   [SEL_SERIAL] = "c.serial",
    [SEL_SUBJECT] = "cert_subject(c.der)", [SEL_CERT_STATUS] = "c.status", [SEL_ISSUED] = "c.issued_at",
    [SEL_EXPIRES] = "c.not_after", [SEL_KEY_ALG] = "cert_key_alg(c.der)", [SEL_CURRENT] = "c.replaced_by",
};

static void add(struct build *b, const char *sql)
{
    buf_add_str(&b->sql, sql);
}

/* A place for a value of this term. */
static void place(struct build *b, const struct selector_term *t, int what)
{
    if (b->bound_n == ARRAY_LEN(b->bound))
        return; /* a term has at most two: it cannot be */
    b->bound[b->bound_n].term = t;
    b->bound[b->bound_n].what = what;
    buf_printf(&b->sql, "?%zu", FIRST_VALUE + b->bound_n++);
}

static void column_sign_value(struct build *b, const char *column, const char *sign, const struct selector_term *t, int what)
{
    buf_printf(&b->sql, "%s %s ", column, sign);
    place(b, t, what);
}

static size_t characters(const struct selector_term *t)
{
    size_t n = 0;

    for (size_t i = 0; i < t->text_len; i++)
        n += ((unsigned char)t->text[i] & 0xc0) != 0x80;
    return n;
}

static void text_term(struct build *b, const char *column, const struct selector_term *t)
{
    if (t->op == SEL_HAS) {
        buf_printf(&b->sql, "instr(lower(%s), lower(", column);
        place(b, t, BOUND_TEXT);
        add(b, ")) > 0");
    } else if (t->prefix) {
        buf_printf(&b->sql, "substr(%s, 1, %zu) %s ", column, characters(t), signs[t->op]);
        place(b, t, BOUND_TEXT);
    } else {
        column_sign_value(b, column, signs[t->op], t, BOUND_TEXT);
    }
}

/* A text column without its index, or with it: then the rows that have no value are not in it. */
static void device_text(struct build *b, const char *column, const struct selector_term *t, bool by_index)
{
    char plain[40];

    snprintf(plain, sizeof(plain), "+%s", column);
    text_term(b, by_index ? column : plain, t);
    if (by_index)
        buf_printf(&b->sql, " AND %s <> ''", column);
}

static void version_term(struct build *b, const struct selector_term *t)
{
    if (t->op == SEL_EQ || t->op == SEL_NE || t->op == SEL_HAS) {
        text_term(b, "+d.firmware", t);
        return;
    }
    add(b, "+d.firmware <> '' AND ");
    column_sign_value(b, "+d.firmware", signs[t->op], t, BOUND_TEXT);
    add(b, " COLLATE version");
}

static void time_term(struct build *b, const char *column, const struct selector_term *t)
{
    if (t->never) {
        buf_printf(&b->sql, "+%s %s %s", column, signs[t->op], t->field == SEL_EXPIRES ? NEVER : "0");
        return;
    }
    if (t->field == SEL_ENROLLED)
        buf_printf(&b->sql, "+%s <> 0 AND ", column);
    if (t->op == SEL_EQ || t->op == SEL_NE) {
        add(b, t->op == SEL_EQ ? "(" : "NOT (");
        buf_printf(&b->sql, "+%s >= ", column);
        place(b, t, BOUND_NUMBER);
        buf_printf(&b->sql, " AND +%s < ", column);
        place(b, t, BOUND_END);
        add(b, ")");
        return;
    }
    /* The moment named lasts from its first second to its end: "<= a day" is before the end of the day. */
    buf_printf(&b->sql, "+%s %s ", column, t->op == SEL_LT || t->op == SEL_LE ? "<" : ">=");
    place(b, t, t->op == SEL_LT || t->op == SEL_GE ? BOUND_NUMBER : BOUND_END);
}

static void issuer_term(struct build *b, const struct selector_term *t)
{
    add(b, "+c.issuer IN (SELECT i.id FROM issuer AS i WHERE ");
    text_term(b, "i.name", t);
    add(b, ")");
}

static void status_term(struct build *b, const struct selector_term *t, bool by_index)
{
    bool use = by_index && t->op == SEL_EQ && t->number != CERT_GOOD;

    column_sign_value(b, use ? "c.status" : "+c.status", signs[t->op], t, BOUND_NUMBER);
    if (use)
        add(b, " AND c.status <> 0");
}

/* One id, found by its index under every domain. */
static void device_term(struct build *b, const struct selector_term *t)
{
    if (t->op != SEL_EQ || t->prefix || b->over_certs) {
        text_term(b, "+d.device_id", t);
        return;
    }
    add(b, "d.id IN (SELECT n.id FROM device AS n WHERE n.domain IN " DOMAINS " AND ");
    text_term(b, "n.device_id", t);
    add(b, ")");
}

/* `by_index`: every row must fit this term, so that an index may lead to them. */
static void term(struct build *b, const struct selector_term *t, bool by_index)
{
    const char *column = columns[t->field];

    add(b, "(");
    switch (t->field) {
    case SEL_DEVICE:
        device_term(b, t);
        break;
    case SEL_LOT:
    case SEL_ORDER:
        device_text(b, column, t, by_index && t->op == SEL_EQ && !t->prefix && t->text_len && !b->over_certs);
        break;
    case SEL_DOMAIN:
    case SEL_PRODUCT:
    case SEL_MODEL:
    case SEL_LINE:
    case SEL_STATION:
        device_text(b, column, t, false);
        break;
    case SEL_FIRMWARE:
        version_term(b, t);
        break;
    case SEL_STATE:
        column_sign_value(b, "+d.state", signs[t->op], t, BOUND_NUMBER);
        break;
    case SEL_DECLARED:
    case SEL_ENROLLED:
    case SEL_ISSUED:
    case SEL_EXPIRES:
        time_term(b, column, t);
        break;
    case SEL_ISSUER:
        issuer_term(b, t);
        break;
    case SEL_PROFILE:
    case SEL_SUBJECT:
        text_term(b, column, t);
        break;
    case SEL_SERIAL:
        if (by_index && t->op == SEL_EQ)
            add(b, "c.issuer IN (SELECT i.id FROM issuer AS i) AND ");
        column_sign_value(b, column, signs[t->op], t, BOUND_SERIAL);
        break;
    case SEL_CERT_STATUS:
        status_term(b, t, by_index && b->over_certs);
        break;
    case SEL_KEY_ALG:
        column_sign_value(b, column, signs[t->op], t, BOUND_NUMBER);
        break;
    case SEL_CURRENT:
        add(b, (t->number != 0) == (t->op == SEL_EQ) ? "c.replaced_by IS NULL" : "c.replaced_by IS NOT NULL");
        break;
    case SEL_FIELDS:
    default:
        add(b, "0");
        break;
    }
    add(b, ")");
}

/* ---- the tree ---- */

/* Terms of the other table: certificates where devices are chosen, the device where certificates are. */
static bool is_of_other(const struct build *b, const struct selector_node *n)
{
    return b->over_certs ? n->about_device : n->about_cert;
}

/* The nodes joined by "and" below this one. */
static size_t conjuncts(const struct build *b, size_t node, size_t *out, size_t n)
{
    const struct selector_node *at = &b->sel->node[node];

    if (at->kind != SEL_AND) {
        out[n] = node;
        return n + 1;
    }
    n = conjuncts(b, at->left, out, n);
    return conjuncts(b, at->right, out, n);
}

static const struct selector_term *single(const struct build *b, size_t node, enum selector_field field)
{
    const struct selector_node *n = &b->sel->node[node];
    const struct selector_term *t = n->kind == SEL_TERM ? &b->sel->term[n->term] : NULL;

    return t && t->field == field && t->op == SEL_EQ && !t->prefix ? t : NULL;
}

/* A condition inside one table only. */
static void inside(struct build *b, size_t node)
{
    const struct selector_node *n = &b->sel->node[node];

    if (n->kind == SEL_TERM) {
        term(b, &b->sel->term[n->term], false);
        return;
    }
    add(b, n->kind == SEL_NOT ? "(NOT " : "(");
    inside(b, n->left);
    if (n->kind != SEL_NOT) {
        add(b, n->kind == SEL_AND ? " AND " : " OR ");
        inside(b, n->right);
    }
    add(b, ")");
}

/* What is said of the other table, all of one row of it. A serial or an id leads to that row at once. */
static void of_other(struct build *b, const size_t *node, size_t n)
{
    bool found = false;

    for (size_t i = 0; i < n && !found; i++)
        found = single(b, node[i], b->over_certs ? SEL_DEVICE : SEL_SERIAL) != NULL;
    if (b->over_certs)
        add(b, found ? "(c.device IN (SELECT d.id FROM device AS d WHERE d.domain IN " DOMAINS : "(EXISTS (SELECT 1 FROM device AS d WHERE d.id = c.device");
    else
        add(b, found ? "(d.id IN (SELECT c.device FROM cert AS c WHERE c.issuer IN (SELECT i.id FROM issuer AS i)"
                     : "(EXISTS (SELECT 1 FROM cert AS c WHERE c.device = d.id");
    for (size_t i = 0; i < n; i++) {
        const struct selector_term *id = b->over_certs ? single(b, node[i], SEL_DEVICE) : NULL;

        add(b, " AND ");
        if (id && found)
            column_sign_value(b, "d.device_id", "=", id, BOUND_TEXT);
        else
            inside(b, node[i]);
    }
    add(b, "))");
}

static void condition(struct build *b, size_t node, bool by_index)
{
    const struct selector_node *n = &b->sel->node[node];
    size_t all[SELECTOR_TERMS_MAX * 4], other[SELECTOR_TERMS_MAX * 4], all_n, other_n = 0;
    bool first = true;

    if (is_of_other(b, n) && n->kind != SEL_AND) {
        of_other(b, &node, 1);
    } else if (n->kind == SEL_TERM) {
        term(b, &b->sel->term[n->term], by_index);
    } else if (n->kind == SEL_NOT) {
        add(b, "(NOT ");
        condition(b, n->left, false);
        add(b, ")");
    } else if (n->kind == SEL_OR) {
        add(b, "(");
        condition(b, n->left, false);
        add(b, " OR ");
        condition(b, n->right, false);
        add(b, ")");
    } else {
        all_n = conjuncts(b, node, all, 0);
        add(b, "(");
        for (size_t i = 0; i < all_n; i++) {
            if (is_of_other(b, &b->sel->node[all[i]])) {
                other[other_n++] = all[i];
                continue;
            }
            add(b, first ? "" : " AND ");
            condition(b, all[i], by_index);
            first = false;
        }
        if (other_n) {
            add(b, first ? "" : " AND ");
            of_other(b, other, other_n);
        }
        add(b, ")");
    }
}

/* ---- running ---- */

static void bind_values(struct query *q, const struct build *b)
{
    for (size_t i = 0; i < b->bound_n; i++) {
        const struct selector_term *t = b->bound[i].term;

        switch (b->bound[i].what) {
        case BOUND_TEXT:
            q_text_n(q, t->text, t->text_len);
            break;
        case BOUND_NUMBER:
            q_i64(q, t->number);
            break;
        case BOUND_END:
            q_i64(q, t->end);
            break;
        case BOUND_SERIAL:
        default:
            q_bytes(q, BYTES(t->serial, t->serial_len));
            break;
        }
    }
}

static enum err_code build(struct build *b, const struct selector *sel, bool over_certs, struct err *e)
{
    b->sel = sel;
    b->over_certs = over_certs;
    b->bound_n = 0;
    buf_init(&b->sql, CONDITION_MAX);
    condition(b, sel->root, true);
    buf_add_u8(&b->sql, '\0');
    return buf_ok(&b->sql) ? E_OK : err_set(e, E_NOMEM, "the statement of a selector");
}

static struct query begin(struct store *s, const struct build *b, uint64_t after_id, uint64_t limit)
{
    struct query q = q_begin_with(s, b->over_certs ? Q_SELECT_CERTS : Q_SELECT_DEVICES, (const char *)b->sql.p);

    q_u64(&q, after_id);
    q_i64(&q, limit == 0 || limit > INT64_MAX ? -1 : (int64_t)limit);
    bind_values(&q, b);
    return q;
}

enum err_code store_select_devices(struct store *s, const struct selector *sel, uint64_t after_id, uint64_t limit,
                                   device_row_fn fn, void *arg, struct err *e)
{
    struct build b;
    struct query q;
    struct device_row row;
    enum err_code code = build(&b, sel, false, e);

    if (code == E_OK) {
        q = begin(s, &b, after_id, limit);
        while (q_next(&q, e)) {
            device_get(&q, &row);
            if (q.what[0] || !fn(arg, &row))
                break;
        }
        code = q_end(&q, e);
    }
    buf_clear(&b.sql);
    return code;
}

enum err_code store_select_certs(struct store *s, const struct selector *sel, uint64_t after_id, uint64_t limit, cert_row_fn fn,
                                 void *arg, struct err *e)
{
    struct build b;
    struct query q;
    struct cert_row row;
    enum err_code code = build(&b, sel, true, e);

    if (code == E_OK) {
        q = begin(s, &b, after_id, limit);
        while (q_next(&q, e)) {
            cert_get(&q, &row);
            if (q.what[0] || !fn(arg, &row))
                break;
        }
        code = q_end(&q, e);
    }
    buf_clear(&b.sql);
    return code;
}

enum err_code store_select_plan(struct store *s, const struct selector *sel, bool over_certs, struct buf *out, struct err *e)
{
    struct build b;
    struct query q;
    enum err_code code = build(&b, sel, over_certs, e);

    if (code == E_OK) {
        q = q_begin_with(s, over_certs ? Q_SELECT_CERTS_PLAN : Q_SELECT_DEVICES_PLAN, (const char *)b.sql.p);
        q_u64(&q, 0);
        q_i64(&q, 1);
        bind_values(&q, &b);
        buf_printf(out, "%s\n", (const char *)b.sql.p);
        while (q_next(&q, e)) {
            q.at = 3; /* id, parent, notused, detail */
            buf_printf(out, "%s\n", col_text(&q));
        }
        code = q_end(&q, e);
    }
    buf_clear(&b.sql);
    return code;
}
