/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks. `generations` (read: one signature; write: login and key resolution) guards the key fields marked G and is
 * taken before `lock`. `lock` guards the queues and everything marked L. `done_lock` guards the list of results and is
 * taken last.
 */
#ifndef INKAN_HSM_ENGINE_INT_H
#define INKAN_HSM_ENGINE_INT_H

#include <pthread.h>

#include "hsm/engine.h"

struct held_key {
    atomic_uint refs;
    char name[KEY_LABEL_MAX];
    const struct key_type *type;
    struct tbs_rule rule;
    uint8_t cka_id[CKA_ID_LEN];
    struct buf spki, issuer_name;
    struct verifier *verifiers[WORKERS_MAX + 1]; /* one per thread; 0: control */

    struct held_key *next;      /* control thread and G */
    CK_OBJECT_HANDLE handle;    /* G */
    uint64_t generation;        /* G: the login generation `handle` belongs to; 0: none */
    bool was_usable;            /* control thread */
    struct err refusal;         /* G: why it is not usable */
    int64_t tested_ms;          /* control thread */
};

struct job_list {
    struct job *first, **end;
    size_t n;
};
void job_list_init(struct job_list *l);
void job_list_add(struct job_list *l, struct job *j);
void job_list_push(struct job_list *l, struct job *j); /* in front */
struct job *job_list_take(struct job_list *l);

struct worker {
    struct engine *g;
    unsigned index;             /* 1.. ; of its verifier */
    pthread_t thread;
    CK_SESSION_HANDLE session;  /* CK_INVALID_HANDLE: none open */
    atomic_int_fast64_t overdue_ms; /* monotonic; 0: not in the module */
};

#define LATENCIES 1024

struct engine {
    struct event_base *base;
    struct p11 *m;
    const struct conf_token *conf;
    const char *dir_state;
    const struct engine_ops *ops;
    void *arg;

    pthread_rwlock_t generations;
    uint64_t generation;        /* written under G and L, read under either */
    struct held_key *keys;      /* G */
    uint8_t corrupt[KEYS_MAX][CKA_ID_LEN]; /* G: quarantined for the life of the process */
    size_t corrupt_n;           /* G */

    pthread_mutex_t lock;
    pthread_cond_t work, control, renewed;
    struct job_list queue, control_queue; /* L */
    bool renew_wanted, dead;    /* L */
    uint64_t renew_failures;    /* L */
    bool stop_workers, stop_control; /* L */
    unsigned workers_n, workers_active; /* L */
    uint32_t latency_us[LATENCIES]; /* L, a ring */
    size_t latency_n;           /* L: ever recorded */

    struct p11_token token;     /* control thread; workers read `slot` and `m` */
    CK_SESSION_HANDLE session;  /* control thread */
    atomic_int_fast64_t overdue_ms; /* of the control thread */
    pthread_t control_thread;
    struct worker workers[WORKERS_MAX];

    atomic_uint_fast64_t signed_count, failed_count;
    atomic_uint bad_streak;     /* failures of the session or login kind without a success between */
    atomic_size_t jobs;
    atomic_bool started;
    atomic_bool degraded, blocked;

    pthread_mutex_t done_lock;
    struct job_list done;       /* D */
    bool done_told;             /* D: the loop is awake or about to be */
    int done_fd;
    struct event *done_event, *watch_event;
};

void engine_post(struct engine *g, struct job *j); /* any thread: to the loop */
/* The same for one of a row: the loop may sleep on until DONE_BATCH are there, or one comes by engine_post. */
void engine_post_more(struct engine *g, struct job *j);
void *worker_main(void *arg);                      /* engine_worker.c */
void *control_main(void *arg);                     /* engine_control.c */
bool engine_spawn_workers(struct engine *g, struct err *e);
/* Asks the control thread for a generation after `seen` and waits for it. */
bool engine_renew(struct engine *g, uint64_t seen, int64_t until_ms);
void engine_quarantine(struct engine *g, struct held_key *k);
struct verifier *held_key_verifier(struct held_key *k, unsigned thread, struct err *e);
void engine_latency(struct engine *g, uint32_t us);

#endif
