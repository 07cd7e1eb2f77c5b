/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OCSP requests: what reads is answered the way the responder answers, and what it would sign must pass the linter. The
 * first octet also chooses what is said of the certificates.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/auto.h"
#include "ca/lint.h"
#include "ca/ocsp.h"

#define NOW 1800000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(struct bytes request, const struct ocsp_request *req, unsigned mood)
{
    AUTO_BUF data = BUF_INIT(60000);
    AUTO_BUF response = BUF_INIT(60000);
    struct ocsp_single single[OCSP_CERTS_MAX];
    struct ocsp_response_inputs in = {
        .produced_at = NOW,
        .single = single,
        .single_n = req->cert_n,
        .nonce = req->nonce,
        .has_nonce = req->has_nonce,
    };
    struct lint_ocsp_expect x = {.request = request, .now = NOW, .responder_not_after = NOW + 86400};
    struct lint_report report = {0};
    struct err e;

    for (size_t i = 0; i < req->cert_n; i++)
        single[i] = (struct ocsp_single){
            .cert_id = req->cert[i].raw,
            .unknown = (mood + i) % 4 == 3,
            .status = (enum cert_status)((mood + i) % CERT_STATUSES),
            .reason = (mood + i) % CERT_STATUSES == CERT_ON_HOLD ? REASON_CERTIFICATE_HOLD : REASON_UNSPECIFIED,
            .revoked_at = NOW - 1000,
            .this_update = NOW - 300,
            .next_update = NOW + 600,
        };
    if (ocsp_data_write(&in, &data, &e) != E_OK ||
        ocsp_response_assemble(buf_bytes(&data), SIG_ED25519, BYTES("sig", 3), BYTES("\x30\x00", 2), &response, &e) !=
            E_OK) {
        fprintf(stderr, "%s\n", e.msg);
        abort();
    }
    lint_ocsp(buf_bytes(&data), &x, &report);
    if (lint_result(&report, "ResponseData", &e) != E_OK) {
        fprintf(stderr, "%s\n", e.msg);
        abort();
    }
}

/* Anything else the responder answers with unauthorized. */
static bool names_one_issuer(const struct ocsp_request *req)
{
    for (size_t i = 0; i < req->cert_n; i++)
        if (req->cert[i].hash == CERT_ID_UNKNOWN || req->cert[i].hash != req->cert[0].hash ||
            !bytes_equal(req->cert[i].name_hash, req->cert[0].name_hash) ||
            !bytes_equal(req->cert[i].key_hash, req->cert[0].key_hash))
            return false;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lint_ocsp_expect x = {.now = NOW};
    struct lint_report report = {0};
    struct ocsp_request req;
    struct bytes der;
    struct err e;

    if (size == 0)
        return 0;
    der = BYTES(data + 1, size - 1);
    if (ocsp_request_read(der, &req, &e) == E_OK) {
        if (req.cert_n == 0 || req.cert_n > OCSP_CERTS_MAX)
            abort();
        if (names_one_issuer(&req))
            answer(der, &req, data[0]);
    }
    lint_ocsp(der, &x, &report);
    return 0;
}
