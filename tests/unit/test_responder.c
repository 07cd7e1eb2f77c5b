/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OCSP responder on a real replica. The test plays the process around it: it holds the responder keys, gives the
 * core's answers and moves the clock. Names in brackets are boxes of the OCSP checklist (docs/status.md).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "base/auto.h"
#include "base/log.h"
#include "ca/ocsp.h"
#include "ca/responder.h"
#include "tests/lib/derb.h"
#include "tests/lib/ocsp_world.h"

#define ANSWERS_MAX 512
#define SIGNING_MAX 512
#define VALIDITY    3600
#define FLEET       1
#define MAKER       2
#define SILENT      3

static const uint8_t GOOD[] = {0x11, 0x22}, REVOKED[] = {0x33, 0x44}, HELD[] = {0x55, 0x66}, NEVER[] = {0x77, 0x01};

struct answer {
    void *owner;
    uint64_t id;
    struct sts_ocsp_result r;
    uint8_t octets[4096];
};

struct signing {
    char key[ID_MAX_LEN * 2 + 1];
    uint8_t tbs[8192];
    size_t tbs_len;
    signer_done_fn done;
    void *arg;
};

/* The process around the responder. */
static struct {
    char dir[256];
    struct world_ca fleet, maker, silent;
    struct replica *replica;
    struct responder *r;
    time_t start, now;
    int64_t mono;
    bool core, keys_ready;
    uint64_t asked; /* newest ask id */
    size_t asks;
    enum err_code sign_code; /* of the call itself */
    struct signing signing[SIGNING_MAX];
    size_t signing_n, signed_n;
    struct answer answers[ANSWERS_MAX];
    size_t answers_n;
    bool replica_bad;
    uint64_t next_id;
} w;

static time_t hook_now(void *arg)
{
    (void)arg;
    return w.now;
}

static int64_t hook_mono(void *arg)
{
    (void)arg;
    return w.mono;
}

static bool hook_ask(void *arg, uint64_t id)
{
    (void)arg;
    if (!w.core)
        return false;
    w.asked = id;
    w.asks++;
    return true;
}

static bool hook_key_ready(void *arg, const char *token, const char *key)
{
    (void)arg, (void)key;
    assert_string_equal(token, "ocsp-token");
    return w.keys_ready;
}

static enum err_code hook_sign(void *arg, const char *token, const char *key, struct bytes tbs, uint32_t deadline_ms,
                               signer_done_fn done, void *done_arg, struct err *e)
{
    struct signing *s = &w.signing[w.signing_n];

    (void)arg;
    assert_string_equal(token, "ocsp-token");
    assert_true(deadline_ms > 0);
    if (w.sign_code != E_OK)
        return err_set(e, w.sign_code, "as the test wants");
    assert_true(w.signing_n < SIGNING_MAX && tbs.len <= sizeof(s->tbs));
    snprintf(s->key, sizeof(s->key), "%s", key);
    memcpy(s->tbs, tbs.p, tbs.len);
    s->tbs_len = tbs.len;
    s->done = done;
    s->arg = done_arg;
    w.signing_n++;
    return E_OK;
}

static void hook_answer(void *arg, void *owner, uint64_t id, const struct sts_ocsp_result *result)
{
    struct answer *a = &w.answers[w.answers_n++];

    (void)arg;
    assert_true(w.answers_n <= ANSWERS_MAX && result->response.len <= sizeof(a->octets));
    a->owner = owner;
    a->id = id;
    a->r = *result;
    memcpy(a->octets, result->response.p, result->response.len);
    a->r.response.p = a->octets;
}

static void hook_replica_bad(void *arg, const struct err *e)
{
    (void)arg, (void)e;
    w.replica_bad = true;
}

static struct responder_limits limits_default(void)
{
    return (struct responder_limits){
        .live_rate = 1000,
        .nonce_in_flight = 8,
        .unknown_in_flight = 8,
        .jobs_max = 100,
        .waiters_max = 200,
        .signing_max = 100,
        .cache_max = 100,
    };
}

static struct follow_issuer issuer_of(uint32_t id, const char *name, struct world_ca *ca, bool responds)
{
    struct follow_issuer f = {.id = id, .responds = responds, .validity_s = VALIDITY};

    snprintf(f.name, sizeof(f.name), "%s", name);
    f.subject = BYTES(ca->subject, ca->subject_len);
    f.spki = BYTES(ca->spki, ca->spki_len);
    if (!responds)
        return f;
    snprintf(f.token, sizeof(f.token), "ocsp-token");
    snprintf(f.key, sizeof(f.key), "ocsp/%s/1", name);
    f.key_cka_id = BYTES("0123456789abcdef", 16);
    f.key_spki = BYTES(ca->ocsp_spki, ca->ocsp_spki_len);
    f.responder_cert = BYTES(ca->ocsp_der, ca->ocsp_der_len);
    f.responder_not_before = w.start - 3600;
    f.responder_not_after = w.start + 30L * 86400;
    return f;
}

static void give_issuers(void)
{
    struct follow_issuer f;
    struct err e = {0};

    responder_issuers_begin(w.r);
    f = issuer_of(FLEET, "fleet", &w.fleet, true);
    assert_int_equal(responder_issuers_add(w.r, &f, true, &e), E_OK);
    f = issuer_of(MAKER, "maker", &w.maker, true);
    assert_int_equal(responder_issuers_add(w.r, &f, true, &e), E_OK);
    f = issuer_of(SILENT, "silent", &w.silent, false);
    assert_int_equal(responder_issuers_add(w.r, &f, false, &e), E_OK);
    responder_issuers_end(w.r);
}

static void row_at(uint32_t issuer, const uint8_t *serial, size_t len, enum cert_status status, enum crl_reason reason,
                   time_t time)
{
    struct status_row row = {.seq = replica_seq(w.replica) + 1,
                             .issuer = issuer,
                             .serial_len = (uint8_t)len,
                             .status = status,
                             .reason = reason,
                             .time = time,
                             .not_after = w.start + 86400};
    size_t refused;
    struct err e = {0};

    memcpy(row.serial, serial, len);
    assert_int_equal(replica_apply(w.replica, &row, 1, &refused, &e), E_OK);
    responder_rows_applied(w.r, &row, 1);
}

static void row(const uint8_t serial[2], enum cert_status status, enum crl_reason reason)
{
    row_at(FLEET, serial, 2, status, reason, w.now);
}

static int set_up(void **state)
{
    const struct responder_hooks hooks = {.now = hook_now,
                                          .mono_ms = hook_mono,
                                          .ask = hook_ask,
                                          .key_ready = hook_key_ready,
                                          .sign = hook_sign,
                                          .answer = hook_answer,
                                          .replica_bad = hook_replica_bad};
    struct responder_limits limits = limits_default();
    struct err why, e = {0};

    (void)state;
    memset(&w, 0, sizeof(w));
    w.start = w.now = 1800000000;
    w.mono = 1000000;
    w.core = w.keys_ready = true;
    world_ca_make(&w.fleet, "Fleet CA", w.start, NULL);
    world_ca_make(&w.maker, "Maker CA", w.start, NULL);
    world_ca_make(&w.silent, "Silent CA", w.start, NULL);
    snprintf(w.dir, sizeof(w.dir), "%s/inkan-responder-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(w.dir) || replica_open(w.dir, false, &w.replica, &why, &e) != E_OK)
        return -1;
    w.r = responder_new(w.replica, &hooks, &limits, &e);
    if (!w.r)
        return -1;
    give_issuers();
    responder_set_serving(w.r, true);
    row_at(FLEET, GOOD, 2, CERT_GOOD, REASON_UNSPECIFIED, w.start - 7200);
    row_at(FLEET, REVOKED, 2, CERT_GOOD, REASON_UNSPECIFIED, w.start - 7200);
    row_at(FLEET, REVOKED, 2, CERT_REVOKED, REASON_KEY_COMPROMISE, w.start - 3600);
    row_at(FLEET, HELD, 2, CERT_GOOD, REASON_UNSPECIFIED, w.start - 7200);
    row_at(FLEET, HELD, 2, CERT_ON_HOLD, REASON_CERTIFICATE_HOLD, w.start - 1800);
    row_at(MAKER, GOOD, 2, CERT_GOOD, REASON_UNSPECIFIED, w.start - 7200);
    return 0;
}

static int tear_down(void **state)
{
    char path[300];

    (void)state;
    responder_free(w.r);
    replica_discard(w.replica);
    replica_free(w.replica);
    snprintf(path, sizeof(path), "%s", w.dir);
    rmdir(path);
    world_ca_clear(&w.fleet);
    world_ca_clear(&w.maker);
    world_ca_clear(&w.silent);
    return 0;
}

/* ---- asking ---- */

struct request {
    uint8_t der[8192];
    size_t len;
};

static struct request request_for(const struct world_ca *ca, const EVP_MD *md, const uint8_t *serial, size_t len,
                                  size_t nonce_len)
{
    static const uint8_t nonce[200] = "nonce octets 0123456789";
    struct request q;

    q.len = world_request(ca, md, serial, len, nonce, nonce_len, q.der, sizeof(q.der));
    return q;
}

static struct request fleet_request(const uint8_t serial[2])
{
    return request_for(&w.fleet, EVP_sha1(), serial, 2, 0);
}

static uint64_t ask(const struct request *q)
{
    responder_request(w.r, &w, ++w.next_id, BYTES(q->der, q->len));
    return w.next_id;
}

/* Finishes the oldest signature as the token would. */
static void sign_one(void)
{
    struct signing s = w.signing[0];
    const bool is_fleet = strcmp(s.key, "ocsp/fleet/1") == 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    struct err none = {0};
    uint8_t sig[512];
    size_t sig_len = sizeof(sig);

    assert_true(w.signing_n > 0);
    memmove(&w.signing[0], &w.signing[1], --w.signing_n * sizeof(w.signing[0]));
    world_must(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, is_fleet ? w.fleet.ocsp_key : w.maker.ocsp_key) == 1 &&
                   EVP_DigestSign(ctx, sig, &sig_len, s.tbs, s.tbs_len) == 1,
               "sign");
    EVP_MD_CTX_free(ctx);
    w.signed_n++;
    s.done(s.arg, E_OK, &none, SIG_ECDSA_SHA256, BYTES(sig, sig_len));
}

static void fail_one(enum err_code code)
{
    struct signing s = w.signing[0];
    struct err e;

    err_set(&e, code, "as the test wants");
    memmove(&w.signing[0], &w.signing[1], --w.signing_n * sizeof(w.signing[0]));
    s.done(s.arg, code, &e, SIG_NONE, BYTES(NULL, 0));
}

static void sign_all(void)
{
    while (w.signing_n)
        sign_one();
}

static const struct answer *answer_to(uint64_t id)
{
    for (size_t i = 0; i < w.answers_n; i++)
        if (w.answers[i].id == id)
            return &w.answers[i];
    return NULL;
}

static int status_of(const struct answer *a)
{
    const uint8_t *p;
    OCSP_RESPONSE *r;
    int status;

    assert_non_null(a);
    p = a->octets;
    r = d2i_OCSP_RESPONSE(NULL, &p, (long)a->r.response.len);
    assert_non_null(r);
    status = OCSP_response_status(r);
    OCSP_RESPONSE_free(r);
    assert_true(a->r.is_error == (status != OCSP_SUCCESSFUL));
    assert_true(status == OCSP_SUCCESSFUL || !a->r.cacheable);
    if (status != OCSP_SUCCESSFUL) /* O14: nothing but the status */
        assert_int_equal(a->r.response.len, 5);
    return status;
}

static struct world_answer read_answer(const struct answer *a, const struct world_ca *ca, const struct request *q,
                                       const EVP_MD *md, const uint8_t *serial, size_t len)
{
    assert_non_null(a);
    return world_read(ca, a->r.response, BYTES(q->der, q->len), md, serial, len, w.now);
}

/* Asks, signs, reads. */
static struct world_answer question(const uint8_t serial[2])
{
    struct request q = fleet_request(serial);
    uint64_t id = ask(&q);

    sign_all();
    return read_answer(answer_to(id), &w.fleet, &q, EVP_sha1(), serial, 2);
}

static int question_status(const struct request *q)
{
    uint64_t id = ask(q);

    sign_all();
    return status_of(answer_to(id));
}

/* ---- what is said of a certificate ---- */

static void a_certificate_with_a_row_is_good(void **state) /* O1 O16 O19 O32 O33 */
{
    struct request q = fleet_request(GOOD);
    uint64_t id = ask(&q);
    const struct answer *a;
    struct world_answer v;

    (void)state;
    sign_all();
    a = answer_to(id);
    v = read_answer(a, &w.fleet, &q, EVP_sha1(), GOOD, 2);
    assert_int_equal(v.response_status, OCSP_SUCCESSFUL);
    assert_true(v.verifies);
    assert_int_equal(v.status, V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(v.produced_at, w.now);
    assert_int_equal(v.this_update, w.now - 300);
    assert_int_equal(v.next_update, w.now + VALIDITY);
    assert_int_equal(v.nonce, 2); /* O38: none asked, none sent */
    assert_true(a->r.cacheable && a->r.max_age_s == VALIDITY / 2 && a->r.seq == replica_seq(w.replica));
    assert_true(a->r.produced_at == w.now && a->r.this_update == v.this_update && a->r.next_update == v.next_update);
    assert_true(a->r.cert_n == 1 && a->r.cert[0].issuer == FLEET && a->r.cert[0].serial_len == 2);
    assert_memory_equal(a->r.cert[0].serial, GOOD, 2);
    assert_int_equal(w.asks, 0); /* a row needs no question to the core */
}

static void revocations_carry_their_time_and_reason(void **state) /* O21 O22 */
{
    static const struct {
        const char *name;
        enum cert_status status;
        enum crl_reason reason;
        int said;
    } cases[] = {
        {"keyCompromise is said", CERT_REVOKED, REASON_KEY_COMPROMISE, 1},
        {"privilegeWithdrawn is said", CERT_REVOKED, REASON_PRIVILEGE_WITHDRAWN, 9},
        {"unspecified is left out", CERT_REVOKED, REASON_UNSPECIFIED, -1},
        {"removeFromCRL is never said", CERT_REVOKED, REASON_REMOVE_FROM_CRL, -1},
        {"a hold is certificateHold", CERT_ON_HOLD, REASON_CERTIFICATE_HOLD, 6},
        {"a hold is certificateHold whatever the row says", CERT_ON_HOLD, REASON_SUPERSEDED, 6},
    };

    (void)state;
    for (uint8_t i = 0; i < ARRAY_LEN(cases); i++) {
        const uint8_t serial[2] = {0x40, i};
        struct world_answer v;

        print_message("# %s\n", cases[i].name);
        row_at(FLEET, serial, 2, CERT_GOOD, REASON_UNSPECIFIED, w.now - 5000);
        row_at(FLEET, serial, 2, cases[i].status, cases[i].reason, w.now - 1000);
        v = question(serial);
        assert_true(v.verifies);
        assert_int_equal(v.status, V_OCSP_CERTSTATUS_REVOKED);
        assert_int_equal(v.reason, cases[i].said);
        assert_int_equal(v.revoked_at, w.now - 1000);
    }
}

static void this_update_is_not_before_the_change_it_tells(void **state) /* O18 */
{
    const uint8_t fresh[2] = {0x41, 1};
    struct world_answer v;

    (void)state;
    row(GOOD, CERT_ON_HOLD, REASON_CERTIFICATE_HOLD);
    v = question(GOOD);
    assert_int_equal(v.status, V_OCSP_CERTSTATUS_REVOKED);
    assert_int_equal(v.this_update, w.now);
    w.now += 20, w.mono += 20000;
    row(GOOD, CERT_GOOD, REASON_REMOVE_FROM_CRL);
    w.now += 10, w.mono += 10000;
    v = question(GOOD);
    assert_int_equal(v.status, V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(v.this_update, w.now - 10); /* the release */
    /* issuance is no change: a client with a slow clock takes the new certificate */
    row(fresh, CERT_GOOD, REASON_UNSPECIFIED);
    v = question(fresh);
    assert_int_equal(v.this_update, w.now - 300);
}

static void a_serial_never_issued_is_unknown_once_the_core_was_asked(void **state) /* O2 O19 O45 */
{
    struct request q = fleet_request(NEVER);
    uint64_t id = ask(&q);
    struct world_answer v;

    (void)state;
    assert_int_equal(w.asks, 1);
    assert_int_equal(w.signing_n, 0);
    assert_null(answer_to(id));
    responder_core_seq(w.r, w.asked, replica_seq(w.replica));
    sign_all();
    v = read_answer(answer_to(id), &w.fleet, &q, EVP_sha1(), NEVER, 2);
    assert_true(v.verifies);
    assert_int_equal(v.status, V_OCSP_CERTSTATUS_UNKNOWN);
    assert_int_equal(v.next_update, w.now + 300);
    assert_false(answer_to(id)->r.cacheable);
    assert_int_equal(answer_to(id)->r.max_age_s, 0);
    /* and nobody keeps it */
    id = ask(&q);
    assert_int_equal(w.asks, 2);
    assert_null(answer_to(id));
}

static void a_row_that_arrives_while_the_core_is_asked_is_good(void **state)
{
    struct request q = fleet_request(NEVER);
    uint64_t id = ask(&q);

    (void)state;
    /* the core is one row ahead: its answer alone proves nothing yet */
    responder_core_seq(w.r, w.asked, replica_seq(w.replica) + 1);
    assert_int_equal(w.signing_n, 0);
    row(NEVER, CERT_GOOD, REASON_UNSPECIFIED);
    sign_all();
    assert_int_equal(read_answer(answer_to(id), &w.fleet, &q, EVP_sha1(), NEVER, 2).status, V_OCSP_CERTSTATUS_GOOD);
}

static void a_question_already_on_its_way_does_not_serve_a_later_request(void **state)
{
    const uint8_t other[2] = {0x77, 2};
    struct request q1 = fleet_request(NEVER), q2 = fleet_request(other);
    uint64_t first = ask(&q1), first_ask = w.asked, second = ask(&q2);

    (void)state;
    assert_int_equal(w.asks, 1);
    responder_core_seq(w.r, first_ask, replica_seq(w.replica));
    assert_int_equal(w.asks, 2); /* asked again for the second */
    sign_all();
    assert_non_null(answer_to(first));
    assert_null(answer_to(second));
    responder_core_seq(w.r, first_ask, replica_seq(w.replica)); /* an old answer is none */
    assert_int_equal(w.signing_n, 0);
    responder_core_seq(w.r, w.asked, replica_seq(w.replica));
    sign_all();
    assert_int_equal(status_of(answer_to(second)), OCSP_SUCCESSFUL);
}

static void without_a_core_known_rows_are_answered_and_unknown_is_not(void **state) /* O12 */
{
    struct request q = fleet_request(NEVER);
    uint64_t waiting;

    (void)state;
    waiting = ask(&q);
    w.core = false;
    responder_core_lost(w.r);
    assert_int_equal(status_of(answer_to(waiting)), OCSP_TRY_LATER);
    assert_int_equal(question_status(&q), OCSP_TRY_LATER);
    assert_int_equal(question(REVOKED).status, V_OCSP_CERTSTATUS_REVOKED);
    assert_int_equal(question(GOOD).status, V_OCSP_CERTSTATUS_GOOD);
}

static void a_core_that_does_not_answer_means_try_later(void **state)
{
    struct request q = fleet_request(NEVER);
    uint64_t id = ask(&q);

    (void)state;
    w.mono += RESPONDER_DEADLINE_MS - 1;
    responder_tick(w.r);
    assert_null(answer_to(id));
    w.mono += 1;
    responder_tick(w.r);
    assert_int_equal(status_of(answer_to(id)), OCSP_TRY_LATER);
    assert_int_equal(responder_pending(w.r), 0);
}

static void with_the_switch_a_serial_never_issued_is_revoked_since_1970(void **state) /* O3 */
{
    struct responder_limits l = limits_default();
    struct request q = fleet_request(NEVER);
    const struct answer *a;
    struct world_answer v;
    OCSP_BASICRESP *basic;
    OCSP_RESPONSE *r;
    const uint8_t *p;
    uint64_t id;

    (void)state;
    l.unissued_revoked = true;
    responder_set_limits(w.r, &l);
    id = ask(&q);
    responder_core_seq(w.r, w.asked, replica_seq(w.replica));
    sign_all();
    a = answer_to(id);
    v = read_answer(a, &w.fleet, &q, EVP_sha1(), NEVER, 2);
    assert_true(v.verifies);
    assert_true(v.status == V_OCSP_CERTSTATUS_REVOKED && v.reason == 6 && v.revoked_at == 0);
    assert_false(a->r.cacheable);
    p = a->octets;
    r = d2i_OCSP_RESPONSE(NULL, &p, (long)a->r.response.len);
    basic = OCSP_response_get1_basic(r);
    {
        ASN1_OBJECT *oid = OBJ_txt2obj("1.3.6.1.5.5.7.48.1.9", 1);
        int at = OCSP_BASICRESP_get_ext_by_OBJ(basic, oid, -1);

        assert_true(at >= 0);
        assert_false(X509_EXTENSION_get_critical(OCSP_BASICRESP_get_ext(basic, at)));
        ASN1_OBJECT_free(oid);
    }
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(r);
    /* a certificate with a row stays what it is, without the extension */
    assert_int_equal(question(GOOD).status, V_OCSP_CERTSTATUS_GOOD);
}

/* ---- requests that are refused or odd ---- */

/* A request for two certificates. */
static struct request two(const struct world_ca *a, const EVP_MD *md_a, const struct world_ca *b, const EVP_MD *md_b)
{
    OCSP_REQUEST *req = OCSP_REQUEST_new();
    struct request q;
    uint8_t *p = q.der;

    OCSP_request_add0_id(req, world_cert_id(a, md_a, GOOD, 2));
    OCSP_request_add0_id(req, world_cert_id(b, md_b, GOOD, 2));
    q.len = (size_t)i2d_OCSP_REQUEST(req, &p);
    OCSP_REQUEST_free(req);
    return q;
}

static struct request many(int n)
{
    OCSP_REQUEST *req = OCSP_REQUEST_new();
    struct request q;
    uint8_t *p = q.der;

    for (int i = 0; i < n; i++)
        OCSP_request_add0_id(req, world_cert_id(&w.fleet, EVP_sha1(), i % 2 ? GOOD : REVOKED, 2));
    q.len = (size_t)i2d_OCSP_REQUEST(req, &p);
    OCSP_REQUEST_free(req);
    return q;
}

static void requests_we_cannot_speak_for_are_unauthorized(void **state) /* O4 O5 O14 */
{
    struct world_ca stranger, mixed = w.fleet;
    struct request q;

    (void)state;
    world_ca_make(&stranger, "Fleet CA", w.start, NULL); /* our name, another key */
    q = request_for(&stranger, EVP_sha1(), GOOD, 2, 0);
    assert_int_equal(question_status(&q), OCSP_UNAUTHORIZED);
    world_ca_clear(&stranger);

    mixed.cert = w.maker.cert; /* both of ours, but of two issuers */
    q = request_for(&w.silent, EVP_sha1(), GOOD, 2, 0);
    assert_int_equal(question_status(&q), OCSP_UNAUTHORIZED);
    q = two(&w.fleet, EVP_sha1(), &w.maker, EVP_sha1());
    assert_int_equal(question_status(&q), OCSP_UNAUTHORIZED);
    q = request_for(&w.fleet, EVP_md5(), GOOD, 2, 0);
    assert_int_equal(question_status(&q), OCSP_UNAUTHORIZED);
    q = request_for(&w.fleet, EVP_sha224(), GOOD, 2, 0);
    assert_int_equal(question_status(&q), OCSP_UNAUTHORIZED);
    assert_int_equal(w.signed_n, 0);
    q = request_for(&mixed, EVP_sha1(), GOOD, 2, 0); /* the neighbour: the maker's own */
    assert_int_equal(question_status(&q), OCSP_SUCCESSFUL);
}

/* A request with one CertID of our fleet, its parts written out. */
static struct request written(const char *alg, const char *serial, size_t cut_hash)
{
    OCSP_CERTID *id = world_cert_id(&w.fleet, EVP_sha1(), GOOD, 2);
    ASN1_OCTET_STRING *name, *key;
    char name_hex[64], key_hex[64], text[512];
    struct derb_vars vars = {0};
    struct request q;

    OCSP_id_get0_info(&name, NULL, &key, NULL, id);
    hex_encode(name->data, (size_t)name->length, name_hex);
    hex_encode(key->data, (size_t)key->length - cut_hash, key_hex);
    snprintf(text, sizeof(text), "30{ 30{ 30{ 30{ 30{ %s 04{%s} 04{%s} %s } } } } }", alg, name_hex, key_hex, serial);
    q.len = derb(q.der, sizeof(q.der), &vars, text);
    OCSP_CERTID_free(id);
    return q;
}

#define SHA1_NULL   "30{06{2b0e03021a} 05{}}"
#define SHA1_ABSENT "30{06{2b0e03021a}}"

static void hashes_of_the_wrong_length_are_unauthorized(void **state) /* O4 */
{
    struct request q = written(SHA1_NULL, "02{1122}", 1);

    (void)state;
    assert_int_equal(question_status(&q), OCSP_UNAUTHORIZED);
    q = written(SHA1_NULL, "02{1122}", 0);
    assert_int_equal(question_status(&q), OCSP_SUCCESSFUL);
}

static void the_hash_parameters_may_be_null_or_absent_and_come_back_as_sent(void **state) /* O8 O9 */
{
    static const char *const algs[] = {SHA1_NULL, SHA1_ABSENT};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct request q = written(algs[i], "02{1122}", 0);
        uint64_t id = ask(&q);
        const uint8_t *cert_id = q.der + 8; /* four SEQUENCE headers of two octets and the Request's */
        bool found = false;

        sign_all();
        assert_int_equal(status_of(answer_to(id)), OCSP_SUCCESSFUL);
        for (size_t at = 0; at + (q.len - 8) <= answer_to(id)->r.response.len && !found; at++)
            found = memcmp(answer_to(id)->octets + at, cert_id, q.len - 8) == 0;
        assert_true(found);
    }
    assert_int_equal(w.signed_n, 2); /* the kept answer of one form does not serve the other */
}

static void every_hash_of_the_list_is_understood(void **state) /* O9 */
{
    const EVP_MD *mds[] = {EVP_sha1(), EVP_sha256(), EVP_sha384(), EVP_sha512()};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(mds); i++) {
        struct request q = request_for(&w.fleet, mds[i], REVOKED, 2, 0);
        uint64_t id = ask(&q);
        struct world_answer v;

        sign_all();
        v = read_answer(answer_to(id), &w.fleet, &q, mds[i], REVOKED, 2);
        assert_true(v.verifies && v.status == V_OCSP_CERTSTATUS_REVOKED);
    }
}

static void one_issuer_under_two_hashes_counts_once(void **state) /* O5 O6 */
{
    struct request q = two(&w.fleet, EVP_sha1(), &w.fleet, EVP_sha256());
    uint64_t id = ask(&q);

    (void)state;
    sign_all();
    assert_int_equal(read_answer(answer_to(id), &w.fleet, &q, EVP_sha1(), GOOD, 2).status, V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(read_answer(answer_to(id), &w.fleet, &q, EVP_sha256(), GOOD, 2).status, V_OCSP_CERTSTATUS_GOOD);
    assert_int_equal(read_answer(answer_to(id), &w.fleet, &q, EVP_sha1(), GOOD, 2).singles, 2);
}

static void up_to_sixteen_certificates_are_answered_in_one(void **state) /* O6 */
{
    struct request q = many(16);
    uint64_t id = ask(&q);
    struct world_answer v;

    (void)state;
    sign_all();
    v = read_answer(answer_to(id), &w.fleet, &q, EVP_sha1(), REVOKED, 2);
    assert_true(v.verifies && v.singles == 16 && v.status == V_OCSP_CERTSTATUS_REVOKED);
    assert_int_equal(answer_to(id)->r.cert_n, 16);
    q = many(17);
    assert_int_equal(question_status(&q), OCSP_MALFORMED_REQUEST);
}

static void serials_that_cannot_be_ours_are_unknown_without_asking(void **state) /* O10 */
{
    static const struct {
        const char *name, *serial;
        int status; /* of the response */
    } cases[] = {
        {"negative", "02{8001}", OCSP_SUCCESSFUL},
        {"zero", "02{00}", OCSP_SUCCESSFUL},
        {"21 octets", "02{7f *20{11}}", OCSP_SUCCESSFUL},
        {"empty", "02{}", OCSP_MALFORMED_REQUEST},
        {"not minimal", "02{001122}", OCSP_MALFORMED_REQUEST},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct request q = written(SHA1_NULL, cases[i].serial, 0);
        uint64_t id = ask(&q);

        print_message("# %s\n", cases[i].name);
        sign_all();
        assert_int_equal(status_of(answer_to(id)), cases[i].status);
        if (cases[i].status == OCSP_SUCCESSFUL) {
            assert_false(answer_to(id)->r.cacheable);
            assert_int_equal(answer_to(id)->r.cert_n, 0);
        }
    }
    assert_int_equal(w.asks, 0);
}

static void a_serial_with_its_high_bit_set_is_found(void **state) /* O10 */
{
    const uint8_t high[2] = {0x81, 0x02};
    struct request q;

    (void)state;
    row(high, CERT_REVOKED, REASON_SUPERSEDED);
    q = fleet_request(high); /* 02 03 00 81 02 */
    assert_int_equal(question_status(&q), OCSP_SUCCESSFUL);
    assert_int_equal(w.asks, 0);
}

static void broken_requests_are_malformed_and_good_ones_follow(void **state) /* O36 O47 */
{
    struct request q = fleet_request(GOOD), bad;

    (void)state;
    for (size_t n = 0; n < q.len; n++) {
        bad = q;
        bad.len = n;
        assert_int_equal(question_status(&bad), OCSP_MALFORMED_REQUEST);
        w.answers_n = 0;
    }
    bad = q;
    bad.der[bad.len++] = 0;
    assert_int_equal(question_status(&bad), OCSP_MALFORMED_REQUEST);
    bad = request_for(&w.fleet, EVP_sha1(), GOOD, 2, 129);
    assert_int_equal(question_status(&bad), OCSP_MALFORMED_REQUEST);
    memset(bad.der, 0x30, sizeof(bad.der));
    bad.len = OCSP_REQUEST_MAX + 1;
    assert_int_equal(question_status(&bad), OCSP_MALFORMED_REQUEST);
    assert_int_equal(question(GOOD).status, V_OCSP_CERTSTATUS_GOOD);
}

static void every_flipped_bit_gets_an_answer(void **state) /* O47 */
{
    struct request q = request_for(&w.fleet, EVP_sha256(), GOOD, 2, 16);

    (void)state;
    for (size_t n = 0; n < q.len * 8; n++) {
        struct request bad = q;
        uint64_t id;

        bad.der[n / 8] ^= (uint8_t)(1u << (n % 8));
        w.answers_n = 0;
        w.mono += 1000;
        id = ask(&bad);
        if (w.asks) {
            responder_core_seq(w.r, w.asked, replica_seq(w.replica));
            w.asks = 0;
        }
        sign_all();
        (void)status_of(answer_to(id));
    }
    assert_int_equal(responder_pending(w.r), 0);
}

/* ---- nonces ---- */

static void nonces_are_echoed_and_signed_live(void **state) /* O35 O37 O38 */
{
    static const size_t lens[] = {1, 15, 16, 32, 33, 128};

    (void)state;
    (void)question(GOOD); /* a kept answer does not serve a nonce */
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct request q = request_for(&w.fleet, EVP_sha1(), GOOD, 2, lens[i]);
        uint64_t id = ask(&q);
        struct world_answer v;

        assert_int_equal(w.signing_n, 1);
        sign_all();
        v = read_answer(answer_to(id), &w.fleet, &q, EVP_sha1(), GOOD, 2);
        assert_true(v.verifies);
        assert_int_equal(v.nonce, 1);
        assert_false(answer_to(id)->r.cacheable);
    }
}

static void a_full_nonce_lane_refuses_only_nonces(void **state) /* O40 */
{
    struct request q = request_for(&w.fleet, EVP_sha1(), GOOD, 2, 16), plain = fleet_request(REVOKED);
    uint64_t last = 0, other;

    (void)state;
    for (int i = 0; i < 8; i++)
        last = ask(&q);
    assert_null(answer_to(last));
    assert_int_equal(status_of(answer_to(ask(&q))), OCSP_TRY_LATER);
    other = ask(&plain);
    assert_null(answer_to(other));
    sign_all();
    assert_int_equal(status_of(answer_to(last)), OCSP_SUCCESSFUL);
    assert_int_equal(status_of(answer_to(other)), OCSP_SUCCESSFUL);
    assert_int_equal(question_status(&q), OCSP_SUCCESSFUL);
}

static void the_nonce_rate_is_kept(void **state) /* O40 */
{
    struct responder_limits l = limits_default();
    struct request q = request_for(&w.fleet, EVP_sha1(), GOOD, 2, 16);

    (void)state;
    l.live_rate = 2;
    responder_set_limits(w.r, &l);
    w.mono += 5000;
    assert_int_equal(question_status(&q), OCSP_SUCCESSFUL);
    assert_int_equal(question_status(&q), OCSP_SUCCESSFUL);
    assert_int_equal(question_status(&q), OCSP_TRY_LATER);
    assert_int_equal(question(REVOKED).status, V_OCSP_CERTSTATUS_REVOKED);
    w.mono += 499;
    assert_int_equal(question_status(&q), OCSP_TRY_LATER);
    w.mono += 1;
    assert_int_equal(question_status(&q), OCSP_SUCCESSFUL);
    assert_int_equal(question_status(&q), OCSP_TRY_LATER);
}

static void a_flood_of_unknown_serials_leaves_room_for_known_ones(void **state)
{
    uint64_t last = 0;

    (void)state;
    for (uint8_t i = 0; i < 9; i++) {
        const uint8_t serial[2] = {0x70, i};
        struct request q = fleet_request(serial);

        last = ask(&q);
    }
    assert_int_equal(status_of(answer_to(last)), OCSP_TRY_LATER);
    assert_int_equal(question(GOOD).status, V_OCSP_CERTSTATUS_GOOD);
}

static void a_flood_of_serials_that_cannot_be_ours_leaves_room_for_known_ones(void **state)
{
    uint64_t last = 0;

    (void)state;
    for (int i = 0; i < 9; i++) {
        char serial[16];
        struct request q;

        snprintf(serial, sizeof serial, "02{80%02x}", i);
        q = written(SHA1_NULL, serial, 0);
        last = ask(&q);
    }
    assert_int_equal(w.signing_n, 8);
    assert_int_equal(status_of(answer_to(last)), OCSP_TRY_LATER);
    assert_int_equal(question(GOOD).status, V_OCSP_CERTSTATUS_GOOD);
}

static void a_flood_of_lists_leaves_room_for_single_certificates(void **state)
{
    uint64_t last = 0;

    (void)state;
    for (unsigned n = 2; n <= 10; n++) {
        struct request q = many(n);

        last = ask(&q);
    }
    assert_int_equal(w.signing_n, 8);
    assert_int_equal(status_of(answer_to(last)), OCSP_TRY_LATER);
    assert_int_equal(question(GOOD).status, V_OCSP_CERTSTATUS_GOOD);
}

/* ---- kept and shared answers ---- */

static void a_kept_answer_is_given_again_until_half_its_life(void **state) /* O44 */
{
    struct request q = fleet_request(GOOD);
    uint64_t first = ask(&q), again;

    (void)state;
    sign_all();
    w.now += VALIDITY / 2 - 1, w.mono += (VALIDITY / 2 - 1) * 1000;
    again = ask(&q);
    assert_int_equal(w.signing_n, 0);
    assert_true(bytes_equal(answer_to(first)->r.response, answer_to(again)->r.response));
    assert_true(answer_to(again)->r.cacheable && answer_to(again)->r.max_age_s == 1);
    w.now += 1, w.mono += 1000;
    ask(&q);
    assert_int_equal(w.signing_n, 1);
}

static void a_kept_answer_carries_the_seq_it_still_reflects(void **state)
{
    struct request q = fleet_request(GOOD);
    uint64_t id;

    (void)state;
    (void)question(GOOD);
    row(REVOKED, CERT_REVOKED, REASON_CA_COMPROMISE); /* about another certificate */
    id = ask(&q);
    assert_int_equal(w.signing_n, 0);
    assert_int_equal(answer_to(id)->r.seq, replica_seq(w.replica));
}

static void a_row_drops_every_kept_answer_about_its_certificate(void **state) /* O15 */
{
    const EVP_MD *mds[] = {EVP_sha1(), EVP_sha256()};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct request q = request_for(&w.fleet, mds[i], GOOD, 2, 0);

        assert_int_equal(question_status(&q), OCSP_SUCCESSFUL);
    }
    row(GOOD, CERT_REVOKED, REASON_KEY_COMPROMISE);
    for (size_t i = 0; i < 2; i++) {
        struct request q = request_for(&w.fleet, mds[i], GOOD, 2, 0);
        uint64_t id = ask(&q);

        sign_all();
        assert_int_equal(read_answer(answer_to(id), &w.fleet, &q, mds[i], GOOD, 2).status, V_OCSP_CERTSTATUS_REVOKED);
        assert_int_equal(answer_to(id)->r.seq, replica_seq(w.replica));
    }
}

static void the_same_serial_of_two_issuers_is_two_certificates(void **state) /* O30 */
{
    struct request q = request_for(&w.maker, EVP_sha1(), GOOD, 2, 0);
    uint64_t id;
    struct world_answer v;

    (void)state;
    row(GOOD, CERT_REVOKED, REASON_KEY_COMPROMISE);
    (void)question(GOOD);
    id = ask(&q);
    assert_string_equal(w.signing[0].key, "ocsp/maker/1");
    sign_all();
    v = read_answer(answer_to(id), &w.maker, &q, EVP_sha1(), GOOD, 2);
    assert_true(v.verifies && v.status == V_OCSP_CERTSTATUS_GOOD);
    assert_false(read_answer(answer_to(id), &w.fleet, &q, EVP_sha1(), GOOD, 2).verifies);
}

static void no_more_answers_are_kept_than_allowed(void **state)
{
    struct responder_limits l = limits_default();
    struct request q1 = fleet_request(GOOD), q2 = fleet_request(REVOKED), q3 = fleet_request(HELD);

    (void)state;
    l.cache_max = 2;
    responder_set_limits(w.r, &l);
    assert_int_equal(question_status(&q1), OCSP_SUCCESSFUL);
    assert_int_equal(question_status(&q2), OCSP_SUCCESSFUL);
    assert_int_equal(question_status(&q1), OCSP_SUCCESSFUL); /* used: q2 is the oldest now */
    assert_int_equal(question_status(&q3), OCSP_SUCCESSFUL);
    assert_int_equal(w.signed_n, 3);
    assert_int_equal(question_status(&q1), OCSP_SUCCESSFUL);
    assert_int_equal(w.signed_n, 3);
    assert_int_equal(question_status(&q2), OCSP_SUCCESSFUL);
    assert_int_equal(w.signed_n, 4);
}

static void identical_requests_under_way_share_one_signature(void **state)
{
    struct request q = fleet_request(GOOD), other = fleet_request(REVOKED);
    uint64_t a = ask(&q), b = ask(&q), c = ask(&other);

    (void)state;
    assert_int_equal(w.signing_n, 2);
    sign_all();
    assert_true(bytes_equal(answer_to(a)->r.response, answer_to(b)->r.response));
    assert_false(bytes_equal(answer_to(a)->r.response, answer_to(c)->r.response));
    assert_int_equal(w.answers_n, 3);
}

static void an_asker_that_is_gone_gets_nothing(void **state)
{
    struct request q = fleet_request(GOOD), u = fleet_request(NEVER);
    int owner;

    (void)state;
    responder_request(w.r, &owner, 900, BYTES(q.der, q.len));
    responder_request(w.r, &w, 901, BYTES(q.der, q.len)); /* joined by another */
    responder_request(w.r, &owner, 902, BYTES(u.der, u.len));
    responder_forget_owner(w.r, &owner);
    sign_all();
    responder_core_seq(w.r, w.asked, replica_seq(w.replica));
    sign_all();
    assert_null(answer_to(900));
    assert_non_null(answer_to(901));
    assert_null(answer_to(902));
    assert_int_equal(responder_pending(w.r), 0);
}

static void more_requests_than_allowed_are_asked_to_come_later(void **state) /* O12 */
{
    struct responder_limits l = limits_default();
    struct request q1 = fleet_request(GOOD), q2 = fleet_request(REVOKED), q3 = fleet_request(HELD);

    (void)state;
    l.jobs_max = 2;
    l.waiters_max = 3;
    responder_set_limits(w.r, &l);
    ask(&q1);
    ask(&q2);
    assert_int_equal(status_of(answer_to(ask(&q3))), OCSP_TRY_LATER);
    assert_null(answer_to(ask(&q1)));
    assert_int_equal(status_of(answer_to(ask(&q1))), OCSP_TRY_LATER);
    sign_all();
    assert_int_equal(question_status(&q3), OCSP_SUCCESSFUL);
}

static void signatures_wait_here_when_the_token_has_its_share(void **state)
{
    struct responder_limits l = limits_default();
    struct request n = request_for(&w.fleet, EVP_sha1(), HELD, 2, 16), q1 = fleet_request(GOOD),
                   q2 = fleet_request(REVOKED);
    uint64_t first, live, kept;

    (void)state;
    l.signing_max = 1;
    responder_set_limits(w.r, &l);
    first = ask(&q1);
    live = ask(&n);
    kept = ask(&q2);
    assert_int_equal(w.signing_n, 1);
    sign_one();
    assert_non_null(answer_to(first));
    assert_int_equal(w.signing_n, 1);
    sign_one(); /* what will be kept goes first */
    assert_non_null(answer_to(kept));
    assert_null(answer_to(live));
    sign_one();
    assert_non_null(answer_to(live));
}

/* ---- changes under a signature ---- */

static void a_row_that_comes_while_signing_is_in_the_answer(void **state) /* O15 */
{
    struct request q = fleet_request(GOOD);
    uint64_t id = ask(&q);
    struct world_answer v;

    (void)state;
    row(GOOD, CERT_REVOKED, REASON_KEY_COMPROMISE);
    sign_one();
    assert_null(answer_to(id)); /* the old one is not given out */
    assert_int_equal(w.signing_n, 1);
    sign_one();
    v = read_answer(answer_to(id), &w.fleet, &q, EVP_sha1(), GOOD, 2);
    assert_true(v.verifies && v.status == V_OCSP_CERTSTATUS_REVOKED);
    assert_int_equal(answer_to(id)->r.seq, replica_seq(w.replica));
}

static void a_row_about_another_certificate_does_not_cost_a_signature(void **state)
{
    struct request q = fleet_request(GOOD);
    uint64_t id = ask(&q);

    (void)state;
    row(HELD, CERT_GOOD, REASON_REMOVE_FROM_CRL);
    sign_one();
    assert_int_equal(status_of(answer_to(id)), OCSP_SUCCESSFUL);
    assert_int_equal(answer_to(id)->r.seq, replica_seq(w.replica));
}

static void a_certificate_issued_while_its_unknown_is_signed_is_good(void **state)
{
    struct request q = fleet_request(NEVER);
    uint64_t id = ask(&q);

    (void)state;
    responder_core_seq(w.r, w.asked, replica_seq(w.replica));
    assert_int_equal(w.signing_n, 1);
    row(NEVER, CERT_GOOD, REASON_UNSPECIFIED);
    sign_all();
    assert_int_equal(read_answer(answer_to(id), &w.fleet, &q, EVP_sha1(), NEVER, 2).status, V_OCSP_CERTSTATUS_GOOD);
}

static void a_certificate_that_keeps_changing_is_asked_for_later(void **state)
{
    struct request q = fleet_request(GOOD);
    uint64_t id = ask(&q);

    (void)state;
    for (int i = 0; i < 3; i++) {
        row(GOOD, i % 2 ? CERT_GOOD : CERT_ON_HOLD, i % 2 ? REASON_REMOVE_FROM_CRL : REASON_CERTIFICATE_HOLD);
        sign_one();
    }
    assert_int_equal(status_of(answer_to(id)), OCSP_TRY_LATER);
    assert_int_equal(w.signing_n, 0);
}

static void an_answer_is_not_given_when_serving_ended_meanwhile(void **state) /* O12 O49 */
{
    struct request q = fleet_request(GOOD);
    uint64_t id = ask(&q);

    (void)state;
    responder_set_serving(w.r, false);
    sign_all();
    assert_int_equal(status_of(answer_to(id)), OCSP_TRY_LATER);
    assert_int_equal(question_status(&q), OCSP_TRY_LATER);
    responder_set_serving(w.r, true);
    assert_int_equal(question_status(&q), OCSP_SUCCESSFUL);
    responder_set_serving(w.r, false); /* what was kept is not given either */
    assert_int_equal(question_status(&q), OCSP_TRY_LATER);
}

static void new_issuers_mean_a_new_signature(void **state)
{
    struct request q = fleet_request(GOOD);
    uint64_t id = ask(&q);

    (void)state;
    give_issuers();
    sign_one();
    assert_null(answer_to(id));
    sign_one();
    assert_int_equal(status_of(answer_to(id)), OCSP_SUCCESSFUL);
    assert_int_equal(w.signed_n, 2);
}

/* ---- time and keys ---- */

static void nothing_is_signed_while_the_clock_is_behind_or_ahead(void **state) /* O48 */
{
    static const struct {
        const char *name;
        long shift;
        int status;
    } cases[] = {
        {"301 seconds behind", -301, OCSP_TRY_LATER},
        {"300 seconds behind", -300, OCSP_SUCCESSFUL},
        {"an hour and a second ahead", 3601, OCSP_TRY_LATER},
        {"right again", 0, OCSP_SUCCESSFUL},
    };

    (void)state;
    (void)question(GOOD); /* a time was accepted */
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct request q = request_for(&w.fleet, EVP_sha1(), GOOD, 2, 16);

        print_message("# %s\n", cases[i].name);
        w.now = w.start + cases[i].shift;
        assert_int_equal(question_status(&q), cases[i].status);
    }
}

static void times_do_not_step_back_with_the_clock(void **state) /* O48 */
{
    struct request q = request_for(&w.fleet, EVP_sha1(), GOOD, 2, 16);
    struct world_answer first, second;
    uint64_t id = ask(&q);

    (void)state;
    sign_all();
    first = read_answer(answer_to(id), &w.fleet, &q, EVP_sha1(), GOOD, 2);
    w.now -= 200, w.mono += 1000;
    id = ask(&q);
    sign_all();
    second = read_answer(answer_to(id), &w.fleet, &q, EVP_sha1(), GOOD, 2);
    assert_true(second.verifies);
    assert_true(second.this_update >= first.this_update && second.produced_at >= first.produced_at);
    assert_true(second.this_update <= w.now);
}

static void the_floor_of_the_core_counts_and_may_be_lowered_by_it(void **state) /* O48 */
{
    struct request q = fleet_request(GOOD);

    (void)state;
    responder_core_time(w.r, w.now + 301, true);
    assert_int_equal(question_status(&q), OCSP_TRY_LATER);
    responder_core_time(w.r, w.now, true); /* another core that has seen less proves nothing */
    assert_int_equal(question_status(&q), OCSP_TRY_LATER);
    responder_core_time(w.r, w.now - 1, false);
    assert_int_equal(question_status(&q), OCSP_SUCCESSFUL);
}

static void a_responder_certificate_out_of_date_does_not_answer(void **state) /* O32 */
{
    struct request q = request_for(&w.fleet, EVP_sha1(), GOOD, 2, 16);
    const long life = 30L * 86400;
    struct world_answer v;
    uint64_t id;

    (void)state;
    w.now = w.start + life - 10;
    responder_core_time(w.r, w.now, false); /* no jump: the core saw the time pass */
    id = ask(&q);
    sign_all();
    v = read_answer(answer_to(id), &w.fleet, &q, EVP_sha1(), GOOD, 2);
    assert_true(v.verifies);
    assert_int_equal(v.next_update, w.start + life); /* O19: not after the signer's end */
    w.now += 10;
    assert_int_equal(question_status(&q), OCSP_TRY_LATER);
}

static void keys_and_certificates_that_do_not_fit_answer_later(void **state) /* O12 O29 O32 O33 */
{
    static const char *const cases[] = {
        "no responder yet",         "another key's certificate", "another CA's certificate",
        "a CA certificate instead", "another end than told",
    };
    struct request q = fleet_request(GOOD);
    struct follow_issuer f;
    uint8_t der[2048], *p;
    struct err e;

    (void)state;
    for (int i = 0; i < (int)ARRAY_LEN(cases); i++) {
        print_message("# %s\n", cases[i]);
        f = issuer_of(FLEET, "fleet", &w.fleet, i != 0);
        if (i == 1)
            f.key_spki = BYTES(w.maker.ocsp_spki, w.maker.ocsp_spki_len);
        if (i == 2) {
            f.key_spki = BYTES(w.maker.ocsp_spki, w.maker.ocsp_spki_len);
            f.responder_cert = BYTES(w.maker.ocsp_der, w.maker.ocsp_der_len);
        }
        if (i == 3) {
            p = der;
            f.responder_cert = BYTES(der, (size_t)i2d_X509(w.fleet.cert, &p));
            f.key_spki = f.spki;
            f.responder_not_before = w.start - 86400;
            f.responder_not_after = w.start + 3650L * 86400;
        }
        if (i == 4)
            f.responder_not_after++;
        responder_issuers_begin(w.r);
        assert_int_equal(responder_issuers_add(w.r, &f, true, &e), E_OK);
        responder_issuers_end(w.r);
        assert_int_equal(question_status(&q), OCSP_TRY_LATER);
    }
    give_issuers();
    w.keys_ready = false;
    assert_int_equal(question_status(&q), OCSP_TRY_LATER);
    w.keys_ready = true;
    assert_int_equal(question_status(&q), OCSP_SUCCESSFUL);
}

static void failing_tokens_mean_try_later_and_refused_objects_internal_error(void **state) /* O12 */
{
    static const struct {
        const char *name;
        enum err_code code;
        int status;
    } cases[] = {
        {"the token is busy", E_BUSY, OCSP_TRY_LATER},
        {"the token fails", E_TOKEN, OCSP_TRY_LATER},
        {"the signer refuses the object", E_INVALID, OCSP_INTERNAL_ERROR},
        {"the signature does not verify", E_CRYPTO, OCSP_INTERNAL_ERROR},
    };
    struct request q = fleet_request(GOOD);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t id = ask(&q);

        print_message("# %s\n", cases[i].name);
        fail_one(cases[i].code);
        assert_int_equal(status_of(answer_to(id)), cases[i].status);
    }
    w.sign_code = E_TOKEN;
    assert_int_equal(status_of(answer_to(ask(&q))), OCSP_TRY_LATER);
    w.sign_code = E_OK;
    assert_int_equal(question_status(&q), OCSP_SUCCESSFUL);
}

static void a_signature_that_comes_too_late_is_not_used(void **state)
{
    struct request q = request_for(&w.fleet, EVP_sha1(), GOOD, 2, 16);
    uint64_t id = ask(&q);

    (void)state;
    w.mono += RESPONDER_DEADLINE_MS;
    responder_tick(w.r);
    assert_int_equal(status_of(answer_to(id)), OCSP_TRY_LATER);
    assert_int_equal(responder_pending(w.r), 1); /* until the token lets go of it */
    sign_all();
    assert_int_equal(responder_pending(w.r), 0);
    assert_int_equal(w.answers_n, 1);
}

static void before_the_issuers_are_known_everything_is_try_later(void **state) /* O12 */
{
    const struct responder_hooks hooks = {.now = hook_now,
                                          .mono_ms = hook_mono,
                                          .ask = hook_ask,
                                          .key_ready = hook_key_ready,
                                          .sign = hook_sign,
                                          .answer = hook_answer,
                                          .replica_bad = hook_replica_bad};
    struct responder_limits limits = limits_default();
    struct request q = fleet_request(GOOD);
    struct responder *full = w.r;
    struct err e;

    (void)state;
    w.r = responder_new(w.replica, &hooks, &limits, &e);
    assert_non_null(w.r);
    assert_int_equal(question_status(&q), OCSP_TRY_LATER);
    responder_set_serving(w.r, true);
    assert_int_equal(question_status(&q), OCSP_TRY_LATER);
    q.len--;
    assert_int_equal(question_status(&q), OCSP_MALFORMED_REQUEST);
    responder_free(w.r);
    w.r = full;
}

static void ready_means_that_an_answer_can_be_signed(void **state)
{
    struct follow_issuer f = issuer_of(FLEET, "fleet", &w.fleet, true);
    struct err e;

    (void)state;
    assert_true(responder_is_able(w.r));
    w.keys_ready = false; /* a responder that was just started: its signer has not found the keys yet */
    assert_false(responder_is_able(w.r));
    w.keys_ready = true;
    w.now = (time_t)f.responder_not_after;
    assert_false(responder_is_able(w.r));
    w.now--;
    assert_true(responder_is_able(w.r));
    w.keys_ready = false;
    f.responds = false; /* before the first responder certificate, and without any: nobody is kept waiting */
    responder_issuers_begin(w.r);
    assert_int_equal(responder_issuers_add(w.r, &f, true, &e), E_OK);
    responder_issuers_end(w.r);
    assert_true(responder_is_able(w.r));
}

static void health_is_json_that_names_what_is_wrong(void **state)
{
    AUTO_BUF out = BUF_INIT(8192);

    (void)state;
    w.keys_ready = false;
    responder_health(w.r, &out);
    buf_add_u8(&out, 0);
    assert_non_null(
        strstr((char *)out.p, "\"name\":\"fleet\",\"responds\":false,\"why\":\"key not ready in its token\""));
    assert_non_null(strstr((char *)out.p, "\"why\":\"no responder configured\""));
    assert_non_null(strstr((char *)out.p, "\"clock\":\"good\""));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_certificate_with_a_row_is_good),
        T(revocations_carry_their_time_and_reason),
        T(this_update_is_not_before_the_change_it_tells),
        T(a_serial_never_issued_is_unknown_once_the_core_was_asked),
        T(a_row_that_arrives_while_the_core_is_asked_is_good),
        T(a_question_already_on_its_way_does_not_serve_a_later_request),
        T(without_a_core_known_rows_are_answered_and_unknown_is_not),
        T(a_core_that_does_not_answer_means_try_later),
        T(with_the_switch_a_serial_never_issued_is_revoked_since_1970),
        T(requests_we_cannot_speak_for_are_unauthorized),
        T(hashes_of_the_wrong_length_are_unauthorized),
        T(the_hash_parameters_may_be_null_or_absent_and_come_back_as_sent),
        T(every_hash_of_the_list_is_understood),
        T(one_issuer_under_two_hashes_counts_once),
        T(up_to_sixteen_certificates_are_answered_in_one),
        T(serials_that_cannot_be_ours_are_unknown_without_asking),
        T(a_serial_with_its_high_bit_set_is_found),
        T(broken_requests_are_malformed_and_good_ones_follow),
        T(every_flipped_bit_gets_an_answer),
        T(nonces_are_echoed_and_signed_live),
        T(a_full_nonce_lane_refuses_only_nonces),
        T(the_nonce_rate_is_kept),
        T(a_flood_of_unknown_serials_leaves_room_for_known_ones),
        T(a_flood_of_serials_that_cannot_be_ours_leaves_room_for_known_ones),
        T(a_flood_of_lists_leaves_room_for_single_certificates),
        T(a_kept_answer_is_given_again_until_half_its_life),
        T(a_kept_answer_carries_the_seq_it_still_reflects),
        T(a_row_drops_every_kept_answer_about_its_certificate),
        T(the_same_serial_of_two_issuers_is_two_certificates),
        T(no_more_answers_are_kept_than_allowed),
        T(identical_requests_under_way_share_one_signature),
        T(an_asker_that_is_gone_gets_nothing),
        T(more_requests_than_allowed_are_asked_to_come_later),
        T(signatures_wait_here_when_the_token_has_its_share),
        T(a_row_that_comes_while_signing_is_in_the_answer),
        T(a_row_about_another_certificate_does_not_cost_a_signature),
        T(a_certificate_issued_while_its_unknown_is_signed_is_good),
        T(a_certificate_that_keeps_changing_is_asked_for_later),
        T(an_answer_is_not_given_when_serving_ended_meanwhile),
        T(new_issuers_mean_a_new_signature),
        T(nothing_is_signed_while_the_clock_is_behind_or_ahead),
        T(times_do_not_step_back_with_the_clock),
        T(the_floor_of_the_core_counts_and_may_be_lowered_by_it),
        T(a_responder_certificate_out_of_date_does_not_answer),
        T(keys_and_certificates_that_do_not_fit_answer_later),
        T(failing_tokens_mean_try_later_and_refused_objects_internal_error),
        T(a_signature_that_comes_too_late_is_not_used),
        T(before_the_issuers_are_known_everything_is_try_later),
        T(ready_means_that_an_answer_can_be_signed),
        T(health_is_json_that_names_what_is_wrong),
    };
    log_setup("test", LOG_ERROR + 1);
    return cmocka_run_group_tests_name("responder", tests, NULL, NULL);
}
