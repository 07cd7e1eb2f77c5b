/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz entry point over its corpus as an ordinary test: each file whole, each of its prefixes (up to a bound) and
 * each with one octet changed, so that a seed also stands for its neighbours. A finding is a crash or a sanitizer report.
 *
 *     test_fuzz_NAME [DIRECTORY]
 *
 * The directory is FUZZ_CORPUS, set where the test is built, unless one is named.
 * With libFuzzer the entry point is linked without this file: clang -fsanitize=fuzzer,address fuzz_NAME.c ...
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX     (64 * 1024)
#define MUTATION_MAX 2048 /* octets of a file that are cut or changed */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long runs;

/* An exact allocation, so that a sanitizer sees the first octet read too many. */
static void run(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);

    if (!copy)
        abort();
    if (size)
        memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    runs++;
}

static void run_with_neighbours(uint8_t *data, size_t size)
{
    static const uint8_t flips[] = {0x01, 0x20, 0x80, 0xff};
    size_t n = size < MUTATION_MAX ? size : MUTATION_MAX;

    run(data, size);
    for (size_t i = 0; i < n; i++) {
        run(data, i);
        for (size_t k = 0; k < sizeof flips; k++) {
            data[i] ^= flips[k];
            run(data, size);
            data[i] ^= flips[k];
        }
    }
}

static int run_file(const char *dir, const char *name)
{
    static uint8_t data[FILE_MAX];
    char path[4096];
    size_t size;
    FILE *f;

    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path)
        return -1;
    f = fopen(path, "rb");
    if (!f)
        return -1;
    size = fread(data, 1, sizeof data, f);
    fclose(f);
    run_with_neighbours(data, size);
    return 0;
}

int main(int argc, char **argv)
{
    const char *where = argc > 1 ? argv[1] : FUZZ_CORPUS;
    DIR *dir = opendir(where);
    unsigned files = 0;
    struct dirent *d;

    if (!dir) {
        fprintf(stderr, "%s: no directory %s\n", argv[0], where);
        return 2;
    }
    while ((d = readdir(dir)) != NULL) {
        if (d->d_name[0] == '.')
            continue;
        if (run_file(where, d->d_name) != 0) {
            fprintf(stderr, "%s/%s cannot be read\n", where, d->d_name);
            closedir(dir);
            return 1;
        }
        files++;
    }
    closedir(dir);
    printf("1..1\n%s 1 - %lu runs from %u files of %s\n", files ? "ok" : "not ok", runs, files, where);
    return files ? 0 : 1;
}
