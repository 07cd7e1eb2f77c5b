/* SPDX-License-Identifier: Apache-2.0 */
#include "base/der.h"

#include <string.h>

/* Four length octets cover everything we ever read; more is refused before it is computed. */
#define LENGTH_OCTETS_MAX 4

void der_init(struct der *in, const uint8_t *der, size_t der_len)
{
    *in = (struct der){der, der_len, 0};
}

bool der_at_end(const struct der *in)
{
    return in->len == 0;
}

bool der_peek(const struct der *in, uint8_t tag)
{
    return in->len > 0 && in->p[0] == tag;
}

struct bytes der_rest(const struct der *in)
{
    return BYTES(in->p, in->len);
}

/* X.690 8.1.2.4 (no multi-octet tags), 10.2 (no constructed strings), 8.9.1 and 8.11.1 (SEQUENCE, SET constructed). */
static bool tag_is_der(uint8_t tag)
{
    uint8_t number = tag & 0x1f;

    if (number == 0x1f || tag == 0)
        return false;
    if ((tag & 0xc0) != 0)
        return true;
    return ((tag & 0x20) != 0) == (number == 0x10 || number == 0x11);
}

/* Header of the element at the front; false unless the whole element is there. */
static bool read_header(const struct der *in, size_t *header_len, size_t *content_len)
{
    size_t len, header = 2;

    if (in->len < 2 || !tag_is_der(in->p[0]))
        return false;
    len = in->p[1];
    if (len >= 0x80) {
        size_t octets = len & 0x7f;

        if (octets == 0 || octets > LENGTH_OCTETS_MAX || in->len - 2 < octets || in->p[2] == 0)
            return false;
        len = 0;
        for (size_t i = 0; i < octets; i++)
            len = len << 8 | in->p[2 + i];
        if (len < 0x80)
            return false;
        header += octets;
    }
    if (in->len - header < len)
        return false;
    *header_len = header;
    *content_len = len;
    return true;
}

bool der_take_any(struct der *in, uint8_t *tag, struct der *content, struct bytes *raw)
{
    struct der before = *in;
    size_t header, len;

    if (!read_header(in, &header, &len))
        return false;
    *tag = before.p[0];
    if (raw)
        *raw = BYTES(before.p, header + len);
    *content = (struct der){before.p + header, len, before.offset + header};
    *in = (struct der){before.p + header + len, before.len - header - len, before.offset + header + len};
    return true;
}

bool der_take_raw(struct der *in, uint8_t tag, struct der *content, struct bytes *raw)
{
    uint8_t found;

    return der_peek(in, tag) && der_take_any(in, &found, content, raw);
}

bool der_take(struct der *in, uint8_t tag, struct der *content)
{
    return der_take_raw(in, tag, content, NULL);
}

bool der_take_optional(struct der *in, uint8_t tag, struct der *content, bool *present)
{
    *present = der_peek(in, tag);
    return !*present || der_take(in, tag, content);
}

bool der_take_bool(struct der *in, bool *value)
{
    struct der t = *in, c;

    if (!der_take(&t, DER_BOOLEAN, &c) || c.len != 1 || (c.p[0] != 0x00 && c.p[0] != 0xff))
        return false;
    *value = c.p[0] != 0;
    *in = t;
    return true;
}

bool der_take_null(struct der *in)
{
    struct der t = *in, c;

    if (!der_take(&t, DER_NULL, &c) || c.len != 0)
        return false;
    *in = t;
    return true;
}

/* X.690 8.3.2: the first nine bits are neither all zero nor all one. */
static bool integer_is_minimal(const struct der *c)
{
    if (c->len == 0)
        return false;
    return c->len == 1 || !((c->p[0] == 0x00 && c->p[1] < 0x80) || (c->p[0] == 0xff && c->p[1] >= 0x80));
}

static bool take_number(struct der *in, uint8_t tag, struct bytes *value)
{
    struct der t = *in, c;

    if (!der_take(&t, tag, &c) || !integer_is_minimal(&c))
        return false;
    *value = BYTES(c.p, c.len);
    *in = t;
    return true;
}

static bool take_magnitude(struct der *in, uint8_t tag, struct bytes *value)
{
    struct der t = *in;
    struct bytes v;

    if (!take_number(&t, tag, &v) || v.p[0] >= 0x80)
        return false;
    if (v.len > 1 && v.p[0] == 0)
        v = BYTES(v.p + 1, v.len - 1);
    *value = v;
    *in = t;
    return true;
}

static bool take_u64(struct der *in, uint8_t tag, uint64_t *value)
{
    struct der t = *in;
    struct bytes v;
    uint64_t n = 0;

    if (!take_magnitude(&t, tag, &v) || v.len > sizeof(n))
        return false;
    for (size_t i = 0; i < v.len; i++)
        n = n << 8 | v.p[i];
    *value = n;
    *in = t;
    return true;
}

bool der_take_integer(struct der *in, struct bytes *value)
{
    return take_number(in, DER_INTEGER, value);
}

bool der_take_unsigned(struct der *in, struct bytes *value)
{
    return take_magnitude(in, DER_INTEGER, value);
}

bool der_take_u64(struct der *in, uint64_t *value)
{
    return take_u64(in, DER_INTEGER, value);
}

bool der_take_enumerated(struct der *in, uint64_t *value)
{
    return take_u64(in, DER_ENUMERATED, value);
}

/* X.690 8.19.2: no subidentifier starts with 0x80, the last one is complete. */
static bool oid_is_minimal(const struct der *c)
{
    bool first = true;

    for (size_t i = 0; i < c->len; i++) {
        if (first && c->p[i] == 0x80)
            return false;
        first = c->p[i] < 0x80;
    }
    return c->len > 0 && first;
}

bool der_take_oid(struct der *in, struct bytes *value)
{
    struct der t = *in, c;

    if (!der_take(&t, DER_OID, &c) || !oid_is_minimal(&c))
        return false;
    *value = BYTES(c.p, c.len);
    *in = t;
    return true;
}

bool der_take_octets(struct der *in, struct bytes *value)
{
    struct der c;

    if (!der_take(in, DER_OCTET_STRING, &c))
        return false;
    *value = BYTES(c.p, c.len);
    return true;
}

bool der_take_bits(struct der *in, struct bytes *value, unsigned *unused)
{
    struct der t = *in, c;

    if (!der_take(&t, DER_BIT_STRING, &c) || c.len == 0 || c.p[0] > 7)
        return false;
    if (c.p[0] != 0 && (c.len == 1 || (c.p[c.len - 1] & ((1u << c.p[0]) - 1)) != 0))
        return false;
    *value = BYTES(c.p + 1, c.len - 1);
    *unused = c.p[0];
    *in = t;
    return true;
}

static bool two_digits(const uint8_t *p, int *out)
{
    if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
        return false;
    *out = (p[0] - '0') * 10 + p[1] - '0';
    return true;
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar; year 0..9999, month 1..12. */
static int64_t days_of(int year, int month, int day)
{
    static const int before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int64_t y = year + 399; /* one cycle of 400 years up: no division of a negative number in year 0 */

    return y * 365 + y / 4 - y / 100 + y / 400 + before[month - 1] + (month > 2 && is_leap(year)) + day - 719163 - 146097;
}

bool der_take_time(struct der *in, time_t *value, uint8_t *tag)
{
    static const int days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int part[6] = {0}, century = 0, year;
    struct der t = *in, c;
    uint8_t found;

    if (!der_take_any(&t, &found, &c, NULL))
        return false;
    if (found == DER_GENERALIZED_TIME) {
        if (c.len != 15 || !two_digits(c.p, &century))
            return false;
        c.p += 2;
    } else if (found != DER_UTC_TIME || c.len != 13) {
        return false;
    }
    for (size_t i = 0; i < 6; i++)
        if (!two_digits(c.p + 2 * i, &part[i]))
            return false;
    if (c.p[12] != 'Z')
        return false;
    if (found == DER_UTC_TIME)
        century = part[0] >= 50 ? 19 : 20;
    year = century * 100 + part[0];
    if (part[1] < 1 || part[1] > 12 || part[2] < 1 || part[3] > 23 || part[4] > 59 || part[5] > 59)
        return false;
    if (part[2] > days[part[1] - 1] + (part[1] == 2 && is_leap(year)))
        return false;
    *value = (time_t)(days_of(year, part[1], part[2]) * 86400 + part[3] * 3600 + part[4] * 60 + part[5]);
    *tag = found;
    *in = t;
    return true;
}

bool der_is_one_element(struct bytes in, uint8_t tag)
{
    struct der d, c;

    der_init(&d, in.p, in.len);
    return der_take(&d, tag, &c) && der_at_end(&d);
}
