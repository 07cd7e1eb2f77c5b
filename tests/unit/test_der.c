/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include "base/auto.h"
#include "base/der.h"
#include "base/derw.h"
#include "base/oid.h"

/* ---- the reader ---- */

enum reader { R_ANY, R_BOOL, R_NULL, R_INTEGER, R_UNSIGNED, R_U64, R_OID, R_BITS, R_TIME, R_ENUMERATED, R_OCTETS };

static bool read_with(enum reader reader, struct der *in)
{
    struct bytes b;
    struct der c;
    unsigned unused;
    uint64_t n;
    uint8_t tag;
    time_t t;
    bool flag;

    switch (reader) {
    case R_ANY:
        return der_take_any(in, &tag, &c, NULL);
    case R_BOOL:
        return der_take_bool(in, &flag);
    case R_NULL:
        return der_take_null(in);
    case R_INTEGER:
        return der_take_integer(in, &b);
    case R_UNSIGNED:
        return der_take_unsigned(in, &b);
    case R_U64:
        return der_take_u64(in, &n);
    case R_OID:
        return der_take_oid(in, &b);
    case R_BITS:
        return der_take_bits(in, &b, &unused);
    case R_TIME:
        return der_take_time(in, &t, &tag);
    case R_ENUMERATED:
        return der_take_enumerated(in, &n);
    case R_OCTETS:
        return der_take_octets(in, &b);
    }
    return false;
}

static void the_reader_takes_der_and_refuses_its_neighbours(void **state)
{
    static const struct {
        const char *name;
        enum reader reader;
        const char *octets; /* hex */
        bool good;
    } cases[] = {
        {"empty SEQUENCE", R_ANY, "3000", true},
        {"nothing at all", R_ANY, "", false},
        {"tag without length", R_ANY, "30", false},
        {"content one octet short", R_ANY, "040261", false},
        {"indefinite length", R_ANY, "30800000", false},
        {"short length in long form", R_ANY, "04810161", false},
        {"length with a leading zero", R_ANY, "0482000161", false},
        {"length of five octets", R_ANY, "0485000000000161", false},
        {"length above the input", R_ANY, "0484ffffffff61", false},
        {"length octets missing", R_ANY, "0482", false},
        {"reserved length 0xff", R_ANY, "04ff61", false},
        {"multi-octet tag", R_ANY, "1f810100", false},
        {"multi-octet context tag", R_ANY, "bf810100", false},
        {"end-of-contents tag", R_ANY, "0000", false},
        {"constructed OCTET STRING", R_ANY, "2403040161", false},
        {"primitive SEQUENCE", R_ANY, "1000", false},
        {"context tag 30", R_ANY, "9e00", true},
        {"true", R_BOOL, "0101ff", true},
        {"false", R_BOOL, "010100", true},
        {"boolean 0x01", R_BOOL, "010101", false},
        {"boolean of two octets", R_BOOL, "0102ffff", false},
        {"boolean of none", R_BOOL, "0100", false},
        {"NULL", R_NULL, "0500", true},
        {"NULL with content", R_NULL, "050100", false},
        {"zero", R_INTEGER, "020100", true},
        {"minus one", R_INTEGER, "0201ff", true},
        {"127 with a needless zero", R_INTEGER, "0202007f", false},
        {"128", R_INTEGER, "02020080", true},
        {"-128 with a needless 0xff", R_INTEGER, "0202ff80", false},
        {"-129", R_INTEGER, "0202ff7f", true},
        {"integer without content", R_INTEGER, "0200", false},
        {"unsigned 128", R_UNSIGNED, "02020080", true},
        {"unsigned -128", R_UNSIGNED, "020180", false},
        {"largest u64", R_U64, "020900ffffffffffffffff", true},
        {"one above u64", R_U64, "0209010000000000000000", false},
        {"ENUMERATED", R_ENUMERATED, "0a0101", true},
        {"INTEGER for ENUMERATED", R_ENUMERATED, "020101", false},
        {"negative ENUMERATED", R_ENUMERATED, "0a01ff", false},
        {"OID", R_OID, "0603550403", true},
        {"OID without content", R_OID, "0600", false},
        {"OID with a padded arc", R_OID, "060455048003", false},
        {"OID cut inside an arc", R_OID, "0603550483", false},
        {"bits", R_BITS, "030205a0", true},
        {"no bits", R_BITS, "030100", true},
        {"bits without the count", R_BITS, "0300", false},
        {"eight spare bits", R_BITS, "030208a0", false},
        {"spare bits set", R_BITS, "030205a1", false},
        {"spare bits of nothing", R_BITS, "030101", false},
        {"octets", R_OCTETS, "0400", true},
        {"UTCTime", R_TIME, "170d3235303130323033303430355a", true},
        {"UTCTime without seconds", R_TIME, "170b323530313032303330345a", false},
        {"UTCTime with an offset", R_TIME, "1711323530313032303330343035 2b30303030", false},
        {"UTCTime, month 13", R_TIME, "170d3235313330323033303430355a", false},
        {"UTCTime, 29 February 2025", R_TIME, "170d3235303232393033303430355a", false},
        {"UTCTime, 29 February 2024", R_TIME, "170d3234303232393033303430355a", true},
        {"UTCTime, 24 o'clock", R_TIME, "170d3235303130323234303430355a", false},
        {"UTCTime, second 60", R_TIME, "170d3235303130323033303436305a", false},
        {"UTCTime, a space for a digit", R_TIME, "170d3235303130322033303430355a", false},
        {"GeneralizedTime", R_TIME, "180f32303530303130323033303430355a", true},
        {"GeneralizedTime with a fraction", R_TIME, "181132303530303130323033303430352e355a", false},
        {"GeneralizedTime in lower case", R_TIME, "180f32303530303130323033303430357a", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t raw[64];
        size_t n = 0;
        struct der in;
        char text[128] = "";

        for (const char *p = cases[i].octets; *p; p++)
            if (*p != ' ')
                strncat(text, p, 1);
        print_message("  %s\n", cases[i].name);
        assert_true(hex_decode(text, strlen(text), raw, sizeof(raw), &n));
        der_init(&in, raw, n);
        assert_int_equal(read_with(cases[i].reader, &in), cases[i].good);
        /* Taken whole, or left where it was. */
        assert_int_equal(in.len, cases[i].good ? 0 : n);
        assert_int_equal(in.offset, cases[i].good ? n : 0);
        if (cases[i].good)
            assert_true(der_is_one_element(BYTES(raw, n), raw[0]));
    }
}

static void one_element_has_no_trailing_octet(void **state)
{
    (void)state;
    assert_true(der_is_one_element(BYTES("\x30\x00", 2), DER_SEQUENCE));
    assert_false(der_is_one_element(BYTES("\x30\x00\x00", 3), DER_SEQUENCE));
    assert_false(der_is_one_element(BYTES("\x31\x00", 2), DER_SEQUENCE));
}

static void an_absent_optional_is_fine_and_a_broken_one_is_not(void **state)
{
    struct der in, c;
    bool present = true;

    (void)state;
    der_init(&in, (const uint8_t *)"\x02\x01\x05", 3);
    assert_true(der_take_optional(&in, DER_CONTEXT_CONSTRUCTED(0), &c, &present));
    assert_false(present);
    assert_int_equal(in.len, 3);
    der_init(&in, (const uint8_t *)"\xa0\x05\x05", 3);
    assert_false(der_take_optional(&in, DER_CONTEXT_CONSTRUCTED(0), &c, &present));
}

static void offsets_count_from_the_outermost_octet(void **state)
{
    struct der in, seq, inner;

    (void)state;
    der_init(&in, (const uint8_t *)"\x05\x00\x30\x04\x04\x02\x61\x62", 8);
    assert_true(der_take_null(&in));
    assert_true(der_take(&in, DER_SEQUENCE, &seq));
    assert_int_equal(seq.offset, 4);
    assert_true(der_take(&seq, DER_OCTET_STRING, &inner));
    assert_int_equal(inner.offset, 6);
}

/* ---- the writer against OpenSSL ---- */

static void integers_read_back_by_openssl(void **state)
{
    static const uint64_t values[] = {0, 1, 127, 128, 255, 256, 32767, 32768, UINT32_MAX, INT64_MAX, UINT64_MAX};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        AUTO_BUF out = BUF_INIT(64);
        struct derw w;
        struct der in;
        const uint8_t *p;
        ASN1_INTEGER *read;
        uint64_t back = 0;
        uint8_t *again = NULL;
        int n;

        derw_init(&w, &out);
        derw_u64(&w, values[i]);
        assert_true(derw_finish(&w));
        der_init(&in, out.p, out.len);
        assert_true(der_take_u64(&in, &back) && der_at_end(&in));
        assert_true(back == values[i]);
        p = out.p;
        read = d2i_ASN1_INTEGER(NULL, &p, (long)out.len);
        assert_non_null(read);
        assert_int_equal(ASN1_INTEGER_get_uint64(&back, read), 1);
        assert_true(back == values[i]);
        n = i2d_ASN1_INTEGER(read, &again);
        assert_int_equal(n, out.len);
        assert_memory_equal(again, out.p, out.len);
        OPENSSL_free(again);
        ASN1_INTEGER_free(read);
    }
}

static void leading_zeros_of_a_magnitude_are_dropped(void **state)
{
    static const uint8_t magnitude[] = {0, 0, 0x80, 1};
    AUTO_BUF out = BUF_INIT(64);
    struct derw w;

    (void)state;
    derw_init(&w, &out);
    derw_unsigned(&w, BYTES_OF(magnitude));
    assert_true(bytes_equal(buf_bytes(&out), BYTES("\x02\x03\x00\x80\x01", 5)));
}

static void times_read_back_by_openssl_and_change_form_in_2050(void **state)
{
    static const struct {
        time_t t;
        const char *text;
    } cases[] = {{0, "700101000000Z"},
                 {951782400, "000229000000Z"},
                 {2524607999, "491231235959Z"},
                 {2524608000, "20500101000000Z"},
                 {TIME_NO_EXPIRY, "99991231235959Z"}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_BUF out = BUF_INIT(64);
        struct derw w;
        struct der in;
        const uint8_t *p;
        ASN1_TIME *read;
        struct tm tm;
        time_t back = 1;
        uint8_t tag;

        derw_init(&w, &out);
        derw_time(&w, cases[i].t);
        assert_true(derw_finish(&w));
        der_init(&in, out.p, out.len);
        assert_true(der_take_time(&in, &back, &tag));
        assert_true(back == cases[i].t);
        p = out.p;
        read = d2i_ASN1_TIME(NULL, &p, (long)out.len);
        assert_non_null(read);
        assert_string_equal((const char *)ASN1_STRING_get0_data(read), cases[i].text);
        assert_int_equal(ASN1_TIME_to_tm(read, &tm), 1);
        assert_true(timegm(&tm) == cases[i].t);
        ASN1_TIME_free(read);
    }
}

static void every_year_from_0000_to_9999_is_read_as_it_was_written(void **state)
{
    static const char *const days[] = {"0101", "0228", "0301", "1231"};

    (void)state;
    for (int year = 0; year <= 9999; year++) {
        for (size_t i = 0; i < ARRAY_LEN(days); i++) {
            struct tm tm = {.tm_year = year - 1900, .tm_mon = (days[i][0] - '0') * 10 + days[i][1] - '1',
                            .tm_mday = (days[i][2] - '0') * 10 + days[i][3] - '0'};
            AUTO_BUF out = BUF_INIT(64);
            char text[40];
            struct derw w;
            struct der in;
            time_t read = 1;
            uint8_t tag;
            size_t n = (size_t)snprintf(text + 2, sizeof(text) - 2, "%04d%s000000Z", year, days[i]);

            text[0] = DER_GENERALIZED_TIME;
            text[1] = (char)n;
            der_init(&in, (const uint8_t *)text, n + 2);
            if (!der_take_time(&in, &read, &tag) || read != timegm(&tm))
                fail_msg("%s is read as %lld, not %lld", text + 2, (long long)read, (long long)timegm(&tm));
            derw_init(&w, &out);
            derw_gentime(&w, read);
            assert_true(derw_finish(&w));
            assert_true(bytes_equal(buf_bytes(&out), BYTES((const uint8_t *)text, n + 2)));
        }
    }
}

static void a_time_after_9999_fails(void **state)
{
    AUTO_BUF out = BUF_INIT(64);
    struct derw w;

    (void)state;
    derw_init(&w, &out);
    derw_time(&w, (time_t)TIME_NO_EXPIRY + 1);
    assert_false(derw_finish(&w));
}

static void named_bits_equal_openssl(void **state)
{
    static const uint32_t sets[] = {0, 1, 1 << 5 | 1 << 6, 1 << 7, 1 << 8, 1 | 1 << 8, 0x7f};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        AUTO_BUF out = BUF_INIT(64);
        ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
        struct derw w;
        uint8_t *der = NULL;
        int n;

        for (int b = 0; b < 32; b++)
            if (sets[i] >> b & 1)
                assert_int_equal(ASN1_BIT_STRING_set_bit(bits, b, 1), 1);
        n = i2d_ASN1_BIT_STRING(bits, &der);
        derw_init(&w, &out);
        derw_named_bits(&w, sets[i]);
        assert_int_equal(n, out.len);
        assert_memory_equal(der, out.p, out.len);
        OPENSSL_free(der);
        ASN1_BIT_STRING_free(bits);
    }
}

static void lengths_around_every_step_go_round(void **state)
{
    static const size_t lengths[] = {0, 1, 127, 128, 255, 256, 65535, 65536};
    static uint8_t content[65536];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        AUTO_BUF out = BUF_INIT(200000);
        const uint8_t *p;
        ASN1_OCTET_STRING *read;
        struct derw w;
        struct der in, seq, set;
        struct bytes back;

        derw_init(&w, &out);
        derw_begin(&w, DER_SEQUENCE);
        derw_begin(&w, DER_SET);
        derw_octets(&w, BYTES(content, lengths[i]));
        derw_end(&w);
        derw_end(&w);
        assert_true(derw_finish(&w));
        der_init(&in, out.p, out.len);
        assert_true(der_take(&in, DER_SEQUENCE, &seq) && der_at_end(&in));
        assert_true(der_take(&seq, DER_SET, &set) && der_at_end(&seq));
        p = set.p;
        assert_true(der_take_octets(&set, &back) && der_at_end(&set));
        assert_int_equal(back.len, lengths[i]);
        read = d2i_ASN1_OCTET_STRING(NULL, &p, out.p + out.len - p);
        assert_non_null(read);
        assert_int_equal(ASN1_STRING_length(read), lengths[i]);
        ASN1_OCTET_STRING_free(read);
    }
}

static void a_name_reads_back_by_openssl(void **state)
{
    AUTO_BUF out = BUF_INIT(1000);
    const uint8_t *p;
    struct derw w;
    X509_NAME *name;
    char text[200];

    (void)state;
    derw_init(&w, &out);
    derw_begin(&w, DER_SEQUENCE);
    derw_begin(&w, DER_SET);
    derw_begin(&w, DER_SEQUENCE);
    derw_oid(&w, OID_O);
    derw_utf8(&w, "Müller");
    derw_end(&w);
    derw_end(&w);
    derw_begin(&w, DER_SET);
    derw_begin(&w, DER_SEQUENCE);
    derw_oid(&w, OID_SERIAL_NUMBER);
    derw_printable(&w, "unit-7");
    derw_end(&w);
    derw_end(&w);
    derw_end(&w);
    assert_true(derw_finish(&w));
    p = out.p;
    name = d2i_X509_NAME(NULL, &p, (long)out.len);
    assert_non_null(name);
    assert_ptr_equal(p, out.p + out.len);
    assert_int_equal(X509_NAME_get_text_by_NID(name, NID_serialNumber, text, sizeof(text)), 6);
    assert_string_equal(text, "unit-7");
    X509_NAME_free(name);
}

static void signature_algorithms_read_back_by_openssl(void **state)
{
    static const struct {
        enum sig_alg alg;
        int nid, parameters;
    } cases[] = {{SIG_RSA_SHA256, NID_sha256WithRSAEncryption, V_ASN1_NULL},
                 {SIG_ECDSA_SHA256, NID_ecdsa_with_SHA256, V_ASN1_UNDEF},
                 {SIG_ECDSA_SHA384, NID_ecdsa_with_SHA384, V_ASN1_UNDEF},
                 {SIG_ED25519, NID_ED25519, V_ASN1_UNDEF}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bytes der = sig_alg_der(cases[i].alg);
        const uint8_t *p = der.p;
        X509_ALGOR *alg = d2i_X509_ALGOR(NULL, &p, (long)der.len);
        const ASN1_OBJECT *obj;
        int type;

        assert_non_null(alg);
        X509_ALGOR_get0(&obj, &type, NULL, alg);
        assert_int_equal(OBJ_obj2nid(obj), cases[i].nid);
        assert_int_equal(type, cases[i].parameters);
        X509_ALGOR_free(alg);
    }
    assert_int_equal(sig_alg_der(SIG_NONE).len, 0);
}

static void every_listed_oid_is_well_formed(void **state)
{
#define OID_ROW(name, text, ...) &name,
    static const struct bytes *const all[] = {OID_LIST(OID_ROW)};
#undef OID_ROW

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        AUTO_BUF out = BUF_INIT(64);
        char ours[80], theirs[80];
        const uint8_t *p;
        ASN1_OBJECT *obj;
        struct derw w;
        struct der in;
        struct bytes back;

        derw_init(&w, &out);
        derw_oid(&w, *all[i]);
        der_init(&in, out.p, out.len);
        assert_true(der_take_oid(&in, &back));
        p = out.p;
        obj = d2i_ASN1_OBJECT(NULL, &p, (long)out.len);
        assert_non_null(obj);
        oid_format(*all[i], ours, sizeof(ours));
        OBJ_obj2txt(theirs, sizeof(theirs), obj, 1);
        assert_string_equal(ours, theirs);
        ASN1_OBJECT_free(obj);
        for (size_t j = 0; j < i; j++)
            assert_false(bytes_equal(*all[i], *all[j]));
    }
}

static void an_unbalanced_writer_does_not_finish(void **state)
{
    AUTO_BUF open = BUF_INIT(100), closed = BUF_INIT(100), deep = BUF_INIT(100), full = BUF_INIT(3);
    struct derw w;

    (void)state;
    derw_init(&w, &open);
    derw_begin(&w, DER_SEQUENCE);
    assert_false(derw_finish(&w));
    derw_init(&w, &closed);
    derw_end(&w);
    assert_false(derw_finish(&w));
    derw_init(&w, &deep);
    for (int i = 0; i < DERW_DEPTH; i++)
        derw_begin(&w, DER_SEQUENCE);
    assert_true(buf_ok(&deep));
    derw_begin(&w, DER_SEQUENCE);
    assert_false(buf_ok(&deep));
    derw_init(&w, &full);
    derw_begin(&w, DER_SEQUENCE);
    derw_null(&w);
    derw_end(&w);
    assert_false(derw_finish(&w));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reader_takes_der_and_refuses_its_neighbours),
        cmocka_unit_test(one_element_has_no_trailing_octet),
        cmocka_unit_test(an_absent_optional_is_fine_and_a_broken_one_is_not),
        cmocka_unit_test(offsets_count_from_the_outermost_octet),
        cmocka_unit_test(integers_read_back_by_openssl),
        cmocka_unit_test(leading_zeros_of_a_magnitude_are_dropped),
        cmocka_unit_test(times_read_back_by_openssl_and_change_form_in_2050),
        cmocka_unit_test(every_year_from_0000_to_9999_is_read_as_it_was_written),
        cmocka_unit_test(a_time_after_9999_fails),
        cmocka_unit_test(named_bits_equal_openssl),
        cmocka_unit_test(lengths_around_every_step_go_round),
        cmocka_unit_test(a_name_reads_back_by_openssl),
        cmocka_unit_test(signature_algorithms_read_back_by_openssl),
        cmocka_unit_test(every_listed_oid_is_well_formed),
        cmocka_unit_test(an_unbalanced_writer_does_not_finish),
    };

    return cmocka_run_group_tests_name("der", tests, NULL, NULL);
}
