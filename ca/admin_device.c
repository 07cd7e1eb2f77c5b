/* SPDX-License-Identifier: Apache-2.0 */
/* Administration of devices, secrets and domains. */
#include <string.h>

#include <openssl/crypto.h>

#include "ca/admin_int.h"
#include "ca/life.h"
#include "ca/store/select.h"

#define PAGE_ROWS     200
#define CERTS_MAX     256
#define SECRET_OCTETS 20 /* 160 random bits */
#define USER_OCTETS   6

const char *admin_domain(struct core *c, const struct admin_call *call, struct err *e)
{
    const char *asked = admin_text(call, "domain");

    if (asked) {
        if (!conf_find_domain(c->conf, asked))
            err_set(e, E_NOT_FOUND, "domain \"%s\" is not in the configuration", asked);
        return e->code == E_OK ? asked : NULL;
    }
    if (c->conf->domains_n == 1)
        return c->conf->domains[0].name;
    err_set(e, E_INVALID, "domain: missing, and there are %zu", c->conf->domains_n);
    return NULL;
}

static bool strings_have(const struct conf_strings *s, const char *v)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->v[i], v) == 0)
            return true;
    return false;
}

/* Named, or the only one that serves this domain and product; "" when that is not clear. */
static const char *device_anchor(struct core *c, const char *domain, const char *product, const char *asked,
                                 struct err *e)
{
    const struct conf_anchor *only = NULL;
    size_t n = 0;

    if (asked) {
        const struct conf_anchor *a = conf_find_anchor(c->conf, asked);

        if (a && strings_have(&a->domains, domain))
            return a->name;
        err_set(e, E_NOT_FOUND, "anchor \"%s\" does not serve domain \"%s\"", asked, domain);
        return NULL;
    }
    for (size_t i = 0; i < c->conf->anchors_n; i++) {
        const struct conf_anchor *a = &c->conf->anchors[i];

        if (!strings_have(&a->domains, domain) || (a->products.n && !strings_have(&a->products, product)))
            continue;
        only = a;
        n++;
    }
    return n == 1 ? only->name : "";
}

const char *admin_anchor(struct core *c, const char *domain, const char *product, const char *asked)
{
    const struct conf_anchor *a = conf_find_anchor(c->conf, asked);
    struct err none = {0};

    return a && strings_have(&a->domains, domain) ? a->name : device_anchor(c, domain, product, NULL, &none);
}

static const char *member(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));

    return s ? s : "";
}

/* Declares one; *existing when it was declared before with the same facts. */
static enum err_code declare(struct core *c, struct admin_call *call, const char *domain, const json_t *facts,
                             struct device_row *row, bool *existing, struct err *e)
{
    const char *anchor = device_anchor(c, domain, member(facts, "product"),
                                       json_string_value(json_object_get(facts, "anchor")), e);
    char object[ID_MAX_LEN * 2 + 16];
    enum err_code code;

    *existing = false;
    if (!anchor)
        return e->code;
    code = store_device_find(c->store, domain, member(facts, "device_id"), row, e);
    if (code == E_OK) {
        *existing = true;
        return E_OK;
    }
    if (code != E_NOT_FOUND)
        return code;
    *row = (struct device_row){
        .domain = domain,
        .device_id = member(facts, "device_id"),
        .anchor = anchor,
        .product = member(facts, "product"),
        .model = member(facts, "model"),
        .lot = member(facts, "lot"),
        .order_no = member(facts, "order"),
        .firmware = member(facts, "firmware"),
        .state = DEVICE_DECLARED,
        .declared_at = core_stamp(c),
    };
    if (store_device_insert(c->store, row, e) != E_OK)
        return e->code;
    snprintf(object, sizeof(object), "device:%s/%s", domain, row->device_id);
    return core_audit(c, &call->by, "device-declared", domain, object,
                      json_pack("{s:s, s:s, s:s}", "anchor", anchor, "product", row->product, "lot", row->lot),
                      core_stamp(c), e);
}

void op_device_add(struct core *c, struct admin_call *call)
{
    struct err e = {0};
    const char *domain = admin_domain(c, call, &e);
    struct device_row row;
    bool existing = false;
    json_t *result;

    if (!domain || core_begin(c, &e) != E_OK) {
        admin_fail(call, &e);
        return;
    }
    if (declare(c, call, domain, call->args, &row, &existing, &e) != E_OK) {
        core_doubt(c, &e);
        core_rollback(c);
        admin_fail(call, &e);
        return;
    }
    if (existing) {
        core_rollback(c);
        err_set(&e, E_CONFLICT, "device %s/%s is declared already", domain, admin_text(call, "device_id"));
        admin_fail(call, &e);
        return;
    }
    result = json_pack("{s:s, s:s, s:I}", "domain", domain, "device_id", admin_text(call, "device_id"), "unit",
                       (json_int_t)row.unit);
    core_commit(c);
    admin_done(call, result, -1);
}

void op_device_import(struct core *c, struct admin_call *call)
{
    static const struct admin_arg schema[] = {
        {"device_id", ARG_ID, true, 0}, {"product", ARG_ID, false, 0}, {"model", ARG_ID, false, 0},
        {"lot", ARG_ID, false, 0},      {"order", ARG_ID, false, 0},   {"anchor", ARG_ID, false, 0},
        {"firmware", ARG_ID, false, 0},
        {NULL, ARG_ID, false, 0}};
    const json_t *list = json_object_get(call->args, "devices");
    struct err e = {0};
    const char *domain = admin_domain(c, call, &e);
    json_int_t added = 0, existing = 0;
    struct device_row row;

    for (size_t i = 0; e.code == E_OK && i < json_array_size(list); i++)
        if (admin_args_check(schema, json_array_get(list, i), &e) != E_OK)
            err_wrap(&e, "devices[%zu]", i);
    if (e.code != E_OK || core_begin(c, &e) != E_OK) {
        admin_fail(call, &e);
        return;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        bool before = false;

        if (declare(c, call, domain, json_array_get(list, i), &row, &before, &e) != E_OK) {
            core_doubt(c, &e);
            core_rollback(c);
            err_wrap(&e, "devices[%zu]", i);
            admin_fail(call, &e);
            return;
        }
        before ? existing++ : added++;
    }
    core_commit(c);
    admin_done(call, json_pack("{s:I, s:I}", "added", added, "existing", existing), -1);
}

static json_t *device_json(const struct device_row *d)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "domain", d->domain, "device_id",
                     d->device_id, "state", device_state_name((enum device_state)d->state), "product", d->product,
                     "model", d->model, "lot", d->lot, "order", d->order_no, "station", d->station, "line", d->line,
                     "firmware", d->firmware, "anchor", d->anchor, "before",
                     device_state_name((enum device_state)d->prev_state), "scope",
                     access_scope_name(device_scope((enum device_state)d->state)), "declared_at",
                     (json_int_t)d->declared_at, "enrolled_at", (json_int_t)d->enrolled_at, "state_at",
                     (json_int_t)d->state_at, "unit", (json_int_t)d->unit);
}

struct page {
    struct admin_call *call;
    size_t n;
};

static bool put_device(void *arg, const struct device_row *row)
{
    struct page *p = arg;

    admin_row(p->call, device_json(row));
    p->call->after = row->id;
    p->n++;
    return true;
}

static bool device_state_from(const char *s, int *out)
{
    enum device_state state;

    *out = -1;
    if (!s)
        return true;
    if (device_state_from_name(s, &state))
        *out = (int)state;
    return *out >= 0;
}

/* How many rows the next page may hold; 0 = the limit is reached. */
static uint64_t page_limit(const struct admin_call *call)
{
    uint64_t limit = (uint64_t)admin_int(call, "limit", 0);

    if (limit == 0)
        return PAGE_ROWS;
    if (call->left >= limit)
        return 0;
    return limit - call->left < PAGE_ROWS ? limit - call->left : PAGE_ROWS;
}

static enum err_code device_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    struct device_filter f = {.domain = admin_text(call, "domain"), .device_id = admin_text(call, "device_id"),
                              .product = admin_text(call, "product"), .lot = admin_text(call, "lot"),
                              .after_id = call->after, .limit = page_limit(call)};
    struct page p = {call, 0};

    (void)device_state_from(admin_text(call, "state"), &f.state);
    if (f.limit && store_device_each(ledger, &f, put_device, &p, e) != E_OK)
        return e->code;
    call->left += p.n;
    *more = f.limit && p.n == f.limit;
    return E_OK;
}

static enum err_code device_select_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    uint64_t limit = page_limit(call);
    struct page p = {call, 0};

    if (limit && store_select_devices(ledger, call->state, call->after, limit, put_device, &p, e) != E_OK)
        return e->code;
    call->left += p.n;
    *more = limit && p.n == limit;
    return E_OK;
}

void op_device_list(struct core *c, struct admin_call *call)
{
    struct err e = {0};
    int state;

    if (admin_has(call, "select")) {
        admin_select(c, call, device_select_page);
        return;
    }
    if (!device_state_from(admin_text(call, "state"), &state)) {
        err_set(&e, E_INVALID, "state: there is none of that name");
        admin_fail(call, &e);
        return;
    }
    admin_list(c, call, device_page);
}

static bool put_cert(void *arg, const struct cert_row *row)
{
    json_array_append_new(arg, json_pack("{s:o, s:s, s:s, s:I, s:I}", "serial",
                                         json_hex(BYTES(row->serial, row->serial_len)), "profile", row->profile,
                                         "status", cert_status_name((enum cert_status)row->status), "not_after",
                                         (json_int_t)row->not_after, "issued_at", (json_int_t)row->issued_at));
    return true;
}

enum err_code admin_find_device(struct core *c, struct admin_call *call, struct device_row *row, struct err *e)
{
    const char *domain = admin_domain(c, call, e);
    enum err_code code;

    if (!domain)
        return e->code;
    code = store_device_find(c->store, domain, admin_text(call, "device_id"), row, e);
    if (code == E_NOT_FOUND)
        return err_set(e, E_NOT_FOUND, "device %s/%s is not declared", domain, admin_text(call, "device_id"));
    return code;
}

void op_device_show(struct core *c, struct admin_call *call)
{
    struct device_row row;
    struct cert_filter f = {.status = -1, .limit = CERTS_MAX};
    json_t *result, *certs = json_array();
    struct err e = {0};

    if (admin_find_device(c, call, &row, &e) != E_OK) {
        json_decref(certs);
        admin_fail(call, &e);
        return;
    }
    f.device = row.id;
    result = device_json(&row);
    if (store_cert_each(c->store, &f, put_cert, certs, &e) != E_OK) {
        core_doubt(c, &e);
        json_decref(certs);
        json_decref(result);
        admin_fail(call, &e);
        return;
    }
    json_object_set_new(result, "certs", certs);
    admin_done(call, result, -1);
}

/* ---- stop ---- */

/* Before it was ever proven a unit is a reject of the line; later its owner retires it. */
static enum device_state stopped_state(const struct device_row *row)
{
    if (device_is_final((enum device_state)row->state))
        return (enum device_state)row->state;
    return row->state <= DEVICE_CONFIRMED ? DEVICE_SCRAPPED : DEVICE_DECOMMISSIONED;
}

void op_device_stop(struct core *c, struct admin_call *call)
{
    struct life_change ch = {.reason = REASON_CESSATION_OF_OPERATION, .why = "stopped", .only_from = DEVICE_STATES};
    const char *reason_name = admin_text(call, "reason");
    struct device_row row = {0};
    uint64_t seq = 0;
    bool changed = false;
    struct err e = {0};
    enum err_code code;

    if (c->seal == SEAL_RESTORE)
        code = err_set(&e, E_STORE, "sealed: %s", c->seal_why);
    else if (reason_name && (!crl_reason_from_name(reason_name, &ch.reason) || ch.reason == REASON_CERTIFICATE_HOLD ||
                             ch.reason == REASON_REMOVE_FROM_CRL))
        code = err_set(&e, E_INVALID, "reason: \"%s\" is not one of RFC 5280 5.3.1 for a revocation", reason_name);
    else if ((code = admin_find_device(c, call, &row, &e)) == E_OK && (code = core_begin(c, &e)) == E_OK) {
        ch.to = stopped_state(&row);
        if (ch.to == DEVICE_DECOMMISSIONED && ch.reason == REASON_KEY_COMPROMISE)
            code = err_set(&e, E_INVALID, "reason: a device whose key is exposed loses its birth certificate too: inkan device compromise");
        else
            code = life_apply(c, row.id, &ch, &call->by, core_stamp(c), &changed, &seq, &e);
        core_end(c, code, &e);
    }
    if (code != E_OK)
        admin_fail(call, &e);
    else
        life_acknowledge(c, call, ch.to, changed, seq);
}

/* ---- secrets ---- */

static enum err_code secret_make(struct core *c, struct admin_call *call, const char *domain, json_t **result,
                                 struct err *e)
{
    const char *device_id = admin_text(call, "device_id"), *group = admin_text(call, "group");
    const char *profile = admin_text(call, "profile");
    uint8_t random[SECRET_OCTETS], name[USER_OCTETS];
    char secret[2 * SECRET_OCTETS + 1], hex[2 * USER_OCTETS + 1], object[ID_MAX_LEN + 8];
    int64_t now = core_stamp(c), valid_s = admin_int(call, "valid_s", 0);
    struct secret_row row = {.kind = device_id ? SECRET_DEVICE : SECRET_GROUP, .domain = domain, .created_at = now,
                             .profile = profile ? profile : "", .pattern = group ? group : "", .not_before = now,
                             .not_after = valid_s ? now + valid_s : 0,
                             .quota = (uint64_t)admin_int(call, "quota", 0)};
    struct device_row device;
    enum err_code code;

    if (device_id) {
        code = store_device_find(c->store, domain, device_id, &device, e);
        if (code == E_NOT_FOUND)
            return err_set(e, E_NOT_FOUND, "device %s/%s is not declared: inkan device add", domain, device_id);
        if (code != E_OK)
            return code;
        row.device = device.id;
    }
    if (random_bytes(random, sizeof(random), e) != E_OK || random_bytes(name, sizeof(name), e) != E_OK)
        return e->code;
    hex_encode(random, sizeof(random), secret);
    hex_encode(name, sizeof(name), hex);
    snprintf(row.user, sizeof(row.user), "%s-%s", device_id ? "dev" : "grp", hex);
    code = secret_mac(c, row.user, bytes_str(secret), row.mac, e);
    snprintf(object, sizeof(object), "secret:%s", row.user);
    if (code == E_OK)
        code = store_secret_insert(c->store, &row, e);
    if (code == E_OK)
        code = core_audit(c, &call->by, "secret-created", domain, object,
                          json_pack("{s:s, s:s, s:s, s:I, s:I}", "device_id", device_id ? device_id : "", "group",
                                    group ? group : "", "profile", row.profile, "quota", (json_int_t)row.quota,
                                    "not_after", (json_int_t)row.not_after),
                          now, e);
    if (code == E_OK)
        *result = json_pack("{s:s, s:s}", "user", row.user, "secret", secret);
    OPENSSL_cleanse(random, sizeof(random));
    OPENSSL_cleanse(secret, sizeof(secret));
    return code;
}

static enum err_code secret_args(struct core *c, struct admin_call *call, struct err *e)
{
    const char *group = admin_text(call, "group"), *profile = admin_text(call, "profile"), *star;

    if (admin_has(call, "device_id") == admin_has(call, "group"))
        return err_set(e, E_INVALID, "either device_id or group");
    if (group && (admin_int(call, "quota", 0) == 0 || admin_int(call, "valid_s", 0) == 0))
        return err_set(e, E_INVALID, "a group secret needs quota and valid_s");
    if (!group && admin_has(call, "quota"))
        return err_set(e, E_INVALID, "quota is for group secrets");
    star = group ? strchr(group, '*') : NULL;
    if (star && (star[1] || star == group))
        return err_set(e, E_INVALID, "group: a device_id, or its beginning followed by *");
    if (profile && !conf_find_profile(c->conf, profile))
        return err_set(e, E_NOT_FOUND, "profile \"%s\" is not in the configuration", profile);
    return E_OK;
}

void op_secret_add(struct core *c, struct admin_call *call)
{
    struct err e = {0};
    const char *domain = admin_domain(c, call, &e);
    json_t *result = NULL;

    if (!domain || secret_args(c, call, &e) != E_OK || core_begin(c, &e) != E_OK) {
        admin_fail(call, &e);
        return;
    }
    if (secret_make(c, call, domain, &result, &e) != E_OK) {
        core_doubt(c, &e);
        core_rollback(c);
        admin_fail(call, &e);
        return;
    }
    core_commit(c);
    admin_done(call, result, -1);
}

struct secret_list {
    struct store *ledger;
    struct admin_call *call;
    int64_t now;
    size_t n;
};

static bool put_secret(void *arg, const struct secret_row *row)
{
    static const uint8_t zero[32];
    struct secret_list *l = arg;
    struct device_row device;
    struct err e = {0};
    bool named = row->device && store_device_by_id(l->ledger, row->device, &device, &e) == E_OK;
    const char *state = row->revoked_at                                           ? "revoked"
                        : row->not_after && l->now > row->not_after               ? "expired"
                        : row->kind == SECRET_GROUP && row->used >= row->quota    ? "used up"
                        : row->kind == SECRET_DEVICE && memcmp(row->bound_spki, zero, 32) ? "used"
                                                                                  : "open";

    l->call->after = row->id;
    l->n++;
    admin_row(l->call, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s}", "user", row->user, "kind",
                                 row->kind == SECRET_GROUP ? "group" : "device", "domain", row->domain, "profile",
                                 row->profile, "device_id", named ? device.device_id : "", "pattern", row->pattern,
                                 "quota", (json_int_t)row->quota, "used", (json_int_t)row->used, "not_after",
                                 (json_int_t)row->not_after, "state", state));
    return true;
}

static enum err_code secret_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    struct secret_list l = {ledger, call, (int64_t)call->until, 0};

    if (store_secret_each(ledger, call->after, PAGE_ROWS, put_secret, &l, e) != E_OK)
        return e->code;
    *more = l.n == PAGE_ROWS;
    return E_OK;
}

void op_secret_list(struct core *c, struct admin_call *call)
{
    call->until = (uint64_t)core_stamp(c);
    admin_list(c, call, secret_page);
}

void op_secret_revoke(struct core *c, struct admin_call *call)
{
    const char *user = admin_text(call, "user");
    char object[ID_MAX_LEN + 8], domain[ID_MAX_LEN + 1];
    struct secret_row row;
    uint64_t id;
    struct err e = {0};
    enum err_code code = store_secret_by_user(c->store, user, &row, &e);

    if (code == E_NOT_FOUND)
        err_set(&e, E_NOT_FOUND, "no secret for user \"%s\"", user);
    if (code != E_OK) {
        admin_fail(call, &e);
        return;
    }
    if (row.revoked_at) { /* again: no change */
        admin_done(call, NULL, -1);
        return;
    }
    id = row.id;
    snprintf(domain, sizeof(domain), "%s", row.domain);
    snprintf(object, sizeof(object), "secret:%s", user);
    if (core_begin(c, &e) != E_OK) {
        admin_fail(call, &e);
        return;
    }
    if (store_secret_revoke(c->store, id, core_stamp(c), &e) != E_OK ||
        core_audit(c, &call->by, "secret-revoked", domain, object, NULL, core_stamp(c), &e) != E_OK) {
        core_doubt(c, &e);
        core_rollback(c);
        admin_fail(call, &e);
        return;
    }
    core_commit(c);
    admin_done(call, NULL, -1);
}

/* ---- domains ---- */

static json_t *domain_json(struct core *c, const char *name, struct err *e)
{
    struct device_filter f = {.domain = name, .state = -1};
    json_t *anchors = json_array(), *labels = json_array();
    uint64_t devices = 0;

    if (store_device_count(c->store, &f, &devices, e) != E_OK)
        core_doubt(c, e);
    for (size_t i = 0; i < c->conf->anchors_n; i++)
        if (strings_have(&c->conf->anchors[i].domains, name))
            json_array_append_new(anchors, json_string(c->conf->anchors[i].name));
    for (size_t i = 0; i < c->conf->labels_n; i++)
        if (strcmp(c->conf->labels[i].domain, name) == 0)
            json_array_append_new(labels, json_string(c->conf->labels[i].name));
    return json_pack("{s:s, s:I, s:o, s:o}", "name", name, "devices", (json_int_t)devices, "anchors", anchors, "labels",
                     labels);
}

void op_domain_list(struct core *c, struct admin_call *call)
{
    struct err e = {0};

    for (size_t i = 0; i < c->conf->domains_n; i++)
        admin_row(call, domain_json(c, c->conf->domains[i].name, &e));
    admin_done(call, NULL, -1);
}

void op_domain_show(struct core *c, struct admin_call *call)
{
    const char *name = admin_text(call, "name");
    struct err e = {0};

    if (!conf_find_domain(c->conf, name)) {
        err_set(&e, E_NOT_FOUND, "domain \"%s\" is not in the configuration", name);
        admin_fail(call, &e);
        return;
    }
    admin_done(call, domain_json(c, name, &e), -1);
}
