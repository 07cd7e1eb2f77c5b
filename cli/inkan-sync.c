/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inkan-sync: carries the records of a line box to its centre, and what the centre decided back (docs/linebox.md). It keeps nothing:
 * the centre says up to where it has the box's rows. Whatever fails is tried again, later and later, for ever.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/text.h"
#include "cli/admin_client.h"
#include "enroll/client/https.h"

AUTO_TYPE(json_t, json_decref)

#define DEFAULT_SOCKET "/run/inkan/admin.sock"
#define PATIENCE_S     60
#define BACK_OFF_MAX_S 60

struct sync {
    const char *socket_path, *url;
    struct https_options https;
    bool once;
    double interval_s, rate; /* between two looks when there is nothing to tell; pages a second at most */
    struct https *centre;
    char error[HTTPS_ERROR_MAX];
};

enum outcome { DRAINED, MORE, FAILED_NOW };

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

static void say(const char *what, const char *detail)
{
    fprintf(stderr, "inkan-sync: %s%s%s\n", what, detail ? ": " : "", SHOWN(detail));
}

/* ---- the two sides ---- */

/* One request to the box's own core. A connection each: it may have been started again. */
static json_t *core_call(struct sync *s, const char *op, const json_t *args)
{
    struct admin_client *client = NULL;
    struct err e = {0};
    json_t *result = NULL;

    if (admin_connect(s->socket_path, &client, &e) == E_OK) {
        admin_set_patience(client, PATIENCE_S);
        if (admin_call(client, op, args, NULL, NULL, NULL, &result, NULL, &e) != E_OK)
            result = NULL;
    }
    admin_close(client);
    if (!result)
        snprintf(s->error, sizeof(s->error), "%s: %.300s", op, e.msg);
    return result;
}

/* POSTs to the centre. NULL: nothing usable came back. */
static json_t *centre_call(struct sync *s, const char *box, const json_t *request)
{
    AUTO(char) *body = json_dumps(request, JSON_COMPACT | JSON_SORT_KEYS);
    char url[2048];
    struct https_request r = {.url = url, .content_type = "application/json", .body = body, .body_len = body ? strlen(body) : 0};
    struct https_answer a = {0};
    json_error_t where;
    json_t *j = NULL;

    snprintf(url, sizeof(url), "%s/v1/box/%s/records", s->url, box);
    if (!https_call(s->centre, &r, &a))
        snprintf(s->error, sizeof(s->error), "%s", a.error);
    else if (a.status != 200)
        snprintf(s->error, sizeof(s->error), "the centre answers %ld: %.200s", a.status, a.body);
    else if (!(j = json_loadb(a.body, a.body_len, JSON_REJECT_DUPLICATES, &where)) || !json_is_object(json_object_get(j, "had"))) {
        snprintf(s->error, sizeof(s->error), "the centre's answer cannot be read");
        json_decref(j);
        j = NULL;
    }
    https_answer_clear(&a);
    return j;
}

/* ---- one turn ---- */

static void tell_set_aside(const json_t *answer)
{
    size_t i;
    json_t *one;
    char line[512];

    json_array_foreach(json_object_get(answer, "set_aside"), i, one)
    {
        snprintf(line, sizeof(line), "%s %lld: %.400s", json_string_value(json_object_get(one, "stream")),
                 (long long)json_integer_value(json_object_get(one, "seq")), json_string_value(json_object_get(one, "reason")));
        say("the centre set a record aside", line);
    }
}

/* What the centre revoked, held or released is done here before the centre is told that it was heard. */
static bool hear(struct sync *s, const json_t *answer)
{
    AUTO(json_t) *args = json_pack("{s:O, s:O, s:O, s:O*}", "changes", json_object_get(answer, "changes"), "heard", json_object_get(answer, "heard"),
                                   "centre", json_object_get(answer, "centre"), "seen", json_object_get(answer, "seen"));
    AUTO(json_t) *done = args ? core_call(s, "box.heard", args) : NULL;

    if (!args)
        snprintf(s->error, sizeof(s->error), "the centre's answer lacks something");
    if (done && json_integer_value(json_object_get(done, "changed")) > 0)
        say("certificates changed by the centre", NULL);
    if (json_is_true(json_object_get(done, "forked")))
        say("the centre has heard of another past of this ledger", "everything is told again under a new epoch");
    return done != NULL;
}

/* The page after `had`, to the centre; `had` becomes what the centre has. */
static enum outcome turn(struct sync *s, json_t **had)
{
    AUTO(json_t) *page = core_call(s, "box.outbox", *had);
    AUTO(json_t) *answer = NULL;
    const char *box = json_string_value(json_object_get(page, "box"));
    bool moved;

    if (!page || !box)
        return FAILED_NOW;
    {
        char name[ID_MAX_LEN + 1];

        snprintf(name, sizeof(name), "%s", box);
        json_object_del(page, "box");
        answer = centre_call(s, name, page);
    }
    if (!answer)
        return FAILED_NOW;
    tell_set_aside(answer);
    moved = !json_equal(*had, json_object_get(answer, "had"));
    json_decref(*had);
    *had = json_incref(json_object_get(answer, "had"));
    if (!hear(s, answer))
        return FAILED_NOW;
    /* A centre that has other rows than was thought: from there, at once. */
    return moved || json_is_true(json_object_get(answer, "more")) ? MORE : DRAINED;
}

static void rest(double seconds)
{
    struct timespec t = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};

    while (!stopping && nanosleep(&t, &t) != 0)
        ;
}

static int run(struct sync *s)
{
    AUTO(json_t) *had = json_object(); /* unknown: the first answer says it */
    double back_off = 1;
    bool failing = false;

    while (!stopping) {
        enum outcome o = turn(s, &had);

        if (o == FAILED_NOW) {
            if (!failing || s->once)
                say("cannot go on now", s->error);
            failing = true;
            if (s->once)
                return 1;
            rest(back_off * (0.5 + drand48())); /* the boxes of a plant do not come back in one moment */
            back_off = back_off * 2 > BACK_OFF_MAX_S ? BACK_OFF_MAX_S : back_off * 2;
            continue;
        }
        if (failing)
            say("goes on", NULL);
        failing = false;
        back_off = 1;
        if (o == DRAINED && s->once)
            return 0;
        rest(o == DRAINED ? s->interval_s : 1 / s->rate);
    }
    return 0;
}

/* ---- start ---- */

static void usage(FILE *f)
{
    fputs("Usage: inkan-sync --url https://CENTRE[:PORT] --cert FILE --key FILE --anchor FILE [options]\n\n"
          "  --url URL           the centre's EST listener\n"
          "  --cert FILE         the box's certificate (inkan box link), PEM, with the CA certificates after it\n"
          "  --key FILE          its key, PEM\n"
          "  --anchor FILE       what the centre's server certificate must chain to, PEM\n"
          "  --socket PATH       of the box's service (default " DEFAULT_SOCKET ")\n"
          "  --interval SECONDS  between two looks when there is nothing to tell (default 10)\n"
          "  --rate N            pages a second, at most (default 20)\n"
          "  --once              tell everything and end\n\n"
          "Exit: 0 all told, or stopped; 1 with --once: not all was told; 2 wrong usage.\n",
          f);
}

static const struct option options[] = {
    {"url", required_argument, NULL, 'u'},      {"cert", required_argument, NULL, 'c'}, {"key", required_argument, NULL, 'k'},
    {"anchor", required_argument, NULL, 'a'},   {"socket", required_argument, NULL, 's'}, {"interval", required_argument, NULL, 'i'},
    {"rate", required_argument, NULL, 'r'},     {"once", no_argument, NULL, '1'},       {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},        {NULL, 0, NULL, 0},
};

static bool positive(const char *text, double *out)
{
    char *end = NULL;

    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out > 0 && *out <= 1000000;
}

/* -1: go on; else the exit code. */
static int read_options(struct sync *s, int argc, char **argv)
{
    bool fine = true;
    int o;

    while ((o = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (o) {
        case 'u': s->url = optarg; break;
        case 'c': s->https.cert = optarg; break;
        case 'k': s->https.key = optarg; break;
        case 'a': s->https.ca = optarg; break;
        case 's': s->socket_path = optarg; break;
        case 'i': fine &= positive(optarg, &s->interval_s); break;
        case 'r': fine &= positive(optarg, &s->rate); break;
        case '1': s->once = true; break;
        case 'h': usage(stdout); return 0;
        case 'V': puts("inkan-sync " INKAN_VERSION); return 0;
        default: fine = false; break;
        }
    if (fine && optind == argc && s->url && s->https.cert && s->https.key && s->https.ca && strncmp(s->url, "https://", 8) == 0)
        return -1;
    usage(stderr);
    return 2;
}

int main(int argc, char **argv)
{
    struct sync s = {.socket_path = DEFAULT_SOCKET, .interval_s = 10, .rate = 20, .https = {.body_max = FACTORY_ANSWER_MAX, .stop = is_stopping}};
    struct sigaction stop = {.sa_handler = on_signal};
    int code = read_options(&s, argc, argv);

    if (code >= 0)
        return code;
    srand48((long)time(NULL) ^ (long)getpid());
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    if (!(s.centre = https_new(&s.https))) {
        say("libcurl cannot be used", NULL);
        return 1;
    }
    code = run(&s);
    https_free(s.centre);
    return code;
}
