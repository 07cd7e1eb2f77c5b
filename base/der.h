/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A strict DER reader (X.690): definite minimal lengths, single-octet tags, no allocation, no recursion, no OpenSSL.
 * It shares no code with the writer (base/derw.h).
 *
 * Every take function consumes one element and returns true, or returns false and leaves the reader where it was.
 * What it yields points into the input.
 */
#ifndef INKAN_BASE_DER_H
#define INKAN_BASE_DER_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/bytes.h"

enum der_tag {
    DER_BOOLEAN = 0x01,
    DER_INTEGER = 0x02,
    DER_BIT_STRING = 0x03,
    DER_OCTET_STRING = 0x04,
    DER_NULL = 0x05,
    DER_OID = 0x06,
    DER_ENUMERATED = 0x0a,
    DER_UTF8_STRING = 0x0c,
    DER_SEQUENCE = 0x30,
    DER_SET = 0x31,
    DER_NUMERIC_STRING = 0x12,
    DER_PRINTABLE_STRING = 0x13,
    DER_T61_STRING = 0x14,
    DER_IA5_STRING = 0x16,
    DER_UTC_TIME = 0x17,
    DER_GENERALIZED_TIME = 0x18,
    DER_VISIBLE_STRING = 0x1a,
    DER_UNIVERSAL_STRING = 0x1c,
    DER_BMP_STRING = 0x1e,
};
#define DER_CONTEXT(n)             (0x80 | (n)) /* primitive [n] IMPLICIT */
#define DER_CONTEXT_CONSTRUCTED(n) (0xa0 | (n)) /* constructed [n] */

struct der {
    const uint8_t *p;
    size_t len;    /* octets left */
    size_t offset; /* of p in the outermost input, for messages */
};

void der_init(struct der *in, const uint8_t *der, size_t der_len);
bool der_at_end(const struct der *in);
bool der_peek(const struct der *in, uint8_t tag); /* is the next tag this one? */
bool der_take(struct der *in, uint8_t tag, struct der *content);
bool der_take_raw(struct der *in, uint8_t tag, struct der *content, struct bytes *raw); /* raw: tag, length, value */
bool der_take_any(struct der *in, uint8_t *tag, struct der *content, struct bytes *raw); /* raw may be NULL */
/* Absent is not an error: true with *present false. A present but broken element is false. */
bool der_take_optional(struct der *in, uint8_t tag, struct der *content, bool *present);
bool der_take_bool(struct der *in, bool *value);              /* 0x00 or 0xff only */
bool der_take_null(struct der *in);
bool der_take_integer(struct der *in, struct bytes *value);   /* minimal two's complement octets, may be negative */
bool der_take_unsigned(struct der *in, struct bytes *value);  /* >= 0; magnitude without the sign octet (zero: one 0) */
bool der_take_u64(struct der *in, uint64_t *value);
bool der_take_enumerated(struct der *in, uint64_t *value);
bool der_take_oid(struct der *in, struct bytes *value);       /* content octets, checked to be minimal */
bool der_take_octets(struct der *in, struct bytes *value);
bool der_take_bits(struct der *in, struct bytes *value, unsigned *unused); /* spare bits must be zero */
/* UTCTime YYMMDDHHMMSSZ (1950..2049) or GeneralizedTime YYYYMMDDHHMMSSZ; nothing else (RFC 5280 4.1.2.5). */
bool der_take_time(struct der *in, time_t *value, uint8_t *tag);
struct bytes der_rest(const struct der *in);

/* The whole of one element at the start of `in`, no trailing octets. */
bool der_is_one_element(struct bytes in, uint8_t tag);

#endif
