/* SPDX-License-Identifier: Apache-2.0 */
/* Public keys as strangers send them, and signatures under them. */
#include "pki_util.h"

#include "ca/csr.h"

#define EC_OID  "06072a8648ce3d0201"
#define P256    "06082a8648ce3d030107"
#define P384    "06052b81040022"
#define EC256   "30{" EC_OID P256 "}"
#define EC384   "30{" EC_OID P384 "}"
#define RSA_ALG "30{06092a864886f70d010101 0500}"
/* A modulus of two primes k * M + 65537^a mod M, M the product of the first 126 primes. */
#define ROCA \
    "b479d7a66bc4023665c8a37bed3ff57f1c40ea75c4efe729a9339fa8b80e36950959d93d44d0ecf9b81fdbe36bac97005ec64e41" \
    "3f4546a128c6ce3db6b99c16d31e6a6ec42cce9b8794a769dc54471e7be512692954a952d1d493ae35a37e090bd69d1ffb0279c7" \
    "1a59b7c0f0994ec6d4dd80764bf18a2c46d805fa0d6d7e5efa5f5444c1d0a3ed3c335370806dd325d152e09a4a28e94ea944c2cf" \
    "77774a2da22db86a8d3dc77cb40752e124660900dad3e414267b5f1660b229fe4f7f1e58f1dbf3cb9aa3fe71ed02a6c21b0054cf" \
    "90b4e2de35de3dde86174562fbcb8686fe043153f60f87324d98dfd98fa5820e05c807eff66abd287430b03ad75d4be7"
#define EDWARDS "30{06032b6570}"
/* blobs: a uncompressed, b compressed, c hybrid point of one P-256 key; d P-384 uncompressed; e Ed25519 octets;
 * f the whole P-256 SPKI; m, n RSA modulus of 2048, 4096 bits as INTEGERs; k of 2047, l of 4097, o even; p explicit
 * parameters of P-256; q the y of another point; r a multiple of 3, s of the library in CVE-2017-15361. */

static const struct {
    const char *name;
    const char *good, *bad;
    const char *says;
} cases[] = {
    {"a compressed point is taken, one of form 05 is not", "30{" EC256 "03{00@b}}", "30{" EC256 "03{0005@q}}", "form 05"},
    {"a hybrid point is refused", "30{" EC256 "03{00@a}}", "30{" EC256 "03{00@c}}", "point form 0"},
    {"infinity is refused", "30{" EC256 "03{00@a}}", "30{" EC256 "03{0000}}", "form 00"},
    {"an empty point is refused", "30{" EC256 "03{00@a}}", "30{" EC256 "03{00}}", "form 00"},
    {"a point off the curve is refused", "30{" EC256 "03{00@a}}", "30{" EC256 "03{0004(07*64)}}", "not on the curve"},
    {"coordinates above the field are refused", "30{" EC256 "03{00@a}}", "30{" EC256 "03{0004(ff*64)}}",
     "not on the curve"},
    {"a compressed x without y is refused", "30{" EC256 "03{00@b}}", "30{" EC256 "03{0002(ff*32)}}", "not on the curve"},
    {"a point one octet short is refused", "30{" EC256 "03{00@a}}", "30{" EC256 "!03{00@a}}", "SubjectPublicKeyInfo"},
    {"a point of 63 coordinate octets is refused", "30{" EC256 "03{00@a}}", "30{" EC256 "03{0004(07*63)}}", "64 octets"},
    {"a point one octet long is refused", "30{" EC256 "03{00@a}}", "30{" EC256 "03{00@a 00}}", "66 octets"},
    {"a P-384 point under P-256 is refused", "30{" EC384 "03{00@d}}", "30{" EC256 "03{00@d}}", "97 octets"},
    {"unused bits are refused", "30{" EC256 "03{00@a}}", "30{" EC256 "03{01 04(00*64)}}", "unused"},
    {"no parameters are refused", "30{" EC256 "03{00@a}}", "30{30{" EC_OID "}03{00@a}}", "no curve"},
    {"implicit parameters are refused", "30{" EC256 "03{00@a}}", "30{30{" EC_OID "0500}03{00@a}}", "implicit"},
    {"explicit parameters are refused", "30{" EC256 "03{00@a}}", "30{30{" EC_OID "@p}03{00@a}}", "explicit"},
    {"two curves are refused", "30{" EC256 "03{00@a}}", "30{30{" EC_OID P256 P384 "}03{00@a}}", "one namedCurve"},
    {"secp256k1 is refused", "30{" EC256 "03{00@a}}", "30{30{" EC_OID "06052b8104000a}03{00@a}}", "1.3.132.0.10"},
    {"P-521 is refused", "30{" EC384 "03{00@d}}", "30{30{" EC_OID "06052b81040023}03{0004(01*132)}}", "1.3.132.0.35"},
    {"Ed25519 with NULL parameters is refused", "30{" EDWARDS "03{00@e}}", "30{30{06032b65700500}03{00@e}}", "parameters"},
    {"Ed25519 of 31 octets is refused", "30{" EDWARDS "03{00@e}}", "30{" EDWARDS "03{00(01*31)}}", "31 octets"},
    {"Ed25519 of 33 octets is refused", "30{" EDWARDS "03{00@e}}", "30{" EDWARDS "03{00@e 00}}", "33 octets"},
    {"Ed25519 of order 1 is refused", "30{" EDWARDS "03{00@e}}", "30{" EDWARDS "03{00 01(00*31)}}", "small order"},
    {"Ed25519 of order 2 is refused", "30{" EDWARDS "03{00@e}}", "30{" EDWARDS "03{00 ec(ff*30)7f}}", "small order"},
    {"Ed25519 of order 4 is refused", "30{" EDWARDS "03{00@e}}", "30{" EDWARDS "03{00 (00*31)80}}", "small order"},
    {"Ed25519 of order 8 is refused", "30{" EDWARDS "03{00@e}}",
     "30{" EDWARDS "03{00 c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a}}", "small order"},
    {"Ed25519 of order 8, negative, is refused", "30{" EDWARDS "03{00@e}}",
     "30{" EDWARDS "03{00 26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85}}", "small order"},
    {"Ed25519 of order 1 written as p + 1 is refused", "30{" EDWARDS "03{00@e}}", "30{" EDWARDS "03{00 ee(ff*31)}}",
     "small order"},
    {"Ed448 is refused", "30{" EDWARDS "03{00@e}}", "30{30{06032b6571}03{00(01*57)}}", "not RSA"},
    {"X25519 is refused", "30{" EDWARDS "03{00@e}}", "30{30{06032b656e}03{00@e}}", "not RSA"},
    {"DSA is refused", "30{" EDWARDS "03{00@e}}", "30{30{06072a8648ce380401 30{}}03{00@e}}", "not RSA"},
    {"id-RSASSA-PSS is refused", "30{" RSA_ALG "03{00 30{@m 0203010001}}}", "30{30{06092a864886f70d01010a}03{00 30{@m 0203010001}}}",
     "not RSA"},
    {"RSA without parameters is refused", "30{" RSA_ALG "03{00 30{@m 0203010001}}}",
     "30{30{06092a864886f70d010101}03{00 30{@m 0203010001}}}", "NULL"},
    {"RSA of 2047 bits is refused", "30{" RSA_ALG "03{00 30{@m 0203010001}}}", "30{" RSA_ALG "03{00 30{@k 0203010001}}}",
     "2047 bits"},
    {"RSA of 4097 bits is refused", "30{" RSA_ALG "03{00 30{@n 0203010001}}}", "30{" RSA_ALG "03{00 30{@l 0203010001}}}",
     "4097 bits"},
    {"an even modulus is refused", "30{" RSA_ALG "03{00 30{@m 0203010001}}}", "30{" RSA_ALG "03{00 30{@o 0203010001}}}",
     "even modulus"},
    {"a modulus with a small factor is refused", "30{" RSA_ALG "03{00 30{@m 0203010001}}}",
     "30{" RSA_ALG "03{00 30{@r 0203010001}}}", "factor below 752"},
    {"a ROCA key is refused", "30{" RSA_ALG "03{00 30{@m 0203010001}}}", "30{" RSA_ALG "03{00 30{@s 0203010001}}}", "ROCA"},
    {"a zero modulus is refused", "30{" RSA_ALG "03{00 30{@m 0203010001}}}", "30{" RSA_ALG "03{00 30{020100 0203010001}}}",
     "0 bits"},
    {"a negative modulus is refused", "30{" RSA_ALG "03{00 30{@m 0203010001}}}",
     "30{" RSA_ALG "03{00 30{02{(81*256)} 0203010001}}}", "RFC 8017"},
    {"e = 1 is refused", "30{" RSA_ALG "03{00 30{@m 0203010001}}}", "30{" RSA_ALG "03{00 30{@m 020101}}}", "exponent"},
    {"e = 0 is refused", "30{" RSA_ALG "03{00 30{@m 0203010001}}}", "30{" RSA_ALG "03{00 30{@m 020100}}}", "exponent"},
    {"e = 3 is refused", "30{" RSA_ALG "03{00 30{@m 0203010001}}}", "30{" RSA_ALG "03{00 30{@m 020103}}}", "exponent"},
    {"e = 65535 is refused", "30{" RSA_ALG "03{00 30{@m 0203010001}}}", "30{" RSA_ALG "03{00 30{@m 020300ffff}}}",
     "exponent"},
    {"e = 65538 is refused", "30{" RSA_ALG "03{00 30{@m 0203010003}}}", "30{" RSA_ALG "03{00 30{@m 0203010002}}}",
     "exponent"},
    {"e = 2^256 + 1 is refused", "30{" RSA_ALG "03{00 30{@m 022100(ff*32)}}}", "30{" RSA_ALG "03{00 30{@m 022101(00*31)01}}}",
     "exponent"},
    {"a negative exponent is refused", "30{" RSA_ALG "03{00 30{@m 0203010001}}}", "30{" RSA_ALG "03{00 30{@m 0203ff0001}}}",
     "RFC 8017"},
    {"a modulus that is not minimal is refused", "30{" RSA_ALG "03{00 30{@m 0203010001}}}",
     "30{" RSA_ALG "03{00 30{02{0000(81*256)} 0203010001}}}", "RFC 8017"},
    {"a third number is refused", "30{" RSA_ALG "03{00 30{@m 0203010001}}}",
     "30{" RSA_ALG "03{00 30{@m 0203010001 020100}}}", "RFC 8017"},
    {"octets behind the RSA key are refused", "30{" RSA_ALG "03{00 30{@m 0203010001}}}",
     "30{" RSA_ALG "03{00 30{@m 0203010001}00}}", "RFC 8017"},
    {"octets behind the SPKI are refused", "@f", "@f 00", "SubjectPublicKeyInfo"},
    {"a third field is refused", "@f", "30{" EC256 "03{00@a}0500}", "SubjectPublicKeyInfo"},
    {"an OCTET STRING key is refused", "@f", "30{" EC256 "04{00@a}}", "SubjectPublicKeyInfo"},
    {"indefinite length is refused", "@f", "3080" EC256 "03{00@a}0000", "SubjectPublicKeyInfo"},
    {"an SPKI above 8 KiB is refused", "@f", "30{" EC256 "03{00(01*8192)}}", "at most 8192"},
};

static struct bytes blobs[26];
static struct buf store[26];

static void blob(char name, const char *text)
{
    struct buf *b = &store[name - 'a'];

    *b = BUF_INIT(1 << 16);
    der_text(text, blobs, b);
    blobs[name - 'a'] = buf_bytes(b);
}

static void point_blob(char name, EVP_PKEY *key, const char *form)
{
    EVP_PKEY *copy = EVP_PKEY_dup(key);
    uint8_t point[200];
    size_t n;

    assert_int_equal(EVP_PKEY_set_utf8_string_param(copy, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, form), 1);
    assert_int_equal(EVP_PKEY_get_octet_string_param(copy, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &n), 1);
    store[name - 'a'] = BUF_INIT(256);
    buf_add(&store[name - 'a'], point, n);
    blobs[name - 'a'] = buf_bytes(&store[name - 'a']);
    EVP_PKEY_free(copy);
}

static int setup(void **state)
{
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    unsigned char *params = NULL;
    uint8_t raw[32];
    size_t n = sizeof raw;

    (void)state;
    point_blob('a', test_key(KEY_P256), "uncompressed");
    point_blob('b', test_key(KEY_P256), "compressed");
    point_blob('d', test_key(KEY_P384), "uncompressed");
    point_blob('c', test_key(KEY_P256), "hybrid");
    assert_int_equal(EVP_PKEY_get_raw_public_key(test_key(KEY_ED25519), raw, &n), 1);
    store[4] = BUF_INIT(64);
    buf_add(&store[4], raw, n);
    blobs[4] = buf_bytes(&store[4]);
    blob('f', "30{" EC256 "03{00@a}}");
    blob('m', "02{00(81*254)819d}");
    blob('n', "02{00(81*510)819d}");
    blob('r', "02{00(81*256)}");
    blob('s', "02{00" ROCA "}");
    blob('k', "02{(7f*256)}");
    blob('l', "02{01(81*512)}");
    blob('o', "02{00(81*255)80}");
    blob('q', "(01*32)");
    EC_GROUP_set_asn1_flag(group, OPENSSL_EC_EXPLICIT_CURVE);
    n = (size_t)i2d_ECPKParameters(group, &params);
    store['p' - 'a'] = BUF_INIT(1024);
    buf_add(&store['p' - 'a'], params, n);
    blobs['p' - 'a'] = buf_bytes(&store['p' - 'a']);
    OPENSSL_free(params);
    EC_GROUP_free(group);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(store); i++)
        buf_clear(&store[i]);
    test_keys_free();
    return 0;
}

static void hostile_keys_are_refused_and_their_neighbours_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf good = BUF_INIT(1 << 16), bad = BUF_INIT(1 << 16);
        struct pubkey key;
        struct err e = {.code = E_OK};

        der_text(cases[i].good, blobs, &good);
        if (pubkey_read(buf_bytes(&good), &key, &e) != E_OK)
            fail_msg("neighbour of \"%s\": %s", cases[i].name, e.msg);
        der_text(cases[i].bad, blobs, &bad);
        enum err_code code = pubkey_read(buf_bytes(&bad), &key, &e);
        if (code != E_INVALID || !strstr(e.msg, cases[i].says))
            fail_msg("\"%s\": code %d, %s", cases[i].name, (int)code, e.msg);
        assert_int_equal(key.alg, KEY_NONE);
        buf_clear(&good);
        buf_clear(&bad);
    }
}

static void keys_are_named_and_hashed(void **state)
{
    static const enum key_alg algs[] = {KEY_P256, KEY_P384, KEY_RSA2048, KEY_RSA3072, KEY_RSA4096, KEY_ED25519};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
        struct buf spki = BUF_INIT(4096);
        uint8_t hash[32];
        struct pubkey key;

        pkey_spki(test_key(algs[i]), &spki);
        assert_int_equal(pubkey_read(buf_bytes(&spki), &key, NULL), E_OK);
        assert_int_equal(key.alg, algs[i]);
        assert_ptr_equal(key.spki.p, spki.p);
        assert_ptr_equal(key.key_bits.p + key.key_bits.len, spki.p + spki.len);
        sha256(buf_bytes(&spki), hash);
        assert_memory_equal(hash, key.spki_hash, 32);
        buf_clear(&spki);
    }
}

static void compressed_keys_verify(void **state)
{
    struct buf spki = BUF_INIT(256), sig = BUF_INIT(256);
    static const uint8_t alg[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
    struct pubkey key;

    (void)state;
    der_text("30{" EC256 "03{00@b}}", blobs, &spki);
    assert_int_equal(pubkey_read(buf_bytes(&spki), &key, NULL), E_OK);
    pkey_sign(test_key(KEY_P256), "SHA256", bytes_str("hello"), &sig);
    assert_true(pubkey_verifies(&key, BYTES_OF(alg), bytes_str("hello"), buf_bytes(&sig)));
    assert_false(pubkey_verifies(&key, BYTES_OF(alg), bytes_str("hellp"), buf_bytes(&sig)));
    assert_false(pubkey_verifies(&key, BYTES_OF(alg), bytes_str("hello"), BYTES(sig.p, sig.len - 1)));
    assert_false(pubkey_verifies(&key, BYTES_OF(alg), bytes_str("hello"), BYTES(NULL, 0)));
    assert_false(pubkey_verifies(&key, BYTES(alg, sizeof alg - 1), bytes_str("hello"), buf_bytes(&sig)));
    assert_int_equal(ERR_peek_error(), 0);
    buf_clear(&spki);
    buf_clear(&sig);
}

/* Keys of one curve pass through one object: none may answer for another, whatever came before. */
static void each_key_verifies_only_its_own_signatures(void **state)
{
    static const uint8_t alg[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
    EVP_PKEY *pkey[2] = {EVP_EC_gen("P-256"), EVP_EC_gen("P-256")};
    struct buf spki[2] = {BUF_INIT(256), BUF_INIT(256)}, sig[2] = {BUF_INIT(256), BUF_INIT(256)};
    struct pubkey key[2], off_curve;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        pkey_spki(pkey[i], &spki[i]);
        pkey_sign(pkey[i], "SHA256", bytes_str("hello"), &sig[i]);
        assert_int_equal(pubkey_read(buf_bytes(&spki[i]), &key[i], NULL), E_OK);
    }
    for (size_t i = 0; i < 8; i++) {
        size_t a = i & 1, b = i >> 1 & 1;

        assert_int_equal(pubkey_verifies(&key[a], BYTES_OF(alg), bytes_str("hello"), buf_bytes(&sig[b])), a == b);
        /* A point that cannot be set must not leave the one before in its place. */
        uint8_t bad[65] = {0x04, 7};

        off_curve = key[a];
        off_curve.key_bits = BYTES_OF(bad);
        assert_false(pubkey_verifies(&off_curve, BYTES_OF(alg), bytes_str("hello"), buf_bytes(&sig[a])));
    }
    for (size_t i = 0; i < 2; i++) {
        buf_clear(&spki[i]);
        buf_clear(&sig[i]);
        EVP_PKEY_free(pkey[i]);
    }
}

static void one_point_has_one_hash_in_either_form(void **state)
{
    struct buf full = BUF_INIT(256), compressed = BUF_INIT(256);
    struct pubkey a, b;

    (void)state;
    der_text("30{" EC256 "03{00@a}}", blobs, &full);
    der_text("30{" EC256 "03{00@b}}", blobs, &compressed);
    assert_int_equal(pubkey_read(buf_bytes(&full), &a, NULL), E_OK);
    assert_int_equal(pubkey_read(buf_bytes(&compressed), &b, NULL), E_OK);
    assert_false(bytes_equal(a.spki, b.spki));
    assert_memory_equal(a.spki_hash, b.spki_hash, 32);
    assert_int_equal(pubkey_identify(buf_bytes(&compressed), &b, NULL), E_OK);
    assert_int_equal(b.alg, KEY_P256);
    assert_memory_equal(a.spki_hash, b.spki_hash, 32);
    assert_int_equal(pubkey_identify(bytes_str("no key"), &b, NULL), E_OK);
    assert_int_equal(b.alg, KEY_NONE);
    assert_memory_not_equal(a.spki_hash, b.spki_hash, 32);
    buf_clear(&full);
    buf_clear(&compressed);
}

static void signatures_fit_their_algorithm_and_nothing_else(void **state)
{
    static const struct {
        const char *name;
        enum key_alg alg;
        const char *md, *sig_alg;
        bool good;
    } rows[] = {
        {"RSA SHA-256", KEY_RSA2048, "SHA256", "30{06092a864886f70d01010b0500}", true},
        {"RSA SHA-512, parameters absent", KEY_RSA2048, "SHA512", "30{06092a864886f70d01010d}", true},
        {"RSA with other parameters", KEY_RSA2048, "SHA256", "30{06092a864886f70d01010b30{}}", false},
        {"RSA with NULL twice", KEY_RSA2048, "SHA256", "30{06092a864886f70d01010b05000500}", false},
        {"RSA SHA-1", KEY_RSA2048, "SHA1", "30{06092a864886f70d0101050500}", false},
        {"RSA MD5", KEY_RSA2048, "MD5", "30{06092a864886f70d0101040500}", false},
        {"RSA under the OID of SHA-384", KEY_RSA2048, "SHA256", "30{06092a864886f70d01010c0500}", false},
        {"ECDSA SHA-384", KEY_P384, "SHA384", "30{06082a8648ce3d040303}", true},
        {"ECDSA SHA-224", KEY_P384, "SHA224", "30{06082a8648ce3d040301}", false},
        {"ECDSA under RSA's OID", KEY_P384, "SHA256", "30{06092a864886f70d01010b0500}", false},
        {"Ed25519", KEY_ED25519, NULL, "30{06032b6570}", true},
        {"Ed25519 with NULL", KEY_ED25519, NULL, "30{06032b65700500}", false},
        {"Ed25519 under ECDSA's OID", KEY_ED25519, NULL, "30{06082a8648ce3d040302}", false},
        {"the OID alone", KEY_ED25519, NULL, "06032b6570", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf spki = BUF_INIT(4096), sig = BUF_INIT(1024), alg = BUF_INIT(64);
        struct pubkey key;

        pkey_spki(test_key(rows[i].alg), &spki);
        assert_int_equal(pubkey_read(buf_bytes(&spki), &key, NULL), E_OK);
        pkey_sign(test_key(rows[i].alg), rows[i].md, bytes_str("octets"), &sig);
        der_text(rows[i].sig_alg, blobs, &alg);
        if (pubkey_verifies(&key, buf_bytes(&alg), bytes_str("octets"), buf_bytes(&sig)) != rows[i].good)
            fail_msg("%s", rows[i].name);
        buf_clear(&spki);
        buf_clear(&sig);
        buf_clear(&alg);
    }
}

static void openssl_reads_the_same_keys(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf good = BUF_INIT(1 << 16);
        struct pubkey key;
        const unsigned char *p;
        EVP_PKEY *pkey;

        der_text(cases[i].good, blobs, &good);
        assert_int_equal(pubkey_read(buf_bytes(&good), &key, NULL), E_OK);
        p = good.p;
        pkey = d2i_PUBKEY(NULL, &p, (long)good.len);
        if (!pkey)
            fail_msg("OpenSSL does not read the neighbour of \"%s\"", cases[i].name);
        EVP_PKEY_free(pkey);
        buf_clear(&good);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_keys_are_refused_and_their_neighbours_taken),
        cmocka_unit_test(keys_are_named_and_hashed),
        cmocka_unit_test(compressed_keys_verify),
        cmocka_unit_test(each_key_verifies_only_its_own_signatures),
        cmocka_unit_test(one_point_has_one_hash_in_either_form),
        cmocka_unit_test(signatures_fit_their_algorithm_and_nothing_else),
        cmocka_unit_test(openssl_reads_the_same_keys),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
