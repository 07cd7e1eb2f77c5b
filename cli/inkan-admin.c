/* SPDX-License-Identifier: Apache-2.0 */
/* inkan-admin as a process: links, listeners, its own TLS certificate, the end. */
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/log.h"
#include "ca/admin.h"
#include "cli/admin_door.h"

#define LINK_QUEUE   (1 << 20)
#define ANCHORS_MAX  (1u << 20)
#define SEND_BUFFER  (64 << 10)
#define TLS_CHECK_S  60
#define TLS_AGAIN_S  2
#define STOP_MAX_S   8

static void after_s(struct event *ev, long s)
{
    struct timeval tv = {.tv_sec = s};

    evtimer_add(ev, &tv);
}

int door_open_core(struct door *d, struct err *e)
{
    AUTO_FD int ours = -1;
    int ends[2];
    struct msg m;

    if (!d->core) {
        err_set(e, E_IO, "there is no link with the core");
        return -1;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
        err_errno(e, E_IO, "socketpair");
        return -1;
    }
    ours = ends[0];
    msg_begin(&m, ADMIN_OPEN, 0);
    if (chan_send(d->core, &m, ends[1], e) != E_OK) {
        close(ends[1]);
        return -1;
    }
    close(ends[1]);
    return take_fd(&ours);
}

/* ---- the certificate ---- */

static void listeners_update(struct door *d)
{
    for (size_t i = 0; i < d->listener_n; i++)
        (tls_is_ready(d->tls) && !d->stopping ? evconnlistener_enable : evconnlistener_disable)(d->listener[i]);
}

static void tls_check(struct door *d)
{
    AUTO_BUF csr = BUF_INIT(CSR_MAX_LEN);
    struct err e = {0};
    struct msg m;

    after_s(d->tls_timer, TLS_CHECK_S);
    if (!d->core || (clock_now() < tls_renew_at(d->tls) && tls_cert_names(d->tls, &proc_conf(d->proc)->server_names)))
        return;
    if (tls_csr(d->tls, &csr, &e) == E_OK) {
        d->tls_rid = ++d->next_rid;
        msg_begin(&m, ADMIN_TLS_CERT, d->tls_rid);
        msg_put_bytes(&m, buf_bytes(&csr));
        if (chan_send(d->core, &m, -1, &e) == E_OK)
            return;
    }
    log_failure("tls-certificate-request", &e);
}

static void on_tls_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    tls_check(arg);
}

static enum err_code take_cert(struct door *d, struct msg_reader *r, struct err *e)
{
    struct err refused = {0};
    bool mine;

    if (tls_take_cert(d->tls, r, d->tls_rid, &mine, &refused, e) != E_OK || !mine)
        return e->code;
    if (refused.code != E_OK) {
        log_failure("tls-certificate-refused", &refused);
        proc_state(d->proc, "no server certificate, see event tls-certificate-refused");
        after_s(d->tls_timer, TLS_AGAIN_S);
        return E_OK;
    }
    log_note(LOG_INFO, "tls-certificate-new", "name", proc_name(d->proc));
    proc_state(d->proc, "serving");
    listeners_update(d);
    return E_OK;
}

static enum err_code take_anchors(struct door *d, struct msg_reader *r, int fd, struct err *e)
{
    struct bytes pem;
    enum err_code code;

    if (msg_read_end(r, e) != E_OK || fd < 0 || fd_map(fd, ANCHORS_MAX, &pem, e) != E_OK)
        return e->code != E_OK ? e->code : err_set(e, E_INVALID, "anchors without their file");
    code = tls_set_anchors(d->tls, pem, e);
    fd_unmap(pem);
    listeners_update(d);
    return code;
}

/* ---- the link ---- */

static void on_message(struct chan *chan, struct msg_reader *r, int fd, void *arg)
{
    AUTO_FD int given = fd;
    struct door *d = arg;
    struct err e = {0};

    (void)chan;
    if (r->type == ADMIN_ANCHORS)
        take_anchors(d, r, given, &e);
    else if (r->type == ADMIN_TLS_CERT_RESULT)
        take_cert(d, r, &e);
    else
        err_set(&e, E_INVALID, "unknown message type 0x%04x", r->type);
    if (e.code != E_OK)
        proc_die("core-link-broken", PROC_EXIT_RESTART, &e);
}

static void on_core_gone(struct chan *chan, const struct err *why, void *arg)
{
    struct door *d = arg;

    (void)chan;
    log_failure("core-link-lost", why);
    chan_free(TAKE(d->core));
    proc_link_broken(d->proc, "core");
}

static void on_link(struct proc *p, enum proc_kind peer, uint32_t index, const char *name, int fd, void *arg)
{
    static const struct chan_ops ops = {on_message, on_core_gone};
    struct door *d = arg;
    struct err e = {0};

    (void)p;
    (void)index;
    if (peer != PROC_CORE) {
        log_note(LOG_ERROR, "unknown-link", "peer", name);
        close(fd);
        return;
    }
    chan_free(d->core);
    d->core = chan_new(d->base, fd, &ops, d, LINK_QUEUE, &e);
    if (!d->core)
        proc_die("link-failed", PROC_EXIT_RESTART, &e);
    tls_check(d);
}

static void on_gone(struct proc *p, enum proc_kind peer, uint32_t index, const char *name, void *arg)
{
    struct door *d = arg;

    (void)p;
    (void)index;
    (void)name;
    if (peer == PROC_CORE)
        chan_free(TAKE(d->core));
}

/* ---- listeners ---- */

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int sa_len, void *arg)
{
    (void)l;
    (void)sa;
    (void)sa_len;
    door_accept(arg, fd);
}

/* Descriptors are bounded by the connections: an error passes. Without a pause the loop would spin on it. */
static void on_accept_error(struct evconnlistener *l, void *arg)
{
    struct door *d = arg;

    evconnlistener_disable(l);
    after_s(d->tls_timer, 1);
}

static void on_listen(struct proc *p, const char *name, int fd, void *arg)
{
    struct door *d = arg;
    struct evconnlistener *l;
    int send = SEND_BUFFER;

    (void)p;
    if (d->listener_n == DOOR_LISTENERS_MAX) {
        log_note(LOG_ERROR, "unknown-listener", "name", name);
        close(fd);
        return;
    }
    /* Connections take it from the listener: left to itself the kernel keeps megabytes for a peer that does not read. */
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send, sizeof(send));
    l = evconnlistener_new(d->base, on_accept, d, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED, 0, fd);
    if (!l) {
        close(fd);
        return;
    }
    evconnlistener_set_error_cb(l, on_accept_error);
    d->listener[d->listener_n++] = l;
    listeners_update(d);
}

/* ---- life and end ---- */

static void on_go(struct proc *p, void *arg)
{
    (void)arg;
    proc_ready(p);
}

static void on_reload(struct proc *p, void *arg)
{
    struct err e = {0};

    if (proc_reload_conf(p, &e) != E_OK)
        log_failure("reload-failed", &e);
    else
        tls_check(arg);
}

void door_empty(struct door *d)
{
    proc_exit_loop(d->proc, PROC_EXIT_OK);
}

static void on_stop_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    door_empty(arg);
}

static void on_stop(struct proc *p, void *arg)
{
    struct door *d = arg;

    (void)p;
    if (d->stopping)
        return;
    d->stopping = true;
    listeners_update(d);
    after_s(d->stop_timer, STOP_MAX_S);
    door_conns_stop(d);
    if (d->conn_n == 0)
        door_empty(d);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    listeners_update(arg);
    on_tls_timer(fd, what, arg);
}

static void set_up(struct door *d)
{
    struct err e = {0};
    char dir[PATH_MAX];

    d->base = proc_base(d->proc);
    TAILQ_INIT(&d->conns);
    d->tls_timer = evtimer_new(d->base, on_timer, d);
    d->stop_timer = evtimer_new(d->base, on_stop_timer, d);
    if (!d->tls_timer || !d->stop_timer)
        err_set(&e, E_NOMEM, "out of memory");
    else if (snprintf(dir, sizeof(dir), "%s/admin", proc_conf(d->proc)->dir_state) >= (int)sizeof(dir))
        err_set(&e, E_INVALID, "directories.state is too long");
    else
        d->tls = tls_new(dir, "admin", &e);
    if (e.code != E_OK || proc_confine(d->proc, &e) != E_OK)
        proc_die("start-failed", PROC_EXIT_RESTART, &e);
}

int main(int argc, char **argv)
{
    static const struct proc_ops ops = {.on_link = on_link, .on_gone = on_gone, .on_listen = on_listen, .on_go = on_go, .on_reload = on_reload,
                                        .on_stop = on_stop};
    static struct door d;
    int code;

    d.proc = proc_start(argc, argv, PROC_ADMIN, &ops, &d);
    set_up(&d);
    code = proc_loop(d.proc);
    d.stopping = false;
    door_conns_free(&d);
    chan_free(d.core);
    for (size_t i = 0; i < d.listener_n; i++)
        evconnlistener_free(d.listener[i]);
    tls_free(d.tls);
    event_free(d.tls_timer);
    event_free(d.stop_timer);
    proc_free(d.proc);
    return code;
}
