/* SPDX-License-Identifier: Apache-2.0 */
/* The signer's client against a peer that the test plays over a real socket. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "hsm/signer.h"

struct world {
    struct event_base *base;
    struct signer *s;
    int peer;
    unsigned calls, gone, keys_calls, health_calls;
    enum err_code last;
    enum sig_alg last_alg;
    uint8_t sig[64];
    size_t sig_len;
    char message[512];
    struct signer_health health;
    struct err results[4];
    size_t results_n;
    bool inside;        /* the test is inside a client call */
    bool free_in_done;
};

static void on_gone(struct signer *s, void *arg)
{
    struct world *w = arg;

    assert_ptr_equal(s, w->s);
    w->gone++;
}

static int setup(void **state)
{
    static struct world w;
    struct err e = {0};
    int pair[2];

    memset(&w, 0, sizeof(w));
    w.base = event_base_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    w.peer = pair[1];
    w.s = signer_new(w.base, pair[0], "t1", on_gone, &w, &e);
    assert_non_null(w.s);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    signer_free(w->s);
    if (w->peer >= 0)
        close(w->peer);
    event_base_free(w->base);
    return 0;
}

static void run_ms(struct world *w, int ms)
{
    const struct timeval tv = {ms / 1000, (ms % 1000) * 1000};

    event_base_loopexit(w->base, &tv);
    event_base_dispatch(w->base);
}

/* Until so many calls came; a machine that is busy takes longer, and the test sees it. */
static void run_until(struct world *w, const unsigned *calls, unsigned n)
{
    for (int i = 0; *calls < n && i < 3000; i++)
        run_ms(w, 10);
    run_ms(w, 20); /* and no more than those */
}

static void on_signed(void *arg, enum err_code code, const struct err *e, enum sig_alg alg, struct bytes sig)
{
    struct world *w = arg;

    assert_false(w->inside);
    w->calls++;
    w->last = code;
    w->last_alg = alg;
    w->sig_len = sig.len < sizeof(w->sig) ? sig.len : sizeof(w->sig);
    memcpy(w->sig, sig.p ? sig.p : w->sig, w->sig_len);
    strcpy(w->message, e ? e->msg : "");
    if (w->free_in_done) {
        w->free_in_done = false;
        signer_free(w->s);
        w->s = NULL;
    }
}

static void on_keys(void *arg, const struct err *results, size_t n)
{
    struct world *w = arg;

    assert_false(w->inside);
    w->keys_calls++;
    w->results_n = n;
    for (size_t i = 0; i < n && i < ARRAY_LEN(w->results); i++)
        w->results[i] = results[i];
}

static void on_health(void *arg, const struct signer_health *h)
{
    struct world *w = arg;

    w->health_calls++;
    w->health = *h;
}

static void ask(struct world *w, const char *key, enum sign_kind kind, struct bytes tbs, uint32_t deadline_ms)
{
    struct err e = {0};

    w->inside = true;
    if (signer_sign(w->s, key, kind, tbs, deadline_ms, 0, on_signed, w, &e) != E_OK)
        fail_msg("%s", e.msg);
    w->inside = false;
}

static const uint8_t object[] = {0x30, 0x03, 0x02, 0x01, 0x05};

static uint64_t receive(struct world *w, struct buf *packet, struct msg_reader *r, int *fd)
{
    struct err e = {0};

    buf_reset(packet);
    if (msg_recv(w->peer, packet, fd, 30000, &e) != E_OK || msg_read_begin(buf_bytes(packet), r, &e) != E_OK)
        fail_msg("%s", e.msg);
    return r->request_id;
}

static void send_msg(struct world *w, struct msg *m)
{
    struct err e = {0};

    if (msg_send(w->peer, m, -1, &e) != E_OK)
        fail_msg("%s", e.msg);
    msg_clear(m);
}

static void answer_code(struct world *w, uint64_t id, enum err_code code, enum sig_alg alg, struct bytes sig)
{
    struct err e = {0};
    struct msg m;

    if (code != E_OK)
        err_set(&e, code, "refused");
    msg_begin(&m, SIGNER_SIGNED, id);
    msg_put_err(&m, &e, code);
    msg_put_u8(&m, (uint8_t)alg);
    msg_put_bytes(&m, sig);
    send_msg(w, &m);
}

static void answer(struct world *w, uint64_t id)
{
    static const uint8_t sig[] = {1, 2, 3};

    answer_code(w, id, E_OK, SIG_ECDSA_SHA256, BYTES_OF(sig));
}

/* ---- */

static void a_request_carries_its_fields_and_its_answer_comes_back_once(void **state)
{
    struct world *w = *state;
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r;
    char key[64];
    uint64_t id;

    ask(w, "fleet-ca", SIGN_CERT, BYTES_OF(object), 1234);
    assert_int_equal(signer_pending(w->s), 1);
    id = receive(w, &packet, &r, NULL);
    assert_int_equal(r.type, SIGNER_SIGN);
    msg_get_str(&r, key, sizeof(key));
    assert_string_equal(key, "fleet-ca");
    assert_int_equal(msg_get_u8(&r), SIGN_CERT);
    assert_int_equal(msg_get_u32(&r), 1234);
    assert_int_equal(msg_get_u64(&r), 0);
    assert_true(bytes_equal(msg_get_bytes(&r, 100), BYTES_OF(object)));
    assert_int_equal(msg_read_end(&r, NULL), E_OK);
    answer(w, id);
    answer(w, id); /* a second answer is dropped */
    run_until(w, &w->calls, 1);
    assert_int_equal(w->calls, 1);
    assert_int_equal(w->last, E_OK);
    assert_int_equal(w->last_alg, SIG_ECDSA_SHA256);
    assert_int_equal(w->sig_len, 3);
    assert_int_equal(signer_pending(w->s), 0);
    assert_int_equal(w->gone, 0);
}

static void answers_in_any_order_reach_their_callers(void **state)
{
    struct world *w = *state;
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r;
    uint64_t ids[1000];

    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        ask(w, "k", SIGN_CERT, BYTES_OF(object), 5000);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        run_ms(w, 0);
        ids[i] = receive(w, &packet, &r, NULL);
    }
    for (size_t i = ARRAY_LEN(ids); i-- > 0;) {
        answer(w, ids[i]);
        if (i % 50 == 0)
            run_ms(w, 5);
    }
    run_until(w, &w->calls, ARRAY_LEN(ids));
    assert_int_equal(w->calls, ARRAY_LEN(ids));
    assert_int_equal(signer_pending(w->s), 0);
}

static void a_refusal_keeps_its_code_and_is_counted_under_it(void **state)
{
    struct world *w = *state;
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct signer_stats stats = {0};
    struct msg_reader r;

    signer_measure(w->s, &stats);
    ask(w, "k", SIGN_CERT, BYTES_OF(object), 5000);
    answer_code(w, receive(w, &packet, &r, NULL), E_BUSY, SIG_NONE, (struct bytes){NULL, 0});
    run_until(w, &w->calls, 1);
    assert_int_equal(w->calls, 1);
    assert_int_equal(w->last, E_BUSY);
    assert_string_equal(w->message, "refused");
    assert_int_equal(w->sig_len, 0);
    assert_int_equal(stats.failed[E_BUSY], 1);
    assert_int_equal(stats.failed[E_TOKEN], 0);
    signer_measure(w->s, NULL);
}

static void silence_ends_at_deadline_plus_grace(void **state)
{
    struct world *w = *state;
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct signer_stats stats = {0};
    struct msg_reader r;
    int64_t began = clock_mono_ms();
    uint64_t id;

    signer_measure(w->s, &stats);
    ask(w, "k", SIGN_CERT, BYTES_OF(object), 100);
    run_until(w, &w->calls, 1);
    assert_true(clock_mono_ms() - began >= 1100);
    assert_int_equal(w->calls, 1);
    assert_int_equal(w->last, E_TOKEN);
    id = receive(w, &packet, &r, NULL);
    answer(w, id); /* too late: dropped, and the link stays */
    run_ms(w, 50);
    assert_int_equal(w->calls, 1);
    assert_int_equal(w->gone, 0);
    assert_int_equal(stats.failed[E_TOKEN], 1);
    signer_measure(w->s, NULL);
}

static void a_lost_link_answers_everything_and_then_says_gone(void **state)
{
    struct world *w = *state;
    struct err e = {0};

    for (int i = 0; i < 5; i++)
        ask(w, "k", SIGN_CERT, BYTES_OF(object), 5000);
    close(w->peer);
    w->peer = -1;
    run_until(w, &w->gone, 1);
    assert_int_equal(w->calls, 5);
    assert_int_equal(w->last, E_TOKEN);
    assert_int_equal(w->gone, 1);
    assert_int_equal(signer_sign(w->s, "k", SIGN_CERT, BYTES_OF(object), 100, 0, on_signed, w, &e), E_TOKEN);
    run_ms(w, 20);
    assert_int_equal(w->calls, 5);
}

static void freeing_answers_what_is_pending(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 3; i++)
        ask(w, "k", SIGN_CERT, BYTES_OF(object), 5000);
    signer_free(w->s);
    w->s = NULL;
    assert_int_equal(w->calls, 3);
    assert_int_equal(w->last, E_TOKEN);
    assert_int_equal(w->gone, 0);
}

static void a_callback_may_free_the_signer(void **state)
{
    struct world *w = *state;
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r;

    ask(w, "k", SIGN_CERT, BYTES_OF(object), 5000);
    ask(w, "k", SIGN_CERT, BYTES_OF(object), 5000);
    w->free_in_done = true;
    answer(w, receive(w, &packet, &r, NULL));
    run_until(w, &w->calls, 2);
    assert_int_equal(w->calls, 2);
    assert_null(w->s);
}

static void a_broken_answer_ends_the_link(void **state)
{
    static const struct {
        const char *name;
        uint16_t type;
        uint64_t id_offset;
        enum err_code code;
        uint8_t alg;
        size_t sig_len;
    } cases[] = {
        {"success without a signature", SIGNER_SIGNED, 0, E_OK, SIG_ECDSA_SHA256, 0},
        {"success without an algorithm", SIGNER_SIGNED, 0, E_OK, SIG_NONE, 3},
        {"an algorithm that is none", SIGNER_SIGNED, 0, E_OK, SIG_ALGS_COUNT, 3},
        {"failure with a signature", SIGNER_SIGNED, 0, E_TOKEN, SIG_NONE, 3},
        {"an answer nobody asked for", SIGNER_SIGNED, 100, E_OK, SIG_ECDSA_SHA256, 3},
        {"another kind of answer", SIGNER_HEALTH_RESULT, 0, E_OK, SIG_ECDSA_SHA256, 3},
        {"a request", SIGNER_SIGN, 0, E_OK, SIG_ECDSA_SHA256, 3},
    };
    static const uint8_t sig[3] = {1, 2, 3};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world *w = *state;
        AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
        struct msg_reader r;
        struct err e = {0};
        struct msg m;

        print_message("%s\n", cases[i].name);
        ask(w, "k", SIGN_CERT, BYTES_OF(object), 5000);
        msg_begin(&m, cases[i].type, receive(w, &packet, &r, NULL) + cases[i].id_offset);
        if (cases[i].code != E_OK)
            err_set(&e, cases[i].code, "refused");
        msg_put_err(&m, &e, cases[i].code);
        msg_put_u8(&m, cases[i].alg);
        msg_put_bytes(&m, BYTES(sig, cases[i].sig_len));
        send_msg(w, &m);
        run_until(w, &w->gone, 1);
        assert_int_equal(w->calls, 1);
        assert_int_equal(w->last, E_TOKEN);
        assert_int_equal(w->gone, 1);
        teardown(state);
        setup(state);
    }
}

static void a_large_crl_travels_as_a_sealed_file_and_nothing_else_may_be_large(void **state)
{
    struct world *w = *state;
    static uint8_t large[60001];
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r;
    struct err e = {0};
    struct bytes got;
    char key[64];
    int fd = -1;

    memset(large, 0x5a, sizeof(large));
    assert_int_equal(signer_sign(w->s, "k", SIGN_CERT, BYTES_OF(large), 100, 0, on_signed, w, &e), E_INVALID);
    assert_int_equal(signer_sign(w->s, "k", SIGN_CERT, (struct bytes){NULL, 0}, 100, 0, on_signed, w, &e), E_INVALID);
    ask(w, "k", SIGN_CRL, BYTES_OF(large), 5000);
    (void)receive(w, &packet, &r, &fd);
    assert_true(fd >= 0);
    msg_get_str(&r, key, sizeof(key));
    assert_int_equal(msg_get_u8(&r), SIGN_CRL);
    (void)msg_get_u32(&r);
    assert_int_equal(msg_get_u64(&r), 0);
    assert_int_equal(msg_get_bytes(&r, 10).len, 0);
    assert_int_equal(msg_read_end(&r, NULL), E_OK);
    assert_int_equal(fcntl(fd, F_GET_SEALS) & (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK),
                     F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK);
    assert_int_equal(fd_map(fd, 100000, &got, &e), E_OK);
    assert_true(bytes_equal(got, BYTES_OF(large)));
    fd_unmap(got);
    close(fd);
    ask(w, "k", SIGN_CRL, BYTES(large, 60000), 5000); /* one octet less goes inside */
    (void)receive(w, &packet, &r, &fd);
    assert_int_equal(fd, -1);
}

static void keys_and_health_come_back_to_their_callers(void **state)
{
    static const uint8_t id[16] = {1}, spki[3] = {2}, name[4] = {3};
    const struct signer_key keys[] = {
        {"a", PURPOSE_CA, BYTES_OF(id), BYTES_OF(spki), BYTES_OF(name)},
        {"b", PURPOSE_AUDIT, BYTES_OF(id), BYTES_OF(spki), {NULL, 0}},
    };
    struct world *w = *state;
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r;
    struct err fine = {0}, bad = {0};
    struct msg m;
    uint64_t id_keys;

    assert_int_equal(signer_keys(w->s, keys, 2, on_keys, w, &bad), E_OK);
    id_keys = receive(w, &packet, &r, NULL);
    assert_int_equal(r.type, SIGNER_KEYS);
    assert_int_equal(msg_get_u32(&r), 2);
    err_set(&bad, E_NOT_FOUND, "no such key");
    msg_begin(&m, SIGNER_KEYS_RESULT, id_keys);
    msg_put_u32(&m, 2);
    msg_put_err(&m, &fine, E_OK);
    msg_put_err(&m, &bad, E_NOT_FOUND);
    send_msg(w, &m);

    assert_int_equal(signer_health(w->s, on_health, w, &fine), E_OK);
    msg_begin(&m, SIGNER_HEALTH_RESULT, receive(w, &packet, &r, NULL));
    msg_put_err(&m, &fine, E_OK);
    msg_put_str(&m, "READY");
    for (int i = 1; i <= 3; i++)
        msg_put_u64(&m, (uint64_t)i);
    for (int i = 4; i <= 6; i++)
        msg_put_u32(&m, (uint32_t)i);
    send_msg(w, &m);
    run_until(w, &w->health_calls, 1);
    assert_int_equal(w->keys_calls, 1);
    assert_int_equal(w->results_n, 2);
    assert_int_equal(w->results[0].code, E_OK);
    assert_int_equal(w->results[1].code, E_NOT_FOUND);
    assert_int_equal(w->health_calls, 1);
    assert_string_equal(w->health.state, "READY");
    assert_int_equal(w->health.signed_count, 2);
    assert_int_equal(w->health.p99_us, 6);
}

static void a_lost_link_refuses_every_key(void **state)
{
    static const uint8_t id[16] = {1}, spki[3] = {2};
    const struct signer_key keys[] = {{"a", PURPOSE_AUDIT, BYTES_OF(id), BYTES_OF(spki), {NULL, 0}},
                                      {"b", PURPOSE_AUDIT, BYTES_OF(id), BYTES_OF(spki), {NULL, 0}}};
    struct world *w = *state;
    struct err e = {0};

    assert_int_equal(signer_keys(w->s, keys, 2, on_keys, w, &e), E_OK);
    assert_int_equal(signer_health(w->s, on_health, w, &e), E_OK);
    close(w->peer);
    w->peer = -1;
    run_until(w, &w->health_calls, 1);
    assert_int_equal(w->keys_calls, 1);
    assert_int_equal(w->results_n, 2);
    assert_int_equal(w->results[1].code, E_TOKEN);
    assert_int_equal(w->health_calls, 1);
    assert_int_equal(w->health.code, E_TOKEN);
    assert_string_equal(w->health.state, "UNREACHABLE");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_request_carries_its_fields_and_its_answer_comes_back_once),
        T(answers_in_any_order_reach_their_callers),
        T(a_refusal_keeps_its_code_and_is_counted_under_it),
        T(silence_ends_at_deadline_plus_grace),
        T(a_lost_link_answers_everything_and_then_says_gone),
        T(freeing_answers_what_is_pending),
        T(a_callback_may_free_the_signer),
        T(a_broken_answer_ends_the_link),
        T(a_large_crl_travels_as_a_sealed_file_and_nothing_else_may_be_large),
        T(keys_and_health_come_back_to_their_callers),
        T(a_lost_link_refuses_every_key),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
