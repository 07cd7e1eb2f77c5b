/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration as text: effective values as YAML, and the reference of all keys. */
#include "base/conf_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- printing ---- */

/* Double-quoted YAML; the reader refused control characters, so two escapes are enough. */
static void put_quoted(struct buf *out, const char *s)
{
    buf_add_str(out, "\"");
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            buf_add_str(out, "\\");
        buf_add(out, s, 1);
    }
    buf_add_str(out, "\"");
}

static void put_duration(struct buf *out, int64_t s)
{
    static const struct {
        int64_t s;
        char unit;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (units[i].s == 1 || (s >= units[i].s && s % units[i].s == 0)) {
            buf_printf(out, "%" PRId64 "%c", s / units[i].s, units[i].unit);
            return;
        }
}

static void put_bits(struct buf *out, const struct conf_name *names, unsigned bits)
{
    const char *comma = "";

    buf_add_str(out, "[");
    for (; names->text; names++)
        if (bits & (unsigned)names->value) {
            buf_printf(out, "%s%s", comma, names->text);
            comma = ", ";
        }
    buf_add_str(out, "]");
}

static void put_strings(struct buf *out, const struct conf_strings *s)
{
    buf_add_str(out, "[");
    for (size_t i = 0; i < s->n; i++) {
        buf_add_str(out, i ? ", " : "");
        put_quoted(out, s->v[i]);
    }
    buf_add_str(out, "]");
}

static void put_value(struct buf *out, const struct conf_key *key, const char *base)
{
    const void *at = base + key->offset;
    int path_len;

    switch (key->type) {
    case T_TEXT:
    case T_PATH:
    case T_PIN:
        put_quoted(out, *(char *const *)at);
        return;
    case T_BOOL:
        buf_add_str(out, *(const bool *)at ? "true" : "false");
        return;
    case T_UINT:
        buf_printf(out, "%u", *(const unsigned *)at);
        return;
    case T_VALIDITY:
        if (*(const bool *)(base + key->offset2)) {
            buf_add_str(out, "none");
            return;
        }
        /* fall through */
    case T_DURATION:
        put_duration(out, *(const int64_t *)at);
        return;
    case T_PATH_LEN:
        path_len = *(const int *)at;
        if (path_len < 0)
            buf_add_str(out, "none");
        else
            buf_printf(out, "%d", path_len);
        return;
    case T_STRINGS:
        put_strings(out, at);
        return;
    case T_ENUM:
        for (const struct conf_name *n = key->names; n->text; n++)
            if (n->value == *(const int *)at)
                buf_add_str(out, n->text);
        return;
    case T_BITS:
        put_bits(out, key->names, *(const unsigned *)at);
        return;
    }
}

/* A key of a kind that must not have it is left out, or the file would not read back. */
static bool is_printed(const struct conf_key *key, enum conf_list_id list, const char *base)
{
    const struct conf_profile *p = (const struct conf_profile *)(const void *)base;
    bool ca;

    if (list != LIST_PROFILES)
        return true;
    ca = p->kind == PROFILE_ROOT_CA || p->kind == PROFILE_ISSUING_CA;
    return ca || key->type != T_PATH_LEN;
}

static void print_top(const struct conf *c, struct buf *out)
{
    const struct conf_list *top = &conf_lists[LIST_TOP];
    const char *section = NULL;

    for (size_t i = 0; i < top->keys_n; i++) {
        const struct conf_key *key = &top->keys[i];

        if (key->section && (!section || strcmp(section, key->section) != 0))
            buf_printf(out, "%s:\n", key->section);
        section = key->section;
        buf_printf(out, "%s%s: ", section ? "  " : "", key->name);
        put_value(out, key, (const char *)c);
        buf_add_str(out, "\n");
    }
}

static void print_list(const struct conf *c, enum conf_list_id list, struct buf *out)
{
    const struct conf_list *l = &conf_lists[list];
    size_t n = CONF_COUNT(c, list);

    buf_printf(out, "%s:%s\n", l->name, n ? "" : " []");
    for (size_t i = 0; i < n; i++) {
        const char *base = CONF_ITEM(c, list, i);

        for (size_t k = 0; k < l->keys_n; k++) {
            if (!is_printed(&l->keys[k], list, base))
                continue;
            buf_printf(out, "  %s %s: ", k == 0 ? "-" : " ", l->keys[k].name);
            put_value(out, &l->keys[k], base);
            buf_add_str(out, "\n");
        }
    }
}

void conf_print(const struct conf *c, struct buf *out)
{
    print_top(c, out);
    for (int list = LIST_TOP + 1; list < CONF_LISTS; list++)
        print_list(c, (enum conf_list_id)list, out);
}

/* ---- the reference ---- */

static void put_all_names(struct buf *out, const struct conf_name *names)
{
    for (const struct conf_name *n = names; n->text; n++)
        buf_printf(out, "%s%s", n == names ? "" : ", ", n->text);
}

static void put_type(struct buf *out, const struct conf_key *key)
{
    switch (key->type) {
    case T_TEXT:
        buf_add_str(out, "text");
        return;
    case T_PATH:
        buf_add_str(out, "path");
        return;
    case T_PIN:
        buf_add_str(out, "file:PATH, credential:NAME, fd:N or prompt");
        return;
    case T_BOOL:
        buf_add_str(out, "true or false");
        return;
    case T_UINT:
        buf_printf(out, "number %" PRId64 " to %" PRId64, key->min, key->max);
        return;
    case T_PATH_LEN:
        buf_printf(out, "none or number 0 to %" PRId64, key->max);
        return;
    case T_VALIDITY:
        buf_add_str(out, "none or duration, ");
        put_duration(out, key->min);
        buf_add_str(out, " to ");
        put_duration(out, key->max);
        return;
    case T_DURATION:
        buf_add_str(out, "duration, ");
        put_duration(out, key->min);
        buf_add_str(out, " to ");
        put_duration(out, key->max);
        return;
    case T_STRINGS:
        buf_add_str(out, "list of text");
        return;
    case T_ENUM:
        buf_add_str(out, "one of ");
        put_all_names(out, key->names);
        return;
    case T_BITS:
        buf_add_str(out, "list of ");
        put_all_names(out, key->names);
        return;
    }
}

static void put_default(struct buf *out, const struct conf_key *key)
{
    bool list = key->type == T_STRINGS || key->type == T_BITS;

    if (key->required) {
        buf_add_str(out, "required");
        return;
    }
    buf_add_str(out, "default ");
    if (key->note)
        buf_printf(out, "%s", key->note);
    else if (!key->def || key->def[0] == '\0')
        buf_add_str(out, list ? "[]" : "empty");
    else if (list)
        for (const char *p = key->def; *p; p += strcspn(p, " "), p += strspn(p, " "))
            buf_printf(out, "%s%.*s", p == key->def ? "" : ", ", (int)strcspn(p, " "), p);
    else
        buf_add_str(out, key->def);
}

static void put_key(struct buf *out, const struct conf_key *key)
{
    buf_printf(out, "- `%s%s%s` (", key->section ? key->section : "", key->section ? "." : "", key->name);
    put_type(out, key);
    buf_add_str(out, "; ");
    put_default(out, key);
    buf_printf(out, ")\n  %s\n", key->help);
}

void conf_help(struct buf *out)
{
    buf_add_str(out,
                "One YAML file holds the whole service. Unknown keys, a key given twice, aliases, anchors, tags and a second\n"
                "document are mistakes; every mistake is reported with its line (`inkand -t`). Durations are a number and a\n"
                "unit: 30s, 15m, 12h, 7d, 25y (a year is 365.25 days, rounded to whole days). Relative paths start at the\n"
                "directory of the file. A key written `a.b` below stands as `b` in the group `a`.\n\n"
                "## Top level\n\n");
    for (size_t i = 0; i < conf_lists[LIST_TOP].keys_n; i++)
        put_key(out, &conf_lists[LIST_TOP].keys[i]);
    for (int list = LIST_TOP + 1; list < CONF_LISTS; list++) {
        buf_printf(out, "\n## %s\n\n%s A list of groups with these keys:\n\n", conf_lists[list].name, conf_lists[list].help);
        for (size_t i = 0; i < conf_lists[list].keys_n; i++)
            put_key(out, &conf_lists[list].keys[i]);
    }
}
