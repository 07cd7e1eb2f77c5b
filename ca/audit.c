/* SPDX-License-Identifier: Apache-2.0 */
/* Writing the trail: entries, heads. docs/audit.md has the formats; audit_verify.c reads them back. */
#include "ca/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/auto.h"
#include "base/der.h"
#include "ca/audit_int.h"
#include "ca/store/store_int.h"

AUTO_TYPE(json_t, json_decref)
AUTO_TYPE(EVP_MD_CTX, EVP_MD_CTX_free)

static const struct audit_algorithm algorithms[] = {
    {SIG_RSA_SHA256, EVP_PKEY_RSA, 0, "SHA256"},
    {SIG_ECDSA_SHA256, EVP_PKEY_EC, 256, "SHA256"},
    {SIG_ECDSA_SHA384, EVP_PKEY_EC, 384, "SHA384"},
    {SIG_ED25519, EVP_PKEY_ED25519, 0, NULL},
};

const struct audit_algorithm *audit_algorithm(uint8_t alg)
{
    for (size_t i = 0; i < ARRAY_LEN(algorithms); i++)
        if ((uint8_t)algorithms[i].alg == alg)
            return &algorithms[i];
    return NULL;
}

const struct audit_algorithm *audit_algorithm_of(const EVP_PKEY *key)
{
    for (size_t i = 0; i < ARRAY_LEN(algorithms); i++)
        if (EVP_PKEY_get_base_id(key) == algorithms[i].key_type &&
            (algorithms[i].key_bits == 0 || EVP_PKEY_get_bits(key) == algorithms[i].key_bits))
            return &algorithms[i];
    return NULL;
}

/* --- entries ------------------------------------------------------------------------------------------------- */

static void add_u64(struct buf *b, uint64_t v)
{
    uint8_t be[8];

    put_be64(be, v);
    buf_add(b, be, sizeof(be));
}

static void add_field(struct buf *b, struct bytes v)
{
    uint8_t be[4];

    put_be32(be, (uint32_t)v.len);
    buf_add(b, be, sizeof(be));
    buf_add_bytes(b, v);
}

/* Lengths before values: no two rows share an encoding. */
enum err_code audit_hash(const struct audit_row *row, uint8_t hash[32], struct err *e)
{
    const char *const texts[] = {row->event, row->actor, row->actor_kind, row->domain, row->object, row->detail};
    const struct bytes octets[] = {row->request_digest, row->signature, row->approvals};
    AUTO_BUF b = BUF_INIT(AUDIT_ENTRY_MAX);

    (void)buf_reserve(&b, 1024); /* failing is noticed below, by the adding */
    buf_add_str(&b, AUDIT_CHAIN_TAG);
    buf_add(&b, row->prev_hash, sizeof(row->prev_hash));
    add_u64(&b, row->seq);
    add_u64(&b, (uint64_t)row->time);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        add_field(&b, bytes_str(texts[i]));
    for (size_t i = 0; i < ARRAY_LEN(octets); i++)
        add_field(&b, octets[i]);
    if (!buf_ok(&b))
        return buf_err(&b, e, "audit entry %llu is larger than %d octets", (unsigned long long)row->seq, AUDIT_ENTRY_MAX);
    sha256(buf_bytes(&b), hash);
    return E_OK;
}

static const char *text(const char *s)
{
    return s ? s : "";
}

static enum err_code append(struct store *s, const struct audit_entry *in, int64_t now, struct err *e)
{
    struct audit_row row = {
        .time = now,
        .event = text(in->event),
        .actor = text(in->actor),
        .actor_kind = text(in->actor_kind),
        .domain = text(in->domain),
        .object = text(in->object),
        .detail = in->detail ? in->detail : "{}",
        .request_digest = in->request_digest,
        .signature = in->signature,
        .approvals = in->approvals,
    };

    if (store_audit_last(s, &row.seq, row.prev_hash, e) != E_OK)
        return err_wrap(e, "audit %s", row.event);
    row.seq++;
    if (audit_hash(&row, row.hash, e) != E_OK || store_audit_insert(s, &row, e) != E_OK)
        return err_wrap(e, "audit %s", row.event);
    return E_OK;
}

static bool is_canonical(const char *detail)
{
    AUTO(json_t) *json = json_loads(detail, JSON_REJECT_DUPLICATES, NULL);
    AUTO(char) *again = NULL;

    if (!json || !json_is_object(json))
        return false;
    again = json_dumps(json, JSON_SORT_KEYS | JSON_COMPACT);
    return again && strcmp(again, detail) == 0;
}

static const char *const status_events[CERT_STATUSES] = {
    [CERT_GOOD] = "cert-released",
    [CERT_ON_HOLD] = "cert-held",
    [CERT_REVOKED] = "cert-revoked",
};

bool audit_event_status(const char *event, enum cert_status *status)
{
    for (int i = 0; i < CERT_STATUSES; i++)
        if (strcmp(status_events[i], event) == 0) {
            *status = (enum cert_status)i;
            return true;
        }
    return false;
}

enum err_code audit_append(struct store *s, const struct audit_entry *in, int64_t now, struct err *e)
{
    enum cert_status status;

    if (!in->event || !in->event[0])
        return err_set(e, E_INTERNAL, "audit entry without an event");
    if (strcmp(in->event, AUDIT_CERT_ISSUED) == 0 || strcmp(in->event, AUDIT_BATCH_STEP) == 0 || audit_event_status(in->event, &status))
        return err_set(e, E_INTERNAL, "audit %s: has a function of its own", in->event);
    if (in->detail && !is_canonical(in->detail))
        return err_set(e, E_INTERNAL, "audit %s: detail is not a canonical JSON object", in->event);
    return append(s, in, now, e);
}

/* "cert:fleet-ca/01ab..." */
struct cert_name {
    char serial[SERIAL_MAX_LEN * 2 + 1];
    char object[ID_MAX_LEN + SERIAL_MAX_LEN * 2 + 8];
};

static struct cert_name cert_name(const char *issuer, const uint8_t *serial, uint8_t serial_len)
{
    struct cert_name n;

    hex_encode(serial, serial_len > SERIAL_MAX_LEN ? SERIAL_MAX_LEN : serial_len, n.serial);
    snprintf(n.object, sizeof(n.object), "cert:%.*s/%s", ID_MAX_LEN, issuer, n.serial);
    return n;
}

static enum err_code append_detail(struct store *s, const struct audit_actor *who, const char *event, const char *object,
                                   const char *detail, int64_t now, struct err *e)
{
    struct audit_entry in = {
        .event = event,
        .actor = who->actor,
        .actor_kind = who->actor_kind,
        .domain = who->domain,
        .object = object,
        .detail = detail,
        .request_digest = who->request_digest,
        .signature = who->signature,
        .approvals = who->approvals,
    };

    return append(s, &in, now, e);
}

/* Takes over `detail`. */
static enum err_code append_json(struct store *s, const struct audit_actor *who, const char *event,
                                       const char *object, json_t *detail, int64_t now, struct err *e)
{
    AUTO(json_t) *json = detail;
    AUTO(char) *dump = json ? json_dumps(json, JSON_SORT_KEYS | JSON_COMPACT) : NULL;

    if (!dump)
        return err_set(e, E_NOMEM, "audit %s: detail of %s", event, object);
    return append_detail(s, who, event, object, dump, now, e);
}

/* A JSON string as json_dumps writes it; texts of ours are nearly always plain ASCII. */
static bool add_json_text(struct buf *b, const char *s)
{
    AUTO(json_t) *json = NULL;
    AUTO(char) *dump = NULL;
    const char *at = s;

    while (*at >= 0x20 && *at <= 0x7e && *at != '"' && *at != '\\')
        at++;
    if (*at == '\0') {
        buf_add_u8(b, '"');
        buf_add_str(b, s);
        buf_add_u8(b, '"');
        return true;
    }
    json = json_string(s);
    dump = json ? json_dumps(json, JSON_ENCODE_ANY) : NULL;
    buf_add_str(b, dump ? dump : "");
    return dump != NULL;
}

/* One entry for every certificate: its detail is written without building a tree of objects, in the canonical order. */
enum err_code audit_cert_issued(struct store *s, const struct audit_actor *who, const char *issuer_name,
                                const struct cert_row *cert, uint64_t seq, int64_t now, struct err *e)
{
    struct cert_name n = cert_name(issuer_name, cert->serial, cert->serial_len);
    char der_hash[sizeof(cert->der_hash) * 2 + 1], tail[sizeof(n.serial) + 48];
    AUTO_BUF detail = BUF_INIT(AUDIT_ENTRY_MAX);
    bool good;

    hex_encode(cert->der_hash, sizeof(cert->der_hash), der_hash);
    good = buf_reserve(&detail, 512);
    buf_add_str(&detail, "{\"der_sha256\":\"");
    buf_add_str(&detail, der_hash);
    buf_add_str(&detail, "\",\"issuer\":");
    good = good && add_json_text(&detail, issuer_name);
    buf_add_str(&detail, ",\"profile\":");
    good = good && add_json_text(&detail, text(cert->profile));
    buf_add_str(&detail, ",\"requester\":");
    good = good && add_json_text(&detail, text(cert->requester));
    snprintf(tail, sizeof(tail), ",\"seq\":%llu,\"serial\":\"%s\"}", (unsigned long long)seq, n.serial);
    buf_add_str(&detail, tail);
    buf_add_u8(&detail, '\0');
    if (!good || !buf_ok(&detail))
        return err_set(e, E_NOMEM, "audit %s: detail of %s", AUDIT_CERT_ISSUED, n.object);
    return append_detail(s, who, AUDIT_CERT_ISSUED, n.object, (const char *)detail.p, now, e);
}

enum err_code audit_status_changed(struct store *s, const struct audit_actor *who, const char *issuer_name,
                                   const struct status_row *row, int64_t now, struct err *e)
{
    struct cert_name n = cert_name(issuer_name, row->serial, row->serial_len);
    const char *reason = crl_reason_name(row->reason);

    if ((unsigned)row->status >= CERT_STATUSES || !reason)
        return err_set(e, E_INTERNAL, "audit of %s: status %d, reason %d", n.object, (int)row->status, (int)row->reason);
    return append_json(s, who, status_events[row->status], n.object,
                             json_pack("{s:s, s:s, s:I, s:s}", "issuer", issuer_name, "reason", reason, "seq",
                                       (json_int_t)row->seq, "serial", n.serial),
                             now, e);
}

/* --- steps of mass actions ----------------------------------------------------------------------------------- */

struct rows_digest {
    EVP_MD_CTX *ctx;
    uint64_t batch, next, to, foreign;
};

static bool digest_row(void *arg, const struct status_row *row)
{
    struct rows_digest *d = arg;
    char serial[SERIAL_MAX_LEN * 2 + 1] = "", line[256];
    int n;

    if (row->seq != d->next || row->seq > d->to)
        return false;
    d->next++;
    if (row->batch != d->batch && !d->foreign)
        d->foreign = row->seq;
    hex_encode(row->serial, row->serial_len, serial);
    n = snprintf(line, sizeof(line), "%llu %u %s %d %d %lld %lld %lld %llu %d\n", (unsigned long long)row->seq, row->issuer, serial,
                 (int)row->status, (int)row->reason, (long long)row->time, (long long)row->invalidity, (long long)row->not_after,
                 (unsigned long long)row->device, row->device ? (int)row->device_state : -1);
    return EVP_DigestUpdate(d->ctx, line, (size_t)n) == 1;
}

enum err_code audit_rows_digest(struct store *s, uint64_t batch, uint64_t from, uint64_t to, uint8_t digest[32], uint64_t *foreign,
                                struct err *e)
{
    AUTO(EVP_MD_CTX) *ctx = EVP_MD_CTX_new();
    struct rows_digest d = {.ctx = ctx, .batch = batch, .next = from, .to = to};

    if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
        return err_openssl(e, E_NOMEM, "SHA-256");
    if (from <= to && store_status_each(s, from - 1, to - from + 1, digest_row, &d, e) != E_OK)
        return e->code;
    if (from <= to && d.next != to + 1)
        return err_set(e, E_NOT_FOUND, "status row %llu", (unsigned long long)d.next);
    *foreign = d.foreign;
    return EVP_DigestFinal_ex(ctx, digest, NULL) == 1 ? E_OK : err_openssl(e, E_CRYPTO, "SHA-256");
}

enum err_code audit_batch_step(struct store *s, const struct audit_actor *who, const struct audit_step *step, int64_t now,
                               struct err *e)
{
    char object[40], hex[65];
    uint8_t digest[32];
    uint64_t to, foreign;

    if (store_status_seq(s, &to, e) != E_OK || audit_rows_digest(s, step->batch, step->seq_before + 1, to, digest, &foreign, e) != E_OK)
        return err_wrap(e, "audit %s", AUDIT_BATCH_STEP);
    if (foreign)
        return err_set(e, E_INTERNAL, "audit %s: status row %llu is not of batch %llu", AUDIT_BATCH_STEP, (unsigned long long)foreign,
                       (unsigned long long)step->batch);
    hex_encode(digest, sizeof(digest), hex);
    snprintf(object, sizeof(object), "batch:%llu", (unsigned long long)step->batch);
    return append_json(s, who, AUDIT_BATCH_STEP, object,
                             json_pack("{s:s, s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "action", step->action, "batch",
                                       (json_int_t)step->batch, "changed", (json_int_t)step->changed, "digest", hex, "first",
                                       (json_int_t)step->first, "last", (json_int_t)step->last, "refused", (json_int_t)step->refused,
                                       "rows_from", (json_int_t)(step->seq_before + 1), "rows_to", (json_int_t)to, "same",
                                       (json_int_t)step->same),
                             now, e);
}

/* --- heads --------------------------------------------------------------------------------------------------- */

enum err_code audit_head_tbs(struct store *s, struct bytes ledger_id, int64_t now, struct audit_head_row *out,
                             struct buf *tbs, struct err *e)
{
    struct derw w;
    struct audit_head_row last;
    enum err_code code = store_audit_head_last(s, &last, e);

    *out = (struct audit_head_row){.time = now};
    if (code != E_OK && code != E_NOT_FOUND)
        return code;
    if (code == E_NOT_FOUND)
        last.seq = 0;
    if (store_audit_last(s, &out->seq, out->hash, e) != E_OK)
        return e->code;
    if (out->seq <= last.seq)
        return err_set(e, E_NOT_FOUND, "no audit entry after head %llu", (unsigned long long)last.seq);
    buf_reset(tbs);
    derw_init(&w, tbs);
    derw_begin(&w, DER_SEQUENCE);
    derw_utf8(&w, AUDIT_HEAD_TAG);
    derw_u64(&w, out->seq);
    derw_gentime(&w, now);
    derw_octets(&w, BYTES_OF(out->hash));
    derw_element(&w, DER_UTF8_STRING, ledger_id);
    derw_end(&w);
    if (!derw_finish(&w))
        return err_set(e, E_NOMEM, "audit head does not fit %zu octets", tbs->max);
    out->tbs = buf_bytes(tbs);
    return E_OK;
}

/* A crash may have torn the last append: the next line starts on its own all the same. */
static bool ends_inside_a_line(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    char last;

    return size > 0 && (pread(fd, &last, 1, size - 1) != 1 || last != '\n');
}

void audit_head_line(const struct audit_head_row *head, struct buf *out)
{
    char hash[sizeof(head->hash) * 2 + 1];

    hex_encode(head->hash, sizeof(head->hash), hash);
    buf_printf(out, "%llu %lld %s %s ", (unsigned long long)head->seq, (long long)head->time, hash, head->key);
    base64_encode(out, head->tbs, 0);
    buf_add_u8(out, ' ');
    base64_encode(out, head->signature, 0);
}

enum err_code audit_head_publish(const char *dir_marks, const struct audit_head_row *head, struct err *e)
{
    AUTO_BUF line = BUF_INIT(AUDIT_HEAD_LINE_MAX);
    AUTO_FD int fd = -1;
    char path[4096];
    ssize_t n;

    if (!audit_algorithm(head->sig_alg) || head->signature.len == 0 || head->tbs.len == 0)
        return err_set(e, E_INTERNAL, "audit head %llu is not signed", (unsigned long long)head->seq);
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir_marks, AUDIT_HEADS_FILE) >= sizeof(path))
        return err_set(e, E_INVALID, "%s: path too long", dir_marks);
    fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return err_errno(e, E_IO, "%s", path);
    if (ends_inside_a_line(fd))
        buf_add_u8(&line, '\n');
    audit_head_line(head, &line);
    buf_add_u8(&line, '\n');
    if (!buf_ok(&line))
        return err_set(e, E_NOMEM, "audit head %llu: line longer than %d octets", (unsigned long long)head->seq,
                       AUDIT_HEAD_LINE_MAX);
    n = write(fd, line.p, line.len);
    if (n >= 0 && (size_t)n != line.len)
        errno = ENOSPC;
    if (n < 0 || (size_t)n != line.len || fsync(fd) != 0)
        return err_errno(e, E_IO, "append to %s", path);
    return store_sync_path(dir_marks, e); /* the file may be new */
}
