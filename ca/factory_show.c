/* SPDX-License-Identifier: Apache-2.0 */
/* Work orders and units as JSON, for stations and operators. Runs with any store: the core's, or a reader's in its thread. */
#include <string.h>

#include "ca/admin_int.h"
#include "ca/factory_int.h"

static bool put_refusal(void *arg, const char *reason, uint64_t n)
{
    return json_object_set_new(arg, reason, json_integer((json_int_t)n)) == 0;
}

json_t *factory_counts_json(const struct order_tally *t)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "reserved", (json_int_t)t->reserved,
                     "captured", (json_int_t)t->captured, "issued", (json_int_t)t->issued, "confirmed",
                     (json_int_t)t->confirmed, "packed", (json_int_t)t->packed, "shipped", (json_int_t)t->shipped, "stock",
                     (json_int_t)(t->confirmed - t->shipped - t->scrapped), "unused", (json_int_t)t->unused, "void",
                     (json_int_t)t->voided, "orphan", (json_int_t)t->orphaned, "scrapped", (json_int_t)t->scrapped, "rekeyed",
                     (json_int_t)t->rekeyed, "reworked", (json_int_t)t->reworked);
}

#define TEXTS_SHOWN 4096 /* octets of a list: what is told of an order fits one answer */

/* Texts of the row, one a line, as a list; of a very long one the beginning. */
static json_t *texts_json(const char *text)
{
    json_t *list = json_array();
    const char *begin = text ? text : "";

    for (const char *p = begin; *p;) {
        size_t n = strcspn(p, "\n");

        if (p + n > begin + TEXTS_SHOWN) {
            json_array_append_new(list, json_string("..."));
            break;
        }
        json_array_append_new(list, json_stringn(p, n));
        p += n + (p[n] != '\0');
    }
    return list;
}

/* Which numbers are the order's, and whose key its secrets are for: what the signed file said beside names and counts. */
static void put_scope(json_t *j, const struct order_row *row)
{
    char ids[2 * (ID_MAX_LEN + ORDER_DIGITS_MAX) + 8] = "a list";
    uint8_t hash[32];

    if (!row->by_list)
        snprintf(ids, sizeof(ids), "%s%0*llu to %s%0*llu", row->prefix, (int)row->digits, (unsigned long long)row->first, row->prefix,
                 (int)row->digits, (unsigned long long)(row->first + row->quantity - 1));
    json_object_set_new(j, "device_ids", json_string(ids));
    json_object_set_new(j, "stations", texts_json(row->stations));
    json_object_set_new(j, "firmware", texts_json(row->firmware));
    json_object_set_new(j, "evidence", json_string(row->evidence_required ? "required" : "none"));
    json_object_set_new(j, "defer_allowed", json_integer((json_int_t)row->defer_allowed));
    if (row->customer_key.len == 0)
        return;
    sha256(row->customer_key, hash);
    json_object_set_new(j, "customer_key_sha256", json_hex(BYTES_OF(hash)));
}

json_t *factory_order_json(struct store *s, const struct order_row *row, struct err *e)
{
    static const char *const modes[ORDER_KEY_MODES] = {"device", "server", "server-encrypted"};
    struct order_tally t;
    json_t *refused = json_object(), *j;
    uint64_t id = row->id;

    j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o}", "order",
                  row->order_no, "domain", row->domain, "product", row->product, "model", row->model, "lot", row->lot, "line",
                  row->line, "profile", row->profile, "state", order_state_name((enum order_state)row->state), "key_mode",
                  row->key_mode < ORDER_KEY_MODES ? modes[row->key_mode] : "", "quantity", (json_int_t)row->quantity,
                  "not_before", (json_int_t)row->not_before, "not_after", (json_int_t)row->not_after, "opened_at",
                  (json_int_t)row->opened_at, "closed_at", (json_int_t)row->closed_at, "rekeys_allowed",
                  (json_int_t)row->rekeys_allowed, "rework_allowed", (json_int_t)row->rework_allowed, "orphan_after_s",
                  (json_int_t)row->orphan_after_s, "signer", row->signer, "targets", texts_json(row->targets));
    put_scope(j, row);
    if (store_tally(s, id, &t, e) != E_OK || store_order_refusals(s, id, put_refusal, refused, e) != E_OK) {
        json_decref(j);
        json_decref(refused);
        return NULL;
    }
    if (row->state == ORDER_OPENING) /* a kill leaves it so, and only the file has the rest of the list */
        json_object_set_new(j, "needs", json_string("its file: inkan order open, if that is not at work now"));
    json_object_set_new(j, "counts", factory_counts_json(&t));
    json_object_set_new(j, "refused", refused);
    return j;
}

#define EVENT_FRAME 512 /* octets of an event without its detail, and what the name of a certificate adds, at most */

struct events {
    json_t *list;
    size_t room;
};

/* The newest come first: a long record loses its beginning. */
static bool put_event(void *arg, const struct unit_event_row *row)
{
    struct events *ev = arg;
    size_t len = EVENT_FRAME + strlen(row->detail);
    json_t *detail;

    if (len > ev->room)
        return false;
    ev->room -= len;
    detail = json_loads(row->detail, 0, NULL);
    json_array_insert_new(ev->list, 0, json_pack("{s:I, s:s, s:s, s:s, s:s, s:o}", "time", (json_int_t)row->time, "event", row->event,
                                              "station", row->station_name, "badge", row->badge, "tool", row->tool, "detail",
                                              detail ? detail : json_object()));
    return true;
}

static json_t *cert_json(struct store *s, uint64_t id, struct err *e)
{
    static const char *const names[] = {"good", "on_hold", "revoked"};
    struct cert_row row;

    if (store_cert_by_id(s, id, &row, e) != E_OK)
        return NULL;
    return json_pack("{s:o, s:o, s:o, s:s, s:I, s:I, s:I}", "serial", json_hex(BYTES(row.serial, row.serial_len)), "sha256",
                     json_hex(BYTES_OF(row.der_hash)), "spki_sha256", json_hex(BYTES_OF(row.spki_hash)), "status",
                     row.status < ARRAY_LEN(names) ? names[row.status] : "", "issued_at", (json_int_t)row.issued_at,
                     "not_before", (json_int_t)row.not_before, "not_after", (json_int_t)row.not_after);
}

/* Events hold the ledger's row of a certificate, which says nothing to anybody else. */
static enum err_code name_certificates(struct store *s, json_t *events, struct err *e)
{
    struct cert_row row;
    json_t *event;
    size_t i;

    json_array_foreach(events, i, event)
    {
        json_t *detail = json_object_get(event, "detail"), *cert = json_object_get(detail, "cert");

        if (!json_is_integer(cert))
            continue;
        if (store_cert_by_id(s, (uint64_t)json_integer_value(cert), &row, e) != E_OK)
            return e->code;
        json_object_set_new(detail, "cert", json_pack("{s:o, s:o}", "serial", json_hex(BYTES(row.serial, row.serial_len)), "spki_sha256",
                                                      json_hex(BYTES_OF(row.spki_hash))));
    }
    return E_OK;
}

json_t *factory_unit_json(struct store *s, const char *order_no, const struct unit_row *u, size_t events_max, size_t room,
                          struct err *e)
{
    struct events ev = {.list = json_array(), .room = room};
    uint64_t id = u->id, cert = u->cert;
    json_t *j = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "order", order_no, "device_id",
                          u->device_id, "state", unit_state_name((enum unit_state)u->state), "ordinal", (json_int_t)u->ordinal,
                          "reserved_at", (json_int_t)u->reserved_at, "issued_at", (json_int_t)u->issued_at, "confirmed_at",
                          (json_int_t)u->confirmed_at, "packed_at", (json_int_t)u->packed_at, "shipped_at",
                          (json_int_t)u->shipped_at, "ended_at", (json_int_t)u->ended_at, "rekeys", (json_int_t)u->rekeys,
                          "reworks", (json_int_t)u->reworks);
    json_t *c = cert ? cert_json(s, cert, e) : NULL;

    if ((cert && !c) || store_unit_event_each(s, id, events_max, put_event, &ev, e) != E_OK || name_certificates(s, ev.list, e) != E_OK) {
        json_decref(j);
        json_decref(c);
        json_decref(ev.list);
        return NULL;
    }
    if (c)
        json_object_set_new(j, "cert", c);
    json_object_set_new(j, "events", ev.list);
    return j;
}
