/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/crl.h"

#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/oid.h"
#include "ca/pki_int.h"

int magnitude_cmp(struct bytes a, struct bytes b)
{
    if (a.len != b.len)
        return a.len < b.len ? -1 : 1;
    return a.len ? memcmp(a.p, b.p, a.len) : 0;
}

static struct bytes magnitude_of(const uint8_t *p, size_t len)
{
    while (len > 1 && p[0] == 0) {
        p++;
        len--;
    }
    return BYTES(p, len);
}

/* RFC 5280 5.3.1: 7 does not exist, removeFromCRL belongs into delta CRLs. */
static bool reason_is_for_full_list(uint64_t reason)
{
    return reason <= REASON_AA_COMPROMISE && reason != 7 && reason != REASON_REMOVE_FROM_CRL;
}

/* ---- writing ---- */

static void small_extension(struct derw *w, struct bytes oid, uint8_t tag)
{
    derw_begin(w, DER_SEQUENCE);
    derw_oid(w, oid);
    derw_begin(w, tag);
}

/*
 * Entries are most of a list: each is written into a few octets on the stack, all of its lengths below 128, and appended at
 * once. The date of the entry before is kept, since neighbours in time are common.
 */
#define ENTRY_MAX_LEN 128

struct date_text {
    int64_t day; /* since 1970 */
    bool known;
    uint8_t tag;
    uint8_t len; /* of the digits up to the day */
    uint8_t digits[8];
};

static uint8_t *digits2(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)('0' + v / 10);
    p[1] = (uint8_t)('0' + v % 10);
    return p + 2;
}

/* The day as UTCTime or GeneralizedTime begins with it: through 2049 two digits of the year (RFC 5280 5.1.2.6). */
static bool date_of(int64_t t, struct date_text *d)
{
    /* Days from 1 March of year 0, by eras of 400 years: years end with February, so a leap day comes last. */
    unsigned from_0 = (unsigned)(t / 86400) + 719468, era = from_0 / 146097, day = from_0 % 146097;
    unsigned year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    unsigned day_of_year = day - (365 * year + year / 4 - year / 100);
    unsigned month = (5 * day_of_year + 2) / 153; /* 0 = March */
    uint8_t *p = d->digits;

    if (t < 0 || t > TIME_NO_EXPIRY)
        return false;
    year += 400 * era + (month >= 10);
    d->tag = year < 2050 ? DER_UTC_TIME : DER_GENERALIZED_TIME;
    if (year >= 2050)
        p = digits2(p, year / 100);
    p = digits2(p, year % 100);
    p = digits2(p, month < 10 ? month + 3 : month - 9);
    p = digits2(p, day_of_year - (153 * month + 2) / 5 + 1);
    d->len = (uint8_t)(p - d->digits);
    d->day = t / 86400;
    d->known = true;
    return true;
}

static uint8_t *time_put(uint8_t *p, int64_t t, const struct date_text *d)
{
    unsigned second = (unsigned)(t % 86400);

    *p++ = d->tag;
    *p++ = (uint8_t)(d->len + 7);
    memcpy(p, d->digits, d->len);
    p = digits2(p + d->len, second / 3600);
    p = digits2(p, second / 60 % 60);
    p = digits2(p, second % 60);
    *p++ = 'Z';
    return p;
}

static uint8_t *serial_put(uint8_t *p, struct bytes serial)
{
    bool sign = serial.p[0] >= 0x80;

    *p++ = DER_INTEGER;
    *p++ = (uint8_t)(serial.len + sign);
    if (sign)
        *p++ = 0;
    memcpy(p, serial.p, serial.len);
    return p + serial.len;
}

/* { reasonCode, ENUMERATED in an OCTET STRING } and { invalidityDate, GeneralizedTime in one }, the value to follow. */
static const uint8_t reason_head[] = {0x30, 0x0a, 0x06, 0x03, 0x55, 0x1d, 0x15, 0x04, 0x03, 0x0a, 0x01};
static const uint8_t invalidity_head[] = {0x30, 0x18, 0x06, 0x03, 0x55, 0x1d, 0x18, 0x04, 0x11};

static uint8_t *invalidity_put(uint8_t *p, int64_t t)
{
    struct date_text d;

    if (!date_of(t, &d))
        return NULL;
    if (d.tag == DER_UTC_TIME) { /* RFC 5280 5.3.2: always GeneralizedTime */
        memmove(d.digits + 2, d.digits, 6);
        memcpy(d.digits, d.digits[2] >= '7' ? "19" : "20", 2);
        d.tag = DER_GENERALIZED_TIME;
        d.len = 8;
    }
    memcpy(p, invalidity_head, sizeof(invalidity_head));
    return time_put(p + sizeof(invalidity_head), t, &d);
}

/* false: a time that DER cannot say. */
static bool entry_write(struct buf *out, const struct status_row *row, struct bytes serial, struct date_text *date)
{
    enum crl_reason reason = row->status == CERT_ON_HOLD ? REASON_CERTIFICATE_HOLD : row->reason;
    uint8_t entry[ENTRY_MAX_LEN], *p = entry + 2, *list;

    if ((!date->known || row->time / 86400 != date->day) && !date_of(row->time, date))
        return false;
    p = serial_put(p, serial);
    p = time_put(p, row->time, date);
    list = p;
    if (reason != REASON_UNSPECIFIED || row->invalidity)
        p += 2;
    if (reason != REASON_UNSPECIFIED) {
        memcpy(p, reason_head, sizeof(reason_head));
        p += sizeof(reason_head);
        *p++ = (uint8_t)reason;
    }
    if (row->invalidity && !(p = invalidity_put(p, row->invalidity)))
        return false;
    if (p > list) {
        list[0] = DER_SEQUENCE;
        list[1] = (uint8_t)(p - list - 2);
    }
    entry[0] = DER_SEQUENCE;
    entry[1] = (uint8_t)(p - entry - 2);
    buf_add(out, entry, (size_t)(p - entry));
    return true;
}

static enum err_code entry_fault(const struct status_row *row, struct err *e, const char *what)
{
    char hex[2 * SERIAL_MAX_LEN + 1];

    hex_encode(row->serial, row->serial_len, hex);
    return err_set(e, E_INTERNAL, "entry %s (status %d, reason %d): %s", hex, (int)row->status, (int)row->reason, what);
}

static enum err_code entry_check(const struct status_row *row, struct bytes serial, struct bytes last,
                                 const struct crl_inputs *in, struct err *e)
{
    if (last.len && magnitude_cmp(last, serial) >= 0)
        return entry_fault(row, e, "not above the one before");
    if (row->status != CERT_REVOKED && row->status != CERT_ON_HOLD)
        return entry_fault(row, e, "its status belongs on no list");
    if (!reason_is_for_full_list((uint64_t)row->reason))
        return entry_fault(row, e, "its reason is not for a full list (RFC 5280 5.3.1)");
    if (row->time > in->this_update)
        return entry_fault(row, e, "revoked after thisUpdate");
    return E_OK;
}

/* One entry after the other; the list is left out when there is none (RFC 5280 5.1.2.6). */
static enum err_code entries_write(struct derw *w, const struct crl_inputs *in, crl_next_fn next, void *arg,
                                   uint64_t *entries, struct err *e)
{
    struct status_row row;
    struct date_text date = {.known = false};
    uint8_t last_octets[SERIAL_MAX_LEN];
    struct bytes last = {NULL, 0}, serial;
    struct err at = {.code = E_OK};
    enum err_code code;

    *entries = 0;
    while (next(arg, &row, &at)) {
        if (row.serial_len == 0 || row.serial_len > SERIAL_MAX_LEN)
            return err_set(e, E_INTERNAL, "entry: serial of %u octets", row.serial_len);
        serial = magnitude_of(row.serial, row.serial_len);
        code = entry_check(&row, serial, last, in, e);
        if (code != E_OK)
            return code;
        if (++*entries == 1)
            derw_begin_large(w, DER_SEQUENCE, in->expected * CRL_ENTRY_LEN);
        if (!entry_write(w->out, &row, serial, &date))
            return entry_fault(&row, e, "a time that cannot be written");
        if (!buf_ok(w->out))
            return err_set(e, E_NOMEM, "more than %zu octets", w->out->max);
        memcpy(last_octets, serial.p, serial.len);
        last = BYTES(last_octets, serial.len);
    }
    if (at.code != E_OK) {
        if (e)
            *e = at;
        return at.code;
    }
    if (*entries)
        derw_end(w);
    return E_OK;
}

static void list_extensions_write(struct derw *w, const struct crl_inputs *in)
{
    derw_begin(w, DER_CONTEXT_CONSTRUCTED(0));
    derw_begin(w, DER_SEQUENCE);
    small_extension(w, OID_AKI, DER_OCTET_STRING);
    derw_begin(w, DER_SEQUENCE);
    derw_element(w, DER_CONTEXT(0), BYTES_OF(in->issuer->ski));
    derw_end(w);
    derw_end(w);
    derw_end(w);
    small_extension(w, OID_CRL_NUMBER, DER_OCTET_STRING);
    derw_u64(w, in->crl_number);
    derw_end(w);
    derw_end(w);
    if (in->idp_url) {
        derw_begin(w, DER_SEQUENCE);
        derw_oid(w, OID_IDP);
        derw_bool(w, true);
        derw_begin(w, DER_OCTET_STRING);
        derw_begin(w, DER_SEQUENCE);
        derw_begin(w, DER_CONTEXT_CONSTRUCTED(0)); /* distributionPoint */
        derw_begin(w, DER_CONTEXT_CONSTRUCTED(0)); /* fullName */
        derw_element(w, DER_CONTEXT(6), bytes_str(in->idp_url));
        derw_end(w);
        derw_end(w);
        if (in->only_user_certs)
            derw_element(w, DER_CONTEXT(1), BYTES("\xff", 1));
        derw_end(w);
        derw_end(w);
        derw_end(w);
    }
    derw_end(w);
    derw_end(w);
}

static enum err_code tbs_write(const struct crl_inputs *in, crl_next_fn next, void *arg, uint64_t *entries,
                               struct buf *out, struct err *e)
{
    struct derw w;
    enum err_code code;

    if (in->issuer->subject.len == 0 || sig_alg_der(in->issuer->sig_alg).len == 0)
        return err_set(e, E_INTERNAL, "no issuer name or signature algorithm");
    if (in->next_update <= in->this_update)
        return err_set(e, E_INTERNAL, "nextUpdate is not after thisUpdate (RFC 5280 5.1.2.5)");
    if (in->only_user_certs && !in->idp_url)
        return err_set(e, E_INTERNAL, "a full list covers CA certificates too");
    derw_init(&w, out);
    derw_begin_large(&w, DER_SEQUENCE, in->expected * CRL_ENTRY_LEN);
    derw_u64(&w, 1); /* v2 */
    derw_raw(&w, sig_alg_der(in->issuer->sig_alg));
    derw_raw(&w, in->issuer->subject);
    derw_time(&w, in->this_update);
    derw_time(&w, in->next_update);
    code = entries_write(&w, in, next, arg, entries, e);
    if (code != E_OK)
        return code;
    list_extensions_write(&w, in);
    derw_end(&w);
    return derw_finish(&w) ? E_OK : err_set(e, E_NOMEM, "more than %zu octets", out->max);
}

enum err_code crl_tbs_write(const struct crl_inputs *in, crl_next_fn next, void *arg, uint64_t *entries,
                            struct buf *out, struct err *e)
{
    enum err_code code = tbs_write(in, next, arg, entries, out, e);

    if (code != E_OK)
        (void)err_wrap(e, "CRL of \"%s\"", in->issuer->name);
    return code;
}

enum err_code crl_frame(size_t tbs_len, enum sig_alg alg, struct bytes sig, struct buf *out, size_t *head, struct err *e)
{
    AUTO_BUF tail = BUF_INIT(SIGNATURE_MAX_LEN + 64);
    struct derw w;

    if (sig_alg_der(alg).len == 0 || sig.len == 0 || tbs_len == 0)
        return err_set(e, E_INTERNAL, "CRL: nothing to assemble");
    derw_init(&w, &tail);
    derw_raw(&w, sig_alg_der(alg));
    derw_bits(&w, sig, 0);
    derw_init(&w, out);
    derw_header(&w, DER_SEQUENCE, tbs_len + tail.len);
    *head = out->len;
    buf_add_bytes(out, buf_bytes(&tail));
    return buf_ok(&tail) && buf_ok(out) ? E_OK : err_set(e, E_NOMEM, "CRL: no room");
}

/* ---- reading ---- */

static bool number_read(struct crl *c, struct bytes v)
{
    struct der in;

    der_init(&in, v.p, v.len);
    return der_take_unsigned(&in, &c->crl_number) && der_at_end(&in) && c->crl_number.len <= 20;
}

static bool idp_read(struct crl *c, struct bytes v)
{
    struct der in, seq;

    der_init(&in, v.p, v.len);
    c->has_idp = true;
    c->idp = v;
    return der_take(&in, DER_SEQUENCE, &seq) && der_at_end(&in) && !der_at_end(&seq);
}

static enum err_code list_extensions_read(struct crl *c, struct der *list, struct err *e)
{
    struct oid_seen seen = {.n = 0};
    struct extension x;
    char text[96];

    if (der_at_end(list))
        return err_set(e, E_INVALID, "CRL: an empty list of extensions (RFC 5280 5.1.2.7)");
    while (!der_at_end(list)) {
        bool good = true;

        if (!extension_take(list, &x))
            return err_set(e, E_INVALID, "CRL: broken extension (RFC 5280 5.2)");
        oid_format(x.oid, text, sizeof text);
        if (!oid_seen_add(&seen, x.oid))
            return err_set(e, E_INVALID, "CRL: extension %s twice (RFC 5280 4.2), or too many", text);
        if (bytes_equal(x.oid, OID_AKI))
            good = aki_key_id(x.value, &c->aki);
        else if (bytes_equal(x.oid, OID_CRL_NUMBER))
            good = number_read(c, x.value);
        else if (bytes_equal(x.oid, OID_IDP))
            good = idp_read(c, x.value);
        else if (x.critical) /* a delta CRL too: never taken for a complete list */
            return err_set(e, E_INVALID, "CRL: critical extension %s is not known (RFC 5280 5.2)", text);
        if (!good)
            return err_set(e, E_INVALID, "CRL: extension %s is malformed (RFC 5280 5.2)", text);
    }
    return E_OK;
}

static enum err_code body_read(struct crl *c, struct der *tbs, struct bytes *inner_alg, struct err *e)
{
    struct der content, wrapper, list;
    uint64_t version;
    uint8_t tag;
    bool present;

    if (!der_take_u64(tbs, &version) || version != 1)
        return err_set(e, E_INVALID, "CRL: version is not v2 (RFC 5280 5.1.2.1)");
    if (!der_take_raw(tbs, DER_SEQUENCE, &content, inner_alg) ||
        !der_take_raw(tbs, DER_SEQUENCE, &content, &c->issuer) || der_at_end(&content))
        return err_set(e, E_INVALID, "CRL: no signature, or no issuer (RFC 5280 5.1.2.3)");
    if (!der_take_time(tbs, &c->this_update, &tag) || !der_take_time(tbs, &c->next_update, &tag))
        return err_set(e, E_INVALID, "CRL: no thisUpdate or nextUpdate (RFC 5280 5.1.2.5)");
    if (!der_take_optional(tbs, DER_SEQUENCE, &c->entries, &present) || (present && der_at_end(&c->entries)))
        return err_set(e, E_INVALID, "CRL: broken or empty revokedCertificates (RFC 5280 5.1.2.6)");
    if (!present)
        der_init(&c->entries, NULL, 0);
    if (!der_take_optional(tbs, DER_CONTEXT_CONSTRUCTED(0), &wrapper, &present) || !der_at_end(tbs))
        return err_set(e, E_INVALID, "CRL: unexpected octets after the entries (RFC 5280 5.1)");
    if (!present)
        return E_OK;
    if (!der_take(&wrapper, DER_SEQUENCE, &list) || !der_at_end(&wrapper))
        return err_set(e, E_INVALID, "CRL: broken extensions (RFC 5280 5.1.2.7)");
    return list_extensions_read(c, &list, e);
}

enum err_code crl_read(struct bytes der, struct crl *out, struct err *e)
{
    struct der in, crl, tbs, content;
    struct bytes inner_alg;
    unsigned unused;

    *out = (struct crl){.der = der};
    der_init(&in, der.p, der.len);
    if (!der_take(&in, DER_SEQUENCE, &crl) || !der_at_end(&in) ||
        !der_take_raw(&crl, DER_SEQUENCE, &tbs, &out->tbs) ||
        !der_take_raw(&crl, DER_SEQUENCE, &content, &out->sig_alg) || !der_take_bits(&crl, &out->sig, &unused) ||
        unused != 0 || !der_at_end(&crl))
        return err_set(e, E_INVALID, "CRL: not SEQUENCE { tbs, algorithm, signature } (RFC 5280 5.1)");
    if (body_read(out, &tbs, &inner_alg, e) != E_OK)
        return E_INVALID;
    if (!bytes_equal(inner_alg, out->sig_alg))
        return err_set(e, E_INVALID, "CRL: inner and outer algorithm differ (RFC 5280 5.1.1.2)");
    return E_OK;
}

static bool entry_extensions_read(struct der *list, struct crl_entry *out)
{
    struct oid_seen seen = {.n = 0};
    struct extension x;
    struct der in;
    uint64_t reason;

    if (der_at_end(list))
        return false;
    while (!der_at_end(list)) {
        if (!extension_take(list, &x) || !oid_seen_add(&seen, x.oid))
            return false;
        if (bytes_equal(x.oid, OID_REASON_CODE)) {
            der_init(&in, x.value.p, x.value.len);
            if (!der_take_enumerated(&in, &reason) || !der_at_end(&in) || !reason_is_for_full_list(reason))
                return false;
            out->reason = (enum crl_reason)reason;
        } else if (x.critical) {
            return false;
        }
    }
    return true;
}

bool crl_entry_next(struct der *entries, struct crl_entry *out, bool *broken)
{
    struct der seq, list;
    uint8_t tag;
    bool present;

    *broken = false;
    *out = (struct crl_entry){0};
    if (der_at_end(entries))
        return false;
    if (der_take(entries, DER_SEQUENCE, &seq) && der_take_unsigned(&seq, &out->serial) &&
        der_take_time(&seq, &out->revoked_at, &tag) && der_take_optional(&seq, DER_SEQUENCE, &list, &present) &&
        der_at_end(&seq) && (!present || entry_extensions_read(&list, out)))
        return true;
    *broken = true;
    return false;
}

/* ---- the gate ---- */

/* A list in order: one step ahead, so that two can be walked side by side. */
struct walk {
    const char *which;
    struct der entries;
    struct crl_entry at;
    bool more;
};

static enum err_code walk_step(struct walk *w, struct err *e)
{
    struct bytes last = w->more ? w->at.serial : BYTES(NULL, 0);
    bool broken;

    w->more = crl_entry_next(&w->entries, &w->at, &broken);
    if (broken)
        return err_set(e, E_CONFLICT, "the %s list has a broken entry", w->which);
    if (w->more && last.len && magnitude_cmp(last, w->at.serial) >= 0)
        return err_set(e, E_CONFLICT, "the %s list is not sorted by serial", w->which);
    return E_OK;
}

static enum err_code headers_gate(const struct crl *old, const struct crl *new, struct err *e)
{
    if (!bytes_equal(old->issuer, new->issuer))
        return err_set(e, E_CONFLICT, "another issuer");
    if (!bytes_equal(old->aki, new->aki))
        return err_set(e, E_CONFLICT, "another key: authorityKeyIdentifier differs (RFC 5280 5.2.1)");
    if (old->has_idp != new->has_idp || !bytes_equal(old->idp, new->idp))
        return err_set(e, E_CONFLICT, "another scope: issuingDistributionPoint differs (RFC 5280 5.2.5)");
    if (old->crl_number.len == 0 || new->crl_number.len == 0 || magnitude_cmp(new->crl_number, old->crl_number) <= 0)
        return err_set(e, E_CONFLICT, "CRLNumber is not above the old one's (RFC 5280 5.2.3)");
    if (new->this_update <= old->this_update)
        return err_set(e, E_CONFLICT, "thisUpdate is not above the old one's (RFC 5280 5.1.2.4)");
    if (new->next_update < old->next_update)
        return err_set(e, E_CONFLICT, "nextUpdate is before the old one's (RFC 5280 5.1.2.5)");
    return E_OK;
}

static enum err_code entries_gate(const struct crl *old, const struct crl *new, crl_may_leave_fn may_leave, void *arg,
                                  struct err *e)
{
    struct walk was = {.which = "old", .entries = old->entries};
    struct walk is = {.which = "new", .entries = new->entries};
    char hex[2 * 64 + 1];

    if (walk_step(&was, e) != E_OK || walk_step(&is, e) != E_OK)
        return E_CONFLICT;
    while (was.more) {
        int order = is.more ? magnitude_cmp(is.at.serial, was.at.serial) : 1;

        if (order < 0) {
            if (walk_step(&is, e) != E_OK)
                return E_CONFLICT;
            continue;
        }
        if (order > 0 && !may_leave(arg, was.at.serial)) {
            hex_encode(was.at.serial.p, was.at.serial.len > 64 ? 64 : was.at.serial.len, hex);
            return err_set(e, E_CONFLICT, "entry %s is lost without a release or an expiry (RFC 5280 3.3)", hex);
        }
        if (order == 0 && walk_step(&is, e) != E_OK)
            return E_CONFLICT;
        if (walk_step(&was, e) != E_OK)
            return E_CONFLICT;
    }
    while (is.more) /* what is new must be sound too */
        if (walk_step(&is, e) != E_OK)
            return E_CONFLICT;
    return E_OK;
}

enum err_code crl_gate(const struct crl *old, const struct crl *new, crl_may_leave_fn may_leave, void *arg,
                       struct err *e)
{
    enum err_code code = headers_gate(old, new, e);

    if (code == E_OK)
        code = entries_gate(old, new, may_leave, arg, e);
    if (code != E_OK)
        (void)err_wrap(e, "CRL not published");
    return code;
}
