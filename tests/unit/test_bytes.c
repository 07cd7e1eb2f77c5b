/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "base/auto.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/derw.h"
#include "base/fsio.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/oid.h"
#include "base/siphash.h"

static void base64_reads_what_is_right_and_refuses_its_neighbours(void **state)
{
    static const struct {
        const char *name, *in, *out; /* out NULL: refused */
    } cases[] = {
        {"nothing", "", ""},
        {"one octet", "Zg==", "f"},
        {"one octet, one pad missing", "Zg=", NULL},
        {"one octet, no pad", "Zg", NULL},
        {"one octet, a pad too many", "Zg===", NULL},
        {"one octet, spare bits set", "Zh==", NULL},
        {"two octets", "Zm8=", "fo"},
        {"two octets, spare bits set", "Zm9=", NULL},
        {"two octets, a pad too many", "Zm8==", NULL},
        {"three octets", "Zm9v", "foo"},
        {"three octets, a pad too many", "Zm9v=", NULL},
        {"four octets", "Zm9vYg==", "foob"},
        {"white space anywhere", " Z\tm\r\n9v\n", "foo"},
        {"white space inside padding", "Zg=\n=\n", "f"},
        {"vertical tab is no white space", "Zm\v9v", NULL},
        {"url alphabet", "-_-_", NULL},
        {"a lone letter", "Z", NULL},
        {"pad first", "=Zm9", NULL},
        {"pad in place two", "Z===", NULL},
        {"data after padding", "Zg==Zg==", NULL},
        {"octet above 127", "Zm9\xc3", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_BUF out = BUF_INIT(100);
        struct err e = {0};
        enum err_code rc = base64_decode(bytes_str(cases[i].in), &out, &e);

        print_message("  %s\n", cases[i].name);
        assert_int_equal(rc, cases[i].out ? E_OK : E_INVALID);
        if (cases[i].out)
            assert_true(bytes_equal(buf_bytes(&out), bytes_str(cases[i].out)));
        else
            assert_true(e.msg[0] != '\0');
    }
}

static void base64_refuses_a_nul_octet(void **state)
{
    AUTO_BUF out = BUF_INIT(100);
    struct err e = {0};

    (void)state;
    assert_int_equal(base64_decode(BYTES("Zm\0v", 4), &out, &e), E_INVALID);
}

static void base64_stops_at_the_ceiling_of_the_buffer(void **state)
{
    AUTO_BUF fits = BUF_INIT(3), small = BUF_INIT(2);
    struct err e = {0};

    (void)state;
    assert_int_equal(base64_decode(bytes_str("Zm9v"), &fits, &e), E_OK);
    assert_int_equal(base64_decode(bytes_str("Zm9v"), &small, &e), E_INVALID);
}

static void base64_goes_round_for_every_length(void **state)
{
    (void)state;
    for (size_t n = 0; n < 100; n++) {
        AUTO_BUF text = BUF_INIT(1000), back = BUF_INIT(1000), lines = BUF_INIT(1000), back2 = BUF_INIT(1000);
        uint8_t raw[100];
        struct err e = {0};

        assert_int_equal(random_bytes(raw, sizeof(raw), &e), E_OK);
        base64_encode(&text, BYTES(raw, n), 0);
        base64_encode(&lines, BYTES(raw, n), 64);
        assert_null(text.len ? memchr(text.p, '\n', text.len) : NULL);
        assert_int_equal(lines.len, text.len + (text.len + 63) / 64);
        assert_int_equal(base64_decode(buf_bytes(&text), &back, &e), E_OK);
        assert_int_equal(base64_decode(buf_bytes(&lines), &back2, &e), E_OK);
        assert_true(bytes_equal(buf_bytes(&back), BYTES(raw, n)));
        assert_true(bytes_equal(buf_bytes(&back2), BYTES(raw, n)));
    }
}

static void hex_is_even_and_bounded(void **state)
{
    uint8_t out[4];
    char text[9];
    size_t n = 0;

    (void)state;
    assert_true(hex_decode("00Ff7a", 6, out, 4, &n));
    assert_int_equal(n, 3);
    hex_encode(out, n, text);
    assert_string_equal(text, "00ff7a");
    assert_false(hex_decode("0", 1, out, 4, &n));
    assert_false(hex_decode("0g", 2, out, 4, &n));
    assert_false(hex_decode("0011223344", 10, out, 4, &n));
    assert_true(hex_decode("", 0, out, 4, &n));
}

static void a_full_buffer_fails_and_stays_failed(void **state)
{
    AUTO_BUF b = BUF_INIT(4);

    (void)state;
    buf_add_str(&b, "1234");
    assert_true(buf_ok(&b));
    buf_add_str(&b, "5");
    assert_false(buf_ok(&b));
    buf_add_str(&b, "");
    assert_false(buf_ok(&b));
    assert_int_equal(b.len, 4);
    buf_reset(&b);
    buf_printf(&b, "%d", 42);
    assert_true(buf_ok(&b));
    assert_true(bytes_equal(buf_bytes(&b), bytes_str("42")));
}

static void big_endian_numbers_go_round(void **state)
{
    uint8_t p[8];

    (void)state;
    put_be64(p, 0x0102030405060708ULL);
    assert_int_equal(p[0], 1);
    assert_int_equal(p[7], 8);
    assert_true(get_be64(p) == 0x0102030405060708ULL);
    put_be32(p, 0xfffefdfcU);
    assert_true(get_be32(p) == 0xfffefdfcU);
    put_be16(p, 0xabcd);
    assert_true(get_be16(p) == 0xabcd);
}

static void digests_equal_the_published_ones(void **state)
{
    uint8_t out[32];
    char hex[65];

    (void)state;
    sha256(bytes_str("abc"), out);
    hex_encode(out, 32, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_2(bytes_str("a"), bytes_str("bc"), out);
    hex_encode(out, 32, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha1(bytes_str("abc"), out);
    hex_encode(out, 20, hex);
    assert_string_equal(hex, "a9993e364706816aba3e25717850c26c9cd0d89d");
}

static void names_have_their_alphabet(void **state)
{
    static const char *const good[] = {"a", "unit-7", "A.b_c:9"};
    static const char *const bad[] = {"", ".a", "-a", "a b", "a/b", "\xc3\xa4"};
    char longest[ID_MAX_LEN + 2];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(id_is_valid(good[i]));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(id_is_valid(bad[i]));
    assert_false(id_is_valid(NULL));
    memset(longest, 'x', sizeof(longest));
    longest[ID_MAX_LEN + 1] = '\0';
    assert_false(id_is_valid(longest));
    longest[ID_MAX_LEN] = '\0';
    assert_true(id_is_valid(longest));
}

static void errors_wrap_from_the_outside(void **state)
{
    char longer[1000];
    struct err e = {0};

    (void)state;
    assert_int_equal(err_set(&e, E_TOKEN, "C_Sign: %s", "CKR_DEVICE_REMOVED"), E_TOKEN);
    assert_int_equal(err_wrap(&e, "token \"%s\"", "issuing-1"), E_TOKEN);
    assert_string_equal(e.msg, "token \"issuing-1\": C_Sign: CKR_DEVICE_REMOVED");
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    err_wrap(&e, "%s", longer);
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
    assert_int_equal(err_set(NULL, E_IO, "nobody listens"), E_IO);
    /* What goes into JSON is UTF-8, also what was quoted in part, or is none. */
    err_set(&e, E_INVALID, "%.4s: no", "ab\xc3\xa9\xc3\xa9");
    assert_string_equal(e.msg, "ab\xc3\xa9: no");
    err_set(&e, E_INVALID, "%.3s: no", "ab\xc3\xa9");
    assert_string_equal(e.msg, "ab?: no");
    err_set(&e, E_INVALID, "%s", "\xed\xa0\x80 \xf0\x9f\x94\x91 \xf0\x9f\x94");
    assert_string_equal(e.msg, "??? \xf0\x9f\x94\x91 ???");
    assert_string_equal(err_code_name(E_NOT_FOUND), "not-found");
}

static void oids_have_names_and_dots(void **state)
{
    char text[64];

    (void)state;
    assert_string_equal(oid_name(OID_CN), "commonName");
    assert_null(oid_name(bytes_str("zz")));
    oid_format(OID_ECDSA_SHA256, text, sizeof(text));
    assert_string_equal(text, "1.2.840.10045.4.3.2");
    oid_format(OID_SHA256, text, sizeof(text));
    assert_string_equal(text, "2.16.840.1.101.3.4.2.1");
    oid_format(OID_SHA256, text, 8);
    assert_true(strlen(text) < 8);
}

static void no_expiry_prints_as_the_last_second(void **state)
{
    char text[32];

    (void)state;
    clock_format(TIME_NO_EXPIRY, text);
    assert_string_equal(text, "9999-12-31T23:59:59Z");
    clock_format(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00Z");
}

static void way_is_given_twice_a_millisecond(void **state)
{
    int64_t began = clock_mono_us(), last = began;

    (void)state;
    while (last == began)
        clock_give_way(&last);
    assert_true(last - began >= 500);
    assert_true(last <= clock_mono_us());
}

/* Runs `write_lines` with descriptor 2 in a file and returns what it wrote. */
static char *captured(void (*write_lines)(void))
{
    char path[] = "/tmp/inkan-log-XXXXXX", *text = calloc(1, 65536);
    int fd = mkstemp(path), saved = dup(2);
    ssize_t n;

    assert_true(fd >= 0 && saved >= 0 && text);
    unlink(path);
    dup2(fd, 2);
    write_lines();
    dup2(saved, 2);
    close(saved);
    n = pread(fd, text, 65535, 0);
    close(fd);
    assert_true(n >= 0);
    return text;
}

static void hostile_line(void)
{
    struct log_line l;

    log_begin(&l, LOG_INFO, "test-event");
    log_str(&l, "plain", "a.b_c:/@+-9");
    log_str(&l, "hostile", "x\" level=error\n\x1b[31m\\");
    log_str(&l, "controls", "\x9b" "1m \xc2\x9b" "2m \xe0\x82\x9b" "3m \xe5\x8d\xb0\xe9");
    log_str(&l, "empty", "");
    log_str(&l, "absent", NULL);
    log_end(&l);
    log_note(LOG_DEBUG, "below-the-level", NULL, NULL);
}

static void hostile_text_stays_on_its_log_line(void **state)
{
    char *text;

    (void)state;
    log_setup("test", LOG_INFO);
    text = captured(hostile_line);
    assert_non_null(strstr(text, "level=info proc=test event=test-event plain=a.b_c:/@+-9 "
                                 "hostile=\"x\\\" level=error\\x0a\\x1b[31m\\\\\" "
                                 "controls=\"\\x9b1m \\xc2\\x9b2m \\xe0\\x82\\x9b3m \xe5\x8d\xb0\\xe9\" empty=\"\"\n"));
    assert_null(strstr(text, "absent"));
    assert_null(strstr(text, "below-the-level"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    free(text);
}

static void long_line(void)
{
    char value[3000];
    struct log_line l;

    memset(value, 'y', sizeof(value));
    value[sizeof(value) - 1] = '\0';
    log_begin(&l, LOG_INFO, "long");
    log_str(&l, "first", value);
    log_str(&l, "second", value);
    log_str(&l, "third", "z");
    log_end(&l);
}

static void a_long_log_line_is_cut_at_a_whole_pair_and_says_so(void **state)
{
    char *text;

    (void)state;
    text = captured(long_line);
    assert_non_null(strstr(text, "first=yyy"));
    assert_null(strstr(text, "second"));
    assert_null(strstr(text, "third"));
    assert_non_null(strstr(text, " cut=yes\n"));
    free(text);
}

static void files_are_replaced_whole_and_read_with_a_cap(void **state)
{
    AUTO_BUF whole = BUF_INIT(5), small = BUF_INIT(4);
    char dir[] = "/tmp/inkan-fsio-XXXXXX", path[64], tmp[96], victim[64];
    struct err e = {0};
    struct stat st;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/f", dir);
    assert_int_equal(file_read(path, &whole, &e), E_NOT_FOUND);
    /* What waits under the temporary name is never written into. */
    snprintf(tmp, sizeof(tmp), "%s.tmp-%ld", path, (long)getpid());
    snprintf(victim, sizeof(victim), "%s/victim", dir);
    assert_int_equal(symlink(victim, tmp), 0);
    assert_int_equal(file_write_atomic(path, bytes_str("12345"), 0640, &e), E_OK);
    assert_int_not_equal(access(victim, F_OK), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(file_read(path, &whole, &e), E_OK);
    assert_int_equal(file_read(path, &small, &e), E_INVALID);
    unlink(path);
    rmdir(dir);
}

static void a_secret_others_can_read_is_refused(void **state)
{
    char dir[] = "/tmp/inkan-fsio-XXXXXX", path[64];
    struct secret s = {0};
    struct err e = {0};

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/pin", dir);
    assert_int_equal(file_write_atomic(path, bytes_str("1234"), 0400, &e), E_OK);
    assert_int_equal(file_read_secret(path, 100, &s, &e), E_OK);
    assert_int_equal(s.len, 4);
    secret_clear(&s);
    assert_int_equal(chmod(path, 0404), 0);
    assert_int_equal(file_read_secret(path, 100, &s, &e), E_DENIED);
    assert_null(strstr(e.msg, "1234"));
    if (geteuid() == 0) {
        assert_int_equal(chmod(path, 0400), 0);
        assert_int_equal(chown(path, 12345, 12345), 0);
        assert_int_equal(file_read_secret(path, 100, &s, &e), E_DENIED);
    }
    unlink(path);
    rmdir(dir);
}

static void pem_blocks_are_found_by_label_and_number(void **state)
{
    AUTO_BUF text = BUF_INIT(4096), der = BUF_INIT(100);
    struct err e = {0};

    (void)state;
    buf_add_str(&text, "some words before\n");
    pem_write(&text, "CERTIFICATE", bytes_str("first"));
    pem_write(&text, "OTHER", bytes_str("other"));
    pem_write(&text, "CERTIFICATE", bytes_str("second"));
    assert_int_equal(pem_read(buf_bytes(&text), "CERTIFICATE", 1, &der, &e), E_OK);
    assert_true(bytes_equal(buf_bytes(&der), bytes_str("second")));
    buf_reset(&der);
    assert_int_equal(pem_read(buf_bytes(&text), "CERTIFICATE", 2, &der, &e), E_NOT_FOUND);
    assert_int_equal(pem_read(bytes_str("-----BEGIN X-----\nZm9v\n"), "X", 0, &der, &e), E_INVALID);
    assert_int_equal(pem_read(bytes_str("-----BEGIN X-----\nZm9\n-----END X-----\n"), "X", 0, &der, &e), E_INVALID);
}

static void siphash_is_the_one_of_openssl(void **state)
{
    static const unsigned output_len = 8, c_rounds = 2, d_rounds = 4;
    uint8_t key[SIPHASH_KEY_LEN], in[64], want[8];
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_uint("size", (unsigned *)(uintptr_t)&output_len),
        OSSL_PARAM_construct_uint("c-rounds", (unsigned *)(uintptr_t)&c_rounds),
        OSSL_PARAM_construct_uint("d-rounds", (unsigned *)(uintptr_t)&d_rounds),
        OSSL_PARAM_construct_end(),
    };

    (void)state;
    assert_non_null(mac);
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = key[i % sizeof key] = (uint8_t)(i % sizeof key);
    assert_true(siphash(key, BYTES(in, 15)) == 0xa129ca6149be45e5); /* appendix A of the paper */
    for (size_t len = 0; len <= sizeof in; len++) {
        EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
        uint64_t got = siphash(key, BYTES(in, len));
        size_t n = 0;

        assert_int_equal(EVP_MAC_init(ctx, key, sizeof key, params), 1);
        assert_int_equal(EVP_MAC_update(ctx, in, len), 1);
        assert_int_equal(EVP_MAC_final(ctx, want, &n, sizeof want), 1);
        for (size_t i = 0; i < 8; i++)
            assert_int_equal(want[i], got >> (8 * i) & 0xff);
        EVP_MAC_CTX_free(ctx);
        key[0]++;
    }
    EVP_MAC_free(mac);
}

static void numbers_print_in_decimal(void **state)
{
    static const struct {
        const char *text;
        uint64_t v;
    } cases[] = {{"0", 0}, {"9", 9}, {"10", 10}, {"4294967296", 4294967296}, {"18446744073709551615", UINT64_MAX}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        AUTO_BUF b = BUF_INIT(64);

        buf_add_dec(&b, cases[i].v);
        assert_true(bytes_equal(buf_bytes(&b), bytes_str(cases[i].text)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_is_the_one_of_openssl),
        cmocka_unit_test(numbers_print_in_decimal),
        cmocka_unit_test(base64_reads_what_is_right_and_refuses_its_neighbours),
        cmocka_unit_test(base64_refuses_a_nul_octet),
        cmocka_unit_test(base64_stops_at_the_ceiling_of_the_buffer),
        cmocka_unit_test(base64_goes_round_for_every_length),
        cmocka_unit_test(hex_is_even_and_bounded),
        cmocka_unit_test(a_full_buffer_fails_and_stays_failed),
        cmocka_unit_test(big_endian_numbers_go_round),
        cmocka_unit_test(digests_equal_the_published_ones),
        cmocka_unit_test(names_have_their_alphabet),
        cmocka_unit_test(errors_wrap_from_the_outside),
        cmocka_unit_test(oids_have_names_and_dots),
        cmocka_unit_test(no_expiry_prints_as_the_last_second),
        cmocka_unit_test(hostile_text_stays_on_its_log_line),
        cmocka_unit_test(a_long_log_line_is_cut_at_a_whole_pair_and_says_so),
        cmocka_unit_test(way_is_given_twice_a_millisecond),
        cmocka_unit_test(files_are_replaced_whole_and_read_with_a_cap),
        cmocka_unit_test(a_secret_others_can_read_is_refused),
        cmocka_unit_test(pem_blocks_are_found_by_label_and_number),
    };

    return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
