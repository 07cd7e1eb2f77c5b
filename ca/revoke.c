/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of status: one table, one transaction, then everybody who answers from it is told. */
#include <string.h>

#include "ca/core.h"

#define NO   CERT_STATUSES       /* transition not allowed */
#define SAME (CERT_STATUSES + 1) /* again: success without a change */

static const int next_status[CERT_STATUSES][CERT_STATUSES] = {
    /* now \ asked        GOOD (release)  ON_HOLD       REVOKED      */
    [CERT_GOOD] =       { SAME,           CERT_ON_HOLD, CERT_REVOKED },
    [CERT_ON_HOLD] =    { CERT_GOOD,      SAME,         CERT_REVOKED },
    [CERT_REVOKED] =    { NO,             NO,           SAME         },
};

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

enum err_code revoke_apply(struct core *c, const struct cert_row *row, const struct revocation *r,
                           const struct actor *by, int64_t now, bool *changed, uint64_t *seq, struct err *e)
{
    static const char *const events[] = {"cert-released", "cert-held", "cert-revoked"};
    struct status_row status = {.issuer = row->issuer, .serial_len = row->serial_len, .status = r->to,
                                .reason = r->reason, .time = now, .invalidity = r->invalidity,
                                .not_after = row->not_after, .batch = r->batch};
    struct audit_actor who = {.actor = by->name, .actor_kind = by->kind, .request_digest = by->request_digest};
    char domain[ID_MAX_LEN + 1], name[ID_MAX_LEN + 1];
    unsigned shard = row->shard;
    int next = row->status < CERT_STATUSES ? next_status[row->status][r->to] : NO;

    *changed = false;
    if (next == NO)
        return err_set(e, E_CONFLICT, "the certificate is revoked for good (%s): only a hold can be released",
                       crl_reason_name((enum crl_reason)row->reason));
    if (next == SAME) {
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
    if (store_status_append(c->store, &status, e) != E_OK)
        return err_wrap(e, "status row");
    if (audit_status_changed(c->store, &who, name, &status, now, e) != E_OK)
        return err_wrap(e, "audit");
    note_purge(c, &status);
    publish_mark(c, status.issuer, 0);
    if (shard)
        publish_mark(c, status.issuer, shard);
    *changed = true;
    *seq = status.seq;
    log_change(&status, r->event ? r->event : events[r->to], by);
    return E_OK;
}

void revoke_changed(struct core *c)
{
    links_push_status(c);
    if (c->purge.n == 0 && !c->purge.all)
        return;
    c->purge.seq = c->purge_seq = core_seq(c);
    links_send_purge(c, &c->purge);
    c->purge.n = 0;
    c->purge.all = false;
}
