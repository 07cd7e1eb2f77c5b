/* SPDX-License-Identifier: Apache-2.0 */
#include "base/oid.h"

#include <stdio.h>

#define OID_DEFINE(name, text, ...)                                                                                    \
    static const uint8_t name##_octets[] = {__VA_ARGS__};                                                              \
    const struct bytes name = {name##_octets, sizeof(name##_octets)};
OID_LIST(OID_DEFINE)
#undef OID_DEFINE

const char *oid_name(struct bytes oid)
{
#define OID_ROW(name, text, ...) {text, name##_octets, sizeof(name##_octets)},
    static const struct {
        const char *text;
        const uint8_t *p;
        size_t len;
    } rows[] = {OID_LIST(OID_ROW)};
#undef OID_ROW

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (bytes_equal(oid, BYTES(rows[i].p, rows[i].len)))
            return rows[i].text;
    return NULL;
}

void oid_format(struct bytes oid, char *out, size_t size)
{
    uint64_t arc = 0;
    size_t at = 0;
    bool first = true;

    if (size == 0)
        return;
    out[0] = '\0';
    for (size_t i = 0; i < oid.len; i++) {
        int n;

        if (arc >> 57) {
            snprintf(out, size, "?");
            return;
        }
        arc = arc << 7 | (oid.p[i] & 0x7f);
        if (oid.p[i] & 0x80)
            continue;
        if (first) {
            uint64_t top = arc < 40 ? 0 : arc < 80 ? 1 : 2;

            n = snprintf(out, size, "%llu.%llu", (unsigned long long)top, (unsigned long long)(arc - top * 40));
        } else {
            n = snprintf(out + at, size - at, ".%llu", (unsigned long long)arc);
        }
        if (n < 0 || (size_t)n >= size - at)
            return;
        at += (size_t)n;
        first = false;
        arc = 0;
    }
}
