/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>

#include "base/auto.h"
#include "base/text.h"

/* More reasons than this say nothing new; the queue is drained all the same. */
#define OPENSSL_REASONS_MAX 3

/* What was quoted from outside, or cut in the middle of a character, still goes into JSON. */
static void make_utf8(char *text)
{
    for (uint8_t *s = (uint8_t *)text, *end = s + strlen(text); s < end;) {
        size_t n = text_char_len(s, (size_t)(end - s));

        if (n == 0)
            *s = '?';
        s += n ? n : 1;
    }
}

static void set_va(struct err *e, enum err_code code, const char *fmt, va_list ap) PRINTF_LIKE(3, 0);
static void set_va(struct err *e, enum err_code code, const char *fmt, va_list ap)
{
    e->code = code;
    e->native = 0;
    vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
    make_utf8(e->msg);
}

static void append(struct err *e, const char *text)
{
    size_t len = strlen(e->msg);

    snprintf(e->msg + len, sizeof(e->msg) - len, "%s", text);
}

enum err_code (err_set)(struct err *e, enum err_code code, const char *fmt, ...)
{
    va_list ap;

    if (!e)
        return code;
    va_start(ap, fmt);
    set_va(e, code, fmt, ap);
    va_end(ap);
    return code;
}

enum err_code (err_wrap)(struct err *e, const char *fmt, ...)
{
    char old[sizeof(e->msg)];
    va_list ap;
    int n;

    if (!e)
        return E_INTERNAL;
    memcpy(old, e->msg, sizeof(old));
    old[sizeof(old) - 1] = '\0';
    va_start(ap, fmt);
    n = vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(e->msg)) {
        append(e, ": ");
        append(e, old);
    }
    make_utf8(e->msg);
    return e->code;
}

enum err_code (err_errno)(struct err *e, enum err_code code, const char *fmt, ...)
{
    int saved = errno;
    char text[128];
    va_list ap;

    if (!e)
        return code;
    va_start(ap, fmt);
    set_va(e, code, fmt, ap);
    va_end(ap);
    append(e, ": ");
    append(e, strerror_r(saved, text, sizeof(text)));
    e->native = (unsigned long)saved;
    errno = saved;
    return code;
}

enum err_code (err_openssl)(struct err *e, enum err_code code, const char *call)
{
    unsigned long found, first = 0;
    int reasons = 0;

    err_set(e, code, "%s", call);
    while ((found = ERR_get_error()) != 0) {
        char unknown[32];
        const char *reason = ERR_reason_error_string(found);

        if (first == 0)
            first = found;
        if (ERR_GET_REASON(found) == ERR_R_MALLOC_FAILURE)
            code = E_NOMEM;
        if (!e || reasons++ >= OPENSSL_REASONS_MAX)
            continue;
        if (!reason) {
            snprintf(unknown, sizeof(unknown), "error %08lx", found);
            reason = unknown;
        }
        append(e, reasons == 1 ? ": " : ", ");
        append(e, reason);
    }
    if (e) {
        e->code = code;
        e->native = first;
    }
    return code;
}

const char *err_code_name(enum err_code code)
{
    static const char *const names[ERR_CODES_COUNT] = {
        [E_OK] = "ok",
        [E_INVALID] = "invalid",
        [E_UNAUTHENTICATED] = "unauthenticated",
        [E_DENIED] = "denied",
        [E_NOT_FOUND] = "not-found",
        [E_CONFLICT] = "conflict",
        [E_PENDING] = "pending",
        [E_BUSY] = "busy",
        [E_TOKEN] = "token",
        [E_STORE] = "store",
        [E_IO] = "io",
        [E_NOMEM] = "nomem",
        [E_CRYPTO] = "crypto",
        [E_INTERNAL] = "internal",
    };

    return (unsigned)code < ERR_CODES_COUNT ? names[code] : "unknown";
}
