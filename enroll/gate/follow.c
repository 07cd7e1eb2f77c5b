/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that follows the service's feed. It alone changes the table. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "enroll/client/https.h"
#include "enroll/gate/gate.h"

#define WAIT_S        5   /* how long the service holds an answer back when there is nothing new */
#define SLACK_S       10  /* for the answer of a long poll to arrive */
#define SNAPSHOT_S    600
#define RETRY_MS      200
#define RETRY_MAX_MS  2000
#define CONFLICT_MS   10000 /* what the service has is older than what we had: a snapshot is long, and it may stay so for hours */
#define SNAPSHOT_AGAIN_MS 70000
#define KEEP_EVERY_S  60  /* heartbeats that go to disk */
#define CHANGES_MANY  200000 /* in memory: a new snapshot is taken then */
#define PATH_ROOM     (FEED_SERVERS_TEXT_MAX + 128)
#define URL_MAX       (PATH_ROOM + 1024)

struct follow {
    struct gate *gate;
    struct https *https;
    size_t url;          /* the one in use */
    bool want_snapshot;
    int64_t snapshot_not_before_ms; /* after one that was older than what we have, or that the disk did not take */
    int64_t conflict_ms; /* when the service's snapshot was older than what we have; 0: it was not */
    bool unkept;         /* memory has what the disk did not take: nothing goes behind it before a whole snapshot is there */
    char unkept_why[GATE_ERROR_MAX];
    int64_t kept_at;     /* time of the last heartbeat on disk */
};

static bool stop(void *arg)
{
    return gate_is_stopping(arg);
}

static void note(struct gate *g, bool connected, const char *error)
{
    bool news;

    gate_lock(g);
    news = g->connected != connected;
    g->connected = connected;
    snprintf(g->feed_error, sizeof(g->feed_error), "%s", error);
    gate_unlock(g);
    if (news)
        log_note(connected ? LOG_INFO : LOG_WARN, connected ? "gate-feed-connected" : "gate-feed-lost", connected ? NULL : "error", error);
}

/* The new snapshot may not be of another ledger and not older than what we have. */
static enum err_code check_newer(struct gate *g, const struct table *fresh, struct err *e)
{
    const struct table *old = g->table; /* this thread alone sets it */

    if (!old)
        return store_check_mark(g->conf->state, table_ledger(fresh), table_seq(fresh), e);
    if (strcmp(table_ledger(old), table_ledger(fresh)) != 0)
        return err_set(e, E_DENIED, "the service's snapshot is of ledger %s, ours is %s", table_ledger(fresh), table_ledger(old));
    if (table_seq(fresh) < table_seq(old))
        return err_set(e, E_CONFLICT, "the service's snapshot ends at %" PRIu64 ", we have %" PRIu64, table_seq(fresh), table_seq(old));
    return E_OK;
}

static void table_set(struct gate *g, struct table *fresh)
{
    struct table *old;

    gate_lock(g);
    old = g->table;
    g->table = fresh;
    g->table_no++;
    pthread_cond_broadcast(&g->changed);
    gate_unlock(g);
    table_unref(old);
}

/* A disk that is full or broken keeps nobody admitted: what is known counts, and is kept again when it can be. */
static void not_kept(struct follow *f, const struct err *why)
{
    if (!f->unkept)
        log_failure("gate-state-not-kept", why);
    f->unkept = f->want_snapshot = true;
    snprintf(f->unkept_why, sizeof(f->unkept_why), "%s", why->msg);
    f->snapshot_not_before_ms = clock_mono_ms() + SNAPSHOT_AGAIN_MS;
}

/* E_CONFLICT: it is older than what we have (one snapshot serves everybody for a minute): the changes are followed on meanwhile. */
static enum err_code take_snapshot(struct follow *f, struct bytes text, struct err *e)
{
    struct gate *g = f->gate;
    const uint8_t *lf = text.len ? memchr(text.p, '\n', text.len) : NULL;
    AUTO_BUF payload = BUF_INIT(FEED_JWS_MAX);
    AUTO_BUF copy = BUF_INIT(TABLE_FILE_MAX);
    struct table *fresh = NULL;
    struct log_line l;

    if (!lf)
        return err_set(e, E_INVALID, "snapshot without a signature");
    if (trust_payload(g->trust, BYTES(text.p, (size_t)(lf - text.p)), FEED_SNAPSHOT_TYP, false, &payload, e) != E_OK)
        return e->code;
    buf_add_bytes(&copy, text);
    if (!buf_ok(&copy))
        return buf_err(&copy, e, "snapshot of %zu octets", text.len);
    if (table_new(&copy, buf_bytes(&payload), &fresh, e) != E_OK)
        return e->code;
    if ((g->table && trust_signer_stands(g->table, BYTES(text.p, (size_t)(lf - text.p)), FEED_SNAPSHOT_TYP, e) != E_OK) ||
        trust_signer_stands(fresh, BYTES(text.p, (size_t)(lf - text.p)), FEED_SNAPSHOT_TYP, e) != E_OK || check_newer(g, fresh, e) != E_OK) {
        table_unref(fresh);
        return e->code;
    }
    f->want_snapshot = false;
    if (store_put_snapshot(g->conf->state, text, table_ledger(fresh), table_seq(fresh), e) == E_OK)
        f->unkept = false;
    else
        not_kept(f, e);
    log_begin(&l, LOG_INFO, "gate-snapshot");
    log_u64(&l, "seq", table_seq(fresh));
    log_u64(&l, "certificates", table_base_count(fresh));
    log_end(&l);
    f->kept_at = table_time(fresh);
    table_set(g, fresh);
    return E_OK;
}

static enum err_code apply(struct gate *g, struct bytes payload, size_t *rows, struct err *e)
{
    enum err_code code;
    size_t before;

    gate_lock(g);
    before = table_change_count(g->table);
    code = table_apply(g->table, payload, e);
    *rows = code == E_OK ? table_change_count(g->table) - before : 0;
    if (*rows)
        pthread_cond_broadcast(&g->changed);
    gate_unlock(g);
    return code;
}

static enum err_code take_changes(struct follow *f, struct bytes jws, struct err *e)
{
    struct gate *g = f->gate;
    AUTO_BUF payload = BUF_INIT(FEED_JWS_MAX);
    size_t rows = 0;
    enum err_code code = trust_payload(g->trust, jws, FEED_CHANGES_TYP, false, &payload, e);

    if (code == E_OK)
        code = trust_signer_stands(g->table, jws, FEED_CHANGES_TYP, e);
    if (code == E_OK)
        code = apply(g, buf_bytes(&payload), &rows, e);
    if (code == E_CONFLICT)
        f->want_snapshot = true;
    if (code != E_OK)
        return code;
    f->want_snapshot |= table_change_count(g->table) > CHANGES_MANY || table_names_stranger(g->table);
    if (f->unkept || (rows == 0 && table_time(g->table) < f->kept_at + KEEP_EVERY_S))
        return E_OK;
    f->kept_at = table_time(g->table);
    code = store_add_changes(g->conf->state, jws, table_ledger(g->table), table_seq(g->table), e);
    if (code == E_BUSY)
        f->want_snapshot = true;
    else if (code != E_OK)
        not_kept(f, e);
    return E_OK;
}

static bool request(struct follow *f, const char *path, long timeout_s, struct https_answer *a)
{
    char url[URL_MAX];

    snprintf(url, sizeof(url), "%s%s", f->gate->conf->urls.v[f->url], path);
    return https_call(f->https, &(struct https_request){.url = url, .timeout_s = timeout_s}, a);
}

/* With its question it says what its servers act on, so that the service can tell who is behind. */
static void changes_path(struct gate *g, struct buf *out)
{
    size_t n = g->conf->drivers_n < FEED_SERVERS_MAX ? g->conf->drivers_n : FEED_SERVERS_MAX;
    struct feed_server server[FEED_SERVERS_MAX] = {0};

    gate_lock(g);
    for (size_t i = 0; i < n; i++) {
        snprintf(server[i].name, sizeof(server[i].name), "%s", g->drivers[i].conf->name);
        server[i].seq = g->drivers[i].applied_seq;
        server[i].at = g->drivers[i].applied_at_ms / 1000;
    }
    gate_unlock(g);
    buf_printf(out, "/v1/feed/changes?after=%" PRIu64 "&wait=%d%s", table_seq(g->table), WAIT_S, n ? "&applied=" : "");
    feed_servers_write(out, server, n);
    buf_add_u8(out, 0);
}

/* One request and what follows from it. */
static enum err_code step(struct follow *f, struct err *e)
{
    bool snapshot = !f->gate->table || (f->want_snapshot && clock_mono_ms() >= f->snapshot_not_before_ms);
    struct https_answer a = {0};
    AUTO_BUF path = BUF_INIT(PATH_ROOM);
    enum err_code code;
    bool came;

    if (!snapshot)
        changes_path(f->gate, &path);
    if (!buf_ok(&path))
        return buf_err(&path, e, "changes");
    came = snapshot ? request(f, "/v1/feed/snapshot", SNAPSHOT_S, &a) : request(f, (const char *)path.p, WAIT_S + SLACK_S, &a);
    if (!came)
        code = err_set(e, E_IO, "%s", a.error);
    else if (a.status != 200 && (a.status != 410 || snapshot))
        code = err_set(e, E_IO, "the service answered %ld", a.status);
    else if (a.status == 410) {
        f->want_snapshot = true;
        f->snapshot_not_before_ms = f->conflict_ms ? f->conflict_ms + CONFLICT_MS : 0;
        code = clock_mono_ms() >= f->snapshot_not_before_ms
                   ? E_OK
                   : err_set(e, E_CONFLICT, "the service's log ends before row %" PRIu64 ", which we have", table_seq(f->gate->table));
    } else
        code = snapshot ? take_snapshot(f, BYTES(a.body, a.body_len), e) : take_changes(f, BYTES(a.body, a.body_len), e);
    https_answer_clear(&a);
    if (snapshot)
        f->conflict_ms = code == E_CONFLICT ? clock_mono_ms() : 0;
    if (snapshot && code == E_CONFLICT)
        f->snapshot_not_before_ms = f->conflict_ms + SNAPSHOT_AGAIN_MS;
    return code;
}

static void rest(struct gate *g, int64_t ms)
{
    int64_t until = clock_mono_ms() + ms;

    gate_lock(g);
    while (!g->stopping && clock_mono_ms() < until)
        gate_wait(g, until - clock_mono_ms());
    gate_unlock(g);
}

void *follow_run(void *arg)
{
    struct gate *g = arg;
    const struct gate_conf *c = g->conf;
    struct follow f = {.gate = g};
    int64_t retry_ms = RETRY_MS;

    f.https = https_new(&(struct https_options){.ca = c->ca, .cert = c->cert, .key = c->key, .connect_s = 5, .body_max = TABLE_FILE_MAX,
                                                 .stop = stop, .stop_arg = g});
    while (f.https && !gate_is_stopping(g)) {
        struct err e = {0};

        if (step(&f, &e) == E_OK) {
            note(g, true, f.unkept ? f.unkept_why : "");
            retry_ms = RETRY_MS;
            continue;
        }
        if (gate_is_stopping(g))
            break;
        note(g, false, e.msg);
        f.url = (f.url + 1) % c->urls.n;
        rest(g, e.code == E_CONFLICT && !g->table ? CONFLICT_MS : retry_ms);
        retry_ms = retry_ms * 2 < RETRY_MAX_MS ? retry_ms * 2 : RETRY_MAX_MS;
    }
    if (!f.https)
        log_note(LOG_ERROR, "gate-feed-lost", "error", "the HTTPS client could not be made");
    https_free(f.https);
    return NULL;
}
