/* SPDX-License-Identifier: Apache-2.0 */
/* Rules on a TBSCertList. Entries are read one after the other: memory does not grow with the list. */
#include "base/limits.h"
#include "base/oid.h"
#include "ca/lint_int.h"

#define CRL_LIFE_MAX_S (400L * 86400 + LINT_BACKDATE_MAX_S) /* thisUpdate .. nextUpdate */

#define CRL_RULES(X)                                                                                                   \
    X(TBS_ONE, "crl.tbs.one", "RFC 5280 5.1", "the object is one DER SEQUENCE and nothing behind it")                  \
    X(TBS_FIELDS, "crl.tbs.fields", "RFC 5280 5.1", "the fields of TBSCertList have their types and their order")      \
    X(TBS_TRAILING, "crl.tbs.trailing", "RFC 5280 5.1", "nothing follows the extensions")                              \
    X(VERSION_V2, "crl.version.v2", "RFC 5280 5.1.2.1", "version is there and v2 (1)")                                 \
    X(SIGNATURE_FORM, "crl.signature.form", "RFC 5280 5.1.2.2", "signature is an AlgorithmIdentifier")                 \
    X(SIGNATURE_ALGORITHM, "crl.signature.algorithm", "RFC 5280 5.1.2.2",                                              \
      "signature names the algorithm of the issuer's key")                                                             \
    X(SIGNATURE_PARAMETERS, "crl.signature.parameters", "RFC 4055 5, RFC 5758 3.2, RFC 8410 3",                        \
      "signature parameters are NULL for RSA and absent otherwise")                                                    \
    X(ISSUER_EMPTY, "crl.issuer.empty", "RFC 5280 5.1.2.3", "issuer is not an empty name")                             \
    X(ISSUER_IDENTICAL, "crl.issuer.identical", "RFC 5280 5.1.2.3",                                                    \
      "issuer is octet for octet the subject of the issuer's certificate")                                             \
    X(THIS_UPDATE_FORM, "crl.this_update.form", "RFC 5280 5.1.2.4",                                                    \
      "thisUpdate is a time with seconds, in Zulu time, without fractions")                                            \
    X(THIS_UPDATE_TYPE, "crl.this_update.type", "RFC 5280 5.1.2.4",                                                    \
      "thisUpdate is UTCTime through 2049 and GeneralizedTime from 2050")                                              \
    X(THIS_UPDATE_FUTURE, "crl.this_update.future", "profile", "thisUpdate is not in the future")                      \
    X(THIS_UPDATE_STALE, "crl.this_update.stale", "profile", "thisUpdate is at most 10 minutes before now")            \
    X(THIS_UPDATE_RISES, "crl.this_update.rises", "profile", "thisUpdate is later than the previous list's")           \
    X(NEXT_UPDATE_PRESENT, "crl.next_update.present", "RFC 5280 5.1.2.5", "nextUpdate is there")                       \
    X(NEXT_UPDATE_FORM, "crl.next_update.form", "RFC 5280 5.1.2.5",                                                    \
      "nextUpdate is a time with seconds, in Zulu time, without fractions")                                            \
    X(NEXT_UPDATE_TYPE, "crl.next_update.type", "RFC 5280 5.1.2.5",                                                    \
      "nextUpdate is UTCTime through 2049 and GeneralizedTime from 2050")                                              \
    X(NEXT_UPDATE_PAST, "crl.next_update.past", "RFC 5280 5.1.2.5", "nextUpdate is later than now and thisUpdate")     \
    X(NEXT_UPDATE_FAR, "crl.next_update.far", "profile", "nextUpdate is at most 400 days after thisUpdate")            \
    X(ENTRIES_EMPTY, "crl.entries.empty", "RFC 5280 5.1.2.6", "revokedCertificates is absent when nothing is revoked") \
    X(ENTRIES_COUNT, "crl.entries.count", "profile", "there are as many entries as the ledger says")                   \
    X(ENTRY_FORM, "crl.entry.form", "RFC 5280 5.1", "an entry is a SEQUENCE of serial, date and extensions")           \
    X(ENTRY_SERIAL, "crl.entry.serial", "RFC 5280 4.1.2.2",                                                            \
      "an entry's serial is positive, minimal and has at most 20 octets")                                              \
    X(ENTRY_DUPLICATE, "crl.entry.duplicate", "profile", "no serial is listed twice")                                  \
    X(ENTRY_ORDER, "crl.entry.order", "profile", "entries are sorted by serial")                                       \
    X(ENTRY_DATE_FORM, "crl.entry.date_form", "RFC 5280 5.1.2.6",                                                      \
      "revocationDate is a time with seconds, in Zulu time, without fractions")                                        \
    X(ENTRY_DATE_TYPE, "crl.entry.date_type", "RFC 5280 5.1.2.6",                                                      \
      "revocationDate is UTCTime through 2049 and GeneralizedTime from 2050")                                          \
    X(ENTRY_DATE_LATE, "crl.entry.date_late", "profile", "revocationDate is not after thisUpdate")                     \
    X(ENTRY_EXTENSIONS_EMPTY, "crl.entry.extensions_empty", "RFC 5280 4.1, 5.1",                                       \
      "crlEntryExtensions is absent rather than empty")                                                                \
    X(ENTRY_EXTENSION_FORM, "crl.entry.extension_form", "RFC 5280 4.1",                                                \
      "an entry extension is OID, critical and OCTET STRING with a value")                                             \
    X(ENTRY_EXTENSION_CRITICAL, "crl.entry.extension_critical", "RFC 5280 5.3",                                        \
      "entry extensions are not critical, and critical is left out")                                                   \
    X(ENTRY_EXTENSION_DUPLICATE, "crl.entry.extension_duplicate", "RFC 5280 4.2", "no entry extension is there twice") \
    X(ENTRY_EXTENSION_KNOWN, "crl.entry.extension_known", "RFC 5280 5.3",                                              \
      "entry extensions are reasonCode and invalidityDate")                                                            \
    X(REASON_FORM, "crl.reason.form", "RFC 5280 5.3.1", "reasonCode is an ENUMERATED that exists")                     \
    X(REASON_UNSPECIFIED, "crl.reason.unspecified", "RFC 5280 5.3.1", "reasonCode is left out for unspecified")        \
    X(REASON_REMOVE, "crl.reason.remove", "RFC 5280 5.3.1", "removeFromCRL is not in a complete list")                 \
    X(INVALIDITY_FORM, "crl.invalidity.form", "RFC 5280 5.3.2", "invalidityDate is a GeneralizedTime")                 \
    X(INVALIDITY_LATE, "crl.invalidity.late", "profile", "invalidityDate is not after thisUpdate")                     \
    X(EXTENSIONS_PRESENT, "crl.extensions.present", "RFC 5280 5.2", "extensions are there")                            \
    X(EXTENSIONS_FORM, "crl.extensions.form", "RFC 5280 5.1.2.7", "extensions are one non-empty SEQUENCE in [0]")      \
    X(EXTENSION_FORM, "crl.extension.form", "RFC 5280 4.1", "an extension is OID, critical and OCTET STRING")          \
    X(EXTENSION_CRITICAL_TRUE, "crl.extension.critical_true", "X.690 11.1", "a BOOLEAN is one octet 0x00 or 0xff")     \
    X(EXTENSION_CRITICAL_DEFAULT, "crl.extension.critical_default", "X.690 11.5",                                      \
      "critical is left out where it is FALSE")                                                                        \
    X(EXTENSION_EMPTY, "crl.extension.empty", "RFC 5280 4.1", "an extension's value is not empty")                     \
    X(EXTENSION_DUPLICATE, "crl.extension.duplicate", "RFC 5280 4.2", "no extension is there twice")                   \
    X(EXTENSION_KNOWN, "crl.extension.known", "profile", "all extensions are ones we issue")                           \
    X(AKI_PRESENT, "crl.aki.present", "RFC 5280 5.2.1", "authorityKeyIdentifier is there")                             \
    X(AKI_CRITICAL, "crl.aki.critical", "RFC 5280 4.2.1.1", "authorityKeyIdentifier is not critical")                  \
    X(AKI_FORM, "crl.aki.form", "RFC 5280 5.2.1", "authorityKeyIdentifier has a keyIdentifier")                        \
    X(AKI_ISSUER_SERIAL, "crl.aki.issuer_serial", "profile",                                                           \
      "authorityKeyIdentifier does not name the issuer by name and serial")                                            \
    X(AKI_KEY_ID, "crl.aki.key_id", "RFC 5280 5.2.1", "keyIdentifier is the issuer's subjectKeyIdentifier")            \
    X(NUMBER_PRESENT, "crl.number.present", "RFC 5280 5.2.3", "cRLNumber is there")                                    \
    X(NUMBER_CRITICAL, "crl.number.critical", "RFC 5280 5.2.3", "cRLNumber is not critical")                           \
    X(NUMBER_FORM, "crl.number.form", "RFC 5280 5.2.3",                                                                \
      "cRLNumber is a minimal INTEGER, not negative, of at most 20 octets")                                            \
    X(NUMBER_RESERVED, "crl.number.reserved", "profile", "cRLNumber is the number that was reserved")                  \
    X(IDP_EXPECTED, "crl.idp.expected", "profile",                                                                     \
      "issuingDistributionPoint is in the list of a shard and not in the full list")                                   \
    X(IDP_CRITICAL, "crl.idp.critical", "RFC 5280 5.2.5", "issuingDistributionPoint is critical")                      \
    X(IDP_FORM, "crl.idp.form", "RFC 5280 5.2.5, X.690 11.5",                                                          \
      "issuingDistributionPoint has one URI and flags where TRUE")                                                     \
    X(IDP_URI, "crl.idp.uri", "RFC 5280 5.2.5", "its URI is octet for octet the certificates' CRL address")            \
    X(IDP_FLAGS, "crl.idp.flags", "RFC 5280 5.2.5", "at most one of its onlyContains flags is set")                    \
    X(IDP_ATTRIBUTE, "crl.idp.attribute", "RFC 5280 5.2.5", "onlyContainsAttributeCerts is not set")                   \
    X(IDP_REASONS, "crl.idp.reasons", "profile", "onlySomeReasons is absent")                                          \
    X(IDP_INDIRECT, "crl.idp.indirect", "RFC 5280 5.2.5", "indirectCRL is not set")                                    \
    X(DELTA_ABSENT, "crl.delta.absent", "profile", "deltaCRLIndicator is absent")                                      \
    X(FRESHEST_ABSENT, "crl.freshest.absent", "profile", "freshestCRL is absent")

enum crl_rule { CRL_RULES(LINT_RULE_ENUM) R_COUNT };
static const struct lint_rule crl_rules[] = {CRL_RULES(LINT_RULE_TABLE)};

const struct lint_rule *lint_rules_crl(size_t *n)
{
    *n = R_COUNT;
    return crl_rules;
}

enum ext_kind { EXT_AKI, EXT_NUMBER, EXT_IDP, EXT_DELTA, EXT_FRESHEST, EXT_KINDS };
static const struct bytes *const ext_oids[EXT_KINDS] = {
    [EXT_AKI] = &OID_AKI,         [EXT_NUMBER] = &OID_CRL_NUMBER,     [EXT_IDP] = &OID_IDP,
    [EXT_DELTA] = &OID_DELTA_CRL, [EXT_FRESHEST] = &OID_FRESHEST_CRL,
};

struct crl_walk {
    struct lint_walk lint;
    const struct lint_crl_expect *x;
    struct der signature, issuer, entries, extensions;
    struct bytes issuer_raw;
    bool has_entries, has_extensions;
    bool has_this_update;
    time_t this_update;
    struct lint_ext ext[EXT_KINDS];
    bool ext_seen[EXT_KINDS];
};

static void hit(const struct crl_walk *w, enum crl_rule rule)
{
    lint_hit(&w->lint, rule);
}

/* ---- the frame ---- */

static void check_this_update(struct crl_walk *w, struct bytes raw)
{
    struct der in = lint_reader(raw);
    uint8_t tag;
    time_t t;

    if (!der_take_time(&in, &t, &tag)) {
        hit(w, R_THIS_UPDATE_FORM);
        return;
    }
    w->has_this_update = true;
    w->this_update = t;
    if (!lint_time_is_in_its_form(tag, t))
        hit(w, R_THIS_UPDATE_TYPE);
    if (t > w->x->now)
        hit(w, R_THIS_UPDATE_FUTURE);
    if (t < w->x->now - LINT_BACKDATE_MAX_S)
        hit(w, R_THIS_UPDATE_STALE);
    if (w->x->previous_this_update && t <= w->x->previous_this_update)
        hit(w, R_THIS_UPDATE_RISES);
}

static void check_next_update(const struct crl_walk *w, struct bytes raw)
{
    struct der in = lint_reader(raw);
    uint8_t tag;
    time_t t;

    if (!der_take_time(&in, &t, &tag)) {
        hit(w, R_NEXT_UPDATE_FORM);
        return;
    }
    if (!lint_time_is_in_its_form(tag, t))
        hit(w, R_NEXT_UPDATE_TYPE);
    if (t <= w->x->now || (w->has_this_update && t <= w->this_update))
        hit(w, R_NEXT_UPDATE_PAST);
    else if (w->has_this_update && t - w->this_update > CRL_LIFE_MAX_S)
        hit(w, R_NEXT_UPDATE_FAR);
}

static bool is_time_next(const struct der *in)
{
    return der_peek(in, DER_UTC_TIME) || der_peek(in, DER_GENERALIZED_TIME);
}

/* Takes the fields in order and judges those that are small. false: the order is broken and the rest unreadable. */
static bool split(struct crl_walk *w, struct der f)
{
    struct der content;
    struct bytes raw;
    uint64_t version;
    uint8_t tag;

    if (!der_peek(&f, DER_INTEGER))
        hit(w, R_VERSION_V2);
    else if (!der_take_u64(&f, &version))
        return false;
    else if (version != 1)
        hit(w, R_VERSION_V2);
    if (!der_take(&f, DER_SEQUENCE, &w->signature) || !der_take_raw(&f, DER_SEQUENCE, &w->issuer, &w->issuer_raw) ||
        !is_time_next(&f) || !der_take_any(&f, &tag, &content, &raw))
        return false;
    check_this_update(w, raw);
    if (!is_time_next(&f)) {
        hit(w, R_NEXT_UPDATE_PRESENT);
    } else {
        if (!der_take_any(&f, &tag, &content, &raw))
            return false;
        check_next_update(w, raw);
    }
    if (!der_take_optional(&f, DER_SEQUENCE, &w->entries, &w->has_entries) ||
        !der_take_optional(&f, DER_CONTEXT_CONSTRUCTED(0), &w->extensions, &w->has_extensions))
        return false;
    if (!der_at_end(&f))
        hit(w, R_TBS_TRAILING);
    return true;
}

static void check_issuer(const struct crl_walk *w)
{
    if (w->issuer.len == 0)
        hit(w, R_ISSUER_EMPTY);
    else if (!bytes_equal(w->issuer_raw, w->x->issuer_subject))
        hit(w, R_ISSUER_IDENTICAL);
}

/* ---- entries ---- */

static void check_reason(const struct crl_walk *w, struct bytes value)
{
    struct der in = lint_reader(value);
    uint64_t reason;

    if (!der_take_enumerated(&in, &reason) || !der_at_end(&in) || reason == 7 || reason > 10)
        hit(w, R_REASON_FORM);
    else if (reason == 0)
        hit(w, R_REASON_UNSPECIFIED);
    else if (reason == 8)
        hit(w, R_REASON_REMOVE);
}

static void check_invalidity(const struct crl_walk *w, struct bytes value)
{
    struct der in = lint_reader(value);
    uint8_t tag;
    time_t t;

    if (!der_take_time(&in, &t, &tag) || tag != DER_GENERALIZED_TIME || !der_at_end(&in))
        hit(w, R_INVALIDITY_FORM);
    else if (w->has_this_update && t > w->this_update)
        hit(w, R_INVALIDITY_LATE);
}

static void check_entry_extensions(const struct crl_walk *w, struct der list)
{
    static const struct lint_ext_rules rules = {R_ENTRY_EXTENSION_FORM, R_ENTRY_EXTENSION_CRITICAL,
                                                R_ENTRY_EXTENSION_CRITICAL, R_ENTRY_EXTENSION_FORM};
    bool reason = false, invalidity = false;

    if (der_at_end(&list))
        hit(w, R_ENTRY_EXTENSIONS_EMPTY);
    while (!der_at_end(&list)) {
        struct lint_ext ext;
        bool *seen;

        if (!lint_ext_take(&w->lint, &rules, &list, &ext))
            return;
        if (!ext.present)
            continue;
        seen = bytes_equal(ext.oid, OID_REASON_CODE)       ? &reason
               : bytes_equal(ext.oid, OID_INVALIDITY_DATE) ? &invalidity
                                                           : NULL;
        if (!seen) {
            hit(w, R_ENTRY_EXTENSION_KNOWN);
            continue;
        }
        if (*seen) {
            hit(w, R_ENTRY_EXTENSION_DUPLICATE);
            continue;
        }
        *seen = true;
        if (ext.critical)
            hit(w, R_ENTRY_EXTENSION_CRITICAL);
        if (seen == &reason)
            check_reason(w, ext.value);
        else
            check_invalidity(w, ext.value);
    }
}

static void check_entry_date(const struct crl_walk *w, struct bytes raw)
{
    struct der in = lint_reader(raw);
    uint8_t tag;
    time_t t;

    if (!der_take_time(&in, &t, &tag)) {
        hit(w, R_ENTRY_DATE_FORM);
        return;
    }
    if (!lint_time_is_in_its_form(tag, t))
        hit(w, R_ENTRY_DATE_TYPE);
    if (w->has_this_update && t > w->this_update)
        hit(w, R_ENTRY_DATE_LATE);
}

/* As unsigned integers: both are minimal and positive, so a longer one is greater once the sign octet is gone. */
static int serial_cmp(struct bytes a, struct bytes b)
{
    if (a.len != b.len)
        return a.len < b.len ? -1 : 1;
    return bytes_cmp(a, b);
}

static void check_entry_serial(const struct crl_walk *w, struct der number, struct bytes *previous)
{
    struct bytes serial = der_rest(&number);

    if (serial.len == 0 || serial.len > SERIAL_MAX_LEN || serial.p[0] >= 0x80 ||
        (serial.p[0] == 0 && (serial.len == 1 || serial.p[1] < 0x80))) {
        hit(w, R_ENTRY_SERIAL);
        return;
    }
    if (serial.p[0] == 0)
        serial = BYTES(serial.p + 1, serial.len - 1);
    if (previous->len) {
        int order = serial_cmp(*previous, serial);

        if (order == 0)
            hit(w, R_ENTRY_DUPLICATE);
        else if (order > 0)
            hit(w, R_ENTRY_ORDER);
    }
    *previous = serial;
}

static void check_entry(const struct crl_walk *w, struct der entry, struct bytes *previous)
{
    struct der serial, date, extensions;
    struct bytes date_raw;
    bool has_extensions;
    uint8_t tag;

    if (!der_take(&entry, DER_INTEGER, &serial) || !is_time_next(&entry) ||
        !der_take_any(&entry, &tag, &date, &date_raw) ||
        !der_take_optional(&entry, DER_SEQUENCE, &extensions, &has_extensions) || !der_at_end(&entry)) {
        hit(w, R_ENTRY_FORM);
        return;
    }
    check_entry_serial(w, serial, previous);
    check_entry_date(w, date_raw);
    if (has_extensions)
        check_entry_extensions(w, extensions);
}

static void check_entries(const struct crl_walk *w)
{
    struct der list = w->entries, entry;
    struct bytes previous = {NULL, 0};
    uint64_t n = 0;

    if (w->has_entries && der_at_end(&list))
        hit(w, R_ENTRIES_EMPTY);
    if (w->has_entries) {
        for (; !der_at_end(&list); n++) {
            if (!der_take(&list, DER_SEQUENCE, &entry)) {
                hit(w, R_ENTRY_FORM);
                return;
            }
            check_entry(w, entry, &previous);
        }
    }
    if (n != w->x->entries)
        hit(w, R_ENTRIES_COUNT);
}

/* ---- extensions ---- */

static bool collect_extensions(struct crl_walk *w)
{
    static const struct lint_ext_rules rules = {R_EXTENSION_FORM, R_EXTENSION_CRITICAL_TRUE,
                                                R_EXTENSION_CRITICAL_DEFAULT, R_EXTENSION_EMPTY};
    struct der exts = w->extensions, list;
    bool complete = true;

    if (!w->has_extensions) {
        hit(w, R_EXTENSIONS_PRESENT);
        return false;
    }
    if (!der_take(&exts, DER_SEQUENCE, &list) || !der_at_end(&exts) || der_at_end(&list)) {
        hit(w, R_EXTENSIONS_FORM);
        return false;
    }
    while (!der_at_end(&list)) {
        struct lint_ext ext;
        unsigned kind = 0;

        if (!lint_ext_take(&w->lint, &rules, &list, &ext))
            return false;
        if (!ext.present && ext.oid.len == 0) {
            complete = false;
            continue;
        }
        while (kind < EXT_KINDS && !bytes_equal(ext.oid, *ext_oids[kind]))
            kind++;
        if (kind == EXT_KINDS) {
            hit(w, R_EXTENSION_KNOWN);
        } else if (w->ext_seen[kind]) {
            hit(w, R_EXTENSION_DUPLICATE);
        } else {
            w->ext_seen[kind] = true;
            w->ext[kind] = ext;
        }
    }
    return complete;
}

static void check_aki(const struct crl_walk *w)
{
    static const struct lint_aki_rules rules = {R_AKI_CRITICAL, R_AKI_FORM, R_AKI_ISSUER_SERIAL, R_AKI_KEY_ID};

    if (!w->ext_seen[EXT_AKI])
        hit(w, R_AKI_PRESENT);
    else if (w->ext[EXT_AKI].present)
        lint_aki(&w->lint, &rules, &w->ext[EXT_AKI], w->x->issuer_ski);
}

static void check_number(const struct crl_walk *w)
{
    const struct lint_ext *ext = &w->ext[EXT_NUMBER];
    struct der in = lint_reader(ext->value);
    struct bytes octets;
    uint64_t n = 0;

    if (!w->ext_seen[EXT_NUMBER]) {
        hit(w, R_NUMBER_PRESENT);
        return;
    }
    if (!ext->present)
        return;
    if (ext->critical)
        hit(w, R_NUMBER_CRITICAL);
    if (!der_take_unsigned(&in, &octets) || !der_at_end(&in) || ext->value.len > 2 + 20) {
        hit(w, R_NUMBER_FORM);
        return;
    }
    for (size_t i = 0; i < octets.len && octets.len <= sizeof n; i++)
        n = n << 8 | octets.p[i];
    if (octets.len > sizeof n || n != w->x->crl_number)
        hit(w, R_NUMBER_RESERVED);
}

/* The BOOLEAN flags of issuingDistributionPoint: there only when TRUE. false: FALSE was written, or not one octet. */
static bool take_flag(struct der *idp, unsigned number, bool *set)
{
    struct der c;

    *set = false;
    if (!der_peek(idp, (uint8_t)DER_CONTEXT(number)))
        return true;
    if (!der_take(idp, (uint8_t)DER_CONTEXT(number), &c) || c.len != 1 || c.p[0] != 0xff)
        return false;
    *set = true;
    return true;
}

static void check_idp(const struct crl_walk *w)
{
    const struct lint_ext *ext = &w->ext[EXT_IDP];
    bool users, cas, has_reasons, indirect, attributes;
    struct der idp, point, full, uri, reasons;

    if (w->ext_seen[EXT_IDP] != (w->x->idp_url != NULL)) {
        hit(w, R_IDP_EXPECTED);
        return;
    }
    if (!ext->present)
        return;
    if (!ext->critical)
        hit(w, R_IDP_CRITICAL);
    if (!lint_only(ext->value, DER_SEQUENCE, &idp) || !der_take(&idp, DER_CONTEXT_CONSTRUCTED(0), &point) ||
        !der_take(&point, DER_CONTEXT_CONSTRUCTED(0), &full) || !der_at_end(&point) ||
        !der_take(&full, DER_CONTEXT(6), &uri) || !der_at_end(&full) || !take_flag(&idp, 1, &users) ||
        !take_flag(&idp, 2, &cas) || !der_take_optional(&idp, DER_CONTEXT(3), &reasons, &has_reasons) ||
        !take_flag(&idp, 4, &indirect) || !take_flag(&idp, 5, &attributes) || !der_at_end(&idp)) {
        hit(w, R_IDP_FORM);
        return;
    }
    if (!bytes_equal(der_rest(&uri), bytes_str(w->x->idp_url)))
        hit(w, R_IDP_URI);
    if (users && cas)
        hit(w, R_IDP_FLAGS);
    if (attributes)
        hit(w, R_IDP_ATTRIBUTE);
    if (has_reasons)
        hit(w, R_IDP_REASONS);
    if (indirect)
        hit(w, R_IDP_INDIRECT);
}

static void check_extensions(const struct crl_walk *w)
{
    check_aki(w);
    check_number(w);
    check_idp(w);
    if (w->ext_seen[EXT_DELTA])
        hit(w, R_DELTA_ABSENT);
    if (w->ext_seen[EXT_FRESHEST])
        hit(w, R_FRESHEST_ABSENT);
}

void lint_crl(struct bytes tbs, const struct lint_crl_expect *x, struct lint_report *out)
{
    static const struct lint_sig_rules signature = {R_SIGNATURE_FORM, R_SIGNATURE_ALGORITHM, R_SIGNATURE_PARAMETERS};
    struct crl_walk w = {.lint = {crl_rules, out}, .x = x};
    struct der in = lint_reader(tbs), fields;

    out->n = 0;
    if (!der_take(&in, DER_SEQUENCE, &fields) || !der_at_end(&in)) {
        hit(&w, R_TBS_ONE);
        return;
    }
    if (!split(&w, fields)) {
        hit(&w, R_TBS_FIELDS);
        return;
    }
    lint_signature(&w.lint, &signature, w.signature, x->sig_alg);
    check_issuer(&w);
    check_entries(&w);
    if (collect_extensions(&w))
        check_extensions(&w);
}
