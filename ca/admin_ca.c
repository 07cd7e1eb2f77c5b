/* SPDX-License-Identifier: Apache-2.0 */
/* Administration of tokens, keys, CAs, profiles, CRLs and OCSP responders: what there is. ca/job.c changes it. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "ca/admin_int.h"
#include "ca/profile.h"

#define PUBLISH_WAIT_MS 30000

/* ---- tokens and keys ---- */

static const char *token_state(struct core *c, const struct conf_token *t)
{
    const struct signer_link *l = signer_link_find(c, t->name);
    const struct proc_info *p;
    char process[PROC_NAME_MAX + 1];

    if (!l && t->offline)
        return "offline";
    snprintf(process, sizeof(process), "signer-%s", t->name);
    p = core_process(c, process);
    if (!l || !l->keys_known)
        return p && p->state[0] ? p->state : l ? "starting" : "no signer";
    for (size_t i = 0; i < l->key_n; i++)
        if (!l->key[i].usable)
            return "key refused";
    return "ready";
}

void op_token_list(struct core *c, struct admin_call *call)
{
    for (size_t i = 0; i < c->conf->tokens_n; i++) {
        const struct conf_token *t = &c->conf->tokens[i];

        admin_row(call, json_pack("{s:s, s:s, s:s, s:b, s:s}", "name", t->name, "label", t->label, "module", t->module,
                                  "offline", t->offline, "state", token_state(c, t)));
    }
    admin_done(call, NULL, -1);
}

/* What the signer said of the key; an offline token is not asked. */
static const char *key_state(struct core *c, const struct known_key *k)
{
    const struct signer_link *l = signer_link_find(c, k->token);

    for (size_t i = 0; l && i < l->key_n; i++)
        if (strcmp(l->key[i].name, k->name) == 0)
            return l->key[i].usable ? "yes" : l->key[i].why;
    return "not asked";
}

void op_key_list(struct core *c, struct admin_call *call)
{
    const char *token = admin_text(call, "token");
    uint8_t hash[32];

    for (size_t i = 0; i < c->key_n; i++) {
        const struct known_key *k = &c->key[i];

        if (token && strcmp(k->token, token) != 0)
            continue;
        sha256(buf_bytes(&k->spki), hash);
        admin_row(call, json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:I, s:s}", "name", k->name, "token", k->token,
                                  "purpose", key_purpose_name((enum key_purpose)k->purpose), "algorithm",
                                  key_alg_name((enum key_alg)k->alg), "cka_id", json_hex(BYTES_OF(k->cka_id)),
                                  "spki_sha256", json_hex(BYTES_OF(hash)), "spki", json_base64(buf_bytes(&k->spki)), "created_at",
                                  (json_int_t)k->created_at, "on_token", key_state(c, k)));
    }
    admin_done(call, NULL, -1);
}

/* ---- CAs ---- */

static json_t *ca_json(struct core *c, const struct authority *a)
{
    struct cert_filter f = {.issuer = a->id, .status = -1};
    const char *why = NULL;
    uint64_t certs = 0;
    struct err e = {0};
    bool ready = authority_is_ready(c, a, &why);
    json_t *subject = a->exists ? json_name(buf_bytes(&a->subject)) : json_string(a->conf->subject);

    if (a->exists && store_cert_count(c->store, &f, &certs, &e) != E_OK)
        core_doubt(c, &e);
    return json_pack("{s:s, s:s, s:o, s:I, s:I, s:s, s:s, s:b, s:b, s:s, s:I, s:b}", "name", a->conf->name, "issuer",
                     a->conf->issuer, "subject", subject, "not_before", (json_int_t)a->not_before, "not_after",
                     (json_int_t)a->not_after, "key", a->key, "token", a->conf->token, "offline",
                     authority_is_offline(c, a), "ready", ready, "why", why ? why : "", "certs", (json_int_t)certs,
                     "exists", a->exists);
}

void op_ca_list(struct core *c, struct admin_call *call)
{
    for (size_t i = 0; i < c->ca_n; i++)
        admin_row(call, ca_json(c, &c->ca[i]));
    admin_done(call, NULL, -1);
}

void op_ca_show(struct core *c, struct admin_call *call)
{
    const struct authority *a = authority_find(c, admin_text(call, "name"));
    uint8_t fingerprint[32];
    struct err e = {0};
    json_t *j;

    if (!a) {
        err_set(&e, E_NOT_FOUND, "CA \"%s\" is not in the configuration", admin_text(call, "name"));
        admin_fail(call, &e);
        return;
    }
    j = ca_json(c, a);
    json_object_set_new(j, "profile", json_string(a->conf->profile));
    json_object_set_new(j, "crl_shards", json_integer(a->conf->crl_shards));
    json_object_set_new(j, "ocsp_key", json_string(a->ocsp_key));
    json_object_set_new(j, "ocsp_not_after", json_integer((json_int_t)a->ocsp_not_after));
    if (a->exists) {
        /* What a device's maker compares before it trusts the root (RFC 7030 4.1.1). */
        sha256(buf_bytes(&a->cert), fingerprint);
        json_object_set_new(j, "sha256", json_hex(BYTES_OF(fingerprint)));
        json_object_set_new(j, "ski", json_hex(BYTES_OF(a->ski)));
        json_object_set_new(j, "cert", json_base64(buf_bytes(&a->cert)));
    }
    admin_done(call, j, -1);
}

/* ---- profiles ---- */

static json_t *profile_full(const struct conf_profile *p)
{
    AUTO_BUF text = BUF_INIT(64 * 1024);
    uint8_t hash[32];
    json_t *j;
    struct err e = {0};

    if (profile_describe(p, &text, hash, &e) != E_OK)
        return NULL;
    j = json_loadb((const char *)text.p, text.len, 0, NULL);
    if (j) {
        json_object_set_new(j, "name", json_string(p->name));
        json_object_set_new(j, "kind", json_string(profile_kind_name(p->kind)));
        json_object_set_new(j, "ca", json_string(p->ca));
        json_object_set_new(j, "hash", json_hex(BYTES_OF(hash)));
    }
    return j;
}

void op_profile_list(struct core *c, struct admin_call *call)
{
    for (size_t i = 0; i < c->conf->profiles_n; i++) {
        const struct conf_profile *p = &c->conf->profiles[i];

        admin_row(call, json_pack("{s:s, s:s, s:s, s:o}", "name", p->name, "kind", profile_kind_name(p->kind), "ca",
                                  p->ca, "hash", json_hex(BYTES(core_profile_hash(c, p), 32))));
    }
    admin_done(call, NULL, -1);
}

void op_profile_show(struct core *c, struct admin_call *call)
{
    const struct conf_profile *p = conf_find_profile(c->conf, admin_text(call, "name"));
    json_t *j = p ? profile_full(p) : NULL;
    struct err e = {0};

    if (!p)
        err_set(&e, E_NOT_FOUND, "profile \"%s\" is not in the configuration", admin_text(call, "name"));
    else if (!j)
        err_set(&e, E_INTERNAL, "profile \"%s\"", p->name);
    if (e.code != E_OK)
        admin_fail(call, &e);
    else
        admin_done(call, j, -1);
}

/* ---- CRLs ---- */

void op_crl_list(struct core *c, struct admin_call *call)
{
    for (size_t i = 0; i < c->ca_n; i++)
        for (size_t k = 0; k < c->ca[i].scope_n; k++) {
            const struct crl_scope *s = &c->ca[i].scope[k];

            if (s->exists)
                admin_row(call, json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:I}", "issuer", c->ca[i].conf->name, "shard",
                                          (int)s->shard, "number", (json_int_t)s->number, "this_update",
                                          (json_int_t)s->this_update, "next_update", (json_int_t)s->next_update,
                                          "entries", (json_int_t)s->entries, "size", (json_int_t)s->size));
        }
    admin_done(call, NULL, -1);
}

struct publish_wait {
    int64_t deadline_ms;
    size_t n;
    struct {
        char ca[ID_MAX_LEN + 1];
        unsigned shard;
        uint64_t number; /* of the list before */
        uint64_t refusals;
    } scope[];
};

static json_t *published_json(struct core *c, const struct publish_wait *w)
{
    json_t *list = json_array();

    for (size_t i = 0; i < w->n; i++) {
        const struct authority *a = authority_find(c, w->scope[i].ca);

        if (a && w->scope[i].shard < a->scope_n)
            json_array_append_new(list, json_pack("{s:s, s:i, s:I}", "issuer", w->scope[i].ca, "shard",
                                                  (int)w->scope[i].shard, "number",
                                                  (json_int_t)a->scope[w->scope[i].shard].number));
    }
    return json_pack("{s:o}", "published", list);
}

static bool publish_page(struct core *c, struct admin_call *call)
{
    const struct publish_wait *w = call->state;
    struct err e = {0};

    for (size_t i = 0; i < w->n; i++) {
        struct authority *a = authority_find(c, w->scope[i].ca);
        struct crl_scope *s = a && w->scope[i].shard < a->scope_n ? &a->scope[w->scope[i].shard] : NULL;

        if (!s || s->number > w->scope[i].number)
            continue;
        if (s->refusals != w->scope[i].refusals) {
            e = s->refused;
            err_wrap(&e, "CRL of \"%s\"", w->scope[i].ca);
            admin_fail(call, &e);
            return false;
        }
        if (clock_mono_ms() < w->deadline_ms)
            return true;
        err_set(&e, E_TOKEN, "CRL of \"%s\" was not published within %d s: see the log", w->scope[i].ca,
                PUBLISH_WAIT_MS / 1000);
        admin_fail(call, &e);
        return false;
    }
    admin_done(call, published_json(c, w), -1);
    return false;
}

void op_crl_publish(struct core *c, struct admin_call *call)
{
    const char *name = admin_text(call, "issuer"), *why = NULL;
    const struct authority *only = name ? authority_find(c, name) : NULL;
    struct publish_wait *w;
    size_t n = 0;
    struct err e = {0};

    for (size_t i = 0; i < c->ca_n; i++)
        n += c->ca[i].scope_n;
    w = calloc(1, sizeof(*w) + n * sizeof(w->scope[0]));
    if (!w)
        err_set(&e, E_NOMEM, "publish");
    else if (name && (!only || !only->exists))
        err_set(&e, E_NOT_FOUND, "no CA \"%s\"", name);
    else if (only && authority_is_offline(c, only))
        err_set(&e, E_CONFLICT, "CA \"%s\" is offline: inkan ca root-sign %s", name, name);
    else if (only && !authority_is_ready(c, only, &why))
        err_set(&e, E_TOKEN, "CA \"%s\": %s", name, why);
    else if (core_may_sign(c, clock_now(), &e) != E_OK)
        err_wrap(&e, "publish");
    if (e.code != E_OK) {
        free(w);
        admin_fail(call, &e);
        return;
    }
    for (size_t i = 0; i < c->ca_n; i++) {
        struct authority *a = &c->ca[i];

        if (!a->exists || (only && a != only) || authority_is_offline(c, a) || !authority_is_ready(c, a, &why))
            continue;
        for (size_t k = 0; k < a->scope_n; k++) {
            snprintf(w->scope[w->n].ca, sizeof(w->scope[0].ca), "%s", a->conf->name);
            w->scope[w->n].shard = a->scope[k].shard;
            w->scope[w->n].refusals = a->scope[k].refusals;
            w->scope[w->n++].number = a->scope[k].number;
            a->scope[k].asked = true;
            a->scope[k].retry_at_ms = 0;
        }
    }
    w->deadline_ms = clock_mono_ms() + PUBLISH_WAIT_MS;
    call->state = w;
    publish_tick(c);
    admin_stream(c, call, publish_page);
}

void op_crl_get(struct core *c, struct admin_call *call)
{
    const struct authority *a = authority_find(c, admin_text(call, "issuer"));
    size_t shard = (size_t)admin_int(call, "shard", 0);
    char path[PATH_LEN];
    AUTO_FD int fd = -1;
    struct err e = {0};

    if (!a || !a->exists || shard >= a->scope_n || !a->scope[shard].exists) {
        err_set(&e, E_NOT_FOUND, "no CRL of \"%s\" shard %zu", admin_text(call, "issuer"), shard);
        admin_fail(call, &e);
        return;
    }
    publish_path(c, &a->scope[shard], path, sizeof(path));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        err_errno(&e, E_IO, "%s", path);
        admin_fail(call, &e);
        return;
    }
    admin_done(call, json_pack("{s:I}", "number", (json_int_t)a->scope[shard].number), fd);
}

void op_ocsp_list(struct core *c, struct admin_call *call)
{
    for (size_t i = 0; i < c->ca_n; i++) {
        const struct authority *a = &c->ca[i];

        if (a->ocsp_cert.len)
            admin_row(call, json_pack("{s:s, s:I, s:I, s:s, s:s}", "issuer", a->conf->name, "not_after",
                                      (json_int_t)a->ocsp_not_after, "renew_at",
                                      (json_int_t)(a->ocsp_not_before +
                                                   (a->ocsp_not_after - a->ocsp_not_before) / 3 * 2),
                                      "token", a->conf->ocsp_token, "key", a->ocsp_key));
    }
    admin_done(call, NULL, -1);
}
