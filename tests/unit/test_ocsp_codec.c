/* SPDX-License-Identifier: Apache-2.0 */
/* OCSP requests of every kind read, answers written, with OpenSSL as the other side. */
#include "pki_util.h"

#include <openssl/ocsp.h>
#include <openssl/x509v3.h>

#include "ca/ocsp.h"

#define NOW     1800000000L
#define SHA1_A  "30{06052b0e03021a 0500}"
#define ID(alg, n, s) "30{" alg " 04{(11*" n ")} 04{(22*" n ")} 02{" s "}}"
#define ID1     ID(SHA1_A, "20", "05")
#define REQ1    "30{" ID1 "}"
#define LIST1   "30{" REQ1 "}"
#define NONCE_OID "06092b0601050507300102"
#define NONCE(v)  "a2{30{30{" NONCE_OID " 04{" v "}}}}"
#define BODY(x) "30{30{" x "}}"

static const struct {
    const char *name, *der;
    bool good;
    size_t certs;
    int nonce_len; /* of extnValue's content, -1 = none */
} requests[] = {
    {"one certificate", BODY(LIST1), true, 1, -1},
    {"two", BODY("30{" REQ1 REQ1 "}"), true, 2, -1},
    {"16", BODY("30{@p}"), true, 16, -1},
    {"17", BODY("30{@p" REQ1 "}"), false, 0, -1},
    {"none", BODY("30{}"), false, 0, -1},
    {"version v1 written out", BODY("a0{020100}" LIST1), true, 1, -1},
    {"version 2", BODY("a0{020101}" LIST1), false, 0, -1},
    {"version with octets behind", BODY("a0{0201000500}" LIST1), false, 0, -1},
    {"requestorName, unsigned", BODY("a1{82{\"a\"}}" LIST1), true, 1, -1},
    {"signed", "30{30{" LIST1 "}a0{30{30{06082a8648ce3d040302}03{0001}}}}", true, 1, -1},
    {"signed with certificates", "30{30{" LIST1 "}a0{30{30{06082a8648ce3d040302}03{0001}a0{30{30{}}}}}}", true, 1, -1},
    {"signed, signature broken", "30{30{" LIST1 "}a0{30{30{06082a8648ce3d040302}}}}", false, 0, -1},
    {"empty", "", false, 0, -1},
    {"garbage", "\"GET /\"", false, 0, -1},
    {"octets behind", BODY(LIST1) "00", false, 0, -1},
    {"octets behind the list", BODY(LIST1 "0500"), false, 0, -1},
    {"octets behind a CertID", BODY("30{30{" ID1 "0500}}"), false, 0, -1},
    {"indefinite length", "3080 30{" LIST1 "} 0000", false, 0, -1},
    {"huge length", "3084ffffffff", false, 0, -1},
    {"deep nesting", "30{30{30{30{30{30{30{30{}}}}}}}}", false, 0, -1},
    {"a SET for a SEQUENCE", "31{30{" LIST1 "}}", false, 0, -1},
    {"a negative serial", BODY("30{30{" ID(SHA1_A, "20", "ff") "}}"), true, 1, -1},
    {"serial zero", BODY("30{30{" ID(SHA1_A, "20", "00") "}}"), true, 1, -1},
    {"a serial of 21 octets", BODY("30{30{" ID(SHA1_A, "20", "(7f*21)") "}}"), true, 1, -1},
    {"an empty serial", BODY("30{30{" ID(SHA1_A, "20", "") "}}"), false, 0, -1},
    {"a serial that is not minimal", BODY("30{30{" ID(SHA1_A, "20", "0005") "}}"), false, 0, -1},
    {"a negative serial that is not minimal", BODY("30{30{" ID(SHA1_A, "20", "ffff") "}}"), false, 0, -1},
    {"an ENUMERATED serial", BODY("30{30{30{" SHA1_A "04{(11*20)}04{(22*20)}0a0105}}}"), false, 0, -1},
    {"a CertID without key hash", BODY("30{30{30{" SHA1_A "04{(11*20)}020105}}}"), false, 0, -1},
    {"a nonce of 1", BODY(LIST1 NONCE("04{01}")), true, 1, 3},
    {"a nonce of 15", BODY(LIST1 NONCE("04{(01*15)}")), true, 1, 17},
    {"a nonce of 16", BODY(LIST1 NONCE("04{(01*16)}")), true, 1, 18},
    {"a nonce of 32", BODY(LIST1 NONCE("04{(01*32)}")), true, 1, 34},
    {"a nonce of 33", BODY(LIST1 NONCE("04{(01*33)}")), true, 1, 35},
    {"a nonce of 128", BODY(LIST1 NONCE("04{(01*128)}")), true, 1, 131},
    {"a nonce of 129", BODY(LIST1 NONCE("04{(01*129)}")), false, 0, -1},
    {"a nonce of 0", BODY(LIST1 NONCE("0400")), false, 0, -1},
    {"an empty extnValue", BODY(LIST1 NONCE("")), false, 0, -1},
    {"raw octets", BODY(LIST1 NONCE("(ab*16)")), true, 1, 16},
    {"raw octets that begin like an OCTET STRING", BODY(LIST1 NONCE("0410(ab*10)")), true, 1, 12},
    {"128 raw octets", BODY(LIST1 NONCE("(ab*128)")), true, 1, 128},
    {"129 raw octets", BODY(LIST1 NONCE("(ab*129)")), false, 0, -1},
    {"a critical nonce", BODY(LIST1 "a2{30{30{" NONCE_OID "0101ff 04{04{0102}}}}}"), true, 1, 4},
    {"two nonces", BODY(LIST1 "a2{30{30{" NONCE_OID "04{04{01}}}30{" NONCE_OID "04{04{01}}}}}"), false, 0, -1},
    {"a nonce at one request is unknown there", BODY("30{30{" ID1 "a0{30{30{" NONCE_OID "04{04{01}}}}}}}"), true, 1, -1},
    {"... and refused when critical", BODY("30{30{" ID1 "a0{30{30{" NONCE_OID "0101ff 04{04{01}}}}}}}"), false, 0, -1},
    {"a critical serviceLocator at one request", BODY("30{30{" ID1 "a0{30{30{06092b0601050507300107 0101ff 04{30{}}}}}}}"),
     true, 1, -1},
    {"an unknown extension", BODY(LIST1 "a2{30{30{06032a0304 04{0500}}}}"), true, 1, -1},
    {"an unknown critical extension", BODY(LIST1 "a2{30{30{06032a0304 0101ff 04{0500}}}}"), false, 0, -1},
    {"acceptable responses", BODY(LIST1 "a2{30{30{06092b0601050507300104 04{30{06092b0601050507300101}}}}}"), true, 1, -1},
    {"critical preferred algorithms", BODY(LIST1 "a2{30{30{06092b0601050507300108 0101ff 04{30{}}}}}"), true, 1, -1},
    {"empty extensions", BODY(LIST1 "a2{30{}}"), false, 0, -1},
    {"4096 octets", BODY("a1{82{(61*@s)}}" LIST1), true, 1, -1},
    {"4097 octets", BODY("a1{82{(61*@t)}}" LIST1), false, 0, -1},
};

static struct buf sixteen;
static struct bytes blobs[26];

/* "@s" and "@t" stand for the padding that makes the request 4096 and 4097 octets long. */
static void request_text(const char *text, struct buf *out)
{
    char full[1024];
    const char *pad = strstr(text, "@s") ? strstr(text, "@s") : strstr(text, "@t");

    if (!pad) {
        der_text(text, blobs, out);
        return;
    }
    size_t want = pad[1] == 's' ? OCSP_REQUEST_MAX : OCSP_REQUEST_MAX + 1;
    for (size_t n = want - 120; out->len != want; n++) {
        buf_reset(out);
        snprintf(full, sizeof full, "%.*s%zu%s", (int)(pad - text), text, n, pad + 2);
        der_text(full, blobs, out);
        assert_true(out->len <= want);
    }
}

static void requests_are_read_or_malformed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        struct buf der = BUF_INIT(16384);
        struct ocsp_request r;
        struct err e = {.code = E_OK};

        request_text(requests[i].der, &der);
        enum err_code code = ocsp_request_read(buf_bytes(&der), &r, &e);
        if (code != (requests[i].good ? E_OK : E_INVALID))
            fail_msg("%s: code %d, %s", requests[i].name, (int)code, e.msg);
        if (requests[i].good) {
            assert_int_equal(r.cert_n, requests[i].certs);
            assert_int_equal(r.has_nonce, requests[i].nonce_len >= 0);
            if (r.has_nonce)
                assert_int_equal(r.nonce.len, requests[i].nonce_len);
            for (size_t n = 0; n < der.len && der.len < 1000; n++) {
                uint8_t *cut = malloc(n ? n : 1);
                memcpy(cut, der.p, n);
                assert_int_equal(ocsp_request_read(BYTES(cut, n), &r, NULL), E_INVALID);
                free(cut);
            }
        }
        buf_clear(&der);
    }
}

static void hash_algorithms_are_known_with_and_without_null(void **state)
{
    static const struct {
        const char *name, *id;
        enum cert_id_hash hash;
    } rows[] = {
        {"SHA-1, NULL", ID(SHA1_A, "20", "05"), CERT_ID_SHA1},
        {"SHA-1, absent", ID("30{06052b0e03021a}", "20", "05"), CERT_ID_SHA1},
        {"SHA-256, NULL", ID("30{0609608648016503040201 0500}", "32", "05"), CERT_ID_SHA256},
        {"SHA-256, absent", ID("30{0609608648016503040201}", "32", "05"), CERT_ID_SHA256},
        {"SHA-384", ID("30{0609608648016503040202}", "48", "05"), CERT_ID_SHA384},
        {"SHA-512", ID("30{0609608648016503040203 0500}", "64", "05"), CERT_ID_SHA512},
        {"SHA-224", ID("30{0609608648016503040204}", "28", "05"), CERT_ID_UNKNOWN},
        {"MD5", ID("30{06082a864886f70d0205 0500}", "16", "05"), CERT_ID_UNKNOWN},
        {"SHA-1 of 19 octets", ID(SHA1_A, "19", "05"), CERT_ID_UNKNOWN},
        {"SHA-1 of 32 octets", ID(SHA1_A, "32", "05"), CERT_ID_UNKNOWN},
        {"SHA-256 of 20 octets", ID("30{0609608648016503040201}", "20", "05"), CERT_ID_UNKNOWN},
        {"SHA-1 with other parameters", ID("30{06052b0e03021a 30{}}", "20", "05"), CERT_ID_UNKNOWN},
        {"one hash short", "30{" SHA1_A "04{(11*20)}04{(22*19)}020105}", CERT_ID_UNKNOWN},
        {"empty hashes", "30{" SHA1_A "0400 0400 020105}", CERT_ID_UNKNOWN},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf der = BUF_INIT(1024), id = BUF_INIT(1024);
        struct ocsp_request r;
        char text[512];

        snprintf(text, sizeof text, "30{30{30{30{%s}}}}", rows[i].id);
        der_text(text, blobs, &der);
        der_text(rows[i].id, blobs, &id);
        assert_int_equal(ocsp_request_read(buf_bytes(&der), &r, NULL), E_OK);
        if (r.cert[0].hash != rows[i].hash)
            fail_msg("%s: %d", rows[i].name, (int)r.cert[0].hash);
        assert_true(bytes_equal(r.cert[0].raw, buf_bytes(&id)));
        assert_true(bytes_equal(r.cert[0].serial, BYTES("\x05", 1)));
        buf_clear(&der);
        buf_clear(&id);
    }
}

/* ---- answers ---- */

struct world {
    X509 *ca, *responder, *leaf;
    EVP_PKEY *ca_key, *responder_key;
    uint8_t key_hash[20];
    struct buf responder_der;
};

static X509 *cert_make(const char *cn, long serial, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, int ext_nid,
                       const char *ext)
{
    X509 *x = X509_new();
    X509_NAME *name = X509_get_subject_name(x);
    X509V3_CTX ctx;

    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : name);
    ASN1_TIME_set(X509_getm_notBefore(x), NOW - 86400);
    ASN1_TIME_set(X509_getm_notAfter(x), NOW + 86400);
    X509_set_pubkey(x, key);
    X509V3_set_ctx(&ctx, issuer ? issuer : x, x, NULL, NULL, 0);
    if (ext) {
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, ext_nid, ext);
        assert_non_null(e);
        X509_add_ext(x, e, -1);
        X509_EXTENSION_free(e);
    }
    assert_true(X509_sign(x, issuer_key, EVP_sha256()) > 0);
    return x;
}

static struct world world;

static void nothing_but_the_answer(struct bytes der, const struct buf *data, OCSP_RESPONSE **resp, OCSP_BASICRESP **basic)
{
    const unsigned char *p = der.p;
    unsigned char *again = NULL;
    X509_STORE *store = X509_STORE_new();

    *resp = d2i_OCSP_RESPONSE(NULL, &p, (long)der.len);
    assert_non_null(*resp);
    assert_ptr_equal(p, der.p + der.len);
    assert_int_equal(i2d_OCSP_RESPONSE(*resp, &again), (int)der.len);
    assert_memory_equal(again, der.p, der.len);
    OPENSSL_free(again);
    assert_int_equal(OCSP_response_status(*resp), OCSP_RESPONSE_STATUS_SUCCESSFUL);
    *basic = OCSP_response_get1_basic(*resp);
    assert_non_null(*basic);
    again = NULL;
    assert_int_equal(i2d_OCSP_RESPDATA((OCSP_RESPDATA *)(uintptr_t)OCSP_resp_get0_respdata(*basic), &again),
                     (int)data->len);
    assert_memory_equal(again, data->p, data->len);
    OPENSSL_free(again);
    X509_STORE_add_cert(store, world.ca);
    X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(store), NOW);
    if (OCSP_basic_verify(*basic, NULL, store, 0) != 1) {
        ERR_print_errors_fp(stderr);
        fail();
    }
    X509_STORE_free(store);
}

static enum err_code answer(const struct ocsp_response_inputs *in, struct buf *data, struct buf *der, struct err *e)
{
    struct buf sig = BUF_INIT(1024);
    enum err_code code = ocsp_data_write(in, data, e);

    if (code == E_OK) {
        pkey_sign(world.responder_key, "SHA256", buf_bytes(data), &sig);
        assert_int_equal(ocsp_response_assemble(buf_bytes(data), SIG_ECDSA_SHA256, buf_bytes(&sig),
                                                buf_bytes(&world.responder_der), der, e),
                         E_OK);
        buf_clear(&sig);
    }
    return code;
}

static void openssl_asks_and_understands_the_answers(void **state)
{
    static const struct {
        const char *name;
        struct ocsp_single single;
        int status, reason;
        bool nonce;
    } rows[] = {
        {"good", {.status = CERT_GOOD}, V_OCSP_CERTSTATUS_GOOD, -1, true},
        {"good without nonce", {.status = CERT_GOOD}, V_OCSP_CERTSTATUS_GOOD, -1, false},
        {"revoked", {.status = CERT_REVOKED, .reason = REASON_KEY_COMPROMISE, .revoked_at = NOW - 500},
         V_OCSP_CERTSTATUS_REVOKED, 1, true},
        {"revoked, unspecified", {.status = CERT_REVOKED, .revoked_at = NOW - 500}, V_OCSP_CERTSTATUS_REVOKED, -1, true},
        {"on hold", {.status = CERT_ON_HOLD, .reason = REASON_CERTIFICATE_HOLD, .revoked_at = NOW - 300},
         V_OCSP_CERTSTATUS_REVOKED, 6, true},
        {"unknown", {.unknown = true}, V_OCSP_CERTSTATUS_UNKNOWN, -1, true},
        {"never issued, as revoked", {.unissued_revoked = true}, V_OCSP_CERTSTATUS_REVOKED, 6, true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        OCSP_REQUEST *req = OCSP_REQUEST_new();
        OCSP_CERTID *id = OCSP_cert_to_id(i % 2 ? EVP_sha1() : EVP_sha256(), world.leaf, world.ca);
        struct buf data = BUF_INIT(4096), der = BUF_INIT(8192);
        unsigned char *req_der = NULL;
        struct ocsp_request r;
        struct ocsp_single single = rows[i].single;
        struct err e = {.code = E_OK};

        OCSP_request_add0_id(req, OCSP_CERTID_dup(id));
        if (rows[i].nonce)
            OCSP_request_add1_nonce(req, NULL, 32);
        int n = i2d_OCSP_REQUEST(req, &req_der);
        assert_int_equal(ocsp_request_read(BYTES(req_der, (size_t)n), &r, &e), E_OK);
        assert_int_equal(r.cert_n, 1);
        assert_int_equal(r.cert[0].hash, i % 2 ? CERT_ID_SHA1 : CERT_ID_SHA256);
        single.cert_id = r.cert[0].raw;
        single.this_update = NOW - 300;
        single.next_update = NOW + 3600;
        struct ocsp_response_inputs in = {.produced_at = NOW,
                                          .single = &single,
                                          .single_n = 1,
                                          .nonce = r.nonce,
                                          .has_nonce = r.has_nonce,
                                          .extended_revoke = single.unissued_revoked};
        memcpy(in.responder_key_hash, world.key_hash, 20);
        if (answer(&in, &data, &der, &e) != E_OK)
            fail_msg("%s: %s", rows[i].name, e.msg);

        OCSP_RESPONSE *resp;
        OCSP_BASICRESP *basic;
        nothing_but_the_answer(buf_bytes(&der), &data, &resp, &basic);
        int status, reason = -1;
        ASN1_GENERALIZEDTIME *revoked = NULL, *this_update, *next_update;
        assert_int_equal(OCSP_resp_find_status(basic, id, &status, &reason, &revoked, &this_update, &next_update), 1);
        assert_int_equal(status, rows[i].status);
        assert_int_equal(reason, rows[i].reason);
        if (single.unissued_revoked) {
            assert_memory_equal(ASN1_STRING_get0_data(revoked), "19700101000000Z", 15);
            ASN1_OBJECT *extended_revoke = OBJ_txt2obj("1.3.6.1.5.5.7.48.1.9", 1); /* RFC 6960 4.4.8 */
            assert_int_equal(OCSP_BASICRESP_get_ext_by_OBJ(basic, extended_revoke, -1), 1);
            ASN1_OBJECT_free(extended_revoke);
            assert_int_equal(OCSP_BASICRESP_get_ext_count(basic), 2);
        }
        assert_int_equal(OCSP_check_nonce(req, basic), rows[i].nonce ? 1 : 2);
        OCSP_BASICRESP_free(basic);
        OCSP_RESPONSE_free(resp);
        OCSP_CERTID_free(id);
        OCSP_REQUEST_free(req);
        OPENSSL_free(req_der);
        buf_clear(&data);
        buf_clear(&der);
    }
}

static void the_writer_refuses_what_would_mislead(void **state)
{
    static const uint8_t id[] = {0x30, 0x00};
    static const struct {
        const char *name;
        struct ocsp_single single;
        bool extended;
        enum err_code code;
    } rows[] = {
        {"sound", {.status = CERT_GOOD, .this_update = NOW, .next_update = NOW + 1}, false, E_OK},
        {"thisUpdate after producedAt", {.status = CERT_GOOD, .this_update = NOW + 1, .next_update = NOW + 2}, false,
         E_INTERNAL},
        {"nextUpdate at thisUpdate", {.status = CERT_GOOD, .this_update = NOW, .next_update = NOW}, false, E_INTERNAL},
        {"revoked at thisUpdate",
         {.status = CERT_REVOKED, .reason = 1, .revoked_at = NOW, .this_update = NOW, .next_update = NOW + 1}, false, E_OK},
        {"revoked later than thisUpdate",
         {.status = CERT_REVOKED, .reason = 1, .revoked_at = NOW, .this_update = NOW - 1, .next_update = NOW + 1}, false,
         E_INTERNAL},
        {"reason 7", {.status = CERT_REVOKED, .reason = 7, .revoked_at = NOW, .this_update = NOW, .next_update = NOW + 1},
         false, E_INTERNAL},
        {"removeFromCRL",
         {.status = CERT_REVOKED, .reason = 8, .revoked_at = NOW, .this_update = NOW, .next_update = NOW + 1}, false,
         E_INTERNAL},
        {"never issued without extended-revoke", {.unissued_revoked = true, .this_update = NOW, .next_update = NOW + 1},
         false, E_INTERNAL},
        {"never issued with it", {.unissued_revoked = true, .this_update = NOW, .next_update = NOW + 1}, true, E_OK},
        {"a status that does not exist",
         {.status = CERT_STATUSES, .revoked_at = NOW, .this_update = NOW, .next_update = NOW + 1}, false, E_INTERNAL},
    };
    struct ocsp_response_inputs none = {.produced_at = NOW};
    struct buf data = BUF_INIT(4096);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct ocsp_single single = rows[i].single;
        struct ocsp_response_inputs in = {
            .produced_at = NOW, .single = &single, .single_n = 1, .extended_revoke = rows[i].extended};
        struct err e = {.code = E_OK};

        single.cert_id = BYTES_OF(id);
        buf_reset(&data);
        if (ocsp_data_write(&in, &data, &e) != rows[i].code)
            fail_msg("%s: %s", rows[i].name, e.msg);
        single.cert_id.len = 1;
        assert_int_equal(ocsp_data_write(&in, &data, NULL), E_INTERNAL);
    }
    assert_int_equal(ocsp_data_write(&none, &data, NULL), E_INTERNAL);
    buf_clear(&data);
}

static void errors_are_five_octets(void **state)
{
    static const enum ocsp_response_status all[] = {OCSP_MALFORMED_REQUEST, OCSP_INTERNAL_ERROR, OCSP_TRY_LATER,
                                                    OCSP_UNAUTHORIZED};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct bytes der = ocsp_error(all[i]);
        const unsigned char *p = der.p;
        OCSP_RESPONSE *resp = d2i_OCSP_RESPONSE(NULL, &p, (long)der.len);

        assert_int_equal(der.len, 5);
        assert_int_equal(OCSP_response_status(resp), all[i]);
        assert_null(OCSP_response_get1_basic(resp));
        OCSP_RESPONSE_free(resp);
    }
    ERR_clear_error();
    assert_int_equal(ocsp_error(OCSP_SUCCESSFUL).p[4], OCSP_INTERNAL_ERROR);
}

static int setup(void **state)
{
    unsigned char *der = NULL;
    ASN1_BIT_STRING *bits;

    (void)state;
    sixteen = BUF_INIT(8192);
    for (int i = 0; i < 16; i++)
        der_text(REQ1, blobs, &sixteen);
    blobs['p' - 'a'] = buf_bytes(&sixteen);
    world.ca_key = EVP_EC_gen("P-256");
    world.responder_key = EVP_EC_gen("P-256");
    world.ca = cert_make("CA", 1, world.ca_key, NULL, world.ca_key, NID_basic_constraints, "critical,CA:TRUE");
    world.responder = cert_make("OCSP", 2, world.responder_key, world.ca, world.ca_key, NID_ext_key_usage, "OCSPSigning");
    world.leaf = cert_make("unit", 3, test_key(KEY_ED25519), world.ca, world.ca_key, 0, NULL);
    bits = X509_get0_pubkey_bitstr(world.responder);
    sha1(BYTES(bits->data, (size_t)bits->length), world.key_hash);
    world.responder_der = BUF_INIT(8192);
    int n = i2d_X509(world.responder, &der);
    buf_add(&world.responder_der, der, (size_t)n);
    OPENSSL_free(der);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    X509_free(world.ca);
    X509_free(world.responder);
    X509_free(world.leaf);
    EVP_PKEY_free(world.ca_key);
    EVP_PKEY_free(world.responder_key);
    buf_clear(&world.responder_der);
    buf_clear(&sixteen);
    test_keys_free();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_read_or_malformed),
        cmocka_unit_test(hash_algorithms_are_known_with_and_without_null),
        cmocka_unit_test(openssl_asks_and_understands_the_answers),
        cmocka_unit_test(the_writer_refuses_what_would_mislead),
        cmocka_unit_test(errors_are_five_octets),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
