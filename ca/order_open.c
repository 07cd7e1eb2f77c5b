/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A verified order file becomes a work order of the ledger; a list of a million ids, and the megabytes it came in, do so in many
 * short transactions, between which the loop has its turn.
 */
#include <string.h>

#include "base/clock.h"
#include "ca/factory_int.h"

#define STEP_MS    5             /* of rows in one transaction, commit apart */
#define STEP_LOOK  100           /* so many ids, then a look at the clock */
#define PART_LEN   (128 << 10)   /* of the file, in one row */

struct order_opening {
    LIST_ENTRY(order_opening) link;
    struct core *core;
    struct actor by;
    struct order_spec spec; /* owned, as is `file` */
    struct buf file;
    struct event *step;
    uint64_t id;            /* of the row */
    size_t file_at, at;     /* octets of the file and of the list that are in the ledger */
    order_fn done;
    void *arg;
};

static void opening_free(struct order_opening *k)
{
    LIST_REMOVE(k, link);
    order_spec_clear(&k->spec);
    buf_clear(&k->file);
    if (k->step)
        event_free(k->step);
    free(k);
}

void factory_open_stop(struct core *c)
{
    struct order_opening *k;

    while ((k = LIST_FIRST(&c->factory->openings)))
        opening_free(k);
}

static size_t live_count(struct core *c)
{
    struct work_order *o;
    size_t n = 0;

    LIST_FOREACH(o, &c->factory->orders, link)
    {
        n += o->state != ORDER_CLOSED;
    }
    return n;
}

/* What the file cannot know: whether this service has what it names. */
static enum err_code fits_service(struct core *c, const struct order_spec *spec, struct err *e)
{
    const struct conf_profile *p = conf_find_profile(c->conf, spec->profile);

    if (!conf_find_domain(c->conf, spec->domain))
        return err_set(e, E_NOT_FOUND, "order %s: domain \"%s\" is not in the configuration", spec->order_no, spec->domain);
    if (!p)
        return err_set(e, E_NOT_FOUND, "order %s: profile \"%s\" is not in the configuration", spec->order_no, spec->profile);
    if (p->kind != PROFILE_IDEVID && p->kind != PROFILE_LDEVID)
        return err_set(e, E_INVALID, "order %s: profile \"%s\" is not for devices", spec->order_no, spec->profile);
    if (conf_find_label(c->conf, spec->order_no))
        return err_set(e, E_CONFLICT, "order %s: the configuration has an EST label of that name", spec->order_no);
    if (clock_now() > spec->not_after)
        return err_set(e, E_DENIED, "order %s has ended already", spec->order_no);
    if (!factory_live(c, spec->order_no) && live_count(c) >= ORDERS_LIVE_MAX)
        return err_set(e, E_BUSY, "%d orders are open: close those that are done", ORDERS_LIVE_MAX);
    return E_OK;
}

static enum err_code audit_opened(struct order_opening *k, int64_t now, struct err *e)
{
    const struct order_spec *o = &k->spec;
    char object[UNIT_OBJECT_MAX], hash[65];

    hex_encode(o->file_hash, sizeof(o->file_hash), hash);
    snprintf(object, sizeof(object), "order:%s", o->order_no);
    return core_audit(k->core, &k->by, "order-opened", o->domain, object,
                      json_pack("{s:s, s:s, s:s, s:I, s:s}", "file_sha256", hash, "kid", o->kid, "product", o->product, "quantity",
                                (json_int_t)o->quantity, "signer", o->signer),
                      now, e);
}

static enum err_code insert(struct order_opening *k, struct err *e)
{
    struct core *c = k->core;
    struct order_row row;

    order_row_from_spec(&row, &k->spec);
    row.opened_at = core_stamp(c);
    row.state = ORDER_OPENING;
    if (core_begin(c, e) != E_OK)
        return e->code;
    if (store_order_insert(c->store, &row, e) != E_OK) {
        core_doubt(c, e);
        core_rollback(c);
        return e->code;
    }
    core_commit(c);
    k->id = row.id;
    return E_OK;
}

static enum err_code add_file(struct order_opening *k, int64_t until_ms, struct err *e)
{
    enum err_code code = E_OK;

    while (code == E_OK && k->file_at < k->file.len && clock_mono_ms() < until_ms) {
        size_t left = k->file.len - k->file_at, n = left < PART_LEN ? left : PART_LEN;

        code = store_order_file_add(k->core->store, k->id, k->file_at / PART_LEN, BYTES(k->file.p + k->file_at, n), e);
        k->file_at += n;
    }
    return code;
}

static enum err_code add_ids(struct order_opening *k, int64_t until_ms, struct err *e)
{
    char id[ID_MAX_LEN + 1];
    struct bytes one;
    enum err_code code = E_OK;

    while (code == E_OK && k->at < k->spec.ids.text.len && clock_mono_ms() < until_ms)
        for (size_t n = 0; code == E_OK && n < STEP_LOOK && text_list_next(&k->spec.ids, &k->at, &one); n++) {
            snprintf(id, sizeof(id), "%.*s", (int)one.len, (const char *)one.p);
            code = store_order_id_add(k->core->store, k->id, id, e);
        }
    return code;
}

/* Some of the file, then some ids; with the last of them the order is open. */
static enum err_code step(struct order_opening *k, bool *open, struct err *e)
{
    struct core *c = k->core;
    int64_t until_ms = clock_mono_ms() + STEP_MS;
    enum err_code code = core_begin(c, e);

    if (code != E_OK)
        return code;
    code = add_file(k, until_ms, e);
    if (code == E_OK)
        code = add_ids(k, until_ms, e);
    *open = k->file_at >= k->file.len && k->at >= k->spec.ids.text.len;
    if (code == E_OK && *open)
        code = store_order_set_state(c->store, k->id, ORDER_OPEN, 0, e);
    if (code == E_OK && *open)
        code = audit_opened(k, core_stamp(c), e);
    if (code != E_OK) {
        core_doubt(c, e);
        core_rollback(c);
        return code;
    }
    core_commit(c);
    return *open ? factory_opened(c, k->spec.order_no, e) : E_OK;
}

static void on_step(evutil_socket_t fd, short what, void *arg)
{
    struct order_opening *k = arg;
    struct core *c = k->core;
    struct timeval soon = {0, 0};
    struct log_line l;
    struct err e = {0};
    bool open = false;
    enum err_code code;

    (void)fd;
    (void)what;
    if (c->stopping)
        return;
    code = core_may_sign(c, clock_now(), &e);
    if (code == E_OK)
        code = step(k, &open, &e);
    if (code == E_OK && !open) {
        evtimer_add(k->step, &soon);
        return;
    }
    if (code == E_OK) {
        log_begin(&l, LOG_INFO, "order-opened");
        log_str(&l, "order", k->spec.order_no);
        log_u64(&l, "quantity", k->spec.quantity);
        log_str(&l, "signer", k->spec.signer);
        log_str(&l, "by", k->by.name);
        log_end(&l);
    }
    k->done(c, k->arg, code, &e);
    opening_free(k);
}

/* Two that end one after the other would open the order twice: the second time, perhaps, while it closes. */
static struct order_opening *opening_of(struct core *c, const char *order_no)
{
    struct order_opening *k;

    LIST_FOREACH(k, &c->factory->openings, link)
    {
        if (strcmp(k->spec.order_no, order_no) == 0)
            return k;
    }
    return NULL;
}

/* An order that is there: the same file goes on where it is, another one is refused. */
static enum err_code known_order(struct order_opening *k, bool *open, struct err *e)
{
    struct order_row row;
    enum err_code code = store_order_by_no(k->core->store, k->spec.order_no, &row, e);

    if (code == E_NOT_FOUND)
        return insert(k, e);
    if (code != E_OK)
        return code;
    if (memcmp(row.file_hash, k->spec.file_hash, sizeof(row.file_hash)) != 0)
        return err_set(e, E_CONFLICT, "order %s is there already, from another file", k->spec.order_no);
    if (row.state != ORDER_OPEN && row.state != ORDER_OPENING)
        return err_set(e, E_CONFLICT, "order %s is %s", k->spec.order_no, order_state_name((enum order_state)row.state));
    k->id = row.id;
    *open = row.state == ORDER_OPEN;
    return E_OK;
}

enum err_code factory_open(struct core *c, struct order_spec *spec, struct buf *file, const struct actor *by, order_fn done,
                           void *arg, struct err *e)
{
    struct order_opening *k = calloc(1, sizeof(*k));
    struct order_opening *other;
    struct timeval now = {0, 0};
    bool open = false;
    enum err_code code;

    if (!k) {
        order_spec_clear(spec);
        return err_set(e, E_NOMEM, "order");
    }
    *k = (struct order_opening){.core = c, .by = *by, .spec = *spec, .file = *file, .done = done, .arg = arg};
    k->by.request_digest = (struct bytes){NULL, 0}; /* it is the caller's */
    order_spec_init(spec);
    buf_init(file, file->max);
    other = opening_of(c, k->spec.order_no);
    LIST_INSERT_HEAD(&c->factory->openings, k, link);
    k->step = evtimer_new(c->base, on_step, k);
    code = k->step ? core_may_sign(c, clock_now(), e) : err_set(e, E_NOMEM, "order");
    if (code == E_OK && other)
        code = err_set(e, E_BUSY, "order %s is being opened by another call", k->spec.order_no);
    if (code == E_OK)
        code = fits_service(c, &k->spec, e);
    if (code == E_OK)
        code = known_order(k, &open, e);
    if (code != E_OK) {
        opening_free(k);
        return code;
    }
    if (!open) {
        evtimer_add(k->step, &now);
        return E_OK;
    }
    done(c, arg, E_OK, e); /* open already */
    opening_free(k);
    return E_OK;
}
