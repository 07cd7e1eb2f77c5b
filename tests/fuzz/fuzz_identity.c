/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a gateway names its client's certificate: the first octet chooses a certificate as text, Envoy's header, a fingerprint, issuer and
 * serial, one question in JSON, or many. What reads is whole; what does not read names nobody and says why.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "enroll/identity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool claim)
{
    if (!claim)
        abort();
}

static void judge(enum err_code code, const struct sts_identity *who, const struct err *e)
{
    static const struct sts_identity nobody;

    must(code == E_OK || (memcmp(who, &nobody, sizeof nobody) == 0 && e->msg[0] != '\0'));
    must((unsigned)who->kind < IDENTITY_KINDS && who->serial_len <= SERIAL_MAX_LEN);
    must(who->kind != IDENTITY_SERIAL || who->serial_len > 0);
}

static void texts_end(const struct question *q)
{
    must(memchr(q->audience, '\0', sizeof q->audience) && memchr(q->resource, '\0', sizeof q->resource) &&
         memchr(q->client, '\0', sizeof q->client) && memchr(q->connection, '\0', sizeof q->connection) &&
         memchr(q->action, '\0', sizeof q->action));
}

static void issuer_and_serial(struct bytes in)
{
    const uint8_t *comma = in.len ? memchr(in.p, ',', in.len) : NULL;
    struct sts_identity who;
    struct err e = {0};

    if (comma)
        judge(identity_from_serial(BYTES(in.p, (size_t)(comma - in.p)), BYTES(comma + 1, (size_t)(in.p + in.len - comma - 1)), &who, &e), &who,
              &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sts_identity many[DECISIONS_MAX];
    struct sts_identity who;
    struct question q;
    struct err e = {0};
    struct bytes in;
    size_t n = 0;

    if (size == 0)
        return 0;
    in = BYTES(data + 1, size - 1);
    switch (data[0] % 6) {
    case 0:
        judge(identity_from_text(in, &who, NULL, &e), &who, &e);
        break;
    case 1:
        judge(identity_from_xfcc(in, &who, NULL, &e), &who, &e);
        break;
    case 2:
        judge(identity_from_fingerprint(in, &who, &e), &who, &e);
        break;
    case 3:
        issuer_and_serial(in);
        break;
    case 4:
        if (question_from_json(in, &q, &who, NULL, &e) == E_OK)
            judge(E_OK, &who, &e);
        else
            must(e.msg[0] != '\0');
        texts_end(&q);
        break;
    default:
        if (units_from_json(in, many, NULL, &n, &e) == E_OK)
            must(n > 0 && n <= DECISIONS_MAX);
        else
            must(n == 0 && e.msg[0] != '\0');
        for (size_t i = 0; i < n; i++)
            judge(E_OK, &many[i], &e);
    }
    return 0;
}
