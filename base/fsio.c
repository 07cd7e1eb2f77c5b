/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fsio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/auto.h"

static enum err_code read_all(int fd, const char *path, struct buf *out, struct err *e)
{
    uint8_t chunk[16384];
    enum err_code rc = E_OK;

    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));

        if (n == 0)
            break;
        if (n < 0) {
            if (errno == EINTR)
                continue;
            rc = err_errno(e, E_IO, "%s: read", path);
            break;
        }
        buf_add(out, chunk, (size_t)n);
        if (!buf_ok(out)) {
            rc = buf_err(out, e, "%s: more than %zu octets", path, out->max);
            break;
        }
    }
    OPENSSL_cleanse(chunk, sizeof(chunk));
    return rc;
}

static enum err_code open_read(const char *path, int *fd, struct err *e)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return err_errno(e, errno == ENOENT ? E_NOT_FOUND : E_IO, "%s: open", path);
    return E_OK;
}

enum err_code file_read(const char *path, struct buf *out, struct err *e)
{
    AUTO_FD int fd = -1;
    enum err_code rc = open_read(path, &fd, e);

    return rc == E_OK ? read_all(fd, path, out, e) : rc;
}

static enum err_code write_all(int fd, const char *path, struct bytes content, struct err *e)
{
    while (content.len > 0) {
        ssize_t n = write(fd, content.p, content.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, E_IO, "%s: write", path);
        content = BYTES(content.p + n, content.len - (size_t)n);
    }
    return E_OK;
}

enum err_code file_sync_name(const char *path, struct err *e)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    AUTO_FD int fd = -1;

    if (!slash)
        snprintf(dir, sizeof(dir), ".");
    else if (slash == path)
        snprintf(dir, sizeof(dir), "/");
    else
        snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return err_errno(e, E_IO, "%s: fsync of the directory", dir);
    return E_OK;
}

enum err_code file_draft_open(struct file_draft *d, const char *path, struct err *e)
{
    int n, m;

    d->fd = -1;
    n = snprintf(d->path, sizeof(d->path), "%s", path);
    m = snprintf(d->tmp, sizeof(d->tmp), "%s.tmp-%ld", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof(d->path) || m < 0 || (size_t)m >= sizeof(d->tmp))
        return err_set(e, E_INVALID, "%s: path is too long", path);
    unlink(d->tmp); /* left by a process of the same number, or put there by another: never written into */
    d->fd = open(d->tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return d->fd < 0 ? err_errno(e, E_IO, "%s: create", d->tmp) : E_OK;
}

enum err_code file_draft_add(struct file_draft *d, struct bytes more, struct err *e)
{
    return write_all(d->fd, d->tmp, more, e);
}

enum err_code file_draft_publish(struct file_draft *d, mode_t mode, struct err *e)
{
    if (fchmod(d->fd, mode) != 0 || fsync(d->fd) != 0)
        return err_errno(e, E_IO, "%s: fsync", d->tmp);
    if (rename(d->tmp, d->path) != 0)
        return err_errno(e, E_IO, "%s: rename", d->path);
    close(d->fd);
    d->fd = -1;
    return file_sync_name(d->path, e);
}

void file_draft_drop(struct file_draft *d)
{
    if (d->fd < 0)
        return;
    close(d->fd);
    d->fd = -1;
    unlink(d->tmp);
}

enum err_code file_write_atomic(const char *path, struct bytes content, mode_t mode, struct err *e)
{
    struct file_draft d;
    enum err_code rc = file_draft_open(&d, path, e);

    if (rc == E_OK)
        rc = file_draft_add(&d, content, e);
    if (rc == E_OK)
        rc = file_draft_publish(&d, mode, e);
    file_draft_drop(&d);
    return rc;
}

enum err_code dir_make(const char *path, mode_t mode, struct err *e)
{
    struct stat st;

    if (mkdir(path, mode) == 0) {
        /* The umask took bits away that the caller asked for. */
        if (chmod(path, mode) != 0)
            return err_errno(e, E_IO, "%s: chmod", path);
        return file_sync_name(path, e);
    }
    if (errno != EEXIST)
        return err_errno(e, E_IO, "%s: mkdir", path);
    if (stat(path, &st) != 0)
        return err_errno(e, E_IO, "%s: stat", path);
    if (!S_ISDIR(st.st_mode))
        return err_set(e, E_IO, "%s: exists and is not a directory", path);
    return E_OK;
}

/*
 * The owner is this process or root. Others never have access; the group only where it is root's own, because an
 * access list (systemd credentials) shows its mask in the group bits.
 */
static enum err_code check_secret_mode(int fd, const char *path, struct err *e)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return err_errno(e, E_IO, "%s: stat", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, E_INVALID, "%s: not a regular file", path);
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return err_set(e, E_DENIED, "%s: holds a secret but belongs to user %lu: chown it to the user who reads it", path,
                       (unsigned long)st.st_uid);
    if ((st.st_mode & 07) != 0 || ((st.st_mode & 070) != 0 && !(st.st_uid == 0 && st.st_gid == 0)))
        return err_set(e, E_DENIED, "%s: holds a secret but has mode %04o: chmod 0400 it", path,
                       (unsigned)(st.st_mode & 07777));
    return E_OK;
}

enum err_code file_read_secret(const char *path, size_t max, struct secret *out, struct err *e)
{
    AUTO_FD int fd = -1;
    struct buf text = BUF_INIT(max);
    enum err_code rc = open_read(path, &fd, e);

    if (rc == E_OK)
        rc = check_secret_mode(fd, path, e);
    if (rc == E_OK)
        rc = read_all(fd, path, &text, e);
    if (rc == E_OK && !secret_set(out, text.p, text.len))
        rc = err_set(e, E_NOMEM, "%s: out of memory", path);
    buf_wipe(&text);
    return rc;
}

/* ---- PEM (RFC 7468) ---- */

void pem_write(struct buf *out, const char *label, struct bytes der)
{
    buf_printf(out, "-----BEGIN %s-----\n", label);
    base64_encode(out, der, 64);
    buf_printf(out, "-----END %s-----\n", label);
}

/* Finds `needle` at the start of a line from `from` on; SIZE_MAX when there is none. */
static size_t find_line(struct bytes text, const char *needle, size_t from)
{
    size_t n = strlen(needle);

    while (from + n <= text.len) {
        const uint8_t *hit = memmem(text.p + from, text.len - from, needle, n);
        size_t at;

        if (!hit)
            break;
        at = (size_t)(hit - text.p);
        if (at == 0 || text.p[at - 1] == '\n')
            return at;
        from = at + 1;
    }
    return SIZE_MAX;
}

enum err_code pem_read(struct bytes text, const char *label, size_t index, struct buf *der, struct err *e)
{
    char begin[96], end[96];
    size_t at = 0, stop;
    enum err_code rc;

    snprintf(begin, sizeof(begin), "-----BEGIN %s-----", label);
    snprintf(end, sizeof(end), "-----END %s-----", label);
    for (size_t i = 0;; i++) {
        at = find_line(text, begin, at);
        if (at == SIZE_MAX)
            return err_set(e, E_NOT_FOUND, "PEM: no %s number %zu", label, index + 1);
        at += strlen(begin);
        stop = find_line(text, end, at);
        if (stop == SIZE_MAX)
            return err_set(e, E_INVALID, "PEM: %s number %zu has no end line (RFC 7468)", label, i + 1);
        if (i == index)
            break;
        at = stop;
    }
    rc = base64_decode(BYTES(text.p + at, stop - at), der, e);
    return rc == E_OK ? E_OK : err_wrap(e, "PEM: %s number %zu", label, index + 1);
}
