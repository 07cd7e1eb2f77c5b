/* SPDX-License-Identifier: Apache-2.0 */
/* Decisions and the feed as the status process makes them: when it may answer, who waits for what, what a follower of the feed gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/auto.h"
#include "base/feed.h"
#include "ca/decider.h"

#define NOW     1800000000
#define DAY     86400
#define ROOT    1
#define LEDGER  "0123456789abcdef"
#define WAITING_MAX 64

struct to_sign {
    struct buf input;
    signer_done_fn done;
    void *arg;
};

static struct {
    char dir[256];
    struct event_base *base;
    struct replica *replica;
    struct decider *d;
    struct conf conf;
    EVP_PKEY *key;
    uint8_t spki[256];
    size_t spki_len;
    int64_t ms, later; /* than NOW */
    uint64_t seq;
    /* what the hooks heard */
    bool core_there;
    uint64_t asked;
    unsigned asks, seen, gateways;
    struct follow_gateway gateway; /* the last one */
    struct sts_decided answer;
    unsigned answers;
    enum err_code feed_code;
    struct buf jws;
    unsigned feed_answers, signatures;
    char etag[128];
    int fd;
    struct to_sign queue[WAITING_MAX];
    size_t queued;
} w;

/* ---- hooks ---- */

static time_t now(void *arg)
{
    (void)arg;
    return NOW + w.later;
}

static int64_t mono(void *arg)
{
    (void)arg;
    return w.ms;
}

static bool ask(void *arg, uint64_t id)
{
    (void)arg;
    w.asks++;
    w.asked = id;
    return w.core_there;
}

static void answer(void *arg, void *owner, uint64_t id, const struct sts_decided *all)
{
    (void)arg, (void)owner, (void)id;
    w.answer = *all;
    w.answers++;
}

static void seen(void *arg, uint64_t device)
{
    (void)arg, (void)device;
    w.seen++;
}

static void gateway(void *arg, const struct follow_gateway *g)
{
    (void)arg;
    w.gateway = *g;
    w.gateways++;
}

static void bad(void *arg, const struct err *e)
{
    (void)arg;
    fail_msg("%s", e->msg);
}

static enum err_code sign(void *arg, const char *token, const char *key, struct bytes input, signer_done_fn done, void *done_arg, struct err *e)
{
    struct to_sign *t = &w.queue[w.queued];

    (void)arg, (void)e;
    assert_string_equal(token, "ocsp");
    assert_string_equal(key, "feed/fleet/1");
    assert_true(w.queued < WAITING_MAX);
    w.queued++;
    w.signatures++;
    *t = (struct to_sign){.input = BUF_INIT(MSG_MAX_LEN), .done = done, .arg = done_arg};
    buf_add_bytes(&t->input, input);
    return E_OK;
}

static void changes(void *arg, void *owner, uint64_t id, enum err_code code, struct bytes jws)
{
    (void)arg, (void)owner, (void)id;
    w.feed_code = code;
    w.feed_answers++;
    buf_reset(&w.jws);
    buf_add_bytes(&w.jws, jws);
}

static void snapshot(void *arg, void *owner, uint64_t id, enum err_code code, const char *etag, int fd)
{
    (void)arg, (void)owner, (void)id;
    w.feed_code = code;
    w.feed_answers++;
    snprintf(w.etag, sizeof w.etag, "%s", etag);
    w.fd = fd >= 0 ? dup(fd) : -1;
}

/* The signer gets to work: everything it was given is signed. */
static void signer_works(void)
{
    size_t n = w.queued;

    w.queued = 0;
    for (size_t i = 0; i < n; i++) {
        struct to_sign t = w.queue[i];
        EVP_MD_CTX *md = EVP_MD_CTX_new();
        uint8_t sig[128];
        size_t len = sizeof sig;
        struct err e = {0};

        assert_int_equal(EVP_DigestSignInit_ex(md, NULL, "SHA2-256", NULL, NULL, w.key, NULL), 1);
        assert_int_equal(EVP_DigestSign(md, sig, &len, t.input.p, t.input.len), 1);
        EVP_MD_CTX_free(md);
        t.done(t.arg, E_OK, &e, SIG_ECDSA_SHA256, BYTES(sig, len));
        buf_clear(&t.input);
    }
}

static void loop_runs(void)
{
    for (int i = 0; i < 2000; i++)
        event_base_loop(w.base, EVLOOP_NONBLOCK);
}

/* ---- the world ---- */

static void hash_of(uint64_t number, uint8_t out[32])
{
    char text[32];

    snprintf(text, sizeof text, "certificate %llu", (unsigned long long)number);
    sha256(bytes_str(text), out);
}

static struct status_row row_of(uint64_t number, enum cert_status status, uint64_t device)
{
    struct status_row r = {.seq = ++w.seq, .issuer = ROOT, .status = status, .time = NOW - 100, .not_after = NOW + DAY, .serial_len = 20,
                           .device = device, .device_state = DEVICE_IN_SERVICE, .kind = PROFILE_LDEVID, .has_hash = true};

    r.serial[0] = (uint8_t)(1 + number % 100);
    put_be64(r.serial + 12, number);
    hash_of(number, r.der_hash);
    return r;
}

static void apply(struct status_row r)
{
    size_t refused;
    struct err e;

    assert_int_equal(replica_apply(w.replica, &r, 1, &refused, &e), E_OK);
    assert_int_equal(decider_rows(w.d, &r, 1, &e), E_OK);
}

static void tell_moved(uint64_t id, enum device_state state, uint64_t moved_to)
{
    char name[32];
    struct access_device dev = {.id = id, .moved_to = moved_to, .domain = "acme", .device_id = name, .product = "lock", .firmware = "1",
                                .state = state};
    struct err e;

    snprintf(name, sizeof name, "dev-%llu", (unsigned long long)id);
    assert_int_equal(replica_put_devices(w.replica, &dev, 1, &e), E_OK);
    assert_int_equal(decider_devices(w.d, &dev, 1, &e), E_OK);
}

static void tell_device(uint64_t id, enum device_state state)
{
    tell_moved(id, state, 0);
}

static void unit(uint64_t n)
{
    tell_device(n, DEVICE_IN_SERVICE);
    apply(row_of(n, CERT_GOOD, n));
}

static void tell_issuer(void)
{
    struct follow_issuer in = {.id = ROOT, .name = "root", .spki = BYTES(w.spki, w.spki_len), .cert = bytes_str("certificate 1")};
    struct err e;

    access_issuers_begin(decider_access(w.d));
    assert_int_equal(access_issuers_add(decider_access(w.d), &in, &e), E_OK);
    access_issuers_end(decider_access(w.d));
}

static void start(void)
{
    const struct decider_hooks hooks = {.now = now, .mono_ms = mono, .ask = ask, .answer = answer, .seen = seen, .gateway = gateway, .bad = bad};
    const struct feed_hooks feed_hooks = {.now = now, .mono_ms = mono, .sign = sign, .changes = changes, .snapshot = snapshot};
    struct follow_feed_key key = {.token = "ocsp", .key = "feed/fleet/1", .cka_id = bytes_str("0123456789abcdef"),
                                  .spki = BYTES(w.spki, w.spki_len), .cert = bytes_str("signer"), .issuer = bytes_str("its CA")};
    struct err e;

    w.d = decider_new(w.base, w.replica, &hooks, &feed_hooks, &w.conf, &e);
    assert_non_null(w.d);
    assert_int_equal(feed_set_key(decider_feed(w.d), &key, &e), E_OK);
    tell_issuer();
}

static int world(void **state)
{
    unsigned char *p = w.spki;
    struct err why, e;

    (void)state;
    memset(&w, 0, sizeof w);
    w.spki_len = 0;
    w.fd = -1;
    w.jws = BUF_INIT(MSG_MAX_LEN);
    w.core_there = true;
    w.conf.feed_keep = 5000;
    w.conf.feed_valid_s = DAY;
    w.ms = 1000000;
    snprintf(w.dir, sizeof w.dir, "%s/inkan-decider-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(w.dir));
    w.base = event_base_new();
    w.key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    w.spki_len = (size_t)i2d_PUBKEY(w.key, &p);
    assert_int_equal(replica_open(w.dir, true, &w.replica, &why, &e), E_OK);
    assert_int_equal(replica_reset(w.replica, bytes_str(LEDGER), &e), E_OK);
    start();
    loop_runs();
    return 0;
}

static int world_end(void **state)
{
    (void)state;
    signer_works();
    decider_free(w.d);
    replica_discard(w.replica);
    replica_free(w.replica);
    event_base_free(w.base);
    EVP_PKEY_free(w.key);
    buf_clear(&w.jws);
    if (w.fd >= 0)
        close(w.fd);
    return rmdir(w.dir);
}

static void question(uint64_t number)
{
    static struct sts_decide q;

    q = (struct sts_decide){.caller = {.local = true}, .n = 1, .who = {{.kind = IDENTITY_CERT, .not_before = NOW - DAY}}};
    hash_of(number, q.who[0].der_hash);
    memcpy(q.who[0].ski, access_get0_issuer(decider_access(w.d), 0)->ski, 20);
    decider_question(w.d, &w, number, &q);
}

static void answered(unsigned answers, enum decision_reason reason)
{
    assert_int_equal(w.answers, answers);
    assert_int_equal(w.answer.code, E_OK);
    if (w.answer.decision[0].reason != reason)
        fail_msg("%s, not %s", decision_reason_name(w.answer.decision[0].reason), decision_reason_name(reason));
}

static const struct sts_caller local = {.local = true};

/* ---- decisions ---- */

static void nothing_is_decided_before_the_core_says_it_is_everything(void **state)
{
    (void)state;
    unit(7);
    question(7);
    assert_int_equal(w.answer.code, E_BUSY);
    decider_current(w.d, w.seq + 1); /* a row is still to come */
    question(7);
    assert_int_equal(w.answer.code, E_BUSY);
    unit(8);
    question(7);
    answered(3, DECISION_OK);
    assert_int_equal(w.answer.seq, w.seq);
    decider_reset(w.d);
    tell_issuer();
    question(7);
    assert_int_equal(w.answer.code, E_BUSY);
}

static void what_is_not_known_may_be_on_its_way(void **state)
{
    (void)state;
    decider_current(w.d, 0);
    question(7);
    question(8);
    assert_int_equal(w.answers, 0);
    assert_int_equal(w.asks, 1); /* the second waits for the next one */
    decider_core_seq(w.d, w.asked, 1);
    assert_int_equal(w.answers, 0); /* row 1 is not here */
    assert_int_equal(w.asks, 2);
    unit(7);
    answered(1, DECISION_OK);
    decider_core_seq(w.d, w.asked, 1);
    answered(2, DECISION_UNKNOWN_SERIAL); /* 8 is not among all there is */
}

static void without_the_core_what_is_not_known_is_denied(void **state)
{
    (void)state;
    decider_current(w.d, 0);
    w.core_there = false;
    question(7);
    answered(1, DECISION_UNKNOWN_SERIAL);
    w.core_there = true;
    question(7);
    assert_int_equal(w.answers, 1);
    decider_core_lost(w.d);
    answered(2, DECISION_UNKNOWN_SERIAL);
    question(7);
    w.ms += DECIDER_DEADLINE_MS + 1; /* it does not answer */
    decider_tick(w.d);
    answered(3, DECISION_UNKNOWN_SERIAL);
    question(7);
    decider_forget_owner(w.d, &w);
    w.ms += DECIDER_DEADLINE_MS + 1;
    decider_tick(w.d);
    assert_int_equal(w.answers, 3);
}

static void how_old_the_data_is_counts_from_the_cores_word(void **state)
{
    (void)state;
    unit(7);
    decider_current(w.d, w.seq);
    w.ms += 30000;
    question(7);
    answered(1, DECISION_OK);
    assert_int_equal(w.answer.decision[0].status_age_s, 30);
    decider_current(w.d, w.seq);
    question(7);
    assert_int_equal(w.answer.decision[0].status_age_s, 0);
}

static void a_lost_device_is_told_once_an_hour(void **state)
{
    (void)state;
    unit(7);
    decider_current(w.d, w.seq);
    question(7);
    assert_int_equal(w.seen, 0);
    tell_device(7, DEVICE_LOST);
    apply(row_of(7, CERT_REVOKED, 7));
    for (int i = 0; i < 3; i++)
        question(7);
    answered(4, DECISION_REVOKED);
    assert_int_equal(w.seen, 1);
    w.ms += 3600001;
    question(7);
    assert_int_equal(w.seen, 2);
}

static void the_table_comes_back_from_the_replica(void **state)
{
    struct status_row birth;

    (void)state;
    for (uint64_t n = 2; n < 5000; n++)
        unit(n);
    apply(row_of(7, CERT_ON_HOLD, 7));
    tell_device(9, DEVICE_SUSPENDED);
    birth = row_of(6000, CERT_GOOD, 10);
    birth.kind = PROFILE_IDEVID;
    apply(birth);
    tell_moved(10, DEVICE_DECOMMISSIONED, 11);
    tell_device(11, DEVICE_IN_SERVICE);
    decider_free(w.d);
    start();
    question(8);
    assert_int_equal(w.answer.code, E_BUSY); /* it is being read */
    loop_runs();
    decider_current(w.d, w.seq);
    question(8);
    answered(2, DECISION_OK);
    assert_string_equal(w.answer.decision[0].device_id, "dev-8");
    question(7);
    answered(3, DECISION_ON_HOLD);
    question(9);
    answered(4, DECISION_DEVICE_DISABLED);
    question(6000); /* its unit is 11 now */
    answered(5, DECISION_SCOPE);
    assert_string_equal(w.answer.decision[0].device_id, "dev-11");
}

static void what_ended_a_month_ago_goes_and_comes_back_when_the_clock_was_wrong(void **state)
{
    (void)state;
    for (uint64_t n = 2; n < 2502; n++)
        unit(n);
    decider_current(w.d, w.seq);
    w.later = 31 * DAY;
    decider_tick(w.d);
    assert_int_equal(access_certs(decider_access(w.d)), 2500); /* until yesterday they were in date */
    w.later = 32 * DAY;
    feed_get_snapshot(decider_feed(w.d), &w, 1, &local);
    decider_tick(w.d);
    assert_int_equal(access_certs(decider_access(w.d)), 2500); /* a snapshot walks them */
    loop_runs();
    signer_works();
    assert_int_equal(w.feed_code, E_OK);
    decider_tick(w.d);
    assert_int_equal(access_certs(decider_access(w.d)), 1500); /* some at a time */
    for (int i = 0; i < 5; i++)
        decider_tick(w.d);
    assert_int_equal(access_certs(decider_access(w.d)), 0);
    w.later = 0;
    question(7);
    answered(0, DECISION_OK); /* it may be on its way */
    decider_core_lost(w.d);
    answered(1, DECISION_UNKNOWN_SERIAL);
    decider_tick(w.d);
    loop_runs();
    question(7);
    answered(2, DECISION_OK);
    assert_int_equal(access_certs(decider_access(w.d)), 2500);
}

static void a_replica_that_is_being_built_decides_nothing(void **state)
{
    struct err e;
    size_t refused;

    (void)state;
    decider_current(w.d, 0);
    assert_int_equal(replica_build(w.replica, &e), E_OK);
    unit(7);
    question(7);
    assert_int_equal(w.answer.code, E_BUSY);
    while (replica_is_building(w.replica))
        assert_int_equal(replica_build_step(w.replica, &refused, &e), E_OK);
    decider_built(w.d);
    loop_runs();
    decider_current(w.d, w.seq);
    question(7);
    answered(2, DECISION_OK);
}

/* ---- the feed ---- */

/* The payload of the answer, verified. */
static void payload_of(struct buf *out)
{
    struct feed_jws j;
    struct err e = {0};

    assert_int_equal(w.feed_code, E_OK);
    if (feed_jws_read(buf_bytes(&w.jws), FEED_CHANGES_TYP, &j, &e) != E_OK || jws_verify(&j.jws, w.key, &e) != E_OK ||
        jws_payload(&j.jws, out, &e) != E_OK)
        fail_msg("%s", e.msg);
    assert_int_equal(j.chain_n, 2);
    buf_add_u8(out, 0);
    feed_jws_clear(&j);
}

static uint64_t number_in(const char *json, const char *name)
{
    const char *at = strstr(json, name);

    assert_non_null(at);
    return strtoull(at + strlen(name), NULL, 10);
}

static size_t rows_in(const char *json)
{
    size_t n = 0;

    for (const char *s = strstr(json, "\"rows\":["); s && (s = strstr(s + 1, ",\"" "1\\t")) != NULL;)
        n++;
    return n;
}

static struct sts_caller gateway_of(uint64_t number)
{
    struct sts_caller caller = {0};

    hash_of(number, caller.cert_hash);
    return caller;
}

static void changes_after(uint64_t after, uint32_t wait_s)
{
    feed_get_changes(decider_feed(w.d), &w, 1, &local, after, wait_s);
}

static void one_gateway_does_not_take_the_places_of_the_others(void **state)
{
    const struct sts_caller greedy = gateway_of(1), other = gateway_of(2);
    unsigned refused = 0;

    (void)state;
    unit(7);
    for (unsigned i = 0; i < 5000; i++) {
        feed_get_changes(decider_feed(w.d), &w, 1, &greedy, w.seq, 20);
        refused += w.feed_answers > refused;
    }
    assert_int_equal(refused, 5000 - 32);
    assert_int_equal(w.feed_code, E_BUSY);
    feed_get_snapshot(decider_feed(w.d), &w, 1, &greedy);
    assert_int_equal(w.feed_answers, refused + 1);
    assert_int_equal(w.feed_code, E_BUSY);
    feed_get_changes(decider_feed(w.d), &w, 1, &other, w.seq, 20);
    assert_int_equal(w.feed_answers, refused + 1); /* it waits */
    apply(row_of(7, CERT_ON_HOLD, 7));
    feed_get_changes(decider_feed(w.d), &w, 1, &greedy, w.seq, 20); /* they wait for the signer now */
    assert_int_equal(w.feed_code, E_BUSY);
    signer_works();
    assert_int_equal(w.feed_answers, refused + 2 + 32 + 1);
    assert_int_equal(w.feed_code, E_OK);
    feed_get_changes(decider_feed(w.d), &w, 1, &greedy, w.seq, 20); /* and may ask again */
    assert_int_equal(w.feed_answers, refused + 2 + 32 + 1);
}

static void a_gateway_is_told_of_once_a_second_by_its_certificate(void **state)
{
    const struct feed_server servers[] = {{"nginx", 1, 1732280000}};
    const struct sts_caller caller = gateway_of(7), stranger = gateway_of(8);
    struct status_row expected;

    (void)state;
    w.ms = 5000;
    expected = row_of(7, CERT_GOOD, 0);
    apply(expected);
    for (int i = 0; i < 3; i++)
        decider_heard(w.d, &caller, w.seq, servers, 1);
    assert_int_equal(w.gateways, 1);
    assert_int_equal(w.gateway.issuer, ROOT);
    assert_true(bytes_equal(BYTES(w.gateway.serial, w.gateway.serial_len), BYTES(expected.serial, expected.serial_len)));
    assert_int_equal(w.gateway.seq, w.seq);
    assert_int_equal(w.gateway.servers_n, 1);
    assert_string_equal(w.gateway.server[0].name, "nginx");
    w.ms += 1000;
    decider_heard(w.d, &caller, w.seq + 1, servers, 1); /* of another log */
    decider_heard(w.d, &stranger, w.seq, servers, 1);
    decider_heard(w.d, &local, w.seq, servers, 1);
    assert_int_equal(w.gateways, 1);
    decider_heard(w.d, &caller, w.seq, NULL, 0);
    assert_int_equal(w.gateways, 2);
    assert_int_equal(w.gateway.servers_n, 0);
}

static void many_changes_come_in_several_answers_without_a_gap(void **state)
{
    uint64_t at = 0;
    size_t rows = 0, answers = 0;

    (void)state;
    for (uint64_t n = 2; n < 1502; n++)
        unit(n);
    decider_current(w.d, w.seq);
    while (at < w.seq) {
        AUTO_BUF json = BUF_INIT(1 << 20);

        changes_after(at, 0);
        signer_works();
        payload_of(&json);
        assert_int_equal(number_in((char *)json.p, "\"after\":"), at);
        assert_true(number_in((char *)json.p, "\"seq\":") > at);
        at = number_in((char *)json.p, "\"seq\":");
        rows += rows_in((char *)json.p);
        answers++;
    }
    assert_int_equal(rows, 1500);
    assert_true(answers > 1 && answers < 20);
    assert_int_equal(w.feed_answers, answers);
}

static void what_is_no_longer_kept_is_not_found(void **state)
{
    (void)state;
    for (uint64_t n = 2; n < 5100; n++)
        unit(n);
    changes_after(w.seq - 5001, 0);
    assert_int_equal(w.feed_code, E_NOT_FOUND);
    changes_after(w.seq + 1, 0);
    assert_int_equal(w.feed_code, E_NOT_FOUND);
    changes_after(w.seq - 5000, 0);
    signer_works();
    assert_int_equal(w.feed_code, E_OK);
}

static void those_who_wait_share_one_signature(void **state)
{
    AUTO_BUF json = BUF_INIT(1 << 20);
    int other;

    (void)state;
    unit(7);
    changes_after(w.seq, 20);
    changes_after(w.seq, 20);
    feed_get_changes(decider_feed(w.d), &other, 1, &local, w.seq, 20);
    assert_int_equal(w.queued, 0);
    decider_forget_owner(w.d, &other);
    apply(row_of(7, CERT_ON_HOLD, 7));
    assert_int_equal(w.signatures, 1);
    signer_works();
    assert_int_equal(w.feed_answers, 2);
    payload_of(&json);
    assert_non_null(strstr((char *)json.p, "on_hold"));
    assert_int_equal(rows_in((char *)json.p), 1);
}

static void nothing_new_is_a_heartbeat_with_the_cores_time(void **state)
{
    AUTO_BUF json = BUF_INIT(1 << 20);

    (void)state;
    unit(7);
    decider_current(w.d, w.seq);
    changes_after(w.seq, 5);
    w.ms += 4900;
    decider_tick(w.d);
    assert_int_equal(w.queued, 0);
    w.ms += 200;
    decider_tick(w.d);
    signer_works();
    payload_of(&json);
    assert_int_equal(rows_in((char *)json.p), 0);
    assert_int_equal(number_in((char *)json.p, "\"time\":"), NOW);
    assert_int_equal(number_in((char *)json.p, "\"seq\":"), w.seq);
}

static void a_change_of_a_device_concerns_all_its_certificates(void **state)
{
    AUTO_BUF json = BUF_INIT(1 << 20);
    struct status_row r = {.device = 7, .device_state = DEVICE_QUARANTINED, .time = NOW};

    (void)state;
    tell_device(7, DEVICE_IN_SERVICE);
    apply(row_of(7, CERT_GOOD, 7));
    apply(row_of(8, CERT_GOOD, 7));
    unit(9);
    tell_device(7, DEVICE_QUARANTINED);
    r.seq = ++w.seq;
    apply(r);
    changes_after(w.seq - 1, 0);
    signer_works();
    payload_of(&json);
    assert_int_equal(rows_in((char *)json.p), 2);
    assert_non_null(strstr((char *)json.p, "quarantined\\tupdate-only"));
    for (uint64_t n = 100; n < 600; n++)
        apply(row_of(n, CERT_GOOD, 7));
    tell_device(7, DEVICE_IN_SERVICE);
    r.seq = ++w.seq;
    apply(r);
    changes_after(w.seq - 1, 0); /* five hundred certificates do not fit into an answer */
    assert_int_equal(w.feed_code, E_NOT_FOUND);
}

static void a_snapshot_is_whole_and_sorted(void **state)
{
    struct bytes text;
    struct feed_jws j;
    struct feed_cert before = {0};
    AUTO_BUF payload = BUF_INIT(1 << 20);
    const uint8_t *lf, *p;
    uint8_t hash[32];
    char hex[65];
    size_t lines = 0;
    struct err e = {0};

    (void)state;
    for (uint64_t n = 2; n < 4002; n++)
        unit(n);
    decider_current(w.d, w.seq);
    feed_get_snapshot(decider_feed(w.d), &w, 1, &local);
    unit(5000); /* while it is made */
    apply(row_of(17, CERT_REVOKED, 17));
    loop_runs();
    signer_works();
    assert_int_equal(w.feed_code, E_OK);
    assert_int_equal(w.feed_answers, 1);
    assert_int_equal(fd_map(w.fd, 1 << 24, &text, &e), E_OK);
    lf = memchr(text.p, '\n', text.len);
    assert_non_null(lf);
    if (feed_jws_read(BYTES(text.p, (size_t)(lf - text.p)), FEED_SNAPSHOT_TYP, &j, &e) != E_OK || jws_verify(&j.jws, w.key, &e) != E_OK ||
        jws_payload(&j.jws, &payload, &e) != E_OK)
        fail_msg("%s", e.msg);
    feed_jws_clear(&j);
    buf_add_u8(&payload, 0);
    assert_int_equal(number_in((char *)payload.p, "\"seq\":"), 4000);
    assert_int_equal(number_in((char *)payload.p, "\"count\":"), 4000);
    assert_non_null(strstr((char *)payload.p, "\"ledger\":\"" LEDGER "\""));
    sha256(BYTES(lf + 1, (size_t)(text.p + text.len - lf - 1)), hash);
    hex_encode(hash, 32, hex);
    assert_non_null(strstr((char *)payload.p, hex));
    for (p = lf + 1; p < text.p + text.len; p = lf + 1, lines++) {
        struct feed_cert c;

        lf = memchr(p, '\n', (size_t)(text.p + text.len - p));
        assert_non_null(lf);
        if (feed_cert_read(BYTES(p, (size_t)(lf - p)), &c, &e) != E_OK)
            fail_msg("%s", e.msg);
        assert_true(lines == 0 || feed_cert_order(&before, &c) < 0);
        before = c;
    }
    assert_int_equal(lines, 4000);
    fd_unmap(text);
    feed_get_snapshot(decider_feed(w.d), &w, 2, &local); /* the same one serves for a minute */
    assert_int_equal(w.feed_answers, 2);
    assert_int_equal(w.signatures, 1);
    w.ms += 61000;
    feed_get_snapshot(decider_feed(w.d), &w, 3, &local);
    loop_runs();
    signer_works();
    assert_int_equal(w.signatures, 2);
    assert_int_equal(w.feed_answers, 3);
}

static void without_a_key_there_is_no_feed(void **state)
{
    struct follow_feed_key none = {0};
    struct err e;

    (void)state;
    unit(7);
    assert_int_equal(feed_set_key(decider_feed(w.d), &none, &e), E_OK);
    changes_after(w.seq, 0);
    assert_int_equal(w.feed_code, E_BUSY);
    feed_get_snapshot(decider_feed(w.d), &w, 1, &local);
    assert_int_equal(w.feed_code, E_BUSY);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, world, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(nothing_is_decided_before_the_core_says_it_is_everything),
        IN_WORLD(what_is_not_known_may_be_on_its_way),
        IN_WORLD(without_the_core_what_is_not_known_is_denied),
        IN_WORLD(how_old_the_data_is_counts_from_the_cores_word),
        IN_WORLD(a_lost_device_is_told_once_an_hour),
        IN_WORLD(a_gateway_is_told_of_once_a_second_by_its_certificate),
        IN_WORLD(one_gateway_does_not_take_the_places_of_the_others),
        IN_WORLD(the_table_comes_back_from_the_replica),
        IN_WORLD(what_ended_a_month_ago_goes_and_comes_back_when_the_clock_was_wrong),
        IN_WORLD(a_replica_that_is_being_built_decides_nothing),
        IN_WORLD(many_changes_come_in_several_answers_without_a_gap),
        IN_WORLD(what_is_no_longer_kept_is_not_found),
        IN_WORLD(those_who_wait_share_one_signature),
        IN_WORLD(nothing_new_is_a_heartbeat_with_the_cores_time),
        IN_WORLD(a_change_of_a_device_concerns_all_its_certificates),
        IN_WORLD(a_snapshot_is_whole_and_sorted),
        IN_WORLD(without_a_key_there_is_no_feed),
    };

    return cmocka_run_group_tests_name("decider", tests, NULL, NULL);
}
