/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "enroll/notify/notify.h"

#define HEAD "inkan-notify 1"

const char *notify_stream_name(enum notify_stream s)
{
    static const char *const names[NOTIFY_STREAMS] = {"alarms", "audit", "heads"};

    return s < NOTIFY_STREAMS ? names[s] : "";
}

enum err_code told_read(const char *path, struct told *out, struct err *e)
{
    AUTO_BUF text = BUF_INIT(1024);
    enum err_code code = file_read(path, &text, e);
    int end = 0;

    *out = (struct told){{0}, {0}};
    if (code == E_NOT_FOUND)
        return E_OK;
    if (code != E_OK)
        return code;
    buf_add_u8(&text, 0);
    if (buf_ok(&text) &&
        sscanf((const char *)text.p, HEAD "\nledger %96s\nalarms %" SCNu64 "\naudit %" SCNu64 "\nheads %" SCNu64 "\nend\n%n", out->ledger,
               &out->up_to[NOTIFY_ALARMS], &out->up_to[NOTIFY_AUDIT], &out->up_to[NOTIFY_HEADS], &end) == 4 &&
        end > 0 && (size_t)end == text.len - 1)
        return E_OK;
    *out = (struct told){{0}, {0}};
    return err_set(e, E_INVALID, "%s is damaged", path);
}

enum err_code told_write(const char *path, const struct told *t, struct err *e)
{
    AUTO_BUF text = BUF_INIT(1024);

    buf_printf(&text, HEAD "\nledger %s\nalarms %" PRIu64 "\naudit %" PRIu64 "\nheads %" PRIu64 "\nend\n", t->ledger, t->up_to[NOTIFY_ALARMS],
               t->up_to[NOTIFY_AUDIT], t->up_to[NOTIFY_HEADS]);
    return buf_ok(&text) ? file_write_atomic(path, buf_bytes(&text), 0600, e) : err_set(e, E_NOMEM, "%s", path);
}

#define REFUSED_TRIES   4
#define REFUSED_ROWS_S  600   /* alarms behind it must not wait for long */
#define REFUSED_OTHER_S 86400 /* a secret or an address that is wrong is mended meanwhile, and nothing is lost */

bool notify_gives_up(enum err_code why, uint64_t tries, int64_t since_s)
{
    return tries >= REFUSED_TRIES && ((why == E_INVALID && since_s >= REFUSED_ROWS_S) || (why == E_DENIED && since_s >= REFUSED_OTHER_S));
}

/* Is it one ledger, whatever was restored? */
static bool same_ledger(const char *a, const char *b)
{
    size_t n = strcspn(a, "-");

    return n > 0 && n == strcspn(b, "-") && strncmp(a, b, n) == 0;
}

bool told_fit(struct told *t, const struct ledger_news *l, bool history)
{
    bool same = same_ledger(t->ledger, l->id), changed = strcmp(t->ledger, l->id) != 0;

    for (int i = 0; i < NOTIFY_STREAMS; i++) {
        uint64_t most = changed && l->kept[i] < l->newest[i] ? l->kept[i] : l->newest[i];

        if (!same)
            t->up_to[i] = history ? 0 : l->newest[i];
        else if (t->up_to[i] > most) {
            t->up_to[i] = most;
            changed = true;
        }
    }
    snprintf(t->ledger, sizeof(t->ledger), "%s", l->id);
    return changed;
}
