/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The description of the interface for programs (OpenAPI 3.1), written from the tables that the core itself goes by: operations and
 * their arguments (admin_ops.c), who may (permission.c). What an operation answers stands here.
 */
#include <stdio.h>
#include <string.h>

#include "ca/admin_api.h"
#include "ca/people.h"

/*
 * "name:type" with a blank between them; s text, i integer, b boolean, a list, o object; ? after the type: not always there.
 * `rows`: each row is such an object; else the result is. What is not listed is an object whose members depend on the request.
 */
static const struct answer {
    const char *op;
    bool rows;
    const char *members;
} answers[] = {
    {"status", false, "ready:b sealed:b why:s seq:i time:i waiting:i processes:a cas:a crls:a audit:o requests:o captures:o version:s"},
    {"doctor", true, "check:s state:s text:s remedy:s"},
    {"token.list", true, "name:s label:s module:s offline:b state:s"},
    {"token.info", false, "label:s serial:s model:s manufacturer:s firmware:s initialised:b pin_state:s"},
    {"key.list", true, "name:s token:s purpose:s algorithm:s cka_id:s spki_sha256:s spki:s created_at:i on_token:s"},
    {"key.generate", false, "name:s cka_id:s spki:s"},
    {"ca.list", true, "name:s issuer:s subject:s not_before:i not_after:i key:s token:s offline:b ready:b certs:i"},
    {"ca.show", false, "name:s issuer:s subject:s not_before:i not_after:i key:s token:s offline:b ready:b sha256:s cert:s"},
    {"profile.list", true, "name:s kind:s ca:s hash:s"},
    {"profile.show", false, "name:s kind:s hash:s"},
    {"domain.list", true, "name:s devices:i anchors:a labels:a"},
    {"domain.show", false, "name:s devices:i anchors:a labels:a"},
    {"device.add", false, "domain:s device_id:s unit:i"},
    {"device.import", false, "added:i existing:i"},
    {"device.list", true, "domain:s device_id:s state:s product:s model:s lot:s order:s station:s line:s firmware:s declared_at:i enrolled_at:i unit:i"},
    {"device.show", false, "domain:s device_id:s state:s product:s model:s lot:s declared_at:i enrolled_at:i unit:i certs:a"},
    {"secret.add", false, "user:s secret:s"},
    {"secret.list", true, "user:s kind:s domain:s profile:s device_id:s pattern:s quota:i used:i not_after:i state:s"},
    {"cert.issue", false, "cert:s chain:a serial:s issuer:s not_after:i repeat:b"},
    {"cert.list", true, "issuer:s serial:s profile:s device_id:s domain:s status:s reason:s not_before:i not_after:i"},
    {"cert.show", false, "issuer:s serial:s profile:s status:s reason:s status_at:i seq:i not_after:i der:s pem:s subject:s"},
    {"cert.revoke", false, "status:s seq:i changed:b"},
    {"cert.hold", false, "status:s seq:i changed:b"},
    {"cert.release", false, "status:s seq:i changed:b"},
    {"crl.list", true, "issuer:s shard:i number:i this_update:i next_update:i entries:i size:i"},
    {"crl.publish", false, "published:a"},
    {"crl.get", false, "number:i"},
    {"ocsp.list", true, "issuer:s not_after:i renew_at:i token:s key:s"},
    {"gateway.list", true, "name:s serial:s seen_at:i server:s applied_seq:i applied_at:i in_force_at:i"},
    {"record.signer", false, "cert:s chain:a serial:s issuer:s not_after:i"},
    {"audit.export", true,
     "seq:i time:i event:s actor:s actor_kind:s domain:s object:s detail:s request_digest:s prev_hash:s hash:s signature:s? approvals:s?"},
    {"alarm.list", true, "id:i kind:s state:s domain:s object:s text:s raised_at:i acked_at:i acked_by:s note:s cleared_at:i ends_by_itself:b"},
    {"alarm.show", false, "id:i kind:s state:s domain:s object:s text:s raised_at:i acked_at:i acked_by:s note:s cleared_at:i ends_by_itself:b"},
    {"alarm.ack", false, "id:i kind:s state:s domain:s object:s text:s raised_at:i acked_at:i acked_by:s note:s cleared_at:i ends_by_itself:b"},
    {"audit.heads", true, "seq:i time:i hash:s key:s tbs:s signature:s"},
    {"operator.add", false, "name:s roles:s user:s added_at:i ended_at:i cert:s? chain:a? serial:s?"},
    {"operator.change", false, "name:s roles:s user:s added_at:i ended_at:i cert:s? chain:a? serial:s?"},
    {"operator.end", false, "name:s revoked:i"},
    {"operator.list", true, "name:s roles:s user:s added_at:i ended_at:i"},
    {"operator.show", false, "name:s roles:s user:s added_at:i ended_at:i certs:a"},
    {"approval.list", true, "id:i state:s op:s by:s created_at:i expires_at:i second:s decided_at:i outcome:s"},
    {"approval.show", false, "id:i state:s op:s by:s created_at:i expires_at:i second:s decided_at:i outcome:s args:o digest:s"},
    {"approval.refuse", false, "id:i state:s"},
};

static const char *const about =
    "Every request is signed by an operator: a compact JWS (RFC 7515) of type inkan-request+jws, alg ES256, ES384 or EdDSA, kid the first 32 "
    "hex digits of the SHA-256 over the key's SubjectPublicKeyInfo, x5t#S256 of the operator's certificate; its payload is schema Request. "
    "docs/people.md says what makes one count. TLS 1.3 with a certificate of the same CA is needed to get this far, and proves nothing more.";

static json_t *text(const char *s)
{
    return json_pack("{s:s, s:s}", "type", "string", "description", s);
}

static json_t *pattern(const char *s)
{
    return json_pack("{s:s, s:s}", "type", "string", "pattern", s);
}

static json_t *arg_schema(const struct admin_arg *a)
{
    char regex[64];

    switch (a->type) {
    case ARG_ID:
        return pattern("^[A-Za-z0-9_:][A-Za-z0-9._:-]{0,63}$");
    case ARG_TEXT:
        return json_pack("{s:s, s:i, s:I}", "type", "string", "minLength", 1, "maxLength", (json_int_t)a->max);
    case ARG_INT:
        return json_pack("{s:s, s:i, s:I}", "type", "integer", "minimum", 0, "maximum", (json_int_t)a->max);
    case ARG_HEX:
        snprintf(regex, sizeof(regex), "^([0-9a-f]{2}){1,%lld}$", (long long)a->max);
        return pattern(regex);
    case ARG_BASE64:
        return json_pack("{s:s, s:s, s:i, s:I}", "type", "string", "contentEncoding", "base64", "minLength", 1, "maxLength", (json_int_t)a->max);
    case ARG_LIST:
        return json_pack("{s:s, s:I, s:{s:s}}", "type", "array", "maxItems", (json_int_t)a->max, "items", "type", "object");
    case ARG_OBJECT:
        return json_pack("{s:s}", "type", "object");
    case ARG_BOOL:
        return json_pack("{s:s}", "type", "boolean");
    default:
        return json_object();
    }
}

static json_t *args_schema(const struct admin_op *op)
{
    json_t *properties = json_object(), *required = json_array();

    for (const struct admin_arg *a = op->args; a->name; a++) {
        json_object_set_new(properties, a->name, arg_schema(a));
        if (a->required)
            json_array_append_new(required, json_string(a->name));
    }
    return json_pack("{s:s, s:b, s:o, s:o}", "type", "object", "additionalProperties", 0, "properties", properties, "required", required);
}

static const struct answer *answer_of(const char *op)
{
    for (size_t i = 0; i < ARRAY_LEN(answers); i++)
        if (strcmp(answers[i].op, op) == 0)
            return &answers[i];
    return NULL;
}

static const char *type_name(char c)
{
    return c == 's' ? "string" : c == 'i' ? "integer" : c == 'b' ? "boolean" : c == 'a' ? "array" : "object";
}

static json_t *answer_schema(const struct answer *a)
{
    json_t *properties = json_object(), *required = json_array();

    for (const char *at = a->members; *at;) {
        size_t n = strcspn(at, ":"), len = strcspn(at, " ");
        char name[64];

        snprintf(name, sizeof(name), "%.*s", (int)n, at);
        json_object_set_new(properties, name, json_pack("{s:s}", "type", type_name(at[n + 1])));
        if (at[len - 1] != '?')
            json_array_append_new(required, json_string(name));
        at += len + (at[len] == ' ');
    }
    return json_pack("{s:s, s:o, s:o}", "type", "object", "properties", properties, "required", required);
}

static json_t *ref(const char *kind, const char *op)
{
    char path[128];

    snprintf(path, sizeof(path), "#/components/schemas/%s%s", kind, op);
    return json_pack("{s:s}", "$ref", path);
}

/* What every request holds. */
static json_t *base_schema(void)
{
    return json_pack("{s:s, s:b, s:{s:o, s:{s:s}, s:{s:s}, s:o, s:{s:s}, s:{s:s}, s:o}, s:[s, s, s, s, s, s]}", "type", "object",
                     "additionalProperties", 0, "properties", "node", pattern("^[0-9a-f]{32}(-[0-9]+)?$"), "op", "type", "string", "args", "type",
                     "object", "nonce", pattern("^[0-9a-f]{32}$"), "iat", "type", "integer", "exp", "type", "integer", "file_sha256",
                     pattern("^[0-9a-f]{64}$"), "required", "node", "op", "args", "nonce", "iat", "exp");
}

static json_t *request_schema(const struct admin_op *op)
{
    json_t *j = json_pack("{s:[o], s:{s:{s:s}, s:o}}", "allOf", ref("", "RequestBase"), "properties", "op", "const", op->name, "args",
                          ref("args.", op->name));

    if (j && op->takes_file)
        json_object_set_new(j, "required", json_pack("[s]", "file_sha256"));
    return j;
}

static json_t *roles_json(unsigned roles)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < ROLES; i++)
        if (roles & ROLE_BIT(i))
            json_array_append_new(list, json_string(role_name((enum role)i)));
    return list;
}

/* Who may, and which schemas say what goes in and comes out. */
static json_t *operation_json(const struct admin_op *op, const struct permission *p, const struct answer *a)
{
    json_t *j = json_pack("{s:o, s:b, s:b, s:o, s:o}", "roles", roles_json(p->roles), "changes", op->changes, "two_persons", p->two_persons, "request",
                          ref("request.", op->name), "args", ref("args.", op->name));

    if (op->takes_file)
        json_object_set_new(j, "file", json_true());
    if (a)
        json_object_set_new(j, a->rows ? "row" : "done", ref("answer.", op->name));
    return j;
}

static json_t *lines_schema(void)
{
    return json_pack("{s:s, s:[{s:s, s:{s:{s:s}}, s:[s]}, {s:s, s:{s:o}, s:[s]}, {s:s, s:{s:{s:s, s:{s:{s:s}, s:{s:s}, s:{s:s}}}}, s:[s]}, "
                     "{s:s, s:{s:{s:s}}, s:[s]}, {s:s, s:{s:o}, s:[s]}]}",
                     "description", "one line of an answer: rows, pieces of a file and progress as they come, then done or error, once and last",
                     "oneOf", "type", "object", "properties", "row", "type", "object", "required", "row", "type", "object", "properties", "file",
                     text("base64 of the next piece of the file"), "required", "file", "type", "object", "properties", "progress", "type", "object",
                     "properties", "done", "type", "integer", "total", "type", "integer", "what", "type", "string", "required", "progress", "type",
                     "object", "properties", "done", "type", "object", "required", "done", "type", "object", "properties", "error", ref("", "Error"),
                     "required", "error");
}

static json_t *error_schema(void)
{
    json_t *codes = json_array();

    for (int i = 1; i < ERR_CODES_COUNT; i++)
        json_array_append_new(codes, json_string(err_code_name((enum err_code)i)));
    return json_pack("{s:s, s:{s:{s:s, s:o}, s:o, s:{s:s, s:s}}, s:[s, s]}", "type", "object", "properties", "code", "type", "string", "enum", codes,
                     "text", text("for people"), "result", "type", "object", "description",
                     "with code pending: what there is already, as the number of the request that waits for a second person", "required", "code",
                     "text");
}

static json_t *answer_json(const char *description)
{
    return json_pack("{s:s, s:{s:{s:o}}}", "description", description, "content", "application/x-ndjson", "schema", ref("", "Line"));
}

static json_t *responses_json(void)
{
    static const struct {
        const char *status, *description;
    } all[] = {
        {"200", "lines; the last is done, or error where something failed after the first row"},
        {"202", "error with code pending: it waits, as for a second person"},
        {"400", "error: it cannot be read, or breaks a rule"},
        {"403", "error: not this person, or not this request"},
        {"404", "error: there is no such thing, or no such path"},
        {"405", "error: another method is needed here"},
        {"409", "error: something else is in the way"},
        {"413", "error: the request is too large"},
        {"415", "error: another media type is needed"},
        {"429", "error: too much at once"},
        {"500", "error: a fault of the service"},
        {"503", "error: the service cannot do it now"},
    };
    json_t *j = json_object();

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        json_object_set_new(j, all[i].status, answer_json(all[i].description));
    return j;
}

static json_t *paths_json(void)
{
    json_t *body = json_pack("{s:b, s:{s:{s:o}, s:{s:{s:s, s:b, s:{s:o, s:o}, s:[s, s]}}}}", "required", 1, "content", "application/jose", "schema",
                             text("the request: a compact JWS whose payload is schema Request"), "application/json", "schema", "type", "object",
                             "additionalProperties", 0, "properties", "request", text("the same"), "file",
                             text("base64 of the file that goes with it, at most 8 MiB"), "required", "request", "file");
    json_t *node = json_pack("{s:s, s:s, s:{s:{s:s, s:{s:{s:{s:s, s:{s:{s:s, s:{s:{s:s}}, s:[s]}}, s:[s]}}}}}}", "operationId", "node", "summary",
                             "what a signed request names as node", "responses", "200", "description", "one line", "content",
                             "application/x-ndjson", "schema", "type", "object", "properties", "done", "type", "object", "properties", "node", "type",
                             "string", "required", "node", "required", "done");
    json_t *admin = json_pack("{s:s, s:s, s:o, s:o}", "operationId", "admin", "summary", "one operation; x-operations names them all", "requestBody",
                              body, "responses", responses_json());

    return json_pack("{s:{s:o}, s:{s:o}}", "/v1/node", "get", node, "/v1/admin", "post", admin);
}

static json_t *document(void)
{
    json_t *schemas = json_object(), *operations = json_object(), *any = json_array();

    for (size_t i = 0; i < admin_ops_n; i++) {
        const struct admin_op *op = &admin_ops[i];
        const struct permission *p = permission_of(op->name);
        const struct answer *a = answer_of(op->name);
        char name[96];

        if (!p || p->local)
            continue;
        snprintf(name, sizeof(name), "args.%s", op->name);
        json_object_set_new(schemas, name, args_schema(op));
        snprintf(name, sizeof(name), "request.%s", op->name);
        json_object_set_new(schemas, name, request_schema(op));
        json_array_append_new(any, ref("request.", op->name));
        if (a) {
            snprintf(name, sizeof(name), "answer.%s", op->name);
            json_object_set_new(schemas, name, answer_schema(a));
        }
        json_object_set_new(operations, op->name, operation_json(op, p, a));
    }
    json_object_set_new(schemas, "RequestBase", base_schema());
    json_object_set_new(schemas, "Request", json_pack("{s:o}", "oneOf", any));
    json_object_set_new(schemas, "Line", lines_schema());
    json_object_set_new(schemas, "Error", error_schema());
    return json_pack("{s:s, s:{s:s, s:s, s:s}, s:[{s:s}], s:o, s:o, s:{s:o}}", "openapi", "3.1.0", "info", "title", "Inkan administration", "version",
                     INKAN_VERSION, "description", about, "servers", "url", "https://localhost:8444", "paths", paths_json(), "x-operations", operations,
                     "components", "schemas", schemas);
}

/* ---- as YAML: block style, every text in double quotes, which JSON and YAML write alike ---- */

static void put_value(struct buf *out, const json_t *v, unsigned depth);

static void put_indent(struct buf *out, unsigned depth)
{
    for (unsigned i = 0; i < depth; i++)
        buf_add_str(out, "  ");
}

static bool is_empty(const json_t *v)
{
    return (json_is_object(v) && json_object_size(v) == 0) || (json_is_array(v) && json_array_size(v) == 0);
}

static void put_scalar(struct buf *out, const json_t *v)
{
    AUTO(char) *one = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);

    buf_add_str(out, one ? one : "null");
    buf_add_str(out, "\n");
}

/* After "key:" or "-". */
static void put_after(struct buf *out, const json_t *v, unsigned depth)
{
    if ((json_is_object(v) || json_is_array(v)) && !is_empty(v)) {
        buf_add_str(out, "\n");
        put_value(out, v, depth);
        return;
    }
    buf_add_str(out, " ");
    put_scalar(out, v);
}

static void put_value(struct buf *out, const json_t *v, unsigned depth)
{
    const char *name;
    json_t *one;
    size_t i;

    json_object_foreach((json_t *)v, name, one)
    {
        put_indent(out, depth);
        buf_printf(out, "\"%s\":", name);
        put_after(out, one, depth + 1);
    }
    json_array_foreach(v, i, one)
    {
        put_indent(out, depth);
        buf_add_str(out, "-");
        put_after(out, one, depth + 1);
    }
}

enum err_code admin_api_write(struct buf *out, struct err *e)
{
    AUTO_JSON *all = document();

    buf_add_str(out, "# SPDX-License-Identifier: Apache-2.0\n"
                     "# Administration over the network (docs/people.md). Written by `inkan-core --openapi` from the core's own tables.\n");
    if (!all)
        return err_set(e, E_INTERNAL, "the description cannot be built");
    put_value(out, all, 0);
    return buf_ok(out) ? E_OK : err_set(e, E_NOMEM, "the description");
}
