/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A place to test the token programs in: a temporary directory with a SoftHSM store, PIN files and a configuration; the
 * test plays the supervisor and the core.
 */
#ifndef TESTS_HSM_BENCH_H
#define TESTS_HSM_BENCH_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/bytes.h"
#include "base/conf.h"
#include "base/msg.h"
#include "hsm/signer.h"

struct bench {
    char dir[64];
    char config[96], rules[96], calls[96], signed_data[96], pin_file[96], log[96];
    char module[256], label[64], init_args[512]; /* what the configuration names */
    unsigned workers, queue, deadline_ms;
};

/* `shim`: the module is the fault shim in front of SoftHSM. Sets the environment the module needs. */
void bench_make(struct bench *b, bool shim);
void bench_make_foreign(struct bench *b); /* the token that tests/hsm/modules.sh made, from P11_* */
void bench_configure(struct bench *b); /* writes the configuration again after a change of the fields */
void bench_remove(struct bench *b);
void bench_rules(const struct bench *b, const char *rules); /* NULL: none */
unsigned bench_calls(const struct bench *b, const char *function);
void bench_forget_calls(const struct bench *b);
void bench_pin(const struct bench *b, const char *pin);
bool bench_logged(const struct bench *b, const char *text);
struct conf *bench_conf(const struct bench *b);

/* A started program: control link and link to "core". */
struct child {
    pid_t pid;
    int control, link;
};
/* `program`: "inkan-signer" or "inkan-token"; its name is signer-t1 or token-t1. */
struct child child_start(const struct bench *b, const char *program);
int child_link(struct child *c, uint8_t peer, uint32_t index, const char *name); /* another peer; returns our end */
bool child_wait_ready(struct child *c, int timeout_ms);
bool child_wait_state(struct child *c, const char *prefix, int timeout_ms);
int child_stop(struct child *c);                     /* CTL_STOP; exit status as the supervisor sees it */
int child_wait(struct child *c, int timeout_ms);     /* exit code, 1000 + signal, or -1 */
void child_kill(struct child *c);
void child_kill_leftovers(void); /* what a failed test left running */

/* One request to inkan-token and its answer; the reader points behind the error fields into `packet`. */
enum err_code token_ask(struct child *c, struct msg *m, struct buf *packet, struct msg_reader *r, struct err *e);
void token_make(const struct bench *b); /* initialises the token with PINs from the files */

struct made_key {
    uint8_t cka_id[16];
    uint8_t spki[1024];
    size_t spki_len;
    char attributes[512];
};
enum err_code token_generate(const struct bench *b, enum key_purpose purpose, const char *name, const char *alg,
                             struct made_key *out, struct err *e);

/* Objects a signer may be asked to sign. */
struct bytes test_issuer_name(void);
void test_tbs_cert(struct buf *out, enum sig_alg alg, struct bytes issuer, unsigned serial);
void test_tbs_crl(struct buf *out, enum sig_alg alg, struct bytes issuer, size_t entries);
void test_ocsp_data(struct buf *out, struct bytes spki);
void test_audit_head(struct buf *out, const char *prefix);
/* A record's signing input under `typ`; `kid` is the SHA-1 of the key of `spki`. */
void test_record(struct buf *out, struct bytes spki, enum sig_alg alg, const char *typ);
/* The same with the kid in base64url, as Microchip's manifests have it. */
void test_manifest(struct buf *out, struct bytes spki, const char *typ, const char *payload);
/* Signed attributes of a key package: contentType `type`, a digest of `digest_len` octets and, with `time`, signingTime. */
void test_key_package(struct buf *out, struct bytes type, size_t digest_len, bool time);
bool test_verifies(struct bytes spki, struct bytes tbs, struct bytes sig);

#endif
