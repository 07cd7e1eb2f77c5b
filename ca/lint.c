/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/lint.h"

#include <stdio.h>
#include <string.h>

#include "base/oid.h"
#include "ca/lint_int.h"

#define END_OF_2049 2524607999 /* 20491231235959Z, the last second of UTCTime */

void lint_hit(const struct lint_walk *w, unsigned rule)
{
    const struct lint_rule *broken = &w->rules[rule];
    size_t kept = w->out->n < LINT_FINDINGS_MAX ? w->out->n : LINT_FINDINGS_MAX;

    for (size_t i = 0; i < kept; i++)
        if (w->out->finding[i] == broken)
            return;
    if (kept < LINT_FINDINGS_MAX)
        w->out->finding[kept] = broken;
    w->out->n++;
}

struct der lint_reader(struct bytes in)
{
    struct der r;

    der_init(&r, in.p, in.len);
    return r;
}

bool lint_only(struct bytes value, uint8_t tag, struct der *content)
{
    struct der in = lint_reader(value);

    return der_take(&in, tag, content) && der_at_end(&in);
}

bool lint_time_is_in_its_form(uint8_t tag, time_t t)
{
    return tag == (t <= END_OF_2049 ? DER_UTC_TIME : DER_GENERALIZED_TIME);
}

static bool is_letter(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

bool lint_is_uri(struct bytes s)
{
    size_t i = 0;

    while (i < s.len && (is_letter(s.p[i]) || (i > 0 && (is_digit(s.p[i]) || (s.p[i] && strchr("+-.", s.p[i]))))))
        i++;
    if (i == 0 || i + 1 >= s.len || s.p[i] != ':')
        return false;
    for (i++; i < s.len; i++)
        if (!is_letter(s.p[i]) && !is_digit(s.p[i]) && (!s.p[i] || !strchr("-._~:/?#[]@!$&'()*+,;=%", s.p[i])))
            return false;
    return true;
}

bool lint_is_http_uri(struct bytes s)
{
    static const char scheme[] = "http://";
    const size_t n = sizeof scheme - 1;

    return s.len > n && memcmp(s.p, scheme, n) == 0 && s.p[n] != '/' && lint_is_uri(s);
}

void lint_signature(const struct lint_walk *w, const struct lint_sig_rules *r, struct der alg, enum sig_alg expected)
{
    static const struct {
        const struct bytes *oid;
        bool null_parameters;
    } algs[SIG_ALGS_COUNT] = {
        [SIG_RSA_SHA256] = {&OID_RSA_SHA256, true},
        [SIG_ECDSA_SHA256] = {&OID_ECDSA_SHA256, false},
        [SIG_ECDSA_SHA384] = {&OID_ECDSA_SHA384, false},
        [SIG_ED25519] = {&OID_ED25519, false},
    };
    struct bytes oid;

    if (!der_take_oid(&alg, &oid)) {
        lint_hit(w, r->form);
        return;
    }
    if ((unsigned)expected >= SIG_ALGS_COUNT || !algs[expected].oid || !bytes_equal(oid, *algs[expected].oid)) {
        lint_hit(w, r->algorithm);
        return;
    }
    if ((algs[expected].null_parameters && !der_take_null(&alg)) || !der_at_end(&alg))
        lint_hit(w, r->parameters);
}

bool lint_ext_take(const struct lint_walk *w, const struct lint_ext_rules *r, struct der *list, struct lint_ext *out)
{
    struct der ext, flag;

    *out = (struct lint_ext){0};
    if (!der_take(list, DER_SEQUENCE, &ext)) {
        lint_hit(w, r->form);
        return false;
    }
    if (!der_take_oid(&ext, &out->oid)) {
        lint_hit(w, r->form);
        return true;
    }
    if (der_peek(&ext, DER_BOOLEAN)) {
        struct bytes octets;

        if (!der_take(&ext, DER_BOOLEAN, &flag)) {
            lint_hit(w, r->form);
            return true;
        }
        octets = der_rest(&flag);
        if (octets.len != 1 || (octets.p[0] != 0x00 && octets.p[0] != 0xff)) {
            lint_hit(w, r->critical_true);
            return true;
        }
        out->critical = octets.p[0] == 0xff;
        if (!out->critical)
            lint_hit(w, r->critical_default);
    }
    if (!der_take_octets(&ext, &out->value) || !der_at_end(&ext)) {
        lint_hit(w, r->form);
        return true;
    }
    if (out->value.len == 0) {
        lint_hit(w, r->value_empty);
        return true;
    }
    out->present = true;
    return true;
}

void lint_aki(const struct lint_walk *w, const struct lint_aki_rules *r, const struct lint_ext *ext, struct bytes ski)
{
    struct der aki, id;

    if (ext->critical)
        lint_hit(w, r->critical);
    if (!lint_only(ext->value, DER_SEQUENCE, &aki)) {
        lint_hit(w, r->form);
        return;
    }
    if (!der_take(&aki, DER_CONTEXT(0), &id)) {
        lint_hit(w, r->form);
        return;
    }
    if (der_peek(&aki, DER_CONTEXT_CONSTRUCTED(1)) || der_peek(&aki, DER_CONTEXT(2))) {
        lint_hit(w, r->issuer_serial);
        return;
    }
    if (!der_at_end(&aki)) {
        lint_hit(w, r->form);
        return;
    }
    if (!bytes_equal(der_rest(&id), ski))
        lint_hit(w, r->key_id);
}

enum err_code lint_result(const struct lint_report *r, const char *object, struct err *e)
{
    char text[400];
    size_t at = 0, named = 0;

    if (r->n == 0)
        return E_OK;
    for (; named < r->n && named < LINT_FINDINGS_MAX; named++) {
        const struct lint_rule *f = r->finding[named];
        int n = snprintf(text + at, sizeof text - at, "%s%s (%s) %s", named ? "; " : "", f->id, f->clause, f->text);

        if (n < 0 || (size_t)n >= sizeof text - at) {
            text[at] = '\0';
            break;
        }
        at += (size_t)n;
    }
    if (named < r->n)
        return err_set(e, E_INTERNAL, "%s: lint: %s; and %zu more", object, text, r->n - named);
    return err_set(e, E_INTERNAL, "%s: lint: %s", object, text);
}
