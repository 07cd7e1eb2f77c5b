/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to the service over one kept-alive connection, what the answers mean, and the station's own certificate. */
#include <ctype.h>
#include <jansson.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "enroll/client/station_int.h"

#define RENEW_SHARE_NUM 2 /* of the life: two thirds */
#define RENEW_SHARE_DEN 3

/* ---- octets ---------------------------------------------------------------------------------------------------------- */

void data_clear(struct data *d)
{
    if (d->p)
        OPENSSL_cleanse(d->p, d->len);
    free(d->p);
    *d = (struct data){0};
}

bool data_set(struct data *d, const void *p, size_t len)
{
    data_clear(d);
    d->p = malloc(len + 1);
    if (!d->p)
        return false;
    if (len)
        memcpy(d->p, p, len);
    d->p[len] = '\0';
    d->len = len;
    return true;
}

bool data_to_base64(const struct data *in, struct data *out)
{
    data_clear(out);
    out->p = malloc((in->len + 2) / 3 * 4 + 1);
    if (!out->p)
        return false;
    out->len = (size_t)EVP_EncodeBlock((unsigned char *)out->p, (const unsigned char *)in->p, (int)in->len);
    return true;
}

bool data_from_base64(const char *text, size_t text_len, struct data *out)
{
    unsigned char *p;
    size_t len;

    data_clear(out);
    if (!est_base64_decode(text, text_len, &p, &len))
        return false;
    *out = (struct data){(char *)p, len};
    return true;
}

/* ---- the station's key and certificate ---------------------------------------------------------------------------------- */

struct credentials {
    pthread_mutex_t lock; /* of leaf and generation */
    struct device_key key;
    X509 *leaf;
    STACK_OF(X509) *chain, *anchors;
    unsigned generation;
    const char *file;
};

static STACK_OF(X509) *certificates_read(const char *path, char error[512])
{
    struct device d = {0};
    STACK_OF(X509) *out = sk_X509_new_null();
    char *pem = NULL;
    size_t len = 0;
    BIO *bio;
    X509 *one;

    if (!out || file_load(&d, path, 1024 * 1024, &pem, &len) != DEVICE_OK) {
        snprintf(error, 512, "%s", d.error[0] ? d.error : "out of memory");
        sk_X509_free(out);
        return NULL;
    }
    bio = BIO_new_mem_buf(pem, (int)len);
    while (bio && (one = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
        sk_X509_push(out, one);
    BIO_free(bio);
    free(pem);
    ERR_clear_error();
    if (sk_X509_num(out) == 0) {
        snprintf(error, 512, "%s holds no certificate in PEM", path);
        sk_X509_free(out);
        return NULL;
    }
    return out;
}

struct credentials *credentials_load(const struct station_options *o, char error[512])
{
    struct credentials *c = calloc(1, sizeof *c);
    struct device d = {0};

    if (!c)
        return NULL;
    pthread_mutex_init(&c->lock, NULL);
    c->file = o->cert;
    c->anchors = certificates_read(o->ca, error);
    c->chain = c->anchors ? certificates_read(o->cert, error) : NULL;
    if (!c->chain) {
        credentials_free(c);
        return NULL;
    }
    c->leaf = sk_X509_shift(c->chain);
    if (key_open(&d, o->key, &c->key) != DEVICE_OK) {
        snprintf(error, 512, "%s", d.error);
    } else if (X509_check_private_key(c->leaf, c->key.pkey) != 1) {
        snprintf(error, 512, "%s is not the key of %s", o->key, o->cert);
    } else {
        return c;
    }
    ERR_clear_error();
    credentials_free(c);
    return NULL;
}

void credentials_free(struct credentials *c)
{
    if (!c)
        return;
    key_close(&c->key);
    X509_free(c->leaf);
    sk_X509_pop_free(c->chain, X509_free);
    sk_X509_pop_free(c->anchors, X509_free);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static X509 *leaf_get1(struct credentials *c, unsigned *generation)
{
    X509 *leaf;

    pthread_mutex_lock(&c->lock);
    leaf = c->leaf;
    X509_up_ref(leaf);
    *generation = c->generation;
    pthread_mutex_unlock(&c->lock);
    return leaf;
}

static time_t time_of(const ASN1_TIME *t)
{
    struct tm tm = {0};

    return t && ASN1_TIME_to_tm(t, &tm) == 1 ? timegm(&tm) : 0;
}

bool credentials_expired(struct credentials *c, char text[STATION_TEXT_MAX])
{
    unsigned generation;
    X509 *leaf = leaf_get1(c, &generation);
    time_t end = time_of(X509_get0_notAfter(leaf));
    struct tm tm;

    X509_free(leaf);
    if (end >= time(NULL) || !gmtime_r(&end, &tm))
        return false;
    strftime(text, STATION_TEXT_MAX, "the certificate of this station ended at %Y-%m-%dT%H:%M:%SZ: inkan station add gives the next one", &tm);
    return true;
}

/* ---- one request ------------------------------------------------------------------------------------------------------- */

static bool lend(void *arg, struct https_credentials *out)
{
    struct link *l = arg;

    *out = (struct https_credentials){.anchors = l->creds->anchors, .leaf = leaf_get1(l->creds, &l->generation), .key = l->creds->key.pkey, .chain = l->creds->chain};
    return true;
}

bool link_init(struct link *l, const struct station_options *o, struct credentials *c)
{
    struct https_options https = {.credentials = lend, .credentials_arg = l, .timeout_s = (long)o->timeout_s, .body_max = STATION_DATA_MAX};

    *l = (struct link){.o = o, .creds = c};
    l->https = https_new(&https);
    return l->https != NULL;
}

void link_clear(struct link *l)
{
    https_free(l->https);
    *l = (struct link){0};
}

void answer_clear(struct answer *a)
{
    https_answer_clear(&a->http);
    *a = (struct answer){0};
}

static void copy_line(char *out, size_t size, const char *in)
{
    size_t n = 0;

    while (n + 1 < size && in[n] && in[n] != '\n' && in[n] != '\r') {
        out[n] = isprint((unsigned char)in[n]) ? in[n] : '?';
        n++;
    }
    out[n] = '\0';
}

static bool copy_reason(char *out, size_t size, const char *in, size_t len)
{
    if (len == 0 || len >= size || strspn(in, "abcdefghijklmnopqrstuvwxyz0123456789-") < len)
        return false;
    memcpy(out, in, len);
    out[len] = '\0';
    return true;
}

/* JSON {"error","text"}, or "request RID: [reason: ]text". */
static void refusal_read(struct answer *a)
{
    const char *body = a->http.body;
    json_t *j = a->http.body_len ? json_loadb(body, a->http.body_len, 0, NULL) : NULL;
    const char *error = json_string_value(json_object_get(j, "error")), *text = json_string_value(json_object_get(j, "text"));
    const char *p, *colon;

    if (error && copy_reason(a->reason, sizeof a->reason, error, strlen(error))) {
        copy_line(a->text, sizeof a->text, text ? text : error);
    } else if (a->http.body_len) {
        p = strncmp(body, "request ", 8) == 0 ? strstr(body, ": ") : NULL;
        p = p ? p + 2 : body;
        colon = strstr(p, ": ");
        if (colon && copy_reason(a->reason, sizeof a->reason, p, (size_t)(colon - p)))
            p = colon + 2;
        copy_line(a->text, sizeof a->text, p);
    }
    if (!a->text[0])
        snprintf(a->text, sizeof a->text, "HTTP status %ld", a->http.status);
    if (json_is_integer(json_object_get(j, "retry_after")) && a->http.retry_after_s == 0)
        a->http.retry_after_s = (unsigned)json_integer_value(json_object_get(j, "retry_after"));
    json_decref(j);
}

static enum call_result judge(struct answer *a)
{
    long status = a->http.status;

    if (status == 200)
        return CALL_OK;
    refusal_read(a);
    if (status == 202) {
        snprintf(a->text, sizeof a->text, "accepted, to be signed later");
        return CALL_LATER;
    }
    return status >= 500 || status == 429 || status == 408 ? CALL_LATER : CALL_REFUSED;
}

/* What is said of the unit to EST, where there is no JSON. false: nothing. */
static bool unit_header(const struct station_options *o, char *text, size_t size)
{
    int n = snprintf(text, size, "Inkan-Unit: %s%s%s%s%s%s%s%s", o->badge ? "badge=" : "", o->badge ? o->badge : "",
                     o->badge && (o->tool || o->firmware) ? ";" : "", o->tool ? "tool=" : "", o->tool ? o->tool : "",
                     o->tool && o->firmware ? ";" : "", o->firmware ? "firmware=" : "", o->firmware ? o->firmware : "");

    return n > (int)strlen("Inkan-Unit: ") && n < (int)size;
}

enum call_result link_call(struct link *l, const char *path, const char *type, const char *body, struct answer *a)
{
    char url[2048], unit[500];
    const char *headers[] = {NULL, NULL};
    struct https_request r = {.url = url, .content_type = type, .body = body, .body_len = type ? strlen(body) : 0, .headers = headers};

    answer_clear(a);
    snprintf(url, sizeof url, "%s%s", l->o->url, path);
    if (type && strcmp(type, "application/pkcs10") == 0 && unit_header(l->o, unit, sizeof unit))
        headers[0] = unit;
    /* A connection made with the certificate before the last renewal is not used again. */
    r.fresh = l->generation != __atomic_load_n(&l->creds->generation, __ATOMIC_ACQUIRE);
    if (https_call(l->https, &r, &a->http))
        return judge(a);
    copy_line(a->text, sizeof a->text, a->http.error);
    return CALL_LATER;
}

/* ---- renewal ------------------------------------------------------------------------------------------------------------ */

static bool certificate_replace(struct credentials *c, X509 *next, char text[STATION_TEXT_MAX])
{
    struct device d = {0};
    char dir[DEVICE_PATH_MAX];
    const char *name = strrchr(c->file, '/');
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem;
    long len;
    bool ok = bio && PEM_write_bio_X509(bio, next) == 1;

    for (int i = 0; ok && i < sk_X509_num(c->chain); i++)
        ok = PEM_write_bio_X509(bio, sk_X509_value(c->chain, i)) == 1;
    snprintf(dir, sizeof dir, "%.*s", name ? (int)(name - c->file) : 1, name ? c->file : ".");
    d.o.dir = dir[0] ? dir : "/";
    len = ok ? BIO_get_mem_data(bio, &pem) : 0;
    ok = ok && file_store(&d, name ? name + 1 : c->file, pem, (size_t)len) == DEVICE_OK;
    BIO_free(bio);
    if (!ok) {
        snprintf(text, STATION_TEXT_MAX, "%.255s", d.error);
        return false;
    }
    pthread_mutex_lock(&c->lock);
    X509_free(c->leaf);
    c->leaf = next;
    X509_up_ref(next);
    __atomic_add_fetch(&c->generation, 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&c->lock);
    return true;
}

bool credentials_renew(struct credentials *c, struct link *l, char text[STATION_TEXT_MAX], bool *renewed)
{
    struct device d = {0};
    struct csr_request request = {.key = &c->key, .like = c->leaf, .same_names = true};
    struct answer a = {0};
    struct data cms = {0};
    STACK_OF(X509) *certs = NULL;
    time_t from = time_of(X509_get0_notBefore(c->leaf)), to = time_of(X509_get0_notAfter(c->leaf));
    char path[128], *base64 = NULL;
    bool ok = false;

    *renewed = false;
    if (time(NULL) < from + (to - from) / RENEW_SHARE_DEN * RENEW_SHARE_NUM)
        return true;
    snprintf(path, sizeof path, "/.well-known/est/%s/simplereenroll", l->o->order);
    if (csr_make(&d, &request, NULL, &base64) != DEVICE_OK) {
        snprintf(text, STATION_TEXT_MAX, "%.255s", d.error);
        return false;
    }
    if (link_call(l, path, "application/pkcs10", base64, &a) != CALL_OK)
        snprintf(text, STATION_TEXT_MAX, "%s", a.text);
    else if (!data_from_base64(a.http.body, a.http.body_len, &cms) ||
             certs_only_read(&d, (const unsigned char *)cms.p, cms.len, &certs) != DEVICE_OK ||
             X509_check_private_key(sk_X509_value(certs, 0), c->key.pkey) != 1)
        snprintf(text, STATION_TEXT_MAX, "the answer holds no certificate of this station's key");
    else
        ok = X509_cmp(sk_X509_value(certs, 0), c->leaf) == 0 || certificate_replace(c, sk_X509_value(certs, 0), text);
    *renewed = ok;
    ERR_clear_error();
    sk_X509_pop_free(certs, X509_free);
    data_clear(&cms);
    answer_clear(&a);
    free(base64);
    return ok;
}
