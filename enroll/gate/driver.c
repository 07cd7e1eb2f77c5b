/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread of one driver. It walks the table from where it was, gathers what the server has to be told, tells it without the
 * lock, and says what is applied. What fails is tried again every second, whole.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/auto.h"
#include "base/clock.h"
#include "enroll/gate/gate.h"

#define RETRY_MS 1000
#define IDLE_MS  60000
#define LOOK_MS  2000 /* between two looks whether HAProxy is another process */
#define LATER_AT_ONCE 256 /* whoever is refused now waits for no more */

/*
 * After a list was loaded that names them: a broker looks at it in the handshake, and takes a client's CONNECT after that, at mosquitto
 * up to 95 seconds later. The first is for a unit that was just coming back, over a slow network; the last for one that waits.
 */
static const int later_ms[] = {2000, 100000};

/* mosquitto: a unit that is put out, and the certificate on whose account. */
struct client {
    char *id;
    uint32_t issuer;
    uint8_t serial_len, serial[SERIAL_MAX_LEN];
    bool replaced;  /* by a newer one: the unit will be here again, and may */
    uint64_t seq;   /* of the feed, with what was changed */
    unsigned later; /* so many of later_ms are over */
    int64_t due_ms; /* the next; 0: the list does not name it yet */
};

struct clients {
    struct client *v;
    size_t n;
};

struct work {
    struct driver *d;
    uint64_t table_no;  /* of the snapshot that was walked */
    size_t change;      /* the next one of its changes */
    uint64_t seq;       /* of the feed, with what was walked */
    uint64_t crl;       /* version of the list that was loaded */
    bool loaded;        /* just now, whatever else failed */
    uint64_t crl_seq;   /* what that list is known to say */
    bool whole;         /* tell the server everything anew */
    unsigned long process; /* haproxy: that was told last; 0: it did not say */
    int64_t look_ms;    /* ... and when that is asked again; 0: nothing was told yet */
    struct refused *set;        /* haproxy */
    struct acl_change *changes; /* haproxy: since the last call that went well */
    size_t changes_n;
    bool of_ours[FEED_ISSUERS_MAX + 1]; /* by the issuer's number: does the driver care? */
    uint8_t above[FEED_ISSUERS_MAX + 1]; /* likewise: enum feed_status of it and the CAs above it, as walked */
    bool *admitted;             /* while a snapshot is walked: of each of now */
    struct clients now;         /* mosquitto: to put out */
    struct clients again;       /* ... and once more when the list is loaded: they may have come back meanwhile */
    struct clients later;       /* ... and when one is loaded that is known to name them */
};

static int64_t wall_ms(void)
{
    struct timeval tv;

    gettimeofday(&tv, NULL);
    return (int64_t)tv.tv_sec * 1000 + tv.tv_usec / 1000;
}

/* ---- gathering ---- */

/* Takes over c.id. */
static bool clients_add(struct clients *l, struct client c)
{
    struct client *more = c.id ? realloc(l->v, (l->n + 1) * sizeof(*more)) : NULL;

    if (!more) {
        free(c.id);
        return false;
    }
    l->v = more;
    more[l->n++] = c;
    return true;
}

static void clients_clear(struct clients *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i].id);
    free(l->v);
    *l = (struct clients){0};
}

static void acl_note(struct work *w, const struct feed_cert *c, bool added)
{
    struct acl_change *more;

    if (w->whole)
        return;
    more = realloc(w->changes, (w->changes_n + 1) * sizeof(*more));
    if (!more) {
        w->whole = true;
        return;
    }
    w->changes = more;
    more[w->changes_n] = (struct acl_change){.serial_len = (uint8_t)c->serial_len, .added = added};
    memcpy(more[w->changes_n++].serial, c->serial, c->serial_len);
}

static void decide(const struct work *w, const struct feed_cert *c, int64_t now, struct sts_decision *out)
{
    const struct rule_when when = {.now = now, .above = (enum feed_status)w->above[c->issuer]};

    rule_decide(gate_conf_audience(w->d->gate->conf, w->d->conf->audience), c, &when, out);
}

/* One certificate as it stands now. With it revoked a live client is put out, also if the unit has another: it connects anew. */
static void look_at(struct work *w, const struct feed_cert *c, int64_t now)
{
    struct bytes serial = BYTES(c->serial, c->serial_len);
    struct client out = {.issuer = c->issuer, .serial_len = (uint8_t)c->serial_len};
    char id[FEED_TEXT_MAX + 1];
    struct sts_decision d;

    if (!w->of_ours[c->issuer])
        return;
    decide(w, c, now, &d);
    if (w->d->conf->kind == DRIVER_HAPROXY && (d.allow ? refused_del(w->set, serial) : refused_add(w->set, serial)))
        acl_note(w, c, !d.allow);
    if (w->d->conf->kind != DRIVER_MOSQUITTO || !d.close || !feed_text(c->device_id, id, sizeof(id)) || !id[0])
        return;
    out.id = strdup(id);
    out.replaced = bytes_equal(c->reason, bytes_str("superseded"));
    memcpy(out.serial, serial.p, serial.len);
    clients_add(&w->now, out);
}

static int id_cmp(const void *a, const void *b)
{
    return strcmp(((const struct client *)a)->id, ((const struct client *)b)->id);
}

/* The first place of this certificate's unit among those to put out; NULL: it is none of them. */
static struct client *among(const struct work *w, const struct feed_cert *c)
{
    char id[FEED_TEXT_MAX + 1];
    struct client key = {.id = id}, *found;

    if (!w->of_ours[c->issuer] || !feed_text(c->device_id, id, sizeof(id)))
        return NULL;
    found = bsearch(&key, w->now.v, w->now.n, sizeof(key), id_cmp);
    while (found && found > w->now.v && id_cmp(found - 1, &key) == 0)
        found--;
    return found;
}

/* It stays where it is if this certificate admits it. */
static void spare(struct work *w, const struct feed_cert *c, int64_t now)
{
    struct client *found = among(w, c);
    struct sts_decision d;

    if (!found)
        return;
    decide(w, c, now, &d);
    for (struct client *at = found; d.allow && at < w->now.v + w->now.n && id_cmp(at, found) == 0; at++)
        w->admitted[at - w->now.v] = true;
}

/*
 * At a start and with a new snapshot only units are put out of which no certificate is admitted: most of what was revoked was followed
 * by another. With the lock held; it is let go while the snapshot is walked.
 */
static void spare_admitted(struct work *w, struct table *t, int64_t now)
{
    struct gate *g = w->d->gate;
    struct clients *l = &w->now;
    struct feed_cert c, newest;
    size_t n = 0, changes = table_change_count(t);

    w->admitted = calloc(l->n + 1, sizeof(*w->admitted));
    if (!l->n || !w->admitted) {
        free(w->admitted);
        w->admitted = NULL;
        return;
    }
    qsort(l->v, l->n, sizeof(*l->v), id_cmp);
    for (size_t i = 0; i < changes; i++)
        if (table_change_line(t, i, &c) && table_find(t, c.issuer, BYTES(c.serial, c.serial_len), &newest))
            spare(w, &newest, now);
    gate_unlock(g);
    for (size_t i = 0; i < table_base_count(t); i++) {
        if (!table_base_line(t, i, &c) || !among(w, &c))
            continue;
        gate_lock(g);
        if (table_find(t, c.issuer, BYTES(c.serial, c.serial_len), &newest))
            spare(w, &newest, now);
        gate_unlock(g);
    }
    gate_lock(g);
    for (size_t i = 0; i < l->n; i++)
        if (w->admitted[i] || (n && id_cmp(&l->v[n - 1], &l->v[i]) == 0))
            free(l->v[i].id);
        else
            l->v[n++] = l->v[i];
    l->n = n;
    free(w->admitted);
    w->admitted = NULL;
}

static bool is_named(const struct conf_strings *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++)
        if (strcmp(names->v[i], name) == 0)
            return true;
    return names->n == 0;
}

static void walk_base(struct work *w, const struct table *t, int64_t now)
{
    const struct table_issuer *issuers;
    size_t n = table_issuers(t, &issuers);
    struct feed_cert c;

    memset(w->of_ours, w->d->conf->issuers.n == 0, sizeof(w->of_ours)); /* also of a CA that is younger than the snapshot */
    for (size_t i = 0; i < n; i++)
        w->of_ours[issuers[i].n] = is_named(&w->d->conf->issuers, issuers[i].name);
    refused_free(w->set);
    w->set = refused_new();
    w->whole = true;
    for (size_t i = 0; w->set && i < table_base_count(t); i++)
        if (table_base_line(t, i, &c))
            look_at(w, &c, now);
    w->change = 0;
}

/* Was a CA revoked, held or released since they were looked at? Then everybody below it has to be looked at again. */
static bool take_above(struct work *w, const struct table *t)
{
    const struct table_issuer *issuers;
    size_t n = table_issuers(t, &issuers);
    bool differs = false;

    for (size_t i = 0; i < n; i++) {
        uint8_t now = (uint8_t)table_issuer_status(t, issuers[i].n);

        differs |= w->above[issuers[i].n] != now;
        w->above[issuers[i].n] = now;
    }
    return differs;
}

/* Everything that is new since the last time. The lock is held while changes are looked at, not for a whole snapshot. */
static void gather(struct work *w)
{
    struct gate *g = w->d->gate;
    struct table *t = NULL;
    int64_t now = clock_now();
    struct feed_cert c, newest;

    gate_lock(g);
    if (g->table && (take_above(w, g->table) || w->table_no != g->table_no)) {
        t = table_ref(g->table);
        w->table_no = g->table_no;
        gate_unlock(g);
        walk_base(w, t, now);
        gate_lock(g);
    }
    for (; g->table && w->table_no == g->table_no && table_change_line(g->table, w->change, &c); w->change++)
        if (table_find(g->table, c.issuer, BYTES(c.serial, c.serial_len), &newest))
            look_at(w, &newest, now);
    if (t && w->table_no == g->table_no)
        spare_admitted(w, t, now);
    table_unref(t);
    w->seq = g->table ? table_seq(g->table) : 0;
    for (size_t i = 0; i < w->now.n; i++)
        if (!w->now.v[i].seq)
            w->now.v[i].seq = w->seq;
    w->crl_seq = w->d->crl ? w->d->crl->seq : 0;
    gate_unlock(g);
}

/* ---- telling ---- */

/* Who was put out for the first time comes to `next`, the others to those for later as long as there is a time left. */
static void was_put_out(struct work *w, struct client c, struct clients *next)
{
    if (c.later == 0) {
        clients_add(next, c);
    } else if (!c.replaced && c.later < ARRAY_LEN(later_ms)) {
        c.due_ms = clock_mono_ms() + later_ms[c.later];
        clients_add(&w->later, c);
    } else {
        free(c.id);
    }
}

/*
 * Puts out those of the list; who could not be stays on it. One whom the broker refuses keeps nobody else in; a broker that is away is
 * not asked for each.
 */
static void kick_all(struct work *w, struct clients *next, struct err *e)
{
    struct clients all = w->now;
    bool away = false;

    w->now = (struct clients){0};
    for (size_t i = 0; i < all.n; i++) {
        struct client c = all.v[i];
        struct err why = {0};
        bool out = !away && !gate_is_stopping(w->d->gate) && mqtt_kick(w->d->conf->kick, c.id, &why) == E_OK;

        away |= why.code == E_IO;
        if (why.code != E_OK && e->code == E_OK) {
            *e = why;
            err_wrap(e, "client \"%s\"", c.id);
        }
        if (out)
            was_put_out(w, c, next);
        else
            clients_add(&w->now, c);
    }
    free(all.v);
}

/* The list is loaded also when somebody could not be put out, and once. */
static enum err_code apply_mosquitto(struct work *w, bool reload, struct err *e)
{
    struct err why = {0};

    kick_all(w, &w->again, e);
    if (!reload)
        return e->code;
    if (hand_reload(w->d->hand, &why) != E_OK) {
        *e = why;
        return e->code;
    }
    w->loaded = true;
    for (size_t i = 0; i < w->again.n; i++)
        clients_add(&w->now, w->again.v[i]);
    free(w->again.v);
    w->again = (struct clients){0};
    kick_all(w, &w->later, e);
    return e->code;
}

static bool is_still_out(const struct work *w, const struct client *c, int64_t now)
{
    struct gate *g = w->d->gate;
    struct sts_decision d = {0};
    struct feed_cert newest;

    gate_lock(g);
    if (g->table && table_find(g->table, c->issuer, BYTES(c->serial, c->serial_len), &newest))
        decide(w, &newest, now, &d);
    gate_unlock(g);
    return d.close;
}

/* Some of those whose time has come go to `now`; whoever was released meanwhile goes nowhere. */
static void take_due(struct work *w)
{
    int64_t now = clock_mono_ms(), wall = clock_now();
    size_t kept = 0, taken = 0;

    for (size_t i = 0; i < w->later.n; i++) {
        struct client c = w->later.v[i];

        if (!c.due_ms || c.due_ms > now || taken == LATER_AT_ONCE) {
            w->later.v[kept++] = c;
            continue;
        }
        taken++;
        c.later++;
        if (is_still_out(w, &c, wall))
            clients_add(&w->now, c);
        else
            free(c.id);
    }
    w->later.n = kept;
}

/* The list that is loaded names everybody who changed up to `sure`. */
static void note_sure(struct work *w, uint64_t sure)
{
    int64_t due = clock_mono_ms() + later_ms[0];
    size_t kept = 0;

    for (size_t i = 0; i < w->again.n; i++)
        if (w->again.v[i].seq <= sure)
            clients_add(&w->later, w->again.v[i]);
        else
            w->again.v[kept++] = w->again.v[i];
    w->again.n = kept;
    for (size_t i = 0; i < w->later.n; i++)
        if (!w->later.v[i].due_ms && w->later.v[i].seq <= sure)
            w->later.v[i].due_ms = due;
}

/* When the next one is put out again; INT64_MAX: nobody is. */
static int64_t next_due(const struct work *w)
{
    int64_t due = INT64_MAX;

    for (size_t i = 0; i < w->later.n; i++)
        if (w->later.v[i].due_ms && w->later.v[i].due_ms < due)
            due = w->later.v[i].due_ms;
    return due;
}

static void add_serial(void *arg, struct bytes serial)
{
    refused_add(arg, serial);
}

/* Without a feed the list itself says who is refused. */
static enum err_code set_from_list(struct work *w, struct err *e)
{
    refused_free(w->set);
    w->set = refused_new();
    w->whole = true;
    return w->set ? crl_each_serial(w->d->crl->conf, add_serial, w->set, e) : err_set(e, E_NOMEM, "refused serials");
}

static enum err_code apply_haproxy(struct work *w, bool list_is_new, struct err *e)
{
    bool feed = w->d->gate->conf->urls.n > 0;

    if (!feed && list_is_new && set_from_list(w, e) != E_OK)
        return e->code;
    if (feed && !w->table_no)
        return E_OK; /* nothing is known yet: the list of an earlier run stays */
    if (w->set && !w->whole && !w->changes_n)
        return E_OK;
    w->process = haproxy_process(w->d->conf);
    w->look_ms = clock_mono_ms() + LOOK_MS;
    if (!w->set || haproxy_apply(w->d->conf, w->set, w->changes, w->whole ? 0 : w->changes_n, e) != E_OK) {
        if (!w->set)
            err_set(e, E_NOMEM, "refused serials");
        if (e->code == E_NOMEM)
            w->table_no = 0; /* the set may lack some: it is gathered anew */
        w->whole = true;
        return e->code;
    }
    w->whole = false;
    free(w->changes);
    w->changes = NULL;
    w->changes_n = 0;
    return E_OK;
}

/* One that is reloaded reads the file, and takes over later: what was told in between, the process before it was told. */
static void look_for_reload(struct work *w)
{
    unsigned long process;

    if (!w->look_ms || clock_mono_ms() < w->look_ms)
        return;
    w->look_ms = clock_mono_ms() + LOOK_MS;
    process = haproxy_process(w->d->conf);
    w->whole |= process && process != w->process;
}

static enum err_code apply(struct work *w, bool list_is_new, struct err *e)
{
    switch (w->d->conf->kind) {
    case DRIVER_RELOAD:
        return list_is_new ? hand_reload(w->d->hand, e) : E_OK;
    case DRIVER_HAPROXY:
        return apply_haproxy(w, list_is_new, e);
    case DRIVER_MOSQUITTO:
        return apply_mosquitto(w, list_is_new, e);
    }
    return E_OK;
}

static bool has_work(const struct work *w, bool list_is_new)
{
    return list_is_new || w->now.n || (w->d->conf->kind == DRIVER_HAPROXY && (!w->set || w->whole || w->changes_n));
}

/* ---- the thread ---- */

static void log_applied(const struct driver *d, uint64_t seq, int64_t took_ms)
{
    struct log_line l;

    log_begin(&l, LOG_INFO, "gate-applied");
    log_str(&l, "driver", d->conf->name);
    log_u64(&l, "seq", seq);
    log_i64(&l, "ms", took_ms);
    log_end(&l);
}

/* What the server is known to act on: of a list what the list says, of the rest what was walked. */
static void note(struct work *w, bool worked, uint64_t crl, int64_t started_ms, const struct err *e)
{
    struct driver *d = w->d;
    bool news, done = e->code == E_OK;
    uint64_t seq = d->conf->kind == DRIVER_HAPROXY ? w->seq : w->crl_seq;

    gate_lock(d->gate);
    news = strcmp(d->error, e->msg) != 0;
    snprintf(d->error, sizeof(d->error), "%s", e->msg);
    if (worked)
        d->runs++;
    if (!done)
        d->failures++;
    if (done) {
        d->applied_seq = seq > d->applied_seq ? seq : d->applied_seq;
        d->applied_crl = crl;
        if (worked)
            d->applied_at_ms = wall_ms();
    }
    gate_unlock(d->gate);
    if (done && worked)
        log_applied(d, seq, clock_mono_ms() - started_ms);
    if (!done && news)
        log_failure_of("gate-driver-failed", "driver", d->conf->name, e);
}

/* With the lock held. */
static bool is_new(const struct work *w)
{
    const struct gate *g = w->d->gate;

    return (g->table && (w->table_no != g->table_no || w->change < table_change_count(g->table) || w->seq != table_seq(g->table))) ||
           (w->d->crl && (w->d->crl->version != w->crl || w->d->crl->seq != w->crl_seq));
}

static bool wait_for_work(struct work *w, bool failed)
{
    struct gate *g = w->d->gate;
    int64_t now = clock_mono_ms(), until = failed ? now + RETRY_MS : w->look_ms ? w->look_ms : next_due(w);
    bool go;

    gate_lock(g);
    for (; !g->stopping && now < until && (failed || !is_new(w)); now = clock_mono_ms())
        gate_wait(g, until - now < IDLE_MS ? until - now : IDLE_MS);
    go = !g->stopping;
    gate_unlock(g);
    return go;
}

void *driver_run(void *arg)
{
    struct work w = {.d = arg, .set = refused_new(), .whole = true};
    bool failed = false;

    while (wait_for_work(&w, failed)) {
        int64_t started = clock_mono_ms();
        struct err e = {0};
        uint64_t crl;
        bool list_is_new, worked;

        gather(&w);
        look_for_reload(&w);
        gate_lock(w.d->gate);
        crl = w.d->crl ? w.d->crl->version : 0;
        gate_unlock(w.d->gate);
        list_is_new = crl != w.crl;
        w.loaded = false;
        worked = has_work(&w, list_is_new);
        take_due(&w);
        failed = has_work(&w, list_is_new) && apply(&w, list_is_new, &e) != E_OK;
        if (!failed || w.loaded)
            w.crl = crl;
        if (w.crl == crl)
            note_sure(&w, w.crl_seq);
        note(&w, worked, w.crl, started, &e);
    }
    refused_free(w.set);
    free(w.changes);
    clients_clear(&w.now);
    clients_clear(&w.again);
    clients_clear(&w.later);
    return NULL;
}
