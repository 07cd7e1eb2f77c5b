/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/cert.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/der.h"
#include "base/derw.h"
#include "base/oid.h"
#include "ca/pki_int.h"

#define SAN_ENTRY_MAX 512
#define SAN_COUNT_MAX 32

/* ---- addresses ---- */

static enum err_code url_make(const struct conf *conf, char out[CERT_URL_MAX], struct err *e, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

static enum err_code url_make(const struct conf *conf, char out[CERT_URL_MAX], struct err *e, const char *fmt, ...)
{
    size_t base_len = conf->public_url ? strlen(conf->public_url) : 0;
    va_list ap;
    int n;

    while (base_len && conf->public_url[base_len - 1] == '/')
        base_len--;
    if (base_len == 0 || base_len >= CERT_URL_MAX)
        return err_set(e, E_INVALID, "public_url: %zu octets, not 1 to %d", base_len, CERT_URL_MAX - 1);
    memcpy(out, conf->public_url, base_len);
    va_start(ap, fmt);
    n = vsnprintf(out + base_len, CERT_URL_MAX - base_len, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= CERT_URL_MAX - base_len)
        return err_set(e, E_INVALID, "public_url: an address made from it is longer than %d octets", CERT_URL_MAX - 1);
    return E_OK;
}

enum err_code cert_crl_url(const struct conf *conf, const char *ca_name, unsigned shard, char out[CERT_URL_MAX],
                           struct err *e)
{
    if (shard)
        return url_make(conf, out, e, "/crl/%s-%u.crl", ca_name, shard);
    return url_make(conf, out, e, "/crl/%s.crl", ca_name);
}

enum err_code cert_ocsp_url(const struct conf *conf, char out[CERT_URL_MAX], struct err *e)
{
    return url_make(conf, out, e, "/ocsp");
}

enum err_code cert_ca_issuers_url(const struct conf *conf, const char *ca_name, char out[CERT_URL_MAX], struct err *e)
{
    return url_make(conf, out, e, "/ca/%s.cer", ca_name);
}

/* ---- small things ---- */

void ski_of(struct bytes key_bits, uint8_t ski[20])
{
    sha1(key_bits, ski);
}

enum err_code serial_draw(uint8_t serial[SERIAL_MAX_LEN], struct err *e)
{
    /* A top octet of 0 would make the serial shorter than the others; drawing again keeps the rest uniform. */
    do {
        if (random_bytes(serial, SERIAL_MAX_LEN, e) != E_OK)
            return err_wrap(e, "serial");
        serial[0] &= 0x7f;
    } while (serial[0] == 0);
    return E_OK;
}

unsigned cert_shard(struct bytes serial, unsigned shards)
{
    uint32_t low = 0;

    for (size_t i = serial.len > 4 ? serial.len - 4 : 0; i < serial.len; i++)
        low = low << 8 | serial.p[i];
    return shards ? 1 + low % shards : 0;
}

/* ---- writing ---- */

/* What a profile kind fixes, whatever the configuration says. */
static const struct kind_rule {
    bool is_ca, needs_device, no_urls, no_check;
    unsigned key_usage, eku; /* 0: the profile's */
} kind_rules[PROFILE_KINDS] = {
    [PROFILE_ROOT_CA] = {.is_ca = true, .no_urls = true, .key_usage = USAGE_KEY_CERT_SIGN | USAGE_CRL_SIGN},
    [PROFILE_ISSUING_CA] = {.is_ca = true, .key_usage = USAGE_KEY_CERT_SIGN | USAGE_CRL_SIGN},
    [PROFILE_IDEVID] = {.needs_device = true},
    [PROFILE_LDEVID] = {.needs_device = true},
    [PROFILE_FEED_SIGNER] = {.key_usage = USAGE_DIGITAL_SIGNATURE, .eku = EKU_DOCUMENT_SIGNING},
    [PROFILE_OCSP_SIGNER] =
        {.no_urls = true, .no_check = true, .key_usage = USAGE_DIGITAL_SIGNATURE, .eku = EKU_OCSP_SIGNING},
};

struct writing {
    const struct conf *conf;
    const struct conf_profile *profile;
    const struct kind_rule *rule;
    const struct cert_issuer *issuer;
    const struct cert_inputs *in;
    struct derw w;
};

static const char *input_var(void *arg, const char *name)
{
    const struct cert_inputs *in = arg;
    const struct {
        const char *name, *value;
    } vars[] = {
        {"device_id", in->device_id}, {"domain", in->domain}, {"product", in->product},
        {"model", in->model},         {"lot", in->lot},       {"name", in->name},
    };

    for (size_t i = 0; i < ARRAY_LEN(vars); i++)
        if (strcmp(vars[i].name, name) == 0)
            return vars[i].value ? vars[i].value : "";
    return NULL;
}

static void *var_arg(const struct writing *x)
{
    return (void *)(uintptr_t)x->in; /* input_var only reads */
}

static enum err_code subject_make(const struct writing *x, struct buf *subject, struct err *e)
{
    char serial_number[NAME_MAX_LEN];

    if (x->in->subject.len) {
        if (x->in->subject.len > NAME_MAX_LEN || !der_is_one_element(x->in->subject, DER_SEQUENCE))
            return err_set(e, E_INVALID, "subject: not a Name of at most %d octets", NAME_MAX_LEN);
        buf_add_bytes(subject, x->in->subject);
    } else {
        enum err_code code = name_from_template(x->profile->subject, input_var, var_arg(x), subject, e);
        if (code != E_OK) {
            (void)err_wrap(e, "subject");
            return code;
        }
    }
    if (!buf_ok(subject))
        return err_set(e, E_NOMEM, "subject: no room");
    if (x->profile->kind == PROFILE_IDEVID &&
        !name_get(buf_bytes(subject), OID_SERIAL_NUMBER, serial_number, sizeof serial_number))
        return err_set(e, E_INVALID, "subject: no serialNumber (IEEE 802.1AR 8.6)");
    if (x->rule->is_ca && name_is_empty(buf_bytes(subject)))
        return err_set(e, E_INVALID, "subject: empty in a CA certificate (RFC 5280 4.1.2.6)");
    return E_OK;
}

static bool oid_from_text(const char *text, struct buf *out)
{
    unsigned long arc[32];
    size_t n = 0;

    for (const char *p = text;;) {
        char *end;
        if (*p < '0' || *p > '9' || n == ARRAY_LEN(arc))
            return false;
        arc[n++] = strtoul(p, &end, 10);
        if (arc[n - 1] > 0xffffffffUL)
            return false;
        if (*end == '\0')
            break;
        if (*end != '.')
            return false;
        p = end + 1;
    }
    if (n < 2 || arc[0] > 2 || (arc[0] < 2 && arc[1] > 39))
        return false;
    arc[1] += arc[0] * 40;
    for (size_t i = 1; i < n; i++) {
        int shift = 63;
        while (shift > 0 && !(arc[i] >> shift))
            shift -= 7;
        for (; shift >= 0; shift -= 7)
            buf_add_u8(out, (uint8_t)((arc[i] >> shift & 0x7f) | (shift ? 0x80u : 0u)));
    }
    return buf_ok(out);
}

static enum err_code san_dns(struct derw *w, const char *v, struct err *e)
{
    if (!dns_name_is_valid(bytes_str(v)))
        return err_set(e, E_INVALID, "subjectAltName: \"%s\" is no host name", v);
    derw_element(w, DER_CONTEXT(2), bytes_str(v));
    return E_OK;
}

/* Absolute: a scheme, ':' and something behind it, in the characters of RFC 3986 section 2. */
static enum err_code san_uri(struct derw *w, const char *v, struct err *e)
{
    static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?#[]@!$&'()*+,;=%";
    size_t scheme = strspn(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-.");

    if (!isalpha((unsigned char)*v) || v[scheme] != ':' || v[scheme + 1] == '\0' || v[strspn(v, chars)] != '\0')
        return err_set(e, E_INVALID, "subjectAltName: \"%s\" is no absolute URI", v);
    derw_element(w, DER_CONTEXT(6), bytes_str(v));
    return E_OK;
}

static bool ip_parse(const char *v, uint8_t out[16], size_t *len)
{
    *len = inet_pton(AF_INET, v, out) == 1 ? 4 : inet_pton(AF_INET6, v, out) == 1 ? 16 : 0;
    return *len != 0;
}

static enum err_code san_ip(struct derw *w, const char *v, struct err *e)
{
    uint8_t ip[16];
    size_t len;

    if (!ip_parse(v, ip, &len))
        return err_set(e, E_INVALID, "subjectAltName: \"%s\" is no address", v);
    derw_element(w, DER_CONTEXT(7), BYTES(ip, len));
    return E_OK;
}

/* otherName { id-on-hardwareModuleName, [0] SEQUENCE { hwType, hwSerialNum } } (RFC 4108 section 5). */
static enum err_code san_hwmodule(struct derw *w, const char *v, struct err *e)
{
    AUTO_BUF type = BUF_INIT(128);
    const char *colon = strchr(v, ':');
    char oid[160];

    if (!colon || colon[1] == '\0' || (size_t)(colon - v) >= sizeof oid)
        return err_set(e, E_INVALID, "subjectAltName: hwmodule \"%s\" is not TYPE-OID:SERIAL", v);
    memcpy(oid, v, (size_t)(colon - v));
    oid[colon - v] = '\0';
    if (!oid_from_text(oid, &type))
        return err_set(e, E_INVALID, "subjectAltName: hwmodule: \"%s\" is no object identifier", oid);
    derw_begin(w, DER_CONTEXT_CONSTRUCTED(0));
    derw_oid(w, OID_HARDWARE_MODULE_NAME);
    derw_begin(w, DER_CONTEXT_CONSTRUCTED(0));
    derw_begin(w, DER_SEQUENCE);
    derw_oid(w, buf_bytes(&type));
    derw_octets(w, bytes_str(colon + 1));
    derw_end(w);
    derw_end(w);
    derw_end(w);
    return E_OK;
}

static enum err_code san_entry(struct derw *w, const char *v, struct err *e)
{
    uint8_t ip[16];
    size_t len;

    if (strncmp(v, "dns:", 4) == 0)
        return san_dns(w, v + 4, e);
    if (strncmp(v, "uri:", 4) == 0)
        return san_uri(w, v + 4, e);
    if (strncmp(v, "ip:", 3) == 0)
        return san_ip(w, v + 3, e);
    if (strncmp(v, "hwmodule:", 9) == 0)
        return san_hwmodule(w, v + 9, e);
    /* server_names come without a prefix */
    return ip_parse(v, ip, &len) ? san_ip(w, v, e) : san_dns(w, v, e);
}

/* The GeneralNames value; empty output: none. */
static enum err_code san_make(const struct writing *x, struct buf *san, struct err *e)
{
    const struct conf_strings *list = x->in->san ? x->in->san : &x->profile->san;
    char entry[SAN_ENTRY_MAX];
    struct derw w;
    bool empty;

    if (x->in->san_der.len) {
        if (!der_is_one_element(x->in->san_der, DER_SEQUENCE))
            return err_set(e, E_INVALID, "subjectAltName: not a SEQUENCE");
        buf_add_bytes(san, x->in->san_der);
        return buf_ok(san) ? E_OK : err_set(e, E_NOMEM, "subjectAltName: no room");
    }
    if (list->n == 0)
        return E_OK;
    if (list->n > SAN_COUNT_MAX)
        return err_set(e, E_INVALID, "subjectAltName: %zu names, at most %d", list->n, SAN_COUNT_MAX);
    derw_init(&w, san);
    derw_begin(&w, DER_SEQUENCE);
    for (size_t i = 0; i < list->n; i++) {
        if (template_expand(list->v[i], input_var, var_arg(x), entry, sizeof entry, &empty, e) != E_OK) {
            (void)err_wrap(e, "subjectAltName");
            return E_INVALID;
        }
        if (empty)
            return err_set(e, E_INVALID, "subjectAltName: \"%s\": a variable in it has no value", list->v[i]);
        if (san_entry(&w, entry, e) != E_OK)
            return E_INVALID;
    }
    derw_end(&w);
    return derw_finish(&w) ? E_OK : err_set(e, E_NOMEM, "subjectAltName: no room");
}

static enum err_code validity_make(const struct writing *x, struct cert_built *out, struct err *e)
{
    const struct cert_issuer *issuer = x->issuer;
    const struct conf_profile *p = x->profile;
    bool below = !issuer->is_self; /* a self-signed root has nothing above it */

    out->not_before = x->in->now - NOT_BEFORE_SLACK_S;
    if (below && issuer->not_after <= x->in->now)
        return err_set(e, E_DENIED, "issuer \"%s\" has reached its notAfter", issuer->name);
    if (below && out->not_before < issuer->not_before)
        out->not_before = issuer->not_before;
    if (p->no_expiry) {
        if (below && issuer->not_after != TIME_NO_EXPIRY)
            return err_set(e, E_INVALID, "without expiry under issuer \"%s\", which has one (RFC 5280 4.1.2.5)",
                           issuer->name);
        out->not_after = TIME_NO_EXPIRY;
    } else {
        if (p->validity_s <= 0 || __builtin_add_overflow(out->not_before, p->validity_s, &out->not_after))
            return err_set(e, E_INVALID, "validity of %lld s", (long long)p->validity_s);
        if (below && out->not_after > issuer->not_after)
            out->not_after = issuer->not_after;
    }
    if (x->in->not_after_max && out->not_after > x->in->not_after_max)
        out->not_after = x->in->not_after_max;
    if (out->not_after > TIME_NO_EXPIRY || out->not_after <= x->in->now)
        return err_set(e, E_INVALID, "it would end before it can be used, or after the year 9999");
    return E_OK;
}

static void extension_begin(struct derw *w, struct bytes oid, bool critical)
{
    derw_begin(w, DER_SEQUENCE);
    derw_oid(w, oid);
    if (critical)
        derw_bool(w, true);
    derw_begin(w, DER_OCTET_STRING);
}

static void extension_end(struct derw *w)
{
    derw_end(w);
    derw_end(w);
}

static void key_ids_write(struct writing *x)
{
    struct derw *w = &x->w;
    uint8_t ski[20];

    ski_of(x->in->key->key_bits, ski);
    extension_begin(w, OID_AKI, false);
    derw_begin(w, DER_SEQUENCE);
    derw_element(w, DER_CONTEXT(0), x->issuer->is_self ? BYTES_OF(ski) : BYTES_OF(x->issuer->ski));
    derw_end(w);
    extension_end(w);
    extension_begin(w, OID_SKI, false);
    derw_octets(w, BYTES_OF(ski));
    extension_end(w);
}

/* Bits a key type cannot serve: RFC 3279 2.3.1, RFC 8813 section 3, RFC 9295 section 3. */
static unsigned key_usage_beyond(enum key_alg alg)
{
    if (alg == KEY_ED25519)
        return USAGE_KEY_ENCIPHERMENT | USAGE_DATA_ENCIPHERMENT | USAGE_KEY_AGREEMENT;
    if (alg == KEY_P256 || alg == KEY_P384)
        return USAGE_KEY_ENCIPHERMENT | USAGE_DATA_ENCIPHERMENT;
    return USAGE_KEY_AGREEMENT;
}

static enum err_code usage_write(struct writing *x, struct err *e)
{
    static const struct {
        unsigned bit;
        const struct bytes *oid;
    } purposes[] = {
        {EKU_SERVER_AUTH, &OID_EKU_SERVER_AUTH},
        {EKU_CLIENT_AUTH, &OID_EKU_CLIENT_AUTH},
        {EKU_OCSP_SIGNING, &OID_EKU_OCSP_SIGNING},
        {EKU_DOCUMENT_SIGNING, &OID_EKU_DOCUMENT_SIGNING},
    };
    struct derw *w = &x->w;
    unsigned usage = x->rule->key_usage ? x->rule->key_usage : x->profile->key_usage;
    unsigned eku = x->rule->is_ca ? 0 : x->rule->eku ? x->rule->eku : x->profile->eku;

    if (usage & key_usage_beyond(x->in->key->alg))
        return err_set(e, E_INVALID, "a keyUsage of the profile is beyond a %s key", key_alg_name(x->in->key->alg));
    if (!x->rule->is_ca && (usage & (USAGE_KEY_CERT_SIGN | USAGE_CRL_SIGN)))
        return err_set(e, E_INVALID, "keyCertSign or cRLSign in a certificate that is no CA's (RFC 5280 4.2.1.3)");
    if (!x->rule->eku && (eku & EKU_OCSP_SIGNING))
        return err_set(e, E_INVALID, "OCSPSigning outside an ocsp-signer profile");
    if (!x->rule->eku && (eku & EKU_DOCUMENT_SIGNING))
        return err_set(e, E_INVALID, "documentSigning outside a feed-signer profile");
    if (usage) {
        extension_begin(w, OID_KEY_USAGE, true);
        derw_named_bits(w, usage);
        extension_end(w);
    }
    if (x->rule->is_ca) {
        extension_begin(w, OID_BASIC_CONSTRAINTS, true);
        derw_begin(w, DER_SEQUENCE);
        derw_bool(w, true);
        if (x->profile->path_len >= 0)
            derw_u64(w, (uint64_t)x->profile->path_len);
        derw_end(w);
        extension_end(w);
    }
    if (eku) {
        extension_begin(w, OID_EKU, false);
        derw_begin(w, DER_SEQUENCE);
        for (size_t i = 0; i < ARRAY_LEN(purposes); i++)
            if (eku & purposes[i].bit)
                derw_oid(w, *purposes[i].oid);
        derw_end(w);
        extension_end(w);
    }
    return E_OK;
}

static enum err_code crldp_write(struct writing *x, struct err *e)
{
    struct derw *w = &x->w;
    char url[CERT_URL_MAX];

    if (!x->profile->crl_url)
        return E_OK;
    if (cert_crl_url(x->conf, x->issuer->name, x->in->shard, url, e) != E_OK)
        return E_INVALID;
    extension_begin(w, OID_CRLDP, false);
    derw_begin(w, DER_SEQUENCE);
    derw_begin(w, DER_SEQUENCE);
    derw_begin(w, DER_CONTEXT_CONSTRUCTED(0)); /* distributionPoint */
    derw_begin(w, DER_CONTEXT_CONSTRUCTED(0)); /* fullName */
    derw_element(w, DER_CONTEXT(6), bytes_str(url));
    derw_end(w);
    derw_end(w);
    derw_end(w);
    derw_end(w);
    extension_end(w);
    return E_OK;
}

static void access_write(struct derw *w, struct bytes method, const char *url)
{
    derw_begin(w, DER_SEQUENCE);
    derw_oid(w, method);
    derw_element(w, DER_CONTEXT(6), bytes_str(url));
    derw_end(w);
}

static enum err_code aia_write(struct writing *x, struct err *e)
{
    struct derw *w = &x->w;
    char url[CERT_URL_MAX];

    if (!x->profile->ocsp_url && !x->profile->ca_issuers_url)
        return E_OK;
    extension_begin(w, OID_AIA, false);
    derw_begin(w, DER_SEQUENCE);
    if (x->profile->ocsp_url) {
        if (cert_ocsp_url(x->conf, url, e) != E_OK)
            return E_INVALID;
        access_write(w, OID_AD_OCSP, url);
    }
    if (x->profile->ca_issuers_url) {
        if (cert_ca_issuers_url(x->conf, x->issuer->name, url, e) != E_OK)
            return E_INVALID;
        access_write(w, OID_AD_CA_ISSUERS, url);
    }
    derw_end(w);
    extension_end(w);
    return E_OK;
}

static enum err_code extensions_write(struct writing *x, struct bytes subject, struct bytes san, struct err *e)
{
    struct derw *w = &x->w;
    enum err_code code;

    derw_begin(w, DER_CONTEXT_CONSTRUCTED(3));
    derw_begin(w, DER_SEQUENCE);
    key_ids_write(x);
    code = usage_write(x, e);
    if (code == E_OK && san.len) {
        extension_begin(w, OID_SAN, name_is_empty(subject));
        derw_raw(w, san);
        extension_end(w);
    }
    if (code == E_OK && !x->rule->no_urls) {
        code = crldp_write(x, e);
        if (code == E_OK)
            code = aia_write(x, e);
    }
    if (code == E_OK && x->rule->no_check) {
        extension_begin(w, OID_OCSP_NOCHECK, false);
        derw_null(w);
        extension_end(w);
    }
    derw_end(w);
    derw_end(w);
    return code;
}

static enum err_code inputs_check(const struct writing *x, struct err *e)
{
    const struct cert_inputs *in = x->in;

    if (in->serial_len == 0 || in->serial_len > SERIAL_MAX_LEN || (in->serial[0] & 0x80) || in->serial[0] == 0)
        return err_set(e, E_INTERNAL, "serial: not 1 to %d octets of a positive number (RFC 5280 4.1.2.2)",
                       SERIAL_MAX_LEN);
    if (x->issuer->sig_alg == SIG_NONE || sig_alg_der(x->issuer->sig_alg).len == 0)
        return err_set(e, E_INTERNAL, "issuer \"%s\": no signature algorithm", x->issuer->name);
    if (in->key->alg == KEY_NONE || !(x->profile->key_algs & KEY_BIT(in->key->alg)))
        return err_set(e, E_INVALID, "a %s key is not allowed", key_alg_name(in->key->alg));
    if (x->rule->needs_device && (!in->device_id || !*in->device_id) && !in->subject.len)
        return err_set(e, E_INVALID, "no device_id");
    if (x->issuer->is_self != (x->profile->kind == PROFILE_ROOT_CA))
        return err_set(e, E_INTERNAL, "self-signed and root-ca do not go apart");
    return E_OK;
}

static enum err_code tbs_write(struct writing *x, struct cert_built *out, struct err *e)
{
    AUTO_BUF subject = BUF_INIT(2 * NAME_MAX_LEN);
    AUTO_BUF san = BUF_INIT(CERT_MAX_LEN / 2);
    struct derw *w = &x->w;
    enum err_code code = inputs_check(x, e);

    if (code == E_OK)
        code = validity_make(x, out, e);
    if (code == E_OK)
        code = subject_make(x, &subject, e);
    if (code == E_OK)
        code = san_make(x, &san, e);
    if (code != E_OK)
        return code;
    if (name_is_empty(buf_bytes(&subject)) && san.len == 0)
        return err_set(e, E_INVALID, "neither subject nor subjectAltName (RFC 5280 4.1.2.6)");
    derw_init(w, &out->tbs);
    derw_begin(w, DER_SEQUENCE);
    derw_begin(w, DER_CONTEXT_CONSTRUCTED(0));
    derw_u64(w, 2);
    derw_end(w);
    derw_unsigned(w, BYTES(x->in->serial, x->in->serial_len));
    derw_raw(w, sig_alg_der(x->issuer->sig_alg));
    derw_raw(w, x->issuer->is_self ? buf_bytes(&subject) : x->issuer->subject);
    derw_begin(w, DER_SEQUENCE);
    derw_time(w, out->not_before);
    derw_time(w, out->not_after);
    derw_end(w);
    derw_raw(w, buf_bytes(&subject));
    derw_raw(w, x->in->key->spki);
    code = extensions_write(x, buf_bytes(&subject), buf_bytes(&san), e);
    if (code != E_OK)
        return code;
    derw_end(w);
    return derw_finish(w) ? E_OK : buf_err(&out->tbs, e, "longer than %zu octets", out->tbs.max);
}

enum err_code cert_tbs_write(const struct conf *conf, const struct conf_profile *profile,
                             const struct cert_issuer *issuer, const struct cert_inputs *in, struct cert_built *out,
                             struct err *e)
{
    struct writing x = {.conf = conf, .profile = profile, .issuer = issuer, .in = in};
    enum err_code code;

    if ((unsigned)profile->kind >= PROFILE_KINDS)
        return err_set(e, E_INTERNAL, "profile \"%s\": kind out of range", profile->name);
    x.rule = &kind_rules[profile->kind];
    code = tbs_write(&x, out, e);
    if (code != E_OK)
        (void)err_wrap(e, "certificate of profile \"%s\"", profile->name);
    return code;
}

enum err_code cert_assemble(struct bytes tbs, enum sig_alg alg, struct bytes sig, struct buf *der, struct err *e)
{
    struct derw w;

    if (sig_alg_der(alg).len == 0 || sig.len == 0 || tbs.len == 0)
        return err_set(e, E_INTERNAL, "certificate: nothing to assemble");
    derw_init(&w, der);
    derw_signed(&w, tbs, alg, sig);
    return derw_finish(&w) ? E_OK : err_set(e, E_NOMEM, "certificate: no room");
}

/* ---- reading ---- */

typedef bool (*cert_extension_fn)(struct cert *c, struct bytes value);

static bool take_ski(struct cert *c, struct bytes v)
{
    struct der in;

    der_init(&in, v.p, v.len);
    return der_take_octets(&in, &c->ski) && der_at_end(&in);
}

bool aki_key_id(struct bytes v, struct bytes *id)
{
    struct der in, seq, key;
    bool present;

    der_init(&in, v.p, v.len);
    if (!der_take(&in, DER_SEQUENCE, &seq) || !der_at_end(&in) ||
        !der_take_optional(&seq, DER_CONTEXT(0), &key, &present))
        return false;
    if (present)
        *id = der_rest(&key);
    return true;
}

static bool take_aki(struct cert *c, struct bytes v)
{
    return aki_key_id(v, &c->aki);
}

static bool take_key_usage(struct cert *c, struct bytes v)
{
    struct der in;
    struct bytes bits;
    unsigned unused;

    der_init(&in, v.p, v.len);
    if (!der_take_bits(&in, &bits, &unused) || !der_at_end(&in) || bits.len > 2)
        return false;
    for (size_t bit = 0; bit < bits.len * 8; bit++)
        if (bits.p[bit / 8] & (0x80u >> (bit % 8)))
            c->key_usage |= 1u << bit;
    return true;
}

static bool take_basic_constraints(struct cert *c, struct bytes v)
{
    struct der in, seq;
    uint64_t path_len;

    der_init(&in, v.p, v.len);
    if (!der_take(&in, DER_SEQUENCE, &seq) || !der_at_end(&in) ||
        (der_peek(&seq, DER_BOOLEAN) && !der_take_bool(&seq, &c->is_ca)))
        return false;
    if (der_peek(&seq, DER_INTEGER)) {
        if (!der_take_u64(&seq, &path_len))
            return false;
        c->path_len = path_len > 255 ? 255 : (int)path_len;
    }
    return der_at_end(&seq);
}

static bool take_eku(struct cert *c, struct bytes v)
{
    struct der in, list;
    struct bytes oid;

    der_init(&in, v.p, v.len);
    if (!der_take(&in, DER_SEQUENCE, &list) || !der_at_end(&in) || der_at_end(&list))
        return false;
    c->has_eku = true;
    while (!der_at_end(&list)) {
        if (!der_take_oid(&list, &oid))
            return false;
        c->eku_client_auth |= bytes_equal(oid, OID_EKU_CLIENT_AUTH);
        c->eku_server_auth |= bytes_equal(oid, OID_EKU_SERVER_AUTH);
        c->eku_ocsp |= bytes_equal(oid, OID_EKU_OCSP_SIGNING);
        c->eku_any |= bytes_equal(oid, OID_ANY_EKU);
    }
    return true;
}

static bool take_san(struct cert *c, struct bytes v)
{
    c->san = v;
    return der_is_one_element(v, DER_SEQUENCE);
}

static bool take_no_check(struct cert *c, struct bytes v)
{
    c->has_no_check = true;
    return der_is_one_element(v, DER_NULL);
}

static const struct {
    const struct bytes *oid;
    cert_extension_fn take;
} cert_extensions[] = {
    {&OID_SKI, take_ski},
    {&OID_AKI, take_aki},
    {&OID_KEY_USAGE, take_key_usage},
    {&OID_BASIC_CONSTRAINTS, take_basic_constraints},
    {&OID_EKU, take_eku},
    {&OID_SAN, take_san},
    {&OID_OCSP_NOCHECK, take_no_check},
};

static enum err_code cert_extensions_read(struct cert *c, struct der *list, struct err *e)
{
    struct oid_seen seen = {.n = 0};
    struct extension x;
    char text[96];

    if (der_at_end(list))
        return err_set(e, E_INVALID, "certificate: an empty list of extensions (RFC 5280 4.1)");
    while (!der_at_end(list)) {
        if (!extension_take(list, &x))
            return err_set(e, E_INVALID, "certificate: broken extension at octet %zu (RFC 5280 4.1)", list->offset);
        if (!oid_seen_add(&seen, x.oid)) {
            oid_format(x.oid, text, sizeof text);
            return err_set(e, E_INVALID, "certificate: extension %s twice (RFC 5280 4.2), or too many", text);
        }
        for (size_t i = 0; i < ARRAY_LEN(cert_extensions); i++) {
            if (!bytes_equal(x.oid, *cert_extensions[i].oid) || cert_extensions[i].take(c, x.value))
                continue;
            oid_format(x.oid, text, sizeof text);
            return err_set(e, E_INVALID, "certificate: extension %s is malformed (RFC 5280 4.2)", text);
        }
    }
    return E_OK;
}

static enum err_code cert_body_read(struct cert *c, struct der *tbs, struct bytes *inner_alg, struct err *e)
{
    struct der version, content, validity, unique, wrapper, list;
    uint64_t v;
    uint8_t tag;
    bool present, unique_issuer, unique_subject;

    if (!der_take(tbs, DER_CONTEXT_CONSTRUCTED(0), &version) || !der_take_u64(&version, &v) || v != 2 ||
        !der_at_end(&version))
        return err_set(e, E_INVALID, "certificate: version is not v3 (RFC 5280 4.1.2.1)");
    if (!der_take_unsigned(tbs, &c->serial) || c->serial.len > SERIAL_MAX_LEN)
        return err_set(e, E_INVALID, "certificate: serial negative or above %d octets (RFC 5280 4.1.2.2)",
                       SERIAL_MAX_LEN);
    if (!der_take_raw(tbs, DER_SEQUENCE, &content, inner_alg) ||
        !der_take_raw(tbs, DER_SEQUENCE, &content, &c->issuer))
        return err_set(e, E_INVALID, "certificate: no signature or issuer (RFC 5280 4.1)");
    if (!der_take(tbs, DER_SEQUENCE, &validity) || !der_take_time(&validity, &c->not_before, &tag) ||
        !der_take_time(&validity, &c->not_after, &tag) || !der_at_end(&validity))
        return err_set(e, E_INVALID, "certificate: broken validity (RFC 5280 4.1.2.5)");
    if (!der_take_raw(tbs, DER_SEQUENCE, &content, &c->subject) || !der_take_raw(tbs, DER_SEQUENCE, &content, &c->spki))
        return err_set(e, E_INVALID, "certificate: no subject or subjectPublicKeyInfo (RFC 5280 4.1)");
    if (!der_take_optional(tbs, DER_CONTEXT(1), &unique, &unique_issuer) ||
        !der_take_optional(tbs, DER_CONTEXT(2), &unique, &unique_subject) ||
        !der_take_optional(tbs, DER_CONTEXT_CONSTRUCTED(3), &wrapper, &present) || !der_at_end(tbs))
        return err_set(e, E_INVALID, "certificate: unexpected octets after the key (RFC 5280 4.1)");
    c->has_unique_ids = unique_issuer || unique_subject;
    if (!present)
        return E_OK;
    if (!der_take(&wrapper, DER_SEQUENCE, &list) || !der_at_end(&wrapper))
        return err_set(e, E_INVALID, "certificate: broken extensions (RFC 5280 4.1)");
    c->extensions = der_rest(&list);
    return cert_extensions_read(c, &list, e);
}

enum err_code cert_read(struct bytes der, struct cert *out, struct err *e)
{
    struct der in, cert, tbs, content;
    struct bytes inner_alg;
    unsigned unused;

    *out = (struct cert){.der = der, .path_len = -1};
    if (der.len > CERT_MAX_LEN)
        return err_set(e, E_INVALID, "certificate: %zu octets, at most %d", der.len, CERT_MAX_LEN);
    der_init(&in, der.p, der.len);
    if (!der_take(&in, DER_SEQUENCE, &cert) || !der_at_end(&in) ||
        !der_take_raw(&cert, DER_SEQUENCE, &tbs, &out->tbs) ||
        !der_take_raw(&cert, DER_SEQUENCE, &content, &out->sig_alg) || !der_take_bits(&cert, &out->sig, &unused) ||
        unused != 0 || !der_at_end(&cert))
        return err_set(e, E_INVALID, "certificate: not SEQUENCE { tbs, algorithm, signature } (RFC 5280 4.1)");
    if (cert_body_read(out, &tbs, &inner_alg, e) != E_OK)
        return E_INVALID;
    if (!bytes_equal(inner_alg, out->sig_alg))
        return err_set(e, E_INVALID, "certificate: inner and outer algorithm differ (RFC 5280 4.1.1.2)");
    return E_OK;
}
