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

#define COMMAND_MS 30000
#define ANSWER_MS  (COMMAND_MS + 5000)

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

static enum err_code send_signal(const struct gate_driver *d, struct err *e)
{
    pid_t pid = 0;

    if (pid_read(d, &pid, e) != E_OK)
        return e->code;
    return kill(pid, d->signal) == 0 ? E_OK : err_errno(e, E_IO, "signal %s to %s", d->signal_name, d->process);
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
