/* SPDX-License-Identifier: Apache-2.0 */
/* Administration of the service itself: status, doctor, trail, backup, clock. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/clock.h"
#include "ca/admin_int.h"
#include "ca/record.h"
#include "ca/store/capture.h"
#include "ca/store/request.h"

#define AUDIT_PAGE      100
#define HEAD_WAIT_MS    2000
#define DISK_WARN_BYTES ((uint64_t)1 << 30)
#define DISK_FAIL_BYTES ((uint64_t)64 << 20)
#define CERT_WARN_S     (90LL * 86400)

/* ---- status ---- */

/* What the core knows of itself and sees of a process on its link, where the supervisor knows less; NULL: nothing. */
static const char *link_state(struct core *c, const struct proc_info *info)
{
    const struct front_link *f;
    const struct signer_link *s;
    const char *why;

    if (strcmp(info->name, "core") == 0)
        return core_is_ready(c, &why) ? "READY" : why;
    if (strcmp(info->name, "status") == 0)
        return !c->status.present ? "absent" : !c->status.chan ? "silent" : c->status.acked_seq < core_seq(c) ? "catching up" : "current";
    LIST_FOREACH(f, &c->fronts, link)
    {
        if (strcmp(f->name, info->name) == 0)
            return !f->chan ? "silent" : f->hello ? NULL : "starting";
    }
    LIST_FOREACH(s, &c->signers, link)
    {
        if (strncmp(info->name, "signer-", 7) == 0 && strcmp(s->token, info->name + 7) == 0 && s->keys_known)
            return "ready";
    }
    return NULL;
}

static json_t *processes_json(struct core *c)
{
    json_t *list = json_array();

    for (size_t i = 0; i < c->processes_n; i++) {
        const struct proc_info *p = &c->processes[i];
        bool fine = strcmp(p->state, "serving") == 0 || strcmp(p->state, "READY") == 0;
        const char *seen = p->pid && fine ? link_state(c, p) : NULL;

        json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I}", "name", p->name, "state", seen ? seen : p->state,
                                              "pid", (json_int_t)p->pid, "restarts", (json_int_t)p->restarts));
    }
    return list;
}

static json_t *cas_json(struct core *c)
{
    json_t *list = json_array();

    for (size_t i = 0; i < c->ca_n; i++) {
        const char *why = NULL;
        bool ready = authority_is_ready(c, &c->ca[i], &why);

        json_array_append_new(list, json_pack("{s:s, s:b, s:s, s:I}", "name", c->ca[i].conf->name, "ready", ready, "why",
                                              why ? why : "", "not_after", (json_int_t)c->ca[i].not_after));
    }
    return list;
}

static json_t *crls_json(struct core *c)
{
    json_t *list = json_array();

    for (size_t i = 0; i < c->ca_n; i++)
        if (c->ca[i].scope_n && c->ca[i].scope[0].exists)
            json_array_append_new(list, json_pack("{s:s, s:I, s:I}", "issuer", c->ca[i].conf->name, "number",
                                                  (json_int_t)c->ca[i].scope[0].number, "next_update",
                                                  (json_int_t)c->ca[i].scope[0].next_update));
    return list;
}

static json_t *audit_json(struct core *c)
{
    uint64_t seq = 0;
    uint8_t hash[32];
    struct audit_head_row head;
    struct err e = {0};
    json_int_t head_seq = 0, head_time = 0;

    if (store_audit_last(c->store, &seq, hash, &e) != E_OK)
        core_doubt(c, &e);
    if (store_audit_head_last(c->store, &head, &e) == E_OK) {
        head_seq = (json_int_t)head.seq;
        head_time = (json_int_t)head.time;
    }
    return json_pack("{s:I, s:I, s:I, s:s}", "seq", (json_int_t)seq, "head_seq", head_seq, "head_time", head_time, "key",
                     c->audit_key);
}

static json_t *requests_json(struct core *c)
{
    struct request_counts n = {0};
    struct err e = {0};

    if (store_request_counts(c->store, &n, &e) != E_OK)
        core_doubt(c, &e);
    return json_pack("{s:I, s:I, s:I}", "waiting", (json_int_t)n.waiting, "approved", (json_int_t)n.approved, "oldest",
                     (json_int_t)n.oldest);
}

static json_t *captures_json(struct core *c)
{
    struct capture_counts n = {0};
    struct err e = {0};

    if (store_capture_counts(c->store, &n, &e) != E_OK)
        core_doubt(c, &e);
    return json_pack("{s:I, s:I, s:I}", "waiting", (json_int_t)n.waiting, "set_aside", (json_int_t)n.set_aside, "oldest",
                     (json_int_t)n.oldest);
}

void op_status(struct core *c, struct admin_call *call)
{
    json_t *j = core_health(c);

    json_object_set_new(j, "processes", processes_json(c));
    json_object_set_new(j, "cas", cas_json(c));
    json_object_set_new(j, "crls", crls_json(c));
    json_object_set_new(j, "audit", audit_json(c));
    json_object_set_new(j, "requests", requests_json(c));
    json_object_set_new(j, "captures", captures_json(c));
    json_object_set_new(j, "version", json_string(INKAN_VERSION));
    admin_done(call, j, -1);
}

/* ---- doctor ---- */

enum finding { FINE, WARN, FAIL };

static void report(struct admin_call *call, enum finding f, const char *check, const char *text, const char *remedy)
{
    static const char *const names[] = {"ok", "warn", "fail"};

    admin_row(call, json_pack("{s:s, s:s, s:s, s:s}", "check", check, "state", names[f], "text", text, "remedy",
                              f == FINE ? "" : remedy));
}

/* What the thread that reads the ledger found. */
struct ledger_check {
    uint64_t counts[3];
    bool broken;
    char text[sizeof(((struct err *)0)->msg)];
};

static enum err_code ledger_check_read(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    struct ledger_check *found = call->state;
    enum err_code code = store_check(ledger, e);

    (void)more;
    if (code == E_OK)
        return store_intent_counts(ledger, found->counts, e);
    if (code != E_CONFLICT)
        return code;
    found->broken = true;
    snprintf(found->text, sizeof(found->text), "%s", e->msg);
    return E_OK;
}

static void doctor_ledger(struct core *c, struct admin_call *call, enum err_code code, const struct err *e)
{
    const struct ledger_check *found = call->state;
    char text[160];

    if (code == E_BUSY)
        report(call, WARN, "ledger", e->msg, "run doctor again");
    else if (code != E_OK)
        report(call, FAIL, "ledger", e->msg, "look at the log");
    else if (found->broken)
        report(call, FAIL, "ledger", found->text, "inkan restore from a backup");
    else {
        snprintf(text, sizeof(text), "consistent; %llu issued, %llu void", (unsigned long long)found->counts[INTENT_DONE],
                 (unsigned long long)found->counts[INTENT_VOID]);
        report(call, FINE, "ledger", text, "");
    }
    if (c->seal != SEAL_NONE)
        report(call, FAIL, "seal", c->seal_why,
               c->seal == SEAL_CLOCK ? "set the clock right, then: inkan clock accept" : "inkan restore --accept");
}

static void doctor_disk(struct admin_call *call, const char *check, const char *dir)
{
    struct statvfs v;
    uint64_t left;
    char text[PATH_LEN + 64];

    if (statvfs(dir, &v) != 0) {
        snprintf(text, sizeof(text), "%s: %s", dir, strerror(errno));
        report(call, FAIL, check, text, "make the directory, for the user of the core");
        return;
    }
    left = (uint64_t)v.f_bavail * v.f_frsize;
    snprintf(text, sizeof(text), "%s: %llu MiB free", dir, (unsigned long long)(left >> 20));
    report(call, left < DISK_FAIL_BYTES ? FAIL : left < DISK_WARN_BYTES ? WARN : FINE, check, text, "make room");
}

static void doctor_places(struct core *c, struct admin_call *call)
{
    struct stat state, marks;

    doctor_disk(call, "disk state", c->conf->dir_state);
    doctor_disk(call, "disk marks", c->conf->dir_marks);
    if (stat(c->conf->dir_state, &state) == 0 && stat(c->conf->dir_marks, &marks) == 0 && state.st_dev == marks.st_dev)
        report(call, WARN, "second place", "dir_marks is on the same file system as dir_state",
               "put dir_marks on another disk, so that a lost ledger is noticed");
}

static void doctor_clock(struct core *c, struct admin_call *call)
{
    char now[32], text[96];

    clock_format(clock_now(), now);
    snprintf(text, sizeof(text), "%s%s", now, c->clock_is_back ? ", before the newest time in the ledger" : "");
    report(call, c->clock_is_back ? FAIL : FINE, "clock", text, "set the clock right");
}

static void doctor_signers(struct core *c, struct admin_call *call)
{
    char check[ID_MAX_LEN + 16], process[PROC_NAME_MAX + 1];

    for (size_t i = 0; i < c->conf->tokens_n; i++) {
        const struct conf_token *t = &c->conf->tokens[i];
        const struct signer_link *l = signer_link_find(c, t->name);
        const struct proc_info *p;

        snprintf(check, sizeof(check), "token %s", t->name);
        snprintf(process, sizeof(process), "signer-%s", t->name);
        p = core_process(c, process);
        if (t->offline && !l)
            report(call, FINE, check, "offline", "");
        else if (!l)
            report(call, FAIL, check, p && p->state[0] ? p->state : "its signer is not there",
                   "inkan token info, the log, inkan token unblock");
        else if (!l->keys_known)
            report(call, WARN, check, p && p->state[0] ? p->state : "its signer is starting", "wait, or look at the log");
        else
            report(call, FINE, check, "its signer serves", "");
        for (size_t k = 0; l && k < l->key_n; k++)
            if (!l->key[k].usable) {
                snprintf(check, sizeof(check), "key %.64s", l->key[k].name);
                report(call, FAIL, check, l->key[k].why, "the token holds another key than the ledger: check the token");
            }
    }
    if (!c->audit_key[0])
        report(call, WARN, "audit key", "there is none: heads of the trail are not signed",
               "inkan key generate --purpose audit");
}

static void doctor_end(struct admin_call *call, const char *check, int64_t not_after, int64_t now, const char *remedy)
{
    char text[64], at[32];

    clock_format((time_t)not_after, at);
    snprintf(text, sizeof(text), "until %s", at);
    report(call, now > not_after ? FAIL : not_after - now < CERT_WARN_S ? WARN : FINE, check, text, remedy);
}

/* The key of records or of the feed. */
static void doctor_signer(struct core *c, struct admin_call *call, enum key_purpose purpose, const char *remedy, int64_t now)
{
    const struct signer_place where = signer_place(c, purpose);
    const struct record_signer *r = where.signer;
    char text[64];

    if (!where.token[0])
        return;
    snprintf(text, sizeof(text), "the certificate of the %s key", key_purpose_name(purpose));
    if (!r->cert.len)
        report(call, FAIL, where.name, "its key has no certificate", "inkan init");
    else
        report(call,
               now > r->not_after                                             ? FAIL
               : now > r->not_before + (r->not_after - r->not_before) / 4 * 3 ? WARN
                                                                              : FINE,
               where.name, text, remedy);
}

static void doctor_cas(struct core *c, struct admin_call *call, int64_t now)
{
    char check[ID_MAX_LEN + 32], text[64], at[32];

    for (size_t i = 0; i < c->ca_n; i++) {
        const struct authority *a = &c->ca[i];

        snprintf(check, sizeof(check), "CA %s", a->conf->name);
        if (!a->exists) {
            report(call, WARN, check, "does not exist yet", "inkan ca create");
            continue;
        }
        doctor_end(call, check, a->not_after, now, "plan its successor");
        if (a->conf->ocsp_token[0] && !a->ocsp_cert.len)
            report(call, FAIL, check, "no OCSP responder certificate", "inkan ca create");
        else if (a->ocsp_cert.len && now > a->ocsp_not_before + (a->ocsp_not_after - a->ocsp_not_before) / 4 * 3)
            report(call, now > a->ocsp_not_after ? FAIL : WARN, check, "its OCSP responder certificate is near its end",
                   "inkan ca root-sign; of an online CA: look at the log");
        for (size_t k = 0; k < a->scope_n; k++) {
            const struct crl_scope *s = &a->scope[k];

            snprintf(check, sizeof(check), "CRL %s/%u", a->conf->name, s->shard);
            if (!s->exists) {
                report(call, FAIL, check, "never published", "inkan ca create");
                continue;
            }
            clock_format((time_t)s->next_update, at);
            snprintf(text, sizeof(text), "next update %s", at);
            report(call,
                   now > s->next_update                                                    ? FAIL
                   : now > s->this_update + (s->next_update - s->this_update) / 10 * 6 ? WARN
                                                                                           : FINE,
                   check, text, authority_is_offline(c, a) ? "inkan ca root-sign" : "look at the log: crl-refused");
        }
    }
}

static void doctor_requests(struct core *c, struct admin_call *call)
{
    struct request_counts n = {0};
    struct err e = {0};
    char text[96], since[32];

    if (store_request_counts(c->store, &n, &e) != E_OK)
        core_doubt(c, &e);
    if (n.waiting == 0)
        return;
    clock_format(n.oldest, since);
    snprintf(text, sizeof(text), "%llu wait for an operator, the oldest since %s", (unsigned long long)n.waiting, since);
    report(call, WARN, "requests", text, "inkan request list, then approve or refuse");
}

static void doctor_captures(struct core *c, struct admin_call *call)
{
    struct capture_counts n = {0};
    struct err e = {0};
    char text[96];

    if (store_capture_counts(c->store, &n, &e) != E_OK)
        core_doubt(c, &e);
    if (n.waiting + n.set_aside == 0)
        return;
    snprintf(text, sizeof(text), "%llu requests of units wait for the token, %llu are set aside", (unsigned long long)n.waiting,
             (unsigned long long)n.set_aside);
    report(call, WARN, "captures", text, n.set_aside ? "inkan capture list, then retry or drop" : "bring the token back");
}

static bool put_alarm(void *arg, const struct alarm_row *row)
{
    char check[192];

    snprintf(check, sizeof(check), "alarm %.64s %.100s", row->kind, row->object);
    report(arg, WARN, check, row->text, "look into it; the trail holds the details");
    return true;
}

static void doctor_rest(struct core *c, struct admin_call *call, enum err_code code, const struct err *why)
{
    char text[160];
    struct err e = {0};
    int64_t now = core_stamp(c);

    doctor_ledger(c, call, code, why);
    doctor_places(c, call);
    doctor_clock(c, call);
    doctor_signers(c, call);
    doctor_cas(c, call, now);
    doctor_signer(c, call, PURPOSE_RECORD, "look at the log: record-renewal-failed", now);
    doctor_signer(c, call, PURPOSE_FEED, "look at the log: feed-renewal-failed", now);
    doctor_requests(c, call);
    doctor_captures(c, call);
    snprintf(text, sizeof(text), "%s; %s; libevent %s", OpenSSL_version(OPENSSL_VERSION), store_engine(),
             event_get_version());
    report(call, FINE, "libraries", text, "");
    if (store_alarm_each(c->store, true, put_alarm, call, &e) != E_OK)
        core_doubt(c, &e);
    admin_done(call, NULL, -1);
}

void op_doctor(struct core *c, struct admin_call *call)
{
    struct err e = {0};

    call->state = calloc(1, sizeof(struct ledger_check));
    if (call->state) {
        admin_read_then(c, call, READER_LONG, ledger_check_read, doctor_rest);
        return;
    }
    err_set(&e, E_NOMEM, "doctor");
    admin_fail(call, &e);
}

/* ---- trail ---- */

struct entries {
    struct admin_call *call;
    size_t n;
};

json_t *json_entry(const struct audit_row *row)
{
    json_t *j = json_pack("{s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o}", "seq", (json_int_t)row->seq,
                                 "time", (json_int_t)row->time, "event", row->event, "actor", row->actor, "actor_kind",
                                 row->actor_kind, "domain", row->domain, "object", row->object, "detail", row->detail,
                                 "request_digest", json_hex(row->request_digest), "prev_hash",
                                 json_hex(BYTES_OF(row->prev_hash)), "hash", json_hex(BYTES_OF(row->hash)));

    if (j && row->signature.len) /* what operators signed is ASCII */
        json_object_set_new(j, "signature", json_stringn((const char *)row->signature.p, row->signature.len));
    if (j && row->approvals.len)
        json_object_set_new(j, "approvals", json_stringn((const char *)row->approvals.p, row->approvals.len));
    return j;
}

static bool put_entry(void *arg, const struct audit_row *row)
{
    struct entries *p = arg;

    admin_row(p->call, json_entry(row));
    p->call->after = row->seq + 1;
    p->n++;
    return true;
}

static enum err_code audit_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    struct entries p = {call, 0};
    uint64_t to = call->after + AUDIT_PAGE - 1;

    if (to > call->until)
        to = call->until;
    if (call->after <= to && store_audit_each(ledger, call->after, to, put_entry, &p, e) != E_OK)
        return e->code;
    *more = p.n && call->after <= call->until;
    return E_OK;
}

void op_audit_export(struct core *c, struct admin_call *call)
{
    uint64_t last = 0;
    uint8_t hash[32];
    struct err e = {0};

    if (store_audit_last(c->store, &last, hash, &e) != E_OK) {
        core_doubt(c, &e);
        admin_fail(call, &e);
        return;
    }
    call->after = (uint64_t)admin_int(call, "from", 1);
    if (call->after == 0)
        call->after = 1;
    call->until = (uint64_t)admin_int(call, "to", (int64_t)last);
    if (call->until > last)
        call->until = last;
    admin_list(c, call, audit_page);
}

static bool put_head(void *arg, const struct audit_head_row *row)
{
    static const char *const algs[] = {"none", "rsa-sha256", "ecdsa-sha256", "ecdsa-sha384", "ed25519"};
    struct admin_call *call = arg;

    call->after = row->seq;
    call->left++;
    admin_row(call, json_pack("{s:I, s:I, s:o, s:s, s:s, s:o, s:o}", "seq", (json_int_t)row->seq, "time",
                             (json_int_t)row->time, "hash", json_hex(BYTES_OF(row->hash)), "key", row->key, "algorithm",
                             row->sig_alg < SIG_ALGS_COUNT ? algs[row->sig_alg] : "none", "tbs", json_base64(row->tbs),
                             "signature", json_base64(row->signature)));
    return true;
}

static enum err_code heads_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    call->left = 0; /* counts the rows of this page */
    if (store_audit_head_each(ledger, call->after, AUDIT_PAGE, put_head, call, e) != E_OK)
        return e->code;
    *more = call->left == AUDIT_PAGE;
    return E_OK;
}

void op_audit_heads(struct core *c, struct admin_call *call)
{
    admin_list(c, call, heads_page);
}

/* ---- backup ---- */

struct backup {
    char path[PATH_LEN];
    uint64_t seq, audit_seq, size;
    uint8_t sha256[32];
    int fd;
};

static enum err_code digest_file(struct admin_call *call, struct backup *b, struct err *e)
{
    uint8_t piece[65536];
    ssize_t n;

    sha256_begin();
    while ((n = read(b->fd, piece, sizeof(piece))) != 0 && !reader_job_must_end(&call->job)) {
        if (n < 0 && errno != EINTR)
            break;
        sha256_add(BYTES(piece, n > 0 ? n : 0));
        b->size += n > 0 ? (uint64_t)n : 0;
    }
    sha256_end(b->sha256);
    if (n != 0)
        return err_errno(e, E_IO, "%s: read", b->path);
    return lseek(b->fd, 0, SEEK_SET) == 0 ? E_OK : err_errno(e, E_IO, "%s", b->path);
}

/* All of it is of one moment: the numbers told are those in the copy. */
static enum err_code backup_read(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    struct backup *b = call->state;
    uint8_t hash[32];

    (void)more;
    (void)unlink(b->path); /* of a core that died between making and passing it */
    if (store_begin(ledger, e) != E_OK || store_audit_last(ledger, &b->audit_seq, hash, e) != E_OK ||
        store_status_seq(ledger, &b->seq, e) != E_OK || store_backup(ledger, b->path, e) != E_OK)
        return e->code;
    store_rollback(ledger); /* the digest needs no snapshot */
    b->fd = open(b->path, O_RDONLY | O_CLOEXEC);
    (void)unlink(b->path); /* the descriptor is handed over */
    return b->fd < 0 ? err_errno(e, E_IO, "%s", b->path) : digest_file(call, b, e);
}

static enum err_code backup_record(struct core *c, struct admin_call *call, struct err *e)
{
    if (core_begin(c, e) != E_OK)
        return e->code;
    if (core_audit(c, &call->by, "backup-made", "", "ledger", NULL, core_stamp(c), e) != E_OK) {
        core_doubt(c, e);
        core_rollback(c);
        return e->code;
    }
    core_commit(c);
    return E_OK;
}

static void backup_made(struct core *c, struct admin_call *call, enum err_code code, const struct err *why)
{
    struct backup *b = call->state;
    AUTO_FD int fd = take_fd(&b->fd);
    struct err e = *why;

    if (code == E_OK && backup_record(c, call, &e) == E_OK)
        admin_done(call, json_pack("{s:I, s:I, s:I, s:o}", "seq", (json_int_t)b->seq, "audit_seq", (json_int_t)b->audit_seq,
                                   "size", (json_int_t)b->size, "sha256", json_hex(BYTES_OF(b->sha256))), fd);
    else
        admin_fail(call, &e);
}

/* A head first, so that the copy can be verified to its end; the entry about the copy comes after it. */
static bool backup_page(struct core *c, struct admin_call *call)
{
    struct backup *b;
    uint64_t last = 0;
    uint8_t hash[32];
    struct err e = {0};

    if (store_audit_last(c->store, &last, hash, &e) == E_OK && c->audit_key[0] && c->audit_head_seq < last &&
        clock_mono_ms() < (int64_t)call->until)
        return true;
    core_doubt(c, &e);
    b = calloc(1, sizeof(*b));
    if (!b) {
        err_set(&e, E_NOMEM, "backup");
        admin_fail(call, &e);
        return false;
    }
    b->fd = -1;
    snprintf(b->path, sizeof(b->path), "%s/ledger/tmp/backup-%llu", c->conf->dir_state, (unsigned long long)++c->next_id);
    call->state = b;
    admin_read_then(c, call, READER_LONG, backup_read, backup_made);
    return false;
}

void op_backup(struct core *c, struct admin_call *call)
{
    call->until = (uint64_t)(clock_mono_ms() + HEAD_WAIT_MS);
    audit_head_start(c);
    admin_stream(c, call, backup_page);
}

/* ---- clock ---- */

void op_clock_accept(struct core *c, struct admin_call *call)
{
    int64_t now = clock_now();
    struct err e = {0};
    enum err_code code;

    if (c->seal == SEAL_RESTORE)
        code = err_set(&e, E_CONFLICT, "sealed after a restore: inkan restore --accept comes first");
    else if ((code = core_begin(c, &e)) == E_OK) {
        if (store_meta_set(c->store, "sealed", (struct bytes){NULL, 0}, &e) != E_OK ||
            store_meta_set_i64(c->store, "time_floor", now, &e) != E_OK ||
            core_audit(c, &call->by, "clock-accepted", "", "ledger",
                       json_pack("{s:I, s:I}", "time", (json_int_t)now, "floor_before", (json_int_t)c->clock.floor), now,
                       &e) != E_OK) {
            code = e.code;
            core_doubt(c, &e);
            core_rollback(c);
        } else {
            core_commit(c);
        }
    }
    if (code != E_OK) {
        admin_fail(call, &e);
        return;
    }
    clock_rule_force(&c->clock, now, clock_mono_ms());
    c->floor_written = now;
    c->seal = SEAL_NONE;
    c->clock_is_back = false;
    log_note(LOG_WARN, "clock-accepted", "by", call->by.name);
    links_tick(c);
    admin_done(call, json_pack("{s:I}", "time", (json_int_t)now), -1);
}
