/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inkan-admin: administration over the network. HTTPS with operators' certificates outside, a socket of messages with the core
 * inside; it carries requests that were signed elsewhere and what the core answers to them, and decides nothing.
 *
 *   inkan-admin.c  the process: links, listeners, its own certificate
 *   admin_http.c   one connection: TLS, a request, the answer as lines of JSON
 *
 *   GET  /v1/node    {"done": {"node": ...}}: what a signed request names
 *   POST /v1/admin   application/jose: the request; application/json: {"request": ..., "file": base64}
 *
 * The answer is application/x-ndjson: {"row"}, {"file"} and {"progress"} lines, then {"done"} or {"error"}. One thread, one loop.
 */
#ifndef INKAN_CLI_ADMIN_DOOR_H
#define INKAN_CLI_ADMIN_DOOR_H

#include <event2/event.h>
#include <event2/listener.h>
#include <sys/queue.h>

#include "base/chan.h"
#include "base/proc.h"
#include "enroll/tls.h"

#define DOOR_LISTENERS_MAX 16

struct door_conn;

struct door {
    struct proc *proc;
    struct event_base *base;
    struct chan *core; /* NULL: no link */
    struct tls *tls;
    struct event *tls_timer, *stop_timer;
    uint64_t tls_rid, next_rid;
    struct evconnlistener *listener[DOOR_LISTENERS_MAX];
    size_t listener_n;
    TAILQ_HEAD(door_conns, door_conn) conns; /* oldest first */
    size_t conn_n;
    bool stopping;
};

void door_accept(struct door *d, evutil_socket_t fd);
/* Idle connections end now, the others with their answers. */
void door_conns_stop(struct door *d);
void door_conns_free(struct door *d);
/* The last connection of a door that stops has ended. */
void door_empty(struct door *d);
/* A new conversation with the core: our end of it, -1 without. */
int door_open_core(struct door *d, struct err *e);

#endif
