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
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>
#include <jansson.h>

#include "base/auto.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "cli/admin_client.h"

AUTO_TYPE(json_t, json_decref)

#define DEFAULT_SOCKET "/run/inkan/admin.sock"
#define PATIENCE_S     60
#define TIMEOUT_S      30
#define BACK_OFF_MAX_S 60

struct sync {
    const char *socket_path, *url, *cert, *key, *anchor;
    bool once;
    double interval_s, rate; /* between two looks when there is nothing to tell; pages a second at most */
    CURL *curl;
    struct buf answer;
    uint64_t sent;           /* records since the start */
    char error[CURL_ERROR_SIZE + 128];
};

enum outcome { DRAINED, MORE, FAILED_NOW };

static volatile sig_atomic_t stopping;

static void on_signal(int sig)
{
    (void)sig;
    stopping = 1;
}

static void say(const char *what, const char *detail)
{
    fprintf(stderr, "inkan-sync: %s%s%s\n", what, detail ? ": " : "", detail ? detail : "");
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

static size_t take_answer(char *p, size_t size, size_t n, void *arg)
{
    struct sync *s = arg;

    buf_add(&s->answer, p, size * n);
    return buf_ok(&s->answer) ? size * n : 0;
}

/* POSTs to the centre. NULL: nothing usable came back. */
static json_t *centre_call(struct sync *s, const char *box, const json_t *request)
{
    AUTO(char) *body = json_dumps(request, JSON_COMPACT | JSON_SORT_KEYS);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    char url[2048];
    json_error_t where;
    json_t *j = NULL;
    long status = 0;
    CURLcode rc;

    headers = curl_slist_append(headers, "Expect:");
    snprintf(url, sizeof(url), "%s/v1/box/%s/records", s->url, box);
    buf_reset(&s->answer);
    curl_easy_setopt(s->curl, CURLOPT_URL, url);
    curl_easy_setopt(s->curl, CURLOPT_POSTFIELDS, body ? body : "");
    curl_easy_setopt(s->curl, CURLOPT_POSTFIELDSIZE, (long)(body ? strlen(body) : 0));
    curl_easy_setopt(s->curl, CURLOPT_HTTPHEADER, headers);
    s->error[0] = '\0';
    rc = curl_easy_perform(s->curl);
    curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
    if (rc != CURLE_OK) {
        if (!s->error[0])
            snprintf(s->error, sizeof(s->error), "%s", curl_easy_strerror(rc));
    } else if (status != 200) {
        snprintf(s->error, sizeof(s->error), "the centre answers %ld: %.*s", status, (int)(s->answer.len < 200 ? s->answer.len : 200),
                 s->answer.p ? (const char *)s->answer.p : "");
    } else {
        j = json_loadb((const char *)s->answer.p, s->answer.len, JSON_REJECT_DUPLICATES, &where);
        if (!json_is_object(json_object_get(j, "had"))) {
            snprintf(s->error, sizeof(s->error), "the centre's answer cannot be read");
            json_decref(j);
            j = NULL;
        }
    }
    curl_slist_free_all(headers);
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
    size_t n = json_array_size(json_object_get(page, "records"));
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
    s->sent += n;
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
        case 'c': s->cert = optarg; break;
        case 'k': s->key = optarg; break;
        case 'a': s->anchor = optarg; break;
        case 's': s->socket_path = optarg; break;
        case 'i': fine &= positive(optarg, &s->interval_s); break;
        case 'r': fine &= positive(optarg, &s->rate); break;
        case '1': s->once = true; break;
        case 'h': usage(stdout); return 0;
        case 'V': puts("inkan-sync " INKAN_VERSION); return 0;
        default: fine = false; break;
        }
    if (fine && optind == argc && s->url && s->cert && s->key && s->anchor && strncmp(s->url, "https://", 8) == 0)
        return -1;
    usage(stderr);
    return 2;
}

static bool set_up(struct sync *s)
{
    bool ok = (s->curl = curl_easy_init()) != NULL;

#define SET(option, value) ok = ok && curl_easy_setopt(s->curl, option, value) == CURLE_OK
    SET(CURLOPT_PROTOCOLS_STR, "https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_CONNECTTIMEOUT, 10L);
    SET(CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_CAINFO, s->anchor);
    SET(CURLOPT_CAPATH, NULL);
    SET(CURLOPT_SSLCERT, s->cert);
    SET(CURLOPT_SSLKEY, s->key);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_WRITEFUNCTION, take_answer);
    SET(CURLOPT_WRITEDATA, s);
    SET(CURLOPT_ERRORBUFFER, s->error);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
#undef SET
    return ok;
}

int main(int argc, char **argv)
{
    struct sync s = {.socket_path = DEFAULT_SOCKET, .interval_s = 10, .rate = 20, .answer = BUF_INIT(FACTORY_ANSWER_MAX)};
    struct sigaction stop = {.sa_handler = on_signal};
    int code = read_options(&s, argc, argv);

    if (code >= 0)
        return code;
    srand48((long)time(NULL) ^ (long)getpid());
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !set_up(&s)) {
        say("libcurl cannot be used", NULL);
        return 1;
    }
    code = run(&s);
    curl_easy_cleanup(s.curl);
    curl_global_cleanup();
    buf_clear(&s.answer);
    return code;
}
