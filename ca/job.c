/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work on keys and CAs that takes several processes: inkan-token for a token, a signer for one command, signatures.
 *
 * One job at a time. A job is a list of goals; whenever something happened the list is walked from its top: a goal that is
 * reached is passed over, the first that is not starts its action and the job waits. So a job that was cut off by a crash,
 * asked for again, goes on where it was.
 */
#include <string.h>

#include "base/clock.h"
#include "ca/admin_int.h"
#include "ca/csr.h"
#include "ca/issue.h"
#include "ca/record.h"
#include "hsm/token_admin.h"

#define STEP_DEADLINE_MS  120000 /* generating an RSA-4096 key in a slow token */
#define SIGNER_WAIT_MS    30000
#define SIGNERS_MAX       4
#define TOKEN_QUEUE       (1 << 20) /* octets */
#define LISTED_MAX        1024

enum goal_state { REACHED, WAITING, FAILED };

struct job;
typedef enum goal_state (*goal_fn)(struct job *j);

struct job {
    TAILQ_ENTRY(job) link;
    struct core *core;
    struct admin_call *call;
    const goal_fn *goal;     /* ends with NULL */
    char token[ID_MAX_LEN + 1], ca[ID_MAX_LEN + 1];
    char key[KEY_NAME_MAX], key_owner[ID_MAX_LEN + 1];
    enum key_purpose purpose;
    enum key_alg alg;

    int64_t deadline_ms, signer_deadline_ms;
    bool acting;             /* an answer is awaited; walking the goals must not start another action */
    bool listed, asked;      /* this token was listed; the one request of a token job is answered */
    bool generated;
    bool intended;           /* the trail says what is about to be done */
    bool list_published, responder_made, installed;
    unsigned record_made; /* 1 << purpose */
    enum key_purpose record_purpose;
    struct buf csr_info, csr; /* of a CA that is certified elsewhere */
    char signer[SIGNERS_MAX][ID_MAX_LEN + 1]; /* offline signers this job started */
    size_t signer_n;
    bool closing, failed;
    struct err err; /* why, when failed */
    json_t *result, *made;
    void (*on_reply)(struct job *j, struct msg_reader *r);
};

struct job_runner {
    TAILQ_HEAD(, job) queue;
    bool walking, again;
    /* inkan-token, while one runs */
    char token[ID_MAX_LEN + 1];
    struct chan *chan;
    bool token_asked, token_ending;
    uint64_t run_id, message_id;
    enum proc_run running; /* what run_id asked for */
    bool run_pending;
};

static void walk(struct core *c);

static struct job *current(struct core *c)
{
    return c->jobs ? TAILQ_FIRST(&c->jobs->queue) : NULL;
}

static enum goal_state failed(struct job *j, enum err_code code, const char *what)
{
    err_set(&j->err, code, "%s", what);
    return FAILED;
}

static enum goal_state start_waiting(struct job *j)
{
    j->acting = true;
    j->deadline_ms = clock_mono_ms() + STEP_DEADLINE_MS;
    return WAITING;
}

static void action_done(struct job *j)
{
    j->acting = false;
    jobs_poke(j->core);
}

static void action_failed(struct job *j, const struct err *e)
{
    if (!j->failed)
        j->err = *e;
    j->failed = true;
    action_done(j);
}

/* ---- asking the supervisor ---- */

static enum goal_state ask_run(struct job *j, enum proc_run what, const char *token)
{
    struct job_runner *r = j->core->jobs;

    r->run_id = ++j->core->next_id;
    r->running = what;
    if (proc_run(j->core->proc, what, token, r->run_id, &j->err) != E_OK)
        return FAILED;
    r->run_pending = true;
    return start_waiting(j);
}

void jobs_on_run_result(struct proc *p, uint64_t request_id, enum err_code code, const struct err *e, void *arg)
{
    struct core *c = arg;
    struct job_runner *r = c->jobs;
    struct job *j = current(c);
    bool ended;

    (void)p;
    if (!r || !r->run_pending || request_id != r->run_id)
        return;
    r->run_pending = false;
    ended = r->running == RUN_TOKEN_END || (r->running == RUN_TOKEN && code != E_OK);
    if (ended) {
        r->token[0] = '\0';
        r->token_asked = r->token_ending = false;
    }
    if (!j)
        return;
    if (code != E_OK && !j->closing)
        action_failed(j, e);
    else
        action_done(j);
}

bool jobs_use_token(struct core *c, const char *token)
{
    const struct job *j = current(c);
    bool started = false;

    for (size_t i = 0; j && i < j->signer_n; i++)
        started |= strcmp(j->signer[i], token) == 0;
    return c->jobs && (started || strcmp(c->jobs->token, token) == 0 ||
                       (c->jobs->run_pending && c->jobs->running == RUN_SIGNER_END));
}

void jobs_on_token_gone(struct core *c)
{
    struct job_runner *r = c->jobs;
    struct job *j = current(c);
    struct err e = {0};

    if (!r || !r->chan)
        return;
    chan_free(r->chan);
    r->chan = NULL;
    if (!j || r->token_ending)
        return;
    err_set(&e, E_TOKEN, "token \"%s\": inkan-token ended", r->token);
    action_failed(j, &e);
}

static void on_token_chan_gone(struct chan *chan, const struct err *why, void *arg)
{
    (void)chan;
    (void)why;
    jobs_on_token_gone(arg);
}

static void on_token_message(struct chan *chan, struct msg_reader *m, int fd, void *arg)
{
    struct core *c = arg;
    struct job_runner *r = c->jobs;
    struct job *j = current(c);
    struct err e = {0};

    if (fd >= 0)
        close(fd);
    if (m->type != TOKEN_RESULT || m->request_id != r->message_id || !j || !j->on_reply) {
        err_set(&e, E_INVALID, "message type 0x%04x from inkan-token", m->type);
        chan_fail(chan, &e);
        return;
    }
    if (msg_get_err(m, &e) != E_OK)
        action_failed(j, &e);
    else
        j->on_reply(j, m);
}

void jobs_on_token_link(struct core *c, const char *name, int fd)
{
    static const struct chan_ops ops = {on_token_message, on_token_chan_gone};
    struct job_runner *r = c->jobs;
    struct err e = {0};

    if (!r || !r->token_asked || r->chan || strcmp(r->token, name) != 0) {
        log_note(LOG_WARN, "unknown-link", "peer", name);
        close(fd);
        return;
    }
    r->chan = chan_new(c->base, fd, &ops, c, TOKEN_QUEUE, &e);
    if (!r->chan)
        log_failure("link-failed", &e);
    jobs_poke(c);
}

/* inkan-token runs for `token` and is linked. */
static enum goal_state with_token(struct job *j, const char *token)
{
    struct job_runner *r = j->core->jobs;

    if (r->token_asked && strcmp(r->token, token) != 0)
        return failed(j, E_INTERNAL, "another token is open");
    if (r->token_asked)
        return r->chan ? REACHED : WAITING;
    snprintf(r->token, sizeof(r->token), "%s", token);
    r->token_asked = true;
    return ask_run(j, RUN_TOKEN, token);
}

static enum goal_state goal_no_token(struct job *j)
{
    struct job_runner *r = j->core->jobs;

    if (!r->token_asked)
        return REACHED;
    r->token_ending = true;
    if (r->chan)
        chan_free(r->chan);
    r->chan = NULL;
    j->listed = false;
    return ask_run(j, RUN_TOKEN_END, r->token);
}

/* The key under way is made: inkan-token leaves, so that the token's signer can come back. */
static enum goal_state goal_key_made(struct job *j)
{
    return key_find(j->core, j->key) ? goal_no_token(j) : REACHED;
}

/* Sends `m` to inkan-token; `reply` gets the fields after the error. */
static enum goal_state ask_token(struct job *j, struct msg *m, void (*reply)(struct job *j, struct msg_reader *r))
{
    struct job_runner *r = j->core->jobs;

    j->on_reply = reply;
    if (!msg_finish(m))
        return failed(j, E_INTERNAL, "message to inkan-token");
    if (chan_send(r->chan, m, -1, &j->err) != E_OK)
        return FAILED;
    return start_waiting(j);
}

static uint64_t new_message_id(struct job *j)
{
    return j->core->jobs->message_id = ++j->core->next_id;
}

static void bad_reply(struct job *j, const struct err *e)
{
    struct err wrapped = *e;

    err_wrap(&wrapped, "answer of inkan-token");
    wrapped.code = E_TOKEN;
    action_failed(j, &wrapped);
}

/* ---- signers ---- */

/* The signer of `token` may use `key` now; an offline one is started for this command. */
static enum goal_state with_signer(struct job *j, const char *token, const char *key)
{
    struct core *c = j->core;
    const struct conf_token *t = conf_find_token(c->conf, token);
    struct signer_link *l = signer_link_find(c, token);
    const char *why = NULL;
    bool ours = false;

    if (signer_for_key(c, token, key, &why)) {
        j->signer_deadline_ms = 0;
        return REACHED;
    }
    for (size_t i = 0; i < j->signer_n; i++)
        ours |= strcmp(j->signer[i], token) == 0;
    if (!l && t && t->offline && !ours) {
        if (j->signer_n == SIGNERS_MAX)
            return failed(j, E_INTERNAL, "too many offline tokens for one command");
        snprintf(j->signer[j->signer_n++], sizeof(j->signer[0]), "%s", token);
        j->signer_deadline_ms = clock_mono_ms() + SIGNER_WAIT_MS;
        return ask_run(j, RUN_SIGNER, token);
    }
    if (j->signer_deadline_ms == 0)
        j->signer_deadline_ms = clock_mono_ms() + SIGNER_WAIT_MS;
    if (clock_mono_ms() < j->signer_deadline_ms)
        return WAITING; /* for the link, or for the keys to be resolved */
    err_set(&j->err, E_TOKEN, "token \"%s\": key \"%s\": %s", token, key, why);
    return FAILED;
}

static enum goal_state goal_no_signers(struct job *j)
{
    if (j->signer_n == 0)
        return REACHED;
    j->signer_n--;
    return ask_run(j, RUN_SIGNER_END, j->signer[j->signer_n]);
}

/* ---- keys ---- */

struct found_key {
    bool found;
    uint8_t cka_id[16];
    struct buf spki;
};

static enum err_code key_record(struct job *j, struct bytes cka_id, struct bytes spki, const char *how, struct err *e)
{
    struct core *c = j->core;
    struct key_row row = {.purpose = (uint8_t)j->purpose, .alg = (uint8_t)j->alg, .spki = spki,
                          .created_at = core_stamp(c)};
    struct pubkey key;
    char hex[65], object[KEY_NAME_MAX + 8];

    if (cka_id.len != sizeof(row.cka_id))
        return err_set(e, E_TOKEN, "key \"%s\": CKA_ID of %zu octets", j->key, cka_id.len);
    if (pubkey_read(spki, &key, e) != E_OK)
        return err_wrap(e, "key \"%s\"", j->key);
    if (key.alg != j->alg)
        return err_set(e, E_CONFLICT, "key \"%s\" is %s, the configuration says %s", j->key, key_alg_name(key.alg),
                       key_alg_name(j->alg));
    memcpy(row.cka_id, cka_id.p, sizeof(row.cka_id));
    snprintf(row.name, sizeof(row.name), "%s", j->key);
    snprintf(row.token, sizeof(row.token), "%s", j->token);
    hex_encode(key.spki_hash, 32, hex);
    snprintf(object, sizeof(object), "key:%s", j->key);
    if (core_begin(c, e) != E_OK)
        return e->code;
    if (store_key_insert(c->store, &row, e) != E_OK ||
        core_audit(c, &j->call->by, "key-created", "", object,
                   json_pack("{s:s, s:s, s:s, s:s}", "token", j->token, "algorithm", key_alg_name(j->alg),
                             "spki_sha256", hex, "how", how),
                   core_stamp(c), e) != E_OK) {
        core_doubt(c, e);
        core_rollback(c);
        return err_wrap(e, "key \"%s\"", j->key);
    }
    core_commit(c);
    core_authorities_changed(c);
    return E_OK;
}

static void on_generated(struct job *j, struct msg_reader *r)
{
    AUTO_BUF id = BUF_INIT(64);
    AUTO_BUF spki = BUF_INIT(SPKI_MAX_LEN);
    char attributes[512];
    struct err e = {0};

    buf_add_bytes(&id, msg_get_bytes(r, 64));
    buf_add_bytes(&spki, msg_get_bytes(r, SPKI_MAX_LEN));
    msg_get_str(r, attributes, sizeof(attributes));
    if (msg_read_end(r, &e) != E_OK) {
        bad_reply(j, &e);
        return;
    }
    j->generated = true;
    if (key_record(j, buf_bytes(&id), buf_bytes(&spki), "generated", &e) != E_OK)
        action_failed(j, &e);
    else
        action_done(j);
}

/* A key of that name made before a crash is taken over: the token says that it never left it. */
static void on_listed(struct job *j, struct msg_reader *r)
{
    uint32_t n = msg_get_u32(r);
    struct bytes id = {NULL, 0}, spki = {NULL, 0};
    bool found = false, safe = false;
    struct err e = {0};
    enum err_code code = E_OK;

    for (uint32_t i = 0; i < n && n <= LISTED_MAX && !r->failed; i++) {
        char label[256], alg[32], flags[512];
        struct bytes this_id, this_spki;
        bool never;

        msg_get_str(r, label, sizeof(label));
        this_id = msg_get_bytes(r, 256);
        msg_get_str(r, alg, sizeof(alg));
        this_spki = msg_get_bytes(r, SPKI_MAX_LEN);
        never = msg_get_bool(r);
        msg_get_str(r, flags, sizeof(flags));
        if (strcmp(label, j->key) != 0)
            continue;
        found = true;
        id = this_id;
        spki = this_spki;
        safe = never;
    }
    if (msg_read_end(r, &e) != E_OK) {
        bad_reply(j, &e);
        return;
    }
    j->listed = true;
    if (found && !safe)
        code = err_set(&e, E_CONFLICT, "token \"%s\" holds a key \"%s\" that may have left it: destroy it first",
                       j->token, j->key);
    else if (found)
        code = key_record(j, id, spki, "found on the token", &e);
    if (code != E_OK)
        action_failed(j, &e);
    else
        action_done(j);
}

static enum goal_state key_exists(struct job *j, enum key_purpose purpose, const char *owner, const char *token,
                                  enum key_alg alg)
{
    AUTO_MSG m = {BUF_INIT(0)};
    char name[KEY_NAME_MAX];
    enum goal_state s;

    key_name(name, sizeof(name), purpose, owner);
    if (key_find(j->core, name))
        return REACHED; /* j->key stays the one under way: goal_key_made asks for it */
    text_copy(j->key, sizeof(j->key), name);
    j->purpose = purpose;
    j->alg = alg;
    snprintf(j->token, sizeof(j->token), "%s", token);
    s = with_token(j, token);
    if (s != REACHED)
        return s;
    if (!j->listed) {
        msg_begin(&m, TOKEN_LIST, new_message_id(j));
        return ask_token(j, &m, on_listed);
    }
    msg_begin(&m, TOKEN_GENERATE, new_message_id(j));
    msg_put_u8(&m, (uint8_t)purpose);
    msg_put_str(&m, owner);
    msg_put_u32(&m, 1);
    msg_put_str(&m, key_alg_name(alg));
    return ask_token(j, &m, on_generated);
}

/* ---- CA goals ---- */

static struct authority *own_ca(struct job *j)
{
    return authority_find(j->core, j->ca);
}

static enum goal_state goal_parent(struct job *j)
{
    struct authority *a = own_ca(j), *parent = a ? authority_parent(j->core, a) : NULL;

    if (!a)
        return failed(j, E_NOT_FOUND, "no such CA in the configuration");
    if (a->exists || authority_is_root(a) || authority_is_external(a) || (parent && parent->exists))
        return REACHED;
    err_set(&j->err, E_CONFLICT, "CA \"%s\" is signed by \"%s\", which does not exist yet: create that first",
            a->conf->name, a->conf->issuer);
    return FAILED;
}

static enum goal_state goal_ca_key(struct job *j)
{
    const struct conf_ca *conf = own_ca(j)->conf;

    return own_ca(j)->exists ? REACHED : key_exists(j, PURPOSE_CA, conf->name, conf->token, conf->key);
}

static enum goal_state goal_ocsp_key(struct job *j)
{
    const struct conf_ca *conf = own_ca(j)->conf;

    return conf->ocsp_token[0] ? key_exists(j, PURPOSE_OCSP, conf->name, conf->ocsp_token, conf->ocsp_key) : REACHED;
}

static void note_made(struct job *j, const char *what)
{
    json_array_append_new(j->made, json_string(what));
}

static void on_ca_issued(struct core *c, void *arg, const struct issue_result *r)
{
    struct job *j = arg;

    if (current(c) != j)
        return;
    if (r->code != E_OK) {
        action_failed(j, &r->err);
        return;
    }
    note_made(j, "certificate");
    action_done(j);
}

/* The certificate of `a`, signed by its parent. */
static enum goal_state ca_certificate(struct job *j, struct authority *a)
{
    struct core *c = j->core;
    struct authority *parent = authority_parent(c, a);
    char key[KEY_NAME_MAX], requester[ID_MAX_LEN + 8];
    const struct known_key *k;
    struct issue_order order;
    enum goal_state s;

    if (a->exists)
        return REACHED;
    key_name(key, sizeof(key), PURPOSE_CA, parent->conf->name);
    s = with_signer(j, parent->conf->token, key);
    if (s != REACHED)
        return s;
    key_name(key, sizeof(key), PURPOSE_CA, a->conf->name);
    k = key_find(c, key);
    if (!k)
        return failed(j, E_INTERNAL, "the CA's key is not known");
    snprintf(requester, sizeof(requester), "ca:%s", a->conf->name);
    order = (struct issue_order){
        .profile = a->conf->profile,
        .spki = buf_bytes(&k->spki),
        .requester = requester,
        .by = &j->call->by,
        .issuer = parent->conf->name,
        .becomes_ca = a->conf->name,
        .name = a->conf->name,
        .key = k->id,
    };
    if (issue_order(c, &order, on_ca_issued, j, &j->err) != E_OK)
        return FAILED;
    return start_waiting(j);
}

static enum goal_state goal_ca_certificate(struct job *j)
{
    return ca_certificate(j, own_ca(j));
}

static void on_responder_issued(struct core *c, void *arg, const struct issue_result *r)
{
    struct job *j = arg;

    if (current(c) != j)
        return;
    if (r->code != E_OK) {
        action_failed(j, &r->err);
        return;
    }
    j->responder_made = true;
    note_made(j, "ocsp");
    action_done(j);
}

static enum err_code order_responder(struct core *c, const struct authority *a, const struct actor *by, issue_fn done,
                                     void *arg, struct err *e)
{
    char key[KEY_NAME_MAX], requester[ID_MAX_LEN + 8];
    const struct known_key *k;
    struct issue_order order;

    key_name(key, sizeof(key), PURPOSE_OCSP, a->conf->name);
    k = key_find(c, key);
    if (!k)
        return err_set(e, E_CONFLICT, "CA \"%s\" has no OCSP key yet: inkan ca create", a->conf->name);
    snprintf(requester, sizeof(requester), "ocsp:%s", a->conf->name);
    order = (struct issue_order){
        .profile = a->conf->ocsp_profile,
        .spki = buf_bytes(&k->spki),
        .requester = requester,
        .by = by,
        .issuer = a->conf->name,
        .name = a->conf->name,
        .key = k->id,
    };
    return issue_order(c, &order, done, arg, e);
}

static enum goal_state responder(struct job *j, bool renew)
{
    struct core *c = j->core;
    struct authority *a = own_ca(j);
    enum goal_state s;

    if (!a->conf->ocsp_token[0] || j->responder_made || (a->ocsp_cert.len && !renew))
        return REACHED;
    s = with_signer(j, a->conf->token, a->key);
    if (s != REACHED)
        return s;
    if (order_responder(c, a, &j->call->by, on_responder_issued, j, &j->err) != E_OK)
        return FAILED;
    return start_waiting(j);
}

static enum goal_state goal_responder(struct job *j)
{
    return responder(j, false);
}

/* Past half of its life when the root is at hand: a new one. */
static enum goal_state goal_responder_renewed(struct job *j)
{
    const struct authority *a = own_ca(j);
    int64_t half = a->ocsp_not_before + (a->ocsp_not_after - a->ocsp_not_before) / 2;

    return responder(j, core_stamp(j->core) >= half);
}

/* ---- the certificates of the keys of records and of the feed, by the CA of their profiles ---- */

static bool signs_key_of(const struct signer_place *where, const struct core *c, const char *ca)
{
    const struct conf_profile *p = conf_find_profile(c->conf, where->profile);

    return where->token[0] && p && strcmp(p->ca, ca) == 0;
}

static void on_record_issued(struct core *c, void *arg, const struct issue_result *r)
{
    struct job *j = arg;

    if (!j || current(c) != j)
        return;
    if (r->code != E_OK) {
        action_failed(j, &r->err);
        return;
    }
    j->record_made |= 1u << j->record_purpose;
    note_made(j, key_purpose_name(j->record_purpose));
    action_done(j);
}

static enum err_code order_record(struct core *c, const struct signer_place *where, const char *ca, const struct actor *by, issue_fn done,
                                  void *arg, struct err *e)
{
    char key[KEY_NAME_MAX], requester[ID_MAX_LEN + 8];
    const struct known_key *k;
    struct issue_order order;

    key_name(key, sizeof(key), where->purpose, ca);
    k = key_find(c, key);
    if (!k)
        return err_set(e, E_CONFLICT, "there is no key of %s yet: inkan ca create %s", where->name, ca);
    snprintf(requester, sizeof(requester), "%s:%s", key_purpose_name(where->purpose), ca);
    order = (struct issue_order){
        .profile = where->profile,
        .spki = buf_bytes(&k->spki),
        .requester = requester,
        .by = by,
        .name = where->name,
        .key = k->id,
    };
    return issue_order(c, &order, done, arg, e);
}

static enum goal_state key_of(struct job *j, enum key_purpose purpose)
{
    const struct signer_place where = signer_place(j->core, purpose);

    return signs_key_of(&where, j->core, j->ca) ? key_exists(j, purpose, j->ca, where.token, where.alg) : REACHED;
}

static enum goal_state certificate_of(struct job *j, enum key_purpose purpose)
{
    const struct signer_place where = signer_place(j->core, purpose);
    struct authority *a = own_ca(j);
    enum goal_state s;

    if (!signs_key_of(&where, j->core, j->ca) || (j->record_made >> purpose & 1) || where.signer->cert.len)
        return REACHED;
    s = with_signer(j, a->conf->token, a->key);
    if (s != REACHED)
        return s;
    j->record_purpose = purpose;
    if (order_record(j->core, &where, j->ca, &j->call->by, on_record_issued, j, &j->err) != E_OK)
        return FAILED;
    return start_waiting(j);
}

static enum goal_state goal_record_key(struct job *j)
{
    return key_of(j, PURPOSE_RECORD);
}

static enum goal_state goal_record(struct job *j)
{
    return certificate_of(j, PURPOSE_RECORD);
}

static enum goal_state goal_feed_key(struct job *j)
{
    return key_of(j, PURPOSE_FEED);
}

static enum goal_state goal_feed(struct job *j)
{
    return certificate_of(j, PURPOSE_FEED);
}

static void on_list_published(struct core *c, void *arg, struct crl_scope *scope, enum err_code code,
                              const struct err *e)
{
    struct job *j = arg;
    char name[ID_MAX_LEN + 16];

    if (current(c) != j)
        return;
    if (code == E_PENDING) { /* one list a second */
        j->deadline_ms = clock_mono_ms() + STEP_DEADLINE_MS;
        action_done(j);
        return;
    }
    if (code != E_OK) {
        action_failed(j, e);
        return;
    }
    publish_name(scope, name, sizeof(name));
    note_made(j, "crl");
    json_object_set_new(j->result, "crl_number", json_integer((json_int_t)scope->number));
    action_done(j);
}

/* Every scope of the CA has a list; with `since` seconds, one not older that holds all that changed: seconds alone do not say that. */
static enum goal_state lists(struct job *j, int64_t since)
{
    struct authority *a = own_ca(j);
    enum goal_state s;

    for (size_t i = 0; i < a->scope_n; i++) {
        struct crl_scope *scope = &a->scope[i];

        if (scope->exists && scope->published_at >= since && (since == 0 || scope->dirty_since_ms == 0))
            continue;
        s = with_signer(j, a->conf->token, a->key);
        if (s != REACHED)
            return s;
        if (scope->busy || clock_mono_ms() < scope->retry_at_ms)
            return WAITING;
        s = start_waiting(j);
        publish_start(j->core, scope, on_list_published, j);
        return s;
    }
    return REACHED;
}

static enum goal_state goal_lists(struct job *j)
{
    return lists(j, 0);
}

static enum goal_state goal_lists_now(struct job *j)
{
    return lists(j, json_integer_value(json_object_get(j->result, "asked_at")));
}

/* The root is at hand: CAs it has to sign and whose keys are there get their certificates. */
static enum goal_state goal_children(struct job *j)
{
    struct core *c = j->core;
    char key[KEY_NAME_MAX];

    for (size_t i = 0; i < c->ca_n; i++) {
        struct authority *a = &c->ca[i];

        key_name(key, sizeof(key), PURPOSE_CA, a->conf->name);
        if (strcmp(a->conf->issuer, j->ca) == 0 && !a->exists && key_find(c, key))
            return ca_certificate(j, a);
    }
    return REACHED;
}

static enum goal_state goal_root(struct job *j)
{
    struct authority *a = own_ca(j);

    const struct conf_token *t = a ? conf_find_token(j->core->conf, a->conf->token) : NULL;

    if (!a)
        return failed(j, E_NOT_FOUND, "no such CA in the configuration");
    if (!t || !t->offline)
        return failed(j, E_INVALID, "its token is not offline: the service signs for it (inkan crl publish)");
    return a->exists ? REACHED : failed(j, E_CONFLICT, "the CA does not exist yet: inkan ca create");
}

static enum goal_state goal_ca_result(struct job *j)
{
    const struct authority *a = own_ca(j);

    json_object_set_new(j->result, "name", json_string(a->conf->name));
    json_object_set_new(j->result, "subject", json_name(buf_bytes(&a->subject)));
    json_object_set_new(j->result, "not_after", json_integer((json_int_t)a->not_after));
    json_object_set_new(j->result, "created", json_boolean(json_array_size(j->made) != 0));
    return REACHED;
}

static enum goal_state goal_signed_result(struct job *j)
{
    json_object_set(j->result, "signed", j->made);
    json_object_del(j->result, "asked_at");
    json_object_del(j->result, "crl_number");
    return REACHED;
}

/* ---- CAs certified elsewhere ---- */

static enum goal_state goal_external(struct job *j)
{
    const struct authority *a = own_ca(j);

    if (!a)
        return failed(j, E_NOT_FOUND, "no such CA in the configuration");
    return authority_is_external(a) ? REACHED
                                    : failed(j, E_INVALID, "its issuer is not external: the service certifies it itself (inkan ca create)");
}

static enum goal_state goal_external_key(struct job *j)
{
    const struct conf_ca *conf = own_ca(j)->conf;

    return key_exists(j, PURPOSE_CA, conf->name, conf->token, conf->key);
}

/* A signature may come back when its job is gone. */
struct csr_signing {
    struct core *core;
    const struct job *job;
};

static void on_csr_signed(void *arg, enum err_code code, const struct err *e, enum sig_alg alg, struct bytes sig)
{
    struct csr_signing *s = arg;
    struct job *j = current(s->core);
    struct err why = {0};
    struct derw w;
    bool ours = j && j == s->job;

    free(s);
    if (!ours)
        return;
    if (code != E_OK) {
        action_failed(j, e);
        return;
    }
    derw_init(&w, &j->csr);
    derw_signed(&w, buf_bytes(&j->csr_info), alg, sig);
    if (!derw_finish(&w)) {
        err_set(&why, E_NOMEM, "CSR");
        action_failed(j, &why);
        return;
    }
    action_done(j);
}

static enum goal_state goal_csr(struct job *j)
{
    struct authority *a = own_ca(j);
    char key[KEY_NAME_MAX];
    const struct known_key *k;
    struct csr_signing *s;
    const char *why;
    enum goal_state state;

    if (j->csr.len)
        return REACHED;
    key_name(key, sizeof(key), PURPOSE_CA, a->conf->name);
    k = key_find(j->core, key);
    if (!k)
        return failed(j, E_INTERNAL, "the CA's key is not known");
    state = with_signer(j, a->conf->token, key);
    if (state != REACHED)
        return state;
    s = calloc(1, sizeof(*s));
    if (!s)
        return failed(j, E_NOMEM, "CSR");
    *s = (struct csr_signing){j->core, j};
    buf_reset(&j->csr_info);
    if (external_request(a, k, &j->csr_info, &j->err) != E_OK ||
        signer_sign(signer_for_key(j->core, a->conf->token, key, &why), key, SIGN_CSR, buf_bytes(&j->csr_info), SIGN_DEADLINE_MS, 0,
                    on_csr_signed, s, &j->err) != E_OK) {
        free(s);
        return FAILED;
    }
    return start_waiting(j);
}

static enum goal_state goal_csr_result(struct job *j)
{
    json_object_del(j->result, "asked_at");
    json_object_set_new(j->result, "csr", json_base64(buf_bytes(&j->csr)));
    json_object_set_new(j->result, "subject", json_string(own_ca(j)->conf->subject));
    return REACHED;
}

static enum goal_state goal_waits_result(struct job *j)
{
    json_object_set_new(j->result, "name", json_string(j->ca));
    json_object_set_new(j->result, "waits", json_true());
    return REACHED;
}

static enum err_code install(struct job *j, struct err *e)
{
    const json_t *list = json_object_get(j->call->args, "chain");
    AUTO_BUF cert = BUF_INIT(CERT_MAX_LEN);
    struct buf above[CHAIN_MAX];
    struct bytes lent[CHAIN_MAX];
    size_t n = 0;
    enum err_code code = admin_der(j->call, "cert", &cert, e);

    for (; code == E_OK && n < json_array_size(list) && n < CHAIN_MAX; n++) {
        const char *text = json_string_value(json_object_get(json_array_get(list, n), "cert"));

        buf_init(&above[n], CERT_MAX_LEN);
        code = text ? base64_decode(bytes_str(text), &above[n], e) : err_set(e, E_INVALID, "chain[%zu]: not {\"cert\": base64}", n);
        lent[n] = buf_bytes(&above[n]);
    }
    if (code == E_OK)
        code = external_install(j->core, own_ca(j), &j->call->by, buf_bytes(&cert), lent, n, e);
    for (size_t i = 0; i < n; i++)
        buf_clear(&above[i]);
    return code;
}

static enum goal_state goal_installed(struct job *j)
{
    if (j->installed)
        return REACHED;
    if (install(j, &j->err) != E_OK)
        return FAILED;
    j->installed = true;
    note_made(j, "certificate");
    return REACHED;
}

static const goal_fn ca_request_goals[] = {goal_external, goal_external_key, goal_key_made, goal_csr, goal_csr_result, NULL};
static const goal_fn ca_waits_goals[] = {goal_external, goal_external_key, goal_key_made, goal_waits_result, NULL};
static const goal_fn ca_install_goals[] = {goal_external,  goal_installed, goal_ocsp_key,   goal_key_made,
                                           goal_responder, goal_record_key, goal_key_made,  goal_record,
                                           goal_feed_key,  goal_key_made,   goal_feed,      goal_lists,     goal_ca_result,  NULL};
static const goal_fn ca_create_goals[] = {goal_parent,   goal_ca_key,   goal_key_made,  goal_ca_certificate,
                                          goal_ocsp_key, goal_key_made, goal_responder,
                                          goal_record_key, goal_key_made, goal_record,
                                          goal_feed_key, goal_key_made, goal_feed, goal_lists,
                                          goal_ca_result, NULL};
static const goal_fn root_sign_goals[] = {goal_root, goal_children, goal_responder_renewed, goal_lists_now,
                                          goal_signed_result, NULL};

/* ---- token goals ---- */

static void on_info(struct job *j, struct msg_reader *r)
{
    char text[5][128], state[128], library[512];
    bool initialised, pin_set;
    struct err e = {0};

    for (size_t i = 0; i < ARRAY_LEN(text); i++)
        msg_get_str(r, text[i], sizeof(text[i]));
    initialised = msg_get_bool(r);
    pin_set = msg_get_bool(r);
    msg_get_str(r, state, sizeof(state));
    msg_get_str(r, library, sizeof(library));
    if (msg_read_end(r, &e) != E_OK) {
        bad_reply(j, &e);
        return;
    }
    json_object_update_new(j->result, json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:s, s:s}", "label", text[0], "serial",
                                            text[1], "model", text[2], "manufacturer", text[3], "firmware", text[4],
                                            "initialised", initialised, "user_pin_set", pin_set, "pin_state", state,
                                            "library", library));
    j->asked = true;
    action_done(j);
}

static enum goal_state goal_token_info(struct job *j)
{
    AUTO_MSG m = {BUF_INIT(0)};
    enum goal_state s = j->asked ? REACHED : with_token(j, j->token);

    if (j->asked || s != REACHED)
        return s;
    msg_begin(&m, TOKEN_INFO, new_message_id(j));
    return ask_token(j, &m, on_info);
}

static void on_token_done(struct job *j, struct msg_reader *r)
{
    struct err e = {0};

    if (msg_read_end(r, &e) != E_OK) {
        bad_reply(j, &e);
        return;
    }
    j->generated = true;
    action_done(j);
}

static enum goal_state token_command(struct job *j, uint16_t type)
{
    AUTO_MSG m = {BUF_INIT(0)};
    enum goal_state s = j->generated ? REACHED : with_token(j, j->token);

    if (j->generated || s != REACHED)
        return s;
    msg_begin(&m, type, new_message_id(j));
    return ask_token(j, &m, on_token_done);
}

static enum goal_state goal_token_init(struct job *j)
{
    return token_command(j, TOKEN_INIT);
}

static enum goal_state goal_token_unblock(struct job *j)
{
    return token_command(j, TOKEN_UNBLOCK);
}

/* One entry for what was done to a token. */
static enum goal_state note_token(struct job *j, const char *event)
{
    struct core *c = j->core;
    char object[ID_MAX_LEN + 8];

    snprintf(object, sizeof(object), "token:%s", j->token);
    if (core_begin(c, &j->err) != E_OK)
        return FAILED;
    if (core_audit(c, &j->call->by, event, "", object, NULL, core_stamp(c), &j->err) != E_OK) {
        core_doubt(c, &j->err);
        core_rollback(c);
        return FAILED;
    }
    core_commit(c);
    return REACHED;
}

/* Before the first step: a crash in the middle leaves this entry without the one that says that it was done. */
static enum goal_state intend(struct job *j, const char *event)
{
    enum goal_state s = j->intended ? REACHED : note_token(j, event);

    j->intended = s == REACHED;
    return s;
}

static enum goal_state goal_intend_init(struct job *j)
{
    return intend(j, "token-init-begun");
}

static enum goal_state goal_intend_unblock(struct job *j)
{
    return intend(j, "token-unblock-begun");
}

static enum goal_state goal_note_init(struct job *j)
{
    return note_token(j, "token-initialised");
}

static enum goal_state goal_note_unblock(struct job *j)
{
    return note_token(j, "token-unblocked");
}

/* A signer that was held back because of its PIN starts again. */
static enum goal_state goal_signer_restart(struct job *j)
{
    const struct conf_token *t = conf_find_token(j->core->conf, j->token);

    if (j->asked || !t || t->offline)
        return REACHED;
    j->asked = true;
    return ask_run(j, RUN_SIGNER_RESTART, j->token);
}

static enum goal_state goal_key(struct job *j)
{
    char token[ID_MAX_LEN + 1];

    snprintf(token, sizeof(token), "%s", j->token);
    return key_exists(j, j->purpose, j->key_owner, token, j->alg);
}

static enum goal_state goal_key_result(struct job *j)
{
    const struct known_key *k = key_find(j->core, j->key);

    if (!k)
        return failed(j, E_INTERNAL, "the key is not known");
    json_object_update_new(j->result, json_pack("{s:s, s:o, s:o}", "name", k->name, "cka_id", json_hex(BYTES_OF(k->cka_id)),
                                            "spki", json_base64(buf_bytes(&k->spki))));
    return REACHED;
}

static void on_destroyed(struct job *j, struct msg_reader *r)
{
    struct core *c = j->core;
    const struct known_key *k = key_find(c, j->key);
    char object[KEY_NAME_MAX + 8];
    struct err e = {0};
    enum err_code code = E_OK;

    if (msg_read_end(r, &e) != E_OK) {
        bad_reply(j, &e);
        return;
    }
    snprintf(object, sizeof(object), "key:%s", j->key);
    if (k && (code = core_begin(c, &e)) == E_OK) {
        code = store_key_set_destroyed(c->store, k->id, core_stamp(c), &e);
        if (code == E_OK)
            code = core_audit(c, &j->call->by, "key-destroyed", "", object, NULL, core_stamp(c), &e);
        if (code != E_OK) {
            core_doubt(c, &e);
            core_rollback(c);
        } else {
            core_commit(c);
            core_authorities_changed(c);
        }
    }
    if (code != E_OK)
        action_failed(j, &e);
    else
        action_done(j);
}

static const char *key_is_in_use(struct core *c, const struct known_key *k)
{
    for (size_t i = 0; i < c->ca_n; i++) {
        if (c->ca[i].exists && strcmp(c->ca[i].key, k->name) == 0)
            return "it is the key of a CA in the configuration:";
        if (c->ca[i].ocsp_cert.len && strcmp(c->ca[i].ocsp_key, k->name) == 0)
            return "it is the key of an OCSP responder in the configuration:";
    }
    if (strcmp(c->record.key, k->name) == 0)
        return "it is the record key:";
    return strcmp(c->audit_key, k->name) == 0 ? "it is the audit key:" : NULL;
}

static enum goal_state goal_key_destroyed(struct job *j)
{
    const struct known_key *k = key_find(j->core, j->key);
    AUTO_MSG m = {BUF_INIT(0)};
    enum goal_state s;
    const char *why;

    if (!k)
        return REACHED;
    why = key_is_in_use(j->core, k); /* a job before this one may have made it a CA's */
    if (why) {
        err_set(&j->err, E_CONFLICT, "%s \"%s\"", why, j->key);
        return FAILED;
    }
    s = with_token(j, j->token);
    if (s != REACHED)
        return s;
    msg_begin(&m, TOKEN_DESTROY, new_message_id(j));
    msg_put_bytes(&m, BYTES_OF(k->cka_id));
    msg_put_bytes(&m, buf_bytes(&k->spki));
    return ask_token(j, &m, on_destroyed);
}

static const goal_fn token_info_goals[] = {goal_token_info, goal_no_token, NULL};
static const goal_fn token_init_goals[] = {goal_intend_init, goal_token_init, goal_token_info, goal_no_token,
                                           goal_note_init, NULL};
static const goal_fn token_unblock_goals[] = {goal_intend_unblock, goal_token_unblock, goal_no_token, goal_signer_restart,
                                              goal_note_unblock, NULL};
static const goal_fn key_generate_goals[] = {goal_key, goal_no_token, goal_key_result, NULL};
static const goal_fn key_destroy_goals[] = {goal_key_destroyed, goal_no_token, NULL};

/* ---- running ---- */

static const goal_fn closing_goals[] = {goal_no_token, goal_no_signers, NULL};

static void job_free(struct job *j)
{
    json_decref(j->result);
    json_decref(j->made);
    buf_clear(&j->csr_info);
    buf_clear(&j->csr);
    free(j);
}

static enum goal_state walk_goals(struct job *j, const goal_fn *goal)
{
    for (; *goal; goal++) {
        enum goal_state s = (*goal)(j);

        if (s != REACHED)
            return s;
    }
    return REACHED;
}

static void job_end(struct core *c, struct job *j)
{
    TAILQ_REMOVE(&c->jobs->queue, j, link);
    if (j->failed)
        admin_fail(j->call, &j->err);
    else
        admin_done(j->call, json_incref(j->result), -1);
    job_free(j);
}

/* One pass over the head of the queue. */
static void walk_once(struct core *c)
{
    struct job *j = current(c);
    struct err ignored;
    enum goal_state s = REACHED;

    if (!j)
        return;
    if (j->acting && clock_mono_ms() < j->deadline_ms)
        return;
    if (j->acting) {
        j->acting = false;
        c->jobs->run_pending = false;
        if (!j->failed)
            err_set(&j->err, E_TOKEN, "no answer within %d seconds", STEP_DEADLINE_MS / 1000);
        j->failed = true;
    }
    if (!j->closing) {
        if (!j->failed)
            s = walk_goals(j, j->goal);
        if (s == WAITING)
            return;
        j->failed |= s == FAILED;
        j->closing = true;
    }
    ignored = j->err; /* what failed first is told, not what the cleaning up met */
    s = walk_goals(j, closing_goals);
    j->err = ignored;
    if (s == WAITING)
        return;
    if (s == FAILED) {
        c->jobs->token_asked = c->jobs->token_ending = false;
        c->jobs->token[0] = '\0';
    }
    job_end(c, j);
    jobs_poke(c);
}

static void walk(struct core *c)
{
    struct job_runner *r = c->jobs;

    if (r->walking) {
        r->again = true;
        return;
    }
    r->walking = true;
    do {
        r->again = false;
        walk_once(c);
    } while (r->again);
    r->walking = false;
}

void jobs_poke(struct core *c)
{
    if (c->jobs && !c->stopping)
        walk(c);
}

void jobs_free(struct core *c)
{
    struct job *j;

    if (!c->jobs)
        return;
    while ((j = current(c))) {
        TAILQ_REMOVE(&c->jobs->queue, j, link);
        job_free(j);
    }
    if (c->jobs->chan)
        chan_free(c->jobs->chan);
    free(c->jobs);
    c->jobs = NULL;
}

static struct job *job_new(struct core *c, struct admin_call *call, const goal_fn *goals)
{
    struct job *j = calloc(1, sizeof(*j));

    if (!c->jobs && (c->jobs = calloc(1, sizeof(*c->jobs))))
        TAILQ_INIT(&c->jobs->queue);
    if (!j || !c->jobs) {
        struct err e = {0};
        free(j);
        err_set(&e, E_NOMEM, "job");
        admin_fail(call, &e);
        return NULL;
    }
    j->core = c;
    j->call = call;
    j->goal = goals;
    j->result = json_object();
    j->made = json_array();
    buf_init(&j->csr_info, CSR_MAX_LEN);
    buf_init(&j->csr, CSR_MAX_LEN);
    return j;
}

static void job_start(struct core *c, struct job *j)
{
    TAILQ_INSERT_TAIL(&c->jobs->queue, j, link);
    jobs_poke(c);
}

/* ---- operations ---- */

static void refuse_call(struct admin_call *call, enum err_code code, const char *text, const char *name)
{
    struct err e = {0};

    err_set(&e, code, "%s \"%s\"", text, name);
    admin_fail(call, &e);
}

static void token_job(struct core *c, struct admin_call *call, const goal_fn *goals)
{
    const char *token = admin_text(call, "token");
    struct job *j;

    if (!conf_find_token(c->conf, token)) {
        refuse_call(call, E_NOT_FOUND, "no such token in the configuration:", token);
        return;
    }
    j = job_new(c, call, goals);
    if (!j)
        return;
    snprintf(j->token, sizeof(j->token), "%s", token);
    job_start(c, j);
}

void op_token_info(struct core *c, struct admin_call *call)
{
    token_job(c, call, token_info_goals);
}

void op_token_init(struct core *c, struct admin_call *call)
{
    token_job(c, call, token_init_goals);
}

void op_token_unblock(struct core *c, struct admin_call *call)
{
    token_job(c, call, token_unblock_goals);
}

static bool purpose_from_name(const char *s, enum key_purpose *out)
{
    for (int i = 0; i < KEY_PURPOSES; i++)
        if (strcmp(key_purpose_name((enum key_purpose)i), s) == 0) {
            *out = (enum key_purpose)i;
            return true;
        }
    return false;
}

void op_key_generate(struct core *c, struct admin_call *call)
{
    const char *token = admin_text(call, "token"), *owner = admin_text(call, "name");
    enum key_purpose purpose;
    enum key_alg alg;
    char name[KEY_NAME_MAX];
    struct job *j;

    if (!conf_find_token(c->conf, token)) {
        refuse_call(call, E_NOT_FOUND, "no such token in the configuration:", token);
        return;
    }
    if (!purpose_from_name(admin_text(call, "purpose"), &purpose)) {
        refuse_call(call, E_INVALID, "purpose is one of ca, ocsp, audit, record, feed, not", admin_text(call, "purpose"));
        return;
    }
    if (!key_alg_from_name(admin_text(call, "algorithm"), &alg)) {
        refuse_call(call, E_INVALID, "no such algorithm:", admin_text(call, "algorithm"));
        return;
    }
    if (purpose != PURPOSE_AUDIT && !conf_find_ca(c->conf, owner)) {
        refuse_call(call, E_NOT_FOUND, "no such CA in the configuration:", owner);
        return;
    }
    key_name(name, sizeof(name), purpose, owner);
    if (key_find(c, name)) {
        refuse_call(call, E_CONFLICT, "there is a key already:", name);
        return;
    }
    j = job_new(c, call, key_generate_goals);
    if (!j)
        return;
    snprintf(j->token, sizeof(j->token), "%s", token);
    snprintf(j->key_owner, sizeof(j->key_owner), "%s", owner);
    j->purpose = purpose;
    j->alg = alg;
    job_start(c, j);
}

void op_key_destroy(struct core *c, struct admin_call *call)
{
    const char *name = admin_text(call, "name"), *why;
    const struct known_key *k = key_find(c, name);
    struct job *j;

    if (!k) {
        refuse_call(call, E_NOT_FOUND, "no such key:", name);
        return;
    }
    why = key_is_in_use(c, k);
    if (why) {
        refuse_call(call, E_CONFLICT, why, name);
        return;
    }
    j = job_new(c, call, key_destroy_goals);
    if (!j)
        return;
    snprintf(j->token, sizeof(j->token), "%s", k->token);
    snprintf(j->key, sizeof(j->key), "%s", name);
    job_start(c, j);
}

static void ca_job(struct core *c, struct admin_call *call, const goal_fn *goals)
{
    struct job *j = job_new(c, call, goals);

    if (!j)
        return;
    snprintf(j->ca, sizeof(j->ca), "%s", admin_text(call, "name"));
    json_object_set_new(j->result, "asked_at", json_integer((json_int_t)core_stamp(c)));
    job_start(c, j);
}

void op_ca_create(struct core *c, struct admin_call *call)
{
    const struct authority *a = authority_find(c, admin_text(call, "name"));

    /* Of one that is certified elsewhere the key can be made; the rest waits for ca.install. */
    ca_job(c, call, a && authority_is_external(a) && !a->exists ? ca_waits_goals : ca_create_goals);
}

void op_ca_request(struct core *c, struct admin_call *call)
{
    ca_job(c, call, ca_request_goals);
}

void op_ca_install(struct core *c, struct admin_call *call)
{
    ca_job(c, call, ca_install_goals);
}

void op_ca_root_sign(struct core *c, struct admin_call *call)
{
    ca_job(c, call, root_sign_goals);
}

/* ---- the service's own certificates ---- */

static void on_renewed(struct core *c, void *arg, const struct issue_result *r)
{
    (void)c;
    (void)arg;
    if (r->code != E_OK)
        log_failure("ocsp-renewal-failed", &r->err);
}

static void on_record_renewed(struct core *c, void *arg, const struct issue_result *r)
{
    (void)c;
    (void)arg;
    if (r->code != E_OK)
        log_failure("record-renewal-failed", &r->err);
}

static void on_feed_renewed(struct core *c, void *arg, const struct issue_result *r)
{
    (void)c;
    (void)arg;
    if (r->code != E_OK)
        log_failure("feed-renewal-failed", &r->err);
}

static void record_renew(struct core *c, enum key_purpose purpose, int64_t now)
{
    const struct signer_place where = signer_place(c, purpose);
    const struct record_signer *r = where.signer;
    int64_t due = r->not_before + (r->not_after - r->not_before) / 3 * 2;
    struct authority *a;
    char ca[ID_MAX_LEN + 1];
    const char *why;
    struct err e = {0};

    if (!r->key[0] || (r->cert.len && now < due) || current(c) || !key_owner(r->key, ca, sizeof(ca)))
        return;
    a = authority_find(c, ca);
    if (a && authority_is_ready(c, a, &why) &&
        order_record(c, &where, ca, &ACTOR_CORE, purpose == PURPOSE_FEED ? on_feed_renewed : on_record_renewed, NULL, &e) != E_OK)
        log_failure(purpose == PURPOSE_FEED ? "feed-renewal-failed" : "record-renewal-failed", &e);
}

void services_renew(struct core *c)
{
    int64_t now = core_stamp(c);
    const char *why;
    struct err e = {0};

    for (size_t i = 0; i < c->ca_n; i++) {
        struct authority *a = &c->ca[i];
        int64_t due = a->ocsp_not_before + (a->ocsp_not_after - a->ocsp_not_before) / 3 * 2;

        if (!a->exists || authority_is_offline(c, a) || !a->ocsp_key[0] || (a->ocsp_cert.len && now < due) ||
            current(c) || !authority_is_ready(c, a, &why))
            continue;
        if (order_responder(c, a, &ACTOR_CORE, on_renewed, NULL, &e) != E_OK)
            log_failure("ocsp-renewal-failed", &e);
    }
    record_renew(c, PURPOSE_RECORD, now);
    record_renew(c, PURPOSE_FEED, now);
}
