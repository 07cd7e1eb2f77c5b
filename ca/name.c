/* SPDX-License-Identifier: Apache-2.0 */
/* Distinguished names: from our configuration's text, to text, compared, searched, and checked when strangers send them. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/der.h"
#include "base/derw.h"
#include "base/limits.h"
#include "base/oid.h"
#include "ca/cert.h"
#include "ca/pki_int.h"

/* Types we write, with their upper bounds in characters (RFC 5280 A.1). */
static const struct attr_form {
    const char *text;
    const struct bytes *oid;
    size_t max_chars;
    bool printable_only;
} attr_forms[] = {
    {"CN", &OID_CN, 64, false}, {"serialNumber", &OID_SERIAL_NUMBER, 64, true},
    {"O", &OID_O, 64, false},   {"OU", &OID_OU, 64, false},
    {"C", &OID_C, 2, true},     {"ST", &OID_ST, 128, false},
    {"L", &OID_L, 128, false},
};
#define ATTR_OTHER_MAX_CHARS 256

static const struct attr_form *attr_by_oid(struct bytes oid)
{
    for (size_t i = 0; i < ARRAY_LEN(attr_forms); i++)
        if (bytes_equal(oid, *attr_forms[i].oid))
            return &attr_forms[i];
    return NULL;
}

bool text_is_printable(struct bytes s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              (c != 0 && strchr(" '()+,-./:=?", c))))
            return false;
    }
    return true;
}

/* Takes one code point off `s`; false when it is not well-formed UTF-8. */
static bool utf8_take(struct bytes *s, uint32_t *cp)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t c = s->p[0];
    size_t n = c < 0x80 ? 1 : (c & 0xe0) == 0xc0 ? 2 : (c & 0xf0) == 0xe0 ? 3 : (c & 0xf8) == 0xf0 ? 4 : 0;

    if (n == 0 || n > s->len)
        return false;
    *cp = n == 1 ? c : c & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((s->p[i] & 0xc0) != 0x80)
            return false;
        *cp = *cp << 6 | (s->p[i] & 0x3f);
    }
    if (*cp < least[n] || *cp > 0x10ffff || (*cp >= 0xd800 && *cp <= 0xdfff))
        return false;
    s->p += n;
    s->len -= n;
    return true;
}

bool text_is_clean_utf8(struct bytes s, size_t *chars)
{
    uint32_t cp;

    *chars = 0;
    while (s.len) {
        if (!utf8_take(&s, &cp) || cp < 0x20 || (cp >= 0x7f && cp <= 0x9f))
            return false;
        ++*chars;
    }
    return true;
}

bool dns_name_is_valid(struct bytes s)
{
    size_t label = 0;

    if (s.len == 0 || s.len > 253)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        if (c == '.') {
            if (label == 0 || s.p[i - 1] == '-')
                return false;
            label = 0;
            continue;
        }
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && label > 0)) ||
            ++label > 63)
            return false;
    }
    return label > 0 && s.p[s.len - 1] != '-';
}

/* ---- walking ---- */

struct attr {
    struct bytes oid, value;
    uint8_t tag;
};

static bool rdn_take(struct der *name, struct der *rdn)
{
    return der_take(name, DER_SET, rdn);
}

static bool attr_take(struct der *rdn, struct attr *out)
{
    struct der seq, value;

    if (!der_take(rdn, DER_SEQUENCE, &seq) || !der_take_oid(&seq, &out->oid) ||
        !der_take_any(&seq, &out->tag, &value, NULL) || !der_at_end(&seq))
        return false;
    out->value = der_rest(&value);
    return true;
}

static bool name_open(struct bytes name, struct der *rdns)
{
    struct der in;

    der_init(&in, name.p, name.len);
    return der_take(&in, DER_SEQUENCE, rdns) && der_at_end(&in);
}

bool name_is_empty(struct bytes name)
{
    struct der rdns;

    return name_open(name, &rdns) && der_at_end(&rdns);
}

static size_t utf8_put(uint32_t cp, uint8_t out[4])
{
    if (cp < 0x80) {
        out[0] = (uint8_t)cp;
        return 1;
    }
    size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; cp >>= 6)
        out[i] = (uint8_t)(0x80 | (cp & 0x3f));
    out[0] = (uint8_t)((0xf00 >> n) | cp);
    return n;
}

/* Value as UTF-8 octets, whatever its string type; false for other types, broken text and text that does not fit. */
static bool attr_utf8(const struct attr *a, uint8_t *out, size_t max, size_t *len)
{
    struct bytes s = a->value;
    size_t unit = a->tag == DER_BMP_STRING ? 2 : a->tag == DER_UNIVERSAL_STRING ? 4 : 1;
    uint8_t one[4];
    uint32_t cp;

    *len = 0;
    if (a->tag != DER_UTF8_STRING && a->tag != DER_PRINTABLE_STRING && a->tag != DER_IA5_STRING &&
        a->tag != DER_NUMERIC_STRING && a->tag != DER_VISIBLE_STRING && a->tag != DER_T61_STRING && unit == 1)
        return false;
    while (s.len) {
        if (a->tag == DER_UTF8_STRING) {
            if (!utf8_take(&s, &cp))
                return false;
        } else {
            if (s.len < unit)
                return false;
            cp = unit == 1 ? s.p[0] : unit == 2 ? get_be16(s.p) : get_be32(s.p);
            s.p += unit;
            s.len -= unit;
            if (cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff) || (unit == 1 && a->tag != DER_T61_STRING && cp > 0x7f))
                return false;
        }
        size_t n = utf8_put(cp, one);
        if (max - *len < n)
            return false;
        memcpy(out + *len, one, n);
        *len += n;
    }
    return true;
}

/* ---- checking a stranger's ---- */

static enum err_code attr_check(const struct attr *a, const char *what, struct err *e)
{
    const struct attr_form *form = attr_by_oid(a->oid);
    char type[96];
    size_t chars = a->value.len;
    size_t max = form ? form->max_chars : ATTR_OTHER_MAX_CHARS;

    if (form)
        snprintf(type, sizeof type, "%s", form->text);
    else
        oid_format(a->oid, type, sizeof type);
    switch (a->tag) {
    case DER_PRINTABLE_STRING:
        if (!text_is_printable(a->value))
            return err_set(e, E_INVALID, "%s: %s: an octet outside PrintableString", what, type);
        break;
    case DER_UTF8_STRING:
        if (!text_is_clean_utf8(a->value, &chars))
            return err_set(e, E_INVALID, "%s: %s: not UTF-8, or a NUL or control character", what, type);
        break;
    case DER_IA5_STRING:
        for (size_t i = 0; i < a->value.len; i++)
            if (a->value.p[i] < 0x20 || a->value.p[i] > 0x7e)
                return err_set(e, E_INVALID, "%s: %s: a NUL, control or non-ASCII octet in IA5String", what, type);
        break;
    default:
        return err_set(e, E_INVALID, "%s: %s: string type %02x; PrintableString and UTF8String are taken", what, type,
                       a->tag);
    }
    if (chars == 0)
        return err_set(e, E_INVALID, "%s: %s is empty", what, type);
    if (chars > max)
        return err_set(e, E_INVALID, "%s: %s has %zu characters, at most %zu (RFC 5280 A.1)", what, type, chars, max);
    if (bytes_equal(a->oid, OID_C) && (a->tag != DER_PRINTABLE_STRING || a->value.len != 2))
        return err_set(e, E_INVALID, "%s: C is not a PrintableString of 2 letters (RFC 5280 A.1)", what);
    return E_OK;
}

enum err_code name_check(struct bytes name, const char *what, struct err *e)
{
    struct der rdns, rdn;
    struct attr a;
    unsigned cn = 0, serial = 0, attrs = 0;

    if (name.len > NAME_MAX_LEN)
        return err_set(e, E_INVALID, "%s: %zu octets, at most %d", what, name.len, NAME_MAX_LEN);
    if (!name_open(name, &rdns))
        return err_set(e, E_INVALID, "%s: not a Name (RFC 5280 4.1.2.4)", what);
    while (!der_at_end(&rdns)) {
        if (!rdn_take(&rdns, &rdn))
            return err_set(e, E_INVALID, "%s: broken RDN at octet %zu (RFC 5280 4.1.2.4)", what, rdns.offset);
        if (der_at_end(&rdn))
            return err_set(e, E_INVALID, "%s: an empty RDN (RFC 5280 4.1.2.4)", what);
        while (!der_at_end(&rdn)) {
            if (!attr_take(&rdn, &a))
                return err_set(e, E_INVALID, "%s: broken attribute at octet %zu (RFC 5280 4.1.2.4)", what, rdn.offset);
            if (++attrs > NAME_ATTRIBUTES_MAX)
                return err_set(e, E_INVALID, "%s: more than %d attributes", what, NAME_ATTRIBUTES_MAX);
            if (attr_check(&a, what, e) != E_OK)
                return E_INVALID;
            cn += bytes_equal(a.oid, OID_CN);
            serial += bytes_equal(a.oid, OID_SERIAL_NUMBER);
        }
    }
    if (cn > 1 || serial > 1)
        return err_set(e, E_INVALID, "%s: more than one %s", what, cn > 1 ? "CN" : "serialNumber");
    return E_OK;
}

/* ---- from text ---- */

enum err_code template_expand(const char *text, template_var_fn var, void *arg, char *out, size_t size, bool *empty,
                              struct err *e)
{
    size_t len = 0;

    *empty = false;
    while (*text) {
        const char *put = text;
        size_t n = 1;
        char name[32];

        if (var && *text == '{') {
            const char *end = strchr(text, '}');
            if (!end || (size_t)(end - text) > sizeof name)
                return err_set(e, E_INVALID, "template \"%s\": '{' without '}'", text);
            snprintf(name, sizeof name, "%.*s", (int)(end - text - 1), text + 1);
            put = var(arg, name);
            if (!put)
                return err_set(e, E_INVALID, "template: no variable {%s}", name);
            n = strlen(put);
            *empty |= n == 0;
            text = end;
        }
        if (n >= size - len)
            return err_set(e, E_INVALID, "template: the value is longer than %zu octets", size - 1);
        memcpy(out + len, put, n);
        len += n;
        text++;
    }
    out[len] = '\0';
    return E_OK;
}

/* One "type=value" cut off the text: `value` still holds its escapes. */
struct rdn_text {
    const struct attr_form *form;
    const char *value;
    size_t value_len;
};

static enum err_code rdn_text_take(const char **text, struct rdn_text *out, struct err *e)
{
    const char *p = *text + strspn(*text, " ");
    const char *eq = strchr(p, '=');
    size_t type_len = eq ? (size_t)(eq - p) : 0;

    *out = (struct rdn_text){0};
    while (type_len && p[type_len - 1] == ' ')
        type_len--;
    for (size_t i = 0; i < ARRAY_LEN(attr_forms); i++)
        if (strlen(attr_forms[i].text) == type_len && strncasecmp(attr_forms[i].text, p, type_len) == 0)
            out->form = &attr_forms[i];
    if (!out->form)
        return err_set(e, E_INVALID, "name: \"%.40s\": attribute type is not one of CN, serialNumber, O, OU, C, ST, L",
                       p);
    p = eq + 1;
    p += strspn(p, " ");
    out->value = p;
    size_t kept = 0; /* up to the last octet that is not an unescaped blank */
    for (; *p && *p != ','; p++) {
        if (*p == '\\') {
            if (!p[1])
                return err_set(e, E_INVALID, "name: %s: '\\' at the end", out->form->text);
            p++;
        } else if (*p == ' ') {
            continue;
        } else if (*p == '+' || *p == '"' || *p == ';' || *p == '<' || *p == '>') {
            return err_set(e, E_INVALID, "name: %s: '%c' must be written '\\%c'", out->form->text, *p, *p);
        }
        kept = (size_t)(p + 1 - out->value);
    }
    out->value_len = kept;
    if (*p == ',' && p[1 + strspn(p + 1, " ")] == '\0')
        return err_set(e, E_INVALID, "name: ',' at the end");
    *text = *p ? p + 1 : p;
    return E_OK;
}

/* Escapes and variables of one value; variables are put in as they are. */
static enum err_code value_expand(const struct rdn_text *in, template_var_fn var, void *arg, char *out, size_t size,
                                  struct err *e)
{
    size_t len = 0;

    for (size_t i = 0; i < in->value_len;) {
        const char *put = &in->value[i];
        size_t n = 1, used = 1;
        char octet, name[32];

        if (*put == '\\') {
            int hi = i + 2 < in->value_len ? hex_digit(put[1]) : -1;
            int lo = hi >= 0 ? hex_digit(put[2]) : -1;
            used = lo >= 0 ? 3 : 2;
            octet = lo >= 0 ? (char)(hi << 4 | lo) : put[1];
            put = &octet;
        } else if (var && *put == '{') {
            const char *end = memchr(put, '}', in->value_len - i);
            if (!end || (size_t)(end - put) > sizeof name)
                return err_set(e, E_INVALID, "name: %s: '{' without '}'", in->form->text);
            snprintf(name, sizeof name, "%.*s", (int)(end - put - 1), put + 1);
            used = (size_t)(end - put) + 1;
            put = var(arg, name);
            if (!put)
                return err_set(e, E_INVALID, "name: %s: no variable {%s}", in->form->text, name);
            n = strlen(put);
        }
        if (n >= size - len)
            return err_set(e, E_INVALID, "name: %s: the value is too long", in->form->text);
        memcpy(out + len, put, n);
        len += n;
        i += used;
    }
    out[len] = '\0';
    if (strlen(out) != len)
        return err_set(e, E_INVALID, "name: %s: the value holds a NUL", in->form->text);
    return E_OK;
}

static enum err_code rdn_write(struct derw *w, const struct attr_form *form, const char *value, struct err *e)
{
    struct bytes v = bytes_str(value);
    bool printable = text_is_printable(v);
    size_t chars;

    if (!text_is_clean_utf8(v, &chars))
        return err_set(e, E_INVALID, "name: %s: not UTF-8, or a control character", form->text);
    if (chars > form->max_chars)
        return err_set(e, E_INVALID, "name: %s has %zu characters, at most %zu (RFC 5280 A.1)", form->text, chars,
                       form->max_chars);
    if (form->printable_only && !printable)
        return err_set(e, E_INVALID, "name: %s \"%s\" does not fit PrintableString (X.520, RFC 5280 A.1)", form->text,
                       value);
    if (form->oid == &OID_C && (chars != 2 || !isalpha(v.p[0]) || !isalpha(v.p[1])))
        return err_set(e, E_INVALID, "name: C \"%s\" is not two letters (RFC 5280 A.1)", value);
    derw_begin(w, DER_SET);
    derw_begin(w, DER_SEQUENCE);
    derw_oid(w, *form->oid);
    derw_element(w, printable ? DER_PRINTABLE_STRING : DER_UTF8_STRING, v);
    derw_end(w);
    derw_end(w);
    return E_OK;
}

enum err_code name_from_template(const char *text, template_var_fn var, void *arg, struct buf *der, struct err *e)
{
    struct derw w;
    struct rdn_text rdn;
    char value[NAME_MAX_LEN];
    unsigned cn = 0, serial = 0, n = 0;
    size_t start = der->len;

    derw_init(&w, der);
    derw_begin(&w, DER_SEQUENCE);
    text += strspn(text, " ");
    while (*text) {
        if (rdn_text_take(&text, &rdn, e) != E_OK || value_expand(&rdn, var, arg, value, sizeof value, e) != E_OK)
            return E_INVALID;
        if (value[0] == '\0') {
            if (!var)
                return err_set(e, E_INVALID, "name: %s is empty", rdn.form->text);
            continue;
        }
        if (rdn_write(&w, rdn.form, value, e) != E_OK)
            return E_INVALID;
        cn += rdn.form->oid == &OID_CN;
        serial += rdn.form->oid == &OID_SERIAL_NUMBER;
        if (cn > 1 || serial > 1 || ++n > NAME_ATTRIBUTES_MAX)
            return err_set(e, E_INVALID, "name: two CNs, two serialNumbers, or more than %d attributes",
                           NAME_ATTRIBUTES_MAX);
    }
    derw_end(&w);
    if (!derw_finish(&w))
        return err_set(e, E_NOMEM, "name: no room for the encoding");
    if (der->len - start > NAME_MAX_LEN)
        return err_set(e, E_INVALID, "name: %zu octets, at most %d", der->len - start, NAME_MAX_LEN);
    return E_OK;
}

enum err_code name_from_text(const char *text, struct buf *der, struct err *e)
{
    if (text[strspn(text, " ")] == '\0')
        return err_set(e, E_INVALID, "name: empty");
    return name_from_template(text, NULL, NULL, der, e);
}

/* ---- to text ---- */

struct text_out {
    char *p;
    size_t size, len;
};

static void text_put(struct text_out *t, const char *s)
{
    for (; *s && t->len + 1 < t->size; s++)
        t->p[t->len++] = *s;
    t->p[t->len] = '\0';
}

static void text_put_value(struct text_out *t, const uint8_t *p, size_t len)
{
    char one[8];

    for (size_t i = 0; i < len; i++) {
        uint8_t c = p[i];
        bool edge = (i == 0 && (c == ' ' || c == '#')) || (i == len - 1 && c == ' ');
        if (c < 0x20 || c == 0x7f || (c == 0xc2 && i + 1 < len && p[i + 1] < 0xa0)) {
            snprintf(one, sizeof one, "\\%02x", c);
        } else if (i > 0 && p[i - 1] == 0xc2 && c >= 0x80 && c < 0xa0) {
            snprintf(one, sizeof one, "\\%02x", c);
        } else if (edge || strchr(",+\"\\<>;=", c)) {
            snprintf(one, sizeof one, "\\%c", c);
        } else {
            snprintf(one, sizeof one, "%c", c);
        }
        text_put(t, one);
    }
}

static void text_put_attr(struct text_out *t, const struct attr *a)
{
    const struct attr_form *form = attr_by_oid(a->oid);
    uint8_t utf8[NAME_MAX_LEN * 2];
    char type[96], octet[8];
    size_t len;

    if (form)
        snprintf(type, sizeof type, "%s", form->text);
    else
        oid_format(a->oid, type, sizeof type);
    text_put(t, type);
    text_put(t, "=");
    if (attr_utf8(a, utf8, sizeof utf8, &len)) {
        text_put_value(t, utf8, len);
        return;
    }
    for (size_t i = 0; i < a->value.len; i++) { /* not text: every octet escaped */
        snprintf(octet, sizeof octet, "\\%02x", a->value.p[i]);
        text_put(t, octet);
    }
}

void name_to_text(struct bytes name, char *out, size_t size)
{
    struct text_out t = {out, size, 0};
    struct der rdns, rdn;
    struct attr a;
    const char *between = "";

    if (size == 0)
        return;
    out[0] = '\0';
    if (!name_open(name, &rdns)) {
        text_put(&t, "(not a name)");
        return;
    }
    while (!der_at_end(&rdns)) {
        if (!rdn_take(&rdns, &rdn))
            return;
        while (!der_at_end(&rdn)) {
            if (!attr_take(&rdn, &a))
                return;
            text_put(&t, between);
            text_put_attr(&t, &a);
            between = "+";
        }
        between = ",";
    }
}

/* ---- comparing and searching ---- */

/* Case and white space folded in place: no blanks at the ends, single ones inside (RFC 5280 7.1, ASCII letters). */
static size_t text_fold(uint8_t *p, size_t len)
{
    size_t out = 0;

    for (size_t i = 0; i < len; i++) {
        if (p[i] == ' ' && (out == 0 || p[out - 1] == ' '))
            continue;
        p[out++] = (uint8_t)(p[i] < 0x80 ? tolower(p[i]) : p[i]);
    }
    while (out && p[out - 1] == ' ')
        out--;
    return out;
}

static bool attr_matches(const struct attr *a, const struct attr *b)
{
    uint8_t ta[NAME_MAX_LEN * 2], tb[NAME_MAX_LEN * 2];
    size_t la, lb;

    if (!bytes_equal(a->oid, b->oid))
        return false;
    if (a->tag == b->tag && bytes_equal(a->value, b->value))
        return true;
    if (!attr_utf8(a, ta, sizeof ta, &la) || !attr_utf8(b, tb, sizeof tb, &lb))
        return false;
    la = text_fold(ta, la);
    lb = text_fold(tb, lb);
    return la == lb && memcmp(ta, tb, la) == 0;
}

static bool rdn_contains(struct der rdn, const struct attr *a, size_t *count)
{
    struct attr b;
    bool found = false;

    *count = 0;
    while (!der_at_end(&rdn)) {
        if (!attr_take(&rdn, &b))
            return false;
        found |= attr_matches(a, &b);
        ++*count;
    }
    return found;
}

/* Every attribute of `a` has a match in `b`, and they are as many. */
static bool rdn_matches(struct der a, struct der b)
{
    struct attr one;
    size_t a_count = 0, b_count = 0;

    while (!der_at_end(&a)) {
        if (!attr_take(&a, &one) || !rdn_contains(b, &one, &b_count))
            return false;
        a_count++;
    }
    return a_count == b_count;
}

bool name_matches(struct bytes a, struct bytes b)
{
    struct der as, bs, ra, rb;

    if (a.len > NAME_MAX_LEN || b.len > NAME_MAX_LEN || !name_open(a, &as) || !name_open(b, &bs))
        return false;
    while (!der_at_end(&as) && !der_at_end(&bs)) {
        if (!rdn_take(&as, &ra) || !rdn_take(&bs, &rb) || !rdn_matches(ra, rb) || !rdn_matches(rb, ra))
            return false;
    }
    return der_at_end(&as) && der_at_end(&bs);
}

bool name_get(struct bytes name, struct bytes oid, char *out, size_t size)
{
    struct der rdns, rdn;
    struct attr a;
    size_t len;

    if (size == 0)
        return false;
    out[0] = '\0';
    if (!name_open(name, &rdns))
        return false;
    while (!der_at_end(&rdns)) {
        if (!rdn_take(&rdns, &rdn))
            return false;
        while (!der_at_end(&rdn)) {
            if (!attr_take(&rdn, &a))
                return false;
            if (!bytes_equal(a.oid, oid))
                continue;
            if (!attr_utf8(&a, (uint8_t *)out, size - 1, &len) || memchr(out, 0, len)) {
                out[0] = '\0';
                return false;
            }
            out[len] = '\0';
            return true;
        }
    }
    return false;
}
