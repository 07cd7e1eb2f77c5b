/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/ocsp.h"

#include "base/auto.h"
#include "base/der.h"
#include "base/oid.h"
#include "ca/pki_int.h"

/* ---- the request ---- */

static const struct {
    const struct bytes *oid;
    enum cert_id_hash hash;
    size_t len;
} cert_id_hashes[] = {
    {&OID_SHA1, CERT_ID_SHA1, 20},
    {&OID_SHA256, CERT_ID_SHA256, 32},
    {&OID_SHA384, CERT_ID_SHA384, 48},
    {&OID_SHA512, CERT_ID_SHA512, 64},
};

/* Unknown algorithm, odd parameters or a hash of another length: well formed, but about no issuer of ours. */
static enum cert_id_hash hash_of(struct der *alg, struct bytes oid, const struct ocsp_cert_id *id)
{
    if (!der_at_end(alg) && (!der_take_null(alg) || !der_at_end(alg)))
        return CERT_ID_UNKNOWN;
    for (size_t i = 0; i < ARRAY_LEN(cert_id_hashes); i++)
        if (bytes_equal(oid, *cert_id_hashes[i].oid))
            return id->name_hash.len == cert_id_hashes[i].len && id->key_hash.len == cert_id_hashes[i].len
                       ? cert_id_hashes[i].hash
                       : CERT_ID_UNKNOWN;
    return CERT_ID_UNKNOWN;
}

static bool cert_id_read(struct der *in, struct ocsp_cert_id *out)
{
    struct der seq, alg;
    struct bytes oid;

    if (!der_take_raw(in, DER_SEQUENCE, &seq, &out->raw) || !der_take(&seq, DER_SEQUENCE, &alg) ||
        !der_take_oid(&alg, &oid) || !der_take_octets(&seq, &out->name_hash) ||
        !der_take_octets(&seq, &out->key_hash) || !der_take_integer(&seq, &out->serial) || !der_at_end(&seq))
        return false;
    out->hash = hash_of(&alg, oid, out);
    return true;
}

/* RFC 9654 2.1 wants an OCTET STRING inside; old clients put raw octets there, which are echoed as they are. */
static enum err_code nonce_read(struct bytes value, struct ocsp_request *out, struct err *e)
{
    struct der in;
    struct bytes octets = value;

    der_init(&in, value.p, value.len);
    if (!der_take_octets(&in, &octets) || !der_at_end(&in))
        octets = value;
    if (octets.len == 0 || octets.len > OCSP_NONCE_MAX)
        return err_set(e, E_INVALID, "nonce of %zu octets, not 1 to %d (RFC 9654 2.1)", octets.len, OCSP_NONCE_MAX);
    out->nonce = value;
    out->has_nonce = true;
    return E_OK;
}

static const struct bytes *const known_request_extensions[] = {
    &OID_OCSP_NONCE,
    &OID_OCSP_RESPONSE_TYPES,
    &OID_OCSP_PREF_SIG_ALGS,
};
static const struct bytes *const known_single_extensions[] = {&OID_OCSP_SERVICE_LOCATOR};

/* `out` NULL: extensions of one Request, where a nonce is just an unknown one. */
static enum err_code extensions_read(struct der *wrapper, const struct bytes *const *known, size_t known_n,
                                     struct ocsp_request *out, struct err *e)
{
    struct oid_seen seen = {.n = 0};
    struct extension x;
    struct der list;

    if (!der_take(wrapper, DER_SEQUENCE, &list) || !der_at_end(wrapper) || der_at_end(&list))
        return err_set(e, E_INVALID, "broken or empty extensions (RFC 6960 4.1.1)");
    while (!der_at_end(&list)) {
        bool is_known = false;

        if (!extension_take(&list, &x))
            return err_set(e, E_INVALID, "broken extension (RFC 6960 4.1.1)");
        if (!oid_seen_add(&seen, x.oid))
            return err_set(e, E_INVALID, "an extension twice (RFC 5280 4.2), or too many");
        for (size_t i = 0; i < known_n; i++)
            is_known |= bytes_equal(x.oid, *known[i]);
        if (x.critical && !is_known)
            return err_set(e, E_INVALID, "a critical extension we do not know (RFC 6960 4.1.2)");
        if (out && bytes_equal(x.oid, OID_OCSP_NONCE) && nonce_read(x.value, out, e) != E_OK)
            return E_INVALID;
    }
    return E_OK;
}

static enum err_code single_read(struct der *list, struct ocsp_request *out, struct err *e)
{
    struct der request, extensions;
    bool present;

    if (out->cert_n == OCSP_CERTS_MAX)
        return err_set(e, E_INVALID, "more than %d certificates", OCSP_CERTS_MAX);
    if (!der_take(list, DER_SEQUENCE, &request) || !cert_id_read(&request, &out->cert[out->cert_n]) ||
        !der_take_optional(&request, DER_CONTEXT_CONSTRUCTED(0), &extensions, &present) || !der_at_end(&request))
        return err_set(e, E_INVALID, "Request %zu is broken (RFC 6960 4.1.1)", out->cert_n);
    out->cert_n++;
    return present ? extensions_read(&extensions, known_single_extensions, ARRAY_LEN(known_single_extensions), NULL, e)
                   : E_OK;
}

static enum err_code tbs_read(struct der *tbs, struct ocsp_request *out, struct err *e)
{
    struct der version, requestor, list, extensions;
    uint64_t v;
    bool present;

    if (!der_take_optional(tbs, DER_CONTEXT_CONSTRUCTED(0), &version, &present) ||
        (present && (!der_take_u64(&version, &v) || v != 0 || !der_at_end(&version))))
        return err_set(e, E_INVALID, "version is not v1 (RFC 6960 4.1.1)");
    /* requestorName says nothing here: unsigned it is as if absent (RFC 9919 3.1.2). */
    if (!der_take_optional(tbs, DER_CONTEXT_CONSTRUCTED(1), &requestor, &present))
        return err_set(e, E_INVALID, "broken requestorName (RFC 6960 4.1.1)");
    if (!der_take(tbs, DER_SEQUENCE, &list) || der_at_end(&list))
        return err_set(e, E_INVALID, "no Request (RFC 6960 4.1.1)");
    while (!der_at_end(&list))
        if (single_read(&list, out, e) != E_OK)
            return E_INVALID;
    if (!der_take_optional(tbs, DER_CONTEXT_CONSTRUCTED(2), &extensions, &present) || !der_at_end(tbs))
        return err_set(e, E_INVALID, "unexpected octets after the requests (RFC 6960 4.1.1)");
    return present
               ? extensions_read(&extensions, known_request_extensions, ARRAY_LEN(known_request_extensions), out, e)
               : E_OK;
}

/* Signed requests are answered like others; the signature must be well formed and is not looked at further. */
static bool signature_is_well_formed(struct der *wrapper)
{
    struct der seq, alg, certs, list;
    struct bytes bits;
    unsigned unused;
    bool present;

    return der_take(wrapper, DER_SEQUENCE, &seq) && der_at_end(wrapper) && der_take(&seq, DER_SEQUENCE, &alg) &&
           der_take_bits(&seq, &bits, &unused) &&
           der_take_optional(&seq, DER_CONTEXT_CONSTRUCTED(0), &certs, &present) && der_at_end(&seq) &&
           (!present || (der_take(&certs, DER_SEQUENCE, &list) && der_at_end(&certs)));
}

static enum err_code request_read(struct bytes der, struct ocsp_request *out, struct err *e)
{
    struct der in, request, tbs, signature;

    if (der.len > OCSP_REQUEST_MAX)
        return err_set(e, E_INVALID, "%zu octets, at most %d", der.len, OCSP_REQUEST_MAX);
    der_init(&in, der.p, der.len);
    if (!der_take(&in, DER_SEQUENCE, &request) || !der_at_end(&in) || !der_take(&request, DER_SEQUENCE, &tbs) ||
        !der_take_optional(&request, DER_CONTEXT_CONSTRUCTED(0), &signature, &out->is_signed) || !der_at_end(&request))
        return err_set(e, E_INVALID, "not SEQUENCE { tbsRequest, signature } (RFC 6960 4.1.1)");
    if (out->is_signed && !signature_is_well_formed(&signature))
        return err_set(e, E_INVALID, "broken optionalSignature (RFC 6960 4.1.1)");
    return tbs_read(&tbs, out, e);
}

enum err_code ocsp_request_read(struct bytes der, struct ocsp_request *out, struct err *e)
{
    enum err_code code;

    *out = (struct ocsp_request){0};
    code = request_read(der, out, e);
    if (code != E_OK)
        (void)err_wrap(e, "OCSP request");
    return code;
}

/* ---- the answer ---- */

static void revoked_write(struct derw *w, time_t at, enum crl_reason reason)
{
    derw_begin(w, DER_CONTEXT_CONSTRUCTED(1));
    derw_gentime(w, at);
    if (reason != REASON_UNSPECIFIED) {
        derw_begin(w, DER_CONTEXT_CONSTRUCTED(0));
        derw_enumerated(w, (uint64_t)reason);
        derw_end(w);
    }
    derw_end(w);
}

static enum err_code single_check(const struct ocsp_single *s, const struct ocsp_response_inputs *in, struct err *e)
{
    bool revoked = !s->unknown && !s->unissued_revoked && s->status != CERT_GOOD;

    if (!der_is_one_element(s->cert_id, DER_SEQUENCE))
        return err_set(e, E_INTERNAL, "CertID is not one SEQUENCE");
    if ((unsigned)s->status >= CERT_STATUSES)
        return err_set(e, E_INTERNAL, "status %d", (int)s->status);
    if (s->this_update > in->produced_at || s->next_update <= s->this_update)
        return err_set(e, E_INTERNAL, "thisUpdate, producedAt and nextUpdate are out of order (RFC 6960 4.2.2.1)");
    if (revoked && s->revoked_at > s->this_update)
        return err_set(e, E_INTERNAL, "revocationTime is after thisUpdate");
    if (revoked && (s->reason > REASON_AA_COMPROMISE || s->reason == 7 || s->reason == REASON_REMOVE_FROM_CRL))
        return err_set(e, E_INTERNAL, "reason %d (RFC 5280 5.3.1)", (int)s->reason);
    if (s->unissued_revoked && !in->extended_revoke)
        return err_set(e, E_INTERNAL, "revoked for a never-issued serial without extended-revoke (RFC 6960 2.2)");
    return E_OK;
}

static void single_write(struct derw *w, const struct ocsp_single *s)
{
    derw_begin(w, DER_SEQUENCE);
    derw_raw(w, s->cert_id);
    if (s->unissued_revoked) /* RFC 6960 2.2 */
        revoked_write(w, 0, REASON_CERTIFICATE_HOLD);
    else if (s->unknown)
        derw_element(w, DER_CONTEXT(2), BYTES(NULL, 0));
    else if (s->status == CERT_GOOD)
        derw_element(w, DER_CONTEXT(0), BYTES(NULL, 0));
    else
        revoked_write(w, s->revoked_at, s->status == CERT_ON_HOLD ? REASON_CERTIFICATE_HOLD : s->reason);
    derw_gentime(w, s->this_update);
    derw_begin(w, DER_CONTEXT_CONSTRUCTED(0));
    derw_gentime(w, s->next_update);
    derw_end(w);
    derw_end(w);
}

static void response_extension_write(struct derw *w, struct bytes oid, struct bytes value)
{
    derw_begin(w, DER_SEQUENCE);
    derw_oid(w, oid);
    derw_octets(w, value);
    derw_end(w);
}

static void response_extensions_write(struct derw *w, const struct ocsp_response_inputs *in)
{
    static const uint8_t null_der[] = {0x05, 0x00};

    if (!in->has_nonce && !in->extended_revoke)
        return;
    derw_begin(w, DER_CONTEXT_CONSTRUCTED(1));
    derw_begin(w, DER_SEQUENCE);
    if (in->has_nonce)
        response_extension_write(w, OID_OCSP_NONCE, in->nonce);
    if (in->extended_revoke)
        response_extension_write(w, OID_OCSP_EXTENDED_REVOKE, BYTES_OF(null_der));
    derw_end(w);
    derw_end(w);
}

static enum err_code data_write(const struct ocsp_response_inputs *in, struct buf *out, struct err *e)
{
    struct derw w;

    if (in->single_n == 0)
        return err_set(e, E_INTERNAL, "no answers");
    derw_init(&w, out);
    derw_begin(&w, DER_SEQUENCE);
    derw_begin(&w, DER_CONTEXT_CONSTRUCTED(2)); /* responderID byKey */
    derw_octets(&w, BYTES_OF(in->responder_key_hash));
    derw_end(&w);
    derw_gentime(&w, in->produced_at);
    derw_begin(&w, DER_SEQUENCE);
    for (size_t i = 0; i < in->single_n; i++) {
        if (single_check(&in->single[i], in, e) != E_OK)
            return E_INTERNAL;
        single_write(&w, &in->single[i]);
    }
    derw_end(&w);
    response_extensions_write(&w, in);
    derw_end(&w);
    return derw_finish(&w) ? E_OK : err_set(e, E_NOMEM, "no room");
}

enum err_code ocsp_data_write(const struct ocsp_response_inputs *in, struct buf *out, struct err *e)
{
    enum err_code code = data_write(in, out, e);

    if (code != E_OK)
        (void)err_wrap(e, "OCSP answer");
    return code;
}

enum err_code ocsp_response_assemble(struct bytes data, enum sig_alg alg, struct bytes sig, struct bytes responder_cert,
                                     struct buf *out, struct err *e)
{
    struct derw w;

    if (sig_alg_der(alg).len == 0 || sig.len == 0 || data.len == 0 || responder_cert.len == 0)
        return err_set(e, E_INTERNAL, "OCSP answer: nothing to assemble");
    derw_init(&w, out);
    derw_begin(&w, DER_SEQUENCE);
    derw_enumerated(&w, OCSP_SUCCESSFUL);
    derw_begin(&w, DER_CONTEXT_CONSTRUCTED(0));
    derw_begin(&w, DER_SEQUENCE);
    derw_oid(&w, OID_OCSP_BASIC);
    derw_begin(&w, DER_OCTET_STRING);
    derw_begin(&w, DER_SEQUENCE); /* BasicOCSPResponse */
    derw_raw(&w, data);
    derw_raw(&w, sig_alg_der(alg));
    derw_bits(&w, sig, 0);
    derw_begin(&w, DER_CONTEXT_CONSTRUCTED(0));
    derw_begin(&w, DER_SEQUENCE);
    derw_raw(&w, responder_cert);
    derw_end(&w);
    derw_end(&w);
    derw_end(&w);
    derw_end(&w);
    derw_end(&w);
    derw_end(&w);
    derw_end(&w);
    return derw_finish(&w) ? E_OK : err_set(e, E_NOMEM, "OCSP answer: no room");
}

struct bytes ocsp_error(enum ocsp_response_status status)
{
    static const uint8_t answers[][5] = {
        {0x30, 0x03, 0x0a, 0x01, OCSP_MALFORMED_REQUEST},
        {0x30, 0x03, 0x0a, 0x01, OCSP_INTERNAL_ERROR},
        {0x30, 0x03, 0x0a, 0x01, OCSP_TRY_LATER},
        {0x30, 0x03, 0x0a, 0x01, OCSP_UNAUTHORIZED},
    };

    for (size_t i = 0; i < ARRAY_LEN(answers); i++)
        if (answers[i][4] == status)
            return BYTES_OF(answers[i]);
    return BYTES_OF(answers[1]); /* nothing else is an error answer */
}
