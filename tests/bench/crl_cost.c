/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encodes and signs one CRL from a sorted set, with a P-256 key in memory.
 *
 *   crl_cost inkan|openssl|openssl-sorted ENTRIES
 *
 * inkan: crl_tbs_write into a sealed memory file, as the core does it. openssl: the X509_CRL API, given the entries in the
 * order in which they were revoked, which is random in their serials; openssl-sorted: in the order of the list. All make the same
 * list of certificates that are invented one after the other, so that the set itself takes no memory. Prints one JSON object: CPU of the
 * making, its peak above what the process took before (a memory file counted), size, digest of the to-be-signed part.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/x509v3.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/memfile.h"
#include "ca/crl.h"
#include "figures.h"

#define T0          1700000000
#define CRL_NUMBER  1700000001
#define CRL_ROOM    ((size_t)512 << 20)

static const uint8_t name_der[] = {0x30, 0x15, 0x31, 0x13, 0x30, 0x11, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c,
                                   0x0a, 'F',  'l',  'e',  'e',  't',  ' ',  'C',  'A',  ' ',  '1'};
static const uint8_t ski[20] = {1, 2, 3};

/* 20 octets each, rising; a second of the year before, one of the reasons. */
struct set {
    uint64_t n, count;
};

static void row_at(uint64_t i, struct status_row *out)
{
    uint64_t mixed = i * 0x9e3779b97f4a7c15u;

    *out = (struct status_row){.status = CERT_REVOKED, .reason = REASON_KEY_COMPROMISE, .serial_len = SERIAL_MAX_LEN};
    put_be64(out->serial, (uint64_t)0x40 << 56 | i << 20);
    put_be64(out->serial + 8, mixed);
    put_be32(out->serial + 16, (uint32_t)mixed);
    out->time = T0 - (int64_t)(mixed % 31536000);
}

static bool next_row(void *arg, struct status_row *out, struct err *e)
{
    struct set *s = arg;

    (void)e;
    if (s->n == s->count)
        return false;
    row_at(s->n++, out);
    return true;
}

/* KiB: the most this process ever had in memory. */
static long peak_kib(void)
{
    char line[256];
    long kib = 0;
    AUTO(FILE) *f = fopen("/proc/self/status", "r");

    must(f != NULL, "/proc/self/status");
    while (fgets(line, sizeof(line), f))
        if (sscanf(line, "VmHWM: %ld", &kib) == 1)
            break;
    return kib;
}

static size_t sign_tbs(EVP_PKEY *key, struct bytes tbs, uint8_t sig[128])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t len = 128;

    must(ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
         EVP_DigestSign(ctx, sig, &len, tbs.p, tbs.len) == 1, "sign");
    EVP_MD_CTX_free(ctx);
    return len;
}

static size_t make_inkan(EVP_PKEY *key, uint64_t count, uint8_t digest[32])
{
    struct cert_issuer issuer = {.name = "fleet-ca", .subject = BYTES_OF(name_der), .sig_alg = SIG_ECDSA_SHA256};
    struct crl_inputs in = {.issuer = &issuer, .crl_number = CRL_NUMBER, .this_update = T0, .next_update = T0 + 604800,
                            .expected = count};
    struct memfile m;
    struct set set = {0, count};
    struct buf frame = BUF_INIT(512);
    uint8_t sig[128];
    size_t head, len;
    uint64_t entries;
    struct err e = {0};

    memcpy(issuer.ski, ski, sizeof(ski));
    must_ok(memfile_open(&m, "crl", CRL_ROOM, &e), &e);
    must_ok(crl_tbs_write(&in, next_row, &set, &entries, &m.b, &e), &e);
    must_ok(memfile_seal(&m, &e), &e);
    must(entries == count, "entries");
    must_ok(crl_frame(m.b.len, SIG_ECDSA_SHA256, BYTES(sig, sign_tbs(key, buf_bytes(&m.b), sig)), &frame, &head, &e), &e);
    len = frame.len + m.b.len;
    if (digest)
        sha256(buf_bytes(&m.b), digest);
    memfile_clear(&m);
    buf_clear(&frame);
    return len;
}

static void add_extensions(X509_CRL *crl)
{
    AUTHORITY_KEYID *aki = AUTHORITY_KEYID_new();
    ASN1_INTEGER *number = ASN1_INTEGER_new();

    aki->keyid = ASN1_OCTET_STRING_new();
    must(ASN1_OCTET_STRING_set(aki->keyid, ski, sizeof(ski)) == 1 && ASN1_INTEGER_set_uint64(number, CRL_NUMBER) == 1 &&
         X509_CRL_add1_ext_i2d(crl, NID_authority_key_identifier, aki, 0, 0) == 1 &&
         X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, 0) == 1, "extensions");
    AUTHORITY_KEYID_free(aki);
    ASN1_INTEGER_free(number);
}

static void add_entry(X509_CRL *crl, const struct status_row *row)
{
    X509_REVOKED *r = X509_REVOKED_new();
    BIGNUM *bn = BN_bin2bn(row->serial, row->serial_len, NULL);
    ASN1_INTEGER *serial = BN_to_ASN1_INTEGER(bn, NULL);
    ASN1_TIME *at = ASN1_TIME_set(NULL, row->time);
    ASN1_ENUMERATED *reason = ASN1_ENUMERATED_new();

    must(r && serial && at && reason && X509_REVOKED_set_serialNumber(r, serial) == 1 &&
         X509_REVOKED_set_revocationDate(r, at) == 1 && ASN1_ENUMERATED_set(reason, row->reason) == 1 &&
         X509_REVOKED_add1_ext_i2d(r, NID_crl_reason, reason, 0, 0) == 1 && X509_CRL_add0_revoked(crl, r) == 1, "entry");
    BN_free(bn);
    ASN1_INTEGER_free(serial);
    ASN1_TIME_free(at);
    ASN1_ENUMERATED_free(reason);
}

/* `step` has no common factor with the counts asked for: every entry comes once. */
static size_t make_openssl(EVP_PKEY *key, uint64_t count, uint64_t step, uint8_t digest[32])
{
    const uint8_t *p = name_der;
    X509_CRL *crl = X509_CRL_new();
    X509_NAME *name = d2i_X509_NAME(NULL, &p, sizeof(name_der));
    ASN1_TIME *this_update = ASN1_TIME_set(NULL, T0), *next_update = ASN1_TIME_set(NULL, T0 + 604800);
    struct status_row row;
    uint8_t *der = NULL, *tbs = NULL;
    int len, tbs_len;

    must(crl && name && X509_CRL_set_version(crl, 1) == 1 && X509_CRL_set_issuer_name(crl, name) == 1 &&
         X509_CRL_set1_lastUpdate(crl, this_update) == 1 && X509_CRL_set1_nextUpdate(crl, next_update) == 1, "CRL");
    for (uint64_t i = 0; i < count; i++) {
        row_at(i * step % count, &row);
        add_entry(crl, &row);
    }
    add_extensions(crl);
    must(X509_CRL_sort(crl) == 1 && X509_CRL_sign(crl, key, EVP_sha256()) > 0, "sign");
    len = i2d_X509_CRL(crl, &der);
    must(len > 0, "encode");
    if (digest) {
        tbs_len = i2d_re_X509_CRL_tbs(crl, &tbs);
        must(tbs_len > 0, "encode");
        sha256(BYTES(tbs, tbs_len), digest);
        OPENSSL_free(tbs);
    }
    OPENSSL_free(der);
    X509_CRL_free(crl);
    X509_NAME_free(name);
    ASN1_TIME_free(this_update);
    ASN1_TIME_free(next_update);
    return (size_t)len;
}

static size_t make_random(EVP_PKEY *key, uint64_t count, uint8_t digest[32])
{
    return make_openssl(key, count, 2654435761u, digest);
}

static size_t make_sorted(EVP_PKEY *key, uint64_t count, uint8_t digest[32])
{
    return make_openssl(key, count, 1, digest);
}

static const struct {
    const char *name;
    size_t (*make)(EVP_PKEY *, uint64_t, uint8_t *);
} makers[] = {{"inkan", make_inkan}, {"openssl", make_random}, {"openssl-sorted", make_sorted}};

int main(int argc, char **argv)
{
    uint64_t count = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
    size_t (*make)(EVP_PKEY *, uint64_t, uint8_t *) = NULL;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    uint8_t digest[32], small[32];
    char hex[65];
    double cpu, wall;
    long before, after;
    size_t len;

    for (size_t i = 0; argc == 3 && i < ARRAY_LEN(makers); i++)
        if (strcmp(argv[1], makers[i].name) == 0)
            make = makers[i].make;
    if (count == 0 || !make) {
        fprintf(stderr, "usage: crl_cost inkan|openssl|openssl-sorted ENTRIES\n");
        return 2;
    }
    (void)make(key, 10, small); /* whatever is fetched once */
    before = peak_kib();
    cpu = figures_cpu_us();
    wall = figures_wall_us();
    len = make(key, count, NULL);
    cpu = figures_cpu_us() - cpu;
    wall = figures_wall_us() - wall;
    after = peak_kib();
    (void)make(key, count < 10000 ? count : 10000, digest);
    hex_encode(digest, 32, hex);
    printf("{\"entries\": %llu, \"cpu_ms\": %.2f, \"wall_ms\": %.2f, \"peak_kib\": %ld, \"process_kib\": %ld, \"octets\": %zu, \"tbs_sha256\": \"%s\"}\n",
           (unsigned long long)count, cpu / 1e3, wall / 1e3, after - before, after, len, hex);
    EVP_PKEY_free(key);
    return 0;
}
