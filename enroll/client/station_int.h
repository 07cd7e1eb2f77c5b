/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the files of the station. */
#ifndef INKAN_ENROLL_CLIENT_STATION_INT_H
#define INKAN_ENROLL_CLIENT_STATION_INT_H

#include <pthread.h>
#include <stddef.h>
#include <sys/types.h>

#include "enroll/client/device_int.h"
#include "enroll/client/https.h"
#include "enroll/client/station.h"

#define STATION_DATA_MAX (64 * 1024)
#define STATION_TEXT_MAX 256

/* Octets with a length; `p` is NUL-terminated beyond it, malloc'ed. Wiped when it is cleared: it may be a key. */
struct data {
    char *p;
    size_t len;
};
void data_clear(struct data *d);
bool data_set(struct data *d, const void *p, size_t len);
/* One line without LF, NUL-terminated. Strict on the way in: false unless it is whole base64. */
bool data_to_base64(const struct data *in, struct data *out);
bool data_from_base64(const char *text, size_t text_len, struct data *out);

/* ---- journal (station_journal.c) --------------------------------------------------------------------------------- */

enum unit_place { UNIT_IDLE, UNIT_QUEUED, UNIT_AT_WORK, UNIT_FAILED };

struct unit {
    char id[STATION_ID_MAX + 1];    /* "" while the order has not allotted one */
    char token[STATION_ID_MAX + 1]; /* the request for it; "" = the number was given */
    unsigned done;                  /* bits of enum station_step */
    enum unit_place place;
    char *cert;                     /* base64 of the DER, between issue and write */
    struct unit *next;              /* of the queue */
};

struct journal;

/*
 * Opens or makes it, locks it, reads it and cuts off a line that was not written whole. The units live as long as the
 * journal. false with `error`.
 */
struct journal *journal_open(const char *path, const char *order, char error[512]);
void journal_close(struct journal *j);
/* Calls `each` for all units, in the order in which they began. */
void journal_each(struct journal *j, void (*each)(struct unit *u, void *arg), void *arg);
size_t journal_units(const struct journal *j);
/* Under the station's lock. NULL: no memory. */
struct unit *journal_unit(struct journal *j, const char *id);
struct unit *journal_draw(struct journal *j); /* a unit without an id, its token new */
/* The unit's number is known now. NULL when another unit has it already, else u. */
struct unit *journal_name(struct journal *j, struct unit *u, const char *id);
/* As journal_write, without waiting for the disk: what a lost line would cost is a scan. */
bool journal_note(struct journal *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Writes one line and returns when it is on the disk; several threads share one fdatasync. false: the disk failed. */
bool journal_write(struct journal *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- the service (station_http.c) --------------------------------------------------------------------------------- */

enum call_result {
    CALL_OK,
    CALL_LATER,   /* nothing was decided: repeat after `retry_after_s` or a pause of one's own */
    CALL_REFUSED, /* for `reason` */
};

struct answer {
    struct https_answer http;
    char reason[48];              /* of a refusal: one word of docs/factory.md, "" when it gave none */
    char text[STATION_TEXT_MAX];  /* for people */
};

struct credentials;
/* Loads certificate and key; NULL with `error`. Shared by all links. */
struct credentials *credentials_load(const struct station_options *o, char error[512]);
void credentials_free(struct credentials *c);
/* true: the certificate has ended. */
bool credentials_expired(struct credentials *c, char text[STATION_TEXT_MAX]);

/* One connection to the service; a thread of its own. */
struct link {
    const struct station_options *o;
    struct credentials *creds;
    unsigned generation; /* of the credentials the connection was made with */
    struct https *https;
};
bool link_init(struct link *l, const struct station_options *o, struct credentials *c);
void link_clear(struct link *l);
/* `path` begins with '/'. `type` NULL: GET. The answer is cleared first and is the caller's to clear. */
enum call_result link_call(struct link *l, const char *path, const char *type, const char *body, struct answer *a);
void answer_clear(struct answer *a);
/* Asks for the next certificate when the present one is past two thirds of its life. false with `text`: it was due and failed. */
bool credentials_renew(struct credentials *c, struct link *l, char text[STATION_TEXT_MAX], bool *renewed);

/* ---- a key made by the service (station_parcel.c) ---------------------------------------------------------------- */

struct parcel {
    struct data key;   /* PrivateKeyInfo, or EnvelopedData when it is wrapped for the device */
    bool is_wrapped;
    struct data certs; /* certs-only */
};
/* `type` is the Content-Type of the answer. Strict: false, and nothing in `out`, unless it is what RFC 7030 4.4.2 says. */
bool parcel_read(const char *type, const char *body, size_t len, struct parcel *out);
void parcel_clear(struct parcel *p);

/* ---- the device (station_device.c) --------------------------------------------------------------------------------- */

struct fixture_command {
    const struct station_options *o;
    unsigned index; /* from 1 */
    pid_t pid;      /* of the session, 0: none */
    int to, from;
};
void command_init(struct fixture_command *c, const struct station_options *o, unsigned index);
void command_end(struct fixture_command *c);
/* false with `text`: the device did not do it. */
bool command_do(struct fixture_command *c, const char *step, const char *unit, const struct data *in, struct data *out,
                char text[STATION_TEXT_MAX]);

/* ---- one unit (station_unit.c) -------------------------------------------------------------------------------------- */

struct fixture {
    struct station *station;
    unsigned index; /* from 0 */
    pthread_t thread;
    bool started;
    struct link link;
    struct fixture_command command;
    /* under the station's lock */
    struct unit *unit;
    enum station_step step;
    double since;
    char note[160];
};

struct outcome {
    enum { UNIT_DONE, UNIT_REFUSED, UNIT_LEFT } what; /* LEFT: unfinished, told to stop */
    bool ends_order;                                  /* the refusal is of the order or the station */
    bool ends_station;                                /* journal or credentials: nothing can go on */
    bool already;                                     /* was confirmed before */
    enum station_step step;
    char reason[48], text[STATION_TEXT_MAX];
};
void unit_run(struct fixture *f, struct unit *u, struct outcome *out);

/* What station.c offers to unit_run. */
const struct station_options *station_options_of(const struct station *s);
struct journal *station_journal(struct station *s);
bool station_is_stopping(struct station *s);
void station_lock(struct station *s);
void station_unlock(struct station *s);
void station_note(struct fixture *f, enum station_step step, const char *note);
/* Sleeps; false when told to stop meanwhile. */
bool station_pause(struct station *s, double seconds);
void station_count_retry(struct station *s, const char *text);

#endif
