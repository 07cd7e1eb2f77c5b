/* SPDX-License-Identifier: Apache-2.0 */
/* Work orders in memory, stations, and the one way a unit changes. */
#include "ca/factory.h"

#include <stdarg.h>
#include <string.h>

#include "base/clock.h"
#include "ca/capture.h"
#include "ca/factory_int.h"
#include "ca/life.h"

/* ---- work orders ---- */

static void list_take(struct text_list *l, const char *text)
{
    text_list_init(l, ORDER_LIST_MAX);
    buf_add_str(&l->text, text);
    for (; *text; text++)
        l->n += *text == '\n';
}

static void order_free(struct work_order *o)
{
    text_list_clear(&o->stations);
    text_list_clear(&o->firmware);
    free(o);
}

static struct work_order *order_make(const struct order_row *row)
{
    struct work_order *o = calloc(1, sizeof(*o));

    if (!o)
        return NULL;
    o->id = row->id;
    text_copy(o->order_no, sizeof(o->order_no), row->order_no);
    text_copy(o->domain, sizeof(o->domain), row->domain);
    text_copy(o->product, sizeof(o->product), row->product);
    text_copy(o->model, sizeof(o->model), row->model);
    text_copy(o->lot, sizeof(o->lot), row->lot);
    text_copy(o->line, sizeof(o->line), row->line);
    text_copy(o->profile, sizeof(o->profile), row->profile);
    text_copy(o->prefix, sizeof(o->prefix), row->prefix);
    o->key_mode = (enum order_key_mode)row->key_mode;
    o->quantity = row->quantity;
    o->first = row->first;
    o->digits = row->digits;
    o->rekeys_allowed = row->rekeys_allowed;
    o->rework_allowed = row->rework_allowed;
    o->defer_allowed = row->defer_allowed;
    o->units_after = row->units_after;
    o->by_list = row->by_list;
    o->evidence_required = row->evidence_required;
    o->not_before = row->not_before;
    o->not_after = row->not_after;
    o->orphan_after_s = row->orphan_after_s;
    o->opened_at = row->opened_at;
    o->closed_at = row->closed_at;
    o->state = (enum order_state)row->state;
    list_take(&o->stations, row->stations);
    list_take(&o->firmware, row->firmware);
    sha256_2(bytes_str("inkan-order-1:"), bytes_str(o->order_no), o->credential);
    o->label = (struct conf_label){.name = o->order_no, .domain = o->domain, .profile = o->profile, .auth_cert = true};
    if (!buf_ok(&o->stations.text) || !buf_ok(&o->firmware.text)) {
        order_free(o);
        return NULL;
    }
    return o;
}

struct loading {
    struct factory *f;
    bool no_memory;
};

static bool load_one(void *arg, const struct order_row *row)
{
    struct loading *l = arg;
    struct work_order *o = order_make(row);

    if (!o) {
        l->no_memory = true;
        return false;
    }
    LIST_INSERT_HEAD(&l->f->orders, o, link);
    return true;
}

enum err_code factory_load(struct core *c, struct err *e)
{
    struct loading l = {.f = calloc(1, sizeof(*l.f))};

    if (!l.f)
        return err_set(e, E_NOMEM, "work orders");
    LIST_INIT(&l.f->orders);
    LIST_INIT(&l.f->openings);
    c->factory = l.f;
    if (store_order_each(c->store, true, 0, 0, load_one, &l, e) != E_OK)
        return err_wrap(e, "work orders");
    return l.no_memory ? err_set(e, E_NOMEM, "work orders") : E_OK;
}

void factory_free(struct core *c)
{
    struct work_order *o;

    if (c->factory)
        factory_open_stop(c);
    while (c->factory && (o = LIST_FIRST(&c->factory->orders))) {
        LIST_REMOVE(o, link);
        factory_close_stop(o);
        order_free(o);
    }
    free(c->factory);
    c->factory = NULL;
}

static struct work_order *known(struct core *c, const char *order_no)
{
    struct work_order *o;

    if (!c->factory) /* a test of something else */
        return NULL;
    LIST_FOREACH(o, &c->factory->orders, link)
    {
        if (strcmp(o->order_no, order_no) == 0)
            return o;
    }
    return NULL;
}

struct work_order *factory_live(struct core *c, const char *order_no)
{
    struct work_order *o = known(c, order_no);

    return o && o->state != ORDER_CLOSED && o->state != ORDER_OPENING ? o : NULL;
}

struct work_order *factory_live_by_id(struct core *c, uint64_t id)
{
    struct work_order *o;

    LIST_FOREACH(o, &c->factory->orders, link)
    {
        if (o->id == id)
            return o->state != ORDER_CLOSED && o->state != ORDER_OPENING ? o : NULL;
    }
    return NULL;
}

static enum err_code fetch(struct core *c, const char *order_no, struct work_order **out, struct err *e)
{
    struct order_row row;
    enum err_code code = store_order_by_no(c->store, order_no, &row, e);

    *out = NULL;
    if (code != E_OK)
        return code;
    *out = order_make(&row);
    if (!*out)
        return err_set(e, E_NOMEM, "work order");
    LIST_INSERT_HEAD(&c->factory->orders, *out, link);
    return E_OK;
}

enum err_code factory_find(struct core *c, const char *order_no, struct grant *g, struct work_order **out, struct err *e)
{
    enum err_code code = E_OK;

    *out = known(c, order_no);
    if (!*out)
        code = fetch(c, order_no, out, e);
    if (code == E_NOT_FOUND || (code == E_OK && (*out)->state == ORDER_OPENING))
        return factory_refuse(g, e, E_NOT_FOUND, "unknown-order", "there is no order %s", order_no);
    return code;
}

enum err_code factory_opened(struct core *c, const char *order_no, struct err *e)
{
    struct work_order *o = known(c, order_no), *fresh;

    if (fetch(c, order_no, &fresh, e) != E_OK)
        return e->code;
    if (o) {
        LIST_REMOVE(o, link);
        order_free(o);
    }
    links_send_config(c);
    return E_OK;
}

void factory_each_live(struct core *c, void (*fn)(struct core *c, const struct work_order *o))
{
    struct work_order *o;

    LIST_FOREACH(o, &c->factory->orders, link)
    {
        if (o->state != ORDER_CLOSED && o->state != ORDER_OPENING)
            fn(c, o);
    }
}

void factory_each_label(struct core *c, label_fn fn, void *arg)
{
    struct work_order *o;

    LIST_FOREACH(o, &c->factory->orders, link)
    {
        if (o->state == ORDER_OPEN)
            fn(arg, &o->label);
    }
}

/* ---- refusals ---- */

enum err_code factory_refuse(struct grant *g, struct err *e, enum err_code code, const char *reason, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (g)
        g->unit.reason = reason;
    return err_set(e, code, "%s: %s", reason, text);
}

static void unit_object(char *out, size_t size, const char *order_no, const char *device_id)
{
    if (device_id && device_id[0])
        snprintf(out, size, "unit:%s/%s", order_no, device_id);
    else
        snprintf(out, size, "order:%s", order_no);
}

static struct allowance *allowance_of(struct allowance rows[ALLOWANCE_ROWS], uint64_t station)
{
    struct allowance *least = rows;

    for (size_t i = 0; i < ALLOWANCE_ROWS; i++) {
        if (rows[i].station == station)
            return &rows[i];
        if (rows[i].until_ms < least->until_ms)
            least = &rows[i];
    }
    *least = (struct allowance){.station = station};
    return least;
}

/* One more of what may happen `at_once` times and then each `every_ms`. */
static bool is_within(struct allowance *a, int64_t at_once, int64_t every_ms)
{
    int64_t now = clock_mono_ms();

    if (a->until_ms < now)
        a->until_ms = now;
    if (a->until_ms - now > (at_once - 1) * every_ms)
        return false;
    a->until_ms += every_ms;
    return true;
}

/* A stolen station's certificate must not fill the disk: the order counts every refusal, the trail tells of so many. */
static bool is_told(struct core *c, uint64_t station)
{
    if (is_within(allowance_of(c->factory->told, station), TOLD_AT_ONCE, TOLD_EVERY_MS))
        return true;
    c->refused_stations.count++;
    return false;
}

bool factory_may_renew(struct core *c, uint64_t station)
{
    return is_within(allowance_of(c->factory->renewed, station), RENEW_AT_ONCE, RENEW_EVERY_MS);
}

enum err_code factory_refused(struct core *c, const struct grant *g, const struct actor *by, const struct err *why,
                              int64_t now, struct err *e)
{
    const struct unit_grant *u = &g->unit;
    const char *reason = u->reason ? u->reason : "";
    char object[UNIT_OBJECT_MAX];
    struct alarm_row alarm = {.time = now, .kind = g->alarm, .domain = g->device.domain, .object = object, .text = why->msg};
    struct err again = {0};
    enum err_code code = E_OK;

    unit_object(object, sizeof(object), u->order_no, u->device_id);
    if (u->order && u->reason && store_order_refused(c->store, u->order, reason, e) != E_OK)
        return e->code;
    if (g->alarm)
        code = store_alarm_insert(c->store, &alarm, &again);
    if (code != E_OK && code != E_CONFLICT) {
        *e = again;
        return code;
    }
    if (!(g->alarm && code == E_OK) && !is_told(c, u->station))
        return E_OK;
    return core_audit(c, by, "unit-refused", g->device.domain, object,
                      json_pack("{s:s, s:s, s:s, s:s}", "alarm", g->alarm ? g->alarm : "", "code", err_code_name(why->code),
                                "reason", reason, "why", why->msg),
                      now, e);
}

/* ---- stations ---- */

/* Who asks, in the grant: from here on a refusal is an entry of the trail. */
static void became_station(struct grant *g, const struct factory_station *st)
{
    g->authenticated = true;
    g->by.kind = "station";
    snprintf(g->by.name, sizeof(g->by.name), "%s/%s", st->domain, st->name);
    text_copy(g->device.domain, sizeof(g->device.domain), st->domain);
    g->unit.station = st->id;
    text_copy(g->unit.station_name, sizeof(g->unit.station_name), st->name);
    text_copy(g->unit.line, sizeof(g->unit.line), st->line);
}

static enum err_code in_date(const struct known_station *k, int64_t now, struct grant *g, struct err *e)
{
    if (now > k->st.not_after)
        return factory_refuse(g, e, E_DENIED, "station-revoked", "the registration of station %s has ended", k->st.name);
    if (now > k->not_after)
        return factory_refuse(g, e, E_DENIED, "station-revoked", "the station's certificate has expired");
    return E_OK;
}

static enum err_code station_load(struct core *c, struct bytes leaf, struct known_station *k, struct grant *g, struct err *e)
{
    struct factory_station *st = &k->st;
    struct cert read;
    struct cert_row row;
    struct station_row reg;
    uint8_t status;
    enum err_code code;

    if (cert_read(leaf, &read, e) != E_OK)
        return err_set(e, E_DENIED, "the client certificate cannot be read");
    code = store_cert_by_der(c->store, read.issuer, read.serial, st->cert_hash, &row, e);
    if (code == E_NOT_FOUND || (code == E_OK && row.kind != PROFILE_STATION))
        return err_set(e, E_DENIED, "a station's certificate is needed here");
    if (code != E_OK)
        return code;
    st->cert = row.id;
    status = row.status;
    k->not_after = row.not_after;
    text_copy(st->name, sizeof(st->name), row.station);
    text_copy(st->domain, sizeof(st->domain), row.domain);
    became_station(g, st);
    code = store_station_by_name(c->store, st->name, &reg, e);
    if (code == E_NOT_FOUND)
        return factory_refuse(g, e, E_DENIED, "station-revoked", "no station %s is registered", st->name);
    if (code != E_OK)
        return code;
    if (reg.revoked_at)
        return factory_refuse(g, e, E_DENIED, "station-revoked", "station %s was revoked", st->name);
    if (status != CERT_GOOD)
        return factory_refuse(g, e, E_DENIED, "station-revoked", "the station's certificate is %s",
                              status == CERT_ON_HOLD ? "on hold" : "revoked");
    st->id = reg.id;
    st->roles = reg.roles;
    st->not_after = reg.not_after;
    text_copy(st->domain, sizeof(st->domain), reg.domain);
    text_copy(st->line, sizeof(st->line), reg.line);
    text_copy(st->profile, sizeof(st->profile), reg.profile);
    return E_OK;
}

enum err_code factory_station(struct core *c, struct bytes leaf, int64_t now, struct factory_station *st, struct grant *g,
                              struct err *e)
{
    struct known_station *k, fresh = {.at = store_changes(c->store)};
    enum err_code code;

    *st = (struct factory_station){0};
    sha256(leaf, fresh.st.cert_hash);
    k = &c->factory->station[fresh.st.cert_hash[0] % STATIONS_KNOWN];
    if (k->st.id == 0 || k->at != fresh.at || memcmp(k->st.cert_hash, fresh.st.cert_hash, sizeof(fresh.st.cert_hash)) != 0) {
        if ((code = station_load(c, leaf, &fresh, g, e)) != E_OK)
            return code;
        *k = fresh;
    }
    became_station(g, &k->st);
    *st = k->st;
    return in_date(k, now, g, e);
}

enum err_code factory_station_stays(struct core *c, const char *name, struct err *e)
{
    struct station_row reg;
    enum err_code code = store_station_by_name(c->store, name, &reg, e);

    if (code == E_OK && reg.revoked_at)
        return err_set(e, E_DENIED, "station-revoked: station %s was revoked meanwhile", name);
    if (code == E_NOT_FOUND) { /* a line box's link is of this kind too, and no station */
        *e = (struct err){0};
        return E_OK;
    }
    return code;
}

void factory_stations_changed(struct core *c)
{
    memset(c->factory->station, 0, sizeof(c->factory->station));
}

static bool station_is_named(const struct work_order *o, const struct factory_station *st)
{
    char line[ID_MAX_LEN + 8];

    snprintf(line, sizeof(line), "line:%s", st->line);
    return strcmp(st->domain, o->domain) == 0 &&
           (text_list_has(&o->stations, st->name) || text_list_has(&o->stations, line));
}

static void roles_text(unsigned roles, char *out, size_t size)
{
    size_t at = 0;

    out[0] = '\0';
    for (unsigned i = 0; i < STATION_ROLES && at < size; i++)
        if (roles & (1u << i))
            at += (size_t)snprintf(out + at, size - at, "%s%s", at ? " or " : "", station_role_name(i));
}

enum err_code factory_admit(const struct work_order *o, const struct factory_station *st, unsigned roles,
                            enum order_need need, int64_t now, struct grant *g, struct err *e)
{
    char text[64];

    g->unit.order = o->id;
    text_copy(g->unit.order_no, sizeof(g->unit.order_no), o->order_no);
    if (!station_is_named(o, st))
        return factory_refuse(g, e, E_DENIED, "wrong-station", "order %s is not worked on at station %s of line %s", o->order_no,
                              st->name, st->line);
    if (roles && !(st->roles & roles)) {
        roles_text(roles, text, sizeof(text));
        return factory_refuse(g, e, E_DENIED, "wrong-role", "this needs a station of role %s", text);
    }
    if (need == ORDER_READ)
        return E_OK;
    if (o->state != ORDER_OPEN)
        return factory_refuse(g, e, E_DENIED, "order-closed", "order %s is %s", o->order_no, order_state_name(o->state));
    if (need == ORDER_BEGIN && now < o->not_before)
        return factory_refuse(g, e, E_DENIED, "order-not-yet", "order %s has not begun", o->order_no);
    if (need == ORDER_BEGIN && now > o->not_after)
        return factory_refuse(g, e, E_DENIED, "order-expired", "order %s has ended", o->order_no);
    return E_OK;
}

/* ---- a unit changes ---- */

static const char *const done_names[UNIT_EVENTS] = {
    [UNIT_DO_CAPTURE] = "captured", [UNIT_DO_ISSUE] = "issued", [UNIT_DO_REKEY] = "rekeyed",
    [UNIT_DO_CONFIRM] = "confirmed", [UNIT_DO_HOLD] = "held", [UNIT_DO_PACK] = "packed",
    [UNIT_DO_SHIP] = "shipped", [UNIT_DO_REWORK] = "rework",
};

static const char *done_name(enum unit_event event, enum unit_state next)
{
    if (done_names[event])
        return done_names[event];
    return next == UNIT_VOID ? "voided" : next == UNIT_ORPHAN ? "orphaned" : unit_state_name(next);
}

/* What the change is to the counts. */
static struct order_tally counted(const struct unit_row *u, enum unit_event event, enum unit_state next)
{
    struct order_tally t = {0};

    t.captured = event == UNIT_DO_CAPTURE;
    t.issued = event == UNIT_DO_ISSUE && u->issued_at == 0;
    t.rekeyed = event == UNIT_DO_REKEY;
    t.confirmed = event == UNIT_DO_CONFIRM && u->confirmed_at == 0;
    t.packed = (next == UNIT_PACKED) - (u->state == UNIT_PACKED);
    t.shipped = next == UNIT_SHIPPED;
    t.reworked = event == UNIT_DO_REWORK;
    t.unused = next == UNIT_UNUSED;
    t.voided = next == UNIT_VOID;
    t.orphaned = next == UNIT_ORPHAN;
    t.scrapped = next == UNIT_SCRAPPED;
    return t;
}

static void stamp_first(int64_t *at, bool now_is_it, int64_t now)
{
    if (now_is_it && *at == 0)
        *at = now;
}

static void change_row(const struct work_order *o, struct unit_row *u, enum unit_event event, enum unit_state next,
                       uint64_t cert, int64_t now)
{
    bool certified = event == UNIT_DO_ISSUE || event == UNIT_DO_REKEY;

    u->state = (uint8_t)next;
    if (certified) {
        u->cert = cert;
        u->due_at = now + o->orphan_after_s;
    }
    u->rekeys += event == UNIT_DO_REKEY;
    u->reworks += event == UNIT_DO_REWORK;
    stamp_first(&u->issued_at, certified, now);
    stamp_first(&u->confirmed_at, event == UNIT_DO_CONFIRM, now);
    stamp_first(&u->packed_at, event == UNIT_DO_PACK, now);
    stamp_first(&u->shipped_at, event == UNIT_DO_SHIP, now);
    stamp_first(&u->ended_at, unit_has_ended(next), now);
}

static enum err_code cert_becomes(struct core *c, uint64_t id, enum cert_status to, enum crl_reason reason, const char *event,
                                  const struct actor *by, int64_t now, struct err *e)
{
    struct revocation r = {.to = to, .reason = reason, .event = event, .hold = HOLD_LINE};
    struct cert_row row;
    bool changed;
    uint64_t seq;

    if (store_cert_by_id(c->store, id, &row, e) != E_OK)
        return e->code;
    if (row.status == CERT_REVOKED) /* by an operator before: that stays */
        return E_OK;
    return revoke_apply(c, &row, &r, by, now, &changed, &seq, e);
}

struct live_certs {
    uint64_t id[16], seen;
    size_t n;
};

static bool take_live(void *arg, const struct cert_row *row)
{
    struct live_certs *l = arg;

    if (l->n == ARRAY_LEN(l->id))
        return false;
    l->seen = row->id;
    if (row->status != CERT_REVOKED)
        l->id[l->n++] = row->id;
    return true;
}

/* All the device holds but `keep`, 0 = none. */
static enum err_code revoke_others(struct core *c, uint64_t device, uint64_t keep, enum crl_reason reason, const char *event,
                                   const struct actor *by, int64_t now, struct err *e)
{
    struct live_certs l = {0};
    struct cert_filter f = {.device = device, .status = -1};

    do {
        f.after_id = l.seen;
        l.n = 0;
        if (store_cert_each(c->store, &f, take_live, &l, e) != E_OK)
            return e->code;
        for (size_t i = 0; i < l.n; i++)
            if (l.id[i] != keep && cert_becomes(c, l.id[i], CERT_REVOKED, reason, event, by, now, e) != E_OK)
                return e->code;
    } while (l.n == ARRAY_LEN(l.id));
    return E_OK;
}

/*
 * Scrap ends the device: all it holds is revoked, and it is refused everywhere. One that came into service all the same is retired,
 * which is what its owner would do.
 */
static enum err_code end_device(struct core *c, uint64_t device, const struct actor *by, int64_t now, struct err *e)
{
    struct life_change ch = {.to = DEVICE_SCRAPPED, .why = "scrapped on the line", .only_from = DEVICE_STATES};
    struct device_row row;
    struct life_rule rule;
    bool changed;
    uint64_t seq;

    if (store_device_by_id(c->store, device, &row, e) != E_OK)
        return e->code;
    if (!life_rule((enum device_state)row.state, ch.to, &rule))
        ch.to = DEVICE_DECOMMISSIONED;
    if (life_rule((enum device_state)row.state, ch.to, &rule) && life_apply(c, device, &ch, by, now, &changed, &seq, e) != E_OK)
        return e->code;
    return revoke_others(c, device, 0, REASON_CESSATION_OF_OPERATION, NULL, by, now, e);
}

/* A unit of a repair line is proven with its new key: the birth certificates before it are over, and it is in stock again. */
static enum err_code end_repair(struct core *c, uint64_t device, uint64_t cert, const struct actor *by, int64_t now, struct err *e)
{
    struct life_change ch = {.to = DEVICE_CONFIRMED, .only_from = DEVICE_IN_REPAIR, .why = "repaired with a new key"};
    struct device_row row;
    bool changed;
    uint64_t seq;

    if (store_device_by_id(c->store, device, &row, e) != E_OK)
        return e->code;
    if (row.state != DEVICE_IN_REPAIR)
        return E_OK;
    if (revoke_others(c, device, cert, REASON_SUPERSEDED, "cert-superseded", by, now, e) != E_OK)
        return e->code;
    return life_apply(c, device, &ch, by, now, &changed, &seq, e);
}

/* What the change is to the state of the device. An issue is told with the certificate, a scrap by end_device. */
static enum err_code change_state(struct core *c, const struct work_order *o, const struct unit_row *u, enum unit_event event,
                                  enum unit_state next, const struct actor *by, int64_t now, struct err *e)
{
    const struct conf_profile *p;
    uint64_t device = u->device, seq;
    bool changed;

    if (next == UNIT_VOID || next == UNIT_ORPHAN || next == UNIT_UNUSED)
        return life_step(c, device, DEVICE_DECLARED, true, now, &changed, e);
    switch (event) {
    case UNIT_DO_CAPTURE:
        return life_step(c, device, DEVICE_KEYED, true, now, &changed, e);
    case UNIT_DO_CONFIRM:
        if (life_step(c, device, DEVICE_CONFIRMED, true, now, &changed, e) != E_OK)
            return e->code;
        return changed ? E_OK : end_repair(c, device, u->cert, by, now, e);
    case UNIT_DO_REWORK:
        return life_step(c, device, DEVICE_PROVISIONED, true, now, &changed, e);
    case UNIT_DO_SHIP:
        p = conf_find_profile(c->conf, o->profile);
        if (!p || p->kind != PROFILE_LDEVID)
            return life_step(c, device, DEVICE_SHIPPED, true, now, &changed, e);
        /* It has its owner's certificate already: no enrollment brings it into service. */
        if (life_step(c, device, DEVICE_SHIPPED, false, now, &changed, e) != E_OK)
            return e->code;
        if (!changed)
            return E_OK;
        if (store_device_set_state(c->store, device, DEVICE_IN_SERVICE, now, e) != E_OK)
            return e->code;
        return store_device_log(c->store, device, DEVICE_IN_SERVICE, now, 0, "", &seq, e);
    default:
        return E_OK;
    }
}

/* What the change is to the certificates the unit has; `u` is as it was before. */
static enum err_code change_certs(struct core *c, const struct unit_row *u, enum unit_event event, enum unit_state next,
                                  const struct unit_cause *why, int64_t now, struct err *e)
{
    if (next == UNIT_SCRAPPED)
        return end_device(c, u->device, why->by, now, e);
    if (u->cert == 0)
        return E_OK;
    if (next == UNIT_VOID || next == UNIT_ORPHAN)
        return cert_becomes(c, u->cert, CERT_REVOKED, REASON_CESSATION_OF_OPERATION, NULL, why->by, now, e);
    if (event == UNIT_DO_HOLD)
        return cert_becomes(c, u->cert, CERT_ON_HOLD, REASON_CERTIFICATE_HOLD, NULL, why->by, now, e);
    if (event == UNIT_DO_CONFIRM && u->state == UNIT_HELD)
        return cert_becomes(c, u->cert, CERT_GOOD, REASON_UNSPECIFIED, NULL, why->by, now, e);
    if (event != UNIT_DO_ISSUE && event != UNIT_DO_REKEY)
        return E_OK;
    if (store_cert_set_replaced(c->store, u->cert, why->cert, e) != E_OK)
        return e->code;
    return cert_becomes(c, u->cert, CERT_REVOKED, REASON_SUPERSEDED, "cert-superseded", why->by, now, e);
}

/* The event of a unit and its entry in the trail. `audited` false: another entry tells of it. */
static enum err_code note(struct core *c, const struct work_order *o, uint64_t unit, const char *device_id, const char *name,
                          const struct unit_cause *why, bool audited, int64_t now, struct err *e)
{
    struct unit_event_row ev = {.unit = unit, .time = now, .event = name, .station = why->station, .badge = why->badge,
                                .tool = why->tool, .detail = why->detail};
    char object[UNIT_OBJECT_MAX], event[48];
    struct audit_entry entry = {.event = event, .actor = why->by->name, .actor_kind = why->by->kind, .domain = o->domain,
                                .object = object, .detail = why->trail_detail ? why->trail_detail : why->detail, .request_digest = why->by->request_digest};

    enum err_code code = store_unit_event_add(c->store, &ev, e);

    if (code != E_OK || !audited)
        return code;
    unit_object(object, sizeof(object), o->order_no, device_id);
    snprintf(event, sizeof(event), "unit-%s", name);
    return audit_append(c->store, &entry, now, e);
}

enum err_code factory_change(struct core *c, const struct work_order *o, struct unit_row *u, enum unit_event event,
                             const struct unit_cause *why, int64_t now, bool *changed, struct err *e)
{
    enum unit_state next;
    enum unit_verdict v = unit_rule((enum unit_state)u->state, event, u->confirmed_at != 0, &next);
    struct order_tally t = counted(u, event, next);
    char device_id[ID_MAX_LEN + 1];
    bool certified = event == UNIT_DO_ISSUE || event == UNIT_DO_REKEY;

    *changed = false;
    if (v == UNIT_STAYS)
        return E_OK;
    if (v == UNIT_REFUSED)
        return err_set(e, E_CONFLICT, "unit %s/%s is %s", o->order_no, u->device_id, unit_state_name((enum unit_state)u->state));
    text_copy(device_id, sizeof(device_id), u->device_id); /* borrowed from the store */
    u->device_id = device_id;
    /* What was kept to be signed later is signed now, or never. */
    if (u->state == UNIT_CAPTURED && capture_end(c, o, u->id, device_id, now, e) != E_OK)
        return err_wrap(e, "unit %s/%s", o->order_no, device_id);
    if (change_certs(c, u, event, next, why, now, e) != E_OK || change_state(c, o, u, event, next, why->by, now, e) != E_OK)
        return err_wrap(e, "unit %s/%s", o->order_no, device_id);
    change_row(o, u, event, next, why->cert, now);
    if (store_unit_update(c->store, u, e) != E_OK || store_tally_add(c->store, o->id, &t, e) != E_OK ||
        note(c, o, u->id, device_id, why->event ? why->event : done_name(event, next), why, !certified, now, e) != E_OK)
        return err_wrap(e, "unit %s/%s", o->order_no, device_id);
    u->device_id = "";
    *changed = true;
    return E_OK;
}

enum err_code factory_may_note(struct core *c, uint64_t unit, struct grant *g, struct err *e)
{
    uint64_t n = 0;

    if (store_unit_event_count(c->store, unit, UNIT_EVENTS_MAX, &n, e) != E_OK)
        return e->code;
    return n < UNIT_EVENTS_MAX ? E_OK
                               : factory_refuse(g, e, E_DENIED, "record-full", "the unit has %d events: it takes no more of them",
                                                UNIT_EVENTS_MAX);
}

enum err_code factory_note(struct core *c, const struct work_order *o, uint64_t unit, const char *device_id,
                           const struct unit_cause *why, int64_t now, struct err *e)
{
    return note(c, o, unit, device_id, why->event, why, true, now, e);
}

/* ---- finding and reserving ---- */

static bool in_range(const struct work_order *o, const char *device_id)
{
    size_t prefix = strlen(o->prefix);
    const char *digits = device_id + prefix;
    uint64_t n = 0;

    if (strncmp(device_id, o->prefix, prefix) != 0 || strlen(digits) != o->digits ||
        strspn(digits, "0123456789") != o->digits)
        return false;
    for (; *digits; digits++)
        n = n * 10 + (uint64_t)(*digits - '0');
    return n >= o->first && n - o->first < o->quantity;
}

static enum err_code is_member(struct core *c, const struct work_order *o, const char *device_id, bool *in, struct err *e)
{
    if (o->by_list)
        return store_order_id_has(c->store, o->id, device_id, in, e);
    *in = in_range(o, device_id);
    return E_OK;
}

/* The anchor under which the unit's birth certificate will be found: one that names the root above the order's CA. */
static const char *anchor_of(struct core *c, const struct work_order *o)
{
    const struct conf_profile *p = conf_find_profile(c->conf, o->profile);
    const struct conf_ca *ca = p ? conf_find_ca(c->conf, p->ca) : NULL;
    const struct conf_ca *root = ca ? conf_ca_root(c->conf, ca) : NULL;

    for (size_t i = 0; root && i < c->conf->anchors_n; i++) {
        const struct conf_anchor *a = &c->conf->anchors[i];
        const struct conf_ca *named = a->ca && a->ca[0] ? conf_find_ca(c->conf, a->ca) : NULL;

        for (size_t k = 0; named && conf_ca_root(c->conf, named) == root && k < a->domains.n; k++)
            if (strcmp(a->domains.v[k], o->domain) == 0)
                return a->name;
    }
    return "";
}

/* A device of an earlier order may be made again when that order gave it up before it was ever good. */
static enum err_code may_be_made_again(struct core *c, uint64_t device, uint8_t state, const char *device_id, struct grant *g,
                                       struct err *e)
{
    struct unit_row last;
    enum err_code code;
    bool given_up;

    if (state == DEVICE_IN_REPAIR)
        return E_OK;
    code = store_unit_newest(c->store, device, &last, e);
    given_up = code == E_OK && (last.state == UNIT_UNUSED || last.state == UNIT_VOID || last.state == UNIT_ORPHAN);

    if (code != E_OK && code != E_NOT_FOUND)
        return code;
    if (!given_up || state != DEVICE_DECLARED || factory_live_by_id(c, last.order))
        return factory_refuse(g, e, E_DENIED, "device-exists", "%s is known already%s", device_id,
                              code == E_OK ? " from another order" : "");
    return E_OK;
}

static enum err_code device_for(struct core *c, const struct work_order *o, const char *device_id, bool exists, int64_t now,
                                struct grant *g, struct err *e)
{
    struct device_row row = {
        .id = g->device.id,
        .unit = g->device.unit,
        .domain = o->domain,
        .device_id = device_id,
        .anchor = anchor_of(c, o),
        .product = o->product,
        .model = o->model,
        .lot = o->lot,
        .order_no = o->order_no,
        .station = g->unit.station_name,
        .line = g->unit.line,
        .firmware = g->unit.firmware,
        .state = exists ? g->device.state : DEVICE_DECLARED,
        .prev_state = exists ? g->device.prev_state : DEVICE_DECLARED,
        .declared_at = now,
    };
    enum err_code code = exists ? may_be_made_again(c, g->device.id, g->device.state, device_id, g, e) : E_OK;

    if (code == E_OK)
        code = exists ? store_device_set_order(c->store, &row, e) : store_device_insert(c->store, &row, e);
    if (code == E_OK)
        device_facts_take(&g->device, &row);
    return code;
}

enum err_code factory_reserve(struct core *c, struct work_order *o, const char *device_id, bool exists, bool from_range,
                              int64_t now, struct grant *g, struct unit_row *u, struct err *e)
{
    struct unit_cause why = {.by = &g->by, .station = g->unit.station, .badge = g->unit.badge, .tool = g->unit.tool,
                             .event = "reserved"};
    const struct order_tally one = {.reserved = 1, .next = from_range};
    struct order_tally t;
    bool in = false;

    if (store_tally(c->store, o->id, &t, e) != E_OK)
        return e->code;
    if ((uint64_t)t.reserved >= o->quantity)
        return factory_refuse(g, e, E_DENIED, "order-full", "the order has its %llu units", (unsigned long long)o->quantity);
    if (is_member(c, o, device_id, &in, e) != E_OK)
        return e->code;
    if (!in)
        return factory_refuse(g, e, E_DENIED, "device-not-in-order", "%s is not of this order", device_id);
    if (device_for(c, o, device_id, exists, now, g, e) != E_OK)
        return e->code;
    *u = (struct unit_row){.order = o->id, .device = g->device.id, .ordinal = (uint64_t)t.reserved + 1,
                           .state = UNIT_RESERVED, .reserved_at = now};
    if (store_unit_insert(c->store, u, e) != E_OK || store_tally_add(c->store, o->id, &one, e) != E_OK)
        return e->code;
    u->device_id = g->device.device_id;
    return factory_note(c, o, u->id, device_id, &why, now, e);
}

enum err_code factory_unit(struct core *c, struct work_order *o, const char *device_id, bool reserve, int64_t now,
                           struct grant *g, struct unit_row *u, struct err *e)
{
    struct device_row row;
    enum err_code code;

    text_copy(g->unit.device_id, sizeof(g->unit.device_id), device_id);
    code = store_device_find(c->store, o->domain, device_id, &row, e);
    if (code == E_OK) {
        device_facts_take(&g->device, &row);
        code = store_unit_find(c->store, o->id, g->device.id, u, e);
        if (code == E_NOT_FOUND && reserve)
            return factory_reserve(c, o, device_id, true, false, now, g, u, e);
    } else if (code == E_NOT_FOUND && reserve) {
        return factory_reserve(c, o, device_id, false, false, now, g, u, e);
    }
    if (code == E_NOT_FOUND)
        return factory_refuse(g, e, E_NOT_FOUND, "unit-not-reserved", "%s has no unit in this order", device_id);
    if (code == E_OK)
        g->unit.id = u->id;
    return code;
}
