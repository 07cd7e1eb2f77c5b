/* SPDX-License-Identifier: Apache-2.0 */
/* One unit through the steps: what is asked of the service and of the device, and what an answer means for the unit. */
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "enroll/client/station_int.h"

#define PAUSE_FIRST_S 0.25
#define PAUSE_MOST_S  30.0
#define BEGUN_AGAIN_MAX 2 /* a device that lost its key makes another; the order's allowance is the service's to count */

const char *const station_step_name[STATION_STEPS] = {"reserve", "issue", "write", "confirm", "pack", "ship"};

const char *const station_key_mode_name[STATION_KEY_MODES] = {"device", "server", "server-encrypted"};

/* What a step comes to. */
enum step_end { STEP_DONE, STEP_LEFT, STEP_REFUSED, STEP_DEVICE, STEP_CANNOT };

struct work {
    struct fixture *f;
    struct unit *u;
    struct outcome *out;
    const struct station_options *o;
    struct answer answer;
    struct data sent, got; /* to and from the device */
    struct data key;       /* made by the service, on its way to the device; nowhere else */
};

/* ---- refusals ------------------------------------------------------------------------------------------------------------ */

/* Refusals that are not about this unit: no other unit would fare better. */
static const char *const ends_order[] = {
    "unknown-order", "order-closed", "order-expired", "order-not-yet", "order-full",     "wrong-station",  "wrong-role",
    "station-revoked", "budget-spent", "budget-expired", "budget-missing", "unknown-firmware", "key-mode", "defer-used",
};

static enum step_end refused(struct work *w, const char *reason, const char *text)
{
    struct outcome *out = w->out;

    snprintf(out->reason, sizeof out->reason, "%s", reason[0] ? reason : "refused");
    snprintf(out->text, sizeof out->text, "%s", text);
    for (size_t i = 0; i < sizeof ends_order / sizeof *ends_order; i++)
        out->ends_order = out->ends_order || strcmp(reason, ends_order[i]) == 0;
    return STEP_REFUSED;
}

/* EST says nothing more of an order that is not open, nor of one whose profile makes no keys. */
static enum step_end no_such_path(struct work *w)
{
    if (w->o->key_mode == STATION_KEY_DEVICE)
        return refused(w, "unknown-order", "there is no such order");
    return refused(w, "key-mode", "there is no such order, or its profile makes no keys");
}

static enum step_end device_failed(struct work *w, const char *reason, const char *text)
{
    snprintf(w->out->reason, sizeof w->out->reason, "%s", reason);
    snprintf(w->out->text, sizeof w->out->text, "%s", text);
    return STEP_DEVICE;
}

static enum step_end cannot(struct work *w, const char *text)
{
    snprintf(w->out->reason, sizeof w->out->reason, "station");
    snprintf(w->out->text, sizeof w->out->text, "%s", text);
    return STEP_CANNOT;
}

/* ---- requests -------------------------------------------------------------------------------------------------------------- */

static double pause_next(double before)
{
    return before == 0 ? PAUSE_FIRST_S : before * 2 > PAUSE_MOST_S ? PAUSE_MOST_S : before * 2;
}

/* Repeats until something is decided. STEP_DONE: 200. */
static enum step_end ask(struct work *w, enum station_step step, const char *path, const char *type, const char *body)
{
    double pause = 0;

    for (;;) {
        enum call_result r = link_call(&w->f->link, path, type, body, &w->answer);
        char text[STATION_TEXT_MAX] = "", note[160];
        double seconds;

        if (r == CALL_OK)
            return STEP_DONE;
        if (step == STATION_ISSUE && w->answer.http.status == 202) { /* it comes later: the fixture is free for another unit */
            snprintf(w->out->reason, sizeof w->out->reason, "captured");
            return STEP_LEFT;
        }
        if (step == STATION_ISSUE && w->answer.http.status == 404 && !w->answer.reason[0])
            return no_such_path(w);
        if (r == CALL_REFUSED)
            return refused(w, w->answer.reason, w->answer.text);
        if (credentials_expired(w->f->link.creds, text))
            return cannot(w, text);
        pause = pause_next(pause);
        seconds = w->answer.http.retry_after_s ? w->answer.http.retry_after_s : pause;
        seconds *= 1 + (double)(random() % 1000) / 2000; /* fixtures do not come back together */
        snprintf(note, sizeof note, "again in %.0f s: %.120s", seconds, w->answer.text);
        station_note(w->f, step, note);
        station_count_retry(w->f->station, w->answer.text);
        if (!station_pause(w->f->station, seconds))
            return STEP_LEFT;
        station_note(w->f, step, "");
    }
}

/* {"badge",...} and what else the step says. The text is malloc'ed. */
static char *body_make(const struct work *w, json_t *more, bool firmware)
{
    json_t *j = more ? more : json_object();
    char *text;

    if (w->o->badge)
        json_object_set_new(j, "badge", json_string(w->o->badge));
    if (w->o->tool)
        json_object_set_new(j, "tool", json_string(w->o->tool));
    if (firmware && w->o->firmware)
        json_object_set_new(j, "firmware", json_string(w->o->firmware));
    text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    return text;
}

static enum step_end post(struct work *w, enum station_step step, const char *what, json_t *more, bool firmware)
{
    char path[256], *body = body_make(w, more, firmware);
    enum step_end end;

    if (!body)
        return cannot(w, "out of memory");
    if (step == STATION_RESERVE)
        snprintf(path, sizeof path, "/v1/factory/%s/reserve", w->o->order);
    else
        snprintf(path, sizeof path, "/v1/factory/%s/units/%s/%s", w->o->order, w->u->id, what);
    end = ask(w, step, path, "application/json", body);
    free(body);
    return end;
}

static bool journal_failed(struct work *w, bool written)
{
    if (written)
        return false;
    cannot(w, "the journal cannot be written");
    return true;
}

/* ---- the device ------------------------------------------------------------------------------------------------------------- */

static bool on_device(struct work *w, enum station_step step, const char *what)
{
    unsigned tries = w->o->device_tries ? w->o->device_tries : 3;
    char text[STATION_TEXT_MAX] = "", note[160];

    for (unsigned i = 0; i < tries; i++) {
        if (command_do(&w->f->command, what, w->u->id, &w->sent, &w->got, text))
            return true;
        snprintf(note, sizeof note, "device, %s: %.120s", what, text);
        station_note(w->f, step, note);
        if (i + 1 < tries && !station_pause(w->f->station, 0.1))
            break;
    }
    snprintf(note, sizeof note, "%s: %.140s", what, text);
    device_failed(w, "device", note);
    return false;
}

/* ---- steps ---------------------------------------------------------------------------------------------------------------------- */

static enum step_end reserve_given(struct work *w)
{
    return post(w, STATION_RESERVE, "", json_pack("{s:s}", "device_id", w->u->id), false);
}

/* The number comes from the order. The token went into the journal first, so that the same question gets the same number. */
static enum step_end reserve_allotted(struct work *w)
{
    struct station *s = w->f->station;
    enum step_end end = post(w, STATION_RESERVE, "", json_pack("{s:s}", "request", w->u->token), false);
    json_t *j;
    const char *id;
    bool ok;

    if (end != STEP_DONE)
        return end;
    j = json_loadb(w->answer.http.body, w->answer.http.body_len, 0, NULL);
    id = json_string_value(json_object_get(j, "device_id"));
    ok = id && *id && strlen(id) <= STATION_ID_MAX;
    if (ok) {
        station_lock(s);
        ok = journal_name(station_journal(s), w->u, id) != NULL;
        station_unlock(s);
    }
    json_decref(j);
    if (!ok)
        return refused(w, "bad-answer", "the service allotted no number, or one that this station has");
    return journal_failed(w, journal_write(station_journal(s), "name %s %s", w->u->token, w->u->id)) ? STEP_CANNOT : STEP_DONE;
}

/* The request as the device gave it, DER or PEM, in base64. */
static bool csr_to_base64(const struct data *csr, struct data *out, X509_REQ **req)
{
    const unsigned char *p = (const unsigned char *)csr->p;
    BIO *bio;
    struct data der = {0};
    unsigned char *made = NULL;
    int len;
    bool ok;

    *req = csr->len ? d2i_X509_REQ(NULL, &p, (long)csr->len) : NULL;
    if (!*req && csr->len) {
        bio = BIO_new_mem_buf(csr->p, (int)csr->len);
        *req = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
        BIO_free(bio);
    }
    ERR_clear_error();
    len = *req ? i2d_X509_REQ(*req, &made) : -1;
    ok = len > 0 && data_set(&der, made, (size_t)len) && data_to_base64(&der, out);
    OPENSSL_free(made);
    data_clear(&der);
    return ok;
}

static X509 *certificate_read(const struct data *der)
{
    const unsigned char *p = (const unsigned char *)der->p;
    X509 *cert = der->len ? d2i_X509(NULL, &p, (long)der->len) : NULL;

    ERR_clear_error();
    return cert;
}

/* The certificate of an EST answer; when `key` is given, only one of that key. */
static X509 *certificate_of(const struct data *cms, EVP_PKEY *key)
{
    struct device d = {0};
    STACK_OF(X509) *certs = NULL;
    X509 *cert = NULL;

    if (certs_only_read(&d, (const unsigned char *)cms->p, cms->len, &certs) == DEVICE_OK &&
        (!key || EVP_PKEY_eq(X509_get0_pubkey(sk_X509_value(certs, 0)), key) == 1))
        cert = sk_X509_shift(certs);
    sk_X509_pop_free(certs, X509_free);
    ERR_clear_error();
    return cert;
}

static enum step_end certificate_keep(struct work *w, X509 *cert)
{
    struct data der = {0}, base64 = {0};
    unsigned char *p = NULL;
    int len = i2d_X509(cert, &p);
    BIGNUM *bn = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
    char *serial = bn ? BN_bn2hex(bn) : NULL;
    bool ok = serial && len > 0 && data_set(&der, p, (size_t)len) && data_to_base64(&der, &base64);

    for (char *s = serial; s && *s; s++)
        *s = *s >= 'A' && *s <= 'F' ? (char)(*s + 'a' - 'A') : *s;
    if (ok) {
        ok = journal_write(station_journal(w->f->station), "issue %s %s %s", w->u->id, serial, base64.p);
        free(w->u->cert);
        w->u->cert = base64.p;
    }
    OPENSSL_free(p);
    OPENSSL_free(serial);
    BN_free(bn);
    data_clear(&der);
    return journal_failed(w, ok) ? STEP_CANNOT : STEP_DONE;
}

/* What simpleenroll answered. */
static enum step_end take_certificate(struct work *w, X509_REQ *req)
{
    const struct https_answer *a = &w->answer.http;
    struct data cms = {0};
    X509 *cert = data_from_base64(a->body, a->body_len, &cms) ? certificate_of(&cms, X509_REQ_get0_pubkey(req)) : NULL;
    enum step_end end = cert ? certificate_keep(w, cert) : refused(w, "bad-answer", "the answer holds no certificate of the device's key");

    X509_free(cert);
    data_clear(&cms);
    return end;
}

/* What serverkeygen answered. A key that does not reach the device is lost: the next request brings another (docs/keygen.md). */
static enum step_end take_parcel(struct work *w)
{
    const struct https_answer *a = &w->answer.http;
    struct parcel parcel = {0};
    char type[160];
    X509 *cert = NULL;
    enum step_end end;

    if (https_header(a, "Content-Type", type, sizeof type) && parcel_read(type, a->body, a->body_len, &parcel))
        cert = certificate_of(&parcel.certs, NULL);
    answer_clear(&w->answer);
    if (!cert)
        end = refused(w, "bad-answer", "the answer is not a key and its certificate");
    else if (w->o->key_mode == STATION_KEY_SERVER_ENCRYPTED && !parcel.is_wrapped)
        end = refused(w, "bad-answer", "the key is not encrypted");
    else
        end = certificate_keep(w, cert);
    if (end == STEP_DONE) {
        data_clear(&w->key);
        w->key = parcel.key;
        parcel.key = (struct data){0};
    }
    parcel_clear(&parcel);
    X509_free(cert);
    return end;
}

static enum step_end issue(struct work *w)
{
    bool made_there = w->o->key_mode != STATION_KEY_DEVICE;
    struct data base64 = {0};
    X509_REQ *req = NULL;
    char path[128];
    enum step_end end;

    data_clear(&w->sent);
    if (!data_set(&w->sent, "", 0))
        return cannot(w, "out of memory");
    if (!on_device(w, STATION_ISSUE, "csr"))
        return STEP_DEVICE;
    snprintf(path, sizeof path, "/.well-known/est/%s/%s", w->o->order, made_there ? "serverkeygen" : "simpleenroll");
    if (!csr_to_base64(&w->got, &base64, &req))
        end = device_failed(w, "device", "csr: what the device gave is not a certification request");
    else
        end = ask(w, STATION_ISSUE, path, "application/pkcs10", base64.p);
    if (end == STEP_DONE)
        end = made_there ? take_parcel(w) : take_certificate(w, req);
    X509_REQ_free(req);
    data_clear(&base64);
    return end;
}

/*
 * Hands over the key that came with the certificate. After a restart there is none: either the device had it before, or it
 * refuses the certificate and the unit is begun again.
 */
static bool write_key(struct work *w)
{
    bool ok;

    if (!w->key.p)
        return true;
    data_clear(&w->sent);
    w->sent = w->key;
    w->key = (struct data){0};
    ok = on_device(w, STATION_WRITE, "key");
    data_clear(&w->sent);
    return ok;
}

/* Writes the certificate; what the device reads back, when it does, must be the same. */
static enum step_end write_certificate(struct work *w)
{
    struct data der = {0};
    X509 *cert = NULL, *read = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    enum step_end end = STEP_DONE;
    char *pem;
    long len;

    if (!write_key(w)) {
        end = STEP_DEVICE;
        goto out;
    }
    if (w->u->cert && data_from_base64(w->u->cert, strlen(w->u->cert), &der))
        cert = certificate_read(&der);
    if (!cert || !bio || PEM_write_bio_X509(bio, cert) != 1) {
        end = cannot(w, "the certificate of the unit is not in the journal");
        goto out;
    }
    len = BIO_get_mem_data(bio, &pem);
    if (!data_set(&w->sent, pem, (size_t)len)) {
        end = cannot(w, "out of memory");
    } else if (!on_device(w, STATION_WRITE, "install")) {
        end = STEP_DEVICE;
    } else if (w->got.len) {
        BIO *in = BIO_new_mem_buf(w->got.p, (int)w->got.len);

        read = in ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;
        BIO_free(in);
        if (!read)
            read = certificate_read(&w->got);
        if (!read || X509_cmp(read, cert) != 0)
            end = device_failed(w, "read-back", "install: the device reads back another certificate than was written");
    }
out:
    ERR_clear_error();
    X509_free(cert);
    X509_free(read);
    BIO_free(bio);
    data_clear(&der);
    return end;
}

/* A secret for the unit passes through as a key of the service does. One that was lost is replaced by the next. */
static enum step_end write_secret(struct work *w)
{
    enum step_end end = post(w, STATION_WRITE, "secret", NULL, false);
    json_t *j;
    char *text;
    bool ok;

    if (end != STEP_DONE)
        return end;
    j = json_loadb(w->answer.http.body, w->answer.http.body_len, 0, NULL);
    answer_clear(&w->answer);
    text = (char *)(uintptr_t)json_string_value(json_object_get(j, "secret"));
    data_clear(&w->sent);
    ok = text && data_set(&w->sent, text, strlen(text));
    if (text)
        OPENSSL_cleanse(text, strlen(text));
    json_decref(j);
    if (!ok)
        return refused(w, "bad-answer", "the service told no secret");
    ok = on_device(w, STATION_WRITE, "secret");
    data_clear(&w->sent);
    return ok ? STEP_DONE : STEP_DEVICE;
}

static enum step_end write_unit(struct work *w)
{
    enum step_end end = write_certificate(w);

    return end == STEP_DONE && w->o->secrets ? write_secret(w) : end;
}

/* What the device or its fixture says of where the key lives. */
static enum step_end add_evidence(struct work *w, json_t *said)
{
    json_t *evidence;

    data_clear(&w->sent);
    if (!data_set(&w->sent, "", 0))
        return cannot(w, "out of memory");
    if (!on_device(w, STATION_CONFIRM, "evidence"))
        return STEP_DEVICE;
    evidence = json_loadb(w->got.p, w->got.len, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(evidence))
        return json_object_set_new(said, "evidence", evidence) == 0 ? STEP_DONE : cannot(w, "out of memory");
    json_decref(evidence);
    return device_failed(w, "device", "evidence: what the device gave is not a JSON object");
}

static enum step_end sign_challenge(struct work *w, json_t **said)
{
    struct data base64 = {0};
    char path[256], *challenge;
    enum step_end end;

    snprintf(path, sizeof path, "/v1/factory/%s/units/%s/challenge", w->o->order, w->u->id);
    end = ask(w, STATION_CONFIRM, path, NULL, NULL);
    if (end != STEP_DONE)
        return end;
    if (!data_set(&w->sent, w->answer.http.body, w->answer.http.body_len))
        return cannot(w, "out of memory");
    if (!on_device(w, STATION_CONFIRM, "sign"))
        return STEP_DEVICE;
    challenge = strdup(w->sent.p);
    if (challenge && data_to_base64(&w->got, &base64))
        *said = json_pack("{s:s,s:s}", "challenge", challenge, "signature", base64.p);
    free(challenge);
    data_clear(&base64);
    return *said ? STEP_DONE : cannot(w, "out of memory");
}

static enum step_end confirm_once(struct work *w)
{
    json_t *said = NULL;
    enum step_end end = sign_challenge(w, &said);

    if (end == STEP_DONE && w->o->evidence)
        end = add_evidence(w, said);
    if (end == STEP_DONE)
        return post(w, STATION_CONFIRM, "confirm", said, true);
    json_decref(said);
    return end;
}

/* A challenge that became old, or a device that signed badly, gets another try with a new one. */
static enum step_end confirm(struct work *w)
{
    unsigned tries = w->o->device_tries ? w->o->device_tries : 3;
    enum step_end end = STEP_LEFT;

    for (unsigned i = 0; i < tries; i++) {
        const char *reason = w->out->reason;

        end = confirm_once(w);
        if (end != STEP_REFUSED)
            break;
        if (strcmp(reason, "signature-wrong") != 0 && strcmp(reason, "challenge-stale") != 0 && strcmp(reason, "challenge-wrong") != 0)
            break;
        end = STEP_DEVICE;
    }
    return end;
}

static enum step_end pack(struct work *w)
{
    return post(w, STATION_PACK, "pack", w->o->carton ? json_pack("{s:s}", "carton", w->o->carton) : NULL, false);
}

static enum step_end ship(struct work *w)
{
    return post(w, STATION_SHIP, "ship", NULL, false);
}

static enum step_end reserve(struct work *w)
{
    return w->u->id[0] ? reserve_given(w) : reserve_allotted(w);
}

static enum step_end (*const steps[STATION_STEPS])(struct work *w) = {reserve, issue, write_unit, confirm, pack, ship};

/* ---- the order of steps ----------------------------------------------------------------------------------------------------------- */

static enum step_end step_run(struct work *w, enum station_step step)
{
    enum step_end end;

    station_note(w->f, step, "");
    end = steps[step](w);
    if (end == STEP_DONE && step != STATION_ISSUE && /* whose line holds the certificate */
        journal_failed(w, journal_write(station_journal(w->f->station), "%s %s", station_step_name[step], w->u->id)))
        end = STEP_CANNOT;
    if (end == STEP_DONE) {
        w->u->done |= 1u << step;
        *w->out = (struct outcome){.already = w->out->already};
    }
    w->out->step = step;
    return end;
}

/* The device made or kept nothing of use: from the request on again. A new key takes one of the order's re-keys. */
static bool begin_again(struct work *w)
{
    if (!journal_write(station_journal(w->f->station), "again %s", w->u->id))
        return false;
    w->u->done &= 1u << STATION_RESERVE;
    return true;
}

/* Another station, or this one before it lost its journal, has confirmed it: on with what comes after. */
static enum step_end confirmed_before(struct work *w)
{
    struct outcome *out = w->out;

    *out = (struct outcome){.already = true};
    if (journal_failed(w, journal_write(station_journal(w->f->station), "confirm %s", w->u->id)))
        return STEP_CANNOT;
    w->u->done |= 1u << STATION_RESERVE | 1u << STATION_ISSUE | 1u << STATION_WRITE | 1u << STATION_CONFIRM;
    return STEP_DONE;
}

void unit_run(struct fixture *f, struct unit *u, struct outcome *out)
{
    struct work w = {.f = f, .u = u, .out = out, .o = station_options_of(f->station)};
    unsigned begun_again = 0;
    enum step_end end = STEP_DONE;

    *out = (struct outcome){0};
    for (int step = 0; step < STATION_STEPS; step++) {
        if (!(w.o->steps & 1u << step) || (u->done & 1u << step))
            continue;
        end = step_run(&w, (enum station_step)step);
        if (end == STEP_REFUSED && step <= STATION_CONFIRM && strcmp(out->reason, "unit-confirmed") == 0)
            end = confirmed_before(&w);
        if (end == STEP_DEVICE && (step == STATION_WRITE || step == STATION_CONFIRM) && (w.o->steps & 1u << STATION_ISSUE) &&
            begun_again++ < BEGUN_AGAIN_MAX && !station_is_stopping(f->station) && begin_again(&w)) {
            step = -1;
            continue;
        }
        if (end != STEP_DONE)
            break;
    }
    out->what = end == STEP_DONE ? UNIT_DONE : end == STEP_LEFT ? UNIT_LEFT : UNIT_REFUSED;
    out->ends_station = end == STEP_CANNOT;
    if (end == STEP_DEVICE && station_is_stopping(f->station))
        out->what = UNIT_LEFT;
    answer_clear(&w.answer);
    data_clear(&w.sent);
    data_clear(&w.got);
    data_clear(&w.key);
}
