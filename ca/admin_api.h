/* SPDX-License-Identifier: Apache-2.0 */
/* The description of administration over the network: OpenAPI 3.1 in YAML, docs/admin-api.yaml. */
#ifndef INKAN_CA_ADMIN_API_H
#define INKAN_CA_ADMIN_API_H

#include "base/bytes.h"

MUST_CHECK enum err_code admin_api_write(struct buf *out, struct err *e);

#endif
