/* SPDX-License-Identifier: Apache-2.0 */
/* Administration over the network: inkan-admin's interface (docs/admin-api.yaml), from the side of a short-lived program. */
#ifndef INKAN_CLI_ADMIN_REMOTE_H
#define INKAN_CLI_ADMIN_REMOTE_H

#include "cli/admin_client.h"
#include "cli/identity.h"

struct admin_remote;

/* `url` is https://HOST:PORT, `ca` the PEM file the server must chain to. The strings and the identity must outlive it. */
MUST_CHECK enum err_code admin_remote_open(const char *url, const char *ca, const struct identity *as, struct admin_remote **out, struct err *e);
void admin_remote_free(struct admin_remote *r);
/* What a signed request names. */
MUST_CHECK enum err_code admin_remote_node(struct admin_remote *r, char *out, size_t size, struct err *e);
/* One signed request, as admin_call; `file` -1: none. The answer is taken as it comes, so a list of any length passes. */
MUST_CHECK enum err_code admin_remote_call(struct admin_remote *r, struct bytes jws, int file, long patience_s, admin_rows_fn rows,
                                           admin_progress_fn progress, void *arg, json_t **result, int *fd, struct err *e);

#endif
