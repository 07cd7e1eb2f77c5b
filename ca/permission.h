/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may ask for what: one line for every operation of the administration. An operation without a line is refused.
 *
 * Pure: no store, no clock. The core asks this table for every call of an operator, over whatever way the call came; root and the
 * service's own user on the local socket are outside it (docs/people.md).
 */
#ifndef INKAN_CA_PERMISSION_H
#define INKAN_CA_PERMISSION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum role {
    ROLE_AUDITOR,  /* reads everything, changes nothing */
    ROLE_OPERATOR, /* units and their certificates, day by day */
    ROLE_SECURITY, /* what ends trust: revocation, suspicion, keys of recipients */
    ROLE_FACTORY,  /* orders, stations, line boxes */
    ROLE_CA_ADMIN, /* CAs, keys, tokens, people */
    ROLE_SYNC,     /* inkan-sync: a line box's records and nothing else */
    ROLES
};
#define ROLE_BIT(r) (1u << (r))

const char *role_name(enum role r); /* "ca-admin" */
/* "operator,security" as bits; E_INVALID for an empty list and for what is no role. */
MUST_CHECK enum err_code roles_read(const char *text, unsigned *out, struct err *e);
#define ROLES_TEXT_MAX 64
void roles_write(unsigned roles, char out[ROLES_TEXT_MAX]);

struct permission {
    const char *op;
    unsigned roles;   /* any of these */
    bool signature;   /* on the local socket too; over the network every request is signed */
    bool two_persons; /* always; what depends on how many units it touches asks people_needs_second, or sums them up (ca/admin_fleet.c) */
    bool local;       /* never over the network */
    unsigned second;  /* of these the second person is one, where it takes two only at times; 0: of `roles` */
};
extern const struct permission permissions[];
extern const size_t permissions_n;

/* NULL: no line, so nobody may. */
const struct permission *permission_of(const char *op);
/* E_DENIED names what the roles lack. */
MUST_CHECK enum err_code permission_check_second(const struct permission *p, const char *op, unsigned roles, struct err *e);
MUST_CHECK enum err_code permission_check(const struct permission *p, const char *op, unsigned roles, struct err *e);

#endif
