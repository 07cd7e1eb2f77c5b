/* SPDX-License-Identifier: Apache-2.0 */
/* Work orders and units as JSON, for stations and operators. Runs with any store: the core's, or a reader's in its thread. */
#include <string.h>

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

/* Texts of the row, one a line, as a list. */
static json_t *texts_json(const char *text)
{
    json_t *list = json_array();

    for (const char *p = text ? text : ""; *p;) {
        size_t n = strcspn(p, "\n");

        json_array_append_new(list, json_stringn(p, n));
        p += n + (p[n] != '\0');
    }
    return list;
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

#define EVENT_FRAME 512 /* octets of an event without its detail, at most */

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
    char serial[SERIAL_MAX_LEN * 2 + 1], hash[65];

    if (store_cert_by_id(s, id, &row, e) != E_OK)
        return NULL;
    hex_encode(row.serial, row.serial_len, serial);
    hex_encode(row.der_hash, sizeof(row.der_hash), hash);
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "serial", serial, "sha256", hash, "status",
                     row.status < ARRAY_LEN(names) ? names[row.status] : "", "issued_at", (json_int_t)row.issued_at,
                     "not_before", (json_int_t)row.not_before, "not_after", (json_int_t)row.not_after);
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

    if ((cert && !c) || store_unit_event_each(s, id, events_max, put_event, &ev, e) != E_OK) {
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
