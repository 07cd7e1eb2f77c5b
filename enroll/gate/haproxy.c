/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HAProxy by its administration socket: the serials that are refused are an ACL, changed while it runs (management guide, "add
 * acl", "prepare acl", "commit acl"). The file of that ACL is written first, so that a HAProxy that starts in between has them.
 *
 * The ACL is looked at when a request begins. What goes on after that (a WebSocket, a TCP connection, a long answer) is found by a
 * stick table in which HAProxy notes SERIAL,ADDRESS:PORT of each ("show table"), and shut ("show sess", "shutdown session").
 */
#include <errno.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "enroll/gate/gate.h"

#define TIMEOUT_S    10
#define FILE_MAX     ((size_t)512 * 1024 * 1024)
#define SCRIPT_MAX   12000 /* octets of commands at once: HAProxy takes what fits its buffer of 16 KiB */
#define ANSWER_MAX   (64 * 1024) /* a line for each command of a script */
#define NOT_THERE    "Key not found."
#define NO_SESSION   "No such session"
#define OPEN_MAX     ((size_t)256 * 1024 * 1024) /* octets of "show table" and "show sess": 300 octets for an open connection */

/* ---- a set of serials ---- */

struct refused {
    void *root;
    size_t n;
    bool lacks; /* out of memory: one or more are missing */
};

struct member {
    uint8_t len, serial[SERIAL_MAX_LEN];
};

static int member_cmp(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct member));
}

static struct member member_of(struct bytes serial)
{
    struct member m = {.len = (uint8_t)serial.len};

    memcpy(m.serial, serial.p, serial.len);
    return m;
}

struct refused *refused_new(void)
{
    return calloc(1, sizeof(struct refused));
}

void refused_free(struct refused *r)
{
    if (r)
        tdestroy(r->root, free);
    free(r);
}

bool refused_add(struct refused *r, struct bytes serial)
{
    struct member m = serial.len <= SERIAL_MAX_LEN ? member_of(serial) : (struct member){0};
    struct member *copy, **at;

    if (serial.len == 0 || serial.len > SERIAL_MAX_LEN || tfind(&m, &r->root, member_cmp))
        return false;
    copy = malloc(sizeof(*copy));
    if (copy)
        *copy = m;
    at = copy ? tsearch(copy, &r->root, member_cmp) : NULL;
    if (!at) {
        free(copy);
        r->lacks = true;
        return false;
    }
    r->n++;
    return true;
}

bool refused_del(struct refused *r, struct bytes serial)
{
    struct member m = serial.len <= SERIAL_MAX_LEN ? member_of(serial) : (struct member){0};
    struct member **at = serial.len && serial.len <= SERIAL_MAX_LEN ? tfind(&m, &r->root, member_cmp) : NULL;
    struct member *gone = at ? *at : NULL;

    if (!gone)
        return false;
    tdelete(&m, &r->root, member_cmp);
    free(gone);
    r->n--;
    return true;
}

size_t refused_count(const struct refused *r)
{
    return r->n;
}

/* As HAProxy's converter "hex" writes it: so the ACL needs no -i, with which it would be searched line by line. */
static void serial_write(struct buf *out, const uint8_t *serial, size_t len)
{
    for (size_t i = 0; i < len; i++)
        buf_printf(out, "%02X", serial[i]);
}

static void member_line(const void *node, VISIT which, void *arg)
{
    const struct member *m = *(struct member *const *)node;

    if (which != postorder && which != leaf)
        return;
    serial_write(arg, m->serial, m->len);
    buf_add_u8(arg, '\n');
}

/* ---- the socket ---- */

/* One command and its answer, which must be empty or a line that says nothing of a failure. */
static enum err_code command(const char *socket_path, struct bytes text, struct buf *answer, struct err *e)
{
    AUTO_FD int fd = -1;
    uint8_t chunk[1024];
    ssize_t n;

    if (unix_connect(socket_path, TIMEOUT_S, &fd, e) != E_OK)
        return e->code;
    while (text.len) {
        n = send(fd, text.p, text.len, MSG_NOSIGNAL);
        if (n <= 0)
            return err_errno(e, E_IO, "%s: send", socket_path);
        text = BYTES(text.p + n, text.len - (size_t)n);
    }
    shutdown(fd, SHUT_WR);
    while ((n = recv(fd, chunk, sizeof(chunk), 0)) > 0)
        buf_add(answer, chunk, (size_t)n);
    if (n < 0)
        return err_errno(e, E_IO, "%s: recv", socket_path);
    buf_add_u8(answer, 0);
    return buf_ok(answer) ? E_OK : buf_err(answer, e, "%s: answer", socket_path);
}

static const char *text_of(const struct buf *answer)
{
    return answer->p ? (const char *)answer->p : "";
}

static enum err_code quiet_command(const char *socket_path, struct bytes text, struct err *e)
{
    AUTO_BUF answer = BUF_INIT(ANSWER_MAX);
    const char *s;

    if (command(socket_path, text, &answer, e) != E_OK)
        return e->code;
    /* A line for each command that has something to say. A serial or session that is not there any more is what we wanted. */
    for (s = text_of(&answer) + strspn(text_of(&answer), "\r\n "); *s; s += strspn(s, "\r\n ")) {
        int n = (int)strcspn(s, "\r\n");

        if (strncmp(s, NOT_THERE, strlen(NOT_THERE)) != 0 && strncmp(s, NO_SESSION, strlen(NO_SESSION)) != 0)
            return err_set(e, E_IO, "HAProxy: %.*s", n, s);
        s += n;
    }
    return E_OK;
}

/* ---- the list ---- */

/* Commands in pieces that fit HAProxy's buffer. */
struct script {
    const struct gate_driver *d;
    struct buf text;
    enum err_code code;
    struct err *e;
};

static void script_flush(struct script *s)
{
    if (s->text.len == 0 || s->code != E_OK)
        return;
    buf_add_u8(&s->text, '\n');
    s->code = buf_ok(&s->text) ? quiet_command(s->d->socket, buf_bytes(&s->text), s->e) : buf_err(&s->text, s->e, "ACL");
    buf_reset(&s->text);
}

static void script_next(struct script *s)
{
    if (s->text.len > SCRIPT_MAX - PATH_MAX)
        script_flush(s);
    buf_add_str(&s->text, s->text.len ? ";" : "");
}

static void script_add(struct script *s, const char *verb, const char *version, const uint8_t *serial, size_t len)
{
    script_next(s);
    buf_printf(&s->text, "%s acl %s%s ", verb, version, s->d->acl);
    serial_write(&s->text, serial, len);
}

static enum err_code change_some(const struct gate_driver *d, const struct acl_change *changes, size_t n, struct err *e)
{
    struct script s = {.d = d, .text = BUF_INIT(2 * SCRIPT_MAX), .e = e};

    for (size_t i = 0; i < n && s.code == E_OK; i++)
        script_add(&s, changes[i].added ? "add" : "del", "", changes[i].serial, changes[i].serial_len);
    script_flush(&s);
    buf_clear(&s.text);
    return s.code;
}

static enum err_code version_begin(const struct gate_driver *d, unsigned *version, struct err *e)
{
    AUTO_BUF text = BUF_INIT(8192), answer = BUF_INIT(ANSWER_MAX);
    const char *at;

    buf_printf(&text, "prepare acl %s\n", d->acl);
    if (command(d->socket, buf_bytes(&text), &answer, e) != E_OK)
        return e->code;
    at = strstr(text_of(&answer), "created: ");
    if (!at || sscanf(at, "created: %u", version) != 1)
        return err_set(e, E_IO, "HAProxy does not know the ACL %s: %.80s", d->acl, text_of(&answer));
    return E_OK;
}

struct addition {
    struct script script;
    char version[16];
};

static void member_add(const void *node, VISIT which, void *arg)
{
    const struct member *m = *(struct member *const *)node;
    struct addition *a = arg;

    if ((which == postorder || which == leaf) && a->script.code == E_OK)
        script_add(&a->script, "add", a->version, m->serial, m->len);
}

/* A new version beside the one in use takes its place when it is whole: nobody is admitted meanwhile who was refused. */
static enum err_code replace_all(const struct gate_driver *d, const struct refused *set, struct err *e)
{
    struct addition a = {.script = {.d = d, .text = BUF_INIT(2 * SCRIPT_MAX), .e = e}};
    AUTO_BUF commit = BUF_INIT(SCRIPT_MAX);
    unsigned version = 0;

    if (version_begin(d, &version, e) != E_OK)
        return e->code;
    snprintf(a.version, sizeof(a.version), "@%u ", version);
    twalk_r(set->root, member_add, &a);
    script_flush(&a.script);
    buf_clear(&a.script.text);
    if (a.script.code != E_OK)
        return a.script.code;
    buf_printf(&commit, "commit acl @%u %s\n", version, d->acl);
    return quiet_command(d->socket, buf_bytes(&commit), e);
}

unsigned long haproxy_process(const struct gate_driver *d)
{
    AUTO_BUF answer = BUF_INIT(ANSWER_MAX);
    unsigned long pid = 0;
    const char *at;
    struct err e;

    if (command(d->socket, bytes_str("show info\n"), &answer, &e) != E_OK)
        return 0;
    at = strstr(text_of(&answer), "\nPid: ");
    return at && sscanf(at, "\nPid: %lu", &pid) == 1 ? pid : 0;
}

/* ---- open connections ---- */

/* What stands in a line behind `before`, up to `end` or to the end of the line; {NULL, 0}: `before` does not. */
static struct bytes field_of(struct bytes line, const char *before, char end)
{
    const uint8_t *at = line.len ? memmem(line.p, line.len, before, strlen(before)) : NULL, *stop;
    size_t len;

    if (!at)
        return (struct bytes){NULL, 0};
    at += strlen(before);
    len = (size_t)(line.p + line.len - at);
    stop = memchr(at, end, len);
    return BYTES(at, stop ? (size_t)(stop - at) : len);
}

static bool line_take(struct bytes *text, struct bytes *line)
{
    const uint8_t *lf;

    if (text->len == 0)
        return false;
    lf = memchr(text->p, '\n', text->len);
    *line = BYTES(text->p, lf ? (size_t)(lf - text->p) : text->len);
    *text = BYTES(text->p + line->len, text->len - line->len);
    if (lf)
        *text = BYTES(text->p + 1, text->len - 1);
    return true;
}

static bool is_refused(const struct refused *set, struct bytes hex)
{
    struct member m = {0};
    size_t len;

    if (!hex_decode((const char *)hex.p, hex.len, m.serial, sizeof(m.serial), &len))
        return false;
    m.len = (uint8_t)len;
    return tfind(&m, &set->root, member_cmp) != NULL;
}

static int source_cmp(const void *a, const void *b)
{
    return bytes_cmp(*(const struct bytes *)a, *(const struct bytes *)b);
}

/* Where the refused are connected from, as the table tells: "0x55...: key=SERIAL,ADDRESS:PORT use=1 exp=..." */
static enum err_code sources_find(const struct refused *set, const char *table, const struct buf *answer, struct bytes **out, size_t *n,
                                  struct err *e)
{
    struct bytes text = buf_bytes(answer), line;

    if (strncmp(text_of(answer), "# table:", 8) != 0)
        return err_set(e, E_IO, "HAProxy does not know the stick table %s: %.80s", table, text_of(answer));
    while (line_take(&text, &line)) {
        struct bytes key = field_of(line, " key=", ' '), serial = field_of(key, "", ',');
        struct bytes *more;

        if (serial.len == key.len || !is_refused(set, serial))
            continue;
        more = realloc(*out, (*n + 1) * sizeof(*more));
        if (!more)
            return err_set(e, E_NOMEM, "%s", table);
        *out = more;
        more[(*n)++] = BYTES(key.p + serial.len + 1, key.len - serial.len - 1);
    }
    if (*n)
        qsort(*out, *n, sizeof(**out), source_cmp);
    return E_OK;
}

/* "0x55...: proto=tcpv4 src=ADDRESS:PORT fe=..." */
static enum err_code shut_those_from(const struct gate_driver *d, const struct buf *answer, const struct bytes *from, size_t n, struct err *e)
{
    struct script s = {.d = d, .text = BUF_INIT(2 * SCRIPT_MAX), .e = e};
    struct bytes text = buf_bytes(answer), line;

    while (line_take(&text, &line)) {
        struct bytes id = field_of(line, "", ':'), source = field_of(line, " src=", ' ');

        if (!source.len || !bsearch(&source, from, n, sizeof(*from), source_cmp))
            continue;
        script_next(&s);
        buf_add_str(&s.text, "shutdown session ");
        buf_add_bytes(&s.text, id);
    }
    script_flush(&s);
    buf_clear(&s.text);
    return s.code;
}

/* The table is asked after the ACL has changed: whoever is not in it yet meets the ACL. */
static enum err_code shut_open(const struct gate_driver *d, const struct refused *set, struct err *e)
{
    AUTO_BUF ask = BUF_INIT(SCRIPT_MAX), table = BUF_INIT(OPEN_MAX), sessions = BUF_INIT(OPEN_MAX);
    struct bytes *from = NULL;
    enum err_code code;
    size_t n = 0;

    buf_printf(&ask, "show table %s\n", d->table);
    code = command(d->socket, buf_bytes(&ask), &table, e);
    if (code == E_OK)
        code = sources_find(set, d->table, &table, &from, &n, e);
    if (code == E_OK && n)
        code = command(d->socket, bytes_str("show sess\n"), &sessions, e);
    if (code == E_OK && n)
        code = shut_those_from(d, &sessions, from, n, e);
    free(from);
    return code;
}

enum err_code haproxy_apply(const struct gate_driver *d, const struct refused *set, const struct acl_change *changes, size_t n,
                            struct err *e)
{
    AUTO_BUF list = BUF_INIT(FILE_MAX);

    if (set->lacks)
        return err_set(e, E_NOMEM, "%s: the list would lack some", d->acl);
    twalk_r(set->root, member_line, &list);
    if (!buf_ok(&list))
        return buf_err(&list, e, "%s", d->acl);
    if (file_write_atomic(d->acl, buf_bytes(&list), 0644, e) != E_OK)
        return e->code;
    if ((n ? change_some(d, changes, n, e) : replace_all(d, set, e)) != E_OK)
        return e->code;
    return d->table[0] ? shut_open(d, set, e) : E_OK;
}
