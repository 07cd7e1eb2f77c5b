/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/siphash.h"
#include "ca/cert.h"
#include "ca/csr.h"
#include "ca/replica.h"

#define SEGMENT_BITS 10
#define SEGMENTS     (1u << SEGMENT_BITS)
#define SEGMENT_MIN  8
#define CHUNK_BITS   14 /* records in one piece of memory */
#define CHUNK        (1u << CHUNK_BITS)
#define TEXT_CHUNK   (1u << 20)
#define TEXT_MAX     4096 /* of one text */
#define ISSUERS_MAX  1024
#define CHAIN_MAX    8
#define OWNERS_MAX   64 /* of one unit, that a birth certificate follows */

/* ---- an index: numbers of records by a hash of their keys ---- */

struct segment {
    uint32_t *slot; /* number + 1; 0 = free */
    uint32_t n, cap;
};

struct index {
    struct segment segment[SEGMENTS];
    uint64_t (*hash)(const struct access *a, uint32_t n); /* of the record's key */
};

struct cert_record {
    uint8_t der_hash[32];
    uint8_t serial[SERIAL_MAX_LEN];
    uint32_t issuer, device, next; /* device, next: numbers or ACCESS_NONE */
    int64_t not_after;
    uint32_t time; /* to the year 2106 */
    uint8_t serial_len, status : 2, has_hash : 1, reason, kind;
};
_Static_assert(sizeof(struct cert_record) == 80, "the size the header speaks of");

struct device_record {
    uint64_t id;
    uint32_t domain, device_id, product, firmware; /* texts */
    uint32_t first;                                /* certificate */
    uint32_t moved;                                /* the device of the unit's new owner */
    uint8_t state;
    bool touched; /* changed since a row named it */
};
_Static_assert(sizeof(struct device_record) == 40, "the size the header speaks of");

struct access {
    uint8_t key[SIPHASH_KEY_LEN];
    struct cert_record **cert;     /* chunks */
    struct device_record **device;
    char **text;                   /* chunks of NUL-terminated texts; a text is its place */
    size_t cert_chunks, device_chunks, text_chunks;
    uint32_t cert_n, device_n;     /* numbers given so far */
    uint32_t free_cert, free_n;    /* numbers of certificates that were taken out: the first, the others by `next` */
    uint32_t swept;                /* the sweep looks at this number next */
    bool held;
    uint32_t text_used;            /* of the last chunk */
    uint32_t *known;               /* places of texts that are looked for before one is added */
    uint32_t known_n;
    struct index by_hash, by_serial, by_device, by_text;
    size_t octets;
    struct access_issuer *issuer, *incoming;
    size_t issuer_n, incoming_n;
};

static struct cert_record *cert_at(const struct access *a, uint32_t n)
{
    return &a->cert[n >> CHUNK_BITS][n & (CHUNK - 1)];
}

static struct device_record *device_at(const struct access *a, uint32_t n)
{
    return &a->device[n >> CHUNK_BITS][n & (CHUNK - 1)];
}

static const char *text_at(const struct access *a, uint32_t place)
{
    return a->text[place / TEXT_CHUNK] + place % TEXT_CHUNK;
}

static uint64_t serial_hash(const struct access *a, uint32_t issuer, struct bytes serial)
{
    uint8_t key[4 + SERIAL_MAX_LEN];

    put_be32(key, issuer);
    memcpy(key + 4, serial.p, serial.len);
    return siphash(a->key, BYTES(key, 4 + serial.len));
}

static uint64_t hash_of_der(const struct access *a, uint32_t n)
{
    return get_be64(cert_at(a, n)->der_hash) ^ get_be64(a->key);
}

static uint64_t hash_of_serial(const struct access *a, uint32_t n)
{
    const struct cert_record *c = cert_at(a, n);

    return serial_hash(a, c->issuer, BYTES(c->serial, c->serial_len));
}

static uint64_t id_hash(const struct access *a, uint64_t id)
{
    uint8_t key[8];

    put_be64(key, id);
    return siphash(a->key, BYTES_OF(key));
}

static uint64_t hash_of_device(const struct access *a, uint32_t n)
{
    return id_hash(a, device_at(a, n)->id);
}

static uint64_t hash_of_text(const struct access *a, uint32_t n)
{
    return siphash(a->key, bytes_str(text_at(a, a->known[n])));
}

static struct segment *segment_of(struct index *x, uint64_t hash)
{
    return &x->segment[hash >> (64 - SEGMENT_BITS)];
}

static void segment_place(struct segment *s, uint64_t hash, uint32_t n)
{
    uint32_t at = (uint32_t)hash & (s->cap - 1);

    while (s->slot[at])
        at = (at + 1) & (s->cap - 1);
    s->slot[at] = n + 1;
}

static bool segment_grow(struct access *a, struct index *x, struct segment *s)
{
    struct segment wider = {.n = s->n, .cap = s->cap ? 2 * s->cap : SEGMENT_MIN};

    wider.slot = calloc(wider.cap, sizeof(*wider.slot));
    if (!wider.slot)
        return false;
    for (uint32_t i = 0; i < s->cap; i++)
        if (s->slot[i])
            segment_place(&wider, x->hash(a, s->slot[i] - 1), s->slot[i] - 1);
    a->octets += (wider.cap - s->cap) * sizeof(*wider.slot);
    free(s->slot);
    *s = wider;
    return true;
}

static bool index_add(struct access *a, struct index *x, uint32_t n)
{
    uint64_t hash = x->hash(a, n);
    struct segment *s = segment_of(x, hash);

    if (4 * (s->n + 1) > 3 * s->cap && !segment_grow(a, x, s))
        return false;
    segment_place(s, hash, n);
    s->n++;
    return true;
}

/* Takes a number out; what its free place would hide moves up. */
static void index_remove(const struct access *a, struct index *x, uint32_t n)
{
    struct segment *s = segment_of(x, x->hash(a, n));
    uint32_t mask = s->cap - 1, hole = (uint32_t)x->hash(a, n) & mask;

    while (s->slot[hole] != n + 1)
        hole = (hole + 1) & mask;
    for (uint32_t at = (hole + 1) & mask; s->slot[at]; at = (at + 1) & mask) {
        uint32_t home = (uint32_t)x->hash(a, s->slot[at] - 1) & mask;

        if (((at - home) & mask) >= ((at - hole) & mask)) {
            s->slot[hole] = s->slot[at];
            hole = at;
        }
    }
    s->slot[hole] = 0;
    s->n--;
}

static void index_clear(struct index *x)
{
    for (size_t i = 0; i < SEGMENTS; i++) {
        free(x->segment[i].slot);
        x->segment[i] = (struct segment){0};
    }
}

/* Every number that may be the one looked for: `n` runs over them. */
#define FOR_EACH_CANDIDATE(x, h, n)                                                                                    \
    for (const struct segment *seg = &(x)->segment[(h) >> (64 - SEGMENT_BITS)]; seg; seg = NULL)                       \
        for (uint32_t at = (uint32_t)(h) & (seg->cap - 1), n; seg->cap && seg->slot[at] && (n = seg->slot[at] - 1, true); \
             at = (at + 1) & (seg->cap - 1))

/* ---- memory ---- */

/* One more record; false: out of memory. */
static bool chunk_room(struct access *a, void ***chunks, size_t *chunks_n, uint32_t n, size_t record)
{
    void **more;
    void *chunk;

    if (n < *chunks_n << CHUNK_BITS)
        return true;
    more = realloc(*chunks, (*chunks_n + 1) * sizeof(*more));
    if (!more)
        return false;
    *chunks = more;
    chunk = malloc(CHUNK * record);
    if (!chunk)
        return false;
    more[(*chunks_n)++] = chunk;
    a->octets += CHUNK * record + sizeof(*more);
    return true;
}

static bool text_add(struct access *a, const char *s, uint32_t *place)
{
    size_t n = strlen(s) + 1;

    if (n > TEXT_MAX)
        return false;
    if (a->text_chunks == 0 || a->text_used + n > TEXT_CHUNK) {
        char **more = realloc(a->text, (a->text_chunks + 1) * sizeof(*more));
        char *chunk;

        if (!more)
            return false;
        a->text = more;
        chunk = a->text_chunks < UINT32_MAX / TEXT_CHUNK ? malloc(TEXT_CHUNK) : NULL;
        if (!chunk)
            return false;
        more[a->text_chunks++] = chunk;
        a->text_used = 0;
        a->octets += TEXT_CHUNK;
    }
    *place = (uint32_t)((a->text_chunks - 1) * TEXT_CHUNK + a->text_used);
    memcpy(a->text[a->text_chunks - 1] + a->text_used, s, n);
    a->text_used += (uint32_t)n;
    return true;
}

/* A text that many have: kept once. */
static bool text_keep(struct access *a, const char *s, uint32_t *place)
{
    uint64_t hash = siphash(a->key, bytes_str(s));
    uint32_t *more;

    FOR_EACH_CANDIDATE(&a->by_text, hash, n)
    if (strcmp(text_at(a, a->known[n]), s) == 0) {
        *place = a->known[n];
        return true;
    }
    if ((a->known_n & (a->known_n - 1)) == 0) { /* full at each power of two */
        more = realloc(a->known, (a->known_n ? 2 * (size_t)a->known_n : 1) * sizeof(*more));
        if (!more)
            return false;
        a->known = more;
    }
    if (!text_add(a, s, place))
        return false;
    a->known[a->known_n++] = *place;
    return index_add(a, &a->by_text, a->known_n - 1);
}

/* ---- finding ---- */

uint32_t access_find_hash(const struct access *a, const uint8_t der_hash[32])
{
    uint64_t hash = get_be64(der_hash) ^ get_be64(a->key);

    FOR_EACH_CANDIDATE(&a->by_hash, hash, n)
    if (memcmp(cert_at(a, n)->der_hash, der_hash, 32) == 0)
        return n;
    return ACCESS_NONE;
}

uint32_t access_find_serial(const struct access *a, uint32_t issuer, struct bytes serial)
{
    uint64_t hash;

    serial = serial_magnitude(serial);
    if (serial.len == 0 || serial.len > SERIAL_MAX_LEN)
        return ACCESS_NONE;
    hash = serial_hash(a, issuer, serial);
    FOR_EACH_CANDIDATE(&a->by_serial, hash, n)
    {
        const struct cert_record *c = cert_at(a, n);

        if (c->issuer == issuer && c->serial_len == serial.len && memcmp(c->serial, serial.p, serial.len) == 0)
            return n;
    }
    return ACCESS_NONE;
}

uint32_t access_find_device(const struct access *a, uint64_t id)
{
    uint64_t hash = id_hash(a, id);

    FOR_EACH_CANDIDATE(&a->by_device, hash, n)
    if (device_at(a, n)->id == id)
        return n;
    return ACCESS_NONE;
}

void access_get_cert(const struct access *a, uint32_t n, struct access_cert *out)
{
    const struct cert_record *c = cert_at(a, n);

    *out = (struct access_cert){
        .issuer = c->issuer,
        .serial = BYTES(c->serial, c->serial_len),
        .status = (enum cert_status)c->status,
        .reason = (enum crl_reason)c->reason,
        .time = c->time,
        .not_after = c->not_after,
        .has_hash = c->has_hash,
        .der_hash = c->der_hash,
        .kind = (enum profile_kind)c->kind,
        .device = c->device,
    };
}

void access_get_device(const struct access *a, uint32_t n, struct access_device *out)
{
    const struct device_record *d = device_at(a, n);

    *out = (struct access_device){
        .id = d->id,
        .domain = text_at(a, d->domain),
        .device_id = text_at(a, d->device_id),
        .product = text_at(a, d->product),
        .firmware = text_at(a, d->firmware),
        .state = (enum device_state)d->state,
    };
}

uint32_t access_first_cert(const struct access *a, uint32_t device)
{
    return device_at(a, device)->first;
}

uint32_t access_next_cert(const struct access *a, uint32_t cert)
{
    return cert_at(a, cert)->next;
}

size_t access_certs(const struct access *a)
{
    return a->cert_n - a->free_n;
}

size_t access_cert_numbers(const struct access *a)
{
    return a->cert_n;
}

size_t access_devices(const struct access *a)
{
    return a->device_n;
}

size_t access_octets(const struct access *a)
{
    return a->octets;
}

/* ---- filling ---- */

static uint32_t device_add(struct access *a, uint64_t id)
{
    uint32_t n = a->device_n, empty;

    if (n == ACCESS_NONE - 1 || !text_keep(a, "", &empty) ||
        !chunk_room(a, (void ***)&a->device, &a->device_chunks, n, sizeof(struct device_record)))
        return ACCESS_NONE;
    *device_at(a, n) = (struct device_record){.id = id, .domain = empty, .device_id = empty, .product = empty,
                                              .firmware = empty, .first = ACCESS_NONE, .moved = ACCESS_NONE, .state = DEVICE_DECLARED};
    if (!index_add(a, &a->by_device, n))
        return ACCESS_NONE;
    a->device_n++;
    return n;
}

static uint32_t device_of(struct access *a, uint64_t id)
{
    uint32_t n = access_find_device(a, id);

    return n != ACCESS_NONE ? n : device_add(a, id);
}

static uint32_t cert_add(struct access *a, uint32_t issuer, struct bytes serial)
{
    bool again = a->free_n && !a->held;
    uint32_t n = again ? a->free_cert : a->cert_n, next_free;
    struct cert_record *c;

    if (n == ACCESS_NONE - 1 || !chunk_room(a, (void ***)&a->cert, &a->cert_chunks, n, sizeof(struct cert_record)))
        return ACCESS_NONE;
    c = cert_at(a, n);
    next_free = c->next;
    *c = (struct cert_record){.issuer = issuer, .device = ACCESS_NONE, .next = ACCESS_NONE, .serial_len = (uint8_t)serial.len};
    memcpy(c->serial, serial.p, serial.len);
    if (!index_add(a, &a->by_serial, n))
        return ACCESS_NONE;
    if (again) {
        a->free_cert = next_free;
        a->free_n--;
    } else {
        a->cert_n++;
    }
    return n;
}

static bool is_birth(const struct cert_record *c)
{
    return c->has_hash && c->kind == PROFILE_IDEVID;
}

static void cert_give(struct access *a, uint32_t n, uint32_t device)
{
    struct cert_record *c = cert_at(a, n);

    c->device = device;
    c->next = device_at(a, device)->first;
    device_at(a, device)->first = n;
}

/* Rows name the device it was issued for: it stays with that, but for a birth certificate, which goes with the unit. */
static void cert_belongs(struct access *a, uint32_t n, uint32_t device)
{
    if (cert_at(a, n)->device != ACCESS_NONE)
        return;
    for (int i = 0; i < OWNERS_MAX && is_birth(cert_at(a, n)) && device_at(a, device)->moved != ACCESS_NONE; i++)
        device = device_at(a, device)->moved;
    cert_give(a, n, device);
}

static void birth_goes(struct access *a, uint32_t from, uint32_t to)
{
    uint32_t *link = &device_at(a, from)->first;

    while (*link != ACCESS_NONE) {
        uint32_t n = *link;

        if (!is_birth(cert_at(a, n))) {
            link = &cert_at(a, n)->next;
            continue;
        }
        *link = cert_at(a, n)->next;
        cert_give(a, n, to);
        device_at(a, to)->touched = true;
    }
}

/* The part of a row that is about a certificate; ACCESS_NONE: out of memory. */
static uint32_t put_cert(struct access *a, const struct status_row *row, uint32_t device)
{
    struct bytes serial = serial_magnitude(BYTES(row->serial, row->serial_len));
    uint32_t n = access_find_serial(a, row->issuer, serial);
    struct cert_record *c;

    if (n == ACCESS_NONE)
        n = serial.len ? cert_add(a, row->issuer, serial) : ACCESS_NONE;
    if (n == ACCESS_NONE)
        return n;
    c = cert_at(a, n);
    if (c->status != CERT_REVOKED || row->status == CERT_REVOKED) {
        c->status = (unsigned)row->status & 3;
        c->reason = (uint8_t)row->reason;
        c->time = row->time < 0 ? 0 : row->time > UINT32_MAX ? UINT32_MAX : (uint32_t)row->time;
        c->not_after = row->not_after;
    }
    if (row->has_hash && !c->has_hash) {
        memcpy(c->der_hash, row->der_hash, sizeof(c->der_hash));
        c->kind = row->kind;
        c->has_hash = 1;
        if (!index_add(a, &a->by_hash, n))
            return ACCESS_NONE;
    }
    if (device != ACCESS_NONE)
        cert_belongs(a, n, device);
    return n;
}

enum err_code access_put_row(struct access *a, const struct status_row *row, struct access_change *out, struct err *e)
{
    uint32_t device = ACCESS_NONE;

    *out = (struct access_change){.cert = ACCESS_NONE, .device = ACCESS_NONE};
    if (row->device) {
        device = device_of(a, row->device);
        if (device == ACCESS_NONE)
            return err_set(e, E_NOMEM, "access table");
        if (row->issuer == 0 || device_at(a, device)->touched)
            out->device = device;
        device_at(a, device)->touched = false;
    }
    if (row->issuer && (out->cert = put_cert(a, row, device)) == ACCESS_NONE)
        return err_set(e, E_NOMEM, "access table");
    return E_OK;
}

enum err_code access_put_device(struct access *a, const struct access_device *d, struct err *e)
{
    uint32_t n = device_of(a, d->id), moved = d->moved_to ? device_of(a, d->moved_to) : ACCESS_NONE;
    struct device_record before, *r;

    if (n == ACCESS_NONE || (d->moved_to && moved == ACCESS_NONE))
        return err_set(e, E_NOMEM, "access table");
    r = device_at(a, n);
    before = *r;
    r->state = (uint8_t)d->state;
    if (!text_keep(a, d->domain, &r->domain) || !text_keep(a, d->product, &r->product) || !text_keep(a, d->firmware, &r->firmware) ||
        (strcmp(text_at(a, r->device_id), d->device_id) != 0 && !text_add(a, d->device_id, &r->device_id)))
        return err_set(e, E_NOMEM, "access table");
    if (r->first != ACCESS_NONE && (r->state != before.state || r->domain != before.domain || r->product != before.product ||
                                    r->firmware != before.firmware || r->device_id != before.device_id))
        r->touched = true;
    r->moved = moved;
    if (moved != ACCESS_NONE)
        birth_goes(a, n, moved);
    return E_OK;
}

/* ---- emptying ---- */

static void cert_remove(struct access *a, uint32_t n)
{
    struct cert_record *c = cert_at(a, n);
    uint32_t *at = &device_at(a, c->device)->first;

    while (*at != n)
        at = &cert_at(a, *at)->next;
    *at = c->next;
    index_remove(a, &a->by_serial, n);
    if (c->has_hash)
        index_remove(a, &a->by_hash, n);
    *c = (struct cert_record){.device = ACCESS_NONE, .next = a->free_cert}; /* it ended long ago: nobody lists it */
    a->free_cert = n;
    a->free_n++;
}

void access_sweep(struct access *a, size_t n, int64_t before)
{
    for (; n && a->cert_n && !a->held; n--) {
        const struct cert_record *c;

        a->swept %= a->cert_n;
        c = cert_at(a, a->swept);
        if (c->device != ACCESS_NONE && c->not_after != 0 && c->not_after < before)
            cert_remove(a, a->swept);
        a->swept++;
    }
}

void access_hold(struct access *a, bool held)
{
    a->held = held;
}

/* ---- issuers ---- */

static void issuers_clear(struct access_issuer **v, size_t *n)
{
    for (size_t i = 0; i < *n; i++)
        buf_clear(&(*v)[i].cert);
    free(*v);
    *v = NULL;
    *n = 0;
}

void access_issuers_begin(struct access *a)
{
    issuers_clear(&a->incoming, &a->incoming_n);
}

enum err_code access_issuers_add(struct access *a, const struct follow_issuer *in, struct err *e)
{
    struct access_issuer *more, *i;
    struct pubkey key;

    if (a->incoming_n == ISSUERS_MAX)
        return err_set(e, E_INVALID, "more than %d issuers", ISSUERS_MAX);
    if (pubkey_read(in->spki, &key, e) != E_OK)
        return err_wrap(e, "issuer \"%s\"", in->name);
    more = realloc(a->incoming, (a->incoming_n + 1) * sizeof(*more));
    if (!more)
        return err_set(e, E_NOMEM, "issuers");
    a->incoming = more;
    i = &more[a->incoming_n++];
    *i = (struct access_issuer){.id = in->id, .cert = BUF_INIT(CERT_MAX_LEN)};
    snprintf(i->name, sizeof(i->name), "%s", in->name);
    ski_of(key.key_bits, i->ski);
    sha256(in->cert, i->cert_hash);
    buf_add_bytes(&i->cert, in->cert);
    return buf_ok(&i->cert) ? E_OK : err_set(e, E_NOMEM, "issuers");
}

void access_issuers_end(struct access *a)
{
    issuers_clear(&a->issuer, &a->issuer_n);
    a->issuer = a->incoming;
    a->issuer_n = a->incoming_n;
    a->incoming = NULL;
    a->incoming_n = 0;
}

size_t access_issuers(const struct access *a)
{
    return a->issuer_n;
}

const struct access_issuer *access_get0_issuer(const struct access *a, size_t i)
{
    return &a->issuer[i];
}

const struct access_issuer *access_issuer_by_id(const struct access *a, uint32_t id)
{
    for (size_t i = 0; i < a->issuer_n; i++)
        if (a->issuer[i].id == id)
            return &a->issuer[i];
    return NULL;
}

const struct access_issuer *access_issuer_by_ski(const struct access *a, const uint8_t ski[20])
{
    for (size_t i = 0; i < a->issuer_n; i++)
        if (memcmp(a->issuer[i].ski, ski, sizeof(a->issuer[i].ski)) == 0)
            return &a->issuer[i];
    return NULL;
}

enum cert_status access_issuer_status(const struct access *a, const struct access_issuer *issuer, uint32_t *certificate)
{
    enum cert_status worst = CERT_GOOD;

    *certificate = ACCESS_NONE;
    for (int i = 0; issuer && i < CHAIN_MAX; i++) {
        uint32_t n = access_find_hash(a, issuer->cert_hash);
        const struct cert_record *c = n == ACCESS_NONE ? NULL : cert_at(a, n);

        if (!c) /* certified by another service, which answers for it */
            break;
        if (c->status > worst) {
            worst = (enum cert_status)c->status;
            *certificate = n;
        }
        if (c->issuer == issuer->id)
            break;
        issuer = access_issuer_by_id(a, c->issuer);
    }
    return worst;
}

enum access_scope access_scope_of(const struct access *a, const struct access_cert *c)
{
    enum access_scope scope;

    if (c->status != CERT_GOOD || c->device == ACCESS_NONE || !c->has_hash || (c->kind != PROFILE_LDEVID && c->kind != PROFILE_IDEVID))
        return SCOPE_NONE;
    scope = device_scope((enum device_state)device_at(a, c->device)->state);
    if (c->kind == PROFILE_IDEVID && (scope == SCOPE_FULL || scope == SCOPE_UPDATE))
        return SCOPE_ENROLL; /* relying services trust the owner's certificate, not the maker's */
    return scope;
}

/* ---- the whole ---- */

struct access *access_new(struct err *e)
{
    struct access *a = calloc(1, sizeof(*a));

    if (!a) {
        err_set(e, E_NOMEM, "access table");
        return NULL;
    }
    if (random_bytes(a->key, sizeof(a->key), e) != E_OK) {
        free(a);
        return NULL;
    }
    a->by_hash.hash = hash_of_der;
    a->by_serial.hash = hash_of_serial;
    a->by_device.hash = hash_of_device;
    a->by_text.hash = hash_of_text;
    a->octets = sizeof(*a);
    return a;
}

void access_reset(struct access *a)
{
    for (size_t i = 0; i < a->cert_chunks; i++)
        free(a->cert[i]);
    for (size_t i = 0; i < a->device_chunks; i++)
        free(a->device[i]);
    for (size_t i = 0; i < a->text_chunks; i++)
        free(a->text[i]);
    free(a->cert);
    free(a->device);
    free(a->text);
    free(a->known);
    a->cert = NULL;
    a->device = NULL;
    a->text = NULL;
    a->known = NULL;
    a->cert_chunks = a->device_chunks = a->text_chunks = 0;
    a->cert_n = a->device_n = a->text_used = a->known_n = 0;
    a->free_n = a->swept = 0;
    index_clear(&a->by_hash);
    index_clear(&a->by_serial);
    index_clear(&a->by_device);
    index_clear(&a->by_text);
    issuers_clear(&a->issuer, &a->issuer_n);
    issuers_clear(&a->incoming, &a->incoming_n);
    a->octets = sizeof(*a);
}

void access_free(struct access *a)
{
    if (!a)
        return;
    access_reset(a);
    free(a);
}
