/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"

/* Kept free at the end of every line for the mark of a cut line and the newline. */
#define CUT_MARK " cut=yes"
#define ROOM     (sizeof(((struct log_line *)0)->text) - sizeof(CUT_MARK) - 1)

static const char *proc_label = "inkan";
static _Atomic int least_level = LOG_INFO;

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error"};

void log_setup(const char *proc, enum log_level least)
{
    proc_label = proc;
    log_set_level(least);
}

void log_set_level(enum log_level least)
{
    atomic_store(&least_level, (int)least);
}

bool log_wants(enum log_level level)
{
    return (int)level >= atomic_load(&least_level);
}

static void cut(struct log_line *l, size_t back_to)
{
    memcpy(l->text + back_to, CUT_MARK, sizeof(CUT_MARK) - 1);
    l->len = back_to + sizeof(CUT_MARK) - 1;
    l->cut = true;
}

static bool put(struct log_line *l, const char *p, size_t n)
{
    if (n > ROOM - l->len)
        return false;
    memcpy(l->text + l->len, p, n);
    l->len += n;
    return true;
}

static bool is_plain(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("._:/@+-", c) != NULL);
}

static bool put_value(struct log_line *l, struct bytes v)
{
    bool quote = v.len == 0;

    for (size_t i = 0; i < v.len && !quote; i++)
        quote = !is_plain(v.p[i]);
    if (!quote)
        return put(l, (const char *)v.p, v.len);
    if (!put(l, "\"", 1))
        return false;
    for (size_t i = 0; i < v.len; i++) {
        size_t len = text_char_len(v.p + i, v.len - i);
        uint8_t c = v.p[i];
        char text[5];
        int n;

        if (len && !text_is_control(v.p + i, len) && c != '"' && c != '\\') {
            if (!put(l, (const char *)v.p + i, len))
                return false;
            i += len - 1;
            continue;
        }
        n = snprintf(text, sizeof(text), c == '"' || c == '\\' ? "\\%c" : "\\x%02x", c);
        if (!put(l, text, (size_t)n))
            return false;
    }
    return put(l, "\"", 1);
}

static void put_pair(struct log_line *l, const char *key, struct bytes v)
{
    size_t start = l->len;

    if (start == 0 || l->cut)
        return;
    if (!put(l, " ", 1) || !put(l, key, strlen(key)) || !put(l, "=", 1) || !put_value(l, v))
        cut(l, start);
}

void log_begin(struct log_line *l, enum log_level level, const char *event)
{
    char stamp[40];
    struct timespec ts = {0};
    struct tm tm;
    int n;

    l->level = level;
    l->cut = false;
    l->len = 0; /* a dropped line stays empty */
    if (!log_wants(level))
        return;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (!gmtime_r(&ts.tv_sec, &tm) || strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        snprintf(stamp, sizeof(stamp), "0000-00-00T00:00:00");
    n = snprintf(l->text, ROOM, "time=%s.%03ldZ level=%s proc=%s event=%s", stamp, ts.tv_nsec / 1000000,
                 level_names[level], proc_label, event);
    l->len = n < 0 ? 0 : (size_t)n < ROOM ? (size_t)n : ROOM - 1;
}

void log_str(struct log_line *l, const char *key, const char *value)
{
    if (value)
        put_pair(l, key, bytes_str(value));
}

void log_bytes(struct log_line *l, const char *key, struct bytes text)
{
    put_pair(l, key, text);
}

void log_hex(struct log_line *l, const char *key, struct bytes octets)
{
    char hex[1025];
    size_t n = octets.len < 512 ? octets.len : 512;

    hex_encode(octets.p, n, hex);
    put_pair(l, key, bytes_str(hex));
}

void log_u64(struct log_line *l, const char *key, uint64_t v)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, v);
    put_pair(l, key, bytes_str(text));
}

void log_rid(struct log_line *l, uint64_t rid)
{
    char text[17];

    if (rid == 0)
        return;
    snprintf(text, sizeof(text), "%llx", (unsigned long long)rid);
    log_str(l, "rid", text);
}

void log_i64(struct log_line *l, const char *key, int64_t v)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRId64, v);
    put_pair(l, key, bytes_str(text));
}

void log_err(struct log_line *l, const struct err *e)
{
    log_str(l, "code", err_code_name(e->code));
    log_str(l, "error", e->msg);
}

void log_end(struct log_line *l)
{
    size_t len = l->len;
    int saved = errno;

    if (len == 0)
        return;
    l->text[len++] = '\n';
    /* A log nobody can take is no reason to stop the service. */
    while (write(STDERR_FILENO, l->text, len) < 0 && errno == EINTR)
        ;
    l->len = 0;
    errno = saved;
}

void log_note(enum log_level level, const char *event, const char *key, const char *value)
{
    struct log_line l;

    log_begin(&l, level, event);
    if (key)
        log_str(&l, key, value);
    log_end(&l);
}

void log_failure(const char *event, const struct err *e)
{
    log_failure_of(event, NULL, NULL, e);
}

void log_failure_of(const char *event, const char *key, const char *value, const struct err *e)
{
    struct log_line l;

    log_begin(&l, LOG_ERROR, event);
    if (key)
        log_str(&l, key, value);
    log_err(&l, e);
    log_end(&l);
}
