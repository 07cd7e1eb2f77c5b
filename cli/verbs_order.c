/* SPDX-License-Identifier: Apache-2.0 */
/* Work orders as files: written, signed and judged without the service; reports and hand-over lists fetched from it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/pem.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fsio.h"
#include "base/text.h"
#include "ca/handover.h"
#include "ca/order_file.h"
#include "cli/command.h"

AUTO_TYPE(json_t, json_decref)
AUTO_TYPE(EVP_PKEY, EVP_PKEY_free)
AUTO_TYPE(BIO, BIO_free_all)

#define KEY_FILE_MAX   (64 * 1024)
#define CERTS_FILE_MAX (1 << 20)
#define DAY            86400

static inline void auto_clear_spec(struct order_spec *o)
{
    order_spec_clear(o);
}
#define AUTO_SPEC __attribute__((cleanup(auto_clear_spec))) struct order_spec

static int usage(const struct run *r, const char *text)
{
    fprintf(stderr, "inkan order %s: %s\n", r->command->verb, text);
    return EXIT_USAGE;
}

static enum err_code write_text(const struct run *r, struct bytes text, struct err *e)
{
    const char *path = run_option(r, "out");

    if (path)
        return file_write_atomic(path, text, 0644, e);
    if (fwrite(text.p, 1, text.len, stdout) != text.len || fputc('\n', stdout) == EOF || fflush(stdout) != 0)
        return err_errno(e, E_IO, "standard output");
    return E_OK;
}

/* ---- create ---- */

static json_t *list_of(const char *text)
{
    json_t *list = json_array();

    for (const char *p = text; *p; p += strspn(p, ",")) {
        size_t n = strcspn(p, ",");

        json_array_append_new(list, json_stringn(p, n));
        p += n;
    }
    return list;
}

/* One id a line. */
static enum err_code ids_of_file(const char *path, json_t **out, struct err *e)
{
    AUTO_BUF text = BUF_INIT(ORDER_FILE_MAX);
    json_t *list = json_array();

    if (file_read(path, &text, e) != E_OK) {
        json_decref(list);
        return e->code;
    }
    for (size_t at = 0; at < text.len;) {
        const uint8_t *end = memchr(text.p + at, '\n', text.len - at);
        size_t n = end ? (size_t)(end - text.p) - at : text.len - at;
        size_t keep = n && text.p[at + n - 1] == '\r' ? n - 1 : n;

        if (keep)
            json_array_append_new(list, json_stringn((const char *)text.p + at, keep));
        at += n + 1;
    }
    *out = list;
    return E_OK;
}

static enum err_code device_ids_of(const struct run *r, int64_t quantity, json_t **out, struct err *e)
{
    const char *ids = run_option(r, "ids"), *prefix = run_option(r, "prefix"), *first = run_option(r, "first");
    const char *digits = run_option(r, "digits");
    json_t *list = NULL;
    long long from = first ? atoll(first) : 1, width = 1;

    if (!ids == !prefix)
        return err_set(e, E_INVALID, "device ids: either --prefix (with --first and --digits) or --ids FILE");
    if (ids) {
        if (ids_of_file(ids, &list, e) != E_OK)
            return e->code;
        *out = json_pack("{s:o}", "list", list);
        return E_OK;
    }
    for (long long last = from + quantity - 1; last >= 10; last /= 10)
        width++;
    *out = json_pack("{s:{s:s, s:I, s:I}}", "range", "prefix", prefix, "first", (json_int_t)from, "digits",
                     (json_int_t)(digits ? atoll(digits) : width));
    return *out ? E_OK : err_set(e, E_INVALID, "--prefix: not UTF-8 text");
}

static void set_time(json_t *payload, const char *member, int64_t t)
{
    char text[32];

    clock_format((time_t)t, text);
    json_object_set_new(payload, member, json_string(text));
}

static void set_default(json_t *payload, const char *member, json_t *value)
{
    if (!json_object_get(payload, member))
        json_object_set(payload, member, value);
    json_decref(value);
}

/* The options are the members of the payload, but for lists and what has a default. */
static enum err_code payload_of_options(const struct run *r, json_t *payload, struct err *e)
{
    static const char *const lists[][2] = {{"station", "stations"}, {"firmware", "firmware"}, {"target", "targets"}};
    int64_t quantity = json_integer_value(json_object_get(payload, "quantity")), now = (int64_t)clock_now();
    int64_t valid = json_integer_value(json_object_get(payload, "valid_s")), begin = now;
    json_t *ids = NULL;

    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        if (run_option(r, lists[i][0]))
            json_object_set_new(payload, lists[i][1], list_of(run_option(r, lists[i][0])));
    if (device_ids_of(r, quantity, &ids, e) != E_OK)
        return e->code;
    json_object_set_new(payload, "device_ids", ids);
    json_object_del(payload, "valid_s");
    if (run_option(r, "not-before") && !time_from_text(run_option(r, "not-before"), &begin))
        return err_set(e, E_INVALID, "--not-before: a time in UTC as 2026-11-22T06:00:00Z");
    set_time(payload, "not_before", begin);
    set_time(payload, "not_after", begin + (valid ? valid : 30 * DAY));
    set_default(payload, "key_mode", json_string("device"));
    set_default(payload, "rekeys", json_integer((quantity + 49) / 50));
    set_default(payload, "rework", json_integer((quantity + 49) / 50));
    set_default(payload, "orphan_after_s", json_integer(3600));
    return E_OK;
}

static enum err_code payload_of_file(const char *path, json_t **out, struct err *e)
{
    AUTO_BUF text = BUF_INIT(ORDER_PAYLOAD_MAX);
    json_error_t why;

    if (file_read(path, &text, e) != E_OK)
        return e->code;
    *out = json_loadb((const char *)text.p, text.len, JSON_REJECT_DUPLICATES, &why);
    return *out ? E_OK : err_set(e, E_INVALID, "%s: line %d: %s", path, why.line, why.text);
}

/* The one way it is written: members sorted, no blanks. */
static enum err_code checked_text(const json_t *payload, char **out, struct err *e)
{
    AUTO_SPEC spec;

    order_spec_init(&spec);
    if (order_payload_check(payload, &spec, e) != E_OK)
        return e->code;
    *out = json_dumps(payload, JSON_COMPACT | JSON_SORT_KEYS);
    return *out ? E_OK : err_set(e, E_NOMEM, "order file");
}

int command_order_create(struct run *r)
{
    AUTO(json_t) *from = NULL;
    AUTO(char) *text = NULL;
    struct err e = {0};
    const char *path = run_option(r, "from");
    enum err_code code;

    if (path && json_object_size(r->args))
        return usage(r, "--from FILE has all members: no other options beside it but --out");
    code = path ? payload_of_file(path, &from, &e) : payload_of_options(r, r->args, &e);
    if (code == E_OK)
        code = checked_text(path ? from : r->args, &text, &e);
    if (code == E_OK)
        code = write_text(r, bytes_str(text), &e);
    return code == E_OK ? EXIT_DONE : run_fail(&e);
}

/* ---- sign ---- */

enum err_code private_key_file(const char *path, EVP_PKEY **out, struct err *e)
{
    struct secret pem = {NULL, 0};
    AUTO(BIO) *bio = NULL;
    struct err why = {0};
    enum err_code code = file_read_secret(path, KEY_FILE_MAX, &pem, e);

    if (code != E_OK)
        return code;
    bio = BIO_new_mem_buf(pem.p, (int)pem.len);
    *out = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
    secret_clear(&pem);
    if (*out)
        return E_OK;
    (void)err_openssl(&why, E_INVALID, "PEM_read_bio_PrivateKey");
    return err_set(e, E_INVALID, "%s: no private key in PEM, or the passphrase is wrong", path);
}

int command_order_sign(struct run *r)
{
    const char *key_path = run_option(r, "key");
    AUTO(json_t) *payload = NULL;
    AUTO(EVP_PKEY) *key = NULL;
    AUTO(char) *text = NULL;
    AUTO_BUF file = BUF_INIT(ORDER_FILE_MAX);
    struct jws_header h = {.typ = ORDER_FILE_TYP};
    struct err e = {0};

    if (!key_path)
        return usage(r, "needs --key FILE, the signer's private key");
    if (payload_of_file(r->positional, &payload, &e) != E_OK || checked_text(payload, &text, &e) != E_OK ||
        private_key_file(key_path, &key, &e) != E_OK || jws_sign(key, &h, bytes_str(text), &file, &e) != E_OK ||
        write_text(r, buf_bytes(&file), &e) != E_OK)
        return run_fail(&e);
    fprintf(stderr, "signed by key %s\n", SHOWN(h.kid));
    return EXIT_DONE;
}

/* ---- verify ---- */

static enum err_code judge_of(const struct run *r, struct record_judge **out, struct err *e)
{
    AUTO_BUF signer = BUF_INIT(CERTS_FILE_MAX), ca = BUF_INIT(CERTS_FILE_MAX);

    if (file_read(run_option(r, "signer"), &signer, e) != E_OK || file_read(run_option(r, "ca"), &ca, e) != E_OK)
        return e->code;
    return record_judge_new(buf_bytes(&signer), buf_bytes(&ca), out, e);
}

/* A report: signature, certificate at the time of closing, equations. */
static enum err_code verify_report(const struct run *r, struct bytes file, json_t **report, struct err *e)
{
    struct record_judge *judge = NULL;
    int64_t closed_at = 0;
    enum err_code code = judge_of(r, &judge, e);

    if (code == E_OK)
        code = record_open(judge, file, CLOSE_REPORT_TYP, report, e);
    if (code == E_OK)
        code = record_time(*report, "closed_at", &closed_at, e);
    if (code == E_OK)
        code = record_judge_at(judge, closed_at, e);
    if (code == E_OK)
        code = close_report_check(*report, e);
    record_judge_free(judge);
    return code;
}

static enum err_code verify_order(const char *signer, struct bytes file, const struct jws *j, json_t **order, struct err *e)
{
    AUTO_BUF payload = BUF_INIT(ORDER_PAYLOAD_MAX), pem = BUF_INIT(CERTS_FILE_MAX);
    AUTO(EVP_PKEY) *key = NULL;
    AUTO_SPEC spec;

    order_spec_init(&spec);
    if (order_file_read(file, &spec, e) != E_OK || jws_payload(j, &payload, e) != E_OK)
        return e->code;
    *order = json_loadb((const char *)payload.p, payload.len, 0, NULL);
    if (!*order)
        return err_set(e, E_NOMEM, "order file");
    json_object_set_new(*order, "kid", json_string(spec.kid));
    if (!signer)
        return E_OK;
    if (file_read(signer, &pem, e) != E_OK || !(key = jws_public_key(buf_bytes(&pem), e)))
        return e->code;
    return order_file_verify(file, key, e);
}

int command_order_verify(struct run *r)
{
    const char *signer = run_option(r, "signer");
    AUTO_BUF file = BUF_INIT(ORDER_FILE_MAX);
    AUTO(json_t) *content = NULL;
    struct jws j;
    struct err e = {0};
    enum err_code code;
    bool report;

    if (file_read(r->positional, &file, &e) != E_OK || jws_read(buf_bytes(&file), ORDER_FILE_MAX, &j, &e) != E_OK)
        return run_fail(&e);
    report = strcmp(j.header.typ, CLOSE_REPORT_TYP) == 0;
    if (report && (!signer || !run_option(r, "ca")))
        return usage(r, "a close-out report needs --signer (certificate of the record key and the CAs above it) and --ca (root)");
    code = report ? verify_report(r, buf_bytes(&file), &content, &e)
                  : verify_order(signer, buf_bytes(&file), &j, &content, &e);
    if (code != E_OK)
        return run_fail(&e);
    if (!print_object(content, r->json))
        return EXIT_REFUSED;
    if (report || signer) {
        fprintf(stderr, "%s: the signature is good%s\n", r->positional, report ? ", the counts balance" : "");
        return EXIT_DONE;
    }
    fprintf(stderr, "%s: the members are right; nobody checked the signature (--signer)\n", r->positional);
    return EXIT_NOT_PROVEN;
}

static enum err_code check_list(struct list_check *k, FILE *f, struct err *e)
{
    AUTO_BUF line = BUF_INIT(RECORD_FILE_MAX);
    int c;

    while ((c = getc_unlocked(f)) != EOF) {
        if (c != '\n') {
            buf_add_u8(&line, (uint8_t)c);
            continue;
        }
        if (!buf_ok(&line))
            return err_set(e, E_INVALID, "line %llu: longer than %d octets", (unsigned long long)k->lines + 1, RECORD_FILE_MAX);
        if (list_check_line(k, buf_bytes(&line), e) != E_OK)
            return e->code;
        buf_reset(&line);
    }
    if (ferror(f))
        return err_errno(e, E_IO, "units.jsonl");
    if (line.len)
        return err_set(e, E_CONFLICT, "line %llu: the file ends in the middle of it", (unsigned long long)k->lines + 1);
    return list_check_end(k, e);
}

int command_order_verify_list(struct run *r)
{
    char path[PATH_MAX];
    AUTO_BUF index = BUF_INIT(RECORD_FILE_MAX);
    struct record_judge *judge = NULL;
    struct list_check k = {0};
    FILE *f = NULL;
    int64_t at = 0;
    struct err e = {0};
    enum err_code code;

    if (!run_option(r, "signer") || !run_option(r, "ca"))
        return usage(r, "needs --signer (certificate of the record key and the CAs above it) and --ca (root)");
    snprintf(path, sizeof(path), "%s/index.jws", r->positional);
    code = judge_of(r, &judge, &e);
    if (code == E_OK)
        code = file_read(path, &index, &e);
    if (code == E_OK)
        code = list_check_begin(&k, judge, buf_bytes(&index), &e);
    if (code == E_OK)
        code = record_time(k.index, "created_at", &at, &e);
    if (code == E_OK)
        code = record_judge_at(judge, at, &e);
    snprintf(path, sizeof(path), "%s/units.jsonl", r->positional);
    if (code == E_OK && !(f = fopen(path, "re")))
        code = err_errno(&e, E_IO, "%s", path);
    if (code == E_OK)
        code = check_list(&k, f, &e);
    if (f)
        fclose(f);
    if (code == E_OK && !print_object(k.index, r->json))
        code = err_errno(&e, E_IO, "standard output");
    if (code == E_OK)
        fprintf(stderr, "%s: %llu lines, each signed, none missing, none added\n", path, (unsigned long long)k.lines);
    list_check_clear(&k);
    record_judge_free(judge);
    return code == E_OK ? EXIT_DONE : run_fail(&e);
}

/* ---- report ---- */

int command_order_report(struct run *r)
{
    AUTO(json_t) *result = NULL;
    struct err e = {0};

    if (run_call(r, r->command->op, r->args, NULL, NULL, &result, NULL, &e) != E_OK ||
        write_text(r, bytes_str(json_string_value(json_object_get(result, "report"))), &e) != E_OK)
        return run_fail(&e);
    return EXIT_DONE;
}

int command_box_report(struct run *r)
{
    AUTO(json_t) *result = NULL;
    const char *chain = run_option(r, "chain");
    struct err e = {0};

    if (run_call(r, r->command->op, r->args, NULL, NULL, &result, NULL, &e) != E_OK ||
        (chain && file_write_atomic(chain, bytes_str(json_string_value(json_object_get(result, "chain"))), 0644, &e) != E_OK) ||
        write_text(r, bytes_str(json_string_value(json_object_get(result, "report"))), &e) != E_OK)
        return run_fail(&e);
    return EXIT_DONE;
}

static json_int_t count_of(const json_t *counts, const char *name)
{
    return json_integer_value(json_object_get(counts, name));
}

/* The counts of an order as the equations that its closing proves. */
int command_order_status(struct run *r)
{
    AUTO(json_t) *result = NULL, *counts = NULL;
    const char *state;
    struct err e = {0};

    if (run_call(r, r->command->op, r->args, NULL, NULL, &result, NULL, &e) != E_OK)
        return run_fail(&e);
    if (r->json)
        return print_object(result, true) ? EXIT_DONE : EXIT_REFUSED;
    counts = json_incref(json_object_get(result, "counts"));
    json_object_del(result, "counts");
    if (!print_object(result, false))
        return EXIT_REFUSED;
    printf("\n%8lld reserved  = %lld issued + %lld unused\n", (long long)count_of(counts, "reserved"),
           (long long)count_of(counts, "issued"), (long long)count_of(counts, "unused"));
    printf("%8lld issued    = %lld confirmed + %lld void + %lld orphan\n", (long long)count_of(counts, "issued"),
           (long long)count_of(counts, "confirmed"), (long long)count_of(counts, "void"), (long long)count_of(counts, "orphan"));
    printf("%8lld confirmed = %lld shipped + %lld stock + %lld scrapped\n", (long long)count_of(counts, "confirmed"),
           (long long)count_of(counts, "shipped"), (long long)count_of(counts, "stock"), (long long)count_of(counts, "scrapped"));
    printf("%8lld new keys before the confirm, %lld reworks, %lld waiting for the token\n", (long long)count_of(counts, "rekeyed"),
           (long long)count_of(counts, "reworked"), (long long)count_of(counts, "captured"));
    state = json_string_value(json_object_get(result, "state"));
    if (!state || strcmp(state, "closed") != 0)
        printf("         (open: units at work and in rework are missing on the right until it is closed)\n");
    return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_DONE : EXIT_REFUSED;
}
