/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/auto.h"
#include "base/conf.h"
#include "base/fsio.h"

#define DAY ((int64_t)86400)

/* A small file that holds one of everything; every line number below counts from its first line. */
static const char good[] =
    "public_url: http://pki.example.net\n"                                                           /* 1 */
    "directories: {state: state, run: /run/x}\n"                                                     /* 2 */
    "listen:\n"                                                                                      /* 3 */
    "  est: [\"0.0.0.0:8443\", \"[::1]:8443\"]\n"                                                    /* 4 */
    "server: {profile: server}\n"                                                                    /* 5 */
    "audit: {token: issuing}\n"                                                                      /* 6 */
    "tokens:\n"                                                                                      /* 7 */
    "  - {name: root, label: r, module: /m.so, pin: file:pin/r, offline: true}\n"                    /* 8 */
    "  - {name: issuing, uri: \"pkcs11:token=iss%20uing;serial=12?module-path=/m.so\", pin: credential:p}\n" /* 9 */
    "  - {name: ocsp, label: o, module: m.so, pin: file:/pin/o, env: [\"A=b\"]}\n"                   /* 10 */
    "cas:\n"                                                                                         /* 11 */
    "  - {name: top, token: root, profile: root, subject: \"CN=Top,O=E\"}\n"                         /* 12 */
    "  - name: fleet\n"                                                                              /* 13 */
    "    issuer: top\n"                                                                              /* 14 */
    "    token: issuing\n"                                                                           /* 15 */
    "    profile: issuing\n"                                                                         /* 16 */
    "    subject: CN=Fleet\n"                                                                        /* 17 */
    "    ocsp_token: ocsp\n"                                                                         /* 18 */
    "    ocsp_profile: responder\n"                                                                  /* 19 */
    "profiles:\n"                                                                                    /* 20 */
    "  - {name: root, kind: root-ca}\n"                                                              /* 21 */
    "  - {name: issuing, kind: issuing-ca}\n"                                                        /* 22 */
    "  - {name: server, kind: tls-server, ca: fleet}\n"                                              /* 23 */
    "  - {name: responder, kind: ocsp-signer, ca: fleet}\n"                                          /* 24 */
    "  - {name: device, kind: ldevid, ca: fleet, validity: 2y, ocsp_url: true}\n"                    /* 25 */
    "domains: [{name: d1}, {name: d2}]\n"                                                            /* 26 */
    "anchors:\n"                                                                                     /* 27 */
    "  - {name: maker, file: maker.pem, domains: [d1]}\n"                                            /* 28 */
    "labels:\n"                                                                                      /* 29 */
    "  - {domain: d1, profile: device, anchors: [maker]}\n"                                          /* 30 */
    "  - {name: lab, domain: d1, profile: device}\n";                                                /* 31 */

struct loaded {
    char dir[32], path[64];
    struct conf *conf;
    struct buf report;
    struct err e;
    enum err_code rc;
};

static void load(struct loaded *l, struct bytes text)
{
    memset(l, 0, sizeof(*l));
    snprintf(l->dir, sizeof(l->dir), "/tmp/inkan-conf-XXXXXX");
    assert_non_null(mkdtemp(l->dir));
    snprintf(l->path, sizeof(l->path), "%s/t.yaml", l->dir);
    buf_init(&l->report, 1 << 20);
    assert_int_equal(file_write_atomic(l->path, text, 0600, &l->e), E_OK);
    l->rc = conf_load(l->path, &l->conf, &l->report, &l->e);
    unlink(l->path);
    rmdir(l->dir);
    buf_add_u8(&l->report, '\0');
    assert_int_equal(l->rc == E_OK, l->conf != NULL);
}

static void unload(struct loaded *l)
{
    conf_free(l->conf);
    buf_clear(&l->report);
}

/* The good file with the first `from` replaced by `to`. */
static void load_changed(struct loaded *l, const char *from, const char *to)
{
    AUTO_BUF text = BUF_INIT(1 << 20);
    const char *at = strstr(good, from);

    assert_non_null(at);
    buf_add(&text, good, (size_t)(at - good));
    buf_add_str(&text, to);
    buf_add_str(&text, at + strlen(from));
    load(l, buf_bytes(&text));
}

static size_t lines(const char *s)
{
    size_t n = 0;

    for (; *s; s++)
        n += *s == '\n';
    return n;
}

static void a_small_file_works_with_defaults(void **state)
{
    const struct conf_token *t;
    const struct conf_profile *p;
    const struct conf_ca *ca;
    struct loaded l;
    char path[128];

    (void)state;
    load(&l, bytes_str(good));
    if (l.rc != E_OK)
        print_message("%s", (char *)l.report.p);
    assert_int_equal(l.rc, E_OK);
    snprintf(path, sizeof(path), "%s/state", l.dir);
    assert_string_equal(l.conf->dir_state, path);
    assert_string_equal(l.conf->path, l.path);
    assert_string_equal(l.conf->dir_run, "/run/x");
    assert_string_equal(l.conf->server_names.v[0], "dns:pki.example.net");
    assert_int_equal(l.conf->fronts, 1);
    assert_int_equal(l.conf->audit_head_s, 60);
    assert_int_equal(l.conf->log_level, CONF_LOG_INFO);
    t = conf_find_token(l.conf, "issuing");
    assert_string_equal(t->label, "iss uing");
    assert_string_equal(t->serial, "12");
    assert_string_equal(t->module, "/m.so");
    assert_string_equal(t->pin, "credential:p");
    snprintf(path, sizeof(path), "file:%s/pin/r", l.dir);
    assert_string_equal(conf_find_token(l.conf, "root")->pin, path);
    ca = conf_find_ca(l.conf, "top");
    assert_int_equal(ca->crl_validity_s, 180 * DAY);
    ca = conf_find_ca(l.conf, "fleet");
    assert_int_equal(ca->crl_validity_s, 7 * DAY);
    assert_int_equal(ca->key, KEY_P256);
    assert_ptr_equal(conf_ca_root(l.conf, ca), conf_find_ca(l.conf, "top"));
    p = conf_find_profile(l.conf, "device");
    assert_int_equal(p->validity_s, 731 * DAY);
    assert_int_equal(p->key_usage, USAGE_DIGITAL_SIGNATURE);
    assert_int_equal(p->eku, EKU_CLIENT_AUTH);
    assert_string_equal(p->subject, "CN={device_id},serialNumber={device_id}");
    assert_int_equal(p->path_len, -1);
    assert_int_equal(conf_find_profile(l.conf, "issuing")->path_len, 0);
    assert_int_equal(conf_find_profile(l.conf, "root")->validity_s, 9131 * DAY);
    assert_non_null(conf_find_label(l.conf, ""));
    assert_null(conf_find_label(l.conf, "nope"));
    unload(&l);
}

static void what_is_printed_reads_back_the_same(void **state)
{
    AUTO_BUF first = BUF_INIT(1 << 20), second = BUF_INIT(1 << 20);
    struct loaded l, again;

    (void)state;
    load_changed(&l, "CN=Fleet\n", "\"CN=Fleet \\\"1\\\"\\\\, x\"\n");
    assert_int_equal(l.rc, E_OK);
    conf_print(l.conf, &first);
    load(&again, buf_bytes(&first));
    if (again.rc != E_OK)
        print_message("%s", (char *)again.report.p);
    assert_int_equal(again.rc, E_OK);
    conf_print(again.conf, &second);
    assert_true(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    assert_string_equal(conf_find_ca(again.conf, "fleet")->subject, "CN=Fleet \"1\"\\, x");
    unload(&l);
    unload(&again);
}

static void every_mistake_is_named_with_its_place(void **state)
{
    static const struct {
        const char *name, *from, *to, *expected; /* expected NULL: accepted */
    } cases[] = {
        {"a comment changes nothing", "audit:", "# words\naudit:", NULL},
        {"unknown key", "audit:", "audot: 1\naudit:", ":6:1: unknown key \"audot\""},
        {"unknown key in a group", "run: /run/x", "ran: /run/x", ":2:29: directories: unknown key \"ran\""},
        {"unknown key in a list", "offline: true", "ofline: true", ":8:60: tokens[0]: unknown key \"ofline\""},
        {"key twice", "{token: issuing}", "{token: issuing, token: ocsp}", ":6:25: audit.token: stands here a second time"},
        {"list twice", "labels:", "domains: []\nlabels:", ":29:1: domains: stands here a second time"},
        {"group twice", "labels:", "audit: {}\nlabels:", ":29:1: audit: stands here a second time"},
        {"no value", "public_url: http://pki.example.net", "public_url:", ":1:12: public_url: has no value"},
        {"number for a list", "listen:\n", "fronts: 3\nlisten:\n", NULL},
        {"zero", "listen:\n", "fronts: 0\nlisten:\n", ":3:9: fronts: 0 is not in 1..64"},
        {"one too many", "listen:\n", "fronts: 65\nlisten:\n", ":3:9: fronts: 65 is not in 1..64"},
        {"octal", "listen:\n", "fronts: 010\nlisten:\n", ":3:9: fronts: \"010\" is not a whole number"},
        {"number with a unit", "listen:\n", "fronts: 3d\nlisten:\n", ":3:9: fronts: \"3d\" is not a whole number"},
        {"negative", "listen:\n", "fronts: -1\nlisten:\n", "fronts: \"-1\" is not a whole number"},
        {"overflow", "listen:\n", "fronts: 18446744073709551617\nlisten:\n", "is not a whole number"},
        {"misspelt truth", "offline: true", "offline: ture", "tokens[0].offline: \"ture\" is neither true nor false"},
        {"yes", "offline: true", "offline: yes", "tokens[0].offline: \"yes\" is neither true nor false"},
        {"duration without a unit", "validity: 2y", "validity: 365", ":25:55: profiles[4].validity: \"365\" is not a duration"},
        {"duration with two units", "validity: 2y", "validity: 1d12h", "profiles[4].validity: \"1d12h\" is not a duration"},
        {"duration in weeks", "validity: 2y", "validity: 2w", "profiles[4].validity: \"2w\" is not a duration"},
        {"duration in hours", "validity: 2y", "validity: 12h", NULL},
        {"duration above the range", "validity: 2y", "validity: 200y", "profiles[4].validity: 200y is not in"},
        {"text for a list", "anchors: [maker]", "anchors: maker", ":30:44: labels[0].anchors: must be a list"},
        {"list for a text", "profile: device, anchors", "profile: [device], anchors", "labels[0].profile: must be a single value"},
        {"PIN in the file", "pin: file:pin/r", "pin: \"1234\"", ":8:48: tokens[0].pin: must be file:PATH, credential:NAME, fd:N or prompt"},
        {"PIN by descriptor", "pin: file:pin/r", "pin: fd:7", NULL},
        {"PIN by standard input", "pin: file:pin/r", "pin: fd:0", "tokens[0].pin: must be file:PATH"},
        {"PIN by a bad descriptor", "pin: file:pin/r", "pin: fd:7x", "tokens[0].pin: must be file:PATH"},
        {"PIN by prompt", "pin: file:pin/r", "pin: prompt", NULL},
        {"SO PIN by prompt", "pin: file:pin/r", "pin: file:pin/r, so_pin: prompt", "tokens[0].so_pin: must be file:PATH"},
        {"SO PIN by credential", "pin: file:pin/r", "pin: file:pin/r, so_pin: credential:so", "tokens[0].so_pin: must be file:PATH"},
        {"PIN missing", "pin: file:pin/r, ", "", ":8:5: tokens[0].pin: is missing"},
        {"PIN value in the URI", "serial=12", "serial=12;pin-value=1234", ":9:26: tokens[1].uri: pin-value is refused"},
        {"PIN value in the query", "module-path=/m.so\"", "module-path=/m.so&pin-value=1\"", "tokens[1].uri: pin-value is refused"},
        {"URI of another scheme", "pkcs11:token", "pkcs12:token", "tokens[1].uri: must start with pkcs11:"},
        {"URI attribute unknown", "serial=12", "slot-id=12", "tokens[1].uri: \"slot-id\" is none of"},
        {"URI attribute twice", "serial=12", "serial=12;serial=13", "tokens[1].uri: serial stands there twice"},
        {"URI badly encoded", "iss%20uing", "iss%2", "tokens[1].uri: the value of token"},
        {"URI with NUL", "iss%20uing", "iss%00", "tokens[1].uri: the value of token"},
        {"module in the path part", "?module-path", ";module-path", "tokens[1].uri: \"module-path\" is none of"},
        {"same token twice", "label: o, module: m.so", "label: r, module: /m.so", ":10:25: tokens[2].label: is the same token as tokens[0]"},
        {"environment without a name", "\"A=b\"", "\"=b\"", "tokens[2].env: must be NAME=value"},
        {"public_url with https", "http://pki.example.net", "https://pki.example.net", ":1:13: public_url: must be http://"},
        {"public_url with a path", "http://pki.example.net", "http://pki.example.net/x", "public_url: must be http://"},
        {"public_url with a port", "http://pki.example.net", "http://pki.example.net:8080", NULL},
        {"public_url with port 0", "http://pki.example.net", "http://pki.example.net:0", "public_url: must be http://"},
        {"public_url localhost", "http://pki.example.net", "http://localhost", "public_url: \"localhost\" is not a DNS name others can resolve"},
        {"public_url address", "http://pki.example.net", "http://192.0.2.1", "public_url: \"192.0.2.1\" is not a DNS name others"},
        {"public_url mistyped address", "http://pki.example.net", "http://192.0.2.300", "public_url: \"192.0.2.300\" is not a DNS name"},
        {"public_url with an underscore", "http://pki.example.net", "http://pk_i.example.net", "is not a DNS name"},
        {"quickstart allows localhost", "http://pki.example.net", "http://localhost\nquickstart: true", NULL},
        {"server name without its kind", "{profile: server}", "{profile: server, names: [a.example]}", ":5:35: server.names: must be dns:NAME or ip:ADDRESS"},
        {"server address", "{profile: server}", "{profile: server, names: [\"ip:192.0.2.1\"]}", "server.names: an address in the server"},
        {"server profile missing", "server: {profile: server}\n", "", "server.profile: is missing"},
        {"server profile of another kind", "{profile: server}", "{profile: device}", "server.profile: \"device\" is of kind ldevid"},
        {"listen without a port", "0.0.0.0:8443", "0.0.0.0", ":4:9: listen.est: \"0.0.0.0\" is not ADDRESS:PORT"},
        {"listen, second entry", "[::1]:8443", "[::1:8443", ":4:25: listen.est: \"[::1:8443\" is not ADDRESS:PORT"},
        {"listen twice", "\"[::1]:8443\"", "\"0.0.0.0:8443\"", "listen.est: 0.0.0.0:8443 is listened on twice"},
        {"one user only", "audit:", "users: {core: u}\naudit:", "users.front: is missing: set all five users or none"},
        {"user root", "audit:", "users: {core: root, front: f, status: s, signer: t, supervisor: u}\naudit:", "users.core: must not be root"},
        {"user shared", "audit:", "users: {core: a, front: a, status: s, signer: t, supervisor: u}\naudit:", "is another process's user already"},
        {"marks below state", "{state: state, run: /run/x}", "{state: /a, marks: /a/marks}", "directories.marks: must not be below"},
        {"marks beside state", "{state: state, run: /run/x}", "{state: /a, marks: /amarks}", NULL},
        {"run is state", "{state: state, run: /run/x}", "{state: /a, run: /a}", "directories.run: must not be below"},
        {"log below state", "{state: state, run: /run/x}", "{state: /a}\nlog_file: /a/log", "log_file: must not be below"},
        {"audit token offline", "audit: {token: issuing}", "audit: {token: root}", ":6:16: audit.token: token \"root\" is offline"},
        {"audit token unknown", "audit: {token: issuing}", "audit: {token: x}", "audit.token: there is no token \"x\""},
        {"audit token missing", "audit: {token: issuing}\n", "", "audit.token: is missing"},
        {"records", "profiles:\n", "records: {token: issuing, profile: rec}\nprofiles:\n  - {name: rec, kind: record-signer, ca: fleet}\n", NULL},
        {"records without a profile", "profiles:\n", "records: {token: issuing}\nprofiles:\n", "records.profile: is missing"},
        {"records without a token", "profiles:\n", "records: {profile: rec}\nprofiles:\n  - {name: rec, kind: record-signer, ca: fleet}\n", "records.profile: needs records.token"},
        {"records of another kind", "profiles:\n", "records: {token: issuing, profile: device}\nprofiles:\n", "records.profile: \"device\" is of kind ldevid"},
        {"records in an offline token", "profiles:\n", "records: {token: root, profile: rec}\nprofiles:\n  - {name: rec, kind: record-signer, ca: fleet}\n", "records.token: token \"root\" is offline"},
        {"records in the token of OCSP", "profiles:\n", "records: {token: ocsp, profile: rec}\nprofiles:\n  - {name: rec, kind: record-signer, ca: fleet}\n", "cas[1].ocsp_token: token \"ocsp\" holds"},
        {"records with an RSA key", "profiles:\n", "records: {token: issuing, key: rsa2048, profile: rec}\nprofiles:\n  - {name: rec, kind: record-signer, ca: fleet}\n", "records.key: must be p256"},
        {"records by an offline CA", "profiles:\n", "records: {token: issuing, profile: rec}\nprofiles:\n  - {name: rec, kind: record-signer, ca: top}\n", "whose token is offline"},
        {"a record profile without an end", "profiles:\n", "profiles:\n  - {name: rec, kind: record-signer, ca: fleet, validity: none}\n", "kind record-signer must have an end"},
        {"decisions and a feed", "profiles:\n", "decisions: {enabled: true}\nfeed: {token: ocsp, profile: f}\nprofiles:\n  - {name: f, kind: feed-signer, ca: fleet}\n", NULL},
        {"a feed without decisions", "profiles:\n", "feed: {token: ocsp, profile: f}\nprofiles:\n  - {name: f, kind: feed-signer, ca: fleet}\n", "feed.token: needs decisions.enabled"},
        {"a feed in a token that signs certificates", "profiles:\n", "decisions: {enabled: true}\nfeed: {token: issuing, profile: f}\nprofiles:\n  - {name: f, kind: feed-signer, ca: fleet}\n", "feed.token: token \"issuing\" is no CA's ocsp_token"},
        {"a feed without a profile", "profiles:\n", "decisions: {enabled: true}\nfeed: {token: ocsp}\nprofiles:\n  - {name: f, kind: feed-signer, ca: fleet}\n", "feed.profile: is missing"},
        {"a feed profile without a token", "profiles:\n", "decisions: {enabled: true}\nfeed: {profile: f}\nprofiles:\n  - {name: f, kind: feed-signer, ca: fleet}\n", "feed.profile: needs feed.token"},
        {"a feed of another kind", "profiles:\n", "decisions: {enabled: true}\nfeed: {token: ocsp, profile: device}\nprofiles:\n  - {name: f, kind: feed-signer, ca: fleet}\n", "feed.profile: \"device\" is of kind ldevid"},
        {"a feed with an RSA key", "profiles:\n", "decisions: {enabled: true}\nfeed: {token: ocsp, key: rsa2048, profile: f}\nprofiles:\n  - {name: f, kind: feed-signer, ca: fleet}\n", "feed.key: must be p256"},
        {"a feed by an offline CA", "profiles:\n", "decisions: {enabled: true}\nfeed: {token: ocsp, profile: f}\nprofiles:\n  - {name: f, kind: feed-signer, ca: top}\n", "whose token is offline"},
        {"a signer of the feed for another use", "profiles:\n", "profiles:\n  - {name: f, kind: feed-signer, ca: fleet, eku: [documentSigning, clientAuth]}\n", "profiles[0].eku: names a use"},
        {"a device that signs the feed", "profiles:\n", "profiles:\n  - {name: f, kind: ldevid, ca: fleet, eku: [documentSigning]}\n", "profiles[0].eku: names a use"},
        {"a gateway without an end", "profiles:\n", "profiles:\n  - {name: f, kind: gateway, ca: fleet, validity: none}\n", "kind gateway must have an end"},
        {"an audience", "profiles:\n", "audiences: [{name: door, scopes: [full], domains: [d1]}]\nprofiles:\n  - {name: f, kind: feed-signer, ca: fleet}\n", NULL},
        {"an audience of an unknown domain", "profiles:\n", "audiences: [{name: door, domains: [d3]}]\nprofiles:\n  - {name: f, kind: feed-signer, ca: fleet}\n", "audiences[0].domains: there is no domain \"d3\""},
        {"an audience of nothing", "profiles:\n", "audiences: [{name: door, scopes: []}]\nprofiles:\n  - {name: f, kind: feed-signer, ca: fleet}\n", "audiences[0].scopes: admits no scope"},
        {"an audience of an unknown scope", "profiles:\n", "audiences: [{name: door, scopes: [everything]}]\nprofiles:\n  - {name: f, kind: feed-signer, ca: fleet}\n", "audiences[0].scopes"},
        {"an audience that ends before it is stale", "profiles:\n", "audiences: [{name: door, stale_soft: 2d, stale_hard: 1d}]\nprofiles:\n  - {name: f, kind: feed-signer, ca: fleet}\n", "audiences[0].stale_hard: ends before stale_soft"},
        {"an order signer", "labels:\n", "order_signers: [{name: owner, file: o.pem, domains: [d1]}]\nlabels:\n", NULL},
        {"an order signer of an unknown domain", "labels:\n", "order_signers: [{name: owner, file: o.pem, domains: [d1, d3]}]\nlabels:\n", "order_signers[0].domains: there is no domain \"d3\""},
        {"an order signer for nobody", "labels:\n", "order_signers: [{name: owner, file: o.pem, domains: []}]\nlabels:\n", "order_signers[0].domains: names no domain"},
        {"an order signer without a key", "labels:\n", "order_signers: [{name: owner, domains: [d1]}]\nlabels:\n", "order_signers[0].file: is missing"},
        {"name with a blank", "name: lab", "name: \"a b\"", ":31:12: labels[1].name: \"a b\" may hold"},
        {"CA name with a slash", "name: top", "name: a/b", ":12:12: cas[0].name: \"a/b\" is not a name"},
        {"name twice", "{name: d2}", "{name: d1}", ":26:30: domains[1].name: \"d1\" is the name of domains[0] already"},
        {"label twice", "name: lab, ", "", "labels[1].name: \"\" is the name of labels[0] already"},
        {"one subject in two domains", "{name: lab, domain: d1", "{name: lab, domain: d2", "labels[1].profile: \"device\" writes the same subject as labels[0]"},
        {"label is an operation", "name: lab", "name: cacerts", "labels[1].name: \"cacerts\" is an EST operation"},
        {"label almost an operation", "name: lab", "name: cacert", NULL},
        {"label of 64", "name: lab", "name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL},
        {"label of 65", "name: lab", "name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "labels[1].name: is longer than 64"},
        {"issuer unknown", "issuer: top", "issuer: tip", ":14:13: cas[1].issuer: there is no CA \"tip\""},
        {"issuer of itself", "issuer: top", "issuer: fleet", "cas[1].issuer: the issuers go round in a circle"},
        {"circle of two", "{name: top,", "{name: top, issuer: fleet,", ":12:25: cas[0].issuer: the issuers go round in a circle"},
        {"issuer elsewhere", "issuer: top", "issuer: external", NULL},
        {"issuer elsewhere, offline token", "    issuer: top\n    token: issuing", "    issuer: external\n    token: root",
         ":15:12: cas[1].token: token \"root\" is offline"},
        {"issuer elsewhere, profile of a root", "issuer: top\n    token: issuing\n    profile: issuing", "issuer: external\n    token: issuing\n    profile: root",
         "a CA with an issuer needs issuing-ca"},
        {"a CA called external", "name: top", "name: external", "cas[0].name: \"external\" stands for an issuer elsewhere"},
        {"CA token unknown", "token: issuing\n", "token: isuing\n", "cas[1].token: there is no token \"isuing\""},
        {"CA profile unknown", "profile: issuing\n", "profile: isuing\n", "cas[1].profile: there is no profile \"isuing\""},
        {"CA profile of a root", "profile: issuing\n", "profile: root\n", ":16:14: cas[1].profile: \"root\" is of kind root-ca; a CA with an issuer needs issuing-ca"},
        {"root with an issuing profile", "token: root, profile: root", "token: root, profile: issuing", "a CA without an issuer needs root-ca"},
        {"issuing CA without expiry under a root with an end", "kind: issuing-ca", "kind: issuing-ca, validity: none", ":16:14: cas[1].profile: \"issuing\" has no expiry"},
        {"both without expiry", "kind: root-ca}\n  - {name: issuing, kind: issuing-ca", "kind: root-ca, validity: none}\n  - {name: issuing, kind: issuing-ca, validity: none", NULL},
        {"device without expiry", "validity: 2y", "validity: none", ":25:55: profiles[4].validity: none needs a CA and a root without expiry"},
        {"CA key outside its profile", "kind: issuing-ca", "kind: issuing-ca, key_algs: [p384]", "cas[1].key: profile \"issuing\" does not certify p256"},
        {"unknown key algorithm", "kind: issuing-ca", "kind: issuing-ca, key_algs: [p521]", ":22:50: profiles[1].key_algs: \"p521\" is none of"},
        {"OCSP token with a CA's key", "ocsp_token: ocsp", "ocsp_token: issuing", ":18:17: cas[1].ocsp_token: token \"issuing\" holds a CA's key"},
        {"OCSP token offline", "ocsp_token: ocsp", "ocsp_token: root", "cas[1].ocsp_token: token \"root\" is offline"},
        {"OCSP profile missing", "    ocsp_profile: responder\n", "", "cas[1].ocsp_profile: is missing"},
        {"OCSP profile of another kind", "ocsp_profile: responder", "ocsp_profile: server", "cas[1].ocsp_profile: \"server\" is of kind tls-server"},
        {"OCSP address without OCSP", "    ocsp_token: ocsp\n    ocsp_profile: responder\n", "", "profiles[4].ocsp_url: names an OCSP address but CA \"fleet\" has no ocsp_token"},
        {"profile without CA", "kind: ldevid, ca: fleet", "kind: ldevid", ":25:5: profiles[4].ca: is missing"},
        {"CA profile with CA", "kind: root-ca", "kind: root-ca, ca: fleet", "profiles[0].ca: does not belong"},
        {"profile of an unknown CA", "kind: ldevid, ca: fleet", "kind: ldevid, ca: flet", "profiles[4].ca: there is no CA \"flet\""},
        {"unknown kind", "kind: ldevid", "kind: ldevId", ":25:26: profiles[4].kind: \"ldevId\" is none of"},
        {"unknown variable", "validity: 2y", "subject: \"CN={device}\"", "profiles[4].subject: {device} is none of"},
        {"unknown attribute", "validity: 2y", "subject: \"UID=x\"", "profiles[4].subject: \"UID\": every part is TYPE=VALUE"},
        {"empty attribute", "validity: 2y", "subject: \"CN=,O=x\"", "profiles[4].subject: a part has an empty value"},
        {"comma in a value", "validity: 2y", "subject: \"CN=a\\\\,b,O=x\"", NULL},
        {"SAN of an unknown kind", "validity: 2y", "san: [\"mail:x\"]", "profiles[4].san: must be dns:NAME"},
        {"SAN address", "validity: 2y", "san: [\"ip:192.0.2.1\"]", NULL},
        {"SAN bad address", "validity: 2y", "san: [\"dns:a.b\", \"ip:192.0.2.256\"]", ":25:62: profiles[4].san: \"192.0.2.256\" is not an address"},
        {"keys made here, in clear", "validity: 2y", "keygen: service, keygen_clear: true, validity: 2y", NULL},
        {"keys made here, sealed without a record key", "validity: 2y", "keygen: service, validity: 2y", "profiles[4].keygen: without keygen_clear it needs records"},
        {"keys made here, of another kind", "validity: 2y", "keygen: service, keygen_clear: true, keygen_key: ed25519, key_algs: [p256], validity: 2y", "profiles[4].keygen_key: ed25519 is not one of key_algs"},
        {"keys made by a token", "validity: 2y", "keygen: token, keygen_clear: true, validity: 2y", NULL},
        {"keys made by an unknown token", "validity: 2y", "keygen: token, keygen_token: x, keygen_clear: true, validity: 2y", "profiles[4].keygen_token: there is no token \"x\""},
        {"keys made by an offline token", "validity: 2y", "keygen: token, keygen_token: root, keygen_clear: true, validity: 2y", "profiles[4].keygen_token: token \"root\" is offline"},
        {"a token where the service makes keys", "validity: 2y", "keygen: service, keygen_token: issuing, keygen_clear: true, validity: 2y", "profiles[4].keygen_token: belongs to keygen: token"},
        {"keys in clear where none are made", "validity: 2y", "keygen_clear: true, validity: 2y", "profiles[4].keygen: is off"},
        {"keys made for a server", "kind: tls-server,", "kind: tls-server, keygen: service, keygen_clear: true,", "profiles[2].keygen: is for idevid and ldevid"},
        {"a pool of no keys", "labels:\n", "keygen_pool: 0\nlabels:\n", "keygen_pool: "},
        {"a pool of 33", "labels:\n", "keygen_pool: 33\nlabels:\n", "keygen_pool: "},
        {"device with keyCertSign", "validity: 2y", "key_usage: [keyCertSign, digitalSignature]", "profiles[4].key_usage: keyCertSign and cRLSign are for CAs"},
        {"device with OCSPSigning", "validity: 2y", "eku: [OCSPSigning]", "profiles[4].eku: names a use that kind ldevid must not have"},
        {"device without EKU", "validity: 2y", "eku: []", NULL},
        {"device without EKU beside records", "validity: 2y, ocsp_url: true}\n",
         "eku: []}\n  - {name: rec, kind: record-signer, ca: fleet}\nrecords: {token: issuing, profile: rec}\n",
         "profiles[4].eku: is empty: with records kind ldevid needs a use"},
        {"device with path_len", "validity: 2y", "path_len: 0", "profiles[4].path_len: is for CAs"},
        {"server without serverAuth", "kind: tls-server", "kind: tls-server, eku: [clientAuth]", "profiles[2].eku: kind tls-server needs serverAuth"},
        {"anchor without a source", "file: maker.pem, ", "", ":28:5: anchors[0].file: is missing"},
        {"anchor with two sources", "file: maker.pem", "file: maker.pem, ca: fleet", "anchors[0].ca: stands beside file"},
        {"anchor of an unknown domain", "domains: [d1]", "domains: [d1, d3]", ":28:50: anchors[0].domains: there is no domain \"d3\""},
        {"label of an unknown domain", "domain: d1, profile", "domain: d3, profile", "labels[0].domain: there is no domain \"d3\""},
        {"anchor of another domain", "domains: [d1]", "domains: [d2]", ":30:45: labels[0].anchors: anchor \"maker\" is not bound to domain \"d1\""},
        {"label opened by a key alone that does not bind its requests", "name: lab", "auth_key: true, name: lab", "labels[1].auth_key: needs"},
        {"label nobody can open", "name: lab", "auth_cert: false, auth_password: false, name: lab", "labels[1].auth_cert: neither"},
        {"label issuing from an offline token", "token: issuing\n", "token: root\n", ":30:27: labels[0].profile: \"device\" issues from CA \"fleet\", whose token is offline"},
        {"anchor of YAML", "{name: d1}", "&x {name: d1}", ":26:11: anchors (&name) are not allowed"},
        {"tag of YAML", "http://pki", "!!str http://pki", "tags (!name) are not allowed"},
        {"merge key", "audit:", "<<: {}\naudit:", "unknown key \"<<\""},
        {"second document", "labels:", "---\nlabels:", "a second document is not allowed"},
        {"syntax", "labels:", "labels: [\n  x: {", "YAML: "},
        {"control character", "CN=Fleet\n", "\"CN=\\x07\"\n", "cas[1].subject: holds a control character"},
        {"escaped NUL", "CN=Fleet\n", "\"CN=a\\0b\"\n", "cas[1].subject: holds a NUL octet"},
    };

    size_t wrong = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct loaded l;

        load_changed(&l, cases[i].from, cases[i].to);
        if (l.rc != (cases[i].expected ? E_INVALID : E_OK) ||
            (cases[i].expected && !strstr((char *)l.report.p, cases[i].expected))) {
            print_message("  %s: expected %s, found:\n%s", cases[i].name, cases[i].expected ? cases[i].expected : "no mistake",
                          (char *)l.report.p);
            wrong++;
        }
        /* A PIN that slipped into the file is not repeated. */
        assert_null(strstr((char *)l.report.p, "1234"));
        unload(&l);
    }
    assert_int_equal(wrong, 0);
}

static void aliases_are_refused_even_where_they_would_resolve(void **state)
{
    struct loaded l;

    (void)state;
    load(&l, bytes_str("domains: &a [{name: x}]\nlabels: *a\n"));
    assert_int_equal(l.rc, E_INVALID);
    assert_non_null(strstr((char *)l.report.p, ":1:10: anchors"));
    assert_non_null(strstr((char *)l.report.p, ":2:9: aliases"));
    unload(&l);
}

static void all_mistakes_are_reported_at_once_in_the_order_of_the_file(void **state)
{
    static const char bad[] = "public_url: ftp://x\n"
                              "nonsense: 1\n"
                              "fronts: many\n"
                              "audit: {token: t}\n"
                              "listen: {est: []}\n"
                              "tokens:\n"
                              "  - {name: t, label: l, module: /m, pin: file:x, workers: 0}\n"
                              "cas:\n"
                              "  - {name: a, token: u, profile: p, subject: x}\n"
                              "profiles:\n"
                              "  - {name: p, kind: root-ca, validity: 1}\n"
                              "  - {name: p, kind: ldevid}\n";
    static const char *const expected[] = {":1:13: public_url", ":2:1: unknown", ":3:9: fronts",       ":7:59: tokens[0].workers",
                                           ":9:22: cas[0].token", ":9:46: cas[0].subject", ":11:40: profiles[0].validity",
                                           ":12:5: profiles[1].ca", ":12:12: profiles[1].name"};
    struct loaded l;
    const char *at;

    (void)state;
    load(&l, bytes_str(bad));
    assert_int_equal(l.rc, E_INVALID);
    at = (char *)l.report.p;
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        at = strstr(at, expected[i]);
        if (!at)
            print_message("%s not found in order in\n%s", expected[i], (char *)l.report.p);
        assert_non_null(at);
    }
    assert_int_equal(lines((char *)l.report.p), ARRAY_LEN(expected));
    assert_non_null(strstr(l.e.msg, "public_url"));
    unload(&l);
}

static void files_that_would_cost_much_are_refused_early(void **state)
{
    AUTO_BUF deep = BUF_INIT(1 << 20), large = BUF_INIT(2 << 20);
    struct loaded l;

    (void)state;
    for (int i = 0; i < 200000; i++)
        buf_add_u8(&deep, '[');
    load(&l, buf_bytes(&deep));
    assert_int_equal(l.rc, E_INVALID);
    assert_non_null(strstr((char *)l.report.p, "more than 8 levels"));
    unload(&l);
    while (large.len <= 1024 * 1024)
        buf_add_str(&large, "# a comment\n");
    load(&l, buf_bytes(&large));
    assert_int_equal(l.rc, E_INVALID);
    unload(&l);
}

static void empty_and_strange_files_are_refused(void **state)
{
    static const struct {
        const char *name;
        struct bytes text;
    } cases[] = {{"nothing", {(const uint8_t *)"", 0}},
                 {"a comment", {(const uint8_t *)"# x\n", 4}},
                 {"a list", {(const uint8_t *)"- a\n", 4}},
                 {"a word", {(const uint8_t *)"a\n", 2}},
                 {"NUL", {(const uint8_t *)"public_url: \0x\n", 15}},
                 {"not UTF-8", {(const uint8_t *)"public_url: \xff\n", 14}},
                 {"a key that is a list", {(const uint8_t *)"[a]: b\n", 7}}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct loaded l;

        print_message("  %s\n", cases[i].name);
        load(&l, cases[i].text);
        assert_int_equal(l.rc, E_INVALID);
        unload(&l);
    }
}

static void a_missing_file_says_so(void **state)
{
    struct conf *c;
    struct err e = {0};

    (void)state;
    assert_int_equal(conf_load("/tmp/inkan-no-such-file.yaml", &c, NULL, &e), E_NOT_FOUND);
    assert_null(c);
}

static void the_reference_names_every_key(void **state)
{
    static const char *const keys[] = {"`public_url`", "`directories.state`", "`log_file`", "`users.admin`", "`crl_shards`",
                                       "`idevid_reenroll`", "`wrap64`", "`so_pin`"};
    AUTO_BUF text = BUF_INIT(1 << 20);

    (void)state;
    conf_help(&text);
    buf_add_u8(&text, '\0');
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        assert_non_null(strstr((char *)text.p, keys[i]));
}

static void the_reference_page_is_what_the_program_prints(void **state)
{
    AUTO_BUF text = BUF_INIT(1 << 20), page = BUF_INIT(1 << 20);
    struct err e = {0};

    (void)state;
    conf_help(&text);
    assert_int_equal(file_read(TEST_SOURCE_DIR "/docs/configuration.md", &page, &e), E_OK);
    assert_true(page.len > text.len);
    assert_true(bytes_equal(BYTES(page.p + page.len - text.len, text.len), buf_bytes(&text)));
}

static void names_of_algorithms_and_kinds_go_round(void **state)
{
    enum key_alg alg;

    (void)state;
    for (int i = KEY_P256; i < KEY_ALGS; i++) {
        assert_true(key_alg_from_name(key_alg_name((enum key_alg)i), &alg));
        assert_int_equal(alg, i);
    }
    assert_false(key_alg_from_name("none", &alg));
    assert_string_equal(profile_kind_name(PROFILE_STATION), "station");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_file_works_with_defaults),
        cmocka_unit_test(what_is_printed_reads_back_the_same),
        cmocka_unit_test(every_mistake_is_named_with_its_place),
        cmocka_unit_test(aliases_are_refused_even_where_they_would_resolve),
        cmocka_unit_test(all_mistakes_are_reported_at_once_in_the_order_of_the_file),
        cmocka_unit_test(files_that_would_cost_much_are_refused_early),
        cmocka_unit_test(empty_and_strange_files_are_refused),
        cmocka_unit_test(a_missing_file_says_so),
        cmocka_unit_test(the_reference_names_every_key),
        cmocka_unit_test(the_reference_page_is_what_the_program_prints),
        cmocka_unit_test(names_of_algorithms_and_kinds_go_round),
    };

    return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}
