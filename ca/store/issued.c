/* SPDX-License-Identifier: Apache-2.0 */
/* Rows about what was issued and its status: intents, certificates, the status log, CRLs. */
#include <string.h>

#include "base/auto.h"
#include "base/derw.h"
#include "ca/store/store_int.h"

static const char *serial_hex(struct bytes serial, char out[SERIAL_MAX_LEN * 2 + 1])
{
    hex_encode(serial.p, serial.len > SERIAL_MAX_LEN ? SERIAL_MAX_LEN : serial.len, out);
    return out;
}

#define ROW_SERIAL(row) BYTES((row)->serial, (row)->serial_len)

/* --- intents ------------------------------------------------------------------------------------------------- */

enum err_code store_intent_insert(struct store *s, const struct intent_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_INTENT_INSERT);
    char hex[SERIAL_MAX_LEN * 2 + 1];
    enum err_code code;

    q_i64(&q, row->issuer);
    q_bytes(&q, ROW_SERIAL(row));
    q_fixed(&q, row->tbs_hash);
    q_fixed(&q, row->profile_hash);
    q_text(&q, row->requester);
    q_text(&q, row->domain);
    q_ref(&q, row->device);
    q_i64(&q, row->created_at);
    code = q_exec(&q, e);
    if (code == E_CONFLICT && e->native == SQLITE_CONSTRAINT_NOTNULL)
        return err_set(e, E_CONFLICT, "intent %s: a certificate has this serial", serial_hex(ROW_SERIAL(row), hex));
    return code == E_OK ? E_OK : err_wrap(e, "intent %s", serial_hex(ROW_SERIAL(row), hex));
}

enum err_code store_intent_state(struct store *s, uint32_t issuer, struct bytes serial, enum intent_state *state,
                                 struct err *e)
{
    struct query q = q_begin(s, Q_INTENT_STATE);

    q_i64(&q, issuer);
    q_bytes(&q, serial);
    if (q_one(&q, e) != E_OK)
        return e->code;
    *state = (enum intent_state)col_u8(&q);
    return q_end(&q, e);
}

enum err_code store_intent_finish(struct store *s, uint32_t issuer, struct bytes serial, enum intent_state state, int64_t at,
                                  struct err *e)
{
    struct query q;
    char hex[SERIAL_MAX_LEN * 2 + 1];
    enum intent_state was = INTENT_OPEN;
    enum err_code code;

    if (state != INTENT_DONE && state != INTENT_VOID)
        return err_set(e, E_INTERNAL, "intent finished as %d", (int)state);
    q = q_begin(s, Q_INTENT_FINISH);
    q_i64(&q, issuer);
    q_bytes(&q, serial);
    q_i64(&q, (int64_t)state);
    q_i64(&q, at);
    code = q_exec_one(&q, e);
    if (code != E_NOT_FOUND)
        return code;
    if (store_intent_state(s, issuer, serial, &was, e) != E_OK)
        return err_wrap(e, "intent %s", serial_hex(serial, hex));
    if (was == INTENT_OPEN)
        return err_set(e, E_CONFLICT, "intent %s has no certificate", serial_hex(serial, hex));
    return err_set(e, E_CONFLICT, "intent %s is already %s", serial_hex(serial, hex), was == INTENT_DONE ? "done" : "void");
}

enum err_code store_intent_void_open(struct store *s, int64_t at, uint64_t *count, struct err *e)
{
    struct query q = q_begin(s, Q_INTENT_VOID_OPEN);

    *count = 0;
    q_i64(&q, at);
    if (q_exec(&q, e) != E_OK)
        return e->code;
    *count = (uint64_t)sqlite3_changes64(s->db);
    return E_OK;
}

enum err_code store_intent_counts(struct store *s, uint64_t counts[3], struct err *e)
{
    struct query q = q_begin(s, Q_INTENT_UNFINISHED);

    if (q_one(&q, e) != E_OK)
        return e->code;
    counts[INTENT_OPEN] = col_u64(&q);
    counts[INTENT_VOID] = col_u64(&q);
    if (q_end(&q, e) != E_OK)
        return e->code;
    q = q_begin(s, Q_INTENT_ALL);
    if (q_one(&q, e) != E_OK)
        return e->code;
    counts[INTENT_DONE] = col_u64(&q) - counts[INTENT_OPEN] - counts[INTENT_VOID];
    return q_end(&q, e);
}

/* --- certificates -------------------------------------------------------------------------------------------- */

void cert_get(struct query *q, struct cert_row *r)
{
    *r = (struct cert_row){0};
    r->id = col_u64(q);
    r->issuer = (uint32_t)col_u64(q);
    col_serial(q, r->serial, &r->serial_len);
    r->der = col_bytes(q);
    col_fixed(q, r->der_hash, sizeof(r->der_hash));
    col_fixed(q, r->spki_hash, sizeof(r->spki_hash));
    col_fixed(q, r->profile_hash, sizeof(r->profile_hash));
    r->profile = col_text(q);
    r->kind = col_u8(q);
    r->operation = col_u8(q);
    r->device = col_u64(q);
    r->domain = col_text(q);
    r->requester = col_text(q);
    col_fixed(q, r->credential_hash, sizeof(r->credential_hash));
    r->order_no = col_text(q);
    r->station = col_text(q);
    r->line = col_text(q);
    r->model = col_text(q);
    r->lot = col_text(q);
    r->firmware = col_text(q);
    r->shard = (unsigned)col_u64(q);
    r->issued_at = col_i64(q);
    r->not_before = col_i64(q);
    r->not_after = col_i64(q);
    r->status = col_u8(q);
    r->reason = col_u8(q);
    r->status_at = col_i64(q);
    r->replaced_by = col_u64(q);
    r->first_used_at = col_i64(q);
    r->status_seq = col_u64(q);
    r->hold_by = col_u8(q);
    r->device_state = DEVICE_STATES;
}

static enum err_code cert_insert(struct store *s, struct cert_row *row, int64_t status_at, uint64_t status_seq, struct err *e)
{
    struct query q = q_begin(s, Q_CERT_INSERT);
    char hex[SERIAL_MAX_LEN * 2 + 1];

    q_i64(&q, row->issuer);
    q_bytes(&q, ROW_SERIAL(row));
    q_bytes(&q, row->der);
    q_fixed(&q, row->der_hash);
    q_fixed(&q, row->spki_hash);
    q_fixed(&q, row->profile_hash);
    q_text(&q, row->profile);
    q_i64(&q, row->kind);
    q_i64(&q, row->operation);
    q_ref(&q, row->device);
    q_text(&q, row->domain);
    q_text(&q, row->requester);
    q_fixed(&q, row->credential_hash);
    q_text(&q, row->order_no);
    q_text(&q, row->station);
    q_text(&q, row->line);
    q_text(&q, row->model);
    q_text(&q, row->lot);
    q_text(&q, row->firmware);
    q_i64(&q, row->shard);
    q_i64(&q, row->issued_at);
    q_i64(&q, row->not_before);
    q_i64(&q, row->not_after);
    q_ref(&q, row->replaced_by);
    q_i64(&q, row->first_used_at);
    q_i64(&q, status_at);
    q_u64(&q, status_seq);
    if (q_exec(&q, e) != E_OK)
        return err_wrap(e, "certificate %s", serial_hex(ROW_SERIAL(row), hex));
    row->id = (uint64_t)sqlite3_last_insert_rowid(s->db);
    return E_OK;
}

enum err_code store_cert_insert(struct store *s, struct cert_row *row, struct err *e)
{
    return cert_insert(s, row, 0, 0, e);
}

static enum err_code cert_one(struct query *q, struct cert_row *out, struct err *e)
{
    if (q_one(q, e) != E_OK)
        return e->code;
    cert_get(q, out);
    return q_end(q, e);
}

enum err_code store_cert_by_serial(struct store *s, uint32_t issuer, struct bytes serial, struct cert_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_CERT_BY_SERIAL);

    q_i64(&q, issuer);
    q_bytes(&q, serial);
    return cert_one(&q, out, e);
}

enum err_code store_cert_by_der(struct store *s, struct bytes issuer, struct bytes serial, const uint8_t der_hash[32],
                                struct cert_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_CERT_BY_DER);

    q_bytes(&q, issuer);
    q_bytes(&q, serial);
    q_bytes(&q, BYTES(der_hash, 32));
    return cert_one(&q, out, e);
}

enum err_code store_cert_by_ca(struct store *s, const char *ca, struct bytes serial, const uint8_t der_hash[32], struct cert_row *out,
                               struct err *e)
{
    struct query q = q_begin(s, Q_CERT_BY_CA);

    q_text(&q, ca);
    q_bytes(&q, serial);
    q_bytes(&q, BYTES(der_hash, 32));
    return cert_one(&q, out, e);
}

enum err_code store_cert_by_id(struct store *s, uint64_t id, struct cert_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_CERT_BY_ID);

    q_u64(&q, id);
    return cert_one(&q, out, e);
}

enum err_code store_cert_newest(struct store *s, uint64_t device, enum profile_kind kind, struct cert_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_CERT_NEWEST);

    q_u64(&q, device);
    q_i64(&q, (int64_t)kind);
    return cert_one(&q, out, e);
}

enum err_code store_cert_newest_by_requester(struct store *s, const char *requester, enum profile_kind kind,
                                             struct cert_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_CERT_NEWEST_BY_REQUESTER);

    q_text(&q, requester);
    q_i64(&q, (int64_t)kind);
    return cert_one(&q, out, e);
}

enum err_code store_cert_set_used(struct store *s, uint64_t id, int64_t at, struct err *e)
{
    struct query q = q_begin(s, Q_CERT_SET_USED);

    q_u64(&q, id);
    q_i64(&q, at);
    return q_exec_one(&q, e);
}

enum err_code store_cert_set_replaced(struct store *s, uint64_t id, uint64_t by, struct err *e)
{
    struct query q = q_begin(s, Q_CERT_SET_REPLACED);

    q_u64(&q, id);
    q_u64(&q, by);
    return q_exec_one(&q, e);
}

/* Binds CERT_MATCH. */
static void cert_match(struct query *q, const struct cert_filter *f)
{
    q_u64(q, f->after_id);
    q_i64(q, f->issuer);
    q_u64(q, f->device);
    q_text_or_null(q, f->domain);
    q_text_or_null(q, f->profile);
    q_i64(q, f->status);
    q_i64(q, f->expires_before);
}

/* Which index serves the filter: the device's, that of what is not good, or none (a walk by id). */
enum plan { PLAN_ID, PLAN_DEVICE, PLAN_STATUS };
static enum plan cert_plan(const struct cert_filter *f)
{
    return f->device != 0 ? PLAN_DEVICE : f->status > 0 ? PLAN_STATUS : PLAN_ID;
}

enum err_code store_cert_each(struct store *s, const struct cert_filter *f, cert_row_fn fn, void *arg, struct err *e)
{
    static const enum stmt_id plans[] = {Q_CERT_EACH, Q_CERT_EACH_DEVICE, Q_CERT_EACH_STATUS};
    struct query q = q_begin(s, plans[cert_plan(f)]);
    struct cert_row row;

    cert_match(&q, f);
    q_i64(&q, f->limit == 0 || f->limit > INT64_MAX ? -1 : (int64_t)f->limit);
    while (q_next(&q, e)) {
        cert_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

enum err_code store_cert_each_of(struct store *s, const char *requester, enum profile_kind kind, uint64_t after_id,
                                 cert_row_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_CERT_EACH_REQUESTER);
    struct cert_row row;

    q_text(&q, requester);
    q_i64(&q, (int64_t)kind);
    q_u64(&q, after_id);
    while (q_next(&q, e)) {
        cert_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

enum err_code store_cert_count(struct store *s, const struct cert_filter *f, uint64_t *n, struct err *e)
{
    static const enum stmt_id plans[] = {Q_CERT_COUNT, Q_CERT_COUNT_DEVICE, Q_CERT_COUNT_STATUS};
    struct query q = q_begin(s, plans[cert_plan(f)]);

    cert_match(&q, f);
    if (q_one(&q, e) != E_OK)
        return e->code;
    *n = col_u64(&q);
    return q_end(&q, e);
}

/* --- status log ---------------------------------------------------------------------------------------------- */

static void status_get(struct query *q, struct status_row *r)
{
    struct bytes hash;

    *r = (struct status_row){0};
    r->seq = col_u64(q);
    r->issuer = (uint32_t)col_u64(q);
    if (r->issuer)
        col_serial(q, r->serial, &r->serial_len);
    else
        (void)col_bytes(q);
    r->status = (enum cert_status)col_u8(q);
    r->reason = (enum crl_reason)col_u8(q);
    r->time = col_i64(q);
    r->invalidity = col_i64(q);
    r->not_after = col_i64(q);
    r->batch = col_u64(q);
    col_str(q, r->origin, sizeof(r->origin));
    r->device = col_u64(q);
    r->device_state = col_u8(q);
    r->kind = col_u8(q);
    hash = col_bytes(q);
    r->has_hash = hash.len == sizeof(r->der_hash);
    if (r->has_hash)
        memcpy(r->der_hash, hash.p, hash.len);
}

enum err_code store_status_seq(struct store *s, uint64_t *seq, struct err *e)
{
    struct query q;
    enum err_code code;

    *seq = s->status_seq;
    if (s->seq_known)
        return E_OK;
    *seq = 0;
    q = q_begin(s, Q_STATUS_LAST);
    code = q_one(&q, e);
    if (code == E_OK) {
        *seq = col_u64(&q);
        code = q_end(&q, e);
    } else if (code == E_NOT_FOUND) {
        code = E_OK;
    }
    if (code == E_OK && s->mode == STORE_WRITE) {
        s->status_seq = *seq;
        s->seq_known = true;
    }
    return code;
}

/* What the ledger says of a serial before the change. */
struct status_now {
    uint64_t cert; /* 0: no certificate row */
    bool first;    /* no status row yet */
    enum cert_status status;
    enum crl_reason reason;
    uint8_t hold_by;
    unsigned shard;
    int64_t not_after;
    uint64_t device;
};

/* A serial known only from an imported CRL. */
static enum err_code status_now_imported(struct store *s, const struct status_row *row, struct status_now *now, struct err *e)
{
    struct query q = q_begin(s, Q_REVOKED_NOW);
    enum err_code code;

    q_i64(&q, row->issuer);
    q_bytes(&q, ROW_SERIAL(row));
    code = q_one(&q, e);
    *now = (struct status_now){.first = code == E_NOT_FOUND, .shard = row->shard,
                               .not_after = row->not_after ? row->not_after : TIME_NO_EXPIRY};
    if (code == E_NOT_FOUND)
        return E_OK;
    if (code != E_OK)
        return code;
    now->status = (enum cert_status)col_u8(&q);
    now->reason = (enum crl_reason)col_u8(&q);
    return q_end(&q, e);
}

static enum err_code status_now(struct store *s, const struct status_row *row, struct status_now *now, struct err *e)
{
    struct query q = q_begin(s, Q_STATUS_NOW);
    enum err_code code;

    q_i64(&q, row->issuer);
    q_bytes(&q, ROW_SERIAL(row));
    code = q_one(&q, e);
    if (code == E_NOT_FOUND && row->origin[0])
        return status_now_imported(s, row, now, e);
    if (code != E_OK)
        return code;
    now->cert = col_u64(&q);
    now->status = (enum cert_status)col_u8(&q);
    now->first = col_u64(&q) == 0;
    now->shard = (unsigned)col_u64(&q);
    now->not_after = col_i64(&q);
    now->reason = (enum crl_reason)col_u8(&q);
    now->hold_by = col_u8(&q);
    now->device = col_u64(&q);
    return q_end(&q, e);
}

/*
 * The first row of a certificate may say anything; a serial without a certificate is never good; a revoked certificate
 * never returns; the same again is no change, unless others hold it or its key turns out to be compromised.
 */
static bool may_follow(const struct status_now *now, const struct status_row *row)
{
    static const bool allowed[CERT_STATUSES][CERT_STATUSES] = {
        /*                  good   hold   revoked */
        [CERT_GOOD] =    {  false, true,  true  },
        [CERT_ON_HOLD] = {  true,  false, true  },
        [CERT_REVOKED] = {  false, false, false },
    };

    if ((unsigned)row->status >= CERT_STATUSES)
        return false;
    if (now->first)
        return now->cert != 0 || row->status != CERT_GOOD;
    if (row->status == CERT_ON_HOLD && now->status == CERT_ON_HOLD)
        return now->cert != 0 && row->hold_by != now->hold_by;
    if (row->status == CERT_REVOKED && now->status == CERT_REVOKED)
        return row->reason == REASON_KEY_COMPROMISE && now->reason != REASON_KEY_COMPROMISE;
    return allowed[now->status][row->status];
}

static enum err_code log_insert(struct store *s, const struct status_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_STATUS_INSERT);

    q_u64(&q, row->seq);
    q_ref(&q, row->issuer);
    q_bytes(&q, ROW_SERIAL(row));
    q_i64(&q, (int64_t)row->status);
    q_i64(&q, (int64_t)row->reason);
    q_i64(&q, row->time);
    q_i64(&q, row->invalidity);
    q_i64(&q, row->not_after);
    q_u64(&q, row->batch);
    q_text(&q, row->origin);
    q_ref(&q, row->device);
    q_i64(&q, row->device ? row->device_state : DEVICE_STATES);
    q_i64(&q, row->has_hash ? row->kind : 0);
    q_bytes(&q, row->has_hash ? BYTES_OF(row->der_hash) : (struct bytes){NULL, 0});
    return q_exec(&q, e);
}

static enum err_code cert_update(struct store *s, uint64_t cert, const struct status_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_STATUS_CERT);

    q_u64(&q, cert);
    q_i64(&q, (int64_t)row->status);
    q_i64(&q, (int64_t)row->reason);
    q_i64(&q, row->time);
    q_u64(&q, row->seq);
    q_i64(&q, row->status == CERT_ON_HOLD ? row->hold_by : 0);
    return q_exec_one(&q, e);
}

static enum err_code revoked_update(struct store *s, const struct status_row *row, unsigned shard, struct err *e)
{
    struct query q;

    if (row->status == CERT_GOOD) {
        q = q_begin(s, Q_REVOKED_DROP);
        q_i64(&q, row->issuer);
        q_bytes(&q, ROW_SERIAL(row));
        return q_exec(&q, e);
    }
    q = q_begin(s, Q_REVOKED_PUT);
    q_i64(&q, row->issuer);
    q_bytes(&q, ROW_SERIAL(row));
    q_i64(&q, shard);
    q_i64(&q, (int64_t)row->status);
    q_i64(&q, (int64_t)row->reason);
    q_i64(&q, row->time);
    q_i64(&q, row->invalidity);
    q_i64(&q, row->not_after);
    q_u64(&q, row->seq);
    q_u64(&q, row->batch);
    q_text(&q, row->origin);
    return q_exec(&q, e);
}

static enum err_code newest_put(struct store *s, uint32_t issuer, unsigned shard, int64_t time, struct err *e)
{
    struct query q = q_begin(s, Q_NEWEST_PUT);

    q_i64(&q, issuer);
    q_i64(&q, shard);
    q_i64(&q, time);
    return q_exec(&q, e);
}

/* A change that CRLs show; issuance is not one. */
static enum err_code crl_change(struct store *s, const struct status_row *row, unsigned shard, struct err *e)
{
    if (revoked_update(s, row, shard, e) != E_OK || newest_put(s, row->issuer, 0, row->time, e) != E_OK)
        return e->code;
    return shard != 0 ? newest_put(s, row->issuer, shard, row->time, e) : E_OK;
}

enum err_code store_status_append(struct store *s, struct status_row *row, struct err *e)
{
    static const char *const names[CERT_STATUSES] = {"good", "on hold", "revoked"};
    char hex[SERIAL_MAX_LEN * 2 + 1];
    struct status_now now;
    uint64_t last;

    if (status_now(s, row, &now, e) != E_OK)
        return err_wrap(e, "status of %s", serial_hex(ROW_SERIAL(row), hex));
    if (row->status == CERT_ON_HOLD && row->hold_by == 0)
        row->hold_by = HOLD_OPERATOR;
    if (!may_follow(&now, row))
        return err_set(e, E_CONFLICT, "certificate %s is %s and cannot become %s", serial_hex(ROW_SERIAL(row), hex),
                       names[now.status], (unsigned)row->status < CERT_STATUSES ? names[row->status] : "that");
    if (store_status_seq(s, &last, e) != E_OK)
        return e->code;
    row->seq = last + 1;
    row->not_after = now.not_after;
    if (row->device == 0) {
        row->device = now.device;
        row->device_state = DEVICE_STATES;
    }
    s->changes++;
    if (log_insert(s, row, e) != E_OK || (now.cert != 0 && cert_update(s, now.cert, row, e) != E_OK) ||
        (!(now.first && row->status == CERT_GOOD) && crl_change(s, row, now.shard, e) != E_OK)) {
        s->seq_known = false;
        return err_wrap(e, "status of %s", serial_hex(ROW_SERIAL(row), hex));
    }
    s->status_seq = row->seq;
    return E_OK;
}

enum err_code store_device_log(struct store *s, uint64_t id, enum device_state state, int64_t at, uint64_t batch,
                               const char *origin, uint64_t *seq, struct err *e)
{
    struct status_row row = {.status = CERT_GOOD, .time = at, .batch = batch, .device = id, .device_state = (uint8_t)state};
    uint64_t last;

    snprintf(row.origin, sizeof(row.origin), "%s", origin ? origin : "");
    if (store_status_seq(s, &last, e) != E_OK)
        return e->code;
    row.seq = last + 1;
    if (log_insert(s, &row, e) != E_OK) {
        s->seq_known = false;
        return err_wrap(e, "status of device %llu", (unsigned long long)id);
    }
    *seq = s->status_seq = row.seq;
    return E_OK;
}

uint64_t store_changes(const struct store *s)
{
    return s->changes;
}

enum err_code store_cert_issue(struct store *s, struct cert_row *row, struct err *e)
{
    struct status_row status = {.issuer = row->issuer, .status = CERT_GOOD, .time = row->issued_at, .not_after = row->not_after,
                                .device = row->device, .device_state = row->device_state, .kind = row->kind, .has_hash = true};
    uint64_t last;

    if (store_status_seq(s, &last, e) != E_OK)
        return e->code;
    memcpy(status.serial, row->serial, sizeof(status.serial));
    status.serial_len = row->serial_len;
    memcpy(status.der_hash, row->der_hash, sizeof(status.der_hash));
    status.seq = last + 1;
    if (cert_insert(s, row, status.time, status.seq, e) != E_OK)
        return e->code;
    if (log_insert(s, &status, e) != E_OK) {
        s->seq_known = false;
        return err_wrap(e, "first status");
    }
    row->status = CERT_GOOD;
    row->status_at = status.time;
    s->status_seq = row->status_seq = status.seq;
    return E_OK;
}

enum err_code store_status_by_seq(struct store *s, uint64_t seq, struct status_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_STATUS_BY_SEQ);

    q_u64(&q, seq);
    if (q_one(&q, e) != E_OK)
        return e->code;
    status_get(&q, out);
    return q_end(&q, e);
}

enum err_code store_status_each(struct store *s, uint64_t after_seq, uint64_t limit, status_row_fn fn, void *arg,
                                struct err *e)
{
    struct query q = q_begin(s, Q_STATUS_EACH);
    struct status_row row;

    q_u64(&q, after_seq);
    q_i64(&q, limit == 0 || limit > INT64_MAX ? -1 : (int64_t)limit);
    while (q_next(&q, e)) {
        status_get(&q, &row);
        if (q.what[0] || !fn(arg, &row))
            break;
    }
    return q_end(&q, e);
}

static struct query revoked_query(struct store *s, enum stmt_id all, enum stmt_id of_shard, uint32_t issuer,
                                  unsigned shard, int64_t keep_from)
{
    struct query q = q_begin(s, shard == 0 ? all : of_shard);

    q_i64(&q, issuer);
    q_i64(&q, keep_from == 0 ? INT64_MIN : keep_from);
    if (shard != 0)
        q_i64(&q, shard);
    return q;
}

enum err_code store_revoked_count(struct store *s, uint32_t issuer, unsigned shard, int64_t keep_from, uint64_t *n, struct err *e)
{
    struct query q = revoked_query(s, Q_REVOKED_ALL_COUNT, Q_REVOKED_SHARD_COUNT, issuer, shard, keep_from);

    *n = 0;
    if (q_one(&q, e) != E_OK)
        return e->code;
    *n = col_u64(&q);
    return q_end(&q, e);
}

enum err_code store_revoked_begin(struct store *s, uint32_t issuer, unsigned shard, int64_t keep_from, struct err *e)
{
    if (s->cursor_open)
        return err_set(e, E_INTERNAL, "ledger %s: the revoked cursor is open already", s->path);
    s->cursor = revoked_query(s, Q_REVOKED_ALL, Q_REVOKED_SHARD, issuer, shard, keep_from);
    s->cursor_open = true;
    return E_OK;
}

bool store_revoked_next(struct store *s, struct status_row *out, struct err *e)
{
    struct query *q = &s->cursor;

    e->code = E_OK;
    if (!s->cursor_open) {
        err_set(e, E_INTERNAL, "ledger %s: no revoked cursor", s->path);
        return false;
    }
    if (!q_next(q, e))
        return false;
    *out = (struct status_row){0};
    col_serial(q, out->serial, &out->serial_len);
    out->status = (enum cert_status)col_u8(q);
    out->reason = (enum crl_reason)col_u8(q);
    out->time = col_i64(q);
    out->invalidity = col_i64(q);
    if (q->what[0] == '\0')
        return true;
    err_set(e, E_STORE, "ledger %s: a revoked row is damaged:%s", s->path, q->what);
    return false;
}

void store_revoked_end(struct store *s)
{
    struct err ignored; /* store_revoked_next has told it */

    if (!s->cursor_open)
        return;
    s->cursor_open = false;
    if (q_end(&s->cursor, &ignored) != E_OK)
        return;
}

/* One time for an issuer and shard; none: 0. */
static enum err_code time_of_scope(struct store *s, enum stmt_id id, uint32_t issuer, unsigned shard, int64_t *time,
                                   struct err *e)
{
    struct query q = q_begin(s, id);
    enum err_code code;
    bool found;

    *time = 0;
    q_i64(&q, issuer);
    q_i64(&q, shard);
    code = q_one_or_none(&q, &found, e);
    if (code != E_OK || !found)
        return code;
    *time = col_i64(&q);
    return q_end(&q, e);
}

enum err_code store_revoked_newest(struct store *s, uint32_t issuer, unsigned shard, int64_t *newest_change, struct err *e)
{
    return time_of_scope(s, Q_NEWEST_GET, issuer, shard, newest_change, e);
}

/* --- CRLs ---------------------------------------------------------------------------------------------------- */

static void crl_get(struct query *q, struct crl_row *r)
{
    *r = (struct crl_row){0};
    r->issuer = (uint32_t)col_u64(q);
    r->shard = (unsigned)col_u64(q);
    r->number = col_u64(q);
    r->this_update = col_i64(q);
    r->next_update = col_i64(q);
    r->published_at = col_i64(q);
    r->seq = col_u64(q);
    r->entries = col_u64(q);
    r->regular = col_u8(q) != 0;
    col_fixed(q, r->sha256, sizeof(r->sha256));
    r->der = col_bytes(q);
}

enum err_code store_crl_reserve(struct store *s, uint32_t issuer, unsigned shard, int64_t now, uint64_t *number, struct err *e)
{
    struct query q;
    uint64_t drawn;

    *number = 0;
    if (now <= 0)
        return err_set(e, E_INTERNAL, "CRLNumber at time %lld", (long long)now);
    q = q_begin(s, Q_CRL_RESERVE);
    q_i64(&q, issuer);
    q_i64(&q, shard);
    q_i64(&q, now);
    if (q_one(&q, e) != E_OK)
        return e->code;
    drawn = col_u64(&q);
    if (q_end(&q, e) != E_OK)
        return e->code;
    *number = drawn;
    return E_OK;
}

static enum err_code crl_reserved(struct store *s, const struct crl_row *row, struct err *e)
{
    struct query q = q_begin(s, Q_CRL_RESERVED);
    uint64_t reserved = 0;
    enum err_code code;

    q_i64(&q, row->issuer);
    q_i64(&q, row->shard);
    code = q_one(&q, e);
    if (code == E_OK) {
        reserved = col_u64(&q);
        code = q_end(&q, e);
    }
    if (code != E_OK && code != E_NOT_FOUND)
        return code;
    if (row->number == 0 || row->number > reserved)
        return err_set(e, E_CONFLICT, "CRLNumber %llu of issuer %u shard %u was not reserved (up to %llu)",
                       (unsigned long long)row->number, row->issuer, row->shard, (unsigned long long)reserved);
    return E_OK;
}

/* A CRL never goes back behind the one published before it. */
static enum err_code crl_follows(const struct crl_row *row, const struct crl_row *last, struct err *e)
{
    if (row->number <= last->number)
        return err_set(e, E_CONFLICT, "CRLNumber %llu is not above %llu (RFC 5280 5.2.3)", (unsigned long long)row->number,
                       (unsigned long long)last->number);
    if (row->this_update < last->this_update)
        return err_set(e, E_CONFLICT, "CRL %llu: thisUpdate %lld is before %lld of the last one",
                       (unsigned long long)row->number, (long long)row->this_update, (long long)last->this_update);
    if (row->seq < last->seq)
        return err_set(e, E_CONFLICT, "CRL %llu reflects status row %llu, the last one %llu", (unsigned long long)row->number,
                       (unsigned long long)row->seq, (unsigned long long)last->seq);
    return E_OK;
}

static enum err_code crl_forget_der(struct store *s, const struct crl_row *last, struct err *e)
{
    struct query q = q_begin(s, Q_CRL_FORGET_DER);

    q_i64(&q, last->issuer);
    q_i64(&q, last->shard);
    q_u64(&q, last->number);
    return q_exec(&q, e);
}

enum err_code store_crl_published(struct store *s, const struct crl_row *row, struct err *e)
{
    struct query q;
    struct crl_row last;
    enum err_code code = crl_reserved(s, row, e);

    if (code == E_OK)
        code = store_crl_newest(s, row->issuer, row->shard, &last, e);
    if (code == E_OK)
        code = crl_follows(row, &last, e);
    if (code == E_OK && last.der.len > 0)
        code = crl_forget_der(s, &last, e);
    if (code != E_OK && code != E_NOT_FOUND)
        return code;
    q = q_begin(s, Q_CRL_INSERT);
    q_i64(&q, row->issuer);
    q_i64(&q, row->shard);
    q_u64(&q, row->number);
    q_i64(&q, row->this_update);
    q_i64(&q, row->next_update);
    q_i64(&q, row->published_at);
    q_u64(&q, row->seq);
    q_u64(&q, row->entries);
    q_i64(&q, row->regular);
    q_fixed(&q, row->sha256);
    q_bytes(&q, row->der);
    return q_exec(&q, e);
}

enum err_code store_crl_newest(struct store *s, uint32_t issuer, unsigned shard, struct crl_row *out, struct err *e)
{
    struct query q = q_begin(s, Q_CRL_NEWEST);

    q_i64(&q, issuer);
    q_i64(&q, shard);
    if (q_one(&q, e) != E_OK)
        return e->code;
    crl_get(&q, out);
    return q_end(&q, e);
}

enum err_code store_crl_last_regular(struct store *s, uint32_t issuer, unsigned shard, int64_t *this_update, struct err *e)
{
    return time_of_scope(s, Q_CRL_LAST_REGULAR, issuer, shard, this_update, e);
}

enum err_code store_crl_number(struct store *s, const char *issuer_name, unsigned shard, uint64_t *number, struct err *e)
{
    struct query q = q_begin(s, Q_CRL_NUMBER);

    *number = 0;
    q_text(&q, issuer_name);
    q_i64(&q, shard);
    if (q_one(&q, e) != E_OK)
        return e->code;
    *number = col_u64(&q);
    return q_end(&q, e);
}

enum err_code store_crl_number_each(struct store *s, crl_number_fn fn, void *arg, struct err *e)
{
    struct query q = q_begin(s, Q_CRL_NUMBER_EACH);
    const char *name;
    unsigned shard;

    while (q_next(&q, e)) {
        name = col_text(&q);
        shard = (unsigned)col_u64(&q);
        if (!fn(arg, name, shard, col_u64(&q)))
            break;
    }
    return q_end(&q, e);
}
