/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ledger_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BEGIN(l)  OK(l, store_begin((l)->s, &(l)->e))
#define COMMIT(l) OK(l, store_commit((l)->s, &(l)->e))

static struct marks example(void)
{
    struct marks m = {.audit_seq = 12, .status_seq = 7, .time = T0, .crl_n = 2};

    memset(m.audit_hash, 0xab, sizeof(m.audit_hash));
    snprintf(m.crl[0].issuer, sizeof(m.crl[0].issuer), "fleet-ca");
    m.crl[0].number = T0;
    snprintf(m.crl[1].issuer, sizeof(m.crl[1].issuer), "fleet-ca");
    m.crl[1].shard = 3;
    m.crl[1].number = T0 + 1;
    return m;
}

static void put(const struct ledger *l, const char *text)
{
    char path[160];
    FILE *f;

    snprintf(path, sizeof(path), "%s/marks", l->dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void marks_come_back_as_written(void **state)
{
    struct ledger *l = *state;
    static struct marks in, out;

    in = example();
    REFUSED(l, E_NOT_FOUND, marks_read(l->dir, &out, &l->e));
    OK(l, marks_write(l->dir, &in, &l->e));
    OK(l, marks_read(l->dir, &out, &l->e));
    assert_memory_equal(&in, &out, sizeof(in));
    in.audit_seq++;
    OK(l, marks_write(l->dir, &in, &l->e));
    OK(l, marks_read(l->dir, &out, &l->e));
    assert_int_equal(out.audit_seq, 13);
    REFUSED(l, E_IO, marks_write("/nonexistent", &in, &l->e));
}

static void as_many_scopes_as_fit_and_not_one_more(void **state)
{
    struct ledger *l = *state;
    static struct marks in, out;

    in = example();
    in.crl_n = MARKS_CRL_MAX;
    for (size_t i = 0; i < in.crl_n; i++) {
        snprintf(in.crl[i].issuer, sizeof(in.crl[i].issuer), "%064zu", i);
        in.crl[i].number = INT64_MAX;
        in.crl[i].shard = UINT32_MAX;
    }
    OK(l, marks_write(l->dir, &in, &l->e));
    OK(l, marks_read(l->dir, &out, &l->e));
    assert_memory_equal(&in, &out, sizeof(in));
    in.crl_n++;
    REFUSED(l, E_INTERNAL, marks_write(l->dir, &in, &l->e));
}

#define HASH "abababababababababababababababababababababababababababababababab"

static void damaged_marks_are_refused(void **state)
{
    struct ledger *l = *state;
    static const struct {
        const char *name, *text;
        enum err_code code;
    } cases[] = {
        {"whole", "inkan-marks 1\naudit 1 " HASH "\nstatus 1\ntime 1\ncrl a 0 1\nend\n", E_OK},
        {"no CRL yet", "inkan-marks 1\naudit 1 " HASH "\nstatus 1\ntime 1\nend\n", E_OK},
        {"empty", "", E_INVALID},
        {"no first line", "audit 1 " HASH "\nstatus 1\ntime 1\nend\n", E_INVALID},
        {"a newer format", "inkan-marks 2\naudit 1 " HASH "\nstatus 1\ntime 1\nend\n", E_INVALID},
        {"cut off", "inkan-marks 1\naudit 1 " HASH "\nstatus 1\ntime 1\n", E_INVALID},
        {"something behind the end", "inkan-marks 1\naudit 1 " HASH "\nstatus 1\ntime 1\nend\ncrl a 0 1\n", E_INVALID},
        {"no status", "inkan-marks 1\naudit 1 " HASH "\ntime 1\nend\n", E_INVALID},
        {"status twice", "inkan-marks 1\naudit 1 " HASH "\nstatus 1\nstatus 1\ntime 1\nend\n", E_INVALID},
        {"a short hash", "inkan-marks 1\naudit 1 abab\nstatus 1\ntime 1\nend\n", E_INVALID},
        {"a negative number", "inkan-marks 1\naudit 1 " HASH "\nstatus -1\ntime 1\nend\n", E_INVALID},
        {"a number too large", "inkan-marks 1\naudit 1 " HASH "\nstatus 99999999999999999999\ntime 1\nend\n", E_INVALID},
        {"a number with a tail", "inkan-marks 1\naudit 1 " HASH "\nstatus 1x\ntime 1\nend\n", E_INVALID},
        {"an unknown mark", "inkan-marks 1\naudit 1 " HASH "\nstatus 1\ntime 1\nmoon 1\nend\n", E_INVALID},
        {"a name that is none", "inkan-marks 1\naudit 1 " HASH "\nstatus 1\ntime 1\ncrl ../x 0 1\nend\n", E_INVALID},
        {"a word too many", "inkan-marks 1\naudit 1 " HASH "\nstatus 1 2\ntime 1\nend\n", E_INVALID},
    };
    static struct marks m;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        put(l, cases[i].text);
        if (marks_read(l->dir, &m, &l->e) != cases[i].code)
            fail_msg("%s: %s", cases[i].name, l->e.msg);
    }
}

static void ledger_set_back_is_behind_its_marks(void **state)
{
    struct ledger *l = *state;
    AUTO_BUF which = BUF_INIT(65536);
    static struct marks now, later;
    uint64_t number;
    char backup[160];
    struct store *old = NULL;

    snprintf(backup, sizeof(backup), "%s/backup", l->dir);
    BEGIN(l);
    ledger_issue(l, 1);
    OK(l, store_crl_reserve(l->s, l->issuer, 0, T0, &number, &l->e));
    COMMIT(l);
    OK(l, marks_collect(l->s, T0 + 10, &now, &l->e));
    assert_int_equal(now.audit_seq, 1);
    assert_int_equal(now.status_seq, 1);
    assert_int_equal(now.crl_n, 1);
    assert_int_equal(now.time, T0 + 10);
    OK(l, store_backup(l->s, backup, &l->e));
    BEGIN(l);
    ledger_issue(l, 2);
    OK(l, store_crl_reserve(l->s, l->issuer, 0, T0, &number, &l->e));
    OK(l, store_crl_reserve(l->s, l->issuer, 2, T0, &number, &l->e));
    COMMIT(l);
    OK(l, marks_collect(l->s, T0 + 20, &later, &l->e));
    OK(l, marks_behind(l->s, &now, &which, &l->e));
    assert_int_equal(which.len, 0); /* older marks: in front of them is fine */
    OK(l, marks_behind(l->s, &later, &which, &l->e));
    assert_int_equal(which.len, 0);
    OK(l, store_open(backup, STORE_READ, &old, &l->e));
    OK(l, marks_behind(old, &now, &which, &l->e));
    assert_int_equal(which.len, 0);
    OK(l, marks_behind(old, &later, &which, &l->e));
    buf_add_u8(&which, 0);
    assert_non_null(strstr((char *)which.p, "audit: the ledger ends at 1, the mark says 2\n"));
    assert_non_null(strstr((char *)which.p, "status: the ledger ends at 1, the mark says 2\n"));
    assert_non_null(strstr((char *)which.p, "crl fleet-ca 0: the ledger reserved up to 1700000000, the mark says 1700000001\n"));
    assert_non_null(strstr((char *)which.p, "crl fleet-ca 2: the ledger reserved up to 0"));
    store_close(old);
}

static void ledger_that_went_another_way_is_behind_its_marks(void **state)
{
    struct ledger *l = *state;
    AUTO_BUF which = BUF_INIT(65536);
    static struct marks m;

    BEGIN(l);
    ledger_issue(l, 1);
    ledger_note(l, "note");
    COMMIT(l);
    OK(l, marks_collect(l->s, T0, &m, &l->e));
    m.audit_hash[31] ^= 1;
    OK(l, marks_behind(l->s, &m, &which, &l->e));
    buf_add_u8(&which, 0);
    assert_string_equal((char *)which.p, "audit: entry 2 is not the one the mark names\n");
}

#define T(f) cmocka_unit_test_setup_teardown(f, ledger_setup, ledger_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(marks_come_back_as_written),
        T(as_many_scopes_as_fit_and_not_one_more),
        T(damaged_marks_are_refused),
        T(ledger_set_back_is_behind_its_marks),
        T(ledger_that_went_another_way_is_behind_its_marks),
    };

    return cmocka_run_group_tests_name("marks", tests, NULL, NULL);
}
