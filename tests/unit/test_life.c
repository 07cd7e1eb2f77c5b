/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a device: all 15 x 15 pairs, and what each change does to certificates, against a real ledger. What is expected is
 * written from the table of docs/lifecycle.md, not from that of the code.
 */
#include "tests/unit/ledger_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "ca/life.h"
#include "ca/store/life.h"

/* ---- the table, as the document has it ---- */

static const char *const states[DEVICE_STATES] = {
    "declared", "keyed", "provisioned", "confirmed", "shipped", "in_service", "suspended", "quarantined",
    "compromised", "lost", "transferring", "in_repair", "decommissioned", "disposed", "scrapped",
};

/* "from > to to ...": everything else is refused. */
static const char *const allowed[] = {
    "declared > keyed provisioned in_service in_repair scrapped",
    "keyed > declared provisioned in_repair scrapped",
    "provisioned > declared confirmed in_repair scrapped",
    "confirmed > provisioned shipped in_repair scrapped",
    "shipped > confirmed in_service compromised lost in_repair decommissioned",
    "in_service > suspended quarantined compromised lost transferring in_repair decommissioned",
    "suspended > in_service compromised lost in_repair decommissioned",
    "quarantined > in_service compromised lost in_repair decommissioned",
    "compromised > in_repair",
    "lost > suspended in_repair",
    "transferring > shipped in_service compromised lost in_repair decommissioned",
    "in_repair > confirmed compromised lost",
    "decommissioned > in_service transferring in_repair disposed",
    "disposed >",
    "scrapped >",
};

static bool expected(int from, int to)
{
    char row[256], *save = NULL;
    size_t skip = strlen(states[from]) + 2;

    snprintf(row, sizeof(row), "%s", allowed[from]);
    for (char *word = strtok_r(row + skip, " ", &save); word; word = strtok_r(NULL, " ", &save))
        if (strcmp(word, states[to]) == 0)
            return true;
    return false;
}

static void states_have_names_scopes_and_groups(void **state)
{
    static const char *const scopes[DEVICE_STATES] = {"none", "enroll-only", "line", "line", "enroll-only", "full", "none", "update-only",
                                                      "none", "none", "enroll-only", "repair", "none", "none", "none"};
    enum device_state s;
    enum access_scope scope;

    (void)state;
    for (int i = 0; i < DEVICE_STATES; i++) {
        bool live = i == 4 || i == 5 || i == 6 || i == 7 || i == 10 || i == 11;

        assert_string_equal(device_state_name((enum device_state)i), states[i]);
        assert_true(device_state_from_name(states[i], &s) && (int)s == i);
        assert_string_equal(access_scope_name(device_scope((enum device_state)i)), scopes[i]);
        assert_true(access_scope_from_name(scopes[i], &scope) && scope == device_scope((enum device_state)i));
        assert_int_equal(device_is_live((enum device_state)i), live);
        assert_int_equal(device_is_final((enum device_state)i), i >= 13);
    }
    assert_false(device_state_from_name("stopped", &s));
    assert_false(access_scope_from_name("", &scope));
    assert_string_equal(device_state_name(DEVICE_STATES), "unknown");
    assert_true(device_is_stopped(DEVICE_STATES, DEVICE_STATES)); /* unknown means refuse */
    assert_true(device_is_stopped(DEVICE_SUSPENDED, DEVICE_IN_SERVICE));
    assert_false(device_is_stopped(DEVICE_SUSPENDED, DEVICE_LOST));
    assert_false(device_is_stopped(DEVICE_QUARANTINED, DEVICE_IN_SERVICE));
}

static void the_rule_is_the_table(void **state)
{
    struct life_rule rule;

    (void)state;
    for (int from = 0; from < DEVICE_STATES; from++)
        for (int to = 0; to < DEVICE_STATES; to++) {
            bool want = from == to || expected(from, to);

            if (life_rule((enum device_state)from, (enum device_state)to, &rule) != want || rule.allowed != want)
                fail_msg("%s -> %s: %s", states[from], states[to], want ? "refused" : "allowed");
            assert_int_equal(rule.trigger[0] != '\0', want && from != to);
            assert_int_equal((life_from((enum device_state)to) >> from) & 1, expected(from, to));
            if (!want && (!strstr(rule.why, states[from]) || !strstr(rule.why, states[to])))
                fail_msg("%s -> %s: \"%s\" does not name both", states[from], states[to], rule.why);
        }
    assert_false(life_rule(DEVICE_STATES, DEVICE_LOST, &rule));
    assert_false(life_rule(DEVICE_LOST, DEVICE_STATES, &rule));
    assert_false(life_rule(DEVICE_LOST, DEVICE_COMPROMISED, &rule));
    assert_string_equal(rule.why, "a device that is lost cannot become compromised: first suspended, then compromised");
    assert_false(life_rule(DEVICE_DISPOSED, DEVICE_IN_SERVICE, &rule));
    assert_string_equal(rule.why, "a device that is disposed cannot become in_service: that state is final");
}

/* ---- a ledger with devices ---- */

struct bench {
    struct ledger *ledger;
    struct core core;
    struct conf conf;
    struct conf_domain domains[2];
    struct conf_profile profile;
    unsigned next;
};

static const struct actor anna = {.name = "anna", .kind = "operator"}, bert = {.name = "bert", .kind = "operator"};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    void *ledger = NULL;

    if (!b || ledger_setup(&ledger) != 0)
        return -1;
    b->ledger = ledger;
    b->core.store = b->ledger->s;
    b->core.conf = &b->conf;
    b->conf.domains = b->domains;
    b->conf.domains_n = 2;
    b->profile = (struct conf_profile){.name = (char *)"ldevid", .kind = PROFILE_LDEVID, .expired_grace_s = 86400};
    b->conf.profiles = &b->profile;
    b->conf.profiles_n = 1;
    b->domains[0].name = (char *)"acme";
    b->domains[1].name = (char *)"beta";
    OK(b->ledger, store_begin(b->core.store, &b->ledger->e));
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    void *ledger = b->ledger;

    store_rollback(b->core.store);
    free(b);
    return ledger_teardown(&ledger);
}

struct device {
    uint64_t id, unit, idevid, ldevid;
};

static uint64_t certify(struct bench *b, uint64_t device, enum profile_kind kind)
{
    uint8_t der[300];
    struct cert_row row;

    ledger_fill_cert(b->ledger, ++b->next, der, sizeof(der), &row);
    row.device = device;
    row.kind = (uint8_t)kind;
    row.issued_at = T0;
    OK(b->ledger, store_cert_issue(b->core.store, &row, &b->ledger->e));
    return row.id;
}

/* A device that went from `prev` to `state`, with a birth certificate and, after its line, an operational one: both good. */
static struct device device_in(struct bench *b, const char *domain, uint64_t unit, int prev, int state)
{
    char id[32];
    struct device_row row = {.domain = domain, .device_id = id, .unit = unit, .declared_at = T0};
    struct device d;

    snprintf(id, sizeof(id), "dev-%u", ++b->next);
    OK(b->ledger, store_device_insert(b->core.store, &row, &b->ledger->e));
    d = (struct device){.id = row.id, .unit = row.unit};
    d.idevid = certify(b, d.id, PROFILE_IDEVID);
    d.ldevid = certify(b, d.id, PROFILE_LDEVID);
    OK(b->ledger, store_device_set_state(b->core.store, d.id, (enum device_state)prev, T0 + 1, &b->ledger->e));
    OK(b->ledger, store_device_set_state(b->core.store, d.id, (enum device_state)state, T0 + 2, &b->ledger->e));
    return d;
}

static enum err_code go_at(struct bench *b, uint64_t device, int to, int64_t now, bool *changed)
{
    struct life_change ch = {.to = (enum device_state)to, .only_from = DEVICE_STATES, .why = "test"};
    uint64_t seq;

    b->ledger->e = (struct err){0};
    return life_apply(&b->core, device, &ch, &anna, now, changed, &seq, &b->ledger->e);
}

static enum err_code go(struct bench *b, uint64_t device, int to, bool *changed)
{
    return go_at(b, device, to, T0 + 50, changed);
}

static enum device_state state_of(struct bench *b, uint64_t device)
{
    struct device_row row;

    OK(b->ledger, store_device_by_id(b->core.store, device, &row, &b->ledger->e));
    return (enum device_state)row.state;
}

static struct cert_row cert_of(struct bench *b, uint64_t id)
{
    struct cert_row row;

    OK(b->ledger, store_cert_by_id(b->core.store, id, &row, &b->ledger->e));
    return row;
}

static bool count_event(void *arg, const struct device_event_row *row)
{
    (void)row;
    ++*(unsigned *)arg;
    return true;
}

static unsigned events_of(struct bench *b, uint64_t device)
{
    unsigned n = 0;

    OK(b->ledger, store_device_event_each(b->core.store, device, 0, count_event, &n, &b->ledger->e));
    return n;
}

static uint64_t entries(struct bench *b)
{
    uint64_t seq;
    uint8_t hash[32];

    OK(b->ledger, store_audit_last(b->core.store, &seq, hash, &b->ledger->e));
    return seq;
}

/* Every pair on the ledger: done with its event, its entry and its row in the log; refused and nothing is written; or the same. */
static void every_pair_is_done_or_refused_as_a_whole(void **state)
{
    struct bench *b = *state;

    for (int from = 0; from < DEVICE_STATES; from++)
        for (int to = 0; to < DEVICE_STATES; to++) {
            int prev = from == DEVICE_TRANSFERRING && to == DEVICE_DECOMMISSIONED ? DEVICE_DECOMMISSIONED : DEVICE_IN_SERVICE;
            struct device d = device_in(b, "acme", 0, prev, from);
            uint64_t seq = core_seq(&b->core), before = entries(b);
            bool changed, want = expected(from, to);
            enum err_code code = go(b, d.id, to, &changed);

            if (code != (want || from == to ? E_OK : E_CONFLICT) || changed != want)
                fail_msg("%s -> %s: %s %s", states[from], states[to], err_code_name(code), b->ledger->e.msg);
            assert_int_equal(state_of(b, d.id), want ? to : from);
            assert_int_equal(events_of(b, d.id), want);
            assert_int_equal(core_seq(&b->core) > seq, want);
            assert_int_equal(entries(b) > before, want);
            if (code != E_OK)
                SAYS(b->ledger, states[to]);
        }
}

/* ---- what the changes do to certificates ---- */

#define NONE 0xff
static const struct {
    const char *name;
    int from, to;
    int idevid, idevid_reason, ldevid, ldevid_reason;
} cases[] = {
    {"suspended: the operational certificate is on hold", 5, 6, CERT_GOOD, NONE, CERT_ON_HOLD, REASON_CERTIFICATE_HOLD},
    {"quarantined: both stay good", 5, 7, CERT_GOOD, NONE, CERT_GOOD, NONE},
    {"compromised: everything is revoked for keyCompromise", 5, 8, CERT_REVOKED, REASON_KEY_COMPROMISE, CERT_REVOKED, REASON_KEY_COMPROMISE},
    {"lost: on hold, and revoked for privilegeWithdrawn", 5, 9, CERT_ON_HOLD, REASON_CERTIFICATE_HOLD, CERT_REVOKED, REASON_PRIVILEGE_WITHDRAWN},
    {"transferring: affiliationChanged", 5, 10, CERT_GOOD, NONE, CERT_REVOKED, REASON_AFFILIATION_CHANGED},
    {"in repair: on hold, and revoked for cessationOfOperation", 5, 11, CERT_ON_HOLD, REASON_CERTIFICATE_HOLD, CERT_REVOKED, REASON_CESSATION_OF_OPERATION},
    {"decommissioned: the birth certificate stays", 5, 12, CERT_GOOD, NONE, CERT_REVOKED, REASON_CESSATION_OF_OPERATION},
    {"disposed: everything is revoked", 12, 13, CERT_REVOKED, REASON_CESSATION_OF_OPERATION, CERT_REVOKED, REASON_CESSATION_OF_OPERATION},
    {"scrapped: everything is revoked", 3, 14, CERT_REVOKED, REASON_CESSATION_OF_OPERATION, CERT_REVOKED, REASON_CESSATION_OF_OPERATION},
    {"given up on the line: everything is revoked", 2, 0, CERT_REVOKED, REASON_CESSATION_OF_OPERATION, CERT_REVOKED, REASON_CESSATION_OF_OPERATION},
    {"shipped: nothing", 3, 4, CERT_GOOD, NONE, CERT_GOOD, NONE},
    {"back into stock: nothing", 4, 3, CERT_GOOD, NONE, CERT_GOOD, NONE},
    {"reworked: nothing", 3, 2, CERT_GOOD, NONE, CERT_GOOD, NONE},
};

static void effects_are_those_of_the_state(void **state)
{
    struct bench *b = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct device d = device_in(b, "acme", 0, DEVICE_IN_SERVICE, cases[i].from);
        struct cert_row idevid, ldevid;
        struct status_row last;
        bool changed;

        print_message("    %s\n", cases[i].name);
        OK(b->ledger, go(b, d.id, cases[i].to, &changed));
        idevid = cert_of(b, d.idevid);
        assert_int_equal(idevid.status, cases[i].idevid);
        assert_int_equal(idevid.status == CERT_GOOD ? NONE : idevid.reason, cases[i].idevid_reason);
        ldevid = cert_of(b, d.ldevid);
        assert_int_equal(ldevid.status, cases[i].ldevid);
        assert_int_equal(ldevid.status == CERT_GOOD ? NONE : ldevid.reason, cases[i].ldevid_reason);
        assert_int_equal(ldevid.hold_by, ldevid.status == CERT_ON_HOLD ? HOLD_LIFE : 0);
        /* The last row of the change says what the device is now. */
        OK(b->ledger, store_status_by_seq(b->core.store, core_seq(&b->core), &last, &b->ledger->e));
        assert_int_equal(last.device, d.id);
        assert_int_equal(last.device_state, cases[i].to);
    }
}

static void what_was_held_for_the_state_is_released_with_it(void **state)
{
    struct bench *b = *state;
    struct device d = device_in(b, "acme", 0, DEVICE_SHIPPED, DEVICE_IN_SERVICE), lost;
    struct revocation hold = {.to = CERT_ON_HOLD, .reason = REASON_CERTIFICATE_HOLD};
    struct cert_row row = cert_of(b, d.ldevid);
    bool changed;
    uint64_t seq;

    OK(b->ledger, go(b, d.id, DEVICE_SUSPENDED, &changed));
    OK(b->ledger, go(b, d.id, DEVICE_IN_SERVICE, &changed));
    assert_int_equal(cert_of(b, d.ldevid).status, CERT_GOOD);
    /* An operator's own hold is not the state's to end. */
    OK(b->ledger, revoke_apply(&b->core, &row, &hold, &anna, T0 + 51, &changed, &seq, &b->ledger->e));
    OK(b->ledger, go(b, d.id, DEVICE_SUSPENDED, &changed));
    assert_int_equal(cert_of(b, d.ldevid).hold_by, HOLD_OPERATOR | HOLD_LIFE);
    OK(b->ledger, go(b, d.id, DEVICE_IN_SERVICE, &changed));
    row = cert_of(b, d.ldevid);
    assert_int_equal(row.status, CERT_ON_HOLD);
    assert_int_equal(row.hold_by, HOLD_OPERATOR);
    assert_int_equal(row.status_at, T0 + 51); /* since its first hold */
    /* A lost unit that is found: what was revoked stays revoked, its birth certificate opens the way back. */
    lost = device_in(b, "acme", 0, DEVICE_SHIPPED, DEVICE_IN_SERVICE);
    OK(b->ledger, go(b, lost.id, DEVICE_LOST, &changed));
    OK(b->ledger, go(b, lost.id, DEVICE_SUSPENDED, &changed));
    assert_int_equal(cert_of(b, lost.idevid).status, CERT_GOOD);
    assert_int_equal(cert_of(b, lost.ldevid).status, CERT_REVOKED);
    OK(b->ledger, go(b, lost.id, DEVICE_IN_SERVICE, &changed));
    assert_int_equal(cert_of(b, lost.ldevid).status, CERT_REVOKED);
}

/* An expired certificate renews itself in the grace of its profile: what ends with the unit is that one too. */
static void what_may_still_renew_ends_with_the_unit(void **state)
{
    static const int ends[] = {DEVICE_COMPROMISED, DEVICE_LOST, DEVICE_TRANSFERRING, DEVICE_IN_REPAIR, DEVICE_DECOMMISSIONED};
    const int64_t last = T0 + 86400 + 86400; /* not_after and the grace */
    struct bench *b = *state;
    struct device d;
    bool changed;

    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        d = device_in(b, "acme", 0, DEVICE_SHIPPED, DEVICE_IN_SERVICE);
        OK(b->ledger, go_at(b, d.id, ends[i], last, &changed));
        assert_int_equal(cert_of(b, d.ldevid).status, CERT_REVOKED);
        d = device_in(b, "acme", 0, DEVICE_SHIPPED, DEVICE_IN_SERVICE);
        OK(b->ledger, go_at(b, d.id, ends[i], last + 1, &changed));
        assert_int_equal(cert_of(b, d.ldevid).status, CERT_GOOD); /* nothing comes of it any more */
    }
}

static void quarantine_holds_where_the_domain_says_so(void **state)
{
    struct bench *b = *state;
    struct device d = device_in(b, "acme", 0, DEVICE_SHIPPED, DEVICE_IN_SERVICE);
    bool changed;

    b->domains[0].quarantine_hold = true;
    OK(b->ledger, go(b, d.id, DEVICE_QUARANTINED, &changed));
    assert_int_equal(cert_of(b, d.ldevid).status, CERT_ON_HOLD);
    assert_int_equal(cert_of(b, d.idevid).status, CERT_GOOD);
    OK(b->ledger, go(b, d.id, DEVICE_IN_SERVICE, &changed));
    assert_int_equal(cert_of(b, d.ldevid).status, CERT_GOOD);
}

static void a_reason_only_becomes_key_compromise(void **state)
{
    struct bench *b = *state;
    struct device d = device_in(b, "acme", 0, DEVICE_SHIPPED, DEVICE_IN_SERVICE);
    struct revocation again = {.to = CERT_REVOKED, .reason = REASON_SUPERSEDED};
    struct cert_row row = cert_of(b, d.ldevid);
    struct revocation first = {.to = CERT_REVOKED, .reason = REASON_CESSATION_OF_OPERATION, .invalidity = T0 + 7};
    struct status_row last;
    bool changed;
    uint64_t seq;

    OK(b->ledger, revoke_apply(&b->core, &row, &first, &anna, T0 + 40, &changed, &seq, &b->ledger->e));
    row = cert_of(b, d.ldevid);
    OK(b->ledger, revoke_apply(&b->core, &row, &again, &anna, T0 + 41, &changed, &seq, &b->ledger->e));
    assert_false(changed);
    OK(b->ledger, go(b, d.id, DEVICE_IN_REPAIR, &changed));
    OK(b->ledger, go(b, d.id, DEVICE_COMPROMISED, &changed));
    row = cert_of(b, d.ldevid);
    assert_int_equal(row.reason, REASON_KEY_COMPROMISE);
    assert_int_equal(row.status_at, T0 + 40); /* revoked since then */
    OK(b->ledger, store_status_by_seq(b->core.store, row.status_seq, &last, &b->ledger->e));
    assert_int_equal(last.invalidity, T0 + 7);
    row = cert_of(b, d.ldevid);
    OK(b->ledger, revoke_apply(&b->core, &row, &again, &anna, T0 + 60, &changed, &seq, &b->ledger->e));
    assert_false(changed);
    assert_int_equal(cert_of(b, d.ldevid).reason, REASON_KEY_COMPROMISE);
}

static enum err_code again(struct bench *b, uint64_t device, struct life_change ch, bool *changed)
{
    uint64_t seq;

    ch.only_from = DEVICE_STATES;
    return life_apply(&b->core, device, &ch, &anna, T0 + 50, changed, &seq, &b->ledger->e);
}

static void the_same_state_again_may_bring_another_end(void **state)
{
    struct bench *b = *state;
    struct device d = device_in(b, "acme", 0, DEVICE_SHIPPED, DEVICE_IN_SERVICE);
    struct life_change suspend = {.to = DEVICE_SUSPENDED, .until = T0 + 100}, quarantine = {.to = DEVICE_QUARANTINED, .wanted = "2.0"};
    struct device_due_row due;
    uint64_t before, seq;
    bool changed;

    OK(b->ledger, again(b, d.id, suspend, &changed));
    before = entries(b);
    seq = core_seq(&b->core);
    OK(b->ledger, again(b, d.id, suspend, &changed));
    assert_false(changed);
    suspend.until = T0 + 200;
    OK(b->ledger, again(b, d.id, suspend, &changed));
    assert_true(changed);
    assert_int_equal(entries(b), before + 1);
    assert_int_equal(core_seq(&b->core), seq); /* nothing for those who answer */
    suspend.until = 0;
    OK(b->ledger, again(b, d.id, suspend, &changed));
    assert_false(changed);
    OK(b->ledger, store_device_due_get(b->core.store, d.id, DUE_SUSPEND_REVIEW, &due, &b->ledger->e));
    assert_int_equal(due.due_at, T0 + 200);
    OK(b->ledger, go(b, d.id, DEVICE_IN_SERVICE, &changed));
    OK(b->ledger, again(b, d.id, quarantine, &changed));
    OK(b->ledger, again(b, d.id, quarantine, &changed));
    assert_false(changed);
    quarantine.wanted = "2.1";
    OK(b->ledger, again(b, d.id, quarantine, &changed));
    assert_true(changed);
    OK(b->ledger, life_firmware(&b->core, d.id, "2.0", &bert, T0 + 51, &b->ledger->e));
    assert_int_equal(state_of(b, d.id), DEVICE_QUARANTINED);
    OK(b->ledger, life_firmware(&b->core, d.id, "2.1", &bert, T0 + 52, &b->ledger->e));
    assert_int_equal(state_of(b, d.id), DEVICE_IN_SERVICE);
}

static bool is_stopped(struct bench *b, const struct device *d)
{
    struct unit_stand stand;

    OK(b->ledger, store_unit_stands(b->core.store, d->unit, d->id, &stand, &b->ledger->e));
    return stand.stopped;
}

/* A unit that was found may enrol: a suspension of everything stops that one too. */
static void suspending_what_was_found_stops_it(void **state)
{
    struct bench *b = *state;
    struct device d = device_in(b, "acme", 0, DEVICE_SHIPPED, DEVICE_IN_SERVICE);
    struct life_change find = {.to = DEVICE_SUSPENDED, .from = 1u << DEVICE_LOST}, suspend = {.to = DEVICE_SUSPENDED, .from = 1u << DEVICE_IN_SERVICE};
    bool changed;

    OK(b->ledger, go(b, d.id, DEVICE_LOST, &changed));
    OK(b->ledger, again(b, d.id, find, &changed));
    OK(b->ledger, again(b, d.id, find, &changed));
    assert_false(changed);
    assert_false(is_stopped(b, &d));
    OK(b->ledger, again(b, d.id, suspend, &changed));
    assert_true(changed);
    assert_true(is_stopped(b, &d));
    OK(b->ledger, again(b, d.id, suspend, &changed));
    assert_false(changed);
    assert_int_equal(events_of(b, d.id), 3);
    OK(b->ledger, go(b, d.id, DEVICE_IN_SERVICE, &changed));
    assert_int_equal(cert_of(b, d.ldevid).status, CERT_REVOKED);
}

/* ---- units, persons, time ---- */

static void what_stops_a_unit_stops_it_in_every_domain(void **state)
{
    struct bench *b = *state;
    struct device a = device_in(b, "acme", 0, DEVICE_SHIPPED, DEVICE_IN_SERVICE);
    struct device other = device_in(b, "beta", a.unit, DEVICE_SHIPPED, DEVICE_IN_SERVICE);
    struct device stranger = device_in(b, "beta", 0, DEVICE_SHIPPED, DEVICE_IN_SERVICE);
    bool changed;

    OK(b->ledger, go(b, a.id, DEVICE_SUSPENDED, &changed));
    assert_int_equal(state_of(b, other.id), DEVICE_SUSPENDED);
    assert_int_equal(cert_of(b, other.ldevid).status, CERT_ON_HOLD);
    OK(b->ledger, go(b, other.id, DEVICE_IN_SERVICE, &changed));
    assert_int_equal(state_of(b, a.id), DEVICE_IN_SERVICE);
    assert_int_equal(cert_of(b, a.ldevid).status, CERT_GOOD);
    /* A change of owner is that owner's alone. */
    OK(b->ledger, go(b, a.id, DEVICE_TRANSFERRING, &changed));
    assert_int_equal(state_of(b, other.id), DEVICE_IN_SERVICE);
    assert_int_equal(cert_of(b, other.ldevid).status, CERT_GOOD);
    assert_int_equal(state_of(b, stranger.id), DEVICE_IN_SERVICE);
}

/* A row that joined the unit later stands elsewhere: the end of one stop is not the end of the other. */
static void what_another_row_holds_stays_on_hold(void **state)
{
    struct bench *b = *state;
    struct device a = device_in(b, "acme", 0, DEVICE_SHIPPED, DEVICE_IN_SERVICE), other;
    bool changed;

    OK(b->ledger, go(b, a.id, DEVICE_QUARANTINED, &changed));
    other = device_in(b, "beta", a.unit, DEVICE_SHIPPED, DEVICE_IN_SERVICE);
    OK(b->ledger, go(b, other.id, DEVICE_SUSPENDED, &changed));
    assert_int_equal(state_of(b, a.id), DEVICE_QUARANTINED);
    assert_int_equal(cert_of(b, a.ldevid).status, CERT_ON_HOLD);
    OK(b->ledger, go(b, a.id, DEVICE_IN_SERVICE, &changed));
    assert_int_equal(state_of(b, other.id), DEVICE_SUSPENDED);
    assert_int_equal(cert_of(b, other.ldevid).status, CERT_ON_HOLD);
    assert_int_equal(cert_of(b, a.ldevid).status, CERT_ON_HOLD);
    OK(b->ledger, go(b, other.id, DEVICE_IN_SERVICE, &changed));
    assert_int_equal(cert_of(b, other.ldevid).status, CERT_GOOD);
    assert_int_equal(cert_of(b, a.ldevid).status, CERT_GOOD);
    /* And the hold of a quarantine is not ended by the release of a suspension. */
    b->domains[0].quarantine_hold = true;
    a = device_in(b, "acme", 0, DEVICE_SHIPPED, DEVICE_IN_SERVICE);
    OK(b->ledger, go(b, a.id, DEVICE_QUARANTINED, &changed));
    other = device_in(b, "beta", a.unit, DEVICE_SHIPPED, DEVICE_IN_SERVICE);
    OK(b->ledger, go(b, other.id, DEVICE_SUSPENDED, &changed));
    OK(b->ledger, go(b, other.id, DEVICE_IN_SERVICE, &changed));
    assert_int_equal(state_of(b, a.id), DEVICE_QUARANTINED);
    assert_int_equal(cert_of(b, a.ldevid).status, CERT_ON_HOLD);
    assert_int_equal(cert_of(b, other.ldevid).status, CERT_GOOD);
}

static void a_new_certificate_shares_the_fate_of_its_unit(void **state)
{
    static const struct {
        const char *domain;
        int state;
        int idevid, ldevid; /* status */
    } stands[] = {{"acme", DEVICE_SHIPPED, CERT_GOOD, CERT_GOOD}, {"acme", DEVICE_IN_REPAIR, CERT_GOOD, CERT_GOOD},
                  {"acme", DEVICE_SUSPENDED, CERT_GOOD, CERT_ON_HOLD}, {"acme", DEVICE_LOST, CERT_ON_HOLD, CERT_REVOKED},
                  {"acme", DEVICE_COMPROMISED, CERT_REVOKED, CERT_REVOKED}, {"acme", DEVICE_SCRAPPED, CERT_REVOKED, CERT_REVOKED},
                  {"acme", DEVICE_QUARANTINED, CERT_GOOD, CERT_GOOD}, {"beta", DEVICE_QUARANTINED, CERT_GOOD, CERT_ON_HOLD}};
    struct bench *b = *state;

    b->domains[1].quarantine_hold = true;
    for (size_t i = 0; i < ARRAY_LEN(stands); i++) {
        struct device d = device_in(b, stands[i].domain, 0, DEVICE_IN_SERVICE, stands[i].state);

        print_message("    %s in %s\n", states[stands[i].state], stands[i].domain);
        OK(b->ledger, life_admit(&b->core, d.id, d.idevid, PROFILE_IDEVID, &bert, T0 + 50, &b->ledger->e));
        OK(b->ledger, life_admit(&b->core, d.id, d.ldevid, PROFILE_LDEVID, &bert, T0 + 50, &b->ledger->e));
        assert_int_equal(cert_of(b, d.idevid).status, stands[i].idevid);
        assert_int_equal(cert_of(b, d.ldevid).status, stands[i].ldevid);
    }
}

static void a_transfer_is_cancelled_back_to_where_it_began(void **state)
{
    struct bench *b = *state;
    struct device d = device_in(b, "acme", 0, DEVICE_IN_SERVICE, DEVICE_TRANSFERRING);
    bool changed;

    REFUSED(b->ledger, E_CONFLICT, go(b, d.id, DEVICE_DECOMMISSIONED, &changed));
    OK(b->ledger, go(b, d.id, DEVICE_IN_SERVICE, &changed));
    OK(b->ledger, store_device_set_moved(b->core.store, d.id, d.id, &b->ledger->e));
    REFUSED(b->ledger, E_CONFLICT, go(b, d.id, DEVICE_SUSPENDED, &changed));
    SAYS(b->ledger, "another owner");
}

static void a_compromised_unit_comes_back_with_a_new_key_only(void **state)
{
    struct bench *b = *state;
    struct device d = device_in(b, "acme", 0, DEVICE_SHIPPED, DEVICE_IN_SERVICE);
    bool changed;

    OK(b->ledger, go(b, d.id, DEVICE_COMPROMISED, &changed));
    OK(b->ledger, go(b, d.id, DEVICE_IN_REPAIR, &changed));
    REFUSED(b->ledger, E_CONFLICT, go(b, d.id, DEVICE_CONFIRMED, &changed));
    SAYS(b->ledger, "new key");
    (void)certify(b, d.id, PROFILE_IDEVID);
    OK(b->ledger, go(b, d.id, DEVICE_CONFIRMED, &changed));
    assert_int_equal(cert_of(b, d.idevid).reason, REASON_KEY_COMPROMISE);
}

/* Its maker's certificate is nothing we could revoke: neither the repair alone nor a detour brings its key back. */
static void an_exposed_key_of_a_foreign_maker_does_not_come_back(void **state)
{
    struct bench *b = *state;
    struct device_row row = {.domain = "acme", .device_id = "foreign", .declared_at = T0};
    bool changed;

    OK(b->ledger, store_device_insert(b->core.store, &row, &b->ledger->e));
    OK(b->ledger, store_device_set_state(b->core.store, row.id, DEVICE_IN_SERVICE, T0 + 1, &b->ledger->e));
    OK(b->ledger, go(b, row.id, DEVICE_LOST, &changed));
    OK(b->ledger, go(b, row.id, DEVICE_SUSPENDED, &changed)); /* lost is not exposed */
    OK(b->ledger, go(b, row.id, DEVICE_COMPROMISED, &changed));
    OK(b->ledger, go(b, row.id, DEVICE_IN_REPAIR, &changed));
    REFUSED(b->ledger, E_CONFLICT, go(b, row.id, DEVICE_CONFIRMED, &changed));
    OK(b->ledger, go(b, row.id, DEVICE_LOST, &changed));
    REFUSED(b->ledger, E_CONFLICT, go(b, row.id, DEVICE_SUSPENDED, &changed));
    SAYS(b->ledger, "new key");
    OK(b->ledger, go(b, row.id, DEVICE_IN_REPAIR, &changed));
    REFUSED(b->ledger, E_CONFLICT, go(b, row.id, DEVICE_CONFIRMED, &changed));
    SAYS(b->ledger, "new key");
    (void)certify(b, row.id, PROFILE_IDEVID);
    OK(b->ledger, go(b, row.id, DEVICE_CONFIRMED, &changed));
}

static void a_second_person_confirms_a_compromise(void **state)
{
    struct bench *b = *state;
    struct device d = device_in(b, "acme", 0, DEVICE_SHIPPED, DEVICE_IN_SERVICE);
    bool changed;

    REFUSED(b->ledger, E_CONFLICT, life_confirm_compromise(&b->core, d.id, &bert, T0, &b->ledger->e));
    OK(b->ledger, go(b, d.id, DEVICE_COMPROMISED, &changed));
    REFUSED(b->ledger, E_DENIED, life_confirm_compromise(&b->core, d.id, &anna, T0, &b->ledger->e));
    OK(b->ledger, life_confirm_compromise(&b->core, d.id, &bert, T0, &b->ledger->e));
    REFUSED(b->ledger, E_CONFLICT, life_confirm_compromise(&b->core, d.id, &bert, T0, &b->ledger->e));
}

static void the_wanted_release_ends_a_quarantine(void **state)
{
    struct bench *b = *state;
    struct device d = device_in(b, "acme", 0, DEVICE_SHIPPED, DEVICE_IN_SERVICE);
    struct life_change ch = {.to = DEVICE_QUARANTINED, .only_from = DEVICE_STATES, .wanted = "2.0"};
    struct device_row row;
    bool changed;
    uint64_t seq;

    OK(b->ledger, life_apply(&b->core, d.id, &ch, &anna, T0 + 50, &changed, &seq, &b->ledger->e));
    OK(b->ledger, life_firmware(&b->core, d.id, "1.9", &bert, T0 + 51, &b->ledger->e));
    assert_int_equal(state_of(b, d.id), DEVICE_QUARANTINED);
    OK(b->ledger, life_firmware(&b->core, d.id, "2.0", &bert, T0 + 52, &b->ledger->e));
    OK(b->ledger, store_device_by_id(b->core.store, d.id, &row, &b->ledger->e));
    assert_int_equal(row.state, DEVICE_IN_SERVICE);
    assert_string_equal(row.firmware, "2.0");
    /* Without a wanted release a person ends it. */
    ch.wanted = NULL;
    OK(b->ledger, life_apply(&b->core, d.id, &ch, &anna, T0 + 53, &changed, &seq, &b->ledger->e));
    OK(b->ledger, life_firmware(&b->core, d.id, "2.0", &bert, T0 + 54, &b->ledger->e));
    assert_int_equal(state_of(b, d.id), DEVICE_QUARANTINED);
}

static void a_step_of_the_line_is_taken_where_the_table_has_it(void **state)
{
    struct bench *b = *state;
    struct device d = device_in(b, "acme", 0, DEVICE_DECLARED, DEVICE_PROVISIONED);
    bool changed;

    OK(b->ledger, life_step(&b->core, d.id, DEVICE_SHIPPED, true, T0, &changed, &b->ledger->e));
    assert_false(changed);
    OK(b->ledger, life_step(&b->core, d.id, DEVICE_CONFIRMED, true, T0, &changed, &b->ledger->e));
    assert_true(changed);
    OK(b->ledger, go(b, d.id, DEVICE_IN_REPAIR, &changed));
    OK(b->ledger, life_step(&b->core, d.id, DEVICE_CONFIRMED, true, T0, &changed, &b->ledger->e)); /* not the way out of repair */
    assert_false(changed);
    assert_int_equal(state_of(b, d.id), DEVICE_IN_REPAIR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_have_names_scopes_and_groups),
        cmocka_unit_test(the_rule_is_the_table),
        cmocka_unit_test_setup_teardown(every_pair_is_done_or_refused_as_a_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(effects_are_those_of_the_state, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_held_for_the_state_is_released_with_it, setup, teardown),
        cmocka_unit_test_setup_teardown(what_may_still_renew_ends_with_the_unit, setup, teardown),
        cmocka_unit_test_setup_teardown(quarantine_holds_where_the_domain_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reason_only_becomes_key_compromise, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_state_again_may_bring_another_end, setup, teardown),
        cmocka_unit_test_setup_teardown(suspending_what_was_found_stops_it, setup, teardown),
        cmocka_unit_test_setup_teardown(what_stops_a_unit_stops_it_in_every_domain, setup, teardown),
        cmocka_unit_test_setup_teardown(what_another_row_holds_stays_on_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_certificate_shares_the_fate_of_its_unit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_transfer_is_cancelled_back_to_where_it_began, setup, teardown),
        cmocka_unit_test_setup_teardown(a_compromised_unit_comes_back_with_a_new_key_only, setup, teardown),
        cmocka_unit_test_setup_teardown(an_exposed_key_of_a_foreign_maker_does_not_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_second_person_confirms_a_compromise, setup, teardown),
        cmocka_unit_test_setup_teardown(the_wanted_release_ends_a_quarantine, setup, teardown),
        cmocka_unit_test_setup_teardown(a_step_of_the_line_is_taken_where_the_table_has_it, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
