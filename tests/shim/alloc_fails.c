/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loaded before the service's processes (LD_PRELOAD, test builds only): the N-th allocation of a process fails.
 *
 * INKAN_TEST_ALLOC names a file with one line, "PROCESS N": the supervisor's name of a process (core, status, signer-issuing,
 * front-0, ...) and a number. A file that is not there means no faults. It is looked at with every allocation; counting starts
 * when it appears or is replaced. The N-th malloc, calloc or realloc of that process, in any of its threads, gives NULL,
 * once. INKAN_TEST_ALLOC.fired is made then, with the callers as lines "FILE+0xOFFSET", innermost first.
 *
 * For builds without sanitizers, which have an allocator of their own.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CALLERS 24

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

static const char *rule_path, *own_name; /* none: this process is left alone */
static struct {
    struct stat seen;
    unsigned long n, count;
} rule;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread int inside; /* what is below must not fail, nor count */

/* "-n NAME" of the command line. */
__attribute__((constructor)) static void find_name(void)
{
    static char text[4096];
    void *frame[1];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

    if (fd >= 0)
        close(fd);
    rule_path = getenv("INKAN_TEST_ALLOC");
    (void)backtrace(frame, 1); /* loads what it needs now, before the process confines itself */
    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(text + at) + 1)
        if (strcmp(text + at, "-n") == 0 && at + 3 < n)
            own_name = text + at + 3;
}

static unsigned long read_rule(void)
{
    char line[128] = "", process[64];
    unsigned long n = 0;
    int fd = open(rule_path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return 0;
    if (read(fd, line, sizeof(line) - 1) <= 0 || sscanf(line, "%63s %lu", process, &n) != 2 || strcmp(process, own_name) != 0)
        n = 0;
    close(fd);
    return n;
}

/* Whoever makes the mark is the one, also across a restart. */
static int leave_mark(void)
{
    char path[4096];
    void *frames[CALLERS];
    int fd, n;

    snprintf(path, sizeof(path), "%s.fired", rule_path);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return 0;
    n = backtrace(frames, CALLERS);
    for (int i = 2; i < n; i++) {
        Dl_info at;

        if (dladdr(frames[i], &at) == 0 || !at.dli_fname)
            continue;
        dprintf(fd, "%s+%#lx\n", at.dli_fname, (unsigned long)((const char *)frames[i] - (const char *)at.dli_fbase));
    }
    close(fd);
    return 1;
}

static int fails(void)
{
    struct stat st;
    int hit = 0, error = errno;

    if (inside || !rule_path || !own_name)
        return 0;
    inside = 1;
    pthread_mutex_lock(&lock);
    if (stat(rule_path, &st) != 0) {
        rule.n = 0;
        memset(&rule.seen, 0, sizeof(rule.seen));
    } else if (st.st_ino != rule.seen.st_ino || memcmp(&st.st_mtim, &rule.seen.st_mtim, sizeof(st.st_mtim)) != 0) {
        rule.seen = st;
        rule.count = 0;
        rule.n = read_rule();
    }
    hit = rule.n && ++rule.count == rule.n && leave_mark();
    pthread_mutex_unlock(&lock);
    inside = 0;
    errno = hit ? ENOMEM : error;
    return hit;
}

/* `first` serves until the next library's function is known: looking for it allocates. */
#define NEXT(name, first)                                                                                              \
    __extension__({                                                                                                    \
        static __typeof__(&name) f;                                                                                    \
        static __thread int looking;                                                                                   \
        if (!f && !looking) {                                                                                          \
            looking = 1;                                                                                               \
            *(void **)&f = dlsym(RTLD_NEXT, #name);                                                                    \
            looking = 0;                                                                                               \
        }                                                                                                              \
        f ? f : first;                                                                                                 \
    })

void *malloc(size_t n)
{
    return fails() ? NULL : NEXT(malloc, __libc_malloc)(n);
}

void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : NEXT(calloc, __libc_calloc)(n, size);
}

void *realloc(void *p, size_t n)
{
    return n != 0 && fails() ? NULL : NEXT(realloc, __libc_realloc)(p, n);
}
