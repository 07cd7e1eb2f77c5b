/* SPDX-License-Identifier: Apache-2.0 */
/* inkan-token: administers one token for the core, then leaves. Every request runs to its end before the next. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/chan.h"
#include "base/log.h"
#include "base/proc.h"
#include "hsm/p11.h"
#include "hsm/pin.h"
#include "hsm/token_admin.h"
#include "hsm/token_init.h"

#define LINK_QUEUE_MAX (1u << 20)
#define LOCK_WAIT_MS   10000

struct token_proc {
    struct proc *proc;
    const struct conf_token *conf;
    const char *dir_state;
    struct p11 module; /* loaded all the time, initialised for the length of one request */
    struct chan *chan;
};

/* ---- a session for one request ---- */

struct visit {
    struct p11_token token;
    CK_SESSION_HANDLE session;
};

static enum err_code visit_begin(struct token_proc *tp, struct visit *v, struct err *e)
{
    enum err_code rc = p11_initialise(&tp->module, tp->conf->init_args, e);
    CK_RV rv;

    if (rc == E_OK)
        rc = p11_find_token(&tp->module, tp->conf->label, tp->conf->serial, &v->token, e);
    if (rc == E_OK && (rv = p11_open_session(&v->token, true, &v->session)) != CKR_OK)
        rc = err_rv(e, rv, "C_OpenSession");
    if (rc == E_OK)
        rc = pin_login(&v->token, v->session, tp->conf, tp->dir_state, e);
    if (rc != E_OK)
        p11_finalise(&tp->module);
    return rc;
}

static void visit_end(struct token_proc *tp)
{
    p11_finalise(&tp->module);
}

/* ---- requests: read all fields, act, append the answer's fields ---- */

static const char *pin_state(const struct token_proc *tp, const struct p11_token *t)
{
    if (!(t->flags & CKF_USER_PIN_INITIALIZED))
        return "not set";
    if (t->flags & CKF_USER_PIN_LOCKED)
        return "locked";
    if (t->flags & CKF_USER_PIN_FINAL_TRY)
        return "final try";
    if (strcmp(pin_journal_state(tp->dir_state, tp->conf->name), "ok") != 0)
        return pin_journal_state(tp->dir_state, tp->conf->name);
    return t->flags & CKF_USER_PIN_COUNT_LOW ? "count low" : "ok";
}

static enum err_code do_info(struct token_proc *tp, struct msg_reader *r, struct msg *out, struct err *e)
{
    struct p11_token t;
    struct err why = {0};
    enum err_code rc = msg_read_end(r, e);
    bool found;

    if (rc == E_OK)
        rc = p11_initialise(&tp->module, tp->conf->init_args, e);
    if (rc != E_OK)
        return rc;
    rc = p11_find_token(&tp->module, tp->conf->label, tp->conf->serial, &t, &why);
    found = rc == E_OK;
    p11_finalise(&tp->module);
    if (rc != E_OK && rc != E_NOT_FOUND) {
        *e = why;
        return rc;
    }
    msg_put_str(out, found ? t.label : tp->conf->label);
    msg_put_str(out, t.serial);
    msg_put_str(out, t.model);
    msg_put_str(out, t.manufacturer);
    msg_put_str(out, t.firmware);
    msg_put_bool(out, found);
    msg_put_bool(out, found && (t.flags & CKF_USER_PIN_INITIALIZED));
    msg_put_str(out, found ? pin_state(tp, &t) : "not set");
    msg_put_str(out, tp->module.library);
    return E_OK;
}

static enum err_code do_init(struct token_proc *tp, struct msg_reader *r, struct msg *out, struct err *e)
{
    (void)out;
    if (msg_read_end(r, e) != E_OK)
        return E_INVALID;
    return token_initialise(tp->conf, tp->dir_state, e);
}

static enum err_code do_generate(struct token_proc *tp, struct msg_reader *r, struct msg *out, struct err *e)
{
    char name[ID_MAX_LEN + 1], alg_name[16], label[KEY_LABEL_MAX];
    enum key_purpose purpose = msg_get_enum(r, KEY_PURPOSES);
    struct p11_new_key key = {.spki = BUF_INIT(0)};
    struct log_line l;
    uint32_t generation;
    enum key_alg alg;
    struct visit v;
    enum err_code rc;

    msg_get_str(r, name, sizeof(name));
    generation = msg_get_u32(r);
    msg_get_str(r, alg_name, sizeof(alg_name));
    rc = msg_read_end(r, e);
    if (rc == E_OK && (!key_alg_from_name(alg_name, &alg) || !key_type_of(alg)))
        rc = err_set(e, E_INVALID, "key algorithm \"%s\" is not known", alg_name);
    if (rc == E_OK && !key_label_format(purpose, name, generation, label))
        rc = err_set(e, E_INVALID, "key name \"%s\" generation %u", name, generation);
    if (rc == E_OK)
        rc = visit_begin(tp, &v, e);
    if (rc != E_OK)
        return rc;
    rc = p11_generate(&tp->module, v.session, alg, label, &key, e);
    visit_end(tp);
    if (rc == E_OK) {
        msg_put_bytes(out, BYTES_OF(key.cka_id));
        msg_put_bytes(out, buf_bytes(&key.spki));
        msg_put_str(out, key.attributes);
        log_begin(&l, LOG_INFO, "token-key-generated");
        log_str(&l, "token", tp->conf->name);
        log_str(&l, "label", label);
        log_hex(&l, "cka_id", BYTES_OF(key.cka_id));
        log_str(&l, "attributes", key.attributes);
        log_end(&l);
    }
    buf_clear(&key.spki);
    return rc;
}

static enum err_code do_destroy(struct token_proc *tp, struct msg_reader *r, struct msg *out, struct err *e)
{
    struct bytes id = msg_get_bytes(r, 64), spki = msg_get_bytes(r, SPKI_MAX_LEN);
    struct log_line l;
    struct visit v;
    enum err_code rc = msg_read_end(r, e);

    (void)out;
    if (rc == E_OK)
        rc = visit_begin(tp, &v, e);
    if (rc != E_OK)
        return rc;
    rc = p11_destroy(&tp->module, v.session, id, spki, e);
    visit_end(tp);
    if (rc == E_OK) {
        log_begin(&l, LOG_INFO, "token-key-destroyed");
        log_str(&l, "token", tp->conf->name);
        log_hex(&l, "cka_id", id);
        log_end(&l);
    }
    return rc;
}

static enum err_code do_list(struct token_proc *tp, struct msg_reader *r, struct msg *out, struct err *e)
{
    struct p11_listed *keys = NULL;
    struct visit v;
    size_t n = 0;
    enum err_code rc = msg_read_end(r, e);

    if (rc == E_OK)
        rc = visit_begin(tp, &v, e);
    if (rc != E_OK)
        return rc;
    rc = p11_list(&tp->module, v.session, &keys, &n, e);
    visit_end(tp);
    if (rc != E_OK)
        return rc;
    msg_put_u32(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        msg_put_str(out, keys[i].label);
        msg_put_bytes(out, BYTES(keys[i].cka_id, keys[i].cka_id_len));
        msg_put_str(out, keys[i].alg);
        msg_put_bytes(out, buf_bytes(&keys[i].spki));
        msg_put_bool(out, keys[i].never_extractable);
        msg_put_str(out, keys[i].flags);
    }
    p11_listed_free(keys, n);
    if (!buf_ok(&out->b))
        return err_set(e, E_INVALID, "%zu keys on token \"%s\": more than one answer holds", n, tp->conf->name);
    return E_OK;
}

static enum err_code do_store_cert(struct token_proc *tp, struct msg_reader *r, struct msg *out, struct err *e)
{
    struct bytes id = msg_get_bytes(r, 64), der;
    char label[128];

    (void)out;
    msg_get_str(r, label, sizeof(label));
    der = msg_get_bytes(r, CERT_MAX_LEN);
    if (msg_read_end(r, e) != E_OK)
        return E_INVALID;
    return token_store_cert(tp->conf, tp->dir_state, id, label, der, e);
}

static enum err_code do_unblock(struct token_proc *tp, struct msg_reader *r, struct msg *out, struct err *e)
{
    (void)out;
    if (msg_read_end(r, e) != E_OK)
        return E_INVALID;
    if (pin_unblock(tp->dir_state, tp->conf->name, e) != E_OK)
        return e->code;
    log_note(LOG_INFO, "token-unblocked", "token", tp->conf->name);
    return E_OK;
}

static const struct {
    uint16_t type;
    const char *name;
    enum err_code (*run)(struct token_proc *tp, struct msg_reader *r, struct msg *out, struct err *e);
} requests[] = {
    {TOKEN_INFO, "info", do_info},
    {TOKEN_INIT, "init", do_init},
    {TOKEN_GENERATE, "generate", do_generate},
    {TOKEN_DESTROY, "destroy", do_destroy},
    {TOKEN_LIST, "list", do_list},
    {TOKEN_STORE_CERT, "store-cert", do_store_cert},
    {TOKEN_UNBLOCK, "unblock", do_unblock},
};

static void answer(struct token_proc *tp, size_t which, struct msg_reader *r)
{
    AUTO_MSG out = {BUF_INIT(0)};
    const struct err fine = {0};
    struct log_line l;
    struct err e = {0};

    msg_begin(&out, TOKEN_RESULT, r->request_id);
    msg_put_err(&out, &fine, E_OK);
    if (requests[which].run(tp, r, &out, &e) != E_OK) {
        log_begin(&l, LOG_WARN, "token-request-failed");
        log_str(&l, "token", tp->conf->name);
        log_str(&l, "request", requests[which].name);
        log_err(&l, &e);
        log_end(&l);
        msg_clear(&out);
        msg_begin(&out, TOKEN_RESULT, r->request_id);
        msg_put_err(&out, &e, e.code);
    }
    if (chan_send(tp->chan, &out, -1, &e) != E_OK)
        chan_fail(tp->chan, &e);
}

/* ---- process ---- */

static void on_message(struct chan *c, struct msg_reader *r, int fd, void *arg)
{
    struct token_proc *tp = arg;
    struct err e = {0};

    if (fd >= 0)
        close(fd);
    for (size_t i = 0; fd < 0 && i < ARRAY_LEN(requests); i++) {
        if (requests[i].type == r->type) {
            answer(tp, i, r);
            return;
        }
    }
    err_set(&e, E_INVALID, "unknown message type 0x%04x", r->type);
    chan_fail(c, &e);
}

static void on_link_gone(struct chan *c, const struct err *why, void *arg)
{
    struct token_proc *tp = arg;

    (void)c, (void)why;
    chan_free(tp->chan);
    tp->chan = NULL;
    proc_exit_loop(tp->proc, PROC_EXIT_OK);
}

static void on_link(struct proc *p, enum proc_kind peer, uint32_t index, const char *name, int fd, void *arg)
{
    static const struct chan_ops ops = {on_message, on_link_gone};
    struct token_proc *tp = arg;
    struct err e = {0};

    (void)index;
    if (peer != PROC_CORE || tp->chan) {
        log_note(LOG_ERROR, "token-link-refused", "peer", name);
        close(fd);
        return;
    }
    tp->chan = chan_new(proc_base(p), fd, &ops, tp, LINK_QUEUE_MAX, &e);
    if (!tp->chan)
        proc_die("token-down", PROC_EXIT_RESTART, &e);
}

static void on_stop(struct proc *p, void *arg)
{
    (void)arg;
    proc_exit_loop(p, PROC_EXIT_OK);
}

int main(int argc, char **argv)
{
    static const struct proc_ops ops = {.on_link = on_link, .on_stop = on_stop};
    struct token_proc tp = {0};
    struct err e = {0};
    int lock = -1, code;

    tp.proc = proc_start(argc, argv, PROC_TOKEN, &ops, &tp);
    tp.conf = proc_token(tp.proc, &e);
    if (!tp.conf)
        proc_die("token-down", PROC_EXIT_CONFIG, &e);
    tp.dir_state = proc_conf(tp.proc)->dir_state;
    for (size_t i = 0; i < tp.conf->env.n; i++)
        (void)putenv(tp.conf->env.v[i]);
    if (token_lock(tp.dir_state, tp.conf->name, LOCK_WAIT_MS, &lock, &e) != E_OK)
        proc_die("token-down", e.code == E_BUSY ? PROC_EXIT_RESTART : PROC_EXIT_CONFIG, &e);
    if (p11_load(&tp.module, tp.conf->module, &e) != E_OK)
        proc_die("token-down", PROC_EXIT_CONFIG, &e);
    if (proc_confine(tp.proc, &e) != E_OK)
        proc_die("token-down", PROC_EXIT_CONFIG, &e);
    proc_ready(tp.proc);
    code = proc_loop(tp.proc);
    _exit(code); /* exit handlers of modules crash */
}
