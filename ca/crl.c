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

static void entry_write(struct derw *w, const struct status_row *row)
{
    enum crl_reason reason = row->status == CERT_ON_HOLD ? REASON_CERTIFICATE_HOLD : row->reason;

    derw_begin(w, DER_SEQUENCE);
    derw_unsigned(w, BYTES(row->serial, row->serial_len));
    derw_time(w, row->time);
    if (reason != REASON_UNSPECIFIED || row->invalidity) {
        derw_begin(w, DER_SEQUENCE);
        if (reason != REASON_UNSPECIFIED) {
            small_extension(w, OID_REASON_CODE, DER_OCTET_STRING);
            derw_enumerated(w, (uint64_t)reason);
            derw_end(w);
            derw_end(w);
        }
        if (row->invalidity) {
            small_extension(w, OID_INVALIDITY_DATE, DER_OCTET_STRING);
            derw_gentime(w, row->invalidity);
            derw_end(w);
            derw_end(w);
        }
        derw_end(w);
    }
    derw_end(w);
}

static enum err_code entry_check(const struct status_row *row, const struct bytes *last, const struct crl_inputs *in,
                                 struct err *e)
{
    struct bytes serial;
    char hex[2 * SERIAL_MAX_LEN + 1];

    if (row->serial_len == 0 || row->serial_len > SERIAL_MAX_LEN)
        return err_set(e, E_INTERNAL, "entry: serial of %u octets", row->serial_len);
    serial = magnitude_of(row->serial, row->serial_len);
    hex_encode(serial.p, serial.len, hex);
    if (last->len && magnitude_cmp(*last, serial) >= 0)
        return err_set(e, E_INTERNAL, "entry %s: not above the one before", hex);
    if (row->status != CERT_REVOKED && row->status != CERT_ON_HOLD)
        return err_set(e, E_INTERNAL, "entry %s: status %d belongs on no list", hex, (int)row->status);
    if (!reason_is_for_full_list((uint64_t)row->reason))
        return err_set(e, E_INTERNAL, "entry %s: reason %d (RFC 5280 5.3.1)", hex, (int)row->reason);
    if (row->time > in->this_update)
        return err_set(e, E_INTERNAL, "entry %s: revoked after thisUpdate", hex);
    return E_OK;
}

/* One entry after the other; the list is left out when there is none (RFC 5280 5.1.2.6). */
static enum err_code entries_write(struct derw *w, const struct crl_inputs *in, crl_next_fn next, void *arg,
                                   uint64_t *entries, struct err *e)
{
    struct status_row row;
    uint8_t last_octets[SERIAL_MAX_LEN];
    struct bytes last = {NULL, 0};
    struct err at = {.code = E_OK};

    *entries = 0;
    while (next(arg, &row, &at)) {
        enum err_code code = entry_check(&row, &last, in, e);
        if (code != E_OK)
            return code;
        if (++*entries == 1)
            derw_begin(w, DER_SEQUENCE);
        entry_write(w, &row);
        if (!buf_ok(w->out))
            return err_set(e, E_NOMEM, "more than %zu octets", w->out->max);
        last = magnitude_of(row.serial, row.serial_len);
        memcpy(last_octets, last.p, last.len);
        last.p = last_octets;
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
    derw_begin(&w, DER_SEQUENCE);
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

enum err_code crl_assemble(struct bytes tbs, enum sig_alg alg, struct bytes sig, struct buf *der, struct err *e)
{
    struct derw w;

    if (sig_alg_der(alg).len == 0 || sig.len == 0 || tbs.len == 0)
        return err_set(e, E_INTERNAL, "CRL: nothing to assemble");
    derw_init(&w, der);
    derw_signed(&w, tbs, alg, sig);
    return derw_finish(&w) ? E_OK : err_set(e, E_NOMEM, "CRL: no room");
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
