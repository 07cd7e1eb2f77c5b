/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core's end of the link with inkan-notify (ca/service.h). It asks for what it has not delivered yet, a page at a time; the core
 * keeps nothing for it and never waits for it.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "ca/admin_int.h"
#include "ca/alarm.h"
#include "ca/store/alarm.h"

#define LINK_QUEUE (1 << 20)

struct told {
    char name[ID_MAX_LEN + 1];
    uint8_t stream;
    uint64_t up_to, failures, set_aside;
};

struct notify_link {
    struct core *core;
    struct chan *chan;
    bool any;
    uint64_t newest[NOTIFY_STREAMS]; /* as it was told */
    struct told told[NOTIFY_TOLD_MAX];
    size_t told_n;
};

/* ---- what is new ---- */

static void newest_of(struct core *c, uint64_t out[NOTIFY_STREAMS])
{
    uint8_t hash[32];
    struct err e = {0};

    out[NOTIFY_HEADS] = c->audit_head_seq;
    if (store_alarm_event_last(c->store, &out[NOTIFY_ALARMS], &e) != E_OK || store_audit_last(c->store, &out[NOTIFY_AUDIT], hash, &e) != E_OK)
        core_doubt(c, &e);
}

/* The newest that the last restore left: who was told of later ones was told of others. */
static void kept_of(struct core *c, uint64_t out[NOTIFY_STREAMS])
{
    int64_t audit = 0, alarms = 0;
    struct err e = {0};

    if (store_meta_get_i64(c->store, META_RESTORED_AUDIT, &audit, &e) != E_OK || store_meta_get_i64(c->store, META_RESTORED_ALARMS, &alarms, &e) != E_OK)
        core_doubt(c, &e);
    out[NOTIFY_ALARMS] = audit ? (uint64_t)alarms : UINT64_MAX;
    out[NOTIFY_AUDIT] = out[NOTIFY_HEADS] = audit ? (uint64_t)audit : UINT64_MAX;
}

void notify_link_tick(struct core *c)
{
    struct notify_link *l = c->notify;
    uint64_t newest[NOTIFY_STREAMS] = {0}, kept[NOTIFY_STREAMS];
    struct err e = {0};
    struct msg m;

    if (!l)
        return;
    newest_of(c, newest);
    if (l->any && memcmp(newest, l->newest, sizeof(newest)) == 0)
        return;
    l->any = true;
    memcpy(l->newest, newest, sizeof(newest));
    kept_of(c, kept);
    msg_begin(&m, NOTIFY_NEWS, 0);
    msg_put_bytes(&m, buf_bytes(&c->follow_id));
    for (int i = 0; i < NOTIFY_STREAMS; i++) {
        msg_put_u64(&m, newest[i]);
        msg_put_u64(&m, kept[i]);
    }
    if (chan_send(l->chan, &m, -1, &e) != E_OK)
        log_failure("notify-link-failed", &e);
}

/* ---- pages ---- */

struct page {
    struct buf text;
    uint32_t n;
    uint64_t last;
};

static bool put_line(struct page *p, uint64_t seq, json_t *row)
{
    AUTO_JSON *owned = row;
    AUTO(char) *text = owned ? json_dumps(owned, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

    if (!text) {
        p->text.failed = true;
        return false;
    }
    buf_add_str(&p->text, text);
    buf_add_u8(&p->text, '\n');
    p->last = seq;
    p->n++;
    return true;
}

static bool put_alarm(void *arg, const struct alarm_event_row *row)
{
    static const char *const what[] = {"raised", "acked", "cleared"};

    return put_line(arg, row->seq, json_pack("{s:I, s:I, s:s, s:o}", "seq", (json_int_t)row->seq, "time", (json_int_t)row->time, "event",
                                             row->what < ARRAY_LEN(what) ? what[row->what] : "", "alarm", json_alarm(&row->alarm)));
}

static bool put_audit(void *arg, const struct audit_row *row)
{
    return put_line(arg, row->seq, json_entry(row));
}

static bool put_head(void *arg, const struct audit_head_row *row)
{
    AUTO_BUF line = BUF_INIT(SIGNATURE_MAX_LEN * 2);

    audit_head_line(row, &line);
    buf_add_u8(&line, 0);
    return put_line(arg, row->seq, json_pack("{s:I, s:I, s:s, s:s}", "seq", (json_int_t)row->seq, "time", (json_int_t)row->time, "key",
                                             row->key, "line", buf_ok(&line) ? (const char *)line.p : ""));
}

static enum err_code page_read(struct core *c, uint8_t stream, uint64_t after, uint32_t limit, struct page *p, struct err *e)
{
    if (stream == NOTIFY_ALARMS)
        return store_alarm_event_each(c->store, after, limit, put_alarm, p, e);
    if (stream == NOTIFY_AUDIT)
        return store_audit_each(c->store, after + 1, after + limit, put_audit, p, e);
    return store_audit_head_each(c->store, after, limit, put_head, p, e);
}

static enum err_code answer_read(struct notify_link *l, struct msg_reader *r, struct err *e)
{
    struct core *c = l->core;
    uint8_t stream = msg_get_enum(r, NOTIFY_STREAMS);
    uint64_t after = msg_get_u64(r);
    uint32_t limit = msg_get_u32(r);
    struct page p = {.text = BUF_INIT(NOTIFY_PAGE_MAX), .last = after};
    AUTO_FD int fd = -1;
    struct err why = {0};
    struct msg m;

    msg_begin(&m, NOTIFY_ROWS, r->request_id);
    if (msg_read_end(r, e) != E_OK || limit == 0 || limit > NOTIFY_PAGE || after > INT64_MAX - NOTIFY_PAGE)
        return e->code != E_OK ? e->code : err_set(e, E_INVALID, "NOTIFY_READ: after %llu, %u rows", (unsigned long long)after, limit);
    if (page_read(c, stream, after, limit, &p, &why) != E_OK)
        core_doubt(c, &why);
    else if (p.n && buf_ok(&p.text))
        fd = memfd_of("notify", buf_bytes(&p.text), &why);
    if (fd < 0 && p.n)
        log_failure("notify-link-failed", &why);
    msg_put_u8(&m, stream);
    msg_put_u64(&m, fd >= 0 ? p.last : after);
    msg_put_u32(&m, fd >= 0 ? p.n : 0);
    buf_clear(&p.text);
    return chan_send(l->chan, &m, fd, e);
}

static enum err_code take_state(struct notify_link *l, struct msg_reader *r, struct err *e)
{
    uint32_t n = msg_get_u32(r);

    if (n > NOTIFY_TOLD_MAX)
        return err_set(e, E_INVALID, "NOTIFY_STATE: %u", n);
    for (uint32_t i = 0; i < n; i++) {
        msg_get_str(r, l->told[i].name, sizeof(l->told[i].name));
        l->told[i].stream = msg_get_enum(r, NOTIFY_STREAMS);
        l->told[i].up_to = msg_get_u64(r);
        l->told[i].failures = msg_get_u64(r);
        l->told[i].set_aside = msg_get_u64(r);
    }
    l->told_n = n;
    return msg_read_end(r, e);
}

static bool is_told(const struct conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->notify_n; i++)
        if (strcmp(conf->notify[i].name, name) == 0)
            return true;
    return false;
}

/* One alarm for each name: it goes to that one, too, and may be refused as well. */
static enum err_code take_set_aside(struct notify_link *l, struct msg_reader *r, struct err *e)
{
    static const char *const streams[NOTIFY_STREAMS] = {"alarms", "audit", "heads"};
    struct core *c = l->core;
    char name[ID_MAX_LEN + 1], object[ID_MAX_LEN + 16], text[160];
    uint8_t stream;
    uint64_t first, last;
    struct err why = {0};
    enum err_code code;

    msg_get_str(r, name, sizeof(name));
    stream = msg_get_enum(r, NOTIFY_STREAMS);
    first = msg_get_u64(r);
    last = msg_get_u64(r);
    if (msg_read_end(r, e) != E_OK)
        return e->code;
    if (!is_told(c->conf, name))
        return E_OK; /* not any more */
    snprintf(object, sizeof(object), "notify:%s", name);
    snprintf(text, sizeof(text), "%s %llu to %llu were refused and are not sent again", streams[stream], (unsigned long long)first,
             (unsigned long long)last);
    if (c->seal != SEAL_NONE || core_begin(c, &why) != E_OK)
        return E_OK; /* not now; inkan-notify's log has it */
    code = alarm_raise(c, "notify-set-aside", "", object, text, &why);
    core_end(c, code, &why);
    if (code != E_OK)
        log_failure("alarm-failed", &why);
    return E_OK;
}

void notify_link_each(struct core *c, notify_told_fn fn, void *arg)
{
    const struct notify_link *l = c->notify;

    for (size_t i = 0; l && i < l->told_n; i++) {
        uint64_t newest = l->newest[l->told[i].stream], at = l->told[i].up_to;

        fn(arg, &(struct notify_told){l->told[i].name, (enum notify_stream)l->told[i].stream, newest > at ? newest - at : 0, l->told[i].failures,
                                      l->told[i].set_aside});
    }
}

/* ---- the link ---- */

static void on_message(struct chan *chan, struct msg_reader *r, int fd, void *arg)
{
    struct notify_link *l = arg;
    struct err e = {0};

    if (fd >= 0) {
        close(fd);
        err_set(&e, E_INVALID, "a descriptor from inkan-notify");
    } else if (r->type == NOTIFY_READ) {
        answer_read(l, r, &e);
    } else if (r->type == NOTIFY_STATE) {
        take_state(l, r, &e);
    } else if (r->type == NOTIFY_SET_ASIDE) {
        take_set_aside(l, r, &e);
    } else {
        err_set(&e, E_INVALID, "message type 0x%04x from inkan-notify", r->type);
    }
    if (e.code != E_OK)
        chan_fail(chan, &e);
}

static void on_gone(struct chan *chan, const struct err *why, void *arg)
{
    struct notify_link *l = arg;

    (void)chan;
    log_failure("notify-link-failed", why);
    proc_link_broken(l->core->proc, "notify");
    notify_link_end(l->core);
}

void notify_link_begin(struct core *c, int fd)
{
    static const struct chan_ops ops = {on_message, on_gone};
    struct notify_link *l = calloc(1, sizeof(*l));
    struct err e = {0};

    notify_link_end(c);
    if (l) {
        l->core = c;
        l->chan = chan_new(c->base, fd, &ops, l, LINK_QUEUE, &e);
    } else {
        err_set(&e, E_NOMEM, "out of memory for a link");
    }
    if (!l || !l->chan)
        proc_die("link-failed", PROC_EXIT_RESTART, &e); /* nobody would link us again */
    c->notify = l;
}

void notify_link_end(struct core *c)
{
    if (!c->notify)
        return;
    chan_free(c->notify->chan);
    free(c->notify);
    c->notify = NULL;
}
