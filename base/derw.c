/* SPDX-License-Identifier: Apache-2.0 */
#include "base/derw.h"

#include <stdio.h>
#include <string.h>

#include "base/der.h"

void derw_init(struct derw *w, struct buf *out)
{
    *w = (struct derw){.out = out};
}

/* Octets of a length in DER, written to `out` (at most 9). */
static size_t length_octets(size_t len, uint8_t out[9])
{
    size_t n = 0;

    if (len < 0x80) {
        out[0] = (uint8_t)len;
        return 1;
    }
    for (size_t rest = len; rest; rest >>= 8)
        n++;
    out[0] = (uint8_t)(0x80 | n);
    for (size_t i = 0; i < n; i++)
        out[1 + i] = (uint8_t)(len >> (8 * (n - 1 - i)));
    return n + 1;
}

void derw_begin_large(struct derw *w, uint8_t tag, size_t expected_len)
{
    uint8_t head[10] = {tag};
    size_t room = length_octets(expected_len, head + 1);

    if (w->depth == DERW_DEPTH) {
        w->out->failed = true;
        return;
    }
    buf_add(w->out, head, 1 + room);
    w->room[w->depth] = (uint8_t)room;
    w->open[w->depth++] = w->out->len;
}

void derw_begin(struct derw *w, uint8_t tag)
{
    derw_begin_large(w, tag, 0);
}

void derw_end(struct derw *w)
{
    uint8_t length[9];
    size_t start, content, n, room;

    if (w->depth == 0) {
        w->out->failed = true;
        return;
    }
    start = w->open[--w->depth];
    room = w->room[w->depth];
    if (!buf_ok(w->out))
        return;
    content = w->out->len - start;
    n = length_octets(content, length);
    if (n > room && !buf_reserve(w->out, n - room))
        return;
    if (n != room)
        memmove(w->out->p + start + n - room, w->out->p + start, content);
    w->out->len = start + n - room + content;
    memcpy(w->out->p + start - room, length, n);
}

bool derw_finish(struct derw *w)
{
    return w->depth == 0 && buf_ok(w->out);
}

void derw_raw(struct derw *w, struct bytes der)
{
    buf_add_bytes(w->out, der);
}

void derw_header(struct derw *w, uint8_t tag, size_t len)
{
    uint8_t length[9];
    size_t n = length_octets(len, length);

    buf_add_u8(w->out, tag);
    buf_add(w->out, length, n);
}

void derw_element(struct derw *w, uint8_t tag, struct bytes content)
{
    derw_header(w, tag, content.len);
    buf_add_bytes(w->out, content);
}

void derw_oid(struct derw *w, struct bytes oid_content)
{
    derw_element(w, DER_OID, oid_content);
}

void derw_bool(struct derw *w, bool v)
{
    derw_element(w, DER_BOOLEAN, BYTES(v ? "\xff" : "\x00", 1));
}

void derw_null(struct derw *w)
{
    derw_element(w, DER_NULL, (struct bytes){NULL, 0});
}

static void number(struct derw *w, uint8_t tag, struct bytes m)
{
    bool sign;

    while (m.len > 0 && m.p[0] == 0)
        m = BYTES(m.p + 1, m.len - 1);
    sign = m.len == 0 || m.p[0] >= 0x80;
    derw_header(w, tag, m.len + sign);
    if (sign)
        buf_add_u8(w->out, 0);
    buf_add_bytes(w->out, m);
}

void derw_unsigned(struct derw *w, struct bytes magnitude)
{
    number(w, DER_INTEGER, magnitude);
}

void derw_u64(struct derw *w, uint64_t v)
{
    uint8_t octets[8];

    put_be64(octets, v);
    number(w, DER_INTEGER, BYTES_OF(octets));
}

void derw_enumerated(struct derw *w, uint64_t v)
{
    uint8_t octets[8];

    put_be64(octets, v);
    number(w, DER_ENUMERATED, BYTES_OF(octets));
}

void derw_octets(struct derw *w, struct bytes v)
{
    derw_element(w, DER_OCTET_STRING, v);
}

void derw_bits(struct derw *w, struct bytes v, unsigned unused)
{
    derw_header(w, DER_BIT_STRING, v.len + 1);
    buf_add_u8(w->out, (uint8_t)unused);
    buf_add_bytes(w->out, v);
}

void derw_named_bits(struct derw *w, uint32_t bits)
{
    uint8_t octets[4] = {0};
    unsigned highest = 0;

    if (bits == 0) {
        derw_bits(w, (struct bytes){NULL, 0}, 0);
        return;
    }
    for (unsigned i = 0; i < 32; i++) {
        if (!(bits >> i & 1))
            continue;
        octets[i / 8] |= (uint8_t)(0x80 >> (i % 8));
        highest = i;
    }
    derw_bits(w, BYTES(octets, highest / 8 + 1), 7 - highest % 8);
}

void derw_utf8(struct derw *w, const char *s)
{
    derw_element(w, DER_UTF8_STRING, bytes_str(s));
}

void derw_printable(struct derw *w, const char *s)
{
    derw_element(w, DER_PRINTABLE_STRING, bytes_str(s));
}

void derw_ia5(struct derw *w, const char *s)
{
    derw_element(w, DER_IA5_STRING, bytes_str(s));
}

static void time_element(struct derw *w, time_t t, bool always_generalized)
{
    char text[48];
    struct tm tm;
    bool utc;

    if (t > TIME_NO_EXPIRY || !gmtime_r(&t, &tm) || tm.tm_year < 0 - 1900) {
        w->out->failed = true;
        return;
    }
    utc = !always_generalized && tm.tm_year >= 50 && tm.tm_year < 150;
    if (utc)
        snprintf(text, sizeof(text), "%02d%02d%02d%02d%02d%02dZ", tm.tm_year % 100, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                 tm.tm_min, tm.tm_sec);
    else
        snprintf(text, sizeof(text), "%04d%02d%02d%02d%02d%02dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                 tm.tm_hour, tm.tm_min, tm.tm_sec);
    derw_element(w, utc ? DER_UTC_TIME : DER_GENERALIZED_TIME, bytes_str(text));
}

void derw_time(struct derw *w, time_t t)
{
    time_element(w, t, false);
}

void derw_gentime(struct derw *w, time_t t)
{
    time_element(w, t, true);
}

struct bytes sig_alg_der(enum sig_alg alg)
{
    static const uint8_t rsa_sha256[] = {0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
                                         0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00};
    static const uint8_t ecdsa_sha256[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
    static const uint8_t ecdsa_sha384[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03};
    static const uint8_t ed25519[] = {0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70};

    switch (alg) {
    case SIG_RSA_SHA256:
        return BYTES_OF(rsa_sha256);
    case SIG_ECDSA_SHA256:
        return BYTES_OF(ecdsa_sha256);
    case SIG_ECDSA_SHA384:
        return BYTES_OF(ecdsa_sha384);
    case SIG_ED25519:
        return BYTES_OF(ed25519);
    case SIG_NONE:
    case SIG_ALGS_COUNT:
        break;
    }
    return (struct bytes){NULL, 0};
}

void derw_signed(struct derw *w, struct bytes tbs, enum sig_alg alg, struct bytes signature)
{
    struct bytes alg_der = sig_alg_der(alg);

    if (alg_der.len == 0) {
        w->out->failed = true;
        return;
    }
    derw_begin(w, DER_SEQUENCE);
    derw_raw(w, tbs);
    derw_raw(w, alg_der);
    derw_bits(w, signature, 0);
    derw_end(w);
}
