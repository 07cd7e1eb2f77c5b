/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happened at this station, one line per step, appended and synced before the next step begins. First line
 * "inkan-station-journal 1 ORDER", then
 *
 *   begin ID                   a fixture has it
 *   draw TOKEN                 a number is asked for with this token
 *   name TOKEN ID              the order gave this one
 *   reserve|write|confirm|pack|ship ID
 *   issue ID SERIAL CERT       base64 of the DER
 *   fail ID STEP REASON TEXT
 *   again ID                   tried again after a failure, or begun again with a new request
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enroll/client/station_int.h"

#define HEADING  "inkan-station-journal 1 "
#define LINE_MAX_LEN (128 * 1024)

struct journal {
    int fd;
    struct unit **slot; /* by id and by token; open addressing */
    size_t slots, used;
    struct unit **all;
    size_t n, room;
    pthread_mutex_t lock;
    pthread_cond_t synced_more;
    uint64_t written, synced;
    bool syncing, failed;
};

static size_t hash(const char *s)
{
    size_t h = 1469598103934665603ULL;

    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211ULL;
    return h;
}

static struct unit **place(struct unit **slot, size_t slots, const char *name)
{
    size_t at = hash(name) & (slots - 1);

    while (slot[at] && strcmp(slot[at]->id, name) != 0 && strcmp(slot[at]->token, name) != 0)
        at = (at + 1) & (slots - 1);
    return &slot[at];
}

/* Each unit stands under its id and its token. */
static void enter(struct journal *j, struct unit *u, const char *name)
{
    struct unit **p = place(j->slot, j->slots, name);

    j->used += *p == NULL;
    *p = u;
}

static bool grow(struct journal *j)
{
    struct unit **more, **before = j->slot;

    if ((j->used + 2) * 2 <= j->slots)
        return true;
    more = calloc(j->slots * 2, sizeof(struct unit *));
    if (!more)
        return false;
    j->slot = more;
    j->slots *= 2;
    j->used = 0;
    for (size_t i = 0; i < j->n; i++) {
        if (j->all[i]->id[0])
            enter(j, j->all[i], j->all[i]->id);
        if (j->all[i]->token[0])
            enter(j, j->all[i], j->all[i]->token);
    }
    free(before);
    return true;
}

static struct unit *unit_new(struct journal *j)
{
    struct unit *u;

    if (!grow(j))
        return NULL;
    if (j->n == j->room) {
        size_t room = j->room ? j->room * 2 : 1024;
        struct unit **more = realloc(j->all, room * sizeof(struct unit *));

        if (!more)
            return NULL;
        j->all = more;
        j->room = room;
    }
    u = calloc(1, sizeof *u);
    if (u)
        j->all[j->n++] = u;
    return u;
}

static struct unit *find(struct journal *j, const char *name)
{
    return *place(j->slot, j->slots, name);
}

struct unit *journal_unit(struct journal *j, const char *id)
{
    struct unit *u = find(j, id);

    if (u)
        return u;
    u = unit_new(j);
    if (u) {
        snprintf(u->id, sizeof u->id, "%s", id);
        enter(j, u, u->id);
    }
    return u;
}

static struct unit *unit_drawn(struct journal *j, const char *token)
{
    struct unit *u = unit_new(j);

    if (u) {
        snprintf(u->token, sizeof u->token, "%s", token);
        enter(j, u, u->token);
    }
    return u;
}

struct unit *journal_draw(struct journal *j)
{
    unsigned char octets[16];
    char token[2 * sizeof octets + 1];

    if (RAND_bytes(octets, sizeof octets) != 1)
        return NULL;
    for (size_t i = 0; i < sizeof octets; i++)
        snprintf(token + 2 * i, 3, "%02x", octets[i]);
    return unit_drawn(j, token);
}

struct unit *journal_name(struct journal *j, struct unit *u, const char *id)
{
    struct unit *other = find(j, id);

    if (other && other != u)
        return NULL;
    snprintf(u->id, sizeof u->id, "%s", id);
    enter(j, u, u->id);
    return u;
}

void journal_each(struct journal *j, void (*each)(struct unit *u, void *arg), void *arg)
{
    for (size_t i = 0; i < j->n; i++)
        each(j->all[i], arg);
}

size_t journal_units(const struct journal *j)
{
    return j->n;
}

/* ---- reading --------------------------------------------------------------------------------------------------------- */

static int step_of(const char *word)
{
    for (int i = 0; i < STATION_STEPS; i++)
        if (strcmp(word, station_step_name[i]) == 0)
            return i;
    return -1;
}

static bool replay_step(struct journal *j, int step, char *id, char *rest)
{
    struct unit *u = journal_unit(j, id);
    char *cert = rest ? strchr(rest, ' ') : NULL;

    if (!u || (step == STATION_ISSUE) != (cert != NULL))
        return false;
    u->done |= 1u << step;
    if (step == STATION_CONFIRM) /* also when another station had done the rest */
        u->done |= 1u << STATION_RESERVE | 1u << STATION_ISSUE | 1u << STATION_WRITE;
    if (cert) {
        free(u->cert);
        u->cert = strdup(cert + 1);
    } else if (step >= STATION_WRITE) {
        free(u->cert);
        u->cert = NULL;
    }
    return true;
}

/* false: not a line of a journal. */
static bool replay(struct journal *j, char *line)
{
    char *word = strsep(&line, " "), *id = strsep(&line, " ");
    struct unit *u;

    if (!id || !*id || strlen(id) > STATION_ID_MAX)
        return false;
    if (strcmp(word, "draw") == 0)
        return find(j, id) || unit_drawn(j, id); /* drawn once, said at each try */
    if (strcmp(word, "name") == 0) {
        u = find(j, id);
        return u && line && strlen(line) <= STATION_ID_MAX && journal_name(j, u, line);
    }
    if (step_of(word) >= 0)
        return replay_step(j, step_of(word), id, line);
    u = journal_unit(j, id);
    if (!u)
        return false;
    if (strcmp(word, "begin") == 0)
        return true;
    if (strcmp(word, "fail") == 0) {
        u->place = UNIT_FAILED;
        return true;
    }
    if (strcmp(word, "again") != 0)
        return false;
    u->place = UNIT_IDLE;
    u->done &= 1u << STATION_RESERVE;
    return true;
}

static bool read_all(struct journal *j, FILE *f, const char *path, const char *order, char error[512])
{
    char *line = NULL;
    size_t room = 0, number = 0;
    off_t whole = 0;
    ssize_t n;
    bool ok = true;

    while (ok && (n = getline(&line, &room, f)) > 0 && line[n - 1] == '\n') {
        line[n - 1] = '\0';
        number++;
        if (number == 1)
            ok = strncmp(line, HEADING, strlen(HEADING)) == 0 && strcmp(line + strlen(HEADING), order) == 0;
        else
            ok = replay(j, line);
        if (ok)
            whole += n;
    }
    free(line);
    if (!ok && number == 1)
        snprintf(error, 512, "%s is not a journal of order %s", path, order);
    else if (!ok)
        snprintf(error, 512, "%s: line %zu cannot be read", path, number);
    if (ok && ftruncate(j->fd, whole) != 0) {
        snprintf(error, 512, "%s: %s", path, strerror(errno));
        ok = false;
    }
    if (ok && number == 0)
        ok = journal_write(j, HEADING "%s", order);
    return ok;
}

struct journal *journal_open(const char *path, const char *order, char error[512])
{
    struct journal *j = calloc(1, sizeof *j);
    FILE *f = NULL;
    bool ok = false;

    if (!j)
        return NULL;
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->synced_more, NULL);
    j->slots = 4096;
    j->slot = calloc(j->slots, sizeof(struct unit *));
    j->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (!j->slot || j->fd < 0)
        snprintf(error, 512, "%s: %s", path, strerror(errno));
    else if (flock(j->fd, LOCK_EX | LOCK_NB) != 0)
        snprintf(error, 512, "%s is in use by another inkan-station", path);
    else if (!(f = fopen(path, "re")))
        snprintf(error, 512, "%s: %s", path, strerror(errno));
    else
        ok = read_all(j, f, path, order, error);
    if (f)
        fclose(f);
    if (!ok) {
        journal_close(j);
        return NULL;
    }
    return j;
}

void journal_close(struct journal *j)
{
    if (!j)
        return;
    for (size_t i = 0; i < j->n; i++) {
        free(j->all[i]->cert);
        free(j->all[i]);
    }
    free(j->all);
    free(j->slot);
    if (j->fd >= 0)
        close(j->fd);
    pthread_cond_destroy(&j->synced_more);
    pthread_mutex_destroy(&j->lock);
    free(j);
}

/* ---- writing --------------------------------------------------------------------------------------------------------- */

/* One sync serves all lines written before it began. */
static bool sync_to(struct journal *j, uint64_t line)
{
    while (j->synced < line && !j->failed) {
        uint64_t upto = j->written;

        if (j->syncing) {
            pthread_cond_wait(&j->synced_more, &j->lock);
            continue;
        }
        j->syncing = true;
        pthread_mutex_unlock(&j->lock);
        bool ok = fdatasync(j->fd) == 0;
        pthread_mutex_lock(&j->lock);
        j->syncing = false;
        j->failed = j->failed || !ok;
        j->synced = upto;
        pthread_cond_broadcast(&j->synced_more);
    }
    return !j->failed;
}

static bool append(struct journal *j, bool wait, const char *fmt, va_list ap)
{
    char *line = malloc(LINE_MAX_LEN);
    int n = line ? vsnprintf(line, LINE_MAX_LEN - 1, fmt, ap) : -1;
    bool ok;

    if (n < 0 || n >= LINE_MAX_LEN - 1) {
        free(line);
        return false;
    }
    line[n++] = '\n';
    pthread_mutex_lock(&j->lock);
    /* After a line that was not written whole nothing may follow: the journal is read up to it. */
    j->failed = j->failed || write(j->fd, line, (size_t)n) != n;
    j->written++;
    ok = !j->failed && (!wait || sync_to(j, j->written));
    pthread_mutex_unlock(&j->lock);
    free(line);
    return ok;
}

bool journal_note(struct journal *j, const char *fmt, ...)
{
    va_list ap;
    bool ok;

    va_start(ap, fmt);
    ok = append(j, false, fmt, ap);
    va_end(ap);
    return ok;
}

bool journal_write(struct journal *j, const char *fmt, ...)
{
    va_list ap;
    bool ok;

    va_start(ap, fmt);
    ok = append(j, true, fmt, ap);
    va_end(ap);
    return ok;
}
