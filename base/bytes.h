/* SPDX-License-Identifier: Apache-2.0 */
/* Borrowed and owned byte strings, hex, strict base64, big-endian numbers, checked sizes, secrets. */
#ifndef INKAN_BASE_BYTES_H
#define INKAN_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Lends memory that somebody else owns. {NULL, 0} is "absent" or "empty". */
struct bytes {
    const uint8_t *p;
    size_t len;
};

#define BYTES(ptr, n) ((struct bytes){(const uint8_t *)(ptr), (n)})
#define BYTES_OF(arr) ((struct bytes){(const uint8_t *)(arr), sizeof(arr)})

struct bytes bytes_str(const char *s); /* without the NUL; NULL gives {NULL, 0} */
bool bytes_equal(struct bytes a, struct bytes b);
bool bytes_equal_ct(struct bytes a, struct bytes b); /* constant time for equal lengths */
int bytes_cmp(struct bytes a, struct bytes b);       /* memcmp order, the shorter first */

/*
 * A growing byte string with a ceiling. Adding past `max` or out of memory sets `failed`, which sticks: build without
 * checking each step, then ask buf_ok() once. A failed buf still may be cleared and is never freed twice.
 */
struct buf {
    uint8_t *p;
    size_t len, cap, max;
    bool failed, no_memory; /* no_memory: that is why it failed */
};

#define BUF_INIT(max_len) ((struct buf){NULL, 0, 0, (max_len), false, false})
void buf_init(struct buf *b, size_t max);
void buf_clear(struct buf *b);  /* frees, keeps max */
void buf_reset(struct buf *b);  /* length 0, failed false, keeps the memory */
void buf_wipe(struct buf *b);   /* cleanses, then frees */
bool buf_ok(const struct buf *b);
/* Of a buf that failed: E_NOMEM, or E_INVALID with this text, for it would have grown past its ceiling. */
enum err_code buf_err(const struct buf *b, struct err *e, const char *fmt, ...) PRINTF_LIKE(3, 4);
bool buf_reserve(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_add_bytes(struct buf *b, struct bytes s);
void buf_add_str(struct buf *b, const char *s);
void buf_add_u8(struct buf *b, uint8_t v);
void buf_add_dec(struct buf *b, uint64_t v); /* "1234" */
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
struct bytes buf_bytes(const struct buf *b);
static inline void buf_auto_clear(struct buf *b)
{
    buf_clear(b);
}
#define AUTO_BUF __attribute__((cleanup(buf_auto_clear))) struct buf

/* Big-endian numbers. */
void put_be16(uint8_t *p, uint16_t v);
void put_be32(uint8_t *p, uint32_t v);
void put_be64(uint8_t *p, uint64_t v);
uint16_t get_be16(const uint8_t *p);
uint32_t get_be32(const uint8_t *p);
uint64_t get_be64(const uint8_t *p);

/* false when the sum or product does not fit. */
static inline bool size_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline bool size_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* The value of one digit, upper or lower case; -1: it is none. */
int hex_digit(char c);
/* Lower-case hex without colons. `out` holds 2 * len + 1 octets. */
void hex_encode(const uint8_t *p, size_t len, char *out);
/* Accepts upper and lower case, even length; false on anything else or when more than `max` octets. */
bool hex_decode(const char *s, size_t s_len, uint8_t *out, size_t max, size_t *out_len);

/* RFC 4648 section 4. `columns` 0: one line without a newline; otherwise lines of that width, LF after each. */
void base64_encode(struct buf *out, struct bytes in, unsigned columns);
/*
 * Strict RFC 4648 section 4 decoder (RFC 8951 3.1): SP, TAB, CR, LF are skipped anywhere; any other octet outside the
 * alphabet, misplaced or missing padding, non-zero spare bits are E_INVALID.
 */
MUST_CHECK enum err_code base64_decode(struct bytes in, struct buf *out, struct err *e);

/*
 * SHA-256 with a digest fetched once. `out` is 32 octets. Without memory for a hash the process logs that and exits; after
 * digest_prepare it takes OpenSSL a hundred octets.
 */
void digest_prepare(void);
void sha256(struct bytes in, uint8_t out[32]);
void sha256_2(struct bytes a, struct bytes b, uint8_t out[32]); /* of a || b */
/* In pieces; one at a time per thread, and no other digest between begin and end. */
void sha256_begin(void);
void sha256_add(struct bytes more);
void sha256_end(uint8_t out[32]);
void sha1(struct bytes in, uint8_t out[20]);                    /* SKI, CertID only */

/* Secrets: cleansed on free, compared in constant time, never formatted. */
struct secret {
    uint8_t *p;
    size_t len;
};
bool secret_set(struct secret *s, const void *p, size_t n);
void secret_clear(struct secret *s);

/* `n` octets from OpenSSL's DRBG; E_CRYPTO when it fails. */
MUST_CHECK enum err_code random_bytes(void *out, size_t n, struct err *e);

/* true when `s` is 1..ID_MAX_LEN octets of [A-Za-z0-9._:-], not starting with '.' or '-'. */
bool id_is_valid(const char *s);

#endif
