/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small program that stands for each process of the service in the tests of the supervisor: it writes down what it
 * is told and does what a file in the run directory says.
 *
 *   exit-NAME   leave with this code before serving (once: the file is removed)
 *   die-NAME    leave with this code before serving, each time; the last words are "told to die" and a bell
 *   run         core only, read on SIGUSR1: "<what> <token>" asked of the supervisor
 */
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/log.h"
#include "base/proc.h"

static const char *run_dir;

static void told(const char *what, const char *value)
{
    log_note(LOG_INFO, "told", what, value);
}

static void on_link(struct proc *p, enum proc_kind peer, uint32_t index, const char *name, int fd, void *arg)
{
    char text[128];

    (void)p;
    (void)arg;
    (void)fd; /* stays open: the peer sees no end */
    snprintf(text, sizeof(text), "%s:%u:%s", proc_kind_name(peer), index, name);
    told("link", text);
}

static void on_listen(struct proc *p, const char *name, int fd, void *arg)
{
    (void)p;
    (void)fd;
    (void)arg;
    told("listen", name);
}

static void on_gone(struct proc *p, enum proc_kind peer, uint32_t index, const char *name, void *arg)
{
    (void)p;
    (void)peer;
    (void)index;
    (void)arg;
    told("gone", name);
}

static void leave_if_told(struct proc *p, const char *prefix, bool once)
{
    char path[512], text[16] = "";
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s-%s", run_dir, prefix, proc_name(p));
    f = fopen(path, "r");
    if (!f)
        return;
    if (fgets(text, sizeof(text), f) && once)
        unlink(path);
    fclose(f);
    if (!once)
        proc_state(p, "told to die\a");
    _exit(atoi(text));
}

static void on_go(struct proc *p, void *arg)
{
    struct err e = {0};

    (void)arg;
    leave_if_told(p, "exit", true);
    leave_if_told(p, "die", false);
    told("go", getenv("TOKEN_SAYS") ? getenv("TOKEN_SAYS") : "no-token-environment");
    told("secret", getenv("INKAND_TEST_SECRET") ? "leaked" : "clean");
    if (proc_confine(p, &e) != E_OK)
        proc_die("confine-failed", PROC_EXIT_CONFIG, &e);
    proc_ready(p);
    proc_state(p, "at work");
}

static void on_reload(struct proc *p, void *arg)
{
    struct err e = {0};

    (void)arg;
    told("reload", proc_reload_conf(p, &e) == E_OK ? "good" : e.msg);
}

static void on_stop(struct proc *p, void *arg)
{
    (void)arg;
    told("stop", proc_name(p));
    proc_exit_loop(p, PROC_EXIT_OK);
}

static void on_run_result(struct proc *p, uint64_t id, enum err_code code, const struct err *e, void *arg)
{
    char text[700];

    (void)p;
    (void)arg;
    snprintf(text, sizeof(text), "%llu:%s:%s", (unsigned long long)id, err_code_name(code), e->msg);
    told("result", text);
}

static void on_processes(struct proc *p, const struct proc_info *list, size_t n, void *arg)
{
    (void)p;
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        char text[512];

        snprintf(text, sizeof(text), "%s=%s:%llu", list[i].name, list[i].state, (unsigned long long)list[i].restarts);
        told("process", text);
    }
}

static void on_usr1(evutil_socket_t sig, short what, void *arg)
{
    static uint64_t id;
    struct proc *p = arg;
    char path[512], token[100];
    struct err e = {0};
    unsigned run;
    FILE *f;

    (void)sig;
    (void)what;
    snprintf(path, sizeof(path), "%s/run", run_dir);
    f = fopen(path, "r");
    if (f && fscanf(f, "%u %99s", &run, token) == 2 && proc_run(p, (enum proc_run)run, token, ++id, &e) != E_OK)
        log_failure("run-failed", &e);
    if (f)
        fclose(f);
}

int main(int argc, char **argv)
{
    static const struct proc_ops ops = {.on_link = on_link,
                                        .on_listen = on_listen,
                                        .on_gone = on_gone,
                                        .on_go = on_go,
                                        .on_reload = on_reload,
                                        .on_stop = on_stop,
                                        .on_run_result = on_run_result,
                                        .on_processes = on_processes};
    const char *slash = strrchr(argv[0], '/');
    enum proc_kind kind = PROC_FRONT;
    struct event *usr1;
    struct proc *p;
    int code;

    while (kind < PROC_KINDS && strcmp(slash ? slash + 7 : "", proc_kind_name(kind)) != 0)
        kind++;
    p = proc_start(argc, argv, kind, &ops, NULL);
    run_dir = proc_conf(p)->dir_run;
    usr1 = evsignal_new(proc_base(p), SIGUSR1, on_usr1, p);
    if (!usr1 || evsignal_add(usr1, NULL) != 0)
        return 1;
    code = proc_loop(p);
    event_free(usr1);
    proc_free(p);
    return code;
}
