/* SPDX-License-Identifier: Apache-2.0 */
/* The schema of an administration request: unknown members, wrong types and values out of range are refused by name. */
#ifndef INKAN_CA_ADMIN_ARGS_H
#define INKAN_CA_ADMIN_ARGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum admin_arg_type {
    ARG_ID,     /* a name: id_is_valid */
    ARG_TEXT,   /* printable text, 1 .. max octets */
    ARG_INT,    /* 0 .. max */
    ARG_HEX,    /* octets in lower-case hex, at most max octets */
    ARG_BASE64, /* at most max characters */
    ARG_LIST,   /* an array of at most max objects, checked by the handler */
    ARG_OBJECT, /* an object, of at most max octets when written compactly */
    ARG_BOOL,
};

struct admin_arg {
    const char *name;
    enum admin_arg_type type;
    bool required;
    int64_t max;
    bool secret; /* never in a signed request: that stays in the trail */
};

/* `args` must be an object holding only members of the schema, each of its type, and all that are required. */
MUST_CHECK enum err_code admin_args_check(const struct admin_arg *schema, const json_t *args, struct err *e);
/* E_INVALID names an argument that a signed request must not hold. */
MUST_CHECK enum err_code admin_args_keep_no_secret(const struct admin_arg *schema, const json_t *args, struct err *e);

#endif
