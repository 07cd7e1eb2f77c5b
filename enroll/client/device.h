/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device side of EST (RFC 7030): first enrollment with a birth certificate or a secret, renewal for the life of the
 * device, trust anchor rollover. Needs OpenSSL 3, libcurl and, for keys behind a pkcs11: URI, libp11; no other code of
 * this project, so that it can be built into firmware.
 *
 * Everything durable is in one directory, written so that a power cut at any instant leaves a usable credential:
 *
 *   current -> cred-N        the credential in use (symbolic link, replaced by rename)
 *   cred-N/key.pem,cert.pem  0600; the previous one stays until the new one was used in a handshake
 *   key.pem, cert.pem        links into current/, for other programs
 *   pending.key              a key whose certificate was asked for; the same key is used when the answer was lost
 *   anchors.pem              trust anchors: first the pinned one, later what cacerts says
 *   clock                    the newest time this device can be sure of
 *
 * One thread uses a struct device. Functions return DEVICE_OK or what happened; device_error() has one line of text.
 */
#ifndef INKAN_ENROLL_CLIENT_DEVICE_H
#define INKAN_ENROLL_CLIENT_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum device_result {
    DEVICE_OK = 0,
    DEVICE_PENDING, /* 202: ask again after device_retry_after() seconds */
    DEVICE_AGAIN,   /* network, 5xx, 429: ask again later */
    DEVICE_REFUSED, /* 4xx: the service will not; asking again without a change is of no use */
    DEVICE_BROKEN,  /* this device: files, keys, memory, configuration */
};

struct device_options {
    const char *dir;         /* state directory, made when missing (0700) */
    const char *url;         /* "https://host[:port]/.well-known/est[/label]" */
    const char *anchor;      /* PEM file pinned at the factory; read when anchors.pem is not there yet */
    const char *idevid_cert; /* PEM, leaf first; NULL without */
    const char *idevid_key;  /* PEM file or pkcs11: URI */
    const char *user;        /* HTTP Basic, NULL without */
    const char *password_file; /* one line; must not be readable by others */
    const char *device_id;   /* subject of the first request; NULL: the IDevID's subject */
    const char *key;         /* "p256" (default), "p384", "ed25519", "rsa2048", "rsa3072", or a pkcs11: URI of a key that is there */
    bool bind;               /* always put the channel binding into the request; else only when csrattrs asks */
    unsigned renew_percent;  /* of the life, 0 = 66 */
    long timeout_s;          /* per request, 0 = 30 */
    time_t (*now)(void);     /* NULL: time(2) */
};

struct device;

enum device_result device_open(const struct device_options *o, struct device **out);
void device_close(struct device *d);
const char *device_error(const struct device *d); /* also after a failed device_open: pass NULL */

/* Each does one request. device_enroll returns DEVICE_OK at once when a credential is there, unless `again`. */
enum device_result device_enroll(struct device *d, bool again);
enum device_result device_renew(struct device *d);
/* Fetches cacerts over the authenticated connection and takes over new trust anchors (RFC 7030 4.1.3). */
enum device_result device_update_anchors(struct device *d);
/* Uses the credential in one handshake; success ends the life of the previous one. */
enum device_result device_prove(struct device *d);

unsigned device_retry_after(const struct device *d); /* seconds asked for by the last answer, 0 = nothing said */

struct device_status {
    bool enrolled;
    char subject[512], issuer[512], serial[64];
    time_t not_before, not_after, renew_at; /* UTC; renew_at without jitter */
    unsigned generation;     /* N of cred-N */
    bool previous_kept;      /* the new credential was not used yet */
    bool clock_is_doubtful;  /* the system clock is behind the newest time known */
    size_t anchors;
};
enum device_result device_status(struct device *d, struct device_status *out);

/*
 * Runs for ever: enrols, proves, renews at renew_percent of the life (jitter of 5 % of it), enrols again with the birth
 * certificate when the end has passed, follows anchors daily, backs off without end (10 s doubling to 1 h, full jitter). `stop` is asked each second; `report` gets one line per event. Both may be
 * NULL. Returns only when stop says true, or for DEVICE_BROKEN.
 */
enum device_result device_run(struct device *d, bool (*stop)(void *), void (*report)(void *, const char *line), void *arg);

#endif
