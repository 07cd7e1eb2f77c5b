/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/spare.h"

struct bytes bytes_str(const char *s)
{
    return s ? BYTES(s, strlen(s)) : (struct bytes){NULL, 0};
}

bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

bool bytes_equal_ct(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.p, b.p, a.len) == 0);
}

int bytes_cmp(struct bytes a, struct bytes b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.p, b.p, n) : 0;

    return c ? c : (a.len > b.len) - (a.len < b.len);
}

/* ---- growing buffers ---- */

void buf_init(struct buf *b, size_t max)
{
    *b = BUF_INIT(max);
}

void buf_clear(struct buf *b)
{
    free(b->p);
    *b = BUF_INIT(b->max);
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->failed = b->no_memory = false;
}

void buf_wipe(struct buf *b)
{
    if (b->p)
        OPENSSL_cleanse(b->p, b->cap);
    buf_clear(b);
}

bool buf_ok(const struct buf *b)
{
    return !b->failed;
}

enum err_code buf_err(const struct buf *b, struct err *e, const char *fmt, ...)
{
    char text[sizeof(((struct err *)0)->msg)];
    va_list ap;

    if (b->no_memory)
        return err_set(e, E_NOMEM, "out of memory");
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return err_set(e, E_INVALID, "%s", text);
}

bool buf_reserve(struct buf *b, size_t more)
{
    size_t want, cap;
    uint8_t *grown;

    if (b->failed)
        return false;
    if (!size_add(b->len, more, &want) || want > b->max) {
        b->failed = true;
        return false;
    }
    if (want <= b->cap)
        return true;
    cap = b->cap < 64 ? 64 : b->cap;
    while (cap < want)
        cap = cap > SIZE_MAX / 2 ? want : cap * 2;
    if (cap > b->max)
        cap = b->max;
    /* Not realloc: a copy left behind in freed memory would outlive buf_wipe. */
    grown = spare_malloc(cap);
    if (!grown) {
        b->failed = b->no_memory = true;
        return false;
    }
    if (b->len)
        memcpy(grown, b->p, b->len);
    if (b->p)
        OPENSSL_cleanse(b->p, b->len);
    free(b->p);
    b->p = grown;
    b->cap = cap;
    return true;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    if (!buf_reserve(b, n) || n == 0)
        return;
    memcpy(b->p + b->len, p, n);
    b->len += n;
}

void buf_add_bytes(struct buf *b, struct bytes s)
{
    buf_add(b, s.p, s.len);
}

void buf_add_str(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_add_u8(struct buf *b, uint8_t v)
{
    buf_add(b, &v, 1);
}

void buf_add_dec(struct buf *b, uint64_t v)
{
    uint8_t text[20];
    size_t at = sizeof(text);

    do
        text[--at] = (uint8_t)('0' + v % 10);
    while ((v /= 10) != 0);
    buf_add(b, text + at, sizeof(text) - at);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    char small[256];
    char *large;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(small, sizeof(small), fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->failed = true;
        return;
    }
    if ((size_t)n < sizeof(small)) {
        buf_add(b, small, (size_t)n);
        return;
    }
    large = spare_malloc((size_t)n + 1);
    if (!large) {
        b->failed = b->no_memory = true;
        return;
    }
    va_start(ap, fmt);
    vsnprintf(large, (size_t)n + 1, fmt, ap);
    va_end(ap);
    buf_add(b, large, (size_t)n);
    free(large);
}

struct bytes buf_bytes(const struct buf *b)
{
    return BYTES(b->p, b->len);
}

/* ---- numbers ---- */

void put_be16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

void put_be32(uint8_t *p, uint32_t v)
{
    put_be16(p, (uint16_t)(v >> 16));
    put_be16(p + 2, (uint16_t)v);
}

void put_be64(uint8_t *p, uint64_t v)
{
    put_be32(p, (uint32_t)(v >> 32));
    put_be32(p + 4, (uint32_t)v);
}

uint16_t get_be16(const uint8_t *p)
{
    return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

uint32_t get_be32(const uint8_t *p)
{
    return (uint32_t)get_be16(p) << 16 | get_be16(p + 2);
}

uint64_t get_be64(const uint8_t *p)
{
    return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}

/* ---- hex and base64 ---- */

void hex_encode(const uint8_t *p, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * len] = '\0';
}

int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool hex_decode(const char *s, size_t s_len, uint8_t *out, size_t max, size_t *out_len)
{
    if (s_len % 2 != 0 || s_len / 2 > max)
        return false;
    for (size_t i = 0; i < s_len / 2; i++) {
        int hi = hex_digit(s[2 * i]), lo = hex_digit(s[2 * i + 1]);

        if (hi < 0 || lo < 0)
            return false;
        out[i] = (uint8_t)(hi << 4 | lo);
    }
    *out_len = s_len / 2;
    return true;
}

static const char base64_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct buf *out, struct bytes in, unsigned columns)
{
    unsigned column = 0;

    for (size_t i = 0; i < in.len; i += 3) {
        size_t left = in.len - i;
        uint32_t v = (uint32_t)in.p[i] << 16 | (left > 1 ? (uint32_t)in.p[i + 1] << 8 : 0) | (left > 2 ? in.p[i + 2] : 0);
        char quad[4] = {base64_alphabet[v >> 18], base64_alphabet[v >> 12 & 63],
                        left > 1 ? base64_alphabet[v >> 6 & 63] : '=', left > 2 ? base64_alphabet[v & 63] : '='};

        if (columns == 0) {
            buf_add(out, quad, sizeof(quad));
            continue;
        }
        for (size_t k = 0; k < sizeof(quad); k++) {
            buf_add(out, &quad[k], 1);
            if (++column == columns) {
                buf_add(out, "\n", 1);
                column = 0;
            }
        }
    }
    if (column != 0)
        buf_add(out, "\n", 1);
}

/* 0..63 a value, the others a class of octet. */
enum { B64_BAD = 64, B64_SPACE, B64_PAD };

static uint8_t base64_class(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return (uint8_t)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (uint8_t)(c - 'a' + 26);
    if (c >= '0' && c <= '9')
        return (uint8_t)(c - '0' + 52);
    switch (c) {
    case '+':
        return 62;
    case '/':
        return 63;
    case '=':
        return B64_PAD;
    case ' ':
    case '\t':
    case '\r':
    case '\n':
        return B64_SPACE;
    default:
        return B64_BAD;
    }
}

enum err_code base64_decode(struct bytes in, struct buf *out, struct err *e)
{
    uint32_t quad = 0;
    unsigned have = 0, pads = 0;

    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = base64_class(in.p[i]);

        if (c == B64_SPACE)
            continue;
        if (c == B64_BAD)
            return err_set(e, E_INVALID, "base64: octet 0x%02x at offset %zu is not in the alphabet (RFC 4648 3.3)",
                           in.p[i], i);
        if (c == B64_PAD) {
            /* Padding belongs to places 3 and 4 of the last group only. */
            if (have < 2 || have + pads > 3)
                return err_set(e, E_INVALID, "base64: misplaced padding at offset %zu (RFC 4648 section 4)", i);
            pads++;
            continue;
        }
        if (pads)
            return err_set(e, E_INVALID, "base64: data after padding at offset %zu (RFC 4648 section 4)", i);
        quad = quad << 6 | c;
        if (++have < 4)
            continue;
        buf_add(out, (uint8_t[]){(uint8_t)(quad >> 16), (uint8_t)(quad >> 8), (uint8_t)quad}, 3);
        quad = 0;
        have = 0;
    }
    if (have != 0 || pads != 0) {
        if (have + pads != 4)
            return err_set(e, E_INVALID, "base64: missing padding (RFC 4648 3.2)");
        if (quad & (have == 2 ? 0xfu : 0x3u))
            return err_set(e, E_INVALID, "base64: spare bits are not zero (RFC 4648 3.5)");
        buf_add_u8(out, (uint8_t)(have == 2 ? quad >> 4 : quad >> 10));
        if (have == 3)
            buf_add_u8(out, (uint8_t)(quad >> 2));
    }
    if (!buf_ok(out))
        return buf_err(out, e, "base64: more than %zu octets of content", out->max);
    return E_OK;
}

/* ---- digests ---- */

/* Fetching costs more than hashing: the method is fetched once, the context kept per thread. */
static pthread_once_t digest_once = PTHREAD_ONCE_INIT;
static pthread_key_t digest_key;
static EVP_MD *digest_sha256, *digest_sha1;

#define DIGEST_EXIT 70 /* PROC_EXIT_RESTART */

/* One for each function, so that a thread that has them allocates nothing any more. */
struct digest_ctxs {
    EVP_MD_CTX *sha256, *sha1;
};

static void digest_ctxs_free(void *arg)
{
    struct digest_ctxs *d = arg;

    EVP_MD_CTX_free(d->sha256);
    EVP_MD_CTX_free(d->sha1);
    free(d);
}

/* Nothing that is built on a hash can be trusted or refused without it: the process ends, and starts again. */
static void no_digest(void) __attribute__((noreturn));
static void no_digest(void)
{
    log_note(LOG_ERROR, "digest-failed", "why", "no memory for a hash");
    _exit(DIGEST_EXIT);
}

static void digest_setup(void)
{
    digest_sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    digest_sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
    if (!digest_sha256 || !digest_sha1 || pthread_key_create(&digest_key, digest_ctxs_free) != 0)
        no_digest();
}

static struct digest_ctxs *digest_ctxs(void)
{
    struct digest_ctxs *d;

    pthread_once(&digest_once, digest_setup);
    d = pthread_getspecific(digest_key);
    if (!d) {
        d = calloc(1, sizeof(*d));
        if (!d || !(d->sha256 = EVP_MD_CTX_new()) || !(d->sha1 = EVP_MD_CTX_new()) ||
            !EVP_DigestInit_ex2(d->sha256, digest_sha256, NULL) || !EVP_DigestInit_ex2(d->sha1, digest_sha1, NULL) ||
            pthread_setspecific(digest_key, d) != 0)
            no_digest();
    }
    return d;
}


static void digest(EVP_MD_CTX *ctx, const EVP_MD *md, struct bytes a, struct bytes b, uint8_t *out)
{
    if (!EVP_DigestInit_ex2(ctx, md, NULL) || (a.len && !EVP_DigestUpdate(ctx, a.p, a.len)) ||
        (b.len && !EVP_DigestUpdate(ctx, b.p, b.len)) || !EVP_DigestFinal_ex(ctx, out, NULL))
        no_digest();
}

void sha256(struct bytes in, uint8_t out[32])
{
    sha256_2(in, (struct bytes){NULL, 0}, out);
}

void digest_prepare(void)
{
    uint8_t hash[32];

    sha256((struct bytes){NULL, 0}, hash); /* the first makes what every other needs */
}

void sha256_2(struct bytes a, struct bytes b, uint8_t out[32])
{
    digest(digest_ctxs()->sha256, digest_sha256, a, b, out);
}

void sha256_begin(void)
{
    if (!EVP_DigestInit_ex2(digest_ctxs()->sha256, digest_sha256, NULL))
        no_digest();
}

void sha256_add(struct bytes more)
{
    if (more.len && !EVP_DigestUpdate(digest_ctxs()->sha256, more.p, more.len))
        no_digest();
}

void sha256_end(uint8_t out[32])
{
    if (!EVP_DigestFinal_ex(digest_ctxs()->sha256, out, NULL))
        no_digest();
}

void sha1(struct bytes in, uint8_t out[20])
{
    digest(digest_ctxs()->sha1, digest_sha1, in, (struct bytes){NULL, 0}, out);
}

/* ---- secrets, randomness, names ---- */

bool secret_set(struct secret *s, const void *p, size_t n)
{
    uint8_t *copy = spare_malloc(n ? n : 1);

    if (!copy)
        return false;
    if (n)
        memcpy(copy, p, n);
    secret_clear(s);
    s->p = copy;
    s->len = n;
    return true;
}

void secret_clear(struct secret *s)
{
    if (s->p)
        OPENSSL_cleanse(s->p, s->len);
    free(s->p);
    *s = (struct secret){NULL, 0};
}

enum err_code random_bytes(void *out, size_t n, struct err *e)
{
    if (n > INT_MAX || RAND_bytes(out, (int)n) != 1)
        return err_openssl(e, E_CRYPTO, "RAND_bytes");
    return E_OK;
}

bool id_is_valid(const char *s)
{
    size_t n;

    if (!s || s[0] == '.' || s[0] == '-')
        return false;
    n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-");
    return n >= 1 && n <= ID_MAX_LEN && s[n] == '\0';
}
