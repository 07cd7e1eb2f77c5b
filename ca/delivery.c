/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/delivery.h"

#include <string.h>

#include "base/der.h"
#include "base/privkey.h"
#include "ca/kek.h"
#include "ca/store/factory.h"
#include "ca/store/kek.h"
#include "ca/unit_rule.h"

/* ---- the connection ---- */

/* RFC 7030 4.4: the cipher protects the key as well as the key will protect others. */
static enum err_code connection_is_strong(const struct svc_enroll *in, enum key_alg alg, struct err *e)
{
    unsigned wanted = alg == KEY_P384 || alg == KEY_RSA4096 ? 256 : 128;

    if (in->tls_bits < wanted)
        return err_set(e, E_DENIED, "a %s key is sent with a cipher of %u bits at least; this connection's has %u (RFC 7030 4.4)",
                       key_alg_name(alg), wanted, in->tls_bits);
    return E_OK;
}

/* ---- a key shared beforehand ---- */

static enum err_code by_kek(struct core *c, struct bytes id, struct grant *g, struct err *e)
{
    struct recipient *r = &g->recipient;
    struct kek_row row;
    enum err_code code = store_kek_find(c->store, g->label->domain, id, &row, e);

    if (code == E_NOT_FOUND || (code == E_OK && (row.revoked_at || (row.device && row.device != g->device.id))))
        return err_set(e, E_DENIED, "no key is known here under this DecryptKeyIdentifier (RFC 7030 4.4.1.1)");
    if (code != E_OK || (code = kek_open(c, row.domain, id, row.sealed, r->kek, &r->kek_len, e)) != E_OK)
        return code;
    r->kind = RECIPIENT_KEK;
    buf_add_bytes(&r->id, id);
    return buf_ok(&r->id) ? E_OK : err_set(e, E_NOMEM, "recipient");
}

/* ---- a certificate ---- */

/* Does the identifier name this certificate: its subjectKeyIdentifier, the SHA-1 of its key, or its issuer and serial number? */
static bool names(struct bytes id, const struct cert *x, const struct pubkey *key, bool *by_ski)
{
    struct der in, seq, name;
    struct bytes issuer, serial;
    uint8_t hash[20];

    *by_ski = x->ski.len && bytes_equal(id, x->ski);
    if (*by_ski)
        return true;
    if (x->ski.len == 0 && id.len == sizeof(hash)) {
        sha1(key->key_bits, hash);
        return bytes_equal(id, BYTES_OF(hash));
    }
    der_init(&in, id.p, id.len);
    return der_take(&in, DER_SEQUENCE, &seq) && der_at_end(&in) && der_take_raw(&seq, DER_SEQUENCE, &name, &issuer) &&
           der_take_unsigned(&seq, &serial) && der_at_end(&seq) && bytes_equal(issuer, x->issuer) && bytes_equal(serial, x->serial);
}

struct candidate {
    struct bytes id;
    struct recipient *r;
    int64_t now;
    bool found;
    uint64_t row; /* 0: not one of the ledger's */
    enum err_code code;
    struct err *e;
};

/* One certificate; true: it is the one, and `code` says whether it can be used. */
static bool try_certificate(struct candidate *t, struct bytes der)
{
    struct err ignored = {0};
    struct pubkey key;
    struct cert x;
    bool by_ski;

    if (cert_read(der, &x, &ignored) != E_OK || pubkey_read(x.spki, &key, &ignored) != E_OK || !names(t->id, &x, &key, &by_ski) ||
        t->now > x.not_after)
        return false;
    t->found = true;
    t->code = recipient_take(t->r, &x, key.alg, by_ski, t->e);
    if (t->code != E_OK)
        err_wrap(t->e, "AsymmetricDecryptKeyIdentifier");
    return true;
}

static bool try_row(void *arg, const struct cert_row *row)
{
    struct candidate *t = arg;

    t->row = row->id;
    return row->status != CERT_GOOD || !try_certificate(t, row->der);
}

/* Not one that merely came along with a password, and not a station's. */
static bool presented_is_the_devices(const struct svc_enroll *in, const struct grant *g)
{
    return in->chain_n && in->verdict == SVC_CLIENT_VALID && g->label->auth_cert && !g->unit.order;
}

/*
 * Among the device's own certificates that are good now, and the one it authenticated with. Nobody else's: what is sealed for
 * another than its owner serves no purpose that is any of ours.
 */
static enum err_code by_certificate(struct core *c, const struct svc_enroll *in, struct bytes id, int64_t now, struct grant *g,
                                    struct err *e)
{
    struct candidate t = {.id = id, .r = &g->recipient, .now = now, .e = e};
    struct cert_filter f = {.device = g->device.id, .status = CERT_GOOD};

    if (presented_is_the_devices(in, g) && try_certificate(&t, in->chain[0]))
        return t.code;
    if (g->device.id && store_cert_each(c->store, &f, try_row, &t, e) != E_OK)
        return e->code;
    if (!t.found)
        return err_set(e, E_DENIED, "no certificate is known here under this AsymmetricDecryptKeyIdentifier (RFC 7030 4.4.1.2)");
    g->recipient_cert = t.row;
    return t.code;
}

/* ---- the whole ---- */

enum err_code delivery_choose(struct core *c, const struct svc_enroll *in, const struct csr *csr, bool encrypted_only, int64_t now,
                              struct grant *g, struct err *e)
{
    const struct csr_delivery *d = &csr->delivery;
    const struct conf_profile *p = g->profile;
    enum err_code code;

    recipient_clear(&g->recipient);
    if (p->keygen == KEYGEN_OFF)
        return err_set(e, E_DENIED, "keys are not made under this label");
    if (d->has_symmetric && d->has_asymmetric)
        return err_set(e, E_INVALID, "DecryptKeyIdentifier and AsymmetricDecryptKeyIdentifier: one of the two (RFC 7030 4.4.1)");
    if (!d->has_symmetric && !d->has_asymmetric) {
        if (encrypted_only || !p->keygen_clear)
            return err_set(e, E_DENIED, "the key is sent encrypted only: name a DecryptKeyIdentifier or an "
                                        "AsymmetricDecryptKeyIdentifier (RFC 7030 4.4.1)");
        return connection_is_strong(in, p->keygen_key, e);
    }
    if (!d->has_capabilities)
        return err_set(e, E_INVALID, "SMIMECapabilities is missing: it says how the key may be encrypted (RFC 7030 4.4.1)");
    code = d->has_symmetric ? by_kek(c, d->symmetric_id, g, e) : by_certificate(c, in, d->asymmetric_id, now, g, e);
    if (code == E_OK)
        code = recipient_choose(&g->recipient, d->capabilities, p->keygen_key, e);
    return code == E_OK ? connection_is_strong(in, p->keygen_key, e) : code;
}

enum err_code delivery_still_allowed(struct core *c, const struct grant *g, struct err *e)
{
    struct kek_row row;

    if (g->recipient.kind != RECIPIENT_KEK)
        return E_OK;
    if (store_kek_find(c->store, g->device.domain, buf_bytes(&g->recipient.id), &row, e) != E_OK)
        return err_wrap(e, "recipient");
    return row.revoked_at ? err_set(e, E_DENIED, "the key it is encrypted for was revoked meanwhile") : E_OK;
}

struct sent_keys {
    const struct grant *g;
    int64_t now;
    bool in_use, newest_open, newest_held;
    uint64_t newest;
    char order_no[ORDER_NO_MAX + 1]; /* that the newest was issued under; "" = none */
};

/* Ids rise: the last one seen is the newest. */
static bool look_at_sent(void *arg, const struct cert_row *row)
{
    struct sent_keys *s = arg;
    bool live = row->status != CERT_REVOKED && row->not_after >= s->now, sent = row->operation == CERT_OP_KEYGEN && live;

    if (row->kind != (uint8_t)s->g->profile->kind)
        return true;
    s->in_use |= sent && row->first_used_at;
    s->newest = row->id;
    s->newest_open = sent && !row->first_used_at;
    s->newest_held = sent && row->status == CERT_ON_HOLD;
    text_copy(s->order_no, sizeof(s->order_no), row->order_no);
    return true;
}

/* A unit whose confirm was signed with the newest key: delivered and used, though never presented here. */
static enum err_code was_confirmed(struct core *c, const struct sent_keys *s, bool *confirmed, struct err *e)
{
    struct order_row order;
    struct unit_row unit;
    enum err_code code;

    *confirmed = false;
    if (!s->newest_open || !s->order_no[0])
        return E_OK;
    code = store_order_by_no(c->store, s->order_no, &order, e);
    if (code == E_OK)
        code = store_unit_find(c->store, order.id, s->g->device.id, &unit, e);
    if (code == E_OK)
        *confirmed = unit.cert == s->newest && unit_is_confirmed((enum unit_state)unit.state);
    return code == E_NOT_FOUND ? E_OK : code;
}

enum err_code delivery_again(struct core *c, int64_t now, struct grant *g, bool *settled, struct err *e)
{
    struct sent_keys s = {.g = g, .now = now};
    struct cert_filter f = {.device = g->device.id, .status = -1};
    bool confirmed;

    *settled = false;
    if (store_cert_each(c->store, &f, look_at_sent, &s, e) != E_OK || was_confirmed(c, &s, &confirmed, e) != E_OK)
        return e->code;
    s.in_use |= confirmed;
    s.newest_open &= !confirmed;
    if (s.newest_held)
        return err_set(e, E_DENIED, "the device's certificate is suspended");
    if (s.in_use && !g->renews)
        return err_set(e, E_DENIED, "the device has the key it was sent and uses it: renew with that certificate");
    if (!s.newest_open || s.newest == g->renews)
        return E_OK;
    g->replaces = s.newest;
    *settled = g->renews == 0;
    return E_OK;
}
