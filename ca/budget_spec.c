/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/budget_spec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/auto.h"
#include "base/fsio.h"

#define MARKS_FILE    "budget"
#define MARKS_FIRST   "inkan-budget-marks 1"
#define MARKS_MAX_LEN (4 << 20)

/* ---- the payload ---- */

/* Names hold nothing that JSON would have to escape. */
void budget_write(const struct budget *in, struct buf *out)
{
    buf_printf(out,
               "{\"box\":\"%s\",\"issued_at\":%" PRId64 ",\"number\":%" PRIu64 ",\"order\":\"%s\",\"units\":%" PRIu64
               ",\"until\":%" PRId64 "}",
               in->box, in->issued_at, in->number, in->scope, in->units, in->until);
}

bool budget_scope_is_valid(const char *s)
{
    return strcmp(s, BUDGET_EVERY) == 0 || (strlen(s) <= ORDER_NO_MAX && id_is_valid(s));
}

enum err_code budget_read(struct bytes json, struct budget *out, struct err *e)
{
    json_error_t where;
    json_t *j = json_loadb((const char *)json.p, json.len, JSON_REJECT_DUPLICATES, &where);
    const char *box = NULL, *scope = NULL;
    json_int_t issued_at = 0, number = 0, units = 0, until = 0;
    enum err_code code = E_OK;

    *out = (struct budget){0};
    if (!j || json_unpack_ex(j, &where, JSON_STRICT, "{s:s, s:I, s:I, s:s, s:I, s:I}", "box", &box, "issued_at", &issued_at, "number",
                             &number, "order", &scope, "units", &units, "until", &until) != 0)
        code = err_set(e, E_INVALID, "budget: %s", where.text);
    else if (!id_is_valid(box) || !budget_scope_is_valid(scope))
        code = err_set(e, E_INVALID, "budget: box and order are names");
    else if (number < 1 || units < 1 || units > BUDGET_UNITS_MAX || issued_at < 1 || until <= issued_at)
        code = err_set(e, E_INVALID, "budget: number, units and times are out of range");
    if (code == E_OK) {
        snprintf(out->box, sizeof(out->box), "%s", box);
        snprintf(out->scope, sizeof(out->scope), "%s", scope);
        out->number = (uint64_t)number;
        out->units = (uint64_t)units;
        out->issued_at = issued_at;
        out->until = until;
    }
    json_decref(j);
    return code;
}

/* ---- marks ---- */

void budget_marks_clear(struct budget_marks *m)
{
    free(m->mark);
    *m = (struct budget_marks){0};
}

struct budget_mark *budget_mark_find(const struct budget_marks *m, const char *scope)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->mark[i].scope, scope) == 0)
            return &m->mark[i];
    return NULL;
}

enum err_code budget_mark_set(struct budget_marks *m, const char *scope, uint64_t number, uint64_t drawn, struct err *e)
{
    struct budget_mark *at = budget_mark_find(m, scope), *grown;

    if (!at) {
        grown = realloc(m->mark, (m->n + 1) * sizeof(*grown));
        if (!grown)
            return err_set(e, E_NOMEM, "budget marks");
        m->mark = grown;
        at = &m->mark[m->n++];
        snprintf(at->scope, sizeof(at->scope), "%s", scope);
    }
    at->number = number;
    at->drawn = drawn;
    return E_OK;
}

static bool whole_number(const char **s, uint64_t *out)
{
    char *end = NULL;

    if (**s < '0' || **s > '9')
        return false;
    errno = 0;
    *out = strtoull(*s, &end, 10);
    *s = end;
    return errno == 0 && *out <= INT64_MAX;
}

static bool read_line(char *line, struct budget_marks *m, bool *timed, struct err *e)
{
    uint64_t number = 0, drawn = 0;
    const char *rest;
    char *blank;

    if (strncmp(line, "time ", 5) == 0) {
        rest = line + 5;
        if (*timed || !whole_number(&rest, &number) || *rest)
            return false;
        *timed = true;
        m->time = (int64_t)number;
        return true;
    }
    if (strncmp(line, "budget ", 7) != 0 || !(blank = strchr(line + 7, ' ')))
        return false;
    *blank = '\0';
    rest = blank + 1;
    return budget_scope_is_valid(line + 7) && !budget_mark_find(m, line + 7) && whole_number(&rest, &number) && *rest++ == ' ' &&
           whole_number(&rest, &drawn) && !*rest && budget_mark_set(m, line + 7, number, drawn, e) == E_OK;
}

static enum err_code parse(char *text, const char *path, struct budget_marks *m, struct err *e)
{
    bool timed = false, ended = false;
    unsigned at = 0;

    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        at++;
        if (ended || (at == 1) != (strcmp(line, MARKS_FIRST) == 0))
            return err_set(e, E_INVALID, "%s:%u: not a file of budget marks", path, at);
        if (at == 1)
            continue;
        if (strcmp(line, "end") == 0)
            ended = true;
        else if (!read_line(line, m, &timed, e))
            return e->code == E_NOMEM ? E_NOMEM : err_set(e, E_INVALID, "%s:%u: not a mark", path, at);
    }
    return ended && timed ? E_OK : err_set(e, E_INVALID, "%s: incomplete", path);
}

enum err_code budget_marks_read(const char *dir, struct budget_marks *out, struct err *e)
{
    AUTO_BUF text = BUF_INIT(MARKS_MAX_LEN);
    char path[PATH_MAX];

    *out = (struct budget_marks){0};
    if ((size_t)snprintf(path, sizeof(path), "%s/" MARKS_FILE, dir) >= sizeof(path))
        return err_set(e, E_INVALID, "%s: path too long", dir);
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return E_OK;
    if (file_read(path, &text, e) != E_OK)
        return e->code;
    if (text.len && memchr(text.p, 0, text.len))
        return err_set(e, E_INVALID, "%s: not text", path);
    buf_add_u8(&text, 0);
    if (!buf_ok(&text))
        return err_set(e, E_NOMEM, "%s", path);
    if (parse((char *)text.p, path, out, e) != E_OK) {
        budget_marks_clear(out);
        return e->code;
    }
    out->exists = true;
    return E_OK;
}

enum err_code budget_marks_write(const char *dir, const struct budget_marks *in, struct err *e)
{
    AUTO_BUF text = BUF_INIT(MARKS_MAX_LEN);
    char path[PATH_MAX];

    if ((size_t)snprintf(path, sizeof(path), "%s/" MARKS_FILE, dir) >= sizeof(path))
        return err_set(e, E_INVALID, "%s: path too long", dir);
    buf_printf(&text, MARKS_FIRST "\ntime %" PRId64 "\n", in->time);
    for (size_t i = 0; i < in->n; i++)
        buf_printf(&text, "budget %s %" PRIu64 " %" PRIu64 "\n", in->mark[i].scope, in->mark[i].number, in->mark[i].drawn);
    buf_add_str(&text, "end\n");
    return buf_ok(&text) ? file_write_atomic(path, buf_bytes(&text), 0644, e) : err_set(e, E_NOMEM, "budget marks");
}
