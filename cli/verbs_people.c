/* SPDX-License-Identifier: Apache-2.0 */
/* Commands about operators and about what waits for a second person. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "ca/signed_request.h"
#include "cli/command.h"

AUTO_TYPE(json_t, json_decref)

int command_operator_add(struct run *r)
{
    if (!json_object_get(r->args, "roles") || (!json_object_get(r->args, "csr") && !json_object_get(r->args, "user"))) {
        fprintf(stderr, "inkan operator add: needs --roles, and --csr, --user or both\n");
        return EXIT_USAGE;
    }
    return json_object_get(r->args, "csr") ? command_issue_and_write(r) : run_plain(r);
}

int command_operator_change(struct run *r)
{
    return json_object_get(r->args, "csr") ? command_issue_and_write(r) : run_plain(r);
}

/* What waits, and its digest by our own reckoning: whoever shows it might show something else. */
static enum err_code pending_get(struct run *r, json_t **shown, char digest[65], struct err *e)
{
    AUTO(json_t) *args = json_pack("{s:s}", "id", r->positional);
    const char *by, *op;
    json_t *what;
    uint8_t hash[32];
    json_int_t id;

    if (!args)
        return err_set(e, E_INVALID, "not UTF-8 text: %s", r->positional);
    if (run_call(r, "approval.show", args, NULL, NULL, shown, NULL, e) != E_OK)
        return e->code;
    if (json_unpack(*shown, "{s:I, s:s, s:s, s:o}", "id", &id, "by", &by, "op", &op, "args", &what) != 0)
        return err_set(e, E_INTERNAL, "the service does not say what waits");
    if (pending_digest((uint64_t)id, by, op, what, hash, e) != E_OK)
        return e->code;
    hex_encode(hash, sizeof(hash), digest);
    return E_OK;
}

static void print_what(FILE *f, const json_t *shown)
{
    const char *name;
    json_t *v;

    fprintf(f, "%s asks for: %s\n", SHOWN(json_string_value(json_object_get(shown, "by"))), SHOWN(json_string_value(json_object_get(shown, "op"))));
    json_object_foreach(json_object_get(shown, "args"), name, v)
    {
        AUTO(char) *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII); /* whole: it is what is signed */

        fprintf(f, "  %-16s %s\n", SHOWN(name), text ? text : "");
    }
}

int command_approval_show(struct run *r)
{
    AUTO(json_t) *shown = NULL;
    char digest[65];
    struct err e = {0};

    if (pending_get(r, &shown, digest, &e) != E_OK)
        return run_fail(&e);
    json_object_set_new(shown, "digest", json_string(digest));
    if (r->json)
        return print_object(shown, true) ? EXIT_DONE : EXIT_REFUSED;
    print_what(stdout, shown);
    printf("%s\n", digest);
    return EXIT_DONE;
}

int approve_stored(struct run *r, const char *batch, json_t **result)
{
    AUTO(json_t) *shown = NULL;
    char digest[65];
    const char *id;
    struct err e = {0};

    if (pending_get(r, &shown, digest, &e) != E_OK)
        return run_fail(&e);
    id = json_string_value(json_object_get(json_object_get(shown, "args"), "id"));
    if (batch && (strcmp(json_string_value(json_object_get(shown, "op")), "batch.run") != 0 || !id || strcmp(id, batch) != 0)) {
        err_set(&e, E_DENIED, "what the service shows is not of batch %s", batch);
        return run_fail(&e);
    }
    print_what(stderr, shown);
    if (!run_ask(r, "Approve this?"))
        return EXIT_REFUSED;
    json_object_set_new(r->args, "digest", json_string(digest));
    return run_call(r, "approval.approve", r->args, NULL, NULL, result, NULL, &e) == E_OK ? EXIT_DONE : run_fail(&e);
}

int command_approval_approve(struct run *r)
{
    AUTO(json_t) *result = NULL;
    int status = approve_stored(r, NULL, &result);

    if (status != EXIT_DONE)
        return status;
    /* What the command would have written for who asked. */
    if (json_object_get(result, "cert"))
        return write_issued(r, result);
    if (!r->json && json_object_get(result, "csr"))
        return write_request(r, result);
    return json_object_size(result) == 0 && !r->json ? EXIT_DONE : print_object(result, r->json) ? EXIT_DONE : EXIT_REFUSED;
}
