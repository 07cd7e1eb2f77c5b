/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A DER writer over a growing buffer. begin/end pairs nest up to 16 deep; lengths are put in place at end. Errors
 * stick in the buf (buf_ok); an unbalanced writer makes derw_finish return false.
 */
#ifndef INKAN_BASE_DERW_H
#define INKAN_BASE_DERW_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/bytes.h"

#define DERW_DEPTH 16

struct derw {
    struct buf *out;
    size_t open[DERW_DEPTH];     /* offset of the first content octet of each open element */
    uint8_t room[DERW_DEPTH];    /* octets left for its length */
    int depth;
};

void derw_init(struct derw *w, struct buf *out); /* appends to out */
void derw_begin(struct derw *w, uint8_t tag);
/* Leaves room for the length that `expected_len` octets of content need: where that fits, a large element is not moved at its
 * end. */
void derw_begin_large(struct derw *w, uint8_t tag, size_t expected_len);
void derw_end(struct derw *w);
bool derw_finish(struct derw *w); /* balanced and buf_ok */

void derw_raw(struct derw *w, struct bytes der);                      /* finished elements, as they are */
void derw_header(struct derw *w, uint8_t tag, size_t content_len);      /* the content follows by other means */
void derw_element(struct derw *w, uint8_t tag, struct bytes content); /* tag, length, content */
void derw_oid(struct derw *w, struct bytes oid_content);
void derw_bool(struct derw *w, bool v);
void derw_null(struct derw *w);
void derw_unsigned(struct derw *w, struct bytes magnitude); /* big-endian; leading zeros dropped, sign octet added */
void derw_u64(struct derw *w, uint64_t v);
void derw_enumerated(struct derw *w, uint64_t v);
void derw_octets(struct derw *w, struct bytes v);
void derw_bits(struct derw *w, struct bytes v, unsigned unused);
void derw_named_bits(struct derw *w, uint32_t bits); /* bit 0 = first named bit; trailing zeros dropped */
void derw_utf8(struct derw *w, const char *s);
void derw_printable(struct derw *w, const char *s); /* caller checked the alphabet */
void derw_ia5(struct derw *w, const char *s);
void derw_time(struct derw *w, time_t t);    /* UTCTime through 2049, GeneralizedTime from 2050 (RFC 5280 4.1.2.5) */
void derw_gentime(struct derw *w, time_t t); /* always GeneralizedTime (RFC 6960 4.2.2.1) */

#define TIME_NO_EXPIRY 253402300799 /* 99991231235959Z (RFC 5280 4.1.2.5) */

/* AlgorithmIdentifier of a signature: parameters NULL for RSA, absent for ECDSA and Ed25519. */
enum sig_alg {
    SIG_NONE = 0,
    SIG_RSA_SHA256,
    SIG_ECDSA_SHA256,
    SIG_ECDSA_SHA384,
    SIG_ED25519,
    SIG_ALGS_COUNT
};
struct bytes sig_alg_der(enum sig_alg alg); /* complete AlgorithmIdentifier, static memory */

/* SEQUENCE { tbs, AlgorithmIdentifier, BIT STRING signature }: certificates, CRLs, BasicOCSPResponse without certs. */
void derw_signed(struct derw *w, struct bytes tbs, enum sig_alg alg, struct bytes signature);

#endif
