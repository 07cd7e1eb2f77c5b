/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/alarm.h"

static void log_alarm(const struct alarm_row *row)
{
    struct log_line l;

    log_begin(&l, LOG_WARN, "alarm-raised");
    log_str(&l, "kind", row->kind);
    log_str(&l, "domain", row->domain[0] ? row->domain : NULL);
    log_str(&l, "object", row->object);
    log_str(&l, "text", row->text);
    log_end(&l);
}

enum err_code alarm_raise(struct core *c, const char *kind, const char *domain, const char *object, const char *text, struct err *e)
{
    struct alarm_row row = {.time = core_stamp(c), .kind = kind, .domain = domain ? domain : "", .object = object, .text = text};
    struct err again = {0};
    enum err_code code = store_alarm_insert(c->store, &row, &again);

    if (code == E_CONFLICT) /* open already */
        return E_OK;
    if (code != E_OK) {
        *e = again;
        return code;
    }
    log_alarm(&row);
    return core_audit(c, &ACTOR_CORE, "alarm-raised", row.domain, object, json_pack("{s:s, s:s}", "kind", kind, "text", text),
                      row.time, e);
}

enum err_code alarm_clear(struct core *c, const char *kind, const char *domain, const char *object, struct err *e)
{
    struct err none = {0};
    enum err_code code = store_alarm_clear(c->store, kind, domain ? domain : "", object, core_stamp(c), &none);

    if (code == E_OK || code == E_NOT_FOUND)
        return E_OK;
    *e = none;
    return code;
}
