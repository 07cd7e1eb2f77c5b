/* SPDX-License-Identifier: Apache-2.0 */
#include "ca/replica_stage.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_ROWS  146 /* 8 KiB of narrow ones */
#define NARROW_SIZE 56  /* octets of a row up to what is of wide ones alone */

/* The blocks of a part, in the order they were written. */
struct part {
    uint8_t *open; /* not written yet */
    size_t open_n;
    uint32_t *block;
    size_t block_n;
};

struct stage {
    int fd;
    size_t row;      /* octets of one */
    uint32_t blocks; /* in the file */
    struct part part[STAGE_PARTS];
};

_Static_assert(sizeof(struct staged_row) == 104 && offsetof(struct staged_row, kind) < NARROW_SIZE, "the sizes the header speaks of");

enum err_code stage_new(const char *dir, bool wide, struct stage **out, struct err *e)
{
    struct stage *s = calloc(1, sizeof(*s));
    char path[512];

    *out = NULL;
    if (!s)
        return err_set(e, E_NOMEM, "rows on their way");
    s->row = wide ? sizeof(struct staged_row) : NARROW_SIZE;
    snprintf(path, sizeof(path), "%s/replica.rows", dir);
    unlink(path); /* of a process that ended between the two calls below */
    s->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->fd < 0 || unlink(path) != 0) {
        err_errno(e, E_IO, "%s", path);
        stage_free(s);
        return e->code;
    }
    *out = s;
    return E_OK;
}

void stage_free(struct stage *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < STAGE_PARTS; i++) {
        free(s->part[i].open);
        free(s->part[i].block);
    }
    if (s->fd >= 0)
        close(s->fd);
    free(s);
}

unsigned stage_part(const struct staged_row *row)
{
    unsigned first = row->serial_len == 0 ? 0 : row->serial[0], second = row->serial_len < 2 ? 0 : row->serial[1];

    return (first << 8 | second) * STAGE_PARTS >> 16;
}

static enum err_code write_block(struct stage *s, struct part *p, struct err *e)
{
    size_t size = BLOCK_ROWS * s->row;
    uint32_t *more = realloc(p->block, (p->block_n + 1) * sizeof(*more));

    if (!more)
        return err_set(e, E_NOMEM, "rows on their way");
    p->block = more;
    if (pwrite(s->fd, p->open, size, (off_t)(s->blocks * size)) != (ssize_t)size)
        return err_errno(e, E_IO, "rows on their way");
    p->block[p->block_n++] = s->blocks++;
    p->open_n = 0;
    return E_OK;
}

enum err_code stage_add(struct stage *s, const struct staged_row *row, struct err *e)
{
    struct part *p = &s->part[stage_part(row)];

    if (!p->open && !(p->open = malloc(BLOCK_ROWS * s->row)))
        return err_set(e, E_NOMEM, "rows on their way");
    memcpy(p->open + p->open_n++ * s->row, row, s->row);
    return p->open_n == BLOCK_ROWS ? write_block(s, p, e) : E_OK;
}

static int in_order(const void *a, const void *b)
{
    const struct staged_row *x = a, *y = b;
    size_t shorter = x->serial_len < y->serial_len ? x->serial_len : y->serial_len;
    int differ;

    if (x->issuer != y->issuer)
        return x->issuer < y->issuer ? -1 : 1;
    differ = memcmp(x->serial, y->serial, shorter);
    if (differ == 0)
        differ = (int)x->serial_len - (int)y->serial_len;
    return differ ? differ : x->seq < y->seq ? -1 : x->seq > y->seq;
}

static void spread(struct staged_row *out, const uint8_t *from, size_t n, size_t row)
{
    for (size_t i = 0; i < n; i++)
        memcpy(&out[i], from + i * row, row);
}

enum err_code stage_take(struct stage *s, unsigned part, struct staged_row **rows, size_t *n, struct err *e)
{
    struct part *p = &s->part[part];
    size_t size = BLOCK_ROWS * s->row, count = p->block_n * BLOCK_ROWS + p->open_n;
    struct staged_row *all = calloc(count ? count : 1, sizeof(*all));
    uint8_t *block = malloc(size);

    *rows = NULL;
    *n = 0;
    if (!all || !block) {
        err_set(e, E_NOMEM, "rows on their way");
        goto fail;
    }
    for (size_t i = 0; i < p->block_n; i++) {
        if (pread(s->fd, block, size, (off_t)(p->block[i] * size)) != (ssize_t)size) {
            err_errno(e, E_IO, "rows on their way");
            goto fail;
        }
        spread(all + i * BLOCK_ROWS, block, BLOCK_ROWS, s->row);
    }
    if (p->open_n)
        spread(all + p->block_n * BLOCK_ROWS, p->open, p->open_n, s->row);
    free(block);
    qsort(all, count, sizeof(*all), in_order);
    free(p->open);
    free(p->block);
    *p = (struct part){0};
    *n = count;
    *rows = all;
    return E_OK;

fail:
    free(all);
    free(block);
    return e->code;
}
