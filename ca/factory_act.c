/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a station asks of a work order besides certificates (docs/factory.md, "The requests of a station"): reserve, challenge and
 * confirm, events, pack, ship, scrap, rework. One table says who may, when, and with which members.
 */
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/der.h"
#include "base/oid.h"
#include "base/privkey.h"
#include "ca/admin_args.h"
#include "ca/factory_int.h"
#include "ca/key_package.h"

#define CHALLENGE_TAG     "inkan-confirm-1"
#define CHALLENGE_TEXT    320 /* octets of a challenge, at most */
#define CHALLENGE_GOOD_S  600
#define CHALLENGE_EARLY_S 60  /* another core of ours, or a clock set back a little */
#define DETAIL_MAX        2048
#define SKIP_MAX          1000 /* ids of a range passed over in one request */
#define EVENTS_SHOWN      100
#define SECRET_LEN        32
#define DIGEST_JSON       96
#define ENVELOPE_MAX      4096 /* octets: key encrypted for RSA 4096, the recipient's name, two hundred octets of content */
#define UNIT_FRAME        2048 /* octets of a unit without its events, at most */

/* One request as it is worked on. */
struct act {
    struct core *c;
    const struct svc_factory *in;
    int64_t now;
    struct grant *g;
    struct buf *body;
    struct work_order *o;
    struct factory_station st;
    json_t *args;
    struct unit_row u;
    char serial[SERIAL_MAX_LEN * 2 + 1];
    bool changed;
};

typedef enum err_code (*act_fn)(struct act *a, struct err *e);

/* ---- the answer ---- */

static void answer_unit(struct act *a)
{
    buf_printf(a->body, "{\"device_id\":\"%s\",\"order\":\"%s\"", a->g->unit.device_id, a->o->order_no);
    if (!a->changed)
        buf_add_str(a->body, ",\"repeat\":true");
    if (a->serial[0])
        buf_printf(a->body, ",\"serial\":\"%s\"", a->serial);
    buf_printf(a->body, ",\"state\":\"%s\"}", unit_state_name((enum unit_state)a->u.state));
}

void factory_error_body(const struct grant *g, const struct err *e, struct buf *body)
{
    const char *reason = g->unit.reason ? g->unit.reason : err_code_name(e->code), *text = e->msg;
    AUTO_JSON *j = NULL;
    AUTO(char) *dump = NULL;

    /* What is ours alone stays in the log. */
    if (e->code != E_INVALID && e->code != E_DENIED && e->code != E_NOT_FOUND && e->code != E_CONFLICT && e->code != E_BUSY)
        text = "the service cannot do this now";
    else if (g->unit.reason && strncmp(text, reason, strlen(reason)) == 0 && strncmp(text + strlen(reason), ": ", 2) == 0)
        text += strlen(reason) + 2;
    j = json_pack("{s:s, s:s}", "error", reason, "text", text);
    dump = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    buf_reset(body);
    buf_add_str(body, dump ? dump : "{\"error\":\"nomem\"}");
}

/* ---- what stands in the way of a change ---- */

static enum err_code refuse_state(struct act *a, enum unit_event event, struct err *e)
{
    enum unit_state s = (enum unit_state)a->u.state;
    const char *reason = "unit-not-confirmed";

    if (unit_has_ended(s))
        reason = "unit-ended";
    else if (s == UNIT_SHIPPED)
        reason = "unit-shipped";
    else if (event == UNIT_DO_CONFIRM)
        reason = "unit-not-issued";
    else if (event == UNIT_DO_SHIP && s == UNIT_CONFIRMED)
        reason = "unit-not-packed";
    return factory_refuse(a->g, e, E_CONFLICT, reason, "the unit is %s", unit_state_name(s));
}

static const char *arg_text(const struct act *a, const char *name)
{
    const char *s = json_string_value(json_object_get(a->args, name));

    return s ? s : "";
}

static enum err_code change(struct act *a, enum unit_event event, const char *detail, struct err *e)
{
    struct unit_cause why = {.by = &a->g->by, .station = a->st.id, .badge = a->g->unit.badge, .tool = a->g->unit.tool,
                             .detail = detail};
    enum err_code code = factory_change(a->c, a->o, &a->u, event, &why, a->now, &a->changed, e);

    if (code == E_CONFLICT)
        return refuse_state(a, event, e);
    if (code == E_OK)
        answer_unit(a);
    return code;
}

/* The members that tell more, as canonical JSON; NULL with E_OK: none of them was given. */
static enum err_code detail_of(const struct act *a, const char *const *names, char **out, struct err *e)
{
    AUTO_JSON *j = json_object();
    json_t *v;

    *out = NULL;
    for (; *names; names++)
        if ((v = json_object_get(a->args, *names)))
            json_object_set(j, *names, v);
    if (json_object_size(j) == 0)
        return E_OK;
    *out = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
    if (!*out)
        return err_set(e, E_NOMEM, "detail");
    return strlen(*out) <= DETAIL_MAX ? E_OK : err_set(e, E_INVALID, "more than %d octets of detail", DETAIL_MAX);
}

static enum err_code change_with(struct act *a, enum unit_event event, const char *const *names, struct err *e)
{
    AUTO(char) *detail = NULL;
    enum err_code code = detail_of(a, names, &detail, e);

    return code == E_OK ? change(a, event, detail, e) : code;
}

/* ---- reserve ---- */

/*
 * Ids that a station named before their turn, or that are known from elsewhere, are passed over. A request that passes over many
 * and finds none is rolled back with its count: how far it came is kept in memory, so that the next one goes on from there.
 */
static enum err_code next_of_range(struct act *a, struct err *e)
{
    struct work_order *o = a->o;
    struct order_tally t, pass = {0};
    struct device_row row;
    char id[2 * ID_MAX_LEN];
    uint64_t at, end;
    enum err_code code;

    if (o->by_list)
        return err_set(e, E_INVALID, "the order lists its ids: name one");
    if (store_tally(a->c->store, o->id, &t, e) != E_OK)
        return e->code;
    at = (uint64_t)t.next > o->passed_over ? (uint64_t)t.next : o->passed_over;
    for (end = at + SKIP_MAX; at < end; at++) {
        if (at >= o->quantity || (uint64_t)t.reserved >= o->quantity)
            return factory_refuse(a->g, e, E_DENIED, "order-full", "the order has its %llu units",
                                  (unsigned long long)o->quantity);
        snprintf(id, sizeof(id), "%s%0*llu", o->prefix, (int)o->digits, (unsigned long long)(o->first + at));
        text_copy(a->g->unit.device_id, sizeof(a->g->unit.device_id), id);
        code = store_device_find(a->c->store, o->domain, id, &row, e);
        if (code == E_OK)
            continue;
        pass.next = (int64_t)at - t.next;
        if (code != E_NOT_FOUND || (code = store_tally_add(a->c->store, o->id, &pass, e)) != E_OK)
            return code;
        return factory_reserve(a->c, o, id, false, true, a->now, a->g, &a->u, e);
    }
    o->passed_over = at;
    return err_set(e, E_BUSY, "%d ids in a row are known already; ask again", SKIP_MAX);
}

static enum err_code reserve_by_token(struct act *a, const char *token, struct err *e)
{
    uint64_t unit = 0;
    enum err_code code = store_request_find(a->c->store, a->o->id, a->st.id, token, &unit, e);

    if (code == E_OK) {
        code = store_unit_by_id(a->c->store, unit, &a->u, e);
        if (code == E_OK)
            text_copy(a->g->unit.device_id, sizeof(a->g->unit.device_id), a->u.device_id);
        return code;
    }
    if (code != E_NOT_FOUND || (code = next_of_range(a, e)) != E_OK)
        return code;
    a->changed = true;
    return store_request_put(a->c->store, a->o->id, a->st.id, token, a->u.id, e);
}

static enum err_code reserve_by_id(struct act *a, const char *device_id, struct err *e)
{
    enum err_code code = factory_unit(a->c, a->o, device_id, true, a->now, a->g, &a->u, e);

    if (code == E_OK && unit_has_ended((enum unit_state)a->u.state))
        return refuse_state(a, UNIT_DO_ISSUE, e);
    a->changed = code == E_OK && a->g->unit.id == 0; /* it had none before */
    return code;
}

static enum err_code do_reserve(struct act *a, struct err *e)
{
    const char *device_id = arg_text(a, "device_id"), *token = arg_text(a, "request");
    enum err_code code;

    if ((device_id[0] != '\0') == (token[0] != '\0'))
        return err_set(e, E_INVALID, "either device_id or request");
    code = device_id[0] ? reserve_by_id(a, device_id, e) : reserve_by_token(a, token, e);
    if (code == E_OK)
        answer_unit(a);
    return code;
}

/* ---- challenge and confirm ---- */

/* With the number of reworks: what was signed before one says nothing about the unit after it. */
static void challenge_mac(const struct act *a, const char *text, size_t len, char hex[65])
{
    const struct core *c = a->c;
    char all[CHALLENGE_TEXT + 24];
    uint8_t mac[32];
    unsigned n = sizeof(mac);
    int all_len = snprintf(all, sizeof(all), "%.*s%llu", (int)len, text, (unsigned long long)a->u.reworks);

    if (!HMAC(EVP_sha256(), c->secret_key.p, (int)c->secret_key.len, (const uint8_t *)all, (size_t)all_len, mac, &n) ||
        n != sizeof(mac))
        abort();
    hex_encode(mac, sizeof(mac), hex);
}

/* "inkan-confirm-1 ORDER ID CERT TIME " */
static size_t challenge_head(const struct act *a, const uint8_t der_hash[32], int64_t at, char *out, size_t size)
{
    char hex[65];

    hex_encode(der_hash, 32, hex);
    return (size_t)snprintf(out, size, CHALLENGE_TAG " %s %s %s %lld ", a->o->order_no, a->g->unit.device_id, hex, (long long)at);
}

static enum err_code certificate_of(struct act *a, struct cert_row *row, struct err *e)
{
    if (unit_has_ended((enum unit_state)a->u.state) || a->u.cert == 0)
        return refuse_state(a, UNIT_DO_CONFIRM, e);
    return store_cert_by_id(a->c->store, a->u.cert, row, e);
}

static enum err_code do_challenge(struct act *a, struct err *e)
{
    char text[CHALLENGE_TEXT], mac[65];
    struct cert_row row;
    size_t n;

    if (certificate_of(a, &row, e) != E_OK)
        return e->code;
    n = challenge_head(a, row.der_hash, a->now, text, sizeof(text));
    challenge_mac(a, text, n, mac);
    buf_add(a->body, text, n);
    buf_add(a->body, mac, 64);
    return E_OK;
}

/* The time is the number before the last blank; everything else must come out the same when it is written again. */
static enum err_code challenge_check(struct act *a, const char *given, const uint8_t der_hash[32], struct err *e)
{
    char text[CHALLENGE_TEXT], mac[65];
    const char *last = strrchr(given, ' '), *at = last;
    long long when = 0;
    int used = 0;
    size_t n;

    while (at && at > given && at[-1] != ' ')
        at--;
    if (!at || sscanf(at, "%lld%n", &when, &used) != 1 || at + used != last)
        return factory_refuse(a->g, e, E_DENIED, "challenge-wrong", "this is no challenge of ours");
    n = challenge_head(a, der_hash, when, text, sizeof(text));
    if (n >= sizeof(text) || strncmp(given, text, n) != 0)
        return factory_refuse(a->g, e, E_DENIED, "challenge-wrong",
                              "the challenge is of another order, unit or certificate: ask for a new one");
    challenge_mac(a, text, n, mac);
    if (strlen(given + n) != 64 || CRYPTO_memcmp(given + n, mac, 64) != 0)
        return factory_refuse(a->g, e, E_DENIED, "challenge-wrong", "this is no challenge of ours");
    if (when > a->now + CHALLENGE_EARLY_S || a->now - when > CHALLENGE_GOOD_S)
        return factory_refuse(a->g, e, E_DENIED, "challenge-stale", "the challenge is older than %d s: ask for a new one",
                              CHALLENGE_GOOD_S);
    return E_OK;
}

/* Which algorithm a device signs with follows from its key. */
static struct bytes confirm_algorithm(enum key_alg alg, uint8_t out[24])
{
    const struct bytes *oid = alg == KEY_P256 ? &OID_ECDSA_SHA256 : alg == KEY_P384 ? &OID_ECDSA_SHA384
                              : alg == KEY_ED25519 ? &OID_ED25519 : &OID_RSA_SHA256;
    static const uint8_t null_parameters[] = {0x05, 0x00}; /* with RSA only */
    size_t null = oid == &OID_RSA_SHA256 ? sizeof(null_parameters) : 0;

    out[0] = DER_SEQUENCE;
    out[1] = (uint8_t)(oid->len + 2 + null);
    out[2] = DER_OID;
    out[3] = (uint8_t)oid->len;
    memcpy(out + 4, oid->p, oid->len);
    memcpy(out + 4 + oid->len, null_parameters, sizeof(null_parameters));
    return BYTES(out, oid->len + 4 + null);
}

static enum err_code signature_check(struct act *a, struct bytes der, const char *challenge, struct err *e)
{
    AUTO_BUF sig = BUF_INIT(SIGNATURE_MAX_LEN);
    uint8_t alg[24];
    struct pubkey key;
    struct cert read;

    if (base64_decode(bytes_str(arg_text(a, "signature")), &sig, e) != E_OK)
        return err_wrap(e, "signature");
    if (cert_read(der, &read, e) != E_OK || pubkey_read(read.spki, &key, e) != E_OK)
        return err_set(e, E_INTERNAL, "the unit's certificate cannot be read");
    if (!pubkey_verifies(&key, confirm_algorithm(key.alg, alg), bytes_str(challenge), buf_bytes(&sig)))
        return factory_refuse(a->g, e, E_DENIED, "signature-wrong",
                              "the signature over the challenge is not by the key that was certified");
    return E_OK;
}

/* What the station says of the release becomes what is known of the device. */
static enum err_code firmware_take(struct act *a, struct err *e)
{
    const char *given = arg_text(a, "firmware"), *known = a->g->device.firmware;
    enum err_code code = factory_firmware(a->o, given[0] ? given : known, true, a->g, e);

    if (code != E_OK || !given[0] || strcmp(given, known) == 0)
        return code;
    return store_device_set_firmware(a->c->store, a->g->device.id, given, e);
}

static enum err_code do_confirm(struct act *a, struct err *e)
{
    static const char *const members[] = {"evidence", "firmware", NULL};
    AUTO_BUF der = BUF_INIT(CERT_MAX_LEN);
    const char *challenge = arg_text(a, "challenge");
    struct cert_row row = {0};
    enum err_code code;

    if (certificate_of(a, &row, e) != E_OK)
        return e->code;
    if (row.status == CERT_REVOKED && (a->u.state == UNIT_ISSUED || a->u.state == UNIT_HELD || a->u.state == UNIT_REWORK))
        return factory_refuse(a->g, e, E_DENIED, "unit-not-issued", "the unit's certificate is revoked: issue again, with a new key");
    buf_add_bytes(&der, row.der);
    hex_encode(row.serial, row.serial_len, a->serial);
    if ((code = challenge_check(a, challenge, row.der_hash, e)) != E_OK ||
        (code = signature_check(a, buf_bytes(&der), challenge, e)) != E_OK || (code = firmware_take(a, e)) != E_OK)
        return code;
    if (a->o->evidence_required && json_object_size(json_object_get(a->args, "evidence")) == 0)
        return factory_refuse(a->g, e, E_DENIED, "evidence-missing", "the order wants evidence of where the key lives");
    return change_with(a, UNIT_DO_CONFIRM, members, e);
}

/* ---- the rest ---- */

static enum err_code do_event(struct act *a, struct err *e)
{
    static const char *const known[] = {"written", "read-back", "tested", "label-printed", "label-void", "note"};
    static const char *const members[] = {"detail", "reason", NULL};
    AUTO(char) *detail = NULL;
    struct unit_cause why = {.by = &a->g->by, .station = a->st.id, .badge = a->g->unit.badge, .tool = a->g->unit.tool,
                             .event = arg_text(a, "event")};
    size_t i = 0;
    enum err_code code;

    while (i < ARRAY_LEN(known) && strcmp(known[i], why.event) != 0)
        i++;
    if (i == ARRAY_LEN(known))
        return err_set(e, E_INVALID, "event: written, read-back, tested, label-printed, label-void or note");
    if (unit_has_ended((enum unit_state)a->u.state) && strcmp(why.event, "label-void") != 0 && strcmp(why.event, "note") != 0)
        return refuse_state(a, UNIT_DO_PACK, e);
    if ((code = factory_may_note(a->c, a->u.id, a->g, e)) != E_OK || (code = detail_of(a, members, &detail, e)) != E_OK)
        return code;
    why.detail = detail;
    code = factory_note(a->c, a->o, a->u.id, a->g->unit.device_id, &why, a->now, e);
    a->changed = true;
    if (code == E_OK)
        answer_unit(a);
    return code;
}

/* ---- a secret for the unit and its owner ---- */

static enum err_code may_have_secret(struct act *a, struct err *e)
{
    enum unit_state s = (enum unit_state)a->u.state;
    unsigned role = s == UNIT_REWORK ? STATION_REWORK : STATION_ISSUE;

    if (!(a->st.roles & role))
        return factory_refuse(a->g, e, E_DENIED, "wrong-role", "this needs a station of role %s",
                              role == STATION_REWORK ? "rework: the unit is under rework" : "issue");
    if (unit_has_ended(s))
        return refuse_state(a, UNIT_DO_ISSUE, e);
    if (factory_is_over(&a->g->device))
        return factory_refuse(a->g, e, E_DENIED, "unit-ended", "the device is stopped");
    if (unit_is_confirmed(s) && s != UNIT_REWORK)
        return factory_refuse(a->g, e, E_DENIED, "unit-confirmed", "the unit is %s: only a rework opens it again", unit_state_name(s));
    return factory_may_note(a->c, a->u.id, a->g, e);
}

/* `detail`: {"cms": EnvelopedData for the customer}; `digest`: what the trail has of it, {"cms_sha256": hex}. */
static enum err_code seal_secret(const struct act *a, struct bytes customer, const char *secret, struct buf *detail, char digest[DIGEST_JSON],
                                 struct err *e)
{
    AUTO_BUF envelope = BUF_INIT(ENVELOPE_MAX);
    char said[ORDER_NO_MAX + ID_MAX_LEN + 2 * SECRET_LEN + 64], hex[65];
    uint8_t hash[32];
    struct recipient r;
    int n = snprintf(said, sizeof(said), "{\"device_id\":\"%s\",\"order\":\"%s\",\"secret\":\"%s\"}", a->g->unit.device_id, a->o->order_no,
                     secret);
    enum err_code code;

    recipient_init(&r);
    code = recipient_of(&r, customer, e);
    if (code == E_OK)
        code = envelope_write(OID_PKCS7_DATA, BYTES((const uint8_t *)said, (size_t)n), &r, &envelope, e);
    recipient_clear(&r);
    OPENSSL_cleanse(said, sizeof(said));
    if (code != E_OK)
        return err_wrap(e, "customer_key of order %s", a->o->order_no);
    buf_add_str(detail, "{\"cms\":\"");
    base64_encode(detail, buf_bytes(&envelope), 0);
    buf_add_str(detail, "\"}");
    buf_add_u8(detail, 0);
    sha256(buf_bytes(&envelope), hash);
    hex_encode(hash, sizeof(hash), hex);
    snprintf(digest, DIGEST_JSON, "{\"cms_sha256\":\"%s\"}", hex);
    return buf_ok(detail) ? E_OK : err_set(e, E_NOMEM, "secret");
}

/*
 * Random, told once to the station and kept for the customer alone. A lost answer cannot be repeated: asking again makes another
 * one, and the newest counts.
 */
static enum err_code do_secret(struct act *a, struct err *e)
{
    AUTO_BUF customer = BUF_INIT(CERT_MAX_LEN);
    AUTO_BUF detail = BUF_INIT(2 * ENVELOPE_MAX);
    struct unit_cause why = {.by = &a->g->by, .station = a->st.id, .badge = a->g->unit.badge, .tool = a->g->unit.tool, .event = "secret"};
    uint8_t drawn[SECRET_LEN];
    char secret[2 * SECRET_LEN + 1], digest[DIGEST_JSON];
    struct order_row row;
    enum err_code code;

    if (store_order_by_no(a->c->store, a->o->order_no, &row, e) != E_OK)
        return e->code;
    buf_add_bytes(&customer, row.customer_key);
    if (customer.len == 0)
        return factory_refuse(a->g, e, E_DENIED, "no-customer-key", "order %s names no key to hand secrets over", a->o->order_no);
    if ((code = may_have_secret(a, e)) != E_OK || (code = random_bytes(drawn, sizeof(drawn), e)) != E_OK)
        return code;
    hex_encode(drawn, sizeof(drawn), secret);
    code = seal_secret(a, buf_bytes(&customer), secret, &detail, digest, e);
    why.detail = (const char *)detail.p;
    why.trail_detail = digest;
    if (code == E_OK)
        code = factory_note(a->c, a->o, a->u.id, a->g->unit.device_id, &why, a->now, e);
    if (code == E_OK) {
        buf_printf(a->body, "{\"device_id\":\"%s\",\"order\":\"%s\",\"secret\":\"", a->g->unit.device_id, a->o->order_no);
        buf_add_str(a->body, secret);
        buf_printf(a->body, "\",\"state\":\"%s\"}", unit_state_name((enum unit_state)a->u.state));
    }
    OPENSSL_cleanse(drawn, sizeof(drawn));
    OPENSSL_cleanse(secret, sizeof(secret));
    stack_wipe();
    return code;
}

static enum err_code do_pack(struct act *a, struct err *e)
{
    static const char *const members[] = {"carton", "detail", NULL};

    return change_with(a, UNIT_DO_PACK, members, e);
}

static enum err_code do_ship(struct act *a, struct err *e)
{
    static const char *const members[] = {"carton", "detail", NULL};

    return change_with(a, UNIT_DO_SHIP, members, e);
}

static enum err_code do_scrap(struct act *a, struct err *e)
{
    static const char *const members[] = {"detail", "reason", NULL};
    const struct device_facts *d = &a->g->device;

    if (d->moved || d->state == DEVICE_TRANSFERRING)
        return factory_refuse(a->g, e, E_CONFLICT, "unit-not-yours", "the device %s",
                              d->moved ? "has another owner now" : "is between two owners: its transfer is cancelled or accepted first");
    return change_with(a, UNIT_DO_SCRAP, members, e);
}

static enum err_code do_rework(struct act *a, struct err *e)
{
    static const char *const members[] = {"detail", "reason", NULL};
    struct order_tally t;

    if (store_tally(a->c->store, a->o->id, &t, e) != E_OK)
        return e->code;
    if (a->u.state != UNIT_REWORK && (uint64_t)t.reworked >= a->o->rework_allowed)
        return factory_refuse(a->g, e, E_DENIED, "rework-used", "the order's %llu reworks are used",
                              (unsigned long long)a->o->rework_allowed);
    return change_with(a, UNIT_DO_REWORK, members, e);
}

/* ---- reading ---- */

static void put_json(struct act *a, json_t *j)
{
    AUTO_JSON *owned = j;
    AUTO(char) *text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

    (void)owned;
    buf_add_str(a->body, text ? text : "");
}

static enum err_code do_order(struct act *a, struct err *e)
{
    struct order_row row;

    if (store_order_by_no(a->c->store, a->o->order_no, &row, e) != E_OK)
        return e->code;
    put_json(a, factory_order_json(a->c->store, &row, e));
    return a->body->len ? E_OK : err_set(e, E_NOMEM, "order");
}

static enum err_code do_unit(struct act *a, struct err *e)
{
    json_t *j = factory_unit_json(a->c->store, a->o->order_no, &a->u, EVENTS_SHOWN, FACTORY_ANSWER_MAX - UNIT_FRAME, e);

    if (!j)
        return e->code == E_OK ? err_set(e, E_NOMEM, "unit") : e->code;
    put_json(a, j);
    return buf_ok(a->body) && a->body->len ? E_OK : err_set(e, E_NOMEM, "unit");
}

/* ---- the table ---- */

#define SAID {"badge", ARG_TEXT, false, ID_MAX_LEN}, {"tool", ARG_TEXT, false, ID_MAX_LEN}
#define END  {NULL, ARG_TEXT, false, 0}
#define TOLD {"reason", ARG_TEXT, false, 256}, {"detail", ARG_OBJECT, false, DETAIL_MAX}

static const struct admin_arg reserve_args[] = {SAID, {"device_id", ARG_ID, false, 0}, {"request", ARG_TEXT, false, 64}, END};
static const struct admin_arg confirm_args[] = {
    SAID, {"challenge", ARG_TEXT, true, CHALLENGE_TEXT}, {"signature", ARG_BASE64, true, 2048},
    {"firmware", ARG_TEXT, false, ID_MAX_LEN}, {"evidence", ARG_OBJECT, false, DETAIL_MAX}, END};
static const struct admin_arg secret_args[] = {SAID, END};
static const struct admin_arg event_args[] = {SAID, {"event", ARG_TEXT, true, 32}, TOLD, END};
static const struct admin_arg pack_args[] = {SAID, {"carton", ARG_TEXT, false, 64}, {"detail", ARG_OBJECT, false, DETAIL_MAX}, END};
static const struct admin_arg reason_args[] = {SAID, TOLD, END};

#define ANY_WORK (STATION_ISSUE | STATION_VERIFY | STATION_REWORK | STATION_PACK | STATION_QA)

static const struct action {
    unsigned roles; /* one of them; 0 = any */
    enum order_need need;
    const struct admin_arg *args; /* NULL: there is no body */
    act_fn run;
} actions[SVC_FACTORY_ACTIONS] = {
    [SVC_FACTORY_ORDER] = {0, ORDER_READ, NULL, do_order},
    [SVC_FACTORY_RESERVE] = {STATION_LOAD | STATION_ISSUE, ORDER_BEGIN, reserve_args, do_reserve},
    [SVC_FACTORY_UNIT] = {0, ORDER_READ, NULL, do_unit},
    [SVC_FACTORY_CHALLENGE] = {STATION_VERIFY, ORDER_WORK, NULL, do_challenge},
    [SVC_FACTORY_CONFIRM] = {STATION_VERIFY, ORDER_WORK, confirm_args, do_confirm},
    [SVC_FACTORY_EVENT] = {ANY_WORK, ORDER_WORK, event_args, do_event},
    [SVC_FACTORY_SECRET] = {STATION_ISSUE | STATION_REWORK, ORDER_WORK, secret_args, do_secret},
    [SVC_FACTORY_PACK] = {STATION_PACK, ORDER_WORK, pack_args, do_pack},
    [SVC_FACTORY_SHIP] = {STATION_PACK, ORDER_WORK, pack_args, do_ship},
    [SVC_FACTORY_SCRAP] = {STATION_QA, ORDER_WORK, reason_args, do_scrap},
    [SVC_FACTORY_REWORK] = {STATION_QA, ORDER_WORK, reason_args, do_rework},
};

static enum err_code read_body(struct act *a, const struct admin_arg *schema, struct err *e)
{
    json_error_t where = {.text = "out of memory"};

    if (!schema)
        return E_OK;
    a->args = a->in->body.len ? json_loadb((const char *)a->in->body.p, a->in->body.len, JSON_REJECT_DUPLICATES, &where)
                              : json_object();
    if (!a->args)
        return err_set(e, E_INVALID, "body: %s at octet %d", where.text, where.position);
    if (admin_args_check(schema, a->args, e) != E_OK)
        return e->code;
    text_copy(a->g->unit.badge, sizeof(a->g->unit.badge), arg_text(a, "badge"));
    text_copy(a->g->unit.tool, sizeof(a->g->unit.tool), arg_text(a, "tool"));
    return E_OK;
}

static enum err_code run(struct act *a, struct err *e)
{
    const struct action *act = &actions[a->in->action];
    enum err_code code;

    text_copy(a->g->unit.order_no, sizeof(a->g->unit.order_no), a->in->order);
    text_copy(a->g->unit.device_id, sizeof(a->g->unit.device_id), a->in->device_id);
    if ((code = factory_station(a->c, a->in->chain[0], a->now, &a->st, a->g, e)) != E_OK ||
        (code = factory_find(a->c, a->in->order, a->g, &a->o, e)) != E_OK ||
        (code = factory_admit(a->o, &a->st, act->roles, act->need, a->now, a->g, e)) != E_OK ||
        (code = read_body(a, act->args, e)) != E_OK)
        return code;
    if (svc_factory_has_unit(a->in->action) &&
        (code = factory_unit(a->c, a->o, a->in->device_id, false, a->now, a->g, &a->u, e)) != E_OK)
        return code;
    code = act->run(a, e);
    return code == E_OK && !buf_ok(a->body) ? err_set(e, E_NOMEM, "answer") : code;
}

enum err_code factory_act(struct core *c, const struct svc_factory *in, int64_t now, struct grant *g, struct buf *body,
                          struct err *e)
{
    struct act a = {.c = c, .in = in, .now = now, .g = g, .body = body};
    enum err_code code = run(&a, e);

    json_decref(a.args);
    return code;
}

enum err_code factory_read(struct core *c, const struct svc_factory *in, int64_t now, struct buf *body, struct err *e)
{
    struct grant g;
    enum err_code code;

    grant_init(&g);
    code = factory_act(c, in, now, &g, body, e);
    grant_clear(&g);
    return code;
}
