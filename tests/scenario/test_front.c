/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real inkan-front program. The test is its supervisor (descriptor 3), its core and its status process, and talks to
 * it as clients do: sockets and OpenSSL's TLS client.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs7.h>
#include <openssl/ssl.h>

#include "base/auto.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/fsio.h"
#include "base/msg.h"
#include "base/proc.h"
#include "ca/service.h"
#include "tests/lib/framing_cases.h"

#include <openssl/x509v3.h> /* after base/conf.h: its macros have the names of our enums */

#define CLIENT_TIMEOUT_S 20
#define STALLED          40
#define PER_ADDRESS      48
#define FEW              30 /* connections of the last world */

/* ---- certificates ------------------------------------------------------------------------------------------------ */

struct identity {
    EVP_PKEY *key;
    X509 *cert;
};

static void identity_free(struct identity *id)
{
    EVP_PKEY_free(id->key);
    X509_free(id->cert);
    *id = (struct identity){0};
}

static void add_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(ext);
    assert_true(X509_add_ext(cert, ext, -1));
    X509_EXTENSION_free(ext);
}

struct cert_form {
    const char *cn, *san, *eku, *ku;
    long from_s, to_s; /* from now */
    bool ca;
    const char *padding; /* makes the certificate larger */
};

/* `issuer` NULL: self-signed. `key` NULL: a new one. */
static struct identity make_cert(const struct cert_form *form, EVP_PKEY *key, const struct identity *issuer)
{
    static long serial = 1000;
    struct identity id = {.key = key ? key : EVP_EC_gen("P-256"), .cert = X509_new()};
    X509_NAME *name = X509_get_subject_name(id.cert);

    if (key)
        EVP_PKEY_up_ref(key);
    X509_set_version(id.cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(id.cert), serial++);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)form->cn, -1, -1, 0);
    X509_set_issuer_name(id.cert, issuer ? X509_get_subject_name(issuer->cert) : name);
    X509_gmtime_adj(X509_getm_notBefore(id.cert), form->from_s);
    X509_gmtime_adj(X509_getm_notAfter(id.cert), form->to_s);
    X509_set_pubkey(id.cert, id.key);
    add_ext(id.cert, issuer ? issuer->cert : id.cert, NID_basic_constraints, form->ca ? "critical,CA:TRUE" : "CA:FALSE");
    if (form->ca)
        add_ext(id.cert, NULL, NID_key_usage, "critical,keyCertSign,cRLSign");
    if (form->ku)
        add_ext(id.cert, NULL, NID_key_usage, form->ku);
    if (form->eku)
        add_ext(id.cert, NULL, NID_ext_key_usage, form->eku);
    if (form->san)
        add_ext(id.cert, NULL, NID_subject_alt_name, form->san);
    if (form->padding)
        add_ext(id.cert, NULL, NID_netscape_comment, form->padding);
    assert_true(X509_sign(id.cert, issuer ? issuer->key : id.key, EVP_sha256()) > 0);
    return id;
}

static void cert_der(X509 *cert, struct buf *out)
{
    unsigned char *p = NULL;
    int len = i2d_X509(cert, &p);

    assert_true(len > 0);
    buf_add(out, p, (size_t)len);
    OPENSSL_free(p);
}

/* ---- the world around one front ---------------------------------------------------------------------------------- */

struct seen_enroll { /* the last SVC_ENROLL */
    unsigned tls_bits;
    unsigned n;
    enum svc_operation operation;
    char label[EST_LABEL_MAX + 1], user[129], password[600], peer[64], unit[UNIT_HEADER_MAX + 1];
    bool has_password;
    enum svc_client_verdict verdict;
    size_t chain_n;
    uint8_t leaf_sha256[32], csr_sha256[32];
    enum svc_binding binding_kind;
    uint8_t binding[32];
    size_t binding_len;
};

struct seen_factory { /* the last SVC_FACTORY */
    unsigned n;
    enum svc_factory_action action;
    char order[ORDER_NO_MAX + 1], device_id[ID_MAX_LEN + 1], body[256];
    enum svc_client_verdict verdict;
    uint8_t leaf_sha256[32];
};

struct world {
    char dir[64], conf[128], log[128];
    pid_t front;
    int control, core, status;
    int listen_est, listen_http, listen_health;
    uint16_t est, http, health;
    struct identity root;
    struct buf device_cert, cacerts;

    pthread_t core_thread, status_thread;
    bool core_runs, status_runs, stop_core, stop_status;
    pthread_mutex_t lock;
    /* guarded by lock */
    struct seen_enroll seen;
    struct svc_enroll_result answer;
    struct seen_factory factory;
    struct svc_factory_result factory_answer;
    bool silent;     /* the core does not answer */
    bool ready;
    unsigned tls_certs, tls_refusals; /* asked for; to be refused first */
    long tls_renew_s;                 /* from now */
    uint64_t purged;
    unsigned configs;
    unsigned asked;  /* STS_OCSP */
    struct sts_ocsp_result ocsp;
    bool hold_ocsp;
    bool no_purge;   /* the core does not purge at the start of a link */
};

static struct world w;

static void locked(void (*f)(void))
{
    pthread_mutex_lock(&w.lock);
    f();
    pthread_mutex_unlock(&w.lock);
}

static void defaults(void)
{
    memset(&w.seen, 0, sizeof w.seen);
    w.answer = (struct svc_enroll_result){.code = E_OK, .cert = buf_bytes(&w.device_cert)};
    memset(&w.factory, 0, sizeof w.factory);
    w.factory_answer = (struct svc_factory_result){.code = E_OK, .body = bytes_str("{\"state\":\"reserved\"}")};
    w.silent = false;
    w.ready = true;
    w.asked = 0;
    w.hold_ocsp = w.no_purge = false;
    w.ocsp = (struct sts_ocsp_result){
        .response = bytes_str("a signed OCSP answer"),
        .cacheable = true,
        .seq = 1,
        .produced_at = clock_now(),
        .this_update = clock_now() - 300,
        .next_update = clock_now() + 3600,
        .max_age_s = 600,
        .cert = {{.issuer = 1, .serial = {5}, .serial_len = 1}},
        .cert_n = 1,
    };
}

static void send_msg(int fd, struct msg *m, int pass)
{
    struct err e = {0};

    if (msg_send(fd, m, pass, &e) != E_OK)
        fail_msg("msg_send: %s", e.msg);
    msg_clear(m);
}

static int memfd(struct bytes content)
{
    struct err e = {0};
    int fd = memfd_of("test", content, &e);

    assert_true(fd >= 0);
    return fd;
}

static void send_label(int fd, const char *name, bool cert, bool password, bool wrap, struct bytes csrattrs)
{
    struct svc_label label = {
        .auth_cert = cert, .auth_password = password, .wrap64 = wrap, .keygen = wrap, .csrattrs = csrattrs};
    int body = memfd(buf_bytes(&w.cacerts));
    struct msg m;

    snprintf(label.name, sizeof label.name, "%s", name);
    msg_begin(&m, SVC_LABEL, 0);
    svc_label_encode(&m, &label);
    send_msg(fd, &m, body);
    close(body);
}

static void send_file(int fd, const char *path, const char *type, struct bytes content, int64_t expires)
{
    struct svc_file file = {.last_modified = 784111777, .expires = expires, .size = content.len};
    int body = memfd(content);
    struct msg m;

    snprintf(file.path, sizeof file.path, "%s", path);
    snprintf(file.content_type, sizeof file.content_type, "%s", type);
    sha256(content, file.sha256);
    msg_begin(&m, SVC_FILE, 0);
    svc_file_encode(&m, &file);
    send_msg(fd, &m, body);
    close(body);
}

static void send_config(int fd)
{
    static const uint8_t csrattrs[] = {0x30, 0x00};
    BIO *pem = BIO_new(BIO_s_mem());
    char *text;
    long len;
    int anchors;
    struct msg m;

    msg_begin(&m, SVC_CONFIG_BEGIN, 0);
    msg_put_u64(&m, 7);
    send_msg(fd, &m, -1);
    send_label(fd, "", true, true, false, (struct bytes){NULL, 0});
    send_label(fd, "certonly", true, false, false, (struct bytes){NULL, 0});
    send_label(fd, "wrapped", false, true, true, BYTES_OF(csrattrs));
    send_file(fd, "/crl/fleet.crl", "application/pkix-crl", bytes_str("the first list"), clock_now() + 3600);
    PEM_write_bio_X509(pem, w.root.cert);
    len = BIO_get_mem_data(pem, &text);
    anchors = memfd(BYTES(text, (size_t)len));
    BIO_free(pem);
    msg_begin(&m, SVC_ANCHORS, 0);
    msg_put_bytes(&m, (struct bytes){NULL, 0});
    send_msg(fd, &m, anchors);
    close(anchors);
    msg_begin(&m, SVC_CONFIG_END, 0);
    msg_put_u64(&m, 7);
    send_msg(fd, &m, -1);
}

static void answer_tls_cert(int fd, struct msg_reader *r)
{
    struct bytes csr = msg_get_bytes(r, CSR_MAX_LEN);
    const uint8_t *p = csr.p;
    X509_REQ *req = d2i_X509_REQ(NULL, &p, (long)csr.len);
    AUTO_BUF leaf = BUF_INIT(CERT_MAX_LEN);
    EVP_PKEY *key = X509_REQ_get_pubkey(req);
    struct err no = {0};
    struct identity id;
    struct msg m;
    bool refuse;
    long renew_s;

    assert_int_equal(X509_REQ_verify(req, key), 1);
    pthread_mutex_lock(&w.lock);
    w.tls_certs++;
    renew_s = w.tls_renew_s;
    refuse = w.tls_refusals > 0;
    w.tls_refusals -= refuse;
    pthread_mutex_unlock(&w.lock);
    if (refuse) {
        err_set(&no, E_TOKEN, "the token is away");
        msg_begin(&m, SVC_TLS_CERT_RESULT, r->request_id);
        msg_put_err(&m, &no, E_TOKEN);
        msg_put_u32(&m, 0);
        msg_put_i64(&m, 0);
        send_msg(fd, &m, -1);
        EVP_PKEY_free(key);
        X509_REQ_free(req);
        return;
    }
    id = make_cert(&(struct cert_form){.cn = "localhost", .san = "DNS:localhost,IP:127.0.0.1", .eku = "serverAuth",
                                       .from_s = -300, .to_s = 86400},
                   key, &w.root);
    cert_der(id.cert, &leaf);
    msg_begin(&m, SVC_TLS_CERT_RESULT, r->request_id);
    msg_put_err(&m, NULL, E_OK);
    msg_put_u32(&m, 1);
    msg_put_bytes(&m, buf_bytes(&leaf));
    msg_put_i64(&m, clock_now() + renew_s);
    send_msg(fd, &m, -1);
    identity_free(&id);
    EVP_PKEY_free(key);
    X509_REQ_free(req);
}

static void take_enroll(int fd, struct msg_reader *r)
{
    struct seen_enroll *s = &w.seen;
    struct svc_enroll q;
    struct err e = {0};
    struct msg m;

    if (svc_enroll_decode(r, &q, &e) != E_OK)
        fail_msg("SVC_ENROLL: %s", e.msg);
    pthread_mutex_lock(&w.lock);
    s->n++;
    s->operation = q.operation;
    strcpy(s->label, q.label);
    strcpy(s->user, q.user);
    strcpy(s->peer, q.peer);
    strcpy(s->unit, q.unit);
    s->has_password = q.has_password;
    snprintf(s->password, sizeof s->password, "%.*s", (int)q.password.len, (const char *)q.password.p);
    s->verdict = q.verdict;
    s->chain_n = q.chain_n;
    if (q.chain_n)
        sha256(q.chain[0], s->leaf_sha256);
    sha256(q.csr, s->csr_sha256);
    s->binding_kind = q.binding_kind;
    s->tls_bits = q.tls_bits;
    s->binding_len = q.binding.len;
    memcpy(s->binding, q.binding.p, q.binding.len);
    msg_begin(&m, SVC_ENROLL_RESULT, r->request_id);
    svc_enroll_result_encode(&m, &w.answer);
    if (!w.silent)
        send_msg(fd, &m, -1);
    msg_clear(&m);
    pthread_mutex_unlock(&w.lock);
}

static void take_factory(int fd, struct msg_reader *r)
{
    struct seen_factory *s = &w.factory;
    struct svc_factory q;
    struct err e = {0};
    struct msg m;

    if (svc_factory_decode(r, &q, &e) != E_OK)
        fail_msg("SVC_FACTORY: %s", e.msg);
    pthread_mutex_lock(&w.lock);
    s->n++;
    s->action = q.action;
    strcpy(s->order, q.order);
    strcpy(s->device_id, q.device_id);
    snprintf(s->body, sizeof s->body, "%.*s", (int)q.body.len, (const char *)q.body.p);
    s->verdict = q.verdict;
    sha256(q.chain[0], s->leaf_sha256);
    msg_begin(&m, SVC_FACTORY_RESULT, r->request_id);
    svc_factory_result_encode(&m, &w.factory_answer);
    if (!w.silent)
        send_msg(fd, &m, -1);
    msg_clear(&m);
    pthread_mutex_unlock(&w.lock);
}

static void answer_health(int fd, struct msg_reader *r, uint16_t type)
{
    struct msg m;

    msg_begin(&m, type, r->request_id);
    pthread_mutex_lock(&w.lock);
    msg_put_bool(&m, w.ready);
    msg_put_str(&m, "{\"n\":1}");
    if (!w.silent)
        send_msg(fd, &m, -1);
    msg_clear(&m);
    pthread_mutex_unlock(&w.lock);
}

static void send_purge_all(int fd)
{
    struct svc_purge *p = calloc(1, sizeof *p);
    struct msg m;

    assert_non_null(p);
    p->seq = 1;
    p->all = true;
    msg_begin(&m, SVC_PURGE, 0);
    svc_purge_encode(&m, p);
    if (!w.no_purge)
        send_msg(fd, &m, -1);
    msg_clear(&m);
    free(p);
}

static void core_message(int fd, struct msg_reader *r)
{
    switch (r->type) {
    case SVC_HELLO:
        send_config(fd);
        send_purge_all(fd);
        pthread_mutex_lock(&w.lock);
        w.configs++;
        pthread_mutex_unlock(&w.lock);
        break;
    case SVC_TLS_CERT:
        answer_tls_cert(fd, r);
        break;
    case SVC_ENROLL:
        take_enroll(fd, r);
        break;
    case SVC_FACTORY:
        take_factory(fd, r);
        break;
    case SVC_HEALTH:
        answer_health(fd, r, SVC_HEALTH_RESULT);
        break;
    case SVC_COUNTS:  /* every other second */
    case SVC_METRICS: /* not answered: the front tells its own */
        break;
    case SVC_PURGED:
        pthread_mutex_lock(&w.lock);
        w.purged = msg_get_u64(r);
        pthread_mutex_unlock(&w.lock);
        break;
    default:
        fail_msg("core: message 0x%04x", r->type);
    }
}

static void status_message(int fd, struct msg_reader *r)
{
    struct msg m;

    if (r->type == STS_HEALTH) {
        answer_health(fd, r, STS_HEALTH_RESULT);
        return;
    }
    if (r->type == STS_METRICS)
        return;
    assert_int_equal(r->type, STS_OCSP);
    msg_begin(&m, STS_OCSP_RESULT, r->request_id);
    pthread_mutex_lock(&w.lock);
    w.asked++;
    sts_ocsp_result_encode(&m, &w.ocsp);
    if (!w.hold_ocsp)
        send_msg(fd, &m, -1);
    msg_clear(&m);
    pthread_mutex_unlock(&w.lock);
}

static void serve(int fd, const bool *stop, void (*on_message)(int, struct msg_reader *))
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);

    while (!__atomic_load_n(stop, __ATOMIC_ACQUIRE)) {
        struct err e = {0};
        struct msg_reader r;

        buf_reset(&packet);
        if (msg_recv(fd, &packet, NULL, 20, &e) != E_OK)
            continue;
        if (msg_read_begin(buf_bytes(&packet), &r, &e) != E_OK)
            fail_msg("%s", e.msg);
        on_message(fd, &r);
    }
}

static void *core_main(void *arg)
{
    (void)arg;
    serve(w.core, &w.stop_core, core_message);
    return NULL;
}

static void *status_main(void *arg)
{
    (void)arg;
    serve(w.status, &w.stop_status, status_message);
    return NULL;
}

static void pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
}

static void link_peer(enum proc_kind kind, const char *name, int fd)
{
    struct msg m;

    msg_begin(&m, CTL_LINK, 0);
    msg_put_u8(&m, (uint8_t)kind);
    msg_put_u32(&m, 0);
    msg_put_str(&m, name);
    send_msg(w.control, &m, fd);
    close(fd);
}

static void say_gone(enum proc_kind kind, const char *name)
{
    struct msg m;

    msg_begin(&m, CTL_GONE, 0);
    msg_put_u8(&m, (uint8_t)kind);
    msg_put_u32(&m, 0);
    msg_put_str(&m, name);
    send_msg(w.control, &m, -1);
}

static void core_start(void)
{
    int fds[2];

    pair(fds);
    w.core = fds[0];
    w.stop_core = false;
    assert_int_equal(pthread_create(&w.core_thread, NULL, core_main, NULL), 0);
    w.core_runs = true;
    link_peer(PROC_CORE, "core", fds[1]);
}

static void core_end(void)
{
    if (!w.core_runs)
        return;
    __atomic_store_n(&w.stop_core, true, __ATOMIC_RELEASE);
    pthread_join(w.core_thread, NULL);
    w.core_runs = false;
    close(w.core);
}

static void status_start(void)
{
    int fds[2];

    pair(fds);
    w.status = fds[0];
    w.stop_status = false;
    assert_int_equal(pthread_create(&w.status_thread, NULL, status_main, NULL), 0);
    w.status_runs = true;
    link_peer(PROC_STATUS, "status", fds[1]);
}

static void status_end(void)
{
    if (!w.status_runs)
        return;
    __atomic_store_n(&w.stop_status, true, __ATOMIC_RELEASE);
    pthread_join(w.status_thread, NULL);
    w.status_runs = false;
    close(w.status);
}

static int listener(uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 512), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static void pass_listener(const char *name, int fd)
{
    struct msg m;

    msg_begin(&m, CTL_LISTEN, 0);
    msg_put_str(&m, name);
    send_msg(w.control, &m, fd);
}

static void control_plain(uint16_t type)
{
    struct msg m;

    msg_begin(&m, type, 0);
    send_msg(w.control, &m, -1);
}

static void conf_write(int connections)
{
    AUTO_BUF y = BUF_INIT(16384);
    struct err e = {0};

    buf_printf(&y,
               "public_url: http://localhost:1\nquickstart: true\nlog_level: debug\n"
               "directories: {state: %s/state, marks: %s/marks, run: %s/run}\n"
               "listen: {est: [\"127.0.0.1:1\"], http: [\"127.0.0.1:2\"], health: [\"127.0.0.1:3\"]}\n"
               "connections_per_address: %d\nconnections: %d\n"
               "server: {names: [\"dns:localhost\", \"ip:127.0.0.1\"], profile: server}\n"
               "audit: {token: issuing}\n"
               "tokens: [{name: issuing, label: t, module: /usr/lib/softhsm/libsofthsm2.so, pin: \"file:/nowhere\"}]\n"
               "cas:\n"
               "  - {name: root, token: issuing, key: p256, profile: root, subject: \"CN=Root\"}\n"
               "  - {name: fleet, issuer: root, token: issuing, key: p256, profile: fleet, subject: \"CN=Fleet\"}\n"
               "profiles:\n"
               "  - {name: root, kind: root-ca, validity: 25y, key_usage: [keyCertSign, cRLSign]}\n"
               "  - {name: fleet, kind: issuing-ca, validity: 15y, path_len: 0, key_usage: [keyCertSign, cRLSign]}\n"
               "  - {name: server, kind: tls-server, ca: fleet, subject: \"CN={name}\", key_algs: [p256], validity: 90d,\n"
               "     key_usage: [digitalSignature], eku: [serverAuth]}\n"
               "  - {name: ldevid, kind: ldevid, ca: fleet, subject: \"CN={device_id}\", key_algs: [p256], validity: 90d,\n"
               "     key_usage: [digitalSignature], eku: [clientAuth]}\n"
               "domains: [{name: main}]\n"
               "labels: [{name: \"\", domain: main, profile: ldevid, auth_password: true}]\n",
               w.dir, w.dir, w.dir, PER_ADDRESS, connections);
    assert_true(buf_ok(&y));
    if (file_write_atomic(w.conf, buf_bytes(&y), 0600, &e) != E_OK)
        fail_msg("%s", e.msg);
}

static void control_wait_ready(void)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    int64_t end = clock_mono_ms() + 15000;
    struct msg_reader r = {0};
    struct err e = {0};

    while (r.type != CTL_READY) {
        buf_reset(&packet);
        if (msg_recv(w.control, &packet, NULL, 1000, &e) == E_OK)
            assert_int_equal(msg_read_begin(buf_bytes(&packet), &r, &e), E_OK);
        if (clock_mono_ms() > end)
            fail_msg("the front is not ready, see %s", w.log);
    }
}

static void front_start(const char *deadline_ms)
{
    int fds[2];

    pair(fds);
    w.control = fds[0];
    w.front = fork();
    assert_true(w.front >= 0);
    if (w.front == 0) {
        int log = open(w.log, O_WRONLY | O_CREAT | O_APPEND, 0600);

        dup2(log, 2);
        dup2(fds[1], 10);
        dup2(10, PROC_CONTROL_FD); /* without close-on-exec */
        close_range(4, ~0U, 0);
        if (deadline_ms)
            setenv("INKAN_TEST_DEADLINE_MS", deadline_ms, 1);
        execl(FRONT_PROGRAM, "inkan-front", "-c", w.conf, "-n", "front-0", (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    core_start();
    status_start();
    pass_listener("est", w.listen_est);
    pass_listener("ocsp", w.listen_http);
    pass_listener("health", w.listen_health);
    control_plain(CTL_GO);
    control_wait_ready();
}

/* Returns the exit code. */
static int front_wait(void)
{
    int64_t end = clock_mono_ms() + 30000;
    int status = 0;

    while (waitpid(w.front, &status, WNOHANG) == 0) {
        if (clock_mono_ms() > end) {
            kill(w.front, SIGKILL);
            waitpid(w.front, &status, 0);
            fail_msg("the front did not stop");
        }
        usleep(5000);
    }
    core_end();
    status_end();
    close(w.control);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int front_stop(void)
{
    control_plain(CTL_STOP);
    return front_wait();
}

static int world_start(const char *deadline_ms, int connections)
{
    AUTO_BUF der = BUF_INIT(CERT_MAX_LEN);

    memset(&w, 0, sizeof w);
    signal(SIGPIPE, SIG_IGN);
    pthread_mutex_init(&w.lock, NULL);
    strcpy(w.dir, "/tmp/inkan-front-XXXXXX");
    assert_non_null(mkdtemp(w.dir));
    snprintf(w.conf, sizeof w.conf, "%s/inkan.yaml", w.dir);
    snprintf(w.log, sizeof w.log, "%s/log", w.dir);
    conf_write(connections);
    {
        char path[128];

        snprintf(path, sizeof path, "%s/state", w.dir);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    w.root = make_cert(&(struct cert_form){.cn = "Test Root", .ca = true, .from_s = -600, .to_s = 864000}, NULL, NULL);
    buf_init(&w.device_cert, CERT_MAX_LEN);
    buf_init(&w.cacerts, CERT_MAX_LEN);
    {
        struct identity dev = make_cert(&(struct cert_form){.cn = "dev-1", .to_s = 86400}, NULL, &w.root);

        cert_der(dev.cert, &w.device_cert);
        identity_free(&dev);
    }
    for (int i = 0; i < 1500; i++) /* long enough to be wrapped into many lines */
        buf_add_u8(&w.cacerts, (uint8_t)i);
    w.listen_est = listener(&w.est);
    w.listen_http = listener(&w.http);
    w.listen_health = listener(&w.health);
    locked(defaults);
    w.tls_renew_s = deadline_ms ? 1 : 43200;
    w.tls_refusals = deadline_ms ? 1 : 0;
    front_start(deadline_ms);
    return 0;
}

static int world_end(void)
{
    char command[128];
    int code = front_stop();

    identity_free(&w.root);
    buf_clear(&w.device_cert);
    buf_clear(&w.cacerts);
    close(w.listen_est);
    close(w.listen_http);
    close(w.listen_health);
    if (code != 0 || getenv("INKAN_TEST_KEEP")) {
        snprintf(command, sizeof command, "tail -30 %s/log >&2", w.dir);
        (void)!system(command);
    }
    snprintf(command, sizeof command, "rm -rf %s", w.dir);
    (void)!system(command);
    return code;
}

static int normal_start(void **state)
{
    (void)state;
    return world_start(NULL, 1000);
}

/* A second of every deadline lasts 100 ms; the first certificate is refused, the second ends soon. */
static int hurried_start(void **state)
{
    (void)state;
    return world_start("100", FEW);
}

/* Few connections, deadlines that do not come into play. */
static int crowded_start(void **state)
{
    (void)state;
    return world_start(NULL, FEW);
}

static int stop_world(void **state)
{
    (void)state;
    return world_end();
}

static int fresh(void **state)
{
    (void)state;
    locked(defaults);
    return 0;
}

static bool log_has(const char *text)
{
    AUTO_BUF log = BUF_INIT(64 * 1024 * 1024);
    struct err e = {0};

    if (file_read(w.log, &log, &e) != E_OK)
        return false;
    buf_add_u8(&log, 0);
    return strstr((const char *)log.p, text) != NULL;
}

/* ---- clients ----------------------------------------------------------------------------------------------------- */

struct io {
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
};

static int tcp(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    struct timeval tv = {.tv_sec = CLIENT_TIMEOUT_S};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

struct client {
    int version; /* TLS1_2_VERSION, TLS1_3_VERSION */
    const struct identity *id;
    X509 *extra[6];
    size_t extra_n;
    const unsigned char *alpn;
    unsigned alpn_len;
    SSL_SESSION *session;
};

static void io_close(struct io *io)
{
    if (io->ssl) {
        SSL_shutdown(io->ssl);
        SSL_free(io->ssl);
    }
    SSL_CTX_free(io->ctx);
    ERR_clear_error();
    if (io->fd >= 0)
        close(io->fd);
    *io = (struct io){.fd = -1};
}

/* Connected, the handshake not begun. */
static struct io tls_begin(const struct client *c)
{
    struct io made = {.fd = tcp(w.est), .ctx = SSL_CTX_new(TLS_client_method())};
    struct io *io = &made;

    if (c->version) {
        SSL_CTX_set_min_proto_version(io->ctx, c->version);
        SSL_CTX_set_max_proto_version(io->ctx, c->version);
    }
    SSL_CTX_set_verify(io->ctx, SSL_VERIFY_PEER, NULL);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(io->ctx), w.root.cert);
    if (c->id) {
        SSL_CTX_set_mode(io->ctx, SSL_MODE_NO_AUTO_CHAIN);
        assert_int_equal(SSL_CTX_use_certificate(io->ctx, c->id->cert), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(io->ctx, c->id->key), 1);
        for (size_t i = 0; i < c->extra_n; i++)
            SSL_CTX_add1_chain_cert(io->ctx, c->extra[i]);
    }
    if (c->alpn)
        SSL_CTX_set_alpn_protos(io->ctx, c->alpn, c->alpn_len);
    io->ssl = SSL_new(io->ctx);
    SSL_set_tlsext_host_name(io->ssl, "localhost");
    SSL_set1_host(io->ssl, "localhost");
    if (c->session)
        SSL_set_session(io->ssl, c->session);
    SSL_set_fd(io->ssl, io->fd);
    return made;
}

/* false: the handshake, or with TLS 1.3 the first read after it, fails; `*alert` tells the alert. */
static bool tls_try(const struct client *c, struct io *io)
{
    *io = tls_begin(c);
    return SSL_connect(io->ssl) == 1;
}

static struct io tls_open(const struct client *c)
{
    struct io io;

    if (!tls_try(c, &io))
        fail_msg("TLS: %s, see %s", ERR_reason_error_string(ERR_peek_last_error()), w.log);
    return io;
}

static struct io tls_13(void)
{
    return tls_open(&(struct client){.version = TLS1_3_VERSION});
}

static struct io plain(uint16_t port)
{
    return (struct io){.fd = tcp(port)};
}

static void io_send(struct io *io, const void *p, size_t len)
{
    if (io->ssl)
        (void)SSL_write(io->ssl, p, (int)len);
    else
        (void)!send(io->fd, p, len, MSG_NOSIGNAL);
}

static void io_puts(struct io *io, const char *s)
{
    io_send(io, s, strlen(s));
}

/* -1: reset or timed out. */
static int io_recv(struct io *io, void *p, size_t len)
{
    int n;

    if (!io->ssl)
        return (int)recv(io->fd, p, len, 0);
    n = SSL_read(io->ssl, p, (int)len);
    if (n <= 0)
        return SSL_get_error(io->ssl, n) == SSL_ERROR_ZERO_RETURN ? 0 : -1;
    return n;
}

struct response {
    int status;
    char head[8192];
    struct buf body;
};

static void response_clear(struct response *r)
{
    buf_clear(&r->body);
}

#define RESPONSE __attribute__((cleanup(response_clear))) struct response

/* "Name: " lines; NULL when absent. The value lives until the next call. */
static const char *header(const struct response *r, const char *name)
{
    static char value[1024];
    size_t n = strlen(name);

    for (const char *p = strstr(r->head, "\r\n"); p && p[2]; p = strstr(p + 2, "\r\n"))
        if (strncasecmp(p + 2, name, n) == 0 && p[2 + n] == ':') {
            size_t len = strcspn(p + 4 + n, "\r");

            snprintf(value, sizeof value, "%.*s", (int)len, p + 4 + n);
            return value;
        }
    return NULL;
}

/* Reads one answer exactly; false when the connection ended first. */
static bool response_read(struct io *io, bool head_only, struct response *r)
{
    size_t n = 0, want;
    const char *length;

    r->status = 0;
    buf_init(&r->body, 64 * 1024 * 1024);
    for (;;) {
        if (n + 1 >= sizeof r->head || io_recv(io, r->head + n, 1) != 1)
            return false;
        r->head[++n] = '\0';
        if (n >= 4 && strcmp(r->head + n - 4, "\r\n\r\n") == 0)
            break;
    }
    assert_int_equal(strncmp(r->head, "HTTP/1.1 ", 9), 0);
    r->status = atoi(r->head + 9);
    length = header(r, "Content-Length");
    if (!length) {
        assert_true(r->status == 204 || r->status == 304 || r->status == 100);
        return true;
    }
    want = head_only ? 0 : strtoul(length, NULL, 10);
    while (r->body.len < want) {
        uint8_t chunk[16384];
        size_t left = want - r->body.len;
        int got = io_recv(io, chunk, left < sizeof chunk ? left : sizeof chunk);

        if (got <= 0)
            return false;
        buf_add(&r->body, chunk, (size_t)got);
    }
    return true;
}

static void ask(struct io *io, const char *request, struct response *r)
{
    io_puts(io, request);
    if (!response_read(io, strncmp(request, "HEAD ", 5) == 0, r))
        fail_msg("no answer to %.60s", request);
}

/* The peer has closed: end of file, not a reset. */
static bool is_closed(struct io *io)
{
    char c;

    return io_recv(io, &c, 1) == 0;
}

static void body_is(const struct response *r, struct bytes want)
{
    if (!bytes_equal(buf_bytes(&r->body), want))
        fail_msg("body is \"%.*s\"", (int)r->body.len, (const char *)r->body.p);
}

static bool body_has(struct response *r, const char *text)
{
    buf_add_u8(&r->body, 0);
    r->body.len--;
    return strstr((const char *)r->body.p, text) != NULL;
}

#define EST  "/.well-known/est/"
#define AUTH "Authorization: Basic ZGV2LTE6c2VjcmV0OnBhcnQ=\r\n" /* dev-1:secret:part */
#define P10  "Content-Type: application/pkcs10\r\n"
#define CSR  "MAMCAQA=" /* SEQUENCE { INTEGER 0 }: the front looks no deeper */

static void post(struct io *io, const char *path, const char *headers, const char *body, struct response *r)
{
    AUTO_BUF q = BUF_INIT(256 * 1024);

    buf_printf(&q, "POST %s HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %zu\r\n\r\n%s", path, headers, strlen(body),
               body);
    io_send(io, q.p, q.len);
    if (!response_read(io, false, r))
        fail_msg("no answer to POST %s", path);
}

static void get(struct io *io, const char *path, const char *headers, struct response *r)
{
    AUTO_BUF q = BUF_INIT(16384);

    buf_printf(&q, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", path, headers);
    io_send(io, q.p, q.len);
    if (!response_read(io, false, r))
        fail_msg("no answer to GET %s", path);
}

/* ---- EST --------------------------------------------------------------------------------------------------------- */

static void cacerts_are_base64_in_the_form_of_the_label(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct io io = tls_open(&(struct client){.version = version});
        AUTO_BUF line = BUF_INIT(8192);
        AUTO_BUF lines = BUF_INIT(8192);
        RESPONSE a, b, h;

        base64_encode(&line, buf_bytes(&w.cacerts), 0);
        buf_add_u8(&line, '\n');
        base64_encode(&lines, buf_bytes(&w.cacerts), 64);
        get(&io, EST "cacerts", "", &a);
        assert_int_equal(a.status, 200);
        assert_string_equal(header(&a, "Content-Type"), "application/pkcs7-mime; smime-type=certs-only");
        assert_string_equal(header(&a, "Content-Transfer-Encoding"), "base64");
        assert_string_equal(header(&a, "Connection"), "keep-alive");
        assert_null(header(&a, "Transfer-Encoding"));
        body_is(&a, buf_bytes(&line));
        get(&io, EST "wrapped/cacert%73?x=y", "", &b);
        assert_int_equal(b.status, 200);
        body_is(&b, buf_bytes(&lines));
        ask(&io, "HEAD " EST "cacerts HTTP/1.1\r\nHost: h\r\n\r\n", &h);
        assert_int_equal(h.status, 200);
        assert_int_equal(atoi(header(&h, "Content-Length")), line.len);
        io_close(&io);
    }
}

static void csrattrs_are_204_when_empty(void **state)
{
    struct io io = tls_13();
    RESPONSE none, some;

    (void)state;
    get(&io, EST "csrattrs", "", &none);
    assert_int_equal(none.status, 204);
    get(&io, EST "wrapped/csrattrs", "", &some);
    assert_int_equal(some.status, 200);
    assert_string_equal(header(&some, "Content-Type"), "application/csrattrs");
    body_is(&some, bytes_str("MAA=\n"));
    io_close(&io);
}

static void check_certificate_answer(const struct response *r)
{
    AUTO_BUF der = BUF_INIT(CERT_MAX_LEN);
    AUTO_BUF cert = BUF_INIT(CERT_MAX_LEN);
    struct err e = {0};
    const uint8_t *p;
    PKCS7 *p7;

    assert_string_equal(header(r, "Content-Type"), "application/pkcs7-mime; smime-type=certs-only");
    assert_int_equal(base64_decode(buf_bytes(&r->body), &der, &e), E_OK);
    p = der.p;
    p7 = d2i_PKCS7(NULL, &p, (long)der.len);
    assert_non_null(p7);
    assert_ptr_equal(p, der.p + der.len);
    assert_true(PKCS7_type_is_signed(p7));
    assert_int_equal(sk_X509_num(p7->d.sign->cert), 1);
    cert_der(sk_X509_value(p7->d.sign->cert, 0), &cert);
    assert_true(bytes_equal(buf_bytes(&cert), buf_bytes(&w.device_cert)));
    PKCS7_free(p7);
}

static void enrollment_reaches_the_core_with_the_binding_of_the_connection(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct io io = tls_open(&(struct client){.version = version});
        uint8_t want[32], csr[5] = {0x30, 0x03, 0x02, 0x01, 0x00}, digest[32];
        RESPONSE r;

        locked(defaults);
        post(&io, EST "wrapped/simpleenroll", P10 AUTH, CSR, &r);
        assert_int_equal(r.status, 200);
        check_certificate_answer(&r);
        assert_int_equal(w.seen.n, 1);
        assert_int_equal(w.seen.operation, SVC_SIMPLEENROLL);
        assert_string_equal(w.seen.label, "wrapped");
        assert_true(w.seen.has_password);
        assert_string_equal(w.seen.user, "dev-1");
        assert_string_equal(w.seen.password, "secret:part");
        assert_int_equal(w.seen.verdict, SVC_CLIENT_NONE);
        assert_int_equal(strncmp(w.seen.peer, "127.0.0.1:", 10), 0);
        sha256(BYTES_OF(csr), digest);
        assert_memory_equal(w.seen.csr_sha256, digest, 32);
        if (version == TLS1_3_VERSION) {
            assert_int_equal(w.seen.binding_kind, SVC_BINDING_TLS_EXPORTER);
            assert_int_equal(SSL_export_keying_material(io.ssl, want, 32, "EXPORTER-Channel-Binding", 24,
                                                        (const unsigned char *)"", 0, 1), 1);
            assert_int_equal(w.seen.binding_len, 32);
            assert_memory_equal(w.seen.binding, want, 32);
        } else {
            assert_int_equal(w.seen.binding_kind, SVC_BINDING_TLS_UNIQUE);
            assert_int_equal(SSL_get_finished(io.ssl, want, sizeof want), 12);
            assert_int_equal(w.seen.binding_len, 12);
            assert_memory_equal(w.seen.binding, want, 12);
        }
        io_close(&io);
    }
}

/* RFC 9266 4.1 */
static void judged_exporter_ends_the_connection_and_tls_unique_does_not(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)
        for (int refused = 0; refused < 2; refused++) {
            struct io io = tls_open(&(struct client){.version = version});
            RESPONSE r;

            locked(defaults);
            pthread_mutex_lock(&w.lock);
            w.answer.binding_judged = true;
            if (refused) {
                w.answer.code = E_INVALID;
                w.answer.cert = (struct bytes){NULL, 0};
            }
            pthread_mutex_unlock(&w.lock);
            post(&io, EST "simpleenroll", P10 AUTH, CSR, &r);
            assert_int_equal(r.status, refused ? 400 : 200);
            assert_string_equal(header(&r, "Connection"), version == TLS1_3_VERSION ? "close" : "keep-alive");
            if (version == TLS1_3_VERSION)
                assert_true(is_closed(&io));
            io_close(&io);
        }
}

/* The part of a multipart body that begins after `head`, decoded; what follows it is left in `rest`. */
static void part_is(const char **rest, const char *head, struct bytes content)
{
    AUTO_BUF got = BUF_INIT(256 * 1024);
    struct err e = {0};
    const char *end;

    assert_int_equal(strncmp(*rest, head, strlen(head)), 0);
    *rest += strlen(head);
    end = strstr(*rest, "\r\n--");
    assert_non_null(end);
    assert_int_equal(base64_decode(BYTES(*rest, (size_t)(end - *rest)), &got, &e), E_OK);
    if (content.len)
        assert_true(bytes_equal(buf_bytes(&got), content));
    *rest = end + 2;
}

#define PART(type) "--inkan-server-generated-key\r\nContent-Type: " type "\r\nContent-Transfer-Encoding: base64\r\n\r\n"

/* Also an answer of several records. */
static void a_key_comes_in_two_parts(void **state)
{
    static uint8_t octets[KEY_PACKAGE_MAX_LEN];
    AUTO_BUF large = BUF_INIT(CERT_MAX_LEN);

    (void)state;
    for (size_t i = 0; i < sizeof octets; i++)
        octets[i] = (uint8_t)(i * 31 + i / 256);
    for (int round = 0; round < 4; round++) {
        bool enveloped = round & 1, long_one = round & 2;
        struct io io = tls_open(&(struct client){.version = round & 1 ? TLS1_2_VERSION : TLS1_3_VERSION});
        struct bytes key = BYTES(octets, long_one ? 11000 : 300);
        AUTO_BUF text = BUF_INIT(256 * 1024);
        const char *rest;
        RESPONSE r, none;

        buf_reset(&large);
        while (large.len < 40000)
            buf_add_bytes(&large, buf_bytes(&w.device_cert));
        pthread_mutex_lock(&w.lock);
        w.answer = (struct svc_enroll_result){.code = E_OK, .cert = long_one ? buf_bytes(&large) : buf_bytes(&w.device_cert), .key = key,
                                              .key_enveloped = enveloped};
        pthread_mutex_unlock(&w.lock);
        post(&io, EST "wrapped/serverkeygen", P10 AUTH, CSR, &r);
        assert_int_equal(r.status, 200);
        assert_string_equal(header(&r, "Content-Type"), "multipart/mixed; boundary=inkan-server-generated-key");
        assert_string_equal(header(&r, "Cache-Control"), "no-store");
        assert_null(header(&r, "Content-Transfer-Encoding"));
        buf_add_bytes(&text, buf_bytes(&r.body));
        buf_add_u8(&text, 0);
        rest = (const char *)text.p;
        part_is(&rest, enveloped ? PART("application/pkcs7-mime; smime-type=server-generated-key") : PART("application/pkcs8"), key);
        part_is(&rest, PART("application/pkcs7-mime; smime-type=certs-only"), (struct bytes){NULL, 0});
        assert_string_equal(rest, "--inkan-server-generated-key--\r\n");
        pthread_mutex_lock(&w.lock);
        assert_int_equal(w.seen.operation, SVC_SERVERKEYGEN);
        assert_true(w.seen.tls_bits == 128 || w.seen.tls_bits == 256);
        w.answer = (struct svc_enroll_result){.code = E_OK, .cert = buf_bytes(&w.device_cert)};
        pthread_mutex_unlock(&w.lock);
        /* A certificate without its key is no answer. */
        post(&io, EST "wrapped/serverkeygen", P10 AUTH, CSR, &none);
        assert_int_equal(none.status, 503);
        io_close(&io);
    }
}

static void core_codes_map_to_status(void **state)
{
    static const struct {
        const char *name, *path, *headers;
        enum err_code code;
        int status;
        const char *challenge, *retry;
        bool client_limit;
    } cases[] = {
        {"invalid", EST "simpleenroll", P10 AUTH, E_INVALID, 400, NULL, NULL},
        {"unauthenticated", EST "simpleenroll", P10 AUTH, E_UNAUTHENTICATED, 401, "Basic realm=\"est\"", NULL},
        {"denied", EST "simpleenroll", P10 AUTH, E_DENIED, 403, NULL, NULL},
        {"not found", EST "simpleenroll", P10 AUTH, E_NOT_FOUND, 403, NULL, NULL},
        {"conflict", EST "simplereenroll", P10 AUTH, E_CONFLICT, 403, NULL, NULL},
        {"pending", EST "simpleenroll", P10 AUTH, E_PENDING, 202, NULL, "33"},
        {"the service's limit", EST "simpleenroll", P10 AUTH, E_BUSY, 503, NULL, "33"},
        {"the client's limit", EST "simpleenroll", P10 AUTH, E_BUSY, 429, NULL, "33", .client_limit = true},
        {"token", EST "simpleenroll", P10 AUTH, E_TOKEN, 503, NULL, "33"},
        {"store", EST "simpleenroll", P10 AUTH, E_STORE, 503, NULL, "33"},
        {"io", EST "simpleenroll", P10 AUTH, E_IO, 503, NULL, "33"},
        {"memory", EST "simpleenroll", P10 AUTH, E_NOMEM, 503, NULL, "33"},
        {"crypto", EST "simpleenroll", P10 AUTH, E_CRYPTO, 500, NULL, NULL},
        {"internal", EST "simpleenroll", P10 AUTH, E_INTERNAL, 500, NULL, NULL},
    };
    struct io io = tls_13();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        RESPONSE r;
        const char *v;

        pthread_mutex_lock(&w.lock);
        w.answer = (struct svc_enroll_result){.code = cases[i].code, .retry_after_s = 33, .text = "why it is so",
                                              .client_limit = cases[i].client_limit};
        pthread_mutex_unlock(&w.lock);
        post(&io, cases[i].path, cases[i].headers, CSR, &r);
        if (r.status != cases[i].status)
            fail_msg("%s: status %d", cases[i].name, r.status);
        v = header(&r, "WWW-Authenticate");
        assert_int_equal(v != NULL, cases[i].challenge != NULL);
        if (v)
            assert_string_equal(v, cases[i].challenge);
        v = header(&r, "Retry-After");
        assert_int_equal(v != NULL, cases[i].retry != NULL);
        if (v)
            assert_string_equal(v, cases[i].retry);
        if (r.status == 202) { /* the text for the client, without a request id */
            assert_true(body_has(&r, "why it is so"));
            assert_int_equal(r.body.len, strlen("why it is so"));
        } else {
            assert_string_equal(header(&r, "Content-Type"), "text/plain; charset=utf-8");
            assert_true(body_has(&r, "request ") && body_has(&r, ": why it is so\n"));
        }
    }
    pthread_mutex_lock(&w.lock);
    w.answer = (struct svc_enroll_result){.code = E_PENDING, .retry_after_s = 60};
    pthread_mutex_unlock(&w.lock);
    {
        RESPONSE r;

        post(&io, EST "simpleenroll", P10 AUTH, CSR, &r);
        assert_int_equal(r.status, 202);
        assert_string_equal(header(&r, "Content-Length"), "0");
        assert_string_equal(header(&r, "Retry-After"), "60");
        assert_null(header(&r, "Content-Type"));
    }
    io_close(&io);
}

/* ---- the factory line -------------------------------------------------------------------------------------------- */

#define FACTORY "/v1/factory/"
#define JSON    "Content-Type: application/json\r\n"

static struct identity station_make(void)
{
    return make_cert(&(struct cert_form){.cn = "issue-1", .to_s = 3600, .eku = "clientAuth"}, NULL, &w.root);
}

static void factory_requests_reach_the_core_with_the_station_s_certificate(void **state)
{
    static const struct {
        const char *method, *path;
        enum svc_factory_action action;
        const char *device_id;
    } cases[] = {
        {"GET", FACTORY "WO-17", SVC_FACTORY_ORDER, ""},
        {"POST", FACTORY "WO-17/reserve", SVC_FACTORY_RESERVE, ""},
        {"GET", FACTORY "WO-17/units/M2-1", SVC_FACTORY_UNIT, "M2-1"},
        {"GET", FACTORY "WO-17/units/M2-1/challenge", SVC_FACTORY_CHALLENGE, "M2-1"},
        {"POST", FACTORY "WO-17/units/M2-1/confirm", SVC_FACTORY_CONFIRM, "M2-1"},
        {"POST", FACTORY "WO-17/units/M2-1/event", SVC_FACTORY_EVENT, "M2-1"},
        {"POST", FACTORY "WO-17/units/M2-1/pack", SVC_FACTORY_PACK, "M2-1"},
        {"POST", FACTORY "WO-17/units/M2-1/ship", SVC_FACTORY_SHIP, "M2-1"},
        {"POST", FACTORY "WO-17/units/M2-1/scrap", SVC_FACTORY_SCRAP, "M2-1"},
        {"POST", FACTORY "WO-17/units/M2-1/rework", SVC_FACTORY_REWORK, "M2-1"},
        {"POST", FACTORY "WO-17/units/AA%3A01/pack", SVC_FACTORY_PACK, "AA:01"},
    };
    struct identity id = station_make();
    struct io io = tls_open(&(struct client){.version = TLS1_3_VERSION, .id = &id});
    AUTO_BUF der = BUF_INIT(CERT_MAX_LEN);
    uint8_t leaf[32];

    (void)state;
    cert_der(id.cert, &der);
    sha256(buf_bytes(&der), leaf);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool is_get = strcmp(cases[i].method, "GET") == 0;
        RESPONSE r;

        if (is_get)
            get(&io, cases[i].path, "", &r);
        else
            post(&io, cases[i].path, JSON, "{\"badge\":\"B-77\"}", &r);
        if (r.status != 200)
            fail_msg("%s %s: status %d", cases[i].method, cases[i].path, r.status);
        assert_string_equal(header(&r, "Content-Type"), "application/json");
        assert_string_equal(header(&r, "Cache-Control"), "no-store");
        body_is(&r, bytes_str("{\"state\":\"reserved\"}"));
        assert_int_equal(w.factory.n, i + 1);
        assert_int_equal(w.factory.action, cases[i].action);
        assert_string_equal(w.factory.order, "WO-17");
        assert_string_equal(w.factory.device_id, cases[i].device_id);
        assert_string_equal(w.factory.body, is_get ? "" : "{\"badge\":\"B-77\"}");
        assert_int_equal(w.factory.verdict, SVC_CLIENT_VALID);
        assert_memory_equal(w.factory.leaf_sha256, leaf, 32);
    }
    io_close(&io);
    identity_free(&id);
    assert_true(log_has("event=factory-request"));
}

static void factory_answers_follow_from_the_code_of_the_core(void **state)
{
    static const struct {
        enum err_code code;
        int status;
        const char *retry;
    } cases[] = {
        {E_INVALID, 400, NULL}, {E_UNAUTHENTICATED, 403, NULL}, {E_DENIED, 403, NULL}, {E_NOT_FOUND, 404, NULL},
        {E_CONFLICT, 409, NULL}, {E_BUSY, 503, "33"},           {E_TOKEN, 503, "33"},  {E_STORE, 503, "33"},
        {E_INTERNAL, 500, NULL},
    };
    struct identity id = station_make();
    struct io io = tls_open(&(struct client){.version = TLS1_3_VERSION, .id = &id});
    RESPONSE text;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        RESPONSE r, own;
        const char *v;

        pthread_mutex_lock(&w.lock);
        w.factory_answer = (struct svc_factory_result){
            .code = cases[i].code, .retry_after_s = 33, .body = bytes_str("{\"error\":\"order-full\"}")};
        pthread_mutex_unlock(&w.lock);
        post(&io, FACTORY "WO-17/reserve", JSON, "{}", &r);
        assert_int_equal(r.status, cases[i].status);
        body_is(&r, bytes_str("{\"error\":\"order-full\"}"));
        v = header(&r, "Retry-After");
        assert_int_equal(v != NULL, cases[i].retry != NULL);
        if (v)
            assert_string_equal(v, cases[i].retry);
        pthread_mutex_lock(&w.lock);
        w.factory_answer.body = (struct bytes){NULL, 0};
        pthread_mutex_unlock(&w.lock);
        post(&io, FACTORY "WO-17/reserve", JSON, "{}", &own);
        assert_int_equal(own.status, cases[i].status);
        assert_true(body_has(&own, "request "));
    }
    pthread_mutex_lock(&w.lock);
    w.factory_answer = (struct svc_factory_result){.code = E_OK, .is_text = true, .body = bytes_str("inkan-confirm-1 WO-17")};
    pthread_mutex_unlock(&w.lock);
    get(&io, FACTORY "WO-17/units/M2-1/challenge", "", &text);
    assert_string_equal(header(&text, "Content-Type"), "text/plain; charset=utf-8");
    body_is(&text, bytes_str("inkan-confirm-1 WO-17"));
    io_close(&io);
    identity_free(&id);
}

static void factory_requests_are_refused_before_the_core_is_asked(void **state)
{
    static char large[FACTORY_BODY_MAX + 2];
    static const struct {
        const char *name, *method, *path, *headers, *body;
        int status;
    } cases[] = {
        {"no order", "POST", FACTORY, JSON, "{}", 404},
        {"an order that is no name", "POST", FACTORY "-x/reserve", JSON, "{}", 404},
        {"an order too long", "POST", FACTORY "ooooooooooooooooooooooooooooooooooooooooooooooooo/reserve", JSON, "{}", 404},
        {"an unknown action", "POST", FACTORY "WO-17/drop", JSON, "{}", 404},
        {"an action of units without a unit", "POST", FACTORY "WO-17/confirm", JSON, "{}", 404},
        {"an action of the order at a unit", "POST", FACTORY "WO-17/units/M2-1/reserve", JSON, "{}", 404},
        {"an empty unit", "POST", FACTORY "WO-17/units//pack", JSON, "{}", 404},
        {"a segment too many", "POST", FACTORY "WO-17/units/M2-1/pack/x", JSON, "{}", 404},
        {"a slash at the end", "POST", FACTORY "WO-17/reserve/", JSON, "{}", 404},
        {"the wrong method", "GET", FACTORY "WO-17/reserve", "", "", 405},
        {"the wrong method for reading", "POST", FACTORY "WO-17", JSON, "{}", 405},
        {"another content type", "POST", FACTORY "WO-17/reserve", "Content-Type: text/plain\r\n", "{}", 415},
        {"a coded body", "POST", FACTORY "WO-17/reserve", JSON "Content-Encoding: gzip\r\n", "{}", 415},
        {"a body one octet too long", "POST", FACTORY "WO-17/reserve", JSON, large, 413},
    };
    struct identity id = station_make();
    struct io nobody = tls_13();
    RESPONSE none, most;
    struct io io;

    (void)state;
    memset(large, ' ', FACTORY_BODY_MAX + 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        RESPONSE r;

        io = tls_open(&(struct client){.version = TLS1_3_VERSION, .id = &id});
        if (strcmp(cases[i].method, "GET") == 0)
            get(&io, cases[i].path, cases[i].headers, &r);
        else
            post(&io, cases[i].path, cases[i].headers, cases[i].body, &r);
        if (r.status != cases[i].status)
            fail_msg("%s: status %d", cases[i].name, r.status);
        io_close(&io);
    }
    post(&nobody, FACTORY "WO-17/reserve", JSON, "{}", &none);
    assert_int_equal(none.status, 403);
    io_close(&nobody);
    assert_int_equal(w.factory.n, 0);
    io = tls_open(&(struct client){.version = TLS1_3_VERSION, .id = &id});
    post(&io, FACTORY "WO-17/reserve", JSON, large + 1, &most);
    assert_int_equal(most.status, 200);
    assert_int_equal(w.factory.n, 1);
    io_close(&io);
    identity_free(&id);
}

static void what_a_station_says_of_the_unit_is_handed_on(void **state)
{
    AUTO_BUF longest = BUF_INIT(1024);
    struct io io = tls_13();
    RESPONSE r, absent, most, more, odd;

    (void)state;
    post(&io, EST "simpleenroll", P10 AUTH "Inkan-Unit: badge=B-77;tool=st/1.2\r\n", CSR, &r);
    assert_int_equal(r.status, 200);
    assert_string_equal(w.seen.unit, "badge=B-77;tool=st/1.2");
    post(&io, EST "simpleenroll", P10 AUTH, CSR, &absent);
    assert_int_equal(absent.status, 200);
    assert_string_equal(w.seen.unit, "");
    buf_printf(&longest, P10 AUTH "Inkan-Unit: %0512d\r\n", 7);
    buf_add_u8(&longest, 0);
    post(&io, EST "simpleenroll", (const char *)longest.p, CSR, &most);
    assert_int_equal(most.status, 200);
    assert_int_equal(strlen(w.seen.unit), 512);
    buf_reset(&longest);
    buf_printf(&longest, P10 AUTH "Inkan-Unit: %0513d\r\n", 7);
    buf_add_u8(&longest, 0);
    post(&io, EST "simpleenroll", (const char *)longest.p, CSR, &more);
    assert_int_equal(more.status, 400);
    post(&io, EST "simpleenroll", P10 AUTH "Inkan-Unit: badge=\xc3\xa9\r\n", CSR, &odd);
    assert_int_equal(odd.status, 400);
    assert_int_equal(w.seen.n, 3);
    io_close(&io);
}

static void requests_are_refused_in_the_documented_order(void **state)
{
    static char large[40000];
    static const struct {
        const char *name, *method, *path, *headers, *body;
        int status;
        const char *text; /* in the body */
    } cases[] = {
        {"unknown operation", "POST", EST "simpleenrol", P10 AUTH, CSR, 404, NULL},
        {"no operation", "GET", EST, "", "", 404, NULL},
        {"unknown label", "POST", EST "nolabel/simpleenroll", P10 AUTH, CSR, 404, NULL},
        {"label in capitals", "POST", EST "WRAPPED/simpleenroll", P10 AUTH, CSR, 404, NULL},
        {"two labels", "POST", EST "a/b/simpleenroll", P10 AUTH, CSR, 404, NULL},
        {"empty label", "POST", EST "/simpleenroll", P10 AUTH, CSR, 404, NULL},
        {"operation with a slash behind", "GET", EST "cacerts/", "", "", 404, NULL},
        {"dot-dot", "GET", EST "../est/cacerts", "", "", 400, NULL},
        {"escaped slash", "GET", "/.well-known/est%2fcacerts", "", "", 400, NULL},
        {"escaped NUL", "GET", EST "cacerts%00", "", "", 400, NULL},
        {"elsewhere", "GET", "/", "", "", 404, NULL},
        {"route before method", "DELETE", EST "nothing", "", "", 404, NULL},
        {"POST cacerts", "POST", EST "cacerts", P10, CSR, 405, NULL},
        {"GET simpleenroll", "GET", EST "simpleenroll", "", "", 405, NULL},
        {"HEAD-like unknown method", "BREW", EST "simpleenroll", AUTH, "", 405, NULL},
        {"method before type", "PUT", EST "simpleenroll", "Content-Type: a/b\r\n" AUTH, CSR, 405, NULL},
        {"serverkeygen where no profile has it", "POST", EST "serverkeygen", P10 AUTH, CSR, 404, "no such resource"},
        {"fullcmc", "POST", EST "certonly/fullcmc", AUTH, CSR, 501, "not offered"},
        {"no type", "POST", EST "simpleenroll", AUTH, CSR, 415, NULL},
        {"prefix of the type", "POST", EST "simpleenroll", "Content-Type: application/pkcs10x\r\n" AUTH, CSR, 415, NULL},
        {"type with parameter", "POST", EST "simpleenroll", "Content-Type: APPLICATION/pkcs10; a=b\r\n" AUTH, CSR, 200, NULL},
        {"compressed", "POST", EST "simpleenroll", P10 AUTH "Content-Encoding: gzip\r\n", CSR, 415, NULL},
        {"type before credentials", "POST", EST "simpleenroll", "Content-Type: a/b\r\n", CSR, 415, NULL},
        {"no credentials", "POST", EST "simpleenroll", P10, CSR, 401, NULL},
        {"another scheme", "POST", EST "simpleenroll", P10 "Authorization: Digest x\r\n", CSR, 401, NULL},
        {"no colon", "POST", EST "simpleenroll", P10 "Authorization: Basic ZGV2\r\n", CSR, 400, NULL},
        {"not base64", "POST", EST "simpleenroll", P10 "Authorization: Basic ZG*2\r\n", CSR, 400, NULL},
        {"NUL in the password", "POST", EST "simpleenroll", P10 "Authorization: Basic ZDoAeA==\r\n", CSR, 400, NULL},
        {"password where only certificates count", "POST", EST "certonly/simpleenroll", P10 AUTH, CSR, 403, "certificate"},
        {"credentials before the body", "POST", EST "simpleenroll", P10, "garbage!", 401, NULL},
        {"transfer encoding ignored", "POST", EST "simpleenroll", P10 AUTH "Content-Transfer-Encoding: 8bit\r\n", CSR, 200, NULL},
        {"body in lines", "POST", EST "simpleenroll", P10 AUTH, "MAMC\r\n AQA\t=\n\n", 200, NULL},
        {"empty body", "POST", EST "simpleenroll", P10 AUTH, "", 400, NULL},
        {"PEM", "POST", EST "simpleenroll", P10 AUTH, "-----BEGIN CERTIFICATE REQUEST-----\nMAMCAQA=\n-----END CERTIFICATE REQUEST-----\n", 400, "base64 without PEM lines"},
        {"not base64", "POST", EST "simpleenroll", P10 AUTH, "MAMC*QA=", 400, NULL},
        {"padding missing", "POST", EST "simpleenroll", P10 AUTH, "MAMCAQA", 400, NULL},
        {"octets behind the CSR", "POST", EST "simpleenroll", P10 AUTH, "MAMCAQAA", 400, NULL},
        {"truncated DER", "POST", EST "simpleenroll", P10 AUTH, "MAMCAQ==", 400, NULL},
        {"not a SEQUENCE", "POST", EST "simpleenroll", P10 AUTH, "AgEA", 400, NULL},
        {"CSR above its limit", "POST", EST "simpleenroll", P10 AUTH, large, 400, NULL},
    };

    (void)state;
    memset(large, 'A', 24000); /* 18,000 octets */
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct io io = tls_13();
        AUTO_BUF q = BUF_INIT(64 * 1024);
        RESPONSE r, again;

        if (strcmp(cases[i].method, "GET") == 0)
            buf_printf(&q, "GET %s HTTP/1.1\r\nHost: h\r\n%s\r\n", cases[i].path, cases[i].headers);
        else
            buf_printf(&q, "%s %s HTTP/1.1\r\nHost: h\r\n%sContent-Length: %zu\r\n\r\n%s", cases[i].method, cases[i].path,
                       cases[i].headers, strlen(cases[i].body), cases[i].body);
        io_send(&io, q.p, q.len);
        if (!response_read(&io, false, &r))
            fail_msg("%s: no answer", cases[i].name);
        if (r.status != cases[i].status)
            fail_msg("%s: status %d", cases[i].name, r.status);
        if (r.status == 405)
            assert_non_null(header(&r, "Allow"));
        assert_int_equal(header(&r, "WWW-Authenticate") != NULL, r.status == 401);
        if (cases[i].text && !body_has(&r, cases[i].text))
            fail_msg("%s: body %s", cases[i].name, (const char *)r.body.p);
        /* None of them disturbs the next request of the same connection. */
        get(&io, EST "csrattrs", "", &again);
        assert_int_equal(again.status, 204);
        io_close(&io);
    }
}

/* Refusals after which nothing of the connection is read as a request. */
/* The status of the last answer before the service closes, and how many there were. */
static int answers_until_close(struct io *io, bool head_only, unsigned *n)
{
    int last = 0;

    *n = 0;
    for (;;) {
        RESPONSE r;

        if (!response_read(io, head_only, &r))
            return last;
        last = r.status;
        if (last == 100)
            continue;
        ++*n;
        if (last >= 400 && strcmp(header(&r, "Connection"), "close") == 0) {
            char c;

            if (io_recv(io, &c, 1) > 0)
                fail_msg("an answer after Connection: close");
            return last;
        }
    }
}

static void framing_case_check(const struct framing_case *row, bool tls)
{
    struct io io = tls ? tls_13() : plain(w.http);
    const char *refusal = strchr(row->want, '!');
    unsigned answers, want = 0;
    int status, wanted;

    for (const char *p = row->want; *p; p++)
        want += *p == ';' || *p == '!';
    io_send(&io, row->in, row->len ? row->len : strlen(row->in));
    if (!refusal) /* the answers are those of the routes; that all came is what counts */
        shutdown(io.fd, SHUT_WR);
    status = answers_until_close(&io, strncmp(row->in, "HEAD ", 5) == 0, &answers);
    wanted = refusal ? atoi(refusal + 1) : status;
    if (wanted == 413) /* the route is judged first */
        wanted = 404;
    if (answers != want || status != wanted)
        fail_msg("%s, %s: %u answers, the last %d; want \"%s\"", row->name, tls ? "TLS" : "plain", answers, status, row->want);
    io_close(&io);
}

/* Each refused row is answered with its status and Connection: close, and what follows it is not answered. */
static void framing_battery_on_every_listener(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(framing_cases); i++) {
        framing_case_check(&framing_cases[i], true);
        framing_case_check(&framing_cases[i], false);
    }
}

static void broken_framing_closes(void **state)
{
    static const struct {
        const char *name, *request;
        int status;
    } cases[] = {
        {"declared too long", "POST " EST "simpleenroll HTTP/1.1\r\nHost: h\r\n" P10 AUTH "Content-Length: 32769\r\n\r\n", 413},
        {"declared far too long without credentials", "POST " EST "simpleenroll HTTP/1.1\r\nHost: h\r\n" P10 "Content-Length: 99999999999\r\n\r\n", 401},
        {"chunked", "POST " EST "simpleenroll HTTP/1.1\r\nHost: h\r\n" P10 AUTH "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411},
        {"no length", "POST " EST "simpleenroll HTTP/1.1\r\nHost: h\r\n" P10 AUTH "\r\n", 411},
        {"two lengths", "POST " EST "simpleenroll HTTP/1.1\r\nHost: h\r\n" P10 AUTH "Content-Length: 8\r\nContent-Length: 8\r\n\r\n" CSR, 400},
        {"absolute form", "GET https://h" EST "cacerts HTTP/1.1\r\nHost: h\r\n\r\n", 400},
        {"no Host", "GET " EST "cacerts HTTP/1.1\r\n\r\n", 400},
        {"bare LF", "GET " EST "cacerts HTTP/1.1\nHost: h\n\n", 400},
        {"expectation", "POST " EST "simpleenroll HTTP/1.1\r\nHost: h\r\nExpect: x\r\nContent-Length: 8\r\n\r\n", 417},
        {"refused while it waits for 100", "POST " EST "nothing HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n", 404},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct io io = tls_13();
        RESPONSE r;

        io_puts(&io, cases[i].request);
        io_puts(&io, "GET " EST "cacerts HTTP/1.1\r\nHost: h\r\n\r\n"); /* must not be answered */
        if (!response_read(&io, false, &r))
            fail_msg("%s: no answer", cases[i].name);
        if (r.status != cases[i].status)
            fail_msg("%s: status %d", cases[i].name, r.status);
        assert_string_equal(header(&r, "Connection"), "close");
        if (!is_closed(&io))
            fail_msg("%s: not closed", cases[i].name);
        io_close(&io);
    }
    {
        struct io io = tls_13();
        AUTO_BUF q = BUF_INIT(64 * 1024);
        RESPONSE r;

        buf_add_str(&q, "GET /");
        while (q.len < 5000)
            buf_add_u8(&q, 'a');
        io_send(&io, q.p, q.len);
        assert_true(response_read(&io, false, &r));
        assert_int_equal(r.status, 414);
        io_close(&io);
    }
}

/* A client that sends all of a large body before it reads still gets the answer, not a reset. */
static void early_answer_survives_a_body_that_keeps_coming(void **state)
{
    static char chunk[16384];
    struct io io = tls_13();
    RESPONSE r;

    (void)state;
    memset(chunk, 'A', sizeof chunk);
    io_puts(&io, "POST " EST "simpleenroll HTTP/1.1\r\nHost: h\r\n" P10 AUTH "Content-Length: 300000\r\n\r\n");
    for (int i = 0; i < 18; i++) {
        io_send(&io, chunk, sizeof chunk);
        usleep(1000);
    }
    assert_true(response_read(&io, false, &r));
    assert_int_equal(r.status, 413);
    assert_true(is_closed(&io));
    io_close(&io);
}

static void expect_gets_100_and_then_the_answer(void **state)
{
    struct io io = tls_13();
    RESPONSE go, r;

    (void)state;
    io_puts(&io, "POST " EST "simpleenroll HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n" P10 AUTH "Content-Length: 8\r\n\r\n");
    assert_true(response_read(&io, false, &go));
    assert_int_equal(go.status, 100);
    io_puts(&io, CSR);
    assert_true(response_read(&io, false, &r));
    assert_int_equal(r.status, 200);
    io_close(&io);
}

static void http_10_keeps_alive_when_asked(void **state)
{
    struct io io = tls_13();
    RESPONSE a, b;

    (void)state;
    ask(&io, "POST " EST "simpleenroll HTTP/1.0\r\nConnection: keep-alive\r\n" P10 AUTH "Content-Length: 8\r\n\r\n" CSR, &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(header(&a, "Connection"), "keep-alive");
    ask(&io, "GET " EST "csrattrs HTTP/1.0\r\n\r\n", &b);
    assert_int_equal(b.status, 204);
    assert_string_equal(header(&b, "Connection"), "close");
    assert_true(is_closed(&io));
    io_close(&io);
}

static void pipelined_requests_are_answered_in_order_one_at_a_time(void **state)
{
    struct io io = tls_13();
    RESPONSE a, b, c;

    (void)state;
    io_puts(&io, "GET " EST "csrattrs HTTP/1.1\r\nHost: h\r\n\r\n"
                 "POST " EST "simpleenroll HTTP/1.1\r\nHost: h\r\n" P10 AUTH "Content-Length: 8\r\n\r\n" CSR
                 "GET " EST "nothing HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(response_read(&io, false, &a));
    assert_true(response_read(&io, false, &b));
    assert_true(response_read(&io, false, &c));
    assert_int_equal(a.status, 204);
    assert_int_equal(b.status, 200);
    assert_int_equal(c.status, 404);
    io_close(&io);
}

/* More than one turn's worth: the rest is taken up again without another octet from the client. */
static void many_pipelined_requests_are_all_answered(void **state)
{
    struct io io[] = {tls_13(), tls_open(&(struct client){.version = TLS1_2_VERSION}), plain(w.http)};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(io); i++) {
        AUTO_BUF text = BUF_INIT(64 * 1024);

        for (int n = 0; n < 100; n++)
            buf_add_str(&text, "GET " EST "nothing HTTP/1.1\r\nHost: h\r\n\r\n");
        io_send(&io[i], text.p, text.len);
        for (int n = 0; n < 100; n++) {
            RESPONSE r;

            assert_true(response_read(&io[i], false, &r));
            assert_int_equal(r.status, 404);
        }
        io_close(&io[i]);
    }
}

/* Far more than socket buffers hold: what did not leave at once leaves later, whole and in order. */
static void answers_wait_for_a_client_that_reads_late(void **state)
{
    struct io io[] = {tls_13(), tls_open(&(struct client){.version = TLS1_2_VERSION})};
    const int small = 8192, n = 700;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(io); i++) {
        AUTO_BUF text = BUF_INIT(128 * 1024);
        size_t octets = 0;

        setsockopt(io[i].fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        for (int k = 0; k < n; k++)
            buf_add_str(&text, "GET " EST "cacerts HTTP/1.1\r\nHost: h\r\n\r\n");
        io_send(&io[i], text.p, text.len);
        usleep(200000);
        for (int k = 0; k < n; k++) {
            RESPONSE r;

            assert_true(response_read(&io[i], false, &r));
            assert_int_equal(r.status, 200);
            octets += r.body.len;
        }
        assert_true(octets > 600 * 1024);
        io_close(&io[i]);
    }
}

static void close_notify_is_answered(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct io io = tls_open(&(struct client){.version = version});
        RESPONSE r;

        get(&io, EST "csrattrs", "", &r);
        assert_int_equal(SSL_shutdown(io.ssl), 0);
        assert_int_equal(SSL_shutdown(io.ssl), 1); /* theirs has come */
        io_close(&io);
    }
}

static void requests_are_logged_and_passwords_are_not(void **state)
{
    struct io io = tls_13();
    RESPONSE r;

    (void)state;
    post(&io, EST "simpleenroll", P10 "Authorization: Basic dXNlci1sb2c6aHVudGVyMi1sb2c=\r\n", CSR, &r); /* user-log:hunter2-log */
    assert_int_equal(r.status, 200);
    io_close(&io);
    assert_true(log_has("event=est-request"));
    assert_true(log_has("op=simpleenroll"));
    assert_false(log_has("hunter2"));
    assert_false(log_has("aHVudGVyMi1sb2c"));
}

/* ---- TLS --------------------------------------------------------------------------------------------------------- */

static void client_certificates_are_judged(void **state)
{
    struct identity other = make_cert(&(struct cert_form){.cn = "Other Root", .ca = true, .to_s = 86400}, NULL, NULL);
    struct identity impostor = make_cert(&(struct cert_form){.cn = "Test Root", .ca = true, .to_s = 86400}, NULL, NULL);
    struct identity old_ca = make_cert(&(struct cert_form){.cn = "Old CA", .ca = true, .from_s = -7200, .to_s = -3600}, NULL, &w.root);
    struct identity ca = make_cert(&(struct cert_form){.cn = "Sub CA", .ca = true, .to_s = 86400}, NULL, &w.root);
    const struct {
        const char *name;
        struct cert_form form;
        const struct identity *issuer;
        bool send_issuer;
        int verdict; /* -1: refused by alert */
    } cases[] = {
        {"valid", {.cn = "d", .to_s = 3600}, &w.root, false, SVC_CLIENT_VALID},
        {"clientAuth", {.cn = "d", .to_s = 3600, .eku = "clientAuth"}, &w.root, false, SVC_CLIENT_VALID},
        {"anyExtendedKeyUsage", {.cn = "d", .to_s = 3600, .eku = "anyExtendedKeyUsage"}, &w.root, false, SVC_CLIENT_VALID},
        {"serverAuth only", {.cn = "d", .to_s = 3600, .eku = "serverAuth"}, &w.root, false, -1},
        {"digitalSignature", {.cn = "d", .to_s = 3600, .ku = "critical,digitalSignature"}, &w.root, false, SVC_CLIENT_VALID},
        {"keyEncipherment only", {.cn = "d", .to_s = 3600, .ku = "critical,keyEncipherment"}, &w.root, false, -1},
        {"expired", {.cn = "d", .from_s = -7200, .to_s = -3600}, &w.root, false, SVC_CLIENT_EXPIRED},
        {"expired and for servers", {.cn = "d", .from_s = -7200, .to_s = -3600, .eku = "serverAuth"}, &w.root, false, -1},
        {"not yet valid", {.cn = "d", .from_s = 3600, .to_s = 7200}, &w.root, false, -1},
        {"under a sent issuer", {.cn = "d", .to_s = 3600}, &ca, true, SVC_CLIENT_VALID},
        {"issuer not sent", {.cn = "d", .to_s = 3600}, &ca, false, -1},
        {"under an expired issuer", {.cn = "d", .from_s = -7200, .to_s = 3600}, &old_ca, true, -1},
        {"expired under another root", {.cn = "d", .from_s = -7200, .to_s = -3600}, &other, true, -1},
        {"foreign", {.cn = "d", .to_s = 3600}, &other, false, -1},
        {"issuer of the same name", {.cn = "d", .to_s = 3600}, &impostor, true, -1},
        {"self-signed", {.cn = "d", .to_s = 3600}, NULL, false, -1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
            struct identity dev = make_cert(&cases[i].form, NULL, cases[i].issuer);
            struct client c = {.version = version, .id = &dev};
            AUTO_BUF der = BUF_INIT(CERT_MAX_LEN);
            uint8_t digest[32];
            char first;
            struct io io;

            if (cases[i].send_issuer)
                c.extra[c.extra_n++] = cases[i].issuer->cert;
            if (cases[i].verdict < 0) {
                bool up = tls_try(&c, &io);

                /* TLS 1.3 tells the client on its first read. */
                if (up && (version == TLS1_2_VERSION || io_recv(&io, &first, 1) >= 0))
                    fail_msg("%s: accepted", cases[i].name);
                if (!up && SSL_get_error(io.ssl, -1) != SSL_ERROR_SSL)
                    fail_msg("%s: no alert", cases[i].name);
                assert_int_equal(ERR_GET_LIB(ERR_peek_last_error()), ERR_LIB_SSL);
                assert_true(ERR_GET_REASON(ERR_peek_last_error()) > SSL_AD_REASON_OFFSET);
            } else {
                RESPONSE r;

                locked(defaults);
                io = tls_open(&c);
                post(&io, EST "certonly/simplereenroll", P10, CSR, &r);
                assert_int_equal(r.status, 200);
                assert_int_equal(w.seen.operation, SVC_SIMPLEREENROLL);
                if ((int)w.seen.verdict != cases[i].verdict)
                    fail_msg("%s: verdict %d", cases[i].name, w.seen.verdict);
                assert_int_equal(w.seen.chain_n, 1 + c.extra_n);
                cert_der(dev.cert, &der);
                sha256(buf_bytes(&der), digest);
                assert_memory_equal(w.seen.leaf_sha256, digest, 32);
                assert_false(w.seen.has_password);
            }
            io_close(&io);
            identity_free(&dev);
        }
    identity_free(&other);
    identity_free(&impostor);
    identity_free(&old_ca);
    identity_free(&ca);
}

static bool chain_is_accepted(const struct client *c)
{
    struct io io;
    bool ok = tls_try(c, &io);

    if (ok) {
        struct response r = {0};

        io_puts(&io, "GET " EST "csrattrs HTTP/1.1\r\nHost: h\r\n\r\n");
        ok = response_read(&io, false, &r);
        response_clear(&r);
    }
    io_close(&io);
    return ok;
}

static void long_and_large_chains_are_refused(void **state)
{
    struct identity ca[5], dev;
    struct client c = {.version = TLS1_3_VERSION, .id = &dev};
    char padding[9000];

    (void)state;
    for (int i = 0; i < 5; i++)
        ca[i] = make_cert(&(struct cert_form){.cn = (const char *[]){"Sub 1", "Sub 2", "Sub 3", "Sub 4", "Sub 5"}[i], .ca = true, .to_s = 3600}, NULL, i ? &ca[i - 1] : &w.root);
    for (int n = 3; n <= 4; n++) { /* the leaf and n issuers: 4 certificates pass, 5 do not */
        dev = make_cert(&(struct cert_form){.cn = "d", .to_s = 3600}, NULL, &ca[n - 1]);
        c.extra_n = 0;
        for (int i = n - 1; i >= 0; i--)
            c.extra[c.extra_n++] = ca[i].cert;
        assert_int_equal(chain_is_accepted(&c), n == 3);
        identity_free(&dev);
    }
    memset(padding, 'x', sizeof padding);
    for (int over = 0; over < 2; over++) { /* two certificates of 7 or 9 KiB */
        struct identity big;

        padding[over ? 8900 : 7000] = '\0';
        big = make_cert(&(struct cert_form){.cn = "Big", .ca = true, .to_s = 3600, .padding = padding}, NULL, &w.root);
        dev = make_cert(&(struct cert_form){.cn = "d", .to_s = 3600, .padding = padding}, NULL, &big);
        c.extra[0] = big.cert;
        c.extra_n = 1;
        assert_int_equal(chain_is_accepted(&c), !over);
        identity_free(&dev);
        identity_free(&big);
        padding[7000] = 'x';
    }
    for (int i = 0; i < 5; i++)
        identity_free(&ca[i]);
}

static void alpn_is_http11_or_nothing(void **state)
{
    static const unsigned char both[] = "\x02h2\x08http/1.1", other[] = "\x02h2";
    const unsigned char *got;
    unsigned len;
    struct io io;

    (void)state;
    io = tls_open(&(struct client){.alpn = both, .alpn_len = sizeof both - 1});
    SSL_get0_alpn_selected(io.ssl, &got, &len);
    assert_int_equal(len, 8);
    assert_memory_equal(got, "http/1.1", 8);
    io_close(&io);
    io = tls_open(&(struct client){.alpn = other, .alpn_len = sizeof other - 1});
    SSL_get0_alpn_selected(io.ssl, &got, &len);
    assert_int_equal(len, 0);
    io_close(&io);
}

static void sessions_are_neither_resumed_nor_renegotiated(void **state)
{
    (void)state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct io io = tls_open(&(struct client){.version = version});
        SSL_SESSION *session = SSL_get1_session(io.ssl);
        RESPONSE r;

        get(&io, EST "csrattrs", "", &r);
        assert_false(SSL_SESSION_has_ticket(session));
        if (version == TLS1_2_VERSION) {
            char c;

            /* A client that does not take the refusal, so that it does not close: the attempt ends the connection. */
            SSL_set0_rbio(io.ssl, BIO_new(BIO_s_mem()));
            SSL_renegotiate(io.ssl);
            assert_int_not_equal(SSL_do_handshake(io.ssl), 1);
            while (recv(io.fd, &c, 1, 0) == 1)
                ;
            assert_int_equal(recv(io.fd, &c, 1, 0), 0);
        }
        io_close(&io);
        io = tls_open(&(struct client){.version = version, .session = session});
        assert_int_equal(SSL_session_reused(io.ssl), 0);
        io_close(&io);
        SSL_SESSION_free(session);
    }
}

static void old_protocols_and_plain_http_are_turned_away(void **state)
{
    struct io io;
    char sink[512];
    RESPONSE r;

    (void)state;
    io = plain(w.est);
    io_puts(&io, "GET " EST "cacerts HTTP/1.1\r\nHost: h\r\n\r\n");
    while (io_recv(&io, sink, sizeof sink) > 0)
        assert_null(memmem(sink, sizeof sink, "HTTP/1.1 200", 12));
    io_close(&io);
    io = (struct io){.fd = tcp(w.est), .ctx = SSL_CTX_new(TLS_client_method())};
    SSL_CTX_set_security_level(io.ctx, 0);
    SSL_CTX_set_min_proto_version(io.ctx, TLS1_1_VERSION);
    SSL_CTX_set_max_proto_version(io.ctx, TLS1_1_VERSION);
    io.ssl = SSL_new(io.ctx);
    SSL_set_fd(io.ssl, io.fd);
    assert_int_not_equal(SSL_connect(io.ssl), 1);
    io_close(&io);
    io = tls_13(); /* and the listener lives */
    get(&io, EST "cacerts", "", &r);
    assert_int_equal(r.status, 200);
    io_close(&io);
}

/* Without the extended master secret a binding proves nothing (RFC 9148 9.1): none is offered to the core. */
static void tls12_without_ems_offers_no_binding(void **state)
{
    struct io io = {.fd = tcp(w.est), .ctx = SSL_CTX_new(TLS_client_method())};
    RESPONSE r;

    (void)state;
    SSL_CTX_set_max_proto_version(io.ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(io.ctx, SSL_OP_NO_EXTENDED_MASTER_SECRET);
    io.ssl = SSL_new(io.ctx);
    SSL_set_fd(io.ssl, io.fd);
    assert_int_equal(SSL_connect(io.ssl), 1);
    post(&io, EST "simpleenroll", P10 AUTH, CSR, &r);
    assert_int_equal(r.status, 200);
    assert_int_equal(w.seen.binding_kind, SVC_BINDING_NONE);
    io_close(&io);
}

/* ---- OCSP -------------------------------------------------------------------------------------------------------- */

#define OCSP_POST "Content-Type: application/ocsp-request\r\n"

static const uint8_t try_later[] = {0x30, 0x03, 0x0a, 0x01, 0x03};
static const uint8_t malformed[] = {0x30, 0x03, 0x0a, 0x01, 0x01};

static void cacheable_answers_are_asked_once_and_carry_the_headers(void **state)
{
    struct io io = plain(w.http);
    char want[HTTP_REQUEST_LINE_MAX], etag[80], hex[65];
    uint8_t digest[32];
    RESPONSE first, second, head, same, other;
    const char *cc;

    (void)state;
    post(&io, "/ocsp", OCSP_POST, "request one", &first);
    assert_int_equal(first.status, 200);
    body_is(&first, w.ocsp.response);
    assert_string_equal(header(&first, "Content-Type"), "application/ocsp-response");
    cc = header(&first, "Cache-Control");
    assert_int_equal(strncmp(cc, "max-age=", 8), 0);
    assert_true(atoi(cc + 8) > 590 && atoi(cc + 8) <= 600);
    assert_non_null(strstr(cc, ", public, no-transform, must-revalidate"));
    assert_non_null(header(&first, "Date"));
    assert_non_null(header(&first, "Last-Modified"));
    assert_non_null(header(&first, "Expires"));
    sha256(w.ocsp.response, digest);
    hex_encode(digest, 32, hex);
    snprintf(etag, sizeof etag, "\"%s\"", hex);
    assert_string_equal(header(&first, "ETag"), etag);
    assert_null(header(&first, "Pragma"));

    get(&io, "/ocsp/cmVxdWVzdCBvbmU%3D", "", &second); /* the same request */
    assert_int_equal(second.status, 200);
    body_is(&second, w.ocsp.response);
    assert_int_equal(w.asked, 1);
    ask(&io, "HEAD /ocsp///cmVxdWVzdCBvbmU= HTTP/1.1\r\nHost: h\r\n\r\n", &head);
    assert_int_equal(head.status, 200);
    assert_int_equal(atoi(header(&head, "Content-Length")), w.ocsp.response.len);
    snprintf(want, sizeof want, "If-None-Match: %s\r\n", etag);
    get(&io, "/ocsp/cmVxdWVzdCBvbmU=", want, &same);
    assert_int_equal(same.status, 304);
    get(&io, "/ocsp/cmVxdWVzdCB0d28=", want, &other); /* "request two" */
    assert_int_equal(w.asked, 2);
    io_close(&io);
}

static void answers_for_now_only_are_not_cached(void **state)
{
    struct io io = plain(w.http);

    (void)state;
    for (int error = 0; error < 2; error++) {
        RESPONSE a, b;

        locked(defaults);
        pthread_mutex_lock(&w.lock);
        w.ocsp.cacheable = false;
        w.ocsp.is_error = error;
        pthread_mutex_unlock(&w.lock);
        post(&io, "/ocsp", OCSP_POST, "with nonce", &a);
        post(&io, "/ocsp", OCSP_POST, "with nonce", &b);
        assert_int_equal(a.status, 200);
        assert_string_equal(header(&a, "Cache-Control"), error ? "no-store" : "max-age=0, private, must-revalidate");
        assert_null(header(&a, "Expires"));
        assert_int_equal(w.asked, 2);
    }
    io_close(&io);
}

static void bad_ocsp_requests_get_the_documented_answers(void **state)
{
    static char large[OCSP_REQUEST_MAX + 2];
    struct io io = plain(w.http);
    static const struct {
        const char *name, *path;
    } malformed_gets[] = {{"nothing", "/ocsp"},        {"slash", "/ocsp/"},     {"not base64", "/ocsp/*"},
                          {"no padding", "/ocsp/MAA"}, {"blank", "/ocsp/MA%20A"}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(malformed_gets); i++) {
        RESPONSE r;

        get(&io, malformed_gets[i].path, "", &r);
        assert_int_equal(r.status, 200);
        body_is(&r, BYTES_OF(malformed));
        assert_string_equal(header(&r, "Cache-Control"), "no-store");
    }
    {
        RESPONSE empty, type, method, path, big;

        post(&io, "/ocsp", OCSP_POST, "", &empty);
        body_is(&empty, BYTES_OF(malformed));
        post(&io, "/ocsp", "Content-Type: text/plain\r\n", "x", &type);
        assert_int_equal(type.status, 415);
        ask(&io, "DELETE /ocsp HTTP/1.1\r\nHost: h\r\n\r\n", &method);
        assert_int_equal(method.status, 405);
        assert_string_equal(header(&method, "Allow"), "GET, HEAD, POST");
        post(&io, "/ocspx", OCSP_POST, "x", &path);
        assert_int_equal(path.status, 404);
        memset(large, 'x', OCSP_REQUEST_MAX);
        post(&io, "/ocsp", OCSP_POST, large, &big);
        assert_int_equal(big.status, 200);
    }
    {
        RESPONSE over;

        memset(large, 'x', OCSP_REQUEST_MAX + 1);
        post(&io, "/ocsp", OCSP_POST, large, &over);
        assert_int_equal(over.status, 413);
        assert_true(is_closed(&io));
    }
    io_close(&io);
}

static void send_purge(uint64_t seq, bool all)
{
    static struct svc_purge p;
    int64_t end = clock_mono_ms() + 10000;
    struct msg m;

    memset(&p, 0, sizeof p);
    p.seq = seq;
    p.all = all;
    if (!all) {
        p.n = 1;
        p.item[0].issuer = 1;
        p.item[0].serial[0] = 5;
        p.item[0].serial_len = 1;
    }
    pthread_mutex_lock(&w.lock);
    w.purged = 0;
    pthread_mutex_unlock(&w.lock);
    msg_begin(&m, SVC_PURGE, 99);
    svc_purge_encode(&m, &p);
    send_msg(w.core, &m, -1);
    for (;;) {
        uint64_t got;

        pthread_mutex_lock(&w.lock);
        got = w.purged;
        pthread_mutex_unlock(&w.lock);
        if (got == seq)
            return;
        assert_true(clock_mono_ms() < end);
        usleep(1000);
    }
}

static void purge_takes_the_answer_out_and_the_mark_keeps_old_ones_away(void **state)
{
    struct io io = plain(w.http);
    RESPONSE a, b, c, d, e;

    (void)state;
    post(&io, "/ocsp", OCSP_POST, "about five", &a);
    assert_int_equal(w.asked, 1);
    send_purge(8, false);
    post(&io, "/ocsp", OCSP_POST, "about five", &b); /* answered from seq 1: what was on its way during the change */
    assert_int_equal(w.asked, 2);
    assert_string_equal(header(&b, "Cache-Control"), "max-age=0, private, must-revalidate");
    post(&io, "/ocsp", OCSP_POST, "about five", &c);
    assert_int_equal(w.asked, 3);
    pthread_mutex_lock(&w.lock);
    w.ocsp.seq = 8;
    pthread_mutex_unlock(&w.lock);
    post(&io, "/ocsp", OCSP_POST, "about five", &d);
    post(&io, "/ocsp", OCSP_POST, "about five", &e);
    assert_int_equal(w.asked, 4);
    send_purge(1, true);
    io_close(&io);
}

static void without_the_status_process_valid_answers_still_go_out(void **state)
{
    struct io io = plain(w.http);
    RESPONSE a, b, c, d;
    int64_t end = clock_mono_ms() + 10000;

    (void)state;
    post(&io, "/ocsp", OCSP_POST, "known before", &a);
    status_end();
    say_gone(PROC_STATUS, "status");
    usleep(50000);
    post(&io, "/ocsp", OCSP_POST, "known before", &b);
    body_is(&b, w.ocsp.response);
    post(&io, "/ocsp", OCSP_POST, "not known before", &c);
    assert_int_equal(c.status, 200);
    body_is(&c, BYTES_OF(try_later));
    assert_string_equal(header(&c, "Cache-Control"), "no-store");
    status_start();
    do {
        RESPONSE r;

        post(&io, "/ocsp", OCSP_POST, "not known before", &r);
        if (bytes_equal(buf_bytes(&r.body), w.ocsp.response))
            break;
        usleep(10000);
    } while (clock_mono_ms() < end);
    post(&io, "/ocsp", OCSP_POST, "not known before", &d);
    body_is(&d, w.ocsp.response);
    io_close(&io);
}

static void stale_answers_are_renewed_and_kept_for_an_outage(void **state)
{
    struct io io = plain(w.http);
    RESPONSE a, b, c;

    (void)state;
    pthread_mutex_lock(&w.lock);
    w.ocsp.max_age_s = 1;
    pthread_mutex_unlock(&w.lock);
    post(&io, "/ocsp", OCSP_POST, "short life", &a);
    usleep(2100000);
    post(&io, "/ocsp", OCSP_POST, "short life", &b); /* stale: asked again */
    assert_int_equal(w.asked, 2);
    pthread_mutex_lock(&w.lock);
    w.ocsp = (struct sts_ocsp_result){.response = BYTES_OF(try_later), .is_error = true};
    pthread_mutex_unlock(&w.lock);
    post(&io, "/ocsp", OCSP_POST, "short life", &c); /* tryLater of the status process: the old one is valid still */
    body_is(&c, bytes_str("a signed OCSP answer"));
    io_close(&io);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static void wait_for_file(const char *path, struct bytes want)
{
    int64_t end = clock_mono_ms() + 10000;

    for (;;) {
        struct io io = plain(w.http);
        RESPONSE r;

        get(&io, path, "", &r);
        io_close(&io);
        if (r.status == 200 && bytes_equal(buf_bytes(&r.body), want))
            return;
        assert_true(clock_mono_ms() < end);
        usleep(5000);
    }
}

static void files_are_served_at_exact_paths(void **state)
{
    struct io io = plain(w.http);
    RESPONSE a, h, same, since, newer, miss, method, escaped, case_;
    char line[200];
    const char *cc;

    (void)state;
    get(&io, "/crl/fleet.crl", "", &a);
    assert_int_equal(a.status, 200);
    body_is(&a, bytes_str("the first list"));
    assert_string_equal(header(&a, "Content-Type"), "application/pkix-crl");
    assert_string_equal(header(&a, "Last-Modified"), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_non_null(header(&a, "Expires"));
    cc = header(&a, "Cache-Control");
    assert_int_equal(strncmp(cc, "max-age=300, public", 19), 0);
    snprintf(line, sizeof line, "If-None-Match: %s\r\n", header(&a, "ETag"));
    get(&io, "/crl/fleet.crl", line, &same);
    assert_int_equal(same.status, 304);
    assert_int_equal(same.body.len, 0);
    assert_non_null(header(&same, "ETag"));
    get(&io, "/crl/fleet.crl", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", &since);
    assert_int_equal(since.status, 304);
    get(&io, "/crl/fleet.crl", "If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", &newer);
    assert_int_equal(newer.status, 200);
    ask(&io, "HEAD /crl/fleet.crl HTTP/1.1\r\nHost: h\r\n\r\n", &h);
    assert_int_equal(h.status, 200);
    assert_string_equal(header(&h, "Content-Length"), "14");
    get(&io, "/crl/fleet.cr%6C?x", "", &escaped);
    assert_int_equal(escaped.status, 200);
    get(&io, "/crl/other.crl", "", &miss);
    assert_int_equal(miss.status, 404);
    assert_string_equal(header(&miss, "Cache-Control"), "no-store");
    get(&io, "/CRL/fleet.crl", "", &case_);
    assert_int_equal(case_.status, 404);
    post(&io, "/crl/fleet.crl", "", "x", &method);
    assert_int_equal(method.status, 405);
    assert_string_equal(header(&method, "Allow"), "GET, HEAD");
    io_close(&io);
}

static void replaced_files_are_new_at_once_and_large_ones_arrive_whole(void **state)
{
    AUTO_BUF big = BUF_INIT(8 * 1024 * 1024);
    uint8_t digest[32], got[32];
    struct io io, slow;
    RESPONSE r, s;

    (void)state;
    for (uint32_t i = 0; big.len < 5000000; i++)
        buf_add(&big, &i, sizeof i);
    send_file(w.core, "/crl/big.crl", "application/pkix-crl", buf_bytes(&big), 0);
    send_file(w.core, "/crl/fleet.crl", "application/pkix-crl", bytes_str("the second list"), clock_now() - 10);
    wait_for_file("/crl/fleet.crl", bytes_str("the second list"));
    slow = plain(w.http); /* takes the head only, while the file is replaced under it */
    io_puts(&slow, "GET /crl/big.crl HTTP/1.1\r\nHost: h\r\n\r\n");
    io = plain(w.http);
    get(&io, "/crl/big.crl", "", &r);
    sha256(buf_bytes(&big), digest);
    sha256(buf_bytes(&r.body), got);
    assert_memory_equal(digest, got, 32);
    assert_null(header(&r, "Expires"));
    send_file(w.core, "/crl/big.crl", "application/pkix-crl", bytes_str("small"), 0);
    wait_for_file("/crl/big.crl", bytes_str("small"));
    assert_true(response_read(&slow, false, &s));
    sha256(buf_bytes(&s.body), got);
    assert_memory_equal(digest, got, 32);
    send_file(w.core, "/crl/fleet.crl", "application/pkix-crl", bytes_str("the first list"), clock_now() + 3600);
    wait_for_file("/crl/fleet.crl", bytes_str("the first list"));
    io_close(&io);
    io_close(&slow);
}

/* ---- health, links, life ----------------------------------------------------------------------------------------- */

static void health_and_ready_ask_the_others(void **state)
{
    struct io io = plain(w.health);
    RESPONSE a, b, c, d, e, f;
    int64_t start;

    (void)state;
    get(&io, "/health", "", &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(header(&a, "Content-Type"), "application/json");
    assert_true(body_has(&a, "\"alive\":true") && body_has(&a, "\"core\":{\"n\":1}"));
    get(&io, "/ready", "", &b);
    assert_int_equal(b.status, 200);
    pthread_mutex_lock(&w.lock);
    w.ready = false;
    pthread_mutex_unlock(&w.lock);
    get(&io, "/health", "", &c);
    assert_int_equal(c.status, 200);
    get(&io, "/ready", "", &d);
    assert_int_equal(d.status, 503);
    pthread_mutex_lock(&w.lock);
    w.silent = true;
    pthread_mutex_unlock(&w.lock);
    start = clock_mono_ms();
    get(&io, "/health", "", &e);
    assert_int_equal(e.status, 503);
    assert_true(body_has(&e, "\"core\":null"));
    assert_true(clock_mono_ms() - start >= 900 && clock_mono_ms() - start < 5000);
    get(&io, "/metrics", "", &f); /* what the front knows by itself */
    assert_int_equal(f.status, 200);
    assert_true(body_has(&f, "inkan_answers{process=\"core\"} 0"));
    assert_true(body_has(&f, "# EOF\n"));
    io_close(&io);
}

/* An enrollment that is with the core, which says nothing. */
static void enroll_in_flight(struct io *io)
{
    pthread_mutex_lock(&w.lock);
    w.silent = true;
    pthread_mutex_unlock(&w.lock);
    io_puts(io, "POST " EST "simpleenroll HTTP/1.1\r\nHost: h\r\n" P10 AUTH "Content-Length: 8\r\n\r\n" CSR);
    usleep(100000);
}

static unsigned configs_sent(void)
{
    unsigned n;

    pthread_mutex_lock(&w.lock);
    n = w.configs;
    pthread_mutex_unlock(&w.lock);
    return n;
}

/* A core in place of one that ended, until it has sent the front its configuration. */
static void core_again(void)
{
    int64_t end = clock_mono_ms() + 10000;
    unsigned before = configs_sent();

    core_start();
    do
        usleep(5000);
    while (configs_sent() == before && clock_mono_ms() < end);
    assert_int_not_equal(configs_sent(), before);
}

static void without_the_core_enrollment_is_503_and_the_rest_goes_on(void **state)
{
    struct io io = tls_13();
    RESPONSE a, b, c, in_flight;

    (void)state;
    enroll_in_flight(&io);
    core_end(); /* while a request is with it */
    say_gone(PROC_CORE, "core");
    assert_true(response_read(&io, false, &in_flight));
    assert_int_equal(in_flight.status, 503);
    post(&io, EST "simpleenroll", P10 AUTH, CSR, &a);
    assert_int_equal(a.status, 503);
    assert_string_equal(header(&a, "Retry-After"), "5");
    get(&io, EST "cacerts", "", &b);
    assert_int_equal(b.status, 200);
    locked(defaults);
    core_again();
    usleep(50000);
    post(&io, EST "simpleenroll", P10 AUTH, CSR, &c);
    assert_int_equal(c.status, 200);
    io_close(&io);
}

/* It purges, and dies before the front has read that: what others are asking this front is answered. */
static void a_core_that_dies_after_a_purge_takes_no_front_with_it(void **state)
{
    struct io io = tls_13();
    RESPONSE in_flight, a, b;

    (void)state;
    enroll_in_flight(&io);
    kill(w.front, SIGSTOP);
    send_purge_all(w.core);
    core_end();
    kill(w.front, SIGCONT);
    assert_true(response_read(&io, false, &in_flight));
    assert_int_equal(in_flight.status, 503);
    say_gone(PROC_CORE, "core");
    post(&io, EST "simpleenroll", P10 AUTH, CSR, &a);
    assert_int_equal(a.status, 503);
    assert_int_equal(waitpid(w.front, NULL, WNOHANG), 0);
    locked(defaults);
    core_again();
    usleep(50000);
    post(&io, EST "simpleenroll", P10 AUTH, CSR, &b);
    assert_int_equal(b.status, 200);
    io_close(&io);
}

/* Until the core's first purge over a link it may acknowledge a revocation without this front. */
static void before_the_first_purge_of_a_link_nothing_is_kept(void **state)
{
    struct io io = plain(w.http);
    RESPONSE a, b, c, d;

    (void)state;
    pthread_mutex_lock(&w.lock);
    w.no_purge = true;
    pthread_mutex_unlock(&w.lock);
    core_end();
    say_gone(PROC_CORE, "core");
    core_again();
    post(&io, "/ocsp", OCSP_POST, "before the purge", &a);
    post(&io, "/ocsp", OCSP_POST, "before the purge", &b);
    assert_int_equal(w.asked, 2);
    assert_string_equal(header(&a, "Cache-Control"), "max-age=0, private, must-revalidate");
    body_is(&b, w.ocsp.response);
    send_purge(1, true);
    post(&io, "/ocsp", OCSP_POST, "before the purge", &c);
    post(&io, "/ocsp", OCSP_POST, "before the purge", &d);
    assert_int_equal(w.asked, 3);
    io_close(&io);
}

static void stalled_peers_do_not_delay_the_next(void **state)
{
    struct io stalled[STALLED], io;
    int64_t start;
    RESPONSE r;

    (void)state;
    for (int i = 0; i < STALLED; i++) {
        if (i % 2) { /* in the handshake, in the headers */
            stalled[i] = plain(w.est);
            io_send(&stalled[i], "\x16\x03\x01", 3);
        } else {
            stalled[i] = tls_13();
            io_puts(&stalled[i], "GET " EST "cacerts HTTP/1.1\r\nHo");
        }
    }
    start = clock_mono_ms();
    io = tls_13();
    post(&io, EST "simpleenroll", P10 AUTH, CSR, &r);
    assert_int_equal(r.status, 200);
    assert_true(clock_mono_ms() - start < 3000);
    io_close(&io);
    for (int i = 0; i < STALLED; i++)
        io_close(&stalled[i]);
}

static void one_address_gets_its_share_and_no_more(void **state)
{
    struct io io[PER_ADDRESS + 1];
    int64_t end = clock_mono_ms() + 20000;
    char c;

    (void)state;
    for (int i = 0; i <= PER_ADDRESS; i++)
        io[i] = plain(w.http);
    for (int i = 0; i < PER_ADDRESS; i++) {
        RESPONSE r;

        /* connections of earlier tests may still be on their way out */
        for (;;) {
            io_puts(&io[i], "GET /crl/fleet.crl HTTP/1.1\r\nHost: h\r\n\r\n");
            if (response_read(&io[i], false, &r))
                break;
            response_clear(&r);
            io_close(&io[i]);
            assert_true(clock_mono_ms() < end);
            usleep(20000);
            io[i] = plain(w.http);
        }
        assert_int_equal(r.status, 200);
    }
    assert_true(io_recv(&io[PER_ADDRESS], &c, 1) <= 0); /* closed without a word */
    {
        struct io health = plain(w.health); /* not counted */
        RESPONSE r;

        get(&health, "/health", "", &r);
        assert_int_equal(r.status, 200);
        io_close(&health);
    }
    for (int i = 0; i <= PER_ADDRESS; i++)
        io_close(&io[i]);
    do {
        struct io again = plain(w.http);
        RESPONSE r;
        bool ok;

        io_puts(&again, "GET /crl/fleet.crl HTTP/1.1\r\nHost: h\r\n\r\n");
        ok = response_read(&again, false, &r);
        io_close(&again);
        if (ok)
            return;
        usleep(10000);
    } while (clock_mono_ms() < end);
    fail_msg("the share does not come back");
}

static void restart_keeps_the_server_certificate_and_stop_finishes_what_runs(void **state)
{
    struct io io, idle;
    unsigned certs;
    char path[128];
    struct stat st;
    RESPONSE r;

    (void)state;
    pthread_mutex_lock(&w.lock);
    certs = w.tls_certs;
    pthread_mutex_unlock(&w.lock);
    assert_true(certs >= 1);
    snprintf(path, sizeof path, "%s/state/tls/front-0.key", w.dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    pthread_mutex_lock(&w.lock);
    w.silent = true;
    pthread_mutex_unlock(&w.lock);
    idle = tls_13();
    io = tls_13();
    io_puts(&io, "POST " EST "simpleenroll HTTP/1.1\r\nHost: h\r\n" P10 AUTH "Content-Length: 8\r\n\r\n" CSR);
    usleep(200000);
    control_plain(CTL_STOP);
    assert_true(is_closed(&idle));
    core_end();
    assert_true(response_read(&io, false, &r)); /* not cut off */
    assert_int_equal(r.status, 503);
    assert_string_equal(header(&r, "Connection"), "close");
    io_close(&io);
    io_close(&idle);
    assert_int_equal(front_wait(), 0);

    locked(defaults);
    front_start(NULL);
    io = tls_13();
    assert_int_equal(w.tls_certs, certs);
    io_close(&io);
}

static uint64_t cpu_ticks(void)
{
    unsigned long user = 0, system = 0;
    char path[64], line[1024] = "";
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)w.front);
    f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    fclose(f);
    assert_int_equal(sscanf(strrchr(line, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system), 2);
    return user + system;
}

/* The listener of libevent would otherwise spin: 0.7 s of CPU in 2 s were measured. */
static void out_of_descriptors_the_front_rests_and_recovers(void **state)
{
    struct io io[40];
    struct rlimit old, few = {24, 24};
    int64_t end = clock_mono_ms() + 10000;
    uint64_t before;

    (void)state;
    assert_int_equal(prlimit(w.front, RLIMIT_NOFILE, NULL, &old), 0);
    few.rlim_max = old.rlim_max;
    assert_int_equal(prlimit(w.front, RLIMIT_NOFILE, &few, NULL), 0);
    for (int i = 0; i < 40; i++)
        io[i] = plain(w.http);
    usleep(200000);
    before = cpu_ticks();
    usleep(1500000);
    assert_true(cpu_ticks() - before < (uint64_t)sysconf(_SC_CLK_TCK) / 4);
    for (int i = 0; i < 40; i++)
        io_close(&io[i]);
    assert_int_equal(prlimit(w.front, RLIMIT_NOFILE, &old, NULL), 0);
    for (;;) {
        struct io again = plain(w.http);
        RESPONSE r;
        bool ok;

        io_puts(&again, "GET /crl/fleet.crl HTTP/1.1\r\nHost: h\r\n\r\n");
        ok = response_read(&again, false, &r);
        io_close(&again);
        if (ok)
            break;
        assert_true(clock_mono_ms() < end);
    }
}

static void program_links_neither_database_nor_pkcs11(void **state)
{
    FILE *p = popen("ldd " FRONT_PROGRAM, "r");
    char line[512];
    bool tls = false;

    (void)state;
    assert_non_null(p);
    while (fgets(line, sizeof line, p)) {
        assert_null(strstr(line, "sqlite"));
        assert_null(strstr(line, "p11"));
        assert_null(strstr(line, "pkcs11"));
        assert_null(strstr(line, "softhsm"));
        tls = tls || strstr(line, "libssl");
    }
    assert_true(tls); /* ldd did list something */
    assert_int_equal(pclose(p), 0);
}

/* ---- deadlines: a second lasts 100 ms ----------------------------------------------------------------------------- */

static int64_t closed_after_ms(struct io *io)
{
    int64_t start = clock_mono_ms();
    char sink[512];

    while (io_recv(io, sink, sizeof sink) > 0)
        ;
    return clock_mono_ms() - start;
}

static void about(const char *what, int64_t ms, int64_t want)
{
    if (ms < want - want / 4 || ms > want * 2 + 1500)
        fail_msg("%s: after %" PRId64 " ms, want about %" PRId64, what, ms, want);
}

static void slow_handshake_is_closed(void **state)
{
    struct io silent = plain(w.est), drip = plain(w.est);
    int64_t start = clock_mono_ms();

    (void)state;
    about("silent", closed_after_ms(&silent), HANDSHAKE_DEADLINE_S * 100);
    about("one octet", closed_after_ms(&drip), 0);
    assert_true(clock_mono_ms() - start < 5000);
    io_close(&silent);
    io_close(&drip);
    drip = plain(w.est); /* each octet resets an inactivity timer, but no deadline */
    start = clock_mono_ms();
    for (int i = 0; i < 100; i++) {
        if (send(drip.fd, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03" + (i % 10), 1, MSG_NOSIGNAL) != 1)
            break;
        usleep(50000);
        if (recv(drip.fd, &(char){0}, 1, MSG_DONTWAIT) == 0)
            break;
    }
    assert_true(clock_mono_ms() - start < 4000);
    io_close(&drip);
}

static void slow_heads_and_bodies_get_408(void **state)
{
    static const char head[] = "GET /crl/fleet.crl HTTP/1.1\r\nHost: h\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    struct io io = plain(w.http);
    int64_t start = clock_mono_ms();
    RESPONSE a, b;

    (void)state;
    for (size_t i = 0; i < sizeof head - 1; i++) {
        char c;

        if (send(io.fd, head + i, 1, MSG_NOSIGNAL) != 1)
            break;
        usleep(30000);
        if (recv(io.fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 1)
            break;
    }
    assert_true(response_read(&io, false, &a));
    assert_int_equal(a.status, 408);
    about("head", clock_mono_ms() - start, HEADERS_DEADLINE_S * 100);
    assert_true(is_closed(&io));
    io_close(&io);

    io = plain(w.http);
    start = clock_mono_ms();
    io_puts(&io, "POST /ocsp HTTP/1.1\r\nHost: h\r\n" OCSP_POST "Content-Length: 100\r\n\r\nabc");
    assert_true(response_read(&io, false, &b));
    assert_int_equal(b.status, 408);
    about("body", clock_mono_ms() - start, REQUEST_DEADLINE_S * 100);
    io_close(&io);
}

static void idle_connections_are_closed_politely(void **state)
{
    struct io io = tls_13();
    int64_t start;
    RESPONSE r;

    (void)state;
    get(&io, EST "csrattrs", "", &r);
    start = clock_mono_ms();
    assert_true(is_closed(&io)); /* with a close_notify */
    about("idle", clock_mono_ms() - start, IDLE_DEADLINE_S * 100);
    io_close(&io);
}

static void silent_core_is_503_and_silent_status_is_trylater(void **state)
{
    struct io est = tls_13(), ocsp = plain(w.http);
    int64_t start = clock_mono_ms();
    RESPONSE a, b, c;

    (void)state;
    pthread_mutex_lock(&w.lock);
    w.silent = w.hold_ocsp = true;
    pthread_mutex_unlock(&w.lock);
    io_puts(&est, "POST " EST "simpleenroll HTTP/1.1\r\nHost: h\r\n" P10 AUTH "Content-Length: 8\r\n\r\n" CSR);
    post(&ocsp, "/ocsp", OCSP_POST, "nobody answers", &b);
    body_is(&b, BYTES_OF(try_later));
    assert_true(response_read(&est, false, &a));
    assert_int_equal(a.status, 503);
    assert_non_null(header(&a, "Retry-After"));
    about("request", clock_mono_ms() - start, REQUEST_DEADLINE_S * 100);
    locked(defaults);
    post(&est, EST "simpleenroll", P10 AUTH, CSR, &c); /* the connection goes on */
    assert_int_equal(c.status, 200);
    io_close(&est);
    io_close(&ocsp);
}

static void wait_for_certs(unsigned n)
{
    int64_t end = clock_mono_ms() + 15000;

    for (;;) {
        unsigned got;

        pthread_mutex_lock(&w.lock);
        got = w.tls_certs;
        pthread_mutex_unlock(&w.lock);
        if (got >= n)
            return;
        assert_true(clock_mono_ms() < end);
        usleep(5000);
    }
}

static long server_serial(const struct io *io)
{
    return ASN1_INTEGER_get(X509_get0_serialNumber(SSL_get0_peer_certificate(io->ssl)));
}

static void server_certificate_is_asked_again_and_renewed_while_serving(void **state)
{
    struct io old, fresh_io;
    int64_t end = clock_mono_ms() + 10000;
    unsigned asked;
    long first, second;
    RESPONSE r;

    (void)state;
    wait_for_certs(2); /* the first request was refused */
    old = tls_13();
    first = server_serial(&old);
    usleep(1200000); /* past renew_at */
    pthread_mutex_lock(&w.lock);
    w.tls_renew_s = 43200;
    asked = w.tls_certs;
    pthread_mutex_unlock(&w.lock);
    control_plain(CTL_RELOAD); /* looks at once, as the timer does each minute */
    wait_for_certs(asked + 1);
    do {
        fresh_io = tls_13();
        second = server_serial(&fresh_io);
        io_close(&fresh_io);
        assert_true(clock_mono_ms() < end);
    } while (second == first);
    get(&old, EST "csrattrs", "", &r); /* a running connection stays */
    assert_int_equal(r.status, 204);
    io_close(&old);
    control_plain(CTL_RELOAD);
    usleep(200000);
    assert_int_equal(w.tls_certs, asked + 1); /* not due */
    assert_int_equal(front_stop(), 0);
    front_start("100");
    fresh_io = tls_13();
    assert_int_equal(server_serial(&fresh_io), second); /* new key and new certificate were kept together */
    assert_int_equal(w.tls_certs, asked + 1);
    io_close(&fresh_io);
}

static void idle_connections_give_way_at_the_limit(void **state)
{
    struct io io[FEW], late;
    RESPONSE r;

    (void)state;
    for (int i = 0; i < FEW; i++) {
        RESPONSE a;

        io[i] = plain(w.http);
        get(&io[i], "/crl/fleet.crl", "", &a);
        assert_int_equal(a.status, 200);
    }
    late = plain(w.http);
    get(&late, "/crl/fleet.crl", "", &r);
    assert_int_equal(r.status, 200);
    assert_true(is_closed(&io[0])); /* the one that was idle longest */
    for (int i = 0; i < FEW; i++)
        io_close(&io[i]);
    io_close(&late);
}

static void probes_have_a_limit_of_their_own(void **state)
{
    struct io io[33];
    RESPONSE r;

    (void)state;
    for (int i = 0; i < 33; i++)
        io[i] = plain(w.health);
    usleep(100000);
    assert_true(is_closed(&io[32]));
    get(&io[0], "/health", "", &r);
    assert_int_equal(r.status, 200);
    for (int i = 0; i < 33; i++)
        io_close(&io[i]);
}

/* A client at another loopback address: another source. */
static struct io plain_from(const char *address, uint16_t port)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    struct timeval tv = {.tv_sec = CLIENT_TIMEOUT_S};
    struct io io = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};

    assert_int_equal(inet_pton(AF_INET, address, &from.sin_addr), 1);
    setsockopt(io.fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    assert_int_equal(bind(io.fd, (struct sockaddr *)&from, sizeof from), 0);
    assert_int_equal(connect(io.fd, (struct sockaddr *)&to, sizeof to), 0);
    return io;
}

static bool still_open(const struct io *io)
{
    char c;

    return recv(io->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

enum stall { IN_HANDSHAKE, IN_HEAD, IN_BODY };

static struct io stalled(enum stall at, const char *address)
{
    struct io io = plain_from(address, at == IN_HANDSHAKE ? w.est : w.http);

    if (at == IN_HEAD)
        io_puts(&io, "GET /crl/fleet.crl HTTP/1.1\r\nHo");
    else if (at == IN_BODY)
        io_puts(&io, "POST /ocsp HTTP/1.1\r\nHost: h\r\n" OCSP_POST "Content-Length: 100\r\n\r\nabc");
    return io;
}

/* The limit is full of peers that stall: the one that has stalled longest is closed, a new client is served at once. */
static void stalled_connections_give_way_at_the_limit(void **state)
{
    (void)state;
    for (enum stall at = IN_HANDSHAKE; at <= IN_BODY; at++) {
        struct io io[FEW], late;
        int64_t start;
        RESPONSE r;

        for (int i = 0; i < FEW; i++)
            io[i] = stalled(at, "127.0.0.1");
        usleep(100000);
        start = clock_mono_ms();
        late = plain(w.http);
        get(&late, "/crl/fleet.crl", "", &r);
        assert_int_equal(r.status, 200);
        about("served", clock_mono_ms() - start, 0);
        assert_false(still_open(&io[0]));
        assert_true(still_open(&io[1]));
        for (int i = 0; i < FEW; i++)
            io_close(&io[i]);
        io_close(&late);
        usleep(100000);
    }
}

/* Of two sources the one that holds more gives up, however old the other's connection is. */
static void the_source_with_most_gives_way_first(void **state)
{
    struct io lone = plain_from("127.0.0.9", w.http), io[FEW], late[FEW / 2];
    RESPONSE r;

    (void)state;
    get(&lone, "/crl/fleet.crl", "", &r);
    assert_int_equal(r.status, 200);
    for (int i = 0; i < FEW - 1; i++)
        io[i] = stalled(IN_HEAD, "127.0.0.1");
    for (int i = 0; i < FEW / 2; i++) {
        char address[20];

        snprintf(address, sizeof address, "127.0.1.%d", i + 1);
        late[i] = stalled(IN_HANDSHAKE, address);
    }
    usleep(100000);
    for (int i = 0; i < FEW - 1; i++)
        assert_int_equal(still_open(&io[i]), i >= FEW / 2); /* the oldest of the greedy one */
    for (int i = 0; i < FEW / 2; i++)
        assert_true(still_open(&late[i]));
    {
        RESPONSE again;

        get(&lone, "/crl/fleet.crl", "", &again);
        assert_int_equal(again.status, 200);
    }
    io_close(&lone);
    for (int i = 0; i < FEW - 1; i++)
        io_close(&io[i]);
    for (int i = 0; i < FEW / 2; i++)
        io_close(&late[i]);
}

/* A client that showed its certificate keeps its connection as long as somebody without one can go. */
static void clients_with_a_certificate_give_way_last(void **state)
{
    struct identity device = make_cert(&(struct cert_form){.cn = "dev-1", .eku = "clientAuth", .from_s = -60, .to_s = 3600},
                                       NULL, &w.root);
    struct io with[4], io[FEW];
    RESPONSE r;

    (void)state;
    for (int i = 0; i < 4; i++) {
        RESPONSE a;

        with[i] = tls_open(&(struct client){.id = &device});
        get(&with[i], EST "csrattrs", "", &a);
        assert_int_equal(a.status, 204);
    }
    for (int i = 0; i < FEW; i++)
        io[i] = stalled(IN_HANDSHAKE, "127.0.0.7");
    usleep(100000);
    for (int i = 0; i < FEW; i++)
        assert_int_equal(still_open(&io[i]), i >= 4);
    for (int i = 0; i < 4; i++) {
        RESPONSE a;

        get(&with[i], EST "csrattrs", "", &a);
        assert_int_equal(a.status, 204);
    }
    for (int i = 0; i < FEW; i++)
        io_close(&io[i]);
    for (int i = 4; i < FEW; i++) /* now the limit is full of clients with a certificate: the longest idle goes */
        io[i] = tls_open(&(struct client){.id = &device});
    io[0] = plain(w.http);
    get(&io[0], "/crl/fleet.crl", "", &r);
    assert_int_equal(r.status, 200);
    assert_true(is_closed(&with[0]));
    io_close(&io[0]);
    for (int i = 4; i < FEW; i++)
        io_close(&io[i]);
    for (int i = 0; i < 4; i++)
        io_close(&with[i]);
    identity_free(&device);
}

/* A client that asks for a large file and reads nothing is closed in the end. */
static void unread_answers_are_given_up(void **state)
{
    AUTO_BUF big = BUF_INIT(4 * 1024 * 1024);
    int64_t start, most = (REQUEST_DEADLINE_S + 3000000 / 32768) * 100;
    int small = 4096;
    struct io io;
    bool there = true;

    (void)state;
    while (big.len < 3000000)
        buf_add(&big, "0123456789abcdef", 16);
    send_file(w.core, "/crl/big.crl", "application/pkix-crl", buf_bytes(&big), 0);
    wait_for_file("/crl/big.crl", buf_bytes(&big));
    io = plain(w.http);
    setsockopt(io.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    io_puts(&io, "GET /crl/big.crl HTTP/1.1\r\nHost: h\r\n\r\n");
    start = clock_mono_ms();
    while (there) {
        struct io health = plain(w.health);
        RESPONSE r;

        get(&health, "/health", "", &r);
        io_close(&health);
        there = !body_has(&r, "\"connections\":0,");
        if (clock_mono_ms() - start > most * 2)
            fail_msg("still there: %s", (const char *)r.body.p);
        usleep(50000);
    }
    about("unread", clock_mono_ms() - start, most);
    io_close(&io);
}

#define FRESH(test) cmocka_unit_test_setup(test, fresh)

int main(void)
{
    const struct CMUnitTest normal[] = {
        FRESH(cacerts_are_base64_in_the_form_of_the_label),
        FRESH(csrattrs_are_204_when_empty),
        FRESH(enrollment_reaches_the_core_with_the_binding_of_the_connection),
        FRESH(judged_exporter_ends_the_connection_and_tls_unique_does_not),
        FRESH(a_key_comes_in_two_parts),
        FRESH(core_codes_map_to_status),
        FRESH(factory_requests_reach_the_core_with_the_station_s_certificate),
        FRESH(factory_answers_follow_from_the_code_of_the_core),
        FRESH(factory_requests_are_refused_before_the_core_is_asked),
        FRESH(what_a_station_says_of_the_unit_is_handed_on),
        FRESH(requests_are_refused_in_the_documented_order),
        FRESH(broken_framing_closes),
        FRESH(framing_battery_on_every_listener),
        FRESH(early_answer_survives_a_body_that_keeps_coming),
        FRESH(expect_gets_100_and_then_the_answer),
        FRESH(http_10_keeps_alive_when_asked),
        FRESH(pipelined_requests_are_answered_in_order_one_at_a_time),
        FRESH(many_pipelined_requests_are_all_answered),
        FRESH(answers_wait_for_a_client_that_reads_late),
        FRESH(close_notify_is_answered),
        FRESH(requests_are_logged_and_passwords_are_not),
        FRESH(client_certificates_are_judged),
        FRESH(long_and_large_chains_are_refused),
        FRESH(alpn_is_http11_or_nothing),
        FRESH(sessions_are_neither_resumed_nor_renegotiated),
        FRESH(tls12_without_ems_offers_no_binding),
        FRESH(old_protocols_and_plain_http_are_turned_away),
        FRESH(cacheable_answers_are_asked_once_and_carry_the_headers),
        FRESH(answers_for_now_only_are_not_cached),
        FRESH(bad_ocsp_requests_get_the_documented_answers),
        FRESH(purge_takes_the_answer_out_and_the_mark_keeps_old_ones_away),
        FRESH(without_the_status_process_valid_answers_still_go_out),
        FRESH(stale_answers_are_renewed_and_kept_for_an_outage),
        FRESH(files_are_served_at_exact_paths),
        FRESH(replaced_files_are_new_at_once_and_large_ones_arrive_whole),
        FRESH(health_and_ready_ask_the_others),
        FRESH(without_the_core_enrollment_is_503_and_the_rest_goes_on),
        FRESH(a_core_that_dies_after_a_purge_takes_no_front_with_it),
        FRESH(before_the_first_purge_of_a_link_nothing_is_kept),
        FRESH(stalled_peers_do_not_delay_the_next),
        FRESH(one_address_gets_its_share_and_no_more),
        FRESH(out_of_descriptors_the_front_rests_and_recovers),
        FRESH(restart_keeps_the_server_certificate_and_stop_finishes_what_runs),
        cmocka_unit_test(program_links_neither_database_nor_pkcs11),
    };
    const struct CMUnitTest hurried[] = {
        FRESH(server_certificate_is_asked_again_and_renewed_while_serving),
        FRESH(slow_handshake_is_closed),
        FRESH(slow_heads_and_bodies_get_408),
        FRESH(idle_connections_are_closed_politely),
        FRESH(silent_core_is_503_and_silent_status_is_trylater),
        FRESH(unread_answers_are_given_up),
        FRESH(probes_have_a_limit_of_their_own),
    };
    const struct CMUnitTest crowded[] = {
        FRESH(idle_connections_give_way_at_the_limit),
        FRESH(stalled_connections_give_way_at_the_limit),
        FRESH(the_source_with_most_gives_way_first),
        FRESH(clients_with_a_certificate_give_way_last),
    };
    int failed = cmocka_run_group_tests_name("front", normal, normal_start, stop_world);

    failed += cmocka_run_group_tests_name("front-deadlines", hurried, hurried_start, stop_world);
    return failed + cmocka_run_group_tests_name("front-limits", crowded, crowded_start, stop_world);
}
