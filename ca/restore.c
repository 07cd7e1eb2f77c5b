/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a backup was put in place the ledger is behind what the world has seen. Accepting it re-imports revocations from
 * the newest published CRLs, lifts the numbers that must not be used twice, and says what cannot be recovered.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/fsio.h"
#include "ca/admin_int.h"
#include "ca/anchor.h"
#include "ca/crl_list.h"
#include "ca/csr.h"

struct recovery {
    struct core *core;
    struct admin_call *call;
    int64_t now;
    json_int_t reimported, unknown, broken_lists;
    struct buf lost;
};

/* The list published last, verified with the CA's key. E_NOT_FOUND: there is none of this CA. */
static enum err_code read_list(struct recovery *r, const struct crl_scope *s, struct buf *der, struct crl *out, struct err *e)
{
    char path[PATH_LEN];
    struct pubkey key;
    enum err_code code;

    publish_path(r->core, s, path, sizeof(path));
    code = file_read(path, der, e);
    if (code != E_OK)
        return code == E_NOMEM ? code : E_NOT_FOUND;
    if (crl_read(buf_bytes(der), out, e) == E_OK && bytes_equal(out->issuer, buf_bytes(&s->ca->subject))) {
        code = pubkey_read(buf_bytes(&s->ca->spki), &key, e);
        if (code == E_OK && pubkey_verifies(&key, out->sig_alg, out->tbs, out->sig))
            return E_OK;
        if (code == E_NOMEM || (code == E_OK && errno == ENOMEM))
            return err_set(e, E_NOMEM, "%s: out of memory", path);
    }
    r->broken_lists++;
    buf_printf(&r->lost, "%s: not a list of this CA, ignored; ", path);
    return E_NOT_FOUND;
}

static enum err_code import_unknown(struct recovery *r, struct status_row *row, const char *issuer, struct err *e)
{
    struct audit_actor who = {.actor = r->call->by.name, .actor_kind = r->call->by.kind, .domain = "",
                              .request_digest = r->call->by.request_digest};
    enum err_code code = store_status_append(r->core->store, row, e);

    if (code == E_CONFLICT)
        return E_OK; /* imported before */
    if (code != E_OK)
        return code;
    r->reimported++;
    r->unknown++;
    return audit_status_changed(r->core->store, &who, issuer, row, r->now, e);
}

static enum err_code import_entry(struct recovery *r, const struct crl_scope *s, const struct crl_entry *entry,
                                  struct err *e)
{
    struct core *c = r->core;
    bool hold = entry->reason == REASON_CERTIFICATE_HOLD, changed = false;
    struct status_row row = {.issuer = s->ca->id, .status = hold ? CERT_ON_HOLD : CERT_REVOKED,
                             .reason = entry->reason, .time = entry->revoked_at, .origin = "crl-import",
                             .shard = s->shard};
    struct revocation change = {.to = row.status, .reason = entry->reason, .origin = "crl-import"};
    struct cert_row cert;
    uint64_t seq;
    enum err_code code;

    if (entry->serial.len == 0 || entry->serial.len > SERIAL_MAX_LEN)
        return err_set(e, E_INVALID, "entry with a serial of %zu octets", entry->serial.len);
    code = store_cert_by_serial(c->store, s->ca->id, entry->serial, &cert, e);
    if (code == E_NOT_FOUND) {
        memcpy(row.serial, entry->serial.p, entry->serial.len);
        row.serial_len = (uint8_t)entry->serial.len;
        return import_unknown(r, &row, s->ca->conf->name, e);
    }
    if (code != E_OK)
        return code;
    if (cert.status == CERT_REVOKED)
        return E_OK;
    /* The time of the list stays: a relying party has seen it. */
    code = revoke_apply(c, &cert, &change, &r->call->by, entry->revoked_at, &changed, &seq, e);
    r->reimported += changed;
    return code;
}

static enum err_code import_list(struct recovery *r, const struct crl_scope *s, struct err *e)
{
    AUTO_BUF der = BUF_INIT(CRL_MAX_LEN);
    struct crl list;
    struct crl_entry entry;
    struct der entries;
    bool broken = false;
    uint64_t number = 0, reserved = 0;
    enum err_code code = read_list(r, s, &der, &list, e);

    if (code != E_OK)
        return code == E_NOT_FOUND ? E_OK : code;
    entries = list.entries;
    while (crl_entry_next(&entries, &entry, &broken))
        if (import_entry(r, s, &entry, e) != E_OK)
            return err_wrap(e, "CRL of \"%s\"", s->ca->conf->name);
    if (broken) {
        r->broken_lists++;
        buf_printf(&r->lost, "the CRL of %s breaks off; ", s->ca->conf->name);
    }
    for (size_t i = 0; i < list.crl_number.len && i < 8; i++)
        number = number << 8 | list.crl_number.p[i];
    /* Reserving past it makes sure that it is never used again. */
    if (number > s->number)
        return store_crl_reserve(r->core->store, s->ca->id, s->shard, (int64_t)number, &reserved, e);
    return E_OK;
}

static enum err_code lift_marks(struct recovery *r, const struct marks *m, struct err *e)
{
    struct core *c = r->core;
    uint64_t audit_seq = 0, have = 0, reserved;
    uint8_t hash[32];

    for (size_t i = 0; i < m->crl_n; i++) {
        const struct authority *a = authority_find(c, m->crl[i].issuer);

        if (!a || !a->exists)
            continue;
        if (store_crl_number(c->store, m->crl[i].issuer, m->crl[i].shard, &have, e) != E_OK)
            return e->code;
        if (have < m->crl[i].number && store_crl_reserve(c->store, a->id, m->crl[i].shard,
                                                         (int64_t)m->crl[i].number, &reserved, e) != E_OK)
            return e->code;
    }
    if (store_audit_last(c->store, &audit_seq, hash, e) != E_OK)
        return e->code;
    if (m->audit_seq > audit_seq)
        buf_printf(&r->lost, "audit entries %llu to %llu with the changes they tell of; ",
                   (unsigned long long)audit_seq + 1, (unsigned long long)m->audit_seq);
    if (m->status_seq > core_seq(c))
        buf_printf(&r->lost, "status rows %llu to %llu; ", (unsigned long long)core_seq(c) + 1,
                   (unsigned long long)m->status_seq);
    return E_OK;
}

static enum err_code recover(struct recovery *r, struct err *e)
{
    struct core *c = r->core;
    struct marks *m = calloc(1, sizeof(*m));
    int64_t restores = 0;
    enum err_code code = m ? marks_read(c->conf->dir_marks, m, e) : err_set(e, E_NOMEM, "marks");

    if (code == E_OK)
        code = lift_marks(r, m, e); /* first: importing adds rows of its own */
    free(m);
    if (code != E_OK && code != E_NOT_FOUND)
        return code;
    /* Shards before the full list: a serial that nothing else knows stays in the shard that names it. */
    for (size_t i = 0; i < c->ca_n; i++)
        for (size_t k = c->ca[i].exists ? c->ca[i].scope_n : 0; k > 0; k--)
            if (import_list(r, &c->ca[i].scope[k - 1], e) != E_OK)
                return e->code;
    if (r->unknown)
        buf_printf(&r->lost, "%lld certificates that only a CRL knows; ", (long long)r->unknown);
    buf_printf(&r->lost, "certificates issued after the backup: they are unknown to OCSP, and their devices enrol again");
    buf_add_u8(&r->lost, 0);
    if (!buf_ok(&r->lost))
        return err_set(e, E_NOMEM, "restore");
    if (store_meta_get_i64(c->store, "restores", &restores, e) != E_OK ||
        store_meta_set_i64(c->store, "restores", restores + 1, e) != E_OK ||
        store_meta_set(c->store, "sealed", (struct bytes){NULL, 0}, e) != E_OK)
        return e->code;
    return core_audit(c, &r->call->by, "restore-accepted", "", "ledger",
                      json_pack("{s:I, s:s}", "reimported", r->reimported, "lost", (const char *)r->lost.p), r->now, e);
}

void op_restore_accept(struct core *c, struct admin_call *call)
{
    struct recovery r = {.core = c, .call = call, .now = core_stamp(c), .lost = BUF_INIT(64 * 1024)};
    struct err e = {0};
    json_t *result = NULL;
    enum err_code code;

    if (c->seal != SEAL_RESTORE)
        code = err_set(&e, E_CONFLICT, "the ledger is not sealed after a restore: there is nothing to accept");
    else if ((code = core_begin(c, &e)) == E_OK) {
        code = recover(&r, &e);
        if (code != E_OK) {
            core_doubt(c, &e);
            core_rollback(c);
        } else {
            core_commit(c);
            result = json_pack("{s:I, s:s}", "reimported", r.reimported, "lost", (const char *)r.lost.p);
        }
    }
    buf_clear(&r.lost);
    if (code != E_OK) {
        admin_fail(call, &e);
        return;
    }
    anchors_forget(c->anchors); /* nothing known about a CA from before outlives an import of revocations */
    c->seal = SEAL_NONE;
    log_note(LOG_WARN, "restore-accepted", "by", call->by.name);
    core_restored(c);
    admin_done(call, result, -1);
}
