/* SPDX-License-Identifier: Apache-2.0 */
/* The header of a message and the readers of its fields: each field starts with an octet that chooses how it is read. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_field(struct msg_reader *r)
{
    char text[17];
    struct bytes v;
    struct err e = {0};

    switch (msg_get_u8(r) % 9) {
    case 0:
        (void)msg_get_bool(r);
        break;
    case 1:
        (void)msg_get_u16(r);
        break;
    case 2:
        (void)msg_get_u32(r);
        break;
    case 3:
        (void)msg_get_i64(r);
        break;
    case 4:
        if (msg_get_enum(r, 5) > 4)
            abort();
        break;
    case 5:
        v = msg_get_bytes(r, 100);
        if (v.len > 100 || (v.len && !v.p))
            abort();
        break;
    case 6:
        msg_get_str(r, text, sizeof text);
        if (strlen(text) >= sizeof text)
            abort();
        break;
    case 7:
        if (msg_get_err(r, &e) != E_OK && memchr(e.msg, '\0', sizeof e.msg) == NULL)
            abort();
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = data + size;
    struct msg_reader r;
    struct err e;

    if (msg_read_begin(BYTES(data, size), &r, &e) != E_OK)
        return 0;
    while (!r.failed && r.len) {
        read_field(&r);
        if (r.p + r.len != end)
            abort();
    }
    if ((msg_read_end(&r, &e) == E_OK) == r.failed)
        abort();
    return 0;
}
