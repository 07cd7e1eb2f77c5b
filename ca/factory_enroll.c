/* SPDX-License-Identifier: Apache-2.0 */
/* EST under the label of a work order: the client is a station, the CSR is the device's (docs/factory.md, "What is repeated"). */
#include <string.h>

#include "ca/delivery.h"
#include "ca/factory_int.h"
#include "ca/repeat_rule.h"

/* Nothing is made of it any more. What is in repair gets its new key by an order. */
bool factory_is_over(const struct device_facts *d)
{
    return device_facts_stopped(d) && d->state != DEVICE_IN_REPAIR;
}

/* ---- what the station says of the unit ---- */

struct said {
    const char *name;
    char *out;
};

/* "badge=B-77;tool=st/1.2;firmware=1.4.2", each at most once. */
enum err_code factory_read_said(const char *text, struct grant *g, struct err *e)
{
    const struct said known[] = {{"badge", g->unit.badge}, {"tool", g->unit.tool}, {"firmware", g->unit.firmware}};

    while (*text) {
        size_t len = strcspn(text, ";"), name = strcspn(text, "=;"), k = 0;

        while (k < ARRAY_LEN(known) && (strlen(known[k].name) != name || memcmp(known[k].name, text, name) != 0))
            k++;
        if (k == ARRAY_LEN(known) || name == len || len - name - 1 > ID_MAX_LEN || len == name + 1 || known[k].out[0])
            return err_set(e, E_INVALID, "Inkan-Unit: badge=, tool= and firmware=, each once, of 1 to %d characters, "
                                         "separated by ;", ID_MAX_LEN);
        memcpy(known[k].out, text + name + 1, len - name - 1);
        known[k].out[len - name - 1] = '\0';
        text += len + (text[len] == ';');
    }
    return E_OK;
}

enum err_code factory_firmware(const struct work_order *o, const char *firmware, bool needed, struct grant *g, struct err *e)
{
    if (o->firmware.n == 0 || (!firmware[0] && !needed) || (firmware[0] && text_list_has(&o->firmware, firmware)))
        return E_OK;
    return factory_refuse(g, e, E_DENIED, "unknown-firmware", firmware[0] ? "release %s is not one of this order" : "the order wants to know the release%s",
                          firmware);
}

/* ---- the retry table ---- */

static enum err_code answer_stored(const struct cert_row *row, struct grant *g, struct err *e)
{
    g->repeat = true;
    buf_add_bytes(&g->stored, row->der);
    g->stored_issuer = row->issuer;
    memcpy(g->stored_serial, row->serial, row->serial_len);
    g->stored_serial_len = row->serial_len;
    g->stored_not_before = row->not_before;
    g->stored_not_after = row->not_after;
    return buf_ok(&g->stored) ? E_OK : err_set(e, E_NOMEM, "repeat");
}

/* The unit's newest certificate has this key: whatever became of the unit, it never gets a second one for it. */
static enum err_code same_key(struct core *c, const struct unit_row *u, const struct csr *csr, struct grant *g, bool *same,
                              struct err *e)
{
    struct cert_row row;

    *same = false;
    if (u->cert == 0)
        return E_OK;
    if (store_cert_by_id(c->store, u->cert, &row, e) != E_OK)
        return e->code;
    *same = memcmp(row.spki_hash, csr->key.spki_hash, 32) == 0;
    if (!*same)
        return E_OK;
    if (row.status == CERT_REVOKED)
        return factory_refuse(g, e, E_DENIED, "unit-ended", "the unit's certificate is revoked");
    return answer_stored(&row, g, e);
}

static enum err_code needs_role(const struct factory_station *st, unsigned role, const char *reason, const char *text,
                                struct grant *g, struct err *e)
{
    return st->roles & role ? E_OK : factory_refuse(g, e, E_DENIED, reason, "%s", text);
}

static enum err_code new_key(const struct unit_row *u, const struct factory_station *st, struct grant *g, struct err *e)
{
    switch ((enum unit_state)u->state) {
    case UNIT_RESERVED:
    case UNIT_CAPTURED:
        g->unit.event = UNIT_DO_ISSUE;
        return needs_role(st, STATION_ISSUE, "wrong-role", "this needs a station of role issue", g, e);
    case UNIT_ISSUED:
    case UNIT_HELD:
        g->unit.event = UNIT_DO_REKEY;
        return E_OK;
    case UNIT_REWORK:
        g->unit.event = UNIT_DO_ISSUE;
        return needs_role(st, STATION_REWORK, "rework-open", "the unit is under rework: a station of role rework goes on", g, e);
    case UNIT_CONFIRMED:
    case UNIT_PACKED:
    case UNIT_SHIPPED:
        return factory_refuse(g, e, E_DENIED, "unit-confirmed", "the unit is %s: only a rework opens it again",
                              unit_state_name((enum unit_state)u->state));
    default:
        return factory_refuse(g, e, E_DENIED, "unit-ended", "the unit is %s", unit_state_name((enum unit_state)u->state));
    }
}

enum err_code factory_may_issue(struct core *c, const struct work_order *o, const struct unit_row *u, enum unit_event event,
                                struct grant *g, struct err *e)
{
    struct order_tally t;

    (void)u;
    if (o->state != ORDER_OPEN)
        return factory_refuse(g, e, E_DENIED, "order-closed", "order %s is %s", o->order_no, order_state_name(o->state));
    if (event != UNIT_DO_REKEY)
        return E_OK;
    if (store_tally(c->store, o->id, &t, e) != E_OK)
        return e->code;
    if ((uint64_t)t.rekeyed >= o->rekeys_allowed)
        return factory_refuse(g, e, E_DENIED, "rekeys-used", "the order's %llu changes of a key before the confirm are used: scrap the unit, or confirm the key it has",
                              (unsigned long long)o->rekeys_allowed);
    return E_OK;
}

static enum err_code claim(struct core *c, const struct csr *csr, int64_t now, struct grant *g, struct err *e)
{
    enum err_code code = enroll_claim_key(c, g, &csr->key, now, e);

    if (code == E_DENIED && g->alarm)
        return factory_refuse(g, e, E_DENIED, "key-of-other-unit", "this key is certified for another unit");
    return code;
}

static enum err_code key_fits(struct core *c, const struct csr *csr, const struct grant *g, struct err *e)
{
    if (authority_owns_spki(c, csr->key.spki))
        return err_set(e, E_DENIED, "this key is one of the authority's own");
    if (!(g->profile->key_algs & KEY_BIT(csr->key.alg)))
        return err_set(e, E_INVALID, "%s keys are not certified under this label", key_alg_name(csr->key.alg));
    return E_OK;
}

/* ---- EST ---- */

static enum err_code admit(struct core *c, struct work_order *o, const struct svc_enroll *in, int64_t now,
                           struct factory_station *st, struct grant *g, struct err *e)
{
    enum err_code code;

    if (in->chain_n == 0 || in->verdict == SVC_CLIENT_NONE)
        return err_set(e, E_DENIED, "a station's certificate is needed here");
    if ((code = factory_station(c, in->chain[0], now, st, g, e)) != E_OK ||
        (code = factory_admit(o, st, STATION_ISSUE | STATION_REWORK, ORDER_WORK, now, g, e)) != E_OK ||
        (code = factory_read_said(in->unit, g, e)) != E_OK ||
        (code = factory_firmware(o, g->unit.firmware, false, g, e)) != E_OK)
        return code;
    if (o->key_mode == ORDER_KEY_DEVICE && in->operation == SVC_SERVERKEYGEN)
        return factory_refuse(g, e, E_DENIED, "key-mode", "the order's devices make their own keys: simpleenroll");
    if (o->key_mode != ORDER_KEY_DEVICE && in->operation != SVC_SERVERKEYGEN)
        return factory_refuse(g, e, E_DENIED, "key-mode", "the order's keys are made for the device: serverkeygen");
    if (in->operation == SVC_SERVERKEYGEN && g->profile->keygen == KEYGEN_OFF)
        return factory_refuse(g, e, E_DENIED, "key-mode", "the order's profile makes no keys");
    return E_OK;
}

/* The order's time is for what begins: a reply that was lost is repeated outside it too. */
static bool is_lost_reply(struct core *c, struct work_order *o, const struct csr *csr, const char *device_id, int64_t now,
                          struct grant *g)
{
    const char *reason = g->unit.reason;
    struct err e = {0};
    struct unit_row u;
    bool same = false;

    if (factory_unit(c, o, device_id, false, now, g, &u, &e) == E_OK && !factory_is_over(&g->device))
        (void)(same_key(c, &u, csr, g, &same, &e) == E_OK);
    core_doubt(c, &e);
    g->unit.reason = reason;
    return same && g->repeat;
}

enum err_code factory_authorise(struct core *c, struct work_order *o, const struct svc_enroll *in, const struct csr *csr,
                                int64_t now, struct grant *g, struct err *e)
{
    struct factory_station st;
    char device_id[ID_MAX_LEN + 1];
    bool keygen = in->operation == SVC_SERVERKEYGEN, same;
    struct unit_row u;
    enum err_code code;

    if (in->operation == SVC_SIMPLEREENROLL)
        return factory_renew_station(c, in, csr, now, g, e);
    if ((code = admit(c, o, in, now, &st, g, e)) != E_OK || (code = enroll_device_id(csr, device_id, e)) != E_OK ||
        (code = enroll_check_request(in, csr, g, e)) != E_OK || (!keygen && (code = key_fits(c, csr, g, e)) != E_OK))
        return code;
    if ((code = factory_admit(o, &st, 0, ORDER_BEGIN, now, g, e)) != E_OK)
        return !keygen && is_lost_reply(c, o, csr, device_id, now, g) ? E_OK : code;
    if ((code = factory_unit(c, o, device_id, true, now, g, &u, e)) != E_OK)
        return code;
    g->unit.id = u.id;
    memcpy(g->credential, o->credential, sizeof(g->credential));
    if (factory_is_over(&g->device))
        return factory_refuse(g, e, E_DENIED, "unit-ended", "the device is stopped");
    if (!keygen && ((code = same_key(c, &u, csr, g, &same, e)) != E_OK || same))
        return code;
    if ((code = new_key(&u, &st, g, e)) != E_OK || (!keygen && (code = claim(c, csr, now, g, e)) != E_OK))
        return code;
    /* A key made here is claimed once it is there (issue.c); that of a reply that was lost is replaced like any other before the confirm. */
    if (keygen && (code = delivery_choose(c, in, csr, o->key_mode == ORDER_KEY_SERVER_ENCRYPTED, now, g, e)) != E_OK)
        return code;
    return factory_may_issue(c, o, &u, (enum unit_event)g->unit.event, g, e);
}

enum err_code factory_issued(struct core *c, struct grant *g, uint64_t cert, int64_t now, struct err *e)
{
    struct work_order *o = factory_live_by_id(c, g->unit.order);
    struct unit_cause why = {.by = &g->by, .station = g->unit.station, .badge = g->unit.badge, .tool = g->unit.tool, .cert = cert};
    char detail[ID_MAX_LEN + 32];
    enum unit_event event = (enum unit_event)g->unit.event;
    struct unit_row u;
    bool changed;
    enum err_code code;

    if (!o)
        return err_set(e, E_DENIED, "order-closed: the order was closed meanwhile");
    if (store_unit_by_id(c->store, g->unit.id, &u, e) != E_OK)
        return e->code;
    /* What was an issue when it was asked for may have become something else: confirmed, scrapped, closed. */
    if ((event == UNIT_DO_REKEY) != (u.state == UNIT_ISSUED || u.state == UNIT_HELD))
        return err_set(e, E_DENIED, "the unit changed meanwhile: it is %s", unit_state_name((enum unit_state)u.state));
    if ((code = factory_may_issue(c, o, &u, event, g, e)) != E_OK)
        return code;
    snprintf(detail, sizeof(detail), "{\"cert\":%llu}", (unsigned long long)cert);
    why.detail = detail;
    code = factory_change(c, o, &u, event, &why, now, &changed, e);
    return code == E_CONFLICT ? err_set(e, E_DENIED, "the unit changed meanwhile") : code;
}

enum err_code factory_refuse_unconfirmed(struct core *c, const struct device_facts *d, struct err *e)
{
    struct work_order *o = d->order_no[0] ? factory_live(c, d->order_no) : NULL;
    struct unit_row u;
    enum err_code code;

    if (!o)
        return E_OK;
    code = store_unit_find(c->store, o->id, d->id, &u, e);
    if (code == E_NOT_FOUND)
        return E_OK;
    if (code == E_OK && !unit_is_confirmed((enum unit_state)u.state))
        return err_set(e, E_DENIED, "the unit is not confirmed");
    return code;
}

/* ---- a station's own certificate ---- */

enum err_code factory_renew_station(struct core *c, const struct svc_enroll *in, const struct csr *csr, int64_t now,
                                    struct grant *g, struct err *e)
{
    struct factory_station st;
    struct cert leaf;
    struct cert_row row;
    char requester[ID_MAX_LEN + 16];
    enum err_code code;

    if (in->chain_n == 0 || in->verdict == SVC_CLIENT_NONE)
        return err_set(e, E_DENIED, "a station's certificate is needed here");
    if (factory_station(c, in->chain[0], now, &st, g, e) != E_OK || cert_read(in->chain[0], &leaf, e) != E_OK)
        return e->code;
    g->profile = conf_find_profile(c->conf, st.profile);
    if (!g->profile || g->profile->kind != PROFILE_STATION)
        return err_set(e, E_TOKEN, "profile \"%s\" of station %s is not in the configuration", st.profile, st.name);
    if (strcmp(st.domain, g->label->domain) != 0)
        return err_set(e, E_DENIED, "the station is of another domain");
    buf_add_bytes(&g->subject, leaf.subject);
    buf_add_bytes(&g->san, leaf.san);
    if (!buf_ok(&g->subject) || !buf_ok(&g->san))
        return err_set(e, E_NOMEM, "renewal");
    if ((code = enroll_check_request(in, csr, g, e)) != E_OK || (code = enroll_same_identity(g, csr, e)) != E_OK ||
        (code = key_fits(c, csr, g, e)) != E_OK)
        return code;
    memcpy(g->credential, st.cert_hash, sizeof(g->credential));
    g->renews = st.cert;
    g->not_after_max = st.not_after;
    text_copy(g->device.station, sizeof(g->device.station), st.name);
    text_copy(g->device.line, sizeof(g->device.line), st.line);
    snprintf(requester, sizeof(requester), "station:%s", st.name);
    code = store_cert_newest_by_requester(c->store, requester, PROFILE_STATION, &row, e);
    if (code == E_OK && row.status == CERT_GOOD && memcmp(row.spki_hash, csr->key.spki_hash, 32) == 0 &&
        memcmp(row.credential_hash, g->credential, 32) == 0 && now <= row.not_after)
        return answer_stored(&row, g, e);
    if (code != E_OK && code != E_NOT_FOUND)
        return code;
    if (factory_may_renew(c, st.id))
        return E_OK;
    g->retry_after_s = RENEW_EVERY_MS / 1000;
    return factory_refuse(g, e, E_BUSY, "renewed-often", "station %s has had %d certificates at once: one in %d s now", st.name,
                          RENEW_AT_ONCE, RENEW_EVERY_MS / 1000);
}
