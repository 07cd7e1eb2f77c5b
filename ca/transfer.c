/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices change their owner (docs/lifecycle.md, "Change of owner"): an order signed by the old one, an acceptance signed by the new
 * one over the order's SHA-256. Each is one transaction over all devices it names.
 */
#include <string.h>

#include <openssl/evp.h>

#include "base/fsio.h"
#include "base/jws.h"
#include "ca/admin_int.h"
#include "ca/life.h"
#include "ca/store/life.h"
#include "ca/transfer.h"

AUTO_TYPE(EVP_PKEY, EVP_PKEY_free)

#define KEY_FILE_MAX (64 * 1024)
#define DEVICES_ROOM 500 /* so many an order could name once; one that is open is still carried through */
#define RETRY_S      60 /* of a transfer that could not be called off at its end */

struct transfer {
    struct core *c;
    const struct actor *by;
    int64_t now;
    struct transfer_row row;
    json_t *payload;
    uint64_t seq;
    uint64_t device[DEVICES_ROOM];
    size_t n;
    bool changed;
};

static const char *member(const json_t *j, const char *name)
{
    const char *s = json_string_value(json_object_get(j, name));

    return s ? s : "";
}

/* ---- files ---- */

static EVP_PKEY *owner_key(const struct conf_domain *d, char kid[JWS_KID_LEN + 1], struct err *e)
{
    AUTO_BUF pem = BUF_INIT(KEY_FILE_MAX);
    AUTO(EVP_PKEY) *key = NULL;

    if (file_read(d->owner_key, &pem, e) == E_OK)
        key = jws_public_key(buf_bytes(&pem), e);
    if (!key || jws_kid(key, kid, e) != E_OK) {
        err_wrap(e, "owner_key of domain \"%s\"", d->name);
        return NULL;
    }
    return TAKE(key);
}

/* The signature first, by whichever owner the header names: nothing of the payload is read before. */
static enum err_code verify(struct core *c, const struct jws *j, struct err *e)
{
    char kid[JWS_KID_LEN + 1];
    struct err unread = {0};

    for (size_t i = 0; i < c->conf->domains_n; i++) {
        AUTO(EVP_PKEY) *key = c->conf->domains[i].owner_key[0] ? owner_key(&c->conf->domains[i], kid, &unread) : NULL;

        if (key && strcmp(kid, j->header.kid) == 0)
            return jws_verify(j, key, e);
    }
    return err_set(e, E_DENIED, "key %s is no domain's owner_key%s%s", j->header.kid, unread.code != E_OK ? "; " : "", unread.msg);
}

static enum err_code open_file(struct core *c, struct bytes file, const char *typ, struct jws *j, json_t **payload, struct err *e)
{
    AUTO_BUF text = BUF_INIT(TRANSFER_FILE_MAX);
    json_error_t where;

    if (jws_read(file, TRANSFER_FILE_MAX, j, e) != E_OK)
        return e->code;
    if (strcmp(j->header.typ, typ) != 0)
        return err_set(e, E_INVALID, "a file of type \"%s\", not \"%s\"", j->header.typ, typ);
    if (verify(c, j, e) != E_OK || jws_payload(j, &text, e) != E_OK)
        return e->code;
    *payload = json_loadb((const char *)text.p, text.len, JSON_REJECT_DUPLICATES, &where);
    return json_is_object(*payload) ? E_OK : err_set(e, E_INVALID, "its payload is no JSON object");
}

/* Is the key that signed the one of this domain's owner? */
static enum err_code signed_by_owner(struct core *c, const struct jws *j, const char *domain, struct err *e)
{
    const struct conf_domain *d = conf_find_domain(c->conf, domain);
    AUTO(EVP_PKEY) *key = NULL;
    char kid[JWS_KID_LEN + 1];

    if (!d)
        return err_set(e, E_NOT_FOUND, "domain \"%s\" is not in the configuration", domain);
    if (d->owner_key[0] == '\0')
        return err_set(e, E_CONFLICT, "domain \"%s\" has no owner_key: nobody can sign for it", domain);
    key = owner_key(d, kid, e);
    if (!key)
        return e->code;
    return strcmp(kid, j->header.kid) == 0 ? E_OK : err_set(e, E_DENIED, "not signed by the owner of domain \"%s\"", domain);
}

static bool only_members(const json_t *j, const char *const *names)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)j, key, v)
    {
        size_t i = 0;

        while (names[i] && strcmp(names[i], key) != 0)
            i++;
        if (!names[i])
            return false;
    }
    return true;
}

static const char *device_at(const struct transfer *t, size_t i)
{
    const json_t *list = json_object_get(t->payload, "devices");
    const char *s = list ? json_string_value(json_array_get(list, i)) : i == 0 ? json_string_value(json_object_get(t->payload, "device_id")) : NULL;

    return s && id_is_valid(s) ? s : NULL;
}

static enum err_code read_order(struct transfer *t, struct err *e)
{
    static const char *const members[] = {"device_id", "devices", "expires", "from", "to", "transfer", NULL};
    const json_t *list = json_object_get(t->payload, "devices"), *expires = json_object_get(t->payload, "expires");
    struct transfer_row *row = &t->row;

    if (!only_members(t->payload, members) || !id_is_valid(member(t->payload, "transfer")) || !id_is_valid(member(t->payload, "from")) ||
        !id_is_valid(member(t->payload, "to")) || !json_is_integer(expires) || (list != NULL) == (json_object_get(t->payload, "device_id") != NULL))
        return err_set(e, E_INVALID, "a transfer order has transfer, from, to, expires, and either device_id or devices");
    text_copy(row->name, sizeof(row->name), member(t->payload, "transfer"));
    text_copy(row->from_domain, sizeof(row->from_domain), member(t->payload, "from"));
    text_copy(row->to_domain, sizeof(row->to_domain), member(t->payload, "to"));
    row->expires_at = json_integer_value(expires);
    row->opened_at = t->now;
    if (strcmp(row->from_domain, row->to_domain) == 0)
        return err_set(e, E_INVALID, "from and to are the same domain");
    if (!conf_find_domain(t->c->conf, row->to_domain))
        return err_set(e, E_NOT_FOUND, "domain \"%s\" is not in the configuration", row->to_domain);
    if (row->expires_at <= t->now)
        return err_set(e, E_DENIED, "the transfer order has expired");
    t->n = list ? json_array_size(list) : 1;
    if (t->n == 0 || t->n > TRANSFER_DEVICES_MAX)
        return err_set(e, E_INVALID, "a transfer order names 1 to %d devices", TRANSFER_DEVICES_MAX);
    for (size_t i = 0; i < t->n; i++)
        if (!device_at(t, i))
            return err_set(e, E_INVALID, "devices[%zu]: not a device_id", i);
    return E_OK;
}

/* ---- opening ---- */

static enum err_code known_before(struct transfer *t, bool *known, struct err *e)
{
    struct transfer_row row;
    enum err_code code = store_transfer_by_name(t->c->store, t->row.name, &row, e);

    *known = code == E_OK;
    if (code == E_NOT_FOUND) {
        *e = (struct err){0};
        return E_OK;
    }
    if (code != E_OK)
        return code;
    if (memcmp(row.digest, t->row.digest, sizeof(row.digest)) != 0 || row.state != TRANSFER_OPEN)
        return err_set(e, E_CONFLICT, "transfer %s is %s: a new order takes a new name", row.name,
                       row.state == TRANSFER_OPEN ? "open with another order" : row.state == TRANSFER_ACCEPTED ? "accepted" : "cancelled");
    return E_OK;
}

/* The row the device will have with its new owner, or had there before. */
static enum err_code place_is_free(struct transfer *t, const char *device_id, uint64_t unit, uint64_t *before, struct err *e)
{
    struct device_row row;
    enum err_code code = store_device_find(t->c->store, t->row.to_domain, device_id, &row, e);

    *before = 0;
    if (code == E_NOT_FOUND) {
        *e = (struct err){0};
        return E_OK;
    }
    if (code == E_OK && (row.unit != unit || !row.moved_to))
        return err_set(e, E_CONFLICT, "domain \"%s\" has a device %s already", t->row.to_domain, device_id);
    *before = code == E_OK ? row.id : 0;
    return code;
}

static enum err_code audit_transfer(struct transfer *t, const char *event, struct err *e)
{
    char object[ID_MAX_LEN + 16], digest[65];

    snprintf(object, sizeof(object), "transfer:%s", t->row.name);
    hex_encode(t->row.digest, sizeof(t->row.digest), digest);
    return core_audit(t->c, t->by, event, t->row.from_domain, object,
                      json_pack("{s:I, s:s, s:s}", "devices", (json_int_t)t->n, "order_sha256", digest, "to", t->row.to_domain), t->now, e);
}

/*
 * A device that left a transfer by the side door (lost, in repair) is still named by its order: what that order's acceptance would
 * move must not be what another one sent off.
 */
static enum err_code in_no_other(struct transfer *t, const char *device_id, uint64_t device, struct err *e)
{
    struct transfer_row other;
    enum err_code code = store_transfer_of(t->c->store, device, &other, e);

    if (code == E_OK && other.id == t->row.id)
        return err_set(e, E_INVALID, "the order names device %s twice", device_id);
    if (code == E_OK)
        return err_set(e, E_CONFLICT, "device %s/%s is in transfer %s, which is open: cancel that first", t->row.from_domain, device_id, other.name);
    if (code == E_NOT_FOUND) {
        *e = (struct err){0};
        return E_OK;
    }
    return code;
}

static enum err_code send_off(struct transfer *t, const char *device_id, struct err *e)
{
    struct life_change ch = {.to = DEVICE_TRANSFERRING, .only_from = DEVICE_STATES, .why = t->row.name};
    struct device_row row;
    uint64_t device, unit, before;
    bool changed;
    enum err_code code = store_device_find(t->c->store, t->row.from_domain, device_id, &row, e);

    if (code == E_NOT_FOUND)
        return err_set(e, E_NOT_FOUND, "device %s/%s is not declared", t->row.from_domain, device_id);
    if (code != E_OK)
        return code;
    device = row.id;
    unit = row.unit;
    if (in_no_other(t, device_id, device, e) != E_OK || place_is_free(t, device_id, unit, &before, e) != E_OK ||
        life_apply(t->c, device, &ch, t->by, t->now, &changed, &t->seq, e) != E_OK)
        return e->code;
    return store_transfer_add(t->c->store, t->row.id, device, e);
}

static enum err_code open_transfer(struct transfer *t, struct err *e)
{
    bool known;

    if (known_before(t, &known, e) != E_OK)
        return e->code;
    if (known)
        return E_OK;
    if (store_transfer_insert(t->c->store, &t->row, e) != E_OK || audit_transfer(t, "transfer-opened", e) != E_OK)
        return e->code;
    t->changed = true;
    for (size_t i = 0; i < t->n; i++)
        if (send_off(t, device_at(t, i), e) != E_OK)
            return e->code;
    return E_OK;
}

/* ---- ends ---- */

static bool take_device(void *arg, uint64_t device)
{
    struct transfer *t = arg;

    if (t->n == DEVICES_ROOM)
        return false;
    t->device[t->n++] = device;
    return true;
}

static enum err_code new_row(struct transfer *t, const struct device_row *old, uint64_t *id, struct err *e)
{
    char texts[8][ID_MAX_LEN + 1];
    const char *from[8] = {old->device_id, old->product, old->model, old->lot, old->order_no, old->station, old->line, old->firmware};
    struct device_row row = {.unit = old->unit, .domain = t->row.to_domain, .state = DEVICE_SHIPPED, .prev_state = DEVICE_TRANSFERRING,
                             .declared_at = t->now, .state_at = t->now};
    const char *anchor;
    char kept[ID_MAX_LEN + 1];

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        text_copy(texts[i], sizeof(texts[i]), from[i]);
    text_copy(kept, sizeof(kept), old->anchor);
    row.device_id = texts[0];
    row.product = texts[1];
    row.model = texts[2];
    row.lot = texts[3];
    row.order_no = texts[4];
    row.station = texts[5];
    row.line = texts[6];
    row.firmware = texts[7];
    anchor = admin_anchor(t->c, t->row.to_domain, row.product, kept);
    row.anchor = anchor;
    if (place_is_free(t, row.device_id, row.unit, id, e) != E_OK)
        return e->code;
    if (*id == 0) {
        if (store_device_insert(t->c->store, &row, e) != E_OK)
            return e->code;
        *id = row.id;
        return E_OK;
    }
    if (store_device_set_moved(t->c->store, *id, 0, e) != E_OK)
        return e->code;
    return store_device_set_state(t->c->store, *id, DEVICE_SHIPPED, t->now, e);
}

static enum err_code hand_over(struct transfer *t, uint64_t device, struct err *e)
{
    struct life_change ch = {.to = DEVICE_DECOMMISSIONED, .only_from = DEVICE_TRANSFERRING, .why = t->row.name, .accepted = true};
    struct device_event_row ev = {.time = t->now, .from = DEVICE_TRANSFERRING, .to = DEVICE_SHIPPED, .actor = t->by->name,
                                  .reason = t->row.name};
    struct device_row old;
    bool changed;

    if (store_device_by_id(t->c->store, device, &old, e) != E_OK)
        return e->code;
    if (old.state != DEVICE_TRANSFERRING)
        return err_set(e, E_CONFLICT, "device %s/%s is %s: cancel the transfer", old.domain, old.device_id,
                       device_state_name((enum device_state)old.state));
    if (new_row(t, &old, &ev.device, e) != E_OK || life_apply(t->c, device, &ch, t->by, t->now, &changed, &t->seq, e) != E_OK ||
        store_device_set_moved(t->c->store, device, ev.device, e) != E_OK ||
        store_device_log(t->c->store, ev.device, DEVICE_SHIPPED, t->now, 0, "", &t->seq, e) != E_OK)
        return e->code;
    return store_device_event_add(t->c->store, &ev, e);
}

static enum err_code accept_transfer(struct transfer *t, struct bytes file, struct err *e)
{
    if (t->row.state == TRANSFER_ACCEPTED)
        return E_OK;
    if (t->now > t->row.expires_at)
        return err_set(e, E_CONFLICT, "transfer %s has expired", t->row.name);
    if (t->row.state != TRANSFER_OPEN)
        return err_set(e, E_CONFLICT, "transfer %s was cancelled", t->row.name);
    if (store_transfer_each(t->c->store, t->row.id, take_device, t, e) != E_OK ||
        store_transfer_end(t->c->store, t->row.id, TRANSFER_ACCEPTED, file, t->now, e) != E_OK ||
        audit_transfer(t, "transfer-accepted", e) != E_OK)
        return e->code;
    t->changed = true;
    for (size_t i = 0; i < t->n; i++)
        if (hand_over(t, t->device[i], e) != E_OK)
            return e->code;
    return E_OK;
}

/* What became lost or compromised meanwhile stays that. */
static enum err_code bring_back(struct transfer *t, uint64_t device, struct err *e)
{
    struct life_change ch = {.only_from = DEVICE_TRANSFERRING, .why = t->row.name};
    struct device_row row;
    bool changed;

    if (store_device_by_id(t->c->store, device, &row, e) != E_OK)
        return e->code;
    ch.to = (enum device_state)row.prev_state;
    return row.state == DEVICE_TRANSFERRING ? life_apply(t->c, device, &ch, t->by, t->now, &changed, &t->seq, e) : E_OK;
}

static enum err_code call_off(struct transfer *t, const char *event, struct err *e)
{
    if (store_transfer_each(t->c->store, t->row.id, take_device, t, e) != E_OK ||
        store_transfer_end(t->c->store, t->row.id, TRANSFER_CANCELLED, (struct bytes){NULL, 0}, t->now, e) != E_OK ||
        audit_transfer(t, event, e) != E_OK)
        return e->code;
    t->changed = true;
    for (size_t i = 0; i < t->n; i++)
        if (bring_back(t, t->device[i], e) != E_OK)
            return e->code;
    return E_OK;
}

static enum err_code cancel(struct transfer *t, const char *name, struct err *e)
{
    enum err_code code = store_transfer_by_name(t->c->store, name, &t->row, e);

    if (code == E_NOT_FOUND)
        return err_set(e, E_NOT_FOUND, "there is no transfer %s", name);
    if (code != E_OK || t->row.state == TRANSFER_CANCELLED)
        return code;
    if (t->row.state != TRANSFER_OPEN)
        return err_set(e, E_CONFLICT, "transfer %s was accepted: the new owner can transfer the devices back", name);
    return call_off(t, "transfer-cancelled", e);
}

/* ---- operations ---- */

static void finish(struct core *c, struct admin_call *call, struct transfer *t, enum err_code code, const struct err *e)
{
    json_decref(t->payload);
    if (code != E_OK) {
        admin_fail(call, e);
        return;
    }
    admin_done_in_force(c, call,
                        json_pack("{s:s, s:s, s:s, s:I, s:I, s:b}", "transfer", t->row.name, "from", t->row.from_domain, "to",
                                  t->row.to_domain, "devices", (json_int_t)t->n, "seq", (json_int_t)t->seq, "changed", t->changed));
}

static enum err_code begin(struct core *c, struct admin_call *call, struct transfer *t, struct err *e)
{
    *t = (struct transfer){.c = c, .by = &call->by, .now = core_stamp(c), .seq = c->purge_seq};
    return c->seal == SEAL_RESTORE ? err_set(e, E_STORE, "sealed: %s", c->seal_why) : E_OK;
}

void op_device_transfer(struct core *c, struct admin_call *call)
{
    AUTO_BUF file = BUF_INIT(TRANSFER_FILE_MAX);
    static struct transfer t; /* 4 KiB of devices; one thread */
    struct jws j;
    struct err e = {0};
    enum err_code code = begin(c, call, &t, &e);

    if (code == E_OK && (code = admin_file(call, TRANSFER_FILE_MAX, &file, &e)) == E_OK &&
        (code = open_file(c, buf_bytes(&file), TRANSFER_ORDER_TYP, &j, &t.payload, &e)) == E_OK && (code = read_order(&t, &e)) == E_OK &&
        (code = signed_by_owner(c, &j, t.row.from_domain, &e)) == E_OK && (code = core_begin(c, &e)) == E_OK) {
        sha256(buf_bytes(&file), t.row.digest);
        t.row.file = buf_bytes(&file);
        code = open_transfer(&t, &e);
        core_end(c, code, &e);
        if (t.row.expires_at < c->transfer_due)
            c->transfer_due = t.row.expires_at;
    }
    finish(c, call, &t, code, &e);
}

static enum err_code read_acceptance(struct transfer *t, struct err *e)
{
    static const char *const members[] = {"order_sha256", "to", "transfer", NULL};
    const char *hex = member(t->payload, "order_sha256");
    uint8_t digest[32];
    size_t len = 0;
    enum err_code code;

    if (!only_members(t->payload, members) || !hex_decode(hex, strlen(hex), digest, sizeof(digest), &len) || len != sizeof(digest))
        return err_set(e, E_INVALID, "an acceptance has transfer, to and order_sha256");
    code = store_transfer_by_digest(t->c->store, digest, &t->row, e);
    if (code == E_NOT_FOUND)
        return err_set(e, E_NOT_FOUND, "there is no transfer by an order with this SHA-256");
    if (code != E_OK)
        return code;
    if (strcmp(member(t->payload, "transfer"), t->row.name) != 0 || strcmp(member(t->payload, "to"), t->row.to_domain) != 0)
        return err_set(e, E_DENIED, "the acceptance is of another transfer");
    return E_OK;
}

void op_device_accept(struct core *c, struct admin_call *call)
{
    AUTO_BUF file = BUF_INIT(TRANSFER_FILE_MAX);
    static struct transfer t;
    struct jws j;
    struct err e = {0};
    enum err_code code = begin(c, call, &t, &e);

    if (code == E_OK && (code = admin_file(call, TRANSFER_FILE_MAX, &file, &e)) == E_OK &&
        (code = open_file(c, buf_bytes(&file), TRANSFER_ACCEPT_TYP, &j, &t.payload, &e)) == E_OK &&
        (code = read_acceptance(&t, &e)) == E_OK && (code = signed_by_owner(c, &j, t.row.to_domain, &e)) == E_OK &&
        (code = core_begin(c, &e)) == E_OK) {
        code = accept_transfer(&t, buf_bytes(&file), &e);
        core_end(c, code, &e);
    }
    finish(c, call, &t, code, &e);
}

void op_device_transfer_cancel(struct core *c, struct admin_call *call)
{
    static struct transfer t;
    struct err e = {0};
    enum err_code code = begin(c, call, &t, &e);

    if (code == E_OK && (code = core_begin(c, &e)) == E_OK) {
        code = cancel(&t, admin_text(call, "transfer"), &e);
        core_end(c, code, &e);
    }
    finish(c, call, &t, code, &e);
}

void transfer_tick(struct core *c)
{
    static struct transfer t;
    struct err e = {0};
    enum err_code code;

    t = (struct transfer){.c = c, .by = &ACTOR_CORE, .now = core_stamp(c), .seq = c->purge_seq};
    if (c->seal != SEAL_NONE || t.now <= c->transfer_due)
        return;
    code = store_transfer_first(c->store, &t.row, &e);
    c->transfer_due = code == E_OK ? t.row.expires_at : code == E_NOT_FOUND ? INT64_MAX : 0;
    if (code == E_NOT_FOUND || (code == E_OK && t.now <= t.row.expires_at))
        return;
    if (code == E_OK && (code = core_begin(c, &e)) == E_OK) {
        code = call_off(&t, "transfer-expired", &e);
        core_end(c, code, &e);
    }
    if (code == E_OK) {
        revoke_changed(c);
    } else {
        c->transfer_due = t.now + RETRY_S;
        log_failure("life-tick-failed", &e);
    }
}
