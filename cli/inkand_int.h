/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor's parts: inkand.c (arguments, background), inkand_host.c (users, directories, sockets, privileges,
 * starting one program), inkand_pin.c (PINs that lie in no file), inkand_run.c (which programs run, how they are linked, when they start again).
 */
#ifndef INKAN_CLI_INKAND_INT_H
#define INKAN_CLI_INKAND_INT_H

#include <limits.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/conf.h"
#include "base/proc.h"

#define GROUPS_MAX  64
#define SOCKETS_MAX 64

/* Whom a program runs as. */
struct identity {
    uid_t uid;
    gid_t gid;
    gid_t groups[GROUPS_MAX];
    int groups_n;
};

struct listener {
    const char *name; /* "est", "ocsp", "health", "admin" */
    int fd;
};

struct host {
    const char *program_dir;
    char own_dir[PATH_MAX]; /* where inkand itself is */
    bool privileged;        /* started as root: children change to their users */
    struct identity users[PROC_KINDS];
    struct listener listeners[SOCKETS_MAX];
    size_t listeners_n;
    char admin_path[PATH_MAX];
    struct {
        char token[ID_MAX_LEN + 1];
        int fd; /* sealed memory file */
    } pins[SOCKETS_MAX]; /* of tokens whose PIN lies in no file */
    size_t pins_n;
    int pid_fd;  /* holds the lock of the one running service */
    int systemd; /* base/systemd.h */
};

/* Resolves the users of the configuration (all of them, started as root). */
MUST_CHECK enum err_code host_users(struct host *h, const struct conf *c, struct err *e);
/* Do the users exist? For the check of a configuration. */
MUST_CHECK enum err_code host_check_users(const struct conf *c, struct err *e);
/* Can the core read each anchor file, and would devices be let in below its certificates? Started as root it looks with the core's rights. */
MUST_CHECK enum err_code host_check_anchors(const struct conf *c, struct err *e);
MUST_CHECK enum err_code host_directories(struct host *h, const struct conf *c, struct err *e);
/* E_CONFLICT: another inkand serves this run directory. */
MUST_CHECK enum err_code host_lock(struct host *h, const struct conf *c, struct err *e);
/* The sockets of the network: before host_drop, their ports may be root's. */
MUST_CHECK enum err_code host_listen(struct host *h, const struct conf *c, struct err *e);
/* After host_drop: its directory is the supervisor's, where root would have to fear links. */
MUST_CHECK enum err_code host_listen_admin(struct host *h, const struct conf *c, struct err *e);
/* -1 on error. Made for appending; belongs to the supervisor's user. */
int host_open_log(const struct host *h, const struct conf *c, struct err *e);
/* From here on no root: the supervisor's user with the right to change user and to signal, nothing else, under a filter. */
MUST_CHECK enum err_code host_drop(struct host *h, struct err *e);
void host_find_programs(struct host *h, const struct conf *c);
void host_pid_file(const struct conf *c, const char *name, pid_t pid); /* pid 0 removes it */
void host_close(struct host *h, const struct conf *c);

/*
 * Starts inkan-<kind> -c CONFIG -n NAME with `control` as its descriptor 3; the caller keeps its own copy. `token` is
 * NULL or the one whose environment it gets. Returns the pid, -1 on error.
 */
pid_t host_spawn(const struct host *h, const struct conf *c, enum proc_kind kind, const char *name,
                 const struct conf_token *token, int control, struct err *e);

/* Takes PINs from credentials and descriptors and asks for the others on the terminal, once, before the service goes to the background. */
MUST_CHECK enum err_code host_collect_pins(struct host *h, const struct conf *c, struct err *e);
int host_pin_of(const struct host *h, const struct conf_token *token); /* -1: another source */

/* What a PIN source looks like to the signer's user; false when it is not there. */
struct pin_look {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec changed;
};
bool host_look_at_pin(const struct host *h, const struct conf_token *token, struct pin_look *out);

/*
 * Starts every process and runs until SIGTERM or SIGINT. `started` is called when the core serves (NULL), or with the
 * reason when it failed several times in a row: it is tried again all the same, and `started` not called again.
 * Takes over *conf, which a reload replaces. `log_in_file`: SIGHUP opens log_file again.
 */
typedef void (*started_fn)(const char *why_not, void *arg);
int supervise(struct host *h, struct conf **conf, bool log_in_file, started_fn started, void *arg);

#endif
