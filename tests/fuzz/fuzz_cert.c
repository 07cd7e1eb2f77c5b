/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates: the reader, the names and the key in them, and the linter on the same octets. */
#include <stdint.h>
#include <stdlib.h>

#include "base/auto.h"
#include "ca/cert.h"
#include "ca/lint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void lint(const struct cert *c)
{
    static const enum profile_kind kinds[] = {PROFILE_LDEVID, PROFILE_IDEVID, PROFILE_ISSUING_CA, PROFILE_OCSP_SIGNER};
    struct lint_cert_expect x = {
        .issuer_subject = c->issuer,
        .issuer_ski = c->aki,
        .issuer_not_after = TIME_NO_EXPIRY,
        .sig_alg = SIG_ECDSA_SHA256,
        .spki = c->spki,
        .serial = c->serial,
        .now = c->not_before,
    };

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct conf_profile profile = {.name = (char *)(uintptr_t)"p", .kind = kinds[i], .path_len = -1};
        struct lint_report report = {0};
        struct err e;

        x.profile = &profile;
        lint_cert(c->tbs, &x, &report);
        if ((lint_result(&report, "TBSCertificate", &e) == E_OK) != (report.n == 0))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes der = BYTES(data, size);
    struct cert c = {.tbs = der}; /* what does not read is linted whole */
    struct pubkey key;
    char text[256];
    struct err e;

    if (cert_read(der, &c, &e) == E_OK) {
        name_to_text(c.subject, text, sizeof text);
        name_to_text(c.issuer, text, sizeof text);
        (void)name_matches(c.subject, c.issuer);
        if (pubkey_read(c.spki, &key, &e) == E_OK)
            (void)pubkey_verifies(&key, c.sig_alg, c.tbs, c.sig);
    } else {
        c = (struct cert){.tbs = der};
    }
    lint(&c);
    return 0;
}
