/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that keeps a list for servers: does it say what the feed says? */
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/auto.h"
#include "base/clock.h"
#include "enroll/gate/gate.h"
#include "tests/lib/feed_world.h"

static struct fixture {
    struct feed_world w;
    char dir[64], url[64], ca[96], file[96];
    struct gate_crl conf;
    struct gate gate;
    struct crl_source crl;
    int listener;
    pthread_t server;
    pthread_mutex_t lock;
    struct buf list; /* lock: what is served; empty: 503 */
    _Atomic unsigned fetches;
} f;

static void *serve(void *arg)
{
    int fd;

    (void)arg;
    while ((fd = accept(f.listener, NULL, NULL)) >= 0) {
        char request[4096], head[128];

        if (recv(fd, request, sizeof request, 0) > 0) {
            pthread_mutex_lock(&f.lock);
            snprintf(head, sizeof head, "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
                     f.list.len ? "200 OK" : "503 Service Unavailable", f.list.len);
            send(fd, head, strlen(head), MSG_NOSIGNAL);
            send(fd, f.list.p, f.list.len, MSG_NOSIGNAL);
            pthread_mutex_unlock(&f.lock);
            f.fetches++;
        }
        close(fd);
    }
    return NULL;
}

/* The list of the root from now on, with serials 0x1000 + each of `n`. */
static void publish(long number, const unsigned *refused, size_t n)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_INTEGER *value = ASN1_INTEGER_new();
    ASN1_TIME *at = X509_gmtime_adj(NULL, -60);
    unsigned char *der = NULL;
    int len;

    X509_CRL_set_version(crl, 1);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(f.w.ca));
    X509_CRL_set1_lastUpdate(crl, at);
    X509_gmtime_adj(at, 3600);
    X509_CRL_set1_nextUpdate(crl, at);
    ASN1_INTEGER_set(value, number);
    X509_CRL_add1_ext_i2d(crl, NID_crl_number, value, 0, 0);
    for (size_t i = 0; i < n; i++) {
        X509_REVOKED *r = X509_REVOKED_new();

        ASN1_INTEGER_set(value, 0x1000 + refused[i]);
        X509_REVOKED_set_serialNumber(r, value);
        X509_REVOKED_set_revocationDate(r, at);
        X509_CRL_add0_revoked(crl, r);
    }
    X509_CRL_sort(crl);
    assert_true(X509_CRL_sign(crl, f.w.ca_key, EVP_sha256()) > 0);
    len = i2d_X509_CRL(crl, &der);
    pthread_mutex_lock(&f.lock);
    buf_reset(&f.list);
    buf_add(&f.list, der, (size_t)len);
    pthread_mutex_unlock(&f.lock);
    OPENSSL_free(der);
    ASN1_TIME_free(at);
    ASN1_INTEGER_free(value);
    X509_CRL_free(crl);
}

static void publish_nothing(void)
{
    pthread_mutex_lock(&f.lock);
    buf_reset(&f.list);
    pthread_mutex_unlock(&f.lock);
}

static void take_snapshot(const struct feed_cert *lines, size_t n, uint64_t seq)
{
    struct buf text = BUF_INIT(1 << 20), payload = BUF_INIT(1 << 20);
    struct table *t = NULL, *old;
    struct err e = {0};

    buf_add_u8(&text, '\n');
    world_lines(&text, lines, n);
    world_payload(&f.w, BYTES(text.p + 1, text.len - 1), n, "ledger-a", seq, &payload);
    assert_int_equal(table_new(&text, buf_bytes(&payload), &t, &e), E_OK);
    buf_clear(&text);
    buf_clear(&payload);
    gate_lock(&f.gate);
    old = f.gate.table;
    f.gate.table = t;
    f.gate.table_no++;
    pthread_cond_broadcast(&f.gate.changed);
    gate_unlock(&f.gate);
    table_unref(old);
}

static int start(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    pthread_condattr_t attr;
    struct err e = {0};

    (void)state;
    memset(&f, 0, sizeof f);
    strcpy(f.dir, "/tmp/test_list.XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    snprintf(f.ca, sizeof f.ca, "%s/ca", f.dir);
    snprintf(f.file, sizeof f.file, "%s/list", f.dir);
    world_make(&f.w, FEED_OID);
    world_ca_file(&f.w, f.ca);
    buf_init(&f.list, 1 << 20);
    pthread_mutex_init(&f.lock, NULL);
    f.listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(f.listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(f.listener, 16), 0);
    assert_int_equal(getsockname(f.listener, (struct sockaddr *)&at, &len), 0);
    snprintf(f.url, sizeof f.url, "http://127.0.0.1:%d/", ntohs(at.sin_port));
    assert_int_equal(pthread_create(&f.server, NULL, serve, NULL), 0);
    f.conf = (struct gate_crl){.name = (char *)"fleet", .url = f.url, .ca = f.ca, .file = f.file, .poll_s = 3600};
    pthread_mutex_init(&f.gate.lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&f.gate.changed, &attr);
    f.crl = (struct crl_source){.conf = &f.conf, .gate = &f.gate};
    assert_int_equal(crl_open(&f.crl, &e), E_OK);
    return 0;
}

static int end(void **state)
{
    (void)state;
    gate_lock(&f.gate);
    f.gate.stopping = true;
    pthread_cond_broadcast(&f.gate.changed);
    gate_unlock(&f.gate);
    pthread_join(f.crl.thread, NULL);
    shutdown(f.listener, SHUT_RDWR);
    pthread_join(f.server, NULL);
    close(f.listener);
    crl_close(&f.crl);
    table_unref(f.gate.table);
    buf_clear(&f.list);
    world_clear(&f.w);
    unlink(f.ca);
    unlink(f.file);
    return rmdir(f.dir);
}

static void run(void)
{
    assert_int_equal(pthread_create(&f.crl.thread, NULL, crl_run, &f.crl), 0);
}

static uint64_t said(void)
{
    uint64_t seq;

    gate_lock(&f.gate);
    seq = f.crl.seq;
    gate_unlock(&f.gate);
    return seq;
}

static void wait_for_said(uint64_t seq)
{
    int64_t until = clock_mono_ms() + 20000;

    while (said() != seq && clock_mono_ms() < until)
        usleep(10000);
    assert_int_equal(said(), seq);
}

static void wait_for_fetches(unsigned n)
{
    int64_t until = clock_mono_ms() + 20000;
    unsigned before = f.fetches;

    while (f.fetches < before + n && clock_mono_ms() < until)
        usleep(10000);
    assert_true(f.fetches >= before + n);
}

static void a_list_that_lacks_who_was_revoked_before_the_snapshot_is_fetched_until_it_has_them(void **state)
{
    const struct feed_cert lines[] = {world_line(1, FEED_GOOD, "in_service", "full"), world_line(2, FEED_REVOKED, "compromised", "none"),
                                      world_line(3, FEED_ON_HOLD, "suspended", "none")};

    (void)state;
    publish(1, NULL, 0);
    take_snapshot(lines, 3, 10);
    run();
    wait_for_fetches(3);
    assert_int_equal(said(), 0);
    publish(2, (unsigned[]){2}, 1);
    wait_for_fetches(3);
    assert_int_equal(said(), 0);
    publish(3, (unsigned[]){2, 3}, 2);
    wait_for_said(10);
}

static void a_list_that_cannot_be_fetched_says_nothing_of_a_new_snapshot(void **state)
{
    struct feed_cert line = world_line(1, FEED_GOOD, "in_service", "full");

    (void)state;
    publish(1, NULL, 0);
    take_snapshot(&line, 1, 10);
    run();
    wait_for_said(10);
    publish_nothing();
    take_snapshot(&line, 1, 20);
    wait_for_fetches(2);
    assert_int_equal(said(), 10);
    publish(1, NULL, 0);
    wait_for_said(20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_list_that_lacks_who_was_revoked_before_the_snapshot_is_fetched_until_it_has_them, start, end),
        cmocka_unit_test_setup_teardown(a_list_that_cannot_be_fetched_says_nothing_of_a_new_snapshot, start, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
