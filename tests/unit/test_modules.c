/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/data/modules.tsv says for every PKCS#11 module and key algorithm whether it works or is refused, and with which
 * words. One test per row. A row that could not be tried fails: there are no silent skips.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/auto.h"

#define ROWS_MAX    64
#define MODULES_MAX 8

struct row {
    char name[64], module[16], alg[16], expect[16], message[256];
};

struct outcome {
    char module[16];
    int status;
    char text[8192];
};

static struct row rows[ROWS_MAX];
static struct outcome outcomes[MODULES_MAX];
static size_t rows_n, outcomes_n;

static void read_table(void)
{
    char line[512];
    FILE *f = fopen(TEST_SOURCE_DIR "/tests/data/modules.tsv", "re");

    while (f && fgets(line, sizeof(line), f)) {
        struct row r;

        if (line[0] == '#')
            continue;
        if (rows_n == ROWS_MAX ||
            sscanf(line, "%15[^\t]\t%15[^\t]\t%15[^\t]\t%255[^\n]", r.module, r.alg, r.expect, r.message) != 4) {
            fprintf(stderr, "modules.tsv: bad row: %s", line);
            exit(1);
        }
        snprintf(r.name, sizeof(r.name), "%s_%s_%s", r.module, r.alg, r.expect);
        rows[rows_n++] = r;
    }
    if (!f || rows_n == 0) {
        fprintf(stderr, "modules.tsv: no rows\n");
        exit(1);
    }
    fclose(f);
}

/* Each module is brought up once; what it said is kept for its rows. */
static const struct outcome *outcome_of(const char *module)
{
    char dir[] = "/tmp/inkan-modules-XXXXXX", command[1024];
    struct outcome *o;
    FILE *p;

    for (size_t i = 0; i < outcomes_n; i++)
        if (strcmp(outcomes[i].module, module) == 0)
            return &outcomes[i];
    assert_true(outcomes_n < MODULES_MAX);
    o = &outcomes[outcomes_n++];
    snprintf(o->module, sizeof(o->module), "%s", module);
    assert_non_null(mkdtemp(dir));
    snprintf(command, sizeof(command), "%s/tests/hsm/modules.sh %s %s -- sh -c '%s/test/try_module && %s/test/serve_module 2>&1'",
             TEST_SOURCE_DIR, dir, module, TEST_BINARY_DIR, TEST_BINARY_DIR);
    p = popen(command, "re");
    assert_non_null(p);
    o->text[fread(o->text, 1, sizeof(o->text) - 1, p)] = '\0';
    o->status = pclose(p);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
    return o;
}

static void row_holds(void **state)
{
    const struct row *r = *state;
    const struct outcome *o = outcome_of(r->module);
    char start[64], line[1024];
    const char *at = o->text;

    if (!WIFEXITED(o->status) || WEXITSTATUS(o->status) != 0)
        fail_msg("module %s could not be tried: exit status %d", r->module, WEXITSTATUS(o->status));
    snprintf(start, sizeof(start), "%s\t", r->alg);
    while (at && strncmp(at, start, strlen(start)) != 0)
        at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL;
    if (!at)
        fail_msg("%s says nothing about %s", r->module, r->alg);
    snprintf(line, sizeof(line), "%.*s", (int)strcspn(at, "\n"), at);
    snprintf(start, sizeof(start), "%s\t%s\t", r->alg, r->expect);
    if (strncmp(line, start, strlen(start)) != 0 || !strstr(line, r->message))
        fail_msg("expected %s \"%s\", got: %s", r->expect, r->message, line);
}

/* The other way round: nothing a module was tried with may be missing from the table. */
static void table_has_a_row_for_everything_tried(void **state)
{
    (void)state;
    for (size_t i = 0; i < outcomes_n; i++) {
        char text[sizeof(outcomes[i].text)], *save = NULL;

        memcpy(text, outcomes[i].text, sizeof(text));
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
            bool found = false;

            for (size_t j = 0; j < rows_n; j++)
                found |= strcmp(rows[j].module, outcomes[i].module) == 0 &&
                         strncmp(rows[j].alg, line, strcspn(line, "\t")) == 0;
            if (!found)
                fail_msg("no row for %s: %s", outcomes[i].module, line);
        }
    }
}

int main(void)
{
    struct CMUnitTest tests[ROWS_MAX + 1];

    read_table();
    for (size_t i = 0; i < rows_n; i++)
        tests[i] = (struct CMUnitTest){rows[i].name, row_holds, NULL, NULL, &rows[i]};
    tests[rows_n] = (struct CMUnitTest)cmocka_unit_test(table_has_a_row_for_everything_tried);
    return _cmocka_run_group_tests("modules", tests, rows_n + 1, NULL, NULL);
}
