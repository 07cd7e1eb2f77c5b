/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/record.h"

#include "base/clock.h"
#include "base/jws.h"
#include "ca/handover.h"

static void clear(struct record_signer *r)
{
    buf_clear(&r->spki);
    buf_clear(&r->cert);
    memset(r, 0, sizeof(*r));
}

void record_clear(struct core *c)
{
    clear(&c->record);
    clear(&c->feed);
}

struct signer_place signer_place(struct core *c, enum key_purpose purpose)
{
    const struct conf *conf = c->conf;

    return purpose == PURPOSE_FEED
               ? (struct signer_place){purpose, PROFILE_FEED_SIGNER, conf->feed_token, conf->feed_profile, "feed", conf->feed_key, &c->feed}
               : (struct signer_place){purpose, PROFILE_RECORD_SIGNER, conf->records_token, conf->records_profile, "records",
                                       conf->records_key, &c->record};
}

static enum err_code load_certificate(struct core *c, const struct signer_place *where, const char *owner, struct err *e)
{
    struct record_signer *r = where->signer;
    const struct authority *a = authority_find(c, owner);
    char requester[ID_MAX_LEN + 8];
    struct cert_row row;
    struct cert read;
    uint8_t hash[32];
    AUTO_BUF x5t = BUF_INIT(JWS_X5T_LEN);
    enum err_code code;

    snprintf(requester, sizeof(requester), "%s:%s", key_purpose_name(where->purpose), owner);
    code = store_cert_newest_by_requester(c->store, requester, where->kind, &row, e);
    if (code == E_NOT_FOUND || (code == E_OK && (!a || row.issuer != a->id || row.status != CERT_GOOD)))
        return E_OK;
    if (code != E_OK)
        return code;
    if (cert_read(row.der, &read, e) != E_OK)
        return err_wrap(e, "certificate of the key of %s", where->name);
    if (!bytes_equal(read.spki, buf_bytes(&r->spki)))
        return E_OK;
    buf_add_bytes(&r->cert, row.der);
    sha256(row.der, hash);
    base64url_encode(&x5t, BYTES_OF(hash));
    if (!buf_ok(&r->cert) || !buf_ok(&x5t))
        return err_set(e, E_NOMEM, "certificate of the key of %s", where->name);
    snprintf(r->x5t, sizeof(r->x5t), "%.*s", (int)x5t.len, (const char *)x5t.p);
    r->not_before = row.not_before;
    r->not_after = row.not_after;
    return E_OK;
}

static enum err_code load(struct core *c, enum key_purpose purpose, struct err *e)
{
    const struct signer_place where = signer_place(c, purpose);
    const struct conf_profile *p = conf_find_profile(c->conf, where.profile);
    struct record_signer *r = where.signer;
    char name[KEY_NAME_MAX];
    const struct known_key *k;
    struct pubkey key;
    uint8_t ski[20];

    clear(r);
    if (!where.token[0] || !p)
        return E_OK;
    key_name(name, sizeof(name), purpose, p->ca);
    k = key_find(c, name);
    if (!k || strcmp(k->token, where.token) != 0)
        return E_OK;
    buf_init(&r->spki, SPKI_MAX_LEN);
    buf_init(&r->cert, CERT_MAX_LEN);
    buf_add_bytes(&r->spki, buf_bytes(&k->spki));
    if (!buf_ok(&r->spki))
        return err_set(e, E_NOMEM, "key of %s", where.name);
    if (pubkey_read(buf_bytes(&r->spki), &key, e) != E_OK)
        return err_wrap(e, "key \"%s\"", name);
    snprintf(r->key, sizeof(r->key), "%s", name);
    memcpy(r->cka_id, k->cka_id, sizeof(r->cka_id));
    r->alg = sig_alg_for_spki(buf_bytes(&r->spki));
    ski_of(key.key_bits, ski);
    hex_encode(ski, sizeof(ski), r->kid);
    return load_certificate(c, &where, p->ca, e);
}

enum err_code record_load(struct core *c, struct err *e)
{
    return load(c, PURPOSE_RECORD, e) == E_OK ? load(c, PURPOSE_FEED, e) : e->code;
}

static struct signer *signer_for_records(struct core *c, struct err *e)
{
    const struct record_signer *r = &c->record;
    const char *why = NULL;
    struct signer *s;

    if (!c->conf->records_token[0]) {
        err_set(e, E_CONFLICT, "records: no token in the configuration signs them");
        return NULL;
    }
    if (!r->key[0] || r->cert.len == 0) {
        err_set(e, E_CONFLICT, "records: the record key has no certificate yet: inkan init");
        return NULL;
    }
    if (core_may_sign(c, clock_now(), e) != E_OK)
        return NULL;
    s = signer_for_key(c, c->conf->records_token, r->key, &why);
    if (!s)
        err_set(e, E_TOKEN, "token \"%s\": key \"%s\": %s", c->conf->records_token, r->key, why);
    return s;
}

bool record_is_ready(struct core *c, const char **why)
{
    *why = "the record key has no certificate yet";
    return c->record.key[0] && c->record.cert.len &&
           signer_for_key(c, c->conf->records_token, c->record.key, why) != NULL;
}

struct record_job {
    struct core *core;
    record_fn done;
    void *arg;
    struct buf input;
};

static void record_job_free(struct record_job *j)
{
    buf_clear(&j->input);
    free(j);
}

static void on_signed(void *arg, enum err_code code, const struct err *why, enum sig_alg alg, struct bytes sig)
{
    struct record_job *j = arg;
    struct core *c = j->core;
    AUTO_BUF jws = BUF_INIT(j->input.len + JWS_OVERHEAD);
    uint8_t raw[JWS_SIG_MAX];
    size_t raw_len = code == E_OK ? jws_raw_signature(alg, sig, raw) : 0;
    struct err e = *why;

    if (code == E_TOKEN && !c->stopping)
        signer_link_doubt(c, c->conf->records_token);
    if (code == E_OK && raw_len == 0)
        err_set(&e, E_TOKEN, "record: the signer's answer is not a signature");
    if (raw_len) {
        jws_write(&jws, buf_bytes(&j->input), BYTES(raw, raw_len));
        if (!buf_ok(&jws)) {
            err_set(&e, E_NOMEM, "record");
            buf_clear(&jws);
        }
    }
    j->done(c, j->arg, &e, buf_bytes(&jws));
    record_job_free(j);
}

/* The SKI in hex; in a manifest of Microchip's form in base64url. */
static bool key_identifier(const struct core *c, const char *typ, char *out, size_t size)
{
    AUTO_BUF text = BUF_INIT(JWS_KID_MAX);
    uint8_t ski[20];
    size_t n = 0;

    if (strcmp(typ, MANIFEST_TYP) != 0) {
        text_copy(out, size, c->record.kid);
        return true;
    }
    if (!hex_decode(c->record.kid, strlen(c->record.kid), ski, sizeof(ski), &n))
        return false;
    base64url_encode(&text, BYTES(ski, n));
    buf_add_u8(&text, 0);
    text_copy(out, size, (const char *)text.p);
    return buf_ok(&text);
}

enum err_code record_sign(struct core *c, const char *typ, struct bytes payload, record_fn done, void *arg, struct err *e)
{
    struct signer *s = signer_for_records(c, e);
    struct jws_header h = {.alg = c->record.alg};
    struct record_job *j;

    if (!s)
        return e->code;
    if (payload.len > RECORD_PAYLOAD_MAX)
        return err_set(e, E_INVALID, "record of %zu octets, at most %d", payload.len, RECORD_PAYLOAD_MAX);
    j = calloc(1, sizeof(*j));
    if (!j)
        return err_set(e, E_NOMEM, "record");
    *j = (struct record_job){.core = c, .done = done, .arg = arg, .input = BUF_INIT(RECORD_PAYLOAD_MAX / 3 * 4 + JWS_OVERHEAD)};
    text_copy(h.typ, sizeof(h.typ), typ);
    if (!key_identifier(c, typ, h.kid, sizeof(h.kid)))
        h.kid[0] = '\0';
    text_copy(h.x5t, sizeof(h.x5t), c->record.x5t);
    jws_signing_input(&j->input, &h, payload);
    if (!buf_ok(&j->input) || !h.kid[0])
        err_set(e, E_NOMEM, "record");
    else if (signer_sign(s, c->record.key, SIGN_JWS, buf_bytes(&j->input), SIGN_DEADLINE_MS, 0, on_signed, j, e) == E_OK)
        return E_OK;
    record_job_free(j);
    return e->code;
}

enum err_code record_sign_key_package(struct core *c, struct bytes attributes, uint64_t rid, signer_done_fn done, void *arg,
                                      struct err *e)
{
    struct signer *s = signer_for_records(c, e);

    return s ? signer_sign(s, c->record.key, SIGN_KEY_PACKAGE, attributes, SIGN_DEADLINE_MS, rid, done, arg, e) : e->code;
}
