/* SPDX-License-Identifier: Apache-2.0 */
/*
 * make_devices DIR PREFIX COUNT: a manufacturer and COUNT devices of it, for load programs.
 *
 * DIR/maker.pem and DIR/maker.key: the manufacturer's CA, made if missing. Standard output: one line for each device,
 *
 *   NAME  birth key (32 octets, hex)  birth public point (65, hex)  birth certificate (base64)  CSR (base64)  CSR's point (hex)
 *
 * The CSR is for another key, which nobody needs any more. Subject keys are moved as octets: encoding an EVP_PKEY costs
 * OpenSSL 3.0 more than all signatures of a device together.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#define POINT_LEN 65
#define PRIVATE_LEN 32

struct maker {
    EVP_PKEY *key;
    X509 *cert;
};

static void need(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "make_devices: %s\n", what);
    exit(1);
}

static void point_of(EVP_PKEY *key, uint8_t out[POINT_LEN])
{
    size_t n = 0;

    need(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, out, POINT_LEN, &n) == 1 && n == POINT_LEN, "point");
}

static void set_point(X509_PUBKEY *spki, const uint8_t point[POINT_LEN])
{
    uint8_t *copy = OPENSSL_memdup(point, POINT_LEN);

    need(copy && X509_PUBKEY_set0_param(spki, OBJ_nid2obj(NID_X9_62_id_ecPublicKey), V_ASN1_OBJECT,
                                        OBJ_nid2obj(NID_X9_62_prime256v1), copy, POINT_LEN) == 1,
         "X509_PUBKEY_set0_param");
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509_EXTENSION *ext;
    X509V3_CTX ctx;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    need(ext && X509_add_ext(cert, ext, -1) == 1, value);
    X509_EXTENSION_free(ext);
}

static void add_name(X509_NAME *name, const char *field, const char *value)
{
    need(X509_NAME_add_entry_by_txt(name, field, MBSTRING_ASC, (const unsigned char *)value, -1, -1, 0), field);
}

static X509 *cert_begin(const uint8_t point[POINT_LEN])
{
    X509 *cert = X509_new();
    uint8_t serial[16];
    BIGNUM *bn;

    need(cert && RAND_bytes(serial, sizeof serial) == 1, "serial");
    serial[0] = (serial[0] & 0x7F) | 0x40;
    bn = BN_bin2bn(serial, sizeof serial, NULL);
    need(bn && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert)) != NULL, "serial");
    BN_free(bn);
    X509_set_version(cert, X509_VERSION_3);
    need(ASN1_TIME_set_string(X509_getm_notBefore(cert), "20200101000000Z") &&
             ASN1_TIME_set_string(X509_getm_notAfter(cert), "99991231235959Z"), "dates");
    set_point(X509_get_X509_PUBKEY(cert), point);
    return cert;
}

static X509 *maker_cert(EVP_PKEY *key)
{
    uint8_t point[POINT_LEN];
    X509_NAME *name;
    X509 *cert;

    point_of(key, point);
    cert = cert_begin(point);
    name = X509_get_subject_name(cert);
    add_name(name, "O", "Bench Maker");
    add_name(name, "CN", "Bench Maker CA");
    X509_set_issuer_name(cert, name);
    add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
    add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign");
    add_extension(cert, cert, NID_subject_key_identifier, "hash");
    need(X509_sign(cert, key, EVP_sha256()) > 0, "X509_sign");
    return cert;
}

static FILE *file_in(const char *dir, const char *name, const char *mode)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return fopen(path, mode);
}

static struct maker maker_open(const char *dir)
{
    FILE *key = file_in(dir, "maker.key", "r"), *cert = file_in(dir, "maker.pem", "r");
    struct maker m = {NULL, NULL};

    if (key && cert) {
        m.key = PEM_read_PrivateKey(key, NULL, NULL, NULL);
        m.cert = PEM_read_X509(cert, NULL, NULL, NULL);
        need(m.key && m.cert, "maker.key or maker.pem");
    } else {
        m.key = EVP_EC_gen("P-256");
        need(m.key != NULL, "EVP_EC_gen");
        m.cert = maker_cert(m.key);
        need((key = file_in(dir, "maker.key", "w")) && (cert = file_in(dir, "maker.pem", "w")) &&
                 PEM_write_PrivateKey(key, m.key, NULL, NULL, 0, NULL, NULL) && PEM_write_X509(cert, m.cert), dir);
    }
    fclose(key);
    fclose(cert);
    return m;
}

/* What is the same in every birth certificate is made once, then only key, name, serial and signature change. */
static X509 *birth_cert(const struct maker *m, X509_EXTENSION *const *ext, size_t ext_n, const char *name,
                        const uint8_t point[POINT_LEN])
{
    X509 *cert = cert_begin(point);
    X509_NAME *subject = X509_get_subject_name(cert);

    add_name(subject, "O", "Bench Maker");
    add_name(subject, "CN", name);
    add_name(subject, "serialNumber", name);
    X509_set_issuer_name(cert, X509_get_subject_name(m->cert));
    for (size_t i = 0; i < ext_n; i++)
        need(X509_add_ext(cert, ext[i], -1), "X509_add_ext");
    need(X509_sign(cert, m->key, EVP_sha256()) > 0, "X509_sign");
    return cert;
}

static size_t birth_extensions(const struct maker *m, X509_EXTENSION **out)
{
    X509 *other = X509_new(); /* a subject that is not the issuer, else the AKI stays empty */
    X509V3_CTX ctx;
    size_t n = 0;

    X509V3_set_ctx(&ctx, m->cert, other, NULL, NULL, 0);
    out[n++] = X509V3_EXT_conf_nid(NULL, &ctx, NID_basic_constraints, "critical,CA:FALSE");
    out[n++] = X509V3_EXT_conf_nid(NULL, &ctx, NID_key_usage, "critical,digitalSignature");
    out[n++] = X509V3_EXT_conf_nid(NULL, &ctx, NID_authority_key_identifier, "keyid");
    for (size_t i = 0; i < n; i++)
        need(out[i] != NULL, "extension");
    X509_free(other);
    return n;
}

static void put_hex(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        printf("%02x", p[i]);
}

static void put_base64(uint8_t *der, int len)
{
    static unsigned char text[8192];

    need(len > 0 && len < 6000, "object");
    EVP_EncodeBlock(text, der, len);
    fputs((char *)text, stdout);
    OPENSSL_free(der);
}

static void device(const struct maker *m, X509_EXTENSION *const *ext, size_t ext_n, const char *name)
{
    EVP_PKEY *birth = EVP_EC_gen("P-256"), *own = EVP_EC_gen("P-256");
    uint8_t point[POINT_LEN], own_point[POINT_LEN], private[PRIVATE_LEN], *der = NULL;
    X509_REQ *req = X509_REQ_new();
    BIGNUM *bn = NULL;
    X509 *cert;
    int len;

    need(birth && own && req && EVP_PKEY_get_bn_param(birth, OSSL_PKEY_PARAM_PRIV_KEY, &bn) == 1 &&
             BN_bn2binpad(bn, private, PRIVATE_LEN) == PRIVATE_LEN, "EVP_EC_gen");
    point_of(birth, point);
    point_of(own, own_point);
    cert = birth_cert(m, ext, ext_n, name, point);
    set_point(X509_REQ_get_X509_PUBKEY(req), own_point);
    add_name(X509_REQ_get_subject_name(req), "CN", name);
    add_name(X509_REQ_get_subject_name(req), "serialNumber", name);
    need(X509_REQ_sign(req, own, EVP_sha256()) > 0, "X509_REQ_sign");
    printf("%s ", name);
    put_hex(private, sizeof private);
    putchar(' ');
    put_hex(point, sizeof point);
    putchar(' ');
    len = i2d_X509(cert, &der);
    put_base64(der, len);
    putchar(' ');
    der = NULL;
    len = i2d_X509_REQ(req, &der);
    put_base64(der, len);
    putchar(' ');
    put_hex(own_point, sizeof own_point);
    putchar('\n');
    BN_free(bn);
    X509_free(cert);
    X509_REQ_free(req);
    EVP_PKEY_free(birth);
    EVP_PKEY_free(own);
}

int main(int argc, char **argv)
{
    long count = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
    X509_EXTENSION *ext[4];
    struct maker m;
    size_t ext_n;
    char name[64];

    if (count <= 0 || strlen(argv[2]) > 40) {
        fputs("usage: make_devices DIR PREFIX COUNT\n", stderr);
        return 2;
    }
    m = maker_open(argv[1]);
    ext_n = birth_extensions(&m, ext);
    for (long i = 1; i <= count; i++) {
        snprintf(name, sizeof name, "%s%ld", argv[2], i);
        device(&m, ext, ext_n, name);
    }
    for (size_t i = 0; i < ext_n; i++)
        X509_EXTENSION_free(ext[i]);
    X509_free(m.cert);
    EVP_PKEY_free(m.key);
    return fflush(stdout) == 0 ? 0 : 1;
}
