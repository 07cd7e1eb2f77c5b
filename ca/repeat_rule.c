/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/repeat_rule.h"

#include <string.h>

#include "base/derw.h"

bool renewal_is_due(int64_t not_before, int64_t not_after, unsigned renew_percent, int64_t now)
{
    if (not_after >= TIME_NO_EXPIRY)
        return false;
    return now >= not_before + (not_after - not_before) * (int64_t)renew_percent / 100;
}

bool repeat_rule(const struct repeat_key *asked, const struct repeat_key *newest, enum cert_status status,
                 int64_t not_before, int64_t not_after, unsigned renew_percent, int64_t now)
{
    if (status != CERT_GOOD || now > not_after || renewal_is_due(not_before, not_after, renew_percent, now))
        return false;
    return asked->operation == newest->operation && asked->device == newest->device &&
           strcmp(asked->profile, newest->profile) == 0 && strcmp(asked->order_no, newest->order_no) == 0 &&
           memcmp(asked->spki_hash, newest->spki_hash, 32) == 0 &&
           memcmp(asked->credential_hash, newest->credential_hash, 32) == 0;
}
