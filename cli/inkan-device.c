/* SPDX-License-Identifier: Apache-2.0 */
/* inkan-device: the reference EST client of a unit. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "enroll/client/device.h"

enum { EXIT_DONE = 0, EXIT_NOT_DONE = 1, EXIT_USAGE = 2, EXIT_PENDING = 3 };

static volatile sig_atomic_t stopping;

static void on_signal(int sig)
{
    (void)sig;
    stopping = 1;
}

static bool is_stopping(void *arg)
{
    (void)arg;
    return stopping;
}

static void report_line(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "inkan-device: %s\n", line);
}

static void usage(FILE *f)
{
    fputs("Usage: inkan-device VERB --dir DIR --url URL [options]\n\n"
          "  enroll     get the first certificate (does nothing when there is one; --again asks anew)\n"
          "  renew      get the next one, with a new key\n"
          "  prove      use the new certificate once; the previous one is dropped after that\n"
          "  anchors    follow the service's trust anchors (cacerts)\n"
          "  status     what this device holds (--json)\n"
          "  run        do all of it for ever, in the foreground\n\n"
          "  --dir DIR            state directory\n"
          "  --url URL            https://host[:port]/.well-known/est[/label]\n"
          "  --anchor FILE        trust anchor pinned at the factory, PEM\n"
          "  --idevid-cert FILE   birth certificate, PEM, leaf first\n"
          "  --idevid-key KEY     its key: PEM file, or pkcs11: URI with module-path and pin-source\n"
          "  --user NAME --password-file FILE --id DEVICE   first enrollment with a secret\n"
          "  --bind --id DEVICE   fetch the certificate made for our key (pending.key in DIR, or --key URI) when we left the line\n"
          "  --key TYPE           p256 (default), p384, ed25519, rsa2048, rsa3072, or a pkcs11: URI\n"
          "  --bind               always bind the request to the TLS connection\n"
          "  --renew-percent N    renew at this share of the life (default 66)\n"
          "  --timeout SECONDS    per request (default 30)\n\n"
          "Exit: 0 done, 1 refused or failed, 2 wrong usage, 3 accepted but not decided yet.\n",
          f);
}

enum { OPTION_AGAIN = 256, OPTION_JSON };
static const struct option options[] = {
    {"dir", required_argument, NULL, 'd'},           {"url", required_argument, NULL, 'u'},
    {"anchor", required_argument, NULL, 'a'},        {"idevid-cert", required_argument, NULL, 'c'},
    {"idevid-key", required_argument, NULL, 'k'},    {"user", required_argument, NULL, 'U'},
    {"password-file", required_argument, NULL, 'P'}, {"id", required_argument, NULL, 'i'},
    {"key", required_argument, NULL, 'K'},           {"bind", no_argument, NULL, 'b'},
    {"renew-percent", required_argument, NULL, 'r'}, {"timeout", required_argument, NULL, 't'},
    {"again", no_argument, NULL, OPTION_AGAIN},      {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, 'h'},                {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

struct invocation {
    struct device_options o;
    bool again, json;
};

/* 0 to go on, else the exit code + 1. */
static int parse(int argc, char **argv, struct invocation *in)
{
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'd': in->o.dir = optarg; break;
        case 'u': in->o.url = optarg; break;
        case 'a': in->o.anchor = optarg; break;
        case 'c': in->o.idevid_cert = optarg; break;
        case 'k': in->o.idevid_key = optarg; break;
        case 'U': in->o.user = optarg; break;
        case 'P': in->o.password_file = optarg; break;
        case 'i': in->o.device_id = optarg; break;
        case 'K': in->o.key = optarg; break;
        case 'b': in->o.bind = true; break;
        case 'r': in->o.renew_percent = (unsigned)strtoul(optarg, NULL, 10); break;
        case 't': in->o.timeout_s = strtol(optarg, NULL, 10); break;
        case OPTION_AGAIN: in->again = true; break;
        case OPTION_JSON: in->json = true; break;
        case 'h': usage(stdout); return 1 + EXIT_DONE;
        case 'V': puts("inkan-device " INKAN_VERSION); return 1 + EXIT_DONE;
        default: usage(stderr); return 1 + EXIT_USAGE;
        }
    }
    if (optind + 1 != argc || !in->o.dir || !in->o.url) {
        usage(stderr);
        return 1 + EXIT_USAGE;
    }
    return 0;
}

static void time_text(time_t t, char out[32])
{
    struct tm tm;

    if (t == 0 || !gmtime_r(&t, &tm))
        snprintf(out, 32, "-");
    else
        strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static int print_status(struct device *d, bool json)
{
    struct device_status s;
    char from[32], to[32], renew[32];

    if (device_status(d, &s) != DEVICE_OK) {
        fprintf(stderr, "inkan-device: %s\n", device_error(d));
        return EXIT_NOT_DONE;
    }
    time_text(s.not_before, from);
    time_text(s.not_after, to);
    time_text(s.renew_at, renew);
    if (json)
        printf("{\"enrolled\": %s, \"serial\": \"%s\", \"not_before\": %lld, \"not_after\": %lld, \"renew_at\": %lld, "
               "\"generation\": %u, \"previous_kept\": %s, \"clock_is_doubtful\": %s, \"anchors\": %zu}\n",
               s.enrolled ? "true" : "false", s.serial, (long long)s.not_before, (long long)s.not_after,
               (long long)s.renew_at, s.generation, s.previous_kept ? "true" : "false", s.clock_is_doubtful ? "true" : "false",
               s.anchors);
    else if (!s.enrolled)
        printf("not enrolled; %zu trust anchors\n", s.anchors);
    else
        printf("subject     %s\nissuer      %s\nserial      %s\nvalid       %s to %s\nrenews at   %s\ngeneration  %u%s\n"
               "anchors     %zu\n%s",
               s.subject, s.issuer, s.serial, from, to, renew, s.generation, s.previous_kept ? " (previous one kept)" : "",
               s.anchors, s.clock_is_doubtful ? "clock       behind the newest time known\n" : "");
    return EXIT_DONE;
}

static int exit_code(const struct device *d, enum device_result r)
{
    if (r == DEVICE_OK)
        return EXIT_DONE;
    fprintf(stderr, "inkan-device: %s\n", device_error(d));
    return r == DEVICE_PENDING ? EXIT_PENDING : EXIT_NOT_DONE;
}

static enum device_result run_for_ever(struct device *d)
{
    struct sigaction sa = {.sa_handler = on_signal};

    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    return device_run(d, is_stopping, report_line, NULL);
}

int main(int argc, char **argv)
{
    struct invocation in = {0};
    struct rlimit none = {0, 0};
    struct device *d;
    const char *verb;
    int status = parse(argc, argv, &in);

    if (status)
        return status - 1;
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGPIPE, SIG_IGN);
    verb = argv[optind];
    if (device_open(&in.o, &d) != DEVICE_OK) {
        fprintf(stderr, "inkan-device: %s\n", device_error(NULL));
        return EXIT_NOT_DONE;
    }
    if (strcmp(verb, "enroll") == 0)
        status = exit_code(d, device_enroll(d, in.again));
    else if (strcmp(verb, "renew") == 0)
        status = exit_code(d, device_renew(d));
    else if (strcmp(verb, "prove") == 0)
        status = exit_code(d, device_prove(d));
    else if (strcmp(verb, "anchors") == 0)
        status = exit_code(d, device_update_anchors(d));
    else if (strcmp(verb, "status") == 0)
        status = print_status(d, in.json);
    else if (strcmp(verb, "run") == 0)
        status = exit_code(d, run_for_ever(d));
    else {
        fprintf(stderr, "inkan-device: unknown verb: %s\n", verb);
        usage(stderr);
        status = EXIT_USAGE;
    }
    device_close(d);
    return status;
}
