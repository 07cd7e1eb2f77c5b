/* SPDX-License-Identifier: Apache-2.0 */
/* OCSP requests and answers (RFC 6960, 9654, 9919): reading the request in place, writing ResponseData. No I/O. */
#ifndef INKAN_CA_OCSP_H
#define INKAN_CA_OCSP_H

#include <time.h>

#include "base/bytes.h"
#include "base/derw.h"
#include "base/err.h"
#include "base/limits.h"
#include "ca/follow.h"

enum ocsp_response_status {
    OCSP_SUCCESSFUL = 0,
    OCSP_MALFORMED_REQUEST = 1,
    OCSP_INTERNAL_ERROR = 2,
    OCSP_TRY_LATER = 3,
    OCSP_UNAUTHORIZED = 6,
};

enum cert_id_hash { CERT_ID_SHA1, CERT_ID_SHA256, CERT_ID_SHA384, CERT_ID_SHA512, CERT_ID_HASHES, CERT_ID_UNKNOWN };

struct ocsp_cert_id {
    struct bytes raw;       /* the whole CertID, echoed byte for byte */
    enum cert_id_hash hash; /* CERT_ID_UNKNOWN: unauthorized */
    struct bytes name_hash, key_hash;
    struct bytes serial;    /* minimal two's complement octets as sent */
};

struct ocsp_request {
    struct ocsp_cert_id cert[OCSP_CERTS_MAX];
    size_t cert_n;
    bool has_nonce;
    struct bytes nonce;     /* extnValue content as sent, to be echoed verbatim */
    bool is_signed;
};
/* E_OK, or E_INVALID: the answer is malformedRequest (boxes O6, O10, O25, O36, O39, O47). */
MUST_CHECK enum err_code ocsp_request_read(struct bytes der, struct ocsp_request *out, struct err *e);

/* One answer. */
struct ocsp_single {
    struct bytes cert_id;   /* raw */
    bool unknown;
    enum cert_status status;
    bool unissued_revoked;  /* box O3: certificateHold at 1970 */
    enum crl_reason reason;
    time_t revoked_at, this_update, next_update;
};
struct ocsp_response_inputs {
    uint8_t responder_key_hash[20];
    time_t produced_at;
    const struct ocsp_single *single;
    size_t single_n;
    struct bytes nonce;     /* extnValue content; has_nonce decides */
    bool has_nonce;
    bool extended_revoke;
};
MUST_CHECK enum err_code ocsp_data_write(const struct ocsp_response_inputs *in, struct buf *out, struct err *e);
/* successful OCSPResponse around ResponseData, with the responder's certificate in certs. */
MUST_CHECK enum err_code ocsp_response_assemble(struct bytes data, enum sig_alg alg, struct bytes sig,
                                                struct bytes responder_cert, struct buf *out, struct err *e);
/* The five octets of an error answer; static memory. */
struct bytes ocsp_error(enum ocsp_response_status status);

#endif
