/* SPDX-License-Identifier: Apache-2.0 */
#include "base/jws.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

#include "base/auto.h"
#include "base/der.h"

AUTO_TYPE(EVP_PKEY, EVP_PKEY_free)
AUTO_TYPE(EVP_MD_CTX, EVP_MD_CTX_free)
AUTO_TYPE(BIO, BIO_free_all)
AUTO_TYPE(X509, X509_free)

#define FIELD_MAX 66

static const struct jws_alg {
    enum sig_alg alg;
    const char *name;
    size_t field_len; /* octets of r and of s; 0: Ed25519, 64 octets in all */
} algs[] = {
    {SIG_ECDSA_SHA256, "ES256", 32},
    {SIG_ECDSA_SHA384, "ES384", 48},
    {SIG_ED25519, "EdDSA", 0},
};

static const struct jws_alg *alg_of(enum sig_alg alg)
{
    for (size_t i = 0; i < ARRAY_LEN(algs); i++)
        if (algs[i].alg == alg)
            return &algs[i];
    return NULL;
}

const char *jws_alg_name(enum sig_alg alg)
{
    const struct jws_alg *a = alg_of(alg);

    return a ? a->name : NULL;
}

/* ---- base64url ---- */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static int value_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

void base64url_encode(struct buf *out, struct bytes in)
{
    uint8_t *to;
    size_t i;

    if (!buf_reserve(out, in.len / 3 * 4 + (in.len % 3 ? in.len % 3 + 1 : 0)))
        return;
    to = out->p + out->len;
    for (i = 0; i + 3 <= in.len; i += 3) {
        uint32_t v = (uint32_t)in.p[i] << 16 | (uint32_t)in.p[i + 1] << 8 | in.p[i + 2];

        *to++ = (uint8_t)alphabet[v >> 18];
        *to++ = (uint8_t)alphabet[v >> 12 & 63];
        *to++ = (uint8_t)alphabet[v >> 6 & 63];
        *to++ = (uint8_t)alphabet[v & 63];
    }
    if (i < in.len) {
        uint32_t v = (uint32_t)in.p[i] << 8 | (in.len - i == 2 ? in.p[i + 1] : 0u);

        *to++ = (uint8_t)alphabet[v >> 10];
        *to++ = (uint8_t)alphabet[v >> 4 & 63];
        if (in.len - i == 2)
            *to++ = (uint8_t)alphabet[(v & 15) << 2];
    }
    out->len = (size_t)(to - out->p);
}

/* Decodes to `to`, which may be NULL. */
static bool base64url_walk(struct bytes text, uint8_t *to)
{
    uint32_t acc = 0;
    unsigned bits = 0;

    if (text.len % 4 == 1)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        int v = value_of(text.p[i]);

        if (v < 0)
            return false;
        acc = (acc << 6 | (uint32_t)v) & 0xffffu;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            if (to)
                *to++ = (uint8_t)(acc >> bits);
        }
    }
    return (acc & ((1u << bits) - 1)) == 0;
}

bool base64url_is_valid(struct bytes text)
{
    return base64url_walk(text, NULL);
}

enum err_code base64url_decode(struct bytes text, struct buf *out, struct err *e)
{
    size_t n = text.len / 4 * 3 + (text.len % 4 ? text.len % 4 - 1 : 0);

    if (n > out->max - out->len)
        return err_set(e, E_INVALID, "base64url: more than %zu octets of content", out->max);
    if (!buf_reserve(out, n))
        return err_set(e, E_NOMEM, "base64url: %zu octets", n);
    if (!base64url_walk(text, out->p + out->len))
        return err_set(e, E_INVALID, "not base64url without padding (RFC 7515 section 2)");
    out->len += n;
    return E_OK;
}

/* ---- flat objects of text members ---- */

static void skip_space(struct bytes *in)
{
    while (in->len && (in->p[0] == ' ' || in->p[0] == '\t' || in->p[0] == '\r' || in->p[0] == '\n'))
        *in = BYTES(in->p + 1, in->len - 1);
}

static bool take_char(struct bytes *in, char c)
{
    skip_space(in);
    if (in->len == 0 || in->p[0] != (uint8_t)c)
        return false;
    *in = BYTES(in->p + 1, in->len - 1);
    return true;
}

/* A text without escapes and control characters. */
static bool take_text(struct bytes *in, struct bytes *out)
{
    size_t n = 0;

    if (!take_char(in, '"'))
        return false;
    while (n < in->len && in->p[n] != '"') {
        if (in->p[n] == '\\' || in->p[n] < 0x20 || in->p[n] > 0x7e)
            return false;
        n++;
    }
    if (n == in->len)
        return false;
    *out = BYTES(in->p, n);
    *in = BYTES(in->p + n + 1, in->len - n - 1);
    return true;
}

struct member {
    const char *name;
    struct bytes value; /* p NULL: absent */
};

/* Reads {"name":"value", ...}: each member once, none that is not in the table. */
static enum err_code read_flat(const char *what, struct bytes json, struct member *members, size_t n, struct err *e)
{
    bool more = true;

    if (!take_char(&json, '{'))
        return err_set(e, E_INVALID, "%s: not a JSON object", what);
    while (more) {
        struct bytes name, value;
        struct member *m = NULL;

        if (!take_text(&json, &name) || !take_char(&json, ':'))
            return err_set(e, E_INVALID, "%s: a member name without escapes and ':' is expected", what);
        for (size_t i = 0; i < n && !m; i++)
            if (bytes_equal(name, bytes_str(members[i].name)))
                m = &members[i];
        if (!m)
            return err_set(e, E_INVALID, "%s: unknown member \"%.*s\"", what, (int)(name.len < 40 ? name.len : 40),
                           (const char *)name.p);
        if (m->value.p)
            return err_set(e, E_INVALID, "%s: member \"%s\" stands there twice", what, m->name);
        if (!take_text(&json, &value))
            return err_set(e, E_INVALID, "%s: member \"%s\" is not a text without escapes", what, m->name);
        m->value = value;
        more = take_char(&json, ',');
    }
    if (!take_char(&json, '}'))
        return err_set(e, E_INVALID, "%s: ',' or '}' is expected", what);
    skip_space(&json);
    if (json.len)
        return err_set(e, E_INVALID, "%s: %zu octets after the object", what, json.len);
    return E_OK;
}

/* ---- header ---- */

void jws_header_write(struct buf *out, const struct jws_header *h)
{
    buf_printf(out, "{\"alg\":\"%s\",\"kid\":\"%s\",\"typ\":\"%s\"", jws_alg_name(h->alg) ? jws_alg_name(h->alg) : "none",
               h->kid, h->typ);
    if (h->x5t[0])
        buf_printf(out, ",\"x5t#S256\":\"%s\"", h->x5t);
    buf_add_str(out, "}");
}

static enum err_code header_text(const struct member *m, char *out, size_t size, struct err *e)
{
    if (m->value.len == 0 || m->value.len >= size)
        return err_set(e, E_INVALID, "JWS header: member \"%s\" has %zu octets, must be 1 to %zu", m->name, m->value.len,
                       size - 1);
    memcpy(out, m->value.p, m->value.len);
    out[m->value.len] = '\0';
    return E_OK;
}

enum err_code jws_header_read(struct bytes json, struct jws_header *out, struct err *e)
{
    struct member m[] = {{"alg", {NULL, 0}}, {"kid", {NULL, 0}}, {"typ", {NULL, 0}}, {"x5t#S256", {NULL, 0}}};

    *out = (struct jws_header){.alg = SIG_NONE};
    if (read_flat("JWS header", json, m, ARRAY_LEN(m), e) != E_OK)
        return e->code;
    for (size_t i = 0; i < 3; i++)
        if (!m[i].value.p)
            return err_set(e, E_INVALID, "JWS header: member \"%s\" is missing", m[i].name);
    for (size_t i = 0; i < ARRAY_LEN(algs); i++)
        if (bytes_equal(m[0].value, bytes_str(algs[i].name)))
            out->alg = algs[i].alg;
    if (out->alg == SIG_NONE)
        return err_set(e, E_INVALID, "JWS header: alg \"%.*s\" is none of ES256, ES384, EdDSA",
                       (int)(m[0].value.len < 40 ? m[0].value.len : 40), (const char *)m[0].value.p);
    if (header_text(&m[1], out->kid, sizeof(out->kid), e) != E_OK || header_text(&m[2], out->typ, sizeof(out->typ), e) != E_OK)
        return e->code;
    if (m[3].value.p && header_text(&m[3], out->x5t, sizeof(out->x5t), e) != E_OK)
        return e->code;
    if (m[3].value.p && (m[3].value.len != JWS_X5T_LEN || !base64url_is_valid(m[3].value)))
        return err_set(e, E_INVALID, "JWS header: x5t#S256 is not base64url of 32 octets (RFC 7515 4.1.8)");
    return E_OK;
}

/* ---- the whole ---- */

void jws_signing_input(struct buf *out, const struct jws_header *h, struct bytes payload)
{
    AUTO_BUF json = BUF_INIT(JWS_HEADER_MAX);

    jws_header_write(&json, h);
    base64url_encode(out, buf_bytes(&json));
    buf_add_str(out, ".");
    base64url_encode(out, payload);
    out->failed |= !buf_ok(&json);
}

void jws_write(struct buf *out, struct bytes signing_input, struct bytes raw_signature)
{
    const uint8_t *dot = memchr(signing_input.p, '.', signing_input.len);
    size_t header_len = dot ? (size_t)(dot - signing_input.p) : 0;

    if (!dot) {
        out->failed = true;
        return;
    }
    buf_add_str(out, "{\"payload\":\"");
    buf_add(out, dot + 1, signing_input.len - header_len - 1);
    buf_add_str(out, "\",\"protected\":\"");
    buf_add(out, signing_input.p, header_len);
    buf_add_str(out, "\",\"signature\":\"");
    base64url_encode(out, raw_signature);
    buf_add_str(out, "\"}");
}

/* The three parts, however they were written. */
static enum err_code read_parts(struct bytes header_text, struct bytes payload, struct bytes signature_text, struct jws *out, struct err *e)
{
    uint8_t room[JWS_SIG_MAX + 3];
    struct buf signature = {room, 0, sizeof(room), sizeof(room), false}; /* never grows */
    AUTO_BUF header = BUF_INIT(JWS_HEADER_MAX);

    if (header_text.len > JWS_HEADER_MAX / 3 * 4)
        return err_set(e, E_INVALID, "JWS: protected header of %zu octets", header_text.len);
    if (base64url_decode(header_text, &header, e) != E_OK)
        return err_wrap(e, "JWS: protected");
    if (jws_header_read(buf_bytes(&header), &out->header, e) != E_OK)
        return e->code;
    if (!base64url_is_valid(payload))
        return err_set(e, E_INVALID, "JWS: payload is not base64url without padding (RFC 7515 section 2)");
    if (signature_text.len > JWS_SIG_MAX / 3 * 4 || base64url_decode(signature_text, &signature, e) != E_OK)
        return err_set(e, E_INVALID, "JWS: signature is not base64url of at most %d octets", JWS_SIG_MAX);
    out->payload_text = payload;
    out->protected_text = header_text;
    out->signature_len = signature.len;
    memcpy(out->signature, room, signature.len);
    return E_OK;
}

enum err_code jws_read(struct bytes text, size_t max_len, struct jws *out, struct err *e)
{
    struct member m[] = {{"payload", {NULL, 0}}, {"protected", {NULL, 0}}, {"signature", {NULL, 0}}};

    memset(out, 0, sizeof(*out));
    if (text.len > max_len)
        return err_set(e, E_INVALID, "JWS of %zu octets, at most %zu", text.len, max_len);
    if (read_flat("JWS", text, m, ARRAY_LEN(m), e) != E_OK)
        return e->code;
    for (size_t i = 0; i < ARRAY_LEN(m); i++)
        if (!m[i].value.p || m[i].value.len == 0)
            return err_set(e, E_INVALID, "JWS: member \"%s\" is missing or empty (RFC 7515 7.2.2)", m[i].name);
    return read_parts(m[1].value, m[0].value, m[2].value, out, e);
}

void jws_write_compact(struct buf *out, struct bytes signing_input, struct bytes raw_signature)
{
    buf_add_bytes(out, signing_input);
    buf_add_str(out, ".");
    base64url_encode(out, raw_signature);
}

/* Up to the next dot, or to the end. */
static struct bytes take_part(struct bytes *in)
{
    const uint8_t *dot = in->len ? memchr(in->p, '.', in->len) : NULL;
    struct bytes part = BYTES(in->p, dot ? (size_t)(dot - in->p) : in->len);

    *in = dot ? BYTES(dot + 1, in->len - part.len - 1) : BYTES(NULL, 0);
    return part;
}

enum err_code jws_read_compact(struct bytes text, size_t max_len, struct jws *out, struct err *e)
{
    struct bytes header, payload;

    memset(out, 0, sizeof(*out));
    if (text.len > max_len)
        return err_set(e, E_INVALID, "JWS of %zu octets, at most %zu", text.len, max_len);
    header = take_part(&text);
    payload = take_part(&text);
    if (header.len == 0 || payload.len == 0 || text.len == 0) /* a third dot is no base64url */
        return err_set(e, E_INVALID, "JWS: three parts with dots between them are expected (RFC 7515 7.1)");
    return read_parts(header, payload, text, out, e);
}

enum err_code jws_payload(const struct jws *j, struct buf *out, struct err *e)
{
    return base64url_decode(j->payload_text, out, e) == E_OK ? E_OK : err_wrap(e, "JWS payload");
}

/* ---- signatures ---- */

static void put_fixed(struct bytes magnitude, size_t field_len, uint8_t *out)
{
    memset(out, 0, field_len - magnitude.len);
    memcpy(out + field_len - magnitude.len, magnitude.p, magnitude.len);
}

bool ecdsa_raw_from_der(struct bytes der, size_t field_len, uint8_t *raw)
{
    struct der in, seq;
    struct bytes r, s;

    der_init(&in, der.p, der.len);
    if (!der_take(&in, DER_SEQUENCE, &seq) || !der_at_end(&in) || !der_take_unsigned(&seq, &r) ||
        !der_take_unsigned(&seq, &s) || !der_at_end(&seq) || r.len > field_len || s.len > field_len)
        return false;
    put_fixed(r, field_len, raw);
    put_fixed(s, field_len, raw + field_len);
    return true;
}

bool ecdsa_der_from_raw(struct bytes raw, struct buf *der)
{
    struct derw w;

    if (raw.len == 0 || raw.len % 2 || raw.len > 2 * FIELD_MAX)
        return false;
    derw_init(&w, der);
    derw_begin(&w, DER_SEQUENCE);
    derw_unsigned(&w, BYTES(raw.p, raw.len / 2));
    derw_unsigned(&w, BYTES(raw.p + raw.len / 2, raw.len / 2));
    derw_end(&w);
    return derw_finish(&w);
}

size_t jws_raw_signature(enum sig_alg alg, struct bytes sig, uint8_t *raw)
{
    const struct jws_alg *a = alg_of(alg);

    if (!a)
        return 0;
    if (a->field_len)
        return ecdsa_raw_from_der(sig, a->field_len, raw) ? 2 * a->field_len : 0;
    if (sig.len != 64)
        return 0;
    memcpy(raw, sig.p, sig.len);
    return sig.len;
}

enum sig_alg jws_alg_of_key(EVP_PKEY *key)
{
    char group[32] = "";
    size_t len = 0;

    if (EVP_PKEY_is_a(key, "ED25519"))
        return SIG_ED25519;
    if (!EVP_PKEY_is_a(key, "EC") || EVP_PKEY_get_group_name(key, group, sizeof(group), &len) != 1)
        return SIG_NONE;
    return strcmp(group, "prime256v1") == 0  ? SIG_ECDSA_SHA256
           : strcmp(group, "secp384r1") == 0 ? SIG_ECDSA_SHA384
                                             : SIG_NONE;
}

static const char *digest_name(enum sig_alg alg)
{
    return alg == SIG_ECDSA_SHA256 ? "SHA2-256" : alg == SIG_ECDSA_SHA384 ? "SHA2-384" : NULL;
}

enum err_code jws_verify(const struct jws *j, EVP_PKEY *key, struct err *e)
{
    AUTO(EVP_MD_CTX) *ctx = EVP_MD_CTX_new();
    AUTO_BUF input = BUF_INIT(j->protected_text.len + j->payload_text.len + 1);
    AUTO_BUF der = BUF_INIT(2 * FIELD_MAX + 16);
    const struct jws_alg *a = alg_of(j->header.alg);
    struct bytes sig = BYTES(j->signature, j->signature_len);
    int rc;

    if (!a || jws_alg_of_key(key) != a->alg)
        return err_set(e, E_INVALID, "JWS header: alg \"%s\" does not fit the signer's key", a ? a->name : "none");
    if (sig.len != (a->field_len ? 2 * a->field_len : 64))
        return err_set(e, E_INVALID, "JWS: signature of %zu octets for %s (RFC 7518 3.4)", sig.len, a->name);
    if (a->field_len) {
        if (!ecdsa_der_from_raw(sig, &der))
            return err_set(e, E_NOMEM, "JWS signature");
        sig = buf_bytes(&der);
    }
    buf_add_bytes(&input, j->protected_text);
    buf_add_str(&input, ".");
    buf_add_bytes(&input, j->payload_text);
    if (!ctx || !buf_ok(&input))
        return err_set(e, E_NOMEM, "JWS signing input");
    if (EVP_DigestVerifyInit_ex(ctx, NULL, digest_name(a->alg), NULL, NULL, key, NULL) != 1)
        return err_openssl(e, E_CRYPTO, "EVP_DigestVerifyInit_ex");
    rc = EVP_DigestVerify(ctx, sig.p, sig.len, input.p, input.len);
    if (rc == 1)
        return E_OK;
    if (err_openssl(e, E_DENIED, "EVP_DigestVerify") == E_NOMEM)
        return E_NOMEM;
    return err_set(e, E_DENIED, "JWS: the signature is not one by this key (RFC 7515 5.2)");
}

static enum err_code sign_raw(EVP_PKEY *key, enum sig_alg alg, struct bytes input, uint8_t *raw, size_t *raw_len,
                              struct err *e)
{
    AUTO(EVP_MD_CTX) *ctx = EVP_MD_CTX_new();
    uint8_t sig[2 * FIELD_MAX + 16];
    size_t len = sizeof(sig);

    if (!ctx || EVP_DigestSignInit_ex(ctx, NULL, digest_name(alg), NULL, NULL, key, NULL) != 1 ||
        EVP_DigestSign(ctx, sig, &len, input.p, input.len) != 1)
        return err_openssl(e, E_CRYPTO, "EVP_DigestSign");
    *raw_len = jws_raw_signature(alg, BYTES(sig, len), raw);
    return *raw_len ? E_OK : err_set(e, E_CRYPTO, "EVP_DigestSign: not a signature of this key's kind");
}

static enum err_code sign_as(void (*write)(struct buf *, struct bytes, struct bytes), EVP_PKEY *key, struct jws_header *h, struct bytes payload,
                             struct buf *out, struct err *e)
{
    AUTO_BUF input = BUF_INIT((payload.len + 2) / 3 * 4 + JWS_OVERHEAD);
    uint8_t raw[JWS_SIG_MAX];
    size_t raw_len = 0;

    h->alg = jws_alg_of_key(key);
    if (h->alg == SIG_NONE)
        return err_set(e, E_INVALID, "the key is none of P-256, P-384 and Ed25519");
    if (jws_kid(key, h->kid, e) != E_OK)
        return e->code;
    jws_signing_input(&input, h, payload);
    if (!buf_ok(&input))
        return err_set(e, E_NOMEM, "JWS signing input");
    if (sign_raw(key, h->alg, buf_bytes(&input), raw, &raw_len, e) != E_OK)
        return e->code;
    write(out, buf_bytes(&input), BYTES(raw, raw_len));
    return buf_ok(out) ? E_OK : err_set(e, E_NOMEM, "JWS");
}

enum err_code jws_sign(EVP_PKEY *key, struct jws_header *h, struct bytes payload, struct buf *out, struct err *e)
{
    return sign_as(jws_write, key, h, payload, out, e);
}

enum err_code jws_sign_compact(EVP_PKEY *key, struct jws_header *h, struct bytes payload, struct buf *out, struct err *e)
{
    return sign_as(jws_write_compact, key, h, payload, out, e);
}

/* ---- keys ---- */

enum err_code jws_kid(EVP_PKEY *key, char out[JWS_KID_LEN + 1], struct err *e)
{
    unsigned char *spki = NULL;
    uint8_t hash[32];
    int len = i2d_PUBKEY(key, &spki);

    if (len <= 0)
        return err_openssl(e, E_CRYPTO, "i2d_PUBKEY");
    sha256(BYTES(spki, len), hash);
    OPENSSL_free(spki);
    hex_encode(hash, JWS_KID_LEN / 2, out);
    return E_OK;
}

EVP_PKEY *jws_public_key(struct bytes pem, struct err *e)
{
    AUTO(BIO) *bio = pem.len <= INT32_MAX ? BIO_new_mem_buf(pem.p, (int)pem.len) : NULL;
    AUTO(X509) *cert = NULL;
    EVP_PKEY *key = NULL;
    struct err ignored = {0};

    if (!bio) {
        err_set(e, E_NOMEM, "PEM text");
        return NULL;
    }
    cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    if (cert) {
        key = X509_get_pubkey(cert);
    } else {
        AUTO(BIO) *again = BIO_new_mem_buf(pem.p, (int)pem.len);

        err_openssl(&ignored, E_INVALID, "PEM_read_bio_X509");
        key = again ? PEM_read_bio_PUBKEY(again, NULL, NULL, NULL) : NULL;
    }
    if (!key) {
        err_openssl(&ignored, E_INVALID, "PEM_read_bio_PUBKEY");
        err_set(e, E_INVALID, "neither a CERTIFICATE nor a PUBLIC KEY in PEM");
    }
    return key;
}
