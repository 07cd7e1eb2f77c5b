/* SPDX-License-Identifier: Apache-2.0 */
#include "enroll/ocsp_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/siphash.h"
#include "enroll/http.h"

#define BUCKETS 65536 /* power of two; both indexes */

struct entry;

struct cert_ref {
    struct entry *entry;
    struct cert_ref **prev, *next; /* chain of its bucket */
    uint32_t issuer;
    uint8_t serial_len;
    uint8_t serial[SERIAL_MAX_LEN];
};

struct entry {
    TAILQ_ENTRY(entry) used; /* head: least recently used */
    struct entry **prev, *next;
    uint8_t key[32];
    struct ocsp_cached answer;
    struct ocsp_head head;
    size_t octets;
    size_t cert_n;
    struct cert_ref cert[];
};

TAILQ_HEAD(used_list, entry);

struct ocsp_cache {
    size_t n, n_max, octets, octets_max;
    uint64_t mark;
    uint8_t hash_key[SIPHASH_KEY_LEN];
    struct used_list used;
    struct entry *by_key[BUCKETS];
    struct cert_ref *by_cert[BUCKETS];
};

struct ocsp_cache *ocsp_cache_new(size_t entries_max, size_t octets_max)
{
    struct ocsp_cache *c = calloc(1, sizeof *c);
    struct err e;

    if (!c || random_bytes(c->hash_key, sizeof c->hash_key, &e) != E_OK) {
        free(c);
        return NULL;
    }
    c->n_max = entries_max;
    c->octets_max = octets_max;
    TAILQ_INIT(&c->used);
    return c;
}

/* Strangers choose the requests, and so what their digests begin with: which bucket follows is our secret. */
static struct entry **key_bucket(struct ocsp_cache *c, const uint8_t key[32])
{
    return &c->by_key[siphash(c->hash_key, BYTES(key, 32)) & (BUCKETS - 1)];
}

static struct cert_ref **cert_bucket(struct ocsp_cache *c, uint32_t issuer, const uint8_t *serial, size_t len)
{
    uint8_t name[4 + SERIAL_MAX_LEN];

    put_be32(name, issuer);
    memcpy(name + 4, serial, len);
    return &c->by_cert[siphash(c->hash_key, BYTES(name, 4 + len)) & (BUCKETS - 1)];
}

static void entry_drop(struct ocsp_cache *c, struct entry *en)
{
    TAILQ_REMOVE(&c->used, en, used);
    *en->prev = en->next;
    if (en->next)
        en->next->prev = en->prev;
    for (size_t i = 0; i < en->cert_n; i++) {
        struct cert_ref *r = &en->cert[i];

        *r->prev = r->next;
        if (r->next)
            r->next->prev = r->prev;
    }
    c->n--;
    c->octets -= en->octets;
    free(en);
}

static struct entry *entry_find(struct ocsp_cache *c, const uint8_t key[32])
{
    for (struct entry *en = *key_bucket(c, key); en; en = en->next)
        if (memcmp(en->key, key, 32) == 0)
            return en;
    return NULL;
}

static void entry_link(struct ocsp_cache *c, struct entry *en)
{
    struct entry **b = key_bucket(c, en->key);

    en->next = *b;
    en->prev = b;
    if (en->next)
        en->next->prev = &en->next;
    *b = en;
    for (size_t i = 0; i < en->cert_n; i++) {
        struct cert_ref *r = &en->cert[i];
        struct cert_ref **cb = cert_bucket(c, r->issuer, r->serial, r->serial_len);

        r->next = *cb;
        r->prev = cb;
        if (r->next)
            r->next->prev = &r->next;
        *cb = r;
    }
    TAILQ_INSERT_TAIL(&c->used, en, used);
    c->n++;
    c->octets += en->octets;
}

void ocsp_head_write(struct ocsp_head *h, struct bytes response, int64_t produced_at, int64_t next_update)
{
    char modified[HTTP_DATE_LEN], expires[HTTP_DATE_LEN];
    uint8_t digest[32];

    sha256(response, digest);
    h->etag[0] = '"';
    hex_encode(digest, sizeof digest, h->etag + 1);
    strcat(h->etag, "\"");
    http_date_format((time_t)produced_at, modified);
    http_date_format((time_t)next_update, expires);
    snprintf(h->lines, sizeof h->lines, "Last-Modified: %s\r\nExpires: %s\r\nETag: %s\r\n", modified, expires, h->etag);
}

bool ocsp_cache_put(struct ocsp_cache *c, const uint8_t key[32], const struct sts_ocsp_result *r, int64_t now)
{
    size_t fixed = sizeof(struct entry) + r->cert_n * sizeof(struct cert_ref);
    size_t octets = fixed + r->response.len;
    struct entry *en;

    if (!r->cacheable || r->is_error || r->seq < c->mark || octets > c->octets_max || c->n_max == 0)
        return false;
    en = entry_find(c, key);
    if (en)
        entry_drop(c, en);
    while (c->n >= c->n_max || c->octets + octets > c->octets_max)
        entry_drop(c, TAILQ_FIRST(&c->used));
    en = calloc(1, octets);
    if (!en)
        return false;
    memcpy(en->key, key, 32);
    memcpy((uint8_t *)en + fixed, r->response.p, r->response.len);
    en->answer = (struct ocsp_cached){
        .response = BYTES((uint8_t *)en + fixed, r->response.len),
        .head = &en->head,
        .produced_at = r->produced_at,
        .next_update = r->next_update,
        .fresh_until = now + (int64_t)r->max_age_s,
    };
    ocsp_head_write(&en->head, r->response, r->produced_at, r->next_update);
    en->octets = octets;
    en->cert_n = r->cert_n;
    for (size_t i = 0; i < r->cert_n; i++) {
        en->cert[i].entry = en;
        en->cert[i].issuer = r->cert[i].issuer;
        en->cert[i].serial_len = r->cert[i].serial_len;
        memcpy(en->cert[i].serial, r->cert[i].serial, r->cert[i].serial_len);
    }
    entry_link(c, en);
    return true;
}

bool ocsp_cache_get(struct ocsp_cache *c, const uint8_t key[32], struct ocsp_cached *out)
{
    struct entry *en = entry_find(c, key);

    if (!en)
        return false;
    TAILQ_REMOVE(&c->used, en, used);
    TAILQ_INSERT_TAIL(&c->used, en, used);
    *out = en->answer;
    return true;
}

static void purge_one(struct ocsp_cache *c, uint32_t issuer, const uint8_t *serial, size_t len)
{
    struct cert_ref *r = *cert_bucket(c, issuer, serial, len);

    while (r) {
        if (r->issuer == issuer && r->serial_len == len && memcmp(r->serial, serial, len) == 0) {
            entry_drop(c, r->entry); /* may unlink several of this chain: begin again */
            r = *cert_bucket(c, issuer, serial, len);
        } else {
            r = r->next;
        }
    }
}

void ocsp_cache_drop(struct ocsp_cache *c)
{
    struct entry *en;

    while ((en = TAILQ_FIRST(&c->used)) != NULL)
        entry_drop(c, en);
}

void ocsp_cache_purge(struct ocsp_cache *c, const struct svc_purge *p)
{
    if (p->all) {
        ocsp_cache_drop(c);
        c->mark = p->seq;
        return;
    }
    if (p->seq > c->mark)
        c->mark = p->seq;
    for (size_t i = 0; i < p->n; i++)
        purge_one(c, p->item[i].issuer, p->item[i].serial, p->item[i].serial_len);
}

void ocsp_cache_free(struct ocsp_cache *c)
{
    if (!c)
        return;
    ocsp_cache_drop(c);
    free(c);
}

size_t ocsp_cache_count(const struct ocsp_cache *c)
{
    return c->n;
}

uint64_t ocsp_cache_mark(const struct ocsp_cache *c)
{
    return c->mark;
}
