/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/feed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/auto.h"
#include "base/feed.h"
#include "base/jws.h"
#include "base/log.h"
#include "base/memfile.h"
#include "ca/replica.h"

#define PAYLOAD_MAX      40000 /* octets of changes in one answer: in base64url, with the chain, it goes to the signer inline */
#define SIGN_DEADLINE    3000
#define ASKERS_MAX       4096
#define ASKERS_OF_ONE    32    /* of one gateway: it asks one thing at a time, and what it hung up on is waited for to its end */
#define SCAN_STEP        5000  /* certificates looked at in one turn of the loop */
#define WRITE_STEP       250   /* lines written in one turn */
#define PARTS            512   /* of one issuer's serials, by their first 9 bits */
#define SNAPSHOT_AGE_MS  60000 /* so long one serves all */
#define SNAPSHOT_IDLE_MS 120000
#define LINE_ROOM        FEED_LINE_MAX

struct ring_row {
    uint32_t cert, device;
};

struct asker {
    TAILQ_ENTRY(asker) link;
    void *owner; /* NULL: gone */
    uint64_t id, after;
    uint8_t caller[32]; /* SHA-256 of its certificate; zeros: a program of this machine */
    int64_t deadline_ms;
};
TAILQ_HEAD(asker_list, asker);

/* Changes on their way to the signer, and who gets them. */
struct job {
    LIST_ENTRY(job) link;
    struct feed *feed;
    uint64_t after;
    struct buf input;
    struct asker_list askers;
};

enum step { STEP_NONE, STEP_COUNT, STEP_PLACE, STEP_WRITE, STEP_SIGN };

/* A snapshot being made. */
struct snapshot {
    enum step step;
    uint64_t seq;
    int64_t time, now;
    uint32_t *issuer; /* ids in rising order */
    size_t issuer_n;
    uint32_t scanned, certs; /* certificates with a lower number than `certs` are in it */
    uint32_t *bucket;        /* issuer_n * PARTS + 1: first the counts, then where each begins in `order` */
    uint32_t *order;         /* certificates, bucket by bucket */
    uint32_t count;
    size_t next;             /* bucket to be written */
    uint32_t next_line;
    struct memfile file;
    size_t head;             /* octets kept free for the JWS and its LF */
    EVP_MD_CTX *md;
    struct buf input;
};

struct feed {
    struct feed_hooks hooks;
    struct access *access;
    const struct conf *conf;
    bool running;
    char ledger[LEDGER_ID_MAX_LEN + 1];
    uint64_t first, seq; /* rows first ... seq are in the ring */
    int64_t time;
    struct ring_row *ring;
    size_t ring_n;
    /* the key */
    char token[ID_MAX_LEN + 1], key[ID_MAX_LEN * 2 + 1];
    struct buf cka_id, spki, chain[2];
    size_t chain_n;
    enum sig_alg alg;
    /* those who ask */
    struct asker_list waiting; /* for a change, or their time */
    size_t askers_n;
    LIST_HEAD(, job) jobs;
    /* snapshots */
    struct event *work;
    struct snapshot making;
    struct asker_list wanting;
    int made_fd;
    char made_etag[128];
    uint64_t made_seq;
    int64_t made_ms, used_ms;
};

/* ---- the key ---- */

static void key_clear(struct feed *f)
{
    buf_clear(&f->cka_id);
    buf_clear(&f->spki);
    for (size_t i = 0; i < ARRAY_LEN(f->chain); i++)
        buf_clear(&f->chain[i]);
    f->chain_n = 0;
    f->key[0] = f->token[0] = '\0';
}

static void snapshot_drop(struct feed *f);

enum err_code feed_set_key(struct feed *f, const struct follow_feed_key *in, struct err *e)
{
    key_clear(f);
    snapshot_drop(f);
    if (!in->key[0])
        return E_OK;
    buf_add_bytes(&f->cka_id, in->cka_id);
    buf_add_bytes(&f->spki, in->spki);
    buf_add_bytes(&f->chain[0], in->cert);
    buf_add_bytes(&f->chain[1], in->issuer);
    if (!buf_ok(&f->cka_id) || !buf_ok(&f->spki) || !buf_ok(&f->chain[0]) || !buf_ok(&f->chain[1]))
        return err_set(e, E_NOMEM, "feed key");
    f->chain_n = in->issuer.len ? 2 : 1;
    f->alg = sig_alg_for_spki(buf_bytes(&f->spki));
    if (!jws_alg_name(f->alg))
        return err_set(e, E_INVALID, "feed key \"%s\": not a key that signs a JWS", in->key);
    snprintf(f->token, sizeof(f->token), "%s", in->token);
    snprintf(f->key, sizeof(f->key), "%s", in->key);
    return E_OK;
}

bool feed_key(const struct feed *f, const char *token, struct signer_key *out)
{
    if (!f->key[0] || strcmp(f->token, token) != 0)
        return false;
    *out = (struct signer_key){.name = f->key, .purpose = PURPOSE_FEED, .cka_id = buf_bytes(&f->cka_id), .spki = buf_bytes(&f->spki)};
    return true;
}

static void signing_input(const struct feed *f, const char *typ, struct bytes payload, struct buf *out)
{
    struct bytes chain[2] = {buf_bytes(&f->chain[0]), buf_bytes(&f->chain[1])};

    feed_signing_input(out, f->alg, typ, chain, f->chain_n, payload);
}

/* The compact JWS in `input`, with the signature as the signer gave it. */
static bool add_signature(struct buf *input, enum sig_alg alg, struct bytes sig)
{
    uint8_t raw[JWS_SIG_MAX];
    size_t n = jws_raw_signature(alg, sig, raw);

    if (n == 0)
        return false;
    feed_signature_write(input, BYTES(raw, n));
    return buf_ok(input);
}

/* ---- lines ---- */

static bool is_listed(const struct feed *f, const struct access_cert *c, int64_t now)
{
    return c->not_after >= now && access_issuer_by_id(f->access, c->issuer) != NULL;
}

static void describe(const struct feed *f, const struct access_cert *c, struct feed_cert *out)
{
    struct access_device d;

    *out = (struct feed_cert){
        .issuer = c->issuer,
        .serial_len = c->serial.len,
        .status = c->status == CERT_GOOD ? FEED_GOOD : c->status == CERT_ON_HOLD ? FEED_ON_HOLD : FEED_REVOKED,
        .reason = c->status == CERT_GOOD ? (struct bytes){NULL, 0} : bytes_str(crl_reason_name(c->reason)),
        .not_after = c->not_after,
    };
    memcpy(out->serial, c->serial.p, c->serial.len);
    if (c->device == ACCESS_NONE)
        return;
    access_get_device(f->access, c->device, &d);
    out->state = bytes_str(device_state_name(d.state));
    out->scope = bytes_str(access_scope_name(access_scope_of(f->access, c)));
    out->domain = bytes_str(d.domain);
    out->device_id = bytes_str(d.device_id);
    out->firmware = bytes_str(d.firmware);
    out->product = bytes_str(d.product);
}

/* ---- changes ---- */

struct changes {
    const struct feed *feed;
    struct buf *out;
    uint64_t seq;
    int64_t now;
    size_t rows;
};

static void put_change(struct changes *x, uint32_t cert)
{
    struct access_cert c;
    struct feed_cert line;

    access_get_cert(x->feed->access, cert, &c);
    if (!is_listed(x->feed, &c, x->now))
        return;
    describe(x->feed, &c, &line);
    feed_changes_row(x->out, x->rows == 0, x->seq, &line);
    x->rows++;
}

/* All of one row of the log, as it stands now; a number that another certificate has since been given says what is right of that one. */
static void put_row(struct changes *x, const struct ring_row *row)
{
    if (row->cert != ACCESS_NONE)
        put_change(x, row->cert);
    if (row->device != ACCESS_NONE)
        for (uint32_t n = access_first_cert(x->feed->access, row->device); n != ACCESS_NONE; n = access_next_cert(x->feed->access, n))
            if (n != row->cert)
                put_change(x, n);
}

/*
 * As many whole rows of the log as fit; *last is the last of them. false: not even one does (a device of hundreds of certificates), and a
 * snapshot has to say it.
 */
static bool rows_write(const struct feed *f, uint64_t after, struct buf *out, uint64_t *last)
{
    struct changes x = {.feed = f, .out = out, .now = (int64_t)f->hooks.now(f->hooks.arg)};

    *last = after;
    for (x.seq = after + 1; x.seq <= f->seq; x.seq++) {
        struct buf before = *out;
        size_t rows = x.rows;

        put_row(&x, &f->ring[x.seq % f->ring_n]);
        if (out->failed || x.rows > FEED_ROWS_MAX) {
            out->len = before.len; /* the memory may have moved; what it held has not changed */
            out->failed = before.failed;
            return rows > 0 || *last > after;
        }
        *last = x.seq;
    }
    return true;
}

static enum err_code changes_input(const struct feed *f, uint64_t after, struct buf *input)
{
    AUTO_BUF rows = BUF_INIT(PAYLOAD_MAX);
    AUTO_BUF payload = BUF_INIT(PAYLOAD_MAX + 1024);
    uint64_t last;

    if (!rows_write(f, after, &rows, &last))
        return E_NOT_FOUND;
    feed_changes_begin(&payload, f->ledger, after, last, f->time);
    buf_add_bytes(&payload, buf_bytes(&rows));
    feed_changes_end(&payload);
    if (!buf_ok(&payload))
        return E_NOMEM;
    signing_input(f, FEED_CHANGES_TYP, buf_bytes(&payload), input);
    return buf_ok(input) ? E_OK : E_NOMEM;
}

static void asker_free(struct feed *f, struct asker_list *list, struct asker *a)
{
    TAILQ_REMOVE(list, a, link);
    f->askers_n--;
    free(a);
}

static void answer_changes(struct feed *f, struct asker_list *list, enum err_code code, struct bytes jws)
{
    struct asker *a;

    while ((a = TAILQ_FIRST(list))) {
        if (a->owner)
            f->hooks.changes(f->hooks.arg, a->owner, a->id, code, jws);
        asker_free(f, list, a);
    }
}

static void job_end(struct job *j, enum err_code code)
{
    struct feed *f = j->feed;

    LIST_REMOVE(j, link);
    answer_changes(f, &j->askers, code, code == E_OK ? buf_bytes(&j->input) : (struct bytes){NULL, 0});
    buf_clear(&j->input);
    free(j);
}

static void on_changes_signed(void *arg, enum err_code code, const struct err *why, enum sig_alg alg, struct bytes sig)
{
    struct job *j = arg;

    if (code != E_OK)
        log_failure("feed-sign-failed", why);
    if (code == E_OK && !add_signature(&j->input, alg, sig))
        code = E_TOKEN;
    job_end(j, code);
}

static struct job *job_of(struct feed *f, uint64_t after)
{
    struct job *j;

    LIST_FOREACH(j, &f->jobs, link)
    if (j->after == after)
        return j;
    return NULL;
}

/* One that has waited, or need not: it joins those who get the same rows, or begins them. */
static void serve(struct feed *f, struct asker_list *list, struct asker *a)
{
    struct job *j = job_of(f, a->after);
    enum err_code code;
    struct err e;

    TAILQ_REMOVE(list, a, link);
    if (a->after + 1 < f->first || a->after > f->seq) {
        f->hooks.changes(f->hooks.arg, a->owner, a->id, E_NOT_FOUND, (struct bytes){NULL, 0});
        f->askers_n--;
        free(a);
        return;
    }
    if (j) {
        TAILQ_INSERT_TAIL(&j->askers, a, link);
        return;
    }
    j = calloc(1, sizeof(*j));
    if (!j) {
        f->hooks.changes(f->hooks.arg, a->owner, a->id, E_NOMEM, (struct bytes){NULL, 0});
        f->askers_n--;
        free(a);
        return;
    }
    j->feed = f;
    j->after = a->after;
    j->input = BUF_INIT(MSG_MAX_LEN);
    TAILQ_INIT(&j->askers);
    TAILQ_INSERT_TAIL(&j->askers, a, link);
    LIST_INSERT_HEAD(&f->jobs, j, link);
    code = changes_input(f, j->after, &j->input);
    if (code == E_OK)
        code = f->hooks.sign(f->hooks.arg, f->token, f->key, buf_bytes(&j->input), on_changes_signed, j, &e);
    if (code != E_OK)
        job_end(j, code);
}

static size_t askers_of(const struct asker_list *list, const uint8_t caller[32])
{
    const struct asker *a;
    size_t n = 0;

    TAILQ_FOREACH(a, list, link)
    n += memcmp(a->caller, caller, sizeof(a->caller)) == 0;
    return n;
}

/* One gateway must not take the places of all the others. */
static bool has_room(const struct feed *f, const struct sts_caller *caller)
{
    size_t n = askers_of(&f->waiting, caller->cert_hash) + askers_of(&f->wanting, caller->cert_hash);
    const struct job *j;

    LIST_FOREACH(j, &f->jobs, link)
    n += askers_of(&j->askers, caller->cert_hash);
    return f->askers_n < ASKERS_MAX && n < ASKERS_OF_ONE;
}

static struct asker *asker_new(struct feed *f, void *owner, uint64_t id, const struct sts_caller *caller)
{
    struct asker *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    a->owner = owner;
    a->id = id;
    memcpy(a->caller, caller->cert_hash, sizeof(a->caller));
    f->askers_n++;
    return a;
}

void feed_get_changes(struct feed *f, void *owner, uint64_t id, const struct sts_caller *caller, uint64_t after, uint32_t wait_s)
{
    const struct bytes none = {NULL, 0};
    struct asker *a;

    if (!f->running || !f->key[0] || !has_room(f, caller)) {
        f->hooks.changes(f->hooks.arg, owner, id, E_BUSY, none);
        return;
    }
    if (after + 1 < f->first || after > f->seq) {
        f->hooks.changes(f->hooks.arg, owner, id, E_NOT_FOUND, none);
        return;
    }
    a = asker_new(f, owner, id, caller);
    if (!a) {
        f->hooks.changes(f->hooks.arg, owner, id, E_NOMEM, none);
        return;
    }
    a->after = after;
    a->deadline_ms = f->hooks.mono_ms(f->hooks.arg) + (int64_t)wait_s * 1000;
    TAILQ_INSERT_TAIL(&f->waiting, a, link);
    if (wait_s == 0 || after < f->seq)
        serve(f, &f->waiting, a);
}

void feed_wake(struct feed *f)
{
    struct asker *a, *next;

    for (a = TAILQ_FIRST(&f->waiting); a; a = next) {
        next = TAILQ_NEXT(a, link);
        if (a->after < f->seq)
            serve(f, &f->waiting, a);
    }
}

/* ---- a snapshot ---- */

static int by_number(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void making_clear(struct feed *f)
{
    struct snapshot *s = &f->making;

    free(s->issuer);
    free(s->bucket);
    free(s->order);
    memfile_clear(&s->file);
    EVP_MD_CTX_free(s->md);
    buf_clear(&s->input);
    *s = (struct snapshot){.file = MEMFILE_INIT};
    access_hold(f->access, false);
}

static void answer_snapshot(struct feed *f, enum err_code code)
{
    struct asker *a;

    while ((a = TAILQ_FIRST(&f->wanting))) {
        if (a->owner)
            f->hooks.snapshot(f->hooks.arg, a->owner, a->id, code, code == E_OK ? f->made_etag : "", code == E_OK ? f->made_fd : -1);
        asker_free(f, &f->wanting, a);
    }
}

static void snapshot_drop(struct feed *f)
{
    if (f->made_fd >= 0)
        close(f->made_fd);
    f->made_fd = -1;
}

static void making_fail(struct feed *f, const struct err *why)
{
    log_failure("feed-snapshot-failed", why);
    making_clear(f);
    answer_snapshot(f, why->code);
}

static void turn(struct feed *f)
{
    static const struct timeval at_once = {0, 0};

    evtimer_add(f->work, &at_once);
}

static void making_start(struct feed *f)
{
    struct snapshot *s = &f->making;
    struct err e;

    *s = (struct snapshot){.step = STEP_COUNT, .seq = f->seq, .time = f->time, .now = (int64_t)f->hooks.now(f->hooks.arg), .file = MEMFILE_INIT};
    s->issuer_n = access_issuers(f->access);
    s->certs = (uint32_t)access_cert_numbers(f->access);
    access_hold(f->access, true);
    s->issuer = calloc(s->issuer_n + 1, sizeof(*s->issuer));
    s->bucket = calloc(s->issuer_n * PARTS + 2, sizeof(*s->bucket));
    s->md = EVP_MD_CTX_new();
    s->input = BUF_INIT(MSG_MAX_LEN);
    if (!s->issuer || !s->bucket || !s->md || EVP_DigestInit_ex2(s->md, EVP_sha256(), NULL) != 1) {
        err_set(&e, E_NOMEM, "snapshot");
        making_fail(f, &e);
        return;
    }
    for (size_t i = 0; i < s->issuer_n; i++)
        s->issuer[i] = access_get0_issuer(f->access, i)->id;
    qsort(s->issuer, s->issuer_n, sizeof(*s->issuer), by_number);
    turn(f);
}

/* The bucket of a certificate; SIZE_MAX: it is not in this snapshot. */
static size_t bucket_of(const struct snapshot *s, const struct access_cert *c)
{
    const uint32_t *at = bsearch(&c->issuer, s->issuer, s->issuer_n, sizeof(*s->issuer), by_number);
    size_t part = 0;

    if (!at || c->not_after < s->now)
        return SIZE_MAX;
    if (c->serial.len == SERIAL_MAX_LEN) /* shorter ones come before all of these */
        part = ((size_t)c->serial.p[0] << 8 | c->serial.p[1]) * PARTS >> 16;
    return (size_t)(at - s->issuer) * PARTS + part;
}

/* Looks at some certificates; true: that was the last of them. */
static bool scan(struct feed *f, void (*take)(struct snapshot *s, size_t bucket, uint32_t cert))
{
    struct snapshot *s = &f->making;
    uint32_t end = s->certs - s->scanned < SCAN_STEP ? s->certs : s->scanned + SCAN_STEP;

    for (; s->scanned < end; s->scanned++) {
        struct access_cert c;
        size_t b;

        access_get_cert(f->access, s->scanned, &c);
        b = bucket_of(s, &c);
        if (b != SIZE_MAX)
            take(s, b, s->scanned);
    }
    return s->scanned == s->certs;
}

static void count_one(struct snapshot *s, size_t bucket, uint32_t cert)
{
    (void)cert;
    s->bucket[bucket + 2]++;
    s->count++;
}

/* bucket[b + 1] is where the next of bucket b goes; once all are placed it is where bucket b + 1 begins. */
static void place_one(struct snapshot *s, size_t bucket, uint32_t cert)
{
    s->order[s->bucket[bucket + 1]++] = cert;
}

static void payload_write(const struct feed *f, const uint8_t sha256[32], struct buf *out)
{
    const struct snapshot *s = &f->making;
    struct feed_issuer *list = calloc(s->issuer_n + 1, sizeof(*list));
    struct feed_snapshot p = {.ledger = f->ledger, .seq = s->seq, .time = s->time, .valid_s = (uint32_t)f->conf->feed_valid_s,
                              .issuers = list, .issuers_n = s->issuer_n, .count = s->count};

    for (size_t i = 0; list && i < s->issuer_n; i++) {
        const struct access_issuer *a = access_issuer_by_id(f->access, s->issuer[i]);

        if (a)
            list[i] = (struct feed_issuer){.n = a->id, .name = a->name, .ski = BYTES_OF(a->ski), .cert = buf_bytes(&a->cert)};
        else
            list[i] = (struct feed_issuer){.n = s->issuer[i], .name = ""};
    }
    memcpy(p.sha256, sha256, sizeof(p.sha256));
    if (list)
        feed_snapshot_write(out, &p);
    else
        out->failed = true;
    free(list);
}

static enum err_code input_write(struct feed *f, const uint8_t sha256[32], struct err *e)
{
    AUTO_BUF payload = BUF_INIT(MSG_MAX_LEN);

    buf_reset(&f->making.input);
    payload_write(f, sha256, &payload);
    signing_input(f, FEED_SNAPSHOT_TYP, buf_bytes(&payload), &f->making.input);
    if (!buf_ok(&payload) || !buf_ok(&f->making.input))
        return err_set(e, E_NOMEM, "snapshot: its head of %zu issuers", f->making.issuer_n);
    return E_OK;
}

/* The lines come behind the JWS, whose length is known: a raw signature has a fixed one. */
static enum err_code file_start(struct feed *f, struct err *e)
{
    const size_t raw = f->alg == SIG_ECDSA_SHA384 ? 96 : 64;
    static const uint8_t zeros[32];
    struct snapshot *s = &f->making;

    if (input_write(f, zeros, e) != E_OK)
        return e->code;
    s->head = s->input.len + 1 + (raw * 4 + 2) / 3 + 1;
    if (memfile_open(&s->file, "inkan-feed", s->head + (size_t)s->count * LINE_ROOM + 1, e) != E_OK)
        return e->code;
    s->file.b.len = s->head;
    return E_OK;
}

static const struct access *sorting; /* of the table that by_serial looks into; one thread */

static int by_serial(const void *a, const void *b)
{
    struct access_cert x, y;

    access_get_cert(sorting, *(const uint32_t *)a, &x);
    access_get_cert(sorting, *(const uint32_t *)b, &y);
    if (x.serial.len != y.serial.len)
        return x.serial.len < y.serial.len ? -1 : 1;
    return memcmp(x.serial.p, y.serial.p, x.serial.len);
}

/* Some lines; true: those were the last. */
static bool write_lines(struct feed *f)
{
    struct snapshot *s = &f->making;
    size_t start = s->file.b.len, buckets = s->issuer_n * PARTS;
    uint32_t n = 0;

    for (; s->next < buckets && n < WRITE_STEP; s->next++) {
        uint32_t from = s->bucket[s->next], to = s->bucket[s->next + 1];

        sorting = f->access;
        qsort(s->order + from, to - from, sizeof(*s->order), by_serial);
        for (; from < to; from++, n++) {
            struct access_cert c;
            struct feed_cert line;

            access_get_cert(f->access, s->order[from], &c);
            describe(f, &c, &line);
            feed_cert_write(&s->file.b, &line);
            buf_add_u8(&s->file.b, '\n');
        }
    }
    EVP_DigestUpdate(s->md, s->file.b.p + start, s->file.b.len - start);
    return s->next == buckets;
}

static void making_done(struct feed *f, enum sig_alg alg, struct bytes sig)
{
    struct snapshot *s = &f->making;
    struct err e = {0};

    if (!add_signature(&s->input, alg, sig) || s->input.len + 1 != s->head) {
        err_set(&e, E_TOKEN, "snapshot: the signature is not as long as it should be");
        making_fail(f, &e);
        return;
    }
    memcpy(s->file.b.p, s->input.p, s->input.len);
    s->file.b.p[s->input.len] = '\n';
    if (memfile_seal(&s->file, &e) != E_OK) {
        making_fail(f, &e);
        return;
    }
    snapshot_drop(f);
    f->made_fd = dup(s->file.fd);
    f->made_seq = s->seq;
    f->made_ms = f->used_ms = f->hooks.mono_ms(f->hooks.arg);
    snprintf(f->made_etag, sizeof(f->made_etag), "\"%" PRIu64 "-%.32s\"", s->seq, f->ledger);
    making_clear(f);
    answer_snapshot(f, f->made_fd >= 0 ? E_OK : E_IO);
}

static void on_snapshot_signed(void *arg, enum err_code code, const struct err *why, enum sig_alg alg, struct bytes sig)
{
    struct feed *f = arg;

    if (f->making.step != STEP_SIGN)
        return; /* given up meanwhile */
    if (code != E_OK)
        making_fail(f, why);
    else
        making_done(f, alg, sig);
}

static enum err_code sign_it(struct feed *f, struct err *e)
{
    struct snapshot *s = &f->making;
    uint8_t hash[32];

    if (!buf_ok(&s->file.b) || EVP_DigestFinal_ex(s->md, hash, NULL) != 1)
        return err_set(e, E_NOMEM, "snapshot");
    if (input_write(f, hash, e) != E_OK)
        return e->code;
    s->step = STEP_SIGN;
    return f->hooks.sign(f->hooks.arg, f->token, f->key, buf_bytes(&s->input), on_snapshot_signed, f, e);
}

static enum err_code counted(struct feed *f, struct err *e)
{
    struct snapshot *s = &f->making;

    for (size_t b = 2; b < s->issuer_n * PARTS + 2; b++)
        s->bucket[b] += s->bucket[b - 1];
    s->order = calloc((size_t)s->count + 1, sizeof(*s->order));
    if (!s->order)
        return err_set(e, E_NOMEM, "snapshot");
    s->scanned = 0;
    s->step = STEP_PLACE;
    return file_start(f, e);
}

static void on_work(evutil_socket_t fd, short what, void *arg)
{
    struct feed *f = arg;
    struct snapshot *s = &f->making;
    struct err e = {0};

    (void)fd;
    (void)what;
    switch (s->step) {
    case STEP_COUNT:
        if (scan(f, count_one) && counted(f, &e) != E_OK)
            break;
        turn(f);
        return;
    case STEP_PLACE:
        if (scan(f, place_one))
            s->step = STEP_WRITE;
        turn(f);
        return;
    case STEP_WRITE:
        if (!write_lines(f))
            turn(f);
        else if (sign_it(f, &e) != E_OK)
            break;
        return;
    default:
        return;
    }
    making_fail(f, &e);
}

void feed_get_snapshot(struct feed *f, void *owner, uint64_t id, const struct sts_caller *caller)
{
    int64_t ms = f->hooks.mono_ms(f->hooks.arg);
    struct asker *a;

    if (!f->running || !f->key[0] || !has_room(f, caller)) {
        f->hooks.snapshot(f->hooks.arg, owner, id, E_BUSY, "", -1);
        return;
    }
    if (f->made_fd >= 0 && f->made_seq + 1 >= f->first && (f->made_seq == f->seq || ms - f->made_ms < SNAPSHOT_AGE_MS)) {
        f->used_ms = ms;
        f->hooks.snapshot(f->hooks.arg, owner, id, E_OK, f->made_etag, f->made_fd);
        return;
    }
    a = asker_new(f, owner, id, caller);
    if (!a) {
        f->hooks.snapshot(f->hooks.arg, owner, id, E_NOMEM, "", -1);
        return;
    }
    TAILQ_INSERT_TAIL(&f->wanting, a, link);
    if (f->making.step == STEP_NONE)
        making_start(f);
}

/* ---- the whole ---- */

static void forget(struct asker_list *list, void *owner)
{
    struct asker *a;

    TAILQ_FOREACH(a, list, link)
    if (a->owner == owner)
        a->owner = NULL;
}

void feed_forget_owner(struct feed *f, void *owner)
{
    struct asker *a, *next;
    struct job *j;

    for (a = TAILQ_FIRST(&f->waiting); a; a = next) {
        next = TAILQ_NEXT(a, link);
        if (a->owner == owner)
            asker_free(f, &f->waiting, a);
    }
    LIST_FOREACH(j, &f->jobs, link)
    forget(&j->askers, owner);
    forget(&f->wanting, owner);
}

void feed_tick(struct feed *f)
{
    int64_t ms = f->hooks.mono_ms(f->hooks.arg);
    struct asker *a, *next;

    for (a = TAILQ_FIRST(&f->waiting); a; a = next) {
        next = TAILQ_NEXT(a, link);
        if (ms >= a->deadline_ms)
            serve(f, &f->waiting, a); /* a heartbeat */
    }
    if (f->made_fd >= 0 && ms - f->used_ms > SNAPSHOT_IDLE_MS)
        snapshot_drop(f);
}

void feed_start(struct feed *f, struct bytes ledger_id, uint64_t seq)
{
    struct asker *a, *next;

    snprintf(f->ledger, sizeof(f->ledger), "%.*s", (int)ledger_id.len, (const char *)ledger_id.p);
    f->running = true;
    f->seq = seq;
    f->first = seq + 1;
    for (a = TAILQ_FIRST(&f->waiting); a; a = next) { /* they may have missed rows */
        next = TAILQ_NEXT(a, link);
        if (a->after != seq)
            serve(f, &f->waiting, a);
    }
}

void feed_stop(struct feed *f)
{
    f->running = false;
    f->time = 0;
    snapshot_drop(f);
    making_clear(f);
    evtimer_del(f->work);
    answer_changes(f, &f->waiting, E_BUSY, (struct bytes){NULL, 0});
    answer_snapshot(f, E_BUSY);
}

void feed_note(struct feed *f, uint64_t seq, const struct access_change *change)
{
    if (!f->running)
        return;
    f->ring[seq % f->ring_n] = (struct ring_row){change->cert, change->device};
    f->seq = seq;
    if (f->seq - f->first + 1 > f->ring_n)
        f->first = f->seq - f->ring_n + 1;
}

void feed_current(struct feed *f, int64_t time)
{
    f->time = time;
}

void feed_set_conf(struct feed *f, const struct conf *conf)
{
    f->conf = conf;
}

struct feed *feed_new(struct event_base *base, struct access *access, const struct feed_hooks *hooks, const struct conf *conf, struct err *e)
{
    struct feed *f = calloc(1, sizeof(*f));

    if (!f) {
        err_set(e, E_NOMEM, "feed");
        return NULL;
    }
    f->hooks = *hooks;
    f->access = access;
    f->conf = conf;
    f->made_fd = -1;
    f->making.file = MEMFILE_INIT;
    f->cka_id = f->spki = BUF_INIT(SPKI_MAX_LEN);
    f->chain[0] = f->chain[1] = BUF_INIT(CERT_MAX_LEN);
    TAILQ_INIT(&f->waiting);
    TAILQ_INIT(&f->wanting);
    LIST_INIT(&f->jobs);
    f->ring_n = conf->feed_keep;
    f->ring = calloc(f->ring_n, sizeof(*f->ring));
    f->work = evtimer_new(base, on_work, f);
    if (!f->ring || !f->work) {
        feed_free(f);
        err_set(e, E_NOMEM, "feed");
        return NULL;
    }
    return f;
}

void feed_free(struct feed *f)
{
    struct asker *a;

    if (!f)
        return;
    while ((a = TAILQ_FIRST(&f->waiting)))
        asker_free(f, &f->waiting, a);
    while ((a = TAILQ_FIRST(&f->wanting)))
        asker_free(f, &f->wanting, a);
    making_clear(f);
    snapshot_drop(f);
    key_clear(f);
    if (f->work)
        event_free(f->work);
    free(f->ring);
    free(f);
}
