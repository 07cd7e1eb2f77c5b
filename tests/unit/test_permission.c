/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Role by operation: every cell, from a list written beside the code's own table and in another form (who may, by name), so that a
 * slip in one is not repeated in the other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ca/admin_int.h"
#include "ca/permission.h"

/* a auditor, o operator, s security, f factory, c ca-admin, y sync; then S signature, 2 two persons, L local only. */
static const struct {
    const char *op, *cell;
} wanted[] = {
    {"alarm.ack", "os"},
    {"alarm.list", "aosfc"},
    {"alarm.show", "aosfc"},
    {"approval.approve", "osfcS"},
    {"approval.list", "aosfc"},
    {"approval.refuse", "osfcS"},
    {"approval.show", "aosfc"},
    {"audit.export", "asc"},
    {"audit.heads", "asc"},
    {"backup", "cSL"},
    {"batch.cancel", "osS"},
    {"batch.create", "osS"},
    {"batch.create_list", "osS"},
    {"batch.list", "aosfc"},
    {"batch.pause", "osS"},
    {"batch.preview", "aosfc"},
    {"batch.preview_list", "aosfc"},
    {"batch.refused", "aosfc"},
    {"batch.resume", "osS"},
    {"batch.run", "osS"},
    {"batch.show", "aosfc"},
    {"batch.undo", "osS"},
    {"box.heard", "y"},
    {"box.link", "fS"},
    {"box.list", "aosfc"},
    {"box.outbox", "y"},
    {"box.records", "aosfc"},
    {"box.report", "aosfc"},
    {"box.show", "aosfc"},
    {"budget.grant", "fS"},
    {"budget.install", "f"},
    {"budget.list", "aosfc"},
    {"ca.create", "cS2"},
    {"ca.install", "cS2"},
    {"ca.list", "aosfc"},
    {"ca.request", "cS2"},
    {"ca.root_sign", "cS2"},
    {"ca.show", "aosfc"},
    {"ca.sign", "cS2"},
    {"capture.drop", "f"},
    {"capture.list", "aosfc"},
    {"capture.retry", "f"},
    {"cert.hold", "os"},
    {"cert.issue", "cS"},
    {"cert.list", "aosfc"},
    {"cert.release", "os"},
    {"cert.revoke", "osS"},
    {"cert.show", "aosfc"},
    {"clock.accept", "csS"},
    {"crl.get", "aosfc"},
    {"crl.import", "sc"},
    {"crl.list", "aosfc"},
    {"crl.publish", "osc"},
    {"device.accept", "oS"},
    {"device.add", "of"},
    {"device.compromise", "sS"},
    {"device.compromise_confirm", "sS"},
    {"device.count", "aosfc"},
    {"device.decommission", "osS"},
    {"device.dispose", "oS2"},
    {"device.find", "os"},
    {"device.history", "aosfc"},
    {"device.import", "ofS"},
    {"device.list", "aosfc"},
    {"device.lose", "os"},
    {"device.quarantine", "os"},
    {"device.recommission", "osS"},
    {"device.release", "os"},
    {"device.repair", "of"},
    {"device.repaired", "of"},
    {"device.set_firmware", "of"},
    {"device.ship", "of"},
    {"device.show", "aosfc"},
    {"device.stop", "osS"},
    {"device.suspend", "os"},
    {"device.transfer", "oS"},
    {"device.transfer_cancel", "oS"},
    {"device.unship", "of"},
    {"doctor", "aosfc"},
    {"domain.list", "aosfc"},
    {"domain.show", "aosfc"},
    {"gateway.list", "aosfc"},
    {"kek.add", "sS"},
    {"kek.list", "aosfc"},
    {"kek.revoke", "sS"},
    {"key.destroy", "cS2"},
    {"key.generate", "cS2"},
    {"key.list", "aosfc"},
    {"ocsp.list", "aosfc"},
    {"operator.add", "cS2"},
    {"operator.change", "cS2"},
    {"operator.end", "cS2"},
    {"operator.list", "aosfc"},
    {"operator.show", "aosfc"},
    {"order.close", "fS"},
    {"order.export", "aosfc"},
    {"order.list", "aosfc"},
    {"order.open", "f"},
    {"order.report", "aosfc"},
    {"order.status", "aosfc"},
    {"order.units", "aosfc"},
    {"profile.list", "aosfc"},
    {"profile.show", "aosfc"},
    {"record.signer", "aosfc"},
    {"request.approve", "osS"},
    {"request.list", "aosfc"},
    {"request.refuse", "os"},
    {"request.show", "aosfc"},
    {"restore.accept", "SL"},
    {"secret.add", "osS"},
    {"secret.list", "aosfc"},
    {"secret.revoke", "os"},
    {"station.add", "fS"},
    {"station.list", "aosfc"},
    {"station.revoke", "fs"},
    {"status", "aosfc"},
    {"token.info", "aosfc"},
    {"token.init", "cS2"},
    {"token.list", "aosfc"},
    {"token.unblock", "cS"},
    {"unit.show", "aosfc"},
};

#define WANTED_N (sizeof(wanted) / sizeof(wanted[0]))

static void every_role_may_what_the_list_says(void **state)
{
    static const char letters[ROLES + 1] = "aosfcy";
    struct err e = {0};

    (void)state;
    assert_int_equal(permissions_n, WANTED_N);
    for (size_t i = 0; i < WANTED_N; i++) {
        const struct permission *p = permission_of(wanted[i].op);

        print_message("%s\n", wanted[i].op);
        assert_non_null(p);
        for (unsigned r = 0; r < ROLES; r++) {
            bool may = strchr(wanted[i].cell, letters[r]) != NULL;

            assert_int_equal(permission_check(p, p->op, ROLE_BIT(r), &e), may ? E_OK : E_DENIED);
        }
        assert_int_equal(permission_check(p, p->op, 0, &e), E_DENIED);
        assert_int_equal(p->signature, strchr(wanted[i].cell, 'S') != NULL);
        assert_int_equal(p->two_persons, strchr(wanted[i].cell, '2') != NULL);
        assert_int_equal(p->local, strchr(wanted[i].cell, 'L') != NULL);
    }
}

static void roles_add_up(void **state)
{
    const struct permission *p = permission_of("order.open");
    struct err e = {0};

    (void)state;
    assert_int_equal(permission_check(p, p->op, ROLE_BIT(ROLE_OPERATOR) | ROLE_BIT(ROLE_FACTORY), &e), E_OK);
    assert_int_equal(permission_check(p, p->op, ROLE_BIT(ROLE_OPERATOR) | ROLE_BIT(ROLE_AUDITOR), &e), E_DENIED);
    assert_non_null(strstr(e.msg, "order.open is for the roles factory; yours: auditor,operator"));
}

static void every_operation_has_one_line(void **state)
{
    size_t missing = 0;

    (void)state;
    for (size_t i = 0; i < admin_ops_n; i++)
        if (!permission_of(admin_ops[i].name)) {
            print_message("%s has no line in ca/permission.c\n", admin_ops[i].name);
            missing++;
        }
    assert_int_equal(missing, 0);
    for (size_t i = 0; i < permissions_n; i++)
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(permissions[i].op, permissions[j].op);
}

/* What changes nothing is the auditor's, but for the records of a line box, which are taken by reading them. */
static void an_auditor_reads_everything_and_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < admin_ops_n; i++) {
        const struct permission *p = permission_of(admin_ops[i].name);
        bool reads = !admin_ops[i].changes && strcmp(admin_ops[i].name, "box.outbox") != 0;

        print_message("%s\n", admin_ops[i].name);
        assert_non_null(p);
        assert_int_equal((p->roles & ROLE_BIT(ROLE_AUDITOR)) != 0, reads);
    }
}

static void an_unknown_operation_is_nobodys(void **state)
{
    static const char *const names[] = {"", "cert", "cert.", "cert.revoke ", "CERT.REVOKE", "cert.revoke\n", "people.all"};
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_null(permission_of(names[i]));
        assert_int_equal(permission_check(permission_of(names[i]), names[i], ~0u, &e), E_DENIED);
    }
}

/* A stored request is run later, without the descriptor that came with it. */
static void what_two_persons_do_needs_no_file(void **state)
{
    (void)state;
    for (size_t i = 0; i < admin_ops_n; i++) {
        const struct permission *p = permission_of(admin_ops[i].name);

        assert_non_null(p);
        assert_false(p->two_persons && admin_ops[i].takes_file);
        assert_true(!p->two_persons || (p->signature && admin_ops[i].changes));
    }
}

/* Where it takes a second person at times only, the roles of that person may be fewer. */
static void the_second_person_has_a_role_of_their_own(void **state)
{
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < permissions_n; i++) {
        const struct permission *p = &permissions[i];
        bool fewer = strcmp(p->op, "cert.revoke") == 0 || strcmp(p->op, "cert.release") == 0;

        print_message("%s\n", p->op);
        for (unsigned r = 0; r < ROLES; r++) {
            enum err_code first = permission_check(p, p->op, ROLE_BIT(r), &e);

            assert_int_equal(permission_check_second(p, p->op, ROLE_BIT(r), &e), fewer && r != ROLE_SECURITY ? E_DENIED : first);
        }
    }
    assert_int_equal(permission_check_second(permission_of("no.such"), "no.such", ~0u, &e), E_DENIED);
}

/* What is signed stays in the trail and goes to whoever is told of it. */
static void no_secret_is_in_a_signed_request(void **state)
{
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < admin_ops_n; i++) {
        bool kek = strcmp(admin_ops[i].name, "kek.add") == 0;
        json_t *args = json_pack("{s:s, s:s}", "key_id", "6b", "key", "000102030405060708090a0b0c0d0e0f");

        assert_int_equal(admin_args_keep_no_secret(admin_ops[i].args, args, &e), kek ? E_INVALID : E_OK);
        json_object_del(args, "key");
        assert_int_equal(admin_args_keep_no_secret(admin_ops[i].args, args, &e), E_OK);
        json_decref(args);
    }
}

static void roles_are_read_and_written(void **state)
{
    static const struct {
        const char *text;
        unsigned roles; /* 0: refused */
    } cases[] = {
        {"auditor", ROLE_BIT(ROLE_AUDITOR)},
        {"operator,security", ROLE_BIT(ROLE_OPERATOR) | ROLE_BIT(ROLE_SECURITY)},
        {"auditor,operator,security,factory,ca-admin,sync", ROLE_BIT(ROLES) - 1},
        {"", 0}, {",", 0}, {"operator,", 0}, {",operator", 0}, {"operator, security", 0}, {"root", 0}, {"Operator", 0},
        {"operator security", 0}, {"oper", 0}, {"operators", 0},
    };
    char text[ROLES_TEXT_MAX];
    struct err e = {0};
    unsigned roles;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        print_message("\"%s\"\n", cases[i].text);
        assert_int_equal(roles_read(cases[i].text, &roles, &e), cases[i].roles ? E_OK : E_INVALID);
        if (!cases[i].roles)
            continue;
        assert_int_equal(roles, cases[i].roles);
        roles_write(roles, text);
        assert_string_equal(text, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_role_may_what_the_list_says),
        cmocka_unit_test(roles_add_up),
        cmocka_unit_test(every_operation_has_one_line),
        cmocka_unit_test(an_auditor_reads_everything_and_changes_nothing),
        cmocka_unit_test(an_unknown_operation_is_nobodys),
        cmocka_unit_test(what_two_persons_do_needs_no_file),
        cmocka_unit_test(the_second_person_has_a_role_of_their_own),
        cmocka_unit_test(no_secret_is_in_a_signed_request),
        cmocka_unit_test(roles_are_read_and_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
