/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/issue.h"

#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/clock.h"
#include "base/der.h"
#include "base/life.h"
#include "base/oid.h"
#include "ca/alarm.h"
#include "ca/budget.h"
#include "ca/capture.h"
#include "ca/csr.h"
#include "ca/draft.h"
#include "ca/enroll_policy.h"
#include "ca/factory.h"
#include "ca/keygen.h"
#include "ca/life.h"
#include "ca/metrics.h"
#include "ca/parcel.h"
#include "ca/record.h"
#include "ca/repeat_rule.h"
#include "ca/request.h"
#include "ca/store/life.h"
#include "ca/store/people.h"

#define LINGER_US         3000 /* with signatures under way: how long their results wait for company */
#define IN_FLIGHT_MAX     4    /* times batch_max */
#define RETRY_AFTER_S     5
#define SUPERSEDE_MAX     64
#define KEY_WAIT_MS       10000 /* for a key: of the pool, or of a token */
#define KEY_LOOK_MS       500
#define JOINED_MAX        64 /* requests of one device that wait for its certificate */

enum job_state { JOB_WAITING, JOB_SIGNING, JOB_BACK, JOB_ANSWERED };

/* An operator's or the service's order, copied. */
struct order_copy {
    struct buf csr, spki;
    char profile[ID_MAX_LEN + 1], requester[ID_MAX_LEN * 2 + 1], domain[ID_MAX_LEN + 1], device_id[ID_MAX_LEN + 1];
    char name[256], product[ID_MAX_LEN + 1], model[ID_MAX_LEN + 1], lot[ID_MAX_LEN + 1];
    char issuer[ID_MAX_LEN + 1], becomes_ca[ID_MAX_LEN + 1], subordinate[ID_MAX_LEN + 1];
    char station[ID_MAX_LEN + 1], line[ID_MAX_LEN + 1];
    bool server_names, repeats;
    uint64_t key, operator_id;
    int64_t not_after_max;
    uint8_t digest[32];
    struct actor by;
};

struct issue_job {
    TAILQ_ENTRY(issue_job) link;
    TAILQ_HEAD(, issue_job) joined; /* requests for the same device, evaluated again after this one */
    size_t joined_n;
    struct core *core;
    enum job_state state;
    issue_fn done;
    void *arg;
    uint64_t rid;

    bool is_est, is_factory, is_captured;
    bool token_failed; /* its signature did not come for the token's sake: it is kept now, if that is possible */
    uint64_t unit;     /* is_captured: whose request it is; the CSR is order.csr */
    struct buf packet; /* the message that `est` or `act` borrows from; wiped with the job: it may hold a password */
    struct svc_enroll est;
    struct svc_factory act;
    struct order_copy order;

    /* what was decided */
    struct grant grant;
    const struct conf_profile *profile;
    char ca[ID_MAX_LEN + 1];
    bool is_root;         /* it signs itself: its row comes with its certificate, and goes when that is undone */
    uint32_t issuer;      /* 0: a root without a row yet */
    uint64_t device;      /* in flight for it */
    struct device_facts facts;
    uint8_t operation;
    bool pays;            /* one unit of a line box's budget */
    char domain[ID_MAX_LEN + 1], requester[ID_MAX_LEN * 2 + 16];
    struct cert_draft draft;
    uint8_t profile_hash[32]; /* as in the intent: the configuration may be read again before the signature is back */

    /* serverkeygen */
    struct parcel parcel;
    enum key_alg key_alg;    /* of the key it waits for */
    int64_t key_until_ms;    /* monotonic; 0: not waiting for a key yet */
    bool key_asked;          /* a token makes it */
    struct err key_error;    /* none came */
    struct buf package_sig;

    /* the signatures: of the certificate, and of the key package where there is one */
    unsigned awaited;
    struct err sign_error;
    enum sig_alg sign_alg;
    struct buf sig;

    struct issue_result result;
    struct buf cert;
    struct buf body; /* is_factory: the answer */
};
TAILQ_HEAD(job_list, issue_job);

struct issuance {
    struct core *core;
    struct job_list queue, keyless, signing, back, answered;
    size_t queue_n, keyless_n, signing_n, back_n, joined_n;
    struct keygen_pool *pool;
    struct event *cycle, *linger, *key_timer;
    bool scheduled, running;
    int64_t asked_us; /* clock_mono_us, when the newest request came; 0: none yet */
    const char *pause_file; /* test builds only */
};

/* ---- jobs ---- */

static struct issue_job *job_new(struct core *c, issue_fn done, void *arg)
{
    struct issue_job *j = calloc(1, sizeof(*j));

    if (!j)
        return NULL;
    TAILQ_INIT(&j->joined);
    c->issuance->asked_us = clock_mono_us();
    j->core = c;
    j->done = done;
    j->arg = arg;
    buf_init(&j->packet, MSG_MAX_LEN);
    buf_init(&j->order.csr, CSR_MAX_LEN);
    buf_init(&j->order.spki, SPKI_MAX_LEN);
    draft_init(&j->draft);
    buf_init(&j->sig, SIGNATURE_MAX_LEN);
    buf_init(&j->cert, CERT_MAX_LEN);
    buf_init(&j->body, FACTORY_ANSWER_MAX);
    grant_init(&j->grant);
    parcel_init(&j->parcel);
    buf_init(&j->package_sig, SIGNATURE_MAX_LEN);
    return j;
}

static void job_free(struct issue_job *j)
{
    buf_wipe(&j->packet);
    buf_clear(&j->order.csr);
    buf_clear(&j->order.spki);
    draft_clear(&j->draft);
    buf_clear(&j->sig);
    buf_clear(&j->cert);
    buf_wipe(&j->body); /* it may be the secret of a unit */
    grant_clear(&j->grant);
    parcel_clear(&j->parcel);
    buf_clear(&j->package_sig);
    free(j);
}

static void kick(struct issuance *q)
{
    struct timeval linger = {0, LINGER_US};

    if (q->scheduled || q->running || (q->back_n == 0 && q->queue_n == 0))
        return;
    if (q->signing_n == 0) {
        q->scheduled = true;
        event_active(q->cycle, EV_TIMEOUT, 0);
    } else if (!evtimer_pending(q->linger, NULL)) {
        evtimer_add(q->linger, &linger);
    }
}

static void enqueue(struct issuance *q, struct issue_job *j)
{
    j->state = JOB_WAITING;
    TAILQ_INSERT_TAIL(&q->queue, j, link);
    q->queue_n++;
    kick(q);
}

size_t issue_waiting(const struct core *c)
{
    return c->issuance->queue_n + c->issuance->keyless_n + c->issuance->joined_n + c->issuance->signing_n + c->issuance->back_n;
}

int64_t issue_asked_us(const struct core *c)
{
    return c->issuance->asked_us;
}

static enum err_code room(struct core *c, struct err *e)
{
    if (c->stopping)
        return err_set(e, E_STORE, "the service stops");
    if (c->issuance->queue_n + c->issuance->keyless_n + c->issuance->joined_n >= c->conf->enroll_queue)
        return err_set(e, E_BUSY, "too many requests are waiting");
    return E_OK;
}

/* A request of a front: what it borrows from its message is copied with it. */
static enum err_code from_message(struct core *c, struct msg_reader *r, bool factory, issue_fn done, void *arg, struct err *e)
{
    struct issue_job *j = job_new(c, done, arg);
    struct msg_reader copy = *r;
    enum err_code code;

    if (!j)
        return err_set(e, E_NOMEM, "request");
    j->is_est = !factory;
    j->is_factory = factory;
    j->rid = r->request_id;
    buf_add(&j->packet, r->p, r->len);
    copy.p = j->packet.p;
    if (!buf_ok(&j->packet))
        code = err_set(e, E_NOMEM, "request");
    else
        code = factory ? svc_factory_decode(&copy, &j->act, e) : svc_enroll_decode(&copy, &j->est, e);
    if (code == E_OK)
        code = room(c, e);
    if (code != E_OK) {
        job_free(j);
        return code;
    }
    enqueue(c->issuance, j);
    return E_OK;
}

enum err_code issue_est(struct core *c, struct msg_reader *r, issue_fn done, void *arg, struct err *e)
{
    return from_message(c, r, false, done, arg, e);
}

enum err_code issue_factory(struct core *c, struct msg_reader *r, issue_fn done, void *arg, struct err *e)
{
    return from_message(c, r, true, done, arg, e);
}

enum err_code issue_captured(struct core *c, uint64_t unit, issue_fn done, void *arg, struct err *e)
{
    struct issue_job *j;

    if (room(c, e) != E_OK)
        return e->code;
    j = job_new(c, done, arg);
    if (!j)
        return err_set(e, E_NOMEM, "request");
    j->is_captured = true;
    j->unit = unit;
    enqueue(c->issuance, j);
    return E_OK;
}

#define COPY_TEXT(to, from, what)                                                                                      \
    do {                                                                                                               \
        if ((from) && strlen(from) >= sizeof(to)) {                                                                    \
            job_free(j);                                                                                               \
            return err_set(e, E_INVALID, "%s is longer than %zu octets", (what), sizeof(to) - 1);                      \
        }                                                                                                              \
        snprintf((to), sizeof(to), "%s", (from) ? (from) : "");                                                        \
    } while (0)

enum err_code issue_order(struct core *c, const struct issue_order *o, issue_fn done, void *arg, struct err *e)
{
    struct issue_job *j;
    struct order_copy *k;

    if (room(c, e) != E_OK)
        return e->code;
    j = job_new(c, done, arg);
    if (!j)
        return err_set(e, E_NOMEM, "request");
    k = &j->order;
    COPY_TEXT(k->profile, o->profile, "profile");
    COPY_TEXT(k->requester, o->requester, "requester");
    COPY_TEXT(k->domain, o->domain, "domain");
    COPY_TEXT(k->device_id, o->device_id, "device_id");
    COPY_TEXT(k->name, o->name, "name");
    COPY_TEXT(k->product, o->product, "product");
    COPY_TEXT(k->model, o->model, "model");
    COPY_TEXT(k->lot, o->lot, "lot");
    COPY_TEXT(k->issuer, o->issuer, "issuer");
    COPY_TEXT(k->becomes_ca, o->becomes_ca, "CA");
    COPY_TEXT(k->subordinate, o->subordinate, "CA");
    COPY_TEXT(k->station, o->station, "station");
    COPY_TEXT(k->line, o->line, "line");
    k->server_names = o->server_names;
    k->repeats = o->repeats;
    k->key = o->key;
    k->operator_id = o->operator_id;
    k->not_after_max = o->not_after_max;
    k->by = *o->by;
    if (o->by->request_digest.len == sizeof(k->digest)) {
        memcpy(k->digest, o->by->request_digest.p, sizeof(k->digest));
        k->by.request_digest = BYTES_OF(k->digest);
    }
    buf_add_bytes(&k->csr, o->csr);
    buf_add_bytes(&k->spki, o->spki);
    if (!buf_ok(&k->csr) || !buf_ok(&k->spki)) {
        buf_err(k->csr.failed ? &k->csr : &k->spki, e, "CSR of more than %d octets", CSR_MAX_LEN);
        job_free(j);
        return e->code;
    }
    enqueue(c->issuance, j);
    return E_OK;
}

/* ---- step: the to-be-signed bytes, linted, and their intent ---- */

/* The signing CA as writer and linter see it; for a root about to sign itself, made from its key. */
struct signing_ca {
    struct cert_issuer issuer;
    struct buf subject;
};

static enum err_code self_issuer(const struct authority *a, const struct pubkey *key, int64_t now,
                                 struct signing_ca *out, struct err *e)
{
    if (name_from_text(a->conf->subject, &out->subject, e) != E_OK)
        return err_wrap(e, "subject of \"%s\"", a->conf->name);
    out->issuer = (struct cert_issuer){
        .name = a->conf->name,
        .subject = buf_bytes(&out->subject),
        .spki = key->spki,
        .not_before = now - NOT_BEFORE_SLACK_S,
        .not_after = TIME_NO_EXPIRY,
        .sig_alg = sig_alg_for_spki(key->spki),
        .is_self = true,
    };
    ski_of(key->key_bits, out->issuer.ski);
    return E_OK;
}

static enum err_code write_intent(struct issue_job *j, int64_t now, struct err *e)
{
    struct core *c = j->core;
    struct intent_row row = {
        .issuer = j->issuer,
        .serial_len = sizeof(j->draft.serial),
        .requester = j->requester,
        .domain = j->domain,
        .device = j->facts.id,
        .created_at = now,
    };
    char object[96], hex[65];

    if (j->is_root) {
        /* The row of a root that signs itself comes with its certificate; its intent is an entry of the trail. */
        object_of_cert(object, sizeof(object), 0, BYTES_OF(j->draft.serial));
        hex_encode(j->draft.linted, sizeof(j->draft.linted), hex);
        return core_audit(c, &j->order.by, "root-intent", "", object,
                          json_pack("{s:s, s:s}", "ca", j->ca, "tbs_sha256", hex), now, e);
    }
    memcpy(row.serial, j->draft.serial, sizeof(j->draft.serial));
    memcpy(row.tbs_hash, j->draft.linted, 32);
    memcpy(row.profile_hash, j->profile_hash, 32);
    return store_intent_insert(c->store, &row, e);
}

/* A new key for a unit of an order is the order's affair (its allowance of re-keys); every other certificate of a device is paid. */
static bool device_pays(const struct issue_job *j)
{
    struct cert_row row;
    struct err e = {0};

    if (!j->core->budgets || !j->facts.id || (j->profile->kind != PROFILE_IDEVID && j->profile->kind != PROFILE_LDEVID))
        return false;
    return !j->grant.unit.order || store_cert_newest(j->core->store, j->facts.id, j->profile->kind, &row, &e) != E_OK ||
           strcmp(row.order_no, j->facts.order_no) != 0;
}

/* Drafts the certificate and records the intent. `in` holds what differs; j->profile, j->ca and j->facts are set. */
static enum err_code build(struct issue_job *j, struct cert_inputs *in, const struct csr *csr, const char *device_id,
                           int64_t now, struct err *e)
{
    struct core *c = j->core;
    struct authority *a = authority_find(c, j->ca);
    bool self = j->order.becomes_ca[0] && a && authority_is_root(a) && strcmp(j->order.becomes_ca, j->ca) == 0;
    struct signing_ca ca = {.subject = BUF_INIT(NAME_MAX_LEN)};
    const char *why = NULL;
    enum err_code code = E_OK;

    if (!a || (!self && !authority_is_ready(c, a, &why)))
        return err_set(e, E_TOKEN, "CA \"%s\" is not ready: %s", j->ca, a ? why : "not configured");
    /* A revoked CA certifies nobody; its responder goes on telling the world so. */
    if (!self && j->profile->kind != PROFILE_OCSP_SIGNER && authority_is_good(c, a, e) != E_OK)
        return e->code;
    j->pays = device_pays(j);
    if (j->pays && budget_allows(c, j->facts.order_no, now, &j->grant, e) != E_OK)
        return e->code;
    if (self)
        code = self_issuer(a, in->key, now, &ca, e);
    else
        authority_issuer(a, &ca.issuer);
    j->is_root = self;
    j->issuer = self ? 0 : a->id;
    if (code == E_OK)
        code = draft_make(c->conf, j->profile, &ca.issuer, a->conf->crl_shards, in, csr, device_id, now, &j->draft, e);
    if (code == E_OK) {
        memcpy(j->profile_hash, core_profile_hash(c, j->profile), 32);
        code = write_intent(j, now, e);
    }
    buf_clear(&ca.subject);
    return code;
}

/* ---- step: deciding about one request ---- */

enum decision { DECIDED_SIGN, DECIDED_ANSWER, DECIDED_JOIN, DECIDED_KEY /* once there is one, all is asked again */ };

static void set_text(char *out, size_t size, const char *s)
{
    snprintf(out, size, "%s", s ? s : "");
}

static struct issue_job *in_flight_for(struct issuance *q, uint64_t device)
{
    struct issue_job *j;

    TAILQ_FOREACH(j, &q->signing, link)
    {
        if (j->device == device)
            return j;
    }
    TAILQ_FOREACH(j, &q->back, link)
    {
        if (j->device == device)
            return j;
    }
    return NULL;
}

static void answer_stored(struct issue_job *j, const struct grant *g)
{
    buf_reset(&j->cert);
    buf_add_bytes(&j->cert, buf_bytes(&g->stored));
    memcpy(j->draft.serial, g->stored_serial, sizeof(j->draft.serial));
    j->result = (struct issue_result){
        .code = E_OK,
        .cert = buf_bytes(&j->cert),
        .issuer = g->stored_issuer,
        .serial = BYTES(j->draft.serial, g->stored_serial_len),
        .not_before = g->stored_not_before,
        .not_after = g->stored_not_after,
        .repeat = true,
        .binding_judged = g->binding_judged,
    };
}

/* 202 (RFC 7030 4.2.3). "": the client has only to come again. */
static void answer_pending(struct issue_job *j, const char *text)
{
    j->result = (struct issue_result){.code = E_PENDING, .retry_after_s = j->grant.retry_after_s,
                                      .binding_judged = j->grant.binding_judged};
    set_text(j->result.err.msg, sizeof(j->result.err.msg), text);
}

/* The token of its CA does not sign, or did not a moment ago. */
static bool token_is_down(struct issue_job *j)
{
    struct authority *a = authority_find(j->core, j->grant.profile->ca);

    return a && a->exists && (j->token_failed || !authority_signs_now(j->core, a));
}

/* What the grant lets a device have: drafted and recorded as an intent. */
static enum err_code sign_granted(struct issue_job *j, const struct csr *csr, const struct pubkey *key, int64_t now, struct err *e)
{
    const struct grant *g = &j->grant;
    struct cert_inputs in;

    j->profile = g->profile;
    j->facts = g->device;
    j->operation = g->operation;
    set_text(j->ca, sizeof(j->ca), j->profile->ca);
    set_text(j->domain, sizeof(j->domain), g->device.domain);
    if (g->device.id)
        snprintf(j->requester, sizeof(j->requester), "device:%s/%s", g->device.domain, g->device.device_id);
    else
        snprintf(j->requester, sizeof(j->requester), "station:%s", g->device.station);
    in = (struct cert_inputs){
        .not_after_max = g->not_after_max,
        .device_id = g->device.device_id,
        .domain = g->device.domain,
        .product = g->device.product,
        .model = g->device.model,
        .lot = g->device.lot,
        .subject = buf_bytes(&g->subject),
        .san_der = buf_bytes(&g->san),
        .key = key,
    };
    return build(j, &in, csr, g->device.id ? g->device.device_id : NULL, now, e);
}

/* The key that will be certified: one that is there, or DECIDED_KEY. It belongs to the device's unit like one it brought itself. */
static enum err_code find_key(struct issue_job *j, const struct csr *csr, int64_t now, struct pubkey *key, enum decision *out,
                              struct err *e)
{
    const struct conf_profile *p = j->grant.profile;
    struct parcel *parcel = &j->parcel;
    enum err_code code = E_OK;

    if (j->key_error.code != E_OK) {
        *e = j->key_error;
        return e->code;
    }
    if (parcel->key.alg != p->keygen_key) { /* none, or the profile was changed meanwhile */
        new_key_free(&parcel->key);
        if (p->keygen == KEYGEN_TOKEN || (key_rsa_bits(p->keygen_key) && !keygen_pool_take(j->core->issuance->pool, p->keygen_key, &parcel->key)))
            *out = DECIDED_KEY;
        else if (!key_rsa_bits(p->keygen_key))
            code = new_key_make(p->keygen_key, &parcel->key, e);
    }
    if (code != E_OK || *out == DECIDED_KEY)
        return code;
    code = pubkey_read(buf_bytes(&parcel->key.spki), key, e);
    if (code == E_OK && bytes_equal(key->spki, csr->key.spki)) /* RFC 7030 4.4.1: that one is not taken; by chance it never comes */
        code = err_set(e, E_CRYPTO, "a new key that is not new");
    if (code == E_OK)
        code = enroll_claim_key(j->core, &j->grant, key, now, e);
    return code == E_OK && j->grant.recipient.kind != RECIPIENT_NONE ? parcel_pack(j->core, parcel, e) : code;
}

static enum err_code prepare_est(struct issue_job *j, int64_t now, enum decision *out, struct err *e)
{
    bool keygen = j->est.operation == SVC_SERVERKEYGEN;
    struct pubkey made;
    struct core *c = j->core;
    struct grant *g = &j->grant;
    struct csr csr;
    enum err_code code;

    grant_clear(g);
    grant_init(g);
    if ((code = enroll_precheck(c, &j->est, g, e)) != E_OK ||
        (code = keygen ? csr_read_for_keygen(j->est.csr, &csr, e) : csr_read(j->est.csr, &csr, e)) != E_OK ||
        (code = enroll_authorise(c, &j->est, &csr, now, g, e)) != E_OK) {
        if (code != E_PENDING)
            return code;
        answer_pending(j, "");
        *out = DECIDED_ANSWER;
        return E_OK;
    }
    if (g->device.id && in_flight_for(c->issuance, g->device.id)) {
        *out = DECIDED_JOIN;
        return E_OK;
    }
    if (g->repeat) {
        answer_stored(j, g);
        *out = DECIDED_ANSWER;
        return E_OK;
    }
    if (g->approval && (code = request_judge(c, &j->est, &csr, now, g, e)) != E_OK) {
        if (code != E_PENDING)
            return code;
        answer_pending(j, "");
        *out = DECIDED_ANSWER;
        return E_OK;
    }
    if (token_is_down(j) && capture_is_possible(c, &j->est, g)) {
        code = capture_take(c, &j->est, &csr, now, g, e);
        if (code != E_PENDING)
            return code;
        answer_pending(j, e->msg);
        *out = DECIDED_ANSWER;
        return E_OK;
    }
    if (keygen && ((code = find_key(j, &csr, now, &made, out, e)) != E_OK || *out == DECIDED_KEY))
        return code;
    *out = DECIDED_SIGN;
    return sign_granted(j, &csr, keygen ? &made : &csr.key, now, e);
}

static enum err_code prepare_captured(struct issue_job *j, int64_t now, enum decision *out, struct err *e)
{
    struct grant *g = &j->grant;
    struct csr csr;
    enum err_code code;

    grant_clear(g);
    grant_init(g);
    if ((code = capture_grant(j->core, j->unit, now, g, &j->order.csr, e)) != E_OK ||
        (code = csr_read(buf_bytes(&j->order.csr), &csr, e)) != E_OK)
        return code;
    j->facts = g->device;
    *out = in_flight_for(j->core->issuance, g->device.id) ? DECIDED_JOIN : DECIDED_SIGN;
    return *out == DECIDED_SIGN ? sign_granted(j, &csr, &csr.key, now, e) : E_OK;
}

static enum err_code prepare_factory(struct issue_job *j, int64_t now, enum decision *out, struct err *e)
{
    uint8_t digest[32];
    enum err_code code;

    grant_clear(&j->grant);
    grant_init(&j->grant);
    buf_reset(&j->body);
    sha256(j->act.body, digest);
    j->grant.by.request_digest = BYTES_OF(digest);
    code = factory_act(j->core, &j->act, now, &j->grant, &j->body, e);
    j->grant.by.request_digest = (struct bytes){NULL, 0};
    j->result = (struct issue_result){.code = E_OK, .body = buf_bytes(&j->body)};
    *out = DECIDED_ANSWER;
    return code;
}

/* Of another service's CA: one that certifies no further CAs, under one of ours that may certify it (RFC 5280 4.2.1.9). */
static enum err_code subordinate_profile(struct issue_job *j, struct err *e)
{
    const struct authority *a = authority_find(j->core, j->order.issuer);
    struct cert read;

    if (j->profile->kind != PROFILE_ISSUING_CA || j->profile->path_len != 0)
        return err_set(e, E_DENIED, "profile \"%s\" is not of kind issuing-ca with path_len 0", j->profile->name);
    if (!a || !a->exists)
        return err_set(e, E_NOT_FOUND, "no CA \"%s\"", j->order.issuer);
    if (cert_read(buf_bytes(&a->cert), &read, e) != E_OK)
        return err_wrap(e, "CA \"%s\"", a->conf->name);
    if (read.path_len == 0)
        return err_set(e, E_DENIED, "RFC 5280 4.2.1.9: CA \"%s\" has pathLenConstraint 0 and certifies no CAs", a->conf->name);
    set_text(j->ca, sizeof(j->ca), j->order.issuer);
    return E_OK;
}

/* The profile, and which CA signs. */
static enum err_code order_profile(struct issue_job *j, struct err *e)
{
    struct core *c = j->core;
    const struct order_copy *o = &j->order;

    j->profile = conf_find_profile(c->conf, o->profile);
    if (!j->profile)
        return err_set(e, E_NOT_FOUND, "profile \"%s\" is not in the configuration", o->profile);
    if (o->subordinate[0])
        return subordinate_profile(j, e);
    if (o->becomes_ca[0] != (j->profile->kind == PROFILE_ROOT_CA || j->profile->kind == PROFILE_ISSUING_CA))
        if (!o->becomes_ca[0] || (j->profile->kind != PROFILE_ROOT_CA && j->profile->kind != PROFILE_ISSUING_CA))
            return err_set(e, E_DENIED, "profile \"%s\" makes CAs: use inkan ca create", o->profile);
    if ((j->profile->kind == PROFILE_OCSP_SIGNER || j->profile->kind == PROFILE_RECORD_SIGNER ||
         j->profile->kind == PROFILE_FEED_SIGNER) &&
        o->spki.len == 0)
        return err_set(e, E_DENIED, "profile \"%s\" is for keys in our tokens", o->profile);
    if ((j->profile->kind == PROFILE_OPERATOR) != (o->operator_id != 0))
        return err_set(e, E_DENIED, "profile \"%s\" is %s", o->profile, o->operator_id ? "not of kind operator" : "for operators: inkan operator add");
    set_text(j->ca, sizeof(j->ca), o->issuer[0] ? o->issuer : j->profile->ca);
    return E_OK;
}

static enum err_code order_device(struct issue_job *j, const struct pubkey *key, int64_t now, struct err *e)
{
    struct core *c = j->core;
    struct order_copy *o = &j->order;
    struct device_row row;
    enum err_code code;

    memset(&j->facts, 0, sizeof(j->facts));
    set_text(j->facts.station, sizeof(j->facts.station), o->station);
    set_text(j->facts.line, sizeof(j->facts.line), o->line);
    if (!o->device_id[0]) {
        if (j->profile->kind == PROFILE_IDEVID || j->profile->kind == PROFILE_LDEVID)
            return err_set(e, E_INVALID, "profile \"%s\" is for devices: device_id is missing", o->profile);
        return E_OK;
    }
    code = store_device_find(c->store, o->domain, o->device_id, &row, e);
    if (code == E_NOT_FOUND)
        return err_set(e, E_NOT_FOUND, "device %s/%s is not declared: inkan device add", o->domain, o->device_id);
    if (code != E_OK)
        return code;
    device_facts_take(&j->facts, &row);
    if (enroll_refuse_stopped(c, &j->facts, e) != E_OK ||
        (j->profile->kind == PROFILE_LDEVID && enroll_refuse_elsewhere(c, &j->facts, e) != E_OK))
        return err_wrap(e, "device %s/%s", o->domain, o->device_id);
    j->grant.device = j->facts;
    j->grant.profile = j->profile;
    if (o->product[0])
        set_text(j->facts.product, sizeof(j->facts.product), o->product);
    if (o->model[0])
        set_text(j->facts.model, sizeof(j->facts.model), o->model);
    if (o->lot[0])
        set_text(j->facts.lot, sizeof(j->facts.lot), o->lot);
    return enroll_claim_key(c, &j->grant, key, now, e);
}

/* A certificate of a service says in its CN what it is for: another name is another request. */
static bool is_for_name(struct bytes der, const char *name)
{
    char cn[sizeof(((struct order_copy *)0)->name)];
    struct cert c;
    struct err ignored = {0};

    return name[0] == '\0' || (cert_read(der, &c, &ignored) == E_OK && name_get(c.subject, OID_CN, cn, sizeof(cn)) &&
                               strcmp(cn, name) == 0);
}

/* The same key asked for again by the same requester gets the stored bytes. */
static enum err_code order_repeat(struct issue_job *j, const struct pubkey *key, int64_t now, bool *repeat,
                                  struct err *e)
{
    static const uint8_t none[32];
    struct core *c = j->core;
    struct cert_row row;
    struct grant *g = &j->grant;
    enum err_code code;

    *repeat = false;
    if (!j->order.repeats)
        return E_OK;
    if (j->facts.id)
        code = store_cert_newest(c->store, j->facts.id, j->profile->kind, &row, e);
    else
        code = store_cert_newest_by_requester(c->store, j->requester, j->profile->kind, &row, e);
    if (code == E_NOT_FOUND)
        return E_OK;
    if (code != E_OK)
        return code;
    struct repeat_key asked = {j->operation, j->profile->name, j->facts.id, j->facts.order_no, key->spki_hash, none};
    struct repeat_key newest = {row.operation, row.profile, row.device, row.order_no, row.spki_hash,
                                row.credential_hash};
    if (!repeat_rule(&asked, &newest, (enum cert_status)row.status, row.not_before, row.not_after,
                     j->profile->renew_percent, now) ||
        (j->facts.id == 0 && !is_for_name(row.der, j->order.name)))
        return E_OK;
    *repeat = true;
    buf_reset(&g->stored);
    buf_add_bytes(&g->stored, row.der);
    g->stored_issuer = row.issuer;
    memcpy(g->stored_serial, row.serial, row.serial_len);
    g->stored_serial_len = row.serial_len;
    g->stored_not_before = row.not_before;
    g->stored_not_after = row.not_after;
    return buf_ok(&g->stored) ? E_OK : err_set(e, E_NOMEM, "repeat");
}

/* What the certificate of a CA or a server carries beyond the template. */
static enum err_code order_inputs(struct issue_job *j, struct cert_inputs *in, struct buf *subject, struct err *e)
{
    struct core *c = j->core;
    const struct order_copy *o = &j->order;
    const struct conf_ca *ca;

    *in = (struct cert_inputs){
        .device_id = j->facts.device_id,
        .domain = j->facts.id ? j->facts.domain : o->domain,
        .product = j->facts.id ? j->facts.product : o->product,
        .model = j->facts.id ? j->facts.model : o->model,
        .lot = j->facts.id ? j->facts.lot : o->lot,
        .name = o->name,
        .san = o->server_names ? &c->conf->server_names : NULL,
    };
    if (!o->becomes_ca[0])
        return E_OK;
    ca = conf_find_ca(c->conf, o->becomes_ca);
    if (!ca)
        return err_set(e, E_NOT_FOUND, "CA \"%s\" is not in the configuration", o->becomes_ca);
    if (name_from_text(ca->subject, subject, e) != E_OK)
        return err_wrap(e, "subject of \"%s\"", ca->name);
    in->subject = buf_bytes(subject);
    return E_OK;
}

static enum err_code prepare_order(struct issue_job *j, int64_t now, enum decision *out, struct err *e)
{
    struct core *c = j->core;
    struct order_copy *o = &j->order;
    AUTO_BUF subject = BUF_INIT(NAME_MAX_LEN);
    struct cert_inputs in;
    struct csr csr = {0};
    struct pubkey key;
    bool repeat = false, has_csr = o->csr.len != 0;
    enum err_code code;

    grant_clear(&j->grant);
    grant_init(&j->grant);
    if ((code = order_profile(j, e)) != E_OK)
        return code;
    if (has_csr) {
        if ((code = csr_read(buf_bytes(&o->csr), &csr, e)) != E_OK)
            return code;
        key = csr.key;
        if (authority_owns_spki(c, key.spki))
            return err_set(e, E_DENIED, "this key is one of the authority's own");
    } else if ((code = pubkey_read(buf_bytes(&o->spki), &key, e)) != E_OK) {
        return code;
    }
    j->operation = o->becomes_ca[0] || o->subordinate[0] ? CERT_OP_CA : strncmp(o->requester, "operator:", 9) == 0 ? CERT_OP_ADMIN
                                                                                                : CERT_OP_SERVICE;
    set_text(j->domain, sizeof(j->domain), o->domain);
    set_text(j->requester, sizeof(j->requester), o->requester);
    if ((code = order_device(j, &key, now, e)) != E_OK)
        return code;
    if (j->facts.id && in_flight_for(c->issuance, j->facts.id)) {
        *out = DECIDED_JOIN;
        return E_OK;
    }
    if ((code = order_repeat(j, &key, now, &repeat, e)) != E_OK)
        return code;
    if (repeat) {
        answer_stored(j, &j->grant);
        *out = DECIDED_ANSWER;
        return E_OK;
    }
    if ((code = order_inputs(j, &in, &subject, e)) != E_OK)
        return code;
    in.key = &key;
    in.not_after_max = o->not_after_max;
    if (o->subordinate[0]) {
        if ((code = box_may_be_certified(c, o->subordinate, csr.subject, key.spki, e)) != E_OK)
            return code;
        in.subject = csr.subject;
    }
    *out = DECIDED_SIGN;
    return build(j, &in, NULL, j->facts.id ? j->facts.device_id : NULL, now, e);
}

/* ---- step: refusals ---- */

static bool is_refusal(enum err_code code)
{
    return code == E_INVALID || code == E_UNAUTHENTICATED || code == E_DENIED || code == E_CONFLICT ||
           code == E_NOT_FOUND;
}

static enum err_code refuse_record(struct issue_job *j, const struct err *why, int64_t now, struct err *e)
{
    struct core *c = j->core;
    struct grant *g = &j->grant;
    struct actor by = g->by;
    uint8_t digest[32];
    char object[ID_MAX_LEN * 4 + 16];
    const char *domain = g->label ? g->label->domain : "";

    sha256(j->is_est ? j->est.csr : j->act.body, digest);
    by.request_digest = BYTES_OF(digest);
    if (g->unit.order_no[0])
        return factory_refused(c, g, &by, why, now, e);
    snprintf(object, sizeof(object), "device:%s", g->by.name);
    if (core_audit(c, &by, "enroll-refused", domain, object,
                   json_pack("{s:s, s:s, s:s}", "code", err_code_name(why->code), "why", why->msg, "alarm",
                             g->alarm ? g->alarm : ""),
                   now, e) != E_OK)
        return e->code;
    return g->alarm ? alarm_raise(c, g->alarm, domain, object, why->msg, e) : E_OK;
}

/* The request's savepoint is undone already. A party that was identified leaves an entry; others are counted. */
static void refuse(struct issue_job *j, const struct err *why, int64_t now)
{
    struct core *c = j->core;
    struct err e = {0};
    struct log_line l;

    bool asked = j->is_est || j->is_factory;

    if (j->is_captured) /* ca/capture.c tells of it */
        return;
    log_begin(&l, is_refusal(why->code) ? LOG_WARN : LOG_ERROR, j->is_est ? "enroll-refused" : asked ? "unit-refused" : "issue-refused");
    log_rid(&l, j->rid);
    log_str(&l, "requester", asked ? (j->grant.by.name[0] ? j->grant.by.name : NULL) : j->order.requester);
    log_str(&l, "peer", asked ? (j->is_est ? j->est.peer : j->act.peer) : NULL);
    log_str(&l, "order", j->grant.unit.order_no[0] ? j->grant.unit.order_no : NULL);
    log_str(&l, "device_id", j->grant.unit.device_id[0] ? j->grant.unit.device_id : NULL);
    log_str(&l, "alarm", j->grant.alarm);
    log_err(&l, why);
    log_end(&l);
    if (j->is_factory) {
        factory_error_body(&j->grant, why, &j->body);
        j->result.body = buf_bytes(&j->body);
    }
    if (!asked || !(is_refusal(why->code) || why->code == E_BUSY))
        return;
    if (!j->grant.authenticated) {
        c->refused_unknown.count++;
        return;
    }
    if (why->code == E_BUSY && !j->grant.unit.reason) /* load, not policy */
        return;
    if (store_savepoint(c->store, &e) != E_OK ||
        core_savepoint_end(c, refuse_record(j, why, now, &e), &e) != E_OK) {
        core_doubt(c, &e);
        log_failure("audit-failed", &e);
    }
}

/* ---- step: results ---- */

/* A CA's certificate makes the CA. A root's row comes first: its own certificate names it. */
static enum err_code insert_issuer(struct issue_job *j, const struct cert *read, uint32_t parent, int64_t now,
                                   uint32_t *id, struct err *e)
{
    struct issuer_row row = {
        .parent = parent,
        .key = j->order.key,
        .subject = read->subject,
        .spki = read->spki,
        .cert = read->der,
        .not_before = read->not_before,
        .not_after = read->not_after,
        .created_at = now,
    };

    set_text(row.name, sizeof(row.name), j->order.becomes_ca);
    if (read->ski.len != sizeof(row.ski))
        return err_set(e, E_INTERNAL, "CA certificate without a 20 octet SKI");
    memcpy(row.ski, read->ski.p, sizeof(row.ski));
    if (store_issuer_insert(j->core->store, &row, e) != E_OK)
        return e->code;
    *id = row.id;
    return E_OK;
}

static enum err_code root_row(struct issue_job *j, const struct cert *read, int64_t now, struct err *e)
{
    struct intent_row row = {.serial_len = sizeof(j->draft.serial), .requester = j->requester, .domain = "", .created_at = now};

    if (insert_issuer(j, read, ISSUER_SELF, now, &j->issuer, e) != E_OK)
        return e->code;
    row.issuer = j->issuer;
    memcpy(row.serial, j->draft.serial, sizeof(j->draft.serial));
    memcpy(row.tbs_hash, j->draft.linted, 32);
    memcpy(row.profile_hash, j->profile_hash, 32);
    return store_intent_insert(j->core->store, &row, e);
}

struct superseded {
    uint64_t id[SUPERSEDE_MAX], seen;
    size_t n;
    uint64_t keep;
    uint8_t kind;
    const struct core *core;
    int64_t now;
};

static bool take_superseded(void *arg, const struct cert_row *row)
{
    struct superseded *s = arg;

    if (s->n == SUPERSEDE_MAX) /* a page is full: the next one begins here */
        return false;
    s->seen = row->id;
    if (row->id != s->keep && row->kind == s->kind && row->status != CERT_REVOKED &&
        !life_cert_is_over(s->core, row, s->now))
        s->id[s->n++] = row->id;
    return true;
}

static enum err_code supersede(struct issue_job *j, uint64_t keep, int64_t now, struct err *e)
{
    struct core *c = j->core;
    struct superseded s = {.keep = keep, .kind = j->profile->kind, .core = c, .now = now};
    struct cert_filter f = {.device = j->facts.id, .status = -1};
    struct revocation r = {.to = CERT_REVOKED, .reason = REASON_SUPERSEDED, .event = "cert-superseded"};
    struct cert_row row;
    bool changed;
    uint64_t seq;

    do {
        f.after_id = s.seen;
        s.n = 0;
        if (store_cert_each(c->store, &f, take_superseded, &s, e) != E_OK)
            return e->code;
        for (size_t i = 0; i < s.n; i++)
            if (store_cert_by_id(c->store, s.id[i], &row, e) != E_OK ||
                revoke_apply(c, &row, &r, &j->grant.by, now, &changed, &seq, e) != E_OK)
                return e->code;
    } while (s.n == SUPERSEDE_MAX);
    return E_OK;
}

/* A key that was sent and never came to use: its certificate goes with the transaction that brings the next. */
static enum err_code revoke_undelivered(struct issue_job *j, int64_t now, struct err *e)
{
    struct core *c = j->core;
    struct revocation r = {.to = CERT_REVOKED, .reason = REASON_SUPERSEDED, .event = "cert-superseded"};
    struct cert_row row;
    bool changed;
    uint64_t seq;

    if (store_cert_by_id(c->store, j->grant.replaces, &row, e) != E_OK)
        return e->code;
    return row.status == CERT_REVOKED ? E_OK : revoke_apply(c, &row, &r, &j->grant.by, now, &changed, &seq, e);
}

/* Where the device stands with this certificate: on the line, in service, or where it stood. */
static enum device_state state_after(const struct issue_job *j)
{
    enum device_state s = (enum device_state)j->grant.device.state;
    struct life_rule rule;

    if (j->grant.unit.order)
        return s <= DEVICE_CONFIRMED ? DEVICE_PROVISIONED : s;
    if (j->profile->kind != PROFILE_LDEVID || s == DEVICE_QUARANTINED)
        return s;
    return s <= DEVICE_CONFIRMED || life_rule(s, DEVICE_IN_SERVICE, &rule) ? DEVICE_IN_SERVICE : s;
}

static const char *alarm_text(const char *kind)
{
    if (strcmp(kind, "renewal-from-superseded") == 0)
        return "a certificate was renewed although its successor is in use: somebody may have a copy of it";
    if (strcmp(kind, "two-live-ldevids") == 0)
        return "the device has two certificates in use at once: somebody may have a copy of its key";
    return "an enrollment replaced a certificate that was still young";
}

/* The certificate that was renewed is over after the time its profile gives it. */
static enum err_code retire(struct issue_job *j, int64_t now, struct err *e)
{
    const struct conf_profile *p = j->profile;

    if (p->retire_never)
        return E_OK;
    return store_retire_put(j->core->store, j->grant.renews, p->retire_after_s ? now + p->retire_after_s : INT64_MAX, e);
}

static enum err_code device_changes(struct issue_job *j, const struct cert_row *row, int64_t now, struct err *e)
{
    struct core *c = j->core;
    struct grant *g = &j->grant;
    if (row->device_state != g->device.state &&
        store_device_set_state(c->store, j->facts.id, (enum device_state)row->device_state, now, e) != E_OK)
        return e->code;
    if (g->request && request_issued(c, g, row, now, e) != E_OK)
        return e->code;
    if (g->renews && (store_cert_set_replaced(c->store, g->renews, row->id, e) != E_OK || retire(j, now, e) != E_OK))
        return e->code;
    if (g->supersede && supersede(j, row->id, now, e) != E_OK)
        return e->code;
    if (g->replaces && revoke_undelivered(j, now, e) != E_OK)
        return e->code;
    return g->alarm ? alarm_raise(c, g->alarm, j->domain, j->requester, alarm_text(g->alarm), e) : E_OK;
}

static const struct actor *asked_by(const struct issue_job *j)
{
    return j->is_est || j->is_captured ? &j->grant.by : &j->order.by;
}

static enum err_code audit_issued(struct issue_job *j, const struct cert_row *row, int64_t now, struct err *e)
{
    struct core *c = j->core;
    const struct actor *by = asked_by(j);
    struct audit_actor who = audit_actor_of(by, j->domain);
    uint8_t digest[32];

    if (j->is_est || j->is_captured) {
        sha256(j->is_est ? j->est.csr : buf_bytes(&j->order.csr), digest);
        who.request_digest = BYTES_OF(digest);
    }
    return audit_cert_issued(c->store, &who, j->ca, row, row->status_seq, now, e);
}

static enum err_code record(struct issue_job *j, int64_t now, struct err *e)
{
    struct core *c = j->core;
    struct cert read;
    struct cert_row row = {0};
    uint32_t made;

    if (j->facts.id && enroll_still_allowed(c, &j->grant, e) != E_OK)
        return e->code;
    if (j->profile->kind == PROFILE_STATION && factory_station_stays(c, j->facts.station, e) != E_OK)
        return e->code;
    if (draft_complete(&j->draft, j->sign_alg, buf_bytes(&j->sig), &j->cert, &read, e) != E_OK)
        return e->code;
    if (j->is_root && root_row(j, &read, now, e) != E_OK)
        return err_wrap(e, "root");
    row.issuer = j->issuer;
    memcpy(row.serial, j->draft.serial, sizeof(j->draft.serial));
    row.serial_len = sizeof(j->draft.serial);
    row.der = buf_bytes(&j->cert);
    sha256(row.der, row.der_hash);
    memcpy(row.spki_hash, j->draft.spki_hash, 32);
    memcpy(row.profile_hash, j->profile_hash, 32);
    memcpy(row.credential_hash, j->grant.credential, 32);
    row.profile = j->profile->name;
    row.kind = (uint8_t)j->profile->kind;
    row.operation = j->operation;
    row.device = j->facts.id;
    row.domain = j->domain;
    row.requester = j->requester;
    row.order_no = j->facts.order_no;
    row.station = j->facts.station;
    row.line = j->facts.line;
    row.model = j->facts.model;
    row.lot = j->facts.lot;
    row.firmware = j->facts.firmware;
    row.shard = j->draft.shard;
    row.issued_at = now;
    row.not_before = j->draft.not_before;
    row.not_after = j->draft.not_after;
    row.device_state = (uint8_t)state_after(j);
    if (store_cert_issue(c->store, &row, e) != E_OK)
        return err_wrap(e, "certificate row");
    if (store_intent_finish(c->store, row.issuer, BYTES_OF(j->draft.serial), INTENT_DONE, now, e) != E_OK)
        return err_wrap(e, "intent");
    if (j->order.becomes_ca[0] && !bytes_equal(read.issuer, read.subject) &&
        insert_issuer(j, &read, j->issuer, now, &made, e) != E_OK)
        return err_wrap(e, "CA row");
    if (j->order.subordinate[0] && box_certified(c, j->order.subordinate, j->issuer, &read, &j->order.by, now, e) != E_OK)
        return err_wrap(e, "CA row");
    if (j->pays && budget_spend(c, j->facts.order_no, now, &j->grant, e) != E_OK)
        return e->code;
    if (j->facts.id && device_changes(j, &row, now, e) != E_OK)
        return err_wrap(e, "device");
    if (!j->facts.id && j->grant.renews && store_cert_set_replaced(c->store, j->grant.renews, row.id, e) != E_OK)
        return err_wrap(e, "station");
    if (j->order.operator_id && store_operator_cert_insert(c->store, j->order.operator_id, row.id, row.der_hash, e) != E_OK)
        return err_wrap(e, "operator");
    if (j->facts.id && j->grant.unit.order && factory_issued(c, &j->grant, row.id, now, e) != E_OK)
        return e->code;
    if (audit_issued(j, &row, now, e) != E_OK)
        return e->code;
    return row.device_state == DEVICE_QUARANTINED ? life_admit(c, row.device, row.id, j->profile->kind, asked_by(j), now, e) : E_OK;
}

/* No certificate came of it: the serial is burnt. */
static void void_intent(struct issue_job *j, const struct err *why, int64_t now)
{
    struct core *c = j->core;
    struct err e = {0};
    char object[96];
    struct log_line l;
    enum err_code code;

    object_of_cert(object, sizeof(object), j->is_root ? 0 : j->issuer, BYTES_OF(j->draft.serial));
    log_begin(&l, LOG_ERROR, "intent-voided");
    log_rid(&l, j->rid);
    log_str(&l, "object", object);
    log_err(&l, why);
    log_end(&l);
    if (store_savepoint(c->store, &e) != E_OK) {
        core_doubt(c, &e);
        return;
    }
    code = j->is_root ? E_OK : store_intent_finish(c->store, j->issuer, BYTES_OF(j->draft.serial), INTENT_VOID, now, &e);
    if (code == E_OK)
        code = core_audit(c, asked_by(j), "intent-voided", j->domain, object,
                          json_pack("{s:s, s:s}", "code", err_code_name(why->code), "why", why->msg), now, &e);
    if (core_savepoint_end(c, code, &e) != E_OK)
        log_failure("intent-failed", &e);
}

static void log_act(const struct issue_job *j)
{
    struct log_line l;

    log_begin(&l, LOG_INFO, "unit-changed");
    log_rid(&l, j->rid);
    log_str(&l, "order", j->act.order);
    log_str(&l, "device_id", j->grant.unit.device_id);
    log_str(&l, "by", j->grant.by.name);
    if (j->act.action == SVC_FACTORY_SECRET)
        log_str(&l, "answer", "a secret");
    else
        log_bytes(&l, "answer", j->result.body);
    log_end(&l);
}

static void log_issued(const struct issue_job *j)
{
    struct log_line l;

    if (j->is_factory) {
        log_act(j);
        return;
    }

    log_begin(&l, LOG_INFO, j->result.repeat ? "cert-repeated" : "cert-issued");
    log_rid(&l, j->rid);
    log_str(&l, "ca", j->ca[0] ? j->ca : NULL);
    log_hex(&l, "serial", j->result.serial);
    log_str(&l, "profile", j->profile ? j->profile->name : NULL);
    log_str(&l, "requester", j->requester[0] ? j->requester : j->grant.by.name);
    if (j->result.key.len)
        log_str(&l, "key", j->result.key_enveloped ? "enveloped" : "clear");
    log_str(&l, "alarm", j->grant.alarm);
    log_end(&l);
}

/*
 * The results of a batch as the first of a transaction, without a savepoint: together they nearly always succeed, and every savepoint
 * copies the pages that change under it. false: nothing is written, each is to be tried alone; where one did not succeed, the
 * transaction was rolled back.
 */
static bool record_together(struct issuance *q, int64_t now)
{
    struct core *c = q->core;
    struct err e = {0};
    struct issue_job *j;

    if (q->back_n < 2)
        return false;
    TAILQ_FOREACH(j, &q->back, link)
    {
        if (j->sign_error.code == E_OK && record(j, now, &e) != E_OK) {
            core_doubt(c, &e);
            core_rollback(c);
            return false;
        }
    }
    return true;
}

static void finish(struct issue_job *j, bool recorded, int64_t now)
{
    struct core *c = j->core;
    struct err e = j->sign_error;
    enum err_code code = e.code;

    if (code == E_OK && !recorded) {
        if (store_savepoint(c->store, &e) != E_OK) {
            core_doubt(c, &e);
            code = e.code;
        } else {
            code = core_savepoint_end(c, record(j, now, &e), &e);
        }
    }
    if (code != E_OK) {
        void_intent(j, &e, now);
        /* A conflict of rows here is a bug of ours, not the client's fault. */
        if (code == E_CONFLICT || code == E_NOT_FOUND || code == E_INVALID)
            code = e.code = E_INTERNAL;
        if (code == E_BUSY) /* the token's queue; E_BUSY tells the front of a limit of this client */
            code = e.code = E_TOKEN;
        j->result = (struct issue_result){.code = code, .err = e, .retry_after_s = RETRY_AFTER_S};
        j->result.binding_judged = j->grant.binding_judged;
        return;
    }
    j->result = (struct issue_result){
        .code = E_OK,
        .cert = buf_bytes(&j->cert),
        .issuer = j->issuer,
        .serial = BYTES_OF(j->draft.serial),
        .not_before = j->draft.not_before,
        .not_after = j->draft.not_after,
        .binding_judged = j->grant.binding_judged,
        .key = j->grant.recipient.kind != RECIPIENT_NONE ? buf_bytes(&j->parcel.envelope) : buf_bytes(&j->parcel.key.pkcs8),
        .key_enveloped = j->grant.recipient.kind != RECIPIENT_NONE,
    };
}

/* ---- waiting for a key ---- */

static void keyless_look(struct issuance *q)
{
    const struct timeval soon = {0, KEY_LOOK_MS * 1000};

    if (q->keyless_n && !evtimer_pending(q->key_timer, NULL))
        evtimer_add(q->key_timer, &soon);
}

/* To the front of the queue: it has waited. */
static void key_came(struct issuance *q, struct issue_job *j)
{
    TAILQ_REMOVE(&q->keyless, j, link);
    q->keyless_n--;
    TAILQ_INSERT_HEAD(&q->queue, j, link);
    q->queue_n++;
    kick(q);
}

/* The token's pair, or why there is none. */
static void on_key_generated(void *arg, enum err_code code, const struct err *why, struct bytes pkcs8, struct bytes spki)
{
    struct issue_job *j = arg;
    struct err e = {0};

    j->key_asked = false;
    if (code != E_OK) {
        e = *why;
        e.code = code == E_INVALID ? E_INTERNAL : code;
    } else if (new_key_take(j->key_alg, pkcs8, spki, &j->parcel.key, &e) == E_OK) {
        e.code = E_OK;
    }
    j->key_error = e;
    key_came(j->core->issuance, j);
}

static void ask_token_for_key(struct issue_job *j, const char *token)
{
    struct signer_link *l = signer_link_find(j->core, token);
    struct err e = {0};

    if (!l || !l->signer)
        err_set(&e, E_TOKEN, "token \"%s\" has no signer now", token);
    else if (signer_generate(l->signer, j->key_alg, KEY_WAIT_MS, j->rid, on_key_generated, j, &e) == E_OK)
        j->key_asked = true;
    if (j->key_asked)
        return;
    j->key_error = e;
    key_came(j->core->issuance, j);
}

static void wait_for_key(struct issuance *q, struct issue_job *j)
{
    const struct conf_profile *p = j->grant.profile;

    j->key_alg = p->keygen_key;
    if (j->key_until_ms == 0)
        j->key_until_ms = clock_mono_ms() + KEY_WAIT_MS;
    TAILQ_INSERT_TAIL(&q->keyless, j, link);
    q->keyless_n++;
    if (p->keygen == KEYGEN_TOKEN)
        ask_token_for_key(j, p->keygen_token);
    else
        keyless_look(q);
}

/* Nobody waits longer than he may. */
static void on_key_time(evutil_socket_t fd, short what, void *arg)
{
    struct issuance *q = arg;
    struct issue_job *j, *next;

    (void)fd;
    (void)what;
    for (j = TAILQ_FIRST(&q->keyless); j; j = next) {
        next = TAILQ_NEXT(j, link);
        if (j->key_asked || clock_mono_ms() < j->key_until_ms)
            continue;
        err_set(&j->key_error, E_TOKEN, "no key was ready in time");
        key_came(q, j);
    }
    keyless_look(q);
}

/* As many go on as there are keys. */
static void on_key_added(void *arg)
{
    struct issuance *q = arg;
    struct issue_job *j, *next;
    size_t ready[KEY_ALGS];

    for (enum key_alg a = KEY_NONE; a < KEY_ALGS; a++)
        ready[a] = keygen_pool_ready(q->pool, a);
    for (j = TAILQ_FIRST(&q->keyless); j; j = next) {
        next = TAILQ_NEXT(j, link);
        if (j->key_asked || ready[j->key_alg] == 0)
            continue;
        ready[j->key_alg]--;
        key_came(q, j);
    }
}

/* ---- the cycle ---- */

static void answer_later(struct issuance *q, struct issue_job *j)
{
    j->state = JOB_ANSWERED;
    TAILQ_INSERT_TAIL(&q->answered, j, link);
}

/* One waiting request, in its own savepoint. */
static void prepare(struct issuance *q, struct issue_job *j, int64_t now)
{
    struct core *c = q->core;
    struct err e = {0};
    enum decision decision = DECIDED_SIGN;
    enum err_code code;
    struct issue_job *other;

    if (store_savepoint(c->store, &e) != E_OK) {
        core_doubt(c, &e);
        j->result = (struct issue_result){.code = E_STORE, .err = e, .retry_after_s = RETRY_AFTER_S};
        answer_later(q, j);
        return;
    }
    code = j->is_est        ? prepare_est(j, now, &decision, &e)
           : j->is_factory  ? prepare_factory(j, now, &decision, &e)
           : j->is_captured ? prepare_captured(j, now, &decision, &e)
                            : prepare_order(j, now, &decision, &e);
    if (code == E_OK && decision == DECIDED_JOIN) {
        store_savepoint_undo(c->store);
        core_doubt(c, &e);
        other = in_flight_for(q, j->is_est ? j->grant.device.id : j->facts.id);
        if (other->joined_n < JOINED_MAX) {
            TAILQ_INSERT_TAIL(&other->joined, j, link);
            other->joined_n++;
            q->joined_n++;
            return;
        }
        err_set(&e, E_BUSY, "too many requests of this device are waiting");
        j->result = (struct issue_result){.code = E_BUSY, .err = e, .retry_after_s = RETRY_AFTER_S, .client_limit = true};
        refuse(j, &e, now);
        answer_later(q, j);
        return;
    }
    if (code == E_OK && decision == DECIDED_KEY) {
        store_savepoint_undo(c->store);
        core_doubt(c, &e);
        wait_for_key(q, j);
        return;
    }
    code = core_savepoint_end(c, code, &e);
    if (code != E_OK) {
        j->result = (struct issue_result){.code = code, .err = e, .retry_after_s = RETRY_AFTER_S};
        j->result.binding_judged = j->grant.binding_judged;
        if (j->grant.retry_after_s) {
            j->result.retry_after_s = j->grant.retry_after_s;
            j->result.client_limit = code == E_BUSY;
        }
        refuse(j, &e, now);
        answer_later(q, j);
        return;
    }
    if (decision == DECIDED_ANSWER) {
        answer_later(q, j);
        return;
    }
    j->device = j->facts.id;
    j->state = JOB_SIGNING;
    TAILQ_INSERT_TAIL(&q->signing, j, link);
    q->signing_n++;
}

static void come_back(struct issuance *q, struct issue_job *j)
{
    TAILQ_REMOVE(&q->signing, j, link);
    q->signing_n--;
    j->state = JOB_BACK;
    TAILQ_INSERT_TAIL(&q->back, j, link);
    q->back_n++;
    kick(q);
}

/* One of the signatures is there, or will not come. The last one seals the parcel. */
static void one_back(struct issue_job *j)
{
    struct err e = {0};

    if (--j->awaited)
        return;
    if (j->sign_error.code == E_OK && j->grant.recipient.kind != RECIPIENT_NONE &&
        parcel_seal(j->core, &j->parcel, &j->grant.recipient, j->parcel.alg, buf_bytes(&j->package_sig), &e) != E_OK)
        j->sign_error = e;
    come_back(j->core->issuance, j);
}

static void on_package_signed(void *arg, enum err_code code, const struct err *why, enum sig_alg alg, struct bytes sig)
{
    struct issue_job *j = arg;

    if (code == E_OK && alg != j->parcel.alg)
        err_set(&j->sign_error, E_CRYPTO, "the record key signed with another algorithm than its own");
    if (code != E_OK && j->sign_error.code == E_OK) {
        j->sign_error = *why;
        j->sign_error.code = code;
    }
    buf_reset(&j->package_sig);
    buf_add_bytes(&j->package_sig, sig);
    if (!buf_ok(&j->package_sig))
        err_set(&j->sign_error, E_NOMEM, "signature");
    one_back(j);
}

static void on_signed(void *arg, enum err_code code, const struct err *why, enum sig_alg alg, struct bytes sig)
{
    struct issue_job *j = arg;
    struct authority *a = code == E_OK || code == E_TOKEN ? authority_find(j->core, j->ca) : NULL;

    if (a && code == E_TOKEN)
        signer_link_doubt(j->core, a->conf->token);
    else if (a)
        signer_link_works(j->core, a->conf->token);
    if (code != E_OK) {
        j->sign_error = *why;
        j->sign_error.code = code;
    }
    j->sign_alg = alg;
    buf_reset(&j->sig);
    buf_add_bytes(&j->sig, sig);
    if (code == E_OK && !buf_ok(&j->sig))
        err_set(&j->sign_error, E_NOMEM, "signature");
    one_back(j);
}

static void ask_certificate(struct issue_job *j)
{
    struct core *c = j->core;
    struct authority *a = authority_find(c, j->ca);
    char root_key[KEY_NAME_MAX];
    const char *why = "its CA left the configuration", *key = a ? a->key : "";
    struct signer *s = NULL;

    if (a && j->is_root) {
        key_name(root_key, sizeof(root_key), PURPOSE_CA, j->ca);
        key = root_key;
    }
    if (!draft_is_as_linted(&j->draft))
        err_set(&j->sign_error, E_INTERNAL, "the bytes to sign are not those that were linted");
    else if (!a || !(s = signer_for_key(c, a->conf->token, key, &why)))
        err_set(&j->sign_error, E_TOKEN, "CA \"%s\": %s", j->ca, why);
    else if (signer_sign(s, key, SIGN_CERT, buf_bytes(&j->draft.tbs), SIGN_DEADLINE_MS, j->rid, on_signed, j, &j->sign_error) == E_OK)
        return;
    one_back(j);
}

/* Only what was linted and recorded is signed. */
static void ask_signers(struct issue_job *j)
{
    bool enveloped = j->grant.recipient.kind != RECIPIENT_NONE;

    j->sign_error = (struct err){0};
    j->awaited = enveloped ? 2 : 1;
    if (enveloped && record_sign_key_package(j->core, buf_bytes(&j->parcel.attributes), j->rid, on_package_signed, j,
                                             &j->sign_error) != E_OK) {
        j->awaited = 1; /* no certificate without the way to deliver its key */
        one_back(j);
    } else {
        ask_certificate(j);
    }
}

#ifdef INKAN_TEST_HOOKS
/* A kill in this window leaves an intent without a result. */
static void test_pause(const struct issuance *q)
{
    char text[64] = "";
    FILE *f = q->pause_file ? fopen(q->pause_file, "r") : NULL;

    if (!f)
        return;
    if (fgets(text, sizeof(text), f) && strstr(text, "after-intent"))
        usleep(20000);
    fclose(f);
}
#else
static void test_pause(const struct issuance *q)
{
    (void)q;
}
#endif

static enum issue_call call_of(const struct issue_job *j)
{
    static const enum issue_call est[SVC_OPERATIONS] = {CALL_SIMPLEENROLL, CALL_SIMPLEREENROLL, CALL_SERVERKEYGEN};

    if (j->is_captured)
        return CALL_CAPTURED;
    if (j->is_est)
        return est[j->est.operation];
    if (j->is_factory)
        return CALL_STATION;
    return strncmp(j->order.requester, "operator:", 9) == 0 ? CALL_OPERATOR : CALL_SERVICE;
}

/* After the commit: what was decided becomes visible. */
static void answer(struct issuance *q)
{
    struct core *c = q->core;
    struct issue_job *j, *waiting;
    struct job_list now_answered = TAILQ_HEAD_INITIALIZER(now_answered);

    TAILQ_CONCAT(&now_answered, &q->answered, link);
    while ((j = TAILQ_FIRST(&now_answered))) {
        TAILQ_REMOVE(&now_answered, j, link);
        if (j->result.code == E_OK)
            log_issued(j);
        metrics_issued(c, call_of(j), j->result.code, j->result.repeat);
        if (j->result.code == E_OK && (j->order.becomes_ca[0] || j->order.subordinate[0] || j->order.spki.len))
            core_authorities_changed(c);
        j->done(c, j->arg, &j->result);
        while ((waiting = TAILQ_LAST(&j->joined, job_list))) { /* to the front, in their order */
            TAILQ_REMOVE(&j->joined, waiting, link);
            TAILQ_INSERT_HEAD(&q->queue, waiting, link);
            q->queue_n++;
            q->joined_n--;
        }
        job_free(j);
    }
}

/* Nothing may be issued now: every waiting request is told so, without a transaction. */
static void refuse_all(struct issuance *q, const struct err *why)
{
    struct issue_job *j;

    while ((j = TAILQ_FIRST(&q->queue))) {
        TAILQ_REMOVE(&q->queue, j, link);
        q->queue_n--;
        j->result = (struct issue_result){.code = why->code, .err = *why, .retry_after_s = RETRY_AFTER_S};
        refuse(j, why, 0);
        answer_later(q, j);
    }
}

/* A station's request whose signature did not come is decided once more: whether it can be kept for later. */
static bool may_be_kept(const struct issue_job *j)
{
    return j->is_est && j->sign_error.code == E_TOKEN && !j->token_failed &&
           capture_is_possible(j->core, &j->est, &j->grant);
}

static void ask_again(struct issuance *q, struct issue_job *j)
{
    j->token_failed = true;
    j->sign_error = (struct err){0};
    j->device = 0;
    j->state = JOB_WAITING;
    TAILQ_INSERT_HEAD(&q->queue, j, link);
    q->queue_n++;
}

static bool begin(struct issuance *q)
{
    struct err e = {0};

    if (core_begin(q->core, &e) == E_OK)
        return true;
    log_failure("ledger-busy", &e);
    refuse_all(q, &e);
    return false;
}

static void run_transaction(struct issuance *q, int64_t now, bool may_sign)
{
    struct core *c = q->core;
    struct issue_job *j;
    size_t prepared = 0, before = q->signing_n;
    bool recorded;

    if (!begin(q))
        return;
    recorded = record_together(q, now);
    if (!store_in_transaction(c->store) && !begin(q))
        return;
    while ((j = TAILQ_FIRST(&q->back))) {
        TAILQ_REMOVE(&q->back, j, link);
        q->back_n--;
        finish(j, recorded, now);
        if (may_be_kept(j))
            ask_again(q, j);
        else
            answer_later(q, j);
    }
    while (may_sign && prepared < c->conf->batch_max && q->signing_n < IN_FLIGHT_MAX * (size_t)c->conf->batch_max &&
           (j = TAILQ_FIRST(&q->queue))) {
        TAILQ_REMOVE(&q->queue, j, link);
        q->queue_n--;
        prepared++;
        prepare(q, j, now);
    }
    core_commit(c);
    revoke_changed(c);
    if (q->signing_n != before)
        test_pause(q);
}

static void on_cycle(evutil_socket_t fd, short what, void *arg)
{
    struct issuance *q = arg;
    struct core *c = q->core;
    struct issue_job *j, *next, *last;
    struct err e = {0};
    bool may_sign;

    (void)fd;
    (void)what;
    q->scheduled = false;
    if (c->stopping || (q->back_n == 0 && q->queue_n == 0))
        return;
    evtimer_del(q->linger);
    q->running = true;
    may_sign = core_may_sign(c, clock_now(), &e) == E_OK;
    if (!may_sign)
        refuse_all(q, &e);
    last = TAILQ_LAST(&q->signing, job_list);
    if (q->back_n || q->queue_n)
        run_transaction(q, core_stamp(c), may_sign);
    for (j = last ? TAILQ_NEXT(last, link) : TAILQ_FIRST(&q->signing); j; j = next) {
        next = TAILQ_NEXT(j, link);
        ask_signers(j);
    }
    answer(q);
    q->running = false;
    kick(q);
}

struct issuance *issuance_new(struct core *c)
{
    struct issuance *q = calloc(1, sizeof(*q));
    struct err e = {0};

    if (!q)
        return NULL;
    q->core = c;
    TAILQ_INIT(&q->queue);
    TAILQ_INIT(&q->keyless);
    TAILQ_INIT(&q->signing);
    TAILQ_INIT(&q->back);
    TAILQ_INIT(&q->answered);
    q->cycle = evtimer_new(c->base, on_cycle, q);
    q->linger = evtimer_new(c->base, on_cycle, q);
    q->key_timer = evtimer_new(c->base, on_key_time, q);
#ifdef INKAN_TEST_HOOKS
    q->pause_file = getenv("INKAN_TEST_PAUSE");
#endif
    if (!q->cycle || !q->linger || !q->key_timer || keygen_pool_new(c->base, on_key_added, q, &q->pool, &e) != E_OK) {
        issuance_free(q);
        return NULL;
    }
    return q;
}

enum err_code issuance_configured(struct core *c, struct err *e)
{
    return keygen_pool_want(c->issuance->pool, c->conf, e);
}

static void list_free(struct job_list *list)
{
    struct issue_job *j, *waiting;

    while ((j = TAILQ_FIRST(list))) {
        TAILQ_REMOVE(list, j, link);
        while ((waiting = TAILQ_FIRST(&j->joined))) {
            TAILQ_REMOVE(&j->joined, waiting, link);
            job_free(waiting);
        }
        job_free(j);
    }
}

void issuance_free(struct issuance *q)
{
    if (!q)
        return;
    list_free(&q->queue);
    list_free(&q->keyless);
    keygen_pool_free(q->pool);
    list_free(&q->back);
    list_free(&q->answered);
    list_free(&q->signing);
    if (q->cycle)
        event_free(q->cycle);
    if (q->linger)
        event_free(q->linger);
    if (q->key_timer)
        event_free(q->key_timer);
    free(q);
}
