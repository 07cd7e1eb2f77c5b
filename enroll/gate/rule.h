/* SPDX-License-Identifier: Apache-2.0 */
/*
 * May this unit connect now? The rule by which the gate decides from what the feed says, as the service does by ca/decide.h: what
 * is known of a certificate and its device, what an audience asks for, and how old the knowledge is. Pure; any thread.
 */
#ifndef INKAN_ENROLL_GATE_RULE_H
#define INKAN_ENROLL_GATE_RULE_H

#include "base/conf.h"
#include "base/feed.h"
#include "base/life.h"

/* Stable: their names are in answers, logs and other people's rules (docs/access.md). */
enum access_reason {
    ACCESS_OK,
    ACCESS_REVOKED,
    ACCESS_ON_HOLD,
    ACCESS_EXPIRED,
    ACCESS_NOT_YET_VALID,
    ACCESS_UNKNOWN_SERIAL,
    ACCESS_UNKNOWN_ISSUER,
    ACCESS_DEVICE_DISABLED,
    ACCESS_SCOPE,
    ACCESS_FIRMWARE_BLOCKED,
    ACCESS_POLICY,
    ACCESS_STALE_DATA,
    ACCESS_NO_IDENTITY,
    ACCESS_REASONS
};
const char *access_reason_name(enum access_reason r); /* "on_hold" */

/* What one audience admits. */
struct access_rule {
    unsigned scopes;                       /* 1 << enum access_scope */
    struct conf_strings domains, products; /* empty: every one */
    struct conf_strings firmware_blocked;  /* releases; "1.2*" stands for all that begin so */
    int64_t stale_soft_s, stale_hard_s, cache_allow_s, cache_deny_s;
};
#define ACCESS_RULE_DEFAULT                                                                                            \
    ((struct access_rule){.scopes = 1u << SCOPE_FULL, .stale_soft_s = 86400, .stale_hard_s = 7 * 86400, .cache_allow_s = 10, .cache_deny_s = 300})

/* What is known of the certificate that was shown. */
struct access_facts {
    enum feed_status status;
    bool has_device;           /* false: it is no device's (a server's, a station's): denied, policy */
    enum access_scope scope;   /* as the feed says: of the device, and less with a birth identity */
    int64_t not_before, not_after; /* not_before 0: not known */
    const char *domain, *product, *firmware; /* "" where there is none */
};

struct access_decision {
    bool allow;
    enum access_reason reason;
    enum access_scope scope;
    uint32_t cache_s;
    bool close; /* end the connection now */
};

/*
 * Decides. `age_s`: since what is known was last said to be complete. Deny beats stale: only who would be admitted is admitted
 * with stale_data between the two ages, and nobody above stale_hard_s.
 */
void access_decide(const struct access_rule *rule, const struct access_facts *f, int64_t age_s, int64_t now, struct access_decision *out);
/* A denial that no facts are needed for: unknown_serial, unknown_issuer, no_identity, policy, ... */
void access_deny(const struct access_rule *rule, enum access_reason why, struct access_decision *out);

#endif
