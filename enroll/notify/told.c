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

bool told_fit(struct told *t, const char *ledger, const uint64_t newest[NOTIFY_STREAMS], bool history)
{
    bool first = t->ledger[0] == '\0', changed = strcmp(t->ledger, ledger) != 0;

    for (int i = 0; i < NOTIFY_STREAMS; i++) {
        if (first)
            t->up_to[i] = history ? 0 : newest[i];
        else if (t->up_to[i] > newest[i]) {
            t->up_to[i] = newest[i];
            changed = true;
        }
    }
    snprintf(t->ledger, sizeof(t->ledger), "%s", ledger);
    return changed;
}
