/* SPDX-License-Identifier: Apache-2.0 */
/* The PKCS#11 layer: small parts alone, the rest through inkan-token over a real SoftHSM. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/proc.h"
#include "hsm/keytype.h"
#include "hsm/p11.h"
#include "hsm/pin.h"
#include "hsm/tbs.h"
#include "hsm/token_admin.h"
#include "hsm_bench.h"
#include "tests/lib/ckr_cases.h"

static struct bench b;

static int make_bench(void **state)
{
    (void)state;
    bench_make(&b, true);
    return 0;
}

static int remove_bench(void **state)
{
    (void)state;
    bench_remove(&b);
    return 0;
}

/* ---- requests to inkan-token ---- */

struct reply {
    struct buf packet;
    struct msg_reader r;
    struct err e;
};

static enum err_code ask(struct msg *m, struct reply *reply)
{
    struct child c = child_start(&b, "inkan-token");
    enum err_code rc;

    reply->packet = BUF_INIT(MSG_MAX_LEN);
    reply->e = (struct err){0};
    rc = token_ask(&c, m, &reply->packet, &reply->r, &reply->e);
    assert_int_equal(child_stop(&c), 0);
    return rc;
}

static enum err_code ask_plain(uint16_t type, struct err *e)
{
    struct reply reply;
    enum err_code rc;
    struct msg m;

    msg_begin(&m, type, 1);
    rc = ask(&m, &reply);
    *e = reply.e;
    buf_clear(&reply.packet);
    return rc;
}

struct info {
    char label[64], serial[32], model[32], manufacturer[64], firmware[16], pin_state[32], library[128];
    bool initialised, user_pin_set;
};

static void get_info(struct info *i)
{
    struct reply reply;
    struct msg m;

    msg_begin(&m, TOKEN_INFO, 1);
    if (ask(&m, &reply) != E_OK)
        fail_msg("%s", reply.e.msg);
    msg_get_str(&reply.r, i->label, sizeof(i->label));
    msg_get_str(&reply.r, i->serial, sizeof(i->serial));
    msg_get_str(&reply.r, i->model, sizeof(i->model));
    msg_get_str(&reply.r, i->manufacturer, sizeof(i->manufacturer));
    msg_get_str(&reply.r, i->firmware, sizeof(i->firmware));
    i->initialised = msg_get_bool(&reply.r);
    i->user_pin_set = msg_get_bool(&reply.r);
    msg_get_str(&reply.r, i->pin_state, sizeof(i->pin_state));
    msg_get_str(&reply.r, i->library, sizeof(i->library));
    assert_int_equal(msg_read_end(&reply.r, NULL), E_OK);
    buf_clear(&reply.packet);
}

struct listed {
    char label[128], alg[16], flags[256];
    uint8_t id[64];
    size_t id_len, spki_len;
    bool never_extractable;
};

static size_t list_keys(struct listed *l, size_t max)
{
    struct reply reply;
    struct msg m;
    uint32_t n;

    msg_begin(&m, TOKEN_LIST, 1);
    if (ask(&m, &reply) != E_OK)
        fail_msg("%s", reply.e.msg);
    n = msg_get_u32(&reply.r);
    assert_true(n <= max);
    for (uint32_t i = 0; i < n; i++) {
        struct bytes id;

        msg_get_str(&reply.r, l[i].label, sizeof(l[i].label));
        id = msg_get_bytes(&reply.r, sizeof(l[i].id));
        memcpy(l[i].id, id.p ? id.p : l[i].id, id.len);
        l[i].id_len = id.len;
        msg_get_str(&reply.r, l[i].alg, sizeof(l[i].alg));
        l[i].spki_len = msg_get_bytes(&reply.r, SPKI_MAX_LEN).len;
        l[i].never_extractable = msg_get_bool(&reply.r);
        msg_get_str(&reply.r, l[i].flags, sizeof(l[i].flags));
    }
    assert_int_equal(msg_read_end(&reply.r, NULL), E_OK);
    buf_clear(&reply.packet);
    return n;
}

static enum err_code destroy(const uint8_t id[16], struct bytes spki, struct err *e)
{
    struct reply reply;
    enum err_code rc;
    struct msg m;

    msg_begin(&m, TOKEN_DESTROY, 1);
    msg_put_bytes(&m, BYTES(id, 16));
    msg_put_bytes(&m, spki);
    rc = ask(&m, &reply);
    *e = reply.e;
    buf_clear(&reply.packet);
    return rc;
}

/* ---- token ---- */

static void a_token_is_initialised_once_with_new_pins(void **state)
{
    struct info i;
    struct stat st;
    struct err e;

    (void)state;
    get_info(&i);
    assert_false(i.initialised);
    assert_string_equal(i.label, "t1");
    assert_string_equal(i.pin_state, "not set");
    assert_int_equal(ask_plain(TOKEN_INIT, &e), E_OK);
    assert_int_equal(stat(b.pin_file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0400);
    assert_int_equal(st.st_size, 33); /* 32 characters and a newline */
    get_info(&i);
    assert_true(i.initialised);
    assert_true(i.user_pin_set);
    assert_string_equal(i.label, "t1");
    assert_string_equal(i.pin_state, "ok");
    assert_true(i.serial[0] != '\0');
    assert_string_equal(i.manufacturer, "SoftHSM project");
    assert_int_equal(ask_plain(TOKEN_INIT, &e), E_CONFLICT);
    assert_non_null(strstr(e.msg, "already initialised"));
}

static void an_interrupted_initialisation_is_completed(void **state)
{
    struct info i;
    struct err e;

    (void)state;
    bench_remove(&b);
    bench_make(&b, true);
    bench_rules(&b, "C_InitPIN rv=0x30\n");
    assert_int_equal(ask_plain(TOKEN_INIT, &e), E_TOKEN);
    bench_rules(&b, NULL);
    get_info(&i);
    assert_true(i.initialised);
    assert_false(i.user_pin_set);
    assert_int_equal(ask_plain(TOKEN_INIT, &e), E_OK);
    get_info(&i);
    assert_true(i.user_pin_set);
}

static void a_refused_so_pin_is_not_tried_again(void **state)
{
    char path[128];
    struct err e;
    FILE *f;

    (void)state;
    bench_remove(&b);
    bench_make(&b, true);
    bench_rules(&b, "C_InitPIN rv=0x30\n");
    assert_int_equal(ask_plain(TOKEN_INIT, &e), E_TOKEN);
    bench_rules(&b, NULL);
    snprintf(path, sizeof(path), "%s/so-pin", b.dir);
    unlink(path);
    f = fopen(path, "we");
    fputs("something-else\n", f);
    fchmod(fileno(f), 0400);
    fclose(f);
    bench_forget_calls(&b);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask_plain(TOKEN_INIT, &e), E_DENIED);
    assert_int_equal(bench_calls(&b, "C_Login"), 1);
    bench_remove(&b);
    bench_make(&b, true);
    token_make(&b);
}

/* ---- keys ---- */

static void a_generated_key_follows_the_policy_and_is_listed(void **state)
{
    static const char *const algs[] = {"p256", "p384", "rsa2048", "ed25519"};
    struct listed l[16];
    struct err e = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
        struct spki_view view;
        struct made_key k;

        if (token_generate(&b, PURPOSE_CA, algs[i], algs[i], &k, &e) != E_OK)
            fail_msg("%s", e.msg);
        assert_int_equal(spki_view(BYTES(k.spki, k.spki_len), &view, &e), E_OK);
        assert_string_equal(key_alg_name(view.alg), algs[i]);
        assert_non_null(strstr(k.attributes, "SENSITIVE=1 EXTRACTABLE=0 ALWAYS_SENSITIVE=1 NEVER_EXTRACTABLE=1"));
        assert_non_null(strstr(k.attributes, "MODIFIABLE=0"));
    }
    assert_int_equal(list_keys(l, ARRAY_LEN(l)), ARRAY_LEN(algs)); /* an Ed25519 key hides nothing */
    for (size_t i = 0; i < ARRAY_LEN(algs); i++) {
        bool found = false;
        char label[64];

        snprintf(label, sizeof(label), "ca/%s/1", algs[i]);
        for (size_t j = 0; j < ARRAY_LEN(algs); j++)
            found |= strcmp(l[j].label, label) == 0 && strcmp(l[j].alg, algs[i]) == 0 && l[j].never_extractable &&
                     l[j].spki_len > 0 && l[j].id_len == 16 && !strstr(l[j].flags, "DIFFERS");
        assert_true(found);
    }
}

static void a_label_is_used_once(void **state)
{
    struct made_key k;
    struct err e = {0};

    (void)state;
    assert_int_equal(token_generate(&b, PURPOSE_CA, "p256", "p256", &k, &e), E_CONFLICT);
    assert_int_equal(token_generate(&b, PURPOSE_OCSP, "p256", "p256", &k, &e), E_OK);
}

static void a_key_that_differs_is_destroyed_again(void **state)
{
    static const struct {
        const char *name, *rule, *says;
    } cases[] = {
        {"extractable", "C_GetAttributeValue attr=0x162 value=1\n", "CKA_EXTRACTABLE is true"},
        {"not sensitive", "C_GetAttributeValue attr=0x103 value=0\n", "CKA_SENSITIVE is false"},
        {"was extractable", "C_GetAttributeValue attr=0x164 value=0\n", "CKA_NEVER_EXTRACTABLE is false"},
        {"can decrypt", "C_GetAttributeValue attr=0x105 value=1\n", "CKA_DECRYPT is true"},
        {"modifiable", "C_GetAttributeValue attr=0x170 value=1\n", "CKA_MODIFIABLE is true"},
        {"signs wrongly", "C_Sign flip=1\n", "does not verify"},
    };
    struct listed before[16], after[16];
    size_t n = list_keys(before, 16);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct made_key k;
        struct err e = {0};

        print_message("%s\n", cases[i].name);
        bench_rules(&b, cases[i].rule);
        assert_int_equal(token_generate(&b, PURPOSE_CA, "refused", "p256", &k, &e), E_TOKEN);
        bench_rules(&b, NULL);
        if (!strstr(e.msg, cases[i].says) || !strstr(e.msg, "refused and destroyed"))
            fail_msg("\"%s\"", e.msg);
        assert_int_equal(list_keys(after, 16), n);
    }
}

static void a_module_that_refuses_optional_attributes_is_asked_without(void **state)
{
    struct made_key k;
    struct err e = {0};

    (void)state;
    bench_rules(&b, "C_GenerateKeyPair rv=0x12 first=3\n"); /* ATTRIBUTE_TYPE_INVALID */
    assert_int_equal(token_generate(&b, PURPOSE_CA, "plain", "p256", &k, &e), E_OK);
    bench_rules(&b, NULL);
    assert_non_null(strstr(k.attributes, "ALLOWED_MECHANISMS=any"));
    assert_int_equal(destroy(k.cka_id, BYTES(k.spki, k.spki_len), &e), E_OK);
}

static void a_key_is_destroyed_only_with_its_own_public_key(void **state)
{
    struct made_key a, other;
    struct listed before[16], after[16];
    struct err e = {0};
    size_t n;

    (void)state;
    n = list_keys(before, 16);
    assert_int_equal(token_generate(&b, PURPOSE_AUDIT, "one", "p256", &a, &e), E_OK);
    assert_int_equal(token_generate(&b, PURPOSE_AUDIT, "two", "p256", &other, &e), E_OK);
    assert_int_equal(destroy(a.cka_id, BYTES(other.spki, other.spki_len), &e), E_CONFLICT);
    assert_int_equal(list_keys(after, 16), n + 2);
    assert_int_equal(destroy(a.cka_id, BYTES(a.spki, a.spki_len), &e), E_OK);
    assert_int_equal(list_keys(after, 16), n + 1);
    assert_int_equal(destroy(a.cka_id, BYTES(a.spki, a.spki_len), &e), E_NOT_FOUND);
    assert_int_equal(destroy(other.cka_id, BYTES(other.spki, other.spki_len), &e), E_OK);
}

static void names_and_algorithms_are_checked(void **state)
{
    static const struct {
        const char *name, *alg;
    } cases[] = {{"../etc", "p256"}, {"", "p256"}, {"a b", "p256"}, {"ok", "p521"}, {"ok", ""}, {"ok", "rsa1024"}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct made_key k;
        struct err e = {0};

        assert_int_equal(token_generate(&b, PURPOSE_CA, cases[i].name, cases[i].alg, &k, &e), E_INVALID);
    }
}

static void a_certificate_object_is_stored_once(void **state)
{
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    X509 *x = X509_new();
    unsigned char *der = NULL;
    int len;

    (void)state;
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"x", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_pubkey(x, pkey);
    assert_true(X509_sign(x, pkey, EVP_sha256()) > 0);
    len = i2d_X509(x, &der);
    assert_true(len > 0);
    for (int i = 0; i < 2; i++) {
        struct reply reply;
        struct msg m;

        msg_begin(&m, TOKEN_STORE_CERT, 1);
        msg_put_bytes(&m, BYTES("0123456789abcdef", 16));
        msg_put_str(&m, "a certificate");
        msg_put_bytes(&m, BYTES(der, (size_t)len));
        if (ask(&m, &reply) != E_OK)
            fail_msg("%s", reply.e.msg);
        buf_clear(&reply.packet);
    }
    char command[512];
    snprintf(command, sizeof(command),
             "test $(pkcs11-tool --module %s --token-label t1 --list-objects --type cert 2>/dev/null | grep -c 'a certificate') = 1",
             getenv("INKAN_SHIM_MODULE"));
    assert_int_equal(system(command), 0);
    OPENSSL_free(der);
    X509_free(x);
    EVP_PKEY_free(pkey);
}

static void duplicate_objects_do_not_hide_the_key(void **state)
{
    struct made_key k;
    struct err e = {0};
    struct p11 m;
    struct p11_token t;
    struct p11_key_want want;
    struct verifier *v = NULL;
    struct conf *conf = bench_conf(&b);
    CK_SESSION_HANDLE s;
    CK_OBJECT_HANDLE found, pub, prv;
    CK_RV rv;

    (void)state;
    assert_int_equal(token_generate(&b, PURPOSE_CA, "twin", "p256", &k, &e), E_OK);
    assert_int_equal(p11_load(&m, getenv("INKAN_SHIM_MODULE"), &e), E_OK);
    assert_int_equal(p11_initialise(&m, "", &e), E_OK);
    assert_int_equal(p11_find_token(&m, "t1", "", &t, &e), E_OK);
    assert_int_equal(p11_open_session(&t, true, &s), CKR_OK);
    if (pin_login(&t, s, &conf->tokens[0], conf->dir_state, &e) != E_OK)
        fail_msg("%s", e.msg);
    want = (struct p11_key_want){BYTES(k.cka_id, 16), BYTES(k.spki, k.spki_len), PURPOSE_CA};
    assert_int_equal(verifier_new(want.spki, &v, &e), E_OK);
    assert_int_equal(p11_find_key(&m, s, &want, v, &found, &rv, &e), E_OK);

    /* Somebody else's private key under the same ID and label: the one that signs for our public key is taken. */
    static const CK_BYTE p256[] = {6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7};
    CK_BBOOL yes = 1, no = 0;
    CK_MECHANISM mech = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
    CK_ATTRIBUTE pub_t[] = {{CKA_TOKEN, &no, 1}, {CKA_EC_PARAMS, (void *)(uintptr_t)p256, sizeof(p256)}, {CKA_VERIFY, &yes, 1}};
    CK_ATTRIBUTE prv_t[] = {{CKA_TOKEN, &yes, 1},      {CKA_PRIVATE, &yes, 1},    {CKA_SENSITIVE, &yes, 1},
                            {CKA_EXTRACTABLE, &no, 1}, {CKA_SIGN, &yes, 1},       {CKA_DECRYPT, &no, 1},
                            {CKA_UNWRAP, &no, 1},      {CKA_DERIVE, &no, 1},      {CKA_MODIFIABLE, &no, 1},
                            {CKA_SIGN_RECOVER, &no, 1}, {CKA_ID, k.cka_id, 16},   {CKA_LABEL, (void *)(uintptr_t)"ca/twin/1", 9}};
    assert_int_equal(m.f->C_GenerateKeyPair(s, &mech, pub_t, 3, prv_t, 12, &pub, &prv), CKR_OK);
    assert_int_equal(p11_find_key(&m, s, &want, v, &found, &rv, &e), E_OK);
    assert_int_not_equal(found, prv);
    assert_int_equal(p11_destroy(&m, s, want.cka_id, want.spki, &e), E_CONFLICT); /* not all of them are ours */
    assert_int_equal(m.f->C_DestroyObject(s, found), CKR_OK);
    assert_int_equal(p11_find_key(&m, s, &want, v, &found, &rv, &e), E_CONFLICT);
    assert_int_equal(m.f->C_DestroyObject(s, prv), CKR_OK);
    assert_int_equal(p11_find_key(&m, s, &want, v, &found, &rv, &e), E_NOT_FOUND);
    verifier_free(v);
    p11_finalise(&m);
    conf_free(conf);
}

/* ---- small parts ---- */

static void results_fall_into_their_classes(void **state)
{
    (void)state;
    assert_int_equal(rv_class(CKR_OK), RV_FINE);
    for (size_t i = 0; i < ARRAY_LEN(ckr_cases); i++)
        if (rv_class(ckr_cases[i].rv) != ckr_cases[i].class)
            fail_msg("%s is of class %d, not %d", ckr_cases[i].name, rv_class(ckr_cases[i].rv), ckr_cases[i].class);
    assert_string_equal(rv_name(CKR_DEVICE_REMOVED), "CKR_DEVICE_REMOVED");
    assert_string_equal(rv_name(0x80001234UL), "CKR_unknown");
}

static void login_results_say_whether_the_pin_was_tried(void **state)
{
    (void)state;
    assert_int_equal(pin_outcome(CKR_OK), PIN_ACCEPTED);
    for (size_t i = 0; i < ARRAY_LEN(ckr_cases); i++)
        if (pin_outcome(ckr_cases[i].rv) != ckr_cases[i].login)
            fail_msg("%s means %d, not %d", ckr_cases[i].name, pin_outcome(ckr_cases[i].rv), ckr_cases[i].login);
}

static void r_and_s_become_minimal_integers(void **state)
{
    static const struct {
        const char *name, *rs, *der;
    } cases[] = {
        {"small", "00010002", "3006020101020102"},
        {"sign octet", "80018002", "300a0203008001020300" "8002"},
        {"zero", "00000001", "3006020100020101"},
        {"high bit after a zero", "008000ff", "300802020080020200ff"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t rs[64], out[80], want[80];
        size_t rs_len, want_len, n;

        print_message("%s\n", cases[i].name);
        assert_true(hex_decode(cases[i].rs, strlen(cases[i].rs), rs, sizeof(rs), &rs_len));
        assert_true(hex_decode(cases[i].der, strlen(cases[i].der), want, sizeof(want), &want_len));
        n = ecdsa_to_der(BYTES(rs, rs_len), out, sizeof(out));
        assert_int_equal(n, want_len);
        assert_memory_equal(out, want, n);
    }
    uint8_t big[132], out[160];
    memset(big, 0xff, sizeof(big));
    assert_int_equal(ecdsa_to_der(BYTES(big, 132), out, sizeof(out)), 3 + 2 * (2 + 67)); /* the 0x81 form */
    assert_int_equal(out[1], 0x81);
    assert_int_equal(ecdsa_to_der(BYTES(big, 131), out, sizeof(out)), 0);
    assert_int_equal(ecdsa_to_der(BYTES(big, 0), out, sizeof(out)), 0);
    assert_int_equal(ecdsa_to_der(BYTES(big, 132), out, 100), 0);
}

static void labels_name_exactly_one_purpose(void **state)
{
    static const struct {
        const char *label;
        bool is_ca;
    } cases[] = {
        {"ca/fleet-ca/1", true},   {"ca/fleet-ca/4294967295", true}, {"ocsp/fleet-ca/1", false}, {"ca/fleet-ca/0", false},
        {"ca/fleet-ca/01", false}, {"ca/fleet-ca", false},           {"ca//1", false},           {"ca/a/b/1", false},
        {"ca/fleet-ca/1 ", false}, {"CA/fleet-ca/1", false},         {"", false},                {"ca/fleet-ca/4294967296", false},
        {"ca/fleet-ca/-1", false}, {"ca/fleet-ca/+1", false},
    };
    char out[KEY_LABEL_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (key_label_has_purpose(bytes_str(cases[i].label), PURPOSE_CA) != cases[i].is_ca)
            fail_msg("\"%s\"", cases[i].label);
    assert_true(key_label_format(PURPOSE_AUDIT, "a", 7, out));
    assert_string_equal(out, "audit/a/7");
    assert_false(key_label_format(PURPOSE_AUDIT, "a/b", 7, out));
}

static struct bytes spki_from(const char *type, const char *group, unsigned bits, unsigned char **der)
{
    EVP_PKEY *k = strcmp(type, "RSA") == 0  ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)bits)
                  : strcmp(type, "EC") == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", group)
                                            : EVP_PKEY_Q_keygen(NULL, NULL, type);
    int n;

    assert_non_null(k);
    *der = NULL;
    n = i2d_PUBKEY(k, der);
    EVP_PKEY_free(k);
    assert_true(n > 0);
    return BYTES(*der, (size_t)n);
}

static void public_keys_have_the_algorithm_the_design_names(void **state)
{
    static const struct {
        const char *type, *group;
        unsigned bits;
        enum sig_alg alg;
    } cases[] = {
        {"EC", "P-256", 0, SIG_ECDSA_SHA256}, {"EC", "P-384", 0, SIG_ECDSA_SHA384}, {"EC", "P-521", 0, SIG_NONE},
        {"EC", "secp256k1", 0, SIG_NONE},     {"RSA", "", 2048, SIG_RSA_SHA256},    {"RSA", "", 3072, SIG_RSA_SHA256},
        {"RSA", "", 1024, SIG_NONE},          {"RSA", "", 2056, SIG_NONE},          {"ED25519", "", 0, SIG_ED25519},
        {"ED448", "", 0, SIG_NONE},           {"X25519", "", 0, SIG_NONE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        unsigned char *der;
        struct bytes spki = spki_from(cases[i].type, cases[i].group, cases[i].bits, &der);

        print_message("%s %s %u\n", cases[i].type, cases[i].group, cases[i].bits);
        assert_int_equal(sig_alg_for_spki(spki), cases[i].alg);
        assert_int_equal(sig_alg_for_spki(BYTES(spki.p, spki.len - 1)), SIG_NONE);
        OPENSSL_free(der);
    }
    assert_int_equal(sig_alg_for_spki((struct bytes){NULL, 0}), SIG_NONE);
}

static void a_token_is_found_by_label_and_serial(void **state)
{
    struct p11_token t, again;
    struct err e = {0};
    struct p11 m;

    (void)state;
    assert_int_equal(p11_load(&m, "/nonexistent.so", &e), E_NOT_FOUND);
    assert_int_equal(p11_load(&m, "relative.so", &e), E_INVALID);
    assert_int_equal(p11_load(&m, getenv("INKAN_SHIM_MODULE"), &e), E_OK);
    assert_int_equal(p11_initialise(&m, "", &e), E_OK);
    assert_int_equal(p11_find_token(&m, "t1", "", &t, &e), E_OK);
    assert_int_equal(p11_find_token(&m, "t1", t.serial, &again, &e), E_OK);
    assert_int_equal(p11_find_token(&m, "t1", "0000000000000000", &again, &e), E_NOT_FOUND);
    assert_int_equal(p11_find_token(&m, "t", "", &again, &e), E_NOT_FOUND);
    assert_int_equal(p11_token_refresh(&t, &e), E_OK);
    snprintf(t.serial, sizeof(t.serial), "another");
    assert_int_equal(p11_token_refresh(&t, &e), E_TOKEN);
    p11_finalise(&m);
}

static void pin_sources_are_read_strictly(void **state)
{
    static const struct {
        const char *name, *content;
        mode_t mode;
        enum err_code code;
        const char *pin;
    } cases[] = {
        {"one line", "secret\n", 0400, E_OK, "secret"},
        {"no newline", "secret", 0600, E_OK, "secret"},
        {"two newlines", "secret\n\n", 0400, E_INVALID, NULL},
        {"empty", "", 0400, E_INVALID, NULL},
        {"only a newline", "\n", 0400, E_INVALID, NULL},
        {"readable by others", "secret\n", 0404, E_INVALID, NULL},
    };
    char path[128], source[160];
    struct pin pin;
    struct err e = {0};

    (void)state;
    snprintf(path, sizeof(path), "%s/some-pin", b.dir);
    snprintf(source, sizeof(source), "file:%s", path);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        FILE *f = fopen(path, "we");

        print_message("%s\n", cases[i].name);
        fputs(cases[i].content, f);
        fchmod(fileno(f), cases[i].mode);
        fclose(f);
        assert_int_equal(pin_read(source, &pin, &e), cases[i].code);
        if (cases[i].pin)
            assert_string_equal(pin.text, cases[i].pin);
        pin_clear(&pin);
        unlink(path);
    }
    assert_int_equal(pin_read(source, &pin, &e), E_NOT_FOUND);
    assert_int_equal(pin_read("", &pin, &e), E_NOT_FOUND);
    assert_int_equal(pin_read("env:PIN", &pin, &e), E_INVALID);
}

static void a_damaged_journal_blocks(void **state)
{
    char path[160], state_dir[128];
    struct conf *conf = bench_conf(&b);
    struct pin_attempt a;
    struct pin pin;
    struct err e = {0};
    FILE *f;

    (void)state;
    snprintf(state_dir, sizeof(state_dir), "%s/journal", b.dir);
    mkdir(state_dir, 0700);
    assert_int_equal(pin_read(conf->tokens[0].pin, &pin, &e), E_OK);
    assert_int_equal(pin_attempt_begin(state_dir, "t1", PIN_USER, "s", &pin, &a, &e), E_OK);
    assert_string_equal(pin_journal_state(state_dir, "t1"), "unanswered");
    assert_int_equal(pin_attempt_end(&a, PIN_ACCEPTED, &e), E_OK);
    assert_string_equal(pin_journal_state(state_dir, "t1"), "ok");
    snprintf(path, sizeof(path), "%s/pin/t1.attempt", state_dir);
    f = fopen(path, "we");
    fputs("1 00 tried 1\n", f);
    fclose(f);
    assert_int_equal(pin_attempt_begin(state_dir, "t1", PIN_USER, "s", &pin, &a, &e), E_DENIED);
    assert_string_equal(pin_journal_state(state_dir, "t1"), "unreadable");
    assert_int_equal(pin_unblock(state_dir, "t1", &e), E_OK);
    assert_int_equal(pin_attempt_begin(state_dir, "t1", PIN_USER, "s", &pin, &a, &e), E_OK);
    assert_int_equal(pin_attempt_end(&a, PIN_REFUSED, &e), E_OK);
    assert_int_equal(pin_attempt_begin(state_dir, "t1", PIN_USER, "s", &pin, &a, &e), E_DENIED);
    assert_int_equal(pin_attempt_begin(state_dir, "t1", PIN_USER, "other-serial", &pin, &a, &e), E_OK);
    pin_clear(&pin);
    conf_free(conf);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_fall_into_their_classes),
        cmocka_unit_test(login_results_say_whether_the_pin_was_tried),
        cmocka_unit_test(r_and_s_become_minimal_integers),
        cmocka_unit_test(labels_name_exactly_one_purpose),
        cmocka_unit_test(public_keys_have_the_algorithm_the_design_names),
        cmocka_unit_test(a_token_is_initialised_once_with_new_pins),
        cmocka_unit_test(an_interrupted_initialisation_is_completed),
        cmocka_unit_test(a_refused_so_pin_is_not_tried_again),
        cmocka_unit_test(a_generated_key_follows_the_policy_and_is_listed),
        cmocka_unit_test(a_label_is_used_once),
        cmocka_unit_test(a_key_that_differs_is_destroyed_again),
        cmocka_unit_test(a_module_that_refuses_optional_attributes_is_asked_without),
        cmocka_unit_test(a_key_is_destroyed_only_with_its_own_public_key),
        cmocka_unit_test(names_and_algorithms_are_checked),
        cmocka_unit_test(a_certificate_object_is_stored_once),
        cmocka_unit_test(duplicate_objects_do_not_hide_the_key),
        cmocka_unit_test(a_token_is_found_by_label_and_serial),
        cmocka_unit_test(pin_sources_are_read_strictly),
        cmocka_unit_test(a_damaged_journal_blocks),
    };
    int failed;

    if (argc == 2)
        cmocka_set_test_filter(argv[1]);
    signal(SIGPIPE, SIG_IGN);
    failed = cmocka_run_group_tests(tests, make_bench, remove_bench);
    fflush(NULL);
    _exit(failed); /* exit handlers of modules crash */
}
