/* SPDX-License-Identifier: Apache-2.0 */
/* What the three linters share: rule tables, and checks of the parts that certificates, CRLs and OCSP answers have in
 * common. */
#ifndef INKAN_CA_LINT_INT_H
#define INKAN_CA_LINT_INT_H

#include "base/der.h"
#include "ca/lint.h"

/* A rule list is a macro: X(NAME, "id", "clause", "text"). It becomes an enum R_NAME and a table in the same order. */
#define LINT_RULE_ENUM(name, id_, clause_, text_)  R_##name,
#define LINT_RULE_TABLE(name, id_, clause_, text_) [R_##name] = {.id = id_, .clause = clause_, .text = text_},

/* How far notBefore, thisUpdate and producedAt may lie behind the clock: twice what the writers put there. */
#define LINT_BACKDATE_MAX_S 600

struct lint_walk {
    const struct lint_rule *rules;
    struct lint_report *out;
};

/* Notes that `rule` is broken. A rule is listed once, however often the object breaks it. */
void lint_hit(const struct lint_walk *w, unsigned rule);

/* AlgorithmIdentifier of the signature (RFC 4055 5, 5758 3.2, 8410 3). At most one finding. */
struct lint_sig_rules {
    unsigned form, algorithm, parameters;
};
void lint_signature(const struct lint_walk *w, const struct lint_sig_rules *r, struct der alg, enum sig_alg expected);

/* One Extension (RFC 5280 4.1). */
struct lint_ext {
    bool present;
    struct bytes oid;
    bool critical;
    struct bytes value; /* content of the OCTET STRING */
};
struct lint_ext_rules {
    unsigned form, critical_true, critical_default, value_empty;
};
/*
 * Reads the next Extension of the list. false: the list itself is broken and cannot be followed further (`form` is
 * noted). A readable element that breaks a rule leaves out->present false: it was noted and is to be skipped.
 */
bool lint_ext_take(const struct lint_walk *w, const struct lint_ext_rules *r, struct der *list, struct lint_ext *out);

/* authorityKeyIdentifier: key identifier alone (RFC 5280 4.2.1.1, 5.2.1). At most one finding of the value. */
struct lint_aki_rules {
    unsigned critical, form, issuer_serial, key_id;
};
void lint_aki(const struct lint_walk *w, const struct lint_aki_rules *r, const struct lint_ext *ext, struct bytes ski);

/* UTCTime through 2049, GeneralizedTime from 2050 (RFC 5280 4.1.2.5). */
bool lint_time_is_in_its_form(uint8_t tag, time_t t);
/* An absolute URI with characters of RFC 3986 only. */
bool lint_is_uri(struct bytes s);
bool lint_is_http_uri(struct bytes s);
/* The single element of `value` with that tag and nothing behind it. */
bool lint_only(struct bytes value, uint8_t tag, struct der *content);
struct der lint_reader(struct bytes in);

#endif
