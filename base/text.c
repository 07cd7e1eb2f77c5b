/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t text_char_len(const uint8_t *p, size_t n)
{
    size_t len = n == 0 ? 0 : p[0] < 0x80 ? 1 : p[0] < 0xc2 || p[0] > 0xf4 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

    if (len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    /* No longer form than needed, no half of a pair of UTF-16, nothing above U+10FFFF. */
    if (len > 1 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
                    (p[0] == 0xf4 && p[1] > 0x8f)))
        return 0;
    return len;
}

bool text_is_control(const uint8_t *p, size_t char_len)
{
    unsigned c;

    if (char_len == 1)
        return p[0] < 0x20 || p[0] == 0x7f;
    if (char_len == 2) {
        c = (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
        return c < 0xa0 || c == 0x61c;
    }
    if (char_len != 3)
        return false;
    c = (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    return c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

const char *text_shown(const char *in, char *out, size_t size)
{
    const uint8_t *p = (const uint8_t *)(in ? in : ""), *end = p + strlen((const char *)p);
    size_t at = 0;
    bool ascii_only = MB_CUR_MAX == 1;

    while (p < end) {
        size_t len = text_char_len(p, (size_t)(end - p));
        bool plain = len && !text_is_control(p, len) && !(ascii_only && len > 1), room = at + (plain ? len : 4) < size;

        if (!room)
            break;
        if (plain)
            memcpy(out + at, p, len);
        else
            snprintf(out + at, size - at, "\\x%02x", *p);
        at += plain ? len : 4;
        p += plain ? len : 1;
    }
    out[at] = '\0';
    return out;
}
