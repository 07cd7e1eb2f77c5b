/* SPDX-License-Identifier: Apache-2.0 */
/* The core's side of the audit trail: entries, signed heads, high-water marks. */
#include <pthread.h>
#include <stdlib.h>
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

/* "alone": two persons were asked for and root needed none. false: there is no detail, or no memory. */
static bool with_alone(json_t *detail, const struct actor *by)
{
    return detail && (!by->alone || json_object_set_new(detail, "alone", json_true()) == 0);
}

enum err_code core_audit(struct core *c, const struct actor *by, const char *event, const char *domain,
                         const char *object, json_t *detail, int64_t now, struct err *e)
{
    AUTO_JSON *owned = by->alone && !detail ? json_object() : detail;
    AUTO(char) *text = with_alone(owned, by) ? json_dumps(owned, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    struct audit_entry entry = {
        .event = event,
        .actor = by->name,
        .actor_kind = by->kind,
        .domain = domain ? domain : "",
        .object = object,
        .detail = text,
        .request_digest = by->request_digest,
        .signature = actor_signature(by),
        .approvals = by->approvals,
    };

    if (owned && !text)
        return err_set(e, E_NOMEM, "audit %s", event);
    if (audit_append(c->store, &entry, now, e) != E_OK)
        return err_wrap(e, "audit %s", event);
    return E_OK;
}

/* ---- marks ---- */

/* Marks on their way to their file, from the loop or from a reader's thread; numbered in the order they were collected. */
struct marks_draft {
    uint64_t number;
    char dir[PATH_LEN];
    struct marks m;
};
static pthread_mutex_t marks_lock = PTHREAD_MUTEX_INITIALIZER; /* guards the file and the number */
static uint64_t marks_written;

/* NULL: logged, or a ledger behind its marks, which must not lower them before an operator has accepted that. */
static struct marks_draft *marks_draft_new(struct core *c)
{
    static uint64_t number;
    struct marks_draft *d = c->seal == SEAL_RESTORE ? NULL : calloc(1, sizeof(*d));
    struct err e = {0};

    if (!d)
        return NULL;
    d->number = ++number;
    snprintf(d->dir, sizeof(d->dir), "%s", c->conf->dir_marks);
    if (marks_collect(c->store, c->clock.floor, &d->m, &e) == E_OK)
        return d;
    core_doubt(c, &e);
    log_failure("marks-failed", &e);
    free(d);
    return NULL;
}

/* Older ones than those in the file are not written. */
static enum err_code marks_draft_write(const struct marks_draft *d, struct err *e)
{
    enum err_code code = E_OK;

    pthread_mutex_lock(&marks_lock);
    if (d->number > marks_written)
        code = marks_write(d->dir, &d->m, e);
    if (code == E_OK && d->number > marks_written)
        marks_written = d->number;
    pthread_mutex_unlock(&marks_lock);
    return code;
}

void marks_update(struct core *c)
{
    struct marks_draft *d = marks_draft_new(c);
    struct err e = {0};

    if (d && marks_draft_write(d, &e) != E_OK)
        log_failure("marks-failed", &e);
    free(d);
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

/* Signed, committed, then written to the second place by a reader's thread: four syncs that nobody's certificate waits for. */
struct audit_pending {
    struct reader_job job; /* first */
    struct core *core;
    struct audit_head_row head; /* borrows from the two */
    struct buf tbs, sig;
    bool busy;
    struct marks_draft *marks;
    char dir[PATH_LEN];
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
        buf_clear(&c->audit_pending->sig);
        free(c->audit_pending->marks);
        free(c->audit_pending);
        c->audit_pending = NULL;
    }
}

static enum err_code run_publish(struct reader_job *job, struct store *ledger, struct err *e)
{
    struct audit_pending *p = (struct audit_pending *)job;

    (void)ledger;
    if (audit_head_publish(p->dir, &p->head, e) != E_OK)
        return e->code;
    return p->marks ? marks_draft_write(p->marks, e) : E_OK;
}

static void on_published(struct reader_job *job, enum err_code code, const struct err *e)
{
    struct audit_pending *p = (struct audit_pending *)job;
    struct core *c = p->core;
    struct err own = *e;
    struct log_line l;

    if (code == E_BUSY) /* the thread had no time for it any more */
        code = run_publish(job, NULL, &own);
    p->busy = false;
    free(p->marks);
    p->marks = NULL;
    if (code != E_OK) {
        log_failure("audit-head-failed", &own);
        return;
    }
    c->audit_head_seq = p->head.seq;
    c->audit_head_time = p->head.time;
    c->audit_head_at_ms = clock_mono_ms() + c->conf->audit_head_s * 1000;
    log_begin(&l, LOG_INFO, "audit-head");
    log_u64(&l, "seq", p->head.seq);
    log_end(&l);
}

static enum err_code head_commit(struct core *c, const struct audit_head_row *head, struct err *e)
{
    if (core_begin(c, e) != E_OK)
        return e->code;
    if (store_audit_head_insert(c->store, head, e) != E_OK) {
        core_doubt(c, e);
        core_rollback(c);
        return e->code;
    }
    core_commit(c);
    return E_OK;
}

static void on_head_signed(void *arg, enum err_code code, const struct err *why, enum sig_alg alg, struct bytes sig)
{
    struct audit_pending *p = arg;
    struct core *c = p->core;
    struct err e = {0};

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
    buf_reset(&p->sig);
    buf_add_bytes(&p->sig, sig);
    p->head.tbs = buf_bytes(&p->tbs);
    p->head.signature = buf_bytes(&p->sig);
    p->head.sig_alg = (uint8_t)alg;
    if (head_commit(c, &p->head, &e) != E_OK) {
        log_failure("audit-head-failed", &e);
        return;
    }
    snprintf(p->dir, sizeof(p->dir), "%s", c->conf->dir_marks);
    p->marks = marks_draft_new(c);
    p->job = (struct reader_job){.run = run_publish, .done = on_published};
    p->busy = true;
    if (reader_submit(c->reader[READER_PAGES], &p->job, &e) != E_OK)
        on_published(&p->job, E_BUSY, &e);
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
        buf_init(&p->sig, SIGNATURE_MAX_LEN);
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

/* Refusals that are only counted: one entry a minute. */
static void refused_summary(struct core *c, struct refused_sum *sum, const char *event, const char *object, int64_t now)
{
    struct err e = {0};

    if (sum->count == 0 || now - sum->since < REFUSED_EVERY_S)
        return;
    if (core_begin(c, &e) != E_OK)
        return;
    if (core_audit(c, &ACTOR_CORE, event, "", object,
                   json_pack("{s:I, s:I}", "count", (json_int_t)sum->count, "since", (json_int_t)sum->since), core_stamp(c),
                   &e) != E_OK) {
        core_doubt(c, &e);
        core_rollback(c);
        log_failure("audit-failed", &e);
        return;
    }
    core_commit(c);
    *sum = (struct refused_sum){.since = now};
}

void audit_tick(struct core *c)
{
    uint64_t seq = 0;
    uint8_t hash[32];
    struct err e = {0};

    refused_summary(c, &c->refused_unknown, "enroll-refused-unauthenticated", "est", core_stamp(c));
    refused_summary(c, &c->refused_stations, "unit-refused-often", "factory", core_stamp(c));
    if (!c->audit_key[0])
        return;
    if (store_audit_last(c->store, &seq, hash, &e) != E_OK) {
        core_doubt(c, &e);
        return;
    }
    if (clock_mono_ms() >= c->audit_head_at_ms || seq >= c->audit_head_seq + c->conf->audit_head_entries)
        audit_head_start(c);
}
