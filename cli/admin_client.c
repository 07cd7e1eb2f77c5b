/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/admin_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/bytes.h"
#include "base/msg.h"
#include "ca/admin.h"

struct admin_client {
    int fd;
    uint64_t next_id;
    int patience_ms;
    int attached; /* lent; -1: none */
};

enum err_code admin_connect(const char *socket_path, struct admin_client **out, struct err *e)
{
    AUTO_FD int fd = -1;
    struct sockaddr_un sa = {.sun_family = AF_UNIX};

    *out = NULL;
    if (strlen(socket_path) >= sizeof sa.sun_path)
        return err_set(e, E_INVALID, "socket path %s is longer than %zu octets", socket_path, sizeof sa.sun_path - 1);
    memcpy(sa.sun_path, socket_path, strlen(socket_path) + 1);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(e, E_IO, "socket");
    if (connect(fd, (struct sockaddr *)&sa, sizeof sa) != 0) {
        if (errno == EACCES)
            return err_set(e, E_DENIED, "%s: permission denied: run as root, as the service's user, or be named in users.admin",
                           socket_path);
        return err_errno(e, E_IO, "%s: no service answers here (is inkand running? --socket names another place)",
                         socket_path);
    }
    *out = calloc(1, sizeof **out);
    if (!*out)
        return err_set(e, E_NOMEM, "out of memory");
    (*out)->fd = take_fd(&fd);
    (*out)->next_id = 1;
    (*out)->patience_ms = -1;
    (*out)->attached = -1;
    return E_OK;
}

void admin_set_patience(struct admin_client *c, int seconds)
{
    c->patience_ms = seconds < 0 ? -1 : seconds * 1000;
}

void admin_attach(struct admin_client *c, int fd)
{
    c->attached = fd;
}

void admin_close(struct admin_client *c)
{
    if (!c)
        return;
    close(c->fd);
    free(c);
}

static enum err_code parse_json(struct bytes text, json_t **out, struct err *e)
{
    json_error_t je;

    *out = json_loadb((const char *)text.p, text.len, JSON_REJECT_DUPLICATES, &je);
    if (!*out)
        return err_set(e, E_INTERNAL, "the service sent broken JSON: %s", je.text);
    return E_OK;
}

static enum err_code send_request(struct admin_client *c, uint64_t id, const char *op, const json_t *args, struct err *e)
{
    AUTO_MSG m;
    AUTO(char) *text = args ? json_dumps(args, JSON_COMPACT | JSON_SORT_KEYS) : strdup("{}");

    msg_begin(&m, ADMIN_REQUEST, id);
    if (!text)
        return err_set(e, E_NOMEM, "out of memory");
    if (strlen(text) > ADMIN_ARGS_MAX)
        return err_set(e, E_INVALID, "%s: the request is %zu octets, at most %d", op, strlen(text), ADMIN_ARGS_MAX);
    msg_put_str(&m, op);
    msg_put_bytes(&m, bytes_str(text));
    return msg_send(c->fd, &m, c->attached, e);
}

/* Reads one ADMIN_DONE: its code becomes ours. */
static enum err_code read_done(struct msg_reader *r, json_t **result, struct err *e)
{
    struct err answer = {0};
    enum err_code code = msg_get_err(r, &answer);
    struct bytes text = msg_get_bytes(r, MSG_MAX_LEN);

    if (msg_read_end(r, e) != E_OK)
        return err_wrap(e, "answer of the service");
    if (code != E_OK)
        return err_set(e, code, "%s", answer.msg);
    if (text.len == 0) {
        *result = json_object();
        return *result ? E_OK : err_set(e, E_NOMEM, "out of memory");
    }
    return parse_json(text, result, e);
}

static enum err_code read_rows(struct msg_reader *r, admin_rows_fn rows, void *arg, struct err *e)
{
    struct bytes text = msg_get_bytes(r, MSG_MAX_LEN);
    json_t *page = NULL;
    bool more = true;

    if (msg_read_end(r, e) != E_OK)
        return err_wrap(e, "rows of the service");
    if (parse_json(text, &page, e) != E_OK)
        return e->code;
    if (rows)
        more = rows(arg, page);
    json_decref(page);
    return more ? E_OK : err_set(e, E_IO, "the output could not be written");
}

/* Under 0 the service refuses whoever connected, before it reads a request. */
static bool is_refusal(const struct msg_reader *r)
{
    return r->request_id == 0 && r->type == ADMIN_DONE;
}

static enum err_code read_refusal(struct msg_reader *r, struct err *e)
{
    json_t *none = NULL;
    enum err_code code = read_done(r, &none, e);

    json_decref(none);
    return code == E_OK ? err_set(e, E_INTERNAL, "the service answered what was not asked") : code;
}

/* A request that could not be sent: the service may have said why before it closed the connection. */
static enum err_code refused(struct admin_client *c, const char *op, struct err *e)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    AUTO_FD int passed = -1;
    struct err none = {0};
    struct msg_reader r;

    if (msg_recv(c->fd, &packet, &passed, 0, &none) == E_OK && msg_read_begin(buf_bytes(&packet), &r, &none) == E_OK &&
        is_refusal(&r))
        return read_refusal(&r, e);
    return err_wrap(e, "%s", op);
}

static enum err_code receive(struct admin_client *c, uint64_t id, const char *op, admin_rows_fn rows, admin_progress_fn progress, void *arg,
                             json_t **result, int *fd, struct err *e)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    struct msg_reader r;

    *result = NULL;
    if (fd)
        *fd = -1;
    for (;;) {
        AUTO_FD int passed = -1;

        buf_reset(&packet);
        if (msg_recv(c->fd, &packet, &passed, c->patience_ms, e) != E_OK || msg_read_begin(buf_bytes(&packet), &r, e) != E_OK)
            return err_wrap(e, "%s: no answer of the service", op);
        if (is_refusal(&r))
            return read_refusal(&r, e);
        if (r.request_id != id)
            return err_set(e, E_INTERNAL, "%s: the service answered another request", op);
        switch (r.type) {
        case ADMIN_ROWS:
            if (read_rows(&r, rows, arg, e) != E_OK)
                return e->code;
            break;
        case ADMIN_PROGRESS: {
            uint64_t done = msg_get_u64(&r), total = msg_get_u64(&r);
            char what[128];

            msg_get_str(&r, what, sizeof what);
            if (msg_read_end(&r, e) != E_OK)
                return err_wrap(e, "%s: progress", op);
            if (progress)
                progress(arg, done, total, what);
            break;
        }
        case ADMIN_DONE:
            if (read_done(&r, result, e) != E_OK)
                return e->code;
            if (fd)
                *fd = take_fd(&passed);
            return E_OK;
        default:
            return err_set(e, E_INTERNAL, "%s: unknown message type 0x%x from the service", op, r.type);
        }
    }
}

enum err_code admin_call(struct admin_client *c, const char *op, const json_t *args, admin_rows_fn rows,
                         admin_progress_fn progress, void *arg, json_t **result, int *fd, struct err *e)
{
    uint64_t id = c->next_id++;
    enum err_code code = send_request(c, id, op, args, e);

    c->attached = -1;
    return code == E_OK ? receive(c, id, op, rows, progress, arg, result, fd, e) : refused(c, op, e);
}

enum err_code admin_call_signed(struct admin_client *c, const char *op, struct bytes jws, admin_rows_fn rows, admin_progress_fn progress,
                                void *arg, json_t **result, int *fd, struct err *e)
{
    uint64_t id = c->next_id++;
    AUTO_MSG m;
    enum err_code code;

    msg_begin(&m, ADMIN_SIGNED, id);
    msg_put_bytes(&m, jws);
    code = msg_send(c->fd, &m, c->attached, e);
    c->attached = -1;
    return code == E_OK ? receive(c, id, op, rows, progress, arg, result, fd, e) : refused(c, op, e);
}

enum err_code admin_node(struct admin_client *c, char *out, size_t size, struct err *e)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    AUTO_FD int passed = -1;
    uint64_t id = c->next_id++;
    struct msg_reader r;
    AUTO_MSG m;

    msg_begin(&m, ADMIN_NODE, id);
    if (msg_send(c->fd, &m, -1, e) != E_OK)
        return refused(c, "node", e);
    if (msg_recv(c->fd, &packet, &passed, c->patience_ms, e) != E_OK || msg_read_begin(buf_bytes(&packet), &r, e) != E_OK)
        return err_wrap(e, "no answer of the service");
    if (is_refusal(&r))
        return read_refusal(&r, e);
    if (r.type != ADMIN_NODE || r.request_id != id)
        return err_set(e, E_INTERNAL, "the service does not say which one it is");
    msg_get_str(&r, out, size);
    return msg_read_end(&r, e);
}
