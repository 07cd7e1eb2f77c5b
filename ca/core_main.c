/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "ca/admin_api.h"
#include "ca/core_run.h"

#define API_MAX (4u << 20)

/* --openapi: the description of its administration, on standard output. */
static int print_api(void)
{
    AUTO_BUF text = BUF_INIT(API_MAX);
    struct err e = {0};

    if (admin_api_write(&text, &e) != E_OK) {
        fprintf(stderr, "inkan-core: %s\n", e.msg);
        return 1;
    }
    return fwrite(text.p, 1, text.len, stdout) == text.len && fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    return argc == 2 && strcmp(argv[1], "--openapi") == 0 ? print_api() : core_run(argc, argv);
}
