/* SPDX-License-Identifier: Apache-2.0 */
/* Files: whole reads with a cap, atomic durable writes, mode checks. */
#ifndef INKAN_BASE_FSIO_H
#define INKAN_BASE_FSIO_H

#include <sys/types.h>

#include "base/bytes.h"

/* Reads a whole file of at most out->max octets. */
MUST_CHECK enum err_code file_read(const char *path, struct buf *out, struct err *e);
/* write to "<path>.tmp-<pid>", fsync, rename, fsync the directory. */
MUST_CHECK enum err_code file_write_atomic(const char *path, struct bytes content, mode_t mode, struct err *e);
MUST_CHECK enum err_code dir_make(const char *path, mode_t mode, struct err *e); /* exists is fine */
/* As file_read, for secrets: refuses a file that group or others can read or that another user owns (root may). */
MUST_CHECK enum err_code file_read_secret(const char *path, size_t max, struct secret *out, struct err *e);

/* One PEM block ("CERTIFICATE", "CERTIFICATE REQUEST", ...): writes, and reads the `index`-th of that label (E_NOT_FOUND). */
void pem_write(struct buf *out, const char *label, struct bytes der);
MUST_CHECK enum err_code pem_read(struct bytes text, const char *label, size_t index, struct buf *der, struct err *e);

#endif
