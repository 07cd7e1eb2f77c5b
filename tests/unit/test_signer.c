/* SPDX-License-Identifier: Apache-2.0 */
/* The real inkan-signer over a real SoftHSM token; the test is supervisor and core. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/der.h"
#include "base/feed.h"
#include "base/oid.h"
#include "base/proc.h"
#include "hsm/token_admin.h"
#include "hsm_bench.h"
#include "tests/lib/ckr_cases.h"

#define ALG_COUNT 6
static const char *const alg_names[ALG_COUNT] = {"p256", "p384", "rsa2048", "rsa3072", "rsa4096", "ed25519"};

/* One token for the whole program: a CA key of every algorithm, an OCSP key, an audit key. Tests that spoil it use their
 * own. The shim stands in front; without rules it only counts. */
static struct bench shared;
static struct made_key ca_keys[ALG_COUNT], ocsp_key, audit_key, record_key, feed_key;

static void make_key(const struct bench *b, enum key_purpose purpose, const char *name, const char *alg,
                     struct made_key *out)
{
    struct err e = {0};

    if (token_generate(b, purpose, name, alg, out, &e) != E_OK)
        fail_msg("%s", e.msg);
}

static int make_shared(void **state)
{
    (void)state;
    bench_make(&shared, true);
    token_make(&shared);
    for (size_t i = 0; i < ALG_COUNT; i++)
        make_key(&shared, PURPOSE_CA, alg_names[i], alg_names[i], &ca_keys[i]);
    make_key(&shared, PURPOSE_OCSP, "ocsp", "p256", &ocsp_key);
    make_key(&shared, PURPOSE_AUDIT, "audit", "p256", &audit_key);
    make_key(&shared, PURPOSE_RECORD, "record", "p256", &record_key);
    make_key(&shared, PURPOSE_FEED, "feed", "p256", &feed_key);
    return 0;
}

static int remove_shared(void **state)
{
    (void)state;
    bench_remove(&shared);
    return 0;
}

static int quiet(void **state)
{
    (void)state;
    child_kill_leftovers();
    bench_rules(&shared, NULL);
    bench_forget_calls(&shared);
    unlink(shared.log);
    shared.workers = 2;
    shared.queue = 256;
    shared.deadline_ms = 5000;
    bench_configure(&shared);
    return 0;
}

/* ---- requests ---- */

static struct bytes spki_of(const struct made_key *k)
{
    return BYTES(k->spki, k->spki_len);
}

static void put_key(struct msg *m, const char *name, enum key_purpose purpose, const struct made_key *k,
                    struct bytes issuer)
{
    msg_put_str(m, name);
    msg_put_u8(m, (uint8_t)purpose);
    msg_put_bytes(m, BYTES(k->cka_id, 16));
    msg_put_bytes(m, spki_of(k));
    msg_put_bytes(m, issuer);
}

static void receive(int link, uint16_t type, struct buf *packet, struct msg_reader *r)
{
    struct err e = {0};

    buf_reset(packet);
    if (msg_recv(link, packet, NULL, 40000, &e) != E_OK || msg_read_begin(buf_bytes(packet), r, &e) != E_OK)
        fail_msg("no answer: %s", e.msg);
    assert_int_equal(r->type, type);
}

static void send_msg(int link, struct msg *m, int fd)
{
    struct err e = {0};

    if (msg_send(link, m, fd, &e) != E_OK)
        fail_msg("%s", e.msg);
    msg_clear(m);
}

/* Names one key and returns what the signer thinks of it. */
static enum err_code name_key(int link, const char *name, enum key_purpose purpose, const struct made_key *k,
                              struct bytes issuer, struct err *e)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r;
    enum err_code rc;
    struct msg m;

    msg_begin(&m, SIGNER_KEYS, 7);
    msg_put_u32(&m, 1);
    put_key(&m, name, purpose, k, issuer);
    send_msg(link, &m, -1);
    receive(link, SIGNER_KEYS_RESULT, &packet, &r);
    assert_int_equal(msg_get_u32(&r), 1);
    rc = msg_get_err(&r, e);
    assert_int_equal(msg_read_end(&r, NULL), E_OK);
    return rc;
}

static void name_all(int link)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r;
    struct err e = {0};
    struct msg m;

    msg_begin(&m, SIGNER_KEYS, 7);
    msg_put_u32(&m, ALG_COUNT + 4);
    for (size_t i = 0; i < ALG_COUNT; i++)
        put_key(&m, alg_names[i], PURPOSE_CA, &ca_keys[i], test_issuer_name());
    put_key(&m, "ocsp", PURPOSE_OCSP, &ocsp_key, test_issuer_name());
    put_key(&m, "audit", PURPOSE_AUDIT, &audit_key, (struct bytes){NULL, 0});
    put_key(&m, "record", PURPOSE_RECORD, &record_key, (struct bytes){NULL, 0});
    put_key(&m, "feed", PURPOSE_FEED, &feed_key, (struct bytes){NULL, 0});
    send_msg(link, &m, -1);
    receive(link, SIGNER_KEYS_RESULT, &packet, &r);
    assert_int_equal(msg_get_u32(&r), ALG_COUNT + 4);
    for (size_t i = 0; i < ALG_COUNT + 4; i++)
        if (msg_get_err(&r, &e) != E_OK)
            fail_msg("key %zu: %s", i, e.msg);
}

static void send_sign(int link, uint64_t id, const char *key, enum sign_kind kind, uint32_t deadline_ms,
                      struct bytes tbs, int fd)
{
    struct msg m;

    msg_begin(&m, SIGNER_SIGN, id);
    msg_put_str(&m, key);
    msg_put_u8(&m, (uint8_t)kind);
    msg_put_u32(&m, deadline_ms);
    msg_put_u64(&m, id);
    msg_put_bytes(&m, fd >= 0 ? (struct bytes){NULL, 0} : tbs);
    send_msg(link, &m, fd);
}

struct answer {
    uint64_t id;
    struct err e;
    enum sig_alg alg;
    uint8_t sig[1024];
    struct bytes signature;
};

static enum err_code get_answer(int link, struct answer *a)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r;
    struct bytes sig;

    memset(a, 0, sizeof(*a));
    receive(link, SIGNER_SIGNED, &packet, &r);
    a->id = r.request_id;
    msg_get_err(&r, &a->e);
    a->alg = msg_get_enum(&r, SIG_ALGS_COUNT);
    sig = msg_get_bytes(&r, sizeof(a->sig));
    assert_int_equal(msg_read_end(&r, NULL), E_OK);
    memcpy(a->sig, sig.p ? sig.p : a->sig, sig.len);
    a->signature = BYTES(a->sig, sig.len);
    return a->e.code;
}

static enum err_code sign(int link, const char *key, enum sign_kind kind, struct bytes tbs, struct answer *a)
{
    send_sign(link, 9, key, kind, 5000, tbs, -1);
    return get_answer(link, a);
}

static struct child serve(const struct bench *b)
{
    struct child c = child_start(b, "inkan-signer");

    if (!child_wait_ready(&c, 20000))
        fail_msg("the signer is not ready, see its log");
    return c;
}

static struct child serve_all(void)
{
    struct child c = serve(&shared);

    name_all(c.link);
    return c;
}

static void stop(struct child *c)
{
    assert_int_equal(child_stop(c), 0);
}

/* Signs one certificate with the P-256 key and checks it. */
static void assert_signs(int link)
{
    AUTO_BUF tbs = BUF_INIT(4096);
    struct answer a;

    test_tbs_cert(&tbs, SIG_ECDSA_SHA256, test_issuer_name(), 5);
    if (sign(link, "p256", SIGN_CERT, buf_bytes(&tbs), &a) != E_OK)
        fail_msg("%s", a.e.msg);
    assert_true(test_verifies(spki_of(&ca_keys[0]), buf_bytes(&tbs), a.signature));
}

/* ---- what it signs ---- */

static void every_algorithm_signs_and_openssl_verifies(void **state)
{
    struct child c = serve_all();

    (void)state;
    for (size_t i = 0; i < ALG_COUNT; i++) {
        enum sig_alg alg = sig_alg_for_spki(spki_of(&ca_keys[i]));
        AUTO_BUF tbs = BUF_INIT(4096);
        struct answer a;

        test_tbs_cert(&tbs, alg, test_issuer_name(), 77);
        print_message("%s\n", alg_names[i]);
        if (sign(c.link, alg_names[i], SIGN_CERT, buf_bytes(&tbs), &a) != E_OK)
            fail_msg("%s: %s", alg_names[i], a.e.msg);
        assert_int_equal(a.alg, alg);
        assert_true(test_verifies(spki_of(&ca_keys[i]), buf_bytes(&tbs), a.signature));
        tbs.p[tbs.len - 1] ^= 1;
        assert_false(test_verifies(spki_of(&ca_keys[i]), buf_bytes(&tbs), a.signature));
    }
    stop(&c);
}

static void ecdsa_signatures_are_der_for_every_leading_octet(void **state)
{
    struct child c = serve_all();
    AUTO_BUF tbs = BUF_INIT(4096);

    (void)state;
    test_tbs_cert(&tbs, SIG_ECDSA_SHA256, test_issuer_name(), 1);
    for (unsigned i = 0; i < 600; i++) { /* a leading zero octet in r or s comes about once in 128 */
        struct answer a;

        assert_int_equal(sign(c.link, "p256", SIGN_CERT, buf_bytes(&tbs), &a), E_OK);
        assert_true(test_verifies(spki_of(&ca_keys[0]), buf_bytes(&tbs), a.signature));
    }
    stop(&c);
}

/* CertificationRequestInfo (RFC 2986 4.1); with `asks`, one attribute. */
static void request_info(struct buf *out, struct bytes subject, const struct made_key *key, bool asks)
{
    struct derw w;

    derw_init(&w, out);
    derw_begin(&w, DER_SEQUENCE);
    derw_u64(&w, 0);
    derw_raw(&w, subject);
    derw_raw(&w, spki_of(key));
    derw_begin(&w, DER_CONTEXT_CONSTRUCTED(0));
    if (asks)
        derw_null(&w);
    derw_end(&w);
    derw_end(&w);
    assert_true(derw_finish(&w));
}

/* What the status process has signed: the chain begins with a certificate of this key, as far as anybody looks at it. */
static void feed_input(struct buf *out, const struct made_key *key, enum sig_alg alg, const char *typ)
{
    AUTO_BUF cert = BUF_INIT(4096);
    struct bytes chain[2];
    struct derw w;

    derw_init(&w, &cert);
    derw_begin(&w, DER_SEQUENCE);
    derw_begin(&w, DER_SEQUENCE);
    derw_begin(&w, DER_CONTEXT_CONSTRUCTED(0));
    derw_u64(&w, 2);
    derw_end(&w);
    derw_u64(&w, 77);
    for (int i = 0; i < 4; i++) { /* signature, issuer, validity, subject */
        derw_begin(&w, DER_SEQUENCE);
        derw_end(&w);
    }
    derw_raw(&w, spki_of(key));
    derw_end(&w);
    derw_end(&w);
    assert_true(derw_finish(&w));
    chain[0] = buf_bytes(&cert);
    chain[1] = bytes_str("its CA");
    feed_signing_input(out, alg, typ, chain, 2, bytes_str("{\"rows\":[]}"));
    assert_true(buf_ok(out));
}

static void objects_that_do_not_fit_the_key_are_refused(void **state)
{
    static const uint8_t other_name[] = {0x30, 0x12, 0x31, 0x10, 0x30, 0x0e, 0x06, 0x03, 0x55, 0x04,
                                         0x03, 0x0c, 0x07, 'T',  'e',  's',  't',  ' ',  'C',  'B'};
    AUTO_BUF cert = BUF_INIT(4096), other_issuer = BUF_INIT(4096), other_alg = BUF_INIT(4096), crl = BUF_INIT(4096);
    AUTO_BUF crl_other = BUF_INIT(4096), ocsp = BUF_INIT(4096), ocsp_other = BUF_INIT(4096), audit = BUF_INIT(4096);
    AUTO_BUF audit_other = BUF_INIT(4096), trailing = BUF_INIT(4096), csr = BUF_INIT(4096), csr_name = BUF_INIT(4096);
    AUTO_BUF csr_key = BUF_INIT(4096), csr_asks = BUF_INIT(4096);
    AUTO_BUF record = BUF_INIT(4096), record_other = BUF_INIT(4096), record_alg = BUF_INIT(4096), jwt = BUF_INIT(4096);
    AUTO_BUF manifest = BUF_INIT(4096), manifest_other = BUF_INIT(4096), record_kid = BUF_INIT(4096);
    AUTO_BUF padded = BUF_INIT(4096), headless = BUF_INIT(4096), package = BUF_INIT(4096), timed = BUF_INIT(4096);
    AUTO_BUF data = BUF_INIT(4096), digest_384 = BUF_INIT(4096), unsorted = BUF_INIT(4096), sequence = BUF_INIT(4096);
    AUTO_BUF snapshot = BUF_INIT(4096), changes = BUF_INIT(4096), feed_other = BUF_INIT(4096), feed_alg = BUF_INIT(4096);
    AUTO_BUF feed_typ = BUF_INIT(4096), feed_record = BUF_INIT(4096);
    struct child c = serve_all();

    (void)state;
    feed_input(&snapshot, &feed_key, SIG_ECDSA_SHA256, FEED_SNAPSHOT_TYP);
    feed_input(&changes, &feed_key, SIG_ECDSA_SHA256, FEED_CHANGES_TYP);
    feed_input(&feed_other, &record_key, SIG_ECDSA_SHA256, FEED_CHANGES_TYP);
    feed_input(&feed_alg, &feed_key, SIG_ECDSA_SHA384, FEED_CHANGES_TYP);
    feed_input(&feed_typ, &feed_key, SIG_ECDSA_SHA256, "inkan-request+jws");
    test_record(&feed_record, spki_of(&feed_key), SIG_ECDSA_SHA256, "inkan-close-out");
    test_record(&record, spki_of(&record_key), SIG_ECDSA_SHA256, "inkan-close-out");
    test_record(&record_other, spki_of(&audit_key), SIG_ECDSA_SHA256, "inkan-close-out");
    test_record(&record_alg, spki_of(&record_key), SIG_ECDSA_SHA384, "inkan-close-out");
    test_record(&jwt, spki_of(&record_key), SIG_ECDSA_SHA256, "JWT");
    buf_add_bytes(&padded, buf_bytes(&record));
    buf_add_str(&padded, "=");
    buf_add_str(&headless, "e30.e30");
    test_manifest(&manifest, spki_of(&record_key), "JWT", "{\"distributor\":{}}");
    test_manifest(&manifest_other, spki_of(&record_key), "JWT", "{\"iss\":\"records\"}");
    test_manifest(&record_kid, spki_of(&record_key), "inkan-close-out", "{\"distributor\":{}}");
    test_key_package(&package, OID_KEY_PACKAGE, 32, false);
    test_key_package(&timed, OID_KEY_PACKAGE, 32, true);
    test_key_package(&data, OID_PKCS7_DATA, 32, false);
    test_key_package(&digest_384, OID_KEY_PACKAGE, 48, false);
    buf_add_bytes(&sequence, buf_bytes(&package));
    sequence.p[0] = DER_SEQUENCE;
    /* The two attributes change places; the first is 27 octets. */
    buf_add(&unsorted, package.p, 2);
    buf_add(&unsorted, package.p + 2 + 27, package.len - 2 - 27);
    buf_add(&unsorted, package.p + 2, 27);
    test_tbs_cert(&cert, SIG_ECDSA_SHA256, test_issuer_name(), 1);
    test_tbs_cert(&other_issuer, SIG_ECDSA_SHA256, BYTES_OF(other_name), 1);
    test_tbs_cert(&other_alg, SIG_ECDSA_SHA384, test_issuer_name(), 1);
    test_tbs_crl(&crl, SIG_ECDSA_SHA256, test_issuer_name(), 3);
    test_tbs_crl(&crl_other, SIG_ECDSA_SHA256, BYTES_OF(other_name), 3);
    test_ocsp_data(&ocsp, spki_of(&ocsp_key));
    test_ocsp_data(&ocsp_other, spki_of(&ca_keys[0]));
    test_audit_head(&audit, "inkan-audit-head");
    test_audit_head(&audit_other, "inkan-audit-heae");
    request_info(&csr, test_issuer_name(), &ca_keys[0], false);
    request_info(&csr_name, BYTES_OF(other_name), &ca_keys[0], false);
    request_info(&csr_key, test_issuer_name(), &ca_keys[1], false);
    request_info(&csr_asks, test_issuer_name(), &ca_keys[0], true);
    buf_add_bytes(&trailing, buf_bytes(&cert));
    buf_add_u8(&trailing, 0);
    const struct {
        const char *name, *key;
        enum sign_kind kind;
        const struct buf *tbs;
        enum err_code code;
        const char *message;
    } cases[] = {
        {"a certificate of its own name", "p256", SIGN_CERT, &cert, E_OK, NULL},
        {"a certificate of another issuer", "p256", SIGN_CERT, &other_issuer, E_INVALID, "issuer"},
        {"a certificate for another algorithm", "p256", SIGN_CERT, &other_alg, E_INVALID, "algorithm"},
        {"a certificate with one octet after it", "p256", SIGN_CERT, &trailing, E_INVALID, "not one DER"},
        {"a CRL of its own name", "p256", SIGN_CRL, &crl, E_OK, NULL},
        {"a CRL of another issuer", "p256", SIGN_CRL, &crl_other, E_INVALID, "issuer"},
        {"a CRL sent as a certificate", "p256", SIGN_CERT, &crl, E_INVALID, "version"},
        {"a certificate sent as a CRL", "p256", SIGN_CRL, &cert, E_INVALID, "version"},
        {"a certificate with an OCSP key", "ocsp", SIGN_CERT, &cert, E_INVALID, "purpose"},
        {"a certificate with the audit key", "audit", SIGN_CERT, &cert, E_INVALID, "purpose"},
        {"an OCSP answer of this responder", "ocsp", SIGN_OCSP, &ocsp, E_OK, NULL},
        {"an OCSP answer of another responder", "ocsp", SIGN_OCSP, &ocsp_other, E_INVALID, "responderID"},
        {"an OCSP answer with a CA key", "p256", SIGN_OCSP, &ocsp_other, E_INVALID, "purpose"},
        {"an audit head", "audit", SIGN_AUDIT, &audit, E_OK, NULL},
        {"something like an audit head", "audit", SIGN_AUDIT, &audit_other, E_INVALID, "audit"},
        {"an audit head with a CA key", "p256", SIGN_AUDIT, &audit, E_INVALID, "purpose"},
        {"a request of its own", "p256", SIGN_CSR, &csr, E_OK, NULL},
        {"a request with another subject", "p256", SIGN_CSR, &csr_name, E_INVALID, "subject"},
        {"a request for another key", "p256", SIGN_CSR, &csr_key, E_INVALID, "public key"},
        {"a request that asks for something", "p256", SIGN_CSR, &csr_asks, E_INVALID, "attributes"},
        {"a request with the audit key", "audit", SIGN_CSR, &csr, E_INVALID, "purpose"},
        {"a request sent as a certificate", "p256", SIGN_CERT, &csr, E_INVALID, "version"},
        {"a certificate sent as a request", "p256", SIGN_CSR, &cert, E_INVALID, "version"},
        {"a record", "record", SIGN_JWS, &record, E_OK, NULL},
        {"a record that names another key", "record", SIGN_JWS, &record_other, E_INVALID, "kid"},
        {"a record for another algorithm", "record", SIGN_JWS, &record_alg, E_INVALID, "alg ES384"},
        {"a JWT", "record", SIGN_JWS, &jwt, E_INVALID, "typ"},
        {"a manifest of Microchip's form", "record", SIGN_JWS, &manifest, E_OK, NULL},
        {"a manifest with another first member", "record", SIGN_JWS, &manifest_other, E_INVALID, "kid"},
        {"a record with the kid of a manifest", "record", SIGN_JWS, &record_kid, E_INVALID, "kid"},
        {"a record with padding", "record", SIGN_JWS, &padded, E_INVALID, "base64url"},
        {"a record without a header", "record", SIGN_JWS, &headless, E_INVALID, "header"},
        {"a certificate as a record", "record", SIGN_JWS, &cert, E_INVALID, "JWS"},
        {"a certificate with the record key", "record", SIGN_CERT, &cert, E_INVALID, "purpose"},
        {"a record with a CA key", "p256", SIGN_JWS, &record, E_INVALID, "purpose"},
        {"a record with the audit key", "audit", SIGN_JWS, &record_other, E_INVALID, "purpose"},
        {"a key package", "record", SIGN_KEY_PACKAGE, &package, E_OK, NULL},
        {"a key package with its time", "record", SIGN_KEY_PACKAGE, &timed, E_OK, NULL},
        {"attributes of other content", "record", SIGN_KEY_PACKAGE, &data, E_INVALID, "contentType"},
        {"a digest of another length", "record", SIGN_KEY_PACKAGE, &digest_384, E_INVALID, "messageDigest"},
        {"attributes out of order", "record", SIGN_KEY_PACKAGE, &unsorted, E_INVALID, "SET OF"},
        {"a SEQUENCE of attributes", "record", SIGN_KEY_PACKAGE, &sequence, E_INVALID, "SET"},
        {"a key package with a CA key", "p256", SIGN_KEY_PACKAGE, &package, E_INVALID, "purpose"},
        {"a snapshot of the feed", "feed", SIGN_FEED, &snapshot, E_OK, NULL},
        {"changes of the feed", "feed", SIGN_FEED, &changes, E_OK, NULL},
        {"changes under another key's certificate", "feed", SIGN_FEED, &feed_other, E_INVALID, "x5c"},
        {"changes for another algorithm", "feed", SIGN_FEED, &feed_alg, E_INVALID, "alg ES384"},
        {"an operator's request with the feed key", "feed", SIGN_FEED, &feed_typ, E_INVALID, "typ"},
        {"a record with the feed key", "feed", SIGN_JWS, &feed_record, E_INVALID, "purpose"},
        {"a record as changes of the feed", "feed", SIGN_FEED, &feed_record, E_INVALID, "typ"},
        {"changes with the record key", "record", SIGN_FEED, &feed_other, E_INVALID, "purpose"},
        {"changes with a CA key", "p256", SIGN_FEED, &changes, E_INVALID, "purpose"},
        {"a certificate with the feed key", "feed", SIGN_CERT, &cert, E_INVALID, "purpose"},
        {"an OCSP answer with the feed key", "feed", SIGN_OCSP, &ocsp, E_INVALID, "purpose"},
        {"a key nobody named", "p999", SIGN_CERT, &cert, E_NOT_FOUND, "p999"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct answer a;

        print_message("%s\n", cases[i].name);
        assert_int_equal(sign(c.link, cases[i].key, cases[i].kind, buf_bytes(cases[i].tbs), &a), cases[i].code);
        assert_int_equal(a.signature.len > 0, cases[i].code == E_OK);
        if (cases[i].code == E_OK && strcmp(cases[i].key, "record") == 0)
            assert_true(test_verifies(spki_of(&record_key), buf_bytes(cases[i].tbs), a.signature));
        if (cases[i].code == E_OK && strcmp(cases[i].key, "feed") == 0)
            assert_true(test_verifies(spki_of(&feed_key), buf_bytes(cases[i].tbs), a.signature));
        if (cases[i].message && !strstr(a.e.msg, cases[i].message))
            fail_msg("\"%s\" does not say \"%s\"", a.e.msg, cases[i].message);
    }
    stop(&c);
}

static void a_large_crl_comes_as_a_sealed_file_and_no_other(void **state)
{
    AUTO_BUF crl = BUF_INIT(8 << 20);
    struct child c = serve_all();
    struct err e = {0};
    struct answer a;
    int fd;

    (void)state;
    test_tbs_crl(&crl, SIG_ECDSA_SHA256, test_issuer_name(), 100000);
    fd = memfd_of("tbs", buf_bytes(&crl), &e);
    assert_true(fd >= 0);
    send_sign(c.link, 3, "p256", SIGN_CRL, 5000, (struct bytes){NULL, 0}, fd);
    close(fd);
    assert_int_equal(get_answer(c.link, &a), E_OK);
    assert_true(test_verifies(spki_of(&ca_keys[0]), buf_bytes(&crl), a.signature));
    stop(&c);

    c = serve_all();
    fd = memfd_create("tbs", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(write(fd, crl.p, crl.len), (ssize_t)crl.len);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    send_sign(c.link, 4, "p256", SIGN_CRL, 5000, (struct bytes){NULL, 0}, fd);
    close(fd);
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    assert_int_not_equal(msg_recv(c.link, &packet, NULL, 5000, &e), E_OK); /* writable: the link is closed */
    stop(&c);
}

static void the_token_sees_the_hash_of_what_was_sent(void **state)
{
    AUTO_BUF tbs = BUF_INIT(4096);
    struct child c = serve_all();
    char want[80], line[4096];
    uint8_t hash[32];
    struct answer a;
    bool seen = false;
    FILE *f;

    (void)state;
    test_tbs_cert(&tbs, SIG_ECDSA_SHA256, test_issuer_name(), 4711);
    assert_int_equal(sign(c.link, "p256", SIGN_CERT, buf_bytes(&tbs), &a), E_OK);
    stop(&c);
    sha256(buf_bytes(&tbs), hash);
    hex_encode(hash, 32, want);
    f = fopen(shared.signed_data, "re");
    while (f && fgets(line, sizeof(line), f))
        seen |= strstr(line, want) != NULL;
    if (f)
        fclose(f);
    assert_true(seen);
}

/* ---- which keys it takes ---- */

static void a_key_is_taken_only_when_id_public_key_and_purpose_fit(void **state)
{
    struct made_key swapped = ca_keys[0], unknown = ca_keys[0];
    struct child c = serve(&shared);
    struct err e = {0};

    (void)state;
    assert_int_equal(name_key(c.link, "k", PURPOSE_CA, &ca_keys[0], test_issuer_name(), &e), E_OK);
    memcpy(swapped.spki, ca_keys[1].spki, ca_keys[1].spki_len);
    swapped.spki_len = ca_keys[1].spki_len;
    assert_int_equal(name_key(c.link, "k", PURPOSE_CA, &swapped, test_issuer_name(), &e), E_CONFLICT);
    assert_int_equal(name_key(c.link, "k", PURPOSE_OCSP, &ca_keys[0], test_issuer_name(), &e), E_CONFLICT);
    assert_non_null(strstr(e.msg, "purpose"));
    unknown.cka_id[0] ^= 1;
    assert_int_equal(name_key(c.link, "k", PURPOSE_CA, &unknown, test_issuer_name(), &e), E_NOT_FOUND);
    assert_int_equal(name_key(c.link, "k", PURPOSE_CA, &ca_keys[0], (struct bytes){NULL, 0}, &e), E_INVALID);
    assert_true(bench_logged(&shared, "event=signer-key-refused"));
    stop(&c);
}

static void attributes_that_differ_refuse_the_key(void **state)
{
    struct child c;
    struct err e = {0};

    (void)state;
    bench_rules(&shared, "C_GetAttributeValue attr=0x162 value=1\n"); /* CKA_EXTRACTABLE */
    c = serve(&shared);
    assert_int_equal(name_key(c.link, "k", PURPOSE_CA, &ca_keys[0], test_issuer_name(), &e), E_CONFLICT);
    assert_non_null(strstr(e.msg, "CKA_EXTRACTABLE"));
    stop(&c);
}

static void each_link_has_its_own_keys(void **state)
{
    AUTO_BUF tbs = BUF_INIT(4096), ocsp = BUF_INIT(4096);
    struct child c = serve_all();
    int status = child_link(&c, PROC_STATUS, 0, "status");
    struct err e = {0};
    struct answer a;

    (void)state;
    test_tbs_cert(&tbs, SIG_ECDSA_SHA256, test_issuer_name(), 1);
    test_ocsp_data(&ocsp, spki_of(&ocsp_key));
    assert_int_equal(name_key(status, "ocsp", PURPOSE_OCSP, &ocsp_key, test_issuer_name(), &e), E_OK);
    assert_int_equal(sign(status, "p256", SIGN_CERT, buf_bytes(&tbs), &a), E_NOT_FOUND);
    assert_int_equal(sign(status, "ocsp", SIGN_OCSP, buf_bytes(&ocsp), &a), E_OK);
    close(status);
    assert_signs(c.link);
    stop(&c);
}

static void a_link_from_another_kind_of_process_is_refused(void **state)
{
    struct child c = serve_all();
    int front = child_link(&c, PROC_FRONT, 0, "front-0");
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct err e = {0};

    (void)state;
    assert_int_not_equal(msg_recv(front, &packet, NULL, 5000, &e), E_OK);
    close(front);
    assert_signs(c.link);
    stop(&c);
}

static void no_key_is_searched_for_on_the_request_path(void **state)
{
    struct child c = serve_all();

    (void)state;
    bench_forget_calls(&shared);
    for (int i = 0; i < 20; i++)
        assert_signs(c.link);
    assert_int_equal(bench_calls(&shared, "C_Sign"), 20);
    assert_int_equal(bench_calls(&shared, "C_FindObjectsInit"), 0);
    assert_int_equal(bench_calls(&shared, "C_Login"), 0);
    stop(&c);
}

/* ---- faults ---- */

/* `n` requests at once, `window` unanswered; every one must come back good. */
static void assert_burst_signs(int link, unsigned n)
{
    AUTO_BUF tbs = BUF_INIT(4096);
    unsigned sent = 0, got = 0;

    test_tbs_cert(&tbs, SIG_ECDSA_SHA256, test_issuer_name(), 5);
    while (got < n) {
        struct answer a;

        while (sent < n && sent - got < 32)
            send_sign(link, ++sent, "p256", SIGN_CERT, 5000, buf_bytes(&tbs), -1);
        if (get_answer(link, &a) != E_OK)
            fail_msg("request %lu: %s", (unsigned long)a.id, a.e.msg);
        assert_true(test_verifies(spki_of(&ca_keys[0]), buf_bytes(&tbs), a.signature));
        got++;
    }
}

static void passing_troubles_lose_no_request(void **state)
{
    static const struct {
        const char *name, *rules, *logged;
        unsigned workers; /* 1: the repeat is surely the next call; with two, the others' calls between may make it the 10th */
    } cases[] = {
        {"session lost at every 5th signature", "C_Sign rv=0xb3 every=5\n", "signer-session-reopened", 1},
        {"session closed at every 7th", "C_SignInit rv=0xb0 every=7\n", "signer-session-reopened", 1},
        {"an operation left open at every 6th", "C_Sign rv=0x6 every=6\n", "signer-session-reopened", 1},
        {"key handle void at every 90th", "C_SignInit rv=0x60 after=10 every=90\n", "signer-generation", 2},
        {"object handle void at every 80th", "C_SignInit rv=0x82 after=10 every=80\n", "signer-generation", 2},
        {"not logged in at every 70th", "C_SignInit rv=0x101 after=10 every=70\n", "signer-generation", 2},
        {"all sessions dropped, twice", "C_SignInit drop=1 after=20 every=70 first=2\n", "signer-generation", 2},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct child c;

        quiet(NULL);
        shared.workers = cases[i].workers;
        bench_configure(&shared);
        c = serve_all();
        print_message("%s\n", cases[i].name);
        bench_rules(&shared, cases[i].rules);
        assert_burst_signs(c.link, 200);
        bench_rules(&shared, NULL);
        assert_true(bench_logged(&shared, cases[i].logged));
        stop(&c);
    }
}

static void send_generate(int link, enum key_alg alg)
{
    struct msg m;

    msg_begin(&m, SIGNER_GENERATE, 7);
    msg_put_u8(&m, (uint8_t)alg);
    msg_put_u32(&m, 20000);
    msg_put_u64(&m, 7);
    send_msg(link, &m, -1);
}

static void assert_generated(int link)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r;
    struct err e = {0};

    receive(link, SIGNER_GENERATED, &packet, &r);
    if (msg_get_err(&r, &e) != E_OK)
        fail_msg("%s", e.msg);
}

/* Locked memory is for keys that are there, not for those that wait to be made. */
static void more_pairs_than_there_is_locked_memory_for_may_wait(void **state)
{
    enum { PAIRS = 1100 };
    struct child c;

    (void)state;
    shared.queue = 2048;
    bench_configure(&shared);
    c = serve_all();
    bench_rules(&shared, "C_GenerateKeyPair latency_ms=700 first=2\n");
    for (unsigned i = 0; i < PAIRS; i++)
        send_generate(c.link, KEY_P256);
    for (unsigned i = 0; i < PAIRS; i++)
        assert_generated(c.link);
    bench_rules(&shared, NULL);
    stop(&c);
}

/* The session that could not destroy it is closed, which destroys it, and another pair is made. */
static void a_pair_that_stays_in_the_token_is_not_given_out(void **state)
{
    static const enum key_alg algs[] = {KEY_P256, KEY_ED25519};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
        struct child c;

        quiet(NULL);
        c = serve_all();
        bench_rules(&shared, "C_DestroyObject rv=0x6 first=1\n");
        send_generate(c.link, algs[i]);
        assert_generated(c.link);
        assert_int_equal(bench_calls(&shared, "C_GenerateKeyPair"), 2);
        assert_true(bench_logged(&shared, "signer-session-reopened"));
        bench_rules(&shared, NULL);
        stop(&c);
    }
}

static void a_new_login_generation_resolves_every_key_again(void **state)
{
    struct child c = serve_all();

    (void)state;
    bench_forget_calls(&shared);
    bench_rules(&shared, "C_SignInit drop=1 first=1\n");
    assert_signs(c.link);
    assert_int_equal(bench_calls(&shared, "C_Login"), 1);
    assert_true(bench_calls(&shared, "C_FindObjectsInit") >= ALG_COUNT + 2);
    for (size_t i = 0; i < ALG_COUNT; i++) { /* handles were renumbered: each key still signs for itself */
        AUTO_BUF tbs = BUF_INIT(4096);
        struct answer a;

        test_tbs_cert(&tbs, sig_alg_for_spki(spki_of(&ca_keys[i])), test_issuer_name(), 6);
        assert_int_equal(sign(c.link, alg_names[i], SIGN_CERT, buf_bytes(&tbs), &a), E_OK);
        assert_true(test_verifies(spki_of(&ca_keys[i]), buf_bytes(&tbs), a.signature));
    }
    stop(&c);
}

static void a_wrong_job_fails_alone(void **state)
{
    AUTO_BUF tbs = BUF_INIT(4096);
    struct child c = serve_all();
    struct answer a;

    (void)state;
    test_tbs_cert(&tbs, SIG_ECDSA_SHA256, test_issuer_name(), 5);
    bench_rules(&shared, "C_SignInit rv=0x70 first=1\n"); /* MECHANISM_INVALID */
    assert_int_equal(sign(c.link, "p256", SIGN_CERT, buf_bytes(&tbs), &a), E_TOKEN);
    assert_non_null(strstr(a.e.msg, "CKR_MECHANISM_INVALID"));
    assert_signs(c.link);
    stop(&c);
}

static void a_failed_device_leaves_the_process(void **state)
{
    static const char *const rules[] = {"C_Sign rv=0x30\n", "C_SignInit rv=0x5\n", "C_Sign rv=0x32\n",
                                        "C_Sign rv=0x80001234\n"};
    AUTO_BUF tbs = BUF_INIT(4096);

    (void)state;
    test_tbs_cert(&tbs, SIG_ECDSA_SHA256, test_issuer_name(), 5);
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        struct child c;

        quiet(NULL);
        c = serve_all();
        bench_rules(&shared, rules[i]);
        send_sign(c.link, 1, "p256", SIGN_CERT, 5000, buf_bytes(&tbs), -1);
        assert_int_equal(child_wait(&c, 60000), PROC_EXIT_RESTART);
        assert_true(bench_logged(&shared, "event=signer-down"));
    }
    bench_rules(&shared, NULL);
    struct child again = serve_all();
    assert_signs(again.link);
    stop(&again);
}

static void a_flipped_bit_never_leaves_and_the_key_is_quarantined(void **state)
{
    AUTO_BUF tbs = BUF_INIT(4096);
    struct child c = serve_all();
    unsigned good = 0, refused = 0;
    struct err e = {0};

    (void)state;
    test_tbs_cert(&tbs, SIG_ECDSA_SHA256, test_issuer_name(), 5);
    bench_rules(&shared, "C_Sign flip=1 every=3\n");
    for (unsigned i = 0; i < 12; i++) {
        struct answer a;

        if (sign(c.link, "p256", SIGN_CERT, buf_bytes(&tbs), &a) == E_OK) {
            assert_true(test_verifies(spki_of(&ca_keys[0]), buf_bytes(&tbs), a.signature));
            good++;
        } else {
            assert_int_equal(a.signature.len, 0);
            assert_non_null(strstr(a.e.msg, "quarantine"));
            refused++;
        }
    }
    assert_int_equal(good, 2);
    assert_int_equal(refused, 10);
    assert_true(bench_logged(&shared, "event=signer-signature-bad"));
    bench_rules(&shared, NULL);
    assert_int_equal(name_key(c.link, "p256", PURPOSE_CA, &ca_keys[0], test_issuer_name(), &e), E_TOKEN);
    assert_int_equal(name_key(c.link, "p384", PURPOSE_CA, &ca_keys[1], test_issuer_name(), &e), E_OK);
    stop(&c);
}

static void a_hung_signature_ends_the_process(void **state)
{
    AUTO_BUF tbs = BUF_INIT(4096);
    struct child c;
    int64_t start;

    (void)state;
    shared.deadline_ms = 500;
    bench_configure(&shared);
    c = serve_all();
    test_tbs_cert(&tbs, SIG_ECDSA_SHA256, test_issuer_name(), 5);
    bench_rules(&shared, "C_Sign hang=1\n");
    start = clock_mono_ms();
    send_sign(c.link, 1, "p256", SIGN_CERT, 500, buf_bytes(&tbs), -1);
    assert_int_equal(child_wait(&c, 60000), PROC_EXIT_RESTART);
    assert_true(clock_mono_ms() - start >= 10000);
    assert_true(bench_logged(&shared, "hangs in the module"));
}

/* Quick signatures are answered several together while more are waiting: the ones that hang must not keep them back. */
static void signatures_made_before_a_hang_are_answered(void **state)
{
    AUTO_BUF tbs = BUF_INIT(4096);
    struct answer a;
    struct child c = serve_all();

    (void)state;
    test_tbs_cert(&tbs, SIG_ECDSA_SHA256, test_issuer_name(), 5);
    bench_rules(&shared, "C_Sign hang=1 after=5\n");
    for (uint64_t id = 1; id <= 20; id++)
        send_sign(c.link, id, "p256", SIGN_CERT, 5000, buf_bytes(&tbs), -1);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(get_answer(c.link, &a), E_OK);
        assert_true(test_verifies(spki_of(&ca_keys[0]), buf_bytes(&tbs), a.signature));
    }
    bench_rules(&shared, NULL);
    child_kill(&c);
}

static void a_full_queue_answers_busy_and_recovers(void **state)
{
    AUTO_BUF tbs = BUF_INIT(4096);
    unsigned fine = 0, busy = 0;
    struct child c;

    (void)state;
    shared.workers = 1;
    shared.queue = 4;
    bench_configure(&shared);
    c = serve_all();
    test_tbs_cert(&tbs, SIG_ECDSA_SHA256, test_issuer_name(), 5);
    bench_rules(&shared, "C_Sign latency_ms=400\n"); /* all are there long before the first is done */
    for (unsigned i = 1; i <= 30; i++)
        send_sign(c.link, i, "p256", SIGN_CERT, 5000, buf_bytes(&tbs), -1);
    for (unsigned i = 0; i < 30; i++) {
        struct answer a;
        enum err_code rc = get_answer(c.link, &a);

        assert_true(rc == E_OK || rc == E_BUSY);
        fine += rc == E_OK;
        busy += rc == E_BUSY;
    }
    assert_true(fine >= 4 && fine <= 6);
    assert_int_equal(fine + busy, 30);
    bench_rules(&shared, NULL);
    assert_signs(c.link);
    stop(&c);
}

static void a_job_past_its_deadline_is_not_signed(void **state)
{
    AUTO_BUF tbs = BUF_INIT(4096);
    struct child c;
    struct answer a;

    (void)state;
    shared.workers = 1;
    bench_configure(&shared);
    c = serve_all();
    test_tbs_cert(&tbs, SIG_ECDSA_SHA256, test_issuer_name(), 5);
    bench_rules(&shared, "C_Sign latency_ms=400\n");
    bench_forget_calls(&shared);
    send_sign(c.link, 1, "p256", SIGN_CERT, 5000, buf_bytes(&tbs), -1);
    send_sign(c.link, 2, "p256", SIGN_CERT, 50, buf_bytes(&tbs), -1);
    assert_int_equal(get_answer(c.link, &a), E_OK);
    assert_int_equal(get_answer(c.link, &a), E_BUSY);
    assert_int_equal(a.id, 2);
    assert_int_equal(bench_calls(&shared, "C_Sign"), 1);
    stop(&c);
}

static void fewer_sessions_than_workers_still_serve(void **state)
{
    struct child c;

    (void)state;
    shared.workers = 4;
    bench_configure(&shared);
    bench_rules(&shared, "C_OpenSession rv=0xb1 after=2\n"); /* SESSION_COUNT: control and one worker */
    c = serve_all();
    assert_burst_signs(c.link, 60);
    assert_true(bench_logged(&shared, "event=signer-workers-shrunk"));
    stop(&c);
}

/* ---- PIN ---- */

static struct bench *own_token(struct bench *b, struct made_key *key)
{
    bench_make(b, true);
    token_make(b);
    make_key(b, PURPOSE_CA, "k", "p256", key);
    bench_forget_calls(b);
    return b;
}

/* Starts the signer and expects it to block. */
static void assert_blocks(const struct bench *b)
{
    struct child c = child_start(b, "inkan-signer");

    assert_true(child_wait_state(&c, "PIN_BLOCKED: ", 10000));
    assert_int_equal(child_wait(&c, 60000), PROC_EXIT_BLOCKED);
}

static void assert_serves(const struct bench *b, const struct made_key *key)
{
    struct child c = serve(b);
    AUTO_BUF tbs = BUF_INIT(4096);
    struct err e = {0};
    struct answer a;

    if (name_key(c.link, "k", PURPOSE_CA, key, test_issuer_name(), &e) != E_OK)
        fail_msg("%s", e.msg);
    test_tbs_cert(&tbs, SIG_ECDSA_SHA256, test_issuer_name(), 5);
    assert_int_equal(sign(c.link, "k", SIGN_CERT, buf_bytes(&tbs), &a), E_OK);
    stop(&c);
}

static void read_pin(const struct bench *b, char out[64])
{
    FILE *f = fopen(b->pin_file, "re");

    assert_non_null(f);
    assert_non_null(fgets(out, 64, f));
    out[strcspn(out, "\n")] = '\0';
    fclose(f);
}

static bool is_confined(pid_t pid)
{
    char path[64], line[256];
    bool found = false;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%ld/status", (long)pid);
    f = fopen(path, "re");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f))
        found = found || strcmp(line, "Seccomp:\t2\n") == 0;
    fclose(f);
    return found;
}

static void unblock(const struct bench *b)
{
    struct child c = child_start(b, "inkan-token");
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r;
    struct err e = {0};
    struct msg m;

    msg_begin(&m, TOKEN_UNBLOCK, 1);
    assert_int_equal(token_ask(&c, &m, &packet, &r, &e), E_OK);
    assert_true(is_confined(c.pid)); /* it ran without its list of system calls once */
    assert_int_equal(child_stop(&c), 0);
}

static void a_refused_pin_is_one_login_for_ever(void **state)
{
    struct made_key key;
    struct bench b;
    char good[64];

    (void)state;
    own_token(&b, &key);
    read_pin(&b, good);
    bench_pin(&b, "wrong-pin");
    for (int i = 0; i < 5; i++)
        assert_blocks(&b);
    assert_int_equal(bench_calls(&b, "C_Login"), 1);
    assert_true(bench_logged(&b, "event=signer-pin-refused"));
    assert_false(bench_logged(&b, "wrong-pin"));

    bench_pin(&b, "another-wrong-pin"); /* a new PIN is tried, once */
    for (int i = 0; i < 3; i++)
        assert_blocks(&b);
    assert_int_equal(bench_calls(&b, "C_Login"), 2);

    unblock(&b); /* so is the same one after an unblock */
    for (int i = 0; i < 3; i++)
        assert_blocks(&b);
    assert_int_equal(bench_calls(&b, "C_Login"), 3);

    bench_pin(&b, good);
    assert_serves(&b, &key);
    assert_int_equal(bench_calls(&b, "C_Login"), 4);
    bench_remove(&b);
}

static void a_login_that_was_killed_is_repeated_once(void **state)
{
    struct made_key key;
    struct bench b;

    (void)state;
    own_token(&b, &key);
    bench_rules(&b, "C_Login kill=before\n");
    for (int i = 0; i < 2; i++) {
        struct child c = child_start(&b, "inkan-signer");

        assert_int_equal(child_wait(&c, 60000), 1000 + SIGKILL);
    }
    assert_int_equal(bench_calls(&b, "C_Login"), 2);
    for (int i = 0; i < 3; i++)
        assert_blocks(&b);
    assert_int_equal(bench_calls(&b, "C_Login"), 2);
    bench_rules(&b, NULL);
    assert_blocks(&b); /* the token is well again, the rule stands */
    unblock(&b);
    assert_serves(&b, &key);
    bench_remove(&b);
}

static void one_unanswered_login_and_then_a_good_one_is_no_block(void **state)
{
    struct made_key key;
    struct bench b;

    (void)state;
    own_token(&b, &key);
    for (int i = 0; i < 3; i++) {
        struct child c;

        bench_rules(&b, "C_Login kill=after\n");
        c = child_start(&b, "inkan-signer");
        assert_int_equal(child_wait(&c, 60000), 1000 + SIGKILL);
        bench_rules(&b, NULL);
        assert_serves(&b, &key);
    }
    bench_remove(&b);
}

static void a_token_on_its_last_try_is_left_alone(void **state)
{
    struct made_key key;
    struct bench b;

    (void)state;
    own_token(&b, &key);
    bench_rules(&b, "C_GetTokenInfo flags=0x20000\n"); /* CKF_USER_PIN_FINAL_TRY */
    assert_blocks(&b);
    assert_int_equal(bench_calls(&b, "C_Login"), 0);
    bench_rules(&b, "C_GetTokenInfo flags=0x40000\n"); /* CKF_USER_PIN_LOCKED */
    assert_blocks(&b);
    assert_int_equal(bench_calls(&b, "C_Login"), 0);
    bench_rules(&b, NULL);
    assert_serves(&b, &key);
    bench_remove(&b);
}

static void a_pin_changed_under_a_running_signer_blocks_at_the_next_login(void **state)
{
    AUTO_BUF tbs = BUF_INIT(4096);
    struct made_key key;
    struct err e = {0};
    struct bench b;
    struct child c;

    (void)state;
    own_token(&b, &key);
    c = serve(&b);
    assert_int_equal(name_key(c.link, "k", PURPOSE_CA, &key, test_issuer_name(), &e), E_OK);
    bench_pin(&b, "not-the-pin");
    bench_forget_calls(&b);
    bench_rules(&b, "C_SignInit drop=1 first=1\n");
    test_tbs_cert(&tbs, SIG_ECDSA_SHA256, test_issuer_name(), 5);
    send_sign(c.link, 1, "k", SIGN_CERT, 5000, buf_bytes(&tbs), -1);
    assert_int_equal(child_wait(&c, 60000), PROC_EXIT_BLOCKED);
    assert_blocks(&b);
    assert_int_equal(bench_calls(&b, "C_Login"), 1);
    bench_remove(&b);
}

static void a_pin_file_others_can_read_is_refused(void **state)
{
    struct made_key key;
    struct bench b;
    struct child c;

    (void)state;
    own_token(&b, &key);
    assert_int_equal(chmod(b.pin_file, 0444), 0);
    c = child_start(&b, "inkan-signer");
    assert_true(child_wait_state(&c, "DOWN: ", 10000));
    assert_int_equal(bench_calls(&b, "C_Login"), 0);
    stop(&c);
    bench_remove(&b);
}

/* ---- every result of every call ---- */

/* What one wrong answer of the module leads to. */
enum fate {
    HEALS,  /* nobody notices */
    FAILS,  /* this request is refused; the next is served */
    LEAVES, /* the process exits, to be started again */
};

static enum fate fate_of(enum rv_class class)
{
    switch (class) {
    case RV_JOB:
    case RV_CAPACITY: /* with one worker */
        return FAILS;
    case RV_SESSION:
    case RV_STALE:
    case RV_PIN: /* no signature asks for a PIN: the login is lost */
        return HEALS;
    default:
        return LEAVES;
    }
}

/* Starts the signer with its one key, unless it runs. */
static void serve_one(struct child *c, const struct bench *b, const struct made_key *key)
{
    struct err e = {0};

    if (c->pid)
        return;
    bench_rules(b, NULL);
    *c = serve(b);
    if (name_key(c->link, "k", PURPOSE_CA, key, test_issuer_name(), &e) != E_OK)
        fail_msg("%s", e.msg);
}

/* Three signatures; the module fails once, in the call the rule names. Whatever comes back verifies or is no signature. */
static void assert_fate(struct child *c, const struct made_key *key, const char *what, enum fate fate)
{
    AUTO_BUF tbs = BUF_INIT(4096);
    unsigned failed = 0;

    test_tbs_cert(&tbs, SIG_ECDSA_SHA256, test_issuer_name(), 5);
    for (unsigned i = 0; i < 3; i++) {
        AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
        struct answer a;
        struct err e = {0};

        send_sign(c->link, i + 1, "k", SIGN_CERT, 5000, buf_bytes(&tbs), -1);
        if (fate == LEAVES && msg_recv(c->link, &packet, NULL, 10000, &e) != E_OK) {
            assert_int_equal(child_wait(c, 60000), PROC_EXIT_RESTART);
            c->pid = 0;
            return;
        }
        if (fate == LEAVES)
            continue;
        if (get_answer(c->link, &a) == E_OK) {
            assert_true(test_verifies(spki_of(key), buf_bytes(&tbs), a.signature));
        } else {
            assert_int_equal(a.signature.len, 0);
            assert_true(a.e.code == E_TOKEN || a.e.code == E_BUSY);
            failed++;
        }
    }
    if (fate == LEAVES || failed != (fate == FAILS))
        fail_msg("%s: %u of 3 failed", what, failed);
}

static void every_result_while_signing_has_its_fate(void **state)
{
    static const char *const calls[] = {"C_SignInit", "C_Sign", "C_OpenSession"};
    struct child c = {0};
    struct made_key key;
    struct bench b;

    (void)state;
    own_token(&b, &key);
    b.workers = 1;
    bench_configure(&b);
    for (size_t k = 0; k < ARRAY_LEN(calls); k++) {
        for (size_t i = 0; i < ARRAY_LEN(ckr_cases); i++) {
            bool opening = strcmp(calls[k], "C_OpenSession") == 0; /* in place of one that is lost */
            char text[128];

            serve_one(&c, &b, &key);
            snprintf(text, sizeof(text), "%s rv=0x%lx after=%u first=1\n%s", calls[k], ckr_cases[i].rv,
                     opening ? 0 : (unsigned)(i % 3), opening ? "C_SignInit lose=1 first=1\n" : "");
            bench_rules(&b, text);
            assert_fate(&c, &key, ckr_cases[i].name, fate_of(ckr_cases[i].class));
        }
    }
    bench_rules(&b, NULL);
    if (c.pid)
        stop(&c);
    bench_remove(&b);
}

/* Naming a key is some twenty calls: search, attributes, test signature. Each of them fails once. */
static void every_call_while_a_key_is_resolved_may_fail(void **state)
{
    static const char *const functions[] = {"C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal",
                                            "C_GetAttributeValue", "C_SignInit", "C_Sign"};
    static const CK_RV results[] = {CKR_SESSION_HANDLE_INVALID, CKR_USER_NOT_LOGGED_IN, CKR_FUNCTION_NOT_SUPPORTED,
                                    CKR_DEVICE_ERROR};
    struct child c = {0};
    struct made_key key;
    struct bench b;

    (void)state;
    own_token(&b, &key);
    b.workers = 1;
    bench_configure(&b);
    for (size_t f = 0; f < ARRAY_LEN(functions); f++) {
        unsigned calls;
        struct err e = {0};

        serve_one(&c, &b, &key);
        bench_forget_calls(&b);
        assert_int_equal(name_key(c.link, "k", PURPOSE_CA, &key, test_issuer_name(), &e), E_OK);
        calls = bench_calls(&b, functions[f]);
        assert_true(calls > 0);
        print_message("%s: %u calls\n", functions[f], calls);
        for (unsigned n = 0; n < calls; n++) {
            for (size_t i = 0; i < ARRAY_LEN(results); i++) {
                AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
                struct msg_reader r;
                enum err_code rc;
                char text[96];
                struct msg m;

                serve_one(&c, &b, &key);
                snprintf(text, sizeof(text), "%s rv=0x%lx after=%u first=1\n", functions[f], results[i], n);
                bench_rules(&b, text);
                msg_begin(&m, SIGNER_KEYS, 7);
                msg_put_u32(&m, 1);
                put_key(&m, "k", PURPOSE_CA, &key, test_issuer_name());
                send_msg(c.link, &m, -1);
                if (results[i] == CKR_DEVICE_ERROR) {
                    assert_int_equal(child_wait(&c, 60000), PROC_EXIT_RESTART);
                    c.pid = 0;
                    continue;
                }
                receive(c.link, SIGNER_KEYS_RESULT, &packet, &r);
                assert_int_equal(msg_get_u32(&r), 1);
                rc = msg_get_err(&r, &e);
                if (results[i] != CKR_FUNCTION_NOT_SUPPORTED && rc != E_OK)
                    fail_msg("%s call %u, 0x%lx: %s", functions[f], n + 1, results[i], e.msg);
                /* Refused for cause or, where the attribute may be unknown, taken; never anything in between. */
                assert_true(rc == E_OK || rc == E_TOKEN || rc == E_CONFLICT);
                bench_rules(&b, NULL);
                assert_int_equal(name_key(c.link, "k", PURPOSE_CA, &key, test_issuer_name(), &e), E_OK);
                assert_fate(&c, &key, text, HEALS);
            }
        }
    }
    if (c.pid)
        stop(&c);
    bench_remove(&b);
}

static void put_attempt(const struct bench *b, const char *want)
{
    char path[160], text[256] = "";
    FILE *f;

    snprintf(path, sizeof(path), "%s/state/pin/t1.attempt", b->dir);
    f = fopen(path, "re");
    if (f) {
        assert_non_null(fgets(text, sizeof(text), f));
        fclose(f);
        unlink(path);
    }
    if (want ? !strstr(text, want) : text[0] != '\0')
        fail_msg("the journal says \"%s\", not \"%s\"", text, want ? want : "");
}

static void every_result_of_the_login_is_one_login(void **state)
{
    struct made_key key;
    struct bench b;

    (void)state;
    own_token(&b, &key);
    for (size_t i = 0; i < ARRAY_LEN(ckr_cases); i++) {
        char text[64];
        struct child c;

        snprintf(text, sizeof(text), "C_Login rv=0x%lx\n", ckr_cases[i].rv);
        bench_rules(&b, text);
        bench_forget_calls(&b);
        if (ckr_cases[i].login == PIN_REFUSED) {
            assert_blocks(&b);
            assert_blocks(&b); /* and stays so without asking the token */
            assert_int_equal(bench_calls(&b, "C_Login"), 1);
            put_attempt(&b, " refused ");
            continue;
        }
        c = child_start(&b, "inkan-signer");
        if (ckr_cases[i].rv == CKR_USER_ALREADY_LOGGED_IN)
            assert_true(child_wait_ready(&c, 10000));
        else if (!child_wait_state(&c, "DOWN: ", 10000))
            fail_msg("%s: not DOWN", ckr_cases[i].name);
        child_kill(&c); /* before it tries again */
        assert_int_equal(bench_calls(&b, "C_Login"), 1);
        put_attempt(&b, ckr_cases[i].login == PIN_NO_ANSWER ? " tried 1" : NULL);
    }
    bench_rules(&b, NULL);
    assert_serves(&b, &key);
    bench_remove(&b);
}

/* ---- life ---- */

static void a_token_that_appears_later_is_taken_without_a_restart(void **state)
{
    struct made_key key;
    struct bench b;
    struct child c;

    (void)state;
    own_token(&b, &key);
    bench_rules(&b, "C_GetSlotList rv=0xe0 first=3\n"); /* TOKEN_NOT_PRESENT */
    c = child_start(&b, "inkan-signer");
    assert_true(child_wait_state(&c, "DOWN: ", 5000));
    AUTO_BUF tbs = BUF_INIT(4096);
    struct answer a;
    test_tbs_cert(&tbs, SIG_ECDSA_SHA256, test_issuer_name(), 5);
    assert_int_equal(sign(c.link, "k", SIGN_CERT, buf_bytes(&tbs), &a), E_NOT_FOUND);
    assert_true(child_wait_ready(&c, 20000));
    struct err e = {0};
    assert_int_equal(name_key(c.link, "k", PURPOSE_CA, &key, test_issuer_name(), &e), E_OK);
    assert_int_equal(sign(c.link, "k", SIGN_CERT, buf_bytes(&tbs), &a), E_OK);
    stop(&c);
    bench_remove(&b);
}

static void two_processes_never_use_one_token(void **state)
{
    struct child c = serve_all(), second;

    (void)state;
    second = child_start(&shared, "inkan-signer");
    assert_int_equal(child_wait(&second, 60000), PROC_EXIT_RESTART);
    assert_true(bench_logged(&shared, "in use by another process"));
    assert_signs(c.link);
    stop(&c);
}

static void stopping_answers_what_was_taken_and_exits_clean(void **state)
{
    AUTO_BUF tbs = BUF_INIT(4096), packet = BUF_INIT(MSG_MAX_LEN);
    struct child c = serve_all();
    struct msg_reader r;
    struct msg m;
    int link;

    (void)state;
    test_tbs_cert(&tbs, SIG_ECDSA_SHA256, test_issuer_name(), 5);
    bench_rules(&shared, "C_Sign latency_ms=50\n");
    for (unsigned i = 1; i <= 10; i++)
        send_sign(c.link, i, "p256", SIGN_CERT, 5000, buf_bytes(&tbs), -1);
    poll(NULL, 0, 100);
    link = fcntl(c.link, F_DUPFD_CLOEXEC, 0);
    msg_begin(&m, CTL_STOP, 0);
    send_msg(c.control, &m, -1);
    assert_int_equal(child_wait(&c, 60000), 0);
    for (unsigned i = 1; i <= 10; i++)
        receive(link, SIGNER_SIGNED, &packet, &r);
    close(link);
    bench_rules(&shared, NULL);
    assert_true(bench_calls(&shared, "C_Finalize") >= 1);
}

static void health_names_state_generation_and_times(void **state)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct child c = serve_all();
    struct msg_reader r;
    struct err e = {0};
    char text[32];
    struct msg m;

    (void)state;
    assert_signs(c.link);
    msg_begin(&m, SIGNER_HEALTH, 11);
    send_msg(c.link, &m, -1);
    receive(c.link, SIGNER_HEALTH_RESULT, &packet, &r);
    assert_int_equal(msg_get_err(&r, &e), E_OK);
    msg_get_str(&r, text, sizeof(text));
    assert_string_equal(text, "READY");
    assert_int_equal(msg_get_u64(&r), 1);
    assert_int_equal(msg_get_u64(&r), 1);
    assert_int_equal(msg_get_u64(&r), 0);
    (void)msg_get_u32(&r);
    assert_true(msg_get_u32(&r) > 0);
    assert_true(msg_get_u32(&r) > 0);
    assert_int_equal(msg_read_end(&r, &e), E_OK);
    stop(&c);
}

static void a_malformed_request_closes_the_link_alone(void **state)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct child c = serve_all();
    int bad = child_link(&c, PROC_STATUS, 0, "status");
    struct err e = {0};
    struct msg m;

    (void)state;
    msg_begin(&m, SIGNER_SIGN, 1);
    msg_put_str(&m, "p256");
    msg_put_u8(&m, 99);
    send_msg(bad, &m, -1);
    assert_int_not_equal(msg_recv(bad, &packet, NULL, 5000, &e), E_OK);
    close(bad);
    assert_signs(c.link);
    stop(&c);
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup(name, quiet)
    const struct CMUnitTest tests[] = {
        T(every_algorithm_signs_and_openssl_verifies),
        T(ecdsa_signatures_are_der_for_every_leading_octet),
        T(objects_that_do_not_fit_the_key_are_refused),
        T(a_large_crl_comes_as_a_sealed_file_and_no_other),
        T(the_token_sees_the_hash_of_what_was_sent),
        T(a_key_is_taken_only_when_id_public_key_and_purpose_fit),
        T(attributes_that_differ_refuse_the_key),
        T(each_link_has_its_own_keys),
        T(a_link_from_another_kind_of_process_is_refused),
        T(no_key_is_searched_for_on_the_request_path),
        T(passing_troubles_lose_no_request),
        T(more_pairs_than_there_is_locked_memory_for_may_wait),
        T(a_pair_that_stays_in_the_token_is_not_given_out),
        T(a_new_login_generation_resolves_every_key_again),
        T(a_wrong_job_fails_alone),
        T(a_failed_device_leaves_the_process),
        T(a_flipped_bit_never_leaves_and_the_key_is_quarantined),
        T(signatures_made_before_a_hang_are_answered),
        T(a_hung_signature_ends_the_process),
        T(a_full_queue_answers_busy_and_recovers),
        T(a_job_past_its_deadline_is_not_signed),
        T(fewer_sessions_than_workers_still_serve),
        T(two_processes_never_use_one_token),
        T(stopping_answers_what_was_taken_and_exits_clean),
        T(health_names_state_generation_and_times),
        T(a_malformed_request_closes_the_link_alone),
        T(every_result_while_signing_has_its_fate),
        T(every_call_while_a_key_is_resolved_may_fail),
        T(every_result_of_the_login_is_one_login),
        T(a_refused_pin_is_one_login_for_ever),
        T(a_login_that_was_killed_is_repeated_once),
        T(one_unanswered_login_and_then_a_good_one_is_no_block),
        T(a_token_on_its_last_try_is_left_alone),
        T(a_pin_changed_under_a_running_signer_blocks_at_the_next_login),
        T(a_pin_file_others_can_read_is_refused),
        T(a_token_that_appears_later_is_taken_without_a_restart),
    };

    if (argc == 2)
        cmocka_set_test_filter(argv[1]);
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, make_shared, remove_shared);
}
