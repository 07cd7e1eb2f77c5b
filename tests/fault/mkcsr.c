/* SPDX-License-Identifier: Apache-2.0 */
/* mkcsr PREFIX COUNT: lines "PREFIX<n> <base64 of a P-256 CSR for that CN>", for load programs. */
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

static int one(const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_REQ *req = X509_REQ_new();
    unsigned char *der = NULL, text[4096];
    int len, ok = 0;

    if (key && req && X509_REQ_set_pubkey(req, key) == 1 &&
        X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1,
                                   0) == 1 &&
        X509_REQ_sign(req, key, EVP_sha256()) > 0 && (len = i2d_X509_REQ(req, &der)) > 0 && len < 3000) {
        EVP_EncodeBlock(text, der, len);
        ok = printf("%s %s\n", name, text) > 0;
    }
    OPENSSL_free(der);
    X509_REQ_free(req);
    EVP_PKEY_free(key);
    return ok;
}

int main(int argc, char **argv)
{
    char name[64];
    long count = argc == 3 ? strtol(argv[2], NULL, 10) : 0;

    if (count <= 0) {
        fputs("usage: mkcsr PREFIX COUNT\n", stderr);
        return 2;
    }
    for (long i = 1; i <= count; i++) {
        snprintf(name, sizeof name, "%.40s%ld", argv[1], i);
        if (!one(name))
            return 1;
    }
    return 0;
}
