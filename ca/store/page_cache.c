/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite's own page cache, without a walk through all of it at a commit.
 *
 * When SQLite brings pages of an index back into order it parks one of them, for a moment, under the number of the lock page
 * (1 GiB into the file). Its cache remembers the highest number it has seen, so in a smaller ledger the next commit looks for
 * pages behind the end of the database, and walks through all it holds: 64 MiB of pages in some hundred microseconds, every few
 * commits, the fuller the cache the longer. Here the highest number is kept beside the cache without the parked page, and a search
 * that would find nothing is left out. Everything else is SQLite's.
 */
#include <stdlib.h>

#include "ca/store/store_int.h"

#define LOCK_BYTE 0x40000000u /* https://www.sqlite.org/fileformat2.html#the_lock_byte_page */

static sqlite3_pcache_methods2 real;

struct page_cache {
    sqlite3_pcache *of;
    unsigned lock_page, max; /* no page above `max` is here, but for the one that is parked */
    bool parked;
};

static struct page_cache *cache_of(sqlite3_pcache *p)
{
    return (struct page_cache *)(void *)p;
}

static void seen(struct page_cache *c, unsigned key)
{
    if (key == c->lock_page)
        c->parked = true;
    else if (key > c->max)
        c->max = key;
}

static sqlite3_pcache *cache_create(int page_len, int extra_len, int purgeable)
{
    struct page_cache *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->of = real.xCreate(page_len, extra_len, purgeable);
    c->lock_page = LOCK_BYTE / (unsigned)page_len + 1;
    if (c->of)
        return (sqlite3_pcache *)(void *)c;
    free(c);
    return NULL;
}

static void cache_size(sqlite3_pcache *p, int pages)
{
    real.xCachesize(cache_of(p)->of, pages);
}

static int cache_count(sqlite3_pcache *p)
{
    return real.xPagecount(cache_of(p)->of);
}

static sqlite3_pcache_page *cache_fetch(sqlite3_pcache *p, unsigned key, int create)
{
    struct page_cache *c = cache_of(p);

    if (create)
        seen(c, key);
    return real.xFetch(c->of, key, create);
}

static void cache_unpin(sqlite3_pcache *p, sqlite3_pcache_page *page, int discard)
{
    real.xUnpin(cache_of(p)->of, page, discard);
}

static void cache_rekey(sqlite3_pcache *p, sqlite3_pcache_page *page, unsigned old, unsigned new)
{
    struct page_cache *c = cache_of(p);

    real.xRekey(c->of, page, old, new);
    if (old == c->lock_page)
        c->parked = false;
    seen(c, new);
}

static void cache_truncate(sqlite3_pcache *p, unsigned limit)
{
    struct page_cache *c = cache_of(p);

    if (limit > c->max && !c->parked)
        return;
    real.xTruncate(c->of, limit);
    if (limit <= c->max)
        c->max = limit ? limit - 1 : 0;
    if (limit <= c->lock_page)
        c->parked = false;
}

static void cache_destroy(sqlite3_pcache *p)
{
    real.xDestroy(cache_of(p)->of);
    free(p);
}

static void cache_shrink(sqlite3_pcache *p)
{
    real.xShrink(cache_of(p)->of);
}

void page_cache_install(void)
{
    static const sqlite3_pcache_methods2 ours = {
        .iVersion = 1, .xCreate = cache_create, .xCachesize = cache_size, .xPagecount = cache_count, .xFetch = cache_fetch,
        .xUnpin = cache_unpin, .xRekey = cache_rekey, .xTruncate = cache_truncate, .xDestroy = cache_destroy,
        .xShrink = cache_shrink,
    };
    sqlite3_pcache_methods2 mine = ours;

    if (sqlite3_config(SQLITE_CONFIG_GETPCACHE2, &real) != SQLITE_OK || real.iVersion != 1)
        return;
    mine.pArg = real.pArg;
    mine.xInit = real.xInit;
    mine.xShutdown = real.xShutdown;
    (void)sqlite3_config(SQLITE_CONFIG_PCACHE2, &mine); /* refused once SQLite is in use: then it is slower, and as right */
}
