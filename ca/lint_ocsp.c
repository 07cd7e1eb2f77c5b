/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules on an OCSP ResponseData, and on its being the answer to a request. The request was judged by its own reader
 * before; here it is only walked to find what must come back.
 */
#include "base/limits.h"
#include "base/oid.h"
#include "ca/lint_int.h"

#define UNKNOWN_LIFE_MAX_S (15 * 60) /* producedAt .. nextUpdate of `unknown` */

#define OCSP_RULES(X)                                                                                                  \
    X(DATA_SIZE, "ocsp.data.size", "profile", "the ResponseData fits one message between our processes")               \
    X(DATA_ONE, "ocsp.data.one", "RFC 6960 4.2.1", "the object is one DER SEQUENCE and nothing behind it")             \
    X(DATA_FIELDS, "ocsp.data.fields", "RFC 6960 4.2.1",                                                               \
      "the fields of ResponseData have their types and their order")                                                   \
    X(DATA_TRAILING, "ocsp.data.trailing", "RFC 6960 4.2.1", "nothing follows the responseExtensions")                 \
    X(REQUEST_READABLE, "ocsp.request.readable", "RFC 6960 4.1.1", "the request answered is an OCSPRequest")           \
    X(VERSION_DEFAULT, "ocsp.version.default", "RFC 6960 4.2.1, X.690 11.5",                                           \
      "version is left out, as v1 is the default")                                                                     \
    X(RESPONDER_BY_KEY, "ocsp.responder_id.by_key", "RFC 9919 3.2.2", "responderID is byKey")                          \
    X(RESPONDER_FORM, "ocsp.responder_id.form", "RFC 6960 4.2.1", "byKey is an OCTET STRING of 20 octets")             \
    X(RESPONDER_KEY, "ocsp.responder_id.key", "RFC 6960 4.2.2.3", "byKey is the hash of the responder's key")          \
    X(PRODUCED_AT_FORM, "ocsp.produced_at.form", "RFC 6960 4.2.2.1",                                                   \
      "producedAt is a GeneralizedTime with seconds, in Zulu time, without fractions")                                 \
    X(PRODUCED_AT_FUTURE, "ocsp.produced_at.future", "RFC 6960 2.4", "producedAt is not in the future")                \
    X(PRODUCED_AT_STALE, "ocsp.produced_at.stale", "RFC 6960 2.4", "producedAt is at most 10 minutes before now")      \
    X(RESPONDER_EXPIRED, "ocsp.responder.expired", "RFC 9919 3.2.2",                                                   \
      "the responder's certificate is valid at producedAt")                                                            \
    X(RESPONSES_EMPTY, "ocsp.responses.empty", "RFC 6960 4.2.2.3", "there is at least one SingleResponse")             \
    X(RESPONSES_COUNT, "ocsp.responses.count", "RFC 6960 4.2.2.3", "there is one SingleResponse for each Request")     \
    X(SINGLE_FORM, "ocsp.single.form", "RFC 6960 4.2.1",                                                               \
      "a SingleResponse is certID, certStatus, thisUpdate, nextUpdate and singleExtensions")                           \
    X(CERT_ID_ECHO, "ocsp.cert_id.echo", "RFC 6960 3.2 (1)",                                                           \
      "CertIDs are those of the request, octet for octet, in its order")                                               \
    X(CERT_ID_ISSUER, "ocsp.cert_id.issuer", "RFC 6960 4.2.2.2", "CertIDs of one hash algorithm name one issuer")      \
    X(STATUS_FORM, "ocsp.status.form", "RFC 6960 4.2.1", "certStatus is good, revoked or unknown")                     \
    X(GOOD_EMPTY, "ocsp.good.empty", "RFC 6960 4.2.1", "good is NULL")                                                 \
    X(UNKNOWN_EMPTY, "ocsp.unknown.empty", "RFC 6960 4.2.1", "unknown is NULL")                                        \
    X(REVOKED_FORM, "ocsp.revoked.form", "RFC 6960 4.2.1", "revoked is a time and a reason")                           \
    X(REVOKED_TIME_FORM, "ocsp.revoked.time_form", "RFC 6960 4.2.2.1",                                                 \
      "revocationTime is a GeneralizedTime with seconds, in Zulu time, without fractions")                             \
    X(REVOKED_TIME_LATE, "ocsp.revoked.time_late", "profile", "revocationTime is not after thisUpdate")                \
    X(REASON_FORM, "ocsp.reason.form", "RFC 6960 4.2.1", "revocationReason is one ENUMERATED in [0]")                  \
    X(REASON_VALUE, "ocsp.reason.value", "RFC 5280 5.3.1", "revocationReason exists and is not removeFromCRL")         \
    X(REASON_UNSPECIFIED, "ocsp.reason.unspecified", "RFC 5280 5.3.1", "revocationReason is left out for unspecified") \
    X(THIS_UPDATE_FORM, "ocsp.this_update.form", "RFC 6960 4.2.2.1",                                                   \
      "thisUpdate is a GeneralizedTime with seconds, in Zulu time, without fractions")                                 \
    X(THIS_UPDATE_FUTURE, "ocsp.this_update.future", "RFC 6960 4.2.2.1", "thisUpdate is not in the future")            \
    X(THIS_UPDATE_STALE, "ocsp.this_update.stale", "profile", "thisUpdate is at most 10 minutes before producedAt")    \
    X(THIS_UPDATE_ORDER, "ocsp.this_update.order", "RFC 6960 2.4", "thisUpdate is not after producedAt")               \
    X(NEXT_UPDATE_PRESENT, "ocsp.next_update.present", "RFC 9919 3.2.4", "nextUpdate is there")                        \
    X(NEXT_UPDATE_FORM, "ocsp.next_update.form", "RFC 6960 4.2.2.1",                                                   \
      "nextUpdate is a GeneralizedTime with seconds, in Zulu time, without fractions")                                 \
    X(NEXT_UPDATE_PAST, "ocsp.next_update.past", "RFC 6960 2.4", "nextUpdate is later than now and thisUpdate")        \
    X(NEXT_UPDATE_RESPONDER, "ocsp.next_update.responder", "profile",                                                  \
      "nextUpdate is not after the end of the responder's certificate")                                                \
    X(NEXT_UPDATE_UNKNOWN, "ocsp.next_update.unknown", "profile",                                                      \
      "nextUpdate of unknown is at most 15 minutes after producedAt")                                                  \
    X(EXTENSIONS_FORM, "ocsp.extensions.form", "RFC 6960 4.2.1", "extensions are one non-empty SEQUENCE in [1]")       \
    X(EXTENSION_FORM, "ocsp.extension.form", "RFC 5280 4.1", "an extension is OID, critical and OCTET STRING")         \
    X(EXTENSION_CRITICAL, "ocsp.extension.critical", "profile", "no extension is critical, and critical is left out")  \
    X(EXTENSION_DUPLICATE, "ocsp.extension.duplicate", "RFC 5280 4.2", "no extension is there twice")                  \
    X(EXTENSION_EMPTY, "ocsp.extension.empty", "RFC 5280 4.1", "an extension's value is not empty")                    \
    X(SINGLE_EXTENSION_KNOWN, "ocsp.single_extension.known", "profile",                                                \
      "singleExtensions are archiveCutoff and invalidityDate")                                                         \
    X(ARCHIVE_CUTOFF_FORM, "ocsp.archive_cutoff.form", "RFC 6960 4.4.4", "archiveCutoff is a GeneralizedTime")         \
    X(ARCHIVE_CUTOFF_LATE, "ocsp.archive_cutoff.late", "RFC 6960 4.4.4", "archiveCutoff is not after producedAt")      \
    X(INVALIDITY_FORM, "ocsp.invalidity.form", "RFC 6960 4.4.5", "invalidityDate is a GeneralizedTime")                \
    X(INVALIDITY_REVOKED, "ocsp.invalidity.revoked", "RFC 6960 4.4.5", "invalidityDate comes with revoked only")       \
    X(RESPONSE_EXTENSION_KNOWN, "ocsp.response_extension.known", "RFC 9919 3.2.1",                                     \
      "responseExtensions are nonce and extended-revoke")                                                              \
    X(NONCE_MISSING, "ocsp.nonce.missing", "RFC 9654 2.1", "a nonce that was asked for is there")                      \
    X(NONCE_UNASKED, "ocsp.nonce.unasked", "profile", "a nonce is there only when asked for")                          \
    X(NONCE_ECHO, "ocsp.nonce.echo", "RFC 9654 2.1", "the nonce is the request's, octet for octet")                    \
    X(EXTENDED_REVOKE_VALUE, "ocsp.extended_revoke.value", "RFC 6960 4.4.8", "extended-revoke is NULL")                \
    X(EXTENDED_REVOKE_NEEDED, "ocsp.extended_revoke.needed", "RFC 6960 2.2, 4.4.8",                                    \
      "revoked for a certificate never issued comes with extended-revoke")                                             \
    X(UNISSUED_REASON, "ocsp.unissued.reason", "RFC 6960 2.2",                                                         \
      "revoked for a certificate never issued has the reason certificateHold")

enum ocsp_rule { OCSP_RULES(LINT_RULE_ENUM) R_COUNT };
static const struct lint_rule ocsp_rules[] = {OCSP_RULES(LINT_RULE_TABLE)};

const struct lint_rule *lint_rules_ocsp(size_t *n)
{
    *n = R_COUNT;
    return ocsp_rules;
}

struct ocsp_walk {
    struct lint_walk lint;
    const struct lint_ocsp_expect *x;

    struct der asked; /* requestList not yet answered */
    struct bytes nonce_asked;
    bool has_nonce_asked;

    struct der responder, responses, extensions;
    uint8_t responder_tag;
    bool has_extensions;
    bool has_produced_at, responder_expired;
    time_t produced_at;
    bool unissued_revoked; /* a SingleResponse says revoked in 1970: never issued (RFC 6960 2.2) */
    struct bytes
        first_issuer[4]; /* per hash algorithm: issuerNameHash and issuerKeyHash elements of its first CertID */
};

static void hit(const struct ocsp_walk *w, enum ocsp_rule rule)
{
    lint_hit(&w->lint, rule);
}

static bool read_generalized(struct der *in, time_t *t)
{
    uint8_t tag;

    return der_peek(in, DER_GENERALIZED_TIME) && der_take_time(in, t, &tag);
}

/* ---- the request ---- */

/* TBSRequest: [0] version, [1] requestorName, requestList, [2] requestExtensions. */
static bool read_request(struct ocsp_walk *w)
{
    struct der in = lint_reader(w->x->request), request, tbs, skipped, explicit_exts, exts;
    bool there;

    if (!der_take(&in, DER_SEQUENCE, &request) || !der_at_end(&in) || !der_take(&request, DER_SEQUENCE, &tbs) ||
        !der_take_optional(&tbs, DER_CONTEXT_CONSTRUCTED(0), &skipped, &there) ||
        !der_take_optional(&tbs, DER_CONTEXT_CONSTRUCTED(1), &skipped, &there) ||
        !der_take(&tbs, DER_SEQUENCE, &w->asked) ||
        !der_take_optional(&tbs, DER_CONTEXT_CONSTRUCTED(2), &explicit_exts, &there))
        return false;
    if (!there)
        return true;
    if (!der_take(&explicit_exts, DER_SEQUENCE, &exts))
        return false;
    while (!der_at_end(&exts)) {
        struct der ext;
        struct bytes oid, value;
        bool critical;

        if (!der_take(&exts, DER_SEQUENCE, &ext) || !der_take_oid(&ext, &oid))
            return false;
        if (der_peek(&ext, DER_BOOLEAN) && !der_take_bool(&ext, &critical))
            return false;
        if (!der_take_octets(&ext, &value))
            return false;
        if (bytes_equal(oid, OID_OCSP_NONCE)) {
            w->has_nonce_asked = true;
            w->nonce_asked = value;
        }
    }
    return true;
}

/* ---- extensions ---- */

static const struct lint_ext_rules ext_rules = {R_EXTENSION_FORM, R_EXTENSION_CRITICAL, R_EXTENSION_CRITICAL,
                                                R_EXTENSION_EMPTY};

/* The SEQUENCE inside [1]; false after noting a wrong form. */
static bool open_extensions(const struct ocsp_walk *w, struct der outer, struct der *list)
{
    if (der_take(&outer, DER_SEQUENCE, list) && der_at_end(&outer) && !der_at_end(list))
        return true;
    hit(w, R_EXTENSIONS_FORM);
    return false;
}

/* Notes duplicates among known extensions: `seen` is that of this one. false: to be skipped. */
static bool is_first(const struct ocsp_walk *w, const struct lint_ext *ext, bool *seen)
{
    if (*seen) {
        hit(w, R_EXTENSION_DUPLICATE);
        return false;
    }
    *seen = true;
    if (ext->critical)
        hit(w, R_EXTENSION_CRITICAL);
    return true;
}

static void check_nonce(const struct ocsp_walk *w, const struct lint_ext *ext)
{
    if (!w->has_nonce_asked)
        hit(w, R_NONCE_UNASKED);
    else if (!bytes_equal(ext->value, w->nonce_asked))
        hit(w, R_NONCE_ECHO);
}

static void check_extended_revoke(const struct ocsp_walk *w, const struct lint_ext *ext)
{
    struct der in = lint_reader(ext->value);

    if (!der_take_null(&in) || !der_at_end(&in))
        hit(w, R_EXTENDED_REVOKE_VALUE);
}

static void check_response_extensions(const struct ocsp_walk *w)
{
    bool nonce = false, extended = false;
    struct lint_ext ext;
    struct der list;

    if (w->has_extensions) {
        if (!open_extensions(w, w->extensions, &list))
            return;
        while (!der_at_end(&list)) {
            if (!lint_ext_take(&w->lint, &ext_rules, &list, &ext) || (!ext.present && ext.oid.len == 0))
                return;
            if (bytes_equal(ext.oid, OID_OCSP_NONCE)) {
                if (is_first(w, &ext, &nonce) && ext.present)
                    check_nonce(w, &ext);
            } else if (bytes_equal(ext.oid, OID_OCSP_EXTENDED_REVOKE)) {
                if (is_first(w, &ext, &extended) && ext.present)
                    check_extended_revoke(w, &ext);
            } else {
                hit(w, R_RESPONSE_EXTENSION_KNOWN);
            }
        }
    }
    if (w->has_nonce_asked && !nonce)
        hit(w, R_NONCE_MISSING);
    if (w->unissued_revoked && !extended)
        hit(w, R_EXTENDED_REVOKE_NEEDED);
}

static void check_archive_cutoff(const struct ocsp_walk *w, struct bytes value)
{
    struct der in = lint_reader(value);
    time_t t;

    if (!read_generalized(&in, &t) || !der_at_end(&in))
        hit(w, R_ARCHIVE_CUTOFF_FORM);
    else if (w->has_produced_at && t > w->produced_at)
        hit(w, R_ARCHIVE_CUTOFF_LATE);
}

static void check_invalidity(const struct ocsp_walk *w, struct bytes value, bool revoked)
{
    struct der in = lint_reader(value);
    time_t t;

    if (!read_generalized(&in, &t) || !der_at_end(&in))
        hit(w, R_INVALIDITY_FORM);
    else if (!revoked)
        hit(w, R_INVALIDITY_REVOKED);
}

static void check_single_extensions(const struct ocsp_walk *w, struct der outer, bool revoked)
{
    bool cutoff = false, invalidity = false;
    struct lint_ext ext;
    struct der list;

    if (!open_extensions(w, outer, &list))
        return;
    while (!der_at_end(&list)) {
        if (!lint_ext_take(&w->lint, &ext_rules, &list, &ext) || (!ext.present && ext.oid.len == 0))
            return;
        if (bytes_equal(ext.oid, OID_OCSP_ARCHIVE_CUTOFF)) {
            if (is_first(w, &ext, &cutoff) && ext.present)
                check_archive_cutoff(w, ext.value);
        } else if (bytes_equal(ext.oid, OID_INVALIDITY_DATE)) {
            if (is_first(w, &ext, &invalidity) && ext.present)
                check_invalidity(w, ext.value, revoked);
        } else {
            hit(w, R_SINGLE_EXTENSION_KNOWN);
        }
    }
}

/* ---- one SingleResponse ---- */

/*
 * The name and key hash elements of a CertID, as one run of octets. Only asked of a CertID that is the request's, so
 * what does not read here is the request's business.
 */
static bool issuer_of(struct bytes cert_id, struct bytes *alg_oid, struct bytes *issuer)
{
    struct der in = lint_reader(cert_id), id, alg, hash;
    struct bytes start, name, key;

    if (!der_take(&in, DER_SEQUENCE, &id) || !der_take(&id, DER_SEQUENCE, &alg) || !der_take_oid(&alg, alg_oid))
        return false;
    start = der_rest(&id);
    if (!der_take_raw(&id, DER_OCTET_STRING, &hash, &name) || !der_take_raw(&id, DER_OCTET_STRING, &hash, &key))
        return false;
    *issuer = BYTES(start.p, name.len + key.len);
    return true;
}

static void check_issuer(struct ocsp_walk *w, struct bytes cert_id)
{
    static const struct bytes *const algs[4] = {&OID_SHA1, &OID_SHA256, &OID_SHA384, &OID_SHA512};
    struct bytes alg, issuer;

    if (!issuer_of(cert_id, &alg, &issuer))
        return;
    for (size_t i = 0; i < 4; i++) {
        if (!bytes_equal(alg, *algs[i]))
            continue;
        if (w->first_issuer[i].len == 0)
            w->first_issuer[i] = issuer;
        else if (!bytes_equal(w->first_issuer[i], issuer))
            hit(w, R_CERT_ID_ISSUER);
    }
}

/* The CertID of the next Request; false when the request is not to be read. */
static bool take_asked(struct ocsp_walk *w, struct bytes *cert_id)
{
    struct der request, content;

    return der_take(&w->asked, DER_SEQUENCE, &request) && der_take_raw(&request, DER_SEQUENCE, &content, cert_id);
}

static void check_cert_id(struct ocsp_walk *w, struct bytes cert_id, struct bytes asked)
{
    if (!bytes_equal(asked, cert_id))
        hit(w, R_CERT_ID_ECHO);
    else
        check_issuer(w, cert_id);
}

struct single {
    bool revoked, unknown;
    bool has_revoked_at;
    time_t revoked_at;
};

static void check_reason(const struct ocsp_walk *w, struct der in, uint64_t *reason)
{
    if (!der_take_enumerated(&in, reason) || !der_at_end(&in)) {
        *reason = UINT64_MAX;
        hit(w, R_REASON_FORM);
    } else if (*reason == 0) {
        hit(w, R_REASON_UNSPECIFIED);
    } else if (*reason == 7 || *reason == 8 || *reason > 10) {
        hit(w, R_REASON_VALUE);
    }
}

/* RFC 6960 2.2: a certificate that was never issued is revoked at 19700101000000Z, on hold. */
static void check_unissued(struct ocsp_walk *w, uint64_t reason)
{
    w->unissued_revoked = true;
    if (reason != 6)
        hit(w, R_UNISSUED_REASON);
}

static void check_revoked(struct ocsp_walk *w, struct der info, struct single *s)
{
    struct der explicit_reason, time;
    bool has_reason;
    uint64_t reason = 0;
    uint8_t tag;
    struct bytes raw;

    s->revoked = true;
    if (!der_take_any(&info, &tag, &time, &raw) ||
        !der_take_optional(&info, DER_CONTEXT_CONSTRUCTED(0), &explicit_reason, &has_reason) || !der_at_end(&info)) {
        hit(w, R_REVOKED_FORM);
        return;
    }
    if (has_reason)
        check_reason(w, explicit_reason, &reason);
    time = lint_reader(raw);
    if (!read_generalized(&time, &s->revoked_at)) {
        hit(w, R_REVOKED_TIME_FORM);
        return;
    }
    s->has_revoked_at = true;
    if (s->revoked_at == 0 && reason != UINT64_MAX)
        check_unissued(w, reason);
}

static void check_status(struct ocsp_walk *w, uint8_t tag, struct der status, struct single *s)
{
    switch (tag) {
    case DER_CONTEXT(0):
        if (status.len)
            hit(w, R_GOOD_EMPTY);
        break;
    case DER_CONTEXT_CONSTRUCTED(1):
        check_revoked(w, status, s);
        break;
    case DER_CONTEXT(2):
        s->unknown = true;
        if (status.len)
            hit(w, R_UNKNOWN_EMPTY);
        break;
    default:
        hit(w, R_STATUS_FORM);
    }
}

static void check_this_update(const struct ocsp_walk *w, struct der in, const struct single *s, time_t *this_update)
{
    *this_update = 0;
    if (!read_generalized(&in, this_update)) {
        hit(w, R_THIS_UPDATE_FORM);
        return;
    }
    if (*this_update > w->x->now)
        hit(w, R_THIS_UPDATE_FUTURE);
    else if (w->has_produced_at && *this_update > w->produced_at)
        hit(w, R_THIS_UPDATE_ORDER);
    if (w->has_produced_at && *this_update < w->produced_at - LINT_BACKDATE_MAX_S)
        hit(w, R_THIS_UPDATE_STALE);
    if (s->has_revoked_at && s->revoked_at > *this_update)
        hit(w, R_REVOKED_TIME_LATE);
}

static void check_next_update(const struct ocsp_walk *w, struct der outer, const struct single *s, time_t this_update)
{
    time_t t;

    if (!read_generalized(&outer, &t) || !der_at_end(&outer)) {
        hit(w, R_NEXT_UPDATE_FORM);
        return;
    }
    if (t <= w->x->now || t <= this_update) {
        hit(w, R_NEXT_UPDATE_PAST);
        return;
    }
    if (t > w->x->responder_not_after && !w->responder_expired)
        hit(w, R_NEXT_UPDATE_RESPONDER);
    if (s->unknown && w->has_produced_at && t > w->produced_at + UNKNOWN_LIFE_MAX_S)
        hit(w, R_NEXT_UPDATE_UNKNOWN);
}

static void check_single(struct ocsp_walk *w, struct der single, struct bytes asked)
{
    struct der id, status, content, next, exts;
    struct bytes cert_id, this_raw;
    bool has_next, has_exts;
    struct single s = {0};
    uint8_t status_tag, this_tag;
    time_t this_update;

    if (!der_take_raw(&single, DER_SEQUENCE, &id, &cert_id) || !der_take_any(&single, &status_tag, &status, NULL) ||
        !der_take_any(&single, &this_tag, &content, &this_raw) ||
        !der_take_optional(&single, DER_CONTEXT_CONSTRUCTED(0), &next, &has_next) ||
        !der_take_optional(&single, DER_CONTEXT_CONSTRUCTED(1), &exts, &has_exts) || !der_at_end(&single)) {
        hit(w, R_SINGLE_FORM);
        return;
    }
    check_cert_id(w, cert_id, asked);
    check_status(w, status_tag, status, &s);
    check_this_update(w, lint_reader(this_raw), &s, &this_update);
    if (!has_next)
        hit(w, R_NEXT_UPDATE_PRESENT);
    else
        check_next_update(w, next, &s, this_update);
    if (has_exts)
        check_single_extensions(w, exts, s.revoked);
}

/* ---- the frame ---- */

static size_t count_elements(struct der list)
{
    struct der content;
    uint8_t tag;
    size_t n = 0;

    while (der_take_any(&list, &tag, &content, NULL))
        n++;
    return n;
}

static void check_responses(struct ocsp_walk *w)
{
    struct der list = w->responses, single;
    struct bytes asked;

    if (der_at_end(&list)) {
        hit(w, R_RESPONSES_EMPTY);
        return;
    }
    if (count_elements(list) != count_elements(w->asked)) {
        hit(w, R_RESPONSES_COUNT);
        return;
    }
    while (!der_at_end(&list)) {
        if (!take_asked(w, &asked)) {
            hit(w, R_REQUEST_READABLE);
            return;
        }
        if (!der_take(&list, DER_SEQUENCE, &single)) {
            hit(w, R_SINGLE_FORM);
            return;
        }
        check_single(w, single, asked);
    }
}

static void check_responder(const struct ocsp_walk *w)
{
    struct der by_key = w->responder, hash;

    if (w->responder_tag != DER_CONTEXT_CONSTRUCTED(2))
        hit(w, R_RESPONDER_BY_KEY);
    else if (!der_take(&by_key, DER_OCTET_STRING, &hash) || hash.len != 20 || !der_at_end(&by_key))
        hit(w, R_RESPONDER_FORM);
    else if (!bytes_equal(der_rest(&hash), BYTES_OF(w->x->responder_key_hash)))
        hit(w, R_RESPONDER_KEY);
}

static void check_produced_at(struct ocsp_walk *w, struct der in)
{
    if (!read_generalized(&in, &w->produced_at)) {
        hit(w, R_PRODUCED_AT_FORM);
        return;
    }
    w->has_produced_at = true;
    if (w->produced_at > w->x->now)
        hit(w, R_PRODUCED_AT_FUTURE);
    if (w->produced_at < w->x->now - LINT_BACKDATE_MAX_S)
        hit(w, R_PRODUCED_AT_STALE);
    w->responder_expired = w->produced_at > w->x->responder_not_after;
    if (w->responder_expired)
        hit(w, R_RESPONDER_EXPIRED);
}

static bool split(struct ocsp_walk *w, struct bytes data, struct bytes *produced_at)
{
    struct der in = lint_reader(data), f, version, time;
    bool has_version;
    uint8_t tag;

    if (data.len > MSG_MAX_LEN) {
        hit(w, R_DATA_SIZE);
        return false;
    }
    if (!der_take(&in, DER_SEQUENCE, &f) || !der_at_end(&in)) {
        hit(w, R_DATA_ONE);
        return false;
    }
    if (!der_take_optional(&f, DER_CONTEXT_CONSTRUCTED(0), &version, &has_version) ||
        !der_take_any(&f, &w->responder_tag, &w->responder, NULL) || !der_take_any(&f, &tag, &time, produced_at) ||
        !der_take(&f, DER_SEQUENCE, &w->responses) ||
        !der_take_optional(&f, DER_CONTEXT_CONSTRUCTED(1), &w->extensions, &w->has_extensions)) {
        hit(w, R_DATA_FIELDS);
        return false;
    }
    if (has_version)
        hit(w, R_VERSION_DEFAULT);
    if (!der_at_end(&f))
        hit(w, R_DATA_TRAILING);
    return true;
}

void lint_ocsp(struct bytes response_data, const struct lint_ocsp_expect *x, struct lint_report *out)
{
    struct ocsp_walk w = {.lint = {ocsp_rules, out}, .x = x};
    struct bytes produced_at;

    out->n = 0;
    if (!split(&w, response_data, &produced_at))
        return;
    if (!read_request(&w)) {
        hit(&w, R_REQUEST_READABLE);
        return;
    }
    check_responder(&w);
    check_produced_at(&w, lint_reader(produced_at));
    check_responses(&w);
    check_response_extensions(&w);
}
