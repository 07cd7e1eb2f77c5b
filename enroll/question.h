/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request for a decision asks, and how the answer is written (docs/access.md): one form for the service's front and for
 * inkan-gate. Pure functions; any thread.
 */
#ifndef INKAN_ENROLL_QUESTION_H
#define INKAN_ENROLL_QUESTION_H

#include "enroll/http.h"
#include "enroll/identity.h"

#define DECISION_PATH "/v1/decision"

/* A POST of application/json to the very path; every other request asks by its header fields, those below the path by nothing else. */
bool question_is_json(const struct http_request *q);
/* ?NAME=VALUE; names and numbers that need no escapes. false: it stands twice or does not fit; absent: "". */
bool query_value(struct bytes query, const char *name, char *out, size_t size);
/* `der` as for identity_from_text. E_INVALID: not a question. One that names nobody is IDENTITY_NONE. */
MUST_CHECK enum err_code question_read(const struct http_reader *r, struct question *q, struct sts_identity *who, struct buf *der,
                                       struct err *e);
/* Of /v1/decisions; `der`: NULL, or DECISIONS_MAX of them. */
MUST_CHECK enum err_code questions_read(const struct http_reader *r, struct question *q, struct sts_identity who[DECISIONS_MAX],
                                        struct buf *der, size_t *n, struct err *e);

/* One decision as a JSON object, without a newline. */
void decision_write_json(struct buf *b, const char *trace_id, const struct sts_decided *all, const struct sts_decision *d);
/* ... and as header lines, NUL at the end. */
void decision_write_fields(struct buf *b, const struct sts_decided *all, const struct sts_decision *d);
int decision_http_status(const struct sts_decision *d); /* 200, 401 or 403 */

#endif
