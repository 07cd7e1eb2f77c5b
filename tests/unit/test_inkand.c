/* SPDX-License-Identifier: Apache-2.0 */
/* The real supervisor with small programs in the places of the service's processes (inkand_child.c). */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/auto.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/fsio.h"
#include "base/proc.h"

struct service {
    char dir[64], config[96];
    pid_t pid;
    unsigned port;
    bool as_root;
};

/* The programs: where they were built, or a copy that every user can reach. */
static const char *binary_dir(void)
{
    const char *copy = getenv("INKAN_TEST_BINARY_DIR");

    return copy ? copy : TEST_BINARY_DIR;
}

static const char config_text[] =
    "public_url: http://pki.example.net\n"
    "directories: {state: state, marks: marks, run: run, programs: %s/test/children}\n"
    "listen: {est: [\"127.0.0.1:%u\"], http: [], health: []}\n"
    "log_file: log\n"
    "fronts: 2\n"
    "server: {profile: server}\n"
    "audit: {token: issuing}\n"
    "tokens:\n"
    "  - {name: root, label: r, module: /m.so, pin: file:pin, offline: true}\n"
    "  - {name: issuing, label: i, module: /m.so, pin: file:pin, env: [\"TOKEN_SAYS=issuing-only\"]}\n"
    "  - {name: ocsp, label: o, module: /m.so, pin: file:pin}\n"
    "cas:\n"
    "  - {name: top, token: root, profile: root, subject: CN=Top}\n"
    "  - {name: fleet, issuer: top, token: issuing, profile: issuing, subject: CN=Fleet, ocsp_token: ocsp, ocsp_profile: responder}\n"
    "profiles:\n"
    "  - {name: root, kind: root-ca}\n"
    "  - {name: issuing, kind: issuing-ca}\n"
    "  - {name: server, kind: tls-server, ca: fleet}\n"
    "  - {name: responder, kind: ocsp-signer, ca: fleet}\n";

static unsigned free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static void put_file(const struct service *s, const char *name, const char *text)
{
    struct err e = {0};
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    assert_int_equal(file_write_atomic(path, bytes_str(text), 0644, &e), E_OK);
}

static char *read_log(const struct service *s, const char *name)
{
    struct buf text = BUF_INIT(8 << 20);
    struct err e = {0};
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    if (file_read(path, &text, &e) != E_OK)
        buf_reset(&text);
    buf_add_u8(&text, '\0');
    return (char *)text.p;
}

static unsigned count_in(const struct service *s, const char *file, const char *needle)
{
    char *text = read_log(s, file);
    unsigned n = 0;

    for (const char *p = text; (p = strstr(p, needle)) != NULL; p++)
        n++;
    free(text);
    return n;
}

static unsigned count(const struct service *s, const char *needle)
{
    return count_in(s, "err", needle);
}

static void nap(void)
{
    const struct timespec t = {.tv_nsec = 20 * 1000 * 1000};

    nanosleep(&t, NULL);
}

/* Waits until the file holds `needle` at least `times` times. */
static void expect_in(const struct service *s, const char *file, const char *needle, unsigned times)
{
    int64_t deadline = clock_mono_ms() + 120000;

    while (count_in(s, file, needle) < times) {
        if (clock_mono_ms() > deadline) {
            char *text = read_log(s, file);

            print_message("not seen %u times: %s\n%s", times, needle, text);
            free(text);
            fail();
        }
        nap();
    }
}

static void expect(const struct service *s, const char *needle, unsigned times)
{
    expect_in(s, "err", needle, times);
}

static pid_t pid_of(const struct service *s, const char *name)
{
    char path[128], *text;
    pid_t pid;

    snprintf(path, sizeof(path), "run/%s.pid", name);
    text = read_log(s, path);
    pid = (pid_t)atol(text);
    free(text);
    return pid;
}

/* Fails rather than name 0 or -1, which kill() takes for everybody. */
static pid_t running(const struct service *s, const char *name)
{
    pid_t pid = pid_of(s, name);

    assert_true(pid > 1);
    return pid;
}

static void begin(struct service *s)
{
    char text[4096], path[128];

    memset(s, 0, sizeof(*s));
    snprintf(s->dir, sizeof(s->dir), "/tmp/inkand-test-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(path, sizeof(path), "%s/run", s->dir);
    assert_int_equal(mkdir(path, 0755), 0);
    s->port = free_port();
    snprintf(text, sizeof(text), config_text, binary_dir(), s->port);
    put_file(s, "t.yaml", text);
    put_file(s, "pin", "0000");
    snprintf(s->config, sizeof(s->config), "%s/t.yaml", s->dir);
}

/* Started as an ordinary user: root hands the directory over and changes before exec. */
static void become_ordinary(const struct service *s)
{
    char path[128];

    if (geteuid() != 0 || s->as_root)
        return;
    snprintf(path, sizeof(path), "%s/run", s->dir);
    if (chown(s->dir, 65534, 65534) != 0 || chown(path, 65534, 65534) != 0 || setgid(65534) != 0 || setuid(65534) != 0)
        _exit(99);
}

static void start_with(struct service *s, const char *flag)
{
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        char path[512];
        int fd;

        become_ordinary(s);
        snprintf(path, sizeof(path), "%s/err", s->dir);
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
        if (fd < 0)
            _exit(98);
        dup2(fd, 2);
        dup2(fd, 1);
        setenv("INKAND_TEST_SECRET", "x", 1);
        snprintf(path, sizeof(path), "%s/bin/inkand", binary_dir());
        execl(path, "inkand", "-c", s->config, flag, (char *)NULL);
        _exit(97);
    }
}

static void start(struct service *s)
{
    begin(s);
    start_with(s, "-f");
    expect(s, "event=process-serving", 6);
}

static int wait_end(pid_t pid)
{
    int64_t deadline = clock_mono_ms() + 60000;
    int status = 0;

    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (clock_mono_ms() > deadline) {
            kill(pid, SIGKILL);
            fail_msg("the supervisor did not end");
        }
        nap();
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void remove_dir(const struct service *s)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", s->dir);
    assert_int_equal(system(command), 0);
}

static void stop(struct service *s)
{
    kill(s->pid, SIGTERM);
    assert_int_equal(wait_end(s->pid), 0);
    remove_dir(s);
}

static void ask(const struct service *s, const char *what)
{
    put_file(s, "run/run", what);
    kill(running(s, "core"), SIGUSR1);
}

static int64_t ms_of_day(const char *line)
{
    int h, m, s, ms;

    assert_int_equal(sscanf(strstr(line, "time=") + strlen("time=2026-01-01T"), "%d:%d:%d.%dZ", &h, &m, &s, &ms), 4);
    return ((h * 60 + m) * 60 + s) * 1000LL + ms;
}

/* From the last line with the one to the last with the other, by the log's own times. */
static int64_t ms_between(const struct service *s, const char *first, const char *then)
{
    char *text = read_log(s, "err");
    int64_t at[2] = {-1, -1};

    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        for (int i = 0; i < 2; i++)
            if (strstr(line, i ? then : first))
                at[i] = ms_of_day(line);
    free(text);
    assert_true(at[0] >= 0 && at[1] >= 0);
    return (at[1] - at[0] + 86400000) % 86400000;
}

/* ---- tests ---- */

static void every_process_gets_its_links_listeners_and_environment(void **state)
{
    static const char *const expected[] = {
        "proc=core event=told link=status:0:status",   "proc=core event=told link=signer:1:signer-issuing",
        "proc=core event=told link=signer:2:signer-ocsp", "proc=core event=told link=front:0:front-0",
        "proc=core event=told link=front:1:front-1",   "proc=status event=told link=core:0:core",
        "proc=status event=told link=signer:2:signer-ocsp", "proc=status event=told link=front:1:front-1",
        "proc=front-0 event=told link=core:0:core",    "proc=front-1 event=told link=status:0:status",
        "proc=front-0 event=told listen=est",          "proc=front-1 event=told listen=est",
        "proc=core event=told listen=admin",           "proc=signer-issuing event=told go=issuing-only",
        "proc=core event=told go=no-token-environment", "process=\"signer-issuing=at work:0\"",
        "proc=core event=told secret=clean",
    };
    struct service s;

    (void)state;
    start(&s);
    for (size_t i = 0; i < ARRAY_LEN(expected); i++)
        expect(&s, expected[i], 1);
    /* And nothing else: no CA key behind the process that answers the network's OCSP requests. */
    assert_int_equal(count(&s, "proc=status event=told link=signer:1"), 0);
    assert_int_equal(count(&s, "signer-root"), 0);
    assert_int_equal(count(&s, "proc=status event=told listen"), 0);
    assert_int_equal(count(&s, "secret=leaked"), 0);
    assert_int_equal(count(&s, "proc=front-0 event=told link=signer"), 0);
    stop(&s);
}

static void a_killed_process_restarts_at_once_and_is_linked_again(void **state)
{
    struct service s;
    pid_t old;

    (void)state;
    start(&s);
    old = running(&s, "core");
    sleep(1);
    nap();
    kill(old, SIGKILL);
    expect(&s, "event=process-serving process=core", 2);
    assert_in_range(ms_between(&s, "event=process-ended process=core", "event=process-started process=core"), 0, 900); /* no back-off: it had served */
    assert_int_not_equal(pid_of(&s, "core"), old);
    expect(&s, "proc=front-0 event=told gone=core", 1);
    expect(&s, "proc=status event=told gone=core", 1);
    expect(&s, "proc=front-0 event=told link=core:0:core", 2);
    expect(&s, "process=\"core=at work:1\"", 1);
    stop(&s);
}

static void a_failure_at_start_backs_off(void **state)
{
    struct service s;
    unsigned starts;

    (void)state;
    begin(&s);
    put_file(&s, "run/die-front-1", "1");
    start_with(&s, "-f");
    expect(&s, "event=process-ended process=front-1", 3); /* at 0, 1 and 3 seconds */
    starts = count(&s, "event=process-started process=front-1");
    assert_true(starts <= 4);
    expect(&s, "waiting: failed 2 times at start; it last said: told to die", 1);
    stop(&s);
}

static void a_process_that_refuses_the_configuration_waits_for_a_reload(void **state)
{
    struct service s;

    (void)state;
    begin(&s);
    put_file(&s, "run/exit-front-1", "78");
    start_with(&s, "-f");
    expect(&s, "event=process-held-back process=front-1", 1);
    expect(&s, "event=process-serving", 5);
    sleep(2);
    assert_int_equal(count(&s, "event=process-started process=front-1"), 1);
    kill(s.pid, SIGHUP);
    expect(&s, "event=process-serving process=front-1", 1);
    expect(&s, "event=told reload=good", 5);
    stop(&s);
}

static void a_blocked_signer_waits_for_another_pin(void **state)
{
    struct service s;

    (void)state;
    begin(&s);
    put_file(&s, "run/exit-signer-issuing", "77");
    start_with(&s, "-f");
    expect(&s, "event=process-held-back process=signer-issuing", 1);
    sleep(6); /* one look at the PIN file finds no change */
    assert_int_equal(count(&s, "event=process-started process=signer-issuing"), 1);
    put_file(&s, "pin", "1111");
    expect(&s, "event=pin-changed process=signer-issuing", 1);
    expect(&s, "event=process-serving process=signer-issuing", 1);
    stop(&s);
}

static void a_blocked_signer_starts_again_by_command(void **state)
{
    struct service s;

    (void)state;
    begin(&s);
    put_file(&s, "run/exit-signer-issuing", "77");
    start_with(&s, "-f");
    expect(&s, "event=process-held-back process=signer-issuing", 1);
    expect(&s, "event=process-serving process=core", 1);
    ask(&s, "4 issuing");
    expect(&s, "proc=core event=told result=1:ok:", 1);
    expect(&s, "event=process-serving process=signer-issuing", 1);
    stop(&s);
}

static void an_offline_signer_runs_for_one_command(void **state)
{
    struct service s;

    (void)state;
    start(&s);
    ask(&s, "0 root");
    expect(&s, "proc=core event=told result=1:ok:", 1);
    expect(&s, "proc=core event=told link=signer:0:signer-root", 1);
    assert_int_equal(count(&s, "proc=status event=told link=signer:0"), 0);
    ask(&s, "1 root");
    expect(&s, "proc=core event=told result=2:ok:", 1);
    expect(&s, "proc=core event=told gone=signer-root", 1);
    assert_int_equal(pid_of(&s, "signer-root"), 0);
    ask(&s, "0 nope");
    expect(&s, "result=\"3:not-found:", 1);
    stop(&s);
}

static void an_offline_signer_that_dies_is_not_started_again(void **state)
{
    struct service s;

    (void)state;
    start(&s);
    ask(&s, "0 root");
    expect(&s, "event=process-serving process=signer-root", 1);
    kill(running(&s, "signer-root"), SIGKILL);
    expect(&s, "proc=core event=told gone=signer-root", 1);
    sleep(1);
    assert_int_equal(count(&s, "event=process-started process=signer-root"), 1);
    stop(&s);
}

static void token_administration_takes_the_place_of_the_signer(void **state)
{
    struct service s;

    (void)state;
    start(&s);
    ask(&s, "2 issuing");
    expect(&s, "proc=core event=told result=1:ok:", 1);
    expect(&s, "proc=token-issuing event=told go=issuing-only", 1);
    expect(&s, "proc=core event=told link=token:1:token-issuing", 1);
    assert_int_equal(pid_of(&s, "signer-issuing"), 0);
    ask(&s, "2 issuing");
    expect(&s, "result=\"2:busy:", 1);
    ask(&s, "3 issuing");
    expect(&s, "proc=core event=told result=3:ok:", 1);
    expect(&s, "event=process-serving process=signer-issuing", 2);
    assert_int_equal(pid_of(&s, "token-issuing"), 0);
    stop(&s);
}

static void a_dead_core_ends_what_ran_for_it(void **state)
{
    struct service s;

    (void)state;
    start(&s);
    ask(&s, "2 issuing");
    expect(&s, "event=process-serving process=token-issuing", 1);
    ask(&s, "0 root");
    expect(&s, "event=process-serving process=signer-root", 1);
    kill(running(&s, "core"), SIGKILL);
    expect(&s, "event=process-ended process=token-issuing", 1);
    expect(&s, "event=process-ended process=signer-root", 1);
    expect(&s, "event=process-serving process=signer-issuing", 2);
    stop(&s);
}

static void a_stop_goes_from_the_outside_in_and_leaves_nothing(void **state)
{
    static const char *const order[] = {"event=told stop=front-", "event=told stop=status", "event=told stop=core",
                                        "event=told stop=signer-"};
    struct service s;
    struct stat st;
    char path[128], *text;
    const char *at;

    (void)state;
    start(&s);
    kill(s.pid, SIGTERM);
    assert_int_equal(wait_end(s.pid), 0);
    text = read_log(&s, "err");
    at = text;
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        at = strstr(at, order[i]);
        assert_non_null(at);
    }
    free(text);
    snprintf(path, sizeof(path), "%s/run/admin.sock", s.dir);
    assert_int_equal(stat(path, &st), -1);
    assert_int_equal(pid_of(&s, "inkand"), 0);
    assert_int_equal(pid_of(&s, "core"), 0);
    remove_dir(&s);
}

static void a_process_that_does_not_stop_is_killed(void **state)
{
    struct service s;
    pid_t front;

    (void)state;
    start(&s);
    front = running(&s, "front-0");
    kill(front, SIGSTOP);
    kill(s.pid, SIGTERM);
    assert_int_equal(wait_end(s.pid), 0);
    assert_int_equal(count(&s, "event=process-killed process=front-0"), 1);
    assert_int_equal(kill(front, 0), -1);
    /* The others had their time all the same. */
    assert_int_equal(count(&s, "event=process-killed"), 1);
    assert_int_equal(count(&s, "event=told stop=core"), 1);
    remove_dir(&s);
}

static void children_of_a_killed_supervisor_leave(void **state)
{
    struct service s;
    pid_t core;
    int64_t deadline;

    (void)state;
    start(&s);
    core = running(&s, "core");
    kill(s.pid, SIGKILL);
    wait_end(s.pid);
    deadline = clock_mono_ms() + 60000;
    while (kill(core, 0) == 0 && clock_mono_ms() < deadline)
        nap();
    assert_int_equal(kill(core, 0), -1);
    /* The lock went with it: the service starts again over what is left. */
    start_with(&s, "-f");
    expect(&s, "event=process-serving process=core", 2);
    stop(&s);
}

static void a_second_supervisor_is_refused(void **state)
{
    struct service s;
    pid_t first;

    (void)state;
    start(&s);
    first = s.pid;
    start_with(&s, "-f");
    assert_int_equal(wait_end(s.pid), 1);
    assert_int_equal(count(&s, "another inkand is running"), 1);
    s.pid = first;
    assert_int_equal(pid_of(&s, "inkand"), first);
    stop(&s);
}

static void a_reload_keeps_what_cannot_change_and_refuses_mistakes(void **state)
{
    char text[4096];
    struct service s;

    (void)state;
    start(&s);
    snprintf(text, sizeof(text), config_text, binary_dir(), s.port);
    put_file(&s, "t.yaml", "bogus: 1\n");
    kill(s.pid, SIGHUP);
    expect(&s, "event=reload-refused", 1);
    memcpy(strstr(text, "fronts: 2"), "fronts: 3", 9);
    put_file(&s, "t.yaml", text);
    kill(s.pid, SIGHUP);
    expect(&s, "event=reload-refused needs_restart=fronts", 1);
    assert_int_equal(count(&s, "event=told reload"), 0);
    stop(&s);
}

static void stop_background(const struct service *s)
{
    pid_t pid = running(s, "inkand");

    kill(pid, SIGTERM);
    for (int64_t deadline = clock_mono_ms() + 60000; kill(pid, 0) == 0 && clock_mono_ms() < deadline;)
        nap();
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(count_in(s, "log", "event=service-stopped"), 1);
    remove_dir(s);
}

static void in_the_background_the_parent_returns_when_the_core_serves(void **state)
{
    struct service s;

    (void)state;
    begin(&s);
    start_with(&s, NULL);
    assert_int_equal(wait_end(s.pid), 0);
    assert_int_equal(count_in(&s, "log", "event=process-serving process=core"), 1);
    expect_in(&s, "log", "event=process-serving process=front-1", 1);
    stop_background(&s);
}

static void a_core_that_does_not_start_is_told_where_the_start_was_ordered(void **state)
{
    struct service s;
    char path[128];

    (void)state;
    begin(&s);
    put_file(&s, "run/die-core", "1");
    start_with(&s, NULL);
    assert_int_equal(wait_end(s.pid), 1);
    assert_int_equal(count(&s, "the core does not start: told to die\\x07\n"), 1);
    /* The service goes on: what was wrong may be mended meanwhile. */
    assert_int_equal(kill(running(&s, "inkand"), 0), 0);
    snprintf(path, sizeof(path), "%s/run/die-core", s.dir);
    assert_int_equal(unlink(path), 0);
    expect_in(&s, "log", "event=process-serving process=core", 1);
    stop_background(&s);
}

static void a_core_that_refuses_the_configuration_is_told_at_once(void **state)
{
    struct service s;

    (void)state;
    begin(&s);
    put_file(&s, "run/exit-core", "78");
    start_with(&s, NULL);
    assert_int_equal(wait_end(s.pid), 1);
    assert_int_equal(count(&s, "the core does not start: it refused the configuration"), 1);
    assert_int_equal(count_in(&s, "log", "event=process-started process=core"), 1);
    stop_background(&s);
}

/* One kill while it starts is no failed start. */
static void a_core_killed_once_at_its_start_is_waited_for(void **state)
{
    struct service s;

    (void)state;
    begin(&s);
    put_file(&s, "run/exit-core", "1");
    start_with(&s, NULL);
    assert_int_equal(wait_end(s.pid), 0);
    assert_int_equal(count_in(&s, "log", "event=process-started process=core"), 2);
    stop_background(&s);
}

static void a_failed_start_in_the_background_is_seen(void **state)
{
    struct service s;
    char text[4096];

    (void)state;
    begin(&s);
    snprintf(text, sizeof(text), config_text, binary_dir(), s.port);
    memcpy(strstr(text, "127.0.0.1"), "192.0.2.1", 9); /* nobody's address */
    put_file(&s, "t.yaml", text);
    start_with(&s, NULL);
    assert_int_equal(wait_end(s.pid), 1);
    assert_int_equal(count(&s, "listen on 192.0.2.1"), 1);
    assert_int_equal(pid_of(&s, "inkand"), 0);
    remove_dir(&s);
}

static void the_check_prints_every_mistake_and_touches_nothing(void **state)
{
    struct service s;
    struct stat st;
    char path[128];

    (void)state;
    begin(&s);
    start_with(&s, "-t");
    assert_int_equal(wait_end(s.pid), 0);
    snprintf(path, sizeof(path), "%s/state", s.dir);
    assert_int_equal(stat(path, &st), -1);
    put_file(&s, "t.yaml", "bogus: 1\nfronts: x\n");
    start_with(&s, "-t");
    assert_int_equal(wait_end(s.pid), 1);
    assert_int_equal(count(&s, "t.yaml:1:1: unknown key \"bogus\""), 1);
    assert_int_equal(count(&s, "t.yaml:2:9: fronts"), 1);
    remove_dir(&s);
}

static void root_without_users_is_refused(void **state)
{
    struct service s;

    (void)state;
    if (geteuid() != 0)
        skip();
    begin(&s);
    s.as_root = true;
    start_with(&s, "-f");
    assert_int_equal(wait_end(s.pid), 1);
    assert_int_equal(count(&s, "started as root, but users: is not set"), 1);
    remove_dir(&s);
}

/* May every user enter `path`? */
static bool is_open_to_all(const char *path)
{
    char part[512];
    struct stat st;

    snprintf(part, sizeof(part), "%s", path);
    for (char *slash = part + strlen(part); slash; slash = strrchr(part, '/')) {
        *slash = '\0';
        if (part[0] && (stat(part, &st) != 0 || !(st.st_mode & S_IXOTH)))
            return false;
    }
    return true;
}

static void expect_status(const struct service *s, const char *process, const char *line)
{
    char path[64], *text;
    struct service proc = {.dir = "/proc"};

    snprintf(path, sizeof(path), "%ld/status", (long)pid_of(s, process));
    text = read_log(&proc, path);
    if (!strstr(text, line))
        print_message("%s: no \"%s\" in\n%s", process, line, text);
    assert_non_null(strstr(text, line));
    free(text);
}

/* Users that every Debian has stand for those the package makes. */
static void started_as_root_nothing_stays_root(void **state)
{
    struct service s;
    char text[4096], path[512];
    struct stat st;

    (void)state;
    snprintf(path, sizeof(path), "%s/test/children", binary_dir());
    if (geteuid() != 0 || !is_open_to_all(path))
        skip();
    begin(&s);
    s.as_root = true;
    assert_int_equal(chmod(s.dir, 0755), 0);
    snprintf(text, sizeof(text), config_text, binary_dir(), s.port);
    strcat(text, "users: {supervisor: daemon, core: bin, status: sys, front: games, signer: man}\n");
    put_file(&s, "t.yaml", text);
    start_with(&s, "-f");
    expect(&s, "event=process-serving", 6);
    expect_status(&s, "inkand", "Uid:\t1\t1\t1\t1\n");
    expect_status(&s, "inkand", "CapEff:\t00000000000000e0\n"); /* setgid, setuid, kill */
    expect_status(&s, "inkand", "CapBnd:\t00000000000000e0\n");
    expect_status(&s, "inkand", "Seccomp:\t2\n");
    expect_status(&s, "core", "Uid:\t2\t2\t2\t2\n");
    expect_status(&s, "status", "Uid:\t3\t3\t3\t3\n");
    expect_status(&s, "front-0", "Uid:\t5\t5\t5\t5\n");
    expect_status(&s, "signer-issuing", "Uid:\t6\t6\t6\t6\n");
    expect_status(&s, "signer-issuing", "CapPrm:\t0000000000000000\n");
    expect_status(&s, "core", "NoNewPrivs:\t1\n");
    snprintf(path, sizeof(path), "%s/state/ledger", s.dir);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_uid == 2 && (st.st_mode & 0777) == 0700);
    snprintf(path, sizeof(path), "%s/state/pin", s.dir);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_uid == 6 && (st.st_mode & 0777) == 0700);
    /* It still starts programs as others and ends them. */
    kill(running(&s, "core"), SIGKILL);
    expect(&s, "event=process-serving process=core", 2);
    expect_status(&s, "core", "Uid:\t2\t2\t2\t2\n");
    stop(&s);
}

/* The owner of the state directory turns one of the directories below it into a link: root does not follow. */
static void a_link_among_the_directories_is_refused(void **state)
{
    struct service s;
    char text[4096], path[128], victim[128];
    struct stat st;

    (void)state;
    if (geteuid() != 0)
        skip();
    begin(&s);
    s.as_root = true;
    snprintf(text, sizeof(text), config_text, binary_dir(), s.port);
    strcat(text, "users: {supervisor: daemon, core: bin, status: sys, front: games, signer: man}\n");
    put_file(&s, "t.yaml", text);
    snprintf(path, sizeof(path), "%s/state", s.dir);
    assert_int_equal(mkdir(path, 0711), 0);
    snprintf(victim, sizeof(victim), "%s/victim", s.dir);
    assert_int_equal(mkdir(victim, 0700), 0);
    snprintf(path, sizeof(path), "%s/state/tls", s.dir);
    assert_int_equal(symlink(victim, path), 0);
    start_with(&s, "-f");
    assert_int_equal(wait_end(s.pid), 1);
    assert_int_equal(stat(victim, &st), 0);
    assert_int_equal(st.st_uid, 0);
    remove_dir(&s);
}

/* The owner of the run directory gives another's file the name of the pid file: root does not give it away. */
static void a_second_name_as_the_pid_file_is_refused(void **state)
{
    struct service s;
    char text[4096], path[128], victim[128];
    struct stat st;

    (void)state;
    if (geteuid() != 0)
        skip();
    begin(&s);
    s.as_root = true;
    snprintf(text, sizeof(text), config_text, binary_dir(), s.port);
    strcat(text, "users: {supervisor: daemon, core: bin, status: sys, front: games, signer: man}\n");
    put_file(&s, "t.yaml", text);
    put_file(&s, "victim", "root's");
    snprintf(path, sizeof(path), "%s/run/inkand.pid", s.dir);
    snprintf(victim, sizeof(victim), "%s/victim", s.dir);
    assert_int_equal(link(victim, path), 0);
    start_with(&s, "-f");
    assert_int_equal(wait_end(s.pid), 1);
    assert_int_equal(stat(victim, &st), 0);
    assert_int_equal(st.st_uid, 0);
    assert_int_equal(st.st_size, 6);
    remove_dir(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_process_gets_its_links_listeners_and_environment),
        cmocka_unit_test(a_killed_process_restarts_at_once_and_is_linked_again),
        cmocka_unit_test(a_failure_at_start_backs_off),
        cmocka_unit_test(a_process_that_refuses_the_configuration_waits_for_a_reload),
        cmocka_unit_test(a_blocked_signer_waits_for_another_pin),
        cmocka_unit_test(a_blocked_signer_starts_again_by_command),
        cmocka_unit_test(an_offline_signer_runs_for_one_command),
        cmocka_unit_test(an_offline_signer_that_dies_is_not_started_again),
        cmocka_unit_test(token_administration_takes_the_place_of_the_signer),
        cmocka_unit_test(a_dead_core_ends_what_ran_for_it),
        cmocka_unit_test(a_stop_goes_from_the_outside_in_and_leaves_nothing),
        cmocka_unit_test(a_process_that_does_not_stop_is_killed),
        cmocka_unit_test(children_of_a_killed_supervisor_leave),
        cmocka_unit_test(a_second_supervisor_is_refused),
        cmocka_unit_test(a_reload_keeps_what_cannot_change_and_refuses_mistakes),
        cmocka_unit_test(in_the_background_the_parent_returns_when_the_core_serves),
        cmocka_unit_test(a_core_that_does_not_start_is_told_where_the_start_was_ordered),
        cmocka_unit_test(a_core_that_refuses_the_configuration_is_told_at_once),
        cmocka_unit_test(a_core_killed_once_at_its_start_is_waited_for),
        cmocka_unit_test(a_failed_start_in_the_background_is_seen),
        cmocka_unit_test(the_check_prints_every_mistake_and_touches_nothing),
        cmocka_unit_test(root_without_users_is_refused),
        cmocka_unit_test(started_as_root_nothing_stays_root),
        cmocka_unit_test(a_link_among_the_directories_is_refused),
        cmocka_unit_test(a_second_name_as_the_pid_file_is_refused),
    };

    return cmocka_run_group_tests_name("inkand", tests, NULL, NULL);
}
