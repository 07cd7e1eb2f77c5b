/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that reads the ledger, and the steps of a CRL that run in it. */
#include "ledger_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/auto.h"
#include "base/clock.h"
#include "ca/crl_list.h"
#include "ca/reader.h"

struct world {
    struct event_base *base;
    struct reader *r;
    pthread_t loop;
    char order[2 * READER_QUEUE_MAX]; /* of the jobs done */
};

struct counting {
    struct reader_job job; /* first */
    struct world *w;
    char mark;
    _Atomic bool hold, running;
    bool slow;
    uint64_t seq;
    int done;
    enum err_code code;
    char msg[200];
};

static enum err_code count_run(struct reader_job *job, struct store *ledger, struct err *e)
{
    struct counting *c = (struct counting *)job;

    assert_false(pthread_equal(pthread_self(), c->w->loop));
    atomic_store(&c->running, true);
    while (atomic_load(&c->hold) && !reader_job_must_end(job))
        usleep(1000);
    while (c->slow && store_status_seq(ledger, &c->seq, e) == E_OK)
        ;
    return store_status_seq(ledger, &c->seq, e);
}

static void count_done(struct reader_job *job, enum err_code code, const struct err *e)
{
    struct counting *c = (struct counting *)job;
    size_t n = strlen(c->w->order);

    c->w->order[n] = c->mark;
    c->done++;
    c->code = code;
    snprintf(c->msg, sizeof(c->msg), "%.199s", e->msg);
}

static struct counting counting(struct world *w, char mark)
{
    return (struct counting){.job = {.run = count_run, .done = count_done}, .w = w, .mark = mark};
}

static void submit(struct world *w, struct counting *c)
{
    struct err e = {0};

    assert_int_equal(reader_submit(w->r, &c->job, &e), E_OK);
}

static void until_done(struct world *w, const struct counting *c)
{
    for (int64_t end = clock_mono_ms() + 60000; !c->done && clock_mono_ms() < end;)
        event_base_loop(w->base, EVLOOP_NONBLOCK);
    assert_int_equal(c->done, 1);
}

static struct world begin(struct ledger *l)
{
    struct world w = {.base = event_base_new(), .loop = pthread_self()};
    struct err e = {0};

    w.r = reader_new(w.base, "test", l->path, &e);
    assert_non_null(w.r);
    return w;
}

static void end(struct world *w)
{
    reader_free(w->r);
    event_base_free(w->base);
}

static void issue(struct ledger *l, unsigned n)
{
    struct err e = {0};

    assert_int_equal(store_begin(l->s, &e), E_OK);
    ledger_issue(l, n);
    assert_int_equal(store_commit(l->s, &e), E_OK);
}

static void jobs_are_done_in_order_and_answered_in_the_loop(void **state)
{
    struct ledger *l = *state;
    struct world w = begin(l);
    struct counting a = counting(&w, 'a'), b = counting(&w, 'b'), c = counting(&w, 'c');

    submit(&w, &a);
    submit(&w, &b);
    submit(&w, &c);
    usleep(100000);
    assert_string_equal(w.order, ""); /* nothing is answered outside the loop */
    until_done(&w, &c);
    assert_string_equal(w.order, "abc");
    assert_int_equal(a.code, E_OK);
    end(&w);
}

static void a_job_sees_what_was_committed_before_it(void **state)
{
    struct ledger *l = *state;
    struct world w = begin(l);

    for (unsigned i = 1; i <= 50; i++) {
        struct counting c = counting(&w, '.');

        w.order[0] = '\0';
        issue(l, i);
        submit(&w, &c);
        until_done(&w, &c);
        assert_int_equal(c.seq, i);
    }
    end(&w);
}

static void a_full_queue_refuses(void **state)
{
    static struct counting many[READER_QUEUE_MAX];
    struct ledger *l = *state;
    struct world w = begin(l);
    struct counting more = counting(&w, '!');
    struct err e = {0};

    for (size_t i = 0; i < READER_QUEUE_MAX; i++) {
        many[i] = counting(&w, '.');
        many[i].hold = i == 0;
    }
    for (size_t i = 0; i < READER_QUEUE_MAX; i++)
        submit(&w, &many[i]);
    assert_int_equal(reader_submit(w.r, &more.job, &e), E_BUSY);
    assert_int_equal(more.done, 0);
    w.order[0] = '\0';
    atomic_store(&many[0].hold, false);
    end(&w); /* answers them all, each once */
    for (size_t i = 0; i < READER_QUEUE_MAX; i++)
        assert_int_equal(many[i].done, 1);
}

static void stopping_ends_a_read_in_the_middle(void **state)
{
    struct ledger *l = *state;
    struct world w = begin(l);
    struct counting slow = counting(&w, 's'), next = counting(&w, 'n');
    int64_t at;

    slow.slow = true; /* reads without an end */
    submit(&w, &slow);
    submit(&w, &next);
    while (!atomic_load(&slow.running))
        usleep(1000);
    at = clock_mono_ms();
    end(&w);
    assert_true(clock_mono_ms() - at < 10000);
    assert_string_equal(w.order, "sn");
    assert_int_equal(slow.code, E_BUSY);
    assert_int_equal(next.code, E_BUSY);
    assert_non_null(strstr(next.msg, "stops"));
}

static void an_interrupted_job_says_why_and_the_next_one_runs(void **state)
{
    struct ledger *l = *state;
    struct world w = begin(l);
    struct counting slow = counting(&w, 's'), next = counting(&w, 'n');

    slow.slow = true;
    submit(&w, &slow);
    submit(&w, &next);
    while (!atomic_load(&slow.running))
        usleep(1000);
    reader_interrupt(w.r, "the log grew");
    until_done(&w, &slow);
    until_done(&w, &next);
    assert_int_equal(slow.code, E_BUSY);
    assert_string_equal(slow.msg, "the log grew");
    assert_int_equal(next.code, E_OK);
    end(&w);
}

static void a_ledger_that_cannot_be_read_is_tried_again(void **state)
{
    struct ledger *l = *state;
    struct world w = begin(l);
    struct counting first = counting(&w, '1'), second = counting(&w, '2');
    char away[128];

    ledger_close(l);
    snprintf(away, sizeof(away), "%s.away", l->path);
    assert_int_equal(rename(l->path, away), 0);
    submit(&w, &first);
    until_done(&w, &first);
    assert_int_equal(first.code, E_STORE);
    assert_non_null(strstr(first.msg, l->path));
    assert_int_equal(rename(away, l->path), 0);
    submit(&w, &second);
    until_done(&w, &second);
    assert_int_equal(second.code, E_OK);
    end(&w);
    ledger_reopen(l);
}

/* ---- lists ---- */

static const uint8_t name_der[] = {0x30, 0x0d, 0x31, 0x0b, 0x30, 0x09, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x02, 'C', 'A'};

static struct list_order order_of(const struct ledger *l, EVP_PKEY *key, uint64_t number, int64_t now)
{
    struct list_order o = {.issuer = l->issuer, .alg = SIG_ECDSA_SHA256, .number = number, .now = now, .validity_s = 86400};
    uint8_t *spki = NULL;
    int len = i2d_PUBKEY(key, &spki);

    snprintf(o.ca, sizeof(o.ca), "ca");
    snprintf(o.path, sizeof(o.path), "%s/ca.crl", l->dir);
    buf_init(&o.subject, NAME_MAX_LEN);
    buf_init(&o.spki, SPKI_MAX_LEN);
    buf_add(&o.subject, name_der, sizeof(name_der));
    buf_add(&o.spki, spki, (size_t)len);
    OPENSSL_free(spki);
    return o;
}

static void sign_tbs(EVP_PKEY *key, struct bytes tbs, uint8_t sig[128], size_t *len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    *len = 128;
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestSign(ctx, sig, len, tbs.p, tbs.len), 1);
    EVP_MD_CTX_free(ctx);
}

/* One list from the ledger to its file. */
static enum err_code list_once(struct ledger *l, EVP_PKEY *key, struct list_order *o, struct list_made *made, struct err *e)
{
    struct store *r = NULL;
    struct list_file file = {.fd = -1};
    uint8_t sig[128];
    size_t sig_len;
    enum err_code code = store_open(l->path, STORE_READ, &r, e);

    if (code == E_OK)
        code = list_write(r, o, made, e);
    if (code == E_OK) {
        sign_tbs(key, buf_bytes(&made->tbs.b), sig, &sig_len);
        code = list_publish(r, o, made, SIG_ECDSA_SHA256, BYTES(sig, sig_len), &file, e);
        list_made_clear(made);
    }
    store_close(r);
    list_file_clear(&file);
    return code;
}

static int entries_in(const char *path)
{
    AUTO(FILE) *f = fopen(path, "r");
    X509_CRL *crl = f ? d2i_X509_CRL_fp(f, NULL) : NULL;
    int n = crl ? sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl)) : -2;

    X509_CRL_free(crl);
    return n < 0 && crl ? 0 : n;
}

static void revoke_one(struct ledger *l, unsigned n)
{
    struct err e = {0};

    assert_int_equal(store_begin(l->s, &e), E_OK);
    ledger_issue(l, n);
    ledger_change(l, n, CERT_REVOKED, REASON_SUPERSEDED);
    assert_int_equal(store_commit(l->s, &e), E_OK);
}

static void a_list_holds_one_moment_of_the_ledger(void **state)
{
    struct ledger *l = *state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    struct list_order o = order_of(l, key, 1, T0 + 1000);
    struct list_made made;
    struct err e = {0};

    for (unsigned i = 1; i <= 5; i++)
        revoke_one(l, i);
    assert_int_equal(list_once(l, key, &o, &made, &e), E_OK);
    assert_int_equal(made.entries, 5);
    assert_int_equal(made.seq, 10);
    assert_int_equal(entries_in(o.path), 5);
    list_order_clear(&o);
    EVP_PKEY_free(key);
}

static void a_change_after_the_order_moves_this_update(void **state)
{
    struct ledger *l = *state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    struct list_order o = order_of(l, key, 1, T0); /* the order is older than the revocation, of T0 + 3 */
    struct list_made made;
    struct err e = {0};

    revoke_one(l, 3);
    assert_int_equal(list_once(l, key, &o, &made, &e), E_OK);
    assert_int_equal(made.this_update, T0 + 3);
    assert_int_equal(made.now, T0 + 3);
    list_order_clear(&o);
    EVP_PKEY_free(key);
}

static void the_gate_keeps_the_file_before(void **state)
{
    struct ledger *l = *state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    struct list_order o = order_of(l, key, 5, T0 + 1000);
    struct list_made made;
    struct stat before, after;
    struct err e = {0};
    char tmp[PATH_MAX + 32];

    revoke_one(l, 1);
    assert_int_equal(list_once(l, key, &o, &made, &e), E_OK);
    assert_int_equal(stat(o.path, &before), 0);
    o.now += 1000; /* the same number again */
    assert_int_equal(list_once(l, key, &o, &made, &e), E_CONFLICT);
    assert_non_null(strstr(e.msg, "CRLNumber"));
    assert_int_equal(stat(o.path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    snprintf(tmp, sizeof(tmp), "%s.tmp-%ld", o.path, (long)getpid());
    assert_int_equal(access(tmp, F_OK), -1); /* nothing is left beside it */
    list_order_clear(&o);
    EVP_PKEY_free(key);
}

static void a_signature_of_another_key_is_not_published(void **state)
{
    struct ledger *l = *state;
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    struct list_order o = order_of(l, key, 1, T0 + 1000);
    struct list_made made;
    struct err e = {0};

    revoke_one(l, 1);
    assert_int_equal(list_once(l, other, &o, &made, &e), E_CRYPTO);
    assert_int_equal(access(o.path, F_OK), -1);
    list_order_clear(&o);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

static void a_bundle_is_what_openssl_writes(void **state)
{
    struct ledger *l = *state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    struct list_order o = order_of(l, key, 1, T0 + 1000);
    struct list_made made;
    struct list_file file;
    char list[2][PATH_MAX], path[128];
    AUTO(char) *ours = calloc(1, 1 << 20);
    struct err e = {0};
    X509_CRL *crl;
    BIO *pem = BIO_new(BIO_s_mem());
    FILE *f;
    char *theirs;
    long len;

    for (unsigned i = 1; i <= 2000; i++) /* more than one piece */
        revoke_one(l, i);
    assert_int_equal(list_once(l, key, &o, &made, &e), E_OK);
    snprintf(list[0], sizeof(list[0]), "%s", o.path);
    snprintf(list[1], sizeof(list[1]), "%s", o.path);
    snprintf(path, sizeof(path), "%s/bundle.pem", l->dir);
    assert_int_equal(list_bundle((const char(*)[PATH_MAX])list, 2, path, &file, &e), E_OK);
    f = fopen(o.path, "r");
    crl = d2i_X509_CRL_fp(f, NULL);
    fclose(f);
    PEM_write_bio_X509_CRL(pem, crl);
    PEM_write_bio_X509_CRL(pem, crl);
    len = BIO_get_mem_data(pem, &theirs);
    assert_int_equal(file.size, len);
    assert_int_equal(read(file.fd, ours, 1 << 20), len);
    assert_memory_equal(ours, theirs, (size_t)len);
    BIO_free(pem);
    X509_CRL_free(crl);
    list_file_clear(&file);
    list_order_clear(&o);
    EVP_PKEY_free(key);
}

#define T(name) cmocka_unit_test_setup_teardown(name, ledger_setup, ledger_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(jobs_are_done_in_order_and_answered_in_the_loop),
        T(a_job_sees_what_was_committed_before_it),
        T(a_full_queue_refuses),
        T(stopping_ends_a_read_in_the_middle),
        T(an_interrupted_job_says_why_and_the_next_one_runs),
        T(a_ledger_that_cannot_be_read_is_tried_again),
        T(a_list_holds_one_moment_of_the_ledger),
        T(a_change_after_the_order_moves_this_update),
        T(the_gate_keeps_the_file_before),
        T(a_signature_of_another_key_is_not_published),
        T(a_bundle_is_what_openssl_writes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
