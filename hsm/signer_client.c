/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/chan.h"
#include "base/clock.h"
#include "base/log.h"
#include "hsm/signer.h"

#define BUCKETS           256
#define QUEUE_MAX         (16u << 20) /* octets waiting for a signer that does not read */
#define INLINE_MAX        60000       /* larger objects go as a sealed memory file */
#define GRACE_MS          1000        /* for the answer, beyond the deadline the signer itself keeps */
#define NO_TIMEOUT        (-1)
#define HEALTH_TIMEOUT_MS 15000
#define KEYS_MAX          256

struct pending {
    struct pending *next; /* in its bucket */
    struct signer *s;
    uint64_t id;
    uint16_t answer; /* the type that answers it */
    int64_t asked_us; /* a signature that is measured: when; else 0 */
    struct event *timer;
    size_t keys_n;
    union {
        signer_done_fn sign;
        signer_keys_fn keys;
        signer_health_fn health;
        signer_generated_fn generated;
    } done;
    void *arg;
};

struct signer {
    struct event_base *base;
    struct chan *chan; /* NULL: link lost */
    char token[ID_MAX_LEN + 1];
    signer_gone_fn gone;
    void *gone_arg;
    uint64_t next_id;
    size_t pending_n;
    struct signer_stats *stats;
    struct pending *buckets[BUCKETS];
    int busy;   /* inside callbacks: signer_free only marks */
    bool freed;
};

static void pending_free(struct pending *p)
{
    if (p->timer)
        event_free(p->timer);
    free(p);
}

static struct pending *pending_take(struct signer *s, uint64_t id)
{
    for (struct pending **at = &s->buckets[id % BUCKETS]; *at; at = &(*at)->next) {
        if ((*at)->id == id) {
            struct pending *p = *at;
            *at = p->next;
            s->pending_n--;
            return p;
        }
    }
    return NULL;
}

static void release(struct signer *s)
{
    if (--s->busy == 0 && s->freed)
        free(s);
}

static void measured(const struct pending *p, enum err_code code)
{
    struct signer_stats *stats = p->s->stats;

    if (!stats || p->asked_us == 0)
        return;
    if (code == E_OK)
        histogram_add(&stats->latency, clock_mono_us() - p->asked_us);
    else
        stats->failed[code]++;
}

/* Answers one call with an error. The callback may free the signer: the caller holds `busy`. */
static void pending_fail(struct pending *p, const struct err *e)
{
    measured(p, e->code);
    switch (p->answer) {
    case SIGNER_SIGNED:
        p->done.sign(p->arg, e->code, e, SIG_NONE, (struct bytes){NULL, 0});
        break;
    case SIGNER_GENERATED:
        p->done.generated(p->arg, e->code, e, (struct bytes){NULL, 0}, (struct bytes){NULL, 0});
        break;
    case SIGNER_KEYS_RESULT: {
        struct err *all = calloc(p->keys_n ? p->keys_n : 1, sizeof(*all));
        for (size_t i = 0; all && i < p->keys_n; i++)
            all[i] = *e;
        p->done.keys(p->arg, all ? all : e, all ? p->keys_n : 0);
        free(all);
        break;
    }
    case SIGNER_HEALTH_RESULT: {
        struct signer_health h = {.code = e->code, .state = "UNREACHABLE"};
        snprintf(h.message, sizeof(h.message), "%.255s", e->msg);
        p->done.health(p->arg, &h);
        break;
    }
    }
    pending_free(p);
}

static void fail_all(struct signer *s, const struct err *e)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        while (s->buckets[i]) {
            struct pending *p = s->buckets[i];
            s->buckets[i] = p->next;
            s->pending_n--;
            pending_fail(p, e);
        }
    }
}

static void link_lost(struct signer *s, const struct err *why)
{
    struct err e;

    err_set(&e, E_TOKEN, "signer of token \"%s\": %s", s->token, why && why->msg[0] ? why->msg : "link closed");
    s->busy++;
    if (s->chan) {
        chan_free(s->chan);
        s->chan = NULL;
    }
    fail_all(s, &e);
    if (!s->freed && s->gone)
        s->gone(s, s->gone_arg);
    release(s);
}

static void on_gone(struct chan *c, const struct err *why, void *arg)
{
    (void)c;
    link_lost(arg, why);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct pending *p = arg;
    struct signer *s = p->s;
    struct err e;

    (void)fd, (void)what;
    if (!pending_take(s, p->id))
        return;
    err_set(&e, E_TOKEN, "signer of token \"%s\": no answer before the deadline", s->token);
    s->busy++;
    pending_fail(p, &e);
    release(s);
}

/* What an answer holds. Everything is read and checked before the callback runs. */
static enum err_code read_signed(struct msg_reader *r, struct err *result, enum sig_alg *alg, struct bytes *sig,
                                 struct err *e)
{
    msg_get_err(r, result);
    *alg = msg_get_enum(r, SIG_ALGS_COUNT);
    *sig = msg_get_bytes(r, SIGNATURE_MAX_LEN);
    if (msg_read_end(r, e) != E_OK)
        return e->code;
    if (result->code == E_OK && (*alg == SIG_NONE || sig->len == 0))
        return err_set(e, E_INVALID, "SIGNER_SIGNED: success without a signature");
    if (result->code != E_OK && (*alg != SIG_NONE || sig->len))
        return err_set(e, E_INVALID, "SIGNER_SIGNED: failure with a signature");
    return E_OK;
}

static enum err_code read_generated(struct msg_reader *r, struct err *result, struct bytes *pkcs8, struct bytes *spki, struct err *e)
{
    msg_get_err(r, result);
    *pkcs8 = msg_get_bytes(r, KEY_PACKAGE_MAX_LEN);
    *spki = msg_get_bytes(r, SPKI_MAX_LEN);
    if (msg_read_end(r, e) != E_OK)
        return e->code;
    if ((result->code == E_OK) != (pkcs8->len && spki->len) || (result->code != E_OK && (pkcs8->len || spki->len)))
        return err_set(e, E_INVALID, "SIGNER_GENERATED: a key pair and success belong together");
    return E_OK;
}

static enum err_code read_keys(struct msg_reader *r, size_t n, struct err *results, struct err *e)
{
    if (msg_get_u32(r) != n)
        return err_set(e, E_INVALID, "SIGNER_KEYS_RESULT: not %zu results", n);
    for (size_t i = 0; i < n; i++)
        msg_get_err(r, &results[i]);
    return msg_read_end(r, e);
}

static enum err_code read_health(struct msg_reader *r, struct signer_health *h, struct err *e)
{
    struct err result = {0};

    h->code = msg_get_err(r, &result);
    snprintf(h->message, sizeof(h->message), "%.255s", result.msg);
    msg_get_str(r, h->state, sizeof(h->state));
    h->generation = msg_get_u64(r);
    h->signed_count = msg_get_u64(r);
    h->failed_count = msg_get_u64(r);
    h->queued = msg_get_u32(r);
    h->p50_us = msg_get_u32(r);
    h->p99_us = msg_get_u32(r);
    return msg_read_end(r, e);
}

static enum err_code deliver(struct pending *p, struct msg_reader *r, struct err *e)
{
    enum err_code rc = E_OK;

    if (p->answer == SIGNER_SIGNED) {
        struct err result = {0};
        enum sig_alg alg;
        struct bytes sig;

        rc = read_signed(r, &result, &alg, &sig, e);
        if (rc == E_OK) {
            measured(p, result.code);
            p->done.sign(p->arg, result.code, &result, alg, sig);
        }
    } else if (p->answer == SIGNER_GENERATED) {
        struct err result = {0};
        struct bytes pkcs8, spki;

        rc = read_generated(r, &result, &pkcs8, &spki, e);
        if (rc == E_OK)
            p->done.generated(p->arg, result.code, &result, pkcs8, spki);
    } else if (p->answer == SIGNER_KEYS_RESULT) {
        struct err *results = calloc(p->keys_n ? p->keys_n : 1, sizeof(*results));

        if (!results)
            return err_set(e, E_NOMEM, "results of SIGNER_KEYS");
        rc = read_keys(r, p->keys_n, results, e);
        if (rc == E_OK)
            p->done.keys(p->arg, results, p->keys_n);
        free(results);
    } else {
        struct signer_health h = {0};

        rc = read_health(r, &h, e);
        if (rc == E_OK)
            p->done.health(p->arg, &h);
    }
    return rc;
}

static void on_message(struct chan *c, struct msg_reader *r, int fd, void *arg)
{
    struct signer *s = arg;
    struct pending *p;
    struct err e = {0};

    if (fd >= 0)
        close(fd);
    if (r->type != SIGNER_SIGNED && r->type != SIGNER_KEYS_RESULT && r->type != SIGNER_HEALTH_RESULT && r->type != SIGNER_GENERATED) {
        err_set(&e, E_INVALID, "unknown message type 0x%04x", r->type);
        chan_fail(c, &e);
        return;
    }
    p = pending_take(s, r->request_id);
    if (!p) { /* answered by its timer already; a number never given out is a broken peer */
        if (r->request_id == 0 || r->request_id >= s->next_id) {
            err_set(&e, E_INVALID, "answer to request %llu, which was never sent", (unsigned long long)r->request_id);
            chan_fail(c, &e);
        }
        return;
    }
    s->busy++;
    if (p->answer != r->type)
        err_set(&e, E_INVALID, "answer of type 0x%04x to a request that wants 0x%04x", r->type, p->answer);
    else
        (void)deliver(p, r, &e);
    if (e.code == E_OK) {
        pending_free(p);
    } else {
        struct err lost;

        err_set(&lost, E_TOKEN, "signer of token \"%s\": %s", s->token, e.msg);
        pending_fail(p, &lost);
        if (!s->freed && s->chan)
            chan_fail(s->chan, &e);
    }
    release(s);
}

struct signer *signer_new(struct event_base *base, int fd, const char *token, signer_gone_fn gone, void *arg,
                          struct err *e)
{
    static const struct chan_ops ops = {on_message, on_gone};
    struct signer *s = calloc(1, sizeof(*s));

    if (!s || strlen(token) > ID_MAX_LEN) {
        free(s);
        close(fd);
        err_set(e, s ? E_INVALID : E_NOMEM, "link to the signer of token \"%.64s\"", token);
        return NULL;
    }
    s->base = base;
    s->gone = gone;
    s->gone_arg = arg;
    s->next_id = 1;
    snprintf(s->token, sizeof(s->token), "%s", token);
    s->chan = chan_new(base, fd, &ops, s, QUEUE_MAX, e);
    if (!s->chan) {
        err_wrap(e, "link to the signer of token \"%s\"", token);
        free(s);
        return NULL;
    }
    return s;
}

void signer_free(struct signer *s)
{
    struct err e;

    if (!s || s->freed)
        return;
    s->freed = true;
    s->busy++;
    if (s->chan) {
        chan_free(s->chan);
        s->chan = NULL;
    }
    err_set(&e, E_TOKEN, "signer of token \"%s\": link closed", s->token);
    fail_all(s, &e);
    release(s);
}

void signer_batch(struct signer *s)
{
    if (s->chan)
        chan_batch(s->chan);
}

const char *signer_token(const struct signer *s)
{
    return s->token;
}

void signer_measure(struct signer *s, struct signer_stats *into)
{
    s->stats = into;
}

size_t signer_pending(const struct signer *s)
{
    return s->pending_n;
}

/* Registers the call, then sends. On error nothing is registered and the callback is never called. */
static enum err_code submit(struct signer *s, struct pending *p, struct msg *m, int pass_fd, int64_t timeout_ms,
                            struct err *e)
{
    struct timeval tv = {timeout_ms / 1000, (timeout_ms % 1000) * 1000};

    p->s = s;
    if (timeout_ms != NO_TIMEOUT)
        p->timer = evtimer_new(s->base, on_timer, p);
    if (timeout_ms != NO_TIMEOUT && (!p->timer || evtimer_add(p->timer, &tv) != 0)) {
        pending_free(p);
        return err_set(e, E_NOMEM, "timer of a signer request");
    }
    if (chan_send(s->chan, m, pass_fd, e) != E_OK) {
        pending_free(p);
        return err_wrap(e, "signer of token \"%s\"", s->token);
    }
    p->next = s->buckets[p->id % BUCKETS];
    s->buckets[p->id % BUCKETS] = p;
    s->pending_n++;
    return E_OK;
}

static enum err_code pending_new(struct signer *s, uint16_t answer, void *arg, struct pending **out, struct err *e)
{
    *out = NULL;
    if (s->freed || !s->chan)
        return err_set(e, E_TOKEN, "signer of token \"%s\": no link", s->token);
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return err_set(e, E_NOMEM, "signer request");
    (*out)->id = s->next_id++;
    (*out)->answer = answer;
    (*out)->arg = arg;
    return E_OK;
}

enum err_code signer_keys(struct signer *s, const struct signer_key *keys, size_t n, signer_keys_fn done, void *arg,
                          struct err *e)
{
    AUTO_MSG m = {BUF_INIT(0)};
    struct pending *p;

    if (n > KEYS_MAX)
        return err_set(e, E_INVALID, "%zu keys for one signer, at most %d", n, KEYS_MAX);
    if (pending_new(s, SIGNER_KEYS_RESULT, arg, &p, e) != E_OK)
        return e ? e->code : E_TOKEN;
    p->keys_n = n;
    p->done.keys = done;
    msg_begin(&m, SIGNER_KEYS, p->id);
    msg_put_u32(&m, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        msg_put_str(&m, keys[i].name);
        msg_put_u8(&m, (uint8_t)keys[i].purpose);
        msg_put_bytes(&m, keys[i].cka_id);
        msg_put_bytes(&m, keys[i].spki);
        msg_put_bytes(&m, keys[i].issuer_name);
    }
    return submit(s, p, &m, -1, NO_TIMEOUT, e);
}

/* `fd` -1: the object is `tbs`; else it is in that memory file. */
static enum err_code sign(struct signer *s, const char *key, enum sign_kind kind, struct bytes tbs, int fd,
                          uint32_t deadline_ms, uint64_t rid, signer_done_fn done, void *arg, struct err *e)
{
    AUTO_MSG m = {BUF_INIT(0)};
    struct pending *p;

    if (pending_new(s, SIGNER_SIGNED, arg, &p, e) != E_OK)
        return e ? e->code : E_TOKEN;
    p->done.sign = done;
    p->asked_us = s->stats ? clock_mono_us() : 0;
    msg_begin(&m, SIGNER_SIGN, p->id);
    msg_put_str(&m, key);
    msg_put_u8(&m, (uint8_t)kind);
    msg_put_u32(&m, deadline_ms);
    msg_put_u64(&m, rid);
    msg_put_bytes(&m, fd >= 0 ? (struct bytes){NULL, 0} : tbs);
    return submit(s, p, &m, fd, (int64_t)deadline_ms + GRACE_MS, e);
}

enum err_code signer_sign_file(struct signer *s, const char *key, enum sign_kind kind, int fd, uint32_t deadline_ms,
                               uint64_t rid, signer_done_fn done, void *arg, struct err *e)
{
    if (kind != SIGN_CRL || fd < 0)
        return err_set(e, E_INVALID, "only a CRL goes to key \"%s\" in a file", key);
    return sign(s, key, kind, (struct bytes){NULL, 0}, fd, deadline_ms, rid, done, arg, e);
}

enum err_code signer_sign(struct signer *s, const char *key, enum sign_kind kind, struct bytes tbs,
                          uint32_t deadline_ms, uint64_t rid, signer_done_fn done, void *arg, struct err *e)
{
    AUTO_FD int fd = -1;

    if (tbs.len == 0)
        return err_set(e, E_INVALID, "nothing to sign with key \"%s\"", key);
    if (tbs.len > INLINE_MAX) {
        if (kind != SIGN_CRL)
            return err_set(e, E_INVALID, "object of %zu octets for key \"%s\", at most %d", tbs.len, key, INLINE_MAX);
        fd = memfd_of("inkan-tbs", tbs, e);
        if (fd < 0)
            return err_wrap(e, "object for key \"%s\"", key);
    }
    return sign(s, key, kind, tbs, fd, deadline_ms, rid, done, arg, e);
}

enum err_code signer_generate(struct signer *s, enum key_alg alg, uint32_t deadline_ms, uint64_t rid, signer_generated_fn done,
                              void *arg, struct err *e)
{
    AUTO_MSG m = {BUF_INIT(0)};
    struct pending *p;

    if (pending_new(s, SIGNER_GENERATED, arg, &p, e) != E_OK)
        return e ? e->code : E_TOKEN;
    p->done.generated = done;
    msg_begin(&m, SIGNER_GENERATE, p->id);
    msg_put_u8(&m, (uint8_t)alg);
    msg_put_u32(&m, deadline_ms);
    msg_put_u64(&m, rid);
    return submit(s, p, &m, -1, (int64_t)deadline_ms + GRACE_MS, e);
}

enum err_code signer_health(struct signer *s, signer_health_fn done, void *arg, struct err *e)
{
    AUTO_MSG m = {BUF_INIT(0)};
    struct pending *p;

    if (pending_new(s, SIGNER_HEALTH_RESULT, arg, &p, e) != E_OK)
        return e ? e->code : E_TOKEN;
    p->done.health = done;
    msg_begin(&m, SIGNER_HEALTH, p->id);
    return submit(s, p, &m, -1, HEALTH_TIMEOUT_MS, e);
}
