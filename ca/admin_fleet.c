/* SPDX-License-Identifier: Apache-2.0 */
/* Administration of the fleet: what a selector counts, mass actions and their course. */
#include <stdlib.h>
#include <string.h>

#include "ca/admin_int.h"
#include "ca/batch.h"
#include "ca/life.h"
#include "ca/people.h"
#include "ca/store/select.h"

#define PAGE_ROWS   200
#define GROUPS_MAX  1000 /* of a count by some member; the rest is one group */
#define LOOK_EVERY  1024 /* units between two looks whether the job is to end */
#define OTHERS      "(others)"

/* ---- arguments ---- */

static bool batch_id(const struct admin_call *call, uint64_t *id, struct err *e)
{
    const char *text = admin_text(call, "id");
    char *end = NULL;

    *id = strtoull(text, &end, 10);
    if (*text < '1' || *text > '9' || *end || *id > INT64_MAX) {
        err_set(e, E_INVALID, "id: the number of a batch");
        return false;
    }
    return true;
}

static bool revokes(enum batch_action a)
{
    return a == BATCH_REVOKE || a == BATCH_LOSE || a == BATCH_DECOMMISSION;
}

/* Of an action that revokes, a reason of RFC 5280; of any other the text for the trail. */
static enum err_code take_reason(const struct admin_call *call, struct batch_order *o, struct err *e)
{
    const char *reason = admin_text(call, "reason");

    o->why = admin_text(call, "why");
    if (!reason)
        return E_OK;
    if (!revokes(o->action)) {
        if (o->why)
            return err_set(e, E_INVALID, "reason: %s revokes nothing for a reason of its own; why is enough", batch_action_name(o->action));
        o->why = reason;
        return E_OK;
    }
    if (!crl_reason_from_name(reason, &o->reason) || o->reason == REASON_CERTIFICATE_HOLD || o->reason == REASON_REMOVE_FROM_CRL)
        return err_set(e, E_INVALID, "reason: \"%s\" is not one of RFC 5280 5.3.1 for a revocation", reason);
    if (o->reason == REASON_KEY_COMPROMISE)
        return err_set(e, E_INVALID, "reason: a unit whose key is exposed loses its birth certificate too: inkan fleet compromise");
    return E_OK;
}

static enum err_code take_order(const struct admin_call *call, struct batch_order *o, struct err *e)
{
    const char *action = admin_text(call, "action"), *select = admin_text(call, "select"), *digest = admin_text(call, "digest");
    size_t len = 0;

    *o = (struct batch_order){.selector = select ? select : "", .reason = REASON_UNSPECIFIED, .until = admin_int(call, "until", 0),
                              .wanted = admin_text(call, "firmware_wanted"), .canary = (unsigned)admin_int(call, "canary", 0)};
    if (action && !batch_action_from_name(action, &o->action))
        return err_set(e, E_INVALID, "action: \"%s\" is none", action);
    if ((o->until && o->action != BATCH_SUSPEND) || (o->wanted && o->action != BATCH_QUARANTINE))
        return err_set(e, E_INVALID, "until is of suspend, firmware_wanted of quarantine");
    if (admin_has(call, "count") != (digest != NULL))
        return err_set(e, E_INVALID, "count and digest go together");
    if (digest) {
        o->expected = true;
        o->count = (uint64_t)admin_int(call, "count", 0);
        if (!hex_decode(digest, strlen(digest), o->digest, sizeof(o->digest), &len) || len != sizeof(o->digest))
            return err_set(e, E_INVALID, "digest: 64 hex digits");
    }
    return take_reason(call, o, e);
}

/* The batch to undo: one that holds units, over or stopped by a person. */
static enum err_code undo_order(struct core *c, uint64_t id, struct batch_order *o, struct batch_list **list, struct err *e)
{
    struct batch_row row;
    enum err_code code = store_batch_by_id(c->store, id, &row, e);

    if (code == E_NOT_FOUND)
        return err_set(e, E_NOT_FOUND, "no batch %llu", (unsigned long long)id);
    if (code != E_OK)
        return code;
    if (batch_inverse((enum batch_action)row.action) == BATCH_ACTIONS)
        return err_set(e, E_CONFLICT, "batch %llu did %s: only suspend and quarantine can be undone", (unsigned long long)id,
                       batch_action_name((enum batch_action)row.action));
    if (row.state == BATCH_RUNNING || row.state == BATCH_FINISHING)
        return err_set(e, E_CONFLICT, "batch %llu is %s: pause or cancel it first", (unsigned long long)id,
                       batch_state_name((enum batch_state)row.state));
    o->action = batch_inverse((enum batch_action)row.action);
    o->undo_of = id;
    return batch_list_changed(id, batch_target((enum batch_action)row.action), list, e);
}

static enum err_code list_of_file(struct core *c, const struct admin_call *call, struct batch_list **out, struct err *e)
{
    AUTO_BUF text = BUF_INIT(BATCH_IDS_MAX_LEN);
    const char *domain = admin_text(call, "domain");

    if (domain && !conf_find_domain(c->conf, domain))
        return err_set(e, E_NOT_FOUND, "domain \"%s\" is not in the configuration", domain);
    if (!domain && c->conf->domains_n == 1)
        domain = c->conf->domains[0].name;
    if (admin_file(call, BATCH_IDS_MAX_LEN, &text, e) != E_OK)
        return e->code;
    return batch_list_ids(buf_bytes(&text), domain, out, e);
}

/* ---- counting, in a reader's thread ---- */

struct count {
    struct admin_call *call;
    struct batch_list *list;
    struct batch_digest digest;
    enum batch_action action;
    uint64_t undo_of;
    uint64_t n, state[DEVICE_STATES];
    uint64_t found; /* of those that are suspended */
    json_t *models, *domains; /* name: units */
    json_t *groups;           /* device.count: by this member */
    enum selector_field by;
    bool with_digest;
};

static void count_free(void *state)
{
    struct count *k = state;

    batch_list_free(k->list);
    batch_digest_clear(&k->digest);
    json_decref(k->models);
    json_decref(k->domains);
    json_decref(k->groups);
    free(k);
}

static void tally(json_t *groups, const char *name)
{
    json_t *n = json_object_get(groups, name);

    if (!n && json_object_size(groups) >= GROUPS_MAX) {
        name = OTHERS;
        n = json_object_get(groups, name);
    }
    if (n)
        json_integer_set(n, json_integer_value(n) + 1);
    else
        json_object_set_new(groups, name, json_integer(1));
}

static const char *member_of(const struct device_row *d, enum selector_field f)
{
    switch (f) {
    case SEL_DOMAIN:
        return d->domain;
    case SEL_ORDER:
        return d->order_no;
    case SEL_PRODUCT:
        return d->product;
    case SEL_MODEL:
        return d->model;
    case SEL_LOT:
        return d->lot;
    case SEL_LINE:
        return d->line;
    case SEL_STATION:
        return d->station;
    case SEL_FIRMWARE:
        return d->firmware;
    case SEL_STATE:
        return device_state_name((enum device_state)d->state);
    default:
        return NULL;
    }
}

static bool count_one(void *arg, const struct device_row *row)
{
    struct count *k = arg;

    k->n++;
    if (row->state < DEVICE_STATES)
        k->state[row->state]++;
    k->found += life_was_found(row->state, row->prev_state);
    if (k->models)
        tally(k->models, row->model);
    if (k->domains)
        tally(k->domains, row->domain);
    if (k->groups)
        tally(k->groups, member_of(row, k->by));
    if (k->with_digest)
        batch_digest_add(&k->digest, row);
    return k->n % LOOK_EVERY != 0 || !reader_job_must_end(&k->call->job);
}

static enum err_code count_all(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    struct count *k = call->state;

    if (batch_list_next(k->list, ledger, 0, count_one, k, more, e) != E_OK)
        return e->code;
    return *more ? err_set(e, E_BUSY, "the count was ended") : E_OK;
}

/* Takes over `list`. */
static struct count *count_new(struct admin_call *call, struct batch_list *list)
{
    struct count *k = calloc(1, sizeof(*k));

    if (!k) {
        batch_list_free(list);
        return NULL;
    }
    k->call = call;
    k->list = list;
    call->state = k;
    call->state_free = count_free;
    return k;
}

/* [{name, units}], most units first. */
static json_t *groups_json(const char *name, json_t *groups)
{
    json_t *rows = json_array();
    const char *key;
    json_t *n;

    json_object_foreach(groups, key, n)
    {
        size_t at = 0;

        while (at < json_array_size(rows) &&
               json_integer_value(json_object_get(json_array_get(rows, at), "units")) >= json_integer_value(n))
            at++;
        json_array_insert_new(rows, at, json_pack("{s:s, s:I}", name, key, "units", json_integer_value(n)));
    }
    return rows;
}

static void counted(struct core *c, struct admin_call *call, enum err_code code, const struct err *e)
{
    struct count *k = call->state;

    (void)c;
    if (code != E_OK) {
        admin_fail(call, e);
        return;
    }
    if (k->groups) {
        json_t *rows = groups_json(selector_field_name(k->by), k->groups);

        for (size_t i = 0; i < json_array_size(rows); i++)
            admin_row(call, json_incref(json_array_get(rows, i)));
        json_decref(rows);
    }
    admin_done(call, json_pack("{s:I}", "count", (json_int_t)k->n), -1);
}

void op_device_count(struct core *c, struct admin_call *call)
{
    const char *by = admin_text(call, "by"), *select = admin_text(call, "select");
    struct device_row probe = {.domain = "", .order_no = "", .product = "", .model = "", .lot = "", .line = "", .station = "", .firmware = ""};
    enum selector_field field = SEL_FIELDS;
    struct batch_list *list = NULL;
    struct count *k = NULL;
    struct err e = {0};

    if (by && (!selector_field_from_name(by, strlen(by), &field) || !member_of(&probe, field)))
        err_set(&e, E_INVALID, "by: domain, order, product, model, lot, line, station, firmware or state");
    else if (batch_list_select(select ? select : "device = *", core_stamp(c), &list, &e) == E_OK && !(k = count_new(call, list)))
        err_set(&e, E_NOMEM, "count");
    if (!k) {
        admin_fail(call, &e);
        return;
    }
    k->by = field;
    k->groups = by ? json_object() : NULL;
    admin_read_then(c, call, READER_FLEET, count_all, counted);
}

/* ---- preview ---- */

static void add_state(json_t *rows, int state, uint64_t units, const char *would, const char *why)
{
    if (units)
        json_array_append_new(rows, json_pack("{s:s, s:I, s:s, s:s}", "state", device_state_name((enum device_state)state), "units",
                                              (json_int_t)units, "would", would, "why", why));
}

static json_t *states_json(const struct count *k, json_int_t *refused)
{
    json_t *rows = json_array();
    char why[192];

    for (int s = 0; s < DEVICE_STATES; s++) {
        const char *would = batch_would(k->action, (enum device_state)s, why, sizeof(why));
        uint64_t found = s == DEVICE_SUSPENDED && k->action == BATCH_SUSPEND ? k->found : 0;

        if (strcmp(would, "refuse") == 0)
            *refused += (json_int_t)k->state[s];
        add_state(rows, s, k->state[s] - found, would, why);
        add_state(rows, s, found, "change", "lost and found, and may enrol so far");
    }
    return rows;
}

static void previewed(struct core *c, struct admin_call *call, enum err_code code, const struct err *e)
{
    struct count *k = call->state;
    uint8_t digest[32];
    json_int_t refused = 0;
    json_t *states;

    (void)c;
    if (code != E_OK) {
        admin_fail(call, e);
        return;
    }
    batch_digest_end(&k->digest, digest);
    states = states_json(k, &refused);
    admin_done(call,
               json_pack("{s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "action", batch_action_name(k->action), "undo_of",
                         (json_int_t)k->undo_of, "count", (json_int_t)k->n, "refused", refused, "digest", json_hex(BYTES_OF(digest)), "states",
                         states, "models", groups_json("model", k->models), "domains", groups_json("domain", k->domains)),
               -1);
}

/* Takes over `list`. */
static void preview(struct core *c, struct admin_call *call, const struct batch_order *o, struct batch_list *list)
{
    struct count *k = count_new(call, list);
    struct err e = {0};

    if (k) {
        k->action = o->action;
        k->undo_of = o->undo_of;
        k->models = json_object();
        k->domains = json_object();
        k->with_digest = batch_digest_begin(&k->digest, &e) == E_OK;
    }
    if (!k || !k->models || !k->domains || !k->with_digest) {
        err_set(&e, E_NOMEM, "preview");
        admin_fail(call, &e);
        return;
    }
    admin_read_then(c, call, READER_FLEET, count_all, previewed);
}

void op_batch_preview(struct core *c, struct admin_call *call)
{
    struct batch_order o;
    struct batch_list *list = NULL;
    struct err e = {0};
    bool undo = admin_has(call, "undo");

    if (undo ? admin_has(call, "action") || admin_has(call, "select") : !admin_has(call, "action") || !admin_has(call, "select"))
        err_set(&e, E_INVALID, "either action and select, or undo");
    else if (take_order(call, &o, &e) == E_OK) {
        if (undo ? undo_order(c, (uint64_t)admin_int(call, "undo", 0), &o, &list, &e) == E_OK
                 : batch_list_select(o.selector, core_stamp(c), &list, &e) == E_OK) {
            preview(c, call, &o, list);
            return;
        }
    }
    admin_fail(call, &e);
}

void op_batch_preview_list(struct core *c, struct admin_call *call)
{
    struct batch_order o;
    struct batch_list *list = NULL;
    struct err e = {0};

    if (take_order(call, &o, &e) == E_OK && list_of_file(c, call, &list, &e) == E_OK)
        preview(c, call, &o, list);
    else
        admin_fail(call, &e);
}

/* ---- batches as JSON ---- */

static json_t *batch_json(const struct batch_row *b)
{
    return json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:s}", "id",
                     (json_int_t)b->id, "action", batch_action_name((enum batch_action)b->action), "state",
                     batch_state_name((enum batch_state)b->state), "selector", b->selector, "reason",
                     crl_reason_name((enum crl_reason)b->reason), "why", b->why, "until", (json_int_t)b->until, "firmware_wanted", b->wanted, "count", (json_int_t)b->count, "digest",
                     b->frozen ? json_hex(BYTES_OF(b->digest)) : json_string(""), "canary", (json_int_t)b->canary, "done",
                     (json_int_t)b->next, "changed", (json_int_t)b->changed, "same", (json_int_t)b->same, "refused",
                     (json_int_t)b->refused, "undo_of", (json_int_t)b->undo_of, "created_by", b->created_by, "pending", (json_int_t)b->pending, "created_at",
                     (json_int_t)b->created_at, "approved_by", b->approved_by, "approved_at", (json_int_t)b->approved_at, "started_at",
                     (json_int_t)b->started_at, "ended_at", (json_int_t)b->ended_at, "seq", (json_int_t)b->seq, "error", b->error);
}

static void answer_batch(struct core *c, struct admin_call *call, uint64_t id)
{
    struct batch_row row;
    struct err e = {0};
    enum err_code code = store_batch_by_id(c->store, id, &row, &e);

    if (code == E_OK) {
        admin_done(call, batch_json(&row), -1);
        return;
    }
    core_doubt(c, &e);
    if (code == E_NOT_FOUND)
        err_set(&e, E_NOT_FOUND, "no batch %llu", (unsigned long long)id);
    admin_fail(call, &e);
}

void op_batch_show(struct core *c, struct admin_call *call)
{
    struct err e = {0};
    uint64_t id;

    if (batch_id(call, &id, &e))
        answer_batch(c, call, id);
    else
        admin_fail(call, &e);
}

struct page {
    struct admin_call *call;
    size_t n;
};

static bool put_batch(void *arg, const struct batch_row *row)
{
    struct page *p = arg;

    admin_row(p->call, batch_json(row));
    p->call->after = row->id;
    p->n++;
    return true;
}

static uint64_t page_limit(const struct admin_call *call)
{
    uint64_t limit = (uint64_t)admin_int(call, "limit", 0);

    if (limit == 0 || limit - call->left > PAGE_ROWS)
        return PAGE_ROWS;
    return limit - call->left;
}

static enum err_code batch_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    struct page p = {.call = call};
    uint64_t limit = page_limit(call);

    if (store_batch_each(ledger, admin_has(call, "open"), call->after, limit, put_batch, &p, e) != E_OK)
        return e->code;
    call->left += p.n;
    *more = p.n == limit && page_limit(call) != 0;
    return E_OK;
}

void op_batch_list(struct core *c, struct admin_call *call)
{
    admin_list(c, call, batch_page);
}

static bool put_refused(void *arg, const struct batch_refused *row)
{
    struct page *p = arg;

    admin_row(p->call, json_pack("{s:I, s:s, s:s, s:s, s:s}", "n", (json_int_t)row->n, "domain", row->domain, "device_id", row->device_id,
                                 "state", row->state, "reason", row->reason));
    p->call->after = row->n;
    p->n++;
    return true;
}

static enum err_code refused_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    struct page p = {.call = call};

    if (store_batch_refused_each(ledger, call->until, call->after, PAGE_ROWS, put_refused, &p, e) != E_OK)
        return e->code;
    *more = p.n == PAGE_ROWS;
    return E_OK;
}

void op_batch_refused(struct core *c, struct admin_call *call)
{
    struct err e = {0};

    if (batch_id(call, &call->until, &e))
        admin_list(c, call, refused_page);
    else
        admin_fail(call, &e);
}

/* ---- create ---- */

/* What is done with one unit by a role is done with many by the same. */
static const char *const op_of[BATCH_ACTIONS] = {
    [BATCH_SUSPEND] = "device.suspend",       [BATCH_RELEASE] = "device.release",           [BATCH_QUARANTINE] = "device.quarantine",
    [BATCH_UNQUARANTINE] = "device.release",  [BATCH_REVOKE] = "cert.revoke",               [BATCH_COMPROMISE] = "device.compromise",
    [BATCH_LOSE] = "device.lose",             [BATCH_DECOMMISSION] = "device.decommission", [BATCH_SHIP] = "device.ship",
};

static enum err_code may_act(enum batch_action a, unsigned roles, struct err *e)
{
    return permission_check(permission_of(op_of[a]), op_of[a], roles, e);
}

enum err_code fleet_may_act(struct core *c, const json_t *args, const struct person *who, struct err *e)
{
    const char *id = json_string_value(json_object_get(args, "id"));
    struct batch_row row;
    enum err_code code = store_batch_by_id(c->store, id ? strtoull(id, NULL, 10) : 0, &row, e);

    if (code == E_NOT_FOUND)
        return err_set(e, E_CONFLICT, "there is no batch %s", id ? id : "");
    return code == E_OK ? may_act((enum batch_action)row.action, who->roles, e) : code;
}

/* The caller's roles do what the batch does, and the list that is frozen is the one that was signed for. */
static enum err_code may_ask(const struct admin_call *call, const struct batch_order *o, struct err *e)
{
    if (call->is_root)
        return E_OK;
    if (!o->expected)
        return err_set(e, E_INVALID, "count and digest are missing: a signature is for the list that a preview showed");
    return may_act(o->action, call->person.roles, e);
}

#define WHY_TWO_MAX 200

/* More than one person may do alone: the list, or with it what that one did alone of late; `why` says the latter. */
static enum err_code takes_two(struct core *c, const struct actor *by, uint64_t units, bool *out, char why[WHY_TWO_MAX], struct err *e)
{
    uint64_t above = c->conf->two_person_above, before;

    why[0] = '\0';
    *out = units > above;
    if (*out || store_batch_alone(c->store, by->name, core_stamp(c) - c->conf->two_person_window_s, &before, e) != E_OK)
        return e->code;
    *out = before + units > above;
    if (*out)
        snprintf(why, WHY_TWO_MAX, "with %llu units of mass actions that %s let run alone before it is more than %llu units", (unsigned long long)before,
                 by->name, (unsigned long long)above);
    return E_OK;
}

/* The frozen list is stored as what another person approves: batch.run with its count and digest, and what is done with it. */
static enum err_code ask_second(struct core *c, struct admin_call *call, uint64_t id, const char *why, struct err *e)
{
    char text[24], digest[65];
    struct batch_row row;
    uint64_t pending = 0;
    AUTO_JSON *args = NULL;
    enum err_code code = store_batch_by_id(c->store, id, &row, e);

    if (code != E_OK)
        return code;
    snprintf(text, sizeof(text), "%llu", (unsigned long long)id);
    hex_encode(row.digest, sizeof(row.digest), digest);
    args = json_pack("{s:s, s:s, s:I, s:s}", "id", text, "action", batch_action_name((enum batch_action)row.action), "count", (json_int_t)row.count,
                     "digest", digest);
    if (row.selector[0])
        json_object_set_new(args, "select", json_string(row.selector));
    if (row.undo_of)
        json_object_set_new(args, "undo", json_integer((json_int_t)row.undo_of));
    code = core_begin(c, e);
    if (code != E_OK)
        return code;
    code = people_ask(c, call, "batch.run", args, core_stamp(c), &pending, e);
    if (code == E_OK)
        code = store_batch_set_pending(c->store, id, pending, e);
    if (code == E_OK && why[0])
        code = store_batch_set_state(c->store, id, BATCH_WAITING, why, core_stamp(c), e);
    core_end(c, code, e);
    return code;
}

/* It runs at once, or waits for another person. Root is outside that rule; the trail says where it would have held. */
static enum err_code start_or_ask(struct core *c, struct admin_call *call, uint64_t id, uint64_t count, struct err *e)
{
    char why[WHY_TWO_MAX];
    bool two;

    if (takes_two(c, &call->by, count, &two, why, e) != E_OK)
        return e->code;
    call->by.alone = call->is_root && two;
    return two && !call->is_root ? ask_second(c, call, id, why, e) : batch_start(c, id, &call->by, "", e);
}

static void on_frozen(struct core *c, void *arg, uint64_t id, uint64_t count, enum err_code code, const struct err *why)
{
    struct admin_call *call = arg;
    struct err e = *why, failing = {0};

    if (code == E_OK && (code = start_or_ask(c, call, id, count, &e)) != E_OK && batch_fail(c, id, &call->by, e.msg, &failing) != E_OK)
        log_failure("batch-failed", &failing);
    if (code == E_OK)
        answer_batch(c, call, id);
    else
        admin_fail(call, &e);
}

static bool may_change(struct core *c, struct err *e)
{
    if (c->seal == SEAL_RESTORE)
        err_set(e, E_STORE, "sealed: %s", c->seal_why);
    return c->seal != SEAL_RESTORE;
}

void op_batch_create(struct core *c, struct admin_call *call)
{
    struct batch_order o;
    struct batch_list *list = NULL;
    struct err e = {0};

    if (!may_change(c, &e) || take_order(call, &o, &e) != E_OK || may_ask(call, &o, &e) != E_OK || batch_list_select(o.selector, core_stamp(c), &list, &e) != E_OK ||
        batch_freeze(c, &o, list, &call->by, on_frozen, call, &e) != E_OK)
        admin_fail(call, &e);
}

void op_batch_create_list(struct core *c, struct admin_call *call)
{
    struct batch_order o;
    struct batch_list *list = NULL;
    struct err e = {0};

    if (!may_change(c, &e) || take_order(call, &o, &e) != E_OK || may_ask(call, &o, &e) != E_OK || list_of_file(c, call, &list, &e) != E_OK ||
        batch_freeze(c, &o, list, &call->by, on_frozen, call, &e) != E_OK)
        admin_fail(call, &e);
}

/* true: `list` is gone. */
static bool undo_refused(const struct admin_call *call, const struct batch_order *o, struct batch_list *list, struct err *e)
{
    if (may_ask(call, o, e) == E_OK)
        return false;
    batch_list_free(list);
    return true;
}

void op_batch_undo(struct core *c, struct admin_call *call)
{
    struct batch_order o;
    struct batch_list *list = NULL;
    struct err e = {0};
    uint64_t id;

    if (!may_change(c, &e) || !batch_id(call, &id, &e) || take_order(call, &o, &e) != E_OK ||
        undo_order(c, id, &o, &list, &e) != E_OK || undo_refused(call, &o, list, &e) || batch_freeze(c, &o, list, &call->by, on_frozen, call, &e) != E_OK)
        admin_fail(call, &e);
}

/* ---- course ---- */

/* What is approved is one list: its count and digest are part of the request. */
static enum err_code same_list(struct core *c, struct admin_call *call, uint64_t id, struct err *e)
{
    struct batch_order o;
    struct batch_row row;
    enum err_code code = take_order(call, &o, e);

    if (code == E_OK && (code = store_batch_by_id(c->store, id, &row, e)) == E_NOT_FOUND)
        return err_set(e, E_NOT_FOUND, "no batch %llu", (unsigned long long)id);
    if (code != E_OK)
        return code;
    if (!row.frozen || row.count != o.count || memcmp(row.digest, o.digest, sizeof(o.digest)) != 0)
        return err_set(e, E_CONFLICT, "batch %llu has another list", (unsigned long long)id);
    if ((admin_has(call, "action") && o.action != (enum batch_action)row.action) || (admin_has(call, "select") && strcmp(o.selector, row.selector) != 0) ||
        (admin_has(call, "undo") && (uint64_t)admin_int(call, "undo", 0) != row.undo_of))
        return err_set(e, E_CONFLICT, "batch %llu does something else", (unsigned long long)id);
    if (!call->is_root && may_act((enum batch_action)row.action, call->person.roles, e) != E_OK) /* also of who asked, as of now */
        return e->code;
    call->by.alone = call->is_root && row.pending;
    if (row.pending && !call->is_root && !call->approved)
        return err_set(e, E_DENIED, "batch %llu waits for a second person: inkan approval approve %llu", (unsigned long long)id,
                       (unsigned long long)row.pending);
    return E_OK;
}

/* Whose word it has: the second person's, whose approval runs what the first has asked for; or root's. */
static enum err_code second_name(struct core *c, const struct admin_call *call, char out[ID_MAX_LEN + 1], struct err *e)
{
    struct pending_row row;

    text_copy(out, ID_MAX_LEN + 1, call->by.name);
    if (!call->approved)
        return E_OK;
    if (store_pending_by_id(c->store, call->pending, &row, e) != E_OK)
        return e->code;
    text_copy(out, ID_MAX_LEN + 1, row.second_name);
    return E_OK;
}

void op_batch_run(struct core *c, struct admin_call *call)
{
    char second[ID_MAX_LEN + 1];
    struct err e = {0};
    uint64_t id;

    if (may_change(c, &e) && batch_id(call, &id, &e) && same_list(c, call, id, &e) == E_OK && second_name(c, call, second, &e) == E_OK &&
        batch_start(c, id, &call->by, second, &e) == E_OK)
        answer_batch(c, call, id);
    else
        admin_fail(call, &e);
}

static void change_course(struct core *c, struct admin_call *call,
                          enum err_code (*change)(struct core *, uint64_t, const struct actor *, struct err *))
{
    struct err e = {0};
    uint64_t id;

    if (may_change(c, &e) && batch_id(call, &id, &e) && change(c, id, &call->by, &e) == E_OK)
        answer_batch(c, call, id);
    else
        admin_fail(call, &e);
}

void op_batch_pause(struct core *c, struct admin_call *call)
{
    change_course(c, call, batch_pause);
}

/* Anybody may stop it; it goes on by the word of somebody who may do what it does. */
void op_batch_resume(struct core *c, struct admin_call *call)
{
    struct err e = {0};

    if (!call->is_root && fleet_may_act(c, call->args, &call->person, &e) != E_OK)
        admin_fail(call, &e);
    else
        change_course(c, call, batch_resume);
}

void op_batch_cancel(struct core *c, struct admin_call *call)
{
    change_course(c, call, batch_cancel);
}
