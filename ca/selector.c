/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/selector.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/bytes.h"
#include "base/conf.h"
#include "ca/store/store.h"

#define WORD_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-+/@*"
#define BLANKS     " \t\r\n"
#define NODES_MAX  (SELECTOR_TERMS_MAX * 4)
#define TEXT_MAX   255
#define TIME_MAX   253402300799LL /* 9999-12-31T23:59:59Z: also "no expiry" in a certificate */
#define DAY        86400

enum value_kind { VALUE_TEXT, VALUE_VERSION, VALUE_STATE, VALUE_TIME, VALUE_SERIAL, VALUE_STATUS, VALUE_ALG, VALUE_YES };

#define OPS_EQUAL (1u << SEL_EQ | 1u << SEL_NE)
#define OPS_TEXT  (OPS_EQUAL | 1u << SEL_HAS)
#define OPS_ORDER (OPS_EQUAL | 1u << SEL_LT | 1u << SEL_LE | 1u << SEL_GT | 1u << SEL_GE)
#define OPS_BOTH  (OPS_ORDER | 1u << SEL_HAS)

static const struct field {
    const char *name;
    enum value_kind kind;
    unsigned ops;
    bool of_cert, never;
} fields[SEL_FIELDS] = {
    [SEL_DEVICE] = {"device", VALUE_TEXT, OPS_TEXT, false, false},
    [SEL_DOMAIN] = {"domain", VALUE_TEXT, OPS_TEXT, false, false},
    [SEL_ORDER] = {"order", VALUE_TEXT, OPS_TEXT, false, false},
    [SEL_PRODUCT] = {"product", VALUE_TEXT, OPS_TEXT, false, false},
    [SEL_MODEL] = {"model", VALUE_TEXT, OPS_TEXT, false, false},
    [SEL_LOT] = {"lot", VALUE_TEXT, OPS_TEXT, false, false},
    [SEL_LINE] = {"line", VALUE_TEXT, OPS_TEXT, false, false},
    [SEL_STATION] = {"station", VALUE_TEXT, OPS_TEXT, false, false},
    [SEL_FIRMWARE] = {"firmware", VALUE_VERSION, OPS_BOTH, false, false},
    [SEL_STATE] = {"state", VALUE_STATE, OPS_EQUAL, false, false},
    [SEL_DECLARED] = {"declared", VALUE_TIME, OPS_ORDER, false, false},
    [SEL_ENROLLED] = {"enrolled", VALUE_TIME, OPS_ORDER, false, true},
    [SEL_ISSUER] = {"issuer", VALUE_TEXT, OPS_TEXT, true, false},
    [SEL_PROFILE] = {"profile", VALUE_TEXT, OPS_TEXT, true, false},
    [SEL_SERIAL] = {"serial", VALUE_SERIAL, OPS_EQUAL, true, false},
    [SEL_SUBJECT] = {"subject", VALUE_TEXT, OPS_TEXT, true, false},
    [SEL_CERT_STATUS] = {"cert_status", VALUE_STATUS, OPS_EQUAL, true, false},
    [SEL_ISSUED] = {"issued", VALUE_TIME, OPS_ORDER, true, false},
    [SEL_EXPIRES] = {"expires", VALUE_TIME, OPS_ORDER, true, true},
    [SEL_KEY_ALG] = {"key_alg", VALUE_ALG, OPS_EQUAL, true, false},
    [SEL_CURRENT] = {"current", VALUE_YES, OPS_EQUAL, true, false},
};

const char *selector_field_name(enum selector_field f)
{
    return (unsigned)f < SEL_FIELDS ? fields[f].name : "?";
}

bool selector_field_is_of_cert(enum selector_field f)
{
    return (unsigned)f < SEL_FIELDS && fields[f].of_cert;
}

bool selector_field_from_name(const char *s, size_t len, enum selector_field *out)
{
    for (int i = 0; i < SEL_FIELDS; i++)
        if (strlen(fields[i].name) == len && memcmp(fields[i].name, s, len) == 0) {
            *out = (enum selector_field)i;
            return true;
        }
    return false;
}

/* ---- reading ---- */

struct parser {
    const char *text;
    size_t at, depth;
    int64_t now;
    struct selector *out;
    struct err *e;
};

/* A value as it stands in the selector's store, and where it was. */
struct value {
    const char *text;
    size_t len, column;
};

static enum err_code PRINTF_LIKE(3, 4) mistake(struct parser *p, size_t column, const char *fmt, ...)
{
    char what[300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    return err_set(p->e, E_INVALID, "selector, column %zu: %s", column, what);
}

static size_t column(const struct parser *p)
{
    return p->at + 1;
}

static void skip_blanks(struct parser *p)
{
    p->at += strspn(p->text + p->at, BLANKS);
}

/* The word at this place, without taking it. */
static size_t word_len(const struct parser *p)
{
    return strspn(p->text + p->at, WORD_CHARS);
}

static bool word_is(const struct parser *p, const char *word)
{
    size_t n = word_len(p);

    return n == strlen(word) && memcmp(p->text + p->at, word, n) == 0;
}

static bool take_word(struct parser *p, const char *word)
{
    if (!word_is(p, word))
        return false;
    p->at += strlen(word);
    skip_blanks(p);
    return true;
}

static bool take_sign(struct parser *p, char sign)
{
    if (p->text[p->at] != sign)
        return false;
    p->at++;
    skip_blanks(p);
    return true;
}

/* What stands here, for a message. */
static const char *here(const struct parser *p, char out[40])
{
    size_t n = word_len(p);

    if (p->text[p->at] == '\0')
        return "the end";
    snprintf(out, 40, "\"%.*s\"", (int)(n == 0 ? 1 : n > 32 ? 32 : n), p->text + p->at);
    return out;
}

static enum err_code node_new(struct parser *p, const struct selector_node *node, size_t *out)
{
    if (p->out->node_n == NODES_MAX)
        return mistake(p, column(p), "more than a selector can hold");
    *out = p->out->node_n;
    p->out->node[p->out->node_n++] = *node;
    return E_OK;
}

static enum err_code join(struct parser *p, enum selector_kind kind, size_t *left, size_t right)
{
    const struct selector_node *l = &p->out->node[*left], *r = &p->out->node[right];
    struct selector_node both = {.kind = kind, .left = *left, .right = right, .about_cert = l->about_cert && r->about_cert,
                                 .about_device = l->about_device && r->about_device};

    return node_new(p, &both, left);
}

/* ---- values ---- */

static void keep_octet(struct parser *p, char c)
{
    p->out->store[p->out->store_len++] = c; /* never more than the text has, and an end for each term */
}

static enum err_code take_quoted(struct parser *p, struct value *v)
{
    char quote = p->text[p->at++];

    for (;;) {
        char c = p->text[p->at];

        if (c == '\0')
            return mistake(p, v->column, "this text has no closing %c", quote);
        if ((unsigned char)c < 0x20 || c == 0x7f)
            return mistake(p, column(p), "a control character");
        p->at++;
        if (c == quote)
            return E_OK;
        if (c == '\\') {
            c = p->text[p->at];
            if (c != '\\' && c != '"' && c != '\'')
                return mistake(p, column(p), "after \\ comes \\ or a quote");
            p->at++;
        }
        keep_octet(p, c);
    }
}

static enum err_code take_value(struct parser *p, struct value *v)
{
    char what[40];
    size_t n = word_len(p);

    *v = (struct value){.text = p->out->store + p->out->store_len, .column = column(p)};
    if (p->text[p->at] == '"' || p->text[p->at] == '\'') {
        if (take_quoted(p, v) != E_OK)
            return p->e->code;
    } else if (n == 0) {
        return mistake(p, v->column, "a value is expected, not %s", here(p, what));
    } else {
        for (size_t i = 0; i < n; i++)
            keep_octet(p, p->text[p->at + i]);
        p->at += n;
    }
    v->len = (size_t)(p->out->store + p->out->store_len - v->text);
    keep_octet(p, '\0');
    skip_blanks(p);
    return v->len <= TEXT_MAX ? E_OK : mistake(p, v->column, "a value of %zu octets, at most %d", v->len, TEXT_MAX);
}

static enum err_code read_text(struct parser *p, const struct value *v, struct selector_term *t)
{
    const char *star = memchr(v->text, '*', v->len);

    if (!star || t->field == SEL_SUBJECT)
        return E_OK;
    if (star != v->text + v->len - 1)
        return mistake(p, v->column, "* stands at the end only");
    if (t->op != SEL_EQ && t->op != SEL_NE)
        return mistake(p, v->column, "* goes with = and !=");
    t->prefix = true;
    t->text_len--;
    return E_OK;
}

static enum err_code read_name(struct parser *p, const struct value *v, struct selector_term *t, int count,
                               const char *(*name)(int i))
{
    char all[220] = "";

    for (int i = 0; i < count; i++) {
        const char *one = name(i);

        if (!one[0])
            continue;
        if (strcmp(one, v->text) == 0) {
            t->number = i;
            return E_OK;
        }
        snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", all[0] ? ", " : "", one);
    }
    return mistake(p, v->column, "%s is one of %s", fields[t->field].name, all);
}

static const char *state_name(int i)
{
    return device_state_name((enum device_state)i);
}

static const char *status_name(int i)
{
    static const char *const names[CERT_STATUSES] = {[CERT_GOOD] = "good", [CERT_ON_HOLD] = "on_hold", [CERT_REVOKED] = "revoked"};

    return names[i];
}

static const char *alg_name(int i)
{
    return i == KEY_NONE ? "" : key_alg_name((enum key_alg)i);
}

static const char *yes_name(int i)
{
    return i ? "yes" : "no";
}

static enum err_code read_serial(struct parser *p, const struct value *v, struct selector_term *t)
{
    size_t len = 0;

    if (!hex_decode(v->text, v->len, t->serial, sizeof(t->serial), &len) || len == 0)
        return mistake(p, v->column, "a serial is hex of 1 to %d octets", SERIAL_MAX_LEN);
    t->serial_len = (uint8_t)len;
    return E_OK;
}

/* ---- times ---- */

static bool digits(const char **s, size_t n, int64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if ((*s)[i] < '0' || (*s)[i] > '9')
            return false;
        *out = *out * 10 + ((*s)[i] - '0');
    }
    *s += n;
    return true;
}

static int64_t month_len(int64_t y, int64_t m)
{
    static const int lens[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return lens[m - 1] + (m == 2 && (y % 4 == 0 && (y % 100 != 0 || y % 400 == 0)));
}

/* Days since 1970-01-01 of a date in the Gregorian calendar. */
static int64_t day_number(int64_t y, int64_t m, int64_t d)
{
    int64_t years = m <= 2 ? y - 1 : y, era = years / 400, of_era = years - era * 400;
    int64_t of_year = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* 2026-11-01, 2026-11-01T12:30Z, 2026-11-01T12:30:05Z */
static bool read_date(const char *s, int64_t *first, int64_t *end)
{
    int64_t y, m, d, h = 0, min = 0, sec = 0, lasts = DAY;

    if (!digits(&s, 4, &y) || *s++ != '-' || !digits(&s, 2, &m) || *s++ != '-' || !digits(&s, 2, &d))
        return false;
    if (y < 1970 || m < 1 || m > 12 || d < 1 || d > month_len(y, m))
        return false;
    if (*s == 'T') {
        s++;
        lasts = 60;
        if (!digits(&s, 2, &h) || *s++ != ':' || !digits(&s, 2, &min))
            return false;
        if (*s == ':') {
            s++;
            lasts = 1;
            if (!digits(&s, 2, &sec))
                return false;
        }
        if (*s++ != 'Z' || h > 23 || min > 59 || sec > 59)
            return false;
    }
    *first = day_number(y, m, d) * DAY + h * 3600 + min * 60 + sec;
    *end = *first + lasts;
    return *s == '\0';
}

/* -7d, +12h: that long before or after now */
static bool read_distance(const char *s, int64_t now, int64_t *first)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', DAY}, {'w', 7 * DAY}, {'y', 31557600}};
    bool before = *s == '-';
    size_t n = strspn(s + 1, "0123456789");
    const char *p = s + 1;
    int64_t count;

    if ((*s != '-' && *s != '+') || n == 0 || n > 6 || !digits(&p, n, &count) || strlen(p) != 1)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (units[i].unit == *p) {
            *first = now + (before ? -1 : 1) * count * units[i].seconds;
            return true;
        }
    return false;
}

static enum err_code read_time(struct parser *p, const struct value *v, struct selector_term *t)
{
    if (strcmp(v->text, "never") == 0) {
        if (!fields[t->field].never)
            return mistake(p, v->column, "%s is never \"never\"", fields[t->field].name);
        if (t->op != SEL_EQ && t->op != SEL_NE)
            return mistake(p, v->column, "never goes with = and !=");
        t->never = true;
        return E_OK;
    }
    if (strcmp(v->text, "now") == 0)
        t->number = p->now;
    else if (read_date(v->text, &t->number, &t->end))
        return E_OK;
    else if (!read_distance(v->text, p->now, &t->number))
        return mistake(p, v->column, "a time is 2026-11-01, 2026-11-01T12:30Z, -7d, +12h or now");
    if (t->number < 0)
        t->number = 0;
    if (t->number > TIME_MAX)
        t->number = TIME_MAX;
    t->end = t->number + 1;
    return E_OK;
}

/* ---- terms ---- */

static enum err_code read_value(struct parser *p, const struct value *v, struct selector_term *t)
{
    t->text = v->text;
    t->text_len = v->len;
    switch (fields[t->field].kind) {
    case VALUE_TEXT:
    case VALUE_VERSION:
        return read_text(p, v, t);
    case VALUE_STATE:
        return read_name(p, v, t, DEVICE_STATES, state_name);
    case VALUE_STATUS:
        return read_name(p, v, t, CERT_STATUSES, status_name);
    case VALUE_ALG:
        return read_name(p, v, t, KEY_ALGS, alg_name);
    case VALUE_YES:
        return read_name(p, v, t, 2, yes_name);
    case VALUE_SERIAL:
        return read_serial(p, v, t);
    case VALUE_TIME:
        return read_time(p, v, t);
    default:
        return mistake(p, v->column, "a kind of value that nothing reads");
    }
}

static enum err_code add_term(struct parser *p, const struct selector_term *head, size_t *node)
{
    struct selector_term t = *head;
    struct selector_node n = {.kind = SEL_TERM, .term = p->out->term_n, .about_cert = fields[t.field].of_cert,
                              .about_device = !fields[t.field].of_cert};
    struct value v;

    if (p->out->term_n == SELECTOR_TERMS_MAX)
        return mistake(p, column(p), "more than %d terms", SELECTOR_TERMS_MAX);
    if (take_value(p, &v) != E_OK || read_value(p, &v, &t) != E_OK)
        return p->e->code;
    p->out->term[p->out->term_n++] = t;
    return node_new(p, &n, node);
}

/* FIELD in (a, b): any of them. */
static enum err_code take_list(struct parser *p, const struct selector_term *head, size_t *node)
{
    char what[40];
    size_t next;

    if (!take_sign(p, '('))
        return mistake(p, column(p), "after in comes a list in parentheses, not %s", here(p, what));
    if (add_term(p, head, node) != E_OK)
        return p->e->code;
    while (take_sign(p, ','))
        if (add_term(p, head, &next) != E_OK || join(p, SEL_OR, node, next) != E_OK)
            return p->e->code;
    return take_sign(p, ')') ? E_OK : mistake(p, column(p), "a comma or ) is expected, not %s", here(p, what));
}

static bool take_op(struct parser *p, enum selector_op *op)
{
    static const struct {
        const char *sign;
        enum selector_op op;
    } ops[] = {{"!=", SEL_NE}, {"<=", SEL_LE}, {">=", SEL_GE}, {"=", SEL_EQ}, {"<", SEL_LT}, {">", SEL_GT}, {"~", SEL_HAS}};

    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        if (strncmp(p->text + p->at, ops[i].sign, strlen(ops[i].sign)) == 0) {
            p->at += strlen(ops[i].sign);
            skip_blanks(p);
            *op = ops[i].op;
            return true;
        }
    return false;
}

static enum err_code take_term(struct parser *p, size_t *node)
{
    struct selector_term t = {.column = column(p)};
    char what[40];
    size_t n = word_len(p), sign;

    if (n == 0)
        return mistake(p, column(p), "a field is expected, not %s", here(p, what));
    if (!selector_field_from_name(p->text + p->at, n, &t.field))
        return mistake(p, column(p), "no field is called %s", here(p, what));
    p->at += n;
    skip_blanks(p);
    if (take_word(p, "in"))
        return take_list(p, &t, node);
    sign = column(p);
    if (!take_op(p, &t.op))
        return mistake(p, sign, "after %s comes = != < <= > >= ~ or in, not %s", fields[t.field].name, here(p, what));
    if (!(fields[t.field].ops & 1u << t.op))
        return mistake(p, sign, "%s cannot be compared like that", fields[t.field].name);
    return add_term(p, &t, node);
}

/* ---- structure ---- */

static enum err_code take_any(struct parser *p, size_t *node);

static enum err_code take_one(struct parser *p, size_t *node)
{
    size_t opened = column(p);
    struct selector_node no = {.kind = SEL_NOT};
    enum err_code code;

    if (++p->depth > SELECTOR_DEPTH_MAX)
        return mistake(p, opened, "nested more than %d deep", SELECTOR_DEPTH_MAX);
    if (take_word(p, "not")) {
        code = take_one(p, &no.left);
        no.about_device = code == E_OK && p->out->node[no.left].about_device;
        if (code == E_OK)
            code = node_new(p, &no, node);
    } else if (take_sign(p, '(')) {
        code = take_any(p, node);
        if (code == E_OK && !take_sign(p, ')'))
            code = mistake(p, column(p), "the parenthesis of column %zu is not closed here", opened);
    } else {
        code = take_term(p, node);
    }
    p->depth--;
    return code;
}

static enum err_code take_all(struct parser *p, size_t *node)
{
    size_t next;

    if (take_one(p, node) != E_OK)
        return p->e->code;
    while (take_word(p, "and"))
        if (take_one(p, &next) != E_OK || join(p, SEL_AND, node, next) != E_OK)
            return p->e->code;
    return E_OK;
}

static enum err_code take_any(struct parser *p, size_t *node)
{
    size_t next;

    if (take_all(p, node) != E_OK)
        return p->e->code;
    while (take_word(p, "or"))
        if (take_all(p, &next) != E_OK || join(p, SEL_OR, node, next) != E_OK)
            return p->e->code;
    return E_OK;
}

enum err_code selector_read(const char *text, int64_t now, struct selector *out, struct err *e)
{
    struct parser p = {.text = text, .now = now, .out = out, .e = e};
    char what[40];

    out->term_n = out->node_n = out->root = out->store_len = 0;
    if (strlen(text) > SELECTOR_MAX_LEN)
        return err_set(e, E_INVALID, "selector: %zu octets, at most %d", strlen(text), SELECTOR_MAX_LEN);
    skip_blanks(&p);
    if (text[p.at] == '\0')
        return err_set(e, E_INVALID, "selector: empty; every device is: device = *");
    if (take_any(&p, &out->root) != E_OK)
        return e->code;
    return text[p.at] == '\0' ? E_OK : mistake(&p, column(&p), "and, or or the end is expected, not %s", here(&p, what));
}

/* ---- versions ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t number_len(const char *s, size_t len)
{
    size_t n = 0;

    while (n < len && is_digit(s[n]))
        n++;
    return n;
}

/* Two runs of digits by their number, of any length. */
static int number_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
    while (a_len > 1 && *a == '0')
        a++, a_len--;
    while (b_len > 1 && *b == '0')
        b++, b_len--;
    if (a_len != b_len)
        return a_len < b_len ? -1 : 1;
    return memcmp(a, b, a_len);
}

int version_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
    while (a_len && b_len) {
        size_t a_n = number_len(a, a_len), b_n = number_len(b, b_len);
        int order = a_n && b_n ? number_compare(a, a_n, b, b_n) : (unsigned char)*a - (unsigned char)*b;

        if (order)
            return order;
        if (!a_n || !b_n)
            a_n = b_n = 1;
        a += a_n;
        a_len -= a_n;
        b += b_n;
        b_len -= b_n;
    }
    return (a_len > 0) - (b_len > 0);
}
