/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An OpenSSL library context for reading many public keys quickly.
 *
 * OpenSSL 3.0 walks every decoder, encoder and key type that a library context knows each time it reads a public key, and a
 * certificate cannot be parsed without reading its key: with the default provider that takes longer than verifying the
 * certificate's signature. This context holds one provider which hands out the default provider's own functions, all of them,
 * but of key types and decoders only those that a TLS handshake or a certificate of ours can meet. Nothing is computed
 * differently; a key of a type that is not listed (DSA, DH, SM2, X448) cannot be read and its certificate is refused.
 *
 * Only public calls of OpenSSL 3.0 are used, and with later versions it is not made: 3.5 gives it no random numbers.
 * Made once, at the first call, and never freed: objects made in it may live until the process ends. The first call must not race with another.
 */
#ifndef INKAN_BASE_LIBCTX_H
#define INKAN_BASE_LIBCTX_H

#include <openssl/types.h>

#include "base/bytes.h"

/* For SSL_CTX_new_ex, X509_new_ex and the like. NULL, which means the default context, where it is not made. */
OSSL_LIB_CTX *libctx_lean(void);

/* One certificate in DER that fills `der`, with its key read by the lean context; NULL when it is none. */
X509 *libctx_x509(struct bytes der);

#endif
