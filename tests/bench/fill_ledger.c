/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fills the ledger of a stopped service with enrolled devices, through the ledger's own functions and with the rows an
 * enrollment writes: device, key, intent, certificate, status, trail.
 *
 *   fill_ledger LEDGER --count N [--revoked M] [--lots L] [--issuer NAME] [--requests FILE --every E]
 *
 * Devices fill-0 ... fill-(N-1) of domain "example" get certificates of issuer NAME (fleet-ca); M of the N, evenly spread, are
 * revoked. With L they come in lots of the same size, lot-0 ..., in three models and ten releases of firmware. FILE gets an OCSP request for every E-th certificate: u16 length (big-endian), DER.
 *
 * Serials and public keys are random in the order of time, as in a real ledger, so that the pages of their indexes are as full as
 * random inserts leave them (69 %): filled in the order of the keys they would be full, and nearly every enrollment measured later
 * would split one. A large cache and batches of half a million rows without a sync make that quick; nobody needs this ledger after a
 * power cut.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/auto.h"
#include "base/der.h"
#include "base/derw.h"
#include "ca/audit.h"
#include "ca/cert.h"
#include "ca/store/store_int.h"

#define DER_LEN  640
#define BATCH    500000
#define YEAR_S   31536000
#define SAID_EACH 1000000

struct filling {
    struct store *s;
    struct issuer_row issuer;
    char issuer_name[ID_MAX_LEN + 1];
    uint8_t name_hash[20], key_hash[20], profile[32];
    uint64_t count, revoked, lots;
    int64_t now;
    FILE *requests;
    uint64_t every;
    struct err e;
};

static void must(struct filling *f, enum err_code code, const char *what)
{
    if (code == E_OK)
        return;
    fprintf(stderr, "fill_ledger: %s: %s\n", what, f->e.msg);
    exit(1);
}

/* splitmix64: octets that differ from row to row and compress as badly as real ones. */
static uint64_t mix(uint64_t v)
{
    v += 0x9e3779b97f4a7c15u;
    v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9u;
    v = (v ^ (v >> 27)) * 0x94d049bb133111ebu;
    return v ^ (v >> 31);
}

static void octets_of(uint64_t n, unsigned salt, uint8_t *out, size_t len)
{
    uint64_t state = n * 8 + salt;

    for (size_t i = 0; i < len; i++) {
        if (i % 8 == 0)
            state = mix(state);
        out[i] = (uint8_t)(state >> 8 * (i % 8));
    }
}

/* As the core draws them: the two highest bits are 01. */
static void serial_of(uint64_t n, uint8_t serial[SERIAL_MAX_LEN])
{
    octets_of(n, 0, serial, SERIAL_MAX_LEN);
    put_be64(serial, get_be64(serial) >> 2 | (uint64_t)0x40 << 56);
}

static bool is_revoked(const struct filling *f, uint64_t i)
{
    return f->revoked && (i + 1) * f->revoked / f->count != i * f->revoked / f->count;
}

/* RFC 6960 4.1.1, SHA-1 CertID, no nonce. */
static void write_request(struct filling *f, const uint8_t serial[SERIAL_MAX_LEN])
{
    static const uint8_t sha1_alg[] = {0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00};
    AUTO_BUF der = BUF_INIT(256);
    uint8_t len[2];
    struct derw w;

    derw_init(&w, &der);
    for (int i = 0; i < 5; i++)
        derw_begin(&w, DER_SEQUENCE); /* OCSPRequest, TBSRequest, requestList, Request, CertID */
    derw_raw(&w, BYTES_OF(sha1_alg));
    derw_octets(&w, BYTES_OF(f->name_hash));
    derw_octets(&w, BYTES_OF(f->key_hash));
    derw_unsigned(&w, BYTES(serial, SERIAL_MAX_LEN));
    for (int i = 0; i < 5; i++)
        derw_end(&w);
    put_be16(len, (uint16_t)der.len);
    if (fwrite(len, 2, 1, f->requests) != 1 || fwrite(der.p, der.len, 1, f->requests) != 1) {
        perror("fill_ledger: requests");
        exit(1);
    }
}

static void enroll(struct filling *f, uint64_t n)
{
    static uint8_t octets[DER_LEN];
    char id[32], requester[64], lot[32] = "", model[32] = "", firmware[32] = "";
    struct device_row device = {.domain = "example", .device_id = id, .anchor = "bench", .product = "demo",
                                .lot = lot, .model = model, .firmware = firmware,
                                .state = DEVICE_DECLARED, .declared_at = f->now};
    struct intent_row intent = {.issuer = f->issuer.id, .serial_len = SERIAL_MAX_LEN, .requester = requester,
                                .domain = "example", .created_at = f->now};
    struct cert_row cert = {.issuer = f->issuer.id, .serial_len = SERIAL_MAX_LEN, .der = BYTES_OF(octets),
                            .profile = "ldevid", .kind = PROFILE_LDEVID, .operation = CERT_OP_ENROLL,
                            .domain = "example", .requester = requester, .issued_at = f->now, .not_before = f->now - 300,
                            .not_after = f->now + YEAR_S, .device_state = DEVICE_IN_SERVICE};
    struct status_row status = {.issuer = f->issuer.id, .serial_len = SERIAL_MAX_LEN, .status = CERT_GOOD, .time = f->now};
    struct audit_actor who = {.actor = id, .actor_kind = "device", .domain = "example"};
    uint8_t digest[32];

    snprintf(id, sizeof(id), "fill-%010" PRIu64, n);
    snprintf(requester, sizeof(requester), "device:example/%s", id);
    serial_of(n, cert.serial);
    memcpy(intent.serial, cert.serial, SERIAL_MAX_LEN);
    memcpy(status.serial, cert.serial, SERIAL_MAX_LEN);
    octets_of(n, 2, cert.spki_hash, 32);
    octets_of(n, 3, digest, 32);
    octets_of(n, 4, octets, sizeof(octets));
    sha256(cert.der, cert.der_hash);
    if (f->lots) {
        snprintf(lot, sizeof(lot), "lot-%" PRIu64, n * f->lots / f->count);
        snprintf(model, sizeof(model), "cam %" PRIu64, n % 3 + 1);
        snprintf(firmware, sizeof(firmware), "1.%" PRIu64, n % 10 + 5);
    }
    memcpy(cert.credential_hash, digest, 32);
    memcpy(intent.tbs_hash, digest, 32);
    memcpy(intent.profile_hash, f->profile, 32);
    memcpy(cert.profile_hash, f->profile, 32);
    who.request_digest = BYTES_OF(digest);
    must(f, store_device_insert(f->s, &device, &f->e), "device");
    cert.device = intent.device = device.id;
    must(f, store_spki_claim(f->s, cert.spki_hash, device.unit, f->now, &f->e), "key");
    must(f, store_intent_insert(f->s, &intent, &f->e), "intent");
    must(f, store_cert_issue(f->s, &cert, &f->e), "certificate");
    must(f, store_intent_finish(f->s, f->issuer.id, BYTES_OF(cert.serial), INTENT_DONE, f->now, &f->e), "intent");
    must(f, store_device_set_state(f->s, device.id, DEVICE_IN_SERVICE, f->now, &f->e), "device");
    must(f, audit_cert_issued(f->s, &who, f->issuer_name, &cert, cert.status_seq, f->now, &f->e), "trail");
    if (is_revoked(f, n)) {
        status.status = CERT_REVOKED;
        status.reason = REASON_KEY_COMPROMISE;
        must(f, store_status_append(f->s, &status, &f->e), "revocation");
        must(f, audit_status_changed(f->s, &who, f->issuer_name, &status, f->now, &f->e), "trail");
    }
    if (f->requests && n % f->every == 0)
        write_request(f, cert.serial);
}

static void fill(struct filling *f)
{
    static const char note[] = "fill_ledger: not a profile of the configuration";

    sha256(bytes_str(note), f->profile);
    for (uint64_t i = 0; i < f->count; i++) {
        if (i % BATCH == 0)
            must(f, store_begin(f->s, &f->e), "begin");
        if (i == 0)
            must(f, store_profile_put(f->s, f->profile, "ldevid", note, f->now, &f->e), "profile");
        enroll(f, i);
        if ((i + 1) % BATCH == 0 || i + 1 == f->count) {
            must(f, store_commit(f->s, &f->e), "commit");
            must(f, store_checkpoint(f->s, 0, &f->e), "checkpoint");
        }
        if ((i + 1) % SAID_EACH == 0)
            fprintf(stderr, "fill_ledger: %" PRIu64 " rows\n", i + 1);
    }
}

static void find_issuer(struct filling *f)
{
    struct cert read;
    struct pubkey key;

    must(f, store_issuer_by_name(f->s, f->issuer_name, &f->issuer, &f->e), f->issuer_name);
    must(f, cert_read(f->issuer.cert, &read, &f->e), "issuer");
    must(f, pubkey_read(read.spki, &key, &f->e), "issuer");
    sha1(read.subject, f->name_hash);
    sha1(key.key_bits, f->key_hash);
}

static double seconds(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"count", 1, NULL, 'n'},    {"revoked", 1, NULL, 'r'}, {"lots", 1, NULL, 'l'}, {"issuer", 1, NULL, 'i'},
        {"requests", 1, NULL, 'q'}, {"every", 1, NULL, 'e'}, {0},
    };
    struct filling f = {.now = time(NULL), .issuer_name = "fleet-ca", .every = 1};
    double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);

    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (o) {
        case 'n': f.count = strtoull(optarg, NULL, 10); break;
        case 'r': f.revoked = strtoull(optarg, NULL, 10); break;
        case 'l': f.lots = strtoull(optarg, NULL, 10); break;
        case 'e': f.every = strtoull(optarg, NULL, 10); break;
        case 'i': snprintf(f.issuer_name, sizeof(f.issuer_name), "%s", optarg); break;
        case 'q':
            f.requests = fopen(optarg, "w");
            if (!f.requests) {
                perror(optarg);
                return 1;
            }
            break;
        default: return 2;
        }
    }
    if (optind + 1 != argc || f.count == 0 || f.every == 0 || f.revoked > f.count) {
        fprintf(stderr, "usage: fill_ledger LEDGER --count N [--revoked M] [--lots L] [--issuer NAME] [--requests FILE --every E]\n");
        return 2;
    }
    must(&f, store_open(argv[optind], STORE_WRITE, &f.s, &f.e), "open");
    if (sqlite3_exec(f.s->db, "PRAGMA synchronous = OFF; PRAGMA cache_size = -3145728", NULL, NULL, NULL) != SQLITE_OK) {
        fprintf(stderr, "fill_ledger: %s\n", sqlite3_errmsg(f.s->db));
        return 1;
    }
    find_issuer(&f);
    fill(&f);
    store_close(f.s);
    if (f.requests && fclose(f.requests) != 0) {
        perror("fill_ledger: requests");
        return 1;
    }
    wall = seconds(CLOCK_MONOTONIC) - wall;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("{\"rows\": %" PRIu64 ", \"wall_s\": %.1f, \"cpu_s\": %.1f, \"rows_per_s\": %.0f}\n", f.count, wall, cpu,
           (double)f.count / wall);
    return 0;
}
