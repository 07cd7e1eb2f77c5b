/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/store/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "ca/store/store_int.h"

#define SUFFIX_MAX 64
#define PATH_SIZE  4096

/* --- what is in a backup ------------------------------------------------------------------------------------- */

static enum err_code read_id(struct store *s, char *id, size_t size, struct err *e)
{
    AUTO_BUF b = BUF_INIT(size - 1);

    if (store_meta_get(s, "ledger_id", &b, e) != E_OK)
        return err_wrap(e, "ledger %s has no id", store_path(s));
    memcpy(id, b.p, b.len);
    id[b.len] = '\0';
    return E_OK;
}

static enum err_code read_info(struct store *s, struct restore_info *out, struct err *e)
{
    static const struct cert_filter every = {.status = -1};
    uint8_t hash[32];

    if (store_check(s, e) != E_OK || read_id(s, out->ledger_id, sizeof(out->ledger_id), e) != E_OK ||
        store_audit_last(s, &out->audit_seq, hash, e) != E_OK || store_status_seq(s, &out->status_seq, e) != E_OK ||
        store_cert_count(s, &every, &out->certs, e) != E_OK || store_time_newest(s, &out->time, e) != E_OK)
        return e->code;
    return E_OK;
}

enum err_code restore_check(const char *backup, struct restore_info *out, struct err *e)
{
    struct store *s = NULL;
    enum err_code code;

    *out = (struct restore_info){0};
    if (access(backup, R_OK) != 0)
        return err_errno(e, errno == ENOENT ? E_NOT_FOUND : E_IO, "backup %s", backup);
    code = store_open(backup, STORE_READ, &s, e);
    /* Damaged pages show as "cannot read": for a file at rest that is its content, not a passing trouble. */
    if (code == E_OK)
        code = read_info(s, out, e);
    store_close(s);
    return code == E_STORE ? (e->code = E_CONFLICT) : code;
}

/* --- installing ---------------------------------------------------------------------------------------------- */

struct install {
    const char *backup, *dest;
    char copy[PATH_SIZE], journal[PATH_SIZE], mark[PATH_SIZE], aside[PATH_SIZE];
    char wal[PATH_SIZE], shm[PATH_SIZE], aside_wal[PATH_SIZE];
};

static enum err_code make_names(struct install *in, int64_t now, struct err *e)
{
    struct tm tm;
    time_t t = (time_t)now;
    char stamp[32];

    if (strlen(in->dest) + SUFFIX_MAX >= PATH_SIZE || !gmtime_r(&t, &tm))
        return err_set(e, E_INVALID, "ledger path is too long");
    strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
    snprintf(in->copy, PATH_SIZE, "%s.restore", in->dest);
    snprintf(in->journal, PATH_SIZE, "%s.restore-journal", in->dest);
    snprintf(in->mark, PATH_SIZE, "%s" RESTORE_MARK, in->dest);
    snprintf(in->wal, PATH_SIZE, "%s-wal", in->dest);
    snprintf(in->shm, PATH_SIZE, "%s-shm", in->dest);
    snprintf(in->aside, PATH_SIZE, "%s.replaced-%s", in->dest, stamp);
    snprintf(in->aside_wal, PATH_SIZE, "%s.replaced-%s-wal", in->dest, stamp);
    return E_OK;
}

static enum err_code copy_file(const char *from, const char *to, struct err *e)
{
    AUTO_FD int in = open(from, O_RDONLY | O_CLOEXEC);
    AUTO_FD int out = -1;
    struct stat st;
    off_t at = 0;

    if (in < 0 || fstat(in, &st) != 0)
        return err_errno(e, E_IO, "backup %s", from);
    out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out < 0)
        return err_errno(e, E_IO, "%s", to);
    while (at < st.st_size)
        if (sendfile(out, in, &at, (size_t)(st.st_size - at)) <= 0)
            return err_errno(e, E_IO, "copy of %s to %s", from, to);
    return fsync(out) == 0 ? E_OK : err_errno(e, E_IO, "fsync of %s", to);
}

/* Through SQLite's own rollback journal, not through the store: the copy is not a ledger in service. */
static enum err_code seal(const char *copy, struct err *e)
{
    sqlite3 *db = NULL;
    enum err_code code = E_OK;

    if (sqlite3_open_v2(copy, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK ||
        sqlite3_exec(db, "PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL; "
                         "INSERT INTO meta (name, value) VALUES ('sealed', CAST('restored' AS BLOB)) "
                         "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                     NULL, NULL, NULL) != SQLITE_OK)
        code = err_set(e, E_IO, "seal of %s: %s", copy, db ? sqlite3_errmsg(db) : "out of memory");
    sqlite3_close(db);
    return code == E_OK ? store_sync_path(copy, e) : code;
}

/* A readable ledger in the place must be the same one. A broken one is what restores are for. */
static enum err_code same_ledger(const struct install *in, const struct restore_info *info, struct err *e)
{
    struct store *s = NULL;
    char id[ID_MAX_LEN + 1] = "";
    struct err ignored;

    if (access(in->dest, F_OK) != 0 || store_open(in->dest, STORE_READ, &s, &ignored) != E_OK)
        return E_OK;
    if (read_id(s, id, sizeof(id), &ignored) != E_OK)
        id[0] = '\0';
    store_close(s);
    if (id[0] && strcmp(id, info->ledger_id) != 0)
        return err_set(e, E_CONFLICT, "backup %s is of ledger %s, at %s stands ledger %s; move that away first", in->backup,
                       info->ledger_id, in->dest, id);
    return E_OK;
}

static enum err_code make_mark(const char *mark, struct err *e)
{
    AUTO_FD int fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0 || fsync(fd) != 0)
        return err_errno(e, E_IO, "%s", mark);
    return store_sync_dir_of(mark, e);
}

static enum err_code keep_link(const char *from, const char *to, struct err *e)
{
    if (link(from, to) == 0 || errno == ENOENT)
        return E_OK;
    if (errno == EEXIST)
        return err_set(e, E_CONFLICT, "%s is there already; try again in a second", to);
    return err_errno(e, E_IO, "keeping %s as %s", from, to);
}

static enum err_code drop(const char *path, struct err *e)
{
    if (unlink(path) != 0 && errno != ENOENT)
        return err_errno(e, E_IO, "%s", path);
    return E_OK;
}

/*
 * The old log must be gone before the new database is in place: SQLite would replay it into the wrong file. The mark
 * covers the moment in which the old database stands without its log.
 */
static enum err_code swap(const struct install *in, struct err *e)
{
    if (keep_link(in->dest, in->aside, e) != E_OK || keep_link(in->wal, in->aside_wal, e) != E_OK ||
        make_mark(in->mark, e) != E_OK || drop(in->wal, e) != E_OK || drop(in->shm, e) != E_OK || store_sync_dir_of(in->dest, e) != E_OK)
        return e->code;
    if (rename(in->copy, in->dest) != 0)
        return err_errno(e, E_IO, "%s to %s", in->copy, in->dest);
    if (store_sync_dir_of(in->dest, e) != E_OK || drop(in->mark, e) != E_OK)
        return e->code;
    return store_sync_dir_of(in->dest, e);
}

/* What a restore that stopped half way left; its journal would be replayed into the new copy. */
static enum err_code drop_leftovers(const struct install *in, struct err *e)
{
    return drop(in->journal, e) == E_OK && drop(in->copy, e) == E_OK ? E_OK : e->code;
}

static enum err_code install_locked(struct install *in, struct err *e)
{
    struct restore_info info, copied;

    if (restore_check(in->backup, &info, e) != E_OK || same_ledger(in, &info, e) != E_OK ||
        drop_leftovers(in, e) != E_OK || copy_file(in->backup, in->copy, e) != E_OK || restore_check(in->copy, &copied, e) != E_OK ||
        seal(in->copy, e) != E_OK)
        return e->code;
    if (strcmp(info.ledger_id, copied.ledger_id) != 0 || info.audit_seq != copied.audit_seq ||
        info.status_seq != copied.status_seq || info.certs != copied.certs)
        return err_set(e, E_CONFLICT, "backup %s has rows in a log of its own; use a file made by `inkan backup`", in->backup);
    return swap(in, e);
}

enum err_code restore_install(const char *backup, const char *dest, int64_t now, char *aside, size_t aside_size,
                              struct err *e)
{
    struct install in = {.backup = backup, .dest = dest};
    AUTO_FD int lock = -1;
    bool replaced = access(dest, F_OK) == 0;

    aside[0] = '\0';
    if (make_names(&in, now, e) != E_OK || store_lock(dest, &lock, e) != E_OK)
        return e->code;
    if (install_locked(&in, e) != E_OK) {
        unlink(in.copy);
        return err_wrap(e, "restore of %s", dest);
    }
    if (replaced && (size_t)snprintf(aside, aside_size, "%s", in.aside) >= aside_size)
        aside[0] = '\0';
    return E_OK;
}
