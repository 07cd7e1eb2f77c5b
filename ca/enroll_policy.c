/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/enroll_policy.h"

#include <string.h>

#include "base/clock.h"
#include "base/fsio.h"
#include "base/oid.h"
#include "ca/delivery.h"
#include "ca/capture.h"
#include "ca/factory.h"
#include "ca/factory_int.h"
#include "ca/life.h"
#include "ca/repeat_rule.h"
#include "ca/store/life.h"
#include "ca/store/request.h"

#define SECRET_REPEAT_S 86400 /* a used secret stays good this long for the same key */
#define UNIT_ROWS       16
#define BOXES_MAX       1024

/* ---- anchors ---- */

enum err_code anchors_load(struct core *c, struct err *e)
{
    struct anchors *all = anchors_read(c->conf, e);

    if (!all)
        return e->code;
    anchors_free(c->anchors);
    c->anchors = all;
    return E_OK;
}

struct box_list {
    uint32_t id[BOXES_MAX];
    size_t n;
};

static bool put_box(void *arg, const struct issuer_row *row)
{
    struct box_list *l = arg;

    if (row->key == 0 && l->n < ARRAY_LEN(l->id))
        l->id[l->n++] = row->id;
    return true;
}

/* CAs of line boxes, for units that present their own certificate alone. */
static void boxes_pem(struct core *c, struct buf *out)
{
    AUTO_BUF cert = BUF_INIT(CERT_MAX_LEN);
    struct box_list boxes = {.n = 0};
    struct err e = {0};

    if (store_issuer_each(c->store, put_box, &boxes, &e) != E_OK)
        core_doubt(c, &e);
    for (size_t i = 0; i < boxes.n; i++)
        if (authority_above(c, boxes.id[i]) && box_is_good(c, boxes.id[i], &cert))
            pem_write(out, "CERTIFICATE", buf_bytes(&cert));
}

void anchors_pem(struct core *c, struct buf *out)
{
    for (size_t i = 0; i < c->ca_n; i++)
        if (c->ca[i].exists)
            pem_write(out, "CERTIFICATE", buf_bytes(&c->ca[i].cert));
    boxes_pem(c, out);
    anchors_add_pem(c->anchors, out);
}

static bool strings_have(const struct conf_strings *s, const char *v)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->v[i], v) == 0)
            return true;
    return false;
}

/* Accepted at this label: those it names, else those of its domain. */
static bool label_accepts(const struct conf_label *l, const struct conf_anchor *a)
{
    return strings_have(&a->domains, l->domain) && (l->anchors.n == 0 || strings_have(&l->anchors, a->name));
}

/* ---- small things ---- */

static void text_take(char out[ID_MAX_LEN + 1], const char *s)
{
    text_copy(out, ID_MAX_LEN + 1, s);
}

void device_facts_take(struct device_facts *out, const struct device_row *row)
{
    *out = (struct device_facts){.id = row->id, .unit = row->unit, .state = row->state,
                                 .prev_state = row->prev_state, .moved = row->moved_to != 0,
                                 .declared_at = row->declared_at, .group_secret = row->group_secret};
    text_take(out->device_id, row->device_id);
    text_take(out->domain, row->domain);
    text_take(out->product, row->product);
    text_take(out->model, row->model);
    text_take(out->lot, row->lot);
    text_take(out->order_no, row->order_no);
    text_take(out->station, row->station);
    text_take(out->line, row->line);
    text_take(out->firmware, row->firmware);
    text_take(out->anchor, row->anchor);
}

bool device_facts_stopped(const struct device_facts *d)
{
    return !d->moved && device_is_stopped((enum device_state)d->state, (enum device_state)d->prev_state);
}

void grant_clear(struct grant *g)
{
    buf_clear(&g->subject);
    buf_clear(&g->san);
    buf_clear(&g->stored);
    recipient_clear(&g->recipient);
}

static void became(struct grant *g, const struct device_facts *d)
{
    g->authenticated = true;
    g->by.kind = "device";
    snprintf(g->by.name, sizeof(g->by.name), "%s/%s", d->domain, d->device_id);
}

/* The holder of a certificate that verifies here, before it is known which device that is. */
static void became_holder(struct grant *g)
{
    char hex[2 * 8 + 1];

    hex_encode(g->credential, 8, hex);
    g->authenticated = true;
    g->by.kind = "device";
    snprintf(g->by.name, sizeof(g->by.name), "%s/certificate:%s", g->label->domain, hex);
}

/* A presented certificate of our own, copied from its row. */
struct presented {
    uint64_t id, device;
    uint8_t kind, status, reason, hash[32], spki_hash[32];
    uint32_t issuer;
    uint64_t replaced_by;
    int64_t not_after, first_used_at;
    char profile[ID_MAX_LEN + 1], domain[ID_MAX_LEN + 1];
};

static void presented_take(struct presented *out, const struct cert_row *row)
{
    *out = (struct presented){.id = row->id, .device = row->device, .kind = row->kind, .status = row->status,
                              .reason = row->reason, .replaced_by = row->replaced_by, .issuer = row->issuer, .not_after = row->not_after,
                              .first_used_at = row->first_used_at};
    memcpy(out->hash, row->der_hash, 32);
    memcpy(out->spki_hash, row->spki_hash, 32);
    text_take(out->profile, row->profile);
    text_take(out->domain, row->domain);
}

static enum err_code find_device(struct core *c, const char *domain, const char *device_id, struct device_facts *out,
                                 struct err *e)
{
    struct device_row row;
    enum err_code code = store_device_find(c->store, domain, device_id, &row, e);

    if (code == E_OK)
        device_facts_take(out, &row);
    else if (code == E_NOT_FOUND)
        code = err_set(e, E_DENIED, "this device is not declared here");
    return code;
}

enum err_code enroll_refuse_stopped(struct core *c, struct device_facts *d, struct err *e)
{
    struct unit_stand stand;

    if (store_unit_stands(c->store, d->unit, d->id, &stand, e) != E_OK)
        return e->code;
    d->stopped_by = (uint8_t)stand.by;
    d->unshipped = stand.unshipped;
    if (stand.state < DEVICE_STATES) {
        d->state = (uint8_t)stand.state;
        d->prev_state = (uint8_t)stand.prev;
        d->moved = stand.moved;
    }
    return stand.stopped ? err_set(e, E_DENIED, "the device is stopped: %s", device_state_name(stand.by)) : E_OK;
}

/* As enroll_refuse_stopped. One that was stolen, or whose key is in other hands, is heard of. */
static enum err_code refuse_stopped(struct core *c, struct grant *g, struct err *e)
{
    enum err_code code = enroll_refuse_stopped(c, &g->device, e);

    if (code == E_DENIED && (g->device.stopped_by == DEVICE_LOST || g->device.stopped_by == DEVICE_COMPROMISED))
        g->alarm = "seen-while-lost";
    return code;
}

static enum err_code refuse_unshipped(struct core *c, const struct device_facts *d, struct err *e)
{
    const struct conf_domain *domain = conf_find_domain(c->conf, d->domain);

    if (d->state < DEVICE_KEYED || d->state > DEVICE_CONFIRMED || (domain && domain->enroll_before_shipped))
        return factory_refuse_unconfirmed(c, d, e);
    return err_set(e, E_DENIED, "the device is %s, not shipped", device_state_name((enum device_state)d->state));
}

/* A unit enrols once it left the factory, whoever declared it, and with the owner it has. */
enum err_code enroll_refuse_elsewhere(struct core *c, const struct device_facts *d, struct err *e)
{
    struct device_facts maker;
    struct device_row row;
    enum err_code code;

    if (d->moved)
        return err_set(e, E_DENIED, "the device has another owner now");
    if (d->state == DEVICE_TRANSFERRING)
        return err_set(e, E_DENIED, "the device is between two owners: the new one accepts it first");
    code = refuse_unshipped(c, d, e);
    if (code != E_OK || d->unshipped == 0)
        return code;
    if (store_device_by_id(c->store, d->unshipped, &row, e) != E_OK)
        return e->code;
    device_facts_take(&maker, &row);
    code = refuse_unshipped(c, &maker, e);
    return code == E_OK ? E_OK : err_wrap(e, "domain \"%s\"", maker.domain);
}

/* ---- a key belongs to one unit ---- */

struct key_history {
    const uint8_t *spki_hash;
    uint64_t after;
    size_t n;
    uint64_t device[UNIT_ROWS];
    bool compromised;
};

static bool look_for_compromise(void *arg, const struct cert_row *row)
{
    struct key_history *h = arg;

    if (row->status == CERT_REVOKED && row->reason == REASON_KEY_COMPROMISE &&
        memcmp(row->spki_hash, h->spki_hash, 32) == 0)
        h->compromised = true;
    return !h->compromised;
}

static bool take_row_of_unit(void *arg, const struct device_row *row)
{
    struct key_history *h = arg;

    h->device[h->n++] = row->id;
    h->after = row->id;
    return true;
}

/* Was this key reported as compromised under any row of the unit? */
static enum err_code refuse_compromised(struct core *c, uint64_t unit, const uint8_t spki_hash[32], struct err *e)
{
    struct key_history h = {.spki_hash = spki_hash};

    do {
        struct device_filter f = {.state = -1, .unit = unit, .after_id = h.after, .limit = UNIT_ROWS};

        h.n = 0;
        if (store_device_each(c->store, &f, take_row_of_unit, &h, e) != E_OK)
            return e->code;
        for (size_t i = 0; i < h.n; i++) {
            struct cert_filter certs = {.device = h.device[i], .status = CERT_REVOKED};

            if (store_cert_each(c->store, &certs, look_for_compromise, &h, e) != E_OK)
                return e->code;
            if (h.compromised)
                return err_set(e, E_DENIED, "this key was reported as compromised");
        }
    } while (h.n == UNIT_ROWS);
    return E_OK;
}

enum err_code enroll_claim_key(struct core *c, struct grant *g, const struct pubkey *key, int64_t now, struct err *e)
{
    uint64_t unit;
    enum err_code code = store_spki_unit(c->store, key->spki_hash, &unit, e);

    if (code == E_OK && unit == g->device.unit) /* not new: it has a history */
        return refuse_compromised(c, unit, key->spki_hash, e);
    if (code == E_OK || code == E_NOT_FOUND)
        code = store_spki_claim(c->store, key->spki_hash, g->device.unit, now, e);
    if (code == E_CONFLICT) {
        g->alarm = "key-of-other-unit";
        return err_set(e, E_DENIED, "this key is certified for another unit");
    }
    return code;
}

/*
 * The IDevID's key says which unit this is. A device row that never enrolled joins that unit; one in service under
 * another unit is refused.
 */
static enum err_code join_unit(struct core *c, struct grant *g, const uint8_t idevid_spki[32], int64_t now,
                               struct err *e)
{
    uint64_t unit = 0;
    enum err_code code = store_spki_unit(c->store, idevid_spki, &unit, e);

    if (code == E_NOT_FOUND)
        return store_spki_claim(c->store, idevid_spki, g->device.unit, now, e);
    if (code != E_OK || unit == g->device.unit)
        return code;
    if (g->device.state != DEVICE_DECLARED) {
        g->alarm = "key-of-other-unit";
        return err_set(e, E_DENIED, "this birth certificate belongs to another unit");
    }
    if (store_device_set_unit(c->store, g->device.id, unit, e) != E_OK)
        return e->code;
    g->device.unit = unit;
    return E_OK;
}

/* ---- client certificates ---- */

/* Device and anchor of an IDevID: declared in the label's domain under the anchor the certificate chains to. */
static enum err_code idevid_device(struct core *c, const struct svc_enroll *in, const struct cert *leaf,
                                   const struct conf_anchor *anchor, struct grant *g, struct err *e)
{
    char device_id[ID_MAX_LEN + 1];

    (void)in;
    if (!name_get(leaf->subject, OID_SERIAL_NUMBER, device_id, sizeof(device_id)) || !id_is_valid(device_id))
        return err_set(e, E_DENIED, "the birth certificate names no device (subject serialNumber, IEEE 802.1AR 8.6)");
    snprintf(g->by.name, sizeof(g->by.name), "%s/%s", g->label->domain, device_id);
    g->by.kind = "device";
    g->authenticated = true;
    if (find_device(c, g->label->domain, device_id, &g->device, e) != E_OK)
        return e->code;
    if (strcmp(g->device.anchor, anchor->name) != 0)
        return err_set(e, E_DENIED, g->device.anchor[0] ? "this device is declared under another manufacturer"
                                                        : "this device was declared without a manufacturer");
    if (anchor->products.n && !strings_have(&anchor->products, g->device.product))
        return err_set(e, E_DENIED, "this manufacturer does not make the device's product");
    return E_OK;
}

/* Our own IDevID, or one of a line box whose CA is good: the anchor is one of our roots. */
static const struct conf_anchor *own_anchor(struct core *c, const struct conf_label *label, uint32_t issuer)
{
    const struct authority *a = authority_above(c, issuer);
    const struct conf_ca *root = a ? conf_ca_root(c->conf, a->conf) : NULL;

    for (size_t i = 0; root && i < c->conf->anchors_n; i++) {
        const struct conf_anchor *anchor = &c->conf->anchors[i];
        const struct conf_ca *named = anchor->ca && anchor->ca[0] ? conf_find_ca(c->conf, anchor->ca) : NULL;

        if (named && conf_ca_root(c->conf, named) == root && label_accepts(label, anchor))
            return anchor;
    }
    return NULL;
}

/* A certificate somebody else issued: its chain is judged again, against the label's anchors only. */
static enum err_code foreign_certificate(struct core *c, const struct svc_enroll *in, const struct cert *leaf,
                                         const struct pubkey *leaf_key, int64_t now, struct grant *g, struct err *e)
{
    struct err why = {.msg = "no anchor is for this label"};

    for (size_t i = 0; i < c->conf->anchors_n; i++) {
        const struct conf_anchor *anchor = &c->conf->anchors[i];
        enum err_code code;

        if (!label_accepts(g->label, anchor))
            continue;
        code = anchor_judge(c->anchors, anchor->name, in->chain, in->chain_n, leaf, leaf_key, now, &why);
        if (code == E_NOMEM)
            return err_set(e, E_NOMEM, "the client certificate's chain: %s", why.msg);
        if (code != E_OK)
            continue;
        became_holder(g);
        if (leaf->is_ca || (leaf->has_eku && !leaf->eku_client_auth && !leaf->eku_any) ||
            (leaf->key_usage && !(leaf->key_usage & USAGE_DIGITAL_SIGNATURE)))
            return err_set(e, E_DENIED, "the client certificate is not meant for client authentication");
        return idevid_device(c, in, leaf, anchor, g, e);
    }
    return err_set(e, E_DENIED, "the client certificate is of no manufacturer accepted here: %s", why.msg);
}

static enum err_code own_status(const struct presented *p, int64_t now, int64_t grace_s, struct err *e)
{
    if (p->status == CERT_REVOKED)
        return err_set(e, E_DENIED, "the client certificate is revoked");
    if (p->status == CERT_ON_HOLD)
        return err_set(e, E_DENIED, "the client certificate is suspended");
    if (p->status != CERT_GOOD)
        return err_set(e, E_DENIED, "the client certificate has no good status");
    if (now > p->not_after && now - p->not_after > grace_s)
        return err_set(e, E_DENIED, "the client certificate has expired; enrol with the birth certificate");
    return E_OK;
}

static enum err_code own_idevid(struct core *c, const struct svc_enroll *in, const struct cert *leaf,
                                const struct presented *p, int64_t now, struct grant *g, struct err *e)
{
    const struct conf_anchor *anchor = own_anchor(c, g->label, p->issuer);

    if (!anchor)
        return err_set(e, E_DENIED, "birth certificates of this maker are not accepted here");
    if (idevid_device(c, in, leaf, anchor, g, e) != E_OK)
        return e->code;
    return own_status(p, now, 0, e);
}

static enum err_code own_ldevid(struct core *c, const struct cert *leaf, const struct presented *p, int64_t now,
                                struct grant *g, struct err *e)
{
    struct device_row row;
    enum err_code code;

    if (p->device == 0)
        return err_set(e, E_DENIED, "the client certificate belongs to no device");
    code = store_device_by_id(c->store, p->device, &row, e);
    if (code != E_OK)
        return code;
    device_facts_take(&g->device, &row);
    became(g, &g->device);
    if (strcmp(p->domain, g->label->domain) != 0 || strcmp(p->profile, g->profile->name) != 0)
        return err_set(e, E_DENIED, "the client certificate is renewed under another label");
    if (own_status(p, now, g->profile->expired_grace_s, e) != E_OK) {
        if (p->status == CERT_REVOKED && p->reason == REASON_SUPERSEDED)
            g->alarm = "renewal-from-superseded";
        return e->code;
    }
    g->renews = p->id;
    buf_add_bytes(&g->subject, leaf->subject);
    buf_add_bytes(&g->san, leaf->san);
    return buf_ok(&g->subject) && buf_ok(&g->san) ? E_OK : err_set(e, E_NOMEM, "renewal");
}

static enum err_code refuse_idevid_key(const struct grant *g, const uint8_t idevid_spki[32], const struct csr *csr,
                                       struct err *e)
{
    if (!g->profile->allow_idevid_key && memcmp(idevid_spki, csr->key.spki_hash, 32) == 0)
        return err_set(e, E_DENIED, "the key of the birth certificate must not be certified again");
    return E_OK;
}

/* A certificate that is refused for its status may be that of a unit somebody looks for. */
static enum err_code also_stopped(struct core *c, struct grant *g, struct err *e)
{
    struct err why = *e, stopped = {0};
    enum err_code code = refuse_stopped(c, g, &stopped);

    *e = code == E_OK || code == E_DENIED ? why : stopped;
    return e->code;
}

/* What it replaced is over now where its profile says so. */
static enum err_code first_use(struct core *c, const struct grant *g, int64_t now, struct err *e)
{
    if (store_cert_set_used(c->store, g->presented, now, e) != E_OK)
        return e->code;
    if (g->profile->retire_never || g->profile->retire_after_s != 0 || !g->renews)
        return E_OK;
    return store_retire_replaced(c->store, g->device.id, g->presented, now, e);
}

/* It was renewed already, and what came of that is in use: somebody else has a copy of it. */
static enum err_code note_superseded(struct core *c, const struct presented *p, struct grant *g, struct err *e)
{
    struct cert_row newer;

    if (store_cert_by_id(c->store, p->replaced_by, &newer, e) != E_OK)
        return e->code;
    if (newer.first_used_at && !g->alarm)
        g->alarm = "renewal-from-superseded";
    return E_OK;
}

static enum err_code by_certificate(struct core *c, const struct svc_enroll *in, const struct csr *csr, int64_t now,
                                    struct grant *g, struct err *e)
{
    AUTO_BUF box = BUF_INIT(CERT_MAX_LEN);
    struct presented p = {0};
    struct pubkey leaf_key;
    struct cert_row row;
    struct cert leaf;
    uint8_t hash[32];
    bool is_idevid;
    enum err_code code;

    if (in->verdict == SVC_CLIENT_NONE)
        return err_set(e, E_DENIED, "the client certificate was not verified");
    if (cert_read(in->chain[0], &leaf, e) != E_OK)
        return err_set(e, E_DENIED, "the client certificate cannot be read");
    sha256(in->chain[0], hash);
    if (pubkey_identify(leaf.spki, &leaf_key, e) != E_OK)
        return e->code;
    memcpy(g->credential, hash, 32);
    code = store_cert_by_der(c->store, leaf.issuer, leaf.serial, hash, &row, e);
    if (code == E_OK) {
        presented_take(&p, &row);
        g->presented = p.id;
        became_holder(g);
        if (!authority_by_id(c, p.issuer) && !box_is_good(c, p.issuer, &box))
            code = err_set(e, E_DENIED, "the CA of the client certificate is revoked, on hold or not configured");
        else if (p.kind == PROFILE_IDEVID)
            code = own_idevid(c, in, &leaf, &p, now, g, e);
        else if (p.kind == PROFILE_LDEVID)
            code = own_ldevid(c, &leaf, &p, now, g, e);
        else
            code = err_set(e, E_DENIED, "a certificate of this kind does not enrol devices");
        is_idevid = p.kind == PROFILE_IDEVID;
    } else if (code == E_NOT_FOUND) {
        if (in->verdict != SVC_CLIENT_VALID)
            return err_set(e, E_DENIED, "the client certificate has expired");
        code = foreign_certificate(c, in, &leaf, &leaf_key, now, g, e);
        is_idevid = true;
    } else {
        return code;
    }
    if (code == E_DENIED && g->device.id)
        return also_stopped(c, g, e);
    if (code != E_OK || (code = refuse_stopped(c, g, e)) != E_OK)
        return code;
    if (in->operation != SVC_SERVERKEYGEN && is_idevid != (in->operation == SVC_SIMPLEENROLL))
        return err_set(e, E_DENIED,
                       is_idevid ? "simplereenroll renews an operational certificate; enrol with simpleenroll"
                                 : "an operational certificate is renewed with simplereenroll (RFC 7030 4.2.2)");
    if (is_idevid) {
        code = join_unit(c, g, leaf_key.spki_hash, now, e);
        if (code == E_OK)
            code = refuse_stopped(c, g, e); /* of the unit it joined */
        if (code == E_OK && in->operation != SVC_SERVERKEYGEN)
            code = refuse_idevid_key(g, leaf_key.spki_hash, csr, e);
    }
    if (code == E_OK && g->presented && p.first_used_at == 0)
        code = first_use(c, g, now, e);
    if (code == E_OK && p.replaced_by)
        code = note_superseded(c, &p, g, e);
    return code;
}

/* ---- passwords ---- */

static const uint8_t zero[32];

static enum err_code check_password(struct core *c, const struct svc_enroll *in, struct secret_facts *out,
                                    struct err *e)
{
    struct secret_row row = {0};
    uint8_t mac[32], stored[32] = {0};
    bool known;
    enum err_code code = store_secret_by_user(c->store, in->user, &row, e);

    if (code != E_OK && code != E_NOT_FOUND)
        return code;
    known = code == E_OK;
    if (known) {
        *out = (struct secret_facts){.id = row.id, .device = row.device, .quota = row.quota, .used = row.used,
                                     .kind = row.kind, .not_before = row.not_before, .not_after = row.not_after,
                                     .revoked_at = row.revoked_at, .first_used_at = row.first_used_at};
        memcpy(out->bound, row.bound_spki, 32);
        memcpy(stored, row.mac, 32);
        text_take(out->domain, row.domain);
        text_take(out->profile, row.profile);
        text_take(out->pattern, row.pattern);
    }
    /* An unknown user costs the same. */
    if (secret_mac(c, in->user, in->password, mac, e) != E_OK)
        return e->code;
    if (bytes_equal_ct(BYTES_OF(mac), BYTES_OF(stored)) && known)
        return E_OK;
    return err_set(e, E_UNAUTHENTICATED, "user name or secret is wrong");
}

static bool pattern_fits(const char *pattern, const char *id)
{
    size_t n = strlen(pattern);

    if (n && pattern[n - 1] == '*')
        return strncmp(pattern, id, n - 1) == 0 && strlen(id) >= n;
    return strcmp(pattern, id) == 0;
}

enum err_code enroll_device_id(const struct csr *csr, char out[ID_MAX_LEN + 1], struct err *e)
{
    const char *id = csr->serial_number[0] ? csr->serial_number : csr->common_name;

    if (csr->serial_number[0] && csr->common_name[0] && strcmp(csr->serial_number, csr->common_name) != 0)
        return err_set(e, E_INVALID, "serialNumber and CN of the subject name two devices");
    if (!id_is_valid(id))
        return err_set(e, E_INVALID, "the subject names no device: serialNumber or CN of 1 to %d octets", ID_MAX_LEN);
    text_copy(out, ID_MAX_LEN + 1, id);
    return E_OK;
}

struct secret_uses {
    const uint8_t *credential;
    bool used, not_good;
};

static bool take_use(void *arg, const struct cert_row *row)
{
    struct secret_uses *u = arg;

    if (memcmp(row->credential_hash, u->credential, 32) == 0) {
        u->used |= row->first_used_at != 0;
        u->not_good = row->status != CERT_GOOD; /* of the newest of them: ids rise */
    }
    return true;
}

/* serverkeygen brings no key of its own: its secret is bound to that operation, and no key opens it afterwards. */
static const uint8_t *bound_key(const struct grant *g, const struct csr *csr, uint8_t room[32])
{
    if (g->operation != CERT_OP_KEYGEN)
        return csr->key.spki_hash;
    sha256(bytes_str("inkan-serverkeygen-1"), room);
    return room;
}

/* Was a certificate that this secret got proven used? Also one that was renewed or replaced since. */
static enum err_code secret_is_spent(struct core *c, const struct grant *g, int64_t first_used_at, int64_t now,
                                     struct err *e)
{
    struct secret_uses u = {.credential = g->credential};
    struct cert_filter f = {.device = g->device.id, .status = -1};
    bool open = false;

    if (now - first_used_at > SECRET_REPEAT_S) { /* unless what it asked for is not decided yet */
        if (store_request_is_open(c->store, g->device.id, g->credential, &open, e) != E_OK)
            return e->code;
        if (!open)
            return err_set(e, E_UNAUTHENTICATED, "the secret was used already");
    }
    if (store_cert_each(c->store, &f, take_use, &u, e) != E_OK)
        return e->code;
    if (u.not_good)
        return err_set(e, E_DENIED, "the certificate issued for this secret is revoked or suspended");
    if (u.used)
        return err_set(e, E_UNAUTHENTICATED, "the secret was used already");
    return E_OK;
}

static enum err_code other_key(struct grant *g, struct err *e)
{
    g->alarm = "secret-with-other-key";
    return err_set(e, E_UNAUTHENTICATED, "the secret was used already");
}

static enum err_code by_device_secret(struct core *c, const struct secret_facts *s, const struct csr *csr,
                                      int64_t now, struct grant *g, struct err *e)
{
    uint8_t room[32];
    const uint8_t *key = bound_key(g, csr, room);
    struct device_row row;

    if (store_device_by_id(c->store, s->device, &row, e) != E_OK)
        return e->code;
    device_facts_take(&g->device, &row);
    became(g, &g->device);
    if (refuse_stopped(c, g, e) != E_OK)
        return e->code;
    if (memcmp(s->bound, zero, 32) == 0)
        return store_secret_bind(c->store, s->id, key, now, e);
    if (memcmp(s->bound, key, 32) != 0)
        return other_key(g, e);
    return secret_is_spent(c, g, s->first_used_at, now, e);
}

static enum err_code declare_by_group(struct core *c, const struct secret_facts *s, const char *device_id, int64_t now,
                                      struct grant *g, struct err *e)
{
    struct device_row row = {
        .domain = g->label->domain,
        .device_id = device_id,
        .declared_at = now,
        .state = DEVICE_DECLARED,
        .group_secret = s->id,
    };
    enum err_code code = store_secret_count_use(c->store, s->id, e);

    if (code == E_CONFLICT)
        return err_set(e, E_DENIED, "the quota of this group secret is used up");
    if (code != E_OK || store_device_insert(c->store, &row, e) != E_OK)
        return e->code;
    device_facts_take(&g->device, &row);
    return core_audit(c, &g->by, "device-declared", row.domain, g->by.name, json_pack("{s:s}", "by", "group-secret"),
                      now, e);
}

/*
 * No key tells who made the first request: whoever knows the group's secret may ask again, until the device has used what it was
 * sent. Not where the device brought a key of its own.
 */
static enum err_code group_keygen_again(struct core *c, int64_t now, struct grant *g, struct err *e)
{
    struct cert_row row;
    enum err_code code = store_cert_newest(c->store, g->device.id, g->profile->kind, &row, e);

    if (code == E_OK && row.operation != CERT_OP_KEYGEN)
        return other_key(g, e);
    return code == E_OK || code == E_NOT_FOUND ? secret_is_spent(c, g, g->device.declared_at, now, e) : code;
}

static enum err_code by_group_secret(struct core *c, const struct secret_facts *s, const struct csr *csr, int64_t now,
                                     struct grant *g, struct err *e)
{
    char device_id[ID_MAX_LEN + 1];
    struct device_row row;
    uint64_t unit = 0;
    enum err_code code;

    g->authenticated = true;
    if (enroll_device_id(csr, device_id, e) != E_OK)
        return e->code;
    snprintf(g->by.name, sizeof(g->by.name), "%s/%s", g->label->domain, device_id);
    if (!pattern_fits(s->pattern, device_id))
        return err_set(e, E_DENIED, "this group secret does not serve that device");
    code = store_device_find(c->store, g->label->domain, device_id, &row, e);
    if (code == E_NOT_FOUND)
        return declare_by_group(c, s, device_id, now, g, e);
    if (code != E_OK)
        return code;
    device_facts_take(&g->device, &row);
    if (refuse_stopped(c, g, e) != E_OK)
        return e->code;
    if (g->device.group_secret != s->id)
        return err_set(e, E_DENIED, "the device is declared; a group secret serves devices that are not");
    if (g->operation == CERT_OP_KEYGEN)
        return group_keygen_again(c, now, g, e);
    /* The key of the first request is claimed for the unit in that request's transaction. */
    code = store_spki_unit(c->store, csr->key.spki_hash, &unit, e);
    if (code == E_NOT_FOUND || (code == E_OK && unit != g->device.unit))
        return other_key(g, e);
    return code == E_OK ? secret_is_spent(c, g, g->device.declared_at, now, e) : code;
}

/* Renewal by password alone: the newest operational certificate is the one being renewed. */
static enum err_code renewed_by_password(struct core *c, int64_t now, struct grant *g, struct err *e)
{
    struct presented p;
    struct cert_row row;
    struct cert old;
    enum err_code code;

    if (!g->profile->basic_reenroll)
        return err_set(e, E_DENIED, "renewal needs the certificate that is renewed (RFC 7030 3.3.2)");
    code = store_cert_newest(c->store, g->device.id, g->profile->kind, &row, e);
    if (code == E_NOT_FOUND)
        return err_set(e, E_DENIED, "the device has no certificate to renew");
    if (code != E_OK || cert_read(row.der, &old, e) != E_OK)
        return e->code;
    presented_take(&p, &row);
    buf_add_bytes(&g->subject, old.subject);
    buf_add_bytes(&g->san, old.san);
    g->renews = p.id;
    return own_status(&p, now, g->profile->expired_grace_s, e);
}

static enum err_code by_password(struct core *c, const struct svc_enroll *in, const struct csr *csr, int64_t now,
                                 struct grant *g, struct err *e)
{
    struct secret_facts s = g->secret;
    enum err_code code = s.id ? E_OK : check_password(c, in, &s, e);

    if (code != E_OK)
        return code;
    g->by.kind = "device";
    snprintf(g->by.name, sizeof(g->by.name), "%s/secret:%s", s.domain, in->user);
    g->authenticated = true;
    sha256_2(bytes_str("inkan-secret-1:"), bytes_str(in->user), g->credential);
    if (s.revoked_at != 0)
        return err_set(e, E_UNAUTHENTICATED, "the secret is revoked");
    if (now < s.not_before || (s.not_after != 0 && now > s.not_after))
        return err_set(e, E_UNAUTHENTICATED, "the secret is not valid now");
    if (strcmp(s.domain, g->label->domain) != 0 || (s.profile[0] && strcmp(s.profile, g->profile->name) != 0))
        return err_set(e, E_DENIED, "the secret is for another label");
    if (in->operation == SVC_SIMPLEREENROLL && !g->profile->basic_reenroll)
        return err_set(e, E_DENIED, "renewal needs the certificate that is renewed (RFC 7030 3.3.2)");
    code = s.kind == SECRET_DEVICE ? by_device_secret(c, &s, csr, now, g, e) : by_group_secret(c, &s, csr, now, g, e);
    if (code == E_OK && in->operation == SVC_SIMPLEREENROLL)
        code = renewed_by_password(c, now, g, e);
    return code;
}

/* ---- what is asked for ---- */

enum err_code enroll_same_identity(const struct grant *g, const struct csr *csr, struct err *e)
{
    struct bytes subject = buf_bytes(&g->subject);

    if (!bytes_equal(csr->subject, subject) && !name_matches(csr->subject, subject))
        return err_set(e, E_DENIED, "the subject differs from the certificate being renewed (RFC 7030 4.2.2)");
    if (csr->has_san && !bytes_equal(csr->san, buf_bytes(&g->san)))
        return err_set(e, E_DENIED, "the subjectAltName differs from the certificate being renewed (RFC 7030 4.2.2)");
    return E_OK;
}

/* A first request must not speak for another device. */
static enum err_code own_identity(const struct grant *g, const struct csr *csr, struct err *e)
{
    if (csr->serial_number[0] && strcmp(csr->serial_number, g->device.device_id) != 0)
        return err_set(e, E_DENIED, "the subject's serialNumber is another device's");
    return E_OK;
}

static enum err_code key_is_allowed(struct core *c, const struct grant *g, const struct csr *csr, struct err *e)
{
    struct cert_row row;
    enum err_code code;

    if (authority_owns_spki(c, csr->key.spki))
        return err_set(e, E_DENIED, "this key is one of the authority's own");
    if (!(g->profile->key_algs & KEY_BIT(csr->key.alg)))
        return err_set(e, E_INVALID, "%s keys are not certified under this label", key_alg_name(csr->key.alg));
    if (g->profile->allow_idevid_key)
        return E_OK;
    code = store_cert_newest(c->store, g->device.id, PROFILE_IDEVID, &row, e);
    if (code == E_OK && memcmp(row.spki_hash, csr->key.spki_hash, 32) == 0)
        return err_set(e, E_DENIED, "the key of the birth certificate must not be certified again");
    return code == E_NOT_FOUND ? E_OK : code;
}

struct live {
    const struct core *core;
    size_t good, held, late; /* late: expired, but its profile's grace is not over */
    int64_t youngest;
    int64_t now;
    uint8_t kind;
};

static bool count_live(void *arg, const struct cert_row *row)
{
    struct live *l = arg;

    if (row->kind != l->kind || row->status == CERT_REVOKED || life_cert_is_over(l->core, row, l->now))
        return true;
    if (row->not_after < l->now) {
        l->late++;
        return true;
    }
    if (row->hold_by & ~HOLD_LIFE) /* what is on hold for its quarantine alone does not keep a device from enrolling */
        l->held++;
    else
        l->good++;
    if (row->issued_at > l->youngest)
        l->youngest = row->issued_at;
    return true;
}

/* A device in service that enrols again (docs/design.md, "Factory reset"). */
static enum err_code factory_reset(struct core *c, int64_t now, struct grant *g, struct err *e)
{
    struct live l = {.core = c, .now = now, .kind = g->profile->kind};
    struct cert_filter f = {.device = g->device.id, .status = -1};

    if (g->device.state != DEVICE_IN_SERVICE && g->device.state != DEVICE_QUARANTINED)
        return E_OK;
    if (store_cert_each(c->store, &f, count_live, &l, e) != E_OK)
        return e->code;
    if (l.held)
        return err_set(e, E_DENIED, "the device's certificate is suspended");
    g->supersede = l.late > 0; /* what the birth identity replaces renews nothing */
    if (l.good == 0)
        return E_OK;
    switch (g->profile->idevid_reenroll) {
    case REENROLL_SUPERSEDE:
        g->supersede = true;
        if (now - l.youngest < g->profile->clone_window_s)
            g->alarm = "clone-suspected";
        return E_OK;
    case REENROLL_APPROVE:
        g->supersede = true;
        g->approval = "in service";
        return E_OK;
    case REENROLL_REFUSE:
    default:
        return err_set(e, E_DENIED, "the device is in service: a new enrollment is refused");
    }
}

struct line {
    const char *profile;
    uint64_t renewed;
    int64_t now;
    bool held, newest_revoked, others;
};

static bool follow_line(void *arg, const struct cert_row *row)
{
    struct line *l = arg;

    if (strcmp(row->profile, l->profile) != 0)
        return true;
    l->held |= row->status == CERT_ON_HOLD && row->not_after >= l->now;
    l->newest_revoked = row->status == CERT_REVOKED; /* ids rise */
    l->others |= row->status == CERT_GOOD && row->not_after >= l->now && row->replaced_by == 0 && row->id != l->renewed;
    return true;
}

/*
 * An older certificate of the same device is no way around what was done to the one that followed it: an operator who
 * suspends or revokes the newest means the device.
 */
static enum err_code renewal_is_open(struct core *c, int64_t now, struct grant *g, struct err *e)
{
    struct line l = {.profile = g->profile->name, .renewed = g->renews, .now = now};
    struct cert_filter f = {.device = g->device.id, .status = -1};

    if (store_cert_each(c->store, &f, follow_line, &l, e) != E_OK)
        return e->code;
    if (l.held)
        return err_set(e, E_DENIED, "the device's certificate is suspended");
    if (l.newest_revoked)
        return err_set(e, E_DENIED, "the device's newest certificate is revoked");
    if (l.others && !g->alarm)
        g->alarm = "two-live-ldevids";
    return E_OK;
}

static enum err_code repeat_check(struct core *c, const struct csr *csr, int64_t now, struct grant *g, struct err *e)
{
    struct cert_row row;
    struct repeat_key asked = {g->operation, g->profile->name, g->device.id, g->device.order_no, csr->key.spki_hash,
                               g->credential};
    struct repeat_key newest;
    enum err_code code = store_cert_newest(c->store, g->device.id, g->profile->kind, &row, e);

    if (code == E_NOT_FOUND)
        return E_OK;
    if (code != E_OK)
        return code;
    newest = (struct repeat_key){row.operation, row.profile, row.device, row.order_no, row.spki_hash,
                                 row.credential_hash};
    if (!repeat_rule(&asked, &newest, (enum cert_status)row.status, row.not_before, row.not_after,
                     g->profile->renew_percent, now))
        return E_OK;
    g->repeat = true;
    buf_add_bytes(&g->stored, row.der);
    g->stored_issuer = row.issuer;
    memcpy(g->stored_serial, row.serial, row.serial_len);
    g->stored_serial_len = row.serial_len;
    g->stored_not_before = row.not_before;
    g->stored_not_after = row.not_after;
    return buf_ok(&g->stored) ? E_OK : err_set(e, E_NOMEM, "repeat");
}

/* The same key again is a repeat above; below it is a renewal, which a profile may want with a new key. */
static enum err_code new_key_wanted(struct core *c, const struct csr *csr, const struct grant *g, struct err *e)
{
    struct cert_row row;

    if (!g->profile->rekey_required || g->renews == 0)
        return E_OK;
    if (store_cert_by_id(c->store, g->renews, &row, e) != E_OK)
        return e->code;
    if (memcmp(row.spki_hash, csr->key.spki_hash, 32) == 0)
        return err_set(e, E_DENIED, "a renewal must bring a new key here");
    return E_OK;
}

static enum err_code authenticate(struct core *c, const struct svc_enroll *in, const struct csr *csr, int64_t now,
                                  struct grant *g, struct err *e)
{
    if (in->chain_n && g->label->auth_cert)
        return by_certificate(c, in, csr, now, g, e);
    if (!g->label->auth_password)
        return err_set(e, E_DENIED, "a client certificate is needed here");
    return by_password(c, in, csr, now, g, e);
}

static const char *approval_wanted(const struct grant *g)
{
    bool renewal = g->operation == CERT_OP_REENROLL || g->renews;

    if (g->profile->approval == APPROVAL_NONE || (renewal && g->profile->approval != APPROVAL_OPERATOR))
        return NULL;
    return renewal ? "renewal" : "enrollment";
}

void grant_init(struct grant *g)
{
    *g = (struct grant){.by = {.kind = "device"}};
    buf_init(&g->subject, NAME_MAX_LEN);
    buf_init(&g->san, CSR_MAX_LEN);
    buf_init(&g->stored, CERT_MAX_LEN);
    recipient_init(&g->recipient);
}

/* A label of the configuration, or a work order. */
static const struct conf_label *find_label(struct core *c, const char *name, struct work_order **order)
{
    const struct conf_label *label = conf_find_label(c->conf, name);

    *order = label ? NULL : factory_live(c, name);
    return *order ? &(*order)->label : label;
}

/* No credential but the key that signs the request (docs/factory.md, "Fetched at first boot"). */
static bool by_key_alone(const struct svc_enroll *in, const struct conf_label *label)
{
    return label->auth_key && in->operation == SVC_SIMPLEENROLL && !(in->chain_n && label->auth_cert) && !in->has_password;
}

enum err_code enroll_precheck(struct core *c, const struct svc_enroll *in, struct grant *g, struct err *e)
{
    struct work_order *order;
    const struct conf_label *label = find_label(c, in->label, &order);
    enum err_code code;

    if (!label)
        return err_set(e, E_DENIED, "no such label");
    if ((in->chain_n && label->auth_cert) || by_key_alone(in, label))
        return E_OK;
    if (!label->auth_password)
        return err_set(e, E_DENIED, "a client certificate is needed here");
    if (!in->has_password)
        return err_set(e, E_UNAUTHENTICATED, "a client certificate or a secret is needed");
    code = check_password(c, in, &g->secret, e);
    if (code != E_OK)
        g->secret = (struct secret_facts){0};
    if (code == E_UNAUTHENTICATED && !guess_limit_wrong(c->guesses, in->user, in->peer, clock_mono_ms())) {
        g->retry_after_s = 1;
        return err_set(e, E_BUSY, "too many wrong secrets; try again in a second");
    }
    return code;
}

enum err_code enroll_check_request(const struct svc_enroll *in, const struct csr *csr, struct grant *g, struct err *e)
{
    enum err_code code;

    if ((code = csr_check_binding(csr, in->binding, &g->binding_judged, e)) != E_OK)
        return code;
    if (g->profile->pop_required && !g->binding_judged)
        return err_set(e, E_INVALID, "the request must be bound to this TLS connection: put the base64 of its %s into "
                                     "challengePassword (RFC 7030 3.5)",
                       in->binding_kind == SVC_BINDING_TLS_UNIQUE ? "tls-unique" : "tls-exporter");
    if (csr->change_subject)
        return err_set(e, E_DENIED, "a change of the subject is not supported (RFC 6402 2.8)");
    return csr_check_usage(csr, g->profile, e);
}

/* Everything but the key, which there is none of yet: what is claimed for the unit is the one that will be made. */
static enum err_code authorise_keygen(struct core *c, const struct svc_enroll *in, const struct csr *csr, int64_t now,
                                      struct grant *g, struct err *e)
{
    bool settled;
    enum err_code code = g->renews ? enroll_same_identity(g, csr, e) : own_identity(g, csr, e);

    if (code == E_OK)
        code = delivery_choose(c, in, csr, false, now, g, e);
    if (code == E_OK)
        code = delivery_again(c, now, g, &settled, e);
    g->approval = approval_wanted(g);
    if (code != E_OK || settled)
        return code;
    return g->renews ? renewal_is_open(c, now, g, e) : factory_reset(c, now, g, e);
}

/* Inkan-Unit of a device: the release it runs. */
static enum err_code take_firmware(struct core *c, const struct svc_enroll *in, int64_t now, struct grant *g, struct err *e)
{
    if (!in->unit[0])
        return E_OK;
    if (factory_read_said(in->unit, g, e) != E_OK)
        return e->code;
    if (!g->unit.firmware[0])
        return E_OK;
    if (life_firmware(c, g->device.id, g->unit.firmware, &g->by, now, e) != E_OK)
        return e->code;
    text_copy(g->device.firmware, sizeof(g->device.firmware), g->unit.firmware);
    return enroll_refuse_stopped(c, &g->device, e); /* reads its state anew */
}

enum err_code enroll_authorise(struct core *c, const struct svc_enroll *in, const struct csr *csr, int64_t now,
                               struct grant *g, struct err *e)
{
    struct work_order *order;
    enum err_code code;

    g->operation = in->operation == SVC_SERVERKEYGEN   ? CERT_OP_KEYGEN
                   : in->operation == SVC_SIMPLEENROLL ? CERT_OP_ENROLL
                                                       : CERT_OP_REENROLL;
    g->label = find_label(c, in->label, &order);
    g->profile = g->label ? conf_find_profile(c->conf, g->label->profile) : NULL;
    if (!g->profile)
        return err_set(e, E_DENIED, "no such label");
    if (order)
        return factory_authorise(c, order, in, csr, now, g, e);
    if (g->profile->kind == PROFILE_STATION && in->operation == SVC_SIMPLEREENROLL)
        return factory_renew_station(c, in, csr, now, g, e);
    if (by_key_alone(in, g->label))
        return capture_fetch(c, in, csr, now, g, e);
    if ((code = authenticate(c, in, csr, now, g, e)) != E_OK ||
        (code = enroll_refuse_elsewhere(c, &g->device, e)) != E_OK ||
        (code = enroll_check_request(in, csr, g, e)) != E_OK || (code = take_firmware(c, in, now, g, e)) != E_OK)
        return code;
    if (in->operation == SVC_SERVERKEYGEN)
        return authorise_keygen(c, in, csr, now, g, e);
    code = in->operation == SVC_SIMPLEREENROLL ? enroll_same_identity(g, csr, e) : own_identity(g, csr, e);
    if (code == E_OK)
        code = key_is_allowed(c, g, csr, e);
    if (code == E_OK)
        code = enroll_claim_key(c, g, &csr->key, now, e);
    if (code == E_OK)
        code = repeat_check(c, csr, now, g, e);
    if (code != E_OK || g->repeat)
        return code;
    g->approval = approval_wanted(g);
    if (in->operation == SVC_SIMPLEENROLL)
        return factory_reset(c, now, g, e);
    code = renewal_is_open(c, now, g, e);
    return code == E_OK ? new_key_wanted(c, csr, g, e) : code;
}

enum err_code enroll_still_allowed(struct core *c, struct grant *g, struct err *e)
{
    struct cert_row row;
    enum err_code code = enroll_refuse_stopped(c, &g->device, e);

    if (code == E_DENIED && g->unit.order && g->device.stopped_by == DEVICE_IN_REPAIR) { /* an order of the repair line */
        *e = (struct err){0};
        code = E_OK;
    }
    if (code == E_OK && !g->unit.order && g->profile->kind == PROFILE_LDEVID)
        code = enroll_refuse_elsewhere(c, &g->device, e);
    if (code == E_OK && g->replaces && (code = store_cert_by_id(c->store, g->replaces, &row, e)) == E_OK && row.first_used_at)
        code = err_set(e, E_DENIED, "the key that was sent before was used meanwhile");
    for (int i = 0; code == E_OK && i < 3; i++) {
        uint64_t id = (const uint64_t[]){g->presented, g->renews, g->recipient_cert}[i];

        if (id == 0)
            continue;
        code = store_cert_by_id(c->store, id, &row, e);
        if (code == E_OK && row.status != CERT_GOOD)
            code = err_set(e, E_DENIED, "the %s was revoked meanwhile", i == 2 ? "recipient's certificate" : "client certificate");
    }
    return code == E_OK ? delivery_still_allowed(c, g, e) : code;
}
