/* SPDX-License-Identifier: Apache-2.0 */
/* A change of owner as files: the old owner signs the order, the new one its acceptance. Neither needs the service. */
#include <stdio.h>
#include <string.h>

#include <jansson.h>
#include <openssl/evp.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fsio.h"
#include "base/jws.h"
#include "base/text.h"
#include "ca/transfer.h"
#include "cli/command.h"
#include "cli/output.h"

AUTO_TYPE(EVP_PKEY, EVP_PKEY_free)
AUTO_TYPE(json_t, json_decref)

#define IDS_FILE_MAX (64 * 1024)

static int sign_payload(struct run *r, const json_t *payload, const char *typ)
{
    const char *path = run_option(r, "key"), *out = run_option(r, "out");
    AUTO_BUF file = BUF_INIT(TRANSFER_FILE_MAX);
    AUTO(EVP_PKEY) *key = NULL;
    AUTO(char) *text = payload ? json_dumps(payload, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    struct jws_header h = {0};
    struct err e = {0};

    snprintf(h.typ, sizeof(h.typ), "%s", typ);
    if (!path) {
        err_set(&e, E_INVALID, "--key FILE is needed: the owner's private key");
        return run_fail(&e);
    }
    if (!text) {
        err_set(&e, E_NOMEM, "out of memory");
        return run_fail(&e);
    }
    if (private_key_file(path, &key, &e) != E_OK || jws_sign(key, &h, bytes_str(text), &file, &e) != E_OK)
        return run_fail(&e);
    buf_add_u8(&file, '\n');
    if (out ? file_write_atomic(out, buf_bytes(&file), 0644, &e) != E_OK : fwrite(file.p, 1, file.len, stdout) != file.len)
        return run_fail(&e);
    fprintf(stderr, "signed by key %s\n", SHOWN(h.kid));
    return EXIT_DONE;
}

/* One id a line. */
static enum err_code ids_of_file(const char *path, json_t **out, struct err *e)
{
    AUTO_BUF text = BUF_INIT(IDS_FILE_MAX);
    char *save = NULL;

    if (file_read(path, &text, e) != E_OK)
        return e->code;
    buf_add_u8(&text, '\0');
    *out = json_array();
    if (!buf_ok(&text) || !*out)
        return err_set(e, E_NOMEM, "%s", path);
    for (char *line = strtok_r((char *)text.p, " \t\r\n", &save); line; line = strtok_r(NULL, " \t\r\n", &save))
        json_array_append_new(*out, json_string(line));
    return E_OK;
}

int command_transfer_order(struct run *r)
{
    const char *from = run_option(r, "from"), *to = run_option(r, "to"), *name = run_option(r, "name"), *ids = run_option(r, "ids");
    const json_t *expires = json_object_get(r->args, "expires");
    AUTO(json_t) *payload = NULL;
    json_t *list = NULL;
    struct err e = {0};

    if (!from || !to || !name || (ids != NULL) == (r->positional != NULL)) {
        err_set(&e, E_INVALID, "needs --from, --to, --name, and either a device or --ids FILE");
        return run_fail(&e);
    }
    if (ids && ids_of_file(ids, &list, &e) != E_OK) {
        json_decref(list);
        return run_fail(&e);
    }
    payload = json_pack("{s:s, s:s, s:s, s:I}", "transfer", name, "from", from, "to", to, "expires",
                        expires ? json_integer_value(expires) : (json_int_t)clock_now() + 30 * 86400);
    if (list)
        json_object_set_new(payload, "devices", list);
    else
        json_object_set_new(payload, "device_id", json_string(r->positional));
    return sign_payload(r, payload, TRANSFER_ORDER_TYP);
}

int command_transfer_acceptance(struct run *r)
{
    AUTO_BUF file = BUF_INIT(TRANSFER_FILE_MAX), text = BUF_INIT(TRANSFER_FILE_MAX);
    AUTO(json_t) *order = NULL, *payload = NULL;
    struct jws j;
    uint8_t digest[32];
    char hex[65];
    struct err e = {0};

    if (file_read(r->positional, &file, &e) != E_OK || jws_read(buf_bytes(&file), TRANSFER_FILE_MAX, &j, &e) != E_OK ||
        jws_payload(&j, &text, &e) != E_OK)
        return run_fail(&e);
    order = json_loadb((const char *)text.p, text.len, 0, NULL);
    if (strcmp(j.header.typ, TRANSFER_ORDER_TYP) != 0 || !json_string_value(json_object_get(order, "transfer")) ||
        !json_string_value(json_object_get(order, "to"))) {
        err_set(&e, E_INVALID, "%s: no transfer order", r->positional);
        return run_fail(&e);
    }
    sha256(buf_bytes(&file), digest);
    hex_encode(digest, sizeof(digest), hex);
    payload = json_pack("{s:O, s:O, s:s}", "transfer", json_object_get(order, "transfer"), "to", json_object_get(order, "to"),
                        "order_sha256", hex);
    return sign_payload(r, payload, TRANSFER_ACCEPT_TYP);
}
