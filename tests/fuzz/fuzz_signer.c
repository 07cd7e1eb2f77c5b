/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answers of a signer, read by its client in core and status. The first octet chooses the call that waits (none, a signature, a
 * table of keys, health), the rest is the answer: its type, its request number and its body. Each call is answered exactly once,
 * with a signature or with a reason.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "hsm/signer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned answers;

static void must(bool claim)
{
    if (!claim)
        abort();
}

static void on_signed(void *arg, enum err_code code, const struct err *e, enum sig_alg alg, struct bytes sig)
{
    (void)arg;
    must(code == E_OK ? alg != SIG_NONE && sig.len > 0 && sig.len <= SIGNATURE_MAX_LEN : alg == SIG_NONE && e->code == code);
    answers++;
}

static void on_keys(void *arg, const struct err *results, size_t n)
{
    (void)arg;
    must(n == 2);
    for (size_t i = 0; i < n; i++)
        must(memchr(results[i].msg, '\0', sizeof results[i].msg) != NULL);
    answers++;
}

static void on_health(void *arg, const struct signer_health *h)
{
    (void)arg;
    must(memchr(h->message, '\0', sizeof h->message) != NULL && memchr(h->state, '\0', sizeof h->state) != NULL);
    answers++;
}

static void on_gone(struct signer *s, void *arg)
{
    (void)s;
    (void)arg;
}

static unsigned ask(struct signer *s, unsigned what)
{
    static const uint8_t octets[16] = {0x30, 14};
    const struct bytes b = {octets, sizeof octets};
    const struct signer_key key = {"ca/a/1", PURPOSE_CA, b, b, b}, keys[2] = {key, key};
    struct err e;

    switch (what) {
    case 1:
        return signer_sign(s, "ca/a/1", SIGN_CERT, b, 60000, 0, on_signed, NULL, &e) == E_OK;
    case 2:
        return signer_keys(s, keys, 2, on_keys, NULL, &e) == E_OK;
    case 3:
        return signer_health(s, on_health, NULL, &e) == E_OK;
    default:
        return 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct event_base *base;
    struct signer *s;
    struct msg m;
    struct err e;
    unsigned asked;
    int pair[2];

    if (size < 3 || size > 4096)
        return 0;
    base = event_base_new();
    must(base && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    s = signer_new(base, pair[0], "t", on_gone, NULL, &e);
    must(s != NULL);
    answers = 0;
    asked = ask(s, data[0] & 3);
    event_base_loop(base, EVLOOP_NONBLOCK);
    msg_begin(&m, (uint16_t)(SIGNER_KEYS + data[1] % 8), data[2]);
    buf_add(&m.b, data + 3, size - 3);
    must(msg_finish(&m));
    must(send(pair[1], m.b.p, m.b.len, 0) == (ssize_t)m.b.len);
    msg_clear(&m);
    event_base_loop(base, EVLOOP_NONBLOCK);
    event_base_loop(base, EVLOOP_NONBLOCK);
    must(answers <= asked);
    signer_free(s);
    must(answers == asked);
    close(pair[1]);
    event_base_free(base);
    return 0;
}
