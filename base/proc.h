/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every process of the service has in common. The supervisor (inkand) starts each child by exec with
 *
 *     inkan-<kind> -c CONFIG -n NAME          NAME: "core", "status", "front-0", "signer-issuing", ...
 *
 * and one SOCK_SEQPACKET descriptor, number 3: the control link. Everything else arrives on it: links to other
 * processes and listening sockets, each with a descriptor. A process that restarts is linked again; its peers get a
 * fresh CTL_LINK for it and drop the old one. The identity of a peer is the descriptor it arrived on.
 *
 * Control messages (fields in order):
 *   to the child
 *     CTL_LINK    u8 peer kind, u32 peer index, str peer name; fd      a link to a peer process
 *     CTL_LISTEN  str name ("est", "ocsp", "health", "admin", "admin-https"); fd   a listening, non-blocking socket
 *     CTL_GONE    u8 peer kind, u32 peer index, str peer name          the supervisor saw that peer die
 *     CTL_GO      -                                                    all links of the start are handed over
 *     CTL_RELOAD  -; fd or none: the log, opened again                 read the configuration again (SIGHUP)
 *     CTL_STOP    -                                                    drain and exit 0
 *     CTL_RUN_RESULT  u8 err code, str message                         answer to CTL_RUN (same request id)
 *     CTL_PROCESSES  u32 n, n x { str name, u32 pid, str state, u64 restarts }
 *                                                                      core only, whenever something changed: every
 *                                                                      process; pid 0: not running now. The state is
 *                                                                      "starting", "serving", "stopped", "waiting: ...",
 *                                                                      "held back: ..." or what it said by CTL_STATE
 *   from the child
 *     CTL_READY   -                                                    serving
 *     CTL_STATE   str text                                             one line for `inkan status` ("PIN_BLOCKED: ...")
 *     CTL_RUN     u8 what, str token name                              core only: see enum proc_run
 */
#ifndef INKAN_BASE_PROC_H
#define INKAN_BASE_PROC_H

#include <event2/event.h>

#include "base/chan.h"
#include "base/conf.h"

#define PROC_CONTROL_FD 3
#define PROC_PIN_FD     4 /* signer and inkan-token: the PIN, unless it lies in a file; a sealed memory file */

enum proc_kind { PROC_SUPERVISOR, PROC_FRONT, PROC_CORE, PROC_STATUS, PROC_SIGNER, PROC_TOKEN, PROC_ADMIN, PROC_NOTIFY, PROC_KINDS };
const char *proc_kind_name(enum proc_kind k); /* "front": the program is inkan-front */

/* What the core may ask of the supervisor. */
enum proc_run {
    RUN_SIGNER,      /* start the signer of an offline token for one command; a CTL_LINK follows */
    RUN_SIGNER_END,  /* ... and stop it */
    RUN_TOKEN,       /* stop that token's signer, start inkan-token under its user; a CTL_LINK (PROC_TOKEN) follows */
    RUN_TOKEN_END,   /* stop inkan-token, start the signer again where the token is not offline */
    RUN_SIGNER_RESTART, /* start a signer that was held back (`inkan token unblock`) */
    RUN_KINDS
};

enum control_type {
    CTL_LINK = MSG_RANGE_CONTROL,
    CTL_LISTEN,
    CTL_GONE,
    CTL_GO,
    CTL_RELOAD,
    CTL_STOP,
    CTL_RUN_RESULT,
    CTL_READY,
    CTL_STATE,
    CTL_RUN,
    CTL_PROCESSES,
};

#define PROC_NAME_MAX  (ID_MAX_LEN + 16) /* "signer-" and a token's name */
#define PROC_STATE_MAX 256
#define PROC_LIST_MAX  128

struct proc_info {
    char name[PROC_NAME_MAX + 1];
    uint32_t pid; /* 0: not running */
    char state[PROC_STATE_MAX];
    uint64_t restarts;
};

/* Exit codes the supervisor tells apart; everything else is a crash. */
enum proc_exit {
    PROC_EXIT_OK = 0,
    PROC_EXIT_RESTART = 70, /* in doubt: start again at once */
    PROC_EXIT_DISK = 75,    /* the disk is full or fails: tried again every other second, since room comes back by itself */
    PROC_EXIT_CONFIG = 78,  /* will fail again: not restarted before a reload or a command */
    PROC_EXIT_BLOCKED = 77, /* signer: PIN refused or blocked; not restarted before `inkan token unblock` or a new PIN */
};

struct proc;

struct proc_ops {
    /* The callee owns fd. `peer` is PROC_*; name as given by the supervisor. */
    void (*on_link)(struct proc *p, enum proc_kind peer, uint32_t index, const char *name, int fd, void *arg);
    void (*on_listen)(struct proc *p, const char *name, int fd, void *arg);
    void (*on_gone)(struct proc *p, enum proc_kind peer, uint32_t index, const char *name, void *arg);
    void (*on_go)(struct proc *p, void *arg);
    void (*on_reload)(struct proc *p, void *arg);
    void (*on_stop)(struct proc *p, void *arg); /* must lead to proc_exit_loop */
    void (*on_run_result)(struct proc *p, uint64_t request_id, enum err_code code, const struct err *e, void *arg);
    void (*on_processes)(struct proc *p, const struct proc_info *list, size_t n, void *arg); /* core only */
};

/*
 * Parses -c and -n, loads the configuration, sets up the log, forbids core dumps and new privileges, ignores SIGPIPE,
 * makes the event base and opens the control link. Exits the process with a message on failure. NULL ops are ignored
 * (a descriptor that came with the message is closed). SIGTERM and the loss of the control link lead to on_stop, the
 * latter with ten seconds before the process leaves by itself.
 */
struct proc *proc_start(int argc, char **argv, enum proc_kind kind, const struct proc_ops *ops, void *arg);
struct event_base *proc_base(struct proc *p);
const struct conf *proc_conf(const struct proc *p);
const char *proc_name(const struct proc *p);   /* "front-0" */
/* The token a signer or inkan-token is named after ("signer-issuing"); NULL with E_INVALID: none of the configuration. */
const struct conf_token *proc_token(const struct proc *p, struct err *e);
uint32_t proc_index(const struct proc *p);     /* 0 for "front-0"; 0 where the name has no number */
/* Loads the configuration again; on success proc_conf changes (the old one stays valid until proc_free). */
MUST_CHECK enum err_code proc_reload_conf(struct proc *p, struct err *e);
/*
 * The system-call allow-list of this kind (proc_confine.c): afterwards no exec, no new process, no new socket (signers
 * excepted), no executable mapping. Anything else kills the process (SIGSYS), which the supervisor logs. Call when set
 * up, before serving; threads started later inherit it. E_INTERNAL: the kernel refused the filter, do not serve.
 */
MUST_CHECK enum err_code proc_confine(struct proc *p, struct err *e);
/* The same for a process that is no child: the supervisor, once it is no longer root. What it starts inherits its list. */
MUST_CHECK enum err_code proc_confine_kind(enum proc_kind kind, struct err *e);
/* The same for a program of ours that belongs to no service and speaks with others over the network (inkan-gate). */
MUST_CHECK enum err_code proc_confine_client(struct err *e);
/*
 * The link to the peer of that name (as given to on_link) broke. Peers are linked when they start, and only then: unless the
 * supervisor says within ten seconds that the peer is gone, or links it again, this process ends and is started again.
 */
void proc_link_broken(struct proc *p, const char *peer);
void proc_ready(struct proc *p);
void proc_state(struct proc *p, const char *text);
MUST_CHECK enum err_code proc_run(struct proc *p, enum proc_run what, const char *token, uint64_t request_id,
                                  struct err *e);
int proc_loop(struct proc *p);                 /* runs until proc_exit_loop; returns its code */
void proc_exit_loop(struct proc *p, int code);
void proc_free(struct proc *p);
/* Logs `event` with the error and leaves at once by _exit: for "in doubt, start again". */
void proc_die(const char *event, int code, const struct err *e) __attribute__((noreturn));

#endif
