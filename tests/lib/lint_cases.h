/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One case for each rule: an object that this rule alone rejects, and a neighbour that is accepted. Objects are DER
 * text (tests/lib/derb.h); a case overrides variables of the base object.
 *
 * The including file defines world_reset(), which sets the expectation and returns the base variables, and
 * world_lint(), which builds the object and lints it. Include after cmocka.h.
 */
#ifndef INKAN_TESTS_LINT_CASES_H
#define INKAN_TESTS_LINT_CASES_H

#include <string.h>

#include "base/bytes.h"
#include "ca/lint.h"
#include "tests/lib/derb.h"

struct lint_case {
    const char *rule;
    const char *name;        /* what the bad object does */
    void (*setup)(void);     /* changes the expectation for both objects */
    void (*setup_bad)(void); /* and for the bad one only */
    const char *common[8];   /* overrides of both */
    const char *bad[4];
    const char *good[4];
};

static void world_reset(struct derb_vars *vars);
static void world_lint(const struct derb_vars *vars, struct lint_report *out);

static void lint_cases_apply(struct derb_vars *vars, const char *const *defs, size_t n)
{
    for (size_t i = 0; i < n && defs[i]; i++)
        derb_set(vars, defs[i]);
}

static void lint_cases_describe(const struct lint_report *r, char *out, size_t size)
{
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < r->n && i < LINT_FINDINGS_MAX && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", i ? ", " : "", r->finding[i]->id);
}

static void lint_cases_try(const struct lint_case *c, bool bad, struct lint_report *r)
{
    struct derb_vars vars = {.n = 0};

    world_reset(&vars);
    if (c->setup)
        c->setup();
    if (bad && c->setup_bad)
        c->setup_bad();
    lint_cases_apply(&vars, c->common, 8);
    lint_cases_apply(&vars, bad ? c->bad : c->good, 4);
    world_lint(&vars, r);
}

static void lint_cases_run(const struct lint_case *cases, size_t n)
{
    char found[1024];
    size_t wrong = 0;

    for (size_t i = 0; i < n; i++) {
        struct lint_report r;

        lint_cases_try(&cases[i], true, &r);
        lint_cases_describe(&r, found, sizeof found);
        if (r.n != 1 || strcmp(r.finding[0]->id, cases[i].rule) != 0) {
            print_error("%s: %s: found [%s]\n", cases[i].rule, cases[i].name, found);
            wrong++;
        }
        lint_cases_try(&cases[i], false, &r);
        lint_cases_describe(&r, found, sizeof found);
        if (r.n != 0) {
            print_error("%s: %s: neighbour is not accepted: [%s]\n", cases[i].rule, cases[i].name, found);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

static void lint_cases_cover(const struct lint_rule *rules, size_t rules_n, const struct lint_case *cases, size_t n)
{
    size_t uncovered = 0;

    for (size_t i = 0; i < rules_n; i++) {
        bool covered = false;

        assert_true(rules[i].id && rules[i].clause && rules[i].text);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(rules[i].id, rules[j].id);
        for (size_t j = 0; j < n && !covered; j++)
            covered = strcmp(rules[i].id, cases[j].rule) == 0;
        if (!covered) {
            print_error("no case for %s\n", rules[i].id);
            uncovered++;
        }
    }
    assert_int_equal(uncovered, 0);
}

/* The section of docs/lint.md for these rules. */
static void lint_cases_table(const struct lint_rule *rules, size_t n, const char *title, struct buf *out)
{
    buf_printf(out, "## %s: %zu rules\n\n| id | clause | what holds |\n|---|---|---|\n", title, n);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "| `%s` | %s | %s |\n", rules[i].id, rules[i].clause, rules[i].text);
}

static void lint_cases_page(const struct lint_rule *rules, size_t n, const char *title)
{
    struct buf expected = BUF_INIT(1 << 20), page = BUF_INIT(1 << 20);
    FILE *f = fopen(TEST_SOURCE_DIR "/docs/lint.md", "r");
    char block[4096];
    size_t got;

    assert_non_null(f);
    while ((got = fread(block, 1, sizeof block, f)) > 0)
        buf_add(&page, block, got);
    fclose(f);
    buf_add_u8(&page, 0);
    lint_cases_table(rules, n, title, &expected);
    buf_add_u8(&expected, 0);
    assert_true(buf_ok(&page) && buf_ok(&expected));
    if (!strstr((const char *)page.p, (const char *)expected.p))
        fail_msg("docs/lint.md, section \"%s\" is not what --list prints", title);
    buf_clear(&expected);
    buf_clear(&page);
}

/* `--list` prints the section instead of testing. */
static bool lint_cases_list(int argc, char **argv, const struct lint_rule *rules, size_t n, const char *title)
{
    struct buf out = BUF_INIT(1 << 20);

    if (argc != 2 || strcmp(argv[1], "--list") != 0)
        return false;
    lint_cases_table(rules, n, title, &out);
    fwrite(out.p, 1, out.len, stdout);
    buf_clear(&out);
    return true;
}

/* Every proper prefix is refused and every flipped bit is survived; returns how many flips were noticed. */
static size_t lint_cases_mutate(uint8_t *der, size_t len, void (*lint)(struct bytes, struct lint_report *))
{
    struct lint_report r;
    size_t noticed = 0;

    for (size_t n = 0; n < len; n++) {
        uint8_t *cut = malloc(n ? n : 1); /* on the heap, so that a read past the end is seen */

        assert_non_null(cut);
        memcpy(cut, der, n);
        lint(BYTES(cut, n), &r);
        free(cut);
        if (r.n == 0)
            fail_msg("accepted when cut after %zu octets", n);
    }
    for (size_t bit = 0; bit < 8 * len; bit++) {
        der[bit / 8] ^= (uint8_t)(1u << bit % 8);
        lint(BYTES(der, len), &r);
        noticed += r.n > 0;
        der[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    return noticed;
}

#endif
