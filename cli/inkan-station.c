/* SPDX-License-Identifier: Apache-2.0 */
/* inkan-station: the reference station of a factory line. Input, screen, signals; the work is enroll/client/station.h. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "enroll/client/station.h"

enum { EXIT_DONE = 0, EXIT_UNITS_FAILED = 1, EXIT_USAGE = 2, EXIT_UNFINISHED = 3, EXIT_ORDER = 4, EXIT_STATION = 5 };

#define TURN_MS    200
#define LINE_MAX_LEN 256
#define CONFIG_VALUES_MAX 64

static volatile sig_atomic_t signals;

static void on_signal(int sig)
{
    (void)sig;
    if (++signals > 1)
        _exit(EXIT_UNFINISHED); /* the journal holds what was done */
}

static void usage(FILE *f)
{
    fputs("Usage: inkan-station --order ORDER --url URL --ca FILE --cert FILE --key KEY --journal FILE\n"
          "                     --device-command CMD [options] [--ids FILE | --allot]\n\n"
          "Takes the units of a work order through their steps, several at a time.\n\n"
          "  --config FILE          options from a file, one \"name: value\" a line; those given here win\n"
          "  --url URL              https://host[:port] of the service\n"
          "  --ca FILE              its trust anchors, PEM\n"
          "  --cert FILE --key KEY  of this station (inkan station add); KEY: PEM file or pkcs11: URI\n"
          "  --renew                renew them at two thirds of their life\n"
          "  --order ORDER          the work order\n"
          "  --key-mode MODE        its key_mode: device (default), server, server-encrypted\n"
          "  --steps LIST           of reserve,issue,write,confirm,pack,ship (default issue,write,confirm)\n"
          "  --ids FILE             device_ids, one a line: a file, a scanner's device, - (default) for standard input\n"
          "  --allot                the order gives the numbers (needs the step reserve; implies it)\n"
          "  --count N              no more than N units in all, earlier runs with this journal included\n"
          "  --journal FILE         what was done; the next run goes on from it\n"
          "  --secrets              ask for a secret of each unit and give it to the device (order with customer_key)\n"
          "  --evidence             ask the device where its key lives, and confirm with that\n"
          "  --device-command CMD   drives the device, see inkan-station(1)\n"
          "  --device-session       CMD stays and answers line by line\n"
          "  --device-tries N       of one step before a unit fails (default 3)\n"
          "  --device-timeout S     for one step (default 60)\n"
          "  --fixtures N           units at a time (default 1, at most 64)\n"
          "  --failures N           stop when N units fail one after the other (default 10)\n"
          "  --retry-failed         try units again that failed in an earlier run\n"
          "  --badge B --tool T --firmware F --carton C   recorded with the units\n"
          "  --timeout S            for one request (default 30)\n"
          "  --quiet                only what went wrong\n"
          "  --json                 summary on standard output at the end\n\n"
          "Exit: 0 all done, 1 units failed, 2 wrong usage, 3 units are left: told to stop, or issued later,\n"
          "      4 the service refuses the order or this station, 5 this station cannot go on.\n",
          f);
}

/* ---- options ---------------------------------------------------------------------------------------------------------------- */

struct invocation {
    struct station_options o;
    const char *ids;
    bool allot, quiet, json;
    unsigned long long count;
};

enum {
    OPT_CONFIG = 256, OPT_URL, OPT_CA, OPT_CERT, OPT_KEY, OPT_RENEW, OPT_ORDER, OPT_KEY_MODE, OPT_SECRETS, OPT_EVIDENCE, OPT_STEPS, OPT_IDS, OPT_ALLOT, OPT_COUNT,
    OPT_JOURNAL, OPT_COMMAND, OPT_SESSION, OPT_TRIES, OPT_DEVICE_TIMEOUT, OPT_FIXTURES, OPT_FAILURES, OPT_RETRY_FAILED,
    OPT_BADGE, OPT_TOOL, OPT_FIRMWARE, OPT_CARTON, OPT_TIMEOUT, OPT_QUIET, OPT_JSON, OPT_HELP, OPT_VERSION,
};

static const struct option options[] = {
    {"config", required_argument, NULL, OPT_CONFIG},
    {"url", required_argument, NULL, OPT_URL},
    {"ca", required_argument, NULL, OPT_CA},
    {"cert", required_argument, NULL, OPT_CERT},
    {"key", required_argument, NULL, OPT_KEY},
    {"renew", no_argument, NULL, OPT_RENEW},
    {"order", required_argument, NULL, OPT_ORDER},
    {"key-mode", required_argument, NULL, OPT_KEY_MODE},
    {"secrets", no_argument, NULL, OPT_SECRETS},
    {"evidence", no_argument, NULL, OPT_EVIDENCE},
    {"steps", required_argument, NULL, OPT_STEPS},
    {"ids", required_argument, NULL, OPT_IDS},
    {"allot", no_argument, NULL, OPT_ALLOT},
    {"count", required_argument, NULL, OPT_COUNT},
    {"journal", required_argument, NULL, OPT_JOURNAL},
    {"device-command", required_argument, NULL, OPT_COMMAND},
    {"device-session", no_argument, NULL, OPT_SESSION},
    {"device-tries", required_argument, NULL, OPT_TRIES},
    {"device-timeout", required_argument, NULL, OPT_DEVICE_TIMEOUT},
    {"fixtures", required_argument, NULL, OPT_FIXTURES},
    {"failures", required_argument, NULL, OPT_FAILURES},
    {"retry-failed", no_argument, NULL, OPT_RETRY_FAILED},
    {"badge", required_argument, NULL, OPT_BADGE},
    {"tool", required_argument, NULL, OPT_TOOL},
    {"firmware", required_argument, NULL, OPT_FIRMWARE},
    {"carton", required_argument, NULL, OPT_CARTON},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"quiet", no_argument, NULL, OPT_QUIET},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static bool complain(const char *what, const char *about)
{
    fprintf(stderr, "inkan-station: %s: %s\n", what, about);
    return false;
}

static bool number(const char *text, unsigned long long max, unsigned long long *out)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && *out > 0 && *out <= max ? true
                                                                                                : complain("not a number that fits", text);
}

static bool number_u(const char *text, unsigned max, unsigned *out)
{
    unsigned long long v = 0;
    bool ok = number(text, max, &v);

    *out = (unsigned)v;
    return ok;
}

static bool steps_read(const char *text, unsigned *out)
{
    char copy[128], *rest = copy, *word;

    *out = 0;
    snprintf(copy, sizeof copy, "%s", text);
    while ((word = strsep(&rest, ", ")) != NULL) {
        int i = 0;

        while (i < STATION_STEPS && strcmp(word, station_step_name[i]) != 0)
            i++;
        if (i == STATION_STEPS)
            return complain("unknown step", word);
        *out |= 1u << i;
    }
    return true;
}

static bool key_mode_read(const char *text, enum station_key_mode *out)
{
    for (int i = 0; i < STATION_KEY_MODES; i++)
        if (strcmp(text, station_key_mode_name[i]) == 0) {
            *out = (enum station_key_mode)i;
            return true;
        }
    return complain("unknown key mode", text);
}

static bool apply(struct invocation *in, int option, const char *value)
{
    struct station_options *o = &in->o;

    switch (option) {
    case OPT_URL: o->url = value; return true;
    case OPT_CA: o->ca = value; return true;
    case OPT_CERT: o->cert = value; return true;
    case OPT_KEY: o->key = value; return true;
    case OPT_RENEW: o->renew = true; return true;
    case OPT_ORDER: o->order = value; return true;
    case OPT_KEY_MODE: return key_mode_read(value, &o->key_mode);
    case OPT_SECRETS: o->secrets = true; return true;
    case OPT_EVIDENCE: o->evidence = true; return true;
    case OPT_STEPS: return steps_read(value, &o->steps);
    case OPT_IDS: in->ids = value; return true;
    case OPT_ALLOT: in->allot = true; return true;
    case OPT_COUNT: return number(value, 1ULL << 40, &in->count);
    case OPT_JOURNAL: o->journal = value; return true;
    case OPT_COMMAND: o->device_command = value; return true;
    case OPT_SESSION: o->session = true; return true;
    case OPT_TRIES: return number_u(value, 100, &o->device_tries);
    case OPT_DEVICE_TIMEOUT: return number_u(value, 86400, &o->device_timeout_s);
    case OPT_FIXTURES: return number_u(value, STATION_FIXTURES_MAX, &o->fixtures);
    case OPT_FAILURES: return number_u(value, 1000000, &o->failures_max);
    case OPT_RETRY_FAILED: o->retry_failed = true; return true;
    case OPT_BADGE: o->badge = value; return true;
    case OPT_TOOL: o->tool = value; return true;
    case OPT_FIRMWARE: o->firmware = value; return true;
    case OPT_CARTON: o->carton = value; return true;
    case OPT_TIMEOUT: return number_u(value, 3600, &o->timeout_s);
    case OPT_QUIET: in->quiet = true; return true;
    case OPT_JSON: in->json = true; return true;
    default: return false;
    }
}

static char *config_values[CONFIG_VALUES_MAX]; /* live as long as the program */
static size_t config_values_n;

/* "name: value" with the names of the options; "name: true" for one without a value; # begins a comment line. */
static bool config_line(struct invocation *in, const char *file, unsigned n, char *line)
{
    char *name = line + strspn(line, " \t"), *value = strchr(name, ':'), *end, where[600];
    const struct option *o = options;
    bool has_value;

    line[strcspn(line, "\r\n")] = '\0';
    if (*name == '#' || *name == '\0')
        return true;
    snprintf(where, sizeof where, "%s:%u: %.80s", file, n, name);
    if (!value)
        return complain("not \"name: value\"", where);
    *value++ = '\0';
    value += strspn(value, " \t");
    end = value + strlen(value);
    while (end > value && strchr(" \t", end[-1]))
        *--end = '\0';
    if (end - value >= 2 && (*value == '"' || *value == '\'') && end[-1] == *value) {
        end[-1] = '\0';
        value++;
    }
    while (o->name && strcmp(o->name, name) != 0)
        o++;
    has_value = o->name && o->has_arg == required_argument;
    if (!o->name || o->val == OPT_CONFIG || o->val >= OPT_HELP || (has_value && !*value))
        return complain("unknown name, or no value", where);
    if (!has_value && strcmp(value, "false") == 0)
        return true;
    if (!has_value && strcmp(value, "true") != 0)
        return complain("true or false", where);
    if (config_values_n == CONFIG_VALUES_MAX || !(value = strdup(value)))
        return complain("too many lines", where);
    config_values[config_values_n++] = value;
    return apply(in, o->val, value) || complain("refused", where);
}

static bool config_read(struct invocation *in, const char *file)
{
    FILE *f = fopen(file, "re");
    char *line = NULL;
    size_t room = 0;
    unsigned n = 0;
    bool ok = f != NULL;

    if (!f)
        return complain(file, strerror(errno));
    while (ok && getline(&line, &room, f) >= 0)
        ok = config_line(in, file, ++n, line);
    free(line);
    fclose(f);
    return ok;
}

/* 0 to go on, else the exit code + 1. */
static int parse(int argc, char **argv, struct invocation *in)
{
    int c;

    for (int pass = 0; pass < 2; pass++) { /* first the file, then what was given here */
        optind = 1;
        while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
            if (c == OPT_HELP) {
                usage(stdout);
                return 1 + EXIT_DONE;
            }
            if (c == OPT_VERSION) {
                puts("inkan-station " INKAN_VERSION);
                return 1 + EXIT_DONE;
            }
            if (c == '?')
                return 1 + EXIT_USAGE;
            if (c == OPT_CONFIG ? pass == 0 && !config_read(in, optarg) : pass == 1 && !apply(in, c, optarg))
                return 1 + EXIT_USAGE;
        }
    }
    if (optind != argc) {
        usage(stderr);
        return 1 + EXIT_USAGE;
    }
    if (in->o.steps == 0)
        in->o.steps = 1u << STATION_ISSUE | 1u << STATION_WRITE | 1u << STATION_CONFIRM;
    if (in->allot)
        in->o.steps |= 1u << STATION_RESERVE;
    if (in->allot && in->ids)
        return 1 + EXIT_USAGE + complain("--allot", "not together with --ids");
    if (in->o.fixtures == 0)
        in->o.fixtures = 1;
    return 0;
}

/* ---- what people see ----------------------------------------------------------------------------------------------------------- */

struct screen {
    pthread_mutex_t lock; /* fixtures report while the status is drawn */
    bool live, quiet;
    unsigned drawn; /* lines below which the cursor stands */
    unsigned width;
    const char *order;
};

/* Back to where the status began; what was there is gone. */
static void screen_clear(struct screen *s)
{
    if (s->drawn)
        fprintf(stderr, "\033[%uA\033[J", s->drawn);
    s->drawn = 0;
}

static void put_line(struct screen *s, const char *text)
{
    fprintf(stderr, "%.*s\n", (int)s->width - 1, text);
    s->drawn++;
}

static void rate_text(const struct station_view *v, char out[64])
{
    double rate = v->seconds > 0 ? (double)v->done / v->seconds : 0;

    snprintf(out, 64, rate >= 1 ? "%.1f/s" : "%.0f/h", rate >= 1 ? rate : rate * 3600);
}

static void screen_draw(struct screen *s, const struct station_view *v)
{
    struct winsize size = {0};
    char line[512], rate[64];
    uint64_t ended = v->done + v->failed;

    s->width = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
    if (s->width > sizeof line)
        s->width = sizeof line;
    pthread_mutex_lock(&s->lock);
    screen_clear(s);
    rate_text(v, rate);
    snprintf(line, sizeof line, "order %s   done %llu (+%llu before)   failed %llu   yield %.1f %%   %s   unit %.1f s (p99 %.1f s)", s->order,
             (unsigned long long)v->done, (unsigned long long)v->earlier, (unsigned long long)v->failed,
             ended ? 100.0 * (double)v->done / (double)ended : 100.0, rate, v->unit_p50_s, v->unit_p99_s);
    put_line(s, line);
    for (unsigned i = 0; i < v->fixtures; i++) {
        const struct station_fixture_view *f = &v->fixture[i];

        if (f->unit[0])
            snprintf(line, sizeof line, " %2u  %-24s %-8s %5.1f s  %s", i + 1, f->unit, station_step_name[f->step], f->seconds, f->note);
        else
            snprintf(line, sizeof line, " %2u  -", i + 1);
        put_line(s, line);
    }
    if (v->last_error[0]) {
        snprintf(line, sizeof line, "last error: %.480s", v->last_error);
        put_line(s, line);
    }
    fflush(stderr);
    pthread_mutex_unlock(&s->lock);
}

/* On a terminal units that went well show in the figures alone. */
static void report(void *arg, bool is_error, const char *text)
{
    struct screen *s = arg;
    char stamp[32] = "";
    time_t now = time(NULL);
    struct tm tm;

    if (!is_error && (s->quiet || s->live))
        return;
    if (gmtime_r(&now, &tm))
        strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &tm);
    pthread_mutex_lock(&s->lock);
    screen_clear(s);
    fprintf(stderr, "%s %s\n", stamp, text);
    pthread_mutex_unlock(&s->lock);
}

static void summary_json(struct station *s, const struct station_view *v, const char *order, bool input_left)
{
    static const char *const ends[] = {"done", "told", "order", "full", "failures", "station"};
    uint64_t ended = v->done + v->failed;

    printf("{\"order\": \"%s\", \"end\": \"%s\", \"done\": %llu, \"failed\": %llu, \"already\": %llu, \"earlier\": %llu, \"resumed\": %llu, "
           "\"captured\": %llu, \"unfinished\": %llu, \"input_left\": %s, \"retries\": %llu, \"seconds\": %.3f, \"rate\": %.3f, \"yield\": %.5f, \"unit_p50_s\": %.4f, "
           "\"unit_p99_s\": %.4f, \"reasons\": ",
           order, ends[v->end], (unsigned long long)v->done, (unsigned long long)v->failed, (unsigned long long)v->already,
           (unsigned long long)v->earlier, (unsigned long long)v->resumed, (unsigned long long)v->captured, (unsigned long long)v->unfinished, input_left ? "true" : "false",
           (unsigned long long)v->retries,
           v->seconds, v->seconds > 0 ? (double)v->done / v->seconds : 0, ended ? (double)v->done / (double)ended : 1, v->unit_p50_s,
           v->unit_p99_s);
    station_reasons(s, stdout);
    puts("}");
}

static void summary_text(const struct station_view *v, const char *order)
{
    char rate[64];

    rate_text(v, rate);
    fprintf(stderr, "inkan-station: order %s: %llu done, %llu failed, %llu already done, %.0f s, %s\n", order, (unsigned long long)v->done,
            (unsigned long long)v->failed, (unsigned long long)v->already, v->seconds, rate);
    if (v->end == STATION_ORDER_FULL)
        fprintf(stderr, "inkan-station: every number of the order is allotted\n");
    if (v->end == STATION_ORDER_ENDED || v->end == STATION_CANNOT || v->end == STATION_FAILURES)
        fprintf(stderr, "inkan-station: stopped: %s%s\n",
                v->end == STATION_FAILURES ? "too many units failed one after the other; the last one: " : "", v->last_error);
}

/* ---- units to do ------------------------------------------------------------------------------------------------------------------ */

struct input {
    int fd; /* -1: ended */
    bool allot;
    unsigned long long count; /* units the journal may come to hold */
    char line[LINE_MAX_LEN];
    size_t len;
    bool too_long;
    char got[8192]; /* read, not yet looked at */
    size_t got_len, got_at;
};

static bool input_open(struct input *in, const struct invocation *v)
{
    *in = (struct input){.fd = -1, .allot = v->allot, .count = v->count ? v->count : ~0ULL};
    if (v->allot)
        return true;
    if (!v->ids || strcmp(v->ids, "-") == 0)
        in->fd = STDIN_FILENO;
    else
        in->fd = open(v->ids, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    return in->fd >= 0 || complain("the list of units cannot be opened", strerror(errno));
}

static void line_take(struct input *in, struct station *s)
{
    char *text = in->line, *end;

    in->line[in->len] = '\0';
    text += strspn(text, " \t\r");
    end = text + strlen(text);
    while (end > text && strchr(" \t\r", end[-1]))
        *--end = '\0';
    if (in->too_long || (*text && *text != '#' && !station_offer(s, text)))
        fprintf(stderr, "inkan-station: not a device_id: %.64s\n", text);
    in->len = 0;
    in->too_long = false;
}

static bool may_begin(const struct input *in, struct station *s)
{
    return station_units(s) < in->count;
}

/* Looks at what was read while the fixtures want more; a scanner may end its lines with CR alone. */
static void lines_take(struct input *in, struct station *s)
{
    while (in->got_at < in->got_len && may_begin(in, s) && station_wants(s)) {
        char c = in->got[in->got_at++];

        if (c == '\n' || c == '\r')
            line_take(in, s);
        else if (in->len + 1 < sizeof in->line)
            in->line[in->len++] = c;
        else
            in->too_long = true;
    }
}

static bool input_ended(const struct input *in, struct station *s)
{
    return !may_begin(in, s) || (!in->allot && in->fd < 0 && in->got_at == in->got_len);
}

/* One turn of at most `ms`. */
static void input_turn(struct input *in, struct station *s, int ms)
{
    struct pollfd p = {in->fd, POLLIN, 0};
    bool wants = may_begin(in, s) && station_wants(s);
    ssize_t n;

    if (in->allot) {
        while (may_begin(in, s) && station_wants(s))
            station_offer_allotted(s);
        poll(NULL, 0, ms);
        return;
    }
    lines_take(in, s);
    if (!wants || in->fd < 0 || in->got_at < in->got_len) {
        poll(NULL, 0, in->fd < 0 && in->got_at == in->got_len ? ms : 5);
        return;
    }
    if (poll(&p, 1, ms) <= 0)
        return;
    n = read(in->fd, in->got, sizeof in->got);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    in->got_at = 0;
    in->got_len = n > 0 ? (size_t)n : 0;
    if (n <= 0) {
        in->fd = -1;
        if (in->len && may_begin(in, s))
            line_take(in, s); /* the last line without its end */
    }
    lines_take(in, s);
}

/* ---- the run ------------------------------------------------------------------------------------------------------------------------- */

static void handle_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal};

    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void run(struct station *s, struct input *in, struct screen *screen)
{
    static struct station_view view;
    bool told = false, ended = false;
    int64_t drawn = 0;

    while (!station_is_finished(s)) {
        struct timespec t;

        if (signals && !told) {
            station_stop(s);
            told = true;
        }
        if (!ended && (told || input_ended(in, s))) {
            station_no_more(s);
            ended = true;
        }
        if (ended)
            poll(NULL, 0, 20);
        else
            input_turn(in, s, TURN_MS);
        station_upkeep(s);
        clock_gettime(CLOCK_MONOTONIC, &t);
        if (screen->live && (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 - drawn >= TURN_MS) {
            drawn = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
            station_look(s, &view);
            screen_draw(screen, &view);
        }
    }
}

static int exit_code(const struct station_view *v, bool rest)
{
    if (v->end == STATION_CANNOT)
        return EXIT_STATION;
    if (v->end == STATION_ORDER_ENDED)
        return EXIT_ORDER;
    if ((v->end == STATION_TOLD && rest) || (v->captured && !v->failed))
        return EXIT_UNFINISHED;
    return v->failed ? EXIT_UNITS_FAILED : EXIT_DONE;
}

int main(int argc, char **argv)
{
    static struct station_view view;
    struct invocation in = {0};
    struct rlimit none = {0, 0};
    struct screen screen;
    struct input input;
    struct station *s;
    char error[512];
    int status = parse(argc, argv, &in);
    bool rest;

    if (status)
        return status - 1;
    setrlimit(RLIMIT_CORE, &none);
    handle_signals();
    screen = (struct screen){.lock = PTHREAD_MUTEX_INITIALIZER, .live = isatty(STDERR_FILENO), .quiet = in.quiet, .order = in.o.order};
    if (!input_open(&input, &in))
        return EXIT_USAGE;
    s = station_open(&in.o, report, &screen, error);
    if (!s || !station_start(s, error)) {
        fprintf(stderr, "inkan-station: %s\n", error);
        return EXIT_STATION;
    }
    run(s, &input, &screen);
    station_look(s, &view);
    rest = !input_ended(&input, s) || view.unfinished > 0;
    screen_clear(&screen);
    if (in.json)
        summary_json(s, &view, in.o.order, !input_ended(&input, s));
    else
        summary_text(&view, in.o.order);
    station_close(s);
    return exit_code(&view, rest);
}
