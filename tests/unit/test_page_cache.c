/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite's page cache as the ledger installs it: driven as SQLite drives it, beside SQLite's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "ca/store/store_int.h"

#define PAGE_LEN  4096
#define LOCK_PAGE (0x40000000u / PAGE_LEN + 1)
#define PAGES     12000u

static sqlite3_pcache_methods2 plain, ours;

static sqlite3_pcache *filled(const sqlite3_pcache_methods2 *m)
{
    sqlite3_pcache *c = m->xCreate(PAGE_LEN, 256, 1);

    assert_non_null(c);
    m->xCachesize(c, 2 * PAGES);
    for (unsigned i = 1; i <= PAGES; i++) {
        sqlite3_pcache_page *p = m->xFetch(c, i, 2);

        assert_non_null(p);
        m->xUnpin(c, p, 0);
    }
    return c;
}

/* A page is parked under the number of the lock page and brought back, as SQLite does when it puts pages in order. */
static void park_and_return(const sqlite3_pcache_methods2 *m, sqlite3_pcache *c)
{
    sqlite3_pcache_page *p = m->xFetch(c, 1, 0);

    assert_non_null(p);
    m->xRekey(c, p, 1, LOCK_PAGE);
    m->xRekey(c, p, LOCK_PAGE, 1);
    m->xUnpin(c, p, 0);
}

/* Nanoseconds of 300 commits, each after a page was parked. */
static int64_t commits(const sqlite3_pcache_methods2 *m)
{
    sqlite3_pcache *c = filled(m);
    struct timespec a, b;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    for (int i = 0; i < 300; i++) {
        park_and_return(m, c);
        m->xTruncate(c, PAGES + 1);
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    assert_int_equal(m->xPagecount(c), PAGES);
    m->xDestroy(c);
    return (int64_t)(b.tv_sec - a.tv_sec) * 1000000000 + (b.tv_nsec - a.tv_nsec);
}

static void a_commit_does_not_walk_through_all_pages(void **state)
{
    int64_t of_plain = commits(&plain), of_ours = commits(&ours);

    (void)state;
    print_message("  %lld us, SQLite's own %lld us\n", (long long)of_ours / 1000, (long long)of_plain / 1000);
    assert_true(of_ours * 5 < of_plain);
}

static bool has(sqlite3_pcache *c, unsigned key)
{
    sqlite3_pcache_page *p = ours.xFetch(c, key, 0);

    if (p)
        ours.xUnpin(c, p, 0);
    return p != NULL;
}

static void pages_behind_the_end_are_dropped(void **state)
{
    sqlite3_pcache *c = filled(&ours);
    sqlite3_pcache_page *p;

    (void)state;
    park_and_return(&ours, c);
    ours.xTruncate(c, PAGES - 9);
    assert_int_equal(ours.xPagecount(c), PAGES - 10);
    assert_true(has(c, PAGES - 10));
    assert_false(has(c, PAGES - 9));

    /* The file grows again, and one that is moved behind the end is dropped as well. */
    p = ours.xFetch(c, PAGES - 9, 2);
    ours.xRekey(c, p, PAGES - 9, PAGES + 5);
    ours.xUnpin(c, p, 0);
    assert_true(has(c, PAGES + 5));
    ours.xTruncate(c, PAGES + 5);
    assert_false(has(c, PAGES + 5));

    /* So is one that stayed parked. */
    p = ours.xFetch(c, 7, 0);
    ours.xRekey(c, p, 7, LOCK_PAGE);
    ours.xUnpin(c, p, 0);
    assert_true(has(c, LOCK_PAGE));
    ours.xTruncate(c, PAGES + 5);
    assert_false(has(c, LOCK_PAGE));
    assert_true(has(c, 8));
    ours.xTruncate(c, 1);
    assert_int_equal(ours.xPagecount(c), 0);
    ours.xDestroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_commit_does_not_walk_through_all_pages),
        cmocka_unit_test(pages_behind_the_end_are_dropped),
    };

    sqlite3_config(SQLITE_CONFIG_GETPCACHE2, &plain);
    page_cache_install();
    sqlite3_config(SQLITE_CONFIG_GETPCACHE2, &ours);
    sqlite3_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
