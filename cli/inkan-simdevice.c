/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inkan-simdevice: units of a factory line that exist only on disk, to try a line with. The device command of inkan-station.
 *
 * DIR/UNIT/key.pem and cert.pem are what the unit holds: a key pair made by it, the certificate written to it. Both are
 * written beside, synced and renamed, so that a kill or a power cut leaves the old or the new one. A key that the service made
 * waits in next.pem until its certificate is there. A secret it was given is in DIR/UNIT/secret.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATA_MAX_LEN (64 * 1024)
#define UNIT_MAX     64
#define PATH_LEN     1024

struct options {
    const char *dir, *key;
    bool session, no_sync, list, server_key;
    struct kek {
        unsigned char id[64], key[32];
        size_t id_len, len; /* len 0: keys come in clear */
    } kek;
    unsigned bad, lose; /* units in a thousand */
    unsigned slow_ms;   /* of each step */
};

struct data {
    unsigned char *p;
    size_t len;
};

static char why[256]; /* of the last failure */

static bool fail(const char *what, const char *about)
{
    snprintf(why, sizeof why, "%.160s: %.80s", about, what);
    return false;
}

/* ---- the unit's memory ---------------------------------------------------------------------------------------------------- */

static bool unit_path(const struct options *o, const char *unit, const char *name, char out[PATH_LEN])
{
    int n = snprintf(out, PATH_LEN, "%s/%s%s%s", o->dir, unit, *name ? "/" : "", name);

    return (n > 0 && n < PATH_LEN) || fail("the path is too long", unit);
}

static bool sync_path(const struct options *o, const char *path)
{
    int fd = o->no_sync ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    bool ok = o->no_sync || (fd >= 0 && fsync(fd) == 0);

    if (fd >= 0)
        close(fd);
    return ok || fail("cannot be synced", path);
}

static bool keep(const struct options *o, const char *unit, const char *name, const void *p, size_t len)
{
    char dir[PATH_LEN], path[PATH_LEN], beside[PATH_LEN + 8];
    FILE *f;
    bool ok;

    if (!unit_path(o, unit, "", dir) || !unit_path(o, unit, name, path))
        return false;
    if (mkdir(dir, 0700) == 0) {
        if (!sync_path(o, o->dir))
            return false;
    } else if (errno != EEXIST) {
        return fail("cannot be made", dir);
    }
    snprintf(beside, sizeof beside, "%s.new", path);
    f = fopen(beside, "we");
    ok = f && fchmod(fileno(f), 0600) == 0 && fwrite(p, 1, len, f) == len && fflush(f) == 0 && (o->no_sync || fsync(fileno(f)) == 0);
    if (f)
        fclose(f);
    if (!ok || rename(beside, path) != 0)
        return fail("cannot be written", path);
    return sync_path(o, dir);
}

static BIO *kept(const struct options *o, const char *unit, const char *name)
{
    char path[PATH_LEN];

    return unit_path(o, unit, name, path) ? BIO_new_file(path, "r") : NULL;
}

static EVP_PKEY *key_kept(const struct options *o, const char *unit, const char *name)
{
    BIO *in = kept(o, unit, name);
    EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, NULL, NULL) : NULL;

    BIO_free(in);
    ERR_clear_error();
    return key;
}

static bool pem_out(BIO *bio, struct data *out)
{
    char *p;
    long len = BIO_get_mem_data(bio, &p);

    out->p = malloc((size_t)len + 1);
    if (!out->p)
        return fail("out of memory", "certificate or request");
    memcpy(out->p, p, (size_t)len);
    out->len = (size_t)len;
    return true;
}

/* ---- what a unit does ------------------------------------------------------------------------------------------------------- */

static EVP_PKEY *key_make(const struct options *o)
{
    if (strcmp(o->key, "p256") == 0)
        return EVP_EC_gen("P-256");
    if (strcmp(o->key, "p384") == 0)
        return EVP_EC_gen("P-384");
    if (strcmp(o->key, "ed25519") == 0)
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    return EVP_RSA_gen(strcmp(o->key, "rsa3072") == 0 ? 3072 : 2048);
}

static const EVP_MD *digest_for(EVP_PKEY *key)
{
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519)
        return NULL;
    return EVP_PKEY_get_bits(key) == 384 ? EVP_sha384() : EVP_sha256();
}

/* Is this one of so many in a thousand? The same unit answers the same at each run. */
static bool is_one_of(const char *unit, const char *kind, unsigned per_mille)
{
    uint64_t h = 1469598103934665603ULL;

    for (const char *s = kind; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211ULL;
    for (const char *s = unit; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211ULL;
    h ^= h >> 29;
    return h % 1000 < per_mille;
}

static bool key_keep(const struct options *o, const char *unit, const char *name, EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    struct data pem = {0};
    bool ok = bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1 && pem_out(bio, &pem) &&
              keep(o, unit, name, pem.p, pem.len);

    if (pem.p)
        OPENSSL_cleanse(pem.p, pem.len);
    free(pem.p);
    BIO_free(bio);
    return ok;
}

/* Asks for a key that is wrapped with the unit's own: its identifier and what the unit can undo (docs/keygen.md). */
static bool ask_wrapped(const struct options *o, X509_REQ *req)
{
    static const unsigned char capabilities[] = {
        0x30, 0x34, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2d, /* aes256-wrap */
        0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x05,             /* aes128-wrap */
        0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a,             /* aes256-cbc */
        0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x02,             /* aes128-cbc */
    };

    return X509_REQ_add1_attr_by_txt(req, "1.2.840.113549.1.9.16.2.37", V_ASN1_OCTET_STRING, o->kek.id, (int)o->kek.id_len) == 1 &&
           X509_REQ_add1_attr_by_NID(req, NID_SMIMECapabilities, V_ASN1_SEQUENCE, capabilities, (int)sizeof capabilities) == 1;
}

/*
 * The key it has, else a new one, kept before anybody sees a request for it. Where the service makes the key the request has
 * one for the form's sake, of which nothing is kept.
 */
static bool do_csr(const struct options *o, const char *unit, struct data *out)
{
    EVP_PKEY *key = o->server_key ? key_make(o) : key_kept(o, unit, "key.pem");
    X509_REQ *req = X509_REQ_new();
    X509_NAME *name;
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = req && bio;

    if (!key && ok && !o->server_key) {
        key = key_make(o);
        ok = key && key_keep(o, unit, "key.pem", key);
    }
    if (ok && o->kek.len)
        ok = ask_wrapped(o, req);
    name = ok ? X509_REQ_get_subject_name(req) : NULL;
    ok = ok && key && X509_REQ_set_version(req, X509_REQ_VERSION_1) == 1 &&
         X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)unit, -1, -1, 0) == 1 &&
         X509_NAME_add_entry_by_txt(name, "serialNumber", MBSTRING_ASC, (const unsigned char *)unit, -1, -1, 0) == 1 &&
         X509_REQ_set_pubkey(req, key) == 1 && X509_REQ_sign(req, key, digest_for(key)) > 0 && PEM_write_bio_X509_REQ(bio, req) == 1 &&
         pem_out(bio, out);
    EVP_PKEY_free(key);
    X509_REQ_free(req);
    BIO_free(bio);
    return ok || why[0] || fail("no key or no request could be made", unit);
}

/* SignedData, as it stands in EnvelopedData: an element and no ContentInfo (RFC 7030 4.4.2). The key package in it. */
static BIO *package_of(BIO *signed_data)
{
    static const unsigned char kind[] = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02};
    unsigned char *p, *whole, *at;
    long len = BIO_get_mem_data(signed_data, &p);
    int content = ASN1_object_size(1, (int)len, 0), all = ASN1_object_size(1, (int)sizeof kind + content, V_ASN1_SEQUENCE);
    const unsigned char *in = whole = at = malloc((size_t)all);
    BIO *out = BIO_new(BIO_s_mem());
    CMS_ContentInfo *cms;

    if (!whole || !out) {
        free(whole);
        BIO_free(out);
        return NULL;
    }
    ASN1_put_object(&at, 1, (int)sizeof kind + content, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL);
    memcpy(at, kind, sizeof kind);
    at += sizeof kind;
    ASN1_put_object(&at, 1, (int)len, 0, V_ASN1_CONTEXT_SPECIFIC);
    memcpy(at, p, (size_t)len);
    cms = d2i_CMS_ContentInfo(NULL, &in, all);
    /* Who signed is not asked: this unit has no trust anchor. One that has verifies the chain as well. */
    if (!cms || CMS_verify(cms, NULL, NULL, NULL, out, CMS_NO_SIGNER_CERT_VERIFY | CMS_BINARY) != 1) {
        BIO_free(out);
        out = NULL;
    }
    CMS_ContentInfo_free(cms);
    OPENSSL_cleanse(whole, (size_t)all);
    free(whole);
    return out;
}

/* The first of AsymmetricKeyPackage ::= SEQUENCE OF OneAsymmetricKey (RFC 5958 2). */
static PKCS8_PRIV_KEY_INFO *key_unwrap(const struct options *o, const struct data *in)
{
    const unsigned char *p = in->p;
    CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)in->len);
    unsigned char *key = OPENSSL_memdup(o->kek.key, o->kek.len), *id = OPENSSL_memdup(o->kek.id, o->kek.id_len);
    BIO *opened = BIO_new(BIO_s_mem()), *package = NULL;
    PKCS8_PRIV_KEY_INFO *info = NULL;
    STACK_OF(CMS_RecipientInfo) *recipients = cms ? CMS_get0_RecipientInfos(cms) : NULL;
    CMS_RecipientInfo *mine = sk_CMS_RecipientInfo_value(recipients, 0);
    unsigned char *der;
    long len;
    int tag, class;

    if (mine && opened && CMS_RecipientInfo_type(mine) == CMS_RECIPINFO_KEK && CMS_RecipientInfo_kekri_id_cmp(mine, id, o->kek.id_len) == 0 &&
        CMS_RecipientInfo_set0_key(mine, key, o->kek.len) == 1) {
        key = NULL; /* the recipient's now */
        if (CMS_RecipientInfo_decrypt(cms, mine) == 1 && CMS_decrypt(cms, NULL, NULL, NULL, opened, CMS_BINARY) == 1)
            package = package_of(opened);
    }
    if (package) {
        len = BIO_get_mem_data(package, &der);
        p = der;
        if (ASN1_get_object(&p, &len, &tag, &class, len) == V_ASN1_CONSTRUCTED && tag == V_ASN1_SEQUENCE)
            info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, len);
    }
    OPENSSL_free(key);
    OPENSSL_free(id);
    BIO_free(package);
    BIO_free(opened);
    CMS_ContentInfo_free(cms);
    return info;
}

/* A key that the service made: into next.pem, beside what the unit has. */
static bool do_key(const struct options *o, const char *unit, const struct data *in)
{
    const unsigned char *p = in->p;
    PKCS8_PRIV_KEY_INFO *info = o->kek.len ? key_unwrap(o, in) : d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long)in->len);
    EVP_PKEY *key = info ? EVP_PKCS82PKEY(info) : NULL;
    bool ok = key ? key_keep(o, unit, "next.pem", key) : fail("that is no key for this unit", unit);

    EVP_PKEY_free(key);
    PKCS8_PRIV_KEY_INFO_free(info);
    ERR_clear_error();
    return ok;
}

/* The key of this certificate takes the place of the one before. false: there is none that waits, or the disk failed. */
static bool next_key_takes_over(const struct options *o, const char *unit, X509 *cert)
{
    EVP_PKEY *next = key_kept(o, unit, "next.pem");
    char from[PATH_LEN], to[PATH_LEN];
    bool ok = next && cert && X509_check_private_key(cert, next) == 1 && unit_path(o, unit, "next.pem", from) && unit_path(o, unit, "key.pem", to) &&
              rename(from, to) == 0;

    EVP_PKEY_free(next);
    ERR_clear_error();
    return ok;
}

/* A unit that loses its memory once: the key is gone when the certificate comes. */
static bool forgets(const struct options *o, const char *unit)
{
    char mark[PATH_LEN], key[PATH_LEN];

    if (!is_one_of(unit, "lose", o->lose) || !unit_path(o, unit, "forgot", mark) || access(mark, F_OK) == 0)
        return false;
    if (!keep(o, unit, "forgot", "", 0) || !unit_path(o, unit, o->server_key ? "next.pem" : "key.pem", key))
        return false;
    unlink(key);
    return true;
}

/* Keeps it when it is of its own key, and reads it back. */
static bool do_install(const struct options *o, const char *unit, const struct data *in, struct data *out)
{
    BIO *bio = BIO_new_mem_buf(in->p, (int)in->len), *back = NULL;
    X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    EVP_PKEY *key = NULL;
    bool ok = false;

    if (!forgets(o, unit)) {
        next_key_takes_over(o, unit, cert);
        key = key_kept(o, unit, "key.pem");
    }
    if (!cert)
        fail("that is no certificate", unit);
    else if (!key)
        fail("there is no key", unit);
    else if (X509_check_private_key(cert, key) != 1)
        fail("the certificate is of another key", unit);
    else
        ok = keep(o, unit, "cert.pem", in->p, in->len);
    X509_free(cert);
    cert = NULL;
    if (ok) {
        BIO *file = kept(o, unit, "cert.pem");

        cert = file ? PEM_read_bio_X509(file, NULL, NULL, NULL) : NULL;
        back = BIO_new(BIO_s_mem());
        ok = cert && back && PEM_write_bio_X509(back, cert) == 1 && pem_out(back, out);
        BIO_free(file);
    }
    X509_free(cert);
    EVP_PKEY_free(key);
    BIO_free(bio);
    BIO_free(back);
    ERR_clear_error();
    return ok;
}

static bool do_sign(const struct options *o, const char *unit, const struct data *in, struct data *out)
{
    EVP_PKEY *key = key_kept(o, unit, "key.pem");
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = false;

    if (!key) {
        fail("there is no key", unit);
    } else if (ctx && EVP_DigestSignInit(ctx, NULL, digest_for(key), NULL, key) == 1 &&
               EVP_DigestSign(ctx, NULL, &out->len, in->p, in->len) == 1 && (out->p = malloc(out->len + 1)) != NULL) {
        ok = EVP_DigestSign(ctx, out->p, &out->len, in->p, in->len) == 1 || fail("cannot sign", unit);
        if (ok && is_one_of(unit, "bad", o->bad))
            out->p[out->len / 2] ^= 1;
    }
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return ok;
}

/* What a simulation can truly say (docs/factory.md: the level of evidence). */
static bool do_evidence(struct data *out)
{
    static const char level[] = "{\"level\":\"software\",\"made_by\":\"inkan-simdevice\"}";

    out->p = (unsigned char *)strdup(level);
    out->len = sizeof level - 1;
    return out->p != NULL;
}

static bool do_step(const struct options *o, const char *step, const char *unit, const struct data *in, struct data *out)
{
    why[0] = '\0';
    usleep(o->slow_ms * 1000);
    if (!*unit || strlen(unit) > UNIT_MAX || strchr(unit, '/') || *unit == '.')
        return fail("not a unit", unit);
    if (strcmp(step, "csr") == 0)
        return do_csr(o, unit, out);
    if (strcmp(step, "key") == 0 && o->server_key)
        return do_key(o, unit, in);
    if (strcmp(step, "install") == 0)
        return do_install(o, unit, in, out);
    if (strcmp(step, "sign") == 0)
        return do_sign(o, unit, in, out);
    if (strcmp(step, "secret") == 0)
        return keep(o, unit, "secret", in->p, in->len);
    if (strcmp(step, "evidence") == 0)
        return do_evidence(out);
    return fail("unknown step", step);
}

/* ---- once, or as a session -------------------------------------------------------------------------------------------------- */

static int run_once(const struct options *o)
{
    static unsigned char text[DATA_MAX_LEN];
    const char *step = getenv("INKAN_STEP"), *unit = getenv("INKAN_UNIT");
    struct data in = {text, 0}, out = {0};
    bool ok;

    if (!step || !unit) {
        fputs("inkan-simdevice: INKAN_STEP and INKAN_UNIT are not set; --help\n", stderr);
        return 2;
    }
    if (strcmp(step, "csr") != 0)
        in.len = fread(text, 1, sizeof text, stdin);
    ok = do_step(o, step, unit, &in, &out) && (out.len == 0 || fwrite(out.p, 1, out.len, stdout) == out.len) && fflush(stdout) == 0;
    if (!ok)
        fprintf(stderr, "%s\n", why[0] ? why : "the answer could not be written");
    free(out.p);
    return ok ? 0 : 1;
}

/* In place; -1 unless it is base64. */
static int decode(const char *text, unsigned char *out)
{
    size_t n = strlen(text), pad = 0;
    int len;

    if (n == 0 || n % 4)
        return -1;
    while (pad < 2 && text[n - 1 - pad] == '=')
        pad++;
    len = EVP_DecodeBlock(out, (const unsigned char *)text, (int)n);
    return len < 0 ? -1 : len - (int)pad;
}

static void session_line(const struct options *o, char *line)
{
    static unsigned char octets[DATA_MAX_LEN], base64[2 * DATA_MAX_LEN];
    char *step = strsep(&line, " "), *unit = strsep(&line, " ");
    struct data in = {octets, 0}, out = {0};
    int len = !line ? -1 : strcmp(line, "-") == 0 ? 0 : decode(line, octets);

    in.len = len > 0 ? (size_t)len : 0;
    if (len < 0 || !unit)
        puts("fail not \"STEP UNIT BASE64|-\"");
    else if (!do_step(o, step, unit, &in, &out))
        printf("fail %s\n", why[0] ? why : "cannot be done");
    else if (out.len == 0)
        puts("ok -");
    else {
        EVP_EncodeBlock(base64, out.p, (int)out.len);
        printf("ok %s\n", (char *)base64);
    }
    OPENSSL_cleanse(octets, sizeof octets);
    free(out.p);
    fflush(stdout);
}

static int run_session(const struct options *o)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n;

    while ((n = getline(&line, &room, stdin)) > 0) {
        line[strcspn(line, "\r\n")] = '\0';
        if (n < DATA_MAX_LEN)
            session_line(o, line);
        else
            puts("fail too long");
    }
    free(line);
    return 0;
}

/* "UNIT SERIAL SHA256 yes|no|key|empty": what it holds; yes: key and certificate fit, no: they do not, key: no certificate yet. */
static void list_unit(const struct options *o, const char *unit)
{
    EVP_PKEY *key = key_kept(o, unit, "key.pem");
    BIO *in = kept(o, unit, "cert.pem");
    X509 *cert = in ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;
    BIGNUM *serial = cert ? ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL) : NULL;
    char *hex = serial ? BN_bn2hex(serial) : NULL;
    unsigned char hash[32];
    unsigned len = 0;

    printf("%s ", unit);
    for (char *p = hex; p && *p; p++)
        putchar(*p >= 'A' && *p <= 'F' ? *p + 'a' - 'A' : *p);
    if (cert && X509_digest(cert, EVP_sha256(), hash, &len) == 1)
        putchar(' ');
    else
        fputs("- -", stdout);
    for (unsigned i = 0; i < len; i++)
        printf("%02x", hash[i]);
    printf(" %s\n", cert ? key && X509_check_private_key(cert, key) == 1 ? "yes" : "no" : key ? "key" : "empty");
    OPENSSL_free(hex);
    BN_free(serial);
    X509_free(cert);
    BIO_free(in);
    EVP_PKEY_free(key);
    ERR_clear_error();
}

static int run_list(const struct options *o)
{
    DIR *dir = opendir(o->dir);
    struct dirent *e;

    if (!dir) {
        fprintf(stderr, "inkan-simdevice: %s: %s\n", o->dir, strerror(errno));
        return 1;
    }
    while ((e = readdir(dir)) != NULL)
        if (e->d_name[0] != '.')
            list_unit(o, e->d_name);
    closedir(dir);
    return fflush(stdout) == 0 ? 0 : 1;
}

static void usage(FILE *f)
{
    fputs("Usage: inkan-station ... --device-command 'inkan-simdevice --dir DIR [options]'\n"
          "       inkan-simdevice --dir DIR --list\n\n"
          "  --dir DIR     where the units are; made when missing\n"
          "  --session     for inkan-station --device-session\n"
          "  --key TYPE    p256 (default), p384, ed25519, rsa2048, rsa3072\n"
          "  --server-key  the service makes the key (inkan-station --key-mode server)\n"
          "  --kek FILE    the same, wrapped with a key that the units have: \"IDENTIFIER KEY\" in hex (inkan kek add)\n"
          "  --list        what each unit holds: name, serial, SHA-256 of the certificate, yes when its key fits\n"
          "  --no-sync     faster; what a power cut leaves is left to chance\n"
          "  --slow MS     each step takes so long\n"
          "  --bad N       N units in a thousand sign wrongly\n"
          "  --lose N      N units in a thousand lose their key once before the certificate is written\n",
          f);
}

static bool key_is_known(const char *key)
{
    static const char *const known[] = {"p256", "p384", "ed25519", "rsa2048", "rsa3072"};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(key, known[i]) == 0)
            return true;
    return false;
}

/* "IDENTIFIER KEY", both in hex, the key 16 or 32 octets. */
static bool kek_read(const char *path, struct kek *out)
{
    FILE *f = fopen(path, "re");
    char id[2 * sizeof out->id + 1] = "", key[2 * sizeof out->key + 1] = "";
    bool ok = f && fscanf(f, "%128s %64s", id, key) == 2 && OPENSSL_hexstr2buf_ex(out->id, sizeof out->id, &out->id_len, id, '\0') == 1 &&
              OPENSSL_hexstr2buf_ex(out->key, sizeof out->key, &out->len, key, '\0') == 1 && (out->len == 16 || out->len == 32);

    if (f)
        fclose(f);
    OPENSSL_cleanse(key, sizeof key);
    if (!ok)
        fprintf(stderr, "inkan-simdevice: %s is not \"IDENTIFIER KEY\" in hex\n", path);
    return ok;
}

int main(int argc, char **argv)
{
    enum { DIR_ = 256, SESSION, LIST, KEY, SERVER_KEY, KEK, NO_SYNC, SLOW, BAD, LOSE, HELP, VERSION };
    static const struct option options[] = {
        {"dir", required_argument, NULL, DIR_}, {"session", no_argument, NULL, SESSION}, {"list", no_argument, NULL, LIST},
        {"key", required_argument, NULL, KEY}, {"server-key", no_argument, NULL, SERVER_KEY}, {"kek", required_argument, NULL, KEK},
        {"no-sync", no_argument, NULL, NO_SYNC}, {"slow", required_argument, NULL, SLOW},
        {"bad", required_argument, NULL, BAD}, {"lose", required_argument, NULL, LOSE},
        {"help", no_argument, NULL, HELP}, {"version", no_argument, NULL, VERSION}, {NULL, 0, NULL, 0}};
    struct options o = {.key = "p256"};
    struct rlimit none = {0, 0};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case DIR_: o.dir = optarg; break;
        case SESSION: o.session = true; break;
        case LIST: o.list = true; break;
        case KEY: o.key = optarg; break;
        case SERVER_KEY: o.server_key = true; break;
        case KEK:
            o.server_key = true;
            if (!kek_read(optarg, &o.kek))
                return 2;
            break;
        case NO_SYNC: o.no_sync = true; break;
        case SLOW: o.slow_ms = (unsigned)strtoul(optarg, NULL, 10) % 100000; break;
        case BAD: o.bad = (unsigned)strtoul(optarg, NULL, 10); break;
        case LOSE: o.lose = (unsigned)strtoul(optarg, NULL, 10); break;
        case HELP: usage(stdout); return 0;
        case VERSION: puts("inkan-simdevice " INKAN_VERSION); return 0;
        default: usage(stderr); return 2;
        }
    }
    if (!o.dir || optind != argc || !key_is_known(o.key)) {
        usage(stderr);
        return 2;
    }
    setrlimit(RLIMIT_CORE, &none);
    if (mkdir(o.dir, 0700) != 0 && errno != EEXIST) {
        fprintf(stderr, "inkan-simdevice: %s: %s\n", o.dir, strerror(errno));
        return 1;
    }
    return o.list ? run_list(&o) : o.session ? run_session(&o) : run_once(&o);
}
