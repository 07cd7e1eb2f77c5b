/* SPDX-License-Identifier: Apache-2.0 */
/* Administration of key-encryption keys: given once, never shown again. */
#include <string.h>

#include <openssl/crypto.h>

#include "ca/admin_int.h"
#include "ca/kek.h"
#include "ca/store/kek.h"

#define PAGE_ROWS 200

static void object_of(char *out, size_t size, struct bytes key_id)
{
    char hex[2 * KEK_ID_MAX + 1];

    hex_encode(key_id.p, key_id.len, hex);
    snprintf(out, size, "kek:%s", hex);
}

static enum err_code read_args(struct admin_call *call, struct kek_row *row, uint8_t kek[KEK_MAX_LEN], size_t *kek_len, struct err *e)
{
    const char *id = admin_text(call, "key_id"), *key = admin_text(call, "key");

    if (!hex_decode(id, strlen(id), row->key_id, sizeof(row->key_id), &row->key_id_len) || row->key_id_len == 0)
        return err_set(e, E_INVALID, "key_id: 1 to %d octets in hex", KEK_ID_MAX);
    if (key && (!hex_decode(key, strlen(key), kek, KEK_MAX_LEN, kek_len) || (*kek_len != 16 && *kek_len != 32)))
        return err_set(e, E_INVALID, "key: 16 or 32 octets in hex");
    return E_OK;
}

static enum err_code add(struct core *c, struct admin_call *call, const char *domain, struct kek_row *row, struct bytes kek, struct err *e)
{
    const char *device_id = admin_text(call, "device_id");
    AUTO_BUF sealed = BUF_INIT(256);
    struct device_row device;
    char object[2 * KEK_ID_MAX + 8];
    enum err_code code = E_OK;

    object_of(object, sizeof(object), BYTES(row->key_id, row->key_id_len));
    text_copy(row->domain, sizeof(row->domain), domain);
    row->bits = (unsigned)kek.len * 8;
    row->created_at = core_stamp(c);
    if (device_id) {
        code = store_device_find(c->store, domain, device_id, &device, e);
        if (code == E_NOT_FOUND)
            return err_set(e, E_NOT_FOUND, "device %s/%s is not declared: inkan device add", domain, device_id);
        row->device = code == E_OK ? device.id : 0;
    }
    if (code == E_OK)
        code = kek_seal(c, domain, BYTES(row->key_id, row->key_id_len), kek, &sealed, e);
    row->sealed = buf_bytes(&sealed);
    if (code == E_OK)
        code = store_kek_insert(c->store, row, e);
    if (code == E_CONFLICT)
        return err_set(e, E_CONFLICT, "there is a key-encryption key with this identifier in domain %s already", domain);
    if (code == E_OK)
        code = core_audit(c, &call->by, "kek-added", domain, object,
                          json_pack("{s:s, s:i}", "device_id", device_id ? device_id : "", "bits", (int)row->bits), row->created_at, e);
    return code;
}

/* `key` absent: one is drawn, and the answer is the only place it is ever shown. */
void op_kek_add(struct core *c, struct admin_call *call)
{
    struct err e = {0};
    const char *domain = admin_domain(c, call, &e);
    struct kek_row row = {0};
    uint8_t kek[KEK_MAX_LEN];
    char shown[2 * KEK_MAX_LEN + 1] = "";
    size_t kek_len = sizeof(kek);
    bool given = admin_has(call, "key");
    json_t *result = NULL;
    enum err_code code = domain ? read_args(call, &row, kek, &kek_len, &e) : e.code;

    if (code == E_OK && !given)
        code = random_bytes(kek, sizeof(kek), &e);
    if (code == E_OK && (code = core_begin(c, &e)) == E_OK) {
        code = add(c, call, domain, &row, BYTES(kek, kek_len), &e);
        core_end(c, code, &e);
    }
    if (code == E_OK && !given) {
        hex_encode(kek, kek_len, shown);
        result = json_pack("{s:s, s:s}", "key_id", admin_text(call, "key_id"), "key", shown);
    }
    OPENSSL_cleanse(kek, sizeof(kek));
    OPENSSL_cleanse(shown, sizeof(shown));
    if (code == E_OK)
        admin_done(call, result, -1);
    else
        admin_fail(call, &e);
}

struct kek_list {
    struct store *ledger;
    struct admin_call *call;
    size_t n;
};

static bool put_kek(void *arg, const struct kek_row *row)
{
    struct kek_list *l = arg;
    char hex[2 * KEK_ID_MAX + 1];
    struct device_row device;
    struct err e = {0};
    bool named = row->device && store_device_by_id(l->ledger, row->device, &device, &e) == E_OK;

    hex_encode(row->key_id, row->key_id_len, hex);
    l->call->after = row->id;
    l->n++;
    admin_row(l->call, json_pack("{s:s, s:s, s:s, s:i, s:I, s:s}", "key_id", hex, "domain", row->domain, "device_id",
                                 named ? device.device_id : "", "bits", (int)row->bits, "created_at", (json_int_t)row->created_at,
                                 "state", row->revoked_at ? "revoked" : "open"));
    return true;
}

static enum err_code kek_page(struct store *ledger, struct admin_call *call, bool *more, struct err *e)
{
    struct kek_list l = {ledger, call, 0};

    if (store_kek_each(ledger, call->after, PAGE_ROWS, put_kek, &l, e) != E_OK)
        return e->code;
    *more = l.n == PAGE_ROWS;
    return E_OK;
}

void op_kek_list(struct core *c, struct admin_call *call)
{
    admin_list(c, call, kek_page);
}

static enum err_code destroy(struct core *c, struct admin_call *call, const struct kek_row *row, struct err *e)
{
    char object[2 * KEK_ID_MAX + 8];

    object_of(object, sizeof(object), BYTES(row->key_id, row->key_id_len));
    if (store_kek_revoke(c->store, row->id, core_stamp(c), e) != E_OK)
        return e->code;
    return core_audit(c, &call->by, "kek-revoked", row->domain, object, NULL, core_stamp(c), e);
}

void op_kek_revoke(struct core *c, struct admin_call *call)
{
    struct err e = {0};
    const char *domain = admin_domain(c, call, &e);
    struct kek_row asked = {0}, row;
    uint8_t none[KEK_MAX_LEN];
    size_t n = 0;
    enum err_code code = domain ? read_args(call, &asked, none, &n, &e) : e.code;

    if (code == E_OK)
        code = store_kek_find(c->store, domain, BYTES(asked.key_id, asked.key_id_len), &row, &e);
    if (code == E_NOT_FOUND)
        err_set(&e, E_NOT_FOUND, "there is no such key-encryption key in domain %s", domain);
    if (code == E_OK && row.revoked_at == 0 && (code = core_begin(c, &e)) == E_OK) { /* again: no change */
        code = destroy(c, call, &row, &e);
        core_end(c, code, &e);
    }
    if (code == E_OK)
        admin_done(call, NULL, -1);
    else
        admin_fail(call, &e);
}
