/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judging records (ca/record.h) without the service: who signed, under which root, and what a close-out report says. For those
 * who keep such files; links neither ledger nor tokens. One judge belongs to one thread.
 */
#ifndef INKAN_CA_RECORD_CHECK_H
#define INKAN_CA_RECORD_CHECK_H

#include <jansson.h>

#include "base/jws.h"

#define CLOSE_REPORT_TYP "inkan-close-out"
#define RECORD_FILE_MAX  (64 * 1024)

struct record_judge;
/*
 * `signer` is PEM: the certificate of the record key first, then those of the CAs between it and the root in any order (and
 * further certificates of the same key); `ca` is PEM with the root, from elsewhere. E_INVALID: not such files.
 */
MUST_CHECK enum err_code record_judge_new(struct bytes signer, struct bytes ca, struct record_judge **out, struct err *e);
void record_judge_free(struct record_judge *j);
/* E_DENIED: the signer's certificate did not chain to the root at that time (UTC seconds), or is not one for records. */
MUST_CHECK enum err_code record_judge_at(struct record_judge *j, int64_t when, struct err *e);

/*
 * Reads one record of `typ` and verifies its signature; *payload is the JSON object in it. The certificate's own validity is
 * record_judge_at's question. E_DENIED: by another key or under another certificate; E_INVALID: no such record.
 */
MUST_CHECK enum err_code record_open(const struct record_judge *j, struct bytes text, const char *typ, json_t **payload,
                                     struct err *e);
/* A time of a payload ("2026-11-22T06:00:00Z"). */
MUST_CHECK enum err_code record_time(const json_t *payload, const char *member, int64_t *out, struct err *e);

/* Are the counts of a close-out report whole, do the three equations hold, and is the royalty what was confirmed? E_CONFLICT names
 * what does not. */
MUST_CHECK enum err_code close_report_check(const json_t *report, struct err *e);

#endif
