/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/capture.h"

#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "ca/budget.h"
#include "ca/factory_int.h"
#include "ca/issue.h"

#define PORTION       8  /* captured requests in the queue of issuance at a time: beside them normal traffic has room */
#define LOOK_AT       64 /* rows looked at for a portion */
#define STATION_S     10 /* Retry-After of a captured request */
#define TRY_AGAIN_S   2
#define BUDGET_S      60 /* until somebody may have brought a line box another budget */

/* A captured request that is being signed. */
struct capture_slot {
    struct captures *all;
    uint64_t unit; /* 0: free */
};

struct captures {
    struct capture_slot slot[PORTION];
};

struct captures *captures_new(void)
{
    struct captures *s = calloc(1, sizeof(*s));

    for (size_t i = 0; s && i < PORTION; i++)
        s->slot[i].all = s;
    return s;
}

void captures_free(struct captures *s)
{
    free(s);
}

/* ---- a request comes in ---- */

bool capture_is_possible(struct core *c, const struct svc_enroll *in, const struct grant *g)
{
    const struct work_order *o = g->unit.order ? factory_live_by_id(c, g->unit.order) : NULL;
    struct unit_row u;
    struct err e = {0};

    if (!o || !o->defer_allowed || o->state != ORDER_OPEN || in->operation != SVC_SIMPLEENROLL || g->unit.id == 0)
        return false;
    if (store_unit_by_id(c->store, g->unit.id, &u, &e) != E_OK) {
        core_doubt(c, &e);
        return false;
    }
    return u.state == UNIT_RESERVED || u.state == UNIT_CAPTURED;
}

static enum err_code keep(struct core *c, const struct work_order *o, struct unit_row *u, const struct capture_row *row,
                          struct grant *g, int64_t now, struct err *e)
{
    char detail[96], spki[65];
    struct unit_cause why = {.by = &g->by, .station = g->unit.station, .badge = g->unit.badge, .tool = g->unit.tool,
                             .detail = detail};
    bool changed;

    hex_encode(row->spki_hash, sizeof(row->spki_hash), spki);
    snprintf(detail, sizeof(detail), "{\"spki_sha256\":\"%s\"}", spki);
    if ((u->state == UNIT_CAPTURED && factory_may_note(c, u->id, g, e) != E_OK) || store_capture_put(c->store, row, e) != E_OK)
        return e->code;
    if (u->state != UNIT_CAPTURED)
        return factory_change(c, o, u, UNIT_DO_CAPTURE, &why, now, &changed, e);
    why.event = "captured"; /* again, with another key: nobody has a certificate for the one before */
    return factory_note(c, o, u->id, g->device.device_id, &why, now, e);
}

static enum err_code may_keep(struct core *c, const struct work_order *o, int64_t now, struct grant *g, struct err *e)
{
    struct order_tally t;

    if (store_tally(c->store, o->id, &t, e) != E_OK)
        return e->code;
    if (c->budgets && budget_allows(c, o->order_no, now, g, e) != E_OK)
        return e->code;
    if ((uint64_t)t.captured >= o->defer_allowed)
        return factory_refuse(g, e, E_BUSY, "defer-used", "the token is down, and the order's %llu deferred units are used",
                              (unsigned long long)o->defer_allowed);
    return E_OK;
}

enum err_code capture_take(struct core *c, const struct svc_enroll *in, const struct csr *csr, int64_t now, struct grant *g,
                           struct err *e)
{
    const struct work_order *o = factory_live_by_id(c, g->unit.order);
    struct capture_row row = {.unit = g->unit.id, .order = g->unit.order, .station = g->unit.station, .badge = g->unit.badge,
                              .tool = g->unit.tool, .csr = in->csr, .captured_at = now, .try_at = now};
    struct capture_row before;
    struct unit_row u;
    bool same = false;
    enum err_code code = store_unit_by_id(c->store, g->unit.id, &u, e);

    u.device_id = g->device.device_id; /* the store's is good until its next call only */
    memcpy(row.spki_hash, csr->key.spki_hash, sizeof(row.spki_hash));
    if (code == E_OK && u.state == UNIT_CAPTURED && (code = store_capture_find(c->store, u.id, &before, e)) == E_OK)
        same = memcmp(before.spki_hash, row.spki_hash, sizeof(row.spki_hash)) == 0;
    else if (code == E_OK)
        code = may_keep(c, o, now, g, e);
    if (code == E_OK && !same)
        code = keep(c, o, &u, &row, g, now, e);
    if (code != E_OK)
        return code;
    g->retry_after_s = STATION_S;
    return err_set(e, E_PENDING, "captured: the request of unit %s is kept and will be signed; the unit may move on",
                   g->device.device_id);
}

/* ---- a unit fetches it ---- */

static enum err_code nothing_here(struct core *c, const struct svc_enroll *in, const char *device_id, struct grant *g,
                                  struct err *e)
{
    if (guess_limit_wrong(c->guesses, device_id, in->peer, clock_mono_ms()))
        return err_set(e, E_DENIED, "no certificate is kept for this key");
    g->retry_after_s = 1;
    return err_set(e, E_BUSY, "too many requests for certificates that are not there; try again in a second");
}

/* The unit of the key that signed the request. E_NOT_FOUND: none in this domain, or another's. */
static enum err_code unit_of_key(struct core *c, const char *device_id, const uint8_t spki_hash[32], struct grant *g,
                                 struct unit_row *u, struct err *e)
{
    struct device_row row;
    uint64_t unit = 0;
    enum err_code code = store_device_find(c->store, g->label->domain, device_id, &row, e);

    if (code != E_OK)
        return code;
    device_facts_take(&g->device, &row);
    if ((code = store_spki_unit(c->store, spki_hash, &unit, e)) != E_OK)
        return code;
    if (unit != g->device.unit || device_facts_stopped(&g->device))
        return err_set(e, E_NOT_FOUND, "another unit's key, or stopped");
    return store_unit_newest(c->store, g->device.id, u, e);
}

/* The binding is a challenge that the device signed with its new key. Where an order wants to know more, a station confirms. */
static enum err_code confirm(struct core *c, struct unit_row *u, const struct grant *g, int64_t now, struct err *e)
{
    const struct work_order *o = factory_live_by_id(c, u->order);
    struct unit_cause why = {.by = &g->by, .detail = "{\"by\":\"first-boot\"}"};
    bool changed;

    if (!o || o->evidence_required || o->firmware.n || (u->state != UNIT_ISSUED && u->state != UNIT_HELD))
        return E_OK;
    u->device_id = g->device.device_id;
    return factory_change(c, o, u, UNIT_DO_CONFIRM, &why, now, &changed, e);
}

static enum err_code take_stored(struct core *c, uint64_t cert, const uint8_t spki_hash[32], struct grant *g, struct err *e)
{
    struct cert_row row;

    if (store_cert_by_id(c->store, cert, &row, e) != E_OK)
        return e->code;
    if (row.status != CERT_GOOD || memcmp(row.spki_hash, spki_hash, sizeof(row.spki_hash)) != 0)
        return err_set(e, E_NOT_FOUND, "its certificate is of another key, or not good");
    g->repeat = true;
    buf_reset(&g->stored);
    buf_add_bytes(&g->stored, row.der);
    g->stored_issuer = row.issuer;
    memcpy(g->stored_serial, row.serial, row.serial_len);
    g->stored_serial_len = row.serial_len;
    g->stored_not_before = row.not_before;
    g->stored_not_after = row.not_after;
    return buf_ok(&g->stored) ? E_OK : err_set(e, E_NOMEM, "certificate");
}

static enum err_code waits(struct core *c, const struct unit_row *u, const uint8_t spki_hash[32], struct grant *g, struct err *e)
{
    struct capture_row row;
    enum err_code code = store_capture_find(c->store, u->id, &row, e);

    if (code != E_OK || memcmp(row.spki_hash, spki_hash, sizeof(row.spki_hash)) != 0)
        return code == E_OK ? err_set(e, E_NOT_FOUND, "another key is kept") : code;
    g->retry_after_s = STATION_S;
    return err_set(e, E_PENDING, "the certificate is not signed yet");
}

static enum err_code fetch(struct core *c, const char *device_id, const struct csr *csr, int64_t now, struct grant *g, struct err *e)
{
    struct unit_row u;
    enum err_code code = unit_of_key(c, device_id, csr->key.spki_hash, g, &u, e);

    if (code != E_OK)
        return code;
    if (u.state == UNIT_CAPTURED)
        return waits(c, &u, csr->key.spki_hash, g, e);
    if (u.cert == 0 || unit_has_ended((enum unit_state)u.state))
        return err_set(e, E_NOT_FOUND, "the unit has no certificate");
    g->authenticated = true;
    g->by.kind = "device";
    snprintf(g->by.name, sizeof(g->by.name), "%s/%s", g->device.domain, g->device.device_id);
    code = confirm(c, &u, g, now, e);
    return code == E_OK ? take_stored(c, u.cert, csr->key.spki_hash, g, e) : code;
}

enum err_code capture_fetch(struct core *c, const struct svc_enroll *in, const struct csr *csr, int64_t now, struct grant *g,
                            struct err *e)
{
    char device_id[ID_MAX_LEN + 1];
    enum err_code code;

    if ((code = enroll_check_request(in, csr, g, e)) != E_OK || (code = enroll_device_id(csr, device_id, e)) != E_OK)
        return code;
    code = fetch(c, device_id, csr, now, g, e);
    if (code == E_NOT_FOUND || code == E_CONFLICT) {
        g->authenticated = false;
        return nothing_here(c, in, device_id, g, e);
    }
    return code;
}

/* ---- its signature ---- */

/* Who asked for it, and what the station said of the unit then. */
static void take_station(const struct capture_row *row, const char *domain, struct grant *g)
{
    g->authenticated = true;
    g->by.kind = "station";
    snprintf(g->by.name, sizeof(g->by.name), "%s/%s", domain, row->station_name);
    g->unit.station = row->station;
    text_copy(g->unit.station_name, sizeof(g->unit.station_name), row->station_name);
    text_copy(g->unit.badge, sizeof(g->unit.badge), row->badge);
    text_copy(g->unit.tool, sizeof(g->unit.tool), row->tool);
}

enum err_code capture_grant(struct core *c, uint64_t unit, int64_t now, struct grant *g, struct buf *csr, struct err *e)
{
    const struct work_order *o;
    struct capture_row row;
    struct device_row device;
    struct unit_row u;
    struct csr read;
    enum err_code code = store_capture_find(c->store, unit, &row, e);

    (void)now;
    if (code != E_OK || row.state != CAPTURE_WAITS)
        return code == E_OK ? err_set(e, E_NOT_FOUND, "set aside") : code;
    o = factory_live_by_id(c, row.order);
    if (!o || o->state != ORDER_OPEN)
        return err_set(e, E_NOT_FOUND, "order %s is not open", row.order_no);
    buf_reset(csr);
    buf_add_bytes(csr, row.csr);
    take_station(&row, o->domain, g);
    g->unit.order = o->id;
    g->unit.id = unit;
    g->unit.event = UNIT_DO_ISSUE;
    text_copy(g->unit.order_no, sizeof(g->unit.order_no), o->order_no);
    text_copy(g->unit.device_id, sizeof(g->unit.device_id), row.device_id);
    memcpy(g->credential, o->credential, sizeof(g->credential));
    g->operation = CERT_OP_ENROLL;
    g->label = &o->label;
    g->profile = conf_find_profile(c->conf, o->profile);
    if (!g->profile)
        return err_set(e, E_TOKEN, "profile \"%s\" is not in the configuration", o->profile);
    if (!buf_ok(csr))
        return err_set(e, E_NOMEM, "captured request");
    if (store_unit_by_id(c->store, unit, &u, e) != E_OK || store_device_by_id(c->store, u.device, &device, e) != E_OK)
        return e->code;
    device_facts_take(&g->device, &device);
    if (u.state != UNIT_CAPTURED)
        return err_set(e, E_NOT_FOUND, "the unit is %s", unit_state_name((enum unit_state)u.state));
    if (factory_is_over(&g->device))
        return err_set(e, E_DENIED, "the device is stopped");
    /* The key may have been found compromised, or certified for another unit, since. */
    if (csr_read(buf_bytes(csr), &read, e) != E_OK)
        return e->code;
    if (!(g->profile->key_algs & KEY_BIT(read.key.alg)))
        return err_set(e, E_INVALID, "%s keys are not certified under the order's profile", key_alg_name(read.key.alg));
    return enroll_claim_key(c, g, &read.key, now, e);
}

/* ---- what came of it ---- */

/* Seconds until the next try; 0: there is no use in one. */
static int64_t pause_after(const struct err *why)
{
    if (why->code == E_TOKEN || why->code == E_STORE || why->code == E_IO || why->code == E_NOMEM || why->code == E_BUSY)
        return TRY_AGAIN_S;
    return strncmp(why->msg, "budget-", 7) == 0 ? BUDGET_S : 0;
}

static void log_capture(enum log_level level, const char *event, const struct capture_row *row, const struct err *why)
{
    struct log_line l;

    log_begin(&l, level, event);
    log_str(&l, "order", row->order_no);
    log_str(&l, "device_id", row->device_id);
    if (why)
        log_err(&l, why);
    log_end(&l);
}

static enum err_code set_aside(struct core *c, const struct capture_row *row, const struct err *why, int64_t now, struct err *e)
{
    char object[UNIT_OBJECT_MAX];
    const struct work_order *o = factory_live_by_id(c, row->order);
    struct alarm_row alarm = {.time = now, .kind = "capture-set-aside", .domain = o ? o->domain : "", .object = object,
                              .text = why->msg};
    uint64_t unit = row->unit, tries = row->tries + 1;
    enum err_code code;

    snprintf(object, sizeof(object), "unit:%s/%s", row->order_no, row->device_id);
    log_capture(LOG_ERROR, "capture-set-aside", row, why);
    if (store_capture_set(c->store, unit, CAPTURE_SET_ASIDE, now, tries, why->msg, e) != E_OK ||
        core_audit(c, &ACTOR_CORE, "capture-set-aside", alarm.domain, object,
                   json_pack("{s:s, s:s}", "code", err_code_name(why->code), "why", why->msg), now, e) != E_OK)
        return e->code;
    code = store_alarm_insert(c->store, &alarm, e);
    return code == E_CONFLICT ? E_OK : code;
}

static enum err_code note_failure(struct core *c, uint64_t unit, const struct err *why, struct err *e)
{
    int64_t now = core_stamp(c);
    struct capture_row row;
    enum err_code code = store_capture_find(c->store, unit, &row, e);

    const struct work_order *o = code == E_OK ? factory_live_by_id(c, row.order) : NULL;

    if (code != E_OK && code != E_NOT_FOUND)
        return code;
    if (!o || o->state != ORDER_OPEN) /* scrapped or issued meanwhile; or about to be unused */
        return E_OK;
    if (pause_after(why) == 0)
        return set_aside(c, &row, why, now, e);
    return store_capture_set(c->store, unit, CAPTURE_WAITS, now + pause_after(why), row.tries + 1, why->msg, e);
}

static void fill(struct core *c);

static void on_done(struct core *c, void *arg, const struct issue_result *r)
{
    struct capture_slot *slot = arg;
    uint64_t unit = slot->unit;
    struct err e = {0};

    slot->unit = 0;
    if (c->stopping)
        return;
    if (r->code != E_OK && r->code != E_NOT_FOUND && core_begin(c, &e) == E_OK) {
        if (note_failure(c, unit, &r->err, &e) == E_OK) {
            core_commit(c);
        } else {
            core_doubt(c, &e);
            core_rollback(c);
            log_failure("capture-failed", &e);
        }
    }
    if (r->code == E_OK)
        fill(c);
}

/* ---- the queue ---- */

static struct capture_slot *free_slot(struct captures *s)
{
    for (size_t i = 0; i < PORTION; i++)
        if (s->slot[i].unit == 0)
            return &s->slot[i];
    return NULL;
}

static bool is_under_way(const struct captures *s, uint64_t unit)
{
    for (size_t i = 0; i < PORTION; i++)
        if (s->slot[i].unit == unit)
            return true;
    return false;
}

struct picking {
    const struct captures *all;
    uint64_t unit[PORTION];
    size_t n, max;
};

static bool pick(void *arg, const struct capture_row *row)
{
    struct picking *p = arg;

    if (!is_under_way(p->all, row->unit))
        p->unit[p->n++] = row->unit;
    return p->n < p->max;
}

/* How many may be sent for the order now. One at a time tries a token that failed: nobody waits for it. */
static size_t portion(struct core *c, const struct work_order *o)
{
    const struct conf_profile *p = conf_find_profile(c->conf, o->profile);
    struct authority *a = p ? authority_find(c, p->ca) : NULL;
    const char *why;
    int64_t failed_ms;
    size_t room = 0;

    for (size_t i = 0; i < PORTION; i++)
        room += c->captures->slot[i].unit == 0;
    if (!o->defer_allowed || o->state != ORDER_OPEN || !a || !authority_is_ready(c, a, &why))
        return 0;
    failed_ms = signer_link_failed_ms(c, a->conf->token);
    return failed_ms < 0 ? room : failed_ms >= TRY_AGAIN_S * 1000 && room == PORTION;
}

static void fill_from(struct core *c, const struct work_order *o)
{
    struct captures *s = c->captures;
    struct picking p = {.all = s, .max = portion(c, o)};
    struct capture_slot *slot;
    struct err e = {0};

    if (p.max == 0)
        return;
    if (store_capture_due(c->store, o->id, core_stamp(c), LOOK_AT, pick, &p, &e) != E_OK) {
        core_doubt(c, &e);
        return;
    }
    for (size_t i = 0; i < p.n && (slot = free_slot(s)); i++) {
        slot->unit = p.unit[i];
        if (issue_captured(c, slot->unit, on_done, slot, &e) != E_OK)
            slot->unit = 0; /* the queue is full: in a second again */
    }
}

static void fill(struct core *c)
{
    factory_each_live(c, fill_from);
}

void capture_tick(struct core *c)
{
    fill(c);
}

enum err_code capture_end(struct core *c, const struct work_order *o, uint64_t unit, const char *device_id, int64_t now,
                          struct err *e)
{
    char object[UNIT_OBJECT_MAX];
    struct err none = {0};
    enum err_code code;

    if (store_capture_delete(c->store, unit, e) != E_OK)
        return e->code;
    snprintf(object, sizeof(object), "unit:%s/%s", o->order_no, device_id);
    code = store_alarm_clear(c->store, "capture-set-aside", o->domain, object, now, &none);
    if (code == E_NOT_FOUND || code == E_OK) /* most had none */
        return E_OK;
    *e = none;
    return code;
}

/* ---- an operator's ---- */

static enum err_code note_operator(struct core *c, const struct capture_row *row, const char *event, const struct actor *by,
                                   int64_t now, struct err *e)
{
    char object[UNIT_OBJECT_MAX], domain[ID_MAX_LEN + 1];
    const struct work_order *o = factory_live_by_id(c, row->order);
    enum err_code code;

    snprintf(object, sizeof(object), "unit:%s/%s", row->order_no, row->device_id);
    text_copy(domain, sizeof(domain), o ? o->domain : "");
    code = store_alarm_clear(c->store, "capture-set-aside", domain, object, now, e);
    if (code != E_OK && code != E_NOT_FOUND)
        return code;
    return core_audit(c, by, event, domain, object, NULL, now, e);
}

enum err_code capture_retry(struct core *c, uint64_t unit, const struct actor *by, int64_t now, struct err *e)
{
    struct capture_row row;
    enum err_code code = store_capture_find(c->store, unit, &row, e);

    if (code == E_OK)
        code = note_operator(c, &row, "capture-retried", by, now, e);
    return code == E_OK ? store_capture_set(c->store, unit, CAPTURE_WAITS, now, 0, "", e) : code;
}

enum err_code capture_drop(struct core *c, uint64_t unit, const struct actor *by, int64_t now, struct err *e)
{
    struct unit_cause why = {.by = by};
    struct capture_row row;
    const struct work_order *o;
    struct unit_row u;
    bool changed;
    enum err_code code = store_capture_find(c->store, unit, &row, e);

    if (code != E_OK)
        return code;
    o = factory_live_by_id(c, row.order);
    if (!o)
        return err_set(e, E_CONFLICT, "order %s is closed", row.order_no);
    if (note_operator(c, &row, "capture-dropped", by, now, e) != E_OK || store_unit_by_id(c->store, unit, &u, e) != E_OK)
        return e->code;
    return factory_change(c, o, &u, UNIT_DO_SCRAP, &why, now, &changed, e);
}
