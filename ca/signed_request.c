/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/signed_request.h"

#include <stdlib.h>
#include <string.h>

#include "base/auto.h"

AUTO_TYPE(json_t, json_decref)

#define PAYLOAD_MAX (SIGNED_REQUEST_MAX / 4 * 3)
#define TIME_MAX    253402300799LL

void signed_request_clear(struct signed_request *r)
{
    json_decref(r->args);
    r->args = NULL;
}

/* A text of 1 to `size` - 1 visible octets. */
static enum err_code get_text(const json_t *payload, const char *name, char *out, size_t size, struct err *e)
{
    const json_t *v = json_object_get(payload, name);
    const char *s = json_string_value(v);
    size_t n = json_string_length(v);

    if (!s || n == 0 || n >= size || strlen(s) != n)
        return err_set(e, E_INVALID, "signed request: %s: a text of 1 to %zu octets", name, size - 1);
    for (size_t i = 0; i < n; i++)
        if (s[i] <= 0x20 || s[i] > 0x7e)
            return err_set(e, E_INVALID, "signed request: %s: a text of visible characters", name);
    memcpy(out, s, n + 1);
    return E_OK;
}

static enum err_code get_hex(const json_t *payload, const char *name, uint8_t *out, size_t len, struct err *e)
{
    const json_t *v = json_object_get(payload, name);
    const char *s = json_string_value(v);
    size_t got = 0;

    if (!s || json_string_length(v) != 2 * len || strspn(s, "0123456789abcdef") != 2 * len ||
        !hex_decode(s, 2 * len, out, len, &got))
        return err_set(e, E_INVALID, "signed request: %s: %zu octets in lower-case hex", name, len);
    return E_OK;
}

static enum err_code get_time(const json_t *payload, const char *name, int64_t *out, struct err *e)
{
    const json_t *v = json_object_get(payload, name);

    *out = json_integer_value(v);
    if (!json_is_integer(v) || *out < 0 || *out > TIME_MAX)
        return err_set(e, E_INVALID, "signed request: %s: UTC seconds", name);
    return E_OK;
}

static enum err_code payload_read(const json_t *payload, struct signed_request *out, struct err *e)
{
    static const char *const known[] = {"node", "op", "args", "nonce", "iat", "exp", "file_sha256"};
    const char *name;
    json_t *v;

    if (!json_is_object(payload))
        return err_set(e, E_INVALID, "signed request: the payload is not a JSON object");
    json_object_foreach((json_t *)payload, name, v)
    {
        size_t i = 0;

        while (i < ARRAY_LEN(known) && strcmp(known[i], name) != 0)
            i++;
        if (i == ARRAY_LEN(known))
            return err_set(e, E_INVALID, "signed request: unknown member \"%.40s\"", name);
    }
    out->has_file = json_object_get(payload, "file_sha256") != NULL;
    if (get_text(payload, "node", out->node, sizeof(out->node), e) != E_OK ||
        get_text(payload, "op", out->op, sizeof(out->op), e) != E_OK ||
        get_hex(payload, "nonce", out->nonce, sizeof(out->nonce), e) != E_OK ||
        get_time(payload, "iat", &out->iat, e) != E_OK || get_time(payload, "exp", &out->exp, e) != E_OK ||
        (out->has_file && get_hex(payload, "file_sha256", out->file_sha256, sizeof(out->file_sha256), e) != E_OK))
        return e->code;
    if (out->exp <= out->iat || out->exp - out->iat > SIGNED_LIFE_MAX_S)
        return err_set(e, E_INVALID, "signed request: exp must be 1 to %d s after iat", SIGNED_LIFE_MAX_S);
    out->args = json_object_get(payload, "args");
    if (!json_is_object(out->args)) {
        out->args = NULL;
        return err_set(e, E_INVALID, "signed request: args: a JSON object");
    }
    json_incref(out->args);
    return E_OK;
}

enum err_code signed_request_read(struct bytes text, struct signed_request *out, struct err *e)
{
    AUTO_BUF payload = BUF_INIT(PAYLOAD_MAX);
    AUTO_BUF hash = BUF_INIT(32);
    AUTO(json_t) *json = NULL;
    json_error_t where;

    memset(out, 0, sizeof(*out));
    if (jws_read_compact(text, SIGNED_REQUEST_MAX, &out->jws, e) != E_OK)
        return err_wrap(e, "signed request");
    if (strcmp(out->jws.header.typ, SIGNED_TYP) != 0)
        return err_set(e, E_INVALID, "signed request: typ is \"%s\", not " SIGNED_TYP, out->jws.header.typ);
    if (out->jws.header.x5t[0] == '\0' || base64url_decode(bytes_str(out->jws.header.x5t), &hash, e) != E_OK || hash.len != 32)
        return err_set(e, E_INVALID, "signed request: x5t#S256 of the operator's certificate is missing");
    memcpy(out->cert_hash, hash.p, 32);
    if (jws_payload(&out->jws, &payload, e) != E_OK)
        return err_wrap(e, "signed request");
    json = json_loadb((const char *)payload.p, payload.len, JSON_REJECT_DUPLICATES, &where);
    if (!json)
        return err_set(e, json_error_code(&where) == json_error_out_of_memory ? E_NOMEM : E_INVALID, "signed request: payload: %s at octet %d",
                       where.text, where.position);
    return payload_read(json, out, e);
}

static json_t *hex_json(const uint8_t *p, size_t n)
{
    char text[65];

    hex_encode(p, n, text);
    return json_string(text);
}

enum err_code signed_request_write(const struct signed_request *r, EVP_PKEY *key, struct buf *out, struct err *e)
{
    AUTO(json_t) *json = json_pack("{s:s, s:s, s:O, s:o, s:I, s:I}", "node", r->node, "op", r->op, "args", r->args, "nonce",
                                   hex_json(r->nonce, sizeof(r->nonce)), "iat", (json_int_t)r->iat, "exp", (json_int_t)r->exp);
    AUTO(char) *text = NULL;
    AUTO_BUF x5t = BUF_INIT(JWS_X5T_LEN);
    struct jws_header h = {.typ = SIGNED_TYP};

    if (json && r->has_file)
        json_object_set_new(json, "file_sha256", hex_json(r->file_sha256, sizeof(r->file_sha256)));
    text = json ? json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    base64url_encode(&x5t, BYTES_OF(r->cert_hash));
    if (!text || x5t.len != JWS_X5T_LEN)
        return err_set(e, E_NOMEM, "signed request");
    if (strlen(text) > PAYLOAD_MAX - JWS_OVERHEAD)
        return err_set(e, E_INVALID, "%s: the request is %zu octets, at most %d can be signed", r->op, strlen(text), PAYLOAD_MAX - JWS_OVERHEAD);
    memcpy(h.x5t, x5t.p, JWS_X5T_LEN);
    return jws_sign_compact(key, &h, bytes_str(text), out, e);
}

enum err_code request_digest(const char *op, const json_t *args, uint8_t out[32], struct err *e)
{
    AUTO(char) *text = json_dumps(args, JSON_COMPACT | JSON_SORT_KEYS);
    AUTO_BUF head = BUF_INIT(256);

    buf_printf(&head, "%s\n", op);
    if (!text || !buf_ok(&head))
        return err_set(e, E_NOMEM, "digest of a request");
    sha256_2(buf_bytes(&head), bytes_str(text), out);
    return E_OK;
}

enum err_code pending_digest(uint64_t id, const char *requester, const char *op, const json_t *args, uint8_t out[32], struct err *e)
{
    AUTO(char) *text = json_dumps(args, JSON_COMPACT | JSON_SORT_KEYS);
    AUTO_BUF head = BUF_INIT(512);

    buf_printf(&head, "inkan-pending\n%llu\n%s\n%s\n", (unsigned long long)id, requester, op);
    if (!text || !buf_ok(&head))
        return err_set(e, E_NOMEM, "digest of a pending request");
    sha256_2(buf_bytes(&head), bytes_str(text), out);
    return E_OK;
}
