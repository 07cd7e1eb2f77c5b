/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The DER reader itself, on whatever structure comes: each element with every reader of its fields. What is taken lies inside what
 * was given, in order and with the right place in the whole, and each element read alone is one element again.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/der.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool claim)
{
    if (!claim)
        abort();
}

static void must_lie_in(const struct der *outer, struct bytes inner)
{
    must(inner.len == 0 || (inner.p >= outer->p && inner.p + inner.len <= outer->p + outer->len));
}

/* Every reader on a copy: a true one moves forward inside the input, a false one is harmless. */
static void read_as_everything(const struct der *at)
{
    struct der in, content;
    struct bytes value = {0};
    uint64_t number = 0;
    unsigned unused = 0;
    time_t when = 0;
    uint8_t tag = 0;
    bool flag = false, present = false;

#define TRY(call)                                                       \
    do {                                                                \
        in = *at;                                                       \
        value = (struct bytes){0};                                      \
        if (call) {                                                     \
            must(in.len <= at->len && in.p == at->p + (at->len - in.len)); \
            must_lie_in(at, value);                                     \
        }                                                               \
    } while (0)

    TRY(der_take_bool(&in, &flag));
    TRY(der_take_null(&in));
    TRY(der_take_integer(&in, &value));
    TRY(der_take_unsigned(&in, &value));
    TRY(der_take_u64(&in, &number));
    TRY(der_take_enumerated(&in, &number));
    TRY(der_take_oid(&in, &value));
    TRY(der_take_octets(&in, &value));
    TRY(der_take_bits(&in, &value, &unused) && (must(unused < 8), true));
    TRY(der_take_time(&in, &when, &tag) && (must(tag == DER_UTC_TIME || tag == DER_GENERALIZED_TIME), true));
    TRY(der_take_optional(&in, DER_SEQUENCE, &content, &present));
#undef TRY
}

static void walk(struct der in, unsigned depth)
{
    while (!der_at_end(&in)) {
        struct der before = in, content;
        struct bytes raw;
        uint8_t tag;

        read_as_everything(&in);
        if (!der_take_any(&in, &tag, &content, &raw))
            return;
        must(der_peek(&before, tag));
        must_lie_in(&before, raw);
        must_lie_in(&before, der_rest(&content));
        must(raw.p == before.p && raw.len == before.len - in.len && raw.len >= content.len + 2);
        must(content.offset == before.offset + (size_t)(content.p - before.p));
        must(der_is_one_element(raw, tag));
        if ((tag & 0x20) && depth < 32)
            walk(content, depth + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct der in;

    der_init(&in, data, size);
    walk(in, 0);
    return 0;
}
