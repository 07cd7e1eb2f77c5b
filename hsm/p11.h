/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Direct use of a PKCS#11 module: load, initialise, find the token, sessions, keys, signatures. Private to hsm/.
 *
 * Every function blocks for as long as the module does. A session belongs to one thread. Object handles are worth
 * something only within one login generation; who keeps them counts generations (hsm/engine.h).
 */
#ifndef INKAN_HSM_P11_H
#define INKAN_HSM_P11_H

#include <openssl/evp.h>
#include <p11-kit/pkcs11.h>

#include "base/bytes.h"
#include "base/err.h"
#include "hsm/keytype.h"
#include "hsm/signer.h"

/* ---- results ---- */

/* What a failed call asks for. Everything unknown counts as a failed device: in doubt, start again. */
enum rv_class {
    RV_FINE,
    RV_JOB,      /* this request is wrong; the session is good */
    RV_SESSION,  /* close the session, open another, repeat once */
    RV_STALE,    /* login or handles are gone: new generation, repeat once */
    RV_DEVICE,   /* leave the process */
    RV_CAPACITY, /* fewer sessions */
    RV_PIN,      /* the PIN was refused: never again by itself */
};
enum rv_class rv_class(CK_RV rv);
const char *rv_name(CK_RV rv);                    /* "CKR_DEVICE_REMOVED"; "CKR_unknown" for the rest */
/* E_TOKEN "<call>: CKR_NAME"; native = rv. */
enum err_code err_rv(struct err *e, CK_RV rv, const char *call);

/* ---- module and token ---- */

struct p11 {
    void *handle;         /* dlopen; never closed: modules leave threads and exit handlers behind */
    CK_FUNCTION_LIST *f;
    bool initialised;
    char library[96];     /* "SoftHSM ... 2.6", after p11_initialise */
};
MUST_CHECK enum err_code p11_load(struct p11 *m, const char *path, struct err *e);
/* C_Initialize with operating-system locking. `init_args` goes as pReserved when not empty (NSS). */
MUST_CHECK enum err_code p11_initialise(struct p11 *m, const char *init_args, struct err *e);
void p11_finalise(struct p11 *m);

struct p11_token {
    struct p11 *m;
    CK_SLOT_ID slot;
    CK_FLAGS flags;
    unsigned long sessions_max;                    /* 0: no limit known */
    char label[33], serial[17], model[17], manufacturer[33], firmware[16];
};
/* By label and, unless "", serial; never by slot number. E_NOT_FOUND; E_CONFLICT when more than one fits. */
MUST_CHECK enum err_code p11_find_token(struct p11 *m, const char *label, const char *serial, struct p11_token *out,
                                        struct err *e);
/* Reads the flags again and checks that the same token is still there. */
MUST_CHECK enum err_code p11_token_refresh(struct p11_token *t, struct err *e);

CK_RV p11_open_session(const struct p11_token *t, bool writable, CK_SESSION_HANDLE *out);

/* ---- signatures ---- */

/*
 * A public key made ready to check signatures: one per thread and key.
 * `input` is the digest for RSA and ECDSA, the message for Ed25519.
 */
struct verifier;
MUST_CHECK enum err_code verifier_new(struct bytes spki, struct verifier **out, struct err *e);
void verifier_free(struct verifier *v);
/* E_CRYPTO: the signature is wrong; E_NOMEM: that cannot be told now. */
MUST_CHECK enum err_code verifier_judge(struct verifier *v, struct bytes input, struct bytes signature, struct err *e);

/* What C_Sign is given for `message`: its digest in `room`, or the message itself. */
MUST_CHECK enum err_code sign_input(const struct key_type *type, struct bytes message, uint8_t room[64],
                                    struct bytes *input, struct err *e);
/*
 * One signature as X.509 wants it (ECDSA: DER Ecdsa-Sig-Value). `*call` names the function that failed; after a failed
 * C_Sign the session must be closed, its operation may still be open.
 */
CK_RV p11_sign(const struct p11 *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key, const struct key_type *type,
               struct bytes input, uint8_t out[SIGNATURE_ROOM], size_t *out_len, const char **call);
/* r || s to Ecdsa-Sig-Value (RFC 3279 2.2.3). 0 when it does not fit. */
size_t ecdsa_to_der(struct bytes rs, uint8_t *out, size_t room);

/* ---- keys ---- */

struct p11_key_want {
    struct bytes cka_id, spki;
    enum key_purpose purpose;
};
/*
 * Finds the private key with this CKA_ID and proves it: purpose in CKA_LABEL, policy attributes, public object (where
 * there is one), and a test signature that verifies with `spki`. Several objects may share the ID; one that signs for
 * the expected public key is taken.
 *
 * E_NOT_FOUND  no private key with that ID
 * E_CONFLICT   public key, purpose or attributes differ
 * E_TOKEN      the token failed; *rv says how
 */
MUST_CHECK enum err_code p11_find_key(const struct p11 *m, CK_SESSION_HANDLE session, const struct p11_key_want *want,
                                      struct verifier *v, CK_OBJECT_HANDLE *out, CK_RV *rv, struct err *e);
/* Signs a fresh nonce with `key` and checks it. E_CRYPTO: the signature does not verify. */
MUST_CHECK enum err_code p11_test_key(const struct p11 *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key,
                                      const struct key_type *type, struct verifier *v, CK_RV *rv, struct err *e);

struct p11_new_key {
    uint8_t cka_id[CKA_ID_LEN];
    struct buf spki;       /* caller clears */
    char attributes[512];  /* as read back: "TOKEN=1 SENSITIVE=1 ..." */
};
/*
 * Generates a pair under the key policy (docs/hsm.md), reads the attributes back, makes a test signature. A key that
 * differs from the policy is destroyed again and refused (E_TOKEN). E_CONFLICT: the label is taken.
 */
MUST_CHECK enum err_code p11_generate(const struct p11 *m, CK_SESSION_HANDLE session, enum key_alg alg,
                                      const char *label, struct p11_new_key *out, struct err *e);
/* Destroys private, public and certificate objects of this ID after comparing the public key; reads back that none is left. */
MUST_CHECK enum err_code p11_destroy(const struct p11 *m, CK_SESSION_HANDLE session, struct bytes cka_id,
                                     struct bytes spki, struct err *e);

/* SubjectPublicKeyInfo of a public object. E_CONFLICT: it is none of ours; E_TOKEN with *rv: the token failed. */
MUST_CHECK enum err_code p11_public_spki(const struct p11 *m, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE pub, struct buf *out,
                                         CK_RV *rv, struct err *e);
/*
 * Makes a pair of session objects, takes it out and destroys it (p11_pair.c). `pkcs8` is a secret_buf of PRIVKEY_MAX_LEN octets. On
 * E_TOKEN with *rv set the token failed in *call.
 */
MUST_CHECK enum err_code p11_session_pair(const struct p11 *m, CK_SESSION_HANDLE session, enum key_alg alg, struct buf *pkcs8,
                                          struct buf *spki, CK_RV *rv, const char **call, struct err *e);

struct p11_listed {
    char label[KEY_LABEL_MAX]; /* cut when longer, control octets as '?' */
    uint8_t cka_id[64];
    size_t cka_id_len;
    char alg[16];              /* "p256", ...; "unknown" */
    struct buf spki;           /* empty when it cannot be told */
    bool never_extractable;
    char flags[256];
};
/* Private keys, then public keys without one (flags say "PUBLIC-ONLY"). Caller: p11_listed_free. */
MUST_CHECK enum err_code p11_list(const struct p11 *m, CK_SESSION_HANDLE session, struct p11_listed **out, size_t *n,
                                  struct err *e);
void p11_listed_free(struct p11_listed *l, size_t n);

#endif
