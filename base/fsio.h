/* SPDX-License-Identifier: Apache-2.0 */
/* Files: whole reads with a cap, atomic durable writes, mode checks. */
#ifndef INKAN_BASE_FSIO_H
#define INKAN_BASE_FSIO_H

#include <limits.h>
#include <sys/types.h>

#include "base/bytes.h"

/* Reads a whole file of at most out->max octets. */
MUST_CHECK enum err_code file_read(const char *path, struct buf *out, struct err *e);
/* write to "<path>.tmp-<pid>", fsync, rename, fsync the directory. */
MUST_CHECK enum err_code file_write_atomic(const char *path, struct bytes content, mode_t mode, struct err *e);
/*
 * The same in pieces, for what is too large to hold: written to the temporary name, looked at there, then published (fsync,
 * rename, fsync of the directory) or dropped. `fd` can be read as well.
 */
struct file_draft {
    int fd; /* -1: none */
    char path[PATH_MAX], tmp[PATH_MAX];
};
#define FILE_DRAFT_INIT ((struct file_draft){.fd = -1})
MUST_CHECK enum err_code file_draft_open(struct file_draft *d, const char *path, struct err *e);
MUST_CHECK enum err_code file_draft_add(struct file_draft *d, struct bytes more, struct err *e);
MUST_CHECK enum err_code file_draft_publish(struct file_draft *d, mode_t mode, struct err *e); /* the draft is closed */
void file_draft_drop(struct file_draft *d); /* after publishing: nothing */
/* Exists is fine. What is in a directory is as durable as its own name: a new one's parent is fsynced. */
MUST_CHECK enum err_code dir_make(const char *path, mode_t mode, struct err *e);
/* fsync of the directory that `path` is in. */
MUST_CHECK enum err_code file_sync_name(const char *path, struct err *e);
/* As file_read, for secrets: refuses a file that group or others can read or that another user owns (root may). */
MUST_CHECK enum err_code file_read_secret(const char *path, size_t max, struct secret *out, struct err *e);

/* One PEM block ("CERTIFICATE", "CERTIFICATE REQUEST", ...): writes, and reads the `index`-th of that label (E_NOT_FOUND). */
void pem_write(struct buf *out, const char *label, struct bytes der);
MUST_CHECK enum err_code pem_read(struct bytes text, const char *label, size_t index, struct buf *der, struct err *e);

#endif
