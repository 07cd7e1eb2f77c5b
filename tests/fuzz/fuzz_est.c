/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The texts of an EST request: the first octet chooses a base64 body (RFC 8951 3.1) or an Authorization field. What decodes
 * encodes and decodes to the same octets; a password fits what it was promised.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "enroll/basic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool claim)
{
    if (!claim)
        abort();
}

static void body(struct bytes text)
{
    struct buf once = BUF_INIT(CSR_MAX_LEN), again = BUF_INIT(4 * CSR_MAX_LEN), twice = BUF_INIT(CSR_MAX_LEN);
    struct err e = {0};

    if (base64_decode(text, &once, &e) == E_OK) {
        must(once.len <= text.len / 4 * 3);
        base64_encode(&again, buf_bytes(&once), 64);
        must(buf_ok(&again));
        must(base64_decode(buf_bytes(&again), &twice, &e) == E_OK && bytes_equal(buf_bytes(&once), buf_bytes(&twice)));
    } else {
        must(e.code != E_OK && e.msg[0] != '\0');
    }
    buf_clear(&once);
    buf_clear(&again);
    buf_clear(&twice);
}

static void authorization(struct bytes field)
{
    struct secret password = {0};
    char user[17];

    memset(user, 'x', sizeof user);
    if (basic_read(field, user, sizeof user, &password) == BASIC_OK) {
        must(memchr(user, '\0', sizeof user) != NULL);
        must(strlen(user) + password.len < field.len);
    }
    secret_clear(&password);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] & 1)
        authorization(BYTES(data + 1, size - 1));
    else
        body(BYTES(data + 1, size - 1));
    return 0;
}
