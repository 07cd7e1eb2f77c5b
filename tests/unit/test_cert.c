/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates we write, judged by OpenSSL and by the linter; names to and from text; certificates read. */
#include "pki_util.h"

#include <openssl/x509v3.h>

#include "base/oid.h"
#include "ca/cert.h"
#include "ca/lint.h"
#include "ca/profile.h"

#define NOW  1800000000L
#define YEAR (365L * 86400)
#define TEXT(s) ((char *)(uintptr_t)(s))

static struct conf conf = {.public_url = TEXT("http://pki.example.net")};

static char *device_san[] = {TEXT("dns:{device_id}.dev.example"), TEXT("uri:urn:dev:{domain}:{device_id}"),
                             TEXT("ip:192.0.2.1"), TEXT("hwmodule:1.3.6.1.4.1.99999.7:{device_id}")};

#define ALL_KEYS                                                                                                       \
    (KEY_BIT(KEY_P256) | KEY_BIT(KEY_P384) | KEY_BIT(KEY_RSA2048) | KEY_BIT(KEY_RSA3072) | KEY_BIT(KEY_RSA4096) |      \
     KEY_BIT(KEY_ED25519))

static struct conf_profile profile_of(enum profile_kind kind)
{
    struct conf_profile p = {
        .name = TEXT("p"),
        .kind = kind,
        .ca = TEXT("fleet-ca"),
        .subject = TEXT("CN={device_id},serialNumber={device_id},O=Acme"),
        .key_algs = ALL_KEYS,
        .key_usage = USAGE_DIGITAL_SIGNATURE,
        .eku = EKU_CLIENT_AUTH,
        .validity_s = YEAR,
        .path_len = -1,
        .crl_url = true,
        .ocsp_url = true,
    };

    switch (kind) {
    case PROFILE_ROOT_CA:
    case PROFILE_ISSUING_CA:
        p.ca = TEXT("");
        p.subject = TEXT("CN={name},O=Acme");
        p.key_usage = USAGE_KEY_CERT_SIGN | USAGE_CRL_SIGN;
        p.eku = 0;
        p.validity_s = 20 * YEAR;
        p.path_len = kind == PROFILE_ISSUING_CA ? 0 : -1;
        p.crl_url = p.ocsp_url = kind == PROFILE_ISSUING_CA;
        break;
    case PROFILE_IDEVID:
        p.no_expiry = true;
        p.crl_url = p.ocsp_url = false;
        p.san = (struct conf_strings){device_san, 4};
        break;
    case PROFILE_LDEVID:
        p.san = (struct conf_strings){device_san, 3};
        break;
    case PROFILE_TLS_SERVER:
        p.subject = TEXT("CN={name}");
        p.eku = EKU_SERVER_AUTH;
        break;
    case PROFILE_OCSP_SIGNER:
        p.subject = TEXT("CN={name},O=Acme");
        p.eku = EKU_OCSP_SIGNING;
        p.crl_url = p.ocsp_url = false;
        break;
    case PROFILE_FEED_SIGNER:
        p.subject = TEXT("CN={name},O=Acme");
        p.eku = EKU_DOCUMENT_SIGNING;
        break;
    default:
        p.subject = TEXT("CN={name},O=Acme");
    }
    return p;
}

/* A CA of the test: a real self-signed certificate made by the writer and signed by OpenSSL. */
struct test_ca {
    enum key_alg alg;
    struct buf spki, cert, subject;
    struct cert_issuer issuer;
};

struct made {
    struct buf spki, cert;
    struct cert_built built;
    struct pubkey key;
};

static void made_free(struct made *m)
{
    buf_clear(&m->spki);
    buf_clear(&m->cert);
    buf_clear(&m->built.tbs);
}

static struct cert_inputs inputs_of(struct pubkey *key)
{
    struct cert_inputs in = {
        .now = NOW,
        .device_id = "unit-0001",
        .domain = "example",
        .product = "pump",
        .model = "m1",
        .lot = "L7",
        .name = "Name 1",
        .key = key,
    };

    assert_int_equal(serial_draw(in.serial, NULL), E_OK);
    in.serial_len = SERIAL_MAX_LEN;
    return in;
}

static void lint(const struct conf_profile *p, const struct cert_issuer *issuer, const struct cert_inputs *in,
                 const struct made *m)
{
    struct lint_cert_expect x = {
        .profile = p,
        .issuer_subject = issuer->subject,
        .issuer_ski = BYTES_OF(issuer->ski),
        .issuer_not_before = issuer->not_before,
        .issuer_not_after = issuer->not_after,
        .sig_alg = issuer->sig_alg,
        .self_signed = issuer->is_self,
        .spki = buf_bytes(&m->spki),
        .serial = BYTES(in->serial, in->serial_len),
        .device_id = p->kind == PROFILE_IDEVID || p->kind == PROFILE_LDEVID ? in->device_id : NULL,
        .now = in->now,
        .not_after_max = in->not_after_max,
    };
    char crl_url[CERT_URL_MAX], ocsp_url[CERT_URL_MAX];
    struct lint_report report = {.n = 0};
    struct err e = {.code = E_OK};

    if (p->crl_url && !issuer->is_self) {
        assert_int_equal(cert_crl_url(&conf, issuer->name, in->shard, crl_url, NULL), E_OK);
        x.crl_url = crl_url;
    }
    if (p->ocsp_url && !issuer->is_self) {
        assert_int_equal(cert_ocsp_url(&conf, ocsp_url, NULL), E_OK);
        x.ocsp_url = ocsp_url;
    }
    lint_cert(buf_bytes(&m->built.tbs), &x, &report);
    if (lint_result(&report, p->name, &e) != E_OK)
        fail_msg("profile kind %d: %s", (int)p->kind, e.msg);
}

static enum err_code make(const struct conf_profile *p, const struct cert_issuer *issuer, enum key_alg signer,
                          enum key_alg alg, struct cert_inputs *in, struct made *m, struct err *e)
{
    struct buf sig = BUF_INIT(1024);
    enum err_code code;

    m->spki = BUF_INIT(4096);
    m->cert = BUF_INIT(CERT_MAX_LEN);
    m->built.tbs = BUF_INIT(CERT_MAX_LEN);
    pkey_spki(test_key(alg), &m->spki);
    assert_int_equal(pubkey_read(buf_bytes(&m->spki), &m->key, e), E_OK);
    in->key = &m->key;
    code = cert_tbs_write(&conf, p, issuer, in, &m->built, e);
    if (code == E_OK) {
        pkey_sign(test_key(signer), default_md(signer), buf_bytes(&m->built.tbs), &sig);
        assert_int_equal(cert_assemble(buf_bytes(&m->built.tbs), issuer->sig_alg, buf_bytes(&sig), &m->cert, e), E_OK);
    }
    buf_clear(&sig);
    return code;
}

static void root_make(struct test_ca *ca, enum key_alg alg, bool no_expiry)
{
    struct conf_profile p = profile_of(PROFILE_ROOT_CA);
    struct cert_inputs in = inputs_of(NULL);
    struct made m;
    struct cert c;
    struct err e;

    *ca = (struct test_ca){.alg = alg, .spki = BUF_INIT(4096), .cert = BUF_INIT(8192), .subject = BUF_INIT(1024)};
    ca->issuer = (struct cert_issuer){.name = "root", .sig_alg = sig_alg_of(alg), .is_self = true};
    p.no_expiry = no_expiry;
    in.now = NOW - YEAR;
    if (make(&p, &ca->issuer, alg, alg, &in, &m, &e) != E_OK)
        fail_msg("%s", e.msg);
    buf_add_bytes(&ca->cert, buf_bytes(&m.cert));
    assert_int_equal(cert_read(buf_bytes(&ca->cert), &c, &e), E_OK);
    assert_int_equal(c.ski.len, 20);
    assert_true(bytes_equal(c.ski, c.aki));
    ca->issuer.subject = c.subject;
    ca->issuer.spki = c.spki;
    memcpy(ca->issuer.ski, c.ski.p, 20);
    lint(&p, &ca->issuer, &in, &m);
    ca->issuer.is_self = false;
    ca->issuer.name = "fleet-ca";
    ca->issuer.not_before = c.not_before;
    ca->issuer.not_after = c.not_after;
    made_free(&m);
}

static void ca_free(struct test_ca *ca)
{
    buf_clear(&ca->spki);
    buf_clear(&ca->cert);
    buf_clear(&ca->subject);
}

static X509 *x509_of(struct bytes der)
{
    const unsigned char *p = der.p;
    X509 *x = d2i_X509(NULL, &p, (long)der.len);
    unsigned char *again = NULL;

    assert_non_null(x);
    assert_ptr_equal(p, der.p + der.len);
    /* Encoding it again from the parsed fields gives the same octets: it was DER. */
    assert_int_equal(i2d_re_X509_tbs(x, &again) > 0, 1);
    OPENSSL_free(again);
    again = NULL;
    assert_int_equal(i2d_X509(x, &again), (int)der.len);
    assert_memory_equal(again, der.p, der.len);
    OPENSSL_free(again);
    return x;
}

static void openssl_chain_holds(struct bytes root, struct bytes leaf)
{
    X509 *r = x509_of(root), *l = x509_of(leaf);
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();

    X509_STORE_add_cert(store, r);
    X509_STORE_CTX_init(ctx, store, l, NULL);
    X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(ctx), NOW);
    X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
    if (X509_verify_cert(ctx) != 1)
        fail_msg("X509_verify_cert: %s", X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    X509_free(r);
    X509_free(l);
}

static void every_profile_and_key_type_passes_openssl_and_lint(void **state)
{
    static const enum key_alg algs[] = {KEY_P256, KEY_P384, KEY_RSA2048, KEY_RSA3072, KEY_RSA4096, KEY_ED25519};
    static const enum key_alg roots[] = {KEY_P256, KEY_P384, KEY_RSA2048, KEY_ED25519};

    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(roots); r++) {
        struct test_ca ca;

        root_make(&ca, roots[r], true);
        openssl_chain_holds(buf_bytes(&ca.cert), buf_bytes(&ca.cert));
        for (int kind = PROFILE_ISSUING_CA; kind < PROFILE_KINDS; kind++) {
            for (size_t k = 0; k < ARRAY_LEN(algs); k++) {
                struct conf_profile p = profile_of((enum profile_kind)kind);
                struct cert_inputs in = inputs_of(NULL);
                struct made m;
                struct cert c;
                struct err e;

                in.shard = (unsigned)k;
                in.name = "Name 2";
                if (make(&p, &ca.issuer, roots[r], algs[k], &in, &m, &e) != E_OK)
                    fail_msg("%s", e.msg);
                lint(&p, &ca.issuer, &in, &m);
                openssl_chain_holds(buf_bytes(&ca.cert), buf_bytes(&m.cert));
                assert_int_equal(cert_read(buf_bytes(&m.cert), &c, &e), E_OK);
                assert_true(bytes_equal(c.serial, BYTES(in.serial, in.serial_len)));
                assert_true(bytes_equal(c.aki, BYTES_OF(ca.issuer.ski)));
                assert_true(bytes_equal(c.issuer, ca.issuer.subject));
                assert_int_equal(c.key_usage, p.key_usage);
                assert_int_equal(c.is_ca, kind == PROFILE_ISSUING_CA);
                assert_int_equal(c.path_len, p.path_len);
                assert_int_equal(c.eku_ocsp && c.has_no_check, kind == PROFILE_OCSP_SIGNER);
                assert_int_equal(c.eku_client_auth, (p.eku & EKU_CLIENT_AUTH) != 0);
                assert_int_equal(c.eku_server_auth, (p.eku & EKU_SERVER_AUTH) != 0);
                assert_int_equal(c.not_before, m.built.not_before);
                assert_int_equal(c.not_after, m.built.not_after);
                assert_true(bytes_equal(c.spki, buf_bytes(&m.spki)));
                made_free(&m);
            }
        }
        ca_free(&ca);
    }
}

static void an_idevid_is_what_802_1ar_asks(void **state)
{
    struct conf_profile p = profile_of(PROFILE_IDEVID);
    struct cert_inputs in = inputs_of(NULL);
    struct test_ca ca;
    struct made m;
    struct err e;
    X509 *x;
    char text[256];

    (void)state;
    root_make(&ca, KEY_P256, true);
    assert_int_equal(make(&p, &ca.issuer, KEY_P256, KEY_P256, &in, &m, &e), E_OK);
    x = x509_of(buf_bytes(&m.cert));
    const ASN1_TIME *end = X509_get0_notAfter(x);
    assert_int_equal(ASN1_STRING_length(end), 15);
    assert_memory_equal(ASN1_STRING_get0_data(end), "99991231235959Z", 15);
    assert_int_equal(m.built.not_after, TIME_NO_EXPIRY);
    assert_true(X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_serialNumber, text, sizeof text) > 0);
    assert_string_equal(text, "unit-0001");
    assert_int_equal(X509_get_ext_by_NID(x, NID_crl_distribution_points, -1), -1);
    assert_int_equal(X509_get_ext_by_NID(x, NID_info_access, -1), -1);
    GENERAL_NAMES *san = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    assert_int_equal(sk_GENERAL_NAME_num(san), 4);
    GENERAL_NAME *hw = sk_GENERAL_NAME_value(san, 3);
    assert_int_equal(hw->type, GEN_OTHERNAME);
    OBJ_obj2txt(text, sizeof text, hw->d.otherName->type_id, 1);
    assert_string_equal(text, "1.3.6.1.5.5.7.8.4");
    assert_memory_equal(ASN1_STRING_get0_data(hw->d.otherName->value->value.sequence),
                        "\x30\x16\x06\x09\x2b\x06\x01\x04\x01\x86\x8d\x1f", 12);
    GENERAL_NAMES_free(san);
    X509_free(x);
    made_free(&m);

    p.subject = TEXT("CN={device_id}");
    assert_int_equal(make(&p, &ca.issuer, KEY_P256, KEY_P256, &in, &m, &e), E_INVALID);
    assert_non_null(strstr(e.msg, "802.1AR"));
    made_free(&m);
    ca_free(&ca);
}

static void addresses_are_one_definition(void **state)
{
    struct conf_profile p = profile_of(PROFILE_LDEVID);
    struct cert_inputs in = inputs_of(NULL);
    struct test_ca ca;
    struct made m;
    struct err e;
    char url[CERT_URL_MAX];
    struct conf slash = {.public_url = TEXT("http://pki.example.net//")};
    char long_text[600];
    struct conf long_conf = {.public_url = long_text};

    (void)state;
    assert_int_equal(cert_crl_url(&conf, "fleet-ca", 0, url, &e), E_OK);
    assert_string_equal(url, "http://pki.example.net/crl/fleet-ca.crl");
    assert_int_equal(cert_crl_url(&slash, "fleet-ca", 12, url, &e), E_OK);
    assert_string_equal(url, "http://pki.example.net/crl/fleet-ca-12.crl");
    assert_int_equal(cert_ocsp_url(&conf, url, &e), E_OK);
    assert_string_equal(url, "http://pki.example.net/ocsp");
    assert_int_equal(cert_ca_issuers_url(&conf, "fleet-ca", url, &e), E_OK);
    assert_string_equal(url, "http://pki.example.net/ca/fleet-ca.cer");
    memset(long_text, 'a', sizeof long_text);
    long_text[CERT_URL_MAX - 6] = '\0';
    assert_int_equal(cert_ocsp_url(&long_conf, url, &e), E_OK);
    memset(long_text, 'a', sizeof long_text);
    long_text[CERT_URL_MAX - 5] = '\0';
    assert_int_equal(cert_ocsp_url(&long_conf, url, &e), E_INVALID);
    slash.public_url = TEXT("");
    assert_int_equal(cert_ocsp_url(&slash, url, &e), E_INVALID);

    root_make(&ca, KEY_P256, true);
    p.ca_issuers_url = true;
    in.shard = 3;
    assert_int_equal(make(&p, &ca.issuer, KEY_P256, KEY_P256, &in, &m, &e), E_OK);
    X509 *x = x509_of(buf_bytes(&m.cert));
    CRL_DIST_POINTS *points = X509_get_ext_d2i(x, NID_crl_distribution_points, NULL, NULL);
    assert_int_equal(sk_DIST_POINT_num(points), 1);
    DIST_POINT *point = sk_DIST_POINT_value(points, 0);
    assert_null(point->reasons);
    assert_null(point->CRLissuer);
    GENERAL_NAME *name = sk_GENERAL_NAME_value(point->distpoint->name.fullname, 0);
    assert_int_equal(name->type, GEN_URI);
    assert_int_equal(ASN1_STRING_length(name->d.ia5), strlen("http://pki.example.net/crl/fleet-ca-3.crl"));
    assert_memory_equal(ASN1_STRING_get0_data(name->d.ia5), "http://pki.example.net/crl/fleet-ca-3.crl",
                        ASN1_STRING_length(name->d.ia5));
    CRL_DIST_POINTS_free(points);
    AUTHORITY_INFO_ACCESS *aia = X509_get_ext_d2i(x, NID_info_access, NULL, NULL);
    assert_int_equal(sk_ACCESS_DESCRIPTION_num(aia), 2);
    assert_int_equal(OBJ_obj2nid(sk_ACCESS_DESCRIPTION_value(aia, 0)->method), NID_ad_OCSP);
    assert_int_equal(OBJ_obj2nid(sk_ACCESS_DESCRIPTION_value(aia, 1)->method), NID_ad_ca_issuers);
    AUTHORITY_INFO_ACCESS_free(aia);
    X509_free(x);
    made_free(&m);
    ca_free(&ca);
}

static void validity_stays_inside_the_issuers(void **state)
{
    struct conf_profile p = profile_of(PROFILE_LDEVID);
    struct test_ca ca;
    struct err e;
    time_t end;
    struct {
        const char *name;
        time_t now, max;
        int64_t validity;
        bool no_expiry;
        enum err_code code;
        time_t before, after;
    } rows[] = {
        {"the usual", NOW, 0, 1000, false, E_OK, NOW - 300, NOW + 700},
        {"just issued issuer: not before it", NOW - YEAR - 200, 0, 1000, false, E_OK, NOW - YEAR - 300, NOW - YEAR + 700},
        {"beyond the issuer: clamped", NOW, 0, 100 * YEAR, false, E_OK, NOW - 300, 0 /* issuer's end */},
        {"beyond the caller's limit: clamped", NOW, NOW + 500, 1000, false, E_OK, NOW - 300, NOW + 500},
        {"a caller's limit further away", NOW, NOW + 5000, 1000, false, E_OK, NOW - 300, NOW + 700},
        {"shorter than the slack", NOW, 0, 300, false, E_INVALID, 0, 0},
        {"one second longer than the slack", NOW, 0, 301, false, E_OK, NOW - 300, NOW + 1},
        {"no validity", NOW, 0, 0, false, E_INVALID, 0, 0},
        {"no expiry under an issuer with one", NOW, 0, 0, true, E_INVALID, 0, 0},
    };

    (void)state;
    root_make(&ca, KEY_P256, false);
    end = ca.issuer.not_after;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cert_inputs in = inputs_of(NULL);
        struct made m;

        in.now = rows[i].now;
        in.not_after_max = rows[i].max;
        p.validity_s = rows[i].validity;
        p.no_expiry = rows[i].no_expiry;
        enum err_code code = make(&p, &ca.issuer, KEY_P256, KEY_P256, &in, &m, &e);
        if (code != rows[i].code)
            fail_msg("%s: %s", rows[i].name, e.msg);
        if (code == E_OK) {
            assert_int_equal(m.built.not_before, rows[i].before);
            assert_int_equal(m.built.not_after, rows[i].after ? rows[i].after : end);
        }
        made_free(&m);
    }
    struct cert_inputs in = inputs_of(NULL);
    struct made m;
    p = profile_of(PROFILE_LDEVID);
    in.now = end - 1;
    assert_int_equal(make(&p, &ca.issuer, KEY_P256, KEY_P256, &in, &m, &e), E_OK);
    made_free(&m);
    in.now = end;
    assert_int_equal(make(&p, &ca.issuer, KEY_P256, KEY_P256, &in, &m, &e), E_DENIED);
    made_free(&m);
    ca_free(&ca);
}

static void templates_and_inputs_are_checked(void **state)
{
    static char *san_lot[] = {TEXT("uri:urn:lot:{lot}")}, *san_bad_dns[] = {TEXT("dns:a_b.example")},
                *san_bad_uri[] = {TEXT("uri:no-scheme")}, *san_bad_ip[] = {TEXT("ip:1.2.3")},
                *san_bad_hw[] = {TEXT("hwmodule:1.x:{device_id}")}, *san_var[] = {TEXT("dns:{colour}.example")},
                *san_server[] = {TEXT("pki.example.net"), TEXT("192.0.2.7"), TEXT("2001:db8::1")};
    struct row {
        const char *name, *subject, *device_id;
        char **san;
        size_t san_n;
        unsigned key_algs, key_usage;
        enum err_code code;
        const char *says;
    } rows[] = {
        {"good", NULL, "u1", NULL, 0, ALL_KEYS, 0, E_OK, ""},
        {"a key that is not allowed", NULL, "u1", NULL, 0, KEY_BIT(KEY_P384), 0, E_INVALID, "not allowed"},
        {"no device_id", NULL, "", NULL, 0, ALL_KEYS, 0, E_INVALID, "no device_id"},
        {"a device_id that is no PrintableString as serialNumber", NULL, "u_1", NULL, 0, ALL_KEYS, 0, E_INVALID,
         "PrintableString"},
        {"the same as CN alone", "CN={device_id}", "u_1", NULL, 0, ALL_KEYS, 0, E_OK, ""},
        {"a device_id cannot add attributes", "CN={device_id}", "u,O=Evil", NULL, 0, ALL_KEYS, 0, E_OK, ""},
        {"a control character", "CN={device_id}", "u\n1", NULL, 0, ALL_KEYS, 0, E_INVALID, "control"},
        {"an unknown variable", "CN={colour}", "u1", NULL, 0, ALL_KEYS, 0, E_INVALID, "{colour}"},
        {"an empty variable is left out", "CN={device_id},OU={lot}", "u1", NULL, 0, ALL_KEYS, 0, E_OK, ""},
        {"empty subject without SAN", "OU={lot}", "u1", NULL, 0, ALL_KEYS, 0, E_INVALID, "neither"},
        {"empty subject with SAN", "OU={lot}", "u1", san_server, 3, ALL_KEYS, 0, E_OK, ""},
        {"an empty variable in SAN", NULL, "u1", san_lot, 1, ALL_KEYS, 0, E_INVALID, "no value"},
        {"an underscore in a dNSName", NULL, "u1", san_bad_dns, 1, ALL_KEYS, 0, E_INVALID, "host name"},
        {"a URI without scheme", NULL, "u1", san_bad_uri, 1, ALL_KEYS, 0, E_INVALID, "URI"},
        {"a broken address", NULL, "u1", san_bad_ip, 1, ALL_KEYS, 0, E_INVALID, "address"},
        {"a broken hwmodule", NULL, "u1", san_bad_hw, 1, ALL_KEYS, 0, E_INVALID, "object identifier"},
        {"an unknown variable in SAN", NULL, "u1", san_var, 1, ALL_KEYS, 0, E_INVALID, "{colour}"},
        {"names without a prefix", NULL, "u1", san_server, 3, ALL_KEYS, 0, E_OK, ""},
        {"keyAgreement on P-256", NULL, "u1", NULL, 0, ALL_KEYS, USAGE_DIGITAL_SIGNATURE | USAGE_KEY_AGREEMENT, E_OK, ""},
        {"keyEncipherment on P-256", NULL, "u1", NULL, 0, ALL_KEYS, USAGE_DIGITAL_SIGNATURE | USAGE_KEY_ENCIPHERMENT, E_INVALID,
         "beyond a p256"},
        {"keyCertSign outside CAs", NULL, "u1", NULL, 0, ALL_KEYS, USAGE_KEY_CERT_SIGN, E_INVALID, "keyCertSign"},
    };
    struct test_ca ca;

    (void)state;
    root_make(&ca, KEY_P256, true);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct conf_profile p = profile_of(PROFILE_LDEVID);
        struct cert_inputs in = inputs_of(NULL);
        struct made m;
        struct cert c;
        struct err e = {.code = E_OK};

        p.subject = rows[i].subject ? TEXT(rows[i].subject) : p.subject;
        p.san = (struct conf_strings){rows[i].san, rows[i].san_n};
        p.key_algs = rows[i].key_algs;
        p.key_usage = rows[i].key_usage ? rows[i].key_usage : p.key_usage;
        in.device_id = rows[i].device_id;
        in.lot = NULL;
        enum err_code code = make(&p, &ca.issuer, KEY_P256, KEY_P256, &in, &m, &e);
        if (code != rows[i].code || (code != E_OK && !strstr(e.msg, rows[i].says)))
            fail_msg("%s: code %d, %s", rows[i].name, (int)code, e.msg);
        if (code == E_OK) {
            char value[128];

            assert_int_equal(cert_read(buf_bytes(&m.cert), &c, &e), E_OK);
            openssl_chain_holds(buf_bytes(&ca.cert), buf_bytes(&m.cert));
            if (rows[i].subject && strcmp(rows[i].subject, "CN={device_id}") == 0) {
                assert_true(name_get(c.subject, OID_CN, value, sizeof value));
                assert_string_equal(value, rows[i].device_id);
                assert_false(name_get(c.subject, OID_O, value, sizeof value));
            }
        }
        made_free(&m);
    }
    ca_free(&ca);
}

static void renewal_keeps_the_old_octets(void **state)
{
    struct conf_profile p = profile_of(PROFILE_LDEVID);
    struct cert_inputs in = inputs_of(NULL);
    struct buf subject = BUF_INIT(256), san = BUF_INIT(256);
    struct test_ca ca;
    struct made m;
    struct cert c;
    struct err e;

    (void)state;
    root_make(&ca, KEY_P256, true);
    der_text("30{31{30{0603550403 0c{\"dev-7\"}}}}", NULL, &subject);
    der_text("30{82{\"x.example\"}}", NULL, &san);
    in.subject = buf_bytes(&subject);
    in.san_der = buf_bytes(&san);
    in.device_id = NULL;
    assert_int_equal(make(&p, &ca.issuer, KEY_P256, KEY_ED25519, &in, &m, &e), E_OK);
    assert_int_equal(cert_read(buf_bytes(&m.cert), &c, &e), E_OK);
    assert_true(bytes_equal(c.subject, buf_bytes(&subject)));
    assert_true(bytes_equal(c.san, buf_bytes(&san)));
    made_free(&m);
    in.subject.len--; /* not one element any more */
    assert_int_equal(make(&p, &ca.issuer, KEY_P256, KEY_ED25519, &in, &m, &e), E_INVALID);
    made_free(&m);
    buf_clear(&subject);
    buf_clear(&san);
    ca_free(&ca);
}

static void names_go_to_der_and_back(void **state)
{
    static const struct {
        const char *text, *back; /* back NULL: the same; "" refused */
    } rows[] = {
        {"CN=Fleet CA 1,O=Example,serialNumber=x-1,C=JP", NULL},
        {"CN=a", NULL},
        {"  CN = spaces kept inside  , O=x ", "CN=spaces kept inside,O=x"},
        {"cn=any case,o=x", "CN=any case,O=x"},
        {"CN=Acme\\, Inc.", NULL},
        {"CN=a\\+b\\;c\\<d\\>e\\\"f\\\\g\\=h", NULL},
        {"CN=\\ leading", NULL},
        {"CN=trailing\\ ", NULL},
        {"CN=\\#hash", NULL},
        {"CN=\xe6\x97\xa5\xe6\x9c\xac", NULL},
        {"CN=\\e6\\97\\a5", "CN=\xe6\x97\xa5"},
        {"CN={device_id}", NULL},
        {"OU=a,OU=b,L=c,ST=d", NULL},
        {"", ""},
        {"CN=", ""},
        {"CN", ""},
        {"CN=a,", ""},
        {",CN=a", ""},
        {"CN=a,CN=b", ""},
        {"serialNumber=a_b", ""},
        {"C=JPN", ""},
        {"C=J1", ""},
        {"DC=example", ""},
        {"CN=a+O=b", ""},
        {"CN=a\\", ""},
        {"CN=a\\00b", ""},
        {"CN=a\\0ab", ""},
        {"CN=\xc0\xaf", ""},
        {"CN=12345678901234567890123456789012345678901234567890123456789012345", ""},
        {"CN=1234567890123456789012345678901234567890123456789012345678901234", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf der = BUF_INIT(2048);
        struct err e = {.code = E_OK};
        char back[512];

        enum err_code code = name_from_text(rows[i].text, &der, &e);
        if (rows[i].back && !*rows[i].back) {
            if (code != E_INVALID)
                fail_msg("\"%s\" was taken", rows[i].text);
            buf_clear(&der);
            continue;
        }
        if (code != E_OK)
            fail_msg("\"%s\": %s", rows[i].text, e.msg);
        name_to_text(buf_bytes(&der), back, sizeof back);
        assert_string_equal(back, rows[i].back ? rows[i].back : rows[i].text);
        const unsigned char *p = der.p;
        X509_NAME *name = d2i_X509_NAME(NULL, &p, (long)der.len);
        assert_non_null(name);
        assert_ptr_equal(p, der.p + der.len);
        unsigned char *again = NULL;
        assert_int_equal(i2d_X509_NAME(name, &again), (int)der.len);
        assert_memory_equal(again, der.p, der.len);
        OPENSSL_free(again);
        X509_NAME_free(name);
        for (size_t size = 0; size < strlen(back); size++) { /* always terminated, never past the end */
            char small[512];
            memset(small, 'x', sizeof small);
            name_to_text(buf_bytes(&der), small, size);
            assert_true(size == 0 || strlen(small) < size);
            assert_int_equal(small[size], 'x');
        }
        buf_clear(&der);
    }
}

static void names_match_by_content(void **state)
{
    static const struct {
        const char *name, *a, *b;
        bool matches;
    } rows[] = {
        {"the same", "30{31{30{0603550403 0c{\"a\"}}}}", "30{31{30{0603550403 0c{\"a\"}}}}", true},
        {"another string type", "30{31{30{0603550403 0c{\"a\"}}}}", "30{31{30{0603550403 13{\"a\"}}}}", true},
        {"BMPString", "30{31{30{0603550403 0c{c3a9}}}}", "30{31{30{0603550403 1e{00e9}}}}", true},
        {"T61String as Latin-1", "30{31{30{0603550403 0c{c3a9}}}}", "30{31{30{0603550403 14{e9}}}}", true},
        {"another case", "30{31{30{0603550403 0c{\"Abc\"}}}}", "30{31{30{0603550403 0c{\"aBC\"}}}}", true},
        {"white space", "30{31{30{0603550403 0c{\" a  b \"}}}}", "30{31{30{0603550403 0c{\"a b\"}}}}", true},
        {"white space that separates", "30{31{30{0603550403 0c{\"ab\"}}}}", "30{31{30{0603550403 0c{\"a b\"}}}}", false},
        {"another value", "30{31{30{0603550403 0c{\"a\"}}}}", "30{31{30{0603550403 0c{\"b\"}}}}", false},
        {"another type", "30{31{30{0603550403 0c{\"a\"}}}}", "30{31{30{060355040a 0c{\"a\"}}}}", false},
        {"a longer name", "30{31{30{0603550403 0c{\"a\"}}}}",
         "30{31{30{0603550403 0c{\"a\"}}}31{30{060355040a 0c{\"a\"}}}}", false},
        {"another order of RDNs", "30{31{30{060355040a 0c{\"a\"}}}31{30{0603550403 0c{\"a\"}}}}",
         "30{31{30{0603550403 0c{\"a\"}}}31{30{060355040a 0c{\"a\"}}}}", false},
        {"another order inside an RDN", "30{31{30{060355040a 0c{\"a\"}}30{0603550403 0c{\"a\"}}}}",
         "30{31{30{0603550403 0c{\"a\"}}30{060355040a 0c{\"a\"}}}}", true},
        {"one attribute doubled", "30{31{30{060355040a 0c{\"a\"}}30{060355040a 0c{\"a\"}}}}",
         "30{31{30{060355040a 0c{\"a\"}}30{060355040b 0c{\"a\"}}}}", false},
        {"no names", "0500", "0500", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf a = BUF_INIT(512), b = BUF_INIT(512);

        der_text(rows[i].a, NULL, &a);
        der_text(rows[i].b, NULL, &b);
        if (name_matches(buf_bytes(&a), buf_bytes(&b)) != rows[i].matches ||
            name_matches(buf_bytes(&b), buf_bytes(&a)) != rows[i].matches)
            fail_msg("%s", rows[i].name);
        buf_clear(&a);
        buf_clear(&b);
    }
}

static void serials_have_the_range_of_the_rfc(void **state)
{
    uint8_t serial[SERIAL_MAX_LEN], or_all[SERIAL_MAX_LEN] = {0};
    unsigned shards[7] = {0};

    (void)state;
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(serial_draw(serial, NULL), E_OK);
        assert_in_range(serial[0], 0x01, 0x7f);
        for (size_t k = 0; k < sizeof serial; k++)
            or_all[k] |= serial[k];
        unsigned shard = cert_shard(BYTES_OF(serial), 7);
        assert_in_range(shard, 1, 7);
        assert_int_equal(shard, cert_shard(BYTES_OF(serial), 7));
        assert_int_equal(cert_shard(BYTES_OF(serial), 0), 0);
        shards[shard - 1]++;
    }
    for (size_t i = 0; i < 7; i++)
        assert_in_range(shards[i], 180, 400);
    for (size_t k = 0; k < sizeof serial; k++)
        assert_int_equal(or_all[k], k ? 0xff : 0x7f);
}

static void broken_certificates_are_refused(void **state)
{
    struct conf_profile p = profile_of(PROFILE_LDEVID);
    struct cert_inputs in = inputs_of(NULL);
    struct test_ca ca;
    struct made m;
    struct cert c;
    struct err e;

    (void)state;
    root_make(&ca, KEY_P256, true);
    assert_int_equal(make(&p, &ca.issuer, KEY_P256, KEY_P256, &in, &m, &e), E_OK);
    for (size_t n = 0; n < m.cert.len; n++) {
        uint8_t *cut = malloc(n ? n : 1);
        memcpy(cut, m.cert.p, n);
        assert_int_equal(cert_read(BYTES(cut, n), &c, &e), E_INVALID);
        free(cut);
    }
    buf_add_u8(&m.cert, 0);
    assert_int_equal(cert_read(buf_bytes(&m.cert), &c, &e), E_INVALID);
    m.cert.len--;
    uint8_t *inner = memmem(m.cert.p, m.cert.len, "\x2a\x86\x48\xce\x3d\x04\x03\x02", 8);
    inner[7] = 3; /* inner algorithm SHA-384, outer SHA-256 */
    assert_int_equal(cert_read(buf_bytes(&m.cert), &c, &e), E_INVALID);
    assert_non_null(strstr(e.msg, "4.1.1.2"));
    inner[7] = 2;
    assert_int_equal(cert_read(buf_bytes(&m.cert), &c, &e), E_OK);
    uint8_t *ski = memmem(m.cert.p, m.cert.len, "\x06\x03\x55\x1d\x0e", 5);
    ski[4] = 0x23; /* a second AKI */
    assert_int_equal(cert_read(buf_bytes(&m.cert), &c, &e), E_INVALID);
    assert_non_null(strstr(e.msg, "twice"));
    made_free(&m);
    ca_free(&ca);
}

static void a_profile_has_one_description(void **state)
{
    struct conf_profile p = profile_of(PROFILE_LDEVID);
    struct buf a = BUF_INIT(8192), b = BUF_INIT(8192);
    uint8_t hash_a[32], hash_b[32];
    p.retire_never = true;
    static const char expected[] =
        "{\"allow_idevid_key\":false,\"basic_reenroll\":false,\"ca\":\"fleet-ca\",\"ca_issuers_url\":false,"
        "\"clone_window_s\":0,\"crl_url\":true,\"eku\":[\"clientAuth\"],\"expired_grace_s\":0,"
        "\"idevid_reenroll\":\"supersede\",\"key_algs\":[\"ed25519\",\"p256\",\"p384\",\"rsa2048\",\"rsa3072\",\"rsa4096\"],"
        "\"key_usage\":[\"digitalSignature\"],\"kind\":\"ldevid\",\"name\":\"p\",\"no_expiry\":false,\"ocsp_url\":true,"
        "\"path_len\":-1,\"pop_required\":false,\"rekey_required\":false,\"renew_percent\":0,\"retire_after_s\":-1,"
        "\"san\":[\"dns:{device_id}.dev.example\",\"uri:urn:dev:{domain}:{device_id}\",\"ip:192.0.2.1\"],"
        "\"subject\":\"CN={device_id},serialNumber={device_id},O=Acme\",\"validity_s\":31536000}";

    (void)state;
    assert_int_equal(profile_describe(&p, &a, hash_a, NULL), E_OK);
    assert_int_equal(a.len, sizeof expected - 1);
    assert_memory_equal(a.p, expected, a.len);
    sha256(buf_bytes(&a), hash_b);
    assert_memory_equal(hash_a, hash_b, 32);
    p.validity_s++;
    p.subject = TEXT("CN=\"q\"\\\n");
    assert_int_equal(profile_describe(&p, &b, hash_b, NULL), E_OK);
    assert_memory_not_equal(hash_a, hash_b, 32);
    assert_non_null(memmem(b.p, b.len, "\"CN=\\\"q\\\"\\\\\\u000a\"", 18));
    buf_clear(&a);
    buf_clear(&b);
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
        cmocka_unit_test(every_profile_and_key_type_passes_openssl_and_lint),
        cmocka_unit_test(an_idevid_is_what_802_1ar_asks),
        cmocka_unit_test(addresses_are_one_definition),
        cmocka_unit_test(validity_stays_inside_the_issuers),
        cmocka_unit_test(templates_and_inputs_are_checked),
        cmocka_unit_test(renewal_keeps_the_old_octets),
        cmocka_unit_test(names_go_to_der_and_back),
        cmocka_unit_test(names_match_by_content),
        cmocka_unit_test(serials_have_the_range_of_the_rfc),
        cmocka_unit_test(broken_certificates_are_refused),
        cmocka_unit_test(a_profile_has_one_description),
    };

    return cmocka_run_group_tests(tests, NULL, teardown);
}
