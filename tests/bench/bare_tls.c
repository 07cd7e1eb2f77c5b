/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bare_tls PORT CHAIN.pem KEY.pem CA.pem: the least a server does for a mutual TLS 1.3 handshake with OpenSSL's defaults.
 *
 * One thread, epoll, our own chain set explicitly and not checked again (SSL_MODE_NO_AUTO_CHAIN), no tickets, the client's
 * chain verified by OpenSSL against CA. Every head of a request gets the same short answer. Ends with standard input.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#define IN_MAX 4096
#define EVENTS 64

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

struct conn {
    int fd;
    SSL *ssl;
    size_t len;
    char in[IN_MAX + 1];
};

static void die(const char *what)
{
    perror(what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static SSL_CTX *context(const char *chain, const char *key, const char *ca)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

    if (!ctx || SSL_CTX_use_certificate_chain_file(ctx, chain) != 1 || SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_load_verify_locations(ctx, ca, NULL) != 1 || !SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) ||
        !SSL_CTX_set1_groups_list(ctx, "X25519:P-256") || !SSL_CTX_set_num_tickets(ctx, 0))
        die("SSL_CTX");
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return ctx;
}

static int listen_on(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 1024) != 0)
        die("listen");
    return fd;
}

static void accept_all(int ep, int listener, SSL_CTX *ctx)
{
    int fd, on = 1;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct conn *c = malloc(sizeof *c);
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};

        c->fd = fd;
        c->len = 0;
        c->ssl = SSL_new(ctx);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (!c->ssl || !SSL_set_fd(c->ssl, fd) || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) != 0)
            die("accept");
        SSL_set_accept_state(c->ssl);
    }
}

/* false: the connection is over. */
static bool serve(struct conn *c)
{
    for (;;) {
        int n = SSL_read(c->ssl, c->in + c->len, (int)(IN_MAX - c->len));

        if (n <= 0)
            return SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ;
        c->len += (size_t)n;
        c->in[c->len] = '\0';
        if (strstr(c->in, "\r\n\r\n")) {
            c->len = 0;
            if (SSL_write(c->ssl, answer, sizeof answer - 1) <= 0)
                return false;
        } else if (c->len == IN_MAX) {
            return false;
        }
    }
}

static void close_conn(struct conn *c)
{
    SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
    ERR_clear_error();
    close(c->fd);
    free(c);
}

int main(int argc, char **argv)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL}, got[EVENTS];
    static struct conn standard_input;
    int ep = epoll_create1(0), listener;
    SSL_CTX *ctx;

    if (argc != 5) {
        fputs("usage: bare_tls PORT CHAIN.pem KEY.pem CA.pem\n", stderr);
        return 2;
    }
    ctx = context(argv[2], argv[3], argv[4]);
    listener = listen_on(atoi(argv[1]));
    if (epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev) != 0)
        die("epoll_ctl");
    ev.data.ptr = &standard_input;
    if (epoll_ctl(ep, EPOLL_CTL_ADD, STDIN_FILENO, &ev) != 0)
        die("epoll_ctl");
    puts("ready");
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(ep, got, EVENTS, -1);

        for (int i = 0; i < n; i++) {
            struct conn *c = got[i].data.ptr;

            if (c == &standard_input)
                return 0;
            if (!c)
                accept_all(ep, listener, ctx);
            else if (!serve(c))
                close_conn(c);
        }
    }
}
