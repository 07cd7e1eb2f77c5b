/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files the fronts serve: lists and bundles as open descriptors with their digests, so that a front that comes back costs no
 * reading; certificates from memory.
 */
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "ca/core.h"
#include "ca/crl_list.h"

#define BUNDLE_LISTS_MAX 64
#define OUTDATED_S       10 /* by then the fronts have let go of what was replaced */

struct served_file {
    LIST_ENTRY(served_file) link;
    struct svc_file file;
    int fd;
};

static struct served_file *find(struct core *c, const char *path)
{
    struct served_file *f;

    LIST_FOREACH(f, &c->served, link)
    {
        if (strcmp(f->file.path, path) == 0)
            return f;
    }
    return NULL;
}

/*
 * A file that was replaced. Whoever lets go of it last waits for the disk, which frees its blocks: that is a reader, not the loop here or
 * that of a front, which has it mapped.
 */
struct outdated {
    struct reader_job job; /* first */
    LIST_ENTRY(outdated) link;
    struct core *core;
    struct event *timer;
    int fd;
};

static void outdated_free(struct outdated *o)
{
    LIST_REMOVE(o, link);
    if (o->timer)
        event_free(o->timer);
    if (o->fd >= 0)
        close(o->fd);
    free(o);
}

static enum err_code outdated_close(struct reader_job *job, struct store *ledger, struct err *e)
{
    struct outdated *o = (struct outdated *)job;

    (void)ledger;
    (void)e;
    close(take_fd(&o->fd));
    return E_OK;
}

static void outdated_done(struct reader_job *job, enum err_code code, const struct err *e)
{
    (void)code;
    (void)e;
    outdated_free((struct outdated *)job);
}

static void on_outdated(evutil_socket_t fd, short what, void *arg)
{
    struct outdated *o = arg;
    struct err ignored;

    (void)fd;
    (void)what;
    if (reader_submit(o->core->reader[READER_LISTS], &o->job, &ignored) != E_OK)
        outdated_free(o);
}

static void close_later(struct core *c, int fd)
{
    static const struct timeval later = {OUTDATED_S, 0};
    struct outdated *o = calloc(1, sizeof(*o));

    if (!o) {
        close(fd);
        return;
    }
    o->core = c;
    o->fd = fd;
    o->job.run = outdated_close;
    o->job.done = outdated_done;
    LIST_INSERT_HEAD(&c->outdated, o, link);
    o->timer = evtimer_new(c->base, on_outdated, o);
    if (!o->timer || evtimer_add(o->timer, &later) != 0)
        outdated_free(o);
}

/* Takes over content->fd. NULL: no memory, and said so. */
static const struct served_file *put(struct core *c, const struct svc_file *meta, struct list_file *content)
{
    struct served_file *f = find(c, meta->path);

    if (!f) {
        f = calloc(1, sizeof(*f));
        if (!f) {
            log_note(LOG_ERROR, "file-failed", "why", "out of memory");
            list_file_clear(content);
            return NULL;
        }
        f->fd = -1;
        LIST_INSERT_HEAD(&c->served, f, link);
    }
    if (f->fd >= 0)
        close_later(c, f->fd);
    f->file = *meta;
    f->file.size = content->size;
    memcpy(f->file.sha256, content->sha256, sizeof(f->file.sha256));
    f->fd = take_fd(&content->fd);
    list_file_clear(content);
    return f;
}

void served_free(struct core *c)
{
    struct served_file *f;

    while ((f = LIST_FIRST(&c->served))) {
        LIST_REMOVE(f, link);
        close(f->fd);
        free(f);
    }
    while (!LIST_EMPTY(&c->outdated))
        outdated_free(LIST_FIRST(&c->outdated));
}

/* ---- lists ---- */

static void list_url(const struct crl_scope *s, char *out, size_t size)
{
    char name[ID_MAX_LEN + 16];

    publish_name(s, name, sizeof(name));
    snprintf(out, size, "/crl/%s.crl", name);
}

/* ---- bundles ---- */

static void bundle_name(const struct authority *of, const char *folder, char *out, size_t size)
{
    snprintf(out, size, "%s/crl/%s.pem", folder, of ? of->conf->name : "bundle");
}

/* The scopes of a bundle: of one CA its full list and those above it; of all (NULL) every full list. */
static size_t bundle_scopes(struct core *c, const struct authority *of, const struct crl_scope **out, size_t max)
{
    size_t n = 0;

    if (!of) {
        for (size_t i = 0; i < c->ca_n && n < max; i++)
            if (c->ca[i].exists && c->ca[i].scope[0].exists)
                out[n++] = &c->ca[i].scope[0];
        return n;
    }
    for (const struct authority *a = of; a && n < max; a = authority_parent(c, a)) {
        if (!a->exists || !a->scope[0].exists)
            return 0; /* without the root's list a server would refuse every client */
        out[n++] = &a->scope[0];
        if (authority_is_root(a) || authority_is_external(a)) /* the lists above an external one are served elsewhere */
            break;
    }
    return n;
}

struct bundle_job {
    struct reader_job job; /* first */
    struct core *core;
    struct svc_file file;
    char path[PATH_MAX];
    struct list_file made;
    size_t n;
    char list[][PATH_MAX];
};

static void send_to_fronts(void *arg, const struct svc_file *file, int fd)
{
    links_send_file(arg, file, fd);
}

static enum err_code bundle_run(struct reader_job *job, struct store *ledger, struct err *e)
{
    struct bundle_job *b = (struct bundle_job *)job;

    (void)ledger;
    return list_bundle((const char(*)[PATH_MAX])b->list, b->n, b->path, &b->made, e);
}

static void bundle_done(struct reader_job *job, enum err_code code, const struct err *e)
{
    struct bundle_job *b = (struct bundle_job *)job;
    const struct served_file *f = code == E_OK ? put(b->core, &b->file, &b->made) : NULL;

    if (code != E_OK && !b->core->stopping)
        log_failure("bundle-failed", e);
    if (f)
        send_to_fronts(b->core, &f->file, f->fd);
    list_file_clear(&b->made);
    free(b);
}

static void bundle_start(struct core *c, const struct authority *of)
{
    const struct crl_scope *scope[BUNDLE_LISTS_MAX];
    size_t n = bundle_scopes(c, of, scope, ARRAY_LEN(scope));
    struct bundle_job *b = n ? calloc(1, sizeof(*b) + n * sizeof(b->list[0])) : NULL;
    struct err e = {0};

    if (n == 0)
        return;
    if (!b) {
        log_note(LOG_ERROR, "bundle-failed", "why", "out of memory");
        return;
    }
    b->job.run = bundle_run;
    b->job.done = bundle_done;
    b->core = c;
    b->made.fd = -1;
    b->n = n;
    for (size_t i = 0; i < n; i++) {
        publish_path(c, scope[i], b->list[i], sizeof(b->list[i]));
        if (scope[i]->this_update > b->file.last_modified)
            b->file.last_modified = scope[i]->this_update;
        if (b->file.expires == 0 || scope[i]->next_update < b->file.expires)
            b->file.expires = scope[i]->next_update;
    }
    bundle_name(of, "", b->file.path, sizeof(b->file.path));
    bundle_name(of, c->conf->dir_state, b->path, sizeof(b->path));
    snprintf(b->file.content_type, sizeof(b->file.content_type), "application/x-pem-file");
    if (reader_submit(c->reader[READER_LISTS], &b->job, &e) == E_OK)
        return;
    log_failure("bundle-failed", &e);
    free(b);
}

static void bundles_of(struct core *c, const struct crl_scope *s)
{
    for (size_t i = 0; i < c->ca_n; i++) {
        const struct crl_scope *in[CHAIN_MAX];
        size_t n = bundle_scopes(c, &c->ca[i], in, ARRAY_LEN(in));
        bool holds = false;

        for (size_t k = 0; k < n; k++)
            holds |= in[k] == s;
        if (holds)
            bundle_start(c, &c->ca[i]);
    }
    bundle_start(c, NULL);
}

void served_list(struct core *c, const struct crl_scope *s, struct list_file *content)
{
    struct svc_file file = {.last_modified = s->this_update, .expires = s->next_update};
    const struct served_file *f;

    list_url(s, file.path, sizeof(file.path));
    snprintf(file.content_type, sizeof(file.content_type), "application/pkix-crl");
    f = put(c, &file, content);
    if (!f)
        return;
    send_to_fronts(c, &f->file, f->fd);
    if (s->shard == 0 && c->going)
        bundles_of(c, s);
}

void served_open(struct core *c)
{
    for (size_t i = 0; i < c->ca_n; i++)
        bundle_start(c, &c->ca[i]);
    bundle_start(c, NULL);
}

/* ---- all ---- */

static void send_bytes(struct svc_file *file, struct bytes content, file_fn send, void *arg)
{
    struct err e = {0};
    AUTO_FD int fd = memfd_of("inkan-file", content, &e);

    if (fd < 0)
        log_failure("file-failed", &e);
    sha256(content, file->sha256);
    file->size = content.len;
    send(arg, file, fd);
}

static void each_certificate(struct core *c, struct authority *a, file_fn send, void *arg)
{
    AUTO_BUF pem = BUF_INIT(2 * CERT_MAX_LEN * CHAIN_MAX);
    struct svc_file cer = {.last_modified = a->not_before};
    struct svc_file chain = {.last_modified = a->not_before};
    struct bytes above[CHAIN_MAX];
    size_t n = authority_chain(c, a, above);

    snprintf(cer.path, sizeof(cer.path), "/ca/%s.cer", a->conf->name);
    snprintf(cer.content_type, sizeof(cer.content_type), "application/pkix-cert");
    send_bytes(&cer, buf_bytes(&a->cert), send, arg);
    for (size_t i = 0; i < n; i++)
        pem_write(&pem, "CERTIFICATE", above[i]);
    snprintf(chain.path, sizeof(chain.path), "/ca/%s-chain.pem", a->conf->name);
    snprintf(chain.content_type, sizeof(chain.content_type), "application/pem-certificate-chain");
    send_bytes(&chain, buf_bytes(&pem), send, arg);
}

static void send_kept(struct core *c, const char *path, file_fn send, void *arg)
{
    const struct served_file *f = find(c, path);

    if (f)
        send(arg, &f->file, f->fd);
}

void served_each(struct core *c, file_fn send, void *arg)
{
    char path[sizeof(((struct svc_file *)0)->path)];

    for (size_t i = 0; i < c->ca_n; i++) {
        struct authority *a = &c->ca[i];

        if (!a->exists)
            continue;
        each_certificate(c, a, send, arg);
        for (size_t k = 0; k < a->scope_n; k++) {
            list_url(&a->scope[k], path, sizeof(path));
            send_kept(c, path, send, arg);
        }
        bundle_name(a, "", path, sizeof(path));
        send_kept(c, path, send, arg);
    }
    bundle_name(NULL, "", path, sizeof(path));
    send_kept(c, path, send, arg);
}
