/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signing engine of one token: threads that call the module, a bounded queue in front of them, results back on the
 * event loop. Private to hsm/.
 *
 *   loop thread     parses and answers messages, keeps timers; never calls the module
 *   control thread  initialises, logs in, resolves keys, tests them; owns the control session, which keeps the login
 *   workers         own one session each and sign
 *
 * States: STARTING -> READY (-> DEGRADED while a key is refused). Before READY the control thread tries again every
 * second (DOWN). After READY a failed device leaves the process; a refused PIN ends in PIN_BLOCKED.
 */
#ifndef INKAN_HSM_ENGINE_H
#define INKAN_HSM_ENGINE_H

#include <event2/event.h>
#include <stdatomic.h>

#include "base/conf.h"
#include "hsm/p11.h"
#include "hsm/signer.h"
#include "hsm/tbs.h"

#define WORKERS_MAX     64
#define KEYS_MAX        256
#define CRL_MAX_LEN     (256u << 20)
#define OVERDUE_MS      10000 /* a call into the module this long after its deadline hangs: the process leaves */
#define TEST_EVERY_MS   30000

struct held_key; /* a key as a link named it; reference-counted */
MUST_CHECK enum err_code held_key_new(const struct signer_key *want, struct held_key **out, struct err *e);
struct held_key *held_key_ref(struct held_key *k); /* NULL gives NULL */
void held_key_unref(struct held_key *k);
const char *held_key_name(const struct held_key *k);

enum job_type { JOB_SIGN, JOB_GENERATE, JOB_KEYS, JOB_DROP, JOB_HEALTH, JOB_STATE, JOB_STARTED, JOB_BLOCKED };

struct job {
    struct job *next;
    enum job_type type;
    uint64_t link, request_id;
    uint64_t rid; /* of the enrollment, for the log; 0 = none */
    struct err e;              /* result; e.code E_OK = done */

    /* JOB_SIGN */
    struct held_key *key;      /* one reference */
    enum sign_kind kind;
    struct buf copy;           /* the object, or ... */
    struct bytes mapped;       /* ... a sealed memory file */
    int64_t deadline_ms;       /* monotonic */
    enum sig_alg alg;
    uint8_t sig[SIGNATURE_ROOM];
    size_t sig_len;

    /* JOB_GENERATE */
    enum key_alg key_alg;
    struct buf pkcs8;          /* a secret_buf, made when a worker takes the job */
    struct buf spki;

    /* JOB_KEYS, JOB_DROP: one reference each; NULL where the key was refused already */
    struct held_key **keys;
    struct err *results;
    size_t keys_n;

    struct signer_health health; /* JOB_HEALTH */
};
struct job *job_new(enum job_type type, uint64_t link, uint64_t request_id);
void job_free(struct job *j);

struct engine_ops { /* all on the loop thread; the callee frees the job */
    void (*done)(struct job *j, void *arg);
    void (*state)(const char *text, void *arg);       /* "DOWN: ..." */
    void (*started)(void *arg);
    void (*blocked)(const struct err *e, void *arg);  /* leave with PROC_EXIT_BLOCKED */
};

struct engine;
/* `m` is loaded, not initialised. `conf` and `dir_state` outlive the engine. Starts the control thread. */
MUST_CHECK enum err_code engine_new(struct event_base *base, struct p11 *m, const struct conf_token *conf,
                                    const char *dir_state, const struct engine_ops *ops, void *arg,
                                    struct engine **out, struct err *e);
/* Takes the job over on E_OK. E_BUSY: the queue is full. */
MUST_CHECK enum err_code engine_submit(struct engine *g, struct job *j, struct err *e);
bool engine_is_started(struct engine *g);
const char *engine_state(struct engine *g); /* static text */
size_t engine_jobs(struct engine *g);       /* taken over and not yet given back */
/*
 * Lets running jobs end, joins every thread, finalises the module. false: a thread hangs in the module, nothing was
 * finalised and the process must leave by _exit at once. The engine stays allocated: the process ends here.
 */
bool engine_stop(struct engine *g);

#endif
