/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm_bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/der.h"
#include "base/derw.h"
#include "base/fsio.h"
#include "base/jws.h"
#include "base/oid.h"
#include "base/proc.h"
#include "hsm/keytype.h"
#include "hsm/token_admin.h"

#define SOFTHSM_NAME "/softhsm/libsofthsm2.so"

static void write_text(const char *path, mode_t mode, const char *text)
{
    char tmp[160];
    int fd;

    snprintf(tmp, sizeof(tmp), "%s.new", path);
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    assert_int_equal(rename(tmp, path), 0);
}

static void softhsm_path(char *out, size_t size)
{
    static const char *const dirs[] = {"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib",
                                       "/usr/lib64"};

    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        snprintf(out, size, "%s" SOFTHSM_NAME, dirs[i]);
        if (access(out, R_OK) == 0)
            return;
    }
    fail_msg("SoftHSM is not installed");
}

void bench_configure(struct bench *b)
{
    char text[4096];

    snprintf(text, sizeof(text),
             "public_url: http://pki.example.net\n"
             "directories: {state: %s/state, marks: %s/marks, run: %s/run}\n"
             "audit: {token: t1}\n"
             "listen: {est: [], http: [], health: []}\n"
             "tokens:\n"
             "  - name: t1\n"
             "    module: %s\n"
             "    label: %s\n"
             "    init_args: \"%s\"\n"
             "    pin: file:%s\n"
             "    so_pin: file:%s/so-pin\n"
             "    workers: %u\n"
             "    queue: %u\n"
             "    deadline_ms: %u\n"
             "    env: [\"INKAN_BENCH=yes\"]\n",
             b->dir, b->dir, b->dir, b->module, b->label, b->init_args, b->pin_file, b->dir, b->workers, b->queue, b->deadline_ms);
    write_text(b->config, 0644, text);
}

static void make_directory(struct bench *b)
{
    char path[160];

    memset(b, 0, sizeof(*b));
    snprintf(b->dir, sizeof(b->dir), "/tmp/inkan-hsm-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    snprintf(b->config, sizeof(b->config), "%s/inkan.yaml", b->dir);
    snprintf(b->rules, sizeof(b->rules), "%s/rules", b->dir);
    snprintf(b->calls, sizeof(b->calls), "%s/calls", b->dir);
    snprintf(b->signed_data, sizeof(b->signed_data), "%s/signed", b->dir);
    snprintf(b->pin_file, sizeof(b->pin_file), "%s/user-pin", b->dir);
    snprintf(b->log, sizeof(b->log), "%s/log", b->dir);
    snprintf(path, sizeof(path), "%s/state", b->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    b->workers = 2;
    b->queue = 256;
    b->deadline_ms = 5000;
}

void bench_make_foreign(struct bench *b)
{
    make_directory(b);
    snprintf(b->module, sizeof(b->module), "%s", getenv("P11_MODULE"));
    snprintf(b->label, sizeof(b->label), "%s", getenv("P11_LABEL"));
    snprintf(b->init_args, sizeof(b->init_args), "%s", getenv("P11_INIT_ARGS"));
    bench_pin(b, getenv("P11_PIN"));
    bench_configure(b);
}

void bench_make(struct bench *b, bool shim)
{
    char path[160], text[512], real[256];

    make_directory(b);
    snprintf(b->label, sizeof(b->label), "t1");
    snprintf(path, sizeof(path), "%s/tokens", b->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/softhsm.conf", b->dir);
    snprintf(text, sizeof(text), "directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n", b->dir);
    write_text(path, 0600, text);
    setenv("SOFTHSM2_CONF", path, 1);
    softhsm_path(real, sizeof(real));
    snprintf(b->module, sizeof(b->module), "%s", shim ? TEST_BINARY_DIR "/test/p11shim.so" : real);
    setenv("INKAN_SHIM_MODULE", real, 1);
    setenv("INKAN_SHIM_RULES", b->rules, 1);
    setenv("INKAN_SHIM_CALLS", b->calls, 1);
    setenv("INKAN_SHIM_SIGNED", b->signed_data, 1);
    bench_configure(b);
}

static void remove_tree(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *f;

    while (d && (f = readdir(d)) != NULL) {
        char sub[512];

        if (strcmp(f->d_name, ".") == 0 || strcmp(f->d_name, "..") == 0)
            continue;
        snprintf(sub, sizeof(sub), "%s/%s", path, f->d_name);
        if (unlink(sub) != 0)
            remove_tree(sub);
    }
    if (d)
        closedir(d);
    rmdir(path);
}

void bench_remove(struct bench *b)
{
    if (!getenv("INKAN_KEEP"))
        remove_tree(b->dir);
}

void bench_rules(const struct bench *b, const char *rules)
{
    if (rules)
        write_text(b->rules, 0600, rules);
    else
        unlink(b->rules);
}

static unsigned lines_with(const char *path, const char *text, bool whole)
{
    char line[8192];
    unsigned n = 0;
    FILE *f = fopen(path, "re");

    while (f && fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = '\0';
        n += whole ? strcmp(line, text) == 0 : strstr(line, text) != NULL;
    }
    if (f)
        fclose(f);
    return n;
}

unsigned bench_calls(const struct bench *b, const char *function)
{
    return lines_with(b->calls, function, true);
}

void bench_forget_calls(const struct bench *b)
{
    unlink(b->calls);
}

bool bench_logged(const struct bench *b, const char *text)
{
    return lines_with(b->log, text, false) > 0;
}

void bench_pin(const struct bench *b, const char *pin)
{
    write_text(b->pin_file, 0400, pin);
}

struct conf *bench_conf(const struct bench *b)
{
    struct conf *c = NULL;
    struct err e = {0};

    if (conf_load(b->config, &c, NULL, &e) != E_OK)
        fail_msg("%s", e.msg);
    return c;
}

/* ---- children ---- */

#define ALIVE_MAX 16
static pid_t alive[ALIVE_MAX];

static void note_alive(pid_t from, pid_t to)
{
    for (size_t i = 0; i < ALIVE_MAX; i++) {
        if (alive[i] == from) {
            alive[i] = to;
            return;
        }
    }
}

void child_kill_leftovers(void)
{
    for (size_t i = 0; i < ALIVE_MAX; i++) {
        if (alive[i]) {
            kill(alive[i], SIGKILL);
            waitpid(alive[i], NULL, 0);
        }
        alive[i] = 0;
    }
}

static void send_control(int fd, struct msg *m, int pass)
{
    struct err e = {0};

    if (msg_send(fd, m, pass, &e) != E_OK)
        fail_msg("%s", e.msg);
    msg_clear(m);
}

int child_link(struct child *c, uint8_t peer, uint32_t index, const char *name)
{
    struct msg m;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    msg_begin(&m, CTL_LINK, 0);
    msg_put_u8(&m, peer);
    msg_put_u32(&m, index);
    msg_put_str(&m, name);
    send_control(c->control, &m, pair[1]);
    close(pair[1]);
    return pair[0];
}

struct child child_start(const struct bench *b, const char *program)
{
    struct child c = {-1, -1, -1};
    char path[512], name[64];
    int pair[2];

    snprintf(path, sizeof(path), TEST_BINARY_DIR "/bin/%s", program);
    snprintf(name, sizeof(name), "%s-t1", program + strlen("inkan-"));
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    c.pid = fork();
    assert_true(c.pid >= 0);
    if (c.pid == 0) {
        int log = open(b->log, O_WRONLY | O_CREAT | O_APPEND, 0600), high = fcntl(pair[1], F_DUPFD, 10);

        dup2(log, 2);
        dup2(high, PROC_CONTROL_FD);
        close_range(PROC_CONTROL_FD + 1, ~0U, 0);
        execl(path, program, "-c", b->config, "-n", name, (char *)NULL);
        _exit(127);
    }
    note_alive(0, c.pid);
    close(pair[1]);
    c.control = pair[0];
    c.link = child_link(&c, PROC_CORE, 0, "core");
    return c;
}

/* The next control message; false when the child is gone or silent. */
static bool next_control(struct child *c, struct buf *packet, struct msg_reader *r, int timeout_ms)
{
    buf_reset(packet);
    return msg_recv(c->control, packet, NULL, timeout_ms, NULL) == E_OK &&
           msg_read_begin(buf_bytes(packet), r, NULL) == E_OK;
}

static bool wait_control(struct child *c, uint16_t type, const char *prefix, int timeout_ms)
{
    int64_t until = clock_mono_ms() + timeout_ms;
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r;

    while (clock_mono_ms() < until && next_control(c, &packet, &r, (int)(until - clock_mono_ms()))) {
        char text[1024] = "";

        if (r.type == CTL_STATE)
            msg_get_str(&r, text, sizeof(text));
        if (r.type == type && (!prefix || strncmp(text, prefix, strlen(prefix)) == 0))
            return true;
    }
    return false;
}

bool child_wait_ready(struct child *c, int timeout_ms)
{
    return wait_control(c, CTL_READY, NULL, timeout_ms);
}

bool child_wait_state(struct child *c, const char *prefix, int timeout_ms)
{
    return wait_control(c, CTL_STATE, prefix, timeout_ms);
}

static void close_all(struct child *c)
{
    if (c->control >= 0)
        close(c->control);
    if (c->link >= 0)
        close(c->link);
    *c = (struct child){-1, -1, -1};
}

int child_wait(struct child *c, int timeout_ms)
{
    int64_t until = clock_mono_ms() + timeout_ms;
    int status;

    for (;;) {
        pid_t got = waitpid(c->pid, &status, WNOHANG);

        if (got == c->pid) {
            note_alive(c->pid, 0);
            close_all(c);
            return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
        }
        if (clock_mono_ms() > until)
            return -1;
        poll(NULL, 0, 10);
    }
}

void child_kill(struct child *c)
{
    if (c->pid > 0) {
        kill(c->pid, SIGKILL);
        (void)child_wait(c, 5000);
    }
}

int child_stop(struct child *c)
{
    struct msg m;
    int code;

    msg_begin(&m, CTL_STOP, 0);
    send_control(c->control, &m, -1);
    code = child_wait(c, 60000);
    if (code == -1)
        child_kill(c);
    return code;
}

/* ---- inkan-token ---- */

enum err_code token_ask(struct child *c, struct msg *m, struct buf *packet, struct msg_reader *r, struct err *e)
{
    enum err_code rc = msg_send(c->link, m, -1, e);

    msg_clear(m);
    if (rc != E_OK)
        return rc;
    buf_reset(packet);
    if (msg_recv(c->link, packet, NULL, 60000, e) != E_OK || msg_read_begin(buf_bytes(packet), r, e) != E_OK)
        return e->code;
    assert_int_equal(r->type, TOKEN_RESULT);
    return msg_get_err(r, e);
}

void token_make(const struct bench *b)
{
    struct child c = child_start(b, "inkan-token");
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r;
    struct err e = {0};
    struct msg m;

    msg_begin(&m, TOKEN_INIT, 1);
    if (token_ask(&c, &m, &packet, &r, &e) != E_OK)
        fail_msg("%s", e.msg);
    assert_int_equal(child_stop(&c), 0);
}

enum err_code token_generate(const struct bench *b, enum key_purpose purpose, const char *name, const char *alg,
                             struct made_key *out, struct err *e)
{
    struct child c = child_start(b, "inkan-token");
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r;
    struct bytes id, spki;
    enum err_code rc;
    struct msg m;

    memset(out, 0, sizeof(*out));
    msg_begin(&m, TOKEN_GENERATE, 2);
    msg_put_u8(&m, (uint8_t)purpose);
    msg_put_str(&m, name);
    msg_put_u32(&m, 1);
    msg_put_str(&m, alg);
    rc = token_ask(&c, &m, &packet, &r, e);
    if (rc == E_OK) {
        id = msg_get_bytes(&r, 64);
        spki = msg_get_bytes(&r, sizeof(out->spki));
        msg_get_str(&r, out->attributes, sizeof(out->attributes));
        assert_int_equal(msg_read_end(&r, e), E_OK);
        assert_int_equal(id.len, 16);
        memcpy(out->cka_id, id.p, 16);
        memcpy(out->spki, spki.p, spki.len);
        out->spki_len = spki.len;
    }
    assert_int_equal(child_stop(&c), 0);
    return rc;
}

/* ---- objects ---- */

struct bytes test_issuer_name(void)
{
    /* CN=Test CA */
    static const uint8_t name[] = {0x30, 0x12, 0x31, 0x10, 0x30, 0x0e, 0x06, 0x03, 0x55, 0x04,
                                   0x03, 0x0c, 0x07, 'T',  'e',  's',  't',  ' ',  'C',  'A'};
    return BYTES_OF(name);
}

void test_tbs_cert(struct buf *out, enum sig_alg alg, struct bytes issuer, unsigned serial)
{
    struct derw w;

    derw_init(&w, out);
    derw_begin(&w, DER_SEQUENCE);
    derw_begin(&w, 0xa0);
    derw_u64(&w, 2);
    derw_end(&w);
    derw_u64(&w, serial);
    derw_raw(&w, sig_alg_der(alg));
    derw_raw(&w, issuer);
    derw_begin(&w, DER_SEQUENCE);
    derw_time(&w, 1700000000);
    derw_time(&w, 1800000000);
    derw_end(&w);
    derw_raw(&w, issuer);
    derw_end(&w);
    assert_true(derw_finish(&w));
}

void test_tbs_crl(struct buf *out, enum sig_alg alg, struct bytes issuer, size_t entries)
{
    struct derw w;

    derw_init(&w, out);
    derw_begin(&w, DER_SEQUENCE);
    derw_u64(&w, 1);
    derw_raw(&w, sig_alg_der(alg));
    derw_raw(&w, issuer);
    derw_time(&w, 1700000000);
    derw_time(&w, 1800000000);
    if (entries) {
        derw_begin(&w, DER_SEQUENCE);
        for (size_t i = 0; i < entries; i++) {
            derw_begin(&w, DER_SEQUENCE);
            derw_u64(&w, 0x1000000 + i);
            derw_time(&w, 1700000000);
            derw_end(&w);
        }
        derw_end(&w);
    }
    derw_end(&w);
    assert_true(derw_finish(&w));
}

void test_ocsp_data(struct buf *out, struct bytes spki)
{
    struct spki_view view;
    uint8_t hash[20];
    struct derw w;

    assert_int_equal(spki_view(spki, &view, NULL), E_OK);
    sha1(view.bits, hash);
    derw_init(&w, out);
    derw_begin(&w, DER_SEQUENCE);
    derw_begin(&w, 0xa2);
    derw_octets(&w, BYTES_OF(hash));
    derw_end(&w);
    derw_gentime(&w, 1700000000);
    derw_begin(&w, DER_SEQUENCE);
    derw_end(&w);
    derw_end(&w);
    assert_true(derw_finish(&w));
}

void test_audit_head(struct buf *out, const char *prefix)
{
    struct derw w;

    derw_init(&w, out);
    derw_begin(&w, DER_SEQUENCE);
    derw_utf8(&w, prefix);
    derw_u64(&w, 42);
    derw_end(&w);
    assert_true(derw_finish(&w));
}

void test_record(struct buf *out, struct bytes spki, enum sig_alg alg, const char *typ)
{
    struct jws_header h = {.alg = alg};
    struct spki_view view;
    uint8_t hash[20];

    assert_int_equal(spki_view(spki, &view, NULL), E_OK);
    sha1(view.bits, hash);
    hex_encode(hash, sizeof(hash), h.kid);
    snprintf(h.typ, sizeof(h.typ), "%s", typ);
    jws_signing_input(out, &h, bytes_str("{\"order\":\"WO-1\"}"));
    assert_true(buf_ok(out));
}

void test_manifest(struct buf *out, struct bytes spki, const char *typ, const char *payload)
{
    struct jws_header h = {.alg = SIG_ECDSA_SHA256};
    AUTO_BUF kid = BUF_INIT(64);
    struct spki_view view;
    uint8_t hash[20];

    assert_int_equal(spki_view(spki, &view, NULL), E_OK);
    sha1(view.bits, hash);
    base64url_encode(&kid, BYTES_OF(hash));
    snprintf(h.kid, sizeof(h.kid), "%.*s", (int)kid.len, (const char *)kid.p);
    snprintf(h.typ, sizeof(h.typ), "%s", typ);
    jws_signing_input(out, &h, bytes_str(payload));
    assert_true(buf_ok(out));
}

static void attribute_begin(struct derw *w, struct bytes type)
{
    derw_begin(w, DER_SEQUENCE);
    derw_oid(w, type);
    derw_begin(w, DER_SET);
}

static void attribute_end(struct derw *w)
{
    derw_end(w);
    derw_end(w);
}

void test_key_package(struct buf *out, struct bytes type, size_t digest_len, bool time)
{
    static const uint8_t digest[64] = {0x5a};
    struct derw w;

    derw_init(&w, out);
    derw_begin(&w, DER_SET);
    attribute_begin(&w, OID_CONTENT_TYPE);
    derw_oid(&w, type);
    attribute_end(&w);
    if (time) {
        attribute_begin(&w, OID_SIGNING_TIME);
        derw_time(&w, 1700000000);
        attribute_end(&w);
    }
    attribute_begin(&w, OID_MESSAGE_DIGEST);
    derw_octets(&w, BYTES(digest, digest_len));
    attribute_end(&w);
    derw_end(&w);
    assert_true(derw_finish(&w));
}

bool test_verifies(struct bytes spki, struct bytes tbs, struct bytes sig)
{
    const unsigned char *p = spki.p;
    EVP_PKEY *pub = d2i_PUBKEY(NULL, &p, (long)spki.len);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const char *md = NULL;
    bool good;

    assert_non_null(pub);
    if (!EVP_PKEY_is_a(pub, "ED25519"))
        md = EVP_PKEY_get_bits(pub) == 384 ? "SHA2-384" : "SHA2-256";
    good = EVP_DigestVerifyInit_ex(ctx, NULL, md, NULL, NULL, pub, NULL) == 1 &&
           EVP_DigestVerify(ctx, sig.p, sig.len, tbs.p, tbs.len) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pub);
    return good;
}
