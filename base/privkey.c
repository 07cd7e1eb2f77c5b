/* SPDX-License-Identifier: Apache-2.0 */
#include "base/privkey.h"

#include <string.h>

#include <openssl/crypto.h>

#include "base/der.h"
#include "base/derw.h"
#include "base/oid.h"

#define HEAP_LEN  ((size_t)4 << 20) /* address space; what is used is locked */
#define HEAP_MIN  64
#define STACK_LEN (64 * 1024)

bool secret_heap_open(void)
{
    return CRYPTO_secure_malloc_initialized() || CRYPTO_secure_malloc_init(HEAP_LEN, HEAP_MIN) == 1;
}

bool secret_buf_init(struct buf *b, size_t room)
{
    *b = (struct buf){.p = OPENSSL_secure_malloc(room), .cap = room, .max = room};
    if (b->p)
        return true;
    *b = (struct buf){.failed = true};
    return false;
}

void secret_buf_free(struct buf *b)
{
    OPENSSL_secure_clear_free(b->p, b->cap);
    *b = (struct buf){0};
}

__attribute__((noinline)) void stack_wipe(void)
{
    volatile uint8_t room[STACK_LEN];

    OPENSSL_cleanse((void *)(uintptr_t)room, sizeof room);
}

size_t key_field_len(enum key_alg alg)
{
    return alg == KEY_P256 || alg == KEY_ED25519 ? 32 : alg == KEY_P384 ? 48 : 0;
}

unsigned key_rsa_bits(enum key_alg alg)
{
    return alg == KEY_RSA2048 ? 2048 : alg == KEY_RSA3072 ? 3072 : alg == KEY_RSA4096 ? 4096 : 0;
}

static const struct bytes *curve_of(enum key_alg alg)
{
    return alg == KEY_P256 ? &OID_P256 : alg == KEY_P384 ? &OID_P384 : NULL;
}

static bool parts_fit(const struct key_parts *k, bool private)
{
    size_t field = key_field_len(k->alg), point = k->alg == KEY_ED25519 ? 32 : 1 + 2 * field;

    if (field)
        return (!private || k->secret.len == field) && k->point.len == point;
    return key_rsa_bits(k->alg) && k->n.len && k->e.len &&
           (!private || (k->d.len && k->p.len && k->q.len && k->dp.len && k->dq.len && k->qi.len));
}

static void algorithm_write(struct derw *w, enum key_alg alg)
{
    derw_begin(w, DER_SEQUENCE);
    if (curve_of(alg)) {
        derw_oid(w, OID_EC_PUBLIC_KEY);
        derw_oid(w, *curve_of(alg));
    } else if (alg == KEY_ED25519) {
        derw_oid(w, OID_ED25519);
    } else {
        derw_oid(w, OID_RSA);
        derw_null(w);
    }
    derw_end(w);
}

/* ECPrivateKey without parameters: those stand in privateKeyAlgorithm (RFC 5915 section 3). */
static void ec_write(struct derw *w, const struct key_parts *k)
{
    derw_begin(w, DER_SEQUENCE);
    derw_u64(w, 1);
    derw_octets(w, k->secret);
    derw_begin(w, DER_CONTEXT_CONSTRUCTED(1));
    derw_bits(w, k->point, 0);
    derw_end(w);
    derw_end(w);
}

static void rsa_write(struct derw *w, const struct key_parts *k)
{
    const struct bytes numbers[] = {k->n, k->e, k->d, k->p, k->q, k->dp, k->dq, k->qi};

    derw_begin(w, DER_SEQUENCE);
    derw_u64(w, 0);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        derw_unsigned(w, numbers[i]);
    derw_end(w);
}

bool privkey_write(struct buf *out, const struct key_parts *k)
{
    struct derw w;

    if (!parts_fit(k, true))
        return false;
    derw_init(&w, out);
    derw_begin(&w, DER_SEQUENCE);
    derw_u64(&w, 0);
    algorithm_write(&w, k->alg);
    derw_begin(&w, DER_OCTET_STRING);
    if (k->alg == KEY_ED25519)
        derw_octets(&w, k->secret); /* CurvePrivateKey (RFC 8410 section 7) */
    else if (curve_of(k->alg))
        ec_write(&w, k);
    else
        rsa_write(&w, k);
    derw_end(&w);
    derw_end(&w);
    return derw_finish(&w);
}

bool pubkey_write(struct buf *out, const struct key_parts *k)
{
    struct derw w, inner;
    AUTO_BUF rsa = BUF_INIT(PRIVKEY_MAX_LEN);

    if (!parts_fit(k, false))
        return false;
    derw_init(&w, out);
    derw_begin(&w, DER_SEQUENCE);
    algorithm_write(&w, k->alg);
    if (key_rsa_bits(k->alg)) {
        derw_init(&inner, &rsa);
        derw_begin(&inner, DER_SEQUENCE);
        derw_unsigned(&inner, k->n);
        derw_unsigned(&inner, k->e);
        derw_end(&inner);
        if (!derw_finish(&inner))
            return false;
        derw_bits(&w, buf_bytes(&rsa), 0);
    } else {
        derw_bits(&w, k->point, 0);
    }
    derw_end(&w);
    return derw_finish(&w);
}

static bool rsa_read(struct bytes der, struct key_parts *out)
{
    struct bytes *numbers[] = {&out->n, &out->e, &out->d, &out->p, &out->q, &out->dp, &out->dq, &out->qi};
    struct der in, seq;
    uint64_t version;

    der_init(&in, der.p, der.len);
    if (!der_take(&in, DER_SEQUENCE, &seq) || !der_at_end(&in) || !der_take_u64(&seq, &version) || version != 0)
        return false;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (!der_take_unsigned(&seq, numbers[i]))
            return false;
    return der_at_end(&seq);
}

static bool ec_read(struct bytes der, struct key_parts *out)
{
    struct der in, seq;
    uint64_t version;

    der_init(&in, der.p, der.len);
    return der_take(&in, DER_SEQUENCE, &seq) && der_at_end(&in) && der_take_u64(&seq, &version) && version == 1 &&
           der_take_octets(&seq, &out->secret);
}

bool privkey_read(struct bytes der, enum key_alg alg, struct key_parts *out)
{
    AUTO_BUF want = BUF_INIT(64);
    struct der in, info, ignored;
    struct bytes algorithm, key;
    struct derw w;
    uint64_t version;

    *out = (struct key_parts){.alg = alg};
    derw_init(&w, &want);
    algorithm_write(&w, alg);
    der_init(&in, der.p, der.len);
    if (!derw_finish(&w) || !der_take(&in, DER_SEQUENCE, &info) || !der_at_end(&in) || !der_take_u64(&info, &version) ||
        version > 1 || !der_take_raw(&info, DER_SEQUENCE, &ignored, &algorithm) || !der_take_octets(&info, &key) ||
        !bytes_equal(algorithm, buf_bytes(&want)))
        return false;
    if (key_rsa_bits(alg))
        return rsa_read(key, out);
    if (alg == KEY_ED25519) {
        der_init(&in, key.p, key.len);
        return der_take_octets(&in, &out->secret) && der_at_end(&in) && out->secret.len == 32;
    }
    return ec_read(key, out) && out->secret.len > 0 && out->secret.len <= key_field_len(alg);
}
