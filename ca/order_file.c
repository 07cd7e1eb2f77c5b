/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/order_file.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "ca/key_package.h"

AUTO_TYPE(EVP_PKEY, EVP_PKEY_free)
AUTO_TYPE(json_t, json_decref)

#define SIGNER_FILE_MAX (64 * 1024)
#define TEXT_MAX        64 /* octets of a firmware release */

static const char *const key_modes[ORDER_KEY_MODES] = {
    [ORDER_KEY_DEVICE] = "device",
    [ORDER_KEY_SERVER] = "server",
    [ORDER_KEY_SERVER_ENCRYPTED] = "server-encrypted",
};
static const char *const targets[] = {"native", "aws-bulk", "aws-jitr", "azure-dps", "microchip", "csv"};

const char *order_key_mode_name(enum order_key_mode m)
{
    return (unsigned)m < ORDER_KEY_MODES ? key_modes[m] : "unknown";
}

bool order_target_is_known(struct bytes name)
{
    for (size_t i = 0; i < ARRAY_LEN(targets); i++)
        if (bytes_equal(name, bytes_str(targets[i])))
            return true;
    return false;
}

/* ---- values ---- */

static enum err_code bad(struct err *e, const char *member, const char *rule)
{
    return err_set(e, E_INVALID, "order file: \"%s\" %s", member, rule);
}

/* Text of at most `max` octets without control characters. */
static bool is_plain(const json_t *v, size_t max)
{
    const char *s = json_string_value(v);
    size_t n = json_string_length(v);

    if (!s || n == 0 || n > max || strlen(s) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return false;
    return true;
}

static bool is_id(const json_t *v)
{
    const char *s = json_string_value(v);

    return s && json_string_length(v) == strlen(s) && id_is_valid(s);
}

static bool order_no_is_valid(const char *s)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    static const char *const operations[] = {"cacerts", "csrattrs", "simpleenroll", "simplereenroll", "serverkeygen", "fullcmc"};
    size_t n = strlen(s);

    if (n == 0 || n > ORDER_NO_MAX || strspn(s, letters) != n || strchr("._-", s[0]))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(operations); i++)
        if (strcmp(s, operations[i]) == 0)
            return false;
    return true;
}

static bool two_digits(const char *s, int *out)
{
    if (s[0] < '0' || s[0] > '9' || s[1] < '0' || s[1] > '9')
        return false;
    *out = (s[0] - '0') * 10 + (s[1] - '0');
    return true;
}

bool time_from_text(const char *s, int64_t *out)
{
    struct tm tm = {0}, again;
    int century, year;
    time_t t;

    if (strlen(s) != 20 || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' || s[19] != 'Z' ||
        !two_digits(s, &century) || !two_digits(s + 2, &year) || !two_digits(s + 5, &tm.tm_mon) ||
        !two_digits(s + 8, &tm.tm_mday) || !two_digits(s + 11, &tm.tm_hour) || !two_digits(s + 14, &tm.tm_min) ||
        !two_digits(s + 17, &tm.tm_sec))
        return false;
    tm.tm_year = century * 100 + year - 1900;
    tm.tm_mon -= 1;
    again = tm;
    t = timegm(&again); /* rewrites what was no date */
    if (again.tm_mon != tm.tm_mon || again.tm_mday != tm.tm_mday || again.tm_hour != tm.tm_hour || again.tm_min != tm.tm_min ||
        again.tm_sec != tm.tm_sec || tm.tm_year < 70)
        return false;
    *out = (int64_t)t;
    return true;
}

/* ---- members ---- */

struct member {
    const char *name;
    bool required;
    enum err_code (*read)(const struct member *m, const json_t *v, struct order_spec *o, struct err *e);
    size_t offset;
    int64_t min, max;
};

static void *field(const struct member *m, struct order_spec *o)
{
    return (uint8_t *)o + m->offset;
}

static enum err_code read_order_no(const struct member *m, const json_t *v, struct order_spec *o, struct err *e)
{
    if (!json_is_string(v) || json_string_length(v) != strlen(json_string_value(v)) || !order_no_is_valid(json_string_value(v)))
        return bad(e, m->name, "must be [A-Za-z0-9][A-Za-z0-9._-]{0,47} and no EST operation: it is part of an address");
    snprintf(o->order_no, sizeof(o->order_no), "%s", json_string_value(v));
    return E_OK;
}

static enum err_code read_id(const struct member *m, const json_t *v, struct order_spec *o, struct err *e)
{
    if (!is_id(v))
        return bad(e, m->name, "must be a name: 1 to 64 of A-Z a-z 0-9 . _ : -, not starting with . or -");
    snprintf(field(m, o), ID_MAX_LEN + 1, "%s", json_string_value(v));
    return E_OK;
}

static enum err_code read_number(const struct member *m, const json_t *v, struct order_spec *o, struct err *e)
{
    int64_t n = json_integer_value(v);

    if (!json_is_integer(v) || n < m->min || n > m->max)
        return err_set(e, E_INVALID, "order file: \"%s\" must be a number from %lld to %lld", m->name, (long long)m->min,
                       (long long)m->max);
    *(int64_t *)field(m, o) = n; /* the field's type has this size and the value is not negative */
    return E_OK;
}

static enum err_code read_time(const struct member *m, const json_t *v, struct order_spec *o, struct err *e)
{
    if (!json_is_string(v) || !time_from_text(json_string_value(v), field(m, o)))
        return bad(e, m->name, "must be a time in UTC as 2026-11-22T06:00:00Z (RFC 3339)");
    return E_OK;
}

static enum err_code read_key_mode(const struct member *m, const json_t *v, struct order_spec *o, struct err *e)
{
    for (int i = 0; json_is_string(v) && i < ORDER_KEY_MODES; i++)
        if (strcmp(json_string_value(v), key_modes[i]) == 0) {
            o->key_mode = (enum order_key_mode)i;
            return E_OK;
        }
    return bad(e, m->name, "must be device, server or server-encrypted");
}

static enum err_code read_evidence(const struct member *m, const json_t *v, struct order_spec *o, struct err *e)
{
    const char *s = json_string_value(v);

    if (!s || (strcmp(s, "none") != 0 && strcmp(s, "required") != 0))
        return bad(e, m->name, "must be none or required");
    o->evidence_required = *s == 'r';
    return E_OK;
}

static enum err_code read_note(const struct member *m, const json_t *v, struct order_spec *o, struct err *e)
{
    if (!is_plain(v, ORDER_NOTE_MAX))
        return bad(e, m->name, "must be a text of 1 to 1024 octets without control characters");
    snprintf(o->note, sizeof(o->note), "%s", json_string_value(v));
    return E_OK;
}

static bool is_target(const json_t *v)
{
    return json_is_string(v) && order_target_is_known(bytes_str(json_string_value(v)));
}

static bool is_release(const json_t *v)
{
    return is_plain(v, TEXT_MAX);
}

/* A list of different texts into a text_list. */
static enum err_code read_texts(const struct member *m, const json_t *v, struct order_spec *o, bool (*good)(const json_t *),
                                const char *rule, struct err *e)
{
    struct text_list *l = field(m, o);
    const json_t *one;
    size_t i;

    if (!json_is_array(v) || json_array_size(v) == 0)
        return bad(e, m->name, "must be a list with at least one text");
    json_array_foreach(v, i, one)
    {
        if (!good(one))
            return err_set(e, E_INVALID, "order file: \"%s\"[%zu] %s", m->name, i, rule);
        if (text_list_has(l, json_string_value(one)))
            return err_set(e, E_INVALID, "order file: \"%s\"[%zu] stands there twice: %.64s", m->name, i, json_string_value(one));
        text_list_add(l, json_string_value(one));
        if (!buf_ok(&l->text))
            return err_set(e, E_INVALID, "order file: \"%s\" is longer than %zu octets", m->name, l->text.max);
    }
    return E_OK;
}

static enum err_code read_stations(const struct member *m, const json_t *v, struct order_spec *o, struct err *e)
{
    return read_texts(m, v, o, is_id, "must be the name of a station, or line:NAME", e);
}

static enum err_code read_firmware(const struct member *m, const json_t *v, struct order_spec *o, struct err *e)
{
    return read_texts(m, v, o, is_release, "must be a text of 1 to 64 octets without control characters", e);
}

static enum err_code read_targets(const struct member *m, const json_t *v, struct order_spec *o, struct err *e)
{
    return read_texts(m, v, o, is_target, "must be one of native, aws-bulk, aws-jitr, azure-dps, microchip, csv", e);
}

static enum err_code read_customer_key(const struct member *m, const json_t *v, struct order_spec *o, struct err *e)
{
    struct recipient r;
    struct err why = {0};
    enum err_code code;

    if (!json_is_string(v) || base64_decode(bytes_str(json_string_value(v)), &o->customer_key, &why) != E_OK || o->customer_key.len == 0)
        return bad(e, m->name, "must be a certificate in DER, in base64");
    recipient_init(&r);
    code = recipient_of(&r, buf_bytes(&o->customer_key), &why);
    recipient_clear(&r);
    if (code == E_NOMEM)
        return err_set(e, code, "%s", why.msg);
    return code == E_OK ? E_OK
                        : bad(e, m->name, "must be one certificate with an RSA key of 2048 to 4096 bits or a P-256 or P-384 key, "
                                          "whose keyUsage, if any, has keyEncipherment (RSA) or keyAgreement (EC)");
}

/* ---- device_ids ---- */

static enum err_code read_range(const json_t *range, struct order_spec *o, struct err *e)
{
    const json_t *prefix = json_object_get(range, "prefix"), *first = json_object_get(range, "first");
    const json_t *digits = json_object_get(range, "digits");
    char id[ID_MAX_LEN + ORDER_DIGITS_MAX + 1];

    if (!json_is_object(range) || json_object_size(range) != 3 || !json_is_string(prefix) || !json_is_integer(first) ||
        !json_is_integer(digits))
        return bad(e, "device_ids.range", "must have prefix (a text), first and digits (numbers) and nothing else");
    if (json_integer_value(digits) < 1 || json_integer_value(digits) > ORDER_DIGITS_MAX)
        return bad(e, "device_ids.range.digits", "must be a number from 1 to 18");
    if (json_integer_value(first) < 0)
        return bad(e, "device_ids.range.first", "must not be negative");
    o->digits = (unsigned)json_integer_value(digits);
    o->first = (uint64_t)json_integer_value(first);
    if (json_string_length(prefix) + o->digits > ID_MAX_LEN || strlen(json_string_value(prefix)) != json_string_length(prefix))
        return bad(e, "device_ids.range.prefix", "and the digits are longer than 64 octets");
    snprintf(o->prefix, sizeof(o->prefix), "%s", json_string_value(prefix));
    snprintf(id, sizeof(id), "%s%0*d", o->prefix, (int)o->digits, 0);
    if (!id_is_valid(id))
        return bad(e, "device_ids.range.prefix", "does not begin a device id: A-Z a-z 0-9 . _ : -, not starting with . or -");
    return E_OK;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum err_code read_list(const json_t *list, struct order_spec *o, struct err *e)
{
    size_t n = json_array_size(list), i;
    const json_t *one;
    const char **sorted;
    enum err_code code = E_OK;

    if (!json_is_array(list) || n == 0 || n > ORDER_UNITS_MAX)
        return bad(e, "device_ids.list", "must be a list of 1 to 1000000 device ids");
    sorted = calloc(n, sizeof(*sorted));
    if (!sorted)
        return err_set(e, E_NOMEM, "order file: list of %zu ids", n);
    json_array_foreach(list, i, one)
    {
        if (!is_id(one)) {
            code = err_set(e, E_INVALID, "order file: \"device_ids.list\"[%zu] is not a device id", i);
            break;
        }
        sorted[i] = json_string_value(one);
        text_list_add(&o->ids, sorted[i]);
    }
    if (code == E_OK && !buf_ok(&o->ids.text))
        code = err_set(e, E_NOMEM, "order file: list of %zu ids", n);
    if (code == E_OK) {
        qsort(sorted, n, sizeof(*sorted), compare_texts);
        for (i = 1; i < n && code == E_OK; i++)
            if (strcmp(sorted[i - 1], sorted[i]) == 0)
                code = err_set(e, E_INVALID, "order file: \"device_ids.list\" has %s twice", sorted[i]);
    }
    free(sorted);
    o->by_list = true;
    return code;
}

static enum err_code read_device_ids(const struct member *m, const json_t *v, struct order_spec *o, struct err *e)
{
    const json_t *range = json_object_get(v, "range"), *list = json_object_get(v, "list");

    if (!json_is_object(v) || json_object_size(v) != 1 || (!range && !list))
        return bad(e, m->name, "must have either range or list, and nothing else");
    return range ? read_range(range, o, e) : read_list(list, o, e);
}

#define AT(m) offsetof(struct order_spec, m)
static const struct member members[] = {
    {"order", true, read_order_no, 0, 0, 0},
    {"domain", true, read_id, AT(domain), 0, 0},
    {"product", true, read_id, AT(product), 0, 0},
    {"model", false, read_id, AT(model), 0, 0},
    {"lot", false, read_id, AT(lot), 0, 0},
    {"line", false, read_id, AT(line), 0, 0},
    {"quantity", true, read_number, AT(quantity), 1, ORDER_UNITS_MAX},
    {"device_ids", true, read_device_ids, 0, 0, 0},
    {"profile", true, read_id, AT(profile), 0, 0},
    {"key_mode", true, read_key_mode, 0, 0, 0},
    {"stations", true, read_stations, AT(stations), 0, 0},
    {"not_before", true, read_time, AT(not_before), 0, 0},
    {"not_after", true, read_time, AT(not_after), 0, 0},
    {"rekeys", true, read_number, AT(rekeys), 0, ORDER_UNITS_MAX},
    {"rework", true, read_number, AT(rework), 0, ORDER_UNITS_MAX},
    {"orphan_after_s", true, read_number, AT(orphan_after_s), ORDER_ORPHAN_MIN_S, ORDER_ORPHAN_MAX_S},
    {"firmware", false, read_firmware, AT(firmware), 0, 0},
    {"evidence", false, read_evidence, 0, 0, 0},
    {"defer", false, read_number, AT(defer), 0, ORDER_UNITS_MAX},
    {"targets", false, read_targets, AT(targets), 0, 0},
    {"customer_key", false, read_customer_key, 0, 0, 0},
    {"note", false, read_note, 0, 0, 0},
};
_Static_assert(sizeof(((struct order_spec *)0)->quantity) == sizeof(int64_t), "read_number");

/* ---- the whole ---- */

/* What concerns more than one member. */
static enum err_code check_together(const struct order_spec *o, struct err *e)
{
    uint64_t end = 1;

    if (o->not_after <= o->not_before)
        return bad(e, "not_after", "must be after \"not_before\"");
    if (o->defer > o->quantity)
        return bad(e, "defer", "must not be above \"quantity\"");
    if (o->by_list && o->ids.n < o->quantity)
        return err_set(e, E_INVALID, "order file: \"device_ids.list\" has %zu ids for a \"quantity\" of %llu", o->ids.n,
                       (unsigned long long)o->quantity);
    for (unsigned i = 0; i < o->digits; i++)
        end *= 10;
    if (!o->by_list && (o->first >= end || o->quantity > end - o->first))
        return err_set(e, E_INVALID, "order file: \"device_ids.range\": %llu ids from %llu on need more than %u digits",
                       (unsigned long long)o->quantity, (unsigned long long)o->first, o->digits);
    return E_OK;
}

enum err_code order_payload_check(const json_t *payload, struct order_spec *out, struct err *e)
{
    const char *name;
    const json_t *value;

    if (!json_is_object(payload))
        return err_set(e, E_INVALID, "order file: the payload is not a JSON object");
    json_object_foreach((json_t *)(uintptr_t)payload, name, value)
    {
        bool known = false;

        for (size_t i = 0; i < ARRAY_LEN(members); i++)
            known |= strcmp(members[i].name, name) == 0;
        if (!known)
            return err_set(e, E_INVALID, "order file: unknown member \"%.64s\"", name);
    }
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        value = json_object_get(payload, members[i].name);
        if (!value && members[i].required)
            return bad(e, members[i].name, "is missing");
        if (value && members[i].read(&members[i], value, out, e) != E_OK)
            return e->code;
    }
    return check_together(out, e);
}

enum err_code order_payload_read(struct bytes json, struct order_spec *out, struct err *e)
{
    AUTO(json_t) *payload = NULL;
    json_error_t why;

    payload = json_loadb((const char *)json.p, json.len, JSON_REJECT_DUPLICATES, &why);
    if (!payload && json_error_code(&why) == json_error_out_of_memory)
        return err_set(e, E_NOMEM, "order file: payload");
    if (!payload)
        return err_set(e, E_INVALID, "order file: payload: line %d: %s", why.line, why.text);
    return order_payload_check(payload, out, e);
}

/* What a signed payload asks for. */
static enum err_code read_spec(const struct jws *j, struct bytes file, struct order_spec *out, struct err *e)
{
    AUTO_BUF payload = BUF_INIT(ORDER_PAYLOAD_MAX);

    if (jws_payload(j, &payload, e) != E_OK)
        return err_wrap(e, "order file");
    snprintf(out->kid, sizeof(out->kid), "%.32s", j->header.kid);
    sha256(file, out->file_hash);
    return order_payload_read(buf_bytes(&payload), out, e);
}

static enum err_code read_jws(struct bytes file, struct jws *j, struct err *e)
{
    if (jws_read(file, ORDER_FILE_MAX, j, e) != E_OK)
        return err_wrap(e, "order file");
    if (strcmp(j->header.typ, ORDER_FILE_TYP) != 0)
        return err_set(e, E_INVALID, "order file: typ is \"%s\", not \"" ORDER_FILE_TYP "\"", j->header.typ);
    if (strlen(j->header.kid) != JWS_KID_LEN || j->header.x5t[0])
        return err_set(e, E_INVALID, "order file: kid must be 32 hex digits, the begin of the SHA-256 of the signer's public key, alone");
    return E_OK;
}

enum err_code order_file_read(struct bytes file, struct order_spec *out, struct err *e)
{
    struct jws j;

    return read_jws(file, &j, e) == E_OK ? read_spec(&j, file, out, e) : e->code;
}

enum err_code order_file_verify(struct bytes file, EVP_PKEY *key, struct err *e)
{
    char kid[JWS_KID_LEN + 1];
    struct jws j;

    if (read_jws(file, &j, e) != E_OK || jws_kid(key, kid, e) != E_OK)
        return e->code;
    if (strcmp(kid, j.header.kid) != 0)
        return err_set(e, E_DENIED, "order file: signed by key %s, not by %s", j.header.kid, kid);
    return jws_verify(&j, key, e) == E_OK ? E_OK : err_wrap(e, "order file");
}

/* ---- against a configuration ---- */

static bool signs_for(const struct conf_order_signer *s, const char *domain)
{
    for (size_t i = 0; i < s->domains.n; i++)
        if (strcmp(s->domains.v[i], domain) == 0)
            return true;
    return false;
}

/* The configured signer with that kid; a file that cannot be read is told only when no other fits. */
static enum err_code find_signer(const struct conf *conf, const char *kid, const struct conf_order_signer **out, EVP_PKEY **key,
                                 struct err *e)
{
    struct err unread = {0};

    for (size_t i = 0; i < conf->order_signers_n; i++) {
        const struct conf_order_signer *s = &conf->order_signers[i];
        AUTO_BUF pem = BUF_INIT(SIGNER_FILE_MAX);
        AUTO(EVP_PKEY) *k = NULL;
        char own[JWS_KID_LEN + 1] = "";

        if (file_read(s->file, &pem, &unread) != E_OK || !(k = jws_public_key(buf_bytes(&pem), &unread)) ||
            jws_kid(k, own, &unread) != E_OK) {
            err_wrap(&unread, "order signer \"%s\": %s", s->name, s->file);
            continue;
        }
        if (strcmp(own, kid) == 0) {
            *out = s;
            *key = TAKE(k);
            return E_OK;
        }
    }
    if (unread.code == E_NOMEM)
        return err_set(e, E_NOMEM, "order file: signer");
    return err_set(e, E_DENIED, "order file: key %s is none of order_signers%s%s", kid, unread.code != E_OK ? "; " : "",
                   unread.code != E_OK ? unread.msg : "");
}

static enum err_code check_configuration(const struct conf *conf, const struct order_spec *o, struct err *e)
{
    const struct conf_profile *p = conf_find_profile(conf, o->profile);
    const struct conf_ca *ca = p ? conf_find_ca(conf, p->ca) : NULL;
    const struct conf_token *t = ca ? conf_find_token(conf, ca->token) : NULL;

    if (conf_find_label(conf, o->order_no))
        return bad(e, "order", "is the name of a label of the configuration");
    if (!conf_find_domain(conf, o->domain))
        return err_set(e, E_INVALID, "order file: there is no \"domain\" %s", o->domain);
    if (!p || (p->kind != PROFILE_IDEVID && p->kind != PROFILE_LDEVID))
        return err_set(e, E_INVALID, "order file: there is no \"profile\" %s of kind idevid or ldevid", o->profile);
    if (!t || t->offline)
        return err_set(e, E_INVALID, "order file: \"profile\" %s issues from a CA whose token is offline", o->profile);
    return E_OK;
}

enum err_code order_file_accept(const struct conf *conf, struct bytes file, struct order_spec *out, struct err *e)
{
    const struct conf_order_signer *signer = NULL;
    AUTO(EVP_PKEY) *key = NULL;
    struct jws j;

    if (read_jws(file, &j, e) != E_OK || find_signer(conf, j.header.kid, &signer, &key, e) != E_OK)
        return e->code;
    if (jws_verify(&j, key, e) != E_OK)
        return err_wrap(e, "order file");
    if (read_spec(&j, file, out, e) != E_OK) /* nothing of it was looked at before */
        return e->code;
    if (!signs_for(signer, out->domain))
        return err_set(e, E_DENIED, "order file: signer \"%s\" may not sign for domain %s", signer->name, out->domain);
    snprintf(out->signer, sizeof(out->signer), "%s", signer->name);
    return check_configuration(conf, out, e);
}
