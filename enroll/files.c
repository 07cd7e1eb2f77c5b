/* SPDX-License-Identifier: Apache-2.0 */
/* Files at exact paths on the plain listeners: CRLs, bundles, CA certificates (RFC 5280 4.2.1.13, revocation rule C24). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "enroll/front_int.h"

#define FILE_MAX          (1024u * 1024 * 1024)
#define FILE_BUCKETS      1024
#define FILES_MAX         100000
#define MAX_AGE_EXPIRING  300  /* a shared cache may not hide a newer list for longer */
#define MAX_AGE_LASTING   3600

/* Shared with the answers that are being sent when it is replaced. */
struct content {
    struct bytes mapped;
    size_t users;
};

struct file {
    struct file *next;
    struct svc_file meta;
    char etag[2 + 64 + 1];
    struct content *content;
};

struct file_set {
    struct file *bucket[FILE_BUCKETS];
    size_t n;
};

static void content_release(struct content *c)
{
    if (--c->users > 0)
        return;
    fd_unmap(c->mapped);
    free(c);
}

static void file_free(struct file *f)
{
    if (f->content)
        content_release(f->content);
    free(f);
}

struct file_set *file_set_new(void)
{
    return calloc(1, sizeof(struct file_set));
}

void file_set_free(struct file_set *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < FILE_BUCKETS; i++)
        for (struct file *f = s->bucket[i], *next; f; f = next) {
            next = f->next;
            file_free(f);
        }
    free(s);
}

static struct file *const *find(const struct file_set *s, const char *path)
{
    uint32_t h = 2166136261u;
    struct file *const *p;

    for (const char *c = path; *c; c++)
        h = (h ^ (uint8_t)*c) * 16777619u;
    for (p = &s->bucket[h % FILE_BUCKETS]; *p && strcmp((*p)->meta.path, path) != 0; p = &(*p)->next)
        ;
    return p;
}

enum err_code file_set_put(struct file_set *s, const struct svc_file *meta, int fd, struct err *e)
{
    struct file *f = calloc(1, sizeof *f), *old, **at;

    if (!f)
        return err_set(e, E_NOMEM, "file %s", meta->path);
    f->content = calloc(1, sizeof *f->content);
    if (!f->content) {
        file_free(f);
        return err_set(e, E_NOMEM, "file %s", meta->path);
    }
    f->content->users = 1;
    f->meta = *meta;
    f->etag[0] = '"';
    hex_encode(meta->sha256, sizeof meta->sha256, f->etag + 1);
    strcat(f->etag, "\"");
    if (fd_map(fd, FILE_MAX, &f->content->mapped, e) != E_OK) {
        file_free(f);
        return err_wrap(e, "file %s", meta->path);
    }
    if (f->content->mapped.len != meta->size) {
        err_set(e, E_INVALID, "file %s: %zu octets, announced as %" PRIu64, meta->path, f->content->mapped.len,
                meta->size);
        file_free(f);
        return e->code;
    }
    at = (struct file **)(uintptr_t)find(s, meta->path);
    old = *at;
    if (!old && s->n == FILES_MAX) {
        file_free(f);
        return err_set(e, E_INVALID, "more than %d files", FILES_MAX);
    }
    f->next = old ? old->next : NULL;
    *at = f;
    if (old)
        file_free(old);
    else
        s->n++;
    return E_OK;
}

bool file_exists(const struct file_set *s, const char *path)
{
    return s && *find(s, path);
}

static void headers_write(struct buf *out, const struct file *f, time_t now)
{
    char date[HTTP_DATE_LEN];
    int64_t max_age = MAX_AGE_LASTING;

    http_date_format((time_t)f->meta.last_modified, date);
    buf_printf(out, "Last-Modified: %s\r\nETag: %s\r\n", date, f->etag);
    if (f->meta.expires) {
        max_age = f->meta.expires - (int64_t)now - 1;
        if (max_age < 0)
            max_age = 0;
        if (max_age > MAX_AGE_EXPIRING)
            max_age = MAX_AGE_EXPIRING;
        http_date_format((time_t)f->meta.expires, date);
        buf_printf(out, "Expires: %s\r\n", date);
    }
    buf_printf(out, "Cache-Control: max-age=%" PRId64 ", public, no-transform, must-revalidate\r\n", max_age);
    buf_add_u8(out, '\0');
}

/* RFC 9110 13.2.2: If-None-Match decides alone when it is there. */
static bool is_unchanged(const struct http_request *q, const struct file *f)
{
    time_t since;

    if (q->if_none_match.p)
        return http_etag_matches(q->if_none_match, f->etag);
    return q->if_modified_since.p && http_date_parse(q->if_modified_since, &since) && f->meta.last_modified <= since;
}

static void release(const void *data, size_t len, void *arg)
{
    (void)data;
    (void)len;
    content_release(arg);
}

void file_answer(struct conn *c, const struct file_set *s, const char *path)
{
    AUTO_BUF headers = BUF_INIT(1024);
    struct http_answer a = {.status = 200};
    const struct file *f = s ? *find(s, path) : NULL;

    if (!f) { /* it was there when the head was read */
        conn_refuse(c, 404, "no such resource", NULL, 0);
        return;
    }
    headers_write(&headers, f, clock_now());
    if (!buf_ok(&headers)) {
        conn_refuse(c, 503, "out of memory", NULL, 5);
        return;
    }
    a.headers = (const char *)headers.p;
    if (is_unchanged(&c->reader.req, f)) {
        a.status = 304;
        conn_answer(c, &a);
        return;
    }
    a.content_type = f->meta.content_type;
    a.body = f->content->mapped;
    f->content->users++;
    conn_answer_shared(c, &a, release, f->content);
}
