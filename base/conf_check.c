/* SPDX-License-Identifier: Apache-2.0 */
/* What concerns more than one value of the configuration: derived defaults, references, kinds, chains, names. */
#include "base/conf_int.h"

#include <arpa/inet.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/auto.h"
#include "base/limits.h"

#define DAY ((int64_t)86400)
#define JWS_KEY_ALGS (KEY_BIT(KEY_P256) | KEY_BIT(KEY_P384) | KEY_BIT(KEY_ED25519)) /* of keys that sign a JWS */

/* A mistake at member `m` of item i of a list. */
#define BAD_TOP(r, m, ...)           conf_mistake(r, LIST_TOP, 0, offsetof(struct conf, m), -1, __VA_ARGS__)
#define BAD_TOP_ENTRY(r, m, j, ...)  conf_mistake(r, LIST_TOP, 0, offsetof(struct conf, m), (int)(j), __VA_ARGS__)
#define BAD_TOKEN(r, i, m, ...)      conf_mistake(r, LIST_TOKENS, i, offsetof(struct conf_token, m), -1, __VA_ARGS__)
#define BAD_CA(r, i, m, ...)         conf_mistake(r, LIST_CAS, i, offsetof(struct conf_ca, m), -1, __VA_ARGS__)
#define BAD_PROFILE(r, i, m, ...)    conf_mistake(r, LIST_PROFILES, i, offsetof(struct conf_profile, m), -1, __VA_ARGS__)
#define BAD_ANCHOR(r, i, m, ...)     conf_mistake(r, LIST_ANCHORS, i, offsetof(struct conf_anchor, m), -1, __VA_ARGS__)
#define BAD_AUDIENCE(r, i, m, ...)   conf_mistake(r, LIST_AUDIENCES, i, offsetof(struct conf_audience, m), -1, __VA_ARGS__)
#define BAD_NOTIFY(r, i, m, ...)     conf_mistake(r, LIST_NOTIFY, i, offsetof(struct conf_notify, m), -1, __VA_ARGS__)
#define BAD_LABEL(r, i, m, ...)      conf_mistake(r, LIST_LABELS, i, offsetof(struct conf_label, m), -1, __VA_ARGS__)

/* ---- hosts ---- */

enum host_kind { HOST_BAD, HOST_DNS, HOST_LOCAL, HOST_ADDRESS };

static bool is_address(const char *s)
{
    uint8_t raw[16];

    return inet_pton(AF_INET, s, raw) == 1 || inet_pton(AF_INET6, s, raw) == 1;
}

static bool label_is_dns(const char *p, size_t n)
{
    if (n == 0 || n > 63 || p[0] == '-' || p[n - 1] == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-", p[i]))
            return false;
    return true;
}

static enum host_kind host_kind(const char *host)
{
    size_t len = strlen(host), labels = 0;
    const char *p = host, *last = host;

    if (is_address(host))
        return HOST_ADDRESS;
    if (len == 0 || len > 253)
        return HOST_BAD;
    for (;;) {
        size_t n = strcspn(p, ".");

        if (!label_is_dns(p, n))
            return HOST_BAD;
        labels++;
        last = p;
        if (p[n] == '\0')
            break;
        p += n + 1;
    }
    if (strcasecmp(last, "localhost") == 0 || strcasecmp(last, "localdomain") == 0)
        return HOST_LOCAL;
    /* A last label of digits is a mistyped address. */
    if (last[strspn(last, "0123456789")] == '\0')
        return HOST_BAD;
    return labels >= 2 ? HOST_DNS : HOST_LOCAL;
}

static bool port_is_valid(const char *s)
{
    size_t n = strspn(s, "0123456789");

    return n >= 1 && n <= 5 && s[n] == '\0' && s[0] != '0' && atoi(s) <= 65535;
}

/* "http://HOST[:PORT]" into its host. */
static bool split_public_url(const char *url, char *host, size_t size)
{
    const char *p = url + 7, *end;

    if (strncmp(url, "http://", 7) != 0)
        return false;
    if (*p == '[') {
        end = strchr(++p, ']');
        if (!end)
            return false;
    } else {
        end = p + strcspn(p, ":/");
    }
    if ((size_t)(end - p) >= size)
        return false;
    memcpy(host, p, (size_t)(end - p));
    host[end - p] = '\0';
    if (*end == ']')
        end++;
    return *end == '\0' || (*end == ':' && port_is_valid(end + 1));
}

static void check_public_url(struct conf_reading *r)
{
    const struct conf *c = r->conf;
    char host[256];

    if (c->public_url[0] == '\0')
        return;
    if (!split_public_url(c->public_url, host, sizeof(host))) {
        BAD_TOP(r, public_url, "must be http://NAME or http://NAME:PORT and nothing after it");
        return;
    }
    switch (host_kind(host)) {
    case HOST_BAD:
        BAD_TOP(r, public_url, "\"%.100s\" is not a DNS name", host);
        break;
    case HOST_LOCAL:
    case HOST_ADDRESS:
        if (!c->quickstart)
            BAD_TOP(r, public_url, "\"%.100s\" is not a DNS name others can resolve: certificates carry it for their whole life",
                    host);
        break;
    case HOST_DNS:
        break;
    }
}

static void check_server_names(struct conf_reading *r)
{
    const struct conf *c = r->conf;

    for (size_t i = 0; i < c->server_names.n; i++) {
        const char *s = c->server_names.v[i];

        if (strncmp(s, "dns:", 4) == 0) {
            enum host_kind kind = host_kind(s + 4);

            if (kind == HOST_BAD || kind == HOST_ADDRESS)
                BAD_TOP_ENTRY(r, server_names, i, "\"%.100s\" is not a DNS name", s + 4);
            else if (kind == HOST_LOCAL && !c->quickstart)
                BAD_TOP_ENTRY(r, server_names, i, "\"%.100s\" is not a DNS name others can resolve", s + 4);
        } else if (strncmp(s, "ip:", 3) == 0) {
            if (!is_address(s + 3))
                BAD_TOP_ENTRY(r, server_names, i, "\"%.100s\" is not an address", s + 3);
            else if (!c->quickstart)
                BAD_TOP_ENTRY(r, server_names, i, "an address in the server certificate is for the quickstart only");
        } else {
            BAD_TOP_ENTRY(r, server_names, i, "must be dns:NAME or ip:ADDRESS");
        }
    }
}

static bool listen_is_valid(const char *s)
{
    const char *colon = strrchr(s, ':');
    char host[64];
    size_t n;
    uint8_t raw[16];

    if (!colon || !port_is_valid(colon + 1))
        return false;
    n = (size_t)(colon - s);
    if (s[0] == '[') {
        if (n < 2 || n - 2 >= sizeof(host) || s[n - 1] != ']')
            return false;
        snprintf(host, sizeof(host), "%.*s", (int)(n - 2), s + 1);
        return inet_pton(AF_INET6, host, raw) == 1;
    }
    if (n >= sizeof(host))
        return false;
    snprintf(host, sizeof(host), "%.*s", (int)n, s);
    return inet_pton(AF_INET, host, raw) == 1;
}

static void check_listen(struct conf_reading *r)
{
    static const size_t offsets[] = {offsetof(struct conf, listen_est), offsetof(struct conf, listen_http),
                                     offsetof(struct conf, listen_health), offsetof(struct conf, listen_admin)};
    const char *used[64];
    size_t used_n = 0;

    for (size_t k = 0; k < ARRAY_LEN(offsets); k++) {
        const struct conf_strings *s = (const struct conf_strings *)(const void *)((const char *)r->conf + offsets[k]);

        for (size_t i = 0; i < s->n; i++) {
            bool again = false;

            if (!listen_is_valid(s->v[i])) {
                conf_mistake(r, LIST_TOP, 0, offsets[k], (int)i, "\"%.60s\" is not ADDRESS:PORT or [ADDRESS]:PORT", s->v[i]);
                continue;
            }
            for (size_t j = 0; j < used_n && !again; j++)
                again = strcmp(used[j], s->v[i]) == 0;
            if (again)
                conf_mistake(r, LIST_TOP, 0, offsets[k], (int)i, "%.60s is listened on twice", s->v[i]);
            else if (used_n == ARRAY_LEN(used))
                conf_mistake(r, LIST_TOP, 0, offsets[k], (int)i, "more than %zu addresses", ARRAY_LEN(used));
            else
                used[used_n++] = s->v[i];
        }
    }
}

static void check_users(struct conf_reading *r)
{
    const struct conf *c = r->conf;
    const struct {
        size_t offset;
        const char *name;
    } users[] = {{offsetof(struct conf, user_supervisor), c->user_supervisor},
                 {offsetof(struct conf, user_front), c->user_front},
                 {offsetof(struct conf, user_core), c->user_core},
                 {offsetof(struct conf, user_status), c->user_status},
                 {offsetof(struct conf, user_signer), c->user_signer}};
    size_t set = 0;

    for (size_t i = 0; i < ARRAY_LEN(users); i++)
        set += users[i].name[0] != '\0';
    if (set > 0 && c->listen_admin.n > 0 && c->user_admin[0] == '\0')
        BAD_TOP(r, user_admin, "is missing: listen.admin needs a user for inkan-admin");
    if (set > 0 && c->notify_n > 0 && c->user_notify[0] == '\0')
        BAD_TOP(r, user_notify, "is missing: notify needs a user for inkan-notify");
    if (strcmp(c->user_admin, "root") == 0)
        BAD_TOP(r, user_admin, "must not be root");
    if (strcmp(c->user_notify, "root") == 0)
        BAD_TOP(r, user_notify, "must not be root");
    if (c->user_notify[0] && strcmp(c->user_notify, c->user_admin) == 0)
        BAD_TOP(r, user_notify, "\"%.60s\" is another process's user already", c->user_notify);
    for (size_t i = 0; i < ARRAY_LEN(users); i++)
        if (c->user_notify[0] && strcmp(c->user_notify, users[i].name) == 0)
            BAD_TOP(r, user_notify, "\"%.60s\" is another process's user already", c->user_notify);
    for (size_t i = 0; i < ARRAY_LEN(users); i++)
        if (c->user_admin[0] && strcmp(c->user_admin, users[i].name) == 0)
            BAD_TOP(r, user_admin, "\"%.60s\" is another process's user already", c->user_admin);
    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        if (set > 0 && users[i].name[0] == '\0')
            conf_mistake(r, LIST_TOP, 0, users[i].offset, -1, "is missing: set all five users or none");
        if (strcmp(users[i].name, "root") == 0)
            conf_mistake(r, LIST_TOP, 0, users[i].offset, -1, "must not be root");
        for (size_t j = 0; j < i; j++)
            if (users[i].name[0] && strcmp(users[i].name, users[j].name) == 0)
                conf_mistake(r, LIST_TOP, 0, users[i].offset, -1, "\"%.60s\" is another process's user already", users[i].name);
    }
}

/* ---- names ---- */

static const char *item_name(const struct conf_reading *r, enum conf_list_id list, size_t i)
{
    /* `name` is the first member of every item. */
    return *(char **)(void *)CONF_ITEM(r->conf, list, i);
}

static void check_names(struct conf_reading *r, enum conf_list_id list)
{
    for (size_t i = 0; i < CONF_COUNT(r->conf, list); i++) {
        const char *name = item_name(r, list, i);

        if (list != LIST_LABELS) {
            if (!conf_is_set(r, list, i, 0))
                continue; /* its absence was told */
            if (!id_is_valid(name)) {
                conf_mistake(r, list, i, 0, -1, "\"%.80s\" is not a name: 1 to %d of A-Z a-z 0-9 . _ : -, not starting with . or -",
                             name, ID_MAX_LEN);
                continue;
            }
        }
        for (size_t j = 0; j < i; j++)
            if (strcmp(name, item_name(r, list, j)) == 0) {
                conf_mistake(r, list, i, 0, -1, "\"%.80s\" is the name of %s[%zu] already", name, conf_lists[list].name, j);
                break;
            }
    }
}

/* ---- PKCS#11 URIs (RFC 7512) ---- */

static int hex_value(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;

    return at ? (int)(at - digits) : -1;
}

static bool percent_decode(const char *p, size_t n, char *out, size_t size)
{
    size_t at = 0;

    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)p[i];

        if (c == '%') {
            if (n - i < 3 || hex_value(p[i + 1]) < 0 || hex_value(p[i + 2]) < 0)
                return false;
            c = hex_value(p[i + 1]) * 16 + hex_value(p[i + 2]);
            i += 2;
        }
        if (c < 0x20 || c == 0x7f || at + 1 >= size)
            return false;
        out[at++] = (char)c;
    }
    out[at] = '\0';
    return true;
}

struct uri_parts {
    char token[256], serial[256], module[1024];
};

/* One NAME=VALUE of the path (before '?') or of the query. Says what is wrong in `why`. */
static bool uri_attribute(const char *p, size_t n, bool query, struct uri_parts *out, char why[160])
{
    const struct {
        const char *name;
        bool query;
        char *value;
        size_t size;
    } known[] = {{"token", false, out->token, sizeof(out->token)},
                 {"serial", false, out->serial, sizeof(out->serial)},
                 {"module-path", true, out->module, sizeof(out->module)}};
    const char *eq = memchr(p, '=', n);
    size_t name_len = eq ? (size_t)(eq - p) : n;

    if (!eq) {
        snprintf(why, 160, "\"%.*s\" is not NAME=VALUE (RFC 7512 2.3)", (int)(n < 60 ? n : 60), p);
        return false;
    }
    if (name_len == 9 && memcmp(p, "pin-value", 9) == 0) {
        snprintf(why, 160, "pin-value is refused: a PIN never stands in the configuration; use pin: file:PATH");
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strlen(known[i].name) != name_len || memcmp(known[i].name, p, name_len) != 0 || known[i].query != query)
            continue;
        if (known[i].value[0] != '\0') {
            snprintf(why, 160, "%s stands there twice (RFC 7512 2.3)", known[i].name);
            return false;
        }
        if (!percent_decode(eq + 1, n - name_len - 1, known[i].value, known[i].size) || known[i].value[0] == '\0') {
            snprintf(why, 160, "the value of %s is empty, too long or badly encoded (RFC 7512 2.3)", known[i].name);
            return false;
        }
        return true;
    }
    snprintf(why, 160, "\"%.*s\" is none of token, serial and ?module-path", (int)(name_len < 60 ? name_len : 60), p);
    return false;
}

static bool uri_parse(const char *uri, struct uri_parts *out, char why[160])
{
    const char *p = uri + 7;
    bool query = false;

    if (strncmp(uri, "pkcs11:", 7) != 0) {
        snprintf(why, 160, "must start with pkcs11: (RFC 7512)");
        return false;
    }
    while (*p) {
        size_t n = strcspn(p, query ? "&" : ";?");

        if (n > 0 && !uri_attribute(p, n, query, out, why))
            return false;
        p += n;
        if (*p)
            query = *p++ == '?' || query;
    }
    return true;
}

static void merge_uri_part(struct conf_reading *r, size_t i, char **member, const char *name, const char *value)
{
    if (value[0] == '\0')
        return;
    if ((*member)[0] != '\0' && strcmp(*member, value) != 0)
        BAD_TOKEN(r, i, uri, "says another %s than the key of its own", name);
    else if (!conf_set_text(member, value))
        r->nomem = true;
}

static void derive_token(struct conf_reading *r, size_t i)
{
    struct conf_token *t = &r->conf->tokens[i];
    struct uri_parts parts = {{0}, {0}, {0}};
    char why[160];

    if (t->uri[0] == '\0')
        return;
    if (!uri_parse(t->uri, &parts, why)) {
        BAD_TOKEN(r, i, uri, "%s", why);
        return;
    }
    merge_uri_part(r, i, &t->label, "label", parts.token);
    merge_uri_part(r, i, &t->serial, "serial", parts.serial);
    merge_uri_part(r, i, &t->module, "module", parts.module);
}

static bool env_is_valid(const char *s)
{
    size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");

    return n > 0 && s[n] == '=' && !(s[0] >= '0' && s[0] <= '9');
}

static void check_token(struct conf_reading *r, size_t i)
{
    const struct conf_token *t = &r->conf->tokens[i];

    if (t->uri[0] == '\0' && t->label[0] == '\0')
        BAD_TOKEN(r, i, label, "is missing (or uri with token=)");
    else if (t->label[0] == '\0' && strstr(t->uri, "token=") == NULL)
        BAD_TOKEN(r, i, uri, "names no token= and label is not set");
    if (t->so_pin[0] != '\0' && strncmp(t->so_pin, "file:", 5) != 0)
        BAD_TOKEN(r, i, so_pin, "must be file:PATH: it is read once, by `inkan token init`");
    if (strlen(t->label) > 32)
        BAD_TOKEN(r, i, label, "is longer than 32 octets, which no token's label is");
    if (t->module[0] == '\0' && strstr(t->uri, "module-path=") == NULL)
        BAD_TOKEN(r, i, module, "is missing (or uri with ?module-path=)");
    else if (t->module[0] != '\0' && t->module[0] != '/')
        BAD_TOKEN(r, i, uri, "module-path must be an absolute path");
    for (size_t j = 0; j < t->env.n; j++)
        if (!env_is_valid(t->env.v[j]))
            conf_mistake(r, LIST_TOKENS, i, offsetof(struct conf_token, env), (int)j, "must be NAME=value");
    for (size_t j = 0; j < i; j++) {
        const struct conf_token *u = &r->conf->tokens[j];

        if (t->label[0] && strcmp(t->label, u->label) == 0 && strcmp(t->serial, u->serial) == 0 &&
            strcmp(t->module, u->module) == 0)
            BAD_TOKEN(r, i, label, "is the same token as tokens[%zu]", j);
    }
}

/* ---- subjects and SAN templates ---- */

static bool braces_are_known(const char *s, char why[160])
{
    static const char *const known[] = {"device_id", "domain", "product", "model", "lot", "name"};

    for (; *s; s++) {
        size_t n;
        bool found = false;

        if (*s == '}') {
            snprintf(why, 160, "'}' without '{'");
            return false;
        }
        if (*s != '{')
            continue;
        n = strcspn(s + 1, "}");
        for (size_t i = 0; i < ARRAY_LEN(known) && s[1 + n] == '}'; i++)
            found = found || (strlen(known[i]) == n && memcmp(known[i], s + 1, n) == 0);
        if (!found) {
            snprintf(why, 160, "{%.*s} is none of {device_id} {domain} {product} {model} {lot} {name}", (int)(n < 40 ? n : 40), s + 1);
            return false;
        }
        s += 1 + n;
    }
    return true;
}

/* "TYPE=VALUE,TYPE=VALUE"; a comma in a value is written "\,". */
static bool name_is_valid(const char *s, char why[160])
{
    static const char *const types[] = {"CN", "serialNumber", "O", "OU", "C", "ST", "L"};

    if (strlen(s) > NAME_MAX_LEN / 2) {
        snprintf(why, 160, "is longer than %d octets", NAME_MAX_LEN / 2);
        return false;
    }
    for (;;) {
        size_t n = strcspn(s, "=,"), value = 0;
        bool found = false;

        for (size_t i = 0; i < ARRAY_LEN(types); i++)
            found = found || (strlen(types[i]) == n && memcmp(types[i], s, n) == 0);
        if (!found || s[n] != '=') {
            snprintf(why, 160, "\"%.*s\": every part is TYPE=VALUE with one of CN serialNumber O OU C ST L", (int)(n < 40 ? n : 40), s);
            return false;
        }
        s += n + 1;
        while (s[value] && s[value] != ',')
            value += s[value] == '\\' && s[value + 1] ? 2 : 1;
        if (value == 0) {
            snprintf(why, 160, "a part has an empty value");
            return false;
        }
        if (s[value] == '\0')
            return true;
        s += value + 1;
    }
}

static bool san_is_valid(const char *s, char why[160])
{
    static const char *const kinds[] = {"dns:", "uri:", "ip:", "hwmodule:"};
    const char *value = NULL;

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strncmp(s, kinds[i], strlen(kinds[i])) == 0)
            value = s + strlen(kinds[i]);
    if (!value || *value == '\0') {
        snprintf(why, 160, "must be dns:NAME, uri:URI, ip:ADDRESS or hwmodule:OID:SERIAL");
        return false;
    }
    if (strncmp(s, "ip:", 3) == 0 && !strchr(s, '{') && !is_address(value)) {
        snprintf(why, 160, "\"%.80s\" is not an address", value);
        return false;
    }
    if (strncmp(s, "hwmodule:", 9) == 0) {
        size_t n = strspn(value, "0123456789.");

        if (n < 3 || value[n] != ':' || value[n + 1] == '\0' || value[0] == '.' || value[n - 1] == '.') {
            snprintf(why, 160, "must be hwmodule:OID:SERIAL with a dotted OID");
            return false;
        }
    }
    return braces_are_known(value, why);
}

/* ---- profiles ---- */

static bool is_ca_kind(enum profile_kind kind)
{
    return kind == PROFILE_ROOT_CA || kind == PROFILE_ISSUING_CA;
}

static bool kind_is_known(const struct conf_profile *p)
{
    return (unsigned)p->kind < PROFILE_KINDS;
}

static const struct kind_rule {
    const char *subject;
    unsigned key_usage, eku;
    int64_t validity_s; /* 0: no expiry */
    int path_len;
    unsigned eku_allowed;
} kind_rules[PROFILE_KINDS] = {
    [PROFILE_ROOT_CA] = {"", USAGE_KEY_CERT_SIGN | USAGE_CRL_SIGN, 0, 9131 * DAY, -1, 0},
    [PROFILE_ISSUING_CA] = {"", USAGE_KEY_CERT_SIGN | USAGE_CRL_SIGN, 0, 5479 * DAY, 0, 0},
    [PROFILE_IDEVID] = {"CN={device_id},serialNumber={device_id}", USAGE_DIGITAL_SIGNATURE, EKU_CLIENT_AUTH, 0, -1,
                        EKU_CLIENT_AUTH | EKU_SERVER_AUTH},
    [PROFILE_LDEVID] = {"CN={device_id},serialNumber={device_id}", USAGE_DIGITAL_SIGNATURE, EKU_CLIENT_AUTH, 365 * DAY, -1,
                        EKU_CLIENT_AUTH | EKU_SERVER_AUTH},
    [PROFILE_TLS_SERVER] = {"CN={name}", USAGE_DIGITAL_SIGNATURE, EKU_SERVER_AUTH, 90 * DAY, -1,
                            EKU_CLIENT_AUTH | EKU_SERVER_AUTH},
    [PROFILE_OCSP_SIGNER] = {"CN={name}", USAGE_DIGITAL_SIGNATURE, EKU_OCSP_SIGNING, 30 * DAY, -1, EKU_OCSP_SIGNING},
    [PROFILE_STATION] = {"CN={name}", USAGE_DIGITAL_SIGNATURE, EKU_CLIENT_AUTH, 30 * DAY, -1, EKU_CLIENT_AUTH},
    [PROFILE_RECORD_SIGNER] = {"CN={name}", USAGE_DIGITAL_SIGNATURE, 0, 365 * DAY, -1, 0},
    [PROFILE_OPERATOR] = {"CN={name}", USAGE_DIGITAL_SIGNATURE, EKU_CLIENT_AUTH, 365 * DAY, -1, EKU_CLIENT_AUTH},
    [PROFILE_GATEWAY] = {"CN={name}", USAGE_DIGITAL_SIGNATURE, EKU_CLIENT_AUTH, 90 * DAY, -1, EKU_CLIENT_AUTH | EKU_SERVER_AUTH},
    [PROFILE_FEED_SIGNER] = {"CN={name}", USAGE_DIGITAL_SIGNATURE, EKU_DOCUMENT_SIGNING, 365 * DAY, -1, EKU_DOCUMENT_SIGNING},
};

#define PROFILE_SET(r, i, m) conf_is_set(r, LIST_PROFILES, i, offsetof(struct conf_profile, m))

static void derive_profile(struct conf_reading *r, size_t i)
{
    struct conf_profile *p = &r->conf->profiles[i];
    const struct kind_rule *rule;

    if (!PROFILE_SET(r, i, path_len))
        p->path_len = -1;
    if (!kind_is_known(p))
        return;
    rule = &kind_rules[p->kind];
    if (!PROFILE_SET(r, i, subject) && !conf_set_text(&p->subject, rule->subject))
        r->nomem = true;
    if (!PROFILE_SET(r, i, key_usage))
        p->key_usage = rule->key_usage;
    if (!PROFILE_SET(r, i, eku))
        p->eku = rule->eku;
    if (!PROFILE_SET(r, i, path_len))
        p->path_len = rule->path_len;
    if (p->keygen == KEYGEN_TOKEN && !PROFILE_SET(r, i, keygen_token)) {
        const struct conf_ca *ca = conf_find_ca(r->conf, p->ca);

        if (ca && !conf_set_text(&p->keygen_token, ca->token))
            r->nomem = true;
    }
    if (!PROFILE_SET(r, i, validity_s)) {
        p->validity_s = rule->validity_s;
        p->no_expiry = rule->validity_s == 0;
    }
}

/* Is every CA from `ca` up to its root without expiry? Unknown names were told elsewhere and count as fitting. */
static bool chain_has_no_expiry(const struct conf *c, const struct conf_ca *ca)
{
    for (size_t i = 0; ca && i <= c->cas_n; i++) {
        const struct conf_profile *p = conf_find_profile(c, ca->profile);

        if (p && !p->no_expiry)
            return false;
        ca = conf_find_ca(c, ca->issuer);
    }
    return true;
}

static void check_profile_ca(struct conf_reading *r, size_t i)
{
    const struct conf_profile *p = &r->conf->profiles[i];
    const struct conf_ca *ca = conf_find_ca(r->conf, p->ca);

    if (is_ca_kind(p->kind)) {
        if (p->ca[0] != '\0')
            BAD_PROFILE(r, i, ca, "does not belong in a profile of kind %s: the CA names its issuer itself",
                        profile_kind_name(p->kind));
        return;
    }
    if (p->ca[0] == '\0') {
        BAD_PROFILE(r, i, ca, "is missing: kind %s needs the CA that issues", profile_kind_name(p->kind));
        return;
    }
    if (!ca) {
        BAD_PROFILE(r, i, ca, "there is no CA \"%.80s\"", p->ca);
        return;
    }
    if (p->no_expiry && !chain_has_no_expiry(r->conf, ca))
        BAD_PROFILE(r, i, validity_s, "none needs a CA and a root without expiry, and \"%.60s\" or one above it has an end", p->ca);
    if (p->ocsp_url && ca->ocsp_token[0] == '\0')
        BAD_PROFILE(r, i, ocsp_url, "names an OCSP address but CA \"%.60s\" has no ocsp_token", p->ca);
}

static void check_profile_use(struct conf_reading *r, size_t i)
{
    const unsigned ca_bits = USAGE_KEY_CERT_SIGN | USAGE_CRL_SIGN;
    const struct conf_profile *p = &r->conf->profiles[i];
    const char *kind = profile_kind_name(p->kind);
    const struct kind_rule *rule = &kind_rules[p->kind];

    if (is_ca_kind(p->kind) && (p->key_usage & ca_bits) != ca_bits)
        BAD_PROFILE(r, i, key_usage, "kind %s needs keyCertSign and cRLSign (RFC 5280 4.2.1.3)", kind);
    if (!is_ca_kind(p->kind) && (p->key_usage & ca_bits) != 0)
        BAD_PROFILE(r, i, key_usage, "keyCertSign and cRLSign are for CAs, not for kind %s", kind);
    if (!is_ca_kind(p->kind) && (p->key_usage & USAGE_DIGITAL_SIGNATURE) == 0)
        BAD_PROFILE(r, i, key_usage, "kind %s needs digitalSignature", kind);
    if ((p->eku & ~rule->eku_allowed) != 0)
        BAD_PROFILE(r, i, eku, "names a use that kind %s must not have", kind);
    if (p->eku == 0 && rule->eku != 0 && r->conf->records_token[0] != '\0') /* ca/record_check.c tells them apart by it */
        BAD_PROFILE(r, i, eku, "is empty: with records kind %s needs a use, or its certificates would pass for the record key's", kind);
    if ((p->kind == PROFILE_TLS_SERVER || p->kind == PROFILE_OCSP_SIGNER || p->kind == PROFILE_FEED_SIGNER) && (p->eku & rule->eku) == 0)
        BAD_PROFILE(r, i, eku, "kind %s needs %s", kind,
                    p->kind == PROFILE_TLS_SERVER ? "serverAuth" : p->kind == PROFILE_OCSP_SIGNER ? "OCSPSigning" : "documentSigning");
    if (p->key_algs == 0)
        BAD_PROFILE(r, i, key_algs, "names no key algorithm");
    if (!is_ca_kind(p->kind) && PROFILE_SET(r, i, path_len))
        BAD_PROFILE(r, i, path_len, "is for CAs, not for kind %s", kind);
    if (p->no_expiry && (p->kind == PROFILE_TLS_SERVER || p->kind == PROFILE_OCSP_SIGNER || p->kind == PROFILE_STATION ||
                         p->kind == PROFILE_RECORD_SIGNER || p->kind == PROFILE_OPERATOR || p->kind == PROFILE_GATEWAY || p->kind == PROFILE_FEED_SIGNER))
        BAD_PROFILE(r, i, validity_s, "kind %s must have an end", kind);
}

static void check_profile_names(struct conf_reading *r, size_t i)
{
    const struct conf_profile *p = &r->conf->profiles[i];
    char why[160];

    if (is_ca_kind(p->kind)) {
        if (p->subject[0] != '\0' || p->san.n > 0)
            BAD_PROFILE(r, i, subject, "subject and san do not belong in a profile of kind %s: the CA has its own subject",
                        profile_kind_name(p->kind));
        return;
    }
    if (!name_is_valid(p->subject, why) || !braces_are_known(p->subject, why))
        BAD_PROFILE(r, i, subject, "%s", why);
    for (size_t j = 0; j < p->san.n; j++)
        if (!san_is_valid(p->san.v[j], why))
            conf_mistake(r, LIST_PROFILES, i, offsetof(struct conf_profile, san), (int)j, "%s", why);
    if (p->kind == PROFILE_IDEVID && strstr(p->subject, "serialNumber=") == NULL)
        BAD_PROFILE(r, i, subject, "an IDevID's subject needs serialNumber (IEEE 802.1AR)");
}

static void check_profile_keygen(struct conf_reading *r, size_t i)
{
    const struct conf_profile *p = &r->conf->profiles[i];
    const struct conf_token *t = conf_find_token(r->conf, p->keygen_token);

    if (p->keygen == KEYGEN_OFF) {
        if (p->keygen_token[0] || p->keygen_clear)
            BAD_PROFILE(r, i, keygen, "is off: keygen_clear and keygen_token have no meaning");
        return;
    }
    if (p->kind != PROFILE_IDEVID && p->kind != PROFILE_LDEVID)
        BAD_PROFILE(r, i, keygen, "is for idevid and ldevid, not for kind %s", profile_kind_name(p->kind));
    if (!p->keygen_clear && r->conf->records_token[0] == '\0')
        BAD_PROFILE(r, i, keygen, "without keygen_clear it needs records: encrypted keys travel signed by the record key");
    if (!(p->key_algs & KEY_BIT(p->keygen_key)))
        BAD_PROFILE(r, i, keygen_key, "%s is not one of key_algs", key_alg_name(p->keygen_key));
    if (p->keygen == KEYGEN_SERVICE && p->keygen_token[0])
        BAD_PROFILE(r, i, keygen_token, "belongs to keygen: token");
    if (p->keygen == KEYGEN_TOKEN && !t)
        BAD_PROFILE(r, i, keygen_token, "there is no token \"%.80s\"", p->keygen_token);
    if (p->keygen == KEYGEN_TOKEN && t && t->offline)
        BAD_PROFILE(r, i, keygen_token, "token \"%.80s\" is offline", p->keygen_token);
}

static void check_profile(struct conf_reading *r, size_t i)
{
    if (!kind_is_known(&r->conf->profiles[i]))
        return;
    check_profile_ca(r, i);
    check_profile_use(r, i);
    check_profile_names(r, i);
    check_profile_keygen(r, i);
}

/* ---- CAs ---- */

static void derive_ca(struct conf_reading *r, size_t i)
{
    struct conf_ca *ca = &r->conf->cas[i];
    const struct conf_token *t = conf_find_token(r->conf, ca->token);

    if (!conf_is_set(r, LIST_CAS, i, offsetof(struct conf_ca, crl_validity_s)))
        ca->crl_validity_s = (t && t->offline ? 180 : 7) * DAY;
}

static bool issuer_is_cyclic(const struct conf *c, const struct conf_ca *start)
{
    const struct conf_ca *ca = start;

    for (size_t i = 0; i <= c->cas_n; i++) {
        if (ca->issuer[0] == '\0' || conf_ca_is_external(ca))
            return false;
        ca = conf_find_ca(c, ca->issuer);
        if (!ca)
            return false;
    }
    return true;
}

static void check_ca_issuer(struct conf_reading *r, size_t i)
{
    const struct conf *c = r->conf;
    const struct conf_ca *ca = &c->cas[i];
    const struct conf_ca *issuer = conf_find_ca(c, ca->issuer);
    const struct conf_profile *p = conf_find_profile(c, ca->profile);
    const struct conf_profile *above;

    if (ca->issuer[0] != '\0' && !issuer && !conf_ca_is_external(ca))
        BAD_CA(r, i, issuer, "there is no CA \"%.80s\"", ca->issuer);
    else if (issuer_is_cyclic(c, ca))
        BAD_CA(r, i, issuer, "the issuers go round in a circle and never reach a root");
    if (ca->profile[0] != '\0' && !p)
        BAD_CA(r, i, profile, "there is no profile \"%.80s\"", ca->profile);
    if (!p || !kind_is_known(p))
        return;
    if (p->kind != (ca->issuer[0] ? PROFILE_ISSUING_CA : PROFILE_ROOT_CA))
        BAD_CA(r, i, profile, "\"%.60s\" is of kind %s; a CA %s needs %s", ca->profile, profile_kind_name(p->kind),
               ca->issuer[0] ? "with an issuer" : "without an issuer", ca->issuer[0] ? "issuing-ca" : "root-ca");
    if (ca->key != KEY_NONE && (unsigned)ca->key < KEY_ALGS && p->key_algs && !(p->key_algs & KEY_BIT(ca->key)))
        BAD_CA(r, i, key, "profile \"%.60s\" does not certify %s keys", ca->profile, key_alg_name(ca->key));
    if (!issuer)
        return;
    above = conf_find_profile(c, issuer->profile);
    if (p->no_expiry && !chain_has_no_expiry(c, issuer))
        BAD_CA(r, i, profile, "\"%.60s\" has no expiry, but issuer \"%.60s\" or one above it has an end", ca->profile, ca->issuer);
    if (above && above->kind == PROFILE_ISSUING_CA && above->path_len == 0)
        BAD_CA(r, i, issuer, "CA \"%.60s\" has path_len 0 and cannot issue CAs", ca->issuer);
    if (p->ocsp_url && issuer->ocsp_token[0] == '\0')
        BAD_CA(r, i, profile, "\"%.60s\" names an OCSP address but issuer \"%.60s\" has no ocsp_token", ca->profile, ca->issuer);
}

static bool holds_ca_key(const struct conf *c, const char *token)
{
    for (size_t i = 0; i < c->cas_n; i++)
        if (strcmp(c->cas[i].token, token) == 0)
            return true;
    return false;
}

static void check_ca_ocsp(struct conf_reading *r, size_t i)
{
    const struct conf *c = r->conf;
    const struct conf_ca *ca = &c->cas[i];
    const struct conf_token *t = conf_find_token(c, ca->ocsp_token);
    const struct conf_profile *p = conf_find_profile(c, ca->ocsp_profile);

    if (ca->ocsp_token[0] == '\0') {
        if (ca->ocsp_profile[0] != '\0')
            BAD_CA(r, i, ocsp_profile, "needs ocsp_token");
        return;
    }
    if (!t)
        BAD_CA(r, i, ocsp_token, "there is no token \"%.80s\"", ca->ocsp_token);
    else if (t->offline)
        BAD_CA(r, i, ocsp_token, "token \"%.80s\" is offline; OCSP answers are signed all the time", ca->ocsp_token);
    /* The status process talks to this token's signer: it must not be one that can sign certificates. */
    if (holds_ca_key(c, ca->ocsp_token) || strcmp(ca->ocsp_token, c->audit_token) == 0 ||
        strcmp(ca->ocsp_token, c->records_token) == 0)
        BAD_CA(r, i, ocsp_token, "token \"%.80s\" holds a CA's key, the audit key or the record key; OCSP keys have a token of their own",
               ca->ocsp_token);
    if (ca->ocsp_profile[0] == '\0') {
        BAD_CA(r, i, ocsp_profile, "is missing: ocsp_token needs it");
    } else if (!p) {
        BAD_CA(r, i, ocsp_profile, "there is no profile \"%.80s\"", ca->ocsp_profile);
    } else if (kind_is_known(p)) {
        if (p->kind != PROFILE_OCSP_SIGNER)
            BAD_CA(r, i, ocsp_profile, "\"%.60s\" is of kind %s, not ocsp-signer", ca->ocsp_profile, profile_kind_name(p->kind));
        else if (strcmp(p->ca, ca->name) != 0)
            BAD_CA(r, i, ocsp_profile, "\"%.60s\" issues from CA \"%.60s\"; a delegated responder is certified by the CA itself (RFC 6960 4.2.2.2)",
                   ca->ocsp_profile, p->ca);
        if ((unsigned)ca->ocsp_key < KEY_ALGS && p->key_algs && !(p->key_algs & KEY_BIT(ca->ocsp_key)))
            BAD_CA(r, i, ocsp_key, "profile \"%.60s\" does not certify %s keys", ca->ocsp_profile, key_alg_name(ca->ocsp_key));
    }
}

static void check_ca(struct conf_reading *r, size_t i)
{
    const struct conf_ca *ca = &r->conf->cas[i];
    const struct conf_token *t = conf_find_token(r->conf, ca->token);
    char why[160];

    if (strcmp(ca->name, ISSUER_EXTERNAL) == 0)
        BAD_CA(r, i, name, "\"%s\" stands for an issuer elsewhere and is no CA's name", ISSUER_EXTERNAL);
    if (conf_ca_is_external(ca) && t && t->offline)
        BAD_CA(r, i, token, "token \"%.80s\" is offline; a CA with an external issuer signs by itself", ca->token);
    if (ca->token[0] != '\0' && !t)
        BAD_CA(r, i, token, "there is no token \"%.80s\"", ca->token);
    if (ca->subject[0] != '\0' && !name_is_valid(ca->subject, why))
        BAD_CA(r, i, subject, "%s", why);
    else if (strpbrk(ca->subject, "{}"))
        BAD_CA(r, i, subject, "a CA's subject is not a template");
    check_ca_issuer(r, i);
    check_ca_ocsp(r, i);
}

/* ---- anchors and labels ---- */

static bool strings_hold(const struct conf_strings *s, const char *text)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->v[i], text) == 0)
            return true;
    return false;
}

static void check_anchor(struct conf_reading *r, size_t i)
{
    const struct conf *c = r->conf;
    const struct conf_anchor *a = &c->anchors[i];

    if (a->file[0] == '\0' && a->ca[0] == '\0')
        BAD_ANCHOR(r, i, file, "is missing (or ca)");
    if (a->file[0] != '\0' && a->ca[0] != '\0')
        BAD_ANCHOR(r, i, ca, "stands beside file: one of the two");
    if (a->ca[0] != '\0' && !conf_find_ca(c, a->ca))
        BAD_ANCHOR(r, i, ca, "there is no CA \"%.80s\"", a->ca);
    if (a->domains.n == 0 && conf_is_set(r, LIST_ANCHORS, i, offsetof(struct conf_anchor, domains)))
        BAD_ANCHOR(r, i, domains, "names no domain");
    for (size_t j = 0; j < a->domains.n; j++)
        if (!conf_find_domain(c, a->domains.v[j]))
            conf_mistake(r, LIST_ANCHORS, i, offsetof(struct conf_anchor, domains), (int)j, "there is no domain \"%.80s\"",
                         a->domains.v[j]);
    for (size_t j = 0; j < a->products.n; j++)
        if (!id_is_valid(a->products.v[j]))
            conf_mistake(r, LIST_ANCHORS, i, offsetof(struct conf_anchor, products), (int)j, "\"%.80s\" is not a name",
                         a->products.v[j]);
}

static void check_label_name(struct conf_reading *r, size_t i)
{
    static const char *const operations[] = {"cacerts",        "csrattrs",     "simpleenroll",
                                             "simplereenroll", "serverkeygen", "fullcmc"};
    const char *name = r->conf->labels[i].name;

    if (strlen(name) > EST_LABEL_MAX)
        BAD_LABEL(r, i, name, "is longer than %d octets", EST_LABEL_MAX);
    /* Unreserved characters (RFC 3986 2.3), and no path of dots. */
    if (name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")] != '\0' || name[0] == '.')
        BAD_LABEL(r, i, name, "\"%.80s\" may hold A-Z a-z 0-9 - . _ ~ only and not start with a dot", name);
    for (size_t j = 0; j < ARRAY_LEN(operations); j++)
        if (strcmp(name, operations[j]) == 0)
            BAD_LABEL(r, i, name, "\"%s\" is an EST operation (RFC 7030 3.2.2)", name);
}

/* What is issued on request cannot wait for an offline token. */
static bool ca_is_offline(const struct conf *c, const char *ca_name)
{
    const struct conf_ca *ca = conf_find_ca(c, ca_name);
    const struct conf_token *t = ca ? conf_find_token(c, ca->token) : NULL;

    return t && t->offline;
}

/* One subject never names two units under one CA (RFC 5280 4.1.2.6): device ids are unique in their domain only. */
static void check_label_subjects(struct conf_reading *r, size_t i)
{
    const struct conf *c = r->conf;
    const struct conf_profile *p = conf_find_profile(c, c->labels[i].profile);

    if (!p || strstr(p->subject, "{domain}"))
        return;
    for (size_t j = 0; j < i; j++) {
        const struct conf_profile *q = conf_find_profile(c, c->labels[j].profile);

        if (!q || strcmp(c->labels[i].domain, c->labels[j].domain) == 0 || strcmp(p->ca, q->ca) != 0 ||
            strcmp(p->subject, q->subject) != 0)
            continue;
        BAD_LABEL(r, i, profile,
                  "\"%.60s\" writes the same subject as labels[%zu] for another domain: put {domain} into it (RFC 5280 4.1.2.6)",
                  p->name, j);
        return;
    }
}

static void check_label(struct conf_reading *r, size_t i)
{
    const struct conf *c = r->conf;
    const struct conf_label *l = &c->labels[i];
    const struct conf_profile *p = conf_find_profile(c, l->profile);

    check_label_name(r, i);
    check_label_subjects(r, i);
    if (l->domain[0] != '\0' && !conf_find_domain(c, l->domain))
        BAD_LABEL(r, i, domain, "there is no domain \"%.80s\"", l->domain);
    if (l->profile[0] != '\0' && !p)
        BAD_LABEL(r, i, profile, "there is no profile \"%.80s\"", l->profile);
    if (p && kind_is_known(p) && p->kind != PROFILE_LDEVID && p->kind != PROFILE_STATION && p->kind != PROFILE_IDEVID)
        BAD_LABEL(r, i, profile, "\"%.60s\" is of kind %s, not ldevid, station or idevid", l->profile, profile_kind_name(p->kind));
    if (p && ca_is_offline(c, p->ca))
        BAD_LABEL(r, i, profile, "\"%.60s\" issues from CA \"%.60s\", whose token is offline", l->profile, p->ca);
    if (l->auth_key && p && !p->pop_required)
        BAD_LABEL(r, i, auth_key, "needs a profile with pop_required: a request that is not bound to its connection can be played back");
    if (!l->auth_cert && !l->auth_password && !l->auth_key)
        BAD_LABEL(r, i, auth_cert, "neither a certificate nor a password opens this label");
    for (size_t j = 0; j < l->anchors.n; j++) {
        const struct conf_anchor *a = conf_find_anchor(c, l->anchors.v[j]);

        if (!a)
            conf_mistake(r, LIST_LABELS, i, offsetof(struct conf_label, anchors), (int)j, "there is no anchor \"%.80s\"",
                         l->anchors.v[j]);
        else if (!strings_hold(&a->domains, l->domain))
            conf_mistake(r, LIST_LABELS, i, offsetof(struct conf_label, anchors), (int)j,
                         "anchor \"%.60s\" is not bound to domain \"%.60s\"", a->name, l->domain);
    }
}

static void check_order_signer(struct conf_reading *r, size_t i)
{
    const struct conf_order_signer *s = &r->conf->order_signers[i];

    if (s->domains.n == 0 && conf_is_set(r, LIST_ORDER_SIGNERS, i, offsetof(struct conf_order_signer, domains)))
        conf_mistake(r, LIST_ORDER_SIGNERS, i, offsetof(struct conf_order_signer, domains), -1, "names no domain");
    for (size_t j = 0; j < s->domains.n; j++)
        if (!conf_find_domain(r->conf, s->domains.v[j]))
            conf_mistake(r, LIST_ORDER_SIGNERS, i, offsetof(struct conf_order_signer, domains), (int)j,
                         "there is no domain \"%.80s\"", s->domains.v[j]);
}

/* ---- the whole ---- */

static void check_server(struct conf_reading *r)
{
    const struct conf *c = r->conf;
    const struct conf_profile *p = conf_find_profile(c, c->server_profile);

    check_server_names(r);
    if (c->server_profile[0] == '\0') {
        if (c->listen_est.n > 0)
            BAD_TOP(r, server_profile, "is missing: listen.est needs a server certificate");
        return;
    }
    if (!p)
        BAD_TOP(r, server_profile, "there is no profile \"%.80s\"", c->server_profile);
    else if (kind_is_known(p) && p->kind != PROFILE_TLS_SERVER)
        BAD_TOP(r, server_profile, "\"%.60s\" is of kind %s, not tls-server", c->server_profile, profile_kind_name(p->kind));
    else if (ca_is_offline(c, p->ca))
        BAD_TOP(r, server_profile, "\"%.60s\" issues from CA \"%.60s\", whose token is offline", c->server_profile, p->ca);
}

static void check_audit(struct conf_reading *r)
{
    const struct conf *c = r->conf;
    const struct conf_token *t = conf_find_token(c, c->audit_token);

    if (c->audit_token[0] == '\0')
        return;
    if (!t)
        BAD_TOP(r, audit_token, "there is no token \"%.80s\"", c->audit_token);
    else if (t->offline)
        BAD_TOP(r, audit_token, "token \"%.80s\" is offline; audit heads are signed all the time", c->audit_token);
}

static void check_records(struct conf_reading *r)
{
    const struct conf *c = r->conf;
    const struct conf_token *t = conf_find_token(c, c->records_token);
    const struct conf_profile *p = conf_find_profile(c, c->records_profile);

    if (c->records_token[0] == '\0') {
        if (c->records_profile[0] != '\0')
            BAD_TOP(r, records_profile, "needs records.token");
        return;
    }
    if (!t)
        BAD_TOP(r, records_token, "there is no token \"%.80s\"", c->records_token);
    else if (t->offline)
        BAD_TOP(r, records_token, "token \"%.80s\" is offline; records are signed all the time", c->records_token);
    if ((unsigned)c->records_key >= KEY_ALGS || !(JWS_KEY_ALGS & KEY_BIT(c->records_key)))
        BAD_TOP(r, records_key, "must be p256, p384 or ed25519");
    if (c->records_profile[0] == '\0') {
        BAD_TOP(r, records_profile, "is missing: records.token needs it");
    } else if (!p) {
        BAD_TOP(r, records_profile, "there is no profile \"%.80s\"", c->records_profile);
    } else if (kind_is_known(p)) {
        if (p->kind != PROFILE_RECORD_SIGNER)
            BAD_TOP(r, records_profile, "\"%.60s\" is of kind %s, not record-signer", c->records_profile,
                    profile_kind_name(p->kind));
        else if (ca_is_offline(c, p->ca))
            BAD_TOP(r, records_profile, "\"%.60s\" issues from CA \"%.60s\", whose token is offline: nobody would renew it",
                    c->records_profile, p->ca);
        if ((unsigned)c->records_key < KEY_ALGS && p->key_algs && !(p->key_algs & KEY_BIT(c->records_key)))
            BAD_TOP(r, records_key, "profile \"%.60s\" does not certify %s keys", c->records_profile,
                    key_alg_name(c->records_key));
    }
}

/* What operators sign with is a key that JWS knows. */
static void check_people(struct conf_reading *r)
{
    const struct conf *c = r->conf;
    const struct conf_profile *p = conf_find_profile(c, c->people_profile);

    if (c->people_profile[0] == '\0') {
        if (c->listen_admin.n > 0)
            BAD_TOP(r, people_profile, "is missing: listen.admin is for operators with certificates");
    } else if (!p) {
        BAD_TOP(r, people_profile, "there is no profile \"%.80s\"", c->people_profile);
    } else if (kind_is_known(p)) {
        if (p->kind != PROFILE_OPERATOR)
            BAD_TOP(r, people_profile, "\"%.60s\" is of kind %s, not operator", c->people_profile, profile_kind_name(p->kind));
        if (p->key_algs & ~JWS_KEY_ALGS)
            BAD_TOP(r, people_profile, "\"%.60s\" allows key algorithms that cannot sign requests: only p256, p384 and ed25519 can", c->people_profile);
    }
    if (c->listen_admin.n > 0 && c->server_profile[0] == '\0')
        BAD_TOP(r, server_profile, "is missing: listen.admin needs a server certificate");
}

static bool answers_ocsp(const struct conf *c, const char *token)
{
    for (size_t i = 0; i < c->cas_n; i++)
        if (strcmp(c->cas[i].ocsp_token, token) == 0)
            return true;
    return false;
}

/* The status process signs it: with a token whose signer it talks to anyway. */
static void check_feed(struct conf_reading *r)
{
    const struct conf *c = r->conf;
    const struct conf_profile *p = conf_find_profile(c, c->feed_profile);

    if (c->feed_token[0] == '\0') {
        if (c->feed_profile[0] != '\0')
            BAD_TOP(r, feed_profile, "needs feed.token");
        return;
    }
    if (!c->decisions)
        BAD_TOP(r, feed_token, "needs decisions.enabled");
    if (!answers_ocsp(c, c->feed_token))
        BAD_TOP(r, feed_token, "token \"%.80s\" is no CA's ocsp_token", c->feed_token);
    if ((unsigned)c->feed_key >= KEY_ALGS || !(JWS_KEY_ALGS & KEY_BIT(c->feed_key)))
        BAD_TOP(r, feed_key, "must be p256, p384 or ed25519");
    if (c->feed_profile[0] == '\0') {
        BAD_TOP(r, feed_profile, "is missing: feed.token needs it");
    } else if (!p) {
        BAD_TOP(r, feed_profile, "there is no profile \"%.80s\"", c->feed_profile);
    } else if (kind_is_known(p)) {
        if (p->kind != PROFILE_FEED_SIGNER)
            BAD_TOP(r, feed_profile, "\"%.60s\" is of kind %s, not feed-signer", c->feed_profile, profile_kind_name(p->kind));
        else if (ca_is_offline(c, p->ca))
            BAD_TOP(r, feed_profile, "\"%.60s\" issues from CA \"%.60s\", whose token is offline: nobody would renew it", c->feed_profile, p->ca);
        if ((unsigned)c->feed_key < KEY_ALGS && p->key_algs && !(p->key_algs & KEY_BIT(c->feed_key)))
            BAD_TOP(r, feed_key, "profile \"%.60s\" does not certify %s keys", c->feed_profile, key_alg_name(c->feed_key));
    }
}

static void check_audience(struct conf_reading *r, size_t i)
{
    const struct conf_audience *a = &r->conf->audiences[i];

    if (a->scopes == 0)
        BAD_AUDIENCE(r, i, scopes, "admits no scope");
    if (a->stale_hard_s < a->stale_soft_s)
        BAD_AUDIENCE(r, i, stale_hard_s, "ends before stale_soft");
    for (size_t j = 0; j < a->domains.n; j++)
        if (!conf_find_domain(r->conf, a->domains.v[j]))
            conf_mistake(r, LIST_AUDIENCES, i, offsetof(struct conf_audience, domains), (int)j, "there is no domain \"%.80s\"",
                         a->domains.v[j]);
}

static bool begins(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

/* "udp:HOST:PORT"; an IPv6 address stands in brackets. */
static bool is_host_and_port(const char *s)
{
    const char *host = s + 4, *colon = strrchr(host, ':');
    long port = colon && colon > host ? strtol(colon + 1, NULL, 10) : 0;

    return port > 0 && port < 65536 && colon[1 + strspn(colon + 1, "0123456789")] == '\0' &&
           (*host == '[' ? colon[-1] == ']' : !memchr(host, ':', (size_t)(colon - host)));
}

static void check_notify(struct conf_reading *r, size_t i)
{
    const struct conf_notify *n = &r->conf->notify[i];
    bool webhook = begins(n->to, "https://");

    if (!id_is_valid(n->name))
        BAD_NOTIFY(r, i, name, "\"%.80s\" is not a name", n->name);
    for (size_t j = 0; j < i; j++)
        if (strcmp(r->conf->notify[j].name, n->name) == 0)
            BAD_NOTIFY(r, i, name, "\"%.80s\" is there already", n->name);
    if (n->send == 0)
        BAD_NOTIFY(r, i, send, "is told nothing");
    if (!webhook && !(begins(n->to, "unix:/") || begins(n->to, "file:/")) &&
        !((begins(n->to, "udp:") || begins(n->to, "tcp:")) && is_host_and_port(n->to)))
        BAD_NOTIFY(r, i, to, "must be https://..., unix:/PATH, udp:HOST:PORT, tcp:HOST:PORT or file:/PATH");
    if (webhook && n->ca[0] == '\0')
        BAD_NOTIFY(r, i, ca, "is missing: whom the server's certificate must come from");
    if (webhook && n->secret[0] == '\0')
        BAD_NOTIFY(r, i, secret, "is missing: what is sent to a webhook is signed");
    if (!webhook && (n->secret[0] || n->ca[0]))
        BAD_NOTIFY(r, i, to, "secret and ca are for https:// alone");
}

static void check_box(struct conf_reading *r)
{
    const struct conf *c = r->conf;

    if (c->box_name[0] != '\0' && (!id_is_valid(c->box_name) || strlen(c->box_name) > ORDER_NO_MAX))
        BAD_TOP(r, box_name, "\"%.80s\" is not a name of at most %d characters", c->box_name, ORDER_NO_MAX);
    if ((c->box_name[0] == '\0') != (c->box_centre_key[0] == '\0'))
        BAD_TOP(r, box_centre_key, "%s", c->box_name[0] ? "is missing: budgets are checked with it" : "needs box.name");
}

static bool path_is_below(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    return n > 0 && strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* The core owns dir_state: what root or another user makes must not lie where the core could put a link in its way. */
static void check_directories(struct conf_reading *r)
{
    const struct conf *c = r->conf;

    if (path_is_below(c->dir_marks, c->dir_state))
        BAD_TOP(r, dir_marks, "must not be below directories.state: the marks are to survive the loss of the ledger");
    if (path_is_below(c->dir_run, c->dir_state))
        BAD_TOP(r, dir_run, "must not be below directories.state, which belongs to the core");
    if (path_is_below(c->log_file, c->dir_state))
        BAD_TOP(r, log_file, "must not be below directories.state, which belongs to the core");
}

static void derive_top(struct conf_reading *r)
{
    struct conf *c = r->conf;
    char text[PATH_MAX + 32], host[256];

    if (c->secret_key_file[0] == '\0') {
        snprintf(text, sizeof(text), "%s/enroll-secret.key", c->dir_state);
        if (!conf_set_text(&c->secret_key_file, text))
            r->nomem = true;
    }
    if (c->listen_decision[0] == '\0') {
        snprintf(text, sizeof(text), "%s/decision.sock", c->dir_run);
        if (!conf_set_text(&c->listen_decision, text))
            r->nomem = true;
    }
    if (c->server_names.n == 0 && split_public_url(c->public_url, host, sizeof(host)) && host_kind(host) != HOST_BAD) {
        snprintf(text, sizeof(text), "%s%s", host_kind(host) == HOST_ADDRESS ? "ip:" : "dns:", host);
        c->server_names.v = calloc(1, sizeof(char *));
        if (!c->server_names.v || !(c->server_names.v[0] = strdup(text)))
            r->nomem = true;
        else
            c->server_names.n = 1;
    }
}

void conf_derive(struct conf_reading *r)
{
    derive_top(r);
    for (size_t i = 0; i < r->conf->tokens_n; i++)
        derive_token(r, i);
    for (size_t i = 0; i < r->conf->profiles_n; i++)
        derive_profile(r, i);
    for (size_t i = 0; i < r->conf->cas_n; i++)
        derive_ca(r, i);
}

void conf_check(struct conf_reading *r)
{
    check_public_url(r);
    check_listen(r);
    check_users(r);
    check_server(r);
    check_audit(r);
    check_records(r);
    check_people(r);
    check_feed(r);
    check_box(r);
    check_directories(r);
    for (int list = LIST_TOP + 1; list < CONF_LISTS; list++)
        check_names(r, (enum conf_list_id)list);
    for (size_t i = 0; i < r->conf->tokens_n; i++)
        check_token(r, i);
    for (size_t i = 0; i < r->conf->cas_n; i++)
        check_ca(r, i);
    for (size_t i = 0; i < r->conf->profiles_n; i++)
        check_profile(r, i);
    for (size_t i = 0; i < r->conf->anchors_n; i++)
        check_anchor(r, i);
    for (size_t i = 0; i < r->conf->labels_n; i++)
        check_label(r, i);
    for (size_t i = 0; i < r->conf->order_signers_n; i++)
        check_order_signer(r, i);
    for (size_t i = 0; i < r->conf->audiences_n; i++)
        check_audience(r, i);
    for (size_t i = 0; i < r->conf->notify_n; i++)
        check_notify(r, i);
}
