/* SPDX-License-Identifier: Apache-2.0 */
/* A signed request of the administration (first octet 0 and other even ones), and a compact JWS alone. What is accepted keeps the core's rules. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ca/signed_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool rule)
{
    if (!rule)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct signed_request r;
    struct jws jws;
    uint8_t digest[32];
    struct err e = {0};

    if (size == 0)
        return 0;
    if (data[0] % 2) {
        must(jws_read_compact(BYTES(data + 1, size - 1), SIGNED_REQUEST_MAX, &jws, &e) == E_OK || e.msg[0] != '\0');
        return 0;
    }
    if (signed_request_read(BYTES(data + 1, size - 1), &r, &e) != E_OK) {
        must(e.msg[0] != '\0');
        signed_request_clear(&r);
        return 0;
    }
    must(json_is_object(r.args) && r.node[0] && r.op[0] && r.exp > r.iat && r.exp - r.iat <= SIGNED_LIFE_MAX_S);
    must(strcmp(r.jws.header.typ, SIGNED_TYP) == 0 && r.jws.header.alg != SIG_NONE);
    must(request_digest(r.op, r.args, digest, &e) == E_OK);
    signed_request_clear(&r);
    return 0;
}
