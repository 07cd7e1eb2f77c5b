/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Issuance through the real inkan-signer with a SoftHSM token; the tool plays the core.
 *
 *   issue_signer product CONFIG SECONDS BATCH   CSR octets in, linted certificate out, signed by the token, signature verified
 *   issue_signer reference CONFIG SECONDS       two P-256 verifies and one C_Sign, SoftHSM in this process
 *
 * "us" is CPU for each certificate, of all processes taking part.
 */
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/ec.h>
#include <openssl/x509.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "figures.h"
#include "issuing.h"
#include "tests/unit/hsm_bench.h"

#define BATCH_MAX   256
#define WARM_UP     64
#define DEADLINE_MS 5000

struct flight {
    struct run       *run;
    struct cert_draft draft;
    struct buf        der;
    double            begun;
};

struct run {
    struct bench       bench;
    struct made_key    key;
    struct issuing     issuing;
    struct child       child;
    struct event_base *base;
    struct signer     *signer;
    struct flight      flight[BATCH_MAX];
    size_t             back;
    struct latencies  *latencies;
};

static double signer_cpu_us(const struct run *r)
{
    struct timespec t;
    clockid_t       clock;

    must(clock_getcpuclockid(r->child.pid, &clock) == 0 && clock_gettime(clock, &t) == 0, "the signer's CPU clock");
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void make_token(struct run *r)
{
    struct err e = {0};

    bench_make(&r->bench, false);
    token_make(&r->bench);
    must_ok(token_generate(&r->bench, PURPOSE_CA, "fleet-ca", "p256", &r->key, &e), &e);
}

/* ---- through the signer ---- */

static void on_keys(void *arg, const struct err *results, size_t n)
{
    struct run *r = arg;

    must(n == 1, "SIGNER_KEYS");
    must_ok(results[0].code, &results[0]);
    event_base_loopbreak(r->base);
}

static void on_gone(struct signer *s, void *arg)
{
    (void)s;
    (void)arg;
    must(0, "the signer");
}

static void on_signed(void *arg, enum err_code code, const struct err *e, enum sig_alg alg, struct bytes sig)
{
    struct flight *f = arg;
    struct run    *r = f->run;

    (void)alg;
    must_ok(code, e);
    issuing_complete(&r->issuing, &f->draft, sig, &f->der);
    latencies_add(r->latencies, figures_wall_us() - f->begun);
    if (--r->back == 0)
        event_base_loopbreak(r->base);
}

static void start_signer(struct run *r)
{
    struct signer_key key;
    struct err        e = {0};

    r->child = child_start(&r->bench, "inkan-signer");
    must(child_wait_ready(&r->child, 30000), "the start of inkan-signer");
    r->base = event_base_new();
    r->signer = signer_new(r->base, take_fd(&r->child.link), "t1", on_gone, r, &e);
    must_ok(e.code, &e);
    key = (struct signer_key){.name = "ca/fleet-ca/1",
                              .purpose = PURPOSE_CA,
                              .cka_id = BYTES(r->key.cka_id, 16),
                              .spki = BYTES(r->key.spki, r->key.spki_len),
                              .issuer_name = r->issuing.issuer.subject};
    must_ok(signer_keys(r->signer, &key, 1, on_keys, r, &e), &e);
    event_base_dispatch(r->base);
}

/* As a cycle of the core: all are drafted, all go to the signer, all come back. */
static void issue_batch(struct run *r, size_t from, size_t batch)
{
    struct err e = {0};

    for (size_t i = 0; i < batch; i++) {
        r->flight[i].begun = figures_wall_us();
        issuing_draft(&r->issuing, (from + i) % ISSUING_DEVICES, &r->flight[i].draft);
    }
    r->back = batch;
    for (size_t i = 0; i < batch; i++)
        must_ok(signer_sign(r->signer, "ca/fleet-ca/1", SIGN_CERT, buf_bytes(&r->flight[i].draft.tbs), DEADLINE_MS, 0, on_signed,
                            &r->flight[i], &e),
                &e);
    event_base_dispatch(r->base);
    must(r->back == 0, "a batch");
}

/* OpenSSL is the oracle. */
static void check(struct run *r)
{
    const unsigned char *p = r->flight[0].der.p, *k = r->key.spki;
    X509                *cert = d2i_X509(NULL, &p, (long)r->flight[0].der.len);
    EVP_PKEY            *ca = d2i_PUBKEY(NULL, &k, (long)r->key.spki_len);

    must(cert && ca && X509_verify(cert, ca) == 1, "the certificate, read by OpenSSL,");
    X509_free(cert);
    EVP_PKEY_free(ca);
}

static void product(struct run *r, double seconds, size_t batch)
{
    struct latencies l = {0};
    double           cpu, wall;
    size_t           n = 0;

    must(batch > 0 && batch <= BATCH_MAX, "BATCH");
    start_signer(r);
    r->latencies = &l;
    for (size_t i = 0; i < BATCH_MAX; i++) {
        r->flight[i].run = r;
        draft_init(&r->flight[i].draft);
        buf_init(&r->flight[i].der, CERT_MAX_LEN);
    }
    for (size_t i = 0; i < WARM_UP; i += batch)
        issue_batch(r, i, batch);
    l.n = 0;
    wall = figures_wall_us();
    cpu = figures_cpu_us() + signer_cpu_us(r);
    for (; figures_wall_us() - wall < seconds * 1e6; n += batch)
        issue_batch(r, n, batch);
    cpu = figures_cpu_us() + signer_cpu_us(r) - cpu;
    wall = figures_wall_us() - wall;
    check(r);
    figures_print(n, cpu, wall, &l);
    latencies_clear(&l);
    signer_free(r->signer);
    (void)child_stop(&r->child);
    event_base_free(r->base);
    for (size_t i = 0; i < BATCH_MAX; i++) {
        draft_clear(&r->flight[i].draft);
        buf_clear(&r->flight[i].der);
    }
}

/* ---- reference ---- */

struct softhsm {
    CK_FUNCTION_LIST *f;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE  key;
};

static void softhsm_open(const struct run *r, struct softhsm *h)
{
    void             *module = dlopen(r->bench.module, RTLD_NOW);
    CK_RV (*list)(CK_FUNCTION_LIST **);
    CK_SLOT_ID        slots[8];
    CK_TOKEN_INFO     info;
    CK_ULONG          n = ARRAY_LEN(slots), found = 0;
    CK_OBJECT_CLASS   private_key = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE      want[] = {{CKA_CLASS, &private_key, sizeof(private_key)}, {CKA_ID, (void *)(uintptr_t)r->key.cka_id, 16}};
    char              pin[128] = "";
    FILE             *file = fopen(r->bench.pin_file, "r");

    must(module != NULL && file != NULL && fgets(pin, sizeof(pin), file) != NULL, "SoftHSM and the PIN");
    fclose(file);
    pin[strcspn(pin, "\n")] = '\0';
    *(void **)&list = dlsym(module, "C_GetFunctionList");
    must(list && list(&h->f) == CKR_OK && h->f->C_Initialize(NULL) == CKR_OK, "C_Initialize");
    must(h->f->C_GetSlotList(CK_TRUE, slots, &n) == CKR_OK, "C_GetSlotList");
    for (CK_ULONG i = 0; i < n && !found; i++) {
        must(h->f->C_GetTokenInfo(slots[i], &info) == CKR_OK, "C_GetTokenInfo");
        if (memcmp(info.label, "t1 ", 3) == 0) {
            must(h->f->C_OpenSession(slots[i], CKF_SERIAL_SESSION, NULL, NULL, &h->session) == CKR_OK, "C_OpenSession");
            found = 1;
        }
    }
    must(found == 1, "the token");
    must(h->f->C_Login(h->session, CKU_USER, (CK_UTF8CHAR *)pin, strlen(pin)) == CKR_OK, "C_Login");
    must(h->f->C_FindObjectsInit(h->session, want, ARRAY_LEN(want)) == CKR_OK &&
             h->f->C_FindObjects(h->session, &h->key, 1, &found) == CKR_OK && found == 1 &&
             h->f->C_FindObjectsFinal(h->session) == CKR_OK,
         "C_FindObjects");
}

static void reference(struct run *r, double seconds)
{
    CK_MECHANISM     ecdsa = {CKM_ECDSA, NULL, 0};
    EVP_PKEY        *key = EVP_EC_gen("P-256");
    EVP_PKEY_CTX    *sign = EVP_PKEY_CTX_new(key, NULL), *verify = EVP_PKEY_CTX_new(key, NULL);
    struct latencies l = {0};
    struct softhsm   h = {0};
    uint8_t          hash[32] = {7}, der[80], raw[64];
    size_t           der_len = sizeof(der), n = 0;
    double           cpu, wall, at;

    softhsm_open(r, &h);
    must(EVP_PKEY_sign_init(sign) == 1 && EVP_PKEY_sign(sign, der, &der_len, hash, sizeof(hash)) == 1 &&
             EVP_PKEY_verify_init(verify) == 1,
         "EVP_PKEY");
    wall = figures_wall_us();
    cpu = figures_cpu_us();
    for (; figures_wall_us() - wall < seconds * 1e6; n++) {
        CK_ULONG raw_len = sizeof(raw);

        at = figures_wall_us();
        for (int i = 0; i < 2; i++)
            must(EVP_PKEY_verify(verify, der, der_len, hash, sizeof(hash)) == 1, "EVP_PKEY_verify");
        must(h.f->C_SignInit(h.session, &ecdsa, h.key) == CKR_OK &&
                 h.f->C_Sign(h.session, hash, sizeof(hash), raw, &raw_len) == CKR_OK,
             "C_Sign");
        latencies_add(&l, figures_wall_us() - at);
    }
    figures_print(n, figures_cpu_us() - cpu, figures_wall_us() - wall, &l);
    latencies_clear(&l);
    h.f->C_Finalize(NULL);
    EVP_PKEY_CTX_free(sign);
    EVP_PKEY_CTX_free(verify);
    EVP_PKEY_free(key);
}

int main(int argc, char **argv)
{
    static struct run r;

    must(argc >= 4, "usage: issue_signer product CONFIG SECONDS BATCH | reference CONFIG SECONDS");
    make_token(&r);
    issuing_load(&r.issuing, argv[2], BYTES(r.key.spki, r.key.spki_len));
    if (strcmp(argv[1], "reference") == 0)
        reference(&r, atof(argv[3]));
    else
        product(&r, atof(argv[3]), argc > 4 ? strtoul(argv[4], NULL, 10) : 32);
    issuing_clear(&r.issuing);
    bench_remove(&r.bench);
    return 0;
}
