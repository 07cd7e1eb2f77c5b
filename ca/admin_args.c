/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/admin_args.h"

#include <string.h>

#include "base/bytes.h"

static bool is_printable(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return false;
    return true;
}

static bool is_hex(const char *s, size_t max)
{
    size_t n = strlen(s);

    return n >= 2 && n % 2 == 0 && n / 2 <= max && strspn(s, "0123456789abcdef") == n;
}

static enum err_code check_text(const struct admin_arg *a, const json_t *v, struct err *e)
{
    const char *s = json_string_value(v);

    if (!s || strlen(s) != json_string_length(v))
        return err_set(e, E_INVALID, "%s: not a text", a->name);
    switch (a->type) {
    case ARG_ID:
        if (!id_is_valid(s))
            return err_set(e, E_INVALID, "%s: 1 to 64 of [A-Za-z0-9._:-], not starting with . or -", a->name);
        break;
    case ARG_TEXT:
        if (!s[0] || strlen(s) > (size_t)a->max || !is_printable(s))
            return err_set(e, E_INVALID, "%s: 1 to %lld printable octets", a->name, (long long)a->max);
        break;
    case ARG_HEX:
        if (!is_hex(s, (size_t)a->max))
            return err_set(e, E_INVALID, "%s: lower-case hex of 1 to %lld octets", a->name, (long long)a->max);
        break;
    case ARG_BASE64:
        if (!s[0] || strlen(s) > (size_t)a->max)
            return err_set(e, E_INVALID, "%s: base64 of at most %lld characters", a->name, (long long)a->max);
        break;
    default:
        return err_set(e, E_INTERNAL, "%s: schema", a->name);
    }
    return E_OK;
}

static enum err_code check_value(const struct admin_arg *a, const json_t *v, struct err *e)
{
    switch (a->type) {
    case ARG_INT:
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > a->max)
            return err_set(e, E_INVALID, "%s: an integer from 0 to %lld", a->name, (long long)a->max);
        return E_OK;
    case ARG_LIST:
        if (!json_is_array(v) || json_array_size(v) > (size_t)a->max)
            return err_set(e, E_INVALID, "%s: an array of at most %lld objects", a->name, (long long)a->max);
        for (size_t i = 0; i < json_array_size(v); i++)
            if (!json_is_object(json_array_get(v, i)))
                return err_set(e, E_INVALID, "%s[%zu]: not an object", a->name, i);
        return E_OK;
    case ARG_OBJECT:
        if (!json_is_object(v) || json_dumpb(v, NULL, 0, JSON_COMPACT) > (size_t)a->max)
            return err_set(e, E_INVALID, "%s: an object of at most %lld octets", a->name, (long long)a->max);
        return E_OK;
    case ARG_BOOL:
        return json_is_boolean(v) ? E_OK : err_set(e, E_INVALID, "%s: true or false", a->name);
    case ARG_ID:
    case ARG_TEXT:
    case ARG_HEX:
    case ARG_BASE64:
    default:
        return check_text(a, v, e);
    }
}

enum err_code admin_args_check(const struct admin_arg *schema, const json_t *args, struct err *e)
{
    const char *name;
    json_t *v;

    if (!json_is_object(args))
        return err_set(e, E_INVALID, "arguments: not a JSON object");
    json_object_foreach((json_t *)args, name, v)
    {
        const struct admin_arg *a = schema;

        while (a->name && strcmp(a->name, name) != 0)
            a++;
        if (!a->name)
            return err_set(e, E_INVALID, "%.64s: no such argument", name);
        if (check_value(a, v, e) != E_OK)
            return e->code;
    }
    for (const struct admin_arg *a = schema; a->name; a++)
        if (a->required && !json_object_get(args, a->name))
            return err_set(e, E_INVALID, "%s: missing", a->name);
    return E_OK;
}

enum err_code admin_args_keep_no_secret(const struct admin_arg *schema, const json_t *args, struct err *e)
{
    for (; schema->name; schema++)
        if (schema->secret && json_object_get(args, schema->name))
            return err_set(e, E_INVALID, "%s: what is signed stays in the trail, so it holds no secret: leave it out, and the service makes one, or let root give it",
                           schema->name);
    return E_OK;
}
