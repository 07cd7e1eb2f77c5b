/* SPDX-License-Identifier: Apache-2.0 */
/* The administration socket: who may connect, one request at a time, rows with back-pressure. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/clock.h"
#include "ca/admin_int.h"
#include "ca/selector.h"

#define CONN_QUEUE      (8 << 20)   /* octets waiting for an operator's program that does not read */
#define ROWS_PER_PAGE   200
#define ROWS_LEN        (40 * 1024)
#define QUEUE_HIGH      (256 << 10) /* octets unread: the next page waits */
#define PUMP_MS         5
#define CONNS_MAX       64
#define USERS_MAX       64

struct admin_conn {
    LIST_ENTRY(admin_conn) link;
    struct core *core;
    struct chan *chan;
    struct admin_call *call;
    char user[ID_MAX_LEN + 1];
};

struct admin_user {
    uid_t uid;
    char name[ID_MAX_LEN + 1];
};

struct admin_server {
    LIST_HEAD(, admin_conn) conns;
    size_t conn_n;
    struct event *listener;
    struct admin_user user[USERS_MAX];
    size_t user_n;
};

static struct admin_server *server(struct core *c)
{
    if (!c->admin)
        c->admin = calloc(1, sizeof(*c->admin));
    return c->admin;
}

/* ---- who may ---- */

static void user_add(struct admin_server *s, uid_t uid, const char *name)
{
    for (size_t i = 0; i < s->user_n; i++)
        if (s->user[i].uid == uid)
            return;
    if (s->user_n == USERS_MAX)
        return;
    s->user[s->user_n].uid = uid;
    snprintf(s->user[s->user_n].name, sizeof(s->user[0].name), "%s", name);
    s->user_n++;
}

/* Looked up once: the process is confined afterwards. */
enum err_code admin_users_load(struct core *c, struct err *e)
{
    struct admin_server *s = server(c);
    const struct passwd *pw;

    if (!s)
        return err_set(e, E_NOMEM, "administration");
    s->user_n = 0;
    user_add(s, 0, "root");
    for (size_t i = 0; i < c->conf->admin_users.n; i++) {
        pw = getpwnam(c->conf->admin_users.v[i]);
        if (pw)
            user_add(s, pw->pw_uid, pw->pw_name);
        else
            log_note(LOG_WARN, "admin-user-unknown", "user", c->conf->admin_users.v[i]);
    }
    if (c->conf->user_supervisor && c->conf->user_supervisor[0] && (pw = getpwnam(c->conf->user_supervisor)))
        user_add(s, pw->pw_uid, pw->pw_name);
    pw = getpwuid(getuid());
    user_add(s, getuid(), pw ? pw->pw_name : "core");
    return E_OK;
}

static const char *user_name(const struct admin_server *s, uid_t uid)
{
    for (size_t i = 0; i < s->user_n; i++)
        if (s->user[i].uid == uid)
            return s->user[i].name;
    return NULL;
}

/* ---- calls ---- */

static void send_message(struct admin_conn *n, struct msg *m, int fd)
{
    struct err e = {0};

    if (!n || !n->chan)
        return;
    if (!msg_finish(m))
        err_set(&e, E_INTERNAL, "answer of more than %d octets", MSG_MAX_LEN);
    else if (chan_send(n->chan, m, fd, &e) == E_OK)
        return;
    log_failure("admin-answer-failed", &e);
    chan_fail(n->chan, &e); /* so that nobody waits for it */
}

static void rows_drop(struct admin_call *call)
{
    struct admin_rows *r;

    while ((r = TAILQ_FIRST(&call->rows))) {
        TAILQ_REMOVE(&call->rows, r, link);
        buf_clear(&r->text);
        free(r);
    }
}

static void flush_rows(struct admin_call *call)
{
    struct admin_rows *r;

    TAILQ_FOREACH(r, &call->rows, link)
    {
        AUTO_MSG m = {BUF_INIT(0)};

        buf_add_str(&r->text, "]");
        msg_begin(&m, ADMIN_ROWS, call->request_id);
        msg_put_bytes(&m, buf_bytes(&r->text));
        if (buf_ok(&r->text))
            send_message(call->conn, &m, -1);
    }
    rows_drop(call);
}

/* Room for `len` octets more in the last message, or a new one; NULL: no memory. */
static struct admin_rows *rows_with_room(struct admin_call *call, size_t len)
{
    struct admin_rows *r = TAILQ_LAST(&call->rows, admin_rows_list);

    if (r && r->text.len + len + 2 <= ROWS_LEN)
        return r;
    r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    buf_init(&r->text, MSG_MAX_LEN);
    TAILQ_INSERT_TAIL(&call->rows, r, link);
    return r;
}

void admin_row(struct admin_call *call, json_t *row)
{
    AUTO_JSON *owned = row;
    AUTO(char) *text = row ? json_dumps(row, JSON_COMPACT) : NULL;
    struct admin_rows *r = text ? rows_with_room(call, strlen(text)) : NULL;

    (void)owned;
    if (!r)
        return;
    buf_add_str(&r->text, r->text.len ? "," : "[");
    buf_add_str(&r->text, text);
}

static void call_free(struct admin_call *call)
{
    if (call->conn)
        call->conn->call = NULL;
    if (call->pump)
        event_free(call->pump);
    json_decref(call->args);
    rows_drop(call);
    if (call->file >= 0)
        close(call->file);
    if (call->state_free)
        call->state_free(call->state);
    else
        free(call->state);
    free(call);
}

/* A refused change by a known operator is an entry of the trail. */
static void audit_refusal(struct admin_call *call, const struct err *why)
{
    struct core *c = call->core;
    struct err e = {0};

    if (!call->op || !call->op->changes || store_in_transaction(c->store) || core_begin(c, &e) != E_OK)
        return;
    if (core_audit(c, &call->by, "admin-refused", "", call->op->name,
                   json_pack("{s:s, s:s}", "code", err_code_name(why->code), "why", why->msg), core_stamp(c), &e) !=
        E_OK) {
        core_doubt(c, &e);
        core_rollback(c);
        return;
    }
    core_commit(c);
}

static void finish(struct admin_call *call, const struct err *e, json_t *result, int fd)
{
    AUTO_JSON *owned = result ? result : json_object();
    AUTO(char) *text = owned ? json_dumps(owned, JSON_COMPACT) : NULL;
    AUTO_MSG m = {BUF_INIT(0)};
    struct log_line l;

    flush_rows(call);
    msg_begin(&m, ADMIN_DONE, call->request_id);
    msg_put_err(&m, e, e->code);
    msg_put_bytes(&m, bytes_str(text ? text : "{}"));
    if (text)
        OPENSSL_cleanse(text, strlen(text)); /* a new enrollment secret is told once and kept nowhere */
    send_message(call->conn, &m, fd);
    log_begin(&l, e->code == E_OK ? LOG_INFO : LOG_WARN, e->code == E_OK ? "admin-done" : "admin-refused");
    log_str(&l, "op", call->op ? call->op->name : NULL);
    log_str(&l, "by", call->by.name);
    if (e->code != E_OK)
        log_err(&l, e);
    log_end(&l);
    if (e->code == E_DENIED || e->code == E_CONFLICT)
        audit_refusal(call, e);
    call_free(call);
}

void admin_done(struct admin_call *call, json_t *result, int fd)
{
    const struct err fine = {0};

    finish(call, &fine, result, fd);
}

void admin_fail(struct admin_call *call, const struct err *e)
{
    finish(call, e, NULL, -1);
}

void admin_done_but(struct admin_call *call, json_t *result, const struct err *e)
{
    finish(call, e, result, -1);
}

static void pump_later(struct admin_call *call, long us)
{
    struct timeval later = {0, us};

    evtimer_add(call->pump, &later);
}

static void read_start(struct admin_call *call)
{
    struct err e = {0};

    if (reader_submit(call->core->reader[call->reader], &call->job, &e) != E_OK)
        admin_fail(call, &e);
}

static void on_pump(evutil_socket_t fd, short what, void *arg)
{
    struct admin_call *call = arg;
    struct core *c = call->core;

    (void)fd;
    (void)what;
    if (!call->conn || !call->conn->chan) { /* nobody reads: the list ends here */
        call_free(call);
        return;
    }
    if (chan_queued(call->conn->chan) > QUEUE_HIGH) {
        pump_later(call, PUMP_MS * 1000);
    } else if (call->read) {
        read_start(call);
    } else if (call->page(c, call)) {
        bool waits = TAILQ_EMPTY(&call->rows); /* for something else to happen: not as fast as the loop can turn */

        flush_rows(call);
        pump_later(call, waits ? PUMP_MS * 1000 : 0);
    }
}

static bool pump_open(struct core *c, struct admin_call *call)
{
    struct err e = {0};

    if (!call->pump)
        call->pump = evtimer_new(c->base, on_pump, call);
    if (call->pump)
        return true;
    err_set(&e, E_NOMEM, "list");
    admin_fail(call, &e);
    return false;
}

void admin_stream(struct core *c, struct admin_call *call, admin_page page)
{
    call->page = page;
    if (pump_open(c, call))
        pump_later(call, 0);
}

/* ---- reading in a thread ---- */

static enum err_code call_run(struct reader_job *job, struct store *ledger, struct err *e)
{
    struct admin_call *call = (struct admin_call *)job;

    call->more = false;
    return call->read(ledger, call, &call->more, e);
}

static void call_read(struct reader_job *job, enum err_code code, const struct err *e)
{
    struct admin_call *call = (struct admin_call *)job;

    if (call->then) {
        call->then(call->core, call, code, e);
        return;
    }
    if (code != E_OK) {
        admin_fail(call, e);
        return;
    }
    flush_rows(call);
    if (call->more)
        pump_later(call, 0);
    else
        admin_done(call, NULL, -1);
}

static void read_prepare(struct admin_call *call, enum reader_kind reader, admin_read read, admin_then then)
{
    call->job.run = call_run;
    call->job.done = call_read;
    call->reader = reader;
    call->read = read;
    call->then = then;
}

static void list_by(struct core *c, struct admin_call *call, enum reader_kind reader, admin_read read)
{
    read_prepare(call, reader, read, NULL);
    if (pump_open(c, call))
        pump_later(call, 0);
}

void admin_list(struct core *c, struct admin_call *call, admin_read read)
{
    list_by(c, call, READER_PAGES, read);
}

void admin_select(struct core *c, struct admin_call *call, admin_read read)
{
    struct selector *sel = malloc(sizeof(*sel));
    struct err e = {0};

    call->state = sel;
    if (!sel)
        err_set(&e, E_NOMEM, "selector");
    else if (json_object_size(call->args) > 1u + admin_has(call, "limit"))
        err_set(&e, E_INVALID, "select: with limit only, it says everything else");
    else if (selector_read(admin_text(call, "select"), core_stamp(c), sel, &e) == E_OK) {
        list_by(c, call, READER_FLEET, read);
        return;
    }
    admin_fail(call, &e);
}

void admin_read_then(struct core *c, struct admin_call *call, enum reader_kind reader, admin_read read, admin_then then)
{
    (void)c;
    read_prepare(call, reader, read, then);
    read_start(call);
}

/* ---- arguments ---- */

const char *admin_text(const struct admin_call *call, const char *name)
{
    return json_string_value(json_object_get(call->args, name));
}

int64_t admin_int(const struct admin_call *call, const char *name, int64_t absent)
{
    const json_t *v = json_object_get(call->args, name);

    return v ? json_integer_value(v) : absent;
}

bool admin_has(const struct admin_call *call, const char *name)
{
    return json_object_get(call->args, name) != NULL;
}

enum err_code admin_der(const struct admin_call *call, const char *name, struct buf *out, struct err *e)
{
    if (base64_decode(bytes_str(admin_text(call, name)), out, e) != E_OK)
        return err_wrap(e, "%s", name);
    return E_OK;
}

json_t *json_hex(struct bytes b)
{
    AUTO_BUF text = BUF_INIT(2 * CERT_MAX_LEN + 1);

    if (!buf_reserve(&text, 2 * b.len + 1))
        return json_null();
    hex_encode(b.p, b.len, (char *)text.p);
    return json_stringn((const char *)text.p, 2 * b.len);
}

json_t *json_base64(struct bytes b)
{
    AUTO_BUF text = BUF_INIT(2 * CERT_MAX_LEN);

    base64_encode(&text, b, 0);
    return buf_ok(&text) ? json_stringn((const char *)text.p, text.len) : json_null();
}

json_t *json_name(struct bytes der)
{
    char text[2048];

    name_to_text(der, text, sizeof(text));
    return json_string(text);
}

enum err_code admin_file(const struct admin_call *call, size_t max, struct buf *out, struct err *e)
{
    struct stat st;
    size_t at = 0;

    if (fstat(call->file, &st) != 0 || !S_ISREG(st.st_mode))
        return err_set(e, E_INVALID, "the file that came with the request is not a regular one");
    if (st.st_size <= 0 || (uint64_t)st.st_size > max)
        return err_set(e, E_INVALID, "the file is %lld octets, at most %zu are taken", (long long)st.st_size, max);
    if (!buf_reserve(out, (size_t)st.st_size))
        return err_set(e, E_NOMEM, "a file of %lld octets", (long long)st.st_size);
    while (at < (size_t)st.st_size) {
        ssize_t n = pread(call->file, out->p + at, (size_t)st.st_size - at, (off_t)at);

        if (n <= 0)
            return err_set(e, E_INVALID, "the file became shorter while it was read");
        at += (size_t)n;
    }
    out->len = at;
    return E_OK;
}

/* ---- connections ---- */

static const struct admin_op *op_find(const char *name)
{
    for (size_t i = 0; i < admin_ops_n; i++)
        if (strcmp(admin_ops[i].name, name) == 0)
            return &admin_ops[i];
    return NULL;
}

/* The digest of the canonical request: what an operator's signature will one day be over. */
static void digest_request(struct admin_call *call)
{
    AUTO(char) *text = json_dumps(call->args, JSON_COMPACT | JSON_SORT_KEYS);
    AUTO_BUF head = BUF_INIT(256);

    buf_printf(&head, "%s\n", call->op->name);
    sha256_2(buf_bytes(&head), bytes_str(text ? text : ""), call->digest);
    call->by.request_digest = BYTES_OF(call->digest);
}

static void refuse(struct admin_conn *n, uint64_t request_id, const struct err *e)
{
    AUTO_MSG m = {BUF_INIT(0)};
    struct log_line l;

    log_begin(&l, LOG_WARN, "admin-refused");
    log_str(&l, "by", n->user);
    log_err(&l, e);
    log_end(&l);
    msg_begin(&m, ADMIN_DONE, request_id);
    msg_put_err(&m, e, e->code);
    msg_put_bytes(&m, bytes_str("{}"));
    send_message(n, &m, -1);
}

/* Takes over `file`. */
static void run_request(struct admin_conn *n, uint64_t request_id, const char *name, struct bytes args, int file)
{
    AUTO_FD int owned = file;
    struct core *c = n->core;
    struct admin_call *call;
    json_error_t where;
    struct err e = {0};

    if (n->call) {
        err_set(&e, E_BUSY, "one request at a time on a connection");
        refuse(n, request_id, &e);
        return;
    }
    call = calloc(1, sizeof(*call));
    if (!call) { /* whoever waits for an answer is told by the end of the connection */
        err_set(&e, E_NOMEM, "out of memory for a request");
        chan_fail(n->chan, &e);
        return;
    }
    call->file = take_fd(&owned);
    call->core = c;
    call->conn = n;
    call->request_id = request_id;
    TAILQ_INIT(&call->rows);
    call->by.kind = "operator";
    snprintf(call->by.name, sizeof(call->by.name), "%s", n->user);
    call->op = op_find(name);
    call->args = json_loadb((const char *)args.p, args.len, JSON_REJECT_DUPLICATES, &where);
    if (!call->op)
        err_set(&e, E_INVALID, "%.64s: no such operation", name);
    else if (!call->args)
        err_set(&e, json_error_code(&where) == json_error_out_of_memory ? E_NOMEM : E_INVALID, "arguments: %s at octet %d", where.text, where.position);
    else if ((call->file >= 0) != call->op->takes_file)
        err_set(&e, E_INVALID, "%s: %s", name, call->op->takes_file ? "its file is missing" : "it takes no file");
    else if (admin_args_check(call->op->args, call->args, &e) == E_OK) {
        n->call = call;
        digest_request(call);
        call->op->run(c, call);
        return;
    }
    refuse(n, request_id, &e);
    call->conn = NULL;
    call_free(call);
}

static void on_message(struct chan *chan, struct msg_reader *r, int fd, void *arg)
{
    AUTO_FD int file = fd;
    struct admin_conn *n = arg;
    char op[64];
    struct bytes args;
    uint64_t request_id = r->request_id;
    struct err e = {0};

    if (r->type != ADMIN_REQUEST) {
        err_set(&e, E_INVALID, "message type 0x%04x on the administration socket", r->type);
        chan_fail(chan, &e);
        return;
    }
    msg_get_str(r, op, sizeof(op));
    args = msg_get_bytes(r, ADMIN_ARGS_MAX);
    if (msg_read_end(r, &e) != E_OK) {
        chan_fail(chan, &e);
        return;
    }
    run_request(n, request_id, op, args, take_fd(&file));
}

static void conn_free(struct admin_conn *n)
{
    LIST_REMOVE(n, link);
    n->core->admin->conn_n--;
    if (n->call)
        n->call->conn = NULL;
    chan_free(n->chan);
    free(n);
}

static void on_gone(struct chan *chan, const struct err *why, void *arg)
{
    (void)chan;
    (void)why;
    conn_free(arg);
}

static void conn_open(struct core *c, int fd)
{
    static const struct chan_ops ops = {on_message, on_gone};
    struct admin_server *s = c->admin;
    struct admin_conn *n = calloc(1, sizeof(*n));
    struct ucred peer;
    socklen_t len = sizeof(peer);
    const char *user = NULL;
    struct err e = {0};

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && len == sizeof(peer))
        user = user_name(s, peer.uid);
    if (!n || s->conn_n >= CONNS_MAX) {
        free(n);
        close(fd);
        return;
    }
    n->core = c;
    n->chan = chan_new(c->base, fd, &ops, n, CONN_QUEUE, &e);
    if (!n->chan) {
        log_failure("admin-accept-failed", &e);
        free(n);
        return;
    }
    s->conn_n++;
    LIST_INSERT_HEAD(&s->conns, n, link);
    snprintf(n->user, sizeof(n->user), "%s", user ? user : "");
    if (user)
        return;
    err_set(&e, E_DENIED, "user id %ld may not administer this service: add the user to admin_users",
            len == sizeof(peer) ? (long)peer.uid : -1L);
    refuse(n, 0, &e);
    chan_fail(n->chan, &e);
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    int got;

    (void)what;
    while ((got = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
        conn_open(arg, got);
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR && errno != ECONNABORTED) {
        struct err e = {0};
        err_errno(&e, E_IO, "accept4");
        log_failure("admin-accept-failed", &e);
    }
}

void admin_listen(struct core *c, int fd)
{
    struct admin_server *s = server(c);

    if (!s || s->listener) {
        close(fd);
        return;
    }
    s->listener = event_new(c->base, fd, EV_READ | EV_PERSIST, on_accept, c);
    if (!s->listener || event_add(s->listener, NULL) != 0)
        log_note(LOG_ERROR, "admin-accept-failed", "why", "event");
}

void admin_free(struct core *c)
{
    struct admin_server *s = c->admin;
    struct admin_conn *n;

    if (!s)
        return;
    while ((n = LIST_FIRST(&s->conns))) {
        struct admin_call *call = n->call;
        conn_free(n);
        if (call)
            call_free(call);
    }
    if (s->listener) {
        close(event_get_fd(s->listener));
        event_free(s->listener);
    }
    free(s);
    c->admin = NULL;
}
