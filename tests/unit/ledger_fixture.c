/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ledger_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/x509.h>
#include <sqlite3.h>

#include "base/derw.h"

void ledger_audit_key(struct ledger *l, const char *name, EVP_PKEY *key, uint8_t alg, const char *digest)
{
    struct key_row row = {.token = "issuing-1", .created_at = T0};

    EVP_PKEY_free(l->audit_key);
    OPENSSL_free(l->audit_spki);
    l->audit_key = key;
    l->audit_alg = alg;
    l->audit_digest = digest;
    l->audit_spki = NULL;
    l->audit_spki_len = i2d_PUBKEY(key, &l->audit_spki);
    snprintf(l->audit_key_name, sizeof(l->audit_key_name), "%s", name);
    snprintf(row.name, sizeof(row.name), "%s", name);
    row.spki = BYTES(l->audit_spki, (size_t)l->audit_spki_len);
    OK(l, store_key_insert(l->s, &row, &l->e));
}

int ledger_setup(void **state)
{
    struct ledger *l = calloc(1, sizeof(*l));
    struct issuer_row issuer = {.name = "fleet-ca", .parent = ISSUER_SELF, .created_at = T0};

    *state = l;
    snprintf(l->dir, sizeof(l->dir), "/tmp/inkan-ledger-XXXXXX");
    if (!mkdtemp(l->dir))
        return -1;
    snprintf(l->path, sizeof(l->path), "%s/ledger", l->dir);
    ledger_reopen(l);
    memset(l->profile, 0x11, sizeof(l->profile));
    issuer.subject = bytes_str("subject");
    issuer.spki = bytes_str("spki");
    issuer.cert = bytes_str("cert");
    OK(l, store_begin(l->s, &l->e));
    OK(l, store_issuer_insert(l->s, &issuer, &l->e));
    l->issuer = issuer.id;
    OK(l, store_profile_put(l->s, l->profile, "ldevid", "kind: ldevid\n", T0, &l->e));
    ledger_audit_key(l, "audit/1", EVP_EC_gen("P-256"), SIG_ECDSA_SHA256, "SHA256");
    OK(l, store_commit(l->s, &l->e));
    return 0;
}

int ledger_teardown(void **state)
{
    struct ledger *l = *state;
    char command[128];

    store_close(l->s);
    EVP_PKEY_free(l->audit_key);
    OPENSSL_free(l->audit_spki);
    snprintf(command, sizeof(command), "rm -rf %s", l->dir);
    if (system(command) != 0)
        return -1;
    free(l);
    return 0;
}

void ledger_reopen(struct ledger *l)
{
    ledger_close(l);
    OK(l, store_open(l->path, STORE_WRITE, &l->s, &l->e));
}

void ledger_close(struct ledger *l)
{
    store_close(l->s);
    l->s = NULL;
}

void ledger_sql(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    char *message = NULL;

    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
    sqlite3_close(db);
}

static void serial_of(unsigned n, uint8_t serial[SERIAL_MAX_LEN], uint8_t *len)
{
    memset(serial, 0, SERIAL_MAX_LEN);
    serial[0] = 0x40;
    put_be32(serial + 12, n);
    *len = 16;
}

void ledger_fill_cert(const struct ledger *l, unsigned n, uint8_t *der, size_t der_len, struct cert_row *out)
{
    *out = (struct cert_row){
        .issuer = l->issuer,
        .der = BYTES(der, der_len),
        .profile = "ldevid",
        .kind = PROFILE_LDEVID,
        .operation = CERT_OP_ENROLL,
        .domain = "acme",
        .requester = "device:acme/dev",
        .issued_at = T0 + n,
        .not_before = T0,
        .not_after = T0 + 86400,
    };
    serial_of(n, out->serial, &out->serial_len);
    memset(der, 0x30, der_len);
    put_be32(der, n);
    sha256(out->der, out->der_hash);
    sha256(BYTES_OF(out->serial), out->spki_hash);
    memcpy(out->profile_hash, l->profile, sizeof(out->profile_hash));
}

struct status_row ledger_status(const struct ledger *l, unsigned n, enum cert_status status, enum crl_reason reason)
{
    struct status_row row = {.issuer = l->issuer, .status = status, .reason = reason, .time = T0 + n};

    serial_of(n, row.serial, &row.serial_len);
    return row;
}

static const struct audit_actor core = {.actor = "core", .actor_kind = "service", .domain = "acme"};

enum err_code ledger_try_issue(struct ledger *l, unsigned n, struct err *e)
{
    uint8_t der[700];
    struct cert_row cert;

    ledger_fill_cert(l, n, der, sizeof(der), &cert);
    if (store_cert_issue(l->s, &cert, e) != E_OK)
        return e->code;
    return audit_cert_issued(l->s, &core, "fleet-ca", &cert, cert.status_seq, T0 + n, e);
}

uint64_t ledger_issue(struct ledger *l, unsigned n)
{
    uint64_t seq;

    OK(l, ledger_try_issue(l, n, &l->e));
    OK(l, store_status_seq(l->s, &seq, &l->e));
    return seq;
}

void ledger_change(struct ledger *l, unsigned n, enum cert_status status, enum crl_reason reason)
{
    struct status_row row = ledger_status(l, n, status, reason);

    OK(l, store_status_append(l->s, &row, &l->e));
    OK(l, audit_status_changed(l->s, &core, "fleet-ca", &row, T0 + n, &l->e));
}

void ledger_note(struct ledger *l, const char *event)
{
    struct audit_entry in = {.event = event, .actor = "root", .actor_kind = "operator", .detail = "{\"a\":1,\"b\":\"x\"}"};

    OK(l, audit_append(l->s, &in, T0, &l->e));
}

void ledger_head(struct ledger *l, int64_t now)
{
    AUTO_BUF id = BUF_INIT(64);
    AUTO_BUF tbs = BUF_INIT(1024);
    struct audit_head_row head;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t sig[512];
    size_t sig_len = sizeof(sig);

    OK(l, store_meta_get(l->s, "ledger_id", &id, &l->e));
    OK(l, audit_head_tbs(l->s, buf_bytes(&id), now, &head, &tbs, &l->e));
    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, l->audit_digest, NULL, NULL, l->audit_key, NULL), 1);
    assert_int_equal(EVP_DigestSign(ctx, sig, &sig_len, tbs.p, tbs.len), 1);
    EVP_MD_CTX_free(ctx);
    head.signature = BYTES(sig, sig_len);
    head.sig_alg = l->audit_alg;
    snprintf(head.key, sizeof(head.key), "%s", l->audit_key_name);
    OK(l, store_begin(l->s, &l->e));
    OK(l, store_audit_head_insert(l->s, &head, &l->e));
    OK(l, store_commit(l->s, &l->e));
    OK(l, audit_head_publish(l->dir, &head, &l->e));
}
