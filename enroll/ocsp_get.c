/* SPDX-License-Identifier: Apache-2.0 */
#include "enroll/ocsp_get.h"

#include "base/limits.h"

static bool unescape(struct bytes in, struct buf *out)
{
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.p[i];
        size_t n = 0;

        if (c == '%') {
            if (in.len - i < 3 || !hex_decode((const char *)in.p + i + 1, 2, &c, 1, &n))
                return false;
            i += 2;
        }
        if (c <= ' ') /* the base64 decoder would skip blanks */
            return false;
        buf_add_u8(out, c);
    }
    return buf_ok(out);
}

bool ocsp_get_decode(struct bytes rest, struct buf *der)
{
    AUTO_BUF text = BUF_INIT(HTTP_REQUEST_LINE_MAX);
    struct err ignored = {0};

    while (rest.len && rest.p[0] == '/')
        rest = BYTES(rest.p + 1, rest.len - 1);
    return rest.len > 0 && unescape(rest, &text) && base64_decode(buf_bytes(&text), der, &ignored) == E_OK;
}
