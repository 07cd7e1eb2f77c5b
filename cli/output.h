/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the CLI prints: tables for people, JSON for programs, from the same rows. Text of the rows is harmless to a terminal both ways
 * (base/text.h; JSON in ASCII).
 */
#ifndef INKAN_CLI_OUTPUT_H
#define INKAN_CLI_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>

enum cell {
    CELL_TEXT,
    CELL_TIME,   /* UTC seconds; 0 prints as "-" */
    CELL_NUMBER,
    CELL_REF,    /* the number of another row; 0 prints as "-" */
    CELL_SHORT,  /* first 16 characters of a hash or serial */
    CELL_LIST,   /* an array of strings, or of objects with a "name" */
    CELL_BOOL,   /* yes, no */
};

struct column {
    const char *member; /* of the row object */
    const char *title;
    enum cell cell;
};

/*
 * A table that prints itself in chunks, so that a list of a million rows neither waits nor fills memory. With `json` the
 * rows come as one JSON array instead.
 */
struct table;
struct table *table_new(const struct column *columns, bool json);
bool table_rows(void *table, const json_t *rows); /* an admin_rows_fn */
/* Prints what is left; `empty` is said on standard error when there was no row. Frees. false: output failed. */
bool table_end(struct table *t, const char *empty);

/* "name: value" lines of an object, nested arrays of objects as tables below; or the JSON itself. */
bool print_object(const json_t *object, bool json);

/* A value as text, as it is: SHOWN before a terminal sees it. `out` is always terminated. */
void cell_format(const json_t *value, enum cell cell, char *out, size_t size);

#endif
