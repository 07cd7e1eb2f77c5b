/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loaded before core, supervisor and replica_probe (LD_PRELOAD, test builds only): records everything they do to the files below
 * INKAN_TEST_RECORD_ROOTS (directories, separated by ':') and every packet the core sends, in one order, to the file
 * INKAN_TEST_RECORD. What tests/fault/power_loss and tests/fault/power_replica make of it stands there. A flush of a part
 * (sync_file_range) promises nothing and is not recorded.
 *
 * A record is a header and `path_len` and `data_len` octets:
 *
 *   C path       a file was made, inode `ino`       O path   a file that was there was opened
 *   M path       a directory was made
 *   W data       `data_len` octets at `at`          T        length set to `at`
 *   S            the file is durable: fsync or fdatasync returned 0
 *   D path       the directory is
 *   R path data  renamed, `data` is the new path    L        linked, the same
 *   U path       removed
 *   P data       a packet is about to leave
 *   X path       something this recorder cannot follow
 *
 * INKAN_TEST_RECORD_KILL "T3": SIGKILL with the third T of a thread that is not the first, when it is done and recorded.
 *
 * -shm files are left out: SQLite maps them and makes them anew after a crash. A file mapped for writing is an X.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 4096

struct record {
    char kind;
    uint8_t other; /* by a thread that is not the first */
    uint8_t pad[6];
    uint64_t ino, at;
    uint32_t path_len, data_len;
};

enum { NOT, A_FILE, A_DIRECTORY };
static struct {
    int kind;
    uint64_t ino;
    char path[256];
} fds[FDS];
static char roots[8][256];
static int roots_n, out = -1, kill_after;
static char kill_kind;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *real(const char *name)
{
    void *f = dlsym(RTLD_NEXT, name);

    if (!f)
        abort();
    return f;
}

#define REAL(name) __extension__({ static __typeof__(&name) f; if (!f) *(void **)&f = real(#name); f; })

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("INKAN_TEST_RECORD"), *list = getenv("INKAN_TEST_RECORD_ROOTS"), *end = getenv("INKAN_TEST_RECORD_KILL");
    const char *name = program_invocation_short_name;
    char copy[1024], *save = NULL;

    if (!path || !list || (strcmp(name, "inkan-core") != 0 && strcmp(name, "inkand") != 0 && strcmp(name, "replica_probe") != 0))
        return;
    if (end) {
        kill_kind = end[0];
        kill_after = atoi(end + 1);
    }
    snprintf(copy, sizeof(copy), "%s", list);
    for (char *p = strtok_r(copy, ":", &save); p && roots_n < 8; p = strtok_r(NULL, ":", &save))
        snprintf(roots[roots_n++], sizeof(roots[0]), "%s", p);
    out = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (out < 0)
        abort();
}

static int is_recorded(const char *path)
{
    size_t len = strlen(path);

    if (out < 0 || (len > 4 && strcmp(path + len - 4, "-shm") == 0))
        return 0;
    for (int i = 0; i < roots_n; i++)
        if (strncmp(path, roots[i], strlen(roots[i])) == 0 && (path[strlen(roots[i])] == '/' || path[strlen(roots[i])] == '\0'))
            return 1;
    return 0;
}

static void put(char kind, uint64_t ino, uint64_t at, const char *path, const void *data, size_t len)
{
    bool other = gettid() != getpid();
    struct record r = {.kind = kind, .other = other, .ino = ino, .at = at, .path_len = path ? (uint32_t)strlen(path) : 0, .data_len = (uint32_t)len};
    struct iovec v[3] = {{&r, sizeof(r)}, {(void *)(uintptr_t)path, r.path_len}, {(void *)(uintptr_t)data, len}};
    int error = errno;

    if (REAL(writev)(out, v, 3) != (ssize_t)(sizeof(r) + r.path_len + len))
        abort();
    if (other && kind == kill_kind && --kill_after == 0)
        kill(getpid(), SIGKILL);
    errno = error;
}

static uint64_t ino_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static int kind_of(int fd)
{
    return out >= 0 && fd >= 0 && fd < FDS ? fds[fd].kind : NOT;
}

/* ---- names ---- */

static int open_recorded(int (*f)(const char *, int, ...), const char *path, int flags, mode_t mode)
{
    struct stat st;
    int fd, was_there;

    if (!is_recorded(path) || (flags & O_PATH) == O_PATH)
        return f(path, flags, mode);
    pthread_mutex_lock(&lock);
    was_there = stat(path, &st) == 0;
    fd = f(path, flags, mode);
    if (fd >= FDS)
        put('X', 0, 0, path, NULL, 0);
    if (fd >= 0 && fd < FDS) {
        fds[fd].kind = was_there && S_ISDIR(st.st_mode) ? A_DIRECTORY : A_FILE;
        fds[fd].ino = ino_of(fd);
        snprintf(fds[fd].path, sizeof(fds[fd].path), "%s", path);
        if (fds[fd].kind == A_FILE)
            put(was_there ? 'O' : 'C', fds[fd].ino, 0, path, NULL, 0);
        if (was_there && (flags & O_TRUNC))
            put('T', fds[fd].ino, 0, NULL, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        mode_t mode = 0;                                                                                               \
        va_list args;                                                                                                  \
                                                                                                                       \
        va_start(args, flags);                                                                                         \
        if (flags & (O_CREAT | __O_TMPFILE))                                                                           \
            mode = va_arg(args, mode_t);                                                                               \
        va_end(args);                                                                                                  \
        return open_recorded(REAL(name), path, flags, mode);                                                           \
    }
OPEN(open)
OPEN(open64)

int close(int fd)
{
    if (kind_of(fd) != NOT)
        fds[fd].kind = NOT;
    return REAL(close)(fd);
}

#define ON_PATH(recorded, call, kind, ino, path, data, len)                                                            \
    int rc;                                                                                                            \
                                                                                                                       \
    if (!(recorded))                                                                                                   \
        return call;                                                                                                   \
    pthread_mutex_lock(&lock);                                                                                         \
    rc = call;                                                                                                         \
    if (rc == 0)                                                                                                       \
        put(kind, ino, 0, path, data, len);                                                                            \
    pthread_mutex_unlock(&lock);                                                                                       \
    return rc

int rename(const char *from, const char *to)
{
    ON_PATH(is_recorded(from) || is_recorded(to), REAL(rename)(from, to), 'R', 0, from, to, strlen(to));
}

int link(const char *from, const char *to)
{
    ON_PATH(is_recorded(from) || is_recorded(to), REAL(link)(from, to), 'L', 0, from, to, strlen(to));
}

int unlink(const char *path)
{
    ON_PATH(is_recorded(path), REAL(unlink)(path), 'U', 0, path, NULL, 0);
}

static void path_at(int at, const char *name, char *out_path, size_t size)
{
    char link_name[64];
    ssize_t n;

    if (at == AT_FDCWD || name[0] == '/') {
        snprintf(out_path, size, "%s", name);
        return;
    }
    snprintf(link_name, sizeof(link_name), "/proc/self/fd/%d", at);
    n = readlink(link_name, out_path, size - 1);
    n = n > 0 ? n : 0;
    snprintf(out_path + n, size - (size_t)n, "%s%s", *name ? "/" : "", name);
}

int mkdirat(int at, const char *name, mode_t mode)
{
    char path[4096];

    path_at(at, name, path, sizeof(path));
    ON_PATH(is_recorded(path), REAL(mkdirat)(at, name, mode), 'M', 0, path, NULL, 0);
}

int mkdir(const char *path, mode_t mode)
{
    ON_PATH(is_recorded(path), REAL(mkdir)(path, mode), 'M', 0, path, NULL, 0);
}

/* ---- content ---- */

#define ON_FILE(call, position)                                                                                        \
    ssize_t done;                                                                                                      \
                                                                                                                       \
    if (kind_of(fd) != A_FILE)                                                                                         \
        return call;                                                                                                   \
    pthread_mutex_lock(&lock);                                                                                         \
    done = call;                                                                                                       \
    if (done > 0)                                                                                                      \
        put('W', fds[fd].ino, (uint64_t)(position), NULL, p, (size_t)done);                                            \
    pthread_mutex_unlock(&lock);                                                                                       \
    return done

ssize_t write(int fd, const void *p, size_t n)
{
    ON_FILE(REAL(write)(fd, p, n), lseek(fd, 0, SEEK_CUR) - done);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    ON_FILE(REAL(pwrite)(fd, p, n, at), at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    ON_FILE(REAL(pwrite64)(fd, p, n, at), at);
}

#define CANNOT_FOLLOW(fd) if (kind_of(fd) != NOT) put('X', fds[fd].ino, 0, fds[fd].path, NULL, 0)

ssize_t writev(int fd, const struct iovec *v, int n)
{
    CANNOT_FOLLOW(fd);
    return REAL(writev)(fd, v, n);
}

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
    CANNOT_FOLLOW(fd);
    return REAL(pwritev)(fd, v, n, at);
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
    CANNOT_FOLLOW(fd);
    return REAL(fallocate)(fd, mode, at, n);
}

int posix_fallocate(int fd, off_t at, off_t n)
{
    CANNOT_FOLLOW(fd);
    return REAL(posix_fallocate)(fd, at, n);
}

#define MAP(name, offset)                                                                                              \
    void *name(void *at, size_t n, int prot, int flags, int fd, offset from)                                           \
    {                                                                                                                  \
        if ((prot & PROT_WRITE) && (flags & MAP_SHARED))                                                               \
            CANNOT_FOLLOW(fd);                                                                                         \
        return REAL(name)(at, n, prot, flags, fd, from);                                                               \
    }
MAP(mmap, off_t)
MAP(mmap64, off64_t)

#define ON_LENGTH(name, offset)                                                                                        \
    int name(int fd, offset size)                                                                                      \
    {                                                                                                                  \
        int rc;                                                                                                        \
                                                                                                                       \
        if (kind_of(fd) != A_FILE)                                                                                     \
            return REAL(name)(fd, size);                                                                               \
        pthread_mutex_lock(&lock);                                                                                     \
        rc = REAL(name)(fd, size);                                                                                     \
        if (rc == 0)                                                                                                   \
            put('T', fds[fd].ino, (uint64_t)size, NULL, NULL, 0);                                                      \
        pthread_mutex_unlock(&lock);                                                                                   \
        return rc;                                                                                                     \
    }
ON_LENGTH(ftruncate, off_t)
ON_LENGTH(ftruncate64, off64_t)

/* Directories may have been opened by openat. */
static void put_sync(int fd)
{
    char path[4096] = "";
    struct stat st;

    if (kind_of(fd) == A_FILE) {
        put('S', fds[fd].ino, 0, NULL, NULL, 0);
        return;
    }
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        path_at(fd, "", path, sizeof(path));
    if (is_recorded(path))
        put('D', 0, 0, path, NULL, 0);
}

#define ON_SYNC(name)                                                                                                  \
    int name(int fd)                                                                                                   \
    {                                                                                                                  \
        int rc;                                                                                                        \
                                                                                                                       \
        if (out < 0)                                                                                                   \
            return REAL(name)(fd);                                                                                     \
        pthread_mutex_lock(&lock);                                                                                     \
        rc = REAL(name)(fd);                                                                                           \
        if (rc == 0)                                                                                                   \
            put_sync(fd);                                                                                              \
        pthread_mutex_unlock(&lock);                                                                                   \
        return rc;                                                                                                     \
    }
ON_SYNC(fsync)
ON_SYNC(fdatasync)

/* ---- what the world gets to see ---- */

static bool is_seen(void)
{
    return out >= 0 && strcmp(program_invocation_short_name, "inkan-core") == 0;
}

static void put_packet(const struct msghdr *m)
{
    char packet[70000];
    size_t n = 0;

    for (size_t i = 0; i < m->msg_iovlen && n + m->msg_iov[i].iov_len <= sizeof(packet); i++) {
        memcpy(packet + n, m->msg_iov[i].iov_base, m->msg_iov[i].iov_len);
        n += m->msg_iov[i].iov_len;
    }
    pthread_mutex_lock(&lock);
    put('P', 0, 0, NULL, packet, n);
    pthread_mutex_unlock(&lock);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    if (is_seen())
        put_packet(m);
    return REAL(sendmsg)(fd, m, flags);
}

int sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
    for (unsigned i = 0; i < n && is_seen(); i++)
        put_packet(&m[i].msg_hdr);
    return REAL(sendmmsg)(fd, m, n, flags);
}
