/* SPDX-License-Identifier: Apache-2.0 */
/* The core's side of the audit trail: entries, signed heads, high-water marks. */
#include <string.h>

#include "base/clock.h"
#include "ca/core.h"

#define HEAD_RETRY_MS     2000
#define REFUSED_EVERY_S   60

const struct actor ACTOR_CORE = {.name = "core", .kind = "core"};

void object_of_cert(char *out, size_t size, uint32_t issuer, struct bytes serial)
{
    char hex[SERIAL_MAX_LEN * 2 + 1] = "";

    if (serial.len <= SERIAL_MAX_LEN)
        hex_encode(serial.p, serial.len, hex);
    snprintf(out, size, "cert:%u/%s", issuer, hex);
}

enum err_code core_audit(struct core *c, const struct actor *by, const char *event, const char *domain,
                         const char *object, json_t *detail, int64_t now, struct err *e)
{
    AUTO_JSON *owned = detail;
    AUTO(char) *text = detail ? json_dumps(detail, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    struct audit_entry entry = {
        .event = event,
        .actor = by->name,
        .actor_kind = by->kind,
        .domain = domain ? domain : "",
        .object = object,
        .detail = text,
        .request_digest = by->request_digest,
    };

    (void)owned;
    if (detail && !text)
        return err_set(e, E_NOMEM, "audit %s", event);
    if (audit_append(c->store, &entry, now, e) != E_OK)
        return err_wrap(e, "audit %s", event);
    return E_OK;
}

/* ---- marks ---- */

void marks_update(struct core *c)
{
    struct marks *m = calloc(1, sizeof(*m));
    struct err e = {0};

    /* A ledger behind its marks must not lower them before an operator has accepted that. */
    if (m && c->seal != SEAL_RESTORE &&
        (marks_collect(c->store, c->clock.floor, m, &e) != E_OK || marks_write(c->conf->dir_marks, m, &e) != E_OK)) {
        core_doubt(c, &e);
        log_failure("marks-failed", &e);
    }
    free(m);
}

enum err_code marks_compare(struct core *c, bool *behind, char *what, size_t what_size, struct err *e)
{
    struct marks *m = calloc(1, sizeof(*m));
    AUTO_BUF which = BUF_INIT(64 * 1024);
    enum err_code code = m ? marks_read(c->conf->dir_marks, m, e) : err_set(e, E_NOMEM, "marks");

    *behind = false;
    *what = '\0';
    if (code == E_NOT_FOUND) {
        log_note(LOG_WARN, "marks-missing", "dir", c->conf->dir_marks);
        code = E_OK;
    } else if (code == E_OK) {
        code = marks_behind(c->store, m, &which, e);
        *behind = which.len != 0;
        snprintf(what, what_size, "%.*s", (int)which.len, which.p ? (const char *)which.p : "");
        for (char *at = what; (at = strchr(at, '\n'));)
            *at = at[1] ? ';' : '\0';
    }
    free(m);
    return code;
}

/* ---- heads ---- */

struct audit_pending {
    struct core *core;
    struct audit_head_row head;
    struct buf tbs;
    bool busy;
};

void audit_open(struct core *c)
{
    struct audit_head_row head;
    struct err e = {0};

    if (store_audit_head_last(c->store, &head, &e) != E_OK)
        return;
    c->audit_head_seq = head.seq;
    c->audit_head_time = head.time;
}

void audit_free(struct core *c)
{
    if (c->audit_pending) {
        buf_clear(&c->audit_pending->tbs);
        free(c->audit_pending);
        c->audit_pending = NULL;
    }
}

static void on_head_signed(void *arg, enum err_code code, const struct err *why, enum sig_alg alg, struct bytes sig)
{
    struct audit_pending *p = arg;
    struct core *c = p->core;
    struct err e = {0};
    struct log_line l;

    p->busy = false;
    if (c->stopping)
        return;
    c->audit_head_at_ms = clock_mono_ms() + HEAD_RETRY_MS;
    if (code != E_OK) {
        if (code == E_TOKEN)
            signer_link_doubt(c, c->conf->audit_token);
        log_failure("audit-head-failed", why);
        return;
    }
    p->head.tbs = buf_bytes(&p->tbs);
    p->head.signature = sig;
    p->head.sig_alg = (uint8_t)alg;
    if (core_begin(c, &e) != E_OK) {
        log_failure("audit-head-failed", &e);
        return;
    }
    if (store_audit_head_insert(c->store, &p->head, &e) != E_OK) {
        core_doubt(c, &e);
        core_rollback(c);
        log_failure("audit-head-failed", &e);
        return;
    }
    core_commit(c);
    if (audit_head_publish(c->conf->dir_marks, &p->head, &e) != E_OK) {
        log_failure("audit-head-failed", &e);
        return;
    }
    marks_update(c);
    c->audit_head_seq = p->head.seq;
    c->audit_head_time = p->head.time;
    c->audit_head_at_ms = clock_mono_ms() + c->conf->audit_head_s * 1000;
    log_begin(&l, LOG_INFO, "audit-head");
    log_u64(&l, "seq", p->head.seq);
    log_end(&l);
}

void audit_head_start(struct core *c)
{
    struct audit_pending *p = c->audit_pending;
    const char *why = NULL;
    struct signer *s;
    struct err e = {0};
    enum err_code code;

    if (!p) {
        p = c->audit_pending = calloc(1, sizeof(*p));
        if (!p)
            return;
        p->core = c;
        buf_init(&p->tbs, 4096);
    }
    if (p->busy || !c->audit_key[0] || c->seal == SEAL_RESTORE)
        return;
    s = signer_for_key(c, c->conf->audit_token, c->audit_key, &why);
    if (!s || core_may_sign(c, clock_now(), &e) != E_OK)
        return;
    c->audit_head_at_ms = clock_mono_ms() + HEAD_RETRY_MS;
    buf_reset(&p->tbs);
    memset(&p->head, 0, sizeof(p->head));
    code = audit_head_tbs(c->store, buf_bytes(&c->ledger_id), core_stamp(c), &p->head, &p->tbs, &e);
    if (code == E_NOT_FOUND)
        return;
    if (code != E_OK) {
        core_doubt(c, &e);
        log_failure("audit-head-failed", &e);
        return;
    }
    snprintf(p->head.key, sizeof(p->head.key), "%s", c->audit_key);
    if (signer_sign(s, c->audit_key, SIGN_AUDIT, buf_bytes(&p->tbs), SIGN_DEADLINE_MS, 0, on_head_signed, p, &e) != E_OK) {
        log_failure("audit-head-failed", &e);
        return;
    }
    p->busy = true;
}

/* Refusals of peers nobody knows are only counted: one entry a minute. */
static void refused_summary(struct core *c, int64_t now)
{
    struct err e = {0};

    if (c->refused_unauthenticated == 0 || now - c->refused_since < REFUSED_EVERY_S)
        return;
    if (core_begin(c, &e) != E_OK)
        return;
    if (core_audit(c, &ACTOR_CORE, "enroll-refused-unauthenticated", "", "est",
                   json_pack("{s:I, s:I}", "count", (json_int_t)c->refused_unauthenticated, "since",
                             (json_int_t)c->refused_since),
                   core_stamp(c), &e) != E_OK) {
        core_doubt(c, &e);
        core_rollback(c);
        log_failure("audit-failed", &e);
        return;
    }
    core_commit(c);
    c->refused_unauthenticated = 0;
    c->refused_since = now;
}

void audit_tick(struct core *c)
{
    uint64_t seq = 0;
    uint8_t hash[32];
    struct err e = {0};

    refused_summary(c, core_stamp(c));
    if (!c->audit_key[0])
        return;
    if (store_audit_last(c->store, &seq, hash, &e) != E_OK) {
        core_doubt(c, &e);
        return;
    }
    if (clock_mono_ms() >= c->audit_head_at_ms || seq >= c->audit_head_seq + c->conf->audit_head_entries)
        audit_head_start(c);
}
