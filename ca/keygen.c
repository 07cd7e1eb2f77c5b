/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/keygen.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/log.h"

#define POINT_MAX   (1 + 2 * 48)
#define RETRY_S     1 /* after a key could not be made */

AUTO_TYPE(EVP_PKEY, EVP_PKEY_free)
AUTO_TYPE(EVP_PKEY_CTX, EVP_PKEY_CTX_free)
AUTO_TYPE(OSSL_PARAM, OSSL_PARAM_free)
AUTO_TYPE(OSSL_PARAM_BLD, OSSL_PARAM_BLD_free)

/* ---- one pair ---- */

static int go_on(EVP_PKEY_CTX *ctx)
{
    const atomic_bool *stop = EVP_PKEY_CTX_get_app_data(ctx);

    return stop && atomic_load(stop) ? 0 : 1;
}

static EVP_PKEY *draw(enum key_alg alg, atomic_bool *stop)
{
    unsigned bits = key_rsa_bits(alg);
    AUTO(EVP_PKEY_CTX) *ctx = EVP_PKEY_CTX_new_from_name(NULL, bits ? "RSA" : alg == KEY_ED25519 ? "ED25519" : "EC", NULL);
    EVP_PKEY *key = NULL;

    if (!ctx || EVP_PKEY_keygen_init(ctx) != 1)
        return NULL;
    if (bits) {
        EVP_PKEY_CTX_set_app_data(ctx, stop);
        EVP_PKEY_CTX_set_cb(ctx, go_on);
        if (EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)bits) != 1)
            return NULL;
    } else if (alg != KEY_ED25519 && EVP_PKEY_CTX_set_group_name(ctx, alg == KEY_P256 ? "P-256" : "P-384") != 1) {
        return NULL;
    }
    return EVP_PKEY_generate(ctx, &key) == 1 ? key : NULL;
}

/* One number of `key`, in secret memory; `len` 0: as many octets as it has. */
static bool number_take(EVP_PKEY *key, const char *name, size_t len, struct buf *out, struct bytes *value)
{
    BIGNUM *n = BN_secure_new();
    bool good = n && EVP_PKEY_get_bn_param(key, name, &n) == 1;
    size_t size = good ? (len ? len : (size_t)BN_num_bytes(n)) : 0;

    good = good && out->max - out->len >= size && BN_bn2binpad(n, out->p + out->len, (int)size) == (int)size;
    BN_clear_free(n);
    *value = BYTES(out->p + out->len, size);
    if (good)
        out->len += size;
    return good;
}

static bool rsa_parts(EVP_PKEY *key, struct buf *room, struct key_parts *k)
{
    const struct {
        const char *name;
        struct bytes *value;
    } numbers[] = {{OSSL_PKEY_PARAM_RSA_N, &k->n},           {OSSL_PKEY_PARAM_RSA_E, &k->e},
                   {OSSL_PKEY_PARAM_RSA_D, &k->d},           {OSSL_PKEY_PARAM_RSA_FACTOR1, &k->p},
                   {OSSL_PKEY_PARAM_RSA_FACTOR2, &k->q},     {OSSL_PKEY_PARAM_RSA_EXPONENT1, &k->dp},
                   {OSSL_PKEY_PARAM_RSA_EXPONENT2, &k->dq},  {OSSL_PKEY_PARAM_RSA_COEFFICIENT1, &k->qi}};

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (!number_take(key, numbers[i].name, 0, room, numbers[i].value))
            return false;
    return true;
}

static bool curve_parts(EVP_PKEY *key, struct buf *room, struct key_parts *k)
{
    size_t n = POINT_MAX;

    if (room->max < 2 * POINT_MAX || EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, room->p, POINT_MAX, &n) != 1)
        return false;
    k->point = BYTES(room->p, n);
    room->len = n;
    if (k->alg != KEY_ED25519)
        return number_take(key, OSSL_PKEY_PARAM_PRIV_KEY, key_field_len(k->alg), room, &k->secret);
    n = room->max - room->len;
    k->secret = BYTES(room->p + room->len, 32);
    return EVP_PKEY_get_raw_private_key(key, room->p + room->len, &n) == 1 && n == 32;
}

/* Locked memory is scarce, and keys of curves are short. */
static size_t room_of(enum key_alg alg)
{
    return key_rsa_bits(alg) ? PRIVKEY_MAX_LEN : PRIVKEY_EC_MAX;
}

static enum err_code key_write(const struct key_parts *k, struct new_key *out, struct err *e)
{
    *out = (struct new_key){.alg = k->alg, .spki = BUF_INIT(SPKI_MAX_LEN)};
    if (secret_buf_init(&out->pkcs8, room_of(k->alg)) && privkey_write(&out->pkcs8, k) && pubkey_write(&out->spki, k))
        return E_OK;
    new_key_free(out);
    return err_set(e, E_NOMEM, "no memory for a new key");
}

static enum err_code make(enum key_alg alg, atomic_bool *stop, struct new_key *out, struct err *e)
{
    AUTO(EVP_PKEY) *key = draw(alg, stop);
    AUTO_SECRET_BUF room = {0};
    struct key_parts parts = {.alg = alg};

    *out = (struct new_key){0};
    if (!key)
        return err_openssl(e, E_CRYPTO, "key generation");
    if (!secret_buf_init(&room, PRIVKEY_MAX_LEN))
        return err_set(e, E_NOMEM, "no memory for a new key");
    if (!(key_rsa_bits(alg) ? rsa_parts(key, &room, &parts) : curve_parts(key, &room, &parts)))
        return err_openssl(e, E_CRYPTO, "parts of a new key");
    return key_write(&parts, out, e);
}

static enum err_code make_clean(enum key_alg alg, atomic_bool *stop, struct new_key *out, struct err *e)
{
    enum err_code code = make(alg, stop, out, e);

    stack_wipe();
    return code;
}

enum err_code new_key_make(enum key_alg alg, struct new_key *out, struct err *e)
{
    return make_clean(alg, NULL, out, e);
}

/* From its parts and not by d2i: OpenSSL's decoders free a copy of the whole PrivateKeyInfo as it is. */
static EVP_PKEY *private_of(const struct key_parts *k, EVP_PKEY *public)
{
    const struct {
        const char *name;
        struct bytes value;
    } numbers[] = {{OSSL_PKEY_PARAM_PRIV_KEY, k->secret},    {OSSL_PKEY_PARAM_RSA_N, k->n},
                   {OSSL_PKEY_PARAM_RSA_E, k->e},            {OSSL_PKEY_PARAM_RSA_D, k->d},
                   {OSSL_PKEY_PARAM_RSA_FACTOR1, k->p},      {OSSL_PKEY_PARAM_RSA_FACTOR2, k->q},
                   {OSSL_PKEY_PARAM_RSA_EXPONENT1, k->dp},   {OSSL_PKEY_PARAM_RSA_EXPONENT2, k->dq},
                   {OSSL_PKEY_PARAM_RSA_COEFFICIENT1, k->qi}};
    AUTO(EVP_PKEY_CTX) *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, public, NULL);
    AUTO(OSSL_PARAM_BLD) *list = OSSL_PARAM_BLD_new();
    AUTO(OSSL_PARAM) *params = NULL;
    BIGNUM *n[ARRAY_LEN(numbers)] = {NULL};
    uint8_t point[POINT_MAX];
    size_t point_len = 0;
    EVP_PKEY *key = NULL;
    bool good = ctx && list;

    if (k->alg == KEY_ED25519)
        return EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, k->secret.p, k->secret.len);
    if (good && !key_rsa_bits(k->alg))
        good = OSSL_PARAM_BLD_push_utf8_string(list, OSSL_PKEY_PARAM_GROUP_NAME, k->alg == KEY_P256 ? "P-256" : "P-384", 0) == 1 &&
               EVP_PKEY_get_octet_string_param(public, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &point_len) == 1 &&
               OSSL_PARAM_BLD_push_octet_string(list, OSSL_PKEY_PARAM_PUB_KEY, point, point_len) == 1;
    for (size_t i = 0; good && i < ARRAY_LEN(numbers); i++)
        if (numbers[i].value.len)
            good = (n[i] = BN_secure_new()) && BN_bin2bn(numbers[i].value.p, (int)numbers[i].value.len, n[i]) &&
                   OSSL_PARAM_BLD_push_BN(list, numbers[i].name, n[i]) == 1;
    params = good ? OSSL_PARAM_BLD_to_param(list) : NULL;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        BN_clear_free(n[i]);
    if (params && EVP_PKEY_fromdata_init(ctx) == 1)
        (void)EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params);
    return key;
}

/* Do the private numbers give this public key? By OpenSSL: the reader is ours. */
static bool belong_together(const struct key_parts *k, struct bytes spki)
{
    const unsigned char *s = spki.p;
    AUTO(EVP_PKEY) *public = d2i_PUBKEY(NULL, &s, (long)spki.len);
    AUTO(EVP_PKEY) *private = public ? private_of(k, public) : NULL;
    AUTO(EVP_PKEY_CTX) *ctx = private ? EVP_PKEY_CTX_new(private, NULL) : NULL;

    return ctx && EVP_PKEY_pairwise_check(ctx) == 1 && EVP_PKEY_eq(private, public) == 1;
}

enum err_code new_key_take(enum key_alg alg, struct bytes pkcs8, struct bytes spki, struct new_key *out, struct err *e)
{
    struct key_parts parts;
    bool good = privkey_read(pkcs8, alg, &parts) && belong_together(&parts, spki);

    stack_wipe();
    *out = (struct new_key){0};
    if (!good) {
        err_openssl(e, E_CRYPTO, "PrivateKeyInfo");
        return err_set(e, E_CRYPTO, "the token's private key and public key do not belong together");
    }
    *out = (struct new_key){.alg = alg, .spki = BUF_INIT(SPKI_MAX_LEN)};
    if (secret_buf_init(&out->pkcs8, room_of(alg))) {
        buf_add_bytes(&out->pkcs8, pkcs8);
        buf_add_bytes(&out->spki, spki);
        if (buf_ok(&out->pkcs8) && buf_ok(&out->spki))
            return E_OK;
    }
    new_key_free(out);
    return err_set(e, E_NOMEM, "no memory for a new key");
}

void new_key_free(struct new_key *k)
{
    secret_buf_free(&k->pkcs8);
    buf_clear(&k->spki);
    *k = (struct new_key){0};
}

/* ---- the pool ---- */

/*
 * `lock` guards `slot`, `ready`, `wanted` and `changed`; the thread holds it only to look and to put a key away, never while it
 * draws one. `stop` is read inside the drawing too.
 */
struct keygen_pool {
    struct event *told;
    int told_fd;
    keygen_fn added;
    void *arg;
    pthread_t thread;
    bool started;
    atomic_bool stop;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct new_key slot[KEY_ALGS][KEYGEN_POOL_MAX];
    size_t ready[KEY_ALGS], wanted[KEY_ALGS];
};

static void on_told(evutil_socket_t fd, short what, void *arg)
{
    struct keygen_pool *p = arg;
    uint64_t n;

    (void)what;
    if (read(fd, &n, sizeof(n)) == sizeof(n))
        p->added(p->arg);
}

/* The size that is furthest from what is wanted, in shares; KEY_NONE: all are there. Under the lock. */
static enum key_alg next_wanted(const struct keygen_pool *p)
{
    enum key_alg best = KEY_NONE;

    for (enum key_alg a = KEY_NONE + 1; a < KEY_ALGS; a++)
        if (p->ready[a] < p->wanted[a] &&
            (best == KEY_NONE || p->ready[a] * p->wanted[best] < p->ready[best] * p->wanted[a]))
            best = a;
    return best;
}

/* Under the lock. */
static void put_away(struct keygen_pool *p, struct new_key *k)
{
    const uint64_t one = 1;

    if (p->ready[k->alg] >= p->wanted[k->alg]) {
        new_key_free(k);
        return;
    }
    p->slot[k->alg][p->ready[k->alg]++] = *k;
    if (write(p->told_fd, &one, sizeof(one)) != sizeof(one))
        return; /* it has been told and has not looked yet */
}

static void pause_after_failure(struct keygen_pool *p, const struct err *e)
{
    struct timespec until;

    log_failure("keygen-failed", e);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += RETRY_S;
    pthread_mutex_lock(&p->lock);
    while (!atomic_load(&p->stop) && pthread_cond_timedwait(&p->changed, &p->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&p->lock);
}

static void *pool_main(void *arg)
{
    struct keygen_pool *p = arg;

    while (!atomic_load(&p->stop)) {
        struct new_key k;
        struct err e = {0};
        enum key_alg alg;

        pthread_mutex_lock(&p->lock);
        while ((alg = next_wanted(p)) == KEY_NONE && !atomic_load(&p->stop))
            pthread_cond_wait(&p->changed, &p->lock);
        pthread_mutex_unlock(&p->lock);
        if (alg == KEY_NONE)
            break;
        if (make_clean(alg, &p->stop, &k, &e) == E_OK) {
            pthread_mutex_lock(&p->lock);
            put_away(p, &k);
            pthread_mutex_unlock(&p->lock);
        } else if (!atomic_load(&p->stop)) {
            pause_after_failure(p, &e);
        }
    }
    return NULL;
}

enum err_code keygen_pool_new(struct event_base *base, keygen_fn added, void *arg, struct keygen_pool **out, struct err *e)
{
    struct keygen_pool *p = calloc(1, sizeof(*p));
    pthread_condattr_t mono;

    *out = NULL;
    if (!p)
        return err_set(e, E_NOMEM, "key pool");
    p->added = added;
    p->arg = arg;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&p->changed, &mono);
    pthread_condattr_destroy(&mono);
    p->told_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    p->told = p->told_fd >= 0 ? event_new(base, p->told_fd, EV_READ | EV_PERSIST, on_told, p) : NULL;
    if (!p->told || event_add(p->told, NULL) != 0) {
        keygen_pool_free(p);
        return err_set(e, E_NOMEM, "key pool");
    }
    *out = p;
    return E_OK;
}

void keygen_pool_free(struct keygen_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop, true);
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (p->started)
        pthread_join(p->thread, NULL);
    for (size_t a = 0; a < KEY_ALGS; a++)
        for (size_t i = 0; i < p->ready[a]; i++)
            new_key_free(&p->slot[a][i]);
    if (p->told)
        event_free(p->told);
    if (p->told_fd >= 0)
        close(p->told_fd);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

enum err_code keygen_pool_want(struct keygen_pool *p, const struct conf *conf, struct err *e)
{
    bool any = false;

    pthread_mutex_lock(&p->lock);
    memset(p->wanted, 0, sizeof(p->wanted));
    for (size_t i = 0; i < conf->profiles_n; i++) {
        const struct conf_profile *f = &conf->profiles[i];

        if (f->keygen != KEYGEN_SERVICE || !key_rsa_bits(f->keygen_key))
            continue;
        p->wanted[f->keygen_key] = conf->keygen_pool;
        any = true;
    }
    for (size_t a = 0; a < KEY_ALGS; a++)
        while (p->ready[a] > p->wanted[a])
            new_key_free(&p->slot[a][--p->ready[a]]);
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (!any || p->started)
        return E_OK;
    if (pthread_create(&p->thread, NULL, pool_main, p) != 0)
        return err_set(e, E_NOMEM, "thread of the key pool");
    p->started = true;
    return E_OK;
}

bool keygen_pool_take(struct keygen_pool *p, enum key_alg alg, struct new_key *out)
{
    bool found;

    pthread_mutex_lock(&p->lock);
    found = p->ready[alg] > 0;
    if (found) {
        *out = p->slot[alg][--p->ready[alg]];
        p->slot[alg][p->ready[alg]] = (struct new_key){0};
        pthread_cond_broadcast(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}

size_t keygen_pool_ready(struct keygen_pool *p, enum key_alg alg)
{
    size_t n;

    pthread_mutex_lock(&p->lock);
    n = p->ready[alg];
    pthread_mutex_unlock(&p->lock);
    return n;
}
