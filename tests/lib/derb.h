/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DER for tests, written as text, so that a test shows what it sends and can write what no writer of ours would.
 *
 *     30{ 02{01} 0c{'Acme'} $name }
 *
 *   TT{ ... }   an element with the tag TT; its length is computed
 *   hex         octets as they are (so lengths can be wrong on purpose)
 *   'text'      octets of the text
 *   $name       the text of that variable, looked up in `vars`, last definition first
 *   *N{ ... }   the content N times (decimal)
 *
 * It shares no code with base/derw. Mistakes in the text abort the test program.
 */
#ifndef INKAN_TESTS_DERB_H
#define INKAN_TESTS_DERB_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DERB_VARS_MAX 128

/* Variables as "name=text". Later ones win, so a case overrides the base by appending. */
struct derb_vars {
    const char *def[DERB_VARS_MAX];
    size_t n;
};

static inline void derb_fail(const char *what, const char *at)
{
    fprintf(stderr, "derb: %s at \"%.40s\"\n", what, at);
    abort();
}

static inline void derb_set(struct derb_vars *v, const char *def)
{
    if (v->n == DERB_VARS_MAX || !strchr(def, '='))
        derb_fail("too many variables, or no '='", def);
    v->def[v->n++] = def;
}

static inline const char *derb_get(const struct derb_vars *v, const char *name, size_t len)
{
    for (size_t i = v->n; i-- > 0;)
        if (strncmp(v->def[i], name, len) == 0 && v->def[i][len] == '=')
            return v->def[i] + len + 1;
    derb_fail("unknown variable", name);
    return NULL;
}

struct derb_out {
    uint8_t *p;
    size_t len, max;
};

static inline void derb_put(struct derb_out *o, const void *p, size_t n)
{
    if (n > o->max - o->len)
        derb_fail("output full", "");
    memcpy(o->p + o->len, p, n);
    o->len += n;
}

static inline int derb_hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Puts the length in front of what stands from `start` on. */
static inline void derb_close(struct derb_out *o, size_t start)
{
    size_t n = o->len - start, octets = 0;
    uint8_t head[5];

    if (n < 0x80) {
        head[0] = (uint8_t)n;
    } else {
        while (n >> (8 * octets))
            octets++;
        head[0] = (uint8_t)(0x80 | octets);
        for (size_t i = 0; i < octets; i++)
            head[1 + i] = (uint8_t)(n >> (8 * (octets - 1 - i)));
    }
    derb_put(o, head, 1 + octets);
    memmove(o->p + start + 1 + octets, o->p + start, n);
    memcpy(o->p + start, head, 1 + octets);
}

static inline const char *derb_text(struct derb_out *o, const struct derb_vars *v, const char *s, int depth);

static inline const char *derb_repeat(struct derb_out *o, const struct derb_vars *v, const char *s, int depth)
{
    char *body;
    const char *end = s;
    unsigned long n = strtoul(s, &body, 10);

    if (*body != '{' || n == 0)
        derb_fail("*N{ expected", s);
    for (; n; n--)
        end = derb_text(o, v, body + 1, depth + 1);
    if (*end != '}')
        derb_fail("} expected", s);
    return end + 1;
}

static inline const char *derb_octet(struct derb_out *o, const struct derb_vars *v, const char *s, int depth)
{
    int high = derb_hex(s[0]), low = high < 0 ? -1 : derb_hex(s[1]);
    uint8_t octet;
    size_t start;

    if (low < 0)
        derb_fail("hex expected", s);
    octet = (uint8_t)(high << 4 | low);
    derb_put(o, &octet, 1);
    s += 2;
    if (*s != '{')
        return s;
    start = o->len;
    s = derb_text(o, v, s + 1, depth + 1);
    if (*s != '}')
        derb_fail("} expected", s);
    derb_close(o, start);
    return s + 1;
}

/* Until the end of the text or the '}' of this depth, which is not consumed. */
static inline const char *derb_text(struct derb_out *o, const struct derb_vars *v, const char *s, int depth)
{
    if (depth > 60)
        derb_fail("too deep", s);
    while (*s && *s != '}') {
        if (*s == ' ' || *s == '\n') {
            s++;
        } else if (*s == '\'') {
            const char *end = strchr(s + 1, '\'');
            if (!end)
                derb_fail("' expected", s);
            derb_put(o, s + 1, (size_t)(end - s - 1));
            s = end + 1;
        } else if (*s == '$') {
            size_t len = strspn(s + 1, "abcdefghijklmnopqrstuvwxyz_0123456789");
            if (*derb_text(o, v, derb_get(v, s + 1, len), depth + 1))
                derb_fail("} without { in", s);
            s += 1 + len;
        } else if (*s == '*') {
            s = derb_repeat(o, v, s + 1, depth);
        } else {
            s = derb_octet(o, v, s, depth);
        }
    }
    return s;
}

/* Writes the DER of `text` to `out`; returns its length. */
static inline size_t derb(uint8_t *out, size_t max, const struct derb_vars *v, const char *text)
{
    struct derb_out o = {out, 0, max};
    const char *end = derb_text(&o, v, text, 0);

    if (*end)
        derb_fail("} without {", end);
    return o.len;
}

#endif
