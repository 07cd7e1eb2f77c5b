/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/profile.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/auto.h"

struct bit_name {
    unsigned bit;
    const char *name;
};

/* Sorted by name, so that arrays come out sorted. */
static const struct bit_name key_usage_names[] = {
    {USAGE_CRL_SIGN, "cRLSign"},
    {USAGE_DATA_ENCIPHERMENT, "dataEncipherment"},
    {USAGE_DIGITAL_SIGNATURE, "digitalSignature"},
    {USAGE_KEY_AGREEMENT, "keyAgreement"},
    {USAGE_KEY_CERT_SIGN, "keyCertSign"},
    {USAGE_KEY_ENCIPHERMENT, "keyEncipherment"},
    {USAGE_NON_REPUDIATION, "nonRepudiation"},
};
static const struct bit_name eku_names[] = {
    {EKU_OCSP_SIGNING, "OCSPSigning"},
    {EKU_CLIENT_AUTH, "clientAuth"},
    {EKU_DOCUMENT_SIGNING, "documentSigning"},
    {EKU_SERVER_AUTH, "serverAuth"},
};
static const struct bit_name key_alg_names[] = {
    {KEY_BIT(KEY_ED25519), "ed25519"}, {KEY_BIT(KEY_P256), "p256"},       {KEY_BIT(KEY_P384), "p384"},
    {KEY_BIT(KEY_RSA2048), "rsa2048"}, {KEY_BIT(KEY_RSA3072), "rsa3072"}, {KEY_BIT(KEY_RSA4096), "rsa4096"},
};
static const char *const kind_names[PROFILE_KINDS] = {
    [PROFILE_ROOT_CA] = "root-ca",       [PROFILE_ISSUING_CA] = "issuing-ca",   [PROFILE_IDEVID] = "idevid",
    [PROFILE_LDEVID] = "ldevid",         [PROFILE_TLS_SERVER] = "tls-server",   [PROFILE_OCSP_SIGNER] = "ocsp-signer",
    [PROFILE_STATION] = "station",       [PROFILE_RECORD_SIGNER] = "record-signer",
    [PROFILE_OPERATOR] = "operator",
    [PROFILE_GATEWAY] = "gateway",       [PROFILE_FEED_SIGNER] = "feed-signer",
};
static const char *const approval_names[] = {
    [APPROVAL_NONE] = "none", [APPROVAL_FIRST] = "first", [APPROVAL_OPERATOR] = "operator"};
static const char *const reenroll_names[] = {
    [REENROLL_SUPERSEDE] = "supersede", [REENROLL_APPROVE] = "approve", [REENROLL_REFUSE] = "refuse"};

static const char *const keygen_names[] = {[KEYGEN_SERVICE] = "service", [KEYGEN_TOKEN] = "token"};

static void put_key(struct buf *b, const char *key)
{
    buf_printf(b, "%s\"%s\":", b->p && b->len > 1 ? "," : "", key);
}

static void put_string(struct buf *b, const char *s)
{
    buf_add_str(b, "\"");
    for (; s && *s; s++) {
        if (*s == '"' || *s == '\\')
            buf_printf(b, "\\%c", *s);
        else if ((unsigned char)*s < 0x20)
            buf_printf(b, "\\u%04x", (unsigned)(unsigned char)*s);
        else
            buf_add_u8(b, (uint8_t)*s);
    }
    buf_add_str(b, "\"");
}

static void put_bits(struct buf *b, const char *key, unsigned set, const struct bit_name *names, size_t n)
{
    const char *comma = "";

    put_key(b, key);
    buf_add_str(b, "[");
    for (size_t i = 0; i < n; i++) {
        if (!(set & names[i].bit))
            continue;
        buf_printf(b, "%s\"%s\"", comma, names[i].name);
        comma = ",";
    }
    buf_add_str(b, "]");
}

static void put_bool(struct buf *b, const char *key, bool v)
{
    put_key(b, key);
    buf_add_str(b, v ? "true" : "false");
}

static void put_int(struct buf *b, const char *key, int64_t v)
{
    put_key(b, key);
    buf_printf(b, "%" PRId64, v);
}

static void put_text(struct buf *b, const char *key, const char *v)
{
    put_key(b, key);
    put_string(b, v);
}

static void put_strings(struct buf *b, const char *key, const struct conf_strings *v)
{
    put_key(b, key);
    buf_add_str(b, "[");
    for (size_t i = 0; i < v->n; i++) {
        buf_add_str(b, i ? "," : "");
        put_string(b, v->v[i]);
    }
    buf_add_str(b, "]");
}

enum err_code profile_describe(const struct conf_profile *p, struct buf *out, uint8_t hash[32], struct err *e)
{
    AUTO_BUF b = BUF_INIT(64 * 1024);

    if ((unsigned)p->kind >= PROFILE_KINDS || (unsigned)p->approval >= ARRAY_LEN(approval_names) || (unsigned)p->idevid_reenroll >= ARRAY_LEN(reenroll_names))
        return err_set(e, E_INTERNAL, "profile \"%s\": kind or rule out of range", p->name);
    buf_add_str(&b, "{");
    put_bool(&b, "allow_idevid_key", p->allow_idevid_key);
    if (p->approval != APPROVAL_NONE) { /* a profile without it is described as before there was such a key */
        put_text(&b, "approval", approval_names[p->approval]);
        put_int(&b, "approval_within_s", p->approval_within_s);
    }
    put_bool(&b, "basic_reenroll", p->basic_reenroll);
    put_text(&b, "ca", p->ca);
    put_bool(&b, "ca_issuers_url", p->ca_issuers_url);
    put_int(&b, "clone_window_s", p->clone_window_s);
    put_bool(&b, "crl_url", p->crl_url);
    put_bits(&b, "eku", p->eku, eku_names, ARRAY_LEN(eku_names));
    put_int(&b, "expired_grace_s", p->expired_grace_s);
    put_text(&b, "idevid_reenroll", reenroll_names[p->idevid_reenroll]);
    put_bits(&b, "key_algs", p->key_algs, key_alg_names, ARRAY_LEN(key_alg_names));
    put_bits(&b, "key_usage", p->key_usage, key_usage_names, ARRAY_LEN(key_usage_names));
    if (p->keygen != KEYGEN_OFF) { /* left out where it is off, so that such a profile keeps the hash it had before */
        put_text(&b, "keygen", keygen_names[p->keygen]);
        put_bool(&b, "keygen_clear", p->keygen_clear);
        put_bits(&b, "keygen_key", KEY_BIT(p->keygen_key), key_alg_names, ARRAY_LEN(key_alg_names));
        put_text(&b, "keygen_token", p->keygen_token);
    }
    put_text(&b, "kind", kind_names[p->kind]);
    put_text(&b, "name", p->name);
    put_bool(&b, "no_expiry", p->no_expiry);
    put_bool(&b, "ocsp_url", p->ocsp_url);
    put_int(&b, "path_len", p->path_len);
    put_bool(&b, "pop_required", p->pop_required);
    put_bool(&b, "rekey_required", p->rekey_required);
    put_int(&b, "renew_percent", (int64_t)p->renew_percent);
    put_int(&b, "retire_after_s", p->retire_never ? -1 : p->retire_after_s);
    put_strings(&b, "san", &p->san);
    put_text(&b, "subject", p->subject);
    put_int(&b, "validity_s", p->validity_s);
    buf_add_str(&b, "}");
    if (!buf_ok(&b))
        return err_set(e, E_NOMEM, "profile \"%s\": description too long", p->name);
    sha256(buf_bytes(&b), hash);
    buf_add_bytes(out, buf_bytes(&b));
    return buf_ok(out) ? E_OK : err_set(e, E_NOMEM, "profile \"%s\": description does not fit", p->name);
}
