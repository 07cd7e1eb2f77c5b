/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real inkan-status with the real inkan-signer over a SoftHSM token. The test is supervisor, core and front;
 * OpenSSL judges the answers.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fsio.h"
#include "base/proc.h"
#include "ca/follow.h"
#include "ca/ocsp.h"
#include "ca/service.h"
#include "hsm_bench.h"
#include "tests/lib/ocsp_world.h"

#define FLEET   1
#define WAIT_MS 60000

static const uint8_t GOOD[] = {0x11, 0x22}, OTHER[] = {0x33, 0x44}, NEVER[] = {0x77, 0x01};

static struct bench bench;
static struct made_key ocsp_key;
static struct world_ca fleet;
static char status_config[96]; /* as the one of the bench */

/* The processes of one test. */
static struct {
    struct child signer, status;
    int core, front;
    uint64_t seq, next_id;
} w;

/* ---- once ---- */

static void write_config(void)
{
    char text[2048];
    struct err e;

    snprintf(status_config, sizeof(status_config), "%s/status.yaml", bench.dir);
    snprintf(
        text, sizeof(text),
        "public_url: http://pki.example.net\n"
        "directories: {state: %s/state, marks: %s/marks, run: %s/run}\n"
        "audit: {token: t0}\n"
        "listen: {est: [], http: [], health: []}\n"
        "tokens:\n"
        "  - {name: t0, module: %s, label: t0, pin: \"file:%s\"}\n"
        "  - {name: t1, module: %s, label: t1, pin: \"file:%s\"}\n"
        "cas:\n"
        "  - {name: fleet, token: t0, profile: root, subject: \"CN=Fleet CA\", ocsp_token: t1, ocsp_profile: ocsp}\n"
        "profiles:\n"
        "  - {name: root, kind: root-ca}\n"
        "  - {name: ocsp, kind: ocsp-signer, ca: fleet}\n",
        bench.dir, bench.dir, bench.dir, bench.module, bench.pin_file, bench.module, bench.pin_file);
    if (file_write_atomic(status_config, bytes_str(text), 0644, &e) != E_OK)
        fail_msg("%s", e.msg);
}

static int make_token(void **state)
{
    const uint8_t *p;
    struct err e = {0};

    (void)state;
    bench_make(&bench, false);
    token_make(&bench);
    if (token_generate(&bench, PURPOSE_OCSP, "fleet", "p256", &ocsp_key, &e) != E_OK)
        fail_msg("%s", e.msg);
    p = ocsp_key.spki;
    world_ca_make(&fleet, "Fleet CA", time(NULL), d2i_PUBKEY(NULL, &p, (long)ocsp_key.spki_len));
    write_config();
    return 0;
}

static int remove_token(void **state)
{
    (void)state;
    world_ca_clear(&fleet);
    bench_remove(&bench);
    return 0;
}

/* ---- messages ---- */

static void send_to(int fd, struct msg *m, int pass)
{
    struct err e = {0};

    if (msg_send(fd, m, pass, &e) != E_OK)
        fail_msg("%s", e.msg);
}

/* The next message of that type; others of the kind `skip` are passed over (0: none). */
static struct msg_reader receive(int fd, uint16_t type, uint16_t skip, struct buf *packet)
{
    struct msg_reader r;
    struct err e = {0};

    do {
        buf_reset(packet);
        if (msg_recv(fd, packet, NULL, WAIT_MS, &e) != E_OK || msg_read_begin(buf_bytes(packet), &r, &e) != E_OK)
            fail_msg("no message 0x%04x: %s", type, e.msg);
    } while (skip && r.type == skip);
    assert_int_equal(r.type, type);
    return r;
}

static void expect_hello(const char *ledger, uint64_t seq)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r = receive(w.core, FOLLOW_HELLO, 0, &packet);
    struct bytes id = msg_get_bytes(&r, 128);

    assert_true(bytes_equal(id, bytes_str(ledger)));
    assert_int_equal(msg_get_u64(&r), seq);
    assert_false(msg_get_bool(&r)); /* no word of decisions in its configuration */
    assert_int_equal(msg_read_end(&r, NULL), E_OK);
}

static void begin(const char *ledger, bool rebuild, bool sealed)
{
    AUTO_MSG m;

    msg_begin(&m, FOLLOW_BEGIN, 0);
    msg_put_bytes(&m, bytes_str(ledger));
    msg_put_bool(&m, rebuild);
    msg_put_bool(&m, sealed);
    msg_put_i64(&m, time(NULL));
    send_to(w.core, &m, -1);
    if (rebuild)
        w.seq = 0;
}

static time_t cert_time(const ASN1_TIME *t)
{
    struct tm tm;

    assert_int_equal(ASN1_TIME_to_tm(t, &tm), 1);
    return timegm(&tm);
}

static void issuers(void)
{
    struct follow_issuer f = {.id = FLEET, .name = "fleet", .responds = true, .token = "t1", .key = "ocsp/fleet/1"};
    AUTO_MSG m, end;

    f.validity_s = 3600;
    f.subject = BYTES(fleet.subject, fleet.subject_len);
    f.spki = BYTES(fleet.spki, fleet.spki_len);
    f.key_cka_id = BYTES_OF(ocsp_key.cka_id);
    f.key_spki = BYTES(ocsp_key.spki, ocsp_key.spki_len);
    f.responder_cert = BYTES(fleet.ocsp_der, fleet.ocsp_der_len);
    f.responder_not_before = cert_time(X509_get0_notBefore(fleet.ocsp_cert));
    f.responder_not_after = cert_time(X509_get0_notAfter(fleet.ocsp_cert));
    msg_begin(&m, FOLLOW_ISSUER, 0);
    msg_begin(&end, FOLLOW_ISSUERS_END, 0);
    follow_issuer_encode(&m, &f);
    send_to(w.core, &m, -1);
    send_to(w.core, &end, -1);
}

static void send_row(const uint8_t serial[2], enum cert_status status, enum crl_reason reason)
{
    struct status_row row = {.seq = ++w.seq,
                             .issuer = FLEET,
                             .serial = {serial[0], serial[1]},
                             .serial_len = 2,
                             .status = status,
                             .reason = reason,
                             .time = time(NULL),
                             .not_after = time(NULL) + 86400};
    AUTO_MSG m;

    msg_begin(&m, FOLLOW_ROWS, 0);
    msg_put_u32(&m, 1);
    status_row_encode(&m, &row);
    send_to(w.core, &m, -1);
}

static void current(uint64_t ask_id, bool sealed)
{
    AUTO_MSG m;

    msg_begin(&m, FOLLOW_CURRENT, ask_id);
    msg_put_u64(&m, w.seq);
    msg_put_bool(&m, sealed);
    msg_put_i64(&m, time(NULL));
    send_to(w.core, &m, -1);
}

static void expect_ack(uint64_t seq)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r = receive(w.core, FOLLOW_ACK, 0, &packet);

    assert_int_equal(msg_get_u64(&r), seq);
    assert_int_equal(msg_read_end(&r, NULL), E_OK);
}

static uint64_t expect_ask(void)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r = receive(w.core, FOLLOW_ASK, 0, &packet);

    assert_int_equal(msg_read_end(&r, NULL), E_OK);
    assert_true(r.request_id != 0);
    return r.request_id;
}

/* ---- the front's questions ---- */

struct question {
    uint8_t der[1024];
    size_t len;
    const uint8_t *serial;
};

struct reply {
    struct sts_ocsp_result result;
    struct world_answer a;
};

static void ask(struct question *q, const uint8_t serial[2], bool nonce)
{
    AUTO_MSG m;

    q->serial = serial;
    q->len = world_request(&fleet, EVP_sha1(), serial, 2, "0123456789abcdef", nonce ? 16 : 0, q->der, sizeof(q->der));
    msg_begin(&m, STS_OCSP, ++w.next_id);
    msg_put_bytes(&m, BYTES(q->der, q->len));
    send_to(w.front, &m, -1);
}

static struct reply reply_to(const struct question *q)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r = receive(w.front, STS_OCSP_RESULT, 0, &packet);
    struct reply out;
    struct err e = {0};

    assert_int_equal(r.request_id, w.next_id);
    if (sts_ocsp_result_decode(&r, &out.result, &e) != E_OK)
        fail_msg("%s", e.msg);
    out.a = world_read(&fleet, out.result.response, BYTES(q->der, q->len), EVP_sha1(), q->serial, 2, time(NULL));
    assert_true(out.result.is_error == (out.a.response_status != OCSP_SUCCESSFUL));
    return out;
}

static struct reply question(const uint8_t serial[2], bool nonce)
{
    struct question q;

    ask(&q, serial, nonce);
    return reply_to(&q);
}

/* The signer checks our key in its own time. */
static struct reply question_until_answered(const uint8_t serial[2], bool nonce)
{
    int64_t until = clock_mono_ms() + WAIT_MS;
    struct reply v;

    do {
        v = question(serial, nonce);
        if (v.a.response_status != OCSP_TRY_LATER)
            break;
        usleep(50 * 1000);
    } while (clock_mono_ms() < until);
    assert_int_equal(v.a.response_status, OCSP_SUCCESSFUL);
    assert_true(v.a.verifies);
    return v;
}

static bool health_is_ready(char *json, size_t size)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r;
    AUTO_MSG m;
    bool ready;

    msg_begin(&m, STS_HEALTH, 5);
    send_to(w.front, &m, -1);
    r = receive(w.front, STS_HEALTH_RESULT, 0, &packet);
    ready = msg_get_bool(&r);
    msg_get_str(&r, json, size);
    assert_int_equal(msg_read_end(&r, NULL), E_OK);
    return ready;
}

/* Messages on different links overtake each other: waits until status has taken the last one of the core. */
static void wait_health(const char *text)
{
    int64_t until = clock_mono_ms() + WAIT_MS;
    char json[32768];

    do {
        (void)health_is_ready(json, sizeof(json));
        if (strstr(json, text))
            return;
        usleep(5 * 1000);
    } while (clock_mono_ms() < until);
    fail_msg("health never said %s: %s", text, json);
}

/* ---- processes ---- */

static void link_signer(void)
{
    int fd = child_link(&w.status, PROC_SIGNER, 0, "signer-t1");
    AUTO_MSG m;

    msg_begin(&m, CTL_LINK, 0);
    msg_put_u8(&m, PROC_STATUS);
    msg_put_u32(&m, 0);
    msg_put_str(&m, "status");
    send_to(w.signer.control, &m, fd);
    close(fd);
}

static void start_signer(void)
{
    w.signer = child_start(&bench, "inkan-signer");
    if (!child_wait_ready(&w.signer, WAIT_MS))
        fail_msg("the signer is not ready");
}

static void start_status(void)
{
    struct bench b = bench;
    AUTO_MSG go;

    snprintf(b.config, sizeof(b.config), "%s", status_config);
    w.status = child_start(&b, "inkan-status");
    w.core = w.status.link;
    w.front = child_link(&w.status, PROC_FRONT, 0, "front-0");
    link_signer();
    msg_begin(&go, CTL_GO, 0);
    send_to(w.status.control, &go, -1);
    if (!child_wait_ready(&w.status, WAIT_MS))
        fail_msg("status is not ready");
}

/* A status process that has the ledger: two good certificates. */
static int start(void **state)
{
    char path[160];

    (void)state;
    memset(&w, 0, sizeof(w));
    snprintf(path, sizeof(path), "%s/state/status/replica.db", bench.dir);
    unlink(path);
    start_signer();
    start_status();
    expect_hello("", 0);
    begin("ledger", true, false);
    issuers();
    send_row(GOOD, CERT_GOOD, REASON_UNSPECIFIED);
    expect_ack(1);
    send_row(OTHER, CERT_GOOD, REASON_UNSPECIFIED);
    expect_ack(2);
    current(0, false);
    return 0;
}

static int stop(void **state)
{
    int code;

    (void)state;
    if (w.status.pid > 0)
        kill(w.status.pid, SIGCONT);
    code = w.status.pid > 0 ? child_stop(&w.status) : 0;
    if (code != 0)
        print_message("status ended with %d\n", code);
    child_stop(&w.signer);
    close(w.front);
    return code;
}

/* ---- tests ---- */

static void answers_are_signed_by_the_token_and_verify(void **state)
{
    struct reply v = question_until_answered(GOOD, false);

    (void)state;
    assert_int_equal(v.a.status, V_OCSP_CERTSTATUS_GOOD);
    assert_true(v.result.cacheable && v.result.seq == 2 && v.result.cert_n == 1);
    v = question(OTHER, true);
    assert_true(v.a.verifies && v.a.nonce == 1 && v.a.status == V_OCSP_CERTSTATUS_GOOD);
    assert_false(v.result.cacheable);
}

static void after_the_acknowledgement_every_answer_says_revoked(void **state)
{
    struct reply v;

    (void)state;
    (void)question_until_answered(GOOD, false); /* kept */
    send_row(GOOD, CERT_REVOKED, REASON_KEY_COMPROMISE);
    expect_ack(3);
    v = question(GOOD, false);
    assert_true(v.a.verifies && v.a.status == V_OCSP_CERTSTATUS_REVOKED && v.a.reason == 1);
    assert_int_equal(v.result.seq, 3);
    v = question(GOOD, true);
    assert_true(v.a.verifies && v.a.status == V_OCSP_CERTSTATUS_REVOKED && v.a.nonce == 1);
}

static void unknown_is_said_only_after_the_core_said_its_seq(void **state)
{
    struct question q;
    struct reply v;

    (void)state;
    (void)question_until_answered(GOOD, false);
    ask(&q, NEVER, false);
    current(expect_ask(), false);
    v = reply_to(&q);
    assert_true(v.a.verifies && v.a.status == V_OCSP_CERTSTATUS_UNKNOWN && !v.result.cacheable);
    ask(&q, NEVER, false);
    {
        uint64_t id = expect_ask();

        send_row(NEVER, CERT_GOOD, REASON_UNSPECIFIED); /* issued a moment ago */
        expect_ack(3);
        current(id, false);
    }
    assert_int_equal(reply_to(&q).a.status, V_OCSP_CERTSTATUS_GOOD);
}

static void without_the_core_known_rows_are_still_answered(void **state)
{
    (void)state;
    (void)question_until_answered(GOOD, false);
    close(w.core);
    w.status.link = -1; /* the same descriptor */
    assert_int_equal(question(OTHER, true).a.status, V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(question(NEVER, false).a.response_status, OCSP_TRY_LATER);
    w.core = child_link(&w.status, PROC_CORE, 0, "core");
    expect_hello("ledger", 2);
    begin("ledger", false, false);
    issuers();
    wait_health("\"current\":false");
    assert_int_equal(question(OTHER, true).a.response_status, OCSP_TRY_LATER); /* not yet current with this core */
    current(0, false);
    assert_int_equal(question_until_answered(OTHER, true).a.status, V_OCSP_CERTSTATUS_GOOD);
}

static void a_killed_status_resumes_from_its_own_seq(void **state)
{
    (void)state;
    (void)question_until_answered(GOOD, false);
    send_row(GOOD, CERT_REVOKED, REASON_SUPERSEDED);
    expect_ack(3);
    child_kill(&w.status);
    close(w.front);
    start_status();
    expect_hello("ledger", 3);
    assert_int_equal(question(GOOD, false).a.response_status, OCSP_TRY_LATER);
    begin("ledger", false, false);
    issuers();
    current(0, false);
    assert_int_equal(question_until_answered(GOOD, false).a.status, V_OCSP_CERTSTATUS_REVOKED);
}

static void the_core_can_have_the_replica_rebuilt(void **state)
{
    (void)state;
    (void)question_until_answered(GOOD, false);
    w.core = child_link(&w.status, PROC_CORE, 0, "core"); /* the core was started again */
    expect_hello("ledger", 2);
    begin("ledger-1", true, false);
    issuers();
    send_row(GOOD, CERT_REVOKED, REASON_SUPERSEDED);
    expect_ack(1);
    current(0, false);
    assert_int_equal(question_until_answered(GOOD, false).a.status, V_OCSP_CERTSTATUS_REVOKED);
    {
        struct question q;

        ask(&q, OTHER, false); /* not in the ledger any more */
        current(expect_ask(), false);
        assert_int_equal(reply_to(&q).a.status, V_OCSP_CERTSTATUS_UNKNOWN);
    }
}

static void a_ledger_that_lost_rows_is_not_believed(void **state)
{
    (void)state;
    (void)question_until_answered(GOOD, false);
    send_row(GOOD, CERT_REVOKED, REASON_KEY_COMPROMISE);
    expect_ack(3);
    w.core = child_link(&w.status, PROC_CORE, 0, "core"); /* with the ledger of yesterday */
    expect_hello("ledger", 3);
    begin("ledger", true, false);
    issuers();
    send_row(GOOD, CERT_GOOD, REASON_UNSPECIFIED);
    expect_ack(1);
    current(0, false);
    assert_int_equal(question(GOOD, false).a.response_status, OCSP_TRY_LATER);
    assert_true(child_wait_state(&w.status, "AHEAD", WAIT_MS));
    w.core = child_link(&w.status, PROC_CORE, 0, "core"); /* restored: another id */
    expect_hello("ledger", 3);
    begin("ledger-1", true, false);
    issuers();
    send_row(GOOD, CERT_REVOKED, REASON_KEY_COMPROMISE);
    expect_ack(1);
    current(0, false);
    assert_int_equal(question_until_answered(GOOD, false).a.status, V_OCSP_CERTSTATUS_REVOKED);
}

static void a_sealed_ledger_means_try_later(void **state)
{
    char json[32768];

    (void)state;
    (void)question_until_answered(GOOD, false);
    assert_true(health_is_ready(json, sizeof(json)));
    current(0, true);
    wait_health("\"sealed\":true");
    assert_int_equal(question(GOOD, false).a.response_status, OCSP_TRY_LATER);
    assert_false(health_is_ready(json, sizeof(json)));
    current(0, false);
    wait_health("\"sealed\":false");
    assert_int_equal(question(GOOD, false).a.status, V_OCSP_CERTSTATUS_GOOD);
}

static void a_lost_signer_leaves_kept_answers_and_comes_back(void **state)
{
    struct reply kept, v;
    char json[32768];

    (void)state;
    kept = question_until_answered(GOOD, false);
    child_kill(&w.signer);
    v = question(GOOD, false);
    assert_int_equal(v.a.status, V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(v.result.produced_at, kept.result.produced_at);
    assert_int_equal(question(GOOD, true).a.response_status, OCSP_TRY_LATER);
    wait_health("\"able\":false");
    assert_false(health_is_ready(json, sizeof(json)));
    start_signer();
    link_signer();
    assert_int_equal(question_until_answered(GOOD, true).a.nonce, 1);
    assert_true(health_is_ready(json, sizeof(json)));
}

static void a_broken_front_does_not_hurt_the_others(void **state)
{
    int bad = child_link(&w.status, PROC_FRONT, 1, "front-1");
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    AUTO_MSG m;

    (void)state;
    (void)question_until_answered(GOOD, false);
    msg_begin(&m, SVC_ENROLL, 1); /* the core's business */
    send_to(bad, &m, -1);
    assert_int_not_equal(msg_recv(bad, &packet, NULL, WAIT_MS, NULL), E_OK);
    close(bad);
    assert_int_equal(question(GOOD, true).a.status, V_OCSP_CERTSTATUS_GOOD);
}

static void a_core_that_breaks_the_protocol_ends_the_process(void **state)
{
    static const char *const cases[] = {"a gap in the rows", "an unknown message", "a seq that fell"};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_MSG m;

        print_message("# %s\n", cases[i]);
        if (i > 0) {
            child_stop(&w.signer);
            close(w.front);
            start(state);
        }
        msg_begin(&m, FOLLOW_HELLO, 0);
        if (i == 0) {
            w.seq++;
            send_row(GOOD, CERT_GOOD, REASON_UNSPECIFIED);
        } else if (i == 1) {
            send_to(w.core, &m, -1);
        } else {
            w.seq = 1;
            current(0, false);
        }
        assert_int_equal(child_wait(&w.status, WAIT_MS), PROC_EXIT_RESTART);
        w.status.pid = -1;
    }
}

/* A mass action is a burst of messages, and a question may come behind all of them. */
static void a_question_is_answered_before_rows_that_came_earlier(void **state)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    uint64_t before = w.seq;
    struct msg_reader r;
    char json[32768];
    siginfo_t stopped;
    AUTO_MSG m;

    (void)state;
    wait_health("\"seq\":2,");
    assert_int_equal(kill(w.status.pid, SIGSTOP), 0);
    assert_int_equal(waitid(P_PID, (id_t)w.status.pid, &stopped, WSTOPPED), 0);
    for (int i = 0; i < 20; i++)
        send_row(OTHER, CERT_GOOD, REASON_UNSPECIFIED);
    msg_begin(&m, STS_HEALTH, 5);
    send_to(w.front, &m, -1);
    assert_int_equal(kill(w.status.pid, SIGCONT), 0);
    r = receive(w.front, STS_HEALTH_RESULT, 0, &packet);
    (void)msg_get_bool(&r);
    msg_get_str(&r, json, sizeof(json));
    if (!strstr(json, "\"seq\":2,"))
        fail_msg("answered after a row: %s", json);
    while (before < w.seq)
        expect_ack(++before);
}

static void it_stops_when_told(void **state)
{
    (void)state;
    (void)question_until_answered(GOOD, false);
    assert_int_equal(child_stop(&w.status), 0);
    w.status.pid = -1;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)
    const struct CMUnitTest tests[] = {
        T(answers_are_signed_by_the_token_and_verify),       T(after_the_acknowledgement_every_answer_says_revoked),
        T(unknown_is_said_only_after_the_core_said_its_seq), T(without_the_core_known_rows_are_still_answered),
        T(a_killed_status_resumes_from_its_own_seq),         T(the_core_can_have_the_replica_rebuilt),
        T(a_ledger_that_lost_rows_is_not_believed),          T(a_sealed_ledger_means_try_later),
        T(a_lost_signer_leaves_kept_answers_and_comes_back), T(a_broken_front_does_not_hurt_the_others),
        T(a_core_that_breaks_the_protocol_ends_the_process), T(a_question_is_answered_before_rows_that_came_earlier),
        T(it_stops_when_told),
    };
    return cmocka_run_group_tests_name("status", tests, make_token, remove_token);
}
