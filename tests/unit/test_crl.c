/* SPDX-License-Identifier: Apache-2.0 */
/* CRLs we write, judged by OpenSSL and the linter; CRLs read; the publication gate. */
#include "pki_util.h"

#include <openssl/x509v3.h>

#include "ca/crl.h"
#include "ca/lint.h"

#define NOW 1800000000L

static struct buf subject;
static struct cert_issuer issuer;

/* Rows for the writer, from an array. */
struct rows {
    const struct status_row *row;
    size_t n, at;
    bool fails;
};

static bool next_row(void *arg, struct status_row *out, struct err *e)
{
    struct rows *r = arg;

    if (r->at == r->n) {
        if (r->fails)
            (void)err_set(e, E_STORE, "status log went away");
        return false;
    }
    *out = r->row[r->at++];
    return true;
}

static struct status_row row_of(uint64_t serial, enum cert_status status, enum crl_reason reason, int64_t at)
{
    struct status_row row = {.status = status, .reason = reason, .time = at, .serial_len = 20};

    row.serial[0] = 0x40;
    put_be64(row.serial + 12, serial);
    return row;
}

static struct crl_inputs inputs(uint64_t number)
{
    return (struct crl_inputs){
        .issuer = &issuer, .crl_number = number, .this_update = NOW, .next_update = NOW + 7 * 86400};
}

static enum err_code build(const struct crl_inputs *in, struct rows *rows, struct buf *tbs, struct buf *der,
                           struct err *e)
{
    struct buf sig = BUF_INIT(1024), frame = BUF_INIT(1024);
    uint64_t entries;
    size_t head;
    enum err_code code = crl_tbs_write(in, next_row, rows, &entries, tbs, e);

    if (code == E_OK) {
        assert_int_equal(entries, rows->n);
        pkey_sign(test_key(KEY_P256), "SHA256", buf_bytes(tbs), &sig);
        assert_int_equal(crl_frame(tbs->len, SIG_ECDSA_SHA256, buf_bytes(&sig), &frame, &head, e), E_OK);
        buf_add(der, frame.p, head);
        buf_add_bytes(der, buf_bytes(tbs));
        buf_add(der, frame.p + head, frame.len - head);
        buf_clear(&frame);
        buf_clear(&sig);
    }
    return code;
}

static X509_CRL *openssl_crl(struct bytes der)
{
    const unsigned char *p = der.p;
    X509_CRL *crl = d2i_X509_CRL(NULL, &p, (long)der.len);
    unsigned char *again = NULL;

    assert_non_null(crl);
    assert_ptr_equal(p, der.p + der.len);
    assert_int_equal(X509_CRL_verify(crl, test_key(KEY_P256)), 1);
    assert_true(i2d_re_X509_CRL_tbs(crl, &again) > 0); /* encoded again: only DER comes out the same */
    OPENSSL_free(again);
    again = NULL;
    assert_int_equal(i2d_X509_CRL(crl, &again), (int)der.len);
    assert_memory_equal(again, der.p, der.len);
    OPENSSL_free(again);
    return crl;
}

static void lint(const struct crl_inputs *in, struct bytes tbs, uint64_t entries)
{
    struct lint_crl_expect x = {
        .issuer_subject = issuer.subject,
        .issuer_ski = BYTES_OF(issuer.ski),
        .sig_alg = issuer.sig_alg,
        .crl_number = in->crl_number,
        .now = NOW,
        .idp_url = in->idp_url,
        .entries = entries,
    };
    struct lint_report report = {.n = 0};
    struct err e = {.code = E_OK};

    lint_crl(tbs, &x, &report);
    if (lint_result(&report, "CRL", &e) != E_OK)
        fail_msg("%s", e.msg);
}

static void every_reason_and_date_is_read_back_by_openssl(void **state)
{
    static const enum crl_reason reasons[] = {0, 1, 2, 3, 4, 5, 6, 9, 10};
    struct status_row row[ARRAY_LEN(reasons) + 1];
    struct crl_inputs in = inputs(NOW);
    struct buf tbs = BUF_INIT(1 << 16), der = BUF_INIT(1 << 16);
    struct rows rows = {.row = row, .n = ARRAY_LEN(row)};
    struct crl crl;
    struct crl_entry entry;
    struct err e = {.code = E_OK};
    bool broken;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        row[i] = row_of(i + 1, reasons[i] == REASON_CERTIFICATE_HOLD ? CERT_ON_HOLD : CERT_REVOKED, reasons[i],
                        NOW - 1000 + (int64_t)i);
    row[1].invalidity = NOW - 50000;
    row[9] = row_of(100, CERT_REVOKED, REASON_UNSPECIFIED, NOW);
    row[9].invalidity = 1;
    if (build(&in, &rows, &tbs, &der, &e) != E_OK)
        fail_msg("%s", e.msg);
    lint(&in, buf_bytes(&tbs), ARRAY_LEN(row));
    X509_CRL *x = openssl_crl(buf_bytes(&der));
    STACK_OF(X509_REVOKED) *list = X509_CRL_get_REVOKED(x);
    assert_int_equal(X509_CRL_get_version(x), 1);
    assert_int_equal(sk_X509_REVOKED_num(list), ARRAY_LEN(row));
    assert_int_equal(crl_read(buf_bytes(&der), &crl, &e), E_OK);
    assert_false(crl.has_idp);
    assert_int_equal(crl.this_update, NOW);
    assert_int_equal(crl.next_update, NOW + 7 * 86400);
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        X509_REVOKED *r = sk_X509_REVOKED_value(list, (int)i);
        ASN1_ENUMERATED *reason = X509_REVOKED_get_ext_d2i(r, NID_crl_reason, NULL, NULL);
        ASN1_GENERALIZEDTIME *invalidity = X509_REVOKED_get_ext_d2i(r, NID_invalidity_date, NULL, NULL);

        assert_true(crl_entry_next(&crl.entries, &entry, &broken));
        assert_int_equal(entry.reason, row[i].reason);
        assert_int_equal(entry.revoked_at, row[i].time);
        assert_true(bytes_equal(entry.serial, BYTES(row[i].serial, 20)));
        assert_int_equal(reason != NULL, row[i].reason != REASON_UNSPECIFIED);
        if (reason)
            assert_int_equal(ASN1_ENUMERATED_get(reason), row[i].reason);
        assert_int_equal(invalidity != NULL, row[i].invalidity != 0);
        if (row[i].reason == REASON_UNSPECIFIED && !row[i].invalidity)
            assert_int_equal(X509_REVOKED_get_ext_count(r), 0);
        assert_memory_equal(ASN1_STRING_get0_data(X509_REVOKED_get0_serialNumber(r)), row[i].serial, 20);
        ASN1_ENUMERATED_free(reason);
        ASN1_GENERALIZEDTIME_free(invalidity);
    }
    assert_false(crl_entry_next(&crl.entries, &entry, &broken));
    assert_false(broken);
    ASN1_INTEGER *number = X509_CRL_get_ext_d2i(x, NID_crl_number, NULL, NULL);
    assert_int_equal(ASN1_INTEGER_get(number), NOW);
    ASN1_INTEGER_free(number);
    AUTHORITY_KEYID *aki = X509_CRL_get_ext_d2i(x, NID_authority_key_identifier, NULL, NULL);
    assert_memory_equal(ASN1_STRING_get0_data(aki->keyid), issuer.ski, 20);
    AUTHORITY_KEYID_free(aki);
    X509_CRL_free(x);
    buf_clear(&tbs);
    buf_clear(&der);
}

static void an_empty_list_has_no_revoked_certificates(void **state)
{
    struct crl_inputs in = inputs(1);
    struct buf tbs = BUF_INIT(4096), der = BUF_INIT(4096);
    struct rows rows = {.n = 0};
    struct crl crl;
    struct crl_entry entry;
    struct err e;
    bool broken;

    (void)state;
    assert_int_equal(build(&in, &rows, &tbs, &der, &e), E_OK);
    lint(&in, buf_bytes(&tbs), 0);
    X509_CRL *x = openssl_crl(buf_bytes(&der));
    assert_null(X509_CRL_get_REVOKED(x));
    X509_CRL_free(x);
    assert_int_equal(crl_read(buf_bytes(&der), &crl, &e), E_OK);
    assert_false(crl_entry_next(&crl.entries, &entry, &broken));
    assert_false(broken);
    buf_clear(&tbs);
    buf_clear(&der);
}

static void a_shard_names_its_scope(void **state)
{
    struct crl_inputs in = inputs(7);
    struct buf tbs = BUF_INIT(4096), der = BUF_INIT(4096);
    struct rows rows = {.n = 0};
    struct crl crl;
    struct err e;

    (void)state;
    in.idp_url = "http://pki.example.net/crl/fleet-ca-3.crl";
    in.only_user_certs = true;
    assert_int_equal(build(&in, &rows, &tbs, &der, &e), E_OK);
    lint(&in, buf_bytes(&tbs), 0);
    X509_CRL *x = openssl_crl(buf_bytes(&der));
    int critical;
    ISSUING_DIST_POINT *idp = X509_CRL_get_ext_d2i(x, NID_issuing_distribution_point, &critical, NULL);
    assert_int_equal(critical, 1);
    assert_true(idp->onlyuser);
    assert_false(idp->onlyCA || idp->indirectCRL || idp->onlyattr);
    assert_null(idp->onlysomereasons);
    ASN1_IA5STRING *uri = sk_GENERAL_NAME_value(idp->distpoint->name.fullname, 0)->d.uniformResourceIdentifier;
    assert_memory_equal(ASN1_STRING_get0_data(uri), in.idp_url, strlen(in.idp_url));
    ISSUING_DIST_POINT_free(idp);
    X509_CRL_free(x);
    assert_int_equal(crl_read(buf_bytes(&der), &crl, &e), E_OK);
    assert_true(crl.has_idp);
    buf_clear(&tbs);
    buf_clear(&der);

    in.idp_url = NULL; /* a full list covers CA certificates too */
    assert_int_equal(build(&in, &rows, &tbs, &der, &e), E_INTERNAL);
    buf_clear(&tbs);
}

static void the_writer_refuses_what_belongs_on_no_list(void **state)
{
    static const struct {
        const char *name;
        struct status_row a, b;
        size_t n;
        bool fails;
        size_t max;
        time_t next_update;
        enum err_code code;
        const char *says;
    } cases[] = {
#define R(last, st, re, t)                                                                                             \
    {.serial = {0x40, last}, .serial_len = 2, .status = (st), .reason = (re), .time = (t)}
        {"sound", R(1, CERT_REVOKED, 1, NOW), R(2, CERT_REVOKED, 1, NOW), 2, false, 4096, 0, E_OK, ""},
        {"two of one serial", R(1, CERT_REVOKED, 1, NOW), R(1, CERT_REVOKED, 1, NOW), 2, false, 4096, 0, E_INTERNAL,
         "not above"},
        {"not sorted", R(2, CERT_REVOKED, 1, NOW), R(1, CERT_REVOKED, 1, NOW), 2, false, 4096, 0, E_INTERNAL, "not above"},
        {"a good one", R(1, CERT_GOOD, 0, NOW), R(2, CERT_REVOKED, 1, NOW), 1, false, 4096, 0, E_INTERNAL, "status"},
        {"reason 7", R(1, CERT_REVOKED, 7, NOW), R(2, CERT_REVOKED, 1, NOW), 1, false, 4096, 0, E_INTERNAL, "reason 7"},
        {"removeFromCRL", R(1, CERT_REVOKED, 8, NOW), R(2, CERT_REVOKED, 1, NOW), 1, false, 4096, 0, E_INTERNAL,
         "reason 8"},
        {"reason 11", R(1, CERT_REVOKED, 11, NOW), R(2, CERT_REVOKED, 1, NOW), 1, false, 4096, 0, E_INTERNAL, "reason 11"},
        {"revoked after thisUpdate", R(1, CERT_REVOKED, 1, NOW + 1), R(2, CERT_REVOKED, 1, NOW), 1, false, 4096, 0,
         E_INTERNAL, "after thisUpdate"},
        {"the log goes away", R(1, CERT_REVOKED, 1, NOW), R(2, CERT_REVOKED, 1, NOW), 1, true, 4096, 0, E_STORE,
         "went away"},
        {"no room", R(1, CERT_REVOKED, 1, NOW), R(2, CERT_REVOKED, 1, NOW), 2, false, 120, 0, E_NOMEM, "octets"},
        {"nextUpdate at thisUpdate", R(1, CERT_REVOKED, 1, NOW), R(2, CERT_REVOKED, 1, NOW), 2, false, 4096, NOW,
         E_INTERNAL, "nextUpdate"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct status_row row[2] = {cases[i].a, cases[i].b};
        struct rows rows = {.row = row, .n = cases[i].n, .fails = cases[i].fails};
        struct crl_inputs in = inputs(1);
        struct buf tbs = BUF_INIT(cases[i].max), der = BUF_INIT(8192);
        struct err e = {.code = E_OK};

        if (cases[i].next_update)
            in.next_update = cases[i].next_update;
        enum err_code code = build(&in, &rows, &tbs, &der, &e);
        if (code != cases[i].code || (code != E_OK && !strstr(e.msg, cases[i].says)))
            fail_msg("%s: code %d, %s", cases[i].name, (int)code, e.msg);
        buf_clear(&tbs);
        buf_clear(&der);
    }
}

static void a_hundred_thousand_entries_are_written_and_read(void **state)
{
    const size_t n = 100000;
    struct status_row *row = calloc(n, sizeof *row);
    struct crl_inputs in = inputs(NOW);
    struct buf tbs = BUF_INIT(64 << 20), der = BUF_INIT(64 << 20);
    struct rows rows = {.row = row, .n = n};
    struct crl crl;
    struct crl_entry entry;
    struct err e;
    bool broken;
    size_t count = 0;

    (void)state;
    assert_non_null(row);
    for (size_t i = 0; i < n; i++)
        row[i] = row_of(i * 7919 + 1, CERT_REVOKED, REASON_KEY_COMPROMISE, NOW - 86400);
    assert_int_equal(build(&in, &rows, &tbs, &der, &e), E_OK);
    lint(&in, buf_bytes(&tbs), n);
    X509_CRL *x = openssl_crl(buf_bytes(&der));
    assert_int_equal(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(x)), (int)n);
    X509_CRL_free(x);
    assert_int_equal(crl_read(buf_bytes(&der), &crl, &e), E_OK);
    while (crl_entry_next(&crl.entries, &entry, &broken))
        count++;
    assert_false(broken);
    assert_int_equal(count, n);
    free(row);
    buf_clear(&tbs);
    buf_clear(&der);
}

static void dates_from_2050_are_generalized_time(void **state)
{
    struct crl_inputs in = inputs(1);
    struct buf tbs = BUF_INIT(4096), der = BUF_INIT(4096);
    struct rows rows = {.n = 0};
    struct err e;

    (void)state;
    in.this_update = 2524607999; /* 2049-12-31T23:59:59Z */
    in.next_update = 2524608000;
    assert_int_equal(build(&in, &rows, &tbs, &der, &e), E_OK);
    X509_CRL *x = openssl_crl(buf_bytes(&der));
    assert_int_equal(ASN1_STRING_type(X509_CRL_get0_lastUpdate(x)), V_ASN1_UTCTIME);
    assert_int_equal(ASN1_STRING_type(X509_CRL_get0_nextUpdate(x)), V_ASN1_GENERALIZEDTIME);
    X509_CRL_free(x);
    buf_clear(&tbs);
    buf_clear(&der);
}

static time_t time_of(const ASN1_TIME *t)
{
    struct tm tm;

    assert_int_equal(ASN1_TIME_to_tm(t, &tm), 1);
    return timegm(&tm);
}

static void every_date_is_written_as_openssl_reads_it(void **state)
{
    const size_t n = 60000;
    struct status_row *row = calloc(n, sizeof *row);
    struct crl_inputs in = inputs(1);
    struct buf tbs = BUF_INIT(8 << 20), der = BUF_INIT(8 << 20);
    struct rows rows = {.row = row, .n = n};
    struct err e;
    X509_CRL *x;

    (void)state;
    in.this_update = TIME_NO_EXPIRY - 1;
    in.next_update = TIME_NO_EXPIRY;
    for (size_t i = 0; i < n; i++) { /* each day from 1970 to 2134, at changing hours; in the other field back from 2134 */
        row[i] = row_of(i + 1, CERT_REVOKED, REASON_KEY_COMPROMISE, (int64_t)i * 86400 + (int64_t)(i * 7919 % 86400));
        row[i].invalidity = (int64_t)(n - i) * 86400 - 1;
    }
    row[n - 1].time = TIME_NO_EXPIRY - 1;
    row[n - 1].invalidity = TIME_NO_EXPIRY;
    assert_int_equal(build(&in, &rows, &tbs, &der, &e), E_OK);
    x = openssl_crl(buf_bytes(&der));
    for (size_t i = 0; i < n; i++) {
        X509_REVOKED *r = sk_X509_REVOKED_value(X509_CRL_get_REVOKED(x), (int)i);
        const ASN1_TIME *at = X509_REVOKED_get0_revocationDate(r);
        ASN1_GENERALIZEDTIME *invalid = X509_REVOKED_get_ext_d2i(r, NID_invalidity_date, NULL, NULL);

        assert_int_equal(time_of(at), row[i].time);
        assert_int_equal(ASN1_STRING_type(at), row[i].time < 2524608000 ? V_ASN1_UTCTIME : V_ASN1_GENERALIZEDTIME);
        assert_non_null(invalid);
        assert_int_equal(time_of(invalid), row[i].invalidity);
        ASN1_GENERALIZEDTIME_free(invalid);
    }
    X509_CRL_free(x);
    buf_clear(&tbs);
    buf_clear(&der);
    free(row);
}

static void broken_lists_are_refused(void **state)
{
#define ALG   "30{06082a8648ce3d040302}"
#define DN    "30{31{30{0603550403 0c{\"a\"}}}}"
#define T1    "17{\"270115080000Z\"}"
#define T2    "17{\"270122080000Z\"}"
#define NUM   "30{0603551d14 04{020101}}"
#define ENTRY "30{020105 " T1 "}"
    static const struct {
        const char *name, *tbs;
        bool good;
    } cases[] = {
        {"sound", "020101" ALG DN T1 T2 "30{" ENTRY "}a0{30{" NUM "}}", true},
        {"version 1", "020100" ALG DN T1 T2 "a0{30{" NUM "}}", false},
        {"version absent", ALG DN T1 T2 "a0{30{" NUM "}}", false},
        {"empty issuer", "020101" ALG "30{}" T1 T2 "a0{30{" NUM "}}", false},
        {"no nextUpdate", "020101" ALG DN T1 "a0{30{" NUM "}}", false},
        {"a time without seconds", "020101" ALG DN "17{\"2701150800Z\"}" T2 "a0{30{" NUM "}}", false},
        {"empty revokedCertificates", "020101" ALG DN T1 T2 "30{}a0{30{" NUM "}}", false},
        {"empty extensions", "020101" ALG DN T1 T2 "a0{30{}}", false},
        {"an unknown extension", "020101" ALG DN T1 T2 "a0{30{" NUM "30{06032a0304 04{0500}}}}", true},
        {"an unknown critical extension", "020101" ALG DN T1 T2 "a0{30{" NUM "30{06032a0304 0101ff 04{0500}}}}", false},
        {"a delta CRL", "020101" ALG DN T1 T2 "a0{30{" NUM "30{0603551d1b 0101ff 04{020101}}}}", false},
        {"CRLNumber twice", "020101" ALG DN T1 T2 "a0{30{" NUM NUM "}}", false},
        {"a negative CRLNumber", "020101" ALG DN T1 T2 "a0{30{30{0603551d14 04{0201ff}}}}", false},
        {"a CRLNumber of 20 octets", "020101" ALG DN T1 T2 "a0{30{30{0603551d14 04{02{(11*20)}}}}}", true},
        {"a CRLNumber of 21 octets", "020101" ALG DN T1 T2 "a0{30{30{0603551d14 04{02{(11*21)}}}}}", false},
        {"an empty IDP", "020101" ALG DN T1 T2 "a0{30{" NUM "30{0603551d1c 0101ff 04{30{}}}}}", false},
        {"octets behind", "020101" ALG DN T1 T2 "a0{30{" NUM "}}0500", false},
        {"another inner algorithm", "020101 30{06082a8648ce3d040303}" DN T1 T2 "a0{30{" NUM "}}", false},
    };
    static const struct {
        const char *name, *entry;
        bool good;
    } entries[] = {
        {"sound", "30{020105" T1 "30{30{0603551d15 04{0a0101}}}}", true},
        {"reason 7", "30{020105" T1 "30{30{0603551d15 04{0a0107}}}}", false},
        {"removeFromCRL", "30{020105" T1 "30{30{0603551d15 04{0a0108}}}}", false},
        {"empty extensions", "30{020105" T1 "30{}}", false},
        {"a reason twice", "30{020105" T1 "30{30{0603551d15 04{0a0101}}30{0603551d15 04{0a0101}}}}", false},
        {"certificateIssuer", "30{020105" T1 "30{30{0603551d1d 0101ff 04{30{}}}}}", false},
        {"a negative serial", "30{0201ff" T1 "}", false},
        {"no date", "30{020105}", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf der = BUF_INIT(4096);
        struct crl crl;
        char text[1024];

        snprintf(text, sizeof text, "30{30{%s}" ALG "03{0001}}", cases[i].tbs);
        der_text(text, NULL, &der);
        if ((crl_read(buf_bytes(&der), &crl, NULL) == E_OK) != cases[i].good)
            fail_msg("%s", cases[i].name);
        if (cases[i].good)
            for (size_t n = 0; n < der.len; n++)
                assert_int_not_equal(crl_read(BYTES(der.p, n), &crl, NULL), E_OK);
        buf_clear(&der);
    }
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        struct buf der = BUF_INIT(4096);
        struct der list;
        struct crl_entry entry;
        bool broken;

        der_text(entries[i].entry, NULL, &der);
        der_init(&list, der.p, der.len);
        if (crl_entry_next(&list, &entry, &broken) != entries[i].good || broken == entries[i].good)
            fail_msg("entry: %s", entries[i].name);
        buf_clear(&der);
    }
}

static bool may_leave_list(void *arg, struct bytes serial)
{
    const char *excused = arg;

    return serial.len && strchr(excused, 'a' + serial.p[serial.len - 1]);
}

/* Lists as letters: "bdf" has three entries with the last octets 1, 3 and 5. */
static void gate_build(const char *list, const struct crl_inputs *in, struct buf *der)
{
    struct status_row row[26];
    struct buf tbs = BUF_INIT(8192);
    struct rows rows = {.row = row, .n = strlen(list)};
    struct err e = {.code = E_OK};

    for (size_t i = 0; i < rows.n; i++)
        row[i] = row_of((uint64_t)(list[i] - 'a'), CERT_REVOKED, REASON_SUPERSEDED, in->this_update - 10);
    if (build(in, &rows, &tbs, der, &e) != E_OK)
        fail_msg("%s", e.msg);
    buf_clear(&tbs);
}

static void the_gate_lets_through_only_what_follows(void **state)
{
    static const struct {
        const char *name, *old, *new, *excused;
        int64_t number, this_update, next_update;
        enum { SAME, NAME, KEY, IDP, USERS } other;
        enum err_code code;
        const char *says;
    } cases[] = {
        {"the same entries, all higher", "bdf", "bdf", "", 1, 1, 1, SAME, E_OK, ""},
        {"nextUpdate the same", "bdf", "bdf", "", 1, 1, 0, SAME, E_OK, ""},
        {"nextUpdate before", "bdf", "bdf", "", 1, 1, -1, SAME, E_CONFLICT, "nextUpdate"},
        {"CRLNumber the same", "bdf", "bdf", "", 0, 1, 1, SAME, E_CONFLICT, "CRLNumber"},
        {"CRLNumber below", "bdf", "bdf", "", -1, 1, 1, SAME, E_CONFLICT, "CRLNumber"},
        {"CRLNumber below over an octet boundary", "", "", "", -800, 1, 1, SAME, E_CONFLICT, "CRLNumber"},
        {"thisUpdate the same", "bdf", "bdf", "", 1, 0, 1, SAME, E_CONFLICT, "thisUpdate"},
        {"thisUpdate before", "bdf", "bdf", "", 1, -1, 1, SAME, E_CONFLICT, "thisUpdate"},
        {"another issuer", "", "", "", 1, 1, 1, NAME, E_CONFLICT, "issuer"},
        {"another key", "", "", "", 1, 1, 1, KEY, E_CONFLICT, "key"},
        {"another scope", "", "", "", 1, 1, 1, IDP, E_CONFLICT, "scope"},
        {"another kind of certificates", "", "", "", 1, 1, 1, USERS, E_CONFLICT, "scope"},
        {"one more at the start", "df", "bdf", "", 1, 1, 1, SAME, E_OK, ""},
        {"one more in the middle", "bf", "bdf", "", 1, 1, 1, SAME, E_OK, ""},
        {"one more at the end", "bd", "bdf", "", 1, 1, 1, SAME, E_OK, ""},
        {"from none", "", "bdf", "", 1, 1, 1, SAME, E_OK, ""},
        {"the first lost", "bdf", "df", "", 1, 1, 1, SAME, E_CONFLICT, "lost"},
        {"the middle lost", "bdf", "bf", "", 1, 1, 1, SAME, E_CONFLICT, "lost"},
        {"the last lost", "bdf", "bd", "", 1, 1, 1, SAME, E_CONFLICT, "lost"},
        {"all lost", "bdf", "", "", 1, 1, 1, SAME, E_CONFLICT, "lost"},
        {"one lost, one come", "bdf", "bcf", "", 1, 1, 1, SAME, E_CONFLICT, "lost"},
        {"the first released", "bdf", "df", "b", 1, 1, 1, SAME, E_OK, ""},
        {"the last expired", "bdf", "bd", "f", 1, 1, 1, SAME, E_OK, ""},
        {"all excused", "bdf", "", "bdf", 1, 1, 1, SAME, E_OK, ""},
        {"another one excused", "bdf", "bd", "b", 1, 1, 1, SAME, E_CONFLICT, "lost"},
        {"excused and lost", "bdf", "b", "d", 1, 1, 1, SAME, E_CONFLICT, "lost"},
    };
    struct buf other_name = BUF_INIT(256);

    (void)state;
    der_text("30{31{30{0603550403 0c{\"Other CA\"}}}}", NULL, &other_name);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cert_issuer other = issuer;
        struct crl_inputs was = inputs(1000), is = inputs(1000);
        struct buf old_der = BUF_INIT(8192), new_der = BUF_INIT(8192);
        struct crl old, new;
        struct err e = {.code = E_OK};

        was.idp_url = is.idp_url = "http://pki.example.net/crl/a-1.crl";
        is.crl_number = (uint64_t)(1000 + cases[i].number);
        is.this_update += cases[i].this_update;
        is.next_update += cases[i].next_update;
        if (cases[i].other == NAME)
            other.subject = buf_bytes(&other_name);
        if (cases[i].other == KEY)
            other.ski[0] ^= 1;
        if (cases[i].other == IDP)
            is.idp_url = "http://pki.example.net/crl/a-2.crl";
        is.only_user_certs = cases[i].other == USERS;
        is.issuer = &other;
        gate_build(cases[i].old, &was, &old_der);
        gate_build(cases[i].new, &is, &new_der);
        assert_int_equal(crl_read(buf_bytes(&old_der), &old, &e), E_OK);
        assert_int_equal(crl_read(buf_bytes(&new_der), &new, &e), E_OK);
        enum err_code code = crl_gate(&old, &new, may_leave_list, (void *)(uintptr_t)cases[i].excused, &e);
        if (code != cases[i].code || (code != E_OK && !strstr(e.msg, cases[i].says)))
            fail_msg("%s: code %d, %s", cases[i].name, (int)code, e.msg);
        buf_clear(&old_der);
        buf_clear(&new_der);
    }
    buf_clear(&other_name);
}

static void the_gate_refuses_a_full_list_for_a_shard_and_unsorted_lists(void **state)
{
    struct crl_inputs was = inputs(1), is = inputs(2);
    struct buf old_der = BUF_INIT(8192), new_der = BUF_INIT(8192);
    struct crl old, new;
    struct err e;

    (void)state;
    was.idp_url = "http://pki.example.net/crl/a-1.crl";
    is.this_update++;
    gate_build("bdf", &was, &old_der);
    gate_build("bdf", &is, &new_der);
    assert_int_equal(crl_read(buf_bytes(&old_der), &old, &e), E_OK);
    assert_int_equal(crl_read(buf_bytes(&new_der), &new, &e), E_OK);
    assert_int_equal(crl_gate(&old, &new, may_leave_list, (char[]){""}, &e), E_CONFLICT);
    assert_non_null(strstr(e.msg, "scope"));

    buf_clear(&old_der);
    was.idp_url = NULL;
    gate_build("bd", &was, &old_der);
    assert_int_equal(crl_read(buf_bytes(&old_der), &old, &e), E_OK);
    assert_int_equal(crl_gate(&old, &new, may_leave_list, (char[]){""}, &e), E_OK);
    uint8_t *last = memmem(new_der.p, new_der.len, "\0\0\0\0\0\0\0\5\x17", 9);
    assert_non_null(last);
    last[7] = 0; /* the new list's last entry is now below the others */
    assert_int_equal(crl_read(buf_bytes(&new_der), &new, &e), E_OK);
    assert_int_equal(crl_gate(&old, &new, may_leave_list, (char[]){""}, &e), E_CONFLICT);
    assert_non_null(strstr(e.msg, "not sorted"));
    buf_clear(&old_der);
    buf_clear(&new_der);
}

static int setup(void **state)
{
    (void)state;
    subject = BUF_INIT(256);
    der_text("30{31{30{0603550403 13{\"Fleet CA 1\"}}}31{30{060355040a 13{\"Acme\"}}}}", NULL, &subject);
    issuer = (struct cert_issuer){
        .name = "fleet-ca", .subject = buf_bytes(&subject), .sig_alg = SIG_ECDSA_SHA256, .not_after = TIME_NO_EXPIRY};
    memset(issuer.ski, 0x5a, sizeof issuer.ski);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_clear(&subject);
    test_keys_free();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reason_and_date_is_read_back_by_openssl),
        cmocka_unit_test(an_empty_list_has_no_revoked_certificates),
        cmocka_unit_test(a_shard_names_its_scope),
        cmocka_unit_test(the_writer_refuses_what_belongs_on_no_list),
        cmocka_unit_test(a_hundred_thousand_entries_are_written_and_read),
        cmocka_unit_test(dates_from_2050_are_generalized_time),
        cmocka_unit_test(every_date_is_written_as_openssl_reads_it),
        cmocka_unit_test(broken_lists_are_refused),
        cmocka_unit_test(the_gate_lets_through_only_what_follows),
        cmocka_unit_test(the_gate_refuses_a_full_list_for_a_shard_and_unsorted_lists),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
