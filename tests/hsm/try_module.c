/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tries every key algorithm on the token that tests/hsm/modules.sh made: generate under the key policy, find again in a
 * new session, sign, verify, list, destroy. One line per algorithm: "p256<TAB>works<TAB>ATTRIBUTES" or
 * "p256<TAB>refused<TAB>MESSAGE".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "hsm/p11.h"

static const char *env(const char *name)
{
    const char *v = getenv(name);

    if (!v) {
        fprintf(stderr, "try_module: %s is not set\n", name);
        exit(2);
    }
    return v;
}

static void must(enum err_code rc, const struct err *e)
{
    if (rc == E_OK)
        return;
    fprintf(stderr, "try_module: %s\n", e->msg);
    exit(1);
}

static CK_SESSION_HANDLE session_of(const struct p11_token *t)
{
    CK_SESSION_HANDLE h;
    struct err e = {0};
    CK_RV rv = p11_open_session(t, true, &h);

    must(rv == CKR_OK ? E_OK : err_rv(&e, rv, "C_OpenSession"), &e);
    return h;
}

static bool is_listed(const struct p11 *m, CK_SESSION_HANDLE s, const struct p11_new_key *key)
{
    struct p11_listed *l;
    struct err e = {0};
    bool found = false;
    size_t n;

    must(p11_list(m, s, &l, &n, &e), &e);
    for (size_t i = 0; i < n; i++)
        found |= bytes_equal(BYTES(l[i].cka_id, l[i].cka_id_len), BYTES_OF(key->cka_id)) &&
                 bytes_equal(buf_bytes(&l[i].spki), buf_bytes(&key->spki)) && !strstr(l[i].flags, "DIFFERS");
    p11_listed_free(l, n);
    return found;
}

static enum err_code try_alg(const struct p11_token *t, enum key_alg alg, const char *label, char *attributes,
                             size_t size, struct err *e)
{
    CK_SESSION_HANDLE first = session_of(t), second;
    struct p11_key_want want;
    struct p11_new_key key;
    struct verifier *v = NULL;
    CK_OBJECT_HANDLE handle;
    enum err_code rc;
    CK_RV rv;

    rc = p11_generate(t->m, first, alg, label, &key, e);
    (void)t->m->f->C_CloseSession(first);
    if (rc != E_OK)
        return rc;
    snprintf(attributes, size, "%s", key.attributes);
    second = session_of(t);
    want = (struct p11_key_want){BYTES_OF(key.cka_id), buf_bytes(&key.spki), PURPOSE_CA};
    rc = verifier_new(want.spki, &v, e);
    for (int i = 0; rc == E_OK && i < 20; i++)
        rc = p11_find_key(t->m, second, &want, v, &handle, &rv, e); /* signs a nonce and verifies it */
    verifier_free(v);
    if (rc == E_OK && !is_listed(t->m, second, &key))
        rc = err_set(e, E_TOKEN, "the new key is not listed");
    if (rc == E_OK)
        rc = p11_destroy(t->m, second, want.cka_id, want.spki, e);
    if (rc == E_OK && is_listed(t->m, second, &key))
        rc = err_set(e, E_TOKEN, "the destroyed key is still listed");
    (void)t->m->f->C_CloseSession(second);
    buf_clear(&key.spki);
    return rc;
}

int main(void)
{
    struct p11_token t;
    CK_SESSION_HANDLE control;
    struct p11 m;
    struct err e = {0};
    CK_RV rv;

    must(p11_load(&m, env("P11_MODULE"), &e), &e);
    must(p11_initialise(&m, env("P11_INIT_ARGS"), &e), &e);
    must(p11_find_token(&m, env("P11_LABEL"), "", &t, &e), &e);
    control = session_of(&t); /* keeps the login while the others come and go */
    rv = m.f->C_Login(control, CKU_USER, (CK_UTF8CHAR *)(uintptr_t)env("P11_PIN"), strlen(env("P11_PIN")));
    must(rv == CKR_OK ? E_OK : err_rv(&e, rv, "C_Login"), &e);
    for (enum key_alg alg = KEY_NONE + 1; alg < KEY_ALGS; alg++) {
        char label[KEY_LABEL_MAX], attributes[512] = "";
        struct err why = {0};

        if (!key_label_format(PURPOSE_CA, key_alg_name(alg), 1, label))
            return 1;
        if (try_alg(&t, alg, label, attributes, sizeof(attributes), &why) == E_OK)
            printf("%s\tworks\t%s\n", key_alg_name(alg), attributes);
        else
            printf("%s\trefused\t%s\n", key_alg_name(alg), why.msg);
    }
    fflush(stdout);
    p11_finalise(&m);
    _exit(0);
}
