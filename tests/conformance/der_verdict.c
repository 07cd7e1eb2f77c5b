/* SPDX-License-Identifier: Apache-2.0 */
/*
 * der_verdict: what our readers and OpenSSL say of a file, for tests/conformance/der_compare.
 *
 * Standard input: lines "KIND PATH", KIND one of cert, csr, crl, ocsp (a request). Output, for each: PATH, our verdict, our
 * fields, OpenSSL's verdict, OpenSSL's fields, separated by tabs. A verdict is "ok" or the reason; fields are what both must
 * have read alike (hexadecimal and seconds; "-" without a verdict of ok).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/x509.h>

#include "base/auto.h"
#include "base/bytes.h"
#include "base/fsio.h"
#include "ca/cert.h"
#include "ca/crl.h"
#include "ca/csr.h"
#include "ca/ocsp.h"

#define FILE_MAX   (4 * 1024 * 1024)
#define FIELDS_MAX (64 * 1024)

static void add_hex(struct buf *out, const char *name, const uint8_t *p, size_t len)
{
    buf_printf(out, " %s=", name);
    for (size_t i = 0; i < len; i++)
        buf_printf(out, "%02x", p[i]);
}

static void add_digest(struct buf *out, const char *name, struct bytes what)
{
    uint8_t hash[32];

    sha256(what, hash);
    add_hex(out, name, hash, 8);
}

/* ---- ours -------------------------------------------------------------------------------------------------------- */

static enum err_code our_cert(struct bytes der, struct buf *out, struct err *e)
{
    struct cert c;

    if (cert_read(der, &c, e) != E_OK)
        return e->code;
    add_hex(out, "serial", c.serial.p, c.serial.len);
    buf_printf(out, " from=%" PRId64 " to=%" PRId64, (int64_t)c.not_before, (int64_t)c.not_after);
    add_digest(out, "issuer", c.issuer);
    add_digest(out, "subject", c.subject);
    add_digest(out, "spki", c.spki);
    return E_OK;
}

static enum err_code our_csr(struct bytes der, struct buf *out, struct err *e)
{
    struct csr c;

    if (csr_read(der, &c, e) != E_OK)
        return e->code;
    add_digest(out, "subject", c.subject);
    add_digest(out, "spki", c.key.spki);
    return E_OK;
}

static enum err_code our_crl(struct bytes der, struct buf *out, struct err *e)
{
    struct crl_entry entry;
    bool broken = false;
    struct der entries;
    struct crl c;

    if (crl_read(der, &c, e) != E_OK)
        return e->code;
    add_digest(out, "issuer", c.issuer);
    buf_printf(out, " this=%" PRId64 " next=%" PRId64, (int64_t)c.this_update, (int64_t)c.next_update);
    entries = c.entries;
    while (crl_entry_next(&entries, &entry, &broken)) {
        add_hex(out, "serial", entry.serial.p, entry.serial.len);
        buf_printf(out, " at=%" PRId64, (int64_t)entry.revoked_at);
    }
    return broken ? err_set(e, E_INVALID, "CRL: broken entry") : E_OK;
}

static enum err_code our_ocsp(struct bytes der, struct buf *out, struct err *e)
{
    struct ocsp_request r;

    if (ocsp_request_read(der, &r, e) != E_OK)
        return e->code;
    for (size_t i = 0; i < r.cert_n; i++)
        add_digest(out, "id", r.cert[i].raw);
    add_digest(out, "nonce", r.nonce);
    return E_OK;
}

/* ---- OpenSSL's --------------------------------------------------------------------------------------------------- */

static int64_t time_of(const ASN1_TIME *t)
{
    struct tm tm;

    return t && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void add_magnitude(struct buf *out, const char *name, const ASN1_INTEGER *n)
{
    add_hex(out, name, ASN1_STRING_get0_data(n), (size_t)ASN1_STRING_length(n));
}

#define ADD_I2D(out, name, type, object)                                                                                         \
    do {                                                                                                                         \
        unsigned char *der_ = NULL;                                                                                              \
        int len_ = i2d_##type(object, &der_);                                                                                    \
        add_digest(out, name, BYTES(der_, len_ > 0 ? (size_t)len_ : 0));                                                         \
        OPENSSL_free(der_);                                                                                                      \
    } while (0)

/* Each returns whether `p` moved to the end of one object; the object is read through its public functions. */
static bool their_cert(const uint8_t **p, long len, struct buf *out)
{
    X509 *c = d2i_X509(NULL, p, len);

    if (!c)
        return false;
    add_magnitude(out, "serial", X509_get0_serialNumber(c));
    buf_printf(out, " from=%" PRId64 " to=%" PRId64, time_of(X509_get0_notBefore(c)), time_of(X509_get0_notAfter(c)));
    ADD_I2D(out, "issuer", X509_NAME, X509_get_issuer_name(c));
    ADD_I2D(out, "subject", X509_NAME, X509_get_subject_name(c));
    ADD_I2D(out, "spki", X509_PUBKEY, X509_get_X509_PUBKEY(c));
    X509_free(c);
    return true;
}

static bool their_csr(const uint8_t **p, long len, struct buf *out)
{
    X509_REQ *r = d2i_X509_REQ(NULL, p, len);

    if (!r)
        return false;
    ADD_I2D(out, "subject", X509_NAME, X509_REQ_get_subject_name(r));
    ADD_I2D(out, "spki", X509_PUBKEY, X509_REQ_get_X509_PUBKEY(r));
    X509_REQ_free(r);
    return true;
}

static bool their_crl(const uint8_t **p, long len, struct buf *out)
{
    X509_CRL *c = d2i_X509_CRL(NULL, p, len);
    STACK_OF(X509_REVOKED) *list;

    if (!c)
        return false;
    ADD_I2D(out, "issuer", X509_NAME, X509_CRL_get_issuer(c));
    buf_printf(out, " this=%" PRId64 " next=%" PRId64, time_of(X509_CRL_get0_lastUpdate(c)), time_of(X509_CRL_get0_nextUpdate(c)));
    list = X509_CRL_get_REVOKED(c);
    for (int i = 0; i < sk_X509_REVOKED_num(list); i++) {
        const X509_REVOKED *r = sk_X509_REVOKED_value(list, i);

        add_magnitude(out, "serial", X509_REVOKED_get0_serialNumber(r));
        buf_printf(out, " at=%" PRId64, time_of(X509_REVOKED_get0_revocationDate(r)));
    }
    X509_CRL_free(c);
    return true;
}

static bool their_ocsp(const uint8_t **p, long len, struct buf *out)
{
    OCSP_REQUEST *r = d2i_OCSP_REQUEST(NULL, p, len);
    int nonce;

    if (!r)
        return false;
    for (int i = 0; i < OCSP_request_onereq_count(r); i++)
        ADD_I2D(out, "id", OCSP_CERTID, OCSP_onereq_get0_id(OCSP_request_onereq_get0(r, i)));
    nonce = OCSP_REQUEST_get_ext_by_NID(r, NID_id_pkix_OCSP_Nonce, -1);
    if (nonce >= 0) {
        const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(OCSP_REQUEST_get_ext(r, nonce));

        add_digest(out, "nonce", BYTES(ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value)));
    } else {
        add_digest(out, "nonce", (struct bytes){NULL, 0});
    }
    OCSP_REQUEST_free(r);
    return true;
}

/* ------------------------------------------------------------------------------------------------------------------ */

static const struct kind {
    const char *name;
    enum err_code (*ours)(struct bytes der, struct buf *out, struct err *e);
    bool (*theirs)(const uint8_t **p, long len, struct buf *out);
} kinds[] = {{"cert", our_cert, their_cert}, {"csr", our_csr, their_csr}, {"crl", our_crl, their_crl}, {"ocsp", our_ocsp, their_ocsp}};

static void print_clean(const char *text)
{
    for (; *text; text++)
        putchar(*text == '\t' || *text == '\n' ? ' ' : *text);
}

static void print_fields(bool ok, const struct buf *fields)
{
    printf("\t%.*s", ok && fields->len ? (int)fields->len : 1, ok && fields->len ? (const char *)fields->p : "-");
}

/* What OpenSSL says of a failure, from the inside out: "wrong tag, Type=X509_NAME_ENTRY; Field=issuer, Type=X509_CINF". */
static void their_reason(char *out, size_t size)
{
    const char *data;
    unsigned long code;
    int flags;

    out[0] = '\0';
    while ((code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)) != 0) {
        size_t at = strlen(out);
        const char *reason = ERR_reason_error_string(code);

        snprintf(out + at, size - at, "%s%s%s%s", at ? "; " : "", reason ? reason : "no reason", flags & ERR_TXT_STRING ? ", " : "",
                 flags & ERR_TXT_STRING ? data : "");
    }
}

static void judge(const struct kind *k, const char *path)
{
    AUTO_BUF der = BUF_INIT(FILE_MAX);
    AUTO_BUF ours = BUF_INIT(FIELDS_MAX);
    AUTO_BUF theirs = BUF_INIT(FIELDS_MAX);
    struct err e = {0};
    const uint8_t *p;
    char reason[1024] = "octets behind it";
    bool ok;

    if (file_read(path, &der, &e) != E_OK) {
        fprintf(stderr, "der_verdict: %s\n", e.msg);
        exit(1);
    }
    ok = k->ours(buf_bytes(&der), &ours, &e) == E_OK;
    printf("%s\t", path);
    print_clean(ok ? "ok" : e.msg);
    print_fields(ok, &ours);
    p = der.p;
    ERR_clear_error();
    ok = k->theirs(&p, (long)der.len, &theirs);
    if (!ok)
        their_reason(reason, sizeof reason);
    else
        ok = p == der.p + der.len;
    putchar('\t');
    print_clean(ok ? "ok" : reason);
    print_fields(ok, &theirs);
    putchar('\n');
}

int main(void)
{
    char line[4096], *path;

    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        path = strchr(line, ' ');
        if (!path)
            return 2;
        *path++ = '\0';
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
            if (strcmp(line, kinds[i].name) == 0)
                judge(&kinds[i], path);
    }
    return 0;
}
