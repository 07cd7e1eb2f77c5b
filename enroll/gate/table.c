/* SPDX-License-Identifier: Apache-2.0 */
#include "enroll/gate/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/auto.h"
#include "base/libctx.h"

#define LEDGER_MAX    64
#define CHANGES_FIRST 1024
#define CHAIN_MAX     8

struct change {
    struct bytes line; /* own memory */
    struct feed_cert cert; /* read; points into line */
};

struct table {
    int refs;
    char ledger[LEDGER_MAX + 1];
    uint64_t seq;
    int64_t time;
    uint32_t valid_s;
    struct table_issuer *issuers;
    size_t issuers_n;
    bool stranger; /* a change names none of them */
    struct buf text;
    uint32_t *line; /* where each line of the snapshot starts; one more: its end */
    size_t lines;
    struct change **change; /* pieces of CHANGES_FIRST, so that a line once added never moves */
    size_t change_n, pieces;
    uint32_t *bucket; /* index of the newest change of a certificate + 1; open addressing */
    size_t bucket_n;
};

AUTO_TYPE(json_t, json_decref)

/* ---- JSON ---- */

static json_t *json_read(struct bytes text, const char *what, struct err *e)
{
    json_error_t why;
    json_t *j = json_loadb((const char *)text.p, text.len, JSON_REJECT_DUPLICATES, &why);

    if (!j)
        err_set(e, E_INVALID, "%s: not JSON: %s", what, why.text);
    return j;
}

static bool get_text(const json_t *o, const char *name, char *out, size_t size)
{
    const json_t *v = json_object_get(o, name);
    size_t n = json_is_string(v) ? json_string_length(v) : size;

    if (n == 0 || n >= size || strlen(json_string_value(v)) != n)
        return false;
    memcpy(out, json_string_value(v), n + 1);
    return true;
}

static bool get_number(const json_t *o, const char *name, int64_t max, int64_t *out)
{
    const json_t *v = json_object_get(o, name);

    *out = json_is_integer(v) ? json_integer_value(v) : -1;
    return *out >= 0 && *out <= max;
}

/* ---- the snapshot ---- */

static X509 *cert_from_base64(const json_t *text)
{
    AUTO_BUF der = BUF_INIT(CERT_MAX_LEN);
    struct err ignored = {0};

    if (!json_is_string(text) || base64_decode(bytes_str(json_string_value(text)), &der, &ignored) != E_OK)
        return NULL;
    return libctx_x509(buf_bytes(&der));
}

static enum err_code read_issuer(const json_t *o, struct table_issuer *out, struct err *e)
{
    char hex[2 * sizeof(out->ski) + 1];
    int64_t n;

    if (!get_number(o, "n", FEED_ISSUERS_MAX, &n) || !get_text(o, "name", out->name, sizeof(out->name)) ||
        !get_text(o, "ski", hex, sizeof(hex)) || !hex_decode(hex, strlen(hex), out->ski, sizeof(out->ski), &out->ski_len))
        return err_set(e, E_INVALID, "snapshot: an issuer without n, name or ski");
    out->n = (uint32_t)n;
    out->cert = cert_from_base64(json_object_get(o, "cert"));
    if (!out->cert)
        return err_set(e, E_INVALID, "snapshot: issuer \"%s\" has no certificate that can be read", out->name);
    return E_OK;
}

static enum err_code read_issuers(struct table *t, const json_t *list, struct err *e)
{
    size_t n = json_is_array(list) ? json_array_size(list) : 0;

    if (n == 0 || n > FEED_ISSUERS_MAX)
        return err_set(e, E_INVALID, "snapshot: issuers must be 1 to %d", FEED_ISSUERS_MAX);
    t->issuers = calloc(n, sizeof(*t->issuers));
    if (!t->issuers)
        return err_set(e, E_NOMEM, "snapshot: %zu issuers", n);
    for (; t->issuers_n < n; t->issuers_n++)
        if (read_issuer(json_array_get(list, t->issuers_n), &t->issuers[t->issuers_n], e) != E_OK)
            return e->code;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            if (t->issuers[k].n != t->issuers[i].n && X509_check_issued(t->issuers[k].cert, t->issuers[i].cert) == X509_V_OK)
                t->issuers[i].above = &t->issuers[k];
    return E_OK;
}

static enum err_code check_digest(struct bytes rest, const json_t *head, struct err *e)
{
    char said[65], is[65];
    uint8_t hash[32];

    sha256(rest, hash);
    hex_encode(hash, sizeof(hash), is);
    if (!get_text(head, "sha256", said, sizeof(said)) || strcmp(said, is) != 0)
        return err_set(e, E_INVALID, "snapshot: its lines are not those that were signed (sha256)");
    return E_OK;
}

/* Where each line starts; checks every line and that they rise. `start`: octet after the first LF. */
static enum err_code index_lines(struct table *t, size_t start, uint64_t count, struct err *e)
{
    struct feed_cert last = {0}, cert;
    size_t at = start;

    if (t->text.len > UINT32_MAX || count > t->text.len)
        return err_set(e, E_INVALID, "snapshot of %zu octets with %" PRIu64 " lines", t->text.len, count);
    t->line = malloc((count + 1) * sizeof(*t->line));
    if (!t->line)
        return err_set(e, E_NOMEM, "snapshot: %" PRIu64 " lines", count);
    while (at < t->text.len) {
        const uint8_t *lf = memchr(t->text.p + at, '\n', t->text.len - at);

        if (!lf || t->lines == count)
            return err_set(e, E_INVALID, "snapshot: not the %" PRIu64 " lines it says", count);
        if (feed_cert_read(BYTES(t->text.p + at, (size_t)(lf - t->text.p) - at), &cert, e) != E_OK)
            return err_wrap(e, "snapshot line %zu", t->lines + 1);
        if (t->lines && feed_cert_order(&last, &cert) >= 0)
            return err_set(e, E_INVALID, "snapshot line %zu: not in order", t->lines + 1);
        last = cert;
        t->line[t->lines++] = (uint32_t)at;
        at = (size_t)(lf - t->text.p) + 1;
    }
    t->line[t->lines] = (uint32_t)at;
    return t->lines == count ? E_OK : err_set(e, E_INVALID, "snapshot: %zu lines, %" PRIu64 " announced", t->lines, count);
}

static enum err_code read_head(struct table *t, const json_t *head, uint64_t *count, struct err *e)
{
    int64_t seq, valid_s, lines;

    if (!get_text(head, "ledger", t->ledger, sizeof(t->ledger)) || !get_number(head, "seq", INT64_MAX, &seq) ||
        !get_number(head, "time", INT64_MAX, &t->time) || !get_number(head, "valid_s", UINT32_MAX, &valid_s) ||
        !get_number(head, "count", INT64_MAX, &lines))
        return err_set(e, E_INVALID, "snapshot: ledger, seq, time, valid_s or count is missing or none");
    t->seq = (uint64_t)seq;
    t->valid_s = (uint32_t)valid_s;
    *count = (uint64_t)lines;
    return read_issuers(t, json_object_get(head, "issuers"), e);
}

enum err_code table_new(struct buf *text, struct bytes payload, struct table **out, struct err *e)
{
    AUTO(json_t) *head = json_read(payload, "snapshot", e);
    const uint8_t *lf = text->len ? memchr(text->p, '\n', text->len) : NULL;
    struct table *t = calloc(1, sizeof(*t));
    uint64_t count = 0;
    size_t start;

    *out = NULL;
    if (!t)
        return err_set(e, E_NOMEM, "snapshot");
    t->refs = 1;
    t->text = *text;
    buf_init(text, text->max);
    if (!head || !lf) {
        table_unref(t);
        return head ? err_set(e, E_INVALID, "snapshot: no line end after its signature") : e->code;
    }
    start = (size_t)(lf - t->text.p) + 1;
    if (read_head(t, head, &count, e) != E_OK || check_digest(BYTES(t->text.p + start, t->text.len - start), head, e) != E_OK ||
        index_lines(t, start, count, e) != E_OK) {
        table_unref(t);
        return e->code;
    }
    *out = t;
    return E_OK;
}

struct table *table_ref(struct table *t)
{
    if (t)
        __atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
    return t;
}

void table_unref(struct table *t)
{
    if (!t || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < t->change_n; i++)
        free((void *)(uintptr_t)t->change[i / CHANGES_FIRST][i % CHANGES_FIRST].line.p);
    for (size_t i = 0; i < t->pieces; i++)
        free(t->change[i]);
    for (size_t i = 0; i < t->issuers_n; i++)
        X509_free(t->issuers[i].cert);
    free(t->change);
    free(t->bucket);
    free(t->issuers);
    free(t->line);
    buf_clear(&t->text);
    free(t);
}

const char *table_ledger(const struct table *t)
{
    return t->ledger;
}

uint64_t table_seq(const struct table *t)
{
    return t->seq;
}

int64_t table_time(const struct table *t)
{
    return t->time;
}

int64_t table_age_s(const struct table *t, int64_t now)
{
    return now > t->time ? now - t->time : t->time - now;
}

uint32_t table_valid_s(const struct table *t)
{
    return t->valid_s;
}

size_t table_issuers(const struct table *t, const struct table_issuer **out)
{
    *out = t->issuers;
    return t->issuers_n;
}

/* ---- changes ---- */

static struct change *change_at(const struct table *t, size_t i)
{
    return &t->change[i / CHANGES_FIRST][i % CHANGES_FIRST];
}

static size_t hash_of(const struct feed_cert *c)
{
    uint64_t h = 1469598103934665603u ^ c->issuer;

    for (size_t i = 0; i < c->serial_len; i++)
        h = (h ^ c->serial[i]) * 1099511628211u;
    return (size_t)(h ^ h >> 29);
}

/* The slot of that certificate, or the free one where it belongs. */
static uint32_t *slot_of(const struct table *t, const struct feed_cert *c)
{
    size_t i = hash_of(c) % t->bucket_n;

    while (t->bucket[i] && feed_cert_order(&change_at(t, t->bucket[i] - 1)->cert, c) != 0)
        i = (i + 1) % t->bucket_n;
    return &t->bucket[i];
}

static const struct table_issuer *issuer_at(const struct table *t, uint32_t n)
{
    for (size_t i = 0; i < t->issuers_n; i++)
        if (t->issuers[i].n == n)
            return &t->issuers[i];
    return NULL;
}

/* Room for `more` changes, in the list and in the index. */
static bool make_room(struct table *t, size_t more)
{
    size_t want = t->change_n + more, buckets = t->bucket_n ? t->bucket_n : 2 * CHANGES_FIRST;
    uint32_t *index;

    while (t->pieces * CHANGES_FIRST < want) {
        struct change **list = realloc(t->change, (t->pieces + 1) * sizeof(*list));

        if (!list)
            return false;
        t->change = list;
        list[t->pieces] = calloc(CHANGES_FIRST, sizeof(**list));
        if (!list[t->pieces])
            return false;
        t->pieces++;
    }
    while (buckets < 2 * want)
        buckets *= 2;
    if (buckets == t->bucket_n)
        return true;
    index = calloc(buckets, sizeof(*index));
    if (!index)
        return false;
    free(t->bucket);
    t->bucket = index;
    t->bucket_n = buckets;
    for (size_t i = 0; i < t->change_n; i++)
        *slot_of(t, &change_at(t, i)->cert) = (uint32_t)i + 1;
    return true;
}

/* One [seq, line] as a change; its line is a copy. */
static enum err_code read_row(const json_t *row, uint64_t after, uint64_t last, struct change *out, uint64_t *seq, struct err *e)
{
    const json_t *number = json_array_get(row, 0), *text = json_array_get(row, 1);
    size_t len = json_is_string(text) ? json_string_length(text) : 0;
    char *copy;

    if (json_array_size(row) != 2 || !json_is_integer(number) || len == 0)
        return err_set(e, E_INVALID, "changes: a row is not [seq, line]");
    *seq = (uint64_t)json_integer_value(number);
    if (*seq <= after || *seq > last)
        return err_set(e, E_INVALID, "changes: row %" PRIu64 " is not within %" PRIu64 "..%" PRIu64, *seq, after + 1, last);
    copy = malloc(len);
    if (!copy)
        return err_set(e, E_NOMEM, "changes");
    memcpy(copy, json_string_value(text), len);
    out->line = BYTES(copy, len);
    if (feed_cert_read(out->line, &out->cert, e) == E_OK)
        return E_OK;
    free(copy);
    return err_wrap(e, "changes: row %" PRIu64, *seq);
}

static void forget_read(struct table *t, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free((void *)(uintptr_t)change_at(t, t->change_n + i)->line.p);
}

static enum err_code read_rows(struct table *t, const json_t *rows, uint64_t after, uint64_t last, struct err *e)
{
    size_t n = json_array_size(rows);
    uint64_t before = after;

    if (!json_is_array(rows) || n > FEED_ROWS_MAX * 10)
        return err_set(e, E_INVALID, "changes: rows are not a list of at most %d", FEED_ROWS_MAX * 10);
    if (!make_room(t, n))
        return err_set(e, E_NOMEM, "changes: %zu rows", n);
    for (size_t i = 0; i < n; i++) {
        uint64_t seq = 0;

        /* Several lines may stand under one seq: a change of a device touches all its certificates. */
        if (read_row(json_array_get(rows, i), before ? before - 1 : 0, last, change_at(t, t->change_n + i), &seq, e) != E_OK || seq <= after) {
            if (e->code == E_OK) {
                forget_read(t, i + 1);
                return err_set(e, E_INVALID, "changes: row %" PRIu64 " was there before", seq);
            }
            forget_read(t, i);
            return e->code;
        }
        before = seq;
    }
    for (size_t i = 0; i < n; i++) {
        t->stranger |= !issuer_at(t, change_at(t, t->change_n)->cert.issuer);
        *slot_of(t, &change_at(t, t->change_n)->cert) = (uint32_t)t->change_n + 1;
        t->change_n++;
    }
    return E_OK;
}

enum err_code table_apply(struct table *t, struct bytes payload, struct err *e)
{
    AUTO(json_t) *body = json_read(payload, "changes", e);
    char ledger[LEDGER_MAX + 1];
    int64_t after, seq, time;

    if (!body)
        return e->code;
    if (!get_text(body, "ledger", ledger, sizeof(ledger)) || !get_number(body, "after", INT64_MAX, &after) ||
        !get_number(body, "seq", INT64_MAX, &seq) || !get_number(body, "time", INT64_MAX, &time) || seq < after)
        return err_set(e, E_INVALID, "changes: ledger, after, seq or time is missing or none");
    if (strcmp(ledger, t->ledger) != 0 || (uint64_t)after != t->seq)
        return err_set(e, E_CONFLICT, "changes of ledger %s after %" PRId64 ", we have %s up to %" PRIu64, ledger, after, t->ledger,
                       t->seq);
    if (time < t->time)
        return err_set(e, E_CONFLICT, "changes of a time before what we have");
    if (read_rows(t, json_object_get(body, "rows"), (uint64_t)after, (uint64_t)seq, e) != E_OK)
        return e->code;
    t->seq = (uint64_t)seq;
    t->time = time;
    return E_OK;
}

/* ---- looking up ---- */

static struct bytes base_text(const struct table *t, size_t i)
{
    return BYTES(t->text.p + t->line[i], t->line[i + 1] - t->line[i] - 1);
}

static bool base_find(const struct table *t, const struct feed_cert *key, struct feed_cert *out)
{
    size_t low = 0, high = t->lines;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        struct feed_cert here;
        int order;

        if (!feed_cert_read_key(base_text(t, mid), &here))
            return false;
        order = feed_cert_order(&here, key);
        if (order == 0)
            return table_base_line(t, mid, out);
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return false;
}

bool table_find(const struct table *t, uint32_t issuer, struct bytes serial, struct feed_cert *out)
{
    struct feed_cert key = {.issuer = issuer};
    const uint32_t *at;

    while (serial.len > 1 && serial.p[0] == 0)
        serial = BYTES(serial.p + 1, serial.len - 1);
    if (serial.len == 0 || serial.len > sizeof(key.serial))
        return false;
    memcpy(key.serial, serial.p, serial.len);
    key.serial_len = serial.len;
    at = t->bucket_n ? slot_of(t, &key) : NULL;
    if (!at || !*at)
        return base_find(t, &key, out);
    *out = change_at(t, *at - 1)->cert;
    return true;
}

enum feed_status table_issuer_status(const struct table *t, uint32_t issuer)
{
    const struct table_issuer *ca = issuer_at(t, issuer);
    enum feed_status worst = FEED_GOOD;

    for (int depth = 0; ca && ca->above && depth < CHAIN_MAX; ca = ca->above, depth++) {
        const ASN1_INTEGER *serial = X509_get0_serialNumber(ca->cert);
        struct feed_cert line;

        if (table_find(t, ca->above->n, BYTES(ASN1_STRING_get0_data(serial), ASN1_STRING_length(serial)), &line) && line.status > worst)
            worst = line.status;
    }
    return worst;
}

bool table_names_stranger(const struct table *t)
{
    return t->stranger;
}

size_t table_base_count(const struct table *t)
{
    return t->lines;
}

bool table_base_line(const struct table *t, size_t i, struct feed_cert *out)
{
    struct err ignored = {0};

    return i < t->lines && feed_cert_read(base_text(t, i), out, &ignored) == E_OK;
}

size_t table_change_count(const struct table *t)
{
    return t->change_n;
}

bool table_change_line(const struct table *t, size_t i, struct feed_cert *out)
{
    if (i >= t->change_n)
        return false;
    *out = change_at(t, i)->cert;
    return true;
}
