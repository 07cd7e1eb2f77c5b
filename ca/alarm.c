/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/alarm.h"

#include <stdio.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "ca/store/alarm.h"

#define DISK_MIN      ((uint64_t)1 << 30)
#define DISK_PART     20 /* or this part of a small file system */
#define CA_END_S      (90LL * 86400)
#define HEAD_LATE     5  /* times audit.head_every */
#define TOKEN_LATE_S  60

static void log_alarm(const struct alarm_row *row)
{
    struct log_line l;

    log_begin(&l, LOG_WARN, "alarm-raised");
    log_str(&l, "kind", row->kind);
    log_str(&l, "domain", row->domain[0] ? row->domain : NULL);
    log_str(&l, "object", row->object);
    log_str(&l, "text", row->text);
    log_end(&l);
}

enum err_code alarm_raise(struct core *c, const char *kind, const char *domain, const char *object, const char *text, struct err *e)
{
    struct alarm_row row = {.time = core_stamp(c), .kind = kind, .domain = domain ? domain : "", .object = object, .text = text};
    struct err again = {0};
    enum err_code code = store_alarm_insert(c->store, &row, &again);

    if (code == E_CONFLICT) /* open already */
        return E_OK;
    if (code != E_OK) {
        *e = again;
        return code;
    }
    log_alarm(&row);
    return core_audit(c, &ACTOR_CORE, "alarm-raised", row.domain, object, json_pack("{s:s, s:s}", "kind", kind, "text", text),
                      row.time, e);
}

static void log_cleared(const char *kind, const char *object)
{
    struct log_line l;

    log_begin(&l, LOG_INFO, "alarm-cleared");
    log_str(&l, "kind", kind);
    log_str(&l, "object", object);
    log_end(&l);
}

enum err_code alarm_clear(struct core *c, const char *kind, const char *domain, const char *object, struct err *e)
{
    struct err none = {0};
    enum err_code code = store_alarm_clear(c->store, kind, domain ? domain : "", object, core_stamp(c), &none);

    if (code == E_OK)
        log_cleared(kind, object);
    if (code == E_OK || code == E_NOT_FOUND)
        return E_OK;
    *e = none;
    return code;
}

/* ---- what is watched ---- */

static const char *const own_end[] = {"crl-late", "crl-refused", "certificate-end", "disk-low", "audit-head-late", "clock-behind", "token-down",
                                      "capture-set-aside"};

bool alarm_ends_by_itself(const char *kind)
{
    for (size_t i = 0; i < ARRAY_LEN(own_end); i++)
        if (strcmp(own_end[i], kind) == 0)
            return true;
    return false;
}

/* `text` NULL: all is well. */
static void judge(struct core *c, const char *kind, const char *object, const char *text)
{
    struct err e = {0};
    bool open;
    enum err_code code;

    if (store_alarm_is_open(c->store, kind, "", object, &open, &e) != E_OK) {
        core_doubt(c, &e);
        return;
    }
    if (open == (text != NULL) || core_begin(c, &e) != E_OK)
        return;
    code = text ? alarm_raise(c, kind, "", object, text, &e) : alarm_clear(c, kind, "", object, &e);
    core_end(c, code, &e);
    if (code != E_OK)
        log_failure("alarm-failed", &e);
}

static void judge_end(struct core *c, const char *kind, const char *name, int64_t not_after, bool near)
{
    char object[ID_MAX_LEN * 2 + 32], text[96], at[32];

    snprintf(object, sizeof(object), "%s:%s", kind, name);
    clock_format((time_t)not_after, at);
    snprintf(text, sizeof(text), "the certificate ends at %s", at);
    judge(c, "certificate-end", object, near ? text : NULL);
}

/* What the service renews by itself at two thirds is late at three quarters. */
static bool is_late(int64_t not_before, int64_t not_after, int64_t now)
{
    return now > not_before + (not_after - not_before) / 4 * 3;
}

static void watch_certificates(struct core *c, int64_t now)
{
    const struct front_link *f;

    for (size_t i = 0; i < c->ca_n; i++) {
        const struct authority *a = &c->ca[i];

        if (a->exists)
            judge_end(c, "ca", a->conf->name, a->not_after, a->not_after - now < CA_END_S);
        if (a->exists && a->ocsp_cert.len)
            judge_end(c, "ocsp", a->conf->name, a->ocsp_not_after, is_late(a->ocsp_not_before, a->ocsp_not_after, now));
    }
    if (c->record.cert.len)
        judge_end(c, "record", "record", c->record.not_after, is_late(c->record.not_before, c->record.not_after, now));
    if (c->feed.cert.len)
        judge_end(c, "feed", "feed", c->feed.not_after, is_late(c->feed.not_before, c->feed.not_after, now));
    LIST_FOREACH(f, &c->fronts, link)
    {
        struct cert_row row;
        struct err e = {0};
        char requester[ID_MAX_LEN + 16];

        snprintf(requester, sizeof(requester), "service:%s", f->name);
        if (store_cert_newest_by_requester(c->store, requester, PROFILE_TLS_SERVER, &row, &e) == E_OK)
            judge_end(c, "server", f->name, row.not_after, is_late(row.not_before, row.not_after, now));
        else
            core_doubt(c, &e);
    }
}

static void watch_disk(struct core *c, const char *object, const char *dir)
{
    struct statvfs v;
    uint64_t left, all;
    char text[PATH_LEN + 64];

    if (statvfs(dir, &v) != 0)
        return;
    left = (uint64_t)v.f_bavail * v.f_frsize;
    all = (uint64_t)v.f_blocks * v.f_frsize;
    snprintf(text, sizeof(text), "%s has %llu MiB left", dir, (unsigned long long)(left >> 20));
    judge(c, "disk-low", object, left < DISK_MIN && left < all / DISK_PART ? text : NULL);
}

static void watch_audit(struct core *c, int64_t now)
{
    uint64_t seq = 0;
    uint8_t hash[32];
    struct err e = {0};
    char text[96], at[32];
    bool late;

    if (store_audit_last(c->store, &seq, hash, &e) != E_OK) {
        core_doubt(c, &e);
        return;
    }
    clock_format((time_t)c->audit_head_time, at);
    snprintf(text, sizeof(text), c->audit_head_time ? "the newest signed head is of %s" : "no head was signed yet", at);
    late = c->conf->audit_token[0] && seq > c->audit_head_seq && c->audit_head_time &&
           now - c->audit_head_time > c->conf->audit_head_s * HEAD_LATE;
    judge(c, "audit-head-late", "audit", late ? text : NULL);
}

static void watch_tokens(struct core *c, int64_t now)
{
    for (size_t i = 0; i < c->conf->tokens_n && i < TOKENS_WATCHED; i++) {
        const struct conf_token *t = &c->conf->tokens[i];
        struct signer_link *l = signer_link_find(c, t->name);
        struct token_watch *w = &c->token_watch[i];
        char object[ID_MAX_LEN + 16];
        bool down = !t->offline && !(l && l->keys_known) && !jobs_use_token(c, t->name);

        snprintf(object, sizeof(object), "token:%s", t->name);
        if (!down)
            w->down_since = 0;
        else if (w->down_since == 0)
            w->down_since = now;
        judge(c, "token-down", object, down && now - w->down_since > TOKEN_LATE_S ? "its signer does not serve: see inkan doctor" : NULL);
    }
}

void alarm_watch(struct core *c)
{
    int64_t now = core_stamp(c);

    if (c->seal != SEAL_NONE)
        return;
    judge(c, "clock-behind", "clock", c->clock_is_back ? "the clock is before the newest time in the ledger: nothing is signed" : NULL);
    watch_certificates(c, now);
    watch_disk(c, "state", c->conf->dir_state);
    watch_disk(c, "marks", c->conf->dir_marks);
    watch_audit(c, now);
    watch_tokens(c, now);
}
