/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the configuration file: YAML tree, schema table, all mistakes with their places. */
#include "base/conf_int.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "base/limits.h"

#define CONF_FILE_MAX  (1024 * 1024)
#define CONF_DEPTH_MAX 8    /* libyaml has no limit of its own and takes minutes for 200,000 brackets */
#define CONF_ITEMS_MAX 1000 /* per list */
#define MISTAKES_MAX   200

/* ---- mistakes ---- */

static void add_mistake(struct conf_reading *r, size_t line, size_t column, const char *path, const char *text)
{
    struct conf_mistake *m;

    if (r->mistakes_n == MISTAKES_MAX)
        return;
    m = &r->mistakes[r->mistakes_n++];
    m->line = line;
    m->column = column;
    snprintf(m->text, sizeof(m->text), "%s%s%s", path, path[0] ? ": " : "", text);
}

static void mistake_at(struct conf_reading *r, yaml_mark_t mark, const char *path, const char *fmt, ...) PRINTF_LIKE(4, 5);
static void mistake_at(struct conf_reading *r, yaml_mark_t mark, const char *path, const char *fmt, ...)
{
    char text[300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    add_mistake(r, mark.line + 1, mark.column + 1, path, text);
}

static void item_path(enum conf_list_id list, size_t item, char *out, size_t size)
{
    if (list == LIST_TOP)
        snprintf(out, size, "%s", "");
    else
        snprintf(out, size, "%s[%zu]", conf_lists[list].name, item);
}

static void key_path(enum conf_list_id list, size_t item, const struct conf_key *key, char *out, size_t size)
{
    char where[64];

    item_path(list, item, where, sizeof(where));
    snprintf(out, size, "%s%s%s%s%s", where, where[0] ? "." : "", key->section ? key->section : "",
             key->section ? "." : "", key->name);
}

static size_t key_at_offset(enum conf_list_id list, size_t offset)
{
    const struct conf_list *l = &conf_lists[list];

    for (size_t i = 0; i < l->keys_n; i++)
        if (l->keys[i].offset == offset)
            return i;
    return SIZE_MAX;
}

void conf_mistake(struct conf_reading *r, enum conf_list_id list, size_t item, size_t offset, int entry,
                  const char *fmt, ...)
{
    size_t k = key_at_offset(list, offset);
    const struct conf_places *places = item < r->places_n[list] ? &r->places[list][item] : NULL;
    yaml_node_t *node = places ? places->item : NULL;
    yaml_mark_t mark = {0};
    char path[160] = "", text[300];
    va_list ap;

    if (k != SIZE_MAX) {
        key_path(list, item, &conf_lists[list].keys[k], path, sizeof(path));
        if (places && places->key[k])
            node = places->key[k];
    }
    if (node && entry >= 0 && node->type == YAML_SEQUENCE_NODE &&
        entry < node->data.sequence.items.top - node->data.sequence.items.start)
        node = yaml_document_get_node(&r->doc, node->data.sequence.items.start[entry]);
    if (node)
        mark = node->start_mark;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    add_mistake(r, mark.line + 1, mark.column + 1, path, text);
}

bool conf_is_set(const struct conf_reading *r, enum conf_list_id list, size_t item, size_t offset)
{
    size_t k = key_at_offset(list, offset);

    return k != SIZE_MAX && item < r->places_n[list] && r->places[list][item].key[k] != NULL;
}

/* ---- values ---- */

bool conf_set_text(char **at, const char *text)
{
    char *copy = strdup(text);

    if (!copy)
        return false;
    free(*at);
    *at = copy;
    return true;
}

static bool strings_add(struct conf_strings *s, const char *text)
{
    char **grown = realloc(s->v, (s->n + 1) * sizeof(*grown));

    if (!grown)
        return false;
    s->v = grown;
    s->v[s->n] = strdup(text);
    if (!s->v[s->n])
        return false;
    s->n++;
    return true;
}

static void strings_clear(struct conf_strings *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->v[i]);
    free(s->v);
    *s = (struct conf_strings){NULL, 0};
}

/* Decimal digits without a leading zero, at most twelve; *rest is what follows. */
static bool read_number(const char *s, int64_t *out, const char **rest)
{
    size_t n = strspn(s, "0123456789");

    if (n == 0 || n > 12 || (n > 1 && s[0] == '0'))
        return false;
    *out = 0;
    for (size_t i = 0; i < n; i++)
        *out = *out * 10 + (s[i] - '0');
    *rest = s + n;
    return true;
}

static bool read_duration(const char *s, int64_t *out)
{
    const char *unit;
    int64_t n;

    if (!read_number(s, &n, &unit) || unit[0] == '\0' || unit[1] != '\0')
        return false;
    switch (unit[0]) {
    case 's':
        *out = n;
        return true;
    case 'm':
        *out = n * 60;
        return true;
    case 'h':
        *out = n * 3600;
        return true;
    case 'd':
        *out = n * 86400;
        return true;
    case 'y': /* 365.25 days, rounded to whole days */
        *out = (n * 36525 + 50) / 100 * 86400;
        return true;
    default:
        return false;
    }
}

static const struct conf_name *find_name(const struct conf_name *names, const char *text)
{
    for (; names->text; names++)
        if (strcmp(names->text, text) == 0)
            return names;
    return NULL;
}

static void list_names(const struct conf_name *names, char *out, size_t size)
{
    size_t at = 0;

    out[0] = '\0';
    for (; names->text && at < size; names++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", at ? ", " : "", names->text);
}

/* "file:PATH" keeps its prefix, PATH becomes absolute. */
static bool set_path(struct conf_reading *r, char **at, const char *prefix, const char *path)
{
    char full[PATH_MAX];
    int n;

    if (path[0] == '\0' || path[0] == '/')
        n = snprintf(full, sizeof(full), "%s%s", prefix, path);
    else
        n = snprintf(full, sizeof(full), "%s%s/%s", prefix, strcmp(r->dir, "/") == 0 ? "" : r->dir, path);
    if (n < 0 || (size_t)n >= sizeof(full))
        return false;
    if (!conf_set_text(at, full))
        r->nomem = true;
    return true;
}

/* One scalar into its member. Says what is wrong in `why`; empty when nothing is. */
/* "fd:N": not one of the standard ones. */
static bool is_descriptor(const char *text)
{
    size_t digits;
    int n;

    if (strncmp(text, "fd:", 3) != 0)
        return false;
    digits = strspn(text + 3, "0123456789");
    n = atoi(text + 3);
    return digits >= 1 && digits <= 4 && text[3 + digits] == '\0' && n >= 3 && n <= 1023;
}

static void set_scalar(struct conf_reading *r, const struct conf_key *key, char *base, const char *text, char why[300])
{
    void *at = base + key->offset;
    const struct conf_name *name;
    const char *rest;
    int64_t n = 0;

    why[0] = '\0';
    switch (key->type) {
    case T_TEXT:
        if (!conf_set_text(at, text))
            r->nomem = true;
        return;
    case T_PATH:
        if (!set_path(r, at, "", text))
            snprintf(why, 300, "path is too long");
        return;
    case T_PIN:
        if (strncmp(text, "file:", 5) == 0 && text[5] != '\0') {
            if (!set_path(r, at, "file:", text + 5))
                snprintf(why, 300, "path is too long");
        } else if (text[0] == '\0' || strcmp(text, "prompt") == 0 || is_descriptor(text) ||
                   (strncmp(text, "credential:", 11) == 0 && id_is_valid(text + 11))) {
            if (!conf_set_text(at, text))
                r->nomem = true;
        } else {
            /* The value is not repeated: it may be the PIN itself. */
            snprintf(why, 300, "must be file:PATH, credential:NAME, fd:N or prompt; a PIN never stands in the configuration");
        }
        return;
    case T_BOOL:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            snprintf(why, 300, "\"%.100s\" is neither true nor false", text);
        else
            *(bool *)at = text[0] == 't';
        return;
    case T_UINT:
        if (!read_number(text, &n, &rest) || *rest != '\0')
            snprintf(why, 300, "\"%.100s\" is not a whole number", text);
        else if (n < key->min || n > key->max)
            snprintf(why, 300, "%lld is not in %lld..%lld", (long long)n, (long long)key->min, (long long)key->max);
        else
            *(unsigned *)at = (unsigned)n;
        return;
    case T_PATH_LEN:
        if (strcmp(text, "none") == 0)
            *(int *)at = -1;
        else if (!read_number(text, &n, &rest) || *rest != '\0' || n > key->max)
            snprintf(why, 300, "\"%.100s\" is neither none nor a number up to %lld", text, (long long)key->max);
        else
            *(int *)at = (int)n;
        return;
    case T_VALIDITY:
        if (strcmp(text, "none") == 0) {
            *(bool *)(base + key->offset2) = true;
            *(int64_t *)at = 0;
            return;
        }
        *(bool *)(base + key->offset2) = false; /* a default may have said none */
        /* fall through */
    case T_DURATION:
        if (key->type == T_DURATION && key->min == 0 && strcmp(text, "none") == 0)
            *(int64_t *)at = 0;
        else if (!read_duration(text, &n))
            snprintf(why, 300, "\"%.100s\" is not a duration such as 30s, 15m, 12h, 7d or 25y", text);
        else if (n < key->min || n > key->max)
            snprintf(why, 300, "%.100s is not in %llds..%lldd", text, (long long)key->min, (long long)(key->max / 86400));
        else
            *(int64_t *)at = n;
        return;
    case T_ENUM:
        name = find_name(key->names, text);
        if (name) {
            *(int *)at = name->value;
        } else {
            char all[200];

            *(int *)at = -1; /* no value at all: later checks skip what hangs on it */
            list_names(key->names, all, sizeof(all));
            snprintf(why, 300, "\"%.60s\" is none of %s", text, all);
        }
        return;
    case T_STRINGS:
        if (!strings_add(at, text))
            r->nomem = true;
        return;
    case T_BITS:
        name = find_name(key->names, text);
        if (name) {
            *(unsigned *)at |= (unsigned)name->value;
        } else {
            char all[200];

            list_names(key->names, all, sizeof(all));
            snprintf(why, 300, "\"%.60s\" is none of %s", text, all);
        }
        return;
    }
}

static bool is_list(enum conf_type type)
{
    return type == T_STRINGS || type == T_BITS;
}

static void clear_list(const struct conf_key *key, char *base)
{
    if (key->type == T_STRINGS)
        strings_clear((struct conf_strings *)(void *)(base + key->offset));
    else
        *(unsigned *)(void *)(base + key->offset) = 0;
}

/* The table's own defaults are checked by the first test that loads anything: a bad one leaves `why` behind. */
static void set_default(struct conf_reading *r, const struct conf_key *key, char *base)
{
    char why[300] = "", word[128];
    const char *p = key->def ? key->def : "";
    bool text = key->type == T_TEXT || key->type == T_PATH || key->type == T_PIN;

    if (key->type == T_ENUM && !key->def) {
        *(int *)(void *)(base + key->offset) = -1;
    } else if (!is_list(key->type)) {
        if (text || key->def)
            set_scalar(r, key, base, p, why);
    } else {
        while (*(p += strspn(p, " "))) {
            snprintf(word, sizeof(word), "%.*s", (int)strcspn(p, " "), p);
            set_scalar(r, key, base, word, why);
            p += strcspn(p, " ");
        }
    }
    if (why[0])
        add_mistake(r, 0, 0, key->name, why);
}

/* ---- the tree ---- */

static const char *scalar_text(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

/* An empty plain scalar, ~ or null: the writer of the file gave no value at all. */
static bool is_null(const yaml_node_t *node)
{
    const char *s = scalar_text(node);

    return node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (s[0] == '\0' || strcmp(s, "~") == 0 || strcmp(s, "null") == 0);
}

static bool check_scalar(struct conf_reading *r, const yaml_node_t *node, const char *path)
{
    if (node->type != YAML_SCALAR_NODE) {
        mistake_at(r, node->start_mark, path, "must be a single value");
        return false;
    }
    if (is_null(node)) {
        mistake_at(r, node->start_mark, path, "has no value");
        return false;
    }
    if (strlen(scalar_text(node)) != node->data.scalar.length) {
        mistake_at(r, node->start_mark, path, "holds a NUL octet");
        return false;
    }
    for (const char *p = scalar_text(node); *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            mistake_at(r, node->start_mark, path, "holds a control character");
            return false;
        }
    return true;
}

static void read_value(struct conf_reading *r, const struct conf_key *key, char *base, yaml_node_t *node, const char *path)
{
    char why[300];

    if (!is_list(key->type)) {
        if (!check_scalar(r, node, path))
            return;
        set_scalar(r, key, base, scalar_text(node), why);
        if (why[0])
            mistake_at(r, node->start_mark, path, "%s", why);
        return;
    }
    if (node->type != YAML_SEQUENCE_NODE) {
        mistake_at(r, node->start_mark, path, "must be a list: [a, b]");
        return;
    }
    clear_list(key, base);
    for (yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top; i++) {
        yaml_node_t *entry = yaml_document_get_node(&r->doc, *i);

        if (i - node->data.sequence.items.start >= CONF_ITEMS_MAX) {
            mistake_at(r, entry->start_mark, path, "more than %d entries", CONF_ITEMS_MAX);
            return;
        }
        /* A bad entry keeps its place, so that later mistakes point at the right line. */
        if (!check_scalar(r, entry, path)) {
            if (key->type == T_STRINGS && !strings_add((struct conf_strings *)(void *)(base + key->offset), ""))
                r->nomem = true;
            continue;
        }
        set_scalar(r, key, base, scalar_text(entry), why);
        if (why[0])
            mistake_at(r, entry->start_mark, path, "%s", why);
    }
}

static bool same_section(const char *a, const char *b)
{
    return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

static size_t find_key(enum conf_list_id list, const char *section, const char *name)
{
    const struct conf_list *l = &conf_lists[list];

    for (size_t i = 0; i < l->keys_n; i++)
        if (same_section(l->keys[i].section, section) && strcmp(l->keys[i].name, name) == 0)
            return i;
    return SIZE_MAX;
}

static bool is_section(const char *name)
{
    const struct conf_list *l = &conf_lists[LIST_TOP];

    for (size_t i = 0; i < l->keys_n; i++)
        if (l->keys[i].section && strcmp(l->keys[i].section, name) == 0)
            return true;
    return false;
}

static enum conf_list_id find_list(const char *name)
{
    for (int i = LIST_TOP + 1; i < CONF_LISTS; i++)
        if (strcmp(conf_lists[i].name, name) == 0)
            return (enum conf_list_id)i;
    return LIST_TOP;
}

static void read_list(struct conf_reading *r, enum conf_list_id list, yaml_node_t *node);

static void read_pairs(struct conf_reading *r, enum conf_list_id list, size_t item, const char *section, char *base,
                       yaml_node_t *node);

/* Sections and lists stand at the top level only; `seen` finds a second one. */
static bool read_block(struct conf_reading *r, char *base, const char *name, yaml_node_t *key, yaml_node_t *value,
                       const char **seen, size_t *seen_n)
{
    enum conf_list_id list = find_list(name);

    if (list == LIST_TOP && !is_section(name))
        return false;
    for (size_t i = 0; i < *seen_n; i++)
        if (strcmp(seen[i], name) == 0) {
            mistake_at(r, key->start_mark, name, "stands here a second time");
            return true;
        }
    seen[(*seen_n)++] = name;
    if (list != LIST_TOP)
        read_list(r, list, value);
    else if (value->type != YAML_MAPPING_NODE)
        mistake_at(r, value->start_mark, name, "must be a group of keys");
    else
        read_pairs(r, LIST_TOP, 0, name, base, value);
    return true;
}

static void read_pairs(struct conf_reading *r, enum conf_list_id list, size_t item, const char *section, char *base,
                       yaml_node_t *node)
{
    struct conf_places *places = &r->places[list][item];
    const char *seen[32];
    size_t seen_n = 0;

    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
        yaml_node_t *key = yaml_document_get_node(&r->doc, p->key), *value = yaml_document_get_node(&r->doc, p->value);
        char path[160];
        size_t k;

        item_path(list, item, path, sizeof(path));
        if (key->type != YAML_SCALAR_NODE) {
            mistake_at(r, key->start_mark, path, "a key must be a name");
            continue;
        }
        if (list == LIST_TOP && !section && read_block(r, base, scalar_text(key), key, value, seen, &seen_n))
            continue;
        k = find_key(list, section, scalar_text(key));
        if (k == SIZE_MAX) {
            mistake_at(r, key->start_mark, section ? section : path, "unknown key \"%.60s\"", scalar_text(key));
            continue;
        }
        key_path(list, item, &conf_lists[list].keys[k], path, sizeof(path));
        if (places->key[k]) {
            mistake_at(r, key->start_mark, path, "stands here a second time");
            continue;
        }
        places->key[k] = value;
        read_value(r, &conf_lists[list].keys[k], base, value, path);
    }
}

static void set_defaults(struct conf_reading *r, enum conf_list_id list, char *base)
{
    for (size_t i = 0; i < conf_lists[list].keys_n; i++)
        set_default(r, &conf_lists[list].keys[i], base);
}

static void check_required(struct conf_reading *r, enum conf_list_id list, size_t item)
{
    for (size_t i = 0; i < conf_lists[list].keys_n; i++) {
        const struct conf_key *key = &conf_lists[list].keys[i];
        const yaml_node_t *node = r->places[list][item].key[i];

        if (!key->required)
            continue;
        if (!node)
            conf_mistake(r, list, item, key->offset, -1, "is missing");
        else if (node->type == YAML_SCALAR_NODE && node->data.scalar.length == 0 && !is_null(node))
            conf_mistake(r, list, item, key->offset, -1, "is empty");
    }
}

static void read_list(struct conf_reading *r, enum conf_list_id list, yaml_node_t *node)
{
    const struct conf_list *l = &conf_lists[list];
    yaml_node_item_t *start, *top;
    size_t n;
    char *items;

    if (node->type != YAML_SEQUENCE_NODE) {
        mistake_at(r, node->start_mark, l->name, "must be a list of entries (- name: ...)");
        return;
    }
    start = node->data.sequence.items.start;
    top = node->data.sequence.items.top;
    n = (size_t)(top - start);
    if (n > CONF_ITEMS_MAX) {
        mistake_at(r, node->start_mark, l->name, "more than %d entries", CONF_ITEMS_MAX);
        return;
    }
    items = calloc(n ? n : 1, l->item_size);
    r->places[list] = calloc(n ? n : 1, sizeof(*r->places[list]));
    *(char **)(void *)((char *)r->conf + l->offset) = items;
    if (!items || !r->places[list]) {
        r->nomem = true;
        return;
    }
    CONF_COUNT(r->conf, list) = n;
    r->places_n[list] = n;
    for (size_t i = 0; i < n; i++) {
        yaml_node_t *entry = yaml_document_get_node(&r->doc, start[i]);
        char path[64];

        r->places[list][i].item = entry;
        set_defaults(r, list, items + i * l->item_size);
        item_path(list, i, path, sizeof(path));
        if (entry->type != YAML_MAPPING_NODE) {
            mistake_at(r, entry->start_mark, path, "must be a group of keys");
            continue;
        }
        read_pairs(r, list, i, NULL, items + i * l->item_size, entry);
        check_required(r, list, i);
    }
}

/* ---- the file ---- */

/* What the tree no longer shows: anchors, aliases, tags, a second document; and its depth before it is built. */
static bool scan_events(struct conf_reading *r, struct bytes text)
{
    yaml_parser_t parser;
    int depth = 0, documents = 0;
    bool done = false, usable = true;

    if (!yaml_parser_initialize(&parser)) {
        r->nomem = true;
        return false;
    }
    yaml_parser_set_input_string(&parser, text.p, text.len);
    while (!done && usable) {
        const yaml_char_t *anchor = NULL, *tag = NULL;
        yaml_event_t ev;

        if (!yaml_parser_parse(&parser, &ev)) {
            r->nomem |= parser.error == YAML_MEMORY_ERROR;
            mistake_at(r, parser.problem_mark, "", "YAML: %s%s%s", parser.context ? parser.context : "",
                       parser.context ? ": " : "", parser.problem ? parser.problem : "out of memory");
            usable = false;
            break;
        }
        switch (ev.type) {
        case YAML_ALIAS_EVENT:
            mistake_at(r, ev.start_mark, "", "aliases (*name) are not allowed");
            usable = false;
            break;
        case YAML_SCALAR_EVENT:
            anchor = ev.data.scalar.anchor;
            tag = ev.data.scalar.tag;
            break;
        case YAML_SEQUENCE_START_EVENT:
            anchor = ev.data.sequence_start.anchor;
            tag = ev.data.sequence_start.tag;
            depth++;
            break;
        case YAML_MAPPING_START_EVENT:
            anchor = ev.data.mapping_start.anchor;
            tag = ev.data.mapping_start.tag;
            depth++;
            break;
        case YAML_SEQUENCE_END_EVENT:
        case YAML_MAPPING_END_EVENT:
            depth--;
            break;
        case YAML_DOCUMENT_START_EVENT:
            if (++documents == 2)
                mistake_at(r, ev.start_mark, "", "a second document is not allowed");
            break;
        default:
            break;
        }
        if (anchor)
            mistake_at(r, ev.start_mark, "", "anchors (&name) are not allowed");
        if (tag)
            mistake_at(r, ev.start_mark, "", "tags (!name) are not allowed");
        if (depth > CONF_DEPTH_MAX) {
            mistake_at(r, ev.start_mark, "", "more than %d levels", CONF_DEPTH_MAX);
            usable = false;
        }
        done = ev.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&ev);
    }
    yaml_parser_delete(&parser);
    return usable;
}

static void read_document(struct conf_reading *r)
{
    yaml_node_t *root = yaml_document_get_root_node(&r->doc);

    r->places[LIST_TOP] = calloc(1, sizeof(*r->places[LIST_TOP]));
    if (!r->places[LIST_TOP]) {
        r->nomem = true;
        return;
    }
    r->places_n[LIST_TOP] = 1;
    r->places[LIST_TOP][0].item = root;
    set_defaults(r, LIST_TOP, (char *)r->conf);
    if (!root || root->type != YAML_MAPPING_NODE) {
        add_mistake(r, 1, 1, "", root ? "the file must be a group of keys" : "the file is empty");
        return;
    }
    read_pairs(r, LIST_TOP, 0, NULL, (char *)r->conf, root);
    check_required(r, LIST_TOP, 0);
    if (r->nomem)
        return;
    conf_derive(r);
    conf_check(r);
}

static void read_text(struct conf_reading *r, struct bytes text)
{
    const uint8_t *nul = text.len ? memchr(text.p, '\0', text.len) : NULL;
    yaml_parser_t parser;

    if (nul) {
        size_t line = 1;

        for (const uint8_t *p = text.p; p < nul; p++)
            line += *p == '\n';
        add_mistake(r, line, 1, "", "the file holds a NUL octet");
        return;
    }
    if (text.len == 0)
        text = bytes_str(""); /* libyaml asserts that there is a pointer */
    if (!scan_events(r, text))
        return;
    if (!yaml_parser_initialize(&parser)) {
        r->nomem = true;
        return;
    }
    yaml_parser_set_input_string(&parser, text.p, text.len);
    if (yaml_parser_load(&parser, &r->doc)) {
        read_document(r);
        yaml_document_delete(&r->doc);
    } else {
        r->nomem |= parser.error == YAML_MEMORY_ERROR;
        mistake_at(r, parser.problem_mark, "", "YAML: %s", parser.problem ? parser.problem : "out of memory");
    }
    yaml_parser_delete(&parser);
}

static int by_place(const void *a, const void *b)
{
    const struct conf_mistake *x = a, *y = b;

    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    if (x->column != y->column)
        return x->column < y->column ? -1 : 1;
    return strcmp(x->text, y->text);
}

static enum err_code tell_mistakes(struct conf_reading *r, struct buf *report, struct err *e)
{
    const struct conf_mistake *first = &r->mistakes[0];

    qsort(r->mistakes, r->mistakes_n, sizeof(*r->mistakes), by_place);
    if (report) {
        for (size_t i = 0; i < r->mistakes_n; i++)
            buf_printf(report, "%s:%zu:%zu: %s\n", r->path, r->mistakes[i].line, r->mistakes[i].column,
                       r->mistakes[i].text);
        if (r->mistakes_n == MISTAKES_MAX)
            buf_printf(report, "%s: only the first %d mistakes are shown\n", r->path, MISTAKES_MAX);
    }
    return err_set(e, E_INVALID, "%s:%zu:%zu: %s", r->path, first->line, first->column, first->text);
}

/* The directory relative paths start from, and the absolute path of the file itself. */
static enum err_code find_dir(const char *path, char dir[PATH_MAX], char full[PATH_MAX], struct err *e)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    char part[PATH_MAX];
    int n;

    if (!slash)
        snprintf(part, sizeof(part), ".");
    else
        snprintf(part, sizeof(part), "%.*s", slash == path ? 1 : (int)(slash - path), path);
    if (!realpath(part, dir))
        return err_errno(e, errno == ENOENT ? E_NOT_FOUND : E_IO, "%s", path);
    n = snprintf(full, PATH_MAX, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, base);
    return n > 0 && n < PATH_MAX ? E_OK : err_set(e, E_INVALID, "%s: path is too long", path);
}

enum err_code conf_load(const char *path, struct conf **out, struct buf *report, struct err *e)
{
    struct conf_reading r = {.path = path};
    struct buf text = BUF_INIT(CONF_FILE_MAX);
    char dir[PATH_MAX], full[PATH_MAX];
    struct conf *c = NULL;
    enum err_code rc;

    *out = NULL;
    rc = find_dir(path, dir, full, e);
    if (rc == E_OK)
        rc = file_read(path, &text, e);
    if (rc != E_OK)
        goto done;
    c = calloc(1, sizeof(*c));
    r.mistakes = calloc(MISTAKES_MAX, sizeof(*r.mistakes));
    if (!c || !r.mistakes || !conf_set_text(&c->path, full)) {
        rc = err_set(e, E_NOMEM, "%s: out of memory", path);
        goto done;
    }
    r.conf = c;
    r.dir = dir;
    read_text(&r, buf_bytes(&text));
    if (r.nomem)
        rc = err_set(e, E_NOMEM, "%s: out of memory", path);
    else if (r.mistakes_n > 0)
        rc = tell_mistakes(&r, report, e);
    else
        *out = TAKE(c);
done:
    for (int i = 0; i < CONF_LISTS; i++)
        free(r.places[i]);
    free(r.mistakes);
    buf_clear(&text);
    conf_free(c);
    return rc;
}

static void free_item(enum conf_list_id list, char *base)
{
    for (size_t i = 0; i < conf_lists[list].keys_n; i++) {
        const struct conf_key *key = &conf_lists[list].keys[i];

        if (key->type == T_TEXT || key->type == T_PATH || key->type == T_PIN)
            free(*(char **)(void *)(base + key->offset));
        else if (key->type == T_STRINGS)
            strings_clear((struct conf_strings *)(void *)(base + key->offset));
    }
}

void conf_free(struct conf *c)
{
    if (!c)
        return;
    for (int list = LIST_TOP + 1; list < CONF_LISTS; list++) {
        char *items = *(char **)(void *)((char *)c + conf_lists[list].offset);

        for (size_t i = 0; items && i < CONF_COUNT(c, list); i++)
            free_item((enum conf_list_id)list, items + i * conf_lists[list].item_size);
        free(items);
    }
    free_item(LIST_TOP, (char *)c);
    free(c->path);
    free(c);
}

/* ---- finding ---- */

#define FINDER(function, type, array)                                                                                  \
    const struct type *function(const struct conf *c, const char *name)                                                \
    {                                                                                                                  \
        for (size_t i = 0; name && i < c->array##_n; i++)                                                              \
            if (strcmp(c->array[i].name, name) == 0)                                                                   \
                return &c->array[i];                                                                                   \
        return NULL;                                                                                                   \
    }

FINDER(conf_find_token, conf_token, tokens)
FINDER(conf_find_ca, conf_ca, cas)
FINDER(conf_find_profile, conf_profile, profiles)
FINDER(conf_find_domain, conf_domain, domains)
FINDER(conf_find_anchor, conf_anchor, anchors)
FINDER(conf_find_label, conf_label, labels)
FINDER(conf_find_audience, conf_audience, audiences)

const struct conf_ca *conf_ca_root(const struct conf *c, const struct conf_ca *ca)
{
    /* The bound ends a cycle, which conf_check has refused but meets itself. */
    for (size_t i = 0; ca && ca->issuer[0] != '\0' && !conf_ca_is_external(ca) && i <= c->cas_n; i++)
        ca = conf_find_ca(c, ca->issuer);
    return ca && (ca->issuer[0] == '\0' || conf_ca_is_external(ca)) ? ca : NULL;
}

bool conf_ca_is_external(const struct conf_ca *ca)
{
    return strcmp(ca->issuer, ISSUER_EXTERNAL) == 0;
}
