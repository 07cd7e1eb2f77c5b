/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema of the configuration and what reading it needs, shared by conf.c (reading), conf_schema.c (the table),
 * conf_check.c (references between values) and conf_text.c (printer, help).
 */
#ifndef INKAN_BASE_CONF_INT_H
#define INKAN_BASE_CONF_INT_H

#include <yaml.h>

#include "base/conf.h"

enum conf_type {
    T_TEXT,     /* char * */
    T_PATH,     /* char *; relative to the file's directory */
    T_PIN,      /* char *; "file:PATH", "credential:NAME", "fd:N" or "prompt" */
    T_BOOL,     /* bool */
    T_UINT,     /* unsigned, min..max */
    T_DURATION, /* int64_t seconds, min..max; "none" is 0 where min is 0 */
    T_VALIDITY, /* as T_DURATION; "none" sets the bool at offset2 */
    T_PATH_LEN, /* int; "none" is -1 */
    T_STRINGS,  /* struct conf_strings */
    T_ENUM,     /* enum, by name */
    T_BITS,     /* unsigned, a list of names */
};

struct conf_name {
    const char *text; /* NULL ends the table */
    int value;
};

struct conf_key {
    const char *section; /* "directories", or NULL */
    const char *name;
    enum conf_type type;
    size_t offset, offset2;
    int64_t min, max;
    const struct conf_name *names;
    const char *def;  /* as it would stand in the file; lists separated by spaces; NULL: see `required` and `note` */
    bool required;
    const char *note; /* what the default is when it depends on other values */
    const char *help;
};

enum conf_list_id { LIST_TOP, LIST_TOKENS, LIST_CAS, LIST_PROFILES, LIST_DOMAINS, LIST_ANCHORS, LIST_LABELS, LIST_ORDER_SIGNERS, LIST_AUDIENCES, LIST_NOTIFY, CONF_LISTS };

#define CONF_KEYS_MAX 80

struct conf_list {
    const char *name; /* NULL for the top level, whose one item is struct conf itself */
    const struct conf_key *keys;
    size_t keys_n, item_size;
    size_t offset, offset_n; /* of the array and its count in struct conf */
    const char *help;
};

extern const struct conf_list conf_lists[CONF_LISTS];

/* Where each value of one item stood in the file; NULL: not there. */
struct conf_places {
    yaml_node_t *item;
    yaml_node_t *key[CONF_KEYS_MAX];
};

struct conf_mistake {
    size_t line, column;
    char text[400];
};

/* One reading of one file. */
struct conf_reading {
    const char *path; /* as the caller named it, for messages */
    const char *dir;  /* absolute directory that relative paths start from */
    struct conf *conf;
    yaml_document_t doc;
    struct conf_places *places[CONF_LISTS];
    size_t places_n[CONF_LISTS];
    struct conf_mistake *mistakes;
    size_t mistakes_n;
    bool nomem;
};

/* One mistake at the value of the key whose member lies at `offset`; entry >= 0: at that entry of its list. */
void conf_mistake(struct conf_reading *r, enum conf_list_id list, size_t item, size_t offset, int entry,
                  const char *fmt, ...) PRINTF_LIKE(6, 7);
bool conf_is_set(const struct conf_reading *r, enum conf_list_id list, size_t item, size_t offset);

/* Everything that concerns more than one value. Also fills defaults that depend on other values. */
void conf_derive(struct conf_reading *r);
void conf_check(struct conf_reading *r);

#define CONF_ITEM(conf, list, i) (*(char **)((char *)(conf) + conf_lists[list].offset) + (i) * conf_lists[list].item_size)
#define CONF_COUNT(conf, list)   (*(size_t *)((char *)(conf) + conf_lists[list].offset_n))

bool conf_set_text(char **at, const char *text); /* replaces; false: out of memory */

#endif
