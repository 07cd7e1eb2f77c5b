/* SPDX-License-Identifier: Apache-2.0 */
/* Rows about who may enrol: meta, keys, issuers, profiles, devices, public keys, enrollment secrets. */
#include <string.h>

#include "base/auto.h"
#include "ca/store/store_int.h"

static sqlite3_int64 last_id(struct store *s)
{
    return sqlite3_last_insert_rowid(s->db);
}

static int64_t limit_or_all(uint64_t limit)
{
    return limit == 0 || limit > INT64_MAX ? -1 : (int64_t)limit;
}

/* --- meta ---------------------------------------------------------------------------------------------------- */

enum err_code store_meta_set(struct store *s, const char *name, struct bytes value, struct err *e)
{
    struct query q = q_begin(s, Q_META_SET);

    q_text(&q, name);
    q_bytes(&q, value);
    return q_exec(&q, e);
}

enum err_code store_meta_set_i64(struct store *s, const char *name, int64_t value, struct err *e)
{
    struct query q = q_begin(s, Q_META_SET);

    q_text(&q, name);
    q_i64(&q, value);
    return q_exec(&q, e);
}

enum err_code store_meta_get(struct store *s, const char *name, struct buf *value, struct err *e)
{
    struct query q = q_begin(s, Q_META_GET);

    q_text(&q, name);
    if (q_one(&q, e) != E_OK)
        return e->code;
    buf_reset(value);
    buf_add_bytes(value, col_bytes(&q));
    if (q_end(&q, e) != E_OK)
        return e->code;
    return buf_ok(value) ? E_OK : err_set(e, E_NOMEM, "meta %s does not fit %zu octets", name, value->max);
}

enum err_code store_meta_get_i64(struct store *s, const char *name, int64_t *value, struct err *e)
{
    struct query q = q_begin(s, Q_META_GET);
    bool number, found;
    enum err_code code;

    *value = 0;
    q_text(&q, name);
    code = q_one_or_none(&q, &found, e);
    if (code != E_OK || !found)
        return code;
    *value = col_i64(&q);
    number = strcmp(col_text(&q), "integer") == 0;
    if (q_end(&q, e) != E_OK)
        return e->code;
    return number ? E_OK : err_set(e, E_INTERNAL, "meta %s is not a number", name);
}

enum err_code store_time_newest(struct store *s, int64_t *t, struct err *e)
{
    struct query q;
    int64_t audit = 0;
    enum err_code code = store_meta_get_i64(s, "time_floor", t, e);

    if (code != E_OK)
        return code;
    q = q_begin(s, Q_AUDIT_LAST_TIME);
    code = q_one(&q, e);
    if (code == E_NOT_FOUND)
        return E_OK;
    if (code != E_OK)
        return code;
    audit = col_i64(&q);
    if (audit > *t)
        *t = audit;
    return q_end(&q, e);
}

/* --- keys ---------------------------------------------------------------------------------------------------- */

static void key_get(struct query *q, struct key_row *r)
{
    *r = (struct key_row){0};
    r->id = col_u64(q);
    col_str(q, r->name, sizeof(r->name));
    col_str(q, r->token, sizeof(r->token));
    r->purpose = col_u8(q);
    r->alg = col_u8(q);
    col_fixed(q, r->cka_id, sizeof(r->cka_id));
    r->spki = col_bytes(q);
    r->created_at = col_i64(q);
    r->destroyed_at = col_i64(q);
}

enum err_code store_key_insert(struct store *s, struct key_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_KEY_INSERT);

    q_text(&q, row->name);
    q_text(&q, row->token);
    q_i64(&q, row->purpose);
    q_i64(&q, row->alg);
    q_fixed(&q, row->cka_id);
    q_bytes(&q, row->spki);
    q_i64(&q, row->created_at);
    q_i64(&q, row->destroyed_at);
    if (q_exec(&q, e) != E_OK)
        return err_wrap(e, "key %s", row->name);
    row->id = (uint64_t)last_id(s);
    return E_OK;
}

enum err_code store_key_set_destroyed(struct store *s, uint64_t id, int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_KEY_DESTROYED);

    q_u64(&q, id);
    q_i64(&q, at);
    return q_exec_one(&q, e);
}

enum err_code store_key_by_name(struct store *s, const char *name, struct key_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_KEY_BY_NAME);

    q_text(&q, name);
    if (q_one(&q, e) != E_OK)
        return e->code;
    key_get(&q, out);
    return q_end(&q, e);
}

enum err_code store_key_each(struct store *s, key_row_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_KEY_EACH);
    struct key_row row;

    while (q_next(&q, e)) {
        key_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

/* --- issuers ------------------------------------------------------------------------------------------------- */

static void issuer_get(struct query *q, struct issuer_row *r)
{
    *r = (struct issuer_row){0};
    r->id = (uint32_t)col_u64(q);
    col_str(q, r->name, sizeof(r->name));
    r->parent = (uint32_t)col_u64(q);
    r->key = col_u64(q);
    r->subject = col_bytes(q);
    r->spki = col_bytes(q);
    r->cert = col_bytes(q);
    col_fixed(q, r->ski, sizeof(r->ski));
    r->not_before = col_i64(q);
    r->not_after = col_i64(q);
    r->created_at = col_i64(q);
}

enum err_code store_issuer_insert(struct store *s, struct issuer_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_ISSUER_INSERT);

    q_text(&q, row->name);
    q_ref(&q, row->parent);
    q_ref(&q, row->key);
    q_bytes(&q, row->subject);
    q_bytes(&q, row->spki);
    q_bytes(&q, row->cert);
    q_fixed(&q, row->ski);
    q_i64(&q, row->not_before);
    q_i64(&q, row->not_after);
    q_i64(&q, row->created_at);
    if (q_exec(&q, e) != E_OK)
        return err_wrap(e, "issuer %s", row->name);
    row->id = (uint32_t)last_id(s);
    if (row->parent == ISSUER_SELF)
        row->parent = row->id;
    return E_OK;
}

enum err_code store_issuer_by_id(struct store *s, uint32_t id, struct issuer_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_ISSUER_BY_ID);

    q_i64(&q, id);
    if (q_one(&q, e) != E_OK)
        return e->code;
    issuer_get(&q, out);
    return q_end(&q, e);
}

enum err_code store_issuer_by_name(struct store *s, const char *name, struct issuer_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_ISSUER_BY_NAME);

    q_text(&q, name);
    if (q_one(&q, e) != E_OK)
        return e->code;
    issuer_get(&q, out);
    return q_end(&q, e);
}

enum err_code store_issuer_each(struct store *s, issuer_row_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_ISSUER_EACH);
    struct issuer_row row;

    while (q_next(&q, e)) {
        issuer_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

/* --- profiles ------------------------------------------------------------------------------------------------ */

enum err_code store_profile_put(struct store *s, const uint8_t hash[32], const char *name, const char *body, int64_t at,
                                struct err *e)
{
    struct query q = q_begin(s, Q_PROFILE_PUT);

    q_bytes(&q, BYTES(hash, 32));
    q_text(&q, name);
    q_text(&q, body);
    q_i64(&q, at);
    return q_exec(&q, e);
}

/* --- devices ------------------------------------------------------------------------------------------------- */

void device_get(struct query *q, struct device_row *r)
{
    *r = (struct device_row){0};
    r->id = col_u64(q);
    r->unit = col_u64(q);
    r->domain = col_text(q);
    r->device_id = col_text(q);
    r->anchor = col_text(q);
    r->product = col_text(q);
    r->model = col_text(q);
    r->lot = col_text(q);
    r->order_no = col_text(q);
    r->station = col_text(q);
    r->line = col_text(q);
    r->firmware = col_text(q);
    r->state = col_u8(q);
    r->prev_state = col_u8(q);
    r->state_at = col_i64(q);
    r->declared_at = col_i64(q);
    r->enrolled_at = col_i64(q);
    r->group_secret = col_u64(q);
    r->moved_to = col_u64(q);
}

enum err_code store_device_insert(struct store *s, struct device_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_DEVICE_INSERT);
    uint64_t id = 0, unit = 0;

    q_ref(&q, row->unit);
    q_text(&q, row->domain);
    q_text(&q, row->device_id);
    q_text(&q, row->anchor);
    q_text(&q, row->product);
    q_text(&q, row->model);
    q_text(&q, row->lot);
    q_text(&q, row->order_no);
    q_text(&q, row->station);
    q_text(&q, row->line);
    q_text(&q, row->firmware);
    q_i64(&q, row->state);
    q_i64(&q, row->prev_state);
    q_i64(&q, row->state_at ? row->state_at : row->declared_at);
    q_i64(&q, row->declared_at);
    q_i64(&q, row->enrolled_at);
    q_ref(&q, row->group_secret);
    q_ref(&q, row->moved_to);
    if (q_one(&q, e) == E_OK) {
        id = col_u64(&q);
        unit = col_u64(&q);
    }
    if (q_end(&q, e) != E_OK)
        return err_wrap(e, "device %s/%s", row->domain ? row->domain : "", row->device_id ? row->device_id : "");
    row->id = id;
    row->unit = unit;
    return E_OK;
}

enum err_code store_device_find(struct store *s, const char *domain, const char *device_id, struct device_row *out,
                                struct err *e)
{
    struct query q = q_begin(s, Q_DEVICE_FIND);

    q_text(&q, domain);
    q_text(&q, device_id);
    if (q_one(&q, e) != E_OK)
        return e->code;
    device_get(&q, out);
    return q_end(&q, e);
}

enum err_code store_device_by_id(struct store *s, uint64_t id, struct device_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_DEVICE_BY_ID);

    q_u64(&q, id);
    if (q_one(&q, e) != E_OK)
        return e->code;
    device_get(&q, out);
    return q_end(&q, e);
}

static enum err_code device_goes(struct store *s, uint64_t id, unsigned from, enum device_state to, int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_DEVICE_SET_STATE);

    q_u64(&q, id);
    q_i64(&q, (int64_t)to);
    q_i64(&q, at);
    q_i64(&q, from);
    return q_exec_one(&q, e);
}

enum err_code store_device_set_state(struct store *s, uint64_t id, enum device_state state, int64_t at, struct err *e)
{
    return device_goes(s, id, (1u << DEVICE_STATES) - 1, state, at, e);
}

enum err_code store_device_advance(struct store *s, uint64_t id, unsigned from, enum device_state to, int64_t at, bool *changed,
                                   struct err *e)
{
    enum err_code code = device_goes(s, id, from, to, at, e);

    *changed = code == E_OK;
    return code == E_NOT_FOUND ? E_OK : code;
}

enum err_code store_device_set_moved(struct store *s, uint64_t id, uint64_t to, struct err *e)
{
    struct query q = q_begin(s, Q_DEVICE_SET_MOVED);

    q_u64(&q, id);
    q_ref(&q, to);
    return q_exec_one(&q, e);
}

enum err_code store_device_set_unit(struct store *s, uint64_t id, uint64_t unit, struct err *e)
{
    struct query q = q_begin(s, Q_DEVICE_SET_UNIT);

    q_u64(&q, id);
    q_u64(&q, unit);
    return q_exec_one(&q, e);
}

enum err_code store_device_set_order(struct store *s, const struct device_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_DEVICE_SET_ORDER);

    q_u64(&q, row->id);
    q_text(&q, row->anchor);
    q_text(&q, row->product);
    q_text(&q, row->model);
    q_text(&q, row->lot);
    q_text(&q, row->order_no);
    q_text(&q, row->station);
    q_text(&q, row->line);
    return q_exec_one(&q, e);
}

enum err_code store_device_set_firmware(struct store *s, uint64_t id, const char *firmware, struct err *e)
{
    struct query q = q_begin(s, Q_DEVICE_SET_FIRMWARE);

    q_u64(&q, id);
    q_text(&q, firmware);
    return q_exec_one(&q, e);
}

enum err_code store_unit_stands(struct store *s, uint64_t unit, uint64_t device, struct unit_stand *out, struct err *e)
{
    struct query q = q_begin(s, Q_UNIT_STANDS);
    size_t rows = 0;

    *out = (struct unit_stand){.by = DEVICE_STATES, .state = DEVICE_STATES, .prev = DEVICE_STATES};
    q_u64(&q, unit);
    for (; q_next(&q, e); rows++) {
        uint64_t id = col_u64(&q);
        enum device_state state = (enum device_state)col_u8(&q), prev = (enum device_state)col_u8(&q);
        bool moved = col_u64(&q) != 0;

        if (id == device) {
            out->state = state;
            out->prev = prev;
            out->moved = moved;
        } else if (!moved && state >= DEVICE_KEYED && state <= DEVICE_CONFIRMED) {
            out->unshipped = id;
        }
        if (device_is_stopped(state, prev) && !moved) {
            if (!out->stopped || out->by == DEVICE_IN_REPAIR)
                out->by = state;
            out->stopped = true;
        }
    }
    if (q_end(&q, e) != E_OK)
        return e->code;
    return rows > 0 ? E_OK : err_set(e, E_NOT_FOUND, "unit %llu has no device", (unsigned long long)unit);
}

/* Binds DEVICE_MATCH. `prefix` holds what stands before a * at the end of device_id. */
static void device_match(struct query *q, const struct device_filter *f, char *prefix, size_t size)
{
    size_t len = f->device_id ? strlen(f->device_id) : 0;
    bool is_prefix = len > 0 && f->device_id[len - 1] == '*';

    snprintf(prefix, size, "%.*s", is_prefix ? (int)len - 1 : 0, is_prefix ? f->device_id : "");
    q_u64(q, f->after_id);
    q_text_or_null(q, f->domain);
    q_text_or_null(q, is_prefix ? NULL : f->device_id);
    q_text_or_null(q, is_prefix ? prefix : NULL);
    q_text_or_null(q, f->product);
    q_text_or_null(q, f->lot);
    q_i64(q, f->state);
    q_u64(q, f->unit);
}

static enum stmt_id device_plan(const struct device_filter *f)
{
    if (f->unit != 0)
        return Q_DEVICE_EACH_UNIT;
    if (f->domain && f->device_id && !strchr(f->device_id, '*'))
        return Q_DEVICE_EACH_NAMED;
    return Q_DEVICE_EACH;
}

enum err_code store_device_each(struct store *s, const struct device_filter *f, device_row_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, device_plan(f));
    char prefix[ID_MAX_LEN + 2];
    struct device_row row;

    device_match(&q, f, prefix, sizeof(prefix));
    q_i64(&q, limit_or_all(f->limit));
    while (q_next(&q, e)) {
        device_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

enum err_code store_device_count(struct store *s, const struct device_filter *f, uint64_t *n, struct err *e)
{
    struct query q = q_begin(s, Q_DEVICE_COUNT);
    char prefix[ID_MAX_LEN + 2];

    device_match(&q, f, prefix, sizeof(prefix));
    if (q_one(&q, e) != E_OK)
        return e->code;
    *n = col_u64(&q);
    return q_end(&q, e);
}

/* --- public keys --------------------------------------------------------------------------------------------- */

enum err_code store_spki_unit(struct store *s, const uint8_t spki_hash[32], uint64_t *unit, struct err *e)
{
    struct query q = q_begin(s, Q_SPKI_UNIT);

    q_bytes(&q, BYTES(spki_hash, 32));
    if (q_one(&q, e) != E_OK)
        return e->code;
    *unit = col_u64(&q);
    return q_end(&q, e);
}

enum err_code store_spki_claim(struct store *s, const uint8_t spki_hash[32], uint64_t unit, int64_t at, struct err *e)
{
    uint64_t owner = 0;
    struct query q = q_begin(s, Q_SPKI_CLAIM);

    q_bytes(&q, BYTES(spki_hash, 32));
    q_u64(&q, unit);
    q_i64(&q, at);
    if (q_exec(&q, e) != E_OK)
        return e->code;
    if (sqlite3_changes(s->db) > 0)
        return E_OK;
    if (store_spki_unit(s, spki_hash, &owner, e) != E_OK)
        return e->code;
    return owner == unit ? E_OK
                         : err_set(e, E_CONFLICT, "public key belongs to unit %llu, not to unit %llu",
                                   (unsigned long long)owner, (unsigned long long)unit);
}

/* --- enrollment secrets -------------------------------------------------------------------------------------- */

static void secret_get(struct query *q, struct secret_row *r)
{
    *r = (struct secret_row){0};
    r->id = col_u64(q);
    r->kind = col_u8(q);
    col_str(q, r->user, sizeof(r->user));
    col_fixed(q, r->mac, sizeof(r->mac));
    r->domain = col_text(q);
    r->profile = col_text(q);
    r->device = col_u64(q);
    r->pattern = col_text(q);
    r->quota = col_u64(q);
    r->used = col_u64(q);
    r->not_before = col_i64(q);
    r->not_after = col_i64(q);
    r->created_at = col_i64(q);
    r->revoked_at = col_i64(q);
    col_fixed(q, r->bound_spki, sizeof(r->bound_spki));
    r->first_used_at = col_i64(q);
}

enum err_code store_secret_insert(struct store *s, struct secret_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_SECRET_INSERT);

    q_i64(&q, row->kind);
    q_text(&q, row->user);
    q_fixed(&q, row->mac);
    q_text(&q, row->domain);
    q_text(&q, row->profile);
    q_ref(&q, row->device);
    q_text(&q, row->pattern);
    q_u64(&q, row->quota);
    q_u64(&q, row->used);
    q_i64(&q, row->not_before);
    q_i64(&q, row->not_after);
    q_i64(&q, row->created_at);
    q_i64(&q, row->revoked_at);
    q_fixed(&q, row->bound_spki);
    q_i64(&q, row->first_used_at);
    if (q_exec(&q, e) != E_OK)
        return err_wrap(e, "secret of %s", row->user);
    row->id = (uint64_t)last_id(s);
    return E_OK;
}

enum err_code store_secret_by_user(struct store *s, const char *user, struct secret_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_SECRET_BY_USER);

    q_text(&q, user);
    if (q_one(&q, e) != E_OK)
        return e->code;
    secret_get(&q, out);
    return q_end(&q, e);
}

/* After an update that changed nothing: is the secret unknown, or does the rule in `why` forbid it? */
static enum err_code secret_refused(struct store *s, uint64_t id, const char *why, struct err *e)
{
    struct query q = q_begin(s, Q_SECRET_KNOWN);
    char user[ID_MAX_LEN + 1];
    uint64_t quota, used;

    q_u64(&q, id);
    if (q_one(&q, e) != E_OK)
        return e->code;
    col_str(&q, user, sizeof(user));
    quota = col_u64(&q);
    used = col_u64(&q);
    if (col_i64(&q) != 0)
        why = "is revoked";
    if (q_end(&q, e) != E_OK)
        return e->code;
    return err_set(e, E_CONFLICT, "secret of %s %s (used %llu of %llu)", user, why, (unsigned long long)used,
                   (unsigned long long)quota);
}

enum err_code store_secret_bind(struct store *s, uint64_t id, const uint8_t spki_hash[32], int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_SECRET_BIND);
    enum err_code code;

    q_u64(&q, id);
    q_bytes(&q, BYTES(spki_hash, 32));
    q_i64(&q, at);
    code = q_exec_one(&q, e);
    return code == E_NOT_FOUND ? secret_refused(s, id, "is bound to another key", e) : code;
}

enum err_code store_secret_count_use(struct store *s, uint64_t id, struct err *e)
{
    struct query q = q_begin(s, Q_SECRET_COUNT_USE);
    enum err_code code;

    q_u64(&q, id);
    code = q_exec_one(&q, e);
    return code == E_NOT_FOUND ? secret_refused(s, id, "is used up", e) : code;
}

enum err_code store_secret_revoke(struct store *s, uint64_t id, int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_SECRET_REVOKE);

    q_u64(&q, id);
    q_i64(&q, at);
    return q_exec_one(&q, e);
}

enum err_code store_secret_each(struct store *s, uint64_t after_id, uint64_t limit, secret_row_fn fn, void *arg,
                                struct err *e)
{
    struct query q = q_begin(s, Q_SECRET_EACH);
    struct secret_row row;

    q_u64(&q, after_id);
    q_i64(&q, limit == 0 || limit > INT64_MAX ? -1 : (int64_t)limit);
    while (q_next(&q, e)) {
        secret_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}
