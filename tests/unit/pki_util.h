/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the tests of ca/'s objects: DER from readable text, OpenSSL keys and signatures. */
#ifndef INKAN_TESTS_PKI_UTIL_H
#define INKAN_TESTS_PKI_UTIL_H

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/auto.h"
#include "base/bytes.h"
#include "base/conf.h"
#include "base/derw.h"
#include "base/err.h"

/*
 * DER from text. Items, separated by blanks or not:
 *   0a1b        octets in hex                 30{ ... }   an element: tag, length of what is inside, content
 *   "text"      octets as they are            @a          blob number a..z of `blobs`
 *   (41*65)     octet 41, 65 times            !30{...}    the element with its last octet cut off
 */
static const char *der_text_items(const char *p, struct buf *out, const struct bytes *blobs);

static const char *der_text_element(const char *p, uint8_t tag, struct buf *out, const struct bytes *blobs)
{
    struct buf inner = BUF_INIT(1 << 20);
    struct derw w;

    p = der_text_items(p, &inner, blobs);
    assert_int_equal(*p, '}');
    derw_init(&w, out);
    derw_element(&w, tag, buf_bytes(&inner));
    buf_clear(&inner);
    return p + 1;
}

static const char *der_text_items(const char *p, struct buf *out, const struct bytes *blobs)
{
    while (*p && *p != '}') {
        bool cut = *p == '!';
        p += cut;
        if (*p == ' ') {
            p++;
        } else if (*p == '"') {
            for (p++; *p != '"'; p++)
                buf_add_u8(out, (uint8_t)*p);
            p++;
        } else if (*p == '@') {
            buf_add_bytes(out, blobs[p[1] - 'a']);
            p += 2;
        } else if (*p == '(') {
            unsigned octet, n;
            assert_int_equal(sscanf(p, "(%2x*%u)", &octet, &n), 2);
            while (n--)
                buf_add_u8(out, (uint8_t)octet);
            p = strchr(p, ')') + 1;
        } else {
            uint8_t octet;
            size_t n;
            assert_true(hex_decode(p, 2, &octet, 1, &n));
            p += 2;
            if (*p == '{')
                p = der_text_element(p + 1, octet, out, blobs);
            else
                buf_add_u8(out, octet);
        }
        if (cut)
            out->len--;
    }
    return p;
}

static inline void der_text(const char *text, const struct bytes *blobs, struct buf *out)
{
    const char *end = der_text_items(text, out, blobs);

    assert_int_equal(*end, '\0');
    assert_true(buf_ok(out));
}

/* One key of each type, made once per test program. */
static EVP_PKEY *test_keys[KEY_ALGS];

static inline EVP_PKEY *test_key(enum key_alg alg)
{
    if (!test_keys[alg]) {
        switch (alg) {
        case KEY_P256:
            test_keys[alg] = EVP_EC_gen("P-256");
            break;
        case KEY_P384:
            test_keys[alg] = EVP_EC_gen("P-384");
            break;
        case KEY_RSA2048:
            test_keys[alg] = EVP_RSA_gen(2048);
            break;
        case KEY_RSA3072:
            test_keys[alg] = EVP_RSA_gen(3072);
            break;
        case KEY_RSA4096:
            test_keys[alg] = EVP_RSA_gen(4096);
            break;
        default:
            test_keys[alg] = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        }
    }
    assert_non_null(test_keys[alg]);
    return test_keys[alg];
}

static inline void test_keys_free(void)
{
    for (size_t i = 0; i < KEY_ALGS; i++) {
        EVP_PKEY_free(test_keys[i]);
        test_keys[i] = NULL;
    }
}

static inline void pkey_spki(EVP_PKEY *key, struct buf *out)
{
    unsigned char *der = NULL;
    int n = i2d_PUBKEY(key, &der);

    assert_true(n > 0);
    buf_add(out, der, (size_t)n);
    OPENSSL_free(der);
}

static inline enum sig_alg sig_alg_of(enum key_alg alg)
{
    return alg == KEY_P256 ? SIG_ECDSA_SHA256 : alg == KEY_P384 ? SIG_ECDSA_SHA384
           : alg == KEY_ED25519                                 ? SIG_ED25519
                                                                : SIG_RSA_SHA256;
}

/* `md` NULL: the default of the key type. */
static inline void pkey_sign(EVP_PKEY *key, const char *md, struct bytes tbs, struct buf *sig)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t n = 0;

    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, md, NULL, NULL, key, NULL), 1);
    assert_int_equal(EVP_DigestSign(ctx, NULL, &n, tbs.p, tbs.len), 1);
    assert_true(buf_reserve(sig, n));
    assert_int_equal(EVP_DigestSign(ctx, sig->p + sig->len, &n, tbs.p, tbs.len), 1);
    sig->len += n;
    EVP_MD_CTX_free(ctx);
}

static inline const char *default_md(enum key_alg alg)
{
    return alg == KEY_ED25519 ? NULL : alg == KEY_P384 ? "SHA384" : "SHA256";
}

/* An RSA public key with any numbers in it. */
static inline void rsa_spki(struct bytes n, struct bytes e, struct buf *out)
{
    struct buf key = BUF_INIT(4096);
    struct derw w;

    derw_init(&w, &key);
    derw_begin(&w, 0x30);
    derw_unsigned(&w, n);
    derw_unsigned(&w, e);
    derw_end(&w);
    derw_init(&w, out);
    derw_begin(&w, 0x30);
    buf_add(out, "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00", 15);
    derw_bits(&w, buf_bytes(&key), 0);
    derw_end(&w);
    assert_true(buf_ok(out));
    buf_clear(&key);
}

#endif
