/* SPDX-License-Identifier: Apache-2.0 */
/* CSRs as strangers send them: reading, the proof of possession, and the later checks on what came out. */
#include <stdint.h>
#include <stdlib.h>

#include "base/auto.h"
#include "ca/cert.h"
#include "ca/csr.h"
#include "ca/key_package.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As serverkeygen reads it: what is said of encryption lies in the input, and is chosen from without harm. */
static void read_for_keygen(const uint8_t *data, size_t size)
{
    struct csr csr;
    struct recipient r;
    struct err e;

    if (csr_read_for_keygen(BYTES(data, size), &csr, &e) != E_OK)
        return;
    const struct bytes parts[] = {csr.delivery.symmetric_id, csr.delivery.asymmetric_id, csr.delivery.capabilities};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (parts[i].len && (parts[i].p < data || parts[i].p + parts[i].len > data + size))
            abort();
    recipient_init(&r);
    for (int kind = RECIPIENT_KEK; kind <= RECIPIENT_EC; kind++) {
        r.kind = (enum recipient_kind)kind;
        r.alg = kind == RECIPIENT_RSA ? KEY_RSA2048 : KEY_P384;
        r.kek_len = kind == RECIPIENT_KEK ? 32 : 0;
        if (recipient_choose(&r, csr.delivery.capabilities, KEY_P256, &e) == E_OK && csr.delivery.capabilities.len == 0)
            abort();
    }
    recipient_clear(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t binding[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    struct conf_profile profile = {.name = (char *)(uintptr_t)"p", .key_usage = 1, .eku = EKU_CLIENT_AUTH};
    char text[256];
    struct csr csr;
    bool judged;
    struct err e;

    read_for_keygen(data, size);
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
