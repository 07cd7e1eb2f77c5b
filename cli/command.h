/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of `inkan` as a table: noun, verb, operation of the core, options, columns. */
#ifndef INKAN_CLI_COMMAND_H
#define INKAN_CLI_COMMAND_H

#include <jansson.h>
#include <openssl/evp.h>
#include <stdbool.h>

#include "base/err.h"
#include "cli/admin_client.h"
#include "cli/output.h"

/* Exit codes of every command. */
enum exit_code { EXIT_DONE = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_NOT_PROVEN = 3 };

enum option_kind {
    OPT_FLAG,     /* member: true; no member: for the command's own function */
    OPT_TEXT,
    OPT_NUMBER,
    OPT_DURATION, /* 30s, 15m, 12h, 7d, 25y: seconds */
    OPT_DER,      /* a PEM or DER file: base64 of the DER */
    OPT_OWN,      /* text for the command's own function, not sent */
};

struct option_spec {
    const char *name; /* "reason", used as --reason */
    const char *meta; /* "R" in the help; NULL for flags */
    enum option_kind kind;
    const char *member; /* of args; NULL with OPT_OWN and flags of the command's own */
    const char *help;
    bool from_now; /* OPT_DURATION: sent as UTC seconds, that long from now */
};

struct run; /* one invocation */

struct command {
    const char *noun, *verb; /* verb NULL: the noun alone */
    const char *op;          /* operation of the core, NULL: only `run` */
    const char *help;        /* one line */
    /* "device_id", "FILE:cert" (a PEM or DER file), "FILE:file" (its content goes with the request), NULL: none; a leading ?
     * makes it optional */
    const char *positional;
    const struct option_spec *options;
    const struct column *columns; /* of rows, NULL: prints the result object */
    const char *empty;            /* said when there is no row */
    const char *confirm;          /* question for a destructive command, NULL: harmless */
    int (*run)(struct run *r);    /* instead of the plain call */
};

struct run {
    const struct command *command;
    const char *socket_path;
    const char *url, *ca;    /* over the network, NULL: the local socket */
    const char *as, *key;    /* certificate and key of the operator, NULL: nothing is signed */
    struct identity *identity;
    bool json, yes;
    json_t *args;           /* built from the options */
    const char *positional; /* as given, or NULL */
    struct {
        const char *name, *value;
    } own[32]; /* OPT_OWN values and own flags (value "") */
    size_t own_n;
    int file;               /* goes with one operation; -1: none */
    const char *file_op;    /* that operation; NULL: the command's own */
    struct admin_client *client; /* connected on first use */
    struct admin_remote *remote; /* in its place, over the network */
    char node[65];               /* of the service, asked for once when requests are signed */
};

/* NULL when the option was not given. */
const char *run_option(const struct run *r, const char *name);
/* Connects on first use; one call with progress on a terminal. */
MUST_CHECK enum err_code run_call(struct run *r, const char *op, const json_t *args, admin_rows_fn rows, void *arg,
                                  json_t **result, int *fd, struct err *e);
/* The content of a file goes with the operation r->file_op from now on. */
MUST_CHECK enum err_code run_attach(struct run *r, const char *path, struct err *e);
/* The next call connects anew: the service went away. */
void run_disconnect(struct run *r);
/* A question on the terminal; true at once with --yes. */
bool run_ask(const struct run *r, const char *question);
/* Says "inkan: ..." on standard error and gives the exit code for it. */
int run_fail(const struct err *e);
/* The plain call: rows as a table, or the result as an object. */
int run_plain(struct run *r);
/* Reads a PEM ("label" block) or DER file into base64 for args. */
MUST_CHECK enum err_code der_file_base64(const char *path, const char *label, char **out, struct err *e);

/* A private key in PEM; asks for a passphrase on the terminal when it is encrypted. */
MUST_CHECK enum err_code private_key_file(const char *path, EVP_PKEY **out, struct err *e);

extern const struct command commands[];
extern const size_t commands_n;

/* Commands with functions of their own (cli/inkan_*.c). */
int command_init(struct run *r);
int command_cert_issue(struct run *r);
int command_station_add(struct run *r);
/* Calls, and writes the certificate it gets. */
int command_issue_and_write(struct run *r);
/* What a service gave as PEM, to --out or standard output: a certificate, with --chain those above it too; a CSR. The exit code. */
int write_issued(struct run *r, const json_t *result);
int write_request(struct run *r, const json_t *result);
int command_operator_add(struct run *r);
int command_operator_change(struct run *r);
int command_approval_show(struct run *r);
int command_approval_approve(struct run *r);
int command_record_signer(struct run *r);
int command_cert_show(struct run *r);
int command_cert_export(struct run *r);
int command_budget_grant(struct run *r);
int command_ca_request(struct run *r);
int command_ca_install(struct run *r);
int command_ca_sign(struct run *r);
int command_ca_show(struct run *r);
int command_device_import(struct run *r);
int command_device_count(struct run *r);
int command_device_export(struct run *r);
int command_fleet_action(struct run *r);
int command_fleet_undo(struct run *r);
int command_fleet_approve(struct run *r);
int command_fleet_follow(struct run *r);
/*
 * Shows the stored request r->args names, asks, and approves it as it was shown; *result is what came of it. `batch` not NULL: it must be
 * the run of that one. The exit code.
 */
int approve_stored(struct run *r, const char *batch, json_t **result);
int command_transfer_order(struct run *r);
int command_transfer_acceptance(struct run *r);
int command_crl_get(struct run *r);
int command_secret_add(struct run *r);
int command_kek_add(struct run *r);
int command_audit_verify(struct run *r);
int command_audit_export(struct run *r);
int command_audit_heads(struct run *r);
int command_order_create(struct run *r);
int command_order_sign(struct run *r);
int command_order_verify(struct run *r);
int command_order_verify_list(struct run *r);
int command_order_report(struct run *r);
int command_box_report(struct run *r);
int command_order_status(struct run *r);
int command_order_export(struct run *r);
int command_backup(struct run *r);
int command_restore(struct run *r);
int command_status(struct run *r);
int command_doctor(struct run *r);
int command_completion(struct run *r);

#endif
