/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/pin.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "base/log.h"
#include "base/proc.h"

#define PIN_PAGE     4096
#define JOURNAL_KEY  32
#define JOURNAL_LINE 128

/* ---- source ---- */

/* The path a source stands for. */
static enum err_code source_path(const char *source, char out[4096], struct err *e)
{
    int n = -1;

    if (!source || !source[0])
        return err_set(e, E_NOT_FOUND, "no PIN source is configured");
    if (strncmp(source, "file:", 5) == 0) {
        n = snprintf(out, 4096, "%s", source + 5);
    } else {
        return err_set(e, E_INVALID, "PIN source must be file:PATH, credential:NAME, fd:N or prompt");
    }
    if (n <= 1 || n >= 4096 || out[0] != '/')
        return err_set(e, E_INVALID, "PIN source \"%.200s\": not an absolute path", source);
    return E_OK;
}

static bool pin_page(struct pin *p)
{
    void *page = mmap(NULL, PIN_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return false;
    (void)mlock(page, PIN_PAGE); /* a small RLIMIT_MEMLOCK leaves it swappable; core dumps are off in any case */
    (void)madvise(page, PIN_PAGE, MADV_DONTDUMP);
    p->text = page;
    p->len = 0;
    return true;
}

void pin_clear(struct pin *p)
{
    if (!p->text)
        return;
    OPENSSL_cleanse(p->text, PIN_PAGE);
    (void)munlock(p->text, PIN_PAGE);
    (void)munmap(p->text, PIN_PAGE);
    *p = (struct pin){NULL, 0};
}

/* The supervisor took the PIN at its start and handed it over as a sealed memory file. */
static bool comes_by_descriptor(const char *source)
{
    return source && (strcmp(source, "prompt") == 0 || strncmp(source, "fd:", 3) == 0 || strncmp(source, "credential:", 11) == 0);
}

static enum err_code read_descriptor(struct secret *out, struct err *e)
{
    char text[PIN_MAX + 1];
    ssize_t n = pread(PROC_PIN_FD, text, sizeof(text), 0);
    bool kept;

    if (n < 0)
        return err_errno(e, E_NOT_FOUND, "no PIN was handed over by the supervisor");
    kept = secret_set(out, text, (size_t)n);
    OPENSSL_cleanse(text, sizeof(text));
    return kept ? E_OK : err_set(e, E_NOMEM, "memory for a PIN");
}

enum err_code pin_read(const char *source, struct pin *out, struct err *e)
{
    struct secret s = {NULL, 0};
    char path[4096] = "descriptor";
    enum err_code rc;
    size_t n;

    *out = (struct pin){NULL, 0};
    if (comes_by_descriptor(source)) {
        rc = read_descriptor(&s, e);
    } else {
        rc = source_path(source, path, e);
        if (rc != E_OK)
            return rc;
        rc = file_read_secret(path, PIN_MAX + 1, &s, e);
    }
    if (rc == E_DENIED) { /* the file's mode; E_DENIED is kept for what the token said */
        rc = E_INVALID;
        if (e)
            e->code = rc;
    }
    if (rc != E_OK) {
        err_wrap(e, "PIN");
        return rc;
    }
    n = s.len;
    if (n && s.p[n - 1] == '\n')
        n--;
    if (n == 0 || n > PIN_MAX || memchr(s.p, '\0', n) || memchr(s.p, '\n', n))
        rc = err_set(e, E_INVALID, "PIN in %s: must be one line of 1 to %d octets", path, PIN_MAX);
    else if (!pin_page(out))
        rc = err_set(e, E_NOMEM, "memory for a PIN");
    if (rc == E_OK) {
        memcpy(out->text, s.p, n);
        out->len = n;
    }
    secret_clear(&s);
    return rc;
}

static enum err_code sync_dir_of(const char *path, struct err *e)
{
    char dir[4096], *slash;
    AUTO_FD int fd = -1;

    snprintf(dir, sizeof(dir), "%s", path);
    slash = strrchr(dir, '/');
    if (slash == dir)
        slash++;
    *slash = '\0';
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return err_errno(e, E_IO, "%s", dir);
    return E_OK;
}

/* Creates `path` with this content unless it exists: complete or not at all, also under a race. */
static enum err_code file_create(const char *path, const void *content, size_t len, mode_t mode, bool *made,
                                 struct err *e)
{
    char tmp[4096 + 32];
    AUTO_FD int fd = -1;
    enum err_code rc = E_OK;

    *made = false;
    snprintf(tmp, sizeof(tmp), "%s.tmp-%ld", path, (long)getpid());
    (void)unlink(tmp); /* left by a process of the same number whose power was cut */
    fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return err_errno(e, E_IO, "%s", tmp);
    if (fchmod(fd, mode) != 0 || write(fd, content, len) != (ssize_t)len || fsync(fd) != 0)
        rc = err_errno(e, E_IO, "%s", tmp);
    else if (link(tmp, path) == 0)
        *made = true;
    else if (errno != EEXIST)
        rc = err_errno(e, E_IO, "%s", path);
    (void)unlink(tmp);
    return rc == E_OK && *made ? sync_dir_of(path, e) : rc;
}

enum err_code pin_make_missing(const char *source, bool *made, struct err *e)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t raw[32];
    char path[4096], text[sizeof(raw) + 1];
    struct stat st;
    enum err_code rc;

    *made = false;
    if (!source || strncmp(source, "file:", 5) != 0)
        return E_OK;
    rc = source_path(source, path, e);
    if (rc != E_OK || lstat(path, &st) == 0)
        return rc;
    if (random_bytes(raw, sizeof(raw), e) != E_OK)
        return E_CRYPTO;
    for (size_t i = 0; i < sizeof(raw); i++)
        text[i] = alphabet[raw[i] & 63];
    text[sizeof(raw)] = '\n';
    rc = file_create(path, text, sizeof(text), 0400, made, e);
    OPENSSL_cleanse(raw, sizeof(raw));
    OPENSSL_cleanse(text, sizeof(text));
    return rc == E_OK ? E_OK : err_wrap(e, "new PIN");
}

/* ---- journal ---- */

static enum err_code pin_dir(const char *dir_state, char out[4096], struct err *e)
{
    int n = snprintf(out, 4096, "%s/pin", dir_state);

    if (n < 0 || n >= 3900)
        return err_set(e, E_INVALID, "state directory name is too long");
    return dir_make(out, 0700, e);
}

static enum err_code journal_path(const char *dir_state, const char *token, enum pin_role role, char out[4096],
                                  struct err *e)
{
    char dir[4096];

    if (!id_is_valid(token))
        return err_set(e, E_INVALID, "token name \"%.64s\"", token);
    if (pin_dir(dir_state, dir, e) != E_OK)
        return err_wrap(e, "PIN journal");
    snprintf(out, 4096, "%.3900s/%.64s%s.attempt", dir, token, role == PIN_SO ? ".so" : "");
    return E_OK;
}

static enum err_code journal_key(const char *dir_state, uint8_t key[JOURNAL_KEY], struct err *e)
{
    struct secret s = {NULL, 0};
    char dir[4096], path[4200];
    struct stat st;
    enum err_code rc = pin_dir(dir_state, dir, e);
    bool made;

    snprintf(path, sizeof(path), "%s/key", dir);
    if (rc == E_OK && lstat(path, &st) != 0) {
        rc = random_bytes(key, JOURNAL_KEY, e);
        if (rc == E_OK)
            rc = file_create(path, key, JOURNAL_KEY, 0600, &made, e);
    }
    if (rc == E_OK)
        rc = file_read_secret(path, JOURNAL_KEY, &s, e);
    if (rc == E_OK && s.len != JOURNAL_KEY)
        rc = err_set(e, E_INVALID, "%s: must be %d octets", path, JOURNAL_KEY);
    if (rc == E_OK)
        memcpy(key, s.p, JOURNAL_KEY);
    secret_clear(&s);
    return rc == E_OK ? E_OK : err_wrap(e, "PIN journal");
}

struct journal {
    bool present, refused;
    char mac[65];
    unsigned tried;
};

static enum err_code journal_read(const char *path, struct journal *j, struct err *e)
{
    AUTO_BUF text = BUF_INIT(JOURNAL_LINE);
    char line[JOURNAL_LINE + 1], state[16], end;
    struct stat st;
    unsigned n;

    *j = (struct journal){0};
    if (lstat(path, &st) != 0 && errno == ENOENT)
        return E_OK;
    j->present = true;
    if (file_read(path, &text, e) != E_OK)
        return err_wrap(e, "PIN journal");
    memcpy(line, text.p, text.len);
    line[text.len] = '\0';
    if (sscanf(line, "1 %64[0-9a-f] %15s %u%c", j->mac, state, &n, &end) != 4 || end != '\n' || strlen(j->mac) != 64 ||
        (strcmp(state, "tried") != 0 && strcmp(state, "refused") != 0))
        return err_set(e, E_DENIED, "PIN journal %s is damaged; after checking the PIN: inkan token unblock", path);
    j->refused = strcmp(state, "refused") == 0;
    j->tried = n;
    return E_OK;
}

static enum err_code journal_write(const char *path, const char *mac, bool refused, unsigned tried, struct err *e)
{
    char line[JOURNAL_LINE];
    int n = snprintf(line, sizeof(line), "1 %s %s %u\n", mac, refused ? "refused" : "tried", tried);

    if (file_write_atomic(path, BYTES(line, (size_t)n), 0600, e) != E_OK)
        return err_wrap(e, "PIN journal");
    return E_OK;
}

static enum err_code journal_clear(const char *path, struct err *e)
{
    if (unlink(path) != 0)
        return errno == ENOENT ? E_OK : err_errno(e, E_IO, "PIN journal %s", path);
    return sync_dir_of(path, e);
}

static enum err_code pin_mac(const uint8_t key[JOURNAL_KEY], const char *serial, const struct pin *pin, char out[65],
                             struct err *e)
{
    uint8_t text[64 + PIN_MAX], mac[32];
    size_t n = strlen(serial) + 1; /* with its NUL: no serial and PIN run together */
    unsigned len = sizeof(mac);
    bool ok;

    if (n > 64)
        return err_set(e, E_INVALID, "token serial is too long");
    memcpy(text, serial, n);
    memcpy(text + n, pin->text, pin->len);
    ok = HMAC(EVP_sha256(), key, JOURNAL_KEY, text, n + pin->len, mac, &len) != NULL;
    OPENSSL_cleanse(text, sizeof(text));
    if (!ok || len != sizeof(mac))
        return err_openssl(e, E_CRYPTO, "HMAC");
    hex_encode(mac, sizeof(mac), out);
    return E_OK;
}

enum err_code pin_attempt_begin(const char *dir_state, const char *token, enum pin_role role, const char *serial,
                                const struct pin *pin, struct pin_attempt *a, struct err *e)
{
    uint8_t key[JOURNAL_KEY];
    struct journal j;
    enum err_code rc;

    *a = (struct pin_attempt){0};
    rc = journal_path(dir_state, token, role, a->path, e);
    if (rc == E_OK)
        rc = journal_key(dir_state, key, e);
    if (rc == E_OK)
        rc = pin_mac(key, serial, pin, a->mac, e);
    OPENSSL_cleanse(key, sizeof(key));
    if (rc == E_OK)
        rc = journal_read(a->path, &j, e);
    if (rc != E_OK)
        return rc;
    if (j.present && strcmp(j.mac, a->mac) == 0) {
        if (j.refused)
            return err_set(e, E_DENIED, "token \"%s\" refused this PIN before; not tried again until the source holds "
                           "another one or after inkan token unblock", token);
        if (j.tried >= 2)
            return err_set(e, E_DENIED, "token \"%s\": two logins with this PIN got no answer; not tried again until the "
                           "source holds another one or after inkan token unblock", token);
        a->before = j.tried;
    }
    return journal_write(a->path, a->mac, false, a->before + 1, e);
}

enum err_code pin_attempt_end(const struct pin_attempt *a, enum pin_outcome outcome, struct err *e)
{
    switch (outcome) {
    case PIN_ACCEPTED:
        return journal_clear(a->path, e);
    case PIN_REFUSED:
        return journal_write(a->path, a->mac, true, 0, e);
    case PIN_NOT_TESTED:
        return a->before ? journal_write(a->path, a->mac, false, a->before, e) : journal_clear(a->path, e);
    case PIN_NO_ANSWER:
        break; /* stays as it was written */
    }
    return E_OK;
}

enum err_code pin_unblock(const char *dir_state, const char *token, struct err *e)
{
    char path[4096];

    for (enum pin_role role = PIN_USER; role <= PIN_SO; role++) {
        enum err_code rc = journal_path(dir_state, token, role, path, e);

        if (rc == E_OK)
            rc = journal_clear(path, e);
        if (rc != E_OK)
            return rc;
    }
    return E_OK;
}

const char *pin_journal_state(const char *dir_state, const char *token)
{
    struct journal j;
    char path[4096];

    if (journal_path(dir_state, token, PIN_USER, path, NULL) != E_OK || journal_read(path, &j, NULL) != E_OK)
        return "unreadable";
    return !j.present ? "ok" : j.refused ? "refused" : "unanswered";
}

/* ---- login ---- */

enum pin_outcome pin_outcome(CK_RV rv)
{
    switch (rv) {
    case CKR_OK:
        return PIN_ACCEPTED;
    case CKR_PIN_INCORRECT:
    case CKR_PIN_INVALID:
    case CKR_PIN_LEN_RANGE:
    case CKR_PIN_EXPIRED:
    case CKR_PIN_LOCKED:
        return PIN_REFUSED;
    case CKR_USER_ALREADY_LOGGED_IN:
    case CKR_USER_ANOTHER_ALREADY_LOGGED_IN:
    case CKR_USER_PIN_NOT_INITIALIZED:
    case CKR_USER_TYPE_INVALID:
    case CKR_USER_TOO_MANY_TYPES:
    case CKR_SESSION_HANDLE_INVALID:
    case CKR_SESSION_CLOSED:
    case CKR_SESSION_READ_ONLY_EXISTS:
    case CKR_CRYPTOKI_NOT_INITIALIZED:
    case CKR_TOKEN_NOT_PRESENT:
    case CKR_DEVICE_REMOVED:
    case CKR_SLOT_ID_INVALID:
    case CKR_ARGUMENTS_BAD:
        return PIN_NOT_TESTED;
    default:
        return PIN_NO_ANSWER;
    }
}

/* The token's own counter comes first: its last try is never ours. */
static enum err_code check_flags(struct p11_token *t, const struct conf_token *conf, struct err *e)
{
    if (p11_token_refresh(t, e) != E_OK)
        return e ? e->code : E_TOKEN;
    if (!(t->flags & CKF_USER_PIN_INITIALIZED))
        return err_set(e, E_TOKEN, "token \"%s\": the user PIN is not set (inkan token init)", conf->name);
    if (t->flags & CKF_USER_PIN_LOCKED)
        return err_set(e, E_DENIED, "token \"%s\": the user PIN is locked", conf->name);
    if (t->flags & CKF_USER_PIN_FINAL_TRY)
        return err_set(e, E_DENIED, "token \"%s\": only one PIN try is left before the token locks; not used up", conf->name);
    return E_OK;
}

enum err_code pin_login(struct p11_token *t, CK_SESSION_HANDLE session, const struct conf_token *conf,
                        const char *dir_state, struct err *e)
{
    struct pin pin = {NULL, 0};
    struct pin_attempt attempt;
    enum pin_outcome outcome;
    struct err journal = {0};
    enum err_code rc;
    CK_RV rv;

    rc = check_flags(t, conf, e);
    if (rc != E_OK || !(t->flags & CKF_LOGIN_REQUIRED))
        return rc;
    rc = pin_read(conf->pin, &pin, e);
    if (rc == E_OK)
        rc = pin_attempt_begin(dir_state, conf->name, PIN_USER, t->serial, &pin, &attempt, e);
    if (rc != E_OK) {
        pin_clear(&pin);
        return rc;
    }
    rv = t->m->f->C_Login(session, CKU_USER, (CK_UTF8CHAR *)pin.text, pin.len);
    pin_clear(&pin);
    outcome = pin_outcome(rv);
    if (pin_attempt_end(&attempt, outcome, &journal) != E_OK)
        return err_set(e, E_IO, "token \"%s\": %.300s", conf->name, journal.msg);
    if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN)
        return E_OK;
    err_rv(e, rv, "C_Login");
    if (e && outcome == PIN_REFUSED)
        e->code = E_DENIED;
    err_wrap(e, "token \"%s\"", conf->name);
    return outcome == PIN_REFUSED ? E_DENIED : E_TOKEN;
}

/* ---- lock ---- */

enum err_code token_lock(const char *dir_state, const char *token, int wait_ms, int *out, struct err *e)
{
    const struct timespec step = {0, 50 * 1000 * 1000};
    char dir[4096], path[4200];
    AUTO_FD int fd = -1;

    *out = -1;
    if (!id_is_valid(token))
        return err_set(e, E_INVALID, "token name \"%.64s\"", token);
    if (pin_dir(dir_state, dir, e) != E_OK)
        return err_wrap(e, "lock of token \"%s\"", token);
    snprintf(path, sizeof(path), "%.3900s/%.64s.lock", dir, token);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(e, E_IO, "%s", path);
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_errno(e, E_IO, "%s", path);
        if (wait_ms <= 0)
            return err_set(e, E_BUSY, "token \"%s\" is in use by another process (%s)", token, path);
        nanosleep(&step, NULL);
        wait_ms -= 50;
    }
    *out = take_fd(&fd);
    return E_OK;
}
