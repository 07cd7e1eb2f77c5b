/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks for decisions over the socket of a front or a gate, and prints one JSON object: answers, rate, latencies.
 *
 *   decision_load --socket PATH (--fields FILE | --bare PATH) [--connections N] [--seconds S] [--rate R] [--ahead] [--samples]
 *
 * Each line of FILE is one unit: the header fields that name it, with a TAB between two; asked in turn: GET /v1/decision. --bare asks
 * for that path instead, which is expected to be answered 404: an HTTP answer of the same process that asks nobody. With --rate so many
 * are sent a second in all, and latency counts from the moment a question was due; without it each connection asks again as soon as it
 * has its answer. --ahead takes real-time priority, where the machine allows it: what is late then is the service, not who asks.
 * --samples prints each latency too. An answer counts when it has the status expected (200 with "Inkan-Decision: allow", or 404) and
 * its whole body is there. SIGTERM ends it before its time.
 */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 256
#define REQUEST_MAX     256
#define ANSWER_MAX      4096
#define SAMPLES_MAX     4000000

struct client {
    int fd;
    bool busy;
    uint64_t due_ns;
    size_t got;
    char answer[ANSWER_MAX + 1];
};

static struct {
    const char *socket, *file, *bare;
    unsigned connections;
    double seconds, rate;
    bool ahead, samples;
} o = {.connections = 16, .seconds = 2};

static char (*requests)[REQUEST_MAX];
static size_t requests_n, next_request;
static volatile sig_atomic_t ending;
static struct client clients[CONNECTIONS_MAX];
static uint32_t *samples; /* microseconds / 10 */
static uint64_t ok, bad;

static void die(const char *what)
{
    fprintf(stderr, "decision_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* `fields`: whole lines, or "". */
static void add_request(const char *path, const char *fields)
{
    if (requests_n % 1024 == 0 && !(requests = realloc(requests, (requests_n + 1024) * sizeof *requests)))
        die("memory");
    snprintf(requests[requests_n++], REQUEST_MAX, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", path, fields);
}

static void read_requests(void)
{
    char line[REQUEST_MAX / 2], fields[REQUEST_MAX];
    FILE *f;

    if (o.bare) {
        add_request(o.bare, "X-Client-Fingerprint: 0000000000000000000000000000000000000000000000000000000000000000\r\n");
        return;
    }
    f = fopen(o.file, "r");
    if (!f)
        die(o.file);
    while (fgets(line, sizeof line, f)) {
        size_t n = 0;

        for (char *at = line, *one; (one = strtok_r(at, "\t\n", &at));)
            n += (size_t)snprintf(fields + n, sizeof fields - n, "%s\r\n", one);
        add_request("/v1/decision", fields);
    }
    fclose(f);
    if (requests_n == 0)
        die("nobody to ask about");
}

static void client_open(struct client *c)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    snprintf(a.sun_path, sizeof a.sun_path, "%s", o.socket);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof a) != 0)
        die(o.socket);
    c->busy = false;
    c->got = 0;
}

static void client_ask(struct client *c, uint64_t due_ns)
{
    const char *r = requests[next_request++ % requests_n];
    size_t n = strlen(r);

    c->due_ns = due_ns;
    c->busy = true;
    c->got = 0;
    if (send(c->fd, r, n, MSG_NOSIGNAL) != (ssize_t)n)
        die("send");
}

/* Is the whole answer there? */
static bool is_whole(const struct client *c)
{
    const char *end = strstr(c->answer, "\r\n\r\n"), *length = strstr(c->answer, "Content-Length: ");

    return end && length && length < end && c->got >= (size_t)(end + 4 - c->answer) + strtoul(length + 16, NULL, 10);
}

static bool is_right(const struct client *c)
{
    return o.bare ? strncmp(c->answer, "HTTP/1.1 404 ", 13) == 0
                  : strncmp(c->answer, "HTTP/1.1 200 ", 13) == 0 && strstr(c->answer, "\r\nInkan-Decision: allow\r\n");
}

/* true: the answer is there. */
static bool client_read(struct client *c)
{
    ssize_t n = recv(c->fd, c->answer + c->got, ANSWER_MAX - c->got, 0);

    if (n <= 0)
        die("the front closed the connection");
    c->got += (size_t)n;
    c->answer[c->got] = '\0';
    if (!is_whole(c))
        return false;
    c->busy = false;
    if (!is_right(c)) {
        bad++;
        return true;
    }
    if (ok < SAMPLES_MAX)
        samples[ok] = (uint32_t)((now_ns() - c->due_ns) / 10);
    ok++;
    return true;
}

static struct client *idle_client(void)
{
    static unsigned at;

    for (unsigned i = 0; i < o.connections; i++, at++)
        if (!clients[at % o.connections].busy)
            return &clients[at++ % o.connections];
    return NULL;
}

/* How long to wait for answers before the next is due; a connection that is late has one more look each millisecond. */
static struct timespec patience(uint64_t due, uint64_t now)
{
    uint64_t ns = o.rate <= 0 ? 100000000 : due <= now ? 1000000 : due - now;

    return (struct timespec){.tv_nsec = ns < 100000000 ? (long)ns : 100000000};
}

static void on_term(int sig)
{
    ending = sig;
}

static int by_value(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static double percentile(double p)
{
    uint64_t n = ok < SAMPLES_MAX ? ok : SAMPLES_MAX;

    return n ? samples[(uint64_t)((double)(n - 1) * p)] / 100.0 : 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"socket", 1, NULL, 's'}, {"fields", 1, NULL, 'f'}, {"bare", 1, NULL, 'b'},
                                            {"connections", 1, NULL, 'c'}, {"seconds", 1, NULL, 't'}, {"rate", 1, NULL, 'r'}, {"ahead", 0, NULL, 'a'}, {"samples", 0, NULL, 'p'}, {0}};
    struct epoll_event events[64];
    uint64_t start, end, due;
    double step;
    int loop;

    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (c) {
        case 's': o.socket = optarg; break;
        case 'f': o.file = optarg; break;
        case 'b': o.bare = optarg; break;
        case 'c': o.connections = (unsigned)atoi(optarg); break;
        case 't': o.seconds = atof(optarg); break;
        case 'r': o.rate = atof(optarg); break;
        case 'a': o.ahead = true; break;
        case 'p': o.samples = true; break;
        default: return 2;
        }
    if (!o.socket || !o.file == !o.bare || o.connections < 1 || o.connections > CONNECTIONS_MAX)
        return 2;
    signal(SIGTERM, on_term);
    prctl(PR_SET_TIMERSLACK, 1);
    if (o.ahead)
        sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1});
    read_requests();
    samples = malloc(SAMPLES_MAX * sizeof *samples);
    loop = epoll_create1(EPOLL_CLOEXEC);
    if (!samples || loop < 0)
        die("start");
    for (unsigned i = 0; i < o.connections; i++) {
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &clients[i]};

        client_open(&clients[i]);
        if (epoll_ctl(loop, EPOLL_CTL_ADD, clients[i].fd, &ev) != 0)
            die("epoll_ctl");
    }
    step = o.rate > 0 ? 1e9 / o.rate : 0;
    start = now_ns();
    if (o.rate > 0) /* whole steps of the clock, and what is bare half a step later: two of these at one rate never meet */
        start += (uint64_t)step - start % (uint64_t)step + (o.bare ? (uint64_t)step / 2 : 0);
    due = start;
    end = start + (uint64_t)(o.seconds * 1e9);
    for (unsigned i = 0; i < o.connections && o.rate <= 0; i++)
        client_ask(&clients[i], now_ns());
    for (uint64_t asked = 0, now; !ending && (now = now_ns()) < end;) {
        struct timespec wait;
        struct client *c;
        int n;

        while (o.rate > 0 && due <= now && (c = idle_client())) { /* one that waits for a connection is late all the same */
            client_ask(c, due);
            due = start + (uint64_t)((double)++asked * step);
        }
        wait = patience(due, now_ns());
        n = epoll_pwait2(loop, events, 64, &wait, NULL);
        for (int i = 0; i < n; i++) {
            c = events[i].data.ptr;
            if (client_read(c) && o.rate <= 0)
                client_ask(c, now_ns());
        }
    }
    end = now_ns();
    qsort(samples, ok < SAMPLES_MAX ? ok : SAMPLES_MAX, sizeof *samples, by_value);
    printf("{\"ok\": %llu, \"bad\": %llu, \"rate\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"us\": [", (unsigned long long)ok,
           (unsigned long long)bad, (double)ok * 1e9 / (double)(end - start), percentile(0.5), percentile(0.99), percentile(0.999));
    for (uint64_t i = 0; o.samples && i < ok && i < SAMPLES_MAX; i++)
        printf("%s%.1f", i ? ", " : "", samples[i] / 100.0);
    printf("]}\n");
    return 0;
}
