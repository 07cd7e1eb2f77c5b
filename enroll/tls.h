/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS of the EST listeners (RFC 7030 3.3): 1.2 and 1.3, a client certificate requested and never required.
 *
 * The server's key is made in this process, P-256, and kept with its certificate in `dir` as NAME.key and NAME.pem
 * (mode 0600), so that a restart needs no new certificate. Each renewal brings a new key. A new certificate or a new set
 * of anchors makes a new SSL_CTX for new connections; running ones keep theirs.
 *
 * A client chain must end at an anchor, hold at most CLIENT_CHAIN_COUNT certificates and CLIENT_CHAIN_MAX_LEN octets,
 * and have no fault; exactly "expired" at the leaf passes and is reported. Renegotiation, tickets, session cache and
 * compression are off: each handshake is a full one, so tls-unique is the client's Finished (RFC 5929 3.1).
 *
 * One thread. Time is the process clock, through clock_now at each handshake.
 */
#ifndef INKAN_ENROLL_TLS_H
#define INKAN_ENROLL_TLS_H

#include <openssl/ssl.h>

#include "base/conf.h"
#include "base/msg.h"
#include "ca/service.h"

struct tls;

/* Loads or makes the key. A directory that cannot be written is logged, not an error. */
struct tls *tls_new(const char *dir, const char *name, struct err *e);
void tls_free(struct tls *t);

/* PEM of every CA a client certificate may chain to. E_INVALID: nothing changed. */
MUST_CHECK enum err_code tls_set_anchors(struct tls *t, struct bytes pem, struct err *e);
/* Leaf first. E_INVALID when it is not for our key; nothing changed. */
MUST_CHECK enum err_code tls_set_cert(struct tls *t, const struct bytes *certs, size_t n, int64_t renew_at,
                                      struct err *e);
/*
 * tls_set_cert with the core's answer to the CSR of request `rid`. !*mine: an answer to a request given up on (`rid` 0: to any); nothing
 * changed. `refused` says why there is no new certificate. E_INVALID: the message is broken.
 */
MUST_CHECK enum err_code tls_take_cert(struct tls *t, struct msg_reader *r, uint64_t rid, bool *mine, struct err *refused, struct err *e);
/* Both are there and connections can be served. */
bool tls_is_ready(const struct tls *t);
/*
 * Is a new certificate due: none, past renew_at, not chained to the present anchors, or not for all of `names`
 * ("dns:NAME", "ip:ADDRESS")?
 */
bool tls_cert_is_due(const struct tls *t, const struct conf_strings *names, time_t now);
int64_t tls_renew_at(const struct tls *t); /* 0: there is no certificate */
bool tls_cert_names(const struct tls *t, const struct conf_strings *names); /* it is for all of them */
/*
 * A CSR (RFC 2986): for the server key while it has no certificate, else for a new key, kept until its certificate comes.
 * A renewal is so never taken for a repeat of the request whose certificate it replaces.
 */
MUST_CHECK enum err_code tls_csr(struct tls *t, struct buf *der, struct err *e);

SSL *tls_accept_ssl(struct tls *t); /* NULL when not ready or out of memory */

/* What is known of the client after the handshake. */
struct tls_peer {
    enum svc_client_verdict verdict;
    size_t chain_n;
    struct bytes chain[CLIENT_CHAIN_COUNT]; /* DER, leaf first; owned */
    const char *version;                    /* "1.2", "1.3" */
};
/* false: the chain cannot be handed on (out of memory or too large); close the connection. */
bool tls_peer_read(SSL *ssl, struct tls_peer *out);
void tls_peer_clear(struct tls_peer *p);

/*
 * The channel binding this connection offers: tls-exporter on 1.3 (RFC 9266), tls-unique on 1.2 (RFC 5929) if the
 * handshake used the extended master secret, else none. Returns the octets written to `out`.
 */
size_t tls_binding(SSL *ssl, enum svc_binding *kind, uint8_t out[32]);
uint16_t tls_bits(const SSL *ssl); /* secret bits of the cipher in use */

#endif
