/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chain_cost CA.pem DEVICES COUNT: what OpenSSL takes to judge a birth certificate under its CA.
 *
 * One JSON object, microseconds of CPU for each: parse_us (d2i_X509), verify_us (X509_verify_cert of the parsed one).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/pem.h>
#include <openssl/x509_vfy.h>

#define CERT_MAX 4096

static double cpu(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void need(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "chain_cost: %s\n", what);
    exit(1);
}

int main(int argc, char **argv)
{
    FILE *ca_file = argc == 4 ? fopen(argv[1], "r") : NULL, *lines = argc == 4 ? fopen(argv[2], "r") : NULL;
    long count = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
    X509_STORE *store = X509_STORE_new();
    double parse = 0, verify = 0;
    static char base64[2 * CERT_MAX];
    static unsigned char der[CERT_MAX * 2];
    X509 *ca;

    need(ca_file && lines && count > 0, "usage: chain_cost CA.pem DEVICES COUNT");
    ca = PEM_read_X509(ca_file, NULL, NULL, NULL);
    need(ca && X509_STORE_add_cert(store, ca), argv[1]);
    X509_VERIFY_PARAM_set_flags(X509_STORE_get0_param(store), X509_V_FLAG_PARTIAL_CHAIN);
    for (long i = 0; i < count; i++) {
        X509_STORE_CTX *x = X509_STORE_CTX_new();
        const unsigned char *p = der;
        double start;
        X509 *leaf;
        int n;

        need(fscanf(lines, "%*s %*s %*s %8191s %*s %*s", base64) == 1, "devices");
        n = EVP_DecodeBlock(der, (const unsigned char *)base64, (int)strlen(base64));
        start = cpu();
        leaf = d2i_X509(NULL, &p, n);
        parse += cpu() - start;
        start = cpu();
        need(leaf && X509_STORE_CTX_init(x, store, leaf, NULL) && X509_verify_cert(x) == 1, "a certificate does not verify");
        verify += cpu() - start;
        X509_STORE_CTX_free(x);
        X509_free(leaf);
    }
    printf("{\"parse_us\": %.2f, \"verify_us\": %.2f}\n", parse / (double)count, verify / (double)count);
    X509_free(ca);
    X509_STORE_free(store);
    fclose(ca_file);
    fclose(lines);
    return 0;
}
