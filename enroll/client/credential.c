/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The credential on disk. Order of a change: pending.key durable -> request -> cred-N.new with key and certificate,
 * fsynced -> renamed to cred-N -> `current` replaced by rename -> pending.key removed. At any cut `current` names a
 * complete pair, and the pending key is asked for again.
 */
#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enroll/client/device_int.h"

static unsigned current_generation(struct device *d)
{
    char path[DEVICE_PATH_MAX], target[64];
    ssize_t n;
    unsigned generation = 0;

    if (path_join(d, path, "current") != DEVICE_OK)
        return 0;
    n = readlink(path, target, sizeof target - 1);
    if (n <= 0)
        return 0;
    target[n] = 0;
    return sscanf(target, "cred-%u", &generation) == 1 ? generation : 0;
}

static void remove_credential_dir(struct device *d, const char *name)
{
    static const char *const files[] = {"key.pem", "cert.pem", "key.pem.new", "cert.pem.new"};
    char path[DEVICE_PATH_MAX], file[DEVICE_PATH_MAX + 32];

    if (path_join(d, path, name) != DEVICE_OK)
        return;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(file, sizeof file, "%s/%s", path, files[i]);
        unlink(file);
    }
    rmdir(path);
}

/* Calls `remove` for each cred-N whose N differs from `keep`, and for half-made ones. */
static enum device_result sweep(struct device *d, unsigned keep, unsigned keep_too)
{
    DIR *dir = opendir(d->o.dir);
    struct dirent *entry;

    if (!dir)
        return device_fail(d, DEVICE_BROKEN, "%s: %s", d->o.dir, strerror(errno));
    while ((entry = readdir(dir))) {
        unsigned n = 0;
        char tail[8] = "";
        int fields = sscanf(entry->d_name, "cred-%u%7s", &n, tail);

        if (fields == 2 || (fields == 1 && n != keep && n != keep_too))
            remove_credential_dir(d, entry->d_name);
    }
    closedir(dir);
    return dir_sync(d, d->o.dir);
}

static unsigned previous_generation(struct device *d)
{
    DIR *dir = opendir(d->o.dir);
    struct dirent *entry;
    unsigned found = 0;

    if (!dir)
        return 0;
    while ((entry = readdir(dir))) {
        unsigned n = 0;
        char tail[8] = "";

        if (sscanf(entry->d_name, "cred-%u%7s", &n, tail) == 1 && n < d->generation && n > found)
            found = n;
    }
    closedir(dir);
    return found;
}

bool credential_previous_is_there(struct device *d)
{
    return previous_generation(d) != 0;
}

enum device_result credential_drop_previous(struct device *d)
{
    return sweep(d, d->generation, d->generation);
}

enum device_result credential_find(struct device *d)
{
    d->generation = current_generation(d);
    /* Half-made directories are of no use; the previous credential stays until the new one is used. */
    return sweep(d, d->generation, previous_generation(d));
}

static enum device_result certs_from_pem(struct device *d, const char *path, STACK_OF(X509) **out)
{
    char *text;
    size_t len;
    BIO *bio;
    X509 *x;
    STACK_OF(X509) *certs = sk_X509_new_null();

    *out = NULL;
    if (!certs || file_load(d, path, 256 * 1024, &text, &len) != DEVICE_OK) {
        sk_X509_free(certs);
        return DEVICE_BROKEN;
    }
    bio = BIO_new_mem_buf(text, (int)len);
    while (bio && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        sk_X509_push(certs, x);
    BIO_free(bio);
    free(text);
    ERR_clear_error();
    if (sk_X509_num(certs) == 0) {
        sk_X509_free(certs);
        return device_fail(d, DEVICE_BROKEN, "%s holds no certificate in PEM", path);
    }
    *out = certs;
    return DEVICE_OK;
}

static enum device_result open_pair(struct device *d, const char *cert_path, const char *key_where, struct credential *out)
{
    enum device_result r;

    *out = (struct credential){0};
    r = certs_from_pem(d, cert_path, &out->chain);
    if (r == DEVICE_OK)
        r = key_open(d, key_where, &out->key);
    if (r == DEVICE_OK) {
        out->cert = sk_X509_shift(out->chain);
        if (X509_check_private_key(out->cert, out->key.pkey) != 1)
            r = device_fail(d, DEVICE_BROKEN, "%s is not the certificate of key %s", cert_path, key_where);
    }
    ERR_clear_error();
    if (r != DEVICE_OK)
        credential_close(out);
    return r;
}

enum device_result credential_load(struct device *d, struct credential *out)
{
    char cert[DEVICE_PATH_MAX], key[DEVICE_PATH_MAX];

    if (!d->generation)
        return device_fail(d, DEVICE_BROKEN, "%s holds no credential: enroll first", d->o.dir);
    if (path_join(d, cert, "current/cert.pem") != DEVICE_OK || path_join(d, key, "current/key.pem") != DEVICE_OK)
        return DEVICE_BROKEN;
    if (access(key, F_OK) != 0 && d->o.key && strncmp(d->o.key, "pkcs11:", 7) == 0)
        return open_pair(d, cert, d->o.key, out);
    return open_pair(d, cert, key, out);
}

enum device_result credential_load_birth(struct device *d, struct credential *out)
{
    if (!d->o.idevid_cert || !d->o.idevid_key)
        return device_fail(d, DEVICE_BROKEN, "a birth certificate needs both its file and its key");
    return open_pair(d, d->o.idevid_cert, d->o.idevid_key, out);
}

void credential_close(struct credential *c)
{
    X509_free(c->cert);
    sk_X509_pop_free(c->chain, X509_free);
    key_close(&c->key);
    *c = (struct credential){0};
}

enum device_result pending_key(struct device *d, struct device_key *out)
{
    char path[DEVICE_PATH_MAX], *pem;
    size_t len;
    enum device_result r;

    *out = (struct device_key){0};
    if (d->o.key && strncmp(d->o.key, "pkcs11:", 7) == 0)
        return key_open(d, d->o.key, out);
    if (path_join(d, path, "pending.key") != DEVICE_OK)
        return DEVICE_BROKEN;
    if (access(path, F_OK) == 0) {
        /* A passing trouble must not cost the key: a secret bound to it would never be good again. */
        r = file_load(d, path, 65536, &pem, &len);
        if (r != DEVICE_OK)
            return r;
        OPENSSL_cleanse(pem, len);
        free(pem);
        if (key_open(d, path, out) == DEVICE_OK)
            return DEVICE_OK;
        unlink(path); /* no key: nothing was certified for it that we could use */
    }
    r = key_generate(d, &out->pkey);
    if (r == DEVICE_OK)
        r = key_to_pem(d, out->pkey, &pem, &len);
    if (r == DEVICE_OK) {
        r = file_store(d, "pending.key", pem, len);
        OPENSSL_cleanse(pem, len);
        free(pem);
    }
    if (r != DEVICE_OK)
        key_close(out);
    return r;
}

static enum device_result cert_to_pem(struct device *d, X509 *cert, char **pem, size_t *len)
{
    BIO *bio = BIO_new(BIO_s_mem());
    BUF_MEM *mem;
    bool ok = bio && PEM_write_bio_X509(bio, cert) == 1;

    *pem = NULL;
    if (ok) {
        BIO_get_mem_ptr(bio, &mem);
        *pem = malloc(mem->length);
        if (*pem) {
            memcpy(*pem, mem->data, mem->length);
            *len = mem->length;
        }
    }
    BIO_free(bio);
    return *pem ? DEVICE_OK : device_fail(d, DEVICE_BROKEN, "a certificate could not be written");
}

static enum device_result replace_link(struct device *d, const char *name, const char *target)
{
    char path[DEVICE_PATH_MAX], temporary[DEVICE_PATH_MAX + 8];

    if (path_join(d, path, name) != DEVICE_OK)
        return DEVICE_BROKEN;
    snprintf(temporary, sizeof temporary, "%s.new", path);
    unlink(temporary);
    if (symlink(target, temporary) != 0 || rename(temporary, path) != 0)
        return device_fail(d, DEVICE_BROKEN, "%s: %s", path, strerror(errno));
    return DEVICE_OK;
}

/* Writes key and certificate into cred-N.new; the key is left out when it lives in a token. */
static enum device_result fill_directory(struct device *d, const char *name, const struct device_key *key, X509 *cert)
{
    char path[DEVICE_PATH_MAX], file[DEVICE_PATH_MAX], *pem;
    size_t len;
    enum device_result r = path_join(d, path, name);

    if (r != DEVICE_OK)
        return r;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return device_fail(d, DEVICE_BROKEN, "%s: %s", path, strerror(errno));
    if (!key->in_token) {
        r = key_to_pem(d, key->pkey, &pem, &len);
        if (r != DEVICE_OK)
            return r;
        snprintf(file, sizeof file, "%s/key.pem", name);
        r = file_store(d, file, pem, len);
        OPENSSL_cleanse(pem, len);
        free(pem);
    }
    if (r == DEVICE_OK)
        r = cert_to_pem(d, cert, &pem, &len);
    if (r == DEVICE_OK) {
        snprintf(file, sizeof file, "%s/cert.pem", name);
        r = file_store(d, file, pem, len);
        free(pem);
    }
    return r;
}

enum device_result credential_store(struct device *d, const struct device_key *key, X509 *cert)
{
    unsigned next = d->generation + 1;
    char fresh[32], name[32], from[DEVICE_PATH_MAX], to[DEVICE_PATH_MAX], pending[DEVICE_PATH_MAX];
    enum device_result r;

    snprintf(name, sizeof name, "cred-%u", next);
    snprintf(fresh, sizeof fresh, "cred-%u.new", next);
    remove_credential_dir(d, fresh);
    remove_credential_dir(d, name);
    r = fill_directory(d, fresh, key, cert);
    if (r == DEVICE_OK && (path_join(d, from, fresh) != DEVICE_OK || path_join(d, to, name) != DEVICE_OK))
        r = DEVICE_BROKEN;
    if (r == DEVICE_OK && rename(from, to) != 0)
        r = device_fail(d, DEVICE_BROKEN, "%s: %s", to, strerror(errno));
    if (r == DEVICE_OK)
        r = dir_sync(d, d->o.dir);
    if (r == DEVICE_OK)
        r = replace_link(d, "current", name);
    if (r == DEVICE_OK)
        r = dir_sync(d, d->o.dir);
    if (r != DEVICE_OK)
        return r;
    d->generation = next;
    if (path_join(d, pending, "pending.key") == DEVICE_OK)
        unlink(pending);
    if (replace_link(d, "cert.pem", "current/cert.pem") != DEVICE_OK ||
        (!key->in_token && replace_link(d, "key.pem", "current/key.pem") != DEVICE_OK))
        return DEVICE_BROKEN;
    return dir_sync(d, d->o.dir);
}

enum device_result anchors_load(struct device *d, STACK_OF(X509) **out)
{
    char path[DEVICE_PATH_MAX];

    *out = NULL;
    if (path_join(d, path, "anchors.pem") != DEVICE_OK)
        return DEVICE_BROKEN;
    if (access(path, F_OK) == 0)
        return certs_from_pem(d, path, out);
    if (!d->o.anchor)
        return device_fail(d, DEVICE_BROKEN, "no trust anchor: neither anchors.pem nor a pinned file");
    return certs_from_pem(d, d->o.anchor, out);
}

enum device_result anchors_store(struct device *d, STACK_OF(X509) *anchors)
{
    BIO *bio = BIO_new(BIO_s_mem());
    BUF_MEM *mem;
    bool ok = bio != NULL;
    enum device_result r;

    for (int i = 0; ok && i < sk_X509_num(anchors); i++)
        ok = PEM_write_bio_X509(bio, sk_X509_value(anchors, i)) == 1;
    if (!ok) { /* half a set of anchors would be the end of this device */
        BIO_free(bio);
        return device_fail(d, DEVICE_BROKEN, "out of memory");
    }
    BIO_get_mem_ptr(bio, &mem);
    r = file_store(d, "anchors.pem", mem->data, mem->length);
    BIO_free(bio);
    return r;
}
