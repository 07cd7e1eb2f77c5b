/* SPDX-License-Identifier: Apache-2.0 */
/* inkan: administration. Parses `inkan NOUN [VERB] [argument] [--options]` by the table in commands.c. */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/fsio.h"
#include "base/limits.h"
#include "base/msg.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/admin_remote.h"
#include "ca/signed_request.h"

#define SOON_S            10  /* for what costs the service nothing */
#define FILE_TO_SEND_MAX  ((size_t)64 << 20)
#define PATIENCE_S        600 /* an HSM may take minutes for a key */
#define DEFAULT_SOCKET "/run/inkan/admin.sock"

/* --- help --- */

/* Those of one noun; NULL: all, with a blank line around each noun that has verbs. */
static void print_commands(FILE *f, const char *only)
{
    const char *noun = "";

    for (size_t i = 0; i < commands_n; i++) {
        const struct command *c = &commands[i];

        if (only && strcmp(only, c->noun) != 0)
            continue;
        if (!only && i > 0 && strcmp(noun, c->noun) != 0 && (c->verb || commands[i - 1].verb))
            fputc('\n', f);
        noun = c->noun;
        fprintf(f, "  %-10s %-18s %s\n", c->noun, c->verb ? c->verb : "", c->help);
    }
}

static void print_usage(FILE *f)
{
    fprintf(f, "Usage: inkan NOUN [VERB] [argument] [--options] [--json] [--socket PATH]\n\n");
    print_commands(f, NULL);
    fprintf(f, "\nEvery command: --help. Results go to standard output, talk to standard error.\n"
               "Exit: 0 done, 1 refused or failed, 2 wrong usage, 3 not over: waits for somebody, or is not fully proven.\n"
               "The socket is --socket, else $INKAN_SOCKET, else " DEFAULT_SOCKET ".\n"
               "As an operator: --as CERTIFICATE.pem [--key FILE|pkcs11:URI] signs the request; with --url https://HOST:PORT --ca FILE\n"
               "it goes over the network. Else $INKAN_AS, $INKAN_KEY, $INKAN_URL, $INKAN_CA.\n");
}

static const char *positional_name(const struct command *c)
{
    const char *name = c->positional;

    if (!name)
        return NULL;
    if (*name == '?')
        name++;
    return name;
}

static void print_command_help(const struct command *c)
{
    const char *name = positional_name(c);

    printf("Usage: inkan %s%s%s", c->noun, c->verb ? " " : "", c->verb ? c->verb : "");
    if (name)
        printf(" %s%.*s%s", *c->positional == '?' ? "[" : "", (int)strcspn(name, ":"), name,
               *c->positional == '?' ? "]" : "");
    printf(" [--options]\n\n%s\n\n", c->help);
    for (const struct option_spec *o = c->options; o->name; o++) {
        char left[64];

        snprintf(left, sizeof left, "--%s%s%s", o->name, o->meta ? " " : "", o->meta ? o->meta : "");
        printf("  %-24s %s\n", left, o->help);
    }
    if (c->confirm)
        printf("  %-24s %s\n", "--yes", "do not ask");
    printf("  %-24s %s\n  %-24s %s\n", "--json", "JSON on standard output", "--socket PATH", "the service's socket");
    printf("  %-24s %s\n  %-24s %s\n", "--as FILE, --key FILE", "sign as this operator", "--url URL, --ca FILE", "over the network");
}

/* --- arguments --- */

static bool parse_number(const char *s, long long *out)
{
    char *end;

    if (!*s)
        return false;
    *out = strtoll(s, &end, 10);
    return *end == 0 && *out >= 0;
}

static bool parse_duration(const char *s, long long *out)
{
    static const struct {
        char unit;
        long long seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'y', 31557600}};
    char *end;
    long long n = strtoll(s, &end, 10);

    if (end == s || n < 0 || n > 1000000 || strlen(end) != 1)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (units[i].unit == *end) {
            *out = n * units[i].seconds;
            return true;
        }
    }
    return false;
}

enum err_code der_file_base64(const char *path, const char *label, char **out, struct err *e)
{
    AUTO_BUF text = BUF_INIT(CERT_MAX_LEN * 2);
    AUTO_BUF der = BUF_INIT(CERT_MAX_LEN);
    AUTO_BUF b64 = BUF_INIT(CERT_MAX_LEN * 2);

    if (file_read(path, &text, e) != E_OK)
        return e->code;
    if (text.len > 0 && text.p[0] == 0x30)
        buf_add_bytes(&der, buf_bytes(&text));
    else if (pem_read(buf_bytes(&text), label, 0, &der, e) != E_OK)
        return err_set(e, E_INVALID, "%s holds no PEM block \"%s\" and is not DER", path, label);
    base64_encode(&b64, buf_bytes(&der), 0);
    buf_add_u8(&b64, 0);
    if (!buf_ok(&b64))
        return err_set(e, E_NOMEM, "out of memory");
    *out = (char *)TAKE(b64.p);
    return E_OK;
}

static int usage_error(const struct command *c, const char *fmt, const char *what)
{
    fprintf(stderr, "inkan %s%s%s: ", c->noun, c->verb ? " " : "", c->verb ? c->verb : "");
    fprintf(stderr, "%s %s\n", fmt, what);
    fprintf(stderr, "Try: inkan %s%s%s --help\n", c->noun, c->verb ? " " : "", c->verb ? c->verb : "");
    return EXIT_USAGE;
}

static int set_option(struct run *r, const struct option_spec *o, const char *value)
{
    long long n;
    struct err e = {0};

    switch (o->kind) {
    case OPT_FLAG:
        if (o->member)
            json_object_set_new(r->args, o->member, json_true());
        break;
    case OPT_TEXT:
        if (json_object_set_new(r->args, o->member, json_string(value)) != 0)
            return usage_error(r->command, "not UTF-8 text:", value);
        return 0;
    case OPT_NUMBER:
        if (!parse_number(value, &n))
            return usage_error(r->command, "not a number:", value);
        json_object_set_new(r->args, o->member, json_integer(n));
        return 0;
    case OPT_DURATION:
        if (!parse_duration(value, &n))
            return usage_error(r->command, "not a time like 30s, 15m, 12h, 7d, 25y:", value);
        if (o->kind == OPT_DURATION && o->from_now)
            n += (long long)clock_now();
        json_object_set_new(r->args, o->member, json_integer(n));
        return 0;
    case OPT_DER: {
        AUTO(char) *b64 = NULL;

        if (der_file_base64(value, strcmp(o->member, "csr") == 0 ? "CERTIFICATE REQUEST" : "CERTIFICATE", &b64, &e) != E_OK)
            return run_fail(&e);
        json_object_set_new(r->args, o->member, json_string(b64));
        return 0;
    }
    case OPT_OWN:
        break;
    }
    if (r->own_n == ARRAY_LEN(r->own))
        return usage_error(r->command, "too many options:", o->name);
    r->own[r->own_n].name = o->name;
    r->own[r->own_n++].value = value ? value : "";
    return 0;
}

static const struct option_spec *find_option(const struct command *c, const char *name, size_t len)
{
    for (const struct option_spec *o = c->options; o->name; o++) {
        if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
            return o;
    }
    return NULL;
}

/* --json, --yes, --socket, --url and their kin: of every command. Returns how many arguments it took, 0 when it is none of these. */
static int common_option(struct run *r, char **argv)
{
    const struct {
        const char *name;
        const char **to;
    } texts[] = {{"--socket", &r->socket_path}, {"--url", &r->url}, {"--ca", &r->ca}, {"--as", &r->as}, {"--key", &r->key}};

    if (strcmp(argv[0], "--json") == 0) {
        r->json = true;
        return 1;
    }
    if (strcmp(argv[0], "--yes") == 0 || strcmp(argv[0], "-y") == 0) {
        r->yes = true;
        return 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        size_t n = strlen(texts[i].name);

        if (strncmp(argv[0], texts[i].name, n) != 0 || (r->command && find_option(r->command, texts[i].name + 2, n - 2)))
            continue;
        if (argv[0][n] == '=') {
            *texts[i].to = argv[0] + n + 1;
            return 1;
        }
        if (argv[0][n] == '\0' && argv[1]) {
            *texts[i].to = argv[1];
            return 2;
        }
    }
    return 0;
}

static int parse_arguments(struct run *r, char **argv)
{
    for (char **a = argv; *a; a++) {
        const struct option_spec *o;
        const char *value = NULL;
        size_t len;
        int took = common_option(r, a), status;

        if (took) {
            a += took - 1;
            continue;
        }
        if (strcmp(*a, "-c") == 0 && find_option(r->command, "config", 6)) {
            o = find_option(r->command, "config", 6);
        } else if (strncmp(*a, "--", 2) == 0 && (*a)[2]) {
            len = strcspn(*a + 2, "=");
            o = find_option(r->command, *a + 2, len);
            if (!o)
                return usage_error(r->command, "unknown option:", *a);
            if ((*a)[2 + len] == '=')
                value = *a + 3 + len;
        } else {
            if (r->positional || !r->command->positional)
                return usage_error(r->command, "unexpected argument:", *a);
            r->positional = *a;
            continue;
        }
        if (o->kind == OPT_FLAG) {
            if (value)
                return usage_error(r->command, "takes no value:", *a);
        } else if (!value) {
            value = *++a;
            if (!value)
                return usage_error(r->command, "needs a value:", o->name);
        }
        status = set_option(r, o, value);
        if (status)
            return status;
    }
    return 0;
}

/* The content of a file as a descriptor that goes with the request. */
static enum err_code file_to_send(const char *path, int *fd, struct err *e)
{
    AUTO_BUF content = BUF_INIT(FILE_TO_SEND_MAX);

    if (file_read(path, &content, e) != E_OK)
        return e->code;
    *fd = memfd_of("inkan-request", buf_bytes(&content), e);
    return *fd >= 0 ? E_OK : err_wrap(e, "%s", path);
}

/* The positional argument becomes a member of args, unless the command handles a file itself ("FILE") or sends it ("FILE:file"). */
static int place_positional(struct run *r)
{
    const char *name = positional_name(r->command);
    struct err e = {0};

    if (!name)
        return 0;
    if (!r->positional)
        return *r->command->positional == '?' ? 0 : usage_error(r->command, "needs", name);
    if (strcmp(name, "FILE:file") == 0)
        return file_to_send(r->positional, &r->file, &e) == E_OK ? 0 : run_fail(&e);
    if (strcmp(name, "FILE:cert") == 0) {
        AUTO(char) *b64 = NULL;

        if (der_file_base64(r->positional, "CERTIFICATE", &b64, &e) != E_OK)
            return run_fail(&e);
        json_object_set_new(r->args, "cert", json_string(b64));
        return 0;
    }
    if (strcmp(name, "FILE") == 0)
        return 0;
    if (json_object_set_new(r->args, name, json_string(r->positional)) != 0)
        return usage_error(r->command, "not UTF-8 text:", r->positional);
    return 0;
}

/* --- running --- */

const char *run_option(const struct run *r, const char *name)
{
    for (size_t i = 0; i < r->own_n; i++) {
        if (strcmp(r->own[i].name, name) == 0)
            return r->own[i].value;
    }
    return NULL;
}

int run_fail(const struct err *e)
{
    fprintf(stderr, "inkan: %s\n", SHOWN(e->msg));
    return e->code == E_PENDING ? EXIT_NOT_PROVEN : EXIT_REFUSED;
}

static void show_progress(void *arg, uint64_t done, uint64_t total, const char *what)
{
    (void)arg;
    if (!isatty(STDERR_FILENO))
        return;
    if (total)
        fprintf(stderr, "\r%s: %llu of %llu (%llu %%)\033[K", SHOWN(what), (unsigned long long)done, (unsigned long long)total,
                (unsigned long long)(done * 100 / total));
    else
        fprintf(stderr, "\r%s: %llu\033[K", SHOWN(what), (unsigned long long)done);
    if (done >= total)
        fputc('\n', stderr);
}

struct rows_sink {
    admin_rows_fn rows;
    void *arg;
};

static bool forward_rows(void *arg, const json_t *rows)
{
    struct rows_sink *s = arg;
    return s->rows ? s->rows(s->arg, rows) : true;
}

/* To the local socket or over the network, as whoever --as names. */
static enum err_code connect_service(struct run *r, struct err *e)
{
    if (r->as && !r->identity && identity_load(r->as, r->key, &r->identity, e) != E_OK)
        return e->code;
    if (r->url && (!r->identity || !r->ca))
        return err_set(e, E_INVALID, "--url needs --as FILE, your certificate, and --ca FILE, what the service's must chain to");
    if (r->url ? admin_remote_open(r->url, r->ca, r->identity, &r->remote, e) != E_OK : admin_connect(r->socket_path, &r->client, e) != E_OK)
        return e->code;
    if (r->remote)
        return admin_remote_node(r->remote, r->node, sizeof(r->node), e);
    /* The socket is there before the core serves it, and stays when the core does not start. */
    admin_set_patience(r->client, SOON_S);
    if (admin_node(r->client, r->node, sizeof(r->node), e) == E_BUSY)
        return err_wrap(e, "the core is starting, or cannot: the service's log says why");
    return e->code;
}

enum err_code run_call(struct run *r, const char *op, const json_t *args, admin_rows_fn rows, void *arg, json_t **result,
                       int *fd, struct err *e)
{
    struct rows_sink sink = {rows, arg};
    const char *file_op = r->file_op ? r->file_op : r->command->op;
    AUTO_BUF jws = BUF_INIT(SIGNED_REQUEST_MAX);
    int patience_s = strcmp(op, "status") == 0 ? SOON_S : PATIENCE_S;
    int file = r->file >= 0 && file_op && strcmp(op, file_op) == 0 ? r->file : -1;

    *result = NULL;
    if (!r->client && !r->remote && connect_service(r, e) != E_OK)
        return e->code;
    if (r->identity && identity_sign(r->identity, r->node, op, args, file, &jws, e) != E_OK)
        return e->code;
    if (r->remote)
        return admin_remote_call(r->remote, buf_bytes(&jws), file, patience_s, forward_rows, show_progress, &sink, result, fd, e);
    if (file >= 0)
        admin_attach(r->client, file);
    admin_set_patience(r->client, patience_s);
    if (r->identity)
        return admin_call_signed(r->client, op, buf_bytes(&jws), forward_rows, show_progress, &sink, result, fd, e);
    return admin_call(r->client, op, args, forward_rows, show_progress, &sink, result, fd, e);
}

int run_plain(struct run *r)
{
    struct err e = {0};
    json_t *result = NULL;
    bool ok;

    if (r->command->columns) {
        struct table *t = table_new(r->command->columns, r->json);

        if (!t)
            return EXIT_REFUSED;
        if (run_call(r, r->command->op, r->args, table_rows, t, &result, NULL, &e) != E_OK) {
            if (!r->json)
                table_end(t, NULL);
            else
                free(t);
            return run_fail(&e);
        }
        ok = table_end(t, r->command->empty);
    } else {
        if (run_call(r, r->command->op, r->args, NULL, NULL, &result, NULL, &e) != E_OK)
            return run_fail(&e);
        ok = json_object_size(result) == 0 && !r->json ? true : print_object(result, r->json);
    }
    json_decref(result);
    return ok ? EXIT_DONE : EXIT_REFUSED;
}

enum err_code run_attach(struct run *r, const char *path, struct err *e)
{
    return file_to_send(path, &r->file, e);
}

void run_disconnect(struct run *r)
{
    admin_close(r->client);
    admin_remote_free(r->remote);
    r->client = NULL;
    r->remote = NULL;
}

bool run_ask(const struct run *r, const char *question)
{
    char answer[16];

    if (r->yes)
        return true;
    if (!isatty(STDIN_FILENO)) {
        fprintf(stderr, "inkan: this needs a confirmation: add --yes\n");
        return false;
    }
    fprintf(stderr, "%s [y/N] ", question);
    if (fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
        return true;
    fprintf(stderr, "inkan: nothing was done\n");
    return false;
}

static bool confirmed(const struct run *r)
{
    const char *what = r->positional, *at;
    char serial[128], question[512];

    if (!r->command->confirm)
        return true;
    if (!what && json_object_get(r->args, "serial")) {
        snprintf(serial, sizeof serial, "%s", json_string_value(json_object_get(r->args, "serial")));
        what = serial;
    }
    at = strstr(r->command->confirm, "%s");
    if (!at)
        return run_ask(r, r->command->confirm);
    snprintf(question, sizeof question, "%.*s%s%s", (int)(at - r->command->confirm), r->command->confirm, what ? what : "it", at + 2);
    return run_ask(r, question);
}

static bool is_help(const char *arg)
{
    return strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0;
}

/* NULL: there is none, and *status is what to end with: a noun alone shows its verbs, with --help as asked for. */
static const struct command *find_command(char **argv, int *words, int *status)
{
    bool noun_known = false, asked = argv[1] && is_help(argv[1]);

    for (size_t i = 0; i < commands_n; i++) {
        if (strcmp(commands[i].noun, argv[0]) != 0)
            continue;
        noun_known = true;
        if (!commands[i].verb) {
            *words = 1;
            return &commands[i];
        }
        if (argv[1] && strcmp(commands[i].verb, argv[1]) == 0) {
            *words = 2;
            return &commands[i];
        }
    }
    *status = noun_known && asked ? EXIT_DONE : EXIT_USAGE;
    if (!noun_known)
        fprintf(stderr, "inkan: unknown noun: %s\nTry: inkan --help\n", argv[0]);
    else if (!asked)
        fprintf(stderr, "inkan %s: needs one of these verbs:\n", argv[0]);
    if (noun_known)
        print_commands(asked ? stdout : stderr, argv[0]);
    return NULL;
}

int main(int argc, char **argv)
{
    struct run r = {.file = -1};
    int words, status = EXIT_USAGE;

    setlocale(LC_ALL, "");
    r.socket_path = getenv("INKAN_SOCKET") ? getenv("INKAN_SOCKET") : DEFAULT_SOCKET;
    r.url = getenv("INKAN_URL");
    r.ca = getenv("INKAN_CA");
    r.as = getenv("INKAN_AS");
    r.key = getenv("INKAN_KEY");
    for (argv++, argc--; argc > 0; ) {
        int took = common_option(&r, argv);

        if (!took)
            break;
        argv += took;
        argc -= took;
    }
    if (argc == 0 || is_help(argv[0]) || strcmp(argv[0], "help") == 0) {
        print_usage(argc == 0 ? stderr : stdout);
        return argc == 0 ? EXIT_USAGE : EXIT_DONE;
    }
    if (strcmp(argv[0], "--version") == 0) {
        puts("inkan " INKAN_VERSION);
        return EXIT_DONE;
    }
    r.command = find_command(argv, &words, &status);
    if (!r.command)
        return status;
    for (char **a = argv + words; *a; a++) {
        if (is_help(*a)) {
            print_command_help(r.command);
            return EXIT_DONE;
        }
    }
    r.args = json_object();
    if (!r.args)
        return EXIT_REFUSED;
    status = parse_arguments(&r, argv + words);
    if (!status)
        status = place_positional(&r);
    if (!status && !confirmed(&r))
        status = EXIT_REFUSED;
    if (!status)
        status = r.command->run ? r.command->run(&r) : run_plain(&r);
    admin_close(r.client);
    admin_remote_free(r.remote);
    identity_free(r.identity);
    if (r.file >= 0)
        close(r.file);
    json_decref(r.args);
    return status;
}
