/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Orders as time goes on: unconfirmed certificates go on hold, and an order that closes ends its units in transactions of a few
 * hundred, so that the line beside it goes on. Every step reads from the ledger where it is: a crash in between is finished by
 * the next start.
 */
#include <string.h>

#include "base/clock.h"
#include "ca/factory_int.h"
#include "ca/order_report.h"

#define STEP_UNITS  250
#define COUNT_UNITS 20000 /* ids counted in one step */
#define CLOSE_AGAIN_TICKS (10 * 4)

enum closing_phase { CLOSING_UNITS, CLOSING_COUNT };

struct order_closing {
    struct core *core;
    struct work_order *order;
    struct actor by;
    struct event *step;
    enum closing_phase phase;
    uint64_t at, last;         /* unit rows: done up to `at`, there are none after `last` */
    struct order_tally counted; /* from the rows */
    order_fn done;             /* NULL: nobody waits */
    void *arg;
    int64_t first, last_change; /* when its units were worked on; 0 = there are none */
};

/* ---- some units, changed in one transaction ---- */

struct batch {
    struct unit_row unit[STEP_UNITS];
    char device_id[STEP_UNITS][ID_MAX_LEN + 1];
    size_t n;
    uint64_t seen;
    enum unit_event event;
};

static bool take_unit(void *arg, const struct unit_row *row)
{
    struct batch *b = arg;
    enum unit_state next;

    b->seen = row->id;
    if (unit_rule((enum unit_state)row->state, b->event, row->confirmed_at != 0, &next) != UNIT_GOES)
        return true;
    b->unit[b->n] = *row;
    text_copy(b->device_id[b->n], sizeof(b->device_id[0]), row->device_id);
    b->unit[b->n].device_id = b->device_id[b->n];
    b->n++;
    return true;
}

static enum err_code change_batch(struct core *c, const struct work_order *only, struct batch *b, const struct actor *by,
                                  struct err *e)
{
    struct unit_cause why = {.by = by};
    int64_t now = core_stamp(c);
    bool changed;

    if (b->n == 0)
        return E_OK;
    if (core_begin(c, e) != E_OK)
        return e->code;
    for (size_t i = 0; i < b->n; i++) {
        const struct work_order *o = only ? only : factory_live_by_id(c, b->unit[i].order);

        if (o && factory_change(c, o, &b->unit[i], b->event, &why, now, &changed, e) != E_OK) {
            core_doubt(c, e);
            core_rollback(c);
            return e->code;
        }
    }
    core_commit(c);
    revoke_changed(c);
    return E_OK;
}

/* ---- hold ---- */

static void hold_due(struct core *c)
{
    struct batch *b = calloc(1, sizeof(*b));
    struct log_line l;
    struct err e = {0};

    if (!b)
        return; /* a second later again */
    b->event = UNIT_DO_HOLD;
    if (store_unit_due(c->store, core_stamp(c), STEP_UNITS, take_unit, b, &e) != E_OK ||
        change_batch(c, NULL, b, &ACTOR_CORE, &e) != E_OK) {
        core_doubt(c, &e);
        log_failure("units-not-held", &e);
    } else if (b->n) {
        log_begin(&l, LOG_WARN, "units-held");
        log_u64(&l, "count", b->n);
        log_str(&l, "why", "not confirmed in time");
        log_end(&l);
    }
    free(b);
}

/* ---- close ---- */

static void closing_drop(struct order_closing *k)
{
    k->order->closing = NULL;
    event_free(k->step);
    free(k);
}

static void closing_end(struct order_closing *k, enum err_code code, const struct err *e)
{
    order_fn done = k->done;
    void *done_arg = k->arg;
    struct core *c = k->core;

    closing_drop(k);
    if (done)
        done(c, done_arg, code, e);
}


static void log_close(const struct work_order *o, const char *event, const struct err *e)
{
    struct log_line l;

    log_begin(&l, e ? LOG_ERROR : LOG_INFO, event);
    log_str(&l, "order", o->order_no);
    if (e)
        log_err(&l, e);
    log_end(&l);
}

static enum err_code end_units(struct order_closing *k, struct err *e)
{
    struct core *c = k->core;
    struct batch *b = calloc(1, sizeof(*b));
    enum err_code code = b ? E_OK : err_set(e, E_NOMEM, "closing");

    if (b) {
        b->event = UNIT_DO_FORCE; /* whether that is allowed was asked before the order began to close */
        code = store_unit_each(c->store, k->order->id, -1, k->at, STEP_UNITS, take_unit, b, e);
    }
    if (code == E_OK)
        code = change_batch(c, k->order, b, &k->by, e);
    if (code == E_OK && b->seen)
        k->at = b->seen;
    if (code == E_OK && !b->seen) {
        k->phase = CLOSING_COUNT;
        k->at = k->order->units_after;
    }
    free(b);
    return code;
}

static void tally_sum(struct order_tally *sum, const struct order_tally *more)
{
    sum->reserved += more->reserved;
    sum->issued += more->issued;
    sum->confirmed += more->confirmed;
    sum->packed += more->packed;
    sum->shipped += more->shipped;
    sum->unused += more->unused;
    sum->voided += more->voided;
    sum->orphaned += more->orphaned;
    sum->scrapped += more->scrapped;
    sum->rekeyed += more->rekeyed;
    sum->reworked += more->reworked;
    sum->stock += more->stock;
}

static enum err_code unequal(const struct work_order *o, const char *equation, const struct order_tally *t, struct err *e)
{
    return err_set(e, E_CONFLICT, "order %s: %s does not hold: reserved %lld, issued %lld, unused %lld, confirmed %lld, void %lld, "
                                  "orphan %lld, shipped %lld, stock %lld, scrapped %lld",
                   o->order_no, equation, (long long)t->reserved, (long long)t->issued, (long long)t->unused,
                   (long long)t->confirmed, (long long)t->voided, (long long)t->orphaned, (long long)t->shipped,
                   (long long)t->stock, (long long)t->scrapped);
}

/* The counts of the rows are those that were kept, and the three equations hold. */
static enum err_code prove(struct core *c, const struct work_order *o, const struct order_tally *rows, struct err *e)
{
    struct order_tally kept, same = *rows;

    if (store_tally(c->store, o->id, &kept, e) != E_OK)
        return e->code;
    kept.next = kept.captured = same.stock = 0;
    if (memcmp(&kept, &same, sizeof(kept)) != 0)
        return err_set(e, E_CONFLICT, "order %s: the counts that were kept differ from its units", o->order_no);
    if (rows->reserved != rows->issued + rows->unused)
        return unequal(o, "reserved = issued + unused", rows, e);
    if (rows->issued != rows->confirmed + rows->voided + rows->orphaned)
        return unequal(o, "issued = confirmed + void + orphan", rows, e);
    if (rows->confirmed != rows->shipped + rows->stock + rows->scrapped)
        return unequal(o, "confirmed = shipped + stock + scrapped", rows, e);
    return E_OK;
}

/* A difference is for a person: nothing is signed, the order stays as it is. */
static void raise_alarm(struct core *c, const struct work_order *o, const struct err *why)
{
    char object[UNIT_OBJECT_MAX];
    struct alarm_row alarm = {.time = core_stamp(c), .kind = "order-counts-differ", .domain = o->domain, .object = object,
                              .text = why->msg};
    struct err e = {0};
    enum err_code code;

    snprintf(object, sizeof(object), "order:%s", o->order_no);
    if (core_begin(c, &e) != E_OK)
        return;
    code = store_alarm_insert(c->store, &alarm, &e);
    if (code == E_OK)
        code = core_audit(c, &ACTOR_CORE, "alarm-raised", o->domain, object,
                          json_pack("{s:s, s:s}", "kind", alarm.kind, "why", why->msg), core_stamp(c), &e);
    core_end(c, code, &e);
}

static enum err_code close_row(struct order_closing *k, struct err *e)
{
    const struct order_tally *t = &k->counted;
    struct core *c = k->core;
    struct work_order *o = k->order;
    char object[UNIT_OBJECT_MAX];
    int64_t now = core_stamp(c);

    if (prove(c, o, t, e) != E_OK) {
        if (e->code == E_CONFLICT)
            raise_alarm(c, o, e);
        return e->code;
    }
    snprintf(object, sizeof(object), "order:%s", o->order_no);
    if (core_begin(c, e) != E_OK)
        return e->code;
    if (store_order_set_state(c->store, o->id, ORDER_CLOSED, now, e) != E_OK ||
        core_audit(c, &k->by, "order-closed", o->domain, object, factory_counts_json(t), now, e) != E_OK ||
        order_report_write(c, o, t, k->first, k->last_change, now, e) != E_OK) {
        core_doubt(c, e);
        core_rollback(c);
        return e->code;
    }
    core_commit(c);
    o->state = ORDER_CLOSED;
    o->closed_at = now;
    order_report_sign(c, o);
    return E_OK;
}

static enum err_code count_some(struct order_closing *k, struct err *e)
{
    uint64_t to = k->at + COUNT_UNITS;
    struct order_tally t;
    int64_t first, last;

    if (store_unit_last(k->core->store, &k->last, e) != E_OK ||
        store_tally_of_units(k->core->store, k->order->id, k->at, to, &t, e) != E_OK ||
        store_span_of_units(k->core->store, k->order->id, k->at, to, &first, &last, e) != E_OK)
        return e->code;
    tally_sum(&k->counted, &t);
    if (first && (!k->first || first < k->first))
        k->first = first;
    if (last > k->last_change)
        k->last_change = last;
    k->at = to;
    return E_OK;
}

static void on_step(evutil_socket_t fd, short what, void *arg)
{
    struct order_closing *k = arg;
    struct core *c = k->core;
    struct work_order *o = k->order;
    struct timeval soon = {0, 0};
    struct err e = {0};
    bool counted = false;
    enum err_code code;

    (void)fd;
    (void)what;
    if (c->stopping)
        return;
    code = core_may_sign(c, clock_now(), &e);
    if (code == E_OK && k->phase == CLOSING_UNITS) {
        code = end_units(k, &e);
    } else if (code == E_OK) {
        code = count_some(k, &e);
        counted = k->at >= k->last;
    }
    if (code == E_OK && counted)
        code = close_row(k, &e);
    if (code == E_OK && !counted) {
        evtimer_add(k->step, &soon);
        return;
    }
    if (code == E_OK) {
        log_close(o, "order-closed", NULL);
        closing_end(k, E_OK, &e);
        return;
    }
    core_doubt(c, &e);
    if (e.code == E_CONFLICT)
        o->close_error = e;
    o->close_at = c->ticks + CLOSE_AGAIN_TICKS;
    log_close(o, "order-not-closed", &e);
    closing_end(k, code, &e);
}

static enum err_code closing_start(struct core *c, struct work_order *o, const struct actor *by, order_fn done, void *arg,
                                   struct err *e)
{
    struct order_closing *k = calloc(1, sizeof(*k));
    struct timeval now = {0, 0};

    if (!k || !(k->step = evtimer_new(c->base, on_step, k))) {
        free(k);
        return err_set(e, E_NOMEM, "closing");
    }
    k->core = c;
    k->order = o;
    k->by = *by;
    k->by.request_digest = (struct bytes){NULL, 0}; /* it was the caller's */
    k->at = o->units_after;
    k->done = done;
    k->arg = arg;
    o->closing = k;
    o->close_error = (struct err){0};
    evtimer_add(k->step, &now);
    return E_OK;
}

static enum err_code begin_to_close(struct core *c, struct work_order *o, const struct actor *by, bool force, struct err *e)
{
    char object[UNIT_OBJECT_MAX];
    uint64_t open = 0;

    if (store_units_reworked(c->store, o->id, &open, e) != E_OK)
        return e->code;
    if (open && !force)
        return err_set(e, E_CONFLICT, "%llu units of order %s are under rework or were not confirmed again: finish them, or close "
                                      "with force, which scraps them", (unsigned long long)open, o->order_no);
    snprintf(object, sizeof(object), "order:%s", o->order_no);
    if (core_begin(c, e) != E_OK)
        return e->code;
    if (store_order_set_state(c->store, o->id, ORDER_CLOSING, 0, e) != E_OK ||
        core_audit(c, by, "order-closing", o->domain, object, json_pack("{s:b, s:I}", "force", force, "rework", (json_int_t)open),
                   core_stamp(c), e) != E_OK) {
        core_doubt(c, e);
        core_rollback(c);
        return e->code;
    }
    core_commit(c);
    o->state = ORDER_CLOSING;
    links_send_config(c);
    return E_OK;
}

enum err_code factory_close(struct core *c, struct work_order *o, const struct actor *by, bool force, order_fn done,
                            void *arg, struct err *e)
{
    if (o->state == ORDER_CLOSED)
        return err_set(e, E_CONFLICT, "order %s is closed already", o->order_no);
    if (o->state == ORDER_OPEN && begin_to_close(c, o, by, force, e) != E_OK)
        return e->code;
    if (o->closing && o->closing->done)
        return err_set(e, E_BUSY, "order %s is being closed by another call", o->order_no);
    if (!o->closing)
        return closing_start(c, o, by, done, arg, e);
    o->closing->done = done; /* a start found it half closed */
    o->closing->arg = arg;
    return E_OK;
}

void factory_close_stop(struct work_order *o)
{
    if (o->closing)
        closing_drop(o->closing);
}

void factory_tick(struct core *c)
{
    struct work_order *o;
    struct err e = {0};

    if (c->seal != SEAL_NONE || core_may_sign(c, clock_now(), &e) != E_OK)
        return;
    hold_due(c);
    /* Those that a start found half closed, or that met a passing failure; one whose counts differ waits for an operator. */
    LIST_FOREACH(o, &c->factory->orders, link)
    {
        if (o->state == ORDER_CLOSING && !o->closing && o->close_error.code == E_OK && c->ticks >= o->close_at &&
            closing_start(c, o, &ACTOR_CORE, NULL, NULL, &e) != E_OK)
            log_failure("order-not-closed", &e);
    }
}
