/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inkan-status: OCSP answers, access decisions and the revocation feed from a replica of the status log. Links: one to the core (ca/follow.h), one to the signer
 * of each token that holds responder keys (hsm/signer.h), one to each front (ca/service.h). It opens no ledger file and
 * holds no key.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/chan.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/openmetrics.h"
#include "base/proc.h"
#include "ca/decider.h"
#include "ca/follower.h"
#include "ca/ocsp.h"
#include "ca/replica.h"
#include "ca/responder.h"
#include "ca/service.h"
#include "hsm/signer.h"

#define TICK_MS           100
#define KEYS_RETRY_TICKS  50                /* 5 s: keys a signer did not find are offered again */
#define KEEP_TIME_TICKS   300               /* 30 s */
#define REST_TICKS        3                 /* without a row: nobody waits for the next one */
#define DRAIN_TICKS       30                /* 3 s: longer than a request may take */
#define FRONT_QUEUE_MAX   (8 * 1024 * 1024) /* octets waiting for a front that does not read */
#define KEYS_PER_TOKEN    256
#define CACHE_MAX         50000
#define JOBS_MAX          4096
#define WAITERS_MAX       16384
#define NONCE_IN_FLIGHT   256
#define UNKNOWN_IN_FLIGHT 128
#define FEED_DEADLINE_MS  3000
#define SERVED_MAX        4 /* messages of each front, before each message of the core */

struct status;

struct front {
    struct status *st;
    struct chan *chan;
    uint32_t index;
    LIST_ENTRY(front) link;
};

struct key_state {
    char name[ID_MAX_LEN * 2 + 1];
    enum err_code code; /* what the signer said last: E_OK = usable; E_PENDING = nothing yet */
};

/* The link to one token's signer, and which of our keys it has checked. */
struct token {
    struct status *st;
    struct signer *signer;
    char name[ID_MAX_LEN + 1];
    struct key_state keys[KEYS_PER_TOKEN];
    size_t keys_n;
    uint8_t told[32]; /* digest of the keys as last told */
    bool asking;      /* SIGNER_KEYS under way, for keys[] as it is */
    bool ask_again;   /* the issuers changed meanwhile */
    bool gone;        /* free it once nothing is under way */
    LIST_ENTRY(token) link;
};

/* What came of the signatures of one token: kept over its links. */
struct token_stats {
    LIST_ENTRY(token_stats) link;
    char name[ID_MAX_LEN + 1];
    struct signer_stats stats;
};

struct status {
    struct proc *proc;
    struct replica *replica;
    struct responder *responder;
    struct follower *follower;
    struct decider *decider; /* NULL: decisions are off */
    struct event *ticker;
    uint64_t ticks;
    uint64_t seen_seq, seen_tick; /* when the newest row came */
    bool stopping;
    uint64_t stop_at_tick;
    LIST_HEAD(, front) fronts;
    LIST_HEAD(, token) tokens;
    LIST_HEAD(, token_stats) stats;
};

/* ---- ends ---- */

/* A damaged replica is not kept: the core sends it all again. One that only could not be written goes on from its seq.
 */
static void doubt(void *arg, const char *event, const struct err *e)
{
    struct status *st = arg;

    if (replica_is_damaged(st->replica)) {
        replica_discard(st->replica);
        event = "replica-discarded";
    }
    proc_die(event, PROC_EXIT_RESTART, e);
}

static void replica_bad(void *arg, const struct err *e)
{
    doubt(arg, "replica-failed", e);
}

/* ---- signers ---- */

static struct token *find_token(struct status *st, const char *name)
{
    struct token *t;

    LIST_FOREACH(t, &st->tokens, link)
    if (!t->gone && strcmp(t->name, name) == 0)
        return t;
    return NULL;
}

static const struct key_state *find_key(const struct token *t, const char *name)
{
    for (size_t i = 0; i < t->keys_n; i++)
        if (strcmp(t->keys[i].name, name) == 0)
            return &t->keys[i];
    return NULL;
}

static void tell_keys(struct token *t);

static void log_key(const struct token *t, const struct key_state *k, const struct err *why)
{
    bool passing = k->code == E_OK || k->code == E_TOKEN || k->code == E_BUSY;
    struct log_line l;

    log_begin(&l, passing ? LOG_INFO : LOG_ERROR, "signer-key");
    log_str(&l, "token", t->name);
    log_str(&l, "key", k->name);
    log_str(&l, "ready", k->code == E_OK ? "yes" : "no");
    if (k->code != E_OK)
        log_err(&l, why);
    log_end(&l);
}

static void on_keys(void *arg, const struct err *results, size_t n)
{
    struct token *t = arg;

    t->asking = false;
    if (t->gone) {
        free(t);
        return;
    }
    for (size_t i = 0; i < n && n == t->keys_n; i++) {
        struct key_state *k = &t->keys[i];

        if (k->code == results[i].code)
            continue;
        k->code = results[i].code;
        log_key(t, k, &results[i]);
    }
    if (t->ask_again)
        tell_keys(t);
}

static void digest_keys(const struct signer_key *keys, size_t n, uint8_t out[32])
{
    AUTO_BUF all = BUF_INIT(KEYS_PER_TOKEN * 2 * SPKI_MAX_LEN);

    for (size_t i = 0; i < n; i++) {
        buf_printf(&all, "%s %zu %zu ", keys[i].name, keys[i].spki.len, keys[i].issuer_name.len);
        buf_add_bytes(&all, keys[i].cka_id);
        buf_add_bytes(&all, keys[i].spki);
        buf_add_bytes(&all, keys[i].issuer_name);
    }
    sha256(buf_bytes(&all), out);
}

static bool all_ready(const struct token *t)
{
    for (size_t i = 0; i < t->keys_n; i++)
        if (t->keys[i].code != E_OK)
            return false;
    return true;
}

/* Names our keys to a signer, unless it knows them. Those it had checked count as usable while it answers. */
static void tell_keys(struct token *t)
{
    struct signer_key keys[KEYS_PER_TOKEN];
    struct key_state states[KEYS_PER_TOKEN] = {0};
    uint8_t digest[32];
    size_t n;
    struct err e;

    t->ask_again = t->asking;
    if (t->asking)
        return;
    n = responder_keys(t->st->responder, t->name, keys, ARRAY_LEN(keys));
    if (t->st->decider && n < ARRAY_LEN(keys) && feed_key(decider_feed(t->st->decider), t->name, &keys[n]))
        n++;
    digest_keys(keys, n, digest);
    if (memcmp(digest, t->told, sizeof(digest)) == 0 && all_ready(t))
        return;
    for (size_t i = 0; i < n; i++) {
        const struct key_state *old = find_key(t, keys[i].name);

        snprintf(states[i].name, sizeof(states[i].name), "%s", keys[i].name);
        states[i].code = old ? old->code : E_PENDING;
    }
    memcpy(t->keys, states, sizeof(t->keys));
    t->keys_n = n;
    memcpy(t->told, digest, sizeof(digest));
    if (n == 0)
        return;
    if (signer_keys(t->signer, keys, n, on_keys, t, &e) == E_OK)
        t->asking = true;
    else
        log_failure("signer-keys-failed", &e);
}

static void token_drop(struct token *t)
{
    struct signer *signer = t->signer;
    bool asking = t->asking;

    LIST_REMOVE(t, link);
    t->gone = true;
    signer_free(signer); /* answers what is under way with E_TOKEN; on_keys, when it is among it, frees `t` */
    if (!asking)
        free(t);
}

static void on_signer_gone(struct signer *s, void *arg)
{
    struct token *t = arg;
    char peer[PROC_NAME_MAX + 1];

    (void)s;
    log_note(LOG_WARN, "signer-lost", "token", t->name);
    snprintf(peer, sizeof(peer), "signer-%s", t->name);
    proc_link_broken(t->st->proc, peer);
    token_drop(t);
}

static struct token_stats *stats_of(struct status *st, const char *token)
{
    struct token_stats *t;

    LIST_FOREACH(t, &st->stats, link)
    {
        if (strcmp(t->name, token) == 0)
            return t;
    }
    t = calloc(1, sizeof(*t));
    if (t) {
        snprintf(t->name, sizeof(t->name), "%s", token);
        LIST_INSERT_HEAD(&st->stats, t, link);
    }
    return t;
}

static void link_signer(struct status *st, const char *peer, int fd)
{
    static const char prefix[] = "signer-";
    const char *name = strncmp(peer, prefix, sizeof(prefix) - 1) == 0 ? peer + sizeof(prefix) - 1 : "";
    struct token *t = *name ? find_token(st, name) : NULL;
    struct token_stats *stats;
    struct err e;

    if (t)
        token_drop(t);
    if (!*name || strlen(name) > ID_MAX_LEN) {
        close(fd);
        log_note(LOG_ERROR, "link-refused", "peer", peer);
        return;
    }
    t = calloc(1, sizeof(*t));
    if (t) {
        t->st = st;
        snprintf(t->name, sizeof(t->name), "%s", name);
        t->signer = signer_new(proc_base(st->proc), fd, name, on_signer_gone, t, &e);
    } else {
        err_set(&e, E_NOMEM, "out of memory for a link");
    }
    if (!t || !t->signer)
        proc_die("link-failed", PROC_EXIT_RESTART, &e); /* nobody would link us again */
    signer_batch(t->signer);
    stats = stats_of(st, name);
    signer_measure(t->signer, stats ? &stats->stats : NULL);
    LIST_INSERT_HEAD(&st->tokens, t, link);
    log_note(LOG_INFO, "signer-linked", "token", name);
    tell_keys(t);
}

static bool key_ready(void *arg, const char *token, const char *key)
{
    const struct token *t = find_token(arg, token);
    const struct key_state *k = t ? find_key(t, key) : NULL;

    return k && k->code == E_OK;
}

static enum err_code sign_ocsp(void *arg, const char *token, const char *key, struct bytes tbs, uint32_t deadline_ms,
                               signer_done_fn done, void *done_arg, struct err *e)
{
    struct token *t = find_token(arg, token);

    if (!t)
        return err_set(e, E_TOKEN, "no signer of token \"%s\"", token);
    return signer_sign(t->signer, key, SIGN_OCSP, tbs, deadline_ms, 0, done, done_arg, e);
}

static enum err_code sign_feed(void *arg, const char *token, const char *key, struct bytes input, signer_done_fn done, void *done_arg,
                               struct err *e)
{
    struct token *t = find_token(arg, token);

    if (!t || !key_ready(arg, token, key))
        return err_set(e, E_TOKEN, "the signer of token \"%s\" has no feed key ready", token);
    return signer_sign(t->signer, key, SIGN_FEED, input, FEED_DEADLINE_MS, 0, done, done_arg, e);
}

static void issuers_changed(void *arg)
{
    struct status *st = arg;
    struct token *t;

    LIST_FOREACH(t, &st->tokens, link)
    tell_keys(t);
}

static void keys_retry(struct status *st)
{
    struct token *t;

    LIST_FOREACH(t, &st->tokens, link)
    if (!all_ready(t))
        tell_keys(t);
}

/* ---- the core ---- */

static bool offers(void *arg, const char *issuer)
{
    const struct status *st = arg;
    const struct conf_ca *ca = conf_find_ca(proc_conf(st->proc), issuer);

    return ca && ca->ocsp_token[0];
}

static bool ask_core(void *arg, uint64_t ask_id)
{
    const struct status *st = arg;

    return follower_ask(st->follower, ask_id);
}

static void tell_state(void *arg, const char *text)
{
    const struct status *st = arg;

    proc_state(st->proc, text);
}

/* ---- fronts ---- */

static void front_drop(struct front *f)
{
    responder_forget_owner(f->st->responder, f);
    if (f->st->decider)
        decider_forget_owner(f->st->decider, f);
    chan_free(f->chan);
    LIST_REMOVE(f, link);
    free(f);
}

/* hooks.answer. A send that fails is a broken link: on_front_gone follows from the loop. */
static void answer(void *arg, void *owner, uint64_t id, const struct sts_ocsp_result *result)
{
    struct front *f = owner;
    AUTO_MSG m;
    struct err e = {0};

    (void)arg;
    msg_begin(&m, STS_OCSP_RESULT, id);
    sts_ocsp_result_encode(&m, result);
    if (chan_send(f->chan, &m, -1, &e) != E_OK && e.code == E_NOMEM)
        proc_die("link-send-failed", PROC_EXIT_RESTART, &e); /* the front would wait for it in vain */
    if (e.code != E_OK)
        log_failure("front-unreachable", &e);
}

static enum err_code on_ocsp(struct front *f, struct msg_reader *r, struct err *e)
{
    struct bytes request = msg_get_bytes(r, OCSP_REQUEST_MAX);
    uint64_t id = r->request_id;

    if (msg_read_end(r, e) != E_OK)
        return err_wrap(e, "STS_OCSP");
    if (f->st->stopping) {
        struct sts_ocsp_result res = {.response = ocsp_error(OCSP_TRY_LATER), .is_error = true};

        answer(f->st, f, id, &res);
        return E_OK;
    }
    responder_request(f->st->responder, f, id, request);
    return E_OK;
}

/* As answer(): a send that fails is a broken link. */
static void send_front(struct front *f, struct msg *m, int fd)
{
    struct err e = {0};

    if (chan_send(f->chan, m, fd, &e) != E_OK && e.code == E_NOMEM)
        proc_die("link-send-failed", PROC_EXIT_RESTART, &e);
    if (e.code != E_OK)
        log_failure("front-unreachable", &e);
}

static void answer_decided(void *arg, void *owner, uint64_t id, const struct sts_decided *all)
{
    AUTO_MSG m;

    (void)arg;
    msg_begin(&m, STS_DECIDED, id);
    sts_decided_encode(&m, all);
    send_front(owner, &m, -1);
}

static void answer_changes(void *arg, void *owner, uint64_t id, enum err_code code, struct bytes jws)
{
    AUTO_MSG m;

    (void)arg;
    msg_begin(&m, STS_CHANGES_RESULT, id);
    msg_put_u8(&m, (uint8_t)code);
    msg_put_bytes(&m, jws);
    send_front(owner, &m, -1);
}

static void answer_snapshot(void *arg, void *owner, uint64_t id, enum err_code code, const char *etag, int fd)
{
    AUTO_MSG m;

    (void)arg;
    msg_begin(&m, STS_SNAPSHOT_RESULT, id);
    msg_put_u8(&m, (uint8_t)code);
    msg_put_str(&m, etag);
    send_front(owner, &m, fd);
}

static void device_seen(void *arg, uint64_t device)
{
    const struct status *st = arg;

    follower_tell_seen(st->follower, device);
}

static void gateway_heard(void *arg, const struct follow_gateway *gateway)
{
    const struct status *st = arg;

    follower_tell_gateway(st->follower, gateway);
}

static enum err_code on_decide(struct front *f, struct msg_reader *r, struct err *e)
{
    static struct sts_decide q;   /* 30 KiB; one thread */
    static struct sts_decided no; /* without decisions */
    uint64_t id = r->request_id;

    if (sts_decide_decode(r, &q, e) != E_OK)
        return err_wrap(e, "STS_DECIDE");
    no.code = E_BUSY;
    if (f->st->decider && !f->st->stopping)
        decider_question(f->st->decider, f, id, &q);
    else
        answer_decided(f->st, f, id, &no);
    return E_OK;
}

static enum err_code on_feed(struct front *f, struct msg_reader *r, struct err *e)
{
    bool changes = r->type == STS_CHANGES;
    uint64_t id = r->request_id, after = 0;
    struct feed_server server[FEED_SERVERS_MAX];
    uint32_t wait_s = 0;
    struct sts_caller caller;
    enum err_code code;
    size_t n = 0;

    sts_caller_get(r, &caller);
    if (changes) {
        after = msg_get_u64(r);
        wait_s = msg_get_u32(r);
        if (!feed_servers_read(msg_get_bytes(r, FEED_SERVERS_TEXT_MAX), server, &n))
            r->failed = true;
    }
    if (msg_read_end(r, e) != E_OK)
        return err_wrap(e, changes ? "STS_CHANGES" : "STS_SNAPSHOT");
    code = f->st->decider && !f->st->stopping ? decider_caller(f->st->decider, &caller) : E_BUSY;
    if (code == E_OK && changes)
        decider_heard(f->st->decider, &caller, after, server, n);
    if (code != E_OK && changes)
        answer_changes(f->st, f, id, code, (struct bytes){NULL, 0});
    else if (code != E_OK)
        answer_snapshot(f->st, f, id, code, "", -1);
    else if (changes)
        feed_get_changes(decider_feed(f->st->decider), f, id, &caller, after, wait_s);
    else
        feed_get_snapshot(decider_feed(f->st->decider), f, id, &caller);
    return E_OK;
}

static enum err_code on_health(struct front *f, struct msg_reader *r, struct err *e)
{
    const struct status *st = f->st;
    bool current = follower_is_current(st->follower), sealed = follower_is_sealed(st->follower);
    bool able = responder_is_able(st->responder), ready = current && !sealed && able && !st->stopping;
    AUTO_BUF json = BUF_INIT(MSG_MAX_LEN / 2);
    AUTO_MSG m;
    uint64_t id = r->request_id;

    if (msg_read_end(r, e) != E_OK)
        return err_wrap(e, "STS_HEALTH");
    buf_printf(&json, "{\"ready\":%s,\"current\":%s,\"able\":%s,\"sealed\":%s,\"core\":%s,\"seq\":%llu,",
               ready ? "true" : "false", current ? "true" : "false", able ? "true" : "false",
               sealed ? "true" : "false", follower_is_linked(st->follower) ? "true" : "false",
               (unsigned long long)replica_seq(st->replica));
    responder_health(st->responder, &json);
    if (st->decider) {
        buf_add_str(&json, ",");
        decider_health(st->decider, &json);
    }
    buf_add_str(&json, "}");
    buf_add_u8(&json, 0);
    msg_begin(&m, STS_HEALTH_RESULT, id);
    msg_put_bool(&m, ready);
    msg_put_str(&m, buf_ok(&json) ? (const char *)json.p : "{}"); /* a thousand issuers do not fit */
    return chan_send(f->chan, &m, -1, e);
}

static void write_metrics(struct status *st, struct buf *out)
{
    const struct token_stats *t;
    const struct token *k;

    om_family(out, "inkan_status_current", "gauge", "", "1 when the status process has all the core told it to and may answer.");
    om_sample(out, "inkan_status_current", follower_is_current(st->follower) && !follower_is_sealed(st->follower), NULL);
    om_family(out, "inkan_replica_seq", "gauge", "", "Newest row of the status log in the replica.");
    om_sample(out, "inkan_replica_seq", (double)replica_seq(st->replica), NULL);
    responder_metrics(st->responder, out);
    if (st->decider)
        decider_metrics(st->decider, out);
    om_family(out, "inkan_status_sign_seconds", "histogram", "seconds",
              "Signatures the status process asked of a token, from the call to its answer.");
    LIST_FOREACH(t, &st->stats, link)
    {
        om_histogram(out, "inkan_status_sign_seconds", &t->stats.latency, "token", t->name);
    }
    om_family(out, "inkan_status_sign_errors", "counter", "", "Signatures the status process asked of a token and did not get, by class of error.");
    LIST_FOREACH(t, &st->stats, link)
    {
        for (int code = E_OK + 1; code < ERR_CODES_COUNT; code++)
            if (code == E_TOKEN || code == E_BUSY || t->stats.failed[code])
                om_sample(out, "inkan_status_sign_errors_total", (double)t->stats.failed[code], "token", t->name, "class",
                          err_code_name((enum err_code)code), NULL);
    }
    om_family(out, "inkan_status_signer_waiting", "gauge", "", "Signatures the status process waits for, by token.");
    LIST_FOREACH(k, &st->tokens, link)
    {
        om_sample(out, "inkan_status_signer_waiting", (double)(k->signer ? signer_pending(k->signer) : 0), "token", k->name, NULL);
    }
}

static enum err_code on_metrics(struct front *f, struct msg_reader *r, struct err *e)
{
    AUTO_BUF text = BUF_INIT(OPENMETRICS_MAX);
    AUTO_FD int fd = -1;
    AUTO_MSG m;
    struct err why = {0};
    uint64_t id = r->request_id;

    msg_begin(&m, STS_METRICS_RESULT, id);
    if (msg_read_end(r, e) != E_OK)
        return err_wrap(e, "STS_METRICS");
    write_metrics(f->st, &text);
    if (buf_ok(&text))
        fd = memfd_of("metrics", buf_bytes(&text), &why);
    else
        err_set(&why, E_NOMEM, "metrics");
    if (fd < 0)
        log_failure("metrics-failed", &why);
    return chan_send(f->chan, &m, fd, e);
}

static void on_front_message(struct chan *c, struct msg_reader *r, int fd, void *arg)
{
    struct front *f = arg;
    struct err e = {0};

    if (fd >= 0) {
        close(fd);
        err_set(&e, E_INVALID, "a descriptor beside message 0x%04x", r->type);
    } else if (r->type == STS_OCSP) {
        on_ocsp(f, r, &e);
    } else if (r->type == STS_HEALTH) {
        on_health(f, r, &e);
    } else if (r->type == STS_METRICS) {
        on_metrics(f, r, &e);
    } else if (r->type == STS_DECIDE) {
        on_decide(f, r, &e);
    } else if (r->type == STS_CHANGES || r->type == STS_SNAPSHOT) {
        on_feed(f, r, &e);
    } else {
        err_set(&e, E_INVALID, "unknown message type 0x%04x", r->type);
    }
    if (e.code != E_OK)
        chan_fail(c, &e);
}

static void on_front_gone(struct chan *c, const struct err *why, void *arg)
{
    struct front *f = arg;
    struct log_line l;

    (void)c;
    log_begin(&l, LOG_WARN, "front-lost");
    log_u64(&l, "front", f->index);
    log_err(&l, why);
    log_end(&l);
    front_drop(f);
}

static void link_front(struct status *st, uint32_t index, int fd)
{
    static const struct chan_ops ops = {on_front_message, on_front_gone};
    struct front *f, *next;
    struct err e;

    for (f = LIST_FIRST(&st->fronts); f; f = next) {
        next = LIST_NEXT(f, link);
        if (f->index == index)
            front_drop(f);
    }
    f = calloc(1, sizeof(*f));
    if (!f) { /* the front sees its end closed, and is started again to be linked */
        close(fd);
        return;
    }
    f->st = st;
    f->index = index;
    f->chan = chan_new(proc_base(st->proc), fd, &ops, f, FRONT_QUEUE_MAX, &e);
    if (!f->chan) {
        log_failure("link-failed", &e);
        free(f);
        return;
    }
    chan_batch(f->chan);
    LIST_INSERT_HEAD(&st->fronts, f, link);
}

/* Some of their questions: rows that say who is revoked do not wait for a front that floods. No message of a front drops a front. */
static bool serve_fronts(void *arg)
{
    struct status *st = arg;
    struct front *f;
    bool some = false;

    LIST_FOREACH(f, &st->fronts, link)
    {
        some |= chan_serve(f->chan, SERVED_MAX);
    }
    return some;
}

/* ---- the process ---- */

static size_t at_most(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The live lanes may hold half and a quarter of a signer's queue: answers that will be kept always find room. */
static void set_limits(struct status *st)
{
    const struct conf *conf = proc_conf(st->proc);
    size_t queue = 2 * NONCE_IN_FLIGHT;
    struct responder_limits l = {
        .unissued_revoked = conf->ocsp_unissued_revoked,
        .live_rate = conf->ocsp_nonce_rate,
        .jobs_max = JOBS_MAX,
        .waiters_max = WAITERS_MAX,
        .cache_max = CACHE_MAX,
    };

    for (size_t i = 0; i < conf->cas_n; i++) {
        const struct conf_token *t = conf_find_token(conf, conf->cas[i].ocsp_token);

        if (t)
            queue = at_most(queue, t->queue);
    }
    l.nonce_in_flight = at_most(NONCE_IN_FLIGHT, queue / 2 + 1);
    l.unknown_in_flight = at_most(UNKNOWN_IN_FLIGHT, queue / 4 + 1);
    l.signing_max = queue - queue / 8;
    responder_set_limits(st->responder, &l);
}

static time_t hook_now(void *arg)
{
    (void)arg;
    return clock_now();
}

static int64_t hook_mono_ms(void *arg)
{
    (void)arg;
    return clock_mono_ms();
}

static void keep_time(struct status *st)
{
    struct err e;

    if (replica_keep_time(st->replica, responder_time(st->responder), &e) != E_OK)
        log_failure("replica-failed", &e); /* rows matter more: the next ones that fail end the process */
}

static bool is_drained(const struct status *st)
{
    const struct front *f;

    if (responder_pending(st->responder))
        return false;
    LIST_FOREACH(f, &st->fronts, link)
    if (chan_queued(f->chan))
        return false;
    return true;
}

static void rest(struct status *st)
{
    if (st->seen_seq != replica_seq(st->replica)) {
        st->seen_seq = replica_seq(st->replica);
        st->seen_tick = st->ticks;
    } else if (st->ticks - st->seen_tick == REST_TICKS) {
        follower_rest(st->follower);
    }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct status *st = arg;

    (void)fd, (void)what;
    st->ticks++;
    responder_tick(st->responder);
    if (st->decider)
        decider_tick(st->decider);
    rest(st);
    if (st->ticks % KEYS_RETRY_TICKS == 0)
        keys_retry(st);
    if (st->ticks % KEEP_TIME_TICKS == 0)
        keep_time(st);
    if (st->stopping && (is_drained(st) || st->ticks >= st->stop_at_tick))
        proc_exit_loop(st->proc, PROC_EXIT_OK);
}

static void on_link(struct proc *p, enum proc_kind peer, uint32_t index, const char *name, int fd, void *arg)
{
    struct status *st = arg;

    (void)p;
    switch (peer) {
    case PROC_CORE:
        follower_link(st->follower, fd);
        break;
    case PROC_SIGNER:
        link_signer(st, name, fd);
        break;
    case PROC_FRONT:
        link_front(st, index, fd);
        break;
    default:
        log_note(LOG_ERROR, "link-refused", "peer", name);
        close(fd);
    }
}

static void on_listen(struct proc *p, const char *name, int fd, void *arg)
{
    (void)p, (void)arg;
    log_note(LOG_ERROR, "listener-refused", "name", name);
    close(fd);
}

static void on_go(struct proc *p, void *arg)
{
    (void)arg;
    proc_ready(p); /* it answers: tryLater until it is current */
}

static void on_reload(struct proc *p, void *arg)
{
    struct err e;

    if (proc_reload_conf(p, &e) != E_OK) {
        log_failure("reload-refused", &e);
        return;
    }
    set_limits(arg);
    if (((struct status *)arg)->decider)
        decider_set_conf(((struct status *)arg)->decider, proc_conf(p));
    log_note(LOG_INFO, "reloaded", NULL, NULL);
}

static void on_stop(struct proc *p, void *arg)
{
    struct status *st = arg;

    (void)p;
    st->stopping = true;
    st->stop_at_tick = st->ticks + DRAIN_TICKS;
}

static enum err_code open_replica(struct status *st, struct err *e)
{
    char dir[512];
    struct err why;

    if (snprintf(dir, sizeof(dir), "%s/status", proc_conf(st->proc)->dir_state) >= (int)sizeof(dir))
        return err_set(e, E_INVALID, "the name of the state directory is too long");
    if (replica_open(dir, proc_conf(st->proc)->decisions, &st->replica, &why, e) != E_OK)
        return e->code;
    if (why.code != E_OK)
        log_failure("replica-rebuilt", &why);
    return E_OK;
}

static enum err_code make_decider(struct status *st, struct err *e)
{
    const struct decider_hooks hooks = {
        .arg = st,
        .now = hook_now,
        .mono_ms = hook_mono_ms,
        .ask = ask_core,
        .answer = answer_decided,
        .seen = device_seen,
        .gateway = gateway_heard,
        .bad = replica_bad,
    };
    const struct feed_hooks feed_hooks = {
        .arg = st,
        .now = hook_now,
        .mono_ms = hook_mono_ms,
        .sign = sign_feed,
        .changes = answer_changes,
        .snapshot = answer_snapshot,
    };

    st->decider = decider_new(proc_base(st->proc), st->replica, &hooks, &feed_hooks, proc_conf(st->proc), e);
    if (!st->decider)
        return e->code;
    follower_set_decider(st->follower, st->decider);
    return E_OK;
}

static enum err_code set_up(struct status *st, struct err *e)
{
    const struct responder_hooks hooks = {
        .arg = st,
        .now = hook_now,
        .mono_ms = hook_mono_ms,
        .ask = ask_core,
        .key_ready = key_ready,
        .sign = sign_ocsp,
        .answer = answer,
        .replica_bad = replica_bad,
    };
    const struct follower_ops ops = {
        .arg = st,
        .offers = offers,
        .issuers_changed = issuers_changed,
        .state = tell_state,
        .doubt = doubt,
        .serve = serve_fronts,
    };
    const struct responder_limits none = {0};
    struct timeval tick = {0, TICK_MS * 1000};

    if (open_replica(st, e) != E_OK)
        return e->code;
    st->responder = responder_new(st->replica, &hooks, &none, e);
    if (!st->responder)
        return e->code;
    set_limits(st);
    st->follower = follower_new(proc_base(st->proc), st->replica, &ops, e);
    if (!st->follower)
        return e->code;
    follower_set_responder(st->follower, st->responder);
    if (proc_conf(st->proc)->decisions && make_decider(st, e) != E_OK)
        return e->code;
    st->ticker = event_new(proc_base(st->proc), -1, EV_PERSIST, on_tick, st);
    if (!st->ticker || event_add(st->ticker, &tick) != 0)
        return err_set(e, E_NOMEM, "timer");
    return proc_confine(st->proc, e);
}

static void stats_free(struct token_stats *t)
{
    struct token_stats *next;

    for (; t; t = next) {
        next = LIST_NEXT(t, link);
        free(t);
    }
}

static void tear_down(struct status *st)
{
    if (st->ticker)
        event_free(st->ticker);
    while (!LIST_EMPTY(&st->tokens)) /* signatures under way come back as E_TOKEN while the fronts still hear it */
        token_drop(LIST_FIRST(&st->tokens));
    while (!LIST_EMPTY(&st->fronts))
        front_drop(LIST_FIRST(&st->fronts));
    follower_free(st->follower);
    decider_free(st->decider);
    responder_free(st->responder);
    replica_free(st->replica);
    stats_free(LIST_FIRST(&st->stats));
}

int main(int argc, char **argv)
{
    static const struct proc_ops ops = {
        .on_link = on_link,
        .on_listen = on_listen,
        .on_go = on_go,
        .on_reload = on_reload,
        .on_stop = on_stop,
    };
    struct status st = {0};
    struct err e;
    int code;

    LIST_INIT(&st.fronts);
    LIST_INIT(&st.tokens);
    st.proc = proc_start(argc, argv, PROC_STATUS, &ops, &st);
    if (set_up(&st, &e) != E_OK) {
        log_failure("start-failed", &e);
        return 1;
    }
    code = proc_loop(st.proc);
    if (code == PROC_EXIT_OK)
        keep_time(&st);
    tear_down(&st);
    proc_free(st.proc);
    return code;
}
