/* SPDX-License-Identifier: Apache-2.0 */
/* High-water marks: a small text file in a second place that shows when a ledger was set back. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "ca/audit.h"

#define MARKS_FILE    "marks"
#define MARKS_FIRST   "inkan-marks 1"
#define MARKS_LAST    "end"
#define MARKS_MAX_LEN (64 * 1024)

static enum err_code marks_path(const char *dir_marks, char *path, size_t size, struct err *e)
{
    if ((size_t)snprintf(path, size, "%s/%s", dir_marks, MARKS_FILE) >= size)
        return err_set(e, E_INVALID, "%s: path too long", dir_marks);
    return E_OK;
}

enum err_code marks_write(const char *dir_marks, const struct marks *in, struct err *e)
{
    AUTO_BUF b = BUF_INIT(MARKS_MAX_LEN);
    char path[4096], hash[sizeof(in->audit_hash) * 2 + 1];

    if (in->crl_n > MARKS_CRL_MAX)
        return err_set(e, E_INTERNAL, "marks with %zu CRL scopes, at most %d", in->crl_n, MARKS_CRL_MAX);
    if (marks_path(dir_marks, path, sizeof(path), e) != E_OK)
        return e->code;
    hex_encode(in->audit_hash, sizeof(in->audit_hash), hash);
    buf_printf(&b, MARKS_FIRST "\naudit %" PRIu64 " %s\nstatus %" PRIu64 "\ntime %" PRId64 "\n", in->audit_seq, hash,
               in->status_seq, in->time);
    for (size_t i = 0; i < in->crl_n; i++)
        buf_printf(&b, "crl %s %u %" PRIu64 "\n", in->crl[i].issuer, in->crl[i].shard, in->crl[i].number);
    buf_add_str(&b, MARKS_LAST "\n");
    if (!buf_ok(&b))
        return err_set(e, E_NOMEM, "marks do not fit %d octets", MARKS_MAX_LEN);
    return file_write_atomic(path, buf_bytes(&b), 0644, e);
}

/* --- reading: a line is words, one blank apart ---------------------------------------------------------------- */

#define WORDS_MAX 4

static size_t split(char *line, char *words[WORDS_MAX])
{
    size_t n = 0;

    for (char *save = NULL, *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        if (n == WORDS_MAX)
            return WORDS_MAX + 1;
        words[n++] = w;
    }
    return n;
}

static bool number(const char *s, uint64_t max, uint64_t *out)
{
    char *end = NULL;

    if (s[0] < '0' || s[0] > '9')
        return false;
    errno = 0;
    *out = strtoull(s, &end, 10);
    return errno == 0 && *end == '\0' && *out <= max;
}

static bool read_audit(char **w, struct marks *m)
{
    size_t len = 0;

    return number(w[1], INT64_MAX, &m->audit_seq) &&
           hex_decode(w[2], strlen(w[2]), m->audit_hash, sizeof(m->audit_hash), &len) && len == sizeof(m->audit_hash);
}

static bool read_status(char **w, struct marks *m)
{
    return number(w[1], INT64_MAX, &m->status_seq);
}

static bool read_time(char **w, struct marks *m)
{
    uint64_t t = 0;
    bool ok = number(w[1], INT64_MAX, &t);

    m->time = (int64_t)t;
    return ok;
}

static bool read_crl(char **w, struct marks *m)
{
    uint64_t shard = 0, n = 0;

    if (m->crl_n == MARKS_CRL_MAX || !id_is_valid(w[1]) || !number(w[2], UINT32_MAX, &shard) ||
        !number(w[3], INT64_MAX, &n))
        return false;
    snprintf(m->crl[m->crl_n].issuer, sizeof(m->crl[0].issuer), "%s", w[1]);
    m->crl[m->crl_n].shard = (unsigned)shard;
    m->crl[m->crl_n++].number = n;
    return true;
}

static const struct {
    const char *name;
    size_t words;
    bool (*read)(char **words, struct marks *m);
    unsigned once; /* bit: must be there exactly once; 0: any number of times */
} line_kinds[] = {
    {"audit", 3, read_audit, 1},
    {"status", 2, read_status, 2},
    {"time", 2, read_time, 4},
    {"crl", 4, read_crl, 0},
};
#define SEEN_ALL 7u

static bool read_line(char *line, struct marks *m, unsigned *seen)
{
    char *words[WORDS_MAX];
    size_t n = split(line, words);

    for (size_t i = 0; i < ARRAY_LEN(line_kinds); i++) {
        if (n != line_kinds[i].words || strcmp(words[0], line_kinds[i].name) != 0)
            continue;
        if (*seen & line_kinds[i].once)
            return false;
        *seen |= line_kinds[i].once;
        return line_kinds[i].read(words, m);
    }
    return false;
}

static enum err_code parse(char *content, const char *path, struct marks *m, struct err *e)
{
    unsigned seen = 0, at = 0;
    bool ended = false;

    for (char *save = NULL, *line = strtok_r(content, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        at++;
        if (ended || (at == 1) != (strcmp(line, MARKS_FIRST) == 0))
            return err_set(e, E_INVALID, "%s:%u: not a file of marks", path, at);
        if (at == 1)
            continue;
        if (strcmp(line, MARKS_LAST) == 0)
            ended = true;
        else if (!read_line(line, m, &seen))
            return err_set(e, E_INVALID, "%s:%u: not a mark", path, at);
    }
    if (!ended || seen != SEEN_ALL)
        return err_set(e, E_INVALID, "%s: incomplete", path);
    return E_OK;
}

enum err_code marks_read(const char *dir_marks, struct marks *out, struct err *e)
{
    AUTO_BUF b = BUF_INIT(MARKS_MAX_LEN + 1);
    char path[4096];

    *out = (struct marks){0};
    if (marks_path(dir_marks, path, sizeof(path), e) != E_OK)
        return e->code;
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return err_set(e, E_NOT_FOUND, "%s: no marks yet", path);
    if (file_read(path, &b, e) != E_OK)
        return e->code;
    if (memchr(b.p ? b.p : (const uint8_t *)"", 0, b.len))
        return err_set(e, E_INVALID, "%s: not text", path);
    buf_add_u8(&b, 0);
    if (!buf_ok(&b))
        return buf_err(&b, e, "%s: longer than %d octets", path, MARKS_MAX_LEN);
    return parse((char *)b.p, path, out, e);
}

/* --- against a ledger ---------------------------------------------------------------------------------------- */

struct collect {
    struct marks *m;
    bool full;
};

static bool collect_crl(void *arg, const char *issuer, unsigned shard, uint64_t n)
{
    struct collect *c = arg;
    struct marks *m = c->m;

    c->full = m->crl_n == MARKS_CRL_MAX;
    if (c->full)
        return false;
    snprintf(m->crl[m->crl_n].issuer, sizeof(m->crl[0].issuer), "%s", issuer);
    m->crl[m->crl_n].shard = shard;
    m->crl[m->crl_n++].number = n;
    return true;
}

enum err_code marks_collect(struct store *s, int64_t now, struct marks *out, struct err *e)
{
    struct collect c = {.m = out};

    *out = (struct marks){.time = now};
    if (store_audit_last(s, &out->audit_seq, out->audit_hash, e) != E_OK ||
        store_status_seq(s, &out->status_seq, e) != E_OK || store_crl_number_each(s, collect_crl, &c, e) != E_OK)
        return e->code;
    return c.full ? err_set(e, E_BUSY, "more than %d CRL scopes", MARKS_CRL_MAX) : E_OK;
}

static enum err_code behind_audit(struct store *s, const struct marks *m, struct buf *which, struct err *e)
{
    uint64_t last;
    uint8_t hash[32];

    if (store_audit_last(s, &last, hash, e) != E_OK)
        return e->code;
    if (last < m->audit_seq)
        buf_printf(which, "audit: the ledger ends at %" PRIu64 ", the mark says %" PRIu64 "\n", last, m->audit_seq);
    else if (m->audit_seq > 0 && store_audit_hash(s, m->audit_seq, hash, e) != E_OK)
        return e->code;
    else if (m->audit_seq > 0 && memcmp(hash, m->audit_hash, sizeof(hash)) != 0)
        buf_printf(which, "audit: entry %" PRIu64 " is not the one the mark names\n", m->audit_seq);
    return E_OK;
}

enum err_code marks_behind(struct store *s, const struct marks *m, struct buf *which, struct err *e)
{
    uint64_t n;

    buf_reset(which);
    if (behind_audit(s, m, which, e) != E_OK || store_status_seq(s, &n, e) != E_OK)
        return e->code;
    if (n < m->status_seq)
        buf_printf(which, "status: the ledger ends at %" PRIu64 ", the mark says %" PRIu64 "\n", n, m->status_seq);
    for (size_t i = 0; i < m->crl_n; i++) {
        if (store_crl_number(s, m->crl[i].issuer, m->crl[i].shard, &n, e) != E_OK)
            return e->code;
        if (n < m->crl[i].number)
            buf_printf(which, "crl %s %u: the ledger reserved up to %" PRIu64 ", the mark says %" PRIu64 "\n",
                       m->crl[i].issuer, m->crl[i].shard, n, m->crl[i].number);
    }
    return buf_ok(which) ? E_OK : err_set(e, E_NOMEM, "marks: too many lines");
}
