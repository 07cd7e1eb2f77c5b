/* SPDX-License-Identifier: Apache-2.0 */
/* certs-only messages and csrattrs, parsed by OpenSSL. */
#include "pki_util.h"

#include <openssl/asn1t.h>
#include <openssl/cms.h>
#include <openssl/pkcs7.h>

#include "base/der.h"
#include "base/oid.h"
#include "ca/est_body.h"

static void cert_der(const char *cn, long serial, struct buf *out)
{
    X509 *x = X509_new();
    unsigned char *der = NULL;

    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 60);
    X509_set_pubkey(x, test_key(KEY_P256));
    assert_true(X509_sign(x, test_key(KEY_P256), EVP_sha256()) > 0);
    int n = i2d_X509(x, &der);
    buf_add(out, der, (size_t)n);
    OPENSSL_free(der);
    X509_free(x);
}

static void pkcs7_and_cms_find_every_certificate(void **state)
{
    struct buf cert[3];
    struct bytes list[3];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        cert[i] = BUF_INIT(4096);
        cert_der(i == 0 ? "a longer common name" : "b", 3 - (long)i, &cert[i]);
        list[i] = buf_bytes(&cert[i]);
    }
    for (size_t n = 1; n <= 3; n++) {
        struct buf out = BUF_INIT(16384);
        const unsigned char *p;
        unsigned char *again = NULL;
        unsigned found = 0;

        assert_int_equal(certs_only_write(list, n, &out, NULL), E_OK);
        p = out.p;
        PKCS7 *p7 = d2i_PKCS7(NULL, &p, (long)out.len);
        assert_non_null(p7);
        assert_ptr_equal(p, out.p + out.len);
        assert_true(PKCS7_type_is_signed(p7));
        assert_int_equal(ASN1_INTEGER_get(p7->d.sign->version), 1);
        assert_int_equal(sk_X509_num(p7->d.sign->cert), (int)n);
        assert_null(p7->d.sign->crl);
        assert_int_equal(sk_PKCS7_SIGNER_INFO_num(p7->d.sign->signer_info), 0);
        assert_int_equal(i2d_PKCS7(p7, &again), (int)out.len); /* OpenSSL sorts a SET OF: so did we */
        assert_memory_equal(again, out.p, out.len);
        for (size_t i = 0; i < n; i++) {
            for (int k = 0; k < sk_X509_num(p7->d.sign->cert); k++) {
                unsigned char *one = NULL;
                int len = i2d_X509(sk_X509_value(p7->d.sign->cert, k), &one);
                found += bytes_equal(BYTES(one, (size_t)len), list[i]);
                OPENSSL_free(one);
            }
        }
        assert_int_equal(found, n);
        OPENSSL_free(again);
        PKCS7_free(p7);
        p = out.p;
        CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)out.len);
        STACK_OF(X509) *certs = CMS_get1_certs(cms);
        assert_int_equal(sk_X509_num(certs), (int)n);
        sk_X509_pop_free(certs, X509_free);
        CMS_ContentInfo_free(cms);
        buf_clear(&out);
    }
    struct buf small = BUF_INIT(100);
    assert_int_equal(certs_only_write(list, 3, &small, NULL), E_NOMEM);
    assert_int_equal(certs_only_write(list, 0, &small, NULL), E_INTERNAL);
    assert_int_equal(certs_only_write(list, 65, &small, NULL), E_INTERNAL);
    buf_clear(&small);
    for (size_t i = 0; i < 3; i++)
        buf_clear(&cert[i]);
}

static void csrattrs_say_what_a_client_must_know(void **state)
{
    static const struct {
        const char *name;
        unsigned key_algs;
        bool pop;
        const char *der;
    } rows[] = {
        {"any key, no binding: nothing to say", KEY_BIT(KEY_P256) | KEY_BIT(KEY_ED25519), false, ""},
        {"any key, binding", KEY_BIT(KEY_P256) | KEY_BIT(KEY_ED25519), true, "30{06092a864886f70d010907}"},
        {"P-256", KEY_BIT(KEY_P256), false,
         "30{30{06072a8648ce3d0201 31{06082a8648ce3d030107}} 06082a8648ce3d040302}"},
        {"P-384, binding", KEY_BIT(KEY_P384), true,
         "30{06092a864886f70d010907 30{06072a8648ce3d0201 31{06052b81040022}} 06082a8648ce3d040303}"},
        {"RSA 2048", KEY_BIT(KEY_RSA2048), false,
         "30{30{06092a864886f70d010101 31{02020800}} 06092a864886f70d01010b}"},
        {"RSA 3072", KEY_BIT(KEY_RSA3072), false,
         "30{30{06092a864886f70d010101 31{02020c00}} 06092a864886f70d01010b}"},
        {"RSA 4096", KEY_BIT(KEY_RSA4096), false,
         "30{30{06092a864886f70d010101 31{02021000}} 06092a864886f70d01010b}"},
        {"Ed25519", KEY_BIT(KEY_ED25519), false, "30{06032b6570}"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct conf_profile p = {.key_algs = rows[i].key_algs, .pop_required = rows[i].pop};
        struct buf out = BUF_INIT(1024), expected = BUF_INIT(1024);

        der_text(rows[i].der, NULL, &expected);
        assert_int_equal(csrattrs_write(&p, &out, NULL), E_OK);
        if (!bytes_equal(buf_bytes(&out), buf_bytes(&expected)))
            fail_msg("%s", rows[i].name);
        if (out.len) { /* SEQUENCE OF (OID | Attribute), as OpenSSL's parser sees it */
            const unsigned char *at = out.p;
            STACK_OF(ASN1_TYPE) *all = d2i_ASN1_SEQUENCE_ANY(NULL, &at, (long)out.len);
            assert_ptr_equal(at, out.p + out.len);
            for (int k = 0; k < sk_ASN1_TYPE_num(all); k++) {
                const ASN1_TYPE *one = sk_ASN1_TYPE_value(all, k);
                if (one->type == V_ASN1_OBJECT)
                    continue;
                assert_int_equal(one->type, V_ASN1_SEQUENCE);
                const unsigned char *attr = one->value.sequence->data;
                X509_ATTRIBUTE *a = d2i_X509_ATTRIBUTE(NULL, &attr, one->value.sequence->length);
                assert_non_null(a);
                assert_int_equal(X509_ATTRIBUTE_count(a), 1);
                X509_ATTRIBUTE_free(a);
            }
            sk_ASN1_TYPE_pop_free(all, ASN1_TYPE_free);
        }
        buf_clear(&out);
        buf_clear(&expected);
    }
}

static int teardown(void **state)
{
    (void)state;
    test_keys_free();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pkcs7_and_cms_find_every_certificate),
        cmocka_unit_test(csrattrs_say_what_a_client_must_know),
    };

    return cmocka_run_group_tests(tests, NULL, teardown);
}
