/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One access decision (docs/access.md): may this unit connect now, and for what? Pure: a question, the access table, the rules of
 * an audience, and the time come in, the answer comes out.
 *
 * A certificate that was shown is known by the SHA-256 of its whole DER: the core verified every octet of exactly that certificate and
 * signed it, so equality is the check of its signature and of its chain. What is checked again at each question is what may have
 * changed: its status, that of the CAs above it, its dates, its device.
 */
#ifndef INKAN_CA_DECIDE_H
#define INKAN_CA_DECIDE_H

#include "ca/access.h"
#include "ca/service.h"

/*
 * `audience`: NULL for one that is not configured. `age_s`: seconds since the core last said that the table is current. `device` is set
 * to the number of the device a known certificate belongs to, else ACCESS_NONE.
 */
void decide(const struct access *a, const struct conf_audience *audience, const struct sts_identity *who, int64_t now, int64_t age_s,
            struct sts_decision *out, uint32_t *device);
/* Did the answer find no such certificate? It may be newer than the table. */
bool decision_is_unknown(const struct sts_decision *d);

/* May this client, by the SHA-256 of its certificate, ask for decisions? It is a gateway's, good, and in date. */
bool caller_is_gateway(const struct access *a, const uint8_t der_hash[32], int64_t now);

/* The audience of that name; for "default" that is not configured, `built_in`; NULL: there is none. */
const struct conf_audience *audience_find(const struct conf *conf, const char *name, struct conf_audience *built_in);

#endif
