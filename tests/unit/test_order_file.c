/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "ca/order_file.h"

AUTO_TYPE(EVP_PKEY, EVP_PKEY_free)
AUTO_TYPE(json_t, json_decref)

static inline void auto_clear_spec(struct order_spec *o)
{
    order_spec_clear(o);
}
#define AUTO_SPEC __attribute__((cleanup(auto_clear_spec))) struct order_spec

static const char good[] =
    "{\"device_ids\":{\"range\":{\"digits\":4,\"first\":1,\"prefix\":\"M2-\"}},\"domain\":\"example\",\"key_mode\":\"device\","
    "\"not_after\":\"2026-12-22T06:00:00Z\",\"not_before\":\"2026-11-22T06:00:00Z\",\"order\":\"WO-17\",\"orphan_after_s\":3600,"
    "\"product\":\"demo\",\"profile\":\"idevid\",\"quantity\":1000,\"rekeys\":10,\"rework\":5,\"stations\":[\"issue-1\",\"line:L3\"]}";

/* The good payload with one member set to `value` (JSON text); NULL: taken away. */
static json_t *changed(const char *member, const char *value)
{
    json_t *payload = json_loads(good, 0, NULL);

    assert_non_null(payload);
    if (member && value) {
        json_t *v = json_loads(value, JSON_DECODE_ANY, NULL);

        assert_non_null(v);
        json_object_set_new(payload, member, v);
    } else if (member) {
        json_object_del(payload, member);
    }
    return payload;
}

static EVP_PKEY *new_key(void)
{
    return EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
}

static void sign_text(EVP_PKEY *key, const char *typ, const char *payload, struct buf *file)
{
    struct jws_header h = {.alg = SIG_NONE};
    struct err e = {0};

    snprintf(h.typ, sizeof(h.typ), "%s", typ);
    assert_int_equal(jws_sign(key, &h, bytes_str(payload), file, &e), E_OK);
}

static void a_good_file_gives_what_it_asks_for(void **state)
{
    AUTO(EVP_PKEY) *key = new_key(), *stranger = new_key();
    AUTO_BUF file = BUF_INIT(1 << 20);
    AUTO_SPEC o;
    char kid[JWS_KID_LEN + 1];
    uint8_t hash[32];
    struct err e = {0};

    (void)state;
    order_spec_init(&o);
    sign_text(key, ORDER_FILE_TYP, good, &file);
    if (order_file_read(buf_bytes(&file), &o, &e) != E_OK)
        fail_msg("%s", e.msg);
    assert_string_equal(o.order_no, "WO-17");
    assert_string_equal(o.domain, "example");
    assert_string_equal(o.product, "demo");
    assert_string_equal(o.model, "");
    assert_int_equal(o.quantity, 1000);
    assert_false(o.by_list);
    assert_string_equal(o.prefix, "M2-");
    assert_int_equal(o.first, 1);
    assert_int_equal(o.digits, 4);
    assert_int_equal(o.key_mode, ORDER_KEY_DEVICE);
    assert_int_equal(o.stations.n, 2);
    assert_true(text_list_has(&o.stations, "line:L3"));
    assert_int_equal(o.not_after - o.not_before, 30 * 86400);
    assert_int_equal(o.not_before, 1795327200);
    assert_int_equal(o.rekeys, 10);
    assert_int_equal(o.rework, 5);
    assert_int_equal(o.orphan_after_s, 3600);
    assert_int_equal(jws_kid(key, kid, &e), E_OK);
    assert_string_equal(o.kid, kid);
    assert_string_equal(o.signer, "");
    sha256(buf_bytes(&file), hash);
    assert_memory_equal(o.file_hash, hash, 32);
    assert_int_equal(order_file_verify(buf_bytes(&file), key, &e), E_OK);
    assert_int_equal(order_file_verify(buf_bytes(&file), stranger, &e), E_DENIED);
}

static void every_member_keeps_its_rule(void **state)
{
    static const struct {
        const char *name, *member, *value, *says; /* says NULL: accepted */
    } cases[] = {
        {"as it is", NULL, NULL, NULL},
        {"an unknown member", "colour", "1", "unknown member \"colour\""},
        {"no order", "order", NULL, "\"order\" is missing"},
        {"an order of 48 octets", "order", "\"W23456789012345678901234567890123456789012345678\"", NULL},
        {"an order of 49 octets", "order", "\"W234567890123456789012345678901234567890123456789\"", "\"order\" must be"},
        {"an order with a slash", "order", "\"WO/17\"", "\"order\" must be"},
        {"an order that begins with a dot", "order", "\".WO\"", "\"order\" must be"},
        {"an order that is an EST operation", "order", "\"cacerts\"", "\"order\" must be"},
        {"a domain with a blank", "domain", "\"a b\"", "\"domain\" must be a name"},
        {"a product that is a number", "product", "7", "\"product\" must be a name"},
        {"a model", "model", "\"M2\"", NULL},
        {"no quantity", "quantity", NULL, "\"quantity\" is missing"},
        {"quantity 0", "quantity", "0", "from 1 to 1000000"},
        {"a quantity that is a text", "quantity", "\"5\"", "\"quantity\""},
        {"a quantity that is no whole number", "quantity", "5.0", "\"quantity\""},
        {"as many as the digits hold", "quantity", "9999", NULL},
        {"one more than the digits hold", "quantity", "10000", "need more than 4 digits"},
        {"a million and one", "quantity", "1000001", "from 1 to 1000000"},
        {"range and list", "device_ids", "{\"range\":{\"prefix\":\"a\",\"first\":1,\"digits\":4},\"list\":[\"a\"]}", "either range or list"},
        {"neither range nor list", "device_ids", "{}", "either range or list"},
        {"a range with a step", "device_ids", "{\"range\":{\"prefix\":\"a\",\"first\":1,\"digits\":4,\"step\":2}}", "nothing else"},
        {"a range of 19 digits", "device_ids", "{\"range\":{\"prefix\":\"a\",\"first\":1,\"digits\":19}}", "1 to 18"},
        {"a range from -1", "device_ids", "{\"range\":{\"prefix\":\"a\",\"first\":-1,\"digits\":4}}", "negative"},
        {"a prefix with a blank", "device_ids", "{\"range\":{\"prefix\":\"a \",\"first\":1,\"digits\":4}}", "does not begin a device id"},
        {"a range without a prefix text", "device_ids", "{\"range\":{\"prefix\":\"\",\"first\":1,\"digits\":4}}", NULL},
        {"a list too short", "device_ids", "{\"list\":[\"a\",\"b\"]}", "has 2 ids"},
        {"an id twice in a list", "device_ids", "{\"list\":[\"b\",\"a\",\"b\"]}", "has b twice"},
        {"no id in a list", "device_ids", "{\"list\":[\"a\",\"b c\"]}", "[1] is not a device id"},
        {"an empty list", "device_ids", "{\"list\":[]}", "1 to 1000000"},
        {"another key mode", "key_mode", "\"chip\"", "\"key_mode\" must be"},
        {"an encrypted key", "key_mode", "\"server-encrypted\"", NULL},
        {"no station", "stations", "[]", "\"stations\" must be a list"},
        {"a station twice", "stations", "[\"a\",\"a\"]", "[1] stands there twice"},
        {"a time without Z", "not_before", "\"2026-11-22T06:00:00\"", "\"not_before\" must be a time"},
        {"a time with an offset", "not_before", "\"2026-11-22T06:00:00+01:00\"", "\"not_before\" must be a time"},
        {"the 30th of February", "not_before", "\"2026-02-30T06:00:00Z\"", "\"not_before\" must be a time"},
        {"an end before the begin", "not_after", "\"2026-11-22T05:59:59Z\"", "after \"not_before\""},
        {"an end that is the begin", "not_after", "\"2026-11-22T06:00:00Z\"", "after \"not_before\""},
        {"no rekeys", "rekeys", NULL, "\"rekeys\" is missing"},
        {"negative rework", "rework", "-1", "\"rework\" must be"},
        {"orphans after 9 seconds", "orphan_after_s", "9", "\"orphan_after_s\" must be"},
        {"orphans after 10 seconds", "orphan_after_s", "10", NULL},
        {"releases", "firmware", "[\"1.4.2\",\"1.4.3 (L3)\"]", NULL},
        {"a release with a line end", "firmware", "[\"1.4\\n\"]", "\"firmware\"[0]"},
        {"evidence", "evidence", "\"required\"", NULL},
        {"some evidence", "evidence", "\"some\"", "\"evidence\" must be"},
        {"as many deferred as units", "defer", "1000", NULL},
        {"more deferred than units", "defer", "1001", "\"defer\" must not"},
        {"targets", "targets", "[\"native\",\"aws-jitr\",\"azure-dps\",\"microchip\",\"csv\"]", NULL},
        {"an unknown target", "targets", "[\"native\",\"gcp\"]", "\"targets\"[1] must be one of"},
        {"a customer key that is no certificate", "customer_key", "\"AAAA\"", "\"customer_key\" must be one certificate"},
        {"a customer key that is no base64", "customer_key", "\"A\"", "\"customer_key\" must be a certificate"},
        {"a note with a tab", "note", "\"a\\tb\"", "\"note\" must be"},
        {"a note in UTF-8", "note", "\"Größe\"", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO(json_t) *payload = changed(cases[i].member, cases[i].value);
        AUTO_SPEC o;
        struct err e = {0};

        if (strstr(cases[i].name, "id twice") || strstr(cases[i].name, "no id in"))
            json_object_set_new(payload, "quantity", json_integer(2));
        print_message("  %s\n", cases[i].name);
        order_spec_init(&o);
        if (order_payload_check(payload, &o, &e) != (cases[i].says ? E_INVALID : E_OK))
            fail_msg("%s", e.msg);
        if (cases[i].says && !strstr(e.msg, cases[i].says))
            fail_msg("\"%s\" does not say \"%s\"", e.msg, cases[i].says);
    }
}

static void a_member_given_twice_is_refused(void **state)
{
    AUTO_SPEC o;
    struct err e = {0};

    (void)state;
    order_spec_init(&o);
    assert_int_equal(order_payload_read(bytes_str("{\"order\":\"A\",\"order\":\"B\"}"), &o, &e), E_INVALID);
    assert_non_null(strstr(e.msg, "duplicate"));
}

/* ---- against a configuration ---- */

struct world {
    char dir[64], pem[80];
    struct conf_order_signer signer;
    struct conf_token token;
    struct conf_ca ca;
    struct conf_profile profile[2];
    struct conf_domain domain[2];
    struct conf_label label;
    char *domains[1];
    struct conf conf;
};

static void world_make(struct world *w, EVP_PKEY *key)
{
    BIO *out = BIO_new(BIO_s_mem());
    char *pem;
    long n;
    struct err e = {0};

    memset(w, 0, sizeof(*w));
    snprintf(w->dir, sizeof(w->dir), "/tmp/inkan-order-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->pem, sizeof(w->pem), "%s/signer.pem", w->dir);
    assert_int_equal(PEM_write_bio_PUBKEY(out, key), 1);
    n = BIO_get_mem_data(out, &pem);
    assert_int_equal(file_write_atomic(w->pem, BYTES(pem, n), 0644, &e), E_OK);
    BIO_free(out);
    w->domains[0] = (char *)(uintptr_t)"example";
    w->signer = (struct conf_order_signer){.name = (char *)(uintptr_t)"owner", .file = w->pem, .domains = {w->domains, 1}};
    w->token.name = (char *)(uintptr_t)"t";
    w->ca = (struct conf_ca){.name = (char *)(uintptr_t)"maker-ca", .token = (char *)(uintptr_t)"t"};
    w->profile[0] = (struct conf_profile){.name = (char *)(uintptr_t)"idevid", .kind = PROFILE_IDEVID, .ca = (char *)(uintptr_t)"maker-ca"};
    w->profile[1] = (struct conf_profile){.name = (char *)(uintptr_t)"server", .kind = PROFILE_TLS_SERVER, .ca = (char *)(uintptr_t)"maker-ca"};
    w->domain[0].name = (char *)(uintptr_t)"example";
    w->domain[1].name = (char *)(uintptr_t)"other";
    w->label.name = (char *)(uintptr_t)"field";
    w->conf = (struct conf){.tokens = &w->token, .tokens_n = 1, .cas = &w->ca, .cas_n = 1, .profiles = w->profile, .profiles_n = 2,
                            .domains = w->domain, .domains_n = 2, .labels = &w->label, .labels_n = 1,
                            .order_signers = &w->signer, .order_signers_n = 1};
}

static void world_end(struct world *w)
{
    unlink(w->pem);
    rmdir(w->dir);
}

static void an_order_is_accepted_from_whom_the_configuration_names(void **state)
{
    static const struct {
        const char *name, *member, *value, *typ;
        bool stranger, offline, broken;
        enum err_code code;
        const char *says;
    } cases[] = {
        {"by a stranger, and no JSON", "", NULL, ORDER_FILE_TYP, true, false, false, E_DENIED, "none of order_signers"},
        {"by the owner, and no JSON", "", NULL, ORDER_FILE_TYP, false, false, false, E_INVALID, "payload: line 1"},
        {"by the owner", NULL, NULL, ORDER_FILE_TYP, false, false, false, E_OK, NULL},
        {"by a stranger", NULL, NULL, ORDER_FILE_TYP, true, false, false, E_DENIED, "none of order_signers"},
        {"for another domain", "domain", "\"other\"", ORDER_FILE_TYP, false, false, false, E_DENIED, "may not sign for domain other"},
        {"with another payload", NULL, NULL, ORDER_FILE_TYP, false, false, true, E_DENIED, "not one by this key"},
        {"of another typ", NULL, NULL, "inkan-close-out", false, false, false, E_INVALID, "typ is"},
        {"named as a label", "order", "\"field\"", ORDER_FILE_TYP, false, false, false, E_INVALID, "label of the configuration"},
        {"with an unknown profile", "profile", "\"x\"", ORDER_FILE_TYP, false, false, false, E_INVALID, "\"profile\" x"},
        {"with a profile for servers", "profile", "\"server\"", ORDER_FILE_TYP, false, false, false, E_INVALID, "\"profile\" server"},
        {"with a profile of an offline CA", NULL, NULL, ORDER_FILE_TYP, false, true, false, E_INVALID, "offline"},
    };
    AUTO(EVP_PKEY) *key = new_key(), *stranger = new_key();
    struct world w;

    (void)state;
    world_make(&w, key);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool is_json = !cases[i].member || cases[i].member[0];
        AUTO(json_t) *payload = is_json ? changed(cases[i].member, cases[i].value) : NULL;
        AUTO(char) *text = is_json ? json_dumps(payload, JSON_COMPACT | JSON_SORT_KEYS) : strdup("{{{");
        AUTO_BUF file = BUF_INIT(1 << 20);
        AUTO_SPEC o;
        struct err e = {0};

        print_message("  %s\n", cases[i].name);
        order_spec_init(&o);
        w.token.offline = cases[i].offline;
        sign_text(cases[i].stranger ? stranger : key, cases[i].typ, text, &file);
        if (cases[i].broken) { /* "M2-" becomes "M3-" under the signature */
            AUTO_BUF was = BUF_INIT(1000), is = BUF_INIT(1000);
            uint8_t *at;

            base64url_encode(&was, bytes_str(text));
            at = memmem(file.p, file.len, was.p, was.len);
            assert_non_null(at);
            text[strcspn(text, "2")] = '3';
            base64url_encode(&is, bytes_str(text));
            memcpy(at, is.p, is.len);
        }
        if (order_file_accept(&w.conf, buf_bytes(&file), &o, &e) != cases[i].code)
            fail_msg("%s", e.msg);
        if (cases[i].says && !strstr(e.msg, cases[i].says))
            fail_msg("\"%s\" does not say \"%s\"", e.msg, cases[i].says);
        if (cases[i].code == E_OK)
            assert_string_equal(o.signer, "owner");
    }
    world_end(&w);
}

static void a_signer_whose_key_cannot_be_read_is_named(void **state)
{
    AUTO(EVP_PKEY) *key = new_key();
    AUTO_BUF file = BUF_INIT(1 << 20);
    AUTO_SPEC o;
    struct world w;
    struct err e = {0};

    (void)state;
    world_make(&w, key);
    unlink(w.pem);
    order_spec_init(&o);
    sign_text(key, ORDER_FILE_TYP, good, &file);
    assert_int_equal(order_file_accept(&w.conf, buf_bytes(&file), &o, &e), E_DENIED);
    assert_non_null(strstr(e.msg, "order signer \"owner\""));
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_gives_what_it_asks_for),
        cmocka_unit_test(every_member_keeps_its_rule),
        cmocka_unit_test(a_member_given_twice_is_refused),
        cmocka_unit_test(an_order_is_accepted_from_whom_the_configuration_names),
        cmocka_unit_test(a_signer_whose_key_cannot_be_read_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
