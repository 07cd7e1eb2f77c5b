/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/guess_limit.h"

#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/bytes.h"

/*
 * Set-associative: a name hashes to one of GUESS_ENTRIES / WAYS sets and takes the place longest unused there. With a key of
 * ours: else a guesser could choose user names that share the set of his victim or of his address and push those out.
 */
#define WAYS 8
#define SETS (GUESS_ENTRIES / WAYS)

struct guess_entry {
    uint8_t key[16];
    int64_t full_at_ms; /* the bucket is full again at this monotonic time; each guess moves it 1 s ahead */
    int64_t used_ms;
    bool taken;
};

struct guess_limit {
    uint8_t hash_key[32];
    struct guess_entry entry[SETS][WAYS];
};

struct guess_limit *guess_limit_new(void)
{
    struct guess_limit *g = calloc(1, sizeof *g);
    struct err e;

    if (g && random_bytes(g->hash_key, sizeof g->hash_key, &e) != E_OK) {
        free(g);
        return NULL;
    }
    return g;
}

void guess_limit_free(struct guess_limit *g)
{
    free(g);
}

static struct guess_entry *entry_of(struct guess_limit *g, char kind, struct bytes name, int64_t mono_ms)
{
    uint8_t head[sizeof(g->hash_key) + 1], hash[32];
    struct guess_entry *set, *oldest;

    memcpy(head, g->hash_key, sizeof(g->hash_key));
    head[sizeof(g->hash_key)] = (uint8_t)kind;
    sha256_2(BYTES(head, sizeof head), name, hash);
    set = g->entry[get_be32(hash + 16) % SETS];
    oldest = &set[0];
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].taken && memcmp(set[i].key, hash, sizeof(set[i].key)) == 0)
            return &set[i];
        if (!set[i].taken || (oldest->taken && set[i].used_ms < oldest->used_ms))
            oldest = &set[i];
    }
    memcpy(oldest->key, hash, sizeof(oldest->key));
    oldest->taken = true;
    oldest->full_at_ms = mono_ms;
    return oldest;
}

static bool entry_has_room(struct guess_entry *e, int64_t mono_ms)
{
    if (e->full_at_ms < mono_ms)
        e->full_at_ms = mono_ms;
    e->used_ms = mono_ms;
    return e->full_at_ms - mono_ms <= (GUESS_BURST - 1) * 1000;
}

/*
 * IPv4 by address, also when mapped; IPv6 by /64, which is what one subscriber holds. What is no address stands for
 * itself. `key` has room for 16 octets.
 */
static struct bytes address_of(const char *peer, uint8_t key[16])
{
    const char *colon = strrchr(peer, ':');
    struct bytes text = BYTES(peer, colon ? (size_t)(colon - peer) : strlen(peer));
    char host[INET6_ADDRSTRLEN];
    struct in6_addr a;

    if (text.len < 3 || text.len - 2 >= sizeof(host) || peer[0] != '[')
        return text;
    memcpy(host, peer + 1, text.len - 2);
    host[text.len - 2] = '\0';
    if (inet_pton(AF_INET6, host, &a) != 1)
        return text;
    if (IN6_IS_ADDR_V4MAPPED(&a)) {
        inet_ntop(AF_INET, a.s6_addr + 12, (char *)key, 16);
        return BYTES(key, strlen((const char *)key));
    }
    memcpy(key, a.s6_addr, 8);
    return BYTES(key, 8);
}

bool guess_limit_wrong(struct guess_limit *g, const char *user, const char *peer, int64_t mono_ms)
{
    uint8_t key[16];
    struct bytes address = address_of(peer, key);
    struct guess_entry *by_user = entry_of(g, 'u', bytes_str(user), mono_ms);
    struct guess_entry *by_address = entry_of(g, 'a', address, mono_ms);
    bool user_has = entry_has_room(by_user, mono_ms), address_has = entry_has_room(by_address, mono_ms);

    if (!user_has || !address_has)
        return false;
    by_user->full_at_ms += 1000;
    by_address->full_at_ms += 1000;
    return true;
}
