/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's speed mark: prints the CPU cost, in microseconds, of one ECDSA P-256 verify with cached contexts.
 * It is the median of nine slices, so that a moment of somebody else's work does not move it.
 */
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SLICES = 9, VERIFIES = 40 };

static double cpu_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void must(int ok, const char *what)
{
    if (ok != 1) {
        fprintf(stderr, "verify_cost: %s\n", what);
        exit(1);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

int main(void)
{
    EVP_PKEY     *key = EVP_EC_gen("P-256");
    EVP_PKEY_CTX *sign = key ? EVP_PKEY_CTX_new(key, NULL) : NULL, *verify = key ? EVP_PKEY_CTX_new(key, NULL) : NULL;
    uint8_t       hash[32] = {7}, signature[80];
    size_t        signature_len = sizeof signature;
    double        us[SLICES];

    must(sign != NULL && verify != NULL, "P-256 key");
    must(EVP_PKEY_sign_init(sign), "EVP_PKEY_sign_init");
    must(EVP_PKEY_sign(sign, signature, &signature_len, hash, sizeof hash), "EVP_PKEY_sign");
    must(EVP_PKEY_verify_init(verify), "EVP_PKEY_verify_init");
    for (int s = 0; s < SLICES; s++) {
        double start = cpu_us();

        for (int i = 0; i < VERIFIES; i++)
            must(EVP_PKEY_verify(verify, signature, signature_len, hash, sizeof hash), "EVP_PKEY_verify");
        us[s] = (cpu_us() - start) / VERIFIES;
    }
    qsort(us, SLICES, sizeof us[0], by_value);
    printf("%.2f\n", us[SLICES / 2]);
    EVP_PKEY_CTX_free(verify);
    EVP_PKEY_CTX_free(sign);
    EVP_PKEY_free(key);
    return 0;
}
