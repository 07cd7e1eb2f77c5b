/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The selector language over the inventory (docs/fleet.md): which devices, or which certificates.
 *
 *   selector  =  all-of { "or" all-of }
 *   all-of    =  one { "and" one }
 *   one       =  "not" one  |  "(" selector ")"  |  FIELD OP VALUE  |  FIELD "in" "(" VALUE { "," VALUE } ")"
 *   OP        =  "=" "!=" "<" "<=" ">" ">=" "~"
 *   VALUE     =  a word of letters, digits and . _ : - + / @ *, or anything in '' or ""
 *
 * Pure: text in, a tree of checked terms out; nothing is pasted into anything. ca/store/select.h makes the question to
 * the ledger of it. Any thread.
 */
#ifndef INKAN_CA_SELECTOR_H
#define INKAN_CA_SELECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"

#define SELECTOR_MAX_LEN   4096
#define SELECTOR_TERMS_MAX 64
#define SELECTOR_DEPTH_MAX 32 /* of parentheses and nots */

enum selector_field {
    /* of the device */
    SEL_DEVICE, SEL_DOMAIN, SEL_ORDER, SEL_PRODUCT, SEL_MODEL, SEL_LOT, SEL_LINE, SEL_STATION, SEL_FIRMWARE, SEL_STATE,
    SEL_DECLARED, SEL_ENROLLED,
    /* of a certificate */
    SEL_ISSUER, SEL_PROFILE, SEL_SERIAL, SEL_SUBJECT, SEL_CERT_STATUS, SEL_ISSUED, SEL_EXPIRES, SEL_KEY_ALG, SEL_CURRENT,
    SEL_FIELDS
};

enum selector_op { SEL_EQ, SEL_NE, SEL_LT, SEL_LE, SEL_GT, SEL_GE, SEL_HAS, SEL_OPS };

struct selector_term {
    enum selector_field field;
    enum selector_op op;
    const char *text;       /* into the selector's own store; of a state, a status or an algorithm its name */
    size_t text_len;
    bool prefix;            /* the value ended with *: `text` is what stands before it */
    bool never;             /* a time: never (of `enrolled`, `expires`) */
    int64_t number;         /* state, status, algorithm, yes; of a time its first second */
    int64_t end;            /* of a time the second after the day, the minute or the second it names */
    uint8_t serial[SERIAL_MAX_LEN];
    uint8_t serial_len;
    size_t column;          /* where the term starts in the text, from 1 */
};

enum selector_kind { SEL_TERM, SEL_AND, SEL_OR, SEL_NOT };

struct selector_node {
    enum selector_kind kind;
    size_t term;            /* SEL_TERM */
    size_t left, right;     /* nodes; SEL_NOT has `left` alone */
    bool about_cert;        /* every term below is about a certificate, and there is no SEL_NOT */
    bool about_device;      /* every term below is about the device */
};

struct selector {
    struct selector_term term[SELECTOR_TERMS_MAX];
    size_t term_n;
    struct selector_node node[SELECTOR_TERMS_MAX * 4];
    size_t node_n, root;
    char store[SELECTOR_MAX_LEN + SELECTOR_TERMS_MAX];
    size_t store_len;
};

/*
 * Reads `text`; `now` (UTC seconds) is what "now" and "-7d" mean. E_INVALID: a mistake, and the message names its column.
 * `out` is large (some 20 KiB) and points into itself: it stays where it is.
 */
MUST_CHECK enum err_code selector_read(const char *text, int64_t now, struct selector *out, struct err *e);

const char *selector_field_name(enum selector_field f);
bool selector_field_from_name(const char *s, size_t len, enum selector_field *out);
bool selector_field_is_of_cert(enum selector_field f);

/*
 * Versions as people mean them: digits by their number, everything else by octets, a longer one after its own beginning:
 * 1.9 < 1.10 < 1.10.1. Below zero, zero or above, as memcmp.
 */
int version_compare(const char *a, size_t a_len, const char *b, size_t b_len);

#endif
