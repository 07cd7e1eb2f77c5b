/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publication of CRLs and of the files the fronts serve. A list goes through: number reserved durably, written from the
 * ledger's cursor, linted, signed, read back, verified, compared with the one before (the gate), file, row, fronts.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fsio.h"
#include "ca/core.h"
#include "ca/crl.h"
#include "ca/csr.h"
#include "ca/lint.h"

#define DEBOUNCE_MS       1000
#define RETRY_MS          5000
#define SOON_MS           1000
#define THIS_UPDATE_BACK_S 300
#define BUSY_MAX          2 /* lists under way at once: a flood of shards must not starve issuance */
#define BUNDLE_MAX        ((size_t)1 << 30)
#define CHAIN_MAX         8

struct publication {
    LIST_ENTRY(publication) link;
    struct core *core;
    char ca[ID_MAX_LEN + 1];
    unsigned shard;
    uint64_t number, seq, entries;
    int64_t now, this_update, next_update, keep_from;
    bool regular;
    struct buf tbs;
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

/* ---- files for the fronts ---- */

static void send_path(const struct svc_file *base, const char *path, file_fn send, void *arg)
{
    struct svc_file file = *base;
    struct bytes content;
    struct stat st;
    struct err e = {0};
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size == 0 || fd_map(fd, BUNDLE_MAX, &content, &e) != E_OK)
        return;
    sha256(content, file.sha256);
    file.size = content.len;
    fd_unmap(content);
    send(arg, &file, fd);
}

static void send_bytes(struct svc_file *file, struct bytes content, file_fn send, void *arg)
{
    struct err e = {0};
    AUTO_FD int fd = memfd_of("inkan-file", content, &e);

    if (fd < 0) {
        log_failure("file-failed", &e);
        return;
    }
    sha256(content, file->sha256);
    file->size = content.len;
    send(arg, file, fd);
}

static void each_list(struct core *c, const struct crl_scope *s, file_fn send, void *arg)
{
    struct svc_file file = {.last_modified = s->this_update, .expires = s->next_update};
    char name[ID_MAX_LEN + 16], path[PATH_LEN];

    if (!s->exists)
        return;
    publish_name(s, name, sizeof(name));
    publish_path(c, s, path, sizeof(path));
    snprintf(file.path, sizeof(file.path), "/crl/%s.crl", name);
    snprintf(file.content_type, sizeof(file.content_type), "application/pkix-crl");
    send_path(&file, path, send, arg);
}

/* The scopes of a bundle: of one CA its full list and those above it; of all (NULL) every full list. */
static size_t bundle_scopes(struct core *c, struct authority *of, const struct crl_scope **out, size_t max)
{
    size_t n = 0;

    if (!of) {
        for (size_t i = 0; i < c->ca_n && n < max; i++)
            if (c->ca[i].exists && c->ca[i].scope[0].exists)
                out[n++] = &c->ca[i].scope[0];
        return n;
    }
    for (struct authority *a = of; a && n < max; a = authority_parent(c, a)) {
        if (!a->exists || !a->scope[0].exists)
            return 0; /* without the root's list a server would refuse every client */
        out[n++] = &a->scope[0];
        if (authority_is_root(a))
            break;
    }
    return n;
}

static void bundle_path(const struct core *c, const struct authority *of, char *path, size_t size)
{
    snprintf(path, size, "%s/crl/%s.pem", c->conf->dir_state, of ? of->conf->name : "bundle");
}

static void bundle_write(struct core *c, struct authority *of)
{
    const struct crl_scope *scope[64];
    size_t n = bundle_scopes(c, of, scope, ARRAY_LEN(scope));
    AUTO_BUF pem = BUF_INIT(BUNDLE_MAX);
    char path[PATH_LEN];
    struct err e = {0};

    for (size_t i = 0; i < n; i++) {
        AUTO_BUF der = BUF_INIT(CRL_MAX_LEN);

        publish_path(c, scope[i], path, sizeof(path));
        if (file_read(path, &der, &e) != E_OK) {
            log_failure("bundle-failed", &e);
            return;
        }
        pem_write(&pem, "X509 CRL", buf_bytes(&der));
    }
    bundle_path(c, of, path, sizeof(path));
    if (n && (!buf_ok(&pem) || file_write_atomic(path, buf_bytes(&pem), 0644, &e) != E_OK))
        log_failure("bundle-failed", &e);
}

static void each_bundle(struct core *c, struct authority *of, file_fn send, void *arg)
{
    const struct crl_scope *scope[64];
    size_t n = bundle_scopes(c, of, scope, ARRAY_LEN(scope));
    struct svc_file file = {0};
    char path[PATH_LEN];

    for (size_t i = 0; i < n; i++) {
        if (scope[i]->this_update > file.last_modified)
            file.last_modified = scope[i]->this_update;
        if (file.expires == 0 || scope[i]->next_update < file.expires)
            file.expires = scope[i]->next_update;
    }
    snprintf(file.path, sizeof(file.path), "/crl/%s.pem", of ? of->conf->name : "bundle");
    snprintf(file.content_type, sizeof(file.content_type), "application/x-pem-file");
    bundle_path(c, of, path, sizeof(path));
    if (n)
        send_path(&file, path, send, arg);
}

static void each_certificate(struct core *c, struct authority *a, file_fn send, void *arg)
{
    AUTO_BUF pem = BUF_INIT(2 * CERT_MAX_LEN * CHAIN_MAX);
    struct svc_file cer = {.last_modified = a->not_before};
    struct svc_file chain = {.last_modified = a->not_before};
    size_t n = 0;

    snprintf(cer.path, sizeof(cer.path), "/ca/%s.cer", a->conf->name);
    snprintf(cer.content_type, sizeof(cer.content_type), "application/pkix-cert");
    send_bytes(&cer, buf_bytes(&a->cert), send, arg);
    for (struct authority *up = a; up && up->exists && n < CHAIN_MAX; up = authority_parent(c, up), n++) {
        pem_write(&pem, "CERTIFICATE", buf_bytes(&up->cert));
        if (authority_is_root(up))
            break;
    }
    snprintf(chain.path, sizeof(chain.path), "/ca/%s-chain.pem", a->conf->name);
    snprintf(chain.content_type, sizeof(chain.content_type), "application/pem-certificate-chain");
    send_bytes(&chain, buf_bytes(&pem), send, arg);
}

void publish_each_file(struct core *c, file_fn send, void *arg)
{
    for (size_t i = 0; i < c->ca_n; i++) {
        struct authority *a = &c->ca[i];

        if (!a->exists)
            continue;
        each_certificate(c, a, send, arg);
        for (size_t k = 0; k < a->scope_n; k++)
            each_list(c, &a->scope[k], send, arg);
        each_bundle(c, a, send, arg);
    }
    each_bundle(c, NULL, send, arg);
}

static void send_to_fronts(void *arg, const struct svc_file *file, int fd)
{
    links_send_file(arg, file, fd);
}

/* A list is out: it and the bundles it is in. */
static void announce(struct core *c, const struct crl_scope *s)
{
    each_list(c, s, send_to_fronts, c);
    if (s->shard)
        return;
    for (size_t i = 0; i < c->ca_n; i++) {
        const struct crl_scope *in[CHAIN_MAX];
        size_t n = bundle_scopes(c, &c->ca[i], in, ARRAY_LEN(in));
        bool holds = false;

        for (size_t k = 0; k < n; k++)
            holds |= in[k] == s;
        if (!holds)
            continue;
        bundle_write(c, &c->ca[i]);
        each_bundle(c, &c->ca[i], send_to_fronts, c);
    }
    bundle_write(c, NULL);
    each_bundle(c, NULL, send_to_fronts, c);
}

/* ---- at start ---- */

static void restore_file(struct core *c, struct crl_scope *s)
{
    AUTO_BUF der = BUF_INIT(CRL_MAX_LEN);
    char path[PATH_LEN];
    uint8_t hash[32];
    struct crl_row row;
    struct crl list;
    struct err e = {0};
    enum err_code code;

    publish_path(c, s, path, sizeof(path));
    code = file_read(path, &der, &e);
    if (code == E_OK)
        sha256(buf_bytes(&der), hash);
    if (code == E_OK && s->exists && memcmp(hash, s->sha256, 32) == 0)
        return;
    /* The file is gone: the ledger's copy. The file is another one (a crash came before its row, or a backup was put in
     * place): the next list must come after what the world has seen. */
    s->dirty_since_ms = 1;
    if (code == E_OK && crl_read(buf_bytes(&der), &list, &e) == E_OK) {
        s->this_floor = list.this_update;
        s->next_floor = list.next_update;
    }
    if (code == E_OK || !s->exists || store_crl_newest(c->store, s->ca->id, s->shard, &row, &e) != E_OK || row.der.len == 0)
        return;
    if (file_write_atomic(path, row.der, 0644, &e) != E_OK)
        log_failure("crl-file-failed", &e);
    else
        s->dirty_since_ms = 0;
}

void publish_open(struct core *c)
{
    for (size_t i = 0; i < c->ca_n; i++)
        for (size_t k = 0; c->ca[i].exists && k < c->ca[i].scope_n; k++)
            restore_file(c, &c->ca[i].scope[k]);
    for (size_t i = 0; i < c->ca_n; i++)
        bundle_write(c, &c->ca[i]);
    bundle_write(c, NULL);
}

void publish_free(struct core *c)
{
    struct publication *p;

    while ((p = LIST_FIRST(&c->publications))) {
        LIST_REMOVE(p, link);
        buf_clear(&p->tbs);
        free(p);
    }
}

/* ---- one list ---- */

static void publication_end(struct publication *p, enum err_code code, const struct err *why)
{
    struct core *c = p->core;
    struct crl_scope *s = scope_find(c, p->ca, p->shard);
    struct log_line l;

    LIST_REMOVE(p, link);
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
        log_str(&l, "ca", p->ca);
        log_u64(&l, "shard", p->shard);
        log_err(&l, why);
        log_end(&l);
    }
    if (p->done)
        p->done(c, p->arg, s, code, why);
    buf_clear(&p->tbs);
    free(p);
}

struct list_cursor {
    struct core *core;
};

static bool next_entry(void *arg, struct status_row *out, struct err *e)
{
    struct list_cursor *cur = arg;

    return store_revoked_next(cur->core->store, out, e);
}

/* Counted by a second pass: what lint compares with must not come from the writer. */
static enum err_code count_entries(struct core *c, uint32_t issuer, unsigned shard, int64_t keep_from, uint64_t *n,
                                   struct err *e)
{
    struct status_row row;
    struct err walk = {0};

    *n = 0;
    if (store_revoked_begin(c->store, issuer, shard, keep_from, e) != E_OK)
        return e->code;
    while (store_revoked_next(c->store, &row, &walk))
        (*n)++;
    store_revoked_end(c->store);
    if (walk.code != E_OK)
        *e = walk;
    return walk.code;
}

/* thisUpdate, nextUpdate and what may be left out (design section 5; C4-C6, C13). */
static enum err_code list_times(struct publication *p, const struct crl_scope *s, struct err *e)
{
    struct core *c = p->core;
    int64_t newest = 0, last_regular = 0, validity = s->ca->conf->crl_validity_s;

    if (store_revoked_newest(c->store, s->ca->id, p->shard, &newest, e) != E_OK ||
        store_crl_last_regular(c->store, s->ca->id, p->shard, &last_regular, e) != E_OK)
        return e->code;
    p->keep_from = last_regular;
    p->regular = p->now - last_regular >= validity / 2;
    p->this_update = p->now - THIS_UPDATE_BACK_S;
    if (p->this_update < newest)
        p->this_update = newest;
    if (p->this_update < s->ca->not_before)
        p->this_update = s->ca->not_before;
    if (s->exists && p->this_update <= s->this_update)
        p->this_update = s->this_update + 1;
    if (s->this_floor && p->this_update <= s->this_floor)
        p->this_update = s->this_floor + 1;
    if (p->this_update > p->now)
        return err_set(e, E_PENDING, "at most one list a second");
    p->next_update = p->now + validity;
    if (s->exists && p->next_update < s->next_update)
        p->next_update = s->next_update;
    if (p->next_update < s->next_floor)
        p->next_update = s->next_floor;
    return E_OK;
}

static enum err_code reserve_number(struct publication *p, const struct crl_scope *s, struct err *e)
{
    struct core *c = p->core;

    if (core_begin(c, e) != E_OK)
        return e->code;
    if (store_crl_reserve(c->store, s->ca->id, p->shard, p->now, &p->number, e) != E_OK) {
        core_doubt(c, e);
        core_rollback(c);
        return err_wrap(e, "CRLNumber");
    }
    core_commit(c);
    return E_OK;
}

static enum err_code write_list(struct publication *p, struct crl_scope *s, struct err *e)
{
    struct core *c = p->core;
    struct cert_issuer issuer;
    struct list_cursor cursor = {c};
    char url[CERT_URL_MAX];
    struct crl_inputs in = {.issuer = &issuer, .crl_number = p->number, .this_update = p->this_update,
                            .next_update = p->next_update};
    struct lint_crl_expect x;
    struct lint_report report = {0};
    uint64_t expected = 0;
    enum err_code code;

    authority_issuer(s->ca, &issuer);
    if (p->shard) {
        if (cert_crl_url(c->conf, p->ca, p->shard, url, e) != E_OK)
            return e->code;
        in.idp_url = url;
        in.only_user_certs = true;
    }
    p->seq = core_seq(c);
    if (count_entries(c, s->ca->id, p->shard, p->keep_from, &expected, e) != E_OK ||
        store_revoked_begin(c->store, s->ca->id, p->shard, p->keep_from, e) != E_OK)
        return e->code;
    code = crl_tbs_write(&in, next_entry, &cursor, &p->entries, &p->tbs, e);
    store_revoked_end(c->store);
    if (code != E_OK)
        return code;
    x = (struct lint_crl_expect){
        .issuer_subject = issuer.subject,
        .issuer_ski = BYTES_OF(issuer.ski),
        .sig_alg = issuer.sig_alg,
        .crl_number = p->number,
        .now = p->now,
        .previous_this_update = s->exists ? s->this_update : 0,
        .idp_url = in.idp_url,
        .entries = expected,
    };
    lint_crl(buf_bytes(&p->tbs), &x, &report);
    return lint_result(&report, "CRL", e);
}

struct leaving {
    struct core *core;
    uint32_t issuer;
    int64_t keep_from;
};

/* Released, or expired before the last regular list (RFC 5280 3.3). */
static bool may_leave(void *arg, struct bytes serial)
{
    struct leaving *l = arg;
    struct cert_row row;
    struct err e = {0};

    if (store_cert_by_serial(l->core->store, l->issuer, serial, &row, &e) != E_OK)
        return false;
    return row.status == CERT_GOOD || row.not_after < l->keep_from;
}

static enum err_code gate(struct publication *p, const struct crl_scope *s, const struct crl *list, struct err *e)
{
    struct core *c = p->core;
    struct leaving l = {c, s->ca->id, p->keep_from};
    AUTO_BUF file = BUF_INIT(CRL_MAX_LEN);
    struct crl_row row;
    char path[PATH_LEN];
    struct crl before;
    struct err none = {0};

    publish_path(c, s, path, sizeof(path));
    if (file_read(path, &file, &none) != E_OK || crl_read(buf_bytes(&file), &before, &none) != E_OK) {
        if (!s->exists)
            return E_OK; /* the first */
        if (store_crl_newest(c->store, s->ca->id, p->shard, &row, e) != E_OK)
            return e->code;
        buf_reset(&file);
        buf_add_bytes(&file, row.der);
        if (crl_read(buf_bytes(&file), &before, e) != E_OK)
            return err_wrap(e, "the list before cannot be read");
    }
    return crl_gate(&before, list, may_leave, &l, e);
}

static enum err_code record_list(struct publication *p, const struct crl_scope *s, struct bytes der, struct err *e)
{
    struct core *c = p->core;
    char object[ID_MAX_LEN + 32], hex[65];
    struct crl_row row = {
        .issuer = s->ca->id,
        .shard = p->shard,
        .number = p->number,
        .this_update = p->this_update,
        .next_update = p->next_update,
        .published_at = p->now,
        .seq = p->seq,
        .entries = p->entries,
        .regular = p->regular,
        .der = der,
    };

    sha256(der, row.sha256);
    hex_encode(row.sha256, 32, hex);
    snprintf(object, sizeof(object), "crl:%s/%u", p->ca, p->shard);
    if (core_begin(c, e) != E_OK)
        return e->code;
    if (store_crl_published(c->store, &row, e) != E_OK ||
        core_audit(c, &ACTOR_CORE, "crl-published", "", object,
                   json_pack("{s:I, s:I, s:s, s:I}", "number", (json_int_t)p->number, "entries",
                             (json_int_t)p->entries, "sha256", hex, "seq", (json_int_t)p->seq),
                   core_stamp(c), e) != E_OK) {
        core_doubt(c, e);
        core_rollback(c);
        return e->code;
    }
    core_commit(c);
    return E_OK;
}

static void scope_published(struct publication *p, struct crl_scope *s, struct bytes der)
{
    struct log_line l;

    s->exists = true;
    s->number = p->number;
    s->seq = p->seq;
    s->entries = p->entries;
    s->this_update = p->this_update;
    s->next_update = p->next_update;
    s->published_at = p->now;
    s->size = der.len;
    s->alarmed = false;
    sha256(der, s->sha256);
    log_begin(&l, LOG_INFO, "crl-published");
    log_str(&l, "ca", p->ca);
    log_u64(&l, "shard", p->shard);
    log_u64(&l, "number", p->number);
    log_u64(&l, "entries", p->entries);
    log_u64(&l, "seq", p->seq);
    log_end(&l);
}

/* From the signature to the file and its row. */
static enum err_code list_finish(struct publication *p, struct crl_scope *s, enum sig_alg alg, struct bytes sig,
                                 struct buf *der, struct err *e)
{
    char path[PATH_LEN];
    struct pubkey key;
    struct crl list;

    if (alg != s->ca->alg)
        return err_set(e, E_CRYPTO, "the signer used another algorithm than the list names");
    if (crl_assemble(buf_bytes(&p->tbs), alg, sig, der, e) != E_OK || crl_read(buf_bytes(der), &list, e) != E_OK ||
        pubkey_read(buf_bytes(&s->ca->spki), &key, e) != E_OK)
        return err_wrap(e, "list read back");
    if (!pubkey_verifies(&key, list.sig_alg, list.tbs, list.sig))
        return err_set(e, E_CRYPTO, "the list does not verify with the CA's key");
    if (gate(p, s, &list, e) != E_OK)
        return err_wrap(e, "gate");
    publish_path(p->core, s, path, sizeof(path));
    if (file_write_atomic(path, buf_bytes(der), 0644, e) != E_OK)
        return e->code;
    return record_list(p, s, buf_bytes(der), e);
}

static void on_list_signed(void *arg, enum err_code code, const struct err *why, enum sig_alg alg, struct bytes sig)
{
    struct publication *p = arg;
    struct core *c = p->core;
    struct crl_scope *s = scope_find(c, p->ca, p->shard);
    AUTO_BUF der = BUF_INIT(CRL_MAX_LEN);
    struct err e = {0};

    if (code != E_OK || c->stopping || !s) {
        if (code == E_OK)
            code = err_set(&e, E_INTERNAL, "CA \"%s\" left the configuration", p->ca);
        publication_end(p, code, e.code ? &e : why);
        return;
    }
    code = list_finish(p, s, alg, sig, &der, &e);
    if (code == E_OK) {
        scope_published(p, s, buf_bytes(&der));
        announce(c, s);
        marks_update(c);
    }
    publication_end(p, code, &e);
}

void publish_start(struct core *c, struct crl_scope *s, publish_fn done, void *arg)
{
    struct publication *p = calloc(1, sizeof(*p));
    const char *why = NULL;
    struct signer *signer;
    struct err e = {0};
    enum err_code code;

    if (!p) {
        err_set(&e, E_NOMEM, "CRL");
        if (done)
            done(c, arg, s, E_NOMEM, &e);
        return;
    }
    p->core = c;
    snprintf(p->ca, sizeof(p->ca), "%s", s->ca->conf->name);
    p->shard = s->shard;
    p->now = core_stamp(c);
    p->done = done;
    p->arg = arg;
    buf_init(&p->tbs, CRL_MAX_LEN);
    LIST_INSERT_HEAD(&c->publications, p, link);
    s->busy = true;
    s->asked = false;
    signer = signer_for_key(c, s->ca->conf->token, s->ca->key, &why);
    if (!signer)
        code = err_set(&e, E_TOKEN, "CA \"%s\": %s", p->ca, why);
    else if ((code = core_may_sign(c, clock_now(), &e)) == E_OK && (code = list_times(p, s, &e)) == E_OK &&
             (code = reserve_number(p, s, &e)) == E_OK && (code = write_list(p, s, &e)) == E_OK) {
        s->dirty_since_ms = 0; /* changes from here on belong to the next list */
        code = signer_sign(signer, s->ca->key, SIGN_CRL, buf_bytes(&p->tbs), CRL_SIGN_DEADLINE_MS, 0, on_list_signed, p, &e);
        if (code == E_OK)
            return;
    }
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

/* What the offline root signs cannot be renewed by a timer: say so from half life. */
static void warn_late(struct core *c, struct crl_scope *s, int64_t now)
{
    char object[ID_MAX_LEN + 32];
    struct alarm_row alarm = {.time = now, .kind = "crl-late", .domain = "", .object = object,
                              .text = "half of the list's life has passed: inkan ca root-sign"};
    struct err e = {0};
    struct log_line l;
    enum err_code code;

    if (s->alarmed || !s->exists || now < s->this_update + (s->next_update - s->this_update) / 2)
        return;
    s->alarmed = true;
    snprintf(object, sizeof(object), "crl:%s/%u", s->ca->conf->name, s->shard);
    log_begin(&l, LOG_WARN, "crl-late");
    log_str(&l, "ca", s->ca->conf->name);
    log_str(&l, "remedy", "inkan ca root-sign");
    log_end(&l);
    if (core_begin(c, &e) != E_OK)
        return;
    code = store_alarm_insert(c->store, &alarm, &e);
    if (code != E_OK && code != E_CONFLICT) {
        core_doubt(c, &e);
        core_rollback(c);
        return;
    }
    core_commit(c);
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

            if (offline)
                warn_late(c, s, now);
            else if (busy < BUSY_MAX && !s->busy && mono >= s->retry_at_ms && is_due(s, now, mono) &&
                     authority_is_ready(c, a, &why)) {
                publish_start(c, s, NULL, NULL);
                busy++;
            }
        }
    }
}
