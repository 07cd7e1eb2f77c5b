/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/decider.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/auto.h"
#include "base/log.h"
#include "base/openmetrics.h"
#include "ca/decide.h"

#define LOAD_STEP      2000 /* records of the replica in one turn of the loop */
#define SWEEP_STEP     1000 /* certificates looked at in a tick: a million in two minutes */
#define DAY_S          86400
#define LONG_AGO_S     (30 * DAY_S)
#define PENDING_MAX    512  /* questions that wait for the core's seq */
#define SEEN_KEPT      1024 /* devices whose alarm was told */
#define SEEN_AGAIN_MS  3600000
#define SEEN_A_SECOND  10
#define HEARD_KEPT     1024 /* gateways by number of their certificate */
#define HEARD_AGAIN_MS 1000
#define HEARD_A_SECOND 500  /* whoever is left out asks again within seconds */
#define STALE_AGAIN_MS 3600000

struct pending {
    TAILQ_ENTRY(pending) link;
    void *owner;
    uint64_t id, ask_id; /* ask_id 0: not asked yet */
    bool target_known;
    uint64_t target;
    int64_t deadline_ms;
    char audience[ID_MAX_LEN + 1];
    size_t n;
    struct sts_identity who[];
};
TAILQ_HEAD(pending_list, pending);

struct decider {
    struct decider_hooks hooks;
    struct replica *replica;
    struct access *access;
    struct feed *feed;
    const struct conf *conf;
    uint32_t policy_version;
    struct event *load;
    struct replica_reading place;
    bool loading, loaded;
    bool fresh_once;           /* the core has said that the table is current */
    int64_t fresh_ms;          /* when, monotonic */
    bool target_known;         /* it named a seq that is still to come */
    uint64_t target;
    int64_t target_ms, target_time;
    struct pending_list pending;
    size_t pending_n;
    uint64_t ask_id;           /* last one used */
    bool asking;
    struct {
        uint64_t device;
        int64_t ms;
    } seen[SEEN_KEPT];
    unsigned seen_now;         /* told in this second */
    int64_t seen_second;
    struct {
        uint32_t cert;
        int64_t ms; /* 0: nobody */
    } heard[HEARD_KEPT];
    unsigned heard_now;
    int64_t heard_second;
    int64_t stale_told_ms;
    int64_t swept_before;      /* certificates that ended before were taken out */
    uint64_t asked, allowed;   /* units */
    uint64_t decided[2][DECISION_REASONS]; /* by allow and reason */
};

/* ---- filling the table ---- */

static bool load_device(void *arg, const struct access_device *v, struct err *e)
{
    struct decider *d = arg;

    return access_put_device(d->access, v, e) == E_OK;
}

static int64_t long_ago(const struct decider *d)
{
    return (int64_t)d->hooks.now(d->hooks.arg) - LONG_AGO_S;
}

/* What access_sweep would take out again does not go in. */
static bool load_cert(void *arg, const struct status_row *row, struct err *e)
{
    struct decider *d = arg;
    struct access_change change;

    if (row->device && row->not_after != 0 && row->not_after < long_ago(d))
        return true;
    return access_put_row(d->access, row, &change, e) == E_OK;
}

static void next_turn(struct event *ev)
{
    static const struct timeval at_once = {0, 0};

    evtimer_add(ev, &at_once);
}

static void loaded(struct decider *d)
{
    struct log_line l;

    d->loading = false;
    d->loaded = true;
    feed_start(d->feed, replica_ledger_id(d->replica), replica_seq(d->replica));
    log_begin(&l, LOG_INFO, "access-table");
    log_u64(&l, "certificates", access_certs(d->access));
    log_u64(&l, "devices", access_devices(d->access));
    log_u64(&l, "octets", access_octets(d->access));
    log_end(&l);
}

static void on_load(evutil_socket_t fd, short what, void *arg)
{
    struct decider *d = arg;
    struct replica_visit visit = {d, load_device, load_cert};
    struct err e = {0};
    bool done;

    (void)fd;
    (void)what;
    if (!d->loading || replica_is_building(d->replica))
        return;
    if (replica_read(d->replica, &d->place, LOAD_STEP, &visit, &done, &e) != E_OK)
        d->hooks.bad(d->hooks.arg, &e);
    else if (done)
        loaded(d);
    else
        next_turn(d->load);
}

static void start_loading(struct decider *d)
{
    d->place = (struct replica_reading){0};
    d->loading = true;
    d->loaded = false;
    next_turn(d->load);
}

void decider_reset(struct decider *d)
{
    access_reset(d->access);
    feed_stop(d->feed);
    d->fresh_once = d->target_known = false;
    start_loading(d); /* there is nothing to load: rows come next */
}

void decider_built(struct decider *d)
{
    start_loading(d);
}

static bool is_aside(const struct decider *d)
{
    return replica_is_building(d->replica);
}

enum err_code decider_devices(struct decider *d, const struct access_device *v, size_t n, struct err *e)
{
    for (size_t i = 0; i < n && !is_aside(d); i++)
        if (access_put_device(d->access, &v[i], e) != E_OK)
            return e->code;
    return E_OK;
}

static void pending_go_on(struct decider *d);

static void reach_target(struct decider *d)
{
    if (!d->target_known || replica_seq(d->replica) < d->target || is_aside(d))
        return;
    d->target_known = false;
    d->fresh_once = true;
    d->fresh_ms = d->target_ms;
    feed_current(d->feed, d->target_time);
}

enum err_code decider_rows(struct decider *d, const struct status_row *rows, size_t n, struct err *e)
{
    if (is_aside(d))
        return E_OK;
    for (size_t i = 0; i < n; i++) {
        struct access_change change;

        if (access_put_row(d->access, &rows[i], &change, e) != E_OK)
            return e->code;
        if (d->loaded)
            feed_note(d->feed, rows[i].seq, &change);
    }
    reach_target(d);
    pending_go_on(d);
    if (d->loaded)
        feed_wake(d->feed);
    return E_OK;
}

void decider_current(struct decider *d, uint64_t seq)
{
    d->target_known = true;
    d->target = seq;
    d->target_ms = d->hooks.mono_ms(d->hooks.arg);
    d->target_time = (int64_t)d->hooks.now(d->hooks.arg);
    reach_target(d);
}

/* ---- alarms ---- */

static bool state_is_alarming(enum device_state s)
{
    return s == DEVICE_LOST || s == DEVICE_COMPROMISED;
}

/* Once an hour for a device, and ten a second for all: the core keeps one open alarm of each anyway. */
static void tell_seen(struct decider *d, uint32_t device)
{
    int64_t ms = d->hooks.mono_ms(d->hooks.arg);
    struct access_device dev;
    size_t at;

    access_get_device(d->access, device, &dev);
    at = (size_t)(dev.id % SEEN_KEPT);
    if (d->seen[at].device == dev.id && ms - d->seen[at].ms < SEEN_AGAIN_MS)
        return;
    if (ms / 1000 != d->seen_second) {
        d->seen_second = ms / 1000;
        d->seen_now = 0;
    }
    if (d->seen_now++ >= SEEN_A_SECOND)
        return;
    d->seen[at].device = dev.id;
    d->seen[at].ms = ms;
    d->hooks.seen(d->hooks.arg, dev.id);
}

static void tell_stale(struct decider *d, int64_t age_s)
{
    int64_t ms = d->hooks.mono_ms(d->hooks.arg);
    struct log_line l;

    if (d->stale_told_ms && ms - d->stale_told_ms < STALE_AGAIN_MS)
        return;
    d->stale_told_ms = ms;
    log_begin(&l, LOG_ERROR, "decisions-stale");
    log_i64(&l, "age_s", age_s);
    log_end(&l);
}

/* ---- questions ---- */

static int64_t age_s(const struct decider *d)
{
    int64_t age = (d->hooks.mono_ms(d->hooks.arg) - d->fresh_ms) / 1000;

    return age < 0 ? 0 : age;
}

bool decider_is_ready(const struct decider *d)
{
    return d->loaded && d->fresh_once && !is_aside(d);
}

static void answer_code(struct decider *d, void *owner, uint64_t id, enum err_code code)
{
    static struct sts_decided none; /* 35 KiB; one thread */

    none.code = code;
    none.seq = replica_seq(d->replica);
    d->hooks.answer(d->hooks.arg, owner, id, &none);
}

/* Decides all units; with `may_wait` says instead whether one of them is not known. */
static bool answer_units(struct decider *d, void *owner, uint64_t id, const char *audience, const struct sts_identity *who, size_t n,
                         bool may_wait)
{
    static struct sts_decided all; /* 35 KiB; one thread */
    struct conf_audience built_in;
    const struct conf_audience *rules = audience_find(d->conf, audience, &built_in);
    int64_t now = (int64_t)d->hooks.now(d->hooks.arg), age = age_s(d);
    uint32_t device;

    if (may_wait)
        for (size_t i = 0; i < n; i++) {
            decide(d->access, rules, &who[i], now, age, &all.decision[0], &device);
            if (decision_is_unknown(&all.decision[0]))
                return false;
        }
    all.code = E_OK;
    all.seq = replica_seq(d->replica);
    all.policy_version = d->policy_version;
    all.total = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        struct sts_decision *one = &all.decision[i % DECIDED_MAX];

        decide(d->access, rules, &who[i], now, age, one, &device);
        d->asked++;
        d->allowed += one->allow;
        d->decided[one->allow][one->reason]++;
        if (one->has_device && state_is_alarming(one->state) && device != ACCESS_NONE)
            tell_seen(d, device);
        if (one->reason == DECISION_STALE_DATA)
            tell_stale(d, age);
        if (i % DECIDED_MAX == DECIDED_MAX - 1 || i == n - 1) {
            all.first = (uint32_t)(i - i % DECIDED_MAX);
            all.n = i % DECIDED_MAX + 1;
            d->hooks.answer(d->hooks.arg, owner, id, &all);
        }
    }
    return true;
}

static void pending_drop(struct decider *d, struct pending *p)
{
    TAILQ_REMOVE(&d->pending, p, link);
    d->pending_n--;
    free(p);
}

static void pending_answer(struct decider *d, struct pending *p)
{
    TAILQ_REMOVE(&d->pending, p, link);
    d->pending_n--;
    answer_units(d, p->owner, p->id, p->audience, p->who, p->n, false);
    free(p);
}

/* One question to the core serves all that came before it. */
static void pending_ask(struct decider *d)
{
    struct pending *p, *next;
    bool asked = false;

    if (d->asking)
        return;
    TAILQ_FOREACH(p, &d->pending, link)
    if (p->ask_id == 0) {
        if (!asked && !d->hooks.ask(d->hooks.arg, ++d->ask_id | DECIDER_ASK_BIT))
            break;
        asked = true;
        p->ask_id = d->ask_id;
    }
    d->asking = asked;
    if (asked)
        return;
    for (p = TAILQ_FIRST(&d->pending); p; p = next) { /* there is no core: what is known decides */
        next = TAILQ_NEXT(p, link);
        if (p->ask_id == 0)
            pending_answer(d, p);
    }
}

static void pending_go_on(struct decider *d)
{
    struct pending *p, *next;

    for (p = TAILQ_FIRST(&d->pending); p; p = next) {
        next = TAILQ_NEXT(p, link);
        if (p->target_known && replica_seq(d->replica) >= p->target)
            pending_answer(d, p);
    }
}

void decider_core_seq(struct decider *d, uint64_t ask_id, uint64_t seq)
{
    struct pending *p;

    if ((ask_id & ~DECIDER_ASK_BIT) != d->ask_id)
        return;
    TAILQ_FOREACH(p, &d->pending, link)
    if (p->ask_id == d->ask_id) {
        p->target_known = true;
        p->target = seq;
    }
    d->asking = false;
    pending_go_on(d);
    pending_ask(d);
}

void decider_core_lost(struct decider *d)
{
    d->asking = false;
    d->target_known = false;
    while (!TAILQ_EMPTY(&d->pending))
        pending_answer(d, TAILQ_FIRST(&d->pending));
}

enum err_code decider_caller(const struct decider *d, const struct sts_caller *caller)
{
    if (!decider_is_ready(d))
        return E_BUSY;
    if (caller->local || caller_is_gateway(d->access, caller->cert_hash, (int64_t)d->hooks.now(d->hooks.arg)))
        return E_OK;
    return E_DENIED;
}

void decider_question(struct decider *d, void *owner, uint64_t id, const struct sts_decide *q)
{
    enum err_code code = decider_caller(d, &q->caller);
    struct pending *p;

    if (code != E_OK) {
        answer_code(d, owner, id, code);
        return;
    }
    if (answer_units(d, owner, id, q->audience, q->who, q->n, d->pending_n < PENDING_MAX))
        return;
    p = calloc(1, sizeof(*p) + q->n * sizeof(p->who[0]));
    if (!p) {
        answer_code(d, owner, id, E_BUSY);
        return;
    }
    p->owner = owner;
    p->id = id;
    p->n = q->n;
    p->deadline_ms = d->hooks.mono_ms(d->hooks.arg) + DECIDER_DEADLINE_MS;
    memcpy(p->audience, q->audience, sizeof(p->audience));
    memcpy(p->who, q->who, q->n * sizeof(p->who[0]));
    TAILQ_INSERT_TAIL(&d->pending, p, link);
    d->pending_n++;
    pending_ask(d);
}

/* What it says of rows that we do not have is of another log. */
void decider_heard(struct decider *d, const struct sts_caller *caller, uint64_t after, const struct feed_server *server, size_t n)
{
    uint32_t number = caller->local ? ACCESS_NONE : access_find_hash(d->access, caller->cert_hash);
    int64_t ms = d->hooks.mono_ms(d->hooks.arg);
    struct follow_gateway g = {.seq = after, .servers_n = n};
    size_t at = number % HEARD_KEPT;
    struct access_cert c;

    if (number == ACCESS_NONE || after > replica_seq(d->replica))
        return;
    if (d->heard[at].cert == number && d->heard[at].ms && ms - d->heard[at].ms < HEARD_AGAIN_MS)
        return;
    if (ms / 1000 != d->heard_second) {
        d->heard_second = ms / 1000;
        d->heard_now = 0;
    }
    if (d->heard_now++ >= HEARD_A_SECOND)
        return;
    d->heard[at].cert = number;
    d->heard[at].ms = ms;
    access_get_cert(d->access, number, &c);
    g.issuer = c.issuer;
    g.serial_len = (uint8_t)c.serial.len;
    memcpy(g.serial, c.serial.p, c.serial.len);
    if (n)
        memcpy(g.server, server, n * sizeof(*server));
    d->hooks.gateway(d->hooks.arg, &g);
}

void decider_forget_owner(struct decider *d, void *owner)
{
    struct pending *p, *next;

    for (p = TAILQ_FIRST(&d->pending); p; p = next) {
        next = TAILQ_NEXT(p, link);
        if (p->owner == owner)
            pending_drop(d, p);
    }
    feed_forget_owner(d->feed, owner);
}

/* A clock that was far ahead and is right again took out too much: that comes back. */
static void sweep(struct decider *d)
{
    int64_t before = long_ago(d);

    if (before + DAY_S < d->swept_before) {
        feed_stop(d->feed);
        start_loading(d);
    }
    d->swept_before = before;
    access_sweep(d->access, SWEEP_STEP, before);
}

void decider_tick(struct decider *d)
{
    int64_t ms = d->hooks.mono_ms(d->hooks.arg);
    struct pending *p;

    while ((p = TAILQ_FIRST(&d->pending)) && ms > p->deadline_ms) {
        d->asking = d->asking && p->ask_id != d->ask_id;
        pending_answer(d, p);
    }
    pending_ask(d);
    feed_tick(d->feed);
    sweep(d);
}

/* ---- the whole ---- */

struct feed *decider_feed(struct decider *d)
{
    return d->feed;
}

struct access *decider_access(struct decider *d)
{
    return d->access;
}

void decider_set_conf(struct decider *d, const struct conf *conf)
{
    d->conf = conf;
    d->policy_version = audiences_version(conf->audiences, conf->audiences_n);
    feed_set_conf(d->feed, conf);
}

void decider_health(const struct decider *d, struct buf *out)
{
    buf_printf(out, "\"decisions\":{\"ready\":%s,\"certificates\":%zu,\"devices\":%zu,\"octets\":%zu,\"age_s\":%" PRId64 ",\"asked\":%" PRIu64
               ",\"allowed\":%" PRIu64 "}",
               decider_is_ready(d) ? "true" : "false", access_certs(d->access), access_devices(d->access), access_octets(d->access),
               d->fresh_once ? age_s(d) : -1, d->asked, d->allowed);
}

void decider_metrics(const struct decider *d, struct buf *out)
{
    om_family(out, "inkan_decisions", "counter", "", "Access decisions, by what was decided and why.");
    for (int allow = 0; allow <= 1; allow++)
        for (int r = 0; r < DECISION_REASONS; r++)
            if (allow ? r == DECISION_OK || r == DECISION_STALE_DATA : r != DECISION_OK)
                om_sample(out, "inkan_decisions_total", (double)d->decided[allow][r], "decision", allow ? "allow" : "deny", "reason",
                          decision_reason_name((enum decision_reason)r), NULL);
    om_family(out, "inkan_decisions_ready", "gauge", "", "1 when decisions can be made.");
    om_sample(out, "inkan_decisions_ready", decider_is_ready(d), NULL);
    om_family(out, "inkan_decision_certificates", "gauge", "", "Certificates in the table decisions are made from.");
    om_sample(out, "inkan_decision_certificates", (double)access_certs(d->access), NULL);
    om_family(out, "inkan_decision_devices", "gauge", "", "Devices in the table decisions are made from.");
    om_sample(out, "inkan_decision_devices", (double)access_devices(d->access), NULL);
    om_family(out, "inkan_decision_table_bytes", "gauge", "bytes", "Memory of the table decisions are made from.");
    om_sample(out, "inkan_decision_table_bytes", (double)access_octets(d->access), NULL);
    if (!d->fresh_once)
        return;
    om_family(out, "inkan_decision_age_seconds", "gauge", "seconds", "Age of what decisions are made from.");
    om_sample(out, "inkan_decision_age_seconds", (double)age_s(d), NULL);
}

struct decider *decider_new(struct event_base *base, struct replica *replica, const struct decider_hooks *hooks,
                            const struct feed_hooks *feed_hooks, const struct conf *conf, struct err *e)
{
    struct decider *d = calloc(1, sizeof(*d));

    if (!d) {
        err_set(e, E_NOMEM, "decisions");
        return NULL;
    }
    TAILQ_INIT(&d->pending);
    d->hooks = *hooks;
    d->replica = replica;
    d->load = evtimer_new(base, on_load, d);
    d->access = access_new(e);
    d->feed = d->access ? feed_new(base, d->access, feed_hooks, conf, e) : NULL;
    if (!d->load || !d->feed) {
        if (!d->load)
            err_set(e, E_NOMEM, "decisions");
        decider_free(d);
        return NULL;
    }
    decider_set_conf(d, conf);
    start_loading(d);
    return d;
}

void decider_free(struct decider *d)
{
    if (!d)
        return;
    while (!TAILQ_EMPTY(&d->pending))
        pending_drop(d, TAILQ_FIRST(&d->pending));
    if (d->load)
        event_free(d->load);
    feed_free(d->feed);
    access_free(d->access);
    free(d);
}
