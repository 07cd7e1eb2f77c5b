/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real inkan-token and inkan-signer, with their system-call filter, on the token that tests/hsm/modules.sh made.
 * Prints "serve<TAB>works<TAB>..." or "serve<TAB>refused<TAB>MESSAGE".
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "hsm_bench.h"

#define SIGNATURES 50

static int refused(const char *what, const struct err *e)
{
    printf("serve\trefused\t%s: %s\n", what, e->msg);
    return 0;
}

static bool receive(int link, struct buf *packet, struct msg_reader *r)
{
    buf_reset(packet);
    return msg_recv(link, packet, NULL, 30000, NULL) == E_OK && msg_read_begin(buf_bytes(packet), r, NULL) == E_OK;
}

static bool name_key(int link, const struct made_key *k, struct err *e)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN);
    AUTO_MSG m = {BUF_INIT(0)};
    struct msg_reader r;

    msg_begin(&m, SIGNER_KEYS, 1);
    msg_put_u32(&m, 1);
    msg_put_str(&m, "k");
    msg_put_u8(&m, PURPOSE_CA);
    msg_put_bytes(&m, BYTES(k->cka_id, 16));
    msg_put_bytes(&m, BYTES(k->spki, k->spki_len));
    msg_put_bytes(&m, test_issuer_name());
    err_set(e, E_TOKEN, "no answer");
    return msg_send(link, &m, -1, e) == E_OK && receive(link, &packet, &r) && msg_get_u32(&r) == 1 &&
           msg_get_err(&r, e) == E_OK;
}

static bool sign(int link, const struct made_key *k, unsigned serial, struct err *e)
{
    AUTO_BUF packet = BUF_INIT(MSG_MAX_LEN), tbs = BUF_INIT(4096);
    AUTO_MSG m = {BUF_INIT(0)};
    struct msg_reader r;

    test_tbs_cert(&tbs, SIG_ECDSA_SHA256, test_issuer_name(), serial);
    msg_begin(&m, SIGNER_SIGN, serial);
    msg_put_str(&m, "k");
    msg_put_u8(&m, SIGN_CERT);
    msg_put_u32(&m, 5000);
    msg_put_u64(&m, serial);
    msg_put_bytes(&m, buf_bytes(&tbs));
    err_set(e, E_TOKEN, "no answer");
    if (msg_send(link, &m, -1, e) != E_OK || !receive(link, &packet, &r) || msg_get_err(&r, e) != E_OK)
        return false;
    if (msg_get_u8(&r) != SIG_ECDSA_SHA256 ||
        !test_verifies(BYTES(k->spki, k->spki_len), buf_bytes(&tbs), msg_get_bytes(&r, 256))) {
        err_set(e, E_CRYPTO, "a signature does not verify");
        return false;
    }
    return true;
}

int main(void)
{
    struct made_key k;
    struct err e = {0};
    struct bench b;
    struct child c;
    int code;

    signal(SIGPIPE, SIG_IGN);
    bench_make_foreign(&b);
    if (token_generate(&b, PURPOSE_CA, "served", "p256", &k, &e) != E_OK)
        return refused("generate", &e);
    c = child_start(&b, "inkan-signer");
    if (!child_wait_ready(&c, 20000)) {
        err_set(&e, E_TOKEN, "the signer is not ready");
        return refused("start", &e);
    }
    if (!name_key(c.link, &k, &e))
        return refused("key", &e);
    for (unsigned i = 1; i <= SIGNATURES; i++)
        if (!sign(c.link, &k, i, &e))
            return refused("sign", &e);
    code = child_stop(&c);
    if (code != 0) {
        err_set(&e, E_TOKEN, "exit code %d", code);
        return refused("stop", &e);
    }
    bench_remove(&b);
    printf("serve\tworks\tsigned and verified by the confined signer\n");
    return 0;
}
