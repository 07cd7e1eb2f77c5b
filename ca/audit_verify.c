/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offline verification of the trail. Four passes, all run: the chain with what its entries say of certificates and
 * status rows; rows that no entry speaks of; the heads; the store's own check. The lowest bad entry is reported.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/x509.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/der.h"
#include "ca/audit_int.h"
#include "ca/signed_request.h"
#include "ca/store/people.h"

AUTO_TYPE(json_t, json_decref)
AUTO_TYPE(EVP_PKEY, EVP_PKEY_free)
AUTO_TYPE(EVP_MD_CTX, EVP_MD_CTX_free)

/* One bit for each row 1..n. */
struct bits {
    uint8_t *p;
    uint64_t n;
};

struct verify {
    struct store *s;
    struct audit_verdict *v;
    struct err *e;
    bool bad;
    uint64_t last_seq;        /* chain so far */
    uint8_t last_hash[32];
    bool chain_broken;
    struct bits certs, rows;  /* those an entry speaks of */
    char ledger_id[ID_MAX_LEN + 1];
    EVP_PKEY *given;          /* the audit key from outside; NULL = none */
    EVP_PKEY *own;            /* key row `own_name` of the ledger */
    char own_name[ID_MAX_LEN * 2 + 1];
};

/* Keeps what concerns the lowest entry; seq 0 is something that is not an entry. */
static void PRINTF_LIKE(3, 4) bad(struct verify *vf, uint64_t seq, const char *fmt, ...)
{
    struct audit_verdict *v = vf->v;
    va_list ap;

    if (vf->bad && (seq == 0 || (v->bad_seq != 0 && v->bad_seq <= seq)))
        return;
    vf->bad = true;
    v->bad_seq = seq;
    va_start(ap, fmt);
    vsnprintf(v->what, sizeof(v->what), fmt, ap);
    va_end(ap);
}

/* --- bits ---------------------------------------------------------------------------------------------------- */

static enum err_code bits_init(struct bits *b, uint64_t n, struct err *e)
{
    b->n = n;
    b->p = calloc(n / 8 + 1, 1);
    return b->p ? E_OK : err_set(e, E_NOMEM, "out of memory");
}

static bool bits_has(const struct bits *b, uint64_t i)
{
    return b->p[i / 8] & (1u << (i % 8));
}

/* false: outside the range, or set before. */
static bool bits_set(struct bits *b, uint64_t i)
{
    if (i == 0 || i > b->n || bits_has(b, i))
        return false;
    b->p[i / 8] |= (uint8_t)(1u << (i % 8));
    return true;
}

/* --- entries against rows ------------------------------------------------------------------------------------ */

struct claim {
    const char *issuer, *serial, *der_sha256, *reason;
    json_int_t seq;
};

static json_t *claim_read(const char *event, const char *detail, struct claim *c)
{
    json_t *json = json_loads(detail, JSON_REJECT_DUPLICATES, NULL);
    const char *profile, *requester;
    int rc = -1;

    *c = (struct claim){0};
    if (json && strcmp(event, AUDIT_CERT_ISSUED) == 0)
        rc = json_unpack_ex(json, NULL, JSON_STRICT, "{s:s, s:s, s:s, s:s, s:I, s:s}", "der_sha256", &c->der_sha256,
                            "issuer", &c->issuer, "profile", &profile, "requester", &requester, "seq", &c->seq, "serial",
                            &c->serial);
    else if (json)
        rc = json_unpack_ex(json, NULL, JSON_STRICT, "{s:s, s:s, s:I, s:s}", "issuer", &c->issuer, "reason", &c->reason,
                            "seq", &c->seq, "serial", &c->serial);
    if (rc == 0)
        return json;
    json_decref(json);
    return NULL;
}

static bool issuer_is(struct verify *vf, uint32_t id, const char *name)
{
    struct issuer_row issuer;
    struct err ignored;

    return store_issuer_by_id(vf->s, id, &issuer, &ignored) == E_OK && strcmp(issuer.name, name) == 0;
}

static bool serial_is(const uint8_t *serial, uint8_t len, const char *hex)
{
    char own[SERIAL_MAX_LEN * 2 + 1];

    hex_encode(serial, len, own);
    return strcmp(own, hex) == 0;
}

/* The status row an entry names, not named by another entry before. */
static bool claimed_row(struct verify *vf, uint64_t seq, const struct claim *c, struct status_row *row)
{
    struct err ignored;

    if (c->seq <= 0 || store_status_by_seq(vf->s, (uint64_t)c->seq, row, &ignored) != E_OK ||
        !serial_is(row->serial, row->serial_len, c->serial) || !issuer_is(vf, row->issuer, c->issuer)) {
        bad(vf, seq, "entry %" PRIu64 ": status row %" JSON_INTEGER_FORMAT " of %s/%s is not in the ledger", seq, c->seq,
            c->issuer, c->serial);
        return false;
    }
    if (!bits_set(&vf->rows, (uint64_t)c->seq)) {
        bad(vf, seq, "entry %" PRIu64 ": a second entry for status row %" JSON_INTEGER_FORMAT, seq, c->seq);
        return false;
    }
    return true;
}

static void check_issued(struct verify *vf, uint64_t seq, const struct claim *c)
{
    struct cert_row cert;
    struct status_row row;
    struct err ignored;
    uint8_t hash[32], real[32], serial[SERIAL_MAX_LEN];
    size_t len = 0, serial_len = 0;

    if (!hex_decode(c->der_sha256, strlen(c->der_sha256), hash, sizeof(hash), &len) || len != sizeof(hash) ||
        !hex_decode(c->serial, strlen(c->serial), serial, sizeof(serial), &serial_len) ||
        store_cert_by_ca(vf->s, c->issuer, BYTES(serial, serial_len), hash, &cert, &ignored) != E_OK) {
        bad(vf, seq, "entry %" PRIu64 ": certificate %s/%s with DER hash %s is not in the ledger", seq, c->issuer, c->serial,
            c->der_sha256);
        return;
    }
    sha256(cert.der, real);
    if (memcmp(real, hash, sizeof(hash)) != 0)
        bad(vf, seq, "entry %" PRIu64 ": certificate %s/%s: its DER was changed", seq, c->issuer, c->serial);
    else if (!bits_set(&vf->certs, cert.id))
        bad(vf, seq, "entry %" PRIu64 ": a second entry for certificate %s/%s", seq, c->issuer, c->serial);
    else
        claimed_row(vf, seq, c, &row);
}

static void check_status(struct verify *vf, uint64_t seq, enum cert_status status, const struct claim *c)
{
    struct status_row row;
    const char *reason;

    if (!claimed_row(vf, seq, c, &row))
        return;
    reason = crl_reason_name(row.reason);
    if (row.status != status || !reason || strcmp(reason, c->reason) != 0)
        bad(vf, seq, "entry %" PRIu64 ": status row %" JSON_INTEGER_FORMAT " of %s/%s says something else", seq, c->seq,
            c->issuer, c->serial);
}

/* The rows of one step of a mass action: all of them are its batch's, and they are as they were. */
static void check_step(struct verify *vf, const struct audit_row *row)
{
    AUTO(json_t) *json = json_loads(row->detail, JSON_REJECT_DUPLICATES, NULL);
    json_int_t batch = 0, from = 0, to = 0;
    const char *hex = "";
    uint8_t wanted[32], digest[32];
    uint64_t foreign = 0;
    size_t len = 0;
    struct err ignored;

    if (!json || json_unpack(json, "{s:I, s:s, s:I, s:I}", "batch", &batch, "digest", &hex, "rows_from", &from, "rows_to", &to) != 0 ||
        !hex_decode(hex, strlen(hex), wanted, sizeof(wanted), &len) || len != sizeof(wanted) || from <= 0 || to < from - 1) {
        bad(vf, row->seq, "entry %" PRIu64 ": %s without its details", row->seq, row->event);
        return;
    }
    if (audit_rows_digest(vf->s, (uint64_t)batch, (uint64_t)from, (uint64_t)to, digest, &foreign, &ignored) != E_OK || foreign ||
        memcmp(digest, wanted, sizeof(digest)) != 0) {
        bad(vf, row->seq, "entry %" PRIu64 ": status rows %" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT " of batch %"
            JSON_INTEGER_FORMAT " were changed", row->seq, from, to, batch);
        return;
    }
    for (json_int_t seq = from; seq <= to; seq++)
        if (!bits_set(&vf->rows, (uint64_t)seq)) {
            bad(vf, row->seq, "entry %" PRIu64 ": a second entry for status row %" JSON_INTEGER_FORMAT, row->seq, seq);
            return;
        }
}

static void check_claims(struct verify *vf, const struct audit_row *row)
{
    AUTO(json_t) *json = NULL;
    enum cert_status status = CERT_GOOD;
    bool issued = strcmp(row->event, AUDIT_CERT_ISSUED) == 0;
    struct claim c;

    if (strcmp(row->event, AUDIT_BATCH_STEP) == 0) {
        check_step(vf, row);
        return;
    }
    if (!issued && !audit_event_status(row->event, &status))
        return;
    json = claim_read(row->event, row->detail, &c);
    if (!json)
        bad(vf, row->seq, "entry %" PRIu64 ": %s without its details", row->seq, row->event);
    else if (issued)
        check_issued(vf, row->seq, &c);
    else
        check_status(vf, row->seq, status, &c);
}

/* --- what operators signed ------------------------------------------------------------------------------------- */

/* Who signed it: NULL with r->args owned, or what is wrong. */
static const char *signed_by(struct verify *vf, struct bytes jws, struct signed_request *r, struct operator_row *who)
{
    struct cert_row cert;
    EVP_PKEY *key = NULL;
    X509 *x509 = NULL;
    const uint8_t *der;
    uint64_t id, cert_id;
    const char *wrong = NULL;
    struct err ignored;

    if (signed_request_read(jws, r, &ignored) != E_OK)
        return "is not a signed request";
    if (store_operator_cert_find(vf->s, r->cert_hash, &id, &cert_id, &ignored) != E_OK ||
        store_cert_by_id(vf->s, cert_id, &cert, &ignored) != E_OK) {
        wrong = "is by a certificate of no operator";
    } else {
        der = cert.der.p;
        x509 = d2i_X509(NULL, &der, (long)cert.der.len);
        key = x509 ? X509_get0_pubkey(x509) : NULL;
        if (!key || jws_verify(&r->jws, key, &ignored) != E_OK)
            wrong = "is not by the key of its certificate";
    }
    X509_free(x509);
    /* The node is the ledger's id and, after restores, their number. */
    if (!wrong && strncmp(r->node, vf->ledger_id, strlen(vf->ledger_id)) != 0)
        wrong = "is for another ledger";
    if (!wrong && store_operator_by_id(vf->s, id, who, &ignored) != E_OK)
        wrong = "is by nobody";
    if (wrong)
        signed_request_clear(r);
    return wrong;
}

/* An approval in the trail: by another person, of exactly what the entry says was done. */
static const char *check_approval(struct verify *vf, const struct audit_row *row)
{
    AUTO(json_t) *args = NULL;
    struct signed_request r;
    struct operator_row who;
    struct pending_row p;
    uint8_t digest[32];
    char hex[65];
    const char *said = NULL, *id = NULL, *wrong = signed_by(vf, row->approvals, &r, &who);
    struct err ignored;

    if (wrong)
        return wrong;
    if (strcmp(r.op, "approval.approve") != 0 || json_unpack(r.args, "{s:s, s:s}", "id", &id, "digest", &said) != 0)
        wrong = "approves nothing";
    else if (strcmp(who.name, row->actor) == 0)
        wrong = "is by the same person";
    else if (store_pending_by_id(vf->s, strtoull(id, NULL, 10), &p, &ignored) != E_OK || !(args = json_loads(p.args, 0, NULL)))
        wrong = "is of a request that is not there";
    else if (strcmp(p.requester, row->actor) != 0 || !bytes_equal(p.jws, row->signature) ||
             request_digest(p.op, args, digest, &ignored) != E_OK || !bytes_equal(BYTES_OF(digest), row->request_digest))
        wrong = "is of another request";
    else if (pending_digest(p.id, p.requester, p.op, args, digest, &ignored) == E_OK) {
        hex_encode(digest, sizeof(digest), hex);
        wrong = strcmp(hex, said) == 0 ? NULL : "is of other words";
    }
    signed_request_clear(&r);
    return wrong;
}

static void check_signed(struct verify *vf, const struct audit_row *row)
{
    struct signed_request r;
    struct operator_row who;
    uint8_t digest[32];
    const char *wrong;
    struct err ignored;

    if (row->signature.len == 0 && row->approvals.len == 0)
        return;
    wrong = signed_by(vf, row->signature, &r, &who);
    if (!wrong) {
        if (strcmp(who.name, row->actor) != 0 || strcmp(row->actor_kind, "operator") != 0)
            wrong = "is by another operator than the entry names";
        else if (row->approvals.len == 0 &&
                 (request_digest(r.op, r.args, digest, &ignored) != E_OK || !bytes_equal(BYTES_OF(digest), row->request_digest)))
            wrong = "is for another request than the entry names";
        signed_request_clear(&r);
    }
    if (wrong) {
        bad(vf, row->seq, "entry %" PRIu64 ": its signature %s", row->seq, wrong);
        return;
    }
    wrong = row->approvals.len ? check_approval(vf, row) : NULL;
    if (wrong)
        bad(vf, row->seq, "entry %" PRIu64 ": its approval %s", row->seq, wrong);
    else
        vf->v->signed_entries++;
}

/* --- the chain ----------------------------------------------------------------------------------------------- */

static bool chain_entry(void *arg, const struct audit_row *row)
{
    struct verify *vf = arg;
    uint8_t hash[32];

    vf->v->entries++;
    if (row->seq != vf->last_seq + 1) {
        bad(vf, vf->last_seq + 1, "entry %" PRIu64 " is missing", vf->last_seq + 1);
        vf->chain_broken = true;
        return false;
    }
    if (audit_hash(row, hash, vf->e) != E_OK || memcmp(hash, row->hash, sizeof(hash)) != 0) {
        bad(vf, row->seq, "entry %" PRIu64 ": hash differs, it was changed", row->seq);
        vf->chain_broken = true;
        return false;
    }
    if (memcmp(row->prev_hash, vf->last_hash, sizeof(hash)) != 0) {
        bad(vf, row->seq, "entry %" PRIu64 " does not follow entry %" PRIu64, row->seq, vf->last_seq);
        vf->chain_broken = true;
        return false;
    }
    check_claims(vf, row);
    check_signed(vf, row);
    vf->last_seq = row->seq;
    memcpy(vf->last_hash, hash, sizeof(hash));
    return true;
}

/* --- rows without an entry ----------------------------------------------------------------------------------- */

static void orphan_certs(struct verify *vf)
{
    struct cert_row cert;
    struct err ignored;
    char hex[SERIAL_MAX_LEN * 2 + 1];

    for (uint64_t id = 1; id <= vf->certs.n; id++) {
        if (bits_has(&vf->certs, id))
            continue;
        if (store_cert_by_id(vf->s, id, &cert, &ignored) != E_OK) {
            bad(vf, 0, "certificate row %" PRIu64 " is missing", id);
        } else {
            hex_encode(cert.serial, cert.serial_len, hex);
            bad(vf, 0, "certificate %s has no entry \"" AUDIT_CERT_ISSUED "\"", hex);
        }
        return;
    }
}

/* A row about a device alone is told of by the entry of what was done to it, not by one of its own. */
static void orphan_rows(struct verify *vf)
{
    struct status_row row;
    struct err ignored;

    for (uint64_t seq = 1; seq <= vf->rows.n; seq++)
        if (!bits_has(&vf->rows, seq) && (store_status_by_seq(vf->s, seq, &row, &ignored) != E_OK || row.issuer != 0)) {
            bad(vf, 0, "status row %" PRIu64 " has no entry", seq);
            return;
        }
}

/* --- heads --------------------------------------------------------------------------------------------------- */

struct head {
    uint64_t seq;
    time_t time;
    struct bytes hash, ledger_id;
};

static bool head_parse(struct bytes tbs, struct head *h)
{
    struct der in, seq, tag, id;
    uint8_t time_tag = 0;

    der_init(&in, tbs.p, tbs.len);
    if (!der_take(&in, DER_SEQUENCE, &seq) || !der_at_end(&in) || !der_take(&seq, DER_UTF8_STRING, &tag) ||
        !bytes_equal(der_rest(&tag), bytes_str(AUDIT_HEAD_TAG)) || !der_take_u64(&seq, &h->seq) ||
        !der_take_time(&seq, &h->time, &time_tag) || time_tag != DER_GENERALIZED_TIME || !der_take_octets(&seq, &h->hash) ||
        h->hash.len != 32 || !der_take(&seq, DER_UTF8_STRING, &id) || !der_at_end(&seq))
        return false;
    h->ledger_id = der_rest(&id);
    return true;
}

static EVP_PKEY *key_read(struct bytes spki)
{
    const uint8_t *p = spki.p;
    EVP_PKEY *key = spki.len <= SPKI_MAX_LEN ? d2i_PUBKEY(NULL, &p, (long)spki.len) : NULL;

    if (key && p == spki.p + spki.len)
        return key;
    EVP_PKEY_free(key);
    return NULL;
}

/* The key decides the algorithm; what the row says (SIG_NONE: a line of a file says nothing) must agree. */
static bool signature_is_good(EVP_PKEY *key, uint8_t alg, struct bytes tbs, struct bytes signature)
{
    const struct audit_algorithm *a = key ? audit_algorithm_of(key) : NULL;
    AUTO(EVP_MD_CTX) *ctx = EVP_MD_CTX_new();

    if (!a || !ctx || (alg != SIG_NONE && alg != (uint8_t)a->alg))
        return false;
    return EVP_DigestVerifyInit_ex(ctx, NULL, a->digest, NULL, NULL, key, NULL) == 1 &&
           EVP_DigestVerify(ctx, signature.p, signature.len, tbs.p, tbs.len) == 1;
}

/* The key row a head names, kept for the next head. */
static EVP_PKEY *own_key(struct verify *vf, const char *name)
{
    struct key_row key;
    struct err ignored;

    if (vf->own && strcmp(vf->own_name, name) == 0)
        return vf->own;
    EVP_PKEY_free(vf->own);
    vf->own = NULL;
    snprintf(vf->own_name, sizeof(vf->own_name), "%s", name);
    if (store_key_by_name(vf->s, name, &key, &ignored) == E_OK)
        vf->own = key_read(key.spki);
    return vf->own;
}

/* false: bad, and said so. `where` names the head for the message; `proves`: it is by the key that counts. */
static bool check_head(struct verify *vf, const struct audit_head_row *row, const char *where, bool *proves)
{
    struct audit_verdict *v = vf->v;
    struct head h;
    uint8_t hash[32];
    struct err ignored;
    bool by_given;

    if (!head_parse(row->tbs, &h) || h.seq != row->seq || h.time != (time_t)row->time ||
        memcmp(h.hash.p, row->hash, sizeof(row->hash)) != 0) {
        bad(vf, row->seq, "%s for entry %" PRIu64 ": what was signed differs from what is written beside it", where, row->seq);
        return false;
    }
    by_given = vf->given && signature_is_good(vf->given, row->sig_alg, row->tbs, row->signature);
    if (!by_given && !signature_is_good(own_key(vf, row->key), row->sig_alg, row->tbs, row->signature)) {
        bad(vf, row->seq, "%s for entry %" PRIu64 ": signature by %s is not good", where, row->seq, row->key);
        return false;
    }
    if (!bytes_equal(h.ledger_id, bytes_str(vf->ledger_id))) {
        bad(vf, row->seq, "%s for entry %" PRIu64 " belongs to another ledger", where, row->seq);
        return false;
    }
    if (store_audit_hash(vf->s, row->seq, hash, &ignored) != E_OK) {
        bad(vf, vf->last_seq + 1, "entry %" PRIu64 " is missing: the ledger ends at %" PRIu64 ", %s covers entry %" PRIu64,
            vf->last_seq + 1, vf->last_seq, where, row->seq);
        return false;
    }
    if (memcmp(hash, row->hash, sizeof(hash)) != 0) {
        bad(vf, v->proven_seq + 1, "entry %" PRIu64 " to %" PRIu64 ": the chain was written anew, %s has another hash",
            v->proven_seq + 1, row->seq, where);
        return false;
    }
    v->heads++;
    *proves = by_given || !vf->given;
    if (*proves && row->seq > v->proven_seq) {
        v->proven_seq = row->seq;
        v->proven_at = row->time;
    }
    return true;
}

static bool ledger_head(void *arg, const struct audit_head_row *row)
{
    bool proves;

    return check_head(arg, row, "head in the ledger", &proves);
}

/* --- heads kept elsewhere ------------------------------------------------------------------------------------ */

enum { LINE_SEQ, LINE_TIME, LINE_HASH, LINE_KEY, LINE_TBS, LINE_SIG, LINE_FIELDS };

static bool whole_number(const char *s, uint64_t *out)
{
    char *end = NULL;

    if (s[0] < '0' || s[0] > '9')
        return false;
    errno = 0;
    *out = strtoull(s, &end, 10);
    return errno == 0 && *end == '\0' && *out <= INT64_MAX;
}

static bool line_parse(char *line, struct audit_head_row *row, struct buf *tbs, struct buf *sig)
{
    char *field[LINE_FIELDS], *save = NULL;
    struct err ignored;
    uint64_t time = 0;
    size_t n = 0, len = 0;

    *row = (struct audit_head_row){0};
    for (char *f = strtok_r(line, " ", &save); f; f = strtok_r(NULL, " ", &save)) {
        if (n == LINE_FIELDS)
            return false;
        field[n++] = f;
    }
    if (n != LINE_FIELDS || !whole_number(field[LINE_SEQ], &row->seq) || !whole_number(field[LINE_TIME], &time) ||
        !hex_decode(field[LINE_HASH], strlen(field[LINE_HASH]), row->hash, sizeof(row->hash), &len) ||
        len != sizeof(row->hash) || strlen(field[LINE_KEY]) >= sizeof(row->key))
        return false;
    buf_reset(tbs);
    buf_reset(sig);
    if (base64_decode(bytes_str(field[LINE_TBS]), tbs, &ignored) != E_OK ||
        base64_decode(bytes_str(field[LINE_SIG]), sig, &ignored) != E_OK)
        return false;
    row->time = (int64_t)time;
    row->tbs = buf_bytes(tbs);
    row->signature = buf_bytes(sig);
    snprintf(row->key, sizeof(row->key), "%s", field[LINE_KEY]);
    return true;
}

static enum err_code outside_heads(struct verify *vf, const char *path)
{
    AUTO(FILE) *in = fopen(path, "re");
    AUTO(char) *line = NULL;
    AUTO_BUF tbs = BUF_INIT(AUDIT_HEAD_LINE_MAX);
    AUTO_BUF sig = BUF_INIT(AUDIT_HEAD_LINE_MAX);
    struct audit_head_row row;
    char where[64];
    size_t size = 0, at = 0;
    ssize_t len;
    bool proves;

    if (!in)
        return err_errno(vf->e, errno == ENOENT ? E_NOT_FOUND : E_IO, "heads file %s", path);
    while ((len = getline(&line, &size, in)) > 0) {
        at++;
        if (line[len - 1] == '\n')
            line[--len] = '\0';
        if (memchr(line, '\0', (size_t)len) || !line_parse(line, &row, &tbs, &sig)) {
            vf->v->damaged_lines++;
            continue;
        }
        snprintf(where, sizeof(where), "head in line %zu outside", at);
        if (!check_head(vf, &row, where, &proves))
            return E_OK;
        vf->v->heads_from_outside |= proves;
    }
    return ferror(in) ? err_errno(vf->e, E_IO, "heads file %s", path) : E_OK;
}

/* --- a ledger where nothing may be written ------------------------------------------------------------------- */

static enum err_code copy_file(const char *from, const char *to, struct err *e)
{
    AUTO_FD int in = open(from, O_RDONLY | O_CLOEXEC);
    AUTO_FD int out = -1;
    struct stat st;
    off_t at = 0;

    if (in < 0 || fstat(in, &st) != 0)
        return err_errno(e, E_IO, "%s", from);
    out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (out < 0)
        return err_errno(e, E_IO, "%s", to);
    while (at < st.st_size)
        if (sendfile(out, in, &at, (size_t)(st.st_size - at)) <= 0)
            return err_errno(e, E_IO, "copy of %s to %s", from, to);
    return E_OK;
}

/* SQLite needs the -shm of a WAL database, or a place to make it. */
static bool copy_would_help(const char *path)
{
    char shm[4096], dir[4096];

    if ((size_t)snprintf(shm, sizeof(shm), "%s-shm", path) >= sizeof(shm))
        return false;
    snprintf(dir, sizeof(dir), "%s", path);
    return access(path, R_OK) == 0 && access(shm, F_OK) != 0 && access(dirname(dir), W_OK) != 0;
}

static enum err_code copy_ledger(const char *path, char *dir, size_t size, char *copy, size_t copy_size, struct err *e)
{
    const char *tmp = getenv("TMPDIR");
    char wal[4096], copy_wal[4096];

    if ((size_t)snprintf(dir, size, "%s/inkan-verify-XXXXXX", tmp && tmp[0] == '/' ? tmp : "/tmp") >= size)
        return err_set(e, E_INVALID, "TMPDIR is too long");
    if (!mkdtemp(dir)) {
        dir[0] = '\0';
        return err_errno(e, E_IO, "directory for a copy of %s", path);
    }
    snprintf(copy, copy_size, "%s/ledger", dir);
    snprintf(copy_wal, sizeof(copy_wal), "%s/ledger-wal", dir);
    if ((size_t)snprintf(wal, sizeof(wal), "%s-wal", path) >= sizeof(wal))
        return err_set(e, E_INVALID, "%s: path too long", path);
    if (copy_file(path, copy, e) != E_OK)
        return e->code;
    return access(wal, F_OK) == 0 ? copy_file(wal, copy_wal, e) : E_OK;
}

static void remove_copy(const char *dir)
{
    static const char *const names[] = {"ledger", "ledger-wal", "ledger-shm"};
    char path[4200];

    if (!dir[0])
        return;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

/* --- all of it ----------------------------------------------------------------------------------------------- */

static enum err_code load_ledger_id(struct verify *vf)
{
    AUTO_BUF id = BUF_INIT(ID_MAX_LEN);

    if (store_meta_get(vf->s, "ledger_id", &id, vf->e) != E_OK)
        return err_wrap(vf->e, "ledger id");
    snprintf(vf->ledger_id, sizeof(vf->ledger_id), "%.*s", (int)id.len, id.p ? (const char *)id.p : "");
    return E_OK;
}

static enum err_code prepare(struct verify *vf, struct bytes audit_spki)
{
    static const struct cert_filter every = {.status = -1};
    uint64_t certs = 0, rows = 0;

    if (audit_spki.len > 0) {
        vf->given = key_read(audit_spki);
        if (!vf->given)
            return err_set(vf->e, E_INVALID, "the audit key is not a SubjectPublicKeyInfo");
    }
    vf->v->key_from_ledger = !vf->given;
    if (load_ledger_id(vf) != E_OK || store_cert_count(vf->s, &every, &certs, vf->e) != E_OK ||
        store_status_seq(vf->s, &rows, vf->e) != E_OK || bits_init(&vf->certs, certs, vf->e) != E_OK)
        return vf->e->code;
    return bits_init(&vf->rows, rows, vf->e);
}

static void say_how_far(struct verify *vf)
{
    struct audit_verdict *v = vf->v;
    char at[32];

    clock_format((time_t)v->proven_at, at);
    if (v->proven_seq == 0)
        snprintf(v->what, sizeof(v->what), "%" PRIu64 " entries are consistent, none is covered by a head signed by %s", v->entries,
                 vf->given ? "the given key" : "the audit key");
    else if (v->heads_from_outside)
        snprintf(v->what, sizeof(v->what), "verified to entry %" PRIu64 ", signed at %s", v->proven_seq, at);
    else
        snprintf(v->what, sizeof(v->what), "verified to entry %" PRIu64 ", signed at %s; later removal cannot be excluded",
                 v->proven_seq, at);
}

static enum err_code run(struct verify *vf, const char *heads_path, struct bytes audit_spki)
{
    enum err_code code;

    if (prepare(vf, audit_spki) != E_OK || store_audit_each(vf->s, 1, 0, chain_entry, vf, vf->e) != E_OK)
        return vf->e->code;
    if (!vf->chain_broken) {
        orphan_certs(vf);
        orphan_rows(vf);
        if (store_audit_head_each(vf->s, 0, 0, ledger_head, vf, vf->e) != E_OK)
            return vf->e->code;
        if (heads_path && outside_heads(vf, heads_path) != E_OK)
            return vf->e->code;
    }
    code = store_check(vf->s, vf->e);
    if (code == E_CONFLICT)
        bad(vf, 0, "%s", vf->e->msg);
    else if (code != E_OK)
        return code;
    if (vf->bad) {
        if (vf->v->bad_seq != 0 && vf->v->proven_seq >= vf->v->bad_seq)
            vf->v->proven_seq = vf->v->bad_seq - 1;
        return err_set(vf->e, E_CONFLICT, "audit trail: %s", vf->v->what);
    }
    say_how_far(vf);
    return E_OK;
}

static enum err_code verify_open(const char *path, char *dir, size_t size, struct store **s, struct err *e)
{
    char copy[4200];
    enum err_code code;

    dir[0] = '\0';
    if (access(path, F_OK) != 0)
        return err_errno(e, errno == ENOENT ? E_NOT_FOUND : E_IO, "ledger %s", path);
    code = store_open(path, STORE_READ, s, e);
    if (code != E_STORE || !copy_would_help(path))
        return code;
    if (copy_ledger(path, dir, size, copy, sizeof(copy), e) != E_OK)
        return e->code;
    return store_open(copy, STORE_READ, s, e);
}

enum err_code audit_verify(const char *ledger_path, const char *heads_path, struct bytes audit_spki,
                           struct audit_verdict *out, struct err *e)
{
    struct verify vf = {.v = out, .e = e};
    char dir[4096];
    enum err_code code;

    *out = (struct audit_verdict){0};
    code = verify_open(ledger_path, dir, sizeof(dir), &vf.s, e);
    if (code == E_OK) {
        /* One snapshot for all passes: the ledger may be live. */
        code = store_begin(vf.s, e);
        if (code == E_OK)
            code = run(&vf, heads_path, audit_spki);
        store_rollback(vf.s);
        store_close(vf.s);
    }
    remove_copy(dir);
    EVP_PKEY_free(vf.given);
    EVP_PKEY_free(vf.own);
    free(vf.certs.p);
    free(vf.rows.p);
    return code;
}
