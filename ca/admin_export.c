/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hand-over lists of a work order, page by page: a reader's thread reads some units and what is said of each; where the format
 * wants signatures the loop has them made, many at once, before the next page is read. Memory does not grow with the order.
 *
 * Units of a list are those that are confirmed, packed or shipped, in the order in which they were reserved.
 */
#include <string.h>

#include "base/clock.h"
#include "ca/admin_int.h"
#include "ca/factory.h"
#include "ca/handover.h"
#include "ca/record.h"

#define PAGE_UNITS 64 /* signatures under way at once: well below a signer's queue */

enum export_format { EXPORT_UNITS, EXPORT_NATIVE, EXPORT_MANIFEST, EXPORT_FORMATS };
static const char *const format_names[EXPORT_FORMATS] = {"units", "native", "microchip"};

struct export;
struct export_unit {
    struct export *export;
    struct unit_row row;
    char device_id[ID_MAX_LEN + 1];
    json_t *payload;  /* said of it; NULL once it is signed */
    struct buf jws;
};

struct export {
    struct core *core;
    struct admin_call *call;
    enum export_format format;
    char id[33]; /* of this export */
    struct order_row order;      /* what is borrowed in it is not used */
    bool has_secrets;            /* it names a customer's key */
    struct export_unit unit[PAGE_UNITS];
    size_t n, waiting;
    uint64_t written;
    bool more;
    struct merkle tree;
    struct err failed;
};

static void page_clear(struct export *x)
{
    for (size_t i = 0; i < x->n; i++) {
        json_decref(x->unit[i].payload);
        buf_clear(&x->unit[i].jws);
    }
    x->n = 0;
}

static void export_free(void *state)
{
    if (state)
        page_clear(state);
    free(state);
}

/* ---- reading, in the reader's thread ---- */

static bool take_unit(void *arg, const struct unit_row *row)
{
    struct export *x = arg;
    struct export_unit *u;

    x->call->after = row->id;
    if (!unit_is_confirmed((enum unit_state)row->state) || row->state == UNIT_REWORK || !row->cert)
        return true;
    u = &x->unit[x->n++];
    *u = (struct export_unit){.export = x, .row = *row, .jws = BUF_INIT(RECORD_FILE_MAX)};
    text_copy(u->device_id, sizeof(u->device_id), row->device_id);
    return true;
}

static void put_time(json_t *j, const char *name, int64_t t)
{
    char text[32];

    if (t == 0)
        return;
    clock_format((time_t)t, text);
    json_object_set_new(j, name, json_string(text));
}

static json_t *said_of_unit(const struct export *x, const struct export_unit *u, const struct cert_row *cert)
{
    json_t *j = json_pack("{s:i, s:s, s:s, s:s, s:s, s:I, s:s, s:o, s:o, s:o, s:I, s:I}", "format", 1, "order", x->order.order_no,
                          "domain", x->order.domain, "product", x->order.product, "device_id", u->device_id, "ordinal",
                          (json_int_t)u->row.ordinal, "state", unit_state_name((enum unit_state)u->row.state), "certificate",
                          json_base64(cert->der), "serial", json_hex(BYTES(cert->serial, cert->serial_len)), "spki_sha256",
                          json_hex(BYTES_OF(cert->spki_hash)), "rekeys", (json_int_t)u->row.rekeys, "reworks",
                          (json_int_t)u->row.reworks);

    if (!j)
        return NULL;
    put_time(j, "reserved_at", u->row.reserved_at);
    put_time(j, "issued_at", u->row.issued_at);
    put_time(j, "confirmed_at", u->row.confirmed_at);
    put_time(j, "packed_at", u->row.packed_at);
    put_time(j, "shipped_at", u->row.shipped_at);
    if (x->order.model[0])
        json_object_set_new(j, "model", json_string(x->order.model));
    if (x->order.lot[0])
        json_object_set_new(j, "lot", json_string(x->order.lot));
    return j;
}

/* The newest secret of the unit as it was sealed for the customer, where it has one. */
static enum err_code put_secret(struct store *ledger, struct export_unit *u, struct err *e)
{
    AUTO_BUF detail = BUF_INIT(FACTORY_BODY_MAX);
    AUTO_JSON *sealed = NULL;
    enum err_code code = store_unit_event_newest(ledger, u->row.id, "secret", &detail, e);

    if (code == E_NOT_FOUND) {
        *e = (struct err){0};
        return E_OK;
    }
    if (code != E_OK)
        return code;
    sealed = json_loadb((const char *)detail.p, detail.len, 0, NULL);
    if (json_object_set(u->payload, "secret_cms", json_object_get(sealed, "cms")) != 0)
        return err_set(e, E_INTERNAL, "unit %s: its secret cannot be told", u->device_id);
    return E_OK;
}

static json_t *entity(const char *organization, const char *unit)
{
    return json_pack("{s:s, s:s}", "organizationName", organization, "organizationalUnitName", unit);
}

/* Microchip's SecureElement object, version 3: public keys with their certificates, no secret ones. */
static json_t *manifest_of_unit(const struct export *x, const struct export_unit *u, struct bytes cert, struct bytes issuer)
{
    json_t *key = jwk_of_certificate(cert), *j;
    char at[32];

    if (!key)
        return NULL;
    clock_format((time_t)u->row.confirmed_at, at);
    snprintf(at + 19, sizeof(at) - 19, ".000Z");
    json_object_set_new(key, "kid", json_string("0"));
    json_object_set_new(key, "x5c", json_pack("[o, o]", json_base64(cert), json_base64(issuer)));
    j = json_pack("{s:i, s:s, s:s, s:o, s:o, s:o, s:s, s:s, s:s, s:{s:[o]}}", "version", 3, "model",
                  x->order.model[0] ? x->order.model : x->order.product, "partNumber", x->order.product, "manufacturer",
                  entity(x->order.domain, x->order.product), "provisioner",
                  entity(x->order.domain, x->order.line[0] ? x->order.line : "factory"), "distributor",
                  entity(x->order.domain, x->order.lot[0] ? x->order.lot : x->order.order_no), "groupId", x->order.order_no,
                  "provisioningTimestamp", at, "uniqueId", u->device_id, "publicKeySet", "keys", key);
    return j;
}

/* Makes the unit's payload; a row of a list of plain units is written at once. */
static enum err_code read_unit(struct store *ledger, struct export *x, struct export_unit *u, uint64_t place, struct err *e)
{
    struct issuer_row issuer;
    AUTO_BUF der = BUF_INIT(CERT_MAX_LEN);
    struct cert_row cert;

    if (store_cert_by_id(ledger, u->row.cert, &cert, e) != E_OK)
        return err_wrap(e, "unit %s", u->device_id);
    if (x->format == EXPORT_MANIFEST) {
        buf_add_bytes(&der, cert.der);
        if (store_issuer_by_id(ledger, cert.issuer, &issuer, e) != E_OK)
            return err_wrap(e, "unit %s", u->device_id);
        u->payload = manifest_of_unit(x, u, buf_bytes(&der), issuer.cert);
    } else {
        u->payload = said_of_unit(x, u, &cert);
    }
    if (!u->payload)
        return err_set(e, E_INTERNAL, "unit %s: its certificate cannot be told", u->device_id);
    if (x->format == EXPORT_NATIVE && (json_object_set_new(u->payload, "export", json_string(x->id)) != 0 ||
                                       json_object_set_new(u->payload, "index", json_integer((json_int_t)place)) != 0))
        return err_set(e, E_NOMEM, "unit %s", u->device_id);
    if (x->format == EXPORT_NATIVE && x->has_secrets && put_secret(ledger, u, e) != E_OK)
        return e->code;
    if (x->format == EXPORT_UNITS) {
        if (store_issuer_by_id(ledger, cert.issuer, &issuer, e) != E_OK)
            return err_wrap(e, "unit %s", u->device_id);
        json_object_set_new(u->payload, "issuer", json_string(issuer.name));
        admin_row(x->call, u->payload);
        u->payload = NULL;
    }
    return E_OK;
}

static enum err_code read_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    struct export *x = call->state;
    uint64_t before = call->after;

    if (store_unit_each(ledger, x->order.id, -1, call->after, PAGE_UNITS, take_unit, x, e) != E_OK)
        return e->code;
    *more = call->after != before;
    x->more = *more;
    for (size_t i = 0; i < x->n; i++)
        if (read_unit(ledger, x, &x->unit[i], x->written + i, e) != E_OK)
            return e->code;
    if (x->format == EXPORT_UNITS)
        page_clear(x);
    return E_OK;
}

/* ---- signing, in the loop ---- */

static bool export_page(struct core *c, struct admin_call *call);

/* All of the page are back: on with it as the operator reads. */
static void one_is_back(struct export *x)
{
    if (--x->waiting == 0)
        admin_stream(x->core, x->call, export_page);
}

static void unit_signed(struct core *c, void *arg, const struct err *e, struct bytes jws)
{
    struct export_unit *u = arg;
    struct export *x = u->export;

    if (c->stopping)
        return;
    if (e->code == E_OK) {
        buf_add_bytes(&u->jws, jws);
        json_decref(u->payload);
        u->payload = NULL;
    } else if (e->code != E_BUSY) { /* a full queue: asked again */
        x->failed = *e;
    }
    one_is_back(x);
}

/* false: nothing is under way. */
static bool sign_page(struct export *x)
{
    for (size_t i = 0; i < x->n && x->failed.code == E_OK; i++) {
        struct export_unit *u = &x->unit[i];
        AUTO(char) *text = u->payload ? json_dumps(u->payload, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
        struct err e = {0};

        if (!u->payload)
            continue;
        if (!text)
            err_set(&x->failed, E_NOMEM, "unit %s", u->device_id);
        else if (record_sign(x->core, x->format == EXPORT_NATIVE ? UNIT_LINE_TYP : MANIFEST_TYP, bytes_str(text), unit_signed, u,
                             &e) == E_OK)
            x->waiting++;
        else if (e.code != E_BUSY)
            x->failed = e;
    }
    return x->waiting != 0;
}

static bool page_is_signed(const struct export *x)
{
    for (size_t i = 0; i < x->n; i++)
        if (x->unit[i].payload)
            return false;
    return true;
}

static void write_page(struct export *x)
{
    for (size_t i = 0; i < x->n; i++) {
        const struct buf *jws = &x->unit[i].jws;

        merkle_add(&x->tree, buf_bytes(jws));
        admin_row(x->call, json_pack("{s:s, s:o}", "device_id", x->unit[i].device_id, "jws",
                                     json_stringn((const char *)jws->p, jws->len)));
    }
    x->written += x->n;
    page_clear(x);
}

static void index_signed(struct core *c, void *arg, const struct err *e, struct bytes jws)
{
    struct export *x = arg;

    if (c->stopping)
        return;
    if (e->code != E_OK)
        admin_fail(x->call, e);
    else
        admin_done(x->call, json_pack("{s:I, s:o}", "count", (json_int_t)x->written, "index",
                                      json_stringn((const char *)jws.p, jws.len)), -1);
}

/* How many lines there are and the root of their tree: what a list that lost one cannot have. */
static enum err_code sign_index(struct export *x, struct err *e)
{
    AUTO_JSON *index = NULL;
    AUTO(char) *text = NULL;
    uint8_t root[32];

    merkle_root(&x->tree, root);
    index = json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:I, s:o, s:s, s:o}", "format", 1, "order", x->order.order_no, "domain",
                      x->order.domain, "product", x->order.product, "order_state",
                      order_state_name((enum order_state)x->order.state), "export", x->id, "count", (json_int_t)x->written, "root",
                      json_hex(BYTES_OF(root)), "tree", "rfc6962-sha256", "order_file_sha256",
                      json_hex(BYTES_OF(x->order.file_hash)));
    put_time(index, "created_at", core_stamp(x->core));
    text = json_dumps(index, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        return err_set(e, E_NOMEM, "index");
    return record_sign(x->core, UNIT_INDEX_TYP, bytes_str(text), index_signed, x, e);
}

static void page_read(struct core *c, struct admin_call *call, enum err_code code, const struct err *e)
{
    call->read = NULL; /* the pump asks export_page again */
    if (code != E_OK)
        admin_fail(call, e);
    else
        admin_stream(c, call, export_page);
}

static bool export_page(struct core *c, struct admin_call *call)
{
    struct export *x = call->state;
    struct err e = {0};

    if (x->failed.code != E_OK) {
        admin_fail(call, &x->failed);
        return false;
    }
    if (x->n && !page_is_signed(x))
        return !sign_page(x);
    if (x->n) {
        write_page(x);
        return true;
    }
    if (x->more)
        admin_read_then(c, call, READER_PAGES, read_page, page_read);
    else if (x->format != EXPORT_NATIVE)
        admin_done(call, json_pack("{s:I}", "count", (json_int_t)x->written), -1);
    else if (sign_index(x, &e) != E_OK)
        admin_fail(call, &e);
    return false;
}

/* ---- the operation ---- */

static enum err_code export_begin(struct core *c, struct admin_call *call, struct export *x, struct err *e)
{
    const char *format = admin_text(call, "format");
    uint8_t id[16];

    for (x->format = 0; x->format < EXPORT_FORMATS && strcmp(format_names[x->format], format) != 0;)
        x->format++;
    if (x->format == EXPORT_FORMATS)
        return err_set(e, E_INVALID, "format: units, native or microchip");
    if (store_order_by_no(c->store, admin_text(call, "order"), &x->order, e) != E_OK)
        return e->code == E_NOT_FOUND ? err_set(e, E_NOT_FOUND, "there is no order %s", admin_text(call, "order")) : e->code;
    x->order.stations = x->order.firmware = x->order.targets = x->order.note = NULL; /* lent by the statement */
    x->has_secrets = x->order.customer_key.len > 0;
    x->order.customer_key = (struct bytes){NULL, 0};
    if (x->format == EXPORT_MANIFEST && c->record.alg != SIG_ECDSA_SHA256)
        return err_set(e, E_CONFLICT, "a manifest is signed with ES256: the record key is not p256");
    if (random_bytes(id, sizeof(id), e) != E_OK)
        return e->code;
    hex_encode(id, sizeof(id), x->id);
    x->core = c;
    x->call = call;
    x->more = true;
    return E_OK;
}

void op_order_export(struct core *c, struct admin_call *call)
{
    struct export *x = calloc(1, sizeof(*x));
    struct err e = {0};

    call->state = x;
    call->state_free = export_free;
    if (!x || export_begin(c, call, x, &e) != E_OK) {
        if (!x)
            err_set(&e, E_NOMEM, "export");
        core_doubt(c, &e);
        admin_fail(call, &e);
    } else if (x->format == EXPORT_UNITS) {
        admin_list(c, call, read_page);
    } else {
        admin_stream(c, call, export_page);
    }
}
