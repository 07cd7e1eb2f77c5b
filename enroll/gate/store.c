/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DIR/snapshot   the snapshot as it came
 * DIR/changes    each JWS with changes since, a line each
 * DIR/mark       "LEDGER SEQ": what was here at least, so that older files put in their place are found out
 *
 * Everything but the mark is signed by the service and verified again at each start.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "enroll/gate/gate.h"

#define CHANGES_FULL ((off_t)16 * 1024 * 1024)
#define CHANGES_MAX  ((size_t)64 * 1024 * 1024)
#define PATH_LEN     4096

static const char *in_dir(const char *dir, const char *name, char out[PATH_LEN])
{
    snprintf(out, PATH_LEN, "%s/%s", dir, name);
    return out;
}

static enum err_code mark_write(const char *dir, const char *ledger, uint64_t seq, struct err *e)
{
    char path[PATH_LEN], text[128];
    int n = snprintf(text, sizeof(text), "%s %" PRIu64 "\n", ledger, seq);

    return file_write_atomic(in_dir(dir, "mark", path), BYTES(text, (size_t)n), 0600, e);
}

/* No mark: a first start. */
enum err_code store_check_mark(const char *dir, const char *of, uint64_t end, struct err *e)
{
    char path[PATH_LEN], ledger[65] = "";
    AUTO_BUF text = BUF_INIT(256);
    uint64_t seq = 0;
    enum err_code code = file_read(in_dir(dir, "mark", path), &text, e);

    if (code == E_NOT_FOUND)
        return E_OK;
    if (code != E_OK)
        return code;
    buf_add_u8(&text, 0);
    if (sscanf((const char *)text.p, "%64s %" SCNu64, ledger, &seq) != 2)
        return err_set(e, E_INVALID, "%s: not a mark", path);
    if (strcmp(ledger, of) != 0)
        return err_set(e, E_CONFLICT, "a snapshot of ledger %s, in %s was %s", of, dir, ledger);
    if (seq > end)
        return err_set(e, E_CONFLICT, "snapshot and changes end at %" PRIu64 ", in %s was %" PRIu64
                       " before: older files were put in their place, or the service was set back", end, dir, seq);
    return E_OK;
}

static enum err_code load_snapshot(const char *dir, const struct trust *trust, struct table **out, struct err *e)
{
    char path[PATH_LEN];
    AUTO_BUF text = BUF_INIT(TABLE_FILE_MAX);
    AUTO_BUF payload = BUF_INIT(FEED_JWS_MAX);
    const uint8_t *lf;

    if (file_read(in_dir(dir, "snapshot", path), &text, e) != E_OK)
        return e->code;
    lf = text.len ? memchr(text.p, '\n', text.len) : NULL;
    if (!lf)
        return err_set(e, E_INVALID, "%s: not a snapshot", path);
    if (trust_payload(trust, BYTES(text.p, (size_t)(lf - text.p)), FEED_SNAPSHOT_TYP, true, &payload, e) != E_OK ||
        table_new(&text, buf_bytes(&payload), out, e) != E_OK)
        return err_wrap(e, "%s", path);
    return E_OK;
}

/* One line of the changes. */
static enum err_code replay_one(struct table *t, const struct trust *trust, struct bytes jws, struct err *e)
{
    AUTO_BUF payload = BUF_INIT(FEED_JWS_MAX);

    if (trust_payload(trust, jws, FEED_CHANGES_TYP, true, &payload, e) != E_OK)
        return e->code;
    return table_apply(t, buf_bytes(&payload), e);
}

/* Up to the first that does not fit: its end may not have reached the disk. The mark says whether something is missing. */
static enum err_code replay(const char *dir, struct table *t, const struct trust *trust, struct err *e)
{
    char path[PATH_LEN];
    AUTO_BUF text = BUF_INIT(CHANGES_MAX);
    enum err_code code = file_read(in_dir(dir, "changes", path), &text, e);
    size_t at = 0;

    if (code == E_NOT_FOUND)
        return E_OK;
    if (code != E_OK)
        return code;
    while (at < text.len) {
        const uint8_t *lf = memchr(text.p + at, '\n', text.len - at);
        struct err why = {0};

        if (!lf)
            break;
        if (replay_one(t, trust, BYTES(text.p + at, (size_t)(lf - text.p) - at), &why) != E_OK) {
            log_failure("gate-changes-refused", &why);
            break;
        }
        at = (size_t)(lf - text.p) + 1;
    }
    if (at < text.len && truncate(path, (off_t)at) != 0)
        return err_errno(e, E_IO, "%s: truncate", path);
    return E_OK;
}

enum err_code store_load(const char *dir, const struct trust *trust, struct table **out, struct err *e)
{
    struct table *t = NULL;

    *out = NULL;
    if (load_snapshot(dir, trust, &t, e) != E_OK)
        return e->code;
    if (replay(dir, t, trust, e) != E_OK || store_check_mark(dir, table_ledger(t), table_seq(t), e) != E_OK) {
        table_unref(t);
        return e->code;
    }
    *out = t;
    return E_OK;
}

enum err_code store_put_snapshot(const char *dir, struct bytes text, const char *ledger, uint64_t seq, struct err *e)
{
    char path[PATH_LEN];

    if (file_write_atomic(in_dir(dir, "snapshot", path), text, 0600, e) != E_OK)
        return e->code;
    /* Changes that are left when the power goes now do not follow the new snapshot and are dropped at the next start. */
    if (unlink(in_dir(dir, "changes", path)) != 0 && errno != ENOENT)
        return err_errno(e, E_IO, "%s: unlink", path);
    return mark_write(dir, ledger, seq, e);
}

enum err_code store_add_changes(const char *dir, struct bytes jws, const char *ledger, uint64_t seq, struct err *e)
{
    char path[PATH_LEN];
    AUTO_FD int fd = open(in_dir(dir, "changes", path), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    AUTO_BUF line = BUF_INIT(jws.len + 1);
    struct stat st;

    if (fd < 0)
        return err_errno(e, E_IO, "%s: open", path);
    buf_add_bytes(&line, jws);
    buf_add_u8(&line, '\n');
    if (!buf_ok(&line))
        return err_set(e, E_NOMEM, "%s", path);
    if (write(fd, line.p, line.len) != (ssize_t)line.len || fdatasync(fd) != 0)
        return err_errno(e, E_IO, "%s: write", path);
    if (mark_write(dir, ledger, seq, e) != E_OK)
        return e->code;
    if (fstat(fd, &st) == 0 && st.st_size > CHANGES_FULL)
        return err_set(e, E_BUSY, "%s: %lld octets", path, (long long)st.st_size);
    return E_OK;
}
