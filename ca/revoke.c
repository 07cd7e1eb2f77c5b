/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of status: one table, one transaction, then everybody who answers from it is told. */
#include <string.h>

#include "ca/core.h"
#include "ca/metrics.h"

#define NO   CERT_STATUSES       /* transition not allowed */
#define SAME (CERT_STATUSES + 1) /* again: success without a change */
#define HELD (CERT_STATUSES + 2) /* on hold now and perhaps afterwards: the set of who holds it decides */

static const int next_status[CERT_STATUSES][CERT_STATUSES] = {
    /* now \ asked        GOOD (release)  ON_HOLD       REVOKED      */
    [CERT_GOOD] =       { SAME,           CERT_ON_HOLD, CERT_REVOKED },
    [CERT_ON_HOLD] =    { HELD,           HELD,         CERT_REVOKED },
    [CERT_REVOKED] =    { NO,             NO,           SAME         },
};

static const struct {
    uint8_t bit;
    const char *name, *remedy;
} holders[] = {
    {HOLD_OPERATOR, "an operator", "inkan cert release"},
    {HOLD_LIFE, "the state of its device", "inkan device release, find or repaired"},
    {HOLD_LINE, "the line, which did not confirm it in time", "its station confirms it"},
    {HOLD_CENTRE, "the centre", "it is released there"},
    {HOLD_BOX, "its line box", "it is released there"},
};

const char *hold_text(uint8_t hold_by, char *out, size_t size)
{
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(holders) && at < size; i++)
        if (hold_by & holders[i].bit)
            at += (size_t)snprintf(out + at, size - at, "%s%s (%s)", at ? "; " : "", holders[i].name, holders[i].remedy);
    return out;
}

static void note_purge(struct core *c, const struct status_row *row)
{
    if (c->purge.n == SVC_PURGE_MAX) {
        c->purge.all = true;
        return;
    }
    c->purge.item[c->purge.n].issuer = row->issuer;
    memcpy(c->purge.item[c->purge.n].serial, row->serial, row->serial_len);
    c->purge.item[c->purge.n].serial_len = row->serial_len;
    c->purge.n++;
}

static void log_change(const struct status_row *row, const char *event, const struct actor *by)
{
    struct log_line l;

    log_begin(&l, LOG_INFO, event);
    log_u64(&l, "issuer", row->issuer);
    log_hex(&l, "serial", BYTES(row->serial, row->serial_len));
    log_str(&l, "reason", crl_reason_name(row->reason));
    log_u64(&l, "seq", row->seq);
    log_str(&l, "by", by->name);
    log_end(&l);
}

static const char *issuer_name(struct core *c, uint32_t id, char out[ID_MAX_LEN + 1], struct err *e)
{
    struct issuer_row row;

    if (store_issuer_by_id(c->store, id, &row, e) != E_OK)
        return NULL;
    snprintf(out, ID_MAX_LEN + 1, "%s", row.name);
    return out;
}

/* What the row becomes: status, reason, who holds it, since when. false: it stays as it is. */
static bool decide(const struct cert_row *row, const struct revocation *r, struct status_row *status)
{
    uint8_t bit = r->hold ? r->hold : HOLD_OPERATOR;
    int next = next_status[row->status][r->to];

    status->hold_by = r->to == CERT_ON_HOLD ? row->hold_by | bit : 0;
    if (next == HELD) {
        status->hold_by = r->to == CERT_ON_HOLD ? row->hold_by | bit : row->hold_by & ~bit;
        status->status = status->hold_by ? CERT_ON_HOLD : CERT_GOOD;
        status->reason = status->hold_by ? REASON_CERTIFICATE_HOLD : r->reason;
        if (status->hold_by)
            status->time = row->status_at; /* it has been on hold since then */
        return status->hold_by != row->hold_by;
    }
    if (next == SAME && row->status == CERT_REVOKED && r->reason == REASON_KEY_COMPROMISE && row->reason != REASON_KEY_COMPROMISE) {
        status->time = row->status_at;
        return true;
    }
    return next != SAME;
}

/* A revocation whose reason becomes another keeps the day the key was known to be in other hands. */
static enum err_code keep_invalidity(struct core *c, const struct cert_row *row, struct status_row *status, struct err *e)
{
    struct status_row before;

    if (row->status != CERT_REVOKED || status->invalidity || row->status_seq == 0)
        return E_OK;
    if (store_status_by_seq(c->store, row->status_seq, &before, e) != E_OK)
        return e->code;
    status->invalidity = before.invalidity;
    return E_OK;
}

enum err_code revoke_apply(struct core *c, const struct cert_row *row, const struct revocation *r,
                           const struct actor *by, int64_t now, bool *changed, uint64_t *seq, struct err *e)
{
    static const char *const events[] = {"cert-released", "cert-held", "cert-revoked"};
    struct status_row status = {.issuer = row->issuer, .serial_len = row->serial_len, .status = r->to,
                                .reason = r->reason, .time = now, .invalidity = r->invalidity,
                                .not_after = row->not_after, .batch = r->batch, .device = r->tells_state ? row->device : 0,
                                .device_state = (uint8_t)r->device_state};
    struct cert_row was = *row;
    struct audit_actor who = audit_actor_of(by, NULL);
    char domain[ID_MAX_LEN + 1], name[ID_MAX_LEN + 1];
    unsigned shard = row->shard;
    *changed = false;
    if (row->status >= CERT_STATUSES || next_status[row->status][r->to] == NO)
        return err_set(e, E_CONFLICT, "the certificate is revoked for good (%s): only a hold can be released",
                       crl_reason_name((enum crl_reason)row->reason));
    if (!decide(row, r, &status)) {
        *seq = row->status_seq;
        return E_OK;
    }
    /* The row borrows from the store: keep what is needed after the next call. */
    memcpy(status.serial, row->serial, row->serial_len);
    snprintf(domain, sizeof(domain), "%s", row->domain ? row->domain : "");
    who.domain = domain;
    snprintf(status.origin, sizeof(status.origin), "%s", r->origin ? r->origin : "");
    if (!issuer_name(c, status.issuer, name, e))
        return e->code;
    if (keep_invalidity(c, &was, &status, e) != E_OK || store_status_append(c->store, &status, e) != E_OK)
        return err_wrap(e, "status row");
    if (!r->batch && audit_status_changed(c->store, &who, name, &status, now, e) != E_OK)
        return err_wrap(e, "audit");
    note_purge(c, &status);
    publish_mark(c, status.issuer, 0);
    if (shard)
        publish_mark(c, status.issuer, shard);
    metrics_status_changed(c, status.status, status.reason);
    *changed = true;
    *seq = status.seq;
    if (!r->batch)
        log_change(&status, r->event ? r->event : events[status.status], by);
    return E_OK;
}

void revoke_changed(struct core *c)
{
    links_push_status(c);
    if (c->purge.n == 0 && !c->purge.all && !c->devices_changed)
        return;
    c->purge.seq = c->purge_seq = core_seq(c);
    links_send_purge(c, &c->purge);
    c->purge.n = 0;
    c->purge.all = false;
    c->devices_changed = false;
}
