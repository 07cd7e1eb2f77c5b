/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the client library. */
#ifndef INKAN_ENROLL_CLIENT_DEVICE_INT_H
#define INKAN_ENROLL_CLIENT_DEVICE_INT_H

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "enroll/client/device.h"

#define DEVICE_ANSWER_MAX (256 * 1024)
#define DEVICE_PATH_MAX   4096

/* A private key with what must be released with it. */
struct device_key {
    EVP_PKEY *pkey;
    void *token; /* libp11 context, NULL for a file */
    bool in_token;
};

struct credential {
    struct device_key key;
    X509 *cert;
    STACK_OF(X509) *chain; /* further certificates of an IDevID file */
};

struct device {
    struct device_options o;
    char *strings[10]; /* owned copies of the options */
    char error[512];
    unsigned retry_after;
    unsigned generation; /* of current, 0 = none */
};

enum device_result device_fail(struct device *d, enum device_result r, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
time_t device_now(const struct device *d);

/* files.c */
enum device_result path_join(struct device *d, char out[DEVICE_PATH_MAX], const char *name);
enum device_result file_load(struct device *d, const char *path, size_t max, char **text, size_t *len); /* NUL added */
enum device_result file_store(struct device *d, const char *name, const void *p, size_t len); /* atomic, 0600, in dir */
enum device_result dir_sync(struct device *d, const char *path);
time_t clock_floor(struct device *d);
void clock_floor_raise(struct device *d, time_t t);

/* keys.c */
enum device_result key_generate(struct device *d, EVP_PKEY **out);
enum device_result key_open(struct device *d, const char *where, struct device_key *out); /* file or pkcs11: URI */
void key_close(struct device_key *k);
enum device_result key_to_pem(struct device *d, EVP_PKEY *key, char **pem, size_t *len);

/* credential.c */
enum device_result credential_find(struct device *d);                      /* sets d->generation, mends after a power cut */
enum device_result credential_load(struct device *d, struct credential *out); /* of current */
enum device_result credential_load_birth(struct device *d, struct credential *out);
void credential_close(struct credential *c);
enum device_result pending_key(struct device *d, struct device_key *out);  /* the one waiting, or a new one made durable */
enum device_result credential_store(struct device *d, const struct device_key *key, X509 *cert);
enum device_result credential_drop_previous(struct device *d);
bool credential_previous_is_there(struct device *d);
enum device_result anchors_load(struct device *d, STACK_OF(X509) **out);
enum device_result anchors_store(struct device *d, STACK_OF(X509) *anchors);

/* csr.c */
struct csr_request {
    const struct device_key *key;
    X509 *like;            /* renewal or IDevID: subject (and SAN, when same_names) are taken from it */
    bool same_names;
    const char *device_id; /* else CN and serialNumber */
    bool bind;
};
/* base64 of the CSR, NUL-terminated, malloc'ed. `binding` is base64 text or NULL. */
enum device_result csr_make(struct device *d, const struct csr_request *r, const char *binding, char **base64);

/* est.c */
struct est_call {
    const char *operation;
    const struct credential *client; /* NULL: no client certificate */
    bool with_password;
    const struct csr_request *request; /* NULL: GET */
};
/* The decoded body (DER) of a 200; 204 gives length 0. */
enum device_result est_call(struct device *d, const struct est_call *c, unsigned char **der, size_t *len);
/* White space is passed over, the rest is strict. Malloc'ed, with a NUL beyond `len`. */
bool est_base64_decode(const char *text, size_t text_len, unsigned char **out, size_t *len);
enum device_result certs_only_read(struct device *d, const unsigned char *der, size_t len, STACK_OF(X509) **out);

#endif
