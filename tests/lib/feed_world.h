/* SPDX-License-Identifier: Apache-2.0 */
/* A service's feed made by a test: a root, a signer of the feed, snapshots and changes as docs/access.md says. Needs cmocka's headers. */
#ifndef INKAN_TESTS_FEED_WORLD_H
#define INKAN_TESTS_FEED_WORLD_H

#include <time.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/feed.h"

#define FEED_OID "1.3.6.1.5.5.7.3.36"

struct feed_world {
    EVP_PKEY *ca_key, *key;
    X509 *ca, *cert;
};

static X509 *world_cert(EVP_PKEY *key, const char *cn, X509 *issuer, EVP_PKEY *issuer_key, const char *eku, long from_s, long until_s)
{
    X509 *c = X509_new();
    X509V3_CTX v3;
    static long serial = 1;

    X509_set_version(c, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c), serial++);
    X509_gmtime_adj(X509_getm_notBefore(c), from_s);
    X509_gmtime_adj(X509_getm_notAfter(c), until_s);
    X509_set_pubkey(c, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(c), "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(c, X509_get_subject_name(issuer ? issuer : c));
    X509V3_set_ctx(&v3, issuer ? issuer : c, c, NULL, NULL, 0);
    if (!issuer) {
        X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, &v3, NID_basic_constraints, "critical,CA:TRUE");

        X509_add_ext(c, x, -1);
        X509_EXTENSION_free(x);
    } else if (eku) {
        X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, &v3, NID_ext_key_usage, eku);

        X509_add_ext(c, x, -1);
        X509_EXTENSION_free(x);
    }
    assert_true(X509_sign(c, issuer_key, EVP_sha256()) > 0);
    return c;
}

static inline void world_make(struct feed_world *w, const char *eku)
{
    w->ca_key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    w->key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    w->ca = world_cert(w->ca_key, "Feed Root", NULL, w->ca_key, NULL, -1000, 86400);
    w->cert = world_cert(w->key, "Feed Signer", w->ca, w->ca_key, eku, -1000, 86400);
}

static inline void world_clear(struct feed_world *w)
{
    EVP_PKEY_free(w->ca_key);
    EVP_PKEY_free(w->key);
    X509_free(w->ca);
    X509_free(w->cert);
}

static inline void world_ca_file(const struct feed_world *w, const char *path)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, w->ca), 1);
    fclose(f);
}

static inline void world_sign(const struct feed_world *w, const char *typ, struct bytes payload, struct buf *out)
{
    unsigned char *der = NULL;
    int der_len = i2d_X509(w->cert, &der);
    struct bytes chain = BYTES(der, der_len);
    uint8_t sig[128], raw[JWS_SIG_MAX];
    size_t start = out->len, len = sizeof sig;
    EVP_MD_CTX *md = EVP_MD_CTX_new();

    feed_signing_input(out, SIG_ECDSA_SHA256, typ, &chain, 1, payload);
    assert_int_equal(EVP_DigestSignInit_ex(md, NULL, "SHA2-256", NULL, NULL, w->key, NULL), 1);
    assert_int_equal(EVP_DigestSign(md, sig, &len, out->p + start, out->len - start), 1);
    feed_signature_write(out, BYTES(raw, jws_raw_signature(SIG_ECDSA_SHA256, BYTES(sig, len), raw)));
    EVP_MD_CTX_free(md);
    OPENSSL_free(der);
    assert_true(buf_ok(out));
}

/* One certificate of issuer 1: serial 0x1000 + n. */
static inline struct feed_cert world_line(unsigned n, enum feed_status status, const char *state, const char *scope)
{
    struct feed_cert c = {.issuer = 1, .serial = {0x10, (uint8_t)n}, .serial_len = 2, .status = status, .not_after = (int64_t)time(NULL) + 3600};

    c.reason = status == FEED_GOOD ? (struct bytes){NULL, 0} : bytes_str("keyCompromise");
    c.state = bytes_str(state);
    c.scope = bytes_str(scope);
    c.domain = bytes_str("example");
    c.device_id = bytes_str("dev-1");
    return c;
}

static inline void world_lines(struct buf *out, const struct feed_cert *lines, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        feed_cert_write(out, &lines[i]);
        buf_add_u8(out, '\n');
    }
}

static inline void world_payload(const struct feed_world *w, struct bytes lines, uint64_t count, const char *ledger, uint64_t seq, struct buf *out)
{
    unsigned char *der = NULL;
    int der_len = i2d_X509(w->ca, &der);
    struct feed_issuer issuer = {.n = 1, .name = "root", .ski = bytes_str("01234567890123456789"), .cert = BYTES(der, der_len)};
    struct feed_snapshot s = {.ledger = ledger, .seq = seq, .time = (int64_t)time(NULL), .valid_s = 600, .issuers = &issuer, .issuers_n = 1,
                              .count = count};

    sha256(lines, s.sha256);
    feed_snapshot_write(out, &s);
    OPENSSL_free(der);
}

static inline void world_snapshot(const struct feed_world *w, const struct feed_cert *lines, size_t n, const char *ledger, uint64_t seq,
                                  struct buf *out)
{
    struct buf rest = BUF_INIT(1 << 20), payload = BUF_INIT(1 << 20);

    world_lines(&rest, lines, n);
    world_payload(w, buf_bytes(&rest), n, ledger, seq, &payload);
    world_sign(w, FEED_SNAPSHOT_TYP, buf_bytes(&payload), out);
    buf_add_u8(out, '\n');
    buf_add_bytes(out, buf_bytes(&rest));
    buf_clear(&rest);
    buf_clear(&payload);
}

static inline void world_changes(const char *ledger, uint64_t after, uint64_t seq, const struct feed_cert *lines, size_t n, struct buf *payload)
{
    feed_changes_begin(payload, ledger, after, seq, (int64_t)time(NULL));
    for (size_t i = 0; i < n; i++)
        feed_changes_row(payload, i == 0, after + 1 + i < seq ? after + 1 + i : seq, &lines[i]);
    feed_changes_end(payload);
}

#endif
