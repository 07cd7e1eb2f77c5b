/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages between front, core and status. The first octet chooses the decoder, the rest is the body. What decodes
 * must encode to the same octets again: each message has one form.
 */
#include <stdint.h>
#include <stdlib.h>

#include "ca/follow.h"
#include "ca/service.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CODEC(name, type)                                                 \
    static bool name(struct msg_reader *r, struct msg *again)             \
    {                                                                     \
        static struct type v;                                             \
        struct err e;                                                     \
                                                                          \
        if (type##_decode(r, &v, &e) != E_OK)                             \
            return false;                                                 \
        type##_encode(again, &v);                                         \
        return true;                                                      \
    }

CODEC(enroll, svc_enroll)
CODEC(enroll_result, svc_enroll_result)
CODEC(label, svc_label)
CODEC(file, svc_file)
CODEC(purge, svc_purge)
CODEC(ocsp_result, sts_ocsp_result)
CODEC(issuer, follow_issuer)
CODEC(factory, svc_factory)
CODEC(factory_result, svc_factory_result)

static bool row(struct msg_reader *r, struct msg *again)
{
    struct status_row v;
    struct err e;

    status_row_get(r, &v);
    if (msg_read_end(r, &e) != E_OK)
        return false;
    status_row_encode(again, &v);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool (*const codecs[])(struct msg_reader *, struct msg *) = {
        enroll, enroll_result, label, file, purge, ocsp_result, issuer, row, factory, factory_result,
    };
    struct bytes body, packet;
    struct msg m, again;
    struct msg_reader r;
    struct err e;

    if (size == 0 || size > MSG_MAX_LEN - 16)
        return 0;
    body = BYTES(data + 1, size - 1);
    msg_begin(&m, 1, 2);
    buf_add_bytes(&m.b, body);
    msg_begin(&again, 1, 2);
    if (!msg_finish(&m) || msg_read_begin(buf_bytes(&m.b), &r, &e) != E_OK)
        abort();
    if (codecs[data[0] % (sizeof codecs / sizeof codecs[0])](&r, &again)) {
        packet = buf_bytes(&m.b);
        if (!msg_finish(&again) || !bytes_equal(buf_bytes(&again.b), packet))
            abort();
    }
    msg_clear(&m);
    msg_clear(&again);
    return 0;
}
