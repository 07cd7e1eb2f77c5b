/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed OCSP answers by the SHA-256 of the request they answer, indexed by the certificates they speak of.
 *
 * The purge mark is a status-log seq: an answer that reflects an older one is never kept. A status change is purged here
 * before it is acknowledged, and an answer that was on its way meanwhile falls under the mark, so that no older status
 * comes back. Bounded by count and octets; the least recently used go first. One thread.
 */
#ifndef INKAN_ENROLL_OCSP_CACHE_H
#define INKAN_ENROLL_OCSP_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "ca/service.h"

#define OCSP_CACHE_ENTRIES_MAX 100000
#define OCSP_CACHE_OCTETS_MAX  (64u * 1024 * 1024)

struct ocsp_cache;

/* What HTTP says of an answer for as long as it lives (RFC 9919 6.2). */
struct ocsp_head {
    char etag[2 + 64 + 1]; /* with its quotes */
    char lines[256];       /* Last-Modified, Expires, ETag */
};

struct ocsp_cached {
    struct bytes response;        /* lent until the next call that changes the cache */
    const struct ocsp_head *head; /* lent likewise */
    int64_t produced_at, next_update; /* UTC seconds */
    int64_t fresh_until;              /* from then on a fresh answer is to be had */
};

void ocsp_head_write(struct ocsp_head *h, struct bytes response, int64_t produced_at, int64_t next_update);

/* NULL: out of memory, or no random key for the buckets. */
struct ocsp_cache *ocsp_cache_new(size_t entries_max, size_t octets_max);
void ocsp_cache_free(struct ocsp_cache *c);
/* Keeps a copy when `r` is cacheable and its seq is not below the mark; true when kept. `now`: when it arrived. */
bool ocsp_cache_put(struct ocsp_cache *c, const uint8_t key[32], const struct sts_ocsp_result *r, int64_t now);
bool ocsp_cache_get(struct ocsp_cache *c, const uint8_t key[32], struct ocsp_cached *out);
/* Drops what speaks of the named certificates (or all) and raises the mark. With `all` the mark is set, also down. */
void ocsp_cache_purge(struct ocsp_cache *c, const struct svc_purge *p);
/* Drops everything, keeps the mark: for a new link, over which purges of the old one may have been missed. */
void ocsp_cache_drop(struct ocsp_cache *c);
size_t ocsp_cache_count(const struct ocsp_cache *c);
uint64_t ocsp_cache_mark(const struct ocsp_cache *c);

#endif
