/* SPDX-License-Identifier: Apache-2.0 */
/* Commands about the service as a whole: init, status, doctor, audit, backup, restore, CRL files, completion. */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/conf.h"
#include "base/fsio.h"
#include "base/text.h"
#include "ca/audit.h"
#include "ca/store/restore.h"
#include "cli/command.h"

#define DEFAULT_CONFIG "/etc/inkan/inkan.yaml"

AUTO_TYPE(json_t, json_decref)
static inline __attribute__((unused)) void free_conf(struct conf **c)
{
    conf_free(*c);
}
#define AUTO_CONF __attribute__((cleanup(free_conf))) struct conf

static enum err_code load_config(const struct run *r, struct conf **out, struct err *e)
{
    const char *path = run_option(r, "config") ? run_option(r, "config") : DEFAULT_CONFIG;

    return conf_load(path, out, NULL, e);
}

/* --- init --- */

/* Names of what is there already, so that a token that serves is left alone. */
static bool collect_rows(void *arg, const json_t *rows)
{
    return json_array_extend(arg, (json_t *)rows) == 0;
}

static json_t *list_of(struct run *r, const char *op, struct err *e)
{
    AUTO(json_t) *none = json_object();
    AUTO(json_t) *rows = json_array();
    AUTO(json_t) *result = NULL;

    return run_call(r, op, none, collect_rows, rows, &result, NULL, e) == E_OK ? TAKE(rows) : NULL;
}

static bool row_with(const json_t *rows, const char *member, const char *value)
{
    size_t i;
    json_t *row;

    json_array_foreach(rows, i, row)
    {
        const char *s = json_string_value(json_object_get(row, member));

        if (s && strcmp(s, value) == 0)
            return true;
    }
    return false;
}

static int there_already(const char *what, const char *name)
{
    printf("%-12s %-24s there already\n", what, name);
    return EXIT_DONE;
}

static int init_step(struct run *r, const char *what, const char *name, const char *op, json_t *args)
{
    AUTO(json_t) *owned = args;
    AUTO(json_t) *result = NULL;
    struct err e = {0};
    enum err_code code = run_call(r, op, owned, NULL, NULL, &result, NULL, &e);

    if (code == E_OK)
        printf("%-12s %-24s made\n", what, name);
    else if (code == E_CONFLICT)
        there_already(what, name);
    else {
        err_wrap(&e, "%s %s", what, name);
        return run_fail(&e);
    }
    fflush(stdout);
    return EXIT_DONE;
}

static int init_ca(struct run *r, const char *name)
{
    AUTO(json_t) *args = json_pack("{s:s}", "name", name);
    AUTO(json_t) *result = NULL;
    struct err e = {0};

    if (run_call(r, "ca.create", args, NULL, NULL, &result, NULL, &e) != E_OK) {
        err_wrap(&e, "CA %s", name);
        return run_fail(&e);
    }
    printf("%-12s %-24s %s\n", "CA", name,
           json_is_true(json_object_get(result, "waits"))     ? "waits for its certificate: inkan ca request, then inkan ca install"
           : json_is_true(json_object_get(result, "created")) ? "made"
                                                              : "there already");
    fflush(stdout);
    return EXIT_DONE;
}

static size_t ca_depth(const struct conf *conf, const struct conf_ca *ca)
{
    size_t depth = 0;

    while (ca && *ca->issuer && !conf_ca_is_external(ca) && depth <= conf->cas_n) {
        ca = conf_find_ca(conf, ca->issuer);
        depth++;
    }
    return depth;
}

int command_init(struct run *r)
{
    AUTO_CONF *conf = NULL;
    AUTO(json_t) *keys = NULL;
    struct err e = {0};
    int status = EXIT_DONE;

    if (load_config(r, &conf, &e) != E_OK || !(keys = list_of(r, "key.list", &e)))
        return run_fail(&e);
    for (size_t i = 0; i < conf->tokens_n && !status; i++) {
        const char *name = conf->tokens[i].name;

        status = row_with(keys, "token", name) ? there_already("token", name)
                                               : init_step(r, "token", name, "token.init", json_pack("{s:s}", "token", name));
    }
    if (!status && row_with(keys, "name", "audit/main/1"))
        status = there_already("audit key", conf->audit_token);
    else if (!status && *conf->audit_token)
        status = init_step(r, "audit key", conf->audit_token, "key.generate",
                           json_pack("{s:s, s:s, s:s, s:s}", "token", conf->audit_token, "purpose", "audit", "name", "main",
                                     "algorithm", "p256"));
    /* Issuers before what they issue. */
    for (size_t depth = 0; depth < conf->cas_n && !status; depth++) {
        for (size_t i = 0; i < conf->cas_n && !status; i++) {
            if (ca_depth(conf, &conf->cas[i]) == depth)
                status = init_ca(r, conf->cas[i].name);
        }
    }
    return status;
}

/* --- status, doctor --- */

int command_status(struct run *r)
{
    AUTO(json_t) *result = NULL;
    struct err e = {0};

    if (run_call(r, "status", r->args, NULL, NULL, &result, NULL, &e) != E_OK)
        return run_fail(&e);
    return print_object(result, r->json) ? EXIT_DONE : EXIT_REFUSED;
}

struct doctor {
    struct table *table;
    size_t warnings, failures;
};

static bool doctor_rows(void *arg, const json_t *rows)
{
    struct doctor *d = arg;
    size_t i;
    json_t *row;

    json_array_foreach(rows, i, row)
    {
        const char *state = json_string_value(json_object_get(row, "state"));

        d->warnings += state && strcmp(state, "warn") == 0;
        d->failures += !state || strcmp(state, "fail") == 0;
    }
    return table_rows(d->table, rows);
}

int command_doctor(struct run *r)
{
    static const struct column columns[] = {{"state", "STATE", CELL_TEXT},
                                            {"check", "CHECK", CELL_TEXT},
                                            {"text", "FOUND", CELL_TEXT},
                                            {"remedy", "REMEDY", CELL_TEXT},
                                            {NULL, NULL, CELL_TEXT}};
    struct doctor d = {.table = table_new(columns, r->json)};
    AUTO(json_t) *result = NULL;
    struct err e = {0};

    if (!d.table)
        return EXIT_REFUSED;
    if (run_call(r, "doctor", r->args, doctor_rows, &d, &result, NULL, &e) != E_OK) {
        free(d.table);
        return run_fail(&e);
    }
    if (!table_end(d.table, NULL))
        return EXIT_REFUSED;
    fprintf(stderr, "%zu failed, %zu warnings\n", d.failures, d.warnings);
    return d.failures ? EXIT_REFUSED : EXIT_DONE;
}

/* --- files --- */

/* Copies a descriptor into a new file (O_EXCL, 0600), fsynced; or to standard output when path is NULL. */
static enum err_code copy_fd(int from, const char *path, struct err *e)
{
    AUTO_FD int file = -1;
    int to = STDOUT_FILENO;
    uint8_t block[65536];
    ssize_t n;

    if (path) {
        file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (file < 0)
            return err_errno(e, E_IO, "%s", path);
        to = file;
    }
    if (lseek(from, 0, SEEK_SET) < 0)
        return err_errno(e, E_IO, "the file the service sent");
    while ((n = read(from, block, sizeof block)) != 0) {
        if (n < 0)
            return err_errno(e, E_IO, "the file the service sent");
        for (ssize_t at = 0; at < n;) {
            ssize_t w = write(to, block + at, (size_t)(n - at));

            if (w < 0) {
                err_errno(e, E_IO, "%s", path ? path : "standard output");
                if (path)
                    unlink(path);
                return e->code;
            }
            at += w;
        }
    }
    if (path && fsync(file) != 0)
        return err_errno(e, E_IO, "%s: fsync", path);
    return E_OK;
}

int command_backup(struct run *r)
{
    AUTO(json_t) *result = NULL;
    AUTO_FD int fd = -1;
    struct err e = {0};
    const char *path = run_option(r, "out");

    if (!path) {
        fprintf(stderr, "inkan backup: needs --out FILE\n");
        return EXIT_USAGE;
    }
    if (access(path, F_OK) == 0) {
        err_set(&e, E_CONFLICT, "%s exists: a backup is never overwritten", path);
        return run_fail(&e);
    }
    if (run_call(r, "backup", r->args, NULL, NULL, &result, &fd, &e) != E_OK)
        return run_fail(&e);
    if (fd < 0) {
        err_set(&e, E_INTERNAL, "the service sent no file");
        return run_fail(&e);
    }
    if (copy_fd(fd, path, &e) != E_OK)
        return run_fail(&e);
    return print_object(result, r->json) ? EXIT_DONE : EXIT_REFUSED;
}

int command_crl_get(struct run *r)
{
    AUTO(json_t) *result = NULL;
    AUTO_FD int fd = -1;
    struct err e = {0};

    if (!json_object_get(r->args, "issuer")) {
        fprintf(stderr, "inkan crl get: needs --issuer\n");
        return EXIT_USAGE;
    }
    if (run_call(r, r->command->op, r->args, NULL, NULL, &result, &fd, &e) != E_OK)
        return run_fail(&e);
    if (fd < 0) {
        err_set(&e, E_INTERNAL, "the service sent no file");
        return run_fail(&e);
    }
    if (copy_fd(fd, run_option(r, "out"), &e) != E_OK)
        return run_fail(&e);
    return EXIT_DONE;
}

static int accept_restore(struct run *r)
{
    AUTO(json_t) *result = NULL;
    struct err e = {0};

    if (run_call(r, "restore.accept", r->args, NULL, NULL, &result, NULL, &e) != E_OK)
        return run_fail(&e);
    return print_object(result, r->json) ? EXIT_DONE : EXIT_REFUSED;
}

int command_restore(struct run *r)
{
    AUTO_CONF *conf = NULL;
    struct err e = {0};
    char ledger[4096], aside[4096];

    if (run_option(r, "accept"))
        return accept_restore(r);
    if (!r->positional) {
        fprintf(stderr, "inkan restore: needs a backup FILE, or --accept\n");
        return EXIT_USAGE;
    }
    if (load_config(r, &conf, &e) != E_OK)
        return run_fail(&e);
    snprintf(ledger, sizeof ledger, "%s/ledger/ledger.db", conf->dir_state);
    if (restore_install(r->positional, ledger, (int64_t)clock_now(), aside, sizeof aside, &e) != E_OK)
        return run_fail(&e);
    if (geteuid() == 0 && *conf->user_core) {
        const struct passwd *pw = getpwnam(conf->user_core);

        /* The directory is the core's: root follows no link in it. */
        if (!pw || lchown(ledger, pw->pw_uid, pw->pw_gid) != 0) {
            err_errno(&e, E_IO, "%s: the owner could not be set to %s", ledger, conf->user_core);
            return run_fail(&e);
        }
    }
    if (*aside)
        printf("The ledger that was there is kept as %s.\n", aside);
    printf("%s is in place. Start the service: it stays sealed until inkan restore --accept.\n", r->positional);
    return EXIT_DONE;
}

/* --- audit --- */

static bool print_json_lines(void *arg, const json_t *rows)
{
    size_t i;
    json_t *row;

    (void)arg;
    json_array_foreach(rows, i, row)
    {
        json_dumpf(row, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII);
        putchar('\n');
    }
    return !ferror(stdout);
}

int command_audit_export(struct run *r)
{
    AUTO(json_t) *result = NULL;
    const char *format = run_option(r, "format");
    struct err e = {0};

    if (format && strcmp(format, "jsonl") != 0) {
        fprintf(stderr, "inkan: --format %s: entries are exported as jsonl\n", format);
        return EXIT_USAGE;
    }
    if (run_call(r, r->command->op, r->args, print_json_lines, NULL, &result, NULL, &e) != E_OK)
        return run_fail(&e);
    return fflush(stdout) == 0 ? EXIT_DONE : EXIT_REFUSED;
}

static bool print_heads(void *arg, const json_t *rows)
{
    size_t i;
    json_t *row;

    (void)arg;
    json_array_foreach(rows, i, row)
    {
        /* The line format of DIR_MARKS/audit-heads (docs/audit.md). */
        printf("%lld %lld %s %s %s %s\n", (long long)json_integer_value(json_object_get(row, "seq")),
               (long long)json_integer_value(json_object_get(row, "time")), json_string_value(json_object_get(row, "hash")),
               json_string_value(json_object_get(row, "key")), json_string_value(json_object_get(row, "tbs")),
               json_string_value(json_object_get(row, "signature")));
    }
    return !ferror(stdout);
}

int command_audit_heads(struct run *r)
{
    AUTO(json_t) *result = NULL;
    struct err e = {0};

    if (run_call(r, r->command->op, r->args, r->json ? print_json_lines : print_heads, NULL, &result, NULL, &e) != E_OK)
        return run_fail(&e);
    return fflush(stdout) == 0 ? EXIT_DONE : EXIT_REFUSED;
}

/* A fresh copy of the running service's ledger in a private temporary file. */
static enum err_code fetch_ledger(struct run *r, char *path, struct err *e)
{
    AUTO(json_t) *result = NULL;
    AUTO(json_t) *none = json_object();
    AUTO_FD int fd = -1;
    int made = mkstemp(path);

    if (made < 0)
        return err_errno(e, E_IO, "%s", path);
    close(made);
    unlink(path);
    if (run_call(r, "backup", none, NULL, NULL, &result, &fd, e) != E_OK)
        return e->code;
    if (fd < 0)
        return err_set(e, E_INTERNAL, "the service sent no file");
    return copy_fd(fd, path, e);
}

static int report_verdict(const struct run *r, enum err_code code, const struct audit_verdict *v)
{
    char when[32] = "-";
    bool proven = code == E_OK && v->heads_from_outside;

    if (v->proven_at)
        clock_format((time_t)v->proven_at, when);
    if (r->json) {
        AUTO(json_t) *o =
            json_pack("{s:b, s:b, s:I, s:I, s:I, s:I, s:s, s:I, s:I}", "ok", code == E_OK, "proven", proven, "entries",
                      (json_int_t)v->entries, "signed", (json_int_t)v->signed_entries, "heads", (json_int_t)v->heads, "bad_entry", (json_int_t)v->bad_seq, "what",
                      v->what, "proven_to", (json_int_t)v->proven_seq, "proven_at", (json_int_t)v->proven_at);

        print_object(o, true);
    } else if (code != E_OK) {
        printf("NOT intact: %s\n", SHOWN(v->what));
    } else if (proven) {
        printf("verified: %llu entries, %llu of them with operators' signatures, %llu heads kept elsewhere; signed to entry %llu at %s\n",
               (unsigned long long)v->entries, (unsigned long long)v->signed_entries, (unsigned long long)v->heads, (unsigned long long)v->proven_seq, when);
    } else if (v->proven_seq == 0) {
        printf("%s: nothing is proven\n", v->what);
    } else {
        printf("verified to entry %llu, signed at %s (%llu entries in all); later removal cannot be excluded without heads kept "
               "elsewhere (--heads)\n",
               (unsigned long long)v->proven_seq, when, (unsigned long long)v->entries);
    }
    if (code != E_OK)
        return EXIT_REFUSED;
    return proven ? EXIT_DONE : EXIT_NOT_PROVEN;
}

int command_audit_verify(struct run *r)
{
    AUTO_BUF pem = BUF_INIT(65536);
    AUTO_BUF spki = BUF_INIT(65536);
    char temporary[] = "/tmp/inkan-ledger-XXXXXX";
    const char *ledger = run_option(r, "ledger"), *key = run_option(r, "key");
    struct audit_verdict verdict = {0};
    struct err e = {0};
    enum err_code code;
    bool fetched = !ledger;

    if (key && (file_read(key, &pem, &e) != E_OK || pem_read(buf_bytes(&pem), "PUBLIC KEY", 0, &spki, &e) != E_OK))
        return run_fail(&e);
    if (fetched && r->url) {
        fprintf(stderr, "inkan audit verify: reads a copy of the whole ledger, and none goes over the network: verify on the service's machine,\n"
                        "or a backup with --ledger FILE\n");
        return EXIT_USAGE;
    }
    if (fetched) {
        if (fetch_ledger(r, temporary, &e) != E_OK) {
            unlink(temporary);
            return run_fail(&e);
        }
        ledger = temporary;
    }
    code = audit_verify(ledger, run_option(r, "heads"), buf_bytes(&spki), &verdict, &e);
    if (fetched)
        unlink(temporary);
    if (code != E_OK && code != E_CONFLICT)
        return run_fail(&e);
    return report_verdict(r, code, &verdict);
}

/* --- completion --- */

int command_completion(struct run *r)
{
    (void)r;
    puts("# bash completion for inkan: source it, or install as /usr/share/bash-completion/completions/inkan\n"
         "_inkan() {\n"
         "    local cur=${COMP_WORDS[COMP_CWORD]} noun=${COMP_WORDS[1]:-} verb=${COMP_WORDS[2]:-}\n"
         "    if [ \"$COMP_CWORD\" -eq 1 ]; then");
    printf("        COMPREPLY=($(compgen -W '");
    for (size_t i = 0; i < commands_n; i++) {
        if (i == 0 || strcmp(commands[i].noun, commands[i - 1].noun) != 0)
            printf("%s%s", i ? " " : "", commands[i].noun);
    }
    puts("' -- \"$cur\")); return\n    fi\n    case \"$noun $verb\" in");
    for (size_t i = 0; i < commands_n; i++) {
        const struct command *c = &commands[i];

        printf("    '%s %s'%s)\n        COMPREPLY=($(compgen -f -W '", c->noun, c->verb ? c->verb : "", c->verb ? "*" : "*");
        for (const struct option_spec *o = c->options; o->name; o++)
            printf("--%s ", o->name);
        printf("--json --socket --help%s' -- \"$cur\")); return ;;\n", c->confirm ? " --yes" : "");
    }
    puts("    esac\n    case \"$noun\" in");
    for (size_t i = 0; i < commands_n; i++) {
        if (!commands[i].verb || (i > 0 && strcmp(commands[i].noun, commands[i - 1].noun) == 0))
            continue;
        printf("    %s) COMPREPLY=($(compgen -W '", commands[i].noun);
        for (size_t j = i; j < commands_n && strcmp(commands[j].noun, commands[i].noun) == 0; j++)
            printf("%s%s", j > i ? " " : "", commands[j].verb);
        puts("' -- \"$cur\")) ;;");
    }
    puts("    esac\n}\ncomplete -F _inkan inkan");
    return EXIT_DONE;
}
