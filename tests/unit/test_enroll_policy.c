/* SPDX-License-Identifier: Apache-2.0 */
/* Passwords, keys, repeats and factory resets against a real ledger. Certificates are tested in the scenarios. */
#include "tests/unit/ledger_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "ca/enroll_policy.h"
#include "ca/request.h"
#include "ca/store/kek.h"

#define NOW    (T0 + 1000)
#define DAY    86400
#define SECRET "8e532af580df3de356fc4e3240443091748f275f"

struct bench {
    struct ledger *ledger;
    struct core core;
    struct conf conf;
    struct conf_domain domains[2];
    struct conf_profile profile;
    struct conf_label labels[3];
    struct svc_enroll in;
    struct csr csr;
    struct grant grant;
    struct err e;
    uint64_t device, other; /* declared, of two units */
};

static uint64_t declare(struct bench *b, const char *id)
{
    struct device_row row = {.domain = "acme", .device_id = id, .declared_at = T0};

    OK(b->ledger, store_device_insert(b->core.store, &row, &b->ledger->e));
    return row.id;
}

static void add_secret(struct bench *b, const char *user, uint64_t device, const char *pattern, uint64_t quota)
{
    struct secret_row row = {.kind = device ? SECRET_DEVICE : SECRET_GROUP, .domain = "acme", .device = device,
                             .pattern = pattern, .quota = quota, .not_before = T0, .not_after = NOW + 10 * DAY,
                             .created_at = T0};

    snprintf(row.user, sizeof(row.user), "%s", user);
    OK(b->ledger, secret_mac(&b->core, user, bytes_str(SECRET), row.mac, &b->ledger->e));
    OK(b->ledger, store_secret_insert(b->core.store, &row, &b->ledger->e));
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    void *ledger = NULL;

    if (!b || ledger_setup(&ledger) != 0)
        return -1;
    b->ledger = ledger;
    b->core.store = b->ledger->s;
    b->core.conf = &b->conf;
    b->core.guesses = guess_limit_new();
    secret_set(&b->core.secret_key, "0123456789abcdef0123456789abcdef", 32);
    b->domains[0].name = (char *)"acme";
    b->domains[1].name = (char *)"other";
    b->profile = (struct conf_profile){.name = (char *)"ldevid", .kind = PROFILE_LDEVID, .ca = (char *)"fleet-ca",
                                       .key_algs = KEY_BIT(KEY_P256), .key_usage = USAGE_DIGITAL_SIGNATURE,
                                       .eku = EKU_CLIENT_AUTH, .validity_s = DAY, .renew_percent = 66,
                                       .clone_window_s = 3600};
    b->labels[0] = (struct conf_label){.name = (char *)"", .domain = (char *)"acme", .profile = (char *)"ldevid",
                                       .auth_cert = true, .auth_password = true};
    b->labels[1] = (struct conf_label){.name = (char *)"cert", .domain = (char *)"acme", .profile = (char *)"ldevid",
                                       .auth_cert = true};
    b->labels[2] = (struct conf_label){.name = (char *)"other", .domain = (char *)"other", .profile = (char *)"ldevid",
                                       .auth_password = true};
    b->conf.domains = b->domains;
    b->conf.domains_n = 2;
    b->conf.profiles = &b->profile;
    b->conf.profiles_n = 1;
    b->conf.labels = b->labels;
    b->conf.labels_n = 3;
    OK(b->ledger, anchors_load(&b->core, &b->ledger->e));
    OK(b->ledger, store_begin(b->core.store, &b->ledger->e));
    b->device = declare(b, "dev-1");
    b->other = declare(b, "dev-2");
    add_secret(b, "dev-1-user", b->device, "", 0);
    add_secret(b, "dev-2-user", b->other, "", 0);
    add_secret(b, "lab", 0, "lab-*", 2);
    b->csr.key.alg = KEY_P256;
    memset(b->csr.key.spki_hash, 0xa1, 32);
    b->csr.key.spki = bytes_str("key a");
    b->in = (struct svc_enroll){.operation = SVC_SIMPLEENROLL, .has_password = true, .peer = "192.0.2.1:4000"};
    snprintf(b->in.user, sizeof(b->in.user), "dev-1-user");
    b->in.password = bytes_str(SECRET);
    grant_init(&b->grant);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    void *ledger = b->ledger;

    store_rollback(b->core.store);
    grant_clear(&b->grant);
    anchors_free(b->core.anchors);
    guess_limit_free(b->core.guesses);
    secret_clear(&b->core.secret_key);
    free(b);
    return ledger_teardown(&ledger);
}

/* What the coordinator does: precheck, then authorise. */
static enum err_code ask_at(struct bench *b, int64_t now)
{
    enum err_code code;

    grant_clear(&b->grant);
    grant_init(&b->grant);
    b->e = (struct err){0};
    code = enroll_precheck(&b->core, &b->in, &b->grant, &b->e);
    return code == E_OK ? enroll_authorise(&b->core, &b->in, &b->csr, now, &b->grant, &b->e) : code;
}

static enum err_code ask(struct bench *b)
{
    return ask_at(b, NOW);
}

static void user(struct bench *b, const char *name)
{
    snprintf(b->in.user, sizeof(b->in.user), "%s", name);
}

static void key(struct bench *b, uint8_t fill)
{
    memset(b->csr.key.spki_hash, fill, 32);
}

/* The certificate that a granted request leads to, as the coordinator records it. */
static uint64_t issued(struct bench *b, unsigned n)
{
    uint8_t der[700];
    struct cert_row row;
    struct status_row status = ledger_status(b->ledger, n, CERT_GOOD, REASON_UNSPECIFIED);

    ledger_fill_cert(b->ledger, n, der, sizeof(der), &row);
    row.device = b->grant.device.id;
    row.operation = b->grant.operation;
    row.issued_at = row.not_before = NOW;
    row.not_after = NOW + DAY;
    memcpy(row.spki_hash, b->csr.key.spki_hash, 32);
    memcpy(row.credential_hash, b->grant.credential, 32);
    OK(b->ledger, store_cert_insert(b->core.store, &row, &b->ledger->e));
    OK(b->ledger, store_status_append(b->core.store, &status, &b->ledger->e));
    if (b->grant.device.state == DEVICE_DECLARED)
        OK(b->ledger, store_device_set_state(b->core.store, b->grant.device.id, DEVICE_IN_SERVICE, NOW, &b->ledger->e));
    return row.id;
}

/* ---- credentials ---- */

static void no_credential_is_401(void **state)
{
    struct bench *b = *state;

    b->in.has_password = false;
    assert_int_equal(ask(b), E_UNAUTHENTICATED);
    assert_false(b->grant.authenticated);
}

static void a_certificate_only_label_never_asks_for_a_password(void **state)
{
    struct bench *b = *state;

    snprintf(b->in.label, sizeof(b->in.label), "cert");
    assert_int_equal(ask(b), E_DENIED);
}

static void an_unknown_label_is_denied(void **state)
{
    struct bench *b = *state;

    snprintf(b->in.label, sizeof(b->in.label), "nope");
    assert_int_equal(ask(b), E_DENIED);
}

static void a_secret_of_another_domain_is_denied(void **state)
{
    struct bench *b = *state;

    snprintf(b->in.label, sizeof(b->in.label), "other");
    assert_int_equal(ask(b), E_DENIED);
}

static void wrong_secrets_are_401_then_429_and_the_right_one_always_passes(void **state)
{
    struct bench *b = *state;

    b->in.password = bytes_str("wrong");
    for (int i = 0; i < GUESS_BURST; i++)
        assert_int_equal(ask(b), E_UNAUTHENTICATED);
    assert_int_equal(ask(b), E_BUSY);
    assert_int_equal(b->grant.retry_after_s, 1);
    b->in.password = bytes_str(SECRET);
    assert_int_equal(ask(b), E_OK);
}

static void an_unknown_user_is_401(void **state)
{
    struct bench *b = *state;

    user(b, "nobody");
    assert_int_equal(ask(b), E_UNAUTHENTICATED);
    user(b, "");
    assert_int_equal(ask(b), E_UNAUTHENTICATED);
}

static void a_secret_for_one_user_does_not_fit_another(void **state)
{
    struct bench *b = *state;
    uint8_t one[32], two[32];

    assert_int_equal(secret_mac(&b->core, "ab", bytes_str("c"), one, &b->e), E_OK);
    assert_int_equal(secret_mac(&b->core, "a", bytes_str("bc"), two, &b->e), E_OK);
    assert_memory_not_equal(one, two, 32);
}

/* ---- device secrets ---- */

static void a_device_secret_is_bound_to_its_first_key(void **state)
{
    struct bench *b = *state;

    assert_int_equal(ask(b), E_OK);
    assert_false(b->grant.repeat);
    assert_int_equal(b->grant.device.id, b->device);
    assert_int_equal(ask(b), E_OK);
    key(b, 0xb2);
    assert_int_equal(ask(b), E_UNAUTHENTICATED);
    assert_string_equal(b->grant.alarm, "secret-with-other-key");
    assert_true(b->grant.authenticated);
}

static void a_repeat_gets_the_stored_bytes(void **state)
{
    struct bench *b = *state;

    assert_int_equal(ask(b), E_OK);
    issued(b, 1);
    assert_int_equal(ask(b), E_OK);
    assert_true(b->grant.repeat);
    assert_int_equal(b->grant.stored.len, 700);
}

static void a_used_secret_is_good_for_a_day(void **state)
{
    struct bench *b = *state;

    assert_int_equal(ask(b), E_OK);
    assert_int_equal(ask_at(b, NOW + DAY), E_OK);
    assert_int_equal(ask_at(b, NOW + DAY + 1), E_UNAUTHENTICATED);
}

static void a_secret_is_spent_when_its_certificate_was_used(void **state)
{
    struct bench *b = *state;
    uint64_t cert;

    assert_int_equal(ask(b), E_OK);
    cert = issued(b, 1);
    OK(b->ledger, store_cert_set_used(b->core.store, cert, NOW + 5, &b->ledger->e));
    assert_int_equal(ask_at(b, NOW + 6), E_UNAUTHENTICATED);
}

static void a_secret_stays_spent_when_its_certificate_was_renewed(void **state)
{
    struct bench *b = *state;
    uint64_t cert;

    assert_int_equal(ask(b), E_OK);
    cert = issued(b, 1);
    OK(b->ledger, store_cert_set_used(b->core.store, cert, NOW + 5, &b->ledger->e));
    memset(b->grant.credential, 0x77, 32); /* the renewal: by the certificate, not by the secret */
    issued(b, 2);
    assert_int_equal(ask_at(b, NOW + 6), E_UNAUTHENTICATED);
}

static void a_secret_does_not_replace_a_revoked_certificate(void **state)
{
    struct bench *b = *state;

    assert_int_equal(ask(b), E_OK);
    issued(b, 1);
    ledger_change(b->ledger, 1, CERT_REVOKED, REASON_PRIVILEGE_WITHDRAWN);
    assert_int_equal(ask(b), E_DENIED);
}

static void a_secret_is_good_in_its_time_only(void **state)
{
    struct bench *b = *state;

    assert_int_equal(ask_at(b, T0 - 1), E_UNAUTHENTICATED);
    assert_int_equal(ask_at(b, NOW + 10 * DAY), E_OK);
    assert_int_equal(ask_at(b, NOW + 10 * DAY + 1), E_UNAUTHENTICATED);
}

static void a_revoked_secret_is_401(void **state)
{
    struct bench *b = *state;
    struct secret_row row;

    OK(b->ledger, store_secret_by_user(b->core.store, "dev-1-user", &row, &b->ledger->e));
    OK(b->ledger, store_secret_revoke(b->core.store, row.id, NOW, &b->ledger->e));
    assert_int_equal(ask(b), E_UNAUTHENTICATED);
}

static void a_stopped_device_is_403(void **state)
{
    struct bench *b = *state;

    OK(b->ledger, store_device_set_state(b->core.store, b->device, DEVICE_DECOMMISSIONED, NOW, &b->ledger->e));
    assert_int_equal(ask(b), E_DENIED);
    assert_true(b->grant.authenticated);
}

static void stopped_follows_the_unit(void **state)
{
    struct bench *b = *state;
    struct device_row row;

    OK(b->ledger, store_device_by_id(b->core.store, b->other, &row, &b->ledger->e));
    OK(b->ledger, store_device_set_unit(b->core.store, b->device, row.unit, &b->ledger->e));
    OK(b->ledger, store_device_set_state(b->core.store, b->other, DEVICE_DECOMMISSIONED, NOW, &b->ledger->e));
    assert_int_equal(ask(b), E_DENIED);
}

/* ---- keys ---- */

static void a_key_serves_one_unit(void **state)
{
    struct bench *b = *state;

    assert_int_equal(ask(b), E_OK);
    user(b, "dev-2-user");
    assert_int_equal(ask(b), E_DENIED);
    assert_string_equal(b->grant.alarm, "key-of-other-unit");
    key(b, 0xb2);
    OK(b->ledger, store_savepoint(b->core.store, &b->ledger->e));
    store_savepoint_undo(b->core.store);
    user(b, "dev-1-user");
    key(b, 0xa1);
    assert_int_equal(ask(b), E_OK);
}

static void the_authoritys_own_keys_are_refused(void **state)
{
    struct bench *b = *state;
    struct known_key own = {.purpose = PURPOSE_AUDIT, .spki = BUF_INIT(64)};

    buf_add_str(&own.spki, "key a");
    b->core.key = &own;
    b->core.key_n = 1;
    assert_int_equal(ask(b), E_DENIED);
    b->csr.key.spki = bytes_str("key b");
    assert_int_equal(ask(b), E_OK);
    buf_clear(&own.spki);
}

static void a_key_type_outside_the_profile_is_400(void **state)
{
    struct bench *b = *state;

    b->csr.key.alg = KEY_RSA2048;
    assert_int_equal(ask(b), E_INVALID);
}

static void a_compromised_key_never_comes_back(void **state)
{
    struct bench *b = *state;

    assert_int_equal(ask(b), E_OK);
    issued(b, 1);
    ledger_change(b->ledger, 1, CERT_REVOKED, REASON_KEY_COMPROMISE);
    add_secret(b, "second", b->device, "", 0);
    user(b, "second");
    assert_int_equal(ask(b), E_DENIED);
    add_secret(b, "third", b->device, "", 0);
    user(b, "third");
    key(b, 0xb2);
    assert_int_equal(ask(b), E_OK);
}

/* ---- what is asked for ---- */

static void a_binding_is_demanded_where_the_profile_says_so(void **state)
{
    struct bench *b = *state;

    b->profile.pop_required = true;
    b->in.binding_kind = SVC_BINDING_TLS_EXPORTER;
    assert_int_equal(ask(b), E_INVALID);
    assert_non_null(strstr(b->e.msg, "tls-exporter"));
}

static void a_change_of_subject_is_403(void **state)
{
    struct bench *b = *state;

    b->csr.change_subject = true;
    assert_int_equal(ask(b), E_DENIED);
}

static void a_subject_of_another_device_is_403(void **state)
{
    struct bench *b = *state;

    snprintf(b->csr.serial_number, sizeof(b->csr.serial_number), "dev-1");
    assert_int_equal(ask(b), E_OK);
    snprintf(b->csr.serial_number, sizeof(b->csr.serial_number), "dev-2");
    assert_int_equal(ask(b), E_DENIED);
}

static void renewal_by_password_needs_the_profiles_leave(void **state)
{
    struct bench *b = *state;

    b->in.operation = SVC_SIMPLEREENROLL;
    assert_int_equal(ask(b), E_DENIED);
    b->profile.basic_reenroll = true;
    assert_int_equal(ask(b), E_DENIED); /* there is nothing to renew */
    assert_non_null(strstr(b->e.msg, "no certificate to renew"));
}

/* ---- group secrets ---- */

static void group(struct bench *b, const char *serial, const char *cn, uint8_t fill)
{
    user(b, "lab");
    snprintf(b->csr.serial_number, sizeof(b->csr.serial_number), "%s", serial);
    snprintf(b->csr.common_name, sizeof(b->csr.common_name), "%s", cn);
    key(b, fill);
}

static void a_group_secret_declares_what_fits_and_counts(void **state)
{
    struct bench *b = *state;

    group(b, "", "lab-1", 1);
    assert_int_equal(ask(b), E_OK);
    assert_string_equal(b->grant.device.device_id, "lab-1");
    assert_int_equal(ask(b), E_OK); /* again: not counted */
    group(b, "lab-2", "lab-2", 2);
    assert_int_equal(ask(b), E_OK);
    group(b, "lab-3", "", 3);
    assert_int_equal(ask(b), E_DENIED);
    assert_non_null(strstr(b->e.msg, "quota"));
}

static void a_group_secret_goes_by_serial_number_and_refuses_two_names(void **state)
{
    struct bench *b = *state;

    group(b, "lab-1", "lab-2", 1);
    assert_int_equal(ask(b), E_INVALID);
    group(b, "", "", 1);
    assert_int_equal(ask(b), E_INVALID);
    group(b, "lab-1/x", "", 1);
    assert_int_equal(ask(b), E_INVALID);
}

static void a_group_secret_keeps_to_its_pattern(void **state)
{
    struct bench *b = *state;

    group(b, "", "dev-7", 1);
    assert_int_equal(ask(b), E_DENIED);
    group(b, "", "lab-", 1);
    assert_int_equal(ask(b), E_DENIED);
    group(b, "", "lab-x", 1);
    assert_int_equal(ask(b), E_OK);
}

static void a_group_secret_does_not_serve_a_declared_device(void **state)
{
    struct bench *b = *state;

    declare(b, "lab-7");
    group(b, "", "lab-7", 1);
    assert_int_equal(ask(b), E_DENIED);
}

static void a_group_secret_with_another_key_is_401(void **state)
{
    struct bench *b = *state;

    group(b, "", "lab-1", 1);
    assert_int_equal(ask(b), E_OK);
    group(b, "", "lab-1", 2);
    assert_int_equal(ask(b), E_UNAUTHENTICATED);
    assert_string_equal(b->grant.alarm, "secret-with-other-key");
}

/* ---- factory reset ---- */

static void in_service(struct bench *b)
{
    assert_int_equal(ask(b), E_OK);
    issued(b, 1);
    add_secret(b, "new", b->device, "", 0);
    user(b, "new");
    key(b, 0xb2);
}

static void a_new_enrollment_supersedes(void **state)
{
    struct bench *b = *state;

    in_service(b);
    assert_int_equal(ask_at(b, NOW + 3600), E_OK);
    assert_true(b->grant.supersede);
    assert_null(b->grant.alarm);
}

static void one_within_the_clone_window_raises_an_alarm(void **state)
{
    struct bench *b = *state;

    in_service(b);
    assert_int_equal(ask_at(b, NOW + 3599), E_OK);
    assert_true(b->grant.supersede);
    assert_string_equal(b->grant.alarm, "clone-suspected");
}

static void the_profile_may_refuse_it(void **state)
{
    struct bench *b = *state;

    in_service(b);
    b->profile.idevid_reenroll = REENROLL_REFUSE;
    assert_int_equal(ask(b), E_DENIED);
}

static void a_suspended_device_does_not_escape_by_a_reset(void **state)
{
    struct bench *b = *state;

    in_service(b);
    ledger_change(b->ledger, 1, CERT_ON_HOLD, REASON_CERTIFICATE_HOLD);
    assert_int_equal(ask(b), E_DENIED);
}

static void an_expired_certificate_is_no_obstacle(void **state)
{
    struct bench *b = *state;

    in_service(b);
    assert_int_equal(ask_at(b, NOW + DAY + 1), E_OK);
    assert_false(b->grant.supersede);
}

static void a_device_stopped_meanwhile_gets_nothing(void **state)
{
    struct bench *b = *state;

    assert_int_equal(ask(b), E_OK);
    assert_int_equal(enroll_still_allowed(&b->core, &b->grant, &b->e), E_OK);
    OK(b->ledger, store_device_set_state(b->core.store, b->device, DEVICE_DECOMMISSIONED, NOW, &b->ledger->e));
    assert_int_equal(enroll_still_allowed(&b->core, &b->grant, &b->e), E_DENIED);
}

static void a_device_that_leaves_its_owner_meanwhile_gets_nothing(void **state)
{
    struct bench *b = *state;

    assert_int_equal(ask(b), E_OK);
    OK(b->ledger, store_device_set_state(b->core.store, b->device, DEVICE_TRANSFERRING, NOW, &b->ledger->e));
    assert_int_equal(enroll_still_allowed(&b->core, &b->grant, &b->e), E_DENIED);
    assert_non_null(strstr(b->e.msg, "between two owners"));
    OK(b->ledger, store_device_set_state(b->core.store, b->device, DEVICE_DECOMMISSIONED, NOW, &b->ledger->e));
    OK(b->ledger, store_device_set_moved(b->core.store, b->device, b->other, &b->ledger->e));
    assert_int_equal(enroll_still_allowed(&b->core, &b->grant, &b->e), E_DENIED);
    assert_non_null(strstr(b->e.msg, "another owner"));
}

static void what_a_birth_identity_replaces_renews_nothing_in_its_grace(void **state)
{
    struct bench *b = *state;

    in_service(b);
    b->profile.expired_grace_s = 7 * DAY;
    assert_int_equal(ask_at(b, NOW + DAY + 1), E_OK);
    assert_true(b->grant.supersede);
}

/* While the signatures were made. */
static void a_recipient_revoked_meanwhile_receives_nothing(void **state)
{
    struct bench *b = *state;
    struct kek_row kek = {.key_id = {7}, .key_id_len = 1, .bits = 128, .sealed = BYTES("sealed", 6), .created_at = NOW};

    assert_int_equal(ask(b), E_OK);
    text_copy(kek.domain, sizeof(kek.domain), b->grant.device.domain);
    OK(b->ledger, store_kek_insert(b->core.store, &kek, &b->ledger->e));
    b->grant.recipient.kind = RECIPIENT_KEK;
    buf_add_u8(&b->grant.recipient.id, 7);
    assert_int_equal(enroll_still_allowed(&b->core, &b->grant, &b->e), E_OK);
    OK(b->ledger, store_kek_revoke(b->core.store, kek.id, NOW, &b->ledger->e));
    assert_int_equal(enroll_still_allowed(&b->core, &b->grant, &b->e), E_DENIED);

    b->grant.recipient.kind = RECIPIENT_EC;
    b->grant.recipient_cert = issued(b, 1);
    assert_int_equal(enroll_still_allowed(&b->core, &b->grant, &b->e), E_OK);
    ledger_change(b->ledger, 1, CERT_REVOKED, REASON_PRIVILEGE_WITHDRAWN);
    assert_int_equal(enroll_still_allowed(&b->core, &b->grant, &b->e), E_DENIED);
}

/* ---- an operator decides ---- */

static const struct actor operator = {.name = "operator:root", .kind = "operator"};

static void with_approval(struct bench *b, enum approval_rule rule)
{
    b->profile.approval = rule;
    b->profile.approval_within_s = 7 * DAY;
    b->profile.approval_retry_s = 60;
    b->conf.requests_max = 100;
    b->conf.requests_per_device = 4;
    b->csr.tbs = bytes_str("request a");
}

/* As ask_at, and what becomes of what needs an operator. */
static enum err_code judge_at(struct bench *b, int64_t now)
{
    enum err_code code = ask_at(b, now);

    return code == E_OK && b->grant.approval ? request_judge(&b->core, &b->in, &b->csr, now, &b->grant, &b->e) : code;
}

static enum request_state decide_at(struct bench *b, uint64_t id, enum request_event event, int64_t now)
{
    enum request_state to = REQUEST_STATES;

    OK(b->ledger, request_decide(&b->core, id, event, event == REQUEST_REFUSE ? "not ours" : "", &operator, now, &to,
                                 &b->ledger->e));
    return to;
}

static struct request_counts open_requests(struct bench *b)
{
    struct request_counts n = {0};

    OK(b->ledger, store_request_counts(b->core.store, &n, &b->ledger->e));
    return n;
}

/* The certificate of an approved request, as the coordinator records it. */
static void issue_approved(struct bench *b, unsigned n, int64_t now)
{
    struct cert_row row;

    OK(b->ledger, store_cert_by_id(b->core.store, issued(b, n), &row, &b->ledger->e));
    OK(b->ledger, request_issued(&b->core, &b->grant, &row, now, &b->ledger->e));
}

static void an_approved_request_is_issued_once_and_repeated(void **state)
{
    struct bench *b = *state;

    with_approval(b, APPROVAL_OPERATOR);
    assert_int_equal(judge_at(b, NOW), E_PENDING);
    assert_int_equal(b->grant.retry_after_s, 60);
    assert_int_equal(judge_at(b, NOW + 60), E_PENDING); /* the same one */
    assert_int_equal(open_requests(b).waiting, 1);
    assert_int_equal(decide_at(b, 1, REQUEST_APPROVE, NOW + 90), REQUEST_APPROVED);
    assert_int_equal(decide_at(b, 1, REQUEST_APPROVE, NOW + 91), REQUEST_APPROVED); /* again: no change */
    assert_int_equal(judge_at(b, NOW + 120), E_OK);
    assert_int_equal(b->grant.request, 1);
    issue_approved(b, 1, NOW + 121);
    assert_int_equal(judge_at(b, NOW + 180), E_OK);
    assert_true(b->grant.repeat);
    assert_int_equal(open_requests(b).waiting + open_requests(b).approved, 0);
}

static void a_refused_request_stays_refused_and_says_why(void **state)
{
    struct bench *b = *state;
    enum request_state to;

    with_approval(b, APPROVAL_FIRST);
    assert_int_equal(judge_at(b, NOW), E_PENDING);
    assert_int_equal(decide_at(b, 1, REQUEST_REFUSE, NOW + 1), REQUEST_REFUSED);
    assert_int_equal(judge_at(b, NOW + 2), E_DENIED);
    assert_non_null(strstr(b->e.msg, "not ours"));
    REFUSED(b->ledger, E_CONFLICT, request_decide(&b->core, 1, REQUEST_APPROVE, "", &operator, NOW + 3, &to, &b->ledger->e));
    REFUSED(b->ledger, E_NOT_FOUND, request_decide(&b->core, 2, REQUEST_APPROVE, "", &operator, NOW + 3, &to, &b->ledger->e));
}

static void nobody_decides_too_late(void **state)
{
    struct bench *b = *state;
    enum request_state to;

    with_approval(b, APPROVAL_OPERATOR);
    assert_int_equal(judge_at(b, NOW), E_PENDING);
    assert_int_equal(judge_at(b, NOW + 7 * DAY - 1), E_PENDING);
    assert_int_equal(judge_at(b, NOW + 7 * DAY), E_DENIED);
    REFUSED(b->ledger, E_CONFLICT,
            request_decide(&b->core, 1, REQUEST_APPROVE, "", &operator, NOW + 7 * DAY, &to, &b->ledger->e));
    /* Approved at the last moment: the client has its time, too. */
    assert_int_equal(decide_at(b, 1, REQUEST_APPROVE, NOW + 7 * DAY - 1), REQUEST_APPROVED);
    assert_int_equal(judge_at(b, NOW + 9 * DAY), E_OK);
    assert_int_equal(judge_at(b, NOW + 14 * DAY), E_UNAUTHENTICATED); /* the secret's own time is over */
}

static void a_withdrawn_approval_issues_nothing(void **state)
{
    struct bench *b = *state;
    struct cert_row row;

    with_approval(b, APPROVAL_OPERATOR);
    assert_int_equal(judge_at(b, NOW), E_PENDING);
    decide_at(b, 1, REQUEST_APPROVE, NOW);
    assert_int_equal(judge_at(b, NOW), E_OK);
    assert_int_equal(decide_at(b, 1, REQUEST_REFUSE, NOW), REQUEST_REFUSED); /* while the signature is made */
    OK(b->ledger, store_cert_by_id(b->core.store, issued(b, 1), &row, &b->ledger->e));
    REFUSED(b->ledger, E_DENIED, request_issued(&b->core, &b->grant, &row, NOW, &b->ledger->e));
}

static void what_makes_it_another_request(void **state)
{
    struct bench *b = *state;

    with_approval(b, APPROVAL_OPERATOR);
    assert_int_equal(judge_at(b, NOW), E_PENDING);
    b->csr.tbs = bytes_str("request b"); /* the same key, another content */
    assert_int_equal(judge_at(b, NOW), E_PENDING);
    assert_int_equal(open_requests(b).waiting, 2);
    add_secret(b, "second", b->device, "", 0); /* another credential */
    user(b, "second");
    assert_int_equal(judge_at(b, NOW), E_PENDING);
    assert_int_equal(open_requests(b).waiting, 3);
    decide_at(b, 1, REQUEST_APPROVE, NOW);
    assert_int_equal(judge_at(b, NOW), E_PENDING); /* the decision is for the one it was made for */
    assert_int_equal(decide_at(b, 3, REQUEST_APPROVE, NOW), REQUEST_APPROVED);
    assert_int_equal(judge_at(b, NOW), E_OK);
}

static void a_bound_request_is_found_by_its_key(void **state)
{
    static const uint8_t exporter[32] = {1};
    AUTO_BUF text = BUF_INIT(64);
    struct bench *b = *state;

    base64_encode(&text, BYTES_OF(exporter), 0);
    with_approval(b, APPROVAL_OPERATOR);
    b->in.binding_kind = SVC_BINDING_TLS_EXPORTER;
    b->in.binding = BYTES_OF(exporter);
    b->csr.binding = CSR_BINDING_CHALLENGE;
    b->csr.challenge = buf_bytes(&text);
    assert_int_equal(judge_at(b, NOW), E_PENDING);
    b->csr.tbs = bytes_str("with the binding of the next connection");
    assert_int_equal(judge_at(b, NOW), E_PENDING);
    assert_int_equal(open_requests(b).waiting, 1);
    b->csr.binding = CSR_BINDING_NONE;
    assert_int_equal(judge_at(b, NOW), E_PENDING);
    assert_int_equal(open_requests(b).waiting, 2);
}

static void as_many_as_are_allowed_wait(void **state)
{
    static const char *const contents[] = {"a", "b", "c", "d"};
    struct bench *b = *state;

    with_approval(b, APPROVAL_OPERATOR);
    b->conf.requests_per_device = 3;
    b->conf.requests_max = 4;
    for (int i = 0; i < 3; i++) {
        b->csr.tbs = bytes_str(contents[i]);
        assert_int_equal(judge_at(b, NOW), E_PENDING);
    }
    b->csr.tbs = bytes_str(contents[3]);
    assert_int_equal(judge_at(b, NOW), E_BUSY);
    assert_int_not_equal(b->grant.retry_after_s, 0);
    b->csr.tbs = bytes_str(contents[2]); /* those that wait are still answered */
    assert_int_equal(judge_at(b, NOW), E_PENDING);
    user(b, "dev-2-user");
    key(b, 0xb2);
    assert_int_equal(judge_at(b, NOW), E_PENDING);
    user(b, "lab");
    key(b, 0xc3);
    snprintf(b->csr.serial_number, sizeof(b->csr.serial_number), "lab-1");
    assert_int_equal(judge_at(b, NOW), E_BUSY);
    decide_at(b, 1, REQUEST_REFUSE, NOW);
    assert_int_equal(judge_at(b, NOW), E_PENDING);
}

static void a_secret_waits_with_its_request(void **state)
{
    struct bench *b = *state;

    with_approval(b, APPROVAL_FIRST);
    assert_int_equal(judge_at(b, NOW), E_PENDING);
    assert_int_equal(judge_at(b, NOW + 3 * DAY), E_PENDING);
    decide_at(b, 1, REQUEST_APPROVE, NOW + 3 * DAY);
    assert_int_equal(judge_at(b, NOW + 4 * DAY), E_OK);
    decide_at(b, 1, REQUEST_REFUSE, NOW + 4 * DAY);
    assert_int_equal(judge_at(b, NOW + 4 * DAY), E_UNAUTHENTICATED);
}

static void what_ended_long_ago_is_forgotten(void **state)
{
    struct bench *b = *state;

    with_approval(b, APPROVAL_FIRST);
    assert_int_equal(judge_at(b, NOW), E_PENDING);
    OK(b->ledger, store_request_forget(b->core.store, NOW + 99 * DAY, NOW + 99 * DAY, &b->ledger->e)); /* it is open */
    decide_at(b, 1, REQUEST_REFUSE, NOW);
    OK(b->ledger, store_request_forget(b->core.store, NOW + 6 * DAY, NOW, &b->ledger->e)); /* it did not expire */
    assert_int_equal(judge_at(b, NOW), E_DENIED);
    OK(b->ledger, store_request_forget(b->core.store, NOW + 7 * DAY, NOW + 1, &b->ledger->e));
    assert_int_equal(judge_at(b, NOW), E_PENDING);
    assert_int_equal(decide_at(b, 2, REQUEST_APPROVE, NOW), REQUEST_APPROVED); /* its number is a new one */
}

static void a_factory_reset_may_wait_for_an_operator(void **state)
{
    struct bench *b = *state;

    in_service(b);
    with_approval(b, APPROVAL_NONE);
    b->profile.idevid_reenroll = REENROLL_APPROVE;
    assert_int_equal(judge_at(b, NOW), E_PENDING);
    decide_at(b, 1, REQUEST_APPROVE, NOW);
    assert_int_equal(judge_at(b, NOW), E_OK);
    assert_true(b->grant.supersede);
}

static void every_state_of_a_request_knows_every_event(void **state)
{
    (void)state;
    for (int s = 0; s < REQUEST_STATES; s++)
        for (int event = 0; event < REQUEST_EVENTS; event++) {
            enum request_state to = request_next((enum request_state)s, (enum request_event)event);

            if (s >= REQUEST_ISSUED && to != REQUEST_STATES)
                assert_int_equal(to, s); /* what ended stays */
            assert_int_not_equal(to, REQUEST_WAITING);
            assert_int_not_equal(to, REQUEST_ISSUED);
        }
    assert_int_equal(request_next(REQUEST_STATES, REQUEST_APPROVE), REQUEST_STATES);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_credential_is_401),
        TEST(a_certificate_only_label_never_asks_for_a_password),
        TEST(an_unknown_label_is_denied),
        TEST(a_secret_of_another_domain_is_denied),
        TEST(wrong_secrets_are_401_then_429_and_the_right_one_always_passes),
        TEST(an_unknown_user_is_401),
        TEST(a_secret_for_one_user_does_not_fit_another),
        TEST(a_device_secret_is_bound_to_its_first_key),
        TEST(a_repeat_gets_the_stored_bytes),
        TEST(a_used_secret_is_good_for_a_day),
        TEST(a_secret_is_spent_when_its_certificate_was_used),
        TEST(a_secret_stays_spent_when_its_certificate_was_renewed),
        TEST(a_secret_does_not_replace_a_revoked_certificate),
        TEST(a_secret_is_good_in_its_time_only),
        TEST(a_revoked_secret_is_401),
        TEST(a_stopped_device_is_403),
        TEST(stopped_follows_the_unit),
        TEST(a_key_serves_one_unit),
        TEST(the_authoritys_own_keys_are_refused),
        TEST(a_key_type_outside_the_profile_is_400),
        TEST(a_compromised_key_never_comes_back),
        TEST(a_binding_is_demanded_where_the_profile_says_so),
        TEST(a_change_of_subject_is_403),
        TEST(a_subject_of_another_device_is_403),
        TEST(renewal_by_password_needs_the_profiles_leave),
        TEST(a_group_secret_declares_what_fits_and_counts),
        TEST(a_group_secret_goes_by_serial_number_and_refuses_two_names),
        TEST(a_group_secret_keeps_to_its_pattern),
        TEST(a_group_secret_does_not_serve_a_declared_device),
        TEST(a_group_secret_with_another_key_is_401),
        TEST(a_new_enrollment_supersedes),
        TEST(one_within_the_clone_window_raises_an_alarm),
        TEST(the_profile_may_refuse_it),
        TEST(a_suspended_device_does_not_escape_by_a_reset),
        TEST(an_expired_certificate_is_no_obstacle),
        TEST(a_device_stopped_meanwhile_gets_nothing),
        TEST(a_device_that_leaves_its_owner_meanwhile_gets_nothing),
        TEST(what_a_birth_identity_replaces_renews_nothing_in_its_grace),
        TEST(a_recipient_revoked_meanwhile_receives_nothing),
        TEST(an_approved_request_is_issued_once_and_repeated),
        TEST(a_refused_request_stays_refused_and_says_why),
        TEST(nobody_decides_too_late),
        TEST(a_withdrawn_approval_issues_nothing),
        TEST(what_makes_it_another_request),
        TEST(a_bound_request_is_found_by_its_key),
        TEST(as_many_as_are_allowed_wait),
        TEST(a_secret_waits_with_its_request),
        TEST(what_ended_long_ago_is_forgotten),
        TEST(a_factory_reset_may_wait_for_an_operator),
        TEST(every_state_of_a_request_knows_every_event),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
