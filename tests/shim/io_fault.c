/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loaded before the service's processes (LD_PRELOAD, test builds only): something happens at the N-th write, sync or send.
 * Injection by strace will not do: it hides the system call from the process's own filter, which then kills it.
 *
 * INKAN_TEST_IO names a file with one line; a file that is not there means no faults. It is read again when it changes, and
 * counting starts anew then, as in each new process.
 *
 *   process=core      the supervisor's name for it (core, status, signer-issuing, front-0, ...)
 *   call=write        write: write, writev, pwrite, pwritev, ftruncate; sync: fsync, fdatasync; send: sendmsg, sendmmsg; dup: a
 *                     duplicate descriptor by fcntl
 *   path=TEXT         only descriptors whose path has this in it; TEXT$: whose path ends so
 *   n=N               at the N-th such call, once (INKAN_TEST_IO.fired is made then); 0: at every one
 *   do=kill           SIGKILL to the own process instead of the call
 *   do=torn           the same after half of the octets have been written
 *   do=errno value=E  the call fails with that error
 *   do=delay value=MS the call is made that much later
 *
 * Standard error, the log, is not counted. After a call failed, each packet that the process still sends is a line in
 * INKAN_TEST_IO.fired, below the time: its type and the first octet of its body, as hex.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum act { PASS, KILL, TORN, FAIL };

static struct rule {
    char process[64], call[16], path[128], action[16];
    unsigned long n, value, seen;
} rule;
static struct stat rule_stat;
static char own_name[64];
static int has_failed; /* a call of this process was made to fail */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* "-n NAME" of the command line. */
__attribute__((constructor)) static void find_name(void)
{
    char text[4096];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(text + at) + 1)
        if (strcmp(text + at, "-n") == 0 && at + 3 < n)
            snprintf(own_name, sizeof(own_name), "%.63s", text + at + 3);
}

static void set(const char *key, const char *value)
{
    const struct {
        const char *key;
        char *text;
        size_t size;
        unsigned long *number;
    } fields[] = {{"process", rule.process, sizeof(rule.process), NULL}, {"call", rule.call, sizeof(rule.call), NULL},
                  {"path", rule.path, sizeof(rule.path), NULL},          {"do", rule.action, sizeof(rule.action), NULL},
                  {"n", NULL, 0, &rule.n},                               {"value", NULL, 0, &rule.value}};

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strcmp(key, fields[i].key) != 0)
            continue;
        if (fields[i].text)
            snprintf(fields[i].text, fields[i].size, "%s", value);
        else
            *fields[i].number = strtoul(value, NULL, 10);
    }
}

static void read_rule(const char *path)
{
    char line[512] = "", *save = NULL;
    struct stat st;
    int fd;

    if (stat(path, &st) != 0) {
        memset(&rule, 0, sizeof(rule));
        memset(&rule_stat, 0, sizeof(rule_stat));
        return;
    }
    if (st.st_ino == rule_stat.st_ino && memcmp(&st.st_mtim, &rule_stat.st_mtim, sizeof(st.st_mtim)) == 0)
        return;
    rule_stat = st;
    memset(&rule, 0, sizeof(rule));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (read(fd, line, sizeof(line) - 1) > 0)
        for (char *word = strtok_r(line, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
            char *eq = strchr(word, '=');

            if (eq) {
                *eq = '\0';
                set(word, eq + 1);
            }
        }
    close(fd);
}

static int path_fits(int fd)
{
    char link[64], path[4096];
    size_t wanted = strlen(rule.path);
    ssize_t n;

    if (!rule.path[0])
        return 1;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    if (n <= 0)
        return 0;
    if (rule.path[wanted - 1] != '$')
        return strstr(path, rule.path) != NULL;
    return (size_t)n >= wanted - 1 && memcmp(path + n - (wanted - 1), rule.path, wanted - 1) == 0;
}

#define REAL(name) __extension__({ static __typeof__(&name) f; if (!f) *(void **)&f = real(#name); f; })

static void *real(const char *name)
{
    void *f = dlsym(RTLD_NEXT, name);

    if (!f)
        abort();
    return f;
}

/* Whoever makes the mark is the one. It holds the time. */
static int mark_fired(const char *path)
{
    char mark[4096], text[48];
    struct timespec now;
    int fd, n;

    snprintf(mark, sizeof(mark), "%s.fired", path);
    fd = open(mark, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return 0;
    clock_gettime(CLOCK_REALTIME, &now);
    n = snprintf(text, sizeof(text), "%ld.%09ld\n", (long)now.tv_sec, now.tv_nsec);
    (void)!REAL(write)(fd, text, (size_t)n);
    close(fd);
    return 1;
}

static enum act judge(const char *call, int fd)
{
    const char *path = getenv("INKAN_TEST_IO");
    int hit, error = errno;
    struct rule r;

    if (!path || fd == STDERR_FILENO || !own_name[0])
        return PASS;
    pthread_mutex_lock(&lock);
    read_rule(path);
    hit = strcmp(rule.process, own_name) == 0 && strcmp(rule.call, call) == 0 && path_fits(fd) && ++rule.seen && 
          (rule.n == 0 || (rule.seen == rule.n && mark_fired(path)));
    r = rule;
    pthread_mutex_unlock(&lock);
    errno = error;
    if (!hit)
        return PASS;
    if (strcmp(r.action, "delay") == 0) {
        struct timespec t = {(time_t)(r.value / 1000), (long)(r.value % 1000) * 1000000};

        nanosleep(&t, NULL);
        return PASS;
    }
    if (strcmp(r.action, "errno") == 0) {
        has_failed = 1;
        errno = (int)r.value;
        return FAIL;
    }
    if (strcmp(r.action, "torn") == 0)
        return TORN;
    raise(SIGKILL);
    return KILL;
}

/* `half` makes the first half of the write. */
#define FAULTY(call, fd, otherwise, half)                                                                              \
    switch (judge(call, fd)) {                                                                                         \
    case TORN:                                                                                                         \
        (void)!(half);                                                                                                 \
        raise(SIGKILL);                                                                                       \
        return -1;                                                                                                     \
    case KILL:                                                                                                         \
    case FAIL:                                                                                                         \
        return -1;                                                                                                     \
    case PASS:                                                                                                         \
    default:                                                                                                           \
        return otherwise;                                                                                              \
    }

ssize_t write(int fd, const void *p, size_t n)
{
    FAULTY("write", fd, REAL(write)(fd, p, n), REAL(write)(fd, p, n / 2))
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
    FAULTY("write", fd, REAL(writev)(fd, v, n), REAL(writev)(fd, v, n / 2))
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    FAULTY("write", fd, REAL(pwrite)(fd, p, n, at), REAL(pwrite)(fd, p, n / 2, at))
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    FAULTY("write", fd, REAL(pwrite64)(fd, p, n, at), REAL(pwrite64)(fd, p, n / 2, at))
}

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
    FAULTY("write", fd, REAL(pwritev)(fd, v, n, at), REAL(pwritev)(fd, v, n / 2, at))
}

int ftruncate(int fd, off_t size)
{
    FAULTY("write", fd, REAL(ftruncate)(fd, size), 0)
}

int ftruncate64(int fd, off64_t size)
{
    FAULTY("write", fd, REAL(ftruncate64)(fd, size), 0)
}

int fsync(int fd)
{
    FAULTY("sync", fd, REAL(fsync)(fd), 0)
}

int fdatasync(int fd)
{
    FAULTY("sync", fd, REAL(fdatasync)(fd), 0)
}

int fcntl(int fd, int what, ...)
{
    va_list args;
    void *arg;

    va_start(args, what);
    arg = va_arg(args, void *);
    va_end(args);
    if (what != F_DUPFD_CLOEXEC)
        return REAL(fcntl)(fd, what, arg);
    FAULTY("dup", fd, REAL(fcntl)(fd, what, arg), 0)
}

static void note_packet(const struct msghdr *m)
{
    char mark[4096], line[32];
    const unsigned char *p = m->msg_iovlen ? m->msg_iov[0].iov_base : NULL;
    int fd, n;

    if (!p || m->msg_iov[0].iov_len < 17)
        return;
    snprintf(mark, sizeof(mark), "%s.fired", getenv("INKAN_TEST_IO"));
    fd = open(mark, O_WRONLY | O_APPEND | O_CLOEXEC);
    n = snprintf(line, sizeof(line), "%02x%02x %02x\n", p[6], p[7], p[16]);
    if (fd >= 0) {
        (void)!REAL(write)(fd, line, (size_t)n);
        close(fd);
    }
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    if (has_failed)
        note_packet(m);
    FAULTY("send", fd, REAL(sendmsg)(fd, m, flags), 0)
}

int sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
    for (unsigned i = 0; has_failed && i < n; i++)
        note_packet(&m[i].msg_hdr);
    FAULTY("send", fd, REAL(sendmmsg)(fd, m, n, flags), 0)
}
