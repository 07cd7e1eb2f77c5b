/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/auto.h"
#include "base/jws.h"

AUTO_TYPE(EVP_PKEY, EVP_PKEY_free)

static EVP_PKEY *make_key(const char *name)
{
    if (strcmp(name, "Ed25519") == 0)
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    if (strcmp(name, "RSA") == 0)
        return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    return EVP_PKEY_Q_keygen(NULL, NULL, "EC", name);
}

static void base64url_reads_what_is_right_and_refuses_its_neighbours(void **state)
{
    static const struct {
        const char *name, *text, *octets; /* octets NULL: refused */
    } cases[] = {
        {"nothing", "", ""},
        {"one octet", "Zg", "f"},
        {"one octet, padded", "Zg==", NULL},
        {"one octet, spare bits set", "Zh", NULL},
        {"two octets", "Zm8", "fo"},
        {"two octets, spare bits set", "Zm9", NULL},
        {"three octets", "Zm9v", "foo"},
        {"six octets", "Zm9vYmFy", "foobar"},
        {"the last two letters of the alphabet", "_-A", "\xff\xe0"},
        {"letters of the other alphabet", "/+A", NULL},
        {"a lone letter", "Z", NULL},
        {"a blank", "Zm 8", NULL},
        {"a line end", "Zm9v\n", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_BUF out = BUF_INIT(100), again = BUF_INIT(100);
        struct err e = {0};

        print_message("  %s\n", cases[i].name);
        assert_int_equal(base64url_is_valid(bytes_str(cases[i].text)), cases[i].octets != NULL);
        assert_int_equal(base64url_decode(bytes_str(cases[i].text), &out, &e), cases[i].octets ? E_OK : E_INVALID);
        if (!cases[i].octets)
            continue;
        assert_true(bytes_equal(buf_bytes(&out), bytes_str(cases[i].octets)));
        base64url_encode(&again, buf_bytes(&out));
        assert_true(bytes_equal(buf_bytes(&again), bytes_str(cases[i].text)));
    }
}

static void a_text_longer_than_the_room_is_refused(void **state)
{
    AUTO_BUF out = BUF_INIT(2);
    struct err e = {0};

    (void)state;
    assert_int_equal(base64url_decode(bytes_str("Zm8"), &out, &e), E_OK);
    buf_clear(&out);
    assert_int_equal(base64url_decode(bytes_str("Zm9v"), &out, &e), E_INVALID);
}

/* RFC 7515 A.3 and RFC 8037 A.4: signatures made elsewhere. */
static void signatures_of_the_rfcs_verify(void **state)
{
    static const struct {
        const char *name, *spki_prefix, *key, *header, *payload, *signature;
        enum sig_alg alg;
    } cases[] = {
        {"RFC 7515 A.3", "3059301306072a8648ce3d020106082a8648ce3d03010703420004",
         "7fcdce2770f6c45d4183cbee6fdb4b7b580733357be9ef13bacf6e3c7bd15445c7f144cd1bbd9b7e872cdfedb9eeb9f4b3695d6ea90b24ad8a4623288588e5ad",
         "eyJhbGciOiJFUzI1NiJ9",
         "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
         "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q", SIG_ECDSA_SHA256},
        {"RFC 8037 A.4", "302a300506032b6570032100", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
         "eyJhbGciOiJFZERTQSJ9", "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
         "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg", SIG_ED25519},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_BUF sig = BUF_INIT(JWS_SIG_MAX);
        struct jws j = {.header.alg = cases[i].alg, .protected_text = bytes_str(cases[i].header),
                        .payload_text = bytes_str(cases[i].payload)};
        uint8_t spki[128];
        size_t a = 0, b = 0;
        const unsigned char *p = spki;
        AUTO(EVP_PKEY) *key = NULL;
        struct err e = {0};

        print_message("  %s\n", cases[i].name);
        assert_true(hex_decode(cases[i].spki_prefix, strlen(cases[i].spki_prefix), spki, sizeof(spki), &a));
        assert_true(hex_decode(cases[i].key, strlen(cases[i].key), spki + a, sizeof(spki) - a, &b));
        key = d2i_PUBKEY(NULL, &p, (long)(a + b));
        assert_non_null(key);
        assert_int_equal(base64url_decode(bytes_str(cases[i].signature), &sig, &e), E_OK);
        memcpy(j.signature, sig.p, sig.len);
        j.signature_len = sig.len;
        if (jws_verify(&j, key, &e) != E_OK)
            fail_msg("%s", e.msg);
        j.signature[5] ^= 1;
        assert_int_equal(jws_verify(&j, key, &e), E_DENIED);
        j.signature[5] ^= 1;
        j.signature_len--;
        assert_int_equal(jws_verify(&j, key, &e), E_INVALID);
    }
}

static void what_is_signed_is_read_back_and_verifies(void **state)
{
    static const char *const keys[] = {"P-256", "P-384", "Ed25519"};
    AUTO(EVP_PKEY) *stranger = make_key("P-256");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        AUTO(EVP_PKEY) *key = make_key(keys[i]);
        AUTO_BUF text = BUF_INIT(4096), payload = BUF_INIT(4096);
        struct jws_header h = {.typ = "inkan-test"};
        struct jws j;
        struct err e = {0};

        print_message("  %s\n", keys[i]);
        assert_int_equal(jws_sign(key, &h, bytes_str("{\"a\":1}"), &text, &e), E_OK);
        assert_int_equal(jws_read(buf_bytes(&text), text.len, &j, &e), E_OK);
        assert_int_equal(j.header.alg, jws_alg_of_key(key));
        assert_string_equal(j.header.typ, "inkan-test");
        assert_string_equal(j.header.kid, h.kid);
        assert_int_equal(strlen(j.header.kid), JWS_KID_LEN);
        assert_int_equal(jws_payload(&j, &payload, &e), E_OK);
        assert_true(bytes_equal(buf_bytes(&payload), bytes_str("{\"a\":1}")));
        if (jws_verify(&j, key, &e) != E_OK)
            fail_msg("%s", e.msg);
        assert_int_equal(jws_verify(&j, stranger, &e), i == 0 ? E_DENIED : E_INVALID);
        ((uint8_t *)(uintptr_t)j.payload_text.p)[1] ^= 1; /* "eyJ" becomes "exJ": another payload */
        assert_int_equal(jws_verify(&j, key, &e), E_DENIED);
        assert_int_equal(jws_read(buf_bytes(&text), text.len - 1, &j, &e), E_INVALID);
    }
}

static void an_rsa_key_signs_no_jws(void **state)
{
    AUTO(EVP_PKEY) *key = make_key("RSA");
    AUTO_BUF text = BUF_INIT(4096);
    struct jws_header h = {.typ = "inkan-test"};
    struct err e = {0};

    (void)state;
    assert_int_equal(jws_alg_of_key(key), SIG_NONE);
    assert_int_equal(jws_sign(key, &h, bytes_str("{}"), &text, &e), E_INVALID);
}

#define SIG "\"signature\":\"AAAA\""
static void only_the_flattened_form_with_its_three_members_is_read(void **state)
{
    static const char header[] = "{\"alg\":\"ES256\",\"kid\":\"k\",\"typ\":\"t\"}";
    static const struct {
        const char *name, *format, *says; /* %s: the header in base64url; says NULL: accepted */
    } cases[] = {
        {"the three members", "{\"payload\":\"e30\",\"protected\":\"%s\"," SIG "}", NULL},
        {"another order and blanks", " {\n\"protected\" : \"%s\" , " SIG ", \"payload\":\"e30\" }\n", NULL},
        {"a member twice", "{\"payload\":\"e30\",\"payload\":\"e30\",\"protected\":\"%s\"," SIG "}", "twice"},
        {"an unprotected header", "{\"header\":\"e30\",\"payload\":\"e30\",\"protected\":\"%s\"," SIG "}", "\"header\""},
        {"the general form", "{\"payload\":\"e30\",\"signatures\":[{\"protected\":\"%s\"," SIG "}]}", "\"signatures\""},
        {"a member missing", "{\"payload\":\"e30\",\"protected\":\"%s\"}", "\"signature\" is missing"},
        {"an empty payload", "{\"payload\":\"\",\"protected\":\"%s\"," SIG "}", "\"payload\" is missing"},
        {"an escape", "{\"payload\":\"e3\\u0030\",\"protected\":\"%s\"," SIG "}", "\"payload\" is not a text"},
        {"padding", "{\"payload\":\"e30=\",\"protected\":\"%s\"," SIG "}", "payload is not base64url"},
        {"a number", "{\"payload\":1,\"protected\":\"%s\"," SIG "}", "\"payload\" is not a text"},
        {"no object", "[\"%s\"]", "not a JSON object"},
        {"octets after it", "{\"payload\":\"e30\",\"protected\":\"%s\"," SIG "}x", "1 octets after"},
        {"a comma at the end", "{\"payload\":\"e30\",\"protected\":\"%s\"," SIG ",}", "member name"},
        {"cut off", "{\"payload\":\"e30\",\"protected\":\"%s\"," SIG, "',' or '}'"},
    };
    AUTO_BUF protected = BUF_INIT(1000);

    (void)state;
    base64url_encode(&protected, BYTES(header, strlen(header)));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_BUF text = BUF_INIT(4096);
        struct jws j;
        struct err e = {0};
        const char *hole = strstr(cases[i].format, "%s");

        print_message("  %s\n", cases[i].name);
        buf_add(&text, cases[i].format, (size_t)(hole - cases[i].format));
        buf_add_bytes(&text, buf_bytes(&protected));
        buf_add_str(&text, hole + 2);
        assert_int_equal(jws_read(buf_bytes(&text), 4096, &j, &e), cases[i].says ? E_INVALID : E_OK);
        if (cases[i].says && !strstr(e.msg, cases[i].says))
            fail_msg("\"%s\" does not say \"%s\"", e.msg, cases[i].says);
    }
}

static void a_header_holds_known_members_only(void **state)
{
    static const struct {
        const char *name, *json, *says;
    } cases[] = {
        {"all four", "{\"alg\":\"ES384\",\"kid\":\"k\",\"typ\":\"t\",\"x5t#S256\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}", NULL},
        {"without x5t#S256", "{\"alg\":\"EdDSA\",\"kid\":\"k\",\"typ\":\"t\"}", NULL},
        {"alg none", "{\"alg\":\"none\",\"kid\":\"k\",\"typ\":\"t\"}", "\"none\""},
        {"an HMAC", "{\"alg\":\"HS256\",\"kid\":\"k\",\"typ\":\"t\"}", "\"HS256\""},
        {"crit", "{\"alg\":\"ES256\",\"crit\":\"b64\",\"kid\":\"k\",\"typ\":\"t\"}", "\"crit\""},
        {"a key of its own", "{\"alg\":\"ES256\",\"jwk\":\"x\",\"kid\":\"k\",\"typ\":\"t\"}", "\"jwk\""},
        {"no typ", "{\"alg\":\"ES256\",\"kid\":\"k\"}", "\"typ\" is missing"},
        {"no alg", "{\"kid\":\"k\",\"typ\":\"t\"}", "\"alg\" is missing"},
        {"an empty kid", "{\"alg\":\"ES256\",\"kid\":\"\",\"typ\":\"t\"}", "\"kid\" has 0"},
        {"a kid of 65 octets", "{\"alg\":\"ES256\",\"kid\":\"0123456789012345678901234567890123456789012345678901234567890123x\",\"typ\":\"t\"}", "\"kid\" has 65"},
        {"an x5t#S256 too short", "{\"alg\":\"ES256\",\"kid\":\"k\",\"typ\":\"t\",\"x5t#S256\":\"AAAA\"}", "x5t#S256"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_BUF again = BUF_INIT(JWS_HEADER_MAX);
        struct jws_header h;
        struct err e = {0};

        print_message("  %s\n", cases[i].name);
        assert_int_equal(jws_header_read(bytes_str(cases[i].json), &h, &e), cases[i].says ? E_INVALID : E_OK);
        if (cases[i].says && !strstr(e.msg, cases[i].says))
            fail_msg("\"%s\" does not say \"%s\"", e.msg, cases[i].says);
        if (cases[i].says)
            continue;
        jws_header_write(&again, &h);
        assert_true(bytes_equal(buf_bytes(&again), bytes_str(cases[i].json)));
    }
}

static void ecdsa_signatures_change_form_with_every_leading_octet(void **state)
{
    static const struct {
        const char *name, *der, *raw; /* raw NULL: refused; a field of 4 octets */
    } cases[] = {
        {"whole fields", "300c020411223344020455667788", "1122334455667788"},
        {"a sign octet", "300d02050081223344020455667788", "8122334455667788"},
        {"short values", "3006020101020102", "0000000100000002"},
        {"five octets in r", "300d02051122334455020455667788", NULL},
        {"a negative r", "300c020481223344020455667788", NULL},
        {"an octet after s", "300d02041122334402045566778800", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t der[64], raw[8], want[8];
        size_t der_len = 0, n = 0;
        AUTO_BUF again = BUF_INIT(64);

        print_message("  %s\n", cases[i].name);
        assert_true(hex_decode(cases[i].der, strlen(cases[i].der), der, sizeof(der), &der_len));
        assert_int_equal(ecdsa_raw_from_der(BYTES(der, der_len), 4, raw), cases[i].raw != NULL);
        if (!cases[i].raw)
            continue;
        assert_true(hex_decode(cases[i].raw, 16, want, sizeof(want), &n));
        assert_memory_equal(raw, want, 8);
        assert_true(ecdsa_der_from_raw(BYTES_OF(raw), &again));
        assert_true(bytes_equal(buf_bytes(&again), BYTES(der, der_len)));
    }
}

static void a_signer_is_named_by_pem_of_a_key_or_nothing(void **state)
{
    AUTO(EVP_PKEY) *key = make_key("P-256"), *read = NULL;
    BIO *out = BIO_new(BIO_s_mem()), *secret = BIO_new(BIO_s_mem());
    char *pem = NULL;
    long n;
    char a[JWS_KID_LEN + 1], b[JWS_KID_LEN + 1];
    struct err e = {0};

    (void)state;
    assert_int_equal(PEM_write_bio_PUBKEY(out, key), 1);
    n = BIO_get_mem_data(out, &pem);
    read = jws_public_key(BYTES(pem, n), &e);
    assert_non_null(read);
    assert_int_equal(jws_kid(key, a, &e), E_OK);
    assert_int_equal(jws_kid(read, b, &e), E_OK);
    assert_string_equal(a, b);
    assert_int_equal(PEM_write_bio_PrivateKey(secret, key, NULL, NULL, 0, NULL, NULL), 1);
    n = BIO_get_mem_data(secret, &pem);
    assert_null(jws_public_key(BYTES(pem, n), &e));
    assert_int_equal(e.code, E_INVALID);
    assert_null(jws_public_key((struct bytes){NULL, 0}, &e));
    BIO_free(out);
    BIO_free(secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64url_reads_what_is_right_and_refuses_its_neighbours),
        cmocka_unit_test(a_text_longer_than_the_room_is_refused),
        cmocka_unit_test(signatures_of_the_rfcs_verify),
        cmocka_unit_test(what_is_signed_is_read_back_and_verifies),
        cmocka_unit_test(an_rsa_key_signs_no_jws),
        cmocka_unit_test(only_the_flattened_form_with_its_three_members_is_read),
        cmocka_unit_test(a_header_holds_known_members_only),
        cmocka_unit_test(ecdsa_signatures_change_form_with_every_leading_octet),
        cmocka_unit_test(a_signer_is_named_by_pem_of_a_key_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
