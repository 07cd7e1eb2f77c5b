/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an issuance budget says, and the file in the second place that remembers what was drawn from it (docs/linebox.md).
 * Nothing of the core: used by it, and by whoever checks a budget without it.
 */
#ifndef INKAN_CA_BUDGET_SPEC_H
#define INKAN_CA_BUDGET_SPEC_H

#include "base/bytes.h"
#include "base/limits.h"

#define BUDGET_TYP      "inkan-budget" /* of the JWS */
#define BUDGET_FILE_MAX 8192           /* octets of the JWS */
#define BUDGET_EVERY    "*"            /* scope: units of every order, and of none */
#define BUDGET_UNITS_MAX 1000000000

struct budget {
    char box[ID_MAX_LEN + 1];
    char scope[ORDER_NO_MAX + 1]; /* an order, or BUDGET_EVERY */
    uint64_t number;              /* of this box, rising; of one scope the highest counts */
    uint64_t units;
    int64_t until, issued_at;     /* UTC seconds */
};

bool budget_scope_is_valid(const char *s);

/* The payload of the JWS, canonical JSON: {"box","issued_at","number","order","units","until"}. */
void budget_write(const struct budget *in, struct buf *out);
/* E_INVALID names the member: missing, unknown, twice, of another type or out of range. */
MUST_CHECK enum err_code budget_read(struct bytes json, struct budget *out, struct err *e);

/*
 * DIR/budget: "budget SCOPE NUMBER DRAWN", one line a scope, and "time T". DRAWN is never below what was spent: it is written
 * before the commit that spends, in steps, so a core that ended without writing its last word counts the rest of the step as
 * spent. Scopes are kept in `mark`, which grows.
 */
struct budget_mark {
    char scope[ORDER_NO_MAX + 1];
    uint64_t number, drawn;
};
struct budget_marks {
    struct budget_mark *mark;
    size_t n;
    int64_t time; /* the newest at which something was drawn */
    bool exists;  /* there was a file */
};
void budget_marks_clear(struct budget_marks *m);
struct budget_mark *budget_mark_find(const struct budget_marks *m, const char *scope); /* NULL: none */
/* Adds or replaces a scope's line. */
MUST_CHECK enum err_code budget_mark_set(struct budget_marks *m, const char *scope, uint64_t number, uint64_t drawn, struct err *e);
/* No file: E_OK and exists false. E_INVALID: not such a file, incomplete, or damaged. */
MUST_CHECK enum err_code budget_marks_read(const char *dir, struct budget_marks *out, struct err *e);
MUST_CHECK enum err_code budget_marks_write(const char *dir, const struct budget_marks *in, struct err *e); /* atomic, durable */

#endif
