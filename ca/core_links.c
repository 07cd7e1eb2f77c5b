/* SPDX-License-Identifier: Apache-2.0 */
/* The core's links: fronts, status, signers. */
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "ca/alarm.h"
#include "ca/core.h"
#include "ca/enroll_policy.h"
#include "ca/est_body.h"
#include "ca/factory.h"
#include "ca/issue.h"
#include "ca/gateway.h"
#include "ca/metrics.h"

#define FRONT_QUEUE       (64 << 20)  /* octets waiting for a front that does not read */
#define STATUS_QUEUE      (16 << 20)
#define STATUS_QUEUE_LOW  (256 << 10) /* more rows are sent below this */
#define ROWS_PER_MESSAGE  256
#define ROWS_IN_STEP      4    /* ... while status is in step: it answers decisions between two messages */
#define ROWS_BEHIND       5000 /* so many to come: it catches up */
#define PUMP_MS           5
#define CONFIRM_S         10
#define REFUSED_KEY_MS    30000 /* between questions about keys that were refused */
#define DOUBT_MS          1000  /* between questions because signatures fail */

/* ---- confirmations ---- */

struct confirmation {
    LIST_ENTRY(confirmation) link;
    struct core *core;
    uint64_t seq;
    confirm_fn done;
    void *arg;
    struct event *timer;
};

/*
 * Who has not confirmed `seq`; NULL when all have. One that is linked but has not said hello counts as well: it may be an
 * older process than this core and still answer from what it kept.
 */
static const char *unconfirmed(struct core *c, uint64_t seq)
{
    struct front_link *f;

    if (c->status.present && c->status.acked_seq < seq)
        return "status";
    LIST_FOREACH(f, &c->fronts, link)
    {
        if (f->purged_seq < seq)
            return f->name;
    }
    return NULL;
}

static void confirmation_end(struct confirmation *k, const char *missing)
{
    LIST_REMOVE(k, link);
    event_free(k->timer);
    k->done(k->core, k->arg, missing == NULL, missing);
    free(k);
}

static void confirmations_check(struct core *c)
{
    struct confirmation *k, *next;

    for (k = LIST_FIRST(&c->confirmations); k; k = next) {
        next = LIST_NEXT(k, link);
        if (!unconfirmed(c, k->seq))
            confirmation_end(k, NULL);
    }
}

static void on_confirm_timer(evutil_socket_t fd, short what, void *arg)
{
    struct confirmation *k = arg;

    (void)fd;
    (void)what;
    confirmation_end(k, unconfirmed(k->core, k->seq));
}

void links_confirm(struct core *c, uint64_t seq, confirm_fn done, void *arg)
{
    struct confirmation *k = calloc(1, sizeof(*k));
    struct timeval wait = {CONFIRM_S, 0};
    struct timeval at_once = {0, 0};

    if (!k || !(k->timer = evtimer_new(c->base, on_confirm_timer, k))) {
        free(k);
        done(c, arg, false, "out of memory");
        return;
    }
    k->core = c;
    k->seq = seq;
    k->done = done;
    k->arg = arg;
    LIST_INSERT_HEAD(&c->confirmations, k, link);
    evtimer_add(k->timer, unconfirmed(c, seq) ? &wait : &at_once);
}

/* ---- fronts ---- */

/* A message that was not sent may have been a revocation: a peer that missed one must not go on as if it had heard everything. */
static enum err_code send_with(struct chan *chan, struct msg *m, int fd)
{
    struct err e = {0};

    if (!chan || chan_send(chan, m, fd, &e) == E_OK)
        return E_OK;
    if (e.code == E_NOMEM) /* every peer is linked again, and told everything anew, when this process is back */
        proc_die("link-send-failed", PROC_EXIT_RESTART, &e);
    log_failure("link-send-failed", &e);
    return e.code;
}

/* After a failure the link is broken, and its peer is linked again. */
static void send_or_fail(struct chan *chan, struct msg *m)
{
    (void)send_with(chan, m, -1);
}

/* A message with a descriptor can fail on a link that goes on: no descriptor was free. -1: not even for the content. */
static void send_owed(struct front_link *f, struct msg *m, int fd)
{
    if (fd < 0 || send_with(f->chan, m, fd) == E_IO)
        f->owed = true;
}

static struct front_link *front_by_id(struct core *c, uint64_t id)
{
    struct front_link *f;

    LIST_FOREACH(f, &c->fronts, link)
    {
        if (f->id == id)
            return f;
    }
    return NULL;
}

static void front_free(struct front_link *f)
{
    LIST_REMOVE(f, link);
    if (f->chan)
        chan_free(f->chan);
    free(f);
}

/* The chain of a label's profile: issuing CA up to the root. */
static size_t label_chain(struct core *c, const char *ca, struct bytes out[CHAIN_MAX])
{
    const struct authority *a = authority_find(c, ca);

    return a ? authority_chain(c, a, out) : 0;
}

static void send_label(struct core *c, struct front_link *f, const struct conf_label *l)
{
    const struct conf_profile *p = conf_find_profile(c->conf, l->profile); /* NULL: that of an order left the configuration */
    AUTO_BUF attrs = BUF_INIT(EST_BODY_MAX);
    AUTO_BUF body = BUF_INIT(MSG_MAX_LEN * CHAIN_MAX);
    AUTO_MSG m = {BUF_INIT(0)};
    AUTO_FD int fd = -1;
    struct svc_label label = {0};
    struct bytes chain[CHAIN_MAX];
    size_t n = p ? label_chain(c, p->ca, chain) : 0;
    struct err e = {0};

    if (n == 0)
        return; /* its CA does not exist yet: the front has no such label */
    if (certs_only_write(chain, n, &body, &e) != E_OK || csrattrs_write(p, &attrs, &e) != E_OK ||
        (fd = memfd_of("inkan-cacerts", buf_bytes(&body), &e)) < 0) {
        log_failure("label-failed", &e);
        f->owed |= e.code == E_IO;
        return;
    }
    snprintf(label.name, sizeof(label.name), "%s", l->name);
    label.auth_cert = l->auth_cert;
    label.auth_password = l->auth_password;
    label.auth_key = l->auth_key;
    label.wrap64 = l->wrap64;
    label.pop_required = p->pop_required;
    label.keygen = p->keygen != KEYGEN_OFF;
    label.csrattrs = buf_bytes(&attrs);
    msg_begin(&m, SVC_LABEL, 0);
    svc_label_encode(&m, &label);
    send_owed(f, &m, fd);
}

struct label_to {
    struct core *core;
    struct front_link *front;
};

static void send_order_label(void *arg, const struct conf_label *l)
{
    struct label_to *to = arg;
    struct err e = {0};

    if (conf_find_label(to->core->conf, l->name)) { /* the configuration was read again since the order was opened */
        err_set(&e, E_CONFLICT, "order %s: the configuration has an EST label of that name, which takes its place", l->name);
        log_failure("label-failed", &e);
        return;
    }
    send_label(to->core, to->front, l);
}

static void front_send_file(void *arg, const struct svc_file *file, int fd)
{
    struct front_link *f = arg;
    AUTO_MSG m = {BUF_INIT(0)};

    msg_begin(&m, SVC_FILE, 0);
    svc_file_encode(&m, file);
    send_owed(f, &m, fd);
}

static void front_send_purge(struct front_link *f, const struct svc_purge *purge)
{
    AUTO_MSG m = {BUF_INIT(0)};

    msg_begin(&m, SVC_PURGE, 0);
    svc_purge_encode(&m, purge);
    send_or_fail(f->chan, &m);
}

static void front_send_config(struct core *c, struct front_link *f)
{
    AUTO_MSG begin = {BUF_INIT(0)};
    AUTO_MSG anchors = {BUF_INIT(0)};
    AUTO_MSG end = {BUF_INIT(0)};
    AUTO_BUF pem = BUF_INIT((size_t)16 << 20);
    AUTO_FD int fd = -1;
    struct err e = {0};

    f->owed = false;
    msg_begin(&begin, SVC_CONFIG_BEGIN, 0);
    msg_put_u64(&begin, c->config_generation);
    send_or_fail(f->chan, &begin);
    for (size_t i = 0; i < c->conf->labels_n; i++)
        send_label(c, f, &c->conf->labels[i]);
    factory_each_label(c, send_order_label, &(struct label_to){c, f});
    served_each(c, front_send_file, f);
    anchors_pem(c, &pem);
    fd = memfd_of("inkan-anchors", buf_bytes(&pem), &e);
    if (fd < 0)
        log_failure("anchors-failed", &e);
    msg_begin(&anchors, SVC_ANCHORS, 0);
    msg_put_bytes(&anchors, (struct bytes){NULL, 0});
    send_owed(f, &anchors, fd);
    if (f->owed) /* the front goes on with what it has */
        return;
    msg_begin(&end, SVC_CONFIG_END, 0);
    msg_put_u64(&end, c->config_generation);
    send_or_fail(f->chan, &end);
}

static void front_hello(struct core *c, struct front_link *f)
{
    static struct svc_purge purge = {.all = true}; /* 28 KiB; one thread */

    front_send_config(c, f);
    purge.seq = core_seq(c);
    front_send_purge(f, &purge);
    f->hello = true;
}

struct front_answer {
    uint64_t front, request_id;
};

static void on_enroll_done(struct core *c, void *arg, const struct issue_result *r)
{
    struct front_answer *to = arg;
    struct front_link *f = front_by_id(c, to->front);
    struct svc_enroll_result result = {0};
    AUTO_MSG m = {BUF_INIT(0)};

    if (f && f->chan) {
        result.code = r->code;
        result.cert = r->code == E_OK ? r->cert : (struct bytes){NULL, 0};
        result.key = r->code == E_OK ? r->key : (struct bytes){NULL, 0};
        result.key_enveloped = result.key.len && r->key_enveloped;
        result.retry_after_s = r->retry_after_s;
        result.client_limit = r->client_limit;
        result.binding_judged = r->binding_judged;
        switch (r->code) {
        case E_OK:
            break;
        case E_INVALID:
        case E_UNAUTHENTICATED:
        case E_DENIED:
        case E_PENDING:
        case E_BUSY:
            snprintf(result.text, sizeof(result.text), "%.255s", r->err.msg);
            break;
        case E_NOT_FOUND:
        case E_CONFLICT:
            snprintf(result.text, sizeof(result.text), "not allowed");
            break;
        default: /* ours: what happened is in the log */
            snprintf(result.text, sizeof(result.text), "the service cannot issue now");
            break;
        }
        msg_begin(&m, SVC_ENROLL_RESULT, to->request_id);
        buf_reserve(&m.b, result.cert.len + result.key.len + sizeof(result)); /* what grows is copied */
        svc_enroll_result_encode(&m, &result);
        send_or_fail(f->chan, &m);
    }
    free(to);
}

static void on_tls_cert_done(struct core *c, void *arg, const struct issue_result *r)
{
    struct front_answer *to = arg;
    struct front_link *f = front_by_id(c, to->front);
    const struct conf_profile *p = conf_find_profile(c->conf, c->conf->server_profile);
    struct bytes chain[CHAIN_MAX];
    size_t n = p ? label_chain(c, p->ca, chain) : 0;
    AUTO_MSG m = {BUF_INIT(0)};
    int64_t renew_at = 0;

    if (f && f->chan) {
        if (r->code == E_OK && p)
            renew_at = r->not_before + (r->not_after - r->not_before) * (int64_t)p->renew_percent / 100;
        msg_begin(&m, SVC_TLS_CERT_RESULT, to->request_id);
        msg_put_err(&m, &r->err, r->code);
        if (r->code == E_OK) {
            msg_put_u32(&m, (uint32_t)(n ? n : 1)); /* the root stays out: peers have it */
            msg_put_bytes(&m, r->cert);
            for (size_t i = 0; i + 1 < n; i++)
                msg_put_bytes(&m, chain[i]);
        } else {
            msg_put_u32(&m, 0);
        }
        msg_put_i64(&m, renew_at);
        send_or_fail(f->chan, &m);
    }
    free(to);
}

/* The first of "dns:NAME", "ip:ADDRESS", without its kind. */
static const char *server_name(const struct conf *conf)
{
    const char *first = conf->server_names.n ? conf->server_names.v[0] : "";
    const char *colon = strchr(first, ':');

    return colon ? colon + 1 : first;
}

static enum err_code front_tls_cert(struct core *c, struct front_link *f, struct msg_reader *r, struct err *e)
{
    struct bytes csr = msg_get_bytes(r, CSR_MAX_LEN);
    uint64_t request_id = r->request_id;
    struct front_answer *to;
    char requester[ID_MAX_LEN + 16];
    struct actor by = {.kind = "service"};
    struct issue_order order = {
        .profile = c->conf->server_profile,
        .csr = csr,
        .requester = requester,
        .by = &by,
        .name = server_name(c->conf),
        .server_names = true,
        .repeats = true,
    };
    struct issue_result refused = {0};

    if (msg_read_end(r, e) != E_OK)
        return e->code;
    to = calloc(1, sizeof(*to));
    if (!to)
        return err_set(e, E_NOMEM, "request");
    to->front = f->id;
    to->request_id = request_id;
    snprintf(requester, sizeof(requester), "service:%s", f->name);
    snprintf(by.name, sizeof(by.name), "%s", f->name);
    refused.code = issue_order(c, &order, on_tls_cert_done, to, &refused.err);
    if (refused.code != E_OK)
        on_tls_cert_done(c, to, &refused);
    return E_OK;
}

static enum err_code front_enroll(struct core *c, struct front_link *f, struct msg_reader *r, struct err *e)
{
    struct front_answer *to = calloc(1, sizeof(*to));
    struct issue_result refused = {.retry_after_s = 5};

    if (!to)
        return err_set(e, E_NOMEM, "request");
    to->front = f->id;
    to->request_id = r->request_id;
    refused.code = issue_est(c, r, on_enroll_done, to, &refused.err);
    if (refused.code == E_INVALID) { /* the message itself: a broken front */
        free(to);
        *e = refused.err;
        return e->code;
    }
    if (refused.code != E_OK)
        on_enroll_done(c, to, &refused);
    return E_OK;
}

static void factory_answer(struct front_link *f, uint64_t request_id, const struct svc_factory_result *result)
{
    AUTO_MSG m = {BUF_INIT(0)};

    msg_begin(&m, SVC_FACTORY_RESULT, request_id);
    svc_factory_result_encode(&m, result);
    send_or_fail(f->chan, &m);
}

static void on_factory_done(struct core *c, void *arg, const struct issue_result *r)
{
    struct front_answer *to = arg;
    struct front_link *f = front_by_id(c, to->front);
    struct svc_factory_result result = {.code = r->code, .body = r->body, .retry_after_s = r->retry_after_s};

    if (f && f->chan)
        factory_answer(f, to->request_id, &result);
    free(to);
}

/* What only reads is answered at once; a refusal of it is a job all the same: it leaves a trace. */
static enum err_code front_factory(struct core *c, struct front_link *f, struct msg_reader *r, struct err *e)
{
    struct front_answer *to;
    struct msg_reader copy = *r;
    struct svc_factory in;
    struct issue_result refused = {.retry_after_s = 5};
    AUTO_BUF body = BUF_INIT(FACTORY_ANSWER_MAX);

    if (svc_factory_decode(&copy, &in, e) != E_OK)
        return e->code;
    if (in.action == SVC_FACTORY_BOX) {
        struct svc_factory_result result = {.retry_after_s = 5};

        result.code = box_records(c, &in, core_stamp(c), &body, &refused.err);
        result.body = buf_bytes(&body);
        factory_answer(f, r->request_id, &result);
        return E_OK;
    }
    if (svc_factory_is_read(in.action) && factory_read(c, &in, core_stamp(c), &body, &refused.err) == E_OK) {
        factory_answer(f, r->request_id, &(struct svc_factory_result){.is_text = in.action == SVC_FACTORY_CHALLENGE,
                                                                      .body = buf_bytes(&body)});
        return E_OK;
    }
    to = calloc(1, sizeof(*to));
    if (!to)
        return err_set(e, E_NOMEM, "request");
    to->front = f->id;
    to->request_id = r->request_id;
    refused.code = issue_factory(c, r, on_factory_done, to, &refused.err);
    if (refused.code != E_OK)
        on_factory_done(c, to, &refused);
    return E_OK;
}

static enum err_code front_health(struct core *c, struct front_link *f, struct msg_reader *r, struct err *e)
{
    AUTO_JSON *j = NULL;
    AUTO(char) *text = NULL;
    AUTO_MSG m = {BUF_INIT(0)};
    const char *why;
    uint64_t request_id = r->request_id;

    if (msg_read_end(r, e) != E_OK)
        return e->code;
    j = core_health(c);
    text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    msg_begin(&m, SVC_HEALTH_RESULT, request_id);
    msg_put_bool(&m, core_is_ready(c, &why));
    msg_put_str(&m, text ? text : "{}");
    send_or_fail(f->chan, &m);
    return E_OK;
}

static enum err_code front_metrics(struct core *c, struct front_link *f, struct msg_reader *r, struct err *e)
{
    AUTO_BUF text = BUF_INIT(OPENMETRICS_MAX);
    AUTO_FD int fd = -1;
    AUTO_MSG m = {BUF_INIT(0)};
    struct err why = {0};
    uint64_t request_id = r->request_id;

    if (msg_read_end(r, e) != E_OK)
        return e->code;
    metrics_write(c, &text);
    if (buf_ok(&text))
        fd = memfd_of("metrics", buf_bytes(&text), &why);
    else
        err_set(&why, E_NOMEM, "metrics");
    if (fd < 0)
        log_failure("metrics-failed", &why);
    msg_begin(&m, SVC_METRICS_RESULT, request_id);
    if (chan_send(f->chan, &m, fd, &why) != E_OK)
        log_failure("metrics-failed", &why);
    return E_OK;
}

static enum err_code front_message(struct core *c, struct front_link *f, struct msg_reader *r, struct err *e)
{
    uint64_t seq;

    switch (r->type) {
    case SVC_HELLO:
        if (msg_read_end(r, e) != E_OK)
            return e->code;
        if (f->hello) /* each answer costs a dozen descriptors */
            return err_set(e, E_INVALID, "SVC_HELLO twice from %s", f->name);
        front_hello(c, f);
        return E_OK;
    case SVC_ENROLL:
        return front_enroll(c, f, r, e);
    case SVC_FACTORY:
        return front_factory(c, f, r, e);
    case SVC_TLS_CERT:
        return front_tls_cert(c, f, r, e);
    case SVC_HEALTH:
        return front_health(c, f, r, e);
    case SVC_METRICS:
        return front_metrics(c, f, r, e);
    case SVC_COUNTS:
        return svc_counts_decode(r, &f->counts, e);
    case SVC_PURGED:
        seq = msg_get_u64(r);
        if (msg_read_end(r, e) != E_OK)
            return e->code;
        if (seq > f->purged_seq)
            f->purged_seq = seq;
        confirmations_check(c);
        return E_OK;
    default:
        return err_set(e, E_INVALID, "message type 0x%04x from %s", r->type, f->name);
    }
}

static void on_front_message(struct chan *chan, struct msg_reader *r, int fd, void *arg)
{
    struct front_link *f = arg;
    struct err e = {0};
    enum err_code code;

    if (fd >= 0) {
        close(fd);
        code = err_set(&e, E_INVALID, "a descriptor from %s", f->name);
    } else {
        code = front_message(f->core, f, r, &e);
    }
    if (code != E_OK)
        chan_fail(chan, &e);
}

static void on_front_gone(struct chan *chan, const struct err *why, void *arg)
{
    struct front_link *f = arg;

    log_failure("front-lost", why);
    chan_free(chan);
    f->chan = NULL; /* silent until the supervisor says it is dead */
}

static void front_link(struct core *c, uint32_t index, const char *name, int fd)
{
    static const struct chan_ops ops = {on_front_message, on_front_gone};
    struct front_link *f, *next;
    struct err e = {0};

    for (f = LIST_FIRST(&c->fronts); f; f = next) { /* linked again: the one before is dead */
        next = LIST_NEXT(f, link);
        if (f->index == index)
            front_free(f);
    }
    confirmations_check(c);
    f = calloc(1, sizeof(*f));
    if (!f) {
        close(fd);
        return;
    }
    f->core = c;
    f->index = index;
    f->id = ++c->next_id;
    snprintf(f->name, sizeof(f->name), "%s", name);
    f->chan = chan_new(c->base, fd, &ops, f, FRONT_QUEUE, &e);
    if (!f->chan) {
        log_failure("link-failed", &e);
        free(f);
        return;
    }
    LIST_INSERT_HEAD(&c->fronts, f, link);
}

void links_send_config(struct core *c)
{
    struct front_link *f;

    c->config_generation++;
    LIST_FOREACH(f, &c->fronts, link)
    {
        if (f->hello && f->chan)
            front_send_config(c, f);
    }
}

void links_send_file(struct core *c, const struct svc_file *file, int fd)
{
    struct front_link *f;

    LIST_FOREACH(f, &c->fronts, link)
    {
        if (f->hello && f->chan)
            front_send_file(f, file, fd);
    }
}

void links_send_purge(struct core *c, const struct svc_purge *purge)
{
    struct front_link *f;

    LIST_FOREACH(f, &c->fronts, link)
    {
        if (f->hello && f->chan)
            front_send_purge(f, purge);
    }
}

/* ---- status ---- */

struct row_page {
    struct msg *m;
    uint32_t n;
    uint64_t last;
    bool devices; /* asked for */
    uint64_t device[ROWS_PER_MESSAGE]; /* that the rows name */
    size_t device_n;
};

/* Without decisions nobody reads what is of devices. */
static void put_row_plain(struct msg *m, const struct status_row *row)
{
    struct status_row plain = *row;

    plain.device_state = DEVICE_STATES;
    plain.has_hash = false;
    plain.device = plain.issuer ? 0 : row->device;
    status_row_encode(m, &plain);
}

static bool put_row(void *arg, const struct status_row *row)
{
    struct row_page *page = arg;

    if (page->devices)
        status_row_encode(page->m, row);
    else
        put_row_plain(page->m, row);
    if (row->device && page->devices && (page->device_n == 0 || page->device[page->device_n - 1] != row->device))
        page->device[page->device_n++] = row->device;
    page->n++;
    page->last = row->seq;
    return true;
}

static void send_devices(struct core *c, struct msg *body, uint32_t n)
{
    AUTO_MSG m = {BUF_INIT(0)};

    msg_begin(&m, FOLLOW_DEVICES, 0);
    msg_put_u32(&m, n);
    buf_add(&m.b, body->b.p + MSG_HEADER_LEN, body->b.len - MSG_HEADER_LEN);
    send_or_fail(c->status.chan, &m);
}

/* Devices as they stand now, before the rows that name them. */
static bool push_devices(struct core *c, const uint64_t *ids, size_t n)
{
    for (size_t i = 0; i < n;) {
        AUTO_MSG body = {BUF_INIT(0)};
        uint32_t count = 0;

        msg_begin(&body, FOLLOW_DEVICES, 0);
        for (; i < n && count < DEVICES_MAX && body.b.len < MSG_MAX_LEN - 1024; i++) {
            struct device_row row;
            struct err e = {0};
            enum err_code code = store_device_by_id(c->store, ids[i], &row, &e);

            if (code != E_OK) {
                core_doubt(c, &e);
                log_failure("status-feed-failed", &e);
                return false;
            }
            follow_device_put(&body, &(struct access_device){.id = row.id, .moved_to = row.moved_to, .domain = row.domain,
                                                             .device_id = row.device_id, .product = row.product, .firmware = row.firmware,
                                                             .state = (enum device_state)row.state});
            count++;
        }
        send_devices(c, &body, count);
    }
    return c->status.chan != NULL;
}

/* One message of rows; false when there are none left or on error. */
static bool push_rows(struct core *c)
{
    struct status_link *s = &c->status;
    AUTO_MSG body = {BUF_INIT(0)};
    AUTO_MSG m = {BUF_INIT(0)};
    const unsigned most = core_seq(c) - s->sent_seq > ROWS_BEHIND ? ROWS_PER_MESSAGE : ROWS_IN_STEP;
    struct row_page page = {.m = &body, .devices = s->devices};
    struct err e = {0};

    msg_begin(&body, FOLLOW_ROWS, 0);
    if (store_status_each(c->store, s->sent_seq, most, put_row, &page, &e) != E_OK) {
        core_doubt(c, &e);
        log_failure("status-feed-failed", &e);
        return false;
    }
    if (page.n == 0)
        return false;
    if (page.device_n && !push_devices(c, page.device, page.device_n))
        return false;
    /* The count comes before the rows: known only now. */
    msg_begin(&m, FOLLOW_ROWS, 0);
    msg_put_u32(&m, page.n);
    buf_add(&m.b, body.b.p + MSG_HEADER_LEN, body.b.len - MSG_HEADER_LEN);
    s->sent_seq = page.last;
    send_or_fail(s->chan, &m);
    return s->chan != NULL;
}

void links_push_status(struct core *c)
{
    struct status_link *s = &c->status;
    struct timeval later = {0, PUMP_MS * 1000};

    if (!s->chan || !s->hello)
        return;
    while (chan_queued(s->chan) < STATUS_QUEUE_LOW)
        if (!push_rows(c))
            return;
    evtimer_add(s->pump, &later);
}

static void on_pump(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    links_push_status(arg);
}

static void send_current(struct core *c, uint64_t request_id)
{
    AUTO_MSG m = {BUF_INIT(0)};

    msg_begin(&m, FOLLOW_CURRENT, request_id);
    msg_put_u64(&m, core_seq(c));
    msg_put_bool(&m, c->seal != SEAL_NONE);
    msg_put_i64(&m, c->clock.floor);
    send_or_fail(c->status.chan, &m);
}

static void send_feed_key(struct core *c)
{
    const struct record_signer *r = &c->feed;
    const struct conf_profile *p = conf_find_profile(c->conf, c->conf->feed_profile);
    const struct authority *a = p ? authority_find(c, p->ca) : NULL;
    struct follow_feed_key out = {0};
    AUTO_MSG m = {BUF_INIT(0)};

    if (r->key[0] && r->cert.len && a) {
        text_copy(out.token, sizeof(out.token), c->conf->feed_token);
        text_copy(out.key, sizeof(out.key), r->key);
        out.cka_id = BYTES_OF(r->cka_id);
        out.spki = buf_bytes(&r->spki);
        out.cert = buf_bytes(&r->cert);
        if (a->conf->issuer[0])
            out.issuer = buf_bytes(&a->cert);
    }
    msg_begin(&m, FOLLOW_FEED_KEY, 0);
    follow_feed_key_encode(&m, &out);
    send_or_fail(c->status.chan, &m);
}

void links_send_issuers(struct core *c)
{
    AUTO_MSG end = {BUF_INIT(0)};

    if (!c->status.chan || !c->status.hello)
        return;
    for (size_t i = 0; i < c->ca_n; i++) {
        const struct authority *a = &c->ca[i];
        AUTO_MSG m = {BUF_INIT(0)};
        struct follow_issuer out = {0};

        if (!a->exists)
            continue;
        out.id = a->id;
        snprintf(out.name, sizeof(out.name), "%s", a->conf->name);
        out.subject = buf_bytes(&a->subject);
        out.cert = buf_bytes(&a->cert);
        out.spki = buf_bytes(&a->spki);
        out.responds = a->ocsp_cert.len != 0;
        if (out.responds) {
            snprintf(out.token, sizeof(out.token), "%s", a->conf->ocsp_token);
            text_copy(out.key, sizeof(out.key), a->ocsp_key);
            out.key_cka_id = BYTES_OF(a->ocsp_cka_id);
            out.key_spki = buf_bytes(&a->ocsp_spki);
            out.responder_cert = buf_bytes(&a->ocsp_cert);
            out.responder_not_before = a->ocsp_not_before;
            out.responder_not_after = a->ocsp_not_after;
        }
        out.validity_s = a->conf->ocsp_validity_s;
        msg_begin(&m, FOLLOW_ISSUER, 0);
        follow_issuer_encode(&m, &out);
        send_or_fail(c->status.chan, &m);
    }
    msg_begin(&end, FOLLOW_ISSUERS_END, 0);
    send_or_fail(c->status.chan, &end);
    send_feed_key(c);
}

static void status_hello(struct core *c, struct bytes ledger_id, uint64_t seq, bool devices)
{
    AUTO_MSG m = {BUF_INIT(0)};
    bool rebuild = !bytes_equal(ledger_id, buf_bytes(&c->follow_id)) || seq > core_seq(c);
    struct log_line l;

    c->status.sent_seq = rebuild ? 0 : seq;
    c->status.acked_seq = c->status.sent_seq;
    c->status.hello = true;
    c->status.devices = devices;
    msg_begin(&m, FOLLOW_BEGIN, 0);
    msg_put_bytes(&m, buf_bytes(&c->follow_id));
    msg_put_bool(&m, rebuild);
    msg_put_bool(&m, c->seal != SEAL_NONE);
    msg_put_i64(&m, c->clock.floor);
    send_or_fail(c->status.chan, &m);
    log_begin(&l, LOG_INFO, "status-follows");
    log_u64(&l, "from", c->status.sent_seq);
    log_str(&l, "rebuild", rebuild ? "yes" : "no");
    log_end(&l);
    links_send_issuers(c);
    links_push_status(c);
    send_current(c, 0);
    confirmations_check(c);
}

/* A decision was asked about a device that is lost or compromised. One alarm of it is open at a time. */
static void device_seen(struct core *c, uint64_t device)
{
    char domain[ID_MAX_LEN + 1], object[3 * ID_MAX_LEN];
    enum device_state state;
    struct device_row row;
    struct err e = {0};
    enum err_code code;

    if (c->seal != SEAL_NONE)
        return;
    if (store_device_by_id(c->store, device, &row, &e) != E_OK || core_begin(c, &e) != E_OK) {
        log_failure("device-seen-failed", &e);
        return;
    }
    text_copy(domain, sizeof(domain), row.domain);
    snprintf(object, sizeof(object), "device:%s/%s", row.domain, row.device_id);
    state = (enum device_state)row.state;
    code = state == DEVICE_LOST || state == DEVICE_COMPROMISED
               ? alarm_raise(c, "seen-while-lost", domain, object,
                             state == DEVICE_LOST ? "a gateway was shown a certificate of this device, which is lost"
                                                  : "a gateway was shown a certificate of this device, which is compromised",
                             &e)
               : E_OK;
    core_end(c, code, &e);
    if (code != E_OK)
        log_failure("device-seen-failed", &e);
}

static enum err_code status_message(struct core *c, struct msg_reader *r, struct err *e)
{
    struct follow_gateway gateway;
    struct bytes ledger_id;
    uint64_t seq, request_id = r->request_id;
    bool devices;

    switch (r->type) {
    case FOLLOW_HELLO:
        ledger_id = msg_get_bytes(r, 128);
        seq = msg_get_u64(r);
        devices = msg_get_bool(r);
        if (msg_read_end(r, e) != E_OK)
            return e->code;
        status_hello(c, ledger_id, seq, devices);
        return E_OK;
    case FOLLOW_ACK:
        seq = msg_get_u64(r);
        if (msg_read_end(r, e) != E_OK)
            return e->code;
        if (seq > c->status.acked_seq)
            c->status.acked_seq = seq;
        confirmations_check(c);
        return E_OK;
    case FOLLOW_ASK:
        if (msg_read_end(r, e) != E_OK)
            return e->code;
        send_current(c, request_id);
        return E_OK;
    case FOLLOW_SEEN:
        seq = msg_get_u64(r);
        if (msg_read_end(r, e) != E_OK)
            return e->code;
        device_seen(c, seq);
        return E_OK;
    case FOLLOW_GATEWAY:
        if (follow_gateway_decode(r, &gateway, e) == E_OK)
            gateway_heard(c, &gateway);
        return e->code;
    default:
        return err_set(e, E_INVALID, "message type 0x%04x from status", r->type);
    }
}

static void on_status_message(struct chan *chan, struct msg_reader *r, int fd, void *arg)
{
    struct core *c = arg;
    struct err e = {0};
    enum err_code code;

    if (fd >= 0) {
        close(fd);
        code = err_set(&e, E_INVALID, "a descriptor from status");
    } else {
        code = status_message(c, r, &e);
    }
    if (code != E_OK)
        chan_fail(chan, &e);
}

static void on_status_gone(struct chan *chan, const struct err *why, void *arg)
{
    struct core *c = arg;

    log_failure("status-lost", why);
    chan_free(chan);
    c->status.chan = NULL;
    proc_link_broken(c->proc, "status");
}

static void status_drop(struct core *c)
{
    if (c->status.chan)
        chan_free(c->status.chan);
    c->status.chan = NULL;
    c->status.present = c->status.hello = false;
    if (c->status.pump)
        evtimer_del(c->status.pump);
}

static void status_link(struct core *c, int fd)
{
    static const struct chan_ops ops = {on_status_message, on_status_gone};
    struct err e = {0};

    status_drop(c);
    if (!c->status.pump)
        c->status.pump = evtimer_new(c->base, on_pump, c);
    c->status.chan = chan_new(c->base, fd, &ops, c, STATUS_QUEUE, &e);
    if (!c->status.chan || !c->status.pump)
        log_failure("link-failed", &e);
    c->status.present = c->status.chan != NULL;
    c->status.acked_seq = 0;
    confirmations_check(c);
}

static void keys_ask_anew(struct signer_link *l);

void links_tick(struct core *c)
{
    struct front_link *f;
    struct signer_link *l;

    LIST_FOREACH(f, &c->fronts, link)
    {
        if (f->owed && f->hello && f->chan)
            front_send_config(c, f);
    }
    if (c->status.chan && c->status.hello) {
        links_push_status(c);
        send_current(c, 0);
    }
    LIST_FOREACH(l, &c->signers, link)
    {
        if (!l->keys_known && l->asked_n == 0)
            signer_links_tell_keys(c);
        for (size_t i = 0; i < l->key_n; i++)
            if (!l->key[i].usable && clock_mono_ms() - l->asked_ms >= REFUSED_KEY_MS) {
                keys_ask_anew(l); /* the token may have been passing through something */
                break;
            }
    }
}

/* ---- signers ---- */

struct signer_link *signer_link_find(struct core *c, const char *token)
{
    struct signer_link *l;

    LIST_FOREACH(l, &c->signers, link)
    {
        if (strcmp(l->token, token) == 0)
            return l;
    }
    return NULL;
}

static void signer_link_free(struct signer_link *l)
{
    struct signer *s = l->signer;

    LIST_REMOVE(l, link);
    l->signer = NULL;
    signer_free(s); /* answers what is pending: the callbacks find no signer */
    free(l->key);
    free(l->asked);
    free(l);
}

static void tell_keys(struct signer_link *l);

static void on_keys_told(void *arg, const struct err *results, size_t n)
{
    struct signer_link *l = arg;
    struct core *c = l->core;

    if (!l->signer)
        return;
    free(l->key);
    l->key = l->asked;
    l->key_n = l->asked_n;
    l->asked = NULL;
    l->asked_n = 0;
    l->keys_known = n == l->key_n;
    if (!l->keys_known)
        memset(l->told, 0, sizeof(l->told));
    for (size_t i = 0; i < l->key_n; i++) {
        l->key[i].usable = i < n && results[i].code == E_OK;
        if (l->key[i].usable)
            continue;
        snprintf(l->key[i].why, sizeof(l->key[i].why), "%.*s", (int)sizeof(l->key[i].why) - 1,
                 i < n ? results[i].msg : "no answer");
        if (i < n) {
            struct log_line line;
            log_begin(&line, LOG_ERROR, "key-refused");
            log_str(&line, "key", l->key[i].name);
            log_str(&line, "token", l->token);
            log_err(&line, &results[i]);
            log_end(&line);
        }
    }
    if (l->ask_again)
        tell_keys(l);
    jobs_poke(c);
}

/* A CA key may sign for its CA's name; before the first certificate that is the configured subject. */
static struct bytes key_issuer_name(struct core *c, const struct known_key *k, struct buf *scratch)
{
    char owner[ID_MAX_LEN + 1];
    const struct authority *a;
    struct err e = {0};

    if (k->purpose != PURPOSE_CA || !key_owner(k->name, owner, sizeof(owner)) || !(a = authority_find(c, owner)))
        return (struct bytes){NULL, 0};
    if (a->exists)
        return buf_bytes(&a->subject);
    if (name_from_text(a->conf->subject, scratch, &e) != E_OK)
        return (struct bytes){NULL, 0};
    return buf_bytes(scratch);
}

static void digest_keys(const struct signer_key *keys, size_t n, uint8_t out[32])
{
    memset(out, 0, 32);
    out[31] = 1; /* no keys is an answer too */
    for (size_t i = 0; i < n; i++) {
        const struct bytes parts[] = {bytes_str(keys[i].name), keys[i].cka_id, keys[i].spki, keys[i].issuer_name};

        for (size_t k = 0; k < ARRAY_LEN(parts); k++) {
            uint8_t one[32];
            sha256(parts[k], one);
            sha256_2(BYTES(out, 32), BYTES_OF(one), out);
        }
    }
}

static void tell_keys(struct signer_link *l)
{
    struct core *c = l->core;
    struct signer_key *keys;
    struct buf *names;
    struct err e = {0};
    size_t n = 0;
    uint8_t digest[32];

    l->ask_again = l->asked != NULL;
    if (l->ask_again)
        return;
    keys = calloc(c->key_n + 1, sizeof(*keys));
    names = calloc(c->key_n + 1, sizeof(*names));
    l->asked = calloc(c->key_n + 1, sizeof(*l->asked));
    if (!keys || !names || !l->asked)
        goto out;
    for (size_t i = 0; i < c->key_n; i++) {
        const struct known_key *k = &c->key[i];
        struct bytes issuer;

        if (strcmp(k->token, l->token) != 0 || k->purpose == PURPOSE_OCSP || k->purpose == PURPOSE_FEED) /* the status process signs with them */
            continue;
        buf_init(&names[n], NAME_MAX_LEN);
        issuer = key_issuer_name(c, k, &names[n]);
        if (k->purpose == PURPOSE_CA && issuer.len == 0)
            continue; /* its CA left the configuration */
        keys[n].name = k->name;
        keys[n].purpose = (enum key_purpose)k->purpose;
        keys[n].cka_id = BYTES_OF(k->cka_id);
        keys[n].spki = buf_bytes(&k->spki);
        keys[n].issuer_name = issuer;
        snprintf(l->asked[n].name, sizeof(l->asked[n].name), "%s", k->name);
        n++;
    }
    digest_keys(keys, n, digest);
    if (memcmp(digest, l->told, sizeof(digest)) == 0)
        goto out;
    l->asked_n = n;
    l->asked_ms = clock_mono_ms();
    memcpy(l->told, digest, sizeof(digest));
    if (n == 0) {
        free(l->key);
        l->key = NULL;
        l->key_n = 0;
        l->keys_known = true;
    } else if (signer_keys(l->signer, keys, n, on_keys_told, l, &e) == E_OK) {
        goto sent;
    } else {
        log_failure("signer-keys-failed", &e);
        memset(l->told, 0, sizeof(l->told));
    }
out:
    free(l->asked);
    l->asked = NULL;
    l->asked_n = 0;
sent:
    for (size_t i = 0; names && i < n; i++)
        buf_clear(&names[i]);
    free(names);
    free(keys);
}

static void keys_ask_anew(struct signer_link *l)
{
    memset(l->told, 0, sizeof(l->told));
    tell_keys(l);
}

void signer_link_works(struct core *c, const char *token)
{
    struct signer_link *l = signer_link_find(c, token);

    if (l)
        l->failed_ms = 0;
}

int64_t signer_link_failed_ms(struct core *c, const char *token)
{
    const struct signer_link *l = signer_link_find(c, token);

    return l && l->failed_ms ? clock_mono_ms() - l->failed_ms : -1;
}

void signer_link_doubt(struct core *c, const char *token)
{
    struct signer_link *l = signer_link_find(c, token);

    if (l)
        l->failed_ms = clock_mono_ms();
    if (l && l->signer && clock_mono_ms() - l->asked_ms >= DOUBT_MS)
        keys_ask_anew(l);
}

void signer_links_tell_keys(struct core *c)
{
    struct signer_link *l;

    LIST_FOREACH(l, &c->signers, link)
    {
        tell_keys(l);
    }
}

struct signer *signer_for_key(struct core *c, const char *token, const char *key, const char **why)
{
    struct signer_link *l = signer_link_find(c, token);
    const struct conf_token *t = conf_find_token(c->conf, token);

    if (!l || !l->signer) {
        *why = t && t->offline ? "its token is offline" : "the signer of its token is not there";
        return NULL;
    }
    for (size_t i = 0; i < l->key_n; i++)
        if (strcmp(l->key[i].name, key) == 0) {
            *why = l->key[i].usable ? NULL : l->key[i].why;
            return l->key[i].usable ? l->signer : NULL;
        }
    *why = "the signer has not resolved its key yet";
    return NULL;
}

static void on_signer_gone(struct signer *s, void *arg)
{
    struct signer_link *l = arg;
    struct core *c = l->core;
    char peer[PROC_NAME_MAX + 1];

    (void)s;
    if (!l->signer)
        return;
    log_note(jobs_use_token(c, l->token) ? LOG_INFO : LOG_ERROR, "signer-lost", "token", l->token);
    snprintf(peer, sizeof(peer), "signer-%s", l->token);
    proc_link_broken(c->proc, peer);
    signer_link_free(l);
    jobs_poke(c);
}

static void signer_link(struct core *c, const char *token, int fd)
{
    struct signer_link *l = signer_link_find(c, token);
    struct err e = {0};

    if (l)
        signer_link_free(l);
    l = calloc(1, sizeof(*l));
    if (l) {
        l->core = c;
        snprintf(l->token, sizeof(l->token), "%s", token);
        l->signer = signer_new(c->base, fd, token, on_signer_gone, l, &e);
    } else {
        err_set(&e, E_NOMEM, "out of memory for a link");
    }
    if (!l || !l->signer)
        proc_die("link-failed", PROC_EXIT_RESTART, &e); /* nobody would link us again */
    LIST_INSERT_HEAD(&c->signers, l, link);
    signer_measure(l->signer, metrics_of_token(c, token));
    tell_keys(l);
    jobs_poke(c);
}

/* ---- the supervisor's word ---- */

/* "signer-issuing" names the signer of token "issuing". */
static const char *token_of(const char *name, const char *prefix)
{
    size_t n = strlen(prefix);

    return strncmp(name, prefix, n) == 0 ? name + n : name;
}

void links_on_link(struct proc *p, enum proc_kind peer, uint32_t index, const char *name, int fd, void *arg)
{
    struct core *c = arg;

    (void)p;
    switch (peer) {
    case PROC_FRONT:
        front_link(c, index, name, fd);
        break;
    case PROC_STATUS:
        status_link(c, fd);
        break;
    case PROC_SIGNER:
        signer_link(c, token_of(name, "signer-"), fd);
        break;
    case PROC_TOKEN:
        jobs_on_token_link(c, token_of(name, "token-"), fd);
        break;
    case PROC_ADMIN:
        admin_link_begin(c, fd);
        break;
    case PROC_NOTIFY:
        notify_link_begin(c, fd);
        break;
    default:
        log_note(LOG_ERROR, "unknown-link", "peer", name);
        close(fd);
        break;
    }
}

void links_on_gone(struct proc *p, enum proc_kind peer, uint32_t index, const char *name, void *arg)
{
    struct core *c = arg;
    struct front_link *f, *next;
    struct signer_link *l;

    (void)p;
    switch (peer) {
    case PROC_FRONT:
        for (f = LIST_FIRST(&c->fronts); f; f = next) {
            next = LIST_NEXT(f, link);
            if (f->index == index)
                front_free(f);
        }
        break;
    case PROC_STATUS:
        status_drop(c);
        break;
    case PROC_SIGNER:
        l = signer_link_find(c, token_of(name, "signer-"));
        if (l)
            signer_link_free(l);
        break;
    case PROC_TOKEN:
        jobs_on_token_gone(c);
        break;
    case PROC_ADMIN:
        admin_link_end(c);
        break;
    case PROC_NOTIFY:
        notify_link_end(c);
        break;
    default:
        break;
    }
    confirmations_check(c);
    jobs_poke(c);
}

void links_free(struct core *c)
{
    struct confirmation *k;

    while ((k = LIST_FIRST(&c->confirmations)))
        confirmation_end(k, "the core stops");
    while (!LIST_EMPTY(&c->fronts))
        front_free(LIST_FIRST(&c->fronts));
    while (!LIST_EMPTY(&c->signers))
        signer_link_free(LIST_FIRST(&c->signers));
    status_drop(c);
    admin_link_end(c);
    notify_link_end(c);
    if (c->status.pump)
        event_free(c->status.pump);
}
