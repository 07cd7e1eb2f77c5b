/* SPDX-License-Identifier: Apache-2.0 */
/* The arguments of an administration request: JSON against a schema with every type. What passes has only members of it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "ca/admin_args.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct admin_arg schema[] = {
    {"id", ARG_ID, true, 0}, {"text", ARG_TEXT, false, 20}, {"n", ARG_INT, false, 1000}, {"hex", ARG_HEX, false, 4},
    {"b64", ARG_BASE64, false, 16}, {"list", ARG_LIST, false, 2}, {NULL, ARG_ID, false, 0},
};

static const struct admin_arg *member(const char *name)
{
    for (const struct admin_arg *a = schema; a->name; a++)
        if (strcmp(a->name, name) == 0)
            return a;
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_error_t where;
    json_t *args = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, &where), *value;
    struct err e = {0};
    const char *name;

    if (!args)
        return 0;
    if (admin_args_check(schema, args, &e) == E_OK) {
        if (!json_is_object(args) || !json_is_string(json_object_get(args, "id")))
            abort();
        json_object_foreach(args, name, value) {
            const struct admin_arg *a = member(name);

            if (!a || (a->type == ARG_INT) != json_is_integer(value) || (a->type == ARG_LIST) != json_is_array(value))
                abort();
            if (json_is_integer(value) && (json_integer_value(value) < 0 || json_integer_value(value) > a->max))
                abort();
        }
    } else if (e.code == E_OK || e.msg[0] == '\0') {
        abort();
    }
    json_decref(args);
    return 0;
}
