/* SPDX-License-Identifier: Apache-2.0 */
/* Writers and linter share no code: whatever the writers make must lint clean, and must not once an input is another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/oid.h"
#include "ca/cert.h"
#include "ca/crl.h"
#include "ca/lint.h"
#include "ca/ocsp.h"
#include "tests/lib/derb.h"

#define NOW      1795305600 /* 2026-11-22T00:00:00Z */
#define YEAR_S   (365L * 86400)
#define ARRAY(a) (a), sizeof(a) / sizeof(a)[0]

/* Configuration owns its strings: a literal as what is not const. */
#define TEXT(s) ((char[]){s})

#define ISSUER_NAME "30{31{30{06{550403} 0c{'Fleet CA 1'}}}}"

static const struct derb_vars no_vars = {.n = 0};

static void assert_clean(const struct lint_report *r, const char *what)
{
    struct err e = {.code = E_OK};

    if (lint_result(r, what, &e) != E_OK)
        fail_msg("%s", e.msg);
}

static void assert_found(const struct lint_report *r, const char *id)
{
    for (size_t i = 0; i < r->n && i < LINT_FINDINGS_MAX; i++)
        if (strcmp(r->finding[i]->id, id) == 0)
            return;
    fail_msg("%s is not among %zu findings", id, r->n);
}

/* ---- certificates ---- */

/* One key of each type; the points need not be on their curve, as neither side asks. */
static const char *const key_text[KEY_ALGS] = {
    [KEY_P256] = "30{30{06{2a8648ce3d0201} 06{2a8648ce3d030107}} 03{00 04*64{5a}}}",
    [KEY_P384] = "30{30{06{2a8648ce3d0201} 06{2b81040022}} 03{00 04*96{5a}}}",
    [KEY_RSA2048] = "30{30{06{2a864886f70d010101} 0500} 03{00 30{02{00c1*255{11}} 02{010001}}}}",
    [KEY_RSA3072] = "30{30{06{2a864886f70d010101} 0500} 03{00 30{02{00c1*383{11}} 02{010001}}}}",
    [KEY_RSA4096] = "30{30{06{2a864886f70d010101} 0500} 03{00 30{02{00c1*511{11}} 02{010001}}}}",
    [KEY_ED25519] = "30{30{06{2b6570}} 03{00 *32{33}}}",
};

static struct pubkey make_key(enum key_alg alg, uint8_t *der, size_t max)
{
    struct pubkey key = {.alg = alg, .spki = BYTES(der, derb(der, max, &no_vars, key_text[alg]))};
    struct der in, spki, algorithm;
    unsigned unused;

    der_init(&in, key.spki.p, key.spki.len);
    assert_true(der_take(&in, DER_SEQUENCE, &spki) && der_take(&spki, DER_SEQUENCE, &algorithm) &&
                der_take_bits(&spki, &key.key_bits, &unused));
    sha256(key.spki, key.spki_hash);
    return key;
}

static char *san_device[] = {TEXT("dns:{device_id}.example"), TEXT("uri:urn:dev:ops:{device_id}"), TEXT("ip:192.0.2.1"),
                             TEXT("hwmodule:1.3.6.1.4.1.32473.1:{device_id}")};
static char *san_server[] = {TEXT("dns:localhost"), TEXT("ip:::1")};

struct cert_row_of_table {
    const char *name;
    struct conf_profile profile;
    enum sig_alg sig_alg;
    time_t issuer_not_after;
};

#define DEVICE "CN={device_id},serialNumber={device_id},O=Acme,C=JP"
#define ALL_KEYS                                                                                                       \
    (KEY_BIT(KEY_P256) | KEY_BIT(KEY_P384) | KEY_BIT(KEY_RSA2048) | KEY_BIT(KEY_RSA3072) | KEY_BIT(KEY_RSA4096) |      \
     KEY_BIT(KEY_ED25519))

static const struct cert_row_of_table table[] = {
    {"root",
     {.kind = PROFILE_ROOT_CA,
      .subject = TEXT("CN=Fleet Root,O=Acme"),
      .validity_s = 25 * YEAR_S,
      .path_len = -1,
      .crl_url = true,
      .ocsp_url = true,
      .ca_issuers_url = true},
     SIG_ECDSA_SHA384,
     0},
    {"root without expiry",
     {.kind = PROFILE_ROOT_CA, .subject = TEXT("CN=Maker Root"), .no_expiry = true, .path_len = -1},
     SIG_RSA_SHA256,
     0},
    {"issuing CA",
     {.kind = PROFILE_ISSUING_CA,
      .subject = TEXT("CN=Fleet CA 2"),
      .validity_s = 10 * YEAR_S,
      .path_len = 0,
      .crl_url = true,
      .ocsp_url = true,
      .ca_issuers_url = true},
     SIG_ECDSA_SHA256,
     NOW + 25 * YEAR_S},
    {"issuing CA clamped to its root",
     {.kind = PROFILE_ISSUING_CA, .subject = TEXT("CN=Fleet CA 2"), .validity_s = 10 * YEAR_S, .path_len = 1},
     SIG_ED25519,
     NOW + YEAR_S},
    {"IDevID",
     {.kind = PROFILE_IDEVID,
      .subject = TEXT(DEVICE),
      .san = {san_device, 4},
      .key_usage = USAGE_DIGITAL_SIGNATURE,
      .eku = EKU_CLIENT_AUTH,
      .no_expiry = true,
      .path_len = -1},
     SIG_ECDSA_SHA256,
     TIME_NO_EXPIRY},
    {"LDevID",
     {.kind = PROFILE_LDEVID,
      .subject = TEXT(DEVICE),
      .san = {san_device, 2},
      .key_usage = USAGE_DIGITAL_SIGNATURE,
      .eku = EKU_CLIENT_AUTH,
      .validity_s = YEAR_S,
      .path_len = -1,
      .crl_url = true,
      .ocsp_url = true},
     SIG_RSA_SHA256,
     NOW + 10 * YEAR_S},
    {"LDevID ending after 2049",
     {.kind = PROFILE_LDEVID,
      .subject = TEXT(DEVICE),
      .key_usage = USAGE_DIGITAL_SIGNATURE,
      .eku = EKU_CLIENT_AUTH,
      .validity_s = 30 * YEAR_S,
      .path_len = -1,
      .ca_issuers_url = true},
     SIG_ECDSA_SHA256,
     TIME_NO_EXPIRY},
    {"TLS server without subject",
     {.kind = PROFILE_TLS_SERVER,
      .subject = TEXT(""),
      .san = {san_server, 2},
      .key_algs = KEY_BIT(KEY_RSA2048) | KEY_BIT(KEY_RSA4096),
      .key_usage = USAGE_DIGITAL_SIGNATURE | USAGE_KEY_ENCIPHERMENT,
      .eku = EKU_SERVER_AUTH,
      .validity_s = 90 * 86400,
      .path_len = -1,
      .crl_url = true},
     SIG_ECDSA_SHA256,
     NOW + YEAR_S},
    {"OCSP signer",
     {.kind = PROFILE_OCSP_SIGNER,
      .subject = TEXT("CN=OCSP {name}"),
      .validity_s = 30 * 86400,
      .path_len = -1,
      .crl_url = true,
      .ocsp_url = true,
      .ca_issuers_url = true},
     SIG_ECDSA_SHA256,
     NOW + YEAR_S},
    {"station",
     {.kind = PROFILE_STATION,
      .subject = TEXT("CN={device_id}"),
      .key_usage = USAGE_DIGITAL_SIGNATURE,
      .eku = EKU_CLIENT_AUTH,
      .validity_s = 30 * 86400,
      .path_len = -1},
     SIG_ECDSA_SHA256,
     NOW + YEAR_S},
};

struct cert_world {
    struct conf conf;
    struct conf_profile profile;
    struct cert_issuer issuer;
    struct cert_inputs in;
    struct pubkey key;
    struct cert_built built;
    struct lint_cert_expect x;
    uint8_t key_der[1024], issuer_name[64];
    char crl_url[CERT_URL_MAX], ocsp_url[CERT_URL_MAX], name[32], public_url[32];
};

static void make_cert(struct cert_world *w, const struct cert_row_of_table *row, enum key_alg alg)
{
    struct err e = {.code = E_OK};
    size_t len;

    memset(w, 0, sizeof *w);
    strcpy(w->name, "fleet");
    strcpy(w->public_url, "http://pki.example");
    w->conf.public_url = w->public_url;
    w->profile = row->profile;
    w->profile.name = w->name;
    if (w->profile.key_algs == 0)
        w->profile.key_algs = ALL_KEYS;
    w->key = make_key(alg, w->key_der, sizeof w->key_der);
    w->issuer = (struct cert_issuer){.name = "fleet",
                                     .spki = w->key.spki,
                                     .sig_alg = row->sig_alg,
                                     .not_before = NOW - YEAR_S,
                                     .not_after = row->issuer_not_after};
    w->issuer.is_self = w->profile.kind == PROFILE_ROOT_CA;
    memset(w->issuer.ski, 0xa1, sizeof w->issuer.ski);
    if (w->issuer.is_self)
        ski_of(w->key.key_bits, w->issuer.ski);
    len = derb(w->issuer_name, sizeof w->issuer_name, &no_vars, ISSUER_NAME);
    w->issuer.subject = BYTES(w->issuer_name, len);
    w->in = (struct cert_inputs){
        .serial_len = SERIAL_MAX_LEN, .now = NOW, .device_id = "dev-0042", .name = "fleet", .key = &w->key};
    assert_int_equal(serial_draw(w->in.serial, &e), E_OK);
    w->built.tbs = BUF_INIT(CERT_MAX_LEN);
    if (cert_tbs_write(&w->conf, &w->profile, &w->issuer, &w->in, &w->built, &e) != E_OK)
        fail_msg("%s: %s", row->name, e.msg);
    assert_int_equal(cert_crl_url(&w->conf, "fleet", 0, w->crl_url, &e), E_OK);
    assert_int_equal(cert_ocsp_url(&w->conf, w->ocsp_url, &e), E_OK);
}

static void lint_made(struct cert_world *w, struct lint_report *r)
{
    bool device =
        w->profile.kind == PROFILE_IDEVID || w->profile.kind == PROFILE_LDEVID || w->profile.kind == PROFILE_STATION;
    struct derb_vars root = {.n = 0};
    uint8_t name[64];

    w->x = (struct lint_cert_expect){
        .profile = &w->profile,
        .issuer_subject = w->issuer.subject,
        .issuer_ski = BYTES_OF(w->issuer.ski),
        .issuer_not_before = w->issuer.not_before,
        .issuer_not_after = w->issuer.not_after,
        .sig_alg = w->issuer.sig_alg,
        .self_signed = w->issuer.is_self,
        .spki = w->key.spki,
        .serial = BYTES(w->in.serial, w->in.serial_len),
        .device_id = device ? w->in.device_id : NULL,
        .crl_url = w->profile.crl_url ? w->crl_url : NULL,
        .ocsp_url = w->profile.ocsp_url ? w->ocsp_url : NULL,
        .now = NOW,
    };
    if (w->issuer.is_self) {
        const char *text = strcmp(w->profile.subject, "CN=Maker Root") == 0
                               ? "30{31{30{06{550403} 13{'Maker Root'}}}}"
                               : "30{31{30{06{550403} 13{'Fleet Root'}}} 31{30{06{55040a} 13{'Acme'}}}}";
        w->x.issuer_subject = BYTES(name, derb(name, sizeof name, &root, text));
    }
    lint_cert(buf_bytes(&w->built.tbs), &w->x, r);
}

static void certificates_of_every_profile_and_key_lint_clean(void **state)
{
    struct cert_world w;
    struct lint_report r;
    char what[96];

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        for (int alg = KEY_P256; alg < KEY_ALGS; alg++) {
            if (table[i].profile.key_algs && !(table[i].profile.key_algs & KEY_BIT(alg)))
                continue;
            make_cert(&w, &table[i], (enum key_alg)alg);
            lint_made(&w, &r);
            snprintf(what, sizeof what, "%s with %s", table[i].name, key_alg_name((enum key_alg)alg));
            assert_clean(&r, what);
            buf_clear(&w.built.tbs);
        }
    }
}

static void a_certificate_for_another_key_serial_or_device_does_not(void **state)
{
    struct cert_world w;
    struct lint_report r;
    uint8_t other[1024];

    (void)state;
    make_cert(&w, &table[5], KEY_P256);
    lint_made(&w, &r);
    assert_clean(&r, "LDevID");
    w.in.serial[19] ^= 1;
    lint_made(&w, &r);
    assert_found(&r, "cert.serial.drawn");
    w.in.serial[19] ^= 1;
    w.in.device_id = "dev-0043";
    lint_made(&w, &r);
    assert_found(&r, "cert.subject.device_id");
    w.in.device_id = "dev-0042";
    w.key.spki = BYTES(other, derb(other, sizeof other, &no_vars, key_text[KEY_ED25519]));
    lint_made(&w, &r);
    assert_found(&r, "cert.spki.as_asked");
    buf_clear(&w.built.tbs);
}

/* ---- CRLs ---- */

struct crl_source {
    uint32_t n, at;
};

static bool next_row(void *arg, struct status_row *out, struct err *e)
{
    static const enum crl_reason reasons[] = {REASON_UNSPECIFIED, REASON_KEY_COMPROMISE, REASON_SUPERSEDED,
                                              REASON_PRIVILEGE_WITHDRAWN};
    struct crl_source *s = arg;

    (void)e;
    if (s->at == s->n)
        return false;
    *out = (struct status_row){.serial_len = SERIAL_MAX_LEN,
                               .status = s->at % 5 ? CERT_REVOKED : CERT_ON_HOLD,
                               .reason = reasons[s->at % 4],
                               .time = NOW - 1000 + s->at % 500};
    if (out->status == CERT_ON_HOLD)
        out->reason = REASON_CERTIFICATE_HOLD;
    if (s->at % 3 == 0)
        out->invalidity = NOW - 100000;
    memset(out->serial, 0x5c, SERIAL_MAX_LEN);
    put_be32(out->serial + 4, s->at++);
    return true;
}

static void lists_of_every_size_and_scope_lint_clean(void **state)
{
    static const struct {
        const char *name;
        uint32_t n;
        const char *idp_url;
        bool only_user_certs;
    } lists[] = {
        {"empty full list", 0, NULL, false},
        {"full list", 1000, NULL, false},
        {"empty shard", 0, "http://pki.example/crl/fleet-3.crl", true},
        {"shard", 77, "http://pki.example/crl/fleet-3.crl", true},
        {"shard of everything", 5, "http://pki.example/crl/fleet-3.crl", false},
    };
    uint8_t name[64];
    struct cert_issuer issuer = {.name = "fleet", .sig_alg = SIG_RSA_SHA256};

    (void)state;
    issuer.subject = BYTES(name, derb(name, sizeof name, &no_vars, ISSUER_NAME));
    memset(issuer.ski, 0xa1, sizeof issuer.ski);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        struct crl_inputs in = {.issuer = &issuer,
                                .crl_number = NOW,
                                .this_update = NOW - 300,
                                .next_update = NOW + 7 * 86400,
                                .idp_url = lists[i].idp_url,
                                .only_user_certs = lists[i].only_user_certs};
        struct lint_crl_expect x = {.issuer_subject = issuer.subject,
                                    .issuer_ski = BYTES_OF(issuer.ski),
                                    .sig_alg = issuer.sig_alg,
                                    .crl_number = NOW,
                                    .now = NOW,
                                    .previous_this_update = NOW - 301,
                                    .idp_url = lists[i].idp_url,
                                    .entries = lists[i].n};
        struct crl_source source = {.n = lists[i].n};
        struct buf out = BUF_INIT(1 << 20);
        struct err e = {.code = E_OK};
        struct lint_report r;
        uint64_t entries;

        if (crl_tbs_write(&in, next_row, &source, &entries, &out, &e) != E_OK)
            fail_msg("%s: %s", lists[i].name, e.msg);
        lint_crl(buf_bytes(&out), &x, &r);
        assert_clean(&r, lists[i].name);
        x.entries++;
        x.crl_number++;
        lint_crl(buf_bytes(&out), &x, &r);
        assert_int_equal(r.n, 2);
        assert_found(&r, "crl.entries.count");
        assert_found(&r, "crl.number.reserved");
        buf_clear(&out);
    }
}

/* ---- OCSP answers ---- */

static void answers_of_every_status_lint_clean(void **state)
{
    static const char text[] = "30{30{30{*4{30{30{30{06{2b0e03021a} 0500} 04{*20{b1}} 04{*20{b2}} 02{11*19{33}}}}}}"
                               "a2{30{30{06{2b0601050507300102} 04{04{*32{4e}}}}}}}}";
    uint8_t request[1024];
    struct bytes der = BYTES(request, derb(request, sizeof request, &no_vars, text));
    struct lint_ocsp_expect x = {.request = der, .now = NOW, .responder_not_after = NOW + YEAR_S};
    struct ocsp_response_inputs in = {.produced_at = NOW, .single_n = 4, .has_nonce = true, .extended_revoke = true};
    struct ocsp_single single[4] = {
        {.status = CERT_GOOD},
        {.status = CERT_REVOKED, .reason = REASON_KEY_COMPROMISE, .revoked_at = NOW - 400},
        {.unknown = true},
        {.status = CERT_ON_HOLD, .reason = REASON_CERTIFICATE_HOLD, .unissued_revoked = true},
    };
    struct buf out = BUF_INIT(8192);
    struct ocsp_request read;
    struct err e = {.code = E_OK};
    struct lint_report r;

    (void)state;
    assert_int_equal(ocsp_request_read(der, &read, &e), E_OK);
    assert_int_equal(read.cert_n, 4);
    for (size_t i = 0; i < 4; i++) {
        single[i].cert_id = read.cert[i].raw;
        single[i].this_update = NOW - 300;
        single[i].next_update = NOW + 300;
    }
    in.single = single;
    in.nonce = read.nonce;
    if (ocsp_data_write(&in, &out, &e) != E_OK)
        fail_msg("%s", e.msg);
    lint_ocsp(buf_bytes(&out), &x, &r);
    assert_clean(&r, "ResponseData");
    x.responder_key_hash[0] ^= 1;
    lint_ocsp(buf_bytes(&out), &x, &r);
    assert_int_equal(r.n, 1);
    assert_found(&r, "ocsp.responder_id.key");
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(certificates_of_every_profile_and_key_lint_clean),
        cmocka_unit_test(a_certificate_for_another_key_serial_or_device_does_not),
        cmocka_unit_test(lists_of_every_size_and_scope_lint_clean),
        cmocka_unit_test(answers_of_every_status_lint_clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
