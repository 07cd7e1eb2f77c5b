/* SPDX-License-Identifier: Apache-2.0 */
/* The fleet: counting and exporting by a selector, and mass actions with preview, question, progress and what follows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fsio.h"
#include "base/text.h"
#include "cli/command.h"

AUTO_TYPE(json_t, json_decref)

#define CHUNK         (256 << 10) /* octets written at once */
#define POLL_MS       250
#define AWAY_MAX_S    60 /* the core may start again meanwhile */
#define BAR_WIDTH     30
#define GROUPS_SHOWN  20

static int usage(const struct run *r, const char *text)
{
    fprintf(stderr, "inkan %s %s: %s\n", r->command->noun, r->command->verb, text);
    return EXIT_USAGE;
}

static const char *text_of(const json_t *o, const char *member)
{
    const char *s = json_string_value(json_object_get(o, member));

    return s ? s : "";
}

static long long number_of(const json_t *o, const char *member)
{
    return (long long)json_integer_value(json_object_get(o, member));
}

/* ---- count ---- */

int command_device_count(struct run *r)
{
    const char *by = json_string_value(json_object_get(r->args, "by"));
    const struct column columns[] = {{by, by, CELL_TEXT}, {"units", "units", CELL_NUMBER}, {NULL, NULL, CELL_TEXT}};
    AUTO(json_t) *result = NULL;
    struct table *t = by ? table_new(columns, r->json) : NULL;
    struct err e = {0};
    enum err_code code;
    bool ok = true;

    if (by && !t)
        return EXIT_REFUSED;
    code = run_call(r, r->command->op, r->args, t ? table_rows : NULL, t, &result, NULL, &e);
    if (t && (code == E_OK || !r->json))
        ok = table_end(t, NULL);
    else
        free(t);
    if (code != E_OK)
        return run_fail(&e);
    if (!by)
        ok = r->json ? print_object(result, true) : printf("%lld\n", number_of(result, "count")) > 0;
    return ok ? EXIT_DONE : EXIT_REFUSED;
}

/* ---- export ---- */

struct export {
    enum { AS_CSV, AS_JSONL, AS_IDS } as;
    struct file_draft draft;
    bool to_file;
    struct buf text;
    struct err e;
};

static const struct column export_columns[] = {
    {"domain", "domain", CELL_TEXT},   {"device_id", "device_id", CELL_TEXT},     {"state", "state", CELL_TEXT},
    {"product", "product", CELL_TEXT}, {"model", "model", CELL_TEXT},             {"lot", "lot", CELL_TEXT},
    {"order", "order", CELL_TEXT},     {"line", "line", CELL_TEXT},               {"station", "station", CELL_TEXT},
    {"firmware", "firmware", CELL_TEXT}, {"declared_at", "declared_at", CELL_TIME}, {"enrolled_at", "enrolled_at", CELL_TIME},
};

static void flush(struct export *x, size_t above)
{
    if (x->e.code != E_OK || x->text.len <= above)
        return;
    if (!buf_ok(&x->text))
        err_set(&x->e, E_NOMEM, "export");
    else if (x->to_file && file_draft_add(&x->draft, buf_bytes(&x->text), &x->e) != E_OK)
        err_wrap(&x->e, "export");
    else if (!x->to_file && fwrite(x->text.p, 1, x->text.len, stdout) != x->text.len)
        err_errno(&x->e, E_IO, "standard output");
    buf_reset(&x->text);
}

/* RFC 4180. A text that a spreadsheet would take for a formula is kept from that. */
static void put_field(struct export *x, const char *s, const char *end)
{
    bool formula = *s && strchr("=+-@", *s), quote = formula || strpbrk(s, ",\"\r\n");

    if (quote)
        buf_add_str(&x->text, formula ? "\"'" : "\"");
    for (; *s; s++) {
        if (*s == '"')
            buf_add_str(&x->text, "\"");
        buf_add_u8(&x->text, (uint8_t)*s);
    }
    if (quote)
        buf_add_str(&x->text, "\"");
    buf_add_str(&x->text, end);
}

static void put_row(struct export *x, const json_t *row)
{
    char cell[1024];

    if (x->as == AS_JSONL) {
        char *text = json_dumps(row, JSON_COMPACT | JSON_SORT_KEYS);

        buf_add_str(&x->text, text ? text : "");
        buf_add_str(&x->text, "\n");
        free(text);
    } else if (x->as == AS_IDS) {
        buf_printf(&x->text, "%s/%s\n", text_of(row, "domain"), text_of(row, "device_id"));
    } else {
        for (size_t i = 0; i < ARRAY_LEN(export_columns); i++) {
            cell_format(json_object_get(row, export_columns[i].member), export_columns[i].cell, cell, sizeof(cell));
            put_field(x, strcmp(cell, "-") == 0 ? "" : cell, i + 1 < ARRAY_LEN(export_columns) ? "," : "\r\n");
        }
    }
}

static bool put_rows(void *arg, const json_t *rows)
{
    struct export *x = arg;

    for (size_t i = 0; i < json_array_size(rows); i++)
        put_row(x, json_array_get(rows, i));
    flush(x, CHUNK);
    return x->e.code == E_OK;
}

static bool format_from_name(const char *s, int *as)
{
    static const char *const names[] = {[AS_CSV] = "csv", [AS_JSONL] = "jsonl", [AS_IDS] = "ids"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i], s) == 0) {
            *as = (int)i;
            return true;
        }
    return false;
}

int command_device_export(struct run *r)
{
    const char *format = run_option(r, "format"), *out = run_option(r, "out");
    struct export x = {.draft = FILE_DRAFT_INIT, .to_file = out != NULL, .text = BUF_INIT(SIZE_MAX)};
    AUTO(json_t) *result = NULL;
    int as = AS_CSV;
    enum err_code code = E_OK;

    if (format && !format_from_name(format, &as))
        return usage(r, "--format csv, jsonl or ids");
    if (!json_object_get(r->args, "select"))
        return usage(r, "needs --select (all devices: 'device = *')");
    x.as = as;
    if (out)
        code = file_draft_open(&x.draft, out, &x.e);
    if (x.as == AS_CSV)
        for (size_t i = 0; i < ARRAY_LEN(export_columns); i++)
            put_field(&x, export_columns[i].title, i + 1 < ARRAY_LEN(export_columns) ? "," : "\r\n");
    if (code == E_OK)
        code = run_call(r, r->command->op, r->args, put_rows, &x, &result, NULL, &x.e);
    flush(&x, 0);
    if (code == E_OK && x.e.code == E_OK && out && file_draft_publish(&x.draft, 0644, &x.e) != E_OK)
        err_wrap(&x.e, "export");
    if (out)
        file_draft_drop(&x.draft);
    buf_clear(&x.text);
    if (x.e.code != E_OK)
        return run_fail(&x.e);
    return out || fflush(stdout) == 0 ? EXIT_DONE : EXIT_REFUSED;
}

/* ---- preview ---- */

static void show_groups(const json_t *preview, const char *list, const char *member)
{
    const json_t *rows = json_object_get(preview, list);

    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const char *name = text_of(row, member);

        if (i == GROUPS_SHOWN) {
            fprintf(stderr, "%10s  %s: %zu more\n", "", member, json_array_size(rows) - i);
            break;
        }
        fprintf(stderr, "%10lld  %s %s\n", number_of(row, "units"), member, name[0] ? SHOWN(name) : "(none)");
    }
}

static void show_preview(const json_t *preview)
{
    const json_t *states = json_object_get(preview, "states");

    fprintf(stderr, "%10lld  units, digest %.16s...\n", number_of(preview, "count"), SHOWN(text_of(preview, "digest")));
    show_groups(preview, "domains", "domain");
    show_groups(preview, "models", "model");
    for (size_t i = 0; i < json_array_size(states); i++) {
        const json_t *row = json_array_get(states, i);
        const char *would = text_of(row, "would");

        fprintf(stderr, "%10lld  %s: %s%s%s\n", number_of(row, "units"), SHOWN(text_of(row, "state")),
                strcmp(would, "change") == 0 ? "changed" : strcmp(would, "same") == 0 ? "as it is" : "refused",
                text_of(row, "why")[0] ? ": " : "", SHOWN(text_of(row, "why")));
    }
}

/* ---- progress ---- */

struct bar {
    long long first_done;
    int64_t began_ms;
    bool drawn;
};

static void draw(struct bar *b, const json_t *batch)
{
    long long done = number_of(batch, "done"), count = number_of(batch, "count");
    int64_t ms = clock_mono_ms() - b->began_ms;
    int filled = count ? (int)(done * BAR_WIDTH / count) : 0;
    double rate = ms > 0 ? (double)(done - b->first_done) * 1000.0 / (double)ms : 0;
    char left[32] = "";

    if (!isatty(STDERR_FILENO))
        return;
    if (rate > 0 && done < count)
        snprintf(left, sizeof(left), ", %.0f s left", (double)(count - done) / rate);
    fprintf(stderr, "\r%s [%.*s%*s] %lld of %lld, %.0f/s%s, %lld refused\033[K", SHOWN(text_of(batch, "state")), filled,
            "##############################", BAR_WIDTH - filled, "", done, count, rate, left, number_of(batch, "refused"));
    b->drawn = true;
}

static bool is_one_of(const char *s, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(s, *list) == 0)
            return true;
    return false;
}

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

/* Asks until it rests; the core may die and come back meanwhile. Replaces *batch. */
static enum err_code follow(struct run *r, json_t **batch, struct err *e)
{
    static const char *const going[] = {"freezing", "running", "finishing", NULL};
    struct bar bar = {number_of(*batch, "done"), clock_mono_ms(), false};
    int64_t away_since = 0;
    char id[24];
    AUTO(json_t) *args = NULL;

    snprintf(id, sizeof(id), "%lld", number_of(*batch, "id"));
    args = json_pack("{s:s}", "id", id);
    while (is_one_of(text_of(*batch, "state"), going)) {
        json_t *now = NULL;
        enum err_code code;

        draw(&bar, *batch);
        pause_ms(POLL_MS);
        code = run_call(r, "batch.show", args, NULL, NULL, &now, NULL, e);
        if (code == E_OK) {
            json_decref(*batch);
            *batch = now;
            away_since = 0;
            continue;
        }
        if (away_since == 0)
            away_since = clock_mono_ms();
        if (code != E_IO || clock_mono_ms() - away_since > AWAY_MAX_S * 1000)
            return code;
        run_disconnect(r);
        *e = (struct err){0};
    }
    if (strcmp(text_of(*batch, "state"), "waiting") != 0) /* for a person: nothing moves */
        draw(&bar, *batch);
    if (bar.drawn)
        fputc('\n', stderr);
    return E_OK;
}

static void say(const json_t *b)
{
    const char *state = text_of(b, "state");
    long long id = number_of(b, "id");

    fprintf(stderr, "batch %lld is %s: %lld of %lld units, %lld changed, %lld were so already, %lld refused\n", id, SHOWN(state),
            number_of(b, "done"), number_of(b, "count"), number_of(b, "changed"), number_of(b, "same"), number_of(b, "refused"));
    if (strcmp(state, "waiting") == 0)
        fprintf(stderr, "another person approves it: inkan fleet approve %lld\n", id);
    else if (strcmp(state, "canary") == 0)
        fprintf(stderr, "look at the first part, then: inkan fleet resume %lld, or cancel, or undo\n", id);
    if (number_of(b, "refused"))
        fprintf(stderr, "what was refused and why: inkan fleet refused %lld\n", id);
    if (text_of(b, "error")[0])
        fprintf(stderr, "%s\n", SHOWN(text_of(b, "error")));
}

/* Takes over `batch`. */
static int follow_to_end(struct run *r, json_t *batch)
{
    static const char *const resting[] = {"waiting", "canary", "paused", "freezing", "running", "finishing", NULL};
    AUTO(json_t) *b = batch;
    struct err e = {0};

    if (!run_option(r, "no-wait") && follow(r, &b, &e) != E_OK)
        return run_fail(&e);
    say(b);
    if (r->json && !print_object(b, true))
        return EXIT_REFUSED;
    if (strcmp(text_of(b, "state"), "done") == 0) /* that nothing was done is no success for a script */
        return number_of(b, "refused") > 0 && number_of(b, "refused") == number_of(b, "done") ? EXIT_REFUSED : EXIT_DONE;
    return is_one_of(text_of(b, "state"), resting) ? EXIT_NOT_PROVEN : EXIT_REFUSED;
}

/* ---- actions ---- */

static json_t *with_members(const json_t *from, const char *const *names)
{
    json_t *to = json_object();

    for (; *names; names++)
        if (json_object_get(from, *names))
            json_object_set(to, *names, json_object_get(from, *names));
    return to;
}

/* Preview, question, and the call that begins: `args` gets what was seen. */
static int look_and_do(struct run *r, const char *preview_op, json_t *preview_args, const char *op, json_t *args, const char *question)
{
    AUTO(json_t) *look = preview_args, *seen = NULL, *wanted = args;
    json_t *batch = NULL;
    struct err e = {0};

    (void)look;
    r->file_op = preview_op;
    if (run_call(r, preview_op, preview_args, NULL, NULL, &seen, NULL, &e) != E_OK)
        return run_fail(&e);
    if (!r->json || !run_option(r, "dry-run"))
        show_preview(seen);
    if (run_option(r, "dry-run")) {
        fprintf(stderr, "nothing was changed\n");
        return !r->json || print_object(seen, true) ? EXIT_DONE : EXIT_REFUSED;
    }
    if (number_of(seen, "count") == 0) {
        err_set(&e, E_NOT_FOUND, "no unit matches");
        return run_fail(&e);
    }
    if (number_of(seen, "refused") == number_of(seen, "count"))
        fprintf(stderr, "none of these units would change\n");
    if (!run_ask(r, question))
        return EXIT_REFUSED;
    json_object_set(wanted, "count", json_object_get(seen, "count"));
    json_object_set(wanted, "digest", json_object_get(seen, "digest"));
    r->file_op = op;
    if (run_call(r, op, wanted, NULL, NULL, &batch, NULL, &e) != E_OK) {
        if (e.code == E_IO) /* no answer: it is not known how far it came */
            fprintf(stderr, "whether it began says: inkan fleet list. The same command again does no harm.\n");
        return run_fail(&e);
    }
    return follow_to_end(r, batch);
}

int command_fleet_action(struct run *r)
{
    static const char *const looking[] = {"action", "select", "domain", "reason", NULL};
    const char *file = run_option(r, "file");
    char question[128];
    struct err e = {0};

    if (!file == !json_object_get(r->args, "select"))
        return usage(r, "needs either --select SELECTOR or --file IDS");
    if (!file && json_object_get(r->args, "domain"))
        return usage(r, "--domain is for --file; a selector says: domain = NAME");
    if (file && run_attach(r, file, &e) != E_OK)
        return run_fail(&e);
    json_object_set_new(r->args, "action", json_string(r->command->verb));
    snprintf(question, sizeof(question), "%s these units?", r->command->verb);
    question[0] = (char)(question[0] - 'a' + 'A');
    return look_and_do(r, file ? "batch.preview_list" : "batch.preview", with_members(r->args, looking),
                       file ? "batch.create_list" : "batch.create", json_incref(r->args), question);
}

int command_fleet_undo(struct run *r)
{
    char *end;
    long long id = strtoll(r->positional, &end, 10);

    if (*end || id <= 0)
        return usage(r, "needs the number of a batch");
    return look_and_do(r, "batch.preview", json_pack("{s:I}", "undo", (json_int_t)id), "batch.undo", json_incref(r->args),
                       "Release these units?");
}

/* A second operator signs that the stored request of the first is right; then it runs as that one's. */
static int approve_pending(struct run *r, const json_t *batch)
{
    const char *asked = r->positional;
    char id[24];
    json_t *now = NULL;
    int status;

    snprintf(id, sizeof(id), "%lld", number_of(batch, "pending"));
    r->positional = id;
    json_object_set_new(r->args, "id", json_string(id));
    status = approve_stored(r, asked, &now);
    return status == EXIT_DONE ? follow_to_end(r, now) : status;
}

/* What is approved is what was shown: count and digest go with the word. */
int command_fleet_approve(struct run *r)
{
    static const char *const names[] = {"count", "digest", NULL};
    AUTO(json_t) *batch = NULL, *args = NULL;
    json_t *now = NULL;
    const char *found;
    char undoes[80];
    struct err e = {0};

    if (run_call(r, "batch.show", r->args, NULL, NULL, &batch, NULL, &e) != E_OK)
        return run_fail(&e);
    if (r->as && number_of(batch, "pending"))
        return approve_pending(r, batch);
    found = text_of(batch, "selector")[0] ? SHOWN(text_of(batch, "selector")) : "a list of ids";
    if (number_of(batch, "undo_of")) {
        snprintf(undoes, sizeof(undoes), "what batch %lld did and nobody changed since", number_of(batch, "undo_of"));
        found = undoes;
    }
    fprintf(stderr, "%s, asked for by %s: %s%s%s\n%10lld  units, digest %.16s...\n", SHOWN(text_of(batch, "action")), SHOWN(text_of(batch, "created_by")),
            found, text_of(batch, "why")[0] ? "; " : "", SHOWN(text_of(batch, "why")), number_of(batch, "count"), SHOWN(text_of(batch, "digest")));
    if (!run_ask(r, "Approve it?"))
        return EXIT_REFUSED;
    args = with_members(batch, names);
    json_object_set(args, "id", json_object_get(r->args, "id"));
    if (run_call(r, "batch.run", args, NULL, NULL, &now, NULL, &e) != E_OK)
        return run_fail(&e);
    return follow_to_end(r, now);
}

/* resume, watch: the call, then as long as it takes. */
int command_fleet_follow(struct run *r)
{
    json_t *batch = NULL;
    struct err e = {0};

    if (run_call(r, r->command->op, r->args, NULL, NULL, &batch, NULL, &e) != E_OK)
        return run_fail(&e);
    return follow_to_end(r, batch);
}
