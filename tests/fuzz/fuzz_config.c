/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration file. What loads, printed, must load again and print the same. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct conf *load(struct bytes text, struct buf *report)
{
    struct conf *c = NULL;
    char path[64];
    struct err e;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    if (fd < 0 || write(fd, text.p, text.len) != (ssize_t)text.len)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if ((conf_load(path, &c, report, &e) == E_OK) != (c != NULL))
        abort();
    close(fd);
    return c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_BUF report = BUF_INIT(1 << 20);
    AUTO_BUF printed = BUF_INIT(1 << 20);
    AUTO_BUF again = BUF_INIT(1 << 20);
    struct conf *c = load(BYTES(data, size), &report), *c2;

    if (!c)
        return 0;
    conf_print(c, &printed);
    c2 = load(buf_bytes(&printed), &report);
    if (!c2) {
        fprintf(stderr, "%.*s%.*s", (int)printed.len, (char *)printed.p, (int)report.len, (char *)report.p);
        abort();
    }
    conf_print(c2, &again);
    if (!bytes_equal(buf_bytes(&printed), buf_bytes(&again)))
        abort();
    conf_free(c);
    conf_free(c2);
    return 0;
}
