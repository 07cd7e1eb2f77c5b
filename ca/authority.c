/* SPDX-License-Identifier: Apache-2.0 */
/* What the ledger knows of our keys and CAs, kept in memory in step with the configuration. */
#include <string.h>

#include "ca/core.h"

#define FAILED_MS 10000 /* so long after a failed signature a request that can wait does not try the token */

/* ---- keys ---- */

void keys_clear(struct core *c)
{
    for (size_t i = 0; i < c->key_n; i++)
        buf_clear(&c->key[i].spki);
    free(c->key);
    c->key = NULL;
    c->key_n = 0;
}

struct key_list {
    struct known_key *key;
    size_t n;
    bool failed;
};

static bool take_key(void *arg, const struct key_row *row)
{
    struct key_list *list = arg;
    struct known_key *grown, *k;

    if (row->destroyed_at != 0)
        return true;
    grown = realloc(list->key, (list->n + 1) * sizeof(*grown));
    if (!grown) {
        list->failed = true;
        return false;
    }
    list->key = grown;
    k = &list->key[list->n++];
    memset(k, 0, sizeof(*k));
    k->id = row->id;
    snprintf(k->name, sizeof(k->name), "%s", row->name);
    snprintf(k->token, sizeof(k->token), "%s", row->token);
    k->purpose = row->purpose;
    k->alg = row->alg;
    memcpy(k->cka_id, row->cka_id, sizeof(k->cka_id));
    buf_init(&k->spki, SPKI_MAX_LEN);
    buf_add_bytes(&k->spki, row->spki);
    k->created_at = row->created_at;
    if (!buf_ok(&k->spki))
        list->failed = true;
    return true;
}

enum err_code keys_load(struct core *c, struct err *e)
{
    struct key_list list = {NULL, 0, false};
    enum err_code code = store_key_each(c->store, take_key, &list, e);

    keys_clear(c);
    c->key = list.key;
    c->key_n = list.n;
    c->audit_key[0] = '\0';
    if (code != E_OK)
        return code;
    if (list.failed)
        return err_set(e, E_NOMEM, "keys");
    for (size_t i = 0; i < c->key_n; i++)
        if (c->key[i].purpose == PURPOSE_AUDIT && strcmp(c->key[i].token, c->conf->audit_token) == 0)
            snprintf(c->audit_key, sizeof(c->audit_key), "%s", c->key[i].name);
    return E_OK;
}

const struct known_key *key_find(const struct core *c, const char *name)
{
    for (size_t i = 0; i < c->key_n; i++)
        if (strcmp(c->key[i].name, name) == 0)
            return &c->key[i];
    return NULL;
}

const struct known_key *key_by_id(const struct core *c, uint64_t id)
{
    for (size_t i = 0; i < c->key_n; i++)
        if (c->key[i].id == id)
            return &c->key[i];
    return NULL;
}

void key_name(char *out, size_t size, enum key_purpose purpose, const char *owner)
{
    snprintf(out, size, "%s/%s/1", key_purpose_name(purpose), owner);
}

bool key_owner(const char *name, char *out, size_t size)
{
    const char *from = strchr(name, '/'), *to = from ? strrchr(name, '/') : NULL;

    if (!from || to <= from + 1 || (size_t)(to - from - 1) >= size)
        return false;
    memcpy(out, from + 1, (size_t)(to - from - 1));
    out[to - from - 1] = '\0';
    return true;
}

bool authority_owns_spki(struct core *c, struct bytes spki)
{
    for (size_t i = 0; i < c->key_n; i++)
        if (bytes_equal(buf_bytes(&c->key[i].spki), spki))
            return true;
    for (size_t i = 0; i < c->ca_n; i++)
        if (c->ca[i].exists && bytes_equal(buf_bytes(&c->ca[i].spki), spki))
            return true;
    return false;
}

/* ---- authorities ---- */

static void authority_clear(struct authority *a)
{
    buf_clear(&a->subject);
    buf_clear(&a->spki);
    buf_clear(&a->cert);
    buf_clear(&a->ocsp_spki);
    buf_clear(&a->ocsp_cert);
    free(a->scope);
    external_clear(a);
}

void authorities_clear(struct core *c)
{
    for (size_t i = 0; i < c->ca_n; i++)
        authority_clear(&c->ca[i]);
    free(c->ca);
    c->ca = NULL;
    c->ca_n = 0;
}

static enum err_code load_issuer(struct core *c, struct authority *a, struct err *e)
{
    struct issuer_row row;
    uint64_t key;
    const struct known_key *k;
    enum err_code code = store_issuer_by_name(c->store, a->conf->name, &row, e);

    if (code == E_NOT_FOUND)
        return E_OK;
    if (code != E_OK)
        return code;
    a->id = row.id;
    a->parent = row.parent;
    memcpy(a->ski, row.ski, sizeof(a->ski));
    a->not_before = row.not_before;
    a->not_after = row.not_after;
    buf_add_bytes(&a->subject, row.subject);
    buf_add_bytes(&a->spki, row.spki);
    buf_add_bytes(&a->cert, row.cert);
    key = row.key;
    k = key_by_id(c, key);
    if (!k)
        return err_set(e, E_STORE, "CA \"%s\": its key is not in the ledger", a->conf->name);
    snprintf(a->key, sizeof(a->key), "%s", k->name);
    memcpy(a->cka_id, k->cka_id, sizeof(a->cka_id));
    a->alg = sig_alg_for_spki(buf_bytes(&a->spki));
    if (a->alg == SIG_NONE || !buf_ok(&a->subject) || !buf_ok(&a->spki) || !buf_ok(&a->cert))
        return err_set(e, E_STORE, "CA \"%s\": its row cannot be used", a->conf->name);
    a->exists = true;
    return authority_is_external(a) ? external_load(c, a, e) : E_OK;
}

static enum err_code load_responder(struct core *c, struct authority *a, struct err *e)
{
    char requester[ID_MAX_LEN + 8], name[KEY_NAME_MAX];
    const struct known_key *k;
    struct cert_row row;
    struct cert read;
    enum err_code code;

    key_name(name, sizeof(name), PURPOSE_OCSP, a->conf->name);
    k = key_find(c, name);
    if (!a->exists || !k)
        return E_OK;
    snprintf(a->ocsp_key, sizeof(a->ocsp_key), "%s", k->name);
    memcpy(a->ocsp_cka_id, k->cka_id, sizeof(a->ocsp_cka_id));
    buf_add_bytes(&a->ocsp_spki, buf_bytes(&k->spki));
    snprintf(requester, sizeof(requester), "ocsp:%s", a->conf->name);
    code = store_cert_newest_by_requester(c->store, requester, PROFILE_OCSP_SIGNER, &row, e);
    if (code == E_NOT_FOUND)
        return E_OK;
    if (code != E_OK)
        return code;
    if (row.issuer != a->id || row.status != CERT_GOOD)
        return E_OK;
    if (cert_read(row.der, &read, e) != E_OK)
        return err_wrap(e, "responder certificate of \"%s\"", a->conf->name);
    if (!bytes_equal(read.spki, buf_bytes(&a->ocsp_spki)))
        return E_OK;
    buf_add_bytes(&a->ocsp_cert, row.der);
    a->ocsp_not_before = row.not_before;
    a->ocsp_not_after = row.not_after;
    return buf_ok(&a->ocsp_cert) ? E_OK : err_set(e, E_NOMEM, "responder certificate");
}

static enum err_code load_scopes(struct core *c, struct authority *a, struct err *e)
{
    a->scope_n = a->conf->crl_shards + 1u;
    a->scope = calloc(a->scope_n, sizeof(*a->scope));
    if (!a->scope)
        return err_set(e, E_NOMEM, "CRL scopes");
    for (size_t i = 0; i < a->scope_n; i++) {
        struct crl_scope *s = &a->scope[i];
        struct crl_row row;
        int64_t published_at, newest = 0;
        enum err_code code;

        s->shard = (unsigned)i;
        if (!a->exists)
            continue;
        code = store_crl_newest(c->store, a->id, s->shard, &row, e);
        if (code == E_NOT_FOUND)
            continue;
        if (code != E_OK)
            return code;
        s->exists = true;
        s->number = row.number;
        s->seq = row.seq;
        s->entries = row.entries;
        s->this_update = row.this_update;
        s->next_update = row.next_update;
        s->size = row.der.len;
        s->published_at = row.published_at;
        memcpy(s->sha256, row.sha256, sizeof(s->sha256));
        published_at = row.published_at;
        if (store_revoked_newest(c->store, a->id, s->shard, &newest, e) != E_OK)
            return e->code;
        if (newest >= published_at) /* a change came after the list, and then a crash */
            s->dirty_since_ms = 1;
    }
    return E_OK;
}

/* What is only in memory moves over: signatures under way, changes not yet published. */
static void keep_scopes(struct authority *now, const struct authority *before)
{
    for (size_t i = 0; i < now->scope_n && i < before->scope_n; i++) {
        struct crl_scope *s = &now->scope[i];
        const struct crl_scope *b = &before->scope[i];

        s->dirty_since_ms = b->dirty_since_ms;
        s->retry_at_ms = b->retry_at_ms;
        s->busy = b->busy;
        s->asked = b->asked;
        s->this_floor = b->this_floor;
        s->next_floor = b->next_floor;
        s->refusals = b->refusals;
        s->refused = b->refused;
        s->alarmed = b->alarmed && s->number == b->number;
        if (b->number == s->number)
            s->size = b->size;
    }
}

enum err_code authorities_load(struct core *c, struct err *e)
{
    size_t n = c->conf->cas_n;
    struct authority *all = calloc(n + 1, sizeof(*all));
    enum err_code code = all ? E_OK : err_set(e, E_NOMEM, "authorities");

    for (size_t i = 0; i < n && code == E_OK; i++) {
        struct authority *a = &all[i];

        a->conf = &c->conf->cas[i];
        buf_init(&a->subject, NAME_MAX_LEN);
        buf_init(&a->spki, SPKI_MAX_LEN);
        buf_init(&a->cert, CERT_MAX_LEN);
        buf_init(&a->ocsp_spki, SPKI_MAX_LEN);
        buf_init(&a->ocsp_cert, CERT_MAX_LEN);
        code = load_issuer(c, a, e);
        if (code == E_OK)
            code = load_responder(c, a, e);
        if (code == E_OK)
            code = load_scopes(c, a, e);
    }
    if (code != E_OK) {
        for (size_t i = 0; all && i < n; i++)
            authority_clear(&all[i]);
        free(all);
        return code;
    }
    for (size_t i = 0; i < n; i++) {
        const struct authority *before = authority_find(c, all[i].conf->name);
        if (before)
            keep_scopes(&all[i], before);
        for (size_t k = 0; k < all[i].scope_n; k++)
            all[i].scope[k].ca = &all[i];
    }
    authorities_clear(c);
    c->ca = all;
    c->ca_n = n;
    return E_OK;
}

struct authority *authority_find(struct core *c, const char *name)
{
    for (size_t i = 0; i < c->ca_n; i++)
        if (strcmp(c->ca[i].conf->name, name) == 0)
            return &c->ca[i];
    return NULL;
}

struct authority *authority_by_id(struct core *c, uint32_t id)
{
    for (size_t i = 0; i < c->ca_n; i++)
        if (c->ca[i].exists && c->ca[i].id == id)
            return &c->ca[i];
    return NULL;
}

struct authority *authority_parent(struct core *c, const struct authority *a)
{
    return authority_find(c, a->conf->issuer[0] ? a->conf->issuer : a->conf->name);
}

bool authority_is_root(const struct authority *a)
{
    return a->conf->issuer[0] == '\0';
}

bool authority_is_external(const struct authority *a)
{
    return conf_ca_is_external(a->conf);
}

size_t authority_chain(struct core *c, const struct authority *a, struct bytes out[CHAIN_MAX])
{
    size_t n = 0;

    for (; a && a->exists && n < CHAIN_MAX; a = authority_parent(c, a)) {
        if (a->foreign) {
            for (size_t i = 0; i < a->foreign->n && n < CHAIN_MAX; i++)
                out[n++] = buf_bytes(&a->foreign->link[i].cert);
            return n;
        }
        out[n++] = buf_bytes(&a->cert);
        if (authority_is_root(a))
            return n;
    }
    return 0;
}

struct authority *authority_above(struct core *c, uint32_t issuer)
{
    struct authority *a = authority_by_id(c, issuer);
    struct issuer_row row;
    struct err e = {0};

    if (!a && issuer && store_issuer_by_id(c->store, issuer, &row, &e) == E_OK && row.key == 0)
        a = authority_by_id(c, row.parent);
    return a;
}

static enum err_code certifies_nobody(const struct authority *a, const char *which, enum cert_status status, struct err *e)
{
    return err_set(e, E_TOKEN, "CA \"%s\" certifies nobody: %s is %s", a->conf->name, which,
                   status == CERT_ON_HOLD ? "on hold" : "revoked");
}

/* What the lists of the services above say of an external one and of those above it. */
static enum err_code foreign_is_good(const struct authority *a, struct err *e)
{
    for (size_t i = 0; i < a->foreign->n; i++)
        if (a->foreign->link[i].status != CERT_GOOD)
            return certifies_nobody(a, i == 0 ? "its certificate" : "a certificate above it", a->foreign->link[i].status, e);
    return E_OK;
}

enum err_code authority_is_good(struct core *c, struct authority *ca, struct err *e)
{
    struct authority *a = ca;
    struct cert_row row;
    struct cert read;
    uint8_t hash[32];
    enum err_code code;

    if (ca->good_at == store_changes(c->store))
        return E_OK;
    for (size_t n = 0; a && n < CHAIN_MAX; n++) {
        if (a->foreign) {
            if (foreign_is_good(a, e) != E_OK)
                return e->code;
            ca->good_at = store_changes(c->store);
            return E_OK;
        }
        sha256(buf_bytes(&a->cert), hash);
        code = cert_read(buf_bytes(&a->cert), &read, e);
        if (code == E_OK)
            code = store_cert_by_der(c->store, read.issuer, read.serial, hash, &row, e);
        if (code == E_NOT_FOUND)
            code = err_set(e, E_INTERNAL, "no row"); /* not a matter of the one who asks */
        if (code != E_OK)
            return err_wrap(e, "certificate of CA \"%s\"", a->conf->name);
        if (row.status != CERT_GOOD)
            return certifies_nobody(a, "its certificate", (enum cert_status)row.status, e);
        if (authority_is_root(a)) {
            ca->good_at = store_changes(c->store);
            return E_OK;
        }
        a = authority_parent(c, a);
    }
    return err_set(e, E_INTERNAL, "a chain without a root");
}

bool authority_is_offline(const struct core *c, const struct authority *a)
{
    const struct conf_token *t = conf_find_token(c->conf, a->conf->token);

    return t && t->offline;
}

bool authority_is_ready(struct core *c, const struct authority *a, const char **why)
{
    if (!a->exists) {
        *why = "the CA has no certificate yet";
        return false;
    }
    return signer_for_key(c, a->conf->token, a->key, why) != NULL;
}

bool authority_signs_now(struct core *c, const struct authority *a)
{
    int64_t failed_ms = signer_link_failed_ms(c, a->conf->token);
    const char *why;

    return authority_is_ready(c, a, &why) && (failed_ms < 0 || failed_ms >= FAILED_MS);
}

void authority_issuer(const struct authority *a, struct cert_issuer *out)
{
    *out = (struct cert_issuer){
        .name = a->conf->name,
        .subject = buf_bytes(&a->subject),
        .spki = buf_bytes(&a->spki),
        .not_before = a->not_before,
        .not_after = a->not_after,
        .sig_alg = a->alg,
    };
    memcpy(out->ski, a->ski, sizeof(out->ski));
}
