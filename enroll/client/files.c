/* SPDX-License-Identifier: Apache-2.0 */
/* Durable small files: write, fsync, rename, fsync the directory. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enroll/client/device_int.h"

enum device_result device_fail(struct device *d, enum device_result r, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(d->error, sizeof d->error, fmt, ap);
    va_end(ap);
    return r;
}

time_t device_now(const struct device *d)
{
    return d->o.now ? d->o.now() : time(NULL);
}

enum device_result path_join(struct device *d, char out[DEVICE_PATH_MAX], const char *name)
{
    int n = snprintf(out, DEVICE_PATH_MAX, "%s/%s", d->o.dir, name);

    if (n < 0 || n >= DEVICE_PATH_MAX)
        return device_fail(d, DEVICE_BROKEN, "path too long: %s/%s", d->o.dir, name);
    return DEVICE_OK;
}

enum device_result file_load(struct device *d, const char *path, size_t max, char **text, size_t *len)
{
    FILE *f = fopen(path, "re");
    char *p;
    size_t n;

    *text = NULL;
    *len = 0;
    if (!f)
        return device_fail(d, DEVICE_BROKEN, "%s: %s", path, strerror(errno));
    p = malloc(max + 2);
    n = p ? fread(p, 1, max + 1, f) : 0;
    if (!p || ferror(f) || n > max) {
        fclose(f);
        free(p);
        return device_fail(d, DEVICE_BROKEN, "%s: cannot be read, or larger than %zu octets", path, max);
    }
    fclose(f);
    p[n] = 0;
    *text = p;
    *len = n;
    return DEVICE_OK;
}

enum device_result dir_sync(struct device *d, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int status = fd >= 0 ? fsync(fd) : -1;

    if (fd >= 0)
        close(fd);
    return status == 0 ? DEVICE_OK : device_fail(d, DEVICE_BROKEN, "%s: fsync: %s", path, strerror(errno));
}

static int write_all(int fd, const char *p, size_t len)
{
    while (len) {
        ssize_t n = write(fd, p, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

enum device_result file_store(struct device *d, const char *name, const void *p, size_t len)
{
    char path[DEVICE_PATH_MAX], temporary[DEVICE_PATH_MAX + 8];
    int fd, saved;

    if (path_join(d, path, name) != DEVICE_OK)
        return DEVICE_BROKEN;
    snprintf(temporary, sizeof temporary, "%s.new", path);
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return device_fail(d, DEVICE_BROKEN, "%s: %s", temporary, strerror(errno));
    if (write_all(fd, p, len) != 0 || fsync(fd) != 0) {
        saved = errno;
        close(fd);
        unlink(temporary);
        return device_fail(d, DEVICE_BROKEN, "%s: %s", temporary, strerror(saved));
    }
    close(fd);
    if (rename(temporary, path) != 0)
        return device_fail(d, DEVICE_BROKEN, "%s: %s", path, strerror(errno));
    *strrchr(path, '/') = 0;
    return dir_sync(d, path);
}

time_t clock_floor(struct device *d)
{
    char path[DEVICE_PATH_MAX], *text, *end;
    size_t len;
    long long t;

    if (path_join(d, path, "clock") != DEVICE_OK || access(path, R_OK) != 0 ||
        file_load(d, path, 64, &text, &len) != DEVICE_OK)
        return 0;
    t = strtoll(text, &end, 10);
    if (end == text || t < 0)
        t = 0;
    free(text);
    return (time_t)t;
}

void clock_floor_raise(struct device *d, time_t t)
{
    char text[32];

    if (t <= clock_floor(d))
        return;
    snprintf(text, sizeof text, "%lld\n", (long long)t);
    /* Losing this costs only the chance to notice a bad clock. */
    (void)file_store(d, "clock", text, strlen(text));
}
