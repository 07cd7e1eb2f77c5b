/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where connections come from: their number for each address, and which of them gives way when the front is full.
 *
 * A connection whose client has shown no certificate yields while it waits for that client (handshake, head, body, an answer
 * nobody reads, idle). The source that holds most of such connections gives one up first, of two that hold as many the one
 * that has been so for longest, and of its connections the one that has been in its state for longest. So whoever
 * opens many pays for all of them, and a client with one connection is asked last.
 */
#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>

#include "base/spare.h"
#include "enroll/front_int.h"

/* IPv4 by address, also when mapped; IPv6 by /64, which is what one subscriber holds. */
static void source_key(const struct sockaddr *sa, uint8_t key[17])
{
    memset(key, 0, 17);
    if (sa->sa_family == AF_INET) {
        key[0] = 4;
        memcpy(key + 1, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
    } else if (sa->sa_family == AF_INET6) {
        const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;

        key[0] = IN6_IS_ADDR_V4MAPPED(a) ? 4 : 6;
        if (key[0] == 4)
            memcpy(key + 1, a->s6_addr + 12, 4);
        else
            memcpy(key + 1, a->s6_addr, 8);
    }
}

static struct source **bucket(struct sources *all, const uint8_t key[17])
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < 17; i++)
        h = (h ^ key[i]) * 16777619u;
    return &all->bucket[(h ^ (h >> 16)) % SOURCE_BUCKETS];
}

void sources_init(struct sources *all)
{
    for (size_t i = 0; i <= SOURCE_RANKS; i++)
        TAILQ_INIT(&all->rank[i]);
}

struct source *source_take(struct sources *all, const struct sockaddr *sa, unsigned max)
{
    uint8_t key[17];
    struct source **b, *s;

    source_key(sa, key);
    b = bucket(all, key);
    for (s = *b; s; s = s->next)
        if (memcmp(s->key, key, sizeof key) == 0) {
            if (s->n >= max)
                return NULL;
            s->n++;
            return s;
        }
    s = spare_calloc(1, sizeof *s);
    if (!s)
        return NULL;
    memcpy(s->key, key, sizeof key);
    TAILQ_INIT(&s->yielding);
    s->n = 1;
    s->next = *b;
    *b = s;
    return s;
}

void source_give(struct sources *all, struct source *s)
{
    struct source **p;

    if (!s || --s->n > 0)
        return;
    for (p = bucket(all, s->key); *p != s; p = &(*p)->next)
        ;
    *p = s->next;
    free(s);
}

static struct source_list *rank_of(struct sources *all, const struct source *s)
{
    return &all->rank[s->yielding_n < SOURCE_RANKS ? s->yielding_n : SOURCE_RANKS];
}

static void change_yielding(struct sources *all, struct source *s, int by)
{
    if (s->yielding_n)
        TAILQ_REMOVE(rank_of(all, s), s, rank);
    s->yielding_n = (unsigned)((int)s->yielding_n + by);
    if (s->yielding_n)
        TAILQ_INSERT_TAIL(rank_of(all, s), s, rank);
}

void source_yield(struct sources *all, struct conn *c, bool yields)
{
    struct source *s = c->source;

    if (c->yields) {
        TAILQ_REMOVE(&s->yielding, c, yielding);
        change_yielding(all, s, -1);
    }
    c->yields = yields;
    if (yields) {
        TAILQ_INSERT_TAIL(&s->yielding, c, yielding);
        change_yielding(all, s, 1);
    }
}

struct conn *sources_first_yielding(const struct sources *all)
{
    for (size_t i = SOURCE_RANKS; i > 0; i--) {
        const struct source *s = TAILQ_FIRST(&all->rank[i]);

        if (s)
            return TAILQ_FIRST(&s->yielding);
    }
    return NULL;
}
