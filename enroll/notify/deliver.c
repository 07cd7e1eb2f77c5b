/* SPDX-License-Identifier: Apache-2.0 */
/* What one delivery is, by where it goes. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "ca/service.h"
#include "enroll/notify/notify.h"

#define SECRET_MAX   4096
#define SECRET_MIN   16
#define DATAGRAM_MAX 60000

enum way { WAY_WEBHOOK, WAY_SYSLOG, WAY_FILE };

struct target {
    const struct conf_notify *conf;
    enum way way;
    struct https *https;
    struct https_options options;
    int fd; /* of syslog; -1: not connected */
    char ledger[LEDGER_ID_LEN + 1], host[65];
};

struct target *target_new(const struct conf_notify *conf, const char *ledger, bool (*stop)(void *arg), void *arg)
{
    struct target *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    t->conf = conf;
    t->fd = -1;
    snprintf(t->ledger, sizeof(t->ledger), "%s", ledger);
    if (gethostname(t->host, sizeof(t->host) - 1) != 0 || t->host[0] == '\0')
        snprintf(t->host, sizeof(t->host), "-");
    t->way = strncmp(conf->to, "https://", 8) == 0 ? WAY_WEBHOOK : strncmp(conf->to, "file:", 5) == 0 ? WAY_FILE : WAY_SYSLOG;
    if (t->way != WAY_WEBHOOK)
        return t;
    t->options = (struct https_options){.ca = conf->ca, .stop = stop, .stop_arg = arg};
    t->https = https_new(&t->options);
    if (t->https)
        return t;
    free(t);
    return NULL;
}

void target_free(struct target *t)
{
    if (!t)
        return;
    https_free(t->https);
    if (t->fd >= 0)
        close(t->fd);
    free(t);
}

uint32_t target_limit(const struct target *t, enum notify_stream s)
{
    return t->way == WAY_WEBHOOK && s == NOTIFY_ALARMS ? 1 : NOTIFY_PAGE; /* somebody is woken by each */
}

/* The next line of `rest` without its end. */
static bool next_line(struct bytes *rest, struct bytes *line)
{
    const uint8_t *end = rest->len ? memchr(rest->p, '\n', rest->len) : NULL;

    if (!end)
        return false;
    *line = BYTES(rest->p, (size_t)(end - rest->p));
    *rest = BYTES(end + 1, rest->len - line->len - 1);
    return true;
}

/* ---- webhooks ---- */

enum err_code notify_sign(struct bytes secret, int64_t timestamp, struct bytes body, char out[65], struct err *e)
{
    AUTO_BUF text = BUF_INIT(body.len + 32);
    uint8_t mac[32];
    unsigned n = 0;

    buf_printf(&text, "%" PRId64 ".", timestamp);
    buf_add_bytes(&text, body);
    if (!buf_ok(&text))
        return err_set(e, E_NOMEM, "signature");
    if (!HMAC(EVP_sha256(), secret.p, (int)secret.len, text.p, text.len, mac, &n) || n != sizeof(mac))
        return err_openssl(e, E_CRYPTO, "HMAC");
    hex_encode(mac, sizeof(mac), out);
    return E_OK;
}

static void body_write(const struct target *t, const struct batch *b, struct buf *out)
{
    struct bytes rest = b->lines, line;
    const char *before = "";

    buf_printf(out, "{\"ledger\":\"%s\",\"stream\":\"%s\",\"rows\":[", t->ledger, notify_stream_name(b->stream));
    while (next_line(&rest, &line)) {
        buf_add_str(out, before);
        buf_add_bytes(out, line);
        before = ",";
    }
    buf_add_str(out, "]}\n");
}

static enum err_code sign_file(const struct target *t, int64_t now, struct bytes body, char out[65], struct err *e)
{
    struct secret secret = {NULL, 0};
    enum err_code code = file_read_secret(t->conf->secret, SECRET_MAX, &secret, e);
    size_t n = secret.len;

    while (n > 0 && (secret.p[n - 1] == '\n' || secret.p[n - 1] == '\r')) /* an editor's */
        n--;
    if (code == E_OK && n < SECRET_MIN)
        code = err_set(e, E_INVALID, "%s: at least %d octets", t->conf->secret, SECRET_MIN);
    if (code == E_OK)
        code = notify_sign(BYTES(secret.p, n), now, body, out, e);
    secret_clear(&secret);
    return code;
}

/* What an answer says of these rows, if it is not 2xx. */
static enum err_code refusal(long status)
{
    switch (status) {
    case 400:
    case 409:
    case 413:
    case 415:
    case 422:
        return E_INVALID;
    case 408:
    case 425:
    case 429:
        return E_IO;
    default:
        return status >= 400 && status <= 499 ? E_DENIED : E_IO;
    }
}

static enum err_code post(struct target *t, const struct batch *b, int64_t now, struct err *e)
{
    AUTO_BUF body = BUF_INIT(2 * NOTIFY_PAGE_MAX);
    char mac[65], signature[96], timestamp[64], delivery[192];
    const char *const headers[] = {signature, timestamp, delivery, NULL};
    struct https_request q = {.url = t->conf->to, .content_type = "application/json", .headers = headers};
    struct https_answer a = {0};
    enum err_code code = E_OK;

    body_write(t, b, &body);
    if (!buf_ok(&body))
        return err_set(e, E_NOMEM, "a delivery");
    if (sign_file(t, now, buf_bytes(&body), mac, e) != E_OK)
        return e->code = E_IO; /* ours to mend, not refused */
    snprintf(signature, sizeof(signature), "Inkan-Signature: v1=%s", mac);
    snprintf(timestamp, sizeof(timestamp), "Inkan-Timestamp: %" PRId64, now);
    /* The same for every try: who gets it twice knows it by this. */
    snprintf(delivery, sizeof(delivery), "Inkan-Delivery: %s-%s-%" PRIu64 "-%" PRIu64, t->conf->name, notify_stream_name(b->stream), b->first, b->last);
    q.body = (const char *)body.p;
    q.body_len = body.len;
    if (!https_call(t->https, &q, &a))
        code = err_set(e, E_IO, "%s", a.error);
    else if (a.status < 200 || a.status > 299)
        code = err_set(e, refusal(a.status), "status %ld", a.status);
    https_answer_clear(&a);
    return code;
}

/* ---- syslog ---- */

static enum err_code send_lines(struct target *t, const struct batch *b, int64_t now, struct err *e)
{
    bool local = strncmp(t->conf->to, "unix:", 5) == 0, stream = strncmp(t->conf->to, "tcp:", 4) == 0;
    struct bytes rest = b->lines, line;
    char peek;

    if (t->fd >= 0 && stream && recv(t->fd, &peek, 1, MSG_DONTWAIT | MSG_PEEK) == 0)
        close(take_fd(&t->fd)); /* it has closed: what we would send now would be lost without a word */
    if (t->fd < 0 && (t->fd = syslog_connect(t->conf->to, e)) < 0)
        return e->code;
    while (next_line(&rest, &line)) {
        AUTO_BUF text = BUF_INIT(line.len + 512);

        if (!stream && line.len > DATAGRAM_MAX)
            line.len = DATAGRAM_MAX; /* a datagram holds no more; the trail has the whole of it */
        syslog_line(&text, local, b->stream, now, t->host, line);
        if (!buf_ok(&text))
            return err_set(e, E_NOMEM, "syslog");
        if (syslog_send(t->fd, stream, buf_bytes(&text), e) != E_OK) {
            close(take_fd(&t->fd));
            return e->code;
        }
    }
    return E_OK;
}

/* ---- files ---- */

/* The text of member "line" of a head: it holds no escapes. */
static struct bytes head_line(struct bytes json)
{
    static const char key[] = "\"line\":\"";
    const uint8_t *at = memmem(json.p, json.len, key, sizeof(key) - 1);
    const uint8_t *end = at ? memchr(at + sizeof(key) - 1, '"', (size_t)(json.p + json.len - at) - sizeof(key) + 1) : NULL;

    return end ? BYTES(at + sizeof(key) - 1, (size_t)(end - at) - sizeof(key) + 1) : json;
}

static bool ends_inside_a_line(int fd)
{
    char last = '\n';
    off_t size = lseek(fd, 0, SEEK_END);

    return size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

/* Heads as `inkan audit verify --heads` reads them, the others as JSON lines. */
static enum err_code append(const struct target *t, const struct batch *b, struct err *e)
{
    const char *path = t->conf->to + 5;
    AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
    AUTO_BUF text = BUF_INIT(2 * NOTIFY_PAGE_MAX);
    struct bytes rest = b->lines, line;
    ssize_t n;

    if (fd < 0)
        return err_errno(e, E_IO, "%s", path);
    if (ends_inside_a_line(fd))
        buf_add_u8(&text, '\n');
    while (next_line(&rest, &line)) {
        buf_add_bytes(&text, b->stream == NOTIFY_HEADS ? head_line(line) : line);
        buf_add_u8(&text, '\n');
    }
    if (!buf_ok(&text))
        return err_set(e, E_NOMEM, "%s", path);
    n = write(fd, text.p, text.len);
    if (n >= 0 && (size_t)n != text.len) {
        n = -1;
        errno = ENOSPC;
    }
    if (n < 0 || fsync(fd) != 0)
        return err_errno(e, E_IO, "append to %s", path);
    return file_sync_name(path, e); /* it may be new */
}

enum err_code target_deliver(struct target *t, const struct batch *b, int64_t now, struct err *e)
{
    switch (t->way) {
    case WAY_WEBHOOK:
        return post(t, b, now, e);
    case WAY_SYSLOG:
        return send_lines(t, b, now, e);
    case WAY_FILE:
    default:
        return append(t, b, e);
    }
}
