/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inkan order export: hand-over files of a work order (docs/factory.md). What is signed comes from the service line by line; the
 * other formats are written here from its rows. Each file is complete under its name or not there.
 */
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "base/limits.h"
#include "cli/command.h"

AUTO_TYPE(json_t, json_decref)

#define CHUNK      (256 << 10) /* octets written at once */
#define CA_CHAIN   8
#define AZURE_BULK 10 /* enrollments in one bulk operation */

struct out {
    struct file_draft draft;
    struct buf text;
};

struct format;
struct export {
    const struct format *format;
    const char *dir;
    char ca_pem[CA_CHAIN * 4096];   /* the issuing CA and those above it */
    size_t issuing_len;             /* the first certificate of ca_pem */
    struct out out;
    uint64_t n;
    struct err e;
};

struct format {
    const char *name, *target;    /* of an order's "targets" */
    const char *op_format;        /* NULL: no units */
    const char *file;
    void (*begin)(struct export *x);
    void (*unit)(struct export *x, const json_t *row);
    void (*end)(struct export *x);
    bool needs_ca;
};

/* ---- text ---- */

static void flush_text(struct export *x, size_t above)
{
    if (x->e.code != E_OK || x->out.text.len <= above)
        return;
    if (!buf_ok(&x->out.text))
        err_set(&x->e, E_NOMEM, "export");
    else if (file_draft_add(&x->out.draft, buf_bytes(&x->out.text), &x->e) != E_OK)
        err_wrap(&x->e, "export");
    buf_reset(&x->out.text);
}

static void put(struct export *x, const char *text)
{
    buf_add_str(&x->out.text, text);
}

static void put_json(struct export *x, json_t *j)
{
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

    if (!text)
        err_set(&x->e, E_NOMEM, "export");
    else
        put(x, text);
    free(text);
    json_decref(j);
}

static const char *text_of(const json_t *row, const char *member)
{
    const char *s = json_string_value(json_object_get(row, member));

    return s ? s : "";
}

/* RFC 4180. */
static void put_field(struct export *x, const char *s, bool last)
{
    bool quote = strpbrk(s, ",\"\r\n") != NULL;

    if (quote)
        put(x, "\"");
    for (; *s; s++) {
        if (*s == '"')
            put(x, "\"");
        buf_add_u8(&x->out.text, (uint8_t)*s);
    }
    if (quote)
        put(x, "\"");
    put(x, last ? "\r\n" : ",");
}

static void pem_of_unit(struct export *x, const json_t *row, struct buf *pem)
{
    AUTO_BUF der = BUF_INIT(CERT_MAX_LEN);

    if (base64_decode(bytes_str(text_of(row, "certificate")), &der, &x->e) != E_OK)
        return;
    pem_write(pem, "CERTIFICATE", buf_bytes(&der));
    buf_add_u8(pem, 0);
    if (!buf_ok(pem))
        err_set(&x->e, E_NOMEM, "export");
}

/* Every letter of the id is one the other side takes. */
static bool id_fits(struct export *x, const json_t *row, const char *letters, const char *whose)
{
    const char *id = text_of(row, "device_id");

    if (id[0] && id[strspn(id, letters)] == '\0')
        return true;
    err_set(&x->e, E_INVALID, "unit %s: %s takes no such name (%s)", id, whose, letters);
    return false;
}

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

/* ---- formats ---- */

static void native_unit(struct export *x, const json_t *row)
{
    put(x, text_of(row, "jws"));
    put(x, "\n");
}

/* Flattened JWS with Microchip's unprotected header, which repeats the id for plain text searches. */
static void manifest_unit(struct export *x, const json_t *row)
{
    json_t *jws = json_loads(text_of(row, "jws"), 0, NULL);

    json_object_set_new(jws, "header", json_pack("{s:s}", "uniqueId", text_of(row, "device_id")));
    put(x, x->n ? ",\n" : "[\n");
    put_json(x, jws);
}

static void manifest_end(struct export *x)
{
    put(x, x->n ? "\n]\n" : "[]\n");
}

static void aws_begin(struct export *x)
{
    static const char template[] =
        "{\"Parameters\":{\"CACertificatePem\":{\"Type\":\"String\"},\"CertificatePem\":{\"Type\":\"String\"},"
        "\"SerialNumber\":{\"Type\":\"String\"},\"ThingName\":{\"Type\":\"String\"}},\"Resources\":{\"certificate\":{\"Properties\":"
        "{\"CACertificatePem\":{\"Ref\":\"CACertificatePem\"},\"CertificatePem\":{\"Ref\":\"CertificatePem\"},\"Status\":\"ACTIVE\"},"
        "\"Type\":\"AWS::IoT::Certificate\"},\"thing\":{\"Properties\":{\"AttributePayload\":{\"serialNumber\":{\"Ref\":"
        "\"SerialNumber\"}},\"ThingName\":{\"Ref\":\"ThingName\"}},\"Type\":\"AWS::IoT::Thing\"}}}\n";
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/template.json", x->dir);
    if (file_write_atomic(path, bytes_str(template), 0644, &x->e) != E_OK)
        err_wrap(&x->e, "template");
}

static void aws_unit(struct export *x, const json_t *row)
{
    AUTO_BUF pem = BUF_INIT(2 * CERT_MAX_LEN);

    if (!id_fits(x, row, LETTERS ":_-", "AWS IoT"))
        return;
    pem_of_unit(x, row, &pem);
    if (x->e.code != E_OK)
        return;
    put_json(x, json_pack("{s:s, s:s, s:s, s:s#}", "ThingName", text_of(row, "device_id"), "SerialNumber",
                          text_of(row, "device_id"), "CertificatePem", (const char *)pem.p, "CACertificatePem", x->ca_pem,
                          (int)x->issuing_len));
    put(x, "\n");
}

static void jitr_end(struct export *x)
{
    put(x, x->ca_pem);
}

static json_t *azure_enrollment(struct export *x, const json_t *row)
{
    AUTO_BUF pem = BUF_INIT(2 * CERT_MAX_LEN);
    const char *id = text_of(row, "device_id");

    if (!id_fits(x, row, LETTERS "-._:", "Azure DPS"))
        return NULL;
    if (strchr("._:", id[strlen(id) - 1])) {
        err_set(&x->e, E_INVALID, "unit %s: a registrationId of Azure DPS ends with a letter, a digit or -", id);
        return NULL;
    }
    pem_of_unit(x, row, &pem);
    if (x->e.code != E_OK)
        return NULL;
    return json_pack("{s:s, s:s, s:s, s:{s:s, s:{s:{s:{s:s}}}}}", "registrationId", id, "deviceId", id, "provisioningStatus",
                     "enabled", "attestation", "type", "x509", "x509", "clientCertificates", "primary", "certificate",
                     (const char *)pem.p);
}

/* One bulk operation a line. */
static void azure_unit(struct export *x, const json_t *row)
{
    json_t *enrollment = azure_enrollment(x, row);

    if (!enrollment)
        return;
    put(x, x->n % AZURE_BULK == 0 ? "{\"enrollments\":[" : ",");
    put_json(x, enrollment);
    if (x->n % AZURE_BULK == AZURE_BULK - 1)
        put(x, "],\"mode\":\"create\"}\n");
}

static void azure_end(struct export *x)
{
    if (x->n % AZURE_BULK)
        put(x, "],\"mode\":\"create\"}\n");
}

static void azure_csv_begin(struct export *x)
{
    put(x, "registrationId,deviceId,provisioningStatus,certificate\r\n");
}

static void azure_csv_unit(struct export *x, const json_t *row)
{
    json_t *same_rules = azure_enrollment(x, row);

    json_decref(same_rules);
    put_field(x, text_of(row, "device_id"), false);
    put_field(x, text_of(row, "device_id"), false);
    put_field(x, "enabled", false);
    put_field(x, text_of(row, "certificate"), true);
}

static const char *const csv_columns[] = {"order",       "ordinal",     "device_id",    "state",     "product",
                                          "model",       "lot",         "serial",       "issuer",    "spki_sha256",
                                          "reserved_at", "issued_at",   "confirmed_at", "packed_at", "shipped_at",
                                          "rekeys",      "reworks"};

static void csv_begin(struct export *x)
{
    for (size_t i = 0; i < ARRAY_LEN(csv_columns); i++)
        put_field(x, csv_columns[i], i + 1 == ARRAY_LEN(csv_columns));
}

static void csv_unit(struct export *x, const json_t *row)
{
    for (size_t i = 0; i < ARRAY_LEN(csv_columns); i++) {
        const json_t *v = json_object_get(row, csv_columns[i]);
        char number[32];

        snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(v));
        put_field(x, json_is_integer(v) ? number : text_of(row, csv_columns[i]), i + 1 == ARRAY_LEN(csv_columns));
    }
}

static const struct format formats[] = {
    {"native", "native", "native", "units.jsonl", NULL, native_unit, NULL, false},
    {"microchip", "microchip", "microchip", "manifest.json", NULL, manifest_unit, manifest_end, false},
    {"aws-bulk", "aws-bulk", "units", "things.jsonl", aws_begin, aws_unit, NULL, true},
    {"aws-jitr", "aws-jitr", NULL, "ca.pem", NULL, NULL, jitr_end, true},
    {"azure-dps-json", "azure-dps", "units", "enrollments.jsonl", NULL, azure_unit, azure_end, false},
    {"azure-dps-csv", "azure-dps", "units", "enrollments.csv", azure_csv_begin, azure_csv_unit, NULL, false},
    {"csv", "csv", "units", "units.csv", csv_begin, csv_unit, NULL, false},
};

/* ---- running ---- */

static bool on_rows(void *arg, const json_t *rows)
{
    struct export *x = arg;
    const json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        if (x->e.code != E_OK)
            break;
        x->format->unit(x, row);
        x->n++;
        flush_text(x, CHUNK);
    }
    return x->e.code == E_OK;
}

/* The CA that issues under the order's profile, and those above it. */
static enum err_code fetch_chain(struct run *r, struct export *x, const char *order, struct err *e)
{
    AUTO(json_t) *status = NULL;
    AUTO(json_t) *profile = NULL;
    AUTO(json_t) *order_args = json_pack("{s:s}", "order", order);
    AUTO(json_t) *profile_args = NULL;
    AUTO_BUF pem = BUF_INIT(sizeof(x->ca_pem) - 1);
    char name[ID_MAX_LEN + 1];

    if (run_call(r, "order.status", order_args, NULL, NULL, &status, NULL, e) != E_OK)
        return e->code;
    profile_args = json_pack("{s:s}", "name", text_of(status, "profile"));
    if (run_call(r, "profile.show", profile_args, NULL, NULL, &profile, NULL, e) != E_OK)
        return e->code;
    snprintf(name, sizeof(name), "%s", text_of(profile, "ca"));
    for (size_t depth = 0; name[0] && depth < CA_CHAIN; depth++) {
        AUTO(json_t) *args = json_pack("{s:s}", "name", name);
        AUTO(json_t) *ca = NULL;
        AUTO_BUF der = BUF_INIT(CERT_MAX_LEN);

        if (run_call(r, "ca.show", args, NULL, NULL, &ca, NULL, e) != E_OK ||
            base64_decode(bytes_str(text_of(ca, "cert")), &der, e) != E_OK)
            return e->code;
        pem_write(&pem, "CERTIFICATE", buf_bytes(&der));
        if (depth == 0)
            x->issuing_len = pem.len;
        snprintf(name, sizeof(name), "%s", strcmp(text_of(ca, "issuer"), name) == 0 ? "" : text_of(ca, "issuer"));
    }
    if (!buf_ok(&pem))
        return err_set(e, E_INVALID, "the chain of CAs is longer than %zu octets", sizeof(x->ca_pem) - 1);
    memcpy(x->ca_pem, pem.p, pem.len);
    return E_OK;
}

static enum err_code fetch_units(struct run *r, struct export *x, const char *order, struct err *e)
{
    AUTO(json_t) *args = json_pack("{s:s, s:s}", "order", order, "format", x->format->op_format);
    AUTO(json_t) *result = NULL;
    char path[PATH_MAX];
    const char *index;

    if (run_call(r, "order.export", args, on_rows, x, &result, NULL, e) != E_OK)
        return x->e.code != E_OK ? (*e = x->e).code : e->code;
    index = text_of(result, "index");
    if (!index[0])
        return E_OK;
    snprintf(path, sizeof(path), "%s/index.jws", x->dir);
    return file_write_atomic(path, bytes_str(index), 0644, e);
}

static enum err_code export_to(struct run *r, struct export *x, const char *order, struct err *e)
{
    char path[PATH_MAX];
    enum err_code code = E_OK;

    snprintf(path, sizeof(path), "%s/%s", x->dir, x->format->file);
    if (x->format->needs_ca && fetch_chain(r, x, order, e) != E_OK)
        return e->code;
    if (dir_make(x->dir, 0755, e) != E_OK || file_draft_open(&x->out.draft, path, e) != E_OK)
        return e->code;
    if (x->format->begin)
        x->format->begin(x);
    if (x->format->op_format)
        code = fetch_units(r, x, order, e);
    if (code == E_OK && x->format->end)
        x->format->end(x);
    flush_text(x, 0);
    if (code == E_OK && x->e.code != E_OK)
        code = (*e = x->e).code;
    if (code == E_OK)
        code = file_draft_publish(&x->out.draft, 0644, e);
    file_draft_drop(&x->out.draft);
    return code;
}

static const struct format *format_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (strcmp(formats[i].name, name) == 0)
            return &formats[i];
    return NULL;
}

static enum err_code export_one(struct run *r, const struct format *format, const char *dir, struct err *e)
{
    struct export *x = calloc(1, sizeof(*x));
    enum err_code code;

    if (!x)
        return err_set(e, E_NOMEM, "export");
    x->format = format;
    x->dir = dir;
    x->out.draft = FILE_DRAFT_INIT;
    x->out.text = BUF_INIT(16 * CHUNK);
    code = export_to(r, x, r->positional, e);
    if (code == E_OK && format->op_format)
        fprintf(stderr, "%s/%s: %llu units\n", dir, format->file, (unsigned long long)x->n);
    else if (code == E_OK)
        fprintf(stderr, "%s/%s\n", dir, format->file);
    buf_clear(&x->out.text);
    free(x);
    return code;
}

/* What the order itself asks for, each in a directory of its own. */
static enum err_code export_targets(struct run *r, const char *dir, struct err *e)
{
    AUTO(json_t) *args = json_pack("{s:s}", "order", r->positional);
    AUTO(json_t) *status = NULL;
    AUTO(json_t) *fallback = json_pack("[s]", "native");
    const json_t *targets, *target;
    char path[PATH_MAX];
    size_t i;

    if (run_call(r, "order.status", args, NULL, NULL, &status, NULL, e) != E_OK || dir_make(dir, 0755, e) != E_OK)
        return e->code;
    targets = json_object_get(status, "targets");
    if (json_array_size(targets) == 0)
        targets = fallback;
    json_array_foreach(targets, i, target)
    {
        snprintf(path, sizeof(path), "%s/%s", dir, json_string_value(target));
        for (size_t k = 0; k < ARRAY_LEN(formats); k++)
            if (strcmp(formats[k].target, json_string_value(target)) == 0 && export_one(r, &formats[k], path, e) != E_OK)
                return e->code;
    }
    return E_OK;
}

int command_order_export(struct run *r)
{
    const char *name = run_option(r, "format"), *dir = run_option(r, "out");
    const struct format *format = name ? format_find(name) : NULL;
    struct err e = {0};

    if (!dir || (name && !format)) {
        fprintf(stderr, "inkan order export: needs --out DIR, and --format with one of native, microchip, aws-bulk, aws-jitr, "
                        "azure-dps-json, azure-dps-csv, csv, or no --format for what the order asks for\n");
        return EXIT_USAGE;
    }
    if ((format ? export_one(r, format, dir, &e) : export_targets(r, dir, &e)) != E_OK)
        return run_fail(&e);
    return EXIT_DONE;
}
