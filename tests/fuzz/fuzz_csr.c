/* SPDX-License-Identifier: Apache-2.0 */
/* CSRs as strangers send them: reading, the proof of possession, and the later checks on what came out. */
#include <stdint.h>
#include <stdlib.h>

#include "base/auto.h"
#include "ca/cert.h"
#include "ca/csr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t binding[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    struct conf_profile profile = {.name = (char *)(uintptr_t)"p", .key_usage = 1, .eku = EKU_CLIENT_AUTH};
    char text[256];
    struct csr csr;
    bool judged;
    struct err e;

    if (csr_read(BYTES(data, size), &csr, &e) != E_OK)
        return 0;
    if (csr.tbs.p < data || csr.tbs.p + csr.tbs.len > data + size || csr.key.alg == KEY_NONE)
        abort();
    (void)!csr_check_usage(&csr, &profile, &e);
    (void)!csr_check_binding(&csr, BYTES_OF(binding), &judged, &e);
    name_to_text(csr.subject, text, sizeof text);
    if (!name_matches(csr.subject, csr.subject))
        abort();
    return 0;
}
