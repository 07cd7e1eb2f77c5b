/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Declarations shared by the files of the front. One thread, one event loop: nothing here is locked.
 *
 *   conn.c    one client connection: bytes, deadlines, order of request and answer
 *   source.c  connections by address, and which gives way at the limit
 *   est.c, factory.c, decision.c, feed.c, ocsp.c, files.c, health.c   what is served; each request ends in exactly one conn_answer
 *   front.c   links to the core and the status process, listeners, what the core configures
 */
#ifndef INKAN_ENROLL_FRONT_INT_H
#define INKAN_ENROLL_FRONT_INT_H

#include <sys/queue.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "base/chan.h"
#include "base/log.h"
#include "base/proc.h"
#include "ca/service.h"
#include "enroll/http.h"
#include "enroll/ocsp_cache.h"
#include "enroll/tls.h"

struct conn;
struct front;
struct file_set;
struct est_labels;

/* ---- one connection ------------------------------------------------------------------------------------------- */

enum conn_state {
    CONN_HANDSHAKE,
    CONN_IDLE,    /* nothing of a request seen yet */
    CONN_HEAD,
    CONN_BODY,    /* also: skipping the body of a refused request */
    CONN_BUSY,    /* the request is complete, its answer is not; nothing is read */
    CONN_WRITING, /* the answer is queued; nothing is read until it has left */
    CONN_LINGER,  /* our side is closed; octets are thrown away until the peer closes, so that the answer arrives */
    CONN_DOOMED,  /* to be freed from the loop */
};

enum wait { WAIT_CORE = 1 << 0, WAIT_STATUS = 1 << 1 };

/* A refusal decided on the head of a request. */
struct refusal {
    int status;
    const char *text;    /* static, for the client */
    const char *headers; /* static header lines, or NULL */
};

/* What a listener serves. All functions run on the loop; none frees the connection. */
struct service {
    const char *name;
    enum svc_listener counted; /* as which its answers count */
    bool tls;
    bool limited; /* counts against the limits on connections */
    /* The head is there: false refuses with *no; true sets *body_max. */
    bool (*on_head)(struct conn *c, size_t *body_max, struct refusal *no);
    /* The request is complete: conn_answer now, or conn_wait and conn_answer later. */
    void (*on_request)(struct conn *c);
    /* The deadline of the request has passed, or a link it waits for (conn->waits) is gone: must lead to conn_answer. */
    void (*on_deadline)(struct conn *c);
    void (*on_link_lost)(struct conn *c, enum wait link);
    /* Once per request: it got this status, 0 when the client was gone first. */
    void (*on_done)(struct conn *c, int status);
};

struct factory_request {
    const struct factory_route *route; /* NULL: it is none */
    char order[ORDER_NO_MAX + 1], device_id[ID_MAX_LEN + 1];
    enum err_code code;
};

enum access_route { ACCESS_NOT, ACCESS_DECISION, ACCESS_DECISIONS, ACCESS_SNAPSHOT, ACCESS_CHANGES };

struct access_request {
    enum access_route route; /* ACCESS_NOT: it is none */
    struct buf answer;       /* as far as it is there */
    const char *reason;      /* static; for the log */
    char resource[257], client[65];
};

struct est_request {
    struct access_request access; /* served by the same listener, in its place; and alone on the socket for decisions */
    struct factory_request factory; /* served by the same listener, in its place */
    const struct est_route *route;  /* NULL before it is known */
    char label[EST_LABEL_MAX + 1];
    bool auth_password, wrap64;
    enum err_code code;
};

struct ocsp_request {
    uint8_t key[32]; /* SHA-256 of the request DER */
    bool is_ocsp;
};

struct health_request {
    bool ready_asked, metrics_asked;
    bool core_answered, core_ready, status_answered, status_ready;
    struct buf core_json, status_json;
};

struct conn {
    struct front *front;
    const struct service *service;
    SSL *ssl; /* NULL on plain listeners */
    evutil_socket_t fd;
    struct event *readable, *writable; /* writable: once an answer did not leave in one piece */
    struct event *again;               /* the next turn, once a client had said more than one turn takes */
    struct evbuffer *out;              /* the rest of that answer */
    struct buf held;                   /* octets that came behind the request in flight */
    bool deaf;                         /* readable is off */
    struct bytes unread;               /* what the reader is being fed; empty between events */
    struct event *timer;
    int64_t timer_ms, deadline_ms; /* when the timer fires (0: it is off); when the deadline is, not before */
    struct event *drain;
    enum conn_state state;
    struct http_reader reader;
    bool close;       /* after the answer */
    bool in_request;  /* between the first octet of a request and its answer */
    bool refused;     /* `no` answers once the body has been skipped */
    struct refusal no;
    uint64_t rid;
    unsigned waits;   /* enum wait */
    int64_t started_ms;
    struct tls_peer peer; /* after the handshake */
    char peer_text[64];   /* "192.0.2.7:40112" */
    struct source *source; /* NULL: not counted */
    bool yields, in_idle;  /* on which list it is */
    union {
        struct est_request est;
        struct ocsp_request ocsp;
        struct health_request health;
    } u;
    TAILQ_ENTRY(conn) all, idle, yielding;
    struct conn *next_waiting;
};

TAILQ_HEAD(conn_list, conn);

/* ---- connections by address (source.c) ------------------------------------------------------------------------- */

#define SOURCE_BUCKETS 1024
#define SOURCE_RANKS   64

struct source {
    struct source *next; /* of the bucket */
    uint8_t key[17];
    unsigned n, yielding_n;
    struct conn_list yielding; /* longest in their state first */
    TAILQ_ENTRY(source) rank;  /* while yielding_n > 0 */
};

TAILQ_HEAD(source_list, source);

struct sources {
    struct source *bucket[SOURCE_BUCKETS];
    struct source_list rank[SOURCE_RANKS + 1]; /* by yielding_n; the last one: that many or more. Longest so first */
};

void sources_init(struct sources *all);
/* Counts one connection of this address. NULL: it has `max` already, or out of memory. */
struct source *source_take(struct sources *all, const struct sockaddr *sa, unsigned max);
void source_give(struct sources *all, struct source *s);
/* Puts c->source's connection on the list of those that give way, behind the others, or takes it off. */
void source_yield(struct sources *all, struct conn *c, bool yields);
/* The next to give way, or NULL. */
struct conn *sources_first_yielding(const struct sources *all);

/* ---- what the services call ------------------------------------------------------------------------------------- */

/* Takes over `fd`. Closes it when a limit is reached. */
void conn_accept(struct front *f, const struct service *s, evutil_socket_t fd, const struct sockaddr *sa, int sa_len);
/* Queues the answer; a->body is copied. Exactly once per request. The method decides whether the body is sent (HEAD). */
void conn_answer(struct conn *c, const struct http_answer *a);
/* As conn_answer for a body that must not stay in memory: the copy that is sent is wiped when it has left or is dropped. */
void conn_answer_secret(struct conn *c, const struct http_answer *a);
/* As conn_answer with a body that is not copied: `release` is called once, when it has left or is dropped. */
void conn_answer_shared(struct conn *c, const struct http_answer *a, evbuffer_ref_cleanup_cb release, void *arg);
/* "request 1a2b: TEXT" as text/plain, no-store. `headers` as in struct http_answer. */
void conn_refuse(struct conn *c, int status, const char *text, const char *headers, uint32_t retry_after_s);
/* What a code of the core is in HTTP, to anybody; lives for ever. */
struct code_status {
    int status;
    const char *text; /* when the core gives none */
};
const struct code_status *code_status(enum err_code code);
/* The request waits for an answer with c->rid from that link. */
void conn_wait(struct conn *c, unsigned links);
/* The waiting connection with this request id, or NULL. */
struct conn *conn_waiting(struct front *f, uint64_t rid, enum wait link);
void conn_wait_done(struct conn *c, enum wait link);
/* Tells every connection that waits for that link. */
void conn_link_lost(struct front *f, enum wait link);
/* Puts the request's own deadline `ms` ahead (health probes answer earlier than others). */
void conn_deadline_ms(struct conn *c, int64_t ms);
/* Closes up to `n` connections, least wanted first: how many. From the loop alone: whoever calls may hold none of them. */
size_t conn_give_way(struct front *f, size_t n);
/* Closes idle connections now and the others after their answers. */
void conn_stop_all(struct front *f);
void conn_free_all(struct front *f);
/* Reads the length of a "second" from the environment in test builds. */
void conn_setup(void);

/* ---- the process ---------------------------------------------------------------------------------------------- */

#define LISTENERS_MAX  32
#define WAITING_BUCKETS 1024

struct front_listener {
    struct front *front;
    const struct service *service;
    struct evconnlistener *ev;
    struct event *retry; /* ends a rest */
    unsigned accepted;   /* since it last let the others have a turn */
    bool resting;        /* until then */
};

struct front_config { /* one configuration from the core, complete */
    bool complete;
    uint64_t generation;
    struct est_labels *labels;
    struct file_set *files;
    struct bytes anchors_pem; /* mapped; released once taken */
};

struct front {
    struct proc *proc;
    struct event_base *base;
    struct front_listener listener[LISTENERS_MAX];
    size_t listener_n;
    uint64_t descriptors; /* RLIMIT_NOFILE */
    unsigned connections_max, per_address_max;

    struct conn_list all;
    struct conn_list idle; /* with a client certificate, longest first */
    struct sources sources;
    size_t conn_n;              /* limited ones */
    size_t probe_n;             /* the others */
    struct conn *waiting[WAITING_BUCKETS];
    size_t core_waiting, status_waiting;

    struct chan *core, *status;
    struct front_config config, incoming;
    bool receiving;
    struct tls *tls;
    struct event *tls_timer;
    uint64_t tls_rid; /* of the SVC_TLS_CERT in flight, 0: none */
    unsigned tls_retry_s;
    struct ocsp_cache *cache;
    bool in_step; /* the core has purged over this link: from then on a revocation waits for us, and answers may be kept */

    uint8_t room[16384];   /* for what a connection is just sending */
    uint8_t record[16384]; /* for what it is just being sent over TLS */
    uint64_t next_rid;
    struct svc_counts counts;            /* since it started */
    uint64_t summarised[SVC_REFUSALS];   /* of these, how many the log told of */
    struct event *count_timer, *tell_timer;
    bool going, stopping, held; /* held: as many connections as allowed */
    struct event *stop_timer;
    struct event *memory_timer; /* after memory ran out: now, before all other events, then until the configured limit holds again */
    bool memory_short;
};

/* Everything before the loop; the proc's callbacks are front_ops. Exits the process on failure. */
void front_setup(struct front *f);
void front_clear(struct front *f);
extern const struct proc_ops front_ops;

uint64_t front_rid(struct front *f);
void rid_format(uint64_t rid, char out[17]);
void front_count(struct front *f, enum svc_refusal r);
/* A connection has gone: a stopping front may end. */
void front_conn_gone(struct front *f);
/* There is room for another connection, or one waits that gives way: listeners held back by the limit accept again. */
void front_room_again(struct front *f);
void front_hold_listeners(struct front *f);
/*
 * An allocation failed, or took from the reserve (base/spare.h): before anything else happens some connections give way and fill the
 * reserve again, and for a while as many as then are there are the limit.
 */
void front_memory_short(struct front *f);
/* Is the connection with the core or the status process up, and has it room? */
bool front_core_has_room(const struct front *f);
bool front_status_has_room(const struct front *f);

/* ---- services ------------------------------------------------------------------------------------------------- */

extern const struct service est_service;    /* EST over TLS */
extern const struct service public_service; /* OCSP and files over plain HTTP */
extern const struct service health_service;
extern const struct service decision_service; /* decisions and the feed on a socket of this machine */

struct est_labels *est_labels_new(void);
void est_labels_free(struct est_labels *l);
/* `cacerts`: the certs-only CMS in DER. */
MUST_CHECK enum err_code est_labels_add(struct est_labels *l, const struct svc_label *label, struct bytes cacerts,
                                        struct err *e);
void est_on_result(struct conn *c, const struct svc_enroll_result *r);

/* Beside EST on its listener (factory.c). */
bool factory_is_path(const char *path);
bool factory_on_head(struct conn *c, char *path, size_t *body_max, struct refusal *no);
void factory_on_request(struct conn *c);
void factory_on_result(struct conn *c, const struct svc_factory_result *r);
void factory_on_done(struct conn *c, int status);
/* 503 for a reason of our own, which goes to the log. */
void factory_refuse_for_now(struct conn *c, const char *why);

/* Decisions and the feed, beside EST on its listener too (decision.c, feed.c). */
bool access_is_path(const char *path);
bool access_on_head(struct conn *c, const char *path, size_t *body_max, struct refusal *no);
void access_on_request(struct conn *c);
void access_on_done(struct conn *c, int status);
void access_on_decided(struct conn *c, const struct sts_decided *all);
void access_caller(const struct conn *c, struct sts_caller *out);
void access_ask(struct conn *c, struct msg *m); /* to the status process; then the connection waits */
void access_refuse_for_now(struct conn *c);
void access_refuse_code(struct conn *c, enum err_code code);
void feed_on_request(struct conn *c);
void feed_on_changes(struct conn *c, enum err_code code, struct bytes jws);
void feed_on_snapshot(struct conn *c, enum err_code code, const char *etag, int fd);

struct file_set *file_set_new(void);
void file_set_free(struct file_set *s);
/* Adds or replaces. Maps `fd`, whose content must have the announced size; the caller keeps fd. */
MUST_CHECK enum err_code file_set_put(struct file_set *s, const struct svc_file *f, int fd, struct err *e);
/* Answers a GET or HEAD for an exact decoded path; false when there is no such file. */
bool file_exists(const struct file_set *s, const char *path);
void file_answer(struct conn *c, const struct file_set *s, const char *path);

bool ocsp_on_head(struct conn *c, size_t *body_max, struct refusal *no);
void ocsp_on_request(struct conn *c);
void ocsp_on_result(struct conn *c, const struct sts_ocsp_result *r);
/* A cached answer that is still valid, else tryLater. */
void ocsp_answer_without_status(struct conn *c);

void health_on_core(struct conn *c, bool ready, struct bytes json);
void health_on_status(struct conn *c, bool ready, struct bytes json);
/* The text of the core's or the status process's numbers; fd -1: there is none. */
void health_on_metrics(struct conn *c, enum wait link, int fd);

#endif
