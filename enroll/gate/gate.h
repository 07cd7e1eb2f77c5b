/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inkan-gate: what its threads share.
 *
 *   follow.c   one thread: fetches snapshot and changes from the service, verifies them, keeps them (store.c)
 *   crl.c      one thread per list: fetches it, judges it, writes it for the servers of this host
 *   driver.c   one thread per driver: makes a server of this host act on what changed
 *   serve.c    the main thread: answers /v1/decision on loopback
 *   hand.c     one process per driver that has to signal or to start something: it does that one thing and reads no network
 *
 * The lock guards every field marked so; it is held for memory work only.
 */
#ifndef INKAN_ENROLL_GATE_GATE_H
#define INKAN_ENROLL_GATE_GATE_H

#include <pthread.h>

#include "base/log.h"
#include "enroll/gate/conf.h"
#include "enroll/gate/rule.h"
#include "enroll/gate/table.h"
#include "enroll/gate/trust.h"

#define GATE_ERROR_MAX sizeof(((struct err *)0)->msg)

/* One list for servers. */
struct crl_source {
    const struct gate_crl *conf;
    struct gate *gate;
    pthread_t thread;
    uint64_t version;     /* lock: rises with each list written; 0: none is there */
    uint64_t seq;         /* lock: changes of the feed up to here are in it */
    int64_t next_update;  /* lock: the earliest of its lists */
    int64_t written_at;   /* lock */
    char error[GATE_ERROR_MAX]; /* lock: of the last try; "" = it went well */
    struct lists *lists;  /* of its thread */
};

struct hand;

struct driver {
    const struct gate_driver *conf;
    struct gate *gate;
    struct crl_source *crl;   /* NULL: reads none */
    struct hand *hand;        /* NULL: nothing to signal or to start */
    pthread_t thread;
    uint64_t applied_seq;     /* lock: the server acts on the feed up to here */
    uint64_t applied_crl;     /* lock: ... and on this version of its list */
    int64_t applied_at_ms;    /* lock: UTC milliseconds */
    uint64_t runs, failures;  /* lock */
    char error[GATE_ERROR_MAX]; /* lock: of the last run; "" = it went well */
};

struct gate {
    const struct gate_conf *conf;
    struct trust *trust;      /* NULL: no feed is configured */
    pthread_mutex_t lock;
    pthread_cond_t changed;   /* table, list, stopping; its clock is CLOCK_MONOTONIC */
    struct table *table;      /* lock: NULL: nothing verified is there */
    uint64_t table_no;        /* lock: rises with each new snapshot */
    bool connected;           /* lock: the service answered last time */
    char feed_error[GATE_ERROR_MAX]; /* lock */
    bool stopping;            /* lock */
    struct crl_source *crls;
    struct driver *drivers;
    pthread_t follower;
};

static inline void gate_lock(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
}
static inline void gate_unlock(struct gate *g)
{
    pthread_mutex_unlock(&g->lock);
}
/* Waits for a change with the lock held, at most `ms`. */
void gate_wait(struct gate *g, int64_t ms);
bool gate_is_stopping(struct gate *g);

/* ---- store.c: the snapshot and the changes since on disk, as they were signed ---- */

/*
 * Reads what is there, verifies all of it again and gives the table. E_NOT_FOUND: nothing is there. E_DENIED, E_INVALID, E_CONFLICT:
 * it is not ours, it was altered, or it is older than what was here before.
 */
MUST_CHECK enum err_code store_load(const char *dir, const struct trust *trust, struct table **out, struct err *e);
/* E_CONFLICT: what ends at row `seq` of that ledger is not what was here, or older. */
MUST_CHECK enum err_code store_check_mark(const char *dir, const char *ledger, uint64_t seq, struct err *e);
/* A new snapshot takes the place of everything. */
MUST_CHECK enum err_code store_put_snapshot(const char *dir, struct bytes text, const char *ledger, uint64_t seq, struct err *e);
/* One JWS with changes behind the others; E_BUSY: done, but so much has gathered that a new snapshot would be better. */
MUST_CHECK enum err_code store_add_changes(const char *dir, struct bytes jws, const char *ledger, uint64_t seq, struct err *e);

/* ---- threads ---- */

void *follow_run(void *gate);
void *crl_run(void *source);
void *driver_run(void *driver);
/* Reads the list that is there from an earlier run; what comes later must not be older. */
MUST_CHECK enum err_code crl_open(struct crl_source *s, struct err *e);
void crl_close(struct crl_source *s);
/* Calls `each` with every serial (big-endian, no leading zeros) that the list file of a source names now. */
MUST_CHECK enum err_code crl_each_serial(const struct gate_crl *conf, void (*each)(void *arg, struct bytes serial), void *arg, struct err *e);

/* ---- hand.c ---- */

/* Starts the process; call before any thread runs and before privileges are given up. */
MUST_CHECK enum err_code hand_start(const struct gate_driver *d, struct hand **out, struct err *e);
void hand_free(struct hand *h);
/* Signals or starts what the driver names, and waits for it. */
MUST_CHECK enum err_code hand_reload(struct hand *h, struct err *e);

/* ---- haproxy.c, mqtt.c: what drivers say to servers ---- */

struct refused; /* a set of serials */
struct refused *refused_new(void);
void refused_free(struct refused *r);
/* true: it was not there, or was there. */
bool refused_add(struct refused *r, struct bytes serial);
bool refused_del(struct refused *r, struct bytes serial);
size_t refused_count(const struct refused *r);

/* Serials that came and went since the last call, in order. */
struct acl_change {
    uint8_t serial[SERIAL_MAX_LEN];
    uint8_t serial_len;
    bool added;
};
/* Writes the list that HAProxy reads at its start, then makes the running one equal: by `changes`, or whole where n is 0. */
MUST_CHECK enum err_code haproxy_apply(const struct gate_driver *d, const struct refused *set, const struct acl_change *changes, size_t n,
                                       struct err *e);
/* The number of the process that answers; 0: none does, or it does not say. */
unsigned long haproxy_process(const struct gate_driver *d);
/*
 * Puts a client of that id out of a broker: connects with its id over the broker's own socket, and leaves. E_DENIED, E_INVALID: that id
 * the broker does not take; E_IO: the broker is away.
 */
MUST_CHECK enum err_code mqtt_kick(const char *socket_path, const char *client_id, struct err *e);
MUST_CHECK enum err_code unix_connect(const char *path, int timeout_s, int *fd, struct err *e);

/* ---- serve.c ---- */

/* "unix:PATH" (`group`: whose programs may use it, "" = our own) or "127.0.0.1:PORT"; nothing but loopback. */
MUST_CHECK enum err_code serve_listen(const char *where, const char *group, int *fd, struct err *e);
/* Serves until SIGTERM or SIGINT. E_NOMEM: libevent could not be set up. */
MUST_CHECK enum err_code serve_run(struct gate *g, const int *listeners, size_t n, struct err *e);

/* ---- answer.c ---- */

struct http_reader;
/* An answer as serve.c sends it. */
struct gate_answer {
    int status;
    const char *content_type;
    struct buf body, headers; /* headers: lines with CRLF, NUL at the end; empty = none */
};
/* How long may the body of this request be? 0 with *status set: it is refused. */
size_t answer_body_max(const struct http_reader *r, int *status);
/* The request is complete: fills in the answer. Main thread. */
void answer_make(struct gate *g, const struct http_reader *r, struct gate_answer *out);
/* At the end: what it keeps of certificates that it has verified. */
void answer_forget(void);
/* The state of everything as JSON, for `inkan-gate status`. */
void gate_status_write(struct gate *g, struct buf *out);

#endif
