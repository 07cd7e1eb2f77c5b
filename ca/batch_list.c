/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/batch_list.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/auto.h"
#include "ca/store/select.h"

#define ABSENT_NAMED 5

enum source { BY_SELECTOR, BY_IDS, BY_BATCH };

struct batch_list {
    enum source source;
    uint64_t after; /* id of the last unit; of BY_BATCH its number in that list */
    struct selector *sel;
    struct buf text; /* the ids, each ended by an octet 0: domain, then device_id */
    size_t ids;
    uint64_t *device; /* of the ids, when they were looked up */
    size_t device_n, at;
    uint64_t batch;
    enum device_state state;
};

static enum err_code list_new(enum source source, struct batch_list **out, struct err *e)
{
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return err_set(e, E_NOMEM, "list of units");
    (*out)->source = source;
    buf_init(&(*out)->text, SIZE_MAX);
    return E_OK;
}

void batch_list_free(struct batch_list *l)
{
    if (!l)
        return;
    free(l->sel);
    free(l->device);
    buf_clear(&l->text);
    free(l);
}

static enum err_code list_done(struct batch_list *l, enum err_code code, struct batch_list **out)
{
    if (code != E_OK) {
        batch_list_free(l);
        l = NULL;
    }
    *out = l;
    return code;
}

enum err_code batch_list_select(const char *selector, int64_t now, struct batch_list **out, struct err *e)
{
    struct batch_list *l;

    *out = NULL;
    if (list_new(BY_SELECTOR, &l, e) != E_OK)
        return e->code;
    l->sel = malloc(sizeof(*l->sel));
    return list_done(l, l->sel ? selector_read(selector, now, l->sel, e) : err_set(e, E_NOMEM, "selector"), out);
}

enum err_code batch_list_changed(uint64_t batch, enum device_state state, struct batch_list **out, struct err *e)
{
    *out = NULL;
    if (list_new(BY_BATCH, out, e) != E_OK)
        return e->code;
    (*out)->batch = batch;
    (*out)->state = state;
    return E_OK;
}

/* ---- a list of ids ---- */

static enum err_code add_line(struct batch_list *l, const char *line, size_t n, const char *domain, size_t number, struct err *e)
{
    const char *slash = memchr(line, '/', n);
    char own[ID_MAX_LEN + 1] = "", id[ID_MAX_LEN + 1] = "";
    size_t head = slash ? (size_t)(slash - line) : 0, tail = slash ? n - head - 1 : n;

    if (head > ID_MAX_LEN || tail > ID_MAX_LEN)
        return err_set(e, E_INVALID, "list of ids, line %zu: longer than an id can be", number);
    memcpy(own, line, head);
    memcpy(id, slash ? slash + 1 : line, tail);
    if (!slash && !domain)
        return err_set(e, E_INVALID, "list of ids, line %zu: which domain? (domain/device_id)", number);
    if ((slash && !id_is_valid(own)) || !id_is_valid(id))
        return err_set(e, E_INVALID, "list of ids, line %zu: not a device id", number);
    buf_add_str(&l->text, slash ? own : domain);
    buf_add_u8(&l->text, 0);
    buf_add_str(&l->text, id);
    buf_add_u8(&l->text, 0);
    l->ids++;
    return E_OK;
}

static enum err_code add_lines(struct batch_list *l, struct bytes text, const char *domain, struct err *e)
{
    size_t number = 0;

    for (size_t at = 0; at < text.len;) {
        const char *line = (const char *)text.p + at;
        const char *end = memchr(line, '\n', text.len - at);
        size_t n = end ? (size_t)(end - line) : text.len - at, keep = n;

        number++;
        at += n + 1;
        while (keep && strchr(" \t\r", line[keep - 1]) && line[keep - 1])
            keep--;
        if (keep && add_line(l, line, keep, domain, number, e) != E_OK)
            return e->code;
    }
    if (l->ids == 0)
        return err_set(e, E_INVALID, "list of ids: empty");
    return buf_ok(&l->text) ? E_OK : err_set(e, E_NOMEM, "list of ids");
}

enum err_code batch_list_ids(struct bytes text, const char *domain, struct batch_list **out, struct err *e)
{
    struct batch_list *l;

    *out = NULL;
    if (list_new(BY_IDS, &l, e) != E_OK)
        return e->code;
    return list_done(l, add_lines(l, text, domain, e), out);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void sort_once(struct batch_list *l)
{
    size_t n = 0;

    qsort(l->device, l->device_n, sizeof(*l->device), by_number);
    for (size_t i = 0; i < l->device_n; i++)
        if (n == 0 || l->device[n - 1] != l->device[i])
            l->device[n++] = l->device[i];
    l->device_n = n;
}

/* All ids at once: the order of the list is that of the devices. */
static enum err_code look_up(struct batch_list *l, struct store *ledger, struct err *e)
{
    char absent[ABSENT_NAMED * (2 * ID_MAX_LEN + 4)] = "";
    const char *at = (const char *)l->text.p;
    struct device_row row;
    size_t missing = 0;

    l->device = calloc(l->ids, sizeof(*l->device));
    if (!l->device)
        return err_set(e, E_NOMEM, "list of ids");
    for (size_t i = 0; i < l->ids; i++) {
        const char *domain = at, *id = domain + strlen(domain) + 1;
        enum err_code code = store_device_find(ledger, domain, id, &row, e);

        at = id + strlen(id) + 1;
        if (code == E_OK)
            l->device[l->device_n++] = row.id;
        else if (code != E_NOT_FOUND)
            return code;
        else if (missing++ < ABSENT_NAMED)
            snprintf(absent + strlen(absent), sizeof(absent) - strlen(absent), "%s%s/%s", missing > 1 ? ", " : "", domain, id);
    }
    if (missing)
        return err_set(e, E_NOT_FOUND, "%zu of %zu ids are not declared: %s%s", missing, l->ids, absent,
                       missing > ABSENT_NAMED ? ", ..." : "");
    *e = (struct err){0};
    sort_once(l);
    return E_OK;
}

static enum err_code next_ids(struct batch_list *l, struct store *ledger, size_t max, device_row_fn fn, void *arg, struct err *e)
{
    struct device_row row;

    if (!l->device && look_up(l, ledger, e) != E_OK)
        return e->code;
    for (size_t n = 0; l->at < l->device_n && (max == 0 || n < max); n++) {
        if (store_device_by_id(ledger, l->device[l->at], &row, e) != E_OK)
            return e->code;
        l->at++;
        if (!fn(arg, &row))
            break;
    }
    return E_OK;
}

/* ---- reading ---- */

struct taking {
    struct batch_list *l;
    device_row_fn fn;
    void *arg;
    size_t n;
    bool stopped;
};

static bool take(void *arg, const struct device_row *row)
{
    struct taking *t = arg;

    t->l->after = row->id;
    t->n++;
    t->stopped = !t->fn(t->arg, row);
    return !t->stopped;
}

static bool take_numbered(void *arg, uint64_t n, const struct device_row *row)
{
    struct taking *t = arg;
    bool go_on = take(t, row);

    t->l->after = n;
    return go_on;
}

enum err_code batch_list_next(struct batch_list *l, struct store *ledger, size_t max, device_row_fn fn, void *arg, bool *more,
                              struct err *e)
{
    struct taking t = {.l = l, .fn = fn, .arg = arg};
    enum err_code code;

    if (l->source == BY_IDS) {
        code = next_ids(l, ledger, max, fn, arg, e);
        *more = l->at < l->device_n;
        return code;
    }
    code = l->source == BY_SELECTOR ? store_select_devices(ledger, l->sel, l->after, max, take, &t, e)
                                    : store_batch_still(ledger, l->batch, l->state, l->after, max, take_numbered, &t, e);
    *more = t.stopped || (max && t.n == max);
    return code;
}

/* ---- digest ---- */

enum err_code batch_digest_begin(struct batch_digest *d, struct err *e)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        return err_openssl(e, E_NOMEM, "SHA-256");
    }
    d->ctx = ctx;
    return E_OK;
}

void batch_digest_add(struct batch_digest *d, const struct device_row *row)
{
    char line[2 * ID_MAX_LEN + 4];
    int n = snprintf(line, sizeof(line), "%s/%s\n", row->domain, row->device_id);

    EVP_DigestUpdate(d->ctx, line, (size_t)n);
}

void batch_digest_end(struct batch_digest *d, uint8_t out[32])
{
    EVP_DigestFinal_ex(d->ctx, out, NULL);
    batch_digest_clear(d);
}

void batch_digest_clear(struct batch_digest *d)
{
    EVP_MD_CTX_free(d->ctx);
    d->ctx = NULL;
}

/* ---- order ---- */

uint64_t batch_item_at(uint64_t count, uint64_t canary, uint64_t at)
{
    uint64_t step = canary ? count / canary : 1, rest, spread;

    if (step < 2)
        return at + 1;
    if (at < canary)
        return at * step + 1;
    /* Between two of the first part lie step - 1 others; after the last come what the division left over. */
    rest = at - canary;
    spread = canary * (step - 1);
    return rest < spread ? rest / (step - 1) * step + rest % (step - 1) + 2 : canary * step + rest - spread + 1;
}
