/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/crl_list.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "base/log.h"
#include "base/msg.h"
#include "ca/csr.h"
#include "ca/lint.h"

#define THIS_UPDATE_BACK_S 300
#define PIECE_LEN          ((size_t)48 << 10) /* a multiple of 48: whole lines of base64 */

void list_order_clear(struct list_order *o)
{
    buf_clear(&o->subject);
    buf_clear(&o->spki);
}

void list_made_clear(struct list_made *m)
{
    memfile_clear(&m->tbs);
}

void list_file_clear(struct list_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    buf_clear(&f->der);
}

/* ---- writing ---- */

/* thisUpdate, nextUpdate and what may be left out. */
static enum err_code list_times(struct store *ledger, const struct list_order *o, struct list_made *m, struct err *e)
{
    int64_t newest = 0, last_regular = 0;

    if (store_revoked_newest(ledger, o->issuer, o->shard, &newest, e) != E_OK ||
        store_crl_last_regular(ledger, o->issuer, o->shard, &last_regular, e) != E_OK)
        return e->code;
    m->now = newest > o->now ? newest : o->now; /* a change that came after the order was given is in the snapshot */
    m->keep_from = last_regular;
    m->regular = m->now - last_regular >= o->validity_s / 2;
    m->this_update = m->now - THIS_UPDATE_BACK_S;
    if (m->this_update < newest)
        m->this_update = newest;
    if (m->this_update < o->not_before)
        m->this_update = o->not_before;
    if (o->exists && m->this_update <= o->last_this_update)
        m->this_update = o->last_this_update + 1;
    if (o->this_floor && m->this_update <= o->this_floor)
        m->this_update = o->this_floor + 1;
    if (m->this_update > m->now)
        return err_set(e, E_PENDING, "at most one list a second");
    m->next_update = m->now + o->validity_s;
    if (o->exists && m->next_update < o->last_next_update)
        m->next_update = o->last_next_update;
    if (m->next_update < o->next_floor)
        m->next_update = o->next_floor;
    return E_OK;
}

static bool next_entry(void *ledger, struct status_row *out, struct err *e)
{
    return store_revoked_next(ledger, out, e);
}

static enum err_code tbs_write(struct store *ledger, const struct list_order *o, const struct cert_issuer *issuer,
                               uint64_t expected, struct list_made *m, struct err *e)
{
    const struct crl_inputs in = {.issuer = issuer,
                                  .crl_number = o->number,
                                  .this_update = m->this_update,
                                  .next_update = m->next_update,
                                  .idp_url = o->idp_url[0] ? o->idp_url : NULL,
                                  .only_user_certs = o->idp_url[0] != '\0',
                                  .expected = expected};
    enum err_code code;

    if (store_revoked_begin(ledger, o->issuer, o->shard, m->keep_from, e) != E_OK)
        return e->code;
    code = crl_tbs_write(&in, next_entry, ledger, &m->entries, &m->tbs.b, e);
    store_revoked_end(ledger);
    return code == E_OK ? memfile_seal(&m->tbs, e) : code;
}

/* `expected`: counted by the ledger. What lint compares with does not come from the writer. */
static enum err_code tbs_lint(const struct list_order *o, const struct cert_issuer *issuer, uint64_t expected,
                              const struct list_made *m, struct err *e)
{
    struct lint_crl_expect x = {
        .issuer_subject = issuer->subject,
        .issuer_ski = BYTES_OF(issuer->ski),
        .sig_alg = issuer->sig_alg,
        .crl_number = o->number,
        .now = m->now,
        .previous_this_update = o->exists ? o->last_this_update : 0,
        .idp_url = o->idp_url[0] ? o->idp_url : NULL,
        .entries = expected,
    };
    struct lint_report report = {0};

    lint_crl(buf_bytes(&m->tbs.b), &x, &report);
    return lint_result(&report, "CRL", e);
}

static enum err_code write_in_snapshot(struct store *ledger, const struct list_order *o, struct list_made *m, struct err *e)
{
    struct cert_issuer issuer = {.name = o->ca,
                                 .subject = buf_bytes(&o->subject),
                                 .spki = buf_bytes(&o->spki),
                                 .not_before = o->not_before,
                                 .sig_alg = o->alg};
    uint64_t expected = 0;
    enum err_code code = store_status_seq(ledger, &m->seq, e);

    memcpy(issuer.ski, o->ski, sizeof(issuer.ski));
    if (code == E_OK)
        code = list_times(ledger, o, m, e);
    if (code == E_OK)
        code = store_revoked_count(ledger, o->issuer, o->shard, m->keep_from, &expected, e);
    if (code == E_OK)
        code = memfile_open(&m->tbs, "inkan-tbs", CRL_MAX_LEN, e);
    if (code == E_OK)
        code = tbs_write(ledger, o, &issuer, expected, m, e);
    return code == E_OK ? tbs_lint(o, &issuer, expected, m, e) : code;
}

enum err_code list_write(struct store *ledger, const struct list_order *o, struct list_made *out, struct err *e)
{
    enum err_code code;

    *out = (struct list_made){.tbs = MEMFILE_INIT};
    if (store_begin(ledger, e) != E_OK)
        return e->code;
    code = write_in_snapshot(ledger, o, out, e);
    store_rollback(ledger);
    if (code != E_OK)
        list_made_clear(out);
    return code;
}

/* ---- publishing ---- */

struct leaving {
    struct store *ledger;
    uint32_t issuer;
    int64_t keep_from;
};

/* Released, or expired before the last regular list (RFC 5280 3.3). */
static bool may_leave(void *arg, struct bytes serial)
{
    struct leaving *l = arg;
    struct cert_row row;
    struct err e = {0};

    if (store_cert_by_serial(l->ledger, l->issuer, serial, &row, &e) != E_OK)
        return false;
    return row.status == CERT_GOOD || row.not_after < l->keep_from;
}

/* The published file, else the ledger's copy. *mapped is to be unmapped; {NULL, 0}: `kept` holds the octets. */
static enum err_code list_before(struct store *ledger, const struct list_order *o, struct bytes *mapped, struct buf *kept,
                                 struct crl *out, bool *found, struct err *e)
{
    struct crl_row row;
    struct err none = {0};
    AUTO_FD int fd = open(o->path, O_RDONLY | O_CLOEXEC);

    *found = true;
    if (fd >= 0 && fd_map(fd, CRL_MAX_LEN, mapped, &none) == E_OK && crl_read(*mapped, out, &none) == E_OK)
        return E_OK;
    *found = false;
    if (!o->exists)
        return E_OK; /* the first */
    if (store_crl_newest(ledger, o->issuer, o->shard, &row, e) != E_OK)
        return e->code;
    if (row.der.len == 0)
        return E_OK;
    buf_add_bytes(kept, row.der);
    if (crl_read(buf_bytes(kept), out, e) != E_OK)
        return err_wrap(e, "the list before cannot be read");
    *found = true;
    return E_OK;
}

/*
 * A large list whose file was lost: there is nothing to hold the new one against but the ledger it came from. Publishing
 * none would let the old one expire, so it goes out, and that is said.
 */
static void say_not_compared(const struct list_order *o)
{
    struct log_line l;

    log_begin(&l, LOG_ERROR, "crl-not-compared");
    log_str(&l, "ca", o->ca);
    log_u64(&l, "shard", o->shard);
    log_str(&l, "lost", o->path);
    log_end(&l);
}

static enum err_code gate(struct store *ledger, const struct list_order *o, const struct list_made *m,
                          const struct crl *list, struct err *e)
{
    struct leaving l = {ledger, o->issuer, m->keep_from};
    AUTO_BUF kept = BUF_INIT(CRL_KEPT_MAX_LEN);
    struct bytes mapped = {NULL, 0};
    struct crl before;
    bool found;
    enum err_code code = list_before(ledger, o, &mapped, &kept, &before, &found, e);

    if (code == E_OK && found)
        code = crl_gate(&before, list, may_leave, &l, e);
    else if (code == E_OK && o->exists)
        say_not_compared(o);
    fd_unmap(mapped);
    return code == E_OK ? E_OK : err_wrap(e, "gate");
}

/* SEQUENCE { TBSCertList, AlgorithmIdentifier, BIT STRING } into the draft: the large part goes straight from memory. */
static enum err_code assemble(struct file_draft *d, struct bytes tbs, enum sig_alg alg, struct bytes sig, struct err *e)
{
    AUTO_BUF frame = BUF_INIT(SIGNATURE_MAX_LEN + 64);
    size_t head;

    if (crl_frame(tbs.len, alg, sig, &frame, &head, e) != E_OK || file_draft_add(d, BYTES(frame.p, head), e) != E_OK ||
        file_draft_add(d, tbs, e) != E_OK || file_draft_add(d, BYTES(frame.p + head, frame.len - head), e) != E_OK)
        return e->code;
    return E_OK;
}

/* Judged as it lies on the disk, from which others will read it. */
static enum err_code judge(struct store *ledger, const struct list_order *o, const struct list_made *m, struct bytes der,
                           struct err *e)
{
    struct pubkey key;
    struct crl list;

    if (crl_read(der, &list, e) != E_OK || pubkey_read(buf_bytes(&o->spki), &key, e) != E_OK)
        return err_wrap(e, "list read back");
    if (!bytes_equal(list.tbs, buf_bytes(&m->tbs.b)))
        return err_set(e, E_IO, "%s: not what was signed", o->path);
    if (!pubkey_verifies(&key, list.sig_alg, list.tbs, list.sig))
        return err_set(e, errno == ENOMEM ? E_NOMEM : E_CRYPTO, "the list does not verify with the CA's key");
    return gate(ledger, o, m, &list, e);
}

enum err_code list_publish(struct store *ledger, const struct list_order *o, const struct list_made *m, enum sig_alg alg,
                           struct bytes sig, struct list_file *out, struct err *e)
{
    struct file_draft d = FILE_DRAFT_INIT;
    struct bytes der = {NULL, 0};
    enum err_code code;

    *out = (struct list_file){.fd = -1};
    buf_init(&out->der, CRL_KEPT_MAX_LEN);
    if (alg != o->alg)
        return err_set(e, E_CRYPTO, "the signer used another algorithm than the list names");
    code = file_draft_open(&d, o->path, e);
    if (code == E_OK)
        code = assemble(&d, buf_bytes(&m->tbs.b), alg, sig, e);
    if (code == E_OK)
        code = fd_map(d.fd, CRL_MAX_LEN, &der, e);
    if (code == E_OK)
        code = judge(ledger, o, m, der, e);
    if (code == E_OK) {
        out->size = der.len;
        sha256(der, out->sha256);
        if (der.len <= CRL_KEPT_MAX_LEN)
            buf_add_bytes(&out->der, der);
        code = file_draft_publish(&d, 0644, e);
    }
    fd_unmap(der);
    file_draft_drop(&d);
    if (code == E_OK && (out->fd = open(o->path, O_RDONLY | O_CLOEXEC)) < 0)
        code = err_errno(e, E_IO, "%s", o->path);
    if (code != E_OK)
        list_file_clear(out);
    return code;
}

/* ---- files in place ---- */

/* Less than `max` octets only at the end; -1: errno says why. */
static ssize_t read_piece(int fd, uint8_t *at, size_t max, uint64_t from)
{
    size_t len = 0;

    while (len < max) {
        ssize_t n = pread(fd, at + len, max - len, (off_t)(from + len));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -1 : (ssize_t)len;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

typedef enum err_code (*piece_fn)(void *arg, struct bytes piece, struct err *e);

/* Reads `fd` from its start; takes size and digest. `piece` may be NULL. */
static enum err_code each_piece(int fd, const char *path, piece_fn piece, void *arg, struct list_file *out, struct err *e)
{
    uint8_t at[PIECE_LEN];
    enum err_code code = E_OK;
    ssize_t n;

    out->size = 0;
    sha256_begin();
    while (code == E_OK && (n = read_piece(fd, at, sizeof(at), out->size)) != 0) {
        if (n < 0)
            code = err_errno(e, E_IO, "%s: read", path);
        else if (piece)
            code = piece(arg, BYTES(at, n), e);
        if (code != E_OK)
            break;
        out->size += (size_t)n;
        sha256_add(BYTES(at, n));
    }
    sha256_end(out->sha256);
    return code;
}

enum err_code list_file_open(const char *path, struct list_file *out, struct err *e)
{
    enum err_code code;

    *out = (struct list_file){.fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (out->fd < 0)
        return err_errno(e, errno == ENOENT ? E_NOT_FOUND : E_IO, "%s", path);
    code = each_piece(out->fd, path, NULL, NULL, out, e);
    if (code != E_OK)
        list_file_clear(out);
    return code;
}

static enum err_code pem_piece(void *draft, struct bytes piece, struct err *e)
{
    AUTO_BUF text = BUF_INIT(2 * PIECE_LEN);

    base64_encode(&text, piece, 64);
    return buf_ok(&text) ? file_draft_add(draft, buf_bytes(&text), e) : err_set(e, E_NOMEM, "PEM");
}

static enum err_code pem_add(struct file_draft *d, const char *path, struct err *e)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct list_file ignored = {.fd = -1};

    if (fd < 0)
        return err_errno(e, E_IO, "%s", path);
    if (file_draft_add(d, bytes_str("-----BEGIN X509 CRL-----\n"), e) != E_OK ||
        each_piece(fd, path, pem_piece, d, &ignored, e) != E_OK ||
        file_draft_add(d, bytes_str("-----END X509 CRL-----\n"), e) != E_OK)
        return e->code;
    return E_OK;
}

enum err_code list_bundle(const char (*list)[PATH_MAX], size_t n, const char *path, struct list_file *out, struct err *e)
{
    struct file_draft d = FILE_DRAFT_INIT;
    enum err_code code = file_draft_open(&d, path, e);

    *out = (struct list_file){.fd = -1};
    for (size_t i = 0; i < n && code == E_OK; i++)
        code = pem_add(&d, list[i], e);
    if (code == E_OK)
        code = file_draft_publish(&d, 0644, e);
    file_draft_drop(&d);
    return code == E_OK ? list_file_open(path, out, e) : code;
}
