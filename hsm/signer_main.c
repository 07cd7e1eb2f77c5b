/* SPDX-License-Identifier: Apache-2.0 */
/* inkan-signer: links to core and status, their tables of keys, requests in, answers out. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/chan.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/privkey.h"
#include "base/proc.h"
#include "hsm/engine.h"
#include "hsm/pin.h"

#define LINK_QUEUE_MAX (16u << 20)
#define GENERATE_MAX_MS 30000 /* RSA 4096 on a slow token */
#define LOCK_WAIT_MS   5000
#define DRAIN_MS       10000
#define DRAIN_STEP_MS  20

struct signer_proc;

struct link {
    struct link *next;
    struct signer_proc *sp;
    uint64_t id;
    enum proc_kind peer;
    uint32_t index;
    struct chan *chan;
    struct held_key **keys; /* NULL: refused when it was named */
    size_t keys_n;
};

struct signer_proc {
    struct proc *proc;
    const struct conf_token *conf;
    struct p11 module;
    struct engine *engine;
    struct link *links;
    uint64_t next_link;
    struct event *drain;
    int64_t drain_until_ms;
    bool stopping;
    int exit_code;
};

/* ---- links ---- */

static struct link *link_find(struct signer_proc *sp, uint64_t id)
{
    struct link *l = sp->links;

    while (l && l->id != id)
        l = l->next;
    return l;
}

/* The engine resolves these keys no more; jobs already taken keep theirs for as long as the login generation lasts. */
static void drop_keys(struct signer_proc *sp, struct held_key **keys, size_t n)
{
    struct job *j = n ? job_new(JOB_DROP, 0, 0) : NULL;
    struct err e = {0};

    if (j) {
        j->keys = keys;
        j->keys_n = n;
        if (engine_submit(sp->engine, j, &e) == E_OK)
            return;
        j->keys = NULL;
        job_free(j);
    }
    for (size_t i = 0; i < n; i++)
        held_key_unref(keys[i]);
    free(keys);
}

static void link_close(struct link *l)
{
    struct link **at = &l->sp->links;

    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    chan_free(l->chan);
    drop_keys(l->sp, l->keys, l->keys_n);
    free(l);
}

static void send_or_fail(struct link *l, struct msg *m)
{
    struct err e = {0};

    if (chan_send(l->chan, m, -1, &e) != E_OK)
        chan_fail(l->chan, &e);
}

/* ---- answers ---- */

static void answer_signed(struct link *l, uint64_t request_id, const struct err *e, enum sig_alg alg, struct bytes sig)
{
    AUTO_MSG m = {BUF_INIT(0)};

    msg_begin(&m, SIGNER_SIGNED, request_id);
    msg_put_err(&m, e, e->code);
    msg_put_u8(&m, (uint8_t)alg);
    msg_put_bytes(&m, sig);
    send_or_fail(l, &m);
}

static void answer_generated(struct link *l, uint64_t request_id, const struct err *e, struct bytes pkcs8, struct bytes spki)
{
    struct msg m;

    msg_begin(&m, SIGNER_GENERATED, request_id);
    buf_reserve(&m.b, pkcs8.len + spki.len + sizeof(*e)); /* what grows is copied */
    msg_put_err(&m, e, e->code);
    msg_put_bytes(&m, e->code == E_OK ? pkcs8 : (struct bytes){NULL, 0});
    msg_put_bytes(&m, e->code == E_OK ? spki : (struct bytes){NULL, 0});
    send_or_fail(l, &m);
}

static void answer_keys(struct link *l, uint64_t request_id, const struct err *results, size_t n)
{
    AUTO_MSG m = {BUF_INIT(0)};

    msg_begin(&m, SIGNER_KEYS_RESULT, request_id);
    msg_put_u32(&m, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        msg_put_err(&m, &results[i], results[i].code);
    send_or_fail(l, &m);
}

static void answer_health(struct link *l, uint64_t request_id, const struct signer_health *h)
{
    AUTO_MSG m = {BUF_INIT(0)};
    struct err e = {.code = h->code};

    snprintf(e.msg, sizeof(e.msg), "%s", h->message);
    msg_begin(&m, SIGNER_HEALTH_RESULT, request_id);
    msg_put_err(&m, &e, h->code);
    msg_put_str(&m, h->state);
    msg_put_u64(&m, h->generation);
    msg_put_u64(&m, h->signed_count);
    msg_put_u64(&m, h->failed_count);
    msg_put_u32(&m, h->queued);
    msg_put_u32(&m, h->p50_us);
    msg_put_u32(&m, h->p99_us);
    send_or_fail(l, &m);
}

static void note_failed(const struct signer_proc *sp, const struct job *j)
{
    struct log_line l;

    log_begin(&l, LOG_WARN, "signer-sign-failed");
    log_str(&l, "token", sp->conf->name);
    log_str(&l, "key", j->key ? held_key_name(j->key) : "a new one");
    log_rid(&l, j->rid);
    log_err(&l, &j->e);
    log_end(&l);
}

/* Only now do the new keys take the place of the link's old ones, which served meanwhile. */
static void keys_resolved(struct signer_proc *sp, struct link *l, struct job *j)
{
    struct held_key **keys = j->keys;
    size_t n = j->keys_n;

    if (l) {
        answer_keys(l, j->request_id, j->results, n);
        keys = l->keys;
        n = l->keys_n;
        l->keys = j->keys;
        l->keys_n = j->keys_n;
    }
    j->keys = NULL;
    j->keys_n = 0;
    drop_keys(sp, keys, n);
}

static void on_job_done(struct job *j, void *arg)
{
    struct signer_proc *sp = arg;
    struct link *l = link_find(sp, j->link);

    if ((j->type == JOB_SIGN || j->type == JOB_GENERATE) && j->e.code != E_OK)
        note_failed(sp, j);
    if (l && j->type == JOB_GENERATE)
        answer_generated(l, j->request_id, &j->e, buf_bytes(&j->pkcs8), buf_bytes(&j->spki));
    if (l && j->type == JOB_SIGN)
        answer_signed(l, j->request_id, &j->e, j->alg, BYTES(j->sig, j->sig_len));
    else if (j->type == JOB_KEYS)
        keys_resolved(sp, l, j);
    else if (l && j->type == JOB_HEALTH)
        answer_health(l, j->request_id, &j->health);
    job_free(j);
}

/* ---- requests ---- */

/* One entry of SIGNER_KEYS; a key that cannot be right is refused alone. */
static void read_key(struct msg_reader *r, struct held_key **key, struct err *result)
{
    char name[KEY_LABEL_MAX];
    struct signer_key want = {.name = name};

    msg_get_str(r, name, sizeof(name));
    want.purpose = msg_get_enum(r, KEY_PURPOSES);
    want.cka_id = msg_get_bytes(r, 64);
    want.spki = msg_get_bytes(r, SPKI_MAX_LEN);
    want.issuer_name = msg_get_bytes(r, NAME_MAX_LEN);
    if (!r->failed && held_key_new(&want, key, result) != E_OK)
        *key = NULL;
}

static enum err_code do_keys(struct link *l, struct msg_reader *r, struct err *e)
{
    struct signer_proc *sp = l->sp;
    uint32_t n = msg_get_u32(r);
    struct job *j;

    if (r->failed || n > KEYS_MAX)
        return err_set(e, E_INVALID, "SIGNER_KEYS: %u keys, at most %d", n, KEYS_MAX);
    j = job_new(JOB_KEYS, l->id, r->request_id);
    if (j) {
        j->keys = calloc(n + 1, sizeof(struct held_key *));
        j->results = calloc(n + 1, sizeof(*j->results));
        j->keys_n = n;
    }
    if (!j || !j->keys || !j->results) {
        if (j)
            j->keys_n = 0;
        job_free(j);
        return err_set(e, E_NOMEM, "SIGNER_KEYS");
    }
    for (uint32_t i = 0; i < n && !r->failed; i++)
        read_key(r, &j->keys[i], &j->results[i]);
    if (msg_read_end(r, e) != E_OK) {
        job_free(j);
        return E_INVALID;
    }
    if (engine_submit(sp->engine, j, e) != E_OK) {
        for (uint32_t i = 0; i < n; i++)
            j->results[i] = *e;
        answer_keys(l, r->request_id, j->results, n);
        job_free(j);
    }
    return E_OK;
}

static struct held_key *link_key(const struct link *l, const char *name)
{
    for (size_t i = 0; i < l->keys_n; i++)
        if (l->keys[i] && strcmp(held_key_name(l->keys[i]), name) == 0)
            return l->keys[i];
    return NULL;
}

/* A large CRL comes as a memory file that nobody can change any more: what is hashed is what was sent. */
static enum err_code take_object(struct job *j, struct bytes tbs, int fd, struct err *e)
{
    const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;

    if ((fd >= 0) == (tbs.len > 0) || (fd >= 0 && j->kind != SIGN_CRL))
        return err_set(e, E_INVALID, "SIGNER_SIGN: the object must come once, beside the message only for a CRL");
    if (fd < 0) {
        buf_add_bytes(&j->copy, tbs);
        return buf_ok(&j->copy) ? E_OK : err_set(e, E_NOMEM, "SIGNER_SIGN");
    }
    if ((fcntl(fd, F_GET_SEALS) & seals) != seals)
        return err_set(e, E_INVALID, "SIGNER_SIGN: the memory file is not sealed");
    return fd_map(fd, CRL_MAX_LEN, &j->mapped, e);
}

static void refuse_sign(struct link *l, uint64_t request_id, const struct err *e)
{
    answer_signed(l, request_id, e, SIG_NONE, (struct bytes){NULL, 0});
}

static enum err_code do_sign(struct link *l, struct msg_reader *r, int fd, struct err *e)
{
    struct signer_proc *sp = l->sp;
    char name[KEY_LABEL_MAX];
    struct held_key *key;
    struct err why = {0};
    struct bytes tbs;
    uint32_t deadline_ms;
    uint64_t rid;
    enum sign_kind kind;
    struct job *j;

    msg_get_str(r, name, sizeof(name));
    kind = msg_get_enum(r, SIGN_KINDS);
    deadline_ms = msg_get_u32(r);
    rid = msg_get_u64(r);
    tbs = msg_get_bytes(r, MSG_MAX_LEN);
    if (msg_read_end(r, e) != E_OK)
        return E_INVALID;
    j = job_new(JOB_SIGN, l->id, r->request_id);
    if (!j)
        return err_set(e, E_NOMEM, "SIGNER_SIGN");
    j->kind = kind;
    j->rid = rid;
    if (deadline_ms == 0 || deadline_ms > sp->conf->deadline_ms)
        deadline_ms = sp->conf->deadline_ms;
    j->deadline_ms = clock_mono_ms() + deadline_ms;
    if (take_object(j, tbs, fd, e) != E_OK) {
        job_free(j);
        return e->code;
    }
    key = link_key(l, name);
    if (!key)
        err_set(&why, E_NOT_FOUND, "token \"%s\": no key \"%s\" on this link", sp->conf->name, name);
    else if (!engine_is_started(sp->engine))
        err_set(&why, E_TOKEN, "token \"%s\" is %s", sp->conf->name, engine_state(sp->engine));
    else if (sp->stopping)
        err_set(&why, E_TOKEN, "token \"%s\": the signer is stopping", sp->conf->name);
    if (why.code == E_OK) {
        j->key = held_key_ref(key);
        if (engine_submit(sp->engine, j, &why) == E_OK)
            return E_OK;
    }
    refuse_sign(l, r->request_id, &why);
    job_free(j);
    return E_OK;
}

/* A key pair for a device. Only the core gives such away. */
static enum err_code do_generate(struct link *l, struct msg_reader *r, struct err *e)
{
    struct signer_proc *sp = l->sp;
    enum key_alg alg = msg_get_enum(r, KEY_ALGS);
    uint32_t deadline_ms = msg_get_u32(r);
    uint64_t rid = msg_get_u64(r);
    struct err why = {0};
    struct job *j;

    if (msg_read_end(r, e) != E_OK)
        return E_INVALID;
    if (l->peer != PROC_CORE || alg == KEY_NONE)
        return err_set(e, E_INVALID, "SIGNER_GENERATE: of no kind, or from a process that makes no keys");
    j = job_new(JOB_GENERATE, l->id, r->request_id);
    if (!j)
        return err_set(e, E_NOMEM, "SIGNER_GENERATE");
    buf_init(&j->spki, SPKI_MAX_LEN);
    j->key_alg = alg;
    j->rid = rid;
    j->deadline_ms = clock_mono_ms() + (deadline_ms && deadline_ms < GENERATE_MAX_MS ? deadline_ms : GENERATE_MAX_MS);
    if (!engine_is_started(sp->engine) || sp->stopping)
        err_set(&why, E_TOKEN, "token \"%s\" is %s", sp->conf->name, sp->stopping ? "stopping" : engine_state(sp->engine));
    else if (engine_submit(sp->engine, j, &why) == E_OK)
        return E_OK;
    answer_generated(l, r->request_id, &why, (struct bytes){NULL, 0}, (struct bytes){NULL, 0});
    job_free(j);
    return E_OK;
}

static enum err_code do_health(struct link *l, struct msg_reader *r, struct err *e)
{
    struct signer_proc *sp = l->sp;
    struct signer_health h = {.code = E_TOKEN};
    struct err why = {0};
    struct job *j;

    if (msg_read_end(r, e) != E_OK)
        return E_INVALID;
    j = job_new(JOB_HEALTH, l->id, r->request_id);
    if (!j)
        return err_set(e, E_NOMEM, "SIGNER_HEALTH");
    if (engine_is_started(sp->engine) && engine_submit(sp->engine, j, &why) == E_OK)
        return E_OK;
    job_free(j);
    snprintf(h.state, sizeof(h.state), "%s", engine_state(sp->engine));
    snprintf(h.message, sizeof(h.message), "%.255s", why.msg[0] ? why.msg : "the token cannot be used now");
    answer_health(l, r->request_id, &h);
    return E_OK;
}

static void on_message(struct chan *c, struct msg_reader *r, int fd, void *arg)
{
    struct link *l = arg;
    struct err e = {0};
    enum err_code rc;

    if (fd >= 0 && r->type != SIGNER_SIGN)
        rc = err_set(&e, E_INVALID, "descriptor with message type 0x%04x", r->type);
    else if (r->type == SIGNER_SIGN)
        rc = do_sign(l, r, fd, &e);
    else if (r->type == SIGNER_KEYS)
        rc = do_keys(l, r, &e);
    else if (r->type == SIGNER_GENERATE)
        rc = do_generate(l, r, &e);
    else if (r->type == SIGNER_HEALTH)
        rc = do_health(l, r, &e);
    else
        rc = err_set(&e, E_INVALID, "unknown message type 0x%04x", r->type);
    if (fd >= 0)
        close(fd);
    if (rc != E_OK)
        chan_fail(c, &e);
}

static void on_link_gone(struct chan *c, const struct err *why, void *arg)
{
    struct link *l = arg;

    (void)c;
    if (why && why->code == E_NOMEM) /* the peer lives and would not be linked again */
        proc_die("signer-link-broken", PROC_EXIT_RESTART, why);
    if (why && why->code == E_INVALID)
        log_failure("signer-link-broken", why);
    link_close(l);
}

/* ---- process ---- */

static void on_link(struct proc *p, enum proc_kind peer, uint32_t index, const char *name, int fd, void *arg)
{
    static const struct chan_ops ops = {on_message, on_link_gone};
    struct signer_proc *sp = arg;
    struct link *l, *next;
    struct err e = {0};

    if (peer != PROC_CORE && peer != PROC_STATUS) {
        log_note(LOG_ERROR, "signer-link-refused", "peer", name);
        close(fd);
        return;
    }
    for (l = sp->links; l; l = next) { /* a peer that was started again */
        next = l->next;
        if (l->peer == peer && l->index == index)
            link_close(l);
    }
    l = calloc(1, sizeof(*l));
    if (l) {
        *l = (struct link){.sp = sp, .id = ++sp->next_link, .peer = peer, .index = index};
        l->chan = chan_new(proc_base(p), fd, &ops, l, LINK_QUEUE_MAX, &e);
    } else {
        err_set(&e, E_NOMEM, "out of memory for a link");
    }
    if (!l || !l->chan)
        proc_die("signer-link-broken", PROC_EXIT_RESTART, &e);
    chan_batch(l->chan);
    l->next = sp->links;
    sp->links = l;
}

static void on_state(const char *text, void *arg)
{
    struct signer_proc *sp = arg;

    proc_state(sp->proc, text);
}

static void on_started(void *arg)
{
    struct signer_proc *sp = arg;
    struct err e = {0};

    if (proc_confine(sp->proc, &e) != E_OK)
        proc_die("signer-down", PROC_EXIT_CONFIG, &e);
    proc_state(sp->proc, "READY");
    proc_ready(sp->proc);
}

static bool all_sent(const struct signer_proc *sp)
{
    for (const struct link *l = sp->links; l; l = l->next)
        if (chan_queued(l->chan))
            return false;
    return true;
}

static void on_drain(evutil_socket_t fd, short what, void *arg)
{
    const struct timeval step = {0, DRAIN_STEP_MS * 1000};
    struct signer_proc *sp = arg;

    (void)fd, (void)what;
    if ((engine_jobs(sp->engine) == 0 || !engine_is_started(sp->engine)) && all_sent(sp))
        proc_exit_loop(sp->proc, sp->exit_code);
    else if (clock_mono_ms() > sp->drain_until_ms)
        proc_exit_loop(sp->proc, sp->exit_code);
    else
        evtimer_add(sp->drain, &step);
}

/* Takes no more work, lets the queue run empty, then leaves the loop. */
static void leave(struct signer_proc *sp, int code)
{
    if (sp->stopping)
        return;
    sp->stopping = true;
    sp->exit_code = code;
    sp->drain_until_ms = clock_mono_ms() + DRAIN_MS;
    sp->drain = evtimer_new(proc_base(sp->proc), on_drain, sp);
    if (sp->drain)
        on_drain(-1, 0, sp);
    else
        proc_exit_loop(sp->proc, code);
}

static void on_stop(struct proc *p, void *arg)
{
    (void)p;
    leave(arg, PROC_EXIT_OK);
}

static void on_blocked(const struct err *e, void *arg)
{
    struct signer_proc *sp = arg;
    char text[sizeof(e->msg) + 16];

    snprintf(text, sizeof(text), "PIN_BLOCKED: %s", e->msg);
    proc_state(sp->proc, text);
    sp->stopping = true;
    proc_exit_loop(sp->proc, PROC_EXIT_BLOCKED);
}

int main(int argc, char **argv)
{
    static const struct proc_ops ops = {.on_link = on_link, .on_stop = on_stop};
    static const struct engine_ops engine_ops = {on_job_done, on_state, on_started, on_blocked};
    struct signer_proc sp = {0};
    struct err e = {0};
    int lock = -1, code;

    sp.proc = proc_start(argc, argv, PROC_SIGNER, &ops, &sp);
    sp.conf = proc_token(sp.proc, &e);
    if (!sp.conf)
        proc_die("signer-down", PROC_EXIT_CONFIG, &e);
    (void)secret_heap_open(); /* keys for others pass through; unlocked memory is no reason not to sign */
    for (size_t i = 0; i < sp.conf->env.n; i++)
        (void)putenv(sp.conf->env.v[i]);
    if (token_lock(proc_conf(sp.proc)->dir_state, sp.conf->name, LOCK_WAIT_MS, &lock, &e) != E_OK)
        proc_die("signer-down", e.code == E_BUSY ? PROC_EXIT_RESTART : PROC_EXIT_CONFIG, &e);
    if (p11_load(&sp.module, sp.conf->module, &e) != E_OK)
        proc_die("signer-down", PROC_EXIT_CONFIG, &e);
    if (engine_new(proc_base(sp.proc), &sp.module, sp.conf, proc_conf(sp.proc)->dir_state, &engine_ops, &sp, &sp.engine,
                   &e) != E_OK)
        proc_die("signer-down", PROC_EXIT_RESTART, &e);
    code = proc_loop(sp.proc);
    (void)engine_stop(sp.engine);
    _exit(code); /* exit handlers of modules crash; everything of ours is closed by the kernel, the lock too */
}
