/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merges the write-ahead log of the replica into its file and empties it: a thread with a connection of its own, which alone waits for the
 * disk. The connection that writes never flushes anything; that a power cut finds either what was merged or the whole log is this one's
 * matter, and so nobody may write while it is at work. Reading goes on.
 *
 * One thread calls these.
 */
#ifndef INKAN_CA_REPLICA_MERGE_H
#define INKAN_CA_REPLICA_MERGE_H

#include <stdbool.h>

#include "base/err.h"

#define REPLICA_VFS "unix-excl" /* of every connection: one process, any number of its threads, no shared-memory file */

struct merge;

/* `path` names a file in WAL mode. The thread is started by the first merge. */
MUST_CHECK enum err_code merge_new(const char *path, struct merge **out, struct err *e);
/* Waits for a merge under way; afterwards only merge_free. */
void merge_end(struct merge *m);
/* When no connection to the file is left: a descriptor that is closed takes the locks of the whole process with it. */
void merge_free(struct merge *m);
/* Nothing when it is at work. Where the disk is full it is tried again with the next call... */
void merge_begin(struct merge *m);
bool merge_is_busy(const struct merge *m);
/* Before anything is written. Whoever calls it may read nothing: the merge waits for that. */
void merge_wait(struct merge *m);
/* ... but for this: the disk did not say what became of the log. Nothing may be written any more. NULL: none. */
const char *merge_failure(const struct merge *m);

#endif
