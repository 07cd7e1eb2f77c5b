/* SPDX-License-Identifier: Apache-2.0 */
#include "enroll/gate/conf.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "base/life.h"
#include "ca/service.h"

#define CONF_MAX (256 * 1024)
#define DAY      86400

enum type { TEXT, TEXTS, DURATION, SCOPES, KIND, LIST };

struct list;

struct key {
    const char *name;
    enum type type;
    size_t offset;
    const char *def; /* NULL: required; of a list none is needed */
    int64_t min, max;
    const struct list *list; /* LIST */
};

struct list {
    const char *name;
    const struct key *keys;
    size_t keys_n, item_size, offset_n;
};

struct reading {
    yaml_document_t doc;
    const char *path;
    struct err *e;
};

#define KEY(type_, member) .offset = offsetof(struct type_, member)

static const struct key audience_keys[] = {
    {"name", TEXT, KEY(conf_audience, name)},
    {"scopes", SCOPES, KEY(conf_audience, scopes), "full"},
    {"domains", TEXTS, KEY(conf_audience, domains), ""},
    {"products", TEXTS, KEY(conf_audience, products), ""},
    {"firmware_blocked", TEXTS, KEY(conf_audience, firmware_blocked), ""},
    {"stale_soft", DURATION, KEY(conf_audience, stale_soft_s), "24h", 10, 366 * DAY},
    {"stale_hard", DURATION, KEY(conf_audience, stale_hard_s), "7d", 10, 366 * DAY},
    {"cache_allow", DURATION, KEY(conf_audience, cache_allow_s), "10s", 0, 3600},
    {"cache_deny", DURATION, KEY(conf_audience, cache_deny_s), "300s", 0, DAY},
};

static const struct key crl_keys[] = {
    {"name", TEXT, KEY(gate_crl, name)},
    {"url", TEXT, KEY(gate_crl, url)},
    {"ca", TEXT, KEY(gate_crl, ca)},
    {"file", TEXT, KEY(gate_crl, file)},
    {"poll", DURATION, KEY(gate_crl, poll_s), "60s", 1, DAY},
};

static const struct key driver_keys[] = {
    {"name", TEXT, KEY(gate_driver, name)},
    {"kind", KIND, KEY(gate_driver, kind)},
    {"crl", TEXT, KEY(gate_driver, crl), ""},
    {"audience", TEXT, KEY(gate_driver, audience), "default"},
    {"issuers", TEXTS, KEY(gate_driver, issuers), ""},
    {"pid_file", TEXT, KEY(gate_driver, pid_file), ""},
    {"process", TEXT, KEY(gate_driver, process), ""},
    {"signal", TEXT, KEY(gate_driver, signal_name), "HUP"},
    {"command", TEXTS, KEY(gate_driver, command), ""},
    {"socket", TEXT, KEY(gate_driver, socket), ""},
    {"acl", TEXT, KEY(gate_driver, acl), ""},
    {"table", TEXT, KEY(gate_driver, table), ""},
    {"kick", TEXT, KEY(gate_driver, kick), ""},
};

static const struct list audience_list = {"audiences", audience_keys, ARRAY_LEN(audience_keys), sizeof(struct conf_audience),
                                          offsetof(struct gate_conf, audiences_n)};
static const struct list crl_list = {"crls", crl_keys, ARRAY_LEN(crl_keys), sizeof(struct gate_crl), offsetof(struct gate_conf, crls_n)};
static const struct list driver_list = {"drivers", driver_keys, ARRAY_LEN(driver_keys), sizeof(struct gate_driver),
                                        offsetof(struct gate_conf, drivers_n)};

static const struct key top_keys[] = {
    {"state", TEXT, KEY(gate_conf, state)},
    {"user", TEXT, KEY(gate_conf, user), ""},
    {"listen", TEXTS, KEY(gate_conf, listen), ""},
    {"socket_group", TEXT, KEY(gate_conf, socket_group), ""},
    {"urls", TEXTS, KEY(gate_conf, urls), ""},
    {"ca", TEXT, KEY(gate_conf, ca), ""},
    {"cert", TEXT, KEY(gate_conf, cert), ""},
    {"key", TEXT, KEY(gate_conf, key), ""},
    {"audiences", LIST, KEY(gate_conf, audiences), "", .list = &audience_list},
    {"crls", LIST, KEY(gate_conf, crls), "", .list = &crl_list},
    {"drivers", LIST, KEY(gate_conf, drivers), "", .list = &driver_list},
};

static enum err_code mistake(struct reading *r, const yaml_node_t *at, const char *key, const char *what)
{
    return err_set(r->e, E_INVALID, "%s:%zu: %s%s%s", r->path, at ? at->start_mark.line + 1 : 1, key, *key ? ": " : "", what);
}

static const char *scalar(const yaml_node_t *n)
{
    const char *s = n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;

    return s && strlen(s) == n->data.scalar.length ? s : NULL;
}

static bool strings_add(struct conf_strings *out, const char *text)
{
    char **more = realloc(out->v, (out->n + 1) * sizeof(*more));

    if (!more)
        return false;
    out->v = more;
    out->v[out->n] = strdup(text);
    return out->v[out->n] && ++out->n;
}

/* "90s", "5m", "24h", "7d"; a bare number is seconds. */
static bool read_duration(const char *s, int64_t *out)
{
    static const struct {
        const char *unit;
        int64_t s;
    } units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", DAY}};
    char *end;
    long long v = strtoll(s, &end, 10);

    if (end == s || v < 0 || v > 1000000)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (strcmp(end, units[i].unit) == 0) {
            *out = v * units[i].s;
            return true;
        }
    return false;
}

static bool read_kind(const char *s, enum driver_kind *out)
{
    static const char *const names[] = {[DRIVER_RELOAD] = "reload", [DRIVER_HAPROXY] = "haproxy", [DRIVER_MOSQUITTO] = "mosquitto"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(s, names[i]) == 0) {
            *out = (enum driver_kind)i;
            return true;
        }
    return false;
}

static enum err_code read_texts(struct reading *r, const yaml_node_t *n, const struct key *k, struct conf_strings *out)
{
    if (n->type != YAML_SEQUENCE_NODE)
        return mistake(r, n, k->name, "must be a list of texts");
    for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
        const yaml_node_t *item = yaml_document_get_node(&r->doc, *i);
        const char *s = scalar(item);

        if (!s)
            return mistake(r, item, k->name, "must be a list of texts");
        if (!strings_add(out, s))
            return err_set(r->e, E_NOMEM, "%s", r->path);
    }
    return E_OK;
}

static enum err_code read_scopes(struct reading *r, const yaml_node_t *n, const struct key *k, unsigned *out)
{
    struct conf_strings names = {0};
    enum err_code code = read_texts(r, n, k, &names);
    enum access_scope scope;

    for (size_t i = 0; i < names.n; i++) {
        if (code == E_OK && (!access_scope_from_name(names.v[i], &scope) || scope == SCOPE_NONE))
            code = mistake(r, n, k->name, "must be some of line, enroll-only, update-only, repair, full");
        else if (code == E_OK)
            *out |= 1u << scope;
        free(names.v[i]);
    }
    free(names.v);
    return code;
}

static enum err_code read_mapping(struct reading *r, const yaml_node_t *n, const struct key *keys, size_t keys_n, void *out);

static enum err_code read_list(struct reading *r, const yaml_node_t *n, const struct key *k, char *base)
{
    size_t *count = (size_t *)(base + k->list->offset_n), items;
    enum err_code code = E_OK;
    char *v;

    if (n->type != YAML_SEQUENCE_NODE)
        return mistake(r, n, k->name, "must be a list");
    items = (size_t)(n->data.sequence.items.top - n->data.sequence.items.start);
    v = calloc(items + 1, k->list->item_size); /* one more: audiences get their default */
    if (!v)
        return err_set(r->e, E_NOMEM, "%s", r->path);
    *(char **)(base + k->offset) = v;
    for (; *count < items && code == E_OK; ++*count)
        code = read_mapping(r, yaml_document_get_node(&r->doc, n->data.sequence.items.start[*count]), k->list->keys, k->list->keys_n,
                            v + *count * k->list->item_size);
    return code;
}

static enum err_code read_value(struct reading *r, const yaml_node_t *n, const struct key *k, char *base)
{
    void *at = base + k->offset;
    const char *s = scalar(n);

    switch (k->type) {
    case TEXTS:
        return read_texts(r, n, k, at);
    case SCOPES:
        return read_scopes(r, n, k, at);
    case LIST:
        return read_list(r, n, k, base);
    case TEXT:
        if (!s || !*s)
            return mistake(r, n, k->name, "must be a text");
        *(char **)at = strdup(s);
        return *(char **)at ? E_OK : err_set(r->e, E_NOMEM, "%s", r->path);
    case DURATION:
        if (!s || !read_duration(s, at) || *(int64_t *)at < k->min || *(int64_t *)at > k->max)
            return mistake(r, n, k->name, "must be a time like 30s, 24h or 7d within its limits");
        return E_OK;
    case KIND:
        return s && read_kind(s, at) ? E_OK : mistake(r, n, k->name, "must be reload, haproxy or mosquitto");
    }
    return E_OK;
}

static enum err_code read_default(struct reading *r, const yaml_node_t *n, const struct key *k, char *base)
{
    void *at = base + k->offset;

    if (!k->def)
        return mistake(r, n, k->name, "is missing");
    if (k->type == TEXT && !(*(char **)at = strdup(k->def)))
        return err_set(r->e, E_NOMEM, "%s", r->path);
    if (k->type == DURATION)
        read_duration(k->def, at);
    if (k->type == SCOPES)
        *(unsigned *)at = 1u << SCOPE_FULL;
    return E_OK;
}

static enum err_code read_mapping(struct reading *r, const yaml_node_t *n, const struct key *keys, size_t keys_n, void *out)
{
    bool seen[32] = {false};

    if (!n || n->type != YAML_MAPPING_NODE)
        return mistake(r, n, "", "keys and values are expected");
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_document_get_node(&r->doc, p->key);
        const char *name = scalar(key);
        size_t i = 0;

        while (name && i < keys_n && strcmp(keys[i].name, name) != 0)
            i++;
        if (!name || i == keys_n)
            return mistake(r, key, name ? name : "", "unknown key");
        if (seen[i])
            return mistake(r, key, name, "stands there twice");
        seen[i] = true;
        if (read_value(r, yaml_document_get_node(&r->doc, p->value), &keys[i], out) != E_OK)
            return r->e->code;
    }
    for (size_t i = 0; i < keys_n; i++)
        if (!seen[i] && read_default(r, n, &keys[i], out) != E_OK)
            return r->e->code;
    return E_OK;
}

/* ---- what concerns more than one value ---- */

static int signal_of(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } known[] = {{"HUP", SIGHUP}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"WINCH", SIGWINCH}};

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(name, known[i].name) == 0)
            return known[i].number;
    return 0;
}

static enum err_code check_driver(const struct gate_conf *c, struct gate_driver *d, struct err *e)
{
    bool reload = d->pid_file[0] || d->command.n;

    d->signal = signal_of(d->signal_name);
    if (!id_is_valid(d->name))
        return err_set(e, E_INVALID, "%s: driver \"%s\": not a name", c->path, d->name);
    if (d->crl[0] && !gate_conf_crl(c, d->crl))
        return err_set(e, E_INVALID, "%s: driver %s: no list is called \"%s\"", c->path, d->name, d->crl);
    if (!gate_conf_audience(c, d->audience))
        return err_set(e, E_INVALID, "%s: driver %s: no audience is called \"%s\"", c->path, d->name, d->audience);
    if (!d->signal)
        return err_set(e, E_INVALID, "%s: driver %s: signal must be HUP, USR1, USR2 or WINCH", c->path, d->name);
    if (d->kind == DRIVER_HAPROXY ? !d->socket[0] || !d->acl[0] || reload : !reload || !d->crl[0])
        return err_set(e, E_INVALID, "%s: driver %s: %s", c->path, d->name,
                       d->kind == DRIVER_HAPROXY ? "haproxy needs socket and acl, and nothing to reload" : "needs crl, and pid_file or command");
    if (d->kind == DRIVER_HAPROXY && !c->urls.n && !d->crl[0])
        return err_set(e, E_INVALID, "%s: driver %s: without urls haproxy needs crl: nothing else says who is refused", c->path, d->name);
    if (d->table[0] && (d->kind != DRIVER_HAPROXY || !id_is_valid(d->table)))
        return err_set(e, E_INVALID, "%s: driver %s: table is the name of a stick table of haproxy", c->path, d->name);
    if (d->pid_file[0] && !d->process[0])
        return err_set(e, E_INVALID, "%s: driver %s: pid_file needs process, the name that process has", c->path, d->name);
    if (d->kind == DRIVER_MOSQUITTO && !d->kick[0])
        return err_set(e, E_INVALID, "%s: driver %s: mosquitto needs kick", c->path, d->name);
    if (d->command.n && d->command.v[0][0] != '/')
        return err_set(e, E_INVALID, "%s: driver %s: a command begins with the path of a program", c->path, d->name);
    return E_OK;
}

static enum err_code add_default_audience(struct gate_conf *c, struct err *e)
{
    struct conf_audience *a;

    if (gate_conf_audience(c, "default"))
        return E_OK;
    if (!c->audiences)
        c->audiences = calloc(1, sizeof(*c->audiences));
    a = c->audiences ? &c->audiences[c->audiences_n] : NULL;
    if (!a)
        return err_set(e, E_NOMEM, "%s", c->path);
    audience_default(a);
    a->name = strdup("default");
    if (!a->name)
        return err_set(e, E_NOMEM, "%s", c->path);
    c->audiences_n++;
    return E_OK;
}

static enum err_code check(struct gate_conf *c, struct err *e)
{
    if (add_default_audience(c, e) != E_OK)
        return e->code;
    c->policy_version = audiences_version(c->audiences, c->audiences_n);
    for (size_t i = 0; i < c->audiences_n; i++)
        if (c->audiences[i].stale_hard_s < c->audiences[i].stale_soft_s)
            return err_set(e, E_INVALID, "%s: audience %s: stale_hard is below stale_soft", c->path, c->audiences[i].name);
    if (c->urls.n && (!c->ca[0] || !c->cert[0] || !c->key[0]))
        return err_set(e, E_INVALID, "%s: urls need ca, cert and key", c->path);
    for (size_t i = 0; i < c->crls_n; i++)
        if (!id_is_valid(c->crls[i].name))
            return err_set(e, E_INVALID, "%s: list \"%s\": not a name", c->path, c->crls[i].name);
    for (size_t i = 0; i < c->drivers_n; i++)
        if (check_driver(c, &c->drivers[i], e) != E_OK)
            return e->code;
    return E_OK;
}

static enum err_code load(struct bytes text, const char *path, struct gate_conf *c, struct err *e)
{
    struct reading r = {.path = path, .e = e};
    yaml_parser_t parser;
    enum err_code code;

    if (!yaml_parser_initialize(&parser))
        return err_set(e, E_NOMEM, "%s", path);
    yaml_parser_set_input_string(&parser, text.p, text.len);
    if (!yaml_parser_load(&parser, &r.doc)) {
        code = err_set(e, E_INVALID, "%s:%zu: %s", path, parser.problem_mark.line + 1, parser.problem ? parser.problem : "not YAML");
    } else {
        code = read_mapping(&r, yaml_document_get_root_node(&r.doc), top_keys, ARRAY_LEN(top_keys), c);
        yaml_document_delete(&r.doc);
    }
    yaml_parser_delete(&parser);
    return code == E_OK ? check(c, e) : code;
}

enum err_code gate_conf_load(const char *path, struct gate_conf **out, struct err *e)
{
    AUTO_BUF text = BUF_INIT(CONF_MAX);
    struct gate_conf *c;

    *out = NULL;
    if (file_read(path, &text, e) != E_OK)
        return e->code;
    c = calloc(1, sizeof(*c));
    if (!c || !(c->path = strdup(path))) {
        free(c);
        return err_set(e, E_NOMEM, "%s", path);
    }
    if (load(buf_bytes(&text), path, c, e) != E_OK) {
        gate_conf_free(c);
        return e->code;
    }
    *out = c;
    return E_OK;
}

static void free_values(const struct key *keys, size_t keys_n, char *base)
{
    for (size_t i = 0; i < keys_n; i++) {
        void *at = base + keys[i].offset;

        if (keys[i].type == TEXT)
            free(*(char **)at);
        if (keys[i].type == TEXTS) {
            struct conf_strings *s = at;

            for (size_t k = 0; k < s->n; k++)
                free(s->v[k]);
            free(s->v);
        }
        if (keys[i].type == LIST) {
            char *v = *(char **)at;

            for (size_t k = 0; v && k < *(size_t *)(base + keys[i].list->offset_n); k++)
                free_values(keys[i].list->keys, keys[i].list->keys_n, v + k * keys[i].list->item_size);
            free(v);
        }
    }
}

void gate_conf_free(struct gate_conf *c)
{
    if (!c)
        return;
    free_values(top_keys, ARRAY_LEN(top_keys), (char *)c);
    free(c->path);
    free(c);
}

const struct conf_audience *gate_conf_audience(const struct gate_conf *c, const char *name)
{
    for (size_t i = 0; i < c->audiences_n; i++)
        if (strcmp(c->audiences[i].name, name) == 0)
            return &c->audiences[i];
    return NULL;
}

const struct gate_crl *gate_conf_crl(const struct gate_conf *c, const char *name)
{
    for (size_t i = 0; i < c->crls_n; i++)
        if (strcmp(c->crls[i].name, name) == 0)
            return &c->crls[i];
    return NULL;
}
