/* SPDX-License-Identifier: Apache-2.0 */
#include "enroll/identity.h"

#include <string.h>
#include <strings.h>

#include <jansson.h>

#include "base/auto.h"
#include "base/der.h"
#include "base/oid.h"

#define PEM_BEGIN "-----BEGIN CERTIFICATE-----"
#define PEM_END   "-----END CERTIFICATE-----"

static inline void json_auto_free(json_t **j)
{
    json_decref(*j);
}
#define AUTO_TREE __attribute__((cleanup(json_auto_free))) json_t

/* ---- the certificate ---- */

/* keyIdentifier of authorityKeyIdentifier (RFC 5280 4.2.1.1), where it is as long as ours are. */
static void take_aki(struct bytes value, struct sts_identity *out)
{
    struct der in, aki, id;

    der_init(&in, value.p, value.len);
    if (der_take(&in, DER_SEQUENCE, &aki) && der_take(&aki, DER_CONTEXT(0), &id) && id.len == sizeof(out->ski))
        memcpy(out->ski, id.p, id.len);
}

static bool take_extensions(struct der *tbs, struct sts_identity *out)
{
    struct der wrap, list;

    while (!der_at_end(tbs) && !der_peek(tbs, DER_CONTEXT_CONSTRUCTED(3))) { /* unique identifiers of version 2 */
        struct der other;
        uint8_t tag;

        if (!der_take_any(tbs, &tag, &other, NULL))
            return false;
    }
    if (der_at_end(tbs))
        return true;
    if (!der_take(tbs, DER_CONTEXT_CONSTRUCTED(3), &wrap) || !der_take(&wrap, DER_SEQUENCE, &list))
        return false;
    while (!der_at_end(&list)) {
        struct der one, critical;
        struct bytes oid, value;
        bool present;

        if (!der_take(&list, DER_SEQUENCE, &one) || !der_take_oid(&one, &oid) ||
            !der_take_optional(&one, DER_BOOLEAN, &critical, &present) || !der_take_octets(&one, &value))
            return false;
        if (bytes_equal(oid, OID_AKI))
            take_aki(value, out);
    }
    return true;
}

/* Certificate (RFC 5280 4.1): no more of it than the answer needs. */
static enum err_code read_der(struct bytes der, struct sts_identity *out, struct err *e)
{
    struct der in, cert, tbs, skipped, validity;
    struct bytes serial;
    uint8_t tag;
    time_t t;

    *out = (struct sts_identity){.kind = IDENTITY_CERT};
    der_init(&in, der.p, der.len);
    if (!der_take(&in, DER_SEQUENCE, &cert) || !der_at_end(&in) || !der_take(&cert, DER_SEQUENCE, &tbs) ||
        !der_take(&tbs, DER_CONTEXT_CONSTRUCTED(0), &skipped) || !der_take_integer(&tbs, &serial) ||
        !der_take(&tbs, DER_SEQUENCE, &skipped) || !der_take(&tbs, DER_SEQUENCE, &skipped) || !der_take(&tbs, DER_SEQUENCE, &validity) ||
        !der_take_time(&validity, &t, &tag) || !der_take(&tbs, DER_SEQUENCE, &skipped) || !der_take(&tbs, DER_SEQUENCE, &skipped) ||
        !take_extensions(&tbs, out)) {
        *out = (struct sts_identity){0};
        return err_set(e, E_UNAUTHENTICATED, "not one DER certificate (RFC 5280 4.1)");
    }
    out->not_before = (int64_t)t;
    sha256(der, out->der_hash);
    return E_OK;
}

/* ---- texts ---- */

static int hex_value(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* %XX undone once; any other octet stays, the plus sign too. */
static bool unescape(struct bytes in, struct buf *out)
{
    for (size_t i = 0; i < in.len; i++) {
        int high, low;

        if (in.p[i] != '%') {
            buf_add_u8(out, in.p[i]);
            continue;
        }
        high = i + 2 < in.len ? hex_value(in.p[i + 1]) : -1;
        low = high >= 0 ? hex_value(in.p[i + 2]) : -1;
        if (low < 0)
            return false;
        buf_add_u8(out, (uint8_t)(high << 4 | low));
        i += 2;
    }
    return buf_ok(out);
}

static struct bytes trimmed(struct bytes s)
{
    while (s.len && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\r' || s.p[0] == '\n'))
        s = BYTES(s.p + 1, s.len - 1);
    while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t' || s.p[s.len - 1] == '\r' || s.p[s.len - 1] == '\n'))
        s.len--;
    return s;
}

/* One certificate and nothing beside it. */
static bool pem_inner(struct bytes *s)
{
    const size_t begin = strlen(PEM_BEGIN), end = strlen(PEM_END);

    if (s->len < begin || memcmp(s->p, PEM_BEGIN, begin) != 0)
        return true; /* base64 alone */
    if (s->len < begin + end || memcmp(s->p + s->len - end, PEM_END, end) != 0)
        return false;
    *s = BYTES(s->p + begin, s->len - begin - end);
    return true;
}

enum err_code identity_from_text(struct bytes text, struct sts_identity *out, struct buf *der, struct err *e)
{
    AUTO_BUF plain = BUF_INIT(IDENTITY_TEXT_MAX);
    AUTO_BUF own = BUF_INIT(IDENTITY_TEXT_MAX);
    struct bytes s;

    if (!der)
        der = &own;
    buf_reset(der);

    *out = (struct sts_identity){0};
    text = trimmed(text);
    if (text.len == 0)
        return E_OK;
    if (text.len > IDENTITY_TEXT_MAX || !unescape(text, &plain))
        return err_set(e, E_UNAUTHENTICATED, "certificate: more than %d octets, or a broken %%XX", IDENTITY_TEXT_MAX);
    s = trimmed(buf_bytes(&plain));
    if (!pem_inner(&s))
        return err_set(e, E_UNAUTHENTICATED, "certificate: PEM without its end");
    if (base64_decode(s, der, e) != E_OK || der->len == 0)
        return err_set(e, E_UNAUTHENTICATED, "certificate: neither PEM nor base64 of DER");
    return read_der(buf_bytes(der), out, e);
}

enum err_code identity_from_fingerprint(struct bytes hex, struct sts_identity *out, struct err *e)
{
    size_t n = 0;

    *out = (struct sts_identity){.kind = IDENTITY_FINGERPRINT};
    if (hex_decode((const char *)hex.p, hex.len, out->der_hash, sizeof(out->der_hash), &n) && n == sizeof(out->der_hash))
        return E_OK;
    *out = (struct sts_identity){0};
    return err_set(e, E_UNAUTHENTICATED, "fingerprint: not a SHA-256 in hex");
}

enum err_code identity_from_serial(struct bytes issuer_hex, struct bytes serial_hex, struct sts_identity *out, struct err *e)
{
    char digits[2 * SERIAL_MAX_LEN + 2] = "0";
    size_t n = 0, odd = serial_hex.len % 2;

    *out = (struct sts_identity){.kind = IDENTITY_SERIAL};
    if (serial_hex.len == 0 || serial_hex.len > 2 * SERIAL_MAX_LEN || issuer_hex.len != 2 * sizeof(out->ski))
        goto bad;
    memcpy(digits + odd, serial_hex.p, serial_hex.len); /* tools leave a leading zero out */
    if (hex_decode(digits, serial_hex.len + odd, out->serial, sizeof(out->serial), &n) && n > 0) {
        out->serial_len = (uint8_t)n;
        if (hex_decode((const char *)issuer_hex.p, issuer_hex.len, out->ski, sizeof(out->ski), &n) && n == sizeof(out->ski))
            return E_OK;
    }
bad:
    *out = (struct sts_identity){0};
    return err_set(e, E_UNAUTHENTICATED, "issuer and serial: not 20 octets and at most %d octets in hex", SERIAL_MAX_LEN);
}

/* ---- x-forwarded-client-cert ---- */

/* The next KEY=VALUE; a value may stand in quotation marks. false: malformed. */
static bool xfcc_pair(struct bytes *in, struct bytes *key, struct bytes *value, uint8_t *sep)
{
    const uint8_t *eq = in->len ? memchr(in->p, '=', in->len) : NULL;
    size_t at;

    if (!eq)
        return false;
    *key = BYTES(in->p, (size_t)(eq - in->p));
    at = key->len + 1;
    if (at < in->len && in->p[at] == '"') {
        size_t start = ++at;

        while (at < in->len && in->p[at] != '"')
            at += in->p[at] == '\\' ? 2 : 1;
        if (at >= in->len)
            return false;
        *value = BYTES(in->p + start, at - start);
        at++;
    } else {
        size_t start = at;

        while (at < in->len && in->p[at] != ';' && in->p[at] != ',')
            at++;
        *value = BYTES(in->p + start, at - start);
    }
    *sep = at < in->len ? in->p[at] : 0;
    if (*sep && *sep != ';' && *sep != ',')
        return false;
    *in = at < in->len ? BYTES(in->p + at + 1, in->len - at - 1) : (struct bytes){NULL, 0};
    return true;
}

static bool key_is(struct bytes key, const char *name)
{
    return key.len == strlen(name) && strncasecmp((const char *)key.p, name, key.len) == 0;
}

/* Of two elements one was not written by the gateway that asks; nobody could say which. */
enum err_code identity_from_xfcc(struct bytes field, struct sts_identity *out, struct buf *der, struct err *e)
{
    struct sts_identity of_hash = {0}, of_cert = {0};
    struct bytes key, value;
    uint8_t sep = ';';

    *out = (struct sts_identity){0};
    field = trimmed(field);
    while (field.len) {
        if (!xfcc_pair(&field, &key, &value, &sep) || sep == ',')
            return err_set(e, E_UNAUTHENTICATED, "x-forwarded-client-cert: not one element of KEY=VALUE");
        if (key_is(key, "Cert")) {
            if (of_cert.kind != IDENTITY_NONE || identity_from_text(value, &of_cert, der, e) != E_OK)
                return err_set(e, E_UNAUTHENTICATED, "x-forwarded-client-cert: Cert");
        } else if (key_is(key, "Hash")) {
            if (of_hash.kind != IDENTITY_NONE || identity_from_fingerprint(value, &of_hash, e) != E_OK)
                return err_set(e, E_UNAUTHENTICATED, "x-forwarded-client-cert: Hash");
        }
    }
    if (of_cert.kind != IDENTITY_NONE && of_hash.kind != IDENTITY_NONE &&
        memcmp(of_cert.der_hash, of_hash.der_hash, sizeof(of_cert.der_hash)) != 0)
        return err_set(e, E_UNAUTHENTICATED, "x-forwarded-client-cert: Cert and Hash are of two certificates");
    *out = of_cert.kind != IDENTITY_NONE ? of_cert : of_hash;
    return E_OK;
}

/* ---- JSON ---- */

static const char *const unit_members[] = {"cert", "issuer", "serial", "fingerprint"};
static const char *const question_members[] = {"audience", "resource", "action", "client", "connection"};

static bool is_one_of(const char *key, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(key, names[i]) == 0)
            return true;
    return false;
}

/* All members are texts we know. `whole`: a question by itself; else one of several. */
static enum err_code check_members(json_t *o, bool whole, struct err *e)
{
    const char *key;
    json_t *value;

    if (!json_is_object(o))
        return err_set(e, E_INVALID, "a question is a JSON object");
    json_object_foreach(o, key, value)
    {
        if (!is_one_of(key, unit_members, ARRAY_LEN(unit_members)) &&
            !(whole && is_one_of(key, question_members, ARRAY_LEN(question_members))))
            return err_set(e, E_INVALID, "unknown member \"%.40s\"", key);
        if (!json_is_string(value))
            return err_set(e, E_INVALID, "\"%.40s\" is not a text", key);
    }
    return E_OK;
}

static struct bytes text_of(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return v ? BYTES(json_string_value(v), json_string_length(v)) : (struct bytes){NULL, 0};
}

/* What does not read names nobody. */
static enum err_code identity_from_object(const json_t *o, struct sts_identity *who, struct buf *der, struct err *e)
{
    struct bytes cert = text_of(o, "cert"), fingerprint = text_of(o, "fingerprint"), serial = text_of(o, "serial");
    struct bytes issuer = text_of(o, "issuer");

    *who = (struct sts_identity){0};
    if ((cert.p != NULL) + (fingerprint.p != NULL) + (serial.p != NULL) > 1 || (issuer.p != NULL) != (serial.p != NULL))
        return err_set(e, E_INVALID, "the unit is named by one of cert, fingerprint, issuer and serial");
    if (cert.p)
        (void)!identity_from_text(cert, who, der, e);
    else if (fingerprint.p)
        (void)!identity_from_fingerprint(fingerprint, who, e);
    else if (serial.p)
        (void)!identity_from_serial(issuer, serial, who, e);
    return E_OK;
}

static enum err_code take_text(const json_t *o, const char *key, char *out, size_t size, struct err *e)
{
    struct bytes s = text_of(o, key);

    if (s.len >= size || (s.len && memchr(s.p, '\0', s.len)))
        return err_set(e, E_INVALID, "\"%s\" is longer than %zu octets", key, size - 1);
    if (s.len)
        memcpy(out, s.p, s.len);
    out[s.len] = '\0';
    return E_OK;
}

static json_t *load(struct bytes json, struct err *e)
{
    json_error_t why;
    json_t *root = json_loadb((const char *)json.p, json.len, JSON_REJECT_DUPLICATES, &why);

    if (!root)
        err_set(e, E_INVALID, "not JSON: line %d, column %d", why.line, why.column);
    return root;
}

enum err_code question_from_json(struct bytes json, struct question *q, struct sts_identity *who, struct buf *der, struct err *e)
{
    AUTO_TREE *root = load(json, e);

    *q = (struct question){0};
    *who = (struct sts_identity){0};
    if (!root || check_members(root, true, e) != E_OK || take_text(root, "audience", q->audience, sizeof(q->audience), e) != E_OK ||
        take_text(root, "resource", q->resource, sizeof(q->resource), e) != E_OK ||
        take_text(root, "action", q->action, sizeof(q->action), e) != E_OK ||
        take_text(root, "client", q->client, sizeof(q->client), e) != E_OK ||
        take_text(root, "connection", q->connection, sizeof(q->connection), e) != E_OK)
        return e->code;
    return identity_from_object(root, who, der, e);
}

enum err_code units_from_json(struct bytes json, struct sts_identity who[DECISIONS_MAX], struct buf *der, size_t *n, struct err *e)
{
    AUTO_TREE *root = load(json, e);
    size_t count = json_array_size(root);

    *n = 0;
    if (!root)
        return e->code;
    if (count == 0 || count > DECISIONS_MAX)
        return err_set(e, E_INVALID, "not an array of 1 to %d units", DECISIONS_MAX);
    for (size_t i = 0; i < count; i++)
        if (check_members(json_array_get(root, i), false, e) != E_OK ||
            identity_from_object(json_array_get(root, i), &who[i], der ? &der[i] : NULL, e) != E_OK)
            return e->code;
    *n = count;
    return E_OK;
}
