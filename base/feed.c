/* SPDX-License-Identifier: Apache-2.0 */
#include "base/feed.h"

#include <inttypes.h>
#include <string.h>

#include "base/auto.h"

#define FIELDS 11

static const char *const status_names[FEED_STATUSES] = {[FEED_GOOD] = "good", [FEED_ON_HOLD] = "on_hold", [FEED_REVOKED] = "revoked"};

const char *feed_status_name(enum feed_status s)
{
    return s < FEED_STATUSES ? status_names[s] : NULL;
}

/* ---- one certificate ---- */

static bool is_plain(uint8_t c)
{
    return c > 0x20 && c < 0x7f && c != '%' && c != '"' && c != '\\';
}

static void text_write(struct buf *out, struct bytes text)
{
    if (text.len > FEED_TEXT_MAX)
        text.len = FEED_TEXT_MAX;
    buf_add_u8(out, '\t');
    if (text.len == 0)
        buf_add_str(out, "-");
    else if (text.len == 1 && text.p[0] == '-')
        buf_add_str(out, "%2D");
    else
        for (size_t i = 0; i < text.len; i++)
            if (is_plain(text.p[i]))
                buf_add_u8(out, text.p[i]);
            else
                buf_printf(out, "%%%02X", text.p[i]);
}

void feed_cert_write(struct buf *out, const struct feed_cert *c)
{
    char serial[2 * SERIAL_MAX_LEN + 1];

    hex_encode(c->serial, c->serial_len, serial);
    buf_printf(out, "%" PRIu32 "\t%s\t%s", c->issuer, serial, feed_status_name(c->status));
    text_write(out, c->reason);
    text_write(out, c->state);
    text_write(out, c->scope);
    buf_printf(out, "\t%" PRId64, c->not_after);
    text_write(out, c->domain);
    text_write(out, c->device_id);
    text_write(out, c->firmware);
    text_write(out, c->product);
}

/* Decimal without sign and leading zeros. */
static bool read_number(struct bytes s, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;

    if (s.len == 0 || (s.len > 1 && s.p[0] == '0'))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || v > (max - (uint64_t)(s.p[i] - '0')) / 10)
            return false;
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    }
    *out = v;
    return true;
}

static bool read_serial(struct bytes s, struct feed_cert *c)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] >= 'A' && s.p[i] <= 'F')
            return false;
    return hex_decode((const char *)s.p, s.len, c->serial, sizeof(c->serial), &c->serial_len) && c->serial_len > 0 &&
           (c->serial[0] != 0 || c->serial_len == 1);
}

static bool read_status(struct bytes s, enum feed_status *out)
{
    for (int i = 0; i < FEED_STATUSES; i++)
        if (bytes_equal(s, bytes_str(status_names[i]))) {
            *out = (enum feed_status)i;
            return true;
        }
    return false;
}

static bool read_text(struct bytes s, struct bytes *out)
{
    char plain[FEED_TEXT_MAX + 1];

    *out = bytes_equal(s, bytes_str("-")) ? (struct bytes){NULL, 0} : s;
    return s.len > 0 && (out->len == 0 || feed_text(*out, plain, sizeof(plain)));
}

/* Splits at TABs: the number of fields, FIELDS + 1 for more. */
static size_t split(struct bytes line, struct bytes field[FIELDS])
{
    size_t n = 0, start = 0;

    for (size_t i = 0; i <= line.len; i++) {
        if (i < line.len && line.p[i] != '\t')
            continue;
        if (n == FIELDS)
            return n + 1;
        field[n++] = BYTES(line.p + start, i - start);
        start = i + 1;
    }
    return n;
}

enum err_code feed_cert_read(struct bytes line, struct feed_cert *out, struct err *e)
{
    struct bytes f[FIELDS];
    uint64_t v = 0;

    *out = (struct feed_cert){0};
    if (line.len > FEED_LINE_MAX || split(line, f) != FIELDS)
        return err_set(e, E_INVALID, "feed line: not %d fields in at most %d octets", FIELDS, FEED_LINE_MAX);
    if (!read_number(f[0], FEED_ISSUERS_MAX, &v))
        return err_set(e, E_INVALID, "feed line: issuer number");
    out->issuer = (uint32_t)v;
    if (!read_serial(f[1], out))
        return err_set(e, E_INVALID, "feed line: serial is not lower-case hex of 1 to %d octets", SERIAL_MAX_LEN);
    if (!read_status(f[2], &out->status))
        return err_set(e, E_INVALID, "feed line: status is none of good, on_hold, revoked");
    if (!read_text(f[3], &out->reason) || !read_text(f[4], &out->state) || !read_text(f[5], &out->scope))
        return err_set(e, E_INVALID, "feed line: reason, state or scope");
    if (!read_number(f[6], INT64_MAX, &v))
        return err_set(e, E_INVALID, "feed line: not_after");
    out->not_after = (int64_t)v;
    if (!read_text(f[7], &out->domain) || !read_text(f[8], &out->device_id) || !read_text(f[9], &out->firmware) ||
        !read_text(f[10], &out->product))
        return err_set(e, E_INVALID, "feed line: domain, device_id, firmware or product");
    return E_OK;
}

bool feed_cert_read_key(struct bytes line, struct feed_cert *out)
{
    const uint8_t *end = line.p + line.len, *first = memchr(line.p, '\t', line.len);
    const uint8_t *second = first ? memchr(first + 1, '\t', (size_t)(end - first - 1)) : NULL;
    uint64_t issuer;

    if (!second || !read_number(BYTES(line.p, (size_t)(first - line.p)), FEED_ISSUERS_MAX, &issuer))
        return false;
    out->issuer = (uint32_t)issuer;
    return read_serial(BYTES(first + 1, (size_t)(second - first - 1)), out);
}

static int hex_value(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool feed_text(struct bytes escaped, char *out, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < escaped.len; i++) {
        int c = escaped.p[i];

        if (c == '%') {
            int high = i + 2 < escaped.len ? hex_value(escaped.p[i + 1]) : -1;
            int low = high >= 0 ? hex_value(escaped.p[i + 2]) : -1;

            if (low < 0)
                return false;
            c = high << 4 | low;
            i += 2;
        } else if (!is_plain((uint8_t)c)) {
            return false;
        }
        if (c == 0 || n + 1 >= size)
            return false;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return true;
}

int feed_cert_order(const struct feed_cert *a, const struct feed_cert *b)
{
    if (a->issuer != b->issuer)
        return a->issuer < b->issuer ? -1 : 1;
    if (a->serial_len != b->serial_len)
        return a->serial_len < b->serial_len ? -1 : 1;
    return memcmp(a->serial, b->serial, a->serial_len);
}

/* ---- payloads ---- */

/* Text that needs no escapes is all there is: names of CAs and ledger ids. */
void feed_snapshot_write(struct buf *out, const struct feed_snapshot *s)
{
    char hex[65];

    buf_printf(out, "{\"ledger\":\"%s\",\"seq\":%" PRIu64 ",\"time\":%" PRId64 ",\"valid_s\":%" PRIu32 ",\"issuers\":[", s->ledger,
               s->seq, s->time, s->valid_s);
    for (size_t i = 0; i < s->issuers_n; i++) {
        const struct feed_issuer *a = &s->issuers[i];
        char ski[2 * 64 + 1] = "";

        if (a->ski.len <= 64)
            hex_encode(a->ski.p, a->ski.len, ski);
        buf_printf(out, "%s{\"n\":%" PRIu32 ",\"name\":\"%s\",\"ski\":\"%s\",\"cert\":\"", i ? "," : "", a->n, a->name, ski);
        base64_encode(out, a->cert, 0);
        buf_add_str(out, "\"}");
    }
    hex_encode(s->sha256, sizeof(s->sha256), hex);
    buf_printf(out, "],\"count\":%" PRIu64 ",\"sha256\":\"%s\"}", s->count, hex);
}

void feed_changes_begin(struct buf *out, const char *ledger, uint64_t after, uint64_t seq, int64_t time)
{
    buf_printf(out, "{\"ledger\":\"%s\",\"after\":%" PRIu64 ",\"seq\":%" PRIu64 ",\"time\":%" PRId64 ",\"rows\":[", ledger, after, seq,
               time);
}

void feed_changes_row(struct buf *out, bool first, uint64_t seq, const struct feed_cert *c)
{
    AUTO_BUF line = BUF_INIT(8 * FEED_LINE_MAX);

    feed_cert_write(&line, c);
    buf_printf(out, "%s[%" PRIu64 ",\"", first ? "" : ",", seq);
    for (size_t i = 0; i < line.len; i++)
        if (line.p[i] == '\t')
            buf_add_str(out, "\\t");
        else
            buf_add_u8(out, line.p[i]);
    buf_add_str(out, "\"]");
    out->failed |= !buf_ok(&line);
}

void feed_changes_end(struct buf *out)
{
    buf_add_str(out, "]}");
}

/* ---- JWS ---- */

static void header_write(struct buf *out, enum sig_alg alg, const char *typ, const struct bytes *chain, size_t chain_n)
{
    buf_printf(out, "{\"alg\":\"%s\",\"typ\":\"%s\",\"x5c\":[", jws_alg_name(alg) ? jws_alg_name(alg) : "none", typ);
    for (size_t i = 0; i < chain_n; i++) {
        buf_add_str(out, i ? ",\"" : "\"");
        base64_encode(out, chain[i], 0);
        buf_add_str(out, "\"");
    }
    buf_add_str(out, "]}");
}

void feed_signing_input(struct buf *out, enum sig_alg alg, const char *typ, const struct bytes *chain, size_t chain_n, struct bytes payload)
{
    AUTO_BUF json = BUF_INIT(FEED_CHAIN_MAX * 2 * CERT_MAX_LEN);

    header_write(&json, alg, typ, chain, chain_n);
    base64url_encode(out, buf_bytes(&json));
    buf_add_str(out, ".");
    base64url_encode(out, payload);
    out->failed |= !buf_ok(&json);
}

void feed_signature_write(struct buf *out, struct bytes raw_signature)
{
    buf_add_str(out, ".");
    base64url_encode(out, raw_signature);
}

static bool take(struct bytes *in, const char *text)
{
    size_t n = strlen(text);

    if (in->len < n || memcmp(in->p, text, n) != 0)
        return false;
    *in = BYTES(in->p + n, in->len - n);
    return true;
}

/* Up to the next quotation mark, which is taken too. */
static bool take_text(struct bytes *in, struct bytes *out)
{
    const uint8_t *end = in->len ? memchr(in->p, '"', in->len) : NULL;

    if (!end)
        return false;
    *out = BYTES(in->p, (size_t)(end - in->p));
    *in = BYTES(end + 1, in->len - out->len - 1);
    return true;
}

static bool read_alg(struct bytes name, enum sig_alg *out)
{
    static const enum sig_alg known[] = {SIG_ECDSA_SHA256, SIG_ECDSA_SHA384, SIG_ED25519};

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (bytes_equal(name, bytes_str(jws_alg_name(known[i])))) {
            *out = known[i];
            return true;
        }
    return false;
}

static enum err_code header_read(struct bytes json, const char *typ, struct feed_jws *out, struct err *e)
{
    struct bytes alg, type, cert;

    if (!take(&json, "{\"alg\":\"") || !take_text(&json, &alg) || !read_alg(alg, &out->jws.header.alg))
        return err_set(e, E_INVALID, "feed JWS: alg is none of ES256, ES384, EdDSA, or does not stand first");
    if (!take(&json, ",\"typ\":\"") || !take_text(&json, &type) || !bytes_equal(type, bytes_str(typ)))
        return err_set(e, E_INVALID, "feed JWS: typ is not %s", typ);
    memcpy(out->jws.header.typ, typ, strlen(typ) + 1);
    if (!take(&json, ",\"x5c\":["))
        return err_set(e, E_INVALID, "feed JWS: x5c is missing");
    do {
        if (out->chain_n == FEED_CHAIN_MAX || !take(&json, "\"") || !take_text(&json, &cert))
            return err_set(e, E_INVALID, "feed JWS: x5c is not a list of 1 to %d texts", FEED_CHAIN_MAX);
        buf_init(&out->chain[out->chain_n++], CERT_MAX_LEN);
        if (base64_decode(cert, &out->chain[out->chain_n - 1], e) != E_OK)
            return err_wrap(e, "feed JWS: x5c");
    } while (take(&json, ","));
    return take(&json, "]}") && json.len == 0 ? E_OK : err_set(e, E_INVALID, "feed JWS: something after x5c");
}

enum err_code feed_input_read(struct bytes text, const char *typ, struct feed_jws *out, struct err *e)
{
    AUTO_BUF header = BUF_INIT(FEED_CHAIN_MAX * 2 * CERT_MAX_LEN);
    const uint8_t *dot = text.len ? memchr(text.p, '.', text.len) : NULL;

    memset(out, 0, sizeof(*out));
    if (!dot || dot == text.p || dot + 1 == text.p + text.len)
        return err_set(e, E_INVALID, "feed JWS: no header and payload with a dot between (RFC 7515 7.1)");
    out->jws.protected_text = BYTES(text.p, (size_t)(dot - text.p));
    out->jws.payload_text = BYTES(dot + 1, text.len - out->jws.protected_text.len - 1);
    if (base64url_decode(out->jws.protected_text, &header, e) != E_OK)
        return err_wrap(e, "feed JWS: header");
    if (header_read(buf_bytes(&header), typ, out, e) != E_OK)
        return e->code;
    if (!base64url_is_valid(out->jws.payload_text))
        return err_set(e, E_INVALID, "feed JWS: payload is not base64url without padding");
    return E_OK;
}

enum err_code feed_jws_read(struct bytes text, const char *typ, struct feed_jws *out, struct err *e)
{
    uint8_t room[JWS_SIG_MAX + 3];
    struct buf signature = {room, 0, sizeof(room), sizeof(room), false, false}; /* never grows */
    const uint8_t *dot = text.len ? memrchr(text.p, '.', text.len) : NULL;
    struct bytes signature_text;

    memset(out, 0, sizeof(*out));
    if (text.len > FEED_JWS_MAX)
        return err_set(e, E_INVALID, "feed JWS of %zu octets, at most %d", text.len, FEED_JWS_MAX);
    if (!dot || dot + 1 == text.p + text.len)
        return err_set(e, E_INVALID, "feed JWS: not three parts with two dots (RFC 7515 7.1)");
    signature_text = BYTES(dot + 1, (size_t)(text.p + text.len - dot - 1));
    if (feed_input_read(BYTES(text.p, (size_t)(dot - text.p)), typ, out, e) != E_OK)
        return e->code;
    if (signature_text.len > JWS_SIG_MAX / 3 * 4 || base64url_decode(signature_text, &signature, e) != E_OK)
        return err_set(e, E_INVALID, "feed JWS: signature is not base64url of at most %d octets", JWS_SIG_MAX);
    out->jws.signature_len = signature.len;
    memcpy(out->jws.signature, room, signature.len);
    return E_OK;
}

void feed_jws_clear(struct feed_jws *j)
{
    for (size_t i = 0; i < FEED_CHAIN_MAX; i++)
        buf_clear(&j->chain[i]);
    j->chain_n = 0;
}

/* ---- what a gateway says of its servers ---- */

void feed_servers_write(struct buf *out, const struct feed_server *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s%s/%" PRIu64 "/%" PRId64, i ? "," : "", v[i].name, v[i].seq, v[i].at);
}

/* The octets up to `end`, or all that is left, taken off `s`; false: there is no `end`. */
static bool take_up_to(struct bytes *s, char end, struct bytes *out)
{
    const uint8_t *at = s->len ? memchr(s->p, end, s->len) : NULL;
    size_t len = at ? (size_t)(at - s->p) : s->len, skip = at ? 1 : 0;

    *out = BYTES(s->p, len);
    *s = BYTES(s->p + len + skip, s->len - len - skip);
    return at != NULL;
}

static bool server_read(struct bytes text, struct feed_server *out)
{
    struct bytes name, seq;
    uint64_t at;

    *out = (struct feed_server){0};
    if (!take_up_to(&text, '/', &name) || !take_up_to(&text, '/', &seq) || name.len >= sizeof(out->name) || memchr(name.p, 0, name.len) ||
        !read_number(seq, INT64_MAX, &out->seq) || !read_number(text, INT64_MAX, &at))
        return false;
    memcpy(out->name, name.p, name.len);
    out->at = (int64_t)at;
    return id_is_valid(out->name);
}

bool feed_servers_read(struct bytes text, struct feed_server out[FEED_SERVERS_MAX], size_t *n)
{
    bool more = text.len > 0;

    for (*n = 0; more; ++*n) {
        struct bytes one;

        more = take_up_to(&text, ',', &one);
        if (*n == FEED_SERVERS_MAX || !server_read(one, &out[*n]))
            return false;
        for (size_t i = 0; i < *n; i++)
            if (strcmp(out[i].name, out[*n].name) == 0)
                return false;
    }
    return true;
}
