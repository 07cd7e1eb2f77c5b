/* SPDX-License-Identifier: Apache-2.0 */
/* CRLs: reading, walking the entries, the gate between a list and itself, and the linter on the same octets. */
#include <stdint.h>
#include <stdlib.h>

#include "base/auto.h"
#include "ca/crl.h"
#include "ca/lint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool never(void *arg, struct bytes serial)
{
    (void)arg;
    (void)serial;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes der = BYTES(data, size);
    struct lint_crl_expect x = {.sig_alg = SIG_ECDSA_SHA256, .crl_number = 7};
    struct lint_report report = {0};
    struct crl_entry entry;
    struct der entries;
    bool broken = false;
    struct err e;
    struct crl c;

    if (crl_read(der, &c, &e) != E_OK) {
        lint_crl(der, &x, &report);
        return 0;
    }
    entries = c.entries;
    while (crl_entry_next(&entries, &entry, &broken))
        if (entry.serial.p < data || entry.serial.p + entry.serial.len > data + size)
            abort();
    if (crl_gate(&c, &c, never, NULL, &e) == E_OK) /* its number is not above its own */
        abort();
    x.issuer_subject = c.issuer;
    x.issuer_ski = c.aki;
    x.now = c.this_update;
    lint_crl(c.tbs, &x, &report);
    return 0;
}
