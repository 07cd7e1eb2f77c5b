/* SPDX-License-Identifier: Apache-2.0 */
/* The selector language: what it takes, what it refuses and where, and which rows of a real ledger it chooses. */
#include "tests/unit/ledger_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/x509.h>

#include "base/auto.h"
#include "base/life.h"
#include "ca/store/select.h"

#define NOW 1700000000 /* 2023-11-14T22:13:20Z */
#define DAY 86400

static struct selector sel; /* large */

/* ---- mistakes ---- */

static const struct {
    const char *text;
    size_t column;
    const char *says;
} mistakes[] = {
    {"lot", 4, "after lot comes"},
    {"lot =", 6, "a value is expected, not the end"},
    {"lot = )", 7, "a value is expected"},
    {"colour = red", 1, "no field is called \"colour\""},
    {"lot == x", 6, "a value is expected"},
    {"lot < x", 5, "cannot be compared like that"},
    {"state ~ x", 7, "cannot be compared like that"},
    {"state = asleep", 9, "state is one of declared"},
    {"cert_status = fine", 15, "one of good, on_hold, revoked"},
    {"key_alg = p999", 11, "p256"},
    {"current = maybe", 11, "no, yes"},
    {"serial = xyz", 10, "hex"},
    {"serial = 00112233445566778899aabbccddeeff0011223344", 10, "1 to 20 octets"},
    {"issued > yesterday", 10, "a time is"},
    {"issued > 2023-02-29", 10, "a time is"},
    {"issued > 2023-13-01", 10, "a time is"},
    {"issued > 2023-01-01T25:00Z", 10, "a time is"},
    {"issued > 2023-01-01T10:00", 10, "a time is"},
    {"issued > -7", 10, "a time is"},
    {"issued > -7x", 10, "a time is"},
    {"issued = never", 10, "never"},
    {"enrolled < never", 12, "= and !="},
    {"device = a*b", 10, "at the end only"},
    {"device ~ ab*", 10, "with = and !="},
    {"device = a b", 12, "and, or or the end is expected, not \"b\""},
    {"(lot = x", 9, "parenthesis of column 1"},
    {"lot = x)", 8, "and, or or the end"},
    {"lot in x", 8, "list in parentheses"},
    {"lot in ()", 9, "a value is expected"},
    {"lot in (a b)", 11, "a comma or )"},
    {"lot = 'x", 7, "no closing '"},
    {"lot = 'a\tb'", 9, "control character"},
    {"lot = 'a\\n'", 10, "after \\"},
    {"lot = x and", 12, "a field is expected, not the end"},
    {"not", 4, "a field is expected"},
    {"lot = x or and lot = y", 12, "no field is called \"and\""},
    {"lot = x; DROP TABLE device", 8, "and, or or the end is expected, not \";\""},
    {"lot = x OR 1=1", 9, "not \"OR\""},
    {"LOT = x", 1, "no field is called \"LOT\""},
};

static void mistake_names_its_column(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
        struct err e = {0};
        char at[40];

        snprintf(at, sizeof(at), "selector, column %zu: ", mistakes[i].column);
        if (selector_read(mistakes[i].text, NOW, &sel, &e) != E_INVALID || strncmp(e.msg, at, strlen(at)) != 0 ||
            !strstr(e.msg, mistakes[i].says))
            fail_msg("%s: wanted \"%s ... %s\", got: %s", mistakes[i].text, at, mistakes[i].says, e.msg);
    }
}

static void empty_long_deep_and_many_are_refused(void **state)
{
    char text[SELECTOR_MAX_LEN + 2], *at = text;
    struct err e = {0};

    (void)state;
    assert_int_equal(selector_read("  ", NOW, &sel, &e), E_INVALID);
    assert_non_null(strstr(e.msg, "device = *"));
    memset(text, ' ', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    memcpy(text, "lot=x", 5);
    assert_int_equal(selector_read(text, NOW, &sel, &e), E_INVALID);
    assert_non_null(strstr(e.msg, "at most 4096"));
    text[SELECTOR_MAX_LEN] = '\0';
    assert_int_equal(selector_read(text, NOW, &sel, &e), E_OK);
    for (int terms = SELECTOR_TERMS_MAX; terms <= SELECTOR_TERMS_MAX + 1; terms++) {
        at = text;
        for (int i = 0; i < terms; i++)
            at += sprintf(at, "%slot = x%d", i ? " or " : "", i);
        assert_int_equal(selector_read(text, NOW, &sel, &e), terms <= SELECTOR_TERMS_MAX ? E_OK : E_INVALID);
    }
    assert_non_null(strstr(e.msg, "more than 64 terms"));
    for (int depth = SELECTOR_DEPTH_MAX; depth <= SELECTOR_DEPTH_MAX + 1; depth++) {
        at = text;
        for (int i = 1; i < depth; i++)
            at += sprintf(at, "not ");
        sprintf(at, "lot = x");
        assert_int_equal(selector_read(text, NOW, &sel, &e), depth <= SELECTOR_DEPTH_MAX ? E_OK : E_INVALID);
    }
    assert_non_null(strstr(e.msg, "nested more than 32"));
}

/* ---- versions ---- */

static void versions_compare_digits_by_number(void **state)
{
    static const char *const rising[] = {"", "0", "1", "1.9", "1.10", "1.10.1", "1.10.a", "1.11-rc1", "2", "10", "10.0", "v1", "v2", "v10"};

    (void)state;
    for (size_t a = 0; a < ARRAY_LEN(rising); a++)
        for (size_t b = 0; b < ARRAY_LEN(rising); b++) {
            int order = version_compare(rising[a], strlen(rising[a]), rising[b], strlen(rising[b]));

            if ((order > 0) - (order < 0) != (a > b) - (a < b))
                fail_msg("%s against %s: %d", rising[a], rising[b], order);
        }
    assert_int_equal(version_compare("1.02", 4, "1.2", 3), 0);
    assert_true(version_compare("1.99999999999999999999999", 25, "1.100000000000000000000000", 26) < 0);
}

/* ---- rows ---- */

static struct buf cert_of(EVP_PKEY *key, const char *cn)
{
    X509 *x = X509_new();
    X509_NAME *name = X509_get_subject_name(x);
    struct buf out;
    uint8_t *der = NULL;
    int n;

    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 77);
    X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const uint8_t *)"Acme 100%", -1, -1, 0);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)cn, -1, -1, 0);
    X509_set_issuer_name(x, name);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), DAY);
    X509_set_pubkey(x, key);
    X509_sign(x, key, EVP_sha256());
    n = i2d_X509(x, &der);
    buf_init(&out, SIZE_MAX);
    buf_add(&out, der, (size_t)n);
    OPENSSL_free(der);
    X509_free(x);
    return out;
}

struct unit {
    const char *domain, *id, *product, *model, *lot, *order, *line, *station, *firmware;
    enum device_state state;
    int64_t declared_at, enrolled_at;
};

/* The number of a row is its place here, from 1. */
static const struct unit units[] = {
    {"acme", "unit-1", "cam", "cam 1", "L1", "wo-1", "l1", "load-1", "1.9", DEVICE_IN_SERVICE, NOW - 9 * DAY, NOW - 5 * DAY},
    {"acme", "unit-2", "cam", "cam 1", "L1", "wo-1", "l1", "load-2", "1.10", DEVICE_IN_SERVICE, NOW - 9 * DAY, NOW - 4 * DAY},
    {"acme", "unit-3", "cam", "cam 2", "L2", "wo-1", "l2", "load-1", "2.0", DEVICE_SUSPENDED, NOW - 8 * DAY, NOW - 3 * DAY},
    {"acme", "other-4", "lock", "O'Lock", "L2", "", "", "", "", DEVICE_DECLARED, NOW - DAY, 0},
    {"beta", "unit-1", "lock", "O'Lock", "", "wo-2", "", "", "1.9", DEVICE_SCRAPPED, NOW, 0},
};

struct issued {
    unsigned n;
    uint64_t device;
    const char *profile;
    int64_t issued_at, not_after;
    enum cert_status status;
    uint64_t replaced_by;
};

/* unit-1 has a renewed and a current certificate, unit-2 one on hold, unit-3 a revoked one; one belongs to no device. */
static const struct issued issued[] = {
    {1, 1, "ldevid", NOW - 5 * DAY, NOW + 2 * DAY, CERT_GOOD, 2},
    {2, 1, "ldevid", NOW - DAY, NOW + 30 * DAY, CERT_GOOD, 0},
    {3, 2, "ldevid", NOW - 4 * DAY, NOW + 26 * DAY, CERT_ON_HOLD, 0},
    {4, 3, "idevid", NOW - 3 * DAY, 253402300799, CERT_REVOKED, 0},
    {5, 0, "tls", NOW - 2 * DAY, NOW + 90 * DAY, CERT_GOOD, 0},
};

static void fill(struct ledger *l)
{
    EVP_PKEY *p256 = EVP_EC_gen("P-256"), *p384 = EVP_EC_gen("P-384");

    OK(l, store_begin(l->s, &l->e));
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        const struct unit *u = &units[i];
        struct device_row d = {.domain = u->domain, .device_id = u->id, .product = u->product, .model = u->model, .lot = u->lot,
                               .order_no = u->order, .line = u->line, .station = u->station, .firmware = u->firmware,
                               .state = u->state, .declared_at = u->declared_at, .enrolled_at = u->enrolled_at};

        OK(l, store_device_insert(l->s, &d, &l->e));
        assert_int_equal(d.id, i + 1);
    }
    for (size_t i = 0; i < ARRAY_LEN(issued); i++) {
        const struct issued *s = &issued[i];
        struct buf der = cert_of(i % 2 ? p384 : p256, s->device ? units[s->device - 1].id : "front");
        struct cert_row c;
        struct status_row change;
        uint8_t fake[8];

        ledger_fill_cert(l, s->n, fake, sizeof(fake), &c);
        c.der = buf_bytes(&der);
        c.device = s->device;
        c.profile = s->profile;
        c.issued_at = s->issued_at;
        c.not_after = s->not_after;
        OK(l, store_cert_issue(l->s, &c, &l->e));
        change = ledger_status(l, s->n, s->status, REASON_UNSPECIFIED);
        if (s->status != CERT_GOOD)
            OK(l, store_status_append(l->s, &change, &l->e));
        buf_clear(&der);
    }
    OK(l, store_cert_set_replaced(l->s, 1, 2, &l->e));
    OK(l, store_commit(l->s, &l->e));
    EVP_PKEY_free(p256);
    EVP_PKEY_free(p384);
}

static bool note_device(void *arg, const struct device_row *row)
{
    sprintf((char *)arg + strlen(arg), "%s%d", *(char *)arg ? " " : "", (int)row->id);
    return true;
}

static bool note_cert(void *arg, const struct cert_row *row)
{
    sprintf((char *)arg + strlen(arg), "%s%d", *(char *)arg ? " " : "", (int)row->id);
    return true;
}

struct choice {
    const char *text, *wanted;
};

static const struct choice of_devices[] = {
    {"device = *", "1 2 3 4 5"},
    {"device = unit-1", "1 5"},
    {"device = unit-1 and domain = beta", "5"},
    {"device = unit-*", "1 2 3 5"},
    {"device != unit-*", "4"},
    {"device ~ NIT-2", "2"},
    {"device in (unit-2, other-4, absent)", "2 4"},
    {"domain = beta", "5"},
    {"domain != beta", "1 2 3 4"},
    {"order = wo-1", "1 2 3"},
    {"order = ''", "4"},
    {"order in (wo-1, wo-2)", "1 2 3 5"},
    {"product = lock", "4 5"},
    {"model = 'cam 1'", "1 2"},
    {"model = \"O'Lock\"", "4 5"},
    {"model = 'O\\'Lock'", "4 5"},
    {"lot = L1", "1 2"},
    {"lot = L1 and order = wo-1", "1 2"},
    {"lot != L1", "3 4 5"},
    {"lot = L* and not lot = L1", "3 4"},
    {"line = l1", "1 2"},
    {"station ~ load", "1 2 3"},
    {"station = load-1 and line = l2", "3"},
    {"firmware = 1.9", "1 5"},
    {"firmware < 1.10", "1 5"},
    {"firmware <= 1.10", "1 2 5"},
    {"firmware > 1.9", "2 3"},
    {"firmware >= 1.10", "2 3"},
    {"firmware = 1.*", "1 2 5"},
    {"firmware = ''", "4"},
    {"firmware < 9", "1 2 3 5"},
    {"state = in_service", "1 2"},
    {"state != in_service", "3 4 5"},
    {"state in (suspended, scrapped)", "3 5"},
    {"declared = 2023-11-13", "4"},
    {"declared < 2023-11-13", "1 2 3"},
    {"declared <= 2023-11-13", "1 2 3 4"},
    {"declared > 2023-11-13", "5"},
    {"declared >= 2023-11-13T22:13Z", "4 5"},
    {"declared > 2023-11-13T22:13Z", "5"},
    {"declared > -2d", "4 5"},
    {"declared = now", "5"},
    {"enrolled < now", "1 2 3"},
    {"enrolled < -4d", "1"},
    {"enrolled = never", "4 5"},
    {"enrolled != never", "1 2 3"},
    {"issuer = fleet-ca", "1 2 3"},
    {"issuer != fleet-ca", ""},
    {"not issuer = fleet-ca", "4 5"},
    {"profile = idevid", "3"},
    {"serial = 40000000000000000000000000000003", "2"},
    {"serial = 40000000000000000000000000000003 and profile = tls", ""},
    {"subject ~ 'cn=UNIT-2'", "2"},
    {"subject ~ 'Acme 100%'", "1 2 3"},
    {"subject ~ '%'", "1 2 3"},
    {"cert_status = revoked", "3"},
    {"cert_status != good", "2 3"},
    {"issued > -2d", "1"},
    {"expires < +7d", "1"},
    {"expires < +7d and current = yes", ""},
    {"expires < +7d and current = no", "1"},
    {"expires = never", "3"},
    {"key_alg = p384", "1 3"},
    {"key_alg = p384 and cert_status = revoked", "3"},
    {"key_alg = p384 and current = no", ""},
    {"key_alg = p256 and current = no", "1"},
    {"state = in_service and expires < +27d and issuer = fleet-ca", "1 2"},
    {"state = in_service or lot = L2 and not model = \"O'Lock\"", "1 2 3"},
    {"(state = in_service or lot = L2) and not model = \"O'Lock\"", "1 2 3"},
    {"not (state = in_service or state = suspended)", "4 5"},
    {"not not lot = L1", "1 2"},
    /* attempts to be more than a value */
    {"device = \"x' OR 1=1 --\"", ""},
    {"device = '\" OR \"\"=\"'", ""},
    {"lot = 'L1\\' OR \\'1\\'=\\'1'", ""},
    {"device ~ '%'", ""},
    {"device ~ '_'", ""},
    {"model = '?1'", ""},
    {"lot = \"L1') UNION SELECT 1 FROM secret --\"", ""},
};

static const struct choice of_certs[] = {
    {"issuer = fleet-ca", "1 2 3 4 5"},
    {"profile = ldevid", "1 2 3"},
    {"not profile = ldevid", "4 5"},
    {"profile != ldevid", "4 5"},
    {"cert_status = good", "1 2 5"},
    {"cert_status = on_hold", "3"},
    {"cert_status in (on_hold, revoked)", "3 4"},
    {"expires < +27d", "1 3"},
    {"serial = 40000000000000000000000000000005", "5"},
    {"device = unit-1", "1 2"},
    {"device = unit-1 and current = yes", "2"},
    {"device = unit-*", "1 2 3 4"},
    {"lot = L1 and issued > -2d", "2"},
    {"state = suspended", "4"},
    {"not state = suspended", "1 2 3"},
    {"not (state = suspended and profile = idevid)", "1 2 3 5"},
    {"subject ~ front or state = suspended", "4 5"},
    {"key_alg = p256", "1 3 5"},
    {"domain = acme and expires = never", "4"},
};

static void choose(struct ledger *l, struct store *r, bool certs, const struct choice *c)
{
    char got[256] = "";

    OK(l, selector_read(c->text, NOW, &sel, &l->e));
    if (certs)
        OK(l, store_select_certs(r, &sel, 0, 0, note_cert, got, &l->e));
    else
        OK(l, store_select_devices(r, &sel, 0, 0, note_device, got, &l->e));
    if (strcmp(got, c->wanted) != 0)
        fail_msg("%s: wanted \"%s\", got \"%s\"", c->text, c->wanted, got);
    /* The same by pages of one. */
    if (!certs) {
        char pages[256] = "";
        uint64_t after = 0;

        for (size_t before = 1; strlen(pages) != before;) {
            before = strlen(pages);
            OK(l, store_select_devices(r, &sel, after, 1, note_device, pages, &l->e));
            after = *pages ? strtoull(strrchr(pages, ' ') ? strrchr(pages, ' ') : pages, NULL, 10) : 0;
        }
        assert_string_equal(pages, c->wanted);
    }
}

static void rows_are_those_that_fit(void **state)
{
    struct ledger *l = *state;
    struct store *r = NULL;

    fill(l);
    OK(l, store_open(l->path, STORE_READ, &r, &l->e));
    for (size_t i = 0; i < ARRAY_LEN(of_devices); i++)
        choose(l, r, false, &of_devices[i]);
    for (size_t i = 0; i < ARRAY_LEN(of_certs); i++)
        choose(l, r, true, &of_certs[i]);
    store_close(r);
}

/* Each field is in a selector that chose something and one that refused something. */
static void every_field_was_tried(void **state)
{
    (void)state;
    for (int f = 0; f < SEL_FIELDS; f++) {
        const char *name = selector_field_name((enum selector_field)f);
        bool seen = false;

        for (size_t i = 0; i < ARRAY_LEN(of_devices); i++)
            seen = seen || (strncmp(of_devices[i].text, name, strlen(name)) == 0 && of_devices[i].wanted[0]);
        if (!seen && f != SEL_CURRENT)
            fail_msg("%s is in no example", name);
    }
}

/* ---- plans ---- */

static const struct {
    bool certs;
    const char *text, *uses;
} plans[] = {
    {false, "lot = L1", "USING INDEX device_lot"},
    {false, "lot = L1 and state = in_service and expires < +7d", "USING INDEX device_lot"},
    {false, "order = wo-1 and not model = x", "USING INDEX device_order"},
    {false, "device = unit-1", "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)"},
    {false, "serial = 40", "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)"},
    {true, "serial = 40", "(issuer=? AND serial=? AND rowid>?)"},
    {true, "cert_status = revoked", "USING INDEX cert_not_good"},
    {true, "device = unit-1", "USING INDEX cert_device"},
    /* all of these read the table once, in its own order */
    {false, "domain = acme and device = unit-*", "SEARCH d USING INTEGER PRIMARY KEY (rowid>?)"},
    {false, "lot in (L1, L2)", "SEARCH d USING INTEGER PRIMARY KEY (rowid>?)"},
    {false, "state = in_service", "SEARCH d USING INTEGER PRIMARY KEY (rowid>?)"},
    {false, "cert_status = revoked", "SEARCH d USING INTEGER PRIMARY KEY (rowid>?)"},
    {true, "issuer = fleet-ca", "SEARCH c USING INTEGER PRIMARY KEY (rowid>?)"},
    {true, "lot = L1", "SEARCH c USING INTEGER PRIMARY KEY (rowid>?)"},
};

static void lots_orders_ids_and_serials_are_found_by_index(void **state)
{
    struct ledger *l = *state;

    fill(l);
    for (size_t i = 0; i < ARRAY_LEN(plans); i++) {
        AUTO_BUF plan = BUF_INIT(SIZE_MAX);
        bool by_one = strstr(plans[i].text, "device = unit-1") || strstr(plans[i].text, "serial");

        OK(l, selector_read(plans[i].text, NOW, &sel, &l->e));
        OK(l, store_select_plan(l->s, &sel, plans[i].certs, &plan, &l->e));
        buf_add_u8(&plan, '\0');
        if (!strstr((const char *)plan.p, plans[i].uses))
            fail_msg("%s: not %s:\n%s", plans[i].text, plans[i].uses, (const char *)plan.p);
        /* A page that sorts reads all that is left each time: only for a handful of rows. */
        if (!by_one && strstr((const char *)plan.p, "TEMP B-TREE"))
            fail_msg("%s: a page sorts:\n%s", plans[i].text, (const char *)plan.p);
    }
}

/* No word of a selector stands in its statement. */
static void values_are_bound(void **state)
{
    struct ledger *l = *state;

    for (size_t i = 0; i < ARRAY_LEN(of_devices); i++) {
        AUTO_BUF plan = BUF_INIT(SIZE_MAX);

        OK(l, selector_read(of_devices[i].text, NOW, &sel, &l->e));
        OK(l, store_select_plan(l->s, &sel, false, &plan, &l->e));
        buf_add_u8(&plan, '\0');
        *strchr((char *)plan.p, '\n') = '\0';
        for (size_t t = 0; t < sel.term_n; t++)
            if (sel.term[t].text_len > 3 && strstr((const char *)plan.p, sel.term[t].text))
                fail_msg("%s: its value is in the statement: %s", of_devices[i].text, (const char *)plan.p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistake_names_its_column),
        cmocka_unit_test(empty_long_deep_and_many_are_refused),
        cmocka_unit_test(versions_compare_digits_by_number),
        cmocka_unit_test_setup_teardown(rows_are_those_that_fit, ledger_setup, ledger_teardown),
        cmocka_unit_test(every_field_was_tried),
        cmocka_unit_test_setup_teardown(lots_orders_ids_and_serials_are_found_by_index, ledger_setup, ledger_teardown),
        cmocka_unit_test_setup_teardown(values_are_bound, ledger_setup, ledger_teardown),
    };

    return cmocka_run_group_tests_name("selector", tests, NULL, NULL);
}
