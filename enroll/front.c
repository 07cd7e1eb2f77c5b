/* SPDX-License-Identifier: Apache-2.0 */
/* The front as a process: links, listeners, the core's configuration, its own TLS certificate, the end. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/spare.h"
#include "enroll/front_int.h"

#define LINK_QUEUE_MAX      (16u * 1024 * 1024)
#define LINK_QUEUE_BUSY     (8u * 1024 * 1024) /* from here on nothing more is asked of that process */
#define STATUS_WAITING_MAX  4096
#define ANCHORS_MAX_LEN     (16u * 1024 * 1024)
#define CACERTS_MAX_LEN     (1024u * 1024)
#define HEALTH_JSON_MAX     (32u * 1024)
#define DESCRIPTORS_SPARE   128 /* for links, listeners, passed files, standard error */
#define ACCEPT_PAUSE_MS     250
#define ACCEPTS_A_TURN      32
#define SEND_BUFFER         (128 * 1024) /* the kernel takes twice as much, with its own overhead */
#define RECEIVE_BUFFER      (32 * 1024)
#define COUNT_PERIOD_S      10
#define TELL_PERIOD_S       2
#define TLS_CHECK_S         60
#define MEMORY_SHARE        16 /* one connection of so many gives way when memory runs out, and MEMORY_LEAST more */
#define MEMORY_LEAST        32
#define MEMORY_S            60 /* so long they stay so few */
#define MEMORY_RETRY_S      1  /* the reserve could not be filled: so long until the next try */
#define STOP_MAX_S          9 /* the supervisor waits 10 s */

uint64_t front_rid(struct front *f)
{
    f->next_rid = (f->next_rid + 1) & 0xffffffffffff;
    if (f->next_rid == 0) /* 0 is nobody's */
        f->next_rid = 1;
    return f->next_rid;
}

void rid_format(uint64_t rid, char out[17])
{
    snprintf(out, 17, "%" PRIx64, rid);
}

static void after_s(struct event *ev, long s)
{
    struct timeval tv = {.tv_sec = s};

    event_add(ev, &tv);
}

/* ---- counted refusals ------------------------------------------------------------------------------------------- */

void front_count(struct front *f, enum svc_refusal r)
{
    f->counts.refused[r]++;
    if (!event_pending(f->count_timer, EV_TIMEOUT, NULL))
        after_s(f->count_timer, COUNT_PERIOD_S);
}

static void on_count_timer(evutil_socket_t fd, short what, void *arg)
{
    struct front *f = arg;
    struct log_line l;

    (void)fd;
    (void)what;
    for (int r = 0; r < SVC_REFUSALS; r++) {
        if (f->counts.refused[r] == f->summarised[r])
            continue;
        log_begin(&l, LOG_WARN, "front-refused");
        log_str(&l, "reason", svc_refusal_name((enum svc_refusal)r));
        log_u64(&l, "count", f->counts.refused[r] - f->summarised[r]);
        log_end(&l);
        f->summarised[r] = f->counts.refused[r];
    }
}

/* The core tells those who watch of all fronts: whoever asks reaches one of them. */
static void tell_counts(struct front *f)
{
    struct err e = {0};
    struct msg m;

    f->counts.connections = f->conn_n;
    if (!f->core || !front_core_has_room(f))
        return;
    msg_begin(&m, SVC_COUNTS, 0);
    svc_counts_encode(&m, &f->counts);
    if (chan_send(f->core, &m, -1, &e) != E_OK)
        log_failure("core-link", &e);
}

static void on_tell_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    tell_counts(arg);
}

/* ---- listeners -------------------------------------------------------------------------------------------------- */

static bool may_accept(const struct front_listener *l)
{
    const struct front *f = l->front;

    if (!f->going || f->stopping || l->resting)
        return false;
    if (l->service->limited && f->held)
        return false;
    return !l->service->tls || (f->config.complete && tls_is_ready(f->tls));
}

static void listeners_update(struct front *f)
{
    for (size_t i = 0; i < f->listener_n; i++)
        if (may_accept(&f->listener[i]))
            evconnlistener_enable(f->listener[i].ev);
        else
            evconnlistener_disable(f->listener[i].ev);
}

/* For `inkan status`. */
static void state_tell(struct front *f)
{
    if (f->going)
        proc_state(f->proc, f->config.complete && tls_is_ready(f->tls) ? "serving" : "EST waits for the core");
}

void front_hold_listeners(struct front *f)
{
    f->held = true;
    listeners_update(f);
}

void front_room_again(struct front *f)
{
    if (!f->held)
        return;
    f->held = false;
    listeners_update(f);
}

void front_conn_gone(struct front *f)
{
    if (f->stopping && TAILQ_EMPTY(&f->all))
        proc_exit_loop(f->proc, PROC_EXIT_OK);
}

static void listener_rest(struct front_listener *l, int ms)
{
    struct timeval tv = {.tv_usec = ms * 1000};

    l->resting = true;
    listeners_update(l->front);
    event_add(l->retry, &tv);
}

/* The listener would go on while somebody connects: in a flood the connections that are there get their turn too. */
static void on_accept(struct evconnlistener *ev, evutil_socket_t fd, struct sockaddr *sa, int sa_len, void *arg)
{
    struct front_listener *l = arg;

    (void)ev;
    conn_accept(l->front, l->service, fd, sa, sa_len);
    if (++l->accepted % ACCEPTS_A_TURN == 0)
        listener_rest(l, 0);
}

/* Out of descriptors the listener stays readable: without a pause the loop would spin on it. */
static void on_accept_error(struct evconnlistener *ev, void *arg)
{
    struct front_listener *l = arg;

    (void)ev;
    front_count(l->front, SVC_REFUSED_CONNECTION_LIMIT);
    listener_rest(l, ACCEPT_PAUSE_MS);
}

static void on_accept_retry(evutil_socket_t fd, short what, void *arg)
{
    struct front_listener *l = arg;

    (void)fd;
    (void)what;
    l->resting = false;
    listeners_update(l->front);
}

static const struct service *service_find(const char *name)
{
    static const struct service *const all[] = {&est_service, &public_service, &health_service, &decision_service};

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (strcmp(name, all[i]->name) == 0)
            return all[i];
    return NULL;
}

/*
 * Connections take the size of their buffers from the listener. Left to itself the kernel keeps megabytes for each peer
 * that sends without reading.
 */
static void buffers_bound(int fd)
{
    int send = SEND_BUFFER, receive = RECEIVE_BUFFER;

    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send, sizeof send);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof receive);
}

static void on_listen(struct proc *p, const char *name, int fd, void *arg)
{
    struct front *f = arg;
    struct front_listener *l = &f->listener[f->listener_n];
    const struct service *s = service_find(name);

    (void)p;
    if (!s || f->listener_n == LISTENERS_MAX) {
        log_note(LOG_ERROR, "listener-refused", "name", name);
        close(fd);
        return;
    }
    buffers_bound(fd);
    l->front = f;
    l->service = s;
    l->retry = evtimer_new(f->base, on_accept_retry, l);
    l->ev = evconnlistener_new(f->base, on_accept, l, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED,
                               0, fd);
    if (!l->ev || !l->retry) {
        struct err e = {0};

        err_set(&e, E_NOMEM, "out of memory for listener %s", name);
        proc_die("listener", PROC_EXIT_RESTART, &e);
    }
    evconnlistener_set_error_cb(l->ev, on_accept_error);
    f->listener_n++;
    listeners_update(f);
}

/* ---- our own TLS certificate ------------------------------------------------------------------------------------ */

static void tls_retry_later(struct front *f)
{
    f->tls_rid = 0;
    f->tls_retry_s = f->tls_retry_s ? f->tls_retry_s * 2 : 1;
    if (f->tls_retry_s > TLS_CHECK_S)
        f->tls_retry_s = TLS_CHECK_S;
    after_s(f->tls_timer, (long)f->tls_retry_s);
}

static void tls_check(struct front *f)
{
    AUTO_BUF csr = BUF_INIT(CSR_MAX_LEN);
    struct err e = {0};
    struct msg m;

    after_s(f->tls_timer, TLS_CHECK_S);
    if (!f->core || !f->config.complete || f->tls_rid ||
        !tls_cert_is_due(f->tls, &proc_conf(f->proc)->server_names, clock_now()))
        return;
    if (tls_csr(f->tls, &csr, &e) != E_OK) {
        log_failure("tls-certificate-request", &e);
        tls_retry_later(f);
        return;
    }
    f->tls_rid = front_rid(f);
    msg_begin(&m, SVC_TLS_CERT, f->tls_rid);
    msg_put_bytes(&m, buf_bytes(&csr));
    if (chan_send(f->core, &m, -1, &e) != E_OK) {
        log_failure("tls-certificate-request", &e);
        tls_retry_later(f);
    }
}

static void on_tls_timer(evutil_socket_t fd, short what, void *arg)
{
    struct front *f = arg;

    (void)fd;
    (void)what;
    f->tls_rid = 0; /* one that was not answered in all this time is asked again */
    tls_check(f);
}

static enum err_code take_tls_cert(struct front *f, struct msg_reader *r, struct err *e)
{
    struct err refused = {0};
    bool mine;

    if (tls_take_cert(f->tls, r, f->tls_rid, &mine, &refused, e) != E_OK || !mine)
        return e->code;
    if (refused.code != E_OK) {
        log_failure("tls-certificate-refused", &refused);
        proc_state(f->proc, "no new server certificate for EST, see event tls-certificate-refused");
        tls_retry_later(f);
        return E_OK;
    }
    f->tls_rid = 0;
    f->tls_retry_s = 0;
    log_note(LOG_INFO, "tls-certificate-new", "name", proc_name(f->proc));
    listeners_update(f);
    state_tell(f);
    return E_OK;
}

/* ---- configuration from the core -------------------------------------------------------------------------------- */

static void config_clear(struct front_config *c)
{
    est_labels_free(c->labels);
    file_set_free(c->files);
    fd_unmap(c->anchors_pem);
    *c = (struct front_config){0};
}

static enum err_code config_begin(struct front *f, struct msg_reader *r, int fd, struct err *e)
{
    (void)fd;
    config_clear(&f->incoming);
    f->incoming.generation = msg_get_u64(r);
    f->incoming.labels = est_labels_new();
    f->incoming.files = file_set_new();
    f->receiving = true;
    if (!f->incoming.labels || !f->incoming.files)
        return err_set(e, E_NOMEM, "configuration");
    return msg_read_end(r, e);
}

static enum err_code config_label(struct front *f, struct msg_reader *r, int fd, struct err *e)
{
    struct svc_label label;
    struct bytes cacerts;

    if (!f->receiving || fd < 0)
        return err_set(e, E_INVALID, "label outside a configuration or without its cacerts");
    if (svc_label_decode(r, &label, e) != E_OK || fd_map(fd, CACERTS_MAX_LEN, &cacerts, e) != E_OK)
        return err_wrap(e, "label");
    if (est_labels_add(f->incoming.labels, &label, cacerts, e) != E_OK) {
        fd_unmap(cacerts);
        return e->code;
    }
    fd_unmap(cacerts);
    return E_OK;
}

static enum err_code config_file(struct front *f, struct msg_reader *r, int fd, struct err *e)
{
    struct front_config *into = f->receiving ? &f->incoming : &f->config;
    struct svc_file file;

    if (fd < 0 || !into->files)
        return err_set(e, E_INVALID, "file before the first configuration or without its content");
    if (svc_file_decode(r, &file, e) != E_OK)
        return err_wrap(e, "file");
    return file_set_put(into->files, &file, fd, e);
}

static enum err_code config_anchors(struct front *f, struct msg_reader *r, int fd, struct err *e)
{
    if (!f->receiving || fd < 0)
        return err_set(e, E_INVALID, "anchors outside a configuration or without content");
    (void)msg_get_bytes(r, 0);
    if (msg_read_end(r, e) != E_OK)
        return e->code;
    fd_unmap(f->incoming.anchors_pem);
    return fd_map(fd, ANCHORS_MAX_LEN, &f->incoming.anchors_pem, e);
}

static enum err_code config_end(struct front *f, struct msg_reader *r, int fd, struct err *e)
{
    uint64_t generation = msg_get_u64(r);

    (void)fd;
    if (msg_read_end(r, e) != E_OK)
        return e->code;
    if (!f->receiving || generation != f->incoming.generation)
        return err_set(e, E_INVALID, "end of a configuration that was not begun");
    if (tls_set_anchors(f->tls, f->incoming.anchors_pem, e) != E_OK)
        return e->code;
    f->receiving = false;
    config_clear(&f->config);
    f->config = f->incoming;
    f->incoming = (struct front_config){0};
    f->config.complete = true;
    fd_unmap(f->config.anchors_pem);
    f->config.anchors_pem = (struct bytes){NULL, 0};
    tls_check(f);
    listeners_update(f);
    state_tell(f);
    return E_OK;
}

/* ---- messages of the core --------------------------------------------------------------------------------------- */

static enum err_code core_enroll_result(struct front *f, struct msg_reader *r, int fd, struct err *e)
{
    struct conn *c = conn_waiting(f, r->request_id, WAIT_CORE);
    struct svc_enroll_result result;

    (void)fd;
    if (svc_enroll_result_decode(r, &result, e) != E_OK)
        return e->code;
    if (c && c->service == &est_service && c->u.est.route)
        est_on_result(c, &result);
    else
        front_count(f, SVC_REFUSED_LATE_ANSWER); /* the client left, or its deadline passed: a repeat gets the same bytes */
    return E_OK;
}

static enum err_code core_factory_result(struct front *f, struct msg_reader *r, int fd, struct err *e)
{
    struct conn *c = conn_waiting(f, r->request_id, WAIT_CORE);
    struct svc_factory_result result;

    (void)fd;
    if (svc_factory_result_decode(r, &result, e) != E_OK)
        return e->code;
    if (c && c->service == &est_service && c->u.est.factory.route)
        factory_on_result(c, &result);
    else
        front_count(f, SVC_REFUSED_LATE_ANSWER);
    return E_OK;
}

static enum err_code core_tls_cert(struct front *f, struct msg_reader *r, int fd, struct err *e)
{
    (void)fd;
    return take_tls_cert(f, r, e);
}

static enum err_code core_health(struct front *f, struct msg_reader *r, int fd, struct err *e)
{
    struct conn *c = conn_waiting(f, r->request_id, WAIT_CORE);
    bool ready = msg_get_bool(r);
    struct bytes json = msg_get_bytes(r, HEALTH_JSON_MAX);

    (void)fd;
    if (msg_read_end(r, e) != E_OK)
        return e->code;
    if (c && c->service == &health_service)
        health_on_core(c, ready, json);
    return E_OK;
}

static enum err_code take_metrics(struct front *f, struct msg_reader *r, int fd, enum wait link, struct err *e)
{
    struct conn *c = conn_waiting(f, r->request_id, link);

    if (msg_read_end(r, e) != E_OK)
        return e->code;
    if (c && c->service == &health_service && c->u.health.metrics_asked)
        health_on_metrics(c, link, fd);
    return E_OK;
}

static enum err_code core_metrics(struct front *f, struct msg_reader *r, int fd, struct err *e)
{
    return take_metrics(f, r, fd, WAIT_CORE, e);
}

static enum err_code status_metrics(struct front *f, struct msg_reader *r, int fd, struct err *e)
{
    return take_metrics(f, r, fd, WAIT_STATUS, e);
}

/* A core that died after it said so is no fault of ours: whoever waits for an answer of this front gets it. */
static enum err_code core_purge(struct front *f, struct msg_reader *r, int fd, struct err *e)
{
    static struct svc_purge purge; /* 28 KiB; one thread */
    struct msg m;

    (void)fd;
    if (svc_purge_decode(r, &purge, e) != E_OK)
        return e->code;
    ocsp_cache_purge(f->cache, &purge);
    f->in_step = f->in_step || purge.all;
    msg_begin(&m, SVC_PURGED, r->request_id);
    msg_put_u64(&m, purge.seq);
    if (chan_send(f->core, &m, -1, e) == E_OK || e->code == E_NOMEM) /* then the core would wait for it in vain */
        return e->code;
    log_failure("core-link", e); /* on_core_gone follows */
    return E_OK;
}

static enum err_code status_ocsp_result(struct front *f, struct msg_reader *r, int fd, struct err *e)
{
    struct conn *c = conn_waiting(f, r->request_id, WAIT_STATUS);
    struct sts_ocsp_result result;

    (void)fd;
    if (sts_ocsp_result_decode(r, &result, e) != E_OK)
        return e->code;
    if (c && c->service == &public_service)
        ocsp_on_result(c, &result);
    else
        front_count(f, SVC_REFUSED_LATE_ANSWER);
    return E_OK;
}

static enum err_code status_health(struct front *f, struct msg_reader *r, int fd, struct err *e)
{
    struct conn *c = conn_waiting(f, r->request_id, WAIT_STATUS);
    bool ready = msg_get_bool(r);
    struct bytes json = msg_get_bytes(r, HEALTH_JSON_MAX);

    (void)fd;
    if (msg_read_end(r, e) != E_OK)
        return e->code;
    if (c && c->service == &health_service)
        health_on_status(c, ready, json);
    return E_OK;
}

/* The connection that waits for it, if it still does. */
static struct conn *access_waiting(struct front *f, uint64_t rid)
{
    struct conn *c = conn_waiting(f, rid, WAIT_STATUS);

    if (c && (c->service == &est_service || c->service == &decision_service) && c->u.est.access.route)
        return c;
    front_count(f, SVC_REFUSED_LATE_ANSWER);
    return NULL;
}

static enum err_code status_decided(struct front *f, struct msg_reader *r, int fd, struct err *e)
{
    static struct sts_decided all; /* 35 KiB; one thread */
    struct conn *c;

    (void)fd;
    if (sts_decided_decode(r, &all, e) != E_OK)
        return err_wrap(e, "STS_DECIDED");
    c = access_waiting(f, r->request_id);
    if (c)
        access_on_decided(c, &all);
    return E_OK;
}

static enum err_code status_changes(struct front *f, struct msg_reader *r, int fd, struct err *e)
{
    enum err_code code = (enum err_code)msg_get_enum(r, ERR_CODES_COUNT);
    struct bytes jws = msg_get_bytes(r, MSG_MAX_LEN);
    struct conn *c;

    (void)fd;
    if (msg_read_end(r, e) != E_OK)
        return err_wrap(e, "STS_CHANGES_RESULT");
    c = access_waiting(f, r->request_id);
    if (c)
        feed_on_changes(c, code, jws);
    return E_OK;
}

static enum err_code status_snapshot(struct front *f, struct msg_reader *r, int fd, struct err *e)
{
    enum err_code code = (enum err_code)msg_get_enum(r, ERR_CODES_COUNT);
    char etag[128];
    struct conn *c;

    msg_get_str(r, etag, sizeof(etag));
    if (msg_read_end(r, e) != E_OK || (code == E_OK && fd < 0))
        return err_set(e, E_INVALID, "STS_SNAPSHOT_RESULT");
    c = access_waiting(f, r->request_id);
    if (c)
        feed_on_snapshot(c, code, etag, fd);
    return E_OK;
}

struct handler {
    uint16_t type;
    enum err_code (*take)(struct front *f, struct msg_reader *r, int fd, struct err *e);
};

static const struct handler core_handlers[] = {
    {SVC_CONFIG_BEGIN, config_begin},         {SVC_LABEL, config_label},
    {SVC_FILE, config_file},                  {SVC_ANCHORS, config_anchors},
    {SVC_CONFIG_END, config_end},             {SVC_ENROLL_RESULT, core_enroll_result},
    {SVC_TLS_CERT_RESULT, core_tls_cert},     {SVC_HEALTH_RESULT, core_health},
    {SVC_PURGE, core_purge},                  {SVC_FACTORY_RESULT, core_factory_result},
    {SVC_METRICS_RESULT, core_metrics},
};

static const struct handler status_handlers[] = {
    {STS_OCSP_RESULT, status_ocsp_result},
    {STS_HEALTH_RESULT, status_health},
    {STS_METRICS_RESULT, status_metrics},
    {STS_DECIDED, status_decided},
    {STS_CHANGES_RESULT, status_changes},
    {STS_SNAPSHOT_RESULT, status_snapshot},
};

/* Our own processes do not make mistakes that could be answered: in doubt, start again. */
static void dispatch(struct front *f, const struct handler *h, size_t n, const char *event, struct msg_reader *r, int fd)
{
    struct err e = {0};
    enum err_code rc = E_INVALID;
    size_t i = 0;

    while (i < n && h[i].type != r->type)
        i++;
    if (i < n)
        rc = h[i].take(f, r, fd, &e);
    else
        err_set(&e, E_INVALID, "unknown message type 0x%04x", r->type);
    if (fd >= 0)
        close(fd);
    if (rc != E_OK)
        proc_die(event, PROC_EXIT_RESTART, &e);
}

static void on_core_message(struct chan *c, struct msg_reader *r, int fd, void *arg)
{
    (void)c;
    dispatch(arg, core_handlers, ARRAY_LEN(core_handlers), "core-link-broken", r, fd);
}

static void on_status_message(struct chan *c, struct msg_reader *r, int fd, void *arg)
{
    (void)c;
    dispatch(arg, status_handlers, ARRAY_LEN(status_handlers), "status-link-broken", r, fd);
}

/* ---- links ------------------------------------------------------------------------------------------------------ */

static void core_drop(struct front *f)
{
    if (!f->core)
        return;
    chan_free(TAKE(f->core));
    f->receiving = false;
    f->tls_rid = 0;
    conn_link_lost(f, WAIT_CORE);
}

static void status_drop(struct front *f)
{
    if (!f->status)
        return;
    chan_free(TAKE(f->status));
    conn_link_lost(f, WAIT_STATUS);
}

static void on_core_gone(struct chan *c, const struct err *why, void *arg)
{
    struct front *f = arg;

    (void)c;
    log_failure("core-link-lost", why);
    core_drop(f);
    if (!f->stopping)
        proc_link_broken(f->proc, "core");
}

static void on_status_gone(struct chan *c, const struct err *why, void *arg)
{
    struct front *f = arg;

    (void)c;
    log_failure("status-link-lost", why);
    status_drop(f);
    if (!f->stopping)
        proc_link_broken(f->proc, "status");
}

static const struct chan_ops core_ops = {.on_message = on_core_message, .on_gone = on_core_gone};
static const struct chan_ops status_ops = {.on_message = on_status_message, .on_gone = on_status_gone};

static void core_link(struct front *f, int fd)
{
    struct err e = {0};
    struct msg m;

    core_drop(f);
    /* Purges sent over the old link may never have arrived, and until the first over this one nobody waits for us. */
    ocsp_cache_drop(f->cache);
    f->in_step = false;
    f->core = chan_new(f->base, fd, &core_ops, f, LINK_QUEUE_MAX, &e);
    if (!f->core)
        proc_die("core-link", PROC_EXIT_RESTART, &e);
    msg_begin(&m, SVC_HELLO, 0);
    if (chan_send(f->core, &m, -1, &e) != E_OK)
        log_failure("core-link", &e); /* on_gone follows */
}

static void status_link(struct front *f, int fd)
{
    struct err e = {0};

    status_drop(f);
    f->status = chan_new(f->base, fd, &status_ops, f, LINK_QUEUE_MAX, &e);
    if (!f->status)
        proc_die("status-link", PROC_EXIT_RESTART, &e);
    chan_batch(f->status);
}

static void on_link(struct proc *p, enum proc_kind peer, uint32_t index, const char *name, int fd, void *arg)
{
    struct front *f = arg;

    (void)p;
    (void)index;
    if (peer == PROC_CORE) {
        core_link(f, fd);
    } else if (peer == PROC_STATUS) {
        status_link(f, fd);
    } else {
        log_note(LOG_ERROR, "link-refused", "peer", name);
        close(fd);
    }
}

static void on_gone(struct proc *p, enum proc_kind peer, uint32_t index, const char *name, void *arg)
{
    struct front *f = arg;

    (void)p;
    (void)index;
    (void)name;
    if (peer == PROC_CORE)
        core_drop(f);
    else if (peer == PROC_STATUS)
        status_drop(f);
}

bool front_core_has_room(const struct front *f)
{
    return f->core && f->core_waiting < proc_conf(f->proc)->enroll_queue && chan_queued(f->core) < LINK_QUEUE_BUSY;
}

bool front_status_has_room(const struct front *f)
{
    return f->status && f->status_waiting < STATUS_WAITING_MAX && chan_queued(f->status) < LINK_QUEUE_BUSY;
}

/* ---- life of the process ---------------------------------------------------------------------------------------- */

/* The confined process may not ask for its limits: taken once. */
static void descriptors_take(struct front *f)
{
    struct rlimit r;

    f->descriptors = 1024;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return;
    f->descriptors = r.rlim_cur;
    r.rlim_cur = r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) == 0)
        f->descriptors = r.rlim_max;
}

/* Connections end before the descriptors do: the rest is for links, listeners and files. */
static void limits_apply(struct front *f)
{
    const struct conf *conf = proc_conf(f->proc);
    uint64_t most = f->descriptors > 2 * DESCRIPTORS_SPARE ? f->descriptors - DESCRIPTORS_SPARE : DESCRIPTORS_SPARE;

    f->connections_max = conf->connections;
    f->per_address_max = conf->connections_per_address;
    if (f->connections_max > most) {
        f->connections_max = (unsigned)most;
        log_note(LOG_WARN, "connections-limited", "reason", "RLIMIT_NOFILE is below the configured connections");
    }
}

/* Allocates nothing: it may be told from within an allocation. */
void front_memory_short(struct front *f)
{
    f->memory_short = true;
    event_active(f->memory_timer, EV_TIMEOUT, 0);
    event_base_loopcontinue(f->base);
}

static void on_spare_used(void *arg)
{
    front_memory_short(arg);
}

/* Connections that give way: some at a time, and of the last few none. */
static size_t memory_gives_way(const struct front *f)
{
    size_t n = f->conn_n / MEMORY_SHARE + MEMORY_LEAST, above = f->conn_n > MEMORY_LEAST ? f->conn_n - MEMORY_LEAST : 0;

    return n < above ? n : above;
}

static void on_memory_timer(evutil_socket_t fd, short what, void *arg)
{
    struct front *f = arg;
    size_t gone;

    (void)fd;
    (void)what;
    if (!f->memory_short) {
        limits_apply(f);
        front_room_again(f);
        return;
    }
    front_count(f, SVC_REFUSED_MEMORY);
    do
        gone = conn_give_way(f, memory_gives_way(f));
    while (!spare_fill() && gone > 0);
    f->memory_short = !spare_fill();
    f->connections_max = f->conn_n > MEMORY_LEAST ? (unsigned)f->conn_n : MEMORY_LEAST;
    event_del(f->memory_timer); /* should it have been asked for meanwhile */
    after_s(f->memory_timer, f->memory_short ? MEMORY_RETRY_S : MEMORY_S);
}

static void on_go(struct proc *p, void *arg)
{
    struct front *f = arg;
    struct err e = {0};

    if (f->going)
        return;
    if (proc_confine(p, &e) != E_OK)
        proc_die("confine", PROC_EXIT_CONFIG, &e);
    f->going = true;
    after_s(f->tell_timer, TELL_PERIOD_S);
    listeners_update(f);
    proc_ready(p);
    state_tell(f);
}

static void on_reload(struct proc *p, void *arg)
{
    struct front *f = arg;
    struct err e = {0};

    if (proc_reload_conf(p, &e) != E_OK) {
        log_failure("reload", &e);
        return;
    }
    limits_apply(f);
    tls_check(f); /* server_names may have changed */
}

static void on_stop_timer(evutil_socket_t fd, short what, void *arg)
{
    struct front *f = arg;

    (void)fd;
    (void)what;
    proc_exit_loop(f->proc, PROC_EXIT_OK);
}

static void on_stop(struct proc *p, void *arg)
{
    struct front *f = arg;

    if (f->stopping)
        return;
    f->stopping = true;
    listeners_update(f);
    conn_stop_all(f);
    after_s(f->stop_timer, STOP_MAX_S);
    if (TAILQ_EMPTY(&f->all))
        proc_exit_loop(p, PROC_EXIT_OK);
}

const struct proc_ops front_ops = {
    .on_link = on_link,
    .on_listen = on_listen,
    .on_gone = on_gone,
    .on_go = on_go,
    .on_reload = on_reload,
    .on_stop = on_stop,
};

void front_setup(struct front *f)
{
    struct err e = {0};
    char dir[PATH_MAX];

    f->base = proc_base(f->proc);
    event_base_priority_init(f->base, 2); /* what is made from here on is of the lower one */
    TAILQ_INIT(&f->all);
    TAILQ_INIT(&f->idle);
    sources_init(&f->sources);
    conn_setup();
    descriptors_take(f);
    limits_apply(f);
    if (random_bytes(&f->next_rid, sizeof f->next_rid, &e) != E_OK)
        proc_die("front-start", PROC_EXIT_RESTART, &e);
    f->count_timer = evtimer_new(f->base, on_count_timer, f);
    f->tell_timer = event_new(f->base, -1, EV_PERSIST, on_tell_timer, f);
    f->tls_timer = evtimer_new(f->base, on_tls_timer, f);
    f->stop_timer = evtimer_new(f->base, on_stop_timer, f);
    f->memory_timer = evtimer_new(f->base, on_memory_timer, f);
    if (f->memory_timer)
        event_priority_set(f->memory_timer, 0);
    f->cache = ocsp_cache_new(OCSP_CACHE_ENTRIES_MAX, OCSP_CACHE_OCTETS_MAX);
    if (!f->count_timer || !f->tell_timer || !f->tls_timer || !f->stop_timer || !f->memory_timer || !f->cache) {
        err_set(&e, E_NOMEM, "out of memory");
        proc_die("front-start", PROC_EXIT_RESTART, &e);
    }
    if (snprintf(dir, sizeof dir, "%s/tls", proc_conf(f->proc)->dir_state) >= (int)sizeof dir) {
        err_set(&e, E_INVALID, "dir_state is too long");
        proc_die("front-start", PROC_EXIT_CONFIG, &e);
    }
    f->tls = tls_new(dir, proc_name(f->proc), &e);
    if (!f->tls)
        proc_die("front-start", PROC_EXIT_RESTART, &e);
    spare_start(on_spare_used, f);
}

void front_clear(struct front *f)
{
    spare_stop(); /* the timer that is asked for when memory ran out goes with the rest */
    conn_free_all(f);
    core_drop(f);
    status_drop(f);
    for (size_t i = 0; i < f->listener_n; i++) {
        evconnlistener_free(f->listener[i].ev);
        event_free(f->listener[i].retry);
    }
    config_clear(&f->config);
    config_clear(&f->incoming);
    ocsp_cache_free(f->cache);
    tls_free(f->tls);
    event_free(f->count_timer);
    event_free(f->tell_timer);
    event_free(f->tls_timer);
    event_free(f->stop_timer);
    event_free(f->memory_timer);
}
