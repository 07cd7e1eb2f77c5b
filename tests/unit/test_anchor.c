/* SPDX-License-Identifier: Apache-2.0 */
/* Judging chains of birth certificates: a CA that is remembered shortens the way to a verdict and changes none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/auto.h"
#include "ca/anchor.h"
#include "tests/unit/failing_alloc.h"

#define NOW        1800000000
#define CA_LIFE    1000 /* seconds after NOW at which the CA "short" ends; "root2" ends so too */
#define EXTENSIONS 6

struct made {
    EVP_PKEY *key;
    X509 *cert;
    unsigned char *der;
    int len;
};

/* What a certificate is made from; what is not set is as in a plain birth certificate. */
struct spec {
    const char *name, *key, *md; /* for messages; "P-256"; "SHA256" */
    const char *subject;         /* value of CN; "" = an empty subject */
    struct {
        const char *name, *value;
    } ext[EXTENSIONS];
    long from, until; /* seconds from NOW */
    bool other_signer, broken_signature;
    bool good;
};

#define PLAIN_AKI {"authorityKeyIdentifier", "keyid:always"}
#define CA_EXT    {"basicConstraints", "critical,CA:TRUE"}, {"keyUsage", "critical,keyCertSign"}, {"subjectKeyIdentifier", "hash"}

static const struct spec root_spec = {.name = "root", .ext = {CA_EXT}};
static const struct spec ca_spec = {.name = "ca", .ext = {CA_EXT, PLAIN_AKI}};

static struct world {
    char dir[32], path[2][64];
    struct made root, root2, ca, other_ca, signer;
    struct conf_anchor conf_anchor[2];
    struct conf conf;
} w;

static EVP_PKEY *key_of(const char *type)
{
    if (strncmp(type, "RSA-", 4) == 0)
        return EVP_RSA_gen((unsigned)strtoul(type + 4, NULL, 10));
    return strncmp(type, "P-", 2) == 0 ? EVP_EC_gen(type) : EVP_PKEY_Q_keygen(NULL, NULL, type);
}

/* issuer NULL: self-signed. key NULL: a new one. */
static struct made make(const struct spec *s, const struct made *issuer, EVP_PKEY *key)
{
    struct made m = {.key = key ? key : key_of(s->key ? s->key : "P-256"), .cert = X509_new()};
    const struct made *by = issuer ? issuer : &m;
    const char *cn = s->subject ? s->subject : s->name;
    EVP_PKEY *signer = s->other_signer ? w.signer.key : by->key;
    X509V3_CTX ctx;

    if (key)
        EVP_PKEY_up_ref(key);
    assert_true(m.key && m.cert && X509_set_version(m.cert, X509_VERSION_3) && X509_set_pubkey(m.cert, m.key));
    ASN1_INTEGER_set(X509_get_serialNumber(m.cert), 7);
    ASN1_TIME_set(X509_getm_notBefore(m.cert), NOW + (s->from ? s->from : -5000));
    ASN1_TIME_set(X509_getm_notAfter(m.cert), NOW + (s->until ? s->until : 5000));
    if (*cn)
        X509_NAME_add_entry_by_txt(X509_get_subject_name(m.cert), "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(m.cert, X509_get_subject_name(by->cert));
    X509V3_set_ctx(&ctx, by->cert, m.cert, NULL, NULL, 0);
    for (size_t i = 0; i < EXTENSIONS && s->ext[i].name; i++) {
        X509_EXTENSION *x = X509V3_EXT_nconf(NULL, &ctx, s->ext[i].name, s->ext[i].value);

        if (!x)
            fail_msg("%s: %s", s->name, s->ext[i].name);
        X509_add_ext(m.cert, x, -1);
        X509_EXTENSION_free(x);
    }
    assert_true(X509_sign(m.cert, signer, EVP_get_digestbyname(s->md ? s->md : "SHA256")) > 0);
    m.len = i2d_X509(m.cert, &m.der);
    assert_true(m.len > 0);
    if (s->broken_signature)
        m.der[m.len - 1] ^= 1;
    return m;
}

static void made_free(struct made *m)
{
    EVP_PKEY_free(m->key);
    X509_free(m->cert);
    OPENSSL_free(m->der);
}

static struct anchors *fresh(void)
{
    struct err e = {0};
    struct anchors *a = anchors_read(&w.conf, &e);

    if (!a)
        fail_msg("%s", e.msg);
    return a;
}

static enum err_code judge_chain(struct anchors *a, const char *anchor, const struct bytes *chain, size_t n, int64_t now)
{
    struct pubkey key;
    struct cert read;
    struct err e;

    if (cert_read(chain[0], &read, &e) != E_OK)
        return E_INVALID;
    if (pubkey_identify(read.spki, &key, &e) != E_OK)
        return e.code;
    return anchor_judge(a, anchor, chain, n, &read, &key, now, &e);
}

static struct bytes der_of(const struct made *m)
{
    return BYTES(m->der, (size_t)m->len);
}

/* E_INVALID: the leaf cannot even be read. */
static enum err_code judge(struct anchors *a, const char *anchor, const struct made *leaf, const struct made *ca, int64_t now)
{
    struct bytes chain[2] = {der_of(leaf), ca ? der_of(ca) : BYTES(NULL, 0)};

    return judge_chain(a, anchor, chain, ca ? 2 : 1, now);
}

static const struct spec plain = {.name = "plain", .ext = {PLAIN_AKI}, .good = true};

/* The CA is remembered when this is done. */
static struct anchors *knowing(const struct made *ca)
{
    struct anchors *a = fresh();
    struct made leaf = make(&plain, ca, NULL);

    assert_int_equal(judge(a, "maker", &leaf, ca, NOW), E_OK);
    made_free(&leaf);
    return a;
}

static int write_anchor(const char *path, X509 *cert)
{
    FILE *f = fopen(path, "w");
    int ok = f && PEM_write_X509(f, cert);

    return f && fclose(f) == 0 && ok ? 0 : -1;
}

static int setup(void **state)
{
    static const struct spec ends_soon = {.name = "root2", .ext = {CA_EXT}, .until = CA_LIFE};

    (void)state;
    strcpy(w.dir, "/tmp/anchor.XXXXXX");
    if (!mkdtemp(w.dir))
        return -1;
    w.root = make(&root_spec, NULL, NULL);
    w.root2 = make(&ends_soon, NULL, NULL);
    w.signer = make(&root_spec, NULL, NULL);
    w.ca = make(&ca_spec, &w.root, NULL);
    w.other_ca = make(&ca_spec, &w.root2, NULL);
    for (size_t i = 0; i < 2; i++) {
        snprintf(w.path[i], sizeof(w.path[i]), "%s/%zu.pem", w.dir, i);
        w.conf_anchor[i] = (struct conf_anchor){.name = (char *)(uintptr_t)(i ? "other" : "maker"), .file = w.path[i]};
        if (write_anchor(w.path[i], i ? w.root2.cert : w.root.cert) != 0)
            return -1;
    }
    w.conf = (struct conf){.anchors = w.conf_anchor, .anchors_n = 2};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++)
        unlink(w.path[i]);
    rmdir(w.dir);
    made_free(&w.root);
    made_free(&w.root2);
    made_free(&w.signer);
    made_free(&w.ca);
    made_free(&w.other_ca);
    return 0;
}

/* ---- the same verdict, known or not ---- */

#define SAN(der) {"2.5.29.17", "DER:" der}
#define USUAL    PLAIN_AKI, {"keyUsage", "critical,digitalSignature"}

static const struct spec leaves[] = {
    {.name = "as a maker writes it",
     .ext = {USUAL, {"extendedKeyUsage", "clientAuth"}, {"subjectKeyIdentifier", "hash"}, {"basicConstraints", "critical,CA:FALSE"},
             SAN("301da01b06082b06010505070804a00f300d06082b060105050708040401aa")},
     .good = true},
    {.name = "addresses and policies", .ext = {USUAL, {"authorityInfoAccess", "OCSP;URI:http://a.example/"}, {"2.5.29.32", "DER:3007300506032a0304"}, {"crlDistributionPoints", "URI:http://a.example/crl"}}, .good = true},
    {.name = "names of every plain kind", .ext = {USUAL, {"subjectAltName", "DNS:a.example,email:a@a.example,URI:http://a.example/,IP:192.0.2.1"}}, .good = true},
    {.name = "nothing but the authority's key", .ext = {PLAIN_AKI}, .good = true},
    {.name = "authority by issuer and serial too", .ext = {{"authorityKeyIdentifier", "keyid:always,issuer:always"}}, .good = true},
    {.name = "no authority key", .ext = {{"keyUsage", "digitalSignature"}}},
    {.name = "another authority key", .ext = {{"2.5.29.35", "DER:3006800401020304"}}},
    {.name = "authority key with another issuer", .ext = {{"2.5.29.35", "DER:3003820105"}}},
    {.name = "critical authority key", .ext = {{"2.5.29.35", "critical,DER:3006800401020304"}}},
    {.name = "critical and unknown", .ext = {USUAL, {"1.2.3.4.5", "critical,DER:0500"}}},
    {.name = "unknown", .ext = {USUAL, {"1.2.3.4.5", "DER:0500"}}, .good = true},
    {.name = "empty keyUsage", .ext = {PLAIN_AKI, {"2.5.29.15", "critical,DER:030100"}}},
    {.name = "keyCertSign", .ext = {PLAIN_AKI, {"keyUsage", "critical,keyCertSign"}}},
    {.name = "cRLSign", .ext = {PLAIN_AKI, {"keyUsage", "critical,cRLSign"}}, .good = true},
    {.name = "a CA", .ext = {PLAIN_AKI, CA_EXT}, .good = true},
    {.name = "CA:FALSE with a path length", .ext = {USUAL, {"basicConstraints", "CA:FALSE,pathlen:1"}}},
    {.name = "CA:FALSE, not critical", .ext = {USUAL, {"basicConstraints", "CA:FALSE"}}, .good = true},
    {.name = "SAN without a name", .ext = {USUAL, SAN("3000")}},
    {.name = "SAN cut off", .ext = {USUAL, SAN("3003820541")}},
    {.name = "SAN with a name of no kind", .ext = {USUAL, SAN("30038f0141")}},
    {.name = "SAN with a broken directoryName", .ext = {USUAL, SAN("3004a4023001")}},
    {.name = "SAN with a broken otherName", .ext = {USUAL, SAN("3004a0020500")}},
    {.name = "empty subject, SAN not critical", .subject = "", .ext = {USUAL, {"subjectAltName", "DNS:a.example"}}},
    {.name = "empty subject, SAN critical", .subject = "", .ext = {USUAL, {"subjectAltName", "critical,DNS:a.example"}}, .good = true},
    {.name = "empty subject", .subject = "", .ext = {USUAL}},
    {.name = "the subject of its CA", .subject = "ca", .ext = {USUAL}},
    {.name = "the subject of its CA in other letters", .subject = " CA", .ext = {USUAL}},
    {.name = "a control character in the subject", .subject = "a\x01", .ext = {USUAL}, .good = true},
    {.name = "a proxy", .ext = {USUAL, {"1.3.6.1.5.5.7.1.14", "critical,DER:300c300a06082b06010505071501"}}},
    {.name = "broken CRL addresses", .ext = {USUAL, {"2.5.29.31", "DER:0500"}}},
    {.name = "broken name constraints", .ext = {USUAL, {"2.5.29.30", "DER:0500"}}},
    {.name = "not yet valid", .ext = {USUAL}, .from = 1},
    {.name = "valid since now", .ext = {USUAL}, .from = -1, .good = true},
    {.name = "over", .ext = {USUAL}, .until = -1},
    {.name = "valid for a second", .ext = {USUAL}, .until = 1, .good = true},
    {.name = "signed with SHA-1", .ext = {USUAL}, .md = "SHA1"},
    {.name = "signed with SHA-512", .ext = {USUAL}, .md = "SHA512", .good = true},
    {.name = "signed by somebody else", .ext = {USUAL}, .other_signer = true},
    {.name = "signature broken", .ext = {USUAL}, .broken_signature = true},
    {.name = "RSA", .key = "RSA-2048", .ext = {USUAL}, .good = true},
    {.name = "short RSA", .key = "RSA-1024", .ext = {USUAL}},
    {.name = "P-384", .key = "P-384", .ext = {USUAL}, .good = true},
    {.name = "P-521", .key = "P-521", .ext = {USUAL}, .good = true},
    {.name = "Ed25519", .key = "ED25519", .ext = {USUAL}, .good = true},
};

static void a_known_ca_changes_no_verdict(void **state)
{
    struct anchors *known = knowing(&w.ca);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(leaves); i++) {
        struct made leaf = make(&leaves[i], &w.ca, NULL);
        struct anchors *anew = fresh();
        bool first = judge(anew, "maker", &leaf, &w.ca, NOW) == E_OK, later = judge(known, "maker", &leaf, &w.ca, NOW) == E_OK;

        if (first != leaves[i].good || later != first)
            fail_msg("%s: %d anew, %d with the CA known, not %d", leaves[i].name, first, later, leaves[i].good);
        assert_int_equal(ERR_peek_error(), 0);
        anchors_free(anew);
        made_free(&leaf);
    }
    anchors_free(known);
}

static void a_leaf_right_below_the_anchor_needs_no_ca_with_it(void **state)
{
    struct made leaf = make(&plain, &w.root, NULL), forged = make(&leaves[ARRAY_LEN(leaves) - 1], &w.signer, NULL);
    struct anchors *a = fresh();

    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(judge(a, "maker", &leaf, NULL, NOW), E_OK);
    assert_int_equal(judge(a, "maker", &forged, NULL, NOW), E_DENIED);
    anchors_free(a);
    made_free(&leaf);
    made_free(&forged);
}

/* ---- what ends a verdict about a CA ---- */

static void a_known_ca_serves_no_longer_than_it_is_valid(void **state)
{
    static const struct spec short_spec = {.name = "short", .ext = {CA_EXT, PLAIN_AKI}, .from = -CA_LIFE, .until = CA_LIFE};
    struct made ca = make(&short_spec, &w.root, NULL), leaf = make(&plain, &ca, NULL);
    struct anchors *a = knowing(&ca);

    (void)state;
    assert_int_equal(judge(a, "maker", &leaf, &ca, NOW + CA_LIFE - 1), E_OK);
    assert_int_equal(judge(a, "maker", &leaf, &ca, NOW + CA_LIFE), E_DENIED);
    assert_int_equal(judge(a, "maker", &leaf, &ca, NOW - CA_LIFE), E_OK);
    assert_int_equal(judge(a, "maker", &leaf, &ca, NOW - CA_LIFE - 1), E_DENIED);
    anchors_free(a);
    made_free(&leaf);
    made_free(&ca);
}

static void a_known_ca_serves_no_longer_than_its_anchor_is_valid(void **state)
{
    struct made leaf = make(&plain, &w.other_ca, NULL);
    struct anchors *a = fresh();

    (void)state;
    assert_int_equal(judge(a, "other", &leaf, &w.other_ca, NOW), E_OK);
    assert_int_equal(judge(a, "other", &leaf, &w.other_ca, NOW + CA_LIFE - 1), E_OK);
    assert_int_equal(judge(a, "other", &leaf, &w.other_ca, NOW + CA_LIFE), E_DENIED);
    anchors_free(a);
    made_free(&leaf);
}

static void a_ca_is_known_under_its_own_anchor_only(void **state)
{
    struct made leaf = make(&plain, &w.ca, NULL);
    struct anchors *a = knowing(&w.ca);

    (void)state;
    assert_int_equal(judge(a, "other", &leaf, &w.ca, NOW), E_DENIED);
    assert_int_equal(judge(a, "nobody", &leaf, &w.ca, NOW), E_DENIED);
    anchors_free(a);
    made_free(&leaf);
}

static void anchors_read_again_know_nothing_of_before(void **state)
{
    struct made leaf = make(&plain, &w.ca, NULL);
    struct conf without = {.anchors = &w.conf_anchor[1], .anchors_n = 1};
    struct anchors *a = knowing(&w.ca);
    struct err e;

    (void)state;
    assert_int_equal(judge(a, "maker", &leaf, &w.ca, NOW), E_OK);
    anchors_free(a);
    a = anchors_read(&without, &e);
    assert_non_null(a);
    assert_int_equal(judge(a, "maker", &leaf, &w.ca, NOW), E_DENIED);
    assert_int_equal(judge(a, "other", &leaf, &w.ca, NOW), E_DENIED);
    anchors_free(a);
    made_free(&leaf);
}

static void a_known_ca_must_be_sent_all_the_same(void **state)
{
    struct made leaf = make(&plain, &w.ca, NULL);
    struct anchors *a = knowing(&w.ca);

    (void)state;
    assert_int_equal(judge(a, "maker", &leaf, NULL, NOW), E_DENIED);
    anchors_forget(a);
    assert_int_equal(judge(a, "maker", &leaf, NULL, NOW), E_DENIED);
    assert_int_equal(judge(a, "maker", &leaf, &w.ca, NOW), E_OK);
    anchors_free(a);
    made_free(&leaf);
}

static void every_ca_in_between_must_be_sent_again(void **state)
{
    static const struct spec lower_spec = {.name = "lower", .ext = {CA_EXT, PLAIN_AKI}};
    static const uint8_t no_certificate[] = {0x30, 0x00};
    struct made lower = make(&lower_spec, &w.ca, NULL), leaf = make(&plain, &lower, NULL);
    struct bytes all[] = {der_of(&leaf), der_of(&lower), der_of(&w.ca)};
    struct bytes part[] = {der_of(&leaf), der_of(&lower)};
    struct bytes more[] = {der_of(&leaf), der_of(&lower), der_of(&w.ca), BYTES_OF(no_certificate)};
    struct anchors *a = fresh();

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(judge_chain(a, "maker", part, 2, NOW), E_DENIED);
        assert_int_equal(judge_chain(a, "maker", more, 4, NOW), E_DENIED);
        assert_int_equal(judge_chain(a, "maker", all, 3, NOW), E_OK);
    }
    anchors_free(a);
    made_free(&leaf);
    made_free(&lower);
}

static void another_certificate_of_the_same_name_and_key_is_another_ca(void **state)
{
    static const struct spec no_ca = {.name = "ca", .ext = {{"keyUsage", "critical,digitalSignature"}, {"subjectKeyIdentifier", "hash"}, PLAIN_AKI}};
    static const struct spec forged_spec = {.name = "ca", .ext = {CA_EXT, PLAIN_AKI}, .other_signer = true};
    struct made stripped = make(&no_ca, &w.root, w.ca.key), forged = make(&forged_spec, &w.root, w.ca.key);
    struct made leaf = make(&plain, &w.ca, NULL);
    struct anchors *a = knowing(&w.ca);

    (void)state;
    assert_int_equal(judge(a, "maker", &leaf, &stripped, NOW), E_DENIED);
    assert_int_equal(judge(a, "maker", &leaf, &forged, NOW), E_DENIED);
    assert_int_equal(judge(a, "maker", &leaf, &w.ca, NOW), E_OK);
    anchors_free(a);
    made_free(&leaf);
    made_free(&stripped);
    made_free(&forged);
}

static void another_key_under_the_name_and_key_id_of_a_known_ca_signs_nothing(void **state)
{
    const ASN1_OCTET_STRING *ski = X509_get0_subject_key_id(w.ca.cert);
    char value[128] = "DER:0414";
    struct spec thief_spec = {.name = "ca", .ext = {{"basicConstraints", "critical,CA:TRUE"}, {"keyUsage", "critical,keyCertSign"}, {"2.5.29.14", value}, PLAIN_AKI},
                              .other_signer = true};
    struct made thief, leaf;
    struct anchors *a = knowing(&w.ca);

    (void)state;
    assert_int_equal(ASN1_STRING_length(ski), 20);
    hex_encode(ASN1_STRING_get0_data(ski), 20, value + strlen(value));
    thief = make(&thief_spec, &w.root, NULL);
    leaf = make(&plain, &thief, NULL);
    assert_int_equal(judge(a, "maker", &leaf, &thief, NOW), E_DENIED);
    assert_int_equal(judge(a, "maker", &leaf, &w.ca, NOW), E_DENIED);
    anchors_free(a);
    made_free(&leaf);
    made_free(&thief);
}

static void a_ca_that_constrains_names_is_asked_about_each(void **state)
{
    static const struct spec narrow = {.name = "narrow", .ext = {CA_EXT, PLAIN_AKI, {"nameConstraints", "critical,permitted;DNS:good.example"}}};
    static const struct spec inside = {.name = "a", .ext = {USUAL, {"subjectAltName", "DNS:a.good.example"}}};
    static const struct spec outside = {.name = "a", .ext = {USUAL, {"subjectAltName", "DNS:a.bad.example"}}};
    struct made ca = make(&narrow, &w.root, NULL), in = make(&inside, &ca, NULL), out = make(&outside, &ca, NULL);
    struct anchors *a = fresh();

    (void)state;
    assert_int_equal(judge(a, "maker", &in, &ca, NOW), E_OK);
    assert_int_equal(judge(a, "maker", &out, &ca, NOW), E_DENIED);
    anchors_free(a);
    made_free(&in);
    made_free(&out);
    made_free(&ca);
}

static void more_cas_than_are_remembered_are_served_alike(void **state)
{
    struct anchors *a = fresh();

    (void)state;
    for (int i = 0; i < 150; i++) {
        struct made ca = make(&ca_spec, &w.root, NULL), leaf = make(&plain, &ca, NULL);

        for (int k = 0; k < 2; k++)
            assert_int_equal(judge(a, "maker", &leaf, &ca, NOW), E_OK);
        assert_int_equal(judge(a, "maker", &leaf, &w.ca, NOW), E_DENIED);
        made_free(&leaf);
        made_free(&ca);
    }
    anchors_free(a);
}

/* ---- no memory ---- */

static void a_chain_is_not_denied_for_want_of_memory(void **state)
{
    struct made leaf = make(&plain, &w.ca, NULL);
    bool hit = true;

    (void)state;
    if (OpenSSL_version_num() >= 0x30100000L)
        skip(); /* later ones name want of memory otherwise */
    for (unsigned long n = 1; hit; n++) {
        struct anchors *a = fresh();
        enum err_code code;

        count = 0;
        fails_at = n;
        code = judge(a, "maker", &leaf, &w.ca, NOW);
        hit = count >= n;
        fails_at = 0;
        if (code != E_OK && (!hit || code != E_NOMEM))
            fail_msg("allocation %lu: code %d", n, code);
        assert_int_equal(judge(a, "maker", &leaf, &w.ca, NOW), E_OK);
        anchors_free(a);
    }
    made_free(&leaf);
}

/* ---- what serves as an anchor ---- */

/* Is a leaf below this CA let in, as chains are judged? */
static bool openssl_lets_in(const struct made *ca)
{
    static const struct spec without_aki = {.name = "leaf"};
    struct made leaf = make(X509_get0_subject_key_id(ca->cert) ? &plain : &without_aki, ca, NULL);
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509_VERIFY_PARAM *param;
    bool good;

    assert_true(X509_STORE_add_cert(store, ca->cert) && X509_STORE_CTX_init(ctx, store, leaf.cert, NULL));
    param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_time(param, NOW);
    X509_VERIFY_PARAM_set_auth_level(param, 2);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT | X509_V_FLAG_PARTIAL_CHAIN);
    good = X509_verify_cert(ctx) == 1;
    ERR_clear_error();
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    made_free(&leaf);
    return good;
}

static void an_anchor_below_which_nobody_would_be_let_in_is_refused(void **state)
{
#define BASIC {"basicConstraints", "critical,CA:TRUE"}
#define USAGE {"keyUsage", "critical,keyCertSign"}
#define SKI   {"subjectKeyIdentifier", "hash"}
    static const struct {
        struct spec spec;
        const char *why; /* NULL: it serves */
    } cases[] = {
        {{.name = "as it should be", .ext = {CA_EXT}}, NULL},
        {{.name = "with a path length", .ext = {{"basicConstraints", "critical,CA:TRUE,pathlen:0"}, USAGE, SKI}}, NULL},
        {{.name = "its own signature is not asked", .md = "SHA1", .ext = {CA_EXT}}, NULL},
        {{.name = "RSA", .key = "RSA-2048", .ext = {CA_EXT}}, NULL},
        {{.name = "short RSA", .key = "RSA-1024", .ext = {CA_EXT}}, "key too weak"},
        {{.name = "no keyUsage", .ext = {BASIC, SKI}}, "key usage extension"},
        {{.name = "it signs no certificates", .ext = {BASIC, {"keyUsage", "critical,cRLSign"}, SKI}}, "invalid CA certificate"},
        {{.name = "basicConstraints not critical", .ext = {{"basicConstraints", "CA:TRUE"}, USAGE, SKI}}, "not marked critical"},
        {{.name = "no subject key", .ext = {BASIC, USAGE}}, "Missing Subject Key Identifier"},
        {{.name = "critical subject key", .ext = {BASIC, USAGE, {"subjectKeyIdentifier", "critical,hash"}}}, "critical extension"},
    };
    char path[96];
    struct conf_anchor one = {.name = (char *)(uintptr_t)"new", .file = path};
    struct conf conf = {.anchors = &one, .anchors_n = 1};

    (void)state;
    snprintf(path, sizeof(path), "%s/new.pem", w.dir);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct made ca = make(&cases[i].spec, NULL, NULL);
        struct anchors *a;
        struct err e = {0};
        FILE *f = fopen(path, "w");

        assert_true(f && PEM_write_X509(f, w.root.cert) && PEM_write_X509(f, ca.cert) && fclose(f) == 0);
        a = anchors_read(&conf, &e);
        if ((a != NULL) != openssl_lets_in(&ca) || (a != NULL) != !cases[i].why)
            fail_msg("%s: %s", cases[i].spec.name, a ? "taken" : e.msg);
        if (!a && (!strstr(e.msg, "anchor \"new\": certificate 2: ") || !strstr(e.msg, cases[i].why)))
            fail_msg("%s: %s", cases[i].spec.name, e.msg);
        anchors_free(a);
        made_free(&ca);
    }
    unlink(path);
}

/* Read by half an anchor would let nobody in any more. */
static void an_anchor_is_read_whole_or_not_at_all(void **state)
{
    struct made leaf = make(&plain, &w.ca, NULL);
    bool hit = true;

    (void)state;
    if (OpenSSL_version_num() >= 0x30100000L)
        skip(); /* later ones name want of memory otherwise */
    for (unsigned long n = 1; hit; n++) {
        struct err e = {0};
        struct anchors *a;

        count = 0;
        fails_at = n;
        a = anchors_read(&w.conf, &e);
        hit = count >= n;
        fails_at = 0;
        if (!a && (!hit || e.code != E_NOMEM))
            fail_msg("allocation %lu: code %d: %s", n, e.code, e.msg);
        if (a && judge(a, "maker", &leaf, &w.ca, NOW) != E_OK)
            fail_msg("allocation %lu: the anchor lets nobody in", n);
        anchors_free(a);
    }
    made_free(&leaf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_known_ca_changes_no_verdict),
        cmocka_unit_test(a_leaf_right_below_the_anchor_needs_no_ca_with_it),
        cmocka_unit_test(a_known_ca_serves_no_longer_than_it_is_valid),
        cmocka_unit_test(a_known_ca_serves_no_longer_than_its_anchor_is_valid),
        cmocka_unit_test(a_ca_is_known_under_its_own_anchor_only),
        cmocka_unit_test(anchors_read_again_know_nothing_of_before),
        cmocka_unit_test(a_known_ca_must_be_sent_all_the_same),
        cmocka_unit_test(every_ca_in_between_must_be_sent_again),
        cmocka_unit_test(another_certificate_of_the_same_name_and_key_is_another_ca),
        cmocka_unit_test(another_key_under_the_name_and_key_id_of_a_known_ca_signs_nothing),
        cmocka_unit_test(a_ca_that_constrains_names_is_asked_about_each),
        cmocka_unit_test(more_cas_than_are_remembered_are_served_alike),
        cmocka_unit_test(a_chain_is_not_denied_for_want_of_memory),
        cmocka_unit_test(an_anchor_below_which_nobody_would_be_let_in_is_refused),
        cmocka_unit_test(an_anchor_is_read_whole_or_not_at_all),
    };

    if (!openssl_may_fail())
        return 1;
    return cmocka_run_group_tests(tests, setup, teardown);
}
