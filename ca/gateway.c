/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/gateway.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/oid.h"
#include "base/openmetrics.h"
#include "ca/admin_int.h"
#include "ca/cert.h"

#define GATEWAYS_MAX 1024        /* the one that was heard of longest ago makes room */
#define OWN_ANSWERS  "decisions" /* what the gate itself says on loopback */
#define SERVERS_MAX  (FEED_SERVERS_MAX + 1)

/*
 * `goal` is the newest row of the log when we last looked, at goal_at. Once the server acts on that row, all that had happened by goal_at is
 * in force there.
 */
struct server {
    struct feed_server said;
    uint64_t goal;
    int64_t goal_at, in_force_at; /* 0: not known yet */
};

struct which_cert {
    uint32_t issuer;
    uint8_t serial[SERIAL_MAX_LEN];
    uint8_t serial_len;
};

struct gateway {
    TAILQ_ENTRY(gateway) link;
    char name[ID_MAX_LEN + 1];
    struct which_cert cert, before; /* it came with last, and before that one */
    bool shared;                    /* it came with `before` again: these are two gateways, and that was said */
    int64_t seen_at;
    struct server server[SERVERS_MAX];
    size_t n;
};

struct gateways {
    TAILQ_HEAD(gateway_list, gateway) list; /* heard of last first */
    size_t n;
};

struct gateways *gateways_new(void)
{
    struct gateways *all = calloc(1, sizeof(*all));

    if (all)
        TAILQ_INIT(&all->list);
    return all;
}

static void drop(struct gateways *all, struct gateway *g)
{
    TAILQ_REMOVE(&all->list, g, link);
    all->n--;
    free(g);
}

void gateways_free(struct gateways *all)
{
    struct gateway *g;

    if (!all)
        return;
    while ((g = TAILQ_FIRST(&all->list)))
        drop(all, g);
    free(all);
}

/* ---- who it is ---- */

static bool is_of(const struct which_cert *c, const struct follow_gateway *in)
{
    return c->issuer == in->issuer && c->serial_len == in->serial_len && memcmp(c->serial, in->serial, in->serial_len) == 0;
}

/* The CN of its certificate, which `inkan cert issue --name` was given; the serial where there is none. */
static enum err_code name_of(struct core *c, const struct follow_gateway *in, char out[ID_MAX_LEN + 1], struct err *e)
{
    struct cert_row row;
    struct cert cert;

    if (store_cert_by_serial(c->store, in->issuer, BYTES(in->serial, in->serial_len), &row, e) != E_OK || cert_read(row.der, &cert, e) != E_OK)
        return err_wrap(e, "gateway");
    if (!name_get(cert.subject, OID_CN, out, ID_MAX_LEN + 1))
        hex_encode(in->serial, in->serial_len, out);
    return E_OK;
}

static struct gateway *find(struct gateways *all, const char *name)
{
    struct gateway *g;

    TAILQ_FOREACH(g, &all->list, link)
    if (strcmp(g->name, name) == 0)
        return g;
    return NULL;
}

/* The one that came with this certificate before, or that has its name; else a new one. */
static struct gateway *gateway_of(struct core *c, const struct follow_gateway *in, struct err *e)
{
    struct gateways *all = c->gateways;
    char name[ID_MAX_LEN + 1];
    struct gateway *g;

    TAILQ_FOREACH(g, &all->list, link)
    if (is_of(&g->cert, in))
        return g;
    if (name_of(c, in, name, e) != E_OK)
        return NULL;
    g = find(all, name);
    if (!g && all->n == GATEWAYS_MAX)
        drop(all, TAILQ_LAST(&all->list, gateway_list));
    if (!g) {
        g = calloc(1, sizeof(*g));
        if (!g) {
            err_set(e, E_NOMEM, "gateway");
            return NULL;
        }
        memcpy(g->name, name, sizeof(g->name));
        TAILQ_INSERT_HEAD(&all->list, g, link);
        all->n++;
    }
    if (is_of(&g->before, in) && !g->shared) { /* a certificate that was replaced by a newer one does not come back */
        g->shared = true;
        log_note(LOG_WARN, "gateway-name-shared", "gateway", g->name);
    }
    g->before = g->cert;
    g->cert = (struct which_cert){.issuer = in->issuer, .serial_len = in->serial_len};
    memcpy(g->cert.serial, in->serial, sizeof(g->cert.serial));
    return g;
}

/* ---- what it says ---- */

static void server_says(struct server *s, const struct feed_server *said, uint64_t newest, int64_t now)
{
    s->said = *said;
    if (s->goal_at && said->seq >= s->goal)
        s->in_force_at = s->goal_at;
    if (said->seq >= newest)
        s->in_force_at = now;
    if (!s->goal_at || said->seq >= s->goal) {
        s->goal = newest;
        s->goal_at = now;
    }
}

void gateway_heard(struct core *c, const struct follow_gateway *in)
{
    struct feed_server own = {.name = OWN_ANSWERS, .seq = in->seq};
    struct server before[SERVERS_MAX];
    int64_t now = (int64_t)clock_now();
    struct err e = {0};
    struct gateway *g = gateway_of(c, in, &e);
    size_t n;

    if (!g) {
        log_failure("gateway-not-known", &e);
        return;
    }
    memcpy(before, g->server, sizeof(before));
    n = g->n;
    g->seen_at = own.at = now;
    g->n = in->servers_n + 1;
    for (size_t i = 0; i < g->n; i++) {
        const struct feed_server *said = i ? &in->server[i - 1] : &own;

        g->server[i] = (struct server){0};
        for (size_t k = 0; k < n; k++)
            if (strcmp(before[k].said.name, said->name) == 0)
                g->server[i] = before[k];
        server_says(&g->server[i], said, core_seq(c), now);
    }
    TAILQ_REMOVE(&c->gateways->list, g, link);
    TAILQ_INSERT_HEAD(&c->gateways->list, g, link);
}

/* ---- telling ---- */

void op_gateway_list(struct core *c, struct admin_call *call)
{
    const struct gateway *g;

    TAILQ_FOREACH(g, &c->gateways->list, link)
    for (size_t i = 0; i < g->n; i++) {
        const struct server *s = &g->server[i];

        admin_row(call, json_pack("{s:s, s:o, s:I, s:s, s:I, s:I, s:I}", "name", g->name, "serial", json_hex(BYTES(g->cert.serial, g->cert.serial_len)),
                                  "seen_at", (json_int_t)g->seen_at, "server", s->said.name, "applied_seq", (json_int_t)s->said.seq,
                                  "applied_at", (json_int_t)s->said.at, "in_force_at", (json_int_t)s->in_force_at));
    }
    admin_done(call, NULL, -1);
}

void gateways_metrics(const struct gateways *all, struct buf *out)
{
    const struct gateway *g;

    om_family(out, "inkan_gateway_seen_seconds", "gauge", "seconds", "When a gateway asked for the feed last, since 1970.");
    TAILQ_FOREACH(g, &all->list, link)
    {
        om_sample(out, "inkan_gateway_seen_seconds", (double)g->seen_at, "gateway", g->name, NULL);
    }
    om_family(out, "inkan_gateway_in_force_seconds", "gauge", "seconds",
              "What had happened by then, since 1970, is in force at every server of a gateway; 0: not known yet.");
    TAILQ_FOREACH(g, &all->list, link)
    {
        int64_t oldest = g->server[0].in_force_at;

        for (size_t i = 1; i < g->n; i++)
            oldest = g->server[i].in_force_at < oldest ? g->server[i].in_force_at : oldest;
        om_sample(out, "inkan_gateway_in_force_seconds", (double)oldest, "gateway", g->name, NULL);
    }
}
