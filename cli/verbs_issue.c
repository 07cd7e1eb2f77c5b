/* SPDX-License-Identifier: Apache-2.0 */
/* Commands about CAs, certificates, secrets and devices that do more than one plain call. */
#include <ctype.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/bytes.h"
#include "base/fsio.h"
#include "base/limits.h"
#include "base/text.h"
#include "cli/command.h"

AUTO_TYPE(json_t, json_decref)

#define IMPORT_BATCH 500
#define IMPORT_OCTETS (32 * 1024) /* of one request: it must fit, signed too */
#define KEK_TEXT_MAX 66 /* 32 octets in hex, a line end */

/* base64 member of the result as a PEM block appended to `out`. */
static enum err_code append_pem(struct buf *out, const json_t *base64, struct err *e)
{
    AUTO_BUF der = BUF_INIT(CERT_MAX_LEN);

    if (!json_is_string(base64))
        return err_set(e, E_INTERNAL, "the service sent no certificate");
    if (base64_decode(bytes_str(json_string_value(base64)), &der, e) != E_OK)
        return err_wrap(e, "certificate from the service");
    pem_write(out, "CERTIFICATE", buf_bytes(&der));
    return buf_ok(out) ? E_OK : err_set(e, E_NOMEM, "out of memory");
}

/* To --out, or to standard output. */
static enum err_code write_out(const struct run *r, struct bytes content, struct err *e)
{
    const char *path = run_option(r, "out");

    if (path)
        return file_write_atomic(path, content, 0644, e);
    if (fwrite(content.p, 1, content.len, stdout) != content.len || fflush(stdout) != 0)
        return err_errno(e, E_IO, "standard output");
    return E_OK;
}

int write_issued(struct run *r, const json_t *result)
{
    AUTO_BUF pem = BUF_INIT(8 * CERT_MAX_LEN);
    struct err e = {0};
    json_t *ca;
    size_t i;

    if (append_pem(&pem, json_object_get(result, "cert"), &e) != E_OK)
        return run_fail(&e);
    if (run_option(r, "chain")) {
        json_array_foreach(json_object_get(result, "chain"), i, ca)
        {
            if (append_pem(&pem, ca, &e) != E_OK)
                return run_fail(&e);
        }
    }
    if ((!r->json || run_option(r, "out")) && write_out(r, buf_bytes(&pem), &e) != E_OK)
        return run_fail(&e);
    if (r->json)
        return print_object(result, true) ? EXIT_DONE : EXIT_REFUSED;
    fprintf(stderr, "%s, issued by %s\n", SHOWN(json_string_value(json_object_get(result, "serial"))),
            SHOWN(json_string_value(json_object_get(result, "issuer"))));
    return EXIT_DONE;
}

int command_issue_and_write(struct run *r)
{
    AUTO(json_t) *result = NULL;
    struct err e = {0};

    return run_call(r, r->command->op, r->args, NULL, NULL, &result, NULL, &e) == E_OK ? write_issued(r, result) : run_fail(&e);
}

int command_record_signer(struct run *r)
{
    return command_issue_and_write(r);
}

int command_station_add(struct run *r)
{
    if (json_object_get(r->args, "csr") && json_object_get(r->args, "line") && json_object_get(r->args, "roles"))
        return command_issue_and_write(r);
    fprintf(stderr, "inkan station add: needs --line, --role and --csr\n");
    return EXIT_USAGE;
}

int command_cert_issue(struct run *r)
{
    if (json_object_get(r->args, "csr") && json_object_get(r->args, "profile"))
        return command_issue_and_write(r);
    fprintf(stderr, "inkan cert issue: needs --profile and --csr\n");
    return EXIT_USAGE;
}

int write_request(struct run *r, const json_t *result)
{
    AUTO_BUF pem = BUF_INIT(2 * CSR_MAX_LEN);
    AUTO_BUF der = BUF_INIT(CSR_MAX_LEN);
    struct err e = {0};

    if (base64_decode(bytes_str(json_string_value(json_object_get(result, "csr"))), &der, &e) != E_OK)
        return run_fail(&e);
    pem_write(&pem, "CERTIFICATE REQUEST", buf_bytes(&der));
    if (write_out(r, buf_bytes(&pem), &e) != E_OK)
        return run_fail(&e);
    fprintf(stderr, "request for %s\n", SHOWN(json_string_value(json_object_get(result, "subject"))));
    return EXIT_DONE;
}

int command_ca_request(struct run *r)
{
    AUTO(json_t) *result = NULL;
    struct err e = {0};

    return run_call(r, r->command->op, r->args, NULL, NULL, &result, NULL, &e) == E_OK ? write_request(r, result) : run_fail(&e);
}

int command_budget_grant(struct run *r)
{
    AUTO(json_t) *result = NULL;
    struct err e = {0};
    const char *file;

    if (!json_object_get(r->args, "box") || !json_object_get(r->args, "units") || !json_object_get(r->args, "until")) {
        fprintf(stderr, "inkan budget grant: needs --box, --units and --until\n");
        return EXIT_USAGE;
    }
    if (run_call(r, r->command->op, r->args, NULL, NULL, &result, NULL, &e) != E_OK)
        return run_fail(&e);
    file = json_string_value(json_object_get(result, "file"));
    if (!file || write_out(r, bytes_str(file), &e) != E_OK)
        return run_fail(&e);
    fprintf(stderr, "budget %lld of %s\n", (long long)json_integer_value(json_object_get(result, "number")),
            SHOWN(json_string_value(json_object_get(result, "box"))));
    return EXIT_DONE;
}

/* Every certificate of a PEM file, from block `skip` on, as [{"cert": base64}] appended to `list`. */
static enum err_code append_chain(const char *path, size_t skip, json_t *list, struct err *e)
{
    AUTO_BUF text = BUF_INIT(16 * CERT_MAX_LEN);
    struct err ignored = {0};

    if (file_read(path, &text, e) != E_OK)
        return e->code;
    for (size_t i = skip;; i++) {
        AUTO_BUF der = BUF_INIT(CERT_MAX_LEN);
        AUTO_BUF b64 = BUF_INIT(2 * CERT_MAX_LEN);

        if (pem_read(buf_bytes(&text), "CERTIFICATE", i, &der, &ignored) != E_OK)
            return E_OK;
        base64_encode(&b64, buf_bytes(&der), 0);
        if (!buf_ok(&b64))
            return err_set(e, E_NOMEM, "out of memory");
        json_array_append_new(list, json_pack("{s:o}", "cert", json_stringn((const char *)b64.p, b64.len)));
    }
}

int command_ca_install(struct run *r)
{
    const char *cert = run_option(r, "cert"), *chain = run_option(r, "chain");
    AUTO(json_t) *result = NULL;
    AUTO(json_t) *list = json_array();
    AUTO(char) *base64 = NULL;
    struct err e = {0};

    if (!cert) {
        fprintf(stderr, "inkan ca install: needs --cert\n");
        return EXIT_USAGE;
    }
    if (der_file_base64(cert, "CERTIFICATE", &base64, &e) != E_OK || append_chain(cert, 1, list, &e) != E_OK ||
        (chain && append_chain(chain, 0, list, &e) != E_OK))
        return run_fail(&e);
    json_object_set_new(r->args, "cert", json_string(base64));
    json_object_set(r->args, "chain", list);
    if (run_call(r, r->command->op, r->args, NULL, NULL, &result, NULL, &e) != E_OK)
        return run_fail(&e);
    return print_object(result, r->json) ? EXIT_DONE : EXIT_REFUSED;
}

int command_ca_sign(struct run *r)
{
    if (json_object_get(r->args, "csr") && json_object_get(r->args, "profile") && json_object_get(r->args, "issuer"))
        return command_issue_and_write(r);
    fprintf(stderr, "inkan ca sign: needs --issuer, --profile and --csr\n");
    return EXIT_USAGE;
}

/* Fetches with the command's operation, and prints the object, or only its certificate as PEM. */
static int show_with_pem(struct run *r, const char *member, bool pem_only)
{
    AUTO_BUF pem = BUF_INIT(2 * CERT_MAX_LEN);
    struct err e = {0};
    json_t *result = NULL;
    bool ok = true;

    if (run_call(r, r->command->op, r->args, NULL, NULL, &result, NULL, &e) != E_OK)
        return run_fail(&e);
    if (!pem_only) {
        if (!r->json) {
            json_object_del(result, "der");
            json_object_del(result, "pem");
            json_object_del(result, "cert");
        }
        ok = print_object(result, r->json);
    } else if (append_pem(&pem, json_object_get(result, member), &e) != E_OK || write_out(r, buf_bytes(&pem), &e) != E_OK) {
        json_decref(result);
        return run_fail(&e);
    }
    json_decref(result);
    return ok ? EXIT_DONE : EXIT_REFUSED;
}

int command_ca_show(struct run *r)
{
    return show_with_pem(r, "cert", run_option(r, "pem") != NULL);
}

static bool names_a_certificate(const struct run *r)
{
    if (json_object_get(r->args, "cert") || (json_object_get(r->args, "issuer") && json_object_get(r->args, "serial")))
        return true;
    fprintf(stderr, "inkan cert %s: name a certificate: FILE, or --issuer and --serial\n", r->command->verb);
    return false;
}

int command_cert_show(struct run *r)
{
    return names_a_certificate(r) ? show_with_pem(r, "der", run_option(r, "pem") != NULL) : EXIT_USAGE;
}

int command_cert_export(struct run *r)
{
    return names_a_certificate(r) ? show_with_pem(r, "der", true) : EXIT_USAGE;
}

int command_secret_add(struct run *r)
{
    struct err e = {0};
    json_t *result = NULL;
    bool ok;

    if (!json_object_get(r->args, "device_id") == !json_object_get(r->args, "group")) {
        fprintf(stderr, "inkan secret add: needs either --device or --group\n");
        return EXIT_USAGE;
    }
    if (run_call(r, r->command->op, r->args, NULL, NULL, &result, NULL, &e) != E_OK)
        return run_fail(&e);
    ok = print_object(result, r->json);
    if (!r->json)
        fprintf(stderr, "This secret is shown once and stored only as a keyed hash.\n");
    json_decref(result);
    return ok ? EXIT_DONE : EXIT_REFUSED;
}

/* The key in hex as `args` take it: from a file that nobody else may read, or from standard input. */
static enum err_code kek_read(struct run *r, const char *path, struct err *e)
{
    struct secret text = {NULL, 0};
    char line[2 * KEK_TEXT_MAX] = "";
    enum err_code code = E_OK;

    if (strcmp(path, "-") == 0)
        code = fgets(line, sizeof(line), stdin) ? E_OK : err_set(e, E_INVALID, "standard input holds no key");
    else if ((code = file_read_secret(path, sizeof(line) - 1, &text, e)) == E_OK)
        memcpy(line, text.p, text.len);
    secret_clear(&text);
    line[strcspn(line, "\r\n")] = '\0';
    for (char *c = line; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    if (code == E_OK && json_object_set_new(r->args, "key", json_string(line)) != 0)
        code = err_set(e, E_INVALID, "%s: not a key in hex", path);
    OPENSSL_cleanse(line, sizeof(line));
    return code;
}

int command_kek_add(struct run *r)
{
    const char *path = run_option(r, "key-file");
    struct err e = {0};
    json_t *result = NULL;
    bool ok = true;

    if (path && kek_read(r, path, &e) != E_OK)
        return run_fail(&e);
    if (run_call(r, r->command->op, r->args, NULL, NULL, &result, NULL, &e) != E_OK)
        return run_fail(&e);
    if (!path) {
        ok = print_object(result, r->json);
        if (!r->json)
            fprintf(stderr, "This key is shown once and stored only sealed.\n");
    }
    json_decref(result);
    return ok ? EXIT_DONE : EXIT_REFUSED;
}

/* --- import --- */

/* Columns a CSV heading may name. */
static const char *const import_columns[] = {"device_id", "product", "model", "lot", "order", "anchor", "firmware"};
#define IMPORT_COLUMNS ARRAY_LEN(import_columns)

struct import {
    int column[IMPORT_COLUMNS]; /* of each CSV field, index into import_columns */
    size_t fields;
    size_t line;
    uint64_t added, existing;
    json_t *batch;
    size_t octets; /* of the batch */
};

static char *next_field(char **rest)
{
    char *field = strsep(rest, ",;\t");
    size_t n;

    if (!field)
        return NULL;
    field += strspn(field, " \"");
    n = strlen(field);
    while (n && strchr(" \"\r\n", field[n - 1]))
        field[--n] = 0;
    return field;
}

/* A first line that names device_id is a heading; otherwise each line is one id. */
static bool read_heading(struct import *im, const char *line, struct err *e)
{
    AUTO(char) *copy = strdup(line);
    char *rest = copy, *field;

    im->fields = 0;
    if (!copy || !strstr(line, "device_id"))
        return false;
    while ((field = next_field(&rest)) && im->fields < IMPORT_COLUMNS) {
        size_t c = 0;

        while (c < IMPORT_COLUMNS && strcasecmp(field, import_columns[c]) != 0)
            c++;
        if (c == IMPORT_COLUMNS) {
            err_set(e, E_INVALID, "line 1: unknown column \"%s\" (device_id, product, model, lot, order, anchor, firmware)", field);
            return true;
        }
        im->column[im->fields++] = (int)c;
    }
    return true;
}

static enum err_code add_import_line(struct import *im, char *line, const char *anchor, struct err *e)
{
    json_t *device = json_object();
    char *rest = line, *field;
    size_t n = 0;

    while ((field = next_field(&rest))) {
        if (n == im->fields) {
            json_decref(device);
            return err_set(e, E_INVALID, "line %zu: more fields than the heading", im->line);
        }
        if (*field && json_object_set_new(device, import_columns[im->column[n]], json_string(field)) != 0) {
            json_decref(device);
            return err_set(e, E_INVALID, "line %zu: not UTF-8 text", im->line);
        }
        n++;
    }
    if (json_object_size(device) == 0) {
        json_decref(device);
        return E_OK;
    }
    if (anchor && !json_object_get(device, "anchor"))
        json_object_set_new(device, "anchor", json_string(anchor));
    json_array_append_new(im->batch, device);
    im->octets += json_dumpb(device, NULL, 0, JSON_COMPACT);
    return E_OK;
}

static enum err_code send_batch(struct run *r, struct import *im, struct err *e)
{
    json_t *args, *result = NULL;

    if (json_array_size(im->batch) == 0)
        return E_OK;
    args = json_copy(r->args);
    json_object_set(args, "devices", im->batch);
    if (run_call(r, r->command->op, args, NULL, NULL, &result, NULL, e) == E_OK) {
        im->added += (uint64_t)json_integer_value(json_object_get(result, "added"));
        im->existing += (uint64_t)json_integer_value(json_object_get(result, "existing"));
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "\rimported %llu\033[K", (unsigned long long)(im->added + im->existing));
    } else {
        err_wrap(e, "before line %zu", im->line + 1);
    }
    json_decref(args);
    json_decref(result);
    json_array_clear(im->batch);
    im->octets = 0;
    return e->code;
}

static enum err_code import_lines(struct run *r, struct import *im, FILE *f, struct err *e)
{
    AUTO(char) *line = NULL;
    size_t size = 0;
    ssize_t n;

    im->fields = 1;
    im->column[0] = 0;
    while ((n = getline(&line, &size, f)) >= 0) {
        im->line++;
        if (n > 4096)
            return err_set(e, E_INVALID, "line %zu is %zd octets, at most 4096", im->line, n);
        line[strcspn(line, "\r\n")] = 0;
        if (im->line == 1) {
            struct import fresh = *im;

            if (read_heading(&fresh, line, e)) {
                if (e->code != E_OK)
                    return e->code;
                *im = fresh;
                continue;
            }
        }
        if (add_import_line(im, line, run_option(r, "anchor"), e) != E_OK)
            return e->code;
        if ((json_array_size(im->batch) >= IMPORT_BATCH || im->octets >= IMPORT_OCTETS) && send_batch(r, im, e) != E_OK)
            return e->code;
    }
    return send_batch(r, im, e);
}

int command_device_import(struct run *r)
{
    struct import im = {.batch = json_array()};
    struct err e = {0};
    bool standard = strcmp(r->positional, "-") == 0;
    AUTO(FILE) *file = standard ? NULL : fopen(r->positional, "re");
    json_t *total;
    bool ok;

    if (!standard && !file) {
        err_errno(&e, E_IO, "%s", r->positional);
        json_decref(im.batch);
        return run_fail(&e);
    }
    import_lines(r, &im, standard ? stdin : file, &e);
    json_decref(im.batch);
    if (isatty(STDERR_FILENO) && im.added + im.existing)
        fputc('\n', stderr);
    if (e.code != E_OK) {
        fprintf(stderr, "inkan device import: %llu added, %llu were there already; the same file can be given again\n",
                (unsigned long long)im.added, (unsigned long long)im.existing);
        return run_fail(&e);
    }
    total = json_pack("{s:I, s:I}", "added", (json_int_t)im.added, "existing", (json_int_t)im.existing);
    ok = print_object(total, r->json);
    json_decref(total);
    return ok ? EXIT_DONE : EXIT_REFUSED;
}
