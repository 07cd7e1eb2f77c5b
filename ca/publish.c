/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publication of CRLs. A list goes through: number reserved durably, written and linted from one snapshot of the ledger,
 * signed, read back, verified, compared with the one before (the gate), file, row, fronts. The loop's thread decides and
 * writes the ledger; what takes long is a job of a reader (crl_list.h), which has copies of all it needs.
 */
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fsio.h"
#include "ca/core.h"
#include "ca/crl_list.h"

#define DEBOUNCE_MS 1000
#define RETRY_MS    5000
#define SOON_MS     1000
#define LATE_MS     10000
#define BUSY_MAX    2 /* lists under way at once: a flood of shards must not starve issuance */

/* One list under way. Between submit and done it belongs to the reader. */
struct publication {
    struct reader_job job; /* first */
    LIST_ENTRY(publication) link;
    struct core *core;
    struct list_order order;
    struct list_made made;
    enum sig_alg alg;
    struct buf sig;
    struct list_file file;
    publish_fn done;
    void *arg;
};

/* ---- names ---- */

void publish_name(const struct crl_scope *s, char *out, size_t size)
{
    if (s->shard)
        snprintf(out, size, "%s-%u", s->ca->conf->name, s->shard);
    else
        snprintf(out, size, "%s", s->ca->conf->name);
}

void publish_path(const struct core *c, const struct crl_scope *s, char *out, size_t size)
{
    char name[ID_MAX_LEN + 16];

    publish_name(s, name, sizeof(name));
    snprintf(out, size, "%s/crl/%s.crl", c->conf->dir_state, name);
}

static struct crl_scope *scope_find(struct core *c, const char *ca, unsigned shard)
{
    struct authority *a = authority_find(c, ca);

    return a && a->exists && shard < a->scope_n ? &a->scope[shard] : NULL;
}

void publish_mark(struct core *c, uint32_t issuer, unsigned shard)
{
    struct authority *a = authority_by_id(c, issuer);

    if (a && shard < a->scope_n && a->scope[shard].dirty_since_ms == 0)
        a->scope[shard].dirty_since_ms = clock_mono_ms();
}

/* ---- at start ---- */

/* The ledger's copy in the place of a file that is gone. */
static void restore_lost(struct core *c, struct crl_scope *s, const char *path)
{
    struct list_file file;
    struct crl_row row;
    struct err e = {0};

    if (!s->exists || store_crl_newest(c->store, s->ca->id, s->shard, &row, &e) != E_OK || row.der.len == 0)
        return;
    if (file_write_atomic(path, row.der, 0644, &e) != E_OK || list_file_open(path, &file, &e) != E_OK) {
        log_failure("crl-file-failed", &e);
        return;
    }
    s->dirty_since_ms = 0;
    served_list(c, s, &file);
}

/*
 * The file is another one than the ledger says (a crash came before its row, or a backup was put in place): the next list
 * must come after what the world has seen.
 */
static void note_floor(struct crl_scope *s, int fd)
{
    struct bytes der;
    struct crl list;
    struct err e = {0};

    if (fd_map(fd, CRL_MAX_LEN, &der, &e) != E_OK)
        return;
    if (crl_read(der, &list, &e) == E_OK) {
        s->this_floor = list.this_update;
        s->next_floor = list.next_update;
    }
    fd_unmap(der);
}

static void restore_file(struct core *c, struct crl_scope *s)
{
    char path[PATH_LEN];
    struct list_file file;
    struct err e = {0};
    enum err_code code;

    publish_path(c, s, path, sizeof(path));
    code = list_file_open(path, &file, &e);
    if (code == E_OK && s->exists && memcmp(file.sha256, s->sha256, 32) == 0) {
        s->size = file.size;
        served_list(c, s, &file);
        return;
    }
    s->dirty_since_ms = 1;
    if (code != E_OK) {
        restore_lost(c, s, path);
        return;
    }
    note_floor(s, file.fd);
    if (s->exists)
        served_list(c, s, &file);
    else
        list_file_clear(&file);
}

void publish_open(struct core *c)
{
    for (size_t i = 0; i < c->ca_n; i++)
        for (size_t k = 0; c->ca[i].exists && k < c->ca[i].scope_n; k++)
            restore_file(c, &c->ca[i].scope[k]);
    served_open(c);
}

static void publication_free(struct publication *p)
{
    LIST_REMOVE(p, link);
    list_order_clear(&p->order);
    list_made_clear(&p->made);
    list_file_clear(&p->file);
    buf_clear(&p->sig);
    free(p);
}

/* Readers and signers have answered: what is left waits for nobody. */
void publish_free(struct core *c)
{
    struct publication *p;

    while ((p = LIST_FIRST(&c->publications)))
        publication_free(p);
}

/* ---- one list ---- */

static struct crl_scope *scope_of(const struct publication *p)
{
    return scope_find(p->core, p->order.ca, p->order.shard);
}

#define ALARM_LATE    "crl-late"
#define ALARM_REFUSED "crl-refused"

static void list_object(const struct crl_scope *s, char *out, size_t size)
{
    snprintf(out, size, "crl:%s/%u", s->ca->conf->name, s->shard);
}

/* Open until the next list is published; `doctor` names it. */
static void raise_alarm(struct core *c, const struct crl_scope *s, const char *kind, const char *text)
{
    char object[ID_MAX_LEN + 32];
    struct alarm_row alarm = {.time = core_stamp(c), .kind = kind, .domain = "", .object = object, .text = text};
    struct err e = {0};
    enum err_code code;

    list_object(s, object, sizeof(object));
    if (core_begin(c, &e) != E_OK)
        return;
    code = store_alarm_insert(c->store, &alarm, &e);
    if (code != E_OK) {
        core_doubt(c, &e);
        core_rollback(c);
        return; /* E_CONFLICT: it is open */
    }
    core_commit(c);
}

static enum err_code clear_alarms(struct core *c, const char *object, struct err *e)
{
    static const char *const kinds[] = {ALARM_LATE, ALARM_REFUSED};

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct err none = {0};
        enum err_code code = store_alarm_clear(c->store, kinds[i], "", object, core_stamp(c), &none);

        if (code != E_OK && code != E_NOT_FOUND) {
            *e = none;
            return code;
        }
    }
    return E_OK;
}

static void publication_end(struct publication *p, enum err_code code, const struct err *why)
{
    struct core *c = p->core;
    struct crl_scope *s = scope_of(p);
    struct log_line l;

    if (s) {
        s->busy = false;
        if (code != E_OK) {
            s->retry_at_ms = clock_mono_ms() + (code == E_PENDING ? SOON_MS : RETRY_MS);
            if (s->dirty_since_ms == 0)
                s->dirty_since_ms = 1;
        }
        if (code != E_OK && code != E_PENDING) {
            s->refusals++;
            s->refused = *why;
        }
    }
    if (code != E_OK && code != E_PENDING && !c->stopping) {
        log_begin(&l, LOG_ERROR, "crl-refused");
        log_str(&l, "ca", p->order.ca);
        log_u64(&l, "shard", p->order.shard);
        log_err(&l, why);
        log_end(&l);
        if (s && code == E_CONFLICT) /* the gate: what the ledger says now contradicts what the world was told */
            raise_alarm(c, s, ALARM_REFUSED, why->msg);
    }
    if (p->done)
        p->done(c, p->arg, s, code, why);
    publication_free(p);
}

/* Goes on unless the step before failed, the process stops, or the CA is gone. */
static bool may_go_on(struct publication *p, enum err_code code, const struct err *why)
{
    struct err e = {0};

    if (code == E_OK && p->core->stopping)
        code = err_set(&e, E_BUSY, "the core stops");
    else if (code == E_OK && !scope_of(p))
        code = err_set(&e, E_INTERNAL, "CA \"%s\" left the configuration", p->order.ca);
    if (code != E_OK)
        publication_end(p, code, e.code ? &e : why);
    return code == E_OK;
}

static enum err_code record_list(struct publication *p, const struct crl_scope *s, struct err *e)
{
    struct core *c = p->core;
    char object[ID_MAX_LEN + 32], hex[65];
    struct crl_row row = {
        .issuer = s->ca->id,
        .shard = s->shard,
        .number = p->order.number,
        .this_update = p->made.this_update,
        .next_update = p->made.next_update,
        .published_at = p->made.now,
        .seq = p->made.seq,
        .entries = p->made.entries,
        .regular = p->made.regular,
        .der = buf_bytes(&p->file.der),
    };

    memcpy(row.sha256, p->file.sha256, sizeof(row.sha256));
    hex_encode(row.sha256, 32, hex);
    list_object(s, object, sizeof(object));
    if (core_begin(c, e) != E_OK)
        return e->code;
    if (store_crl_published(c->store, &row, e) != E_OK || clear_alarms(c, object, e) != E_OK ||
        core_audit(c, &ACTOR_CORE, "crl-published", "", object,
                   json_pack("{s:I, s:I, s:s, s:I}", "number", (json_int_t)row.number, "entries",
                             (json_int_t)row.entries, "sha256", hex, "seq", (json_int_t)row.seq),
                   core_stamp(c), e) != E_OK) {
        core_doubt(c, e);
        core_rollback(c);
        return e->code;
    }
    core_commit(c);
    return E_OK;
}

static void scope_published(const struct publication *p, struct crl_scope *s)
{
    struct log_line l;

    s->exists = true;
    s->number = p->order.number;
    s->seq = p->made.seq;
    s->entries = p->made.entries;
    s->this_update = p->made.this_update;
    s->next_update = p->made.next_update;
    s->published_at = p->made.now;
    s->size = p->file.size;
    s->alarmed = false;
    s->late_since_ms = 0;
    memcpy(s->sha256, p->file.sha256, sizeof(s->sha256));
    log_begin(&l, LOG_INFO, "crl-published");
    log_str(&l, "ca", p->order.ca);
    log_u64(&l, "shard", s->shard);
    log_u64(&l, "number", s->number);
    log_u64(&l, "entries", s->entries);
    log_u64(&l, "seq", s->seq);
    log_end(&l);
}

/* A list without a row may be in its place all the same (the step after the renaming failed): the next one comes after it. */
static void hold_floor(const struct publication *p)
{
    struct crl_scope *s = scope_of(p);

    if (!s)
        return;
    if (s->this_floor < p->made.this_update)
        s->this_floor = p->made.this_update;
    if (s->next_floor < p->made.next_update)
        s->next_floor = p->made.next_update;
}

static void on_list_in_place(struct reader_job *job, enum err_code code, const struct err *why)
{
    struct publication *p = (struct publication *)job;
    struct core *c = p->core;
    struct crl_scope *s;
    struct err e = {0};

    if (code != E_OK)
        hold_floor(p);
    if (!may_go_on(p, code, why))
        return;
    s = scope_of(p);
    code = record_list(p, s, &e);
    if (code == E_OK) {
        scope_published(p, s);
        served_list(c, s, &p->file);
        marks_update(c);
    } else {
        hold_floor(p);
    }
    publication_end(p, code, &e);
}

static enum err_code run_publish(struct reader_job *job, struct store *ledger, struct err *e)
{
    struct publication *p = (struct publication *)job;

    return list_publish(ledger, &p->order, &p->made, p->alg, buf_bytes(&p->sig), &p->file, e);
}

static void on_list_signed(void *arg, enum err_code code, const struct err *why, enum sig_alg alg, struct bytes sig)
{
    struct publication *p = arg;
    struct crl_scope *s = scope_of(p);
    struct err e = {0};

    if (code == E_TOKEN && s)
        signer_link_doubt(p->core, s->ca->conf->token);
    if (!may_go_on(p, code, why))
        return;
    p->alg = alg;
    buf_add_bytes(&p->sig, sig);
    p->job.run = run_publish;
    p->job.done = on_list_in_place;
    code = buf_ok(&p->sig) ? reader_submit(p->core->reader[READER_LISTS], &p->job, &e) : err_set(&e, E_NOMEM, "CRL");
    if (code != E_OK)
        publication_end(p, code, &e);
}

static enum err_code run_write(struct reader_job *job, struct store *ledger, struct err *e)
{
    struct publication *p = (struct publication *)job;

    return list_write(ledger, &p->order, &p->made, e);
}

static void on_list_written(struct reader_job *job, enum err_code code, const struct err *why)
{
    struct publication *p = (struct publication *)job;
    struct crl_scope *s;
    struct signer *signer;
    const char *missing = NULL;
    struct err e = {0};

    if (!may_go_on(p, code, why))
        return;
    s = scope_of(p);
    signer = signer_for_key(p->core, s->ca->conf->token, s->ca->key, &missing);
    if (!signer)
        code = err_set(&e, E_TOKEN, "CA \"%s\": %s", p->order.ca, missing);
    else
        code = signer_sign_file(signer, s->ca->key, SIGN_CRL, p->made.tbs.fd, CRL_SIGN_DEADLINE_MS, 0, on_list_signed, p, &e);
    if (code != E_OK)
        publication_end(p, code, &e);
}

static enum err_code reserve_number(struct publication *p, const struct crl_scope *s, struct err *e)
{
    struct core *c = p->core;

    if (core_begin(c, e) != E_OK)
        return e->code;
    if (store_crl_reserve(c->store, s->ca->id, s->shard, p->order.now, &p->order.number, e) != E_OK) {
        core_doubt(c, e);
        core_rollback(c);
        return err_wrap(e, "CRLNumber");
    }
    core_commit(c);
    return E_OK;
}

static enum err_code order_fill(struct publication *p, const struct crl_scope *s, struct err *e)
{
    const struct authority *a = s->ca;
    struct list_order *o = &p->order;

    o->issuer = a->id;
    buf_add_bytes(&o->subject, buf_bytes(&a->subject));
    buf_add_bytes(&o->spki, buf_bytes(&a->spki));
    if (!buf_ok(&o->subject) || !buf_ok(&o->spki))
        return err_set(e, E_NOMEM, "CRL");
    memcpy(o->ski, a->ski, sizeof(o->ski));
    o->not_before = a->not_before;
    o->alg = a->alg;
    o->exists = s->exists;
    o->last_this_update = s->this_update;
    o->last_next_update = s->next_update;
    o->this_floor = s->this_floor;
    o->next_floor = s->next_floor;
    o->now = core_stamp(p->core);
    o->validity_s = a->conf->crl_validity_s;
    publish_path(p->core, s, o->path, sizeof(o->path));
    if (s->exists && s->this_update >= o->now) /* no number for a list that cannot be made yet */
        return err_set(e, E_PENDING, "at most one list a second");
    return s->shard ? cert_crl_url(p->core->conf, o->ca, s->shard, o->idp_url, e) : E_OK;
}

static enum err_code publication_start(struct publication *p, struct crl_scope *s, struct err *e)
{
    struct core *c = p->core;
    const char *why = NULL;

    if (!signer_for_key(c, s->ca->conf->token, s->ca->key, &why))
        return err_set(e, E_TOKEN, "CA \"%s\": %s", p->order.ca, why);
    if (core_may_sign(c, clock_now(), e) != E_OK || order_fill(p, s, e) != E_OK || reserve_number(p, s, e) != E_OK)
        return e->code;
    s->dirty_since_ms = 0; /* a change from here on is in this list or marks the scope for the next one */
    p->job.run = run_write;
    p->job.done = on_list_written;
    return reader_submit(c->reader[READER_LISTS], &p->job, e);
}

void publish_start(struct core *c, struct crl_scope *s, publish_fn done, void *arg)
{
    struct publication *p = calloc(1, sizeof(*p));
    struct err e = {0};
    enum err_code code;

    if (!p) {
        err_set(&e, E_NOMEM, "CRL");
        if (done)
            done(c, arg, s, E_NOMEM, &e);
        return;
    }
    p->core = c;
    p->done = done;
    p->arg = arg;
    p->made.tbs = MEMFILE_INIT;
    p->file.fd = -1;
    snprintf(p->order.ca, sizeof(p->order.ca), "%s", s->ca->conf->name);
    p->order.shard = s->shard;
    buf_init(&p->order.subject, NAME_MAX_LEN);
    buf_init(&p->order.spki, SPKI_MAX_LEN);
    buf_init(&p->sig, SIGNATURE_MAX_LEN);
    LIST_INSERT_HEAD(&c->publications, p, link);
    s->busy = true;
    s->asked = false;
    code = publication_start(p, s, &e);
    if (code == E_OK)
        return;
    core_doubt(c, &e);
    publication_end(p, code, &e);
}

/* ---- timer ---- */

static bool is_due(const struct crl_scope *s, int64_t now, int64_t mono_ms)
{
    if (!s->exists || s->asked)
        return true;
    if (s->dirty_since_ms && mono_ms - s->dirty_since_ms >= DEBOUNCE_MS)
        return true;
    return now >= s->this_update + (s->next_update - s->this_update) / 2;
}

/*
 * A list past half of its life was not signed again. What the offline root signs cannot be renewed by a timer, so that is
 * said at once; a list of an online CA is late when it still is after LATE_MS.
 */
static void warn_late(struct core *c, struct crl_scope *s, bool offline, int64_t now, int64_t mono_ms)
{
    const char *remedy = offline ? "inkan ca root-sign" : "look at the log: crl-refused, signer-down";
    struct log_line l;

    if (!s->exists || now < s->this_update + (s->next_update - s->this_update) / 2) {
        s->late_since_ms = 0;
        return;
    }
    if (s->late_since_ms == 0)
        s->late_since_ms = mono_ms;
    if (s->alarmed || (!offline && mono_ms - s->late_since_ms < LATE_MS))
        return;
    s->alarmed = true;
    log_begin(&l, LOG_WARN, "crl-late");
    log_str(&l, "ca", s->ca->conf->name);
    log_u64(&l, "shard", s->shard);
    log_str(&l, "remedy", remedy);
    log_end(&l);
    raise_alarm(c, s, ALARM_LATE, "half of the list's life has passed");
}

void publish_tick(struct core *c)
{
    int64_t now = core_stamp(c), mono = clock_mono_ms();
    const char *why;
    size_t busy = 0;
    struct publication *p;
    struct err e = {0};

    LIST_FOREACH(p, &c->publications, link)
    {
        busy++;
    }
    if (c->stopping || c->seal != SEAL_NONE || core_may_sign(c, clock_now(), &e) != E_OK)
        return;
    for (size_t i = 0; i < c->ca_n; i++) {
        struct authority *a = &c->ca[i];
        bool offline = authority_is_offline(c, a);

        for (size_t k = 0; a->exists && k < a->scope_n; k++) {
            struct crl_scope *s = &a->scope[k];

            warn_late(c, s, offline, now, mono);
            if (!offline && busy < BUSY_MAX && !s->busy && mono >= s->retry_at_ms && is_due(s, now, mono) &&
                authority_is_ready(c, a, &why)) {
                publish_start(c, s, NULL, NULL);
                busy++;
            }
        }
    }
}
