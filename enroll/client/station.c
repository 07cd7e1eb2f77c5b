/* SPDX-License-Identifier: Apache-2.0 */
/* Fixtures, the units that wait for them, and how the run as a whole goes. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "enroll/client/station_int.h"

#define REASONS_MAX  64
#define QUEUE_SPARE  2 /* units that wait, for each fixture */

struct reason {
    char name[48];
    uint64_t n;
};

struct station {
    struct station_options o;
    station_report *report;
    void *report_arg;
    struct credentials *creds;
    struct journal *journal;
    struct fixture fixture[STATION_FIXTURES_MAX];
    struct link upkeep;
    double upkeep_at;

    pthread_mutex_t lock; /* guards the rest and the units */
    pthread_cond_t changed;
    struct unit *first, *last; /* waiting */
    unsigned waiting, running; /* running: fixture threads */
    bool no_more, stopping;
    enum station_end end;
    double began;
    uint64_t done, failed, already, resumed, earlier, retries, left, captured;
    unsigned in_a_row;
    char last_error[512];
    struct reason reason[REASONS_MAX];
    size_t reasons;
    float *took; /* seconds of each unit that is done */
    size_t took_n, took_room;
};

static double clock_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

const struct station_options *station_options_of(const struct station *s)
{
    return &s->o;
}

struct journal *station_journal(struct station *s)
{
    return s->journal;
}

void station_lock(struct station *s)
{
    pthread_mutex_lock(&s->lock);
}

void station_unlock(struct station *s)
{
    pthread_mutex_unlock(&s->lock);
}

bool station_is_stopping(struct station *s)
{
    bool stopping;

    station_lock(s);
    stopping = s->stopping;
    station_unlock(s);
    return stopping;
}

void station_note(struct fixture *f, enum station_step step, const char *note)
{
    station_lock(f->station);
    f->step = step;
    snprintf(f->note, sizeof f->note, "%s", note);
    station_unlock(f->station);
}

bool station_pause(struct station *s, double seconds)
{
    struct timespec until;
    bool stopping;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)seconds;
    until.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    station_lock(s);
    while (!s->stopping && pthread_cond_timedwait(&s->changed, &s->lock, &until) == 0)
        ;
    stopping = s->stopping;
    station_unlock(s);
    return !stopping;
}

void station_count_retry(struct station *s, const char *text)
{
    station_lock(s);
    s->retries++;
    snprintf(s->last_error, sizeof s->last_error, "%s", text);
    station_unlock(s);
}

/* Under the lock, so that lines do not mix. */
static void say(struct station *s, bool is_error, const char *fmt, ...)
{
    char line[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    s->report(s->report_arg, is_error, line);
}

/* ---- units that wait (under the lock) -------------------------------------------------------------------------------------- */

static void enqueue(struct station *s, struct unit *u)
{
    u->place = UNIT_QUEUED;
    u->next = NULL;
    if (s->last)
        s->last->next = u;
    else
        s->first = u;
    s->last = u;
    s->waiting++;
    pthread_cond_broadcast(&s->changed);
}

static struct unit *dequeue(struct station *s)
{
    struct unit *u = s->first;

    if (!u)
        return NULL;
    s->first = u->next;
    s->last = s->first ? s->last : NULL;
    s->waiting--;
    u->next = NULL;
    u->place = UNIT_AT_WORK;
    return u;
}

static bool is_done(const struct station *s, const struct unit *u)
{
    return (u->done & s->o.steps) == s->o.steps;
}

/* ---- one fixture ------------------------------------------------------------------------------------------------------------- */

static struct unit *next_unit(struct station *s)
{
    struct unit *u = NULL;

    station_lock(s);
    while (!s->stopping && s->end == STATION_GOES_ON && !(u = dequeue(s)) && !s->no_more)
        pthread_cond_wait(&s->changed, &s->lock);
    station_unlock(s);
    return u;
}

static void count_reason(struct station *s, const char *name)
{
    size_t i = 0;

    while (i < s->reasons && strcmp(s->reason[i].name, name) != 0)
        i++;
    if (i == REASONS_MAX)
        return;
    if (i == s->reasons)
        snprintf(s->reason[s->reasons++].name, sizeof s->reason[0].name, "%s", name);
    s->reason[i].n++;
}

static void keep_time(struct station *s, double seconds)
{
    if (s->took_n == s->took_room) {
        size_t room = s->took_room ? s->took_room * 2 : 1024;
        float *more = realloc(s->took, room * sizeof *more);

        if (!more)
            return;
        s->took = more;
        s->took_room = room;
    }
    s->took[s->took_n++] = (float)seconds;
}

static void end_run(struct station *s, enum station_end why)
{
    if (s->end == STATION_GOES_ON)
        s->end = why;
    pthread_cond_broadcast(&s->changed);
}

/* Under the lock: what became of the unit. */
static void unit_ended(struct station *s, struct fixture *f, struct unit *u, const struct outcome *out)
{
    double seconds = clock_s() - f->since;

    u->place = UNIT_IDLE;
    if (out->what == UNIT_DONE) {
        free(u->cert);
        u->cert = NULL;
        s->in_a_row = 0;
        s->done++;
        s->already += out->already;
        keep_time(s, seconds);
        say(s, false, "done unit=%s fixture=%u ms=%.0f%s", u->id, f->index + 1, seconds * 1000, out->already ? " already=true" : "");
        return;
    }
    if (out->what == UNIT_LEFT) {
        s->left++;
        s->captured += out->reason[0] != '\0';
        say(s, false, out->reason[0] ? "captured unit=%s fixture=%u step=%s" : "left unit=%s fixture=%u step=%s", u->id, f->index + 1, station_step_name[out->step]);
        return;
    }
    if (!u->id[0] && strcmp(out->reason, "order-full") == 0) {
        end_run(s, STATION_ORDER_FULL);
        return;
    }
    snprintf(s->last_error, sizeof s->last_error, "%s, %s: %s: %s", u->id, station_step_name[out->step], out->reason, out->text);
    s->left += out->ends_order || out->ends_station;
    if (out->ends_order || out->ends_station) { /* the unit itself did nothing wrong: it stays unfinished */
        say(s, true, "stopped unit=%s step=%s reason=%s text=\"%s\"", u->id, station_step_name[out->step], out->reason, out->text);
        end_run(s, out->ends_station ? STATION_CANNOT : STATION_ORDER_ENDED);
        return;
    }
    u->place = UNIT_FAILED;
    s->failed++;
    count_reason(s, out->reason);
    say(s, true, "failed unit=%s fixture=%u step=%s reason=%s text=\"%s\"", u->id, f->index + 1, station_step_name[out->step], out->reason,
        out->text);
    if (++s->in_a_row >= (s->o.failures_max ? s->o.failures_max : 10))
        end_run(s, STATION_FAILURES);
}

static void *fixture_main(void *arg)
{
    struct fixture *f = arg;
    struct station *s = f->station;
    struct outcome out;
    struct unit *u;

    while ((u = next_unit(s)) != NULL) {
        station_lock(s);
        f->unit = u;
        f->since = clock_s();
        station_unlock(s);
        if (!(u->id[0] ? journal_note(s->journal, "begin %s", u->id) : journal_write(s->journal, "draw %s", u->token))) {
            out = (struct outcome){.what = UNIT_REFUSED, .ends_station = true, .reason = "station", .text = "the journal cannot be written"};
        } else {
            unit_run(f, u, &out);
        }
        if (out.what == UNIT_REFUSED && !out.ends_order && !out.ends_station &&
            !journal_write(s->journal, "fail %s %s %s %s", u->id[0] ? u->id : u->token, station_step_name[out.step], out.reason, out.text))
            out.ends_station = true;
        station_lock(s);
        unit_ended(s, f, u, &out);
        f->unit = NULL;
        f->note[0] = '\0';
        station_unlock(s);
    }
    command_end(&f->command);
    station_lock(s);
    s->running--;
    pthread_cond_broadcast(&s->changed);
    station_unlock(s);
    return NULL;
}

/* ---- the run -------------------------------------------------------------------------------------------------------------------- */

static bool options_complete(const struct station_options *o, char error[512])
{
    const char *missing = !o->url ? "url" : !o->ca ? "ca" : !o->cert ? "cert" : !o->key ? "key" : !o->order ? "order" :
                          !o->journal ? "journal" : NULL;
    unsigned on_device = 1u << STATION_ISSUE | 1u << STATION_WRITE | 1u << STATION_CONFIRM;

    if (missing)
        snprintf(error, 512, "--%s is missing", missing);
    else if (strncmp(o->url, "https://", 8) != 0 || o->url[strlen(o->url) - 1] == '/')
        snprintf(error, 512, "%s: the URL is https://host[:port], without a path", o->url);
    else if (o->fixtures < 1 || o->fixtures > STATION_FIXTURES_MAX)
        snprintf(error, 512, "%u fixtures: 1 to %d", o->fixtures, STATION_FIXTURES_MAX);
    else if (o->steps == 0 || o->steps >> STATION_STEPS)
        snprintf(error, 512, "no steps to do");
    else if ((o->steps & 1u << STATION_ISSUE) && !(o->steps & 1u << STATION_WRITE))
        snprintf(error, 512, "the step issue needs the step write: a certificate that no device holds is of no use");
    else if (!(o->steps & 1u << STATION_ISSUE) && (o->steps & 1u << STATION_WRITE))
        snprintf(error, 512, "the step write needs the step issue");
    else if (o->secrets && !(o->steps & 1u << STATION_WRITE))
        snprintf(error, 512, "--secrets needs the step write: it is what gives a secret to the device");
    else if (o->evidence && !(o->steps & 1u << STATION_CONFIRM))
        snprintf(error, 512, "--evidence needs the step confirm: it is what sends it");
    else if ((o->steps & on_device) && !o->device_command)
        snprintf(error, 512, "--device-command is missing: issue, write and confirm need the device");
    else
        return true;
    return false;
}

struct station *station_open(const struct station_options *o, station_report *report, void *arg, char error[512])
{
    struct station *s = calloc(1, sizeof *s);
    pthread_condattr_t monotonic;

    error[0] = '\0';
    if (!s || !options_complete(o, error)) {
        if (!s)
            snprintf(error, 512, "out of memory");
        free(s);
        return NULL;
    }
    s->o = *o;
    s->report = report;
    s->report_arg = arg;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    s->creds = credentials_load(&s->o, error);
    s->journal = s->creds ? journal_open(s->o.journal, s->o.order, error) : NULL;
    if (!s->journal) {
        if (!error[0])
            snprintf(error, 512, "out of memory");
        station_close(s);
        return NULL;
    }
    return s;
}

/* What the journal holds unfinished comes first; failed units when asked for. */
static void take_up(struct unit *u, void *arg)
{
    struct station *s = arg;

    if (is_done(s, u)) {
        s->earlier++;
        return;
    }
    if (u->place == UNIT_FAILED && !s->o.retry_failed)
        return;
    if (u->place == UNIT_FAILED && !journal_write(s->journal, "again %s", u->id[0] ? u->id : u->token))
        return;
    if (u->place == UNIT_FAILED)
        u->done &= 1u << STATION_RESERVE;
    if (!u->id[0] && !(s->o.steps & 1u << STATION_RESERVE))
        return;
    s->resumed++;
    enqueue(s, u);
}

bool station_start(struct station *s, char error[512])
{
    char text[STATION_TEXT_MAX];

    if (credentials_expired(s->creds, text)) {
        snprintf(error, 512, "%s", text);
        return false;
    }
    if (!link_init(&s->upkeep, &s->o, s->creds)) {
        snprintf(error, 512, "libcurl could not be set up");
        return false;
    }
    station_lock(s);
    s->began = clock_s();
    journal_each(s->journal, take_up, s);
    station_unlock(s);
    for (unsigned i = 0; i < s->o.fixtures; i++) {
        struct fixture *f = &s->fixture[i];

        f->station = s;
        f->index = i;
        command_init(&f->command, &s->o, i + 1);
        station_lock(s);
        f->started = link_init(&f->link, &s->o, s->creds) && pthread_create(&f->thread, NULL, fixture_main, f) == 0;
        s->running += f->started;
        station_unlock(s);
        if (!f->started) {
            snprintf(error, 512, "fixture %u could not be started", i + 1);
            station_stop(s);
            return false;
        }
    }
    return true;
}

bool station_wants(struct station *s)
{
    bool wants;

    station_lock(s);
    wants = !s->stopping && s->end == STATION_GOES_ON && s->waiting < s->o.fixtures * QUEUE_SPARE;
    station_unlock(s);
    return wants;
}

static bool id_is_valid(const char *id)
{
    size_t n = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-");

    return n > 0 && n <= STATION_ID_MAX && !id[n] && *id != '.' && *id != '-';
}

bool station_offer(struct station *s, const char *device_id)
{
    struct unit *u;

    if (!id_is_valid(device_id))
        return false;
    station_lock(s);
    u = journal_unit(s->journal, device_id);
    if (!u) {
        end_run(s, STATION_CANNOT);
    } else if (u->place == UNIT_IDLE && !is_done(s, u)) {
        enqueue(s, u);
    } else if (u->place == UNIT_IDLE) {
        s->already++;
        say(s, false, "already unit=%s", u->id);
    } else if (u->place == UNIT_FAILED) {
        s->already++;
        say(s, true, "already unit=%s text=\"it failed before; --retry-failed tries it again\"", u->id);
    }
    station_unlock(s);
    return true;
}

void station_offer_allotted(struct station *s)
{
    struct unit *u;

    station_lock(s);
    u = journal_draw(s->journal);
    if (u)
        enqueue(s, u);
    else
        end_run(s, STATION_CANNOT);
    station_unlock(s);
}

uint64_t station_units(struct station *s)
{
    uint64_t n;

    station_lock(s);
    n = journal_units(s->journal);
    station_unlock(s);
    return n;
}

void station_no_more(struct station *s)
{
    station_lock(s);
    s->no_more = true;
    pthread_cond_broadcast(&s->changed);
    station_unlock(s);
}

void station_stop(struct station *s)
{
    station_lock(s);
    s->stopping = true;
    end_run(s, STATION_TOLD);
    station_unlock(s);
}

bool station_is_finished(struct station *s)
{
    bool finished;

    station_lock(s);
    finished = s->running == 0;
    station_unlock(s);
    return finished;
}

static int float_order(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* Of the latest thousand units: enough for a screen, and the whole of a short run. */
static void quantiles(const struct station *s, struct station_view *out)
{
    float v[1000];
    size_t n = s->took_n < 1000 ? s->took_n : 1000;

    if (n == 0)
        return;
    memcpy(v, s->took + s->took_n - n, n * sizeof *v);
    qsort(v, n, sizeof *v, float_order);
    out->unit_p50_s = (double)v[n / 2];
    out->unit_p99_s = (double)v[n * 99 / 100];
}

void station_look(struct station *s, struct station_view *out)
{
    double now = clock_s();

    *out = (struct station_view){0};
    station_lock(s);
    out->done = s->done;
    out->failed = s->failed;
    out->already = s->already;
    out->resumed = s->resumed;
    out->earlier = s->earlier;
    out->retries = s->retries;
    out->captured = s->captured;
    out->unfinished = s->left + s->waiting;
    out->seconds = s->began > 0 ? now - s->began : 0;
    out->end = s->end;
    snprintf(out->last_error, sizeof out->last_error, "%s", s->last_error);
    out->fixtures = s->o.fixtures;
    for (unsigned i = 0; i < s->o.fixtures; i++) {
        const struct fixture *f = &s->fixture[i];
        struct station_fixture_view *v = &out->fixture[i];

        if (!f->unit)
            continue;
        out->busy++;
        snprintf(v->unit, sizeof v->unit, "%s", f->unit->id[0] ? f->unit->id : "?");
        v->step = f->step;
        v->seconds = now - f->since;
        memcpy(v->note, f->note, sizeof v->note);
    }
    quantiles(s, out);
    station_unlock(s);
}

void station_reasons(struct station *s, FILE *f)
{
    station_lock(s);
    fputc('{', f);
    for (size_t i = 0; i < s->reasons; i++)
        fprintf(f, "%s\"%s\": %llu", i ? ", " : "", s->reason[i].name, (unsigned long long)s->reason[i].n);
    fputc('}', f);
    station_unlock(s);
}

void station_upkeep(struct station *s)
{
    char text[STATION_TEXT_MAX] = "";
    bool renewed = false, ok;

    if (!s->o.renew || clock_s() < s->upkeep_at)
        return;
    s->upkeep_at = clock_s() + 60;
    ok = credentials_renew(s->creds, &s->upkeep, text, &renewed);
    station_lock(s);
    if (!ok)
        say(s, true, "renewal text=\"%s\"", text);
    else if (renewed)
        say(s, false, "renewed certificate=%s", s->o.cert);
    station_unlock(s);
}

void station_close(struct station *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < s->o.fixtures && i < STATION_FIXTURES_MAX; i++) {
        if (s->fixture[i].started)
            pthread_join(s->fixture[i].thread, NULL);
        link_clear(&s->fixture[i].link);
    }
    link_clear(&s->upkeep);
    journal_close(s->journal);
    credentials_free(s->creds);
    free(s->took);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
