/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What line boxes send to their centre (docs/linebox.md, "Its records"). A record is one row of the box's own tables; it is keyed
 * by (box, epoch, stream, row), so that sending again changes nothing. One that cannot be taken is set aside with its reason, and
 * the rest flows.
 */
#include <string.h>

#include "ca/admin_int.h"
#include "base/fsio.h"
#include "base/oid.h"
#include "ca/cert.h"
#include "ca/csr.h"
#include "ca/factory.h"
#include "ca/record_check.h"
#include "ca/life.h"
#include "ca/store/linebox.h"

#define FEED_SCAN 2000 /* rows of the status log looked at for one answer */
#define FEED_MAX  200  /* changes told in one answer */
#define ROWS_MAX  600  /* records of one page: the outbox sends 200 of each stream at most */
#define TOLD_MAX  40   /* of those set aside, told in one answer; the ledger has all */

static const char *const stream_names[BOX_STREAMS] = {"cert", "unit", "status", "report"};

/* One request of a box as it is worked on. */
struct intake {
    struct core *c;
    char box[ID_MAX_LEN + 1], origin[ID_MAX_LEN + 8];
    struct issuer_row issuer;
    struct buf subject, spki, cert; /* of the box's CA, kept */
    struct box_state_row state;
    struct actor by;
    int64_t now;
    json_t *aside;
    json_t *seen;      /* the audit entry the box named last; NULL: none */
    const char *alarm; /* of the record at hand; NULL: none */
};

/* ---- who asks ---- */

/* The certificate of a box's link: issued here for it (box.link), good, and the box's CA is known. */
static enum err_code find_box(struct intake *in, const struct svc_factory *q, struct err *e)
{
    struct core *c = in->c;
    struct cert_row row;
    struct cert leaf;
    uint8_t hash[32];
    char requester[ID_MAX_LEN + 16];
    enum err_code code;

    if (q->verdict != SVC_CLIENT_VALID || cert_read(q->chain[0], &leaf, e) != E_OK)
        return err_set(e, E_DENIED, "the client certificate is not valid");
    sha256(q->chain[0], hash);
    code = store_cert_by_der(c->store, leaf.issuer, leaf.serial, hash, &row, e);
    if (code != E_OK && code != E_NOT_FOUND)
        return code;
    snprintf(requester, sizeof(requester), "boxlink:%s", q->order);
    if (code == E_NOT_FOUND || strcmp(row.requester, requester) != 0 || row.kind != PROFILE_STATION)
        return err_set(e, E_DENIED, "the client certificate is not that of line box \"%s\"", q->order);
    if (row.status != CERT_GOOD || in->now > row.not_after)
        return err_set(e, E_DENIED, "the client certificate of the line box is revoked, on hold or at its end");
    code = store_issuer_by_name(c->store, q->order, &in->issuer, e);
    if (code == E_NOT_FOUND || (code == E_OK && in->issuer.key != 0))
        return err_set(e, E_DENIED, "no line box \"%s\"", q->order);
    if (code != E_OK)
        return code;
    text_copy(in->box, sizeof(in->box), q->order);
    snprintf(in->origin, sizeof(in->origin), "box:%s", in->box);
    snprintf(in->by.name, sizeof(in->by.name), "%s", in->origin);
    in->by.kind = "service";
    buf_add_bytes(&in->subject, in->issuer.subject);
    buf_add_bytes(&in->spki, in->issuer.spki);
    buf_add_bytes(&in->cert, in->issuer.cert);
    return buf_ok(&in->subject) && buf_ok(&in->spki) && buf_ok(&in->cert) ? E_OK : err_set(e, E_NOMEM, "box");
}

/* ---- one certificate ---- */

static const char *text_of(const json_t *j, const char *name)
{
    const char *s = json_string_value(json_object_get(j, name));

    return s ? s : "";
}

static bool id_or_empty(const char *s)
{
    return !*s || id_is_valid(s);
}

static const struct conf_ca *root_of(struct intake *in)
{
    const struct authority *above = authority_above(in->c, in->issuer.id);

    return above ? conf_ca_root(in->c->conf, above->conf) : NULL;
}

static bool is_of_root(struct intake *in, const char *ca, const struct conf_ca *root)
{
    const struct conf_ca *named = ca && ca[0] ? conf_find_ca(in->c->conf, ca) : NULL;

    return named && root && conf_ca_root(in->c->conf, named) == root;
}

/* The anchor under which the centre believes what this box makes for that domain; "" = none. */
static const char *anchor_of(struct intake *in, const char *domain, bool *named)
{
    const struct conf_ca *root = root_of(in);

    *named = false;
    for (size_t i = 0; i < in->c->conf->anchors_n; i++) {
        const struct conf_anchor *a = &in->c->conf->anchors[i];

        for (size_t k = 0; k < a->domains.n; k++) {
            if (strcmp(a->domains.v[k], domain) != 0)
                continue;
            *named = true;
            if (is_of_root(in, a->ca, root))
                return a->name;
        }
    }
    return "";
}

/* A domain that names its makers (anchors) or what makes its LDevIDs (labels) takes none of another. */
static bool serves(struct intake *in, const char *domain, bool ldevid)
{
    const struct conf *conf = in->c->conf;
    bool named = false;

    if (!ldevid)
        return anchor_of(in, domain, &named)[0] || !named;
    for (size_t i = 0; i < conf->labels_n; i++) {
        const struct conf_profile *p = strcmp(conf->labels[i].domain, domain) == 0 ? conf_find_profile(conf, conf->labels[i].profile) : NULL;

        if (p && is_of_root(in, p->ca, root_of(in)))
            return true;
        named |= p != NULL;
    }
    return !named;
}

static enum err_code is_issued_by_box(struct intake *in, struct bytes der, struct cert *cert, struct err *e)
{
    struct pubkey key;

    if (cert_read(der, cert, e) != E_OK)
        return e->code;
    if (!bytes_equal(cert->issuer, buf_bytes(&in->subject)))
        return err_set(e, E_INVALID, "it is not issued by the CA of this box");
    if (pubkey_read(buf_bytes(&in->spki), &key, e) != E_OK || !pubkey_verifies(&key, cert->sig_alg, cert->tbs, cert->sig))
        return err_set(e, E_INVALID, "its signature is not that of the box's CA");
    return E_OK;
}

/* Everything a taken-over box could have written wrongly. Nothing is written here. */
static enum err_code judge_cert(struct intake *in, const json_t *j, struct bytes der, struct cert *cert, struct err *e)
{
    static const char *const names[] = {"product", "model", "lot", "order", "station", "line"};
    const char *device_id = text_of(j, "device_id"), *domain = text_of(j, "domain"), *kind = text_of(j, "kind");
    char name[ID_MAX_LEN + 1];

    if (is_issued_by_box(in, der, cert, e) != E_OK)
        return e->code;
    if (cert->is_ca || (cert->key_usage & (USAGE_KEY_CERT_SIGN | USAGE_CRL_SIGN)))
        return err_set(e, E_INVALID, "RFC 5280 4.2.1.9: a CA certificate under pathLenConstraint 0");
    if (cert->not_before < in->issuer.not_before || cert->not_after > in->issuer.not_after)
        return err_set(e, E_INVALID, "it is good before or after its issuer");
    if (cert->serial.len == 0 || cert->serial.len > SERIAL_MAX_LEN)
        return err_set(e, E_INVALID, "its serial has %zu octets", cert->serial.len);
    if (!id_is_valid(device_id) || !name_get(cert->subject, OID_SERIAL_NUMBER, name, sizeof(name)) || strcmp(name, device_id) != 0)
        return err_set(e, E_INVALID, "its subject does not name device \"%.64s\"", device_id);
    if (!conf_find_domain(in->c->conf, domain))
        return err_set(e, E_INVALID, "domain \"%.64s\" is not one of the centre's", domain);
    if (strcmp(kind, "idevid") != 0 && strcmp(kind, "ldevid") != 0)
        return err_set(e, E_INVALID, "kind \"%.32s\"", kind);
    if (!serves(in, domain, strcmp(kind, "ldevid") == 0))
        return err_set(e, E_DENIED, "domain \"%s\" believes other CAs than that of this box", domain);
    if (!id_is_valid(text_of(j, "profile")))
        return err_set(e, E_INVALID, "profile");
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (!id_or_empty(text_of(j, names[i])))
            return err_set(e, E_INVALID, "%s", names[i]);
    return E_OK;
}

static enum err_code device_of(struct intake *in, const json_t *j, uint64_t *device, uint64_t *unit, enum device_state *state, struct err *e)
{
    struct device_row row;
    bool named;
    enum err_code code = store_device_find(in->c->store, text_of(j, "domain"), text_of(j, "device_id"), &row, e);

    if (code == E_NOT_FOUND) {
        row = (struct device_row){.domain = text_of(j, "domain"), .device_id = text_of(j, "device_id"), .product = text_of(j, "product"),
                                  .model = text_of(j, "model"), .lot = text_of(j, "lot"), .order_no = text_of(j, "order"),
                                  .station = text_of(j, "station"), .line = text_of(j, "line"), .firmware = "",
                                  .anchor = anchor_of(in, text_of(j, "domain"), &named), .state = DEVICE_DECLARED, .declared_at = in->now};
        code = store_device_insert(in->c->store, &row, e);
    }
    *device = row.id;
    *unit = row.unit;
    *state = (enum device_state)row.state;
    return code;
}

/* A device that has a good certificate of the same kind from somewhere else: two identities. */
static enum err_code look_elsewhere(struct intake *in, uint64_t device, enum profile_kind kind, struct err *e)
{
    struct cert_row other;
    enum err_code code = store_cert_newest(in->c->store, device, kind, &other, e);

    if (code == E_NOT_FOUND)
        return E_OK;
    if (code == E_OK && other.issuer != in->issuer.id && other.status == CERT_GOOD)
        in->alarm = "device-at-two-places";
    return code;
}

static enum err_code put_profile(struct intake *in, const json_t *j, char name[2 * ID_MAX_LEN + 8], uint8_t hash[32], struct err *e)
{
    char body[4 * ID_MAX_LEN + 64];

    snprintf(name, 2 * ID_MAX_LEN + 8, "%s/%s", in->box, text_of(j, "profile"));
    snprintf(body, sizeof(body), "{\"box\":\"%s\",\"kind\":\"%s\",\"profile\":\"%s\"}", in->box, text_of(j, "kind"), text_of(j, "profile"));
    sha256(bytes_str(body), hash);
    return store_profile_put(in->c->store, hash, name, body, in->now, e);
}

static enum err_code take_cert(struct intake *in, const json_t *j, enum box_outcome *outcome, struct err *e)
{
    AUTO_BUF der = BUF_INIT(CERT_MAX_LEN);
    struct audit_actor who = {.actor = in->by.name, .actor_kind = in->by.kind, .domain = text_of(j, "domain")};
    struct cert_row row = {0}, known;
    struct pubkey key;
    struct cert cert;
    enum device_state state;
    uint64_t unit = 0;
    bool changed;
    char profile[2 * ID_MAX_LEN + 8], requester[3 * ID_MAX_LEN];
    enum err_code code;

    if (json_is_true(json_object_get(j, "skip")))
        return E_OK;
    if ((code = base64_decode(bytes_str(text_of(j, "der")), &der, e)) != E_OK ||
        (code = judge_cert(in, j, buf_bytes(&der), &cert, e)) != E_OK)
        return code;
    sha256(buf_bytes(&der), row.der_hash);
    code = store_cert_by_serial(in->c->store, in->issuer.id, cert.serial, &known, e);
    if (code == E_OK && memcmp(known.der_hash, row.der_hash, 32) == 0) {
        *outcome = BOX_KNOWN;
        return E_OK;
    }
    if (code == E_OK) {
        in->alarm = "serial-used-twice";
        return err_set(e, E_CONFLICT, "RFC 5280 4.1.2.2: another certificate of this box has its serial");
    }
    if (code != E_NOT_FOUND || (code = device_of(in, j, &row.device, &unit, &state, e)) != E_OK)
        return code;
    row.kind = strcmp(text_of(j, "kind"), "idevid") == 0 ? PROFILE_IDEVID : PROFILE_LDEVID;
    if ((code = pubkey_identify(cert.spki, &key, e)) != E_OK)
        return code;
    memcpy(row.spki_hash, key.spki_hash, 32);
    if ((code = look_elsewhere(in, row.device, (enum profile_kind)row.kind, e)) != E_OK ||
        (code = store_spki_claim(in->c->store, row.spki_hash, unit, in->now, e)) != E_OK) {
        if (code == E_CONFLICT)
            in->alarm = "key-of-other-unit";
        return code == E_CONFLICT ? err_set(e, E_CONFLICT, "its key is certified for another unit") : code;
    }
    if ((code = put_profile(in, j, profile, row.profile_hash, e)) != E_OK)
        return code;
    snprintf(requester, sizeof(requester), "device:%s/%s", text_of(j, "domain"), text_of(j, "device_id"));
    row.issuer = in->issuer.id;
    memcpy(row.serial, cert.serial.p, cert.serial.len);
    row.serial_len = (uint8_t)cert.serial.len;
    row.der = buf_bytes(&der);
    row.profile = profile;
    row.operation = CERT_OP_ENROLL;
    row.domain = text_of(j, "domain");
    row.requester = requester;
    row.order_no = text_of(j, "order");
    row.station = text_of(j, "station");
    row.line = text_of(j, "line");
    row.model = text_of(j, "model");
    row.lot = text_of(j, "lot");
    row.issued_at = in->now;
    row.not_before = cert.not_before;
    row.not_after = cert.not_after;
    row.device_state = (uint8_t)(state <= DEVICE_KEYED && row.order_no[0] ? DEVICE_PROVISIONED : state);
    if (store_cert_issue(in->c->store, &row, e) != E_OK)
        return err_wrap(e, "certificate row");
    if (row.device_state != state && life_step(in->c, row.device, DEVICE_PROVISIONED, false, in->now, &changed, e) != E_OK)
        return err_wrap(e, "device");
    if (audit_cert_issued(in->c->store, &who, in->box, &row, row.status_seq, in->now, e) != E_OK)
        return e->code;
    return life_admit(in->c, row.device, row.id, (enum profile_kind)row.kind, &in->by, in->now, e);
}

/* ---- one change of status ---- */

static enum err_code take_status(struct intake *in, const json_t *j, struct err *e)
{
    struct revocation change = {.origin = in->origin, .hold = HOLD_BOX};
    struct cert_row cert;
    uint8_t serial[SERIAL_MAX_LEN];
    size_t len = 0;
    const char *hex = text_of(j, "serial"), *status = text_of(j, "status");
    json_int_t reason = json_integer_value(json_object_get(j, "reason"));
    bool changed = false;
    uint64_t seq = 0;
    enum err_code code;

    if (json_is_true(json_object_get(j, "skip")))
        return E_OK;
    if (!hex_decode(hex, strlen(hex), serial, sizeof(serial), &len) || len == 0)
        return err_set(e, E_INVALID, "serial");
    if (!crl_reason_name((enum crl_reason)reason) || reason < 0 || reason > 10)
        return err_set(e, E_INVALID, "reason");
    change.reason = (enum crl_reason)reason;
    change.to = strcmp(status, "good") == 0 ? CERT_GOOD : strcmp(status, "on_hold") == 0 ? CERT_ON_HOLD : CERT_REVOKED;
    if (change.to == CERT_REVOKED && strcmp(status, "revoked") != 0)
        return err_set(e, E_INVALID, "status \"%.16s\"", status);
    code = store_cert_by_serial(in->c->store, in->issuer.id, BYTES(serial, len), &cert, e);
    if (code == E_NOT_FOUND)
        return change.to == CERT_GOOD ? E_OK : err_set(e, E_NOT_FOUND, "no certificate with serial %.40s is here", hex);
    if (code != E_OK)
        return code;
    if (cert.status == CERT_REVOKED)
        return E_OK;
    return revoke_apply(in->c, &cert, &change, &in->by, in->now, &changed, &seq, e);
}

/* ---- one event of a unit ---- */

/* Where a unit of a box stands as a device; DEVICE_STATES: that says nothing. */
static enum device_state state_of_unit(enum unit_state s)
{
    switch (s) {
    case UNIT_RESERVED:
    case UNIT_UNUSED:
    case UNIT_VOID:
    case UNIT_ORPHAN:
        return DEVICE_DECLARED;
    case UNIT_CAPTURED:
        return DEVICE_KEYED;
    case UNIT_ISSUED:
    case UNIT_HELD:
    case UNIT_REWORK:
        return DEVICE_PROVISIONED;
    case UNIT_CONFIRMED:
    case UNIT_PACKED:
        return DEVICE_CONFIRMED;
    case UNIT_SHIPPED:
        return DEVICE_SHIPPED;
    case UNIT_SCRAPPED:
        return DEVICE_SCRAPPED;
    default:
        return DEVICE_STATES;
    }
}

/* The line of the box goes on with a unit: its device follows, as far as nobody here did something else with it. */
static enum err_code follow_unit(struct intake *in, const char *domain, const char *device_id, enum unit_state unit, struct err *e)
{
    struct life_change scrap = {.to = DEVICE_SCRAPPED, .why = "scrapped at its line box", .only_from = DEVICE_STATES};
    enum device_state to = state_of_unit(unit), at;
    struct device_row row;
    bool changed;
    uint64_t device, seq;
    enum err_code code = store_device_find(in->c->store, domain, device_id, &row, e);

    if (code == E_NOT_FOUND) {
        *e = (struct err){0};
        return E_OK; /* nothing of it was certified */
    }
    if (code != E_OK)
        return code;
    device = row.id;
    at = (enum device_state)row.state;
    if (at == to || at > DEVICE_CONFIRMED)
        return E_OK;
    if (to == DEVICE_SCRAPPED)
        return life_apply(in->c, device, &scrap, &in->by, in->now, &changed, &seq, e);
    for (enum device_state s = to > at ? at + 1 : to; s <= to; s++)
        if (s != DEVICE_KEYED || to == DEVICE_KEYED)
            if (life_step(in->c, device, s, s == to, in->now, &changed, e) != E_OK)
                return e->code;
    return E_OK;
}

static enum err_code take_unit(struct intake *in, const json_t *j, struct err *e)
{
    const char *order_no = text_of(j, "order"), *device_id = text_of(j, "device_id"), *state = text_of(j, "state");
    char other[ID_MAX_LEN + 1] = "";
    enum unit_state known;

    if (!id_is_valid(order_no) || strlen(order_no) > ORDER_NO_MAX || !id_is_valid(device_id) || !unit_state_from_name(state, &known) ||
        !id_is_valid(text_of(j, "event")))
        return err_set(e, E_INVALID, "order, device_id, event or state");
    if (store_box_unit_elsewhere(in->c->store, in->box, device_id, other, e) != E_OK)
        return e->code;
    if (other[0])
        in->alarm = "device-at-two-places";
    if (store_box_unit_put(in->c->store, in->box, order_no, device_id, state, e) != E_OK)
        return e->code;
    return follow_unit(in, text_of(j, "domain"), device_id, known, e);
}

/* ---- one close-out report ---- */

/* Signed by the box's record key, under its own CA, and its counts are whole: what anybody would check who keeps it. */
static enum err_code judge_report(struct intake *in, const char *order_no, struct bytes report, struct bytes signer, struct err *e)
{
    AUTO_BUF pem = BUF_INIT(8 * CERT_MAX_LEN);
    AUTO_BUF root = BUF_INIT(2 * CERT_MAX_LEN);
    AUTO_JSON *payload = NULL;
    struct bytes above[CHAIN_MAX];
    size_t n = authority_chain(in->c, authority_above(in->c, in->issuer.id), above);
    struct record_judge *judge = NULL;
    struct cert cert;
    int64_t closed_at = 0;
    enum err_code code;

    if (is_issued_by_box(in, signer, &cert, e) != E_OK)
        return err_wrap(e, "signer");
    if (n == 0)
        return err_set(e, E_STORE, "the CA above that of the box is not there");
    pem_write(&pem, "CERTIFICATE", signer);
    pem_write(&pem, "CERTIFICATE", buf_bytes(&in->cert));
    for (size_t i = 0; i < n; i++)
        pem_write(i + 1 < n ? &pem : &root, "CERTIFICATE", above[i]);
    code = buf_ok(&pem) && buf_ok(&root) ? record_judge_new(buf_bytes(&pem), buf_bytes(&root), &judge, e) : err_set(e, E_NOMEM, "report");
    if (code == E_OK && (code = record_open(judge, report, CLOSE_REPORT_TYP, &payload, e)) == E_OK &&
        (code = record_time(payload, "closed_at", &closed_at, e)) == E_OK && (code = record_judge_at(judge, closed_at, e)) == E_OK &&
        strcmp(text_of(payload, "order"), order_no) != 0)
        code = err_set(e, E_INVALID, "it is the report of order \"%.64s\"", text_of(payload, "order"));
    if (code == E_OK)
        code = close_report_check(payload, e);
    record_judge_free(judge);
    return code;
}

static enum err_code take_report(struct intake *in, const json_t *j, enum box_outcome *outcome, struct err *e)
{
    AUTO_BUF signer = BUF_INIT(CERT_MAX_LEN);
    const char *order_no = text_of(j, "order");
    struct report_row row = {.at = in->now, .order_no = order_no, .report = bytes_str(text_of(j, "report"))}, known;
    enum err_code code;

    if (!id_is_valid(order_no) || strlen(order_no) > ORDER_NO_MAX)
        return err_set(e, E_INVALID, "order");
    code = store_box_report_get(in->c->store, in->box, order_no, &known, e);
    if (code == E_OK && bytes_equal(known.report, row.report)) {
        *outcome = BOX_KNOWN;
        return E_OK;
    }
    if (code == E_OK)
        return err_set(e, E_CONFLICT, "another close-out report of order %s is here", order_no);
    if (code != E_NOT_FOUND)
        return code;
    *e = (struct err){0};
    if ((code = base64_decode(bytes_str(text_of(j, "signer")), &signer, e)) != E_OK ||
        (code = judge_report(in, order_no, row.report, buf_bytes(&signer), e)) != E_OK)
        return code;
    row.signer = buf_bytes(&signer);
    return store_box_report_put(in->c->store, in->box, &row, e);
}

/* ---- the page ---- */

static enum err_code raise_alarm(struct intake *in, const json_t *j, const char *text, struct err *e)
{
    char object[2 * ID_MAX_LEN + 8];
    struct alarm_row alarm = {.time = in->now, .kind = in->alarm, .domain = text_of(j, "domain"), .object = object, .text = text};
    struct log_line l;
    enum err_code code;

    snprintf(object, sizeof(object), "device:%s", text_of(j, "device_id"));
    log_begin(&l, LOG_ERROR, "box-alarm");
    log_str(&l, "alarm", in->alarm);
    log_str(&l, "box", in->box);
    log_str(&l, "device_id", text_of(j, "device_id"));
    log_end(&l);
    code = store_alarm_insert(in->c->store, &alarm, e);
    return code == E_CONFLICT ? E_OK : code;
}

static enum err_code take_record(struct intake *in, const json_t *j, enum box_stream stream, enum box_outcome *outcome, struct err *e)
{
    *outcome = BOX_TAKEN;
    switch (stream) {
    case BOX_CERTS: return take_cert(in, j, outcome, e);
    case BOX_UNITS: return take_unit(in, j, e);
    case BOX_STATUS: return take_status(in, j, e);
    default: return take_report(in, j, outcome, e);
    }
}

/* What became of a record, beside its effect or in its place. */
static enum err_code note_record(struct intake *in, const json_t *j, enum box_stream stream, uint64_t seq, enum box_outcome outcome,
                                 const char *reason, struct err *e)
{
    AUTO(char) *body = outcome == BOX_ASIDE || stream == BOX_UNITS ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    struct box_record_row row = {.stream = (uint8_t)stream, .outcome = (uint8_t)outcome, .seq = seq, .at = in->now, .reason = reason,
                                 .body = body ? body : ""};

    text_copy(row.box, sizeof(row.box), in->box);
    text_copy(row.epoch, sizeof(row.epoch), in->state.epoch);
    if (in->alarm && raise_alarm(in, j, reason[0] ? reason : "seen at more than one place", e) != E_OK)
        return e->code;
    if (json_is_true(json_object_get(j, "skip")))
        return E_OK;
    return store_box_record_put(in->c->store, &row, e);
}

static bool is_ours_to_mend(enum err_code code)
{
    return code != E_INVALID && code != E_DENIED && code != E_CONFLICT && code != E_NOT_FOUND;
}

/* One record in a savepoint of its own. An error leaves the request: ours, and the box sends again. */
static enum err_code one_record(struct intake *in, const json_t *j, enum box_stream stream, uint64_t seq, struct err *e)
{
    struct core *c = in->c;
    enum box_outcome outcome;
    struct err why = {0};
    enum err_code code;
    char object[ID_MAX_LEN + 8];

    in->alarm = NULL;
    if (store_savepoint(c->store, e) != E_OK)
        return e->code;
    code = take_record(in, j, stream, &outcome, &why);
    if (code == E_OK)
        code = note_record(in, j, stream, seq, outcome, "", &why);
    code = core_savepoint_end(c, code, &why);
    if (code == E_OK)
        return E_OK;
    if (is_ours_to_mend(code)) {
        *e = why;
        return code;
    }
    snprintf(object, sizeof(object), "box:%s", in->box);
    log_failure("box-record-set-aside", &why);
    if (json_array_size(in->aside) < TOLD_MAX)
        json_array_append_new(in->aside, json_pack("{s:s, s:I, s:s}", "stream", stream_names[stream], "seq", (json_int_t)seq, "reason", why.msg));
    if (note_record(in, j, stream, seq, BOX_ASIDE, why.msg, e) != E_OK)
        return e->code;
    return core_audit(c, &in->by, "box-record-set-aside", "", object,
                      json_pack("{s:s, s:I, s:s}", "stream", stream_names[stream], "seq", (json_int_t)seq, "why", why.msg), in->now, e);
}

static bool stream_from_name(const char *s, enum box_stream *out)
{
    for (int i = 0; i < BOX_STREAMS; i++)
        if (strcmp(stream_names[i], s) == 0) {
            *out = (enum box_stream)i;
            return true;
        }
    return false;
}

/* Rows in their order: what is here already is passed over, and nothing is taken beyond a hole. */
static enum err_code take_page(struct intake *in, const json_t *records, struct err *e)
{
    size_t i;
    json_t *j;

    if (json_array_size(records) > ROWS_MAX)
        return err_set(e, E_INVALID, "%zu records, at most %d", json_array_size(records), ROWS_MAX);
    json_array_foreach(records, i, j)
    {
        uint64_t seq = (uint64_t)json_integer_value(json_object_get(j, "seq"));
        enum box_stream stream;

        if (!json_is_object(j) || !stream_from_name(text_of(j, "stream"), &stream) || seq == 0)
            return err_set(e, E_INVALID, "records[%zu]: not a record", i);
        if (seq != in->state.had[stream] + 1)
            continue;
        if (one_record(in, j, stream, seq, e) != E_OK)
            return e->code;
        in->state.had[stream] = seq;
    }
    return E_OK;
}

/* ---- what the box says of itself ---- */

/* Units granted to the box, over all its budgets. */
static bool add_granted(void *arg, const struct budget_row *row)
{
    *(uint64_t *)arg += row->units;
    return true;
}

/* Its counts against ours; only when everything it has is here. */
static enum err_code compare(struct intake *in, const json_t *q, struct buf *out, struct err *e)
{
    const json_t *last = json_object_get(q, "last"), *counts = json_object_get(q, "counts");
    AUTO_JSON *units = json_object();
    uint64_t devices = 0, granted = 0, aside = 0;

    for (size_t i = 0; i < BOX_STREAMS; i++) {
        uint64_t said = (uint64_t)json_integer_value(json_object_get(last, stream_names[i]));

        if (said < in->state.had[i])
            buf_printf(out, "%s: the centre has %llu rows, the box %llu; ", stream_names[i], (unsigned long long)in->state.had[i],
                       (unsigned long long)said);
        if (said > in->state.had[i])
            return E_OK; /* there is more to come */
    }
    if (store_box_devices(in->c->store, in->issuer.id, &devices, e) != E_OK ||
        store_budget_each(in->c->store, in->box, add_granted, &granted, e) != E_OK ||
        store_box_unit_count(in->c->store, in->box, box_count_units, units, e) != E_OK)
        return e->code;
    if (devices > granted)
        buf_printf(out, "over budget: %llu devices, %llu units were granted; ", (unsigned long long)devices, (unsigned long long)granted);
    if (store_box_aside_count(in->c->store, in->box, &aside, e) != E_OK)
        return e->code;
    if (aside)
        buf_printf(out, "%llu records were set aside; ", (unsigned long long)aside);
    if (json_is_object(counts)) {
        uint64_t said = (uint64_t)json_integer_value(json_object_get(counts, "devices"));

        if (said != devices)
            buf_printf(out, "devices: %llu at the box, %llu here; ", (unsigned long long)said, (unsigned long long)devices);
        if (!json_equal(json_object_get(counts, "units"), units))
            buf_add_str(out, "units: the states of an order differ; ");
    }
    return E_OK;
}

static enum err_code keep_state(struct intake *in, const json_t *q, struct err *e)
{
    AUTO_BUF text = BUF_INIT(1024);
    AUTO_JSON *of = json_pack("{s:O*, s:O?, s:O?}", "audit", json_object_get(q, "audit"), "counts", json_object_get(q, "counts"), "last",
                              json_object_get(q, "last"));
    AUTO(char) *said = of ? json_dumps(of, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    char object[ID_MAX_LEN + 8], before[1024];

    text_copy(before, sizeof(before), in->state.difference);
    if (compare(in, q, &text, e) != E_OK)
        return e->code;
    buf_add_u8(&text, 0);
    if (!buf_ok(&text))
        return err_set(e, E_NOMEM, "differences");
    in->state.said = said;
    in->state.difference = (const char *)text.p;
    in->state.heard_at = in->now;
    snprintf(object, sizeof(object), "box:%s", in->box);
    if (text.p[0] && strcmp(before, (const char *)text.p) != 0) {
        log_note(LOG_ERROR, "box-differs", "what", (const char *)text.p);
        if (core_audit(in->c, &in->by, "box-differs", "", object, json_pack("{s:s}", "what", (const char *)text.p), in->now, e) != E_OK)
            return e->code;
    }
    return store_box_state_put(in->c->store, &in->state, e);
}

/* ---- what the box has to hear ---- */

struct feed {
    struct intake *in;
    json_t *list;
    uint64_t to;
    size_t n;
};

/* Its row of the day it came, which says nothing new. */
static bool is_first(struct intake *in, const struct status_row *row)
{
    struct cert_row cert;
    struct err e = {0};

    return store_cert_by_serial(in->c->store, row->issuer, BYTES(row->serial, row->serial_len), &cert, &e) == E_OK &&
           cert.issued_at == row->time;
}

/* A certificate that only the box holds is good as far as the centre goes. */
static enum cert_status own_status(struct intake *in, const struct status_row *row)
{
    struct cert_row cert;
    struct err e = {0};

    if (row->status != CERT_ON_HOLD ||
        store_cert_by_serial(in->c->store, row->issuer, BYTES(row->serial, row->serial_len), &cert, &e) != E_OK)
        return row->status;
    return cert.hold_by == HOLD_BOX ? CERT_GOOD : row->status;
}

static bool feed_row(void *arg, const struct status_row *row)
{
    struct feed *f = arg;

    if (f->n == FEED_MAX)
        return false;
    f->to = row->seq;
    if (row->issuer != f->in->issuer.id || row->origin[0] || (row->status == CERT_GOOD && is_first(f->in, row)))
        return true;
    json_array_append_new(f->list, json_pack("{s:o, s:s, s:i}", "serial", json_hex(BYTES(row->serial, row->serial_len)), "status",
                                             cert_status_name(own_status(f->in, row)), "reason", (int)row->reason));
    f->n++;
    return true;
}

/* Up to where the box has heard this ledger: one that was restored tells all again. */
static uint64_t heard(struct intake *in, const json_t *q)
{
    uint64_t seq = (uint64_t)json_integer_value(json_object_get(q, "heard"));

    return bytes_equal(bytes_str(text_of(q, "centre")), buf_bytes(&in->c->follow_id)) && seq <= core_seq(in->c) ? seq : 0;
}

static enum err_code answer(struct intake *in, const json_t *q, struct buf *body, struct err *e)
{
    struct feed f = {in, json_array(), heard(in, q), 0};
    AUTO_JSON *j = NULL;
    AUTO(char) *text = NULL;

    if (store_status_each(in->c->store, f.to, FEED_SCAN, feed_row, &f, e) != E_OK) {
        json_decref(f.list);
        return e->code;
    }
    j = json_pack("{s:O*, s:s#, s:O, s:{s:I, s:I, s:I, s:I}, s:o, s:I, s:b}", "seen", in->seen, "centre", (const char *)in->c->follow_id.p,
                  (int)in->c->follow_id.len, "set_aside", in->aside, "had", "cert", (json_int_t)in->state.had[BOX_CERTS],
                  "unit", (json_int_t)in->state.had[BOX_UNITS], "status", (json_int_t)in->state.had[BOX_STATUS], "report",
                  (json_int_t)in->state.had[BOX_REPORTS], "changes", f.list, "heard",
                  (json_int_t)f.to, "more", f.to < core_seq(in->c));
    text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    if (!text)
        return err_set(e, E_NOMEM, "answer");
    buf_add_str(body, text);
    return buf_ok(body) ? E_OK : err_set(e, E_NOMEM, "answer");
}

static enum err_code run(struct intake *in, const struct svc_factory *q, const json_t *j, struct buf *body, struct err *e)
{
    const char *epoch = text_of(j, "epoch");
    enum err_code code;

    if (find_box(in, q, e) != E_OK)
        return e->code;
    if (!id_is_valid(epoch) || strlen(epoch) > BOX_EPOCH_MAX || !json_is_array(json_object_get(j, "records")) ||
        !json_is_object(json_object_get(j, "last")))
        return err_set(e, E_INVALID, "epoch, last and records are needed");
    code = store_box_state_get(in->c->store, in->box, epoch, &in->state, e);
    if (code == E_NOT_FOUND) {
        in->state = (struct box_state_row){.difference = ""};
        text_copy(in->state.box, sizeof(in->state.box), in->box);
        text_copy(in->state.epoch, sizeof(in->state.epoch), epoch);
    } else if (code != E_OK) {
        return code;
    }
    /* Its texts are the store's: the next call may take them. */
    AUTO_JSON *said = in->state.said ? json_loads(in->state.said, 0, NULL) : NULL;
    AUTO(char) *difference = strdup(in->state.difference);
    in->seen = json_object_get(said, "audit");
    in->state.difference = difference ? difference : "";
    if (take_page(in, json_object_get(j, "records"), e) != E_OK || keep_state(in, j, e) != E_OK)
        return e->code;
    return answer(in, j, body, e);
}

enum err_code box_records(struct core *c, const struct svc_factory *q, int64_t now, struct buf *body, struct err *e)
{
    struct intake in = {.c = c, .now = now, .subject = BUF_INIT(NAME_MAX_LEN), .spki = BUF_INIT(SPKI_MAX_LEN), .cert = BUF_INIT(CERT_MAX_LEN), .aside = json_array()};
    json_error_t where;
    AUTO_JSON *j = json_loadb((const char *)q->body.p, q->body.len, JSON_REJECT_DUPLICATES, &where);
    struct grant none;
    enum err_code code;

    if (!json_is_object(j))
        code = err_set(e, E_INVALID, "body: not a JSON object");
    else if (c->seal != SEAL_NONE)
        code = err_set(e, E_STORE, "sealed");
    else if ((code = core_begin(c, e)) == E_OK) {
        code = run(&in, q, j, body, e);
        if (code == E_OK) {
            core_commit(c);
            revoke_changed(c);
        } else {
            core_doubt(c, e);
            core_rollback(c);
        }
    }
    if (code != E_OK) {
        memset(&none, 0, sizeof(none));
        factory_error_body(&none, e, body);
        log_failure("box-records-refused", e);
    }
    json_decref(in.aside);
    buf_clear(&in.subject);
    buf_clear(&in.spki);
    buf_clear(&in.cert);
    return code;
}
