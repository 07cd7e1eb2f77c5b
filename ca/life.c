/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/life.h"

#include "ca/alarm.h"
#include "ca/store/life.h"

#define PAGE_CERTS 64
#define PAGE_ROWS  16
#define TICK_ROWS  50 /* of one kind in one turn */

#define CONFIRM_COMPROMISE_S 86400
#define ALARM_SUSPEND_REVIEW "suspend-review"
#define ALARM_COMPROMISE     "compromise-unconfirmed"

/* ---- what a state does to certificates ---- */

enum effect { KEEP, HOLD, FREE, REVOKE };

static const struct effects {
    enum effect idevid, ldevid;
    enum crl_reason reason; /* of REVOKE */
    bool whole_unit;        /* every row of the unit, in every domain */
} effects[DEVICE_STATES] = {
    [DEVICE_DECLARED] =       {REVOKE, REVOKE, REASON_CESSATION_OF_OPERATION, false},
    [DEVICE_KEYED] =          {KEEP,   KEEP,   REASON_UNSPECIFIED,            false},
    [DEVICE_PROVISIONED] =    {KEEP,   KEEP,   REASON_UNSPECIFIED,            false},
    [DEVICE_CONFIRMED] =      {FREE,   KEEP,   REASON_UNSPECIFIED,            true},
    [DEVICE_SHIPPED] =        {KEEP,   KEEP,   REASON_UNSPECIFIED,            false},
    [DEVICE_IN_SERVICE] =     {FREE,   FREE,   REASON_UNSPECIFIED,            true},
    [DEVICE_SUSPENDED] =      {FREE,   HOLD,   REASON_UNSPECIFIED,            true},
    [DEVICE_QUARANTINED] =    {KEEP,   KEEP,   REASON_UNSPECIFIED,            true}, /* LDevID: as its domain says */
    [DEVICE_COMPROMISED] =    {REVOKE, REVOKE, REASON_KEY_COMPROMISE,         true},
    [DEVICE_LOST] =           {HOLD,   REVOKE, REASON_PRIVILEGE_WITHDRAWN,    true},
    [DEVICE_TRANSFERRING] =   {KEEP,   REVOKE, REASON_AFFILIATION_CHANGED,    false},
    [DEVICE_IN_REPAIR] =      {HOLD,   REVOKE, REASON_CESSATION_OF_OPERATION, true},
    [DEVICE_DECOMMISSIONED] = {KEEP,   REVOKE, REASON_CESSATION_OF_OPERATION, true},
    [DEVICE_DISPOSED] =       {REVOKE, REVOKE, REASON_CESSATION_OF_OPERATION, true},
    [DEVICE_SCRAPPED] =       {REVOKE, REVOKE, REASON_CESSATION_OF_OPERATION, true},
};

/* What the birth certificates of a unit are worth. */
struct birth {
    bool good;        /* one of ours is not revoked */
    bool any;         /* one is of ours */
    bool compromised; /* the unit was, at some time */
};

/* One change under way. */
struct change {
    struct core *c;
    uint64_t device, unit;
    const struct life_change *ch;
    const struct actor *by;
    int64_t now;
    enum device_state from;
    const char *trigger;
    uint64_t seq, audit_seq;
    bool still_stopped; /* by another row of the unit, which does not follow: what is on hold stays that */
    struct birth birth; /* where may_come_back asks */
    char domain[ID_MAX_LEN + 1];
};

struct row {
    uint64_t id;
    enum device_state state, prev;
    bool moved;
    char domain[ID_MAX_LEN + 1], device_id[ID_MAX_LEN + 1];
};

struct page {
    const struct change *w;
    enum effect idevid, ldevid;
    uint64_t id[PAGE_CERTS], seen;
    enum effect effect[PAGE_CERTS];
    size_t n;
};

static enum crl_reason reason_of(const struct change *w)
{
    return w->ch->reason != REASON_UNSPECIFIED ? w->ch->reason : effects[w->ch->to].reason;
}

bool life_cert_is_over(const struct core *c, const struct cert_row *row, int64_t now)
{
    const struct conf_profile *p = now > row->not_after ? conf_find_profile(c->conf, row->profile) : NULL;

    return now > row->not_after && now - row->not_after > (p ? p->expired_grace_s : 0);
}

static bool changes(const struct change *w, enum effect f, const struct cert_row *row)
{
    bool over = life_cert_is_over(w->c, row, w->now);

    switch (f) {
    case HOLD:
        return !over && row->status != CERT_REVOKED && !(row->hold_by & HOLD_LIFE);
    case FREE:
        return row->hold_by & HOLD_LIFE;
    case REVOKE:
        return !over && (row->status != CERT_REVOKED ||
                         (reason_of(w) == REASON_KEY_COMPROMISE && row->reason != REASON_KEY_COMPROMISE));
    case KEEP:
    default:
        return false;
    }
}

static bool take_cert(void *arg, const struct cert_row *row)
{
    struct page *p = arg;
    enum effect f = row->kind == PROFILE_IDEVID ? p->idevid : p->ldevid;

    if (p->n == PAGE_CERTS) /* the next page begins here */
        return false;
    p->seen = row->id;
    if (!changes(p->w, f, row))
        return true;
    p->effect[p->n] = f;
    p->id[p->n++] = row->id;
    return true;
}

static enum err_code change_cert(struct change *w, uint64_t id, enum effect f, bool tells, struct err *e)
{
    struct revocation r = {.hold = HOLD_LIFE, .batch = w->ch->batch, .origin = w->ch->origin, .tells_state = tells,
                           .device_state = w->ch->to};
    struct cert_row row;
    bool changed;

    r.to = f == HOLD ? CERT_ON_HOLD : f == FREE ? CERT_GOOD : CERT_REVOKED;
    r.reason = f == HOLD ? REASON_CERTIFICATE_HOLD : f == FREE ? REASON_UNSPECIFIED : reason_of(w);
    if (store_cert_by_id(w->c->store, id, &row, e) != E_OK)
        return e->code;
    return revoke_apply(w->c, &row, &r, w->by, w->now, &changed, &w->seq, e);
}

/* What is done to the certificates of one device row; `tells`: the row itself changes. */
static void effects_on(const struct change *w, const struct row *d, bool tells, enum effect *idevid, enum effect *ldevid)
{
    enum device_state to = w->ch->to;
    const struct conf_domain *domain = conf_find_domain(w->c->conf, d->domain);
    bool quarantine_hold = domain && domain->quarantine_hold;

    *idevid = effects[to].idevid;
    *ldevid = to == DEVICE_QUARANTINED && quarantine_hold ? HOLD : effects[to].ldevid;
    if (*idevid == FREE && w->still_stopped)
        *idevid = KEEP;
    if (*ldevid == FREE && (w->still_stopped || (!tells && d->state == DEVICE_QUARANTINED && quarantine_hold)))
        *ldevid = KEEP;
}

/* The certificates of one device row; the last of them tells its new state. *told: one did. */
static enum err_code change_certs(struct change *w, const struct row *d, bool tells, bool *told, struct err *e)
{
    struct page p = {.w = w};
    struct cert_filter filter = {.device = d->id, .status = -1};

    *told = false;
    effects_on(w, d, tells, &p.idevid, &p.ldevid);
    if (w->ch->accepted || (p.idevid == KEEP && p.ldevid == KEEP))
        return E_OK;
    do {
        filter.after_id = p.seen;
        p.n = 0;
        if (store_cert_each(w->c->store, &filter, take_cert, &p, e) != E_OK)
            return e->code;
        for (size_t i = 0; i < p.n; i++) {
            *told = tells && i + 1 == p.n && p.n < PAGE_CERTS;
            if (change_cert(w, p.id[i], p.effect[i], *told, e) != E_OK)
                return e->code;
        }
    } while (p.n == PAGE_CERTS);
    return E_OK;
}

/* ---- the rows of a unit ---- */

struct rows {
    struct row row[PAGE_ROWS];
    size_t n;
};

static void row_take(struct row *out, const struct device_row *row)
{
    *out = (struct row){.id = row->id, .state = (enum device_state)row->state, .prev = (enum device_state)row->prev_state,
                        .moved = row->moved_to != 0};
    text_copy(out->domain, sizeof(out->domain), row->domain);
    text_copy(out->device_id, sizeof(out->device_id), row->device_id);
}

static bool take_row(void *arg, const struct device_row *row)
{
    struct rows *r = arg;

    row_take(&r->row[r->n++], row);
    return r->n < PAGE_ROWS;
}

static bool stops(enum device_state s)
{
    return s == DEVICE_QUARANTINED || device_is_stopped(s, DEVICE_STATES);
}

/* Does another row of the unit go the same way? Into what stops it from wherever the table allows; out of it only together. */
static bool follows(const struct change *w, const struct row *d)
{
    struct life_rule rule;

    if (d->moved || d->state == w->ch->to || !effects[w->ch->to].whole_unit || w->ch->accepted)
        return false;
    if (d->state != w->from && (!stops(w->ch->to) || w->from == DEVICE_LOST))
        return false;
    return life_rule(d->state, w->ch->to, &rule);
}

typedef enum err_code (*row_fn)(struct change *w, const struct row *d, struct err *e);

/* Every row of the unit, which `fn` may change: no query is open while it runs. */
static enum err_code each_row(struct change *w, row_fn fn, struct err *e)
{
    struct device_filter f = {.state = -1, .unit = w->unit, .limit = PAGE_ROWS};
    struct rows rows;

    do {
        rows.n = 0;
        if (store_device_each(w->c->store, &f, take_row, &rows, e) != E_OK)
            return e->code;
        for (size_t i = 0; i < rows.n; i++) {
            f.after_id = rows.row[i].id;
            if (fn(w, &rows.row[i], e) != E_OK)
                return e->code;
        }
    } while (rows.n == PAGE_ROWS);
    return E_OK;
}

/* Another row of the unit that is stopped, and stays that. */
static enum err_code look_at_other(struct change *w, const struct row *d, struct err *e)
{
    (void)e;
    w->still_stopped |= d->id != w->device && !d->moved && device_is_stopped(d->state, d->prev) && !follows(w, d);
    return E_OK;
}

static enum err_code note(struct change *w, uint64_t device, enum device_state from, struct err *e)
{
    struct device_event_row ev = {.device = device, .time = w->now, .from = from, .to = w->ch->to, .actor = w->by->name,
                                  .reason = w->ch->why, .evidence = w->ch->evidence, .batch = w->ch->batch,
                                  .audit_seq = w->audit_seq};

    return store_device_event_add(w->c->store, &ev, e);
}

static enum err_code due_ends(struct change *w, const struct row *d, enum device_due kind, const char *alarm, struct err *e)
{
    char object[ID_MAX_LEN * 2 + 16];

    snprintf(object, sizeof(object), "device:%s/%s", d->domain, d->device_id);
    if (store_device_due_drop(w->c->store, d->id, kind, e) != E_OK)
        return e->code;
    return alarm_clear(w->c, alarm, d->domain, object, e);
}

/* What the state left waited for ends; what the one entered waits for begins. */
static enum err_code change_due(struct change *w, const struct row *d, struct err *e)
{
    struct store *s = w->c->store;
    enum err_code code = E_OK;

    if (d->state == DEVICE_SUSPENDED)
        code = due_ends(w, d, DUE_SUSPEND_REVIEW, ALARM_SUSPEND_REVIEW, e);
    else if (d->state == DEVICE_COMPROMISED)
        code = due_ends(w, d, DUE_COMPROMISE_CONFIRM, ALARM_COMPROMISE, e);
    else if (d->state == DEVICE_QUARANTINED)
        code = store_device_wanted_put(s, d->id, "", e);
    if (code != E_OK)
        return code;
    if (w->ch->to == DEVICE_SUSPENDED && w->ch->until)
        return store_device_due_put(s, d->id, DUE_SUSPEND_REVIEW, w->ch->until, w->by->name, e);
    if (w->ch->to == DEVICE_COMPROMISED && !w->ch->confirmed)
        return store_device_due_put(s, d->id, DUE_COMPROMISE_CONFIRM, w->now + CONFIRM_COMPROMISE_S, w->by->name, e);
    if (w->ch->to == DEVICE_QUARANTINED && w->ch->wanted && w->ch->wanted[0])
        return store_device_wanted_put(s, d->id, w->ch->wanted, e);
    return E_OK;
}

static enum err_code change_row(struct change *w, const struct row *d, bool changes_state, struct err *e)
{
    bool told;

    if (change_certs(w, d, changes_state, &told, e) != E_OK)
        return e->code;
    if (!changes_state)
        return E_OK;
    if (store_device_set_state(w->c->store, d->id, w->ch->to, w->now, e) != E_OK)
        return e->code;
    if (!told && store_device_log(w->c->store, d->id, w->ch->to, w->now, w->ch->batch, w->ch->origin, &w->seq, e) != E_OK)
        return e->code;
    return change_due(w, d, e) == E_OK ? note(w, d->id, d->state, e) : e->code;
}

/* Another row of the unit: its certificates share the fate, its state where it may. */
static enum err_code change_other(struct change *w, const struct row *d, struct err *e)
{
    return d->id == w->device ? E_OK : change_row(w, d, follows(w, d), e);
}

/* ---- what the table leaves open ---- */

static bool is_compromise(void *arg, const struct device_event_row *row)
{
    *(bool *)arg |= row->to == DEVICE_COMPROMISED;
    return !*(bool *)arg;
}

static enum err_code look_at_birth(struct change *w, const struct row *d, struct err *e)
{
    struct cert_row cert;
    enum err_code code = store_cert_newest(w->c->store, d->id, PROFILE_IDEVID, &cert, e);

    if (code != E_OK && code != E_NOT_FOUND)
        return code;
    w->birth.any |= code == E_OK;
    w->birth.good |= code == E_OK && cert.status != CERT_REVOKED;
    *e = (struct err){0};
    return store_device_event_each(w->c->store, d->id, 0, is_compromise, &w->birth.compromised, e);
}

/*
 * Back from repair: with a birth certificate that may be used again. One whose key was exposed is no such certificate, and somebody
 * else's cannot be revoked here. What was compromised is not found again either, lest that be a way around the repair.
 */
static enum err_code may_come_back(struct change *w, struct err *e)
{
    const struct birth *b = &w->birth;

    if (each_row(w, look_at_birth, e) != E_OK)
        return e->code;
    if (!b->good && (b->compromised || (b->any && w->ch->to == DEVICE_CONFIRMED)))
        return err_set(e, E_CONFLICT, "its birth certificate is revoked%s: it needs a new key, by a work order of the repair line",
                       b->any ? "" : " in effect, as its key was exposed");
    return E_OK;
}

static enum err_code check(struct change *w, const struct row *d, struct err *e)
{
    struct life_rule rule;
    enum device_state to = w->ch->to;
    bool same = d->state == to; /* of a unit that was found: see stops_found */

    if (d->moved)
        return err_set(e, E_CONFLICT, "the device has another owner now: it is changed under the domain it went to");
    if (w->ch->only_from < DEVICE_STATES && d->state != w->ch->only_from)
        return err_set(e, E_CONFLICT, "the device is %s, not %s", device_state_name(d->state), device_state_name(w->ch->only_from));
    if (!life_rule(d->state, to, &rule))
        return err_set(e, E_CONFLICT, "%s", rule.why);
    if (!same && w->ch->from && !(w->ch->from & 1u << d->state))
        return err_set(e, E_CONFLICT, "the device is %s", device_state_name(d->state));
    if (d->state == DEVICE_TRANSFERRING && (to == DEVICE_IN_SERVICE || to == DEVICE_DECOMMISSIONED) && to != d->prev &&
        !w->ch->accepted)
        return err_set(e, E_CONFLICT, "a transfer is cancelled back to %s, where it began", device_state_name(d->prev));
    w->trigger = w->ch->accepted ? "accept" : same ? "suspend" : rule.trigger;
    return (d->state == DEVICE_IN_REPAIR && to == DEVICE_CONFIRMED) || (d->state == DEVICE_LOST && to == DEVICE_SUSPENDED)
               ? may_come_back(w, e)
               : E_OK;
}

static enum err_code audit(struct change *w, const char *object, struct err *e)
{
    uint8_t hash[32];
    json_t *detail = json_pack("{s:s, s:s, s:s, s:s, s:s}", "evidence", w->ch->evidence ? w->ch->evidence : "", "from",
                               device_state_name(w->from), "to", device_state_name(w->ch->to), "trigger", w->trigger, "why",
                               w->ch->why ? w->ch->why : "");

    if (w->ch->batch) {
        json_decref(detail);
        return E_OK;
    }
    if (w->ch->to == DEVICE_SUSPENDED && w->ch->until)
        json_object_set_new(detail, "until", json_integer(w->ch->until));
    if (w->ch->to == DEVICE_QUARANTINED && w->ch->wanted && w->ch->wanted[0])
        json_object_set_new(detail, "wanted", json_string(w->ch->wanted));
    if (core_audit(w->c, w->by, "device-state", w->domain, object, detail, w->now, e) != E_OK)
        return e->code;
    return store_audit_last(w->c->store, &w->audit_seq, hash, e);
}

static void log_change(const struct change *w, const char *object)
{
    struct log_line l;

    if (w->ch->batch)
        return;
    log_begin(&l, LOG_INFO, "device-state");
    log_str(&l, "object", object);
    log_str(&l, "from", device_state_name(w->from));
    log_str(&l, "to", device_state_name(w->ch->to));
    log_str(&l, "trigger", w->trigger);
    log_str(&l, "by", w->by->name);
    log_end(&l);
}

bool life_was_found(unsigned state, unsigned before)
{
    return state == DEVICE_SUSPENDED && before == DEVICE_LOST;
}

/* Finding it again does not. */
static bool stops_found(const struct row *d, const struct life_change *ch)
{
    return ch->to == DEVICE_SUSPENDED && life_was_found(d->state, d->prev) && ch->from != 1u << DEVICE_LOST;
}

/* The state stays; the date of its review, or the release it waits for, may be another. */
static enum err_code change_end(struct change *w, const struct row *d, const char *object, bool *changed, struct err *e)
{
    struct store *s = w->c->store;
    char wanted[ID_MAX_LEN + 1];
    struct device_due_row due;
    enum err_code code;

    if (w->ch->to == DEVICE_SUSPENDED && w->ch->until) {
        code = store_device_due_get(s, d->id, DUE_SUSPEND_REVIEW, &due, e);
        if (code != E_OK && code != E_NOT_FOUND)
            return code;
        *changed = code == E_NOT_FOUND || due.due_at != w->ch->until;
        w->trigger = "suspend";
    } else if (w->ch->to == DEVICE_QUARANTINED && w->ch->wanted && w->ch->wanted[0]) {
        if (store_device_wanted(s, d->id, wanted, e) != E_OK)
            return e->code;
        *changed = strcmp(wanted, w->ch->wanted) != 0;
        w->trigger = "quarantine";
    }
    *e = (struct err){0};
    if (!*changed)
        return E_OK;
    if (audit(w, object, e) != E_OK || change_due(w, d, e) != E_OK)
        return err_wrap(e, "%s", object);
    log_change(w, object);
    return E_OK;
}

enum err_code life_apply(struct core *c, uint64_t device, const struct life_change *ch, const struct actor *by, int64_t now,
                         bool *changed, uint64_t *seq, struct err *e)
{
    struct change w = {.c = c, .device = device, .ch = ch, .by = by, .now = now, .trigger = ""};
    char object[ID_MAX_LEN * 2 + 16];
    struct device_row stored;
    struct row d;

    *changed = false;
    *seq = c->purge_seq;
    if (store_device_by_id(c->store, device, &stored, e) != E_OK)
        return err_wrap(e, "device %llu", (unsigned long long)device);
    row_take(&d, &stored);
    w.unit = stored.unit;
    w.from = d.state;
    text_copy(w.domain, sizeof(w.domain), stored.domain);
    snprintf(object, sizeof(object), "device:%s/%s", stored.domain, stored.device_id);
    if (d.state == ch->to && !d.moved && !stops_found(&d, ch))
        return change_end(&w, &d, object, changed, e);
    if (check(&w, &d, e) != E_OK)
        return err_wrap(e, "%s", object);
    if ((effects[ch->to].idevid == FREE || effects[ch->to].ldevid == FREE) && each_row(&w, look_at_other, e) != E_OK)
        return err_wrap(e, "%s", object);
    if (audit(&w, object, e) != E_OK || change_row(&w, &d, true, e) != E_OK)
        return err_wrap(e, "%s", object);
    if (effects[ch->to].whole_unit && !ch->accepted && each_row(&w, change_other, e) != E_OK)
        return err_wrap(e, "%s", object);
    c->devices_changed = true;
    *changed = true;
    *seq = w.seq;
    log_change(&w, object);
    return E_OK;
}

enum err_code life_admit(struct core *c, uint64_t device, uint64_t cert, enum profile_kind kind, const struct actor *by, int64_t now,
                         struct err *e)
{
    struct life_change ch = {0};
    struct change w = {.c = c, .device = device, .ch = &ch, .by = by, .now = now};
    struct device_row stored;
    struct unit_stand stand;
    enum effect idevid, ldevid, f;
    struct row d;

    if (store_device_by_id(c->store, device, &stored, e) != E_OK)
        return e->code;
    row_take(&d, &stored);
    if (store_unit_stands(c->store, stored.unit, device, &stand, e) != E_OK)
        return e->code;
    ch.to = stand.stopped ? stand.by : d.state;
    if (ch.to == DEVICE_IN_REPAIR || (!stand.stopped && ch.to != DEVICE_QUARANTINED)) /* a repair gets its new key by an order */
        return E_OK;
    effects_on(&w, &d, true, &idevid, &ldevid);
    f = kind == PROFILE_IDEVID ? idevid : ldevid;
    return f == HOLD || f == REVOKE ? change_cert(&w, cert, f, false, e) : E_OK;
}

enum err_code life_step(struct core *c, uint64_t device, enum device_state to, bool logged, int64_t now, bool *changed, struct err *e)
{
    const unsigned line = (1u << DEVICE_SHIPPED) - 1;
    uint64_t seq;

    if (store_device_advance(c->store, device, life_from(to) & line, to, now, changed, e) != E_OK)
        return e->code;
    return *changed && logged ? store_device_log(c->store, device, to, now, 0, "", &seq, e) : E_OK;
}

/* ---- what a second person says ---- */

enum err_code life_confirm_compromise(struct core *c, uint64_t device, const struct actor *by, int64_t now, struct err *e)
{
    char object[ID_MAX_LEN * 2 + 16];
    struct device_due_row due;
    enum err_code code = store_device_due_get(c->store, device, DUE_COMPROMISE_CONFIRM, &due, e);

    if (code == E_NOT_FOUND)
        return err_set(e, E_CONFLICT, "no compromise of this device waits for a second person");
    if (code != E_OK)
        return code;
    if (strcmp(due.by, by->name) == 0)
        return err_set(e, E_DENIED, "%s reported it: another person confirms it", by->name);
    snprintf(object, sizeof(object), "device:%s/%s", due.domain, due.device_id);
    if (store_device_due_drop(c->store, device, DUE_COMPROMISE_CONFIRM, e) != E_OK ||
        alarm_clear(c, ALARM_COMPROMISE, due.domain, object, e) != E_OK)
        return e->code;
    return core_audit(c, by, "compromise-confirmed", due.domain, object, json_pack("{s:s}", "reported_by", due.by), now, e);
}

/* ---- firmware ---- */

static enum err_code release_by_firmware(struct core *c, uint64_t device, const char *firmware, const struct actor *by, int64_t now,
                                         struct err *e)
{
    struct life_change ch = {.to = DEVICE_IN_SERVICE, .only_from = DEVICE_QUARANTINED, .why = "the release that was wanted is reported",
                             .evidence = firmware};
    char wanted[ID_MAX_LEN + 1];
    uint64_t seq;
    bool changed;

    if (store_device_wanted(c->store, device, wanted, e) != E_OK)
        return e->code;
    if (wanted[0] == '\0' || strcmp(wanted, firmware) != 0)
        return E_OK;
    return life_apply(c, device, &ch, by, now, &changed, &seq, e);
}

enum err_code life_firmware(struct core *c, uint64_t device, const char *firmware, const struct actor *by, int64_t now, struct err *e)
{
    char object[ID_MAX_LEN * 2 + 16], domain[ID_MAX_LEN + 1], before[ID_MAX_LEN + 1];
    struct device_row row;
    enum device_state state;
    uint64_t seq;

    if (store_device_by_id(c->store, device, &row, e) != E_OK)
        return e->code;
    state = (enum device_state)row.state;
    text_copy(before, sizeof(before), row.firmware);
    text_copy(domain, sizeof(domain), row.domain);
    snprintf(object, sizeof(object), "device:%s/%s", row.domain, row.device_id);
    if (strcmp(before, firmware) != 0) {
        if (store_device_set_firmware(c->store, device, firmware, e) != E_OK ||
            store_device_log(c->store, device, state, now, 0, "", &seq, e) != E_OK ||
            core_audit(c, by, "device-firmware", domain, object, json_pack("{s:s, s:s}", "from", before, "to", firmware), now, e) != E_OK)
            return e->code;
        c->devices_changed = true;
    }
    return state == DEVICE_QUARANTINED ? release_by_firmware(c, device, firmware, by, now, e) : E_OK;
}

/* ---- time ---- */

static enum err_code raise_due(struct core *c, int64_t now, bool *more, struct err *e)
{
    static const struct {
        const char *kind, *text;
    } alarms[DEVICE_DUES] = {
        [DUE_SUSPEND_REVIEW] = {ALARM_SUSPEND_REVIEW, "its suspension was meant to be looked at by now: release it or decide otherwise"},
        [DUE_COMPROMISE_CONFIRM] = {ALARM_COMPROMISE, "no second person has confirmed the compromise within a day"},
    };
    char object[ID_MAX_LEN * 2 + 16];
    struct device_due_row due;
    enum err_code code = store_device_due_first(c->store, now, &due, e);

    *more = code == E_OK;
    if (code != E_OK) {
        if (code == E_NOT_FOUND)
            *e = (struct err){0};
        return code == E_NOT_FOUND ? E_OK : code;
    }
    snprintf(object, sizeof(object), "device:%s/%s", due.domain, due.device_id);
    if (store_device_due_drop(c->store, due.device, due.kind, e) != E_OK)
        return e->code;
    /* Asked again of a second person as long as nobody did. */
    if (due.kind == DUE_COMPROMISE_CONFIRM &&
        store_device_due_put(c->store, due.device, due.kind, INT64_MAX, due.by, e) != E_OK)
        return e->code;
    return alarm_raise(c, alarms[due.kind].kind, due.domain, object, alarms[due.kind].text, e);
}

static enum err_code retire_one(struct core *c, int64_t now, bool *more, struct err *e)
{
    struct revocation r = {.to = CERT_REVOKED, .reason = REASON_SUPERSEDED, .event = "cert-retired"};
    struct cert_row row;
    bool changed;
    uint64_t cert = 0, seq;
    enum err_code code = store_retire_first(c->store, now, &cert, e);

    *more = code == E_OK;
    if (code != E_OK) {
        if (code == E_NOT_FOUND)
            *e = (struct err){0};
        return code == E_NOT_FOUND ? E_OK : code;
    }
    if (store_retire_drop(c->store, cert, e) != E_OK || store_cert_by_id(c->store, cert, &row, e) != E_OK)
        return e->code;
    if (row.status == CERT_REVOKED || life_cert_is_over(c, &row, now))
        return E_OK;
    return revoke_apply(c, &row, &r, &ACTOR_CORE, now, &changed, &seq, e);
}

static bool is_due(struct core *c, int64_t now)
{
    struct device_due_row due;
    uint64_t cert;
    struct err e = {0};

    return store_device_due_first(c->store, now, &due, &e) == E_OK || store_retire_first(c->store, now, &cert, &e) == E_OK;
}

void life_tick(struct core *c)
{
    int64_t now = core_stamp(c);
    struct err e = {0};
    enum err_code code = E_OK;
    bool more = true;

    if (c->seal != SEAL_NONE || !is_due(c, now) || core_begin(c, &e) != E_OK)
        return;
    for (int i = 0; i < TICK_ROWS && more && code == E_OK; i++)
        code = raise_due(c, now, &more, &e);
    more = true;
    for (int i = 0; i < TICK_ROWS && more && code == E_OK; i++)
        code = retire_one(c, now, &more, &e);
    core_end(c, code, &e);
    if (code == E_OK)
        revoke_changed(c);
    else
        log_failure("life-tick-failed", &e);
}
