/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a signature with an OCSP key costs by the path the product takes: SoftHSM behind inkan-signer, asked through
 * hsm/signer.h for ResponseData with a nonce, the signature checked by the signer. A signer and a token of its own.
 *
 *   sign_path SECONDS DEPTH      DEPTH requests are always under way
 *
 * Prints one JSON object: signatures, CPU of signer and client together per signature.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/proc.h"
#include "ca/ocsp.h"
#include "hsm/keytype.h"
#include "hsm/signer.h"
#include "hsm_bench.h"

struct load {
    struct event_base *base;
    struct signer *signer;
    struct buf data;
    unsigned signatures, under_way;
    int64_t end_ms;
};

static void die(const char *what, const struct err *e)
{
    fprintf(stderr, "sign_path: %s: %s\n", what, e ? e->msg : "");
    child_kill_leftovers();
    exit(2);
}

static double cpu_s(clockid_t clock)
{
    struct timespec t = {0};

    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* One answer about one certificate, as the responder writes it. */
static void response_data(struct bytes spki, struct buf *out)
{
    static const uint8_t cert_id[70] = {0x30, 68}, nonce[18] = {0x04, 16};
    struct ocsp_single single = {.cert_id = BYTES(cert_id, sizeof cert_id), .this_update = 1700000000, .next_update = 1700086400};
    struct ocsp_response_inputs in = {
        .produced_at = 1700000000, .single = &single, .single_n = 1, .nonce = BYTES(nonce, sizeof nonce), .has_nonce = true};
    struct spki_view view;
    struct err e = {0};

    if (spki_view(spki, &view, &e) != E_OK)
        die("key", &e);
    sha1(view.bits, in.responder_key_hash);
    if (ocsp_data_write(&in, out, &e) != E_OK)
        die("ResponseData", &e);
}

static void ask(struct load *l);

static void on_signed(void *arg, enum err_code code, const struct err *e, enum sig_alg alg, struct bytes sig)
{
    struct load *l = arg;

    (void)alg;
    (void)sig;
    if (code != E_OK)
        die("signature", e);
    l->signatures++;
    l->under_way--;
    if (clock_mono_ms() < l->end_ms)
        ask(l);
    else if (l->under_way == 0)
        event_base_loopbreak(l->base);
}

static void ask(struct load *l)
{
    struct err e = {0};

    if (signer_sign(l->signer, "ocsp", SIGN_OCSP, buf_bytes(&l->data), 5000, 0, on_signed, l, &e) != E_OK)
        die("signer_sign", &e);
    l->under_way++;
}

static void on_keys(void *arg, const struct err *results, size_t n)
{
    struct load *l = arg;

    if (n != 1 || results[0].code != E_OK)
        die("key", n ? &results[0] : NULL);
    event_base_loopbreak(l->base);
}

static void on_gone(struct signer *s, void *arg)
{
    (void)s;
    (void)arg;
    die("the signer has gone", NULL);
}

static void run(struct load *l, pid_t signer, double seconds, unsigned depth)
{
    clockid_t clock;
    double client_s, signer_s;

    clock_getcpuclockid(signer, &clock);
    client_s = cpu_s(CLOCK_PROCESS_CPUTIME_ID);
    signer_s = cpu_s(clock);
    l->end_ms = clock_mono_ms() + (int64_t)(seconds * 1000);
    while (l->under_way < depth)
        ask(l);
    event_base_dispatch(l->base);
    client_s = cpu_s(CLOCK_PROCESS_CPUTIME_ID) - client_s;
    signer_s = cpu_s(clock) - signer_s;
    printf("{\"signatures\": %u, \"us\": %.2f, \"signer_us\": %.2f}\n", l->signatures, (client_s + signer_s) * 1e6 / l->signatures,
           signer_s * 1e6 / l->signatures);
}

int main(int argc, char **argv)
{
    struct load l = {.data = BUF_INIT(4096)};
    double seconds = argc == 3 ? atof(argv[1]) : 0;
    unsigned depth = argc == 3 ? (unsigned)atoi(argv[2]) : 0;
    struct made_key made;
    struct signer_key key;
    struct bench b;
    struct child c;
    struct err e = {0};

    if (seconds <= 0 || depth == 0) {
        fputs("usage: sign_path SECONDS DEPTH\n", stderr);
        return 2;
    }
    bench_make(&b, false);
    b.queue = depth + 1;
    bench_configure(&b);
    token_make(&b);
    if (token_generate(&b, PURPOSE_OCSP, "ocsp", "p256", &made, &e) != E_OK)
        die("key", &e);
    c = child_start(&b, "inkan-signer");
    if (!child_wait_ready(&c, 20000))
        die("the signer is not ready", NULL);
    key = (struct signer_key){.name = "ocsp", .purpose = PURPOSE_OCSP, .cka_id = BYTES(made.cka_id, sizeof made.cka_id),
                              .spki = BYTES(made.spki, made.spki_len)};
    response_data(key.spki, &l.data);
    l.base = event_base_new();
    l.signer = signer_new(l.base, child_link(&c, PROC_STATUS, 0, "status"), "t1", on_gone, NULL, &e);
    if (!l.signer || signer_keys(l.signer, &key, 1, on_keys, &l, &e) != E_OK)
        die("link", &e);
    signer_batch(l.signer); /* as inkan-status does */
    event_base_dispatch(l.base);
    run(&l, c.pid, seconds, depth);
    signer_free(l.signer);
    event_base_free(l.base);
    buf_clear(&l.data);
    child_stop(&c);
    bench_remove(&b);
    return 0;
}
