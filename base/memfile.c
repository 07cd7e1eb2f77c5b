/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memfile.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static void unmap(struct memfile *m)
{
    if (m->b.p)
        munmap(m->b.p, m->room);
    m->b = BUF_INIT(0);
    m->room = 0;
}

static enum err_code map(struct memfile *m, size_t len, int prot, int sharing, struct err *e)
{
    void *p = mmap(NULL, len, prot, sharing, m->fd, 0);

    if (p == MAP_FAILED)
        return err_errno(e, E_NOMEM, "mmap of a memory file of %zu octets", len);
    m->b = (struct buf){.p = p, .cap = len, .max = len};
    m->room = len;
    return E_OK;
}

enum err_code memfile_open(struct memfile *m, const char *name, size_t max, struct err *e)
{
    enum err_code code;

    *m = MEMFILE_INIT;
    m->fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (m->fd < 0)
        return err_errno(e, E_IO, "memfd_create");
    /* A hole: pages come as they are written. */
    if (ftruncate(m->fd, (off_t)max) != 0)
        code = err_errno(e, E_IO, "memory file of %zu octets", max);
    else
        code = map(m, max, PROT_READ | PROT_WRITE, MAP_SHARED, e);
    if (code != E_OK)
        memfile_clear(m);
    return code;
}

enum err_code memfile_seal(struct memfile *m, struct err *e)
{
    size_t len = m->b.len;

    if (!buf_ok(&m->b) || len == 0)
        return err_set(e, E_INTERNAL, "a memory file to be sealed holds nothing, or not all");
    unmap(m); /* a writable mapping would stand against the seal */
    if (ftruncate(m->fd, (off_t)len) != 0 ||
        fcntl(m->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
        return err_errno(e, E_IO, "seal a memory file");
    if (map(m, len, PROT_READ, MAP_PRIVATE, e) != E_OK) /* shared mappings of a sealed file are refused by older kernels */
        return e->code;
    m->b.len = len;
    return E_OK;
}

void memfile_clear(struct memfile *m)
{
    unmap(m);
    if (m->fd >= 0)
        close(m->fd);
    m->fd = -1;
}
