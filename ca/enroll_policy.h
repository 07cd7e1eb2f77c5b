/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who asks, and may they have it (RFC 7030 3.3, 3.7; docs/design.md "Repeats", "Factory reset")? Runs inside the issuing
 * transaction, in the request's savepoint: what it writes (first use, secret bound, device declared) is undone with it.
 */
#ifndef INKAN_CA_ENROLL_POLICY_H
#define INKAN_CA_ENROLL_POLICY_H

#include "ca/anchor.h"
#include "ca/core.h"
#include "ca/csr.h"
#include "ca/key_package.h"

struct device_facts {
    uint64_t id, unit;
    char device_id[ID_MAX_LEN + 1], domain[ID_MAX_LEN + 1];
    char product[ID_MAX_LEN + 1], model[ID_MAX_LEN + 1], lot[ID_MAX_LEN + 1], order_no[ID_MAX_LEN + 1];
    char station[ID_MAX_LEN + 1], line[ID_MAX_LEN + 1], firmware[ID_MAX_LEN + 1];
    char anchor[ID_MAX_LEN + 1];
    uint8_t state, prev_state; /* enum device_state */
    uint8_t stopped_by;        /* enum device_state of the row that stops the unit; set by a refusal of enroll_refuse_stopped */
    bool moved;                /* another owner has it */
    uint64_t unshipped;        /* another row of the unit that has not left its factory; set by enroll_refuse_stopped, 0 = none */
    int64_t declared_at;
    uint64_t group_secret;
};
void device_facts_take(struct device_facts *out, const struct device_row *row);
/* By its own row; other rows of the unit may stop it too (enroll_refuse_stopped). */
bool device_facts_stopped(const struct device_facts *d);
/* Reads the state anew. E_DENIED: a row of the unit stops it. */
MUST_CHECK enum err_code enroll_refuse_stopped(struct core *c, struct device_facts *d, struct err *e);
/* After enroll_refuse_stopped. E_DENIED: the unit did not leave its factory yet, is between two owners, or has another one. */
MUST_CHECK enum err_code enroll_refuse_elsewhere(struct core *c, const struct device_facts *d, struct err *e);

/* An enrollment secret whose password was right: a copy, for rows live only until the next call. */
struct secret_facts {
    uint64_t id, device, quota, used;
    uint8_t kind, bound[32];
    char domain[ID_MAX_LEN + 1], profile[ID_MAX_LEN + 1], pattern[ID_MAX_LEN + 1];
    int64_t not_before, not_after, revoked_at, first_used_at;
};

/* What a work order adds to a request (ca/factory.h). */
struct unit_grant {
    uint64_t order;               /* row; 0 = no order is involved */
    uint64_t id;                  /* unit row */
    uint8_t event;                /* enum unit_event that the certificate is for */
    uint64_t station;             /* row */
    char order_no[ORDER_NO_MAX + 1], device_id[ID_MAX_LEN + 1];
    char station_name[ID_MAX_LEN + 1], line[ID_MAX_LEN + 1];
    char badge[ID_MAX_LEN + 1], tool[ID_MAX_LEN + 1], firmware[ID_MAX_LEN + 1]; /* as the station says */
    const char *reason;           /* of a refusal; NULL = none given */
};

struct grant {
    const struct conf_label *label;
    const struct conf_profile *profile;
    bool authenticated;           /* a refusal from here on is an audit entry */
    struct actor by;              /* who it was found to be */
    uint8_t credential[32];
    uint8_t operation;            /* enum cert_operation */
    struct device_facts device;
    uint64_t presented;           /* cert row that was presented, 0 = none or foreign */
    uint64_t renews;              /* cert row being renewed */
    struct buf subject, san;      /* of the certificate being renewed: re-issued byte for byte */
    const char *approval;         /* why an operator decides, NULL = nobody has to */
    uint64_t request;             /* the approved request that is carried out, 0 = none */
    bool supersede;               /* factory reset: the device's other LDevIDs are revoked with the result */
    uint64_t replaces;            /* serverkeygen: cert row of the key that was not delivered; superseded with the result */
    struct recipient recipient;   /* serverkeygen: whom the key is encrypted for; RECIPIENT_NONE: in clear */
    uint64_t recipient_cert;      /* its cert row; 0 = a KEK, or the one presented */
    bool binding_judged;
    bool repeat;
    struct buf stored;            /* the repeat's answer */
    uint32_t stored_issuer;
    uint8_t stored_serial[SERIAL_MAX_LEN];
    size_t stored_serial_len;
    int64_t stored_not_before, stored_not_after;
    const char *alarm;            /* event name of an alarm, NULL = none */
    uint32_t retry_after_s;       /* with E_BUSY: it is a limit of this client */
    struct secret_facts secret;   /* enroll_precheck saw its password; id 0: it did not */
    struct unit_grant unit;
    int64_t not_after_max;        /* the certificate ends at the latest then; 0 = its profile says */
};
void grant_init(struct grant *g);
void grant_clear(struct grant *g);

/* What needs no CSR, so that strangers do not reach its parser: a credential is there, and a password is right. */
MUST_CHECK enum err_code enroll_precheck(struct core *c, const struct svc_enroll *in, struct grant *g, struct err *e);


/*
 * Authenticates and authorises. E_OK: issue (or answer `stored` when repeat). E_PENDING: 202, nothing more to do. Codes and texts are what the client gets:
 * texts of E_INVALID, E_UNAUTHENTICATED and E_DENIED hold no internals. `out` was made by grant_init.
 */
MUST_CHECK enum err_code enroll_authorise(struct core *c, const struct svc_enroll *in, const struct csr *csr,
                                          int64_t now, struct grant *out, struct err *e);
/* The state when the signature is back: E_DENIED when the device was stopped, left its owner, or the renewed certificate was revoked meanwhile. */
MUST_CHECK enum err_code enroll_still_allowed(struct core *c, struct grant *g, struct err *e);
/* A key may serve one physical unit; claims it. E_DENIED with g->alarm set. */
MUST_CHECK enum err_code enroll_claim_key(struct core *c, struct grant *g, const struct pubkey *key, int64_t now,
                                          struct err *e);

/* The device that a request's subject names: serialNumber, else CN. */
MUST_CHECK enum err_code enroll_device_id(const struct csr *csr, char out[ID_MAX_LEN + 1], struct err *e);
/* What holds for every request under the grant's profile: channel binding, no change of the subject, usages it can have. */
MUST_CHECK enum err_code enroll_check_request(const struct svc_enroll *in, const struct csr *csr, struct grant *g,
                                              struct err *e);
/* RFC 7030 4.2.2: subject and SAN of a renewal are those of the certificate being renewed. */
MUST_CHECK enum err_code enroll_same_identity(const struct grant *g, const struct csr *csr, struct err *e);

/* The manufacturers' anchors of the configuration in force; nothing of those before is kept. */
MUST_CHECK enum err_code anchors_load(struct core *c, struct err *e);
/* PEM of every CA a client certificate may chain to: our own and the manufacturers'. */
void anchors_pem(struct core *c, struct buf *out);

#endif
