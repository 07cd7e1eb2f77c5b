/* SPDX-License-Identifier: Apache-2.0 */
/* The threads that tell servers, against servers that answer as badly as they can. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fsio.h"
#include "enroll/gate/gate.h"
#include "tests/lib/feed_world.h"

/* A server on a Unix socket: answers each connection by `reply`, and keeps what it was sent. */
struct server {
    char path[96];
    int fd;
    pthread_t thread;
    void (*reply)(struct server *s, int fd, struct bytes request);
    pthread_mutex_t lock;
    char heard[8192]; /* lock */
    const char *say;
    const char *_Atomic process; /* what it says of itself */
};

static void *server_run(void *arg)
{
    struct server *s = arg;
    int fd;

    while ((fd = accept(s->fd, NULL, NULL)) >= 0) {
        uint8_t room[4096];
        ssize_t n = recv(fd, room, sizeof room, 0);

        if (n > 0)
            s->reply(s, fd, BYTES(room, n));
        close(fd);
    }
    return NULL;
}

static void server_start(struct server *s, const char *dir, void (*reply)(struct server *s, int fd, struct bytes request))
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    memset(s, 0, sizeof *s);
    s->process = "Name: HAProxy\nPid: 4711\nUptime: 0d\n";
    snprintf(s->path, sizeof s->path, "%s/server", dir);
    snprintf(at.sun_path, sizeof at.sun_path, "%s", s->path);
    s->reply = reply;
    pthread_mutex_init(&s->lock, NULL);
    s->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(s->fd, 16), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, server_run, s), 0);
}

static void server_stop(struct server *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
    unlink(s->path);
}

static void hear(struct server *s, struct bytes text)
{
    size_t at;

    pthread_mutex_lock(&s->lock);
    at = strlen(s->heard);
    snprintf(s->heard + at, sizeof s->heard - at, "%.*s\n", (int)text.len, (const char *)text.p);
    pthread_mutex_unlock(&s->lock);
}

static bool has_heard(struct server *s, const char *text)
{
    bool found;

    pthread_mutex_lock(&s->lock);
    found = strstr(s->heard, text) != NULL;
    pthread_mutex_unlock(&s->lock);
    return found;
}

/* ---- a gate with one driver ---- */

struct fixture {
    struct feed_world w;
    char dir[64], acl[96], told[96], script[160];
    struct gate_conf conf;
    struct conf_audience audience;
    struct gate_driver driver_conf;
    struct crl_source crl;
    struct driver driver;
    struct gate gate;
    struct server server;
    bool runs; /* the driver's thread */
};

/* A root (issuer 1) and a CA below it (issuer 2). */
static struct table *table_of(struct fixture *f, const struct feed_cert *lines, size_t n, uint64_t seq)
{
    struct buf text = BUF_INIT(1 << 20), payload = BUF_INIT(1 << 20);
    unsigned char *root = NULL, *below = NULL;
    int root_len = i2d_X509(f->w.ca, &root), below_len = i2d_X509(f->w.cert, &below);
    struct feed_issuer issuers[] = {
        {.n = 1, .name = "root", .ski = bytes_str("01234567890123456789"), .cert = BYTES(root, root_len)},
        {.n = 2, .name = "fleet", .ski = bytes_str("11234567890123456789"), .cert = BYTES(below, below_len)},
    };
    struct feed_snapshot s = {.ledger = "ledger-a", .seq = seq, .time = (int64_t)time(NULL), .valid_s = 600, .issuers = issuers, .issuers_n = 2,
                              .count = n};
    struct table *t = NULL;
    struct err e = {0};

    buf_add_u8(&text, '\n');
    world_lines(&text, lines, n);
    sha256(BYTES(text.p + 1, text.len - 1), s.sha256);
    feed_snapshot_write(&payload, &s);
    assert_int_equal(table_new(&text, buf_bytes(&payload), &t, &e), E_OK);
    buf_clear(&text);
    buf_clear(&payload);
    OPENSSL_free(root);
    OPENSSL_free(below);
    return t;
}

static void apply(struct fixture *f, const struct feed_cert *lines, size_t n)
{
    struct buf payload = BUF_INIT(1 << 20);
    struct gate *g = &f->gate;
    struct err e = {0};
    enum err_code code;

    gate_lock(g);
    world_changes("ledger-a", table_seq(g->table), table_seq(g->table) + n, lines, n, &payload);
    code = table_apply(g->table, buf_bytes(&payload), &e);
    pthread_cond_broadcast(&g->changed);
    gate_unlock(g);
    assert_int_equal(code, E_OK); /* not with the lock held: nobody would give it back */
    buf_clear(&payload);
}

static struct feed_cert line(uint32_t issuer, unsigned n, enum feed_status status, const char *device)
{
    struct feed_cert c = world_line(n, status, status == FEED_GOOD ? "in_service" : "suspended", status == FEED_GOOD ? "full" : "none");

    c.issuer = issuer;
    c.device_id = bytes_str(device);
    return c;
}

/* The line of the CA below the root. */
static struct feed_cert line_of_ca(const struct fixture *f, enum feed_status status)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(f->w.cert);
    struct feed_cert c = line(1, 0, status, "");

    c.state = c.scope = c.domain = (struct bytes){NULL, 0};
    c.serial_len = (size_t)ASN1_STRING_length(serial);
    memcpy(c.serial, ASN1_STRING_get0_data(serial), c.serial_len);
    return c;
}

static _Atomic time_t stands_at; /* 0: it goes */

/* In place of the C library's: the clock behind clock_mono_ms can be stopped, and put forward. */
int clock_gettime(clockid_t clock, struct timespec *ts)
{
    time_t at = atomic_load(&stands_at);

    if (clock != CLOCK_BOOTTIME || !at)
        return (int)syscall(SYS_clock_gettime, clock, ts);
    *ts = (struct timespec){.tv_sec = at};
    return 0;
}

static struct fixture fixture; /* of the test that runs; a test that fails leaves it to fixture_clear, too */

static struct fixture *fixture_make(enum driver_kind kind, void (*reply)(struct server *s, int fd, struct bytes request))
{
    static char *argv[3] = {(char *)"/bin/sh", (char *)"-c"};
    struct fixture *f = &fixture;
    pthread_condattr_t attr;
    struct err e = {0};

    memset(f, 0, sizeof *f);
    strcpy(f->dir, "/tmp/test_driver.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    world_make(&f->w, FEED_OID);
    server_start(&f->server, f->dir, reply);
    snprintf(f->acl, sizeof f->acl, "%s/refused", f->dir);
    snprintf(f->told, sizeof f->told, "%s/told", f->dir);
    snprintf(f->script, sizeof f->script, "exec grep -E '^Sig(Ign|Blk):' /proc/self/status >> %.*s", (int)sizeof f->told, f->told);
    argv[2] = f->script;
    f->audience = (struct conf_audience){.name = (char *)"default", .scopes = 1u << SCOPE_FULL, .stale_soft_s = 100, .stale_hard_s = 1000, .cache_allow_s = 10, .cache_deny_s = 300};
    f->driver_conf = (struct gate_driver){.name = (char *)"one", .kind = kind, .audience = (char *)"default", .socket = f->server.path, .acl = f->acl,
                                          .table = (char *)"", .kick = f->server.path, .command = {argv, 3}};
    f->conf = (struct gate_conf){.audiences = &f->audience, .audiences_n = 1, .urls = {argv, 1}};
    f->gate.conf = &f->conf;
    pthread_mutex_init(&f->gate.lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&f->gate.changed, &attr);
    f->crl.gate = &f->gate;
    f->driver = (struct driver){.conf = &f->driver_conf, .gate = &f->gate};
    if (kind == DRIVER_MOSQUITTO) {
        f->driver.crl = &f->crl;
        assert_int_equal(hand_start(&f->driver_conf, &f->driver.hand, &e), E_OK);
    }
    return f;
}

static void driver_start(struct fixture *f)
{
    assert_int_equal(pthread_create(&f->driver.thread, NULL, driver_run, &f->driver), 0);
    f->runs = true;
}

static void fixture_start(struct fixture *f, const struct feed_cert *lines, size_t n)
{
    f->gate.table = table_of(f, lines, n, 10);
    f->gate.table_no = 1;
    driver_start(f);
}

static int fixture_clear(void **state)
{
    struct fixture *f = &fixture;

    (void)state;
    atomic_store(&stands_at, 0);
    gate_lock(&f->gate);
    f->gate.stopping = true;
    pthread_cond_broadcast(&f->gate.changed);
    gate_unlock(&f->gate);
    if (f->runs)
        pthread_join(f->driver.thread, NULL);
    hand_free(f->driver.hand);
    table_unref(f->gate.table);
    server_stop(&f->server);
    world_clear(&f->w);
    unlink(f->acl);
    unlink(f->told);
    return rmdir(f->dir);
}

static bool wait_until(bool (*is)(struct fixture *f, const char *text), struct fixture *f, const char *text)
{
    int64_t until = clock_mono_us() + 60000000;

    while (!is(f, text) && clock_mono_us() < until)
        usleep(10000);
    return is(f, text);
}

static bool server_heard(struct fixture *f, const char *text)
{
    return has_heard(&f->server, text);
}

static bool file_has(const char *path, const char *text)
{
    AUTO_BUF all = BUF_INIT(1 << 20);
    struct err e = {0};

    return file_read(path, &all, &e) == E_OK && all.len && memmem(all.p, all.len, text, strlen(text));
}

static bool acl_has(struct fixture *f, const char *text)
{
    return file_has(f->acl, text);
}

static bool acl_lacks(struct fixture *f, const char *text)
{
    return !acl_has(f, text);
}

static bool hand_told(struct fixture *f, const char *text)
{
    return file_has(f->told, text);
}

static bool error_is(struct fixture *f, const char *text)
{
    bool is;

    gate_lock(&f->gate);
    is = *text ? strstr(f->driver.error, text) != NULL : f->driver.error[0] == '\0';
    gate_unlock(&f->gate);
    return is;
}

/* ---- HAProxy ---- */

/* As HAProxy 2.6 does; what is said to "add" without a version comes from the test. */
static void haproxy(struct server *s, int fd, struct bytes request)
{
    const char *say = memmem(request.p, request.len, "show info", 9) ? atomic_load(&s->process)
                      : memmem(request.p, request.len, "prepare", 7) ? "New version created: 1\n"
                      : memmem(request.p, request.len, "add acl /", 9) && s->say ? s->say : "\n";

    hear(s, request);
    send(fd, say, strlen(say), MSG_NOSIGNAL);
}

static void everybody_below_a_revoked_ca_is_refused(void **state)
{
    struct feed_cert lines[] = {line(2, 1, FEED_GOOD, "a"), line(2, 2, FEED_GOOD, "b")}, ca;
    struct fixture *f = fixture_make(DRIVER_HAPROXY, haproxy);

    (void)state;
    fixture_start(f, lines, 2);
    assert_true(wait_until(server_heard, f, "commit acl"));
    assert_false(acl_has(f, "1001"));
    ca = line_of_ca(f, FEED_ON_HOLD);
    apply(f, &ca, 1);
    assert_true(wait_until(acl_has, f, "1001\n1002\n"));
    ca = line_of_ca(f, FEED_GOOD);
    apply(f, &ca, 1);
    assert_true(wait_until(acl_lacks, f, "1001"));
}

static void a_ca_that_is_younger_than_the_snapshot_counts(void **state)
{
    struct feed_cert old = line(2, 1, FEED_GOOD, "a"), revoked = line(3, 5, FEED_REVOKED, "e");
    struct fixture *f = fixture_make(DRIVER_HAPROXY, haproxy);

    (void)state;
    fixture_start(f, &old, 1);
    assert_true(wait_until(server_heard, f, "commit acl"));
    assert_false(table_names_stranger(f->gate.table));
    apply(f, &revoked, 1);
    assert_true(wait_until(acl_has, f, "1005"));
    assert_true(table_names_stranger(f->gate.table));
}

/* What was told while it was reloaded, the process before it was told. */
static void a_haproxy_that_is_another_process_is_told_everything(void **state)
{
    struct feed_cert lines[] = {line(2, 1, FEED_GOOD, "a"), line(2, 2, FEED_REVOKED, "b")};
    struct fixture *f = fixture_make(DRIVER_HAPROXY, haproxy);
    uint64_t runs;

    (void)state;
    fixture_start(f, lines, 2);
    assert_true(wait_until(server_heard, f, "commit acl"));
    lines[0] = line(2, 1, FEED_REVOKED, "a");
    apply(f, lines, 1);
    assert_true(wait_until(server_heard, f, "add acl /"));
    atomic_store(&f->server.process, "Name: HAProxy\nPid: 4712\nUptime: 0d\n");
    assert_true(wait_until(server_heard, f, "1001;add acl @1 "));
    sleep(3);
    gate_lock(&f->gate);
    runs = f->driver.runs;
    gate_unlock(&f->gate);
    assert_int_equal(runs, 3); /* once */
}

static void who_was_refused_stays_so_until_something_is_known(void **state)
{
    struct feed_cert revoked = line(2, 1, FEED_REVOKED, "a");
    struct fixture *f = fixture_make(DRIVER_HAPROXY, haproxy);
    struct table *t;
    struct err e = {0};

    (void)state;
    assert_int_equal(file_write_atomic(f->acl, bytes_str("1001\n1009\n"), 0644, &e), E_OK);
    f->driver.crl = &f->crl; /* a list is there; the snapshot was refused, or never came */
    f->crl.version = 1;
    driver_start(f);
    sleep(1);
    assert_true(acl_has(f, "1001\n1009\n"));
    assert_false(has_heard(&f->server, "acl"));
    t = table_of(f, &revoked, 1, 10);
    gate_lock(&f->gate);
    f->gate.table = t;
    f->gate.table_no = 1;
    pthread_cond_broadcast(&f->gate.changed);
    gate_unlock(&f->gate);
    assert_true(wait_until(acl_lacks, f, "1009"));
    assert_true(acl_has(f, "1001"));
}

static void a_failure_beside_a_serial_that_is_not_there_is_a_failure(void **state)
{
    struct feed_cert lines[] = {line(2, 1, FEED_GOOD, "a"), line(2, 2, FEED_REVOKED, "b")};
    struct fixture *f = fixture_make(DRIVER_HAPROXY, haproxy);

    (void)state;
    f->server.say = "Key not found.\nOut of memory error.\n";
    fixture_start(f, lines, 2);
    assert_true(wait_until(server_heard, f, "commit acl"));
    lines[0] = line(2, 1, FEED_REVOKED, "a");
    apply(f, lines, 1);
    assert_true(wait_until(error_is, f, "Out of memory"));
    assert_true(wait_until(error_is, f, "")); /* whole, a second later */
}

/* As HAProxy 2.6 says who is connected: units 1001 and 1002, and one that is of no table. */
static void haproxy_with_connections(struct server *s, int fd, struct bytes request)
{
    const char *say = s->say;

    if (memmem(request.p, request.len, "show table", 10)) {
        hear(s, request);
        say = say ? say
                  : "# table: open, type: string, size:102400, used:3\n"
                    "0x5a1: key=1001,192.0.2.1:4001 use=1 exp=9952 gpc0=0\n"
                    "0x5a2: key=1002,2001:db8::2:4002 use=2 exp=9952 gpc0=0\n"
                    "0x5a3: key=1001 use=1 exp=9952 gpc0=0\n"
                    "0x5a4: key=nonsense,192.0.2.1:400 use=1 exp=9952 gpc0=0\n\n";
    } else if (memmem(request.p, request.len, "show sess", 9)) {
        hear(s, request);
        say = "0xa1: proto=tcpv4 src=192.0.2.1:4001 fe=units be=app srv=app ts=00 epoch=0 age=9s\n"
              "0xa2: proto=tcpv6 src=2001:db8::2:4002 fe=units be=app srv=app ts=00 epoch=0 age=9s\n"
              "0xa3: proto=tcpv6 src=2001:db8::2:4002 fe=units be=app srv=app ts=00 epoch=0 age=9s\n"
              "0xa4: proto=tcpv4 src=192.0.2.1:400 fe=units be=app srv=app ts=00 epoch=0 age=9s\n"
              "0xa5: proto=unix_stream src=unix:1 fe=GLOBAL be=<NONE> srv=<none> ts=00 epoch=0 age=0s\n\n";
    } else if (memmem(request.p, request.len, "shutdown", 8)) {
        hear(s, request);
        say = "\nNo such session (use 'show sess').\n";
    } else {
        haproxy(s, fd, request);
        return;
    }
    send(fd, say, strlen(say), MSG_NOSIGNAL);
}

static void open_connections_of_the_refused_are_shut_and_no_others(void **state)
{
    struct feed_cert lines[] = {line(2, 1, FEED_GOOD, "a"), line(2, 2, FEED_REVOKED, "b")};
    struct fixture *f = fixture_make(DRIVER_HAPROXY, haproxy_with_connections);

    (void)state;
    f->driver_conf.table = (char *)"open";
    fixture_start(f, lines, 2);
    assert_true(wait_until(server_heard, f, "show table open\n"));
    assert_true(wait_until(server_heard, f, "shutdown session 0xa2;shutdown session 0xa3\n"));
    assert_false(has_heard(&f->server, "0xa1"));
    assert_true(wait_until(error_is, f, "")); /* that one of them has ended by itself is none */
    lines[0] = line(2, 1, FEED_REVOKED, "a");
    apply(f, lines, 1);
    assert_true(wait_until(server_heard, f, "shutdown session 0xa1;shutdown session 0xa2"));
    assert_false(has_heard(&f->server, "0xa4"));
}

static void a_stick_table_that_is_not_there_is_a_failure(void **state)
{
    struct feed_cert revoked = line(2, 2, FEED_REVOKED, "b");
    struct fixture *f = fixture_make(DRIVER_HAPROXY, haproxy_with_connections);

    (void)state;
    f->driver_conf.table = (char *)"open";
    f->server.say = "Unknown table\n";
    fixture_start(f, &revoked, 1);
    assert_true(wait_until(error_is, f, "does not know the stick table open: Unknown table"));
    assert_true(acl_has(f, "1002"));
    assert_false(has_heard(&f->server, "shutdown"));
}

/* ---- mosquitto ---- */

/* A broker that takes no client called "bad": it closes, as mosquitto does when an id breaks its rules. */
static void broker(struct server *s, int fd, struct bytes request)
{
    static const uint8_t connack[] = {0x20, 2, 0, 0};
    struct bytes id = BYTES(request.p + 14, request.len - 14);

    hear(s, id);
    if (!bytes_equal(id, bytes_str("bad")))
        send(fd, connack, sizeof connack, MSG_NOSIGNAL);
}

static void a_client_the_broker_does_not_take_keeps_nobody_in(void **state)
{
    struct feed_cert lines[] = {line(2, 1, FEED_GOOD, "bad"), line(2, 2, FEED_GOOD, "good")};
    struct fixture *f = fixture_make(DRIVER_MOSQUITTO, broker);

    (void)state;
    signal(SIGTERM, SIG_IGN);
    fixture_start(f, lines, 2);
    lines[0] = line(2, 1, FEED_REVOKED, "bad");
    lines[1] = line(2, 2, FEED_REVOKED, "good");
    gate_lock(&f->gate);
    f->crl.version = 1;
    gate_unlock(&f->gate);
    apply(f, lines, 2);
    assert_true(wait_until(server_heard, f, "good"));
    assert_true(wait_until(hand_told, f, "SigIgn"));
    assert_true(wait_until(error_is, f, "\"bad\""));
    /* The list is loaded all the same, by a program that blocks and ignores nothing (but the two signals the C library keeps). */
    assert_true(wait_until(hand_told, f, "SigBlk:\t0000000000000000\n"));
    assert_true(hand_told(f, "SigIgn:\t0000000000000000\n") || hand_told(f, "SigIgn:\t0000000180000000\n"));
}

static unsigned times_put_out(struct fixture *f, const char *id)
{
    unsigned n = 0;

    pthread_mutex_lock(&f->server.lock);
    for (const char *at = f->server.heard; (at = strstr(at, id)); at += strlen(id))
        n++;
    pthread_mutex_unlock(&f->server.lock);
    return n;
}

/* The clock goes on by `step_s` with each look. */
static void wait_for_times(struct fixture *f, const char *id, unsigned n, int step_s)
{
    int64_t until = clock_mono_us() + 20000000;

    while (times_put_out(f, id) < n && clock_mono_us() < until) {
        usleep(10000);
        atomic_fetch_add(&stands_at, step_s);
        gate_lock(&f->gate);
        pthread_cond_broadcast(&f->gate.changed);
        gate_unlock(&f->gate);
    }
    assert_int_equal(times_put_out(f, id), n);
}

static bool list_is_applied(struct fixture *f, const char *version)
{
    bool is;

    gate_lock(&f->gate);
    is = f->driver.applied_crl == strtoul(version, NULL, 10);
    gate_unlock(&f->gate);
    return is;
}

static void load_list(struct fixture *f, uint64_t version, uint64_t seq)
{
    gate_lock(&f->gate);
    f->crl.version = version;
    f->crl.seq = seq;
    pthread_cond_broadcast(&f->gate.changed);
    gate_unlock(&f->gate);
}

/* A list that does not name it yet lets it come back; so does one that was loaded between its handshake and its CONNECT. */
static void a_client_is_put_out_until_none_can_be_left_from_before_the_list(void **state)
{
    struct feed_cert lines[] = {line(2, 1, FEED_GOOD, "released"), line(2, 2, FEED_GOOD, "replaced"), line(2, 3, FEED_GOOD, "held")};
    struct feed_cert another = line(2, 4, FEED_REVOKED, "another");
    struct fixture *f = fixture_make(DRIVER_MOSQUITTO, broker);

    (void)state;
    atomic_store(&stands_at, (time_t)(clock_mono_ms() / 1000));
    fixture_start(f, lines, 3);
    load_list(f, 1, 10);
    assert_true(wait_until(list_is_applied, f, "1"));
    lines[0] = line(2, 1, FEED_ON_HOLD, "released");
    lines[1] = line(2, 2, FEED_REVOKED, "replaced");
    lines[1].reason = bytes_str("superseded");
    lines[2] = line(2, 3, FEED_ON_HOLD, "held");
    apply(f, lines, 3); /* rows 11 to 13 */
    wait_for_times(f, "held", 1, 0);
    load_list(f, 2, 10);
    wait_for_times(f, "held", 2, 0);
    assert_true(wait_until(list_is_applied, f, "2"));
    atomic_fetch_add(&stands_at, 1000); /* it does not name them: their time has not begun */
    lines[0] = line(2, 1, FEED_GOOD, "released");
    apply(f, lines, 1);
    load_list(f, 3, 14);
    assert_true(wait_until(list_is_applied, f, "3"));
    assert_int_equal(times_put_out(f, "held"), 2);
    wait_for_times(f, "held", 3, 1);
    wait_for_times(f, "held", 4, 10);
    atomic_fetch_add(&stands_at, 1000);
    apply(f, &another, 1);
    wait_for_times(f, "another", 1, 0);
    load_list(f, 4, 14);
    wait_for_times(f, "another", 2, 0);
    assert_int_equal(times_put_out(f, "held"), 4);
    assert_int_equal(times_put_out(f, "replaced"), 3); /* by its successor: the unit is there again, and may */
    assert_int_equal(times_put_out(f, "released"), 2);
}

/* ---- the hand ---- */

static pid_t forked(void)
{
    pid_t pid = fork();

    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

static pid_t worker(void)
{
    pid_t pid = forked();

    while (pid == 0)
        pause();
    return pid;
}

static void touch(const char *path)
{
    close(open(path, O_WRONLY | O_CREAT, 0600));
}

/* As nginx of one worker. Told to reload it starts the new one beside the old, and makes `marker` when the list counts. */
static void nginx(int ready, const char *marker, bool crashes)
{
    pid_t old = worker();
    sigset_t hup;
    int signal;

    prctl(PR_SET_NAME, "nginx");
    sigemptyset(&hup);
    sigaddset(&hup, SIGHUP);
    sigprocmask(SIG_BLOCK, &hup, NULL);
    if (write(ready, "", 1) != 1 || sigwait(&hup, &signal) != 0)
        _exit(1);
    if (crashes) {
        kill(old, SIGKILL);
        waitpid(old, NULL, 0);
        old = worker(); /* with the list of before */
        usleep(300000);
        touch(marker);
    }
    worker();
    if (!crashes) {
        usleep(300000);
        touch(marker);
        kill(old, SIGKILL);
        waitpid(old, NULL, 0);
    }
    for (;;)
        pause();
}

/* The answer comes after `marker`. */
static void reload(bool crashes)
{
    char dir[] = "/tmp/test_driver.XXXXXX", pid_file[64], marker[64], text[32];
    struct gate_driver conf = {.name = (char *)"nginx", .kind = DRIVER_RELOAD, .pid_file = pid_file, .process = (char *)"nginx", .signal = SIGHUP,
                               .signal_name = (char *)"HUP"};
    struct hand *hand = NULL;
    struct err e = {0};
    int ready[2];
    pid_t pid;
    bool made;

    assert_non_null(mkdtemp(dir));
    snprintf(pid_file, sizeof pid_file, "%s/pid", dir);
    snprintf(marker, sizeof marker, "%s/marker", dir);
    assert_int_equal(pipe(ready), 0);
    pid = forked();
    if (pid == 0)
        nginx(ready[1], marker, crashes);
    snprintf(text, sizeof text, "%d\n", pid);
    assert_int_equal(file_write_atomic(pid_file, bytes_str(text), 0644, &e), E_OK);
    assert_int_equal(read(ready[0], text, 1), 1);
    assert_int_equal(hand_start(&conf, &hand, &e), E_OK);
    if (hand_reload(hand, &e) != E_OK)
        print_error("%s\n", e.msg);
    made = access(marker, F_OK) == 0;
    hand_free(hand);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(ready[0]);
    close(ready[1]);
    unlink(pid_file);
    unlink(marker);
    rmdir(dir);
    assert_int_equal(e.code, E_OK);
    assert_true(made);
}

static void a_worker_in_place_of_one_that_crashed_is_no_reload(void **state)
{
    (void)state;
    reload(true);
}

static void a_reload_is_over_when_the_old_workers_are(void **state)
{
    (void)state;
    reload(false);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, fixture_clear)
    const struct CMUnitTest tests[] = {
        TEST(everybody_below_a_revoked_ca_is_refused),
        TEST(a_ca_that_is_younger_than_the_snapshot_counts),
        TEST(a_haproxy_that_is_another_process_is_told_everything),
        TEST(who_was_refused_stays_so_until_something_is_known),
        TEST(a_failure_beside_a_serial_that_is_not_there_is_a_failure),
        TEST(open_connections_of_the_refused_are_shut_and_no_others),
        TEST(a_stick_table_that_is_not_there_is_a_failure),
        TEST(a_client_the_broker_does_not_take_keeps_nobody_in),
        TEST(a_client_is_put_out_until_none_can_be_left_from_before_the_list),
        cmocka_unit_test(a_worker_in_place_of_one_that_crashed_is_no_reload),
        cmocka_unit_test(a_reload_is_over_when_the_old_workers_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
