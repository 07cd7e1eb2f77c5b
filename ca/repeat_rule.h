/* SPDX-License-Identifier: Apache-2.0 */
/* When is a request a repeat of the one before (docs/design.md, "Repeats")? Pure. */
#ifndef INKAN_CA_REPEAT_RULE_H
#define INKAN_CA_REPEAT_RULE_H

#include <stdbool.h>
#include <stdint.h>

#include "ca/follow.h"

/* The six things that make two requests the same one. */
struct repeat_key {
    uint8_t operation; /* enum cert_operation */
    const char *profile;
    uint64_t device;
    const char *order_no; /* "" = none */
    const uint8_t *spki_hash;       /* 32 octets */
    const uint8_t *credential_hash; /* 32 octets */
};

/* Has the certificate passed `renew_percent` of its life? Certificates without an end never have. */
bool renewal_is_due(int64_t not_before, int64_t not_after, unsigned renew_percent, int64_t now);

/*
 * true: `asked` equals what made the device's newest certificate, which is neither revoked, nor on hold, nor due for
 * renewal, nor expired: its stored bytes are the answer.
 */
bool repeat_rule(const struct repeat_key *asked, const struct repeat_key *newest, enum cert_status status,
                 int64_t not_before, int64_t not_after, unsigned renew_percent, int64_t now);

#endif
