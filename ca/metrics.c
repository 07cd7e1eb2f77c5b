/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/metrics.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ca/fleet_count.h"
#include "ca/gateway.h"
#include "ca/issue.h"
#include "ca/store/batch.h"
#include "ca/store/request.h"
#include "ca/store/tally.h"

struct token_stats {
    LIST_ENTRY(token_stats) link;
    char name[ID_MAX_LEN + 1];
    struct signer_stats stats;
};

struct metrics {
    LIST_HEAD(, token_stats) tokens;
    struct fleet_count *fleet;
};

static const char *const call_name[ISSUE_CALLS] = {
    [CALL_SIMPLEENROLL] = "simpleenroll",   [CALL_SIMPLEREENROLL] = "simplereenroll",
    [CALL_SERVERKEYGEN] = "serverkeygen",   [CALL_STATION] = "station",
    [CALL_CAPTURED] = "captured",           [CALL_OPERATOR] = "operator",
    [CALL_SERVICE] = "service",
};
static const char *const end_name[ISSUE_ENDS] = {
    [END_DONE] = "done", [END_REPEATED] = "repeated", [END_PENDING] = "pending",
    [END_REFUSED] = "refused", [END_BUSY] = "busy", [END_FAILED] = "failed",
};

struct metrics *metrics_new(struct core *c)
{
    struct metrics *m = calloc(1, sizeof(*m));

    if (m)
        m->fleet = fleet_count_new(c);
    if (!m || !m->fleet) {
        free(m);
        return NULL;
    }
    LIST_INIT(&m->tokens);
    return m;
}

void metrics_free(struct metrics *m)
{
    struct token_stats *t;

    if (!m)
        return;
    while ((t = LIST_FIRST(&m->tokens))) {
        LIST_REMOVE(t, link);
        free(t);
    }
    fleet_count_free(m->fleet);
    free(m);
}

/* ---- counting ---- */

void metrics_issued(struct core *c, enum issue_call call, enum err_code code, bool repeated)
{
    enum issue_end end = END_FAILED;

    if (code == E_OK)
        end = repeated ? END_REPEATED : END_DONE;
    else if (code == E_PENDING)
        end = END_PENDING;
    else if (code == E_BUSY)
        end = END_BUSY;
    else if (code == E_INVALID || code == E_UNAUTHENTICATED || code == E_DENIED || code == E_NOT_FOUND || code == E_CONFLICT)
        end = END_REFUSED;
    c->counts.issue[call][end]++;
}

void metrics_status_changed(struct core *c, enum cert_status to, enum crl_reason reason)
{
    struct status_counts *n = &c->counts.open;

    c->counts.any_open = true;
    if (to == CERT_REVOKED)
        n->revoked[(unsigned)reason < COUNTED_REASONS ? reason : REASON_UNSPECIFIED]++;
    else if (to == CERT_ON_HOLD)
        n->held++;
    else
        n->released++;
}

void metrics_committed(struct core *c)
{
    struct core_counts *m = &c->counts;

    if (!m->any_open)
        return;
    for (size_t i = 0; i < COUNTED_REASONS; i++)
        m->status.revoked[i] += m->open.revoked[i];
    m->status.held += m->open.held;
    m->status.released += m->open.released;
    metrics_rolled_back(c);
}

void metrics_rolled_back(struct core *c)
{
    c->counts.open = (struct status_counts){0};
    c->counts.any_open = false;
}

struct signer_stats *metrics_of_token(struct core *c, const char *token)
{
    struct token_stats *t;

    LIST_FOREACH(t, &c->metrics->tokens, link)
    {
        if (strcmp(t->name, token) == 0)
            return &t->stats;
    }
    t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    snprintf(t->name, sizeof(t->name), "%s", token);
    LIST_INSERT_HEAD(&c->metrics->tokens, t, link);
    return &t->stats;
}

void metrics_tick(struct core *c)
{
    fleet_count_tick(c->metrics->fleet);
}

/* ---- writing ---- */

static void write_issuance(struct core *c, struct buf *out)
{
    const struct core_counts *m = &c->counts;

    om_family(out, "inkan_requests", "counter", "", "Requests for certificates and of stations, by what became of them.");
    for (int call = 0; call < ISSUE_CALLS; call++)
        for (int end = 0; end < ISSUE_ENDS; end++)
            om_sample(out, "inkan_requests_total", (double)m->issue[call][end], "operation", call_name[call], "result", end_name[end], NULL);
    om_family(out, "inkan_requests_waiting", "gauge", "", "Requests in the core's queue and in flight.");
    om_sample(out, "inkan_requests_waiting", (double)issue_waiting(c), NULL);
    om_family(out, "inkan_requests_limit", "gauge", "", "How many may wait: enroll.queue.");
    om_sample(out, "inkan_requests_limit", (double)c->conf->enroll_queue, NULL);
}

static void write_revocation(struct core *c, struct buf *out)
{
    const struct status_counts *n = &c->counts.status;

    om_family(out, "inkan_revocations", "counter", "", "Certificates that were revoked, by CRL reason.");
    for (int i = 0; i < COUNTED_REASONS; i++)
        if (crl_reason_name((enum crl_reason)i) && i != REASON_CERTIFICATE_HOLD && i != REASON_REMOVE_FROM_CRL)
            om_sample(out, "inkan_revocations_total", (double)n->revoked[i], "reason", crl_reason_name((enum crl_reason)i), NULL);
    om_family(out, "inkan_holds", "counter", "", "Certificates that were put on hold.");
    om_sample(out, "inkan_holds_total", (double)n->held, NULL);
    om_family(out, "inkan_releases", "counter", "", "Certificates that were released from hold.");
    om_sample(out, "inkan_releases_total", (double)n->released, NULL);
}

static void write_tokens(struct core *c, struct buf *out)
{
    const struct token_stats *t;
    const struct signer_link *l;

    om_family(out, "inkan_sign_seconds", "histogram", "seconds", "Signatures the core asked of a token, from the call to its answer.");
    LIST_FOREACH(t, &c->metrics->tokens, link)
    {
        om_histogram(out, "inkan_sign_seconds", &t->stats.latency, "token", t->name);
    }
    om_family(out, "inkan_sign_errors", "counter", "", "Signatures the core asked of a token and did not get, by class of error.");
    LIST_FOREACH(t, &c->metrics->tokens, link)
    {
        for (int code = E_OK + 1; code < ERR_CODES_COUNT; code++)
            if (code == E_TOKEN || code == E_BUSY || t->stats.failed[code])
                om_sample(out, "inkan_sign_errors_total", (double)t->stats.failed[code], "token", t->name, "class",
                          err_code_name((enum err_code)code), NULL);
    }
    om_family(out, "inkan_signer_waiting", "gauge", "", "Signatures the core waits for, by token.");
    LIST_FOREACH(l, &c->signers, link)
    {
        om_sample(out, "inkan_signer_waiting", (double)(l->signer ? signer_pending(l->signer) : 0), "token", l->token, NULL);
    }
    om_family(out, "inkan_token_up", "gauge", "", "1 when the signer of an online token is linked and knows all of its keys.");
    for (size_t i = 0; i < c->conf->tokens_n; i++) {
        const struct signer_link *s = signer_link_find(c, c->conf->tokens[i].name);
        bool up = s && s->keys_known;

        if (c->conf->tokens[i].offline)
            continue;
        for (size_t k = 0; s && k < s->key_n; k++)
            up = up && s->key[k].usable;
        om_sample(out, "inkan_token_up", up, "token", c->conf->tokens[i].name, NULL);
    }
}

typedef double (*scope_value)(const struct crl_scope *s, int64_t now);
static double crl_this_update(const struct crl_scope *s, int64_t now)
{
    (void)now;
    return (double)s->this_update;
}
static double crl_next_update(const struct crl_scope *s, int64_t now)
{
    (void)now;
    return (double)s->next_update;
}
static double crl_number(const struct crl_scope *s, int64_t now)
{
    (void)now;
    return (double)s->number;
}
static double crl_entries(const struct crl_scope *s, int64_t now)
{
    (void)now;
    return (double)s->entries;
}
/* 0 fresh, 0.5 half life, 1 it has ended: what readiness and the alarm go by. */
static double crl_elapsed(const struct crl_scope *s, int64_t now)
{
    double window = (double)(s->next_update - s->this_update);

    return window > 0 ? (double)(now - s->this_update) / window : 1;
}

static void write_scopes(struct core *c, struct buf *out, const char *name, const char *unit, const char *help, scope_value value, int64_t now)
{
    om_family(out, name, "gauge", unit, help);
    for (size_t i = 0; i < c->ca_n; i++)
        for (size_t k = 0; c->ca[i].exists && k < c->ca[i].scope_n; k++) {
            char shard[16];

            snprintf(shard, sizeof(shard), "%u", c->ca[i].scope[k].shard);
            if (c->ca[i].scope[k].exists)
                om_sample(out, name, value(&c->ca[i].scope[k], now), "issuer", c->ca[i].conf->name, "shard", shard, NULL);
        }
}

static void write_crls(struct core *c, struct buf *out)
{
    int64_t now = clock_now();

    write_scopes(c, out, "inkan_crl_this_update_seconds", "seconds", "thisUpdate of the published CRL, since 1970.", crl_this_update, now);
    write_scopes(c, out, "inkan_crl_next_update_seconds", "seconds", "nextUpdate of the published CRL, since 1970.", crl_next_update, now);
    write_scopes(c, out, "inkan_crl_elapsed_ratio", "ratio", "Part of the CRL's window that has passed: alarm above 0.5, not ready above 0.9.",
                 crl_elapsed, now);
    write_scopes(c, out, "inkan_crl_number", "", "CRLNumber of the published CRL.", crl_number, now);
    write_scopes(c, out, "inkan_crl_entries", "", "Entries of the published CRL.", crl_entries, now);
    om_family(out, "inkan_crl_refusals", "counter", "", "CRLs that could not be published, by issuer.");
    for (size_t i = 0; i < c->ca_n; i++) {
        uint64_t n = 0;

        for (size_t k = 0; k < c->ca[i].scope_n; k++)
            n += c->ca[i].scope[k].refusals;
        if (c->ca[i].exists)
            om_sample(out, "inkan_crl_refusals_total", (double)n, "issuer", c->ca[i].conf->name, NULL);
    }
}

static void write_end(struct buf *out, const char *kind, const char *name, int64_t not_after)
{
    om_sample(out, "inkan_certificate_end_seconds", (double)not_after, "kind", kind, "name", name, NULL);
}


static void write_ends(struct core *c, struct buf *out)
{
    const struct front_link *f;

    om_family(out, "inkan_certificate_end_seconds", "gauge", "seconds", "notAfter of the service's own certificates, since 1970.");
    for (size_t i = 0; i < c->ca_n; i++) {
        const struct authority *a = &c->ca[i];

        if (a->exists)
            write_end(out, "ca", a->conf->name, a->not_after);
        if (a->exists && a->ocsp_cert.len)
            write_end(out, "ocsp", a->conf->name, a->ocsp_not_after);
    }
    if (c->record.cert.len)
        write_end(out, "record", "record", c->record.not_after);
    if (c->feed.cert.len)
        write_end(out, "feed", "feed", c->feed.not_after);
    LIST_FOREACH(f, &c->fronts, link)
    {
        struct cert_row row;
        struct err e = {0};
        char requester[ID_MAX_LEN + 16];

        snprintf(requester, sizeof(requester), "service:%s", f->name);
        if (store_cert_newest_by_requester(c->store, requester, PROFILE_TLS_SERVER, &row, &e) == E_OK)
            write_end(out, "server", f->name, row.not_after);
        else
            core_doubt(c, &e);
    }
    om_family(out, "inkan_key_created_seconds", "gauge", "seconds", "When the key that signs the audit heads was made: it has no certificate.");
    if (c->audit_key[0] && key_find(c, c->audit_key))
        om_sample(out, "inkan_key_created_seconds", (double)key_find(c, c->audit_key)->created_at, "key", c->audit_key, NULL);
}

struct tally_sink {
    struct buf *out;
    const char *name, *label;
};

static bool put_alarms(void *arg, const char *name, unsigned number, uint64_t n)
{
    const struct tally_sink *t = arg;

    (void)number;
    om_sample(t->out, t->name, (double)n, t->label, name, NULL);
    return true;
}

static bool put_batches(void *arg, const char *name, unsigned number, uint64_t n)
{
    const struct tally_sink *t = arg;

    (void)name;
    om_sample(t->out, t->name, (double)n, t->label, batch_state_name((enum batch_state)number), NULL);
    return true;
}

static void write_people(struct core *c, struct buf *out)
{
    struct request_counts requests = {0};
    uint64_t pending = 0;
    struct err e = {0};

    om_family(out, "inkan_alarms_open", "gauge", "", "Alarms nobody has cleared, by kind.");
    if (store_alarm_tally(c->store, put_alarms, &(struct tally_sink){out, "inkan_alarms_open", "kind"}, &e) != E_OK)
        core_doubt(c, &e);
    om_family(out, "inkan_batches", "gauge", "", "Mass actions that have not ended, by state.");
    if (store_batch_tally(c->store, put_batches, &(struct tally_sink){out, "inkan_batches", "state"}, &e) != E_OK)
        core_doubt(c, &e);
    if (store_pending_tally(c->store, &pending, &e) != E_OK || store_request_counts(c->store, &requests, &e) != E_OK)
        core_doubt(c, &e);
    om_family(out, "inkan_approvals_waiting", "gauge", "", "Acts that wait for a second person, and requests of devices that wait for an operator.");
    om_sample(out, "inkan_approvals_waiting", (double)pending, "what", "act", NULL);
    om_sample(out, "inkan_approvals_waiting", (double)requests.waiting, "what", "request", NULL);
}

struct told_sink {
    struct buf *out;
    const char *sample;
    size_t member; /* of struct notify_told */
};

static void put_told(void *arg, const struct notify_told *t)
{
    static const char *const streams[NOTIFY_STREAMS] = {"alarms", "audit", "heads"};
    const struct told_sink *s = arg;
    uint64_t value;

    memcpy(&value, (const char *)t + s->member, sizeof(value));
    om_sample(s->out, s->sample, (double)value, "name", t->name, "stream", streams[t->stream], NULL);
}

static void write_notify(struct core *c, struct buf *out)
{
    om_family(out, "inkan_notify_behind", "gauge", "", "Alarms, entries or heads that somebody of notify has not been told yet, at most.");
    notify_link_each(c, put_told, &(struct told_sink){out, "inkan_notify_behind", offsetof(struct notify_told, behind)});
    om_family(out, "inkan_notify_failures", "counter", "", "Deliveries that failed and are tried again.");
    notify_link_each(c, put_told, &(struct told_sink){out, "inkan_notify_failures_total", offsetof(struct notify_told, failures)});
    om_family(out, "inkan_notify_set_aside", "counter", "", "Deliveries that a webhook refused for too long: they are not sent again.");
    notify_link_each(c, put_told, &(struct told_sink){out, "inkan_notify_set_aside_total", offsetof(struct notify_told, set_aside)});
}

static void write_audit(struct core *c, struct buf *out)
{
    uint64_t seq = 0;
    uint8_t hash[32];
    struct err e = {0};

    if (store_audit_last(c->store, &seq, hash, &e) != E_OK)
        core_doubt(c, &e);
    om_family(out, "inkan_audit_entries", "gauge", "", "Number of the newest entry of the audit trail.");
    om_sample(out, "inkan_audit_entries", (double)seq, NULL);
    om_family(out, "inkan_audit_head_entries", "gauge", "", "Number of the entry the newest signed head names.");
    om_sample(out, "inkan_audit_head_entries", (double)c->audit_head_seq, NULL);
    om_family(out, "inkan_audit_head_time_seconds", "gauge", "seconds", "Time of the newest signed head, since 1970; 0: there is none.");
    om_sample(out, "inkan_audit_head_time_seconds", (double)c->audit_head_time, NULL);
    om_family(out, "inkan_status_seq", "gauge", "", "Newest row of the status log.");
    om_sample(out, "inkan_status_seq", (double)core_seq(c), NULL);
    om_family(out, "inkan_status_acked_seq", "gauge", "", "Newest row of the status log that the status process has confirmed.");
    om_sample(out, "inkan_status_acked_seq", (double)c->status.acked_seq, NULL);
    om_family(out, "inkan_ledger_wal_bytes", "gauge", "bytes", "Size of the ledger's write-ahead log.");
    om_sample(out, "inkan_ledger_wal_bytes", (double)store_wal_size(c->store), NULL);
    om_family(out, "inkan_sealed", "gauge", "", "1 when the ledger is sealed: nothing is issued.");
    om_sample(out, "inkan_sealed", c->seal != SEAL_NONE, NULL);
    om_family(out, "inkan_clock_behind", "gauge", "", "1 when the clock is before the newest time in the ledger: nothing is signed.");
    om_sample(out, "inkan_clock_behind", c->clock_is_back, NULL);
}

static void write_processes(struct core *c, struct buf *out)
{
    om_family(out, "inkan_process_up", "gauge", "", "1 when the process runs.");
    for (size_t i = 0; i < c->processes_n; i++)
        om_sample(out, "inkan_process_up", c->processes[i].pid != 0, "process", c->processes[i].name, NULL);
    om_family(out, "inkan_process_restarts", "counter", "", "How often the supervisor started the process again.");
    for (size_t i = 0; i < c->processes_n; i++)
        om_sample(out, "inkan_process_restarts_total", (double)c->processes[i].restarts, "process", c->processes[i].name, NULL);
}

static void write_fronts(struct core *c, struct buf *out)
{
    const struct front_link *f;

    om_family(out, "inkan_front_connections", "gauge", "", "Connections of a front.");
    LIST_FOREACH(f, &c->fronts, link)
    {
        om_sample(out, "inkan_front_connections", (double)f->counts.connections, "process", f->name, NULL);
    }
    om_family(out, "inkan_http_answers", "counter", "", "Answers of a front, by listener and class of the HTTP status.");
    LIST_FOREACH(f, &c->fronts, link)
    {
        for (int s = 0; s < SVC_LISTENERS; s++)
            for (int k = 0; k < SVC_STATUS_CLASSES; k++)
                om_sample(out, "inkan_http_answers_total", (double)f->counts.answers[s][k], "process", f->name, "listener",
                          svc_listener_name((enum svc_listener)s), "class", svc_status_class_name(k), NULL);
    }
    om_family(out, "inkan_front_ocsp_kept", "counter", "", "OCSP answers a front gave from those it keeps.");
    LIST_FOREACH(f, &c->fronts, link)
    {
        om_sample(out, "inkan_front_ocsp_kept_total", (double)f->counts.ocsp_kept, "process", f->name, NULL);
    }
    om_family(out, "inkan_front_refusals", "counter", "", "Connections and requests a front refused before they meant anything, by reason.");
    LIST_FOREACH(f, &c->fronts, link)
    {
        for (int k = 0; k < SVC_REFUSALS; k++)
            om_sample(out, "inkan_front_refusals_total", (double)f->counts.refused[k], "process", f->name, "reason",
                      svc_refusal_name((enum svc_refusal)k), NULL);
    }
}

void metrics_write(struct core *c, struct buf *out)
{
    const char *why;

    om_family(out, "inkan_build", "info", "", "The version of the programs.");
    om_sample(out, "inkan_build_info", 1, "version", INKAN_VERSION, NULL);
    om_family(out, "inkan_core_ready", "gauge", "", "1 when the core calls itself ready.");
    om_sample(out, "inkan_core_ready", core_is_ready(c, &why), NULL);
    write_issuance(c, out);
    write_revocation(c, out);
    write_tokens(c, out);
    write_crls(c, out);
    write_ends(c, out);
    fleet_count_write(c->metrics->fleet, out);
    write_people(c, out);
    write_audit(c, out);
    write_notify(c, out);
    write_processes(c, out);
    write_fronts(c, out);
    gateways_metrics(c->gateways, out);
}
