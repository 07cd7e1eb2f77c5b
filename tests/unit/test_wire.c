/* SPDX-License-Identifier: Apache-2.0 */
/* The messages of ca/service.h and ca/follow.h: whole ones come through unchanged, broken ones are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/auto.h"
#include "base/conf.h"
#include "ca/follow.h"
#include "ca/service.h"

static const uint8_t octets[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/* One kind of message: how a full example is written and how any packet of its type is read. */
typedef void (*write_fn)(struct msg *m);
typedef enum err_code (*read_fn)(struct msg_reader *r, struct err *e);

static const struct svc_enroll enroll_example = {
    .operation = SVC_SIMPLEREENROLL,
    .label = "line-1",
    .csr = {octets, 40},
    .chain = {{octets, 10}, {octets + 1, 11}},
    .chain_n = 2,
    .verdict = SVC_CLIENT_EXPIRED,
    .has_password = true,
    .user = "dev-1",
    .password = {octets + 5, 7},
    .binding_kind = SVC_BINDING_TLS_EXPORTER,
    .binding = {octets, 32},
    .tls_bits = 256,
    .peer = "192.0.2.7:40112",
    .unit = "badge=B-77;tool=st/1.2",
};

static void write_enroll(struct msg *m)
{
    svc_enroll_encode(m, &enroll_example);
}

static enum err_code read_enroll(struct msg_reader *r, struct err *e)
{
    struct svc_enroll v;
    return svc_enroll_decode(r, &v, e);
}

static const struct svc_enroll_result enroll_result_example = {
    .code = E_OK, .cert = {octets, 50}, .key = {octets, 60}, .key_enveloped = true, .retry_after_s = 7, .text = "issued", .client_limit = true, .binding_judged = true};

static void write_enroll_result(struct msg *m)
{
    svc_enroll_result_encode(m, &enroll_result_example);
}

static enum err_code read_enroll_result(struct msg_reader *r, struct err *e)
{
    struct svc_enroll_result v;
    return svc_enroll_result_decode(r, &v, e);
}

static const struct svc_factory factory_example = {
    .action = SVC_FACTORY_CONFIRM,
    .order = "WO-17",
    .device_id = "M2-00000001",
    .body = {octets, 30},
    .chain = {{octets, 10}},
    .chain_n = 1,
    .verdict = SVC_CLIENT_VALID,
    .peer = "192.0.2.7:40112",
};

static void write_factory(struct msg *m)
{
    svc_factory_encode(m, &factory_example);
}

static enum err_code read_factory(struct msg_reader *r, struct err *e)
{
    struct svc_factory v;
    return svc_factory_decode(r, &v, e);
}

static const struct svc_factory_result factory_result_example = {
    .code = E_DENIED, .is_text = true, .body = {octets, 20}, .retry_after_s = 9};

static void write_factory_result(struct msg *m)
{
    svc_factory_result_encode(m, &factory_result_example);
}

static enum err_code read_factory_result(struct msg_reader *r, struct err *e)
{
    struct svc_factory_result v;
    return svc_factory_result_decode(r, &v, e);
}

static const struct svc_label label_example = {.name = "line-1",
                                               .auth_cert = true,
                                               .auth_password = false,
                                               .auth_key = true,
                                               .wrap64 = true,
                                               .pop_required = false,
                                               .keygen = true,
                                               .csrattrs = {octets, 33}};

static void write_label(struct msg *m)
{
    svc_label_encode(m, &label_example);
}

static enum err_code read_label(struct msg_reader *r, struct err *e)
{
    struct svc_label v;
    return svc_label_decode(r, &v, e);
}

static const struct svc_file file_example = {.path = "/crl/fleet-ca.crl",
                                             .content_type = "application/pkix-crl",
                                             .last_modified = 1700000000,
                                             .expires = 1700003600,
                                             .sha256 = {1, 2, 3, 255},
                                             .size = 12345678901ull};

static void write_file(struct msg *m)
{
    svc_file_encode(m, &file_example);
}

static enum err_code read_file(struct msg_reader *r, struct err *e)
{
    struct svc_file v;
    return svc_file_decode(r, &v, e);
}

static const struct svc_purge purge_example = {
    .seq = 77, .all = false, .item = {{.issuer = 3, .serial = {1, 2}, .serial_len = 2}, {4, {9}, 1}}, .n = 2};

static void write_purge(struct msg *m)
{
    svc_purge_encode(m, &purge_example);
}

static enum err_code read_purge(struct msg_reader *r, struct err *e)
{
    static struct svc_purge v;
    return svc_purge_decode(r, &v, e);
}

static const struct sts_ocsp_result ocsp_example = {
    .response = {octets, 60},
    .cacheable = true,
    .seq = 9,
    .produced_at = 1000,
    .this_update = 900,
    .next_update = 4600,
    .max_age_s = 1800,
    .cert = {{.issuer = 2, .serial = {0x7f, 1, 2}, .serial_len = 3}},
    .cert_n = 1,
};

static void write_ocsp(struct msg *m)
{
    sts_ocsp_result_encode(m, &ocsp_example);
}

static enum err_code read_ocsp(struct msg_reader *r, struct err *e)
{
    struct sts_ocsp_result v;
    return sts_ocsp_result_decode(r, &v, e);
}

static const struct status_row row_example = {.seq = 5,
                                              .issuer = 2,
                                              .serial = {0x11, 0x22, 0x33},
                                              .serial_len = 3,
                                              .status = CERT_REVOKED,
                                              .reason = REASON_KEY_COMPROMISE,
                                              .time = 1700000000,
                                              .invalidity = 1600000000,
                                              .not_after = 1800000000,
                                              .batch = 6,
                                              .origin = "old-ca",
                                              .device = 77,
                                              .device_state = DEVICE_LOST,
                                              .kind = PROFILE_LDEVID,
                                              .has_hash = true,
                                              .der_hash = {1, 2, 3}};

static void write_row(struct msg *m)
{
    status_row_encode(m, &row_example);
}

static enum err_code read_row(struct msg_reader *r, struct err *e)
{
    struct status_row v;
    status_row_get(r, &v);
    return msg_read_end(r, e);
}

static const struct follow_issuer issuer_example = {
    .id = 2,
    .name = "fleet",
    .subject = {octets, 20},
    .spki = {octets, 30},
    .responds = true,
    .token = "ocsp-1",
    .key = "ocsp/fleet/1",
    .key_cka_id = {octets, 16},
    .key_spki = {octets, 31},
    .responder_cert = {octets, 32},
    .responder_not_before = 1,
    .responder_not_after = 2,
    .validity_s = 3600,
};

static void write_issuer(struct msg *m)
{
    follow_issuer_encode(m, &issuer_example);
}

static enum err_code read_issuer(struct msg_reader *r, struct err *e)
{
    struct follow_issuer v;
    return follow_issuer_decode(r, &v, e);
}

static const struct access_device device_example = {
    .id = 77, .moved_to = 78, .domain = "acme", .device_id = "dev-1", .product = "lock", .firmware = "1.2", .state = DEVICE_LOST};

static void write_device(struct msg *m)
{
    follow_device_put(m, &device_example);
}

static enum err_code read_device(struct msg_reader *r, struct err *e)
{
    char room[DEVICE_ROOM];
    struct access_device v;

    follow_device_get(r, &v, room);
    return msg_read_end(r, e);
}

static const struct follow_feed_key feed_key_example = {
    .token = "ocsp", .key = "feed/fleet/1", .cka_id = {octets, 16}, .spki = {octets, 40}, .cert = {octets, 50}, .issuer = {octets, 60}};

static void write_feed_key(struct msg *m)
{
    follow_feed_key_encode(m, &feed_key_example);
}

static enum err_code read_feed_key(struct msg_reader *r, struct err *e)
{
    struct follow_feed_key v;
    return follow_feed_key_decode(r, &v, e);
}

static const struct sts_decide decide_example = {
    .caller = {.cert_hash = {9, 8, 7}},
    .audience = "door",
    .who = {{.kind = IDENTITY_CERT, .der_hash = {1}, .ski = {2}, .not_before = 1700000000},
            {.kind = IDENTITY_FINGERPRINT, .der_hash = {3}},
            {.kind = IDENTITY_SERIAL, .ski = {4}, .serial = {5, 6}, .serial_len = 2},
            {.kind = IDENTITY_NONE}},
    .n = 4,
};

static void write_decide(struct msg *m)
{
    sts_decide_encode(m, &decide_example);
}

static enum err_code read_decide(struct msg_reader *r, struct err *e)
{
    static struct sts_decide v;
    return sts_decide_decode(r, &v, e);
}

static const struct sts_decided decided_example = {
    .seq = 9,
    .policy_version = 3,
    .first = 2,
    .total = 4,
    .n = 2,
    .decision = {{.allow = true, .reason = DECISION_OK, .cache_s = 10, .status_age_s = 2, .known = true, .scope = SCOPE_FULL, .has_device = true,
                  .state = DEVICE_IN_SERVICE, .domain = "acme", .device_id = "dev-1", .product = "lock", .firmware = "1.2"},
                 {.close = true, .reason = DECISION_REVOKED, .known = true, .status = CERT_REVOKED, .revocation_reason = REASON_KEY_COMPROMISE,
                  .revoked_at = 1700000000, .identity_unverified = true}},
};

static void write_decided(struct msg *m)
{
    sts_decided_encode(m, &decided_example);
}

static enum err_code read_decided(struct msg_reader *r, struct err *e)
{
    static struct sts_decided v;
    return sts_decided_decode(r, &v, e);
}

static const struct {
    const char *name;
    write_fn write;
    read_fn read;
} kinds[] = {
    {"svc_enroll", write_enroll, read_enroll}, {"svc_enroll_result", write_enroll_result, read_enroll_result},
    {"svc_label", write_label, read_label},    {"svc_file", write_file, read_file},
    {"svc_purge", write_purge, read_purge},    {"sts_ocsp_result", write_ocsp, read_ocsp},
    {"status_row", write_row, read_row},       {"follow_issuer", write_issuer, read_issuer},
    {"svc_factory", write_factory, read_factory},
    {"svc_factory_result", write_factory_result, read_factory_result},
    {"access_device", write_device, read_device},
    {"follow_feed_key", write_feed_key, read_feed_key},
    {"sts_decide", write_decide, read_decide},
    {"sts_decided", write_decided, read_decided},
};

static struct msg_reader reader_of(struct msg *m)
{
    struct msg_reader r;
    struct err e;

    assert_true(msg_finish(m));
    assert_int_equal(msg_read_begin(buf_bytes(&m->b), &r, &e), E_OK);
    return r;
}

static void whole_messages_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        AUTO_MSG m;
        struct msg_reader r;
        struct err e;

        print_message("# %s\n", kinds[i].name);
        msg_begin(&m, SVC_HELLO, 1);
        kinds[i].write(&m);
        r = reader_of(&m);
        assert_int_equal(kinds[i].read(&r, &e), E_OK);
    }
}

static void every_truncated_prefix_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        AUTO_MSG m;
        struct msg_reader whole;

        print_message("# %s\n", kinds[i].name);
        msg_begin(&m, SVC_HELLO, 1);
        kinds[i].write(&m);
        whole = reader_of(&m);
        for (size_t n = 0; n < whole.len; n++) {
            struct msg_reader r = whole;
            struct err e;

            r.len = n;
            assert_int_equal(kinds[i].read(&r, &e), E_INVALID);
        }
    }
}

static void a_trailing_octet_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        AUTO_MSG m;
        struct msg_reader r;
        struct err e;

        msg_begin(&m, SVC_HELLO, 1);
        kinds[i].write(&m);
        msg_put_u8(&m, 0);
        r = reader_of(&m);
        assert_int_equal(kinds[i].read(&r, &e), E_INVALID);
    }
}

/* No single wrong octet may crash a reader or make it read past its packet (sanitizers watch). */
static void no_flipped_octet_breaks_a_reader(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        AUTO_MSG m;
        struct msg_reader whole;

        msg_begin(&m, SVC_HELLO, 1);
        kinds[i].write(&m);
        whole = reader_of(&m);
        for (size_t n = 0; n < whole.len; n++)
            for (unsigned bit = 0; bit < 8; bit++) {
                AUTO(char) *copy = malloc(whole.len);
                struct msg_reader r = whole;
                struct err e;
                enum err_code code;

                assert_non_null(copy);
                memcpy(copy, whole.p, whole.len);
                copy[n] = (char)((uint8_t)copy[n] ^ (1u << bit));
                r.p = (const uint8_t *)copy;
                code = kinds[i].read(&r, &e);
                assert_true(code == E_OK || code == E_INVALID);
            }
    }
}

static void enroll_comes_through_unchanged(void **state)
{
    AUTO_MSG m;
    struct msg_reader r;
    struct svc_enroll v;
    struct err e;

    (void)state;
    msg_begin(&m, SVC_ENROLL, 42);
    write_enroll(&m);
    r = reader_of(&m);
    assert_int_equal(r.type, SVC_ENROLL);
    assert_int_equal(r.request_id, 42);
    assert_int_equal(svc_enroll_decode(&r, &v, &e), E_OK);
    assert_int_equal(v.operation, SVC_SIMPLEREENROLL);
    assert_string_equal(v.label, "line-1");
    assert_true(bytes_equal(v.csr, enroll_example.csr));
    assert_int_equal(v.chain_n, 2);
    assert_true(bytes_equal(v.chain[0], enroll_example.chain[0]));
    assert_true(bytes_equal(v.chain[1], enroll_example.chain[1]));
    assert_int_equal(v.verdict, SVC_CLIENT_EXPIRED);
    assert_int_equal(v.tls_bits, 256);
    assert_true(v.has_password);
    assert_string_equal(v.user, "dev-1");
    assert_true(bytes_equal(v.password, enroll_example.password));
    assert_int_equal(v.binding_kind, SVC_BINDING_TLS_EXPORTER);
    assert_true(bytes_equal(v.binding, enroll_example.binding));
    assert_string_equal(v.peer, "192.0.2.7:40112");
    assert_string_equal(v.unit, "badge=B-77;tool=st/1.2");
}

static void factory_comes_through_unchanged(void **state)
{
    AUTO_MSG m1, m2;
    struct msg_reader r;
    struct svc_factory v;
    struct svc_factory_result res;
    struct err e;

    (void)state;
    msg_begin(&m1, SVC_FACTORY, 43);
    write_factory(&m1);
    r = reader_of(&m1);
    assert_int_equal(svc_factory_decode(&r, &v, &e), E_OK);
    assert_int_equal(v.action, SVC_FACTORY_CONFIRM);
    assert_string_equal(v.order, "WO-17");
    assert_string_equal(v.device_id, "M2-00000001");
    assert_true(bytes_equal(v.body, factory_example.body));
    assert_int_equal(v.chain_n, 1);
    assert_true(bytes_equal(v.chain[0], factory_example.chain[0]));
    assert_int_equal(v.verdict, SVC_CLIENT_VALID);
    assert_string_equal(v.peer, "192.0.2.7:40112");
    msg_begin(&m2, SVC_FACTORY_RESULT, 43);
    write_factory_result(&m2);
    r = reader_of(&m2);
    assert_int_equal(svc_factory_result_decode(&r, &res, &e), E_OK);
    assert_int_equal(res.code, E_DENIED);
    assert_true(res.is_text);
    assert_true(bytes_equal(res.body, factory_result_example.body));
    assert_int_equal(res.retry_after_s, 9);
}

static void results_files_and_labels_come_through_unchanged(void **state)
{
    AUTO_MSG m1, m2, m3;
    struct msg_reader r;
    struct svc_enroll_result res;
    struct svc_file file;
    struct svc_label label;
    struct err e;

    (void)state;
    msg_begin(&m1, SVC_ENROLL_RESULT, 1);
    msg_begin(&m2, SVC_FILE, 1);
    msg_begin(&m3, SVC_LABEL, 1);
    write_enroll_result(&m1);
    r = reader_of(&m1);
    assert_int_equal(svc_enroll_result_decode(&r, &res, &e), E_OK);
    assert_int_equal(res.code, E_OK);
    assert_true(bytes_equal(res.cert, enroll_result_example.cert));
    assert_true(bytes_equal(res.key, enroll_result_example.key) && res.key_enveloped);
    assert_int_equal(res.retry_after_s, 7);
    assert_string_equal(res.text, "issued");
    assert_true(res.client_limit && res.binding_judged);

    write_file(&m2);
    r = reader_of(&m2);
    assert_int_equal(svc_file_decode(&r, &file, &e), E_OK);
    assert_string_equal(file.path, file_example.path);
    assert_string_equal(file.content_type, file_example.content_type);
    assert_true(file.last_modified == 1700000000 && file.expires == 1700003600);
    assert_memory_equal(file.sha256, file_example.sha256, 32);
    assert_true(file.size == 12345678901ull);

    write_label(&m3);
    r = reader_of(&m3);
    assert_int_equal(svc_label_decode(&r, &label, &e), E_OK);
    assert_string_equal(label.name, "line-1");
    assert_true(label.auth_cert && !label.auth_password && label.auth_key && label.wrap64 && !label.pop_required && label.keygen);
    assert_true(bytes_equal(label.csrattrs, label_example.csrattrs));
}

static void purge_and_ocsp_result_come_through_unchanged(void **state)
{
    AUTO_MSG m1, m2;
    struct msg_reader r;
    static struct svc_purge purge;
    struct sts_ocsp_result v;
    struct err e;

    (void)state;
    msg_begin(&m1, SVC_PURGE, 1);
    msg_begin(&m2, STS_OCSP_RESULT, 1);
    write_purge(&m1);
    r = reader_of(&m1);
    assert_int_equal(svc_purge_decode(&r, &purge, &e), E_OK);
    assert_true(purge.seq == 77 && !purge.all && purge.n == 2);
    assert_true(purge.item[0].issuer == 3 && purge.item[0].serial_len == 2 && purge.item[0].serial[1] == 2);
    assert_true(purge.item[1].issuer == 4 && purge.item[1].serial_len == 1 && purge.item[1].serial[0] == 9);

    write_ocsp(&m2);
    r = reader_of(&m2);
    assert_int_equal(sts_ocsp_result_decode(&r, &v, &e), E_OK);
    assert_true(bytes_equal(v.response, ocsp_example.response));
    assert_true(!v.is_error && v.cacheable && v.seq == 9 && v.max_age_s == 1800 && v.cert_n == 1);
    assert_true(v.produced_at == 1000 && v.this_update == 900 && v.next_update == 4600);
    assert_true(v.cert[0].issuer == 2 && v.cert[0].serial_len == 3 && v.cert[0].serial[0] == 0x7f);
}

static void a_full_purge_fits_one_message(void **state)
{
    AUTO_MSG m;
    static struct svc_purge in, out;
    struct msg_reader r;
    struct err e;

    (void)state;
    in.n = SVC_PURGE_MAX;
    for (size_t i = 0; i < in.n; i++) {
        in.item[i].issuer = (uint32_t)i;
        in.item[i].serial_len = SERIAL_MAX_LEN;
    }
    msg_begin(&m, SVC_PURGE, 1);
    svc_purge_encode(&m, &in);
    r = reader_of(&m);
    assert_int_equal(svc_purge_decode(&r, &out, &e), E_OK);
    assert_int_equal(out.n, SVC_PURGE_MAX);
    assert_int_equal(out.item[999].issuer, 999);
}

static void rows_and_issuers_come_through_unchanged(void **state)
{
    AUTO_MSG m1, m2;
    struct msg_reader r;
    struct status_row row;
    struct follow_issuer v;
    struct err e;

    (void)state;
    msg_begin(&m1, FOLLOW_ROWS, 1);
    msg_begin(&m2, FOLLOW_ISSUER, 1);
    write_row(&m1);
    r = reader_of(&m1);
    status_row_get(&r, &row);
    assert_int_equal(msg_read_end(&r, &e), E_OK);
    assert_true(row.seq == 5 && row.issuer == 2 && row.serial_len == 3);
    assert_memory_equal(row.serial, row_example.serial, SERIAL_MAX_LEN);
    assert_true(row.status == CERT_REVOKED && row.reason == REASON_KEY_COMPROMISE);
    assert_true(row.time == 1700000000 && row.invalidity == 1600000000 && row.not_after == 1800000000);
    assert_true(row.batch == 6);
    assert_string_equal(row.origin, "old-ca");

    write_issuer(&m2);
    r = reader_of(&m2);
    assert_int_equal(follow_issuer_decode(&r, &v, &e), E_OK);
    assert_true(v.id == 2 && v.responds && v.validity_s == 3600);
    assert_string_equal(v.name, "fleet");
    assert_string_equal(v.token, "ocsp-1");
    assert_string_equal(v.key, "ocsp/fleet/1");
    assert_true(bytes_equal(v.subject, issuer_example.subject) && bytes_equal(v.spki, issuer_example.spki));
    assert_true(bytes_equal(v.key_cka_id, issuer_example.key_cka_id));
    assert_true(bytes_equal(v.key_spki, issuer_example.key_spki));
    assert_true(bytes_equal(v.responder_cert, issuer_example.responder_cert));
    assert_true(v.responder_not_before == 1 && v.responder_not_after == 2);
}

static enum err_code result_code(const struct svc_enroll_result *in)
{
    AUTO_MSG m;
    struct msg_reader r;
    struct svc_enroll_result v;
    struct err e;

    msg_begin(&m, SVC_ENROLL_RESULT, 1);
    svc_enroll_result_encode(&m, in);
    r = reader_of(&m);
    return svc_enroll_result_decode(&r, &v, &e);
}

/* A key comes with its certificate, and is never said to be enveloped when there is none. */
static void a_key_belongs_to_a_certificate(void **state)
{
    static const uint8_t long_key[KEY_PACKAGE_MAX_LEN + 1];
    struct svc_enroll_result v = enroll_result_example;

    (void)state;
    assert_int_equal(result_code(&v), E_OK);
    v.key_enveloped = false;
    assert_int_equal(result_code(&v), E_OK);
    v.key.len = 0;
    assert_int_equal(result_code(&v), E_OK);
    v.key_enveloped = true;
    assert_int_equal(result_code(&v), E_INVALID);
    v = enroll_result_example, v.code = E_DENIED, v.cert.len = 0;
    assert_int_equal(result_code(&v), E_INVALID);
    v = enroll_result_example, v.key = BYTES(long_key, KEY_PACKAGE_MAX_LEN);
    assert_int_equal(result_code(&v), E_OK);
    v.key.len++;
    assert_int_equal(result_code(&v), E_INVALID);
}

static enum err_code enroll_code(const struct svc_enroll *in)
{
    AUTO_MSG m;
    struct msg_reader r;
    struct svc_enroll v;
    struct err e;

    msg_begin(&m, SVC_ENROLL, 1);
    svc_enroll_encode(&m, in);
    r = reader_of(&m);
    return svc_enroll_decode(&r, &v, &e);
}

static void contradicting_enroll_claims_are_refused(void **state)
{
    static const uint8_t big[CSR_MAX_LEN + 1];
    struct svc_enroll v;

    (void)state;
    v = enroll_example, v.operation = SVC_OPERATIONS;
    assert_int_equal(enroll_code(&v), E_INVALID);
    v = enroll_example, v.verdict = SVC_CLIENT_VERDICTS;
    assert_int_equal(enroll_code(&v), E_INVALID);
    v = enroll_example, v.binding_kind = SVC_BINDINGS;
    assert_int_equal(enroll_code(&v), E_INVALID);
    v = enroll_example, v.verdict = SVC_CLIENT_NONE;
    assert_int_equal(enroll_code(&v), E_INVALID);
    v = enroll_example, v.chain_n = 0;
    assert_int_equal(enroll_code(&v), E_INVALID);
    v = enroll_example, v.has_password = false;
    assert_int_equal(enroll_code(&v), E_INVALID);
    v = enroll_example, v.unit[3] = '\n';
    assert_int_equal(enroll_code(&v), E_INVALID);
    v = enroll_example, v.binding.len = 31;
    assert_int_equal(enroll_code(&v), E_INVALID);
    v = enroll_example, v.binding_kind = SVC_BINDING_NONE;
    assert_int_equal(enroll_code(&v), E_INVALID);
    v = enroll_example, v.csr = BYTES(big, CSR_MAX_LEN);
    assert_int_equal(enroll_code(&v), E_OK);
    v = enroll_example, v.csr = BYTES(big, CSR_MAX_LEN + 1);
    assert_int_equal(enroll_code(&v), E_INVALID);
    v = enroll_example, v.chain[0] = BYTES(big, CLIENT_CHAIN_MAX_LEN - 11);
    assert_int_equal(enroll_code(&v), E_OK);
    v = enroll_example, v.chain[0] = BYTES(big, CLIENT_CHAIN_MAX_LEN - 10);
    assert_int_equal(enroll_code(&v), E_INVALID);
}

static enum err_code factory_code(const struct svc_factory *in)
{
    AUTO_MSG m;
    struct msg_reader r;
    struct svc_factory v;
    struct err e;

    msg_begin(&m, SVC_FACTORY, 1);
    svc_factory_encode(&m, in);
    r = reader_of(&m);
    return svc_factory_decode(&r, &v, &e);
}

static void contradicting_factory_requests_are_refused(void **state)
{
    static const uint8_t big[BOX_BODY_MAX + 1];
    struct svc_factory v;

    (void)state;
    v = factory_example, v.action = SVC_FACTORY_ACTIONS;
    assert_int_equal(factory_code(&v), E_INVALID);
    v = factory_example, v.order[0] = '\0'; /* no order */
    assert_int_equal(factory_code(&v), E_INVALID);
    v = factory_example, v.device_id[0] = '\0'; /* a unit's action without a unit */
    assert_int_equal(factory_code(&v), E_INVALID);
    v = factory_example, v.device_id[0] = '/';
    assert_int_equal(factory_code(&v), E_INVALID);
    v = factory_example, v.action = SVC_FACTORY_RESERVE; /* with a unit in the path */
    assert_int_equal(factory_code(&v), E_INVALID);
    v.device_id[0] = '\0';
    assert_int_equal(factory_code(&v), E_OK);
    v = factory_example, v.action = SVC_FACTORY_CHALLENGE; /* GET with a body */
    assert_int_equal(factory_code(&v), E_INVALID);
    v.body.len = 0;
    assert_int_equal(factory_code(&v), E_OK);
    v = factory_example, v.chain_n = 0; /* nobody */
    assert_int_equal(factory_code(&v), E_INVALID);
    v = factory_example, v.verdict = SVC_CLIENT_NONE;
    assert_int_equal(factory_code(&v), E_INVALID);
    v = factory_example, v.body = BYTES(big, FACTORY_BODY_MAX);
    assert_int_equal(factory_code(&v), E_OK);
    v = factory_example, v.body = BYTES(big, FACTORY_BODY_MAX + 1);
    assert_int_equal(factory_code(&v), E_INVALID);
    /* Records of a line box may be longer and name no device. */
    v = factory_example, v.action = SVC_FACTORY_BOX, v.device_id[0] = '\0', v.body = BYTES(big, BOX_BODY_MAX);
    assert_int_equal(factory_code(&v), E_OK);
    v.body = BYTES(big, BOX_BODY_MAX + 1);
    assert_int_equal(factory_code(&v), E_INVALID);
    v.body = BYTES(big, 2), v.device_id[0] = 'x', v.device_id[1] = '\0';
    assert_int_equal(factory_code(&v), E_INVALID);
}

static enum err_code row_code(const struct status_row *in)
{
    AUTO_MSG m;
    struct msg_reader r;
    struct status_row v;
    struct err e;

    msg_begin(&m, FOLLOW_ROWS, 1);
    status_row_encode(&m, in);
    r = reader_of(&m);
    status_row_get(&r, &v);
    return msg_read_end(&r, &e);
}

static void rows_with_unknown_values_are_refused(void **state)
{
    struct status_row v;

    (void)state;
    v = row_example, v.status = CERT_STATUSES;
    assert_int_equal(row_code(&v), E_INVALID);
    v = row_example, v.reason = (enum crl_reason)7;
    assert_int_equal(row_code(&v), E_INVALID);
    v = row_example, v.reason = (enum crl_reason)11;
    assert_int_equal(row_code(&v), E_INVALID);
    v = row_example, v.serial_len = 0;
    assert_int_equal(row_code(&v), E_INVALID);
    v = row_example, v.seq = 0;
    assert_int_equal(row_code(&v), E_INVALID);
    v = row_example, v.serial_len = SERIAL_MAX_LEN;
    assert_int_equal(row_code(&v), E_OK);
}

/* Whole texts and numbers through one message and back. */
static void questions_and_decisions_come_through_unchanged(void **state)
{
    static struct sts_decide q;
    static struct sts_decided d;
    char room[DEVICE_ROOM];
    struct access_device v;
    struct msg_reader r;
    struct err e;
    AUTO_MSG m1;
    AUTO_MSG m2;
    AUTO_MSG m3;

    (void)state;
    msg_begin(&m1, STS_DECIDE, 1);
    write_decide(&m1);
    r = reader_of(&m1);
    assert_int_equal(sts_decide_decode(&r, &q, &e), E_OK);
    assert_int_equal(q.n, 4);
    assert_string_equal(q.audience, "door");
    assert_memory_equal(q.caller.cert_hash, decide_example.caller.cert_hash, 32);
    for (size_t i = 0; i < 4; i++)
        assert_memory_equal(&q.who[i], &decide_example.who[i], sizeof q.who[i]);
    msg_begin(&m2, STS_DECIDED, 1);
    write_decided(&m2);
    r = reader_of(&m2);
    assert_int_equal(sts_decided_decode(&r, &d, &e), E_OK);
    assert_int_equal(d.seq, 9);
    assert_int_equal(d.first, 2);
    assert_true(d.decision[0].allow && !d.decision[1].allow && d.decision[1].close && d.decision[1].identity_unverified);
    assert_string_equal(d.decision[0].device_id, "dev-1");
    assert_string_equal(d.decision[0].firmware, "1.2");
    assert_int_equal(d.decision[1].revocation_reason, REASON_KEY_COMPROMISE);
    assert_int_equal(d.decision[1].revoked_at, 1700000000);
    msg_begin(&m3, FOLLOW_DEVICES, 1);
    write_device(&m3);
    r = reader_of(&m3);
    follow_device_get(&r, &v, room);
    assert_int_equal(msg_read_end(&r, &e), E_OK);
    assert_int_equal(v.id, 77);
    assert_int_equal(v.moved_to, 78);
    assert_string_equal(v.device_id, "dev-1");
    assert_int_equal(v.state, DEVICE_LOST);
}

static enum err_code decided_code(const struct sts_decided *in)
{
    static struct sts_decided v;
    struct msg_reader r;
    struct err e;
    AUTO_MSG m;

    msg_begin(&m, STS_DECIDED, 1);
    sts_decided_encode(&m, in);
    r = reader_of(&m);
    return sts_decided_decode(&r, &v, &e);
}

/* A front never turns a broken answer into an allow. */
static void decisions_that_contradict_themselves_are_refused(void **state)
{
    static struct sts_decided v;

    (void)state;
    assert_int_equal(decided_code(&decided_example), E_OK);
    v = decided_example, v.decision[1].allow = true; /* revoked */
    assert_int_equal(decided_code(&v), E_INVALID);
    v = decided_example, v.decision[0].has_device = false;
    assert_int_equal(decided_code(&v), E_INVALID);
    v = decided_example, v.decision[0].known = false;
    assert_int_equal(decided_code(&v), E_INVALID);
    v = decided_example, v.decision[0].reason = DECISION_REASONS;
    assert_int_equal(decided_code(&v), E_INVALID);
    v = decided_example, v.decision[0].scope = ACCESS_SCOPES;
    assert_int_equal(decided_code(&v), E_INVALID);
    v = decided_example, v.total = 3; /* two from the third on */
    assert_int_equal(decided_code(&v), E_INVALID);
    v = decided_example, v.code = E_DENIED; /* with decisions */
    assert_int_equal(decided_code(&v), E_INVALID);
    v.n = 0;
    assert_int_equal(decided_code(&v), E_OK);
    v.code = E_OK;
    assert_int_equal(decided_code(&v), E_INVALID);
}

static void results_that_cannot_be_kept_safely_are_refused(void **state)
{
    static const struct {
        const char *name;
        bool is_error, cacheable;
        size_t response_len, cert_n;
        int64_t next_update;
        enum err_code code;
    } cases[] = {
        {"a cacheable answer with its certificate and its end", false, true, 60, 1, 4600, E_OK},
        {"an answer that is not kept may name none", false, false, 60, 0, 4600, E_OK},
        {"a cacheable error", true, true, 60, 1, 4600, E_INVALID},
        {"a cacheable answer that names no certificate", false, true, 60, 0, 4600, E_INVALID},
        {"a cacheable answer without an end", false, true, 60, 1, 0, E_INVALID},
        {"an empty answer", false, false, 0, 1, 4600, E_INVALID},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_MSG m;
        struct sts_ocsp_result in = ocsp_example, out;
        struct msg_reader r;
        struct err e;

        print_message("# %s\n", cases[i].name);
        in.is_error = cases[i].is_error;
        in.cacheable = cases[i].cacheable;
        in.response.len = cases[i].response_len;
        in.cert_n = cases[i].cert_n;
        in.next_update = cases[i].next_update;
        msg_begin(&m, STS_OCSP_RESULT, 1);
        sts_ocsp_result_encode(&m, &in);
        r = reader_of(&m);
        assert_int_equal(sts_ocsp_result_decode(&r, &out, &e), cases[i].code);
    }
}

static void an_issuer_that_responds_must_name_its_key(void **state)
{
    struct follow_issuer in = issuer_example;

    (void)state;
    for (int i = 0; i < 7; i++) {
        AUTO_MSG m;
        struct follow_issuer out;
        struct msg_reader r;
        struct err e;

        in = issuer_example;
        if (i == 1)
            in.token[0] = '\0';
        if (i == 2)
            in.key[0] = '\0';
        if (i == 3)
            in.key_cka_id.len = 0;
        if (i == 4)
            in.responder_cert.len = 0;
        if (i == 5)
            in.validity_s = 9;
        if (i == 6)
            in.key_spki.len = 0;
        msg_begin(&m, FOLLOW_ISSUER, 1);
        follow_issuer_encode(&m, &in);
        r = reader_of(&m);
        assert_int_equal(follow_issuer_decode(&r, &out, &e), i == 0 ? E_OK : E_INVALID);
    }
}

static void reasons_have_their_rfc_5280_names(void **state)
{
    (void)state;
    for (int i = 0; i < 16; i++) {
        const char *name = crl_reason_name((enum crl_reason)i);
        enum crl_reason back;

        if (i == 7 || i > 10) {
            assert_null(name);
            continue;
        }
        assert_non_null(name);
        assert_true(crl_reason_from_name(name, &back));
        assert_int_equal(back, i);
    }
    assert_string_equal(crl_reason_name(REASON_CA_COMPROMISE), "cACompromise");
    enum crl_reason r;
    assert_false(crl_reason_from_name("KeyCompromise", &r));
    assert_false(crl_reason_from_name("", &r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_messages_are_read),
        cmocka_unit_test(every_truncated_prefix_is_refused),
        cmocka_unit_test(a_trailing_octet_is_refused),
        cmocka_unit_test(no_flipped_octet_breaks_a_reader),
        cmocka_unit_test(enroll_comes_through_unchanged),
        cmocka_unit_test(factory_comes_through_unchanged),
        cmocka_unit_test(questions_and_decisions_come_through_unchanged),
        cmocka_unit_test(decisions_that_contradict_themselves_are_refused),
        cmocka_unit_test(results_files_and_labels_come_through_unchanged),
        cmocka_unit_test(purge_and_ocsp_result_come_through_unchanged),
        cmocka_unit_test(a_full_purge_fits_one_message),
        cmocka_unit_test(rows_and_issuers_come_through_unchanged),
        cmocka_unit_test(contradicting_enroll_claims_are_refused),
        cmocka_unit_test(contradicting_factory_requests_are_refused),
        cmocka_unit_test(a_key_belongs_to_a_certificate),
        cmocka_unit_test(rows_with_unknown_values_are_refused),
        cmocka_unit_test(results_that_cannot_be_kept_safely_are_refused),
        cmocka_unit_test(an_issuer_that_responds_must_name_its_key),
        cmocka_unit_test(reasons_have_their_rfc_5280_names),
    };
    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
