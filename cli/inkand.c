/* SPDX-License-Identifier: Apache-2.0 */
/* inkand: the supervisor. Arguments, the check of a configuration, going to the background. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/log.h"
#include "base/systemd.h"
#include "base/text.h"
#include "cli/inkand_int.h"

#define DEFAULT_CONFIG "/etc/inkan/inkan.yaml"
#define TEXT_MAX       (4 * 1024 * 1024)
#define STARTED        "\n" /* begins no reason */

struct options {
    const char *config;
    bool check, print, foreground;
};

static const char usage_text[] =
    "Usage: inkand [-c FILE] [-f]          start the service\n"
    "       inkand -t [-c FILE] [--print]  check the configuration: every mistake with its line\n"
    "       inkand --help-config           describe every key of the configuration\n"
    "\n"
    "  -c FILE    the configuration (default " DEFAULT_CONFIG ")\n"
    "  -f         stay in the foreground and log to standard error\n"
    "  -t         check the configuration and exit: 0 correct, 1 mistakes\n"
    "  --print    with -t: print the effective values, defaults included\n"
    "  --version  print the version\n"
    "  --help     this text\n"
    "\n"
    "SIGHUP reads the configuration again and opens the log file again, SIGTERM stops the service.\n";

static int print_help_config(void)
{
    AUTO_BUF text = BUF_INIT(TEXT_MAX);

    conf_help(&text);
    return buf_ok(&text) && fwrite(text.p, 1, text.len, stdout) == text.len && fflush(stdout) == 0 ? 0 : 1;
}

static int complain(const struct err *e)
{
    fprintf(stderr, "inkand: %s\n", e->msg);
    return 1;
}

/* Every mistake on standard error; NULL when there is one. */
static struct conf *load(const struct options *o)
{
    AUTO_BUF report = BUF_INIT(TEXT_MAX);
    struct conf *c = NULL;
    struct err e = {0};

    if (conf_load(o->config, &c, &report, &e) == E_OK)
        return c;
    if (report.len > 0)
        fwrite(report.p, 1, report.len, stderr);
    else
        complain(&e);
    return NULL;
}

static int check(const struct options *o)
{
    AUTO_BUF text = BUF_INIT(TEXT_MAX);
    struct conf *c = load(o);
    struct err e = {0};
    int code = 0;

    if (!c)
        return 1;
    if (host_check_users(c, &e) != E_OK || host_check_anchors(c, &e) != E_OK) {
        code = complain(&e);
    } else if (o->print) {
        conf_print(c, &text);
        code = buf_ok(&text) && fwrite(text.p, 1, text.len, stdout) == text.len && fflush(stdout) == 0 ? 0 : 1;
    } else {
        printf("%s: correct\n", o->config);
    }
    conf_free(c);
    return code;
}

/* ---- the background ---- */

struct background {
    int report; /* the parent waits here for STARTED, or for the reason why not; -1 in the foreground */
    int log;
};

/* The parent stays until the core serves, so that a failed start is seen where it was ordered. */
static int wait_for_start(int from, pid_t service)
{
    char why[PROC_STATE_MAX + 1] = "";
    ssize_t n;

    do
        n = read(from, why, sizeof(why) - 1);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return 1; /* it has said why itself */
    if (strcmp(why, STARTED) == 0)
        return 0;
    fprintf(stderr, "inkand: the core does not start: %s\ninkand: it is tried again until it does; to stop: kill %ld\n", SHOWN(why), (long)service);
    return 1;
}

/* 0 in the service, which goes on; the parent leaves here. */
static enum err_code go_background(struct background *b, struct err *e)
{
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_errno(e, E_IO, "pipe");
    pid = fork();
    if (pid < 0)
        return err_errno(e, E_IO, "fork");
    if (pid > 0) {
        close(ends[1]);
        _exit(wait_for_start(ends[0], pid));
    }
    close(ends[0]);
    b->report = ends[1];
    if (setsid() < 0)
        return err_errno(e, E_IO, "setsid");
    return E_OK;
}

static void on_started(const char *why_not, void *arg)
{
    struct background *b = arg;
    const char *text = why_not ? why_not : STARTED;

    if (b->report < 0)
        return;
    if (write(b->report, text, strlen(text)) != (ssize_t)strlen(text))
        log_note(LOG_WARN, "start-not-reported", NULL, NULL);
    close(take_fd(&b->report));
}

/* From here on lines go to the file; what failed until now was said on the terminal. */
static enum err_code move_output(const struct background *b, struct err *e)
{
    AUTO_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(b->log, STDOUT_FILENO) < 0 || dup2(b->log, STDERR_FILENO) < 0)
        return err_errno(e, E_IO, "standard output");
    return E_OK;
}

/* ---- start ---- */

static void forbid_core_dumps(void)
{
    const struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    signal(SIGPIPE, SIG_IGN);
}

static enum err_code prepare(struct host *h, const struct conf *c, struct background *b, bool foreground, struct err *e)
{
    umask(022);
    if (!foreground && c->log_file[0] == '\0')
        return err_set(e, E_INVALID, "%s: log_file is not set: set it, or stay in the foreground with -f", c->path);
    host_find_programs(h, c);
    h->systemd = systemd_connect();
    if (host_users(h, c, e) != E_OK || host_directories(h, c, e) != E_OK || host_lock(h, c, e) != E_OK ||
        host_collect_pins(h, c, e) != E_OK)
        return e->code;
    if (!foreground && (b->log = host_open_log(h, c, e)) < 0)
        return e->code;
    return host_listen(h, c, e);
}

static enum err_code settle_in(struct host *h, const struct conf *c, struct background *b, bool foreground, struct err *e)
{
    if (!foreground && go_background(b, e) != E_OK)
        return e->code;
    if (host_drop(h, e) != E_OK || host_listen_admin(h, c, e) != E_OK)
        return e->code;
    if (chdir("/") != 0)
        return err_errno(e, E_IO, "chdir");
    if (ftruncate(h->pid_fd, 0) != 0 || dprintf(h->pid_fd, "%ld\n", (long)getpid()) < 0)
        return err_errno(e, E_IO, "pid file");
    return foreground ? E_OK : move_output(b, e);
}

static int run(const struct options *o)
{
    struct background b = {.report = -1, .log = -1};
    struct host h = {.pid_fd = -1, .systemd = -1};
    struct conf *c = load(o);
    struct err e = {0};
    int code;

    if (!c)
        return 1;
    log_setup("inkand", (enum log_level)c->log_level);
    forbid_core_dumps();
    if (prepare(&h, c, &b, o->foreground, &e) == E_OK && settle_in(&h, c, &b, o->foreground, &e) == E_OK)
        code = supervise(&h, &c, !o->foreground, on_started, &b);
    else
        code = complain(&e);
    if (h.pid_fd >= 0 && e.code != E_CONFLICT)
        host_close(&h, c);
    if (b.log >= 0)
        close(b.log);
    conf_free(c);
    return code;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"print", no_argument, NULL, 'p'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {"help-config", no_argument, NULL, 'H'},
                                          {NULL, 0, NULL, 0}};
    struct options o = {.config = DEFAULT_CONFIG};
    int opt;

    while ((opt = getopt_long(argc, argv, "c:tf", longs, NULL)) != -1) {
        switch (opt) {
        case 'c':
            o.config = optarg;
            break;
        case 't':
            o.check = true;
            break;
        case 'f':
            o.foreground = true;
            break;
        case 'p':
            o.print = true;
            break;
        case 'h':
            fputs(usage_text, stdout);
            return 0;
        case 'V':
            printf("inkand %s\n", INKAN_VERSION);
            return 0;
        case 'H':
            return print_help_config();
        default:
            fputs(usage_text, stderr);
            return 2;
        }
    }
    if (optind != argc || (o.print && !o.check)) {
        fputs(usage_text, stderr);
        return 2;
    }
    return o.check ? check(&o) : run(&o);
}
