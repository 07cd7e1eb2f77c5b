/* SPDX-License-Identifier: Apache-2.0 */
/* How a gateway names a certificate: each form is read, each broken neighbour of it names nobody. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/auto.h"
#include "enroll/question.h"

static uint8_t der[2048], der_hash[32];
static size_t der_len;
static char pem[4096], escaped[8192], base64[4096], fingerprint[65];
static const uint8_t ski[20] = {0xaa, 0xbb, 0xcc, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17};
#define NOT_BEFORE 1700000000

static void add_aki(X509 *x)
{
    AUTHORITY_KEYID *aki = AUTHORITY_KEYID_new();

    aki->keyid = ASN1_OCTET_STRING_new();
    ASN1_OCTET_STRING_set(aki->keyid, ski, sizeof ski);
    X509_add1_ext_i2d(x, NID_basic_constraints, &(BASIC_CONSTRAINTS){0}, 1, 0);
    X509_add1_ext_i2d(x, NID_authority_key_identifier, aki, 0, 0);
    AUTHORITY_KEYID_free(aki);
}

static int make(void **state)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    X509 *x = X509_new();
    BIO *b = BIO_new(BIO_s_mem());
    unsigned char *p = der;
    struct buf text = BUF_INIT(sizeof base64);
    size_t n = 0;

    (void)state;
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 77);
    X509_time_adj_ex(X509_getm_notBefore(x), 0, 0, &(time_t){NOT_BEFORE});
    X509_time_adj_ex(X509_getm_notAfter(x), 10, 0, &(time_t){NOT_BEFORE});
    X509_set_pubkey(x, key);
    add_aki(x);
    X509_sign(x, key, EVP_sha256());
    der_len = (size_t)i2d_X509(x, &p);
    sha256(BYTES(der, der_len), der_hash);
    hex_encode(der_hash, 32, fingerprint);
    PEM_write_bio_X509(b, x);
    pem[BIO_read(b, pem, sizeof pem - 1)] = '\0';
    base64_encode(&text, BYTES(der, der_len), 0);
    snprintf(base64, sizeof base64, "%.*s", (int)text.len, (const char *)text.p);
    for (const char *s = pem; *s; s++)
        n += (size_t)snprintf(escaped + n, sizeof escaped - n, strchr("\n +/=-", *s) ? "%%%02X" : "%c", *s);
    buf_clear(&text);
    BIO_free(b);
    X509_free(x);
    EVP_PKEY_free(key);
    return 0;
}

static void is_the_certificate(const struct sts_identity *who)
{
    assert_int_equal(who->kind, IDENTITY_CERT);
    assert_memory_equal(who->der_hash, der_hash, 32);
    assert_memory_equal(who->ski, ski, sizeof ski);
    assert_int_equal(who->not_before, NOT_BEFORE);
}

static void a_certificate_is_read_in_every_form(void **state)
{
    const char *const forms[] = {pem, escaped, base64};
    struct sts_identity who;
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        if (identity_from_text(bytes_str(forms[i]), &who, NULL, &e) != E_OK)
            fail_msg("form %zu: %s", i, e.msg);
        is_the_certificate(&who);
    }
    assert_int_equal(identity_from_text(bytes_str(""), &who, NULL, &e), E_OK);
    assert_int_equal(who.kind, IDENTITY_NONE);
}

static void what_is_no_certificate_names_nobody(void **state)
{
    char text[9000];
    struct sts_identity who;
    struct err e = {0};

    (void)state;
    snprintf(text, sizeof text, "%s%%4", escaped);
    assert_int_equal(identity_from_text(bytes_str(text), &who, NULL, &e), E_UNAUTHENTICATED);
    snprintf(text, sizeof text, "%s%s", pem, pem);
    assert_int_equal(identity_from_text(bytes_str(text), &who, NULL, &e), E_UNAUTHENTICATED);
    snprintf(text, sizeof text, "%.*s", (int)strlen(pem) - 5, pem);
    assert_int_equal(identity_from_text(bytes_str(text), &who, NULL, &e), E_UNAUTHENTICATED);
    snprintf(text, sizeof text, "%s%s", base64, "AAAA"); /* octets behind it */
    assert_int_equal(identity_from_text(bytes_str(text), &who, NULL, &e), E_UNAUTHENTICATED);
    assert_int_equal(identity_from_text(bytes_str("MAA="), &who, NULL, &e), E_UNAUTHENTICATED);
    assert_int_equal(identity_from_text(bytes_str("(null)"), &who, NULL, &e), E_UNAUTHENTICATED);
    assert_int_equal(who.kind, IDENTITY_NONE);
}

/* Each %1 stands for the fingerprint, %2 for the escaped certificate. */
static enum err_code xfcc(const char *form, struct sts_identity *who)
{
    AUTO_BUF text = BUF_INIT(40000);
    struct err e = {0};

    for (; *form; form++)
        if (*form == '%')
            buf_add_str(&text, *++form == '1' ? fingerprint : escaped);
        else
            buf_add_u8(&text, (uint8_t)*form);
    return identity_from_xfcc(buf_bytes(&text), who, NULL, &e);
}

static void envoys_header_is_one_element(void **state)
{
    struct sts_identity who;

    (void)state;
    assert_int_equal(xfcc("Hash=%1;Cert=\"%2\";Subject=\"CN=a;b,c\\\"d\";URI=", &who), E_OK);
    is_the_certificate(&who);
    assert_int_equal(xfcc("By=x;cert=\"%2\"", &who), E_OK);
    is_the_certificate(&who);
    assert_int_equal(xfcc("By=x;Hash=%1", &who), E_OK);
    assert_int_equal(who.kind, IDENTITY_FINGERPRINT);
    assert_int_equal(xfcc("By=x;Subject=\"CN=a\"", &who), E_OK);
    assert_int_equal(who.kind, IDENTITY_NONE);
    assert_int_equal(xfcc("Hash=%1,Hash=%1", &who), E_UNAUTHENTICATED);
    assert_int_equal(xfcc("Hash=%1;Hash=%1", &who), E_UNAUTHENTICATED);
    assert_int_equal(xfcc("Hash=0000000000000000000000000000000000000000000000000000000000000000;Cert=\"%2\"", &who), E_UNAUTHENTICATED);
    assert_int_equal(xfcc("Cert=\"%2", &who), E_UNAUTHENTICATED);
    assert_int_equal(xfcc("Cert=\"%2\"x", &who), E_UNAUTHENTICATED);
    assert_int_equal(who.kind, IDENTITY_NONE);
}

static void a_serial_is_told_with_its_issuer(void **state)
{
    const char *const issuer = "aabbcc0102030405060708090a0b0c0d0e0f1011";
    struct sts_identity who;
    struct err e = {0};

    (void)state;
    assert_int_equal(identity_from_serial(bytes_str(issuer), bytes_str("4D"), &who, &e), E_OK);
    assert_int_equal(who.kind, IDENTITY_SERIAL);
    assert_memory_equal(who.ski, ski, sizeof ski);
    assert_int_equal(who.serial_len, 1);
    assert_int_equal(who.serial[0], 0x4d);
    assert_int_equal(identity_from_serial(bytes_str(issuer), bytes_str("abc"), &who, &e), E_OK);
    assert_int_equal(who.serial_len, 2);
    assert_int_equal(who.serial[0], 0x0a);
    assert_int_equal(identity_from_serial(bytes_str(issuer), bytes_str(""), &who, &e), E_UNAUTHENTICATED);
    assert_int_equal(identity_from_serial(bytes_str(issuer), bytes_str("4g"), &who, &e), E_UNAUTHENTICATED);
    assert_int_equal(identity_from_serial(bytes_str(issuer + 2), bytes_str("4d"), &who, &e), E_UNAUTHENTICATED);
    assert_int_equal(identity_from_serial(bytes_str(issuer), bytes_str("11111111111111111111111111111111111111111"), &who, &e),
                     E_UNAUTHENTICATED);
    assert_int_equal(identity_from_fingerprint(bytes_str(fingerprint), &who, &e), E_OK);
    assert_int_equal(identity_from_fingerprint(bytes_str(fingerprint + 2), &who, &e), E_UNAUTHENTICATED);
}

static void a_question_is_an_object_of_known_texts(void **state)
{
    char json[8192];
    struct sts_identity who;
    struct question q;
    struct err e = {0};

    (void)state;
    snprintf(json, sizeof json, "{\"cert\":\"%s\",\"audience\":\"door\",\"resource\":\"/a\",\"client\":\"192.0.2.1\"}", base64);
    assert_int_equal(question_from_json(bytes_str(json), &q, &who, NULL, &e), E_OK);
    is_the_certificate(&who);
    assert_string_equal(q.audience, "door");
    assert_string_equal(q.resource, "/a");
    assert_int_equal(question_from_json(bytes_str("{}"), &q, &who, NULL, &e), E_OK);
    assert_int_equal(who.kind, IDENTITY_NONE);
    assert_int_equal(question_from_json(bytes_str("{\"cert\":\"nonsense\"}"), &q, &who, NULL, &e), E_OK);
    assert_int_equal(who.kind, IDENTITY_NONE);
    assert_int_equal(question_from_json(bytes_str("{\"verified\":\"SUCCESS\"}"), &q, &who, NULL, &e), E_INVALID);
    assert_int_equal(question_from_json(bytes_str("{\"serial\":7}"), &q, &who, NULL, &e), E_INVALID);
    assert_int_equal(question_from_json(bytes_str("{\"serial\":\"07\"}"), &q, &who, NULL, &e), E_INVALID);
    assert_int_equal(question_from_json(bytes_str("{\"cert\":\"a\",\"cert\":\"b\"}"), &q, &who, NULL, &e), E_INVALID);
    snprintf(json, sizeof json, "{\"cert\":\"%s\",\"fingerprint\":\"%s\"}", base64, fingerprint);
    assert_int_equal(question_from_json(bytes_str(json), &q, &who, NULL, &e), E_INVALID);
    assert_int_equal(question_from_json(bytes_str("[]"), &q, &who, NULL, &e), E_INVALID);
    snprintf(json, sizeof json, "{\"audience\":\"%065d\"}", 7);
    assert_int_equal(question_from_json(bytes_str(json), &q, &who, NULL, &e), E_INVALID);
}

static void many_units_are_an_array(void **state)
{
    static const size_t counts[] = {0, 1, 2, DECISIONS_MAX, DECISIONS_MAX + 1};
    static struct sts_identity who[DECISIONS_MAX];
    AUTO_BUF json = BUF_INIT(1 << 20);
    struct err e = {0};
    size_t n;

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(counts); k++) {
        bool fits = counts[k] > 0 && counts[k] <= DECISIONS_MAX;

        buf_reset(&json);
        buf_add_str(&json, "[");
        for (size_t i = 0; i < counts[k]; i++)
            buf_printf(&json, "%s{\"fingerprint\":\"%s\"}", i ? "," : "", fingerprint);
        buf_add_str(&json, "]");
        assert_int_equal(units_from_json(buf_bytes(&json), who, NULL, &n, &e), fits ? E_OK : E_INVALID);
        assert_int_equal(n, fits ? counts[k] : 0);
    }
    assert_int_equal(units_from_json(bytes_str("[{\"audience\":\"door\"}]"), who, NULL, &n, &e), E_INVALID);
}

/* Reads a whole request; what it asks, and as whom. */
static enum err_code ask(const char *text, struct question *q, struct sts_identity *who)
{
    struct http_reader r;
    struct bytes in = bytes_str(text);
    enum err_code code = E_INTERNAL;
    struct err e = {0};
    size_t used;

    http_reader_init(&r);
    for (enum http_event ev = HTTP_EVENT_HEAD; ev != HTTP_EVENT_REQUEST; in = BYTES(in.p + used, in.len - used)) {
        ev = http_feed(&r, in.p, in.len, &used);
        assert_true(ev == HTTP_EVENT_HEAD || ev == HTTP_EVENT_REQUEST);
        if (ev == HTTP_EVENT_HEAD)
            http_body_keep(&r);
    }
    code = question_read(&r, q, who, NULL, &e);
    http_reader_clear(&r);
    return code;
}

/* Envoy puts the client's path and query behind its own, and passes the client's method on. */
static void a_client_behind_envoy_chooses_neither_audience_nor_unit(void **state)
{
    struct sts_identity who;
    struct question q;
    char text[1024];

    (void)state;
    snprintf(text, sizeof text, "GET /v1/decision?audience=update HTTP/1.1\r\nHost: g\r\nX-Client-Fingerprint: %s\r\n\r\n", fingerprint);
    assert_int_equal(ask(text, &q, &who), E_OK);
    assert_string_equal(q.audience, "update");
    snprintf(text, sizeof text, "GET /v1/decision/a?audience=update HTTP/1.1\r\nHost: g\r\nX-Client-Fingerprint: %s\r\n\r\n", fingerprint);
    assert_int_equal(ask(text, &q, &who), E_OK);
    assert_string_equal(q.audience, "");
    assert_int_equal(who.kind, IDENTITY_FINGERPRINT);
    snprintf(text, sizeof text, "GET /v1/decision/?audience=a&audience=b HTTP/1.1\r\nHost: g\r\nInkan-Audience: door\r\n\r\n");
    assert_int_equal(ask(text, &q, &who), E_OK);
    assert_string_equal(q.audience, "door");
    for (int forwarded = 0; forwarded <= 1; forwarded++) {
        snprintf(text, sizeof text,
                 "POST /v1/decision%s HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: 82\r\n\r\n{\"fingerprint\":\"%s\"}",
                 forwarded ? "/a" : "", fingerprint);
        assert_int_equal(ask(text, &q, &who), E_OK);
        assert_int_equal(who.kind, forwarded ? IDENTITY_NONE : IDENTITY_FINGERPRINT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_certificate_is_read_in_every_form),
        cmocka_unit_test(what_is_no_certificate_names_nobody),
        cmocka_unit_test(envoys_header_is_one_element),
        cmocka_unit_test(a_serial_is_told_with_its_issuer),
        cmocka_unit_test(a_question_is_an_object_of_known_texts),
        cmocka_unit_test(many_units_are_an_array),
        cmocka_unit_test(a_client_behind_envoy_chooses_neither_audience_nor_unit),
    };

    return cmocka_run_group_tests_name("identity", tests, make, NULL);
}
