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
CODEC(decide, sts_decide)
CODEC(decided, sts_decided)
CODEC(feed_key, follow_feed_key)

static bool caller(struct msg_reader *r, struct msg *again)
{
    struct sts_caller v;
    struct err e;

    sts_caller_get(r, &v);
    if (msg_read_end(r, &e) != E_OK)
        return false;
    sts_caller_put(again, &v);
    return true;
}

static bool device(struct msg_reader *r, struct msg *again)
{
    char room[DEVICE_ROOM];
    struct access_device v;
    struct err e;

    follow_device_get(r, &v, room);
    if (msg_read_end(r, &e) != E_OK)
        return false;
    follow_device_put(again, &v);
    return true;
}

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
        enroll, enroll_result, label, file, purge, ocsp_result, issuer, row, factory, factory_result, decide, decided,
        feed_key, caller, device,
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
