/* SPDX-License-Identifier: Apache-2.0 */
/* Putting a backup in the place of a ledger. Offline: the service must be stopped, the ledger's lock file proves it. */
#ifndef INKAN_CA_STORE_RESTORE_H
#define INKAN_CA_STORE_RESTORE_H

#include "ca/store/store.h"

struct restore_info {
    char ledger_id[ID_MAX_LEN + 1];
    uint64_t audit_seq, status_seq, certs;
    int64_t time; /* newest time the backup knows */
};

/* store_check of a backup file and what it holds. E_CONFLICT: damaged, of another schema, or not a ledger. */
MUST_CHECK enum err_code restore_check(const char *backup, struct restore_info *out, struct err *e);

/*
 * Checks `backup`, then makes a copy of it the ledger `dest`, whose meta "sealed" says "restored". What stood at `dest`
 * is kept beside it: its name goes to `aside` ("" when there was nothing). `now` names it.
 *
 * E_BUSY      another process holds the ledger: the service runs
 * E_CONFLICT  the backup is damaged, or it is another ledger (its id differs from that of a readable `dest`)
 *
 * A crash in between leaves "<dest>.restoring", with which no writer opens; calling again completes it.
 */
MUST_CHECK enum err_code restore_install(const char *backup, const char *dest, int64_t now, char *aside, size_t aside_size,
                                         struct err *e);

#endif
