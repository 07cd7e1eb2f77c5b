/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loaded before the core (LD_PRELOAD, test builds only): fsync and fdatasync fail with EIO while the file named by
 * INKAN_TEST_SYNC_FAILS exists. Injection by strace will not do: it hides the system call from the process's own filter,
 * which then kills it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fails(void)
{
    const char *path = getenv("INKAN_TEST_SYNC_FAILS");
    int fd = path && strcmp(program_invocation_short_name, "inkan-core") == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd < 0)
        return 0;
    close(fd);
    return 1;
}

static int call(const char *name, int fd)
{
    int (*real)(int) = NULL;

    if (fails()) {
        errno = EIO;
        return -1;
    }
    *(void **)&real = dlsym(RTLD_NEXT, name);
    return real ? real(fd) : -1;
}

int fsync(int fd);
int fsync(int fd)
{
    return call("fsync", fd);
}

int fdatasync(int fd);
int fdatasync(int fd)
{
    return call("fdatasync", fd);
}
