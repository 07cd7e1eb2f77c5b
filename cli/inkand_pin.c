/* SPDX-License-Identifier: Apache-2.0 */
/* PINs that come as credential, by descriptor or by prompt: taken once at start, kept in sealed memory files, handed to signers. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fsio.h"
#include "cli/inkand_int.h"

#define PIN_LINE_MAX 256

/* One line from `fd`; the newline is cut. */
static enum err_code read_line(int fd, struct secret *out, struct err *e)
{
    char line[PIN_LINE_MAX];
    size_t len = 0;
    ssize_t n = 0;
    bool kept;

    while (len < sizeof(line) && (n = read(fd, line + len, sizeof(line) - len)) > 0) {
        len += (size_t)n;
        if (memchr(line, '\n', len))
            break;
    }
    if (n >= 0 && len < sizeof(line)) {
        const char *end = memchr(line, '\n', len);

        len = end ? (size_t)(end - line) : len;
        kept = len > 0 && secret_set(out, line, len);
        explicit_bzero(line, sizeof(line));
        return kept ? E_OK : err_set(e, E_INVALID, "an empty line");
    }
    explicit_bzero(line, sizeof(line));
    return n < 0 ? err_errno(e, E_IO, "read") : err_set(e, E_INVALID, "longer than %d octets", PIN_LINE_MAX - 1);
}

static enum err_code ask(const char *token, struct secret *out, struct err *e)
{
    AUTO_FD int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    struct termios shown, hidden;
    enum err_code code;

    if (tty < 0 || tcgetattr(tty, &shown) != 0)
        return err_set(e, E_INVALID, "there is no terminal to ask on");
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    if (tcsetattr(tty, TCSAFLUSH, &hidden) != 0)
        return err_errno(e, E_IO, "terminal");
    dprintf(tty, "PIN of token \"%s\": ", token);
    code = read_line(tty, out, e);
    tcsetattr(tty, TCSAFLUSH, &shown);
    dprintf(tty, "\n");
    return code;
}

static enum err_code take_descriptor(const char *number, struct secret *out, struct err *e)
{
    AUTO_FD int fd = (int)strtol(number, NULL, 10); /* conf checked it */

    if (fcntl(fd, F_GETFD) < 0)
        return err_set(e, E_INVALID, "descriptor %s is not open", number);
    return read_line(fd, out, e);
}

/* systemd lets the user of the unit read it, who is root here: signers could not. */
static enum err_code take_credential(const char *name, struct secret *out, struct err *e)
{
    const char *dir = getenv("CREDENTIALS_DIRECTORY");
    char path[PATH_MAX];

    if (!dir)
        return err_set(e, E_NOT_FOUND, "there are no credentials: LoadCredential=%s:FILE in the unit", name);
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) >= sizeof(path))
        return err_set(e, E_INVALID, "%s: path is too long", dir);
    return file_read_secret(path, PIN_LINE_MAX, out, e);
}

/* Sealed: a signer reads it for each login, nobody changes it. */
static int keep(const struct secret *pin, struct err *e)
{
    AUTO_FD int fd = memfd_create("inkan-pin", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || write(fd, pin->p, pin->len) != (ssize_t)pin->len ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
        err_errno(e, E_IO, "memory file");
        return -1;
    }
    return take_fd(&fd);
}

enum err_code host_collect_pins(struct host *h, const struct conf *c, struct err *e)
{
    for (size_t i = 0; i < c->tokens_n; i++) {
        const struct conf_token *t = &c->tokens[i];
        struct secret pin = {NULL, 0};
        enum err_code code;

        if (strcmp(t->pin, "prompt") == 0)
            code = ask(t->name, &pin, e);
        else if (strncmp(t->pin, "fd:", 3) == 0)
            code = take_descriptor(t->pin + 3, &pin, e);
        else if (strncmp(t->pin, "credential:", 11) == 0)
            code = take_credential(t->pin + 11, &pin, e);
        else
            continue;
        if (code == E_OK && h->pins_n == SOCKETS_MAX)
            code = err_set(e, E_INVALID, "more than %d PINs that are not in files", SOCKETS_MAX);
        if (code == E_OK && (h->pins[h->pins_n].fd = keep(&pin, e)) < 0)
            code = E_IO;
        secret_clear(&pin);
        if (code != E_OK)
            return err_wrap(e, "PIN of token \"%s\"", t->name);
        snprintf(h->pins[h->pins_n++].token, sizeof(h->pins[0].token), "%s", t->name);
    }
    return E_OK;
}

int host_pin_of(const struct host *h, const struct conf_token *token)
{
    for (size_t i = 0; token && i < h->pins_n; i++)
        if (strcmp(h->pins[i].token, token->name) == 0)
            return h->pins[i].fd;
    return -1;
}
