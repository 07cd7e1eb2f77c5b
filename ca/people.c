/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/people.h"

#include <openssl/x509.h>

#include "base/clock.h"
#include "base/libctx.h"
#include "ca/batch.h"

AUTO_TYPE(X509, X509_free)

#define AHEAD_MAX_S    300 /* an operator's clock may be before ours by so much */
#define NONCE_SLACK_S  600
#define WAITING_MAX    50  /* of one operator */
#define EXPIRE_AT_ONCE 20
#define OUTCOME_MAX    300

/* ---- who ---- */

static void person_of(struct person *out, const struct operator_row *row)
{
    out->id = row->id;
    out->roles = row->roles;
    text_copy(out->name, sizeof(out->name), row->name);
}

/* A hold of one of their certificates is a hold of the person, also where none is asked for. */
static enum err_code is_not_held(struct core *c, const struct operator_row *row, struct err *e)
{
    struct cert_row cert;
    uint64_t id = 0;
    enum err_code code;

    while ((code = store_operator_cert_next(c->store, row->id, id, &id, e)) == E_OK) {
        if (store_cert_by_id(c->store, id, &cert, e) != E_OK)
            return e->code;
        if (cert.status == CERT_ON_HOLD)
            return err_set(e, E_DENIED, "operator %s has a certificate on hold", row->name);
    }
    if (code != E_NOT_FOUND)
        return code;
    *e = (struct err){0};
    return E_OK;
}

enum err_code people_of_user(struct core *c, const char *user, struct person *out, struct err *e)
{
    struct operator_row row;
    enum err_code code = store_operator_by_user(c->store, user, &row, e);

    if (code == E_NOT_FOUND)
        return err_set(e, E_DENIED, "user %s is no operator: root says who is, by inkan operator add NAME --roles ROLES --user %s", user, user);
    if (code == E_OK)
        code = is_not_held(c, &row, e);
    if (code == E_OK)
        person_of(out, &row);
    return code;
}

struct bytes people_node(const struct core *c)
{
    return buf_bytes(&c->follow_id);
}

/* The certificate counts now: our record of it, the CA above it, its dates. */
static enum err_code cert_counts(struct core *c, const struct cert_row *row, int64_t now, struct err *e)
{
    struct authority *a = authority_by_id(c, row->issuer);

    if (row->kind != PROFILE_OPERATOR)
        return err_set(e, E_DENIED, "the certificate is not an operator's");
    if (row->status != CERT_GOOD)
        return err_set(e, E_DENIED, "the operator's certificate is %s", row->status == CERT_ON_HOLD ? "on hold" : "revoked");
    if (now < row->not_before || now >= row->not_after)
        return err_set(e, E_DENIED, "the operator's certificate %s", now < row->not_before ? "is not valid yet" : "has expired");
    if (!a)
        return err_set(e, E_DENIED, "the CA of the operator's certificate is not in use any more");
    return authority_is_good(c, a, e);
}

static enum err_code signature_counts(const struct cert_row *row, const struct jws *jws, struct err *e)
{
    AUTO(X509) *cert = libctx_x509(row->der);

    if (!cert || !X509_get0_pubkey(cert))
        return err_set(e, E_CRYPTO, "an operator's certificate of the ledger cannot be read");
    return jws_verify(jws, X509_get0_pubkey(cert), e);
}

/* The operator of a certificate, if both count now. */
static enum err_code signer_of(struct core *c, const struct signed_request *r, int64_t now, struct person *who, struct err *e)
{
    struct operator_row row;
    struct cert_row cert;
    uint64_t id, cert_id;
    enum err_code code = store_operator_cert_find(c->store, r->cert_hash, &id, &cert_id, e);

    if (code == E_NOT_FOUND)
        return err_set(e, E_DENIED, "the request names a certificate that is no operator's here");
    if (code != E_OK || store_cert_by_id(c->store, cert_id, &cert, e) != E_OK)
        return e->code;
    if (cert_counts(c, &cert, now, e) != E_OK || signature_counts(&cert, &r->jws, e) != E_OK)
        return e->code;
    if (store_operator_by_id(c->store, id, &row, e) != E_OK)
        return e->code;
    if (row.ended_at)
        return err_set(e, E_DENIED, "operator %s has ended", row.name);
    person_of(who, &row);
    return E_OK;
}

static enum err_code is_for_now(const struct signed_request *r, int64_t now, struct err *e)
{
    if (r->iat > now + AHEAD_MAX_S)
        return err_set(e, E_DENIED, "the request was signed %lld s ahead of this service's clock", (long long)(r->iat - now));
    if (r->exp < now)
        return err_set(e, E_DENIED, "the request expired %lld s ago by this service's clock", (long long)(now - r->exp));
    return E_OK;
}

static enum err_code spend_nonce(struct core *c, const struct signed_request *r, struct err *e)
{
    enum err_code code;

    if (core_begin(c, e) != E_OK)
        return e->code;
    code = store_nonce_use(c->store, r->nonce, r->exp, e);
    core_end(c, code, e);
    return code == E_CONFLICT ? err_set(e, E_DENIED, "the request was received before: each is signed anew") : code;
}

enum err_code people_stands(struct core *c, struct bytes jws, int64_t now, struct signed_request *out, struct person *who, struct err *e)
{
    enum err_code code = signed_request_read(jws, out, e);

    if (code == E_OK)
        code = signer_of(c, out, now, who, e);
    if (code == E_OK && !bytes_equal(bytes_str(out->node), people_node(c)))
        code = err_set(e, E_DENIED, "the request is for another service (node %s)", out->node);
    if (code != E_OK) {
        core_doubt(c, e);
        signed_request_clear(out);
    }
    return code;
}

enum err_code people_verify(struct core *c, struct bytes jws, int64_t now, struct signed_request *out, struct person *who, struct err *e)
{
    enum err_code code = people_stands(c, jws, now, out, who, e);

    if (code != E_OK)
        return code;
    code = is_for_now(out, now, e);
    if (code == E_OK)
        code = spend_nonce(c, out, e);
    if (code != E_OK)
        signed_request_clear(out);
    return code;
}

/* ---- a second person ---- */

static void object_of(char *out, size_t size, uint64_t id)
{
    snprintf(out, size, "pending:%llu", (unsigned long long)id);
}

bool people_needs_second(const struct core *c, const struct admin_call *call, uint64_t units)
{
    return !call->is_root && !call->approved && units > c->conf->two_person_above;
}

enum err_code people_ask(struct core *c, const struct admin_call *call, const char *op, const json_t *args, int64_t now, uint64_t *pending,
                         struct err *e)
{
    AUTO(char) *text = json_dumps(args, JSON_COMPACT | JSON_SORT_KEYS);
    struct pending_row row = {.operator_id = call->person.id, .op = op, .args = text, .jws = call->by.signature, .created_at = now,
                              .expires_at = now + PENDING_DAYS * 86400};
    char object[40];
    uint64_t waiting;

    if (!text)
        return err_set(e, E_NOMEM, "pending request");
    if (row.jws.len == 0)
        return err_set(e, E_DENIED, "%s waits for a second person, so it needs your signature: inkan --as FILE ...", op);
    if (store_pending_waiting(c->store, call->person.id, &waiting, e) != E_OK)
        return e->code;
    if (waiting >= WAITING_MAX)
        return err_set(e, E_BUSY, "%llu requests of %s wait for a second person already", (unsigned long long)waiting, call->person.name);
    if (store_pending_insert(c->store, &row, e) != E_OK)
        return e->code;
    *pending = row.id;
    object_of(object, sizeof(object), row.id);
    return core_audit(c, &call->by, "approval-asked", "", object, json_pack("{s:s, s:I}", "op", op, "until", (json_int_t)row.expires_at), now, e);
}

void people_ask_and_answer(struct core *c, struct admin_call *call)
{
    struct err e = {0}, waits = {0};
    uint64_t id = 0;
    enum err_code code = core_begin(c, &e);

    if (code == E_OK) {
        code = people_ask(c, call, call->op->name, call->args, core_stamp(c), &id, &e);
        core_end(c, code, &e);
    }
    if (code != E_OK) {
        admin_fail(call, &e);
        return;
    }
    err_set(&waits, E_PENDING, "%s waits for a second person: inkan approval approve %llu", call->op->name, (unsigned long long)id);
    admin_done_but(call, json_pack("{s:I}", "pending", (json_int_t)id), &waits);
}

void people_ended(struct core *c, const struct admin_call *call, const struct err *outcome)
{
    char text[OUTCOME_MAX] = "";
    struct err e = {0};
    bool done = outcome->code == E_OK || outcome->code == E_PENDING;
    enum err_code code;

    if (outcome->code != E_OK)
        snprintf(text, sizeof(text), "%s: %.250s", err_code_name(outcome->code), outcome->msg);
    if (store_in_transaction(c->store) || core_begin(c, &e) != E_OK)
        return; /* it counts as interrupted at the next start */
    code = store_pending_end(c->store, call->pending, done ? PENDING_DONE : PENDING_FAILED, text, core_stamp(c), &e);
    if (code == E_OK && !done)
        code = batch_unapproved(c, call->pending, &call->by, text, &e);
    core_end(c, code, &e);
    if (code != E_OK)
        log_failure("approval-failed", &e);
}

/* ---- time ---- */

static enum err_code expire_one(struct core *c, int64_t now, struct err *e)
{
    char object[40];
    uint64_t id;
    enum err_code code = store_pending_due(c->store, now, &id, e);

    if (code != E_OK || (code = store_pending_close(c->store, id, PENDING_EXPIRED, "", now, e)) != E_OK)
        return code;
    object_of(object, sizeof(object), id);
    if (core_audit(c, &ACTOR_CORE, "approval-expired", "", object, NULL, now, e) != E_OK)
        return e->code;
    return batch_unapproved(c, id, &ACTOR_CORE, "nobody approved it in time", e);
}

void people_tick(struct core *c)
{
    int64_t now = core_stamp(c);
    struct err e = {0};
    uint64_t due;
    enum err_code code = store_pending_due(c->store, now, &due, &e);
    bool forget = c->ticks % (4 * 60) == 0;

    if (code == E_NOT_FOUND && !forget)
        return;
    if ((code == E_OK || code == E_NOT_FOUND) && (code = core_begin(c, &e)) == E_OK) {
        for (unsigned n = 0; n < EXPIRE_AT_ONCE && (code = expire_one(c, now, &e)) == E_OK; n++)
            ;
        if (code == E_OK || code == E_NOT_FOUND)
            code = forget ? store_nonce_forget(c->store, now - NONCE_SLACK_S, &e) : E_OK;
        core_end(c, code, &e);
    }
    if (code != E_OK) {
        core_doubt(c, &e);
        log_failure("approval-failed", &e);
    }
}

/* ---- policy: what the configuration says people and certificates may be, and who is admitted ---- */

static void policy_digest(const struct core *c, char hex[65])
{
    const struct conf *conf = c->conf;
    uint32_t audiences = audiences_version(conf->audiences, conf->audiences_n);
    uint8_t digest[32];

    sha256_begin();
    for (size_t i = 0; i < conf->profiles_n; i++)
        sha256_add(BYTES_OF(c->profile_hash[i].hash));
    for (size_t i = 0; i < conf->admin_users.n; i++)
        sha256_add(BYTES(conf->admin_users.v[i], strlen(conf->admin_users.v[i]) + 1));
    sha256_add(BYTES(conf->people_profile, strlen(conf->people_profile) + 1));
    sha256_add(BYTES(&conf->two_person_above, sizeof(conf->two_person_above)));
    sha256_add(BYTES(&conf->two_person_window_s, sizeof(conf->two_person_window_s)));
    sha256_add(BYTES(&audiences, sizeof(audiences)));
    sha256_end(digest);
    hex_encode(digest, sizeof(digest), hex);
}

static enum err_code note_policy(struct core *c, int64_t now, struct err *e)
{
    AUTO_BUF before = BUF_INIT(64);
    char digest[65];
    enum err_code code = store_meta_get(c->store, "policy", &before, e);

    policy_digest(c, digest);
    if (code != E_OK && code != E_NOT_FOUND)
        return code;
    if (code == E_OK && bytes_equal(buf_bytes(&before), bytes_str(digest)))
        return E_OK;
    if (store_meta_set(c->store, "policy", bytes_str(digest), e) != E_OK)
        return e->code;
    if (code == E_NOT_FOUND) /* the first start: nothing changed */
        return E_OK;
    return core_audit(c, &ACTOR_CORE, "policy-changed", "", "configuration",
                      json_pack("{s:s, s:s#}", "digest", digest, "before", (const char *)before.p, (json_int_t)before.len), now, e);
}

enum err_code people_open(struct core *c, struct err *e)
{
    int64_t now = core_stamp(c);
    enum err_code code;

    if (core_begin(c, e) != E_OK)
        return e->code;
    code = c->going ? E_OK : store_pending_interrupt(c->store, now, e);
    if (code == E_OK)
        code = note_policy(c, now, e);
    core_end(c, code, e);
    return code;
}
