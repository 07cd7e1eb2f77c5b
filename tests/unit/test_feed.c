/* SPDX-License-Identifier: Apache-2.0 */
/* The feed's lines and JWS: what is written is read back, and each neighbour of it is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/evp.h>

#include "base/auto.h"
#include "base/feed.h"

static struct feed_cert sample(void)
{
    return (struct feed_cert){
        .issuer = 3,
        .serial = {0x0a, 0xff, 0x01},
        .serial_len = 3,
        .status = FEED_ON_HOLD,
        .reason = bytes_str("certificateHold"),
        .state = bytes_str("suspended"),
        .scope = bytes_str("none"),
        .not_after = 253402300799,
        .domain = bytes_str("example"),
        .device_id = bytes_str("dev-1"),
        .firmware = bytes_str("v 1.2\t\"%\\"),
        .product = bytes_str("-"),
    };
}

static void a_line_is_read_back(void **state)
{
    struct feed_cert c = sample(), got, key;
    AUTO_BUF line = BUF_INIT(4096);
    struct err e = {0};
    char text[FEED_TEXT_MAX + 1];

    (void)state;
    feed_cert_write(&line, &c);
    buf_add_u8(&line, 0);
    assert_string_equal((const char *)line.p, "3\t0aff01\ton_hold\tcertificateHold\tsuspended\tnone\t253402300799\texample\tdev-1\tv%201.2%09%22%25%5C\t%2D");
    assert_int_equal(feed_cert_read(BYTES(line.p, line.len - 1), &got, &e), E_OK);
    assert_true(feed_cert_read_key(BYTES(line.p, line.len - 1), &key));
    assert_int_equal(feed_cert_order(&key, &got), 0);
    assert_int_equal(feed_cert_order(&c, &got), 0);
    assert_int_equal(got.status, FEED_ON_HOLD);
    assert_true(feed_text(got.firmware, text, sizeof text));
    assert_string_equal(text, "v 1.2\t\"%\\");
    assert_true(feed_text(got.product, text, sizeof text));
    assert_string_equal(text, "-");
    assert_true(got.not_after == c.not_after);
}

static void a_line_that_is_not_exact_is_refused(void **state)
{
    static const struct {
        const char *name, *line;
    } cases[] = {
        {"a field too few", "3\t0a\tgood\t-\t-\t-\t1\t-\t-\t-"},
        {"a field too many", "3\t0a\tgood\t-\t-\t-\t1\t-\t-\t-\t-\t-"},
        {"an issuer with a sign", "+3\t0a\tgood\t-\t-\t-\t1\t-\t-\t-\t-"},
        {"an issuer with a leading zero", "03\t0a\tgood\t-\t-\t-\t1\t-\t-\t-\t-"},
        {"an issuer above the limit", "1025\t0a\tgood\t-\t-\t-\t1\t-\t-\t-\t-"},
        {"a serial in upper case", "3\t0A\tgood\t-\t-\t-\t1\t-\t-\t-\t-"},
        {"a serial of half an octet", "3\ta\tgood\t-\t-\t-\t1\t-\t-\t-\t-"},
        {"a serial with a leading zero octet", "3\t000a\tgood\t-\t-\t-\t1\t-\t-\t-\t-"},
        {"a serial of 21 octets", "3\t0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a\tgood\t-\t-\t-\t1\t-\t-\t-\t-"},
        {"no serial", "3\t\tgood\t-\t-\t-\t1\t-\t-\t-\t-"},
        {"a status of its own", "3\t0a\tfine\t-\t-\t-\t1\t-\t-\t-\t-"},
        {"an empty text", "3\t0a\tgood\t\t-\t-\t1\t-\t-\t-\t-"},
        {"a date that overflows", "3\t0a\tgood\t-\t-\t-\t9223372036854775808\t-\t-\t-\t-"},
        {"a text with a blank", "3\t0a\tgood\t-\t-\t-\t1\t-\ta b\t-\t-"},
        {"a broken escape", "3\t0a\tgood\t-\t-\t-\t1\t-\ta%2\t-\t-"},
        {"an escape in lower case", "3\t0a\tgood\t-\t-\t-\t1\t-\ta%2f\t-\t-"},
        {"an escaped NUL", "3\t0a\tgood\t-\t-\t-\t1\t-\ta%00\t-\t-"},
    };
    struct feed_cert got;
    struct err e = {0};

    (void)state;
    assert_int_equal(feed_cert_read(bytes_str("3\t0a\tgood\t-\t-\t-\t1\t-\ta%2F\t-\t-"), &got, &e), E_OK);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        assert_int_equal(feed_cert_read(bytes_str(cases[i].line), &got, &e), E_INVALID);
    }
}

static void serials_are_ordered_as_numbers(void **state)
{
    struct feed_cert a = sample(), b = sample();

    (void)state;
    b.serial[2] = 2;
    assert_true(feed_cert_order(&a, &b) < 0);
    b.serial_len = 2; /* shorter: smaller */
    assert_true(feed_cert_order(&a, &b) > 0);
    a.issuer = 2;
    assert_true(feed_cert_order(&a, &b) < 0);
}

static void jws_make(struct buf *out, EVP_PKEY *key, const char *typ)
{
    const struct bytes chain[] = {bytes_str("signer"), bytes_str("its CA")};
    uint8_t der[128], raw[JWS_SIG_MAX];
    size_t len = sizeof der, raw_len;
    EVP_MD_CTX *md = EVP_MD_CTX_new();

    feed_signing_input(out, SIG_ECDSA_SHA256, typ, chain, 2, bytes_str("{\"a\":1}"));
    assert_int_equal(EVP_DigestSignInit_ex(md, NULL, "SHA2-256", NULL, NULL, key, NULL), 1);
    assert_int_equal(EVP_DigestSign(md, der, &len, out->p, out->len), 1);
    EVP_MD_CTX_free(md);
    raw_len = jws_raw_signature(SIG_ECDSA_SHA256, BYTES(der, len), raw);
    feed_signature_write(out, BYTES(raw, raw_len));
    assert_true(buf_ok(out));
}

static void a_jws_is_read_back_and_verified(void **state)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"), *other = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    AUTO_BUF text = BUF_INIT(4096);
    AUTO_BUF payload = BUF_INIT(4096);
    struct feed_jws j;
    struct err e = {0};

    (void)state;
    jws_make(&text, key, FEED_CHANGES_TYP);
    assert_int_equal(feed_jws_read(buf_bytes(&text), FEED_CHANGES_TYP, &j, &e), E_OK);
    assert_int_equal(j.chain_n, 2);
    assert_true(bytes_equal(buf_bytes(&j.chain[1]), bytes_str("its CA")));
    assert_int_equal(jws_payload(&j.jws, &payload, &e), E_OK);
    assert_true(bytes_equal(buf_bytes(&payload), bytes_str("{\"a\":1}")));
    assert_int_equal(jws_verify(&j.jws, key, &e), E_OK);
    assert_int_equal(jws_verify(&j.jws, other, &e), E_DENIED);
    feed_jws_clear(&j);
    assert_int_equal(feed_jws_read(buf_bytes(&text), FEED_SNAPSHOT_TYP, &j, &e), E_INVALID);
    feed_jws_clear(&j);
    for (size_t cut = 0; cut < text.len; cut += 7) { /* no beginning of it is one */
        enum err_code code = feed_jws_read(BYTES(text.p, cut), FEED_CHANGES_TYP, &j, &e);

        if (code == E_OK)
            assert_int_not_equal(jws_verify(&j.jws, key, &e), E_OK);
        feed_jws_clear(&j);
    }
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

static void what_a_gateway_says_of_its_servers_is_read_back(void **state)
{
    struct feed_server out[FEED_SERVERS_MAX] = {{"nginx", 4711, 1732280000}, {"a:b.c-d_e", 0, 0}}, got[FEED_SERVERS_MAX];
    AUTO_BUF text = BUF_INIT(FEED_SERVERS_TEXT_MAX);
    size_t n;

    (void)state;
    feed_servers_write(&text, out, 2);
    assert_true(bytes_equal(buf_bytes(&text), bytes_str("nginx/4711/1732280000,a:b.c-d_e/0/0")));
    assert_true(feed_servers_read(buf_bytes(&text), got, &n));
    assert_int_equal(n, 2);
    assert_string_equal(got[0].name, "nginx");
    assert_int_equal(got[0].seq, 4711);
    assert_int_equal(got[0].at, 1732280000);
    assert_string_equal(got[1].name, "a:b.c-d_e");
    assert_true(feed_servers_read(bytes_str(""), got, &n));
    assert_int_equal(n, 0);
    buf_reset(&text);
    for (size_t i = 0; i < FEED_SERVERS_MAX; i++) { /* the longest there is */
        out[i] = (struct feed_server){.seq = INT64_MAX, .at = INT64_MAX};
        memset(out[i].name, 'a' + (int)i, ID_MAX_LEN);
    }
    feed_servers_write(&text, out, FEED_SERVERS_MAX);
    assert_true(buf_ok(&text) && feed_servers_read(buf_bytes(&text), got, &n));
    assert_int_equal(n, FEED_SERVERS_MAX);
    buf_add_str(&text, ",one-more/1/1");
    assert_false(buf_ok(&text) && feed_servers_read(buf_bytes(&text), got, &n));
}

static void what_is_no_word_of_a_gateway_is_refused(void **state)
{
    static const struct {
        const char *name, *text;
    } cases[] = {
        {"a name alone", "nginx"},
        {"no time", "nginx/1"},
        {"a field too many", "nginx/1/2/3"},
        {"no name", "/1/2"},
        {"a name that is none", "-nginx/1/2"},
        {"a blank in a name", "ng inx/1/2"},
        {"a name of 65 octets", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/1/2"},
        {"a row with a sign", "nginx/-1/2"},
        {"a row that overflows", "nginx/9223372036854775808/2"},
        {"no row", "nginx//2"},
        {"a time that is no number", "nginx/1/now"},
        {"a comma at the end", "nginx/1/2,"},
        {"a comma at the start", ",nginx/1/2"},
        {"one server twice", "nginx/1/2,nginx/1/2"},
        {"seventeen servers", "a/1/1,b/1/1,c/1/1,d/1/1,e/1/1,f/1/1,g/1/1,h/1/1,i/1/1,j/1/1,k/1/1,l/1/1,m/1/1,n/1/1,o/1/1,p/1/1,q/1/1"},
    };
    struct feed_server got[FEED_SERVERS_MAX];
    size_t n;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        assert_false(feed_servers_read(bytes_str(cases[i].text), got, &n));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_read_back),
        cmocka_unit_test(a_line_that_is_not_exact_is_refused),
        cmocka_unit_test(serials_are_ordered_as_numbers),
        cmocka_unit_test(a_jws_is_read_back_and_verified),
        cmocka_unit_test(what_a_gateway_says_of_its_servers_is_read_back),
        cmocka_unit_test(what_is_no_word_of_a_gateway_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
