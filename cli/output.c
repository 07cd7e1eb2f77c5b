/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include <libsmartcols/libsmartcols.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/text.h"

#define TABLE_CHUNK 1000

struct table {
    const struct column *columns;
    bool json, failed;
    size_t printed; /* rows that are out */
    struct libscols_table *chunk;
    size_t chunk_rows;
};

static void join_list(const json_t *list, char *out, size_t size)
{
    size_t used = 0, i;
    json_t *item;

    out[0] = 0;
    json_array_foreach(list, i, item)
    {
        const char *s = json_is_object(item) ? json_string_value(json_object_get(item, "name")) : json_string_value(item);
        int n = snprintf(out + used, size - used, "%s%s", i ? ", " : "", s ? s : "?");

        if (n < 0 || (size_t)n >= size - used)
            return;
        used += (size_t)n;
    }
}

/* Members whose numbers are times, by the endings the protocol uses. */
static bool is_time(const char *member)
{
    static const char *const endings[] = {"_at", "_time", "not_before", "not_after", "_update", "invalidity", "until", "oldest"};
    size_t len = strlen(member);

    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t n = strlen(endings[i]);

        if (len >= n && strcmp(member + len - n, endings[i]) == 0)
            return true;
    }
    return strcmp(member, "time") == 0;
}

/* "reserved 200, issued 199"; an empty one is "-". */
static void join_members(const json_t *object, char *out, size_t size)
{
    json_t *o = (json_t *)object; /* the iteration macros of jansson are not const */
    const char *key;
    json_t *value;
    size_t n = 0;

    snprintf(out, size, "-");
    json_object_foreach(o, key, value)
    {
        char text[256];

        cell_format(value, is_time(key) ? CELL_TIME : CELL_TEXT, text, sizeof text);
        if (n < size)
            n += (size_t)snprintf(out + n, size - n, "%s%s %s", n ? ", " : "", key, text);
    }
}

void cell_format(const json_t *value, enum cell cell, char *out, size_t size)
{
    if (!value || json_is_null(value)) {
        snprintf(out, size, "-");
    } else if (json_is_object(value)) {
        join_members(value, out, size);
    } else if (json_is_array(value)) {
        join_list(value, out, size);
    } else if (json_is_boolean(value)) {
        snprintf(out, size, "%s", json_is_true(value) ? "yes" : "no");
    } else if (json_is_integer(value) && json_integer_value(value) == 0 && (cell == CELL_TIME || cell == CELL_REF)) {
        snprintf(out, size, "-");
    } else if (json_is_integer(value) && cell == CELL_TIME) {
        char when[32];

        clock_format((time_t)json_integer_value(value), when);
        snprintf(out, size, "%s", when);
    } else if (json_is_integer(value)) {
        snprintf(out, size, "%lld", (long long)json_integer_value(value));
    } else if (json_is_string(value)) {
        snprintf(out, size, cell == CELL_SHORT ? "%.16s" : "%s", json_string_value(value));
    } else {
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

        snprintf(out, size, "%s", text ? text : "?");
        free(text);
    }
}

static struct libscols_table *chunk_new(const struct column *columns, bool headings)
{
    struct libscols_table *t = scols_new_table();

    if (!t)
        return NULL;
    scols_table_enable_noheadings(t, !headings);
    scols_table_enable_noencoding(t, 1); /* text_shown did it */
    for (const struct column *c = columns; c->member; c++) {
        if (!scols_table_new_column(t, SHOWN(c->title), 0, c->cell == CELL_NUMBER ? SCOLS_FL_RIGHT : 0)) {
            scols_unref_table(t);
            return NULL;
        }
    }
    return t;
}

struct table *table_new(const struct column *columns, bool json)
{
    struct table *t = calloc(1, sizeof *t);

    if (!t)
        return NULL;
    t->columns = columns;
    t->json = json;
    return t;
}

static bool chunk_print(struct table *t)
{
    bool ok = true;

    if (!t->chunk)
        return true;
    if (t->chunk_rows)
        ok = scols_print_table(t->chunk) == 0;
    t->printed += t->chunk_rows;
    t->chunk_rows = 0;
    scols_unref_table(t->chunk);
    t->chunk = NULL;
    return ok;
}

static bool add_line(struct table *t, const json_t *row)
{
    struct libscols_line *line;
    char text[1024];
    size_t n = 0;

    if (!t->chunk)
        t->chunk = chunk_new(t->columns, t->printed == 0);
    if (!t->chunk)
        return false;
    line = scols_table_new_line(t->chunk, NULL);
    if (!line)
        return false;
    for (const struct column *c = t->columns; c->member; c++, n++) {
        cell_format(json_object_get(row, c->member), c->cell, text, sizeof text);
        if (scols_line_set_data(line, n, SHOWN(text)) != 0)
            return false;
    }
    t->chunk_rows++;
    return t->chunk_rows < TABLE_CHUNK || chunk_print(t);
}

bool table_rows(void *table, const json_t *rows)
{
    struct table *t = table;
    size_t i;
    json_t *row;

    json_array_foreach(rows, i, row)
    {
        if (t->json) {
            fputs(t->printed ? ",\n" : "[\n", stdout);
            if (json_dumpf(row, stdout, JSON_COMPACT | JSON_ENSURE_ASCII) != 0)
                t->failed = true;
            t->printed++;
        } else if (!add_line(t, row)) {
            t->failed = true;
        }
        if (t->failed || ferror(stdout))
            return false;
    }
    return true;
}

bool table_end(struct table *t, const char *empty)
{
    bool ok = !t->failed;

    if (t->json) {
        puts(t->printed ? "\n]" : "[]");
    } else {
        ok = chunk_print(t) && ok;
        if (t->printed == 0 && empty)
            fprintf(stderr, "%s\n", empty);
    }
    free(t);
    return ok && fflush(stdout) == 0 && !ferror(stdout);
}

static bool is_table(const json_t *value)
{
    return json_is_array(value) && json_array_size(value) > 0 && json_is_object(json_array_get(value, 0));
}

/* The members of the first row are the columns. */
static bool print_rows(const char *title, const json_t *rows)
{
    struct column columns[24] = {{0}};
    size_t n = 0;
    const char *key;
    json_t *value;
    struct table *t;

    json_object_foreach(json_array_get(rows, 0), key, value)
    {
        if (n + 1 < sizeof columns / sizeof *columns)
            columns[n++] = (struct column){key, key, is_time(key) ? CELL_TIME : CELL_TEXT};
    }
    printf("\n%s:\n", SHOWN(title));
    t = table_new(columns, false);
    if (!t)
        return false;
    if (!table_rows(t, rows))
        t->failed = true;
    return table_end(t, NULL);
}

bool print_object(const json_t *object, bool json)
{
    size_t width = 0;
    const char *key;
    json_t *value;
    bool ok = true;
    json_t *o = (json_t *)object; /* the iteration macros of jansson are not const */

    if (json) {
        json_dumpf(object, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII);
        putchar('\n');
        return fflush(stdout) == 0 && !ferror(stdout);
    }
    json_object_foreach(o, key, value)
    {
        if (!is_table(value) && strlen(key) > width)
            width = strlen(key);
    }
    json_object_foreach(o, key, value)
    {
        char text[4096], shown[4 * sizeof text];

        if (is_table(value) || (json_is_array(value) && json_array_size(value) == 0))
            continue;
        cell_format(value, is_time(key) ? CELL_TIME : CELL_TEXT, text, sizeof text);
        printf("%-*s  %s\n", (int)width, SHOWN(key), text_shown(text, shown, sizeof shown));
    }
    json_object_foreach(o, key, value)
    {
        if (is_table(value))
            ok = print_rows(key, value) && ok;
    }
    return ok && fflush(stdout) == 0 && !ferror(stdout);
}
