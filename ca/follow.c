/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/follow.h"

#include <string.h>

#include "base/auto.h"
#include "base/conf.h"

#define CKA_ID_MAX_LEN      64
#define OCSP_VALIDITY_MIN_S 10

static const struct {
    enum crl_reason reason;
    const char *name;
} reasons[] = {
    {REASON_UNSPECIFIED, "unspecified"},
    {REASON_KEY_COMPROMISE, "keyCompromise"},
    {REASON_CA_COMPROMISE, "cACompromise"},
    {REASON_AFFILIATION_CHANGED, "affiliationChanged"},
    {REASON_SUPERSEDED, "superseded"},
    {REASON_CESSATION_OF_OPERATION, "cessationOfOperation"},
    {REASON_CERTIFICATE_HOLD, "certificateHold"},
    {REASON_REMOVE_FROM_CRL, "removeFromCRL"},
    {REASON_PRIVILEGE_WITHDRAWN, "privilegeWithdrawn"},
    {REASON_AA_COMPROMISE, "aACompromise"},
};

const char *crl_reason_name(enum crl_reason r)
{
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (reasons[i].reason == r)
            return reasons[i].name;
    return NULL;
}

bool crl_reason_from_name(const char *s, enum crl_reason *out)
{
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (strcmp(reasons[i].name, s) == 0) {
            *out = reasons[i].reason;
            return true;
        }
    return false;
}

void status_row_encode(struct msg *m, const struct status_row *in)
{
    msg_put_u64(m, in->seq);
    msg_put_u32(m, in->issuer);
    msg_put_bytes(m, BYTES(in->serial, in->serial_len));
    msg_put_u8(m, (uint8_t)in->status);
    msg_put_u8(m, (uint8_t)in->reason);
    msg_put_i64(m, in->time);
    msg_put_i64(m, in->invalidity);
    msg_put_i64(m, in->not_after);
    msg_put_u64(m, in->batch);
    msg_put_str(m, in->origin);
    msg_put_u64(m, in->device);
    msg_put_u8(m, in->device_state);
    msg_put_bool(m, in->has_hash);
    if (in->has_hash) {
        msg_put_u8(m, in->kind);
        msg_put_bytes(m, BYTES_OF(in->der_hash));
    }
}

void status_row_get(struct msg_reader *r, struct status_row *out)
{
    struct bytes serial, hash = {NULL, 0};

    *out = (struct status_row){0};
    out->seq = msg_get_u64(r);
    out->issuer = msg_get_u32(r);
    serial = msg_get_bytes(r, SERIAL_MAX_LEN);
    out->status = (enum cert_status)msg_get_enum(r, CERT_STATUSES);
    out->reason = (enum crl_reason)msg_get_u8(r);
    out->time = msg_get_i64(r);
    out->invalidity = msg_get_i64(r);
    out->not_after = msg_get_i64(r);
    out->batch = msg_get_u64(r);
    msg_get_str(r, out->origin, sizeof(out->origin));
    out->device = msg_get_u64(r);
    out->device_state = msg_get_enum(r, DEVICE_STATES + 1);
    out->has_hash = msg_get_bool(r);
    if (out->has_hash) {
        out->kind = msg_get_enum(r, PROFILE_KINDS);
        hash = msg_get_bytes(r, sizeof(out->der_hash));
        r->failed = r->failed || hash.len != sizeof(out->der_hash);
    }
    if (r->failed || (serial.len == 0) != (out->issuer == 0) || (out->issuer == 0 && out->device == 0) || out->seq == 0 ||
        !crl_reason_name(out->reason)) {
        r->failed = true;
        return;
    }
    if (serial.len)
        memcpy(out->serial, serial.p, serial.len);
    if (hash.len)
        memcpy(out->der_hash, hash.p, hash.len);
    out->serial_len = (uint8_t)serial.len;
}

static void put_cut(struct msg *m, const char *s)
{
    size_t n = strlen(s);

    msg_put_bytes(m, BYTES(s, n < DEVICE_TEXT_MAX ? n : DEVICE_TEXT_MAX));
}

void follow_device_put(struct msg *m, const struct access_device *in)
{
    msg_put_u64(m, in->id);
    msg_put_u64(m, in->moved_to);
    msg_put_str(m, in->domain);
    msg_put_str(m, in->device_id);
    put_cut(m, in->product);
    put_cut(m, in->firmware);
    msg_put_u8(m, (uint8_t)in->state);
}

void follow_device_get(struct msg_reader *r, struct access_device *out, char room[DEVICE_ROOM])
{
    char *domain = room, *device_id = domain + ID_MAX_LEN + 1, *product = device_id + ID_MAX_LEN + 1;
    char *firmware = product + DEVICE_TEXT_MAX + 1;

    *out = (struct access_device){.domain = domain, .device_id = device_id, .product = product, .firmware = firmware};
    out->id = msg_get_u64(r);
    out->moved_to = msg_get_u64(r);
    msg_get_str(r, domain, ID_MAX_LEN + 1);
    msg_get_str(r, device_id, ID_MAX_LEN + 1);
    msg_get_str(r, product, DEVICE_TEXT_MAX + 1);
    msg_get_str(r, firmware, DEVICE_TEXT_MAX + 1);
    out->state = (enum device_state)msg_get_enum(r, DEVICE_STATES);
    r->failed = r->failed || out->id == 0 || out->id > INT64_MAX || out->moved_to > INT64_MAX || out->moved_to == out->id;
}

void follow_gateway_encode(struct msg *m, const struct follow_gateway *in)
{
    AUTO_BUF servers = BUF_INIT(FEED_SERVERS_TEXT_MAX);

    feed_servers_write(&servers, in->server, in->servers_n);
    msg_put_u32(m, in->issuer);
    msg_put_bytes(m, BYTES(in->serial, in->serial_len));
    msg_put_u64(m, in->seq);
    msg_put_bytes(m, buf_bytes(&servers));
}

enum err_code follow_gateway_decode(struct msg_reader *r, struct follow_gateway *out, struct err *e)
{
    struct bytes serial;

    *out = (struct follow_gateway){.issuer = msg_get_u32(r)};
    serial = msg_get_bytes(r, SERIAL_MAX_LEN);
    if (serial.len)
        memcpy(out->serial, serial.p, serial.len);
    out->serial_len = (uint8_t)serial.len;
    out->seq = msg_get_u64(r);
    if (!feed_servers_read(msg_get_bytes(r, FEED_SERVERS_TEXT_MAX), out->server, &out->servers_n))
        r->failed = true;
    return msg_read_end(r, e);
}

void follow_feed_key_encode(struct msg *m, const struct follow_feed_key *in)
{
    msg_put_str(m, in->token);
    msg_put_str(m, in->key);
    msg_put_bytes(m, in->cka_id);
    msg_put_bytes(m, in->spki);
    msg_put_bytes(m, in->cert);
    msg_put_bytes(m, in->issuer);
}

enum err_code follow_feed_key_decode(struct msg_reader *r, struct follow_feed_key *out, struct err *e)
{
    *out = (struct follow_feed_key){0};
    msg_get_str(r, out->token, sizeof(out->token));
    msg_get_str(r, out->key, sizeof(out->key));
    out->cka_id = msg_get_bytes(r, CKA_ID_MAX_LEN);
    out->spki = msg_get_bytes(r, SPKI_MAX_LEN);
    out->cert = msg_get_bytes(r, CERT_MAX_LEN);
    out->issuer = msg_get_bytes(r, CERT_MAX_LEN);
    if (out->key[0] && (!out->token[0] || !out->cka_id.len || !out->spki.len || !out->cert.len))
        r->failed = true;
    return msg_read_end(r, e);
}

void follow_issuer_encode(struct msg *m, const struct follow_issuer *in)
{
    msg_put_u32(m, in->id);
    msg_put_str(m, in->name);
    msg_put_bytes(m, in->subject);
    msg_put_bytes(m, in->cert);
    msg_put_bytes(m, in->spki);
    msg_put_bool(m, in->responds);
    msg_put_str(m, in->token);
    msg_put_str(m, in->key);
    msg_put_bytes(m, in->key_cka_id);
    msg_put_bytes(m, in->key_spki);
    msg_put_bytes(m, in->responder_cert);
    msg_put_i64(m, in->responder_not_before);
    msg_put_i64(m, in->responder_not_after);
    msg_put_i64(m, in->validity_s);
}

enum err_code follow_issuer_decode(struct msg_reader *r, struct follow_issuer *out, struct err *e)
{
    *out = (struct follow_issuer){0};
    out->id = msg_get_u32(r);
    msg_get_str(r, out->name, sizeof(out->name));
    out->subject = msg_get_bytes(r, NAME_MAX_LEN);
    out->cert = msg_get_bytes(r, CERT_MAX_LEN);
    out->spki = msg_get_bytes(r, SPKI_MAX_LEN);
    out->responds = msg_get_bool(r);
    msg_get_str(r, out->token, sizeof(out->token));
    msg_get_str(r, out->key, sizeof(out->key));
    out->key_cka_id = msg_get_bytes(r, CKA_ID_MAX_LEN);
    out->key_spki = msg_get_bytes(r, SPKI_MAX_LEN);
    out->responder_cert = msg_get_bytes(r, CERT_MAX_LEN);
    out->responder_not_before = msg_get_i64(r);
    out->responder_not_after = msg_get_i64(r);
    out->validity_s = msg_get_i64(r);
    if (out->subject.len == 0 || out->spki.len == 0)
        r->failed = true;
    if (out->responds && (!out->token[0] || !out->key[0] || !out->key_cka_id.len || !out->key_spki.len ||
                          !out->responder_cert.len || out->validity_s < OCSP_VALIDITY_MIN_S))
        r->failed = true;
    return msg_read_end(r, e);
}
