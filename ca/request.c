/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/request.h"

#include <string.h>

#include "base/auto.h"
#include "base/clock.h"

#define DAY               86400
#define KEEP_EXPIRED_S    DAY       /* so long it is answered that it expired; then the same request begins anew */
#define KEEP_DECIDED_S    (7 * DAY)
#define EXPIRE_AT_ONCE    100       /* rows of one transaction */
#define FULL_RETRY_S      300
#define KEYGEN_AGAIN_S    600       /* an approved serverkeygen whose answer was lost is repeated with a new key so long */

#define NO REQUEST_STATES
static const enum request_state next_state[REQUEST_STATES][REQUEST_EVENTS] = {
    /*                     APPROVE           REFUSE           EXPIRE */
    [REQUEST_WAITING]  = { REQUEST_APPROVED, REQUEST_REFUSED, REQUEST_EXPIRED },
    [REQUEST_APPROVED] = { REQUEST_APPROVED, REQUEST_REFUSED, REQUEST_EXPIRED }, /* never fetched */
    [REQUEST_ISSUED]   = { NO,               NO,              NO              },
    [REQUEST_REFUSED]  = { NO,               REQUEST_REFUSED, NO              },
    [REQUEST_EXPIRED]  = { NO,               NO,              REQUEST_EXPIRED },
};

enum request_state request_next(enum request_state state, enum request_event event)
{
    if ((unsigned)state >= REQUEST_STATES || (unsigned)event >= REQUEST_EVENTS)
        return NO;
    return next_state[state][event];
}

const char *request_operation(const struct request_row *r)
{
    return r->operation == CERT_OP_REENROLL ? "simplereenroll" : r->operation == CERT_OP_KEYGEN ? "serverkeygen" : "simpleenroll";
}

static void object_of(char *out, size_t size, uint64_t id)
{
    snprintf(out, size, "request:%llu", (unsigned long long)id);
}

/* ---- a request comes in ---- */

static enum err_code too_many(struct core *c, struct grant *g, struct err *e)
{
    uint64_t of_device, in_all;

    if (store_request_open(c->store, g->device.id, &of_device, &in_all, e) != E_OK)
        return e->code;
    g->retry_after_s = FULL_RETRY_S;
    if (of_device >= c->conf->requests_per_device)
        return err_set(e, E_BUSY, "this device has %llu requests waiting for the operator already",
                       (unsigned long long)of_device);
    if (in_all >= c->conf->requests_max)
        return err_set(e, E_BUSY, "too many requests wait for the operator");
    g->retry_after_s = 0;
    return E_OK;
}

static enum err_code defer(struct core *c, struct request_row *row, int64_t now, struct grant *g, struct err *e)
{
    char object[32], spki[65];
    struct log_line l;

    if (too_many(c, g, e) != E_OK || store_request_insert(c->store, row, e) != E_OK)
        return e->code;
    object_of(object, sizeof(object), row->id);
    hex_encode(row->spki_hash, sizeof(row->spki_hash), spki);
    if (core_audit(c, &g->by, "request-deferred", g->device.domain, object,
                   json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "device", g->device.device_id, "operation",
                             request_operation(row), "label", row->label, "profile", row->profile, "why", row->why,
                             "spki_sha256", spki),
                   now, e) != E_OK)
        return e->code;
    log_begin(&l, LOG_INFO, "request-deferred");
    log_u64(&l, "request", row->id);
    log_str(&l, "requester", g->by.name);
    log_str(&l, "why", row->why);
    log_end(&l);
    return E_OK;
}

enum err_code request_judge(struct core *c, const struct svc_enroll *in, const struct csr *csr, int64_t now, struct grant *g,
                            struct err *e)
{
    struct request_row asked = {
        .device = g->device.id,
        .operation = g->operation,
        .label = in->label,
        .profile = g->profile->name,
        .bound = g->binding_judged,
        .csr = in->csr,
        .why = g->approval,
        .created_at = now,
        .expires_at = now + g->profile->approval_within_s,
    };
    struct request_row found;
    enum err_code code;

    memcpy(asked.credential_hash, g->credential, 32);
    memcpy(asked.spki_hash, csr->key.spki_hash, 32);
    sha256(csr->tbs, asked.content_hash);
    code = store_request_match(c->store, &asked, &found, e);
    if (code == E_OK && found.state == REQUEST_ISSUED) { /* other operations' repeats get the stored certificate before this */
        if (g->operation == CERT_OP_KEYGEN && now - found.ended_at < KEYGEN_AGAIN_S)
            return E_OK;
        code = E_NOT_FOUND;
    }
    if (code == E_NOT_FOUND) {
        if (defer(c, &asked, now, g, e) != E_OK)
            return e->code;
        found = asked;
    } else if (code != E_OK) {
        return code;
    }
    if (found.state == REQUEST_REFUSED)
        return err_set(e, E_DENIED, "the operator refused this request: %.200s", found.reason);
    if (found.state == REQUEST_EXPIRED || now >= found.expires_at)
        return err_set(e, E_DENIED, found.decided_at && found.state == REQUEST_APPROVED
                                        ? "this request was approved, and not repeated in time"
                                        : "this request expired before an operator approved it");
    if (found.state == REQUEST_APPROVED) {
        g->request = found.id;
        return E_OK;
    }
    g->retry_after_s = (uint32_t)g->profile->approval_retry_s;
    return err_set(e, E_PENDING, "request %llu waits for the operator", (unsigned long long)found.id);
}

enum err_code request_issued(struct core *c, const struct grant *g, const struct cert_row *cert, int64_t now, struct err *e)
{
    char object[32], issued[96];
    enum err_code code = store_request_issued(c->store, g->request, cert->id, now, e);

    if (code == E_NOT_FOUND)
        return err_set(e, E_DENIED, "the approval of this request was withdrawn meanwhile");
    if (code != E_OK)
        return code;
    object_of(object, sizeof(object), g->request);
    object_of_cert(issued, sizeof(issued), cert->issuer, BYTES(cert->serial, cert->serial_len));
    return core_audit(c, &g->by, "request-issued", g->device.domain, object, json_pack("{s:s}", "certificate", issued), now,
                      e);
}

/* ---- decisions ---- */

static enum err_code change(struct core *c, const struct request_row *row, enum request_state to, const char *event,
                            const char *reason, int64_t expires_at, const struct actor *by, int64_t now, struct err *e)
{
    AUTO_JSON *detail = json_pack("{s:s, s:s}", "device", row->device_id, "reason", reason);
    char object[32], domain[ID_MAX_LEN + 1];
    uint64_t id = row->id;

    object_of(object, sizeof(object), id);
    text_copy(domain, sizeof(domain), row->domain);
    if (!detail)
        return err_set(e, E_NOMEM, "request");
    if (store_request_decide(c->store, id, to, by->name, reason, expires_at, now, e) != E_OK)
        return e->code;
    return core_audit(c, by, event, domain, object, json_incref(detail), now, e);
}

enum err_code request_decide(struct core *c, uint64_t id, enum request_event event, const char *reason,
                             const struct actor *by, int64_t now, enum request_state *to, struct err *e)
{
    struct request_row row;
    const struct conf_profile *p;
    int64_t expires_at = 0;
    enum err_code code = store_request_by_id(c->store, id, &row, e);

    if (code == E_NOT_FOUND)
        return err_set(e, E_NOT_FOUND, "there is no request %llu", (unsigned long long)id);
    if (code != E_OK)
        return code;
    *to = request_next((enum request_state)row.state, event);
    if (*to == row.state)
        return E_OK;
    if (*to == NO)
        return err_set(e, E_CONFLICT, "request %llu is %s already", (unsigned long long)id,
                       request_state_name((enum request_state)row.state));
    if (now >= row.expires_at)
        return err_set(e, E_CONFLICT, "request %llu has expired", (unsigned long long)id);
    /* The client has as long to fetch it as the operator had to decide. */
    p = conf_find_profile(c->conf, row.profile);
    if (*to == REQUEST_APPROVED && p)
        expires_at = now + p->approval_within_s;
    return change(c, &row, *to, *to == REQUEST_APPROVED ? "request-approved" : "request-refused", reason, expires_at, by, now, e);
}

/* ---- time ---- */

static enum err_code expire_one(struct core *c, int64_t now, struct err *e)
{
    struct request_row row;
    enum err_code code = store_request_due(c->store, now, &row, e);

    if (code != E_OK)
        return code;
    return change(c, &row, REQUEST_EXPIRED, "request-expired",
                  row.state == REQUEST_APPROVED ? "approved, and not fetched" : "no decision", 0, &ACTOR_CORE, now, e);
}

void request_tick(struct core *c)
{
    int64_t now = core_stamp(c);
    struct request_row due;
    struct err e = {0};
    enum err_code code = store_request_due(c->store, now, &due, &e);
    bool forget = c->ticks % (4 * 60) == 0;
    unsigned n = 0;

    if (code == E_NOT_FOUND && !forget)
        return;
    if ((code == E_OK || code == E_NOT_FOUND) && (code = core_begin(c, &e)) == E_OK) {
        while (n < EXPIRE_AT_ONCE && (code = expire_one(c, now, &e)) == E_OK)
            n++;
        if (code == E_NOT_FOUND || code == E_OK)
            code = forget ? store_request_forget(c->store, now - KEEP_EXPIRED_S, now - KEEP_DECIDED_S, &e) : E_OK;
        core_end(c, code, &e);
    }
    if (code != E_OK) {
        core_doubt(c, &e);
        log_failure("request-failed", &e);
    } else if (n) {
        struct log_line l;

        log_begin(&l, LOG_WARN, "request-expired");
        log_u64(&l, "count", n);
        log_end(&l);
    }
}
