/* SPDX-License-Identifier: Apache-2.0 */
/* The administration socket of the core, from the side of a short-lived program (ca/admin.h). */
#ifndef INKAN_CLI_ADMIN_CLIENT_H
#define INKAN_CLI_ADMIN_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

struct admin_client;

/* Called for each page of rows (an array), borrowed. false stops the request: the connection is of no use after it. */
typedef bool (*admin_rows_fn)(void *arg, const json_t *rows);
typedef void (*admin_progress_fn)(void *arg, uint64_t done, uint64_t total, const char *what);

/* E_IO names the socket and what to do when nobody listens there. */
MUST_CHECK enum err_code admin_connect(const char *socket_path, struct admin_client **out, struct err *e);
void admin_close(struct admin_client *c);
/* How long a silence of the service may last, -1 (at first) for ever. */
void admin_set_patience(struct admin_client *c, int seconds);

/* The next request carries this descriptor, which is lent until then. */
void admin_attach(struct admin_client *c, int fd);

/*
 * One request. `args` is borrowed (NULL = {}). `result` is a new reference (never NULL on success). `fd` may be NULL; else
 * it is set to a passed descriptor or -1. The core's refusal comes back as its own code and message.
 */
MUST_CHECK enum err_code admin_call(struct admin_client *c, const char *op, const json_t *args, admin_rows_fn rows,
                                    admin_progress_fn progress, void *arg, json_t **result, int *fd, struct err *e);
/* The same with a request that an operator signed; `op` for messages alone. */
MUST_CHECK enum err_code admin_call_signed(struct admin_client *c, const char *op, struct bytes jws, admin_rows_fn rows,
                                           admin_progress_fn progress, void *arg, json_t **result, int *fd, struct err *e);
/* What a signed request names; `out` holds `size` octets. */
MUST_CHECK enum err_code admin_node(struct admin_client *c, char *out, size_t size, struct err *e);

#endif
