/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator of issuance (docs/design.md, "One enrollment"). Requests wait in one queue; a cycle is one transaction
 * that carries the results of signatures that came back and the intents of the next requests, each in its own savepoint:
 * one fsync per cycle. Answers leave, and signers are asked, only after that transaction is durable.
 */
#ifndef INKAN_CA_ISSUE_H
#define INKAN_CA_ISSUE_H

#include "ca/core.h"

struct issue_result {
    enum err_code code;
    struct err err;
    struct bytes cert;      /* lives until the callback returns */
    uint32_t issuer;
    struct bytes serial;
    int64_t not_before, not_after;
    bool repeat;            /* the stored bytes of an earlier issue */
    bool binding_judged;
    struct bytes key;    /* serverkeygen: PrivateKeyInfo, or EnvelopedData; wiped when the callback is back */
    bool key_enveloped;
    uint32_t retry_after_s;
    bool client_limit;      /* E_BUSY: too much from this client */
    struct bytes body;      /* issue_factory: the answer, also of a refusal; lives until the callback returns */
};
/* Called once, from the loop, after the commit; never from inside issue_*. */
typedef void (*issue_fn)(struct core *c, void *arg, const struct issue_result *r);

/* An EST request: `r` is positioned at the first field of SVC_ENROLL; its octets are copied. E_INVALID: broken message. */
MUST_CHECK enum err_code issue_est(struct core *c, struct msg_reader *r, issue_fn done, void *arg, struct err *e);

/*
 * A station's request other than EST: a job of the same queue, decided in one step. `r` is positioned at the first field of
 * SVC_FACTORY; its octets are copied. E_INVALID: broken message.
 */
MUST_CHECK enum err_code issue_factory(struct core *c, struct msg_reader *r, issue_fn done, void *arg, struct err *e);

/* The captured request of a unit (ca/capture.h). E_NOT_FOUND in the result: there is nothing to do any more. */
MUST_CHECK enum err_code issue_captured(struct core *c, uint64_t unit, issue_fn done, void *arg, struct err *e);

/* What an operator or the service asks for. All strings are copied; NULL counts as empty. */
struct issue_order {
    const char *profile;
    struct bytes csr;          /* DER; empty: the key is `spki` (our own token keys) */
    struct bytes spki;
    const char *requester;     /* "operator:root", "service:front-0", "ocsp:fleet-ca", "ca:fleet-ca" */
    const struct actor *by;
    const char *domain, *device_id; /* a device of the registry, or both empty */
    const char *name, *product, *model, *lot;
    const char *issuer;        /* CA profiles and OCSP responders: who signs; else the profile says */
    const char *becomes_ca;    /* the configured CA this certificate is for */
    const char *subordinate;   /* another service's CA: its name here; the subject is the CSR's */
    int64_t not_after_max;     /* 0: as the profile says */
    bool server_names;         /* SAN from server_names */
    bool repeats;              /* a request for the same key by the same requester gets the stored bytes */
    uint64_t key;              /* key row of our own token key */
    const char *station, *line; /* a certificate of a station: whose */
    uint64_t operator_id;      /* a certificate of kind operator: whose */
};
MUST_CHECK enum err_code issue_order(struct core *c, const struct issue_order *order, issue_fn done, void *arg,
                                     struct err *e);
size_t issue_waiting(const struct core *c); /* queued and in flight */
int64_t issue_asked_us(const struct core *c); /* clock_mono_us, when the newest request came; 0: none yet */

#endif
