/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hand of one driver: a process that stays what the gate was started as, and does one thing when it is told to by one octet:
 * signals the process of a pid file, or starts one command. What and whom stands in the configuration; nothing from outside
 * reaches it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fsio.h"
#include "enroll/gate/gate.h"

#define COMMAND_MS   30000
#define WORKERS_MS   10000 /* a server that needs longer for its list is signalled again, and found to have loaded it then */
#define LOOK_MS      10
#define CHILDREN_MAX 65536
#define TITLE_MAX    4096
#define ANSWER_MS    (COMMAND_MS + 5000)

struct hand {
    int fd;
    pid_t pid;
};

struct result {
    uint8_t code; /* enum err_code */
    char text[sizeof(((struct err *)0)->msg)];
};

/* ---- the process ---- */

static enum err_code pid_read(const struct gate_driver *d, pid_t *out, struct err *e)
{
    AUTO_BUF text = BUF_INIT(64), comm = BUF_INIT(64);
    char path[64];
    long pid;

    if (file_read(d->pid_file, &text, e) != E_OK)
        return e->code;
    buf_add_u8(&text, 0);
    pid = strtol((const char *)text.p, NULL, 10);
    if (pid < 2)
        return err_set(e, E_INVALID, "%s: holds no process number", d->pid_file);
    snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
    if (file_read(path, &comm, e) != E_OK)
        return err_set(e, E_NOT_FOUND, "%s: process %ld does not run", d->pid_file, pid);
    if (comm.len == 0 || strncmp((const char *)comm.p, d->process, comm.len - 1) != 0 || (comm.len - 1 != strlen(d->process) && comm.len < 16))
        return err_set(e, E_CONFLICT, "%s: process %ld is not %s", d->pid_file, pid, d->process);
    *out = (pid_t)pid;
    return E_OK;
}

/* These start new workers with what they could load, and go on with the old ones when they could not. */
static bool has_workers(const char *process)
{
    return strcmp(process, "nginx") == 0 || strcmp(process, "apache2") == 0 || strcmp(process, "httpd") == 0;
}

static const char *next_word(const char *s)
{
    s += strcspn(s, " ");
    return s + strspn(s, " ");
}

/* A worker of nginx that was told to end says so in its title; it takes no new connections. */
static bool is_ending(const char *number)
{
    AUTO_BUF title = BUF_INIT(TITLE_MAX);
    static const char text[] = "shutting down";
    char path[64];
    struct err e;

    snprintf(path, sizeof(path), "/proc/%.*s/cmdline", (int)strcspn(number, " "), number);
    return file_read(path, &title, &e) == E_OK && title.len && memmem(title.p, title.len, text, sizeof(text) - 1);
}

/* The children of a process that are not ending, "12 34 ", from proc(5). false: it does not run. */
static bool children_read(pid_t pid, struct buf *out)
{
    AUTO_BUF all = BUF_INIT(CHILDREN_MAX);
    char path[64];
    struct err e;

    buf_reset(out);
    snprintf(path, sizeof(path), "/proc/%ld/task/%ld/children", (long)pid, (long)pid);
    if (file_read(path, &all, &e) != E_OK)
        return false;
    buf_add_u8(&all, 0);
    for (const char *at = buf_ok(&all) ? (const char *)all.p : ""; *at; at = next_word(at))
        if (!is_ending(at))
            buf_printf(out, "%.*s ", (int)strcspn(at, " "), at);
    buf_add_u8(out, 0);
    return buf_ok(&all) && buf_ok(out);
}

/* How many of `these` are not among `those`. */
static size_t not_among(const char *these, const char *those)
{
    size_t n = 0;

    for (; *these; these = next_word(these)) {
        const char *at = those;

        while (*at && strncmp(at, these, strcspn(these, " ") + 1) != 0)
            at = next_word(at);
        n += !*at;
    }
    return n;
}

/*
 * nginx starts all new workers, and tells the old ones to end a tenth of a second later. One that it starts by itself in place of a worker that
 * crashed has the list of before, and comes after that one's end. Apache replaces each as it ends, and ends itself when it cannot load its
 * configuration.
 */
static enum err_code wait_for_workers(const struct gate_driver *d, pid_t pid, const char *before, struct err *e)
{
    int64_t until = clock_mono_ms() + WORKERS_MS;
    bool beside = strcmp(d->process, "nginx") == 0, started = false;
    AUTO_BUF now = BUF_INIT(CHILDREN_MAX);

    while (clock_mono_ms() < until) {
        size_t gone;

        if (!children_read(pid, &now))
            return err_set(e, E_IO, "%s ended when it was told to load its list: see its log", d->process);
        gone = beside ? not_among(before, (const char *)now.p) : 0;
        started = started || not_among((const char *)now.p, before) > gone;
        if (started && (!beside || gone == not_among(before, "")))
            return E_OK; /* else the next reload would take those that end now for crashed */
        poll(NULL, 0, LOOK_MS);
    }
    if (started)
        return E_OK; /* an old one does not take the word */
    return err_set(e, E_IO, "%s started no new worker in %d s: it could not load what it was told to, see its log", d->process, WORKERS_MS / 1000);
}

static enum err_code send_signal(const struct gate_driver *d, struct err *e)
{
    AUTO_BUF before = BUF_INIT(CHILDREN_MAX);
    bool workers = has_workers(d->process);
    pid_t pid = 0;

    if (pid_read(d, &pid, e) != E_OK)
        return e->code;
    if (workers && !children_read(pid, &before))
        return err_set(e, E_IO, "%s: the children of process %ld cannot be read", d->process, (long)pid);
    if (kill(pid, d->signal) != 0)
        return err_errno(e, E_IO, "signal %s to %s", d->signal_name, d->process);
    return workers ? wait_for_workers(d, pid, (const char *)before.p, e) : E_OK;
}

static enum err_code wait_for_end(pid_t pid, const char *what, struct err *e)
{
    int64_t until = clock_mono_ms() + COMMAND_MS;
    int status = 0;

    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (clock_mono_ms() > until) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return err_set(e, E_BUSY, "%s: not done after %d s", what, COMMAND_MS / 1000);
        }
        usleep(5000);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return E_OK;
    return err_set(e, E_IO, "%s: ended with %d", what, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static enum err_code run_command(const struct gate_driver *d, struct err *e)
{
    char **argv = calloc(d->command.n + 1, sizeof(*argv));
    char *const env[] = {(char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t all, none;
    pid_t pid;
    int rc;

    if (!argv)
        return err_set(e, E_NOMEM, "command");
    memcpy(argv, d->command.v, d->command.n * sizeof(*argv));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, 2, 1);
    /* What we ignore would be ignored by a server that is started anew: nobody could stop it. */
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    rc = posix_spawn(&pid, argv[0], &actions, &attr, argv, env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    free(argv);
    if (rc != 0) {
        errno = rc;
        return err_errno(e, E_IO, "%s", d->command.v[0]);
    }
    return wait_for_end(pid, d->command.v[0], e);
}

static void serve(const struct gate_driver *d, int fd)
{
    uint8_t go;

    while (recv(fd, &go, 1, 0) == 1) {
        struct result r = {0};
        struct err e = {0};

        r.code = (uint8_t)(d->command.n ? run_command(d, &e) : send_signal(d, &e));
        snprintf(r.text, sizeof(r.text), "%s", e.msg);
        if (send(fd, &r, sizeof(r), MSG_NOSIGNAL) != (ssize_t)sizeof(r))
            break;
    }
}

/* ---- the gate's side ---- */

enum err_code hand_start(const struct gate_driver *d, struct hand **out, struct err *e)
{
    struct hand *h = calloc(1, sizeof(*h));
    int pair[2];

    *out = NULL;
    if (!h || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        free(h);
        return err_errno(e, E_IO, "driver %s", d->name);
    }
    h->pid = fork();
    if (h->pid == 0) {
        signal(SIGINT, SIG_IGN); /* the gate's end is ours */
        signal(SIGTERM, SIG_IGN);
        prctl(PR_SET_NAME, "inkan-gate-hand");
        /* 0, 1, 2 and our end of the pair: nothing of the other drivers. */
        dup2(pair[1], 3);
        close_range(4, ~0u, 0);
        fcntl(3, F_SETFD, FD_CLOEXEC);
        serve(d, 3);
        _exit(0);
    }
    close(pair[1]);
    h->fd = pair[0];
    if (h->pid < 0) {
        err_errno(e, E_IO, "driver %s: fork", d->name);
        hand_free(h);
        return e->code;
    }
    *out = h;
    return E_OK;
}

void hand_free(struct hand *h)
{
    if (!h)
        return;
    close(h->fd);
    if (h->pid > 0)
        waitpid(h->pid, NULL, 0);
    free(h);
}

enum err_code hand_reload(struct hand *h, struct err *e)
{
    struct pollfd p = {.fd = h->fd, .events = POLLIN};
    struct result r = {0};

    if (send(h->fd, "", 1, MSG_NOSIGNAL) != 1 || poll(&p, 1, ANSWER_MS) != 1 || recv(h->fd, &r, sizeof(r), 0) != (ssize_t)sizeof(r))
        return err_set(e, E_IO, "the process that signals and starts is gone");
    r.text[sizeof(r.text) - 1] = '\0';
    if (r.code == E_OK)
        return E_OK;
    return err_set(e, r.code < ERR_CODES_COUNT ? (enum err_code)r.code : E_INTERNAL, "%s", r.text);
}
