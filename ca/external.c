/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CA that another service certifies: its request, the certificate that comes back, and what the lists of the services
 * above say of it later. The other side of it is ca.sign (box.c).
 */
#include <string.h>

#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include "base/clock.h"
#include "base/fsio.h"
#include "base/libctx.h"
#include "ca/admin_int.h"
#include "ca/crl.h"
#include "ca/csr.h"
#include "ca/pki_int.h"
#include "ca/store/linebox.h"

#include <openssl/x509v3.h> /* after base/conf.h: its macros have the names of our enums */

/* ---- in memory ---- */

void external_clear(struct authority *a)
{
    for (size_t i = 0; a->foreign && i < a->foreign->n; i++)
        buf_clear(&a->foreign->link[i].cert);
    free(a->foreign);
    a->foreign = NULL;
}

static bool take_link(void *arg, const struct foreign_row *row)
{
    struct foreign_chain *f = arg;
    struct foreign_link *l = &f->link[f->n];

    if (f->n == CHAIN_MAX || row->depth != f->n)
        return false;
    buf_init(&l->cert, CERT_MAX_LEN);
    buf_add_bytes(&l->cert, row->cert);
    l->status = (enum cert_status)row->status;
    l->reason = row->reason;
    f->n++;
    return buf_ok(&l->cert);
}

enum err_code external_load(struct core *c, struct authority *a, struct err *e)
{
    a->foreign = calloc(1, sizeof(*a->foreign));
    if (!a->foreign)
        return err_set(e, E_NOMEM, "chain of \"%s\"", a->conf->name);
    if (store_foreign_each(c->store, a->id, take_link, a->foreign, e) != E_OK)
        return e->code;
    if (a->foreign->n < 2 || !bytes_equal(buf_bytes(&a->foreign->link[0].cert), buf_bytes(&a->cert)))
        return err_set(e, E_STORE, "CA \"%s\": the certificates above it are not in the ledger", a->conf->name);
    return E_OK;
}

/* ---- the request ---- */

enum err_code external_request(const struct authority *a, const struct known_key *key, struct buf *out, struct err *e)
{
    AUTO_BUF subject = BUF_INIT(NAME_MAX_LEN);
    struct derw w;

    if (name_from_text(a->conf->subject, &subject, e) != E_OK)
        return err_wrap(e, "subject of \"%s\"", a->conf->name);
    derw_init(&w, out);
    derw_begin(&w, DER_SEQUENCE);
    derw_u64(&w, 0);
    derw_raw(&w, a->exists ? buf_bytes(&a->subject) : buf_bytes(&subject));
    derw_raw(&w, buf_bytes(&key->spki));
    derw_element(&w, DER_CONTEXT_CONSTRUCTED(0), (struct bytes){NULL, 0});
    derw_end(&w);
    return derw_finish(&w) ? E_OK : err_set(e, E_NOMEM, "request of \"%s\"", a->conf->name);
}

/* ---- the certificate that comes back ---- */

/* All certificates of a chain, read: [0] the CA's own. */
struct read_chain {
    struct cert cert[CHAIN_MAX];
    size_t n;
};

static enum err_code is_for_us(const struct core *c, const struct authority *a, const struct cert *own, struct err *e)
{
    const struct conf_profile *p = conf_find_profile(c->conf, a->conf->profile);
    char key[KEY_NAME_MAX];
    const struct known_key *k;
    AUTO_BUF subject = BUF_INIT(NAME_MAX_LEN);

    key_name(key, sizeof(key), PURPOSE_CA, a->conf->name);
    k = key_find(c, key);
    if (!k)
        return err_set(e, E_CONFLICT, "it has no key yet: inkan ca request %s", a->conf->name);
    if (!bytes_equal(own->spki, buf_bytes(&k->spki)))
        return err_set(e, E_INVALID, "the certificate is for another key than \"%s\"", key);
    if (name_from_text(a->conf->subject, &subject, e) != E_OK)
        return err_wrap(e, "subject");
    if (!name_matches(own->subject, buf_bytes(&subject)))
        return err_set(e, E_INVALID, "the certificate's subject is not \"%s\" (cas.subject)", a->conf->subject);
    if (a->exists && !bytes_equal(own->subject, buf_bytes(&a->subject)))
        return err_set(e, E_CONFLICT, "the certificate writes the subject in other octets than the one in use: lists and certificates "
                                      "of this CA name those");
    /* One from before, or from before a hold, would undo what the list says of this key. */
    if (a->foreign && a->foreign->link[0].status != CERT_GOOD && !bytes_equal(own->der, buf_bytes(&a->foreign->link[0].cert)))
        return err_set(e, E_CONFLICT, "the certificate in use is %s: its key gets no other", cert_status_name(a->foreign->link[0].status));
    if (p->path_len >= 0 && (own->path_len < 0 || own->path_len > p->path_len))
        return err_set(e, E_INVALID, "RFC 5280 4.2.1.9: pathLenConstraint is %d, profile \"%s\" says at most %d", own->path_len, p->name,
                       p->path_len);
    if (p->no_expiry && own->not_after != TIME_NO_EXPIRY)
        return err_set(e, E_INVALID, "the certificate has an end, profile \"%s\" and what is issued from it have none", p->name);
    if (own->ski.len != 20)
        return err_set(e, E_INVALID, "RFC 5280 4.2.1.2: its subjectKeyIdentifier has %zu octets, 20 are needed", own->ski.len);
    return E_OK;
}

/* What X509_verify_cert does not see: that the last of the chain is itself a CA which will have a certificate below it. */
static enum err_code may_certify(const struct cert *cert, size_t below, const char *which, struct err *e)
{
    const unsigned bits = USAGE_KEY_CERT_SIGN | USAGE_CRL_SIGN;

    if (!cert->is_ca)
        return err_set(e, E_INVALID, "%s: RFC 5280 4.2.1.9: not a CA certificate (cA is not TRUE)", which);
    if ((cert->key_usage & bits) != bits && (below == 0 || (cert->key_usage && !(cert->key_usage & USAGE_KEY_CERT_SIGN))))
        return err_set(e, E_INVALID, "%s: RFC 5280 4.2.1.3: keyUsage lacks keyCertSign or cRLSign", which);
    if (cert->path_len >= 0 && (size_t)cert->path_len < below)
        return err_set(e, E_INVALID, "%s: RFC 5280 4.2.1.9: pathLenConstraint %d allows no CA this far below it", which, cert->path_len);
    return E_OK;
}

static enum err_code read_all(struct bytes own, const struct bytes *above, size_t above_n, struct read_chain *out, struct err *e)
{
    char which[48] = "the certificate";

    if (above_n == 0 || above_n >= CHAIN_MAX)
        return err_set(e, E_INVALID, "a chain of %zu certificates: needed are those above it up to the root, at most %d", above_n,
                       CHAIN_MAX - 1);
    out->n = above_n + 1;
    for (size_t i = 0; i < out->n; i++) {
        if (i > 0)
            snprintf(which, sizeof(which), "certificate %zu of the chain", i);
        if (cert_read(i ? above[i - 1] : own, &out->cert[i], e) != E_OK)
            return err_wrap(e, "%s", which);
        if (may_certify(&out->cert[i], i, which, e) != E_OK)
            return e->code;
        if (i > 0 && !name_matches(out->cert[i].subject, out->cert[i - 1].issuer))
            return err_set(e, E_INVALID, "%s is not the issuer of the one before it: nearest first, the root last", which);
    }
    if (!name_matches(out->cert[above_n].subject, out->cert[above_n].issuer))
        return err_set(e, E_INVALID, "%s: the chain does not end in a self-signed root", which);
    return E_OK;
}

/* Signatures, dates, critical extensions and name constraints, by OpenSSL (RFC 5280 section 6). */
static enum err_code path_verifies(const struct read_chain *chain, int64_t now, struct err *e)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    STACK_OF(X509) *between = sk_X509_new_null();
    X509 *leaf = libctx_x509(chain->cert[0].der), *root = libctx_x509(chain->cert[chain->n - 1].der);
    bool ready = store && ctx && between && leaf && root && X509_STORE_add_cert(store, root) == 1, good;

    for (size_t i = 1; ready && i + 1 < chain->n; i++) {
        X509 *x = libctx_x509(chain->cert[i].der);

        ready = x && sk_X509_push(between, x) > 0;
        if (!ready)
            X509_free(x);
    }
    ready = ready && X509_STORE_CTX_init(ctx, store, leaf, between) == 1;
    if (ready) {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);

        X509_VERIFY_PARAM_set_time(param, (time_t)now);
        X509_VERIFY_PARAM_set_depth(param, CHAIN_MAX);
        X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_ANY);
        X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
    }
    good = ready && X509_verify_cert(ctx) == 1;
    if (!good && ready)
        err_set(e, E_INVALID, "the chain does not verify: certificate %d: %s (RFC 5280 section 6)", X509_STORE_CTX_get_error_depth(ctx),
                X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    else if (!good)
        err_openssl(e, E_INVALID, "the chain cannot be read");
    sk_X509_pop_free(between, X509_free);
    X509_free(leaf);
    X509_free(root);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return good ? E_OK : e->code;
}

static enum err_code put_issuer(struct core *c, const struct authority *a, const struct cert *own, int64_t now, uint32_t *id, struct err *e)
{
    char key[KEY_NAME_MAX];
    struct issuer_row row = {.id = a->id, .subject = own->subject, .spki = own->spki, .cert = own->der, .not_before = own->not_before,
                             .not_after = own->not_after, .created_at = now};

    key_name(key, sizeof(key), PURPOSE_CA, a->conf->name);
    row.key = key_find(c, key)->id;
    text_copy(row.name, sizeof(row.name), a->conf->name);
    memcpy(row.ski, own->ski.p, sizeof(row.ski));
    /* A newer certificate is still the same CA: what it issued and revoked stays under its row. */
    if ((a->exists ? store_issuer_recertify(c->store, &row, e) : store_issuer_insert(c->store, &row, e)) != E_OK)
        return err_wrap(e, "CA row");
    *id = row.id;
    return E_OK;
}

static enum err_code put_chain(struct core *c, const struct authority *a, uint32_t id, const struct read_chain *chain, struct err *e)
{
    for (size_t i = 0; i < chain->n; i++) {
        struct foreign_row row = {.issuer = id, .depth = (unsigned)i, .cert = chain->cert[i].der};

        /* The same certificate again: what was heard of it holds. */
        if (a->foreign && i < a->foreign->n && bytes_equal(buf_bytes(&a->foreign->link[i].cert), row.cert))
            continue;
        if (store_foreign_put(c->store, &row, e) != E_OK)
            return err_wrap(e, "chain");
    }
    return store_foreign_cut(c->store, id, (unsigned)chain->n, e);
}

static enum err_code write_installed(struct core *c, const struct authority *a, const struct actor *by, const struct read_chain *chain,
                                     int64_t now, struct err *e)
{
    uint8_t hash[32];
    char hex[65], object[ID_MAX_LEN + 8];
    uint32_t id = 0;

    sha256(chain->cert[0].der, hash);
    hex_encode(hash, sizeof(hash), hex);
    snprintf(object, sizeof(object), "ca:%s", a->conf->name);
    if (put_issuer(c, a, &chain->cert[0], now, &id, e) != E_OK || put_chain(c, a, id, chain, e) != E_OK)
        return e->code;
    return core_audit(c, by, "ca-installed", "", object,
                      json_pack("{s:s, s:o, s:I}", "sha256", hex, "serial", json_hex(chain->cert[0].serial), "not_after",
                                (json_int_t)chain->cert[0].not_after),
                      now, e);
}

enum err_code external_install(struct core *c, const struct authority *a, const struct actor *by, struct bytes cert,
                               const struct bytes *above, size_t above_n, struct err *e)
{
    struct read_chain chain = {0};
    int64_t now = core_stamp(c);
    char name[ID_MAX_LEN + 1];

    text_copy(name, sizeof(name), a->conf->name);
    if (core_may_sign(c, clock_now(), e) != E_OK || read_all(cert, above, above_n, &chain, e) != E_OK ||
        is_for_us(c, a, &chain.cert[0], e) != E_OK || path_verifies(&chain, now, e) != E_OK || core_begin(c, e) != E_OK)
        return err_wrap(e, "CA \"%s\"", name);
    if (write_installed(c, a, by, &chain, now, e) != E_OK) {
        core_doubt(c, e);
        core_rollback(c);
        return err_wrap(e, "CA \"%s\"", name);
    }
    core_commit(c);
    log_note(LOG_INFO, "ca-installed", "ca", name);
    core_authorities_changed(c);
    return E_OK;
}

/* ---- lists of the CAs above ---- */

#define LIST_MAX_LEN ((size_t)64 << 20)

struct list_import {
    struct core *core;
    struct admin_call *call;
    const struct crl *list;
    int64_t now;
    size_t fits; /* certificates it speaks of */
};

/* What the list says of one serial. */
static enum err_code list_says(const struct crl *list, struct bytes serial, struct foreign_row *out, struct err *e)
{
    struct der entries = list->entries;
    struct crl_entry entry;
    bool broken = false;

    out->status = CERT_GOOD;
    out->reason = REASON_UNSPECIFIED;
    out->status_at = 0;
    while (crl_entry_next(&entries, &entry, &broken)) {
        if (!bytes_equal(entry.serial, serial))
            continue;
        out->status = entry.reason == REASON_CERTIFICATE_HOLD ? CERT_ON_HOLD : CERT_REVOKED;
        out->reason = (uint8_t)entry.reason;
        out->status_at = entry.revoked_at;
    }
    return broken ? err_set(e, E_INVALID, "the list breaks off") : E_OK;
}

struct known_list {
    unsigned depth;
    struct foreign_row row; /* its texts are not kept */
    uint8_t number[SERIAL_MAX_LEN];
    size_t number_len;
};

static bool take_known(void *arg, const struct foreign_row *row)
{
    struct known_list *k = arg;

    if (row->depth != k->depth)
        return true;
    k->row = *row;
    k->number_len = row->list_number.len;
    if (row->list_number.len)
        memcpy(k->number, row->list_number.p, row->list_number.len);
    return false;
}

/* Signed by the certificate above, complete, and not before what was heard already (RFC 5280 5.2.3). */
static enum err_code judge_list(const struct list_import *in, const struct cert *above, const struct known_list *known, bool *same,
                                struct err *e)
{
    struct pubkey key;
    int order;

    if (pubkey_read(above->spki, &key, e) != E_OK)
        return e->code;
    if (!pubkey_verifies(&key, in->list->sig_alg, in->list->tbs, in->list->sig))
        return err_set(e, E_INVALID, "the signature of the list is not that of the CA above");
    if (in->list->has_idp)
        return err_set(e, E_INVALID, "RFC 5280 5.2.5: this is a part of a list; the full one is needed");
    if (in->list->crl_number.len == 0 || in->list->crl_number.len > SERIAL_MAX_LEN)
        return err_set(e, E_INVALID, "RFC 5280 5.2.3: a list without a CRLNumber, or one too long");
    if (in->list->this_update > in->now + CLOCK_BACK_MAX_S)
        return err_set(e, E_INVALID, "RFC 5280 5.1.2.4: thisUpdate lies ahead");
    order = magnitude_cmp(in->list->crl_number, BYTES(known->number, known->number_len));
    *same = known->number_len && order == 0;
    if (known->number_len && order < 0)
        return err_set(e, E_CONFLICT, "RFC 5280 5.2.3: a newer list was imported already");
    return E_OK;
}

static enum err_code put_heard(struct list_import *in, const struct authority *a, const struct cert *cert, const struct known_list *known,
                               bool *changed, enum cert_status *status, uint8_t *reason, struct err *e)
{
    struct foreign_row row = {.issuer = a->id, .depth = known->depth, .cert = cert->der, .list_number = in->list->crl_number,
                              .list_this_update = in->list->this_update, .list_next_update = in->list->next_update};
    char object[ID_MAX_LEN + 8], number[2 * SERIAL_MAX_LEN + 1];

    if (list_says(in->list, cert->serial, &row, e) != E_OK)
        return e->code;
    if (known->row.status == CERT_REVOKED && row.status != CERT_REVOKED) /* for good, whatever a list says later */
        row.status = known->row.status, row.reason = known->row.reason, row.status_at = known->row.status_at;
    *changed = row.status != known->row.status;
    *status = (enum cert_status)row.status;
    *reason = row.reason;
    if (store_foreign_put(in->core->store, &row, e) != E_OK)
        return e->code;
    snprintf(object, sizeof(object), "ca:%s", a->conf->name);
    hex_encode(in->list->crl_number.p, in->list->crl_number.len, number);
    return core_audit(in->core, &in->call->by, "list-imported", "", object,
                      json_pack("{s:s, s:i, s:s, s:b}", "number", number, "depth", (int)known->depth, "status",
                                cert_status_name((enum cert_status)row.status), "changed", *changed),
                      in->now, e);
}

static void log_heard(const struct authority *a, unsigned depth, enum cert_status status)
{
    struct log_line l;

    log_begin(&l, status == CERT_GOOD ? LOG_INFO : LOG_ERROR, "ca-status-heard");
    log_str(&l, "ca", a->conf->name);
    log_u64(&l, "depth", depth);
    log_str(&l, "status", cert_status_name(status));
    log_end(&l);
}

static enum err_code import_for(struct list_import *in, const struct authority *a, unsigned depth, struct err *e)
{
    struct known_list known = {.depth = depth};
    struct cert cert, above;
    enum cert_status status;
    bool same = false, changed = false;
    uint8_t reason;

    if (cert_read(buf_bytes(&a->foreign->link[depth].cert), &cert, e) != E_OK ||
        cert_read(buf_bytes(&a->foreign->link[depth + 1].cert), &above, e) != E_OK)
        return e->code;
    if (!name_matches(above.subject, in->list->issuer))
        return E_OK;
    if (store_foreign_each(in->core->store, a->id, take_known, &known, e) != E_OK ||
        judge_list(in, &above, &known, &same, e) != E_OK)
        return e->code;
    in->fits++;
    status = (enum cert_status)known.row.status;
    reason = known.row.reason;
    if (!same && put_heard(in, a, &cert, &known, &changed, &status, &reason, e) != E_OK)
        return e->code;
    admin_row(in->call, json_pack("{s:s, s:o, s:s, s:s, s:o, s:b}", "ca", a->conf->name, "subject", json_name(cert.subject), "status",
                                  cert_status_name(status), "reason", status == CERT_GOOD ? "" : crl_reason_name((enum crl_reason)reason),
                                  "number", json_hex(in->list->crl_number), "changed", changed));
    if (changed)
        log_heard(a, depth, status);
    return E_OK;
}

static enum err_code import_list(struct list_import *in, struct err *e)
{
    struct core *c = in->core;

    for (size_t i = 0; i < c->ca_n; i++)
        for (unsigned d = 0; c->ca[i].foreign && d + 1 < c->ca[i].foreign->n; d++)
            if (import_for(in, &c->ca[i], d, e) != E_OK)
                return err_wrap(e, "CA \"%s\"", c->ca[i].conf->name);
    return in->fits ? E_OK : err_set(e, E_NOT_FOUND, "no CA here is certified by the issuer of this list");
}

/* DER as it is, PEM decoded in place. */
static enum err_code list_der(struct buf *content, struct err *e)
{
    AUTO_BUF der = BUF_INIT(LIST_MAX_LEN);

    if (content->len && content->p[0] == 0x30)
        return E_OK;
    if (pem_read(buf_bytes(content), "X509 CRL", 0, &der, e) != E_OK)
        return err_wrap(e, "neither DER nor PEM (X509 CRL)");
    buf_reset(content);
    buf_add_bytes(content, buf_bytes(&der));
    return E_OK;
}

void op_crl_import(struct core *c, struct admin_call *call)
{
    AUTO_BUF content = BUF_INIT(LIST_MAX_LEN);
    struct crl list;
    struct list_import in = {.core = c, .call = call, .list = &list, .now = core_stamp(c)};
    struct err e = {0};

    if (admin_file(call, LIST_MAX_LEN, &content, &e) != E_OK || list_der(&content, &e) != E_OK ||
        crl_read(buf_bytes(&content), &list, &e) != E_OK || core_begin(c, &e) != E_OK) {
        admin_fail(call, &e);
        return;
    }
    if (import_list(&in, &e) != E_OK) {
        core_doubt(c, &e);
        core_rollback(c);
        admin_fail(call, &e);
        return;
    }
    core_commit(c);
    core_authorities_changed(c);
    admin_done(call, NULL, -1);
}
