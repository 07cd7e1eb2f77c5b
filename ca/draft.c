/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/draft.h"

#include <string.h>

#include "base/auto.h"
#include "base/der.h"
#include "ca/lint.h"

void draft_init(struct cert_draft *d)
{
    *d = (struct cert_draft){0};
    buf_init(&d->tbs, CERT_MAX_LEN);
}

void draft_clear(struct cert_draft *d)
{
    buf_clear(&d->tbs);
}

static enum err_code lint(const struct conf *conf, const struct conf_profile *profile, const struct cert_issuer *issuer,
                          const struct cert_inputs *in, const char *device_id, const struct cert_draft *d, struct err *e)
{
    struct lint_report report = {0};
    char crl_url[CERT_URL_MAX], ocsp_url[CERT_URL_MAX];
    struct lint_cert_expect x = {
        .profile = profile,
        .issuer_subject = issuer->subject,
        .issuer_ski = BYTES_OF(issuer->ski),
        .issuer_not_before = issuer->not_before,
        .issuer_not_after = issuer->not_after,
        .sig_alg = issuer->sig_alg,
        .self_signed = issuer->is_self,
        .spki = in->key->spki,
        .serial = BYTES_OF(d->serial),
        .device_id = device_id,
        .now = in->now,
        .not_after_max = in->not_after_max,
    };

    if (profile->crl_url) {
        if (cert_crl_url(conf, issuer->name, d->shard, crl_url, e) != E_OK)
            return e->code;
        x.crl_url = crl_url;
    }
    if (profile->ocsp_url) {
        if (cert_ocsp_url(conf, ocsp_url, e) != E_OK)
            return e->code;
        x.ocsp_url = ocsp_url;
    }
    lint_cert(buf_bytes(&d->tbs), &x, &report);
    return lint_result(&report, "certificate", e);
}

/* RFC 5280 4.2.1.6: every name asked for must be one the profile gives; nothing is silently left out. */
static enum err_code san_is_granted(const struct cert_draft *d, const struct csr *csr, struct err *e)
{
    AUTO_BUF der = BUF_INIT(CERT_MAX_LEN);
    uint8_t none[1] = {0};
    struct cert built;
    struct der asked, names, have, granted;
    struct bytes want, got;
    uint8_t tag;

    if (!csr || !csr->has_san)
        return E_OK;
    /* Only to read back the names just written: the signature is one zero octet. */
    if (cert_assemble(buf_bytes(&d->tbs), d->alg, BYTES_OF(none), &der, e) != E_OK ||
        cert_read(buf_bytes(&der), &built, e) != E_OK)
        return e->code;
    der_init(&asked, csr->san.p, csr->san.len);
    if (!der_take(&asked, DER_SEQUENCE, &names))
        return err_set(e, E_INVALID, "subjectAltName cannot be read (RFC 5280 4.2.1.6)");
    while (!der_at_end(&names)) {
        bool found = false;

        if (!der_take_any(&names, &tag, &have, &want))
            return err_set(e, E_INVALID, "subjectAltName cannot be read (RFC 5280 4.2.1.6)");
        der_init(&have, built.san.p, built.san.len);
        if (built.san.len && der_take(&have, DER_SEQUENCE, &granted))
            while (!found && der_take_any(&granted, &tag, &have, &got))
                found = bytes_equal(want, got);
        if (!found)
            return err_set(e, E_DENIED, "a name asked for in subjectAltName is not this device's");
    }
    return E_OK;
}

enum err_code draft_make(const struct conf *conf, const struct conf_profile *profile, const struct cert_issuer *issuer,
                         unsigned shards, struct cert_inputs *in, const struct csr *csr, const char *device_id,
                         int64_t now, struct cert_draft *d, struct err *e)
{
    struct cert_built built;
    enum err_code code = serial_draw(d->serial, e);

    if (code != E_OK)
        return code;
    d->alg = issuer->sig_alg;
    d->shard = profile->kind == PROFILE_ISSUING_CA || issuer->is_self ? 0 : cert_shard(BYTES_OF(d->serial), shards);
    memcpy(d->spki_hash, in->key->spki_hash, sizeof(d->spki_hash));
    memcpy(in->serial, d->serial, sizeof(d->serial));
    in->serial_len = sizeof(d->serial);
    in->shard = d->shard;
    in->now = now;
    buf_reset(&d->tbs);
    built.tbs = d->tbs;
    code = cert_tbs_write(conf, profile, issuer, in, &built, e);
    d->tbs = built.tbs;
    d->not_before = built.not_before;
    d->not_after = built.not_after;
    if (code == E_OK)
        code = lint(conf, profile, issuer, in, device_id, d, e);
    if (code == E_OK)
        code = san_is_granted(d, csr, e);
    if (code == E_OK)
        sha256(buf_bytes(&d->tbs), d->linted);
    return code;
}

bool draft_is_as_linted(const struct cert_draft *d)
{
    uint8_t hash[32];

    sha256(buf_bytes(&d->tbs), hash);
    return memcmp(hash, d->linted, sizeof(hash)) == 0;
}

enum err_code draft_complete(const struct cert_draft *d, enum sig_alg alg, struct bytes sig, struct buf *der,
                             struct cert *read, struct err *e)
{
    struct pubkey key;

    if (alg != d->alg)
        return err_set(e, E_CRYPTO, "the signer used another algorithm than the certificate names");
    buf_reset(der);
    if (cert_assemble(buf_bytes(&d->tbs), alg, sig, der, e) != E_OK || cert_read(buf_bytes(der), read, e) != E_OK)
        return err_wrap(e, "certificate read back");
    if (!bytes_equal(read->tbs, buf_bytes(&d->tbs)) || !bytes_equal(read->serial, BYTES_OF(d->serial)) ||
        pubkey_read(read->spki, &key, e) != E_OK || memcmp(key.spki_hash, d->spki_hash, 32) != 0)
        return err_set(e, E_CRYPTO, "the certificate read back is not the one that was written");
    return E_OK;
}
