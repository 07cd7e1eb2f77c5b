/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core's end of the link with inkan-admin (ca/admin.h): the connections it hands over, its server certificate, and whose
 * certificates its TLS layer lets in. Nothing it says is believed about who is calling.
 */
#include <string.h>
#include <unistd.h>

#include "base/fsio.h"
#include "ca/admin_int.h"
#include "ca/issue.h"

#define LINK_QUEUE  (1 << 20)
#define ANCHORS_MAX (CHAIN_MAX * 2 * CERT_MAX_LEN)

struct admin_link {
    struct core *core;
    struct chan *chan;
    uint64_t id; /* an answer to a link that was replaced meanwhile goes nowhere */
};

struct cert_answer {
    uint64_t link, request_id;
};

static void tell(struct admin_link *l, struct msg *m, int fd)
{
    struct err e = {0};

    if (chan_send(l->chan, m, fd, &e) != E_OK)
        log_failure("admin-link-failed", &e);
}

/* ---- its own certificate ---- */

static void on_cert(struct core *c, void *arg, const struct issue_result *r)
{
    struct cert_answer *to = arg;
    const struct conf_profile *p = conf_find_profile(c->conf, c->conf->server_profile);
    const struct authority *a = p ? authority_find(c, p->ca) : NULL;
    struct bytes chain[CHAIN_MAX];
    size_t n = a && r->code == E_OK ? authority_chain(c, a, chain) : 0;
    struct msg m;

    if (c->admin_link && c->admin_link->id == to->link) {
        msg_begin(&m, ADMIN_TLS_CERT_RESULT, to->request_id);
        msg_put_err(&m, &r->err, r->code);
        msg_put_u32(&m, (uint32_t)n); /* the root stays out: peers have it */
        if (n)
            msg_put_bytes(&m, r->cert);
        for (size_t i = 0; i + 1 < n; i++)
            msg_put_bytes(&m, chain[i]);
        msg_put_i64(&m, n ? r->not_before + (r->not_after - r->not_before) * (int64_t)p->renew_percent / 100 : 0);
        tell(c->admin_link, &m, -1);
    }
    free(to);
}

static enum err_code order_cert(struct admin_link *l, uint64_t request_id, struct bytes csr, struct err *e)
{
    struct core *c = l->core;
    struct actor by = {.name = "admin", .kind = "service"};
    const char *name = c->conf->server_names.n ? strchr(c->conf->server_names.v[0], ':') : NULL;
    struct issue_order order = {.profile = c->conf->server_profile, .csr = csr, .requester = "service:admin", .by = &by,
                                .name = name ? name + 1 : "", .server_names = true, .repeats = true};
    struct issue_result refused = {0};
    struct cert_answer *to = calloc(1, sizeof(*to));

    if (!to)
        return err_set(e, E_NOMEM, "request");
    to->link = l->id;
    to->request_id = request_id;
    refused.code = issue_order(c, &order, on_cert, to, &refused.err);
    if (refused.code != E_OK)
        on_cert(c, to, &refused);
    return E_OK;
}

/* ---- whom it lets in ---- */

void admin_link_tell(struct core *c)
{
    const struct conf_profile *p = conf_find_profile(c->conf, c->conf->people_profile);
    const struct authority *a = p ? authority_find(c, p->ca) : NULL;
    struct bytes chain[CHAIN_MAX];
    size_t n = a && a->exists ? authority_chain(c, a, chain) : 0;
    AUTO_BUF pem = BUF_INIT(ANCHORS_MAX);
    AUTO_FD int fd = -1;
    struct err e = {0};
    struct msg m;

    if (!c->admin_link || n == 0)
        return;
    pem_write(&pem, "CERTIFICATE", chain[0]); /* that CA alone: what others under the same root certify is nobody's here */
    fd = buf_ok(&pem) ? memfd_of("inkan-anchors", buf_bytes(&pem), &e) : -1;
    if (fd < 0) {
        log_failure("admin-link-failed", &e);
        return;
    }
    msg_begin(&m, ADMIN_ANCHORS, 0);
    tell(c->admin_link, &m, fd);
}

/* ---- the link ---- */

static void on_message(struct chan *chan, struct msg_reader *r, int fd, void *arg)
{
    AUTO_FD int given = fd;
    struct admin_link *l = arg;
    uint16_t type = r->type;
    struct bytes csr = {NULL, 0};
    struct err e = {0};

    if (type == ADMIN_TLS_CERT)
        csr = msg_get_bytes(r, CSR_MAX_LEN);
    if (msg_read_end(r, &e) != E_OK)
        ;
    else if (type == ADMIN_OPEN && given >= 0)
        admin_open_remote(l->core, take_fd(&given));
    else if (type == ADMIN_TLS_CERT)
        order_cert(l, r->request_id, csr, &e);
    else
        err_set(&e, E_INVALID, "message type 0x%04x from inkan-admin", type);
    if (e.code != E_OK)
        chan_fail(chan, &e);
}

static void on_gone(struct chan *chan, const struct err *why, void *arg)
{
    struct admin_link *l = arg;

    (void)chan;
    log_failure("admin-link-failed", why);
    proc_link_broken(l->core->proc, "admin");
    admin_link_end(l->core);
}

void admin_link_begin(struct core *c, int fd)
{
    static const struct chan_ops ops = {on_message, on_gone};
    struct admin_link *l = calloc(1, sizeof(*l));
    struct err e = {0};

    admin_link_end(c);
    if (l) {
        l->core = c;
        l->id = ++c->next_id;
        l->chan = chan_new(c->base, fd, &ops, l, LINK_QUEUE, &e);
    } else {
        err_set(&e, E_NOMEM, "out of memory for a link");
    }
    if (!l || !l->chan)
        proc_die("link-failed", PROC_EXIT_RESTART, &e); /* nobody would link us again */
    c->admin_link = l;
    admin_link_tell(c);
}

void admin_link_end(struct core *c)
{
    if (!c->admin_link)
        return;
    chan_free(c->admin_link->chan);
    free(c->admin_link);
    c->admin_link = NULL;
}
