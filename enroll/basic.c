/* SPDX-License-Identifier: Apache-2.0 */
#include "enroll/basic.h"

#include <string.h>
#include <strings.h>

#define DECODED_MAX 1024

static enum basic_result split(struct bytes pair, char *user, size_t user_size, struct secret *password)
{
    const uint8_t *colon = pair.len ? memchr(pair.p, ':', pair.len) : NULL;
    size_t user_len;

    for (size_t i = 0; i < pair.len; i++)
        if (pair.p[i] < 0x20 || pair.p[i] == 0x7f)
            return BASIC_MALFORMED;
    if (!colon)
        return BASIC_MALFORMED;
    user_len = (size_t)(colon - pair.p);
    if (user_len >= user_size || pair.len - user_len - 1 > BASIC_PASSWORD_MAX)
        return BASIC_TOO_LONG;
    memcpy(user, pair.p, user_len);
    user[user_len] = '\0';
    return secret_set(password, colon + 1, pair.len - user_len - 1) ? BASIC_OK : BASIC_NO_MEMORY;
}

enum basic_result basic_read(struct bytes authorization, char *user, size_t user_size, struct secret *password)
{
    static const char scheme[] = "basic";
    const size_t scheme_len = sizeof scheme - 1;
    struct buf pair = BUF_INIT(DECODED_MAX);
    struct err ignored = {0};
    enum basic_result got = BASIC_MALFORMED;
    struct bytes coded;

    user[0] = '\0';
    if (authorization.len < scheme_len || strncasecmp((const char *)authorization.p, scheme, scheme_len) != 0)
        return BASIC_NONE;
    coded = BYTES(authorization.p + scheme_len, authorization.len - scheme_len);
    if (coded.len && coded.p[0] != ' ')
        return BASIC_NONE; /* a scheme that only starts like ours */
    while (coded.len && coded.p[0] == ' ')
        coded = BYTES(coded.p + 1, coded.len - 1);
    if (coded.len / 4 * 3 > DECODED_MAX)
        return BASIC_TOO_LONG;
    if (memchr(coded.p, ' ', coded.len) || memchr(coded.p, '\t', coded.len))
        return BASIC_MALFORMED; /* the decoder would skip them */
    /* Reserved whole: growing would leave a copy of the password in freed memory. */
    if (buf_reserve(&pair, coded.len / 4 * 3 + 3 < DECODED_MAX ? coded.len / 4 * 3 + 3 : DECODED_MAX) &&
        base64_decode(coded, &pair, &ignored) == E_OK)
        got = split(buf_bytes(&pair), user, user_size, password);
    else if (pair.no_memory)
        got = BASIC_NO_MEMORY;
    buf_wipe(&pair);
    return got;
}
