/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/batch.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ca/issue.h"
#include "ca/life.h"
#include "ca/store/people.h"

#define FREEZE_PAGE     2000 /* units of the list in one transaction */
#define STEP_LEAST_US   1500 /* of work in one transaction; more where a commit takes longer, or there would be nothing but commits */
#define STEP_BUSY_US    3000 /* at most, while somebody enrolls */
#define STEP_MOST_US    8000
#define PERIOD          4    /* from step to step, times what a step may work or its commit lasts: who asks for a decision finds a core free */
#define PERIOD_BUSY     8    /* times a step with its commit, while somebody enrolls: few of the turns and commits that needs meet one */
#define PERIOD_SLOW     3    /* the same where the disk is slow: else an action would wait seven commits for one */
#define SLOW_US         100000 /* this long a period is that of a slow disk */
#define BUSY_US         1000000 /* so long after a request for a certificate */
#define UNCONFIRMED_MAX 4    /* steps that status or a front has not confirmed: the next waits */
#define CERTS_PAGE      64

struct run {
    LIST_ENTRY(run) link;
    struct core *core;
    enum batch_action action;
    enum crl_reason reason;
    uint64_t canary_n;        /* units of the first part, 0 = none */
    bool finishing;           /* every unit is durable */
    bool confirming, confirmed; /* of the last seq */
    size_t unconfirmed;
    bool ended;               /* goes when its last confirmation is back */
    bool approved;            /* by another person than who asked */
    char why[256], by[ID_MAX_LEN * 4], wanted[ID_MAX_LEN + 1];
    struct batch_row row;     /* its texts are not used */
};

struct freeze {
    struct reader_job job; /* first */
    LIST_ENTRY(freeze) link;
    struct core *core;
    struct batch_list *list;
    struct batch_digest digest;
    struct batch_order order; /* its texts are not used */
    struct actor by;
    uint64_t id, count;
    uint64_t device[FREEZE_PAGE];
    size_t n;
    bool more;
    batch_frozen_fn done;
    void *arg;
};

struct batches {
    LIST_HEAD(run_list, run) runs;
    LIST_HEAD(, freeze) freezes;
    struct event *step;
    int64_t commit_us;        /* what a step's commit takes lately */
};

#define FROM(state) (1u << DEVICE_##state)

/* As the operations on one device: what else the table allows between two states is another matter (LOST -> SUSPENDED is "found"). */
static const struct action {
    enum device_state to;
    unsigned from; /* states it starts from, 1 << state each; 0 = all that the table allows */
    enum batch_action inverse;
} actions[BATCH_ACTIONS] = {
    [BATCH_SUSPEND] =      {DEVICE_SUSPENDED,      FROM(IN_SERVICE),  BATCH_RELEASE},
    [BATCH_RELEASE] =      {DEVICE_IN_SERVICE,     FROM(SUSPENDED),   BATCH_ACTIONS},
    [BATCH_QUARANTINE] =   {DEVICE_QUARANTINED,    0,                 BATCH_UNQUARANTINE},
    [BATCH_UNQUARANTINE] = {DEVICE_IN_SERVICE,     FROM(QUARANTINED), BATCH_ACTIONS},
    [BATCH_REVOKE] =       {DEVICE_STATES,         0,                 BATCH_ACTIONS},
    [BATCH_COMPROMISE] =   {DEVICE_COMPROMISED,    0,                 BATCH_ACTIONS},
    [BATCH_LOSE] =         {DEVICE_LOST,           0,                 BATCH_ACTIONS},
    [BATCH_DECOMMISSION] = {DEVICE_DECOMMISSIONED, FROM(SHIPPED) | FROM(IN_SERVICE) | FROM(SUSPENDED) | FROM(QUARANTINED), BATCH_ACTIONS},
    [BATCH_SHIP] =         {DEVICE_SHIPPED,        FROM(CONFIRMED),   BATCH_ACTIONS},
};

enum device_state batch_target(enum batch_action a)
{
    return actions[a].to;
}

enum batch_action batch_inverse(enum batch_action a)
{
    return actions[a].inverse;
}

const char *batch_would(enum batch_action a, enum device_state from, char *why, size_t size)
{
    const struct action *t = &actions[a];
    struct life_rule rule;

    why[0] = '\0';
    if (t->to == DEVICE_STATES)
        return "change";
    if (from == t->to)
        return "same";
    if (!life_rule(from, t->to, &rule))
        snprintf(why, size, "%s", rule.why);
    else if (t->from && !(t->from & 1u << from))
        snprintf(why, size, "%s is not what is done with a device that is %s", batch_action_name(a), device_state_name(from));
    return why[0] ? "refuse" : "change";
}

static void object_of(uint64_t id, char out[32])
{
    snprintf(out, 32, "batch:%llu", (unsigned long long)id);
}

static enum err_code batch_audit(struct core *c, const struct actor *by, const char *event, uint64_t id, json_t *detail, struct err *e)
{
    char object[32];

    object_of(id, object);
    return core_audit(c, by, event, "", object, detail, core_stamp(c), e);
}

static void log_batch(const char *event, uint64_t id, uint64_t done, uint64_t count)
{
    struct log_line l;

    log_begin(&l, LOG_INFO, event);
    log_u64(&l, "batch", id);
    log_u64(&l, "done", done);
    log_u64(&l, "count", count);
    log_end(&l);
}

static void log_failed(uint64_t id, const char *why)
{
    struct log_line l;

    log_begin(&l, LOG_WARN, "batch-failed");
    log_u64(&l, "batch", id);
    log_str(&l, "why", why);
    log_end(&l);
}

static void step_soon(struct core *c, int64_t us)
{
    struct timeval later = {us / 1000000, us % 1000000};

    if (!evtimer_pending(c->batches->step, NULL))
        evtimer_add(c->batches->step, &later);
}

/* ---- freezing ---- */

static bool take_unit(void *arg, const struct device_row *row)
{
    struct freeze *f = arg;

    f->device[f->n++] = row->id;
    batch_digest_add(&f->digest, row);
    return true;
}

static enum err_code freeze_read(struct reader_job *job, struct store *ledger, struct err *e)
{
    struct freeze *f = (struct freeze *)job;

    f->n = 0;
    return batch_list_next(f->list, ledger, FREEZE_PAGE, take_unit, f, &f->more, e);
}

static void freeze_free(struct freeze *f)
{
    LIST_REMOVE(f, link);
    batch_list_free(f->list);
    batch_digest_clear(&f->digest);
    free(f);
}

static void freeze_end(struct freeze *f, enum err_code code, const struct err *e)
{
    struct core *c = f->core;
    batch_frozen_fn done = f->done;
    void *arg = f->arg;
    uint64_t id = f->id, count = f->count;

    freeze_free(f);
    done(c, arg, id, count, code, e);
}

/* Nothing was changed: the batch is over before it began. */
enum err_code batch_fail(struct core *c, uint64_t id, const struct actor *by, const char *why, struct err *e)
{
    enum err_code code = core_begin(c, e);

    if (code != E_OK)
        return code;
    code = store_batch_set_state(c->store, id, BATCH_FAILED, why, core_stamp(c), e);
    if (code == E_OK)
        code = batch_audit(c, by, "batch-failed", id, json_pack("{s:s}", "why", why), e);
    core_end(c, code, e);
    if (code == E_OK)
        log_failed(id, why);
    return code;
}

static void freeze_failed(struct freeze *f, const struct err *why)
{
    struct err e = {0};

    if (batch_fail(f->core, f->id, &f->by, why->msg, &e) != E_OK)
        log_failure("batch-failed", &e);
    freeze_end(f, why->code, why);
}

static enum err_code check_list(const struct freeze *f, const uint8_t digest[32], struct err *e)
{
    if (f->count == 0)
        return err_set(e, E_NOT_FOUND, "no unit matches");
    if (f->order.expected && (f->count != f->order.count || memcmp(digest, f->order.digest, 32) != 0))
        return err_set(e, E_CONFLICT, "the list is not the one that was shown: %llu units then, %llu now, or others: look again",
                       (unsigned long long)f->order.count, (unsigned long long)f->count);
    return E_OK;
}

static json_t *frozen_detail(const struct freeze *f, const uint8_t digest[32])
{
    char hex[65];

    hex_encode(digest, 32, hex);
    return json_pack("{s:s, s:I, s:I, s:s, s:I}", "action", batch_action_name(f->order.action), "canary", (json_int_t)f->order.canary,
                     "count", (json_int_t)f->count, "digest", hex, "undo_of", (json_int_t)f->order.undo_of);
}

/* The last page and what the list is, in one transaction. */
static enum err_code freeze_write(struct freeze *f, struct err *e)
{
    struct core *c = f->core;
    uint8_t digest[32];
    enum err_code code;

    if (f->count + f->n > BATCH_UNITS_MAX)
        return err_set(e, E_INVALID, "more than %d units", BATCH_UNITS_MAX);
    if (!f->more) {
        batch_digest_end(&f->digest, digest);
        f->count += f->n;
        code = check_list(f, digest, e);
        f->count -= f->n;
        if (code != E_OK)
            return code;
    }
    if (core_begin(c, e) != E_OK)
        return e->code;
    code = store_batch_items_put(c->store, f->id, f->count + 1, f->device, f->n, e);
    f->count += f->n;
    if (code == E_OK && !f->more) {
        code = store_batch_freeze(c->store, f->id, f->count, digest, e);
        if (code == E_OK)
            code = store_batch_set_state(c->store, f->id, BATCH_WAITING, "", core_stamp(c), e);
        if (code == E_OK)
            code = batch_audit(c, &f->by, "batch-frozen", f->id, frozen_detail(f, digest), e);
    }
    core_end(c, code, e);
    return code;
}

static void freeze_written(struct reader_job *job, enum err_code code, const struct err *why)
{
    struct freeze *f = (struct freeze *)job;
    struct err e = *why;

    if (f->core->stopping) {
        freeze_free(f); /* the next start says that it failed */
        return;
    }
    if (code == E_OK)
        code = freeze_write(f, &e);
    if (code == E_OK && !f->more)
        freeze_end(f, E_OK, &e);
    else if (code != E_OK || reader_submit(f->core->reader[READER_FLEET], &f->job, &e) != E_OK) /* from here on it is the reader's */
        freeze_failed(f, &e);
}

static enum err_code batch_write(struct freeze *f, const struct batch_order *o, struct err *e)
{
    struct core *c = f->core;
    struct batch_row row = {.action = (uint8_t)o->action, .state = BATCH_FREEZING, .selector = o->selector, .reason = (uint8_t)o->reason,
                            .why = o->why, .until = o->until, .wanted = o->wanted, .created_by = f->by.name, .created_at = core_stamp(c), .undo_of = o->undo_of,
                            .canary = (uint8_t)o->canary};
    enum err_code code = core_begin(c, e);

    if (code != E_OK)
        return code;
    code = store_batch_insert(c->store, &row, e);
    if (code == E_OK)
        code = batch_audit(c, &f->by, "batch-created", row.id,
                           json_pack("{s:s, s:s, s:s, s:s}", "action", batch_action_name(o->action), "reason",
                                     crl_reason_name(o->reason), "selector", o->selector, "why", o->why ? o->why : ""),
                           e);
    core_end(c, code, e);
    f->id = row.id;
    return code;
}

enum err_code batch_freeze(struct core *c, const struct batch_order *o, struct batch_list *list, const struct actor *by,
                           batch_frozen_fn done, void *arg, struct err *e)
{
    struct freeze *f = calloc(1, sizeof(*f));

    if (!f) {
        batch_list_free(list);
        return err_set(e, E_NOMEM, "batch");
    }
    f->core = c;
    f->list = list;
    f->order = *o;
    f->by = *by; /* what it lends lives until `done` */
    f->done = done;
    f->arg = arg;
    f->job.run = freeze_read;
    f->job.done = freeze_written;
    LIST_INSERT_HEAD(&c->batches->freezes, f, link);
    if (batch_digest_begin(&f->digest, e) == E_OK && batch_write(f, o, e) == E_OK &&
        reader_submit(c->reader[READER_FLEET], &f->job, e) == E_OK)
        return E_OK;
    if (f->id) {
        struct err ignored = {0};
        if (batch_fail(c, f->id, by, e->msg, &ignored) != E_OK)
            log_failure("batch-failed", &ignored);
    }
    freeze_free(f);
    return e->code;
}

/* ---- one unit ---- */

enum outcome { CHANGED, UNCHANGED, REFUSED };

struct page {
    uint64_t id[CERTS_PAGE], seen;
    size_t n;
    const struct core *core;
    int64_t now;
};

/* What a unit works with: the birth certificate stays, so that it may enrol again. */
static bool take_cert(void *arg, const struct cert_row *row)
{
    struct page *p = arg;

    if (p->n == CERTS_PAGE)
        return false;
    p->seen = row->id;
    if (row->kind != PROFILE_IDEVID && row->status != CERT_REVOKED && !life_cert_is_over(p->core, row, p->now))
        p->id[p->n++] = row->id;
    return true;
}

static enum err_code revoke_certs(struct run *r, uint64_t device, const struct actor *by, int64_t now, bool *changed, struct err *e)
{
    struct core *c = r->core;
    struct revocation rev = {.to = CERT_REVOKED, .reason = r->reason, .batch = r->row.id};
    struct cert_filter filter = {.device = device, .status = -1};
    struct page p = {.core = c, .now = now};
    struct cert_row row;
    uint64_t seq;
    bool one;

    *changed = false;
    do {
        filter.after_id = p.seen;
        p.n = 0;
        if (store_cert_each(c->store, &filter, take_cert, &p, e) != E_OK)
            return e->code;
        for (size_t i = 0; i < p.n; i++) {
            if (store_cert_by_id(c->store, p.id[i], &row, e) != E_OK || revoke_apply(c, &row, &rev, by, now, &one, &seq, e) != E_OK)
                return e->code;
            *changed |= one;
        }
    } while (p.n == CERTS_PAGE);
    return E_OK;
}

/* An undo touches what the batch itself did and nobody changed since. */
static enum err_code is_still_its(struct run *r, uint64_t device, struct err *e)
{
    uint64_t batch;

    if (store_batch_of_device(r->core->store, device, &batch, e) != E_OK)
        return e->code;
    return batch == r->row.undo_of ? E_OK : err_set(e, E_CONFLICT, "it was changed since batch %llu", (unsigned long long)r->row.undo_of);
}

static enum err_code apply(struct run *r, uint64_t device, const struct actor *by, int64_t now, bool *changed, struct err *e)
{
    const struct action *a = &actions[r->action];
    struct life_change ch = {.to = a->to, .only_from = DEVICE_STATES, .from = a->from, .reason = r->reason, .why = r->why,
                             .until = r->row.until, .wanted = r->wanted, .batch = r->row.id, .confirmed = r->approved};
    uint64_t seq;

    if (r->row.undo_of && is_still_its(r, device, e) != E_OK)
        return e->code;
    if (a->to == DEVICE_STATES)
        return revoke_certs(r, device, by, now, changed, e);
    return life_apply(r->core, device, &ch, by, now, changed, &seq, e);
}

/* What the table refuses is counted with its reason; anything else ends the step. */
static enum err_code do_unit(struct run *r, const struct actor *by, int64_t now, struct err *e)
{
    struct store *s = r->core->store;
    uint64_t n = batch_item_at(r->row.count, r->canary_n, r->row.next), device;
    bool changed = false;
    struct err why = {0};
    enum err_code code;

    if (store_batch_item(s, r->row.id, n, &device, e) != E_OK || store_savepoint(s, e) != E_OK)
        return e->code;
    code = core_savepoint_end(r->core, apply(r, device, by, now, &changed, &why), &why);
    if (code == E_CONFLICT || code == E_NOT_FOUND) {
        r->row.refused++;
        if (store_batch_refused_add(s, r->row.id, n, why.msg, e) != E_OK)
            return e->code;
    } else if (code != E_OK) {
        *e = why;
        return code;
    } else if (changed) {
        r->row.changed++;
    } else {
        r->row.same++;
    }
    r->row.next++;
    return E_OK;
}

/* ---- one step ---- */

/* Where this run stops to ask, or its end. */
static uint64_t run_until(const struct run *r)
{
    return r->canary_n && r->row.next < r->canary_n ? r->canary_n : r->row.count;
}

static enum err_code step_audit(struct run *r, const struct batch_row *before, uint64_t seq_before, int64_t now, struct err *e)
{
    const struct audit_actor who = {.actor = ACTOR_CORE.name, .actor_kind = ACTOR_CORE.kind, .domain = ""};
    const struct audit_step step = {
        .batch = r->row.id,
        .action = batch_action_name(r->action),
        .first = before->next + 1,
        .last = r->row.next,
        .changed = r->row.changed - before->changed,
        .same = r->row.same - before->same,
        .refused = r->row.refused - before->refused,
        .seq_before = seq_before,
    };

    return audit_batch_step(r->core->store, &who, &step, now, e);
}

/* The units of one transaction, and what follows when they were the last of a part. */
static enum err_code step_units(struct run *r, int64_t budget_us, struct err *e)
{
    struct core *c = r->core;
    struct batch_row before = r->row;
    uint64_t until = run_until(r), seq_before = core_seq(c);
    int64_t now = core_stamp(c), began = clock_mono_us(), gave_way = began;
    struct actor by = {.kind = "core"};

    text_copy(by.name, sizeof(by.name), r->by);
    while (r->row.next < until && r->row.next - before.next < BATCH_STEP_MAX && (r->row.next == before.next || clock_mono_us() - began < budget_us)) {
        if (do_unit(r, &by, now, e) != E_OK)
            return e->code;
        clock_give_way(&gave_way);
    }
    r->row.seq = core_seq(c);
    if (step_audit(r, &before, seq_before, now, e) != E_OK || store_batch_advance(c->store, &r->row, e) != E_OK)
        return e->code;
    if (r->row.next < until)
        return E_OK;
    if (r->row.next == r->row.count)
        return store_batch_set_state(c->store, r->row.id, BATCH_FINISHING, "", now, e);
    if (store_batch_set_state(c->store, r->row.id, BATCH_CANARY, "", now, e) != E_OK)
        return e->code;
    return batch_audit(c, &ACTOR_CORE, "batch-canary", r->row.id, json_pack("{s:I}", "done", (json_int_t)r->row.next), e);
}

static void run_free(struct run *r)
{
    LIST_REMOVE(r, link);
    free(r);
}

/* It leaves the list of those that run; confirmations under way still know it. */
static void run_end(struct run *r)
{
    r->ended = true;
    if (r->unconfirmed == 0 && !r->confirming)
        run_free(r);
}

/* Something is wrong with the ledger or the memory, not with a unit: a person looks, then it goes on. */
static void step_failed(struct run *r, const struct err *why)
{
    struct core *c = r->core;
    struct err e = {0};
    enum err_code code;

    log_failure("batch-paused", why);
    if ((code = core_begin(c, &e)) == E_OK) {
        code = store_batch_set_state(c->store, r->row.id, BATCH_PAUSED, why->msg, core_stamp(c), &e);
        core_end(c, code, &e);
    }
    if (code != E_OK)
        log_failure("batch-paused", &e);
    run_end(r);
}

static void on_step_confirmed(struct core *c, void *arg, bool confirmed, const char *missing)
{
    struct run *r = arg;

    r->unconfirmed--;
    if (!confirmed && !c->stopping)
        log_note(LOG_WARN, "batch-unconfirmed", "missing", missing);
    if (r->ended) {
        if (r->unconfirmed == 0 && !r->confirming)
            run_free(r);
        return;
    }
    if (!c->stopping)
        step_soon(c, 0);
}

static void step(struct run *r, int64_t budget_us)
{
    struct core *c = r->core;
    struct batch_row before = r->row;
    bool canary;
    struct err e = {0};
    enum err_code code = core_begin(c, &e);

    if (code == E_OK) {
        int64_t worked;

        code = step_units(r, budget_us, &e);
        worked = clock_mono_us();
        core_end(c, code, &e);
        c->batches->commit_us += (clock_mono_us() - worked - c->batches->commit_us) / 8;
    }
    if (code != E_OK) {
        r->row = before;
        step_failed(r, &e);
        return;
    }
    revoke_changed(c);
    r->unconfirmed++;
    canary = r->canary_n && r->row.next == r->canary_n && r->row.next < r->row.count;
    r->finishing = r->row.next == r->row.count;
    if (canary || r->finishing)
        log_batch(canary ? "batch-canary" : "batch-durable", r->row.id, r->row.next, r->row.count);
    if (canary)
        r->ended = true;
    links_confirm(c, c->purge_seq, on_step_confirmed, r); /* may call back at once, and `r` is gone then */
}

static struct run *next_run(struct batches *b)
{
    struct run *r, *last;

    LIST_FOREACH(r, &b->runs, link)
    {
        if (r->ended || r->finishing || r->unconfirmed >= UNCONFIRMED_MAX)
            continue;
        /* To the end of the row: several take turns. */
        for (last = r; LIST_NEXT(last, link);)
            last = LIST_NEXT(last, link);
        if (last != r) {
            LIST_REMOVE(r, link);
            LIST_INSERT_AFTER(last, r, link);
        }
        return r;
    }
    return NULL;
}

int64_t batch_period_us(int64_t took_us, int64_t budget_us, bool busy)
{
    int64_t us = PERIOD_BUSY * took_us, slow_us = PERIOD_SLOW * took_us;

    if (!busy)
        return PERIOD * budget_us;
    if (us > SLOW_US)
        us = SLOW_US;
    return us > slow_us ? us : slow_us;
}

static void on_step(evutil_socket_t fd, short what, void *arg)
{
    struct core *c = arg;
    struct batches *b = c->batches;
    struct run *r;
    int64_t began = clock_mono_us(), budget;
    bool busy;

    (void)fd;
    (void)what;
    if (c->stopping || LIST_EMPTY(&b->runs))
        return;
    if (!c->going || c->seal == SEAL_RESTORE || store_in_transaction(c->store)) {
        step_soon(c, 100000);
        return;
    }
    r = next_run(b);
    if (!r)
        return; /* a confirmation brings it back */
    busy = issue_waiting(c) || (issue_asked_us(c) && began - issue_asked_us(c) < BUSY_US);
    budget = b->commit_us < STEP_LEAST_US ? STEP_LEAST_US : b->commit_us;
    step(r, busy && budget > STEP_BUSY_US ? STEP_BUSY_US : budget > STEP_MOST_US ? STEP_MOST_US : budget);
    step_soon(c, batch_period_us(clock_mono_us() - began, budget, busy)); /* libevent counts from when this turn of the loop began */
}

/* ---- the end ---- */

/* Is every list of a CA whose key is at hand published with what this batch changed? Those that are not are asked for. */
static bool lists_follow(struct core *c, uint64_t seq)
{
    bool all = true;

    for (size_t i = 0; i < c->ca_n; i++)
        for (size_t k = 0; c->ca[i].exists && !authority_is_offline(c, &c->ca[i]) && k < c->ca[i].scope_n; k++) {
            struct crl_scope *s = &c->ca[i].scope[k];

            if (s->seq >= seq || (s->dirty_since_ms == 0 && !s->busy && !s->asked))
                continue;
            all = false;
            if (s->dirty_since_ms && !s->busy)
                s->asked = true;
        }
    return all;
}

static void on_all_confirmed(struct core *c, void *arg, bool confirmed, const char *missing)
{
    struct run *r = arg;

    r->confirming = false;
    r->confirmed = confirmed;
    if (!confirmed && !c->stopping)
        log_note(LOG_WARN, "batch-unconfirmed", "missing", missing);
    if (r->ended && r->unconfirmed == 0)
        run_free(r);
}

static void finish(struct run *r)
{
    struct core *c = r->core;
    struct err e = {0};
    enum err_code code;

    if (!r->confirmed) {
        if (!r->confirming && r->unconfirmed == 0) {
            r->confirming = true;
            links_confirm(c, c->purge_seq, on_all_confirmed, r);
        }
        return;
    }
    if (!lists_follow(c, r->row.seq) || core_begin(c, &e) != E_OK)
        return;
    code = store_batch_set_state(c->store, r->row.id, BATCH_DONE, "", core_stamp(c), &e);
    if (code == E_OK)
        code = batch_audit(c, &ACTOR_CORE, "batch-done", r->row.id,
                           json_pack("{s:I, s:I, s:I}", "changed", (json_int_t)r->row.changed, "refused", (json_int_t)r->row.refused,
                                     "same", (json_int_t)r->row.same),
                           &e);
    core_end(c, code, &e);
    if (code != E_OK) {
        log_failure("batch-done", &e);
        return;
    }
    log_batch("batch-done", r->row.id, r->row.next, r->row.count);
    run_end(r);
}

void batches_tick(struct core *c)
{
    struct run *r, *next;

    for (r = LIST_FIRST(&c->batches->runs); r && !c->stopping; r = next) {
        next = LIST_NEXT(r, link);
        if (r->finishing && !r->ended)
            finish(r);
    }
    if (!LIST_EMPTY(&c->batches->runs))
        step_soon(c, 0);
}

/* ---- its course ---- */

static struct run *run_find(struct core *c, uint64_t id)
{
    struct run *r;

    LIST_FOREACH(r, &c->batches->runs, link)
    {
        if (r->row.id == id && !r->ended)
            return r;
    }
    return NULL;
}

static enum err_code run_new(struct core *c, const struct batch_row *row, struct err *e)
{
    struct run *r = calloc(1, sizeof(*r));

    if (!r)
        return err_set(e, E_NOMEM, "batch");
    r->core = c;
    r->row = *row;
    r->action = (enum batch_action)row->action;
    r->reason = (enum crl_reason)row->reason;
    r->canary_n = row->canary && row->canary < 100 ? (row->count * row->canary + 99) / 100 : 0;
    r->finishing = row->next == row->count;
    text_copy(r->why, sizeof(r->why), row->why);
    text_copy(r->by, sizeof(r->by), row->created_by);
    text_copy(r->wanted, sizeof(r->wanted), row->wanted);
    r->approved = row->approved_by[0] && strcmp(row->approved_by, row->created_by) != 0;
    LIST_INSERT_HEAD(&c->batches->runs, r, link);
    step_soon(c, 0);
    return E_OK;
}

static enum err_code load(struct core *c, uint64_t id, struct batch_row *row, struct err *e)
{
    enum err_code code = store_batch_by_id(c->store, id, row, e);

    if (code == E_NOT_FOUND)
        return err_set(e, E_NOT_FOUND, "no batch %llu", (unsigned long long)id);
    core_doubt(c, e);
    return code;
}

static enum err_code wrong_state(const struct batch_row *row, const char *verb, struct err *e)
{
    return err_set(e, E_CONFLICT, "batch %llu is %s: it cannot be %s", (unsigned long long)row->id,
                   batch_state_name((enum batch_state)row->state), verb);
}

/* Nobody is to approve what is decided: it was cancelled, or root let it run. (One that is being approved does not wait any more.) */
static enum err_code close_request(struct core *c, uint64_t pending, const struct actor *by, const char *event, struct err *e)
{
    char object[40];
    int64_t now = core_stamp(c);
    enum err_code code = store_pending_close(c->store, pending, PENDING_REFUSED, event, now, e);

    if (code == E_NOT_FOUND) {
        *e = (struct err){0};
        return E_OK;
    }
    if (code != E_OK)
        return code;
    snprintf(object, sizeof(object), "pending:%llu", (unsigned long long)pending);
    return core_audit(c, by, "approval-refused", "", object, json_pack("{s:s, s:s}", "op", "batch.run", "why", event), now, e);
}

/* State and entry in one transaction, and the end of the request that waited to let it run. */
static enum err_code move(struct core *c, const struct batch_row *row, enum batch_state to, const char *event, const struct actor *by,
                          const char *approved_by, struct err *e)
{
    uint64_t id = row->id, next = row->next, pending = row->pending;
    enum err_code code = core_begin(c, e);

    if (code != E_OK)
        return code;
    if (approved_by && approved_by[0])
        code = store_batch_approved(c->store, id, approved_by, core_stamp(c), e);
    if (code == E_OK)
        code = store_batch_set_state(c->store, id, to, "", core_stamp(c), e);
    if (code == E_OK)
        code = batch_audit(c, by, event, id, json_pack("{s:I}", "done", (json_int_t)next), e);
    if (code == E_OK && pending)
        code = close_request(c, pending, by, event, e);
    core_end(c, code, e);
    return code;
}

static enum err_code go(struct core *c, uint64_t id, struct batch_row *row, const char *event, const struct actor *by,
                        const char *approved_by, struct err *e)
{
    if (move(c, row, BATCH_RUNNING, event, by, approved_by, e) != E_OK || load(c, id, row, e) != E_OK)
        return e->code;
    log_batch(event, id, row->next, row->count);
    return run_new(c, row, e);
}

enum err_code batch_start(struct core *c, uint64_t id, const struct actor *by, const char *approved_by, struct err *e)
{
    struct batch_row row;

    if (load(c, id, &row, e) != E_OK)
        return e->code;
    if (row.state == BATCH_RUNNING)
        return E_OK;
    return row.state == BATCH_WAITING ? go(c, id, &row, "batch-started", by, approved_by, e) : wrong_state(&row, "started", e);
}

enum err_code batch_pause(struct core *c, uint64_t id, const struct actor *by, struct err *e)
{
    struct batch_row row;
    struct run *r;

    if (load(c, id, &row, e) != E_OK)
        return e->code;
    if (row.state == BATCH_PAUSED)
        return E_OK;
    if (row.state != BATCH_RUNNING)
        return wrong_state(&row, "paused", e);
    if (move(c, &row, BATCH_PAUSED, "batch-paused", by, NULL, e) != E_OK)
        return e->code;
    if ((r = run_find(c, id)))
        run_end(r);
    return E_OK;
}

enum err_code batch_resume(struct core *c, uint64_t id, const struct actor *by, struct err *e)
{
    struct batch_row row;

    if (load(c, id, &row, e) != E_OK)
        return e->code;
    if (row.state == BATCH_RUNNING || row.state == BATCH_FINISHING)
        return E_OK;
    return row.state == BATCH_PAUSED || row.state == BATCH_CANARY ? go(c, id, &row, "batch-resumed", by, NULL, e)
                                                                  : wrong_state(&row, "resumed", e);
}

enum err_code batch_cancel(struct core *c, uint64_t id, const struct actor *by, struct err *e)
{
    struct batch_row row;
    struct run *r;

    if (load(c, id, &row, e) != E_OK)
        return e->code;
    if (row.state == BATCH_CANCELLED)
        return E_OK;
    if (row.ended_at || row.state == BATCH_FREEZING || row.state == BATCH_FINISHING)
        return wrong_state(&row, "cancelled", e);
    if (move(c, &row, BATCH_CANCELLED, "batch-cancelled", by, NULL, e) != E_OK)
        return e->code;
    if ((r = run_find(c, id)))
        run_end(r);
    return E_OK;
}

enum err_code batch_unapproved(struct core *c, uint64_t pending, const struct actor *by, const char *why, struct err *e)
{
    uint64_t id;
    enum err_code code = store_batch_unapproved(c->store, pending, &id, e);

    if (code == E_NOT_FOUND) {
        *e = (struct err){0};
        return E_OK;
    }
    if (code == E_OK)
        code = store_batch_set_state(c->store, id, BATCH_CANCELLED, why, core_stamp(c), e);
    return code == E_OK ? batch_audit(c, by, "batch-cancelled", id, json_pack("{s:i, s:s}", "done", 0, "why", why), e) : code;
}

/* ---- start and end of the core ---- */

struct opened {
    struct core *core;
    struct err e;
};

static bool take_open(void *arg, const struct batch_row *row)
{
    struct opened *o = arg;

    if (row->state != BATCH_RUNNING && row->state != BATCH_FINISHING)
        return true;
    log_batch("batch-goes-on", row->id, row->next, row->count);
    return run_new(o->core, row, &o->e) == E_OK;
}

/* Its list was not complete, or nobody can approve it any more. What it was asked for cannot be taken up: a file is gone, a selector finds others. */
static enum err_code fail_half(struct core *c, struct err *e)
{
    uint64_t id;
    enum err_code code;

    while ((code = store_batch_half(c->store, &id, e)) == E_OK)
        if (batch_fail(c, id, &ACTOR_CORE, "the core ended before it could start; nothing was changed: give the same command again", e) != E_OK)
            return e->code;
    if (code != E_NOT_FOUND)
        return code;
    *e = (struct err){0};
    return E_OK;
}

enum err_code batches_open(struct core *c, struct err *e)
{
    struct opened o = {.core = c};

    c->batches = calloc(1, sizeof(*c->batches));
    if (!c->batches || !(c->batches->step = evtimer_new(c->base, on_step, c)))
        return err_set(e, E_NOMEM, "batches");
    if (store_batch_each(c->store, true, 0, 0, take_open, &o, e) != E_OK)
        return e->code;
    if (o.e.code != E_OK) {
        *e = o.e;
        return e->code;
    }
    return fail_half(c, e);
}

void batches_free(struct core *c)
{
    struct run *r;

    if (!c->batches)
        return;
    while ((r = LIST_FIRST(&c->batches->runs)))
        run_free(r);
    if (c->batches->step)
        event_free(c->batches->step);
    free(c->batches);
    c->batches = NULL;
}
