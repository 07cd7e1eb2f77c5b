/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PINs: where they come from, the journal of attempts, login, and the lock of a token. Private to hsm/.
 *
 * Files below DIR_STATE/pin (0700, the signer's user):
 *   key              HMAC key of the journal, 32 octets, made once, 0600
 *   TOKEN.attempt    one line: "1 <HMAC-SHA256 of serial and PIN> tried <n>" or "... refused 0"
 *   TOKEN.so.attempt the same for the SO PIN
 *   TOKEN.lock       held with flock by whoever uses the token
 *
 * An attempt is on disk before C_Login is called and removed after success. A PIN the token refused is never tried
 * again, by no process, until the source yields another one or the journal is cleared (`inkan token unblock`). An
 * attempt that got no answer (the process died inside C_Login) may be repeated once, then it is blocked too.
 */
#ifndef INKAN_HSM_PIN_H
#define INKAN_HSM_PIN_H

#include "base/conf.h"
#include "hsm/p11.h"

#define PIN_MAX 255

enum pin_role { PIN_USER, PIN_SO };

/* One PIN in a page of its own: locked in memory, not dumped, wiped when cleared. NUL-terminated. */
struct pin {
    char *text;
    size_t len;
};
/* From "file:PATH", or PROC_PIN_FD for "credential:NAME", "fd:N" and "prompt"; one trailing newline is cut. E_NOT_FOUND: no source configured or no such file. */
MUST_CHECK enum err_code pin_read(const char *source, struct pin *out, struct err *e);
void pin_clear(struct pin *p);
/* Makes the file of a "file:" source with a random PIN of 32 characters, mode 0400, when it is missing. */
MUST_CHECK enum err_code pin_make_missing(const char *source, bool *made, struct err *e);

enum pin_outcome {
    PIN_ACCEPTED,
    PIN_REFUSED,
    PIN_NOT_TESTED, /* the token said something that shows the PIN was not looked at */
    PIN_NO_ANSWER,  /* anything else: counts as an attempt without an answer */
};
enum pin_outcome pin_outcome(CK_RV rv);

struct pin_attempt {
    char path[4096];
    char mac[65];
    unsigned before; /* attempts without an answer before this one */
};
/* Writes the attempt down. E_DENIED: this PIN must not be tried. */
MUST_CHECK enum err_code pin_attempt_begin(const char *dir_state, const char *token, enum pin_role role,
                                           const char *serial, const struct pin *pin, struct pin_attempt *a,
                                           struct err *e);
MUST_CHECK enum err_code pin_attempt_end(const struct pin_attempt *a, enum pin_outcome outcome, struct err *e);
MUST_CHECK enum err_code pin_unblock(const char *dir_state, const char *token, struct err *e);
const char *pin_journal_state(const char *dir_state, const char *token); /* "ok", "refused", "unanswered", "unreadable" */

/*
 * Logs the user in on `session`, by all the rules above; "already logged in" is success. The PIN is read for this call
 * and wiped.
 *
 * E_DENIED  blocked: refused, locked, expired, the final try, or no second repeat; native = CK_RV where there is one
 * E_TOKEN   the token failed
 * others    the PIN could not be read or the journal not written: C_Login was not called
 */
MUST_CHECK enum err_code pin_login(struct p11_token *t, CK_SESSION_HANDLE session, const struct conf_token *conf,
                                   const char *dir_state, struct err *e);

/* One process per token. E_BUSY after `wait_ms`. */
MUST_CHECK enum err_code token_lock(const char *dir_state, const char *token, int wait_ms, int *fd, struct err *e);

#endif
