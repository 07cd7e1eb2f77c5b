/* SPDX-License-Identifier: Apache-2.0 */
/* The administration socket: who may connect, one request at a time, rows with back-pressure. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/clock.h"
#include "ca/people.h"
#include "ca/selector.h"

#define CONN_QUEUE      (8 << 20)   /* octets waiting for an operator's program that does not read */
#define ROWS_PER_PAGE   200
#define ROWS_LEN        (40 * 1024)
#define QUEUE_HIGH      (256 << 10) /* octets unread: the next page waits */
#define PUMP_MS         5
#define CONNS_MAX       64          /* of the local socket, and as many of the network */
#define CONNS_OF_USER   16          /* of one user who is not root: there is room for root */
#define FILE_MAX        (64u << 20)
#define USERS_MAX       64

struct admin_conn {
    LIST_ENTRY(admin_conn) link;
    struct core *core;
    struct chan *chan;
    struct admin_call *call;
    bool remote;  /* by inkan-admin: what it carries counts by its signature alone */
    bool is_root; /* root or the service's own user */
    char user[ID_MAX_LEN + 1];
};

struct admin_user {
    uid_t uid;
    bool is_root;
    char name[ID_MAX_LEN + 1];
};

struct admin_server {
    LIST_HEAD(, admin_conn) conns;
    size_t conn_n[2]; /* by `remote` */
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

static void user_add(struct admin_server *s, uid_t uid, const char *name, bool is_root)
{
    for (size_t i = 0; i < s->user_n; i++)
        if (s->user[i].uid == uid)
            return;
    if (s->user_n == USERS_MAX)
        return;
    s->user[s->user_n].uid = uid;
    s->user[s->user_n].is_root = is_root;
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
    user_add(s, 0, "root", true);
    if (c->conf->user_supervisor && c->conf->user_supervisor[0] && (pw = getpwnam(c->conf->user_supervisor)))
        user_add(s, pw->pw_uid, pw->pw_name, true);
    pw = getpwuid(getuid());
    user_add(s, getuid(), pw ? pw->pw_name : "core", true);
    for (size_t i = 0; i < c->conf->admin_users.n; i++) {
        pw = getpwnam(c->conf->admin_users.v[i]);
        if (pw)
            user_add(s, pw->pw_uid, c->conf->admin_users.v[i], false);
        else
            log_note(LOG_WARN, "admin-user-unknown", "user", c->conf->admin_users.v[i]);
    }
    return E_OK;
}

static const struct admin_user *user_find(const struct admin_server *s, uid_t uid)
{
    for (size_t i = 0; i < s->user_n; i++)
        if (s->user[i].uid == uid)
            return &s->user[i];
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
    buf_clear(&call->signature);
    buf_clear(&call->approvals);
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

    call->told = false; /* what was undone told nothing */
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
    if (call->pending)
        people_ended(call->core, call, e);
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

static struct admin_call *call_new(struct admin_conn *n, uint64_t request_id)
{
    struct admin_call *call = calloc(1, sizeof(*call));
    struct err e = {0};

    if (!call) { /* whoever waits for an answer is told by the end of the connection */
        err_set(&e, E_NOMEM, "out of memory for a request");
        chan_fail(n->chan, &e);
        return NULL;
    }
    call->core = n->core;
    call->conn = n;
    call->request_id = request_id;
    call->file = -1;
    call->by.kind = "operator";
    call->by.told = &call->told;
    buf_init(&call->signature, SIGNED_REQUEST_MAX);
    buf_init(&call->approvals, SIGNED_REQUEST_MAX);
    TAILQ_INIT(&call->rows);
    return call;
}

/* The operation, its arguments and their digest, which goes with every entry the call writes. */
static enum err_code call_set(struct admin_call *call, const char *name, json_t *args, struct err *e)
{
    json_decref(call->args);
    call->args = args;
    call->op = op_find(name);
    if (!call->op)
        return err_set(e, E_INVALID, "%.64s: no such operation", name);
    if ((call->file >= 0) != call->op->takes_file)
        return err_set(e, E_INVALID, "%s: %s", name, call->op->takes_file ? "its file is missing" : "it takes no file");
    if (admin_args_check(call->op->args, call->args, e) != E_OK || request_digest(name, args, call->digest, e) != E_OK)
        return e->code;
    call->by.request_digest = BYTES_OF(call->digest);
    return E_OK;
}

static void call_is_of(struct admin_call *call, const struct person *who)
{
    call->person = *who;
    snprintf(call->by.name, sizeof(call->by.name), "%s", who->name);
}

/* A file of memory, which no file system can make us wait for. */
static bool is_of_memory(int fd)
{
    return fcntl(fd, F_GET_SEALS) >= 0;
}

/* Who asks on the local socket without a signature: the user of the other end. */
static enum err_code user_asks(struct core *c, const struct admin_conn *n, struct admin_call *call, struct err *e)
{
    struct person who;

    snprintf(call->by.name, sizeof(call->by.name), "%s", n->user);
    if (n->remote)
        return err_set(e, E_DENIED, "over the network every request is signed");
    if (n->is_root) {
        call->is_root = true;
        call->by.kind = "root";
        return E_OK;
    }
    if (people_of_user(c, n->user, &who, e) != E_OK)
        return e->code;
    call_is_of(call, &who);
    if (call->file >= 0 && !is_of_memory(call->file))
        return err_set(e, E_DENIED, "the file that came with the request is not one of memory");
    return E_OK;
}

/* A copy of the file that nobody else can change any more, if it is the one that was signed for. */
static enum err_code take_signed_file(struct admin_call *call, int fd, const struct signed_request *r, struct err *e)
{
    AUTO_FD int given = fd;
    AUTO_BUF content = BUF_INIT(FILE_MAX);
    uint8_t digest[32];

    if ((given >= 0) != r->has_file)
        return err_set(e, E_DENIED, r->has_file ? "the file the request was signed with is missing" : "a file was added to the request");
    if (given < 0)
        return E_OK;
    if (!is_of_memory(given))
        return err_set(e, E_DENIED, "the file that came with the request is not one of memory");
    call->file = given; /* lent to the reader */
    if (admin_file(call, FILE_MAX, &content, e) == E_OK) {
        sha256(buf_bytes(&content), digest);
        if (!bytes_equal(BYTES_OF(digest), BYTES_OF(r->file_sha256)))
            err_set(e, E_DENIED, "the file is not the one the request was signed with");
    }
    call->file = -1;
    if (e->code != E_OK)
        return e->code;
    call->file = memfd_of("inkan-request", buf_bytes(&content), e);
    return call->file >= 0 ? E_OK : e->code;
}

/* May it run, now and by this person alone? E_PENDING: not alone. */
static enum err_code call_may_run(struct admin_call *call, struct err *e)
{
    const struct permission *p = permission_of(call->op->name);

    if (!p)
        return err_set(e, E_DENIED, "%s: nobody may do this", call->op->name);
    if (call->is_root) {
        call->by.alone = p->two_persons;
        return E_OK;
    }
    if (permission_check(p, p->op, call->person.roles, e) != E_OK)
        return e->code;
    if (p->local && call->conn && call->conn->remote)
        return err_set(e, E_DENIED, "%s is done on the service's own machine", p->op);
    if (call->core->seal == SEAL_RESTORE && call->op->changes) /* who has ended since, and which nonces were used, the copy does not know */
        return err_set(e, E_STORE, "sealed: %s; until root has accepted that, operators only read", call->core->seal_why);
    if (p->signature && call->by.signature.len == 0)
        return err_set(e, E_DENIED, "%s needs your signature: inkan --as CERTIFICATE.pem ...", p->op);
    return p->two_persons && !call->approved ? E_PENDING : E_OK;
}

static void call_start(struct core *c, struct admin_call *call)
{
    struct err e = {0};

    switch (call_may_run(call, &e)) {
    case E_OK:
        call->op->run(c, call);
        break;
    case E_PENDING:
        people_ask_and_answer(c, call);
        break;
    default:
        admin_fail(call, &e);
        break;
    }
}

/* A request whose sender or operation is not known: nothing but the log tells of it. */
static void call_refuse(struct admin_call *call, const struct err *e)
{
    refuse(call->conn, call->request_id, e);
    call->conn = NULL;
    call_free(call);
}

void admin_run_approved(struct core *c, struct admin_call *call, uint64_t pending, const char *op, json_t *args, const struct person *who,
                        struct buf *jws)
{
    struct err e = {0};

    buf_clear(&call->approvals);
    call->approvals = call->signature;
    call->signature = *jws;
    buf_init(jws, 0);
    call->by.signature = buf_bytes(&call->signature);
    call->by.approvals = buf_bytes(&call->approvals);
    call->told = false;
    call->approved = true;
    call->pending = pending;
    call_is_of(call, who);
    if (call_set(call, op, args, &e) == E_OK)
        call_start(c, call);
    else
        admin_fail(call, &e);
}

static json_t *args_read(struct bytes text, struct err *e)
{
    json_error_t where;
    json_t *args = json_loadb((const char *)text.p, text.len, JSON_REJECT_DUPLICATES, &where);

    if (!args)
        err_set(e, json_error_code(&where) == json_error_out_of_memory ? E_NOMEM : E_INVALID, "arguments: %s at octet %d", where.text,
                where.position);
    return args;
}

/* Takes over `file`. */
static void run_request(struct admin_conn *n, uint64_t request_id, const char *name, struct bytes text, int file)
{
    AUTO_FD int owned = file;
    struct admin_call *call = call_new(n, request_id);
    struct err e = {0};
    json_t *args;

    if (!call)
        return;
    call->file = take_fd(&owned);
    if (user_asks(n->core, n, call, &e) != E_OK || !(args = args_read(text, &e)) || call_set(call, name, args, &e) != E_OK) {
        core_doubt(n->core, &e);
        call_refuse(call, &e);
        return;
    }
    n->call = call;
    call_start(n->core, call);
}

/* Takes over `file`. */
static void run_signed(struct admin_conn *n, uint64_t request_id, struct bytes jws, int file)
{
    AUTO_FD int owned = file;
    struct admin_call *call = call_new(n, request_id);
    struct signed_request r;
    struct person who;
    struct err e = {0};

    if (!call)
        return;
    snprintf(call->by.name, sizeof(call->by.name), "%s", n->user);
    if (people_verify(n->core, jws, core_stamp(n->core), &r, &who, &e) != E_OK) {
        call_refuse(call, &e);
        return;
    }
    call_is_of(call, &who);
    buf_add_bytes(&call->signature, jws);
    call->by.signature = buf_bytes(&call->signature);
    if (!buf_ok(&call->signature))
        err_set(&e, E_NOMEM, "signed request");
    else if (take_signed_file(call, take_fd(&owned), &r, &e) == E_OK && call_set(call, r.op, json_incref(r.args), &e) == E_OK &&
             admin_args_keep_no_secret(call->op->args, call->args, &e) == E_OK)
        n->call = call;
    signed_request_clear(&r);
    if (n->call == call)
        call_start(n->core, call);
    else
        call_refuse(call, &e);
}

static void tell_node(struct admin_conn *n, uint64_t request_id)
{
    AUTO_MSG m = {BUF_INIT(0)};

    msg_begin(&m, ADMIN_NODE, request_id);
    msg_put_bytes(&m, people_node(n->core));
    send_message(n, &m, -1);
}

static void on_message(struct chan *chan, struct msg_reader *r, int fd, void *arg)
{
    AUTO_FD int file = fd;
    struct admin_conn *n = arg;
    char op[64] = "";
    struct bytes text = {NULL, 0};
    uint64_t request_id = r->request_id;
    uint16_t type = r->type;
    struct err e = {0};

    if (type == ADMIN_REQUEST) {
        msg_get_str(r, op, sizeof(op));
        text = msg_get_bytes(r, ADMIN_ARGS_MAX);
    } else if (type == ADMIN_SIGNED) {
        text = msg_get_bytes(r, SIGNED_REQUEST_MAX);
    } else if (type != ADMIN_NODE) {
        err_set(&e, E_INVALID, "message type 0x%04x on the administration socket", type);
        chan_fail(chan, &e);
        return;
    }
    if (msg_read_end(r, &e) != E_OK) {
        chan_fail(chan, &e);
        return;
    }
    if (n->call) {
        err_set(&e, E_BUSY, "one request at a time on a connection");
        refuse(n, request_id, &e);
    } else if (type == ADMIN_NODE) {
        tell_node(n, request_id);
    } else if (type == ADMIN_SIGNED) {
        run_signed(n, request_id, text, take_fd(&file));
    } else {
        run_request(n, request_id, op, text, take_fd(&file));
    }
}

static void conn_free(struct admin_conn *n)
{
    LIST_REMOVE(n, link);
    n->core->admin->conn_n[n->remote]--;
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

/* Takes over `fd`. NULL: it was closed. */
static struct admin_conn *conn_open(struct core *c, int fd, bool remote)
{
    static const struct chan_ops ops = {on_message, on_gone};
    struct admin_server *s = server(c);
    struct admin_conn *n = s && s->conn_n[remote] < CONNS_MAX ? calloc(1, sizeof(*n)) : NULL;
    struct err e = {0};

    if (!n) {
        close(fd);
        return NULL;
    }
    n->core = c;
    n->remote = remote;
    n->chan = chan_new(c->base, fd, &ops, n, CONN_QUEUE, &e);
    if (!n->chan) {
        log_failure("admin-accept-failed", &e);
        free(n);
        return NULL;
    }
    s->conn_n[remote]++;
    LIST_INSERT_HEAD(&s->conns, n, link);
    return n;
}

static size_t conns_of(const struct admin_server *s, const char *user)
{
    const struct admin_conn *n;
    size_t count = 0;

    LIST_FOREACH(n, &s->conns, link)
        count += !n->remote && !n->is_root && strcmp(n->user, user) == 0;
    return count;
}

static void local_open(struct core *c, int fd)
{
    const struct admin_user *user = NULL;
    struct admin_conn *n;
    struct ucred peer;
    socklen_t len = sizeof(peer);
    struct err e = {0};

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && len == sizeof(peer))
        user = user_find(c->admin, peer.uid);
    n = conn_open(c, fd, false);
    if (!n)
        return;
    if (user) {
        n->is_root = user->is_root;
        snprintf(n->user, sizeof(n->user), "%s", user->name);
        if (n->is_root || conns_of(c->admin, n->user) <= CONNS_OF_USER)
            return;
        err_set(&e, E_BUSY, "user %s has %d connections already", n->user, CONNS_OF_USER);
        refuse(n, 0, &e);
        chan_fail(n->chan, &e);
        return;
    }
    err_set(&e, E_DENIED, "user id %ld may not administer this service: name the user in users.admin and let root run inkan operator add",
            len == sizeof(peer) ? (long)peer.uid : -1L);
    refuse(n, 0, &e);
    chan_fail(n->chan, &e);
}

/* What inkan-admin hands over must be a socket of messages: on anything else a read could wait, or be a stranger's. */
void admin_open_remote(struct core *c, int fd)
{
    struct admin_conn *n;
    int domain = 0, type = 0;
    socklen_t a = sizeof(domain), b = sizeof(type);

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &a) != 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &b) != 0 ||
        domain != AF_UNIX || type != SOCK_SEQPACKET) {
        log_note(LOG_ERROR, "admin-accept-failed", "why", "inkan-admin gave a descriptor that is no socket of messages");
        close(fd);
        return;
    }
    n = conn_open(c, fd, true);
    if (n)
        snprintf(n->user, sizeof(n->user), "network");
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    int got;

    (void)what;
    while ((got = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
        local_open(arg, got);
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
