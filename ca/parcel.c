/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/parcel.h"

#include <string.h>

#include "base/privkey.h"
#include "ca/cert.h"
#include "ca/record.h"

#define PACKAGE_EXTRA 16 /* octets of a package beside its key */

void parcel_init(struct parcel *p)
{
    *p = (struct parcel){.attributes = BUF_INIT(512), .envelope = BUF_INIT(KEY_PACKAGE_MAX_LEN)};
}

void parcel_clear(struct parcel *p)
{
    new_key_free(&p->key);
    secret_buf_free(&p->package);
    buf_clear(&p->attributes);
    buf_clear(&p->envelope);
    parcel_init(p);
}

enum err_code parcel_pack(struct core *c, struct parcel *p, struct err *e)
{
    const char *why = NULL;

    if (!record_is_ready(c, &why))
        return err_set(e, E_TOKEN, "key packages cannot be signed: %s", why);
    secret_buf_free(&p->package);
    buf_reset(&p->attributes);
    text_copy(p->signer, sizeof(p->signer), c->record.key);
    p->alg = c->record.alg;
    if (!secret_buf_init(&p->package, p->key.pkcs8.len + PACKAGE_EXTRA))
        return err_set(e, E_NOMEM, "key package");
    if (key_package_write(buf_bytes(&p->key.pkcs8), &p->package, e) != E_OK)
        return e->code;
    return key_package_attributes(buf_bytes(&p->package), p->alg, &p->attributes, e);
}

enum err_code parcel_seal(struct core *c, struct parcel *p, const struct recipient *r, enum sig_alg alg, struct bytes signature,
                          struct err *e)
{
    struct package_signature s = {.attributes = buf_bytes(&p->attributes), .cert = buf_bytes(&c->record.cert), .alg = alg,
                                  .signature = signature};
    struct cert read;

    if (strcmp(p->signer, c->record.key) != 0 || alg != p->alg)
        return err_set(e, E_TOKEN, "the record key was changed while it signed a key package");
    if (cert_read(s.cert, &read, e) != E_OK)
        return err_wrap(e, "certificate of the record key");
    s.ski = read.ski;
    buf_reset(&p->envelope);
    return key_package_envelope(buf_bytes(&p->package), &s, r, &p->envelope, e);
}
