/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the pki library share among themselves. Included inside ca/ only. */
#ifndef INKAN_CA_PKI_INT_H
#define INKAN_CA_PKI_INT_H

#include "base/bytes.h"
#include "base/conf.h"
#include "base/der.h"
#include "base/derw.h"
#include "base/err.h"
#include "ca/csr.h"

/* X.520 names hold at most this many attributes here; real ones have fewer than ten. */
#define NAME_ATTRIBUTES_MAX 20

/* PrintableString alphabet (X.680 41.4). */
bool text_is_printable(struct bytes s);
/* Well-formed UTF-8 (RFC 3629) without NUL and control characters (C0, DEL, C1); `chars` counts code points. */
bool text_is_clean_utf8(struct bytes s, size_t *chars);
/* RFC 1034 3.5 as relaxed by RFC 1123 2.1: labels of 1..63 letters, digits and inner hyphens; at most 253 octets. */
bool dns_name_is_valid(struct bytes s);

/* The value of a template variable: NULL when there is no such variable, "" when it has no value. */
typedef const char *(*template_var_fn)(void *arg, const char *name);

/*
 * As name_from_text, with {variable} replaced inside values (after splitting: a value cannot add attributes). An
 * attribute whose value comes out empty is left out.
 */
MUST_CHECK enum err_code name_from_template(const char *text, template_var_fn var, void *arg, struct buf *der,
                                            struct err *e);
/* Replaces {variable} in `text`; `out` is always terminated on E_OK. *empty: some variable in it had no value. */
MUST_CHECK enum err_code template_expand(const char *text, template_var_fn var, void *arg, char *out, size_t size,
                                         bool *empty, struct err *e);

/*
 * The rules on a Name that a stranger asks for (RFC 5280 4.1.2.4, 4.1.2.6, upper bounds of A.1): string types, alphabet,
 * lengths, no empty RDN or value, one CN and one serialNumber at most. `what` ("CSR subject") begins each message.
 */
MUST_CHECK enum err_code name_check(struct bytes name, const char *what, struct err *e);
bool name_is_empty(struct bytes name);

/* Content octets of an AlgorithmIdentifier that pubkey_verifies takes for this key. */
bool pubkey_takes_sig_alg(const struct pubkey *key, struct bytes sig_alg_der);
/* For messages: name or dotted form of the algorithm. */
void sig_alg_text(struct bytes sig_alg_der, char *out, size_t size);

/*
 * One Extension (RFC 5280 4.1): id, critical, and the content of extnValue. An explicit FALSE is tolerated.
 */
struct extension {
    struct bytes oid, value;
    bool critical;
};
bool extension_take(struct der *list, struct extension *out);
/* keyIdentifier of an authorityKeyIdentifier value (RFC 5280 4.2.1.1); absent: true, and *id as it was. */
bool aki_key_id(struct bytes value, struct bytes *id);

/* OIDs seen so far, to find a second one of a kind. false: `oid` was there, or too many. */
#define OID_SEEN_MAX 64
struct oid_seen {
    struct bytes oid[OID_SEEN_MAX];
    size_t n;
};
bool oid_seen_add(struct oid_seen *seen, struct bytes oid);

/* Unsigned big-endian numbers without leading zeros, by value. */
int magnitude_cmp(struct bytes a, struct bytes b);

#endif
