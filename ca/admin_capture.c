/* SPDX-License-Identifier: Apache-2.0 */
/* Administration of captured requests: units whose signature waits for the token. */
#include <string.h>

#include "ca/admin_int.h"
#include "ca/capture.h"
#include "ca/store/factory.h"

#define PAGE_ROWS 200

/* ---- list ---- */

struct page {
    struct admin_call *call;
    size_t n;
};

static bool put_capture(void *arg, const struct capture_row *row)
{
    struct page *p = arg;

    admin_row(p->call, json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:s}", "order", row->order_no, "device_id", row->device_id,
                                 "state", capture_state_name((enum capture_state)row->state), "station", row->station_name,
                                 "badge", row->badge, "captured_at", (json_int_t)row->captured_at, "tries",
                                 (json_int_t)row->tries, "reason", row->reason));
    p->call->after = row->unit;
    p->n++;
    return true;
}

static enum err_code capture_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    struct page p = {call, 0};

    if (store_capture_each(ledger, call->until, call->after, PAGE_ROWS, put_capture, &p, e) != E_OK)
        return e->code;
    *more = p.n == PAGE_ROWS;
    return E_OK;
}

static enum err_code order_id(struct core *c, const char *order_no, uint64_t *id, struct err *e)
{
    struct order_row row;
    enum err_code code = store_order_by_no(c->store, order_no, &row, e);

    if (code == E_OK)
        *id = row.id;
    return code == E_NOT_FOUND ? err_set(e, E_NOT_FOUND, "there is no order %s", order_no) : code;
}

void op_capture_list(struct core *c, struct admin_call *call)
{
    const char *order_no = admin_text(call, "order");
    struct err e = {0};

    if (order_no && order_id(c, order_no, &call->until, &e) != E_OK) {
        core_doubt(c, &e);
        admin_fail(call, &e);
        return;
    }
    admin_list(c, call, capture_page);
}

/* ---- one ---- */

/* "ORDER/DEVICE": the unit's row. */
static enum err_code unit_of(struct core *c, const char *text, uint64_t *unit, struct err *e)
{
    const char *slash = strchr(text, '/');
    char order_no[ORDER_NO_MAX + 1];
    struct order_row order;
    struct device_row device;
    struct unit_row row;
    enum err_code code;

    if (!slash || slash == text || (size_t)(slash - text) > ORDER_NO_MAX || !slash[1])
        return err_set(e, E_INVALID, "unit: ORDER/DEVICE");
    snprintf(order_no, sizeof(order_no), "%.*s", (int)(slash - text), text);
    if ((code = store_order_by_no(c->store, order_no, &order, e)) == E_OK &&
        (code = store_device_find(c->store, order.domain, slash + 1, &device, e)) == E_OK &&
        (code = store_unit_find(c->store, order.id, device.id, &row, e)) == E_OK)
        *unit = row.id;
    return code;
}

static void change(struct core *c, struct admin_call *call,
                   enum err_code (*fn)(struct core *c, uint64_t unit, const struct actor *by, int64_t now, struct err *e))
{
    const char *text = admin_text(call, "unit");
    struct err e = {0};
    uint64_t unit = 0;
    enum err_code code = unit_of(c, text, &unit, &e);

    if (code == E_OK && (code = core_begin(c, &e)) == E_OK) {
        code = fn(c, unit, &call->by, core_stamp(c), &e);
        if (code == E_OK) {
            core_commit(c);
            admin_done(call, NULL, -1);
            return;
        }
        core_doubt(c, &e);
        core_rollback(c);
    }
    if (code == E_NOT_FOUND)
        err_set(&e, E_NOT_FOUND, "no request of unit %s is kept", text);
    admin_fail(call, &e);
}

void op_capture_retry(struct core *c, struct admin_call *call)
{
    change(c, call, capture_retry);
}

void op_capture_drop(struct core *c, struct admin_call *call)
{
    change(c, call, capture_drop);
}
