/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/service.h"

#include <string.h>

#include "ca/follow.h"

/* A peer that names a password at all fits it into the HTTP headers. */
#define PASSWORD_MAX_LEN HTTP_HEADERS_MAX
#define CSRATTRS_MAX_LEN EST_BODY_MAX
#define BINDING_MAX_LEN  32

/* Octets of channel-binding data per kind (RFC 5929 3.1, RFC 9266 4). */
static const size_t binding_len[SVC_BINDINGS] = {
    [SVC_BINDING_NONE] = 0,
    [SVC_BINDING_TLS_UNIQUE] = 12,
    [SVC_BINDING_TLS_EXPORTER] = 32,
};

static void require(struct msg_reader *r, bool claim)
{
    if (!claim)
        r->failed = true;
}

static uint8_t get_serial(struct msg_reader *r, uint8_t serial[SERIAL_MAX_LEN])
{
    struct bytes v = msg_get_bytes(r, SERIAL_MAX_LEN);

    if (r->failed)
        return 0;
    require(r, v.len > 0);
    if (v.len)
        memcpy(serial, v.p, v.len);
    return (uint8_t)v.len;
}

static void put_chain(struct msg *m, const struct bytes *chain, size_t n)
{
    msg_put_u8(m, (uint8_t)n);
    for (size_t i = 0; i < n; i++)
        msg_put_bytes(m, chain[i]);
}

static size_t get_chain(struct msg_reader *r, struct bytes chain[CLIENT_CHAIN_COUNT])
{
    size_t n = msg_get_enum(r, CLIENT_CHAIN_COUNT + 1), len = 0;

    if (r->failed)
        return 0;
    for (size_t i = 0; i < n; i++) {
        chain[i] = msg_get_bytes(r, CLIENT_CHAIN_MAX_LEN);
        len += chain[i].len;
    }
    require(r, len <= CLIENT_CHAIN_MAX_LEN);
    return n;
}

static bool is_printable(const char *s)
{
    for (; *s; s++)
        if (*s < ' ' || *s > '~')
            return false;
    return true;
}

void svc_enroll_encode(struct msg *m, const struct svc_enroll *in)
{
    msg_put_u8(m, (uint8_t)in->operation);
    msg_put_str(m, in->label);
    msg_put_bytes(m, in->csr);
    put_chain(m, in->chain, in->chain_n);
    msg_put_u8(m, (uint8_t)in->verdict);
    msg_put_bool(m, in->has_password);
    msg_put_str(m, in->user);
    msg_put_bytes(m, in->password);
    msg_put_u8(m, (uint8_t)in->binding_kind);
    msg_put_bytes(m, in->binding);
    msg_put_u16(m, in->tls_bits);
    msg_put_str(m, in->peer);
    msg_put_str(m, in->unit);
}

enum err_code svc_enroll_decode(struct msg_reader *r, struct svc_enroll *out, struct err *e)
{
    *out = (struct svc_enroll){0};
    out->operation = (enum svc_operation)msg_get_enum(r, SVC_OPERATIONS);
    msg_get_str(r, out->label, sizeof(out->label));
    out->csr = msg_get_bytes(r, CSR_MAX_LEN);
    out->chain_n = get_chain(r, out->chain);
    out->verdict = (enum svc_client_verdict)msg_get_enum(r, SVC_CLIENT_VERDICTS);
    out->has_password = msg_get_bool(r);
    msg_get_str(r, out->user, sizeof(out->user));
    out->password = msg_get_bytes(r, PASSWORD_MAX_LEN);
    out->binding_kind = (enum svc_binding)msg_get_enum(r, SVC_BINDINGS);
    out->binding = msg_get_bytes(r, BINDING_MAX_LEN);
    out->tls_bits = msg_get_u16(r);
    msg_get_str(r, out->peer, sizeof(out->peer));
    msg_get_str(r, out->unit, sizeof(out->unit));
    require(r, is_printable(out->unit));

    /* A verdict belongs to a certificate, a password to a claim of one, binding data to its kind. */
    require(r, (out->verdict == SVC_CLIENT_NONE) == (out->chain_n == 0));
    require(r, out->has_password || (out->user[0] == '\0' && out->password.len == 0));
    if (!r->failed)
        require(r, out->binding.len == binding_len[out->binding_kind]);
    return msg_read_end(r, e);
}

void svc_enroll_result_encode(struct msg *m, const struct svc_enroll_result *in)
{
    msg_put_u8(m, (uint8_t)in->code);
    msg_put_bytes(m, in->cert);
    msg_put_bytes(m, in->key);
    msg_put_bool(m, in->key_enveloped);
    msg_put_u32(m, in->retry_after_s);
    msg_put_str(m, in->text);
    msg_put_bool(m, in->client_limit);
    msg_put_bool(m, in->binding_judged);
}

enum err_code svc_enroll_result_decode(struct msg_reader *r, struct svc_enroll_result *out, struct err *e)
{
    *out = (struct svc_enroll_result){0};
    out->code = (enum err_code)msg_get_enum(r, ERR_CODES_COUNT);
    out->cert = msg_get_bytes(r, CERT_MAX_LEN);
    out->key = msg_get_bytes(r, KEY_PACKAGE_MAX_LEN);
    out->key_enveloped = msg_get_bool(r);
    out->retry_after_s = msg_get_u32(r);
    msg_get_str(r, out->text, sizeof(out->text));
    out->client_limit = msg_get_bool(r);
    out->binding_judged = msg_get_bool(r);
    require(r, (out->code == E_OK) == (out->cert.len > 0));
    require(r, out->key.len == 0 ? !out->key_enveloped : out->code == E_OK);
    return msg_read_end(r, e);
}

bool svc_factory_is_read(enum svc_factory_action a)
{
    return a == SVC_FACTORY_ORDER || a == SVC_FACTORY_UNIT || a == SVC_FACTORY_CHALLENGE;
}

bool svc_factory_has_unit(enum svc_factory_action a)
{
    return a != SVC_FACTORY_ORDER && a != SVC_FACTORY_RESERVE && a != SVC_FACTORY_BOX;
}

void svc_factory_encode(struct msg *m, const struct svc_factory *in)
{
    msg_put_u8(m, (uint8_t)in->action);
    msg_put_str(m, in->order);
    msg_put_str(m, in->device_id);
    msg_put_bytes(m, in->body);
    put_chain(m, in->chain, in->chain_n);
    msg_put_u8(m, (uint8_t)in->verdict);
    msg_put_str(m, in->peer);
}

size_t svc_factory_body_max(enum svc_factory_action a)
{
    return a == SVC_FACTORY_BOX ? BOX_BODY_MAX : FACTORY_BODY_MAX;
}

enum err_code svc_factory_decode(struct msg_reader *r, struct svc_factory *out, struct err *e)
{
    *out = (struct svc_factory){0};
    out->action = (enum svc_factory_action)msg_get_enum(r, SVC_FACTORY_ACTIONS);
    msg_get_str(r, out->order, sizeof(out->order));
    msg_get_str(r, out->device_id, sizeof(out->device_id));
    out->body = msg_get_bytes(r, svc_factory_body_max(out->action));
    out->chain_n = get_chain(r, out->chain);
    out->verdict = (enum svc_client_verdict)msg_get_enum(r, SVC_CLIENT_VERDICTS);
    msg_get_str(r, out->peer, sizeof(out->peer));

    require(r, out->chain_n > 0 && out->verdict != SVC_CLIENT_NONE);
    require(r, id_is_valid(out->order));
    require(r, svc_factory_has_unit(out->action) ? id_is_valid(out->device_id) : out->device_id[0] == '\0');
    require(r, !svc_factory_is_read(out->action) || out->body.len == 0);
    return msg_read_end(r, e);
}

void svc_factory_result_encode(struct msg *m, const struct svc_factory_result *in)
{
    msg_put_u8(m, (uint8_t)in->code);
    msg_put_bool(m, in->is_text);
    msg_put_bytes(m, in->body);
    msg_put_u32(m, in->retry_after_s);
}

enum err_code svc_factory_result_decode(struct msg_reader *r, struct svc_factory_result *out, struct err *e)
{
    *out = (struct svc_factory_result){0};
    out->code = (enum err_code)msg_get_enum(r, ERR_CODES_COUNT);
    out->is_text = msg_get_bool(r);
    out->body = msg_get_bytes(r, FACTORY_ANSWER_MAX);
    out->retry_after_s = msg_get_u32(r);
    require(r, out->code != E_OK || out->body.len > 0);
    return msg_read_end(r, e);
}

void svc_label_encode(struct msg *m, const struct svc_label *in)
{
    msg_put_str(m, in->name);
    msg_put_bool(m, in->auth_cert);
    msg_put_bool(m, in->auth_password);
    msg_put_bool(m, in->auth_key);
    msg_put_bool(m, in->wrap64);
    msg_put_bool(m, in->pop_required);
    msg_put_bool(m, in->keygen);
    msg_put_bytes(m, in->csrattrs);
}

enum err_code svc_label_decode(struct msg_reader *r, struct svc_label *out, struct err *e)
{
    *out = (struct svc_label){0};
    msg_get_str(r, out->name, sizeof(out->name));
    out->auth_cert = msg_get_bool(r);
    out->auth_password = msg_get_bool(r);
    out->auth_key = msg_get_bool(r);
    out->wrap64 = msg_get_bool(r);
    out->pop_required = msg_get_bool(r);
    out->keygen = msg_get_bool(r);
    out->csrattrs = msg_get_bytes(r, CSRATTRS_MAX_LEN);
    return msg_read_end(r, e);
}

void svc_file_encode(struct msg *m, const struct svc_file *in)
{
    msg_put_str(m, in->path);
    msg_put_str(m, in->content_type);
    msg_put_i64(m, in->last_modified);
    msg_put_i64(m, in->expires);
    msg_put_bytes(m, BYTES_OF(in->sha256));
    msg_put_u64(m, in->size);
}

enum err_code svc_file_decode(struct msg_reader *r, struct svc_file *out, struct err *e)
{
    struct bytes digest;

    *out = (struct svc_file){0};
    msg_get_str(r, out->path, sizeof(out->path));
    msg_get_str(r, out->content_type, sizeof(out->content_type));
    out->last_modified = msg_get_i64(r);
    out->expires = msg_get_i64(r);
    digest = msg_get_bytes(r, sizeof(out->sha256));
    out->size = msg_get_u64(r);
    require(r, out->path[0] == '/' && out->content_type[0] != '\0');
    require(r, digest.len == sizeof(out->sha256));
    if (!r->failed)
        memcpy(out->sha256, digest.p, sizeof(out->sha256));
    return msg_read_end(r, e);
}

void svc_purge_encode(struct msg *m, const struct svc_purge *in)
{
    msg_put_u64(m, in->seq);
    msg_put_bool(m, in->all);
    msg_put_u32(m, (uint32_t)in->n);
    for (size_t i = 0; i < in->n; i++) {
        msg_put_u32(m, in->item[i].issuer);
        msg_put_bytes(m, BYTES(in->item[i].serial, in->item[i].serial_len));
    }
}

enum err_code svc_purge_decode(struct msg_reader *r, struct svc_purge *out, struct err *e)
{
    *out = (struct svc_purge){0};
    out->seq = msg_get_u64(r);
    out->all = msg_get_bool(r);
    out->n = msg_get_u32(r);
    require(r, out->n <= SVC_PURGE_MAX);
    if (r->failed)
        out->n = 0;
    for (size_t i = 0; i < out->n && !r->failed; i++) {
        out->item[i].issuer = msg_get_u32(r);
        out->item[i].serial_len = get_serial(r, out->item[i].serial);
    }
    return msg_read_end(r, e);
}

void sts_ocsp_result_encode(struct msg *m, const struct sts_ocsp_result *in)
{
    msg_put_bytes(m, in->response);
    msg_put_bool(m, in->is_error);
    msg_put_bool(m, in->cacheable);
    msg_put_u64(m, in->seq);
    msg_put_i64(m, in->produced_at);
    msg_put_i64(m, in->this_update);
    msg_put_i64(m, in->next_update);
    msg_put_u32(m, in->max_age_s);
    msg_put_u8(m, (uint8_t)in->cert_n);
    for (size_t i = 0; i < in->cert_n; i++) {
        msg_put_u32(m, in->cert[i].issuer);
        msg_put_bytes(m, BYTES(in->cert[i].serial, in->cert[i].serial_len));
    }
}

enum err_code sts_ocsp_result_decode(struct msg_reader *r, struct sts_ocsp_result *out, struct err *e)
{
    *out = (struct sts_ocsp_result){0};
    out->response = msg_get_bytes(r, MSG_MAX_LEN);
    out->is_error = msg_get_bool(r);
    out->cacheable = msg_get_bool(r);
    out->seq = msg_get_u64(r);
    out->produced_at = msg_get_i64(r);
    out->this_update = msg_get_i64(r);
    out->next_update = msg_get_i64(r);
    out->max_age_s = msg_get_u32(r);
    out->cert_n = msg_get_enum(r, OCSP_CERTS_MAX + 1);
    if (r->failed)
        out->cert_n = 0;
    for (size_t i = 0; i < out->cert_n && !r->failed; i++) {
        out->cert[i].issuer = msg_get_u32(r);
        out->cert[i].serial_len = get_serial(r, out->cert[i].serial);
    }
    require(r, out->response.len > 0);
    /* What is kept must be purgeable and dated: it names its certificates and ends. */
    require(r, !out->cacheable || (!out->is_error && out->cert_n > 0 && out->next_update > out->this_update));
    return msg_read_end(r, e);
}

const char *decision_reason_name(enum decision_reason r)
{
    static const char *const names[DECISION_REASONS] = {
        [DECISION_OK] = "ok",
        [DECISION_REVOKED] = "revoked",
        [DECISION_ON_HOLD] = "on_hold",
        [DECISION_EXPIRED] = "expired",
        [DECISION_NOT_YET_VALID] = "not_yet_valid",
        [DECISION_UNKNOWN_SERIAL] = "unknown_serial",
        [DECISION_UNKNOWN_ISSUER] = "unknown_issuer",
        [DECISION_DEVICE_DISABLED] = "device_disabled",
        [DECISION_SCOPE] = "scope",
        [DECISION_FIRMWARE_BLOCKED] = "firmware_blocked",
        [DECISION_POLICY] = "policy",
        [DECISION_STALE_DATA] = "stale_data",
        [DECISION_NO_IDENTITY] = "no_identity",
    };

    return (unsigned)r < DECISION_REASONS ? names[r] : "policy";
}

const char *decision_status_name(uint8_t cert_status)
{
    return cert_status == CERT_GOOD ? "good" : cert_status == CERT_ON_HOLD ? "on_hold" : "revoked";
}

const char *decision_revocation_name(uint8_t crl_reason)
{
    const char *name = crl_reason_name((enum crl_reason)crl_reason);

    return name ? name : "unspecified";
}

static void get_octets(struct msg_reader *r, uint8_t *out, size_t n)
{
    struct bytes v = msg_get_bytes(r, n);

    require(r, v.len == n);
    if (!r->failed)
        memcpy(out, v.p, n);
}

void sts_caller_put(struct msg *m, const struct sts_caller *in)
{
    msg_put_bool(m, in->local);
    msg_put_bytes(m, BYTES_OF(in->cert_hash));
}

void sts_caller_get(struct msg_reader *r, struct sts_caller *out)
{
    *out = (struct sts_caller){0};
    out->local = msg_get_bool(r);
    get_octets(r, out->cert_hash, sizeof(out->cert_hash));
}

static void identity_put(struct msg *m, const struct sts_identity *in)
{
    msg_put_u8(m, (uint8_t)in->kind);
    if (in->kind == IDENTITY_CERT || in->kind == IDENTITY_FINGERPRINT)
        msg_put_bytes(m, BYTES_OF(in->der_hash));
    if (in->kind == IDENTITY_CERT || in->kind == IDENTITY_SERIAL)
        msg_put_bytes(m, BYTES_OF(in->ski));
    if (in->kind == IDENTITY_SERIAL)
        msg_put_bytes(m, BYTES(in->serial, in->serial_len));
    if (in->kind == IDENTITY_CERT)
        msg_put_i64(m, in->not_before);
}

static void identity_get(struct msg_reader *r, struct sts_identity *out)
{
    *out = (struct sts_identity){0};
    out->kind = (enum identity_kind)msg_get_enum(r, IDENTITY_KINDS);
    if (r->failed)
        return;
    if (out->kind == IDENTITY_CERT || out->kind == IDENTITY_FINGERPRINT)
        get_octets(r, out->der_hash, sizeof(out->der_hash));
    if (out->kind == IDENTITY_CERT || out->kind == IDENTITY_SERIAL)
        get_octets(r, out->ski, sizeof(out->ski));
    if (out->kind == IDENTITY_SERIAL)
        out->serial_len = get_serial(r, out->serial);
    if (out->kind == IDENTITY_CERT)
        out->not_before = msg_get_i64(r);
}

void sts_decide_encode(struct msg *m, const struct sts_decide *in)
{
    sts_caller_put(m, &in->caller);
    msg_put_str(m, in->audience);
    msg_put_u32(m, (uint32_t)in->n);
    for (size_t i = 0; i < in->n; i++)
        identity_put(m, &in->who[i]);
}

enum err_code sts_decide_decode(struct msg_reader *r, struct sts_decide *out, struct err *e)
{
    sts_caller_get(r, &out->caller);
    msg_get_str(r, out->audience, sizeof(out->audience));
    out->n = msg_get_u32(r);
    require(r, out->n > 0 && out->n <= DECISIONS_MAX);
    if (r->failed)
        out->n = 0;
    for (size_t i = 0; i < out->n && !r->failed; i++)
        identity_get(r, &out->who[i]);
    return msg_read_end(r, e);
}

static void decision_put(struct msg *m, const struct sts_decision *in)
{
    msg_put_bool(m, in->allow);
    msg_put_bool(m, in->close);
    msg_put_bool(m, in->identity_unverified);
    msg_put_u8(m, (uint8_t)in->reason);
    msg_put_u32(m, in->cache_s);
    msg_put_i64(m, in->status_age_s);
    msg_put_bool(m, in->known);
    if (in->known) {
        msg_put_u8(m, in->status);
        msg_put_u8(m, in->revocation_reason);
        msg_put_i64(m, in->revoked_at);
        msg_put_u8(m, (uint8_t)in->scope);
    }
    msg_put_bool(m, in->has_device);
    if (in->has_device) {
        msg_put_u8(m, (uint8_t)in->state);
        msg_put_str(m, in->domain);
        msg_put_str(m, in->device_id);
        msg_put_str(m, in->product);
        msg_put_str(m, in->firmware);
    }
}

static void decision_get(struct msg_reader *r, struct sts_decision *out)
{
    *out = (struct sts_decision){0};
    out->allow = msg_get_bool(r);
    out->close = msg_get_bool(r);
    out->identity_unverified = msg_get_bool(r);
    out->reason = (enum decision_reason)msg_get_enum(r, DECISION_REASONS);
    out->cache_s = msg_get_u32(r);
    out->status_age_s = msg_get_i64(r);
    out->known = msg_get_bool(r);
    if (out->known) {
        out->status = msg_get_enum(r, CERT_STATUSES);
        out->revocation_reason = msg_get_u8(r);
        out->revoked_at = msg_get_i64(r);
        out->scope = (enum access_scope)msg_get_enum(r, ACCESS_SCOPES);
    }
    out->has_device = msg_get_bool(r);
    if (out->has_device) {
        out->state = (enum device_state)msg_get_enum(r, DEVICE_STATES);
        msg_get_str(r, out->domain, sizeof(out->domain));
        msg_get_str(r, out->device_id, sizeof(out->device_id));
        msg_get_str(r, out->product, sizeof(out->product));
        msg_get_str(r, out->firmware, sizeof(out->firmware));
    }
    /* What is admitted has a reason to be, and is known. */
    require(r, !out->allow || ((out->reason == DECISION_OK || out->reason == DECISION_STALE_DATA) && out->known && out->has_device));
}

void sts_decided_encode(struct msg *m, const struct sts_decided *in)
{
    msg_put_u8(m, (uint8_t)in->code);
    msg_put_u64(m, in->seq);
    msg_put_u32(m, in->policy_version);
    msg_put_u32(m, in->first);
    msg_put_u32(m, in->total);
    msg_put_u32(m, (uint32_t)in->n);
    for (size_t i = 0; i < in->n; i++)
        decision_put(m, &in->decision[i]);
}

enum err_code sts_decided_decode(struct msg_reader *r, struct sts_decided *out, struct err *e)
{
    out->code = (enum err_code)msg_get_enum(r, ERR_CODES_COUNT);
    out->seq = msg_get_u64(r);
    out->policy_version = msg_get_u32(r);
    out->first = msg_get_u32(r);
    out->total = msg_get_u32(r);
    out->n = msg_get_u32(r);
    require(r, out->n <= DECIDED_MAX && out->total <= DECISIONS_MAX && out->first <= out->total && out->n <= out->total - out->first);
    require(r, (out->code == E_OK) == (out->n > 0));
    if (r->failed)
        out->n = 0;
    for (size_t i = 0; i < out->n && !r->failed; i++)
        decision_get(r, &out->decision[i]);
    return msg_read_end(r, e);
}

/* ---- what fronts count ---- */

const char *svc_listener_name(enum svc_listener l)
{
    static const char *const names[SVC_LISTENERS] = {"est", "public", "health", "decision"};

    return l < SVC_LISTENERS ? names[l] : "";
}

const char *svc_status_class_name(int k)
{
    static const char *const names[SVC_STATUS_CLASSES] = {"1xx", "2xx", "3xx", "4xx", "5xx"};

    return k >= 0 && k < SVC_STATUS_CLASSES ? names[k] : "";
}

const char *svc_refusal_name(enum svc_refusal r)
{
    static const char *const names[SVC_REFUSALS] = {
        [SVC_REFUSED_ADDRESS_LIMIT] = "connections-of-one-address", [SVC_REFUSED_CONNECTION_LIMIT] = "connections",
        [SVC_REFUSED_HANDSHAKE] = "handshake-failed",               [SVC_REFUSED_DEADLINE] = "deadline",
        [SVC_REFUSED_BAD_HTTP] = "bad-http",                        [SVC_REFUSED_NO_ROUTE] = "no-route",
        [SVC_REFUSED_LATE_ANSWER] = "late-answer",                  [SVC_REFUSED_MEMORY] = "memory",
    };

    return r < SVC_REFUSALS ? names[r] : "";
}

void svc_counts_encode(struct msg *m, const struct svc_counts *in)
{
    for (int l = 0; l < SVC_LISTENERS; l++)
        for (int k = 0; k < SVC_STATUS_CLASSES; k++)
            msg_put_u64(m, in->answers[l][k]);
    for (int r = 0; r < SVC_REFUSALS; r++)
        msg_put_u64(m, in->refused[r]);
    msg_put_u64(m, in->ocsp_kept);
    msg_put_u64(m, in->connections);
}

enum err_code svc_counts_decode(struct msg_reader *r, struct svc_counts *out, struct err *e)
{
    for (int l = 0; l < SVC_LISTENERS; l++)
        for (int k = 0; k < SVC_STATUS_CLASSES; k++)
            out->answers[l][k] = msg_get_u64(r);
    for (int i = 0; i < SVC_REFUSALS; i++)
        out->refused[i] = msg_get_u64(r);
    out->ocsp_kept = msg_get_u64(r);
    out->connections = msg_get_u64(r);
    return msg_read_end(r, e) == E_OK ? E_OK : err_wrap(e, "SVC_COUNTS");
}
