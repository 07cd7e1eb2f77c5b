/* SPDX-License-Identifier: Apache-2.0 */
/* Enrollment, renewal, anchors: the order of steps. */
#include "enroll/client/device.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enroll/client/device_int.h"

#define BACKOFF_FIRST_S 10
#define BACKOFF_MAX_S   3600
#define ANCHORS_EVERY_S 86400

static char open_error[512];

static char *own(struct device *d, size_t slot, const char *s)
{
    d->strings[slot] = s ? strdup(s) : NULL;
    return d->strings[slot];
}

static void own_options(struct device *d, const struct device_options *o)
{
    d->o = *o;
    d->o.dir = own(d, 0, o->dir);
    d->o.url = own(d, 1, o->url);
    d->o.anchor = own(d, 2, o->anchor);
    d->o.idevid_cert = own(d, 3, o->idevid_cert);
    d->o.idevid_key = own(d, 4, o->idevid_key);
    d->o.user = own(d, 5, o->user);
    d->o.password_file = own(d, 6, o->password_file);
    d->o.device_id = own(d, 7, o->device_id);
    d->o.key = own(d, 8, o->key);
}

static enum device_result check_options(struct device *d)
{
    struct stat st;

    if (!d->o.dir || !d->o.url)
        return device_fail(d, DEVICE_BROKEN, "a directory and a URL are needed");
    if (strncmp(d->o.url, "https://", 8) != 0)
        return device_fail(d, DEVICE_BROKEN, "%s: EST needs an https:// URL", d->o.url);
    if (d->o.url[strlen(d->o.url) - 1] == '/')
        d->strings[1][strlen(d->o.url) - 1] = 0;
    if (d->o.renew_percent > 99)
        return device_fail(d, DEVICE_BROKEN, "renewal at %u %% of the life: 1 to 99", d->o.renew_percent);
    if (mkdir(d->o.dir, 0700) != 0 && errno != EEXIST)
        return device_fail(d, DEVICE_BROKEN, "%s: %s", d->o.dir, strerror(errno));
    if (d->o.password_file && stat(d->o.password_file, &st) == 0 && (st.st_mode & 077))
        return device_fail(d, DEVICE_BROKEN, "%s can be read by others: chmod 600", d->o.password_file);
    return DEVICE_OK;
}

enum device_result device_open(const struct device_options *o, struct device **out)
{
    struct device *d = calloc(1, sizeof *d);
    enum device_result r;

    *out = NULL;
    if (!d) {
        snprintf(open_error, sizeof open_error, "out of memory");
        return DEVICE_BROKEN;
    }
    own_options(d, o);
    r = check_options(d);
    if (r == DEVICE_OK)
        r = credential_find(d);
    if (r != DEVICE_OK) {
        memcpy(open_error, d->error, sizeof open_error);
        device_close(d);
        return r;
    }
    *out = d;
    return DEVICE_OK;
}

void device_close(struct device *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < sizeof d->strings / sizeof *d->strings; i++)
        free(d->strings[i]);
    free(d);
}

const char *device_error(const struct device *d)
{
    return d ? d->error : open_error;
}

unsigned device_retry_after(const struct device *d)
{
    return d->retry_after;
}

static time_t asn1_time(const ASN1_TIME *t)
{
    struct tm tm = {0};

    return t && ASN1_TIME_to_tm(t, &tm) == 1 ? timegm(&tm) : 0;
}

/* --- what came back --- */

/* The issued certificate is the one with our key (RFC 7030 4.2.3 sends it alone; some servers add CAs). */
static X509 *pick_leaf(STACK_OF(X509) *certs, EVP_PKEY *key)
{
    for (int i = 0; i < sk_X509_num(certs); i++) {
        EVP_PKEY *public = X509_get0_pubkey(sk_X509_value(certs, i));

        if (public && EVP_PKEY_eq(public, key) == 1)
            return sk_X509_value(certs, i);
    }
    return NULL;
}

/* CA certificates from cacerts, needed to chain what was issued. */
static enum device_result fetch_cacerts(struct device *d, STACK_OF(X509) **out)
{
    struct est_call call = {.operation = "cacerts"};
    unsigned char *der;
    size_t len;
    enum device_result r = est_call(d, &call, &der, &len);

    *out = NULL;
    if (r != DEVICE_OK)
        return r;
    r = certs_only_read(d, der, len, out);
    free(der);
    return r;
}

/* A certificate that does not chain to our anchors is worth nothing: better to keep what we have. */
static enum device_result check_issued(struct device *d, X509 *cert, STACK_OF(X509) *helpers)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    STACK_OF(X509) *anchors = NULL;
    enum device_result r = anchors_load(d, &anchors);
    int ok = 0;

    for (int i = 0; store && anchors && i < sk_X509_num(anchors); i++)
        X509_STORE_add_cert(store, sk_X509_value(anchors, i));
    if (r == DEVICE_OK && store && ctx && X509_STORE_CTX_init(ctx, store, cert, helpers) == 1) {
        if (device_now(d) < clock_floor(d))
            X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_NO_CHECK_TIME);
        ok = X509_verify_cert(ctx);
        if (ok != 1)
            r = device_fail(d, DEVICE_AGAIN, "the issued certificate does not chain to a trust anchor: %s",
                            X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    }
    if (r == DEVICE_OK && ok != 1)
        r = device_fail(d, DEVICE_BROKEN, "out of memory");
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    sk_X509_pop_free(anchors, X509_free);
    ERR_clear_error();
    return r;
}

static enum device_result take_certificate(struct device *d, const struct device_key *key, const unsigned char *der, size_t len)
{
    STACK_OF(X509) *certs = NULL, *helpers = NULL;
    X509 *leaf = NULL;
    enum device_result r = certs_only_read(d, der, len, &certs);

    if (r == DEVICE_OK) {
        leaf = pick_leaf(certs, key->pkey);
        if (!leaf)
            r = device_fail(d, DEVICE_AGAIN, "the answer holds no certificate for our key");
    }
    if (r == DEVICE_OK)
        r = fetch_cacerts(d, &helpers);
    if (r == DEVICE_OK)
        r = check_issued(d, leaf, helpers);
    if (r == DEVICE_OK)
        r = credential_store(d, key, leaf);
    if (r == DEVICE_OK)
        clock_floor_raise(d, asn1_time(X509_get0_notBefore(leaf)));
    sk_X509_pop_free(certs, X509_free);
    sk_X509_pop_free(helpers, X509_free);
    return r;
}

/* --- requests --- */

/* Does the service want the channel binding (challengePassword in csrattrs, RFC 8951 4)? */
static enum device_result binding_is_wanted(struct device *d, bool *wanted)
{
    static const unsigned char challenge_password[] = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x07};
    struct est_call call = {.operation = "csrattrs"};
    unsigned char *der;
    size_t len;
    enum device_result r;

    *wanted = d->o.bind;
    if (d->o.bind)
        return DEVICE_OK;
    r = est_call(d, &call, &der, &len);
    if (r == DEVICE_REFUSED)
        return DEVICE_OK; /* csrattrs is optional (RFC 7030 4.5) */
    if (r != DEVICE_OK)
        return r;
    for (size_t i = 0; i + sizeof challenge_password <= len && !*wanted; i++)
        *wanted = memcmp(der + i, challenge_password, sizeof challenge_password) == 0;
    free(der);
    return DEVICE_OK;
}

static enum device_result request_certificate(struct device *d, const char *operation, const struct credential *client,
                                              bool with_password, struct csr_request *request)
{
    struct est_call call = {operation, client, with_password, request};
    struct device_key key;
    unsigned char *der;
    size_t len;
    enum device_result r = binding_is_wanted(d, &request->bind);

    if (r == DEVICE_OK)
        r = pending_key(d, &key);
    if (r != DEVICE_OK)
        return r;
    request->key = &key;
    r = est_call(d, &call, &der, &len);
    if (r == DEVICE_OK)
        r = take_certificate(d, &key, der, len);
    free(der);
    key_close(&key);
    return r;
}

enum device_result device_enroll(struct device *d, bool again)
{
    struct credential birth = {0};
    struct csr_request request = {.device_id = d->o.device_id};
    bool has_birth = d->o.idevid_cert != NULL, has_password = d->o.user && d->o.password_file;
    enum device_result r;

    if (d->generation && !again)
        return DEVICE_OK;
    if (!has_birth && !has_password && !d->o.bind)
        return device_fail(d, DEVICE_BROKEN, "first enrollment needs a birth certificate, a user with a password file, or --bind "
                                             "with the key that was registered when the device was made");
    if (!has_birth && !d->o.device_id)
        return device_fail(d, DEVICE_BROKEN, "enrollment without a birth certificate needs the device id");
    if (has_birth) {
        r = credential_load_birth(d, &birth);
        if (r != DEVICE_OK)
            return r;
        request.like = birth.cert;
        clock_floor_raise(d, asn1_time(X509_get0_notBefore(birth.cert)));
    }
    r = request_certificate(d, "simpleenroll", has_birth ? &birth : NULL, has_password, &request);
    credential_close(&birth);
    return r;
}

enum device_result device_renew(struct device *d)
{
    struct credential old;
    struct csr_request request = {.same_names = true};
    enum device_result r = credential_load(d, &old);

    if (r != DEVICE_OK)
        return r;
    request.like = old.cert;
    r = request_certificate(d, "simplereenroll", &old, false, &request);
    credential_close(&old);
    return r;
}

enum device_result device_prove(struct device *d)
{
    struct credential c;
    struct est_call call = {.operation = "cacerts", .client = &c};
    unsigned char *der;
    size_t len;
    enum device_result r = credential_load(d, &c);

    if (r != DEVICE_OK)
        return r;
    r = est_call(d, &call, &der, &len);
    free(der);
    credential_close(&c);
    return r == DEVICE_OK ? credential_drop_previous(d) : r;
}

/* RFC 7030 4.1.3: what a verified service publishes replaces the anchors; self-signed certificates that are CAs only. */
enum device_result device_update_anchors(struct device *d)
{
    STACK_OF(X509) *published = NULL, *anchors = sk_X509_new_null();
    enum device_result r = anchors ? fetch_cacerts(d, &published) : device_fail(d, DEVICE_BROKEN, "out of memory");

    for (int i = 0; published && i < sk_X509_num(published); i++) {
        X509 *x = sk_X509_value(published, i);

        if (X509_check_ca(x) == 1 && X509_self_signed(x, 1) == 1)
            sk_X509_push(anchors, x);
    }
    ERR_clear_error();
    if (r == DEVICE_OK && sk_X509_num(anchors) == 0)
        r = device_fail(d, DEVICE_AGAIN, "cacerts holds no self-signed CA: the trust anchors stay as they are");
    if (r == DEVICE_OK)
        r = anchors_store(d, anchors);
    sk_X509_free(anchors);
    sk_X509_pop_free(published, X509_free);
    return r;
}

/* --- status --- */

static time_t renew_time(const struct device *d, time_t not_before, time_t not_after)
{
    unsigned percent = d->o.renew_percent ? d->o.renew_percent : 66;

    return not_before + (not_after - not_before) / 100 * (time_t)percent;
}

static void serial_text(const X509 *cert, char *out, size_t size)
{
    BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
    char *hex = n ? BN_bn2hex(n) : NULL;

    snprintf(out, size, "%s", hex ? hex : "");
    for (char *p = out; *p; p++)
        *p = (char)(*p >= 'A' && *p <= 'F' ? *p - 'A' + 'a' : *p);
    OPENSSL_free(hex);
    BN_free(n);
}

enum device_result device_status(struct device *d, struct device_status *out)
{
    struct credential c;
    STACK_OF(X509) *anchors = NULL;
    enum device_result r;

    *out = (struct device_status){.generation = d->generation, .enrolled = d->generation != 0};
    out->clock_is_doubtful = device_now(d) < clock_floor(d);
    if (anchors_load(d, &anchors) == DEVICE_OK)
        out->anchors = (size_t)sk_X509_num(anchors);
    sk_X509_pop_free(anchors, X509_free);
    if (!out->enrolled)
        return DEVICE_OK;
    r = credential_load(d, &c);
    if (r != DEVICE_OK)
        return r;
    X509_NAME_oneline(X509_get_subject_name(c.cert), out->subject, sizeof out->subject);
    X509_NAME_oneline(X509_get_issuer_name(c.cert), out->issuer, sizeof out->issuer);
    serial_text(c.cert, out->serial, sizeof out->serial);
    out->not_before = asn1_time(X509_get0_notBefore(c.cert));
    out->not_after = asn1_time(X509_get0_notAfter(c.cert));
    out->renew_at = renew_time(d, out->not_before, out->not_after);
    out->previous_kept = credential_previous_is_there(d);
    credential_close(&c);
    return DEVICE_OK;
}

/* --- the daemon --- */

struct loop {
    struct device *d;
    bool (*stop)(void *);
    void (*report)(void *, const char *);
    void *arg;
    unsigned backoff;
    time_t anchors_at;          /* of the last successful look */
    time_t renew_at, not_after; /* of the credential in use; renew_at with jitter */
};

static void say(struct loop *l, const char *fmt, const char *detail)
{
    char line[640];

    if (!l->report)
        return;
    snprintf(line, sizeof line, "%s%s%s", fmt, *detail ? ": " : "", detail);
    l->report(l->arg, line);
}

static unsigned random_below(unsigned n)
{
    unsigned v = 0;

    if (n == 0 || RAND_bytes((unsigned char *)&v, sizeof v) != 1)
        return 0;
    return v % n;
}

/* false when told to stop. */
static bool rest(struct loop *l, unsigned seconds)
{
    for (unsigned i = 0; i < seconds; i++) {
        if (l->stop && l->stop(l->arg))
            return false;
        sleep(1);
    }
    return !(l->stop && l->stop(l->arg));
}

/* How long until the next try after a failure: what the service asked for, else full jitter over a doubling bound. */
static unsigned wait_after_failure(struct loop *l, enum device_result r)
{
    unsigned asked = l->d->retry_after;

    if (r == DEVICE_PENDING || (r == DEVICE_AGAIN && asked)) {
        l->backoff = BACKOFF_FIRST_S;
        if (asked == 0)
            asked = BACKOFF_FIRST_S;
        return (asked > BACKOFF_MAX_S * 24 ? BACKOFF_MAX_S * 24 : asked) + random_below(asked / 10 + 1);
    }
    l->backoff = l->backoff ? l->backoff * 2 : BACKOFF_FIRST_S;
    if (l->backoff > BACKOFF_MAX_S)
        l->backoff = BACKOFF_MAX_S;
    return 1 + random_below(l->backoff);
}

static time_t jitter(time_t renew_at, time_t not_before, time_t not_after)
{
    time_t span = (not_after - not_before) / 20;

    return renew_at + (time_t)random_below(span > 0 && span < 0x7fffffff ? (unsigned)span : 1);
}

/* One step of the life; *wait is how long to rest after it. */
static enum device_result live(struct loop *l, unsigned *wait)
{
    struct device *d = l->d;
    enum device_result r;
    time_t now = device_now(d);

    *wait = 60;
    if (!d->generation) {
        r = device_enroll(d, false);
        say(l, r == DEVICE_OK ? "enrolled" : "enrollment failed", r == DEVICE_OK ? "" : d->error);
    } else if (now >= l->not_after && d->o.idevid_cert) { /* too late to renew: the birth identity is the way back */
        r = device_enroll(d, true);
        say(l, r == DEVICE_OK ? "enrolled again" : "enrollment after the end failed", r == DEVICE_OK ? "" : d->error);
    } else if (credential_previous_is_there(d)) {
        r = device_prove(d);
        say(l, r == DEVICE_OK ? "new credential in use" : "new credential not proven", r == DEVICE_OK ? "" : d->error);
    } else if (now >= l->renew_at) {
        r = device_renew(d);
        say(l, r == DEVICE_OK ? "renewed" : "renewal failed", r == DEVICE_OK ? "" : d->error);
    } else if (now - l->anchors_at >= ANCHORS_EVERY_S || now < l->anchors_at) {
        r = device_update_anchors(d);
        if (r == DEVICE_OK)
            l->anchors_at = now;
        else
            say(l, "trust anchors not updated", d->error);
    } else {
        clock_floor_raise(d, now);
        *wait = l->renew_at - now < 60 ? (unsigned)(l->renew_at - now) + 1 : 60;
        return DEVICE_OK;
    }
    if (r == DEVICE_OK) {
        l->backoff = 0;
        *wait = 0;
    } else {
        *wait = wait_after_failure(l, r);
    }
    return r;
}

enum device_result device_run(struct device *d, bool (*stop)(void *), void (*report)(void *, const char *line), void *arg)
{
    struct loop l = {.d = d, .stop = stop, .report = report, .arg = arg};
    struct device_status status;
    unsigned generation = 0, wait = 0;

    while (rest(&l, wait)) {
        if (d->generation && d->generation != generation) {
            if (device_status(d, &status) != DEVICE_OK)
                return DEVICE_BROKEN;
            generation = d->generation;
            l.renew_at = jitter(status.renew_at, status.not_before, status.not_after);
            l.not_after = status.not_after;
        }
        if (live(&l, &wait) == DEVICE_BROKEN)
            return DEVICE_BROKEN;
    }
    return DEVICE_OK;
}
