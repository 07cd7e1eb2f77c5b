/* SPDX-License-Identifier: Apache-2.0 */
/* The answer of EST serverkeygen (RFC 7030 4.4.2): a key and its certificate, two parts of one body. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "enroll/client/station_int.h"

#define BOUNDARY_MAX 70 /* RFC 2046 5.1.1 */
#define CLEAR        "application/pkcs8"
#define WRAPPED      "application/pkcs7-mime; smime-type=server-generated-key"
#define CERTS_ONLY   "application/pkcs7-mime; smime-type=certs-only"

struct text {
    const char *p;
    size_t len;
};

/* "--" and the boundary that `type` names, in `out`. */
static bool delimiter(const char *type, char out[BOUNDARY_MAX + 3])
{
    static const char multipart[] = "multipart/mixed";
    const char *p = type + sizeof multipart - 1;
    size_t n;
    bool quoted;

    if (strncasecmp(type, multipart, sizeof multipart - 1) != 0)
        return false;
    p += strspn(p, "; \t");
    if (strncasecmp(p, "boundary=", 9) != 0)
        return false;
    p += 9;
    quoted = *p == '"';
    p += quoted;
    n = strcspn(p, quoted ? "\"" : "; \t");
    if (n == 0 || n > BOUNDARY_MAX)
        return false;
    snprintf(out, BOUNDARY_MAX + 3, "--%.*s", (int)n, p);
    return true;
}

/* What stands before `mark`; `rest` goes on behind it. */
static bool take_until(struct text *rest, const char *mark, struct text *out)
{
    const char *at = memmem(rest->p, rest->len, mark, strlen(mark));

    if (!at)
        return false;
    *out = (struct text){rest->p, (size_t)(at - rest->p)};
    rest->len -= out->len + strlen(mark);
    rest->p = at + strlen(mark);
    return true;
}

static bool is(const struct text *t, const char *s)
{
    return t->len == strlen(s) && strncasecmp(t->p, s, t->len) == 0;
}

/* One part: its type, and what its base64 says. */
static bool part_read(struct text *rest, const char *mark, char type[128], struct data *out)
{
    struct text head, line, name, content;
    bool is_base64 = false;

    type[0] = '\0';
    if (!take_until(rest, "\r\n\r\n", &head))
        return false;
    head.len += 2; /* the last line's end belongs to it too */
    while (head.len) {
        if (!take_until(&head, "\r\n", &line) || !take_until(&line, ": ", &name))
            return false;
        if (is(&name, "Content-Type") && line.len < 128)
            snprintf(type, 128, "%.*s", (int)line.len, line.p);
        is_base64 = is_base64 || (is(&name, "Content-Transfer-Encoding") && is(&line, "base64"));
    }
    return is_base64 && take_until(rest, mark, &content) && data_from_base64(content.p, content.len, out);
}

bool parcel_read(const char *type, const char *body, size_t len, struct parcel *out)
{
    struct text rest = {body, len}, before;
    char first[BOUNDARY_MAX + 3], mark[BOUNDARY_MAX + 5], key_type[128], certs_type[128];

    *out = (struct parcel){0};
    if (!delimiter(type, first))
        return false;
    snprintf(mark, sizeof mark, "\r\n%s", first);
    if (take_until(&rest, first, &before) && before.len == 0 && take_until(&rest, "\r\n", &before) && before.len == 0 &&
        part_read(&rest, mark, key_type, &out->key) && take_until(&rest, "\r\n", &before) && before.len == 0 &&
        part_read(&rest, mark, certs_type, &out->certs) && rest.len >= 2 && strncmp(rest.p, "--", 2) == 0 &&
        strcasecmp(certs_type, CERTS_ONLY) == 0) {
        out->is_wrapped = strcasecmp(key_type, WRAPPED) == 0;
        if (out->is_wrapped || strcasecmp(key_type, CLEAR) == 0)
            return true;
    }
    parcel_clear(out);
    return false;
}

void parcel_clear(struct parcel *p)
{
    data_clear(&p->key);
    data_clear(&p->certs);
}
