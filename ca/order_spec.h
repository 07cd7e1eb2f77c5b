/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a work order asks for: the members of a signed order file, read and checked (docs/factory.md). Plain values; the lists
 * are owned. Limits here are those of the file's members.
 */
#ifndef INKAN_CA_ORDER_SPEC_H
#define INKAN_CA_ORDER_SPEC_H

#include <string.h>

#include "base/bytes.h"
#include "base/limits.h"

#define ORDER_FILE_MAX     ((size_t)64 << 20)
#define ORDER_UNITS_MAX    1000000
#define ORDERS_LIVE_MAX    500 /* each is a label of the fronts, and looked at each second */
#define ORDER_LIST_MAX     ((size_t)16 << 10) /* stations, firmware releases, targets: octets of each list */
#define ORDER_NOTE_MAX     1024
#define ORDER_DIGITS_MAX   18
#define ORDER_ORPHAN_MIN_S 10
#define ORDER_ORPHAN_MAX_S (30L * 86400)

/* Texts without control characters, each followed by one LF. */
struct text_list {
    struct buf text;
    size_t n;
};

static inline void text_list_init(struct text_list *l, size_t max)
{
    buf_init(&l->text, max);
    l->n = 0;
}

static inline void text_list_clear(struct text_list *l)
{
    buf_clear(&l->text);
    l->n = 0;
}

static inline void text_list_add(struct text_list *l, const char *s)
{
    buf_add_str(&l->text, s);
    buf_add_u8(&l->text, '\n');
    l->n++;
}

/* The next text (without its LF) from *at on, which starts as 0; false at the end. */
static inline bool text_list_next(const struct text_list *l, size_t *at, struct bytes *out)
{
    const uint8_t *p = l->text.p + *at, *end;

    if (*at >= l->text.len || !(end = memchr(p, '\n', l->text.len - *at)))
        return false;
    *out = BYTES(p, (size_t)(end - p));
    *at += out->len + 1;
    return true;
}

static inline bool text_list_has(const struct text_list *l, const char *s)
{
    struct bytes one;

    for (size_t at = 0; text_list_next(l, &at, &one);)
        if (bytes_equal(one, bytes_str(s)))
            return true;
    return false;
}

enum order_key_mode { ORDER_KEY_DEVICE, ORDER_KEY_SERVER, ORDER_KEY_SERVER_ENCRYPTED, ORDER_KEY_MODES };

struct order_spec {
    char order_no[ORDER_NO_MAX + 1]; /* also an EST label: [A-Za-z0-9][A-Za-z0-9._-]* */
    char domain[ID_MAX_LEN + 1], product[ID_MAX_LEN + 1];
    char model[ID_MAX_LEN + 1], lot[ID_MAX_LEN + 1], line[ID_MAX_LEN + 1]; /* "" = not given */
    uint64_t quantity;             /* 1 .. ORDER_UNITS_MAX */

    /* Which ids: a list, or `quantity` ids from `first` on, written with `digits` digits after the prefix. */
    bool by_list;
    char prefix[ID_MAX_LEN + 1];
    uint64_t first;
    unsigned digits;               /* 1 .. ORDER_DIGITS_MAX */
    struct text_list ids;          /* by_list: at least `quantity`, none twice */

    char profile[ID_MAX_LEN + 1];
    enum order_key_mode key_mode;
    struct text_list stations;     /* "issue-1", "line:L3"; at least one */
    struct text_list firmware;     /* releases allowed; empty = every one */
    struct text_list targets;      /* hand-over files; empty = native */
    int64_t not_before, not_after; /* UTC seconds, both ends valid */
    uint64_t rekeys, rework;       /* allowances of the whole order */
    uint64_t defer;                /* units that may be captured while the token is away */
    int64_t orphan_after_s;
    bool evidence_required;
    struct buf customer_key;       /* DER certificate; empty = none */
    char note[ORDER_NOTE_MAX + 1];

    /* of the file */
    char kid[33];                  /* hex, who says he signed */
    char signer[ID_MAX_LEN + 1];   /* whose key in order_signers verified it; "" = not verified yet */
    uint8_t file_hash[32];         /* SHA-256 of the file */
};

static inline void order_spec_init(struct order_spec *o)
{
    memset(o, 0, sizeof(*o));
    text_list_init(&o->ids, ORDER_FILE_MAX);
    text_list_init(&o->stations, ORDER_LIST_MAX);
    text_list_init(&o->firmware, ORDER_LIST_MAX);
    text_list_init(&o->targets, ORDER_LIST_MAX);
    buf_init(&o->customer_key, CERT_MAX_LEN);
}

static inline void order_spec_clear(struct order_spec *o)
{
    text_list_clear(&o->ids);
    text_list_clear(&o->stations);
    text_list_clear(&o->firmware);
    text_list_clear(&o->targets);
    buf_clear(&o->customer_key);
}

#endif
