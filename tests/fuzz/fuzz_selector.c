/* SPDX-License-Identifier: Apache-2.0 */
/* A selector as an operator's program sends it. What is accepted keeps the rules the ledger's questions are built on. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ca/selector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool rule)
{
    if (!rule)
        abort();
}

static void check_term(const struct selector *s, const struct selector_term *t)
{
    must((unsigned)t->field < SEL_FIELDS && (unsigned)t->op < SEL_OPS);
    must(t->text >= s->store && t->text + t->text_len < s->store + s->store_len && t->number >= 0 && t->end >= 0);
    must(t->serial_len <= SERIAL_MAX_LEN);
}

/* Every node is reached once: a tree, no deeper than recursion may go. Gives its terms. */
static size_t check_tree(const struct selector *s, size_t node, size_t depth)
{
    const struct selector_node *n = &s->node[node];

    must(node < s->node_n && depth <= s->node_n);
    if (n->kind == SEL_TERM) {
        must(n->term < s->term_n && n->about_cert != n->about_device);
        must(n->about_cert == selector_field_is_of_cert(s->term[n->term].field));
        return 1;
    }
    if (n->kind == SEL_NOT) {
        must(!n->about_cert);
        return check_tree(s, n->left, depth + 1);
    }
    must(n->kind == SEL_AND || n->kind == SEL_OR);
    return check_tree(s, n->left, depth + 1) + check_tree(s, n->right, depth + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct selector s;
    struct err e = {0};
    char *text = malloc(size + 1);

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (selector_read(text, 1700000000, &s, &e) == E_OK) {
        for (size_t i = 0; i < s.term_n; i++)
            check_term(&s, &s.term[i]);
        must(s.term_n >= 1 && check_tree(&s, s.root, 1) == s.term_n);
    } else {
        must(strstr(e.msg, "selector") != NULL);
    }
    free(text);
    return 0;
}
