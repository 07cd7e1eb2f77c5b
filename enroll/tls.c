/* SPDX-License-Identifier: Apache-2.0 */
#include "enroll/tls.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fsio.h"
#include "base/libctx.h"
#include "base/log.h"

AUTO_TYPE(BIO, BIO_free_all)
AUTO_TYPE(EVP_PKEY, EVP_PKEY_free)
AUTO_TYPE(SSL_CTX, SSL_CTX_free)
AUTO_TYPE(X509, X509_free)
AUTO_TYPE(X509_REQ, X509_REQ_free)
AUTO_TYPE(X509_STORE, X509_STORE_free)
AUTO_TYPE(X509_STORE_CTX, X509_STORE_CTX_free)

#define CERTS_MAX     8 /* of our own chain */
#define STORED_MAX    (CERTS_MAX * 16 * 1024)
#define ANCHORS_MAX_N 4096
#define RENEW_AT      "renew-at: " /* first line of NAME.pem, then PEM */
#define RENEW_AT_DIGITS 20

/* Forward secrecy and authenticated encryption only; what OpenSSL's defaults say for 1.3. */
#define CIPHERS_12 "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK"
#define GROUPS     "X25519:P-256:P-384"

struct tls {
    char name[64];
    EVP_PKEY *key;
    EVP_PKEY *next_key; /* of the certificate asked for while one is in use */
    char cert_path[PATH_MAX], key_path[PATH_MAX];
    X509_STORE *anchors;
    X509 *chain[CERTS_MAX]; /* leaf first */
    size_t chain_n;
    int64_t renew_at;
    SSL_CTX *ctx;
};

static const uint8_t alpn_http11[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};

/* ---- judging the client's chain -------------------------------------------------------------------------------- */

static int let_expired_leaf(int ok, X509_STORE_CTX *x)
{
    return ok ||
           (X509_STORE_CTX_get_error(x) == X509_V_ERR_CERT_HAS_EXPIRED && X509_STORE_CTX_get_error_depth(x) == 0);
}

/* EKU absent, clientAuth or anyEKU (RFC 5280 4.2.1.12); a key that may sign, which is what a client's key does in TLS. */
static bool leaf_may_be_client(X509 *leaf)
{
    uint32_t eku = X509_get_extended_key_usage(leaf), ku = X509_get_key_usage(leaf);

    return (eku == UINT32_MAX || (eku & (XKU_SSL_CLIENT | XKU_ANYEKU))) &&
           (ku == UINT32_MAX || (ku & X509v3_KU_DIGITAL_SIGNATURE));
}

static int verify_client(X509_STORE_CTX *x, void *arg)
{
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(x);
    int error;

    (void)arg;
    if (sk_X509_num(X509_STORE_CTX_get0_untrusted(x)) > CLIENT_CHAIN_COUNT) {
        X509_STORE_CTX_set_error(x, X509_V_ERR_CERT_CHAIN_TOO_LONG);
        return 0;
    }
    /* OpenSSL's client purpose refuses anyEKU; the leaf is judged below, that issuers are CAs is always checked. */
    X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_ANY);
    X509_VERIFY_PARAM_set_time(param, clock_now());
    X509_VERIFY_PARAM_set_depth(param, CLIENT_CHAIN_COUNT);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
    X509_STORE_CTX_set_verify_cb(x, let_expired_leaf);
    if (X509_verify_cert(x) != 1)
        return 0;
    error = X509_STORE_CTX_get_error(x);
    if (error != X509_V_OK && error != X509_V_ERR_CERT_HAS_EXPIRED)
        return 0;
    if (!leaf_may_be_client(X509_STORE_CTX_get0_cert(x))) {
        X509_STORE_CTX_set_error(x, X509_V_ERR_INVALID_PURPOSE);
        return 0;
    }
    return 1;
}

/* ---- the context ------------------------------------------------------------------------------------------------ */

/* A client that offers h2 and http/1.1 gets http/1.1; one that offers only others gets no ALPN (RFC 7301 3.2). */
static int alpn_select(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                       unsigned int in_len, void *arg)
{
    (void)ssl;
    (void)arg;
    for (unsigned i = 0; i < in_len && i + 1 + in[i] <= in_len; i += 1u + in[i])
        if (1u + in[i] == sizeof alpn_http11 && memcmp(in + i, alpn_http11, sizeof alpn_http11) == 0) {
            *out = in + i + 1;
            *out_len = in[i];
            return SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_NOACK;
}

/*
 * libssl answers each attempt to renegotiate and reads on, without giving control back while there is something to read: one
 * client could stop the loop for everybody. The first attempt ends the connection.
 */
static void end_renegotiation(const SSL *ssl, int where, int what)
{
    if (where == SSL_CB_WRITE_ALERT && (what & 0xff) == SSL_AD_NO_RENEGOTIATION)
        SSL_set_shutdown((SSL *)(uintptr_t)ssl, SSL_RECEIVED_SHUTDOWN);
}

static bool ctx_harden(SSL_CTX *ctx)
{
    static const unsigned char context[] = "inkan-est";

    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_CLEANSE_PLAINTEXT |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY); /* a flood of KeyUpdate gives control back too */
    SSL_CTX_set_info_callback(ctx, end_renegotiation);
    SSL_CTX_set_read_ahead(ctx, 1); /* one system call for a record, not one for its header and one for the rest */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, verify_client, NULL);
    SSL_CTX_set_max_cert_list(ctx, CLIENT_CHAIN_MAX_LEN);
    SSL_CTX_set_alpn_select_cb(ctx, alpn_select, NULL);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) && SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) &&
           SSL_CTX_set_num_tickets(ctx, 0) && SSL_CTX_set_cipher_list(ctx, CIPHERS_12) &&
           SSL_CTX_set1_groups_list(ctx, GROUPS) &&
           SSL_CTX_set_session_id_context(ctx, context, sizeof context - 1);
}

static enum err_code ctx_build(X509_STORE *anchors, EVP_PKEY *key, X509 *const *chain, size_t n, SSL_CTX **out,
                               struct err *e)
{
    AUTO(SSL_CTX) *ctx = SSL_CTX_new_ex(libctx_lean(), NULL, TLS_server_method());

    *out = NULL;
    if (!ctx || !ctx_harden(ctx))
        return err_openssl(e, E_CRYPTO, "SSL_CTX_new");
    if (!SSL_CTX_use_certificate(ctx, chain[0]))
        return err_openssl(e, E_INVALID, "SSL_CTX_use_certificate");
    if (!SSL_CTX_use_PrivateKey(ctx, key) || !SSL_CTX_check_private_key(ctx))
        return err_openssl(e, E_INVALID, "server certificate is not for this front's key");
    for (size_t i = 1; i < n; i++)
        if (!SSL_CTX_add1_chain_cert(ctx, chain[i]))
            return err_openssl(e, E_CRYPTO, "SSL_CTX_add1_chain_cert");
    SSL_CTX_set1_cert_store(ctx, anchors);
    *out = TAKE(ctx);
    return E_OK;
}

static void chain_free(X509 **chain, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        X509_free(chain[i]);
        chain[i] = NULL;
    }
}

static enum err_code cert_take(struct tls *t, const struct bytes *certs, size_t n, int64_t renew_at, struct err *e)
{
    X509 *chain[CERTS_MAX] = {NULL};
    AUTO(X509_STORE) *none = NULL;
    SSL_CTX *ctx = NULL;
    bool renewed;

    if (n == 0 || n > CERTS_MAX)
        return err_set(e, E_INVALID, "server certificate: chain of %zu, 1 to %d allowed", n, CERTS_MAX);
    for (size_t i = 0; i < n; i++) {
        chain[i] = certs[i].len <= CERT_MAX_LEN ? libctx_x509(certs[i]) : NULL;
        if (!chain[i]) {
            chain_free(chain, n);
            return err_openssl(e, E_INVALID, "server certificate: d2i_X509");
        }
    }
    if (!t->anchors)
        none = X509_STORE_new(); /* built all the same, to see that key and chain fit */
    renewed = t->next_key && X509_check_private_key(chain[0], t->next_key) == 1;
    ERR_clear_error();
    if (ctx_build(t->anchors ? t->anchors : none, renewed ? t->next_key : t->key, chain, n, &ctx, e) != E_OK) {
        chain_free(chain, n);
        return err_wrap(e, "server certificate");
    }
    if (!t->anchors) {
        SSL_CTX_free(ctx);
        ctx = NULL;
    }
    SSL_CTX_free(t->ctx);
    t->ctx = ctx;
    chain_free(t->chain, t->chain_n);
    memcpy(t->chain, chain, sizeof chain);
    t->chain_n = n;
    if (renewed) {
        EVP_PKEY_free(t->key);
        t->key = TAKE(t->next_key);
    }
    t->renew_at = renew_at;
    return E_OK;
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

/* What cannot be kept costs a new certificate at the next start, no more. */
static void key_store(const struct tls *t)
{
    AUTO(BIO) *mem = BIO_new(BIO_s_secmem());
    struct err e = {0};
    char *pem = NULL;
    long len;

    if (!mem || !PEM_write_bio_PrivateKey(mem, t->key, NULL, NULL, 0, NULL, NULL)) {
        err_openssl(&e, E_CRYPTO, "PEM_write_bio_PrivateKey");
        log_failure("tls-key-not-kept", &e);
        return;
    }
    len = BIO_get_mem_data(mem, &pem);
    if (file_write_atomic(t->key_path, BYTES(pem, (size_t)len), 0600, &e) != E_OK)
        log_failure("tls-key-not-kept", &e);
    OPENSSL_cleanse(pem, (size_t)len);
}

static EVP_PKEY *key_load(const char *path)
{
    AUTO(BIO) *mem = NULL;
    struct secret text = {0};
    struct err ignored = {0};
    EVP_PKEY *key = NULL;

    if (file_read_secret(path, 16 * 1024, &text, &ignored) != E_OK)
        return NULL;
    mem = BIO_new_mem_buf(text.p, (int)text.len);
    if (mem)
        key = PEM_read_bio_PrivateKey(mem, NULL, NULL, NULL);
    ERR_clear_error();
    secret_clear(&text);
    if (key && !EVP_PKEY_is_a(key, "EC")) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    return key;
}

static void cert_store(const struct tls *t, const struct bytes *certs, size_t n)
{
    AUTO_BUF text = BUF_INIT(STORED_MAX);
    struct err e = {0};

    buf_printf(&text, RENEW_AT "%020" PRId64 "\n", t->renew_at);
    for (size_t i = 0; i < n; i++)
        pem_write(&text, "CERTIFICATE", certs[i]);
    if (!buf_ok(&text))
        err_set(&e, E_NOMEM, "out of memory");
    else if (file_write_atomic(t->cert_path, buf_bytes(&text), 0600, &e) == E_OK)
        return;
    log_failure("tls-certificate-not-kept", &e); /* costs a new one at the next start */
}

static bool renew_at_read(struct bytes text, int64_t *out)
{
    const size_t head = strlen(RENEW_AT);

    *out = 0;
    if (text.len <= head + RENEW_AT_DIGITS || memcmp(text.p, RENEW_AT, head) != 0)
        return false;
    for (size_t i = head; i < head + RENEW_AT_DIGITS; i++)
        if (text.p[i] < '0' || text.p[i] > '9' || __builtin_mul_overflow(*out, (int64_t)10, out) ||
            __builtin_add_overflow(*out, (int64_t)(text.p[i] - '0'), out))
            return false;
    return true;
}

static void cert_load(struct tls *t)
{
    AUTO_BUF text = BUF_INIT(STORED_MAX);
    struct buf der[CERTS_MAX];
    struct bytes certs[CERTS_MAX];
    struct err e = {0};
    int64_t renew_at;
    size_t n = 0;

    if (file_read(t->cert_path, &text, &e) != E_OK || !renew_at_read(buf_bytes(&text), &renew_at))
        return;
    for (; n < CERTS_MAX; n++) {
        buf_init(&der[n], CERT_MAX_LEN);
        if (pem_read(buf_bytes(&text), "CERTIFICATE", n, &der[n], &e) != E_OK) {
            buf_clear(&der[n]);
            break;
        }
        certs[n] = buf_bytes(&der[n]);
    }
    if (n > 0 && cert_take(t, certs, n, renew_at, &e) != E_OK)
        log_failure("tls-stored-certificate-unusable", &e);
    for (size_t i = 0; i < n; i++)
        buf_clear(&der[i]);
}

/* ---- public ----------------------------------------------------------------------------------------------------- */

struct tls *tls_new(const char *dir, const char *name, struct err *e)
{
    struct tls *t = calloc(1, sizeof *t);
    struct err made = {0};

    if (!t || strlen(name) >= sizeof t->name || strlen(dir) + strlen(name) + sizeof ".key" >= sizeof t->key_path) {
        free(t);
        err_set(e, E_INVALID, "TLS directory \"%s\": name too long", dir);
        return NULL;
    }
    strcpy(t->name, name);
    if (dir_make(dir, 0700, &made) != E_OK)
        log_failure("tls-directory", &made);
    snprintf(t->cert_path, sizeof t->cert_path, "%s/%s.pem", dir, name);
    snprintf(t->key_path, sizeof t->key_path, "%s/%s.key", dir, name);
    t->key = key_load(t->key_path);
    if (t->key) {
        cert_load(t);
        return t;
    }
    t->key = EVP_EC_gen("P-256");
    if (!t->key) {
        err_openssl(e, E_CRYPTO, "EVP_EC_gen");
        tls_free(t);
        return NULL;
    }
    key_store(t);
    return t;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->ctx);
    X509_STORE_free(t->anchors);
    chain_free(t->chain, t->chain_n);
    EVP_PKEY_free(t->key);
    EVP_PKEY_free(t->next_key);
    free(t);
}

enum err_code tls_set_anchors(struct tls *t, struct bytes pem, struct err *e)
{
    AUTO(X509_STORE) *store = X509_STORE_new();
    AUTO(BIO) *mem = NULL;
    SSL_CTX *ctx = NULL;
    size_t n = 0;

    if (pem.len > INT_MAX)
        return err_set(e, E_INVALID, "anchors: %zu octets", pem.len);
    mem = BIO_new_mem_buf(pem.len ? (const void *)pem.p : "", (int)pem.len);
    if (!store || !mem)
        return err_openssl(e, E_NOMEM, "X509_STORE_new");
    for (;; n++) {
        AUTO(X509) *ca = X509_new_ex(libctx_lean(), NULL);

        if (!ca)
            return err_openssl(e, E_NOMEM, "X509_new_ex");
        if (!PEM_read_bio_X509(mem, &ca, NULL, NULL)) /* leaves what is there alone, or frees it and sets NULL */
            break;
        if (n == ANCHORS_MAX_N)
            return err_set(e, E_INVALID, "more than %d anchors", ANCHORS_MAX_N);
        if (!X509_STORE_add_cert(store, ca))
            return err_openssl(e, E_INVALID, "X509_STORE_add_cert");
    }
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return err_openssl(e, E_INVALID, "anchors: PEM_read_bio_X509");
    ERR_clear_error();
    if (t->chain_n && ctx_build(store, t->key, t->chain, t->chain_n, &ctx, e) != E_OK)
        return err_wrap(e, "anchors");
    SSL_CTX_free(t->ctx);
    t->ctx = ctx;
    X509_STORE_free(t->anchors);
    t->anchors = TAKE(store);
    return E_OK;
}

enum err_code tls_set_cert(struct tls *t, const struct bytes *certs, size_t n, int64_t renew_at, struct err *e)
{
    const EVP_PKEY *before = t->key;

    if (cert_take(t, certs, n, renew_at, e) != E_OK)
        return e->code;
    if (t->key != before)
        key_store(t); /* first: the old certificate does not fit it and is not used, should the next step not happen */
    cert_store(t, certs, n);
    return E_OK;
}

enum err_code tls_take_cert(struct tls *t, struct msg_reader *r, uint64_t rid, bool *mine, struct err *refused, struct err *e)
{
    struct bytes certs[CERTS_MAX] = {{NULL, 0}};
    enum err_code code = msg_get_err(r, refused);
    uint32_t n = msg_get_u32(r);
    int64_t renew_at;

    *mine = rid != 0 && r->request_id == rid;
    if (n > CERTS_MAX)
        return err_set(e, E_INVALID, "server certificate: chain of %u", n);
    for (uint32_t i = 0; i < n; i++)
        certs[i] = msg_get_bytes(r, CERT_MAX_LEN);
    renew_at = msg_get_i64(r);
    if (msg_read_end(r, e) != E_OK)
        return e->code;
    if (*mine && code == E_OK && tls_set_cert(t, certs, n, renew_at, refused) != E_OK)
        err_wrap(refused, "the core's answer");
    return E_OK;
}

bool tls_is_ready(const struct tls *t)
{
    return t->ctx != NULL;
}

int64_t tls_renew_at(const struct tls *t)
{
    return t->renew_at;
}

static bool chains_to_anchors(const struct tls *t, time_t now)
{
    AUTO(X509_STORE_CTX) *x = X509_STORE_CTX_new();
    STACK_OF(X509) *rest = sk_X509_new_null();
    bool ok = x && rest;

    for (size_t i = 1; ok && i < t->chain_n; i++)
        ok = sk_X509_push(rest, t->chain[i]) > 0;
    ok = ok && X509_STORE_CTX_init(x, t->anchors, t->chain[0], rest);
    if (ok) {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(x);

        X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
        X509_VERIFY_PARAM_set_time(param, now);
        ok = X509_verify_cert(x) == 1;
    }
    sk_X509_free(rest);
    ERR_clear_error();
    return ok;
}

/* "dns:NAME" or "ip:ADDRESS", as the configuration writes them. */
static bool cert_has_name(X509 *cert, const char *name)
{
    if (strncmp(name, "dns:", 4) == 0)
        return X509_check_host(cert, name + 4, 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1;
    return strncmp(name, "ip:", 3) == 0 && X509_check_ip_asc(cert, name + 3, 0) == 1;
}

bool tls_cert_names(const struct tls *t, const struct conf_strings *names)
{
    for (size_t i = 0; i < names->n; i++)
        if (t->chain_n == 0 || !cert_has_name(t->chain[0], names->v[i]))
            return false;
    return true;
}

bool tls_cert_is_due(const struct tls *t, const struct conf_strings *names, time_t now)
{
    if (t->chain_n == 0 || now >= t->renew_at || !tls_cert_names(t, names))
        return true;
    return t->anchors && !chains_to_anchors(t, now);
}

enum err_code tls_csr(struct tls *t, struct buf *der, struct err *e)
{
    AUTO(X509_REQ) *req = X509_REQ_new();
    EVP_PKEY *key;
    unsigned char *p = NULL;
    X509_NAME *subject;
    int len;

    if (!req)
        return err_openssl(e, E_NOMEM, "X509_REQ_new");
    if (t->chain_n && !t->next_key)
        t->next_key = EVP_EC_gen("P-256");
    key = t->chain_n ? t->next_key : t->key;
    if (!key)
        return err_openssl(e, E_CRYPTO, "EVP_EC_gen");
    subject = X509_REQ_get_subject_name(req);
    if (!X509_REQ_set_version(req, 0) ||
        !X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)t->name, -1, -1, 0) ||
        !X509_REQ_set_pubkey(req, key) || X509_REQ_sign(req, key, EVP_sha256()) <= 0)
        return err_openssl(e, E_CRYPTO, "X509_REQ_sign");
    len = i2d_X509_REQ(req, &p);
    if (len <= 0)
        return err_openssl(e, E_CRYPTO, "i2d_X509_REQ");
    buf_add(der, p, (size_t)len);
    OPENSSL_free(p);
    return buf_ok(der) ? E_OK : err_set(e, E_NOMEM, "CSR of %d octets", len);
}

SSL *tls_accept_ssl(struct tls *t)
{
    SSL *ssl = t->ctx ? SSL_new(t->ctx) : NULL;

    if (ssl)
        SSL_set_accept_state(ssl);
    return ssl;
}

static bool chain_add(struct tls_peer *p, X509 *cert, size_t *total)
{
    unsigned char *der = NULL;
    int len = i2d_X509(cert, &der);

    if (len <= 0)
        return false;
    *total += (size_t)len;
    if (p->chain_n == CLIENT_CHAIN_COUNT || *total > CLIENT_CHAIN_MAX_LEN) {
        OPENSSL_free(der);
        return false;
    }
    p->chain[p->chain_n++] = BYTES(der, (size_t)len);
    return true;
}

bool tls_peer_read(SSL *ssl, struct tls_peer *out)
{
    X509 *leaf = SSL_get0_peer_certificate(ssl);
    STACK_OF(X509) *rest = SSL_get_peer_cert_chain(ssl); /* on a server without the leaf */
    size_t total = 0;

    *out = (struct tls_peer){.verdict = SVC_CLIENT_NONE};
    out->version = SSL_version(ssl) == TLS1_3_VERSION ? "1.3" : "1.2";
    if (!leaf)
        return true;
    switch (SSL_get_verify_result(ssl)) {
    case X509_V_OK:
        out->verdict = SVC_CLIENT_VALID;
        break;
    case X509_V_ERR_CERT_HAS_EXPIRED:
        out->verdict = SVC_CLIENT_EXPIRED;
        break;
    default:
        return false;
    }
    if (!chain_add(out, leaf, &total))
        return false;
    for (int i = 0; i < sk_X509_num(rest); i++)
        if (!chain_add(out, sk_X509_value(rest, i), &total))
            return false;
    return true;
}

void tls_peer_clear(struct tls_peer *p)
{
    for (size_t i = 0; i < p->chain_n; i++)
        OPENSSL_free((void *)(uintptr_t)p->chain[i].p);
    *p = (struct tls_peer){.verdict = SVC_CLIENT_NONE};
}

uint16_t tls_bits(const SSL *ssl)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);

    return cipher ? (uint16_t)SSL_CIPHER_get_bits(cipher, NULL) : 0;
}

size_t tls_binding(SSL *ssl, enum svc_binding *kind, uint8_t out[32])
{
    static const char label[] = "EXPORTER-Channel-Binding";

    *kind = SVC_BINDING_NONE;
    if (SSL_version(ssl) == TLS1_3_VERSION) {
        if (SSL_export_keying_material(ssl, out, 32, label, sizeof label - 1, (const unsigned char *)"", 0, 1) != 1) {
            ERR_clear_error();
            return 0;
        }
        *kind = SVC_BINDING_TLS_EXPORTER;
        return 32;
    }
    /* Without the extended master secret two connections can be made to share a binding (RFC 9148 9.1). */
    if (SSL_get_extms_support(ssl) != 1 || SSL_session_reused(ssl) || SSL_get_peer_finished(ssl, out, 32) != 12)
        return 0;
    *kind = SVC_BINDING_TLS_UNIQUE;
    return 12;
}
