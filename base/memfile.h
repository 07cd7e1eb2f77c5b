/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A memory file that is written in place through a buf and then sealed: objects of many megabytes (CRLs) exist once in
 * memory, are signed by another process and copied to a file without a second copy in ours.
 */
#ifndef INKAN_BASE_MEMFILE_H
#define INKAN_BASE_MEMFILE_H

#include "base/bytes.h"

struct memfile {
    int fd;       /* -1: none */
    struct buf b; /* while open: append with buf_add, derw_*; never buf_clear it. Sealed: read only */
    size_t room;  /* octets mapped */
};

#define MEMFILE_INIT ((struct memfile){.fd = -1})

/* Address space of `max` octets; memory is used as it is written. */
MUST_CHECK enum err_code memfile_open(struct memfile *m, const char *name, size_t max, struct err *e);
/* Cut to what was written and sealed against every change; m->b stays readable. */
MUST_CHECK enum err_code memfile_seal(struct memfile *m, struct err *e);
void memfile_clear(struct memfile *m);

#endif
