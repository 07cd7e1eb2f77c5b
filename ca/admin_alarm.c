/* SPDX-License-Identifier: Apache-2.0 */
/* Administration of alarms: who has looked at what. */
#include <stdlib.h>
#include <string.h>

#include "ca/admin_int.h"
#include "ca/alarm.h"
#include "ca/store/alarm.h"

#define ALARM_PAGE 100

json_t *json_alarm(const struct alarm_row *row)
{
    const char *state = row->cleared_at ? "cleared" : row->acked_at ? "acked" : "open";

    return json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:I, s:b}", "id", (json_int_t)row->id, "kind", row->kind, "state",
                     state, "domain", row->domain, "object", row->object, "text", row->text, "raised_at", (json_int_t)row->time, "acked_at",
                     (json_int_t)row->acked_at, "acked_by", row->acked_by, "note", row->note, "cleared_at", (json_int_t)row->cleared_at,
                     "ends_by_itself", alarm_ends_by_itself(row->kind));
}

static bool put_alarm(void *arg, const struct alarm_row *row)
{
    struct admin_call *call = arg;

    call->after = row->id;
    call->left++;
    admin_row(call, json_alarm(row));
    return true;
}

static enum err_code alarm_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    call->left = 0;
    if (store_alarm_page(ledger, !json_is_true(json_object_get(call->args, "all")), call->after, ALARM_PAGE, put_alarm, call, e) != E_OK)
        return e->code;
    *more = call->left == ALARM_PAGE;
    return E_OK;
}

void op_alarm_list(struct core *c, struct admin_call *call)
{
    admin_list(c, call, alarm_page);
}

static void answer(struct core *c, struct admin_call *call, uint64_t id)
{
    struct alarm_row row;
    struct err e = {0};
    enum err_code code = store_alarm_by_id(c->store, id, &row, &e);

    if (code == E_OK) {
        admin_done(call, json_alarm(&row), -1);
        return;
    }
    core_doubt(c, &e);
    if (code == E_NOT_FOUND)
        err_set(&e, E_NOT_FOUND, "there is no alarm %llu", (unsigned long long)id);
    admin_fail(call, &e);
}

void op_alarm_show(struct core *c, struct admin_call *call)
{
    answer(c, call, strtoull(admin_text(call, "id"), NULL, 10));
}

/* An alarm about what passes stays open until it has passed; the others end here, since nothing else would end them. */
static enum err_code acknowledge(struct core *c, struct admin_call *call, uint64_t id, struct err *e)
{
    const char *note = admin_text(call, "note");
    char kind[ID_MAX_LEN + 1], domain[ID_MAX_LEN + 1], object[256];
    struct alarm_row row;
    enum err_code code = store_alarm_by_id(c->store, id, &row, e);

    if (code == E_NOT_FOUND)
        return err_set(e, E_NOT_FOUND, "there is no alarm %llu", (unsigned long long)id);
    if (code != E_OK)
        return code;
    if (row.acked_at || row.cleared_at) /* again: no change */
        return E_OK;
    text_copy(kind, sizeof(kind), row.kind);
    text_copy(domain, sizeof(domain), row.domain);
    text_copy(object, sizeof(object), row.object);
    if (store_alarm_ack(c->store, id, call->by.name, note ? note : "", core_stamp(c), e) != E_OK ||
        core_audit(c, &call->by, "alarm-acked", domain, object,
                   json_pack("{s:I, s:s, s:s}", "alarm", (json_int_t)id, "kind", kind, "note", note ? note : ""), core_stamp(c), e) != E_OK)
        return e->code;
    return alarm_ends_by_itself(kind) ? E_OK : alarm_clear(c, kind, domain, object, e);
}

void op_alarm_ack(struct core *c, struct admin_call *call)
{
    uint64_t id = strtoull(admin_text(call, "id"), NULL, 10);
    struct err e = {0};
    enum err_code code = core_begin(c, &e);

    if (code == E_OK) {
        code = acknowledge(c, call, id, &e);
        core_end(c, code, &e);
    }
    if (code == E_OK)
        answer(c, call, id);
    else
        admin_fail(call, &e);
}
