/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one error type of the project. The code tells a program what to do; the text tells a person what happened.
 *
 * A struct err lives on the caller's stack: no allocation, no thread-local state. Every function that can fail takes
 * one as its last argument and returns its code. On E_OK the struct is left as it was.
 */
#ifndef INKAN_BASE_ERR_H
#define INKAN_BASE_ERR_H

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))

enum err_code {
    E_OK = 0,
    E_INVALID,         /* the input breaks an RFC or our profile: do not retry   -> 400 */
    E_UNAUTHENTICATED, /* credential missing, wrong or spent                     -> 401 + WWW-Authenticate */
    E_DENIED,          /* known caller, not allowed; unknown device in EST       -> 403 */
    E_NOT_FOUND,       /* administration 404, EST 403 */
    E_CONFLICT,        /* already exists, or changed under us: administration 409, EST 403 */
    E_PENDING,         /* accepted, ask again later                              -> 202 Retry-After */
    E_BUSY,            /* a limit or a queue is full                             -> 429 or 503 Retry-After */
    E_TOKEN,           /* the PKCS#11 token cannot serve now                     -> 503 Retry-After */
    E_STORE,           /* the ledger cannot serve now                            -> 503 Retry-After */
    E_IO,              /* a file or a socket failed                              -> 503 Retry-After */
    E_NOMEM,           /*                                                        -> 503 Retry-After */
    E_CRYPTO,          /* ours, a bug                                            -> 500 */
    E_INTERNAL,        /* ours, a bug                                            -> 500 */
    ERR_CODES_COUNT
};

struct err {
    enum err_code code;
    unsigned long native; /* CK_RV, errno or OpenSSL code; 0 when there is none */
    char msg[512];        /* outermost context first */
};

/* Sets code and message; returns `code`, so that a function can `return err_set(...)`. `e` may be NULL. */
enum err_code err_set(struct err *e, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "<context>: " before the message; returns the code already set. */
enum err_code err_wrap(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* As err_set, and appends strerror of the errno found on entry, which also becomes `native`. */
enum err_code err_errno(struct err *e, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/*
 * Drains this thread's OpenSSL error queue into the message ("<call>: <reason>"). Where an allocation failed the code is
 * E_NOMEM instead: nothing was learnt of the object then.
 */
enum err_code err_openssl(struct err *e, enum err_code code, const char *call);

#if defined(__clang_analyzer__) || defined(INKAN_ANALYZED)
/* A static analyzer sees one file at a time: tell it that these never return E_OK. */
static inline enum err_code err_is_failure(enum err_code code)
{
    if (code == E_OK)
        __builtin_unreachable();
    return code;
}
#define err_set(e, code, ...)   err_is_failure(err_set(e, code, __VA_ARGS__))
#define err_wrap(e, ...)        err_is_failure(err_wrap(e, __VA_ARGS__))
#define err_errno(e, code, ...) err_is_failure(err_errno(e, code, __VA_ARGS__))
#define err_openssl(e, code, call) err_is_failure(err_openssl(e, code, call))
#endif

/* Stable lower-case name for logs and --json: "invalid", "denied", ... */
const char *err_code_name(enum err_code code);

#endif
