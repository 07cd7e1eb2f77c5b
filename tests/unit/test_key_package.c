/* SPDX-License-Identifier: Apache-2.0 */
/* Keys packed for their owners: OpenSSL's CMS opens each form, verifies the signature and finds the key; what cannot serve is refused. */
#include "tests/unit/pki_util.h"

#include <openssl/cms.h>

#include "base/der.h"
#include "base/oid.h"
#include "base/privkey.h"
#include "ca/key_package.h"

AUTO_TYPE(CMS_ContentInfo, CMS_ContentInfo_free)
AUTO_TYPE(X509, X509_free)
AUTO_TYPE(BIO, BIO_free_all)
AUTO_TYPE(EVP_MD_CTX, EVP_MD_CTX_free)

/* SMIMECapabilities entries, as der_text. */
#define AES128_CBC  "30{06{608648016503040102}} "
#define AES256_CBC  "30{06{60864801650304012a}} "
#define AES128_WRAP "30{06{608648016503040105}} "
#define AES256_WRAP "30{06{60864801650304012d}} "
#define ECDH_256    "30{06{2b8104010b01} 30{06{608648016503040105}}} "
#define ECDH_256_256 "30{06{2b8104010b01} 30{06{60864801650304012d}}} "
#define ECDH_384    "30{06{2b8104010b02} 30{06{60864801650304012d}}} "
#define RSA_V15     "30{06{2a864886f70d010101} 0500} "
#define OAEP_SHA1   "30{06{2a864886f70d010107} 3000} "
#define OAEP_256    "30{06{2a864886f70d010107} 30{a0{30{06{608648016503040201} 0500}} a1{30{06{2a864886f70d010108} 30{06{608648016503040201} 0500}}}}} "
#define OAEP_ANY    "30{06{2a864886f70d010107}} "
#define DES3        "30{06{2a864886f70d0307}} "

static X509 *cert_of(EVP_PKEY *key, bool with_ski)
{
    X509 *x = X509_new();
    X509_NAME *name = X509_get_subject_name(x);
    EVP_PKEY *signer = test_key(KEY_P256);

    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 4711);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)"someone", -1, -1, 0);
    X509_set_issuer_name(x, name);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    if (with_ski) {
        ASN1_OCTET_STRING *ski = ASN1_OCTET_STRING_new();
        unsigned char hash[20];
        unsigned n = 0;

        assert_int_equal(X509_pubkey_digest(x, EVP_sha1(), hash, &n), 1);
        ASN1_OCTET_STRING_set(ski, hash, 20);
        assert_int_equal(X509_add1_ext_i2d(x, NID_subject_key_identifier, ski, 0, 0), 1);
        ASN1_OCTET_STRING_free(ski);
    }
    assert_true(X509_sign(x, signer, EVP_sha256()) > 0);
    return x;
}

/* A signature over the attributes with a key of this kind, and its certificate. */
struct signer {
    struct buf attributes, cert, ski, signature;
    struct package_signature s;
};

static void signer_make(struct signer *g, enum key_alg alg, enum sig_alg sig_alg, struct bytes package)
{
    AUTO(X509) *x = cert_of(test_key(alg), true);
    AUTO(EVP_MD_CTX) *ctx = EVP_MD_CTX_new();
    const EVP_MD *md = sig_alg == SIG_ED25519 ? NULL : sig_alg == SIG_ECDSA_SHA384 ? EVP_sha384() : EVP_sha256();
    unsigned char *der = NULL;
    struct err e;
    int n = i2d_X509(x, &der);

    *g = (struct signer){BUF_INIT(512), BUF_INIT(4096), BUF_INIT(64), BUF_INIT(1024)};
    buf_add(&g->cert, der, (size_t)n);
    OPENSSL_free(der);
    buf_add(&g->ski, ASN1_STRING_get0_data(X509_get0_subject_key_id(x)), 20);
    assert_int_equal(key_package_attributes(package, sig_alg, &g->attributes, &e), E_OK);
    g->signature.len = 1024;
    buf_reset(&g->signature);
    assert_true(buf_reserve(&g->signature, 1024));
    g->signature.len = 1024;
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, md, NULL, test_key(alg)), 1);
    assert_int_equal(EVP_DigestSign(ctx, g->signature.p, &g->signature.len, g->attributes.p, g->attributes.len), 1);
    g->s = (struct package_signature){buf_bytes(&g->attributes), buf_bytes(&g->cert), buf_bytes(&g->ski), sig_alg, buf_bytes(&g->signature)};
}

static void signer_free_all(struct signer *g)
{
    buf_clear(&g->attributes);
    buf_clear(&g->cert);
    buf_clear(&g->ski);
    buf_clear(&g->signature);
}

/* ContentInfo around the SignedData that was encrypted. */
static CMS_ContentInfo *signed_data(struct bytes plain)
{
    AUTO_BUF whole = BUF_INIT(1 << 16);
    CMS_ContentInfo *cms;
    const unsigned char *p;
    struct derw w;

    derw_init(&w, &whole);
    derw_begin(&w, DER_SEQUENCE);
    derw_oid(&w, OID_PKCS7_SIGNED_DATA);
    derw_element(&w, DER_CONTEXT_CONSTRUCTED(0), plain);
    derw_end(&w);
    assert_true(derw_finish(&w));
    p = whole.p;
    cms = d2i_CMS_ContentInfo(NULL, &p, (long)whole.len);
    assert_non_null(cms);
    return cms;
}

static void check_signed(struct bytes plain, const struct signer *g, struct bytes package)
{
    AUTO(CMS_ContentInfo) *cms = signed_data(plain);
    AUTO(BIO) *out = BIO_new(BIO_s_mem());
    char *p = NULL, oid[64];
    long n;

    (void)g;
    OBJ_obj2txt(oid, sizeof oid, CMS_get0_eContentType(cms), 1);
    assert_string_equal(oid, "2.16.840.1.101.2.1.2.78.5");
    assert_int_equal(CMS_verify(cms, NULL, NULL, NULL, out, CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY), 1);
    n = BIO_get_mem_data(out, &p);
    assert_int_equal(n, package.len);
    assert_memory_equal(p, package.p, package.len);
}

static void set_recipient(struct recipient *r, enum recipient_kind kind, enum key_alg alg, X509 *x, size_t kek_len, bool by_ski)
{
    unsigned char *der = NULL;
    int n;

    recipient_init(r);
    r->kind = kind;
    if (kind == RECIPIENT_KEK) {
        buf_add_str(&r->id, "kek-1");
        r->kek_len = kek_len;
        memset(r->kek, 0x5a, kek_len);
        return;
    }
    r->alg = alg;
    pkey_spki(X509_get0_pubkey(x), &r->spki);
    if (by_ski) {
        buf_add(&r->id, ASN1_STRING_get0_data(X509_get0_subject_key_id(x)), 20);
        return;
    }
    n = i2d_X509_NAME(X509_get_issuer_name(x), &der);
    buf_add(&r->issuer, der, (size_t)n);
    OPENSSL_free(der);
    buf_add(&r->serial, ASN1_STRING_get0_data(X509_get0_serialNumber(x)), (size_t)ASN1_STRING_length(X509_get0_serialNumber(x)));
}

static const struct form {
    const char *name;
    enum recipient_kind kind;
    enum key_alg alg;
    size_t kek_len;
    bool by_ski;
    const char *capabilities;
    enum key_alg delivered;
    const char *key_encryption, *content; /* what must be in the answer: OIDs in hex */
} forms[] = {
    {"KEK of 16 octets", RECIPIENT_KEK, KEY_NONE, 16, false, AES256_WRAP AES128_WRAP, KEY_P256, "608648016503040105", "608648016503040102"},
    {"KEK of 32 octets", RECIPIENT_KEK, KEY_NONE, 32, false, AES128_WRAP AES256_WRAP, KEY_P256, "60864801650304012d", "60864801650304012a"},
    {"KEK, content cipher of the list", RECIPIENT_KEK, KEY_NONE, 16, false, DES3 AES256_CBC AES128_CBC AES128_WRAP, KEY_P256, "608648016503040105", "60864801650304012a"},
    {"RSA 2048, PKCS#1 v1.5", RECIPIENT_RSA, KEY_RSA2048, 0, true, RSA_V15, KEY_P256, "2a864886f70d010101", "608648016503040102"},
    {"RSA, OAEP although v1.5 stands first", RECIPIENT_RSA, KEY_RSA2048, 0, true, RSA_V15 OAEP_256, KEY_P256, "2a864886f70d010107", "608648016503040102"},
    {"RSA, OAEP with SHA-1", RECIPIENT_RSA, KEY_RSA2048, 0, true, OAEP_SHA1 OAEP_256, KEY_P256, "2a864886f70d010107", "608648016503040102"},
    {"RSA, OAEP as we like", RECIPIENT_RSA, KEY_RSA2048, 0, true, OAEP_ANY, KEY_P384, "608648016503040201", "60864801650304012a"},
    {"RSA by issuer and serial", RECIPIENT_RSA, KEY_RSA3072, 0, false, OAEP_256 AES128_CBC, KEY_P256, "2a864886f70d010107", "608648016503040102"},
    {"P-256", RECIPIENT_EC, KEY_P256, 0, true, ECDH_256 ECDH_384, KEY_P256, "2b8104010b01", "608648016503040102"},
    {"P-256 with AES-256 wrap", RECIPIENT_EC, KEY_P256, 0, true, ECDH_256_256, KEY_P256, "60864801650304012d", "608648016503040102"},
    {"P-256 by issuer and serial", RECIPIENT_EC, KEY_P256, 0, false, AES128_WRAP, KEY_P256, "2b8104010b01", "608648016503040102"},
    {"P-384 with SHA-384", RECIPIENT_EC, KEY_P384, 0, true, ECDH_384 ECDH_256, KEY_P256, "2b8104010b02", "60864801650304012a"},
};

static bool has_oid(struct bytes der, const char *hex)
{
    uint8_t oid[16];
    size_t n;

    assert_true(hex_decode(hex, strlen(hex), oid, sizeof oid, &n));
    return memmem(der.p, der.len, oid, n) != NULL;
}

static void openssl_opens_each_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        const struct form *f = &forms[i];
        AUTO(X509) *x = f->kind == RECIPIENT_KEK ? NULL : cert_of(test_key(f->alg), f->by_ski);
        AUTO(CMS_ContentInfo) *cms = NULL;
        AUTO(BIO) *plain = BIO_new(BIO_s_mem());
        AUTO_BUF caps = BUF_INIT(1024), out = BUF_INIT(KEY_PACKAGE_MAX_LEN);
        AUTO_SECRET_BUF package = {0};
        struct recipient r;
        struct signer g;
        struct err e = {0};
        const unsigned char *p;
        char *text = NULL;
        long n;

        print_message("%s\n", f->name);
        assert_true(secret_buf_init(&package, 4096));
        assert_int_equal(key_package_write(bytes_str("not a key, only octets to find again"), &package, &e), E_OK);
        signer_make(&g, KEY_P256, SIG_ECDSA_SHA256, buf_bytes(&package));
        set_recipient(&r, f->kind, f->alg, x, f->kek_len, f->by_ski);
        der_text(f->capabilities, NULL, &caps);
        assert_int_equal(recipient_choose(&r, buf_bytes(&caps), f->delivered, &e), E_OK);
        assert_int_equal(key_package_envelope(buf_bytes(&package), &g.s, &r, &out, &e), E_OK);
        assert_true(has_oid(buf_bytes(&out), f->key_encryption));
        assert_true(has_oid(buf_bytes(&out), f->content));

        p = out.p;
        cms = d2i_CMS_ContentInfo(NULL, &p, (long)out.len);
        assert_non_null(cms);
        assert_ptr_equal(p, out.p + out.len);
        if (f->kind == RECIPIENT_KEK)
            assert_int_equal(CMS_decrypt_set1_key(cms, r.kek, r.kek_len, (unsigned char *)(uintptr_t)"kek-1", 5), 1);
        else
            assert_int_equal(CMS_decrypt_set1_pkey(cms, test_key(f->alg), x), 1);
        assert_int_equal(CMS_decrypt(cms, NULL, NULL, NULL, plain, CMS_BINARY), 1);
        n = BIO_get_mem_data(plain, &text);
        check_signed(BYTES(text, (size_t)n), &g, buf_bytes(&package));
        signer_free_all(&g);
        recipient_clear(&r);
    }
}

static void the_holder_of_a_certificate_opens_any_content(void **state)
{
    static const struct {
        const char *name;
        enum key_alg alg;
        bool with_ski;
        const char *key_encryption; /* OID in hex */
    } cases[] = {
        {"RSA by its identifier", KEY_RSA2048, true, "2a864886f70d010107"},
        {"RSA by issuer and serial", KEY_RSA3072, false, "2a864886f70d010107"},
        {"P-256", KEY_P256, true, "2b8104010b01"},
        {"P-384 by issuer and serial", KEY_P384, false, "2b8104010b02"},
    };
    static const char said[] = "{\"secret\":\"5e\"}";

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(X509) *x = cert_of(test_key(cases[i].alg), cases[i].with_ski);
        AUTO(CMS_ContentInfo) *cms = NULL;
        AUTO(BIO) *plain = BIO_new(BIO_s_mem());
        AUTO_BUF out = BUF_INIT(4096);
        unsigned char *der = NULL;
        const unsigned char *p;
        int len = i2d_X509(x, &der);
        struct recipient r;
        struct err e = {0};
        char *text = NULL;

        print_message("%s\n", cases[i].name);
        recipient_init(&r);
        assert_int_equal(recipient_of(&r, BYTES(der, (size_t)len), &e), E_OK);
        assert_int_equal(envelope_write(OID_PKCS7_DATA, bytes_str(said), &r, &out, &e), E_OK);
        assert_true(has_oid(buf_bytes(&out), cases[i].key_encryption));
        assert_true(has_oid(buf_bytes(&out), "60864801650304012a")); /* aes256-cbc */
        p = out.p;
        cms = d2i_CMS_ContentInfo(NULL, &p, (long)out.len);
        assert_non_null(cms);
        assert_int_equal(CMS_decrypt(cms, test_key(cases[i].alg), x, NULL, plain, CMS_BINARY), 1);
        assert_int_equal(BIO_get_mem_data(plain, &text), sizeof(said) - 1);
        assert_memory_equal(text, said, sizeof(said) - 1);
        recipient_clear(&r);
        OPENSSL_free(der);
    }
}

static void who_cannot_open_gets_nothing(void **state)
{
    AUTO(X509) *signs = cert_of(test_key(KEY_ED25519), false), *agrees = cert_of(test_key(KEY_RSA2048), false);
    X509 *const given[] = {signs, agrees};
    ASN1_BIT_STRING *usage = ASN1_BIT_STRING_new();
    struct recipient r;
    struct err e = {0};

    (void)state;
    assert_int_equal(ASN1_BIT_STRING_set_bit(usage, 4, 1), 1); /* keyAgreement: not what RSA is for */
    assert_int_equal(X509_add1_ext_i2d(agrees, NID_key_usage, usage, 1, 0), 1);
    assert_true(X509_sign(agrees, test_key(KEY_P256), EVP_sha256()) > 0);
    ASN1_BIT_STRING_free(usage);
    for (size_t i = 0; i < ARRAY_LEN(given); i++) {
        unsigned char *der = NULL;
        int len = i2d_X509(given[i], &der);

        recipient_init(&r);
        assert_int_equal(recipient_of(&r, BYTES(der, (size_t)len), &e), E_DENIED);
        recipient_clear(&r);
        OPENSSL_free(der);
    }
    recipient_init(&r);
    assert_int_equal(recipient_of(&r, bytes_str("no certificate"), &e), E_INVALID);
    recipient_clear(&r);
}

/* But Ed25519, which the CMS of OpenSSL 3.0 does not verify. */
static void each_kind_of_signer_verifies(void **state)
{
    static const struct {
        enum key_alg alg;
        enum sig_alg sig;
    } signers[] = {{KEY_P256, SIG_ECDSA_SHA256}, {KEY_P384, SIG_ECDSA_SHA384}, {KEY_RSA2048, SIG_RSA_SHA256}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(signers); i++) {
        AUTO(CMS_ContentInfo) *cms = NULL;
        AUTO(BIO) *plain = BIO_new(BIO_s_mem());
        AUTO_BUF caps = BUF_INIT(1024), out = BUF_INIT(KEY_PACKAGE_MAX_LEN);
        struct bytes package = bytes_str("0\x82 any octets");
        struct recipient r;
        struct signer g;
        struct err e = {0};
        const unsigned char *p;
        char *text = NULL;
        long n;

        print_message("signed by %s\n", key_alg_name(signers[i].alg));
        signer_make(&g, signers[i].alg, signers[i].sig, package);
        set_recipient(&r, RECIPIENT_KEK, KEY_NONE, NULL, 16, false);
        der_text(AES128_WRAP, NULL, &caps);
        assert_int_equal(recipient_choose(&r, buf_bytes(&caps), KEY_P256, &e), E_OK);
        assert_int_equal(key_package_envelope(package, &g.s, &r, &out, &e), E_OK);
        p = out.p;
        cms = d2i_CMS_ContentInfo(NULL, &p, (long)out.len);
        assert_int_equal(CMS_decrypt_set1_key(cms, r.kek, r.kek_len, (unsigned char *)(uintptr_t)"kek-1", 5), 1);
        assert_int_equal(CMS_decrypt(cms, NULL, NULL, NULL, plain, CMS_BINARY), 1);
        n = BIO_get_mem_data(plain, &text);
        check_signed(BYTES(text, (size_t)n), &g, package);
        signer_free_all(&g);
        recipient_clear(&r);
    }
}

static const struct {
    const char *name;
    enum recipient_kind kind;
    enum key_alg alg;
    size_t kek_len;
    const char *capabilities;
} refused[] = {
    {"no capabilities", RECIPIENT_KEK, KEY_NONE, 16, ""},
    {"a content cipher alone", RECIPIENT_KEK, KEY_NONE, 16, AES128_CBC},
    {"a wrap the KEK is too short for", RECIPIENT_KEK, KEY_NONE, 16, AES256_WRAP},
    {"a wrap the KEK is too long for", RECIPIENT_KEK, KEY_NONE, 32, AES128_WRAP},
    {"a wrap with parameters", RECIPIENT_KEK, KEY_NONE, 16, "30{06{608648016503040105} 0500}"},
    {"triple DES", RECIPIENT_RSA, KEY_RSA2048, 0, DES3},
    {"agreement for an RSA key", RECIPIENT_RSA, KEY_RSA2048, 0, ECDH_256},
    {"OAEP with a label", RECIPIENT_RSA, KEY_RSA2048, 0, "30{06{2a864886f70d010107} 30{a2{30{06{2a864886f70d010109} 04{41}}}}}"},
    {"OAEP with two hashes", RECIPIENT_RSA, KEY_RSA2048, 0, "30{06{2a864886f70d010107} 30{a0{30{06{608648016503040201}}}}}"},
    {"OAEP with MD5", RECIPIENT_RSA, KEY_RSA2048, 0, "30{06{2a864886f70d010107} 30{a0{30{06{2a864886f70d0205}}}}}"},
    {"transport for an EC key", RECIPIENT_EC, KEY_P256, 0, OAEP_256 RSA_V15},
    {"agreement without a wrap", RECIPIENT_EC, KEY_P256, 0, "30{06{2b8104010b01}}"},
    {"agreement with SHA-1", RECIPIENT_EC, KEY_P256, 0, "30{06{2b8105108648 3f0002} 30{06{608648016503040105}}}"},
};

static void what_cannot_serve_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        AUTO(X509) *x = refused[i].kind == RECIPIENT_KEK ? NULL : cert_of(test_key(refused[i].alg), true);
        AUTO_BUF caps = BUF_INIT(1024);
        struct recipient r;
        struct err e = {0};

        print_message("%s\n", refused[i].name);
        set_recipient(&r, refused[i].kind, refused[i].alg, x, refused[i].kek_len, true);
        der_text(refused[i].capabilities, NULL, &caps);
        assert_int_equal(recipient_choose(&r, buf_bytes(&caps), KEY_P256, &e), E_INVALID);
        recipient_clear(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openssl_opens_each_form),
        cmocka_unit_test(the_holder_of_a_certificate_opens_any_content),
        cmocka_unit_test(who_cannot_open_gets_nothing),
        cmocka_unit_test(each_kind_of_signer_verifies),
        cmocka_unit_test(what_cannot_serve_is_refused),
    };
    int failed;

    (void)secret_heap_open();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_keys_free();
    return failed;
}
