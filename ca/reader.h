/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that reads the ledger, so that the event loop does not: CRLs, backups, checks, lists.
 *
 * One reader is one thread with a read-only connection of its own and a queue of at most READER_QUEUE_MAX jobs, done in
 * order. The loop's thread submits; `run` is called in the reader's thread; `done` is called from the loop, exactly once for
 * each job that was accepted, also when the reader is freed. A job belongs to the reader between the two: nobody else
 * touches it or what `run` uses.
 *
 * The connection is opened for the first job, opened again after a failure, and closed after a few idle seconds: an idle
 * reader holds no snapshot of the ledger and little memory.
 */
#ifndef INKAN_CA_READER_H
#define INKAN_CA_READER_H

#include <event2/event.h>
#include <sys/queue.h>

#include "ca/store/store.h"

#define READER_QUEUE_MAX 128

struct reader;

struct reader_job {
    STAILQ_ENTRY(reader_job) link;
    struct reader *reader;
    /* In the reader's thread. A transaction it leaves open is rolled back. */
    enum err_code (*run)(struct reader_job *job, struct store *ledger, struct err *e);
    /* In the loop. E_BUSY: the reader stopped before the job was finished. Frees what the job holds. */
    void (*done)(struct reader_job *job, enum err_code code, const struct err *e);
    enum err_code code;
    struct err e;
};

/* `name` (at most 15 octets) is the thread's. The ledger need not exist yet. */
struct reader *reader_new(struct event_base *base, const char *name, const char *ledger, struct err *e);
/* Ends the running job, joins the thread, answers every job. Not from inside `done`. */
void reader_free(struct reader *r);
/* Any thread of the loop's side. E_BUSY: the queue is full; `done` is not called then. */
MUST_CHECK enum err_code reader_submit(struct reader *r, struct reader_job *job, struct err *e);
/* Ends the job that runs now with E_BUSY and `why`; it may be submitted again. */
void reader_interrupt(struct reader *r, const char *why);
/* In `run`, in a loop that may be long: true when the job is to end. */
bool reader_job_must_end(const struct reader_job *job);

#endif
