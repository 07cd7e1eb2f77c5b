/* SPDX-License-Identifier: Apache-2.0 */
/* The device behind a fixture, through the command that the user configured: once per step, or as a session. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "enroll/client/station_int.h"

#define ENV_MAX 1024
extern char **environ;

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t deadline(const struct fixture_command *c)
{
    return now_ms() + 1000L * (c->o->device_timeout_s ? c->o->device_timeout_s : 60);
}

/* The environment of a command: ours, and who it is for. */
struct surroundings {
    char own[4][160];
    char *all[ENV_MAX];
};

static void surroundings_make(struct surroundings *s, const struct fixture_command *c, const char *step, const char *unit)
{
    size_t n = 0, own = 0;

    for (char **e = environ; *e && n < ENV_MAX - 5; e++)
        if (strncmp(*e, "INKAN_STEP=", 11) != 0 && strncmp(*e, "INKAN_UNIT=", 11) != 0)
            s->all[n++] = *e;
    snprintf(s->own[own++], sizeof s->own[0], "INKAN_ORDER=%s", c->o->order);
    snprintf(s->own[own++], sizeof s->own[0], "INKAN_FIXTURE=%u", c->index);
    if (step)
        snprintf(s->own[own++], sizeof s->own[0], "INKAN_STEP=%s", step);
    if (unit)
        snprintf(s->own[own++], sizeof s->own[0], "INKAN_UNIT=%s", unit);
    for (size_t i = 0; i < own; i++)
        s->all[n++] = s->own[i];
    s->all[n] = NULL;
}

/* Pipes to its three streams (`err` may be NULL: it keeps ours). In a process group of its own, so that it ends whole. */
static pid_t command_spawn(const struct fixture_command *c, const char *step, const char *unit, int *to, int *from, int *err)
{
    struct surroundings s;
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int in[2] = {-1, -1}, out[2] = {-1, -1}, complaints[2] = {-1, -1};
    char shell[] = "sh", option[] = "-c", *command = strdup(c->o->device_command);
    char *argv[] = {shell, option, command, NULL};
    pid_t pid = 0;

    surroundings_make(&s, c, step, unit);
    if (!command || pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || (err && pipe2(complaints, O_CLOEXEC) != 0))
        goto broken;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in[0], 0);
    posix_spawn_file_actions_adddup2(&files, out[1], 1);
    if (err)
        posix_spawn_file_actions_adddup2(&files, complaints[1], 2);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    if (posix_spawn(&pid, "/bin/sh", &files, &attributes, argv, s.all) != 0)
        pid = 0;
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    if (pid <= 0)
        goto broken;
    free(command);
    close(in[0]);
    close(out[1]);
    *to = in[1];
    *from = out[0];
    fcntl(*to, F_SETFL, O_NONBLOCK);
    if (err) {
        close(complaints[1]);
        *err = complaints[0];
    }
    return pid;
broken:
    free(command);
    for (int i = 0; i < 2; i++) {
        if (in[i] >= 0)
            close(in[i]);
        if (out[i] >= 0)
            close(out[i]);
        if (complaints[i] >= 0)
            close(complaints[i]);
    }
    return 0;
}

/* true: it exited with 0. */
static bool command_reap(pid_t pid, bool kill_it, char text[STATION_TEXT_MAX])
{
    int status = 0;

    if (kill_it)
        kill(-pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (text && !text[0] && WIFEXITED(status))
        snprintf(text, STATION_TEXT_MAX, "the device command exited with %d", WEXITSTATUS(status));
    else if (text && !text[0])
        snprintf(text, STATION_TEXT_MAX, "the device command was ended by signal %d", WTERMSIG(status));
    return false;
}

/* Appends what is there. false at the end of the stream, or when it is too much. */
static bool drain(int fd, struct data *into)
{
    char chunk[4096], *more;
    ssize_t n = read(fd, chunk, sizeof chunk);

    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    if (n == 0 || into->len + (size_t)n > STATION_DATA_MAX)
        return false;
    more = realloc(into->p, into->len + (size_t)n + 1);
    if (!more)
        return false;
    memcpy(more + into->len, chunk, (size_t)n);
    into->p = more;
    into->len += (size_t)n;
    more[into->len] = '\0';
    return true;
}

/* Feeds `in` until it is taken, reads both outputs to their ends. false: out of time. */
static bool exchange(const struct data *in, int to, int from, int err, struct data *out, struct data *said, int64_t until)
{
    size_t sent = 0;
    struct pollfd p[3] = {{to, POLLOUT, 0}, {from, POLLIN, 0}, {err, POLLIN, 0}};

    while (p[1].fd >= 0 || p[2].fd >= 0) {
        int64_t left = until - now_ms();

        if (sent == in->len && p[0].fd >= 0) {
            close(p[0].fd);
            p[0].fd = -1;
        }
        if (left <= 0 || (poll(p, 3, (int)left) < 0 && errno != EINTR))
            break;
        if (p[0].fd >= 0 && p[0].revents) {
            ssize_t n = write(p[0].fd, in->p + sent, in->len - sent);

            sent = n > 0 ? sent + (size_t)n : errno == EAGAIN || errno == EINTR ? sent : in->len; /* it may not want all */
        }
        if (p[1].fd >= 0 && p[1].revents && !drain(p[1].fd, out)) {
            close(p[1].fd);
            p[1].fd = -1;
        }
        if (p[2].fd >= 0 && p[2].revents && !drain(p[2].fd, said)) {
            close(p[2].fd);
            p[2].fd = -1;
        }
    }
    bool done = p[1].fd < 0 && p[2].fd < 0;
    for (int i = 0; i < 3; i++)
        if (p[i].fd >= 0)
            close(p[i].fd);
    return done;
}

/* The last line that says something. */
static void last_line(const struct data *said, char text[STATION_TEXT_MAX])
{
    size_t end = said->len, from;

    while (end && strchr(" \r\n\t", said->p[end - 1]))
        end--;
    for (from = end; from && said->p[from - 1] != '\n'; from--)
        ;
    if (end == from)
        return;
    snprintf(text, STATION_TEXT_MAX, "%.*s", (int)(end - from), said->p + from);
    for (char *p = text; *p; p++)
        if (!isprint((unsigned char)*p))
            *p = '?';
}

static bool do_once(struct fixture_command *c, const char *step, const char *unit, const struct data *in, struct data *out,
                    char text[STATION_TEXT_MAX])
{
    struct data said = {0};
    int to, from, err;
    pid_t pid = command_spawn(c, step, unit, &to, &from, &err);
    bool in_time, ok;

    if (pid == 0) {
        snprintf(text, STATION_TEXT_MAX, "the device command cannot be started");
        return false;
    }
    in_time = exchange(in, to, from, err, out, &said, deadline(c));
    if (!in_time)
        snprintf(text, STATION_TEXT_MAX, "the device command did not end in time");
    else
        last_line(&said, text);
    ok = command_reap(pid, !in_time, text) && in_time;
    data_clear(&said);
    return ok;
}

/* ---- session ------------------------------------------------------------------------------------------------------------ */

void command_init(struct fixture_command *c, const struct station_options *o, unsigned index)
{
    *c = (struct fixture_command){.o = o, .index = index, .to = -1, .from = -1};
}

void command_end(struct fixture_command *c)
{
    if (c->pid == 0)
        return;
    close(c->to);
    close(c->from);
    command_reap(c->pid, true, NULL);
    c->pid = 0;
}

static bool send_all(int fd, const char *p, size_t len, int64_t until)
{
    while (len) {
        struct pollfd pfd = {fd, POLLOUT, 0};
        int64_t left = until - now_ms();
        ssize_t n;

        if (left <= 0 || (poll(&pfd, 1, (int)left) <= 0 && errno != EINTR))
            return false;
        n = write(fd, p, len);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static bool read_line(int fd, struct data *line, int64_t until)
{
    while (line->len == 0 || line->p[line->len - 1] != '\n') {
        struct pollfd pfd = {fd, POLLIN, 0};
        int64_t left = until - now_ms();

        if (left <= 0)
            return false;
        if (poll(&pfd, 1, (int)left) > 0 && !drain(fd, line))
            return false;
    }
    line->p[--line->len] = '\0';
    return true;
}

static bool do_in_session(struct fixture_command *c, const char *step, const char *unit, const struct data *in, struct data *out,
                          char text[STATION_TEXT_MAX])
{
    struct data base64 = {0}, line = {0};
    int64_t until = deadline(c);
    char head[128];
    bool ok = false, alive;

    if (c->pid == 0)
        c->pid = command_spawn(c, NULL, NULL, &c->to, &c->from, NULL);
    if (c->pid == 0) {
        snprintf(text, STATION_TEXT_MAX, "the device command cannot be started");
        return false;
    }
    snprintf(head, sizeof head, "%s %s ", step, unit);
    alive = data_to_base64(in, &base64) && send_all(c->to, head, strlen(head), until) &&
            send_all(c->to, in->len ? base64.p : "-", in->len ? base64.len : 1, until) && send_all(c->to, "\n", 1, until) &&
            read_line(c->from, &line, until);
    if (!alive) {
        snprintf(text, STATION_TEXT_MAX, "the device session ended or did not answer in time");
        command_end(c); /* the next step starts it again */
    } else if (strncmp(line.p, "fail ", 5) == 0) {
        last_line(&(struct data){line.p + 5, line.len - 5}, text);
    } else if (strncmp(line.p, "ok ", 3) == 0) {
        ok = strcmp(line.p + 3, "-") == 0 || data_from_base64(line.p + 3, strlen(line.p + 3), out);
    }
    if (!ok && !text[0])
        snprintf(text, STATION_TEXT_MAX, "the device session answered neither ok nor fail");
    data_clear(&base64);
    data_clear(&line);
    return ok;
}

bool command_do(struct fixture_command *c, const char *step, const char *unit, const struct data *in, struct data *out,
                char text[STATION_TEXT_MAX])
{
    data_clear(out);
    text[0] = '\0';
    return (c->o->session ? do_in_session : do_once)(c, step, unit, in, out, text);
}
