/* SPDX-License-Identifier: Apache-2.0 */
/* The lean library context reads what it is meant to read, as the default context does, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "base/auto.h"
#include "base/libctx.h"

AUTO_TYPE(EVP_PKEY, EVP_PKEY_free)
AUTO_TYPE(SSL_CTX, SSL_CTX_free)
AUTO_TYPE(X509, X509_free)

/* Self-signed, or signed by `other` when the key cannot sign. */
static int cert_der(EVP_PKEY *key, EVP_PKEY *signer, unsigned char **der)
{
    AUTO(X509) *cert = X509_new();
    bool edwards = EVP_PKEY_is_a(signer, "ED25519") || EVP_PKEY_is_a(signer, "ED448");

    assert_non_null(cert);
    assert_true(X509_set_version(cert, X509_VERSION_3) && X509_set_pubkey(cert, key));
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    assert_true(X509_sign(cert, signer, edwards ? NULL : EVP_sha256()) > 0);
    return i2d_X509(cert, der);
}

static EVP_PKEY *key_of(const char *type)
{
    EVP_PKEY_CTX *ctx;
    EVP_PKEY *key = NULL;

    if (strncmp(type, "P-", 2) == 0)
        return EVP_EC_gen(type);
    if (strncmp(type, "RSA", 3) != 0)
        return EVP_PKEY_Q_keygen(NULL, NULL, type);
    ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    assert_true(EVP_PKEY_keygen_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 2048) == 1 &&
                EVP_PKEY_generate(ctx, &key) == 1);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static const struct {
    const char *name, *type;
    bool signs, readable;
} cases[] = {
    {"P-256", "P-256", true, true},       {"P-384", "P-384", true, true}, {"P-521", "P-521", true, true},
    {"RSA", "RSA", true, true},           {"RSA-PSS", "RSA-PSS", true, true}, {"Ed25519", "ED25519", true, true},
    {"Ed448", "ED448", true, true},       {"X448: no key of a certificate", "X448", false, false},
    {"X25519: for key exchange only", "X25519", false, false},
};

/* With a later OpenSSL the default context takes its place. */
static bool is_made(void)
{
    return OpenSSL_version_num() < 0x30100000L;
}

static void keys_are_read_as_the_default_context_reads_them(void **state)
{
    AUTO(EVP_PKEY) *signer = EVP_EC_gen("P-256");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(EVP_PKEY) *key = key_of(cases[i].type);
        AUTO(X509) *cert = NULL;
        unsigned char *der = NULL;
        int len = cert_der(key, cases[i].signs ? key : signer, &der);

        print_message("%s\n", cases[i].name);
        assert_true(len > 0);
        cert = libctx_x509(BYTES(der, (size_t)len));
        assert_non_null(cert);
        assert_int_equal(X509_get0_pubkey(cert) != NULL, cases[i].readable || !is_made());
        if (cases[i].readable) {
            assert_int_equal(X509_verify(cert, X509_get0_pubkey(cert)), 1);
            assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(cert), key), 1);
            der[len - 1] ^= 1; /* the last octet of the signature */
            X509_free(cert);
            cert = libctx_x509(BYTES(der, (size_t)len));
            assert_true(!cert || X509_verify(cert, X509_get0_pubkey(cert)) != 1);
        }
        OPENSSL_free(der);
    }
}

static void the_whole_input_is_one_certificate(void **state)
{
    AUTO(EVP_PKEY) *key = EVP_EC_gen("P-256");
    unsigned char *der = NULL;
    int len = cert_der(key, key, &der);
    uint8_t longer[4096];

    (void)state;
    assert_in_range(len, 1, sizeof longer - 1);
    memcpy(longer, der, (size_t)len);
    longer[len] = 0;
    assert_null(libctx_x509(BYTES(longer, (size_t)len + 1)));
    assert_null(libctx_x509(BYTES(longer, (size_t)len - 1)));
    assert_null(libctx_x509(BYTES(longer, 0)));
    OPENSSL_free(der);
}

static void tls_works_in_it(void **state)
{
    AUTO(SSL_CTX) *ctx = SSL_CTX_new_ex(libctx_lean(), NULL, TLS_server_method());

    (void)state;
    assert_int_equal(libctx_lean() != NULL, is_made()); /* else everything falls back to the default context, and is slow */
    assert_non_null(ctx);
    assert_true(SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384"));
    assert_true(SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_read_as_the_default_context_reads_them),
        cmocka_unit_test(the_whole_input_is_one_certificate),
        cmocka_unit_test(tls_works_in_it),
    };

    return cmocka_run_group_tests_name("libctx", tests, NULL, NULL);
}
