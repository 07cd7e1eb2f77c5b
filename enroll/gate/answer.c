/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/auto.h"
#include "enroll/gate/gate.h"
#include "enroll/http.h"

size_t answer_body_max(const struct http_reader *r, int *status)
{
    (void)r;
    (void)status;
    return 0;
}

void answer_make(struct gate *g, const struct http_reader *r, struct gate_answer *out)
{
    if (bytes_equal(r->req.path, bytes_str("/v1/gate/status"))) {
        out->status = 200;
        out->content_type = "application/json";
        gate_status_write(g, &out->body);
        return;
    }
    out->status = 503;
}
