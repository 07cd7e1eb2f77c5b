/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate.yaml: what inkan-gate follows, serves and drives (docs/gate.md has every key). Read whole before anything starts; unknown
 * keys, keys that stand twice and values of the wrong form are mistakes with their line.
 */
#ifndef INKAN_ENROLL_GATE_CONF_H
#define INKAN_ENROLL_GATE_CONF_H

#include "base/conf.h"

/* crls: a list of CRLs in PEM or DER, fetched, judged and written for servers on this host. */
struct gate_crl {
    char *name;
    char *url;       /* http or https; a bundle or one list */
    char *ca;        /* PEM: every CA whose list stands in it */
    char *file;      /* where servers read it */
    int64_t poll_s;  /* how often without news from the feed */
};

enum driver_kind { DRIVER_RELOAD, DRIVER_HAPROXY, DRIVER_MOSQUITTO };

/* drivers: what happens to a service of this host when something changed. */
struct gate_driver {
    char *name;
    enum driver_kind kind;
    char *crl;       /* name of the list it reads; "" = none */
    char *audience;  /* whose rule says which units are refused */
    struct conf_strings issuers; /* CAs whose certificates the server takes; empty: all */
    /* reload: a signal to the process of a pid file, or a command */
    char *pid_file, *process, *signal_name;
    int signal;
    struct conf_strings command;
    /* haproxy: its administration socket, the list of refused serials it reads at its start, and the stick table that says who is
       connected; "" = open connections are not shut */
    char *socket, *acl, *table;
    /* mosquitto: a listener of its own on a Unix socket, over which live clients are put out */
    char *kick;
};

struct gate_conf {
    char *path, *state, *user;
    struct conf_strings listen;      /* "unix:PATH" or "127.0.0.1:PORT" */
    char *socket_group;              /* of unix: sockets; "" = the user's own */
    struct conf_strings urls;        /* service.urls: tried in turn; none = no feed */
    char *ca, *cert, *key;           /* service.*: PEM files */
    struct conf_audience *audiences;
    size_t audiences_n;              /* "default" is among them */
    uint32_t policy_version;         /* of them */
    struct gate_crl *crls;
    size_t crls_n;
    struct gate_driver *drivers;
    size_t drivers_n;
};

/* E_INVALID: the first mistake, with file and line. */
MUST_CHECK enum err_code gate_conf_load(const char *path, struct gate_conf **out, struct err *e);
void gate_conf_free(struct gate_conf *c);
const struct conf_audience *gate_conf_audience(const struct gate_conf *c, const char *name); /* NULL: not configured */
const struct gate_crl *gate_conf_crl(const struct gate_conf *c, const char *name);

#endif
