/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/responder.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/auto.h"
#include "base/der.h"
#include "base/log.h"
#include "base/openmetrics.h"
#include "ca/cert.h"
#include "ca/clock_rule.h"
#include "ca/lint.h"
#include "ca/ocsp.h"

#define JOIN_BUCKETS  1024
#define CACHE_BUCKETS 16384
#define ATTEMPTS_MAX  3 /* signatures for one request while rows keep changing under it */
#define SUMMARY_MS    60000
#define RESPONSE_MAX  60000 /* fits a message beside its fields */

/* ---- what is counted ---- */

enum counter {
    COUNT_REQUESTS,
    COUNT_NONCE,
    COUNT_SHA1,
    COUNT_FROM_CACHE,
    COUNT_JOINED,
    COUNT_SIGNED,
    COUNT_SIGNED_AGAIN,
    COUNT_UNKNOWN,
    /* refused */
    COUNT_MALFORMED,
    COUNT_UNAUTHORIZED,
    COUNT_INTERNAL,
    COUNT_NOT_CURRENT,
    COUNT_NO_CORE,
    COUNT_CLOCK,
    COUNT_NO_RESPONDER,
    COUNT_TOKEN,
    COUNT_NONCE_LANE,
    COUNT_UNKNOWN_LANE,
    COUNT_FULL,
    COUNT_DEADLINE,
    COUNTERS
};
#define COUNT_REFUSED COUNT_MALFORMED

static const char *const counter_name[COUNTERS] = {
    [COUNT_REQUESTS] = "requests",
    [COUNT_NONCE] = "nonce",
    [COUNT_SHA1] = "sha1_cert_ids",
    [COUNT_FROM_CACHE] = "from_cache",
    [COUNT_JOINED] = "joined",
    [COUNT_SIGNED] = "signed",
    [COUNT_SIGNED_AGAIN] = "signed_again",
    [COUNT_UNKNOWN] = "unknown",
    [COUNT_MALFORMED] = "malformed",
    [COUNT_UNAUTHORIZED] = "unauthorized",
    [COUNT_INTERNAL] = "internal_error",
    [COUNT_NOT_CURRENT] = "try_later_not_current",
    [COUNT_NO_CORE] = "try_later_no_core",
    [COUNT_CLOCK] = "try_later_clock",
    [COUNT_NO_RESPONDER] = "try_later_no_responder",
    [COUNT_TOKEN] = "try_later_token",
    [COUNT_NONCE_LANE] = "try_later_nonce_lane",
    [COUNT_UNKNOWN_LANE] = "try_later_unknown_lane",
    [COUNT_FULL] = "try_later_full",
    [COUNT_DEADLINE] = "try_later_deadline",
};

/* The answer each refusal gets; everything not named is tryLater. */
static enum ocsp_response_status refusal_status(enum counter why)
{
    switch (why) {
    case COUNT_MALFORMED:
        return OCSP_MALFORMED_REQUEST;
    case COUNT_UNAUTHORIZED:
        return OCSP_UNAUTHORIZED;
    case COUNT_INTERNAL:
        return OCSP_INTERNAL_ERROR;
    default:
        return OCSP_TRY_LATER;
    }
}

/* ---- objects ---- */

struct digest {
    uint8_t octets[EVP_MAX_MD_SIZE];
    size_t len;
};

struct token_queue;

struct issuer {
    struct follow_issuer f; /* its byte strings point into `memory` */
    struct buf memory;
    bool offers;
    bool fits; /* responder key and certificate belong together */
    struct digest name_hash[CERT_ID_HASHES], key_hash[CERT_ID_HASHES];
    uint8_t responder_key_hash[20];
    struct token_queue *queue; /* NULL: no responder */
};

/* A signed answer kept for the next asker. Named by issuer, serial and the CertID exactly as asked. */
struct kept {
    struct kept *hash_next;
    struct kept *newer, *older;
    uint32_t issuer;
    uint8_t serial[SERIAL_MAX_LEN];
    uint8_t serial_len;
    int64_t produced_at, this_update, next_update, fresh_until;
    size_t cert_id_len, response_len;
    uint8_t octets[]; /* CertID, OCSPResponse */
};

struct waiter {
    struct waiter *next;
    void *owner;
    uint64_t id;
};

enum job_state {
    JOB_NEW,
    JOB_ASKING,  /* waits until the replica has the core's seq */
    JOB_WAITING, /* in the queue of its token */
    JOB_SIGNING,
    JOB_ANSWERED /* refused while the signature is under way; freed when that comes back */
};

/* What the signature under way says of one certificate. */
struct named {
    bool found;
    uint8_t serial[SERIAL_MAX_LEN];
    uint8_t serial_len; /* 0: no serial of ours can look like this */
    uint64_t row_seq;
};

struct job {
    struct responder *r;
    struct job *prev, *next; /* all jobs, oldest first */
    struct job *join_next;   /* in its bucket */
    struct job *queue_next;
    struct token_queue *queue; /* where it waits or its signature is made */
    enum job_state state;
    bool joinable, in_unknown_lane;
    uint8_t join_key[32];
    struct waiter *waiters;
    int64_t deadline_ms;
    unsigned attempts;
    uint64_t ask_id; /* the answer it waits for */
    bool asked;      /* the replica holds what the core held after this request came */
    uint8_t *der;
    size_t der_len;
    struct ocsp_request req; /* points into der */
    size_t issuer;           /* index in the table of `generation` */
    /* of the signature under way */
    uint32_t generation;
    uint64_t seq;
    struct named named[OCSP_CERTS_MAX];
    bool any_unknown;
    time_t produced_at, this_update, next_update;
    struct buf data;
};

/* One per token that holds responder keys. */
struct token_queue {
    char token[ID_MAX_LEN + 1];
    size_t signing;
    bool pumping;
    struct {
        struct job *first, *last;
    } lane[2]; /* 0: answers that will be kept; 1: live ones */
    struct token_queue *next;
};

/* A rate limit: `tokens` thousandths, filled by time. */
struct bucket {
    int64_t tokens, filled_ms;
};

struct responder {
    struct replica *replica;
    struct responder_hooks hooks;
    struct responder_limits limits;
    struct issuer *issuers, *issuers_new;
    size_t issuers_n, issuers_new_n;
    bool issuers_known;
    uint32_t generation;
    struct token_queue *queues;
    bool serving;
    struct clock_rule clock;
    enum clock_verdict clock_verdict; /* the last one, for the log */
    int64_t core_floor;

    struct job *first, *last;
    struct job *join[JOIN_BUCKETS];
    size_t jobs_n, waiters_n, nonce_n, unknown_n; /* nonce_n: all that are live */
    struct bucket nonce_bucket, unknown_bucket;

    uint64_t ask_last;  /* newest ask given out */
    bool ask_in_flight; /* ask_last has no answer yet, or the replica has not reached it */
    bool ask_answered;
    uint64_t ask_seq; /* the answer */

    struct kept *cache[CACHE_BUCKETS];
    struct kept *newest, *oldest;
    size_t kept_n;

    uint64_t count[COUNTERS], summarised[COUNTERS];
    int64_t summary_ms, failure_log_ms;
};

static void job_resolve(struct job *job);

/* ---- issuers ---- */

static void issuers_clear(struct issuer *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_clear(&v[i].memory);
    free(v);
}

/* The value of an SPKI's BIT STRING, which CertID and responderID hash (RFC 6960 4.1.1, 4.2.1). */
static bool spki_key_bits(struct bytes spki, struct bytes *bits)
{
    struct der in, seq, alg;
    unsigned unused;

    der_init(&in, spki.p, spki.len);
    return der_take(&in, DER_SEQUENCE, &seq) && der_at_end(&in) && der_take(&seq, DER_SEQUENCE, &alg) &&
           der_take_bits(&seq, bits, &unused) && unused == 0 && der_at_end(&seq);
}

static bool digest_of(enum cert_id_hash hash, struct bytes in, struct digest *out)
{
    const EVP_MD *md[CERT_ID_HASHES] = {
        [CERT_ID_SHA1] = EVP_sha1(),
        [CERT_ID_SHA256] = EVP_sha256(),
        [CERT_ID_SHA384] = EVP_sha384(),
        [CERT_ID_SHA512] = EVP_sha512(),
    };
    unsigned len = 0;

    if (EVP_Digest(in.p, in.len, out->octets, &len, md[hash], NULL) != 1)
        return false;
    out->len = len;
    return true;
}

static struct token_queue *queue_of(struct responder *r, const char *token)
{
    struct token_queue *q;

    for (q = r->queues; q; q = q->next)
        if (strcmp(q->token, token) == 0)
            return q;
    q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    snprintf(q->token, sizeof(q->token), "%s", token);
    q->next = r->queues;
    r->queues = q;
    return q;
}

/* Copies a byte string into the issuer's memory, which was reserved for all of them and does not move. */
static void own(struct issuer *is, struct bytes *v)
{
    size_t at = is->memory.len;

    buf_add_bytes(&is->memory, *v);
    v->p = is->memory.p + at;
}

/* Does the responder certificate hold the key, come from this issuer, and last as long as the core says? */
static bool responder_fits(struct issuer *is)
{
    struct bytes bits;
    struct cert cert;
    struct err e;

    if (!spki_key_bits(is->f.key_spki, &bits))
        return false;
    sha1(bits, is->responder_key_hash);
    return cert_read(is->f.responder_cert, &cert, &e) == E_OK && bytes_equal(cert.spki, is->f.key_spki) &&
           bytes_equal(cert.issuer, is->f.subject) && cert.eku_ocsp && cert.not_before == is->f.responder_not_before &&
           cert.not_after == is->f.responder_not_after;
}

void responder_issuers_begin(struct responder *r)
{
    issuers_clear(r->issuers_new, r->issuers_new_n);
    r->issuers_new = NULL;
    r->issuers_new_n = 0;
}

enum err_code responder_issuers_add(struct responder *r, const struct follow_issuer *in, bool offers, struct err *e)
{
    struct issuer *grown = realloc(r->issuers_new, (r->issuers_new_n + 1) * sizeof(*grown));
    struct bytes bits;
    struct issuer *is;
    size_t total = in->subject.len + in->spki.len + in->key_cka_id.len + in->key_spki.len + in->responder_cert.len;

    if (!grown)
        return err_set(e, E_NOMEM, "issuer \"%s\"", in->name);
    r->issuers_new = grown;
    is = &grown[r->issuers_new_n];
    *is = (struct issuer){.f = *in, .offers = offers, .memory = BUF_INIT(total)};
    if (!buf_reserve(&is->memory, total))
        return err_set(e, E_NOMEM, "issuer \"%s\"", in->name);
    r->issuers_new_n++; /* from here issuers_clear frees it */
    own(is, &is->f.subject);
    own(is, &is->f.spki);
    own(is, &is->f.key_cka_id);
    own(is, &is->f.key_spki);
    own(is, &is->f.responder_cert);
    if (!spki_key_bits(is->f.spki, &bits))
        return err_set(e, E_INVALID, "issuer \"%s\": subjectPublicKeyInfo (RFC 5280 4.1.2.7)", in->name);
    for (int h = 0; h < CERT_ID_HASHES; h++)
        if (!digest_of((enum cert_id_hash)h, is->f.subject, &is->name_hash[h]) ||
            !digest_of((enum cert_id_hash)h, bits, &is->key_hash[h]))
            return err_openssl(e, E_CRYPTO, "EVP_Digest");
    if (is->f.responds) {
        is->fits = responder_fits(is);
        is->queue = queue_of(r, is->f.token);
        if (!is->queue)
            return err_set(e, E_NOMEM, "issuer \"%s\"", in->name);
        if (!is->fits)
            log_note(LOG_ERROR, "ocsp-responder-refused", "issuer", in->name);
    }
    return E_OK;
}

void responder_issuers_end(struct responder *r)
{
    issuers_clear(r->issuers, r->issuers_n);
    r->issuers = TAKE(r->issuers_new);
    r->issuers_n = r->issuers_new_n;
    r->issuers_new_n = 0;
    r->issuers_known = true;
    r->generation++; /* signatures under way are judged again when they come back */
    responder_forget_answers(r);
}

size_t responder_keys(const struct responder *r, const char *token, struct signer_key *out, size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < r->issuers_n && n < max; i++) {
        const struct follow_issuer *f = &r->issuers[i].f;

        if (r->issuers[i].fits && strcmp(f->token, token) == 0)
            out[n++] = (struct signer_key){
                .name = f->key,
                .purpose = PURPOSE_OCSP,
                .cka_id = f->key_cka_id,
                .spki = f->key_spki,
                .issuer_name = f->subject,
            };
    }
    return n;
}

/* A CertID names an issuer by name and key; both must match under a hash we know (RFC 6960 4.1.1). */
static bool issuer_is(const struct issuer *is, const struct ocsp_cert_id *id)
{
    const struct digest *name, *key;

    if (id->hash >= CERT_ID_HASHES)
        return false;
    name = &is->name_hash[id->hash];
    key = &is->key_hash[id->hash];
    return bytes_equal(id->name_hash, BYTES(name->octets, name->len)) &&
           bytes_equal(id->key_hash, BYTES(key->octets, key->len));
}

/* The one issuer of ours that all CertIDs name. */
static bool find_issuer(const struct responder *r, const struct ocsp_request *req, size_t *out)
{
    for (size_t i = 0; i < r->issuers_n; i++) {
        size_t n = 0;

        while (n < req->cert_n && issuer_is(&r->issuers[i], &req->cert[n]))
            n++;
        if (n == req->cert_n) {
            *out = i;
            return true;
        }
    }
    return false;
}

/* ---- kept answers ---- */

static size_t cache_bucket(uint32_t issuer, const uint8_t *serial, size_t len)
{
    uint32_t h = 2166136261u ^ issuer; /* FNV-1a: only serials we drew ourselves are kept */

    for (size_t i = 0; i < len; i++)
        h = (h ^ serial[i]) * 16777619u;
    return h % CACHE_BUCKETS;
}

static bool kept_is_about(const struct kept *k, uint32_t issuer, const uint8_t *serial, size_t len)
{
    return k->issuer == issuer && k->serial_len == len && memcmp(k->serial, serial, len) == 0;
}

static void kept_unlink(struct responder *r, struct kept *k)
{
    *(k->newer ? &k->newer->older : &r->newest) = k->older;
    *(k->older ? &k->older->newer : &r->oldest) = k->newer;
    r->kept_n--;
}

static void kept_link(struct responder *r, struct kept *k)
{
    k->newer = NULL;
    k->older = r->newest;
    *(r->newest ? &r->newest->newer : &r->oldest) = k;
    r->newest = k;
    r->kept_n++;
}

/* Drops the kept answers about one certificate: all, or only the one with this CertID. */
static void cache_drop(struct responder *r, uint32_t issuer, const uint8_t *serial, size_t len,
                       const struct bytes *cert_id)
{
    struct kept **at = &r->cache[cache_bucket(issuer, serial, len)];

    while (*at) {
        struct kept *k = *at;

        if (kept_is_about(k, issuer, serial, len) &&
            (!cert_id || bytes_equal(*cert_id, BYTES(k->octets, k->cert_id_len)))) {
            *at = k->hash_next;
            kept_unlink(r, k);
            free(k);
        } else {
            at = &k->hash_next;
        }
    }
}

void responder_forget_answers(struct responder *r)
{
    while (r->oldest) {
        struct kept *k = r->oldest;
        struct bytes cert_id = BYTES(k->octets, k->cert_id_len);

        cache_drop(r, k->issuer, k->serial, k->serial_len, &cert_id);
    }
}

static void cache_keep(struct responder *r, const struct job *job, struct bytes response)
{
    const struct named *n = &job->named[0];
    struct bytes cert_id = job->req.cert[0].raw;
    uint32_t issuer = r->issuers[job->issuer].f.id;
    struct kept *k;
    size_t bucket;

    cache_drop(r, issuer, n->serial, n->serial_len, &cert_id);
    while (r->kept_n && r->kept_n >= r->limits.cache_max) {
        struct kept *old = r->oldest;
        struct bytes old_id = BYTES(old->octets, old->cert_id_len);

        cache_drop(r, old->issuer, old->serial, old->serial_len, &old_id);
    }
    k = r->limits.cache_max ? calloc(1, sizeof(*k) + cert_id.len + response.len) : NULL;
    if (!k)
        return; /* the next asker has it signed again */
    k->issuer = issuer;
    memcpy(k->serial, n->serial, n->serial_len);
    k->serial_len = n->serial_len;
    k->produced_at = job->produced_at;
    k->this_update = job->this_update;
    k->next_update = job->next_update;
    k->fresh_until = job->produced_at + (job->next_update - job->produced_at) / 2;
    k->cert_id_len = cert_id.len;
    k->response_len = response.len;
    memcpy(k->octets, cert_id.p, cert_id.len);
    memcpy(k->octets + cert_id.len, response.p, response.len);
    bucket = cache_bucket(issuer, k->serial, k->serial_len);
    k->hash_next = r->cache[bucket];
    r->cache[bucket] = k;
    kept_link(r, k);
}

/* Answers from the cache: one certificate, no nonce, not yet half way to nextUpdate. */
static bool answer_from_cache(struct responder *r, void *owner, uint64_t id, const struct ocsp_request *req,
                              uint32_t issuer)
{
    struct bytes serial = serial_magnitude(req->cert[0].serial);
    time_t now = r->hooks.now(r->hooks.arg);

    if (req->has_nonce || req->cert_n != 1 || serial.len > SERIAL_MAX_LEN)
        return false;
    for (struct kept *k = r->cache[cache_bucket(issuer, serial.p, serial.len)]; k; k = k->hash_next) {
        struct sts_ocsp_result res = {0};

        if (!kept_is_about(k, issuer, serial.p, serial.len) ||
            !bytes_equal(req->cert[0].raw, BYTES(k->octets, k->cert_id_len)) || now >= k->fresh_until)
            continue;
        kept_unlink(r, k);
        kept_link(r, k);
        res.response = BYTES(k->octets + k->cert_id_len, k->response_len);
        res.cacheable = true;
        res.seq = replica_seq(r->replica); /* no row about it since it was signed: it reflects them all */
        res.produced_at = k->produced_at;
        res.this_update = k->this_update;
        res.next_update = k->next_update;
        res.max_age_s = (uint32_t)(k->fresh_until - (now > k->produced_at ? now : k->produced_at));
        res.cert[0].issuer = k->issuer;
        memcpy(res.cert[0].serial, k->serial, k->serial_len);
        res.cert[0].serial_len = k->serial_len;
        res.cert_n = 1;
        r->count[COUNT_FROM_CACHE]++;
        r->hooks.answer(r->hooks.arg, owner, id, &res);
        return true;
    }
    return false;
}

/* ---- time ---- */

static void time_seen(struct responder *r, int64_t t)
{
    if (t > r->clock.floor) {
        r->clock.floor = t;
        r->clock.floor_ms = r->hooks.mono_ms(r->hooks.arg);
    }
}

void responder_core_time(struct responder *r, int64_t floor, bool first)
{
    if (!first && floor < r->core_floor)
        clock_rule_force(&r->clock, floor, r->hooks.mono_ms(r->hooks.arg));
    else
        time_seen(r, floor);
    r->core_floor = floor;
}

/* The time to sign with. It never steps back, so neither does a thisUpdate; false: nothing may be signed now. */
static bool sign_time(struct responder *r, time_t *out)
{
    static const char *const event[] = {
        [CLOCK_GOOD] = "clock-good",
        [CLOCK_BACK] = "clock-behind",
        [CLOCK_FORWARD] = "clock-ahead",
    };
    time_t now = r->hooks.now(r->hooks.arg);
    int64_t mono = r->hooks.mono_ms(r->hooks.arg);
    enum clock_verdict verdict = clock_rule_judge(&r->clock, now, mono);

    if (verdict != r->clock_verdict) {
        struct log_line l;

        log_begin(&l, verdict == CLOCK_GOOD ? LOG_INFO : LOG_ERROR, event[verdict]);
        log_i64(&l, "now", now);
        log_i64(&l, "floor", r->clock.floor);
        log_end(&l);
        r->clock_verdict = verdict;
    }
    if (verdict != CLOCK_GOOD)
        return false;
    clock_rule_accept(&r->clock, now, mono);
    *out = (time_t)clock_rule_stamp(&r->clock, now);
    return true;
}

/* ---- lanes ---- */

static bool bucket_take(struct bucket *b, unsigned rate, int64_t mono_ms)
{
    int64_t full = (int64_t)rate * 1000;

    if (b->filled_ms == 0 || mono_ms - b->filled_ms >= 1000)
        b->tokens = full;
    else
        b->tokens += (mono_ms - b->filled_ms) * rate;
    if (b->tokens > full)
        b->tokens = full;
    b->filled_ms = mono_ms;
    if (b->tokens < 1000)
        return false;
    b->tokens -= 1000;
    return true;
}

/* ---- jobs ---- */

/* What strangers can cause is logged once a second at most; the counters hold the rest. */
static void log_failure_seldom(struct responder *r, const char *event, const struct err *e)
{
    int64_t mono = r->hooks.mono_ms(r->hooks.arg);

    if (r->failure_log_ms && mono - r->failure_log_ms < 1000)
        return;
    r->failure_log_ms = mono;
    log_failure(event, e);
}

static void refuse(struct responder *r, void *owner, uint64_t id, enum counter why)
{
    struct sts_ocsp_result res = {.response = ocsp_error(refusal_status(why)), .is_error = true};

    r->count[why]++;
    res.seq = replica_seq(r->replica);
    r->hooks.answer(r->hooks.arg, owner, id, &res);
}

static void join_remove(struct job *job)
{
    struct job **at = &job->r->join[get_be32(job->join_key) % JOIN_BUCKETS];

    if (!job->joinable)
        return;
    while (*at != job)
        at = &(*at)->join_next;
    *at = job->join_next;
    job->joinable = false;
}

static struct job *join_find(struct responder *r, const uint8_t key[32])
{
    struct job *job = r->join[get_be32(key) % JOIN_BUCKETS];

    while (job && memcmp(job->join_key, key, 32) != 0)
        job = job->join_next;
    return job;
}

static void queue_remove(struct job *job)
{
    for (int lane = 0; lane < 2; lane++) {
        struct job *before = NULL;

        for (struct job *at = job->queue->lane[lane].first; at; before = at, at = at->queue_next)
            if (at == job) {
                *(before ? &before->queue_next : &job->queue->lane[lane].first) = job->queue_next;
                if (job->queue->lane[lane].last == job)
                    job->queue->lane[lane].last = before;
                return;
            }
    }
}

static void waiters_drop(struct job *job)
{
    while (job->waiters) {
        struct waiter *w = job->waiters;

        job->waiters = w->next;
        job->r->waiters_n--;
        free(w);
    }
}

/*
 * Answers that are signed for one asker: strangers can make up as many such questions as they like, with a nonce, or as
 * lists of certificates that exist in an order of their own.
 */
static bool is_live(const struct ocsp_request *req)
{
    return req->has_nonce || req->cert_n > 1;
}

/* So are serials that nobody issued. */
static bool enter_unknown_lane(struct job *job)
{
    struct responder *r = job->r;

    if (job->in_unknown_lane)
        return true;
    if (r->unknown_n >= r->limits.unknown_in_flight ||
        !bucket_take(&r->unknown_bucket, r->limits.live_rate, r->hooks.mono_ms(r->hooks.arg)))
        return false;
    job->in_unknown_lane = true;
    r->unknown_n++;
    return true;
}

static void leave_unknown_lane(struct job *job)
{
    if (job->in_unknown_lane)
        job->r->unknown_n--;
    job->in_unknown_lane = false;
}

/* The requests of a job are answered; only a signature under way may still point at it. */
static void job_end(struct job *job)
{
    struct responder *r = job->r;

    waiters_drop(job);
    join_remove(job);
    leave_unknown_lane(job);
    if (job->state == JOB_WAITING)
        queue_remove(job);
    if (job->state == JOB_SIGNING) {
        job->state = JOB_ANSWERED;
        return;
    }
    if (is_live(&job->req))
        r->nonce_n--;
    *(job->prev ? &job->prev->next : &r->first) = job->next;
    *(job->next ? &job->next->prev : &r->last) = job->prev;
    r->jobs_n--;
    buf_clear(&job->data);
    free(job->der);
    free(job);
}

static void job_refuse(struct job *job, enum counter why)
{
    for (struct waiter *w = job->waiters; w; w = w->next)
        refuse(job->r, w->owner, w->id, why);
    job_end(job);
}

static bool job_add_waiter(struct job *job, void *owner, uint64_t id)
{
    struct waiter *w;

    if (job->r->waiters_n >= job->r->limits.waiters_max)
        return false;
    w = calloc(1, sizeof(*w));
    if (!w)
        return false;
    *w = (struct waiter){job->waiters, owner, id};
    job->waiters = w;
    job->r->waiters_n++;
    return true;
}

static struct job *job_new(struct responder *r, struct bytes request, size_t issuer)
{
    struct job *job = calloc(1, sizeof(*job));
    struct err e;

    if (!job)
        return NULL;
    job->der = malloc(request.len);
    if (!job->der) {
        free(job);
        return NULL;
    }
    memcpy(job->der, request.p, request.len);
    job->der_len = request.len;
    if (ocsp_request_read(BYTES(job->der, job->der_len), &job->req, &e) != E_OK) { /* was read once already */
        free(job->der);
        free(job);
        return NULL;
    }
    job->r = r;
    job->issuer = issuer;
    job->generation = r->generation;
    job->deadline_ms = r->hooks.mono_ms(r->hooks.arg) + RESPONDER_DEADLINE_MS;
    buf_init(&job->data, RESPONSE_MAX);
    job->prev = r->last;
    *(r->last ? &r->last->next : &r->first) = job;
    r->last = job;
    r->jobs_n++;
    if (is_live(&job->req))
        r->nonce_n++;
    return job;
}

/* ---- the core's seq ---- */

static void ask_send(struct responder *r)
{
    if (r->hooks.ask(r->hooks.arg, r->ask_last + 1)) {
        r->ask_last++;
        r->ask_in_flight = true;
    }
}

/*
 * An `unknown` must be true after the request came: a serial issued a moment ago may not have reached the replica. The
 * answer to a question already on its way proves nothing for this request, so it waits for the next one.
 */
static void job_ask(struct job *job)
{
    struct responder *r = job->r;

    join_remove(job);
    if (!enter_unknown_lane(job)) {
        job_refuse(job, COUNT_UNKNOWN_LANE);
        return;
    }
    if (!r->ask_in_flight) {
        ask_send(r);
        if (!r->ask_in_flight) {
            job_refuse(job, COUNT_NO_CORE);
            return;
        }
        job->ask_id = r->ask_last;
    } else {
        job->ask_id = r->ask_last + 1;
    }
    job->state = JOB_ASKING;
}

/* Jobs whose question is answered go on once the replica has that seq; the others need the next question. */
static struct job *find_asking(const struct responder *r, uint64_t up_to)
{
    struct job *job = r->first;

    while (job && !(job->state == JOB_ASKING && job->ask_id <= up_to))
        job = job->next;
    return job;
}

static void asking_go_on(struct responder *r)
{
    struct job *job;

    if (!r->ask_in_flight || !r->ask_answered || replica_seq(r->replica) < r->ask_seq)
        return;
    r->ask_in_flight = r->ask_answered = false;
    while ((job = find_asking(r, r->ask_last))) { /* from the front each time: a job going on may end others */
        job->asked = true;
        job_resolve(job);
    }
    if (r->ask_in_flight || !find_asking(r, UINT64_MAX))
        return;
    ask_send(r);
    if (!r->ask_in_flight)
        responder_core_lost(r);
}

void responder_core_seq(struct responder *r, uint64_t ask_id, uint64_t seq)
{
    if (!r->ask_in_flight || ask_id != r->ask_last)
        return;
    r->ask_answered = true;
    r->ask_seq = seq;
    asking_go_on(r);
}

void responder_core_lost(struct responder *r)
{
    r->ask_in_flight = r->ask_answered = false;
    for (struct job *job = r->first, *next; job; job = next) {
        next = job->next;
        if (job->state == JOB_ASKING)
            job_refuse(job, COUNT_NO_CORE);
    }
}

/* ---- making an answer ---- */

/* Looks every certificate up. E_NOT_FOUND: one is missing whose serial could be ours, and the core was not asked. */
static enum err_code look_up(struct job *job, struct replica_row rows[OCSP_CERTS_MAX], struct err *e)
{
    struct responder *r = job->r;
    bool missing = false;

    job->any_unknown = false;
    job->seq = replica_seq(r->replica);
    for (size_t i = 0; i < job->req.cert_n; i++) {
        struct bytes raw = job->req.cert[i].serial, serial = serial_magnitude(raw);
        struct named *n = &job->named[i];
        enum err_code code;

        *n = (struct named){0};
        /* Negative, zero and over-long serials are never ours: no need to ask. */
        if ((raw.len && (raw.p[0] & 0x80)) || serial.len == 0 || serial.len > SERIAL_MAX_LEN) {
            job->any_unknown = true;
            continue;
        }
        memcpy(n->serial, serial.p, serial.len);
        n->serial_len = (uint8_t)serial.len;
        code = replica_get(r->replica, r->issuers[job->issuer].f.id, serial, &rows[i], e);
        if (code != E_OK && code != E_NOT_FOUND)
            return code;
        n->found = code == E_OK;
        n->row_seq = n->found ? rows[i].seq : 0;
        if (!n->found)
            job->any_unknown = missing = true;
    }
    return missing && !job->asked ? E_NOT_FOUND : E_OK;
}

static enum crl_reason reason_of(const struct replica_row *row)
{
    if (row->status == CERT_ON_HOLD)
        return REASON_CERTIFICATE_HOLD;
    /* removeFromCRL belongs to delta CRLs and a hold is not a revocation (RFC 5280 5.3.1). */
    if (row->reason == REASON_REMOVE_FROM_CRL || row->reason == REASON_CERTIFICATE_HOLD)
        return REASON_UNSPECIFIED;
    return row->reason;
}

static void fill_single(const struct job *job, size_t i, const struct replica_row *row, const struct issuer *is,
                        time_t t, struct ocsp_single *out)
{
    const struct named *n = &job->named[i];
    int64_t next = t + (n->found ? is->f.validity_s : RESPONDER_UNKNOWN_VALIDITY_S);

    *out = (struct ocsp_single){.cert_id = job->req.cert[i].raw, .this_update = t - RESPONDER_THIS_UPDATE_BACK_S};
    out->next_update = next < is->f.responder_not_after ? next : is->f.responder_not_after;
    if (n->found) {
        out->status = row->status;
        if (row->changed > out->this_update)
            out->this_update = row->changed;
        if (row->status != CERT_GOOD) {
            out->reason = reason_of(row);
            out->revoked_at = row->time;
        }
    } else if (job->r->limits.unissued_revoked) {
        out->unissued_revoked = true;
        out->status = CERT_ON_HOLD;
        out->reason = REASON_CERTIFICATE_HOLD;
    } else {
        out->unknown = true;
    }
}

static enum err_code write_data(struct job *job, const struct replica_row rows[OCSP_CERTS_MAX], time_t t, struct err *e)
{
    const struct issuer *is = &job->r->issuers[job->issuer];
    struct ocsp_single single[OCSP_CERTS_MAX];
    struct ocsp_response_inputs in = {
        .produced_at = t,
        .single = single,
        .single_n = job->req.cert_n,
        .nonce = job->req.nonce,
        .has_nonce = job->req.has_nonce,
        .extended_revoke = job->any_unknown && job->r->limits.unissued_revoked,
    };

    memcpy(in.responder_key_hash, is->responder_key_hash, sizeof(in.responder_key_hash));
    job->produced_at = t;
    for (size_t i = 0; i < job->req.cert_n; i++) {
        fill_single(job, i, &rows[i], is, t, &single[i]);
        if (i == 0 || single[i].this_update > job->this_update)
            job->this_update = single[i].this_update;
        if (i == 0 || single[i].next_update < job->next_update)
            job->next_update = single[i].next_update;
    }
    buf_reset(&job->data);
    if (ocsp_data_write(&in, &job->data, e) != E_OK)
        return err_wrap(e, "ResponseData of \"%s\"", is->f.name);
    return E_OK;
}

static enum err_code lint_data(const struct job *job, struct err *e)
{
    const struct issuer *is = &job->r->issuers[job->issuer];
    struct lint_ocsp_expect x = {
        .request = BYTES(job->der, job->der_len),
        .now = job->produced_at,
        .responder_not_after = (time_t)is->f.responder_not_after,
    };
    struct lint_report report = {0};

    memcpy(x.responder_key_hash, is->responder_key_hash, sizeof(x.responder_key_hash));
    lint_ocsp(buf_bytes(&job->data), &x, &report);
    return lint_result(&report, "ResponseData", e);
}

static void pump(struct responder *r, struct token_queue *q);

static void enqueue(struct job *job)
{
    struct token_queue *q = job->r->issuers[job->issuer].queue;
    int lane = is_live(&job->req) || job->any_unknown;

    job->state = JOB_WAITING;
    job->queue = q;
    job->queue_next = NULL;
    *(q->lane[lane].last ? &q->lane[lane].last->queue_next : &q->lane[lane].first) = job;
    q->lane[lane].last = job;
    pump(job->r, q);
}

/* One job from "what is asked" to "waiting for its signature", or to its refusal. */
static void job_resolve(struct job *job)
{
    struct responder *r = job->r;
    struct replica_row rows[OCSP_CERTS_MAX];
    const struct issuer *is;
    enum err_code code;
    struct err e = {0};
    time_t t;

    job->state = JOB_NEW;
    if (!r->serving) {
        job_refuse(job, COUNT_NOT_CURRENT);
        return;
    }
    if (job->generation != r->generation) {
        job->generation = r->generation;
        if (!find_issuer(r, &job->req, &job->issuer)) {
            job_refuse(job, COUNT_UNAUTHORIZED);
            return;
        }
    }
    is = &r->issuers[job->issuer];
    code = look_up(job, rows, &e);
    if (code == E_NOT_FOUND) {
        job_ask(job);
        return;
    }
    if (code != E_OK) {
        job_refuse(job, COUNT_NOT_CURRENT);
        r->hooks.replica_bad(r->hooks.arg, &e);
        return;
    }
    if (job->any_unknown && !enter_unknown_lane(job)) { /* also without asking the core */
        job_refuse(job, COUNT_UNKNOWN_LANE);
        return;
    }
    if (!sign_time(r, &t)) {
        job_refuse(job, COUNT_CLOCK);
        return;
    }
    if (!is->fits || t < is->f.responder_not_before || t >= is->f.responder_not_after ||
        !r->hooks.key_ready(r->hooks.arg, is->f.token, is->f.key)) {
        job_refuse(job, COUNT_NO_RESPONDER);
        return;
    }
    if (write_data(job, rows, t, &e) != E_OK) {
        log_failure_seldom(r, "ocsp-write", &e);
        job_refuse(job, COUNT_INTERNAL);
        return;
    }
    if (lint_data(job, &e) != E_OK) {
        log_failure_seldom(r, "ocsp-lint", &e);
        job_refuse(job, COUNT_INTERNAL);
        return;
    }
    enqueue(job);
}

static bool rows_are_unchanged(struct job *job, struct err *e)
{
    struct responder *r = job->r;

    if (replica_seq(r->replica) == job->seq)
        return true;
    for (size_t i = 0; i < job->req.cert_n; i++) {
        const struct named *n = &job->named[i];
        struct replica_row row;
        enum err_code code;

        if (n->serial_len == 0)
            continue;
        code = replica_get(r->replica, r->issuers[job->issuer].f.id, BYTES(n->serial, n->serial_len), &row, e);
        if (code != E_OK && code != E_NOT_FOUND)
            return false;
        if ((code == E_OK) != n->found || (n->found && row.seq != n->row_seq))
            return false;
    }
    job->seq = replica_seq(r->replica);
    return true;
}

static void job_answer(struct job *job, enum sig_alg alg, struct bytes sig)
{
    struct responder *r = job->r;
    const struct issuer *is = &r->issuers[job->issuer];
    AUTO_BUF response = BUF_INIT(RESPONSE_MAX);
    struct sts_ocsp_result res = {0};
    struct err e;

    if (ocsp_response_assemble(buf_bytes(&job->data), alg, sig, is->f.responder_cert, &response, &e) != E_OK) {
        log_failure_seldom(r, "ocsp-write", &e);
        job_refuse(job, COUNT_INTERNAL);
        return;
    }
    res.response = buf_bytes(&response);
    res.cacheable = !job->req.has_nonce && !job->any_unknown;
    res.seq = job->seq;
    res.produced_at = job->produced_at;
    res.this_update = job->this_update;
    res.next_update = job->next_update;
    res.max_age_s = res.cacheable ? (uint32_t)((job->next_update - job->produced_at) / 2) : 0;
    for (size_t i = 0; i < job->req.cert_n; i++) {
        const struct named *n = &job->named[i];

        if (!n->found)
            continue;
        res.cert[res.cert_n].issuer = is->f.id;
        memcpy(res.cert[res.cert_n].serial, n->serial, n->serial_len);
        res.cert[res.cert_n++].serial_len = n->serial_len;
    }
    r->count[COUNT_SIGNED]++;
    if (job->any_unknown)
        r->count[COUNT_UNKNOWN]++;
    if (res.cacheable && job->req.cert_n == 1)
        cache_keep(r, job, res.response);
    for (struct waiter *w = job->waiters; w; w = w->next)
        r->hooks.answer(r->hooks.arg, w->owner, w->id, &res);
    job_end(job);
}

static void judge_signature(struct job *job, enum err_code code, const struct err *why, enum sig_alg alg,
                            struct bytes sig)
{
    struct responder *r = job->r;
    struct err e = {0};

    if (code != E_OK) {
        /* A busy or failing token passes; a refused object is a state we cannot explain (RFC 6960 2.3). */
        bool ours = code == E_INVALID || code == E_CRYPTO || code == E_INTERNAL || code == E_DENIED;

        if (code != E_BUSY)
            log_failure_seldom(r, "ocsp-sign", why);
        job_refuse(job, ours ? COUNT_INTERNAL : COUNT_TOKEN);
        return;
    }
    if (!r->serving || job->generation != r->generation || !rows_are_unchanged(job, &e)) {
        if (e.code != E_OK && e.code != E_NOT_FOUND) {
            job_refuse(job, COUNT_NOT_CURRENT);
            r->hooks.replica_bad(r->hooks.arg, &e);
            return;
        }
        if (++job->attempts >= ATTEMPTS_MAX) {
            job_refuse(job, COUNT_NOT_CURRENT);
            return;
        }
        r->count[COUNT_SIGNED_AGAIN]++;
        job_resolve(job);
        return;
    }
    job_answer(job, alg, sig);
}

static void on_signed(void *arg, enum err_code code, const struct err *why, enum sig_alg alg, struct bytes sig)
{
    struct job *job = arg;
    struct responder *r = job->r;
    bool answered = job->state == JOB_ANSWERED;
    struct token_queue *q = job->queue;

    q->signing--;
    job->state = JOB_NEW;
    if (answered)
        job_end(job);
    else
        judge_signature(job, code, why, alg, sig);
    pump(r, q);
}

static struct job *queue_take(struct token_queue *q)
{
    for (int lane = 0; lane < 2; lane++) {
        struct job *job = q->lane[lane].first;

        if (!job)
            continue;
        q->lane[lane].first = job->queue_next;
        if (!job->queue_next)
            q->lane[lane].last = NULL;
        return job;
    }
    return NULL;
}

/* Hands jobs to the signer as far as its share allows. */
static void pump(struct responder *r, struct token_queue *q)
{
    struct job *job;

    if (q->pumping) /* a job resolved again is queued again: the loop under way takes it, however many there are */
        return;
    q->pumping = true;
    while (q->signing < r->limits.signing_max && (job = queue_take(q))) {
        struct err e = {0};

        job->state = JOB_NEW;
        if (job->generation != r->generation) { /* the issuers changed while it waited */
            job_resolve(job);
            continue;
        }
        if (r->hooks.sign(r->hooks.arg, q->token, r->issuers[job->issuer].f.key, buf_bytes(&job->data),
                          RESPONDER_DEADLINE_MS, on_signed, job, &e) != E_OK) {
            job_refuse(job, COUNT_TOKEN);
            continue;
        }
        q->signing++;
        job->state = JOB_SIGNING;
    }
    q->pumping = false;
}

/* ---- requests ---- */

/* Identical questions: the same CertIDs in the same order, whatever else the request holds. */
static void join_key_of(const struct ocsp_request *req, uint8_t key[32])
{
    AUTO_BUF ids = BUF_INIT(OCSP_REQUEST_MAX);

    for (size_t i = 0; i < req->cert_n; i++)
        buf_add_bytes(&ids, req->cert[i].raw);
    sha256(buf_bytes(&ids), key);
}

static void count_hashes(struct responder *r, const struct ocsp_request *req)
{
    for (size_t i = 0; i < req->cert_n; i++)
        if (req->cert[i].hash == CERT_ID_SHA1)
            r->count[COUNT_SHA1]++;
}

/* What stops a request before any work is done for it; COUNTERS: nothing. */
static enum counter admit(struct responder *r, const struct ocsp_request *req)
{
    if (r->jobs_n >= r->limits.jobs_max)
        return COUNT_FULL;
    if (!is_live(req))
        return COUNTERS;
    if (r->nonce_n >= r->limits.nonce_in_flight ||
        !bucket_take(&r->nonce_bucket, r->limits.live_rate, r->hooks.mono_ms(r->hooks.arg)))
        return COUNT_NONCE_LANE;
    return COUNTERS;
}

void responder_request(struct responder *r, void *owner, uint64_t id, struct bytes request)
{
    struct ocsp_request req;
    uint8_t key[32];
    struct job *job;
    enum counter stop;
    struct err e;
    size_t issuer;

    r->count[COUNT_REQUESTS]++;
    if (request.len > OCSP_REQUEST_MAX || ocsp_request_read(request, &req, &e) != E_OK) {
        refuse(r, owner, id, COUNT_MALFORMED);
        return;
    }
    count_hashes(r, &req);
    r->count[COUNT_NONCE] += req.has_nonce;
    if (!r->issuers_known) {
        refuse(r, owner, id, COUNT_NOT_CURRENT);
        return;
    }
    if (!find_issuer(r, &req, &issuer) || !r->issuers[issuer].offers) {
        refuse(r, owner, id, COUNT_UNAUTHORIZED);
        return;
    }
    if (!r->serving) {
        refuse(r, owner, id, COUNT_NOT_CURRENT);
        return;
    }
    if (answer_from_cache(r, owner, id, &req, r->issuers[issuer].f.id))
        return;
    join_key_of(&req, key);
    job = req.has_nonce ? NULL : join_find(r, key);
    if (job) {
        if (job_add_waiter(job, owner, id))
            r->count[COUNT_JOINED]++;
        else
            refuse(r, owner, id, COUNT_FULL);
        return;
    }
    stop = admit(r, &req);
    if (stop != COUNTERS) {
        refuse(r, owner, id, stop);
        return;
    }
    job = job_new(r, request, issuer);
    if (!job || !job_add_waiter(job, owner, id)) {
        if (job)
            job_end(job);
        refuse(r, owner, id, COUNT_FULL);
        return;
    }
    memcpy(job->join_key, key, sizeof(key));
    if (!req.has_nonce) {
        struct job **bucket = &r->join[get_be32(key) % JOIN_BUCKETS];

        job->join_next = *bucket;
        *bucket = job;
        job->joinable = true;
    }
    job_resolve(job);
}

void responder_forget_owner(struct responder *r, void *owner)
{
    for (struct job *job = r->first, *next; job; job = next) {
        next = job->next;
        for (struct waiter **at = &job->waiters; *at;) {
            struct waiter *w = *at;

            if (w->owner != owner) {
                at = &w->next;
                continue;
            }
            *at = w->next;
            r->waiters_n--;
            free(w);
        }
        if (!job->waiters && job->state != JOB_ANSWERED)
            job_end(job);
    }
}

/* ---- state ---- */

void responder_set_serving(struct responder *r, bool serving)
{
    r->serving = serving; /* jobs under way see it when their signature or the core's seq comes */
}

void responder_rows_applied(struct responder *r, const struct status_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct bytes serial = serial_magnitude(BYTES(rows[i].serial, rows[i].serial_len));

        if (rows[i].issuer)
            cache_drop(r, rows[i].issuer, serial.p, serial.len, NULL);
        time_seen(r, rows[i].time);
    }
    asking_go_on(r);
}

static void log_summary(struct responder *r, int64_t mono)
{
    struct log_line l;
    bool any = false;

    if (mono - r->summary_ms < SUMMARY_MS)
        return;
    r->summary_ms = mono;
    for (int i = COUNT_REFUSED; i < COUNTERS; i++)
        any |= r->count[i] != r->summarised[i];
    if (any) {
        log_begin(&l, LOG_INFO, "ocsp-refused");
        for (int i = COUNT_REFUSED; i < COUNTERS; i++)
            if (r->count[i] != r->summarised[i])
                log_u64(&l, counter_name[i], r->count[i] - r->summarised[i]);
        log_u64(&l, "requests", r->count[COUNT_REQUESTS] - r->summarised[COUNT_REQUESTS]);
        log_end(&l);
    }
    memcpy(r->summarised, r->count, sizeof(r->count));
}

void responder_tick(struct responder *r)
{
    int64_t mono = r->hooks.mono_ms(r->hooks.arg);

    for (struct job *job = r->first, *next; job && job->deadline_ms <= mono; job = next) {
        next = job->next;
        if (job->state != JOB_ANSWERED)
            job_refuse(job, COUNT_DEADLINE);
    }
    log_summary(r, mono);
}

int64_t responder_time(const struct responder *r)
{
    return r->clock.floor;
}

size_t responder_pending(const struct responder *r)
{
    return r->jobs_n;
}

static const char *why_silent(const struct responder *r, const struct issuer *is, time_t now)
{
    if (!is->offers)
        return "no responder configured";
    if (!is->f.responds)
        return "no responder certificate yet";
    if (!is->fits)
        return "responder key and certificate do not fit";
    if (now < is->f.responder_not_before || now >= is->f.responder_not_after)
        return "responder certificate out of date";
    if (!r->hooks.key_ready(r->hooks.arg, is->f.token, is->f.key))
        return "key not ready in its token";
    return "";
}

bool responder_is_able(const struct responder *r)
{
    time_t now = r->hooks.now(r->hooks.arg);
    bool asked = false;

    for (size_t i = 0; i < r->issuers_n; i++) {
        if (!*why_silent(r, &r->issuers[i], now))
            return true;
        asked |= r->issuers[i].offers && r->issuers[i].f.responds;
    }
    return !asked;
}

void responder_health(struct responder *r, struct buf *out)
{
    time_t now = r->hooks.now(r->hooks.arg);

    buf_add_str(out, "\"issuers\":[");
    for (size_t i = 0; i < r->issuers_n; i++) {
        const struct issuer *is = &r->issuers[i];
        const char *why = why_silent(r, is, now);

        buf_printf(out, "%s{\"id\":%u,\"name\":\"%s\",\"responds\":%s,\"why\":\"%s\",\"responder_not_after\":%lld}",
                   i ? "," : "", is->f.id, id_is_valid(is->f.name) ? is->f.name : "", *why ? "false" : "true", why,
                   (long long)is->f.responder_not_after);
    }
    buf_printf(out, "],\"clock\":\"%s\",\"kept\":%zu,\"pending\":%zu,\"count\":{",
               r->clock_verdict == CLOCK_GOOD   ? "good"
               : r->clock_verdict == CLOCK_BACK ? "behind"
                                                : "ahead",
               r->kept_n, r->jobs_n);
    for (int i = 0; i < COUNTERS; i++)
        buf_printf(out, "%s\"%s\":%llu", i ? "," : "", counter_name[i], (unsigned long long)r->count[i]);
    buf_add_str(out, "}");
}

void responder_metrics(struct responder *r, struct buf *out)
{
    time_t now = r->hooks.now(r->hooks.arg);

    om_family(out, "inkan_ocsp_answers", "counter", "", "OCSP answers of the status process: signed, given from kept ones, joined to one under way.");
    om_sample(out, "inkan_ocsp_answers_total", (double)r->count[COUNT_SIGNED], "how", "signed", NULL);
    om_sample(out, "inkan_ocsp_answers_total", (double)r->count[COUNT_FROM_CACHE], "how", "kept", NULL);
    om_sample(out, "inkan_ocsp_answers_total", (double)r->count[COUNT_JOINED], "how", "joined", NULL);
    om_family(out, "inkan_ocsp_requests", "counter", "", "OCSP requests that reached the status process.");
    om_sample(out, "inkan_ocsp_requests_total", (double)r->count[COUNT_REQUESTS], NULL);
    om_family(out, "inkan_ocsp_unknown", "counter", "", "Certificates that were answered as unknown.");
    om_sample(out, "inkan_ocsp_unknown_total", (double)r->count[COUNT_UNKNOWN], NULL);
    om_family(out, "inkan_ocsp_refusals", "counter", "", "OCSP requests that got an error, by reason.");
    for (int i = COUNT_REFUSED; i < COUNTERS; i++)
        om_sample(out, "inkan_ocsp_refusals_total", (double)r->count[i], "reason", counter_name[i], NULL);
    om_family(out, "inkan_ocsp_waiting", "gauge", "", "OCSP requests under way in the status process.");
    om_sample(out, "inkan_ocsp_waiting", (double)r->jobs_n, NULL);
    om_family(out, "inkan_ocsp_kept", "gauge", "", "OCSP answers the status process keeps.");
    om_sample(out, "inkan_ocsp_kept", (double)r->kept_n, NULL);
    om_family(out, "inkan_ocsp_responds", "gauge", "", "1 when OCSP answers for certificates of this issuer can be signed.");
    for (size_t i = 0; i < r->issuers_n; i++)
        om_sample(out, "inkan_ocsp_responds", !*why_silent(r, &r->issuers[i], now), "issuer", r->issuers[i].f.name, NULL);
}

void responder_set_limits(struct responder *r, const struct responder_limits *limits)
{
    r->limits = *limits;
}

struct responder *responder_new(struct replica *replica, const struct responder_hooks *hooks,
                                const struct responder_limits *limits, struct err *e)
{
    struct responder *r = calloc(1, sizeof(*r));

    if (!r) {
        err_set(e, E_NOMEM, "responder");
        return NULL;
    }
    r->replica = replica;
    r->hooks = *hooks;
    r->limits = *limits;
    r->summary_ms = hooks->mono_ms(hooks->arg);
    time_seen(r, replica_time(replica));
    return r;
}

void responder_free(struct responder *r)
{
    if (!r)
        return;
    while (r->first) {
        struct job *job = r->first;

        if (job->state == JOB_SIGNING || job->state == JOB_ANSWERED)
            job->state = JOB_NEW;
        job_end(job);
    }
    responder_forget_answers(r);
    issuers_clear(r->issuers, r->issuers_n);
    issuers_clear(r->issuers_new, r->issuers_new_n);
    while (r->queues) {
        struct token_queue *q = r->queues;

        r->queues = q->next;
        free(q);
    }
    free(r);
}
