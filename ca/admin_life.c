/* SPDX-License-Identifier: Apache-2.0 */
/* Administration of the life of devices: one operation for each change an operator makes, and what was done to a device. */
#include <string.h>

#include "ca/admin_int.h"
#include "ca/life.h"
#include "ca/store/factory.h"
#include "ca/store/life.h"
#include "ca/unit_rule.h"

#define EVENTS_SHOWN 1000

/* ---- changes of state ---- */

#define FROM(state) (1u << DEVICE_##state)

static const struct {
    const char *op;
    enum device_state to;
    unsigned from; /* 0 = any the table allows */
} verbs[] = {
    {"device.ship", DEVICE_SHIPPED, FROM(CONFIRMED)},
    {"device.unship", DEVICE_CONFIRMED, FROM(SHIPPED)},
    {"device.suspend", DEVICE_SUSPENDED, FROM(IN_SERVICE)},
    {"device.release", DEVICE_IN_SERVICE, FROM(SUSPENDED) | FROM(QUARANTINED)},
    {"device.quarantine", DEVICE_QUARANTINED, 0},
    {"device.compromise", DEVICE_COMPROMISED, 0},
    {"device.lose", DEVICE_LOST, 0},
    {"device.find", DEVICE_SUSPENDED, FROM(LOST)},
    {"device.repair", DEVICE_IN_REPAIR, 0},
    {"device.repaired", DEVICE_CONFIRMED, FROM(IN_REPAIR)},
    {"device.decommission", DEVICE_DECOMMISSIONED, FROM(SHIPPED) | FROM(IN_SERVICE) | FROM(SUSPENDED) | FROM(QUARANTINED)},
    {"device.recommission", DEVICE_IN_SERVICE, FROM(DECOMMISSIONED)},
    {"device.dispose", DEVICE_DISPOSED, 0},
};

static enum err_code change_of(const struct admin_call *call, struct life_change *ch, struct err *e)
{
    *ch = (struct life_change){.why = admin_text(call, "reason"), .evidence = admin_text(call, "evidence"),
                               .until = admin_int(call, "until", 0), .wanted = admin_text(call, "firmware_wanted"),
                               .only_from = DEVICE_STATES};
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (strcmp(verbs[i].op, call->op->name) == 0) {
            ch->to = verbs[i].to;
            ch->from = verbs[i].from;
            return E_OK;
        }
    return err_set(e, E_INTERNAL, "%s is no change of a device", call->op->name);
}

void life_acknowledge(struct core *c, struct admin_call *call, enum device_state state, bool changed, uint64_t seq)
{
    admin_done_in_force(c, call,
                        json_pack("{s:s, s:I, s:b}", "state", device_state_name(state), "seq", (json_int_t)seq, "changed", changed));
}

void op_device_change(struct core *c, struct admin_call *call)
{
    struct life_change ch;
    struct device_row row;
    uint64_t seq = 0;
    bool changed = false;
    struct err e = {0};
    enum err_code code;

    if (c->seal == SEAL_RESTORE)
        code = err_set(&e, E_STORE, "sealed: %s", c->seal_why);
    else if ((code = change_of(call, &ch, &e)) == E_OK && (code = admin_find_device(c, call, &row, &e)) == E_OK &&
             (code = core_begin(c, &e)) == E_OK) {
        code = life_apply(c, row.id, &ch, &call->by, core_stamp(c), &changed, &seq, &e);
        core_end(c, code, &e);
    }
    if (code != E_OK)
        admin_fail(call, &e);
    else
        life_acknowledge(c, call, ch.to, changed, seq);
}

void op_device_compromise_confirm(struct core *c, struct admin_call *call)
{
    struct device_row row;
    struct err e = {0};
    enum err_code code = admin_find_device(c, call, &row, &e);

    if (code == E_OK && (code = core_begin(c, &e)) == E_OK) {
        code = life_confirm_compromise(c, row.id, &call->by, core_stamp(c), &e);
        core_end(c, code, &e);
    }
    if (code != E_OK)
        admin_fail(call, &e);
    else
        admin_done(call, json_pack("{s:s}", "state", device_state_name(DEVICE_COMPROMISED)), -1);
}

void op_device_set_firmware(struct core *c, struct admin_call *call)
{
    struct device_row row;
    struct err e = {0};
    enum err_code code = admin_find_device(c, call, &row, &e);

    if (code == E_OK && (code = core_begin(c, &e)) == E_OK) {
        code = life_firmware(c, row.id, admin_text(call, "firmware"), &call->by, core_stamp(c), &e);
        if (code == E_OK)
            code = store_device_by_id(c->store, row.id, &row, &e);
        core_end(c, code, &e);
    }
    if (code != E_OK)
        admin_fail(call, &e);
    else
        life_acknowledge(c, call, (enum device_state)row.state, true, c->devices_changed ? core_seq(c) : c->purge_seq);
}

/* ---- what was done to a device ---- */

static json_t *told(int64_t time, const char *event, const char *from, const char *to, const char *by, const char *why,
                    const char *evidence)
{
    return json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:s}", "time", (json_int_t)time, "event", event, "from", from, "to", to, "by", by,
                     "why", why, "evidence", evidence);
}

static bool take_event(void *arg, const struct device_event_row *row)
{
    struct life_rule rule;
    const char *event;

    (void)life_rule(row->from, row->to, &rule);
    event = row->from == row->to ? "suspend" : rule.trigger; /* of a unit that was found */
    json_array_append_new(arg, told(row->time, event, device_state_name(row->from), device_state_name(row->to), row->actor,
                                    row->reason, row->evidence));
    return true;
}

/* They come newest first. */
static bool take_unit_event(void *arg, const struct unit_event_row *row)
{
    const char *detail = strcmp(row->event, "secret") == 0 ? "" : row->detail; /* a CMS for the customer: who reads here has no use for it */

    json_array_insert_new(arg, 0, told(row->time, row->event, "", "", row->station_name, "", detail));
    return true;
}

/* Before the first change of a device in service. */
static void put_enrollment(json_t *list, int64_t at)
{
    enum device_state from;
    size_t i = 0;

    while (i < json_array_size(list) &&
           device_state_from_name(json_string_value(json_object_get(json_array_get(list, i), "from")), &from) && from < DEVICE_IN_SERVICE)
        i++;
    json_array_insert_new(list, i, told(at, "first-enrollment", "", device_state_name(DEVICE_IN_SERVICE), "", "", ""));
}

static json_int_t time_of(const json_t *list, size_t i)
{
    return json_integer_value(json_object_get(json_array_get(list, i), "time"));
}

/* What the line did, what brought it into service, what was done to it since: in the order of time. */
static enum err_code history_of(struct core *c, const struct device_row *row, struct admin_call *call, struct err *e)
{
    AUTO_JSON *line = json_array(), *later = json_array();
    uint64_t id = row->id;
    int64_t enrolled_at = row->enrolled_at;
    struct unit_row unit;
    size_t i = 0, k = 0;
    enum err_code code;

    json_array_append_new(line, told(row->declared_at, "declared", "", device_state_name(DEVICE_DECLARED), "", "", ""));
    code = store_device_event_each(c->store, id, 0, take_event, later, e);
    if (code == E_OK && (code = store_unit_newest(c->store, id, &unit, e)) == E_OK) {
        AUTO_JSON *events = json_array();

        code = store_unit_event_each(c->store, unit.id, EVENTS_SHOWN, take_unit_event, events, e);
        json_array_extend(line, events);
    }
    if (code != E_OK && code != E_NOT_FOUND)
        return code;
    if (enrolled_at)
        put_enrollment(later, enrolled_at);
    while (i < json_array_size(line) || k < json_array_size(later)) {
        bool next = k == json_array_size(later) || (i < json_array_size(line) && time_of(line, i) <= time_of(later, k));

        admin_row(call, json_incref(json_array_get(next ? line : later, next ? i++ : k++)));
    }
    return E_OK;
}

void op_device_history(struct core *c, struct admin_call *call)
{
    struct device_row row;
    struct err e = {0};
    enum err_code code = admin_find_device(c, call, &row, &e);

    if (code == E_OK)
        code = history_of(c, &row, call, &e);
    if (code != E_OK)
        admin_fail(call, &e);
    else
        admin_done(call, NULL, -1);
}
