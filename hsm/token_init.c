/* SPDX-License-Identifier: Apache-2.0 */
#include "hsm/token_init.h"

#include <libp11.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/log.h"
#include "hsm/p11.h"
#include "hsm/pin.h"

AUTO_TYPE(X509, X509_free)

#define SLOTS_TRIES    10
#define READ_TRIES     3
#define SLOTS_PAUSE_US 100000

struct slots {
    PKCS11_CTX *ctx;
    PKCS11_SLOT *list;
    unsigned n;
    bool loaded;
};

static void slots_close(struct slots *s)
{
    if (s->list)
        PKCS11_release_all_slots(s->ctx, s->list, s->n);
    if (s->loaded)
        PKCS11_CTX_unload(s->ctx);
    if (s->ctx)
        PKCS11_CTX_free(s->ctx);
    *s = (struct slots){0};
}

/*
 * SoftHSM's tokens of one directory disturb each other: while another process makes or opens its token, the list of slots
 * can fail with CKR_GENERAL_ERROR. Reading it again harms nothing.
 */
static enum err_code slots_read(struct slots *s, struct err *e)
{
    if (s->list)
        PKCS11_release_all_slots(s->ctx, s->list, s->n);
    s->list = NULL;
    s->n = 0;
    for (int i = 1; PKCS11_enumerate_slots(s->ctx, &s->list, &s->n) != 0; i++) {
        err_openssl(e, E_TOKEN, "PKCS11_enumerate_slots");
        if (i == READ_TRIES)
            return E_TOKEN;
        usleep(SLOTS_PAUSE_US);
    }
    return E_OK;
}

static enum err_code slots_try(struct slots *s, const struct conf_token *conf, struct err *e)
{
    *s = (struct slots){0};
    s->ctx = PKCS11_CTX_new();
    if (!s->ctx)
        return err_set(e, E_NOMEM, "libp11 context");
    if (conf->init_args[0])
        PKCS11_CTX_init_args(s->ctx, conf->init_args);
    if (PKCS11_CTX_load(s->ctx, conf->module) != 0)
        return err_openssl(e, E_TOKEN, "PKCS11_CTX_load");
    s->loaded = true;
    return slots_read(s, e);
}

/* What disturbed it can outlast the initialised module; a new one starts afresh. */
static enum err_code slots_open(struct slots *s, const struct conf_token *conf, struct err *e)
{
    struct err why = {0};

    for (int i = 0; i < SLOTS_TRIES; i++) {
        if (slots_try(s, conf, &why) == E_OK)
            return E_OK;
        slots_close(s);
        usleep(SLOTS_PAUSE_US);
    }
    return err_set(e, why.code, "%s", why.msg);
}

static bool serial_fits(const PKCS11_TOKEN *t, const struct conf_token *conf)
{
    return conf->serial[0] == '\0' || (t->serialnr && strcmp(t->serialnr, conf->serial) == 0);
}

static PKCS11_SLOT *slot_of_token(const struct slots *s, const struct conf_token *conf)
{
    for (unsigned i = 0; i < s->n; i++) {
        const PKCS11_TOKEN *t = s->list[i].token;

        if (t && t->initialized && t->label && strcmp(t->label, conf->label) == 0 && serial_fits(t, conf))
            return &s->list[i];
    }
    return NULL;
}

static PKCS11_SLOT *free_slot(const struct slots *s, const struct conf_token *conf)
{
    for (unsigned i = 0; i < s->n; i++) {
        const PKCS11_TOKEN *t = s->list[i].token;

        if (t && !t->initialized && serial_fits(t, conf))
            return &s->list[i];
    }
    return NULL;
}

/* libp11 keeps the PKCS#11 result as the reason of its error. */
static CK_RV last_result(void)
{
    unsigned long err = ERR_peek_last_error();

    return ERR_GET_LIB(err) == ERR_get_CKR_code() ? (CK_RV)ERR_GET_REASON(err) : CKR_GENERAL_ERROR;
}

/* Login through libp11 under the journal's rules. */
static enum err_code login(PKCS11_SLOT *slot, enum pin_role role, const struct conf_token *conf, const char *dir_state,
                           const struct pin *pin, struct err *e)
{
    const char *serial = slot->token->serialnr ? slot->token->serialnr : "";
    struct pin_attempt attempt;
    enum pin_outcome outcome;
    struct err journal = {0};
    enum err_code rc;

    if (role == PIN_USER ? slot->token->userPinFinalTry : slot->token->soPinFinalTry)
        return err_set(e, E_DENIED, "token \"%s\": only one PIN try is left before the token locks; not used up",
                       conf->name);
    if (PKCS11_open_session(slot, 1) != 0)
        return err_openssl(e, E_TOKEN, "PKCS11_open_session");
    rc = pin_attempt_begin(dir_state, conf->name, role, serial, pin, &attempt, e);
    if (rc != E_OK)
        return rc;
    ERR_clear_error();
    rc = PKCS11_login(slot, role == PIN_SO, pin->text) == 0 ? E_OK : E_TOKEN;
    outcome = rc == E_OK ? PIN_ACCEPTED : pin_outcome(last_result());
    if (rc != E_OK)
        err_openssl(e, E_TOKEN, "PKCS11_login");
    if (rc != E_OK && outcome == PIN_REFUSED) {
        rc = E_DENIED;
        if (e)
            e->code = E_DENIED;
    }
    if (pin_attempt_end(&attempt, outcome, &journal) != E_OK)
        return err_set(e, E_IO, "%.400s", journal.msg);
    return rc;
}

static void note(const char *event, const struct conf_token *conf, const char *key, const char *value)
{
    struct log_line l;

    log_begin(&l, LOG_INFO, event);
    log_str(&l, "token", conf->name);
    log_str(&l, key, value);
    log_end(&l);
}

static enum err_code read_pins(const struct conf_token *conf, struct pin *so, struct pin *user, struct err *e)
{
    static const char *const what[] = {"so_pin", "pin"};
    const char *source[] = {conf->so_pin, conf->pin};
    struct pin *pin[] = {so, user};

    for (size_t i = 0; i < ARRAY_LEN(pin); i++) {
        bool made;
        enum err_code rc = pin_make_missing(source[i], &made, e);

        if (rc == E_OK && made)
            note("token-pin-made", conf, "source", source[i]);
        if (rc == E_OK)
            rc = pin_read(source[i], pin[i], e);
        if (rc != E_OK)
            return err_wrap(e, "%s of token \"%s\"", what[i], conf->name);
    }
    if (so->len == user->len && memcmp(so->text, user->text, so->len) == 0)
        return err_set(e, E_INVALID, "token \"%s\": SO PIN and user PIN are the same", conf->name);
    return E_OK;
}

/* PKCS#11 takes a label of exactly 32 octets, filled with blanks, and libp11 passes on what it is given. */
static enum err_code init_slot(PKCS11_SLOT *slot, const struct conf_token *conf, const struct pin *so, struct err *e)
{
    char label[33];
    size_t n = strlen(conf->label);

    if (n == 0 || n > 32)
        return err_set(e, E_INVALID, "token \"%s\": label of %zu octets, must be 1 to 32", conf->name, n);
    memset(label, ' ', 32);
    memcpy(label, conf->label, n);
    label[32] = '\0';
    if (PKCS11_init_token(slot->token, so->text, label) != 0)
        return err_openssl(e, E_TOKEN, "PKCS11_init_token");
    return E_OK;
}

static enum err_code initialise(struct slots *s, const struct conf_token *conf, const char *dir_state, struct err *e)
{
    struct pin so = {NULL, 0}, user = {NULL, 0};
    PKCS11_SLOT *slot = slot_of_token(s, conf), *empty = free_slot(s, conf);
    enum err_code rc;

    if (slot && slot->token->userPinSet)
        return err_set(e, E_CONFLICT, "token \"%s\" (label \"%s\") is already initialised", conf->name, conf->label);
    if (!slot && !empty)
        return err_set(e, E_NOT_FOUND, "token \"%s\": the module has no free slot%s", conf->name,
                       conf->serial[0] ? " with that serial" : "");
    rc = read_pins(conf, &so, &user, e);
    if (rc == E_OK && !slot) {
        rc = init_slot(empty, conf, &so, e);
        if (rc == E_OK) /* slot numbers may have changed */
            rc = slots_read(s, e);
        if (rc == E_OK && !(slot = slot_of_token(s, conf)))
            rc = err_set(e, E_TOKEN, "token \"%s\" does not show up after its initialisation", conf->name);
    }
    if (rc == E_OK)
        rc = login(slot, PIN_SO, conf, dir_state, &so, e);
    if (rc == E_OK && PKCS11_init_pin(slot->token, user.text) != 0)
        rc = err_openssl(e, E_TOKEN, "PKCS11_init_pin");
    if (rc == E_OK)
        (void)PKCS11_logout(slot);
    pin_clear(&so);
    pin_clear(&user);
    if (rc == E_OK)
        rc = pin_unblock(dir_state, conf->name, e);
    return rc;
}

enum err_code token_initialise(const struct conf_token *conf, const char *dir_state, struct err *e)
{
    struct slots s;
    enum err_code rc = slots_open(&s, conf, e);

    if (rc == E_OK)
        rc = initialise(&s, conf, dir_state, e);
    slots_close(&s);
    if (rc == E_OK)
        note("token-initialised", conf, "label", conf->label);
    return rc;
}

static bool is_stored(PKCS11_TOKEN *token, X509 *cert)
{
    PKCS11_CERT *certs = NULL;
    unsigned n = 0;

    if (PKCS11_enumerate_certs(token, &certs, &n) != 0)
        return false;
    for (unsigned i = 0; i < n; i++)
        if (certs[i].x509 && X509_cmp(certs[i].x509, cert) == 0)
            return true;
    return false;
}

static enum err_code store(struct slots *s, const struct conf_token *conf, const char *dir_state, struct bytes cka_id,
                           const char *label, X509 *cert, struct err *e)
{
    struct pin pin = {NULL, 0};
    PKCS11_SLOT *slot = slot_of_token(s, conf);
    unsigned char id[64];
    char text[256];
    enum err_code rc;

    if (!slot)
        return err_set(e, E_NOT_FOUND, "token \"%s\": no token with label \"%s\"", conf->name, conf->label);
    rc = pin_read(conf->pin, &pin, e);
    if (rc == E_OK)
        rc = login(slot, PIN_USER, conf, dir_state, &pin, e);
    pin_clear(&pin);
    if (rc != E_OK || is_stored(slot->token, cert))
        return rc;
    memcpy(id, cka_id.p, cka_id.len);
    snprintf(text, sizeof(text), "%s", label);
    ERR_clear_error();
    if (PKCS11_store_certificate(slot->token, cert, text, id, cka_id.len, NULL) != 0)
        return err_openssl(e, E_TOKEN, "PKCS11_store_certificate");
    return E_OK;
}

enum err_code token_store_cert(const struct conf_token *conf, const char *dir_state, struct bytes cka_id,
                               const char *label, struct bytes der, struct err *e)
{
    AUTO(X509) *cert = NULL;
    const unsigned char *p = der.p;
    struct slots s;
    enum err_code rc;

    if (cka_id.len == 0 || cka_id.len > 64 || der.len > CERT_MAX_LEN)
        return err_set(e, E_INVALID, "certificate object: CKA_ID of %zu octets, DER of %zu", cka_id.len, der.len);
    cert = d2i_X509(NULL, &p, (long)der.len);
    if (!cert || p != der.p + der.len)
        return err_openssl(e, E_INVALID, "certificate object: d2i_X509");
    rc = slots_open(&s, conf, e);
    if (rc == E_OK)
        rc = store(&s, conf, dir_state, cka_id, label, cert, e);
    slots_close(&s);
    return rc;
}
