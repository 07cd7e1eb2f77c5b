/* SPDX-License-Identifier: Apache-2.0 */
/* Administration of the factory line: work orders, units, stations. */
#include <string.h>

#include "ca/admin_int.h"
#include "ca/factory_int.h"
#include "ca/issue.h"
#include "ca/order_file.h"
#include "ca/people.h"

#define PAGE_ROWS  200
#define EVENTS_MAX 300
#define EVENTS_ROOM ((size_t)512 << 10)
#define CHAIN_MAX  8

/* ---- orders ---- */

static void on_order_done(struct core *c, void *arg, enum err_code code, const struct err *e)
{
    struct admin_call *call = arg;
    struct order_row row;
    struct err err = *e;
    json_t *j = NULL;

    if (code == E_OK && store_order_by_no(c->store, call->state, &row, &err) == E_OK)
        j = factory_order_json(c->store, &row, &err);
    if (j)
        admin_done(call, j, -1);
    else
        admin_fail(call, &err);
}

static bool remember_order(struct admin_call *call, const char *order_no)
{
    return (call->state = strdup(order_no)) != NULL;
}

/* An order file on its way from the reader's thread to the ledger. */
struct given_order {
    const struct conf *conf; /* that of the request: one that is replaced stays as it is */
    struct buf file;
    struct order_spec spec;
};

static void given_free(void *state)
{
    struct given_order *given = state;

    buf_clear(&given->file);
    order_spec_clear(&given->spec);
    free(given);
}

/* A list of a million ids takes a second to verify and to read. */
static enum err_code given_read(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    struct given_order *given = call->state;

    (void)ledger;
    *more = false;
    if (admin_file(call, ORDER_FILE_MAX, &given->file, e) != E_OK)
        return e->code;
    return order_file_accept(given->conf, buf_bytes(&given->file), &given->spec, e);
}

static void given_open(struct core *c, struct admin_call *call, enum err_code code, const struct err *why)
{
    struct given_order *given = call->state;
    struct err e = *why;

    call->state_free = NULL;
    if (!remember_order(call, given->spec.order_no) && code == E_OK)
        code = err_set(&e, E_NOMEM, "order");
    if (code == E_OK)
        code = factory_open(c, &given->spec, &given->file, &call->by, on_order_done, call, &e);
    if (code != E_OK)
        admin_fail(call, &e);
    given_free(given);
}

void op_order_open(struct core *c, struct admin_call *call)
{
    struct given_order *given = calloc(1, sizeof(*given));
    struct err e = {0};

    if (!given) {
        err_set(&e, E_NOMEM, "order");
        admin_fail(call, &e);
        return;
    }
    given->conf = c->conf;
    buf_init(&given->file, ORDER_FILE_MAX);
    order_spec_init(&given->spec);
    call->state = given;
    call->state_free = given_free;
    admin_read_then(c, call, READER_PAGES, given_read, given_open);
}

void op_order_close(struct core *c, struct admin_call *call)
{
    struct work_order *o;
    struct err e = {0};
    uint64_t scrapped = 0;
    bool force = json_is_true(json_object_get(call->args, "force"));
    enum err_code code = factory_find(c, admin_text(call, "order"), NULL, &o, &e);

    if (code == E_OK && c->seal != SEAL_NONE)
        code = err_set(&e, E_STORE, "sealed: %s", c->seal_why);
    if (code == E_OK && !remember_order(call, o->order_no))
        code = err_set(&e, E_NOMEM, "order");
    if (code == E_OK && force && o->state == ORDER_OPEN) {
        code = store_units_reworked(c->store, o->id, &scrapped, &e);
        call->by.alone = call->is_root && scrapped > c->conf->two_person_above;
    }
    if (code == E_OK && people_needs_second(c, call, scrapped)) {
        people_ask_and_answer(c, call);
        return;
    }
    if (code == E_OK)
        code = factory_close(c, o, &call->by, force, on_order_done, call, &e);
    if (code != E_OK)
        admin_fail(call, &e);
}

struct page {
    struct store *ledger;
    struct admin_call *call;
    struct err *e;
    size_t n;
};

static bool put_order(void *arg, const struct order_row *row)
{
    struct page *p = arg;
    json_t *j = factory_order_json(p->ledger, row, p->e), *counts = json_object_get(j, "counts");

    p->call->after = row->id;
    p->n++;
    if (!j)
        return false;
    json_object_set(j, "confirmed", json_object_get(counts, "confirmed")); /* columns of a table */
    json_object_set(j, "reserved", json_object_get(counts, "reserved"));
    admin_row(p->call, j);
    return true;
}

static enum err_code order_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    struct page p = {ledger, call, e, 0};

    if (store_order_each(ledger, call->until != 0, call->after, PAGE_ROWS, put_order, &p, e) != E_OK)
        return e->code;
    *more = p.n == PAGE_ROWS;
    return e->code;
}

void op_order_list(struct core *c, struct admin_call *call)
{
    call->until = json_is_true(json_object_get(call->args, "live"));
    admin_list(c, call, order_page);
}

/* The states of a large order's units are counted by reading them all: not in the loop. */
static enum err_code status_read(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    struct order_row row;
    uint64_t counts[UNIT_STATES], id;
    json_t *j, *states = json_object();
    enum err_code code = store_order_by_no(ledger, admin_text(call, "order"), &row, e);

    *more = false;
    if (code == E_NOT_FOUND)
        err_set(e, E_NOT_FOUND, "there is no order %s", admin_text(call, "order"));
    id = row.id;
    j = code == E_OK ? factory_order_json(ledger, &row, e) : NULL;
    if (!j || store_order_states(ledger, id, counts, e) != E_OK) {
        json_decref(j);
        json_decref(states);
        return e->code;
    }
    for (int i = 0; i < UNIT_STATES; i++)
        if (counts[i])
            json_object_set_new(states, unit_state_name((enum unit_state)i), json_integer((json_int_t)counts[i]));
    json_object_set_new(j, "units", states);
    call->state = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    return E_OK;
}

static void status_done(struct core *c, struct admin_call *call, enum err_code code, const struct err *e)
{
    (void)c;
    if (code != E_OK) {
        admin_fail(call, e);
        return;
    }
    admin_done(call, call->state ? json_loads(call->state, 0, NULL) : NULL, -1);
}

void op_order_status(struct core *c, struct admin_call *call)
{
    admin_read_then(c, call, READER_PAGES, status_read, status_done);
}

/* ---- units ---- */

static bool put_unit(void *arg, const struct unit_row *u)
{
    struct page *p = arg;

    p->call->after = u->id;
    p->n++;
    admin_row(p->call, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "device_id", u->device_id, "state",
                                 unit_state_name((enum unit_state)u->state), "ordinal", (json_int_t)u->ordinal, "reserved_at",
                                 (json_int_t)u->reserved_at, "issued_at", (json_int_t)u->issued_at, "confirmed_at",
                                 (json_int_t)u->confirmed_at, "packed_at", (json_int_t)u->packed_at, "shipped_at",
                                 (json_int_t)u->shipped_at, "ended_at", (json_int_t)u->ended_at, "rekeys",
                                 (json_int_t)u->rekeys, "reworks", (json_int_t)u->reworks));
    return true;
}

static int state_asked(const struct admin_call *call, bool *known)
{
    enum unit_state s;

    *known = true;
    if (!admin_has(call, "state"))
        return -1;
    *known = unit_state_from_name(admin_text(call, "state"), &s);
    return *known ? (int)s : -1;
}

static enum err_code unit_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    uint64_t limit = (uint64_t)admin_int(call, "limit", 0), want = PAGE_ROWS;
    struct page p = {ledger, call, e, 0};
    bool known;

    if (limit && limit - call->left < want)
        want = limit - call->left;
    if (want && store_unit_each(ledger, call->until, state_asked(call, &known), call->after, want, put_unit, &p, e) != E_OK)
        return e->code;
    call->left += p.n;
    *more = p.n && p.n == want;
    return E_OK;
}

void op_order_units(struct core *c, struct admin_call *call)
{
    struct order_row row;
    struct err e = {0};
    bool known;
    enum err_code code = store_order_by_no(c->store, admin_text(call, "order"), &row, &e);

    (void)state_asked(call, &known);
    if (code == E_NOT_FOUND)
        err_set(&e, E_NOT_FOUND, "there is no order %s", admin_text(call, "order"));
    else if (code == E_OK && !known)
        err_set(&e, E_INVALID, "state: reserved, captured, issued, held, confirmed, packed, shipped, rework, unused, void, orphan "
                               "or scrapped");
    if (e.code != E_OK) {
        admin_fail(call, &e);
        return;
    }
    call->until = row.id;
    admin_list(c, call, unit_page);
}

static enum err_code unit_find(struct core *c, const char *name, char *order_no, size_t size, struct unit_row *u, struct err *e)
{
    const char *slash = strchr(name, '/');
    struct order_row row;
    struct device_row device;
    uint64_t order;
    enum err_code code;

    if (!slash || (size_t)(slash - name) >= size)
        return err_set(e, E_INVALID, "unit: ORDER/DEVICE");
    snprintf(order_no, size, "%.*s", (int)(slash - name), name);
    code = store_order_by_no(c->store, order_no, &row, e);
    order = row.id;
    if (code == E_OK)
        code = store_device_find(c->store, row.domain, slash + 1, &device, e);
    if (code == E_OK)
        code = store_unit_find(c->store, order, device.id, u, e);
    return code == E_NOT_FOUND ? err_set(e, E_NOT_FOUND, "there is no unit %s", name) : code;
}

void op_unit_show(struct core *c, struct admin_call *call)
{
    char order_no[ORDER_NO_MAX + 1];
    struct unit_row u;
    struct err e = {0};
    json_t *j = NULL;

    if (unit_find(c, admin_text(call, "unit"), order_no, sizeof(order_no), &u, &e) == E_OK)
        j = factory_unit_json(c->store, order_no, &u, EVENTS_MAX, EVENTS_ROOM, &e);
    if (j)
        admin_done(call, j, -1);
    else
        admin_fail(call, &e);
}

/* ---- stations ---- */

static json_t *station_json(const struct station_row *row)
{
    json_t *roles = json_array();

    for (unsigned i = 0; i < STATION_ROLES; i++)
        if (row->roles & (1u << i))
            json_array_append_new(roles, json_string(station_role_name(i)));
    return json_pack("{s:s, s:s, s:s, s:o, s:s, s:I, s:I, s:I}", "name", row->name, "domain", row->domain, "line", row->line, "roles",
                     roles, "profile", row->profile, "created_at", (json_int_t)row->created_at, "not_after",
                     (json_int_t)row->not_after, "revoked_at", (json_int_t)row->revoked_at);
}

static bool put_station(void *arg, const struct station_row *row)
{
    admin_row(arg, station_json(row));
    return true;
}

static enum err_code station_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    *more = false;
    return store_station_each(ledger, put_station, call, e);
}

void op_station_list(struct core *c, struct admin_call *call)
{
    admin_list(c, call, station_page);
}

/* "issue,verify" */
static enum err_code station_roles_read(const char *text, unsigned *out, struct err *e)
{
    for (*out = 0; *text;) {
        size_t len = strcspn(text, ",");
        unsigned i = 0;

        while (i < STATION_ROLES && (strlen(station_role_name(i)) != len || memcmp(station_role_name(i), text, len) != 0))
            i++;
        if (i == STATION_ROLES)
            return err_set(e, E_INVALID, "roles: of load, issue, verify, rework, pack and qa, with commas between them");
        *out |= 1u << i;
        text += len + (text[len] == ',');
    }
    return E_OK;
}

static const struct conf_profile *station_profile(struct core *c, const char *name, struct err *e)
{
    const struct conf_profile *p = name ? conf_find_profile(c->conf, name) : NULL;

    for (size_t i = 0; !name && i < c->conf->profiles_n; i++)
        if (c->conf->profiles[i].kind == PROFILE_STATION && !p)
            p = &c->conf->profiles[i];
    if (p && p->kind == PROFILE_STATION)
        return p;
    err_set(e, E_NOT_FOUND, name ? "profile \"%s\" is not one of kind station" : "the configuration has no profile of kind station%s",
            name ? name : "");
    return NULL;
}

static enum err_code station_insert(struct core *c, struct admin_call *call, struct station_row *row, struct err *e)
{
    char object[ID_MAX_LEN + 16];
    json_t *detail = station_json(row);

    snprintf(object, sizeof(object), "station:%s", row->name);
    if (core_begin(c, e) != E_OK) {
        json_decref(detail);
        return e->code;
    }
    if (store_station_insert(c->store, row, e) != E_OK ||
        core_audit(c, &call->by, "station-added", row->domain, object, json_incref(detail), row->created_at, e) != E_OK) {
        core_doubt(c, e);
        core_rollback(c);
    } else {
        core_commit(c);
    }
    json_decref(detail);
    return e->code;
}

/* A registration that is there already, asked for again in the same words, gets its certificate. */
static enum err_code station_register(struct core *c, struct admin_call *call, struct station_row *want, struct err *e)
{
    struct station_row is;
    enum err_code code = store_station_by_name(c->store, want->name, &is, e);

    if (code == E_NOT_FOUND) {
        *e = (struct err){0};
        return station_insert(c, call, want, e);
    }
    if (code != E_OK)
        return code;
    if (is.revoked_at || is.not_after <= want->created_at)
        return err_set(e, E_CONFLICT, "station %s was %s: a name is never given again", want->name,
                       is.revoked_at ? "revoked" : "registered until its end");
    if (strcmp(is.domain, want->domain) != 0 || strcmp(is.line, want->line) != 0 || is.roles != want->roles ||
        strcmp(is.profile, want->profile) != 0)
        return err_set(e, E_CONFLICT, "station %s is registered otherwise: line %s", want->name, is.line);
    want->not_after = is.not_after;
    return E_OK;
}

static void on_station_cert(struct core *c, void *arg, const struct issue_result *r)
{
    struct admin_call *call = arg;
    json_t *result;

    if (r->code != E_OK) {
        admin_fail(call, &r->err);
        return;
    }
    result = admin_issued_json(c, r);
    json_object_set_new(result, "name", json_string(admin_text(call, "name")));
    admin_done(call, result, -1);
}

void op_station_add(struct core *c, struct admin_call *call)
{
    AUTO_BUF csr = BUF_INIT(CSR_MAX_LEN);
    struct station_row row = {.created_at = core_stamp(c)};
    char requester[ID_MAX_LEN + 16];
    struct issue_order order = {.requester = requester, .by = &call->by, .name = row.name, .repeats = true, .station = row.name,
                                .line = row.line};
    struct err e = {0};
    const char *domain = admin_domain(c, call, &e);
    const struct conf_profile *p = domain ? station_profile(c, admin_text(call, "profile"), &e) : NULL;
    enum err_code code = p ? station_roles_read(admin_text(call, "roles"), &row.roles, &e) : e.code;

    if (code == E_OK && strchr(admin_text(call, "name"), ':'))
        code = err_set(&e, E_INVALID, "name: without a colon, which is for line:NAME in orders");
    if (code == E_OK)
        code = admin_der(call, "csr", &csr, &e);
    if (code == E_OK) {
        text_copy(row.name, sizeof(row.name), admin_text(call, "name"));
        text_copy(row.domain, sizeof(row.domain), domain);
        text_copy(row.line, sizeof(row.line), admin_text(call, "line"));
        text_copy(row.profile, sizeof(row.profile), p->name);
        row.not_after = row.created_at + admin_int(call, "valid_s", p->validity_s);
        code = station_register(c, call, &row, &e);
    }
    if (code == E_OK) {
        snprintf(requester, sizeof(requester), "station:%s", row.name);
        order.profile = row.profile;
        order.domain = row.domain;
        order.csr = buf_bytes(&csr);
        order.not_after_max = row.not_after;
        code = issue_order(c, &order, on_station_cert, call, &e);
    }
    if (code != E_OK)
        admin_fail(call, &e);
}

struct station_certs {
    uint64_t id[64], seen;
    size_t n;
};

static bool take_cert(void *arg, const struct cert_row *row)
{
    struct station_certs *s = arg;

    if (s->n == ARRAY_LEN(s->id))
        return false;
    s->seen = row->id;
    if (row->status != CERT_REVOKED)
        s->id[s->n++] = row->id;
    return true;
}

static enum err_code revoke_certs(struct core *c, struct admin_call *call, const char *name, int64_t now, struct err *e)
{
    struct revocation r = {.to = CERT_REVOKED, .reason = REASON_CESSATION_OF_OPERATION};
    struct station_certs s = {.n = 0};
    char requester[ID_MAX_LEN + 16];
    struct cert_row row;
    uint64_t seq;
    bool changed;

    snprintf(requester, sizeof(requester), "station:%s", name);
    do {
        s.n = 0;
        if (store_cert_each_of(c->store, requester, PROFILE_STATION, s.seen, take_cert, &s, e) != E_OK)
            return e->code;
        for (size_t i = 0; i < s.n; i++) {
            if (store_cert_by_id(c->store, s.id[i], &row, e) != E_OK ||
                revoke_apply(c, &row, &r, &call->by, now, &changed, &seq, e) != E_OK)
                return e->code;
            call->left += changed;
        }
    } while (s.n == ARRAY_LEN(s.id));
    return E_OK;
}

void op_station_revoke(struct core *c, struct admin_call *call)
{
    char object[ID_MAX_LEN + 16];
    struct station_row row;
    int64_t now = core_stamp(c);
    struct err e = {0};
    enum err_code code = store_station_by_name(c->store, admin_text(call, "name"), &row, &e);

    if (code == E_NOT_FOUND)
        err_set(&e, E_NOT_FOUND, "there is no station %s", admin_text(call, "name"));
    else if (c->seal == SEAL_RESTORE)
        code = err_set(&e, E_STORE, "sealed: %s", c->seal_why);
    if (code == E_OK && (code = core_begin(c, &e)) == E_OK) {
        snprintf(object, sizeof(object), "station:%s", row.name);
        code = store_station_revoke(c->store, row.id, now, &e);
        if (code == E_OK)
            code = revoke_certs(c, call, row.name, now, &e);
        if (code == E_OK)
            code = core_audit(c, &call->by, "station-revoked", row.domain, object,
                              json_pack("{s:I}", "revoked", (json_int_t)call->left), now, &e);
        core_end(c, code, &e);
    }
    if (code != E_OK) {
        admin_fail(call, &e);
        return;
    }
    factory_stations_changed(c);
    admin_done_in_force(c, call, json_pack("{s:I}", "revoked", (json_int_t)call->left));
}
