/* SPDX-License-Identifier: Apache-2.0 */
#include "enroll/gate/gate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/auto.h"
#include "base/clock.h"

void gate_wait(struct gate *g, int64_t ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&g->changed, &g->lock, &until);
}

bool gate_is_stopping(struct gate *g)
{
    bool stopping;

    gate_lock(g);
    stopping = g->stopping;
    gate_unlock(g);
    return stopping;
}

/* ---- what it says of itself ---- */

static void text_write(struct buf *out, const char *s)
{
    buf_add_u8(out, '"');
    for (; *s; s++)
        if ((uint8_t)*s < 0x20 || *s == '"' || *s == '\\' || (uint8_t)*s > 0x7e)
            buf_printf(out, "\\u%04x", (uint8_t)*s);
        else
            buf_add_u8(out, (uint8_t)*s);
    buf_add_u8(out, '"');
}

static void crl_write(struct buf *out, const struct crl_source *s)
{
    buf_printf(out, "{\"name\":\"%s\",\"version\":%" PRIu64 ",\"seq\":%" PRIu64 ",\"next_update\":%" PRId64 ",\"error\":", s->conf->name,
               s->version, s->seq, s->next_update);
    text_write(out, s->error);
    buf_add_u8(out, '}');
}

static void driver_write(struct buf *out, const struct driver *d)
{
    buf_printf(out, "{\"name\":\"%s\",\"applied_seq\":%" PRIu64 ",\"applied_list\":%" PRIu64 ",\"applied_at_ms\":%" PRId64 ",\"runs\":%" PRIu64
                    ",\"failures\":%" PRIu64 ",\"error\":",
               d->conf->name, d->applied_seq, d->applied_crl, d->applied_at_ms, d->runs, d->failures);
    text_write(out, d->error);
    buf_add_u8(out, '}');
}

void gate_status_write(struct gate *g, struct buf *out)
{
    gate_lock(g);
    buf_printf(out, "{\"version\":\"%s\",\"feed\":{\"configured\":%s,\"connected\":%s,\"error\":", INKAN_VERSION, g->trust ? "true" : "false",
               g->connected ? "true" : "false");
    text_write(out, g->feed_error);
    if (g->table)
        buf_printf(out, ",\"ledger\":\"%s\",\"seq\":%" PRIu64 ",\"age_s\":%" PRId64 ",\"certificates\":%zu,\"changes\":%zu", table_ledger(g->table),
                   table_seq(g->table), table_age_s(g->table, (int64_t)clock_now()), table_base_count(g->table),
                   table_change_count(g->table));
    buf_add_str(out, "},\"lists\":[");
    for (size_t i = 0; i < g->conf->crls_n; i++) {
        buf_add_str(out, i ? "," : "");
        crl_write(out, &g->crls[i]);
    }
    buf_add_str(out, "],\"drivers\":[");
    for (size_t i = 0; i < g->conf->drivers_n; i++) {
        buf_add_str(out, i ? "," : "");
        driver_write(out, &g->drivers[i]);
    }
    buf_add_str(out, "]}\n");
    gate_unlock(g);
}
