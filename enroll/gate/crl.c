/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists for servers of this host. A list is written only when every CA of its `ca` file has a valid, current CRL in it that is
 * not older than the one that is there: a server that reads an expired list, or none of one CA, refuses every good unit.
 *
 * Fetched at once when the feed says that a certificate of its CAs changed, again and again until the change stands in it, and
 * every `poll` besides.
 */
#include <curl/curl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fsio.h"
#include "enroll/gate/gate.h"

#define CAS_MAX     32
#define LIST_MAX    ((size_t)256 * 1024 * 1024)
#define CA_FILE_MAX (1024 * 1024)
#define FETCH_S     60L
#define AGAIN_MS    150   /* until a change stands in the list */
#define RETRY_MS    1000  /* after a failure */
#define BEHIND_MS   30000 /* so long: then it is said, and asked every second */
#define CLOCK_S     300   /* a thisUpdate this far ahead is taken for a slow clock of ours */

AUTO_TYPE(BIO, BIO_free_all)

/* The CAs of one source, and the list of each that is in use. */
struct lists {
    X509 *ca[CAS_MAX];
    X509_CRL *crl[CAS_MAX];
    size_t n;
    CURL *curl;
    struct buf body;
    char etag[128], new_etag[128];
};

/* ---- reading and judging ---- */

static X509_CRL *next_crl(BIO *bio, bool pem)
{
    return pem ? PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL) : d2i_X509_CRL_bio(bio, NULL);
}

static int64_t time_of(const ASN1_TIME *t)
{
    struct tm tm;

    return t && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : -1;
}

/* A number of at most 20 octets; NULL: the list has none. */
static ASN1_INTEGER *number_of(X509_CRL *crl)
{
    return X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
}

static bool is_older(X509_CRL *crl, X509_CRL *than)
{
    ASN1_INTEGER *a = number_of(crl), *b = number_of(than);
    bool older = a && b ? ASN1_INTEGER_cmp(a, b) < 0 : time_of(X509_CRL_get0_lastUpdate(crl)) < time_of(X509_CRL_get0_lastUpdate(than));

    ASN1_INTEGER_free(a);
    ASN1_INTEGER_free(b);
    return older;
}

static int ca_of(const struct lists *l, X509_CRL *crl)
{
    for (size_t i = 0; i < l->n; i++)
        if (X509_NAME_cmp(X509_get_subject_name(l->ca[i]), X509_CRL_get_issuer(crl)) == 0)
            return (int)i;
    return -1;
}

static const char *ca_name(const struct lists *l, size_t i, char *room, size_t size)
{
    if (X509_NAME_get_text_by_NID(X509_get_subject_name(l->ca[i]), NID_commonName, room, (int)size) <= 0)
        snprintf(room, size, "number %zu", i);
    return room;
}

/* `again`: one that was good when it was written, whatever its dates say now. */
static enum err_code judge(const struct lists *l, size_t i, X509_CRL *crl, int64_t now, bool again, struct err *e)
{
    int64_t from = time_of(X509_CRL_get0_lastUpdate(crl)), until = time_of(X509_CRL_get0_nextUpdate(crl));
    char name[80];
    int idp = X509_CRL_get_ext_by_NID(crl, NID_issuing_distribution_point, -1);
    int delta = X509_CRL_get_ext_by_NID(crl, NID_delta_crl, -1);

    ca_name(l, i, name, sizeof(name));
    if (X509_CRL_verify(crl, X509_get0_pubkey(l->ca[i])) != 1) {
        ERR_clear_error();
        return err_set(e, E_DENIED, "CRL of \"%s\": the signature is not by its key (RFC 5280 5.1.1.3)", name);
    }
    if (idp >= 0 || delta >= 0)
        return err_set(e, E_INVALID, "CRL of \"%s\": a part of the list only (RFC 5280 5.2.4, 5.2.5)", name);
    if (again)
        return E_OK;
    if (from < 0 || from > now + CLOCK_S)
        return err_set(e, E_INVALID, "CRL of \"%s\": thisUpdate lies ahead", name);
    if (until <= now)
        return err_set(e, E_INVALID, "CRL of \"%s\": nextUpdate has passed: with it every unit would be refused", name);
    if (l->crl[i] && is_older(crl, l->crl[i]))
        return err_set(e, E_CONFLICT, "CRL of \"%s\": older than the one in use (RFC 5280 5.2.3)", name);
    return E_OK;
}

static void drop(X509_CRL **crl)
{
    for (size_t i = 0; i < CAS_MAX; i++) {
        X509_CRL_free(crl[i]);
        crl[i] = NULL;
    }
}

/* Every CA's list of a bundle into `out`; all or none. None may be older than the one in use. */
static enum err_code read_bundle(const struct lists *l, struct bytes text, int64_t now, bool again, X509_CRL *out[CAS_MAX], struct err *e)
{
    bool pem = text.len > 10 && memmem(text.p, text.len, "-----BEGIN", 10);
    AUTO(BIO) *bio = BIO_new_mem_buf(text.p, (int)text.len);
    enum err_code code = bio ? E_OK : err_set(e, E_NOMEM, "CRL");
    X509_CRL *crl;
    char name[80];

    while (code == E_OK && (crl = next_crl(bio, pem))) {
        int i = ca_of(l, crl);

        if (i < 0 || out[i]) { /* of others: not written */
            X509_CRL_free(crl);
            continue;
        }
        out[i] = crl;
        code = judge(l, (size_t)i, crl, now, again, e);
    }
    ERR_clear_error();
    for (size_t i = 0; code == E_OK && i < l->n; i++)
        if (!out[i])
            code = err_set(e, E_INVALID, "no CRL of \"%s\" in it: with it every unit of that CA would be refused", ca_name(l, i, name, sizeof(name)));
    if (code != E_OK)
        drop(out);
    return code;
}

/* ---- fetching ---- */

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct lists *l = arg;

    buf_add(&l->body, p, size * n);
    return buf_ok(&l->body) ? size * n : 0;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct lists *l = arg;
    size_t len = size * n;

    if (len > 6 && len - 6 < sizeof(l->new_etag) && strncasecmp(p, "ETag:", 5) == 0) {
        char *to = l->new_etag;

        for (size_t i = 5; i < len; i++)
            if (p[i] > ' ' && p[i] < 0x7f)
                *to++ = p[i];
        *to = '\0';
    }
    return len;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return gate_is_stopping(arg);
}

/* E_OK with the body; *same: the one in use is still the newest. */
static enum err_code fetch(struct crl_source *s, bool *same, struct err *e)
{
    struct lists *l = s->lists;
    struct curl_slist *headers = NULL;
    char line[160];
    CURLcode rc;
    long status = 0;

    buf_reset(&l->body);
    l->new_etag[0] = '\0';
    curl_easy_reset(l->curl);
    snprintf(line, sizeof(line), "If-None-Match: %s", l->etag);
    headers = l->etag[0] ? curl_slist_append(NULL, line) : NULL;
    curl_easy_setopt(l->curl, CURLOPT_URL, s->conf->url);
    curl_easy_setopt(l->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(l->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(l->curl, CURLOPT_TIMEOUT, FETCH_S);
    curl_easy_setopt(l->curl, CURLOPT_CONNECTTIMEOUT, 5L);
    curl_easy_setopt(l->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(l->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(l->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(l->curl, CURLOPT_WRITEDATA, l);
    curl_easy_setopt(l->curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(l->curl, CURLOPT_HEADERDATA, l);
    curl_easy_setopt(l->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(l->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(l->curl, CURLOPT_XFERINFODATA, s->gate);
    rc = curl_easy_perform(l->curl);
    curl_easy_getinfo(l->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    *same = rc == CURLE_OK && status == 304;
    if (rc != CURLE_OK)
        return err_set(e, E_IO, "%s: %s", s->conf->url, curl_easy_strerror(rc));
    return status == 200 || *same ? E_OK : err_set(e, E_IO, "%s: HTTP %ld", s->conf->url, status);
}

/* ---- writing ---- */

static enum err_code write_file(const struct crl_source *s, X509_CRL *const *crl, struct err *e)
{
    AUTO_BUF text = BUF_INIT(2 * LIST_MAX);

    for (size_t i = 0; i < s->lists->n; i++) {
        unsigned char *der = NULL;
        int len = i2d_X509_CRL(crl[i], &der);

        if (len <= 0)
            return err_openssl(e, E_NOMEM, "i2d_X509_CRL");
        pem_write(&text, "X509 CRL", BYTES(der, len));
        OPENSSL_free(der);
    }
    return buf_ok(&text) ? file_write_atomic(s->conf->file, buf_bytes(&text), 0644, e) : buf_err(&text, e, "%s", s->conf->file);
}

static bool same_lists(const struct lists *l, X509_CRL *const *crl)
{
    for (size_t i = 0; i < l->n; i++)
        if (!l->crl[i] || X509_CRL_match(l->crl[i], crl[i]) != 0)
            return false;
    return true;
}

static void take(struct lists *l, X509_CRL **crl)
{
    for (size_t i = 0; i < l->n; i++) {
        X509_CRL_free(l->crl[i]);
        l->crl[i] = TAKE(crl[i]);
    }
}

static int64_t earliest_end(const struct lists *l)
{
    int64_t first = INT64_MAX;

    for (size_t i = 0; i < l->n; i++)
        if (l->crl[i] && time_of(X509_CRL_get0_nextUpdate(l->crl[i])) < first)
            first = time_of(X509_CRL_get0_nextUpdate(l->crl[i]));
    return first;
}

static void announce(struct crl_source *s, uint64_t bytes_seq, bool is_new)
{
    gate_lock(s->gate);
    if (is_new) {
        s->version++;
        s->written_at = clock_now();
        s->next_update = earliest_end(s->lists);
    }
    if (bytes_seq > s->seq)
        s->seq = bytes_seq;
    pthread_cond_broadcast(&s->gate->changed);
    gate_unlock(s->gate);
}

/* ---- does the list say what the feed says? ---- */

static int ca_of_issuer(const struct lists *l, const struct table *t, uint32_t n)
{
    const struct table_issuer *issuers;
    size_t count = table_issuers(t, &issuers);

    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; issuers[i].n == n && k < l->n; k++)
            if (X509_NAME_cmp(X509_get_subject_name(l->ca[k]), X509_get_subject_name(issuers[i].cert)) == 0)
                return (int)k;
    return -1;
}

static bool is_listed(X509_CRL *crl, struct bytes serial)
{
    BIGNUM *n = BN_bin2bn(serial.p, (int)serial.len, NULL);
    ASN1_INTEGER *number = n ? BN_to_ASN1_INTEGER(n, NULL) : NULL;
    X509_REVOKED *entry;
    bool listed = number && X509_CRL_get0_by_serial(crl, &entry, number) == 1;

    ASN1_INTEGER_free(number);
    BN_free(n);
    return listed;
}

/* With the lock held: does the list say of this certificate what is known of it now? It may leave out what has expired. */
static bool is_said(const struct lists *l, const struct table *t, const struct feed_cert *c)
{
    int ca = ca_of_issuer(l, t, c->issuer);
    struct bytes serial = BYTES(c->serial, c->serial_len);
    struct feed_cert newest;

    if (ca < 0 || !table_find(t, c->issuer, serial, &newest) || newest.not_after < clock_now())
        return true;
    return l->crl[ca] && is_listed(l->crl[ca], serial) == (newest.status != FEED_GOOD);
}

/* With the lock held: from change *from on; moves *from to the first that is not in the list yet, or to the end. */
static bool says_all(const struct lists *l, const struct table *t, size_t *from)
{
    struct feed_cert c;

    for (; table_change_line(t, *from, &c); ++*from)
        if (!is_said(l, t, &c))
            return false;
    return true;
}

/* ---- the thread ---- */

static enum err_code refresh(struct crl_source *s, bool *is_new, struct err *e)
{
    struct lists *l = s->lists;
    X509_CRL *crl[CAS_MAX] = {NULL};
    bool same = false;

    *is_new = false;
    if (fetch(s, &same, e) != E_OK || same)
        return e->code;
    if (read_bundle(l, buf_bytes(&l->body), clock_now(), false, crl, e) != E_OK)
        return err_wrap(e, "%s", s->conf->url);
    *is_new = !same_lists(l, crl) || s->version == 0;
    if (*is_new && write_file(s, crl, e) != E_OK) {
        drop(crl);
        return e->code;
    }
    if (*is_new)
        take(l, crl);
    drop(crl);
    snprintf(l->etag, sizeof(l->etag), "%s", l->new_etag);
    return E_OK;
}

static void note(struct crl_source *s, const struct err *e)
{
    bool news;

    gate_lock(s->gate);
    news = strcmp(s->error, e->msg) != 0;
    snprintf(s->error, sizeof(s->error), "%s", e->msg);
    gate_unlock(s->gate);
    if (news && e->code != E_OK)
        log_failure_of("gate-list-failed", "list", s->conf->name, e);
    else if (news)
        log_note(LOG_INFO, "gate-list-good-again", "list", s->conf->name);
}

static void log_written(const struct crl_source *s)
{
    struct log_line l;

    log_begin(&l, LOG_INFO, "gate-list-written");
    log_str(&l, "list", s->conf->name);
    log_u64(&l, "version", s->version);
    log_end(&l);
}

struct progress {
    uint64_t table_no;
    size_t line;              /* of the snapshot: the first that the list may not have */
    bool lines_left;          /* there may be one */
    size_t from;              /* likewise of the changes */
    int64_t behind_since_ms;  /* 0: it is not behind */
    int64_t polled_ms;
};

/* With the lock held. A new snapshot begins anew. */
static bool is_behind(struct crl_source *s, struct progress *p)
{
    struct gate *g = s->gate;

    if (!g->table)
        return false;
    if (p->table_no != g->table_no) {
        p->table_no = g->table_no;
        p->line = p->from = 0;
        p->lines_left = true;
        p->polled_ms = 0;
    }
    return p->lines_left || !says_all(s->lists, g->table, &p->from);
}

/* A list was fetched: whom the snapshot has as refused must be in it, also who became so a moment before. The lock is not held throughout. */
static void walk_snapshot(struct crl_source *s, struct progress *p)
{
    struct gate *g = s->gate;
    struct table *t = NULL;
    struct feed_cert c;
    bool said = true;

    gate_lock(g);
    if (p->lines_left && g->table && p->table_no == g->table_no)
        t = table_ref(g->table);
    gate_unlock(g);
    if (!t)
        return;
    while (said && table_base_line(t, p->line, &c)) {
        if (c.status != FEED_GOOD) {
            gate_lock(g);
            said = is_said(s->lists, t, &c);
            gate_unlock(g);
        }
        p->line += said;
    }
    p->lines_left = !said;
    table_unref(t);
}

/* Waits until there is a reason to fetch; false: the gate stops. */
static bool wait_for_reason(struct crl_source *s, struct progress *p, bool failed)
{
    struct gate *g = s->gate;
    bool go;

    gate_lock(g);
    for (;;) {
        int64_t now = clock_mono_ms(), due = p->polled_ms + (failed ? RETRY_MS : s->conf->poll_s * 1000);
        bool behind = is_behind(s, p);

        if (!behind && s->version && g->table && table_seq(g->table) > s->seq) { /* what came does not concern the list, or stands in it */
            s->seq = table_seq(g->table);
            pthread_cond_broadcast(&g->changed);
        }
        if (!behind)
            p->behind_since_ms = 0;
        else if (!p->behind_since_ms)
            p->behind_since_ms = now;
        if (behind && !failed)
            due = p->polled_ms + (now - p->behind_since_ms > BEHIND_MS ? RETRY_MS : AGAIN_MS);
        if (g->stopping || p->polled_ms == 0 || now >= due)
            break;
        gate_wait(g, due - now);
    }
    go = !g->stopping;
    gate_unlock(g);
    return go;
}

void *crl_run(void *arg)
{
    struct crl_source *s = arg;
    struct progress p = {0};
    bool failed = false;

    while (wait_for_reason(s, &p, failed)) {
        struct err e = {0};
        uint64_t seq = 0;
        bool is_new = false;

        p.polled_ms = clock_mono_ms();
        failed = refresh(s, &is_new, &e) != E_OK;
        if (gate_is_stopping(s->gate))
            break;
        note(s, &e);
        gate_lock(s->gate);
        if (!failed && s->gate->table && !is_behind(s, &p))
            seq = table_seq(s->gate->table);
        gate_unlock(s->gate);
        if (!failed)
            announce(s, seq, is_new);
        if (is_new)
            log_written(s);
        if (!failed)
            walk_snapshot(s, &p);
    }
    return NULL;
}

/* ---- start and end ---- */

static enum err_code load_cas(struct lists *l, const char *path, struct err *e)
{
    AUTO_BUF pem = BUF_INIT(CA_FILE_MAX);
    AUTO(BIO) *bio = NULL;
    X509 *ca;

    if (file_read(path, &pem, e) != E_OK)
        return e->code;
    bio = BIO_new_mem_buf(pem.p, (int)pem.len);
    while (bio && l->n < CAS_MAX && (ca = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        l->ca[l->n++] = ca;
    ERR_clear_error();
    return l->n ? E_OK : err_set(e, E_INVALID, "%s: no certificate in PEM", path);
}

/* What an earlier run left counts as a floor, also when it has expired by now. */
static void load_last(struct crl_source *s)
{
    AUTO_BUF text = BUF_INIT(2 * LIST_MAX);
    X509_CRL *crl[CAS_MAX] = {NULL};
    struct err e = {0};

    if (file_read(s->conf->file, &text, &e) != E_OK)
        return;
    if (read_bundle(s->lists, buf_bytes(&text), clock_now(), true, crl, &e) != E_OK) {
        log_failure_of("gate-list-failed", "list", s->conf->name, &e);
        return;
    }
    take(s->lists, crl);
    s->next_update = earliest_end(s->lists);
    s->version = s->next_update > clock_now() ? 1 : 0; /* an expired one is no news for a server */
}

enum err_code crl_open(struct crl_source *s, struct err *e)
{
    s->lists = calloc(1, sizeof(*s->lists));
    if (!s->lists || !(s->lists->curl = curl_easy_init()))
        return err_set(e, E_NOMEM, "list %s", s->conf->name);
    buf_init(&s->lists->body, LIST_MAX);
    if (load_cas(s->lists, s->conf->ca, e) != E_OK)
        return e->code;
    load_last(s);
    return E_OK;
}

void crl_close(struct crl_source *s)
{
    struct lists *l = s->lists;

    if (!l)
        return;
    for (size_t i = 0; i < l->n; i++) {
        X509_free(l->ca[i]);
        X509_CRL_free(l->crl[i]);
    }
    curl_easy_cleanup(l->curl);
    buf_clear(&l->body);
    free(l);
    s->lists = NULL;
}

enum err_code crl_each_serial(const struct gate_crl *conf, void (*each)(void *arg, struct bytes serial), void *arg, struct err *e)
{
    AUTO_BUF text = BUF_INIT(2 * LIST_MAX);
    AUTO(BIO) *bio = NULL;
    X509_CRL *crl;

    if (file_read(conf->file, &text, e) != E_OK)
        return e->code;
    bio = BIO_new_mem_buf(text.p, (int)text.len);
    while (bio && (crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL))) {
        STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(crl);

        for (int i = 0; i < sk_X509_REVOKED_num(entries); i++) {
            const ASN1_INTEGER *serial = X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(entries, i));

            each(arg, BYTES(ASN1_STRING_get0_data(serial), ASN1_STRING_length(serial)));
        }
        X509_CRL_free(crl);
    }
    ERR_clear_error();
    return E_OK;
}
