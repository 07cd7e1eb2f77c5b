/* SPDX-License-Identifier: Apache-2.0 */
/* The answer of serverkeygen as a station reads it: a line with the Content-Type, then the body. */
#include <stdint.h>
#include <stdlib.h>

#include "enroll/client/station_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool rule)
{
    if (!rule)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, '\n', size);
    char *type, *body;
    struct parcel parcel;
    size_t len;

    if (!end)
        return 0;
    len = size - (size_t)(end + 1 - data);
    type = strndup((const char *)data, (size_t)(end - data));
    body = malloc(len + 1);
    must(type && body);
    memcpy(body, end + 1, len);
    body[len] = '\0'; /* as https_call gives it */
    if (parcel_read(type, body, len, &parcel)) {
        must(parcel.key.len > 0 && parcel.key.p[parcel.key.len] == '\0' && parcel.certs.len > 0);
        parcel_clear(&parcel);
    }
    must(!parcel.key.p && !parcel.certs.p);
    free(type);
    free(body);
    return 0;
}
