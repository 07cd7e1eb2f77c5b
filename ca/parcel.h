/* SPDX-License-Identifier: Apache-2.0 */
/* A new key on its way through the core: made, packed, signed by the record key, sealed. What it holds is wiped with it. */
#ifndef INKAN_CA_PARCEL_H
#define INKAN_CA_PARCEL_H

#include "ca/core.h"
#include "ca/key_package.h"
#include "ca/keygen.h"

struct parcel {
    struct new_key key;      /* alg KEY_NONE: none yet */
    struct buf package;      /* AsymmetricKeyPackage, in secret memory */
    struct buf attributes;   /* what the record key signs */
    char signer[KEY_NAME_MAX];
    enum sig_alg alg;
    struct buf envelope;
};
void parcel_init(struct parcel *p);
void parcel_clear(struct parcel *p);

/* Package and signed attributes, for the record key as it is now. E_TOKEN: there is none. */
MUST_CHECK enum err_code parcel_pack(struct core *c, struct parcel *p, struct err *e);
/* The envelope. E_TOKEN: the record key was changed since. */
MUST_CHECK enum err_code parcel_seal(struct core *c, struct parcel *p, const struct recipient *r, enum sig_alg alg, struct bytes signature,
                                     struct err *e);

#endif
