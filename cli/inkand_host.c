/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/inkand_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <netinet/in.h>
#include <pwd.h>
#include <openssl/x509.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fsio.h"
#include "base/log.h"
#include "ca/anchor_pem.h"

#define LISTEN_BACKLOG   1024
#define BIND_PATIENCE_MS 12000 /* fronts of a supervisor that was killed drain for ten seconds and hold the sockets */

/* ---- users ---- */

/* NULL: no process of this kind is configured. */
static const char *user_of(const struct conf *c, enum proc_kind kind)
{
    switch (kind) {
    case PROC_SUPERVISOR:
        return c->user_supervisor;
    case PROC_FRONT:
        return c->user_front;
    case PROC_CORE:
        return c->user_core;
    case PROC_STATUS:
        return c->user_status;
    case PROC_SIGNER:
    case PROC_TOKEN:
        return c->user_signer;
    case PROC_ADMIN:
        return c->listen_admin.n > 0 ? c->user_admin : NULL;
    case PROC_NOTIFY:
        return c->notify_n > 0 ? c->user_notify : NULL;
    case PROC_KINDS:
        break;
    }
    return NULL;
}

static enum err_code find_user(const char *name, struct identity *out, struct err *e)
{
    const struct passwd *pw;

    errno = 0;
    pw = getpwnam(name);
    if (!pw)
        return err_set(e, E_INVALID, "users: there is no user \"%s\" on this machine (deploy/create-users makes them)", name);
    if (pw->pw_uid == 0)
        return err_set(e, E_INVALID, "users: \"%s\" is root", name);
    out->uid = pw->pw_uid;
    out->gid = pw->pw_gid;
    out->groups_n = GROUPS_MAX;
    if (getgrouplist(name, pw->pw_gid, out->groups, &out->groups_n) < 0)
        return err_set(e, E_INVALID, "users: \"%s\" is in more than %d groups", name, GROUPS_MAX);
    return E_OK;
}

enum err_code host_check_users(const struct conf *c, struct err *e)
{
    struct identity id;

    for (int kind = 0; kind < PROC_KINDS; kind++) {
        const char *name = user_of(c, (enum proc_kind)kind);

        if (name && name[0] != '\0' && find_user(name, &id, e) != E_OK)
            return e->code;
    }
    return E_OK;
}

static enum err_code check_anchor(const struct conf_anchor *a, struct err *e)
{
    AUTO_BUF text = BUF_INIT(ANCHOR_FILE_MAX);
    X509_STORE *store = NULL;

    if (file_read(a->file, &text, e) != E_OK || anchor_pem_read(buf_bytes(&text), &store, NULL, e) != E_OK)
        return err_wrap(e, "anchor \"%s\" (%s, read as the core's user)", a->name, a->file);
    X509_STORE_free(store);
    return E_OK;
}

enum err_code host_check_anchors(const struct conf *c, struct err *e)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    struct identity core;
    enum err_code code = E_OK;

    if (uid == 0 && c->user_core[0] != '\0' &&
        (find_user(c->user_core, &core, e) != E_OK || setegid(core.gid) != 0 || seteuid(core.uid) != 0))
        return e->code != E_OK ? e->code : err_errno(e, E_IO, "user %s", c->user_core);
    for (size_t i = 0; i < c->anchors_n && code == E_OK; i++)
        if (c->anchors[i].file[0] != '\0')
            code = check_anchor(&c->anchors[i], e);
    if (seteuid(uid) != 0 || setegid(gid) != 0)
        return err_errno(e, E_IO, "back to user %u", (unsigned)uid);
    return code;
}

enum err_code host_users(struct host *h, const struct conf *c, struct err *e)
{
    h->privileged = geteuid() == 0;
    for (int kind = 0; kind < PROC_KINDS; kind++) {
        const char *name = user_of(c, (enum proc_kind)kind);

        if (!name)
            continue;
        if (!h->privileged) {
            h->users[kind].uid = geteuid();
            h->users[kind].gid = getegid();
            continue;
        }
        if (name[0] == '\0')
            return err_set(e, E_INVALID, "started as root, but users: is not set: name a user for each process, or start as an ordinary user");
        if (find_user(name, &h->users[kind], e) != E_OK)
            return e->code;
    }
    return E_OK;
}

/* ---- directories ---- */

/* The parents of a configured path, made as they usually are; what exists is left alone. */
static enum err_code make_parents(const char *path, struct err *e)
{
    char part[PATH_MAX];

    snprintf(part, sizeof(part), "%s", path);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        enum err_code rc = E_OK;

        *slash = '\0';
        if (access(part, F_OK) != 0)
            rc = dir_make(part, 0755, e);
        *slash = '/';
        if (rc != E_OK)
            return rc;
    }
    return E_OK;
}

/*
 * Makes `name` below the open directory `at` and sets owner and mode through the descriptor: a link put there by the
 * owner of the parent is refused, not followed. Returns the descriptor.
 */
static int own_dir(const struct host *h, int at, const char *name, const char *shown, enum proc_kind owner, mode_t mode,
                   struct err *e)
{
    const struct identity *id = &h->users[owner];
    AUTO_FD int fd = -1;
    struct stat st;
    bool made = mkdirat(at, name, 0700) == 0;

    if (!made && errno != EEXIST) {
        err_errno(e, E_IO, "%s: mkdir", shown);
        return -1;
    }
    fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (at == AT_FDCWD ? 0 : O_NOFOLLOW));
    if (fd < 0 || fstat(fd, &st) != 0) {
        err_errno(e, E_IO, "%s", shown);
        return -1;
    }
    if (h->privileged && (st.st_uid != id->uid || st.st_gid != id->gid) && fchown(fd, id->uid, id->gid) != 0) {
        err_errno(e, E_IO, "%s: chown", shown);
        return -1;
    }
    if ((h->privileged || st.st_uid == geteuid()) && (st.st_mode & 07777) != mode && fchmod(fd, mode) != 0) {
        err_errno(e, E_IO, "%s: chmod", shown);
        return -1;
    }
    /* A ledger that is synced in a directory whose name is not can be lost with it. */
    if (made && at == AT_FDCWD && file_sync_name(shown, e) != E_OK)
        return -1;
    if (made && at != AT_FDCWD && fsync(at) != 0) {
        err_errno(e, E_IO, "%s: fsync of the directory", shown);
        return -1;
    }
    return take_fd(&fd);
}

enum err_code host_directories(struct host *h, const struct conf *c, struct err *e)
{
    const struct {
        const char *name;
        enum proc_kind owner;
        mode_t mode;
    } below_state[] = {{"ledger", PROC_CORE, 0700},
                       {"crl", PROC_CORE, 0755},
                       {"status", PROC_STATUS, 0700},
                       {"tls", PROC_FRONT, 0700},
                       {"pin", PROC_SIGNER, 0700},
                       {"admin", PROC_ADMIN, 0700},
                       {"notify", PROC_NOTIFY, 0700}};
    const struct {
        const char *path;
        enum proc_kind owner;
        mode_t mode;
    } roots[] = {{c->dir_run, PROC_SUPERVISOR, 0755}, {c->dir_marks, PROC_CORE, 0700}, {c->dir_state, PROC_CORE, 0711}};
    AUTO_FD int state = -1;

    for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
        if (make_parents(roots[i].path, e) != E_OK)
            return e->code;
        if (state >= 0)
            close(take_fd(&state));
        state = own_dir(h, AT_FDCWD, roots[i].path, roots[i].path, roots[i].owner, roots[i].mode, e);
        if (state < 0)
            return e->code;
    }
    for (size_t i = 0; i < ARRAY_LEN(below_state); i++) {
        char shown[PATH_MAX];
        int fd;

        if (!user_of(c, below_state[i].owner))
            continue;
        snprintf(shown, sizeof(shown), "%s/%s", c->dir_state, below_state[i].name);
        fd = own_dir(h, state, below_state[i].name, shown, below_state[i].owner, below_state[i].mode, e);
        if (fd < 0)
            return e->code;
        close(fd);
    }
    return E_OK;
}

/* ---- pid files ---- */

/* Root gives the supervisor the file it opened, but not one that has another name too: the directory is the supervisor's. */
static enum err_code give_file(const struct host *h, int fd, const char *path, struct err *e)
{
    const struct identity *id = &h->users[PROC_SUPERVISOR];
    struct stat st;

    if (geteuid() != 0)
        return E_OK;
    if (fstat(fd, &st) != 0)
        return err_errno(e, E_IO, "%s", path);
    if (!S_ISREG(st.st_mode) || (st.st_uid == id->uid && st.st_gid == id->gid))
        return E_OK;
    if (st.st_nlink != 1)
        return err_set(e, E_IO, "%s: the file has other names too: remove it", path);
    return fchown(fd, id->uid, id->gid) == 0 ? E_OK : err_errno(e, E_IO, "%s: chown", path);
}

enum err_code host_lock(struct host *h, const struct conf *c, struct err *e)
{
    char path[PATH_MAX];

    if ((size_t)snprintf(path, sizeof(path), "%s/inkand.pid", c->dir_run) >= sizeof(path))
        return err_set(e, E_INVALID, "%s: path is too long", c->dir_run);
    h->pid_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (h->pid_fd < 0)
        return err_errno(e, E_IO, "%s", path);
    if (flock(h->pid_fd, LOCK_EX | LOCK_NB) != 0)
        return err_set(e, E_CONFLICT, "%s: another inkand is running", path);
    return give_file(h, h->pid_fd, path, e);
}

static void write_pid(int fd, pid_t pid)
{
    if (ftruncate(fd, 0) == 0)
        dprintf(fd, "%ld\n", (long)pid);
}

void host_pid_file(const struct conf *c, const char *name, pid_t pid)
{
    char path[PATH_MAX];
    int fd;

    if ((size_t)snprintf(path, sizeof(path), "%s/%s.pid", c->dir_run, name) >= sizeof(path))
        return;
    unlink(path);
    if (pid == 0)
        return;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        log_note(LOG_WARN, "pid-file-failed", "path", path);
        return;
    }
    write_pid(fd, pid);
    close(fd);
}

/* ---- sockets ---- */

static enum err_code add_listener(struct host *h, const char *name, int fd, struct err *e)
{
    if (h->listeners_n == SOCKETS_MAX) {
        close(fd);
        return err_set(e, E_INVALID, "more than %d listening sockets", SOCKETS_MAX);
    }
    h->listeners[h->listeners_n++] = (struct listener){name, fd};
    return E_OK;
}

/* The configuration was checked: "A.B.C.D:PORT" or "[V6]:PORT". */
static socklen_t read_address(const char *text, struct sockaddr_storage *out)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)out;
    const char *colon = strrchr(text, ':');
    in_port_t port = htons((uint16_t)atoi(colon + 1));
    char host[64];

    memset(out, 0, sizeof(*out));
    if (text[0] == '[') {
        snprintf(host, sizeof(host), "%.*s", (int)(colon - text - 2), text + 1);
        v6->sin6_family = AF_INET6;
        v6->sin6_port = port;
        inet_pton(AF_INET6, host, &v6->sin6_addr);
        return sizeof(*v6);
    }
    snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
    v4->sin_family = AF_INET;
    v4->sin_port = port;
    inet_pton(AF_INET, host, &v4->sin_addr);
    return sizeof(*v4);
}

static int bind_patiently(int fd, const struct sockaddr *address, socklen_t len)
{
    int64_t deadline = clock_mono_ms() + BIND_PATIENCE_MS;

    while (bind(fd, address, len) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};

        if (errno != EADDRINUSE || clock_mono_ms() > deadline)
            return -1;
        nanosleep(&pause, NULL);
    }
    return 0;
}

static enum err_code listen_tcp(struct host *h, const char *name, const struct conf_strings *addresses, struct err *e)
{
    for (size_t i = 0; i < addresses->n; i++) {
        struct sockaddr_storage address;
        socklen_t len = read_address(addresses->v[i], &address);
        AUTO_FD int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        const int on = 1;

        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
            (address.ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0) ||
            bind_patiently(fd, (const struct sockaddr *)&address, len) != 0)
            return err_errno(e, E_IO, "listen on %s", addresses->v[i]);
        if (add_listener(h, name, take_fd(&fd), e) != E_OK)
            return e->code;
    }
    return E_OK;
}

/*
 * The administration socket. The core asks the kernel who connected before it reads a word; the mode is a second fence.
 * Named administrators need not share a group with the supervisor, so for them the socket is open to connect to.
 */
enum err_code host_listen_admin(struct host *h, const struct conf *c, struct err *e)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    AUTO_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if ((size_t)snprintf(h->admin_path, sizeof(h->admin_path), "%s/admin.sock", c->dir_run) >= sizeof(address.sun_path))
        return err_set(e, E_INVALID, "%s: longer than a socket's name may be", h->admin_path);
    memcpy(address.sun_path, h->admin_path, strlen(h->admin_path) + 1);
    if (fd < 0)
        return err_errno(e, E_IO, "socket");
    unlink(h->admin_path); /* left by a supervisor that was killed; the pid file's lock says it is not alive */
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
        return err_errno(e, E_IO, "%s: bind", h->admin_path);
    if (chmod(h->admin_path, c->admin_users.n > 0 ? 0666 : 0660) != 0 || listen(fd, LISTEN_BACKLOG) != 0)
        return err_errno(e, E_IO, "%s", h->admin_path);
    return add_listener(h, "admin", take_fd(&fd), e);
}

/* Decisions for programs of this machine: who may connect is who is in the group (docs/access.md). */
static enum err_code listen_decision(struct host *h, const struct conf *c, struct err *e)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct group *g = c->decisions_group[0] ? getgrnam(c->decisions_group) : NULL;
    AUTO_FD int fd = -1;

    if (!c->decisions)
        return E_OK;
    if (strlen(c->listen_decision) >= sizeof(address.sun_path))
        return err_set(e, E_INVALID, "%s: longer than a socket's name may be", c->listen_decision);
    if (c->decisions_group[0] && !g)
        return err_set(e, E_INVALID, "decisions.group: there is no group \"%.64s\"", c->decisions_group);
    strcpy(address.sun_path, c->listen_decision);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(e, E_IO, "socket");
    unlink(c->listen_decision); /* left by a supervisor that was killed */
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
        return err_errno(e, E_IO, "%s: bind", c->listen_decision);
    if ((g && lchown(c->listen_decision, (uid_t)-1, g->gr_gid) != 0) || chmod(c->listen_decision, 0660) != 0 ||
        listen(fd, LISTEN_BACKLOG) != 0)
        return err_errno(e, E_IO, "%s", c->listen_decision);
    return add_listener(h, "decision", take_fd(&fd), e);
}

enum err_code host_listen(struct host *h, const struct conf *c, struct err *e)
{
    if (listen_decision(h, c, e) != E_OK)
        return e->code;
    if (listen_tcp(h, "est", &c->listen_est, e) != E_OK || listen_tcp(h, "ocsp", &c->listen_http, e) != E_OK ||
        listen_tcp(h, "health", &c->listen_health, e) != E_OK || listen_tcp(h, "admin-https", &c->listen_admin, e) != E_OK)
        return e->code;
    return E_OK;
}

/* ---- log, privileges ---- */

int host_open_log(const struct host *h, const struct conf *c, struct err *e)
{
    AUTO_FD int fd = open(c->log_file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);

    if (fd < 0) {
        err_errno(e, E_IO, "log_file: %s", c->log_file);
        return -1;
    }
    if (give_file(h, fd, c->log_file, e) != E_OK) {
        err_wrap(e, "log_file");
        return -1;
    }
    return take_fd(&fd);
}

static enum err_code become(const struct identity *id, struct err *e)
{
    if (setgroups((size_t)id->groups_n, id->groups) != 0 || setresgid(id->gid, id->gid, id->gid) != 0 ||
        setresuid(id->uid, id->uid, id->uid) != 0)
        return err_errno(e, E_IO, "change to user %lu", (unsigned long)id->uid);
    return E_OK;
}

static enum err_code set_capabilities(const cap_value_t *keep, int n, struct err *e)
{
    cap_t caps = cap_init();
    bool done = caps && (n == 0 || (cap_set_flag(caps, CAP_PERMITTED, n, keep, CAP_SET) == 0 &&
                                    cap_set_flag(caps, CAP_EFFECTIVE, n, keep, CAP_SET) == 0)) &&
                cap_set_proc(caps) == 0;

    if (!done)
        err_errno(e, E_IO, "capabilities");
    cap_free(caps);
    return done ? E_OK : e->code;
}

/*
 * The right to change user is the right to become root, so the system calls that do are refused for id 0: in this
 * process and, as filters are inherited, in all it starts.
 */
static enum err_code refuse_root(struct err *e)
{
    static const struct {
        int call;
        unsigned arguments;
    } calls[] = {{SCMP_SYS(setuid), 1},    {SCMP_SYS(setreuid), 2}, {SCMP_SYS(setresuid), 3}, {SCMP_SYS(setfsuid), 1},
                 {SCMP_SYS(setgid), 1},    {SCMP_SYS(setregid), 2}, {SCMP_SYS(setresgid), 3}, {SCMP_SYS(setfsgid), 1}};
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
    int rc = f ? 0 : -ENOMEM;

    for (size_t i = 0; i < ARRAY_LEN(calls) && rc == 0; i++)
        for (unsigned a = 0; a < calls[i].arguments && rc == 0; a++)
            /* The kernel reads the lower half alone, and so does this. */
            rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), calls[i].call, 1, SCMP_CMP64(a, SCMP_CMP_MASKED_EQ, 0xffffffffU, 0));
    if (rc == 0)
        rc = seccomp_load(f);
    if (f)
        seccomp_release(f);
    errno = -rc;
    return rc == 0 ? E_OK : err_errno(e, E_INTERNAL, "the filter against root could not be loaded");
}

enum err_code host_drop(struct host *h, struct err *e)
{
    /* To start programs under their users and to end them; nothing else of root stays. */
    static const cap_value_t keep[] = {CAP_SETUID, CAP_SETGID, CAP_KILL};

    if (h->privileged) {
        for (int cap = 0; cap_max_bits() > cap; cap++)
            if (cap != CAP_SETUID && cap != CAP_SETGID && cap != CAP_KILL && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
                return err_errno(e, E_IO, "capability bounding set");
        if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0)
            return err_errno(e, E_IO, "PR_SET_KEEPCAPS");
        if (become(&h->users[PROC_SUPERVISOR], e) != E_OK ||
            set_capabilities(keep, (int)ARRAY_LEN(keep), e) != E_OK)
            return e->code;
        if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0)
            return err_errno(e, E_IO, "PR_SET_KEEPCAPS");
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return err_errno(e, E_IO, "PR_SET_NO_NEW_PRIVS");
    if (h->privileged && refuse_root(e) != E_OK)
        return e->code;
    return proc_confine_kind(PROC_SUPERVISOR, e);
}

/* ---- programs ---- */

void host_find_programs(struct host *h, const struct conf *c)
{
    ssize_t n = readlink("/proc/self/exe", h->own_dir, sizeof(h->own_dir) - 1);
    char *slash;

    h->own_dir[n > 0 ? n : 0] = '\0';
    slash = strrchr(h->own_dir, '/');
    if (slash)
        *slash = '\0';
    h->program_dir = c->program_dir[0] ? c->program_dir : h->own_dir;
}

struct environment {
    const char *v[256];
    size_t n;
};

static void env_add(struct environment *env, const char *entry)
{
    if (env->n + 1 < ARRAY_LEN(env->v))
        env->v[env->n++] = entry;
}

static bool env_is_kept(const char *entry)
{
    static const char *const kept[] = {"PATH=",         "LANG=",         "LC_ALL=",      "TZ=",
                                       "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS=", "TSAN_OPTIONS="};

    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        if (strncmp(entry, kept[i], strlen(kept[i])) == 0)
            return true;
#ifdef INKAN_TEST_HOOKS
    if (strncmp(entry, "INKAN_TEST_", 11) == 0 || strncmp(entry, "LD_PRELOAD=", 11) == 0)
        return true;
#endif
    return false;
}

/* A clean environment; a token's own variables reach the processes that map its module and no other. */
static void build_environment(struct environment *env, const struct conf_token *token)
{
    extern char **environ;

    env->n = 0;
    for (char **p = environ; *p; p++)
        if (env_is_kept(*p))
            env_add(env, *p);
    for (size_t i = 0; token && i < token->env.n; i++)
        env_add(env, token->env.v[i]);
    env->v[env->n] = NULL;
}

/* In the child, between fork and exec. Leaves on failure with a line in the log. */
static void run_program(const struct host *h, enum proc_kind kind, const char *path, char *const argv[],
                        char *const envp[], int control, int pin) __attribute__((noreturn));
static void run_program(const struct host *h, enum proc_kind kind, const char *path, char *const argv[],
                        char *const envp[], int control, int pin)
{
    struct err e = {0};
    sigset_t none;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    /* First out of the way of the numbers in use, then in place without close-on-exec. */
    int high = fcntl(control, F_DUPFD, 10), high_pin = pin >= 0 ? fcntl(pin, F_DUPFD, 10) : -1;

    if (null < 0 || high < 0 || (pin >= 0 && high_pin < 0) || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
        dup2(high, PROC_CONTROL_FD) < 0 || (pin >= 0 && dup2(high_pin, PROC_PIN_FD) < 0) ||
        close_range(pin >= 0 ? PROC_PIN_FD + 1 : PROC_PIN_FD, ~0U, 0) != 0) {
        err_errno(&e, E_IO, "descriptors of %s", path);
        proc_die("exec-failed", PROC_EXIT_CONFIG, &e);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    if (h->privileged && (become(&h->users[kind], &e) != E_OK || set_capabilities(NULL, 0, &e) != E_OK))
        proc_die("exec-failed", PROC_EXIT_CONFIG, &e);
    execve(path, argv, envp);
    err_errno(&e, E_IO, "%s", path);
    proc_die("exec-failed", PROC_EXIT_CONFIG, &e);
}

pid_t host_spawn(const struct host *h, const struct conf *c, enum proc_kind kind, const char *name,
                 const struct conf_token *token, int control, struct err *e)
{
    struct environment env;
    char path[PATH_MAX + 32], *argv[] = {path, (char *)(uintptr_t)"-c", c->path, (char *)(uintptr_t)"-n",
                                         (char *)(uintptr_t)name, NULL};
    pid_t pid;

    snprintf(path, sizeof(path), "%s/inkan-%s", h->program_dir, proc_kind_name(kind));
    build_environment(&env, token);
    pid = fork();
    if (pid == 0)
        run_program(h, kind, path, argv, (char *const *)(uintptr_t)env.v, control, host_pin_of(h, token));
    if (pid < 0)
        err_errno(e, E_IO, "fork");
    return pid;
}

/* ---- PIN sources ---- */

static bool look_at(const char *path, struct pin_look *out)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return false;
    memset(out, 0, sizeof(*out));
    out->dev = st.st_dev;
    out->ino = st.st_ino;
    out->size = st.st_size;
    out->changed = st.st_mtim;
    return true;
}

/* The PIN's directory is closed to the supervisor: a short-lived child looks as the signer's user. */
static bool look_as(const struct identity *id, const char *path, struct pin_look *out)
{
    int ends[2], status = 0;
    bool seen = false;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    pid = fork();
    if (pid == 0) {
        struct pin_look look;
        struct err e = {0};
        bool done = become(id, &e) == E_OK && set_capabilities(NULL, 0, &e) == E_OK && look_at(path, &look) &&
                    write(ends[1], &look, sizeof(look)) == (ssize_t)sizeof(look);

        _exit(done ? 0 : 1);
    }
    close(ends[1]);
    if (pid > 0) {
        seen = read(ends[0], out, sizeof(*out)) == (ssize_t)sizeof(*out);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    close(ends[0]);
    return seen && status == 0;
}

bool host_look_at_pin(const struct host *h, const struct conf_token *token, struct pin_look *out)
{
    const char *path = token->pin + strlen("file:");

    if (strncmp(token->pin, "file:", 5) != 0)
        return false;
    return h->privileged ? look_as(&h->users[PROC_SIGNER], path, out) : look_at(path, out);
}

void host_close(struct host *h, const struct conf *c)
{
    for (size_t i = 0; i < h->listeners_n; i++)
        close(h->listeners[i].fd);
    h->listeners_n = 0;
    unlink(h->admin_path);
    host_pid_file(c, "inkand", 0);
    if (h->pid_fd >= 0)
        close(take_fd(&h->pid_fd));
    if (h->systemd >= 0)
        close(take_fd(&h->systemd));
}
